"""Newton's method in logarithms, continued from far away to the real line.

A transform of a spectrum is analytic in the upper half-plane and known where it is far from the spectrum, so that its
values on the real line are found on the way from there: of all roots they are the ones that are near the last.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

__all__ = ["Equation", "follow"]

STEP = 0.04  # of the way from far away to a real place
SMALLEST = 1e-5
LEAP = 0.8  # most that a logarithm may move in one step
ITERATIONS = 12
SETTLED = 1e-9  # step in the logarithms behind which convergence is quadratic


class Equation(Protocol):
    """Equations for k unknown logarithms at each of n places, log lambda."""

    def step(self, target: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        """A step of Newton's method, changes (k, n) of the unknowns (k, n)."""

    def inside(self, unknown: np.ndarray) -> np.ndarray:
        """Whether the unknowns are in the half-planes that belong to the upper one, (n,)."""


def follow(
    equation: Equation, start: complex, unknown: np.ndarray, log_place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solutions at real places.

    Parameters
    ----------
    equation : Equation
    start : complex
        log lambda far away, with a positive imaginary part.
    unknown : ndarray of complex, shape (k, n)
        About the solution there.
    log_place : ndarray, shape (n,)

    Returns
    -------
    (ndarray (k, n), ndarray of bool (n,))
        The unknowns, and whether they were followed all the way: not to an edge, where two roots meet, nor so far out
        in a tail that nothing is there.
    """
    n = log_place.size
    step = log_place - start
    done, settled, length = np.zeros(n), np.ones(n, dtype=bool), np.full(n, STEP)
    with np.errstate(all="ignore"):  # a step that went astray is taken back
        unknown, _ = _newton(equation, np.full(n, start), unknown)
        while np.any(rest := done < 1.0):
            at = np.flatnonzero(rest)
            goal = np.minimum(done[at] + length[at], 1.0)
            found, good = _newton(equation, start + goal * step[at], unknown[:, at])
            # Another root is not nearby.
            good &= np.abs(found - unknown[:, at]).max(axis=0) < LEAP
            moved = at[good]
            unknown[:, moved], done[moved] = found[:, good], goal[good]
            length[at] = np.where(good, np.minimum(1.5 * length[at], STEP), length[at] / 3)
            lost = length < SMALLEST
            settled &= ~lost
            done[lost] = 1.0
    return unknown, settled


def _newton(equation: Equation, target: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solutions at `target`, and whether they are ones."""
    unknown = unknown.copy()
    good = np.zeros(target.size, dtype=bool)
    at = np.arange(target.size)  # of those that are not found yet
    for _ in range(ITERATIONS):
        change = equation.step(target[at], unknown[:, at])
        unknown[:, at] += change
        found = np.abs(change).max(axis=0) < SETTLED
        good[at[found]] = True
        at = at[~found]
        if at.size == 0:
            break
    return unknown, good & equation.inside(unknown)

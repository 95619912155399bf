"""Newton's method in logarithms, continued from far away to the real line.

A transform of a spectrum is analytic in the upper half-plane and known where it is far from the spectrum, so that its
values on the real line are found on the way from there: of all roots they are the ones that are near the last.

Of free products a root can be told to be the one. Its places are fixed points of maps of the upper half-plane into
itself, of which there is one alone (Denjoy and Wolff): all roots with places there, and arguments that add up without
a multiple of 2 pi, are it; real ones are it if they move there with the argument of lambda. So a few roots found on
the way from far away lead to all others, from neighbour to neighbour.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

__all__ = ["Equation", "follow", "step_size"]

class Pace(NamedTuple):
    """How to go.

    Attributes
    ----------
    longest : float
        Step at most, in shares of the way.
    shortest : float
        Where it is given up, in shares of what is left of the way.
    tolerance : float
        Step of Newton's method with which a place on the way is found.
    """

    longest: float
    shortest: float
    tolerance: float


SETTLED = 1e-9  # step of Newton's method behind which convergence is quadratic
HASTE, CARE = Pace(0.2, 1e-3, 1e-3), Pace(0.04, 1e-4, SETTLED)
NOTHING_LEFT = 1e-9
GAP = 1e-3  # of a gap that counts as of a step
REAL = 1e-9  # sine of the argument of a real number
FIRST = 0.002
LEAP = 0.8  # most that a logarithm may move from the rough equation to the other
ASTRAY, STRAIGHT = 0.4, 0.1  # from where it was expected: too far, and near enough for longer steps
ITERATIONS = 12
FEW = 24  # places that are followed from far away before the others
TURN = 1e-6  # of an argument next to a half-plane's other end


class Equation(Protocol):
    """Equations for k unknown logarithms at each of n places, log lambda."""

    @property
    def rough(self) -> Equation | None:
        """About the same equations that cost less; None if these cost little."""

    def step(self, target: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A step of Newton's method.

        Changes (k, n) of the unknowns (k, n), and how far off they were (n,).
        """

    def inside(self, unknown: np.ndarray) -> np.ndarray:
        """Whether the unknowns are in the half-planes that belong to the upper one, (n,)."""

    def certain(self, log_place: np.ndarray, unknown: np.ndarray) -> np.ndarray | None:
        """Whether roots (k, n) at real places are the ones, (n,).

        None if that cannot be told.
        """


def follow(
    equation: Equation, start: complex, unknown: np.ndarray, log_place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solutions at real places.

    First in haste, with the rough equation where there is one, and corrected: all of them, or a few where roots can be
    told to be the ones, from which the others follow. What is lost on that way, or is not corrected in one leap as the
    equations are not alike there, or ends in a gap that nobody vouches for, is followed once more with care.

    Parameters
    ----------
    equation : Equation
    start : complex
        log lambda far away, with a positive imaginary part.
    unknown : ndarray of complex, shape (k, 1)
        About the solution there.
    log_place : ndarray, shape (n,)

    Returns
    -------
    (ndarray (k, n), ndarray of bool (n,))
        The unknowns, and whether they were followed all the way: not to an edge, where two roots meet, nor so far out
        in a tail that nothing is there.
    """
    n = log_place.size
    found, settled = np.repeat(unknown, n, axis=1), np.zeros(n, dtype=bool)
    with np.errstate(all="ignore"):  # a step that went astray is taken back
        told = equation.certain(log_place[:0], unknown[:, :0]) is not None
        order = np.argsort(log_place, kind="stable")
        first = order[np.unique(np.linspace(0, n - 1, min(FEW, n)).round().astype(int))] if told else order
        found[:, first], settled[first] = _in_haste(equation, start, unknown, log_place[first])
        if told:
            sure = equation.certain(log_place[first], found[:, first])
            assert sure is not None
            settled[first] &= sure
            found[:, order], settled[order] = _neighbours(
                equation, log_place[order], found[:, order], settled[order]
            )
            rest = np.flatnonzero(~settled)
            found[:, rest], settled[rest] = _path(equation, start, unknown, log_place[rest], HASTE)
            settled[rest] &= np.asarray(equation.certain(log_place[rest], found[:, rest]))
        rest = np.flatnonzero(~settled)
        found[:, rest], settled[rest] = _path(equation, start, unknown, log_place[rest], CARE)
    return found, settled


def _in_haste(
    equation: Equation, start: complex, unknown: np.ndarray, log_place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`follow` the rough equation, and correct where it ends."""
    rough = equation.rough or equation
    near, settled = _path(rough, start, unknown, log_place, HASTE)
    if rough is equation:
        return near, settled
    at = np.flatnonzero(settled)
    found = near.copy()
    found[:, at], good = _newton(equation, log_place[at].astype(complex), near[:, at], SETTLED)
    leap = np.abs(found[:, at] - near[:, at]).max(axis=0)
    real = equation.certain(log_place[:0], unknown[:, :0]) is None and _real(found[:, at])
    settled[at] = good & (leap < LEAP) & ~np.asarray(real)
    return found, settled


def _neighbours(
    equation: Equation, log_place: np.ndarray, found: np.ndarray, settled: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Roots between those that are known, in ascending places.

    Each time in the middle of a gap, from what its two ends point to; where that fails, beside either end. What fails
    there too is left.
    """
    n, settled = log_place.size, settled.copy()
    tried, beside = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    while settled.any() and not settled.all():
        known = np.flatnonzero(settled)
        ends = np.concatenate([[-1], known, [n]])
        low, high = ends[:-1], ends[1:]
        low, high = low[high - low > 1], high[high - low > 1]
        middle = (low + high) // 2
        halved = ~tried[middle] & (low >= 0) & (high < n)
        next_to = np.concatenate([low[~halved & (low >= 0)] + 1, high[~halved & (high < n)] - 1])
        next_to = np.unique(next_to[~beside[next_to]])
        at = np.concatenate([middle[halved], next_to])
        if at.size == 0:
            break
        from_left = (next_to > 0) & settled[next_to - 1]
        left = np.concatenate([low[halved], np.where(from_left, next_to - 1, next_to + 1)])
        right = np.concatenate([high[halved], left[halved.sum() :]])
        span = log_place[right] - log_place[left]
        share = np.where(span > 0, log_place[at] - log_place[left], 0.0) / np.where(span > 0, span, 1.0)
        expected = found[:, left] + share * (found[:, right] - found[:, left])
        roots, good = _newton(equation, log_place[at].astype(complex), expected, SETTLED)
        good &= np.asarray(equation.certain(log_place[at], roots))
        found[:, at[good]], settled[at[good]] = roots[:, good], True
        tried[middle[halved]], beside[next_to] = True, True
    return found, settled


def _real(unknown: np.ndarray) -> np.ndarray:
    """Whether unknowns (k, n) are logarithms of real numbers.

    Newton's method does not leave the real line: in a gap of the rough spectrum it finds a root between any two nodes
    of a law, also where the spectrum has none.
    """
    return np.all(np.abs(np.sin(unknown.imag)) < REAL, axis=0)


def principal(unknown: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Logarithms (k, n) with arguments in [-pi, pi].

    Those of real numbers < 0 are on the side they come from: pi where `upper` (k,), else -pi.
    """
    angle = np.angle(np.exp(1j * unknown.imag))
    side = np.where(upper, 1.0, -1.0)[:, None]
    return unknown.real + 1j * np.where(side * angle < TURN - np.pi, angle + 2 * np.pi * side, angle)


def step_size(changes: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """How far off unknowns were, whose equations left `gaps` (of logarithms).

    Behind a step the squares of gaps are left.
    """
    return np.maximum(np.abs(changes).max(axis=0), GAP * np.abs(gaps).max(axis=0, initial=0.0))


def _path(
    equation: Equation, start: complex, unknown: np.ndarray, log_place: np.ndarray, pace: Pace
) -> tuple[np.ndarray, np.ndarray]:
    """`follow` step by step, each from where the last two point to."""
    n = log_place.size
    unknown, _ = _newton(equation, np.array([start]), unknown, SETTLED)
    unknown = np.repeat(unknown, n, axis=1)
    slope = np.zeros_like(unknown)  # change of the unknowns by the share of the way
    done, settled, length = np.zeros(n), np.ones(n, dtype=bool), np.full(n, FIRST)
    while np.any(rest := done < 1.0):
        at = np.flatnonzero(rest)
        goal = np.minimum(done[at] + length[at], 1.0)
        last, step = unknown[:, at], goal - done[at]
        expected = last + slope[:, at] * step
        tolerance = np.where(goal < 1.0, pace.tolerance, SETTLED)
        found, good = _newton(equation, _on_the_way(start, log_place[at], goal), expected, tolerance)
        off = np.abs(found - expected).max(axis=0)
        good &= off < ASTRAY  # another root is not nearby
        moved = at[good]
        unknown[:, moved], done[moved] = found[:, good], goal[good]
        slope[:, moved] = (found - last)[:, good] / step[good]
        length[at] = np.where(good, np.minimum(np.where(off < STRAIGHT, 2.0, 1.0) * step, pace.longest), step / 3)
        left = 1.0 - done
        lost = (length < pace.shortest * left) | (left < NOTHING_LEFT)
        lost &= done < 1.0
        settled &= ~lost
        done[lost] = 1.0
    return unknown, settled


def _on_the_way(start: complex, log_place: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Places of a path that comes down from above: near the real line it is steep."""
    left = 1.0 - share
    return log_place + (start.real - log_place) * left**3 + 1j * start.imag * left


def _newton(
    equation: Equation, target: np.ndarray, unknown: np.ndarray, tolerance: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solutions at `target`, and whether they are ones."""
    unknown = unknown.copy()
    good = np.zeros(target.size, dtype=bool)
    tolerance = np.broadcast_to(tolerance, target.shape)
    at = np.arange(target.size)  # of those that are not found yet
    for _ in range(ITERATIONS):
        change, off = equation.step(target[at], unknown[:, at])
        unknown[:, at] += change
        found = off < tolerance[at]
        good[at[found]] = True
        at = at[~found]
        if at.size == 0:
            break
    return unknown, good & equation.inside(unknown)

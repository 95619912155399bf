"""Gaussian integrals of an activation by Gauss-Legendre panels that respect its breaks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..activations import Activation

__all__ = [
    "GAUSS_W",
    "GAUSS_X",
    "REACH",
    "UNIT_PANELS",
    "breaks",
    "circle_coefficients",
    "largest_variance",
    "nodes",
    "second_moment",
    "unsettled",
    "values",
    "zero_sides",
]

REACH = 12.0  # standard deviations beyond which a Gaussian weight is dropped (1e-31 of the mass)
MAX_ANGLES = 2**16  # most samples on half a circle
GAUSS_X, GAUSS_W = np.polynomial.legendre.leggauss(16)
UNIT_PANELS = np.arange(-REACH, REACH + 0.5)


def breaks(act: Activation, q: float) -> np.ndarray:
    """Panel edges in z for integrands phi(sqrt(q) z) times a Gaussian weight."""
    if q == 0:
        return UNIT_PANELS
    inner = act.pieces.edges / np.sqrt(q)
    inner = inner[np.abs(inner) < REACH]
    edges = np.unique(np.concatenate([UNIT_PANELS, inner]))
    # A sliver between an edge of phi and a unit edge carries nothing; keep the edge of phi.
    keep = np.append(np.diff(edges) > 1e-13, True)
    return edges if keep.all() else np.unique(np.concatenate([[-REACH, REACH], inner, edges[keep]]))


def nodes(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes z and weights, Gaussian density included, of the panels between `edges`."""
    half = np.diff(edges) / 2
    middle = (edges[1:] + edges[:-1]) / 2
    z = (middle[:, None] + half[:, None] * GAUSS_X).ravel()
    weight = (half[:, None] * GAUSS_W).ravel() * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return z, weight


def zero_sides(act: Activation, order: int) -> np.ndarray:
    """Where to read the limits of phi^(d) at zero: on both sides, or at zero itself where phi is continuous."""
    if order == 0 and not np.any(act.pieces.jumps[act.pieces.breaks == 0.0, 0]):
        return np.zeros(1)
    return np.array([-1e-300, 1e-300])


def values(act: Activation, x: np.ndarray, order: int) -> np.ndarray:
    """The function phi, phi' or phi'' at x in float64, without point masses."""
    return (act, act.slope, act.curvature)[order](x)


def second_moment(act: Activation, q: float, order: int) -> float:
    """E[phi^(d)(u)^2] without point masses; for q = 0 the mean of the limits from both sides."""
    if q == 0:
        return float(np.mean(values(act, zero_sides(act, order), order) ** 2))
    z, weight = nodes(breaks(act, q))
    return float(weight @ values(act, np.sqrt(q) * z, order) ** 2)


def unsettled(act: Activation, q: float, order: int) -> float:
    """Error of E[phi^(d)^2] where phi has a singularity that is no jump: inf if that may be all of it, else 0.

    The mean of 1/|x| over the panels that close in on a singularity never stops growing.
    """
    if act.pieces.resolved or q == 0:
        return 0.0
    edges = breaks(act, q)
    z, weight = nodes(edges)
    squares = (weight * values(act, np.sqrt(q) * z, order) ** 2).reshape(edges.size - 1, -1).sum(axis=1)
    narrow = np.diff(edges) * np.sqrt(q) <= 1e-8
    return np.inf if squares[narrow].sum() > 1e-6 * squares.sum() else 0.0


def circle_coefficients(function: Callable, r: np.ndarray, tolerance: float, n: int = 16) -> np.ndarray:
    """Coefficients of f(r cos a) = sum_m b_m cos(m a), m < n, for smooth f and radii r: (r.size, n).

    n is doubled until the last quarter of sum b_m^2 is below the tolerance. Start with an n that resolves
    smaller circles: what is narrow on a large circle can hide between a few samples.
    """
    from scipy.fft import dct

    while True:
        b = dct(function(r[:, None] * np.cos(np.pi * (np.arange(n) + 0.5) / n)), axis=1) / n
        b[:, 0] /= 2
        if n >= MAX_ANGLES or np.sum(b[:, 3 * n // 4 :] ** 2, axis=1).max() <= tolerance:
            return b
        n *= 2


def largest_variance(act: Activation) -> float:
    """Largest variance at which phi is known over the whole weight and its square does not outgrow it."""
    z = np.linspace(-REACH, REACH, 97)
    high = (act.pieces.reach / REACH) ** 2
    while high > 1e-6:
        with np.errstate(all="ignore"):
            integrand = np.square(act(np.sqrt(high) * z)) * np.exp(-0.5 * z**2)
        if np.all(np.isfinite(integrand)) and integrand[[0, -1]].max() <= 1e-16 * max(
            integrand.max(), 1e-300
        ):
            break
        high /= 1.25
    return high

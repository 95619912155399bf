"""Gaussian integrals by Gauss-Legendre panels that respect breaks; their noise."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..activations import Activation
from ..activations.pieces import Pieces

__all__ = [
    "GAUSS_W",
    "GAUSS_X",
    "REACH",
    "UNIT_PANELS",
    "at_zero",
    "breaks",
    "circle_coefficients",
    "largest_variance",
    "narrow_places",
    "nodes",
    "noise",
    "radius_of_all",
    "second_moment",
    "unsettled",
    "values",
]

REACH = 12.0  # standard deviations beyond which a Gaussian weight is dropped (1e-31 of the mass)
NARROW = 1e-6  # (relative) width of panels that close in on a break
MAX_ANGLES = 2**16  # most samples on half a circle
NARROW_RING = 0.1  # width of a narrow panel, in deviations
FAR, APART = 16, 8  # in its width: its distance from zero, and how wide others are
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
    """Nodes z and weights, Gaussian density included, of panels between `edges`."""
    half = np.diff(edges) / 2
    middle = (edges[1:] + edges[:-1]) / 2
    z = (middle[:, None] + half[:, None] * GAUSS_X).ravel()
    weight = (half[:, None] * GAUSS_W).ravel() * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return z, weight


def at_zero(act: Activation, order: int) -> np.ndarray:
    """The limits of phi^(d) at zero from both sides, or phi(0) if continuous."""
    sides = np.array([-1e-300, 1e-300])
    if order == 0 and not np.any(act.pieces.jumps[act.pieces.breaks == 0.0, 0]):
        sides = np.zeros(1)
    return (act, act.slope, act.curvature)[order](sides)


def values(act: Activation, x: np.ndarray, order: int) -> np.ndarray:
    """The function phi, phi' or phi'' at x in float64, without point masses."""
    return (act, act.slope, act.curvature)[order](x)


def narrow_places(pieces: Pieces, q: float) -> np.ndarray:
    """Where panels are narrow, far from zero and by themselves.

    They are the ends of each run of such panels, and of its narrowest.

    Where two such places meet, one in u and one in v, the mean of phi(u) phi(v) over a circle of the plane is narrow in
    its radius, too, and that radius is no edge of phi. It is larger than both, and no matter where edges of phi are as
    close there, as those of a wave.
    """
    end = min(REACH * np.sqrt(q), pieces.reach)
    radii = np.unique(np.abs(np.append(pieces.edges, [0.0, end])))
    radii = radii[radii <= end]
    beyond = np.append(np.maximum.accumulate(np.diff(radii)[::-1])[::-1], 0.0)  # the widest from each radius on
    width, place = np.diff(pieces.edges), np.minimum(np.abs(pieces.edges[:-1]), np.abs(pieces.edges[1:]))
    alone = APART * width < beyond[np.searchsorted(radii, place, side="right") - 1]
    narrow = np.flatnonzero((width < NARROW_RING * np.sqrt(q)) & (place > FAR * width) & (place < end) & alone)
    found: set[int] = set()
    for run in np.split(narrow, np.flatnonzero(np.diff(narrow) > 1) + 1):
        if run.size:
            narrowest = run[np.argmin(width[run])]
            found |= {run[0], narrowest, narrowest + 1, run[-1] + 1}
    return pieces.edges[sorted(found)]


def radius_of_all(
    act: Activation, q1: float, q2: float, order: int, *, least: float, negligible: float
) -> float:
    """Radius beyond which phi^(d)(u) phi^(d)(v) is negligible, in deviations.

    It is no less than `least` and no more than `REACH`; point masses do not count.
    """
    radii = np.append(np.arange(least, REACH, 0.5), REACH)
    bound = np.exp(-0.5 * radii[:-1] ** 2)  # of each ring
    for q in (q1, q2):
        bound *= [_largest(act, radius * np.sqrt(q), order) for radius in radii[1:]]
    matters = np.flatnonzero(bound > negligible)
    return float(radii[matters[-1] + 1] if matters.size else least)


def _largest(act: Activation, radius: float, order: int) -> float:
    """A bound on |phi^(d)(x)| for |x| up to the radius, without point masses."""
    edges = act.pieces.edges
    met = (edges[:-1] <= radius) & (edges[1:] >= -radius)
    return float(np.abs(act.pieces.coefficients[order][met]).sum(axis=1).max())


def second_moment(act: Activation, q: float, order: int) -> float:
    """E[phi^(d)(u)^2] without point masses.

    For q = 0 it is the mean of the limits from both sides.
    """
    if q == 0:
        return float(np.mean(at_zero(act, order) ** 2))
    z, weight = nodes(breaks(act, q))
    return float(weight @ values(act, np.sqrt(q) * z, order) ** 2)


def unsettled(act: Activation, q: float, order: int) -> float:
    """Inf if a singularity that is no jump may be all of E[phi^(d)^2], else 0.

    The mean of 1/|x| over the panels that close in on a singularity never stops growing.
    """
    if act.pieces.resolved or q == 0:
        return 0.0
    edges = breaks(act, q)
    z, weight = nodes(edges)
    squares = (weight * values(act, np.sqrt(q) * z, order) ** 2).reshape(edges.size - 1, -1).sum(axis=1)
    narrow = np.diff(edges) * np.sqrt(q) <= 1e-8
    return np.inf if squares[narrow].sum() > 1e-6 * squares.sum() else 0.0


# -- how well the polynomials are known ----------------------------------------------------------------------


class Noise(NamedTuple):
    """How wrong phi, phi' and phi'' may be at each variance of a grid.

    Attributes
    ----------
    panels : ndarray, shape (3, panels)
        Bounds on the errors of phi, phi' and phi'' on each panel of the polynomials.
    log_q : ndarray, shape (n,)
        The grid, equally spaced.
    spread, doubtful, sup : ndarray, shape (3, n)
        The 2-norm under the Gaussian weight of the error on panels of ordinary width; its 1-norm on panels so
        narrow that they close in on a break or a singularity, and by breaks out of place; the largest value
        within reach on ordinary panels.
    """

    panels: np.ndarray
    log_q: np.ndarray
    spread: np.ndarray
    doubtful: np.ndarray
    sup: np.ndarray

    def at(self, q: Any, order: int) -> tuple[Any, Any, Any]:
        """The three at variances q: the larger of the two values beside each on the grid."""
        step = self.log_q[1] - self.log_q[0]
        with np.errstate(divide="ignore"):
            index = (np.log(q) - self.log_q[0]) / step
        left = np.clip(np.floor(index), 0, self.log_q.size - 2).astype(int)
        spread, doubtful, sup = (
            np.maximum(column[order][left], column[order][left + 1])
            for column in (self.spread, self.doubtful, self.sup)
        )
        return spread, doubtful, sup


_noises: weakref.WeakKeyDictionary[Activation, Noise] = weakref.WeakKeyDictionary()


def noise(act: Activation) -> Noise:
    """What is uncertain in the polynomials of an activation; computed once."""
    try:
        return _noises[act]
    except KeyError:
        return _noises.setdefault(act, _noise(act))


def _noise(act: Activation) -> Noise:
    pieces = act.pieces
    left, right = pieces.edges[:-1], pieces.edges[1:]
    width = right - left
    near = np.where(left * right < 0, 0.0, np.minimum(np.abs(left), np.abs(right)))
    size = np.abs(pieces.coefficients).sum(axis=2)
    read_off = [order for order, given in ((1, act._derivative), (2, act._second)) if given is None]
    error = _panel_errors(pieces, size, width, read_off)
    log_q = np.linspace(np.log(1e-12), 2 * np.log(pieces.reach / REACH), 120)
    root = np.exp(log_q / 2)[:, None]
    mass = np.minimum(1.0, width / root * 0.4) * np.exp(-0.5 * (near / root) ** 2)  # (n, panels)
    narrow = width <= NARROW * np.maximum(1.0, near)
    wide, close_in = np.where(narrow, 0.0, error), np.where(narrow, np.minimum(error, size), 0.0)
    largest = np.where(narrow, 0.0, np.minimum(size, 1e300))
    with np.errstate(over="ignore"):  # far out, where phi may be as large as floats go
        return Noise(
            error,
            log_q,
            np.linalg.norm(wide[:, None] * np.sqrt(mass), axis=2),
            close_in @ mass.T + _moved_breaks(act, root),
            np.max(np.where(near <= REACH * root, largest[:, None], 0.0), axis=2),
        )


def _moved_breaks(act: Activation, root: np.ndarray) -> np.ndarray:
    """What jumps at breaks that were found out of place would change: (3, n).

    A jump is found to rounding; a kink so well that phi does not miss it, which leaves 1e-13 of its place.
    """
    at, jumps = act.pieces.breaks, np.abs(act.pieces.jumps[:, :3])
    found = np.where(at == 0, 0.0, np.maximum(1.0, np.abs(at)))
    moved = np.where(np.isin(at, act._given_kinks), 2e-16 * np.abs(at), np.outer([4e-15, 1e-13, 1e-13], found))
    density = np.exp(-0.5 * (at / root) ** 2) / (np.sqrt(2 * np.pi) * root)
    return (jumps.T * moved) @ density.T


def _panel_errors(pieces: Pieces, size: np.ndarray, width: np.ndarray, read_off: list[int]) -> np.ndarray:
    """Errors of phi, phi' and phi'' on each panel, (3, n).

    `size` bounds the values there. Values are off by their rounding, by that of their argument, and by what
    the polynomial leaves out; a derivative that was read off by that much times 30/width for the higher
    coefficients, and by what `pieces` chops of them.
    """
    last = np.abs(pieces.coefficients[:, :, -3:]).sum(axis=2)
    outer = np.maximum(np.abs(pieces.edges[:-1]), np.abs(pieces.edges[1:]))
    steepness = np.append(size[1:], size[2:], axis=0)
    error = 1e-16 * size + 1.1e-16 * outer * steepness + 2 * last
    for order in read_off:
        error[order] += (4e-13 * size[order - 1] + 60 * (last[order - 1] + error[order - 1])) / width
    return error


def circle_coefficients(function: Callable, r: np.ndarray, tolerance: float, n: int = 16) -> np.ndarray:
    """Coefficients of f(r cos a) = sum_m b_m cos(m a), m < n, f smooth: (r.size, n).

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
    """Largest variance at which the integrals of phi^2 are covered.

    Phi is known over the whole weight, and its square does not outgrow it.
    """
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

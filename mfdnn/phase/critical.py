"""The edge of chaos."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .. import _compiled
from .._support.errors import NoTheory
from .._support.results import Result, unwrap
from .._support.validation import finite_array, finite_number, nonnegative_array, variance
from ..activations import Activation, activation
from ..gaussian.quadrature import breaks, nodes
from ..gaussian.tables import check_range, tables
from .variances import (
    PER_DECADE,
    bisect,
    has_jumps,
    keep_probability,
    slopes_at_zero,
    variance_fixed_points,
)

__all__ = ["CriticalLine", "critical_line", "critical_point", "critical_sigma_w2"]


@dataclass(frozen=True, repr=False, eq=False)
class CriticalLine(Result):
    """Points on the edge of chaos: arrays of equal shape (numbers for a single `q`).

    Attributes
    ----------
    q, sigma_w2, sigma_b2 : ndarray
        With these variances, chi_1 = 1 at the fixed point q.
    stable : ndarray of bool
        Whether networks stay at that fixed point: it attracts, or is neutral (scale-invariant activations). Where it
        repels, networks of these variances are elsewhere.
    """

    q: np.ndarray
    sigma_w2: np.ndarray
    sigma_b2: np.ndarray
    stable: np.ndarray


def critical_line(
    phi: str | Callable | Activation, q: Any = None, sigma_b2: float | None = None, keep_rate: float = 1.0
) -> CriticalLine:
    r"""Edge of chaos in the plane of variances, chi_1 = 1.

    Parametrised by the variance :math:`q^*`, so no root is searched:
    :math:`\sigma_w^2 = 1/E[\phi'^2]`, :math:`\sigma_b^2 = q - \sigma_w^2 E[\phi^2]`.

    Parameters
    ----------
    phi : str, callable or Activation
    q : float or array, optional
        Variances > 0. Default: 400 of them from 1e-6 to 100, those with :math:`\sigma_b^2 \ge 0`.
    sigma_b2 : float, optional
        Instead of `q`: all points of the line with this bias variance, in increasing order of q.
    keep_rate : float
        Probability with which dropout keeps a unit: sigma_w2 is this much of that without dropout.

    Returns
    -------
    CriticalLine

    Raises
    ------
    ValueError
        Non-positive `q`, or values of `q` at which no bias variance reaches the edge (:math:`\sigma_b^2 <
        0`); no edge at `sigma_b2`; both `q` and `sigma_b2`. `NoTheory`, a ValueError too: an activation that jumps, or
        has no edge.

    Notes
    -----
    Scale-invariant activations (relu, leaky_relu, abs, linear) have a single critical point; every q
    gives it. Every built-in activation has at most one critical network per bias variance: sigma_b2 grows with q
    along its line. Relative accuracy of sigma_b2: about 1e-16/q for small q, where it is a small difference.

    Examples
    --------
    >>> import mfdnn
    >>> line = mfdnn.critical_line("tanh", q=[0.1, 1.0])
    >>> line.sigma_w2.round(6), line.sigma_b2.round(6)
    (array([1.177569, 2.153303]), array([0.000832, 0.150965]))
    >>> [mfdnn.critical_line("gelu", sigma_b2=b2).stable.tolist() for b2 in (0.05, 0.2)]
    [[False], [True]]
    """
    act = activation(phi)
    _need_finite_slope(act)
    keep = keep_probability(keep_rate)
    if sigma_b2 is not None:
        if q is not None:
            raise ValueError("`q` and `sigma_b2` exclude each other; pass one of them.")
        points = _points(act, variance("sigma_b2", sigma_b2))
        return CriticalLine(
            points[0], keep * points[1], np.full(points[0].shape, float(sigma_b2)), points[2] > 0
        )
    if q is None:
        top = min(100.0, tables(act).moments.high)
        values = np.geomspace(1e-6, top, 400)
        w2, b2, slope = _edge(act, values)
        good = b2 >= 0
        if not np.any(good):
            raise _no_edge(act, top)
        return CriticalLine(values[good], keep * w2[good], b2[good], _attracts(act, slope[good]))
    values = finite_array("q", q)
    if np.any(values <= 0):
        raise ValueError(
            f"`q` must be > 0, got {values.min():g}; pass variances on the line, such as 0.1."
        )
    if not act.homogeneous:
        check_range(act, values)
        smallest = tables(act).moments.low
        if values.min(initial=np.inf) < smallest:
            raise ValueError(
                f"`q` = {values.min():g} is below {smallest:.3g}, down to which activation {act.label!r} is tabulated; "
                "use larger ones, or `sigma_b2` = 0 for the limit of small ones."
            )
    w2, b2, slope = _edge(act, values.ravel())
    if np.any(b2 < 0):
        bad = values.ravel()[b2 < 0]
        raise ValueError(
            f"`q` = {bad[0]:g} is not the variance of a critical network of {act.label!r}: it would need "
            f"sigma_b^2 = {b2[b2 < 0][0]:.3g} < 0; leave out `q` to see the possible ones."
        )
    w2, b2, slope = (array.reshape(values.shape) for array in (w2, b2, slope))
    return CriticalLine(*(unwrap(array) for array in (values, keep * w2, b2, _attracts(act, slope))))


def critical_sigma_w2(phi: str | Callable | Activation, sigma_b2: Any, keep_rate: float = 1.0) -> Any:
    r"""Weight variance on the edge of chaos for a given bias variance.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_b2 : float or array
    keep_rate : float
        Probability with which dropout keeps a unit: a factor of the result.

    Returns
    -------
    float or array of the shape of `sigma_b2`

    Raises
    ------
    ValueError
        There is no edge at that `sigma_b2`: the message says why and where there is one. `NoTheory`, a ValueError too:
        there is none anywhere.

    Notes
    -----
    Should several weight variances be critical, the one with the smallest attracting q* is returned, else the
    one with the smallest q*; ``critical_line(phi, sigma_b2=...)`` gives them all and says which attract. (The
    critical q* of gelu, silu and mish repels at small biases: the variance map is steeper than 1 there.)
    Relative accuracy about 1e-12.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.critical_sigma_w2("tanh", 0.05), 9)
    1.76095464
    >>> mfdnn.critical_sigma_w2("relu", 0.0)
    2.0
    """
    act = activation(phi)
    b2 = nonnegative_array("sigma_b2", sigma_b2)
    _need_finite_slope(act)
    result = keep_probability(keep_rate) * np.array(
        [_first(_points(act, value)) for value in b2.ravel().tolist()]
    )
    return unwrap(result.reshape(b2.shape))


def critical_point(
    phi: str | Callable | Activation,
    sigma_b2: float | None = None,
    q: float | None = None,
    keep_rate: float = 1.0,
) -> tuple[float, float]:
    r"""(sigma_w2, sigma_b2) of a critical initialisation.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_b2 : float, optional
        Bias variance: the weight variance is that of `mfdnn.critical_sigma_w2`.
    q : float, optional
        Instead of it the variance q* of pre-activations in deep layers: :math:`\sigma_w^2 = 1/E[\phi'^2]`,
        :math:`\sigma_b^2 = q - \sigma_w^2 E[\phi^2]` at that q, as in Xiao et al. 2018 (arXiv:1806.05393).
    keep_rate : float
        Probability with which dropout keeps a unit: a factor of sigma_w2.

    Without either: the single critical point of a scale-invariant activation; else the bias variance 0.05 if the
    critical q* attracts there (tanh and its kin), else the smallest above it at which it does among the 400 points of
    ``critical_line(phi)`` (about 0.174 for gelu, 0.56 for silu).

    Returns
    -------
    (float, float)

    Raises
    ------
    ValueError
        There is no such critical point.

    Examples
    --------
    >>> import mfdnn
    >>> sigma_w2, sigma_b2 = mfdnn.critical_point("tanh", q=0.5)
    >>> round(sigma_w2, 9), round(sigma_b2, 9)
    (1.687975121, 0.038041201)
    """
    act = activation(phi)
    keep = keep_probability(keep_rate)
    if q is not None:
        if sigma_b2 is not None:
            raise ValueError("`q` and `sigma_b2` exclude each other; pass one of them.")
        line = critical_line(act, finite_number("q", q), keep_rate=keep)
        return float(line.sigma_w2), float(line.sigma_b2)
    if sigma_b2 is not None:
        return critical_sigma_w2(act, variance("sigma_b2", sigma_b2), keep), float(sigma_b2)
    if act.homogeneous:
        return critical_sigma_w2(act, 0.0, keep), 0.0
    line = critical_line(act, sigma_b2=0.05)
    if not np.any(line.stable):
        more = critical_line(act, keep_rate=keep)
        good = np.flatnonzero(more.stable & (more.sigma_b2 >= 0.05))
        if good.size:
            best = good[np.argmin(more.sigma_b2[good])]
            return float(more.sigma_w2[best]), float(more.sigma_b2[best])
    return critical_sigma_w2(act, 0.05, keep), 0.05


# -- implementation ------------------------------------------------------------------------------------------

_lines: weakref.WeakKeyDictionary[Activation, tuple[np.ndarray, np.ndarray]] = weakref.WeakKeyDictionary()


def _need_finite_slope(act: Activation) -> None:
    if has_jumps(act):
        raise NoTheory(
            f"activation {act.label!r} jumps, so E[phi'^2] is infinite and every network is chaotic; there is no edge "
            "of chaos. Use a continuous activation."
        )


def _no_edge(act: Activation, top: float) -> NoTheory:
    return NoTheory(
        f"activation {act.label!r} has no edge of chaos: chi_1 = 1 would need sigma_b^2 < 0 at every q* up to "
        f"{top:.3g}; use another activation."
    )


def _edge(act: Activation, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sigma_w2, sigma_b2) with chi_1 = 1 at q* = q; slope of the variance map there."""
    if act.homogeneous:
        with np.errstate(divide="ignore"):
            w2 = np.full(q.shape, 2.0 / np.square(act.homogeneous).sum())
        return w2, np.where(np.isfinite(w2), 0.0, -np.inf), np.ones(q.shape)
    table = tables(act).moments
    second, slope2, rate, _ = _compiled.table_moments(table, q)
    deficit = q * slope2 - second
    if table.origin == 0:
        for i in np.flatnonzero(np.abs(deficit) < 0.01 * q * slope2):  # two digits cancel, or more
            deficit[i] = _deficit(act, q[i], deficit[i], slope2[i])
    with np.errstate(divide="ignore", invalid="ignore"):
        w2 = 1.0 / slope2
        b2 = deficit / slope2
        slope = w2 * rate
    return w2, np.where(np.isfinite(b2), b2, -np.inf), np.where(np.isfinite(slope), slope, np.inf)


def _attracts(act: Activation, slope: np.ndarray) -> np.ndarray:
    return np.full(slope.shape, True) if act.homogeneous else slope < 1


def _deficit(act: Activation, q: float, plain: float, slope2: float) -> float:
    """Return q E[phi'^2] - E[phi^2] without cancellation at small q, for phi(0) = 0.

    Any positively homogeneous h may be subtracted from phi first: q E[h'^2] = E[h^2], and Stein's identity makes
    q E[h' psi'] = E[h psi] for psi(0) = 0. The one with the slopes of phi at zero leaves the least.
    """
    z, weight = nodes(breaks(act, q))
    x = np.sqrt(q) * z
    low, high = slopes_at_zero(act)
    line = np.where(x > 0, high, low)
    slope = q * (weight @ (act.slope(x) - line) ** 2)
    value = weight @ (act(x) - line * x) ** 2
    return float(slope - value) if slope + value < q * slope2 else plain


def _points(act: Activation, sigma_b2: float) -> np.ndarray:
    """Rows q*, sigma_w2, whether q* attracts: the whole edge at this bias variance."""
    if act.homogeneous:
        only = float(_edge(act, np.ones(1))[0][0])
        if sigma_b2 == 0 and np.isfinite(only):
            return np.array([[0.0], [only], [1.0]])
        if not np.isfinite(only):
            raise ValueError(f"activation {act.label!r} is zero and has no edge of chaos; use another one.")
        raise ValueError(
            f"`sigma_b2` = {sigma_b2:g}: {act.label!r} is scale-invariant and its edge of chaos is the single point "
            f"sigma_w2 = {only:.10g}, sigma_b2 = 0 (with biases the variance grows without bound there); pass 0."
        )
    table = tables(act).moments
    if act not in _lines:
        q = np.geomspace(table.low, table.high, int(PER_DECADE * np.log10(table.high / table.low)))
        _lines[act] = q, _edge(act, q)[1]
    grid, b2 = _lines[act]

    def excess(q: float) -> float:
        return float(_edge(act, np.array([q]))[1][0]) - sigma_b2

    rounding = (1e-14 + act.pieces.slope_noise) * grid
    gap = np.sign(np.where(np.abs(b2 - sigma_b2) <= rounding, 0.0, b2 - sigma_b2))
    crossings = [(i, j) for i, j in pairwise(np.flatnonzero(gap)) if gap[i] != gap[j]]
    roots = np.array([bisect(excess, grid[i], grid[j]) for i, j in crossings])
    weights, _, slope = _edge(act, roots)
    points = np.array([roots, weights, slope < 1], dtype=float).reshape(3, -1)
    slopes = slopes_at_zero(act)
    if table.origin == 0 and np.any(slopes) and sigma_b2 <= max(b2[0], 0.0):
        # The line starts at q* = 0 without biases, where only the slopes of phi there matter.
        weight = float(2.0 / (slopes @ slopes))
        attracts = variance_fixed_points(act, weight, 0.0).stable[0]
        start = [[0.0 if sigma_b2 == 0 else grid[0]], [weight], [attracts]]
        points = np.concatenate([start, points], axis=1)
    if points.size:
        return points
    reached = b2[b2 >= 0]
    if not reached.size:
        raise _no_edge(act, table.high)
    raise ValueError(
        f"`sigma_b2` = {sigma_b2:g}: {act.label!r} has no edge of chaos there (it reaches {reached.min():.4g} to "
        f"{reached.max():.4g}, for q* up to {table.high:.3g}); choose another bias variance."
    )


def _first(points: np.ndarray) -> float:
    """Weight variance of the smallest attracting q*, else of the smallest."""
    return float(points[1, np.argmax(points[2])])

"""The edge of chaos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _compiled
from .._results import Result
from .._tables import tables
from .._validation import finite_array, nonnegative_array, variance
from ..activations import Activation, activation
from .fixed_points import bisect, has_jumps, unwrap

__all__ = ["CriticalLine", "critical_line", "critical_point", "critical_sigma_w2"]


@dataclass(frozen=True, repr=False, eq=False)
class CriticalLine(Result):
    """The edge of chaos, parametrised by q: arrays q, sigma_w2, sigma_b2 of equal shape."""

    q: np.ndarray
    sigma_w2: np.ndarray
    sigma_b2: np.ndarray


def critical_line(phi: str | Callable | Activation, q: Any = None) -> CriticalLine:
    r"""Edge of chaos in the plane of variances, chi_1 = 1.

    Parametrised by the variance :math:`q^*`, so no root is searched:
    :math:`\sigma_w^2 = 1/E[\phi'^2]`, :math:`\sigma_b^2 = q - \sigma_w^2 E[\phi^2]`.

    Parameters
    ----------
    phi : str, callable or Activation
    q : float or array, optional
        Variances > 0. Default: 400 of them from 1e-6 to 100, those with :math:`\sigma_b^2 \ge 0`.

    Returns
    -------
    CriticalLine

    Raises
    ------
    ValueError
        Non-positive `q`, or values of `q` at which no bias variance reaches the edge (:math:`\sigma_b^2 <
        0`).

    Notes
    -----
    Scale-invariant activations (relu, leaky_relu, abs, linear) have a single critical point; every q
    gives it.

    Examples
    --------
    >>> import mfdnn
    >>> line = mfdnn.critical_line("tanh", q=[0.1, 1.0])
    >>> line.sigma_w2.round(6), line.sigma_b2.round(6)
    (array([1.177569, 2.153303]), array([0.000832, 0.150965]))
    """
    act = activation(phi)
    _need_finite_slope(act)
    if q is None:
        top = min(100.0, float(np.exp(tables(act).moments.edges[-1])))
        values = np.geomspace(1e-6, top, 400)
        w2, b2 = _edge(act, values)
        good = b2 >= 0
        return CriticalLine(values[good], w2[good], b2[good])
    values = finite_array("q", q)
    if np.any(values <= 0):
        raise ValueError(
            f"`q` must be > 0, got {values.min():g}; pass variances on the line, such as np.geomspace(0.01, 1)."
        )
    w2, b2 = _edge(act, values.ravel())
    if np.any(b2 < 0):
        bad = values.ravel()[b2 < 0]
        raise ValueError(
            f"`q` = {bad[0]:g} is not the variance of a critical network of {act.label!r}: it would need "
            f"sigma_b^2 = {b2[b2 < 0][0]:.3g} < 0; call critical_line without q to see the possible ones."
        )
    return CriticalLine(values, w2.reshape(values.shape), b2.reshape(values.shape))


def critical_sigma_w2(phi: str | Callable | Activation, sigma_b2: Any) -> Any:
    r"""Weight variance on the edge of chaos for a given bias variance.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_b2 : float or array

    Returns
    -------
    float or array of the shape of `sigma_b2`

    Raises
    ------
    ValueError
        There is no edge at that `sigma_b2`: the message says why and where there is one.

    Notes
    -----
    Where several weight variances are critical, the one with the smallest attracting q* is returned;
    where every critical q* repels (gelu and silu at small biases: the variance map is steeper than 1
    there), the one with the smallest q*. `variance_fixed_points` tells. Relative accuracy about 1e-12.

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
    result = np.array([_critical(act, value)[0] for value in b2.ravel()])
    return unwrap(result.reshape(b2.shape))


def critical_point(phi: str | Callable | Activation, sigma_b2: float | None = None) -> tuple[float, float]:
    """(sigma_w2, sigma_b2) of a critical initialisation.

    Without `sigma_b2`: the single critical point of a scale-invariant activation; else the smallest bias
    variance from 0.05 on at which the critical q* attracts (0.05 itself for tanh and its kin, about 0.17
    for gelu, 0.56 for silu).
    """
    act = activation(phi)
    if sigma_b2 is not None:
        return _critical(act, variance("sigma_b2", sigma_b2))[0], float(sigma_b2)
    if act.homogeneous:
        return _critical(act, 0.0)[0], 0.0
    weight, q = _critical(act, 0.05)
    if weight * _compiled.table_moments(tables(act).moments, np.array([q]))[2][0] <= 1:
        return weight, 0.05
    line = critical_line(act)
    attracts = line.sigma_w2 * _compiled.table_moments(tables(act).moments, line.q)[2] <= 1
    good = np.flatnonzero(attracts & (line.sigma_b2 >= 0.05))
    if good.size == 0:
        return weight, 0.05
    best = good[np.argmin(line.sigma_b2[good])]
    return float(line.sigma_w2[best]), float(line.sigma_b2[best])


# -- implementation ------------------------------------------------------------------------------------------


def _need_finite_slope(act: Activation) -> None:
    if has_jumps(act):
        raise ValueError(
            f"activation {act.label!r} jumps, so E[phi'^2] is infinite and every network is chaotic; there is no edge "
            "of chaos. Use a continuous activation."
        )


def _edge(act: Activation, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sigma_w2, sigma_b2) with chi_1 = 1 at q* = q; rounding around sigma_b2 = 0 removed."""
    if act.homogeneous:
        with np.errstate(divide="ignore"):
            return np.full(q.shape, 2.0 / np.square(act.homogeneous).sum()), np.zeros(q.shape)
    second, slope2, _, _ = _compiled.table_moments(tables(act).moments, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        w2 = 1.0 / slope2
        b2 = q - w2 * second
    b2 = np.where(np.isfinite(b2), b2, -np.inf)
    return w2, np.where(np.abs(b2) <= 1e-12 * q, 0.0, b2)


def _critical(act: Activation, sigma_b2: float) -> tuple[float, float]:
    """(sigma_w2, q*) on the edge at this bias variance."""
    _need_finite_slope(act)
    if act.homogeneous:
        only = float(_edge(act, np.ones(1))[0][0])
        if sigma_b2 == 0 and np.isfinite(only):
            return only, 0.0
        raise ValueError(
            f"`sigma_b2` = {sigma_b2:g}: {act.label!r} is scale-invariant and its edge of chaos is the single point "
            f"sigma_w2 = {only:.10g}, sigma_b2 = 0 (with biases the variance grows without bound there); pass 0."
        )
    table = tables(act).moments
    low, high = np.exp(table.edges[[0, -1]])
    grid = np.geomspace(low, high, int(40 * np.log10(high / low)))
    b2 = _edge(act, grid)[1]
    if sigma_b2 == 0 and table.origin == 0 and b2[np.flatnonzero(b2)[:1]].sum() > 0:
        # The line starts at q* = 0, where only the slopes on the two sides of zero matter; rounding hides its
        # first decades, where b2 is of higher order in q.
        slopes = act.pieces.evaluate(np.array([-1e-300, 1e-300]), 1)
        return float(2.0 / (slopes @ slopes)), 0.0

    def excess(q: float) -> float:
        return float(_edge(act, np.array([q]))[1][0]) - sigma_b2

    gap = np.sign(b2 - sigma_b2)
    roots = np.array([bisect(excess, grid[i], grid[i + 1]) for i in np.flatnonzero(gap[:-1] * gap[1:] < 0)])
    if roots.size:
        weights = _edge(act, roots)[0]
        attracts = weights * _compiled.table_moments(table, roots)[2] <= 1 + 1e-9
        best = int(np.argmax(attracts))  # the smallest attracting one, else the smallest
        return float(weights[best]), float(roots[best])
    reached = b2[b2 >= 0]
    span = f"it reaches {reached.min():.4g} to {reached.max():.4g}" if reached.size else "it has none at all"
    raise ValueError(
        f"`sigma_b2` = {sigma_b2:g}: {act.label!r} has no edge of chaos there ({span}); choose another bias variance, "
        "see critical_line."
    )

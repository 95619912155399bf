"""Where the maps of variance and correlation end: fixed points and depth scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _compiled
from .._support.results import Result, unwrap
from ..activations import Activation, activation
from ..gaussian.tables import tables
from .patience import correlations
from .variances import (
    check_start,
    has_jumps,
    keep_probability,
    outgrows_lines,
    reached,
    slopes_at_zero,
    starting_variances,
    without_rounding,
)

__all__ = ["PHASES", "STATUS", "FixedPoint", "asymptotic_slopes", "depth_scale", "fixed_point", "solve"]

PHASES = ("ordered", "critical", "chaotic", "unbounded")
STATUS = {
    "ok": "nothing special",
    "zero_variance": "q* = 0; c*, chi_1 and chi_c are the limits sigma_b -> 0+",
    "unbounded": "no finite q*: the variance grows without bound; c*, chi_1 and chi_c are the limits of large q",
    "scale_invariant": "every q is a fixed point; q is q0",
    "several": "q* depends on q0: a repelling fixed point parts the starting variances; see variance_fixed_points",
}
# Half-width of |chi_1 - 1| that counts as the edge of chaos: the accuracy of chi_1 at a solved q*.
EDGE = 1e-9
CHUNK = 8192  # points a task


@dataclass(frozen=True, repr=False, eq=False)
class FixedPoint(Result):
    r"""Fixed point of the variance and correlation maps.

    Every field is a scalar, or an array of the shape that the arguments broadcast to.

    Attributes
    ----------
    q, c : float or array
        :math:`q^*` and :math:`c^*` of pre-activations.
    chi_1 : float or array
        :math:`\sigma_w^2 E[\phi'^2]` at :math:`q^*`: growth of squared gradients per layer.
    chi_c : float or array
        Slope of the correlation map at :math:`c^*`.
    xi_q, xi_c, xi_grad : float or array
        Depth scales in layers, :math:`-1/\log` of the slope of the variance map, of chi_c, of chi_1: inf at
        criticality, negative where the quantity grows (xi_grad < 0: gradients explode).
    phase : str or array of str
        "ordered", "critical", "chaotic" or "unbounded".
    status : str or array of str
        "ok" or what is special, a key of `mfdnn.phase.STATUS`.
    """

    q: Any
    c: Any
    chi_1: Any
    chi_c: Any
    xi_q: Any
    xi_c: Any
    xi_grad: Any
    phase: Any
    status: Any


def fixed_point(
    phi: str | Callable | Activation, sigma_w2: Any, sigma_b2: Any, q0: Any = 1.0, keep_rate: float = 1.0
) -> FixedPoint:
    r"""Fixed point of an infinitely deep network, reached from variance `q0`.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float or array
        Variances of weights (times fan-in) and biases; they broadcast with `q0`.
    q0 : float or array
        Variance of the first pre-activation, > 0. It matters where there are several fixed points.
    keep_rate : float
        Probability :math:`\rho` with which dropout keeps a unit (and divides it by :math:`\rho`); 1: no dropout.
        Masks are drawn anew for every input, so :math:`\sigma_w^2` becomes :math:`\sigma_w^2/\rho` in the map of the
        variance and in chi_1, and stays what it is for two inputs. Even two copies of one input then decorrelate:
        c* < 1 and xi_c is finite everywhere, and `phase` speaks of gradients alone (chi_1 against 1).

    Returns
    -------
    FixedPoint

    Raises
    ------
    ValueError
        Negative or non-finite variances, ``q0 <= 0``, `keep_rate` outside (0, 1]; `q0` beyond the variances at which
        an activation that grows faster than linearly is resolved.

    Notes
    -----
    Newton's method inside a bracket; residuals about 1e-14 relative to q*. c* is the limit for two inputs
    that are neither equal nor opposite. About 1 microsecond per point once the activation is tabulated
    (0.1 s).

    Examples
    --------
    >>> import mfdnn
    >>> fp = mfdnn.fixed_point("tanh", 1.5**2, 0.05)
    >>> fp.phase, round(fp.q, 8), round(fp.c, 8)
    ('chaotic', 0.88942492, 0.56722493)
    >>> mfdnn.fixed_point("relu", 2.5, 0.1).phase
    'unbounded'
    """
    w2, b2, start = starting_variances(sigma_w2, sigma_b2, q0)
    shape = w2.shape
    keep = keep_probability(keep_rate)
    rows, phase, status = solve(activation(phi), w2.ravel(), b2.ravel(), start.ravel(), keep)
    return FixedPoint(*(unwrap(row.reshape(shape)) for row in (*rows, phase, status)))


# -- implementation ------------------------------------------------------------------------------------------


def solve(
    act: Activation,
    w2: np.ndarray,
    b2: np.ndarray,
    q0: np.ndarray,
    keep: float = 1.0,
    mapper: Callable = map,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows q*, c*, chi_1, chi_c, xi_q, xi_c, xi_grad; phases; status.

    Two rounds of chunks: all q*; then c* where the slope of the correlation map at 1 exceeds 1.
    """
    table = tables(act).moments
    check_start(table, q0)
    rows, codes = _in_chunks(_variances_chunk, (table,), (w2 / keep, b2, q0), mapper, progress and "q*")
    q, slope2, slope_q, mean, gain = rows
    gain *= keep  # of pairs
    infinite = np.where(w2 > 0, np.inf, 0.0)
    slope2 = np.where(slope2 <= act.pieces.slope_noise**2, 0.0, slope2)  # of a constant
    chi_1 = infinite.copy() if has_jumps(act) else w2 / keep * slope2
    chi_c = infinite.copy() if has_jumps(act) else gain * slope2
    unbounded = codes == _compiled.UNBOUNDED
    limit = asymptotic_slopes(act)
    if limit is not None:
        # Where phi grows linearly, the variance outgrows the bias and the map of correlations becomes
        # that of relu.
        chi_1[unbounded] = w2[unbounded] / keep * (limit[0] ** 2 + limit[1] ** 2) / 2
        chi_c[unbounded] = 1.0
    elif np.any(unbounded) and outgrows_lines(table):
        chi_1[unbounded] = np.inf
    vanishing = np.flatnonzero((codes == _compiled.ZERO_VARIANCE) & (w2 > 0))
    if vanishing.size:
        # The smallest variance of the table is not small enough where phi bends at zero.
        at_zero = np.mean(slopes_at_zero(act) ** 2)
        slope_q[vanishing] = chi_1[vanishing] = w2[vanishing] / keep * at_zero
        chi_c[vanishing] = w2[vanishing] * at_zero
    c = np.ones_like(q)
    if keep == 1:
        below_one = np.flatnonzero((chi_c > 1 + EDGE) & (codes != _compiled.ZERO_VARIANCE))
    else:
        below_one = np.flatnonzero(
            (w2 > 0) & (table.values[0, 0, 0] > 0) & ~(unbounded & (limit is not None))
        )
        if limit is not None and np.any(unbounded):
            c[unbounded], chi_c[unbounded] = _dropout_at_infinity(*limit, keep)
    if below_one.size:
        at = np.where(unbounded, table.high, np.maximum(q, table.low))[below_one]
        # The share of the biases in the variance; where that vanishes, in the limit of small ones.
        share = np.where(codes == _compiled.ZERO_VARIANCE, 1 - chi_1, np.where(unbounded, 0.0, b2))[below_one]
        share /= np.where(codes == _compiled.ZERO_VARIANCE, 1.0, q)[below_one]
        columns: tuple = (at, gain[below_one], gain[below_one] * mean[below_one] ** 2 / at + share)
        if keep < 1:
            columns += ((1 - keep) * (1 - share),)  # share of the random masks
        kernel = _correlations_chunk if keep == 1 else _dropout_chunk
        found, _ = _in_chunks(kernel, (correlations(act, at),), columns, mapper, progress and "c*")
        c[below_one] = found[0]
        chi_c[below_one] = gain[below_one] * without_rounding(found[1], slope2[below_one])
    xi = [depth_scale(slope) for slope in (slope_q, chi_c, chi_1)]
    index = np.where(np.abs(chi_1 - 1) <= EDGE, 1, np.where(chi_1 < 1, 0, 2))
    phase = np.array(PHASES)[np.where(unbounded, 3, index)]
    return np.array([q, c, chi_1, chi_c, *xi]), phase, np.array(list(STATUS))[codes]


def _dropout_at_infinity(low: float, high: float, keep: float) -> tuple[float, float]:
    """c* and the slope there for the function with these slopes on the sides of zero."""
    asymptotes, one = homogeneous(low, high), np.ones(1)
    gain = 2 * keep / (low**2 + high**2)
    at_zero = gain * (high - low) ** 2 / (2 * np.pi)
    table = tables(asymptotes).correlations(one)
    found = _compiled.dropout_correlations(table, one, gain * one, at_zero * one, (1 - keep) * one)
    return found[0, 0], gain * found[1, 0]


def homogeneous(low: float, high: float) -> Activation:
    """The activation with those slopes on the two sides of zero."""
    return Activation(
        "asymptotes",
        lambda x: np.where(x > 0, high * x, low * x),
        lambda x: np.where(x > 0, high, low),
        (0.0,),
    )


def _in_chunks(
    kernel: Callable, table: tuple, columns: tuple, mapper: Callable, progress: str | bool
) -> tuple[np.ndarray, np.ndarray]:
    n = columns[0].size
    parts = np.array_split(np.arange(n), max(1, n // CHUNK))
    results = mapper(kernel, [(*table, *(column[part] for column in columns)) for part in parts])
    if progress:
        from tqdm import tqdm

        results = tqdm(results, total=len(parts), desc=f"phase diagram: {progress}", disable=None)
    rows, codes = zip(*results, strict=True)
    return np.concatenate(rows, axis=1), np.concatenate(codes)


def _variances_chunk(task: tuple) -> tuple[np.ndarray, np.ndarray]:
    return reached(*task)


def _correlations_chunk(task: tuple) -> tuple[np.ndarray, np.ndarray]:
    return _compiled.correlation_fixed_points(*task), np.empty(0)


def _dropout_chunk(task: tuple) -> tuple[np.ndarray, np.ndarray]:
    return _compiled.dropout_correlations(*task), np.empty(0)


def asymptotic_slopes(act: Activation) -> tuple[float, float] | None:
    """Slopes of phi at -inf and inf if it grows linearly (or less) on both sides."""
    ends = act.pieces.reach * np.array([-1.0, -0.5, 0.5, 1.0])
    low, lower, higher, high = act.pieces.evaluate(ends, 1)
    scale = 1e-12 * max(abs(low), abs(high))
    if scale == 0 or abs(low - lower) > scale or abs(high - higher) > scale:
        return None
    if abs(high - low) <= scale:  # one straight line, up to rounding
        low = high = (low + high) / 2
    return low, high


def depth_scale(slope: np.ndarray) -> np.ndarray:
    """-1 / log|slope|: inf within `EDGE` of 1, 0 at 0 and at inf, negative above 1."""
    size = np.abs(slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        xi = -1.0 / np.log(size)
    return np.where(np.abs(size - 1) <= EDGE, np.inf, np.where((size == 0) | (size == np.inf), 0.0, xi))

"""Where the maps of variance and correlation end: fixed points and depth scales."""

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

__all__ = [
    "PHASES",
    "STATUS",
    "FixedPoint",
    "VarianceFixedPoints",
    "bisect",
    "fixed_point",
    "has_jumps",
    "solve",
    "starting_variances",
    "unwrap",
    "variance_fixed_points",
]

PHASES = ("ordered", "critical", "chaotic", "unbounded")
STATUS = {
    "ok": "nothing special",
    "zero_variance": "q* = 0; c*, chi_1 and chi_c are the limits sigma_b -> 0+",
    "unbounded": "no finite q*: the variance grows without bound; c*, chi_1 and chi_c are the limits of large q",
    "scale_invariant": "every q is a fixed point; q is q0",
    "oscillating": "the fixed point repels: the variance oscillates around it",
    "several": "other fixed points attract too: q* depends on q0; see variance_fixed_points",
}
# Half-width of |chi_1 - 1| that counts as the edge of chaos: the accuracy of chi_1 at a solved q*.
EDGE = 1e-9
CHUNK = 8192  # points a task


@dataclass(frozen=True, repr=False, eq=False)
class FixedPoint(Result):
    r"""Fixed point of the variance and correlation maps; scalars, or arrays of the broadcast shape.

    Attributes
    ----------
    q, c
        :math:`q^*` and :math:`c^*` of pre-activations.
    chi_1
        :math:`\sigma_w^2 E[\phi'^2]` at :math:`q^*`: growth of squared gradients per layer.
    chi_c
        Slope of the correlation map at :math:`c^*`.
    xi_q, xi_c, xi_grad
        Depth scales :math:`-1/\log` of the slope of the variance map, of chi_c, of chi_1: inf at
        criticality, negative where the quantity grows (xi_grad < 0: gradients explode).
    phase
        "ordered", "critical", "chaotic" or "unbounded".
    status
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


@dataclass(frozen=True, repr=False, eq=False)
class VarianceFixedPoints(Result):
    """All fixed points of the variance map, in increasing order: (n,) arrays q, slope of the map there, stability."""

    q: np.ndarray
    slope: np.ndarray
    stable: np.ndarray


def fixed_point(phi: str | Callable | Activation, sigma_w2: Any, sigma_b2: Any, q0: Any = 1.0) -> FixedPoint:
    r"""Fixed point of an infinitely deep network, reached from variance `q0`.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float or array
        Variances of weights (times fan-in) and biases; they broadcast with `q0`.
    q0 : float or array
        Variance of the first pre-activation, > 0. It matters where there are several fixed points.

    Returns
    -------
    FixedPoint

    Raises
    ------
    ValueError
        Negative or non-finite variances, ``q0 <= 0``.

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
    rows, phase, status = solve(activation(phi), w2.ravel(), b2.ravel(), start.ravel())
    return FixedPoint(*(unwrap(row.reshape(shape)) for row in (*rows, phase, status)))


def variance_fixed_points(
    phi: str | Callable | Activation, sigma_w2: float, sigma_b2: float
) -> VarianceFixedPoints:
    r"""All fixed points of the variance map with their stability.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float

    Returns
    -------
    VarianceFixedPoints
        Empty arrays if there is none. A scale-invariant map at its edge (every q fixed) returns q = 0 only.

    Notes
    -----
    Roots are bracketed between the extrema of the map minus the identity on a logarithmic grid of 40
    points per decade; three roots or more between two neighbours of the grid can be missed.

    Examples
    --------
    >>> import mfdnn
    >>> fps = mfdnn.variance_fixed_points("gelu", 2.0, 0.12)  # one attracts, one repels
    >>> [round(float(q), 6) for q in fps.q], fps.stable.tolist()
    ([0.491588, 6.867813], [True, False])
    """
    act = activation(phi)
    w2, b2 = variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2)
    table = tables(act).moments
    low, high = np.exp(table.edges[[0, -1]])

    def excess(q: float) -> float:
        return float(w2 * _compiled.table_moments(table, np.array([q]))[0, 0] + b2 - q)

    def growth(q: float) -> float:
        return float(w2 * _compiled.table_moments(table, np.array([q]))[2, 0] - 1)

    grid = np.geomspace(low, high, int(40 * np.log10(high / low)))
    rate = _compiled.table_moments(table, grid)[2]
    turns = np.flatnonzero(np.sign(w2 * rate[:-1] - 1) * np.sign(w2 * rate[1:] - 1) < 0)
    grid = np.union1d(grid, [bisect(growth, grid[i], grid[i + 1]) for i in turns])
    step = w2 * _compiled.table_moments(table, grid)[0] + b2 - grid
    step[np.abs(step) <= 1e-13 * grid] = 0.0  # rounding of a map that touches the identity
    found = [0.0] if b2 == 0 and table.origin == 0 else []
    found += [bisect(excess, grid[i], grid[i + 1]) for i in np.flatnonzero(step[:-1] * step[1:] < 0)]
    q = np.array(found)
    slope = w2 * _compiled.table_moments(table, np.maximum(q, low))[2]
    return VarianceFixedPoints(q, slope, np.abs(slope) < 1 - 1e-12)


# -- implementation, shared with the other modules of this folder -----------------------------------------


def unwrap(array: Any) -> Any:
    """Return the number if the array holds a single one without axes."""
    array = np.asarray(array)
    return array.item() if array.ndim == 0 else array


def starting_variances(sigma_w2: Any, sigma_b2: Any, q0: Any) -> list[np.ndarray]:
    """Validate and broadcast."""
    w2, b2 = nonnegative_array("sigma_w2", sigma_w2), nonnegative_array("sigma_b2", sigma_b2)
    start = finite_array("q0", q0)
    if np.any(start <= 0):
        raise ValueError(
            f"`q0` must be > 0, got {start.min():g}; pass the variance of the first pre-activation."
        )
    try:
        return list(np.broadcast_arrays(w2, b2, start))
    except ValueError:
        raise ValueError(
            f"`sigma_w2`, `sigma_b2` and `q0` must broadcast, got shapes {w2.shape}, {b2.shape}, {start.shape}; "
            "use phase_diagram for a grid."
        ) from None


def has_jumps(act: Activation) -> bool:
    """Whether phi jumps, so that E[phi'^2] is infinite."""
    return bool(np.any(act.pieces.jumps[:, 0] != 0))


def bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """The root between two places where the function has opposite signs, to the last digit."""
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-300, rtol=8.9e-16, maxiter=200))


def solve(
    act: Activation,
    w2: np.ndarray,
    b2: np.ndarray,
    q0: np.ndarray,
    mapper: Callable = map,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows q*, c*, chi_1, chi_c, xi_q, xi_c, xi_grad; phases; status.

    Two rounds of chunks: all q*; then c* where the slope of the correlation map at 1 exceeds 1.
    """
    table = tables(act).moments
    rows, codes = _in_chunks(_variances_chunk, (table,), (w2, b2, q0), mapper, progress and "q*")
    q, slope2, slope_q, mean, gain = rows
    chi_1 = np.full(q.shape, np.inf) if has_jumps(act) else w2 * slope2
    chi_c = np.full(q.shape, np.inf) if has_jumps(act) else gain * slope2
    unbounded = codes == _compiled.UNBOUNDED
    limit = _asymptotic_slopes(act)
    if limit is not None:
        # Where phi grows linearly, the variance outgrows the bias and the map of correlations becomes
        # that of relu.
        chi_1[unbounded] = w2[unbounded] * (limit[0] ** 2 + limit[1] ** 2) / 2
        chi_c[unbounded] = 1.0
    c = np.ones_like(q)
    chaotic = np.flatnonzero((chi_c > 1 + EDGE) & (codes != _compiled.ZERO_VARIANCE))
    if chaotic.size:
        at = np.where(unbounded, np.exp(table.edges[-1]), q)[chaotic]
        at_zero = (gain * mean**2 + np.where(unbounded, 0.0, b2))[chaotic] / at
        tab = tables(act).correlations(at)
        found, _ = _in_chunks(
            _correlations_chunk, (tab,), (at, gain[chaotic], at_zero), mapper, progress and "c*"
        )
        c[chaotic] = found[0]
        chi_c[chaotic] = gain[chaotic] * found[1]
    xi = [_depth_scale(slope) for slope in (slope_q, chi_c, chi_1)]
    index = np.where(np.abs(chi_1 - 1) <= EDGE, 1, np.where(chi_1 < 1, 0, 2))
    phase = np.array(PHASES)[np.where(unbounded, 3, index)]
    return np.array([q, c, chi_1, chi_c, *xi]), phase, np.array(list(STATUS))[codes]


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
    return _compiled.variance_fixed_points(*task)


def _correlations_chunk(task: tuple) -> tuple[np.ndarray, np.ndarray]:
    return _compiled.correlation_fixed_points(*task), np.empty(0)


def _asymptotic_slopes(act: Activation) -> tuple[float, float] | None:
    """Slopes of phi at -inf and inf if it grows linearly (or less) on both sides."""
    ends = act.pieces.reach * np.array([-1.0, -0.5, 0.5, 1.0])
    low, lower, higher, high = act.pieces.evaluate(ends, 1)
    scale = 1e-12 * max(abs(low), abs(high))
    return (low, high) if abs(low - lower) <= scale and abs(high - higher) <= scale and scale > 0 else None


def _depth_scale(slope: np.ndarray) -> np.ndarray:
    """-1 / log|slope|: inf within `EDGE` of 1, 0 at 0 and at inf, negative above 1."""
    size = np.abs(slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        xi = -1.0 / np.log(size)
    return np.where(np.abs(size - 1) <= EDGE, np.inf, np.where((size == 0) | (size == np.inf), 0.0, xi))

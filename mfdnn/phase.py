r"""Fixed points, depth scales, critical lines and phase diagrams of deep random networks.

The maps, for weights of variance :math:`\sigma_w^2/\text{fan-in}` and biases of variance :math:`\sigma_b^2`:

.. math:: q \to \sigma_w^2 E[\phi(\sqrt q z)^2] + \sigma_b^2, \qquad
          c \to (\sigma_w^2 E[\phi(u)\phi(v)] + \sigma_b^2)/q^*.

References
----------
Poole, Lahiri, Raghu, Sohl-Dickstein & Ganguli 2016, arXiv:1606.05340; Schoenholz, Gilmer, Ganguli &
Sohl-Dickstein 2017, arXiv:1611.01232.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from . import _compiled
from ._results import GridResult, Result
from ._tables import tables
from ._validation import finite_array, nonnegative_array, positive_integer, variance
from .activations import Activation, activation
from .gaussian import expect_product, moments

__all__ = [
    "PHASES",
    "STATUS",
    "CriticalLine",
    "FixedPoint",
    "PhaseDiagram",
    "Trajectory",
    "VarianceFixedPoints",
    "correlation_map",
    "critical_line",
    "critical_point",
    "critical_sigma_w2",
    "fixed_point",
    "phase_diagram",
    "trajectory",
    "variance_fixed_points",
    "variance_map",
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


@dataclass(frozen=True, repr=False, eq=False)
class CriticalLine(Result):
    """The edge of chaos, parametrised by q: arrays q, sigma_w2, sigma_b2 of equal shape."""

    q: np.ndarray
    sigma_w2: np.ndarray
    sigma_b2: np.ndarray


@dataclass(frozen=True, repr=False, eq=False)
class Trajectory(Result):
    """q and c layer by layer: arrays of shape (depth + 1,), starting at the first pre-activation."""

    q: np.ndarray
    c: np.ndarray


@dataclass(frozen=True, repr=False, eq=False)
class PhaseDiagram(GridResult):
    """`FixedPoint` fields on a grid, each of shape (n_w, n_b), with the axes and the activation's label."""

    AXES: ClassVar[tuple[str, ...]] = ("sigma_w2", "sigma_b2")

    activation: str
    sigma_w2: np.ndarray
    sigma_b2: np.ndarray
    q: np.ndarray
    c: np.ndarray
    chi_1: np.ndarray
    chi_c: np.ndarray
    xi_q: np.ndarray
    xi_c: np.ndarray
    xi_grad: np.ndarray
    phase: np.ndarray
    status: np.ndarray

    def plot(self, field: str = "xi_c", ax: Any = None, **options: Any) -> Any:
        """Heat map of one field with the edge of chaos; see `mfdnn.plots.phase_diagram`."""
        from . import plots

        return plots.phase_diagram(self, field, ax=ax, **options)


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
    w2, b2, start = _variances(sigma_w2, sigma_b2, q0)
    shape = w2.shape
    rows, phase, status = _solve(activation(phi), w2.ravel(), b2.ravel(), start.ravel())
    return FixedPoint(*(_unwrap(row.reshape(shape)) for row in (*rows, phase, status)))


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
    grid = np.union1d(grid, [_bisect(growth, grid[i], grid[i + 1]) for i in turns])
    step = w2 * _compiled.table_moments(table, grid)[0] + b2 - grid
    step[np.abs(step) <= 1e-13 * grid] = 0.0  # rounding of a map that touches the identity
    found = [0.0] if b2 == 0 and table.origin == 0 else []
    found += [_bisect(excess, grid[i], grid[i + 1]) for i in np.flatnonzero(step[:-1] * step[1:] < 0)]
    q = np.array(found)
    slope = w2 * _compiled.table_moments(table, np.maximum(q, low))[2]
    return VarianceFixedPoints(q, slope, np.abs(slope) < 1 - 1e-12)


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
    return _unwrap(result.reshape(b2.shape))


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


def phase_diagram(
    phi: str | Callable | Activation,
    sigma_w2: Any,
    sigma_b2: Any,
    executor: Any = None,
    progress: bool = False,
    q0: float = 1.0,
) -> PhaseDiagram:
    r"""Fixed points on a grid of variances.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : 1-D array
        Axes of the grid.
    executor : optional
        Anything with the ``map`` of `concurrent.futures.Executor`. Default: threads, one per core.
    progress : bool
        Show a progress bar on stderr (if it is a terminal).
    q0 : float
        Variance of the first pre-activation.

    Returns
    -------
    PhaseDiagram
        Fields of shape ``(len(sigma_w2), len(sigma_b2))``; every point has a phase and a status, none is nan.

    Raises
    ------
    ValueError
        Axes that are empty, not one-dimensional, negative or not finite.

    Examples
    --------
    >>> import numpy as np, mfdnn
    >>> pd = mfdnn.phase_diagram("tanh", np.linspace(0.5, 3, 6), np.linspace(0, 0.3, 4))
    >>> pd.phase[:, 1].tolist()
    ['ordered', 'ordered', 'ordered', 'chaotic', 'chaotic', 'chaotic']
    """
    act = activation(phi)
    w2, b2 = (
        nonnegative_array(name, axis) for name, axis in (("sigma_w2", sigma_w2), ("sigma_b2", sigma_b2))
    )
    for name, axis in (("sigma_w2", w2), ("sigma_b2", b2)):
        if axis.ndim != 1 or axis.size == 0:
            raise ValueError(
                f"`{name}` must be a non-empty 1-D axis, got shape {axis.shape}; pass for example np.linspace(0.5, 4)."
            )
    _variances(w2[:1], b2[:1], q0)
    grid_w, grid_b = (g.ravel() for g in np.meshgrid(w2, b2, indexing="ij"))
    own = ThreadPoolExecutor(os.cpu_count()) if executor is None else None
    try:
        rows, phase, status = _solve(
            act, grid_w, grid_b, np.full(grid_w.size, float(q0)), (own or executor).map, progress
        )
    finally:
        if own is not None:
            own.shutdown(cancel_futures=True)
    shape = (w2.size, b2.size)
    return PhaseDiagram(act.label, w2, b2, *(row.reshape(shape) for row in (*rows, phase, status)))


def variance_map(phi: str | Callable | Activation, q: Any, sigma_w2: float, sigma_b2: float) -> Any:
    r"""One step of the variance map, :math:`\sigma_w^2 E[\phi(\sqrt q z)^2] + \sigma_b^2`, elementwise in `q`.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.variance_map("relu", 1.0, 2.0, 0.1), 12)
    1.1
    """
    act = activation(phi)
    values = nonnegative_array("q", q)
    return _unwrap(variance("sigma_w2", sigma_w2) * moments(act, values)[1] + variance("sigma_b2", sigma_b2))


def correlation_map(
    phi: str | Callable | Activation, c: Any, sigma_w2: float, sigma_b2: float, q: float | None = None
) -> Any:
    r"""One step of the correlation map at variance `q` (default: the fixed point q*), elementwise in `c`.

    Both inputs have variance `q`; the result is normalised by the variance of the next layer.

    Raises
    ------
    ValueError
        \|c\| > 1, negative variances, or no positive finite q* and no `q`.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.correlation_map("relu", 0.0, 2.0, 0.0, q=1.0), 10)  # 1/pi
    0.3183098862
    """
    act = activation(phi)
    corr = finite_array("c", c)
    if np.any(np.abs(corr) > 1):
        raise ValueError(
            f"`c` is a correlation in [-1, 1], got {corr.flat[np.argmax(np.abs(corr))]:g}; divide by q."
        )
    w2, b2 = variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2)
    if q is None:
        q = fixed_point(act, w2, b2).q
        if not 0 < q < np.inf:
            raise ValueError(
                f"`q` is needed: with sigma_w2 = {w2:g}, sigma_b2 = {b2:g} the fixed point is q* = {q:g}; pass q > 0."
            )
    elif variance("q", q) == 0:
        raise ValueError("`q` must be > 0, got 0; correlations of constant zero are undefined.")
    after = w2 * float(moments(act, q)[1]) + b2
    if after == 0:
        raise ValueError(
            f"`sigma_w2` = {w2:g}: the next layer has variance 0 and no correlation; pass a larger one."
        )
    return _unwrap((w2 * np.asarray(expect_product(act, q, corr)) + b2) / after)


def trajectory(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    depth: int,
    q0: float = 1.0,
    c0: float = 0.5,
) -> Trajectory:
    r"""Variance and correlation of pre-activations layer by layer, from (`q0`, `c0`) at the first layer.

    Returns
    -------
    Trajectory
        Arrays of shape (depth + 1,).

    Examples
    --------
    >>> import mfdnn
    >>> path = mfdnn.trajectory("tanh", 6.25, 0.09, depth=100)
    >>> round(float(path.q[-1]), 6), round(float(path.c[-1]), 6)
    (4.079124, 0.122104)
    """
    act = activation(phi)
    w2, b2, start = _variances(sigma_w2, sigma_b2, q0)
    n = positive_integer("depth", depth, minimum=0)
    q, c = np.empty(n + 1), np.empty(n + 1)
    q[0], c[0] = float(start), float(finite_array("c0", c0))
    if abs(c[0]) > 1:
        raise ValueError(f"`c0` is a correlation in [-1, 1], got {c[0]:g}; divide the covariance by q0.")
    top = np.exp(tables(act).moments.edges[-1])
    for layer in range(n):
        if not 0 < q[layer] < top:  # vanished, or out of reach: stays where it is
            q[layer + 1 :], c[layer + 1 :] = q[layer], c[layer]
            break
        q[layer + 1] = variance_map(act, q[layer], float(w2), float(b2))
        c[layer + 1] = (
            correlation_map(act, c[layer], float(w2), float(b2), q=q[layer]) if q[layer + 1] > 0 else 1.0
        )
        c[layer + 1] = min(1.0, max(-1.0, c[layer + 1]))
    return Trajectory(q, c)


# -- implementation ------------------------------------------------------------------------------------------


def _unwrap(array: Any) -> Any:
    array = np.asarray(array)
    return array.item() if array.ndim == 0 else array


def _variances(sigma_w2: Any, sigma_b2: Any, q0: Any) -> list[np.ndarray]:
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


def _has_jumps(act: Activation) -> bool:
    return bool(np.any(act.pieces.jumps[:, 0] != 0))


def _solve(
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
    chi_1 = np.full(q.shape, np.inf) if _has_jumps(act) else w2 * slope2
    chi_c = np.full(q.shape, np.inf) if _has_jumps(act) else gain * slope2
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


def _need_finite_slope(act: Activation) -> None:
    if _has_jumps(act):
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
    _, b2 = _edge(act, grid)
    if sigma_b2 == 0 and table.origin == 0 and b2[np.flatnonzero(b2)[:1]].sum() > 0:
        # The line starts at q* = 0, where only the slopes on the two sides of zero matter; rounding hides its first
        # decades, where b2 is of higher order in q.
        slopes = act.pieces.evaluate(np.array([-1e-300, 1e-300]), 1)
        return float(2.0 / (slopes @ slopes)), 0.0

    def excess(q: float) -> float:
        return float(_edge(act, np.array([q]))[1][0]) - sigma_b2

    gap = np.sign(b2 - sigma_b2)
    roots = np.array([_bisect(excess, grid[i], grid[i + 1]) for i in np.flatnonzero(gap[:-1] * gap[1:] < 0)])
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


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-300, rtol=8.9e-16, maxiter=200))

r"""Gaussian expectations of an activation, with errors.

Expand :math:`\phi(\sqrt q z) = \sum_k a_k(q) h_k(z)` in normalised Hermite polynomials. Then

.. math:: E[\phi(u)\phi(v)] = \sum_k a_k(q_1) a_k(q_2) c^k, \qquad
          E[\phi'(u)\phi'(v)] = \sum_k k\, a_k(q_1) a_k(q_2) c^{k-1} / \sqrt{q_1 q_2}.

The jumps of :math:`\phi` and :math:`\phi'` form a *kink part* :math:`p(x) = \sum_j s_j (x - x_j)_+ + d_j
1(x > x_j)` whose two-dimensional expectations are closed forms (truncated moments of the bivariate
normal), so the series is summed for :math:`\phi` minus that part: it is exact for piecewise-linear
functions and converges quickly for smooth ones. Parseval's identity bounds what the truncated series
leaves out; where the bound is too large the integral is done directly, by Gauss-Legendre panels that
respect every kink.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _compiled
from ._pieces import Pieces
from ._quadrature import REACH, breaks, circle_coefficients, nodes, values
from ._tables import LOG_Q_MIN, tables
from ._validation import finite_array, nonnegative_array
from .activations import Activation, activation

__all__ = ["covariances", "expect", "expect_product", "moments"]

TARGET = 1e-12  # relative error of the series above which a pair is integrated directly
MATRIX_TARGET = 1e-11  # the same in matrices of pairs,
MAX_DIRECT = 500  # where at most this many pairs are integrated directly (a few seconds)
MATRIX_WARNING = 1e-9  # and a larger error of the others is reported

_GAUSS12, _GAUSS16 = (np.polynomial.legendre.leggauss(n) for n in (12, 16))
CIRCLES = 9.0  # radius in the plane, in standard deviations, beyond which nothing is left (3e-18 of the mass)


def expect(phi: str | Callable | Activation, q: Any, derivative: int = 0) -> Any:
    r"""Gaussian expectation :math:`E[\phi^{(d)}(\sqrt q\, z)]`, z standard normal.

    Derivatives are distributional: a jump of :math:`\phi` counts in :math:`\phi'`, a kink in
    :math:`\phi''`, as in :math:`E[\phi''] = E[\phi(\sqrt q z)(z^2 - 1)]/q`.

    Parameters
    ----------
    phi : str, callable or Activation
    q : float or array
        Variance, >= 0.
    derivative : {0, 1, 2}
        Order d of the derivative.

    Returns
    -------
    float or array of the shape of `q`

    Raises
    ------
    ValueError
        Negative or non-finite `q`, unknown `derivative`, `q` beyond the range in which the activation is
        resolved.

    Notes
    -----
    Accuracy about 1e-13 relative to :math:`E[\phi^{(d)2}]^{1/2}` (1e-11 for derivatives of a callable
    whose derivative was not given). Cost: about 0.1 ms per distinct value of q.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.expect("relu", 1.0), 12)  # 1/sqrt(2 pi)
    0.398942280401
    >>> mfdnn.expect("linear", 2.0, derivative=1)
    1.0
    """
    act = activation(phi)
    order = _derivative_order(derivative)
    variance = nonnegative_array("q", q)
    _check_range(act, variance)
    distinct, inverse = np.unique(variance, return_inverse=True)
    result = np.array([_expect_one(act, v, order) for v in distinct])
    return _unwrap(result[inverse].reshape(variance.shape))


def expect_product(
    phi: str | Callable | Activation,
    q: Any,
    c: Any = 1.0,
    q2: Any = None,
    derivative: int = 0,
    return_error: bool = False,
) -> Any:
    r"""Gaussian expectation :math:`E[\phi^{(d)}(u)\,\phi^{(d)}(v)]` of a correlated pair.

    u and v are centred Gaussians with variances `q` and `q2` and correlation `c`.

    Parameters
    ----------
    phi : str, callable or Activation
    q, c, q2 : float or array
        Variances (>= 0) and correlation (in [-1, 1]); they broadcast. ``q2=None`` means ``q2 = q``.
    derivative : {0, 1, 2}
        Order d of the derivative. Infinite expectations (a jump of :math:`\phi^{(d-1)}` at c = 1) are
        returned as inf.
    return_error : bool
        Return also a bound on the absolute error.

    Returns
    -------
    value : float or array
    error : float or array
        Only with ``return_error=True``.

    Raises
    ------
    ValueError
        Negative variances, \|c\| > 1, non-finite numbers, variances beyond the range in which phi is
        resolved.

    Notes
    -----
    Absolute error below 1e-11 relative to :math:`E[\phi^{(d)}(u)^2]^{1/2} E[\phi^{(d)}(v)^2]^{1/2}`,
    mostly 1e-13; piecewise-linear functions are closed forms, smooth ones a series, and what converges
    too slowly is integrated directly. The first call for an activation tabulates it (about 0.1 s). Then
    1-2 microseconds per element by the series, about 10 ms per element by direct integration.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.expect_product("relu", 1.0, 0.5, derivative=1), 12)  # 1/4 + arcsin(c)/(2 pi)
    0.333333333333
    >>> value, error = mfdnn.expect_product("tanh", 2.0, 0.3, return_error=True)
    >>> round(value, 10), error < 1e-11
    (0.1394079415, True)
    """
    act = activation(phi)
    order = _derivative_order(derivative)
    if order == 2 and np.any(act.pieces.jumps[:, 0] != 0):
        raise ValueError(
            f"`derivative` = 2, but activation {act.label!r} jumps: its second derivative has no product; use 0 or 1."
        )
    q1 = nonnegative_array("q", q)
    second = q1 if q2 is None else nonnegative_array("q2", q2)
    corr = finite_array("c", c)
    if np.any(np.abs(corr) > 1):
        raise ValueError(
            f"`c` is a correlation in [-1, 1], got {corr.flat[np.argmax(np.abs(corr))]:g}; divide by sqrt(q q2)."
        )
    q1, second, corr = np.broadcast_arrays(q1, second, corr)
    shape = q1.shape
    value, error = _products(act, q1.ravel(), second.ravel(), corr.ravel(), order)
    value, error = _unwrap(value.reshape(shape)), _unwrap(error.reshape(shape))
    return (value, error) if return_error else value


# -- for layers: moments of vectors of variances, products of matrices ---------------------------------------


def moments(act: Activation, variance: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[phi], E[phi^2] and E[phi'^2] for an array of variances >= 0, each of its shape."""
    variance = np.asarray(variance, dtype=np.float64)
    flat = variance.ravel()
    unit = _unit(act, flat)
    if unit != 1.0:
        mean, second, slope2 = moments(act, variance / unit)
        return np.sqrt(unit) * mean, unit * second, slope2
    _check_range(act, flat)
    second, slope2, _, mean = _compiled.table_moments(tables(act).moments, flat)
    below = flat < np.exp(LOG_Q_MIN)
    if np.any(below):
        mean[below] = [_expect_one(act, q, 0) for q in flat[below]]
        second[below] = [_second_moment(act, q, 0) for q in flat[below]]
        slope2[below] = [_second_moment(act, q, 1) for q in flat[below]]
    if np.any(act.pieces.jumps[:, 0] != 0):
        slope2 = np.full_like(slope2, np.inf)
    return mean.reshape(variance.shape), second.reshape(variance.shape), slope2.reshape(variance.shape)


def covariances(act: Activation, variance: Any, covariance: Any) -> tuple[np.ndarray, np.ndarray]:
    """E[phi phi] and E[phi' phi'] of pairs.

    Either `variance` and `covariance` have one shape (exchangeable inputs: both members of a pair have that
    variance), or `variance` is (T,) and `covariance` (T, T) (given inputs; the diagonal holds the variances).
    """
    variance = np.asarray(variance, dtype=np.float64)
    covariance = np.asarray(covariance, dtype=np.float64)
    unit = _unit(act, variance)
    if unit != 1.0:
        value, slope = covariances(act, variance / unit, covariance / unit)
        return unit * value, slope
    if covariance.ndim == variance.ndim:
        flat = variance.ravel()
        safe = np.where(flat > 0, flat, 1.0)
        corr = np.where(flat > 0, np.clip(covariance.ravel() / safe, -1.0, 1.0), 1.0)
        value, slope = (
            _products(act, flat, flat, corr, order)[0].reshape(variance.shape) for order in (0, 1)
        )
        return value, slope
    return _product_matrices(act, variance, covariance)


def _unit(act: Activation, variance: np.ndarray) -> float:
    """Variance to measure in: 1, or for scale-invariant activations beyond the tables the largest one."""
    largest = float(np.max(variance, initial=0.0))
    return largest if act.homogeneous and np.isfinite(largest) and largest > tables(act).q_max else 1.0


def _product_matrices(
    act: Activation, variance: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    table = tables(act).hermite
    low = np.exp(LOG_Q_MIN)
    mean, second, slope2 = moments(act, variance)
    value, slope, error, slope_error = _compiled.product_matrices(
        table, np.maximum(variance, low), covariance
    )
    error /= np.sqrt(np.multiply.outer(second, second)) + 1e-300
    slope_error /= np.sqrt(np.multiply.outer(slope2, slope2)) + 1e-300
    np.maximum(error, slope_error, out=error)
    np.fill_diagonal(error, 0.0)
    tiny = variance < low
    if np.any(tiny):
        error[tiny] = error[:, tiny] = np.inf
        zero = variance == 0
        slopes = np.array([_expect_one(act, q, 1) for q in variance])
        for target, means in ((value, mean), (slope, slopes)):
            target[zero] = np.multiply.outer(means[zero], means)
            target[:, zero] = target[zero].T
        # Two zero signals are the same signal: correlation 1, as for exchangeable inputs.
        value[np.ix_(zero, zero)], slope[np.ix_(zero, zero)] = second[zero], slope2[zero]
        error[zero] = error[:, zero] = 0.0
    rows, columns = np.nonzero(np.tril(error > MATRIX_TARGET))
    if rows.size:
        _repair(act, variance, covariance, value, slope, error, rows, columns)
    np.fill_diagonal(value, second)
    np.fill_diagonal(slope, slope2)
    return value, slope


def _repair(
    act: Activation,
    variance: np.ndarray,
    covariance: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    error: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Correct, in place, the pairs that the series does not resolve: inputs that are almost copies of each other.

    What the series leaves out of a pair is, to second order in the logarithm of the ratio of the
    variances, what it leaves out of two inputs of their geometric mean, and for those the integral is
    tabulated. The pairs that are still in doubt are integrated one by one, worst first, at most
    `MAX_DIRECT` of them (a few seconds).
    """
    first, second = variance[rows], variance[columns]
    q = np.sqrt(first * second)
    c = np.clip(covariance[rows, columns] / np.maximum(q, 1e-300), -1.0, 1.0)
    left = error[rows, columns]
    near = (c >= 0) & np.isfinite(left)
    if np.any(near):
        at, corr = q[near], c[near]
        table = tables(act)
        theta = 2 * np.arcsin(np.sqrt((1 - corr) / 2))
        exact_slope, mean_slope = _compiled.equal_products(table.correlations(at), at, theta)
        exact = _compiled.table_moments(table.moments, at)[0] - at * mean_slope * (1 - corr)
        series = _compiled.series_products(table.hermite, at, at, corr)
        for target, change in ((value, exact - series[0]), (slope, exact_slope - series[1])):
            target[rows[near], columns[near]] += change
            target[columns[near], rows[near]] = target[rows[near], columns[near]]
        left[near] *= np.minimum(1.0, 4 * np.log(first[near] / second[near]) ** 2)
    doubtful = np.flatnonzero(left > MATRIX_TARGET)
    doubtful = doubtful[np.argsort(-left[doubtful])]
    for i in doubtful[:MAX_DIRECT]:
        s, t = rows[i], columns[i]
        for order, target in ((0, value), (1, slope)):
            target[s, t] = target[t, s] = _direct(act, first[i], second[i], c[i], order)[0]
    rest = left[doubtful[MAX_DIRECT:]]
    if rest.size and rest[0] > MATRIX_WARNING:
        warnings.warn(
            f"{np.sum(rest > MATRIX_WARNING)} pairs of inputs are too similar for the series of {act.label!r}: "
            f"relative errors of their covariances are up to {rest[0]:.1g}; remove near copies of other inputs.",
            RuntimeWarning,
            stacklevel=2,
        )


# -- implementation ------------------------------------------------------------------------------------------


def _derivative_order(derivative: Any) -> int:
    if derivative not in (0, 1, 2) or isinstance(derivative, bool):
        raise ValueError(
            f"`derivative` must be 0, 1 or 2, got {derivative!r}; choose the order of the derivative."
        )
    return int(derivative)


def _unwrap(array: np.ndarray) -> Any:
    return float(array) if array.ndim == 0 else array


def _check_range(act: Activation, q: np.ndarray) -> None:
    largest, q_max = float(np.max(q, initial=0.0)), tables(act).q_max
    if largest > q_max * (1 + 1e-12):
        raise ValueError(
            f"`q` = {largest:g} is beyond {q_max:g}, up to which activation {act.label!r} is resolved (it grows or "
            "oscillates too fast for larger variances); use smaller variances."
        )


def _masses(pieces: Pieces, order: int) -> np.ndarray:
    """Point masses of phi' (jumps of phi) or phi'' (jumps of phi') at the breaks; phi has none."""
    return pieces.jumps[:, order - 1] if order else np.zeros_like(pieces.breaks)


def _expect_one(act: Activation, q: float, order: int) -> float:
    if q == 0:
        return _at_zero(act, order)
    z, weight = nodes(breaks(act, q))
    root = np.sqrt(q)
    total = float(weight @ values(act, root * z, order))
    pieces = act.pieces
    y = pieces.breaks / root
    density = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi * q)
    total += float(_masses(pieces, order) @ density)
    if order == 2:  # a jump of phi is a dipole in phi''
        total += float(pieces.jumps[:, 0] @ (density * y / root))
    return total


def _at_zero(act: Activation, order: int) -> float:
    """Limit of E[phi^(d)] for q -> 0: the mean of the two one-sided values; inf where it is infinite."""
    pieces = act.pieces
    if np.any(pieces.jumps[pieces.breaks == 0.0, :order] != 0):
        return np.inf
    return float(np.mean(values(act, np.array([-1e-300, 1e-300]), order)))


def _second_moment(act: Activation, q: float, order: int) -> float:
    """E[phi^(d)(u)^2]; inf if phi^(d) has a point mass."""
    pieces = act.pieces
    if np.any(pieces.jumps[:, :order] != 0):
        return np.inf
    return _regular_second_moment(act, q, order)


def _regular_second_moment(act: Activation, q: float, order: int) -> float:
    if q == 0:
        return float(np.mean(values(act, np.array([-1e-300, 1e-300]), order) ** 2))
    z, weight = nodes(breaks(act, q))
    return float(weight @ values(act, np.sqrt(q) * z, order) ** 2)


def _rounding(act: Activation, order: int, scale: Any) -> Any:
    """Error of tables and quadrature beyond truncation, for a product of size `scale`; measured in the tests."""
    relative = 2e-13 if order < 2 else 2e-10
    # Both factors are uncertain where derivatives are read off piecewise polynomials: phi'' always is.
    noise = (
        act.pieces.slope_noise
        if order == 1
        else 1e3 * max(act.pieces.slope_noise, 1e-15)
        if order == 2
        else 0.0
    )
    unresolved = 1.0 if act.pieces.resolved else 1e5
    return unresolved * (relative * scale + 2 * noise * np.sqrt(scale) + noise**2)


def _products(
    act: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values and error bounds of E[phi^(d)(u) phi^(d)(v)] for flat arrays of equal length."""
    value = np.empty(q1.shape)
    error = np.empty(q1.shape)
    _check_range(act, np.maximum(q1, q2))
    done = (c == 1) & (q1 == q2)
    for variance in np.unique(q1[done]):
        at = done & (q1 == variance)
        value[at] = _second_moment(act, variance, order)
        error[at] = _rounding(act, order, value[at]) if np.isfinite(value[at][0]) else 0.0
    series = (
        np.flatnonzero(~done & (np.minimum(q1, q2) >= np.exp(LOG_Q_MIN))) if order < 2 else np.empty(0, int)
    )
    if series.size:
        table = tables(act)
        first, second = q1[series], q2[series]
        out = _compiled.series_products(table.hermite, first, second, c[series])
        sizes = [_compiled.table_moments(table.moments, q) for q in (first, second)]
        second_moment, scale = np.sqrt(sizes[0][0] * sizes[1][0]), np.sqrt(sizes[0][order] * sizes[1][order])
        missing = out[2 + order]
        if order == 1:  # the coefficients are as right as phi, which may be large against sqrt(q) phi'
            missing = missing + 5e-16 * second_moment / np.sqrt(first * second)
        value[series] = out[order]
        error[series] = missing + _rounding(act, order, scale)
        done[series[missing <= TARGET * scale]] = True
    for i in np.flatnonzero(~done):
        value[i], error[i] = _direct(act, q1[i], q2[i], c[i], order)
    return value, error


def _direct(act: Activation, q1: float, q2: float, c: float, order: int) -> tuple[float, float]:
    """Panels at every edge of phi in u and in v; the error bound compares rules of 16 and 12 points a panel."""
    pieces = act.pieces
    if q1 == 0 or q2 == 0:
        first, second = _expect_one(act, q1, order), _expect_one(act, q2, order)
        value = first * second if first and second else 0.0
        return value, 2 * _rounding(act, order, abs(value)) if np.isfinite(value) else 0.0
    if abs(c) == 1:
        return _aligned(act, q1, q2, c, order)
    scale = np.sqrt(_regular_second_moment(act, q1, order) * _regular_second_moment(act, q2, order))
    if scale == 0 and not np.any(_masses(pieces, order)):
        return 0.0, 0.0
    method = _circles if pieces.smooth else _panels
    fine, coarse = (method(act, q1, q2, c, order, rule) for rule in (_GAUSS16, _GAUSS12))
    return fine, abs(fine - coarse) + 5 * _rounding(act, order, scale)


def _panels(act: Activation, q1: float, q2: float, c: float, order: int, rule: tuple) -> float:
    """U = sqrt(q1) z and v = sqrt(q2) (c z + s w) by panels in z and in w that end where phi breaks in u or in v."""
    pieces = act.pieces
    r1, r2 = np.sqrt(q1), np.sqrt(q2)
    s = np.sqrt((1 - c) * (1 + c))
    edges = [breaks(act, q1)]
    if c != 0:
        edges.append(pieces.edges / (c * r2))
        # phi smoothed by s bends within a few s/|c| of each break.
        layer = np.array([0.5, 1, 1.75, 2.5, 3.5, 5, 7, 9]) * s / abs(c)
        edges.append(((pieces.breaks / (c * r2))[:, None] + np.concatenate([-layer, layer])).ravel())
    outer = np.unique(np.concatenate(edges))
    outer = outer[np.abs(outer) <= REACH]
    outer = outer[np.append(True, np.diff(outer) > 1e-15)]
    masses = _masses(pieces, order)
    return _compiled.pair_expectation(
        pieces.edges, pieces.coefficients[order], pieces.breaks, masses, outer, r1, r2, c, s, 9.0, *rule
    )


def _circles(act: Activation, q1: float, q2: float, c: float, order: int, rule: tuple) -> float:
    """U = sqrt(q1) r cos a and v = sqrt(q2) r cos(a + arccos c), for smooth phi, by Fourier series on circles.

    With phi(sqrt(q) r cos a) = sum_m b_m cos(m a) the mean over a circle is sum_m b_m(q1) b_m(q2) cos(m
    arccos c)/2.
    """
    r1, r2 = np.sqrt(q1), np.sqrt(q2)
    edges = np.abs(act.pieces.edges)
    edges = np.concatenate([np.arange(0.0, CIRCLES, 1.5), edges / r1, edges / r2, [CIRCLES]])
    edges = np.unique(edges[edges <= CIRCLES])
    theta = np.arctan2(np.sqrt((1 - c) * (1 + c)), c)
    tolerance = 1e-15 * min(_regular_second_moment(act, q, order) for q in (q1, q2))
    total = 0.0
    n1 = n2 = 16
    for low, high in itertools.pairwise(edges):
        r = (low + high) / 2 + (high - low) / 2 * rule[0]
        gain = tolerance * np.exp(0.5 * low**2)
        first = circle_coefficients(lambda x: values(act, x, order), r1 * r, gain, n1)
        other = first if q1 == q2 else circle_coefficients(lambda x: values(act, x, order), r2 * r, gain, n2)
        n1, n2 = first.shape[1], other.shape[1]
        m = np.arange(min(n1, n2))
        circle = (first[:, m] * other[:, m]) @ np.where(m == 0, 1.0, 0.5 * np.cos(m * theta))
        total += float((high - low) / 2 * rule[1] @ (r * np.exp(-0.5 * r**2) * circle))
    return total


def _aligned(act: Activation, q1: float, q2: float, sign: float, order: int) -> tuple[float, float]:
    """`_direct` for v = sign sqrt(q2/q1) u: one-dimensional; inf where point masses of both factors meet."""
    r1, r2 = np.sqrt(q1), sign * np.sqrt(q2)
    z, weight = nodes(np.union1d(breaks(act, q1), breaks(act, q2) if sign > 0 else -breaks(act, q2)))
    value = float(weight @ (values(act, r1 * z, order) * values(act, r2 * z, order)))
    pieces = act.pieces
    masses = _masses(pieces, order)
    for root, other in ((r1, r2), (r2, r1)):
        for at, mass in zip(pieces.breaks[masses != 0], masses[masses != 0], strict=True):
            z_at = at / root
            if np.any(np.abs(other * z_at - pieces.breaks[masses != 0]) <= 1e-15 * abs(at)):
                return np.inf, 0.0
            density = np.exp(-0.5 * z_at**2) / np.sqrt(2 * np.pi)
            value += mass * density / abs(root) * float(values(act, np.array([other * z_at]), order)[0])
    scale = np.sqrt(_regular_second_moment(act, q1, order) * _regular_second_moment(act, q2, order))
    return value, 5 * _rounding(act, order, max(scale, abs(value)))

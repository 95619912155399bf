r"""Gaussian expectations of an activation, with errors.

Expand :math:`\phi(\sqrt q z) = \sum_k a_k(q) h_k(z)` in normalised Hermite polynomials. Then

.. math:: E[\phi(u)\phi(v)] = \sum_k a_k(q_1) a_k(q_2) c^k, \qquad
          E[\phi'(u)\phi'(v)] = \sum_k k\, a_k(q_1) a_k(q_2) c^{k-1} / \sqrt{q_1 q_2}.

The jumps of :math:`\phi` and of its first three derivatives form a *kink part* of truncated powers
:math:`(x - x_j)_+^i`, whose two-dimensional expectations are closed forms (truncated moments of the bivariate
normal); the series is summed for :math:`\phi` minus that part. So it is exact for piecewise-linear functions
and converges quickly for smooth ones. Parseval's identity bounds what the truncated series leaves out; where
the bound is too large the integral over the plane is done by quadrature that respects every kink.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _compiled
from ._pairs import direct, expectation, products
from ._quadrature import second_moment
from ._tables import LOG_Q_MIN, tables
from ._validation import finite_array, nonnegative_array
from .activations import Activation, activation

__all__ = ["covariances", "expect", "expect_product", "moments"]

MATRIX_TARGET = 1e-11  # relative error above which a pair of given inputs is integrated directly,
MAX_DIRECT = 500  # but at most this many of them (a few seconds)
MATRIX_WARNING = 1e-9  # a larger error of the others is reported


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
    result = np.array([expectation(act, v, order) for v in distinct])
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
        resolved, shapes that do not broadcast, or d = 2 for an activation that jumps.

    Notes
    -----
    Relative to :math:`(E[\phi^{(d)}(u)^2] E[\phi^{(d)}(v)^2])^{1/2}` the error is below 1e-12 for d < 2
    and below 1e-9 for d = 2; where a derivative is not given it is as uncertain as it can be read off
    phi, about 1e-12 of the size of phi near zero. Piecewise-linear functions are closed forms, smooth
    ones a series, and what converges too slowly is integrated over the plane. The first call for an
    activation tabulates it (0.1 to 0.3 s); then about a microsecond per element by the series, 1 to 50 ms
    by integration.

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
            f"`derivative` = 2, but activation {act.label!r} jumps: its second derivative has no products; use "
            "0 or 1."
        )
    q1 = nonnegative_array("q", q)
    second = q1 if q2 is None else nonnegative_array("q2", q2)
    corr = finite_array("c", c)
    if np.any(np.abs(corr) > 1):
        worst = corr.flat[np.argmax(np.abs(corr))]
        raise ValueError(
            f"`c` is a correlation in [-1, 1], got {worst:g}; divide the covariance by sqrt(q q2)."
        )
    try:
        q1, second, corr = np.broadcast_arrays(q1, second, corr)
    except ValueError:
        raise ValueError(
            f"`q`, `c`, `q2` must broadcast, got shapes {q1.shape}, {corr.shape}, {second.shape}; add axes."
        ) from None
    _check_range(act, np.maximum(q1, second))
    shape = q1.shape
    value, error = products(act, q1.ravel(), second.ravel(), corr.ravel(), order)
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
    for i in np.flatnonzero(flat < np.exp(LOG_Q_MIN)):
        mean[i] = expectation(act, flat[i], 0)
        second[i], slope2[i] = second_moment(act, flat[i], 0), second_moment(act, flat[i], 1)
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
        _check_range(act, flat)
        safe = np.where(flat > 0, flat, 1.0)
        corr = np.where(flat > 0, np.clip(covariance.ravel() / safe, -1.0, 1.0), 1.0)
        value, slope = (products(act, flat, flat, corr, order)[0].reshape(variance.shape) for order in (0, 1))
        return value, slope
    return _product_matrices(act, variance, covariance)


def _unit(act: Activation, variance: np.ndarray) -> float:
    """Variance to measure in: 1, or for scale-invariant activations beyond the tables the largest one."""
    largest = float(np.max(variance, initial=0.0))
    return largest if act.homogeneous and np.isfinite(largest) and largest > tables(act).q_max else 1.0


def _product_matrices(
    act: Activation, variance: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    low = np.exp(LOG_Q_MIN)
    mean, second, slope2 = moments(act, variance)
    value, slope, error, slope_error = _compiled.product_matrices(
        tables(act).hermite, np.maximum(variance, low), covariance
    )
    # Relative errors; if phi jumps, E[phi'^2] is infinite and no scale for E[phi' phi'].
    slope_size = np.where(np.isfinite(slope2), slope2, second / np.maximum(variance, low))
    error /= np.sqrt(np.multiply.outer(second, second)) + 1e-300
    slope_error /= np.sqrt(np.multiply.outer(slope_size, slope_size)) + 1e-300
    np.maximum(error, slope_error, out=error)
    tiny, zero = variance < low, variance == 0
    error[tiny] = error[:, tiny] = np.inf
    if np.any(zero):
        mean_slope = np.array([expectation(act, q, 1) for q in variance])
        for target, means in ((value, mean), (slope, mean_slope)):
            target[zero] = np.multiply.outer(means[zero], means)
            target[:, zero] = target[zero].T
        # Two zero signals are the same signal: correlation 1, as for exchangeable inputs.
        value[np.ix_(zero, zero)], slope[np.ix_(zero, zero)] = second[zero], slope2[zero]
        error[zero] = error[:, zero] = 0.0
    _repair(act, variance, covariance, value, slope, error)
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
) -> None:
    """Correct, in place, what the series does not resolve: inputs that are almost copies of each other.

    What the series leaves out of a pair is, to second order in the logarithm of the ratio of the variances,
    what it leaves out of two inputs of their geometric mean, and for those the integral is tabulated. The
    pairs that are still in doubt are integrated one by one, worst first, at most `MAX_DIRECT` of them.
    """
    rows, columns = np.nonzero(np.tril(error > MATRIX_TARGET, -1))
    error = error[rows, columns]
    first, second = variance[rows], variance[columns]
    q = np.sqrt(first * second)
    c = np.clip(covariance[rows, columns] / np.maximum(q, 1e-300), -1.0, 1.0)
    near = np.flatnonzero((c >= 0) & np.isfinite(error))
    if near.size:
        tab, at = tables(act), q[near]
        gap = 1 - c[near]
        slopes, means = _compiled.equal_products(tab.correlations(at), at, 2 * np.arcsin(np.sqrt(gap / 2)))
        products_ = _compiled.table_moments(tab.moments, at)[0] - at * means * gap
        series = _compiled.series_products(tab.hermite, at, at, c[near])
        for target, missing in ((value, products_ - series[0]), (slope, slopes - series[1])):
            target[rows[near], columns[near]] += missing
            target[columns[near], rows[near]] = target[rows[near], columns[near]]
        error[near] *= np.minimum(1.0, 4 * np.log(first[near] / second[near]) ** 2)
    doubtful = np.flatnonzero(error > MATRIX_TARGET)
    doubtful = doubtful[np.argsort(-error[doubtful])]
    for i in doubtful[:MAX_DIRECT]:
        s, t = rows[i], columns[i]
        for order, target in ((0, value), (1, slope)):
            target[s, t] = target[t, s] = direct(act, first[i], second[i], c[i], order)[0]
    rest = error[doubtful[MAX_DIRECT:]]
    if rest.size and rest[0] > MATRIX_WARNING:
        warnings.warn(
            f"{np.sum(rest > MATRIX_WARNING)} pairs of inputs are too similar for the series of {act.label!r}; "
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
            f"`q` = {largest:g} is beyond {q_max:g}, up to which activation {act.label!r} is resolved: it grows or "
            "oscillates too fast for larger variances; use smaller ones."
        )

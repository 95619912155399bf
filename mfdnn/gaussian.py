r"""Gaussian expectations of an activation, with errors.

Expand :math:`\phi(\sqrt q z) = \sum_k a_k(q) h_k(z)` in normalised Hermite polynomials. Then

.. math:: E[\phi(u)\phi(v)] = \sum_k a_k(q_1) a_k(q_2) c^k, \qquad
          E[\phi'(u)\phi'(v)] = \sum_k k\, a_k(q_1) a_k(q_2) c^{k-1} / \sqrt{q_1 q_2}.

The jumps of :math:`\phi` and :math:`\phi'` form a *kink part* :math:`p(x) = \sum_j s_j (x - x_j)_+ + d_j 1(x > x_j)` whose
two-dimensional expectations are closed forms (truncated moments of the bivariate normal), so the series is summed for
:math:`\phi` minus that part: it is exact for piecewise-linear functions and converges quickly for smooth ones. Parseval's
identity bounds what the truncated series leaves out; where the bound is too large the integral is done directly, by
Gauss-Legendre panels that respect every kink.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _compiled
from ._compiled import Table
from ._pieces import DEGREE, NODES, chebyshev_fit
from ._validation import finite_array, nonnegative_array
from .activations import Activation, activation

__all__ = ["covariances", "expect", "expect_product", "moments", "table"]

REACH = 12.0  # standard deviations beyond which a Gaussian weight is dropped (1e-31 of the mass)
LOG_Q_MIN = np.log(1e-12)
TERMS = (2, 16, 32, 64, 128, 256, 512)  # numbers of Hermite terms to choose from
MAX_KINKS = 8  # more kinks than that are left to the series
TARGET = 1e-12  # relative truncation error above which `expect_product` integrates directly

_GL_X, _GL_W = np.polynomial.legendre.leggauss(16)
_UNIT_PANELS = np.arange(-REACH, REACH + 0.5)


def expect(phi: str | Callable | Activation, q: Any, derivative: int = 0) -> Any:
    r"""Gaussian expectation :math:`E[\phi^{(d)}(\sqrt q\, z)]`, z standard normal.

    Derivatives are distributional: a jump of :math:`\phi` counts in :math:`\phi'`, a kink in :math:`\phi''`, as in
    :math:`E[\phi''] = E[\phi(\sqrt q z)(z^2 - 1)]/q`.

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
        Negative or non-finite `q`, unknown `derivative`, `q` beyond the range in which the activation is resolved.

    Notes
    -----
    Accuracy about 1e-13 relative to :math:`E[\phi^{(d)2}]^{1/2}` (1e-11 for derivatives of a callable whose derivative
    was not given). Cost: about 0.1 ms per distinct value of q.

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
    values, inverse = np.unique(variance, return_inverse=True)
    result = np.array([_expect_one(act, v, order) for v in values])
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
        Order d of the derivative. Infinite expectations (a jump of :math:`\phi^{(d-1)}` at c = 1) are returned as inf.
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
        Negative variances, \|c\| > 1, non-finite numbers, variances beyond the range in which phi is resolved.

    Notes
    -----
    Absolute error below 1e-11 relative to :math:`E[\phi^{(d)}(u)^2]^{1/2} E[\phi^{(d)}(v)^2]^{1/2}`, mostly 1e-13; piecewise-linear
    functions are closed forms, smooth ones a series, and what converges too slowly is integrated directly. The
    first call for an activation tabulates it (about 0.1 s). Then 1-2 microseconds per element by the series, about 10 ms
    per element by direct integration.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.expect_product("relu", 1.0, 0.5, derivative=1), 12)  # 1/4 + arcsin(c)/(2 pi)
    0.333333333333
    >>> value, error = mfdnn.expect_product("tanh", 2.0, 0.3, return_error=True)
    >>> round(value, 10), error < 1e-11
    (0.1426829303, True)
    """
    act = activation(phi)
    order = _derivative_order(derivative)
    q1 = nonnegative_array("q", q)
    second = q1 if q2 is None else nonnegative_array("q2", q2)
    corr = finite_array("c", c)
    if np.any(np.abs(corr) > 1):
        raise ValueError(f"`c` is a correlation in [-1, 1], got {corr.flat[np.argmax(np.abs(corr))]:g}; divide by sqrt(q q2).")
    q1, second, corr = np.broadcast_arrays(q1, second, corr)
    shape = q1.shape
    value, error = _products(act, q1.ravel(), second.ravel(), corr.ravel(), order)
    value, error = _unwrap(value.reshape(shape)), _unwrap(error.reshape(shape))
    return (value, error) if return_error else value


# -- for layers: moments of vectors of variances, products of matrices -----------------------------------------------


def moments(act: Activation, variance: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[phi], E[phi^2] and E[phi'^2] for an array of variances >= 0, each of its shape."""
    variance = np.asarray(variance, dtype=np.float64)
    flat = variance.ravel()
    tab = table(act)
    _check_range(act, tab, flat)
    low = np.exp(tab.edges[0])
    second, slope2, _, mean = _compiled.table_moments(tab, np.maximum(flat, low))
    tiny = flat < low
    if np.any(tiny):
        mean[tiny] = [_expect_one(act, v, 0) for v in flat[tiny]]
        second[tiny] = [_second_moment(act, v, 0) for v in flat[tiny]]
    if np.any(act.pieces.jumps != 0):
        slope2 = np.full_like(slope2, np.inf)
    return tuple(part.reshape(variance.shape) for part in (mean, second, slope2))  # type: ignore[return-value]


def covariances(act: Activation, variance: Any, covariance: Any) -> tuple[np.ndarray, np.ndarray]:
    """E[phi phi] and E[phi' phi'] of pairs.

    Either `variance` and `covariance` have one shape (exchangeable inputs: both members of a pair have that variance), or
    `variance` is (T,) and `covariance` (T, T) (given inputs; the diagonal holds the variances).
    """
    variance = np.asarray(variance, dtype=np.float64)
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.ndim == variance.ndim:
        flat = variance.ravel()
        safe = np.where(flat > 0, flat, 1.0)
        corr = np.where(flat > 0, np.clip(covariance.ravel() / safe, -1.0, 1.0), 1.0)
        parts = (_products(act, flat, flat, corr, order)[0].reshape(variance.shape) for order in (0, 1))
        return tuple(parts)  # type: ignore[return-value]
    return _product_matrices(act, variance, covariance)


def _product_matrices(act: Activation, variance: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tab = table(act)
    _check_range(act, tab, variance)
    low = np.exp(tab.edges[0])
    _, second, slope2 = moments(act, variance)
    value, slope, error, slope_error = _compiled.product_matrices(tab, np.maximum(variance, low), covariance)
    outer = np.sqrt(np.multiply.outer(second, second))
    outer_slope = np.sqrt(np.multiply.outer(slope2, slope2))
    hard = np.tril((error > 1e-11 * outer) | (slope_error > 1e-10 * outer_slope), -1)
    tiny = variance < low
    hard |= np.tril(tiny[:, None] | tiny[None, :], -1)
    rows, columns = np.nonzero(hard)
    # Pairs the series cannot resolve are integrated one by one, worst first; a batch of inputs that are almost copies of
    # each other would take hours, so at most this many.
    if rows.size:
        worst = np.argsort(-error[rows, columns])[:MAX_DIRECT]
        for s, t in zip(rows[worst], columns[worst], strict=True):
            root = np.sqrt(variance[s] * variance[t])
            c = np.clip(covariance[s, t] / root, -1, 1) if root > 0 else 1.0
            for order, target in ((0, value), (1, slope)):
                target[s, t] = target[t, s] = _direct(act, variance[s], variance[t], c, order)[0]
    np.fill_diagonal(value, second)
    np.fill_diagonal(slope, slope2)
    return value, slope


MAX_DIRECT = 500  # direct integrals per matrix of given inputs (5 s)


# -- implementation --------------------------------------------------------------------------------------------------

_tables: weakref.WeakKeyDictionary[Activation, Table] = weakref.WeakKeyDictionary()


def table(act: Activation) -> Table:
    """The activation as numbers for kernels; built on first use, then kept with the activation."""
    try:
        return _tables[act]
    except KeyError:
        _tables[act] = built = _build_table(act)
        return built


def _derivative_order(derivative: Any) -> int:
    if derivative not in (0, 1, 2) or isinstance(derivative, bool):
        raise ValueError(f"`derivative` must be 0, 1 or 2, got {derivative!r}; choose the order of the derivative of phi.")
    return int(derivative)


def _unwrap(array: np.ndarray) -> Any:
    return float(array) if array.ndim == 0 else array


def _breaks(act: Activation, q: float) -> np.ndarray:
    """Panel edges in z for integrands phi(sqrt(q) z) times a Gaussian weight."""
    root = np.sqrt(q)
    if root == 0:
        return _UNIT_PANELS
    inner = act.pieces.edges
    inner = inner[np.abs(inner) < REACH * root] / root
    edges = np.unique(np.concatenate([_UNIT_PANELS, inner]))
    # A sliver between an edge of phi and a unit edge carries nothing; keep the edge of phi.
    keep = np.append(np.diff(edges) > 1e-13, True)
    return edges[keep] if keep.all() else np.unique(np.concatenate([[-REACH, REACH], inner, edges[keep]]))


def _nodes(breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes z and weights (Gaussian density included) for panels `breaks`."""
    half = np.diff(breaks) / 2
    middle = (breaks[1:] + breaks[:-1]) / 2
    z = (middle[:, None] + half[:, None] * _GL_X).ravel()
    weight = (half[:, None] * _GL_W).ravel() * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return z, weight


def _values(act: Activation, x: np.ndarray, order: int) -> np.ndarray:
    """phi, phi' or phi'' (regular part) at x, in float64."""
    if order == 0:
        return act(x)
    return act.slope(x) if order == 1 else act.pieces.evaluate(x, 2)


def _check_range(act: Activation, tab: Table, q: np.ndarray) -> None:
    high = _q_max(act)
    largest = float(np.max(q, initial=0.0))
    if largest > high * (1 + 1e-12):
        raise ValueError(
            f"`q` = {largest:g} is beyond {high:g}, up to which activation {act.label!r} is resolved (it grows or oscillates too "
            "fast for larger variances); use smaller variances."
        )


def _q_max(act: Activation) -> float:
    """Largest variance at which phi is known over the whole weight and its square does not outgrow it."""
    high = (act.pieces.reach / REACH) ** 2
    while high > 1e-6:
        ends = np.sqrt(high) * REACH * np.array([-1.0, 1.0])
        with np.errstate(all="ignore"):
            edge = np.abs(act(ends)).max()
            inner = np.abs(act(ends[:, None] * np.linspace(0.05, 0.5, 10))).max()
        if np.isfinite(edge) and edge**2 * np.exp(-0.5 * REACH**2) <= 1e-17 * max(inner**2 * np.exp(-0.125 * REACH**2), 1e-300):
            break
        high /= 2
    return high


def _expect_one(act: Activation, q: float, order: int) -> float:
    _check_range(act, None, np.array([q]))
    if q == 0:
        return _at_zero(act, order)
    z, weight = _nodes(_breaks(act, q))
    root = np.sqrt(q)
    total = float(weight @ _values(act, root * z, order))
    if order:
        y = act.pieces.kinks / root
        density = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi * q)
        total += float((act.pieces.jumps if order == 1 else act.pieces.slopes) @ density)
        if order == 2:  # a jump of phi is a dipole in phi''
            total += float(act.pieces.jumps @ (density * y / root))
    return total


def _at_zero(act: Activation, order: int) -> float:
    """Limit q -> 0: phi(0), or the mean of the two one-sided slopes; inf where that limit is infinite."""
    pieces = act.pieces
    if order == 0:
        at_kink = pieces.jumps[pieces.kinks == 0.0]
        return float(act(np.zeros(1))[0]) if at_kink.size == 0 or at_kink[0] == 0 else float(act(np.array([1e-300, -1e-300])).mean())
    singular = pieces.jumps if order == 1 else pieces.slopes
    if np.any(singular[pieces.kinks == 0.0] != 0):
        return np.inf
    return float(np.mean(pieces.evaluate(np.array([-1e-300, 1e-300]), order)))


def _second_moment(act: Activation, q: float, order: int) -> float:
    """E[phi^(d)(u)^2]; inf if phi^(d) has a point mass."""
    pieces = act.pieces
    if (order >= 1 and np.any(pieces.jumps != 0)) or (order == 2 and np.any(pieces.slopes != 0)):
        return np.inf
    if q == 0:
        if order == 0:
            return float(np.mean(act(np.array([-1e-300, 1e-300])) ** 2))
        return float(np.mean(pieces.evaluate(np.array([-1e-300, 1e-300]), order) ** 2))
    z, weight = _nodes(_breaks(act, q))
    return float(weight @ _values(act, np.sqrt(q) * z, order) ** 2)


def _products(
    act: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values and error bounds of E[phi^(d)(u) phi^(d)(v)] for flat arrays of equal length."""
    value = np.empty(q1.shape)
    error = np.empty(q1.shape)
    if q1.size == 0:
        return value, error
    tab = table(act)
    _check_range(act, tab, np.maximum(q1, q2))
    low = np.exp(tab.edges[0])
    one_dimensional = (c == 1) & (q1 == q2)
    for variance in np.unique(q1[one_dimensional]):
        at = one_dimensional & (q1 == variance)
        value[at] = _second_moment(act, variance, order)
        error[at] = _rounding(act, order) * value[at] if np.isfinite(value[at][0]) else 0.0
    in_table = ~one_dimensional & (np.minimum(q1, q2) >= low)
    if order < 2 and np.any(in_table):
        out = _compiled.series_products(tab, q1[in_table], q2[in_table], c[in_table])
        scale = _scale(act, tab, q1[in_table], q2[in_table], order)
        value[in_table] = out[order]
        error[in_table] = out[2 + order] + _rounding(act, order) * scale
        one_dimensional[np.flatnonzero(in_table)[out[2 + order] <= TARGET * scale]] = True
    for i in np.flatnonzero(~one_dimensional):
        value[i], error[i] = _direct(act, q1[i], q2[i], c[i], order)
    return value, error


def _rounding(act: Activation, order: int) -> float:
    """Relative error of tables and quadrature beyond truncation, measured against 30-digit references in the tests."""
    exact_slope = act._derivative is not None or act.pieces.piecewise_linear
    base = 2e-13 if order == 0 or exact_slope else 1e-11
    return base * (10.0 ** (3 * (order == 2))) * (1.0 if act.pieces.resolved else 1e5)


def _scale(act: Activation, tab: Table, q1: np.ndarray, q2: np.ndarray, order: int) -> np.ndarray:
    first = _compiled.table_moments(tab, q1)[order]
    second = _compiled.table_moments(tab, q2)[order]
    scale = np.sqrt(first * second)
    return np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)


def _direct(act: Activation, q1: float, q2: float, c: float, order: int) -> tuple[float, float]:
    """Direct integration with panels at every edge of phi in u and in v; the error compares 16- with 12-point panels."""
    pieces = act.pieces
    r1, r2 = np.sqrt(q1), np.sqrt(q2)
    s = np.sqrt((1 - c) * (1 + c))
    if (order == 2 and np.any(pieces.jumps != 0)) or (order and s * r2 == 0 and np.any(_masses(pieces, order) != 0)):
        return np.inf, 0.0
    if q1 == 0 or q2 == 0:
        a, b = (_at_zero(act, order) if q == 0 else _expect_one(act, q, order) for q in (q1, q2))
        scale = abs(a * b)
        return a * b, _rounding(act, order) * scale
    breaks = [_breaks(act, q1)]
    if abs(c) * r2 > 0:
        mapped = pieces.edges / (c * r2)
        breaks.append(mapped[np.abs(mapped) < REACH])
        # phi smoothed by s bends within a few s/|c| of each kink.
        layer = np.array([0.5, 1, 1.75, 2.5, 3.5, 5, 7, 9]) * s / abs(c)
        around = (pieces.kinks / (c * r2))[:, None] + np.concatenate([-layer, layer])
        breaks.append(around[np.abs(around) < REACH])
    edges = np.unique(np.concatenate([np.ravel(b) for b in breaks]))
    edges = edges[np.append(True, np.diff(edges) > 1e-15)]
    masses = _masses(pieces, order) if order else np.zeros_like(pieces.kinks)
    results = [
        _compiled.pair_expectation(
            pieces.edges, pieces.coefficients[order], pieces.kinks, masses, edges, r1, r2, c, s, 9.0, nodes, weights
        )
        for nodes, weights in ((_GL_X, _GL_W), (_compiled._GAUSS12_X, _compiled._GAUSS12_W))
    ]
    scale = np.sqrt(_regular_second_moment(act, q1, order) * _regular_second_moment(act, q2, order))
    return results[0], abs(results[0] - results[1]) + 5 * _rounding(act, order) * scale


def _masses(pieces: Any, order: int) -> np.ndarray:
    """Point masses of phi' (jumps of phi) or phi'' (jumps of phi') at the kinks."""
    return pieces.jumps if order == 1 else pieces.slopes


def _regular_second_moment(act: Activation, q: float, order: int) -> float:
    z, weight = _nodes(_breaks(act, q))
    return float(weight @ _values(act, np.sqrt(q) * z, order) ** 2)


def _hermite(act: Activation, q: float, terms: int) -> np.ndarray:
    """E[phi^2], E[phi'^2], q d/dq E[phi^2], then the Hermite coefficients a_0..a_K, at variance q."""
    z, weight = _nodes(_breaks(act, q))
    phi, slope = (_values(act, np.sqrt(q) * z, order) for order in (0, 1))
    out = np.empty(3 + terms)
    out[0] = weight @ phi**2
    out[1] = weight @ slope**2 if not np.any(act.pieces.jumps) else 0.0  # infinite; callers that can meet it know
    out[2] = 0.5 * (weight * phi**2) @ (z**2 - 1)
    _compiled.hermite_coefficients(z, weight * phi, out[3:])
    return out


def _tails(act: Activation, q: float, a: np.ndarray) -> np.ndarray:
    """2-norms of what the series a_0..a_K leaves out: smooth and kink part of phi, then of sqrt(q) phi'."""
    kinks, slopes, jumps = _kink_part(act)
    z, weight = _nodes(_breaks(act, q))
    x = np.sqrt(q) * z
    phi, slope = (_values(act, x, order) for order in (0, 1))
    p = np.zeros_like(a)
    part = part_slope = np.zeros_like(x)
    if kinks.size:
        _compiled.kink_coefficients(kinks, slopes, jumps, q, p)
        right = x[:, None] > kinks
        part = (right * (x[:, None] - kinks)) @ slopes + right @ jumps
        part_slope = right @ slopes
    smooth, smooth_slope = _compiled.hermite_residual(z, weight, phi - part, np.sqrt(q) * (slope - part_slope), a - p)
    tails = np.array([smooth, 0.0, smooth_slope, 0.0])
    if kinks.size:
        k = np.arange(a.size)
        tails[1] = np.sqrt(max(weight @ part**2 - p @ p, 0.0))
        tails[3] = np.inf if np.any(jumps) else np.sqrt(max(q * (weight @ part_slope**2) - k @ p**2, 0.0))
    return tails


def _kink_part(act: Activation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pieces = act.pieces
    near = np.abs(pieces.kinks) < REACH * np.sqrt(_q_max(act))
    if near.sum() > MAX_KINKS:
        return np.empty(0), np.empty(0), np.empty(0)
    return pieces.kinks[near], pieces.slopes[near], pieces.jumps[near]


def _choose_terms(act: Activation, q_max: float) -> int:
    """Fewest terms that resolve E[phi phi] up to c = 1 at the variances of everyday networks; else the most."""
    for terms in TERMS:
        worst = 0.0
        for q in (0.3, 1.0, 2.0):
            if q <= q_max:
                row = _hermite(act, q, terms)
                smooth, kink = _tails(act, q, row[3:])[:2]
                worst = max(worst, (smooth**2 + 2 * smooth * kink) / max(row[0], 1e-300))
        if worst <= 1e-13:
            return terms
    return TERMS[-1]


def _build_table(act: Activation) -> Table:
    """Piecewise Chebyshev interpolants in log q, panels halved until resolved."""
    q_max = _q_max(act)
    terms = _choose_terms(act, q_max)
    kinks, slopes, jumps = _kink_part(act)
    start = np.linspace(LOG_Q_MIN, np.log(q_max), int(np.ceil((np.log(q_max) - LOG_Q_MIN) / 2.0)) + 1)
    pending = [(a, b) for a, b in zip(start[:-1], start[1:], strict=True)][::-1]
    panels, values, tails = [], [], []
    while pending:
        left, right = pending.pop()
        at = np.exp((left + right) / 2 + (right - left) / 2 * NODES)
        columns = np.array([_hermite(act, q, terms) for q in at])
        fit = chebyshev_fit(columns.T).T
        # Moments to relative accuracy over the panel, coefficients relative to the size of phi.
        size = np.full(columns.shape[1], np.sqrt(columns[:, 0].min()))
        size[:3] = np.abs(columns[:, :3]).min(axis=0)
        size[2] = columns[:, 0].min()
        unresolved = np.abs(fit[-2:]).max(axis=0) > 2e-14 * np.maximum(size, 1e-300)
        if np.any(unresolved) and right - left > 0.05:
            middle = (left + right) / 2
            pending += [(middle, right), (left, middle)]
            continue
        panels.append((left, right))
        values.append(fit)
        tails.append(np.max([_tails(act, at[i], columns[i, 3:]) for i in (0, DEGREE // 2, DEGREE)], axis=0))
    return Table(
        edges=np.array([panels[0][0], *(right for _, right in panels)]),
        values=np.ascontiguousarray(values),
        tails=np.array(tails),
        kinks=kinks,
        slopes=slopes,
        jumps=jumps,
        origin=act(np.zeros(1)).astype(np.float64),
    )


assert NODES.size == DEGREE + 1

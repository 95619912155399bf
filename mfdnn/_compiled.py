"""Everything Numba compiles: numbers and tables in, numbers out.

No kernel receives a function: an activation arrives as tables (see `mfdnn.gaussian.tables`) or as its piecewise
polynomial, so each kernel is compiled once and cached for every activation there will be. Kernels
validate nothing and allocate nothing in inner loops. They share one file because Numba's cache notices a
change of the file of a kernel, not of the files it calls into.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import namedtuple
from collections.abc import Callable
from functools import wraps
from typing import Any

import numba
import numpy as np

__all__ = [
    "KINK_ORDERS",
    "OK",
    "SCALE_INVARIANT",
    "SEVERAL",
    "UNBOUNDED",
    "ZERO_VARIANCE",
    "Correlations",
    "Hermite",
    "Kinks",
    "Moments",
    "Smoothed",
    "circle_products",
    "correlation_fixed_points",
    "correlation_path",
    "dropout_correlations",
    "equal_products",
    "erf_matrices",
    "evaluate_pieces",
    "factor_equations",
    "hermite_coefficients",
    "hermite_residual",
    "hermite_vectors",
    "homogeneous_matrices",
    "inverse_moment_function",
    "jit",
    "kink_coefficients",
    "kink_slope_products",
    "mass_products",
    "moment_functions",
    "pair_expectation",
    "pair_products",
    "passed_on",
    "series_matrices",
    "series_products",
    "settled_variances",
    "smoothed_products",
    "smoothed_values",
    "table_moments",
    "touching_variances",
    "variance_fixed_points",
    "variance_path",
]

_CACHE = os.environ.get("mfdnnNUMBA_CACHE", "1") != "0"


def jit(function: Callable) -> Callable:
    """The one jit policy: GIL released, cached on disk, C division; no fastmath.

    Loops are not parallel either.

    ``mfdnnNUMBA_CACHE=0`` turns the disk cache off; where no cache folder can be written, compile in memory.
    ``NUMBA_DISABLE_JIT=1`` leaves kernels to the interpreter, a hundred times slower, with the same arithmetic.
    """
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

        @wraps(function)
        def interpreted(*arguments: Any) -> Any:
            with np.errstate(all="ignore"):  # compiled code divides by zero without a warning
                return function(*arguments)

        return interpreted
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if _CACHE:
        try:
            return numba.njit(**options, cache=True)(function)
        except RuntimeError:  # "no locator available": neither the package nor the user's cache folder is writable
            # The same words at the same place: said once.
            warnings.warn(
                "mfdnn compiles its kernels anew in this process, which takes about a minute, as no folder for them "
                "can be written; set NUMBA_CACHE_DIR to one that can, or mfdnnNUMBA_CACHE=0 to compile in silence.",
                RuntimeWarning,
                stacklevel=1,
            )
    return numba.njit(**options)(function)


# Tables of an activation, over x = log q in panels of Chebyshev polynomials of degree 15.
#
# Moments
#   edges (n + 1,)               panel edges in log q
#   values (n, 16, 4)            E[phi^2], E[phi'^2], q dE[phi^2]/dq, E[phi]
#   low, high                    smallest and largest q of the table
#   origin                       phi(0)^2, the limit of E[phi^2]
#   grid_q, grid_second (g,)     E[phi^2] on a geometric grid over the whole table
#   grid_rate (g,)               dE[phi^2]/dq there
#   several                      whether E[phi^2] is not concave in q, so that there may be several attractors
Moments = namedtuple("Moments", "edges values low high origin grid_q grid_second grid_rate several")

# Hermite
#   edges (n + 1,)               panel edges in log q
#   values (n, 16, K + 1)        Hermite coefficients a_0..a_K
#   tails (n, 4)                 2-norms of what the series leaves out of phi (rest, kink part), of sqrt(q) phi'
#   sizes (n, 2)                 2-norms of the kink part of phi, of sqrt(q) phi'
#   orders (n,)                  highest order of the kink part
#   kinks                        the kink part
#   masses                       whether phi' has point masses; then the tail of its kink part bounds each
#                                coefficient, not their 2-norm
Hermite = namedtuple("Hermite", "edges values tails sizes orders kinks masses")

# Kinks: the kink part p(x) = sum_j sum_i jumps_ji (side_j x - at_j)_+^i / i!, i up to some order, which
# jumps as phi does. It faces away from zero, so that it disappears for small variances.
#   at (m,)                      distances from zero, >= 0
#   sides (m,)                   1 on the right of zero, -1 on the left
#   jumps (m, 4)                 of phi and its first three derivatives, times -(-1)^i on the left
Kinks = namedtuple("Kinks", "at sides jumps")

# Correlations: functions of log q and of the angle theta = arccos c in [0, pi/2], on rows of panels
#   rows (r, 2)                  left and right end in log q
#   first (r + 1,)               index of the first panel of each row
#   angles (p, 2)                left and right end in theta; increasing within a row, from 0 to pi/2
#   values (p, 3, 16, 16)        theta^s E[phi'(u) phi'(v)], theta^s times its mean over c' in [c, 1],
#                                its mean over [0, c]
#   power                        s: 1 if phi jumps, so that E[phi'(u) phi'(v)] grows like 1/theta; else 0
Correlations = namedtuple("Correlations", "rows first angles values power")

# Smoothed: S(sigma, y) = E[phi(y + sigma w)], w standard normal, and the same of phi', on levels of log sigma
#   left (l,), width             left end of each level, one width for all
#   first (l + 1,)               index of the first panel of each level
#   ends (p + l,)                panel edges in y; those of level i from first[i] + i on
#   values (p, 2, 16, 16)        coefficients of both functions in log sigma and y
Smoothed = namedtuple("Smoothed", "left width first ends values")

KINK_ORDERS = 4  # jumps of phi, phi', phi'', phi'''

_DEGREE = 15
_KINK_TERMS = 129  # Hermite coefficients of the kink part for matrices
_TILE = 64  # pairs abreast: what a tile needs of 64 coefficients fits the first-level cache
_HALF_PI, _HALF_PI_REST = 1.57079632679489655800e00, 6.12323399573676603587e-17  # together more digits of it
_SQRT2 = np.sqrt(2.0)
_INV_SQRT_2PI = 1.0 / np.sqrt(2.0 * np.pi)
_GL12_X, _GL12_W = np.polynomial.legendre.leggauss(12)
_GL12_TOP = _GL12_W * np.polynomial.legendre.legvander(_GL12_X, 11).T[10:] * [[10.5], [11.5]]
_GL20_X, _GL20_W = np.polynomial.legendre.leggauss(20)


# -- truncated moments of the bivariate normal ---------------------------------------------------------------


@jit
def _upper(x):
    """P(z > x)."""
    return 0.5 * math.erfc(x / _SQRT2)


@jit
def _density(x):
    return _INV_SQRT_2PI * np.exp(-0.5 * x * x)


@jit
def _orthant(h, k, c, s):
    """P(z1 > h, z2 > k) for correlation c and s = sqrt(1 - c^2).

    Drezner & Wesolowsky's integral over the arcsine of the correlation for |c| < 0.925, Genz's expansion
    about |c| = 1 beyond (A. Genz 2004, Statistics and Computing 14, 251-260).
    """
    if h == 0.0 and k == 0.0:
        return 0.25 + np.arctan2(c, s) / (2.0 * np.pi)
    hk = h * k
    if abs(c) < 0.925:
        half = 0.5 * (h * h + k * k)
        angle = np.arcsin(c)
        total = 0.0
        for i in range(20):
            sn = np.sin(0.5 * angle * (_GL20_X[i] + 1.0))
            total += _GL20_W[i] * np.exp((sn * hk - half) / (1.0 - sn * sn))
        return total * angle / (4.0 * np.pi) + _upper(h) * _upper(k)
    if c < 0.0:
        k = -k
        hk = -hk
    result = 0.0
    if s > 0.0:
        a2 = s * s
        a = s
        bs = (h - k) ** 2
        cc = (4.0 - hk) / 8.0
        d = (12.0 - hk) / 16.0
        exponent = -0.5 * (bs / a2 + hk)
        if exponent > -700.0:
            result = (
                a
                * np.exp(exponent)
                * (1.0 - cc * (bs - a2) * (1.0 - d * bs / 5.0) / 3.0 + cc * d * a2 * a2 / 5.0)
            )
        if -hk < 700.0:
            b = np.sqrt(bs)
            result -= (
                np.exp(-0.5 * hk)
                * np.sqrt(2.0 * np.pi)
                * _upper(b / a)
                * b
                * (1.0 - cc * bs * (1.0 - d * bs / 5.0) / 3.0)
            )
        a *= 0.5
        for i in range(20):
            xs = (a * (_GL20_X[i] + 1.0)) ** 2
            rs = np.sqrt(1.0 - xs)
            exponent = -0.5 * (bs / xs + hk)
            if exponent > -700.0:
                sp = 1.0 + cc * xs * (1.0 + d * xs)
                ep = np.exp(-hk * xs / (2.0 * (1.0 + rs) ** 2)) / rs
                result += a * _GL20_W[i] * np.exp(exponent) * (ep - sp)
        result = -result / (2.0 * np.pi)
    if c > 0.0:
        return result + _upper(max(h, k))
    if h < k:
        # P(h < z < k) without cancellation on either tail
        between = _upper(h) - _upper(k) if h > 0.0 else _upper(-k) - _upper(-h)
        return between - result
    return -result


@jit
def _edge_moments(h, k, c, s, gap, order, out):
    """Truncated moments of z2 given z1 = h, times the density of z1 at h, into `out`.

    out[n + 1] becomes E[(z2 - k)_+^n / n! | z1 = h] times that density, n = -1..order.

    With x = E[z2 - k | z1 = h] and T_n = E[(x + s w)_+^n / n!]: n T_n = x T_{n-1} + s^2 T_{n-2}.
    """
    x = h - k - gap * h if c > 0.0 else gap * h - h - k
    d = _density(h)
    if s > 0.0:
        out[0] = d * _density(x / s) / s
        out[1] = d * _upper(-x / s)
    else:
        out[0] = np.inf if x == 0.0 else 0.0
        out[1] = d * (0.5 if x == 0.0 else (1.0 if x > 0.0 else 0.0))
    if order >= 1:
        out[2] = x * out[1] + (s * d * _density(x / s) if s > 0.0 else 0.0)
    for n in range(2, order + 1):
        out[n + 1] = (x * out[n] + s * s * out[n - 1]) / n


@jit
def _truncated_moments(h, k, c, s, gap, order, out):
    """Truncated moments of two correlated standard normal variables into `out`.

    out[m + 1, n + 1] becomes E[(z1 - h)_+^m (z2 - k)_+^n] / (m! n!), m and n = -1..order; -1 is a point mass.

    Integration by parts, E[z1 f] = E[f_1] + c E[f_2], gives m M_mn = -h M_{m-1,n} + M_{m-2,n} + c
    M_{m-1,n-1}. Near |c| = 1 everything hangs on s = sqrt(1 - c^2) and gap = 1 - |c|, so they are given.
    """
    _edge_moments(h, k, c, s, gap, order, out[0])
    _edge_moments(k, h, c, s, gap, order, out[:, 0])
    out[1, 1] = _orthant(h, k, c, s)
    for n in range(1, order + 1):
        out[1, n + 1] = (-k * out[1, n] + out[1, n - 1] + c * out[0, n]) / n
    for m in range(1, order + 1):
        for n in range(order + 1):
            out[m + 1, n + 1] = (-h * out[m, n + 1] + out[m - 1, n + 1] + c * out[m, n]) / m


@jit
def _kink_products(kinks, order1, order2, q1, q2, c, s, gap, work):
    """E[p(u) p(v)] and E[p'(u) p'(v)] of kink parts p, in closed form.

    The kink parts are of `order1` in u and `order2` in v.
    """
    value = 0.0
    slope = 0.0
    r1 = np.sqrt(q1)
    r2 = np.sqrt(q2)
    order = max(order1, order2)
    for i in range(kinks.at.size):
        for j in range(kinks.at.size):
            side = kinks.sides[i] * kinks.sides[j]
            _truncated_moments(kinks.at[i] / r1, kinks.at[j] / r2, side * c, s, gap, order, work)
            left = 1.0  # r1^m
            for m in range(order1 + 1):
                right = 1.0  # r2^n
                for n in range(order2 + 1):
                    weight = kinks.jumps[i, m] * kinks.jumps[j, n] * left * right
                    if weight != 0.0:
                        value += weight * work[m + 1, n + 1]
                        slope += side * weight / (r1 * r2) * work[m, n]
                    right *= r2
                left *= r1
    return value, slope


@jit
def kink_slope_products(kinks, order, q, theta):
    """E[p'(u) p'(v)] at variances q and angles theta = arccos c: (q.size, theta.size)."""
    work = np.empty((order + 2, order + 2))
    out = np.empty((q.size, theta.size))
    staircase = np.all(kinks.jumps[:, 1 : order + 1] == 0.0)
    for i in range(q.size):
        for j in range(theta.size):
            gap = 2.0 * np.sin(0.5 * theta[j]) ** 2
            s = np.sin(theta[j])
            if staircase:
                out[i, j] = _mass_products(kinks, q[i], 1.0 - gap, s, gap)
            else:
                out[i, j] = _kink_products(kinks, order, order, q[i], q[i], 1.0 - gap, s, gap, work)[1]
    return out


@jit
def _mass_products(kinks, q, c, s, gap):
    """E[p'(u) p'(v)] of a kink part that only jumps: densities at its places."""
    total = 0.0
    root = np.sqrt(q)
    for i in range(kinks.at.size):
        h = kinks.at[i] / root
        density = _density(h)
        for j in range(kinks.at.size):
            k = kinks.at[j] / root
            side = kinks.sides[i] * kinks.sides[j]
            x = h - k - gap * h if side * c > 0.0 else gap * h - h - k
            if abs(x) < 39.0 * s:  # beyond, the density underflows
                total += side * kinks.jumps[i, 0] * kinks.jumps[j, 0] * density * _density(x / s) / s
    return total / q


# -- Hermite coefficients ------------------------------------------------------------------------------------


@jit
def kink_coefficients(kinks, order, q, polynomials, out):
    """Hermite coefficients of the kink part at variance q into `out`.

    `polynomials` is work space.

    For f(z) = (z - y)_+^m / m!: a_k = density(y) h_{k-m-1}(y) / sqrt(k (k-1) ... (k-m)) for k > m, and
    E[(z - y)_+^{m-k}] / ((m-k)! sqrt(k!)) for k <= m; for f(-z), (-1)^k times that.
    """
    out[:] = 0.0
    r = np.sqrt(q)
    n = out.size
    for j in range(kinks.at.size):
        y = kinks.at[j] / r
        if y > 39.0:  # the density underflows, the polynomials overflow
            continue
        side = kinks.sides[j]
        d = _density(y)
        polynomials[0] = 1.0
        for k in range(1, n):
            before = polynomials[k - 2] if k > 1 else 0.0
            polynomials[k] = (y * polynomials[k - 1] - np.sqrt(k - 1.0) * before) / np.sqrt(float(k))
        left = 1.0  # r^m
        for m in range(order + 1):
            weight = kinks.jumps[j, m] * left
            left *= r
            if weight == 0.0:
                continue
            # T_i = E[(z - y)_+^i] / i!, as in `_edge_moments`
            before = d
            here = _upper(y)
            factorial = 1.0
            for i in range(m + 1):
                k = m - i
                factorial = 1.0
                for l in range(2, k + 1):
                    factorial *= l
                if k < n:
                    out[k] += weight * side**k * here / np.sqrt(factorial)
                before, here = here, (-y * here + before) / (i + 1.0)
            for k in range(m + 1, n):
                scale = 1.0
                for l in range(m + 1):
                    scale *= k - l
                out[k] += weight * side**k * d * polynomials[k - m - 1] / np.sqrt(scale)


@jit
def hermite_coefficients(z, weighted, out):
    """a_k = sum_i weighted_i h_k(z_i) for k < out.size.

    `weighted` already holds weight times phi.
    """
    n = z.size
    here = weighted.copy()
    before = np.zeros(n)
    for k in range(out.size):
        total = 0.0
        for i in range(n):
            total += here[i]
        out[k] = total
        a = 1.0 / np.sqrt(k + 1.0)
        b = np.sqrt(float(k)) * a
        for i in range(n):
            after = a * z[i] * here[i] - b * before[i]
            before[i] = here[i]
            here[i] = after


@jit
def hermite_residual(z, weight, f, slope, a):
    """Gaussian 2-norms of f - sum_k a_k h_k and of slope - sum_k sqrt(k) a_k h_{k-1}.

    Summed on the weighted functions h_k sqrt(weight), which stay bounded, so the norms are right down to
    rounding.
    """
    n = z.size
    total = 0.0
    total_slope = 0.0
    for i in range(n):
        root = np.sqrt(weight[i])
        before = 0.0
        here = root
        left = root * f[i]
        left_slope = root * slope[i]
        for k in range(a.size):
            left -= a[k] * here
            if k + 1 < a.size:
                left_slope -= np.sqrt(k + 1.0) * a[k + 1] * here
            after = (z[i] * here - np.sqrt(float(k)) * before) / np.sqrt(k + 1.0)
            before = here
            here = after
        total += left * left
        total_slope += left_slope * left_slope
    return np.sqrt(total), np.sqrt(total_slope)


# -- reading tables ------------------------------------------------------------------------------------------


@jit
def _panel(edges, x):
    """Index of the panel that holds x, clamped to the table."""
    low = 0
    high = edges.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= x:
            low = middle
        else:
            high = middle
    return low


@jit
def _chebyshev(left, right, x, out):
    """T_0..T_15 at x, clamped to [left, right]."""
    t = min(1.0, max(-1.0, (2.0 * x - left - right) / (right - left)))
    out[0] = 1.0
    out[1] = t
    for k in range(2, _DEGREE + 1):
        out[k] = 2.0 * t * out[k - 1] - out[k - 2]


@jit
def _moments(table, q, chebyshev, out):
    """E[phi^2], E[phi'^2], dE[phi^2]/dq, E[phi] at variance q into `out`.

    Off the table they are linear in q.
    """
    inside = min(table.high, max(table.low, q))
    x = np.log(inside)
    panel = _panel(table.edges, x)
    _chebyshev(table.edges[panel], table.edges[panel + 1], x, chebyshev)
    out[:] = 0.0
    for k in range(_DEGREE + 1):
        for j in range(4):
            out[j] += chebyshev[k] * table.values[panel, k, j]
    out[2] /= inside
    if q < table.low:
        out[2] = (out[0] - table.origin) / table.low
        out[0] = table.origin + out[2] * q
    elif q > table.high:
        out[0] += out[2] * (q - table.high)


@jit
def table_moments(table, q):
    """E[phi^2], E[phi'^2], dE[phi^2]/dq and E[phi] at variances q: (4, q.size)."""
    chebyshev = np.empty(_DEGREE + 1)
    row = np.empty(4)
    out = np.empty((4, q.size))
    for i in range(q.size):
        _moments(table, q[i], chebyshev, row)
        out[:, i] = row
    return out


@jit
def _coefficients(table, q, chebyshev, out):
    """Hermite coefficients a_0..a_K at variance q into `out`; returns the panel.

    The variance is clamped to the table.
    """
    x = np.log(q)
    panel = _panel(table.edges, x)
    _chebyshev(table.edges[panel], table.edges[panel + 1], x, chebyshev)
    out[:] = 0.0
    for k in range(_DEGREE + 1):
        t = chebyshev[k]
        for j in range(out.size):
            out[j] += t * table.values[panel, k, j]
    return panel


# -- pairs by the series -------------------------------------------------------------------------------------


@jit
def _series(a, b, p1, p2, c, kinked):
    """sum_k (a_k b_k - p1_k p2_k) c^k and its derivative in c, by Horner's rule."""
    value = 0.0
    slope = 0.0
    for k in range(a.size - 1, -1, -1):
        term = a[k] * b[k]
        if kinked:
            term -= p1[k] * p2[k]
        slope = slope * c + value
        value = value * c + term
    return value, slope


@jit
def _bound(table, panel1, panel2, power, stretch, column):
    """Bound on what the series leaves out, and on the rounding of the kink part.

    The former by Cauchy and Schwarz.

    `column` is 0 for E[phi phi], 1 for sqrt(q1 q2) E[phi' phi']; `stretch` multiplies the kink parts.
    """
    g1 = table.tails[panel1, 2 * column]
    p1 = table.tails[panel1, 2 * column + 1] * stretch
    g2 = table.tails[panel2, 2 * column]
    p2 = table.tails[panel2, 2 * column + 1] * stretch
    rest = g1 * g2 + (g1 * p2 if g1 > 0.0 else 0.0) + (p1 * g2 if g2 > 0.0 else 0.0)
    rounding = 2e-15 * table.sizes[panel1, column] * table.sizes[panel2, column]
    return power * rest + rounding


@jit
def _pair(table, panel1, panel2, q1, q2, a, b, p1, p2, c, work, out):
    """E[phi phi], E[phi' phi'] and bounds on the error of both into `out`."""
    kinked = table.kinks.at.size > 0
    n = a.size
    root = np.sqrt(q1 * q2)
    value, slope = _series(a, b, p1, p2, c, kinked)
    slope /= root
    if kinked:
        s = np.sqrt((1.0 - c) * (1.0 + c))
        more, more_slope = _kink_products(
            table.kinks, table.orders[panel1], table.orders[panel2], q1, q2, c, s, 1.0 - abs(c), work
        )
        value += more
        slope += more_slope
    size = abs(c)
    out[0] = value
    out[1] = slope
    # The coefficients of point masses do not decrease: sum_k c^2k in place of their norm.
    stretch = 1.0 / np.sqrt((1.0 - size) * (1.0 + size)) if table.masses else 1.0
    out[2] = _bound(table, panel1, panel2, size**n, 1.0, 0)
    out[3] = _bound(table, panel1, panel2, size ** (n - 1), stretch, 1) / root


@jit
def series_products(table, q1, q2, c):
    """E[phi phi], E[phi' phi'] and bounds on the errors of both, pair by pair: (4, n).

    Variances must be positive.
    """
    n = q1.size
    terms = table.values.shape[2]
    chebyshev = np.empty(_DEGREE + 1)
    polynomials = np.empty(terms)
    work = np.empty((KINK_ORDERS + 1, KINK_ORDERS + 1))
    a = np.empty(terms)
    b = np.empty(terms)
    pa = np.zeros(terms)
    pb = np.zeros(terms)
    kinked = table.kinks.at.size > 0
    out = np.empty((n, 4))
    for i in range(n):
        panel1 = _coefficients(table, q1[i], chebyshev, a)
        if kinked:
            kink_coefficients(table.kinks, table.orders[panel1], q1[i], polynomials, pa)
        if q2[i] == q1[i]:
            panel2 = panel1
            b[:] = a
            pb[:] = pa
        else:
            panel2 = _coefficients(table, q2[i], chebyshev, b)
            if kinked:
                kink_coefficients(table.kinks, table.orders[panel2], q2[i], polynomials, pb)
        _pair(table, panel1, panel2, q1[i], q2[i], a, b, pa, pb, c[i], work, out[i])
    return out.T


@jit
def hermite_vectors(table, q):
    """Hermite coefficients (n, m) at variances q, those of the kink part, panels (n,).

    Beyond the table, where the rest of phi is small, all are those of the kink part.
    """
    n = q.size
    terms = table.values.shape[2]
    chebyshev = np.empty(_DEGREE + 1)
    kinked = table.kinks.at.size > 0
    more = max(terms, _KINK_TERMS) if kinked else terms
    polynomials = np.empty(more)
    a = np.empty((n, more))
    p = np.zeros((n, more))
    panels = np.empty(n, dtype=np.int64)
    for i in range(n):
        panels[i] = _coefficients(table, q[i], chebyshev, a[i, :terms])
        if kinked:
            kink_coefficients(table.kinks, table.orders[panels[i]], q[i], polynomials, p[i])
            a[i, terms:] = p[i, terms:]
    return a, p, panels


@jit
def pair_products(table, q, a, p, panels, rows, columns, c):
    """As `series_products`, for pairs of the inputs that `hermite_vectors` describes."""
    work = np.empty((KINK_ORDERS + 1, KINK_ORDERS + 1))
    out = np.empty((rows.size, 4))
    terms = table.values.shape[2]
    a = a[:, :terms]
    p = p[:, :terms]
    for i in range(rows.size):
        s = rows[i]
        t = columns[i]
        _pair(table, panels[s], panels[t], q[s], q[t], a[s], a[t], p[s], p[t], c[i], work, out[i])
    return out.T


@jit
def series_matrices(a, first, step, terms, limits, inverse, columns, covariance, value, slope, start, stop):
    """Rows start..stop of the matrices E[phi phi] and E[phi' phi'] by the series.

    `a` (m, n) holds the coefficients of order first, first + step, ... of each input, `inverse` the inverse of its
    standard deviation. Columns are the inputs from number `columns` on. Where that is 0 they are those of the rows:
    only what lies left of the diagonal is computed, and written at its mirror image too, and the diagonal is left to
    the caller. In a tile of correlations up to limits[j], terms[j] of them are summed. Returns how many pairs are
    beyond the last limit.
    """
    # Slices, so that indices are plain and loops over pairs run several abreast.
    work = np.empty((4, _TILE))
    beyond = 0
    for left in range(0, stop if columns == 0 else covariance.shape[1], _TILE):
        right = min(left + _TILE, stop if columns == 0 else covariance.shape[1])
        for s in range(max(start, left + 1) if columns == 0 else start, stop):
            n = (min(right, s) if columns == 0 else right) - left
            c = work[0, :n]
            x = work[1, :n]
            v = work[2, :n]
            d = work[3, :n]
            scale = inverse[s] * inverse[columns + left : columns + left + n]
            row = covariance[s, left : left + n]
            largest = 0.0
            for i in range(n):
                c[i] = min(1.0, max(-1.0, row[i] * scale[i]))
                x[i] = c[i] if step == 1 else c[i] * c[i]
                v[i] = 0.0
                d[i] = 0.0
                largest = max(largest, abs(c[i]))
            j = 0
            while j < limits.size - 1 and largest > limits[j]:
                j += 1
            if largest > limits[-1]:
                for i in range(n):
                    beyond += abs(c[i]) > limits[-1]
            for k in range(terms[j] - 1, -1, -1):
                f = a[k, s]
                other = a[k, columns + left : columns + left + n]
                for i in range(n):
                    d[i] = d[i] * x[i] + v[i]
                    v[i] = v[i] * x[i] + f * other[i]
            # d/dc of c^first sum_j a_j c^(step j)
            out = value[s, left : left + n]
            out_slope = slope[s, left : left + n]
            for i in range(n):
                if first == 1:
                    out[i] = c[i] * v[i]
                    out_slope[i] = (v[i] + step * x[i] * d[i]) * scale[i]
                else:
                    out[i] = v[i]
                    out_slope[i] = (d[i] if step == 1 else 2.0 * c[i] * d[i]) * scale[i]
        if columns == 0:
            _mirror(value, slope, start, stop, left, right)
    return beyond


@jit
def _mirror(value, slope, start, stop, left, right):
    """Write rows start..stop of columns left..right, below the diagonal, above it too."""
    for t in range(left, right):
        for s in range(max(start, t + 1), stop):
            value[t, s] = value[s, t]
            slope[t, s] = slope[s, t]


# -- pairs in closed form ------------------------------------------------------------------------------------


@jit
def _arcsin(x):
    """The arc sine, to two units of the last place.

    Without branches, so that several run abreast. By the rational approximation of fdlibm (Sun Microsystems 1993) on
    [0, 1/2], and asin(x) = pi/2 - 2 asin(r), r = sqrt((1 - x)/2), beyond.
    """
    size = abs(x)
    z = x * x if size <= 0.5 else 0.5 * (1.0 - size)
    r = size if size <= 0.5 else np.sqrt(z)
    p = 7.91534994289814532176e-04 + z * 3.47933107596021167570e-05
    p = 2.01212532134862925881e-01 + z * (-4.00555345006794114027e-02 + z * p)
    p = z * (1.66666666666666657415e-01 + z * (-3.25565818622400915405e-01 + z * p))
    q = 2.02094576023350569471e00 + z * (-6.88283971605453293030e-01 + z * 7.70381505559019352791e-02)
    q = 1.0 + z * (-2.40339491173441421878e00 + z * q)
    near = r + r * (p / q)
    return math.copysign(near if size <= 0.5 else (_HALF_PI_REST - 2.0 * near) + _HALF_PI, x)


@jit
def homogeneous_matrices(mean, kinked, nearest, variance, unit, columns, covariance, value, slope, start, stop):
    """The same for phi = m x + d |x|: the arc-cosine kernel.

    `mean` is m^2, `kinked` 2 d^2 / pi; variances are variance * unit^2. Correlations above `nearest` are 1. Columns as
    in `series_matrices`.
    """
    for left in range(0, stop if columns == 0 else covariance.shape[1], _TILE):
        right = min(left + _TILE, stop if columns == 0 else covariance.shape[1])
        for s in range(max(start, left + 1) if columns == 0 else start, stop):
            n = (min(right, s) if columns == 0 else right) - left
            others = variance[columns + left : columns + left + n]
            units = unit[columns + left : columns + left + n]
            row = covariance[s, left : left + n]
            out = value[s, left : left + n]
            out_slope = slope[s, left : left + n]
            for i in range(n):
                # Not a product of roots: exact for two copies of an input.
                scale = np.sqrt(variance[s] * others[i]) * (unit[s] * units[i])
                c = row[i] / (scale if scale > 0.0 else 1.0)
                c = max(c, -1.0) if c <= nearest else 1.0
                slant = kinked * _arcsin(c) + mean
                out[i] = scale * kinked * np.sqrt((1.0 - c) * (1.0 + c)) + row[i] * slant
                out_slope[i] = slant
        if columns == 0:
            _mirror(value, slope, start, stop, left, right)


@jit
def erf_matrices(steep, nearest, root, columns, covariance, value, slope, start, stop):
    """The same for phi = erf(a x), a^2 = `steep`.

    `root` are standard deviations; correlations above `nearest` are 1. Columns as in `series_matrices`.
    """
    smoothed = 1.0 / np.sqrt(1.0 + 2.0 * steep * root * root)
    for left in range(0, stop if columns == 0 else covariance.shape[1], _TILE):
        right = min(left + _TILE, stop if columns == 0 else covariance.shape[1])
        for s in range(max(start, left + 1) if columns == 0 else start, stop):
            n = (min(right, s) if columns == 0 else right) - left
            roots = root[columns + left : columns + left + n]
            others = smoothed[columns + left : columns + left + n]
            row = covariance[s, left : left + n]
            out = value[s, left : left + n]
            out_slope = slope[s, left : left + n]
            for i in range(n):
                largest = root[s] * roots[i]
                k = max(row[i], -largest) if row[i] <= nearest * largest else largest
                scale = smoothed[s] * others[i]
                x = 2.0 * steep * k * scale
                out[i] = 2.0 / np.pi * _arcsin(x)
                out_slope[i] = 4.0 / np.pi * steep * scale / np.sqrt((1.0 - x) * (1.0 + x))
        if columns == 0:
            _mirror(value, slope, start, stop, left, right)


# -- pairs by direct quadrature ------------------------------------------------------------------------------


@jit
def _evaluate(edges, coefficients, x):
    """Piecewise polynomial at x (Clenshaw); continued by its end panels."""
    low = _panel(edges, x)
    t = (2.0 * x - edges[low] - edges[low + 1]) / (edges[low + 1] - edges[low])
    b1 = 0.0
    b2 = 0.0
    for k in range(_DEGREE, 0, -1):
        b1, b2 = coefficients[low, k] + 2.0 * t * b1 - b2, b1
    return coefficients[low, 0] + t * b1 - b2


@jit
def evaluate_pieces(edges, coefficients, x):
    """Piecewise polynomial at every x of a vector."""
    out = np.empty(x.size)
    for i in range(x.size):
        out[i] = _evaluate(edges, coefficients, x[i])
    return out


@jit
def _smoothed(edges, coefficients, kinks, masses, mean, sd, reach, nodes, weights):
    """E[f(mean + sd w)] for standard normal w, panel by panel.

    `masses` are point masses of f at `kinks`.
    """
    if sd == 0.0:
        return _evaluate(edges, coefficients, mean)
    total = 0.0
    low = -reach
    index = np.searchsorted(edges, mean + sd * low, side="right")
    while low < reach:
        high = min(low + 1.0, reach)
        while index < edges.size and (edges[index] - mean) / sd <= low + 1e-14 * reach:
            index += 1
        if index < edges.size:
            high = min(high, (edges[index] - mean) / sd)
        half = 0.5 * (high - low)
        middle = 0.5 * (high + low)
        for i in range(nodes.size):
            w = middle + half * nodes[i]
            total += half * weights[i] * np.exp(-0.5 * w * w) * _evaluate(edges, coefficients, mean + sd * w)
        low = high
    total *= _INV_SQRT_2PI
    for j in range(kinks.size):
        if masses[j] != 0.0:
            total += masses[j] * _density((kinks[j] - mean) / sd) / sd
    return total


@jit
def pair_expectation(edges, coefficients, kinks, masses, breaks, r1, r2, c, s, reach, nodes, weights):
    """E[f(u) f(v)] by panels, for u = r1 z and v = r2 (c z + s w).

    `breaks` are the outer panel edges in z.
    """
    total = 0.0
    for panel in range(breaks.size - 1):
        half = 0.5 * (breaks[panel + 1] - breaks[panel])
        middle = 0.5 * (breaks[panel + 1] + breaks[panel])
        for i in range(nodes.size):
            z = middle + half * nodes[i]
            f = _evaluate(edges, coefficients, r1 * z)
            if f != 0.0:
                inner = _smoothed(
                    edges, coefficients, kinks, masses, r2 * c * z, r2 * s, reach, nodes, weights
                )
                total += half * weights[i] * _density(z) * f * inner
    for j in range(kinks.size):
        if masses[j] != 0.0:
            z = kinks[j] / r1
            inner = _smoothed(edges, coefficients, kinks, masses, r2 * c * z, r2 * s, reach, nodes, weights)
            total += masses[j] * _density(z) / r1 * inner
    return total


# -- pairs of any two variances, by one factor smoothed ------------------------------------------------------


@jit
def _both(first, second, panel, t):
    """Two Chebyshev series on one panel at t in [-1, 1] (Clenshaw)."""
    a1 = 0.0
    a2 = 0.0
    b1 = 0.0
    b2 = 0.0
    for k in range(_DEGREE, 0, -1):
        a1, a2 = first[panel, k] + 2.0 * t * a1 - a2, a1
        b1, b2 = second[panel, k] + 2.0 * t * b1 - b2, b1
    return first[panel, 0] + t * a1 - a2, second[panel, 0] + t * b1 - b2


@jit
def smoothed_values(edges, values, slopes, breaks, masses, mean, sd, reach, nodes, weights, out):
    """E[phi(u)], E[phi'(u)], E|phi(u)| and E|phi'(u)| into the rows of `out` (4, n).

    u is normal of each `mean` and `sd` > 0; `masses` are the point masses of phi' at `breaks`.
    """
    for n in range(mean.size):
        low = -reach
        above = _panel(edges, mean[n] + sd[n] * low) + 1
        value = 0.0
        slope = 0.0
        size = 0.0
        slope_size = 0.0
        while low < reach:
            high = min(low + 2.0, reach)  # a Gaussian on panels of two standard deviations is resolved to rounding
            while above < edges.size - 1 and (edges[above] - mean[n]) / sd[n] <= low + 1e-14 * reach:
                above += 1
            if above < edges.size - 1:
                high = min(high, (edges[above] - mean[n]) / sd[n])
            half = 0.5 * (high - low)
            left = edges[above - 1]
            right = edges[above]
            for i in range(nodes.size):
                w = 0.5 * (high + low) + half * nodes[i]
                t = (2.0 * (mean[n] + sd[n] * w) - left - right) / (right - left)
                f, df = _both(values, slopes, above - 1, t)
                weight = half * weights[i] * _density(w)
                value += weight * f
                slope += weight * df
                size += weight * abs(f)
                slope_size += weight * abs(df)
            low = high
        for j in range(breaks.size):
            if masses[j] != 0.0:
                mass = masses[j] * _density((breaks[j] - mean[n]) / sd[n]) / sd[n]
                slope += mass
                slope_size += abs(mass)
        out[0, n] = value
        out[1, n] = slope
        out[2, n] = size
        out[3, n] = slope_size


@jit
def smoothed_products(edges, values, slopes, breaks, masses, table, q1, q2, c, gap, reach, nodes, weights, out):
    """E[phi(u) phi(v)] and E[phi'(u) phi'(v)] into the rows of `out` (2, n).

    u = sqrt(q1) z and v = sqrt(q2) (c z + gap w) for independent normal z and w. The integral over w is read off the
    table, so that one over z is left.
    """
    most = np.max(np.diff(table.first))
    of_y = np.empty((2, most, _DEGREE + 1))
    cuts = np.empty(edges.size + most + 2 + int(2 * reach))
    chebyshev = np.empty(_DEGREE + 1)
    for n in range(q1.size):
        r1 = np.sqrt(q1[n])
        r2 = c[n] * np.sqrt(q2[n])
        x = np.log(gap[n] * np.sqrt(q2[n]))
        level = max(np.searchsorted(table.left, x, side="right") - 1, 0)
        _chebyshev(table.left[level], table.left[level] + table.width, x, chebyshev)
        start = table.first[level]
        panels = table.first[level + 1] - start
        ends = table.ends[start + level : start + level + panels + 1]
        of_y[:, :panels] = 0.0
        for j in range(panels):
            for f in range(2):
                for i in range(_DEGREE + 1):
                    for k in range(_DEGREE + 1):
                        of_y[f, j, k] += chebyshev[i] * table.values[start + j, f, i, k]
        # Edges in z: of the Gaussian, of phi(u), of the smoothed one.
        m = 0
        while m <= 2 * reach:
            cuts[m] = m - reach
            m += 1
        for edge in edges:
            if abs(edge) < reach * r1:
                cuts[m] = edge / r1
                m += 1
        for end in ends:
            if abs(end) < reach * abs(r2):
                cuts[m] = end / r2
                m += 1
        at = np.sort(cuts[:m])
        value = 0.0
        slope = 0.0
        for j in range(m - 1):
            half = 0.5 * (at[j + 1] - at[j])
            middle = 0.5 * (at[j + 1] + at[j])
            if half > 0.0:
                u = _panel(edges, r1 * middle)
                y = _panel(ends, r2 * middle)
                for i in range(nodes.size):
                    z = middle + half * nodes[i]
                    t = (2.0 * r1 * z - edges[u] - edges[u + 1]) / (edges[u + 1] - edges[u])
                    f, df = _both(values, slopes, u, t)
                    t = (2.0 * r2 * z - ends[y] - ends[y + 1]) / (ends[y + 1] - ends[y])
                    s, ds = _both(of_y[0], of_y[1], y, t)
                    weight = half * weights[i] * _density(z)
                    value += weight * f * s
                    slope += weight * df * ds
        for j in range(breaks.size):
            z = breaks[j] / r1
            if masses[j] != 0.0 and abs(z) < reach:
                y = _panel(ends, r2 * z)
                t = (2.0 * r2 * z - ends[y] - ends[y + 1]) / (ends[y + 1] - ends[y])
                slope += masses[j] * _density(z) / r1 * _both(of_y[0], of_y[1], y, t)[1]
        out[0, n] = value
        out[1, n] = slope


# -- equal variances, by circles around the origin of the plane ----------------------------------------------


@jit
def _arc_edges(cuts, r, theta, out):
    """Edges of the arcs of half a circle within which f has no edge.

    The half is a in [-theta/2, pi - theta/2]; an arc ends where r cos a or r cos(a + theta) meets one of `cuts`. The
    other half of the circle is its mirror image with the two factors exchanged.
    """
    low = -0.5 * theta
    high = np.pi - 0.5 * theta
    out[0] = low
    n = 1
    for i in range(cuts.size):
        if abs(cuts[i]) < r:
            angle = np.arccos(cuts[i] / r)
            for at in (angle, -angle, angle - theta, 2.0 * np.pi - angle - theta):
                if low < at < high:
                    j = n
                    while out[j - 1] > at:
                        out[j] = out[j - 1]
                        j -= 1
                    out[j] = at
                    n += 1
    out[n] = high
    return n + 1


@jit
def _cosines(half, nodes, cosines, sines, squares):
    """Cosines and sines of half * nodes by Taylor's series, all abreast.

    |half * nodes| < pi/2.
    """
    for i in range(nodes.size):
        squares[i] = (half * nodes[i]) ** 2
        cosines[i] = 1.0
        sines[i] = 1.0
    for k in range(20, 0, -2):
        even = 1.0 / (k * (k - 1.0))
        odd = 1.0 / (k * (k + 1.0))
        for i in range(nodes.size):
            cosines[i] = 1.0 - squares[i] * cosines[i] * even
            sines[i] = 1.0 - squares[i] * sines[i] * odd
    for i in range(nodes.size):
        sines[i] *= half * nodes[i]


@jit
def _on_arc(edges, coefficients, degrees, panel, x, y, work, out):
    """Polynomial of a panel at x cos(d) - y sin(d) for all angles d.

    The cosines and sines of d are in `work`.
    """
    width = edges[panel + 1] - edges[panel]
    a = 2.0 * x / width
    b = 2.0 * y / width
    shift = (edges[panel] + edges[panel + 1]) / width
    t = work[2]
    before = work[5]
    # Clenshaw
    for i in range(out.size):
        t[i] = a * work[0, i] - b * work[1, i] - shift
        out[i] = 0.0
        before[i] = 0.0
    for k in range(degrees[panel], 0, -1):
        c = coefficients[panel, k]
        for i in range(out.size):
            new = c + 2.0 * t[i] * out[i] - before[i]
            before[i] = out[i]
            out[i] = new
    for i in range(out.size):
        out[i] = coefficients[panel, 0] + t[i] * out[i] - before[i]


@jit
def _circle_mean(edges, coefficients, degrees, cuts, r, theta, nodes, weights, arcs, work):
    """Mean of f(r cos a) f(r cos(a + theta)) over all angles a.

    `arcs` and `work` are work space.
    """
    cosines = work[0]
    sines = work[1]
    count = _arc_edges(cuts, r, theta, arcs)
    total = 0.0
    for arc in range(count - 1):
        half = 0.5 * (arcs[arc + 1] - arcs[arc])
        if half <= 0.0:
            continue
        middle = 0.5 * (arcs[arc + 1] + arcs[arc])
        x = r * np.cos(middle)
        y = r * np.cos(middle + theta)
        first = _panel(edges, x)
        second = _panel(edges, y)
        if degrees[first] == 0 and degrees[second] == 0:
            total += 2.0 * half * coefficients[first, 0] * coefficients[second, 0]
            continue
        _cosines(half, nodes, cosines, sines, work[2])
        _on_arc(edges, coefficients, degrees, first, x, r * np.sin(middle), work, work[3])
        _on_arc(edges, coefficients, degrees, second, y, r * np.sin(middle + theta), work, work[4])
        part = 0.0
        for i in range(nodes.size):
            part += weights[i] * work[3, i] * work[4, i]
        total += half * part
    return total / np.pi


@jit
def circle_products(edges, coefficients, breaks, radii, q, theta, tolerance, nodes, weights):
    """E[f(u) f(v)] for a piecewise polynomial f: (q.size, theta.size).

    Both have variance q and correlation c, theta = arccos c.

    In polar coordinates u = r cos a, v = r cos(a + theta), where r^2/q is chi-squared with two degrees of
    freedom: Gauss-Legendre panels in r, and in a between all places where u or v meets an edge of f. As a function
    of r the mean over a circle is singular like a square root where the circle reaches a break, and bends
    where two lines u = break, v = break cross. `radii` are further edges of panels in r, from 0 to the
    end of the integral; a panel is halved until the last two Legendre coefficients of the mean are below
    the tolerance (the integral is far more exact: Gauss's rule is right to twice their degree).
    """
    out = np.zeros((q.size, theta.size))
    degrees = np.zeros(edges.size - 1, dtype=np.int64)
    for panel in range(degrees.size):
        for k in range(_DEGREE + 1):
            if coefficients[panel, k] != 0.0:
                degrees[panel] = k
    cuts = edges[1:-1]
    arcs = np.empty(4 * cuts.size + 2)
    work = np.empty((6, nodes.size))
    r, jacobian, mean = np.empty((3, _GL12_X.size))
    largest = q.max()
    pending = np.empty((12, 2))
    panels = np.empty(radii.size + breaks.size * (breaks.size + 1))
    for j in range(theta.size):
        panels[: radii.size] = radii
        n = radii.size
        for i in range(breaks.size):
            panels[n] = abs(breaks[i])
            n += 1
            for k in range(breaks.size):
                squared = (breaks[i] - breaks[k]) ** 2 + 4.0 * breaks[i] * breaks[k] * np.sin(
                    0.5 * theta[j]
                ) ** 2
                panels[n] = np.sqrt(squared) / np.sin(theta[j])
                n += 1
        panels[:n].sort()
        start = 0.0
        for panel in range(n - 1):
            low = panels[panel]
            for i in range(breaks.size):
                if low == abs(breaks[i]):
                    start = low
            high = min(panels[panel + 1], radii[-1])
            if high - low <= 1e-15 * high:
                continue
            # Square roots disappear in s with r = start + s^2.
            if start > 0.0:
                low = np.sqrt(low - start)
                high = np.sqrt(high - start)
            pending[0] = low, high
            left = 1
            while left > 0:
                left -= 1
                low, high = pending[left]
                rough = 0.0
                rougher = 0.0
                for i in range(_GL12_X.size):
                    t = 0.5 * (high + low) + 0.5 * (high - low) * _GL12_X[i]
                    r[i] = start + t * t if start > 0.0 else t
                    jacobian[i] = 0.5 * (high - low) * _GL12_W[i] * (2.0 * t if start > 0.0 else 1.0)
                    mean[i] = _circle_mean(
                        edges, coefficients, degrees, cuts, r[i], theta[j], nodes, weights, arcs, work
                    )
                    rough += _GL12_TOP[0, i] * mean[i]
                    rougher += _GL12_TOP[1, i] * mean[i]
                here = tolerance * np.exp(0.5 * r[0] ** 2 / largest)
                if max(abs(rough), abs(rougher)) > here and left + 2 <= len(pending):
                    middle = 0.5 * (low + high)
                    pending[left] = middle, high
                    pending[left + 1] = low, middle
                    left += 2
                    continue
                for i in range(_GL12_X.size):
                    for k in range(q.size):
                        weight = jacobian[i] * r[i] / q[k] * np.exp(-0.5 * r[i] * r[i] / q[k])
                        out[k, j] += weight * mean[i]
    return out


@jit
def mass_products(edges, coefficients, breaks, masses, q, theta, nodes, weights):
    """What point masses of f at the breaks add to E[f(u) f(v)]: (q.size, theta.size)."""
    out = np.zeros((q.size, theta.size))
    for i in range(q.size):
        root = np.sqrt(q[i])
        for j in range(theta.size):
            c = np.cos(theta[j])
            s = np.sin(theta[j])
            for k in range(breaks.size):
                if masses[k] != 0.0:
                    at = masses[k] * _density(breaks[k] / root) / root
                    mean = c * breaks[k]
                    sd = s * root
                    point = 0.0
                    for l in range(breaks.size):
                        point += masses[l] * _density((breaks[l] - mean) / sd) / sd
                    none = masses[:0]
                    rest = _smoothed(edges, coefficients, breaks[:0], none, mean, sd, 9.0, nodes, weights)
                    out[i, j] += at * (2.0 * rest + point)
    return out


# -- fixed points --------------------------------------------------------------------------------------------

OK, ZERO_VARIANCE, UNBOUNDED, SCALE_INVARIANT, SEVERAL = range(5)


@jit
def _bracket(table, w2, b2, q, step, chebyshev, row):
    """(left, right, code): where map minus identity changes sign, from q along `step`.

    Upwards if step > 0. The map exceeds the identity at `left` and not at `right`. Where there is none,
    left = right = q* and a code.
    """
    grid = table.grid_q
    n = grid.size
    index = np.searchsorted(grid, q, side="right")  # grid[index - 1] <= q < grid[index]
    if step > 0.0:
        left = q
        while index < n:
            if w2 * table.grid_second[index] + b2 <= grid[index]:
                return left, grid[index], OK
            left = grid[index]
            index += 1
        # Beyond the table E[phi^2] is continued linearly.
        _moments(table, left, chebyshev, row)
        rate = w2 * row[2]
        if rate >= 1.0 - 1e-12:
            return np.inf, np.inf, UNBOUNDED
        q = left + (w2 * row[0] + b2 - left) / (1.0 - rate)
        return q, q, OK
    right = q
    index -= 1
    if index >= 0 and grid[index] == q:
        index -= 1
    while index >= 0:
        if w2 * table.grid_second[index] + b2 >= grid[index]:
            return grid[index], right, OK
        right = grid[index]
        index -= 1
    at_zero = b2 + w2 * table.origin
    if at_zero == 0.0:
        return 0.0, 0.0, ZERO_VARIANCE
    right = min(right, grid[0])
    _moments(table, right, chebyshev, row)
    q = at_zero / (1.0 - w2 * (row[0] - table.origin) / right)
    return q, q, OK


@jit
def _variance_fixed_point(table, w2, b2, q0, chebyshev, row):
    """The fixed point of q -> w2 E[phi^2] + b2 reached from q0, and its code.

    Its moments are left in `row`.

    The map is increasing for every activation whose E[phi^2] grows with q, so iterates move monotonically
    to the first fixed point in the direction of the first step: bracket it on the grid, then safeguarded
    Newton.
    """
    _moments(table, q0, chebyshev, row)
    step = w2 * row[0] + b2 - q0
    if abs(step) <= 1e-13 * q0 and abs(w2 * row[2] - 1.0) < 1e-9 and b2 == 0.0 and table.origin == 0.0:
        _moments(table, 4.0 * q0, chebyshev, row)
        everywhere = abs(w2 * row[0] - 4.0 * q0) <= 4e-13 * q0
        _moments(table, q0, chebyshev, row)
        if everywhere:
            return q0, SCALE_INVARIANT
    if abs(step) <= 4e-15 * q0:
        return q0, OK
    left, right, code = _bracket(table, w2, b2, q0, step, chebyshev, row)
    if left == right:
        at = left
        if code == UNBOUNDED:
            at = table.high
        elif code == ZERO_VARIANCE:
            at = table.low
        _moments(table, at, chebyshev, row)
        return left, code
    q = 0.5 * (left + right)
    for _ in range(100):
        _moments(table, q, chebyshev, row)
        step = w2 * row[0] + b2 - q
        if step >= 0.0:
            left = q
        else:
            right = q
        new = q - step / (w2 * row[2] - 1.0)
        if not (left < new < right):
            new = 0.5 * (left + right)
        if abs(step) <= 1e-15 * q or right - left <= 4e-16 * right:  # rounding of the map itself
            break
        q = new
    return q, OK


@jit
def _turns(step, q, left, right):
    """Whether the map may touch the identity within a cell of the grid.

    `step` is the map minus the identity at the variance q. It may touch zero where its slope has a zero.

    `left` and `right` are its slopes at the ends of a cell of the grid. The map bends little within a cell: far from
    the identity an extremum changes no sign and is not looked for.
    """
    return abs(step) <= 0.01 * q and left * right < 0.0


@jit
def _extremum(table, w2, b2, cell, chebyshev, row):
    """Where map minus identity is extreme in a cell where it `_turns`, and its value."""
    low = table.grid_q[cell]
    high = table.grid_q[cell + 1]
    left = w2 * table.grid_rate[cell] - 1.0
    middle = low
    for _ in range(60):
        middle = 0.5 * (low + high)
        _moments(table, middle, chebyshev, row)
        if left * (w2 * row[2] - 1.0) > 0.0:
            low = middle
        else:
            high = middle
    return middle, w2 * row[0] + b2 - middle


@jit
def _has_several(table, w2, b2, chebyshev, row):
    """Whether the map crosses the identity upwards: a repeller parts two attractors."""
    below = False
    grid = table.grid_q
    second = table.grid_second
    rate = table.grid_rate
    for i in range(grid.size):
        step = w2 * second[i] + b2 - grid[i]
        if step > 0.0 and below:
            return True
        below = below or step < 0.0
        if i + 1 < grid.size and _turns(step, grid[i], w2 * rate[i] - 1.0, w2 * rate[i + 1] - 1.0):
            step = _extremum(table, w2, b2, i, chebyshev, row)[1]
            if step > 0.0 and below:
                return True
            below = below or step < 0.0
    return False


@jit
def variance_fixed_points(table, w2, b2, q0):
    """q*, E[phi'^2], slope of the map, E[phi] and w2 (5, n), and codes (n,).

    The last row is w2, or the limit of q/E[phi^2] if the variance is unbounded. If q* is 0 or infinite,
    the moments are those at the end of the table.
    """
    n = w2.size
    chebyshev = np.empty(_DEGREE + 1)
    row = np.empty(4)
    out = np.empty((5, n))
    codes = np.empty(n, dtype=np.int64)
    for i in range(n):
        q, code = _variance_fixed_point(table, w2[i], b2[i], q0[i], chebyshev, row)
        out[0, i] = q
        out[1, i] = row[1]
        out[2, i] = w2[i] * row[2]
        # The mean of an odd activation is rounding.
        out[3, i] = row[3] if row[3] * row[3] > 1e-28 * row[0] else 0.0
        out[4, i] = table.high / row[0] if code == UNBOUNDED else w2[i]
        if code == OK and table.several and _has_several(table, w2[i], b2[i], chebyshev, row):
            code = SEVERAL
        codes[i] = code
    return out, codes


@jit
def _polynomial(a, left, right, x):
    """Chebyshev series and its derivative at x."""
    scale = 2.0 / (right - left)
    t = (2.0 * x - left - right) / (right - left)
    before = 1.0
    here = t
    u_before = 1.0  # U_0
    u_here = 2.0 * t  # U_1
    value = a[0] + a[1] * t
    slope = a[1]
    for k in range(2, a.size):
        before, here = here, 2.0 * t * here - before
        value += a[k] * here
        slope += a[k] * k * u_here
        u_before, u_here = u_here, 2.0 * t * u_here - u_before
    return value, slope * scale


@jit
def _contract(values, chebyshev, out):
    """Coefficients in theta at a given log q."""
    out[:] = 0.0
    for i in range(_DEGREE + 1):
        for j in range(_DEGREE + 1):
            out[j] += chebyshev[i] * values[i, j]


@jit
def _row(table, x, chebyshev):
    """Row of the table of correlations for log q = x."""
    row = 0
    while row < table.rows.shape[0] - 1 and x > table.rows[row, 1]:
        row += 1
    _chebyshev(table.rows[row, 0], table.rows[row, 1], x, chebyshev)
    return row


@jit
def equal_products(table, q, theta):
    """E[phi'(u) phi'(v)] at equal variances, and its mean over [c, 1]: (2, n)."""
    chebyshev = np.empty(_DEGREE + 1)
    series = np.empty(_DEGREE + 1)
    out = np.empty((2, q.size))
    for i in range(q.size):
        row = _row(table, np.log(q[i]), chebyshev)
        panel = table.first[row]
        while panel < table.first[row + 1] - 1 and theta[i] > table.angles[panel, 1]:
            panel += 1
        for j in range(2):
            _contract(table.values[panel, j], chebyshev, series)
            value, _ = _polynomial(series, table.angles[panel, 0], table.angles[panel, 1], theta[i])
            out[j, i] = value / theta[i] ** table.power
    return out


@jit
def correlation_fixed_points(table, q, gain, at_zero):
    """c* in [0, 1) and E[phi'(u) phi'(v)] there: (2, n), where gain E[phi'^2] > 1.

    With D(theta) the mean of E[phi'(u) phi'(v)] over correlations in [c, 1], the correlation map f obeys
    1 - f(c) = gain D (1 - c): c* solves gain D = 1. D decreases in theta on [0, pi/2] (f is a power
    series with non-negative coefficients), so the root is unique. Small c* are refined to relative
    accuracy by f(c) = at_zero + gain c D0 with the mean D0 over [0, c].
    """
    n = q.size
    chebyshev = np.empty(_DEGREE + 1)
    mean = np.empty(_DEGREE + 1)
    other = np.empty(_DEGREE + 1)
    out = np.empty((2, n))
    for i in range(n):
        row = _row(table, np.log(q[i]), chebyshev)
        panel = table.first[row + 1] - 1
        while True:
            left = table.angles[panel, 0]
            right = table.angles[panel, 1]
            _contract(table.values[panel, 1], chebyshev, mean)
            if left == 0.0:
                break
            value, _ = _polynomial(mean, left, right, left)
            if gain[i] * value - left**table.power >= 0.0:
                break
            panel -= 1
        theta = 0.5 * (left + right)
        low = left
        high = right
        for _ in range(60):
            value, slope = _polynomial(mean, left, right, theta)
            step = gain[i] * value - theta**table.power
            if step >= 0.0:
                low = theta
            else:
                high = theta
            slope = gain[i] * slope - table.power
            new = theta - step / slope if slope != 0.0 else 0.5 * (low + high)
            if not (low <= new <= high):
                new = 0.5 * (low + high)
            if abs(step) <= 1e-15 * theta**table.power or high - low <= 4e-16 * high:
                break
            theta = new
        c = np.cos(theta)
        _contract(table.values[panel, 0], chebyshev, other)
        out[1, i] = _polynomial(other, left, right, theta)[0] / theta**table.power
        if c < 0.5:
            _contract(table.values[panel, 2], chebyshev, other)
            c = at_zero[i] / (1.0 - gain[i] * _polynomial(other, left, right, theta)[0])
        out[0, i] = c
    return out


# -- where variances settle, and whole trajectories ----------------------------------------------------------

TOUCH = 1e-13  # relative distance of a map from the identity that counts as none: the accuracy of the tables


@jit
def settled_variances(table, w2, b2, q0):
    """Variances from which the next fixed point ahead is the one reached: (n,).

    Ahead of a variance the map runs straight into the next fixed point if it increases up to there; where it
    decreases in between, it may leap over it, so take a step and look again. The logarithm of the map is never
    steeper than -1/2 (E[phi^2 (z^2 - 1)] >= -E[phi^2]), hence it has no cycles and every orbit settles.
    """
    chebyshev = np.empty(_DEGREE + 1)
    row = np.empty(4)
    out = np.empty(q0.size)
    grid = table.grid_q
    for i in range(q0.size):
        q = q0[i]
        for _ in range(100000):  # slow passages between a map and the identity that almost touch
            _moments(table, q, chebyshev, row)
            after = w2[i] * row[0] + b2[i]
            index = np.searchsorted(grid, q, side="right")
            previous = row[0]
            straight = True
            while straight and after > q and index < grid.size:
                straight = table.grid_second[index] >= previous * (1.0 - 1e-13)
                previous = table.grid_second[index]
                if w2[i] * previous + b2[i] <= grid[index]:
                    break
                index += 1
            index -= 1
            while straight and after < q and index >= 0:
                straight = table.grid_second[index] <= previous * (1.0 + 1e-13)
                previous = table.grid_second[index]
                if w2[i] * previous + b2[i] >= grid[index]:
                    break
                index -= 1
            if straight or abs(after - q) <= 4e-15 * q:  # ahead, or there up to rounding
                break
            q = after
        out[i] = q
    return out


@jit
def touching_variances(table, w2, b2, q0, q):
    """First fixed point between q0 and q that signs on the grid hide; else q: (n,).

    Within one cell the map may touch the identity, or cross it twice: an orbit from q0 ends at the touch, or at the
    crossing nearer q0.
    """
    chebyshev = np.empty(_DEGREE + 1)
    row = np.empty(4)
    out = q.copy()
    grid = table.grid_q
    second = table.grid_second
    rate = table.grid_rate
    for i in range(q.size):
        low_end = min(q0[i], q[i])
        high_end = max(q0[i], q[i])
        up = q[i] > q0[i]
        start = np.searchsorted(grid, q0[i], side="right") - 1
        cell = min(max(start, 0), grid.size - 2)
        while 0 <= cell < grid.size - 1 and grid[cell] < high_end and grid[cell + 1] > low_end:
            here = w2[i] * second[cell] + b2[i] - grid[cell]
            if _turns(here, grid[cell], w2[i] * rate[cell] - 1.0, w2[i] * rate[cell + 1] - 1.0):
                turn, step = _extremum(table, w2[i], b2[i], cell, chebyshev, row)
                ahead = step if up else -step  # negative: the orbit does not get past the extremum
                if low_end <= turn <= high_end and ahead <= TOUCH * turn:
                    out[i] = turn
                    if ahead < -TOUCH * turn:
                        near = max(grid[cell], q0[i]) if up else min(grid[cell + 1], q0[i])
                        far = turn
                        for _ in range(60):
                            out[i] = 0.5 * (near + far)
                            _moments(table, out[i], chebyshev, row)
                            if (w2[i] * row[0] + b2[i] - out[i]) * step < 0.0:
                                near = out[i]
                            else:
                                far = out[i]
                    break
            cell += 1 if up else -1
    return out


@jit
def variance_path(table, w2, b2, rate, out):
    """Iterate the variance map from out[0] into `out`.

    Beyond the table E[phi^2] grows at `rate` (inf: at once to inf).
    """
    chebyshev = np.empty(_DEGREE + 1)
    row = np.empty(4)
    for layer in range(out.size - 1):
        q = out[layer]
        _moments(table, min(q, table.high), chebyshev, row)
        if q > table.high:
            row[0] += rate * (q - table.high) if q < np.inf else np.inf
        out[layer + 1] = w2 * row[0] + b2 if w2 > 0.0 else b2


@jit
def _angle_panel(table, q, theta, chebyshev):
    """Index of the panel of the table of correlations that holds (q, theta).

    Prepares `chebyshev` for q.
    """
    row = _row(table, np.log(q), chebyshev)
    panel = table.first[row]
    while panel < table.first[row + 1] - 1 and theta > table.angles[panel, 1]:
        panel += 1
    return panel


@jit
def _angle_value(table, panel, j, theta, chebyshev, series):
    _contract(table.values[panel, j], chebyshev, series)
    return _polynomial(series, table.angles[panel, 0], table.angles[panel, 1], theta)[0]


@jit
def correlation_path(moments, table, far, even, odd, parity, ends, w2, b2, keep, q, c, gap):
    """Iterate the correlation map along the variances q into `c` and `gap`.

    It starts from c[0] and gap[0] = 1 - c[0].

    Near c = 1 the gap is followed, by 1 - f(c) = (lost + w2 q D (1 - c))/q' with D the mean slope product over
    [c, 1] and `lost` what dropout takes; elsewhere c itself, by f(c) = (w2 (mean^2 + q c D0) + b2)/q' with D0 the
    mean over [0, c]. At negative c, D0 is that of the even part of phi minus that of the odd part; `parity` 1, -1, 0
    says that phi is even, odd, or neither. Where q leaves the table the map is that of the table's end; above it,
    that of the asymptotes of phi, of slopes `ends`, with the slope products `far`.
    """
    chebyshev = np.empty(_DEGREE + 1)
    series = np.empty(_DEGREE + 1)
    row = np.empty(4)
    for layer in range(q.size - 1):
        at = min(moments.high, max(moments.low, q[layer]))
        _moments(moments, at, chebyshev, row)
        slopes = table
        if q[layer] > moments.high and ends[0] ** 2 + ends[1] ** 2 > 0.0:
            slopes = far
            row[0] = at * 0.5 * (ends[0] ** 2 + ends[1] ** 2)
            row[3] = np.sqrt(at) * (ends[1] - ends[0]) * _INV_SQRT_2PI
        bias = b2 * (at / q[layer]) if b2 > 0.0 else 0.0
        norm = w2 / keep * row[0] + bias
        here = c[layer]
        if norm == 0.0 or w2 == 0.0:  # nothing but the bias, if any, reaches the next layer
            c[layer + 1] = 1.0
            gap[layer + 1] = 0.0
            continue
        mean2 = row[3] * row[3]
        if mean2 <= 1e-28 * row[0]:  # rounding of an odd activation
            mean2 = 0.0
        if here >= 0.5:
            lost = (1.0 / keep - 1.0) * row[0]
            kept = 0.0
            if gap[layer] > 0.0:
                theta = 2.0 * np.arcsin(np.sqrt(0.5 * gap[layer]))
                panel = _angle_panel(slopes, at, theta, chebyshev)
                kept = _angle_value(slopes, panel, 1, theta, chebyshev, series) / theta**slopes.power
            gap[layer + 1] = max(0.0, w2 * (lost + at * kept * gap[layer]) / norm)
            c[layer + 1] = 1.0 - gap[layer + 1]
            continue
        theta = np.arccos(abs(here))
        if here >= 0.0 or parity != 0:
            panel = _angle_panel(slopes, at, theta, chebyshev)
            slope = _angle_value(slopes, panel, 2, theta, chebyshev, series)
            slope *= here if here >= 0.0 else -parity * here
        else:
            panel = _angle_panel(even, at, theta, chebyshev)
            slope = _angle_value(even, panel, 2, theta, chebyshev, series)
            panel = _angle_panel(odd, at, theta, chebyshev)
            slope = abs(here) * (slope - _angle_value(odd, panel, 2, theta, chebyshev, series))
        c[layer + 1] = min(1.0, max(-1.0, (w2 * (mean2 + at * slope) + bias) / norm))
        gap[layer + 1] = 1.0 - c[layer + 1]


@jit
def dropout_correlations(table, q, gain, at_zero, lost):
    """c* in [0, 1) and E[phi'(u) phi'(v)] there, under dropout: (2, n).

    Two copies of an input have correlation 1 - lost < 1.

    As `correlation_fixed_points`, but c* solves lost + (gain D - 1)(1 - c) = 0: the left side is `lost` at c = 1 and
    -f(0) at c = 0, and the map is convex, so the root is unique.
    """
    n = q.size
    chebyshev = np.empty(_DEGREE + 1)
    mean = np.empty(_DEGREE + 1)
    other = np.empty(_DEGREE + 1)
    out = np.empty((2, n))
    for i in range(n):
        row = _row(table, np.log(q[i]), chebyshev)
        panel = table.first[row + 1] - 1
        while True:
            low = table.angles[panel, 0]
            high = table.angles[panel, 1]
            _contract(table.values[panel, 1], chebyshev, mean)
            if low == 0.0:
                break
            value = gain[i] * _polynomial(mean, low, high, low)[0] / low**table.power
            if lost[i] + (value - 1.0) * 2.0 * np.sin(0.5 * low) ** 2 >= 0.0:
                break
            panel -= 1
        left = low
        right = high
        theta = 0.5 * (low + high)
        for _ in range(200):
            value, slope = _polynomial(mean, left, right, theta)
            value *= gain[i] / theta**table.power
            slope = slope * gain[i] / theta**table.power - table.power * value / theta
            gap = 2.0 * np.sin(0.5 * theta) ** 2
            step = lost[i] + (value - 1.0) * gap
            if step >= 0.0:
                low = theta
            else:
                high = theta
            slope = slope * gap + (value - 1.0) * np.sin(theta)
            new = theta - step / slope if slope != 0.0 else 0.5 * (low + high)
            if not (low < new < high):
                new = 0.5 * (low + high)
            if abs(new - theta) <= 2e-16 * theta:
                break
            theta = new
        c = np.cos(theta)
        _contract(table.values[panel, 0], chebyshev, other)
        out[1, i] = _polynomial(other, left, right, theta)[0] / theta**table.power
        if c < 0.5:
            _contract(table.values[panel, 2], chebyshev, other)
            c = at_zero[i] / (1.0 - gain[i] * _polynomial(other, left, right, theta)[0])
        out[0, i] = c
    return out


# -- free products -------------------------------------------------------------------------------------------


@jit
def moment_functions(values, weighted, x, m, dm):
    """E[d/(x - d)] and its derivative, into m and dm.

    Of laws (F, k) of values d, at places x (F, n). `weighted` are probabilities times values, 0 where a law has fewer.
    """
    n = x.shape[1]
    flat = np.empty(n)
    bent = np.empty(n)
    flat2 = np.empty(n)
    bent2 = np.empty(n)
    re = np.empty(n)
    square = np.empty(n)
    for law in range(values.shape[0]):
        for i in range(n):
            re[i] = x[law, i].real
            square[i] = x[law, i].imag ** 2
            flat[i] = bent[i] = flat2[i] = bent2[i] = 0.0
        for k in range(values.shape[1]):
            d = values[law, k]
            w = weighted[law, k]
            if w == 0.0:
                continue
            for i in range(n):
                t = re[i] - d
                r = 1.0 / (t * t + square[i])  # 1/|x - d|^2
                wr = w * r
                flat[i] += wr
                bent[i] += wr * t
                flat2[i] += wr * r
                bent2[i] += wr * r * t
        for i in range(n):
            b = x[law, i].imag
            m[law, i] = complex(bent[i], -b * flat[i])
            dm[law, i] = complex(2.0 * square[i] * flat2[i] - flat[i], 2.0 * b * bent2[i])


@jit
def _over(a, b):
    """a/b of complex numbers; not a number where b is 0, where Numba would raise."""
    size = b.real * b.real + b.imag * b.imag
    return complex((a.real * b.real + a.imag * b.imag) / size, (a.imag * b.real - a.real * b.imag) / size)


@jit
def factor_equations(y, log_x, ratios, layers, m, dm, moves, follows, gaps, value, slope):
    """Equations M_l(x_l) = r_l y of a product's factors, to first order.

    About log x (F, n); see `mfdnn.jacobian.product`. `m` and `dm` (F, n) are the moment functions of slopes and their
    derivatives at x. Into `gaps` (F, n) those of their logarithms, into `moves` and `follows` the changes of log x that
    close them and their derivatives by log y; to `value` and `slope` (n,) are added log x there, times `layers`, and
    its derivative.
    """
    for l in range(log_x.shape[0]):
        for i in range(log_x.shape[1]):
            gap = np.log(_over(m[l, i], ratios[l] * y[i]))
            follow = _over(m[l, i], np.exp(log_x[l, i]) * dm[l, i])
            moves[l, i] = -gap * follow
            follows[l, i] = follow
            gaps[l, i] = gap
            value[i] += layers[l] * (log_x[l, i] - gap * follow)
            slope[i] += layers[l] * follow


@jit
def inverse_moment_function(values, weighted, y, low, high, steps, close, out):
    """Real x in (`low`, `high`) (n,) where E[d/(x - d)] = y (n,), into `out`.

    It falls there. `weighted` are probabilities times values. Newton's method for its inverse, which is nearly
    straight, and halves where that leaves the bracket: at most `steps` of them, until one is `close` of x.
    """
    for i in range(y.size):
        lower, upper = low[i], high[i]
        x = (lower + upper) / 2
        for _ in range(steps):
            m, dm = 0.0, 0.0
            for k in range(values.size):
                inverse = 1.0 / (x - values[k])
                m += weighted[k] * inverse
                dm += weighted[k] * inverse * inverse
            if m > y[i]:
                lower = x
            else:
                upper = x
            ahead = x - (m - m * m / y[i]) / dm
            if not lower <= ahead <= upper:
                ahead = (lower + upper) / 2
            near = abs(ahead - x) <= close * x
            x = ahead
            if near:
                break
        out[i] = x


@jit
def passed_on(first, log_scales, constants, orthogonal, unknown, m, rates, out):
    """A sum that passes through layers, to first order about `unknown` (L, n).

    See `mfdnn.jacobian.accumulation`. `m` and `rates` (L - 1, n) are the moment functions of slopes and their
    logarithmic derivatives at the places x_l, of whose logarithms `unknown` consists but for log g_1. Into `out`
    (7, L, n): changes of the unknowns that their own equations ask for, at most 1/2; their derivatives by log g_1; gaps
    of the equations; log g and its derivative; y and its derivative.
    """
    layers, n = unknown.shape
    for i in range(n):
        log_g = unknown[0, i]
        rate_g = 1.0 + 0.0j
        y = first * np.exp(log_g)
        dy = y
        out[0, 0, i] = out[2, 0, i] = 0.0
        out[1, 0, i] = 1.0
        out[3, 0, i] = log_g
        out[4, 0, i] = rate_g
        out[5, 0, i] = y
        out[6, 0, i] = dy
        for l in range(1, layers):
            gap = np.log(_over(m[l - 1, i], y))
            move = -_over(gap, rates[l - 1, i])
            move = move / max(1.0, 2.0 * abs(move))
            rate_y = _over(dy, y)
            follow = _over(rate_y, rates[l - 1, i])
            log_g = log_g - log_scales[l - 1] - unknown[l, i] - move - np.log(y)
            rate_g = rate_g - follow - rate_y
            if orthogonal[l - 1]:
                log_g = log_g + np.log(1.0 + y)
                rate_g = rate_g + _over(dy, 1.0 + y)
            gain = constants[l - 1] * np.exp(log_g)
            y = y + gain
            dy = dy + gain * rate_g
            out[0, l, i] = move
            out[1, l, i] = follow
            out[2, l, i] = gap
            out[3, l, i] = log_g
            out[4, l, i] = rate_g
            out[5, l, i] = y
            out[6, l, i] = dy

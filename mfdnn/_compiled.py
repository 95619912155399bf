"""Everything Numba compiles: numbers and tables in, numbers out.

No kernel receives a function: an activation arrives as a `Table` (and, where a two-dimensional integral is done
directly, as its piecewise polynomial), so each kernel is compiled once and cached for every activation there will be.
Kernels validate nothing and allocate nothing in inner loops.
"""

from __future__ import annotations

import math
import os
from collections import namedtuple
from collections.abc import Callable

import numba
import numpy as np

__all__ = [
    "Table",
    "fixed_points",
    "hermite_coefficients",
    "hermite_residual",
    "jit",
    "kink_coefficients",
    "map_values",
    "pair_expectation",
    "product_matrices",
    "series_products",
    "table_moments",
]

_CACHE = os.environ.get("MFDNN_NUMBA_CACHE", "1") != "0"


def jit(function: Callable) -> Callable:
    """The one jit policy: release the GIL, cache on disk, C division; no fastmath, no parallel.

    ``MFDNN_NUMBA_CACHE=0`` turns the disk cache off; where no cache folder can be written, compile in memory.
    """
    options = {"nogil": True, "error_model": "numpy"}
    if _CACHE:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # "no locator available": neither the package nor the user's cache folder is writable
            pass
    return numba.njit(**options)(function)


# An activation for kernels, tabulated over x = log q in panels of Chebyshev polynomials of degree 15.
#   edges (n + 1,)                panel edges in log q
#   values (n, 16, 3 + K + 1)     E[phi^2], E[phi'^2], q dE[phi^2]/dq, then Hermite coefficients a_0..a_K
#   tails (n, 4)                  2-norms of what the series leaves out: smooth part and kink part of phi, of sqrt(q) phi'
#   kinks, slopes, jumps (m,)     the kink part p(x) = sum_j slopes_j relu(x - kinks_j) + jumps_j step(x - kinks_j)
#   origin (1,)                   phi(0)
Table = namedtuple("Table", "edges values tails kinks slopes jumps origin")

_DEGREE = 15
_MOMENTS = 3
_SQRT2 = np.sqrt(2.0)
_INV_SQRT_2PI = 1.0 / np.sqrt(2.0 * np.pi)
_GAUSS_X, _GAUSS_W = np.polynomial.legendre.leggauss(16)
_GAUSS12_X, _GAUSS12_W = np.polynomial.legendre.leggauss(12)
_GL20_X, _GL20_W = np.polynomial.legendre.leggauss(20)


# -- Gaussian helpers ----------------------------------------------------------------------------------------------


@jit
def _upper(x):
    """P(z > x)."""
    return 0.5 * math.erfc(x / _SQRT2)


@jit
def _density(x):
    return _INV_SQRT_2PI * np.exp(-0.5 * x * x)


@jit
def _orthant(h, k, c, s):
    """P(z1 > h, z2 > k) for correlation c, with s = sqrt(1 - c^2) given separately (c = +-1 exactly if s = 0).

    Drezner & Wesolowsky's integral over the arcsine of the correlation for |c| < 0.925, Genz's expansion about
    |c| = 1 beyond (A. Genz 2004, Statistics and Computing 14, 251-260).
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
            result = a * np.exp(exponent) * (1.0 - cc * (bs - a2) * (1.0 - d * bs / 5.0) / 3.0 + cc * d * a2 * a2 / 5.0)
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
def _kink_products(table, q1, q2, c, s):
    """E[p(u) p(v)] and E[p'(u) p'(v)] for the kink part p of phi, in closed form (truncated bivariate moments)."""
    value = 0.0
    slope = 0.0
    r1 = np.sqrt(q1)
    r2 = np.sqrt(q2)
    for i in range(table.kinks.size):
        h = table.kinks[i] / r1
        for j in range(table.kinks.size):
            k = table.kinks[j] / r2
            both = _orthant(h, k, c, s)
            dh = _density(h)
            dk = _density(k)
            if s > 0.0:
                qh = _upper((h - c * k) / s)  # P(z1 > h | z2 = k)
                qk = _upper((k - c * h) / s)
                joint = np.exp(-0.5 * (h * h - 2.0 * c * h * k + k * k) / (s * s)) / (2.0 * np.pi * s)
            else:
                qh = 0.5 if h == c * k else (1.0 if h < c * k else 0.0)
                qk = 0.5 if k == c * h else (1.0 if k < c * h else 0.0)
                joint = 0.0
            weight = table.slopes[i] * table.slopes[j]
            if weight != 0.0:
                relu = (c + h * k) * both - k * dh * qk - h * dk * qh + s * s * joint
                value += weight * r1 * r2 * relu
                slope += weight * both
            weight = table.jumps[i] * table.jumps[j]
            if weight != 0.0:
                value += weight * both
                slope += weight * joint / (r1 * r2) if s > 0.0 else np.inf
            weight = table.jumps[i] * table.slopes[j]
            if weight != 0.0:
                value += weight * r2 * (c * dh * qk + dk * qh - k * both)
                slope += weight * dh * qk / r1
            weight = table.slopes[i] * table.jumps[j]
            if weight != 0.0:
                value += weight * r1 * (c * dk * qh + dh * qk - h * both)
                slope += weight * dk * qh / r2
    return value, slope


@jit
def kink_coefficients(kinks, slopes, jumps, q, out):
    """Hermite coefficients of the kink part p at variance q into `out`."""
    out[:] = 0.0
    r = np.sqrt(q)
    n = out.size
    for j in range(kinks.size):
        y = kinks[j] / r
        d = _density(y)
        up = _upper(y)
        out[0] += slopes[j] * r * (d - y * up) + jumps[j] * up
        if n > 1:
            out[1] += slopes[j] * r * up + jumps[j] * d
        before = 0.0  # h_{k-3}
        here = 1.0  # h_{k-2}
        for k in range(2, n):
            # h_{k-1} = (y h_{k-2} - sqrt(k-2) h_{k-3}) / sqrt(k-1)
            after = (y * here - np.sqrt(k - 2.0) * before) / np.sqrt(k - 1.0)
            out[k] += slopes[j] * r * d * here / np.sqrt(k * (k - 1.0)) + jumps[j] * d * after / np.sqrt(float(k))
            before = here
            here = after


@jit
def hermite_coefficients(z, weighted, out):
    """a_k = sum_i weighted_i h_k(z_i) for k < out.size; `weighted` already holds weight times phi."""
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
    """Weighted 2-norms of f - sum_k a_k h_k and of slope - sum_k sqrt(k) a_k h_{k-1}; `weight` includes the density.

    Summed on the weighted functions h_k sqrt(weight), which stay bounded, so the norms are right down to rounding.
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


# -- reading the table ---------------------------------------------------------------------------------------------


@jit
def _locate(edges, x, chebyshev):
    """Panel of x (clamped to the table) and the Chebyshev polynomials there; returns the panel."""
    last = edges.size - 2
    if x <= edges[0]:
        panel = 0
        t = -1.0
    elif x >= edges[last + 1]:
        panel = last
        t = 1.0
    else:
        low = 0
        high = last + 1
        while high - low > 1:
            middle = (low + high) // 2
            if edges[middle] <= x:
                low = middle
            else:
                high = middle
        panel = low
        t = (2.0 * x - edges[low] - edges[low + 1]) / (edges[low + 1] - edges[low])
    chebyshev[0] = 1.0
    chebyshev[1] = t
    for k in range(2, _DEGREE + 1):
        chebyshev[k] = 2.0 * t * chebyshev[k - 1] - chebyshev[k - 2]
    return panel


@jit
def _moments(table, q, chebyshev):
    """(E[phi^2], E[phi'^2], dE[phi^2]/dq, panel); continued linearly in q beyond the table."""
    panel = _locate(table.edges, np.log(q), chebyshev)
    second = 0.0
    slope2 = 0.0
    log_derivative = 0.0
    for k in range(_DEGREE + 1):
        second += chebyshev[k] * table.values[panel, k, 0]
        slope2 += chebyshev[k] * table.values[panel, k, 1]
        log_derivative += chebyshev[k] * table.values[panel, k, 2]
    low = np.exp(table.edges[0])
    high = np.exp(table.edges[-1])
    if q < low:
        at_zero = table.origin[0] ** 2
        rate = (second - at_zero) / low
        return at_zero + rate * q, slope2, rate, panel
    if q > high:
        rate = log_derivative / high
        return second + rate * (q - high), slope2, rate, panel
    return second, slope2, log_derivative / q, panel


@jit
def _coefficients(table, q, chebyshev, out):
    """Hermite coefficients a_0..a_K at variance q into `out`; returns the panel. Scaled beyond the table."""
    panel = _locate(table.edges, np.log(q), chebyshev)
    out[:] = 0.0
    for k in range(_DEGREE + 1):
        t = chebyshev[k]
        for j in range(out.size):
            out[j] += t * table.values[panel, k, _MOMENTS + j]
    low = np.exp(table.edges[0])
    high = np.exp(table.edges[-1])
    if q < low or q > high:
        factor = np.sqrt(q / (low if q < low else high))
        for j in range(1, out.size):
            out[j] *= factor
    return panel


@jit
def table_moments(table, q):
    """E[phi^2], E[phi'^2], dE[phi^2]/dq and E[phi] for a vector of variances > 0."""
    n = q.size
    chebyshev = np.empty(_DEGREE + 1)
    second = np.empty(n)
    slope2 = np.empty(n)
    rate = np.empty(n)
    mean = np.empty(n)
    first = np.empty(1)
    for i in range(n):
        second[i], slope2[i], rate[i], _ = _moments(table, q[i], chebyshev)
        _coefficients(table, q[i], chebyshev, first)
        mean[i] = first[0]
    return second, slope2, rate, mean


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
def _bounds(table, panel1, panel2, c, n):
    """Cauchy-Schwarz bounds on what the truncated series leaves out: of E[phi phi] and of sqrt(q1 q2) E[phi' phi']."""
    power = abs(c) ** n
    value = 0.0
    slope = 0.0
    for first in range(2):
        g1 = table.tails[panel1, 2 * first]
        p1 = table.tails[panel1, 2 * first + 1]
        g2 = table.tails[panel2, 2 * first]
        p2 = table.tails[panel2, 2 * first + 1]
        rest = g1 * g2 + g1 * p2 + p1 * g2
        if first == 0:
            value = power * rest
        elif rest > 0.0:
            slope = (power / abs(c) if c != 0.0 else 0.0) * rest
    return value, slope


@jit
def series_products(table, q1, q2, c):
    """E[phi phi], E[phi' phi'] and bounds on the truncation error of both, elementwise; variances > 0, |c| <= 1."""
    n = q1.size
    terms = table.values.shape[2] - _MOMENTS
    chebyshev = np.empty(_DEGREE + 1)
    a = np.empty(terms)
    b = np.empty(terms)
    pa = np.empty(terms)
    pb = np.empty(terms)
    kinked = table.kinks.size > 0
    out = np.empty((4, n))
    for i in range(n):
        panel1 = _coefficients(table, q1[i], chebyshev, a)
        if kinked:
            kink_coefficients(table.kinks, table.slopes, table.jumps, q1[i], pa)
        if q2[i] == q1[i]:
            panel2 = panel1
            b[:] = a
            pb[:] = pa
        else:
            panel2 = _coefficients(table, q2[i], chebyshev, b)
            if kinked:
                kink_coefficients(table.kinks, table.slopes, table.jumps, q2[i], pb)
        value, slope = _series(a, b, pa, pb, c[i], kinked)
        root = np.sqrt(q1[i] * q2[i])
        slope /= root
        if kinked:
            s = np.sqrt((1.0 - c[i]) * (1.0 + c[i]))
            more, more_slope = _kink_products(table, q1[i], q2[i], c[i], s)
            value += more
            slope += more_slope
        error, error_slope = _bounds(table, panel1, panel2, c[i], terms)
        out[0, i] = value
        out[1, i] = slope
        out[2, i] = error
        out[3, i] = error_slope / root
    return out


@jit
def product_matrices(table, variance, covariance):
    """E[phi_s phi_t], E[phi'_s phi'_t] and truncation bounds for T given inputs; upper triangle mirrored.

    The diagonal is left to the caller (one-dimensional moments). Rows with zero variance must be handled before.
    """
    n = variance.size
    terms = table.values.shape[2] - _MOMENTS
    chebyshev = np.empty(_DEGREE + 1)
    a = np.empty((n, terms))
    p = np.empty((n, terms))
    panels = np.empty(n, dtype=np.int64)
    kinked = table.kinks.size > 0
    for s in range(n):
        panels[s] = _coefficients(table, variance[s], chebyshev, a[s])
        if kinked:
            kink_coefficients(table.kinks, table.slopes, table.jumps, variance[s], p[s])
    value = np.zeros((n, n))
    slope = np.zeros((n, n))
    worst = np.zeros((n, n))
    worst_slope = np.zeros((n, n))
    for s in range(n):
        for t in range(s):
            root = np.sqrt(variance[s] * variance[t])
            c = covariance[s, t] / root
            c = min(1.0, max(-1.0, c))
            v, d = _series(a[s], a[t], p[s], p[t], c, kinked)
            d /= root
            if kinked:
                sine = np.sqrt((1.0 - c) * (1.0 + c))
                more, more_slope = _kink_products(table, variance[s], variance[t], c, sine)
                v += more
                d += more_slope
            e, e_slope = _bounds(table, panels[s], panels[t], c, terms)
            value[s, t] = v
            value[t, s] = v
            slope[s, t] = d
            slope[t, s] = d
            worst[s, t] = e
            worst_slope[s, t] = e_slope / root
    return value, slope, worst, worst_slope


# -- direct two-dimensional quadrature -------------------------------------------------------------------------------


@jit
def _evaluate(edges, coefficients, x):
    """Piecewise polynomial at x (Clenshaw); continued by its end panels."""
    last = edges.size - 2
    low = 0
    high = last + 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= x:
            low = middle
        else:
            high = middle
    t = (2.0 * x - edges[low] - edges[low + 1]) / (edges[low + 1] - edges[low])
    b1 = 0.0
    b2 = 0.0
    for k in range(coefficients.shape[1] - 1, 0, -1):
        b1, b2 = coefficients[low, k] + 2.0 * t * b1 - b2, b1
    return coefficients[low, 0] + t * b1 - b2


@jit
def _smoothed(edges, coefficients, kinks, jumps, mean, sd, reach, nodes, weights):
    """E[f(mean + sd w)], w standard normal, panel by panel; `jumps` adds point masses of a derivative at `kinks`."""
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
        if jumps[j] != 0.0:
            total += jumps[j] * _density((kinks[j] - mean) / sd) / sd
    return total


@jit
def pair_expectation(edges, coefficients, kinks, jumps, breaks, r1, r2, c, s, reach, nodes, weights):
    """E[f(u) f(v)] by panels: u = r1 z, v = r2 (c z + s w). `breaks` are the outer panel edges in z."""
    total = 0.0
    for panel in range(breaks.size - 1):
        half = 0.5 * (breaks[panel + 1] - breaks[panel])
        middle = 0.5 * (breaks[panel + 1] + breaks[panel])
        for i in range(nodes.size):
            z = middle + half * nodes[i]
            f = _evaluate(edges, coefficients, r1 * z)
            if f != 0.0:
                inner = _smoothed(edges, coefficients, kinks, jumps, r2 * c * z, r2 * s, reach, nodes, weights)
                total += half * weights[i] * _density(z) * f * inner
    for j in range(kinks.size):
        if jumps[j] != 0.0:
            z = kinks[j] / r1
            inner = _smoothed(edges, coefficients, kinks, jumps, r2 * c * z, r2 * s, reach, nodes, weights)
            total += jumps[j] * _density(z) / r1 * inner
    return total


# -- maps and fixed points -----------------------------------------------------------------------------------------

OK, ZERO_VARIANCE, UNBOUNDED, SCALE_INVARIANT, OSCILLATING = range(5)


@jit
def _variance_fixed_point(table, w2, b2, q0, chebyshev):
    """The fixed point of q -> w2 E[phi^2] + b2 reached from q0: (q*, status).

    The map is increasing for every activation whose E[phi^2] grows with q, so iterates move monotonically to the
    first fixed point in the direction of the first step: bracket it on a geometric grid, then safeguarded Newton.
    """
    low_edge = np.exp(table.edges[0])
    high_edge = np.exp(table.edges[-1])
    q = q0
    second, _, rate, _ = _moments(table, q, chebyshev)
    step = w2 * second + b2 - q
    if abs(step) <= 4e-15 * q:
        if abs(w2 * rate - 1.0) < 1e-9 and b2 == 0.0 and table.origin[0] == 0.0:
            other = 4.0 * q
            second, _, _, _ = _moments(table, other, chebyshev)
            if abs(w2 * second - other) <= 1e-13 * other:
                return q, SCALE_INVARIANT
        return q, OK
    ratio = 1.5
    left = q
    right = q
    if step > 0.0:
        while True:
            left = right
            right = left * ratio
            if right > high_edge:
                # Beyond the table E[phi^2] is continued linearly.
                second, _, rate, _ = _moments(table, max(high_edge, left), chebyshev)
                base = max(high_edge, left)
                gap = w2 * second + b2 - base
                if gap > 0.0:
                    if w2 * rate >= 1.0 - 1e-12:
                        return np.inf, UNBOUNDED
                    return base + gap / (1.0 - w2 * rate), OK
                right = base
                break
            second, _, _, _ = _moments(table, right, chebyshev)
            if w2 * second + b2 - right <= 0.0:
                break
    else:
        while True:
            right = left
            left = right / ratio
            if left < low_edge:
                second, _, rate, _ = _moments(table, low_edge, chebyshev)
                base = low_edge
                gap = w2 * second + b2 - base
                if gap < 0.0:
                    at_zero = b2 + w2 * table.origin[0] ** 2
                    if at_zero == 0.0:
                        return 0.0, ZERO_VARIANCE
                    rate = w2 * (second - table.origin[0] ** 2) / low_edge
                    return at_zero / (1.0 - rate), OK
                left = base
                break
            second, _, _, _ = _moments(table, left, chebyshev)
            if w2 * second + b2 - left >= 0.0:
                break
    # The map exceeds the identity at `left` and not at `right`.
    q = 0.5 * (left + right)
    rate = 0.0
    for _ in range(100):
        second, _, rate, _ = _moments(table, q, chebyshev)
        step = w2 * second + b2 - q
        if step >= 0.0:
            left = q
        else:
            right = q
        slope = w2 * rate - 1.0
        new = q - step / slope if slope != 0.0 else 0.5 * (left + right)
        if not (left < new < right):
            new = 0.5 * (left + right)
        if abs(new - q) <= 2e-16 * q or right - left <= 4e-16 * right:
            q = new
            break
        q = new
    second, _, rate, _ = _moments(table, q, chebyshev)
    return q, (OSCILLATING if w2 * rate < -1.0 else OK)


@jit
def _correlation(table, a, p, q, w2, b2, c, kinked):
    """Correlation map and its slope at c, for variance q and coefficients a (and p of the kink part)."""
    value, slope = _series(a, a, p, p, c, kinked)
    if kinked:
        s = np.sqrt((1.0 - c) * (1.0 + c))
        more, more_slope = _kink_products(table, q, q, c, s)
        value += more
        slope += q * more_slope
    return (w2 * value + b2) / q, w2 * slope / q


@jit
def _correlation_fixed_point(table, a, p, q, w2, b2, kinked):
    """(c*, slope) in [0, 1) where the slope at 1 exceeds 1.

    On [0, 1] the map is a power series with non-negative coefficients, so map minus identity is convex and positive
    at 0: Newton from 0 climbs monotonically to the stable root.
    """
    c = 0.0
    value, slope = _correlation(table, a, p, q, w2, b2, c, kinked)
    for _ in range(200):
        gap = value - c
        if gap <= 0.0 or slope >= 1.0:
            break
        new = c + gap / (1.0 - slope)
        if new >= 1.0:
            new = 0.5 * (1.0 + c)
        if new - c <= 1e-16:
            break
        c = new
        value, slope = _correlation(table, a, p, q, w2, b2, c, kinked)
    return c, slope


@jit
def _depth_scale(slope, critical):
    """-1 / log|slope|: inf within `critical` of 1, 0 at 0 and at inf, negative above 1."""
    size = abs(slope)
    if abs(size - 1.0) <= critical:
        return np.inf
    if size == 0.0 or size == np.inf:
        return 0.0
    return -1.0 / np.log(size)


@jit
def fixed_points(table, w2, b2, q0, critical, has_jumps):
    """q*, c*, chi_1, chi_c, xi_q, xi_c, xi_grad (rows) and the status code, for vectors of variances.

    `critical` is the half-width of |chi_1 - 1| that counts as the edge of chaos.
    """
    n = w2.size
    terms = table.values.shape[2] - _MOMENTS
    chebyshev = np.empty(_DEGREE + 1)
    a = np.empty(terms)
    p = np.zeros(terms)
    kinked = table.kinks.size > 0
    out = np.empty((7, n))
    status = np.empty(n, dtype=np.int64)
    high_edge = np.exp(table.edges[-1])
    low_edge = np.exp(table.edges[0])
    for i in range(n):
        q, code = _variance_fixed_point(table, w2[i], b2[i], q0[i], chebyshev)
        status[i] = code
        gain = w2[i]
        shift = b2[i]
        at = q
        if code == UNBOUNDED:
            at = high_edge
        elif code == ZERO_VARIANCE:
            at = low_edge
        second, slope2, rate, _ = _moments(table, at, chebyshev)
        if code == UNBOUNDED:
            # Limit of large q: the map of the correlation is normalised by the growing variance.
            gain = at / second
            shift = 0.0
        chi_1 = np.inf if has_jumps else w2[i] * slope2
        slope_at_one = np.inf if has_jumps else gain * slope2
        if code == ZERO_VARIANCE or slope_at_one <= 1.0 + critical:
            c = 1.0
            chi_c = slope_at_one
        else:
            _coefficients(table, at, chebyshev, a)
            if kinked:
                kink_coefficients(table.kinks, table.slopes, table.jumps, at, p)
            c, chi_c = _correlation_fixed_point(table, a, p, at, gain, shift, kinked)
        out[0, i] = q
        out[1, i] = c
        out[2, i] = chi_1
        out[3, i] = chi_c
        out[4, i] = _depth_scale(w2[i] * rate, critical)
        out[5, i] = _depth_scale(chi_c, critical)
        out[6, i] = _depth_scale(chi_1, critical)
    return out, status


@jit
def map_values(table, w2, b2, q, c):
    """Correlation map (E[phi phi] w2 + b2)/(variance map) at correlations c for one input variance q."""
    terms = table.values.shape[2] - _MOMENTS
    chebyshev = np.empty(_DEGREE + 1)
    a = np.empty(terms)
    p = np.zeros(terms)
    kinked = table.kinks.size > 0
    _coefficients(table, q, chebyshev, a)
    if kinked:
        kink_coefficients(table.kinks, table.slopes, table.jumps, q, p)
    second, _, _, _ = _moments(table, q, chebyshev)
    out = np.empty(c.size)
    for i in range(c.size):
        value, _ = _correlation(table, a, p, q, w2, b2, c[i], kinked)
        out[i] = value * q / (w2 * second + b2)
    return out

"""Make `gaussian_reference.csv`: E[phi^(d)(u) phi^(d)(v)] of all activations in all corners, without the package.

    python tests/make_gaussian_reference.py      # about 7 minutes on one core

All of `cases.VARIANCES` times `cases.CORRELATIONS`, d = 0, 1, 2 (d = 2 not for functions that jump: products of
their second derivatives do not exist). `method` says how:

closed      a closed form in 40 digits (mpmath): Gaussian integrals of polynomials, exponentials, sines, error
            functions and homogeneous functions. d/dk E[f(u) f(v)] = E[f'(u) f'(v)], k the covariance, gives the
            derivatives.
orthants    for piecewise-constant functions: d/dc of each pair of jumps is the bivariate normal density
            (Plackett 1954), integrated over the angle arccos c.
panels      `naive.expect_product`: Gauss-Legendre panels in the plane, split at every kink and graded towards
            it, with point masses in closed form. 16 points a panel.

`check` is the largest difference, relative to max(size, |value|), to a second way at four of the correlations:
panels with 12 points for `closed` and `panels`; for |x|^1.5 mpmath's quadrature of the angle in polar coordinates;
for `orthants` panels in u with the distribution function of v.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import cases
import mpmath as mp
import naive
import numpy as np
from naive import Phi
from scipy import special

mp.mp.dps = 40
CHECKED = (-0.999, 0.5, 1 - 1e-6, 1.0)
PATH = Path(__file__).parent / "gaussian_reference.csv"

# -- closed forms: (d, q1, q2, c) -> E[phi^(d)(u) phi^(d)(v)] ------------------------------------------------


def bent(a: str, b: str) -> Callable:
    """a x + b |x| (Cho and Saul 2009)."""
    a, b = mp.mpf(a), mp.mpf(b)

    def closed(d, q1, q2, c):
        r, s, angle = mp.sqrt(q1 * q2), mp.sqrt((1 - c) * (1 + c)), mp.asin(c)
        if d == 0:
            return a**2 * r * c + b**2 * 2 / mp.pi * r * (s + c * angle)
        if d == 1:
            return a**2 + b**2 * 2 / mp.pi * angle
        return 4 * b**2 / (2 * mp.pi * r * s) if s else b * mp.inf if b else mp.mpf(0)

    return closed


def sign_like(size: str, mean: str) -> Callable:
    """size sign(x) + mean (Sheppard 1899)."""
    size, mean = mp.mpf(size), mp.mpf(mean)

    def closed(d, q1, q2, c):
        if d == 0:
            return size**2 * 2 / mp.pi * mp.asin(c) + mean**2
        s = mp.sqrt((1 - c) * (1 + c))
        return 4 * size**2 / (2 * mp.pi * mp.sqrt(q1 * q2) * s) if s else mp.inf

    return closed


def wave(w: int, even: int) -> Callable:
    """sin(w x), or cos(w x) if `even`."""

    def closed(d, q1, q2, c):
        k = w**2 * mp.sqrt(q1 * q2) * c
        f = mp.cosh if (d + even) % 2 else mp.sinh
        return w ** (2 * d) * mp.exp(-(w**2) * (q1 + q2) / 2) * f(k)

    return closed


def error_function(a2: mp.mpf) -> Callable:
    """erf(a x) for a^2 = `a2` (Williams 1997)."""

    def closed(d, q1, q2, c):
        k, product = mp.sqrt(q1 * q2) * c, (1 + 2 * a2 * q1) * (1 + 2 * a2 * q2)
        if d == 0:
            return 2 / mp.pi * mp.asin(2 * a2 * k / mp.sqrt(product))
        rest = product - 4 * a2**2 * k**2
        return 4 * a2 / mp.pi * (rest ** mp.mpf("-0.5") if d == 1 else 4 * a2**2 * k * rest ** mp.mpf("-1.5"))

    return closed


def bump(d, q1, q2, c):
    """exp(-x^2)."""
    k = mp.sqrt(q1 * q2) * c
    rest = (1 + 2 * q1) * (1 + 2 * q2) - 4 * k**2
    return (
        rest ** mp.mpf("-0.5"),
        4 * k * rest ** mp.mpf("-1.5"),
        4 * rest ** mp.mpf("-1.5") + 48 * k**2 * rest ** mp.mpf("-2.5"),
    )[d]


def cubic(d, q1, q2, c):
    """x^3."""
    k = mp.sqrt(q1 * q2) * c
    return (9 * q1 * q2 * k + 6 * k**3, 9 * (q1 * q2 + 2 * k**2), 36 * k)[d]


# |x|^1.5 and its derivatives: (exponent, whether odd, factor)
POWERS = [(mp.mpf("1.5"), 0, 1), (mp.mpf("0.5"), 1, mp.mpf("1.5")), (mp.mpf("-0.5"), 0, mp.mpf("0.75"))]


def power(d, q1, q2, c):
    """Absolute moments of the bivariate normal distribution (Nabeya 1951)."""
    a, odd, factor = POWERS[d]
    if a < 0 and abs(c) == 1:
        return mp.inf
    scale = factor**2 * mp.sqrt(q1 * q2) ** a * 2**a / mp.pi
    if odd:
        return scale * 2 * mp.gamma(a / 2 + 1) ** 2 * c * mp.hyp2f1((1 - a) / 2, (1 - a) / 2, 1.5, c**2)
    return scale * mp.gamma((a + 1) / 2) ** 2 * mp.hyp2f1(-a / 2, -a / 2, 0.5, c**2)


def power_by_angle(d, q1, q2, c):
    """The same in polar coordinates: u = sqrt(q1) r cos(x), v = sqrt(q2) r cos(x - theta)."""
    a, odd, factor = POWERS[d]
    if a < 0 and abs(c) == 1:
        return mp.inf
    theta = mp.acos(c)

    def f(x):
        return (mp.sign(x) if odd else 1) * abs(x) ** a if x else mp.mpf(0)

    # The pole of a factor is at an end of the interval, where the argument keeps its digits: cos(pi/2 + t) = -sin(t).
    zeros = sorted({mp.mpf(0), theta, mp.pi})
    circle = mp.quad(lambda t: f(mp.sin(t)) * f(mp.sin(t - theta)), zeros) / mp.pi
    return factor**2 * mp.sqrt(q1 * q2) ** a * 2**a * mp.gamma(a + 1) * circle


CLOSED = {
    "linear": bent("1", "0"),
    "relu": bent("0.5", "0.5"),
    "leaky_relu": bent("0.505", "0.495"),
    "abs": bent("0", "1"),
    "sin": wave(1, 0),
    "cos": wave(1, 1),
    "sin(5 x)": wave(5, 0),
    "exp": lambda d, q1, q2, c: mp.exp((q1 + q2) / 2 + mp.sqrt(q1 * q2) * c),
    "erf": error_function(mp.mpf(1)),
    "erf_unit": error_function(mp.pi / 4),
    "step": sign_like("0.5", "0.5"),
    "sign": sign_like("1", "0"),
    "bump": bump,
    "x^3": cubic,
    "|x|^1.5": power,
    "constant": lambda d, q1, q2, c: mp.mpf(0 if d else 4),
}

# -- rounding: jumps of 1 at t_i = +-1/2, +-3/2, ... ------------------------------------------------------------


def rounding(d: int, q1: float, q2: float, c: float, jumps: np.ndarray) -> float:
    """Sum over all pairs of jumps."""
    a, b = jumps / math.sqrt(q1), math.copysign(1.0, c) * jumps[:, None] / math.sqrt(q2)
    s = math.sqrt((1 - c) * (1 + c))
    if d == 1:
        if s == 0:
            return math.inf if np.any(a == b) else 0.0
        exponent = ((a - b) ** 2 + 2 * a * b * (1 - abs(c))) / (2 * s**2)
        return float(np.sum(np.exp(-exponent))) / (2 * math.pi * math.sqrt(q1 * q2) * s)
    # 0 at c = 0; from there to c the angle arccos c goes from pi/2 down, where a narrow layer is at its end.
    low = math.atan2(s, abs(c))
    edges = np.unique(np.append(low, np.maximum(np.pi / 2 * 2.0 ** -np.arange(50), low)))
    half = np.diff(edges) / 2
    nodes, weights = np.polynomial.legendre.leggauss(32)
    theta = ((edges[1:] + edges[:-1]) / 2 + half * nodes[:, None]).ravel()
    weight = (half * weights[:, None]).ravel()
    total = 0.0
    for t, w in zip(theta, weight, strict=True):
        total += w * np.sum(
            np.exp(-((a - b) ** 2 + 4 * a * b * math.sin(t / 2) ** 2) / (2 * math.sin(t) ** 2))
        )
    return math.copysign(total / (2 * math.pi), c) if c else 0.0


def rounding_by_rows(d: int, q1: float, q2: float, c: float, jumps: np.ndarray) -> float:
    """E[round(u) E[round(v) | u]], and for d = 1 the density of v given u times that of u."""
    r1, r2, s = math.sqrt(q1), math.sqrt(q2), math.sqrt((1 - c) * (1 + c))
    if d == 1 and s:
        x, y = jumps[:, None] / r1, jumps / r2
        return float(np.sum(naive.normal_pdf(x) * naive.normal_pdf((y - c * x) / s))) / (r1 * r2 * s)
    if d == 1:
        return math.inf if q1 == q2 else 0.0
    centres = [*(jumps / r1), *(jumps / (c * r2) if c else [])]
    x, w = naive.panel_rule(naive.graded_edges(centres, max(min(1e-3, 0.1 * s), 1e-9), 0.25))
    if s == 0:
        return float(np.sum(w * np.round(r1 * x) * np.round(c * r2 * x)))
    inner = sum(special.ndtr((c * r2 * x - k) / (r2 * s)) for k in jumps) - np.sum(jumps < 0)
    return float(np.sum(w * np.round(r1 * x) * inner))


# -- rows -------------------------------------------------------------------------------------------------------


def row(p: Phi, d: int, q1: float, q2: float) -> list:
    """method, check, size, mean, values."""
    f = naive.function(p, d)
    exact = [mp.mpf(q1), mp.mpf(q2)]
    if p.name == "|x|^1.5":
        method = "closed"
        values = [float(power(d, *exact, mp.mpf(c))) for c in cases.CORRELATIONS]
        second = [float(power_by_angle(d, *exact, mp.mpf(c))) for c in CHECKED]
        size = float(mp.sqrt(power(d, exact[0], exact[0], 1) * power(d, exact[1], exact[1], 1)))
        mean = float(mp.sqrt(power(d, exact[0], exact[0], 0)))
    elif p.name == "rounding":
        method = "orthants"
        jumps = np.array([k for k in p.kinks if abs(k) <= naive.CUTOFF * math.sqrt(max(q1, q2)) + 1])
        values = [rounding(d, q1, q2, c, jumps) for c in cases.CORRELATIONS]
        second = [rounding_by_rows(d, q1, q2, c, jumps) for c in CHECKED]
        size = math.sqrt(rounding(d, q1, q1, 1.0, jumps) * rounding(d, q2, q2, 1.0, jumps)) if d == 0 else 0.0
        mean = naive.expect(p._replace(kinks=tuple(jumps)), q1, 1) if d else 0.0
    else:
        method = "closed" if p.name in CLOSED else "panels"
        # sin(5 x) is sin at 25 times the variance, which needs no finer panels than there are.
        twin, fast = (naive.sine(), 25.0) if p.name == "sin(5 x)" else (p, 1.0)
        second = [fast**d * naive.expect_product(twin, fast * q1, c, fast * q2, d, n=12) for c in CHECKED]
        if method == "closed":
            values = [float(CLOSED[p.name](d, *exact, mp.mpf(c))) for c in cases.CORRELATIONS]
        else:
            values = [naive.expect_product(p, q1, c, q2, d) for c in cases.CORRELATIONS]
        size = math.sqrt(naive.second_moment(p, q1, d) * naive.second_moment(p, q2, d))
        mean = naive.correlated_mean(f, np.ones_like, q1, 1.0, 1.0, p.kinks)
        root = math.sqrt(q1)
        mean += sum(m * float(naive.normal_pdf(k / root)) / root for k, m in naive.masses(p, d))
    pairs = zip([values[cases.CORRELATIONS.index(c)] for c in CHECKED], second, strict=True)
    check = max(
        abs(v - w) / max(size, abs(v), 1e-300) if math.isfinite(v) else float(v != w) for v, w in pairs
    )
    return [method, f"{check:.1e}", *(repr(float(x)) for x in (size, mean, *values))]


def main() -> None:
    activations = [naive.phi(name) for name in naive.BUILDERS if name != "leaky_relu"]
    activations += [naive.leaky_relu(0.01), *cases.USERS.values()]
    with PATH.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {__doc__.splitlines()[0]}\n# Made, and explained, by make_gaussian_reference.py.\n")
        file.write("# name,derivative,q,q2,method,check,size,mean,values at c = ")
        file.write(" ".join(map(repr, cases.CORRELATIONS)) + "\n")
        writer = csv.writer(file, lineterminator="\n")
        for p in activations:
            for d in (0, 1, 2):
                if d == 2 and naive.masses(p, 1):
                    continue
                for q1, q2 in cases.VARIANCES:
                    if max(q1, q2) <= cases.LARGEST_VARIANCE.get(p.name, math.inf):
                        writer.writerow([p.name, d, repr(q1), repr(q2), *row(p, d, q1, q2)])
            file.flush()


if __name__ == "__main__":
    main()

"""The definitions, by brute force: slow, obvious and independent of the package.

Nothing here imports `mfdnn`. Integrals are adaptive or dense quadrature split at the kinks, networks are
lists of `(W, b)` pairs, matrices are dense and filled by double loops. Every fast routine of the package is
held against its twin in this file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import integrate, optimize, special

# ----------------------------------------------------------------------------------------------------
# Activations
# ----------------------------------------------------------------------------------------------------

SELU_ALPHA = 1.6732632423543772848
SELU_SCALE = 1.0507009873554804934


class Phi(NamedTuple):
    """An activation: its value, the two derivatives between its kinks (where phi, phi' or phi'' jumps)."""

    name: str
    value: Callable
    slope: Callable
    kinks: tuple[float, ...] = ()
    curvature: Callable | None = None


def normal_pdf(x):
    """Density of the standard Gaussian."""
    return np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi)


def normal_cdf(x):
    """Distribution function of the standard Gaussian."""
    return special.ndtr(x)


def linear() -> Phi:
    """phi(x) = x."""
    return Phi(
        "linear", lambda x: 1.0 * x, lambda x: np.ones_like(x, float), (), lambda x: np.zeros_like(x, float)
    )


def relu() -> Phi:
    """phi(x) = max(x, 0)."""
    return Phi(
        "relu", lambda x: np.maximum(x, 0.0), lambda x: np.where(x > 0, 1.0, 0.0), (0.0,), lambda x: 0.0 * x
    )


def leaky_relu(slope: float = 0.2) -> Phi:
    """phi(x) = x for x > 0, slope * x below."""
    return Phi(
        "leaky_relu",
        lambda x: np.where(x > 0, x, slope * x),
        lambda x: np.where(x > 0, 1.0, slope),
        (0.0,),
        lambda x: 0.0 * x,
    )


def absolute() -> Phi:
    """phi(x) = |x|."""
    return Phi("abs", np.abs, lambda x: np.where(x > 0, 1.0, -1.0), (0.0,), lambda x: 0.0 * x)


def elu(alpha: float = 1.0) -> Phi:
    """phi(x) = x for x > 0, alpha (e^x - 1) below; the kink is one of the second derivative if alpha = 1."""
    return Phi(
        "elu",
        lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
        lambda x: np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0))),
        (0.0,),
        lambda x: np.where(x > 0, 0.0, alpha * np.exp(np.minimum(x, 0.0))),
    )


def selu() -> Phi:
    """phi(x) = scale * elu(x; alpha), with the two constants of Klambauer et al. 2017."""
    base = elu(SELU_ALPHA)
    value, slope, curvature = (
        lambda x, f=f: SELU_SCALE * f(x) for f in (base.value, base.slope, base.curvature)
    )
    return Phi("selu", value, slope, (0.0,), curvature)


def gelu() -> Phi:
    """phi(x) = x Phi(x) with the exact Gaussian distribution function."""
    return Phi(
        "gelu",
        lambda x: x * normal_cdf(x),
        lambda x: normal_cdf(x) + x * normal_pdf(x),
        (),
        lambda x: (2 - np.square(x)) * normal_pdf(x),
    )


def silu() -> Phi:
    """phi(x) = x sigmoid(x), also called swish."""
    s = special.expit
    return Phi(
        "silu",
        lambda x: x * s(x),
        lambda x: s(x) + x * s(x) * s(-x),
        (),
        lambda x: s(x) * s(-x) * (2 + x * (s(-x) - s(x))),
    )


def swish(beta: float = 1.0) -> Phi:
    """phi(x) = x sigmoid(beta x)."""
    base = silu()
    return Phi(
        "swish",
        lambda x: x * special.expit(beta * x),
        lambda x: base.slope(beta * x),
        (),
        lambda x: beta * base.curvature(beta * x),
    )


def gelu_tanh() -> Phi:
    """phi(x) = x (1 + tanh(y))/2, y = sqrt(2/pi) (x + 0.044715 x^3)."""
    k, a = math.sqrt(2 / math.pi), 0.044715

    def gate(x):  # (1 + tanh)/2 and its two derivatives
        y, dy, d2y = k * (x + a * x**3), k * (1 + 3 * a * x**2), 6 * k * a * x
        g, bump = special.expit(2 * y), _sech2(y) / 2
        return g, bump * dy, bump * (d2y - 2 * np.tanh(y) * dy**2)

    return Phi(
        "gelu_tanh",
        lambda x: x * gate(x)[0],
        lambda x: gate(x)[0] + x * gate(x)[1],
        (),
        lambda x: 2 * gate(x)[1] + x * gate(x)[2],
    )


def mish() -> Phi:
    """phi(x) = x tanh(softplus(x))."""
    s = special.expit

    def gate(x):  # tanh(softplus) and its two derivatives
        y = np.logaddexp(0.0, x)
        return np.tanh(y), _sech2(y) * s(x), _sech2(y) * s(x) * (s(-x) - 2 * np.tanh(y) * s(x))

    return Phi(
        "mish",
        lambda x: x * gate(x)[0],
        lambda x: gate(x)[0] + x * gate(x)[1],
        (),
        lambda x: 2 * gate(x)[1] + x * gate(x)[2],
    )


def softplus() -> Phi:
    """phi(x) = log(1 + e^x)."""
    s = special.expit
    return Phi("softplus", lambda x: np.logaddexp(0.0, x), s, (), lambda x: s(x) * s(-x))


def sigmoid() -> Phi:
    """phi(x) = 1/(1 + e^-x)."""
    s = special.expit
    return Phi("sigmoid", s, lambda x: s(x) * s(-x), (), lambda x: s(x) * s(-x) * (s(-x) - s(x)))


def hard_sigmoid() -> Phi:
    """phi(x) = x/6 + 1/2 between -3 and 3, 0 below, 1 above."""
    return Phi(
        "hard_sigmoid",
        lambda x: np.where(x < -3, 0.0, np.where(x > 3, 1.0, x / 6 + 0.5)),
        lambda x: np.where(np.abs(x) < 3, 1 / 6, 0.0),
        (-3.0, 3.0),
        lambda x: 0.0 * x,
    )


def _sech2(x):
    """1/cosh^2, without overflow."""
    return 4 * special.expit(2 * x) * special.expit(-2 * x)


def tanh() -> Phi:
    """phi(x) = tanh(x)."""
    return Phi("tanh", np.tanh, _sech2, (), lambda x: -2 * np.tanh(x) * _sech2(x))


def erf() -> Phi:
    """phi(x) = erf(x)."""
    slope = 2 / math.sqrt(math.pi)
    return Phi(
        "erf",
        special.erf,
        lambda x: slope * np.exp(-np.square(x)),
        (),
        lambda x: -2 * slope * x * np.exp(-np.square(x)),
    )


def erf_unit() -> Phi:
    """phi(x) = erf(sqrt(pi)/2 x), of slope 1 at 0."""
    k = math.sqrt(math.pi) / 2
    return Phi(
        "erf_unit",
        lambda x: special.erf(k * x),
        lambda x: np.exp(-np.square(k * x)),
        (),
        lambda x: -2 * k**2 * x * np.exp(-np.square(k * x)),
    )


def hard_tanh() -> Phi:
    """phi(x) = min(max(x, -1), 1)."""
    return Phi(
        "hard_tanh",
        lambda x: np.clip(x, -1.0, 1.0),
        lambda x: np.where(np.abs(x) < 1, 1.0, 0.0),
        (-1.0, 1.0),
        lambda x: 0.0 * x,
    )


def shifted_relu(shift: float = 0.5) -> Phi:
    """phi(x) = max(x, -shift), as in Pennington et al. (shift = 1/2)."""
    return Phi(
        "shifted_relu",
        lambda x: np.maximum(x, -shift),
        lambda x: np.where(x > -shift, 1.0, 0.0),
        (-shift,),
        lambda x: 0.0 * x,
    )


def sine() -> Phi:
    """phi(x) = sin(x)."""
    return Phi("sin", np.sin, np.cos, (), lambda x: -np.sin(x))


def cosine() -> Phi:
    """phi(x) = cos(x)."""
    return Phi("cos", np.cos, lambda x: -np.sin(x), (), lambda x: -np.cos(x))


def exponential() -> Phi:
    """phi(x) = e^x."""
    return Phi("exp", np.exp, np.exp, (), np.exp)


def arctan() -> Phi:
    """phi(x) = arctan(x)."""
    return Phi(
        "arctan",
        np.arctan,
        lambda x: 1 / (1 + np.square(x)),
        (),
        lambda x: -2 * x / (1 + np.square(x)) ** 2,
    )


def softsign() -> Phi:
    """phi(x) = x/(1 + |x|), whose second derivative jumps at 0."""
    return Phi(
        "softsign",
        lambda x: x / (1 + np.abs(x)),
        lambda x: (1 + np.abs(x)) ** -2.0,
        (0.0,),
        lambda x: -2 * np.sign(x) * (1 + np.abs(x)) ** -3.0,
    )


def step() -> Phi:
    """phi(x) = 1 for x > 0, else 0; phi' is a point mass, left out here."""
    return Phi("step", lambda x: np.where(x > 0, 1.0, 0.0), lambda x: 0.0 * x, (0.0,), lambda x: 0.0 * x)


def sign() -> Phi:
    """phi(x) = -1 or 1; phi' is a point mass, left out here."""
    return Phi("sign", np.sign, lambda x: 0.0 * x, (0.0,), lambda x: 0.0 * x)


BUILDERS: dict[str, Callable[..., Phi]] = {
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "shifted_relu": shifted_relu,
    "abs": absolute,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "swish": swish,
    "mish": mish,
    "softplus": softplus,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "tanh": tanh,
    "hard_tanh": hard_tanh,
    "erf": erf,
    "erf_unit": erf_unit,
    "arctan": arctan,
    "softsign": softsign,
    "sin": sine,
    "cos": cosine,
    "exp": exponential,
    "step": step,
    "sign": sign,
}


def phi(name: str, **parameters: float) -> Phi:
    """Activation of that name: `phi("leaky_relu", slope=0.2)`."""
    return BUILDERS[name](**parameters)


# ----------------------------------------------------------------------------------------------------
# Gaussian expectations
# ----------------------------------------------------------------------------------------------------

CUTOFF = 12.0  # the Gaussian beyond weighs 4e-33: nothing, for functions that grow like a polynomial


def gaussian_mean(f: Callable, q: float, kinks: Sequence[float] = ()) -> float:
    """E[f(u)], u ~ N(0, q), by adaptive quadrature split at the kinks; f grows at most like a polynomial.

    Raises `ArithmeticError` if the quadrature's own estimate of its error exceeds 1e-11 of the integral.
    """
    if q == 0:
        return float(f(np.float64(0.0)))
    root = math.sqrt(q)
    # Unit steps, and steps of the scale of f itself around 0, so that no narrow feature is stepped over.
    edges = {float(k) for k in range(-int(CUTOFF), int(CUTOFF) + 1)}
    edges |= {x / root for x in (*kinks, -8.0, -1.0, 1.0, 8.0)}
    edges = sorted(x for x in edges if -CUTOFF <= x <= CUTOFF)
    total = error = size = 0.0
    for a, b in itertools.pairwise(edges):
        part, part_error = integrate.quad(
            lambda z: float(f(np.float64(root * z)) * normal_pdf(z)),
            a,
            b,
            epsabs=1e-15,
            epsrel=1e-13,
            limit=200,
            full_output=1,
        )[:2]
        total += part
        error += part_error
        size += abs(part)
    if error > 1e-11 * max(size, 1e-3):
        raise ArithmeticError(f"quadrature error {error:.1e} of an integral of size {size:.1e}")
    return total


def graded_edges(centres: Sequence[float], finest: float, step: float) -> np.ndarray:
    """Panel edges on [-CUTOFF, CUTOFF]: every `step`, and halving towards each centre down to `finest`."""
    levels = max(0, math.ceil(math.log2(step / finest)))
    distance = step * 2.0 ** -np.arange(levels + 1)
    around = np.concatenate([-distance, [0.0], distance])
    edges = np.append(np.arange(-CUTOFF, CUTOFF + step / 2, step), np.add.outer(centres, around))
    return np.unique(np.clip(edges, -CUTOFF, CUTOFF))


def panel_rule(edges: np.ndarray, n: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the n-point Gauss-Legendre rule on each panel (last axis), Gaussian density included."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    half = 0.5 * np.diff(edges)
    middle = 0.5 * (edges[..., 1:] + edges[..., :-1])
    flat = (*edges.shape[:-1], -1)
    z = (middle[..., None] + half[..., None] * nodes).reshape(flat)
    w = (half[..., None] * weights).reshape(flat)
    return z, w * normal_pdf(z)


def correlated_mean(
    f: Callable,
    g: Callable,
    q1: float,
    q2: float,
    c: float,
    kinks_f: Sequence[float] = (),
    kinks_g: Sequence[float] = (),
    n: int = 16,
) -> float:
    """E[f(u) g(v)], (u, v) Gaussian with variances q1, q2, correlation c: dense panels split at the kinks.

    u = sqrt(q1) x and v = sqrt(q2) (c x + s y) with s = sqrt(1 - c^2). For each node x the inner integral
    over y is split exactly where v crosses a kink of g. The outer integral is split at the kinks of f and
    refined where the inner one changes fast: near the x whose v (at y = 0) is a kink, over a width s/c.
    `n` points a panel. Accurate to about 1e-13 of sqrt(E[f^2] E[g^2]) for q <= 1e3 and functions with features
    of size about 1 (checked against closed forms); 0.02 to 0.2 s a call.
    """
    if q1 == 0 or q2 == 0:
        return gaussian_mean(f, q1, kinks_f) * gaussian_mean(g, q2, kinks_g)
    r1, r2 = math.sqrt(q1), math.sqrt(q2)
    step = min(0.5, n / (r1 + r2))  # sin(r1 x) sin(r2 x) turns by at most n radians in a panel of n nodes
    at_f = [k / r1 for k in (*kinks_f, 0.0)]
    at_g = [k / r2 for k in (*kinks_g, 0.0)]
    s = math.sqrt((1 - c) * (1 + c))

    if s == 0:
        x, w = panel_rule(graded_edges(at_f + [c * k for k in at_g], 1e-3, step), n)
        return float(np.sum(w * f(r1 * x) * g(c * r2 * x)))

    centres = at_f + ([k / c for k in at_g] if abs(c) > 1e-3 else [])
    x, w = panel_rule(graded_edges(centres, min(1e-3, 0.1 * s), step), n)
    finest = min(step, 0.1 / (r2 * s))
    uniform = graded_edges([], step, step)
    around = graded_edges([0.0], finest, step)
    around = around[np.abs(around) <= step]
    total = 0.0
    for rows in np.array_split(np.arange(x.size), 1 + x.size // 200):
        # Edges of all the rows at once: those beyond the ends make panels of no width.
        crossings = (np.array(at_g) - c * x[rows, None]) / s
        refined = (crossings[:, :, None] + around).reshape(rows.size, -1)
        edges = np.concatenate([np.broadcast_to(uniform, (rows.size, uniform.size)), refined], axis=1)
        y, v = panel_rule(np.sort(np.clip(edges, -CUTOFF, CUTOFF), axis=1), n)
        inner = np.sum(v * g(r2 * (c * x[rows, None] + s * y)), axis=1)
        total += float(w[rows] * f(r1 * x[rows]) @ inner)
    return total


def function(p: Phi, derivative: int) -> Callable:
    """phi, phi' or phi'' between the kinks."""
    return (p.value, p.slope, p.curvature)[derivative]


def masses(p: Phi, derivative: int) -> list[tuple[float, float]]:
    """(place, weight) of the point masses of phi^(d): the jumps of the derivative below."""
    if derivative == 0:
        return []
    below = function(p, derivative - 1)
    jumps = [(k, float(below(np.nextafter(k, np.inf)) - below(np.nextafter(k, -np.inf)))) for k in p.kinks]
    return [(k, jump) for k, jump in jumps if abs(jump) > 1e-12]  # what is less is rounding


def expect(p: Phi, q: float, derivative: int = 0) -> float:
    """E[phi^(d)(sqrt(q) z)] for d = 0, 1, 2, point masses included; phi must not jump if d = 2."""
    regular = gaussian_mean(function(p, derivative), q, p.kinks)
    return regular + sum(
        m * float(normal_pdf(k / math.sqrt(q))) / math.sqrt(q) for k, m in masses(p, derivative)
    )


def second_moment(p: Phi, q: float, derivative: int = 0) -> float:
    """E[phi^(d)(sqrt(q) z)^2] for d = 0, 1, 2, without point masses."""
    f = function(p, derivative)
    return correlated_mean(f, f, q, q, 1.0, p.kinks, p.kinks)


def expect_product(
    p: Phi, q: float, c: float = 1.0, q2: float | None = None, derivative: int = 0, n: int = 16
) -> float:
    """E[phi^(d)(u) phi^(d)(v)], variances q and q2 (= q), correlation c, for d = 0, 1, 2.

    phi^(d) = f + sum_j m_j delta(x - k_j): the masses meet f on lines of the plane, and each other in points;
    inf or -inf where they meet on the line of a correlation of +-1. `n` points a panel, see `correlated_mean`.
    """
    f, q2 = function(p, derivative), q if q2 is None else q2
    total = correlated_mean(f, f, q, q2, c, p.kinks, p.kinks, n)
    points = masses(p, derivative)
    s = math.sqrt((1 - c) * (1 + c))
    for a, b in ((math.sqrt(q), math.sqrt(q2)), (math.sqrt(q2), math.sqrt(q))):
        for k, m in points:  # u = k, and v given that is N(b c k/a, (b s)^2)
            density = float(normal_pdf(k / a)) / a
            if s == 0:
                total += m * density * float(f(np.float64(b * c * k / a)))
                continue
            x, w = panel_rule(graded_edges([(j / b - c * k / a) / s for j in (*p.kinks, 0.0)], 1e-3, 0.25), n)
            total += m * density * float(np.sum(w * f(b * (c * k / a + s * x))))
    met = 0.0
    for (k, m), (j, mass) in itertools.product(points, points):
        x, y = k / math.sqrt(q), j / math.sqrt(q2)
        if s == 0:
            # Relative to the density at the kink nearest to 0, which may underflow.
            nearest = min(abs(point) for point, _ in points) / math.sqrt(q)
            met += m * mass * math.exp((nearest**2 - x**2) / 2) * math.isclose(x, c * y, rel_tol=1e-15)
            continue
        density = float(normal_pdf(x) * normal_pdf((y - c * x) / s)) / (math.sqrt(q * q2) * s)
        total += m * mass * density
    return math.copysign(math.inf, met) if met else total


# ----------------------------------------------------------------------------------------------------
# Signal propagation at infinite width
# ----------------------------------------------------------------------------------------------------


def q_map(p: Phi, q: float, sigma_w2: float, sigma_b2: float) -> float:
    """Variance of the next layer: sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2."""
    return sigma_w2 * second_moment(p, q) + sigma_b2


def q_map_slope(p: Phi, q: float, sigma_w2: float) -> float:
    """dq'/dq = sigma_w^2 E[phi(u) phi'(u) u]/q, which needs no second derivative and so is right at kinks."""
    return sigma_w2 * gaussian_mean(lambda u: p.value(u) * p.slope(u) * u, q, p.kinks) / q


def q_trajectory(p: Phi, q: float, sigma_w2: float, sigma_b2: float, steps: int) -> list[float]:
    """The variance after 0, 1, ..., steps applications of the map: plain iteration."""
    values = [q]
    for _ in range(steps):
        values.append(q_map(p, values[-1], sigma_w2, sigma_b2))
    return values


def q_star(p: Phi, sigma_w2: float, sigma_b2: float, bracket: tuple[float, float] = (1e-6, 1e3)) -> float:
    """Fixed point of the variance map inside the bracket, by bisection (brentq)."""
    return optimize.brentq(
        lambda q: q_map(p, q, sigma_w2, sigma_b2) - q, *bracket, xtol=1e-14, rtol=1e-14, maxiter=500
    )


def c_map(p: Phi, c: float, q: float, sigma_w2: float, sigma_b2: float) -> float:
    """Correlation of the next layer at the fixed point q of the variance map."""
    return (sigma_w2 * expect_product(p, q, c) + sigma_b2) / q


def c_trajectory(p: Phi, c: float, q: float, sigma_w2: float, sigma_b2: float, steps: int) -> list[float]:
    """The correlation after 0, 1, ..., steps applications of the map at fixed q: plain iteration."""
    values = [c]
    for _ in range(steps):
        values.append(c_map(p, values[-1], q, sigma_w2, sigma_b2))
    return values


def c_star(p: Phi, q: float, sigma_w2: float, sigma_b2: float) -> float:
    """Stable fixed point of the correlation map: 1 if chi_1 <= 1, else the root in [0, 1)."""
    if chi_1(p, q, sigma_w2) <= 1:
        return 1.0
    return optimize.brentq(
        lambda c: c_map(p, c, q, sigma_w2, sigma_b2) - c, 0.0, 1 - 1e-6, xtol=1e-13, rtol=1e-13, maxiter=500
    )


def chi_1(p: Phi, q: float, sigma_w2: float) -> float:
    """Slope of the correlation map at c = 1: sigma_w^2 E[phi'^2]."""
    return sigma_w2 * second_moment(p, q, derivative=1)


def chi_2(p: Phi, q: float, sigma_w2: float) -> float:
    """sigma_w^2 E[phi''^2], for smooth phi."""
    return sigma_w2 * second_moment(p, q, derivative=2)


def chi_c(p: Phi, c: float, q: float, sigma_w2: float) -> float:
    """Slope of the correlation map at c: sigma_w^2 E[phi'(u) phi'(v)]."""
    return sigma_w2 * expect_product(p, q, c, derivative=1)


def depth_scale(slope: float) -> float:
    """xi = -1/log(slope): inf at slope 1, negative above (growth), 0 at slope 0."""
    if slope == 0:
        return 0.0
    return math.inf if slope == 1 else -1 / math.log(slope)


def order_parameters(
    p: Phi, depth: int, sigma_w2: float, sigma_b2: float, q0: float = 1.0, c0: float = 0.0
) -> dict[str, np.ndarray]:
    """Order parameters of a fully connected net of `depth` weight layers, phi between them, linear output.

    q_hat, q_hat_st: l = 0..L-1 (means over units, after the activation).
    q, q_st, q_tilde, q_tilde_st: l = 1..L (before the activation; the tilde ones are sums over units of
    squared errors, 1 at the output).
    """
    q_hat, q_hat_st, q, q_st = [q0], [c0 * q0], [], []
    for layer in range(1, depth + 1):
        q.append(sigma_w2 * q_hat[-1] + sigma_b2)
        q_st.append(sigma_w2 * q_hat_st[-1] + sigma_b2)
        if layer < depth:
            c = min(max(q_st[-1] / q[-1], -1.0), 1.0)
            q_hat.append(second_moment(p, q[-1]))
            q_hat_st.append(expect_product(p, q[-1], c))
    q_tilde, q_tilde_st = [1.0], [1.0]
    for layer in range(depth - 1, 0, -1):
        a = q[layer - 1]
        c = min(max(q_st[layer - 1] / a, -1.0), 1.0)
        q_tilde.insert(0, sigma_w2 * q_tilde[0] * second_moment(p, a, derivative=1))
        q_tilde_st.insert(0, sigma_w2 * q_tilde_st[0] * expect_product(p, a, c, derivative=1))
    names = ("q_hat", "q_hat_st", "q", "q_st", "q_tilde", "q_tilde_st")
    values = (q_hat, q_hat_st, q, q_st, q_tilde, q_tilde_st)
    return {name: np.array(value) for name, value in zip(names, values, strict=True)}


# ----------------------------------------------------------------------------------------------------
# Fisher information at large width
# ----------------------------------------------------------------------------------------------------


def kappas(op: dict[str, np.ndarray], widths: Sequence[int] | None = None, M: float = 1.0):
    """(kappa_1, kappa_2, alpha) of Karakida et al. for `widths` M_0..M_{L-1} (None: all equal to M)."""
    depth = len(op["q"])
    alphas = [1.0] * depth if widths is None else [width / M for width in widths[:depth]]
    alpha = sum(alphas[layer] * alphas[layer - 1] for layer in range(1, depth))
    kappa_1 = sum(alphas[layer] / alpha * op["q_tilde"][layer] * op["q_hat"][layer] for layer in range(depth))
    kappa_2 = sum(
        alphas[layer] / alpha * op["q_tilde_st"][layer] * op["q_hat_st"][layer] for layer in range(depth)
    )
    return kappa_1, kappa_2, alpha


def ntk_sums(op: dict[str, np.ndarray]) -> tuple[float, float]:
    """(K1, K2), NTK parameterisation: diagonal sum_l q~^l q^l and off-diagonal sum_l q~_st^l q_st^l."""
    return float(np.sum(op["q_tilde"] * op["q"])), float(np.sum(op["q_tilde_st"] * op["q_st"]))


def fisher_statistics(
    op: dict[str, np.ndarray], widths: Sequence[int], n_samples: int, bias: bool = True
) -> dict[str, float]:
    """Mean, second moment, largest eigenvalue of F: exact widths M_0..M_L (M_L outputs), bias gradients."""
    depth, outputs = len(op["q"]), widths[-1]
    a1 = a2 = 0.0
    for layer in range(depth):
        a1 += op["q_tilde"][layer] * (widths[layer] * op["q_hat"][layer] + bias)
        a2 += op["q_tilde_st"][layer] * (widths[layer] * op["q_hat_st"][layer] + bias)
    n_parameters = sum(widths[layer + 1] * (widths[layer] + bias) for layer in range(depth))
    rest = (n_samples - 1) / n_samples
    return {
        "n_parameters": n_parameters,
        "mean": outputs * a1 / n_parameters,
        "second_moment": outputs / n_parameters * (a1**2 / n_samples + rest * a2**2),
        "largest": a1 / n_samples + rest * a2,
    }


# ----------------------------------------------------------------------------------------------------
# One network of finite width, dense
# ----------------------------------------------------------------------------------------------------

Parameters = list[tuple[np.ndarray, np.ndarray]]


def random_parameters(
    widths: Sequence[int], sigma_w2: float, sigma_b2: float, rng: np.random.Generator
) -> Parameters:
    """Weights N(0, sigma_w2/fan_in) of shape (fan_out, fan_in) and biases N(0, sigma_b2), in layer order."""
    parameters = []
    for fan_in, fan_out in itertools.pairwise(widths):
        weight = rng.normal(0.0, math.sqrt(sigma_w2 / fan_in), (fan_out, fan_in))
        bias = rng.normal(0.0, math.sqrt(sigma_b2), fan_out)
        parameters.append((weight, bias))
    return parameters


def forward(parameters: Parameters, phi_value: Callable, x: np.ndarray) -> np.ndarray:
    """Outputs (T, C) of a fully connected net for inputs x (T, M_0): phi between layers, linear output."""
    h = np.asarray(x, float)
    for layer, (weight, bias) in enumerate(parameters):
        u = h @ weight.T + bias
        h = phi_value(u) if layer < len(parameters) - 1 else u
    return h


def flatten(parameters: Parameters) -> np.ndarray:
    """All parameters as one vector: weight (row by row), then bias, layer by layer."""
    return np.concatenate([np.concatenate([weight.ravel(), bias]) for weight, bias in parameters])


def unflatten(vector: np.ndarray, like: Parameters) -> Parameters:
    """Inverse of `flatten`, with the shapes of `like`."""
    parameters, start = [], 0
    for weight, bias in like:
        middle, end = start + weight.size, start + weight.size + bias.size
        parameters.append(
            (vector[start:middle].reshape(weight.shape), vector[middle:end].reshape(bias.shape))
        )
        start = end
    return parameters


def finite_difference_jacobian(function: Callable, theta: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """d function / d theta by central differences, on a new last axis; error about 1e-10."""
    columns = []
    for i in range(len(theta)):
        up, down = theta.copy(), theta.copy()
        up[i] += step
        down[i] -= step
        columns.append((function(up) - function(down)) / (up[i] - down[i]))
    return np.stack(columns, axis=-1)


def parameter_jacobian(
    parameters: Parameters, phi_value: Callable, x: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    """d f_k(x_t) / d theta by finite differences, shape (T, C, P), parameters in the order of `flatten`."""
    return finite_difference_jacobian(
        lambda theta: forward(unflatten(theta, parameters), phi_value, x), flatten(parameters), step
    )


def backward_jacobian(parameters: Parameters, p: Phi, x: np.ndarray) -> np.ndarray:
    """The same Jacobian, exact: textbook back-propagation for one sample and one output at a time."""
    depth, outputs = len(parameters), len(parameters[-1][1])
    rows = []
    for sample in np.asarray(x, float):
        hs, us = [sample], []
        for layer, (weight, bias) in enumerate(parameters):
            us.append(weight @ hs[-1] + bias)
            hs.append(p.value(us[-1]) if layer < depth - 1 else us[-1])
        for k in range(outputs):
            delta = np.zeros(outputs)
            delta[k] = 1.0
            gradient = []
            for layer in range(depth - 1, -1, -1):
                gradient.insert(0, np.concatenate([np.outer(delta, hs[layer]).ravel(), delta]))
                if layer > 0:
                    delta = p.slope(us[layer - 1]) * (parameters[layer][0].T @ delta)
            rows.append(np.concatenate(gradient))
    return np.array(rows).reshape(len(x), outputs, -1)


def input_jacobian(
    parameters: Parameters, phi_value: Callable, x: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    """d f / d x of one input x (M_0,), by finite differences, shape (C, M_0)."""
    return finite_difference_jacobian(
        lambda sample: forward(parameters, phi_value, sample[None])[0], np.asarray(x, float), step
    )


def fisher_matrix(jacobian: np.ndarray) -> np.ndarray:
    """F = (1/T) sum_t sum_k grad f_k(t) grad f_k(t)^T, (P, P), from the Jacobian (T, C, P)."""
    n_samples, outputs, n_parameters = jacobian.shape
    fisher = np.zeros((n_parameters, n_parameters))
    for t in range(n_samples):
        for k in range(outputs):
            fisher += np.outer(jacobian[t, k], jacobian[t, k])
    return fisher / n_samples


def softmax_fisher_matrix(jacobian: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """FIM of cross-entropy: (1/T) sum_t J_t^T (diag(p) - p p^T) J_t, p = softmax of the outputs (T, C)."""
    n_samples, _, n_parameters = jacobian.shape
    fisher = np.zeros((n_parameters, n_parameters))
    for t in range(n_samples):
        probability = special.softmax(outputs[t])
        metric = np.diag(probability) - np.outer(probability, probability)
        fisher += jacobian[t].T @ metric @ jacobian[t]
    return fisher / n_samples


def dual_matrix(jacobian: np.ndarray) -> np.ndarray:
    """F* = J J^T / T, (T C, T C), entry by entry; its non-zero eigenvalues are those of F."""
    n_samples, outputs, n_parameters = jacobian.shape
    rows = jacobian.reshape(n_samples * outputs, n_parameters)
    dual = np.empty((len(rows), len(rows)))
    for i in range(len(rows)):
        for j in range(len(rows)):
            dual[i, j] = rows[i] @ rows[j] / n_samples
    return dual


def eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """All eigenvalues of a symmetric matrix, the largest first."""
    return np.linalg.eigvalsh(matrix)[::-1]


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """All singular values, the largest first: square roots of the eigenvalues of J J^T or J^T J."""
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return np.sqrt(np.maximum(eigenvalues(gram), 0.0))

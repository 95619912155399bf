"""Random activations, their Gaussian integrals by brute force, and whether the package says how wrong it is.

A `Shape` knows what the package has to find out: its slope, where it breaks and by how much, where it is narrow and
how narrow. So its integrals are sums over plain Gauss-Legendre panels that end there, once with 16 and once with
11 points a panel, which is what the reference says of its own error.

    python tests/honesty.py [number of cases] [seed]

does so for many cases on all processors and writes its table into docs/accuracy.md.
"""

import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

import mfdnn
from mfdnn.gaussian.tables import tables

REACH = 13.0  # standard deviations of a Gaussian weight: 1e-38 of the mass is beyond
LAYER = np.array([0.3, 0.8, 1.5, 2.5, 3.7, 5.0, 6.5, 8.2])  # what a Gaussian smooths is seen within so many deviations
AROUND = np.array([0.0, 0.5, 1.0, 1.6, 2.3, 3.1, 4.0, 5.0, 6.5])  # the same for a feature, in its widths
FLOOR = 1e-25  # an error may be understated by that much
SLOW = 2.0  # seconds of processor time


# -- activations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Shape:
    """A function with all that is to be known of it: `breaks` maps a place to the jump of the value (0: of a slope)."""

    text: str
    value: Callable
    slope: Callable
    breaks: dict
    features: tuple = ()  # (place, width)
    panel: float = math.inf  # widest panel in x that 11 points resolve

    def __add__(self, other):
        jumps = Counter()
        for shape in (self, other):
            for place, jump in shape.breaks.items():
                jumps[place] += jump
        return Shape(
            f"{self.text} + {other.text}",
            lambda x: self.value(x) + other.value(x),
            lambda x: self.slope(x) + other.slope(x),
            dict(jumps),
            self.features + other.features,
            min(self.panel, other.panel),
        )

    def times(self, factor):
        return replace(
            self,
            text=f"{factor:g} ({self.text})",
            value=lambda x: factor * self.value(x),
            slope=lambda x: factor * self.slope(x),
            breaks={place: factor * jump for place, jump in self.breaks.items()},
        )

    def inside(self, scale, shift):
        """The function of scale x + shift, scale > 0."""
        return replace(
            self,
            text=f"({self.text})({scale:g} x + {shift:g})",
            value=lambda x: self.value(scale * x + shift),
            slope=lambda x: scale * self.slope(scale * x + shift),
            breaks={(place - shift) / scale: jump for place, jump in self.breaks.items()},
            features=tuple(((place - shift) / scale, width / scale) for place, width in self.features),
            panel=self.panel / scale,
        )

    def edges(self):
        """Where panels in x end."""
        around = [place + width * np.concatenate([-AROUND, AROUND]) for place, width in self.features]
        return np.unique(np.concatenate([list(self.breaks), *around]))

    @property
    def narrowest(self):
        """Width of the narrowest feature."""
        gaps = np.diff(sorted(self.breaks))
        return min([width for _, width in self.features] + list(gaps[gaps > 0]), default=math.inf)


def sech2(x):
    return 1 / np.cosh(np.clip(x, -300, 300)) ** 2


def logistic(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def smooth(rng):
    """One of the everyday smooth functions; the feature is what the panels of the weight would miss at large q."""
    at_zero = ((0.0, 0.6), (0.0, 3.0))
    choices = [
        Shape("tanh", np.tanh, sech2, {}, at_zero),
        Shape("arctan", np.arctan, lambda x: 1 / (1 + x**2), {}, ((0.0, 0.4), (0.0, 3.0), (0.0, 20.0))),
        Shape("softplus", lambda x: np.logaddexp(x, 0), logistic, {}, ((0.0, 1.2), (0.0, 6.0))),
        Shape(
            "swish",
            lambda x: x * logistic(x),
            lambda x: logistic(x) + 0.25 * x * sech2(x / 2),
            {},
            ((0.0, 1.2), (0.0, 6.0)),
        ),
        Shape(
            "x/(1 + x^2)",
            lambda x: x / (1 + x**2),
            lambda x: (1 - x**2) / (1 + x**2) ** 2,
            {},
            ((0.0, 0.4), (0.0, 3.0), (0.0, 20.0)),
        ),
        Shape("x", lambda x: x * 1.0, np.ones_like, {}),
        Shape("x^2/10", lambda x: x**2 / 10, lambda x: x / 5, {}),
        Shape("cos", np.cos, lambda x: -np.sin(x), {}, panel=2.0),
        Shape(
            "tanh(x + sin(2 x)/3)",
            lambda x: np.tanh(x + np.sin(2 * x) / 3),
            lambda x: sech2(x + np.sin(2 * x) / 3) * (1 + 2 * np.cos(2 * x) / 3),
            {},
            ((0.0, 0.3), (0.0, 0.9), (0.0, 3.0)),
        ),
    ]
    return choices[rng.integers(len(choices))]


def polynomial_pieces(text, knots, coefficients):
    """Polynomials in x - knot between knots, constant beyond: (n, degree + 1), lowest order first."""
    knots, coefficients = np.asarray(knots, float), np.asarray(coefficients, float)
    slopes = coefficients[:, 1:] * np.arange(1, coefficients.shape[1])

    def piecewise(table):
        def function(x):
            inside = np.clip(x, knots[0], knots[-1])
            piece = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
            distance, total = inside - knots[piece], np.zeros(np.shape(x))
            for column in table.T[::-1]:
                total = total * distance + column[piece]
            return total

        return function

    slope = piecewise(slopes)
    return Shape(
        text,
        piecewise(coefficients),
        lambda x: np.where((x > knots[0]) & (x < knots[-1]), slope(x), 0.0),
        dict.fromkeys(knots.tolist(), 0.0),
    )


def spline(rng):
    """Splines of every smoothness: linear, PCHIP, cubic, with flat ends."""
    from scipy import interpolate

    n = rng.integers(3, 6)
    knots = np.sort(rng.uniform(-4, 4, n)).round(2)
    while np.diff(knots).min() < 0.1:
        knots = np.sort(rng.uniform(-4, 4, n)).round(2)
    heights = rng.uniform(-1, 1, n).round(2)
    kind = rng.integers(4)
    if kind == 0:
        table = np.stack([heights[:-1], np.diff(heights) / np.diff(knots)]).T
        return polynomial_pieces(f"linear spline {knots} {heights}", knots, table)
    if kind == 1:
        ends = "clamped" if rng.integers(2) else "natural"
        made, name = interpolate.CubicSpline(knots, heights, bc_type=ends), f"{ends} cubic spline"
    elif kind == 2:
        made, name = interpolate.PchipInterpolator(knots, heights), "pchip"
    else:
        made, name = interpolate.Akima1DInterpolator(knots, heights), "akima"
        if n < 5:
            made, name = interpolate.PchipInterpolator(knots, heights), "pchip"
    return polynomial_pieces(f"{name} {knots} {heights}", knots, made.c[::-1].T)


def step_of_degree(rng):
    """Smooth steps: cubic and quintic from 0 to 1, and the like of Huber between slopes 0 and 1."""
    width = 10 ** rng.uniform(-1.5, 0.7)
    kind = rng.integers(5)
    if kind < 2:
        table = ([0, 0, 3, -2], [0, 0, 0, 10, -15, 6])[kind] / width ** np.arange([4, 6][kind])
        return polynomial_pieces(("smoothstep", "smootherstep")[kind] + f" {width:.3g}", [0.0, width], [table])
    if kind == 2:
        return Shape(
            f"huber relu {width:.3g}",
            lambda x: np.where(x < width, 0.5 / width * np.maximum(x, 0) ** 2, x - width / 2),
            lambda x: np.clip(x / width, 0, 1),
            {0.0: 0.0, width: 0.0},
        )
    power = int(kind - 1)
    return Shape(
        f"relu^{power} to 3",
        lambda x: np.clip(x, 0, 3) ** power,
        lambda x: np.where(x < 3, power * np.maximum(x, 0) ** (power - 1), 0.0),
        {0.0: 0.0, 3.0: 0.0},
    )


def kinked(rng):
    kind = rng.integers(5)
    if kind == 0:
        return Shape("relu", lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), {0.0: 0.0})
    if kind == 1:
        return Shape("abs", np.abs, np.sign, {0.0: 0.0})
    if kind == 2:
        return Shape(
            "elu",
            lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            lambda x: np.exp(np.minimum(x, 0)),
            {0.0: 0.0},
            ((0.0, 1.0), (0.0, 5.0)),
        )
    if kind == 3:
        high = rng.uniform(0.3, 0.95)
        at = math.atanh(high)
        return Shape(
            f"tanh up to {high:.3g}",
            lambda x: np.clip(np.tanh(x), -high, high),
            lambda x: np.where(np.abs(x) < at, sech2(x), 0.0),
            {-at: 0.0, at: 0.0},
            ((0.0, 0.6), (0.0, 3.0)),
        )
    return Shape(
        "hard swish",
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.where(np.abs(x) < 3, (2 * x + 3) / 6, 1.0 * (x > 0)),
        {-3.0: 0.0, 3.0: 0.0},
    )


def jump(rng):
    kind = rng.integers(3)
    if kind == 0:
        return Shape("step", lambda x: 1.0 * (x > 0), np.zeros_like, {0.0: 1.0})
    if kind == 1:
        width = 10 ** rng.uniform(-2.5, 0.5)
        return Shape(
            f"box {width:.3g}",
            lambda x: 1.0 * ((x > 0) & (x < width)),
            np.zeros_like,
            {0.0: 1.0, width: -1.0},
        )
    return Shape(
        "staircase",
        lambda x: np.clip(np.ceil(x), -1, 2),
        np.zeros_like,
        {-1.0: 1.0, 0.0: 1.0, 1.0: 1.0},
    )


def bump(rng):
    width = 10 ** rng.uniform(-3, 0.5)
    if rng.integers(2):
        return Shape(
            f"gaussian {width:.3g}",
            lambda x: np.exp(-((x / width) ** 2)),
            lambda x: -2 * x / width**2 * np.exp(-((x / width) ** 2)),
            {},
            ((0.0, width),),
        )
    return Shape(
        f"lorentzian {width:.3g}",
        lambda x: 1 / (1 + (x / width) ** 2),
        lambda x: -2 * x / width**2 / (1 + (x / width) ** 2) ** 2,
        {},
        tuple((0.0, factor * width) for factor in (0.4, 3.0, 20.0, 130.0, 800.0, 5e3)),
    )


def steep(rng):
    rate = 10 ** rng.uniform(0.5, 3)
    return Shape(
        f"tanh({rate:.3g} x)",
        lambda x: np.tanh(rate * x),
        lambda x: rate * sech2(rate * x),
        {},
        ((0.0, 0.6 / rate), (0.0, 3.0 / rate)),
    )


def draw(rng):
    """A random activation: one to three parts, somewhere, of some size."""
    makers = [smooth, spline, step_of_degree, kinked, jump, bump, steep]
    total = None
    for _ in range(rng.integers(1, 4)):
        part = makers[rng.choice(len(makers), p=np.array([5, 4, 3, 3, 2, 2, 2]) / 21)](rng)
        far = rng.integers(12) == 0
        if part.panel > 1e9 and rng.integers(2):
            part = part.inside(1.0, -round(float(rng.uniform(-60, 60) if far else rng.normal()), 2))
        elif rng.integers(3) == 0:
            part = part.inside(round(float(10 ** rng.uniform(-0.5, 0.4)), 2), 0.0)
        if rng.integers(2):
            part = part.times(round(float(rng.normal() * 10 ** rng.uniform(-2, 1)), 3) or 1.0)
        total = part if total is None else total + part
    return total


def activation(rng, shape):
    """As a user would hand it over: with or without derivative, and kinks; but what hides is always named."""
    hides = any(abs(place) > 8 for place in shape.breaks)
    kinks = tuple(shape.breaks) if hides or rng.integers(2) else ()
    derivative = shape.slope if rng.integers(2) else None
    features = [
        (place, width) for place, width in shape.features if width < (abs(place) / 4 if abs(place) > 7 else 1e-3)
    ]
    return mfdnn.Activation("random", shape.value, derivative, kinks, features)


# -- brute force -----------------------------------------------------------------------------------------------------


class Reference(NamedTuple):
    value: float
    error: float


def rule(edges, n):
    """Gauss-Legendre nodes and weights of all panels; `edges` (..., m) ascending."""
    x, w = np.polynomial.legendre.leggauss(n)
    half, middle = np.diff(edges) / 2, (edges[..., 1:] + edges[..., :-1]) / 2
    shape = (*edges.shape[:-1], -1)
    return (middle[..., None] + half[..., None] * x).reshape(shape), (half[..., None] * w).reshape(shape)


def density(z):
    return np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def x_edges(shape, q):
    """Panel edges in x within the reach of that variance."""
    end = REACH * math.sqrt(q)
    edges = shape.edges()
    if math.isfinite(shape.panel):
        edges = np.append(edges, np.linspace(-end, end, int(2 * end / shape.panel) + 2))
    return edges[np.abs(edges) < end]


UNIT = np.arange(-REACH, REACH + 0.5)


def single(shape, q, derivative):
    """E[phi^(d)(u)] for d = 0, 1."""
    root = math.sqrt(q)
    edges = np.union1d(UNIT, x_edges(shape, q) / root)
    function = (shape.value, shape.slope)[derivative]
    sums = []
    for n in (16, 11):
        z, w = rule(edges, n)
        terms = w * density(z) * function(root * z)
        sums.append(math.fsum(terms))
    masses = [(place, height) for place, height in shape.breaks.items() if height and derivative]
    met = [height * density(place / root) / root for place, height in masses]
    value = math.fsum([sums[0], *met])
    size = np.abs(terms).sum() + np.abs(met).sum()
    return Reference(value, abs(sums[0] - sums[1]) + 1e-15 * size)


def aligned(shape, q1, q2, sign, derivative):
    """E[f(u) f(v)] for v = sign sqrt(q2/q1) u; phi must not jump if d = 1."""
    r1, r2 = math.sqrt(q1), sign * math.sqrt(q2)
    edges = np.unique(np.concatenate([UNIT, x_edges(shape, q1) / r1, x_edges(shape, q2) / r2]))
    function = (shape.value, shape.slope)[derivative]
    sums = []
    for n in (16, 11):
        z, w = rule(edges, n)
        terms = w * density(z) * function(r1 * z) * function(r2 * z)
        sums.append(math.fsum(terms))
    return Reference(sums[0], abs(sums[0] - sums[1]) + 2e-15 * np.abs(terms).sum())


def pair(shape, q1, q2, c, derivative):
    """E[f(u) f(v)] for f = phi^(d), d = 0, 1, point masses included."""
    if abs(c) == 1:
        return aligned(shape, q1, q2, c, derivative)
    r1, r2, s = math.sqrt(q1), math.sqrt(q2), math.sqrt((1 - c) * (1 + c))
    function = (shape.value, shape.slope)[derivative]
    near = x_edges(shape, q2)
    masses = [(place, height) for place, height in shape.breaks.items() if height and derivative]
    edges = [UNIT, x_edges(shape, q1) / r1]
    if s > 0.4 * abs(c):  # what s smooths is as smooth as a Gaussian
        edges.append(np.arange(-REACH, REACH, min(1.0, s / max(abs(c), 0.1))))
    else:
        edges.append(near / (c * r2))
        bends = [*shape.breaks, *(place for place, _ in shape.features)]
        sharp = np.array([place for place in set(bends) if abs(place) < REACH * r2])
        layer = np.concatenate([-LAYER, LAYER]) * s / abs(c)
        edges.append((sharp[:, None] / (c * r2) + layer).ravel())
    outer = np.unique(np.concatenate(edges))
    outer = outer[np.abs(outer) <= REACH]

    def given_z(z, n):
        """E[f(v) | z] for an array of z, and the same of |f|."""
        mean = np.sign(c) * (z - (1 - abs(c)) * z)
        cuts = (near - r2 * mean[:, None]) / (r2 * s)
        cuts = np.sort(np.concatenate([cuts, np.broadcast_to(UNIT, (z.size, UNIT.size))], axis=1), axis=1)
        used = (cuts > -REACH) & (cuts < REACH)
        cuts = np.clip(cuts[:, used.any(axis=0)], -REACH, REACH)
        ends = np.full((z.size, 1), REACH)
        w, weight = rule(np.concatenate([-ends, cuts, ends], axis=1), n)
        terms = weight * density(w) * function(r2 * (mean[:, None] + s * w))
        value, size = terms.sum(axis=1), np.abs(terms).sum(axis=1)
        for place, height in masses:
            met = height * density((place - r2 * mean) / (r2 * s)) / (r2 * s)
            value, size = value + met, size + np.abs(met)
        return value, size

    sums, size = [], 0.0
    for n in (16, 11):
        z, w = rule(outer, n)
        weight = w * density(z)
        f = function(r1 * z)
        total = []
        for block in np.array_split(np.arange(z.size), max(1, z.size * (near.size + 22) * n // 2_000_000)):
            inner, inner_size = given_z(z[block], n)
            total.append(np.sum(weight[block] * f[block] * inner))
            size = size + np.sum(weight[block] * np.abs(f[block]) * inner_size)
        for place, height in masses:
            inner, inner_size = given_z(np.array([place / r1]), n)
            met = height * density(place / r1) / r1
            total.append(float(met * inner[0]))
            # a place is known to half a rounding, which is much against a narrow s
            size = size + float(np.abs(met) * inner_size[0] * (1 + 2 * abs(place) / (r2 * s)))
        sums.append(math.fsum(total))
    return Reference(sums[0], abs(sums[0] - sums[1]) + 2e-15 * float(size))


# -- cases -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One integral: `c` None is the expectation of one unit."""

    q: float
    c: float | None
    q2: float
    derivative: int


@dataclass(frozen=True)
class Outcome:
    seed: int
    text: str
    case: Case | None
    kind: str  # honest, understated, undecided, refused
    value: float = math.nan
    error: float = math.nan
    reference: float = math.nan
    reference_error: float = math.nan
    seconds: float = 0.0

    @property
    def understated(self):
        """By how much the error is understated."""
        return abs(self.value - self.reference) - self.error - self.reference_error

    def __str__(self):
        return (
            f"seed {self.seed}: {self.text}\n    {self.case}: {self.value!r} +- {self.error:.2g}, reference "
            f"{self.reference!r} +- {self.reference_error:.2g}: {self.kind}, {self.seconds:.2f} s"
        )


SPECIAL = [1 - 1e-14, 1 - 1e-9, 0.999999, 0.99, 0.9, 0.5, 0.0, -0.3, -0.9, -0.999999, -1.0, 1.0]


def draw_case(rng, shape):
    q = float(f"{10 ** rng.uniform(-3, 3):.3g}")
    if math.isfinite(shape.panel):  # what oscillates takes the reference as many panels as it has waves
        q = min(q, 30.0)
    q2 = q if rng.integers(3) else float(f"{q * 10 ** rng.uniform(-1, 0):.3g}")
    derivative = int(rng.integers(2))
    if rng.integers(3) == 0:
        return Case(q, None, q, derivative)
    c = float(SPECIAL[rng.integers(len(SPECIAL))] if rng.integers(2) else rng.uniform(-1, 1))
    if abs(c) == 1 and derivative and any(shape.breaks.values()):
        c = 0.7
    return Case(q, c, q2, derivative)


def judge(seed, n_cases=10):
    """Outcomes of one random activation; its tables are built before the time is taken."""
    rng = np.random.default_rng(seed)
    shape = draw(rng)
    try:
        act = activation(rng, shape)
        tables(act).hermite  # noqa: B018
    except ValueError as refused:
        return [Outcome(seed, f"{shape.text}: {refused}", None, "refused")]
    outcomes = []
    for _ in range(n_cases):
        case = draw_case(rng, shape)
        start = time.process_time()
        try:
            if case.c is None:
                value, error = mfdnn.expect(act, case.q, case.derivative, return_error=True)
            else:
                value, error = mfdnn.expect_product(
                    act, case.q, case.c, case.q2, case.derivative, return_error=True
                )
        except ValueError as refused:
            outcomes.append(Outcome(seed, f"{shape.text}: {refused}", case, "refused"))
            continue
        seconds = time.process_time() - start
        if case.c is None:
            reference = single(shape, case.q, case.derivative)
        else:
            reference = pair(shape, case.q, case.q2, case.c, case.derivative)
        outcome = Outcome(seed, shape.text, case, "honest", value, error, *reference, seconds)
        if not outcome.understated <= FLOOR:  # nan is no value
            outcome = replace(outcome, kind="understated")
        elif reference.error > max(error, FLOOR):
            outcome = replace(outcome, kind="undecided")
        outcomes.append(outcome)
    return outcomes


# -- the table -------------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
START, END = "<!-- honesty: start -->", "<!-- honesty: end -->"
KINDS = ("honest", "understated", "undecided", "refused")


def quietly(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return judge(seed)


def table(outcomes, seed):
    """The outcomes in Markdown: by the integral, and in total."""
    groups = {
        "$E[\\phi]$": lambda case: case.c is None and case.derivative == 0,
        "$E[\\phi']$": lambda case: case.c is None and case.derivative == 1,
        "$E[\\phi\\phi]$": lambda case: case.c is not None and case.derivative == 0,
        "$E[\\phi'\\phi']$": lambda case: case.c is not None and case.derivative == 1,
        "all": lambda case: True,
    }
    lines = [
        f"Seed {seed}:",
        "",
        "| integral | cases | honest | understated | undecided | refused | slower than 2 s | slowest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, belongs in groups.items():
        chosen = [outcome for outcome in outcomes if outcome.case is not None and belongs(outcome.case)]
        kinds = Counter(outcome.kind for outcome in chosen)
        seconds = [outcome.seconds for outcome in chosen] or [0.0]
        slow = sum(s > SLOW for s in seconds)
        counts = " | ".join(str(kinds[kind]) for kind in KINDS)
        lines.append(f"| {name} | {len(chosen)} | {counts} | {slow} | {max(seconds):.1f} s |")
    whole = sum(outcome.case is None for outcome in outcomes)
    lines += ["", f"Activations: {len({outcome.seed for outcome in outcomes})}, of which {whole} refused as a whole."]
    return "\n".join(lines)


def main(n_cases=3000, seed=0):
    """Judge that many cases on all processors, print what is not honest, and write the table."""
    seeds = range(1000 * seed, 1000 * seed + n_cases // 10)
    with ProcessPoolExecutor() as pool:
        outcomes = [outcome for found in pool.map(quietly, seeds) for outcome in found]
    for outcome in outcomes:
        if outcome.kind in ("understated", "undecided") or outcome.seconds > SLOW:
            print(outcome)
    written = table(outcomes, seed)
    page = PAGE.read_text()
    before, after = page[: page.index(START)], page[page.index(END) :]
    PAGE.write_text(f"{before}{START}\n{written}\n{after}")
    print(written)
    return any(outcome.kind == "understated" for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))

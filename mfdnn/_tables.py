"""An activation as numbers for kernels: the tables that `mfdnn._compiled` reads, built on first use and kept."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from . import _compiled
from ._compiled import KINK_ORDERS, Correlations, Hermite, Kinks, Moments
from ._pieces import DEGREE, NODES, Pieces, chebyshev_fit
from ._quadrature import GAUSS_W, GAUSS_X, breaks, circle_coefficients, largest_variance, nodes, values
from .activations import Activation

__all__ = ["Tables", "tables"]

LOG_Q_MIN = np.log(1e-12)
GRID = 20  # points per decade of the grid on which fixed points of the variance map are bracketed
TERMS = (16, 32, 64, 128)  # numbers of Hermite terms to choose from
MAX_KINKS = 8  # more kinks than that are left to the series

ROW = 2.0  # width in log q of a row of the table of correlations
RADIUS = 8.2  # standard deviations of the radius in the plane that are kept (3e-15 of the mass)
ANGULAR = 1e-15  # relative size of the last quarter of a resolved Fourier series
FOURIER = 1e4  # variance from which pieces of a circle are cheaper than its Fourier series
FLAT = 1e-12  # relative size of the last Chebyshev coefficients of a resolved panel
ROUGH = 1e-7  # the same for phi with singularities that are no breaks
NARROW = 0.05  # smallest panel in log q; a panel in theta is not split below 4^-MAX_SPLITS of pi/2
MAX_SPLITS = 8

_ARC_RULE = np.polynomial.legendre.leggauss(16)
_tables: weakref.WeakKeyDictionary[Activation, Tables] = weakref.WeakKeyDictionary()


def tables(act: Activation) -> Tables:
    """The tables of this activation; the same object every time."""
    try:
        return _tables[act]
    except KeyError:
        return _tables.setdefault(act, Tables(act))


class Tables:
    """Tables of one activation, each built on first use.

    Attributes
    ----------
    q_max : float
        Largest variance covered.
    moments : Moments
        One-dimensional moments as functions of log q.
    hermite : Hermite
        Hermite coefficients as functions of log q, for pairs of any two variances.
    """

    def __init__(self, act: Activation):
        # The dictionary's key must not be kept alive by its value.
        self._act = weakref.ref(act)
        self.q_max = largest_variance(act)
        self._rows: dict[int, list[tuple[float, float, list]]] = {}

    @property
    def act(self) -> Activation:
        act = self._act()
        assert act is not None, "tables outlived their activation"
        return act

    @cached_property
    def moments(self) -> Moments:
        return _moments(self.act, self.q_max)

    @cached_property
    def hermite(self) -> Hermite:
        return _hermite(self.act, self.q_max)

    def correlations(self, q: np.ndarray) -> Correlations:
        """E[phi'(u) phi'(v)] of equal variances, and its means, for variances near all of `q`."""
        index = np.floor((np.log(np.clip(q, None, self.q_max)) - LOG_Q_MIN) / ROW).astype(int)
        wanted = np.unique(np.maximum(index, 0)).tolist()
        missing = [i for i in wanted if i not in self._rows]
        # Rows are independent, and most of their work is done without the GIL.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._rows.update(zip(missing, pool.map(self._build_row, missing), strict=True))
        rows = [row for i in wanted for row in self._rows[i]]
        return Correlations(
            rows=np.array([row[:2] for row in rows]),
            first=np.cumsum([0, *(len(row[2]) for row in rows)]),
            angles=np.array([panel[:2] for row in rows for panel in row[2]]),
            values=np.array([panel[2] for row in rows for panel in row[2]]),
            power=_power(self.act),
        )

    def _build_row(self, i: int) -> list[tuple[float, float, list]]:
        left = LOG_Q_MIN + i * ROW
        return _correlation_rows(self.act, left, min(left + ROW, np.log(self.q_max)))


# -- the kink part -------------------------------------------------------------------------------------------


def _kinks(act: Activation) -> Kinks:
    """The kink part: empty if phi breaks at too many places."""
    pieces = act.pieces
    if pieces.breaks.size > MAX_KINKS:
        return Kinks(np.empty(0), np.empty(0), np.empty((0, KINK_ORDERS)))
    sides = np.where(pieces.breaks < 0, -1.0, 1.0)
    mirrored = np.where(sides[:, None] < 0, -((-1.0) ** np.arange(KINK_ORDERS)), 1.0)
    return Kinks(np.abs(pieces.breaks), sides, pieces.jumps * mirrored)


def _kink_values(kinks: Kinks, order: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kink part p(x) of that order and p'(x), without point masses."""
    part, slope = np.zeros_like(x), np.zeros_like(x)
    for at, side, jumps in zip(*kinks, strict=True):
        distance = np.maximum(side * x - at, 0.0)
        power = (side * x > at).astype(float)  # distance^i / i!
        for i in range(order + 1):
            part += jumps[i] * power
            if i < order:
                slope += side * jumps[i + 1] * power
            power = power * distance / (i + 1)
    return part, slope


def _kink_order(act: Activation, q: float) -> int:
    """Highest order of the kink part at variance q.

    A higher order makes the rest of phi smoother; but polynomials that outgrow phi' cost digits.
    """
    kinks = _kinks(act)
    used = np.flatnonzero(np.any(kinks.jumps != 0, axis=0))
    highest = int(used.max(initial=0))
    z, weight = nodes(breaks(act, q))
    x = np.sqrt(q) * z
    size = weight @ values(act, x, 1) ** 2
    for order in range(highest, 1, -1):
        if weight @ _kink_values(kinks, order, x)[1] ** 2 <= 100 * size:
            return order
    return min(highest, 1)


# -- one-dimensional moments ---------------------------------------------------------------------------------


def _interpolate(
    columns: Callable, accurate: Callable, left: float, right: float
) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev panels in log q, halved until `accurate(values, fit)`: edges (n + 1,), coefficients (n, 16, m)."""
    start = np.linspace(left, right, int(np.ceil((right - left) / 2.0)) + 1)
    pending = list(itertools.pairwise(start))[::-1]
    edges, panels = [left], []
    while pending:
        a, b = pending.pop()
        at = np.array([columns(q) for q in np.exp((a + b) / 2 + (b - a) / 2 * NODES)])
        fit = chebyshev_fit(at.T).T
        if b - a > NARROW and not accurate(at, fit):
            pending += [((a + b) / 2, b), (a, (a + b) / 2)]
            continue
        edges.append(b)
        panels.append(fit)
    return np.array(edges), np.ascontiguousarray(panels)


def _moment_columns(act: Activation, q: float) -> np.ndarray:
    z, weight = nodes(breaks(act, q))
    phi, slope = (values(act, np.sqrt(q) * z, order) for order in (0, 1))
    square = weight * phi**2
    return np.array([square.sum(), weight @ slope**2, 0.5 * square @ (z**2 - 1), weight @ phi])


def _moments(act: Activation, q_max: float) -> Moments:
    def accurate(at: np.ndarray, fit: np.ndarray) -> bool:
        # To relative accuracy over the panel; the slope and the mean relative to the size of phi.
        size = np.abs(at).min(axis=0)
        size[2], size[3] = size[0], np.sqrt(size[0])
        noise = act.pieces.slope_noise * np.array([0.0, np.sqrt(size[1]) + act.pieces.slope_noise, 0.0, 0.0])
        return bool(np.all(np.abs(fit[-2:]).max(axis=0) <= 2e-14 * np.maximum(size, 1e-300) + noise))

    edges, panels = _interpolate(lambda q: _moment_columns(act, q), accurate, LOG_Q_MIN, np.log(q_max))
    zero = np.array([-1e-300, 1e-300])
    table = Moments(
        edges=edges,
        values=panels,
        low=float(np.exp(edges[0])),
        high=float(np.exp(edges[-1])),
        origin=float(np.mean(act(zero) ** 2)),
        grid_q=np.empty(0),
        grid_second=np.empty(0),
        several=False,
    )
    q = np.geomspace(table.low, table.high, int(GRID * np.log10(table.high / table.low)) + 1)
    second = _compiled.table_moments(table, q)[0]
    growth = np.diff(np.append(table.origin, second)) / np.diff(np.append(0.0, q))
    noise = 1e-9 * np.abs(growth[1:]) + 1e-11 * second[1:] / q[1:]
    several = bool(np.any(np.diff(growth) > noise))
    return table._replace(grid_q=q, grid_second=second, several=several)


# -- Hermite coefficients ------------------------------------------------------------------------------------


def _hermite_columns(act: Activation, q: float, terms: int) -> np.ndarray:
    """E[phi^2], then the Hermite coefficients a_0..a_K."""
    z, weight = nodes(breaks(act, q))
    phi = act(np.sqrt(q) * z)
    out = np.empty(2 + terms)
    out[0] = weight @ phi**2
    # At small q the constant phi(0) would drown the others in its rounding.
    constant = act(np.zeros(1))[0]
    _compiled.hermite_coefficients(z, weight * (phi - constant), out[1:])
    out[1] += constant
    return out


def _left_out(act: Activation, q: float, order: int, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2-norms of what the series a_0..a_K leaves out, and of the kink part; each of phi and of sqrt(q) phi'."""
    kinks = _kinks(act)
    z, weight = nodes(breaks(act, q))
    x = np.sqrt(q) * z
    phi, slope = (values(act, x, i) for i in (0, 1))
    part, part_slope = _kink_values(kinks, order, x)
    p = np.zeros_like(a)
    _compiled.kink_coefficients(kinks, order, q, np.empty_like(a), p)
    smooth, smooth_slope = _compiled.hermite_residual(
        z, weight, phi - part, np.sqrt(q) * (slope - part_slope), a - p
    )
    sizes = np.array([weight @ part**2, q * (weight @ part_slope**2)])
    series = np.array([p @ p, np.arange(a.size) @ p**2])
    rest = np.sqrt(np.maximum(sizes - series, 0.0))
    if np.any(kinks.jumps[:, 0]):
        rest[1] = np.inf  # point masses of phi'
    return np.array([smooth, rest[0], smooth_slope, rest[1]]), np.sqrt(sizes)


def _choose_terms(act: Activation, q_max: float) -> int:
    """Fewest terms that resolve E[phi phi] up to c = 1 at the variances of everyday networks; else the most."""
    for terms in TERMS:
        worst = 0.0
        for q in (0.3, 1.0, 2.0):
            if q <= q_max:
                second, *a = _hermite_columns(act, q, terms)
                smooth, kink = _left_out(act, q, _kink_order(act, q), np.array(a))[0][:2]
                worst = max(worst, (smooth**2 + 2 * smooth * kink) / max(second, 1e-300))
        if worst <= 1e-13:
            return terms
    return TERMS[-1]


def _hermite(act: Activation, q_max: float) -> Hermite:
    terms = _choose_terms(act, q_max)

    def accurate(at: np.ndarray, fit: np.ndarray) -> bool:
        # Relative to phi - phi(0), as far as phi itself is not lost in rounding.
        size = np.sqrt(np.sum(at[:, 2:] ** 2, axis=1).min())
        noise = 2e-14 * size + 5e-15 * np.sqrt(at[:, 0].min())
        return bool(np.all(np.abs(fit[-2:, 1:]) <= max(noise, 1e-300)))

    edges, panels = _interpolate(
        lambda q: _hermite_columns(act, q, terms), accurate, LOG_Q_MIN, np.log(q_max)
    )
    panels = np.ascontiguousarray(panels[:, :, 1:])
    orders = np.array([_kink_order(act, np.exp(right)) for right in edges[1:]])
    tails, sizes = [], []
    for left, right, fit, order in zip(edges[:-1], edges[1:], panels, orders, strict=True):
        bounds = []
        for t in (NODES[0], 0.0, NODES[-1]):
            a = np.polynomial.chebyshev.chebval(t, fit)
            q = np.exp((left + right) / 2 + (right - left) / 2 * t)
            bounds.append(np.concatenate(_left_out(act, q, order, a)))
        worst = np.max(bounds, axis=0)
        tails.append(worst[:4])
        sizes.append(worst[4:])
    return Hermite(edges, panels, np.array(tails), np.array(sizes), orders, _kinks(act))


# -- correlations --------------------------------------------------------------------------------------------


def _power(act: Activation) -> int:
    return int(np.any(act.pieces.jumps[:, 0] != 0))


class _SlopeProducts:
    """theta^s E[phi'(u) phi'(v)] for variances in a range and any theta, by the cheapest rule that is right."""

    def __init__(self, act: Activation, low: float, high: float):
        pieces = act.pieces
        self.pieces = pieces
        self.power = _power(act)
        self.closed = pieces.piecewise_linear and pieces.breaks.size <= MAX_KINKS
        if self.closed:
            self.kinks = _kinks(act)
            # phi' = p' + this
            self.slope = float(pieces.evaluate(np.array([-1e-300]), 1)[0])
            self.flat = FLAT
            return
        self.radii = _radii(pieces.edges, low, high)
        self.smooth = pieces.smooth and high < FOURIER
        self.flat = FLAT if pieces.resolved else ROUGH
        if self.smooth:
            self.series = list(_circle_series(act, self.radii, low, high))
        else:
            self.edges, self.slopes = _coarse_slope(pieces, self.radii[-1])
            # The mean over a circle is as smooth in r as these pieces.
            self.radii = _radii(self.edges, low, high)

    def __call__(self, q: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Values of shape (q.size, theta.size)."""
        pieces = self.pieces
        if self.closed:
            total = _compiled.kink_slope_products(self.kinks, 1, q, theta)
            if self.slope != 0:
                total += self.slope**2 + 2 * self.slope * _kink_slope_mean(self.kinks, q)[:, None]
        elif not self.smooth:
            total = _compiled.circle_products(
                self.edges, self.slopes, pieces.breaks, self.radii, q, theta, *_ARC_RULE
            )
            if self.power:
                masses = np.ascontiguousarray(pieces.jumps[:, 0])
                total += _compiled.mass_products(
                    self.edges, self.slopes, pieces.breaks, masses, q, theta, GAUSS_X, GAUSS_W
                )
        else:
            total = np.zeros((q.size, theta.size))
            for r, weight, products in self.series:
                cosines = np.cos(np.arange(products.shape[1])[:, None] * theta)
                radial = r * weight * np.exp(-0.5 * r**2 / q[:, None]) / q[:, None]
                total += radial @ (products @ cosines)
        return total * theta**self.power


def _coarse_slope(pieces: Pieces, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Phi' on [-end, end] as few piecewise polynomials: edges (the breaks among them) and coefficients."""
    inside = pieces.edges[np.abs(pieces.edges) < end]
    old = np.concatenate([[-end], inside, [end]])
    probe = np.linspace(-1, 1, 4 * DEGREE)
    at_probe = np.polynomial.chebyshev.chebvander(probe, DEGREE).T
    tolerance = (1e-14 if pieces.resolved else ROUGH) * np.abs(pieces.evaluate(old, 1)).max()
    edges, coefficients = [-end], []
    start = 0
    while start < old.size - 1:
        # The longest panel from here on that one polynomial fits; panels of phi itself always do.
        for stop in range(old.size - 1, start, -1):
            a, b = old[start], old[stop]
            if np.any((pieces.breaks > a) & (pieces.breaks < b)):
                continue
            sample = pieces.evaluate(
                np.append((a + b) / 2 + (b - a) / 2 * NODES, (a + b) / 2 + (b - a) / 2 * probe), 1
            )
            fit = chebyshev_fit(sample[: NODES.size])
            if stop == start + 1 or np.abs(fit @ at_probe - sample[NODES.size :]).max() <= tolerance:
                break
        fit[np.abs(fit) <= tolerance / 10] = 0.0
        edges.append(b)
        coefficients.append(fit)
        start = stop
    return np.array(edges), np.array(coefficients)


def _kink_slope_mean(kinks: Kinks, q: np.ndarray) -> np.ndarray:
    """E[p'(u)] of a kink part of order 1."""
    from scipy.special import ndtr

    y = kinks.at / np.sqrt(q)[:, None]
    density = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi * q)[:, None]
    return ndtr(-y) @ (kinks.sides * kinks.jumps[:, 1]) + density @ (kinks.sides * kinks.jumps[:, 0])


def _radii(edges: np.ndarray, low: float, high: float) -> np.ndarray:
    """Edges of panels in r for variances from `low` to `high`: as fine as the pieces of phi and the Gaussian."""
    end = RADIUS * np.sqrt(high)
    pieces = np.unique(np.abs(np.append(edges, [0.0, end])))
    pieces = pieces[pieces <= end]
    step = 1.5 * np.sqrt(low)
    gaussian = np.minimum(step * np.arange(RADIUS / 1.5 + 1), end)
    gaussian = np.append(gaussian, np.geomspace(gaussian[-1], end, int(np.ceil(2 * np.log(high / low))) + 1))
    # A sliver next to an edge of phi resolves nothing.
    after = np.searchsorted(pieces, gaussian).clip(1, pieces.size - 1)
    distance = np.minimum(np.abs(gaussian - pieces[after - 1]), np.abs(gaussian - pieces[after]))
    return np.union1d(pieces, gaussian[distance > 0.2 * step])


def _circle_series(
    act: Activation, radii: np.ndarray, low: float, high: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Panels in r: nodes, weights, and C_m(r): mean of phi'(r cos a) phi'(r cos(a + theta)) = sum_m C_m cos(m theta).

    From phi'(r cos a) = sum_m b_m cos(m a): C_0 = b_0^2, C_m = b_m^2 / 2. For smooth phi they decrease
    geometrically.
    """
    scale = min(_moment_columns(act, q)[1] for q in (low, high))
    n = 16
    for a, b in itertools.pairwise(radii):
        r = (a + b) / 2 + (b - a) / 2 * GAUSS_X
        # What the Gaussian weight leaves of an error here.
        tolerance = ANGULAR * scale / np.exp(-0.5 * a**2 / high)
        b_m = circle_coefficients(act.slope, r, tolerance, n)
        n = b_m.shape[1]
        products = b_m**2 / 2
        products[:, 0] *= 2
        yield r, (b - a) / 2 * GAUSS_W, products


def _correlation_rows(act: Activation, left: float, right: float) -> list[tuple[float, float, list]]:
    """Rows (left, right, panels) that cover [left, right] in log q; panels (theta_0, theta_1, values)."""
    products = _SlopeProducts(act, np.exp(left), np.exp(right))
    done: list[tuple[float, float, list]] = []
    pending = [(left, right)]
    while pending:
        a, b = pending.pop()
        panels = _angle_panels(products, a, b)
        if panels is None:
            pending += [((a + b) / 2, b), (a, (a + b) / 2)]
        else:
            done.append((a, b, _with_means(panels, products.power)))
    return done


def _angle_panels(
    products: _SlopeProducts, left: float, right: float
) -> list[tuple[float, float, np.ndarray]] | None:
    """Panels in theta with values at (16 nodes in log q) x (16 nodes in theta); None if log q must be split."""
    q = np.exp((left + right) / 2 + (right - left) / 2 * NODES)
    panels = []
    # Where phi is steep against a large variance a single panel hardly ever does.
    start = np.pi / 2 * np.array([0.0, 0.25, 0.625, 1.0] if right > 2 else [0.0, 1.0])
    pending = list(itertools.pairwise(start))[::-1]
    scale = 0.0
    while pending:
        a, b = pending.pop()
        nodal = products(q, (a + b) / 2 + (b - a) / 2 * NODES)
        fit = np.abs(chebyshev_fit(chebyshev_fit(nodal).T))  # (theta, q)
        scale = max(scale, fit.max())
        if right - left > NARROW and fit[:, -2:].max() > products.flat * scale:
            return None
        if b - a > np.pi / 2 * 4.0**-MAX_SPLITS and fit[-2:].max() > products.flat * scale:
            # What is steep is steepest near theta = 0.
            middle = b / 4 if a == 0 else (a + b) / 2
            pending += [(middle, b), (a, middle)]
        else:
            panels.append((a, b, nodal))
    return panels


def _with_means(
    panels: list[tuple[float, float, np.ndarray]], power: int
) -> list[tuple[float, float, np.ndarray]]:
    """Chebyshev coefficients (3, log q, theta) of the values and of their means over [c, 1] and [0, c]."""
    rules = [_integrals(a, b, power) for a, b, _ in panels]
    fits = [chebyshev_fit(nodal) for _, _, nodal in panels]
    whole = [fit @ full for fit, (_, _, full) in zip(fits, rules, strict=True)]
    out = []
    for i, (a, b, nodal) in enumerate(panels):
        theta = (a + b) / 2 + (b - a) / 2 * NODES
        before, after, _ = rules[i]
        upper = (np.sum(whole[:i], axis=0)[..., None] if i else 0.0) + fits[i] @ before.T
        lower = (np.sum(whole[i + 1 :], axis=0)[..., None] if i + 1 < len(panels) else 0.0) + fits[
            i
        ] @ after.T
        means = [nodal, theta**power * upper / (2 * np.sin(theta / 2) ** 2), lower / np.cos(theta)]
        out.append((a, b, np.stack([chebyshev_fit(chebyshev_fit(f).T).T for f in means])))
    return out


def _integrals(a: float, b: float, power: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integrals of T_k theta^-s d(-cos theta) over [a, node_i], [node_i, b] and [a, b]: (16, 16), (16, 16), (16,)."""

    def integrate(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        half = (high - low)[:, None] / 2
        theta = (high + low)[:, None] / 2 + half * GAUSS_X
        weight = half * GAUSS_W * np.sin(theta) / theta**power
        return np.einsum(
            "ij,ijk->ik", weight, np.polynomial.chebyshev.chebvander((2 * theta - a - b) / (b - a), DEGREE)
        )

    at = (a + b) / 2 + (b - a) / 2 * NODES
    ends = np.full_like(at, a), np.full_like(at, b)
    return integrate(ends[0], at), integrate(at, ends[1]), integrate(ends[0][:1], ends[1][:1])[0]

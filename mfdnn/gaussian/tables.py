"""An activation as numbers for kernels: tables built on first use and kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise

import numpy as np

from .. import _compiled
from .._compiled import Correlations, Hermite, Moments
from .._support.errors import OutOfRange
from ..activations import Activation
from ..activations.panels import MAX_SHELLS, SHELL
from ..activations.pieces import NODES, chebyshev_fit
from ..jobs.threads import Threads
from .correlations import Row, correlation_rows, correlation_table
from .kinks import kink_order, kink_part, kink_values, term_sizes
from .quadrature import REACH, breaks, largest_variance, nodes, second_moment, values
from .smoothed import SmoothedTable

__all__ = ["LOG_Q_MIN", "Tables", "check_range", "tables"]

LOG_Q_MIN = np.log(1e-12)
GRID = 20  # points per decade of the grid on which fixed points of the variance map are bracketed
TERMS = (16, 32, 64, 128)  # numbers of Hermite terms to choose from
LONG = 1024  # of the table for pairs that those leave in doubt,
LONG_RANGE = 0.05, 50.0  # and variances that it is of: smaller ones need fewer terms, larger ones still more
ROW = 2.0  # width in log q of a row of the table of correlations
LARGEST = (SHELL * 2.0**MAX_SHELLS / REACH) ** 2  # variance that any table covers
NARROW = 0.05  # smallest panel in log q
HALVED = 16.0  # half a panel leaves out less by more than this where it is no rounding
VANISHED = 1e-40  # of E[phi^2] at q = 1: below it nobody asks for digits, as of exp(-1/x^2) at small variances
ROUNDED = 1e7  # and rounding of phi, at the smallest variances, is at most so many times what may be left out

_tables: weakref.WeakKeyDictionary[Activation, Tables] = weakref.WeakKeyDictionary()


def tables(act: Activation) -> Tables:
    """The tables of this activation; the same object every time."""
    try:
        return _tables[act]
    except KeyError:
        return _tables.setdefault(act, Tables(act))


def check_range(act: Activation, q: np.ndarray) -> None:
    """Raise an OutOfRange if a variance is larger than the tables cover."""
    largest, q_max = float(np.max(q, initial=0.0)), tables(act).q_max
    if largest > q_max * (1 + 1e-12):
        why = ": it grows or oscillates too fast for larger ones" if q_max < 0.99 * LARGEST else ""
        raise OutOfRange(
            f"`q` = {largest:g} is beyond {q_max:g}, up to which activation {act.label!r} is resolved{why}",
            "use smaller variances",
        )


class Tables:
    """Tables of one activation, each built on first use.

    Attributes
    ----------
    q_max : float
        Largest variance covered.
    moments : Moments
        One-dimensional moments as functions of log q.
    hermite, long_hermite : Hermite
        Hermite coefficients as functions of log q, for pairs of any two variances.
    """

    def __init__(self, act: Activation):
        # The dictionary's key must not be kept alive by its value.
        self._act = weakref.ref(act)
        self.q_max = largest_variance(act)
        self._rows: dict[int, list[Row]] = {}

    @property
    def act(self) -> Activation:
        """The activation, which outlives its tables."""
        act = self._act()
        assert act is not None, "tables outlived their activation"
        return act

    @cached_property
    def moments(self) -> Moments:
        """E[phi^2] and its like over log q."""
        return _moments(self.act, self.q_max)

    @cached_property
    def hermite(self) -> Hermite:
        """Hermite coefficients over log q."""
        return _hermite(self.act, LOG_Q_MIN, np.log(self.q_max), _choose_terms(self.act, self.q_max))

    @cached_property
    def long_range(self) -> tuple[float, float]:
        """Variances that `long_hermite` is of; the first above the last: none."""
        return LONG_RANGE[0], min(LONG_RANGE[1], self.q_max)

    @cached_property
    def long_hermite(self) -> Hermite:
        """The same with more terms, over the `long_range` of variances."""
        low, high = np.log(self.long_range)
        return _hermite(self.act, low, high, LONG)

    @cached_property
    def smoothed(self) -> SmoothedTable:
        """Phi and phi' smoothed by a Gaussian, for pairs of any two variances."""
        return SmoothedTable(self.act.pieces)

    def correlations(self, q: np.ndarray) -> Correlations:
        """E[phi'(u) phi'(v)] and its means, for equal variances near all of `q`."""
        index = np.floor((np.log(np.clip(q, None, self.q_max)) - LOG_Q_MIN) / ROW).astype(int)
        wanted = np.unique(np.maximum(index, 0)).tolist()
        missing = [i for i in wanted if i not in self._rows]
        # Rows are independent, and most of their work is done without the GIL.
        with Threads() as pool:
            self._rows.update(zip(missing, pool.map(self._build_row, missing), strict=True))
        return correlation_table([row for i in wanted for row in self._rows[i]], self.act)

    def _build_row(self, i: int) -> list[Row]:
        left = LOG_Q_MIN + i * ROW
        return correlation_rows(self.act, left, min(left + ROW, np.log(self.q_max)))


# -- one-dimensional moments ---------------------------------------------------------------------------------


def _interpolate(
    columns: Callable[[float], np.ndarray], excess: Callable, left: float, right: float
) -> tuple[np.ndarray, np.ndarray]:
    """Panels in log q, halved until they are resolved.

    Edges (n + 1,) and coefficients (n, 16, m). `excess(values, fit)`: what is left out in units of what may be.
    Rounding of phi, as of textbook forms that cancel near zero, is more than that on panels of any width: two halvings
    that do not lower it are enough.
    """
    start = np.linspace(left, right, int(np.ceil((right - left) / 2.0)) + 1)
    pending = [(a, b, np.inf, np.inf) for a, b in pairwise(start)][::-1]
    edges, panels = [left], []
    while pending:
        a, b, before, long_before = pending.pop()
        at = np.array([columns(q) for q in np.exp((a + b) / 2 + (b - a) / 2 * NODES)])
        fit = chebyshev_fit(at.T).T
        now = excess(at, fit)
        rounding = long_before / HALVED < before < HALVED * now and now <= ROUNDED
        if b - a > NARROW and now > 1 and not rounding:
            pending += [((a + b) / 2, b, now, before), (a, (a + b) / 2, now, before)]
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
    least = np.maximum(VANISHED * np.abs(_moment_columns(act, min(1.0, q_max))), 1e-300)

    def excess(at: np.ndarray, fit: np.ndarray) -> float:
        # To relative accuracy over the panel; the slope and the mean relative to the size of phi.
        size = np.maximum(np.abs(at).min(axis=0), least)
        size[2], size[3] = size[0], np.sqrt(size[0])
        noise = act.pieces.slope_noise * np.array([0.0, np.sqrt(size[1]) + act.pieces.slope_noise, 0.0, 0.0])
        return float((np.abs(fit[-2:]).max(axis=0) / (2e-14 * size + noise)).max())

    edges, panels = _interpolate(lambda q: _moment_columns(act, q), excess, LOG_Q_MIN, np.log(q_max))
    table = Moments(
        edges=edges,
        values=panels,
        low=float(np.exp(edges[0])),
        high=float(np.exp(edges[-1])),
        origin=second_moment(act, 0.0, 0),
        grid_q=np.empty(0),
        grid_second=np.empty(0),
        grid_rate=np.empty(0),
        several=False,
    )
    q = np.geomspace(table.low, table.high, int(GRID * np.log10(table.high / table.low)) + 1)
    second, _, rate, _ = _compiled.table_moments(table, q)
    growth = np.diff(np.append(table.origin, second)) / np.diff(np.append(0.0, q))
    noise = 1e-9 * np.abs(growth[1:]) + 1e-11 * second[1:] / q[1:]
    several = bool(np.any(np.diff(growth) > noise))
    return table._replace(grid_q=q, grid_second=second, grid_rate=rate, several=several)


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
    """2-norms of what a series leaves out, and of the kink part: see `Hermite`."""
    kinks = kink_part(act)
    z, weight = nodes(breaks(act, q))
    x = np.sqrt(q) * z
    phi, slope = (values(act, x, i) for i in (0, 1))
    part, part_slope = kink_values(kinks, order, x)
    p = np.zeros_like(a)
    _compiled.kink_coefficients(kinks, order, q, np.empty_like(a), p)
    smooth, smooth_slope = _compiled.hermite_residual(
        z, weight, phi - part, np.sqrt(q) * (slope - part_slope), a - p
    )
    # What is left of a function that is its own kink part is rounding.
    noise = 1e-14 * np.sqrt(weight @ phi**2 + q * (weight @ slope**2))
    smooth, smooth_slope = (norm if norm > noise else 0.0 for norm in (smooth, smooth_slope))
    sizes = np.array([weight @ part**2, q * (weight @ part_slope**2)])
    series = np.array([p @ p, np.arange(a.size) @ p**2])
    rest = np.sqrt(np.maximum(sizes - series, 4e-16 * sizes))  # as far as the difference is known
    if np.any(kinks.jumps[:, 0]):
        # Cramer: density(y) |h_k(y)| < 0.44
        rest[1] = 0.44 * np.abs(kinks.jumps[:, 0]).sum()
    return np.array([smooth, rest[0], smooth_slope, rest[1]]), term_sizes(kinks, order, q)


def _choose_terms(act: Activation, q_max: float) -> int:
    """Fewest terms that resolve E[phi phi] up to c = 1 for q of 1; else the most."""
    for terms in TERMS:
        worst = 0.0
        for q in (0.3, 1.0, 2.0):
            if q <= q_max:
                second, *a = _hermite_columns(act, q, terms)
                smooth, kink = _left_out(act, q, kink_order(act, q), np.array(a))[0][:2]
                worst = max(worst, (smooth**2 + 2 * smooth * kink) / max(second, 1e-300))
        if worst <= 1e-13:
            return terms
    return TERMS[-1]


def _hermite(act: Activation, low: float, high: float, terms: int) -> Hermite:
    """Over log q from `low` to `high`."""

    def excess(at: np.ndarray, fit: np.ndarray) -> float:
        # Relative to phi - phi(0), as far as phi itself is not lost in rounding.
        size = np.sqrt(np.sum(at[:, 2:] ** 2, axis=1).min())
        noise = 2e-14 * size + 5e-15 * np.sqrt(at[:, 0].min())
        return float(np.abs(fit[-2:, 1:]).max() / max(noise, 1e-300))

    edges, panels = _interpolate(lambda q: _hermite_columns(act, q, terms), excess, low, high)
    panels = np.ascontiguousarray(panels[:, :, 1:])
    orders = np.array([kink_order(act, np.exp(right)) for right in edges[1:]])
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
    kinks = kink_part(act)
    masses = bool(np.any(kinks.jumps[:, 0]))
    return Hermite(edges, panels, np.array(tails), np.array(sizes), orders, kinks, masses)

"""E[phi(u) phi(v)] and its like for one pair after another, with error bounds.

The Hermite series where its own bound is small enough; else an integral over the plane.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np

from .. import _compiled
from ..activations import Activation
from ..activations.pieces import Pieces
from .quadrature import (
    REACH,
    at_zero,
    breaks,
    circle_coefficients,
    narrow_places,
    nodes,
    noise,
    radius_of_all,
    second_moment,
    unsettled,
    values,
)
from .sines import is_sine, sine_products
from .tables import LOG_Q_MIN, tables

__all__ = ["announce", "direct", "expectation", "expectation_and_error", "products", "rounding"]

ROUNDING = 2e-13  # relative error of sums over nodes, as measured in the tests
UNRESOLVED = 1e5  # how much larger it is where phi has singularities that are no jumps
TARGET = 1e-12  # relative error of the series above which a pair is integrated directly
LOCATED = 1e-10  # relative accuracy of a kink that was found and not named
CIRCLES = 9.0  # radius in the plane, in standard deviations, beyond which 3e-18 of the mass are left
BLOCK = 64  # outer panels between which an interrupt is heard: at most a second
PATIENCE, HOURS = 10.0, 3e4  # seconds of integration after which it is announced, and refused
EVALUATION = 6e-8  # seconds for the value of a piecewise polynomial
INNER = 10.0  # reach of the inner integral, in standard deviations of what is not shared
LAYER = np.array([0.5, 1, 1.75, 2.5, 3.5, 5, 7, 9])  # where what a Gaussian smooths bends, in its deviations

_GAUSS12, _GAUSS16 = (np.polynomial.legendre.leggauss(n) for n in (12, 16))


def expectation(act: Activation, q: float, order: int) -> float:
    """E[phi^(d)(u)], as `expectation_and_error` has it."""
    return expectation_and_error(act, q, order)[0]


def expectation_and_error(act: Activation, q: float, order: int) -> tuple[float, float]:
    """E[phi^(d)(u)] with point masses, and its error.

    For q = 0 it is the mean of the limits from both sides, or inf.
    """
    pieces = act.pieces
    if q == 0:
        if np.any(pieces.jumps[pieces.breaks == 0.0, :order] != 0):
            return np.inf, 0.0
        limits = at_zero(act, order)
        return float(np.mean(limits)), ROUNDING * np.abs(limits).max() + noise(act).at(q, order)[0]
    z, weight = nodes(breaks(act, q))
    root = np.sqrt(q)
    y = pieces.breaks / root
    density = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi * q)
    phi = values(act, root * z, order)
    met = _masses(pieces, order) * density
    if order == 2:  # a jump of phi is a dipole in phi''
        met = met + pieces.jumps[:, 0] * density * y / root
    at, masses = _mass_bounds(act, order)
    size = weight @ np.abs(phi) + (1 + y**2) @ np.abs(met)
    size += masses @ np.exp(-0.5 * at**2 / q) / np.sqrt(2 * np.pi * q)
    spread, doubtful, _ = noise(act).at(q, order)
    error = _relative(act) * size + spread + (doubtful if act.pieces.resolved else 3 * doubtful)
    return float(weight @ phi + met.sum()), float(error)


def products(
    act: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values and error bounds of E[phi^(d)(u) phi^(d)(v)] for flat arrays."""
    if is_sine(act):
        scale = np.sqrt(sine_products(act, q1, q1, 1.0, order) * sine_products(act, q2, q2, 1.0, order))
        # Exponents are as wrong as variances are rounded.
        return sine_products(act, q1, q2, c, order), ROUNDING * scale * (1 + 1e-2 * np.maximum(q1, q2))
    value, error = np.empty(q1.shape), np.empty(q1.shape)
    done = (c == 1) & (q1 == q2)
    masses = bool(np.any(act.pieces.jumps[:, :order] != 0))
    for q in np.unique(q1[done]):
        at = done & (q1 == q)
        value[at] = np.inf if masses else second_moment(act, q, order)
        error[at] = 0.0 if masses else rounding(act, order, q, q, value[at]) + unsettled(act, q, order)
    # Whether masses meet the series cannot tell.
    in_table = ~done & (np.minimum(q1, q2) >= np.exp(LOG_Q_MIN)) & ~(masses & (np.abs(c) == 1))
    series = np.flatnonzero(in_table) if order < 2 else np.empty(0, int)
    if series.size:
        value[series], error[series], done[series] = _by_series(act, q1[series], q2[series], c[series], order)
    rest = np.flatnonzero(~done)
    announce(act, q1[rest], q2[rest], c[rest])
    for i in rest:
        value[i], error[i] = direct(act, q1[i], q2[i], c[i], order)
    return value, error


def announce(act: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray) -> None:
    """Say how long `direct` takes for these pairs if long; refuse hours."""
    seconds = 0.0
    for pair in zip(q1, q2, c, strict=True):
        seconds += _seconds(act, *pair)
    if seconds > HOURS:
        raise ValueError(
            f"`q` up to {max(q1.max(), q2.max()):g}: integrating {c.size} pairs of {act.label!r} would take about "
            f"{seconds / 3600:.2g} hours; use smaller variances, or fewer pairs."
        )
    if seconds > PATIENCE:
        warnings.warn(
            f"{c.size} pairs of {act.label!r} are integrated one by one, which takes about {seconds:.2g} s.",
            RuntimeWarning,
            stacklevel=4,
        )


def _seconds(act: Activation, q1: float, q2: float, c: float) -> float:
    """About how long `direct` takes for one pair, on a core of 2020."""
    if min(q1, q2) == 0 or abs(c) == 1:
        return 1e-3
    if act.pieces.smooth and _round(act.pieces, max(q1, q2)):
        return 1e-6 * (40 + np.sum(np.abs(act.pieces.edges) <= CIRCLES * np.sqrt(max(q1, q2)))) * 1e3
    outer = _outer_edges(act, q1, q2, c).size
    inner = 18 + np.sum(np.abs(act.pieces.edges) <= REACH * np.sqrt(q2)) * np.sqrt((1 - c) * (1 + c))
    return 400 * outer * inner * EVALUATION


def rounding(act: Activation, order: int, q1: Any, q2: Any, scale: Any) -> Any:
    """Error beyond truncation of a product of size `scale`.

    Its rounding, and what is uncertain in phi^(d).
    """
    known = noise(act)
    (spread1, doubtful1, sup1), (spread2, doubtful2, sup2) = (known.at(q, order) for q in (q1, q2))
    size1, size2 = (np.sqrt(scale), np.sqrt(scale)) if q1 is q2 else (_size(act, q, order) for q in (q1, q2))
    spread = spread1 * size2 + size1 * spread2 + spread1 * spread2
    return _relative(act) * scale + spread + doubtful1 * sup2 + sup1 * doubtful2


def _relative(act: Activation) -> float:
    return ROUNDING * (1.0 if act.pieces.resolved else UNRESOLVED)


def _size(act: Activation, q: Any, order: int) -> Any:
    """The norm of phi^(d) at variances q, an array, or one number."""
    if np.ndim(q) == 0:
        return np.sqrt(second_moment(act, q, order))
    return np.sqrt(_compiled.table_moments(tables(act).moments, q)[order])


def _by_series(
    act: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, error bounds, and where these are small enough."""
    table = tables(act)
    out = _compiled.series_products(table.hermite, q1, q2, c)
    first, second = (_compiled.table_moments(table.moments, q) for q in (q1, q2))
    scale = np.sqrt(first[order] * second[order])
    error = out[2 + order]
    if order == 1:
        # The coefficients are as right as phi, which may be large against sqrt(q) phi'.
        error = error + 5e-16 * np.sqrt(first[0] * second[0] / (q1 * q2))
        scale = scale + _mass_size(act, q1, q2, c, order)
    return out[order], error + rounding(act, order, q1, q2, scale), error <= TARGET * scale


def direct(act: Activation, q1: float, q2: float, c: float, order: int) -> tuple[float, float]:
    """Value and error bound by integration over the plane.

    The bound compares 16 with 12 points a panel.
    """
    if q1 == 0 or q2 == 0:
        (first, error1), (second, error2) = (expectation_and_error(act, q, order) for q in (q1, q2))
        value = first * second if first and second else 0.0
        if not np.isfinite(value):
            return value, 0.0
        return value, abs(first) * error2 + abs(second) * error1 + error1 * error2
    if abs(c) == 1:
        return _aligned(act, q1, q2, c, order)
    scale = np.sqrt(second_moment(act, q1, order) * second_moment(act, q2, order))
    if scale == 0 and not np.any(_masses(act.pieces, order)):
        return 0.0, 0.0
    method = _circles if act.pieces.smooth and _round(act.pieces, max(q1, q2)) else _panels
    fine, coarse = (method(act, q1, q2, c, order, rule) for rule in (_GAUSS16, _GAUSS12))
    scale += _mass_size(act, np.array([q1]), np.array([q2]), np.array([c]), order)[0]
    return fine, abs(fine - coarse) + rounding(act, order, q1, q2, scale)


def _mass_size(act: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray, order: int) -> np.ndarray:
    """What the point masses of phi^(d) would add if nothing cancelled, (n,).

    Their rounding is relative to that. Two masses meet with a density whose exponent is known as well as
    their places, which matters where c is near 1. A mass meets phi^(d), of which nine places within four
    deviations are looked at.
    """
    total = np.zeros(c.shape)
    at, masses = _mass_bounds(act, order)
    if at.size == 0:
        return total
    r1, r2, s = np.sqrt(q1)[:, None], np.sqrt(q2)[:, None], np.sqrt((1 - c) * (1 + c))[:, None]
    c = c[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        for place, mass in zip(at, masses, strict=True):
            near, far = np.maximum(s, 1e-300), place / r1
            gap = (at / r2 - c * far) / near
            lost = 4e-3 * np.abs(gap) / near * (np.abs(at / r2) + np.abs(far))  # 8e-16 of the places
            meeting = np.exp(-0.5 * (gap**2 + far**2)) / (2 * np.pi * r1 * r2 * near)
            total += mass * np.sum(masses * meeting * (1 + lost), axis=1)
            for a, b in ((r1, r2), (r2, r1)):
                v = b * (c * place / a + s * np.arange(-4, 5))
                largest = np.abs(values(act, v, order)).max(axis=1)
                total += mass * np.exp(-0.5 * (place / a[:, 0]) ** 2) / (np.sqrt(2 * np.pi) * a[:, 0]) * largest
    return total


def _masses(pieces: Pieces, order: int) -> np.ndarray:
    """Point masses of phi^(d) at the breaks: jumps of phi^(d-1); phi has none."""
    return np.ascontiguousarray(pieces.jumps[:, order - 1]) if order else np.zeros_like(pieces.breaks)


def _mass_bounds(act: Activation, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the point masses of phi^(d); their sizes, with errors over `ROUNDING`."""
    pieces = act.pieces
    masses = np.abs(_masses(pieces, order))
    at, masses = pieces.breaks[masses > 0], masses[masses > 0]
    if at.size == 0:
        return at, masses
    error = noise(act).panels[order - 1]
    right = np.clip(np.searchsorted(pieces.edges, at, side="right") - 1, 1, error.size - 1)
    return at, masses + np.minimum(error[right - 1] + error[right], masses) / ROUNDING


def _round(pieces: Pieces, q: float) -> bool:
    """Whether circles are cheaper than panels, and see everything.

    All around they need samples as close as the narrowest panel.
    """
    near = np.abs(pieces.edges) <= CIRCLES * np.sqrt(q)
    narrowest = np.diff(pieces.edges)[near[:-1] | near[1:]].min()
    cheaper = CIRCLES * np.sqrt(q) / narrowest <= 30 * (near.sum() + 24)
    return bool(cheaper) and narrow_places(pieces, q).size == 0


def _panels(act: Activation, q1: float, q2: float, c: float, order: int, rule: tuple) -> float:
    """Product by panels in z and w, u = sqrt(q1) z, v = sqrt(q2) (c z + s w).

    They end where phi breaks in u or v.
    """
    pieces = act.pieces
    r1, r2 = np.sqrt(q1), np.sqrt(q2)
    s = np.sqrt((1 - c) * (1 + c))
    function = pieces.edges, pieces.coefficients[order], pieces.breaks, _masses(pieces, order)
    outer = _outer_edges(act, q1, q2, c)

    def integrate(edges: np.ndarray) -> float:
        return _compiled.pair_expectation(*function, edges, r1, r2, c, s, INNER, *rule)

    # A block at a time, so that an interrupt is heard; each adds the point masses.
    masses = integrate(outer[:1])
    blocks = [integrate(outer[i : i + BLOCK + 1]) - masses for i in range(0, outer.size - 1, BLOCK)]
    return sum(blocks) + masses


def _outer_edges(act: Activation, q1: float, q2: float, c: float) -> np.ndarray:
    """Edges of panels in z: where phi breaks in u, and bends, smoothed, in v."""
    edges = [breaks(act, q1)]
    if abs(c) > 1e-15:  # else v does not feel u
        edges.append(_smoothed_edges(act.pieces, c * np.sqrt(q2), np.sqrt((1 - c) * (1 + c)) / abs(c)))
    outer = np.unique(np.concatenate(edges))
    outer = outer[np.abs(outer) <= REACH]
    return outer[np.append(True, np.diff(outer) > 1e-15)]


def _smoothed_edges(pieces: Pieces, scale: float, width: float) -> np.ndarray:
    """Edges of panels in z for E[phi(scale (z + width w))].

    They are those of phi, and in layers beside them: what a Gaussian of that width smooths bends within a
    few widths of each break, and of each edge beside a panel that is narrower than it.
    """
    if width >= 1:  # as smooth as the weight
        return np.empty(0)
    edges = pieces.edges / scale
    gaps = np.abs(np.diff(edges))
    sharp = np.minimum(np.append(np.inf, gaps), np.append(gaps, np.inf)) < 3 * width
    sharp |= np.isin(pieces.edges, pieces.breaks)
    near = np.abs(edges) <= REACH + LAYER[-1] * width
    layers = edges[near & sharp, None] + width * np.concatenate([-LAYER, LAYER])
    every = np.sort(np.concatenate([edges[near], layers.ravel()]))
    # Closer than half a width nothing changes.
    apart = np.append(True, np.diff(np.floor(every / (0.5 * width))) > 0)
    return every[apart | np.isin(every, pieces.breaks / scale)]


def _circles(act: Activation, q1: float, q2: float, c: float, order: int, rule: tuple) -> float:
    """Product of smooth phi by circles of radius r in the plane.

    On them u = sqrt(q1) r cos(a), v = sqrt(q2) r cos(a + theta). With phi(sqrt(q) r cos a) = sum_m b_m(q)
    cos(m a) the mean over a circle is b_0(q1) b_0(q2) + sum_m b_m(q1) b_m(q2) cos(m theta)/2.
    """

    def function(x: np.ndarray) -> np.ndarray:
        return values(act, x, order)

    r1, r2 = np.sqrt(q1), np.sqrt(q2)
    edges = np.abs(act.pieces.edges)
    scale = np.sqrt(second_moment(act, q1, order) * second_moment(act, q2, order))
    # Further out where phi grows like an exponential, or is all but zero near zero.
    end = radius_of_all(act, q1, q2, order, least=CIRCLES, negligible=1e-16 * scale)
    edges = np.concatenate([np.arange(0.0, end, 1.5), edges / r1, edges / r2, [end]])
    theta = np.arctan2(np.sqrt((1 - c) * (1 + c)), c)
    # Of the sum of squares; no finer than phi^(d) is known.
    tolerance = min(
        max(1e-28 * second_moment(act, q, order), noise(act).at(q, order)[0] ** 2 / 4) for q in (q1, q2)
    )
    total = 0.0
    n1 = n2 = 16
    for low, high in pairwise(np.unique(edges[edges <= end])):
        r = (low + high) / 2 + (high - low) / 2 * rule[0]
        # What the Gaussian weight leaves of an error here.
        here = tolerance * np.exp(0.5 * low**2)
        first = circle_coefficients(function, r1 * r, here, n1)
        second = first if q1 == q2 else circle_coefficients(function, r2 * r, here, n2)
        n1, n2 = first.shape[1], second.shape[1]
        m = np.arange(min(n1, n2))
        circle = (first[:, m] * second[:, m]) @ np.where(m == 0, 1.0, 0.5 * np.cos(m * theta))
        total += float((high - low) / 2 * rule[1] @ (r * np.exp(-0.5 * r**2) * circle))
    return total


def _aligned(act: Activation, q1: float, q2: float, sign: float, order: int) -> tuple[float, float]:
    """Product for v = sign sqrt(q2/q1) u, an integral in one dimension.

    It is inf or -inf where point masses of both factors meet.
    """
    r1, r2 = np.sqrt(q1), sign * np.sqrt(q2)
    z, weight = nodes(np.union1d(breaks(act, q1), sign * breaks(act, q2)))
    value = float(weight @ (values(act, r1 * z, order) * values(act, r2 * z, order)))
    scale = np.sqrt(second_moment(act, q1, order) * second_moment(act, q2, order))
    masses = _masses(act.pieces, order)
    at, masses = act.pieces.breaks[masses != 0], masses[masses != 0]
    apart = np.abs(r2 / r1 * at[:, None] - at)
    meet = apart <= np.where(np.eye(at.size, dtype=bool), 1e-15, LOCATED) * np.abs(at)
    if np.any(meet):
        exponent = np.where(meet.any(axis=1), -0.5 * (at / r1) ** 2, -np.inf)
        weighted = np.exp(exponent - exponent.max()) * masses  # infinite even where the density underflows
        certain = np.all(apart[meet] <= 1e-15 * np.abs(at).max())
        return np.copysign(np.inf, weighted @ meet @ masses), 0.0 if certain else np.inf
    for root, other in ((r1, r2), (r2, r1)):
        for x, mass in zip(at, masses, strict=True):
            y = other / root * x
            density = np.exp(-0.5 * (x / root) ** 2) / np.sqrt(2 * np.pi) / abs(root)
            met = mass * density * float(values(act, np.array([y]), order)[0])
            value, scale = value + met, scale + abs(met)
    return value, rounding(act, order, q1, q2, scale) + max(unsettled(act, q, order) for q in (q1, q2))

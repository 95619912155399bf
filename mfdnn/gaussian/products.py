"""E[phi(u) phi(v)] and its like for one pair after another, with error bounds.

The Hermite series where its own bound is small enough; else an integral over the plane.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .. import _compiled
from ..activations import Activation
from ..activations.pieces import Pieces
from .kinks import kink_part
from .quadrature import (
    REACH,
    UNIT_PANELS,
    breaks,
    circle_coefficients,
    nodes,
    second_moment,
    unsettled,
    values,
    zero_sides,
)
from .tables import LOG_Q_MIN, tables

__all__ = ["direct", "expectation", "products", "rounding"]

TARGET = 1e-12  # relative error of the series above which a pair is integrated directly
LOCATED = 1e-10  # relative accuracy of a kink that was found and not named
CIRCLES = 9.0  # radius in the plane, in standard deviations, beyond which nothing is left (3e-18 of the mass)

_GAUSS12, _GAUSS16 = (np.polynomial.legendre.leggauss(n) for n in (12, 16))


def expectation(act: Activation, q: float, order: int) -> float:
    """E[phi^(d)(u)] with point masses; for q = 0 the mean of the limits from both sides, or inf."""
    pieces = act.pieces
    if q == 0:
        if np.any(pieces.jumps[pieces.breaks == 0.0, :order] != 0):
            return np.inf
        return float(np.mean(values(act, zero_sides(act, order), order)))
    z, weight = nodes(breaks(act, q))
    root = np.sqrt(q)
    y = pieces.breaks / root
    density = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi * q)
    total = weight @ values(act, root * z, order) + _masses(pieces, order) @ density
    if order == 2:  # a jump of phi is a dipole in phi''
        total += pieces.jumps[:, 0] @ (density * y / root)
    return float(total)


def products(
    act: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values and error bounds of E[phi^(d)(u) phi^(d)(v)] for flat arrays of equal length."""
    value, error = np.empty(q1.shape), np.empty(q1.shape)
    done = (c == 1) & (q1 == q2)
    masses = bool(np.any(act.pieces.jumps[:, :order] != 0))
    for q in np.unique(q1[done]):
        at = done & (q1 == q)
        value[at] = np.inf if masses else second_moment(act, q, order)
        error[at] = 0.0 if masses else rounding(act, order, value[at]) + unsettled(act, q, order)
    # Whether masses meet the series cannot tell.
    in_table = ~done & (np.minimum(q1, q2) >= np.exp(LOG_Q_MIN)) & ~(masses & (np.abs(c) == 1))
    series = np.flatnonzero(in_table) if order < 2 else np.empty(0, int)
    if series.size:
        value[series], error[series], done[series] = _by_series(act, q1[series], q2[series], c[series], order)
    for i in np.flatnonzero(~done):
        value[i], error[i] = direct(act, q1[i], q2[i], c[i], order)
    return value, error


def rounding(act: Activation, order: int, scale: Any) -> Any:
    """Error beyond truncation of a product of size `scale`, as measured in the tests."""
    relative, noise = 2e-13, 0.0
    if order == 1:  # both factors are uncertain if phi' is read off piecewise polynomials,
        noise = act.pieces.slope_noise
    elif order == 2 and act.pieces.curvature_noise > 0:
        relative, noise = 2e-10, act.pieces.curvature_noise
    unresolved = 1.0 if act.pieces.resolved else 1e5
    return unresolved * (relative * scale + 2 * noise * np.sqrt(scale) + noise**2)


def _by_series(
    act: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, error bounds, and where these are small enough."""
    table = tables(act)
    out = _compiled.series_products(table.hermite, q1, q2, c)
    first, second = (_compiled.table_moments(table.moments, q) for q in (q1, q2))
    scale = np.sqrt(first[order] * second[order])
    error = out[2 + order]
    if order == 0:
        error = error + np.sqrt(_cancelled(act, q1) * _cancelled(act, q2))
    if order == 1:  # the coefficients are as right as phi, which may be large against sqrt(q) phi'
        error = error + 5e-16 * np.sqrt(first[0] * second[0] / (q1 * q2))
    return out[order], error + rounding(act, order, scale), error <= TARGET * scale


def _cancelled(act: Activation, q: np.ndarray) -> np.ndarray:
    """Rounding of E[(x - t)_+^2] in closed form, whose terms are as large as t^2 P(x > t), for each q."""
    from scipy.special import ndtr

    kinks = kink_part(act)
    return 2e-14 * ndtr(-kinks.at / np.sqrt(q)[:, None]) @ (kinks.jumps[:, 1] * kinks.at) ** 2


def direct(act: Activation, q1: float, q2: float, c: float, order: int) -> tuple[float, float]:
    """Value and error bound by integration over the plane; the bound compares 16 with 12 points a panel."""
    if q1 == 0 or q2 == 0:
        first, second = expectation(act, q1, order), expectation(act, q2, order)
        value = first * second if first and second else 0.0
        return value, 2 * rounding(act, order, abs(value)) if np.isfinite(value) else 0.0
    if abs(c) == 1:
        return _aligned(act, q1, q2, c, order)
    scale = np.sqrt(second_moment(act, q1, order) * second_moment(act, q2, order))
    if scale == 0 and not np.any(_masses(act.pieces, order)):
        return 0.0, 0.0
    method = _circles if act.pieces.smooth else _panels
    fine, coarse = (method(act, q1, q2, c, order, rule) for rule in (_GAUSS16, _GAUSS12))
    scale += _mass_size(act, q1, q2, c, order)
    return fine, abs(fine - coarse) + 5 * rounding(act, order, scale)


def _mass_size(act: Activation, q1: float, q2: float, c: float, order: int) -> float:
    """What the point masses of phi^(d) would add if nothing cancelled: their rounding is relative to that."""
    masses = np.abs(_masses(act.pieces, order))
    at, masses = act.pieces.breaks[masses > 0], masses[masses > 0]
    if at.size == 0:
        return 0.0
    r1, r2, s = np.sqrt(q1), np.sqrt(q2), np.sqrt((1 - c) * (1 + c))
    gap = at / r2 - c * (at / r1)[:, None]
    exponent = gap**2 / s**2 + (at / r1)[:, None] ** 2
    size = masses @ np.exp(-0.5 * exponent) @ masses / (2 * np.pi * r1 * r2 * s)
    z, weight = nodes(UNIT_PANELS)
    for a, b in ((r1, r2), (r2, r1)):
        given = (
            np.abs(values(act, b * (c * (at / a)[:, None] + s * z), order)) @ weight
        )  # E[|phi^(d)(v)| | u]
        size += masses * np.exp(-0.5 * (at / a) ** 2) @ given / (np.sqrt(2 * np.pi) * a)
    return float(size)


def _masses(pieces: Pieces, order: int) -> np.ndarray:
    """Point masses of phi' (jumps of phi) or phi'' (jumps of phi') at the breaks; phi has none."""
    return np.ascontiguousarray(pieces.jumps[:, order - 1]) if order else np.zeros_like(pieces.breaks)


def _panels(act: Activation, q1: float, q2: float, c: float, order: int, rule: tuple) -> float:
    """By panels in z and w, u = sqrt(q1) z, v = sqrt(q2) (c z + s w), that end where phi breaks in u or v."""
    pieces = act.pieces
    r1, r2 = np.sqrt(q1), np.sqrt(q2)
    s = np.sqrt((1 - c) * (1 + c))
    edges = [breaks(act, q1)]
    if abs(c) > 1e-15:  # else v does not feel u
        edges.append(pieces.edges / (c * r2))
        # phi smoothed by s bends within a few s/|c| of each break.
        layer = np.array([0.5, 1, 1.75, 2.5, 3.5, 5, 7, 9]) * s / abs(c)
        edges.append(((pieces.breaks / (c * r2))[:, None] + np.concatenate([-layer, layer])).ravel())
    outer = np.unique(np.concatenate(edges))
    outer = outer[np.abs(outer) <= REACH]
    outer = outer[np.append(True, np.diff(outer) > 1e-15)]
    function = pieces.edges, pieces.coefficients[order], pieces.breaks, _masses(pieces, order)
    return _compiled.pair_expectation(*function, outer, r1, r2, c, s, 9.0, *rule)


def _circles(act: Activation, q1: float, q2: float, c: float, order: int, rule: tuple) -> float:
    """For smooth phi: circles of radius r in the plane, u = sqrt(q1) r cos(a), v = sqrt(q2) r cos(a + theta).

    With phi(sqrt(q) r cos a) = sum_m b_m(q) cos(m a) the mean over a circle is
    b_0(q1) b_0(q2) + sum_m b_m(q1) b_m(q2) cos(m theta)/2.
    """

    def function(x: np.ndarray) -> np.ndarray:
        return values(act, x, order)

    r1, r2 = np.sqrt(q1), np.sqrt(q2)
    edges = np.abs(act.pieces.edges)
    scale = np.sqrt(second_moment(act, q1, order) * second_moment(act, q2, order))
    end = CIRCLES
    # Further out where phi grows like an exponential.
    while end < REACH and _outermost(function, r1, r2, end) > 1e-16 * scale:
        end += 1.5
    edges = np.concatenate([np.arange(0.0, end, 1.5), edges / r1, edges / r2, [end]])
    theta = np.arctan2(np.sqrt((1 - c) * (1 + c)), c)
    tolerance = 1e-15 * min(second_moment(act, q, order) for q in (q1, q2))
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


def _outermost(function: Callable, r1: float, r2: float, radius: float) -> float:
    """Size of the integrand at that radius of the plane, in standard deviations."""
    first, second = (np.abs(function(np.array([-radius, radius]) * r)).max() for r in (r1, r2))
    return float(first * second * radius * np.exp(-0.5 * radius**2))


def _aligned(act: Activation, q1: float, q2: float, sign: float, order: int) -> tuple[float, float]:
    """For v = sign sqrt(q2/q1) u: one-dimensional; +-inf where point masses of both factors meet."""
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
    return value, 5 * rounding(act, order, scale) + max(unsettled(act, q, order) for q in (q1, q2))

"""E[phi'(u) phi'(v)] of equal variances: a table over log q and theta = arccos c.

In polar coordinates of the plane u = r cos(a), v = r cos(a + theta), where r^2/q is chi-squared with two
degrees of freedom, so that

    E[phi'(u) phi'(v)] = int (r/q) exp(-r^2/2q) C(r, theta) dr,   C = mean over a of phi'(u) phi'(v).

C does not depend on q. If phi'(r cos a) = sum_m b_m(r) cos(m a), it is b_0^2 + sum_m b_m^2 cos(m
theta)/2: for a smooth function one cosine transform a circle serves every theta and every q. With breaks
the circle is cut where u or v meets one, and piecewise-linear functions are closed forms. In theta
everything is smooth down to theta = 0, even where it is not in c.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .. import _compiled
from .._compiled import Correlations
from ..activations import Activation
from ..activations.pieces import DEGREE, NODES, Pieces, chebyshev_fit
from .kinks import kink_part
from .quadrature import (
    GAUSS_W,
    GAUSS_X,
    circle_coefficients,
    narrow_places,
    radius_of_all,
    second_moment,
    unsettled,
)

__all__ = ["Row", "correlation_rows", "correlation_table"]

RADIUS = 8.2  # standard deviations of the radius that are kept: 3e-15 of the mass is beyond
SERIES = 1e-28  # relative size of the squares of the last quarter of a resolved Fourier series
RADIAL = 1e-9  # relative size of the last Legendre coefficients of a resolved panel in r
FLAT = 1e-12  # relative size of the last Chebyshev coefficients of a resolved panel
ROUGH = 1e-7  # the same for phi with singularities that are no breaks
NARROW = 0.05  # smallest row in log q
FIRST = np.pi / 2 * 4.0**-8  # smallest first panel in theta

Products = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Panel(NamedTuple):
    """Angles from `left` to `right`, and values at 16 x 16 nodes, or coefficients.

    In log q and theta.
    """

    left: float
    right: float
    values: np.ndarray


class Row(NamedTuple):
    """Panels in theta that cover [0, pi/2], for log q from `left` to `right`."""

    left: float
    right: float
    panels: list[Panel]


def correlation_table(rows: list[Row], act: Activation) -> Correlations:
    """The rows as a table for kernels."""
    panels = [panel for row in rows for panel in row.panels]
    return Correlations(
        rows=np.array([(row.left, row.right) for row in rows]),
        first=np.cumsum([0, *(len(row.panels) for row in rows)]),
        angles=np.array([(panel.left, panel.right) for panel in panels]),
        values=np.array([panel.values for panel in panels]),
        power=_power(act),
    )


def correlation_rows(act: Activation, left: float, right: float) -> list[Row]:
    """Rows that cover [left, right] in log q: one, or several where it takes more."""
    if unsettled(act, np.exp((left + right) / 2), 1):
        raise ValueError(
            f"activation {act.label!r} has a slope whose square is not integrable; smooth it where it is steepest, or "
            "name its kinks."
        )
    products = _slope_products(act, np.exp(left), np.exp(right))
    flat = FLAT if act.pieces.resolved else ROUGH
    rows: list[Row] = []
    pending = [(left, right)]
    while pending:
        a, b = pending.pop()
        panels = _angle_panels(products, a, b, flat)
        if panels is None:
            pending += [((a + b) / 2, b), (a, (a + b) / 2)]
        else:
            rows.append(Row(a, b, _with_means(panels, _power(act))))
    return rows


def _power(act: Activation) -> int:
    """The power of theta that makes theta^power E[phi'(u) phi'(v)] finite at 0."""
    return int(np.any(act.pieces.jumps[:, 0] != 0))


def _angle_panels(products: Products, left: float, right: float, flat: float) -> list[Panel] | None:
    """Panels in theta with nodal values; None if the row must be split."""
    q = np.exp((left + right) / 2 + (right - left) / 2 * NODES)
    # Against a large variance phi is steep, and a single panel hardly ever does.
    inner = [0.0625, 0.25, 0.625] if right > 4 else [0.25, 0.625] if right > 2 else []
    start = np.pi / 2 * np.array([0.0, *inner, 1.0])
    pending = list(pairwise(start))[::-1]
    panels: list[Panel] = []
    scale = 0.0
    while pending:
        a, b = pending.pop()
        nodal = products(q, (a + b) / 2 + (b - a) / 2 * NODES)
        fit = np.abs(chebyshev_fit(chebyshev_fit(nodal).T))  # (theta, q)
        scale = max(scale, fit.max())
        if right - left > NARROW and fit[:, -2:].max() > flat * scale:
            return None
        if b > FIRST and fit[-2:].max() > flat * scale:
            # What is steep is steepest near theta = 0.
            middle = b / 4 if a == 0 else (a + b) / 2
            pending += [(middle, b), (a, middle)]
        else:
            panels.append(Panel(a, b, nodal))
    return panels


def _with_means(panels: list[Panel], power: int) -> list[Panel]:
    """Coefficients (3, log q, theta) of values and of means over [c, 1] and [0, c]."""
    rules = [_integrals(panel.left, panel.right, power) for panel in panels]
    fits = [chebyshev_fit(panel.values) for panel in panels]
    # Integrals over the panels before each one, and after it: (n + 1, log q).
    whole = [fit @ full for fit, (_, _, full) in zip(fits, rules, strict=True)]
    before = np.vstack([np.zeros(NODES.size), np.cumsum(whole, axis=0)])
    after = before[-1] - before
    out = []
    for i, (panel, fit, (from_left, to_right, _)) in enumerate(zip(panels, fits, rules, strict=True)):
        theta = (panel.left + panel.right) / 2 + (panel.right - panel.left) / 2 * NODES
        upper = (before[i][:, None] + fit @ from_left.T) / (2 * np.sin(theta / 2) ** 2)
        lower = (after[i + 1][:, None] + fit @ to_right.T) / np.cos(theta)
        nodal = np.stack([panel.values, theta**power * upper, lower])
        out.append(panel._replace(values=chebyshev_fit(chebyshev_fit(nodal).swapaxes(1, 2)).swapaxes(1, 2)))
    return out


def _integrals(a: float, b: float, power: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integrals of T_k(t) theta^-power d(-cos theta).

    From a to each node, from there to b, from a to b.
    """

    def integrate(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        half = (high - low)[:, None] / 2
        theta = (high + low)[:, None] / 2 + half * GAUSS_X
        weight = half * GAUSS_W * np.sin(theta) / theta**power
        t = (2 * theta - a - b) / (b - a)
        return np.einsum("ij,ijk->ik", weight, np.polynomial.chebyshev.chebvander(t, DEGREE))

    at = (a + b) / 2 + (b - a) / 2 * NODES
    left, right = np.full_like(at, a), np.full_like(at, b)
    return integrate(left, at), integrate(at, right), integrate(left[:1], right[:1])[0]


# -- three ways to integrate; each returns theta^power E[phi'(u) phi'(v)] as a function of (q, theta) --------


def _slope_products(act: Activation, low: float, high: float) -> Products:
    """For variances from `low` to `high`, by the cheapest rule that is right."""
    if act.pieces.piecewise_linear:
        return _closed_form(act, high)
    if act.pieces.smooth and narrow_places(act.pieces, high).size == 0:
        return _by_series(act, low, high)
    return _by_arcs(act, low, high)


def _closed_form(act: Activation, high: float) -> Products:
    from scipy.special import ndtr

    pieces = act.pieces
    kinks = kink_part(act, _end(act, high))
    slope = float(pieces.evaluate(np.array([-1e-300]), 1)[0])  # phi' = p' + slope
    power = _power(act)

    def products(q: np.ndarray, theta: np.ndarray) -> np.ndarray:
        y = kinks.at / np.sqrt(q)[:, None]
        density = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi * q)[:, None]
        mean = ndtr(-y) @ (kinks.sides * kinks.jumps[:, 1]) + density @ (kinks.sides * kinks.jumps[:, 0])
        total = _compiled.kink_slope_products(kinks, 1, q, theta)
        return (total + (slope**2 + 2 * slope * mean)[:, None]) * theta**power

    return products


def _by_series(act: Activation, low: float, high: float) -> Products:
    """The mean over a circle is sum_m C_m(r) cos(m theta), C_0 = b_0^2, C_m = b_m^2/2."""
    scale = min(second_moment(act, q, 1) for q in (low, high))
    circles = []
    n = 16
    for a, b in pairwise(_radii(act.pieces.edges, low, _end(act, high))):
        r = (a + b) / 2 + (b - a) / 2 * GAUSS_X
        # What the Gaussian weight leaves of an error here; no finer than phi' is known.
        tolerance = max(SERIES * scale, act.pieces.slope_noise**2) / np.exp(-0.5 * a**2 / high)
        coefficients = circle_coefficients(act.slope, r, tolerance, n)
        n = coefficients.shape[1]
        squares = coefficients**2 / 2
        squares[:, 0] *= 2
        circles.append((r, (b - a) / 2 * GAUSS_W, squares))

    def products(q: np.ndarray, theta: np.ndarray) -> np.ndarray:
        total = np.zeros((q.size, theta.size))
        cosines = np.cos(np.arange(n)[:, None] * theta)
        for r, weight, squares in circles:
            means = squares @ cosines[: squares.shape[1]]
            total += r * weight * np.exp(-0.5 * r**2 / q[:, None]) / q[:, None] @ means
        return total

    return products


def _by_arcs(act: Activation, low: float, high: float) -> Products:
    pieces = act.pieces
    edges, slopes = _coarse_slope(pieces, _end(act, high))
    radii = _radii(np.append(edges[::2], pieces.breaks), low, edges[-1])  # refined where that is too coarse
    near = np.abs(pieces.breaks) < radii[-1]
    at, masses = pieces.breaks[near], np.ascontiguousarray(pieces.jumps[near, 0])
    meeting = np.union1d(at, narrow_places(pieces, high))
    power = _power(act)
    tolerance = RADIAL * min(second_moment(act, q, 1) for q in (low, high))

    def products(q: np.ndarray, theta: np.ndarray) -> np.ndarray:
        total = _compiled.circle_products(edges, slopes, meeting, radii, q, theta, tolerance, GAUSS_X, GAUSS_W)
        if power:
            total += _compiled.mass_products(edges, slopes, at, masses, q, theta, GAUSS_X, GAUSS_W)
        return total * theta**power

    return products


def _end(act: Activation, q: float) -> float:
    """Radius at variance q beyond which nothing is left of E[phi'^2]."""
    radius = radius_of_all(act, q, q, 1, least=RADIUS, negligible=4e-15 * second_moment(act, q, 1))
    return float(radius * np.sqrt(q))


def _radii(edges: np.ndarray, low: float, end: float) -> np.ndarray:
    """Edges of panels in r up to `end`, for variances from `low` on.

    As fine as phi's own and the Gaussian.
    """
    pieces = np.unique(np.abs(np.append(edges, [0.0, end])))
    pieces = pieces[pieces <= end]
    step = 1.5 * np.sqrt(low)
    gaussian = np.minimum(step * np.arange(RADIUS / 1.5 + 1), end)
    wider = np.geomspace(gaussian[-1], end, int(np.ceil(4 * np.log(end / (RADIUS * np.sqrt(low))))) + 1)
    gaussian = np.append(gaussian, wider)
    # A sliver next to an edge of phi resolves nothing.
    after = np.searchsorted(pieces, gaussian).clip(1, pieces.size - 1)
    distance = np.minimum(np.abs(gaussian - pieces[after - 1]), np.abs(gaussian - pieces[after]))
    return np.union1d(pieces, gaussian[distance > 0.2 * step])


def _coarse_slope(pieces: Pieces, end: float) -> tuple[np.ndarray, np.ndarray]:
    """The derivative on [-end, end] in few polynomials: edges and coefficients."""
    old = np.concatenate([[-end], pieces.edges[np.abs(pieces.edges) < end], [end]])
    # What is narrow on a long panel hides between a few points of it, but not between those of its own panels.
    probe = (old[:-1] + np.diff(old) / 2 * (1 + np.linspace(-1, 1, DEGREE)[:, None])).T
    known = pieces.evaluate(probe, 1)
    tolerance = (1e-14 if pieces.resolved else ROUGH) * np.abs(pieces.evaluate(old, 1)).max()
    tolerance = max(tolerance, pieces.slope_noise / 2)  # no finer than phi' is known
    edges, coefficients = [-end], []
    start = 0
    while start < old.size - 1:
        # The longest panel from here that one polynomial fits; a panel of phi itself always does.
        for stop in range(old.size - 1, start, -1):
            a, b = old[start], old[stop]
            if np.any((pieces.breaks > a) & (pieces.breaks < b)):
                continue
            fit = chebyshev_fit(pieces.evaluate((a + b) / 2 + (b - a) / 2 * NODES, 1))
            at = (2 * probe[start:stop] - a - b) / (b - a)
            deviation = np.polynomial.chebyshev.chebval(at, fit) - known[start:stop]
            if stop == start + 1 or np.abs(deviation).max() <= tolerance:
                break
        fit[np.abs(fit) <= tolerance / 4] = 0.0
        edges.append(b)
        coefficients.append(fit)
        start = stop
    return np.array(edges), np.array(coefficients)

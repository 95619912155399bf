"""The variance map: where it goes from q0, and all its fixed points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .. import _compiled
from .._compiled import Moments
from .._support.results import Result, unwrap
from .._support.validation import finite_array, finite_number, nonnegative_array, positive_integer, variance
from ..activations import Activation, activation
from ..gaussian.tables import tables

__all__ = [
    "LINEAR",
    "ROUNDING",
    "VarianceFixedPoints",
    "bisect",
    "check_start",
    "growth_at_the_end",
    "has_jumps",
    "keep_probability",
    "outgrows_lines",
    "reached",
    "slopes_at_zero",
    "starting_variances",
    "variance_fixed_points",
    "without_rounding",
]

PER_DECADE = 40  # points of the grids on which roots are bracketed
LINEAR = 0.01  # distance from 1 of the power with which E[phi^2] of a linear phi grows
ROUNDING = 1e-14  # of a table's moments, relative to the size of phi


@dataclass(frozen=True, repr=False, eq=False)
class VarianceFixedPoints(Result):
    """All fixed points of the variance map, in increasing order: arrays of shape (n,).

    Attributes
    ----------
    q : ndarray
        Where :math:`f(q) = q`.
    slope : ndarray
        :math:`f'(q)`, never below -1/2.
    stable : ndarray of bool
        Whether the fixed point attracts from both sides (from above, for q = 0).
    stability : ndarray of str
        "stable", "unstable", "half-stable" (the map touches the identity: it attracts from one side, with slope 1) or
        "neutral" (every q is fixed).
    """

    q: np.ndarray
    slope: np.ndarray
    stable: np.ndarray
    stability: np.ndarray
    _moments: Moments
    _gain: float
    _sigma_b2: float

    def reached_from(self, q0: Any) -> Any:
        """The fixed point that deep layers approach from `q0`; inf if there is none.

        Elementwise in `q0` > 0: a float, or an array of its shape. What `mfdnn.fixed_point` with this `q0` returns as
        ``q``.

        Raises
        ------
        ValueError
            ``q0 <= 0``, or one beyond the variances at which an activation that grows faster than linearly is resolved.

        Examples
        --------
        >>> import mfdnn
        >>> mfdnn.variance_fixed_points("gelu", 2.0, 0.12).reached_from([1.0, 6.8, 6.9]).round(6)
        array([0.491588, 0.491588,      inf])
        """
        _, _, start = starting_variances(0.0, 0.0, q0)
        flat = start.ravel()
        check_start(self._moments, flat)
        ones = np.ones_like(flat)
        rows, _ = reached(self._moments, self._gain * ones, self._sigma_b2 * ones, flat)
        return unwrap(rows[0].reshape(start.shape))

    def basin(self, index: int) -> np.ndarray:
        """The ends (k, 2) of the intervals of q0 from which one fixed point is reached.

        It is the fixed point number `index`, from 0 on. One interval if the map increases; a map that decreases
        somewhere can leap into a basin from afar. Empty for an unstable fixed point; up to inf, or down to 0, if
        nothing limits it.

        Raises
        ------
        IndexError
            There are fewer fixed points.

        Examples
        --------
        >>> import mfdnn
        >>> mfdnn.variance_fixed_points("gelu", 2.0, 0.12).basin(0).round(6)
        array([[0.      , 6.867813]])
        """
        index = positive_integer("index", index, minimum=-self.q.size, maximum=self.q.size - 1)
        where = range(self.q.size)[index]
        if self.stability[where] in ("unstable", "neutral"):
            return np.empty((0, 2))
        finite = self.q[self.q > 0]
        low, high = self._moments.low, self._moments.high
        grid = np.geomspace(low, high, int(PER_DECADE * np.log10(high / low)))
        # Next to a double root the map is the identity to rounding, and every q0 seems to be fixed.
        far = np.all(np.abs(grid[:, None] - finite) > 1e-3 * finite, axis=1)
        grid = np.union1d(grid[far], np.sqrt(finite[:-1] * finite[1:]))
        inside = self._lands(grid, where)
        cuts = [0.0] if inside[0] else []
        for i in np.flatnonzero(inside[:-1] != inside[1:]):
            between = finite[(finite > grid[i]) & (finite < grid[i + 1])]
            cuts.append(float(between[0]) if between.size else self._boundary(grid[i], grid[i + 1], where))
        cuts += [np.inf] if inside[-1] else []
        return np.array(cuts).reshape(-1, 2)

    def _lands(self, q0: np.ndarray, index: int) -> np.ndarray:
        """Whether that fixed point is the nearest to what is reached."""
        goal = self.reached_from(q0)
        nearest = np.argmin(np.abs(np.where(np.isinf(goal), -1.0, goal)[:, None] - self.q), axis=1)
        return (nearest == index) & np.isfinite(goal)

    def _boundary(self, low: float, high: float, index: int) -> float:
        left = self._lands(np.array([low]), index)[0]
        while high - low > 1e-14 * high:
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            if self._lands(np.array([middle]), index)[0] == left:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)


def variance_fixed_points(
    phi: str | Callable | Activation, sigma_w2: float, sigma_b2: float, keep_rate: float = 1.0
) -> VarianceFixedPoints:
    r"""All fixed points of the variance map, stable or not, with their basins.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    keep_rate : float
        Probability with which dropout keeps a unit: see `mfdnn.fixed_point`.

    Returns
    -------
    VarianceFixedPoints
        Empty arrays if there is none. Where every q is fixed (a scale-invariant activation at its critical point),
        q = 0 alone, "neutral".

    Raises
    ------
    ValueError
        Negative or non-finite variances, `keep_rate` outside (0, 1].

    Notes
    -----
    Roots are bracketed between the extrema of the map minus the identity on a logarithmic grid of 40 points per
    decade; an extremum within 1e-13 q of the identity is a double root. Three roots or more between two neighbours of
    the grid can be missed, and those beyond the variances at which the activation is resolved are.

    The map cannot oscillate: :math:`E[\phi^2 (z^2 - 1)] \ge -E[\phi^2]` makes its slope between logarithms of variances
    at least -1/2, so there are no cycles of length two, and a continuous map of an interval without them converges
    from everywhere.

    Examples
    --------
    >>> import mfdnn
    >>> fps = mfdnn.variance_fixed_points("gelu", 2.0, 0.12)
    >>> fps.q.round(6), fps.stability.tolist()
    (array([0.491588, 6.867813]), ['stable', 'unstable'])
    """
    act = activation(phi)
    gain = np.divide(variance("sigma_w2", sigma_w2), keep_probability(keep_rate))
    if not np.isfinite(gain):
        raise ValueError(f"`keep_rate` = {keep_rate:g} leaves nothing of a signal; pass a larger one.")
    b2 = variance("sigma_b2", sigma_b2)
    table = tables(act).moments
    q, signs = _roots(table, gain, b2)
    names = {(1, -1): "stable", (-1, 1): "unstable", (0, 0): "neutral", (0, -1): "stable", (0, 1): "unstable"}
    stability = np.array([names.get(pair, "half-stable") for pair in signs], dtype="<U11")
    second, _, slope, _ = _compiled.table_moments(table, np.maximum(q, table.low))
    slope = gain * without_rounding(slope, second / np.maximum(q, table.low))
    slope[q == 0] = gain * np.mean(slopes_at_zero(act) ** 2)
    return VarianceFixedPoints(q, slope, stability == "stable", stability, table, gain, b2)


# -- implementation, shared with the other modules of this folder -----------------------------------------


def _roots(table: Moments, gain: float, b2: float) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Fixed points ascending; signs of the map minus the identity around each."""

    def excess(q: float) -> float:
        return float(gain * _compiled.table_moments(table, np.array([q]))[0, 0] + b2 - q)

    def growth(q: float) -> float:
        return float(gain * _compiled.table_moments(table, np.array([q]))[2, 0] - 1)

    grid = np.geomspace(table.low, table.high, int(PER_DECADE * np.log10(table.high / table.low)))
    rate = gain * _compiled.table_moments(table, grid)[2] - 1
    turns = np.array([bisect(growth, grid[i], grid[i + 1]) for i in np.flatnonzero(rate[:-1] * rate[1:] < 0)])
    grid = np.union1d(np.append(0.0, grid), turns)
    step = gain * _compiled.table_moments(table, grid)[0] + b2 - grid
    step[0] = at_zero = b2 + gain * table.origin
    sign = np.where(np.abs(step) <= _compiled.TOUCH * grid, 0, np.sign(step)).astype(int)
    moving = np.flatnonzero(sign)
    roots: list[float] = []
    signs: list[tuple[int, int]] = []
    if at_zero == 0:
        roots.append(0.0)
        signs.append((0, int(sign[moving[0]]) if moving.size else 0))
    for i, j in pairwise(moving):
        if sign[i] != sign[j]:
            roots.append(bisect(excess, grid[i], grid[j]))
        elif j > i + 1:
            inner = turns[(turns > grid[i]) & (turns < grid[j])]
            roots.append(float(inner[0]) if inner.size else float(grid[(i + j) // 2]))
        else:
            continue
        signs.append((int(sign[i]), int(sign[j])))
    last = gain * float(_compiled.table_moments(table, grid[-1:])[2, 0])
    if step[-1] > _compiled.TOUCH * grid[-1] and last < 1 - 1e-12:  # E[phi^2] goes on linearly there
        roots.append(float(grid[-1] + step[-1] / (1 - last)))
        signs.append((1, -1))
    return np.array(roots), signs


def reached(table: Moments, gain: Any, b2: Any, q0: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows q*, E[phi'^2], slope of the map, E[phi], gain; codes: see the kernel."""
    if np.any(np.diff(table.grid_second) < 0):
        q0 = _compiled.settled_variances(table, gain, b2, q0)
    rows, codes = _compiled.variance_fixed_points(table, gain, b2, q0)
    flat = np.flatnonzero(np.abs(rows[2]) <= ROUNDING)  # gain E[phi^2]/q <= 1
    if flat.size:
        at = np.clip(rows[0, flat], table.low, table.high)
        second, _, slope, _ = _compiled.table_moments(table, at)
        rows[2, flat] = gain[flat] * without_rounding(slope, second / at)
    identity = (codes == _compiled.OK) & (b2 == 0) & (np.abs(rows[2] - 1) <= 1e-9) & (table.origin == 0)
    for i in np.flatnonzero(identity):
        # All smaller variances are fixed too, as far as rounding tells: phi is linear up to kinks many standard
        # deviations away, and only zero is a fixed point.
        smaller = np.geomspace(table.low, rows[0, i], 30)
        second, slope2, _, mean = _compiled.table_moments(table, smaller)
        if np.all(np.abs(gain[i] * second - smaller) <= _compiled.TOUCH * smaller):
            rows[:, i] = 0.0, slope2[0], gain[i] * slope2[0], mean[0], gain[i]
            codes[i] = _compiled.ZERO_VARIANCE
    if table.several:
        touched = _compiled.touching_variances(table, gain, b2, q0, rows[0])
        at = np.flatnonzero(touched != rows[0])
        if at.size:
            _, slope2, rate, mean = _compiled.table_moments(table, touched[at])
            rows[:, at] = touched[at], slope2, gain[at] * rate, mean, gain[at]
            codes[at] = _compiled.SEVERAL
    return rows, codes


def without_rounding(slope: np.ndarray, size: Any) -> np.ndarray:
    """The slope, or 0 where it is rounding of terms of this size: no depth scale."""
    return np.where(np.abs(slope) <= ROUNDING * size, 0.0, slope)


def keep_probability(keep_rate: Any) -> float:
    """Validate the keep rate of dropout."""
    rate = finite_number("keep_rate", keep_rate)
    if not 0 < rate <= 1:
        raise ValueError(
            f"`keep_rate` is the probability of keeping a unit, in (0, 1], got {rate:g}; pass 1 for no dropout."
        )
    return rate


def starting_variances(sigma_w2: Any, sigma_b2: Any, q0: Any) -> list[np.ndarray]:
    """Validate and broadcast."""
    w2, b2 = nonnegative_array("sigma_w2", sigma_w2), nonnegative_array("sigma_b2", sigma_b2)
    start = finite_array("q0", q0)
    if np.any(start <= 0):
        raise ValueError(
            f"`q0` must be > 0, got {start.min():g}; pass the variance of the first pre-activation."
        )
    try:
        return list(np.broadcast_arrays(w2, b2, start))
    except ValueError:
        raise ValueError(
            f"`sigma_w2`, `sigma_b2` and `q0` must broadcast, got shapes {w2.shape}, {b2.shape}, {start.shape}; "
            "use phase_diagram for a grid."
        ) from None


def check_start(table: Moments, q0: np.ndarray) -> None:
    """Raise a ValueError if the map is not known at a variance.

    It is not beyond the table of an activation that outgrows every line there.
    """
    largest = float(np.max(q0, initial=0.0))
    if largest > table.high and outgrows_lines(table):
        raise ValueError(
            f"`q0` = {largest:g} is beyond {table.high:g}, up to which the activation is resolved: it grows too fast "
            "for larger variances; use smaller ones."
        )


def growth_at_the_end(table: Moments) -> tuple[float, float]:
    """The power with which E[phi^2] grows at the end of the table; its slope there.

    Bounded terms of a linear phi, 1e-3 of it there, make the power differ from 1 by less than `LINEAR`.
    """
    second, _, rate, _ = _compiled.table_moments(table, np.array([table.high]))[:, 0]
    return float(table.high * rate / second) if second else 0.0, float(rate)


def outgrows_lines(table: Moments) -> bool:
    """Whether phi grows faster than linearly at the end of the table."""
    return growth_at_the_end(table)[0] > 1 + LINEAR


def has_jumps(act: Activation) -> bool:
    """Whether phi jumps, so that E[phi'^2] is infinite."""
    return bool(np.any(act.pieces.jumps[:, 0] != 0))


def slopes_at_zero(act: Activation) -> np.ndarray:
    """The limits of phi' from the two sides of zero, rounding removed."""
    slopes = act.slope(np.array([-1e-300, 1e-300]))
    return np.where(np.abs(slopes) <= act.pieces.slope_noise, 0.0, slopes)


def bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """The root between two places of opposite signs, to the last digit."""
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-300, rtol=8.9e-16, maxiter=500))

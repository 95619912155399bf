r"""Where the loss along a direction comes back to its first value.

:math:`(L(x) - L(0))/x` is a straight line in x while L is a parabola, so its zeros are found by secants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["LineSearch", "line_search"]

_FAR = 12  # doublings, and halvings, of the first guess after which the search ends
_RELATIVE = 4e-3  # of a crossing


@dataclass(frozen=True)
class LineSearch:
    """What was found along the direction.

    Attributes
    ----------
    crossings : tuple of float
        Where the loss equals the first one, increasing: it rises through it at the first, falls at the second, and so
        on. As fine as the grid of factors of two between which they lie.
    upper : float
        How far was looked.
    places, losses : arrays (n,)
        All that were evaluated, 0 among them; inf where the loss was not finite.
    """

    crossings: tuple[float, ...]
    upper: float
    places: np.ndarray
    losses: np.ndarray


def line_search(loss: Callable[[float], float], first: float, guess: float) -> LineSearch:
    """Crossings of ``loss(x) = first``, x > 0, for a loss that falls at 0.

    It is evaluated at `guess` times powers of two from 1/8 to 8, further down until it is below `first` there and
    further up until it has been above, and a few times in each interval where it crosses.

    Parameters
    ----------
    loss : callable
        At x > 0; nan and inf count as above.
    first : float
        At 0.
    guess : float
        Of the first crossing, > 0: that of the parabola.
    """
    known: dict[float, float] = {}

    def above(x: float) -> float:
        """L(x) - L(0)."""
        if x not in known:
            value = loss(x)
            known[x] = value if np.isfinite(value) else np.inf
        return known[x] - first

    grid = [guess * 2.0**k for k in range(-3, 4)]
    for x in grid:
        above(x)
    while above(grid[0]) >= 0 and len(grid) < _FAR + 4:
        grid.insert(0, grid[0] / 2)
    reached = len(grid) + _FAR - 3
    while all(above(x) <= 0 for x in grid) and len(grid) < reached:
        grid.append(grid[-1] * 2)
    crossings = []
    below = True  # at 0
    start = 0.0
    for x in grid:
        if (above(x) <= 0) != below:
            crossings.append(_crossing(above, start, x))
            below = not below
        start = x
    places = np.array([0.0, *sorted(known)])
    losses = np.array([first, *(known[x] for x in sorted(known))])
    return LineSearch(tuple(crossings), grid[-1], places, losses)


def _crossing(above: Callable[[float], float], low: float, high: float) -> float:
    """The zero of `above` between two places of different sign.

    `low` may be 0, where it is below without being asked.
    """
    if low == 0:
        return high  # still above at the smallest place: it is somewhere below
    left, right = above(low) / low, above(high) / high
    last, side = np.inf, 0
    for _ in range(60):
        if np.isfinite(right) and np.isfinite(left) and left != right:
            x = low + (high - low) * left / (left - right)
        else:
            x = np.sqrt(low * high)
        if abs(x - last) <= _RELATIVE * x or high - low <= _RELATIVE * high:
            break
        last, value = x, above(x) / x
        # Illinois: an end that stays twice counts half, or it would stay for ever.
        if (value <= 0) == (left <= 0):
            low, left, right, side = x, value, right / 2 if side == 1 else right, 1
        else:
            high, right, left, side = x, value, left / 2 if side == -1 else left, -1
    return float(x)

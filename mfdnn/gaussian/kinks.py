"""The kink part of an activation, a sum of truncated powers that jump as it does.

p(x) = sum_j sum_i J_ji (s_j x - t_j)_+^i / i! has the jumps of phi and of its first derivatives, so that
phi - p is smoother than phi by as many orders. Each term faces away from zero (s_j = -1 on the left): p
disappears for small variances instead of cancelling there.
"""

from __future__ import annotations

from math import factorial

import numpy as np

from .._compiled import KINK_ORDERS, Kinks
from ..activations import Activation
from .quadrature import breaks, nodes, values

__all__ = ["kink_order", "kink_part", "kink_values", "term_sizes"]

MAX_KINKS = 8  # more kinks than that are left to the series: the closed forms go through all pairs of them
OUTGROWN = 100.0  # how much larger than phi' (in square mean) terms of the kink part may be: the digits that cancel


def kink_part(act: Activation, reach: float | None = None) -> Kinks:
    """The kinks in [-reach, reach]; without `reach` all, or none if too many."""
    pieces = act.pieces
    if reach is None:
        near = np.full(pieces.breaks.size, pieces.breaks.size <= MAX_KINKS)
    else:
        near = np.abs(pieces.breaks) <= reach
    at, jumps = pieces.breaks[near], pieces.jumps[near]
    sides = np.where(at < 0, -1.0, 1.0)
    mirrored = np.where(sides[:, None] < 0, -((-1.0) ** np.arange(KINK_ORDERS)), 1.0)
    return Kinks(np.abs(at), sides, jumps * mirrored)


def kink_values(kinks: Kinks, order: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kink part p(x) up to that order, and p'(x) without point masses."""
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


def term_sizes(kinks: Kinks, order: int, q: float) -> np.ndarray:
    """What the terms of p(sqrt(q) z) and sqrt(q) p' sum to without signs, (2,).

    The closed form of E[p(u) p(v)] is a sum over pairs of truncated powers, by recursions whose terms are at most
    E[(z + y)^2m; z > y] for y = t/sqrt(q), while p may be nothing but a small step: its rounding is relative to
    the square of these, not of the norm of p. Point masses of p' are left out.
    """
    from scipy.special import ndtr

    y = kinks.at / np.sqrt(q)
    density = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi)
    moments = [ndtr(-y), density + y * ndtr(-y)]  # E[(z + y)^k; z > y]
    for k in range(2, 2 * KINK_ORDERS):
        moments.append((2 * y) ** (k - 1) * density + (k - 1) * moments[k - 2] + y * moments[k - 1])
    powers = np.array([np.sqrt(moments[2 * m]) / factorial(m) for m in range(order + 1)])  # (order + 1, m)
    scaled = np.abs(kinks.jumps.T[: order + 1]) * np.sqrt(q) ** np.arange(order + 1)[:, None]
    return np.array([np.sum(scaled * powers), np.sum(scaled[1:] * powers[:-1])])


def kink_order(act: Activation, q: float) -> int:
    """Highest useful order of the kink part at variance q.

    The more orders the smoother the rest, but powers that outgrow phi cost digits.
    """
    kinks = kink_part(act)
    used = np.flatnonzero(np.any(kinks.jumps != 0, axis=0))
    highest = int(used.max(initial=0))
    z, weight = nodes(breaks(act, q))
    x = np.sqrt(q) * z
    size = q * (weight @ values(act, x, 1) ** 2)
    for order in range(highest, 1, -1):
        if term_sizes(kinks, order, q)[1] ** 2 <= OUTGROWN * size:
            return order
    return min(highest, 1)

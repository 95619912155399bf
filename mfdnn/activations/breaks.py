"""Where a function or one of its derivatives jumps, and what is narrow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import _compiled
from .panels import MAX_UNRESOLVED, NARROW, NOISE, SHELL, UNDERFLOW, is_narrow
from .pieces import DEGREE, DIFFERENTIATE, chebyshev_fit, sample

__all__ = ["ORDERS", "breaks_beside", "overlooked_edges", "unreadable"]

ORDERS = _compiled.KINK_ORDERS  # a break is where phi or one of its first three derivatives jumps
APART = 8.0  # two breaks are told apart if a panel between them is wider than those around each by that factor
READABLE = (0.0, 1e-6, 1e-3, 1e-3)  # relative width of the panels off which a jump of each order can be read
ROUNDING_JUMP = 1e-8  # relative size up to which a jump is an artefact: softplus that is x beyond 20 jumps by 1e-10
LAST = (3.0, 225.0, 16800.0, 742560.0)  # T_15 and its derivatives at the end of a panel
LOOKED_AT = 2**15  # places in [-8, 8] at which the polynomials are compared with a function of the user's


def overlooked_edges(function: Callable, panels: np.ndarray) -> set[float]:
    """Edges around what the polynomials miss at one of many places in [-8, 8].

    It is a feature between their nodes.
    """
    x = (np.arange(LOOKED_AT) + 0.381966) * (16.0 / LOOKED_AT) - 8.0
    values = sample(function, np.array([[-1.0, 1.0]]), x)[0]
    edges = np.append(panels[:, 0], panels[-1, 1])
    fit = _compiled.evaluate_pieces(edges, chebyshev_fit(sample(function, panels)), x)
    wide = np.diff(edges)[np.searchsorted(edges, x, side="right") - 1] > NARROW
    missed = np.flatnonzero(wide & ~(np.abs(values - fit) <= 1e2 * NOISE * np.abs(values).max()))
    if missed.size == 0 or missed.size > MAX_UNRESOLVED:
        return set()
    return {*x[missed].tolist(), *x[missed - 1].tolist(), *x[np.minimum(missed + 1, x.size - 1)].tolist()}


def breaks_beside(
    function: Callable, derivative: Callable | None, panels: np.ndarray, known: set[float]
) -> set[float]:
    """Where phi or one of its derivatives may jump, beside the known places."""
    new = set()
    for x, uncertainty in _clusters(panels):
        if any(abs(x - place) <= 1e-9 * max(1.0, abs(x)) for place in known):
            continue
        at = _locate(function, x, uncertainty)
        if at is not None and derivative is not None:
            at = _locate(derivative, at, uncertainty)
        if at is not None:
            new.add(at)
    return new - known


def _clusters(panels: np.ndarray) -> list[tuple[float, float]]:
    """Centres of clusters of narrow panels, and how far from each a break can be."""
    narrow = panels[is_narrow(panels)]
    if len(narrow) == 0:
        return []
    clusters = []
    for cluster in np.split(narrow, np.flatnonzero(narrow[1:, 0] > narrow[:-1, 1]) + 1):
        for start, stop in _valleys(np.diff(cluster, axis=1)[:, 0].tolist()):
            low, high = float(cluster[start, 0]), float(cluster[stop - 1, 1])
            clusters.append(((low + high) / 2, high - low))
    return clusters


def _valleys(width: list[float]) -> list[tuple[int, int]]:
    """Where the narrowest of neighbours are, [start, stop), parted by wider ones."""
    found, pending = [], [(0, len(width))]
    while pending:
        first, last = pending.pop()
        at = min(range(first, last), key=width.__getitem__)
        ends = []
        for step, limit in ((-1, first - 1), (1, last)):
            i = at
            while i + step != limit and width[i + step] <= 2.5 * width[at]:
                i += step
            ends.append(i)
            highest = width[i]
            while i + step != limit and width[i + step] * APART > highest:
                i += step
                highest = max(highest, width[i])
            if i + step != limit:
                pending.append((first, i) if step < 0 else (i + 1, last))
        found.append((ends[0], ends[1] + 1))
    return found


def _locate(function: Callable, x: float, uncertainty: float) -> float | None:
    """Where near x a derivative jumps; None if there is no polynomial on each side.

    A jump J of the m-th derivative at x - d makes the derivative below seem to jump by J d at x.
    """
    gap = max(uncertainty, 1e-15 * abs(x))
    reach = 1.0
    while reach > 16 * gap:
        fit = chebyshev_fit(sample(function, np.array([[x - reach, x - gap], [x + gap, x + reach]])))
        size = np.abs(fit).sum(axis=1).max()
        if np.isfinite(size) and np.abs(fit[:, -3:]).max() <= 1e-13 * size:
            break
        reach /= 2
    else:
        return None
    half = (reach - gap) / 2
    at_x = np.polynomial.chebyshev.chebvander(np.array([1.0, -1.0]) * (1 + gap / half), DEGREE)
    jumps, sizes = np.empty(ORDERS), np.empty(ORDERS)
    for order in range(ORDERS):
        left, right = np.sum(at_x * fit, axis=1) / half**order
        jumps[order], sizes[order] = right - left, np.abs(fit).sum(axis=1).max() / half**order
        fit = fit @ DIFFERENTIATE.T
    for order in range(ORDERS - 1, 0, -1):
        seeming = abs(jumps[order]) * gap ** np.arange(order, 0, -1)
        seeming[:-1] += 1e-8 * sizes[: order - 1]
        if abs(jumps[order]) > 1e-6 * sizes[order] and np.all(np.abs(jumps[:order]) <= seeming):
            return x - float(jumps[order - 1] / jumps[order])
    return x


def unreadable(edges: np.ndarray, all_orders: np.ndarray, jumps: np.ndarray) -> np.ndarray:
    """Which jumps of phi and its derivatives at the inner edges are noise: (n - 1, 4).

    Noise is relative to the largest values in the two panels, nearer to zero and in [-1/2, 1/2]; a
    derivative read off the values on a narrow panel is noisier by powers of its width.
    """
    inner = np.argsort(np.abs(edges[1:-1]))
    largest = np.abs(all_orders).sum(axis=-1)
    size = np.empty((ORDERS, edges.size - 2))
    size[:, inner] = np.maximum.accumulate(np.maximum(largest[:, 1:], largest[:, :-1])[:, inner], axis=1)
    near = np.abs(edges[1:-1]) <= 0.5
    size = np.maximum(size, size[:, near].max(axis=1, keepdims=True))
    # What is zero beside the largest of a shell, as the tail of a far bump, was resolved no further than that.
    distance = np.abs(edges[1:-1])[inner]
    shell = np.searchsorted(distance, np.maximum(SHELL, 2 * distance), side="right") - 1
    size[:, inner] = np.maximum(size[:, inner], UNDERFLOW * size[:, inner[shell]])
    width = np.minimum(np.diff(edges)[1:], np.diff(edges)[:-1])
    noise = np.array([
        ROUNDING_JUMP * size[0]
        + 1e-10 * np.maximum(1.0, np.abs(edges[1:-1])) * np.abs(jumps[:, 1]),  # a kink beside its edge
        ROUNDING_JUMP * size[1] + 1e-11 * size[0] / width,
        1e-8 * size[2] + 1e-8 * size[0] / width**2,
        1e-6 * size[3] + 1e-6 * size[0] / width**3,
    ])
    # What the last coefficients contribute to a derivative at an end of the panel.
    last = np.abs(all_orders[0, :, -3:]).sum(axis=1) * (np.diff(edges) > NARROW)
    last = np.maximum(last[1:], last[:-1]) / (width / 2) ** np.arange(ORDERS)[:, None]
    noise += last * np.array(LAST)[:, None]
    narrow = width[:, None] <= np.multiply.outer(np.maximum(1.0, np.abs(edges[1:-1])), READABLE)
    return (np.abs(jumps) <= noise.T) | narrow

"""A function of one variable, resolved: its polynomials, or why there are none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from .breaks import LAST, breaks_beside, overlooked_edges, unreadable
from .panels import MAX_BREAKS, NARROW, RESOLVED, SHELL, UNDERFLOW, shells
from .pieces import DEGREE, DIFFERENTIATE, Pieces, chebyshev_fit, derive, sample

__all__ = ["resolve"]

PASSES = 4  # most searches for breaks, each with those of the last one as edges
SMALL_JUMP = 1e-3  # relative size up to which a jump is likely not meant
AROUND = np.append(np.multiply.outer([-1.0, 1.0], 2.0 ** np.arange(-1, 7)), 0.0)  # edges around a feature, in widths


def resolve(
    name: str,
    function: Callable,
    derivative: Callable | None,
    given: tuple[float, ...] = (),
    second: Callable | None = None,
    features: tuple[tuple[float, float], ...] = (),
    trusted: bool = False,
) -> Pieces:
    """Polynomials of a function, by bisection until all panels are resolved.

    A point that never resolves is a break. `features` are (place, width) of what is narrow. Unless `trusted`, narrow
    features are also looked for.

    Raises
    ------
    ValueError
        The function is not resolved on [-16, 16].
    """
    edges = {*given, *(float(x) for place, width in features for x in place + width * AROUND)}
    found = shells(function, sorted(edges)) or _explain(name, function)
    overlooked = set() if trusted else overlooked_edges(function, found[0])
    if overlooked:
        edges |= overlooked
        found = shells(function, sorted(edges)) or found
    located: set[float] = set()
    for _ in range(PASSES):
        new = breaks_beside(function, derivative, found[0], located)
        if not new:
            break
        located |= new
        found = shells(function, sorted(edges | located)) or _explain(name, function)
    _check_bounded(name, function, found[0])
    if located:
        found = shells(function, sorted(edges | located), 1e-11, reach=found[0].max()) or found
    pieces = _finish(function, derivative, second, *found)
    if derivative is not None:
        _check_derivative(name, pieces)
    _warn_of_small_jumps(name, pieces)
    return pieces


def _warn_of_small_jumps(name: str, pieces: Pieces) -> None:
    """Warn of jumps that look like a mistake, as E[phi'^2] is infinite with them."""
    jumps = np.abs(pieces.jumps[:, 0])
    if not np.any(jumps):
        return
    size = np.abs(pieces.evaluate(np.linspace(-SHELL, SHELL, 257))).max()
    small = np.flatnonzero((jumps > 0) & (jumps < SMALL_JUMP * size) & (np.abs(pieces.breaks) <= SHELL))
    if small.size:
        at = small[np.argmax(jumps[small])]
        warnings.warn(
            f"activation {name!r} jumps by {jumps[at]:.2g} at x = {pieces.breaks[at]:.6g}, so that E[phi'^2] and chi_1 "
            "are infinite; if its parts were meant to meet there, let them.",
            RuntimeWarning,
            stacklevel=2,
        )


def _explain(name: str, function: Callable) -> NoReturn:
    """Why a function is not resolved on the first shell."""
    x = np.linspace(-SHELL, SHELL, 2049)
    with np.errstate(all="ignore"):
        values = np.asarray(function(x), dtype=np.float64)
        near = np.asarray(function(0.7 + 1e-3 * np.linspace(0, 1, 64)), dtype=np.float64)
        single = np.all(near == near.astype(np.float32)) and np.unique(near).size > 32  # no staircase
    wrong = x[~np.isfinite(values)]
    if wrong.size:
        nearest = wrong[np.argmin(np.abs(wrong))]
        raise ValueError(
            f"activation {name!r} returned {values[x == nearest][0]} at x = {nearest:g}; it must be finite on "
            f"[-{SHELL:g}, {SHELL:g}]: clip its argument or its value there."
        )
    if single:
        raise ValueError(
            f"activation {name!r} is computed in single precision, which is noisy; compute it in double precision, "
            "float64."
        )
    raise ValueError(
        f"activation {name!r} could not be resolved on [-{SHELL:g}, {SHELL:g}]: it is noisy (random numbers, single "
        f"precision, a coarse table?) or oscillates too fast; it may bend or jump at up to {MAX_BREAKS} places; pass a "
        "smoother function in double precision (float64), or rescale its argument."
    )


def _check_bounded(name: str, function: Callable, panels: np.ndarray) -> None:
    """Refuse a pole: phi grows a hundredfold between panels of 1e-3 and of 1e-10."""
    width = np.diff(panels, axis=1)[:, 0] / np.maximum(1.0, np.abs(panels).max(axis=1))
    size = np.abs(sample(function, panels)).max(axis=1)
    inside = np.abs(panels).max(axis=1) <= SHELL
    highest = np.argmax(np.where(inside & (width <= 1e-10), size, 0.0))
    if width[highest] <= 1e-10 and size[highest] > 100 * size[inside & (width >= 1e-3)].max():
        raise ValueError(
            f"activation {name!r} is unbounded near x = {panels[highest].mean():.6g}, where its Gaussian expectations "
            "do not exist or cannot be resolved; clip its value there."
        )


def _check_derivative(name: str, pieces: Pieces) -> None:
    half = np.diff(pieces.edges)[:, None] / 2
    values, given = pieces.coefficients[:2]
    found = values @ DIFFERENTIATE.T / half
    # Differentiation magnifies rounding by up to 1e3 / half; narrow panels cannot tell.
    near = np.abs(pieces.edges[1:]) <= SHELL
    size = np.abs(values).sum(axis=1, keepdims=True)
    tolerance = 1e-6 * (np.abs(given[near]).max() + size / half)
    # Phi is resolved against its largest value nearer to zero, and a tail on the near side of all against underflow.
    order = np.argsort(np.maximum(np.abs(pieces.edges[:-1]), np.abs(pieces.edges[1:])))
    nearer = np.empty_like(size)
    nearer[order] = np.maximum.accumulate(size[order])
    tolerance = (tolerance + 1e4 * RESOLVED * np.maximum(nearer, UNDERFLOW * size.max()) / half)[:, 0]
    wrong = (half[:, 0] > 1e-3) & (np.abs(found - given).max(axis=1) > tolerance)
    if np.any(wrong):
        panel = np.flatnonzero(wrong)[np.argmin(np.abs(pieces.edges[:-1][wrong]))]
        x = pieces.edges[panel : panel + 2].mean()
        middle = np.polynomial.chebyshev.chebval(0.0, np.stack([given[panel], found[panel]]).T)
        raise ValueError(
            f"`derivative` of activation {name!r} is not the derivative of its function: {middle[0]:.6g} instead of "
            f"{middle[1]:.6g} at x = {x:g}; correct it, or leave it out."
        )


def _finish(
    function: Callable,
    derivative: Callable | None,
    second_derivative: Callable | None,
    panels: np.ndarray,
    resolved: bool,
) -> Pieces:
    edges = np.append(panels[:, 0], panels[-1, 1])
    half = np.diff(edges)[:, None] / 2
    values = chebyshev_fit(sample(function, panels))
    first = chebyshev_fit(sample(derivative, panels)) if derivative is not None else derive(values, half)
    second = (
        chebyshev_fit(sample(second_derivative, panels))
        if second_derivative is not None
        else derive(first, half)
    )
    third = derive(second, half)
    all_orders = np.stack([values, first, second, third])
    at_left = all_orders @ (-1.0) ** np.arange(DEGREE + 1)
    at_right = all_orders.sum(axis=-1)
    jumps = (at_left[:, 1:] - at_right[:, :-1]).T
    jumps[unreadable(edges, all_orders, jumps)] = 0.0
    at = np.flatnonzero(np.any(jumps != 0, axis=1))
    breaks = np.where(np.abs(edges[1:-1][at]) < 1e-13, 0.0, edges[1:-1][at])
    near = np.abs(edges[1:]) <= 1
    slope_noise = 0.0
    if derivative is None:
        slope_noise = 2e-12 * float(np.abs(all_orders[:2, near]).sum(axis=-1).max(axis=-1).sum())
        last = np.abs(values[:, -3:]).sum(axis=1)
        noisy = near & (half[:, 0] > NARROW) & (last > 1e-13 * np.abs(values[near]).max())
        slope_noise = max(slope_noise, LAST[1] * float((last / half[:, 0])[noisy].max(initial=0.0)))
    linear = bool(np.all(np.abs(values[:, 2:]).max(axis=1) <= 1e-13 * np.abs(values).max(axis=1)))
    homogeneous = None
    if linear and not np.any(breaks) and np.all(jumps[at, 0] == 0):
        zero = int(np.searchsorted(edges, 0.0))
        # phi(0) from the panel to the right of zero, which starts there
        if abs(at_left[0, zero]) <= 1e-13 * np.abs(values[zero]).max():
            low, high = sample(function, np.array([[-1.0, 1.0]]), np.array([-1.0, 1.0]))[0]
            homogeneous = (float(-low), float(high))
    return Pieces(
        edges=edges,
        coefficients=all_orders[:3],
        breaks=breaks,
        jumps=jumps[at],
        slope_noise=slope_noise,
        # Differentiating a polynomial of degree 15 once more costs two or three digits.
        curvature_noise=0.0 if second_derivative is not None else 1e3 * max(slope_noise, 1e-15),
        resolved=resolved,
        piecewise_linear=linear,
        homogeneous=homogeneous,
    )

"""A function of one variable as piecewise polynomials: what kernels see of an activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from .. import _compiled

__all__ = ["DEGREE", "NODES", "Pieces", "chebyshev_fit", "resolve"]

DEGREE = 15
_ANGLES = np.pi * (np.arange(DEGREE + 1)[::-1] + 0.5) / (DEGREE + 1)
NODES = np.cos(_ANGLES)
_FIT = np.cos(np.arange(DEGREE + 1)[:, None] * _ANGLES) * (2.0 / (DEGREE + 1))
_FIT[0] /= 2
# Row k, column j: coefficient of T_k in the derivative of T_j.
_DIFFERENTIATE = np.vstack(
    [np.polynomial.chebyshev.chebder(np.eye(DEGREE + 1), axis=0), np.zeros((1, DEGREE + 1))]
)

# A panel is compared with phi also close to its ends, where a feature can hide between the outermost nodes.
_PROBES = np.concatenate([-1 + 4.0 ** -np.arange(4, 13), 1 - 4.0 ** -np.arange(4, 13)])
_AT_PROBES = np.polynomial.chebyshev.chebvander(_PROBES, DEGREE).T

ORDERS = _compiled.KINK_ORDERS  # a break is where phi or one of its first three derivatives jumps
RESOLVED = 1e-14  # relative size of the last Chebyshev coefficients of a resolved panel
CLUSTER = 1e-2  # panels narrower than this (relative) surround a break, or something as sharp
READABLE = (0.0, 1e-6, 1e-3, 1e-3)  # relative width of the panels off which a jump of each order can be read
MAX_PANELS = 1500
SHELL = 16.0  # the first shell is [-16, 16]; shells double up to 2^MAX_SHELLS times that
MAX_SHELLS = 10


def chebyshev_fit(values: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients (last axis) from values at the 16 nodes (last axis), rounding noise chopped."""
    coefficients = values @ _FIT.T
    noise = 1e-15 * np.abs(values).max(axis=-1, keepdims=True)
    coefficients[np.abs(coefficients) < noise] = 0.0
    return coefficients


@dataclass(frozen=True)
class Pieces:
    """Piecewise polynomials on ``edges``; coefficients of phi, phi', phi'' in the Chebyshev basis of each panel.

    Attributes
    ----------
    edges : (n + 1,) array
        Panel edges; the breaks are among them.
    coefficients : (3, n, 16) array
        phi, phi', phi''.
    breaks : (m,) array
        Where phi, phi', phi'' or phi''' jumps.
    jumps : (m, 4) array
        By how much.
    slope_noise : float
        Absolute error of phi' near zero where it is read off phi; 0 if the derivative was given.
    curvature_noise : float
        The same for phi'': 0 for built-in activations.
    resolved : bool
        False if some panel stayed unresolved (a singularity that is none of those jumps).
    piecewise_linear : bool
    homogeneous : (float, float) or None
        Slopes on the two sides of zero if phi is positively homogeneous.
    """

    edges: np.ndarray
    coefficients: np.ndarray
    breaks: np.ndarray
    jumps: np.ndarray
    slope_noise: float
    curvature_noise: float
    resolved: bool
    piecewise_linear: bool
    homogeneous: tuple[float, float] | None

    @property
    def reach(self) -> float:
        """Phi is known on [-reach, reach]."""
        return float(self.edges[-1])

    @property
    def smooth(self) -> bool:
        """Whether phi has no break and no other singularity."""
        return self.resolved and self.breaks.size == 0

    def evaluate(self, x: np.ndarray, derivative: int = 0) -> np.ndarray:
        """phi, phi' or phi'' at x, elementwise; beyond the last panel phi is continued linearly."""
        flat = np.asarray(x, dtype=np.float64).ravel()
        inside = np.clip(flat, self.edges[0], self.edges[-1])
        value = _compiled.evaluate_pieces(self.edges, self.coefficients[derivative], inside)
        if derivative == 0 and np.any(flat != inside):
            value += _compiled.evaluate_pieces(self.edges, self.coefficients[1], inside) * (flat - inside)
        return value.reshape(np.shape(x))


def resolve(
    name: str,
    function: Callable,
    derivative: Callable | None,
    given: tuple[float, ...] = (),
    second: Callable | None = None,
) -> Pieces:
    """Bisect until every panel is resolved to rounding; a point that never resolves is a break.

    Raises
    ------
    ValueError
        The function is not resolved on [-16, 16].
    """
    found = _shells(function, sorted(set(given)))
    if found is None:
        _explain(name, function)
    _check_bounded(name, function, found[0])
    more = set()
    for x, uncertainty in _clusters(found[0]):
        at = _locate(function, x, uncertainty)
        if at is not None and derivative is not None:
            at = _locate(derivative, at, uncertainty)
        if at is not None:
            more.add(at)
    if more:
        found = _shells(function, sorted({*given, *more}), floor=1e-11) or found
    pieces = _finish(function, derivative, second, *found)
    if derivative is not None:
        _check_derivative(name, pieces)
    return pieces


def _explain(name: str, function: Callable) -> NoReturn:
    """Why a function is not resolved on the first shell."""
    x = np.linspace(-SHELL, SHELL, 2049)
    with np.errstate(all="ignore"):
        values = np.asarray(function(x), dtype=np.float64)
    wrong = x[~np.isfinite(values)]
    if wrong.size:
        nearest = wrong[np.argmin(np.abs(wrong))]
        raise ValueError(
            f"activation {name!r} returned {values[x == nearest][0]} at x = {nearest:g}; it must be finite on "
            f"[-{SHELL:g}, {SHELL:g}]: clip its argument or its value there."
        )
    raise ValueError(
        f"activation {name!r} could not be resolved on [-{SHELL:g}, {SHELL:g}]: it is noisy (random numbers, single "
        "precision, a coarse table?) or oscillates too fast; pass a smoother function in double precision, or rescale "
        "its argument."
    )


def _check_bounded(name: str, function: Callable, panels: np.ndarray) -> None:
    """Where phi grows a hundredfold between panels of 1e-3 and of 1e-10 it has a pole, or nearly one."""
    width = np.diff(panels, axis=1)[:, 0] / np.maximum(1.0, np.abs(panels).max(axis=1))
    size = np.abs(_sample(function, panels)).max(axis=1)
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
    found = values @ _DIFFERENTIATE.T / half
    # Differentiation magnifies rounding by up to 1e3 / half; narrow panels cannot tell.
    near = np.abs(pieces.edges[1:]) <= SHELL
    tolerance = 1e-6 * (np.abs(given[near]).max() + np.abs(values / half).sum(axis=1))
    wrong = (half[:, 0] > 1e-3) & (np.abs(found - given).max(axis=1) > tolerance)
    if np.any(wrong):
        panel = np.flatnonzero(wrong)[np.argmin(np.abs(pieces.edges[:-1][wrong]))]
        x = pieces.edges[panel : panel + 2].mean()
        middle = np.polynomial.chebyshev.chebval(0.0, np.stack([given[panel], found[panel]]).T)
        raise ValueError(
            f"`derivative` of activation {name!r} is not the derivative of its function: {middle[0]:.6g} instead of "
            f"{middle[1]:.6g} at x = {x:g}; correct it, or leave it out."
        )


def _sample(function: Callable, panels: np.ndarray, at: np.ndarray = NODES) -> np.ndarray:
    """Values at the Chebyshev nodes (or other places in [-1, 1]) of each panel (left, right): (n, at.size)."""
    half = np.diff(panels, axis=1) / 2
    with np.errstate(all="ignore"):
        return np.asarray(function(panels.mean(axis=1, keepdims=True) + half * at), dtype=np.float64)


def _shells(function: Callable, breaks: list[float], floor: float = 4e-16) -> tuple[np.ndarray, bool] | None:
    """Panels on [-16, 16], then on [16, 32], [-32, -16], ... as far as phi is finite and they are few.

    `floor` is the (relative) width at which a panel is given up. Returns the (n, 2) panels and whether all of
    them are resolved; None if that fails on the first shell.
    """
    done: list[np.ndarray] = []
    resolved = True
    scale = 0.0  # largest |phi| so far: what is small against it further out does not matter
    for shell in range(MAX_SHELLS + 1):
        reach = SHELL * 2.0**shell
        if shell == 0:
            powers = 2.0 ** np.arange(-1, 5)
            spans = [np.concatenate([-powers[::-1], [0.0], powers])]
        else:
            spans = [np.array([-reach, -reach / 2]), np.array([reach / 2, reach])]
        new: list[np.ndarray] = []
        nearer = scale
        for span in spans:
            edges = np.unique(np.concatenate([span, [x for x in breaks if span[0] < x < span[-1]]]))
            result = _bisect(function, np.column_stack([edges[:-1], edges[1:]]), nearer, floor)
            if result is None:
                return None if shell == 0 else (_sorted(done), resolved)
            panels, ok, largest = result
            new.append(panels)
            resolved &= ok
            scale = max(scale, largest)
        if shell > 0 and sum(map(len, done)) + sum(map(len, new)) > MAX_PANELS:
            break
        done += new
    return _sorted(done), resolved


def _sorted(panels: list[np.ndarray]) -> np.ndarray:
    stacked = np.concatenate(panels)
    return stacked[np.argsort(stacked[:, 0])]


def _bisect(
    function: Callable, panels: np.ndarray, scale: float, floor: float
) -> tuple[np.ndarray, bool, float] | None:
    """Bisect panels until resolved: the panels, whether all are resolved, and max |phi|; None if hopeless."""
    accepted: list[np.ndarray] = []
    resolved = True
    largest = 0.0
    while len(panels):
        values = _sample(function, panels)
        if not np.all(np.isfinite(values)):
            return None
        size = np.abs(values).max(axis=1)
        largest = max(largest, float(size.max()))
        # The Gaussian weight is symmetric, so what is small against the values nearer to zero does not
        # matter.
        outer = np.abs(panels).max(axis=1)
        order = np.argsort(outer)
        reference = np.empty(len(panels))
        reference[order] = np.maximum.accumulate(size[order])
        width = np.diff(panels, axis=1)[:, 0]
        # phi cannot look smoother than the rounding of its argument lets it.
        rounding = 4e-16 * outer * np.ptp(values, axis=1) / width
        tolerance = RESOLVED * np.maximum(reference, max(scale, 1e-300)) + rounding
        fit = chebyshev_fit(values)
        smooth = np.abs(fit[:, -3:]).max(axis=1) <= tolerance
        missed = np.abs(_sample(function, panels[smooth], _PROBES) - fit[smooth] @ _AT_PROBES).max(axis=1)
        smooth[smooth] = missed <= 100 * tolerance[smooth]
        give_up = ~smooth & (width <= floor * np.maximum(1.0, outer))
        resolved &= not np.any(give_up)
        stop = smooth | give_up
        accepted.append(panels[stop])
        left, right = panels[~stop].T
        middle = (left + right) / 2
        panels = np.concatenate([np.column_stack([left, middle]), np.column_stack([middle, right])])
        panels = panels[np.argsort(panels[:, 0])]
        if len(panels) + sum(map(len, accepted)) > 4 * MAX_PANELS:
            return None
    return np.concatenate(accepted), resolved, largest


def _clusters(panels: np.ndarray) -> list[tuple[float, float]]:
    """Clusters of narrow panels: the centre of the smallest ones and how far from it a break can be."""
    narrow = panels[np.diff(panels, axis=1)[:, 0] <= CLUSTER * np.maximum(1.0, np.abs(panels).max(axis=1))]
    if len(narrow) == 0:
        return []
    clusters = []
    for cluster in np.split(narrow, np.flatnonzero(narrow[1:, 0] > narrow[:-1, 1]) + 1):
        width = np.diff(cluster, axis=1)[:, 0]
        smallest = cluster[width <= 2.5 * width.min()]
        clusters.append((float((smallest.min() + smallest.max()) / 2), float(np.ptp(smallest))))
    return clusters


def _locate(function: Callable, x: float, uncertainty: float) -> float | None:
    """Where near x a derivative jumps; None if there is no polynomial on each side.

    A jump J of the m-th derivative at x - d makes the derivative below seem to jump by J d at x.
    """
    gap = max(uncertainty, 1e-15 * abs(x))
    reach = 1.0
    while reach > 16 * gap:
        fit = chebyshev_fit(_sample(function, np.array([[x - reach, x - gap], [x + gap, x + reach]])))
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
        fit = fit @ _DIFFERENTIATE.T
    for order in range(ORDERS - 1, 0, -1):
        seeming = abs(jumps[order]) * gap ** np.arange(order, 0, -1)
        seeming[:-1] += 1e-8 * sizes[: order - 1]
        if abs(jumps[order]) > 1e-6 * sizes[order] and np.all(np.abs(jumps[:order]) <= seeming):
            return x - float(jumps[order - 1] / jumps[order])
    return x


def _finish(
    function: Callable,
    derivative: Callable | None,
    second_derivative: Callable | None,
    panels: np.ndarray,
    resolved: bool,
) -> Pieces:
    edges = np.append(panels[:, 0], panels[-1, 1])
    half = np.diff(edges)[:, None] / 2
    values = chebyshev_fit(_sample(function, panels))
    first = chebyshev_fit(_sample(derivative, panels)) if derivative is not None else _derive(values, half)
    second = (
        chebyshev_fit(_sample(second_derivative, panels))
        if second_derivative is not None
        else _derive(first, half)
    )
    third = _derive(second, half)
    all_orders = np.stack([values, first, second, third])
    at_left = all_orders @ (-1.0) ** np.arange(DEGREE + 1)
    at_right = all_orders.sum(axis=-1)
    jumps = (at_left[:, 1:] - at_right[:, :-1]).T
    jumps[_unreadable(edges, all_orders, jumps)] = 0.0
    at = np.flatnonzero(np.any(jumps != 0, axis=1))
    breaks = np.where(np.abs(edges[1:-1][at]) < 1e-13, 0.0, edges[1:-1][at])
    near = np.abs(edges[1:]) <= 1
    slope_noise = 0.0
    if derivative is None:
        slope_noise = 2e-12 * float(np.abs(all_orders[:2, near]).sum(axis=-1).max(axis=-1).sum())
    linear = bool(np.all(np.abs(values[:, 2:]).max(axis=1) <= 1e-13 * np.abs(values).max(axis=1)))
    homogeneous = None
    if linear and not np.any(breaks) and np.all(jumps[at, 0] == 0):
        zero = int(np.searchsorted(edges, 0.0))
        # phi(0) from the panel to the right of zero, which starts there
        if abs(at_left[0, zero]) <= 1e-13 * np.abs(values[zero]).max():
            low, high = np.asarray(function(np.array([-1.0, 1.0])), dtype=np.float64)
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


def _derive(coefficients: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Coefficients of the derivative on panels of that half width, rounding noise chopped."""
    result = coefficients @ _DIFFERENTIATE.T / half
    result[np.abs(result) <= 1e-13 * np.abs(coefficients).max(axis=1, keepdims=True) / half] = 0.0
    return result


def _unreadable(edges: np.ndarray, all_orders: np.ndarray, jumps: np.ndarray) -> np.ndarray:
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
    width = np.minimum(np.diff(edges)[1:], np.diff(edges)[:-1])
    noise = [
        1e-11 * size[0]
        + 1e-10 * np.maximum(1.0, np.abs(edges[1:-1])) * np.abs(jumps[:, 1]),  # a kink beside its edge
        1e-9 * size[1] + 1e-11 * size[0] / width,
        1e-8 * size[2] + 1e-8 * size[0] / width**2,
        1e-6 * size[3] + 1e-6 * size[0] / width**3,
    ]
    narrow = width[:, None] <= np.multiply.outer(np.maximum(1.0, np.abs(edges[1:-1])), READABLE)
    return (np.abs(jumps) <= np.transpose(noise)) | narrow

"""A function of one variable as piecewise polynomials, which kernels can read."""

from __future__ import annotations

import warnings
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
APART = 8.0  # two breaks are told apart if a panel between them is wider than those around each by that factor
PASSES = 4  # most searches for breaks, each with those of the last one as edges
READABLE = (0.0, 1e-6, 1e-3, 1e-3)  # relative width of the panels off which a jump of each order can be read
ROUNDING_JUMP = 1e-8  # relative size up to which a jump is an artefact: softplus that is x beyond 20 jumps by 1e-10
SMALL_JUMP = 1e-3  # relative size up to which a jump is likely not meant
NARROW = 1e-6  # (relative) width of panels that tell nothing of the noise
NOISE = 1e-10  # relative size of the rounding noise that a function may have
UNDERFLOW = 1e-100  # relative size below which phi is zero
LAST = (3.0, 225.0, 16800.0, 742560.0)  # T_15 and its derivatives at the end of a panel
MAX_PANELS = 1500
MAX_BREAKS = 512
MAX_UNRESOLVED = 3000  # at one time: the panels of noise double at every step, those around breaks do not
MAX_SEARCHED = 40000
SHELL = 16.0  # the first shell is [-16, 16]; shells double up to 2^MAX_SHELLS times that
MAX_SHELLS = 10
WIDE = 1e-3  # panels narrower than this are not counted: they close in on breaks
LOOKED_AT = 2**15  # places in [-8, 8] at which the polynomials are compared with a function of the user's
AROUND = np.append(np.multiply.outer([-1.0, 1.0], 2.0 ** np.arange(-1, 7)), 0.0)  # edges around a feature, in widths


def chebyshev_fit(values: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients of values at the 16 nodes, both on the last axis.

    Rounding noise is chopped.
    """
    coefficients = values @ _FIT.T
    noise = 1e-15 * np.abs(values).max(axis=-1, keepdims=True)
    coefficients[np.abs(coefficients) < noise] = 0.0
    return coefficients


@dataclass(frozen=True)
class Pieces:
    """Piecewise polynomials for phi, phi' and phi''.

    Coefficients are those of the Chebyshev basis of each panel between two ``edges``.

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
        """phi, phi' or phi'' at x, elementwise.

        Beyond the last panel phi is continued linearly.
        """
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
    found = _shells(function, sorted(edges)) or _explain(name, function)
    overlooked = set() if trusted else _overlooked(function, found[0])
    if overlooked:
        edges |= overlooked
        found = _shells(function, sorted(edges)) or found
    located: set[float] = set()
    for _ in range(PASSES):
        new = _breaks(function, derivative, found[0], located)
        if not new:
            break
        located |= new
        found = _shells(function, sorted(edges | located)) or _explain(name, function)
    _check_bounded(name, function, found[0])
    if located:
        found = _shells(function, sorted(edges | located), 1e-11, reach=found[0].max()) or found
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


def _overlooked(function: Callable, panels: np.ndarray) -> set[float]:
    """Edges around what the polynomials miss at one of many places in [-8, 8].

    It is a feature between their nodes.
    """
    x = (np.arange(LOOKED_AT) + 0.381966) * (16.0 / LOOKED_AT) - 8.0
    values = _sample(function, np.array([[-1.0, 1.0]]), x)[0]
    edges = np.append(panels[:, 0], panels[-1, 1])
    fit = _compiled.evaluate_pieces(edges, chebyshev_fit(_sample(function, panels)), x)
    wide = np.diff(edges)[np.searchsorted(edges, x, side="right") - 1] > NARROW
    missed = np.flatnonzero(wide & ~(np.abs(values - fit) <= 1e2 * NOISE * np.abs(values).max()))
    if missed.size == 0 or missed.size > MAX_UNRESOLVED:
        return set()
    return {*x[missed].tolist(), *x[missed - 1].tolist(), *x[np.minimum(missed + 1, x.size - 1)].tolist()}


def _breaks(
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
    """Values at the nodes (or other places in [-1, 1]) of each panel: (n, at.size)."""
    half = np.diff(panels, axis=1) / 2
    with np.errstate(all="ignore"):
        return np.asarray(function(panels.mean(axis=1, keepdims=True) + half * at), dtype=np.float64)


def _shells(
    function: Callable, breaks: list[float], floor: float = 4e-16, reach: float = SHELL * 2.0**MAX_SHELLS
) -> tuple[np.ndarray, bool] | None:
    """Panels on [-16, 16], and further out as far as phi is finite and they are few.

    Next are [16, 32] and [-32, -16]. `floor` is the (relative) width at which a panel is given up; nothing is done
    beyond `reach`. Returns the (n, 2) panels and whether all of them are resolved; None if that fails on the first
    shell.
    """
    done: list[np.ndarray] = []
    given_up = 0
    scale = 0.0  # largest |phi| so far: what is small against it further out does not matter
    ordinary = 0  # panels, without those that close in on a break
    for end in SHELL * 2.0 ** np.arange(MAX_SHELLS + 1):
        if end > reach:
            break
        first = end == SHELL
        if first:
            powers = 2.0 ** np.arange(-1, 5)
            spans = [np.concatenate([-powers[::-1], [0.0], powers])]
        else:
            spans = [np.array([-end, -end / 2]), np.array([end / 2, end])]
        new: list[np.ndarray] = []
        nearer, lost = scale, given_up
        for span in spans:
            edges = np.unique(np.concatenate([span, [x for x in breaks if span[0] < x < span[-1]]]))
            result = _bisect(function, np.column_stack([edges[:-1], edges[1:]]), nearer, floor)
            if result is None:
                return None if first else (_sorted(done), given_up == 0)
            panels, hopeless, largest = result
            new.append(panels)
            lost += hopeless
            scale = max(scale, largest)
        ordinary += sum(int(np.sum(np.diff(panels, axis=1) > WIDE)) for panels in new)
        many = lost / 2 + sum(abs(x) < end for x in breaks) > MAX_BREAKS
        if first and many:
            return None
        if not first and (many or ordinary > MAX_PANELS):
            break
        done += new
        given_up = lost
    return _sorted(done), given_up == 0


def _is_narrow(panels: np.ndarray) -> np.ndarray:
    """Which panels are so narrow that they surround a break, or something as sharp."""
    return np.diff(panels, axis=1)[:, 0] <= CLUSTER * np.maximum(1.0, np.abs(panels).max(axis=1))


def _sorted(panels: list[np.ndarray]) -> np.ndarray:
    stacked = np.concatenate(panels)
    return stacked[np.argsort(stacked[:, 0])]


def _bisect(
    function: Callable, panels: np.ndarray, scale: float, floor: float
) -> tuple[np.ndarray, int, float] | None:
    """Bisect panels until they are resolved; None if that is hopeless.

    Returns the panels, how many never are resolved, and the largest size of phi.
    """
    accepted: list[np.ndarray] = []
    largest = 0.0
    searched = given_up = 0
    envelope = np.zeros((2, 1))  # largest |phi| so far at places no further from zero than ...
    while len(panels):
        values = _sample(function, panels)
        if not np.all(np.isfinite(values)):
            return None
        size = np.abs(values).max(axis=1)
        largest = max(largest, float(size.max()))
        # The Gaussian weight is symmetric, so what is small against the values nearer to zero does not
        # matter.
        outer = np.abs(panels).max(axis=1)
        envelope = _envelope(np.append(envelope, [outer, size], axis=1))
        reference = envelope[1, np.searchsorted(envelope[0], outer, side="right") - 1]
        width = np.diff(panels, axis=1)[:, 0]
        # phi cannot look smoother than the rounding of its argument lets it.
        rounding = 4e-16 * outer * np.ptp(values, axis=1) / width
        reference = np.maximum(reference, max(scale, UNDERFLOW * largest, 1e-300))
        tolerance = RESOLVED * reference + rounding
        fit = chebyshev_fit(values)
        tail = np.abs(fit[:, -3:]).max(axis=1)
        smooth = tail <= tolerance
        missed = np.abs(_sample(function, panels[smooth], _PROBES) - fit[smooth] @ _AT_PROBES)
        smooth[smooth] = missed.max(axis=1) <= 100 * tolerance[smooth]
        noisy = ~smooth & (tail <= NOISE * reference) & (width > NARROW * np.maximum(1.0, outer))
        smooth[noisy] = _as_smooth_as_noise(function, panels[noisy], fit[noisy], tolerance[noisy])
        give_up = ~smooth & (width <= floor * np.maximum(1.0, outer))
        given_up += int(give_up.sum())
        stop = smooth | give_up
        accepted.append(panels[stop])
        left, right = panels[~stop].T
        middle = (left + right) / 2
        panels = np.concatenate([np.column_stack([left, middle]), np.column_stack([middle, right])])
        panels = panels[np.argsort(panels[:, 0])]
        searched += len(panels)
        if len(panels) > MAX_UNRESOLVED or searched > MAX_SEARCHED:
            return None
    return np.concatenate(accepted), given_up, largest


def _as_smooth_as_noise(
    function: Callable, panels: np.ndarray, fit: np.ndarray, tolerance: np.ndarray
) -> np.ndarray:
    """Whether what a polynomial leaves out is no more than the rounding noise of phi.

    The noise is read off fourth differences. (e^x - 1)/x is such a function: its noise grows towards zero.
    """
    if len(panels) == 0:
        return np.zeros(0, dtype=bool)
    at = np.concatenate([NODES, _PROBES])
    places = at[:, None] + 1e-5 * (1 - np.abs(at[:, None])) * np.arange(-2, 3)
    values = _sample(function, panels, places.ravel()).reshape(len(panels), at.size, 5)
    # In units of the tolerance: squares must not overflow.
    noise = np.abs(values @ [1, -4, 6, -4, 1]) / np.sqrt(70) / tolerance[:, None]
    everywhere = np.sqrt(np.mean(noise[:, : NODES.size] ** 2, axis=1, keepdims=True))
    missed = np.abs(values[:, NODES.size :, 2] - fit @ _AT_PROBES) / tolerance[:, None]
    tail = np.abs(fit[:, -3:]).max(axis=1, keepdims=True) / tolerance[:, None]
    # It may be small by chance at one of the probes beside an end, not at all of them.
    beside = noise[:, NODES.size :].reshape(len(panels), 2, -1).max(axis=2)
    at_probes = np.maximum(np.repeat(beside, _PROBES.size // 2, axis=1), everywhere)
    return np.all(tail <= np.maximum(2 * everywhere, 1), axis=1) & np.all(missed <= 100 + 10 * at_probes, axis=1)


def _envelope(points: np.ndarray) -> np.ndarray:
    """The running maximum of rows (x, y) over x, where it grows."""
    x, y = points[:, np.lexsort((-points[1], points[0]))]
    highest = np.maximum.accumulate(y)
    grows = np.append(True, highest[1:] > highest[:-1])
    return np.array([x[grows], highest[grows]])


def _clusters(panels: np.ndarray) -> list[tuple[float, float]]:
    """Centres of clusters of narrow panels, and how far from each a break can be."""
    narrow = panels[_is_narrow(panels)]
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
        last = np.abs(values[:, -3:]).sum(axis=1)
        noisy = near & (half[:, 0] > NARROW) & (last > 1e-13 * np.abs(values[near]).max())
        slope_noise = max(slope_noise, LAST[1] * float((last / half[:, 0])[noisy].max(initial=0.0)))
    linear = bool(np.all(np.abs(values[:, 2:]).max(axis=1) <= 1e-13 * np.abs(values).max(axis=1)))
    homogeneous = None
    if linear and not np.any(breaks) and np.all(jumps[at, 0] == 0):
        zero = int(np.searchsorted(edges, 0.0))
        # phi(0) from the panel to the right of zero, which starts there
        if abs(at_left[0, zero]) <= 1e-13 * np.abs(values[zero]).max():
            low, high = _sample(function, np.array([[-1.0, 1.0]]), np.array([-1.0, 1.0]))[0]
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
    """Coefficients of the derivative on panels of that half width, noise chopped."""
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

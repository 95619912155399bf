"""A function of one variable as piecewise polynomials: what kernels see of an activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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

RESOLVED = 1e-14  # relative size of the last Chebyshev coefficients of a resolved panel
CLUSTER = 1e-7  # panels narrower than this (relative) surround a kink
MAX_PANELS = 3000
SHELL = 16.0  # the first shell is [-16, 16]; shells double up to 2^MAX_SHELLS times that
MAX_SHELLS = 10


def chebyshev_fit(values: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients (last axis) from values at the 16 nodes (last axis), rounding noise chopped."""
    coefficients = values @ _FIT.T
    noise = 3e-16 * np.abs(values).max(axis=-1, keepdims=True)
    coefficients[np.abs(coefficients) < noise] = 0.0
    return coefficients


@dataclass(frozen=True)
class Pieces:
    """Piecewise polynomials on ``edges``; coefficients of phi, phi', phi'' in the Chebyshev basis of each panel.

    Attributes
    ----------
    edges : (n + 1,) array
        Panel edges; kinks are among them.
    coefficients : (3, n, 16) array
        phi, phi', phi''.
    kinks, slopes, jumps : (m,) arrays
        Positions, jumps of phi' and jumps of phi.
    resolved : bool
        False if some panel stayed unresolved (a singularity that is neither a kink nor a jump).
    homogeneous : (float, float) or None
        Slopes on the two sides of zero if phi is positively homogeneous.
    piecewise_linear : bool
    """

    edges: np.ndarray
    coefficients: np.ndarray
    kinks: np.ndarray
    slopes: np.ndarray
    jumps: np.ndarray
    resolved: bool
    piecewise_linear: bool
    homogeneous: tuple[float, float] | None

    @property
    def reach(self) -> float:
        """phi is known on [-reach, reach]."""
        return float(self.edges[-1])

    def evaluate(self, x: np.ndarray, derivative: int = 0) -> np.ndarray:
        """phi, phi' or phi'' at x, elementwise; beyond the last panel its polynomial is continued linearly."""
        flat = np.asarray(x, dtype=np.float64).ravel()
        inside = np.clip(flat, self.edges[0], self.edges[-1])
        panel = np.clip(np.searchsorted(self.edges, inside, side="right") - 1, 0, self.edges.size - 2)
        left, right = self.edges[panel], self.edges[panel + 1]
        t = (2 * inside - left - right) / (right - left)
        c = self.coefficients[derivative, panel].T
        # Clenshaw
        b1 = np.zeros_like(t)
        b2 = np.zeros_like(t)
        for k in range(DEGREE, 0, -1):
            b1, b2 = c[k] + 2 * t * b1 - b2, b1
        value = c[0] + t * b1 - b2
        if derivative == 0 and np.any(flat != inside):
            value = value + self.evaluate(inside, 1) * (flat - inside)
        return value.reshape(np.shape(x))


def resolve(
    name: str, function: Callable, derivative: Callable | None, given_kinks: tuple[float, ...] = ()
) -> Pieces:
    """Bisect until every panel is resolved to rounding; a point that never resolves is a kink."""

    def sample(f: Callable, edges: np.ndarray) -> np.ndarray:
        half = np.diff(edges, axis=-1)[..., 0] / 2
        middle = edges.mean(axis=-1)
        x = middle[:, None] + half[:, None] * NODES
        with np.errstate(all="ignore"):
            return np.asarray(f(x), dtype=np.float64)

    kinks = sorted({float(k) for k in given_kinks})
    panels, found, resolved = _shells(sample, function, kinks)
    if panels is None:
        raise ValueError(
            f"activation {name!r} could not be resolved on [-{SHELL:g}, {SHELL:g}]: it is noisy, oscillates too fast, or is "
            "not finite there; pass a smoother function or rescale its argument."
        )
    if found:
        panels, _, resolved = _shells(sample, function, sorted({*kinks, *found}), final=True)
    edges = np.append(panels[:, 0], panels[-1, 1])
    values = chebyshev_fit(sample(function, panels))
    half = np.diff(edges) / 2
    if derivative is not None:
        first = chebyshev_fit(sample(derivative, panels))
    else:
        first = values @ _DIFFERENTIATE.T / half[:, None]
    second = first @ _DIFFERENTIATE.T / half[:, None]
    return _finish(function, edges, np.stack([values, first, second]), resolved)


def _shells(sample: Callable, function: Callable, kinks: list[float], final: bool = False) -> tuple:
    """Resolve [-16, 16], then [16, 32], [-32, -16], ... as far as the function is finite and panels are few."""
    done: list[np.ndarray] = []
    found: list[float] = []
    resolved = True
    scale = 0.0
    for shell in range(MAX_SHELLS + 1):
        reach = SHELL * 2.0**shell
        if shell == 0:
            start = np.concatenate([-(2.0 ** np.arange(4, -2, -1)), [0.0], 2.0 ** np.arange(-1, 5)])
            spans = [start]
        else:
            spans = [np.array([-reach, -reach / 2]), np.array([reach / 2, reach])]
        new: list[np.ndarray] = []
        for span in spans:
            inside = [k for k in kinks if span[0] < k < span[-1]]
            edges = np.unique(np.concatenate([span, inside]))
            result = _bisect(sample, function, np.column_stack([edges[:-1], edges[1:]]), scale, final)
            if result is None:
                return (None, [], False) if shell == 0 else (_merge(done), found, resolved)
            panels, clusters, ok, scale = result
            new.append(panels)
            found += clusters
            resolved &= ok
        if sum(map(len, done)) + sum(map(len, new)) > MAX_PANELS and shell > 0:
            break
        done += new
    return _merge(done), found, resolved


def _merge(panels: list[np.ndarray]) -> np.ndarray:
    stacked = np.concatenate(panels)
    return stacked[np.argsort(stacked[:, 0])]


def _bisect(
    sample: Callable, function: Callable, panels: np.ndarray, scale: float, final: bool
) -> tuple[np.ndarray, list[float], bool, float] | None:
    """Bisect panels until resolved. Returns panels, kink positions, whether all resolved, and max |f| so far."""
    accepted: list[np.ndarray] = []
    tiny: list[np.ndarray] = []
    resolved = True
    while len(panels):
        values = sample(function, panels)
        if not np.all(np.isfinite(values)):
            return None
        coefficients = chebyshev_fit(values)
        size = np.abs(values).max(axis=1)
        # The Gaussian weight is symmetric, so what is small against the values nearer to zero does not matter.
        outer = np.abs(panels).max(axis=1)
        order = np.argsort(outer)
        running = np.empty(len(panels))
        running[order] = np.maximum.accumulate(size[order])
        if not accepted:
            scale = max(scale, 0.0)
        reference = np.maximum(running, scale if panels[0, 0] < -SHELL or panels[-1, 1] > SHELL else 0.0)
        tail = np.abs(coefficients[:, -3:]).max(axis=1)
        width = panels[:, 1] - panels[:, 0]
        floor = (1e-11 if final else 4e-16) * np.maximum(1.0, outer)
        smooth = tail <= RESOLVED * np.maximum(reference, 1e-300)
        give_up = ~smooth & (width <= floor)
        resolved &= not np.any(give_up)
        scale = max(scale, float(size.max()))
        stop = smooth | give_up
        narrow = stop & (width <= CLUSTER * np.maximum(1.0, outer))
        accepted.append(panels[stop])
        tiny.append(panels[narrow])
        left, right = panels[~stop].T
        middle = (left + right) / 2
        panels = np.concatenate([np.column_stack([left, middle]), np.column_stack([middle, right])])
        panels = panels[np.argsort(panels[:, 0])]
        if len(panels) + sum(map(len, accepted)) > 4 * MAX_PANELS:
            return None
    found: list[float] = []
    narrow_panels = np.concatenate(tiny)
    if len(narrow_panels) and not final:
        narrow_panels = narrow_panels[np.argsort(narrow_panels[:, 0])]
        gaps = np.flatnonzero(narrow_panels[1:, 0] > narrow_panels[:-1, 1])
        for cluster in np.split(narrow_panels, gaps + 1):
            width = np.diff(cluster, axis=1)[:, 0]
            smallest = cluster[width <= 2.5 * width.min()]
            found.append(float((smallest.min() + smallest.max()) / 2))
    return np.concatenate(accepted), found, resolved, scale


def _finish(function: Callable, edges: np.ndarray, coefficients: np.ndarray, resolved: bool) -> Pieces:
    sign = (-1.0) ** np.arange(DEGREE + 1)
    at_left = coefficients[:2] @ sign  # phi and phi' at the left end of each panel
    at_right = coefficients[:2].sum(axis=-1)
    jump = at_left[:, 1:] - at_right[:, :-1]
    # Noise of a jump: rounding relative to the largest value in the two panels and nearer to zero; a slope read off
    # the values on a narrow panel is noisier by the panel's width.
    inner = np.argsort(np.abs(edges[1:-1]))
    largest = np.abs(coefficients[:2]).sum(axis=-1)
    size = np.empty_like(jump)
    size[:, inner] = np.maximum.accumulate(np.maximum(largest[:, 1:], largest[:, :-1])[:, inner], axis=1)
    width = np.minimum(np.diff(edges)[1:], np.diff(edges)[:-1])
    value_jump = np.where(np.abs(jump[0]) > 1e-11 * size[0], jump[0], 0.0)
    slope_jump = np.where(np.abs(jump[1]) > 1e-9 * size[1] + 1e-12 * size[0] / width, jump[1], 0.0)
    at = np.flatnonzero((slope_jump != 0) | (value_jump != 0))
    linear = bool(np.all(np.abs(coefficients[0][:, 2:]).max(axis=1) <= 1e-13 * np.abs(coefficients[0]).max(axis=1)))
    kinks = edges[1:-1][at]
    kinks = np.where(np.abs(kinks) < 1e-13, 0.0, kinks)
    homogeneous = None
    if linear and np.all(value_jump == 0) and (kinks.size == 0 or (kinks.size == 1 and kinks[0] == 0.0)):
        zero = int(np.searchsorted(edges, 0.0))
        # phi(0) from the panel to the right of zero, which starts there
        if abs(at_left[0, zero]) <= 1e-13 * np.abs(coefficients[0, zero]).max():
            low, high = np.asarray(function(np.array([-1.0, 1.0])), dtype=np.float64)
            homogeneous = (float(-low), float(high))
    return Pieces(
        edges=edges,
        coefficients=coefficients,
        kinks=kinks,
        slopes=slope_jump[at],
        jumps=value_jump[at],
        resolved=resolved,
        piecewise_linear=linear,
        homogeneous=homogeneous,
    )

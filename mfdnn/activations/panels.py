"""The panels on which a function is a polynomial, by bisection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pieces import DEGREE, NODES, chebyshev_fit, sample

__all__ = [
    "CLUSTER",
    "MAX_BREAKS",
    "MAX_SHELLS",
    "MAX_UNRESOLVED",
    "NARROW",
    "NOISE",
    "RESOLVED",
    "SHELL",
    "UNDERFLOW",
    "is_narrow",
    "shells",
]

# A panel is compared with phi also close to its ends, where a feature can hide between the outermost nodes.
_PROBES = np.concatenate([-1 + 4.0 ** -np.arange(4, 13), 1 - 4.0 ** -np.arange(4, 13)])
_AT_PROBES = np.polynomial.chebyshev.chebvander(_PROBES, DEGREE).T

RESOLVED = 1e-14  # relative size of the last Chebyshev coefficients of a resolved panel
CLUSTER = 1e-2  # panels narrower than this (relative) surround a break, or something as sharp
NARROW = 1e-6  # (relative) width of panels that tell nothing of the noise
NOISE = 1e-10  # relative size of the rounding noise that a function may have
UNDERFLOW = 1e-100  # relative size below which phi is zero
MAX_PANELS = 1500
MAX_BREAKS = 512
MAX_UNRESOLVED = 3000  # at one time: the panels of noise double at every step, those around breaks do not
MAX_SEARCHED = 40000
SHELL = 16.0  # the first shell is [-16, 16]; shells double up to 2^MAX_SHELLS times that
MAX_SHELLS = 10
WIDE = 1e-3  # panels narrower than this are not counted: they close in on breaks


def shells(
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


def is_narrow(panels: np.ndarray) -> np.ndarray:
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
        values = sample(function, panels)
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
        missed = np.abs(sample(function, panels[smooth], _PROBES) - fit[smooth] @ _AT_PROBES)
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
    values = sample(function, panels, places.ravel()).reshape(len(panels), at.size, 5)
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

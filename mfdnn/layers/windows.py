"""Windows over sites: what units of a convolution or of a pooling layer read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._support.validation import positive_integer

__all__ = ["MODES", "Along", "Windows", "sizes"]

MODES = ("zeros", "circular", "reflect")


class Along(NamedTuple):
    """Windows along one axis of sites.

    Tap b of window p reads site ``p * stride + b * dilation - low``; where there is none, `mode` says what it reads.
    """

    size: int  # sites
    n_out: int  # windows
    kernel: int  # taps
    stride: int
    dilation: int
    low: int  # padding in front of the first site
    mode: str

    @property
    def high(self) -> int:
        """Padding behind the last site; negative if the last window ends before it."""
        return (self.n_out - 1) * self.stride + self.dilation * (self.kernel - 1) + 1 - self.low - self.size

    def sources(self, place: np.ndarray) -> np.ndarray:
        """Sites that are read at these places, which may lie outside; -1: zero."""
        if self.mode == "circular":
            return place % self.size
        if self.mode == "reflect" and self.size > 1:
            place = place % (2 * self.size - 2)
            return np.where(place < self.size, place, 2 * self.size - 2 - place)
        return np.where((place >= 0) & (place < self.size), place, -1)

    def tap(self, b: int) -> np.ndarray:
        """Sites that tap b reads, one for every window."""
        return self.sources(np.arange(self.n_out) * self.stride + b * self.dilation - self.low)

    def centre(self) -> Along:
        """The same with the centre tap alone."""
        return self._replace(kernel=1, dilation=1, low=self.low - self.dilation * ((self.kernel - 1) // 2))

    def mean(self, k: np.ndarray, *axes: int) -> np.ndarray:
        """Mean over taps of an array whose `axes` of sites are read at the same tap."""
        if self == (self.size, self.size, 1, 1, self.dilation, 0, self.mode):
            return k  # the identity
        axes = tuple(axis % k.ndim for axis in axes)
        shape = tuple(self.n_out if axis in axes else n for axis, n in enumerate(k.shape))
        total = np.zeros(shape, k.dtype)
        for b in range(self.kernel):
            source = self.tap(b)
            inside = np.flatnonzero(source >= 0)
            if not inside.size:
                continue
            first, last = inside[0], inside[-1]  # without a gap, as sites have none
            target, at = [slice(None)] * k.ndim, k
            for axis in axes:
                target[axis] = slice(first, last + 1)
                at = np.take(at, source[first : last + 1], axis=axis)
            total[tuple(target)] += at
        total /= self.kernel
        return total


class Windows:
    """Windows over the sites of a shape, one a site that leaves.

    Attributes
    ----------
    along : tuple of Along
        One an axis of sites.
    sites, out : tuple of int
        Sites that enter, and that leave.
    taps : int
        Sites that a window reads.
    """

    def __init__(self, along: Sequence[Along]):
        self.along = tuple(along)
        self.sites = tuple(axis.size for axis in self.along)
        self.out = tuple(axis.n_out for axis in self.along)
        self.kernel = tuple(axis.kernel for axis in self.along)
        self.taps = prod(self.kernel)

    @property
    def d(self) -> int:
        """How many axes of sites there are."""
        return len(self.along)

    def centre(self) -> Windows:
        """The centre tap of every window alone."""
        return Windows([axis.centre() for axis in self.along])

    # -- infinite width ---------------------------------------------------------------------------------------

    def mean_of_pairs(self, k: np.ndarray) -> np.ndarray:
        """Mean over taps, the same of both sites: (..., n, n) to (..., m, m)."""
        lead, d = k.shape[:-2], self.d
        k = k.reshape(*lead, *self.sites, *self.sites)
        for i, axis in enumerate(self.along):
            k = axis.mean(k, i - 2 * d, i - d)
        return k.reshape(*lead, prod(self.out), prod(self.out))

    def mean_of_all_pairs(self, k: np.ndarray) -> np.ndarray:
        """Mean over two taps, one of either site: (..., n, n) to (..., m, m)."""
        lead, d = k.shape[:-2], self.d
        k = k.reshape(*lead, *self.sites, *self.sites)
        for i, axis in enumerate(self.along):
            k = axis.mean(axis.mean(k, i - 2 * d), i - d)
        return k.reshape(*lead, prod(self.out), prod(self.out))

    def mean_of_sites(self, a: np.ndarray) -> np.ndarray:
        """Mean over taps of numbers of every site: (..., n) to (..., m)."""
        lead = a.shape[:-1]
        a = a.reshape(*lead, *self.sites)
        for i, axis in enumerate(self.along):
            a = axis.mean(a, i - self.d)
        return a.reshape(*lead, prod(self.out))

    # -- finite width -----------------------------------------------------------------------------------------

    @cached_property
    def _padded(self) -> tuple[tuple[int, int], ...]:
        return tuple((axis.low, max(axis.high, 0)) for axis in self.along)

    def patches(self, x: np.ndarray) -> np.ndarray:
        """What the windows read, (b, c, *sites) to (b, c, taps, m)."""
        from numpy.lib.stride_tricks import sliding_window_view

        if any(map(any, self._padded)):
            modes: dict[str, Any] = {"zeros": "constant", "circular": "wrap", "reflect": "reflect"}
            x = np.pad(x, ((0, 0), (0, 0), *self._padded), modes[self.along[0].mode])
        spans = tuple(axis.dilation * (axis.kernel - 1) + 1 for axis in self.along)
        view = sliding_window_view(x, spans, axis=tuple(range(2, 2 + self.d)))
        steps = [slice(None, (axis.n_out - 1) * axis.stride + 1, axis.stride) for axis in self.along]
        taps = [slice(None, None, axis.dilation) for axis in self.along]
        view = view[(slice(None), slice(None), *steps, *taps)]
        order = (0, 1, *range(2 + self.d, 2 + 2 * self.d), *range(2, 2 + self.d))
        return view.transpose(order).reshape(*x.shape[:2], self.taps, prod(self.out))

    def scattered(self, p: np.ndarray) -> np.ndarray:
        """The transpose of `patches`, (b, c, taps, m) to (b, c, *sites)."""
        sizes = [axis.size + low + high for axis, (low, high) in zip(self.along, self._padded, strict=True)]
        x = np.zeros((*p.shape[:2], *sizes), p.dtype)
        for b, tap in enumerate(np.ndindex(self.kernel)):
            at: list[Any] = [
                slice(i * axis.dilation, i * axis.dilation + (axis.n_out - 1) * axis.stride + 1, axis.stride)
                for i, axis in zip(tap, self.along, strict=True)
            ]
            x[(slice(None), slice(None), *at)] += p[:, :, b].reshape(*p.shape[:2], *self.out)
        for i, (axis, (low, high)) in enumerate(zip(self.along, self._padded, strict=True)):
            x = np.moveaxis(x, 2 + i, 0)
            inside = x[low : low + axis.size]
            outside = [*range(-low, 0), *range(axis.size, axis.size + high)]
            for place, source in zip(outside, axis.sources(np.array(outside, int)), strict=True):
                if source >= 0:
                    inside[source] += x[low + place]
            x = np.moveaxis(inside, 0, 2 + i)
        return x


def sizes(name: str, value: Any) -> int | tuple[int, ...]:
    """A positive number, or one for each axis of sites."""
    if isinstance(value, list | tuple) and value:
        return tuple(positive_integer(name, size) for size in value)
    return positive_integer(name, value)

"""Windows over sites: what units of a convolution or of a pooling layer read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._support.validation import positive_integer

__all__ = ["MODES", "Along", "Pooling", "Windows", "sizes"]

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
        # As k lies in memory: sites may come first there.
        total = np.zeros_like(k, shape=shape)
        for b in range(self.kernel):
            for runs in product(self.runs(b), repeat=len(axes)):
                target: list[Any] = [slice(None)] * k.ndim
                source = list(target)
                for axis, (there, here) in zip(axes, runs, strict=True):
                    target[axis], source[axis] = there, here
                total[tuple(target)] += k[tuple(source)]
        total /= self.kernel
        return total

    def runs(self, b: int) -> list[tuple[slice, slice]]:
        """Windows, and the sites that their tap b reads, in runs of one step."""
        found, source = [], self.tap(b)
        p = 0
        while p < len(source):
            end = p + 1
            if source[p] >= 0:
                step = source[end] - source[p] if end < len(source) and source[end] >= 0 else 1
                while end < len(source) and source[end] >= 0 and source[end] - source[end - 1] == step != 0:
                    end += 1
                step = step if end > p + 1 else 1
                last = source[end - 1] + (1 if step > 0 else -1)
                found.append((slice(p, end), slice(source[p], last if last >= 0 else None, step)))
            p = end
        return found


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

    @property
    def ring(self) -> bool:
        """Whether a signal that is the same everywhere on a ring stays so."""
        return all(
            axis.n_out * axis.stride == axis.size
            and (axis.mode == "circular" or max(axis.low, axis.high) <= 0)
            for axis in self.along
        )

    def mean_of_offsets(self, k: np.ndarray) -> np.ndarray:
        """`mean_of_pairs` on a ring, of numbers of every offset: (..., n) to (..., m).

        All taps of two windows have the offset of their first ones.
        """
        k = k.reshape(*k.shape[:-1], *self.sites)
        for i, axis in enumerate(self.along):
            k = np.take(k, np.arange(axis.n_out) * axis.stride, axis=i - self.d)
        return k.reshape(*k.shape[: -self.d], -1)

    def mean_of_all_offsets(self, k: np.ndarray) -> np.ndarray:
        """`mean_of_all_pairs` on a ring, of numbers of every offset: (..., n) to (..., m)."""
        k = k.reshape(*k.shape[:-1], *self.sites)
        for i, axis in enumerate(self.along):
            first, total = np.arange(axis.n_out) * axis.stride, np.zeros(())
            for shift in range(1 - axis.kernel, axis.kernel):  # a - b, as often as it comes
                source = (first + shift * axis.dilation) % axis.size
                total = total + (axis.kernel - abs(shift)) * np.take(k, source, axis=i - self.d)
            k = total / axis.kernel**2
        return k.reshape(*k.shape[: -self.d], -1)

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

    def slices(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Every tap with what it reads of an array (..., *sites), padding included."""
        for b, tap in enumerate(np.ndindex(self.kernel)):
            starts = [i * axis.dilation for i, axis in zip(tap, self.along, strict=True)]
            steps = [
                slice(start, start + (axis.n_out - 1) * axis.stride + 1, axis.stride)
                for start, axis in zip(starts, self.along, strict=True)
            ]
            yield b, (..., *steps)

    def scattered(self, p: np.ndarray) -> np.ndarray:
        """The transpose of `patches`, (b, c, taps, m) to (b, c, *sites)."""
        sizes = [axis.size + low + high for axis, (low, high) in zip(self.along, self._padded, strict=True)]
        x = np.zeros((*p.shape[:2], *sizes), p.dtype)
        for b, at in self.slices():
            x[at] += p[:, :, b].reshape(*p.shape[:2], *self.out)
        for i, (axis, (low, high)) in enumerate(zip(self.along, self._padded, strict=True)):
            x = np.moveaxis(x, 2 + i, 0)
            inside = x[low : low + axis.size]
            outside = [*range(-low, 0), *range(axis.size, axis.size + high)]
            for place, source in zip(outside, axis.sources(np.array(outside, int)), strict=True):
                if source >= 0:
                    inside[source] += x[low + place]
            x = np.moveaxis(inside, 0, 2 + i)
        return x


@lru_cache(maxsize=1024)
def _pooling_windows(
    layer: str, sites: tuple[int, ...], size: int | tuple[int, ...], stride: int | tuple[int, ...]
) -> Windows:
    """Whole windows over these sites, checked, from the first site on.

    Sites behind the last one are left out. `layer` is the name in messages.
    """
    d = len(sites)
    both = [value if isinstance(value, tuple) else (value,) * d for value in (size, stride)]
    if any(len(values) != d for values in both):
        raise ValueError(
            f"`size` and `stride` must be numbers, or one for each of {d} axes of sites, got {size!r} and {stride!r} "
            f"where {'x'.join(map(str, sites))} sites enter; pass {d} of them."
        )
    if any(window > n for n, window in zip(sites, both[0], strict=True)):
        raise ValueError(
            f"`{layer}` needs windows no longer than the sites, got a `size` of {size!r} where "
            f"{'x'.join(map(str, sites))} sites enter; take a smaller one."
        )
    along = zip(sites, *both, strict=True)
    return Windows([Along(n, (n - window) // step + 1, window, step, 1, 0, "zeros") for n, window, step in along])


class Pooling:
    """What pooling layers share: whole windows along all axes of sites."""

    def __init__(self, size: int | Sequence[int], stride: int | Sequence[int] | None = None):
        self.size = sizes("size", size)
        self.stride = self.size if stride is None else sizes("stride", stride)

    def __repr__(self) -> str:
        extra = "" if self.stride == self.size else f", stride={self.stride}"
        return f"{type(self).__name__}({self.size}{extra})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2:
            raise ValueError(
                f"`{type(self).__name__}` takes channels with sites, but {'x'.join(map(str, shape))} enter without; "
                "put it before `Flatten`, or leave it out."
            )
        return (shape[0], *self.windows(shape).out)

    def windows(self, shape: tuple[int, ...]) -> Windows:
        """The windows over a shape that enters."""
        return _pooling_windows(type(self).__name__, shape[1:], self.size, self.stride)


def sizes(name: str, value: Any) -> int | tuple[int, ...]:
    """A positive number, or one for each axis of sites."""
    if isinstance(value, list | tuple) and value:
        return tuple(positive_integer(name, size) for size in value)
    return positive_integer(name, value)

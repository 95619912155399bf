"""Pooling by means: of sites in windows, or of all sites."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from .base import Layer
from .pairs import OFFSETS, SitePairs
from .recorded import Recorded
from .state import State
from .units import Units, as_moments
from .windows import Pooling

__all__ = ["AveragePool", "GlobalAveragePool"]


class AveragePool(Pooling, Layer):
    r"""Means of every channel over windows of sites.

    Infinite width: with the mean over windows as a matrix M, :math:`K \to M K M^T`, of moments and of tangent kernels,
    for which all pairs of sites are needed. Sites behind the last whole window are not read, as in PyTorch.

    Parameters
    ----------
    size : int or sequence of int
        Sites of a window along each axis; a number stands for the same along all.
    stride : int or sequence of int, optional
        Distance of windows. Default: `size`, windows side by side.

    Raises
    ------
    TypeError, ValueError
        Numbers that are not positive. In a network: no sites, numbers of axes that do not fit, windows longer than the
        sites.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.AveragePool(2).output_shape((64, 32, 32))
    (64, 16, 16)
    >>> mfdnn.AveragePool(2).output_shape((64, 9, 9))  # the last row and column are left out
    (64, 4, 4)
    """

    homogeneous = batches_errors = True

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        state, windows = as_moments(state), self.windows(state.shape)
        return state.mapped(
            state.moments.pooled(windows),
            lambda kernel: kernel.pooled(windows),
            mean=windows.mean_of_sites(state.mean),
            shape=self.output_shape(state.shape),
        )

    def through_units(self, units: Units) -> Units:
        means = self.windows((1, *units.sites)).mean_of_sites
        return units.mapped(means(units.values), means, couples=False)

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return sites is OFFSETS and self.windows(shape).ring

    def recorded(self, units: Recorded) -> Recorded:
        means = self.windows(units.shape).mean_of_sites(np.eye(prod(units.shape[1:]))).T
        return units.over_sites(means, self.output_shape(units.shape))

    # -- finite width -----------------------------------------------------------------------------------------
    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        trace.append(x.shape[1:])
        return self._means(x, x.shape[1:])

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        shape = next(trace)
        return None if dx is None else self._means(dx, shape)

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        shape = next(trace)
        windows = self.windows(shape)
        lead = delta.shape[: delta.ndim - len(windows.out)]
        share = delta.reshape(1, -1, 1, prod(windows.out)) / delta.dtype.type(windows.taps)
        share = np.broadcast_to(share, (*share.shape[:2], windows.taps, share.shape[-1]))
        return windows.scattered(share).reshape(*lead, *windows.sites)

    def _means(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        windows = self.windows(shape)
        lead = x.shape[: x.ndim - len(windows.sites)]
        return windows.mean_of_sites(x.reshape(*lead, -1)).reshape(*lead, *windows.out)


class GlobalAveragePool(Layer):
    r"""The mean of every channel over all its sites: (T, c, \*sites) becomes (T, c).

    Infinite width: means over all pairs of sites, of moments and of tangent kernels.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.GlobalAveragePool().output_shape((64, 8, 8))
    (64,)
    """

    homogeneous = batches_errors = True

    def __repr__(self) -> str:
        return "GlobalAveragePool()"

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        state = as_moments(state)
        return state.mapped(
            state.moments.mean_over_sites(),
            lambda kernel: kernel.mean_over_sites(),
            mean=state.mean.mean(axis=-1, keepdims=True),
            shape=state.shape[:1],
        )

    def through_units(self, units: Units) -> Units:
        def mean(x: np.ndarray) -> np.ndarray:
            return x.mean(axis=-1, keepdims=True)

        return units.mapped(mean(units.values), mean, couples=False)

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return sites is OFFSETS

    def recorded(self, units: Recorded) -> Recorded:
        n = prod(units.shape[1:])
        return units.over_sites(np.full((1, n), 1 / n), self.output_shape(units.shape))

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[:1]

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        trace.append(x.shape[2:])
        return _mean(x, x.ndim - 2)

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        sites = next(trace)
        return None if dx is None else _mean(dx, len(sites))

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        sites = next(trace)
        share = (delta / delta.dtype.type(prod(sites))).reshape(*delta.shape, *[1] * len(sites))
        return np.broadcast_to(share, (*delta.shape, *sites))


def _mean(x: np.ndarray, d: int) -> np.ndarray:
    """Mean over the last d axes."""
    return x.mean(axis=tuple(range(x.ndim - d, x.ndim)))

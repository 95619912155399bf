"""Pooling by the largest of every window of sites."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from .base import Layer
from .recorded import Recorded
from .units import Units
from .windows import Pooling

__all__ = ["MaxPool"]


class MaxPool(Pooling, Layer):
    r"""Largest values of every channel in windows of sites.

    :math:`y_i(p) = \max_{s \in W(p)} x_i(s)`, as ``torch.nn.MaxPool2d`` without padding, along any number of axes:
    sites behind the last whole window are not read. The derivative goes to the site of the largest value, of equal ones
    to the first.

    Infinite width: units are sampled (`MeanField`), with standard errors. All pairs of sites are needed.

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
    >>> mfdnn.MaxPool(3, 2).output_shape((64, 32, 32))
    (64, 15, 15)
    """

    homogeneous = batches_errors = True

    # -- infinite width ---------------------------------------------------------------------------------------
    def through_units(self, units: Units) -> Units:
        windows = self.windows((1, *units.sites))
        x = units.values.reshape(*units.values.shape[:2], *units.sites)
        places = np.arange(prod(units.sites)).reshape(units.sites)
        (_, first), *others = windows.slices()
        largest = x[first].copy()
        at = np.broadcast_to(places[first], largest.shape).copy()
        for _, of in others:
            larger = x[of] > largest
            np.copyto(largest, x[of], where=larger)
            np.copyto(at, places[of], where=larger)
        return units.picked(at.reshape(*at.shape[:2], -1))

    def recorded(self, units: Recorded) -> Recorded:
        return units.largest(self.windows(units.shape), self.output_shape(units.shape))

    # -- finite width -----------------------------------------------------------------------------------------
    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        windows = self.windows(x.shape[1:])
        (_, first), *others = windows.slices()
        y = x[first].copy()
        tap = np.zeros(y.shape, np.min_scalar_type(windows.taps))  # of the largest, in each window
        for b, at in others:
            larger = x[at] > y
            np.copyto(y, x[at], where=larger)
            np.copyto(tap, tap.dtype.type(b), where=larger)
        trace.append((tap, x.shape[1:]))
        return y

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        tap, shape = next(trace)
        if dx is None:
            return None
        windows = self.windows(shape)
        dy = np.empty((*dx.shape[: dx.ndim - windows.d], *windows.out), dx.dtype)
        for b, at in windows.slices():
            np.copyto(dy, dx[at], where=tap == b)
        return dy

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        tap, shape = next(trace)
        windows = self.windows(shape)
        below = np.zeros((*delta.shape[: delta.ndim - windows.d], *windows.sites), delta.dtype)
        for b, at in windows.slices():  # windows may overlap
            below[at] += np.where(tap == b, delta, delta.dtype.type(0))
        return below

"""All sites side by side: (channels, *sites) becomes one row of units."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from .base import Layer
from .pairs import SitePairs
from .recorded import Recorded
from .state import State
from .units import Units, as_moments

__all__ = ["Flatten"]


class Flatten(Layer):
    """Every channel at every site becomes a unit of its own, in C order.

    (T, c, *sites) becomes (T, c prod(sites)): `Dense` and the outputs need one site.
    Infinite width: means over the sites of the products at the same site.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.Network((3, 8, 8), [mfdnn.Flatten(), mfdnn.Dense(10)])
    Network(3x8x8: 192-10, linear, L=1, P=1930)
    """

    homogeneous = batches_errors = relabels = True

    def __repr__(self) -> str:
        return "Flatten()"

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        state, one_site = as_moments(state), state.moments.n_sites == 1
        return state.mapped(
            state.moments.site_mean(),
            lambda kernel: kernel.site_mean(),
            mean=state.mean.mean(axis=-1, keepdims=True),
            shape=self.output_shape(state.shape),
            gaussian=state.gaussian and one_site,  # else a mixture of the laws at several sites
        )

    def through_units(self, units: Units) -> Units:
        return units.apart()

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return True

    def recorded(self, units: Recorded) -> Recorded:
        return units.side_by_side(self.output_shape(units.shape))

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (prod(shape),)

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        trace.append(x.shape[1:])
        return x.reshape(len(x), -1)

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        shape = next(trace)
        return None if dx is None else dx.reshape(*dx.shape[: dx.ndim - len(shape)], -1)

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        return delta.reshape(*delta.shape[:-1], *next(trace))

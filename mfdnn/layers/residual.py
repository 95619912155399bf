"""Residual block: y = skip * x + block(x)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._support.validation import finite_number
from .base import Layer, checked_layers, shape_text
from .recorded import Recorded
from .state import State
from .two_paths import TwoPaths
from .units import joined_units

__all__ = ["Residual"]


class Residual(TwoPaths):
    r"""A block of layers with a skip connection around it, :math:`y = s\,x + B(x)`.

    Infinite width: the block holds a weight layer drawn independently of x, so the two branches are independent unit
    by unit and the second moments add up, :math:`s^2 v_x + v_B + 2 s\, m_x m_B` (m: means over units, zero after a
    weight layer). Errors add up too, :math:`(s^2 + \text{block factor})\,\tilde q`. A projection, layers in place of
    s, adds its own moments, and the tangent kernels that passed through it or were met there.

    Parameters
    ----------
    layers : sequence of Layer
        The block; it must contain a weight layer, and what leaves it must have the shape of the skip connection.
    skip : float, or sequence of Layer
        Factor of the skip connection (1: identity), or the layers that it consists of: a projection, where the block
        changes channels or sites.

    Examples
    --------
    >>> import mfdnn
    >>> conv = mfdnn.Conv(32, 3, 2.0, stride=2)
    >>> block = mfdnn.Residual([conv, mfdnn.Pointwise("relu"), mfdnn.Conv(32, 3, 2.0)], [mfdnn.Conv(32, 1, stride=2)])
    >>> block.output_shape((16, 8, 8))
    (32, 4, 4)

    References
    ----------
    Yang & Schoenholz 2017, "Mean field residual networks: on the edge of chaos", arXiv:1712.08969.
    """

    kind = "residual"

    def __init__(self, layers: Sequence[Layer], skip: float | Sequence[Layer] = 1.0):
        self.layers = checked_layers(layers)
        self.skip: Any
        self.beside: tuple[Layer, ...] = ()
        if isinstance(skip, list | tuple):
            self.skip = self.beside = checked_layers(skip, "skip")
            if not skip:
                raise ValueError(
                    "`skip` must be a number or a list of layers, got an empty one; write skip=1."
                )
        else:
            self.skip = finite_number("skip", skip)
        self._set_paths(self.layers, self.beside)
        if not any(layer.n_weight_layers for layer in self.layers):
            raise ValueError("`layers` of a Residual block must contain a weight layer; add a `Dense` layer.")

    def __repr__(self) -> str:
        extra = f", skip={self.skip:g}" if not self.beside else f", [{', '.join(map(repr, self.beside))}]"
        return f"Residual([{', '.join(map(repr, self.layers))}]{'' if self.skip == 1 else extra})"

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        return all(layer.homogeneous for layer in self.children)

    @property
    def bypass(self) -> float | None:
        return None if self.beside else self.skip

    def to_dict(self) -> dict[str, Any]:
        skip = [layer.to_dict() for layer in self.beside] if self.beside else self.skip
        return {"layer": "Residual", "layers": [layer.to_dict() for layer in self.layers], "skip": skip}

    def _of(self, first: list[Layer], second: list[Layer]) -> Residual:
        return Residual(first, second or self.skip)

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        branch, side, shared = self._propagated(state)
        factor = 1.0 if self.beside else self.skip
        if shared or side.units is not None or branch.units is not None:
            units = joined_units(self, side, branch, factor)
            return branch.replace(units=units, gaussian=False, origin=None)
        whole = side.joined(branch, factor)
        return whole if whole.gaussian else whole.replace(origin=lambda: joined_units(self, side, branch, factor))

    def recorded(self, units: Recorded) -> Recorded:
        branch, beside = self._recorded(units)
        return beside.plus(branch, 1.0 if self.beside else self.skip)

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        found, expected = self._output_shapes(shape)
        if found != expected:
            enter, leave = shape_text(expected), shape_text(found)
            if self.beside:
                raise ValueError(
                    f"`Residual` must have one shape behind its block and behind its projection: {leave} leave the one "
                    f"and {enter} the other; choose channels and strides so."
                )
            raise ValueError(
                f"`Residual` must keep the width: {enter} units enter and {leave} leave; make the last `Dense` "
                f"layer of the block {enter} wide."
                if len(shape) == len(found) == 1
                else f"`Residual` must keep channels and sites: {enter} enter and {leave} leave; choose the layers of "
                "the block so, or pass a projection: skip=[Conv(channels, 1, stride=...)]."
            )
        return found

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        branch, beside = self._forward(x, parameters, trace)
        return branch + (beside if self.beside else x * x.dtype.type(self.skip))

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        branch, beside = self._pushforward(dx, parameters, tangents, trace)
        if not self.beside and dx is not None:
            beside = dx * dx.dtype.type(self.skip)
        assert branch is not None  # the block holds a weight layer
        return branch if beside is None else branch + beside

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        branch, beside = self._backward(delta, delta, parameters, trace, collected)
        return branch + (beside if self.beside else delta * delta.dtype.type(self.skip))

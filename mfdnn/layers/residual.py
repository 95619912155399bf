"""Residual block: y = skip * x + block(x)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._support.validation import finite_number
from .base import Layer, checked_layers, propagated, shape_text
from .state import State

__all__ = ["Residual"]


class Residual(Layer):
    r"""A block of layers with a skip connection around it, :math:`y = s\,x + B(x)`.

    Infinite width: the block holds a weight layer drawn independently of x, so the two branches are independent unit
    by unit and the second moments add up, :math:`s^2 v_x + v_B + 2 s\, m_x m_B` (m: means over units, zero after a
    `Dense` layer). Errors add up too, :math:`(s^2 + \text{block factor})\,\tilde q`.

    Parameters
    ----------
    layers : sequence of Layer
        The block; it must contain a weight layer and keep the width.
    skip : float
        Factor of the skip connection (1: identity).

    References
    ----------
    Yang & Schoenholz 2017, "Mean field residual networks: on the edge of chaos", arXiv:1712.08969.
    """

    kind = "residual"

    def __init__(self, layers: Sequence[Layer], skip: float = 1.0):
        self.children = self.layers = checked_layers(layers)
        self.skip = finite_number("skip", skip)
        self.n_weight_layers = sum(layer.n_weight_layers for layer in self.layers)
        self.couples_samples = any(layer.couples_samples for layer in self.layers)
        self.batches_errors = all(layer.batches_errors for layer in self.layers)
        if self.n_weight_layers == 0:
            raise ValueError("`layers` of a Residual block must contain a weight layer; add a `Dense` layer.")

    def __repr__(self) -> str:
        return f"Residual([{', '.join(map(repr, self.layers))}]{'' if self.skip == 1 else f', skip={self.skip:g}'})"

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        return all(layer.homogeneous for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        return {"layer": "Residual", "layers": [layer.to_dict() for layer in self.layers], "skip": self.skip}

    def scaled(self, factor: float) -> Residual:
        return Residual([layer.scaled(factor) for layer in self.layers], self.skip)

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        branch = state
        for layer in self.layers:
            branch = propagated(layer, branch)
        return state.joined(branch, self.skip)

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        found = shape
        for layer in self.layers:
            found = layer.output_shape(found)
        if found != shape:
            enter, leave = shape_text(shape), shape_text(found)
            raise ValueError(
                f"`Residual` must keep the width: {enter} units enter and {leave} leave; make the last `Dense` "
                f"layer of the block {enter} wide."
                if len(shape) == len(found) == 1
                else f"`Residual` must keep channels and sites: {enter} enter and {leave} leave; choose the layers of "
                "the block so."
            )
        return shape

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        branch = x
        for layer in self.layers:
            branch = layer.forward(branch, parameters, trace)
        return branch + x * x.dtype.type(self.skip)

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        branch = dx
        for layer in self.layers:
            branch = layer.pushforward(branch, parameters, tangents, trace)
        assert branch is not None  # the block holds a weight layer
        return branch if dx is None else branch + dx * dx.dtype.type(self.skip)

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        branch = delta
        for layer in reversed(self.layers):
            branch = layer.backward(branch, parameters, trace, collected)
        return branch + delta * delta.dtype.type(self.skip)

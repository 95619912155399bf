"""Residual block: y = skip * x + block(x)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .._validation import finite_number
from .base import Layer, State, Tangent

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
        self.children = self.layers = tuple(layers)
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

    def scaled(self, factor: float) -> Residual:
        return Residual([layer.scaled(factor) for layer in self.layers], self.skip)

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate_state(self, state: State, trace: list) -> State:
        branch = state
        for layer in self.layers:
            branch = layer.propagate_state(branch, trace)
        s = self.skip
        # Means over units of two different inputs: rows and columns for given inputs, equal for exchangeable ones.
        matrix = state.covariance.ndim == state.variance.ndim + 1
        row = (lambda m: m[..., :, None]) if matrix else (lambda m: m)
        column = (lambda m: m[..., None, :]) if matrix else (lambda m: m)
        cross = row(state.mean) * column(branch.mean) + row(branch.mean) * column(state.mean)
        return state.replace(
            variance=s**2 * state.variance + branch.variance + 2 * s * state.mean * branch.mean,
            covariance=s**2 * state.covariance + branch.covariance + s * cross,
            mean=s * state.mean + branch.mean,
            width=branch.width,
            gaussian=state.gaussian and branch.gaussian,
        )

    def backpropagate_state(
        self, gradient: tuple[np.ndarray, np.ndarray], trace: Iterator
    ) -> tuple[np.ndarray, np.ndarray]:
        branch = gradient
        for layer in reversed(self.layers):
            branch = layer.backpropagate_state(branch, trace)
        return self.skip**2 * gradient[0] + branch[0], self.skip**2 * gradient[1] + branch[1]

    def propagate_tangents(self, tangents: list[Tangent], trace: Iterator) -> list[Tangent]:
        branch = tangents
        for layer in self.layers:
            branch = layer.propagate_tangents(branch, trace)
        s2 = self.skip**2
        both = [
            Tangent(t.source, s2 * t.one + b.one, s2 * t.two + b.two)
            for t, b in zip(tangents, branch, strict=False)  # the branch has those of its own parameters too
        ]
        return both + branch[len(tangents) :]

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        found = shape
        for layer in self.layers:
            found = layer.output_shape(found)
        if found != shape:
            enter, leave = ("x".join(map(str, sizes)) for sizes in (shape, found))
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

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        branch = delta
        for layer in reversed(self.layers):
            branch = layer.backward(branch, parameters, trace, collected)
        return branch + delta * delta.dtype.type(self.skip)

"""Pointwise nonlinearity: h_i = phi(u_i)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from .._matrices import covariances, moments
from ..activations import Activation, activation
from .base import Layer, State

__all__ = ["Pointwise"]


class Pointwise(Layer):
    r"""An activation applied to every unit.

    Infinite width: :math:`\hat q = E[\phi(u)^2]`, :math:`\hat q_{st} = E[\phi(u)\phi(v)]`; errors come back
    multiplied by :math:`E[\phi'(u)^2]` and :math:`E[\phi'(u)\phi'(v)]`.

    Parameters
    ----------
    phi : str, callable or Activation
        What `mfdnn.activation` accepts.
    """

    keeps_units = batches_errors = True

    def __init__(self, phi: str | Callable | Activation):
        self.activation: Activation = activation(phi)

    def __repr__(self) -> str:
        return f"Pointwise({self.activation.label!r})"

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        return self.activation.homogeneous is not None

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate_state(self, state: State, trace: list) -> State:
        if not state.gaussian:
            raise ValueError(
                f"`Pointwise({self.activation.label!r})` needs Gaussian pre-activations, but its input does not "
                "come from a weight layer; put a `Dense` layer before it."
            )
        act, square = self.activation, 0.0
        if np.any(state.mean):  # the offset of a normalisation, the same for all
            offset = float(np.ravel(state.mean)[0])
            act, square = _shifted(act, offset), offset**2
        mean, second, slope2 = moments(act, state.variance - square)
        product, slope_product = covariances(act, state.variance - square, state.covariance - square)
        trace.append((slope2, slope_product))
        return state.replace(variance=second, covariance=product, mean=mean, gaussian=False)

    def backpropagate_state(
        self, gradient: tuple[np.ndarray, np.ndarray], trace: Iterator
    ) -> tuple[np.ndarray, np.ndarray]:
        slope2, slope_product = next(trace)
        return slope2 * gradient[0], slope_product * gradient[1]

    # -- finite width -----------------------------------------------------------------------------------------
    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        trace.append(self.activation.slope(x))
        return self.activation(x)

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        slope = next(trace)
        return None if dx is None else slope * dx

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        return delta * next(trace)


@lru_cache(maxsize=16)  # tables are built once
def _shifted(act: Activation, offset: float) -> Activation:
    """phi(x + offset)."""
    kinks = [kink - offset for kink in act.kinks]
    return Activation(
        f"{act.name}_shifted", lambda x: act(x + offset), lambda x: act.slope(x + offset), kinks=kinks
    )

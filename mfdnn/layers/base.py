"""What a layer has to say: once for infinite width, once for a sampled network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Layer", "State", "WeightRecord"]


@dataclass(frozen=True)
class State:
    r"""Second moments of the units of an infinitely wide layer.

    All fields are means over units. Two numbers describe exchangeable inputs; a vector and a matrix
    describe T given inputs. The same algebra serves both by broadcasting.

    Attributes
    ----------
    variance
        Mean square of a unit, shape ``S`` (any) for exchangeable inputs, ``(T,)`` for given inputs.
    covariance
        Mean product of the values at two inputs, shape ``S`` (two different inputs) or ``(T, T)``.
    mean
        Mean over units, shape of `variance`. It matters where a skip connection adds two signals.
    width
        Number of units of the finite layer (it enters sizes of the Fisher information only).
    gaussian
        Whether the units are Gaussian over the draw of the weights, as `Pointwise` requires.
    """

    variance: np.ndarray
    covariance: np.ndarray
    mean: np.ndarray
    width: int
    gaussian: bool

    def replace(self, **changes: Any) -> State:
        """The state with some fields changed."""
        return replace(self, **changes)


@dataclass
class WeightRecord:
    """One weight layer of an infinitely wide network: what enters, what leaves, what comes back."""

    input: State
    output: State
    sigma_w2: float
    bias: bool
    gradient: tuple[Any, Any] = (np.nan, np.nan)  # (q_tilde, q_tilde_st), set on the way back


class Layer:
    r"""A layer, written twice.

    Infinite width: `propagate_state` maps the second moments of a layer's input to those of its output and
    appends one record to `trace`; `backpropagate_state` takes that record and multiplies the backward order
    parameters :math:`(\tilde q, \tilde q_{st})` (sums over units of products of back-propagated errors).

    Finite width: `initialise` draws parameters, `forward` maps (T, fan_in) to (T, fan_out) and appends one
    record to `trace`, `pushforward` is the Jacobian-vector product and `backward` the vector-Jacobian product.
    All samples pass at once, so a layer may couple them.

    Composite layers traverse their children: records and parameters are consumed from iterators, in order on the
    way forward and in reverse on the way back, so nesting needs no bookkeeping.
    """

    n_weight_layers = 0
    couples_samples = (
        False  # whether an output at one sample depends on the others, as in batch normalisation
    )

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate_state(self, state: State, trace: list) -> State:
        raise NotImplementedError

    def backpropagate_state(
        self, gradient: tuple[np.ndarray, np.ndarray], trace: Iterator
    ) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    # -- finite width -----------------------------------------------------------------------------------------
    def output_width(self, fan_in: int) -> int:
        """Number of units that leave the layer when `fan_in` enter."""
        return fan_in

    def initialise(self, rng: np.random.Generator, fan_in: int, dtype: np.dtype) -> list:
        """Draw the layer's (weight, bias) pairs; an empty list where there are none."""
        return []

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        """Map activations (T, fan_in) to (T, fan_out)."""
        raise NotImplementedError

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        """Jacobian-vector product; `dx` is None while no tangent has entered yet."""
        raise NotImplementedError

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        """Vector-Jacobian product for errors (..., T, fan_out); weight layers append ``(h, delta)`` to `collected`."""
        raise NotImplementedError

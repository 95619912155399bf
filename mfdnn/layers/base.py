"""What a layer has to say: once for infinite width, once for a sampled network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..activations import Activation

__all__ = ["Factors", "Layer", "ParameterRecord", "State", "Tangent", "WeightRecord"]


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
    n_samples
        T, how many inputs there are, for layers that couple them; None: infinitely many.
    """

    variance: np.ndarray
    covariance: np.ndarray
    mean: np.ndarray
    width: int
    gaussian: bool
    n_samples: int | None = None

    def replace(self, **changes: Any) -> State:
        """The state with some fields changed."""
        return replace(self, **changes)


class Tangent(NamedTuple):
    """The tangent kernel of some parameters: products of a unit's derivatives, at one input and at two."""

    source: str  # "weights", "biases" or "others"
    one: Any
    two: Any


@dataclass
class WeightRecord:
    """One weight layer of an infinitely wide network: what enters, what leaves, what comes back."""

    input: State
    output: State
    sigma_w2: float
    bias: bool
    gradient: tuple[Any, Any] = (np.nan, np.nan)  # (q_tilde, q_tilde_st), set on the way back

    def tangents(self) -> list[Tangent]:
        """The tangent kernels of weights and biases at this layer's own output."""
        one, two = self.input.variance, self.input.covariance
        bias = float(self.bias)
        return [
            Tangent("weights", self.input.width * one, self.input.width * two),
            Tangent("biases", np.full_like(one, bias), np.full_like(two, bias)),
        ]


@dataclass
class ParameterRecord:
    """Parameters of an infinitely wide layer that are no weights: gains and offsets of its units, for example.

    `features` are, at one input and at two, the products of a unit's derivatives by its own parameters, summed
    over these: (variance + 1, covariance + 1) for a gain and an offset of each unit.
    """

    features: tuple[Any, Any]
    gradient: tuple[Any, Any] = (np.nan, np.nan)  # (q_tilde, q_tilde_st) of the units, set on the way back

    def tangents(self) -> list[Tangent]:
        """The tangent kernel of these parameters at this layer's own output."""
        return [Tangent("others", *self.features)]


class Factors(NamedTuple):
    """Derivatives of the outputs by a layer's parameters, where samples pass one by one: outer products.

    Those of sample t are delta_t h_t^T and sqrt(bias) delta_t, so that their Gram matrix over the samples is the
    entrywise product (h h^T + bias) * (delta delta^T).
    """

    h: np.ndarray  # (T, n)
    delta: np.ndarray  # (..., T, m)
    bias: float  # 1, or 0 without one; times its squared unit


class Layer:
    r"""A layer, written twice, and a few words on what it is.

    Infinite width: `propagate_state` maps the second moments of a layer's input to those of its output and
    appends one record to `trace`; `backpropagate_state` takes that record and multiplies the backward order
    parameters :math:`(\tilde q, \tilde q_{st})` (sums over units of products of back-propagated errors). A
    `WeightRecord` or `ParameterRecord` says what the layer's parameters add to the Fisher information. A layer
    that couples samples also says how tangent kernels pass: `propagate_tangents`.

    Finite width: `initialise` draws parameters of the shapes `parameter_shapes`, `forward` maps (T, fan_in) to
    (T, fan_out) and appends one record to `trace`, `pushforward` is the Jacobian-vector product and `backward`
    the vector-Jacobian product. All samples pass at once, so a layer may couple them.

    Composite layers traverse their `children`: records and parameters are consumed from iterators, in order on
    the way forward and in reverse on the way back, so nesting needs no bookkeeping.

    Attributes
    ----------
    children : tuple of Layer
        The layers inside, in the order of the signal; only their composite calls them.
    activation : Activation or None
        The nonlinearity, if the layer is one.
    n_weight_layers : int
        1 for a weight layer, which appends a `WeightRecord`; how many there are inside a composite.
    couples_samples : bool
        Whether an output at one sample depends on the others, as in batch normalisation.
    kind : str
        What the shape does not tell, for the description of a network ("residual").
    """

    children: tuple[Layer, ...] = ()
    activation: Activation | None = None
    n_weight_layers = 0
    couples_samples = False
    kind = ""

    def walk(self, fan_in: int) -> Iterator[tuple[Layer, int]]:
        """Yield the layer, then all layers inside it in the order of the signal, each with its fan-in."""
        yield self, fan_in
        for child in self.children:
            yield from child.walk(fan_in)
            fan_in = child.output_width(fan_in)

    def scaled(self, factor: float) -> Layer:
        """The layer of a network whose hidden widths are multiplied by `factor`."""
        return self

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate_state(self, state: State, trace: list) -> State:
        raise NotImplementedError

    def backpropagate_state(
        self, gradient: tuple[np.ndarray, np.ndarray], trace: Iterator
    ) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def propagate_tangents(self, tangents: list[Tangent], trace: Iterator) -> list[Tangent]:
        """Map tangent kernels at the layer's input to those at its output, and append those of its own parameters.

        `trace` holds the records of `propagate_state`, first to last. What errors are multiplied by on their way back,
        kernels are on their way forward, except where samples are coupled: such layers say it themselves.
        """
        if self.couples_samples:
            raise NotImplementedError
        record = next(trace)
        one, two = self.backpropagate_state((np.ones(()), np.ones(())), iter([record]))
        pushed = [Tangent(t.source, one * t.one, two * t.two) for t in tangents]
        return pushed + (record.tangents() if isinstance(record, WeightRecord | ParameterRecord) else [])

    # -- finite width -----------------------------------------------------------------------------------------
    def output_width(self, fan_in: int) -> int:
        """Number of units that leave the layer when `fan_in` enter."""
        return fan_in

    def parameter_shapes(self, fan_in: int) -> tuple[tuple[int, ...] | None, ...]:
        """Shapes of the layer's own parameters, children apart; () if it has none, None for an absent bias."""
        return ()

    def initialise(self, rng: np.random.Generator, fan_in: int, dtype: np.dtype) -> tuple:
        """Draw the layer's own parameters, arrays of `parameter_shapes`."""
        return ()

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
        """Vector-Jacobian product for errors (..., T, fan_out).

        A layer with parameters appends one pair ``(h, delta)`` to `collected`: what it needs for `gradient` and
        `factors`. Of a weight layer these are its input and the errors at its output.
        """
        raise NotImplementedError

    def collect(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> None:
        """`backward` of a network's first layer: nobody reads the errors at its inputs."""
        self.backward(delta, parameters, trace, collected)

    def gradient(self, h: np.ndarray, delta: np.ndarray) -> tuple:
        """Derivatives by the layer's own parameters, summed over samples, of a collected pair, delta (T, m)."""
        raise NotImplementedError

    def factors(self, h: np.ndarray, delta: np.ndarray) -> Factors:
        """The same sample by sample; only where no layer of the network couples samples."""
        raise NotImplementedError

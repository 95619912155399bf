"""What a layer has to say: once for infinite width, once for a sampled network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._errors import NoTheory
from ..activations import Activation

__all__ = ["Factors", "Layer", "ParameterRecord", "State", "Tangent", "WeightRecord", "one_site"]


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
    entrywise product (h h^T + bias) * (delta delta^T). With parameters in other units h belongs to the first array of
    them and `bias` to the last.
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

    Finite width: a shape is that of one sample, (channels, \*sites), or (units,) where there is one site.
    `output_shape` maps the shape that enters to the one that leaves, `initialise` draws parameters of the shapes
    `parameter_shapes`, `forward` maps arrays (T, \*shape) and appends records to `trace`, `pushforward` is the
    Jacobian-vector product and `backward` the vector-Jacobian product. All samples pass at once, so a layer may couple
    them. A layer of one's own needs `output_shape` if the shape changes, `forward`, `pushforward` and `backward`; with
    parameters also `parameter_shapes`, `initialise` and `gradient`. The rest saves time.

    Composite layers traverse their `children`: records and parameters are consumed from iterators, in order on
    the way forward and in reverse on the way back, so nesting needs no bookkeeping. A layer takes from each what it
    put there: one group of parameters if it has some, as many records as it appended.

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
    homogeneous : bool
        Whether a positive factor passes through, f(a x) = a f(x) for a > 0, if biases are zero.
    no_theory : str
        Why there is no law of the layer at infinite width, in one sentence; "" where there is one.
    keeps_units : bool
        Whether it acts on units or samples in place: the shape stays, and each array of parameters, if any, holds one
        number a unit, which moves that unit alone. The dual of coupled outputs is quick behind such layers.
    batches_errors : bool
        Whether `pushforward` and `backward` take leading axes, (..., T, \*shape), for many tangents or errors at once.
    fully_connected : bool
        Whether every unit that leaves reads all that enter, each through a weight of its own.
    normalises : str
        "mean" if the mean over samples is taken away, "samples" if the variance over samples becomes one too, "units"
        if mean and variance over the units of a sample do; else "".
    parameter_roles : tuple of str
        "weights", "biases" or "others" for each array of parameters; those not named are others.
    """

    children: tuple[Layer, ...] = ()
    activation: Activation | None = None
    n_weight_layers = 0
    couples_samples = False
    kind = ""
    homogeneous = False
    no_theory = ""
    keeps_units = False
    batches_errors = False
    fully_connected = False
    normalises = ""
    parameter_roles: tuple[str, ...] = ()

    def walk(self, shape: tuple[int, ...]) -> Iterator[tuple[Layer, tuple[int, ...]]]:
        """Yield the layer, then all layers inside it in the order of the signal, each with the shape that enters."""
        yield self, shape
        for child in self.children:
            yield from child.walk(shape)
            shape = child.output_shape(shape)

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
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (channels, *sites) of what leaves the layer when `shape` enters."""
        return shape

    def fan_in(self, shape: tuple[int, ...]) -> int:
        """How many numbers a unit that leaves reads, its taps among them; of weight layers."""
        return prod(shape)

    def parameter_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
        """Shapes of the layer's own parameters, children apart; () if it has none, None for an absent bias."""
        return ()

    def ntk_units(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Units s of each array of parameters in NTK parameterisation, theta = s psi with psi of variance 1.

        1 for what is no weight and no bias, such as a gain.
        """
        if self.n_weight_layers:
            raise NoTheory(
                f"`parameterisation` = ntk needs weight layers that know their units, got {self!r} without "
                "`ntk_units`; take standard."
            )
        return (1.0,) * len(self.parameter_shapes(shape))

    def n_free_outputs(self, n_outputs: int) -> int:
        """How many of the outputs are free if this layer is the last: fewer where it takes away what all share."""
        return n_outputs

    def initialise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> tuple:
        """Draw the layer's own parameters, arrays of `parameter_shapes`."""
        return ()

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        """Map activations (T, *shape) to (T, *output_shape)."""
        raise NotImplementedError

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        """Jacobian-vector product; `dx` is None while no tangent has entered yet."""
        raise NotImplementedError

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        """Vector-Jacobian product for errors (T, *output_shape), with leading axes if the layer `batches_errors`.

        A layer with parameters appends one pair ``(h, delta)`` to `collected`: what it needs for `gradient` and
        `factors`. Of a weight layer these are its input and the errors at its output.
        """
        raise NotImplementedError

    def collect(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> None:
        """`backward` of a network's first layer: nobody reads the errors at its inputs."""
        self.backward(delta, parameters, trace, collected)

    def errors_below(self, h: np.ndarray, delta: np.ndarray, parameters: tuple) -> np.ndarray:
        """Errors (T, *shape) at the input h of a weight layer, from a collected pair and its own parameters."""
        trace: list = []
        self.forward(h, iter([parameters]), trace)
        return self.backward(delta, iter([parameters]), reversed(trace), [])

    def gradient(self, h: np.ndarray, delta: np.ndarray) -> tuple:
        """Derivatives by the layer's own parameters, summed over samples, of a collected pair, delta (T, ...)."""
        raise NotImplementedError

    def factors(self, h: np.ndarray, delta: np.ndarray) -> Factors | None:
        """The same sample by sample, where no layer of the network couples samples; None: no such form is known."""
        return None

    @property
    def has_factors(self) -> bool:
        """Whether `factors` knows the form; else Gram matrices come from Jacobian products."""
        return type(self).factors is not Layer.factors


def one_site(layer: str, shape: tuple[int, ...]) -> int:
    """The number of units where there is one site; a ValueError where there are more."""
    if len(shape) != 1:
        raise ValueError(
            f"`{layer}` takes units of one site, but {'x'.join(map(str, shape))} enter (channels and sites); put "
            "`Flatten` (or a pooling layer) before it."
        )
    return shape[0]

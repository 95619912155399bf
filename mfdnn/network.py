"""A network is its inputs and its layers."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ._support.validation import finite_number, positive_integer, short
from .activations import Activation
from .layers import Layer
from .layers.base import checked_layers, shape_text
from .layers.description import layers_from_list

__all__ = ["Network", "require_network", "scale_widths"]


class Network:
    """A feed-forward network: the shape of an input and a sequence of layers.

    Parameters
    ----------
    input_shape : int or tuple of int
        Number of input features M_0, or (channels, *sites): (3, 8, 8) for pixels in three colours.
    layers : sequence of Layer
        `Dense`, `Pointwise`, `Residual`, ... in the order in which the signal meets them.

    Attributes
    ----------
    layers : tuple of Layer
        In the order in which the signal meets them.
    input_shape, output_shape : tuple of int
        Of one sample: (channels, *sites), or (units,). The outputs have one site, (C,).
    n_inputs : int
        Numbers in an input, the product of `input_shape`. Inputs may be given as (T, *input_shape), or as (T, n_inputs)
        in C order.
    widths : tuple of int
        Fan-in of every weight layer, in order, then the number of outputs: (M_0, ..., M_{L-1}, C) for a
        fully connected network.
    n_outputs : int
        C, the width of what leaves the last layer.
    n_weight_layers : int
        L.
    n_parameters : int
        P, all weights and biases, and gains.
    n_free_outputs : int
        C, or fewer where the last layer takes away what all outputs share.
    couples_samples : bool
        Whether an output at one sample depends on others.
    activations : tuple of Activation
        In the order in which the signal meets them.
    kinds : tuple of str
        What the widths do not tell of the layers, such as "residual".
    weight_layers, parameter_layers : tuple of (Layer, tuple of int)
        Layers of weights, and all with parameters of their own, each with the shape that enters it.

    Raises
    ------
    TypeError, ValueError
        Something that is not a layer, no weight layer, widths that do not fit a residual block, several sites where
        one is needed: before `Dense`, and at the outputs.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.Network(784, [mfdnn.Dense(100, 2.0), mfdnn.Pointwise("relu"), mfdnn.Dense(10, 2.0)])
    >>> net
    Network(784-100-10, relu, L=2, P=79510)
    """

    def __init__(self, input_shape: int | Sequence[int], layers: Sequence[Layer]):
        self.input_shape = _shape(input_shape)
        self.n_inputs = prod(self.input_shape)
        self.layers = checked_layers(layers)
        self.n_weight_layers = sum(layer.total_weight_layers for layer in self.layers)
        if self.n_weight_layers == 0:
            raise ValueError("`layers` must contain at least one weight layer; add a `Dense` layer.")
        shape = self.input_shape
        for layer in self.layers:
            entering, shape = shape, layer.output_shape(shape)
            if not isinstance(shape, tuple):
                raise TypeError(
                    f"`output_shape` of {layer!r} must return a tuple, (channels, *sites) or (units,), "
                    f"got {shape!r:.80} for {entering}; wrap it in one."
                )
        self.output_shape = shape
        if len(shape) != 1:
            raise ValueError(
                f"`layers` must end with outputs of one site, got {shape_text(shape)} (channels and sites); put "
                "`Flatten` (or a pooling layer) behind them."
            )
        (self.n_outputs,) = shape

    def walk(self) -> Iterator[tuple[Layer, tuple[int, ...]]]:
        """Yield every layer with the shape that enters it, in the order of the signal.

        Composites come before what is inside them.
        """
        shape = self.input_shape
        for layer in self.layers:
            yield from layer.walk(shape)
            shape = layer.output_shape(shape)

    @property
    def weight_layers(self) -> tuple[tuple[Any, tuple[int, ...]], ...]:
        """Every weight layer with the shape that enters it, in order."""
        return tuple((layer, shape) for layer, shape in self.walk() if layer.n_weight_layers and not layer.children)

    @property
    def parameter_layers(self) -> tuple[tuple[Layer, tuple[int, ...]], ...]:
        """Every layer with parameters of its own, and the shape that enters it, in order."""
        return tuple((layer, shape) for layer, shape in self.walk() if layer.parameter_shapes(shape))

    @property
    def couples_samples(self) -> bool:
        """Whether an output at one sample depends on others, as in batch normalisation."""
        return any(layer.mixes_samples for layer in self.layers)

    @property
    def n_free_outputs(self) -> int:
        """C, or fewer where the last layer takes away what all outputs share."""
        return self.layers[-1].n_free_outputs(self.n_outputs)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the widths do not tell of the layers, such as "residual"."""
        return tuple(dict.fromkeys(layer.kind for layer, _ in self.walk() if layer.kind))

    @property
    def widths(self) -> tuple[int, ...]:
        """Fan-in of every weight layer, then the number of outputs."""
        return (*(layer.fan_in(shape) for layer, shape in self.weight_layers), self.n_outputs)

    @property
    def n_parameters(self) -> int:
        """P, all weights, biases and other parameters."""
        return sum(
            prod(own) for layer, shape in self.walk() for own in layer.parameter_shapes(shape) if own is not None
        )

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activations in the order in which the signal meets them."""
        return tuple(layer.activation for layer, _ in self.walk() if layer.activation is not None)

    def drawn(self, rng: np.random.Generator) -> Network:
        """The network with what layers draw beside parameters: masks of dropout.

        Itself, where that is nothing.
        """
        layers = [layer.drawn(rng) for layer in self.layers]
        return self if all(map(operator.is_, layers, self.layers)) else Network(self.input_shape, layers)

    def to_dict(self) -> dict[str, Any]:
        """Input shape and layers as plain Python: the file format of a network.

        ``json.dump(net.to_dict(), file)`` writes it: a dict of "input_shape", a list of integers, and "layers", a list
        of what `Layer.to_dict` returns.

        Raises
        ------
        ValueError
            An activation of one's own, which has no name, or a layer of one's own that does not keep its arguments.
            Layers of one's own are written, and `from_dict` does not read them: a file runs no code.
        """
        return {"input_shape": list(self.input_shape), "layers": [layer.to_dict() for layer in self.layers]}

    @classmethod
    def from_dict(cls, description: Any) -> Network:
        """The network that `to_dict` described.

        Parameters
        ----------
        description : mapping
            With "input_shape" and "layers".

        Raises
        ------
        TypeError, ValueError
            Another type, a missing part, an unknown layer or activation, arguments that do not fit.

        Examples
        --------
        >>> import json, mfdnn
        >>> text = json.dumps(mfdnn.mlp([20, 50, 2], "gelu", init="he").to_dict())
        >>> mfdnn.Network.from_dict(json.loads(text))
        Network(20-50-2, gelu, L=2, P=1152)
        """
        if not isinstance(description, Mapping) or {"input_shape", "layers"} - set(description):
            raise ValueError(
                '`description` must be a dictionary with "input_shape" and "layers", '
                f"got {short(description)}; write what Network.to_dict gives."
            )
        return cls(description["input_shape"], layers_from_list(description["layers"]))

    def __repr__(self) -> str:
        names = list(dict.fromkeys(act.label for act in self.activations)) or ["linear"]
        widths = _abbreviate(self.widths)
        if len(self.input_shape) > 1:
            widths = f"{shape_text(self.input_shape)}: {widths}"
        kinds = ", ".join([*self.kinds, "/".join(names)])
        return f"Network({widths}, {kinds}, L={self.n_weight_layers}, P={self.n_parameters})"


def require_network(name: str, value: Any) -> Network:
    """Return `value`, if it is a network."""
    if not isinstance(value, Network):
        raise TypeError(
            f"`{name}` must be a Network, got {type(value).__name__}; build one with mfdnn.mlp or mfdnn.Network."
        )
    return value


def scale_widths(net: Network, factor: float) -> Network:
    """The network with every hidden width multiplied by `factor`.

    Widths are rounded, to 1 or more; inputs, outputs and variances are kept.

    Raises
    ------
    ValueError
        `factor` that is not positive, a residual block at the inputs or outputs.

    Examples
    --------
    >>> import mfdnn
    >>> from mfdnn.network import scale_widths
    >>> scale_widths(mfdnn.mlp([784, 1000, 500, 10]), 0.25)
    Network(784-250-125-10, relu, L=3, P=228885)
    """
    if finite_number("factor", factor) <= 0:
        raise ValueError(f"`factor` must be > 0, got {factor:g}; pass 0.5 for half the width.")

    weighted = [index for index, layer in enumerate(net.layers) if layer.total_weight_layers]
    if any(net.layers[index].children for index in (weighted[0], weighted[-1])):
        raise ValueError(
            "`net` has a residual block at its inputs or outputs, which ties its width to theirs; "
            "put `Dense` layers there."
        )
    layers = [layer if index == weighted[-1] else layer.scaled(factor) for index, layer in enumerate(net.layers)]
    return Network(net.input_shape, layers)


def _shape(input_shape: Any) -> tuple[int, ...]:
    """The shape of an input; a number stands for that many units."""
    if isinstance(input_shape, np.ndarray):
        input_shape = input_shape.tolist()
    if not isinstance(input_shape, list | tuple | range):
        return (positive_integer("input_shape", input_shape),)
    sizes = tuple(positive_integer("input_shape", size) for size in input_shape)
    if not sizes:
        raise ValueError("`input_shape` must not be empty; pass a number of inputs, or (channels, *sites).")
    return sizes


def _abbreviate(widths: Sequence[int]) -> str:
    """784-200x7-10 for seven equal widths in a row.

    Runs of up to three are written out.
    """
    parts: list[str] = []
    start = 0
    while start < len(widths):
        stop = start
        while stop < len(widths) and widths[stop] == widths[start]:
            stop += 1
        run = stop - start
        parts += [f"{widths[start]}x{run}"] if run > 3 else [str(widths[start])] * run
        start = stop
    return "-".join(parts)

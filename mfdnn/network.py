"""A network is its inputs and its layers; builders for the common ones; initialisation schemes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from ._support.validation import finite_number, one_of, positive_integer, variance
from .activations import Activation, activation
from .layers import Dense, Layer, Pointwise, Residual
from .phase import critical_point

__all__ = ["INITIALISATIONS", "Network", "mlp", "resnet", "scale_widths"]

INITIALISATIONS = ("he", "lecun", "glorot", "pytorch", "critical")


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
        P, all weights and biases.

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
        self.layers = tuple(layers)
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"`layers` must contain layers, got {layer!r}; wrap activations as Pointwise({layer!r})."
                )
        self.n_weight_layers = sum(layer.total_weight_layers for layer in self.layers)
        if self.n_weight_layers == 0:
            raise ValueError("`layers` must contain at least one weight layer; add a `Dense` layer.")
        shape = self.input_shape
        for layer in self.layers:
            shape = layer.output_shape(shape)
        self.output_shape = shape
        if len(shape) != 1:
            raise ValueError(
                f"`layers` must end with outputs of one site, got {_times(shape)} (channels and sites); put `Flatten` "
                "(or a pooling layer) behind them."
            )
        (self.n_outputs,) = shape

    def walk(self) -> Iterator[tuple[Layer, tuple[int, ...]]]:
        """Yield every layer, composites before what is inside them, with the shape that enters it, in order."""
        shape = self.input_shape
        for layer in self.layers:
            yield from layer.walk(shape)
            shape = layer.output_shape(shape)

    @property
    def weight_layers(self) -> tuple[tuple[Any, tuple[int, ...]], ...]:
        """Every weight layer with the shape that enters it, in order."""
        return tuple(
            (layer, shape) for layer, shape in self.walk() if layer.n_weight_layers and not layer.children
        )

    @property
    def parameter_layers(self) -> tuple[tuple[Layer, tuple[int, ...]], ...]:
        """Every layer that has parameters of its own with the shape that enters it, in order."""
        return tuple((layer, shape) for layer, shape in self.walk() if layer.parameter_shapes(shape))

    @property
    def couples_samples(self) -> bool:
        """Whether an output at one sample depends on the others, as in batch normalisation."""
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
        """P, all weights and biases."""
        return sum(
            prod(own)
            for layer, shape in self.walk()
            for own in layer.parameter_shapes(shape)
            if own is not None
        )

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activations in the order in which the signal meets them."""
        return tuple(layer.activation for layer, _ in self.walk() if layer.activation is not None)

    def __repr__(self) -> str:
        names = list(dict.fromkeys(act.label for act in self.activations)) or ["linear"]
        widths = _abbreviate(self.widths)
        if len(self.input_shape) > 1:
            widths = f"{_times(self.input_shape)}: {widths}"
        kinds = ", ".join([*self.kinds, "/".join(names)])
        return f"Network({widths}, {kinds}, L={self.n_weight_layers}, P={self.n_parameters})"


def mlp(
    widths: Sequence[int],
    activation: str | Callable | Activation | Sequence[Any] = "relu",
    sigma_w2: float | Sequence[float] | None = None,
    sigma_b2: float | Sequence[float] | None = None,
    init: str | None = None,
    weights: str | None = None,
    bias: bool = True,
    q: float | None = None,
) -> Network:
    r"""Fully connected network with linear outputs.

    Parameters
    ----------
    widths : sequence of int
        (M_0, M_1, ..., C): inputs, hidden widths, outputs. At least two.
    activation : str, callable, Activation, or a sequence of L - 1 of them
        The nonlinearity after each hidden layer.
    sigma_w2, sigma_b2 : float or sequence of L floats
        Variances: weights are drawn with variance ``sigma_w2 / fan_in``, biases with ``sigma_b2`` (default 0).
    init : {"he", "lecun", "glorot", "pytorch", "critical"}
        Instead of `sigma_w2`. he: :math:`\sigma_w^2 = 2`; lecun: 1; glorot: 2 fan_in/(fan_in + fan_out);
        pytorch: what ``torch.nn.Linear`` does, uniform weights with :math:`\sigma_w^2 = 1/3` and uniform biases with
        :math:`\sigma_b^2` = 1/(3 fan_in); critical: the edge of chaos of the activation at `sigma_b2` or at
        `q` (default: what `mfdnn.critical_point` chooses, a bias variance of 0.05 for tanh and its kin). Default
        "he" when no variance is given.
    weights : {"gaussian", "orthogonal", "uniform"}
        Distribution of the weights (default "gaussian"; "uniform" with ``init="pytorch"``).
    bias : bool
        Whether there are bias parameters.
    q : float, optional
        With ``init="critical"``: the variance of pre-activations in deep layers, in place of `sigma_b2`;
        :math:`\sigma_w^2 = 1/E[\phi'^2]`, :math:`\sigma_b^2 = q - \sigma_w^2 E[\phi^2]`.

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        Fewer than two widths, lists of the wrong length, negative variances, both `init` and `sigma_w2`,
        unknown names, no critical network with that `sigma_b2` or `q`, `q` without ``init="critical"``.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.mlp([784, 1000, 1000, 10], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    Network(784-1000-1000-10, tanh, L=3, P=1796010)
    """
    sizes = _check_widths(widths)
    n_layers = len(sizes) - 1
    acts = _per_layer("activation", activation, n_layers - 1)
    acts = [_as_activation(act) for act in acts]
    variances = _variances(sizes, acts, sigma_w2, sigma_b2, init, q)
    ensemble = weights or ("uniform" if init == "pytorch" else "gaussian")
    layers: list[Layer] = []
    for index, (units, (w2, b2)) in enumerate(zip(sizes[1:], variances, strict=True)):
        layers.append(Dense(units, w2, b2, weights=ensemble, bias=bias))
        if index < n_layers - 1:
            layers.append(Pointwise(acts[index]))
    return Network(sizes[0], layers)


def resnet(
    widths: Sequence[int],
    n_blocks: int,
    activation: str | Callable | Activation = "relu",
    sigma_w2: float = 1.0,
    sigma_b2: float = 0.0,
    sigma_v2: float = 1.0,
    sigma_a2: float = 0.0,
    skip: float = 1.0,
) -> Network:
    r"""Full residual network: a stem, `n_blocks` blocks, a linear read-out.

    Each block is :math:`x \leftarrow s\,x + V \phi(W x + b) + a`, with weight variances `sigma_w2` (W, and the stem and
    the read-out), `sigma_b2` (b), `sigma_v2` (V), `sigma_a2` (a).

    Parameters
    ----------
    widths : (M_0, width, C)
        Inputs, width of every block, outputs.
    n_blocks : int
        Number of residual blocks.
    activation : str, callable or Activation
    sigma_w2, sigma_b2, sigma_v2, sigma_a2 : float
    skip : float
        Factor s of the skip connection.

    References
    ----------
    Yang & Schoenholz 2017, "Mean field residual networks: on the edge of chaos", arXiv:1712.08969
    (the "full residual network", with a linear stem and read-out).

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.resnet([784, 200, 10], n_blocks=3, activation="tanh")
    Network(784-200x7-10, residual, tanh, L=8, P=400210)
    """
    sizes = _check_widths(widths)
    if len(sizes) != 3:
        raise ValueError(
            f"`widths` must be (inputs, width, outputs), got {tuple(sizes)}; pass three numbers."
        )
    n_inputs, width, n_outputs = sizes
    act = _as_activation(activation)
    layers: list[Layer] = [Dense(width, sigma_w2, sigma_b2)]
    for _ in range(positive_integer("n_blocks", n_blocks)):
        block = [Dense(width, sigma_w2, sigma_b2), Pointwise(act), Dense(width, sigma_v2, sigma_a2)]
        layers.append(Residual(block, skip=skip))
    layers.append(Dense(n_outputs, sigma_w2, sigma_b2))
    return Network(n_inputs, layers)


def scale_widths(net: Network, factor: float) -> Network:
    """The network with every hidden width multiplied by `factor` (at least 1), inputs, outputs and variances kept.

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
    layers = [
        layer if index == weighted[-1] else layer.scaled(factor) for index, layer in enumerate(net.layers)
    ]
    return Network(net.input_shape, layers)


_as_activation = activation  # `mlp` and `resnet` have an argument of that name


def _shape(input_shape: Any) -> tuple[int, ...]:
    """The shape of an input; a number stands for that many units."""
    if isinstance(input_shape, str) or not np.iterable(input_shape):
        return (positive_integer("input_shape", input_shape),)
    sizes = tuple(positive_integer("input_shape", size) for size in input_shape)
    if not sizes:
        raise ValueError("`input_shape` must not be empty; pass a number of inputs, or (channels, *sites).")
    return sizes


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _check_widths(widths: Sequence[int]) -> list[int]:
    if isinstance(widths, str) or not np.iterable(widths):
        raise TypeError(
            f"`widths` must be a sequence of integers, got {widths!r}; pass for example [784, 1000, 10]."
        )
    sizes = [positive_integer("widths", width) for width in widths]
    if len(sizes) < 2:
        raise ValueError(
            f"`widths` needs at least the numbers of inputs and of outputs, got {sizes}; "
            "pass for example [784, 1000, 10]."
        )
    return sizes


def _per_layer(name: str, value: Any, n: int) -> list:
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(np.asarray(value, dtype=object)) == 1:
        if len(value) != n:
            raise ValueError(
                f"`{name}` needs one entry per layer, {n} of them, got {len(value)}; pass one value or {n}."
            )
        return list(value)
    return [value] * n


def _variances(
    sizes: list[int], acts: list[Activation], sigma_w2: Any, sigma_b2: Any, init: str | None, q: float | None
) -> list[tuple[float, float]]:
    n = len(sizes) - 1
    if init is not None:
        one_of("init", init, INITIALISATIONS)
    if q is not None and init != "critical":
        raise ValueError(f'`q` belongs to init="critical", got init={init!r}; pass that, or drop `q`.')
    if sigma_w2 is not None:
        if init is not None:
            raise ValueError(
                f"`init` and `sigma_w2` exclude each other, got init={init!r} and sigma_w2; drop one of them."
            )
        w2 = [variance("sigma_w2", v) for v in _per_layer("sigma_w2", sigma_w2, n)]
        b2 = [
            variance("sigma_b2", v) for v in _per_layer("sigma_b2", 0.0 if sigma_b2 is None else sigma_b2, n)
        ]
        return list(zip(w2, b2, strict=True))
    init = init or "he"
    if init == "critical":
        target = None if sigma_b2 is None else finite_number("sigma_b2", sigma_b2)
        # The weights after an activation decide whether it is critical: chi_1 = sigma_w^2 E[phi'^2]. The first layer
        # has none before it and only sets the variance: it takes the next one's, as a uniform network does.
        points = [critical_point(act, target, q) for act in acts]
        first = points[0] if points else (1.0, target or 0.0)
        return [first, *points]
    pairs = list(pairwise(sizes))
    scheme = {
        "he": [(2.0, 0.0)] * n,
        "lecun": [(1.0, 0.0)] * n,
        "glorot": [(2.0 * fan_in / (fan_in + fan_out), 0.0) for fan_in, fan_out in pairs],
        "pytorch": [(1.0 / 3.0, 1.0 / (3.0 * fan_in)) for fan_in, _ in pairs],
    }[init]
    if sigma_b2 is None:
        return scheme
    b2 = [variance("sigma_b2", v) for v in _per_layer("sigma_b2", sigma_b2, n)]
    return [(w2, bias2) for (w2, _), bias2 in zip(scheme, b2, strict=True)]


def _abbreviate(widths: Sequence[int]) -> str:
    """784-200x7-10 for seven equal widths in a row; runs of up to three are written out."""
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

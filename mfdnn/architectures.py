"""Builders of common networks: fully connected, residual and convolutional ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from ._support.validation import boolean, listed, one_of, positive_integer, short, variance
from .activations import Activation
from .activations.definition import as_activation
from .initialisation import per_layer, variances_of
from .layers import (
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAveragePool,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    Pointwise,
    Residual,
    RMSNorm,
)
from .layers.base import checked_layers
from .layers.windows import sizes as sizes_of_axes
from .network import Network

__all__ = ["cnn", "mlp", "resnet", "resnet2d"]

MOST_BLOCKS = 10**5  # a layer is an object of Python: more take minutes
RESNETS = ("mini", "18")
IMAGENET = 64  # pixels from which a residual network begins with a wide stem


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
    TypeError, ValueError
        Widths that are no sequence of integers; fewer than two widths, lists of the wrong length, negative variances,
        both `init` and `sigma_w2`, unknown names, no critical network with that `sigma_b2` or `q`, `q` without
        ``init="critical"``.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.mlp([784, 1000, 1000, 10], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    Network(784-1000-1000-10, tanh, L=3, P=1796010)
    """
    sizes = _check_widths(widths)
    n_layers = len(sizes) - 1
    acts = per_layer("activation", activation, n_layers - 1)
    acts = [as_activation("activation", act) for act in acts]
    variances = variances_of(list(pairwise(sizes)), acts, sigma_w2, sigma_b2, init, q)
    usual = "uniform" if init == "pytorch" else "gaussian"
    ensemble = usual if weights is None else weights
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
        The nonlinearity inside every block.
    sigma_w2, sigma_b2, sigma_v2, sigma_a2 : float
        Variances: of weights times fan_in (w, v), and of biases (b, a).
    skip : float
        Factor s of the skip connection.

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        Widths that are not three, fewer than one block, negative variances, unknown names.

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
        raise ValueError(f"`widths` must be (inputs, width, outputs), got {tuple(sizes)}; pass three numbers.")
    n_inputs, width, n_outputs = sizes
    act = as_activation("activation", activation)
    sigma_v2, sigma_a2 = variance("sigma_v2", sigma_v2), variance("sigma_a2", sigma_a2)
    layers: list[Layer] = [Dense(width, sigma_w2, sigma_b2)]
    for _ in range(positive_integer("n_blocks", n_blocks, maximum=MOST_BLOCKS)):
        block = [Dense(width, sigma_w2, sigma_b2), Pointwise(act), Dense(width, sigma_v2, sigma_a2)]
        layers.append(Residual(block, skip=skip))
    layers.append(Dense(n_outputs, sigma_w2, sigma_b2))
    return Network(n_inputs, layers)


def cnn(
    input_shape: Sequence[int],
    channels: Sequence[int],
    n_outputs: int,
    activation: str | Callable | Activation | Sequence[Any] = "relu",
    *,
    kernel: int | Sequence[int] = 3,
    sigma_w2: float | Sequence[float] | None = None,
    sigma_b2: float | Sequence[float] | None = None,
    init: str | None = None,
    norm: str | Layer | None = None,
    pool: int | Layer | Sequence[int | Layer | None] | None = None,
    readout: str = "flatten",
    **conv: Any,
) -> Network:
    r"""Convolutional network: convolutions, their activations, a linear read-out.

    Parameters
    ----------
    input_shape : sequence of int
        (channels, \*sites) of an input: (3, 32, 32) for colour images.
    channels : sequence of int
        Channels that leave each convolution. At least one.
    n_outputs : int
        C, of the linear read-out.
    activation : str, callable, Activation, or a sequence of them
        The nonlinearity after each convolution.
    kernel : int or sequence of int
        Taps along each axis of sites.
    sigma_w2, sigma_b2 : float or sequence of floats
        Variances of all weight layers, the read-out last, as in `mlp`; fan_in counts taps.
    init : {"he", "lecun", "glorot", "pytorch", "critical"}
        Instead of `sigma_w2`, as in `mlp`; glorot counts the taps of fan_out too. Default "he".
    norm : {"batch_norm", "group_norm", "layer_norm", "rms_norm"} or Layer
        A normalisation in front of every activation: group norm with one group, or a layer of yours.
    pool : int, Layer, or sequence of them or None
        Behind each activation: the size of windows that are averaged, or a layer such as ``MaxPool(2)``; None for none.
        Sites behind the last whole window are left out.
    readout : {"flatten", "average"}
        Sites side by side, or their mean.
    **conv
        Further arguments of every `Conv`: stride, padding, mode, dilation, groups, weights, bias.

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        Shapes without sites, lists of the wrong length, unknown names, what `Conv` refuses, pooling windows longer than
        the sites.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.cnn((3, 32, 32), [64, 64, 128], 10, pool=[2, None, 2], readout="average")
    Network(3x32x32: 27-576-576-128-10, relu, L=4, P=113866)
    """
    shape = tuple(positive_integer("input_shape", n) for n in listed("input_shape", input_shape, "(channels, *sites)"))
    if len(shape) < 2:
        raise ValueError(
            f"`input_shape` must be (channels, *sites), got {shape}; pass for example (1, 28, 28), or take mlp."
        )
    hidden = [positive_integer("channels", n) for n in listed("channels", channels, "for example [64, 64]")]
    if not hidden:
        raise ValueError("`channels` must have an entry for each convolution, got none; pass for example [64, 64].")
    n_outputs = positive_integer("n_outputs", n_outputs)
    acts = [as_activation("activation", act) for act in per_layer("activation", activation, len(hidden))]
    each = per_layer("pool", pool, len(hidden))
    pools = [() if size is None else _pool(size) for size in each]
    last = {"flatten": Flatten, "average": GlobalAveragePool}[one_of("readout", readout, ("flatten", "average"))]()
    norms = _norm(norm)
    if isinstance(init, str) and init == "pytorch":
        conv = {"weights": "uniform", **conv}
    known = ("stride", "padding", "mode", "dilation", "groups", "weights", "bias")
    for name in conv:
        one_of("argument of Conv", name, known)
    behind, fans = [], []  # of each convolution: the layers behind it, fan_in and fan_out
    for n_channels, act, pooled in zip(hidden, acts, pools, strict=True):
        own = Conv(n_channels, kernel, **conv)
        fans.append((own.fan_in(shape), own.windows(shape).taps * n_channels // own.groups))
        behind.append([*norms, Pointwise(act), *pooled])
        for layer in (own, *behind[-1]):
            shape = layer.output_shape(shape)
    (units,) = last.output_shape(shape)
    *scheme, of_outputs = variances_of([*fans, (units, n_outputs)], acts, sigma_w2, sigma_b2, init, None)
    layers: list[Layer] = []
    for n_channels, variances, others in zip(hidden, scheme, behind, strict=True):
        layers += [Conv(n_channels, kernel, *variances, **conv), *others]
    weights = "uniform" if conv.get("weights") == "uniform" else "gaussian"
    dense = Dense(n_outputs, *of_outputs, weights=weights, bias=conv.get("bias", True))
    return Network(input_shape, [*layers, last, dense])


def resnet2d(
    input_shape: Sequence[int],
    n_outputs: int,
    *,
    size: str = "mini",
    activation: str | Callable | Activation = "relu",
    norm: bool = True,
    sigma_w2: float = 2.0,
    sigma_b2: float = 0.0,
    channels: int = 64,
) -> Network:
    r"""Residual network for images, with batch normalisation.

    "mini": a convolution; a block of two with the identity beside them; `MaxPool`; another convolution; the mean over
    sites and a linear read-out. "18": ResNet-18, a stem, four stages of two such blocks whose channels double and whose
    sites halve in each but the first, the mean over sites and a linear read-out; where a stage begins with fewer sites
    a convolution of one tap stands beside the block. A normalisation is behind every convolution, an activation behind
    that and behind every sum.

    Parameters
    ----------
    input_shape : (channels, height, width)
        Of an image: (3, 32, 32).
    n_outputs : int
        C, of the linear read-out.
    size : {"mini", "18"}
        Which network.
    activation : str, callable or Activation
        The nonlinearity.
    norm : bool
        Whether there are `BatchNorm` layers. With them convolutions have no biases, which they would take away.
    sigma_w2, sigma_b2 : float
        Variances of all weights times fan_in, and of all biases.
    channels : int
        Channels behind the stem.

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        A shape that is not of images, unknown names, negative variances, images too small for the pooling.

    Notes
    -----
    The stem of "18" is a convolution of 3x3 taps for images whose shorter side is below 64 pixels, as is usual there,
    and one of 7x7 taps with stride 2 in front of ``MaxPool(3, 2)`` for others. `MaxPool` has no padding: of 224
    pixels the first stage has 55 where that of ``torchvision.models.resnet18`` has 56, and the later ones have 28, 14
    and 7 as there. Parameters are the same, gains and offsets included.

    References
    ----------
    He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", arXiv:1512.03385.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.resnet2d((1, 8, 8), 10)
    Network(1x8x8: 9-576-576-576-64-10, batch norm, residual, relu, L=5, P=112330)
    >>> mfdnn.resnet2d((3, 224, 224), 1000, size="18").n_parameters
    11689512
    """
    shape = tuple(positive_integer("input_shape", n) for n in listed("input_shape", input_shape, "(channels, H, W)"))
    if len(shape) != 3:
        raise ValueError(
            f"`input_shape` must be (channels, height, width) of an image, got {shape}; pass for example (3, 32, 32)."
        )
    n_outputs, channels = positive_integer("n_outputs", n_outputs), positive_integer("channels", channels)
    act, norm = as_activation("activation", activation), boolean("norm", norm)
    b2 = variance("sigma_b2", sigma_b2)
    norms: list[Layer] = [BatchNorm()] if norm else []

    def conv(n: int, kernel: int = 3, stride: int = 1) -> list[Layer]:
        return [Conv(n, kernel, sigma_w2, 0.0 if norm else b2, stride=stride, bias=not norm), *norms]

    def block(n: int, stride: int = 1, same: bool = True) -> list[Layer]:
        skip: Any = 1.0 if same else conv(n, 1, stride)
        return [Residual([*conv(n, 3, stride), Pointwise(act), *conv(n)], skip), Pointwise(act)]

    if one_of("size", size, RESNETS) == "mini":
        layers = [*conv(channels), Pointwise(act), *block(channels), MaxPool(2), *conv(channels), Pointwise(act)]
    else:
        if min(shape[1:]) < IMAGENET:
            layers = [*conv(channels), Pointwise(act)]
        else:
            layers = [*conv(channels, 7, 2), Pointwise(act), MaxPool(3, 2)]
        for stage in range(4):
            n, stride = channels * 2**stage, 1 if stage == 0 else 2
            layers += [*block(n, stride, same=stage == 0), *block(n)]
    return Network(shape, [*layers, GlobalAveragePool(), Dense(n_outputs, sigma_w2, b2)])


def _norm(norm: Any) -> tuple[Layer, ...]:
    """The normalisation of a name, or a layer."""
    if norm is None:
        return ()
    if isinstance(norm, str):
        known = {"batch_norm": BatchNorm(), "group_norm": GroupNorm(1)}
        known |= {"layer_norm": LayerNorm(), "rms_norm": RMSNorm()}
        return (known[one_of("norm", norm, tuple(known))],)
    return checked_layers([norm], "norm")


def _pool(pool: Any) -> tuple[Layer, ...]:
    """Average pooling of a size, or a layer."""
    if isinstance(pool, Real | list | tuple | np.ndarray):
        return (AveragePool(sizes_of_axes("pool", pool)),)
    try:
        return checked_layers([pool], "pool")
    except TypeError:
        raise TypeError(
            f"`pool` must be a size of windows or a layer, got {short(pool)}; pass 2 for their means, or MaxPool(2)."
        ) from None


def _check_widths(widths: Sequence[int]) -> list[int]:
    sizes = [positive_integer("widths", width) for width in listed("widths", widths, "for example [784, 1000, 10]")]
    if len(sizes) < 2:
        raise ValueError(
            f"`widths` needs at least the numbers of inputs and of outputs, got {sizes}; "
            "pass for example [784, 1000, 10]."
        )
    return sizes

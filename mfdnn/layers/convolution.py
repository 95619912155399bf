"""Convolution: at every site a weight layer that reads the sites around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import boolean, listed, one_of, positive_integer, short, variance
from .base import Factors, Layer, shape_text
from .dense import drawn_biases, haar
from .depthwise import depthwise
from .pairs import SAME, SitePairs
from .recorded import Recorded
from .state import State
from .units import as_moments
from .windows import MODES, Along, Windows, sizes

__all__ = ["CONV_ENSEMBLES", "Conv"]

CONV_ENSEMBLES = ("gaussian", "uniform", "orthogonal", "delta_orthogonal")
PADDINGS = ("torch", "same", "valid")
BLOCK = (
    2**23
)  # bytes of patches at once: more leave the caches, and memory would grow with the number of taps


class Conv(Layer):
    r"""Convolution over sites in one, two or more dimensions.

    With taps :math:`\beta`, each a map :math:`i_\beta` from sites that leave to sites that enter,

    .. math:: u_a(p) = \sum_{b, \beta} W_{ab\beta}\, h_b(i_\beta(p)) + b_a.

    Weights have variance :math:`\sigma_w^2` / fan_in, biases :math:`\sigma_b^2`; `fan_in` counts the taps, all of them
    also where some of them read zeros of the padding. Infinite width: a unit sees the average over taps of the moments
    below, :math:`A(K)[p, p'] = \frac1k \sum_\beta K[i_\beta(p), i_\beta(p')]`.

    Parameters
    ----------
    channels : int
        Number of channels that leave.
    kernel : int or sequence of int
        Taps along each axis of sites; a number stands for the same along all.
    sigma_w2, sigma_b2 : float
        Variances: of a weight times fan_in, and of a bias.
    stride, dilation : int or sequence of int
        Distance of windows, and of the taps of a window.
    padding : {"torch", "same", "valid"}, int, or sequence of pairs
        What is put around the sites. torch: ``dilation * (kernel - 1) // 2`` on both sides, which keeps the sites
        of an odd kernel; same: as JAX and TensorFlow do, so that size/stride sites leave; valid: nothing; a number: so
        many on both sides; pairs (low, high): so many in front and behind, a pair for each axis.
    mode : {"zeros", "circular", "reflect"}
        What stands in the padding.
    groups : int
        Groups of channels, each of which reads its own share of those that enter.
    weights : {"gaussian", "uniform", "orthogonal", "delta_orthogonal"}
        Distribution of the weights. orthogonal: rows of the matrix (channels, channels that enter times taps) are
        orthogonal, or its columns. delta_orthogonal: the centre tap alone is such a matrix (channels, channels that
        enter) whose entries have variance ``sigma_w2`` over the channels that enter; the other taps start at zero, and
        are trained.
        Biases are uniform with uniform weights and Gaussian otherwise.
    bias : bool
        Whether there are bias parameters, one a channel.

    Raises
    ------
    TypeError, ValueError
        Numbers that are not positive, negative variances or paddings, unknown words, ``bias=False`` with
        ``sigma_b2 > 0``. In a network: no sites, numbers of axes that do not fit, a kernel longer than the padded
        sites, reflected or circular padding as long as the sites, a ring that the stride does not divide, channels
        that `groups` does not divide.

    Examples
    --------
    >>> import mfdnn
    >>> layers = [mfdnn.Conv(64, 3, 2.0), mfdnn.Pointwise("relu"), mfdnn.GlobalAveragePool(), mfdnn.Dense(10)]
    >>> mfdnn.Network((3, 32, 32), layers)
    Network(3x32x32: 27-64-10, relu, L=2, P=2442)

    Notes
    -----
    Finite width: products of matrices with patches of the sites, in blocks of samples.

    References
    ----------
    Novak et al. 2019, "Bayesian deep convolutional networks with many channels are Gaussian processes",
    arXiv:1810.05148. Xiao et al. 2018, "Dynamical isometry and a mean field theory of CNNs", arXiv:1806.05393
    (delta-orthogonal weights).
    """

    n_weight_layers = 1
    homogeneous = batches_errors = True
    parameter_roles = ("weights", "biases")

    def __init__(
        self,
        channels: int,
        kernel: int | Sequence[int] = 3,
        sigma_w2: float = 1.0,
        sigma_b2: float = 0.0,
        *,
        stride: int | Sequence[int] = 1,
        padding: Any = "torch",
        mode: str = "zeros",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        weights: str = "gaussian",
        bias: bool = True,
    ):
        self.channels = positive_integer("channels", channels)
        self.kernel = sizes("kernel", kernel)
        self.sigma_w2 = variance("sigma_w2", sigma_w2)
        self.sigma_b2 = variance("sigma_b2", sigma_b2)
        self.stride, self.dilation = sizes("stride", stride), sizes("dilation", dilation)
        self.padding = _padding(padding)
        self.mode = one_of("mode", mode, MODES)
        self.groups = positive_integer("groups", groups)
        self.weights = one_of("weights", weights, CONV_ENSEMBLES)
        self.bias = boolean("bias", bias)
        if not self.bias and self.sigma_b2 > 0:
            raise ValueError(f"`sigma_b2` must be 0 in a layer without bias, got {sigma_b2}; set bias=True.")
        if self.channels % self.groups:
            raise ValueError(
                f"`groups` must divide `channels`, got {self.groups} and {self.channels}; choose a multiple of it."
            )

    def __repr__(self) -> str:
        usual = {
            "stride": 1,
            "padding": "torch",
            "mode": "zeros",
            "dilation": 1,
            "groups": 1,
            "weights": "gaussian",
            "bias": True,
        }
        own = [(name, getattr(self, name)) for name in usual]
        extra = "".join(f", {name}={value!r}" for name, value in own if value != usual[name])
        return f"{type(self).__name__}({self.channels}, {self.kernel}, {self.sigma_w2:.6g}, {self.sigma_b2:.6g}{extra})"

    def scaled(self, factor: float) -> Conv:
        other = copy(self)  # of a class of one's own too
        other.channels = self.groups * max(1, round(self.channels * factor / self.groups))
        return other

    # -- infinite width ---------------------------------------------------------------------------------------
    @property
    def acts_on_units(self) -> bool:
        return self.groups > 1  # of one channel each

    def unit_noise(self, shape: tuple[int, ...]) -> float:
        return 8.0 if 1 < self.groups == shape[0] else 1.0  # of random taps and drawn tangents

    def carries_units(self, shape: tuple[int, ...]) -> bool:
        return self.groups == shape[0] > 1

    def propagate(self, state: State) -> State:
        if 1 < self.groups == state.shape[0]:
            return depthwise(self, state)
        state = as_moments(state)
        windows = self.windows(state.shape)
        drawn = (
            windows.centre() if self.weights == "delta_orthogonal" else windows
        )  # the others start at zero
        return state.weighted(
            self.output_shape(state.shape),
            fan_in=self.fan_in(state.shape),
            sigma_w2=self.sigma_w2,
            sigma_b2=self.sigma_b2,
            bias=self.bias,
            sees=lambda pairs: pairs.over_windows(drawn),
            trains=None if drawn is windows else lambda pairs: pairs.over_windows(windows),
        )

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        if 1 < self.groups == shape[0]:  # units are sampled, over all sites
            return False
        return sites is SAME or self.windows(shape).ring

    def recorded(self, units: Recorded) -> Recorded:
        if self.weights != "gaussian" or self.groups > 1:
            what = f"{self.weights} weights" if self.groups == 1 else "convolutions in groups"
            raise NoTheory(
                f"`net` has {what}, for which the spread over networks is not derived; use gaussian weights and one "
                "group, or measure the spread with mfdnn.ensemble."
            )
        return units.weighted(
            self.output_shape(units.shape),
            fan_in=self.fan_in(units.shape),
            sigma_w2=self.sigma_w2,
            sigma_b2=self.sigma_b2,
            bias=self.bias,
            windows=self.windows(units.shape),
        )

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2:
            raise ValueError(
                f"`Conv` takes channels with sites, but {shape_text(shape)} enter without; give the network an "
                "`input_shape` (channels, *sites), and no `Flatten` before it."
            )
        if shape[0] % self.groups:
            raise ValueError(
                f"`groups` must divide the channels that enter, got {self.groups} for {shape[0]} channels; choose a "
                "divisor of them."
            )
        return (self.channels, *self.windows(shape).out)

    def windows(self, shape: tuple[int, ...]) -> Windows:
        """What the units read of a shape that enters."""
        return _windows(shape[1:], self.kernel, self.stride, self.dilation, self.padding, self.mode)

    def fan_in(self, shape: tuple[int, ...]) -> int:
        return self.windows(shape).taps * shape[0] // self.groups

    def seen(self, h: np.ndarray) -> np.ndarray:
        windows = self.windows(h.shape[1:])
        if self.weights == "delta_orthogonal":
            windows = windows.centre()
            taps: tuple[Any, ...] = np.ix_(*(axis.tap(0) for axis in windows.along))
            outside = np.logical_or.reduce(np.broadcast_arrays(*(tap < 0 for tap in taps)))
            return np.where(outside, 0, h[(..., *taps)])
        return windows.patches(h)

    def parameter_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
        weight = (self.channels, shape[0] // self.groups, *self.windows(shape).kernel)
        return weight, (self.channels,) if self.bias else None

    def ntk_units(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        if self.weights == "delta_orthogonal":
            raise NoTheory(
                f"`parameterisation` = ntk needs weights of one variance, but {self!r} starts at zero but for the "
                "centre tap; take standard."
            )
        return float(np.sqrt(self.sigma_w2 / self.fan_in(shape))), float(np.sqrt(self.sigma_b2))

    def initialise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> tuple:
        own = self.parameter_shapes(shape)[0]
        assert own is not None
        scale = np.sqrt(self.sigma_w2 / self.fan_in(shape))
        if self.weights == "gaussian":
            weight = rng.standard_normal(own, dtype=dtype)
            weight *= dtype.type(scale)
        elif self.weights == "uniform":
            weight = (np.sqrt(12) * scale * (rng.random(own) - 0.5)).astype(dtype)
        else:
            weight = np.zeros(own, dtype)
            at = tuple((k - 1) // 2 for k in own[2:]) if self.weights == "delta_orthogonal" else ()
            for rows in weight.reshape(self.groups, -1, *own[1:]):  # views
                part = rows[(..., *at)]
                flat = (len(part), prod(part.shape[1:]))
                entries = np.sqrt(max(flat) * self.sigma_w2 / flat[1]) * haar(rng, flat)
                rows[(..., *at)] = entries.reshape(part.shape)
        return weight, drawn_biases(rng, self.channels, self.sigma_b2, self.weights, dtype) if self.bias else None

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        weight, bias = next(parameters)
        trace.append(x)
        u = self._convolved(x, weight)
        if bias is not None:
            u += _beside(bias, u)
        return u

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        weight, bias = next(parameters)
        d_weight, d_bias = next(tangents)
        x = next(trace)
        du = self._convolved(x, d_weight)
        if bias is not None:
            du += _beside(d_bias, du)
        if dx is not None:
            du = du + self._convolved(dx.reshape(-1, *x.shape[1:]), weight).reshape(
                *dx.shape[: 1 + dx.ndim - x.ndim], *du.shape[1:]
            )
        return du

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        weight, _ = next(parameters)
        x = next(trace)
        collected.append((x, delta))
        lead = delta.shape[: 1 + delta.ndim - x.ndim]
        return self._pulled(delta.reshape(-1, *delta.shape[len(lead) :]), weight, x.shape[1:]).reshape(
            *lead, *x.shape[1:]
        )

    def collect(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> None:
        next(parameters)
        collected.append((next(trace), delta))

    def errors_below(self, h: np.ndarray, delta: np.ndarray, parameters: tuple) -> np.ndarray:
        return self._pulled(delta, parameters[0], h.shape[1:])

    def gradient(self, h: np.ndarray, delta: np.ndarray) -> tuple:
        weight = np.zeros(self._matrices(h.shape[1:]), h.dtype)
        windows = self.windows(h.shape[1:])
        for part in self._blocks(h):
            patches = self._grouped(windows.patches(h[part]))
            errors = delta[part].reshape(len(patches), self.groups, -1, patches.shape[-1])
            weight += np.matmul(errors, patches.swapaxes(-1, -2)).sum(axis=0)
        own = self.parameter_shapes(h.shape[1:])[0]
        assert own is not None
        return weight.reshape(own), delta.sum(axis=(0, *range(2, delta.ndim))) if self.bias else None

    def factors(self, h: np.ndarray, delta: np.ndarray) -> list[Factors]:
        # Sums over sites of outer products: the derivatives themselves, one row a sample.
        windows, lead = self.windows(h.shape[1:]), delta.shape[: 1 + delta.ndim - h.ndim]
        matrices = self._matrices(h.shape[1:])
        errors = delta.reshape(*lead, self.groups, matrices[1], -1)
        weight = np.empty((*lead, *matrices), h.dtype)
        for part in self._blocks(h):
            patches = self._grouped(windows.patches(h[part])).swapaxes(-1, -2)
            weight[..., part, :, :, :] = np.matmul(errors[..., part, :, :, :], patches)
        nothing, arrays = h.reshape(len(h), -1)[:, :0], [weight]
        if self.bias:
            arrays.append(errors.sum(axis=-1))
        return [Factors(nothing, array.reshape(*lead, -1), 1.0) for array in arrays]

    def factor_size(self, shape: tuple[int, ...]) -> int:
        return sum(prod(own) for own in self.parameter_shapes(shape) if own is not None)

    def _matrices(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Shape of the weights as a matrix a group."""
        return self.groups, self.channels // self.groups, self.fan_in(shape)

    def _grouped(self, patches: np.ndarray) -> np.ndarray:
        """(b, c, taps, m) as (b, groups, fan_in, m)."""
        return patches.reshape(len(patches), self.groups, -1, patches.shape[-1])

    def _blocks(self, x: np.ndarray) -> Iterator[slice]:
        """Blocks of samples whose patches fit into `BLOCK`."""
        windows = self.windows(x.shape[1:])
        rows = max(1, BLOCK // (x.itemsize * x.shape[1] * windows.taps * prod(windows.out)))
        for start in range(0, len(x), rows):
            yield slice(start, min(start + rows, len(x)))

    def _convolved(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The weights times the patches of x, (b, channels, *sites)."""
        windows = self.windows(x.shape[1:])
        matrix = weight.reshape(self._matrices(x.shape[1:]))
        u = np.empty((len(x), self.channels, *windows.out), np.result_type(x, weight))
        for part in self._blocks(x):
            patches = self._grouped(windows.patches(x[part]))
            u[part] = np.matmul(matrix, patches).reshape(u[part].shape)
        return u

    def _pulled(self, delta: np.ndarray, weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The transpose of `_convolved`: (b, channels, *sites) to (b, *shape)."""
        windows = self.windows(shape)
        matrix = weight.reshape(self._matrices(shape)).swapaxes(-1, -2)
        below = np.empty((len(delta), *shape), np.result_type(delta, weight))
        for part in self._blocks(below):
            errors = delta[part].reshape(part.stop - part.start, self.groups, -1, prod(windows.out))
            below[part] = windows.scattered(
                np.matmul(matrix, errors).reshape(len(errors), shape[0], windows.taps, -1)
            )
        return below


def _beside(bias: np.ndarray, u: np.ndarray) -> np.ndarray:
    """A number a channel, to be added to u (T, channels, *sites)."""
    return bias.reshape(-1, *[1] * (u.ndim - 2))


def _padding(value: Any) -> Any:
    """A word, a number, or pairs of numbers."""
    if isinstance(value, str):
        return one_of("padding", value, PADDINGS)
    if not isinstance(value, list | tuple):
        return positive_integer("padding", value, 0)
    pairs = listed("padding", value, "a pair (low, high) for each axis of sites")
    if not pairs or any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"`padding` must be {', '.join(PADDINGS)}, a number, or a pair (low, high) for each axis of sites, got "
            f"{short(value)}; write ((1, 1), (1, 1)) for one site around an image."
        )
    return tuple(tuple(positive_integer("padding", side, 0) for side in pair) for pair in pairs)


@lru_cache(maxsize=1024)
def _windows(
    sites: tuple[int, ...], kernel: Any, stride: Any, dilation: Any, padding: Any, mode: str
) -> Windows:
    """The windows over these sites, checked."""
    d = len(sites)

    def each(name: str, value: Any) -> tuple:
        values = value if isinstance(value, tuple) else (value,) * d
        if len(values) != d:
            raise ValueError(
                f"`{name}` must be a number, or one for each of {d} axes of sites, got {value!r} where "
                f"{shape_text(sites)} sites enter; pass {d} of them."
            )
        return values

    taps, steps, gaps = each("kernel", kernel), each("stride", stride), each("dilation", dilation)
    pads = each("padding", padding)
    return Windows([_along(*of, mode) for of in zip(sites, taps, steps, gaps, pads, strict=True)])


def _along(n: int, kernel: int, stride: int, dilation: int, padding: Any, mode: str) -> Along:
    """The windows along one axis, checked."""
    span = dilation * (kernel - 1) + 1
    if padding == "same":
        missing = max((-(-n // stride) - 1) * stride + span - n, 0)
        low, high = missing // 2, missing - missing // 2
    elif isinstance(padding, tuple):
        low, high = padding
    else:
        low = high = {"torch": (span - 1) // 2, "valid": 0}.get(padding, padding)
    if span > n + low + high:
        raise ValueError(
            f"`kernel` must fit into the padded sites, got {kernel} taps that span {span} of {n + low + high}; take a "
            "shorter kernel, or more padding."
        )
    if mode == "reflect" and max(low, high) >= n:
        raise ValueError(
            f"`padding` must be shorter than the sites with mode='reflect', got {max(low, high)} for {n} sites; take "
            "less, or mode='zeros'."
        )
    if mode == "circular" and max(low, high) > n:
        raise ValueError(
            f"`padding` must be no longer than the sites with mode='circular', got {max(low, high)} for {n} sites; "
            "take less."
        )
    if mode == "circular" and n % stride:
        raise ValueError(
            f"`stride` must divide the sites of a ring (mode='circular'), got {stride} for {n} sites; choose a "
            "divisor, or mode='zeros'."
        )
    return Along(n, (n + low + high - span) // stride + 1, kernel, stride, dilation, low, mode)

"""Normalisation over the channels of a sample: at every site, or over all sites."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import prod

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import boolean, finite_number, positive_integer, variance
from .base import Factors, Layer
from .pairs import SitePairs
from .recorded import Recorded
from .state import State

__all__ = ["GroupNorm", "RMSNorm"]

ROUNDING = 8  # a spread below so many eps of the largest value is the rounding error of a constant


class _ChannelNorm(Layer, ABC):
    """y = gamma z + beta, z of mean square 1, with a gain for each channel."""

    keeps_units = batches_errors = True
    offsets = True

    gamma: float
    beta: float
    eps: float
    affine: bool

    # -- infinite width ---------------------------------------------------------------------------------------
    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return True  # means over sites are of variances

    # -- finite width -----------------------------------------------------------------------------------------
    def parameter_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
        if not self.affine:
            return ()
        return (shape[:1], shape[:1]) if self.offsets else (shape[:1],)

    def initialise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> tuple:
        both = np.full(shape[:1], self.gamma, dtype), np.full(shape[:1], self.beta, dtype)
        return both if self.offsets else both[:1]

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        group = self._gains(parameters, x)
        centred = self._less_mean(x)
        square = self._mean(centred**2, x.shape)
        largest = np.abs(x).max(axis=tuple(range(1, x.ndim)), keepdims=True)
        constant = square <= (ROUNDING * np.finfo(x.dtype).eps * largest) ** 2
        # Constants become 0 and pass no error, as in the limit eps -> 0.
        inverse = np.divide(
            1, np.sqrt(square + x.dtype.type(self.eps)), out=np.zeros_like(square), where=~constant
        )
        z = centred * inverse
        trace.append((z, inverse))
        return group[0] * z + group[1] if self.offsets else group[0] * z

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        z, inverse = next(trace)
        group = self._gains(parameters, z)
        dy = None
        if self.affine:
            changes = [_beside(own, z) for own in next(tangents)]
            dy = changes[0] * z + changes[1] if self.offsets else changes[0] * z
        if dx is None:
            return dy
        pushed = group[0] * self._project(dx, z, inverse)
        return pushed if dy is None else dy + pushed

    def backward(
        self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> np.ndarray:
        z, inverse = next(trace)
        group = self._gains(parameters, z)
        if self.affine:
            collected.append((z, delta))
        return self._project(group[0] * delta, z, inverse)

    def gradient(self, h: np.ndarray, delta: np.ndarray) -> tuple:
        sites = (0, *range(2, h.ndim))
        both = (delta * h).sum(axis=sites), delta.sum(axis=sites)
        return both if self.offsets else both[:1]

    def factors(self, h: np.ndarray, delta: np.ndarray) -> list[Factors]:
        nothing, sites = h.reshape(len(h), -1)[:, :0], tuple(range(2 - h.ndim, 0))
        both = [Factors(nothing, of.sum(axis=sites) if sites else of, 1.0) for of in (delta * h, delta)]
        return both if self.offsets else both[:1]

    def factor_size(self, shape: tuple[int, ...]) -> int:
        return sum(prod(own) for own in self.parameter_shapes(shape) if own is not None)

    def _gains(self, parameters: Iterator, x: np.ndarray) -> tuple:
        if not self.affine:
            return x.dtype.type(self.gamma), x.dtype.type(self.beta)
        return tuple(_beside(own, x) for own in next(parameters))

    @abstractmethod
    def _mean(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Means over what is normalised together, beside x (..., T, channels, *sites)."""

    def _less_mean(self, x: np.ndarray) -> np.ndarray:
        return x

    def _project(self, dx: np.ndarray, z: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """The symmetric derivative of z."""
        shape = z.shape
        return inverse * (self._less_mean_of(dx, shape) - z * self._mean(dx * z, shape))

    def _less_mean_of(self, dx: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return dx


class RMSNorm(_ChannelNorm):
    r"""Channels divided by their root mean square, at every site.

    :math:`y_i = \gamma_i x_i / \sqrt{\frac1c \sum_j x_j^2 + \epsilon}` with a gain :math:`\gamma_i` for each channel.

    Infinite width: :math:`K \to \gamma^2 K / \sqrt{v v'}` with the second moments v, v' of x at both sites; errors come
    back times :math:`\gamma^2/\sqrt{v v'}`.

    Parameters
    ----------
    gamma : float
        Initial gain of every channel.
    eps : float
        Added to the mean square.
    affine : bool
        Whether the gains are trainable parameters, and so part of the Fisher information.

    Raises
    ------
    TypeError, ValueError
        `affine` that is no bool, negative `eps`.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.RMSNorm(eps=1e-6)
    RMSNorm(1, eps=1e-06)

    References
    ----------
    Zhang & Sennrich 2019, "Root mean square layer normalization", arXiv:1910.07467.
    """

    kind = "rms norm"
    offsets = False

    def __init__(self, gamma: float = 1.0, eps: float = 0.0, affine: bool = True):
        self.gamma, self.beta = finite_number("gamma", gamma), 0.0
        self.eps, self.affine = variance("eps", eps), boolean("affine", affine)

    def __repr__(self) -> str:
        return f"RMSNorm({self.gamma:g}{_extra(self)})"

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        inverse = np.sqrt(_reciprocal(state.moments.variance + self.eps))
        factors = state.moments.outer(inverse)
        z, mean = state.moments * factors, self.gamma * state.mean * inverse
        behind = state.mapped(self.gamma**2 * z, lambda kernel: kernel * (self.gamma**2 * factors), mean=mean)
        return behind.trained(z) if self.affine else behind

    def recorded(self, units: Recorded) -> Recorded:
        behind, z = units.normalised(self.gamma, 0.0, self.eps, centred=False)
        return behind.trained(z) if self.affine else behind

    # -- finite width -----------------------------------------------------------------------------------------
    def _mean(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return x.mean(axis=1 - len(shape), keepdims=True)


class GroupNorm(_ChannelNorm):
    r"""Groups of channels, with all their sites, of mean 0 and variance 1.

    :math:`y_i = \gamma_i z_i + \beta_i`, :math:`z_i = (x_i - \mu)/\sqrt{\sigma^2 + \epsilon}` with mean and variance
    over the channels of a group and all sites, and a gain and an offset for each channel. One group is layer norm of
    images.

    Infinite width, many channels a group: as layer norm, with the mean of the variance over sites in place of the
    variance.

    Parameters
    ----------
    groups : int
        Number of groups, which divides that of the channels.
    gamma, beta : float
        Initial gain and offset of every channel.
    eps : float
        Added to the variance; frameworks: 1e-5.
    affine : bool
        Whether gains and offsets are trainable parameters, as in ``torch.nn.GroupNorm``.

    Raises
    ------
    TypeError, ValueError
        Numbers out of their range; in a network, channels that `groups` does not divide, fewer than three numbers a
        group. In theory `NoTheory`: groups of a single channel.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.GroupNorm(8, eps=1e-5)
    GroupNorm(8, 1, 0, eps=1e-05)

    References
    ----------
    Wu & He 2018, "Group normalization", arXiv:1803.08494.
    """

    kind = "group norm"

    def __init__(
        self, groups: int, gamma: float = 1.0, beta: float = 0.0, eps: float = 0.0, affine: bool = True
    ):
        self.groups = positive_integer("groups", groups)
        self.gamma, self.beta = finite_number("gamma", gamma), finite_number("beta", beta)
        self.eps, self.affine = variance("eps", eps), boolean("affine", affine)

    def __repr__(self) -> str:
        return f"GroupNorm({self.groups}, {self.gamma:g}, {self.beta:g}{_extra(self)})"

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        if state.shape[0] == self.groups:
            raise NoTheory(
                f"{self!r} normalises every channel by itself, whose mean over a few sites is random however many "
                "channels there are; take fewer groups, or sample such networks (`mfdnn.ensemble`)."
            )
        moments, ones = state.moments, np.ones_like(state.mean)
        mean = state.mean.mean(axis=-1, keepdims=True) * ones  # of a group, the same at all sites
        spread = (moments.variance.mean(axis=-1, keepdims=True) - mean**2) * ones
        inverse = np.sqrt(_reciprocal(spread + self.eps))
        factors = moments.outer(inverse)
        centred = moments - 2.0 * moments.outer(state.mean, mean) + moments.outer(mean)
        z, shift = centred * factors, (state.mean - mean) * inverse
        left = self.gamma**2 * z + self.beta**2 + (2 * self.gamma * self.beta) * moments.outer(shift, ones)
        behind = state.mapped(
            left, lambda kernel: kernel * (self.gamma**2 * factors), mean=self.gamma * shift + self.beta
        )
        return behind.trained(z + 1.0) if self.affine else behind

    def recorded(self, units: Recorded) -> Recorded:
        behind, z = units.normalised(self.gamma, self.beta, self.eps, sites=True)
        return behind.trained(z, None) if self.affine else behind

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if shape[0] % self.groups:
            raise ValueError(
                f"`groups` must divide the channels that enter, got {self.groups} for {shape[0]} channels; choose a "
                "divisor of them."
            )
        if prod(shape) // self.groups < 3:
            raise ValueError(
                f"`GroupNorm` needs three numbers or more in a group, got {prod(shape) // self.groups}: what leaves "
                "would not depend on what enters but for a sign; take fewer groups."
            )
        return shape

    def _mean(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        lead = x.shape[: 1 + x.ndim - len(shape)]
        means = x.reshape(*lead, self.groups, -1).mean(axis=-1)
        return np.repeat(means, shape[1] // self.groups, axis=-1).reshape(
            *lead, shape[1], *[1] * (len(shape) - 2)
        )

    def _less_mean(self, x: np.ndarray) -> np.ndarray:
        return x - self._mean(x, x.shape)

    def _less_mean_of(self, dx: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return dx - self._mean(dx, shape)


def _extra(layer: _ChannelNorm) -> str:
    return ("" if layer.eps == 0 else f", eps={layer.eps:g}") + ("" if layer.affine else ", affine=False")


def _beside(own: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A number a channel, beside x (T, channels, *sites)."""
    return own.reshape(-1, *[1] * (x.ndim - 2))


def _reciprocal(x: np.ndarray) -> np.ndarray:
    """1/x, 0 for 0: what is constant stays 0 and passes no error."""
    return np.divide(1.0, x, out=np.zeros_like(x), where=x > 0)

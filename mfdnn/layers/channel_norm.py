"""Normalisation over the channels of a sample: at every site, or over all sites."""

from __future__ import annotations

from abc import abstractmethod
from math import prod

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import positive_integer
from .base import Factors
from .output_laws import MixedOutputs, OutputLaw
from .pairs import Pairs, SitePairs
from .recorded import Recorded
from .state import State
from .unit_variance import Normalisation, reciprocal
from .units import Units, as_moments

__all__ = ["GroupNorm", "LayerNorm", "RMSNorm"]


class _ChannelNorm(Normalisation):
    """Statistics over channels.

    At infinite width they are numbers, the same for all units.
    """

    over_sites = False  # whether all sites of a sample are normalised together

    # -- infinite width ---------------------------------------------------------------------------------------
    @abstractmethod
    def statistics(self, mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is taken away, and the mean square of what is left.

        Of means over units of x and x^2 at every site, (..., n); both of that shape.
        """

    def propagate(self, state: State) -> State:
        self.check_law(state.shape)
        state = as_moments(state)
        moments = state.moments
        away, inverse = self._scales(state.mean, moments.variance)
        left, factors = state.mean - away, moments.outer(inverse)
        squares = moments
        if np.any(away):  # the covariance, and products of the means that are left
            squares = squares - moments.outer(state.mean)
            squares = squares + moments.outer(left) if np.any(left) else squares
        z, shift = squares * factors, left * inverse
        behind = self.gamma**2 * z
        if self.beta:
            behind = behind + self.beta**2 + (2 * self.gamma * self.beta) * moments.outer(shift, np.ones_like(shift))
        found = state.mapped(
            behind, lambda kernel: kernel * (self.gamma**2 * factors), mean=self.gamma * shift + self.beta
        )
        if not self.affine:
            return found
        return found.trained(z + 1.0 if self.centres else z)

    def check_law(self, shape: tuple[int, ...]) -> None:
        """Raise where means over the channels that enter stay random."""

    def through_units(self, units: Units) -> Units:
        away, inverse = self._scales(units.mean, units.moments.variance)
        z = (units.values - away) * inverse
        units = units.elementwise(self.gamma * z + self.beta, np.broadcast_to(self.gamma * inverse, z.shape[1:])[None])
        if not self.affine:
            return units
        return units.trained(z, np.ones_like(z)) if self.centres else units.trained(z)

    def _scales(self, mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is taken away, and by what the rest is multiplied."""
        away, spread = self.statistics(mean, square)
        return away, np.sqrt(reciprocal(spread + self.eps))

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return True  # means over sites are of variances

    def recorded(self, units: Recorded) -> Recorded:
        behind, z = units.normalised(
            self.gamma, self.beta, self.eps, centred=self.centres, sites=self.over_sites
        )
        if not self.affine:
            return behind
        return behind.trained(z, None) if self.centres else behind.trained(z)

    # -- finite width -----------------------------------------------------------------------------------------
    def along(self, ndim: int) -> tuple[int, ...]:
        return (1 - ndim,)  # the channels

    def factors(self, h: np.ndarray, delta: np.ndarray) -> list[Factors]:
        nothing, sites = h.reshape(len(h), -1)[:, :0], tuple(range(2 - h.ndim, 0))
        both = (delta * h, delta)[: 1 + self.centres]
        return [Factors(nothing, of.sum(axis=sites) if sites else of, 1.0) for of in both]

    def factor_size(self, shape: tuple[int, ...]) -> int:
        return sum(prod(own) for own in self.parameter_shapes(shape) if own is not None)


class LayerNorm(_ChannelNorm):
    r"""Layer normalisation: channels of mean 0 and variance 1, at every site.

    :math:`y_i = \gamma_i z_i + \beta_i`, :math:`z = (x - \mu)/\sqrt{\sigma^2 + \epsilon}` with mean and variance over
    the units of one sample at one site, and a gain and an offset for each channel: the norm of transformers and of
    ConvNeXt. ``torch.nn.LayerNorm(C)`` has the channels last; ``torch.nn.LayerNorm((C, H, W))`` normalises over all
    sites, as `GroupNorm` of one group does, but has a gain and an offset for every number.

    Infinite width: with v and k the variance and covariance of x over units, :math:`q \to \gamma^2 + \beta^2` and
    :math:`q_{st} \to \gamma^2 k/\sqrt{v v'} + \beta^2`, also of two sites; errors come back times :math:`\gamma^2/v`,
    tangent kernels times :math:`\gamma^2/\sqrt{v v'}`. As an output of few units it has a theory of its own in
    `mfdnn.fisher_statistics`.

    Parameters
    ----------
    gamma, beta : float
        Initial gain and offset of every channel.
    eps : float
        Added to the variance; 0 as in the papers (frameworks: 1e-5).
    affine : bool
        Whether gains and offsets are trainable parameters; True, as in ``torch.nn.LayerNorm``.

    Raises
    ------
    TypeError, ValueError
        `affine` that is no bool, negative `eps`; in a network, fewer than three channels (z would be constant).

    Notes
    -----
    A sample whose channels are all equal at a site becomes `beta` there and passes no error.

    Examples
    --------
    >>> import mfdnn
    >>> layers = [mfdnn.Conv(96, 7, 1.5), mfdnn.LayerNorm(), mfdnn.Conv(384, 1, 1.5), mfdnn.Pointwise("gelu")]
    >>> layers += [mfdnn.Conv(96, 1, 1.5), mfdnn.GlobalAveragePool(), mfdnn.Dense(10)]
    >>> op = mfdnn.order_parameters(mfdnn.Network((3, 16, 16), layers), c0=0.5)
    >>> round(float(op.q_hat[1]), 12)  # behind layer norm
    1.0

    References
    ----------
    Ba, Kiros & Hinton 2016, "Layer normalization", arXiv:1607.06450. Karakida, Akaho & Amari 2019,
    arXiv:1906.02926.
    """

    kind, normalises = "layer norm", "units"

    # -- infinite width ---------------------------------------------------------------------------------------
    def statistics(self, mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return mean, square - mean**2

    def as_outputs(self, outputs: Pairs, n_outputs: int) -> OutputLaw:
        return MixedOutputs(self.kind, self.gamma, self.eps, self.affine, outputs, n_outputs)

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if (units := shape[0]) < 3:
            what = "units" if len(shape) == 1 else "channels"
            raise ValueError(
                f"`LayerNorm` needs three {what} or more, got {units}: its output would not depend on its input but "
                "for a sign; make the layer before it wider."
            )
        return shape

    def n_free_outputs(self, n_outputs: int) -> int:
        return n_outputs - 1  # their mean is taken away


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

    kind, centres = "rms norm", False

    def __init__(self, gamma: float = 1.0, eps: float = 0.0, affine: bool = True):
        super().__init__(gamma, 0.0, eps, affine)

    # -- infinite width ---------------------------------------------------------------------------------------
    def statistics(self, mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros_like(mean), square


class GroupNorm(_ChannelNorm):
    r"""Groups of channels, with all their sites, of mean 0 and variance 1.

    :math:`y_i = \gamma_i z_i + \beta_i`, :math:`z_i = (x_i - \mu)/\sqrt{\sigma^2 + \epsilon}` with mean and variance
    over the channels of a group and all sites, and a gain and an offset for each channel. One group is layer norm of
    whole images.

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

    kind, over_sites = "group norm", True

    def __init__(
        self, groups: int, gamma: float = 1.0, beta: float = 0.0, eps: float = 0.0, affine: bool = True
    ):
        self.groups = positive_integer("groups", groups)
        super().__init__(gamma, beta, eps, affine)

    def _made_of(self) -> list[str]:
        return [str(self.groups)]

    # -- infinite width ---------------------------------------------------------------------------------------
    def check_law(self, shape: tuple[int, ...]) -> None:
        if shape[0] == self.groups:
            raise NoTheory(
                f"{self!r} normalises every channel by itself, whose mean over a few sites is random however many "
                "channels there are; take fewer groups, or sample such networks (`mfdnn.ensemble`)."
            )

    def statistics(self, mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_group, squares = (of.mean(axis=-1, keepdims=True) * np.ones_like(of) for of in (mean, square))
        return of_group, squares - of_group**2

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

    def along(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(1 - ndim, 0))

    def apart(self, x: np.ndarray, ndim: int) -> np.ndarray:
        at = x.ndim + 1 - ndim  # of the channels
        return x.reshape(*x.shape[:at], self.groups, -1, *x.shape[at + 1 :])

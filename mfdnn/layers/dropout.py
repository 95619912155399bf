"""Dropout: units left out at random, differently for every sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._support.validation import finite_number, positive_integer
from .base import Layer
from .pairs import SitePairs
from .recorded import Recorded
from .state import State
from .units import Units, as_moments

__all__ = ["Dropout"]


class Dropout(Layer):
    r"""Units left out with probability :math:`1 - \rho`, the others over :math:`\rho`.

    Every sample, unit and site has a mask of its own. Infinite width: what an input at a site shares with itself is
    divided by :math:`\rho`, :math:`q \to q/\rho`, and all other products stay, of signals and of tangent kernels.

    Parameters
    ----------
    keep_rate : float
        :math:`\rho`, in (0, 1]. ``torch.nn.Dropout(p)`` is ``Dropout(1 - p)``.
    seed : int, optional
        Of the masks. By default every sampled network draws its own; a number fixes them for all networks, and so that
        means over networks are no longer those of the theory. Layers of one seed have the same masks.

    Raises
    ------
    TypeError, ValueError
        A rate outside (0, 1], a seed that is no integer >= 0.

    Notes
    -----
    A sampled network is a function, and so its masks are drawn with it (`mfdnn.sample`) and stay, in all steps of
    training too: that of a sample depends on its place in the batch. ``one.network`` holds their seeds. In theory every
    input has masks of its own, `others` too; in a call of their own they get those of their places.

    Examples
    --------
    >>> import mfdnn
    >>> layers = [mfdnn.Dense(100, 1.6), mfdnn.Pointwise("relu"), mfdnn.Dropout(0.8), mfdnn.Dense(1, 1.6)]
    >>> mfdnn.order_parameters(mfdnn.Network(50, layers)).q  # sigma_w^2 of 2 keep_rate keeps the signal of relu
    array([1.6, 1.6])

    References
    ----------
    Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017, "Deep information propagation", arXiv:1611.01232.
    """

    kind = "dropout"
    homogeneous = keeps_units = batches_errors = True

    def __init__(self, keep_rate: float, seed: int | None = None):
        self.keep_rate = finite_number("keep_rate", keep_rate)
        if not 0 < self.keep_rate <= 1:
            raise ValueError(f"`keep_rate` must be in (0, 1], got {keep_rate:g}; pass the share of units that stay.")
        self.seed = None if seed is None else positive_integer("seed", seed, 0)

    def __repr__(self) -> str:
        return f"Dropout({self.keep_rate:g}{'' if self.seed is None else f', seed={self.seed}'})"

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        state, more = as_moments(state), 1 / self.keep_rate
        return state.mapped(
            state.moments.on_itself(more), lambda kernel: kernel.on_itself(more), gaussian=state.gaussian and more == 1
        )

    def through_units(self, units: Units) -> Units:
        kept = (units.sampler.next_rng().random(units.values.shape) < self.keep_rate) / self.keep_rate
        return units.elementwise(kept * units.values, kept)

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return True

    def recorded(self, units: Recorded) -> Recorded:
        kept = units.recording.rng.random(units.values.value.shape) < self.keep_rate
        return units.times_constant(kept / self.keep_rate)

    # -- finite width -----------------------------------------------------------------------------------------
    def drawn(self, rng: np.random.Generator) -> Dropout:
        return self if self.seed is not None else Dropout(self.keep_rate, int(rng.integers(2**62)))

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        if self.seed is None:
            raise ValueError(
                f"`{self!r}` has no masks: a network draws them when it is sampled; take `mfdnn.sample(net)` or the "
                f"`network` of a sampled one, or fix them, Dropout({self.keep_rate:g}, seed=0)."
            )
        rng = np.random.default_rng(self.seed)  # sample by sample: a longer batch begins alike
        kept = rng.random(x.shape, dtype=np.float32) < self.keep_rate
        mask = kept / x.dtype.type(self.keep_rate)
        trace.append(mask)
        return x * mask

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        mask = next(trace)
        return None if dx is None else dx * mask

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        return delta * next(trace)

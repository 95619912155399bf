"""Mean subtraction over the samples of a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._support.errors import NoTheory
from .base import Layer
from .output_laws import CentredOutputs, OutputLaw
from .pairs import Pairs, SitePairs
from .recorded import Recorded
from .state import State
from .unit_variance import check_samples, less_mean, one_over
from .units import Units, as_moments

__all__ = ["MeanSubtraction"]


class MeanSubtraction(Layer):
    r"""Mean over the samples subtracted from every unit, at every site.

    :math:`y_i(t) = x_i(t) - \frac1T \sum_s x_i(s)`. Infinite width, exactly: :math:`q \to (1 - 1/T)(q - q_{st})`,
    :math:`q_{st} \to -(q - q_{st})/T`; of given inputs K becomes :math:`P_0 K P_0` with :math:`P_0 = I - 1 1^T/T`,
    and so does the tangent kernel of all parameters below. The error of a sample at its own units comes back
    multiplied by 1 - 1/T.

    References
    ----------
    Karakida, Akaho & Amari 2019, "The normalization method for alleviating pathological sharpness in wide
    neural networks", arXiv:1906.02926.
    """

    kind, couples_samples, normalises = "mean subtraction", True, "mean"
    homogeneous = keeps_units = batches_errors = True

    def __repr__(self) -> str:
        return "MeanSubtraction()"

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        check_samples(state.n_samples, 2, self.kind)
        state = as_moments(state)
        mean = state.mean - state.mean.mean(axis=0) if state.moments.given else np.zeros_like(state.mean)
        own = (1 - one_over(state.n_samples)) ** 2  # of the error of a sample at its own units
        return state.mapped(
            state.moments.centred(), lambda kernel: kernel.centred(), mean=mean, errors=lambda kernel: own * kernel
        )

    def through_units(self, units: Units) -> Units:
        if units.like.n_samples is None:
            raise NoTheory(
                f"{self!r} of sampled units needs a number of samples, `n_samples`, got None for infinitely many; pass "
                "the size of a batch."
            )
        values, (_, n_samples, n_sites) = less_mean(units.values, 1), units.values.shape
        if n_sites == 1:
            ones = np.ones((1, n_samples, 1))
            return units.less(values, (ones / n_samples, ones))
        return units.mapped(values, lambda z: less_mean(z, 1), couples=True)

    def as_outputs(self, outputs: Pairs, n_outputs: int) -> OutputLaw:
        return CentredOutputs(self.kind)

    def recorded(self, units: Recorded) -> Recorded:
        return units.less_mean((-2,))

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return True

    # -- finite width -----------------------------------------------------------------------------------------
    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        check_samples(len(x), 2, self.kind)
        trace.append(-x.ndim)  # the axis of samples, behind leading ones
        return less_mean(x, 0)

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        samples = next(trace)
        return None if dx is None else less_mean(dx, samples)

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        return less_mean(delta, next(trace))

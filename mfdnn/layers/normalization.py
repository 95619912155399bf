"""Mean subtraction over the samples of a batch; layer norm over the units of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .base import Factors, Layer, one_site
from .output_laws import CentredOutputs, MixedOutputs, OutputLaw
from .pairs import Pairs, SitePairs
from .recorded import Recorded
from .state import State
from .unit_variance import UNITS, Normalisation, check_samples, less_mean, one_over, reciprocal

__all__ = ["LayerNorm", "MeanSubtraction"]


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
        mean = state.mean - state.mean.mean(axis=0) if state.moments.given else np.zeros_like(state.mean)
        own = (1 - one_over(state.n_samples)) ** 2  # of the error of a sample at its own units
        return state.mapped(
            state.moments.centred(), lambda kernel: kernel.centred(), mean=mean, errors=lambda kernel: own * kernel
        )

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


class LayerNorm(Normalisation):
    r"""Layer normalisation: each sample has mean 0 and variance 1 over the units.

    :math:`y_i(t) = \gamma_i z_i(t) + \beta_i`, :math:`z(t) = (x(t) - \mu(t))/\sqrt{\sigma(t)^2 + \epsilon}` with mean
    and variance over the units of one sample.

    Infinite width: with v and k the variance and covariance of x over units, :math:`q \to \gamma^2 + \beta^2` and
    :math:`q_{st} \to \gamma^2 k/v + \beta^2`; errors come back times :math:`\gamma^2/v`. As an output of few units it
    has a theory of its own in `mfdnn.fisher_statistics`.

    Parameters
    ----------
    gamma, beta : float
        Initial gain and offset of every unit.
    eps : float
        Added to the variance; 0 as in the papers (frameworks: 1e-5).
    affine : bool
        Whether gains and offsets are trainable parameters; True, as in ``torch.nn.LayerNorm``.

    Raises
    ------
    TypeError, ValueError
        `affine` that is no bool, negative `eps`; in a network, fewer than three units (z would be constant).

    Notes
    -----
    A sample whose units are all equal becomes `beta` and passes no error.

    References
    ----------
    Ba, Kiros & Hinton 2016, "Layer normalization", arXiv:1607.06450. Karakida, Akaho & Amari 2019,
    arXiv:1906.02926.
    """

    kind, normalises = "layer norm", "units"

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        moments, mean = state.moments, state.mean
        inverse = moments.outer(np.sqrt(reciprocal(moments.variance - mean**2 + self.eps)))
        return self._behind(
            state, (moments - moments.outer(mean)) * inverse, lambda kernel: kernel * (self.gamma**2 * inverse)
        )

    def as_outputs(self, outputs: Pairs, n_outputs: int) -> OutputLaw:
        return MixedOutputs(self.kind, self.gamma, self.eps, self.affine, outputs, n_outputs)

    def recorded(self, units: Recorded) -> Recorded:
        behind, z = units.normalised(self.gamma, self.beta, self.eps)
        return behind.trained(z, None) if self.affine else behind

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if (units := one_site("LayerNorm", shape)) < 3:
            raise ValueError(
                f"`LayerNorm` needs three units or more, got {units}: its output would not depend on its input but "
                "for a sign; make the layer before it wider."
            )
        return shape

    def along(self, ndim: int) -> tuple[int, ...]:
        return (UNITS,)

    def n_free_outputs(self, n_outputs: int) -> int:
        return n_outputs - 1  # their mean is taken away

    def factors(self, h: np.ndarray, delta: np.ndarray) -> Factors:
        return Factors(h[:, :0], np.concatenate([delta * h, delta], axis=-1), True)

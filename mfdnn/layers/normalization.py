"""Normalisation over the samples of a batch, or over the units of a sample.

Mean subtraction and batch norm are of the first kind, layer norm is of the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import boolean, finite_number, variance
from .base import Factors, Layer, one_site
from .inverse_variance import ratios
from .output_laws import CentredOutputs, FewerOutputs, MixedOutputs, OutputLaw, StandardisedOutputs
from .pairs import Exchangeable, Given, Pairs
from .state import State

__all__ = ["BatchNorm", "LayerNorm", "MeanSubtraction"]

SAMPLES, UNITS = -2, -1  # axes
ROUNDING = 8  # a spread below so many eps of the largest value is the rounding error of a constant


class MeanSubtraction(Layer):
    r"""Mean over the samples subtracted from every unit.

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
        _check_samples(state.n_samples, 2, self.kind)
        mean = state.mean - state.mean.mean(axis=0) if state.moments.given else np.zeros_like(state.mean)
        own = (1 - _inverse(state.n_samples)) ** 2  # of the error of a sample at its own units
        return state.mapped(
            state.moments.centred(), lambda kernel: kernel.centred(), mean=mean, errors=lambda kernel: own * kernel
        )

    def as_outputs(self, outputs: Pairs, n_outputs: int) -> OutputLaw:
        return CentredOutputs(self.kind)

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        one_site("MeanSubtraction", shape)
        return shape

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        _check_samples(x.shape[SAMPLES], 2, self.kind)
        return _less_mean(x, SAMPLES)

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        return None if dx is None else _less_mean(dx, SAMPLES)

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        return _less_mean(delta, SAMPLES)


class _Normalisation(Layer):
    """y = gamma z + beta with z = (x - mean) / sqrt(variance + eps) along AXIS."""

    AXIS: int
    keeps_units = batches_errors = True

    def __init__(self, gamma: float = 1.0, beta: float = 0.0, eps: float = 0.0, affine: bool = True):
        self.gamma, self.beta = finite_number("gamma", gamma), finite_number("beta", beta)
        self.eps, self.affine = variance("eps", eps), boolean("affine", affine)

    def __repr__(self) -> str:
        extra = "" if self.eps == 0 else f", eps={self.eps:g}"
        extra += "" if self.affine else ", affine=False"
        return f"{type(self).__name__}({self.gamma:g}, {self.beta:g}{extra})"

    # -- infinite width ---------------------------------------------------------------------------------------
    def _behind(
        self,
        state: State,
        z: Pairs,
        tangents: Callable[[Pairs], Pairs],
        errors: Callable[[Pairs], Pairs] | None = None,
    ) -> State:
        """The state of gamma z + beta, with gains and offsets, for moments of z."""
        mean = np.full_like(state.mean, self.beta)
        moments = self.gamma**2 * z + self.beta**2
        behind = state.mapped(moments, tangents, mean=mean, errors=errors)
        return behind.trained(z + 1.0) if self.affine else behind

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        one_site(type(self).__name__, shape)
        return shape

    def parameter_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
        return (shape, shape) if self.affine else ()

    def initialise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> tuple:
        return np.full(shape, self.gamma, dtype), np.full(shape, self.beta, dtype)

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        gamma, beta = self._gains(parameters, x.dtype)
        z = _less_mean(x, self.AXIS)
        spread = np.mean(z**2, axis=self.AXIS, keepdims=True)
        largest = np.abs(x).max(axis=self.AXIS, keepdims=True)
        constant = spread <= (ROUNDING * np.finfo(x.dtype).eps * largest) ** 2
        spread = np.sqrt(spread + x.dtype.type(self.eps))
        # Constants become 0 and pass no error, as in the limit eps -> 0.
        inverse = np.divide(1, spread, out=np.zeros_like(spread), where=~constant)
        z *= inverse
        trace.append((z, inverse))
        return gamma * z + beta

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        z, inverse = next(trace)
        gamma, _ = self._gains(parameters, z.dtype)
        dy = None
        if self.affine:
            d_gamma, d_beta = next(tangents)
            dy = d_gamma * z + d_beta
        if dx is None:
            return dy
        pushed = gamma * self._project(dx, z, inverse)
        return pushed if dy is None else dy + pushed

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        z, inverse = next(trace)
        gamma, _ = self._gains(parameters, z.dtype)
        if self.affine:
            collected.append((z, delta))
        return self._project(gamma * delta, z, inverse)

    def gradient(self, h: np.ndarray, delta: np.ndarray) -> tuple:
        return (delta * h).sum(axis=0), delta.sum(axis=0)

    def _gains(self, parameters: Iterator, dtype: np.dtype) -> tuple:
        return next(parameters) if self.affine else (dtype.type(self.gamma), dtype.type(self.beta))

    def _project(self, dx: np.ndarray, z: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """The symmetric derivative of z, (I - (1 1^T + z z^T)/n) / sigma."""
        along = np.mean(dx * z, axis=self.AXIS, keepdims=True)
        return inverse * (_less_mean(dx, self.AXIS) - z * along)


class BatchNorm(_Normalisation):
    r"""Batch normalisation: each unit has mean 0 and variance 1 over the samples.

    :math:`y_i(t) = \gamma_i z_i(t) + \beta_i`, :math:`z_i = (x_i - \mu_i)/\sqrt{\sigma_i^2 + \epsilon}` with mean
    and variance over all T samples that pass together. Its derivative couples them:
    :math:`\partial z_i/\partial x_i = (I - (1 1^T + z_i z_i^T)/T)/\sigma_i`.

    Infinite width, after a weight layer: :math:`q \to \gamma^2 + \beta^2`,
    :math:`q_{st} \to \beta^2 - \gamma^2/(T - 1)`, errors times :math:`\gamma^2 T/((T - 3)(q - q_{st}))`, and the
    tangent kernel of the parameters below is centred, :math:`P_0 \Theta P_0`. Of T given inputs, z has the
    covariance :math:`P_0 K P_0` over its mean diagonal.

    Parameters
    ----------
    gamma, beta : float
        Initial gain and offset of every unit.
    eps : float
        Added to the variance; 0 as in the papers (frameworks: 1e-5).
    affine : bool
        Whether gains and offsets are trainable parameters, and so part of the Fisher information. True, as in
        ``torch.nn.BatchNorm1d``; the papers leave them out, which changes eigenvalues by O(1).

    Raises
    ------
    TypeError, ValueError
        `affine` that is no bool, negative `eps`. Later: fewer than three samples (z would be constant). In theory
        `NoTheory`, a ValueError too: three samples (:math:`E[1/\sigma_i^2]` is infinite), an input that comes straight
        from an activation.

    Notes
    -----
    A unit that is constant over the batch becomes `beta` and passes no error.

    Theory is of Gaussian z, while T values of mean 0 and variance 1 lie on a sphere. Second moments of z, and the mean
    diagonal of the tangent kernel of a linear or positively homogeneous network, are exact at finite T; other
    activations see relative errors of O(1/T): :math:`E[\phi(z)^2]` differs by -V''(1)/T, V(s) the same of a Gaussian of
    variance s (`mfdnn.batch_norm_fixed_point` is exact). So do errors that come back through several
    normalisations. The tangent kernel leaves out that :math:`z_i` is taken away from it unevenly: behind hidden
    batch norm of relu the outlier of theory is too large by 21 % at T = 10, 6 % at 40, 2 % at 120 (`mfdnn.compare`
    corrects it), and given inputs must be many beside the few directions that hold most of their variance.

    References
    ----------
    Ioffe & Szegedy 2015, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", arXiv:1502.03167. Theory: Karakida, Akaho & Amari 2019, arXiv:1906.02926; finite T is derived
    for this package.
    """

    kind, couples_samples, normalises, AXIS = "batch norm", True, "samples", SAMPLES

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        n_samples, given = state.n_samples, state.moments.given
        _check_samples(n_samples, 3, self.kind)
        if n_samples == 3:  # E[1/sigma^2] is infinite
            raise NoTheory(
                f"`n_samples` must be 4 or more for the theory of {self.kind}, got {n_samples}; pass more samples."
            )
        if not state.gaussian and (given or state.tangents.names):
            raise NoTheory(
                "`BatchNorm` needs Gaussian units in theory, but its input does not come from a weight layer; put it "
                "before the activation, or sample such networks (`mfdnn.ensemble`)."
            )
        centred, share, least = state.moments.centred(), _inverse(n_samples), ROUNDING * np.finfo(float).eps
        inverse: Any
        kept: Any
        if given:
            values, vectors = np.linalg.eigh(centred.at_two)
            values = np.where(values > least * len(values) * state.moments.at_one.max(), values, 0.0)
            inverse, squares = ratios(values / len(values), self.eps)
            z: Pairs = Given(((vectors * (len(values) * squares)) @ vectors.T)[..., None, None])
            kept = z.at_one.mean()
        else:
            one = np.where(centred.at_one > least * np.abs(state.moments.at_one), centred.at_one, 0.0)
            # sigma^2 is `one` T/(T - 1) chi^2_{T-1}/T, and E[1/chi^2_{T-1}] = 1/(T - 3).
            inverse = _reciprocal(one * (1 - 3 * share) / (1 - share) + self.eps)
            kept = one * _reciprocal(one + self.eps)  # 1 for eps = 0
            two = -kept * share / (1 - share)
            z = Exchangeable(kept[..., None, None], two[..., None, None], n_samples)
        own = self.gamma**2 * inverse * (1 - (1 + kept) * share) ** 2  # of the error of a sample at its own units
        scale = self.gamma**2 * inverse * (1 - kept * share / (1 - share))
        return self._behind(state, z, lambda kernel: kernel.centred().times(scale), lambda kernel: kernel.times(own))

    def as_outputs(self, outputs: Pairs, n_outputs: int) -> OutputLaw:
        law = StandardisedOutputs if outputs.given else FewerOutputs
        return law(self.kind, self.gamma, self.eps, self.affine, outputs, n_outputs)

    # -- finite width -----------------------------------------------------------------------------------------
    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        _check_samples(x.shape[SAMPLES], 3, self.kind)
        return super().forward(x, parameters, trace)


class LayerNorm(_Normalisation):
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

    kind, normalises, AXIS = "layer norm", "units", UNITS

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        moments, mean = state.moments, state.mean
        inverse = moments.outer(np.sqrt(_reciprocal(moments.variance - mean**2 + self.eps)))
        return self._behind(
            state, (moments - moments.outer(mean)) * inverse, lambda kernel: kernel * (self.gamma**2 * inverse)
        )

    def as_outputs(self, outputs: Pairs, n_outputs: int) -> OutputLaw:
        return MixedOutputs(self.kind, self.gamma, self.eps, self.affine, outputs, n_outputs)

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if (units := one_site("LayerNorm", shape)) < 3:
            raise ValueError(
                f"`LayerNorm` needs three units or more, got {units}: its output would not depend on its input but "
                "for a sign; make the layer before it wider."
            )
        return shape

    def n_free_outputs(self, n_outputs: int) -> int:
        return n_outputs - 1  # their mean is taken away

    def factors(self, h: np.ndarray, delta: np.ndarray) -> Factors:
        return Factors(h[:, :0], np.concatenate([delta * h, delta], axis=-1), True)


def _inverse(n_samples: int | None) -> float:
    """1/T."""
    return 0.0 if n_samples is None else 1 / n_samples


def _less_mean(x: np.ndarray, axis: int) -> np.ndarray:
    return x - x.mean(axis=axis, keepdims=True)


def _reciprocal(x: Any) -> np.ndarray:
    """1/x, 0 for 0: what is constant stays 0 and passes no error."""
    x = np.asarray(x, float)
    return np.divide(1.0, x, out=np.zeros_like(x), where=x > 0)


def _check_samples(n_samples: int | None, least: int, what: str) -> None:
    if n_samples is not None and n_samples < least:
        raise ValueError(f"`n_samples` must be {least} or more for {what}, got {n_samples}; pass more samples.")

"""Batch normalisation: channels of mean 0 and variance 1 over samples and sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .inverse_variance import ratios
from .output_laws import FewerOutputs, OutputLaw, StandardisedOutputs
from .pairs import Exchangeable, Given, Pairs
from .recorded import Recorded
from .state import State
from .unit_variance import ROUNDING, Normalisation, check_samples, one_over, reciprocal
from .units import Units, through_units

__all__ = ["BatchNorm"]

LEAST = 3  # numbers that are normalised together; two would become 1 and -1 whatever they are
DIRECTIONS = 5  # in which they must differ: E[1/variance^2] is infinite with fewer


class BatchNorm(Normalisation):
    r"""Batch normalisation: channels of mean 0 and variance 1 over samples and sites.

    :math:`y_i(t) = \gamma_i z_i(t) + \beta_i`, :math:`z_i = (x_i - \mu_i)/\sqrt{\sigma_i^2 + \epsilon}` with mean
    and variance over all T samples that pass together, and over all n sites of an image, with a gain and an offset for
    each channel: ``torch.nn.BatchNorm2d`` in training mode. Its derivative couples the samples:
    :math:`\partial z_i/\partial x_i = (I - (1 1^T + z_i z_i^T)/(T n))/\sigma_i`.

    Infinite width: units are sampled (`mfdnn.MeanField`), exactly at any T and with standard errors. The tangent kernel
    of the parameters below becomes :math:`E[J \Theta J^T]`, J the derivative above, which no draw of tangents is needed
    for. Infinitely many samples of one site have a closed form: z is Gaussian, :math:`q \to \gamma^2 + \beta^2`,
    :math:`q_{st} \to \beta^2`, errors times :math:`\gamma^2/(q - q_{st})`, and the tangent kernel is centred.

    Parameters
    ----------
    gamma, beta : float
        Initial gain and offset of every channel.
    eps : float
        Added to the variance; 0 as in the papers (frameworks: 1e-5).
    affine : bool
        Whether gains and offsets are trainable parameters, and so part of the Fisher information. True, as in
        ``torch.nn.BatchNorm1d``; the papers leave them out, which changes eigenvalues by O(1).

    Raises
    ------
    TypeError, ValueError
        `affine` that is no bool, negative `eps`. Later: fewer than three numbers a channel, T n (z would be constant).
        In theory `NoTheory`, a ValueError too: inputs that differ in fewer than five directions without `eps`, so that
        the mean square of :math:`1/\sigma_i^2` is infinite; several sites without a number of samples.

    Notes
    -----
    A channel that is constant over the batch becomes `beta` and passes no error.

    Errors :math:`\tilde q` are those of a sample at its own units, products of what each layer does to that sample
    alone: of what samples do to each other on the way they leave out O(1/T). Tangent kernels do not.

    Behind the last weights (outputs) theory is of Gaussian z, as in the paper.

    References
    ----------
    Ioffe & Szegedy 2015, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", arXiv:1502.03167. Theory: Karakida, Akaho & Amari 2019, arXiv:1906.02926; finite T is derived
    for this package.
    """

    kind, couples_samples, normalises = "batch norm", True, "samples"

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        n_samples = state.n_samples
        known = state.units is not None or state.gaussian or state.origin is not None
        if len(state.shape) == 1 and (state.sampler is None or not known or n_samples is None):
            return self.propagate_outputs(state)
        if n_samples is None:
            raise NoTheory(
                f"{self!r} of several sites needs a number of samples, `n_samples`, got None for infinitely many; pass "
                "the size of a batch."
            )
        if state.tangents.names:
            self._check_values(n_samples, prod(state.shape[1:]))
        return through_units(self, state)

    def through_units(self, units: Units) -> Units:
        x, n = units.values, prod(units.values.shape[1:])
        both = (1, 2)
        centred = x - x.mean(axis=both, keepdims=True)
        spread = np.mean(centred**2, axis=both, keepdims=True)
        largest = np.abs(x).max(axis=both, keepdims=True)
        constant = spread <= (ROUNDING * np.finfo(float).eps * largest) ** 2
        if self.eps == 0 and units.sources:
            _check_directions(np.where(constant, 0.0, centred))
        inverse = np.divide(1, np.sqrt(spread + self.eps), out=np.zeros_like(spread), where=~constant)
        z, ones = centred * inverse, np.ones((1, *x.shape[1:]))
        units = units.less(z, (ones / n, ones), (z / n, z))
        units = units.elementwise(self.gamma * z + self.beta, self.gamma * inverse)
        return units.trained(z, ones) if self.affine else units

    def _check_values(self, n_samples: int, n_sites: int) -> None:
        """Raise for so few numbers a channel that their variance has no usable inverse."""
        what = self.kind + (f" of {n_sites} sites" if n_sites > 1 else "")
        check_samples(n_samples, -(-LEAST // n_sites), what)
        if n_samples * n_sites <= DIRECTIONS and self.eps == 0:
            raise NoTheory(
                f"`n_samples` must be {DIRECTIONS // n_sites + 1} or more for the theory of {what}, got {n_samples}: "
                "of fewer numbers a channel the mean square of 1/variance is infinite, and no average over units "
                "settles; pass more samples, or a positive `eps`."
            )

    def propagate_outputs(self, state: State) -> State:
        if len(state.shape) > 1:
            raise NoTheory(
                f"{self!r} has no law of outputs at several sites; put `Flatten` or `GlobalAveragePool` before it."
            )
        n_samples, given = state.n_samples, state.moments.given
        check_samples(n_samples, LEAST, self.kind)
        if n_samples == 3:  # E[1/sigma^2] is infinite
            raise NoTheory(
                f"`n_samples` must be 4 or more for the theory of {self.kind}, got {n_samples}; pass more samples."
            )
        if not state.gaussian and (given or state.tangents.names):
            raise NoTheory(
                "`BatchNorm` needs Gaussian units in theory, but its input does not come from a weight layer; put it "
                "before the activation, or sample such networks (`mfdnn.ensemble`)."
            )
        centred, share, least = state.moments.centred(), one_over(n_samples), ROUNDING * np.finfo(float).eps
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
            inverse = reciprocal(one * (1 - 3 * share) / (1 - share) + self.eps)
            kept = one * reciprocal(one + self.eps)  # 1 for eps = 0
            two = -kept * share / (1 - share)
            z = Exchangeable(kept[..., None, None], two[..., None, None], n_samples)
        own = self.gamma**2 * inverse * (1 - (1 + kept) * share) ** 2  # of the error of a sample at its own units
        scale = self.gamma**2 * inverse * (1 - kept * share / (1 - share))
        return self._behind(state, z, lambda kernel: kernel.centred().times(scale), lambda kernel: kernel.times(own))

    def _behind(
        self, state: State, z: Pairs, tangents: Callable[[Pairs], Pairs], errors: Callable[[Pairs], Pairs]
    ) -> State:
        """The state of gamma z + beta, with gains and offsets, for moments of z."""
        mean, moments = np.full_like(state.mean, self.beta), self.gamma**2 * z + self.beta**2
        behind = state.mapped(moments, tangents, mean=mean, errors=errors)
        return behind.trained(z + 1.0) if self.affine else behind

    def as_outputs(self, outputs: Pairs, n_outputs: int) -> OutputLaw:
        law = StandardisedOutputs if outputs.given else FewerOutputs
        return law(self.kind, self.gamma, self.eps, self.affine, outputs, n_outputs)

    def recorded(self, units: Recorded) -> Recorded:
        behind, z = units.standardised(self.gamma, self.beta, self.eps, (-2, -1))
        return behind.trained(z, None) if self.affine else behind

    # -- finite width -----------------------------------------------------------------------------------------
    def along(self, ndim: int) -> tuple[int, ...]:
        return (-ndim, *range(2 - ndim, 0))

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        n_sites = prod(x.shape[2:])
        check_samples(len(x), -(-LEAST // n_sites), self.kind + (f" of {n_sites} sites" if x.ndim > 2 else ""))
        return super().forward(x, parameters, trace)


def _check_directions(centred: np.ndarray) -> None:
    """Raise where numbers differ in too few directions for averages to settle."""
    some = centred[: 2 * DIRECTIONS].reshape(-1, prod(centred.shape[1:]))
    if len(some) > DIRECTIONS and (found := np.linalg.matrix_rank(some)) < DIRECTIONS and np.any(some):
        raise NoTheory(
            f"`inputs` differ in {found} directions only where batch norm divides by their spread, and it needs "
            f"{DIRECTIONS} for a mean of 1/variance that averages over units settle on; pass more inputs, or a "
            "positive `eps`."
        )

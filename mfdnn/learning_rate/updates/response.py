"""What the first update of an optimiser does to the outputs of a wide network."""

from __future__ import annotations

import numpy as np

from ..._support.errors import NoTheory
from ...mean_field import MeanField
from .chain import StepLayer, step_layers
from .gradient import gradient_rows, gradient_speeds, kernel_rows
from .muon import muon_rows, muon_speeds, sampled_muon_rows
from .parameterisation import layer_rates
from .rules import FirstUpdate
from .sign import Rows, bias_rows, sign_rows, sign_speeds

__all__ = ["StepResponse", "step_response"]

FEW = 0.15  # inputs for each unit up to which Gram matrices are their means, to 0.3 of it
AT_ONCE = 100  # pairs of units that are worth one sample of all of them


class StepResponse:
    r"""D of an optimiser on given inputs, for any errors at the outputs.

    Its update changes the outputs by :math:`-\eta D`.

    Parameters
    ----------
    wide : MeanField
        With given inputs, and the variances of its parameterisation.
    layers : list of StepLayer or None
        None: a network that is no chain, of which the tangent kernel is known.
    update : FirstUpdate
    parameterisation : str
    """

    def __init__(
        self, wide: MeanField, layers: list[StepLayer] | None, update: FirstUpdate, parameterisation: str
    ):
        self.wide, self.layers, self.update = wide, layers, update
        self.muon_rule = "spectral_unclamped" if parameterisation == "mup" else update.optimiser.adjust or ""
        if layers is not None:
            self.rates = layer_rates(wide.network, update.family, parameterisation)
            # Biases are vectors, which Muon leaves to AdamW.
            of_biases = "gradient" if update.family == "gradient" else "sign"
            self.bias_rates = layer_rates(wide.network, of_biases, parameterisation)

    @property
    def n_layers(self) -> int:
        """L."""
        return self.wide.network.n_weight_layers

    def rows(self, e: np.ndarray, n_pairs: int, rng: np.random.Generator) -> Rows:
        """D of the weights of layers 1..L and of their biases, (2 L, T, C).

        With the standard errors of e.D. Of a network that is no chain: of all parameters of every layer, and of others.

        Parameters
        ----------
        e : ndarray, shape (T, C)
            T times the slope of the loss by the outputs.
        n_pairs : int
            How many pairs of units are sampled in each layer, where they are.
        rng : numpy.random.Generator
            Where pairs come from.
        """
        if self.layers is None:
            D = self.update.factor * kernel_rows(self.wide, e)
            return Rows(D, np.zeros(len(D)))
        if self.update.family == "gradient":
            D = self.update.factor * gradient_rows(self.layers, self.rates, e)
            return Rows(D, np.zeros(len(D)))
        if self.update.family == "sign":
            return sign_rows(self.layers, self.rates, self.update, e, n_pairs, rng)
        weights = self._orthogonal(e, max(1, n_pairs // AT_ONCE), rng)
        biases = bias_rows(self.layers, self.bias_rates, self.update, e, n_pairs, rng)
        return Rows(*(np.concatenate(both) for both in zip(weights, biases, strict=True)))

    def _orthogonal(self, e: np.ndarray, n: int, rng: np.random.Generator) -> Rows:
        """Muon's rows of the weights.

        In closed form, or a mean over n samples of all units.
        """
        assert self.layers is not None
        hidden = self.wide.network.widths[1:-1]
        if len(e) <= FEW * min(hidden, default=np.inf):
            D = muon_rows(self.layers, self.rates, self.muon_rule, e)
            return Rows(D, np.zeros(len(D)))
        found = np.array([sampled_muon_rows(self.layers, self.rates, self.muon_rule, e, rng) for _ in range(n)])
        each = np.einsum("nrtk,tk->nr", found, e)
        return Rows(found.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(each[0])))

    def by_layer(self, e: np.ndarray, D: np.ndarray) -> np.ndarray:
        """e.D of every weight layer with its bias, (L,), of D from `rows`.

        And of other parameters, if there are.
        """
        each = np.einsum("rtk,tk->r", D, e)
        return each if self.layers is None else each[: self.n_layers] + each[self.n_layers :]

    def speed(self, e: np.ndarray, rng: np.random.Generator) -> float | None:
        r"""Sum over hidden layers of rms(Delta u)/rms(u) per unit rate.

        Each is moved by its own update. None where it is not known.
        """
        if self.layers is None:
            return None
        if self.update.family == "gradient":
            squares = self.update.factor**2 * gradient_speeds(self.layers, self.rates, e)
        elif self.update.family == "sign":
            squares = sign_speeds(self.layers, self.rates, self.update, e, rng)
        else:
            squares = muon_speeds(self.layers, self.rates, self.muon_rule, e)
            # A bias steps by one rate, nearly independent of what its unit's weights do (seen, within 10 %).
            biases = [c.biases * at.bias for at, c in zip(self.layers, self.bias_rates, strict=True)][:-1]
            squares = squares + np.square(biases)
        variances = np.array([np.trace(at.above.covariance) / len(e) for at in self.layers[:-1] if at.above])
        moves = np.sqrt(np.divide(squares, variances, out=np.zeros_like(squares), where=variances > 0))
        return float(moves.sum())


def step_response(wide: MeanField, update: FirstUpdate, parameterisation: str) -> StepResponse:
    """The response of a network on given inputs.

    Raises
    ------
    NoTheory
        A network whose step is not known: other layers than Dense and Pointwise for other updates than gradients, or in
        another parameterisation than standard; a normalisation of the outputs.
    """
    try:
        layers: list[StepLayer] | None = step_layers(wide)
    except NoTheory:
        if update.family != "gradient":
            raise
        if parameterisation != "standard":
            raise NoTheory(
                f"`parameterisation` = {parameterisation} is known for fully connected networks of Dense and Pointwise "
                f"layers, got {wide.network!r}; take standard."
            ) from None
        layers = None
        if wide.last is not None:
            raise NoTheory(
                f"the first step has no theory behind {wide.last!r} at the outputs, which couples them; put a `Dense` "
                "layer last, or take `max_learning_rate` of sgd."
            ) from None
    return StepResponse(wide, layers, update, parameterisation)

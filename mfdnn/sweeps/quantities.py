"""What a sweep can measure in one of its cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from ..architectures import cnn, mlp
from ..datasets import gaussian_inputs
from ..ensembles.statistics import EXACT
from ..fisher import FisherStatistics, fisher_statistics
from ..learning_rate import max_learning_rate
from ..mean_field import MeanField
from ..network import Network
from ..phase import FixedPoint, fixed_point
from ..sampled import FisherSpectrum, SampledNetwork, fisher_spectrum, sample
from ..training import TrainingRun, train

__all__ = ["AT_INFINITE_WIDTH", "QUANTITIES", "TRAINED", "Cell"]

# What decides which network is drawn: the same one is trained with every learning rate.
DRAWN_FROM = (
    *("inputs", "outputs", "width", "depth", "activation", "sigma_w2", "sigma_b2", "init", "weights"),
    *("n_samples", "q0", "c0", "seed"),
)
OF_CONVOLUTIONS = ("image", "channels", "kernel", "mode", "readout")
DATA = ("n_samples", "q0", "c0")
OPTIMISER = ("loss", "momentum", "nesterov", "weight_decay")


class Cell:
    """One combination of the values of a sweep.

    What its quantities take is computed when it is first needed.

    Parameters
    ----------
    values : dict
        A value for every key of `mfdnn.sweeps.KEYS`, None where it is not given.
    activation : Activation
        What ``values["activation"]`` means.
    """

    def __init__(self, values: dict[str, Any], activation: Any):
        self.values = values
        self.activation = activation

    def _options(self, *keys: str) -> dict[str, Any]:
        return {key: self.values[key] for key in keys}

    @property
    def _optimiser(self) -> dict[str, Any]:
        """Loss and optimiser; a grid of momenta may begin at 0, which has no kinds."""
        options = self._options(*OPTIMISER)
        return options | {"nesterov": options["nesterov"] and options["momentum"] > 0}

    @cached_property
    def network(self) -> Network:
        """The network of this cell, convolutional where inputs are images."""
        v = self.values
        if v["image"] is not None:
            given = {key: v[key] for key in ("kernel", "mode", "readout", "weights") if v[key] is not None}
            return cnn(
                (v["inputs"], v["image"], v["image"]),
                [v["channels"]] * (v["depth"] - 1),
                v["outputs"],
                self.activation,
                **self._options("sigma_w2", "sigma_b2", "init"),
                **given,
            )
        widths = [v["inputs"], *[v["width"]] * (v["depth"] - 1), v["outputs"]]
        return mlp(widths, self.activation, **self._options("sigma_w2", "sigma_b2", "init", "weights"))

    @cached_property
    def fixed_point(self) -> FixedPoint:
        """That of the last weight layer but one, which deep networks repeat."""
        layer, _ = self.network.weight_layers[max(self.network.n_weight_layers - 2, 0)]
        return fixed_point(self.activation, layer.sigma_w2, layer.sigma_b2)

    @cached_property
    def wide(self) -> MeanField:
        """The network on its data."""
        return MeanField(self.network, **self._options(*DATA))

    @cached_property
    def fisher(self) -> FisherStatistics:
        """Fisher statistics at infinite width."""
        return fisher_statistics(self.wide)

    @cached_property
    def learning_rate(self) -> float:
        """The largest stable one, at infinite width."""
        return float(max_learning_rate(self.wide, **self._optimiser))

    @cached_property
    def rng(self) -> np.random.Generator:
        """Random numbers of this cell, wherever it lies in the grid."""
        names = DRAWN_FROM if self.values["image"] is None else (*DRAWN_FROM, *OF_CONVOLUTIONS)
        drawn_from = json.dumps(self._options(*names)).encode()
        words = np.frombuffer(hashlib.sha256(drawn_from).digest(), dtype="<u4")
        return np.random.default_rng([self.values["seed"], *words.tolist()])

    @cached_property
    def drawn(self) -> tuple[SampledNetwork, np.ndarray]:
        """A network of finite width, and its inputs."""
        v = self.values
        one = sample(self.network, rng=self.rng, dtype=v["dtype"])
        return one, gaussian_inputs(v["n_samples"], self.network.n_inputs, v["q0"], v["c0"], rng=self.rng)

    @cached_property
    def spectrum(self) -> FisherSpectrum:
        """Fisher spectrum of the drawn network."""
        n_outputs = self.network.n_outputs
        whole = self.values["n_samples"] * n_outputs <= EXACT
        with np.errstate(over="ignore", invalid="ignore"):  # `fisher_spectrum` reports it in one sentence
            return fisher_spectrum(*self.drawn, None if whole else n_outputs)

    @cached_property
    def trained(self) -> TrainingRun:
        """The drawn network, taught by another of the same kind."""
        one, X = self.drawn
        teacher = sample(self.network, rng=self.rng.spawn(1)[0], dtype=self.values["dtype"])
        targets = np.asarray(teacher(X), dtype=np.float64)
        if self.values["loss"] == "cross_entropy":
            targets = targets.argmax(axis=1)
        return train(one, X, targets, **self._options("learning_rate", "n_steps"), **self._optimiser)


# Name to what it is and how a cell measures it.
QUANTITIES: dict[str, tuple[str, Callable[[Cell], float]]] = {
    "theory_mean": ("tr F / P, infinite width", lambda cell: cell.fisher.mean),
    "theory_second_moment": ("tr F^2 / P, infinite width", lambda cell: cell.fisher.second_moment),
    "theory_lambda_max": (
        "largest eigenvalue of the Fisher information F, infinite width",
        lambda cell: cell.fisher.largest,
    ),
    "theory_learning_rate": (
        "largest stable learning rate of `loss`, `momentum`, `nesterov`, `weight_decay`",
        lambda cell: cell.learning_rate,
    ),
    "q_fixed": ("variance q* of deep pre-activations", lambda cell: cell.fixed_point.q),
    "c_fixed": ("correlation c* of deep pre-activations", lambda cell: cell.fixed_point.c),
    "chi_1": ("growth of gradients per layer at q*", lambda cell: cell.fixed_point.chi_1),
    "xi_c": ("depth scale of correlations", lambda cell: cell.fixed_point.xi_c),
    "xi_grad": ("depth scale of gradients", lambda cell: cell.fixed_point.xi_grad),
    "mean": ("tr F / P of the drawn network", lambda cell: cell.spectrum.mean),
    "second_moment": ("tr F^2 / P of the drawn network", lambda cell: cell.spectrum.second_moment),
    "lambda_max": ("largest eigenvalue of F of the drawn network", lambda cell: cell.spectrum.largest),
    "outlier_mean": ("mean of its C largest", lambda cell: cell.spectrum.outlier_mean),
    "initial_loss": ("loss of the drawn network before training", lambda cell: cell.trained.initial_loss),
    "final_loss": (
        "after `n_steps` steps with `learning_rate`; inf if it overflowed",
        lambda cell: cell.trained.losses[-1],
    ),
    "largest_loss": ("the largest on the way", lambda cell: cell.trained.losses.max()),
    "grew": (
        "1 if the loss exceeded its initial value at some step, else 0",
        lambda cell: cell.trained.grew_step is not None,
    ),
    "diverged": ("1 if the run diverged, else 0", lambda cell: cell.trained.diverged_step is not None),
}

DRAWN = ("mean", "second_moment", "lambda_max", "outlier_mean")
TRAINED = ("initial_loss", "final_loss", "largest_loss", "grew", "diverged")
AT_INFINITE_WIDTH = tuple(name for name in QUANTITIES if name not in (*DRAWN, *TRAINED))

"""What a training run has to tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._support.results import Result
from ..sampled import SampledNetwork

__all__ = ["OUTCOMES", "TrainingRun", "outcome_of"]

OUTCOMES = {
    "fell": "the loss never exceeded its initial value",
    "catapulted": "it exceeded its initial value, and ended below it",
    "grew": "it exceeded its initial value, and ended there",
    "diverged": "it exceeded `diverged_at` times its initial value, or overflowed, and the run stopped",
}


@dataclass(frozen=True, repr=False, eq=False)
class TrainingRun(Result):
    r"""Losses, curvature and outcome of gradient descent on one network.

    Attributes
    ----------
    losses : ndarray, shape (n + 1,)
        Without the term of the weight decay. Entry t is the loss before step t, of the samples of that step; the
        last is that of all T samples after n steps. n is `n_steps`, less if the run diverged. inf: overflow.
    steps : ndarray of int, shape (m,)
        When the next three were recorded: every `record_every` steps, and at the end.
    lambda_max : ndarray, shape (m,)
        Largest eigenvalue of :math:`F = \frac1T \sum_t \sum_k \nabla f_k \nabla f_k^T` at all T inputs.
    lambda_max_softmax : ndarray, shape (m,), or None
        That of :math:`F_{cross}`; None unless the loss is cross-entropy.
    distance : ndarray, shape (m,)
        :math:`|\theta - \theta_0|`, Euclidean over all P parameters.
    outcome : str
        "fell", "catapulted", "grew" or "diverged": see `mfdnn.training.OUTCOMES`. In mini-batches a loss is the mean
        of an epoch.
    grew_step : int or None
        The first step after which the loss was above its initial value.
    diverged_step : int or None
        The step after which it was beyond `diverged_at`.
    initial_loss : float
        Of all T samples.
    peak : float
        The largest loss over the initial one; a sum over a mini-batch counts for all samples.
    loss : str
        One of `mfdnn.learning_rate.LOSSES`; its convention scales `losses`.
    learning_rate, momentum, weight_decay, diverged_at : float
    nesterov : bool
    batch_size : int or None
    optimizer : str
    betas, eps, alpha, adjust : optional
        The settings of the run, as in `mfdnn.train`; None: the optimiser has no such setting (momentum: 0).
    trained : SampledNetwork, or what else was trained, or None
        The network at the end (not exported); None if its parameters overflowed.
    final_loss : float
        The last of `losses`.
    """

    losses: np.ndarray
    steps: np.ndarray
    lambda_max: np.ndarray
    lambda_max_softmax: np.ndarray | None
    distance: np.ndarray
    outcome: str
    grew_step: int | None
    diverged_step: int | None
    initial_loss: float
    peak: float
    loss: str
    learning_rate: float
    momentum: float
    nesterov: bool
    weight_decay: float
    batch_size: int | None
    diverged_at: float
    optimizer: str
    betas: tuple[float, float] | None
    eps: float | None
    alpha: float | None
    adjust: str | None
    _trained: SampledNetwork | None

    @property
    def trained(self) -> SampledNetwork | None:
        """The network at the end; None if its parameters overflowed."""
        return self._trained

    @property
    def final_loss(self) -> float:
        """Loss of all T samples at the end; inf after an overflow."""
        return float(self.losses[-1])

    def __repr__(self) -> str:
        when = ""
        if self.diverged_step is not None:
            when = f" at step {self.diverged_step}"
        elif self.grew_step is not None:
            when = f", growth at step {self.grew_step}"
        return (
            f"TrainingRun({self.outcome}{when}: {self.loss} {self.initial_loss:.4g} -> {self.final_loss:.4g} in "
            f"{len(self.losses) - 1} steps of {self.learning_rate:.4g}"
            f"{'' if self.optimizer == 'sgd' else f', {self.optimizer}'})"
        )


def outcome_of(
    losses: np.ndarray, sizes: Sequence[int], initial: float, per_epoch: int, diverged: bool, eps: float
) -> tuple[str, int | None]:
    """Name of the outcome and the step at which the loss grew.

    Losses as in `TrainingRun`, all finite or diverged, with the number of samples of each; sums count for all samples.
    """
    epochs = (len(losses) - 1) // per_epoch
    whole = slice(epochs * per_epoch)
    shape = epochs, per_epoch
    means = np.average(losses[whole].reshape(shape), axis=1, weights=np.reshape(sizes[whole], shape))
    # An epoch is over when its last step is made; full batches are told before the step.
    after = np.arange(1, epochs + 1) * per_epoch - (per_epoch == 1)
    means, after = np.append(means, losses[-1]), np.append(after, len(losses) - 1)
    above = means > initial * (1 + np.sqrt(eps))  # rounding of a forward pass stays far below the root
    grew = int(after[np.argmax(above)]) if above.any() else None
    if diverged:
        return "diverged", len(losses) - 1 if grew is None else grew
    if grew is None:
        return "fell", None
    return ("grew" if above[-1] else "catapulted"), grew

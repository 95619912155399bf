"""The largest first step of an optimiser without a limit of stability."""

from __future__ import annotations

from typing import Any

from ..losses import loss_scale
from ..mean_field import MeanField
from ..network import Network
from .result import LearningRate
from .updates import first_step

__all__ = ["first_step_rate"]


def first_step_rate(
    net: Network | MeanField,
    data: dict[str, Any],
    loss: str,
    optimizer: str,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    confidence: float | None,
) -> LearningRate:
    """The critical rate of the first step, as a `LearningRate`."""
    step = first_step(
        net, optimizer, **data, loss=loss, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )
    return LearningRate(
        value=float(step) if confidence is None else step.quantile(1 - confidence),
        lambda_max=None,
        loss=loss,
        scale=loss_scale(loss, step.n_outputs, step.n_samples),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        catapult_limit=None,
        n_samples=step.n_samples,
        n_outputs=step.n_outputs,
        caution=step.caution,
        confidence=None if confidence is None else float(confidence),
        notion="first step",
        optimizer=step.optimizer,
        first_step=step,
    )

"""The largest learning rate of online training: one sample at a time."""

from __future__ import annotations

import numpy as np

from .._support.errors import NoTheory
from ..fisher import fisher_statistics
from ..jacobian.one_sample import accumulated
from ..losses import loss_scale, stability_limit
from ..mean_field import MeanField
from ..network import Network
from .result import LearningRate

__all__ = ["online_rate"]


def online_rate(wide: MeanField, loss: str, weight_decay: float) -> LearningRate:
    """The rate below which a step at a sample does not raise the loss of that sample."""
    net = wide.network
    caution = ""
    squares = _mean_squares(wide)
    try:
        largest = max(_of_one(net, q0) for q0 in squares)
    except NoTheory as reason:
        largest = max(fisher_statistics(net, 1, q0).largest for q0 in squares)
        caution = f"{reason} The rate is that of few outputs, all of whose eigenvalues are one."
    scale = loss_scale(loss, net.n_outputs, 1)
    return LearningRate(
        value=stability_limit(scale * largest + weight_decay),
        lambda_max=None,
        loss=loss,
        scale=scale,
        momentum=0.0,
        nesterov=False,
        weight_decay=weight_decay,
        catapult_limit=None,
        n_samples=1,
        n_outputs=net.n_outputs,
        caution=caution,
        notion="one sample",
        lambda_max_one=largest,
    )


def _of_one(net: Network, q0: float) -> float:
    found, _ = accumulated(net, q0)
    return net.n_inputs * found.largest


def _mean_squares(wide: MeanField) -> list[float]:
    """Mean squares of inputs that matter: of given ones the least and the greatest."""
    if wide.inputs is None:
        return [float(np.ravel(1.0 if wide.q0 is None else wide.q0)[0])]
    each = np.mean(np.square(wide.inputs.reshape(len(wide.inputs), -1)), axis=1)
    return sorted({float(each.min()), float(each.max())})

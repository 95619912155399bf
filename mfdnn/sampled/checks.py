"""What a measurement of a sampled network begins with: its checked outputs.

They are finite, and the loss may make a softmax of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.errors import OutOfRange
from .._support.validation import one_of
from ..losses.probabilities import SoftmaxRoot
from .linearisation import Linearisation
from .protocol import Served, serves

__all__ = ["OUTPUTS", "linearised", "require_finite_gradients", "require_served", "softmax_root"]

OUTPUTS = ("linear", "softmax")


def require_served(one: Any) -> None:
    """Raise a TypeError for what does not serve the protocol."""
    if not serves(one):
        raise TypeError(
            "`one` must be a SampledNetwork, or serve its protocol (`mfdnn.sampled.Operator`), got "
            f"{type(one).__name__}; draw one with mfdnn.sample(net)."
        )


def linearised(one: Any, X: Any) -> Linearisation | Served:
    """The linearisation of `one` at X, with finite outputs."""
    require_served(one)
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is reported below, in one sentence
        linear = one.linearise(X)
        if not isinstance(linear, Linearisation):
            linear = Served(linear, one, X)
    if not np.all(np.isfinite(linear.outputs)):
        raise OutOfRange(
            f"The outputs of `one` overflow {linear.dtype} at these inputs",
            "standardise the inputs, or take smaller weights or fewer layers"
            + (", or `dtype` float64" if linear.dtype == np.float32 else ""),
        )
    return linear


def softmax_root(output: Any, linear: Linearisation | Served) -> SoftmaxRoot | None:
    """The root of the softmax of the outputs; None for `output` linear."""
    if one_of("output", output, OUTPUTS) == "linear":
        return None
    if linear.outputs.shape[1] == 1:
        raise ValueError(
            "`output` = softmax needs two outputs or more, got 1: a softmax of one output is constant; use linear."
        )
    return SoftmaxRoot(linear.outputs)


def require_finite_gradients(values: Any) -> None:
    """Raise OutOfRange where products of gradients are infinite or nan."""
    if not np.all(np.isfinite(values)):
        advice = "standardise the inputs, or take smaller weights or fewer layers"
        raise OutOfRange("The gradients of `one` overflow", advice)

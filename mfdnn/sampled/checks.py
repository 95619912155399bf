"""What a measurement of a sampled network begins with: its checked outputs.

They are finite, and the loss may make a softmax of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.errors import OutOfRange
from .._support.validation import finite_array, one_of
from ..losses.probabilities import SoftmaxRoot
from .linearisation import Linearisation
from .network import SampledNetwork
from .protocol import Served, serves

__all__ = [
    "OUTPUTS",
    "linearised",
    "require_finite_gradients",
    "require_finite_outputs",
    "require_served",
    "softmax_root",
]

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
    require_finite_outputs(linear)
    return linear


def require_finite_outputs(linear: Linearisation | Served) -> None:
    """Raise OutOfRange where outputs are infinite or nan."""
    if not np.all(np.isfinite(linear.outputs)):
        raise OutOfRange(
            f"The outputs of `one` overflow {linear.dtype} at these inputs",
            "standardise the inputs, or take smaller weights or fewer layers"
            + (", or `dtype` float64" if linear.dtype == np.float32 else ""),
        )


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


def one_input(one: Any, x: Any) -> np.ndarray:
    """One input (1, *input_shape) of a sampled network that treats samples one by one."""
    if not isinstance(one, SampledNetwork):
        raise TypeError(f"`one` must be a SampledNetwork, got {type(one).__name__}; draw one with mfdnn.sample.")
    net = one.network
    if net.couples_samples:
        raise ValueError(
            "`one` couples samples, so that an input has no Jacobian of its own, got a network with batch norm or its "
            "like; leave that out."
        )
    array = finite_array("x", x, "an input")
    if array.size != net.n_inputs:
        raise ValueError(
            f"`x` must be one input of {net.n_inputs} numbers, got shape {array.shape}; pass a single one."
        )
    return array.reshape(1, *net.input_shape).astype(one.dtype)

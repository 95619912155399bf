"""Losses: names, scales, values, slopes, probabilities; limits of optimisers."""

from .probabilities import SoftmaxCoefficients, SoftmaxRoot, softmax, softmax_coefficients
from .scales import LOSSES, loss_scale
from .stability import OPTIMISERS, stability_limit
from .values import loss_and_slope

__all__ = [
    "LOSSES",
    "OPTIMISERS",
    "SoftmaxCoefficients",
    "SoftmaxRoot",
    "loss_and_slope",
    "loss_scale",
    "softmax",
    "softmax_coefficients",
    "stability_limit",
]

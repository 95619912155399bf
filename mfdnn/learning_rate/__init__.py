"""The largest stable learning rate, in the user's own loss and optimiser."""

from ..losses import LOSSES, OPTIMISERS, loss_scale, stability_limit
from .limit import max_learning_rate
from .natural_gradient import APPROXIMATIONS, NaturalGradientRate, natural_gradient_rate
from .result import SAFE_SHARE, LearningRate

__all__ = [
    "APPROXIMATIONS",
    "LOSSES",
    "OPTIMISERS",
    "SAFE_SHARE",
    "LearningRate",
    "NaturalGradientRate",
    "loss_scale",
    "max_learning_rate",
    "natural_gradient_rate",
    "stability_limit",
]

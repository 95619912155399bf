"""Learning rates before training: stable ones, and those of a first step."""

from ..losses import LOSSES, OPTIMISERS, loss_scale, stability_limit
from .limit import max_learning_rate
from .natural_gradient import APPROXIMATIONS, NaturalGradientRate, natural_gradient_rate
from .result import SAFE_SHARE, LearningRate
from .scaling import ScalingExponents, scaling_exponents
from .updates import FirstStep, first_step

__all__ = [
    "APPROXIMATIONS",
    "LOSSES",
    "OPTIMISERS",
    "SAFE_SHARE",
    "FirstStep",
    "LearningRate",
    "NaturalGradientRate",
    "ScalingExponents",
    "first_step",
    "loss_scale",
    "max_learning_rate",
    "natural_gradient_rate",
    "scaling_exponents",
    "stability_limit",
]

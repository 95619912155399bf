"""The largest stable learning rate, in the user's own loss and optimiser."""

from ..losses.stability import LOSSES, OPTIMISERS, loss_scale, stability_limit
from .limit import max_learning_rate
from .result import LearningRate

__all__ = ["LOSSES", "OPTIMISERS", "LearningRate", "loss_scale", "max_learning_rate", "stability_limit"]

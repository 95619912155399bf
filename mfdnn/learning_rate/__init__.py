"""The largest stable learning rate, in the user's own loss and optimiser."""

from .limit import max_learning_rate
from .result import LearningRate
from .stability import LOSSES, OPTIMISERS, loss_scale, stability_limit

__all__ = ["LOSSES", "OPTIMISERS", "LearningRate", "loss_scale", "max_learning_rate", "stability_limit"]

"""Gradient descent on sampled networks, to hold against theory's rates."""

from ..losses.values import loss_and_slope
from .catapult import CatapultTrajectory, catapult_trajectory
from .critical import CriticalRate, critical_rate
from .curvature import LargestEigenvalue
from .descent import train
from .run import OUTCOMES, TrainingRun

__all__ = [
    "OUTCOMES",
    "CatapultTrajectory",
    "CriticalRate",
    "LargestEigenvalue",
    "TrainingRun",
    "catapult_trajectory",
    "critical_rate",
    "loss_and_slope",
    "train",
]

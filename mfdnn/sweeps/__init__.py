"""Grids over networks, data and learning rates, on any executor."""

from .quantities import QUANTITIES
from .result import Sweep
from .run import sweep
from .spec import KEYS, Spec

__all__ = ["KEYS", "QUANTITIES", "Spec", "Sweep", "sweep"]

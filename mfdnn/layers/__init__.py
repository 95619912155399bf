"""Layers, each written twice: mean-field algebra and finite-width arithmetic side by side."""

from .base import Layer, State, WeightRecord
from .dense import WEIGHT_ENSEMBLES, Dense
from .pointwise import Pointwise
from .residual import Residual

__all__ = ["WEIGHT_ENSEMBLES", "Dense", "Layer", "Pointwise", "Residual", "State", "WeightRecord"]

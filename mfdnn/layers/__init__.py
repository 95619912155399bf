"""Layers, each written twice: mean-field algebra and finite-width arithmetic side by side."""

from .base import Factors, Layer, ParameterRecord, State, Tangent, WeightRecord
from .dense import WEIGHT_ENSEMBLES, Dense
from .flatten import Flatten
from .normalization import BatchNorm, LayerNorm, MeanSubtraction
from .pointwise import Pointwise
from .residual import Residual

__all__ = [
    "WEIGHT_ENSEMBLES",
    "BatchNorm",
    "Dense",
    "Factors",
    "Flatten",
    "Layer",
    "LayerNorm",
    "MeanSubtraction",
    "ParameterRecord",
    "Pointwise",
    "Residual",
    "State",
    "Tangent",
    "WeightRecord",
]

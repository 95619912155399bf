"""Layers, each written twice: at infinite width and at finite width.

Mean-field algebra and the arithmetic of sampled networks stand side by side in one file.
"""

from .base import Factors, Layer
from .batch_norm import BatchNorm
from .chain import Chain, read_chain
from .channel_norm import GroupNorm, LayerNorm, RMSNorm
from .convolution import CONV_ENSEMBLES, Conv
from .dense import WEIGHT_ENSEMBLES, Dense
from .dropout import Dropout
from .flatten import Flatten
from .gate import Gate
from .max_pool import MaxPool
from .mean_subtraction import MeanSubtraction
from .output_laws import OutputLaw
from .pairs import Between, Exchangeable, Given, Pairs, Sums
from .pointwise import Pointwise
from .pooling import AveragePool, GlobalAveragePool
from .residual import Residual
from .state import State
from .tangents import ONLY_MOMENTS, Keep, Tangents, WeightRecord

__all__ = [
    "CONV_ENSEMBLES",
    "ONLY_MOMENTS",
    "WEIGHT_ENSEMBLES",
    "AveragePool",
    "BatchNorm",
    "Between",
    "Chain",
    "Conv",
    "Dense",
    "Dropout",
    "Exchangeable",
    "Factors",
    "Given",
    "Keep",
    "Flatten",
    "Gate",
    "GlobalAveragePool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "MeanSubtraction",
    "OutputLaw",
    "Pairs",
    "Pointwise",
    "RMSNorm",
    "Residual",
    "State",
    "Sums",
    "Tangents",
    "WeightRecord",
    "read_chain",
]

"""Where theory and simulation meet: table of quantities, map of learning rates."""

from .compare import compare
from .rates import learning_rate_map
from .rates_result import LearningRateMap
from .table import Comparison, Row

__all__ = ["Comparison", "LearningRateMap", "Row", "compare", "learning_rate_map"]

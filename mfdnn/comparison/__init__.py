"""Where theory and simulation meet: tables, maps of learning rates, widths."""

from .compare import compare
from .coordinate_check import CoordinateCheck, coordinate_check
from .hidden_rank import HiddenRank, hidden_rank
from .lazy_training import LazyTraining, lazy_training
from .rates import learning_rate_map
from .rates_result import LearningRateMap
from .required_width import MeasuredWidth, required_width_measured
from .table import Comparison, Row

__all__ = [
    "Comparison",
    "CoordinateCheck",
    "HiddenRank",
    "LazyTraining",
    "LearningRateMap",
    "MeasuredWidth",
    "Row",
    "compare",
    "coordinate_check",
    "hidden_rank",
    "lazy_training",
    "learning_rate_map",
    "required_width_measured",
]

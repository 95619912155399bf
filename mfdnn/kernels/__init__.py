"""The tangent kernel of a wide network.

Of all parameters and of some, at given and at random inputs; its statistics, and its outlier.
"""

from .outlier import OutlierCriterion, outlier_criterion, smallest_width
from .tangent import NTKStatistics, ntk, ntk_statistics

__all__ = [
    "NTKStatistics",
    "OutlierCriterion",
    "ntk",
    "ntk_statistics",
    "outlier_criterion",
    "smallest_width",
]

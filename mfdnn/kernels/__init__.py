"""The kernels of a wide network: of its outputs, and of their gradients.

At given and at random inputs; their statistics, and the outlier.
"""

from .on_data import nngp, ntk
from .outlier import OutlierCriterion, outlier_criterion, smallest_width
from .tangent import NTKStatistics, ntk_statistics

__all__ = [
    "NTKStatistics",
    "OutlierCriterion",
    "nngp",
    "ntk",
    "ntk_statistics",
    "outlier_criterion",
    "smallest_width",
]

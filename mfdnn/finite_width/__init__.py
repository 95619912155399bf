"""Finite widths: how the largest eigenvalues of the Fisher information scatter, and where they end up."""

from .centred import CentredEdge, centred_edge
from .conditional import Conditional, conditional
from .distribution import OutlierDistribution
from .outliers import outlier_distribution
from .required_width import RequiredWidth, width_for_spread

__all__ = [
    "CentredEdge",
    "Conditional",
    "OutlierDistribution",
    "RequiredWidth",
    "centred_edge",
    "conditional",
    "outlier_distribution",
    "width_for_spread",
]

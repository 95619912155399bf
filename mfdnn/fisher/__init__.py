"""Eigenvalue statistics of the Fisher information matrix of a random network."""

from ..mean_field.outputs import mean_field_logits
from .cross_entropy import SoftmaxStatistics, softmax_statistics
from .feature import FeatureStatistics, feature_statistics
from .kernel import DENSE_UP_TO
from .norm import FisherRaoStatistics, fisher_rao_statistics
from .normalised import OutputNormalisation
from .outlier import OutlierCriterion, outlier_criterion, smallest_width
from .statistics import BlockStatistics, FisherStatistics, fisher_statistics

__all__ = [
    "DENSE_UP_TO",
    "BlockStatistics",
    "FeatureStatistics",
    "FisherRaoStatistics",
    "FisherStatistics",
    "OutlierCriterion",
    "OutputNormalisation",
    "SoftmaxStatistics",
    "feature_statistics",
    "fisher_rao_statistics",
    "fisher_statistics",
    "mean_field_logits",
    "outlier_criterion",
    "smallest_width",
    "softmax_statistics",
]

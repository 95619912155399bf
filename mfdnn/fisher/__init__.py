"""Eigenvalue statistics of the Fisher information matrix of a random network."""

from ..kernels.outlier import OutlierCriterion, outlier_criterion, smallest_width
from ..kernels.parts import DENSE_UP_TO
from ..mean_field.outputs import mean_field_logits
from .cross_entropy import SoftmaxStatistics, softmax_statistics
from .feature import FeatureStatistics, feature_statistics
from .norm import FisherRaoStatistics, fisher_rao_statistics
from .normalised import OutputNormalisation
from .result import BlockStatistics, FisherStatistics
from .statistics import fisher_statistics

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

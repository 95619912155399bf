"""Mean-field theory and Fisher information of deep neural networks.

From an activation to order parameters, phase diagrams, Fisher statistics and a safe learning rate, and their check on
sampled networks. Weights have variance ``sigma_w2 / fan_in`` and biases ``sigma_b2``: arguments are always variances.
"""

from ._support.errors import NoTheory
from .activations import Activation, activation, activation_names
from .architectures import mlp, resnet
from .comparison import Comparison, LearningRateMap, compare, learning_rate_map
from .ensembles import Ensemble, ensemble
from .finite_width import (
    CentredEdge,
    OutlierDistribution,
    RequiredWidth,
    SpreadMap,
    centred_edge,
    outlier_distribution,
    spread_map,
    width_for_spread,
)
from .fisher import (
    FeatureStatistics,
    FisherRaoStatistics,
    FisherStatistics,
    SoftmaxStatistics,
    feature_statistics,
    fisher_rao_statistics,
    fisher_statistics,
    softmax_statistics,
)
from .gaussian import expect, expect_product
from .kernels import NTKStatistics, ntk, ntk_statistics
from .layers import BatchNorm, Dense, Flatten, Layer, LayerNorm, MeanSubtraction, Pointwise, Residual
from .learning_rate import LearningRate, max_learning_rate
from .learning_rate.natural_gradient import NaturalGradientRate, natural_gradient_rate
from .mean_field import MeanField, order_parameters
from .mean_field.moments import OrderParameters
from .network import Network
from .phase import (
    CorrelationDecay,
    CriticalLine,
    CurveGeometry,
    FixedPoint,
    PhaseDiagram,
    Trajectory,
    UniversalityClass,
    VarianceFixedPoints,
    correlation_decay,
    correlation_map,
    critical_line,
    critical_point,
    critical_sigma_w2,
    curve_geometry,
    fixed_point,
    phase_diagram,
    trajectory,
    universality_class,
    variance_fixed_points,
    variance_map,
)
from .phase.batch_norm import BatchNormFixedPoint, batch_norm_fixed_point
from .reporting import Report, report
from .sampled import (
    FeatureSpectrum,
    FisherSpectrum,
    SampledNetwork,
    empirical_ntk,
    feature_spectrum,
    fisher_from_ntk,
    fisher_spectrum,
    ntk_from_fisher,
    sample,
    squared_fisher_rao_norm,
)
from .sweeps import Sweep, sweep
from .training import (
    CatapultTrajectory,
    TrainingRun,
    catapult_trajectory,
    train,
)

__all__ = [
    "Activation",
    "BatchNorm",
    "BatchNormFixedPoint",
    "CatapultTrajectory",
    "CentredEdge",
    "Comparison",
    "CorrelationDecay",
    "CriticalLine",
    "CurveGeometry",
    "Dense",
    "Ensemble",
    "FeatureSpectrum",
    "FeatureStatistics",
    "FisherRaoStatistics",
    "FisherSpectrum",
    "FisherStatistics",
    "FixedPoint",
    "Flatten",
    "Layer",
    "LayerNorm",
    "LearningRate",
    "LearningRateMap",
    "MeanField",
    "MeanSubtraction",
    "NTKStatistics",
    "NaturalGradientRate",
    "NoTheory",
    "Network",
    "OrderParameters",
    "OutlierDistribution",
    "PhaseDiagram",
    "Pointwise",
    "Report",
    "RequiredWidth",
    "Residual",
    "SampledNetwork",
    "SoftmaxStatistics",
    "SpreadMap",
    "TrainingRun",
    "Sweep",
    "Trajectory",
    "UniversalityClass",
    "VarianceFixedPoints",
    "activation",
    "activation_names",
    "batch_norm_fixed_point",
    "catapult_trajectory",
    "centred_edge",
    "compare",
    "correlation_decay",
    "correlation_map",
    "critical_line",
    "critical_point",
    "critical_sigma_w2",
    "curve_geometry",
    "empirical_ntk",
    "ensemble",
    "expect",
    "expect_product",
    "feature_spectrum",
    "feature_statistics",
    "fisher_from_ntk",
    "fisher_rao_statistics",
    "fisher_spectrum",
    "fisher_statistics",
    "fixed_point",
    "learning_rate_map",
    "max_learning_rate",
    "mlp",
    "natural_gradient_rate",
    "ntk",
    "ntk_from_fisher",
    "ntk_statistics",
    "order_parameters",
    "outlier_distribution",
    "phase_diagram",
    "report",
    "resnet",
    "sample",
    "softmax_statistics",
    "spread_map",
    "squared_fisher_rao_norm",
    "train",
    "sweep",
    "trajectory",
    "universality_class",
    "variance_fixed_points",
    "variance_map",
    "width_for_spread",
]

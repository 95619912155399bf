"""Mean-field theory and Fisher information of deep neural networks.

From an activation to order parameters, phase diagrams, Fisher statistics and a safe learning rate, and their check on
sampled networks. Weights have variance ``sigma_w2 / fan_in`` and biases ``sigma_b2``: arguments are always variances.
"""

from .activations import Activation, activation, activation_names
from .batch_norm import BatchNormFixedPoint, batch_norm_fixed_point
from .ensemble import Comparison, Ensemble, compare, ensemble
from .finite_width import (
    CentredEdge,
    OutlierDistribution,
    RequiredWidth,
    centred_edge,
    outlier_distribution,
    width_for_spread,
)
from .fisher import FisherStatistics, SoftmaxStatistics, fisher_statistics, softmax_statistics
from .gaussian import expect, expect_product
from .layers import BatchNorm, Dense, Layer, LayerNorm, MeanSubtraction, Pointwise, Residual
from .learning_rate import LearningRate, max_learning_rate
from .network import Network, mlp, resnet
from .order_parameters import OrderParameters, order_parameters
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
from .report import Report, report
from .sampled import FisherSpectrum, SampledNetwork, fisher_spectrum, sample

__all__ = [
    "Activation",
    "BatchNorm",
    "BatchNormFixedPoint",
    "CentredEdge",
    "Comparison",
    "CorrelationDecay",
    "CriticalLine",
    "CurveGeometry",
    "Dense",
    "Ensemble",
    "FisherSpectrum",
    "FisherStatistics",
    "FixedPoint",
    "Layer",
    "LayerNorm",
    "LearningRate",
    "MeanSubtraction",
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
    "Trajectory",
    "UniversalityClass",
    "VarianceFixedPoints",
    "activation",
    "activation_names",
    "batch_norm_fixed_point",
    "centred_edge",
    "compare",
    "correlation_decay",
    "correlation_map",
    "critical_line",
    "critical_point",
    "critical_sigma_w2",
    "curve_geometry",
    "ensemble",
    "expect",
    "expect_product",
    "fisher_spectrum",
    "fisher_statistics",
    "fixed_point",
    "max_learning_rate",
    "mlp",
    "order_parameters",
    "outlier_distribution",
    "phase_diagram",
    "report",
    "resnet",
    "sample",
    "softmax_statistics",
    "trajectory",
    "universality_class",
    "variance_fixed_points",
    "variance_map",
    "width_for_spread",
]

"""Mean-field theory and Fisher information of deep neural networks.

From an activation to order parameters, phase diagrams, Fisher statistics and a safe learning rate, and their check on
sampled networks. Weights have variance ``sigma_w2 / fan_in`` and biases ``sigma_b2``: arguments are always variances.
"""

from .activations import Activation, activation, activation_names
from .ensemble import Comparison, Ensemble, compare, ensemble
from .fisher import FisherStatistics, fisher_statistics
from .gaussian import expect, expect_product
from .layers import Dense, Layer, Pointwise, Residual
from .learning_rate import LearningRate, max_learning_rate
from .network import Network, mlp, resnet
from .order_parameters import OrderParameters, order_parameters
from .phase import (
    CriticalLine,
    FixedPoint,
    PhaseDiagram,
    correlation_map,
    critical_line,
    critical_sigma_w2,
    fixed_point,
    phase_diagram,
    trajectory,
    variance_fixed_points,
    variance_map,
)
from .report import Report, report
from .sampled import FisherSpectrum, SampledNetwork, fisher_spectrum, sample

__all__ = [
    "Activation",
    "Comparison",
    "CriticalLine",
    "Dense",
    "Ensemble",
    "FisherSpectrum",
    "FisherStatistics",
    "FixedPoint",
    "Layer",
    "LearningRate",
    "Network",
    "OrderParameters",
    "PhaseDiagram",
    "Pointwise",
    "Report",
    "Residual",
    "SampledNetwork",
    "activation",
    "activation_names",
    "compare",
    "correlation_map",
    "critical_line",
    "critical_sigma_w2",
    "ensemble",
    "expect",
    "expect_product",
    "fisher_spectrum",
    "fisher_statistics",
    "fixed_point",
    "max_learning_rate",
    "mlp",
    "order_parameters",
    "phase_diagram",
    "report",
    "resnet",
    "sample",
    "trajectory",
    "variance_fixed_points",
    "variance_map",
]

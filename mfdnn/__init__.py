"""Mean-field theory and Fisher information of deep neural networks."""

from .activations import Activation, activation, activation_names
from .gaussian import expect, expect_product
from .phase import (
    correlation_map,
    critical_line,
    critical_sigma_w2,
    fixed_point,
    phase_diagram,
    trajectory,
    variance_fixed_points,
    variance_map,
)

__all__ = [
    "Activation",
    "activation",
    "activation_names",
    "correlation_map",
    "critical_line",
    "critical_sigma_w2",
    "expect",
    "expect_product",
    "fixed_point",
    "phase_diagram",
    "trajectory",
    "variance_fixed_points",
    "variance_map",
]

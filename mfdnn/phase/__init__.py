r"""Fixed points, depth scales and phase diagrams of deep random networks.

The maps, for weights of variance :math:`\sigma_w^2/\text{fan-in}` and biases of variance :math:`\sigma_b^2`:

.. math:: q \to \sigma_w^2 E[\phi(\sqrt q z)^2] + \sigma_b^2, \qquad
          c \to (\sigma_w^2 E[\phi(u)\phi(v)] + \sigma_b^2)/q^*.

References
----------
Poole, Lahiri, Raghu, Sohl-Dickstein & Ganguli 2016, arXiv:1606.05340; Schoenholz, Gilmer, Ganguli &
Sohl-Dickstein 2017, arXiv:1611.01232.
"""

from .batch_norm import BatchNormFixedPoint, batch_norm_fixed_point
from .convolution import ConvolutionModes, convolution_modes
from .critical import CriticalLine, critical_line, critical_point, critical_sigma_w2
from .curves import DepthScales, MapCurve, correlation_curve, depth_scales, variance_curve
from .decay import CorrelationDecay, correlation_decay
from .diagram import PhaseDiagram, phase_diagram
from .fixed_points import PHASES, STATUS, FixedPoint, fixed_point
from .geometry import CurveGeometry, curve_geometry
from .maps import Trajectory, correlation_map, trajectory, variance_map
from .universality import UniversalityClass, universality_class
from .variances import VarianceFixedPoints, variance_fixed_points

__all__ = [
    "PHASES",
    "STATUS",
    "BatchNormFixedPoint",
    "ConvolutionModes",
    "CorrelationDecay",
    "CriticalLine",
    "CurveGeometry",
    "DepthScales",
    "FixedPoint",
    "MapCurve",
    "PhaseDiagram",
    "Trajectory",
    "UniversalityClass",
    "VarianceFixedPoints",
    "batch_norm_fixed_point",
    "convolution_modes",
    "correlation_curve",
    "correlation_decay",
    "correlation_map",
    "critical_line",
    "critical_point",
    "critical_sigma_w2",
    "curve_geometry",
    "depth_scales",
    "fixed_point",
    "phase_diagram",
    "trajectory",
    "universality_class",
    "variance_curve",
    "variance_fixed_points",
    "variance_map",
]

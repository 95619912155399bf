"""The kernels of a wide network: of its outputs, and of their gradients.

At given and at random inputs; their statistics, and the outlier.
"""

from .depth import KernelDepth, kernel_depth
from .on_data import nngp, ntk
from .outlier import OutlierCriterion, outlier_criterion, smallest_width
from .spectrum import kernel_spectrum
from .spectrum_result import KernelSpectrum
from .tangent import NTKStatistics, ntk_statistics
from .training import kernel_training
from .training_result import KernelTraining
from .two_layer import two_layer_theory
from .two_layer_result import TwoLayerTheory

__all__ = [
    "KernelDepth",
    "KernelSpectrum",
    "KernelTraining",
    "NTKStatistics",
    "OutlierCriterion",
    "TwoLayerTheory",
    "kernel_training",
    "kernel_depth",
    "kernel_spectrum",
    "nngp",
    "ntk",
    "ntk_statistics",
    "outlier_criterion",
    "smallest_width",
    "two_layer_theory",
]

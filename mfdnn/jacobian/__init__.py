"""The input-output Jacobian of wide networks, and dynamical isometry."""

from .depth import JacobianDepth, jacobian_depth
from .isometry import IsometricInit, isometric_init
from .moments import JacobianMoments, jacobian_moments
from .one_sample import ConditionalFisher, conditional_fisher
from .spectrum import JacobianSpectrum, jacobian_spectrum

__all__ = [
    "ConditionalFisher",
    "IsometricInit",
    "JacobianDepth",
    "JacobianMoments",
    "JacobianSpectrum",
    "conditional_fisher",
    "isometric_init",
    "jacobian_depth",
    "jacobian_moments",
    "jacobian_spectrum",
]

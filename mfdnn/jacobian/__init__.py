"""The input-output Jacobian of wide networks, and dynamical isometry."""

from .isometry import IsometricInit, isometric_init
from .moments import JacobianMoments, jacobian_moments
from .spectrum import JacobianSpectrum, jacobian_spectrum

__all__ = [
    "IsometricInit",
    "JacobianMoments",
    "JacobianSpectrum",
    "isometric_init",
    "jacobian_moments",
    "jacobian_spectrum",
]

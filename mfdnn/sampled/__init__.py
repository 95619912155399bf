"""One random network of finite width: its Jacobian products and its Fisher spectrum."""

from .network import LayerActivity, Linearisation, SampledNetwork, sample
from .spectrum import FisherSpectrum, fisher_spectrum

__all__ = ["FisherSpectrum", "LayerActivity", "Linearisation", "SampledNetwork", "fisher_spectrum", "sample"]

"""One random network of finite width: Jacobian products, spectra and kernels."""

from .expansion import LinearisedNetwork, RescaledNetwork, linearised, rescaled
from .feature import FeatureSpectrum, feature_spectrum
from .input_jacobian import jacobian_depth, jacobian_singular_values
from .linearisation import Linearisation
from .network import LayerActivity, SampledNetwork, sample
from .norm import squared_fisher_rao_norm
from .ntk import empirical_ntk, fisher_from_ntk, ntk_from_fisher
from .one_sample import ConditionalSpectrum, conditional_fisher
from .protocol import Linear, Operator
from .random_functions import RandomFunctions
from .spectrum import FisherSpectrum, fisher_spectrum

__all__ = [
    "ConditionalSpectrum",
    "FeatureSpectrum",
    "FisherSpectrum",
    "LayerActivity",
    "Linear",
    "Linearisation",
    "LinearisedNetwork",
    "Operator",
    "RandomFunctions",
    "RescaledNetwork",
    "SampledNetwork",
    "conditional_fisher",
    "empirical_ntk",
    "feature_spectrum",
    "fisher_from_ntk",
    "fisher_spectrum",
    "jacobian_depth",
    "jacobian_singular_values",
    "linearised",
    "ntk_from_fisher",
    "rescaled",
    "sample",
    "squared_fisher_rao_norm",
]

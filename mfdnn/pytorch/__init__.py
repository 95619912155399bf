"""PyTorch modules as they are: spectra and learning rates of a module at a batch."""

from ..initialisation import INITIALISATIONS
from .compare import compare
from .hessian import hessian_spectrum
from .initialise import initialise_
from .module_operator import operator
from .module_report import report
from .rates import learning_rate
from .reader import network
from .spectrum import fisher_spectrum

__all__ = [
    "INITIALISATIONS",
    "compare",
    "fisher_spectrum",
    "hessian_spectrum",
    "initialise_",
    "learning_rate",
    "network",
    "operator",
    "report",
]

"""Schemes of initialisation, and what frameworks do where nobody chooses one."""

from .frameworks import INITIALISATIONS, Initialisation
from .schemes import SCHEMES, per_layer, variances_of

__all__ = ["INITIALISATIONS", "SCHEMES", "Initialisation", "per_layer", "variances_of"]

"""Many random networks: means, standard errors, and theory against simulation."""

from .comparison import Comparison, Row, compare
from .statistics import Ensemble, ensemble

__all__ = ["Comparison", "Ensemble", "Row", "compare", "ensemble"]

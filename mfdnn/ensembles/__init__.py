"""Many random networks: means and standard errors."""

from .statistics import Ensemble, ensemble

__all__ = ["Ensemble", "ensemble"]

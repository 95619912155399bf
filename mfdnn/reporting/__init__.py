"""The one-page answer for an architecture: phase, spectrum, safe learning rate, and their check by simulation."""

from .boundary import Boundary
from .build import report
from .result import HiddenLayer, Report

__all__ = ["Boundary", "HiddenLayer", "Report", "report"]

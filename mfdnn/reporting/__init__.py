"""One page for a network: phase, spectrum, safe learning rate, and simulation."""

from .boundary import Boundary
from .build import report
from .result import HiddenLayer, Report

__all__ = ["Boundary", "HiddenLayer", "Report", "report"]

"""Theory against simulation, as a table."""

from .compare import compare
from .table import Comparison, Row

__all__ = ["Comparison", "Row", "compare"]

"""The first update of an optimiser in a wide network, family by family."""

from .first import first_step
from .result import FirstStep

__all__ = ["FirstStep", "first_step"]

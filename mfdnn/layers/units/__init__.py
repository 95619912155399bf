"""Sampled units: maps without a closed form, executed on draws of a unit's field.

Behind a weight layer the units of an infinitely wide network are independent Gaussian fields over (input, site). Any
map of one unit passes on means over units of what it makes of them and of their tangents: averages over draws.
"""

from .sampler import PAIR, REPLICATES, REPRESENTATIVES, Sampler
from .sources import Drawn, Integrated, Own, Source
from .units import Units
from .walk import as_moments, joined_units, through_units, units_behind, units_of

__all__ = [
    "PAIR",
    "REPLICATES",
    "REPRESENTATIVES",
    "Drawn",
    "Integrated",
    "Own",
    "Sampler",
    "Source",
    "Units",
    "as_moments",
    "joined_units",
    "through_units",
    "units_behind",
    "units_of",
]

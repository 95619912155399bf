"""Second moments over (input, site).

Of exchangeable inputs, of given ones, of given ones and others.
"""

from .base import Pairs, Sums
from .between import Between
from .exchangeable import Exchangeable
from .given import DENSE_UP_TO, Given, largest_eigenvalue
from .sites import ALL, OFFSETS, SAME, SitePairs

__all__ = [
    "ALL",
    "DENSE_UP_TO",
    "OFFSETS",
    "SAME",
    "Between",
    "Exchangeable",
    "Given",
    "Pairs",
    "SitePairs",
    "Sums",
    "largest_eigenvalue",
]

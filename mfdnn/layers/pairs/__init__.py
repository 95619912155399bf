"""Second moments over (input, site).

Of exchangeable inputs, of given ones, of given ones and others.
"""

from .base import NeedsAllPairs, NeedsSingle, Pairs, Sums
from .between import Between
from .derivative import Derivative, apart
from .exchangeable import Exchangeable
from .given import DENSE_UP_TO, Given, largest_eigenvalue
from .sites import ALL, OFFSETS, SAME, SitePairs

__all__ = [
    "ALL",
    "DENSE_UP_TO",
    "OFFSETS",
    "SAME",
    "Between",
    "Derivative",
    "Exchangeable",
    "Given",
    "NeedsAllPairs",
    "NeedsSingle",
    "Pairs",
    "SitePairs",
    "Sums",
    "apart",
    "largest_eigenvalue",
]

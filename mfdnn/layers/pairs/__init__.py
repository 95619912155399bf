"""Second moments over (input, site).

Of exchangeable inputs, of given ones, of given ones and others.
"""

from .base import Pairs, Sums
from .between import Between
from .exchangeable import Exchangeable
from .given import DENSE_UP_TO, Given, largest_eigenvalue

__all__ = ["DENSE_UP_TO", "Between", "Exchangeable", "Given", "Pairs", "Sums", "largest_eigenvalue"]

"""Gaussian expectations of an activation, with their errors.

Of one unit, of pairs, and given what inputs share.
"""

from .conditional import Conditional, conditional
from .expectations import expect, expect_product

__all__ = ["Conditional", "conditional", "expect", "expect_product"]

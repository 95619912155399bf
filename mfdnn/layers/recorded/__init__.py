"""Sampled units on record: what means over them become if one counts more.

The derivative of a function of the network by the weight of a sampled unit is that unit's influence, and influences are
the spread of the function over networks of finite width.
"""

from .tape import Node, adjoints
from .units import Recorded, Recording, Sample, Stream

__all__ = ["Node", "Recorded", "Recording", "Sample", "Stream", "adjoints"]

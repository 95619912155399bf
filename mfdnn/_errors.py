"""Failures of a computation, apart from wrong arguments."""

__all__ = ["NoTheory", "OutOfRange"]


class OutOfRange(OverflowError, ValueError):
    """A number beyond the range of floating point: the arguments are in order, the network is too extreme."""


class NoTheory(ValueError):
    """There is no law for what was asked; `str` of it is the reason, in one sentence."""

"""Failures of a computation, apart from wrong arguments."""

__all__ = ["OutOfRange"]


class OutOfRange(OverflowError, ValueError):
    """A number beyond the range of floating point: the arguments are in order, the network is too extreme."""

"""Failures of a computation, apart from wrong arguments."""

__all__ = ["NoTheory", "OutOfRange"]


class NoTheory(ValueError):
    """The law that was asked for does not exist, or is not known; ``str(error)`` is the reason, in one sentence."""

    __module__ = "mfdnn"  # the name by which users catch it


class OutOfRange(OverflowError, ValueError):
    """A number beyond the range of floating point: the arguments are in order, the network is too extreme."""

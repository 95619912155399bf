"""Failures of a computation, apart from wrong arguments."""

__all__ = ["NoTheory", "OutOfRange"]


class NoTheory(ValueError):
    """The law that was asked for does not exist, or is not known.

    ``str(error)`` is the reason, in one sentence. It is a ValueError.
    """

    __module__ = "mfdnn"  # the name by which users catch it


class OutOfRange(OverflowError, ValueError):
    """A number beyond the range of floating point.

    The arguments are in order, but the network is too extreme. It is an OverflowError and a ValueError.
    """

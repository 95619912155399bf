"""Failures of a computation, apart from wrong arguments."""

__all__ = ["NoTheory", "OutOfRange"]


class NoTheory(ValueError):
    """The law that was asked for does not exist, or is not known.

    ``str(error)`` is the reason, in one sentence. It is a ValueError.
    """

    __module__ = "mfdnn"  # the name by which users catch it


class OutOfRange(OverflowError, ValueError):
    """A number beyond the range of floating point, or of tables.

    The arguments are in order, but the network or its inputs are too extreme. It is an OverflowError and a ValueError.

    Parameters
    ----------
    fact : str
        What is out of range.
    advice : str
        What to do. Whoever knows the network's inputs knows better: they raise it again with an advice of theirs.
    """

    def __init__(self, fact: str, advice: str):
        super().__init__(fact, advice)
        self.fact = fact

    def __str__(self) -> str:
        return "{}; {}.".format(*self.args)

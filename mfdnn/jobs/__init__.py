"""Tasks on any executor, their random streams, checkpoints and names of runs."""

from .checkpoint import Checkpoint
from .run import n_cores, stack
from .settings import describe_arrays, describe_network, describe_stream
from .streams import streams

__all__ = [
    "Checkpoint",
    "describe_arrays",
    "describe_network",
    "describe_stream",
    "n_cores",
    "stack",
    "streams",
]

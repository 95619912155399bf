"""PyTorch modules as they are: exact spectra of a module at a batch."""

from .operator import operator

__all__ = ["operator"]

"""The edge of the spectrum where the samples are as many as the units: after the outputs' mean is taken away."""

from .centred import CentredEdge, centred_edge

__all__ = ["CentredEdge", "centred_edge"]

"""The edge of the Fisher spectrum of centred outputs, samples as many as units."""

from .centred import CentredEdge, centred_edge

__all__ = ["CentredEdge", "centred_edge"]

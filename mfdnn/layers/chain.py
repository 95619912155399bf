"""Fully connected chains: weights, an activation or none, weights, ..."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .._support.errors import NoTheory
from ..activations import Activation
from .base import Layer
from .dense import Dense
from .pointwise import Pointwise

__all__ = ["Chain", "read_chain"]


class Chain(NamedTuple):
    """The L weight layers of a fully connected network, and what is between them.

    Two neighbours have an activation between them, or None for nothing: L - 1 entries.
    """

    weights: list[Dense]
    activations: list[Activation | None]


def read_chain(layers: Iterable[Layer], refusal: str) -> Chain:
    """The chain that `layers` are; `NoTheory` for others.

    The reason is `refusal`, with the name of the layer that is not of a chain in place of its ``{layer}``.

    A layer of one's own that derives from `Dense` or `Pointwise` counts as one if it has their law.
    """
    weights: list[Dense] = []
    activations: list[Activation | None] = []
    for layer in layers:
        law = type(layer).propagate
        if isinstance(layer, Dense) and law is Dense.propagate:
            weights.append(layer)
            activations.append(None)
        elif isinstance(layer, Pointwise) and law is Pointwise.propagate and weights and activations[-1] is None:
            activations[-1] = layer.activation
        else:
            raise NoTheory(refusal.format(layer=type(layer).__name__))
    if activations and activations[-1] is not None:
        raise NoTheory(refusal.format(layer=type(layer).__name__))
    return Chain(weights, activations[:-1])

"""Layers from their descriptions, `Layer.to_dict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._support.validation import one_of
from ..activations.parsing import parse_activation
from .base import Layer
from .batch_norm import BatchNorm
from .channel_norm import GroupNorm, LayerNorm, RMSNorm
from .convolution import Conv
from .dense import Dense
from .dropout import Dropout
from .flatten import Flatten
from .gate import Gate
from .max_pool import MaxPool
from .mean_subtraction import MeanSubtraction
from .pointwise import Pointwise
from .pooling import AveragePool, GlobalAveragePool
from .residual import Residual

__all__ = ["DESCRIBED", "layer_from_dict", "layers_from_list"]

DESCRIBED: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        *(Dense, Conv, Pointwise, Residual, MeanSubtraction, BatchNorm, LayerNorm, RMSNorm, GroupNorm),
        *(AveragePool, MaxPool, GlobalAveragePool, Flatten, Dropout, Gate),
    )
}


def layer_from_dict(description: Any) -> Layer:
    """The layer that `Layer.to_dict` described.

    Raises
    ------
    TypeError, ValueError
        What is no such description: another type, an unknown layer, arguments that it does not have.
    """
    if not isinstance(description, Mapping) or "layer" not in description:
        raise ValueError(
            f"`layers` must hold objects with a \"layer\", got {description!r:.80}; write what Network.to_dict gives."
        )
    options = dict(description)
    kind = DESCRIBED[one_of("layer", options.pop("layer"), DESCRIBED)]
    if kind is Residual:
        options["layers"] = layers_from_list(options.get("layers"))
        if isinstance(options.get("skip"), list | tuple):
            options["skip"] = layers_from_list(options["skip"])
    if kind is Gate:
        for side in ("left", "right"):
            options[side] = layers_from_list(options.get(side), side)
    if kind in (Pointwise, Gate):
        phi = options.get("phi")
        if not isinstance(phi, str) or ":" in phi:  # a file runs no code
            raise ValueError(f"`phi` must be the name of an activation, got {phi!r}; write for example \"relu\".")
        options["phi"] = parse_activation(phi, "phi")
    try:
        return kind(**options)
    except TypeError as error:
        raise ValueError(f"`{kind.__name__}` was described by {description!r:.200}: {error}.") from None


def layers_from_list(layers: Any, name: str = "layers") -> list[Layer]:
    """The layers of a list of their descriptions."""
    if not isinstance(layers, list | tuple):
        raise ValueError(f"`{name}` must be a list, got {layers!r:.80}; write what Network.to_dict gives.")
    return [layer_from_dict(description) for description in layers]

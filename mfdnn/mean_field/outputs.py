"""What leaves a network: outputs from their law, and their normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import checked, positive_integer
from ..layers import Layer
from ..network import Network
from .moments import OrderParameters

__all__ = ["layers_behind", "mean_field_logits", "output_normalisation"]


def layers_behind(net: Network) -> list[Layer]:
    """The layers behind the last one that has weights."""
    last = max(i for i, layer in enumerate(net.layers) if layer.total_weight_layers)
    return list(net.layers[last + 1 :])


def output_normalisation(net: Network) -> Layer | None:
    """The normalisation behind the last weight layer, or None."""
    behind = layers_behind(net)
    norms = [layer for layer in behind if layer.normalises]
    if len(norms) > 1:
        raise NoTheory(
            f"`net` may have one normalisation behind its last weight layer, got {behind}; keep one of them."
        )
    if norms and norms[0] is not behind[-1]:
        raise NoTheory(
            f"`net` may have a normalisation of its outputs as its last layer only, got {behind}; put it last."
        )
    return norms[0] if norms else None


def mean_field_logits(
    op: OrderParameters, n_samples: int, n_outputs: int, n_draws: int = 1, *, rng: Any = None
) -> np.ndarray:
    """Outputs of infinitely wide networks, drawn from their law.

    They are Gaussian, independent between outputs, correlated between inputs.

    Parameters
    ----------
    op : OrderParameters
        Whose last row has variance and covariance of an output.
    n_samples, n_outputs, n_draws : int
        T, C, and of how many networks.
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes.

    Returns
    -------
    ndarray, shape (n_draws, T, C)

    Raises
    ------
    ValueError
        Another `n_samples` than that of the given inputs behind `op`.

    Examples
    --------
    >>> import mfdnn
    >>> from mfdnn.mean_field import mean_field_logits
    >>> op = mfdnn.order_parameters(mfdnn.mlp([50, 50, 3], "relu"))
    >>> mean_field_logits(op, 1000, 3, rng=0).shape
    (1, 1000, 3)
    """
    if not isinstance(op, OrderParameters):
        raise TypeError(f"`op` must be OrderParameters, got {type(op).__name__}; pass mfdnn.order_parameters(net).")
    n_samples, n_outputs = positive_integer("n_samples", n_samples), positive_integer("n_outputs", n_outputs)
    n_draws, rng = checked(n_draws=n_draws, rng=rng)
    assert op._outputs is not None  # a private field: all that make order parameters set it
    return op._outputs.draw(n_samples, n_outputs, n_draws, rng)

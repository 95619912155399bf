"""The recursion for some pairs of given inputs alone.

Layers that couple no samples allow it.
"""

from __future__ import annotations

import numpy as np

from ..layers import Keep, State
from ..layers.base import propagated
from ..network import Network
from .inputs import given_state, n_relabelling
from .outputs import layers_behind

__all__ = ["pairs_are_apart", "tile_outputs"]


def pairs_are_apart(net: Network) -> bool:
    """Whether the kernel of two inputs depends on no others.

    And no law of outputs follows.
    """
    return not net.couples_samples and not layers_behind(net)


def tile_outputs(net: Network, inputs: np.ndarray, others: np.ndarray | None, keep: Keep) -> State:
    """The state at the outputs, of some pairs.

    Of pairs of `inputs`, or of pairs of an input and one of `others`, both (T, *input_shape).
    """
    state = given_state(net, inputs, others, keep)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for layer in net.layers[n_relabelling(net) :]:
            state = propagated(layer, state)
    return state

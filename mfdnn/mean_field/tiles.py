"""The recursion for some pairs of given inputs alone.

Layers that couple no samples allow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from .._support.memory import require_memory
from ..jobs.watch import told_if_long
from ..layers import Given, Keep, Pairs, State, Tangents
from ..layers.base import propagated
from ..network import Network
from .inputs import bytes_of_recursion, given_state, n_relabelling
from .outputs import layers_behind

__all__ = ["goes_in_tiles", "has_many_inputs", "pairs_are_apart", "tile_outputs", "tiled_outputs", "tiled_width"]

# A fixed number and not what happens to be free: the same call takes the same path, hence the same bits.
WHOLE = 2**28  # bytes up to which the recursion runs over all inputs with their sites at once
MANY = 2**32  # bytes of all kernels beyond which statistics sum them tile by tile: some 3000 inputs in five layers


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
            n_met = len(state.records)
            state = propagated(layer, state)
            for record in state.records[n_met:]:  # means over sites are what is asked of them
                record.seen, record.left = (
                    None if of is None else of.site_mean() for of in (record.seen, record.left)
                )
    return state


def goes_in_tiles(net: Network, n_samples: int, keep: Keep) -> bool:
    """Whether the recursion over given inputs runs by blocks of their pairs.

    Where inputs have several sites, whose pairs would take much memory at once.
    """
    return (
        len(net.input_shape) > 1 and pairs_are_apart(net) and bytes_of_recursion(net, n_samples, keep) > WHOLE
    )


def has_many_inputs(net: Network, n_samples: int) -> bool:
    """Whether statistics of given inputs sum over tiles of their pairs.

    Kernels and order parameters of all pairs are then computed only for who asks for them.
    """
    # What they take with one site: tiles are smaller where there are more.
    return pairs_are_apart(net) and 8.0 * n_samples**2 * (14 + 9 * net.n_weight_layers) > MANY


def tiled_width(net: Network, keep: Keep) -> int:
    """How many inputs a block has."""
    return max(1, int((WHOLE / (3 * bytes_of_recursion(net, 1, keep))) ** 0.5))


def tiled_outputs(net: Network, inputs: np.ndarray, keep: Keep) -> State:
    """The state at the outputs, put together of blocks of pairs of inputs.

    All that it holds has one site: of records the means over theirs.
    """
    n, width = len(inputs), tiled_width(net, keep)
    what = f"the order parameters of {n} inputs in {net.n_weight_layers} weight layers"
    require_memory(
        3 * bytes_of_recursion(net, width, keep) + 8.0 * n**2 * (4 + 5 * net.n_weight_layers),
        f"{what} by blocks of {width} with all sites",
        "take fewer inputs, or `Flatten` in place of pooling, which needs the pairs of the same site alone",
    )
    blocks = [slice(start, min(start + width, n)) for start in range(0, n, width)]
    found: dict[tuple, np.ndarray] = {}
    variances: list[np.ndarray] = []
    with told_if_long(lambda: f"the recursion over pairs of sites of {n} inputs takes long"):
        for rows, columns in product(blocks, blocks):
            if rows.start < columns.start:
                continue
            state = tile_outputs(net, inputs[rows], None if rows == columns else inputs[columns], keep)
            for name, kernel in _kernels(state):
                whole = found.setdefault(name, np.empty((n, n)))
                whole[rows, columns] = kernel.at_two
                whole[columns, rows] = kernel.at_two.T
            if rows == columns:
                own = [record.variance for record in state.records if record.variance is not None]
                variances = variances or [np.empty((n, *of.shape[1:])) for of in own]
                for of_all, of in zip(variances, own, strict=True):
                    of_all[rows] = of
    parts = {name: Given(matrix[..., None, None]) for name, matrix in found.items()}
    for i, record in enumerate(state.records):
        record.seen, record.left = parts.get(("seen", i)), parts.get(("left", i))
        record.variance = variances[i] if variances else None
    names = state.tangents.names
    tangents = Tangents(keep, names, [parts[("tangents", *name)] for name in names])
    return state.replace(moments=parts[("moments",)], mean=np.zeros((n, 1)), tangents=tangents)


def _kernels(state: State) -> Iterator[tuple[tuple, Pairs]]:
    """All kernels of one site that a state has, by name."""
    yield ("moments",), state.moments
    for i, record in enumerate(state.records):
        for side, pairs in (("seen", record.seen), ("left", record.left)):
            if pairs is not None:
                yield (side, i), pairs
    for name in state.tangents.names:
        yield ("tangents", *name), state.tangents[name]

"""Where normalisations stand in a network, and what that adds to corrections."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from ..network import Network

__all__ = ["Places", "places"]

# Of errors through batch norm at T samples, which theory takes for products of what each sample does to itself.
BACK = 2.0
# Of the variance of M units of a sample, by which layer norm divides: 2/M of Gaussian units, which the two directions
# that are projected out make up for, but 4.5/M of relu.
UNITS = 3.0


class Places(NamedTuple):
    """Of a network of L weight layers: normalisations behind each of them."""

    batch_behind: tuple[int, ...]
    layer_behind: tuple[int, ...]  # layer norms of units that are not Gaussian

    def errors(self, l: int, n_samples: int, width: int) -> float:
        """Relative correction of squared errors at weight layer l."""
        return BACK * self.batch_behind[l] / n_samples + UNITS * self.layer_behind[l] / width


def places(net: Network) -> Places:
    """Of a network."""
    layers = [layer for layer, _ in net.walk() if not layer.children]
    weighted = [i for i, layer in enumerate(layers) if layer.n_weight_layers]
    ends = [*weighted, len(layers)]
    batch = [sum(layer.normalises == "samples" for layer in layers[:end]) for end in ends]
    by_units = [
        sum(a.activation is not None and b.normalises == "units" for a, b in pairwise(layers[:end]))
        for end in ends
    ]
    return Places(
        batch_behind=tuple(batch[-1] - count for count in batch[:-1]),
        layer_behind=tuple(by_units[-1] - count for count in by_units[:-1]),
    )

"""Where normalisations stand in a network, and what that adds to corrections."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from ..gaussian import expect, expect_product
from ..layers import Layer
from ..network import Network

__all__ = ["Places", "places"]

# Of Gaussian theory for T values on a sphere: -V''(1) of `BatchNorm` over T, and of errors through one of them.
SPHERE, BACK = 1.5, 2.0
# Of the variance of M units of a sample, by which layer norm divides: 2/M of Gaussian units, which the two directions
# that are projected out make up for, but 4.5/M of relu.
UNITS = 3.0


class Places(NamedTuple):
    """Of a network of L weight layers: normalisations before and behind each of them."""

    batch_before: tuple[int, ...]
    batch_behind: tuple[int, ...]
    layer_behind: tuple[int, ...]  # layer norms of units that are not Gaussian
    below: tuple[int, ...]  # weight layers below the last batch norm of a hidden layer; () without one
    uneven: float | None  # share of what they add to the outlier that it takes away; None: at most all of it

    def errors(self, l: int, n_samples: int, width: int) -> float:
        """Relative correction of squared errors at weight layer l."""
        return BACK * self.batch_behind[l] / n_samples + UNITS * self.layer_behind[l] / width

    def signals(self, l: int, n_samples: int) -> float:
        """The same of what enters weight layer l."""
        return SPHERE * (self.batch_before[l] > 0) / n_samples


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
    hidden = batch[-2]
    norms = [(a, b) for a, b in pairwise(layers[: weighted[-1] + 1]) if a.normalises == "samples"]
    return Places(
        batch_before=tuple(batch[:-1]),
        batch_behind=tuple(batch[-1] - count for count in batch[:-1]),
        layer_behind=tuple(by_units[-1] - count for count in by_units[:-1]),
        below=tuple(l for l, count in enumerate(batch[:-1]) if count < hidden),
        uneven=_uneven(*norms[-1]) if hidden else 0.0,
    )


def _uneven(norm: Any, behind: Layer) -> float | None:
    r"""Share of the constant direction that batch norm takes and its mean does not.

    Batch norm is :math:`I - (1 1^T + z z^T)/T`, and the mean one over z. The parameters below add
    :math:`|P \phi'(z)|^2` to it, which is :math:`T\,\mathrm{Var}\,\phi'` less
    :math:`(z \cdot \phi')^2/T = T (E\,\phi'')^2`: a share :math:`(E\,\phi'')^2 / \mathrm{Var}\,\phi'`.
    """
    act, gamma = behind.activation, getattr(norm, "gamma", 0.0)  # of one's own: not known
    if act is None or gamma == 0 or norm.beta != 0:
        return None
    q = gamma**2
    slopes = float(expect_product(act, q, derivative=1)) - float(expect(act, q, derivative=1)) ** 2
    return q * float(expect(act, q, derivative=2)) ** 2 / slopes if slopes > 0 else 0.0

"""All layers in all placements: a new class joins by one line of `LAYERS`.

An entry makes a layer that n units or channels leave (only weight layers and blocks ask), names its placements, and
says where theory refuses it: at all inputs ("always"), or at given ones alone ("given").
"""

from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from user_layers import CircularConv, SiteMean
from user_layers import RMSNorm as OwnRMSNorm

import mfdnn
from mfdnn.layers import (
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Gate,
    GlobalAveragePool,
    GroupNorm,
    LayerNorm,
    MaxPool,
    MeanSubtraction,
    Pointwise,
    Residual,
    RMSNorm,
)

SITES = 3


def swish(x):
    """A user's own activation."""
    return x / (1 + np.exp(-x))


def dense(n):
    return Dense(n, 1.5, 0.1)


def conv(n):
    return CircularConv(n, 2, 1.5, 0.1)


def tanh():
    return Pointwise("tanh")


# Each takes a maker of layers, the width n and the number c of outputs; the networks are as wide as their inputs.
PLACEMENTS = {
    "first": lambda make, n, c: (n, [make(n), dense(n), tanh(), dense(c)]),
    "between weights": lambda make, n, c: (n, [dense(n), make(n), dense(c)]),
    "before activation": lambda make, n, c: (n, [dense(n), make(n), tanh(), dense(c)]),
    "after activation": lambda make, n, c: (n, [dense(n), tanh(), make(n), dense(c)]),
    "between activations": lambda make, n, c: (n, [dense(n), tanh(), make(n), tanh(), dense(c)]),
    "first in a block": lambda make, n, c: (
        n,
        [dense(n), Residual([make(n), dense(n), tanh()], 0.7), dense(c)],
    ),
    "last in a block": lambda make, n, c: (n, [dense(n), Residual([tanh(), dense(n), make(n)]), dense(c)]),
    "outputs": lambda make, n, c: (n, [dense(n), tanh(), make(c)]),
    "behind outputs": lambda make, n, c: (n, [dense(n), tanh(), dense(c), make(c)]),
    "sites, first": lambda make, n, c: ((n, SITES), [make(n), conv(n), tanh(), Flatten(), dense(c)]),
    "sites, between weights": lambda make, n, c: ((n, SITES), [conv(n), make(n), Flatten(), dense(c)]),
    "sites, before activation": lambda make, n, c: (
        (n, SITES),
        [conv(n), make(n), tanh(), conv(n), Flatten(), dense(c)],
    ),
    "sites, after activation": lambda make, n, c: (
        (n, SITES),
        [conv(n), tanh(), make(n), Flatten(), dense(c)],
    ),
    "sites, between activations": lambda make, n, c: (
        (n, SITES),
        [conv(n), tanh(), make(n), tanh(), Flatten(), dense(c)],
    ),
    "sites, in a block": lambda make, n, c: (
        (n, SITES),
        [conv(n), Residual([tanh(), make(n), conv(n)], 0.7), Flatten(), dense(c)],
    ),
    "sites, merged first": lambda make, n, c: ((n, SITES), [make(n), dense(n), tanh(), dense(c)]),
    "sites, merged before activation": lambda make, n, c: ((n, SITES), [conv(n), make(n), tanh(), dense(c)]),
    "sites, merged": lambda make, n, c: ((n, SITES), [conv(n), tanh(), make(n), dense(c)]),
    "sites, merged outputs": lambda make, n, c: ((n, SITES), [conv(n), tanh(), conv(c), make(c)]),
}

UNITS = ("between weights", "first in a block", "last in a block", "sites, between weights")
NORMS = (
    "first",
    "before activation",
    "after activation",
    "first in a block",
    "last in a block",
    "behind outputs",
)
BLOCKS = ("first", "before activation", "after activation", "last in a block")
WITH_SITES = ("sites, first", "sites, before activation", "sites, after activation", "sites, in a block")
BETWEEN = ("between activations", "sites, between activations")
POOLED = WITH_SITES[:3]
GATED = (*BLOCKS, "outputs")
WEIGHTS = ("first", "before activation", "after activation", "last in a block", "outputs")
MERGING = ("sites, merged first", "sites, merged before activation", "sites, merged")


class Entry(NamedTuple):
    make: object
    placements: tuple
    refused: MappingProxyType = MappingProxyType({})
    sampled: tuple = ()  # placements whose theory rests on sampled units


# Units of given inputs are known; of random ones nothing is but their moments, which BatchNorm alone can do with.
NO_UNITS = {"first": "random"}
UNITS_OF_SITES = {"sites, first": "random"}

LAYERS = {
    "Dense": Entry(dense, WEIGHTS),
    "Dense uniform": Entry(partial(Dense, sigma_w2=1.5, weights="uniform"), WEIGHTS),
    "Dense orthogonal": Entry(partial(Dense, sigma_w2=1.5, weights="orthogonal"), WEIGHTS),
    "Dense without bias": Entry(partial(Dense, sigma_w2=1.5, bias=False), WEIGHTS),
    "Pointwise relu": Entry(
        lambda n: Pointwise("relu"), (*UNITS, "first", "after activation"), NO_UNITS, ("after activation",)
    ),
    "Pointwise tanh": Entry(lambda n: tanh(), UNITS),
    "Pointwise of one's own": Entry(lambda n: Pointwise(swish), UNITS),
    "Residual": Entry(lambda n: Residual([tanh(), dense(n)]), BLOCKS, NO_UNITS, ("after activation",)),
    "Residual ends in tanh": Entry(lambda n: Residual([dense(n), tanh()], 0.7), BLOCKS, {}, ("before activation",)),
    "Residual nested": Entry(lambda n: Residual([dense(n), Residual([tanh(), dense(n)], 0.7)], 0.5), BLOCKS),
    "Residual of means": Entry(  # both signals of the inner sum have one
        lambda n: Residual([dense(n), Pointwise("relu"), Residual([dense(n), Pointwise("relu")], 0.7)]),
        ("first", "after activation"),
    ),
    "Gate": Entry(
        lambda n: Gate(Dense(n, 1.5, 0.1), [dense(n), tanh(), dense(n)], "sigmoid"),
        GATED,
        {"outputs": "always"},
        ("before activation",),
    ),
    "Gate of the input": Entry(lambda n: Gate([], dense(n), "relu"), GATED[:-1], {}, ("before activation",)),
    "Gate with sites": Entry(
        lambda n: Gate([conv(n), tanh()], conv(n), "tanh"), WITH_SITES, {}, ("sites, before activation",)
    ),
    "Residual with sites": Entry(lambda n: Residual([conv(n), tanh(), conv(n)], 0.7), WITH_SITES),
    "MeanSubtraction": Entry(lambda n: MeanSubtraction(), (*NORMS, *WITH_SITES, *BETWEEN), {}, BETWEEN),
    "BatchNorm": Entry(lambda n: BatchNorm(), NORMS, {}, NORMS[1:-1]),
    "BatchNorm with gain": Entry(lambda n: BatchNorm(1.2, 0.3, eps=0.1), NORMS, {}, NORMS[1:-1]),
    "BatchNorm not affine": Entry(lambda n: BatchNorm(affine=False), NORMS, {}, NORMS[1:-1]),
    "BatchNorm with sites": Entry(
        lambda n: BatchNorm(1.2, 0.3, eps=0.1), WITH_SITES, UNITS_OF_SITES, WITH_SITES[1:]
    ),
    "LayerNorm": Entry(lambda n: LayerNorm(), (*NORMS, *WITH_SITES)),
    "LayerNorm with gain": Entry(
        lambda n: LayerNorm(1.2, 0.3, eps=0.1), (*NORMS, *WITH_SITES, *BETWEEN), {}, BETWEEN
    ),
    "LayerNorm not affine": Entry(lambda n: LayerNorm(affine=False), NORMS),
    "Flatten": Entry(
        lambda n: Flatten(),
        ("first", "before activation", *MERGING),
        {},
        ("sites, merged before activation",),
    ),
    "CircularConv": Entry(conv, WITH_SITES),
    "Conv": Entry(partial(Conv, sigma_w2=1.5, sigma_b2=0.1), WITH_SITES),
    "Conv of many options": Entry(
        partial(Conv, kernel=2, sigma_w2=1.5, stride=2, padding=((2, 1),), mode="reflect", bias=False),
        ("sites, before activation", "sites, after activation"),
    ),
    "Conv circular uniform": Entry(
        partial(Conv, kernel=3, sigma_w2=1.5, sigma_b2=0.1, mode="circular", weights="uniform"), WITH_SITES
    ),
    "Conv orthogonal": Entry(partial(Conv, sigma_w2=1.5, weights="orthogonal"), WITH_SITES),
    "Conv delta-orthogonal": Entry(
        partial(Conv, sigma_w2=1.5, sigma_b2=0.1, weights="delta_orthogonal"), WITH_SITES
    ),
    "AveragePool": Entry(
        lambda n: AveragePool(2, 1), POOLED
    ),
    "MaxPool": Entry(lambda n: MaxPool(2, 1), POOLED, UNITS_OF_SITES, POOLED[1:]),
    "GlobalAveragePool": Entry(lambda n: GlobalAveragePool(), (*MERGING, "sites, merged outputs")),
    "Residual with a projection": Entry(
        lambda n: Residual([conv(n), tanh(), Conv(n, 3, 1.5, stride=2)], [Conv(n, 1, 0.7, stride=2)]),
        WITH_SITES[:3],
    ),
    "RMSNorm": Entry(
        lambda n: RMSNorm(1.2, eps=0.1), (*NORMS[:-1], *WITH_SITES, *BETWEEN), {}, BETWEEN
    ),
    "RMSNorm not affine": Entry(
        lambda n: RMSNorm(affine=False), ("before activation", "sites, before activation")
    ),
    "RMSNorm of one's own": Entry(lambda n: OwnRMSNorm(), (*NORMS[:-1], *WITH_SITES)),
    "Dropout": Entry(
        lambda n: Dropout(0.8),
        ("before activation", "after activation", "sites, first", "sites, after activation"),
        {},
        ("before activation",),
    ),
    "GroupNorm": Entry(lambda n: GroupNorm(1), (*NORMS[:-1], *WITH_SITES)),
    "GroupNorm with gain": Entry(
        lambda n: GroupNorm(1, 1.2, 0.3, eps=0.1), ("before activation", *WITH_SITES, *BETWEEN), {}, BETWEEN
    ),
    "GroupNorm not affine": Entry(
        lambda n: GroupNorm(1, affine=False), ("after activation", "sites, before activation")
    ),
    "SiteMean": Entry(lambda n: SiteMean(), (*MERGING, "sites, merged outputs")),
}


def network(layer, placement, n=5, c=3):
    """The network of an entry in a placement, of width n with c outputs."""
    return mfdnn.Network(*PLACEMENTS[placement](LAYERS[layer].make, n, c))


CATALOGUE = {
    f"{layer}, {placement}": partial(network, layer, placement)
    for layer, entry in LAYERS.items()
    for placement in entry.placements
}
REFUSED = {
    f"{layer}, {placement}": when
    for layer, entry in LAYERS.items()
    for placement, when in entry.refused.items()
}
SAMPLED = {f"{layer}, {placement}" for layer, entry in LAYERS.items() for placement in entry.sampled}

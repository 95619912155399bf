r"""Parameters in other units, :math:`\theta = S \psi` with a diagonal S.

So :math:`J S` takes the place of J.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from math import prod
from typing import Any

import numpy as np

from .._support.validation import one_of, short
from ..layers import Factors
from ..network import Network
from .linearisation import Linearisation
from .network import SampledNetwork
from .parameters import Parameters, flatten, unflatten
from .protocol import Served

__all__ = ["PARAMETERISATIONS", "Coordinates", "Plain", "coordinates_of"]

PARAMETERISATIONS = ("standard", "ntk")
MOST, BLOCK = 64, 2**26  # vectors at a time, and bytes that they take


def coordinates_of(one: Any, parameterisation: str = "standard", layer: Any = None) -> Coordinates | Plain:
    """The units of the layers of a sampled network, or parameters as they are."""
    if isinstance(one, SampledNetwork):
        return Coordinates(one.network, parameterisation, layer)
    ntk = one_of("parameterisation", parameterisation, PARAMETERISATIONS) == "ntk"
    if ntk or layer is not None:
        raise ValueError(
            f"{'`layer`' if layer is not None else '`parameterisation` = ntk'} needs the layers of a SampledNetwork, "
            f"got {type(one).__name__}, which serves Jacobian products alone; drop it."
        )
    return Plain(getattr(one, "n_parameters", 0))


class Plain:
    """All parameters, in the units in which they come."""

    layer = None

    def __init__(self, n_parameters: int):
        self.n_parameters = n_parameters

    def pull_each(self, linear: Served, us: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """J^T u (P,) of each u (T, C)."""
        for some in self._blocks(us, self.n_parameters):
            yield from linear.vjps(some)

    def push_each(self, linear: Served, vs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """J v (T, C) of each v (P,)."""
        for some in self._blocks(vs, self.n_parameters):
            yield from linear.jvps(some)

    def pull_and_push_each(self, linear: Served, us: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """J J^T u (T, C) of each u (T, C)."""
        for some in self._blocks(us, 0):
            yield from linear.products(some)

    @staticmethod
    def _blocks(vectors: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
        """Some of them at a time, so few that as many vectors of `size` are small."""
        n, vectors = max(1, min(MOST, BLOCK // (8 * size + 1))), iter(vectors)
        while some := list(islice(vectors, n)):
            yield np.stack(some)


class Coordinates:
    r"""Which parameters count, and in which units.

    Parameters
    ----------
    network : Network
    parameterisation : {"standard", "ntk"}
        "ntk": :math:`W = \sigma_w w/\sqrt{M_{in}}`, :math:`b = \sigma_b \beta` with parameters of variance 1. What is
        no weight and no bias, such as a gain, keeps its units.
    layer : int, optional
        A weight layer, counted as in a list, whose weights and biases alone count. Default: all parameters.

    Attributes
    ----------
    n_parameters : int
        How many count.
    layer : int or None
        The weight layer, counted from 0.
    factors : list of tuple of float
        S: of every array of parameters of every layer that has some; 0 where they do not count.
    """

    def __init__(self, network: Network, parameterisation: str = "standard", layer: Any = None):
        ntk = one_of("parameterisation", parameterisation, PARAMETERISATIONS) == "ntk"
        groups = [(one, shape, one.parameter_shapes(shape)) for one, shape in network.parameter_layers]
        chosen = range(len(groups))
        self.layer: int | None = None
        if layer is not None:
            weight_layers = [i for i, (one, _, _) in enumerate(groups) if one.n_weight_layers]
            self.layer = _index(layer, len(weight_layers))
            only = weight_layers[self.layer]
            chosen = range(only, only + 1)
        self.factors: list[tuple[float, ...]] = []
        for i, (one, shape, shapes) in enumerate(groups):
            if i not in chosen:
                self.factors.append((0.0,) * len(shapes))
            else:
                self.factors.append(one.ntk_units(shape) if ntk else (1.0,) * len(shapes))
        self._roles = [one.parameter_roles for one, _, _ in groups]
        sizes = [sum(prod(shape) for shape in shapes if shape is not None) for _, _, shapes in groups]
        ends = [0, *accumulate(sizes)]
        self._n_all = ends[-1]
        self._part = slice(ends[chosen[0]], ends[chosen[-1] + 1])
        self.n_parameters = self._part.stop - self._part.start

    @property
    def trivial(self) -> bool:
        """Whether S is the identity."""
        return all(factor == 1 for group in self.factors for factor in group)

    @property
    def separable(self) -> bool:
        """Whether `of_factors` knows the units.

        It does where they are the same for all of a layer, or one of its weights and one of its biases.
        """
        pairs = zip(self.factors, self._roles, strict=True)
        return all(len(set(units)) == 1 or roles == ("weights", "biases") for units, roles in pairs)

    def of_first(self, n: int) -> Coordinates:
        """Of the first n layers that have parameters, as of a network that ends with them."""
        part = copy.copy(self)
        part.factors, part._roles = self.factors[:n], self._roles[:n]
        return part

    def pull(self, linear: Linearisation, u: np.ndarray) -> np.ndarray:
        """S J^T u, a vector of the parameters that count, for u (T, C)."""
        return self.vector(linear.gradients(u))

    def push(self, linear: Linearisation, v: np.ndarray) -> np.ndarray:
        """J S v (T, C), for a vector v of the parameters that count."""
        whole = np.zeros(self._n_all, v.dtype)
        whole[self._part] = v
        return linear.push(self.scaled(unflatten(whole, linear.parameters)))

    def pull_and_push(self, linear: Linearisation, u: np.ndarray) -> np.ndarray:
        """J S^2 J^T u (T, C)."""
        return linear.push(self.scaled(linear.gradients(u), 2))

    def pull_each(self, linear: Linearisation, us: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`pull` of each u."""
        return (self.pull(linear, u) for u in us)

    def push_each(self, linear: Linearisation, vs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`push` of each v."""
        return (self.push(linear, v) for v in vs)

    def pull_and_push_each(self, linear: Linearisation, us: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`pull_and_push` of each u."""
        return (self.pull_and_push(linear, u) for u in us)

    def scaled(self, pairs: Sequence[Sequence[np.ndarray | None]], power: int = 1) -> Parameters:
        """S, or S^2, times parameters."""
        if self.trivial:
            return list(map(tuple, pairs))
        return [
            tuple(None if a is None else s**power * a for s, a in zip(factors, group, strict=True))
            for factors, group in zip(self.factors, pairs, strict=True)
        ]

    def vector(self, pairs: Sequence[Sequence[np.ndarray | None]]) -> np.ndarray:
        """S times parameters, as one vector of those that count."""
        return flatten(self.scaled(pairs))[self._part]

    def of_factors(self, factors: list[Factors | list[Factors]]) -> list[Factors]:
        """Derivatives sample by sample, scaled; of layers that count alone."""
        scaled = []
        for units, found in zip(self.factors, factors, strict=True):
            if isinstance(found, list):  # one an array of parameters
                pairs = zip(units, found, strict=False)  # without that of an absent bias
                scaled += [Factors(h, delta if s == 1 else s * delta, own) for s, (h, delta, own) in pairs if s]
                continue
            h, delta, has_bias = found
            weight, bias = units[0], units[-1]
            if weight == bias == 1:
                scaled.append(found)
                continue
            if weight or bias:
                scaled.append(Factors(h * weight, delta, has_bias * bias**2))
        return scaled


def _index(layer: Any, n_layers: int) -> int:
    try:
        index = operator.index(layer)
    except TypeError:
        raise TypeError(
            f"`layer` must be an integer, got {short(layer)}; pass the index of a weight layer."
        ) from None
    if isinstance(layer, bool) or not -n_layers <= index < n_layers:
        raise ValueError(
            f"`layer` must be the index of one of {n_layers} weight layers, got {short(layer)}; pass 0 for the first, "
            "or -1 for the last."
        )
    return index % n_layers

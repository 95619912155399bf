"""What tangents of sampled units come from, and how maps of the units change it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..pairs import Derivative, Pairs, apart
from ..tangents import Tangents

__all__ = ["WITHIN_SAMPLES", "Drawn", "Integrated", "Own", "Source", "joined_sources"]

WITHIN_SAMPLES = "errors", "features"  # groups of which what samples do to each other is left out
UNITS_OF_ERRORS = 128  # where there are several sites

Jvp = Callable[[np.ndarray], np.ndarray]


class Source(ABC):
    """Tangents of units that are independent of all others, given the units' values."""

    @abstractmethod
    def times(self, slope: np.ndarray) -> Source:
        """Behind an elementwise map of these slopes, (S, T, n) or of fewer numbers."""

    @abstractmethod
    def picked(self, at: np.ndarray) -> Source:
        """Behind a choice of sites, (S, T, m)."""

    @abstractmethod
    def less(self, u: np.ndarray, v: np.ndarray) -> Source:
        """Behind I - u v^T, fields over samples and sites."""

    @abstractmethod
    def of_units(self, at: np.ndarray) -> Source:
        """Of these units, by their numbers."""

    @abstractmethod
    def apart(self, n_units: int) -> Source:
        """Every one of so many units at every site a unit of its own."""

    @abstractmethod
    def tangents(self, like: Pairs) -> Tangents:
        """Their kernels, by groups of parameters; `like` is what the units' moments are."""


@dataclass(frozen=True, eq=False)
class Integrated(Source):
    """Tangents J z whose z ~ N(0, P) is averaged over exactly.

    P is the kernel of each group of parameters in front of the maps.
    """

    kernels: Tangents
    derivative: Derivative
    couples: bool = False  # whether the derivative couples samples

    @classmethod
    def of(cls, kernels: Tangents, shape: tuple[int, ...]) -> Integrated:
        """Of fields (S, T, n) that have just been met."""
        return cls(kernels, Derivative.identity(shape))

    def times(self, slope: np.ndarray) -> Integrated:
        return replace(self, derivative=self.derivative.times(slope))

    def picked(self, at: np.ndarray) -> Integrated:
        return replace(self, derivative=self.derivative.picked(at))

    def of_units(self, at: np.ndarray) -> Integrated:
        return replace(self, derivative=self.derivative.of_units(at))

    def apart(self, n_units: int) -> Integrated:
        return replace(self, derivative=self.derivative.apart(n_units))

    def less(self, u: np.ndarray, v: np.ndarray) -> Integrated:
        return replace(self, derivative=self.derivative.less(u, v), couples=True)

    def tangents(self, like: Pairs) -> Tangents:
        d = self.derivative
        if not self.couples:
            return self.kernels.map(lambda kernel: kernel.behind(d))
        # Errors of single layers are diagnostics, and there are many of them: fewer units do.
        some = d.of_units(slice(UNITS_OF_ERRORS)) if d.slope.shape[-1] > 1 else d
        return self.kernels.map(lambda kernel: kernel.behind(d), lambda kernel: kernel.within_samples(some))


@dataclass(frozen=True, eq=False)
class Own(Source):
    """Tangents of a unit's own parameters: fields times independent normals.

    Of one `origin` are those that come from the same draws, by whatever path.
    """

    empty: Tangents
    group: tuple
    fields: tuple[np.ndarray, ...]
    origin: object = field(default_factory=object)

    def _each(self, function: Jvp) -> Own:
        return replace(self, fields=tuple(map(function, self.fields)))

    def times(self, slope: np.ndarray) -> Own:
        return self._each(lambda x: slope * x)

    def picked(self, at: np.ndarray) -> Own:
        return self._each(lambda x: np.take_along_axis(x, at, axis=-1))

    def of_units(self, at: np.ndarray) -> Own:
        return self._each(lambda x: x[at])

    def apart(self, n_units: int) -> Own:
        return self._each(apart)

    def less(self, u: np.ndarray, v: np.ndarray) -> Own:
        return self._each(lambda x: x - u * np.sum(v * x, axis=(1, 2), keepdims=True))

    def pushed(self, jvp: Jvp) -> Own:
        """Behind a map of the units by its derivative."""
        return self._each(jvp)

    def tangents(self, like: Pairs) -> Tangents:
        first, *others = (like.products(x, x) for x in self.fields)
        return self.empty.add((self.group, sum(others, start=first)))


@dataclass(frozen=True, eq=False)
class Drawn(Source):
    """Tangents that are drawn too, one field for each group of parameters.

    `origin` as of `Own`.
    """

    empty: Tangents
    names: tuple[tuple, ...]
    fields: tuple[np.ndarray, ...]
    origin: object = field(default_factory=object)

    def _each(self, function: Jvp) -> Drawn:
        return replace(self, fields=tuple(map(function, self.fields)))

    def times(self, slope: np.ndarray) -> Drawn:
        return self._each(lambda x: slope * x)

    def picked(self, at: np.ndarray) -> Drawn:
        return self._each(lambda x: np.take_along_axis(x, at, axis=-1))

    def of_units(self, at: np.ndarray) -> Drawn:
        return self._each(lambda x: x[at])

    def apart(self, n_units: int) -> Drawn:
        return self._each(apart)

    def less(self, u: np.ndarray, v: np.ndarray) -> Drawn:
        found = []
        for name, x in zip(self.names, self.fields, strict=True):
            axes = 2 if name[0] in WITHIN_SAMPLES else (1, 2)  # without what samples do to each other
            found.append(x - u * np.sum(v * x, axis=axes, keepdims=True))
        return replace(self, fields=tuple(found))

    def pushed(self, jvp: Jvp, couples: bool) -> Drawn:
        """Behind a map of the units by its derivative, which may couple samples."""
        found = []
        for name, x in zip(self.names, self.fields, strict=True):
            found.append(_sample_by_sample(jvp, x) if couples and name[0] in WITHIN_SAMPLES else jvp(x))
        return replace(self, fields=tuple(found))

    def tangents(self, like: Pairs) -> Tangents:
        kernels: Sequence[Pairs] = [like.products(x, x) for x in self.fields]
        return self.empty.add(*zip(self.names, kernels, strict=True))


def joined_sources(mine: Sequence[Source], others: Sequence[Source]) -> tuple[Source, ...]:
    """Tangents of a sum: fields of one origin, which took two paths, are added."""
    found = {getattr(source, "origin", source): source for source in mine}
    for source in others:
        origin = getattr(source, "origin", source)
        if origin in found:
            first = found[origin]
            assert isinstance(first, Own | Drawn) and isinstance(source, Own | Drawn)
            fields = tuple(a + b for a, b in zip(first.fields, source.fields, strict=True))
            source = replace(first, fields=fields)
        found[origin] = source
    return tuple(found.values())


def _sample_by_sample(jvp: Jvp, x: np.ndarray) -> np.ndarray:
    """What every sample's tangent does to itself."""
    found = None
    for t in range(x.shape[1]):
        alone = np.zeros_like(x)
        alone[:, t] = x[:, t]
        pushed = jvp(alone)
        found = np.zeros_like(pushed) if found is None else found
        found[:, t] = pushed[:, t]
    assert found is not None
    return found

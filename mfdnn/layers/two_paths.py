"""Layers whose two paths both begin with what enters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from .base import Layer, carry_units, propagated
from .pairs import SitePairs
from .recorded import Recorded
from .state import State
from .units import units_of

__all__ = ["TwoPaths"]


class TwoPaths(Layer, ABC):
    """A composite of two paths; an empty path is what enters.

    A subclass says with `_of` how it is made of other paths, and what it makes of both ends.

    Attributes
    ----------
    paths : tuple of two tuples of Layer
        In the order in which they are walked; `_set_paths` sets them, and the traits that follow.
    """

    paths: tuple[tuple[Layer, ...], tuple[Layer, ...]]

    def _set_paths(self, first: Sequence[Layer], second: Sequence[Layer]) -> None:
        self.paths = tuple(first), tuple(second)
        self.children = (*first, *second)
        self.n_weight_layers = sum(layer.n_weight_layers for layer in self.children)
        self.couples_samples = any(layer.couples_samples for layer in self.children)
        self.batches_errors = all(layer.batches_errors for layer in self.children)

    @abstractmethod
    def _of(self, first: list[Layer], second: list[Layer]) -> TwoPaths:
        """The layer with other paths."""

    def walk(self, shape: tuple[int, ...]) -> Iterator[tuple[Layer, tuple[int, ...]]]:
        yield self, shape
        for path in self.paths:
            inside = shape
            for layer in path:
                yield from layer.walk(inside)
                inside = layer.output_shape(inside)

    def scaled(self, factor: float) -> TwoPaths:
        first, second = ([layer.scaled(factor) for layer in path] for path in self.paths)
        return self._of(first, second)

    def drawn(self, rng: np.random.Generator) -> TwoPaths:
        first, second = ([layer.drawn(rng) for layer in path] for path in self.paths)
        same = all(new is old for new, old in zip(chain(first, second), self.children, strict=True))
        return self if same else self._of(first, second)

    # -- infinite width ---------------------------------------------------------------------------------------
    @property
    def acts_on_units(self) -> bool:
        return True

    def carries_units(self, shape: tuple[int, ...]) -> bool:
        return any(carry_units(path, shape) for path in self.paths)

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return all(layer.closes(sites, inside) for layer, inside in self.walk(shape) if layer is not self)

    def _propagated(self, state: State) -> tuple[State, State, bool]:
        """Both ends, with the records of both, and whether their units are drawn together.

        They are where both paths carry the units that enter, on which both ends then depend.
        """
        shared = all(carry_units(path, state.shape) for path in self.paths)
        if shared:
            units = units_of(state, self).with_drawn_tangents()
            state = state.replace(units=units, gaussian=False, origin=None)
        first = state
        for layer in self.paths[0]:
            first = propagated(layer, first)
        second = state.replace(records=first.records)
        for layer in self.paths[1]:
            second = propagated(layer, second)
        return first.replace(records=second.records), second, shared

    def _recorded(self, units: Recorded) -> tuple[Recorded, Recorded]:
        first, second = units, units
        for layer in self.paths[0]:
            first = layer.recorded(first)
        for layer in self.paths[1]:
            second = layer.recorded(second)
        return first, second

    # -- finite width -----------------------------------------------------------------------------------------
    def _output_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        first, second = shape, shape
        for layer in self.paths[0]:
            first = layer.output_shape(first)
        for layer in self.paths[1]:
            second = layer.output_shape(second)
        return first, second

    def _forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> tuple[np.ndarray, np.ndarray]:
        first, second = x, x
        for layer in self.paths[0]:
            first = layer.forward(first, parameters, trace)
        for layer in self.paths[1]:
            second = layer.forward(second, parameters, trace)
        return first, second

    def _pushforward(self, dx: np.ndarray | None, *iterators: Iterator) -> tuple[Any, Any]:
        first, second = dx, dx
        for layer in self.paths[0]:
            first = layer.pushforward(first, *iterators)
        for layer in self.paths[1]:
            second = layer.pushforward(second, *iterators)
        return first, second

    def _backward(
        self, of_first: np.ndarray, of_second: np.ndarray, parameters: Iterator, trace: Iterator, collected: list
    ) -> tuple[np.ndarray, np.ndarray]:
        for layer in reversed(self.paths[1]):
            of_second = layer.backward(of_second, parameters, trace, collected)
        for layer in reversed(self.paths[0]):
            of_first = layer.backward(of_first, parameters, trace, collected)
        return of_first, of_second

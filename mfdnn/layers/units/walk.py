"""From moments to sampled units where a layer needs them, and back."""

from __future__ import annotations

from math import prod
from typing import Protocol

from ..._support.errors import NoTheory
from ..pairs import NeedsAllPairs
from ..state import State
from .units import Units

__all__ = ["as_moments", "joined_units", "through_units", "units_behind", "units_of"]


class UnitMap(Protocol):
    """What a layer has to say of single units."""

    def through_units(self, units: Units) -> Units:
        """What it makes of them."""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that leaves."""


def units_of(state: State, layer: object) -> Units:
    """The units of a signal.

    Those that it has, drawn anew if it is Gaussian, or mapped as they were on the way.

    Raises
    ------
    NoTheory
        Nobody knows the law of single units, which `layer` needs.
    NeedsAllPairs
        They can be drawn, but not of some pairs of inputs alone.
    """
    if state.units is not None:
        return state.units
    if state.gaussian or state.origin is not None:
        if state.sampler is None:
            raise NeedsAllPairs  # of some pairs of inputs alone
        if state.gaussian:
            return Units.drawn(state.moments, state.mean, state.tangents, state.sampler, state.shape[1:])
        assert state.origin is not None
        return state.origin()
    raise NoTheory(
        f"`{layer!r}` needs the law of single units, and of what enters there are moments alone; put a weight layer "
        "before it, or sample such networks (`mfdnn.ensemble`)."
    )


def units_behind(layer: UnitMap, state: State) -> Units:
    """The units behind a layer that maps single ones."""
    units, sites = layer.through_units(units_of(state, layer)), layer.output_shape(state.shape)[1:]
    if (found := units.values.shape[-1]) != prod(sites):
        raise ValueError(
            f"`{layer!r}` must map a unit's field to {prod(sites)} sites, as its `output_shape` says, got {found}; "
            "make both of one size."
        )
    return units.replace(sites=sites)


def through_units(layer: UnitMap, state: State) -> State:
    """The state behind a map of single units, which are sampled."""
    units = units_behind(layer, state)
    return state.replace(units=units, origin=None, gaussian=False, shape=layer.output_shape(state.shape))


def joined_units(layer: object, skip: State, branch: State, factor: float = 1.0) -> Units:
    """The units of `factor` times one signal plus another, independent one."""
    return units_of(skip, layer).plus(units_of(branch, layer), factor)


def as_moments(state: State) -> State:
    """The same signal with means over the units in place of them."""
    if state.units is None:
        return state
    units = state.units
    return state.replace(
        moments=units.moments, tangents=units.tangents, mean=units.mean, units=None, origin=lambda: units
    )

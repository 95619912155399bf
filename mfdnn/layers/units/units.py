"""Sampled units: values, and what their tangents come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..._support.memory import require_memory
from ..pairs import Pairs, apart
from ..tangents import Keep, Tangents
from .sampler import Sampler
from .sources import WITHIN_SAMPLES, Drawn, Integrated, Own, Source, joined_sources

__all__ = ["Units"]

SPACE, MATRICES = 12, 6  # arrays of all units, and matrices over (input, site), that a layer takes at once


@dataclass(frozen=True)
class Units:
    r"""S units of an infinitely wide layer, over all (input, site).

    Behind a weight layer units are independent Gaussian fields, with a tangent kernel that is the same for all. Maps of
    one unit act on each as they do in a finite network; the next weight layer sees means over units alone.

    Attributes
    ----------
    values : ndarray, shape (S, T, n)
    sources : tuple of Source
        Independent parts of the tangents.
    like : Pairs
        What second moments are: of given or of exchangeable inputs.
    keep : Keep
    sampler : Sampler
    sites : tuple of int
        How the n sites lie; () for one.
    known : bool
        Whether these are all units there are, channels of given inputs, and not draws.
    """

    values: np.ndarray
    sources: tuple[Source, ...]
    like: Pairs
    keep: Keep
    sampler: Sampler
    sites: tuple[int, ...]
    known: bool = False

    @classmethod
    def drawn(
        cls, moments: Pairs, mean: np.ndarray, tangents: Tangents, sampler: Sampler, sites: tuple[int, ...]
    ) -> Units:
        """Units of a Gaussian signal, with tangents that are averaged over exactly.

        Parameters
        ----------
        moments : Pairs
        mean : ndarray, shape (n,) or (T, n)
            Over units.
        tangents : Tangents
        sampler : Sampler
        sites : tuple of int
        """
        n_samples = moments.drawn_samples(sampler.coupled, sampler.representatives)
        n_units = sampler.how_many(n_samples, moments.n_sites, moments.given)
        n = n_samples * moments.n_sites
        require_memory(
            8.0 * (SPACE * n_units * n + MATRICES * (n**2 if moments.given else moments.n_sites**2)),
            f"{n_units} sampled units of {n_samples} inputs with {moments.n_sites} sites",
            "take fewer inputs, smaller ones or fewer `n_units`"
            + (" (exchangeable inputs need no matrix over all of them)" if moments.given else ""),
        )
        centred = moments - moments.outer(mean) if np.any(mean) else moments
        values = mean + centred.draw_fields(n_units, n_samples, sampler.next_rng())
        sources = (Integrated.of(tangents, values.shape),) if tangents.names else ()
        return cls(values, sources, moments, tangents.keep, sampler, sites)

    def replace(self, **changes: object) -> Units:
        """The units with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def _behind(self, values: np.ndarray, sources: Callable[[Source], Source]) -> Units:
        return self.replace(values=values, sources=tuple(map(sources, self.sources)))

    # -- maps -------------------------------------------------------------------------------------------------

    def elementwise(self, values: np.ndarray, slope: np.ndarray) -> Units:
        """Behind a map of every number by itself, with its slopes."""
        return self._behind(values, lambda source: source.times(slope))

    def picked(self, at: np.ndarray) -> Units:
        """Behind a choice of sites, (S, T, m), which may differ from unit to unit."""
        return self._behind(np.take_along_axis(self.values, at, axis=-1), lambda source: source.picked(at))

    def apart(self) -> Units:
        """Every unit at every site becomes a unit of its own, of one site."""
        if self.values.shape[-1] == 1:
            return self
        drawn = [self._with_tangents(of) if isinstance(of, Integrated) and of.couples else of for of in self.sources]
        n_units = len(self.values)
        return self.replace(values=apart(self.values), sources=tuple(of.apart(n_units) for of in drawn))

    def of_units(self, at: np.ndarray) -> Units:
        """These of the units, by their numbers."""
        return self._behind(self.values[at], lambda source: source.of_units(at))

    def less(self, values: np.ndarray, *projections: tuple[np.ndarray, np.ndarray]) -> Units:
        """Behind a map whose derivative is a product of I - u v^T, the first first."""
        units = self.replace(values=values)
        for u, v in projections:
            units = units._behind(values, lambda source, u=u, v=v: source.less(u, v))  # type: ignore[misc]
        return units

    def trained(self, *fields: np.ndarray) -> Units:
        """With parameters of each unit's own, of these derivatives (S, T, n)."""
        name = {"": "others", "standard": "only"}.get(self.keep.only)
        if name is None or self.keep.only == "none":
            return self
        shape = self.values.shape
        own = Own(Tangents(self.keep), (name,), tuple(np.broadcast_to(x, shape) for x in fields))
        return self.replace(sources=(*self.sources, own))

    def mapped(self, values: np.ndarray, jvp: Callable[[np.ndarray], np.ndarray], couples: bool) -> Units:
        """Behind any map, known by its derivative `jvp` along a tangent.

        Tangents are drawn, as nothing is known of the derivative's form.
        """
        sources = []
        for source in self.sources:
            if isinstance(source, Integrated):
                source = self._with_tangents(source)
            assert isinstance(source, Own | Drawn)
            sources.append(source.pushed(jvp) if isinstance(source, Own) else source.pushed(jvp, couples))
        return self.replace(values=values, sources=tuple(sources))

    def with_drawn_tangents(self) -> Units:
        """The units with tangents that two paths may share."""
        drawn = [self._with_tangents(of) if isinstance(of, Integrated) else of for of in self.sources]
        return self.replace(sources=tuple(drawn))

    def _with_tangents(self, source: Integrated) -> Drawn:
        """A source whose tangents are drawn, one field for each group of parameters."""
        n_units, n_samples = self.values.shape[:2]
        kernels, fields = source.kernels, []
        for name in kernels.names:
            z = kernels[name].draw_fields(n_units, n_samples, self.sampler.next_rng())
            fields.append(source.derivative.on(z, within_samples=source.couples and name[0] in WITHIN_SAMPLES))
        return Drawn(Tangents(self.keep), kernels.names, tuple(fields))

    def plus(self, other: Units, factor: float = 1.0) -> Units:
        """`factor` times these plus `other` ones.

        They are independent, or the same draws in part, by another path (`with_drawn_tangents`).
        """
        scaled = self if factor == 1 else self.elementwise(factor * self.values, np.array(factor))
        mine, theirs = scaled._beside(other), other._beside(scaled)
        values, sources = mine.values + theirs.values, joined_sources(mine.sources, theirs.sources)
        return self.replace(values=values, sources=sources, known=self.known and other.known)

    def times(self, other: Units) -> Units:
        """These times `other` ones, as in `plus`."""
        left, right = self._beside(other), other._beside(self)
        mine = tuple(source.times(right.values) for source in left.sources)
        theirs = tuple(source.times(left.values) for source in right.sources)
        sources = joined_sources(mine, theirs)
        return self.replace(values=left.values * right.values, sources=sources, known=self.known and other.known)

    def _beside(self, other: Units) -> Units:
        """As many as can be paired with others.

        Known ones stand as often as each other; drawn ones are repeated, or some are left out.
        """
        own, others = len(self.values), len(other.values)
        if own == others:
            return self
        n_known, n_drawn = (own, others) if self.known else (others, own)
        at = np.arange(n_known * max(1, n_drawn // n_known)) % own
        return self.of_units(at)

    # -- what the next weight layer sees ----------------------------------------------------------------------

    @cached_property
    def moments(self) -> Pairs:
        """Means over units of products at two (input, site)."""
        return self.like.products(self.values, self.values)

    @cached_property
    def mean(self) -> np.ndarray:
        """Means over units, as `State.mean`."""
        return self.like.mean_of_fields(self.values)

    @cached_property
    def tangents(self) -> Tangents:
        """Tangent kernels, means over units, by groups of parameters."""
        found = Tangents(self.keep)
        for source in self.sources:
            found = found.joined(source.tangents(self.like))
        return found

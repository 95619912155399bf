"""What travels through an infinitely wide network: moments of the units, and tangents of the parameters met so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .pairs import Given, Pairs

__all__ = ["Keep", "State", "Tangents", "WeightRecord"]


class Keep(NamedTuple):
    """What of the tangents is kept apart: all of it is merged unless somebody asks, so that memory does not grow.

    `shares`: the tangent kernel of every weight layer. `errors`: what q_tilde is read off. `signal`: moments on both
    sides of every weight layer.
    """

    shares: bool = True
    errors: bool = True
    signal: bool = True


@dataclass
class WeightRecord:
    """One weight layer of an infinitely wide network: what its units see, what leaves them."""

    seen: Pairs | None  # q_hat; None where nobody asks
    left: Pairs | None  # q
    fan_in: int
    fan_out: int
    sigma_w2: float
    bias: bool


class Tangents:
    r"""Tangent kernels of groups of parameters, one `Pairs` for each: products of a unit's derivatives.

    Groups are named by tuples. Their kernels map alike, so that exchangeable ones are stacked and cost one operation.

    ==================  =======================================================================================
    ("layer", l)        weights and biases of weight layer l
    ("weights",)        weights of all layers
    ("biases",)         biases of all layers
    ("others",)         parameters that are neither, such as gains
    ("ntk",)            weights and biases in NTK parameterisation: each in units of its standard deviation
    ("errors", l)       of a unit of weight layer l moved at one site, alone: :math:`\tilde q` once at the outputs
    ("features", l)     the same of what enters that layer, where several sites do
    ==================  =======================================================================================
    """

    def __init__(self, keep: Keep, names: Sequence[tuple] = (), parts: Sequence[Pairs] = ()):
        self.keep, self.names, self.parts = keep, tuple(names), list(parts)

    def map(
        self, function: Callable[[Pairs], Pairs], errors: Callable[[Pairs], Pairs] | None = None
    ) -> Tangents:
        """`function` of every kernel; `errors`, if it differs, of those of errors and features."""
        if errors is None:
            return self._like([function(part) for part in self.parts])
        of_errors = np.array([name[0] in ("errors", "features") for name in self.names], dtype=bool)
        if self._apart:
            chosen = zip(of_errors, self.parts, strict=True)
            return self._like([errors(part) if it_is else function(part) for it_is, part in chosen])

        def chosen_rows(one: np.ndarray, two: np.ndarray) -> np.ndarray:
            return np.where(of_errors.reshape(-1, *[1] * (one.ndim - 1)), two, one)

        return self._like([function(part).entrywise(chosen_rows, errors(part)) for part in self.parts])

    @property
    def _apart(self) -> bool:
        """Whether every kernel is a part of its own."""
        return bool(self.parts) and self.parts[0].given

    def _like(self, parts: Sequence[Pairs]) -> Tangents:
        return Tangents(self.keep, self.names, parts)

    def __getitem__(self, name: tuple) -> Pairs:
        if name not in self.names:
            raise KeyError(f"{name} is not among {self.names}")
        return self._kernel(self.names.index(name))

    def replace(self, name: tuple, kernel: Pairs) -> None:
        """Put an equal kernel in its place, which lies in memory that is kept anyway; of given inputs only."""
        self.parts[self.names.index(name)] = kernel

    def __contains__(self, name: tuple) -> bool:
        return name in self.names

    def _kernel(self, i: int) -> Pairs:
        return self.parts[i] if self._apart else self.parts[0].entrywise(lambda k: k[i])

    def total(self, *names: tuple) -> Pairs | None:
        """Sum of those groups that there are; None of none."""
        found = [self[name] for name in names if name in self]
        return sum(found[1:], start=found[0]) if found else None

    def add(self, *groups: tuple[tuple, Pairs]) -> Tangents:
        """With kernels, each with the name of its group: added to it, or a group of their own."""
        names, known, new = list(self.names), [], []
        for name, kernel in groups:
            # Those of one layer are met once.
            at = names.index(name) if len(name) == 1 and name in names else len(names)
            if at == len(names):
                names.append(name)
                new.append(kernel)
            else:
                known.append((at, kernel))
        if self._apart or (new and new[0].given):
            parts = [*self.parts, *new]
            for at, kernel in known:
                parts[at] = parts[at] + kernel
            return Tangents(self.keep, names, parts)
        rows = [kernel.entrywise(lambda k: k[None]) for kernel in new]
        first, *others = [*self.parts, *rows]

        def joined(*k: np.ndarray) -> np.ndarray:
            n = len(k) - len(known)
            whole = np.concatenate(k[:n])
            for (at, _), kernel in zip(known, k[n:], strict=True):
                whole[at] += kernel
            return whole

        return Tangents(
            self.keep, names, [first.entrywise(joined, *others, *(kernel for _, kernel in known))]
        )

    def joined(self, behind: Tangents, factor: float) -> Tangents:
        """`factor` times these, plus those `behind` them: of a block, which knows these and its own."""
        n = len(self.names)
        if n == 0:
            return behind
        assert behind.names[:n] == self.names
        if self._apart:
            both = [factor * one + two for one, two in zip(self.parts, behind.parts, strict=False)]
            return Tangents(self.keep, behind.names, [*both, *behind.parts[n:]])

        def added(k: np.ndarray, r: np.ndarray) -> np.ndarray:
            k = k.copy()
            k[:n] += factor * r
            return k

        return Tangents(self.keep, behind.names, [behind.parts[0].entrywise(added, self.parts[0])])


@dataclass(frozen=True)
class State:
    r"""A signal in an infinitely wide network, and how it depends on the parameters behind it.

    A layer's law, `Layer.propagate`, makes the next one. Three methods write most laws: `weighted` for layers that draw
    weights, `mapped` for those that act on units, `trained` for parameters that are no weights.

    Attributes
    ----------
    moments : Pairs
        Mean over units of the products at two (input, site).
    mean : ndarray, shape (*S, n) or (T, n)
        Mean over units, at every site (of every given input). It matters where a skip connection adds two signals.
    shape : tuple of int
        (channels, *sites) of the finite layer.
    gaussian : bool
        Whether the units are Gaussian over the draw of the weights, as `Pointwise` requires.
    tangents : Tangents
        Tangent kernels of a unit, as Pairs.
    records : tuple of WeightRecord
        Of the weight layers met so far.
    """

    moments: Pairs
    mean: np.ndarray
    shape: tuple[int, ...]
    gaussian: bool
    tangents: Tangents
    records: tuple[WeightRecord, ...] = ()

    @property
    def n_samples(self) -> int | None:
        """T; None: infinitely many."""
        return self.moments.n_samples

    def replace(self, **changes: Any) -> State:
        """The state with some fields changed."""
        return replace(self, **changes)

    def mapped(
        self,
        moments: Pairs,
        tangents: Callable[[Pairs], Pairs],
        *,
        mean: np.ndarray | None = None,
        errors: Callable[[Pairs], Pairs] | None = None,
        shape: tuple[int, ...] | None = None,
        gaussian: bool | None = None,
    ) -> State:
        r"""Behind a map of the units: :math:`\Theta \to E[J \Theta J^T]`, J its derivative.

        Parameters
        ----------
        moments : Pairs
            Of what leaves.
        tangents : callable
            Maps a tangent kernel, Pairs to Pairs; linear.
        mean : ndarray
            Over units, of what leaves. Default: unchanged.
        errors : callable
            The same for errors of a sample by its own units, where it differs: in layers that couple samples.
        shape, gaussian
            Of what leaves. Default: unchanged.
        """
        return self.replace(
            moments=moments,
            mean=self.mean if mean is None else mean,
            shape=self.shape if shape is None else shape,
            gaussian=self.gaussian if gaussian is None else gaussian,
            tangents=self.tangents.map(tangents, errors),
        )

    def weighted(
        self,
        shape: tuple[int, ...],
        *,
        fan_in: int,
        sigma_w2: float,
        sigma_b2: float = 0.0,
        bias: bool = True,
        sees: Callable[[Pairs], Pairs] | None = None,
    ) -> State:
        r"""Behind weights of variance ``sigma_w2 / fan_in`` and biases of variance `sigma_b2`.

        With A what the units see of the moments below, :math:`Q = \sigma_w^2 A(K) + \sigma_b^2`,
        :math:`\Theta \to \sigma_w^2 A(\Theta)`, and the parameters' own kernel is :math:`n A(K)` (n: `fan_in`) of
        weights, 1 of biases (one for all sites).

        Parameters
        ----------
        shape : tuple of int
            Of what leaves, (channels, *sites).
        fan_in : int
            Weights of a unit.
        bias : bool
            Whether there are bias parameters.
        sees : callable, optional
            A, Pairs to Pairs, linear: of a convolution the average over its taps. Default: the moments themselves.
        """
        seen = self.moments if sees is None else sees(self.moments)
        left = sigma_w2 * seen + sigma_b2
        keep, layer = self.tangents.keep, len(self.records)

        def passed(kernel: Pairs) -> Pairs:
            return sigma_w2 * (kernel if sees is None else sees(kernel))

        tangents = self.tangents.map(passed)
        weights, biases = fan_in * seen, seen.ones()
        groups: list[tuple[tuple, Pairs]] = [(("weights",), weights), (("ntk",), left)]
        if bias:
            groups.append((("biases",), biases))
        if keep.shares:
            groups.append((("layer", layer), weights + float(bias)))
        if keep.errors:
            groups.append((("errors", layer), left.same_sites()))
            if self.moments.n_sites > 1 or seen.n_sites > 1:
                groups.append((("features", layer), passed(self.moments.same_sites())))
        tangents = tangents.add(*groups)
        kept_seen, kept_left = (seen, left) if keep.signal else (None, None)
        record = WeightRecord(kept_seen, kept_left, fan_in, shape[0], sigma_w2, bias)
        return self.replace(
            moments=left,
            mean=np.zeros_like(left.variance),
            shape=shape,
            gaussian=True,
            tangents=tangents,
            records=(*self.records, record),
        )

    def trained(self, kernel: Pairs) -> State:
        """With parameters that are no weights; `kernel`: products of a unit's derivatives by them, at this place."""
        return self.replace(tangents=self.tangents.add((("others",), kernel)))

    def joined(self, branch: State, skip: float) -> State:
        """Behind a skip connection: `skip` times this signal plus a `branch` of it, drawn independently of it."""
        moments = skip**2 * self.moments + branch.moments
        if np.any(self.mean) and np.any(branch.mean):
            moments = moments + 2 * skip * branch.moments.outer(self.mean, branch.mean)
        return branch.replace(
            moments=moments,
            mean=skip * self.mean + branch.mean,
            gaussian=self.gaussian and branch.gaussian,
            tangents=self.tangents.joined(branch.tangents, skip**2),
        )


def given_moments(inputs: np.ndarray) -> Given:
    """Of given inputs (T, channels, *sites)."""
    n_samples, channels = inputs.shape[:2]
    x = inputs.reshape(n_samples, channels, -1)
    n = x.shape[2]
    if n == 1:
        gram = x[..., 0] @ x[..., 0].T
        gram /= channels
        return Given(gram[..., None, None])
    rows = x.swapaxes(1, 2).reshape(n_samples * n, channels)
    gram = rows @ rows.T
    gram /= channels
    return Given(gram.reshape(n_samples, n, n_samples, n).swapaxes(1, 2))

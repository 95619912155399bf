"""What travels through an infinitely wide network: moments, and tangents.

Moments are of the units, tangents of the parameters met so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .pairs import ALL, SAME, Between, Given, Pairs, SitePairs

if TYPE_CHECKING:
    from .units import Sampler, Units

__all__ = ["ONLY_MOMENTS", "Keep", "State", "Tangents", "WeightRecord"]

FAINT = 1e-100  # a variance from which cubes and smaller factors underflow to 0


class Keep(NamedTuple):
    """What of the tangents and moments is kept apart.

    All of it is merged unless somebody asks, so that memory does not grow.

    Attributes
    ----------
    shares : bool
        The tangent kernel of every weight layer.
    errors : bool
        What q_tilde is read off.
    signal : bool
        Moments on both sides of every weight layer.
    only : {"", "standard", "ntk", "none"}
        One group of all parameters in that parameterisation, ("only",), or none, in place of the merged groups.
    """

    shares: bool = True
    errors: bool = True
    signal: bool = True
    only: str = ""


ONLY_MOMENTS = Keep(shares=False, errors=False, signal=False, only="none")


@dataclass
class WeightRecord:
    r"""One weight layer of an infinitely wide network.

    Attributes
    ----------
    seen : Pairs or None
        Moments of what its units see, q_hat; None where they are not kept.
    left : Pairs or None
        Moments of what leaves them, q.
    fan_in, fan_out : int
        Numbers that a unit reads, and channels that leave.
    sigma_w2 : float
        Variance of a weight times `fan_in`.
    bias : bool
        Whether there are bias parameters.
    variance : ndarray or None
        q at every site, shape (\*S, n) or (T, n); None where moments are not kept.
    sites : tuple of int
        How the n sites lie; () for one.
    """

    seen: Pairs | None
    left: Pairs | None
    fan_in: int
    fan_out: int
    sigma_w2: float
    bias: bool
    variance: np.ndarray | None = None
    sites: tuple[int, ...] = ()


class Tangents:
    r"""Tangent kernels of groups of parameters, one `Pairs` for each.

    A kernel holds products of a unit's derivatives by the parameters of its group, summed over them.

    Groups are named by tuples. Their kernels map alike, so that exchangeable ones are stacked and cost one operation.

    ==================  =======================================================================================
    ("layer", l)        weights and biases of weight layer l
    ("weights",)        weights of all layers
    ("biases",)         biases of all layers
    ("others",)         parameters that are neither, such as gains
    ("ntk",)            weights and biases in NTK parameterisation: each in units of its standard deviation
    ("only",)           all parameters, where `Keep.only` asks for nothing else
    ("errors", l)       of a unit of weight layer l moved at one site, alone: :math:`\tilde q` once at the outputs
    ("features", l)     the same of what enters that layer, where several sites do
    ==================  =======================================================================================

    Parameters
    ----------
    keep : Keep
        Which of the groups of single layers there are.
    names : sequence of tuple
        Of the groups.
    parts : sequence of Pairs
        Kernels of given inputs, in the order of `names`; of exchangeable ones a single `Exchangeable`, the kernels
        along its first axis.
    """

    def __init__(self, keep: Keep, names: Sequence[tuple] = (), parts: Sequence[Pairs] = ()):
        self.keep, self.names, self.parts = keep, tuple(names), list(parts)

    def map(self, function: Callable[[Pairs], Pairs], errors: Callable[[Pairs], Pairs] | None = None) -> Tangents:
        """`function` of every kernel.

        Parameters
        ----------
        function : callable
            Pairs to Pairs.
        errors : callable, optional
            The same for the groups of errors and features, where it differs.
        """
        if errors is None:
            return self._like([function(part) for part in self.parts])
        of_errors = np.array([name[0] in ("errors", "features") for name in self.names], dtype=bool)
        if self._apart:
            chosen = zip(of_errors, self.parts, strict=True)
            return self._like([errors(part) if it_is else function(part) for it_is, part in chosen])

        if of_errors.all() or not of_errors.any():
            return self._like([(errors if of_errors.all() else function)(part) for part in self.parts])

        def joined_rows(one: np.ndarray, two: np.ndarray) -> np.ndarray:
            whole = np.empty((len(of_errors), *one.shape[1:]))
            whole[~of_errors], whole[of_errors] = one, two
            return whole

        (part,) = self.parts
        rest, own = (part.entrywise(lambda k, rows=rows: k[rows]) for rows in (~of_errors, of_errors))
        # The blocks of both have the shapes of one kind, but for the number of rows.
        return self._like([function(rest).entrywise(joined_rows, errors(own))])

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
        """Put an equal kernel in the place of one, in place; of given inputs only.

        It saves memory: the new one lies where another array is kept anyway.
        """
        self.parts[self.names.index(name)] = kernel

    def __contains__(self, name: tuple) -> bool:
        return name in self.names

    def _kernel(self, i: int) -> Pairs:
        return self.parts[i] if self._apart else self.parts[0].entrywise(lambda k: k[i])

    def total(self, *names: tuple) -> Pairs | None:
        """Sum of the kernels of those groups that there are; None of none."""
        found = [self[name] for name in names if name in self]
        return sum(found[1:], start=found[0]) if found else None

    def add(self, *groups: tuple[tuple, Pairs]) -> Tangents:
        """With more kernels, each with the name of its group.

        A kernel is added to the group of that name, or becomes a group of its own.
        """
        if not groups:
            return self
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

        return Tangents(self.keep, names, [first.entrywise(joined, *others, *(kernel for _, kernel in known))])

    def joined(self, other: Tangents, factor: float = 1.0) -> Tangents:
        """`factor` times these, plus the `other` ones, group by group.

        A group that only one of them knows stays as it is there. Of a block and what passes beside it.
        """
        if not self.names:
            return other
        if not other.names:
            return self.map(lambda kernel: factor * kernel)
        new = [name for name in self.names if name not in other.names]
        at = [other.names.index(name) for name in self.names if name not in new]
        shared = [name not in new for name in self.names]
        names = (*other.names, *new)
        if self._apart:
            known, place = list(other.parts), iter(at)
            for part, there in zip(self.parts, shared, strict=True):
                if there:
                    i = next(place)
                    known[i] = factor * part + known[i]
                else:
                    known.append(factor * part)
            return Tangents(self.keep, names, known)

        def added(k: np.ndarray, r: np.ndarray) -> np.ndarray:
            whole = np.concatenate([k, factor * r[~np.array(shared)]])
            whole[at] += factor * r[shared]
            return whole

        return Tangents(self.keep, names, [other.parts[0].entrywise(added, self.parts[0])])


@dataclass(frozen=True)
class State:
    r"""A signal in an infinitely wide network, and how it depends on parameters.

    A layer's law, `Layer.propagate`, makes the next one. Three methods write most laws: `weighted` for layers that draw
    weights, `mapped` for those that act on units, `trained` for parameters that are no weights.

    Attributes
    ----------
    n_samples : int or None
        T; None: infinitely many.
    moments : Pairs
        Mean over units of the products at two (input, site).
    mean : ndarray, shape (\*S, n) or (T, n)
        Mean over units, at every site (of every given input). It matters where a skip connection adds two signals.
    shape : tuple of int
        (channels, \*sites) of the finite layer.
    gaussian : bool
        Whether the units are Gaussian over the draw of the weights, as `Pointwise` requires.
    tangents : Tangents
        Tangent kernels of a unit, as Pairs.
    records : tuple of WeightRecord
        Of the weight layers met so far.
    faint : bool, or ndarray of bool of shape S or (T,)
        Whether the signal of an input has been so weak, but not 0, that a variance of 0 may be an underflow.
    sampler : Sampler or None
        How units are drawn where a layer needs them; None: not at all.
    units : Units or None
        Sampled units, where there are some: moments, mean and tangents of the state are then those before it, and
        stale. Only layers that act on units are handed such a state (`Layer.acts_on_units`).
    origin : callable or None
        Makes the units of a signal that is not Gaussian.
    """

    moments: Pairs
    mean: np.ndarray
    shape: tuple[int, ...]
    gaussian: bool
    tangents: Tangents
    records: tuple[WeightRecord, ...] = ()
    faint: Any = False
    sampler: Sampler | None = None
    units: Units | None = None
    origin: Callable[[], Units] | None = None

    @property
    def n_samples(self) -> int | None:
        """T, the number of inputs; None: infinitely many."""
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
        r"""The state behind a map of the units.

        Tangent kernels become :math:`E[J \Theta J^T]`, J the derivative of the map.

        Parameters
        ----------
        moments : Pairs
            Of what leaves.
        tangents : callable
            Maps a tangent kernel, Pairs to Pairs; linear.
        mean : ndarray, shape (\*S, n) or (T, n), optional
            Over units, of what leaves. Default: unchanged.
        errors : callable, optional
            The same as `tangents` for errors of a sample by its own units, where it differs: in layers that couple
            samples.
        shape : tuple of int, optional
            (channels, \*sites) of what leaves. Default: unchanged.
        gaussian : bool, optional
            Whether what leaves is Gaussian. Default: as what enters.
        """
        return self.replace(
            moments=moments,
            mean=self.mean if mean is None else mean,
            shape=self.shape if shape is None else shape,
            gaussian=self.gaussian if gaussian is None else gaussian,
            tangents=self.tangents.map(tangents, errors),
            origin=None,
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
        trains: Callable[[Pairs], Pairs] | None = None,
    ) -> State:
        r"""The state behind random weights and biases.

        Weights have variance ``sigma_w2 / fan_in``, biases `sigma_b2`. With A what the units see of the moments
        below, :math:`Q = \sigma_w^2 A(K) + \sigma_b^2`, :math:`\Theta \to \sigma_w^2 A(\Theta)`, and the parameters'
        own kernel is :math:`n A(K)` (n: `fan_in`) of weights, 1 of biases (one for all sites).

        Parameters
        ----------
        shape : tuple of int
            Of what leaves, (channels, \*sites).
        fan_in : int
            n, the weights of a unit.
        sigma_w2, sigma_b2 : float
            Variances of a weight times `fan_in`, and of a bias.
        bias : bool
            Whether there are bias parameters.
        sees : callable, optional
            A, Pairs to Pairs, linear: of a convolution the average over its taps. Default: the moments themselves.
        trains : callable, optional
            The same for the weights' own kernel, where more of them are trained than are drawn: those that start at
            zero. Default: `sees`.
        """
        seen = self.moments if sees is None else sees(self.moments)
        left = sigma_w2 * seen + sigma_b2
        own = fan_in * (seen if trains is None else trains(self.moments))
        keep, layer = self.tangents.keep, len(self.records)

        def passed(kernel: Pairs) -> Pairs:
            return sigma_w2 * (kernel if sees is None else sees(kernel))

        tangents = self.tangents.map(passed)
        groups: list[tuple[tuple, Pairs]] = []
        if not keep.only:
            groups += [(("weights",), own), (("ntk",), left)]
            if bias:
                groups.append((("biases",), seen.ones()))
        elif keep.only != "none":
            groups.append((("only",), left if keep.only == "ntk" else own + float(bias)))
        if keep.shares:
            groups.append((("layer", layer), own + float(bias)))
        if keep.errors:
            groups.append((("errors", layer), left.same_sites()))
            if self.moments.n_sites > 1 or seen.n_sites > 1:
                groups.append((("features", layer), passed(self.moments.same_sites())))
        tangents = tangents.add(*groups)
        kept_seen, kept_left = (seen, left) if keep.signal else (None, None)
        variance = left.variance
        at_sites = variance if keep.signal else None
        record = WeightRecord(kept_seen, kept_left, fan_in, shape[0], sigma_w2, bias, at_sites, shape[1:])
        return self.replace(
            moments=left,
            mean=np.zeros_like(variance),
            shape=shape,
            gaussian=True,
            tangents=tangents,
            records=(*self.records, record),
            origin=None,
            faint=self.faint | np.any((variance > 0) & (variance < FAINT), axis=-1),
        )

    def trained(self, kernel: Pairs) -> State:
        """The state with parameters that are no weights.

        `kernel` holds the products of a unit's derivatives by them, at this place.
        """
        name = {"": "others", "standard": "only"}.get(self.tangents.keep.only)
        return self.replace(tangents=self.tangents.add(((name,), kernel))) if name else self

    def joined(self, branch: State, skip: float = 1.0) -> State:
        """The state behind a skip connection: `skip` times this one plus a `branch`.

        Both are functions of one signal with weights that are independent of each other. The records are those of
        `branch`, which met all weight layers of this one before its own or had them handed over.
        """
        moments = skip**2 * self.moments + branch.moments
        if np.any(self.mean) and np.any(branch.mean):
            moments = moments + 2 * skip * branch.moments.outer(self.mean, branch.mean)
        return branch.replace(
            moments=moments,
            mean=skip * self.mean + branch.mean,
            gaussian=self.gaussian and branch.gaussian,
            tangents=self.tangents.joined(branch.tangents, skip**2),
        )


def given_moments(inputs: np.ndarray, others: np.ndarray | None = None, sites: SitePairs = ALL) -> Pairs:
    """Moments of given inputs (T, channels, *sites): means over their channels.

    Of pairs of them, or of pairs of an input and one of `others`; at all pairs of sites, or at the same.
    """
    if sites is SAME:
        # One product of matrices for every site.
        x, y = (np.moveaxis(_of_sites(inputs if of is None else of), 2, 0) for of in (None, others))
        gram = np.moveaxis(x @ y.swapaxes(1, 2), 0, -1) / inputs.shape[1]
        if others is None:
            return Given(gram, SAME)
        rows, columns = (np.mean(_of_sites(of) ** 2, axis=1) for of in (inputs, others))
        return Between(rows, columns, gram, SAME)
    if others is not None:
        rows, columns = (np.einsum("tcx,tcy->txy", of, of) / of.shape[1] for of in map(_of_sites, (inputs, others)))
        return Between(rows, columns, _gram(inputs, others))
    return Given(_gram(inputs, inputs))


def _of_sites(inputs: np.ndarray) -> np.ndarray:
    return inputs.reshape(*inputs.shape[:2], -1)


def _gram(inputs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Means over channels of products at all sites, (T, T', n, n)."""
    rows, columns = (_of_sites(of).swapaxes(1, 2).reshape(-1, of.shape[1]) for of in (inputs, others))
    gram = rows @ (rows.T if others is inputs else columns.T)  # a matrix times its transpose is symmetric
    gram /= inputs.shape[1]
    n = len(rows) // len(inputs)
    return gram.reshape(len(inputs), n, len(others), n).swapaxes(1, 2)

"""Tangent kernels of groups of parameters, and what is kept of a recursion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .pairs import Pairs

__all__ = ["ONLY_MOMENTS", "Keep", "Tangents", "WeightRecord"]


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

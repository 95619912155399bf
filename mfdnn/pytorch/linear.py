"""A module at a batch, or at several, to first order, in NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..jobs.watch import stop_if_asked
from ._torch import torch
from .graph import Graph
from .inputs import require_matrix
from .memory import rows

__all__ = ["BatchedLinear", "ModuleLinear", "flat", "numpy_of"]

# Bytes of the graph times products that are passed at once: the cache of a processor; elsewhere memory is quicker.
AT_ONCE, AT_ONCE_ELSEWHERE, MOST = 2**25, 2**30, 64


class ModuleLinear:
    """A module at a batch, to first order; a `mfdnn.sampled.Linear`.

    Attributes
    ----------
    inputs : object
        The batch as it came.
    outputs : ndarray, shape (T, C)
    graph : Graph
        The same in tensors.
    """

    def __init__(self, graph: Graph, inputs: Any, one: Any):
        self.graph, self.inputs, self._one = graph, inputs, one
        self.outputs = numpy_of(graph.outputs, one.dtype)
        self._width: int | None = None

    def jvp(self, v: np.ndarray) -> np.ndarray:
        """J v (T, C) for v (P,)."""
        return numpy_of(self.graph.jvp(self._one.unflatten(v)), self._one.dtype)

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """J^T u (P,) for u (T, C)."""
        return self._one.flatten(self.graph.vjp(self._tensor(u)))

    def jvps(self, V: np.ndarray) -> np.ndarray:
        """J v (b, T, C) of each v of (b, P)."""
        return self._blocks(
            V, lambda some: numpy_of(self.graph.jvp(self._one.unflatten(some), True), self._one.dtype)
        )

    def vjps(self, U: np.ndarray) -> np.ndarray:
        """J^T u (b, P) of each u of (b, T, C)."""
        return self._blocks(
            U, lambda some: self._one.flatten(self.graph.vjp(self._tensor(some), True), len(some))
        )

    def products(self, U: np.ndarray) -> np.ndarray:
        """J J^T u (b, T, C) of each u of (b, T, C), on the device in between."""
        return self._blocks(
            U, lambda some: numpy_of(self.graph.product(self._tensor(some), True), self._one.dtype)
        )

    def _blocks(self, vectors: np.ndarray, each: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """So many at a time as a graph may pass at once."""
        self._width = self._width or _width(self._one, self.inputs)
        parts = []
        for start in range(0, len(vectors), self._width):
            stop_if_asked()
            parts.append(each(vectors[start : start + self._width]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _tensor(self, u: np.ndarray) -> Any:
        outputs = self.graph.outputs
        return torch.from_numpy(np.array(u)).to(device=outputs.device, dtype=outputs.dtype)


class BatchedLinear:
    """A module at several batches, each by itself; a `mfdnn.sampled.Linear`.

    Parameters
    ----------
    batches : list
        Inputs.
    inputs : object
        All of them in one.
    one : ModuleOperator, which made this
    keep : bool
        Whether the graphs are kept; else each is built again for every product, and one is there at a time.
    """

    def __init__(self, batches: Sequence[Any], inputs: Any, one: Any, keep: bool):
        self.inputs, self._one, self._batches = inputs, one, batches
        self._graphs = [one.graph(X) for X in batches] if keep else None
        found = (
            [graph.outputs for graph in self._graphs] if self._graphs else [one.values(X) for X in batches]
        )
        for outputs in found:
            require_matrix(outputs)
        self.outputs = numpy_of(torch.cat(found), one.dtype)
        lengths = np.cumsum([0, *map(len, found)])
        self._parts = [slice(a, b) for a, b in pairwise(lengths)]
        self._like = found[0]
        self._width = _width(one, batches[0])

    def jvp(self, v: np.ndarray) -> np.ndarray:
        """J v (T, C) for v (P,)."""
        return self.jvps(v[None])[0]

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """J^T u (P,) for u (T, C)."""
        return self.vjps(u[None])[0]

    def jvps(self, V: np.ndarray) -> np.ndarray:
        """J v (b, T, C) of each v of (b, P)."""
        found = [self._push(self._one.unflatten(V[some])) for some in self._some(len(V))]
        return np.concatenate(found)

    def vjps(self, U: np.ndarray) -> np.ndarray:
        """J^T u (b, P), sums over the batches, of each u of (b, T, C)."""
        found = [
            self._one.flatten(self._pull(U[some]), some.stop - some.start) for some in self._some(len(U))
        ]
        return np.concatenate(found)

    def products(self, U: np.ndarray) -> np.ndarray:
        """J J^T u (b, T, C) of each u of (b, T, C)."""
        return np.concatenate([self._push(self._pull(U[some])) for some in self._some(len(U))])

    def _some(self, n: int) -> Iterator[slice]:
        for start in range(0, n, self._width):
            stop_if_asked()
            yield slice(start, min(start + self._width, n))

    def _each(self) -> Iterator[tuple[slice, Graph]]:
        for part, X, i in zip(self._parts, self._batches, range(len(self._parts)), strict=True):
            yield part, self._graphs[i] if self._graphs else self._one.graph(X)

    def _pull(self, U: np.ndarray) -> list[Any]:
        total: list[Any] = []
        for part, graph in self._each():
            u = torch.from_numpy(np.array(U[:, part])).to(device=self._like.device, dtype=self._like.dtype)
            found = graph.vjp(u, True)
            total = found if not total else [a.add_(b) for a, b in zip(total, found, strict=True)]
        return total

    def _push(self, V: Sequence[Any]) -> np.ndarray:
        return np.concatenate(
            [numpy_of(graph.jvp(V, True), self._one.dtype) for _, graph in self._each()], axis=1
        )


def _width(one: Any, X: Any) -> int:
    """How many products of a graph at X are worth passing at once.

    Many where each is small, one where it fills the cache of a processor.
    """
    room = AT_ONCE if one.tensors[0].device.type == "cpu" else AT_ONCE_ELSEWHERE
    known = one.kept(X)
    each = 2**20 if known is None else known.at(rows(X) or 1)
    return max(1, min(MOST, int(room / (each + 2 * one.dtype.itemsize * one.n_parameters))))


def numpy_of(tensor: Any, dtype: np.dtype) -> np.ndarray:
    """A tensor as an array."""
    return np.asarray(tensor.detach().cpu().numpy(), dtype)


def flat(tensors: Sequence[Any], dtype: np.dtype, n: int | None = None) -> np.ndarray:
    """One vector, or n of them where tensors have a first axis of that length."""
    shape = (-1,) if n is None else (n, -1)
    return np.concatenate([numpy_of(t, dtype).reshape(shape) for t in tensors], axis=-1)

"""What a graph keeps of a forward pass, measured on a few samples beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .._support.memory import available_memory
from ._torch import torch

__all__ = ["Kept", "free_memory", "kept", "rows", "several", "taken"]

SAMPLES = 2, 4  # that are passed forward to tell what each of them takes


class Kept(NamedTuple):
    """Bytes that a retained graph keeps: whatever the batch, and for each sample."""

    always: float
    each: float

    def at(self, n_samples: int) -> float:
        """Bytes for a batch of so many."""
        return self.always + self.each * n_samples


def several(X: Any) -> list[Any]:
    """Tensors and arrays of a batch."""
    values = X.values() if isinstance(X, Mapping) else X if isinstance(X, tuple) else (X,)
    return [value for value in values if getattr(value, "ndim", 0)]


def rows(X: Any) -> int | None:
    """T where all tensors of a batch have as many rows, else None."""
    lengths = {len(value) for value in several(X)}
    return lengths.pop() if len(lengths) == 1 else None


def taken(X: Any, part: slice) -> Any:
    """Some samples of a batch."""

    def of(value: Any) -> Any:
        return value[part] if getattr(value, "ndim", 0) else value

    if isinstance(X, Mapping):
        return {key: of(value) for key, value in X.items()}
    return tuple(map(of, X)) if isinstance(X, tuple) else of(X)


def kept(one: Any, X: Any) -> Kept | None:
    """What the graph of `one` keeps, from passes over a few samples.

    None where these cannot be taken.
    """
    n_samples = rows(X)
    if n_samples is None or n_samples < 2 * SAMPLES[1]:
        return None
    found = []
    for n in SAMPLES:
        try:
            found.append(_bytes(one, taken(X, slice(n))))
        except Exception:  # what is wrong with all samples is told when they are passed
            return None
    each = (found[1] - found[0]) / (SAMPLES[1] - SAMPLES[0])
    return Kept(max(found[0] - SAMPLES[0] * each, 0.0), each) if each > 0 else None


def _bytes(one: Any, X: Any) -> float:
    """Bytes of what is saved for both graphs, beside parameters."""
    one.examine(X)  # whose graphs are not counted
    held: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        plain = tensor.detach()  # or a graph would hold itself
        held.setdefault(plain.untyped_storage().data_ptr(), plain)
        return plain

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        graph = one.graph(X, True)
        graph.build()
    own = {p.untyped_storage().data_ptr() for p in one.module.parameters()}
    own |= {p.untyped_storage().data_ptr() for p in graph.parameters}
    return float(sum(t.untyped_storage().nbytes() for at, t in held.items() if at not in own))


def free_memory(device: Any) -> float:
    """Bytes that may be taken on a device; inf where it does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        return available_memory()
    return float("inf")

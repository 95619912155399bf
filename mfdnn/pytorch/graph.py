"""One forward pass of a module, its graph kept for any number of products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ._torch import torch

__all__ = ["Graph", "in_words"]


class Graph:
    r"""The outputs of a module and the products with their Jacobian J, as tensors.

    :math:`J^T u` is ``autograd.grad(outputs, parameters, u)``. It is linear in u, so that its own derivative by u is J:
    :math:`J v` is ``autograd.grad(J^T u, u, v)``. Both graphs are built once, the second when it is first needed, and
    nothing is passed forward again.

    Parameters
    ----------
    outputs : Tensor
        With their graph; any shape.
    parameters : sequence of Tensor
        Those that J has columns for, leaves of the graph.
    guard : callable, optional
        What every pass runs in, a context of its own each: of a module that passes forward again in a backward pass.

    Attributes
    ----------
    outputs : Tensor
        Detached.
    parameters : list of Tensor
    """

    def __init__(
        self,
        outputs: Any,
        parameters: Sequence[Any],
        guard: Callable[[], AbstractContextManager] | None = None,
    ):
        self._guard: Callable[[], AbstractContextManager] = guard or nullcontext
        self.outputs, self.parameters = outputs.detach(), list(parameters)
        self._outputs = outputs
        self._u: Any = None  # where J^T u is taken, which is linear: anywhere
        self._pulled: list[tuple[int, Any]] = []  # its parts, with the parameters they belong to
        self._batches = True

    @property
    def with_history(self) -> Any:
        """The outputs with their graph."""
        return self._outputs

    def vjp(self, u: Any, batched: bool = False) -> list[Any]:
        """J^T u, a tensor for each parameter.

        Parameters
        ----------
        u : Tensor
            Of the shape of the outputs; `batched`: several of them, along a first axis that every tensor returned has
            too.
        """
        found = self._grad([self._outputs], self.parameters, [u], batched)
        shape = (len(u),) if batched else ()
        return [
            p.new_zeros(shape + p.shape) if g is None else g
            for g, p in zip(found, self.parameters, strict=True)
        ]

    def jvp(self, v: Sequence[Any], batched: bool = False) -> Any:
        """J v, of the shape of the outputs.

        Parameters
        ----------
        v : sequence of Tensor
            One of the shape of each parameter; `batched`: several along a first axis.
        """
        self.build()
        found = None
        if self._pulled:
            along = [v[i] for i, _ in self._pulled]
            (found,) = self._grad([g for _, g in self._pulled], [self._u], along, batched)
        if found is None:
            return self.outputs.new_zeros(((len(v[0]),) if batched else ()) + self.outputs.shape)
        return found

    def product(self, u: Any, batched: bool = False) -> Any:
        """J J^T u, of the shape of u."""
        return self.jvp(self.vjp(u, batched), batched)

    def build(self) -> None:
        """The second graph, of J^T u; for `jvp`."""
        if self._u is not None:
            return
        self._u = torch.zeros_like(self.outputs, requires_grad=True)
        with torch.inference_mode(False), torch.enable_grad(), in_words(), self._guard():
            pulled = torch.autograd.grad(
                self._outputs, self.parameters, self._u, create_graph=True, allow_unused=True
            )
        self._pulled = [(i, g) for i, g in enumerate(pulled) if g is not None and g.requires_grad]

    def _grad(self, of: list[Any], by: Sequence[Any], along: list[Any], batched: bool) -> Sequence[Any]:
        def grad(along: list[Any], at_once: bool) -> Sequence[Any]:
            return torch.autograd.grad(
                of, by, along, retain_graph=True, allow_unused=True, is_grads_batched=at_once
            )

        with in_words(), self._guard():
            if not batched:
                return grad(along, False)
            if self._batches and len(along[0]) > 1:
                try:
                    return grad(along, True)
                except (RuntimeError, NotImplementedError):  # an operation that `torch.vmap` does not know
                    self._batches = False
            each = [grad([a[i] for a in along], False) for i in range(len(along[0]))]
        return [None if parts[0] is None else torch.stack(parts) for parts in zip(*each, strict=True)]


@contextmanager
def in_words() -> Iterator[None]:
    """What autograd cannot do, in a sentence."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        why = str(error).partition("\n")[0].strip(" .")
        if "out of memory" in why or "allocate" in why:
            raise MemoryError(
                f"Products with the Jacobian do not fit ({why:.200}); pass fewer samples."
            ) from error
        if (
            "inplace operation" in why
            or "backward through" in why
            or "derivative" in why
            or "ifferentiable" in why
        ):
            raise ValueError(
                f"`module` has an operation that cannot be differentiated as products with its Jacobian need it "
                f"({why:.200}); write that one with others."
            ) from error
        raise

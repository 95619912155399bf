"""One forward pass of a module, its graph retained for any number of Jacobian products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._torch import torch

__all__ = ["Graph"]


class Graph:
    r"""The outputs of a module and the products with their Jacobian J, as tensors.

    :math:`J^T u` is ``autograd.grad(outputs, parameters, u)``. It is linear in u, so that its own derivative by u is J:
    :math:`J v` is ``autograd.grad(J^T u, u, v)``. Both graphs are built once, and nothing is passed forward again.

    Parameters
    ----------
    outputs : Tensor
        With their graph; any shape.
    parameters : sequence of Tensor
        Those that J has columns for, leaves of the graph.

    Attributes
    ----------
    outputs : Tensor
        Detached.
    parameters : list of Tensor
    """

    def __init__(self, outputs: Any, parameters: Sequence[Any]):
        self.outputs, self.parameters = outputs.detach(), list(parameters)
        self._outputs = outputs
        self._u = torch.zeros_like(outputs, requires_grad=True)
        self._used: list[int] = []
        self._pulled: list[Any] = []
        if outputs.requires_grad:
            with torch.enable_grad():
                pulled = torch.autograd.grad(
                    outputs, self.parameters, self._u, create_graph=True, allow_unused=True
                )
            self._used = [i for i, g in enumerate(pulled) if g is not None and g.requires_grad]
            self._pulled = [pulled[i] for i in self._used]

    @property
    def used(self) -> list[int]:
        """Which parameters the outputs depend on."""
        return list(self._used)

    def vjp(self, u: Any, batched: bool = False) -> list[Any]:
        """J^T u, a tensor for each parameter.

        Parameters
        ----------
        u : Tensor
            Of the shape of the outputs; `batched`: several of them, along a first axis that every tensor returned has
            too.
        """
        found = self._grad(self._outputs, [self.parameters[i] for i in self._used], [u], batched)
        known = dict(zip(self._used, found, strict=True))
        shape = (len(u),) if batched else ()
        return [
            known[i] if i in known else p.new_zeros(shape + p.shape) for i, p in enumerate(self.parameters)
        ]

    def jvp(self, v: Sequence[Any], batched: bool = False) -> Any:
        """J v, of the shape of the outputs.

        Parameters
        ----------
        v : sequence of Tensor
            One of the shape of each parameter; `batched`: with several along a first axis.
        """
        along = [v[i] for i in self._used]
        if not along:
            shape = (len(v[0]),) if batched else ()
            return self.outputs.new_zeros(shape + self.outputs.shape)
        return self._grad(self._pulled, [self._u], along, batched)[0]

    def product(self, u: Any, batched: bool = False) -> Any:
        """J J^T u, of the shape of u."""
        return self.jvp(self.vjp(u, batched), batched)

    def _grad(self, of: Any, by: Sequence[Any], along: Sequence[Any], batched: bool) -> list[Any]:
        if not by:
            return []
        of = of if isinstance(of, list) else [of]
        found = torch.autograd.grad(
            of, by, along, retain_graph=True, allow_unused=True, is_grads_batched=batched
        )
        shape = (len(along[0]),) if batched else ()
        return [p.new_zeros(shape + p.shape) if g is None else g for g, p in zip(found, by, strict=True)]

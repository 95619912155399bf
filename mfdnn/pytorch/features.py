"""How the outputs of a module depend on what enters its weight layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._torch import torch
from .inputs import converted
from .linear import numpy_of

__all__ = ["ModuleFeatures"]


class ModuleFeatures:
    """The outputs of a module, and derivatives by what enters its weight layers.

    Parameters
    ----------
    one : ModuleOperator
    X : object
        A batch as the module takes it, samples along the first axis of all that enters weight layers.

    Attributes
    ----------
    inputs : object
    outputs : ndarray, shape (T, C)
    names : tuple of str
        Of the weight layers, in the order in which they are passed.
    n_features : int
        How many numbers of a sample enter them, at all places.

    Raises
    ------
    ValueError
        As ``one.linearise``; other layers with weights; what enters a layer has no row for every sample.
    """

    def __init__(self, one: Any, X: Any):
        known = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
        for name, part in one.module.named_modules():
            own = [p for p in part.parameters(recurse=False) if p.ndim > 1]
            if own and not isinstance(part, known):
                raise ValueError(
                    f"`one` must have its weights in linear layers and convolutions, whose inputs are features, got "
                    f"`{name}` of {type(part).__name__}; take `fisher_spectrum`, which needs none."
                )
        self.inputs, self._entering = X, list[Any]()
        names: list[str] = []
        inputs = converted(one.module, X)
        with one.prepared():  # which takes the hooks away again
            for name, part in one.module.named_modules():
                if isinstance(part, known):
                    part.register_forward_pre_hook(self._noting(names, name))
            self._outputs = one.outputs_at(inputs)
        self.names, self.outputs = tuple(names), numpy_of(self._outputs, one.dtype)
        for name, entering in zip(names, self._entering, strict=True):
            if len(entering) != len(self.outputs):
                raise ValueError(
                    f"What enters `{name}` of `one` has {len(entering)} rows for {len(self.outputs)} samples, so that "
                    "no feature belongs to a sample; pass samples along the first axis."
                )
        self.n_features = sum(entering[0].numel() for entering in self._entering)

    def gradient(self, u: np.ndarray) -> np.ndarray:
        """Derivatives (T, H) of ``sum(u * outputs)`` by the features, u (T, C).

        Of what a layer sees alone, and of no other way past it.
        """
        along = torch.from_numpy(np.array(u)).to(self._outputs)
        found = torch.autograd.grad(
            self._outputs, self._entering, along, retain_graph=True, allow_unused=True
        )
        pairs = zip(found, self._entering, strict=True)
        parts = [torch.zeros_like(x) if g is None else g for g, x in pairs]
        return np.concatenate([numpy_of(g, self.outputs.dtype).reshape(len(g), -1) for g in parts], axis=1)

    def _noting(self, names: list[str], name: str) -> Any:
        def note(part: Any, arguments: tuple) -> tuple:
            x = arguments[0]
            entering = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
            self._entering.append(entering)
            names.append(name)
            return (entering, *arguments[1:])

        return note

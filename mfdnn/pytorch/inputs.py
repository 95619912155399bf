"""What goes into a module, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._torch import torch

__all__ = ["converted", "ordinary", "require_matrix"]


def ordinary(value: Any) -> Any:
    """A tensor that autograd can keep.

    A copy of one that was made in `torch.inference_mode`; others as they are.
    """
    return value.clone() if isinstance(value, torch.Tensor) and value.is_inference() else value


def converted(module: Any, X: Any) -> Any:
    """Inputs as the arguments of the module: a tuple, or a dict."""
    if torch.is_inference_mode_enabled():
        raise ValueError("Nothing has derivatives inside `torch.inference_mode`; call this outside of it.")
    device, dtype = next((p.device, p.dtype) for p in module.parameters())
    several = len({(p.device, p.dtype) for p in module.parameters()}) > 1

    def one(name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray | list | float | int):
            value = torch.as_tensor(np.asarray(value)).to(device)
            value = value.to(dtype) if value.is_floating_point() else value
        if not isinstance(value, torch.Tensor):
            return value
        if value.device != device and not several:
            raise ValueError(
                f"`{name}` is on {value.device}, and `module` on {device}; pass {name}.to('{device}')."
            )
        if value.is_floating_point():
            if value.dtype != dtype and not several:
                raise ValueError(
                    f"`{name}` is of {value.dtype}, and `module` of {dtype}; pass {name}.to({dtype})."
                )
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"`{name}` must be finite, got nan or inf; drop the samples that have some.")
        return ordinary(value).detach()

    if isinstance(X, Mapping):
        return {key: one(f"X[{key!r}]", value) for key, value in X.items()}
    if isinstance(X, tuple):
        return tuple(one(f"X[{i}]", value) for i, value in enumerate(X))
    return (one("X", X),)


def require_matrix(outputs: Any) -> None:
    """Raise a ValueError for outputs that are no (T, C)."""
    if outputs.numel() == 0:
        raise ValueError(
            f"`X` must hold samples, but the outputs have shape {tuple(outputs.shape)}; pass a batch."
        )
    if outputs.ndim != 2:
        hint = {
            1: "lambda out: out[:, None] for one output",
            3: "lambda out: out[:, -1] for the last place, lambda out: out.flatten(0, 1) for a row a place",
        }.get(outputs.ndim, "lambda out: out.flatten(1) for a row a sample")
        raise ValueError(
            f"`module` must return outputs of shape (T, C), got {tuple(outputs.shape)}; pass select={hint}."
        )

"""What goes into a module, and what must come out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._support.validation import short
from ._torch import torch

__all__ = ["converted", "ordinary", "require_fitting", "require_matrix"]


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
    try:
        found = one("X", X)
    except TypeError:  # of NumPy arrays that hold other things than numbers
        found = None
    if found is None or isinstance(found, str | bytes):
        raise TypeError(
            "`X` must be a batch, a tensor or an array of numbers, or a tuple or dictionary of the arguments of "
            f"`module`, got {short(X)}; pass one."
        )
    return (found,)


def require_fitting(module: Any, error: Exception) -> None:
    """Raise a ValueError that names the part which PyTorch refused inputs of.

    Nothing where the error was not raised by PyTorch itself inside of a part.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return
    names = {id(part): name for name, part in module.named_modules()}
    frame, last, found = error.__traceback__, "", None
    while frame is not None:
        last = frame.tb_frame.f_code.co_filename
        part = frame.tb_frame.f_locals.get("self")
        if id(part) in names and isinstance(part, torch.nn.Module):
            found = part, frame.tb_frame.f_locals
        frame = frame.tb_next
    if found is None or not last.startswith(os.path.dirname(torch.__file__) + os.sep):
        return
    part, local = found
    name, given = names[id(part)], local.get("input", local.get("args") or local.get("kwargs"))
    who = f"its {name!r}, {part!r:.80}," if name else f"{type(part).__name__}"
    inputs = given if isinstance(given, tuple) else (given,)
    told = " and ".join(
        f"shape {tuple(value.shape)}, {value.dtype}" if isinstance(value, torch.Tensor) else short(value)
        for value in inputs
    )
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    raise ValueError(
        f"`X` must fit `module`, but {who} got {told or 'nothing'} ({reason}); pass a batch as it takes it."
    ) from error


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

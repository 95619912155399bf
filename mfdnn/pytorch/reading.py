"""What a module is asked before it is used: its parameters, flags and hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._torch import torch

__all__ = ["SELECT", "cautions", "of_the_batch", "require_usable", "selector", "unwrapped", "why_it_draws"]

SELECT = "pass select=..., an index, a key or a function of what `module` returns"


def unwrapped(module: Any) -> Any:
    """What `torch.compile` and data parallelism wrap."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(
            module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel
        ):
            inner = module.module
        if inner is None:
            break
        module = inner
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            "`module` must be a module in Python, got one of TorchScript; pass what it was made from."
        )
    return module


def selector(select: Any) -> Callable[[Any], Any]:
    """The function of a module's return value that `select` stands for."""
    if select is None:
        return lambda out: out
    if callable(select):
        return select
    if isinstance(select, bool) or not isinstance(select, int | str):
        raise TypeError(
            f"`select` must be a function, an index or a key, got {type(select).__name__}; {SELECT}."
        )

    def choose(out: Any) -> Any:
        try:
            return out[select]
        except (TypeError, KeyError, IndexError) as error:
            if isinstance(select, str) and hasattr(out, select):
                return getattr(out, select)
            keys = f" with {', '.join(map(repr, out))}" if isinstance(out, Mapping) else ""
            raise ValueError(
                f"`select` = {select!r} is not in what `module` returns, a {type(out).__name__}{keys}; pass another."
            ) from error

    return choose


def require_usable(name: str, parameter: Any) -> None:
    """Raise a ValueError for a parameter that cannot be read or differentiated."""
    if torch.nn.parameter.is_lazy(parameter):
        raise ValueError(f"`{name}` of `module` is lazy and has no shape yet; call module(X) once.")
    if parameter.is_meta:
        raise ValueError(
            f"`{name}` of `module` is on the meta device and has no values; call module.to_empty first."
        )
    if parameter.dtype not in (torch.float32, torch.float64) and parameter.requires_grad:
        raise ValueError(
            f"`{name}` of `module` must be of float32 or float64, got {parameter.dtype}; convert with module.float()."
        )
    if parameter.is_inference():
        raise ValueError(
            f"`{name}` of `module` was made inside torch.inference_mode and has no derivatives; make it outside."
        )
    if parameter.layout != torch.strided:
        raise ValueError(
            f"`{name}` of `module` must be dense, got {parameter.layout}; convert it with to_dense()."
        )
    if not bool(torch.isfinite(parameter.detach()).all()):
        raise ValueError(f"`{name}` of `module` must be finite, got nan or inf; initialise it again.")


def _is_batch_norm(part: Any) -> bool:
    return isinstance(part, torch.nn.modules.batchnorm._BatchNorm)


def of_the_batch(part: Any) -> bool:
    """Whether a submodule is batch norm with the statistics of the batch."""
    return _is_batch_norm(part) and (part.training or part.running_mean is None)


def why_it_draws(module: Any) -> str:
    """Why the forward pass draws random numbers, in a sentence."""
    for name, part in module.named_modules():
        p = getattr(part, "p", None) if isinstance(part, torch.nn.modules.dropout._DropoutNd) else None
        p = (
            getattr(part, "dropout", None)
            if isinstance(part, torch.nn.RNNBase | torch.nn.MultiheadAttention)
            else p
        )
        if part.training and isinstance(p, float | int) and p > 0:
            return (
                f"`module` draws new masks at each call, as `{name}` is {type(part).__name__} of p = {p:g} in training "
                f"mode; put that layer alone into evaluation mode: module.get_submodule({name!r}).eval()."
            )
    return (
        "`module` draws random numbers in its forward pass, so that it is no function of `X`; leave that out."
    )


def cautions(module: Any, frozen: Sequence[str]) -> list[str]:
    """What should be known before numbers are trusted, a sentence each."""
    found: list[str] = []
    if frozen:
        first = ", ".join(frozen[:3]) + (", ..." if len(frozen) > 3 else "")
        found.append(f"{len(frozen)} parameters are frozen and count as constants ({first}).")
    hooked = [name or "the module" for name, part in module.named_modules() if _hooks(part)]
    hooked += [name for name, p in module.named_parameters() if getattr(p, "_backward_hooks", None)]
    if hooked:
        found.append(
            f"Hooks fire at every pass ({', '.join(hooked[:3])}{', ...' if len(hooked) > 3 else ''})."
        )
    still = [name for name, part in module.named_modules() if _is_batch_norm(part) and not of_the_batch(part)]
    if still:
        found.append(
            f"Batch norm is in evaluation mode ({still[0]}): its statistics are those that it remembers, and in "
            "training eigenvalues can be several times larger, or smaller."
        )
    return found


def _hooks(part: Any) -> bool:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(part, name, None) for name in names)

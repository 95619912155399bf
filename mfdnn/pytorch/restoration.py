"""A forward pass that leaves no trace in a module, nor in the random numbers."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ._torch import torch

__all__ = ["drawn_since", "exact_derivatives", "forward_passes", "named", "random_states", "untouched"]

CONTAINERS = (list, dict, set)


@contextmanager
def untouched(module: Any) -> Iterator[None]:
    """Run the body on `module`, and put everything back, bit by bit.

    Buffers, and other tensors that submodules hold, are exchanged for copies in the meantime: their own memory is never
    written to, so that nothing is lost to an exception or Ctrl-C either, and a graph that somebody else made with them
    still serves. Parameters, flags, gradients, attributes, lists and hooks are put back afterwards, and so are the
    random number generators of PyTorch, NumPy and Python.

    Raises
    ------
    ValueError
        The body has changed parameters in place: they are put back, and what was computed has no derivative.
    """
    states = random_states(module)
    parts = list(module.modules())
    saved = [_Attributes(part) for part in parts]
    parameters = {id(p): (name, p, p.detach().clone(), p.grad, p.requires_grad) for name, p in named(module)}
    copies: dict[int, Any] = {}
    try:
        for part in parts:
            _exchange(part.__dict__, copies)
            _exchange(part._buffers, copies)
        yield
    finally:
        interrupted = None
        while True:  # once more if Ctrl-C comes in between: nothing is put back halfway
            try:
                for attributes in saved:
                    attributes.put_back()
                _set_random_states(states)
                changed = [_put_back(*known) for known in parameters.values()]
                break
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted
    if names := [name for name in changed if name]:
        raise ValueError(
            f"`module` changes its parameters in its forward pass (`{names[0]}`; an embedding with `max_norm` does), "
            "which autograd does not see; leave that out."
        )


def named(module: Any) -> list[tuple[str, Any]]:
    """Parameters with their names, each once."""
    return list(module.named_parameters())


class _Attributes:
    """What a submodule holds, and what its lists and dictionaries hold."""

    def __init__(self, part: Any):
        self.own = part.__dict__
        self.values = dict(self.own)
        self.contents: list[tuple[Any, Any]] = [
            (value, value.copy()) for value in self.values.values() if isinstance(value, CONTAINERS)
        ]

    def put_back(self) -> None:
        for container, content in self.contents:
            if isinstance(container, list):
                container[:] = content
            elif isinstance(container, set):
                container.intersection_update(content)
                container.update(content)
            elif isinstance(container, dict):
                for key in container.keys() - content.keys():
                    del container[key]
                container.update(content)
        for name in self.own.keys() - self.values.keys():
            del self.own[name]
        for name, value in self.values.items():
            if self.own.get(name) is not value:
                self.own[name] = value


def _exchange(held: Any, copies: dict[int, Any]) -> None:
    """Put copies in the place of tensors that are no parameters; one for each."""
    for name, value in list(held.items()):
        if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter) and value.is_leaf:
            if id(value) not in copies:
                copies[id(value)] = value.detach().clone().requires_grad_(value.requires_grad)
            held[name] = copies[id(value)]


def _put_back(name: str, parameter: Any, copy: Any, grad: Any, requires_grad: bool) -> str:
    """Its values, gradient and flag; the name if the values had changed."""
    parameter.grad = grad
    if parameter.requires_grad != requires_grad:
        parameter.requires_grad_(requires_grad)
    if bool(torch.all((parameter == copy) | (parameter.isnan() & copy.isnan()))):
        return ""
    with torch.no_grad():
        parameter.copy_(copy)
    return name


def random_states(module: Any) -> dict[str, Any]:
    """States of the generators that a forward pass may draw from."""
    kinds = {p.device.type for p in module.parameters()}
    states: dict[str, Any] = {
        "cpu": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002  # the global one, which others may draw from
        "python": random.getstate(),
    }
    if "cuda" in kinds:
        states["cuda"] = torch.cuda.get_rng_state_all()
    if "mps" in kinds:
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def drawn_since(states: dict[str, Any], module: Any) -> bool:
    """Whether one of the generators has moved."""
    now = random_states(module)
    numpy_same = all(np.array_equal(a, b) for a, b in zip(states["numpy"], now["numpy"], strict=True))
    return not (
        numpy_same
        and states["python"] == now["python"]
        and torch.equal(states["cpu"], now["cpu"])
        and all(torch.equal(a, b) for a, b in zip(states.get("cuda", ()), now.get("cuda", ()), strict=True))
        and ("mps" not in states or torch.equal(states["mps"], now["mps"]))
    )


@contextmanager
def exact_derivatives(module: Any) -> Iterator[None]:
    """Run the body with kernels whose derivatives can be derived once more.

    Attention that is not fused, recurrent networks without cuDNN, embeddings with dense gradients, and nothing that
    `torch.compile` made. To be used inside `untouched`, which puts the flags back.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if hasattr(torch.nn, "attention"):
            stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        else:
            stack.enter_context(
                torch.backends.cuda.sdp_kernel(
                    enable_flash=False, enable_mem_efficient=False, enable_math=True
                )
            )
        if hasattr(torch.backends, "mha"):  # of attention in evaluation mode
            stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
        parts = list(module.modules())
        if any(isinstance(part, torch.nn.RNNBase) for part in parts):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        # Where nothing has been compiled, the compiler is not loaded, which takes seconds.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for part in parts:
            if isinstance(part, torch.nn.Embedding | torch.nn.EmbeddingBag):
                part.sparse = False
        yield


@contextmanager
def forward_passes() -> Iterator[list[Any]]:
    """Note the modules that are passed forward in the body, whoever calls them."""
    passed: list[Any] = []
    register = torch.nn.modules.module.register_module_forward_pre_hook
    handle = register(lambda part, arguments: passed.append(type(part)))
    try:
        yield passed
    finally:
        handle.remove()

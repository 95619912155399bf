"""Operations on one channel at all its sites, run as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...layers import Layer
from .._torch import torch
from .elementwise import replayed
from .recording import Derived, Node, Ref, mapped

__all__ = ["PerChannel", "per_channel"]

NAMES = {
    *(f"{kind}_pool{d}d" for kind in ("max", "avg", "adaptive_max", "adaptive_avg", "lp") for d in (1, 2, 3)),
    *("interpolate", "upsample", "instance_norm", "pad"),
}


def per_channel(node: Node) -> bool:
    """Whether it maps the sites of each channel by themselves, all alike."""
    if node.name not in NAMES or node.trouble or len(node.shapes) != 1:
        return False
    if node.name == "pad":
        pad = node.argument(1, "pad")
        return len(pad) <= 2 * (len(node.shape) - 2)
    tensors: list[Derived] = []
    mapped((node.args, node.kwargs), tensors.append, Derived)
    return not any(d.parameters for d in tensors)


class PerChannel(Layer):
    """Recorded operations on each channel by itself, at all its sites.

    Finite networks run them as they are. Infinite width: a map of one unit's field (`unit`), for theory by sampled
    units.

    Parameters
    ----------
    nodes : sequence of Node
    source, target : Ref
        Between which signals they are.
    entering, leaving : tuple of int
        Shapes (channels, *sites) at both ends.
    """

    batches_errors = False

    def __init__(
        self, nodes: Sequence[Node], source: Ref, target: Ref, entering: tuple[int, ...], leaving: tuple[int, ...]
    ):
        self._nodes, self._source, self._target = tuple(nodes), source, target
        self.names = tuple(n.name for n in nodes)
        self.entering, self.leaving = entering[1:], leaving[1:]
        self.kind = ", ".join(dict.fromkeys(n.name.replace("_", " ") for n in nodes))
        self.couples_samples = False
        self.no_theory = (
            f"`{self!r}` maps all sites of a channel at once, which has no closed recursion; sample such networks "
            "(`mfdnn.ensemble`)."
        )

    def __repr__(self) -> str:
        return f"PerChannel({', '.join(self.names)})"

    def run(self, x: Any) -> Any:
        """The operations, of a tensor (T, channels, *sites)."""
        return replayed(self._nodes, self._source, self._target, x)

    # -- infinite width ---------------------------------------------------------------------------------------
    def unit(self, g: np.ndarray) -> np.ndarray:
        r"""Values of S units with the fields g (S, T, \*sites)."""
        with torch.no_grad():
            return _back(self.run(_channels(g)))

    def unit_jvp(self, g: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Derivative of `unit` at g along z."""
        return _back(self._pushed(_channels(g), _channels(z)))

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The recorded sites, for any number of channels."""
        if shape[1:] != self.entering:
            raise ValueError(
                f"`{self!r}` was recorded at sites {self.entering}, got {shape[1:]}; read the module at such inputs."
            )
        return (shape[0], *self.leaving)

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        """The operations themselves."""
        tensor = torch.from_numpy(np.ascontiguousarray(x))
        trace.append(tensor)
        with torch.no_grad():
            return self.run(tensor).numpy()

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        """Their derivative along dx."""
        tensor = next(trace)
        if dx is None:
            return None
        along = torch.from_numpy(np.ascontiguousarray(dx))
        return self._pushed(tensor, along).numpy()

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        """Their derivative, transposed."""
        with torch.enable_grad():
            x = next(trace).detach().requires_grad_()
            (found,) = torch.autograd.grad(self.run(x), x, torch.from_numpy(np.ascontiguousarray(delta)))
        return found.numpy()

    def _pushed(self, x: Any, dx: Any) -> Any:
        """J dx as the derivative of J^T u by u.

        Forward differentiation is not made for several threads at once.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self.run(x)
            u = torch.zeros_like(y, requires_grad=True)
            (pulled,) = torch.autograd.grad(y, x, u, create_graph=True)
            (found,) = torch.autograd.grad(pulled, u, dx)
        return found.detach()


def _channels(g: np.ndarray) -> Any:
    """(S, T, *sites) as a batch of T with S channels."""
    return torch.from_numpy(np.ascontiguousarray(np.swapaxes(g, 0, 1)))


def _back(y: Any) -> np.ndarray:
    return np.swapaxes(y.numpy(), 0, 1)

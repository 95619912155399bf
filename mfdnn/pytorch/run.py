"""One module at one batch, by its loss and its optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._support.memory import require_memory
from ..losses.line import LineSearch, line_search
from ._torch import torch
from .graph import Graph
from .losses import LossAt, loss_at, wide
from .memory import free_memory, rows
from .module_operator import ModuleOperator
from .optimisers import FrozenRule, next_step, present_rates
from .stability import largest

__all__ = ["Counted", "Run", "limit_of", "membership"]

# Logits whose root mean square is below: at 0.09 (an MLP of PyTorch's initialisation on digits) the stable rate of
# momentum fell from 4.1 to 0.15 in 20 steps, at 0.35 (with batch norm) it never fell.
_SMALL = 0.2
LOG_PROBABILITIES = ("NLLLoss", "KLDivLoss")


def membership(one: ModuleOperator, optimizer: Any) -> list[str]:
    """What is not of both, in sentences.

    Raises
    ------
    ValueError
        The optimiser has none of the module's parameters.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    own = {id(p) for p in one.module.parameters()}
    trained = [id(p) in held for p in one.tensors]
    if not any(trained):
        raise ValueError(
            "`optimizer` has none of the trainable parameters of `module`, which may have been copied, moved or made "
            "anew since; make it of this one: torch.optim.AdamW(module.parameters())."
        )
    found = []
    if not all(trained):
        names = [name for name, known in zip(one.names, trained, strict=True) if not known]
        found.append(f"{len(names)} trainable parameters, as {names[0]}, are not in the optimiser: they stay.")
    if held - own:
        found.append(f"{len(held - own)} of the optimiser's parameters are not of this module: they have no part.")
    if any("initial_lr" in group for group in optimizer.param_groups):
        now = present_rates(optimizer)[0]
        found.append(f"A scheduler sets the rate, {now:.4g} at present: compare the answers with its peak.")
    return found


def _require_room(one: ModuleOperator, X: Any) -> None:
    """Raise a MemoryError where a few samples tell that the graph does not fit."""
    needed = one.bytes_at(X)
    if needed is not None:
        require_memory(
            needed,
            f"Products with the Jacobian of {one.n_parameters} parameters at {rows(X)} samples",
            "pass fewer samples",
            free_memory(one.tensors[0].device),
        )


def _graph(one: ModuleOperator, X: Any) -> Graph:
    """The graph of the batch, or in a sentence why the module has none."""
    try:
        return one.graph(X, outputs_of_any_shape=True)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        if "`" in str(error):  # a sentence already
            raise
        why = str(error).partition("\n")[0].strip(" .") or type(error).__name__
        raise ValueError(
            f"`module` does not take the inputs of `batch`, or `select` not what it returns ({why:.200}); pass X as "
            "the module is called in training: a tensor, a tuple of arguments or a dict of keywords."
        ) from error


class Run:
    """One module at one batch, and the passes that were made."""

    def __init__(self, one: ModuleOperator, X: Any, Y: Any, loss: Any, optimizer: Any):
        self.one, self.X, self.Y, self.loss, self.optimizer = one, X, Y, loss, optimizer
        _require_room(one, X)
        self.graph: Graph | None = _graph(one, X)
        self.passes = 2
        if not bool(torch.isfinite(self.graph.outputs).all()):
            raise ValueError("The outputs of `module` are not finite on this batch; look for what overflows there.")
        self.outputs = self.graph.outputs
        if isinstance(Y, np.ndarray | list):
            self.Y = torch.as_tensor(np.asarray(Y)).to(self.outputs.device)
            self.Y = self.Y.to(self.outputs.dtype) if self.Y.is_floating_point() else self.Y
        self.at: LossAt = loss_at(loss, self.outputs, self.Y)
        self.stepped = False
        self.slope = 0.0

    def take_step(self) -> list[str]:
        """The next step, what it changes, and cautions of it."""
        assert self.graph is not None
        parameters, graph = self.one.tensors, self.graph
        pulled = graph.vjp(self.at.gradient)
        self.passes += 1
        gradients = dict(zip(parameters, pulled, strict=True))
        if not any(bool(g.any()) for g in pulled):
            raise ValueError(
                "`batch` gives a gradient of 0, so that nothing is learnt and every rate is as good; look for a loss "
                "at its minimum, saturated units or weights of 0."
            )
        step = next_step(self.optimizer, gradients)
        double = next_step(self.optimizer, gradients, factor=2.0)
        self.moves = [step.get(p) for p in parameters]
        self.falls = [
            0.0 if move is None else -float((wide(g) * wide(move)).sum())
            for g, move in zip(pulled, self.moves, strict=True)
        ]
        self.slope = float(np.sum(self.falls))
        along = [torch.zeros_like(p) if m is None else m.to(p) for p, m in zip(parameters, self.moves, strict=True)]
        self.change = graph.jvp(along)
        self.passes += 2
        self.stepped = True
        return self._proportional(step, double)

    def _proportional(self, step: dict[Any, Any], double: dict[Any, Any]) -> list[str]:
        """Whether the step is a multiple of its rate."""
        def norm(moves: list[Any]) -> float:
            return float(sum(float(wide(move).square().sum()) for move in moves) ** 0.5)

        size = norm(list(step.values()))
        name = type(self.optimizer).__name__
        if size == 0 or not np.isfinite(size):
            raise ValueError(
                f"`optimizer` {name} makes a step of size {size:g} on this batch; look at its rate and its state."
            )
        if norm([double[p] - 2 * step[p] for p in step]) <= 1e-2 * size:
            return []
        if norm([double[p] - step[p] for p in step]) <= 1e-2 * size:
            return [f"The next step of {name} does not depend on its rate: the rates are multiples of that step."]
        return [f"The step of {name} is not proportional to its rate: the rates are multiples of its present step."]

    def shares(self) -> dict[str, float]:
        """Shares of the layers in the fall of the loss, in the order of the module."""
        found: dict[str, float] = {}
        for name, fall in zip(self.one.names, self.falls, strict=True):
            layer = name.rpartition(".")[0] or name
            found[layer] = found.get(layer, 0.0) + fall
        total = self.slope or 1.0
        return {name: fall / total for name, fall in found.items()}

    def directional(self) -> float | None:
        """2 e.D/D.QD, a multiple of the present step."""
        if self.at.why_not:
            return None
        curvature = self.at.curvature(self.change)
        if curvature <= 0:
            return None
        return max(2 * self.slope / curvature, 0.0)

    def search(self, directional: float | None, places: int) -> LineSearch:
        """Crossings of the loss along the step, as multiples of it.

        And `places` more about them, for a picture.
        """
        self.graph = None  # the memory of its products
        if self.slope <= 0:
            return LineSearch((), 0.0, np.zeros(1), np.array([self.at.value]))
        start = self.one.vector.astype(np.float64)
        parameters = self.one.tensors
        zeros = [np.zeros(p.numel()) for p in parameters]
        move = np.concatenate(
            [zero if m is None else m.cpu().double().numpy().ravel() for zero, m in zip(zeros, self.moves, strict=True)]
        )

        def loss(x: float) -> float:
            vector = (start + x * move).astype(self.one.dtype)
            if not np.isfinite(vector).all():
                return np.inf
            self.passes += 1
            outputs = self.one.at(vector).values(self.X)
            if not bool(torch.isfinite(outputs).all()):
                return np.inf
            with torch.no_grad():
                return float(self.loss(outputs, self.Y))

        # Without a parabola: where a straight line would have lost all of the loss.
        guess = directional or abs(self.at.value) / self.slope or 1.0
        found = line_search(loss, self.at.value, guess)
        if not places:
            return found
        first = found.crossings[0] if found.crossings else guess
        more = np.concatenate([np.geomspace(1.0, first / 16, 6)[:-1], np.geomspace(first / 16, 4 * first, places)])
        x = np.concatenate([found.places, more])
        values = np.concatenate([found.losses, [loss(place) for place in more]])
        order = np.argsort(x)
        return replace(found, places=x[order], losses=values[order])

    def stable(self, rule: FrozenRule) -> tuple[float, float | None]:
        """Largest stable multiple of the present rates, at this softmax and at any."""
        assert self.graph is not None
        counted = Counted(self.graph, self)
        at = self.at
        now = limit_of(largest(counted, rule, at.root, at.transpose, self._split))  # type: ignore[arg-type]
        if not at.classes:
            return now, None
        return now, limit_of(largest(counted, rule, at.any_softmax, at.any_softmax, self._split))  # type: ignore[arg-type]

    def _split(self, vector: np.ndarray) -> list[Any]:
        return self.one.unflatten(vector)

    def small_logits(self) -> list[str]:
        """Whether a softmax begins so flat that its curvature is about to grow."""
        if not self.at.classes:
            return []
        size = self.at.size(self.outputs)
        if size >= _SMALL:
            return []
        return [
            f"The logits are small ({size:.2g} root mean square): as they grow curvature does too, twentyfold within "
            "twenty steps on an MLP of PyTorch's initialisation; take some dozen steps at a tenth of the rate and ask "
            "again."
        ]

    def rounding(self, critical: float) -> list[str]:
        """Whether the loss moves by more than its rounding on the way."""
        eps = float(torch.finfo(self.at.gradient.dtype).eps)
        if 0 < critical < np.inf and critical * self.slope < 100 * eps * abs(self.at.value):
            return ["The loss moves by little more than its rounding up to the critical rate: convert all to float64."]
        if np.isinf(critical):
            return [
                "There is no critical rate (inf): along the optimizer's direction the loss stays below its first value "
                f"as far as it was followed; that is no leave for any rate.{self._raw_outputs()}"
            ]
        return []

    def _raw_outputs(self) -> str:
        """Whether a loss of log-probabilities is given other outputs."""
        if self.at.name not in LOG_PROBABILITIES or self.outputs.ndim < 2:
            return ""
        sums = self.outputs.detach().logsumexp(dim=1)
        if bool((sums.abs() < 1e-3).all()):
            return ""
        return (
            f" {self.at.name} takes log-probabilities, and of other outputs it has no lower bound: put "
            "torch.nn.LogSoftmax(dim=1) behind the module."
        )


class Counted:
    """A graph whose products are counted."""

    def __init__(self, graph: Graph, run: Any):
        self.outputs, self._graph, self._run = graph.outputs, graph, run

    def vjp(self, u: Any) -> list[Any]:
        """J^T u."""
        self._run.passes += 1
        return self._graph.vjp(u)

    def jvp(self, v: Sequence[Any]) -> Any:
        """J v."""
        self._run.passes += 2
        return self._graph.jvp(v)


def limit_of(eigenvalue: float) -> float:
    """2 over the largest eigenvalue of a preconditioned matrix."""
    return 2.0 / eigenvalue if eigenvalue > 0 else np.inf

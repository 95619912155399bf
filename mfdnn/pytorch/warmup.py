"""The limit of the rate over virtual steps, and the shortest warm-up below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..jobs.watch import stop_if_asked
from ..losses.line import line_search
from ._torch import torch
from .inputs import converted
from .losses import loss_at, loss_value, wide
from .module_operator import ModuleOperator
from .optimisers import frozen_rule, next_step, twin
from .run import Counted, limit_of
from .stability import largest

__all__ = ["WarmUp", "warm_up"]


@dataclass(frozen=True)
class WarmUp:
    """What was measured on virtual steps.

    Attributes
    ----------
    limits : tuple of float
        At each step, the multiple of the present rates at which it would give the loss before it again.
    steps : int or None
        Of the shortest linear warm-up that stays below; 1 is none at all. None: no warm-up of at most `n` steps.
    notion : str
        What it stays below: "critical", where the loss never rises; "stable", where it rises only at steps of a rate
        below the limit of stability there, as with momentum.
    losses : tuple of float
        Before each step, and behind the last.
    passes : int
    """

    limits: tuple[float, ...]
    steps: int | None
    notion: str
    losses: tuple[float, ...]
    passes: int


def warm_up(one: ModuleOperator, X: Any, Y: Any, loss: Any, optimizer: Any, n: int) -> WarmUp:
    """Take n virtual steps on one batch, with warm-ups of several lengths.

    Rates grow as (k + 1)/steps of the present ones, k = 0, 1, ..., and stay there. Steps are taken by the optimiser's
    own ``step()`` on copies of parameters and state. The loss is not allowed to rise at any of them; if no warm-up
    keeps it from that, it may where the rate is below the limit of stability.
    """
    run = _Virtual(one, X, Y, loss, optimizer)
    notion = "critical"
    length = _shortest(lambda length: run.stays_below(length, n, False), n)
    if length is None:
        length = _shortest(lambda length: run.stays_below(length, n, True), n)
        notion = "stable" if length is not None else "critical"
    limits, losses = run.limits(length or n, n, notion == "stable")
    return WarmUp(limits, length, notion, losses, run.passes)


def _shortest(does: Callable[[int], bool], n: int) -> int | None:
    """The smallest number up to n that does; None if no power of two and not n."""
    failed, length = 0, 1
    while not does(length):
        if length == n:
            return None
        failed, length = length, min(2 * length, n)
    while length - failed > 1:
        middle = (length + failed) // 2
        failed, length = (failed, middle) if does(middle) else (middle, length)
    return length


class _Virtual:
    """Descent of copies, from where module and optimiser stand."""

    def __init__(self, one: ModuleOperator, X: Any, Y: Any, loss: Any, optimizer: Any):
        self.one, self.X, self.Y, self.loss, self.optimizer = one, X, Y, loss, optimizer
        self.inputs = converted(one.module, X)
        self.passes = 0

    def stays_below(self, length: int, n: int, stable: bool) -> bool:
        """Whether the loss never rises with a warm-up of this length.

        Or only at steps below the limit of stability.
        """
        last, limit = np.inf, 0.0
        for k, (now, own, stepper, gradients) in enumerate(self._steps(length, n)):
            if not now <= last + self._rounding(last) and not (np.isfinite(now) and min(1.0, k / length) <= limit):
                return False
            last = now
            limit = self._stable(own, stepper) if stable and gradients is not None else 0.0
        return True

    def limits(self, length: int, n: int, stable: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Limit at each step, and the losses."""
        found, losses = [], []
        for now, own, stepper, gradients in self._steps(length, n):
            losses.append(now)
            if gradients is not None and np.isfinite(now):
                limit = self._limit(now, own, stepper, gradients)
                found.append(max(limit, self._stable(own, stepper)) if stable else limit)
        return tuple(found), tuple(losses)

    def _stable(self, own: Sequence[Any], stepper: Any) -> float:
        """The limit of stability there, a multiple of the present rates.

        0 where there is none.
        """
        rule = frozen_rule(stepper, own)
        if isinstance(rule, str):
            return 0.0
        graph = self.one.at(self.one.flatten(own)).graph(self.X, outputs_of_any_shape=True)
        at = loss_at(self.loss, graph.outputs, self.Y)
        if at.why_not:
            return 0.0
        self.passes += 2
        counted: Any = Counted(graph, self)
        return limit_of(largest(counted, rule, at.root, at.transpose, self.one.unflatten))

    def _rounding(self, loss: float) -> float:
        eps = float(torch.finfo(self.one.tensors[0].dtype).eps)
        return 0.0 if not np.isfinite(loss) else 20 * eps * max(abs(loss), 1e-30)

    def _steps(self, length: int, n: int) -> Any:
        """Yield the loss, with all state before each step, and at the end."""
        parameters = self.one.tensors
        stepper, copies = twin(self.optimizer, parameters)
        own = [copies[p] for p in parameters]
        base = [float(group["lr"]) for group in stepper.param_groups]
        for k in range(n):
            stop_if_asked()
            now, pulled = self._value(own, True)
            gradients = {copies[p]: g for p, g in zip(parameters, pulled, strict=True)}
            for group, rate in zip(stepper.param_groups, base, strict=True):
                group["lr"] = rate
            yield now, own, stepper, gradients
            if not np.isfinite(now):
                return
            for group, rate in zip(stepper.param_groups, base, strict=True):
                group["lr"] = rate * min(1.0, (k + 1) / length)
            for copy, gradient in gradients.items():
                copy.grad = gradient
            with torch.enable_grad():
                type(stepper).step(stepper)
        yield self._value(own, False)[0], own, stepper, None

    def _value(self, own: Sequence[Any], slopes: bool) -> tuple[float, list[Any]]:
        self.passes += 2 if slopes else 1
        with self.one.prepared(list(own)), torch.set_grad_enabled(slopes):
            outputs = self.one.outputs_at(self.inputs, any_shape=True)
            if not bool(torch.isfinite(outputs).all()):
                return np.inf, [None] * len(own)
            value = self.loss(outputs, self.Y) if not slopes else loss_value(self.loss, outputs, self.Y)
            pulled = torch.autograd.grad(value, own, allow_unused=True) if slopes else ()
        return float(value.detach()), list(pulled)

    def _limit(self, now: float, own: Sequence[Any], stepper: Any, gradients: dict[Any, Any]) -> float:
        """Where the next step, at a multiple of the rates, gives the loss of now."""
        moves = next_step(stepper, gradients)
        moved = {p: wide(moves[p]) for p, g in gradients.items() if g is not None and p in moves}
        fall = -sum(float((wide(gradients[p]) * move).sum()) for p, move in moved.items())
        if fall <= 0:
            return 0.0

        def loss(x: float) -> float:
            there = [(wide(p.detach()) + x * moved[p]).to(p.dtype) if p in moved else p for p in own]
            return self._value([torch.nn.Parameter(p) for p in there], False)[0]

        found = line_search(loss, now, max(abs(now) / fall, 1e-12) if now else 1.0)
        return found.crossings[0] if found.crossings else np.inf

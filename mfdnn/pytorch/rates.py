"""A learning rate for a module as its owner has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import one_of, short
from ..losses.line import LineSearch, line_search
from ._torch import torch
from .answer import ModuleLearningRate
from .graph import Graph
from .losses import LossAt, loss_at, wide
from .memory import free_memory, rows
from .module_operator import ModuleOperator, operator
from .optimisers import FrozenRule, checked_optimizer, frozen_rule, next_step, present_rates
from .stability import largest

__all__ = ["PARTS", "answered", "learning_rate"]

PARTS = ("first_step", "critical", "stable")
# Logits whose root mean square is below: at 0.09 (an MLP of PyTorch's initialisation on digits) the stable rate of
# momentum fell from 4.1 to 0.15 in 20 steps, at 0.35 (with batch norm) it never fell.
_SMALL = 0.2


def learning_rate(
    module: Any,
    batch: Any,
    loss: Any,
    optimizer: Any,
    *,
    select: Any = None,
    parts: Any = "all",
) -> ModuleLearningRate:
    r"""Learning rates of a module on a batch, by its loss and optimiser.

    With :math:`\Delta` the displacement of the optimiser's next step, g the gradient of the loss and
    :math:`D = -J \Delta` the change of the outputs, :math:`e \cdot D = -g \cdot \Delta`. The loss along the step,
    :math:`L(\theta + x \Delta)`, is to second order :math:`L - x\,e \cdot D + x^2 D \cdot Q D/2`, and comes back to L
    at :math:`x = 2\,e \cdot D/D \cdot Q D`; where it does so in truth is looked for on the loss itself. The stable
    multiple is :math:`2/\lambda_{max}(S^{1/2} J^T Q J S^{1/2})`, S the optimiser's own scaling of each parameter.

    Parameters
    ----------
    module : torch.nn.Module
        As it is trained, its flags included: batch norm in training mode has the statistics of the batch. Nothing of it
        changes: weights, buffers, gradients and random numbers are bitwise the same afterwards.
    batch : tuple (X, Y)
        Inputs as the module takes them (a tuple for several arguments, a dict for keywords), and targets as the loss
        does; arrays are converted. A batch of the size that is trained on.
    loss : torch.nn.Module or callable
        ``loss(outputs, Y)`` is one number; its reduction, class weights, label smoothing and ignored labels count.
    optimizer : torch.optim.Optimizer
        Unchanged, with the state that it has: any class, as its own ``step()`` is called on a copy.
    select : callable, int or str, optional
        What of the module's return value are the outputs, as in `operator`; of any shape that the loss takes.
    parts : "all", or some of "first_step", "critical", "stable"
        What to compute. The first two take less than twenty passes.

    Returns
    -------
    ModuleLearningRate

    Raises
    ------
    TypeError, ValueError
        What `operator` refuses; ``reduction="none"``; a loss that is not finite, or does not take the outputs; an
        optimiser of other parameters, of rate 0, that maximises, or needs a closure; a scheduler or a gradient scaler
        in its place; a gradient that vanishes.
    MemoryError
        The graph of the batch does not fit, as four of its samples tell.
    ArithmeticError
        The largest eigenvalue of "stable" has not converged.

    Notes
    -----
    What the numbers are worth. The critical rate is exact for one step on one batch: steps above it raise the loss of
    that batch. The stable rate is a theorem about a quadratic with the curvature of here, with Adam's second moments
    held, and curvature moves in training. Neither says anything about generalisation, late training or other batches.

    Passes: two for the graph, one for the gradient, two for D, and one a place of the line search, which takes 8 to 15.
    "stable" takes three for every product with the matrix, some tens of them. Passes of a few samples, which tell what
    memory the batch will take, are not counted.

    References
    ----------
    Cohen et al. 2022, "Adaptive gradient methods at the edge of stability", arXiv:2207.14484, for Adam with its second
    moments held.

    Examples
    --------
    >>> import torch
    >>> import mfdnn.pytorch as mp
    >>> _ = torch.manual_seed(0)
    >>> module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    >>> X, Y = torch.randn(20, 8), torch.arange(20) % 3
    >>> optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    >>> answer = mp.learning_rate(module, (X, Y), torch.nn.CrossEntropyLoss(), optimizer)
    >>> float(answer) == min(answer.critical, answer.stable) == 0.1 * answer.factor
    True
    >>> answer.any_softmax < answer.stable
    True
    """
    with torch.inference_mode(False):
        return answered(module, batch, loss, optimizer, select, parts)


def answered(
    module: Any, batch: Any, loss: Any, optimizer: Any, select: Any, parts: Any, places: int = 0
) -> ModuleLearningRate:
    """What `learning_rate` returns, with the loss at so many more places on the line."""
    wanted = _checked_parts(parts)
    X, Y = _checked_batch(batch)
    one = operator(module, select=select)
    optimizer = checked_optimizer(optimizer)
    cautions = [one.caution, *_membership(one, optimizer)]
    run = _Run(one, X, Y, loss, optimizer)
    current = present_rates(optimizer)
    found: dict[str, Any] = {}
    if {"first_step", "critical"} & set(wanted):
        cautions += run.take_step()
    unit = _unit(current)
    if "first_step" in wanted:
        found |= {"response": run.at.size(run.change), "by_layer": run.shares()}
    line: LineSearch | None = None
    why_not = ""
    stable = any_softmax = None
    rule: FrozenRule | str = ""
    if "stable" in wanted:
        rule = frozen_rule(optimizer, one.tensors)
        why_not = rule if isinstance(rule, str) else run.at.why_not
        if not isinstance(rule, str) and not why_not:
            stable, any_softmax = run.stable(rule)
    critical = directional = None
    if "critical" in wanted:
        directional = run.directional()
        line = run.search(directional, places)
        critical = line.crossings[0] if line.crossings else (0.0 if run.slope <= 0 else np.inf)
        cautions += run.rounding(critical)
    of_factor = [x for x in (critical, stable) if x is not None]
    factor = min(of_factor) if of_factor else None
    cautions += run.small_logits()

    def rate(x: float | None) -> float | None:
        return None if x is None else float(x * unit)

    return ModuleLearningRate(
        rate=rate(factor),
        factor=None if factor is None else float(factor),
        current=unit,
        groups=current,
        response=found.get("response"),
        by_layer=found.get("by_layer"),
        directional=rate(directional),
        critical=rate(critical),
        crossings=None if line is None else tuple(float(x * unit) for x in line.crossings),
        stable=rate(stable),
        any_softmax=rate(any_softmax),
        no_stable=why_not,
        passes=run.passes,
        loss=run.at.name,
        optimizer=type(optimizer).__name__,
        first_loss=run.at.value,
        slope=run.slope / unit if run.stepped else None,
        n_samples=int(run.at.shape[0]) if run.at.shape else 1,
        n_outputs=int(np.prod(run.at.shape[1:], dtype=int)),
        along=None if line is None else {"rate": line.places * unit, "loss": line.losses},
        caution=" ".join(filter(None, cautions)),
        _reached=np.inf if line is None else line.upper * unit,
        _classes=run.at.classes,
        _frozen=rule.words if isinstance(rule, FrozenRule) else "",
    )


def _checked_parts(parts: Any) -> tuple[str, ...]:
    if isinstance(parts, str):
        one_of("parts", parts, ("all", *PARTS))
        return PARTS if parts == "all" else (parts,)
    if not isinstance(parts, Sequence) or not parts:
        known = ", ".join(PARTS)
        raise TypeError(f"`parts` must be 'all' or some of {known}, got {short(parts)}; pass a tuple of them.")
    return tuple(one_of("parts", part, PARTS) for part in parts)


def _checked_batch(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        came = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else short(batch)
        raise TypeError(f"`batch` must be a pair (X, Y) of inputs and targets, got {came}; pass one batch, as (X, Y).")
    return batch[0], batch[1]


def _unit(current: tuple[float, ...]) -> float:
    """The rate that answers are given in: that of the first group, if it is not 0."""
    return next(rate for rate in current if rate)


def _membership(one: ModuleOperator, optimizer: Any) -> list[str]:
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


class _Run:
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
        counted = _Counted(self.graph, self)
        at = self.at
        now = _limit(largest(counted, rule, at.root, at.transpose, self._split))  # type: ignore[arg-type]
        if not at.classes:
            return now, None
        return now, _limit(largest(counted, rule, at.any_softmax, at.any_softmax, self._split))  # type: ignore[arg-type]

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
        return []


class _Counted:
    """A graph whose products are counted."""

    def __init__(self, graph: Graph, run: _Run):
        self.outputs, self._graph, self._run = graph.outputs, graph, run

    def vjp(self, u: Any) -> list[Any]:
        self._run.passes += 1
        return self._graph.vjp(u)

    def jvp(self, v: Sequence[Any]) -> Any:
        self._run.passes += 2
        return self._graph.jvp(v)


def _limit(eigenvalue: float) -> float:
    return 2.0 / eigenvalue if eigenvalue > 0 else np.inf

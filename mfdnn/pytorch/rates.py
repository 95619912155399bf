"""A learning rate for a module as its owner has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.validation import one_of, positive_integer, short
from ..losses.line import LineSearch
from ._torch import torch
from .answer import NOT_COMPUTED, ModuleLearningRate
from .module_operator import operator
from .optimisers import FrozenRule, checked_optimizer, frozen_rule, present_rates
from .run import Run, membership
from .theory import theory_of
from .warmup import warm_up

__all__ = ["PARTS", "answered", "learning_rate"]

PARTS = ("first_step", "critical", "stable", "theory", "scaling", "warmup")
EVERY = PARTS[:-1]  # of "all": a warm-up takes hundreds of passes
STEPS = 20  # virtual ones


def learning_rate(
    module: Any,
    batch: Any,
    loss: Any,
    optimizer: Any,
    *,
    select: Any = None,
    parts: Any = "all",
    n_steps: int = STEPS,
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
    parts : "all", or some of "first_step", "critical", "stable", "theory", "scaling", "warmup"
        What to compute. The first two take less than twenty passes. theory: the rate of a fresh draw of the module (of
        SGD its limit of stability, of others the critical rate of their first step), where it can be read; scaling: its
        factors at twice the sizes. "all" is all but the warm-up, and the scaling of images, which must be asked for.
    n_steps : int
        Virtual steps of the warm-up, which is at most that long.

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
    "stable" takes three for every product with the matrix, some tens of them, "warmup" about 25 for each virtual step.
    Theory takes one, and time of its own: where samples times sites are 512 or fewer it is computed. Passes of a few
    samples, which tell what
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
        return answered(module, batch, loss, optimizer, select, parts, n_steps=n_steps)


def answered(
    module: Any,
    batch: Any,
    loss: Any,
    optimizer: Any,
    select: Any,
    parts: Any,
    places: int = 0,
    n_steps: int = STEPS,
) -> ModuleLearningRate:
    """What `learning_rate` returns, with the loss at so many more places on the line."""
    wanted, n_steps = _checked_parts(parts), positive_integer("n_steps", n_steps)
    X, Y = _checked_batch(batch)
    one = operator(module, select=select)
    optimizer = checked_optimizer(optimizer)
    cautions = [one.caution, *membership(one, optimizer)]
    run = Run(one, X, Y, loss, optimizer)
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
    theory = None
    if {"theory", "scaling"} & set(wanted):
        theory = theory_of(one, X, run.Y, loss, optimizer, "scaling" in wanted, parts == "all")
    warmed = warm_up(one, X, run.Y, loss, optimizer, n_steps) if "warmup" in wanted else None

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
        passes=run.passes + (0 if warmed is None else warmed.passes),
        loss=run.at.name,
        optimizer=type(optimizer).__name__,
        first_loss=run.at.value,
        slope=run.slope / unit if run.stepped else None,
        n_samples=int(run.at.shape[0]) if run.at.shape else 1,
        n_outputs=int(np.prod(run.at.shape[1:], dtype=int)),
        along=None if line is None else {"rate": line.places * unit, "loss": line.losses},
        caution=" ".join(filter(None, cautions)),
        theory=None if theory is None else theory.rate,
        theory_band=None if theory is None else theory.band,
        theory_notion="" if theory is None else theory.notion,
        theory_caution="" if theory is None else theory.caution,
        no_theory=NOT_COMPUTED if theory is None else theory.reason,
        warmup_limits=None if warmed is None else tuple(float(x * unit) for x in warmed.limits),
        warmup_steps=None if warmed is None else warmed.steps,
        warmup_notion="" if warmed is None else warmed.notion,
        warmup_losses=None if warmed is None else warmed.losses,
        scaling=None if theory is None or "scaling" not in wanted else theory.scaling,
        _reached=np.inf if line is None else line.upper * unit,
        _classes=run.at.classes,
        _frozen=rule.words if isinstance(rule, FrozenRule) else "",
    )


def _checked_parts(parts: Any) -> tuple[str, ...]:
    if isinstance(parts, str):
        one_of("parts", parts, ("all", *PARTS))
        return EVERY if parts == "all" else (parts,)
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

r"""What a torch optimiser does next, and where it stops being stable.

The next update is found by calling the optimiser's own ``step()`` on a copy, so that any optimiser has one. The limit
of stability needs to know the rule:

.. math:: m \leftarrow b\,m + c\,(g + w\,\theta), \qquad \theta \leftarrow (1 - x d)\,\theta - x\,p\,m

with an elementwise p, which is held where it is. The first mode to grow does so at alternating signs, and with
:math:`m_k = (-1)^k m` the rule reads :math:`2 \theta = x\,(S\,(G + W) + D)\,\theta`, S = diag(p c/(1 + b)): the largest
stable multiple x of the present rates is 2 over the largest eigenvalue of
:math:`S^{1/2} (G + W)\,S^{1/2} + D`, for groups with rates, momenta and decays of their own too.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import short
from ._torch import torch

__all__ = ["FrozenRule", "checked_optimizer", "frozen_rule", "next_step", "present_rates", "twin"]

# Without a limit of stability, and why.
_NO_LIMIT = {
    "Muon": "its step has one size however small the gradient is, so that it swings about a minimum at any rate",
    "Rprop": "its step follows the signs of the gradient alone",
    "Adadelta": "its preconditioner follows its own steps",
    "Adafactor": "its preconditioner and its rate follow gradients and weights",
    "ASGD": "its rate falls from step to step",
}
_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


@dataclass(frozen=True)
class FrozenRule:
    """The linear rule of an optimiser whose second moments stay what they are.

    Attributes
    ----------
    scale, l2, decay : arrays (P,)
        The diagonals S, W and D of the module's note, at the present rates; 0 for parameters that are not trained.
    words : str
        What was taken, for a sentence.
    """

    scale: np.ndarray
    l2: np.ndarray
    decay: np.ndarray
    words: str


def checked_optimizer(optimizer: Any) -> Any:
    """The optimiser, if it descends by steps that a copy can take."""
    if isinstance(optimizer, torch.optim.lr_scheduler.LRScheduler):
        raise TypeError(
            "`optimizer` must be an optimiser, got a scheduler; pass `scheduler.optimizer`, whose rate is the present "
            "one, and compare the answer with the scheduler's peak."
        )
    if hasattr(optimizer, "unscale_") and hasattr(optimizer, "scale"):
        raise TypeError(
            "`optimizer` must be an optimiser, got a gradient scaler; pass the optimiser that it steps: scaling "
            "the loss and unscaling its gradients changes no rate."
        )
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"`optimizer` must be an optimiser of torch.optim or a subclass of theirs, got {short(optimizer)}; pass "
            "for example torch.optim.SGD(module.parameters(), lr=0.1)."
        )
    name = type(optimizer).__name__
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError(
            "`optimizer` is LBFGS, which calls the loss many times in a step and looks for its own rate; pass an "
            "optimiser whose step is made of one gradient."
        )
    for group in optimizer.param_groups:
        if group.get("maximize"):
            raise ValueError(
                f"`optimizer` has maximize=True, so {name} climbs the loss; pass the negative loss and minimise it."
            )
        if "lr" not in group:
            raise ValueError(f"`optimizer` {name} has no `lr` in its groups; answers are multiples of it: give it one.")
    if not any(present_rates(optimizer)):
        raise ValueError(
            "`optimizer` has a rate of 0, as a scheduler may set it before the first step; answers are multiples of "
            "the rate, so set group['lr'] to the one that you want to know about."
        )
    return optimizer


def present_rates(optimizer: Any) -> tuple[float, ...]:
    """The rate of each group."""
    return tuple(float(group["lr"]) for group in optimizer.param_groups)


def next_step(
    optimizer: Any,
    gradients: Mapping[Any, Any],
    factor: float = 1.0,
) -> dict[Any, Any]:
    """Displacement of each parameter by the optimiser's next step.

    Its own ``step()`` takes it, on copies of parameters and state, so the optimiser stays what it is. Hooks of the
    optimiser do not fire. In float64 where the device has it, so that a small step is not lost in the rounding of the
    parameters.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    gradients : dict
        Parameter to gradient, or None for one that the loss does not depend on.
    factor : float
        Multiple of the present rates at which to step.

    Returns
    -------
    dict
        Parameter to displacement, of its shape, for those of `gradients` that the optimiser has.

    Raises
    ------
    ValueError
        The optimiser cannot be copied, or its step needs more than gradients.
    """
    held = [p for group in optimizer.param_groups for p in group["params"]]
    in_state = sum(t.numel() * 8 for values in optimizer.state.values() for t in _tensors(values))
    require_memory(
        16.0 * sum(p.numel() for p in held) + in_state,
        f"A copy of {type(optimizer).__name__} with its state",
        "free some memory, or move the module to a larger device",
    )
    wide = all(p.device.type != "mps" for p in held)
    failure: Exception | None = None
    for double in (True, False) if wide else (False,):  # an optimiser may know the dtype of the parameters only
        try:
            return _step_of_copy(optimizer, held, gradients, factor, double)
        except Exception as error:
            failure = error
    why = str(failure).partition("\n")[0].strip(" .") or type(failure).__name__
    raise ValueError(
        f"`optimizer` {type(optimizer).__name__} does not step on a copy with dense gradients alone ({why:.200}); pass "
        "an optimiser whose step() needs no closure."
    ) from failure


def _step_of_copy(
    optimizer: Any,
    held: Sequence[Any],
    gradients: Mapping[Any, Any],
    factor: float,
    wide: bool,
) -> dict[Any, Any]:
    taker, copies = twin(optimizer, held, wide)
    for p, copied in copies.items():
        if gradients.get(p) is not None:
            copied.grad = gradients[p].detach().to(copied.dtype, copy=True)
    for group in taker.param_groups:
        group["lr"] = group["lr"] * factor
    before = {p: t.detach().clone() for p, t in copies.items() if p in gradients}
    with torch.enable_grad():  # as in a loop of training: step() turns it off itself
        type(taker).step(taker)  # type: ignore[call-arg]
    return {p: copies[p].detach() - start for p, start in before.items()}


def twin(optimizer: Any, parameters: Sequence[Any], wide: bool = False) -> tuple[Any, dict[Any, Any]]:
    """A copy of an optimiser, of copies of its parameters, and those by the originals.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    parameters : sequence
        Copied too, whether the optimiser has them or not.
    wide : bool
        Whether numbers become float64.
    """
    copies: dict[Any, Any] = {}
    memo: dict[int, Any] = {}
    for p in (*parameters, *(p for group in optimizer.param_groups for p in group["params"])):
        if p not in copies:
            dtype = torch.float64 if wide and p.dtype.is_floating_point else p.dtype
            fresh = torch.nn.Parameter(p.detach().to(dtype, copy=True), requires_grad=p.requires_grad)
            copies[p] = memo[id(p)] = fresh
    taker = object.__new__(type(optimizer))
    # A scheduler puts its own `step` there, which counts steps of the optimiser.
    own = {name: value for name, value in vars(optimizer).items() if name not in (*_HOOKS, "step")}
    vars(taker).update(copy.deepcopy(own, memo))
    vars(taker).update({name: type(getattr(optimizer, name))() for name in _HOOKS if hasattr(optimizer, name)})
    if wide:
        for values in taker.state.values():
            for name, value in values.items() if isinstance(values, dict) else ():
                if torch.is_tensor(value) and value.is_floating_point() and value.ndim:
                    values[name] = value.to(torch.float64)
    return taker, copies


def _tensors(values: Any) -> Iterable[Any]:
    return (t for t in values.values() if torch.is_tensor(t)) if isinstance(values, dict) else ()


def frozen_rule(optimizer: Any, parameters: Sequence[Any]) -> FrozenRule | str:
    """The rule whose limit of stability is known, or why there is none.

    Second moments and, in NAdam and RAdam, weights that change with the step are those of the present state. The first
    moment counts as long past its bias correction.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    parameters : sequence of P numbers in all
        Those whose order the vectors have.

    Returns
    -------
    FrozenRule or str
        One sentence without a full stop, where there is no limit.
    """
    name = type(optimizer).__name__
    kind = next((kind for kind in _RULES if _steps_as(optimizer, kind)), None)
    if kind is None:
        why = _NO_LIMIT.get(name) or "its rule is not known here"
        return f"{name} has no limit of stability: {why}"
    where = {p: group for group in optimizer.param_groups for p in group["params"]}
    rows: list[list[np.ndarray]] = []
    words = ""
    for p in parameters:
        group = where.get(p)
        numbers: tuple[Any, ...] = (0.0, 0.0, 0.0)
        if group is not None:
            state = optimizer.state.get(p) or {}
            found = _RULES[kind](group, {key: _double(value) for key, value in state.items()})
            if isinstance(found, str):
                if not state and optimizer.state:
                    return (
                        f"{name} has stepped, but a parameter of shape {tuple(p.shape)} has no second moments yet; "
                        "take a step in which all have gradients"
                    )
                return found
            *numbers, words = found  # type: ignore[assignment]
        rows.append([_flat(number, p) for number in numbers])
    scale, l2, decay = (np.concatenate(column) for column in zip(*rows, strict=True))
    return FrozenRule(scale, l2, decay, words)


def _steps_as(optimizer: Any, name: str) -> bool:
    """Whether it is of that class and steps by its rule: a subclass may have another."""
    kind = getattr(torch.optim, name)
    return isinstance(optimizer, kind) and inspect.unwrap(type(optimizer).step) is inspect.unwrap(kind.step)


def _double(value: Any) -> Any:
    return value.detach().to("cpu", torch.float64).numpy() if torch.is_tensor(value) else value


def _flat(number: Any, p: Any) -> np.ndarray:
    return np.broadcast_to(np.asarray(number, float).reshape(-1 if np.ndim(number) else ()), (p.numel(),))


def _decays(group: Mapping[str, Any], decoupled: bool) -> tuple[float, float]:
    """W and D of a group."""
    w = float(group.get("weight_decay", 0.0))
    return (0.0, float(group["lr"]) * w) if decoupled else (w, 0.0)


def _fresh(name: str) -> str:
    return (
        f"{name} has no second moments before its first step, and those after it are the gradient's own sizes, which "
        "change within a few steps; the critical rate is its answer until then"
    )


def _sgd(group: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    lr, b, d = (float(group[name]) for name in ("lr", "momentum", "dampening"))
    nesterov = bool(group["nesterov"]) and b > 0
    scale = lr * ((1 + 2 * b) if nesterov else (1 - d) if b else 1.0) / (1 + b)
    words = f"{'Nesterov' if nesterov else 'heavy-ball'} momentum {b:g}" if b else "without momentum"
    return scale, *_decays(group, False), f"SGD {words}"


def _adam_like(name: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Any]:
    def rule(group: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
        if "exp_avg_sq" not in state:
            return _fresh(name)
        lr, eps = float(group["lr"]), float(group["eps"])
        b1, b2 = (float(b) for b in group["betas"])
        step = float(state["step"])
        second = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
        root, correction = np.sqrt(second), np.sqrt(1 - b2**step)
        first = (1 - b1) / (1 + b1)  # what is left of the first moment when the gradient alternates
        decoupled = bool(group.get("decoupled_weight_decay", name == "AdamW"))
        words = f"{name} with its second moments after {step:.0f} steps"
        if name == "NAdam":
            share = 0.96 ** (step * float(group["momentum_decay"]))
            following = 0.96 ** ((step + 1) * float(group["momentum_decay"]))
            mu, mu_next = b1 * (1 - 0.5 * share), b1 * (1 - 0.5 * following)
            product = float(state["mu_product"])
            first = (1 - mu) / (1 - product) + mu_next / (1 - product * mu_next) * first
        if name == "RAdam":
            far = 2 / (1 - b2) - 1
            rho = far - 2 * step * b2**step / (1 - b2**step)
            if rho <= 5:
                return f"RAdam is still in its first steps, which are those of SGD; {_fresh(name)}"
            first *= np.sqrt((rho - 4) * (rho - 2) * far / ((far - 4) * (far - 2) * rho))
            return lr * first * correction / (root + eps), *_decays(group, decoupled), words
        return lr * first / (root / correction + eps), *_decays(group, decoupled), words

    return rule


def _adamax(group: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    if "exp_inf" not in state:
        return _fresh("Adamax")
    b1, step = float(group["betas"][0]), float(state["step"])
    words = f"Adamax with its norms after {step:.0f} steps"
    return float(group["lr"]) * (1 - b1) / (1 + b1) / state["exp_inf"], *_decays(group, False), words


def _rmsprop(group: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    if "square_avg" not in state:
        return _fresh("RMSprop")
    square = state["square_avg"] - (state["grad_avg"] ** 2 if group["centered"] else 0.0)
    root = np.sqrt(np.maximum(square, 0.0)) + float(group["eps"])
    words = f"RMSprop with its second moments after {float(state['step']):.0f} steps"
    return float(group["lr"]) / (1 + float(group["momentum"])) / root, *_decays(group, False), words


def _adagrad(group: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    step = float(state.get("step", 0.0))
    if step == 0:
        return _fresh("Adagrad")
    rate = float(group["lr"]) / (1 + step * float(group["lr_decay"]))
    words = f"Adagrad with its sums after {step:.0f} steps"
    return rate / (np.sqrt(state["sum"]) + float(group["eps"])), *_decays(group, False), words


_RULES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Any]] = {
    "SGD": _sgd,
    **{name: _adam_like(name) for name in ("AdamW", "Adam", "NAdam", "RAdam")},  # AdamW may be a subclass of Adam
    "Adamax": _adamax,
    "RMSprop": _rmsprop,
    "Adagrad": _adagrad,
}

"""What theory says of a fresh draw of a module: its rate, and how the rate scales."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from ..learning_rate import first_step, max_learning_rate
from ..mean_field import MeanField
from ..network import Network, scale_widths
from ._torch import torch
from .losses import is_of, plain
from .module_operator import ModuleOperator
from .reader import ModuleNetwork, read
from .reading import selector

__all__ = ["MOST_PLACES", "Theory", "loss_word", "some_inputs", "theory_of"]

MOST_PLACES = 512  # samples times sites up to which theory is computed unasked: half a minute where units are sampled
FEWEST = 8  # samples
NAMES = {
    name: name.lower()
    for name in ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop", "Muon")
}
# What a first step does not depend on, or what is told apart below.
SHARED = ("momentum", "dampening", "nesterov", "weight_decay", "eps", "amsgrad", "lr")


@dataclass(frozen=True)
class Theory:
    """Rate of a fresh draw, or why there is none.

    Attributes
    ----------
    rate : float or None
    band : tuple of float or None
        What 5 and 95 % of the draws have less than, where there is a law.
    notion : str
        "stability", or "first step".
    scaling : dict of str to float
        Factors of the rate at twice the "width", "depth", "batch".
    reason : str
        Why there is no rate; else "".
    caution : str
    """

    rate: float | None = None
    band: tuple[float, float] | None = None
    notion: str = ""
    scaling: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    caution: str = ""


def theory_of(
    one: ModuleOperator, X: Any, Y: Any, loss: Any, optimizer: Any, scaling: bool, quick: bool = False
) -> Theory:
    """Theory of fresh draws of the module as it stands, on this batch.

    Parameters
    ----------
    one : ModuleOperator
    X, Y, loss, optimizer
        As `learning_rate` takes them.
    scaling : bool
        Whether at twice the sizes too, which is theory four times over.
    quick : bool
        If so, not of images.
    """
    try:
        rule = _Rule(one, Y, loss, optimizer)
        net = read(one.module, X, "weights", selector(one._select))
        inputs, caution = some_inputs(net)
        rate, band = rule(net, inputs)
    except (NoTheory, ValueError, ArithmeticError, MemoryError) as error:
        return Theory(reason=str(error))
    factors: dict[str, float] = {}
    for name, other in _others(net, inputs) if scaling and not (quick and inputs.ndim > 2) else ():
        try:
            found = rule(*other)[0]
        except (NoTheory, ValueError, ArithmeticError, MemoryError):
            continue  # no theory of that size: nothing is said about it
        factors[name] = _batch_factor(rule, rate, found) if name == "batch" else found / rate
    cautions = filter(None, [net.caution, caution, rule.caution])
    return Theory(rate, band, rule.notion, factors, "", " ".join(cautions))


def loss_word(loss: Any, outputs: Any = None) -> str:
    """The name of a loss in this package; `NoTheory` for one that has none."""
    own = plain(loss)
    if is_of(own, torch.nn.MSELoss):
        return "torch_mse_sum" if own.reduction == "sum" else "torch_mse"
    usual = is_of(own, torch.nn.CrossEntropyLoss) and own.reduction == "mean"
    if usual and own.weight is None and not getattr(own, "label_smoothing", 0.0):
        return "cross_entropy"
    name = getattr(loss, "__name__", type(loss).__name__)
    raise NoTheory(
        f"there is theory of MSELoss and of CrossEntropyLoss with mean, without weights and smoothing, and `loss` is "
        f"{name}, or has other settings"
    )


class _Rule:
    """The rate of a network by an optimiser and a loss."""

    def __init__(self, one: ModuleOperator, Y: Any, loss: Any, optimizer: Any):
        self.loss = loss_word(loss)
        name = type(optimizer).__name__
        if NAMES.get(name) is None or type(optimizer) is not getattr(torch.optim, name, None):
            raise NoTheory(f"there is no theory of the first step of {name}")
        self.optimizer = NAMES[name]
        first, *others = optimizer.param_groups
        if any(group.get(key) != first.get(key) for group in others for key in SHARED):
            raise NoTheory("theory is of one rate and one rule for all parameters, and the groups differ")
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if one.frozen or any(id(p) not in held for p in one.tensors):
            raise NoTheory("theory trains all parameters, and some are frozen or not in the optimiser")
        self.settings: dict[str, Any] = {key: float(first[key]) for key in ("momentum", "weight_decay") if key in first}
        if self.settings.get("momentum") and first.get("nesterov"):
            self.settings["nesterov"] = True
        if self.optimizer == "sgd" and first.get("dampening"):
            raise NoTheory("theory is of momentum without dampening")
        if self.optimizer != "sgd" and "eps" in first:
            self.settings["eps"] = float(first["eps"])
        self.notion = "stability" if self.optimizer == "sgd" else "first step"
        self.targets = _targets(Y)
        self.caution = ""

    def __call__(self, net: Network, inputs: np.ndarray) -> tuple[float, tuple[float, float] | None]:
        if self.notion == "first step":
            targets = None if self.targets is None else self.targets[: len(inputs)]
            step = first_step(
                net, self.optimizer, inputs=inputs, targets=targets, loss=self.loss, **self.settings
            )
            self.caution = step.caution
            return float(step), step.band
        wide = MeanField(net, inputs=inputs)
        limit = max_learning_rate(wide, loss=self.loss, **self.settings)
        if self.loss == "cross_entropy" and limit.initial is not None:
            return limit.initial, None  # at the softmax of fresh outputs, as the module's own stable rate
        try:
            low = max_learning_rate(wide, loss=self.loss, confidence=0.95, **self.settings).value
            high = max_learning_rate(wide, loss=self.loss, confidence=0.05, **self.settings).value
        except (NoTheory, ValueError):
            self.caution = f"No band: {limit.why_not_safe}"
            return limit.value, None
        self.caution = limit.safe_caution
        return limit.value, (low, high)


def _targets(Y: Any) -> Any:
    if not isinstance(Y, torch.Tensor | np.ndarray):
        return None
    found = np.asarray(Y.detach().cpu() if isinstance(Y, torch.Tensor) else Y)
    return found if found.ndim in (1, 2) else None


def some_inputs(net: ModuleNetwork) -> tuple[np.ndarray, str]:
    """As many inputs as theory can take at a time."""
    sites = max([prod(net.input_shape[1:]), *(prod(shape[1:]) for _, shape in net.walk())])
    n, room = len(net.inputs), MOST_PLACES // sites
    if n <= room or sites == 1:
        return net.inputs, ""
    if room < FEWEST or net.couples_samples:  # which are another network with fewer of them
        raise NoTheory(
            f"theory of {n} inputs with {sites} sites takes {n * sites} places, and up to {MOST_PLACES} are computed "
            "unasked; pass smaller inputs, or mfdnn.max_learning_rate the network that mfdnn.pytorch.network reads"
        )
    return net.inputs[:room], f"Theory is of the first {room} samples, as all of them would take long."


def _others(net: ModuleNetwork, inputs: np.ndarray) -> list[tuple[str, tuple[Network, np.ndarray]]]:
    """Networks of twice the size, and half of the batch, those that there are."""
    found: list[tuple[str, tuple[Network, np.ndarray]]] = []
    try:
        found.append(("width", (scale_widths(net, 2.0), inputs)))
    except ValueError:
        pass  # a block at the inputs or outputs ties the widths to theirs
    if (deeper := _twice_as_deep(net)) is not None:
        found.append(("depth", (deeper, inputs)))
    if len(inputs) >= 2 * FEWEST:
        found.append(("batch", (net, inputs[: len(inputs) // 2])))
    return found


def _batch_factor(rule: _Rule, whole: float, half: float) -> float:
    """Of twice the batch, from the rates on all of it and on half.

    A largest eigenvalue is a + b/T; the first step of others follows a power of T.
    """
    if rule.notion != "stability":
        return whole / half
    # Of a sum over samples the rates are those of the mean over T.
    factor = 2.0 if rule.loss == "torch_mse_sum" else 1.0
    now, before = 1 / whole, factor / half
    return now / (factor * (now - 0.5 * (before - now)))


def _twice_as_deep(net: Network) -> Network | None:
    """Every stretch from a weight layer to the next that keeps its shape, twice."""
    layers, shapes = list(net.layers), [net.input_shape]
    for layer in layers:
        shapes.append(layer.output_shape(shapes[-1]))
    weighs = [i for i, layer in enumerate(layers) if layer.total_weight_layers]
    found = layers[: weighs[0]]
    repeated = False
    for start, end in zip(weighs, [*weighs[1:], len(layers)], strict=True):
        stretch = layers[start:end]
        keeps = shapes[start] == shapes[end] and end < len(layers)
        found += stretch * (2 if keeps else 1)
        repeated = repeated or keeps
    return Network(net.input_shape, found) if repeated else None

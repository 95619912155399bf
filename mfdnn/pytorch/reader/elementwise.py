"""Elementwise functions of one signal, replayed as one activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...activations import Activation, activation
from .._torch import torch
from .recording import Derived, Node, Ref, mapped

__all__ = ["CASTS", "Replay", "as_activation", "elementwise", "replayed"]

CASTS = ("to", "float", "double", "type", "type_as", "contiguous", "clone", "requires_grad", "alias")
NAMES = {
    *("add", "sub", "rsub", "mul", "multiply", "div", "divide", "truediv", "rtruediv", "true_divide", "neg"),
    *("negative", "abs", "absolute", "pow", "rpow", "square", "sqrt", "rsqrt", "reciprocal", "exp", "exp2", "expm1"),
    *("log", "log1p"),
    *("log2", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "arctan", "asinh", "acosh"),
    *("atanh", "sinc", "erf", "erfc", "erfinv", "sigmoid", "logit", "relu", "relu6", "leaky_relu", "elu", "selu"),
    *("celu", "gelu", "silu", "mish", "softplus", "softsign", "hardtanh", "hardsigmoid", "hardswish", "hardshrink"),
    *("softshrink", "tanhshrink", "threshold", "logsigmoid", "clamp", "clip", "clamp_min", "clamp_max", "where"),
    *("maximum", "minimum", "gt", "lt", "ge", "le", "eq", "ne", "greater", "less", "sign", "sgn", "addcmul", "addcdiv"),
    *("lerp", "masked_fill", "heaviside", "prelu", "special_erf", "special_erfc", "special_expit", "special_log1p"),
    *("special_ndtr", "special_i0", "special_i1", "lgamma", "digamma", "logaddexp", "hypot", "atan2", "copysign"),
    *("floor", "ceil", "round", "trunc", "frac", "logical_not", "logical_and", "logical_or", "nan_to_num"),
    *CASTS,
}


def elementwise(node: Node) -> bool:
    """Whether each number that leaves depends on those at its place alone.

    And on no tensor of several numbers.
    """
    if node.name not in NAMES or node.trouble or len(node.shapes) != 1:
        return False
    constants: list[Derived] = []
    mapped((node.args, node.kwargs), constants.append, Derived)
    return all(d.value.numel() == 1 for d in constants)


def replayed(nodes: Sequence[Node], source: Ref, target: Ref, x: Any) -> Any:
    """What the nodes make of a tensor in the place of the source."""
    known = {source: x}
    for node in nodes:
        args, kwargs = mapped((node.args, node.kwargs), partial(_given, known, x), (Ref, Derived))
        if node.name in CASTS:
            out = next(t for t in args if isinstance(t, torch.Tensor)).clone()
        else:
            out = node.function(*args, **kwargs)
        results: list[Any] = []
        mapped(out, results.append, torch.Tensor)
        known |= {Ref(node.index, part): result for part, result in enumerate(results)}
    return known[target]


def _given(known: dict[Ref, Any], x: Any, value: Any) -> Any:
    if isinstance(value, Ref):
        return known[value].clone()  # functions may write to it
    tensor = value.value.detach()
    return tensor.to(x.dtype) if tensor.is_floating_point() else tensor


class Replay:
    """Recorded functions, one after the other, as one of NumPy in float64."""

    def __init__(self, nodes: Sequence[Node], source: Ref, target: Ref):
        def fixed(value: Derived) -> Derived:
            tensor = value.value.detach().cpu().clone().reshape(())
            return Derived(tensor, value.parameters, False)

        self.nodes = [
            replace(n, args=mapped(n.args, fixed, Derived), kwargs=mapped(n.kwargs, fixed, Derived)) for n in nodes
        ]
        self.source, self.target = source, target

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values at x, of its shape."""
        t = torch.from_numpy(np.array(x, dtype=np.float64))
        with torch.inference_mode(False), torch.no_grad():
            found = replayed(self.nodes, self.source, self.target, t)
            return found.to(torch.float64).expand(t.shape).numpy()

    @property
    def key(self) -> str:
        """What tells two such functions apart."""
        order = {self.source: 0} | {Ref(n.index): i + 1 for i, n in enumerate(self.nodes)}

        def word(value: Any) -> str:
            return f"#{order.get(value)}" if isinstance(value, Ref) else repr(value.value.tolist())

        return repr([(n.name, mapped((n.args, n.kwargs), word, (Ref, Derived))) for n in self.nodes])


def as_activation(nodes: Sequence[Node], source: Ref, target: Ref, label: str) -> Activation:
    """The activation that recorded elementwise functions are, together.

    A single function that this package knows is the built-in one.
    """
    essential = [n for n in nodes if n.name not in CASTS]
    if not essential:
        return activation("linear")
    if len(essential) == 1 and (found := _known(essential[0])) is not None:
        return found
    return Activation(label or "_".join(n.name for n in essential[:4]), Replay(nodes, source, target))


def _number(value: Any) -> float:
    return float(value.value.detach()) if isinstance(value, Derived) else float(value)


PLAIN = {
    "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "selu": "selu", "silu": "silu", "mish": "mish", "erf": "erf",
    "sin": "sin", "cos": "cos", "abs": "abs", "atan": "arctan", "arctan": "arctan", "softsign": "softsign",
    "hardsigmoid": "hard_sigmoid", "special_expit": "sigmoid", "special_erf": "erf",
}  # fmt: skip


def _known(node: Node) -> Activation | None:
    """The built-in activation that a single function is; None for another."""
    name, get = node.name, node.argument
    if name in PLAIN:
        return activation(PLAIN[name])
    if name == "gelu":
        return activation("gelu" if get(1, "approximate", "none") == "none" else "gelu_tanh")
    if name == "leaky_relu":
        return activation("leaky_relu", slope=_number(get(1, "negative_slope", 0.01)))
    if name == "prelu":
        return activation("leaky_relu", slope=_number(get(1, "weight")))
    if name == "elu":
        return activation("elu", alpha=_number(get(1, "alpha", 1.0)))
    if name == "softplus" and _number(get(1, "beta", 1)) == 1 and _number(get(2, "threshold", 20)) >= 20:
        return activation("softplus")
    if name == "hardtanh" and (_number(get(1, "min_val", -1.0)), _number(get(2, "max_val", 1.0))) == (-1, 1):
        return activation("hard_tanh")
    if name in ("clamp", "clip", "clamp_min"):
        low, high = get(1, "min"), None if name == "clamp_min" else get(2, "max")
        if low is not None and high is None and _number(low) == 0:
            return activation("relu")
    return None

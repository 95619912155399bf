"""The built-in activations: each a factory of (phi, phi', phi'', kinks).

phi and phi' keep float32 as float32; derivatives are exact formulas. `kinks` names where one of the three jumps.
scipy.special is a fifth of a second to import, and waits for those who need it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["BUILT_IN"]

SELU_ALPHA = 1.6732632423543772848
SELU_SCALE = 1.0507009873554804934


def _linear() -> tuple:
    return (lambda x: x * 1.0), np.ones_like, np.zeros_like, ()


def _relu() -> tuple:
    return (lambda x: np.maximum(x, 0)), _above(0.0), np.zeros_like, (0.0,)


def _above(threshold: float) -> Callable:
    """1 above the threshold, 0 below it and at it."""
    return lambda x: (x > threshold).astype(x.dtype)  # twenty times faster than np.where


def _leaky_relu(slope: float = 0.01) -> tuple:
    return (
        lambda x: np.where(x > 0, x, x * x.dtype.type(slope)),
        lambda x: np.where(x > 0, x.dtype.type(1), x.dtype.type(slope)),
        np.zeros_like,
        (0.0,) if slope != 1 else (),
    )


def _shifted_relu(shift: float = 0.5) -> tuple:
    return (lambda x: np.maximum(x, x.dtype.type(-shift))), _above(-shift), np.zeros_like, (-shift,)


def _abs() -> tuple:
    return np.abs, np.sign, np.zeros_like, (0.0,)


def _elu(alpha: float = 1.0) -> tuple:
    return (
        lambda x: np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, x.dtype.type(1), x.dtype.type(alpha) * np.exp(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 0.0, alpha * np.exp(np.minimum(x, 0))),
        (0.0,),
    )


def _selu() -> tuple:
    function, derivative, second, kinks = _elu(SELU_ALPHA)
    return (
        lambda x: x.dtype.type(SELU_SCALE) * function(x),
        lambda x: x.dtype.type(SELU_SCALE) * derivative(x),
        lambda x: SELU_SCALE * second(x),
        kinks,
    )


def _gelu() -> tuple:
    from scipy.special import ndtr

    return (
        lambda x: x * ndtr(x),
        lambda x: ndtr(x) + x * np.exp(-0.5 * x**2) * x.dtype.type(1 / np.sqrt(2 * np.pi)),
        lambda x: (2 - x**2) * np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi),
        (),
    )


def _gelu_tanh() -> tuple:
    from scipy.special import expit

    # (1 + tanh(y/2))/2 = expit(y), which keeps its digits for x -> -inf
    scale = 2 * np.sqrt(2 / np.pi)

    def argument(x: np.ndarray) -> np.ndarray:
        return x.dtype.type(scale) * (x + x.dtype.type(0.044715) * x**3)

    def derivative(x: np.ndarray) -> np.ndarray:
        y = argument(x)
        slope = x.dtype.type(scale) * (1 + x.dtype.type(3 * 0.044715) * x**2)
        return expit(y) + x * slope * expit(y) * expit(-y)

    def second(x: np.ndarray) -> np.ndarray:
        y, slope, bend = argument(x), scale * (1 + 3 * 0.044715 * x**2), scale * 6 * 0.044715 * x
        return expit(y) * expit(-y) * (2 * slope + x * (bend - slope**2 * np.tanh(y / 2)))

    return (lambda x: x * expit(argument(x))), derivative, second, ()


def _swish(beta: float = 1.0) -> tuple:
    from scipy.special import expit

    def derivative(x: np.ndarray) -> np.ndarray:
        y = x.dtype.type(beta) * x
        return expit(y) * (1 + y * expit(-y))

    def second(x: np.ndarray) -> np.ndarray:
        y = beta * x
        return beta * expit(y) * expit(-y) * (2 - y * np.tanh(y / 2))

    return (lambda x: x * expit(x.dtype.type(beta) * x)), derivative, second, ()


def _silu() -> tuple:
    return _swish(1.0)


def _mish() -> tuple:
    from scipy.special import expit

    def gate(x: np.ndarray) -> np.ndarray:
        return np.tanh(np.logaddexp(x, x.dtype.type(0)))

    def rate(x: np.ndarray) -> np.ndarray:
        """The slope of the gate, 1 - gate^2 times expit, where 1 - gate would be rounding."""
        y = 2 * np.logaddexp(x, x.dtype.type(0))
        return 4 * expit(y) * expit(-y) * expit(x)

    def derivative(x: np.ndarray) -> np.ndarray:
        return gate(x) + x * rate(x)

    def second(x: np.ndarray) -> np.ndarray:
        return rate(x) * (2 + x * (expit(-x) - 2 * gate(x) * expit(x)))

    return (lambda x: x * gate(x)), derivative, second, ()


def _softplus() -> tuple:
    from scipy.special import expit

    return (lambda x: np.logaddexp(x, x.dtype.type(0))), expit, (lambda x: expit(x) * expit(-x)), ()


def _sigmoid() -> tuple:
    from scipy.special import expit

    return (
        expit,
        lambda x: expit(x) * expit(-x),
        lambda x: -expit(x) * expit(-x) * np.tanh(x / 2),
        (),
    )


def _hard_sigmoid() -> tuple:
    return (
        lambda x: np.clip(x + 3, 0, 6) / 6,
        lambda x: np.where(np.abs(x) < 3, x.dtype.type(1 / 6), x.dtype.type(0)),
        np.zeros_like,
        (-3.0, 3.0),
    )


def _tanh() -> tuple:
    return (
        np.tanh,
        lambda x: 1 - np.tanh(x) ** 2,
        lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
        (),
    )


def _hard_tanh() -> tuple:
    return (
        lambda x: np.clip(x, -1, 1),
        lambda x: np.where(np.abs(x) < 1, x.dtype.type(1), x.dtype.type(0)),
        np.zeros_like,
        (-1.0, 1.0),
    )


def _erf() -> tuple:
    from scipy.special import erf

    return (
        erf,
        lambda x: x.dtype.type(2 / np.sqrt(np.pi)) * np.exp(-(x**2)),
        lambda x: -4 / np.sqrt(np.pi) * x * np.exp(-(x**2)),
        (),
    )


def _erf_unit() -> tuple:
    from scipy.special import erf

    return (
        lambda x: erf(x * x.dtype.type(np.sqrt(np.pi) / 2)),
        lambda x: np.exp(x**2 * x.dtype.type(-np.pi / 4)),
        lambda x: -np.pi / 2 * x * np.exp(-np.pi / 4 * x**2),
        (),
    )


def _arctan() -> tuple:
    return np.arctan, (lambda x: 1 / (1 + x**2)), (lambda x: -2 * x / (1 + x**2) ** 2), ()


def _softsign() -> tuple:
    return (
        lambda x: x / (1 + np.abs(x)),
        lambda x: 1 / (1 + np.abs(x)) ** 2,
        lambda x: -2 * np.sign(x) / (1 + np.abs(x)) ** 3,
        (0.0,),
    )


def _sin() -> tuple:
    return np.sin, np.cos, (lambda x: -np.sin(x)), ()


def _cos() -> tuple:
    return np.cos, (lambda x: -np.sin(x)), (lambda x: -np.cos(x)), ()


def _exp() -> tuple:
    return np.exp, np.exp, np.exp, ()


def _step() -> tuple:
    return _above(0.0), np.zeros_like, np.zeros_like, (0.0,)


def _sign() -> tuple:
    return np.sign, np.zeros_like, np.zeros_like, (0.0,)


BUILT_IN: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "shifted_relu": _shifted_relu,
    "abs": _abs,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "swish": _swish,
    "mish": _mish,
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "tanh": _tanh,
    "hard_tanh": _hard_tanh,
    "erf": _erf,
    "erf_unit": _erf_unit,
    "arctan": _arctan,
    "softsign": _softsign,
    "sin": _sin,
    "cos": _cos,
    "exp": _exp,
    "step": _step,
    "sign": _sign,
}

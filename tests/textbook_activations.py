"""Activations as people type them, and what each of them is in numbers that keep their digits.

`CATALOGUE[name]` is the function by a formula without cancellation or overflow, its slope, its breaks, and the forms
in which it is typed. Some of these overflow, some cancel in a tail or near zero: they are textbook forms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special, stats

__all__ = ["CATALOGUE", "Textbook", "second_moment"]


class Textbook(NamedTuple):
    """An activation: value and slope in full precision, where either breaks, and the forms in which it is typed."""

    value: Callable
    slope: Callable
    breaks: tuple[float, ...]
    typed: tuple[Callable, ...]
    jumps: bool = False


expit, ndtr, exp, log, tanh, where = special.expit, special.ndtr, np.exp, np.log, np.tanh, np.where
GAUSS_X, GAUSS_W = np.polynomial.legendre.leggauss(32)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
RRELU = (1 / 8 + 1 / 3) / 2


def second_moment(book: Textbook, q: float, derivative: int = 0) -> float:
    """E[phi^2] or E[phi'^2]: 32 points on panels of 0.2, or a fifth of sqrt(q), cut at the breaks."""
    end, width = 12 * np.sqrt(q), min(0.2, np.sqrt(q) / 5)
    edges = np.union1d(np.linspace(-end, end, int(2 * end / width)), book.breaks)
    edges = edges[np.abs(edges) <= end]
    half = np.diff(edges)[:, None] / 2
    x = edges[:-1, None] + half * (1 + GAUSS_X)
    weight = half * GAUSS_W * exp(-0.5 * x**2 / q) / np.sqrt(2 * np.pi * q)
    return float(np.sum(weight * (book.value, book.slope)[derivative](x) ** 2))


def sigmoid(x):
    """As it is typed."""
    return 1 / (1 + exp(-x))


def density(x):
    """Of the standard normal."""
    return exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def softplus(x):
    """In full precision."""
    return np.logaddexp(0, x)


def soft_gate(x):
    """tanh(log(1 + e^x)) and its slope."""
    g = tanh(softplus(x))
    return g, (1 - g) * (1 + g) * expit(x)


def gelu_gate(x):
    """Phi of the tanh form, and its slope."""
    y = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return expit(y), 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2) * expit(y) * expit(-y)


def leaky(slope):
    """Slopes 1 and `slope`."""
    return lambda x: where(x > 0, x, slope * x), lambda x: where(x > 0, 1.0, slope), (0.0,)


def swish(beta):
    """x/(1 + e^(-beta x)), and its slope."""
    return (
        lambda x: x * expit(beta * x),
        lambda x: expit(beta * x) * (1 + beta * x * expit(-beta * x)),
        (),
    )


def x_minus_tanh(x):
    """Its series near zero, where the difference cancels."""
    series = x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315 - 62 * x**9 / 2835 + 1382 * x**11 / 155925
    return where(np.abs(x) < 0.05, series, x - tanh(x))


CATALOGUE = {
    "relu": Textbook(
        lambda x: np.maximum(x, 0),
        lambda x: where(x > 0, 1.0, 0.0),
        (0.0,),
        (
            lambda x: np.maximum(x, 0),
            lambda x: x * (x > 0),
            lambda x: where(x > 0, x, 0),
            lambda x: (x + np.abs(x)) / 2,
            lambda x: np.clip(x, 0, None),
        ),
    ),
    "leaky relu": Textbook(
        *leaky(0.01), (lambda x: where(x > 0, x, 0.01 * x), lambda x: np.maximum(x, 0.01 * x))
    ),
    "prelu": Textbook(*leaky(0.25), (lambda x: np.maximum(0, x) + 0.25 * np.minimum(0, x),)),
    "rrelu in evaluation": Textbook(*leaky(RRELU), (lambda x: where(x >= 0, x, RRELU * x),)),
    "relu6": Textbook(
        lambda x: np.clip(x, 0, 6),
        lambda x: where((x > 0) & (x < 6), 1.0, 0.0),
        (0.0, 6.0),
        (lambda x: np.minimum(np.maximum(x, 0), 6),),
    ),
    "relu squared": Textbook(
        lambda x: np.maximum(x, 0) ** 2,
        lambda x: 2 * np.maximum(x, 0),
        (0.0,),
        (lambda x: np.maximum(x, 0) ** 2,),
    ),
    "elu": Textbook(
        lambda x: where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: exp(np.minimum(x, 0)),
        (0.0,),
        (lambda x: where(x > 0, x, exp(x) - 1), lambda x: where(x > 0, x, np.expm1(x))),
    ),
    "selu": Textbook(
        lambda x: SELU_SCALE * where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
        lambda x: SELU_SCALE * where(x > 0, 1, SELU_ALPHA * exp(np.minimum(x, 0))),
        (0.0,),
        (lambda x: SELU_SCALE * where(x > 0, x, SELU_ALPHA * (exp(x) - 1)),),
    ),
    "celu": Textbook(
        lambda x: where(x > 0, x, 2 * np.expm1(np.minimum(x, 0) / 2)),
        lambda x: exp(np.minimum(x, 0) / 2),
        (0.0,),
        (lambda x: np.maximum(0, x) + np.minimum(0, 2 * (exp(x / 2) - 1)),),
    ),
    "gelu": Textbook(
        lambda x: x * ndtr(x),
        lambda x: ndtr(x) + x * density(x),
        (),
        (
            lambda x: 0.5 * x * (1 + special.erf(x / np.sqrt(2))),
            lambda x: x * stats.norm.cdf(x),
            lambda x: x / 2 * special.erfc(-x / np.sqrt(2)),
        ),
    ),
    "gelu, tanh form": Textbook(
        lambda x: x * gelu_gate(x)[0],
        lambda x: gelu_gate(x)[0] + x * gelu_gate(x)[1],
        (),
        (
            lambda x: 0.5 * x * (1 + tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
            lambda x: 0.5 * x * (1 + tanh(0.7978845608028654 * x * (1 + 0.044715 * x * x))),
        ),
    ),
    "quick gelu": Textbook(*swish(1.702), (lambda x: x * sigmoid(1.702 * x), lambda x: x / (1 + exp(-1.702 * x)))),
    "silu": Textbook(
        *swish(1.0),
        (
            lambda x: x / (1 + exp(-x)),
            lambda x: x * sigmoid(x),
            lambda x: x * exp(x) / (1 + exp(x)),
            lambda x: x * (1 + tanh(x / 2)) / 2,
        ),
    ),
    "swish": Textbook(*swish(2.0), (lambda x: x / (1 + exp(-2 * x)),)),
    "mish": Textbook(
        lambda x: x * soft_gate(x)[0],
        lambda x: soft_gate(x)[0] + x * soft_gate(x)[1],
        (),
        (
            lambda x: x * tanh(log(1 + exp(x))),
            lambda x: x * tanh(np.log1p(exp(x))),
            lambda x: x * ((1 + exp(x)) ** 2 - 1) / ((1 + exp(x)) ** 2 + 1),
        ),
    ),
    "softplus": Textbook(
        softplus,
        expit,
        (),
        (
            lambda x: log(1 + exp(x)),
            lambda x: np.log1p(exp(x)),
            lambda x: np.maximum(x, 0) + np.log1p(exp(-np.abs(x))),
            lambda x: where(x > 20, x, np.log1p(exp(np.minimum(x, 20)))),
            lambda x: where(x > 20, x, log(1 + exp(x))),
            lambda x: where(x > 30, x, np.log1p(exp(x))),
        ),
    ),
    "softplus of beta": Textbook(
        lambda x: softplus(3 * x) / 3,
        lambda x: expit(3 * x),
        (),
        (lambda x: log(1 + exp(3 * x)) / 3, lambda x: where(3 * x > 20, x, log(1 + exp(3 * x)) / 3)),
    ),
    "log sigmoid": Textbook(
        lambda x: -softplus(-x),
        lambda x: expit(-x),
        (),
        (
            lambda x: log(1 / (1 + exp(-x))),
            lambda x: -log(1 + exp(-x)),
            lambda x: np.minimum(x, 0) - np.log1p(exp(-np.abs(x))),
        ),
    ),
    "sigmoid": Textbook(
        expit,
        lambda x: expit(x) * expit(-x),
        (),
        (
            sigmoid,
            lambda x: exp(x) / (1 + exp(x)),
            lambda x: (1 + tanh(x / 2)) / 2,
            lambda x: where(x >= 0, 1 / (1 + exp(-x)), exp(x) / (1 + exp(x))),
        ),
    ),
    "tanh": Textbook(
        tanh,
        lambda x: 4 * expit(2 * x) * expit(-2 * x),
        (),
        (
            lambda x: (exp(x) - exp(-x)) / (exp(x) + exp(-x)),
            lambda x: 2 / (1 + exp(-2 * x)) - 1,
            lambda x: (exp(2 * x) - 1) / (exp(2 * x) + 1),
            lambda x: np.sinh(x) / np.cosh(x),
        ),
    ),
    "scaled tanh": Textbook(
        lambda x: 1.7159 * tanh(2 * x / 3),
        lambda x: 1.7159 * 2 / 3 * 4 * expit(4 * x / 3) * expit(-4 * x / 3),
        (),
        (lambda x: 1.7159 * tanh(2 * x / 3),),
    ),
    "tanh shrink": Textbook(x_minus_tanh, lambda x: tanh(x) ** 2, (), (lambda x: x - tanh(x),)),
    "hard tanh": Textbook(
        lambda x: np.clip(x, -1, 1),
        lambda x: where(np.abs(x) < 1, 1.0, 0.0),
        (-1.0, 1.0),
        (
            lambda x: np.maximum(-1, np.minimum(1, x)),
            lambda x: where(x > 1, 1, where(x < -1, -1, x)),
            lambda x: (np.abs(x + 1) - np.abs(x - 1)) / 2,
        ),
    ),
    "hard sigmoid": Textbook(
        lambda x: np.clip(x + 3, 0, 6) / 6,
        lambda x: where(np.abs(x) < 3, 1 / 6, 0.0),
        (-3.0, 3.0),
        (lambda x: np.minimum(np.maximum(x + 3, 0), 6) / 6, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ),
    "hard sigmoid of old": Textbook(
        lambda x: np.clip(0.2 * x + 0.5, 0, 1),
        lambda x: where(np.abs(x) < 2.5, 0.2, 0.0),
        (-2.5, 2.5),
        (lambda x: np.clip(0.2 * x + 0.5, 0, 1),),
    ),
    "hard swish": Textbook(
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: where(x > 3, 1.0, where(x < -3, 0.0, (2 * x + 3) / 6)),
        (-3.0, 3.0),
        (lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6,),
    ),
    "hard shrink": Textbook(
        lambda x: where(np.abs(x) > 0.5, x, 0.0),
        lambda x: where(np.abs(x) > 0.5, 1.0, 0.0),
        (-0.5, 0.5),
        (lambda x: where(np.abs(x) > 0.5, x, 0), lambda x: x * ((x > 0.5) | (x < -0.5))),
        jumps=True,
    ),
    "soft shrink": Textbook(
        lambda x: x - np.clip(x, -0.5, 0.5),
        lambda x: where(np.abs(x) > 0.5, 1.0, 0.0),
        (-0.5, 0.5),
        (
            lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
            lambda x: where(x > 0.5, x - 0.5, where(x < -0.5, x + 0.5, 0)),
        ),
    ),
    "threshold": Textbook(
        lambda x: where(x > 0.1, x, 2.0),
        lambda x: where(x > 0.1, 1.0, 0.0),
        (0.1,),
        (lambda x: where(x > 0.1, x, 2.0),),
        jumps=True,
    ),
    "thresholded relu": Textbook(
        lambda x: where(x > 1, x, 0.0),
        lambda x: where(x > 1, 1.0, 0.0),
        (1.0,),
        (lambda x: x * (x > 1.0),),
        jumps=True,
    ),
    "softsign": Textbook(
        lambda x: x / (1 + np.abs(x)),
        lambda x: 1 / (1 + np.abs(x)) ** 2,
        (0.0,),
        (lambda x: x / (np.abs(x) + 1),),
    ),
    "squareplus": Textbook(
        lambda x: where(x > 0, (x + np.hypot(x, 2)) / 2, 2 / (np.hypot(x, 2) - np.minimum(x, 0))),
        lambda x: (1 + x / np.hypot(x, 2)) / 2,
        (),
        (lambda x: (x + np.sqrt(x**2 + 4)) / 2,),
    ),
    "sparse plus": Textbook(
        lambda x: where(x > 1, x, where(x < -1, 0.0, (x + 1) ** 2 / 4)),
        lambda x: np.clip((x + 1) / 2, 0, 1),
        (-1.0, 1.0),
        (lambda x: where(x <= -1, 0, where(x >= 1, x, 0.25 * (x + 1) ** 2)),),
    ),
    "sparse sigmoid": Textbook(
        lambda x: np.clip((x + 1) / 2, 0, 1),
        lambda x: where(np.abs(x) < 1, 0.5, 0.0),
        (-1.0, 1.0),
        (lambda x: where(x <= -1, 0, where(x >= 1, 1, 0.5 * (x + 1))),),
    ),
    "arctan": Textbook(np.arctan, lambda x: 1 / (1 + x**2), (), (lambda x: np.arctan(x),)),
    "sine": Textbook(np.sin, np.cos, (), (lambda x: np.sin(x),)),
    "fast sine": Textbook(lambda x: np.sin(30 * x), lambda x: 30 * np.cos(30 * x), (), (lambda x: np.sin(30 * x),)),
    "snake": Textbook(
        lambda x: x + np.sin(2 * x) ** 2 / 2,
        lambda x: 1 + np.sin(4 * x),
        (),
        (lambda x: x + 1 / 2 * np.sin(2 * x) ** 2, lambda x: x + (1 - np.cos(4 * x)) / 4),
    ),
    "gaussian": Textbook(lambda x: exp(-x * x), lambda x: -2 * x * exp(-x * x), (), (lambda x: exp(-(x**2)),)),
    "hat": Textbook(
        lambda x: (1 - x * x) * exp(-x * x / 2),
        lambda x: x * (x * x - 3) * exp(-x * x / 2),
        (),
        (lambda x: (1 - x**2) * exp(-(x**2) / 2),),
    ),
    "bent identity": Textbook(
        lambda x: x * x / (2 * (np.hypot(x, 1) + 1)) + x,
        lambda x: x / (2 * np.hypot(x, 1)) + 1,
        (),
        (lambda x: (np.sqrt(x**2 + 1) - 1) / 2 + x,),
    ),
    "inverse square root": Textbook(
        lambda x: x / np.hypot(x, 1), lambda x: np.hypot(x, 1) ** -3.0, (), (lambda x: x / np.sqrt(1 + x**2),)
    ),
    "x tanh x": Textbook(
        lambda x: x * tanh(x),
        lambda x: tanh(x) + 4 * x * expit(2 * x) * expit(-2 * x),
        (),
        (lambda x: x * (exp(x) - exp(-x)) / (exp(x) + exp(-x)),),
    ),
    "tanhexp": Textbook(
        lambda x: x * tanh(exp(np.minimum(x, 5))),
        lambda x: tanh(exp(np.minimum(x, 5))) + x * exp(np.minimum(x, 5)) / np.cosh(exp(np.minimum(x, 5))) ** 2,
        (),
        (lambda x: x * tanh(exp(x)),),
    ),
    "serf": Textbook(
        lambda x: x * special.erf(softplus(x)),
        lambda x: special.erf(softplus(x)) + x * 2 / np.sqrt(np.pi) * exp(-(softplus(x) ** 2)) * expit(x),
        (),
        (lambda x: x * special.erf(log(1 + exp(x))),),
    ),
    "complementary log-log": Textbook(
        lambda x: -np.expm1(-exp(np.minimum(x, 6))),
        lambda x: exp(np.minimum(x, 6) - exp(np.minimum(x, 6))),
        (),
        (lambda x: 1 - exp(-exp(x)),),
    ),
    "logarithm of both sides": Textbook(
        lambda x: np.sign(x) * np.log1p(np.abs(x)),
        lambda x: 1 / (1 + np.abs(x)),
        (0.0,),
        (lambda x: np.sign(x) * log(1 + np.abs(x)),),
    ),
    "logarithm of relu": Textbook(
        lambda x: np.log1p(np.maximum(x, 0)),
        lambda x: where(x > 0, 1 / (1 + np.maximum(x, 0)), 0.0),
        (0.0,),
        (lambda x: log(1 + np.maximum(0, x)),),
    ),
    "larger of x and sigmoid": Textbook(
        lambda x: np.maximum(x, expit(x)),
        lambda x: where(x > expit(x), 1.0, expit(x) * expit(-x)),
        (0.6590460684074065,),
        (lambda x: np.maximum(x, sigmoid(x)),),
    ),
    "step": Textbook(
        lambda x: where(x > 0, 1.0, 0.0),
        lambda x: 0.0 * x,
        (0.0,),
        (lambda x: where(x > 0, 1, 0), lambda x: np.heaviside(x, 0), lambda x: (np.sign(x) + 1) / 2),
        jumps=True,
    ),
}

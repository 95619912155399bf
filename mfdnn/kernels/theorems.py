"""Widths that theorems on two-layer networks ask for, and where they are from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["ELSEWHERE", "THEOREMS", "Case", "Theorem"]

# What theorems assume, and what is said where it does not hold.
ELSEWHERE = {
    "relu": "is about relu",
    "smooth": "is about smooth activations",
    "weights": "trains the weights alone",
    "kappa": "has kappa = 1",
}


class Case(NamedTuple):
    """What widths depend on."""

    n: float
    lambda_0: float
    separation: float
    kappa: float
    delta: float
    epsilon: float


class Theorem(NamedTuple):
    """A width with all constants and logarithms taken as 1, and its source."""

    width: Callable[[Case], float]
    formula: str
    source: str
    assumes: tuple[str, ...]


def _over(numerator: float, denominator: float) -> float:
    """A ratio, inf where the kernel is not known to be positive definite."""
    return numerator / denominator if denominator > 0 else np.inf


THEOREMS = {
    "Du et al. 2019": Theorem(
        lambda case: _over(case.n**6, case.lambda_0**4 * case.delta**3),
        "n^6 / (lambda_0^4 delta^3)",
        "arXiv:1810.02054, for the bounds and eta = O(lambda_0/n^2). Its experiments were read in print, the exponents "
        "in later texts",
        ("relu", "weights", "kappa"),
    ),
    "Arora et al. 2019": Theorem(
        lambda case: _over(case.n**7, case.lambda_0**4 * case.kappa**2 * case.delta**4 * case.epsilon**2),
        "n^7 / (lambda_0^4 kappa^2 delta^4 epsilon^2)",
        "arXiv:1901.08584, for `predicted_residual` up to epsilon; it also asks for kappa = O(epsilon delta/sqrt(n)). "
        "Exponents not read in print: from memory",
        ("relu", "weights"),
    ),
    "Allen-Zhu et al. 2019": Theorem(
        lambda case: _over(case.n**24, case.separation**8),
        "n^24 / separation^8",
        "arXiv:1811.03962, for one output and one hidden layer (depth enters as L^12). Exponents not read in print: "
        "from memory, and as later texts quote them",
        ("relu", "weights", "kappa"),
    ),
    "Zou & Gu 2019": Theorem(
        lambda case: case.n**8,
        "n^8",
        "NeurIPS 2019, abstract read, theorem not read in print: the power of n is that of a later text's table; what "
        "else enters, such as the separation of inputs, is left out",
        ("relu",),
    ),
    "Huang & Yau 2020": Theorem(
        lambda case: case.n**3,
        "n^3",
        "arXiv:1909.08156, abstract read, theorem not read in print: the power of n is that of a later text; what else "
        "enters is left out",
        ("smooth",),
    ),
    "Nguyen & Hein 2017": Theorem(
        lambda case: case.n,
        "n",
        "arXiv:1704.08045, not read in print: as later texts quote it, almost all local minima are global for squared "
        "errors and analytic activations. It says nothing of descent, its rate or its probability",
        ("smooth",),
    ),
}

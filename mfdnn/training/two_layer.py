"""Two-layer networks as the theorems have them: outer weights of +-1, descent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..activations import Activation
from ..jobs.watch import stop_if_asked

__all__ = ["draw", "squared_residuals", "tangent_kernel"]


def draw(width: int, n_inputs: int, kappa: float, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """W (m, M_0) of N(0, kappa^2) and a (m,) of +-1.

    The units of a narrower network of the same seed are the first of a wider one.
    """
    numbers = np.random.default_rng(rng).standard_normal((width, n_inputs + 1))
    return kappa * numbers[:, :-1], np.where(numbers[:, -1] < 0, -1.0, 1.0)


def tangent_kernel(w: np.ndarray, a: np.ndarray, X: np.ndarray, act: Activation, both: bool) -> np.ndarray:
    """The kernel (T, T) of W, or of W and a, of f = m^-1/2 sum_r a_r phi(w_r . x)."""
    z = X @ w.T
    weighted = act.slope(z) * a
    theta = (X @ X.T) * (weighted @ weighted.T)
    if both:
        h = act(z)
        theta += h @ h.T
    return theta / len(a)


def squared_residuals(
    w: np.ndarray, a: np.ndarray, X: np.ndarray, y: np.ndarray, act: Activation, rate: float, n_steps: int, both: bool
) -> Iterator[float]:
    """|u(k) - y|^2 at k = 0, ..., n_steps of descent on the sum of half squares.

    W, and a where both are trained, are changed in place.
    """
    scale = 1 / np.sqrt(len(a))
    for step in range(n_steps + 1):
        stop_if_asked()
        z = X @ w.T
        h = act(z)
        residual = scale * (h @ a) - y
        yield float(residual @ residual)
        if step < n_steps:
            errors = act.slope(z)
            errors *= residual[:, None]
            errors *= a
            w -= (rate * scale) * (errors.T @ X)
            if both:
                a -= (rate * scale) * (residual @ h)

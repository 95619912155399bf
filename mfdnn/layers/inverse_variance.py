"""Means of one over the variance of Gaussian samples.

Batch norm at given inputs needs them.
"""

from __future__ import annotations

import numpy as np

from .._support.errors import NoTheory

__all__ = ["inverse_moments", "ratios"]


def ratios(values: np.ndarray, eps: float) -> tuple[float, np.ndarray]:
    r"""E[1/(S + eps)], a number, and E[v_a g_a^2/(S + eps)], shape of `values` v.

    S = sum_a v_a g_a^2 with independent standard normal g_a. As :math:`1/x = \int_0^\infty e^{-xs} ds`, the first is
    the integral of :math:`e^{-\epsilon s} \prod_a (1 + 2 v_a s)^{-1/2}`, the second has another factor
    :math:`v_a/(1 + 2 v_a s)`.
    """
    if eps == 0 and np.count_nonzero(values) < 3:
        raise NoTheory(
            f"`inputs` differ in {np.count_nonzero(values)} directions only, and batch norm needs three for a finite "
            "mean of 1/variance; pass more inputs, or a positive `eps`."
        )
    s, decay = _laplace(values, eps)
    return decay.sum(), np.array([v * np.sum(decay / (1 + 2 * v * s)) for v in values])


def inverse_moments(values: np.ndarray, eps: float) -> tuple[float, float]:
    """E[1/(S + eps)] and E[1/(S + eps)^2] for the S of `ratios`.

    inf where they are infinite.
    """
    s, decay = _laplace(values, eps)
    directions = np.inf if eps else np.count_nonzero(values)
    return (float(decay.sum()) if directions > 2 else np.inf, float(s @ decay) if directions > 4 else np.inf)


def _laplace(values: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes s, and the Laplace transform of S + eps there times their weights."""
    # In log s the trapezoid rule converges exponentially; the integrand falls at least as s and s^-1/2 at the ends.
    x = np.linspace(-40, 90, 1301)
    s = np.exp(x) / max(values.sum(), eps)
    return s, np.exp(-eps * s - 0.5 * sum(np.log1p(2 * v * s) for v in values)) * s * (x[1] - x[0])

"""Closed forms of E[phi(u) phi(v)] and its like of sines and cosines.

No quadrature resolves their hundreds of waves at large variances.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activations import Activation

__all__ = ["is_sine", "sine_products"]

NAMES = ("sin", "cos")


def is_sine(act: Activation) -> bool:
    """Whether the activation is the built-in sine or cosine."""
    return act.built_in and act.name in NAMES


def sine_products(act: Activation, q1: Any, q2: Any, c: Any, order: int) -> Any:
    r"""Products of sin, cos or a derivative of theirs, elementwise.

    .. math:: E[\sin u \sin v] = (e^{-(q_1 + q_2)/2 + k} - e^{-(q_1 + q_2)/2 - k})/2, \qquad k = \sqrt{q_1 q_2}\,c,

    and the sum for the cosine. Exponents are squares and gaps, which keep their digits where c is near 1 or -1.
    """
    root, apart = np.sqrt(q1) * np.sqrt(q2), (np.sqrt(q1) - np.sqrt(q2)) ** 2 / 2
    near, far = apart + root * (1 - c), apart + root * (1 + c)
    if (NAMES.index(act.name) + order) % 2:  # a cosine
        return (np.exp(-near) + np.exp(-far)) / 2
    gap = -2 * root * c  # near - far
    small = np.exp(-np.maximum(near, far)) * np.expm1(np.minimum(np.abs(gap), 1.0)) / 2
    large = (np.exp(-near) - np.exp(-far)) / 2
    return np.where(np.abs(gap) < 1, np.copysign(small, -gap), large)

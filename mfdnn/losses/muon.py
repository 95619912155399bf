"""Muon's constants: what orthogonalisation does, and the factor of its rate."""

from __future__ import annotations

import numpy as np

__all__ = ["COEFFICIENTS", "STEPS", "muon_adjustment", "orthogonalised_values"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # those of torch.optim.Muon
STEPS = 5


def muon_adjustment(rows: int, columns: int, adjust: str) -> float:
    """Factor of Muon's rate for a matrix of that shape.

    Examples
    --------
    >>> from mfdnn.losses.muon import muon_adjustment
    >>> [muon_adjustment(400, 100, rule) for rule in ("original", "match_rms_adamw", "spectral_unclamped")]
    [2.0, 4.0, 2.0]
    """
    return {
        "original": max(1.0, rows / columns) ** 0.5,
        "match_rms_adamw": 0.2 * max(rows, columns) ** 0.5,
        "spectral_unclamped": (rows / columns) ** 0.5,
    }[adjust]


def orthogonalised_values(s: np.ndarray, steps: int | None = STEPS) -> np.ndarray:
    """What orthogonalisation makes of normalised singular values.

    None: the polar factor, all 1.
    """
    if steps is None:
        return np.ones_like(s)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return s

"""Critical first steps of networks that are yet to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...losses import loss_and_slope, loss_scale, softmax
from .response import StepResponse

__all__ = ["Draws", "drawn_steps", "drawn_targets", "error_of_median", "quantile_of_draws"]

PAIRS, FEWEST = 3000, 100  # sampled in a layer, over all draws of the outputs; for one of them
SPEEDS = 4  # draws for how far layers move, which varies little
GRID = 64  # quantiles of the kernels' part for each draw of the outputs


@dataclass(frozen=True)
class Draws:
    """One entry for each draw of outputs and labels.

    Attributes
    ----------
    response : ndarray, shape (n,)
        rms of D.
    directional : ndarray, shape (n,)
        2 e.D/(D.QD); inf where nothing is learnt.
    shares : ndarray, shape (n, layers)
        e.D of every layer over their sum.
    bias_share : ndarray, shape (n,)
        Of all biases.
    speed : float or None
        Sum of rms(Delta u)/rms(u) per unit rate, of hidden layers.
    """

    response: np.ndarray
    directional: np.ndarray
    shares: np.ndarray
    bias_share: np.ndarray
    speed: float | None


def drawn_targets(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Labels drawn for n networks, (n, T, C): "one-hot" classes alike, or "gaussian"."""
    n, n_samples, n_outputs = shape
    if kind == "gaussian":
        return rng.standard_normal(shape)
    return np.eye(n_outputs)[rng.integers(n_outputs, size=(n, n_samples))]


def drawn_steps(
    response: StepResponse, outputs: np.ndarray, targets: np.ndarray, loss: str, rng: np.random.Generator
) -> Draws:
    """First steps at outputs (n, T, C) with targets (T, C) or (n, T, C)."""
    n = len(outputs)
    n_pairs = max(FEWEST, PAIRS // n)
    targets = np.broadcast_to(targets, outputs.shape)
    rows = [_one(response, f, y, loss, n_pairs, rng) for f, y in zip(outputs, targets, strict=True)]
    sizes, rates, shares, biases, errors = zip(*rows, strict=True)
    speeds = [response.speed(e, rng) for e in errors[:SPEEDS]]
    known = [speed for speed in speeds if speed is not None]
    speed = float(np.median(known)) if known else None
    return Draws(np.array(sizes), np.array(rates), np.array(shares), np.array(biases), speed)


def _one(
    response: StepResponse, f: np.ndarray, y: np.ndarray, loss: str, n_pairs: int, rng: np.random.Generator
) -> tuple[float, float, np.ndarray, float, np.ndarray]:
    n_samples, n_outputs = f.shape
    e = n_samples * loss_and_slope(loss, f, y)[1]
    rows = response.rows(e, n_pairs, rng).D
    D = rows.sum(axis=0)
    slope, shown = float(np.vdot(e, D)), D
    if loss == "cross_entropy":
        p, shown = softmax(f), D - D.mean(axis=1, keepdims=True)
        curvature = float(np.vdot(p * D, D) - np.sum((p * D).sum(axis=1) ** 2))
    else:
        curvature = loss_scale(loss, n_outputs, n_samples) * float(np.vdot(D, D))
    by_layer = response.by_layer(e, rows)
    biases = 0.0 if response.layers is None else float(np.vdot(rows[response.n_layers :].sum(axis=0), e))
    rate = 2 * slope / curvature if curvature > 0 else np.inf
    whole = slope or 1.0
    return float(np.sqrt(np.mean(shown**2))), rate, by_layer / whole, biases / whole, e


def quantile_of_draws(rates: np.ndarray, spread: float, p: Any) -> Any:
    """Quantiles of the rates of networks drawn.

    Of their outputs, times a log-normal factor of their kernels; `spread` is the standard deviation of its logarithm.
    """
    from scipy.special import ndtri

    factors = np.exp(spread * ndtri((np.arange(GRID) + 0.5) / GRID)) if spread else np.ones(1)
    drawn = np.multiply.outer(rates, factors)
    return np.quantile(drawn, p, method="linear" if np.all(np.isfinite(drawn)) else "lower")


def error_of_median(values: np.ndarray) -> float:
    """Standard error of a median, of the values beside it; that of a mean of few."""
    n = len(values)
    if n < 8 or not np.all(np.isfinite(values)):
        finite = values[np.isfinite(values)]
        return float(1.2533 * finite.std(ddof=1) / np.sqrt(len(finite))) if len(finite) > 1 else 0.0
    ordered, away = np.sort(values), np.sqrt(n) / 2
    low, high = np.interp([(n - 1) / 2 - away, (n - 1) / 2 + away], np.arange(n), ordered)
    return float((high - low) / 2)

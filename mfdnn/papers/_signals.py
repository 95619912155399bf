"""Signals of given norm and correlation, and what one random layer makes of them."""

from __future__ import annotations

import numpy as np

from ..layers import Dense, Pointwise
from ..network import Network
from ..sampled import sample

__all__ = [
    "autocorrelation",
    "circle",
    "correlation",
    "first_layer",
    "mean_square",
    "next_layer",
    "on_sphere",
    "pairs",
]


def on_sphere(rng: np.random.Generator, n: int, width: int, q: float) -> np.ndarray:
    """(n, width) vectors of random direction and mean square q."""
    x = rng.standard_normal((n, width))
    return x * np.sqrt(width * q / np.sum(x**2, axis=1, keepdims=True))


def pairs(rng: np.random.Generator, n: int, width: int, q: float, c: float) -> np.ndarray:
    """(n, 2, width) pairs of vectors of mean square q and correlation c, exactly."""
    one = on_sphere(rng, n, width, 1.0)
    other = rng.standard_normal((n, width))
    other -= one * np.sum(one * other, axis=1, keepdims=True) / width
    other *= np.sqrt(width / np.sum(other**2, axis=1, keepdims=True))
    return np.sqrt(q) * np.stack([one, c * one + np.sqrt(1 - c**2) * other], axis=1)


def circle(rng: np.random.Generator, angles: np.ndarray, width: int, q: float) -> np.ndarray:
    """(n, width) points of mean square q on a circle around 0 of random orientation."""
    axes = np.linalg.qr(rng.standard_normal((width, 2)))[0]
    return np.sqrt(width * q) * np.stack([np.cos(angles), np.sin(angles)], axis=1) @ axes.T


def first_layer(x: np.ndarray, sigma_w2: float, sigma_b2: float, rng: np.random.Generator) -> np.ndarray:
    """Pre-activations of the first layer, (n, width) to (n, width)."""
    width = x.shape[-1]
    return sample(Network(width, [Dense(width, sigma_w2, sigma_b2)]), rng=rng)(x)


def next_layer(
    phi: str, h: np.ndarray, sigma_w2: float, sigma_b2: float, rng: np.random.Generator
) -> np.ndarray:
    """Pre-activations of one more layer, (..., width) to (..., width)."""
    width = h.shape[-1]
    layer = sample(Network(width, [Pointwise(phi), Dense(width, sigma_w2, sigma_b2)]), rng=rng)
    return layer(h.reshape(-1, width)).reshape(h.shape)


def mean_square(h: np.ndarray) -> np.ndarray:
    """Mean over units."""
    return np.mean(h**2, axis=-1)


def correlation(pairs: np.ndarray) -> np.ndarray:
    """Correlations of (..., 2, width) pairs."""
    one, other = pairs[..., 0, :], pairs[..., 1, :]
    return np.sum(one * other, axis=-1) / np.sqrt(np.sum(one**2, axis=-1) * np.sum(other**2, axis=-1))


def autocorrelation(h: np.ndarray) -> np.ndarray:
    """Mean correlation of points k angles apart, k = 0 ... n - 1."""
    n = len(h)
    gram = h @ h.T
    steps = (np.arange(n)[:, None] + np.arange(n)) % n
    return np.take_along_axis(gram, steps, axis=1).mean(axis=0) / np.trace(gram) * n

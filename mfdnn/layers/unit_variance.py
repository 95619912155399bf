"""What the normalisations share: variance 1, gains and offsets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._support.validation import boolean, finite_number, variance
from .base import Layer

__all__ = ["ROUNDING", "Normalisation", "check_samples", "less_mean", "one_over", "reciprocal"]

ROUNDING = 8  # a spread below so many eps of the largest value is the rounding error of a constant


class Normalisation(Layer, ABC):
    """y = gamma z + beta with z = (x - mean) / sqrt(variance + eps) `along` some axes.

    A gain and an offset for each channel.

    Attributes
    ----------
    centres : bool
        Whether the mean is taken away and offsets are added; else z = x / sqrt(mean square + eps).
    """

    keeps_units = batches_errors = True
    centres = True

    def __init__(self, gamma: float = 1.0, beta: float = 0.0, eps: float = 0.0, affine: bool = True):
        self.gamma, self.beta = finite_number("gamma", gamma), finite_number("beta", beta)
        self.eps, self.affine = variance("eps", eps), boolean("affine", affine)

    def __repr__(self) -> str:
        made_of = [f"{self.gamma:g}", f"{self.beta:g}"][: 1 + self.centres]
        made_of += [f"eps={self.eps:g}"] if self.eps else []
        made_of += [] if self.affine else ["affine=False"]
        return f"{type(self).__name__}({', '.join([*self._made_of(), *made_of])})"

    def _made_of(self) -> list[str]:
        """Arguments that come first, as text."""
        return []

    # -- finite width -----------------------------------------------------------------------------------------
    @abstractmethod
    def along(self, ndim: int) -> tuple[int, ...]:
        r"""Axes that are normalised together, from the last, of what is `apart`.

        `ndim` is how many axes (T, channels, \*sites) are.
        """

    def apart(self, x: np.ndarray, ndim: int) -> np.ndarray:
        r"""The array with what is normalised together along axes of its own.

        x is (..., T, channels, \*sites), of which `ndim` axes are those of samples, channels and sites.
        """
        return x

    def parameter_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
        return (shape[:1],) * (1 + self.centres) if self.affine else ()

    def initialise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> tuple:
        return tuple(np.full(shape[:1], value, dtype) for value in (self.gamma, self.beta)[: 1 + self.centres])

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        (gamma, beta), axes = self._gains(parameters, x), self.along(x.ndim)
        z = apart = self.apart(x, x.ndim)
        if self.centres:
            z = less_mean(apart, axes)
        spread = np.mean(z**2, axis=axes, keepdims=True)
        largest = np.abs(apart).max(axis=axes, keepdims=True)
        constant = spread <= (ROUNDING * np.finfo(x.dtype).eps * largest) ** 2
        spread = np.sqrt(spread + x.dtype.type(self.eps))
        # Constants become 0 and pass no error, as in the limit eps -> 0.
        inverse = np.divide(1, spread, out=np.zeros_like(spread), where=~constant)
        z = np.multiply(z, inverse, out=z if self.centres else None).reshape(x.shape)
        trace.append((z, inverse))
        return gamma * z + beta if self.centres else gamma * z

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        z, inverse = next(trace)
        gamma, _ = self._gains(parameters, z)
        dy = None
        if self.affine:
            d_gamma, *d_beta = (_beside(own, z) for own in next(tangents))
            dy = sum(d_beta, start=d_gamma * z)
        if dx is None:
            return dy
        pushed = gamma * self._project(dx, z, inverse)
        return pushed if dy is None else dy + pushed

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        z, inverse = next(trace)
        gamma, _ = self._gains(parameters, z)
        if self.affine:
            collected.append((z, delta))
        return self._project(gamma * delta, z, inverse)

    def gradient(self, h: np.ndarray, delta: np.ndarray) -> tuple:
        others = (0, *range(2, h.ndim))
        return tuple(of.sum(axis=others) for of in (delta * h, delta)[: 1 + self.centres])

    def _gains(self, parameters: Iterator, x: np.ndarray) -> tuple:
        """Gamma and beta beside x, beta 0 where there are no offsets."""
        zero = x.dtype.type(0)
        if not self.affine:
            return x.dtype.type(self.gamma), x.dtype.type(self.beta) if self.centres else zero
        gamma, *beta = (_beside(own, x) for own in next(parameters))
        return gamma, beta[0] if beta else zero

    def _project(self, dx: np.ndarray, z: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """The symmetric derivative of z, (I - (1 1^T + z z^T)/n) / sigma."""
        axes, apart, of = self.along(z.ndim), self.apart(dx, z.ndim), self.apart(z, z.ndim)
        slope = np.mean(apart * of, axis=axes, keepdims=True)
        apart = less_mean(apart, axes) if self.centres else apart
        return (inverse * (apart - of * slope)).reshape(dx.shape)


def _beside(own: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A number a channel, beside x (T, channels, *sites)."""
    return own.reshape(-1, *[1] * (x.ndim - 2))


def one_over(n_samples: int | None) -> float:
    """1/T, 0 for infinitely many."""
    return 0.0 if n_samples is None else 1 / n_samples


def less_mean(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The array less its mean along axes."""
    return x - x.mean(axis=axis, keepdims=True)


def reciprocal(x: Any) -> np.ndarray:
    """1/x, 0 for 0: what is constant stays 0 and passes no error."""
    x = np.asarray(x, float)
    return np.divide(1.0, x, out=np.zeros_like(x), where=x > 0)


def check_samples(n_samples: int | None, least: int, what: str) -> None:
    """Refuse fewer samples than a normalisation needs."""
    if n_samples is not None and n_samples < least:
        raise ValueError(f"`n_samples` must be {least} or more for {what}, got {n_samples}; pass more samples.")

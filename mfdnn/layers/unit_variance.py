"""What batch norm and layer norm share: mean 0 and variance 1, gains and offsets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._support.validation import boolean, finite_number, variance
from .base import Layer
from .pairs import Pairs
from .state import State

__all__ = ["ROUNDING", "SAMPLES", "UNITS", "Normalisation", "check_samples", "less_mean", "one_over", "reciprocal"]

SAMPLES, UNITS = -2, -1  # axes
ROUNDING = 8  # a spread below so many eps of the largest value is the rounding error of a constant


class Normalisation(Layer, ABC):
    """y = gamma z + beta with z = (x - mean) / sqrt(variance + eps) `along` some axes.

    A gain and an offset for each channel.
    """

    keeps_units = batches_errors = True

    def __init__(self, gamma: float = 1.0, beta: float = 0.0, eps: float = 0.0, affine: bool = True):
        self.gamma, self.beta = finite_number("gamma", gamma), finite_number("beta", beta)
        self.eps, self.affine = variance("eps", eps), boolean("affine", affine)

    def __repr__(self) -> str:
        extra = "" if self.eps == 0 else f", eps={self.eps:g}"
        extra += "" if self.affine else ", affine=False"
        return f"{type(self).__name__}({self.gamma:g}, {self.beta:g}{extra})"

    # -- infinite width ---------------------------------------------------------------------------------------
    def _behind(
        self,
        state: State,
        z: Pairs,
        tangents: Callable[[Pairs], Pairs],
        errors: Callable[[Pairs], Pairs] | None = None,
    ) -> State:
        """The state of gamma z + beta, with gains and offsets, for moments of z."""
        mean = np.full_like(state.mean, self.beta)
        moments = self.gamma**2 * z + self.beta**2
        behind = state.mapped(moments, tangents, mean=mean, errors=errors)
        return behind.trained(z + 1.0) if self.affine else behind

    # -- finite width -----------------------------------------------------------------------------------------
    @abstractmethod
    def along(self, ndim: int) -> tuple[int, ...]:
        r"""Axes of (T, channels, \*sites) that are normalised together, from the last.

        `ndim` is how many axes there are.
        """

    def parameter_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
        return (shape[:1], shape[:1]) if self.affine else ()

    def initialise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> tuple:
        return np.full(shape[:1], self.gamma, dtype), np.full(shape[:1], self.beta, dtype)

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        (gamma, beta), axes = self._gains(parameters, x), self.along(x.ndim)
        z = less_mean(x, axes)
        spread = np.mean(z**2, axis=axes, keepdims=True)
        largest = np.abs(x).max(axis=axes, keepdims=True)
        constant = spread <= (ROUNDING * np.finfo(x.dtype).eps * largest) ** 2
        spread = np.sqrt(spread + x.dtype.type(self.eps))
        # Constants become 0 and pass no error, as in the limit eps -> 0.
        inverse = np.divide(1, spread, out=np.zeros_like(spread), where=~constant)
        z *= inverse
        trace.append((z, inverse))
        return gamma * z + beta

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        z, inverse = next(trace)
        gamma, _ = self._gains(parameters, z)
        dy = None
        if self.affine:
            d_gamma, d_beta = (_beside(own, z) for own in next(tangents))
            dy = d_gamma * z + d_beta
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
        return (delta * h).sum(axis=others), delta.sum(axis=others)

    def _gains(self, parameters: Iterator, x: np.ndarray) -> tuple:
        if not self.affine:
            return x.dtype.type(self.gamma), x.dtype.type(self.beta)
        return tuple(_beside(own, x) for own in next(parameters))

    def _project(self, dx: np.ndarray, z: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """The symmetric derivative of z, (I - (1 1^T + z z^T)/n) / sigma."""
        axes = self.along(z.ndim)
        slope = np.mean(dx * z, axis=axes, keepdims=True)
        return inverse * (less_mean(dx, axes) - z * slope)


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

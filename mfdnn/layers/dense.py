"""Fully connected layer: u = W h + b with random W and b.

W_ij have mean 0 and variance sigma_w^2 / fan_in, b_i mean 0 and variance sigma_b^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import boolean, one_of, positive_integer, variance
from .base import Factors, Layer, one_site
from .pairs import SitePairs
from .recorded import Recorded
from .state import State

__all__ = ["WEIGHT_ENSEMBLES", "Dense", "drawn_biases", "haar"]

WEIGHT_ENSEMBLES = ("gaussian", "orthogonal", "uniform")


class Dense(Layer):
    r"""Fully connected weight layer.

    Infinite width: :math:`q = \sigma_w^2 \hat q + \sigma_b^2`, the same for :math:`q_{st}`; errors come back
    multiplied by :math:`\sigma_w^2`. Its parameters add
    :math:`\tilde q\,(M_{in} \hat q + 1)` to the Fisher information of one output at one input
    (the 1 is the bias; it is absent with ``bias=False``).

    Parameters
    ----------
    units : int
        Number of output units (fan_out).
    sigma_w2, sigma_b2 : float
        Variances: of a weight times fan_in, and of a bias.
    weights : {"gaussian", "orthogonal", "uniform"}
        Distribution of the weights. All have entry variance ``sigma_w2 / fan_in``. Biases are uniform with
        uniform weights and Gaussian otherwise.
    bias : bool
        Whether the layer has bias parameters (they may start at zero: ``sigma_b2=0``).

    Raises
    ------
    TypeError, ValueError
        `bias` that is no bool, non-positive `units`, negative variances, unknown `weights`, ``bias=False`` with
        ``sigma_b2 > 0``.
    """

    n_weight_layers = 1
    homogeneous = batches_errors = fully_connected = True
    parameter_roles = ("weights", "biases")

    def __init__(
        self,
        units: int,
        sigma_w2: float = 1.0,
        sigma_b2: float = 0.0,
        weights: str = "gaussian",
        bias: bool = True,
    ):
        self.units = positive_integer("units", units)
        self.sigma_w2 = variance("sigma_w2", sigma_w2)
        self.sigma_b2 = variance("sigma_b2", sigma_b2)
        self.weights = one_of("weights", weights, WEIGHT_ENSEMBLES)
        self.bias = boolean("bias", bias)
        if not self.bias and self.sigma_b2 > 0:
            raise ValueError(f"`sigma_b2` must be 0 in a layer without bias, got {sigma_b2}; set bias=True.")

    def __repr__(self) -> str:
        extra = "" if self.weights == "gaussian" else f", weights={self.weights!r}"
        extra += "" if self.bias else ", bias=False"
        return f"{type(self).__name__}({self.units}, {self.sigma_w2:.6g}, {self.sigma_b2:.6g}{extra})"

    def scaled(self, factor: float) -> Dense:
        other = copy(self)  # of a class of one's own too
        other.units = max(1, round(self.units * factor))
        return other

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        return state.weighted(
            (self.units,), fan_in=state.shape[0], sigma_w2=self.sigma_w2, sigma_b2=self.sigma_b2, bias=self.bias
        )

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return True

    def recorded(self, units: Recorded) -> Recorded:
        if self.weights != "gaussian":
            raise NoTheory(
                f"`net` has {self.weights} weights, for which the spread over networks is not derived here; use "
                "gaussian ones, or measure the spread with mfdnn.ensemble."
            )
        return units.weighted(
            (self.units,), fan_in=units.shape[0], sigma_w2=self.sigma_w2, sigma_b2=self.sigma_b2, bias=self.bias
        )

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        one_site("Dense", shape)
        return (self.units,)

    def parameter_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
        return (self.units, *shape), (self.units,) if self.bias else None

    def ntk_units(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        return float(np.sqrt(self.sigma_w2 / self.fan_in(shape))), float(np.sqrt(self.sigma_b2))

    def initialise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> tuple:
        (fan_in,) = shape
        shape = (self.units, fan_in)
        scale = np.sqrt(self.sigma_w2 / fan_in)
        if self.weights == "gaussian":
            weight = rng.standard_normal(shape, dtype=dtype)
            weight *= dtype.type(scale)
        elif self.weights == "uniform":
            weight = (np.sqrt(12) * scale * (rng.random(shape) - 0.5)).astype(dtype)
        else:
            weight = (np.sqrt(max(shape)) * scale * haar(rng, shape)).astype(dtype)
        return weight, drawn_biases(rng, self.units, self.sigma_b2, self.weights, dtype) if self.bias else None

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        weight, bias = next(parameters)
        trace.append(x)
        u = x @ weight.T
        if bias is not None:
            u += bias
        return u

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        weight, bias = next(parameters)
        d_weight, d_bias = next(tangents)
        du = next(trace) @ d_weight.T
        if bias is not None:
            du += d_bias
        if dx is not None:
            du += dx @ weight.T
        return du

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        weight, _ = next(parameters)
        collected.append((next(trace), delta))
        return delta @ weight

    def collect(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> None:
        next(parameters)
        collected.append((next(trace), delta))  # without the last and widest product

    def errors_below(self, h: np.ndarray, delta: np.ndarray, parameters: tuple) -> np.ndarray:
        return delta @ parameters[0]

    def gradient(self, h: np.ndarray, delta: np.ndarray) -> tuple:
        return delta.T @ h, delta.sum(axis=0) if self.bias else None

    def factors(self, h: np.ndarray, delta: np.ndarray) -> Factors:
        return Factors(h, delta, self.bias)


def drawn_biases(rng: np.random.Generator, n: int, sigma_b2: float, weights: str, dtype: np.dtype) -> np.ndarray:
    """Biases (n,): uniform beside uniform weights, else Gaussian."""
    if weights == "uniform":
        return (np.sqrt(12) * np.sqrt(sigma_b2) * (rng.random(n) - 0.5)).astype(dtype)
    return (np.sqrt(sigma_b2) * rng.standard_normal(n)).astype(dtype)


def haar(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Haar-distributed matrix with orthonormal rows or columns, whichever are fewer."""
    tall = shape if shape[0] >= shape[1] else shape[::-1]
    q, r = np.linalg.qr(rng.standard_normal(tall))
    q *= np.sign(np.diagonal(r))
    return q if tall == shape else q.T

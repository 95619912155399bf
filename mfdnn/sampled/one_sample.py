"""The Fisher information of a sampled network at one input, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._support.errors import OutOfRange
from .._support.lanczos import largest_eigenpairs
from .._support.memory import require_memory
from .._support.results import Result
from .._support.validation import positive_integer
from .checks import one_input, require_finite_gradients
from .network import SampledNetwork

__all__ = ["ConditionalSpectrum", "conditional_fisher"]

TOLERANCE = 1e-6  # largest residual over the largest eigenvalue, whose own error is about its square
PRODUCTS = 2000
BLOCK = 8  # fewest vectors at a time: the largest eigenvalues of orthogonal networks coincide


class _Steps:
    """A network at one input: what each layer adds, its slopes and weights."""

    def __init__(self, one: SampledNetwork, h: np.ndarray):
        self.squares: list[float] = []  # |h|^2, and 1 for biases
        self.weights: list[np.ndarray] = []
        self.slopes: list[np.ndarray | None] = []  # of what leaves each weight layer; None for a linear one
        seen = []
        own = iter(one.parameters)
        with np.errstate(over="ignore", invalid="ignore"):
            for layer in one.network.layers:
                if layer.fully_connected:
                    weight, bias = next(own)
                    assert weight is not None  # the bias may be
                    seen.append(float(h @ h) / h.size)
                    self.squares.append(float(h @ h) + (bias is not None))
                    self.weights.append(weight.astype(np.float64))
                    self.slopes.append(None)
                    h = self.weights[-1] @ h + (0.0 if bias is None else bias)
                elif layer.activation is not None and self.slopes:
                    slope = layer.activation.slope(h)
                    self.slopes[-1] = slope if self.slopes[-1] is None else slope * self.slopes[-1]
                    h = layer.activation(h)
                elif not layer.relabels:
                    raise ValueError(
                        f"`one` must be a network of fully connected layers with activations behind them, got "
                        f"{layer!r}; mfdnn.fisher_spectrum(one, x[None]) takes others."
                    )
        self.q_hat = np.array(seen)
        self.n_outputs = len(self.weights[-1])
        if not np.all(np.isfinite(h)):
            raise OutOfRange("The outputs of `one` overflow", "take smaller weights or fewer layers")

    @cached_property
    def matrix(self) -> np.ndarray:
        """J J^T (C, C)."""
        widest = max(max(weight.shape) for weight in self.weights)
        require_memory(32 * widest**2, f"the matrix of {widest} units", "pass `k` for the largest eigenvalues only")
        found = None
        for square, weight, slope in zip(self.squares, self.weights, self.slopes, strict=True):
            found = np.zeros((len(weight),) * 2) if found is None else weight @ found @ weight.T
            np.fill_diagonal(found, found.diagonal() + square)
            if slope is not None:
                found = slope[:, None] * found * slope
        assert found is not None  # a network has a weight layer
        return (found + found.T) / 2

    def product(self, V: np.ndarray) -> np.ndarray:
        """J J^T V (C, b): errors back, and what they change forward."""
        errors = [V]
        for weight, slope in zip(self.weights[::-1], self.slopes[::-1], strict=True):
            if slope is not None:
                errors[-1] = slope[:, None] * errors[-1]
            errors.append(weight.T @ errors[-1])
        found = errors.pop()  # those at the inputs, whose shape it has
        found = np.zeros_like(found)
        for square, weight, slope, error in zip(self.squares, self.weights, self.slopes, errors[::-1], strict=True):
            found = weight @ found + square * error
            if slope is not None:
                found = slope[:, None] * found
        return found


@dataclass(frozen=True, repr=False, eq=False)
class ConditionalSpectrum(Result):
    r"""Eigenvalues of the Fisher information of one sample.

    Attributes
    ----------
    eigenvalues : ndarray, shape (C,) or (k,)
        Of :math:`F = \sum_k \nabla f_k \nabla f_k^T`, descending: those of :math:`J J^T`, C for as many outputs; the
        other P - C of F are 0.
    q_hat : ndarray, shape (L,)
        Mean squares of what the weight layers see: `mfdnn.conditional_fisher` takes them.
    n_outputs : int
        C.
    """

    eigenvalues: np.ndarray
    q_hat: np.ndarray
    n_outputs: int
    _steps: _Steps

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.eigenvalues[0])

    @property
    def mean(self) -> float:
        """Of the C eigenvalues; after ``k=...`` from the dense matrix, when first read."""
        return float(np.trace(self._steps.matrix) / self.n_outputs)

    @property
    def second_moment(self) -> float:
        """Mean of the C squares; after ``k=...`` from the dense matrix, when first read."""
        return float(np.sum(self._steps.matrix**2) / self.n_outputs)


def conditional_fisher(one: SampledNetwork, x: Any, k: int | None = None) -> ConditionalSpectrum:
    r"""Spectrum of the Fisher information of a sampled network at one input.

    Of :math:`J J^T`, J the derivatives of the C outputs by all parameters, which passes through the layers:

    .. math:: A_1 = (|h^0|^2 + 1)\, I, \qquad A_{l+1} = (|h^l|^2 + 1)\, I + W^{l+1} D^l A_l D^l (W^{l+1})^T,

    without 1 in layers without bias. With one width M, :math:`A_L = M H_L` of `mfdnn.conditional_fisher`, its limit.

    Parameters
    ----------
    one : SampledNetwork
        Of fully connected layers and activations, of any widths.
    x : array_like, shape (M_0,), or with one sample in front
    k : int, optional
        How many of the largest eigenvalues, from products with vectors. Default: all, from the dense matrix.

    Returns
    -------
    ConditionalSpectrum

    Raises
    ------
    TypeError, ValueError
        What is no sampled network, or has other layers (`fisher_spectrum` takes them); several inputs; `k` that is not
        in 1..C.
    ArithmeticError
        The iteration for the k largest does not converge: ask for fewer, or for all.
    MemoryError
        The dense matrices do not fit; give `k`.

    Notes
    -----
    All: two products of M x M matrices a layer. k: a pass backward and one forward for each vector, by block Lanczos.
    In float64 whatever the dtype of the network.

    References
    ----------
    Hayase & Karakida 2021, "The spectrum of Fisher information of deep networks achieving dynamical isometry",
    arXiv:2006.07814.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> init = mfdnn.isometric_init("hard_tanh", depth=20, variance=0.2)
    >>> net = mfdnn.mlp([200] * 21, "hard_tanh", init.sigma_w2, init.sigma_b2, weights="orthogonal")
    >>> x = np.random.default_rng(0).choice([-1.0, 1.0], 200) * np.sqrt(init.q0)
    >>> found = mfdnn.sampled.conditional_fisher(mfdnn.sample(net, rng=0), x)
    >>> theory = mfdnn.conditional_fisher(net, q_hat=found.q_hat)
    >>> round(found.largest / theory.largest, 9)
    1.0
    """
    h = one_input(one, x).ravel().astype(np.float64)  # sites in the order of `Flatten`
    steps = _Steps(one, h)
    n = steps.n_outputs
    if k is not None and positive_integer("k", k) > n:
        raise ValueError(f"`k` must be at most the number of outputs, {n}, got {k}; pass less, or None for all.")
    require_finite_gradients(steps.q_hat)
    if k is None:
        values = np.linalg.eigvalsh(steps.matrix)[::-1]
    else:
        start = np.random.default_rng(0).standard_normal((n, min(n, max(k, BLOCK))))  # the answer does not depend on it
        rounding = float(np.finfo(np.float64).eps)
        try:
            values, _, _ = largest_eigenpairs(steps.product, start, k, TOLERANCE, PRODUCTS, rounding)
        except ArithmeticError as error:
            raise ArithmeticError(
                f"the {k} largest eigenvalues do not converge; ask for a smaller `k`, or for all of them with None."
            ) from error
    return ConditionalSpectrum(values, steps.q_hat, n, steps)

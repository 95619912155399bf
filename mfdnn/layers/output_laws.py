"""The Fisher information behind a normalisation of the outputs.

It is what such a layer answers as the last one, `Layer.as_outputs`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from .._support.blas import single_blas_thread
from .inverse_variance import inverse_moments
from .pairs import DENSE_UP_TO, Pairs, Sums

__all__ = [
    "CentredOutputs",
    "FewerOutputs",
    "MixedOutputs",
    "OutputLaw",
    "StandardisedOutputs",
    "layer_norm_traces",
]

N_OUTPUTS = 32  # that batch norm of given inputs averages over; for layer norm draws of all outputs
ROUNDING = 1e-12  # of eigenvalues of a kernel, relative to the largest
N_TOPS = 8  # draws that the largest eigenvalue averages over where the mean gain is known
TOLERANCE = 1e-4  # of a largest eigenvalue, far below its scatter over draws
SAMPLES, UNITS = -2, -1  # axes of outputs (draws, T, C)


class OutputLaw:
    """What eigenvalue statistics ask of the normalisation behind a network's outputs.

    Attributes
    ----------
    kind : str
        Its name.
    edge : str
        "mean" or "batch": which law of `mfdnn.centred_edge` has the largest eigenvalue; "" if one stands
        out.
    heavy : bool
        Whether one over the variance that it divides by has no variance itself.
    mean_gain : float
        Mean of the squared derivative of an output, of these few outputs.
    own_eigenvalue : float
        Of the gains and offsets.
    """

    edge = ""
    heavy = False
    mean_gain = 1.0
    own_eigenvalue = 0.0

    def __init__(self, kind: str):
        self.kind = kind

    def n_outliers(self, n_outputs: int) -> int:
        """How many eigenvalues of the order of the width there are, of so many outputs."""
        return 0

    def sums(self, before: Pairs, behind: Pairs, leading: bool, own: bool) -> Sums:
        """What eigenvalue statistics need of the kernel behind the layer.

        Of one output, or means over outputs if the layer mixes them.

        Parameters
        ----------
        before, behind : Pairs
            Kernel of some parameters in front of the layer, and behind it by the law of the layer.
        leading : bool
            As of `Pairs.sums`.
        own : bool
            Whether the layer's gains and offsets are among the parameters.
        """
        return behind.sums(leading)

    def bulk(self, found: Sums, n_samples: int) -> Any:
        """Mean of the eigenvalues that are not among the outliers, from the `sums`."""
        return found.diagonal / n_samples

    def scale(self, difference: np.ndarray) -> np.ndarray:
        """By which the Fisher information is multiplied.

        `difference` is the variance of an output over samples; the factor has its shape, or ().
        """
        return np.ones(())


class CentredOutputs(OutputLaw):
    """Mean subtraction: the law of the layer is exact."""

    edge = "mean"


class _Divided(OutputLaw):
    """With division by a standard deviation, and gains."""

    def __init__(self, kind: str, gamma: float, eps: float, affine: bool, outputs: Pairs, n_outputs: int):
        super().__init__(kind)
        self.gamma, self.eps, self.affine, self.n_outputs = gamma, eps, affine, n_outputs
        assert outputs.n_samples is not None
        self.outputs, self.n = outputs, outputs.n_samples


class _Standardised(_Divided):
    """Batch norm."""

    edge = "batch"

    @property
    def own_eigenvalue(self) -> float:  # type: ignore[override]
        return float(self.affine)

    def scale(self, difference: np.ndarray) -> np.ndarray:
        variance = difference + self.eps
        return np.divide(self.gamma**2, variance, out=np.zeros_like(variance), where=variance > 0)


class FewerOutputs(_Standardised):
    """Batch norm of exchangeable inputs.

    P_0 - z z^T/T has T - 2 equal eigenvalues, its mean over z T - 1 smaller ones.
    """

    def sums(self, before: Pairs, behind: Pairs, leading: bool, own: bool) -> Sums:
        found = behind.sums(leading)
        more = (self.n - 1) / (self.n - 2)
        return found._replace(square=more * found.square, top=more * found.top)


class _Drawn(_Divided, ABC):
    """A law whose outputs are drawn, from their law at infinite width.

    R is the derivative of their normalisation, a matrix over the units of a sample or the samples of a unit.
    """

    axis: int

    def __init__(self, *args: Any):
        super().__init__(*args)
        if self.outputs.leading_shape:
            raise ValueError(
                f"`q0` and `c0` must be numbers under {self.kind} of the outputs, got arrays; call for each."
            )

    def n_draws(self) -> int:
        return N_OUTPUTS

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Normalised outputs z, (draws, T, C), and gain over standard deviation."""
        u = self.outputs.draw(self.n, self.n_outputs, self.n_draws(), rng=0)  # the same numbers every time
        u = u - u.mean(axis=self.axis, keepdims=True)
        spread = np.mean(u**2, axis=self.axis, keepdims=True) + self.eps
        inverse = np.divide(1.0, np.sqrt(spread), out=np.zeros_like(spread), where=spread > 0)
        return u * inverse, self.gamma * inverse

    def sums(self, before: Pairs, behind: Pairs, leading: bool, own: bool) -> Sums:
        with single_blas_thread():  # many products of matrices and vectors, which threads slow down
            found = self._of_draws(before)
        if self.affine and own:
            # The kernel of gains and offsets, z z^T + 1 1^T, has two eigenvalues T for every output.
            top = np.maximum(found.top, 1.0)
            found = found._replace(diagonal=found.diagonal + 2.0, square=found.square + 2.0, top=top)
        return found

    @abstractmethod
    def _of_draws(self, kernel: Pairs) -> Sums:
        """Means over the draws, of a kernel in front of the layer.

        Gains and offsets are added later.
        """


class MixedOutputs(_Drawn):
    """Layer norm: R(t) mixes the outputs of a sample."""

    axis = UNITS

    @property
    def heavy(self) -> bool:  # type: ignore[override]
        return self.n_outputs <= 5

    def n_outliers(self, n_outputs: int) -> int:
        return n_outputs - 1  # what all units share is subtracted

    def bulk(self, found: Sums, n_samples: int) -> Any:
        shared = found.off_diagonal * (n_samples - 1) / n_samples
        return np.maximum(found.diagonal - shared, 0.0) / n_samples

    @property
    def mean_gain(self) -> float:  # type: ignore[override]
        """Of tr R R / C; the law of the layer takes C for infinite."""
        traces = layer_norm_traces(self.gamma, self.eps, self.outputs.at_one, self.n_outputs)
        return float(np.mean(traces[0])) / self.n_outputs

    def _apply(self, i: int, v: np.ndarray) -> np.ndarray:
        """R v of draw i, v (T, C)."""
        z, inverse = (of_draws[i] for of_draws in self.drawn)
        v = v - v.mean(axis=UNITS, keepdims=True) - z * np.mean(z * v, axis=UNITS, keepdims=True)
        return inverse * v

    def _of_draws(self, kernel: Pairs) -> Sums:
        n, c, one = self.n, self.n_outputs, kernel.at_one
        z, inverse = self.drawn
        gain = inverse[..., 0] ** 2  # (draws, T)
        kept = np.mean(z**2, axis=-1)  # 1 for eps = 0; R R = gain (I - 1 1^T/c - (2 - kept) z z^T/c)
        trace = drawn = gain * (c - 1 - (2 - kept) * kept)
        exact = layer_norm_traces(self.gamma, self.eps, self.outputs.at_one, c)
        if c > 3 or self.eps > 0:
            trace = exact[0]
        # R R in the basis of outer products, averaged over samples.
        cross = np.eye(c) - 1 / c
        w = gain * (2 - kept) / c
        average = gain.mean(axis=1)[:, None, None] * cross - np.einsum("dt,dti,dtj->dij", w, z, z) / n
        own = gain**2 * (c - 2 + (1 - (2 - kept) * kept) ** 2)  # tr (R R)^2
        if kernel.given:
            two = kernel.at_two
            diagonal = float(np.mean(trace * one)) / c
            rest = float(two.sum() - one.sum()) / max(n * (n - 1), 1)
            square = float(np.mean(self._pairs(gain, w, z, two**2))) / n**2 / c
        else:
            diagonal, rest = float(np.mean(trace) * one) / c, float(kernel.at_two)
            pairs = np.sum(average**2, axis=(1, 2)) - own.mean(axis=1) / n
            square = float(np.mean(pairs) * rest**2 + np.mean(own) * one**2 / n) / c
        off = rest * float(np.mean(trace)) / c
        n_tops = len(z) if c <= 5 else N_TOPS
        top = float(np.mean([self._top(i, kernel) for i in range(n_tops)]))
        if c > 5:
            # What inputs share makes all gains of a draw large, or small: their known means take that out.
            top *= _over(np.mean(trace * one), np.mean(drawn[:n_tops] * one))
            square *= _over(np.mean(exact[1] * one**2), np.mean(own * one**2))
        return Sums(diagonal, off, square, top)

    def _pairs(self, gain: np.ndarray, w: np.ndarray, z: np.ndarray, squares: np.ndarray) -> list[float]:
        """sum_st Theta_st^2 tr(R_s^2 R_t^2) for every draw."""
        c, found = self.n_outputs, []
        for g, v, x in zip(gain, w, z, strict=True):
            length = (x**2).sum(axis=1)
            product = (c - 1) * np.multiply.outer(g, g) - np.multiply.outer(v * length, g)
            product += np.multiply.outer(v, v) * (x @ x.T) ** 2 - np.multiply.outer(g, v * length)
            found.append(float(np.vdot(squares, product)))
        return found

    def _top(self, i: int, kernel: Pairs) -> float:
        shape = (self.n, self.n_outputs)

        def product(v: np.ndarray) -> np.ndarray:
            w = kernel.apply(self._apply(i, v.reshape(shape))[None])[0]
            return self._apply(i, w).ravel() / self.n

        return _largest(product, self.n * self.n_outputs)


class StandardisedOutputs(_Standardised, _Drawn):
    """Batch norm of given inputs.

    Outputs do not mix: each has its own projector in the space of samples.
    """

    axis = SAMPLES

    def n_draws(self) -> int:
        return -(-N_OUTPUTS // self.n_outputs)

    def _of_draws(self, kernel: Pairs) -> Sums:
        diagonals, squares, tops = [], [], []
        centred = kernel.centred().at_two
        for z, inverse in zip(*self.drawn, strict=True):
            for k in range(self.n_outputs):
                x = z[:, k]
                y = centred @ x / self.n
                # P Theta P with P = P_0 - x x^T/T, x of mean 0.
                theta = centred - np.multiply.outer(x, y) - np.multiply.outer(y - x * (x @ y) / self.n, x)
                theta *= inverse[0, k] ** 2
                diagonals.append(np.trace(theta) / self.n)
                squares.append(np.vdot(theta, theta) / self.n**2)
                tops.append(_largest(theta.__matmul__, self.n) / self.n)
        highest = np.reshape(tops, (-1, self.n_outputs)).max(axis=1)  # the largest eigenvalue is that of some output
        first, second = self._known_gains()
        return Sums(first * np.mean(diagonals), 0.0, second * np.mean(squares), first * np.mean(highest))

    def _known_gains(self) -> tuple[float, float]:
        """Means of 1/(sigma^2 + eps) and of its square, over those of the draws.

        1 where they are infinite.
        """
        values = np.linalg.eigvalsh(self.outputs.centred().at_two / self.n)
        known = inverse_moments(np.where(values > ROUNDING * values[-1], values, 0.0), self.eps)
        gain = (self.drawn[1] / self.gamma) ** 2 if self.gamma else np.zeros(1)
        drawn = gain.mean(), np.mean(gain**2)
        first, second = (k / d if np.isfinite(k) and d > 0 else 1.0 for k, d in zip(known, drawn, strict=True))
        return first, second


def _over(known: float, drawn: Any) -> float:
    """By how much a drawn mean is to be multiplied to become the known one.

    1 where the known one is infinite, or all is 0.
    """
    return float(known / drawn) if np.isfinite(known) and drawn > 0 else 1.0


def layer_norm_traces(gamma: float, eps: float, q: Any, c: int) -> np.ndarray:
    r"""Means of tr R R and tr (R R)^2, R the derivative of layer norm: (2, ...).

    Of c outputs of variance q, a number or an array (...): over :math:`\sigma^2 = q \chi^2_{c-1}/c`, by the trapezoid
    rule in its logarithm, which converges exponentially. Without `eps` they are infinite up to c = 3 and 5; what is
    returned then means nothing.
    """
    half = (c - 1) / 2
    # About the mode, to where the density times 1/sigma^4 is below exp(-40).
    x = np.linspace(-200 / half - 9 / np.sqrt(half), np.log1p(50 / half) + 9 / np.sqrt(half), 2001)
    weight = np.exp(half * (x + 1 - np.exp(x)))
    variance = np.multiply.outer(np.asarray(q, float), (c - 1) / c * np.exp(x))
    inverse = np.divide(1.0, variance + eps, out=np.zeros_like(variance), where=variance + eps > 0)
    gain, kept = gamma**2 * inverse, variance * inverse
    lost = (2 - kept) * kept
    traces = np.stack([gain * (c - 1 - lost), gain**2 * (c - 2 + (1 - lost) ** 2)])
    return traces @ weight / weight.sum()


def _largest(product: Callable[[np.ndarray], np.ndarray], n: int) -> float:
    """The largest eigenvalue of a positive semi-definite product."""
    if n <= DENSE_UP_TO // 4:
        matrix = np.array([product(row) for row in np.eye(n)])
        return float(np.linalg.eigvalsh(matrix)[-1])
    from scipy.sparse.linalg import LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(n)  # a start, not a sample
    operator = LinearOperator((n, n), matvec=product, dtype=float)
    return float(eigsh(operator, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)[0])

r"""Eigenvalues of the Fisher information of a sampled network, through its dual :math:`F^* = J J^T/T`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import linalg

from .._memory import require_memory
from .._results import Result
from .._validation import positive_integer
from .network import Linearisation, SampledNetwork

__all__ = ["FisherSpectrum", "fisher_spectrum"]

# Limits are fixed numbers and not what happens to be free: the same call takes the same path, hence the same bits.
STORED_ERRORS = 2**30  # bytes; above, products recompute the back-propagated errors
SMALL = 300  # T C up to which the whole spectrum costs less than iterating
ROWS = 2048  # samples in a block of the dual matrix


@dataclass(frozen=True, repr=False, eq=False)
class FisherSpectrum(Result):
    r"""Eigenvalues of :math:`F = \frac1T \sum_t \sum_k \nabla f_k(x_t) \nabla f_k(x_t)^T` of one network.

    Attributes
    ----------
    eigenvalues
        Descending: the min(TC, P) that can be non-zero, or the k largest.
    residuals
        Same shape: within this distance of each there is an eigenvalue (:math:`|F^* v - \lambda v|` for a unit
        vector v, and the rounding error of the product).
    mean
        tr F / P, over all P eigenvalues.
    second_moment
        tr F^2 / P.
    largest
        The largest eigenvalue; gradient descent on half the squared error is stable below 2/largest.
    outlier_mean
        Mean of the C largest, the number to compare with theory.
    n_parameters, n_samples, n_outputs
        P, T and C.
    """

    eigenvalues: np.ndarray
    residuals: np.ndarray
    mean: float
    n_parameters: int
    n_samples: int
    n_outputs: int
    _second_moment: Any = field(compare=False)  # a number, or a function that has yet to compute it

    @property
    def second_moment(self) -> float:
        """tr F^2 / P, exact. After ``k=...`` it is computed when first read, for it may cost more than they did."""
        if callable(self._second_moment):
            object.__setattr__(self, "_second_moment", self._second_moment())
        return self._second_moment

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.eigenvalues[0])

    @property
    def outlier_mean(self) -> float:
        """Mean of the C largest eigenvalues."""
        if len(self.eigenvalues) < self.n_outputs:
            raise ValueError(
                f"`outlier_mean` needs the {self.n_outputs} largest eigenvalues, one per output, but only "
                f"{len(self.eigenvalues)} are known; call fisher_spectrum with k={self.n_outputs} or more."
            )
        return float(self.eigenvalues[: self.n_outputs].mean())

    def __repr__(self) -> str:
        return (
            f"FisherSpectrum(largest={self.largest:.6g}, mean={self.mean:.6g}, {len(self.eigenvalues)} eigenvalues, "
            f"T={self.n_samples}, C={self.n_outputs}, P={self.n_parameters})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain Python; `outlier_mean` is None where fewer than C eigenvalues are known."""
        known = len(self.eigenvalues) >= self.n_outputs
        return {
            **super().to_dict(),
            "second_moment": self.second_moment,
            "largest": self.largest,
            "outlier_mean": self.outlier_mean if known else None,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_second_moment": self.second_moment}  # a pickle holds numbers only


def fisher_spectrum(
    one: SampledNetwork, X: np.ndarray, k: int | None = None, *, tol: float = 1e-5, max_products: int = 2000
) -> FisherSpectrum:
    r"""Eigenvalues of the Fisher information of a sampled network at the inputs X.

    The P x P matrix is never formed. Its non-zero eigenvalues are those of the dual :math:`F^* = J J^T/T` (TC x TC), and
    for layers that treat samples one by one

    .. math:: (J J^T)_{ks,k't} = \sum_l (h_s^{l-1} \cdot h_t^{l-1} + 1)\,(\delta_{ks}^l \cdot \delta_{k't}^l),

    a sum of Hadamard products of Gram matrices, so no Jacobian is stored either.

    Parameters
    ----------
    one : SampledNetwork
    X : array (T, M_0)
    k : int, optional
        How many of the largest eigenvalues, found iteratively. Default: all, from the dense dual matrix.
    tol : float
        With `k`: largest residual, as a fraction of the largest eigenvalue. The error of an eigenvalue is at most its
        residual, and of the order of residual^2/gap.
    max_products : int
        With `k`: number of products with the dual matrix after which to give up.

    Returns
    -------
    FisherSpectrum

    Raises
    ------
    TypeError, ValueError
        `one` is not a sampled network; X is not a finite (T, M_0) matrix; `k` is not in 1..min(TC, P); `tol` is not
        positive; outputs or gradients overflow.
    MemoryError
        The dual matrix does not fit into memory; give `k`.
    ArithmeticError
        The iteration has not reached `tol` after `max_products` products.

    Notes
    -----
    All: one TC x TC matrix in float64, solved in place, and T x T blocks beside it; time about
    :math:`2 (TC)^2 \sum_l M_l` operations and (4/3) (TC)^3 for the eigenvalues.

    k: block Lanczos with full orthogonalisation and restarts, in the dual space. The block has min(k, C) vectors, so that
    eigenvalues that coincide for up to that many outputs are all found, and starts near the constants
    :math:`1_T \otimes e_k`, which span the top eigenspace of a non-centred network (Karakida et al. 2019), mixed with as much
    random noise, which finds the others. A product costs :math:`2 T \sum_l M_l \min(T, 2 M_{l-1})` operations once the
    errors :math:`\delta` are stored.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean field
    approach", arXiv:1806.01316.

    Examples
    --------
    >>> import numpy as np
    >>> from mfdnn.network import mlp
    >>> from mfdnn.sampled import fisher_spectrum, sample
    >>> one = sample(mlp([100, 100, 100, 2], "relu", sigma_w2=2.0, sigma_b2=0.1), rng=0)
    >>> X = np.random.default_rng(0).standard_normal((200, 100))
    >>> top = fisher_spectrum(one, X, k=2)
    >>> np.allclose(top.eigenvalues, fisher_spectrum(one, X).eigenvalues[:2], rtol=0, atol=top.residuals.max())
    True
    """
    if not isinstance(one, SampledNetwork):
        raise TypeError(f"`one` must be a SampledNetwork, got {type(one).__name__}; draw one with mfdnn.sample(net).")
    if not tol > 0:
        raise ValueError(f"`tol` must be positive, got {tol}; pass for example 1e-5.")
    linear = one.linearise(X)
    if not np.all(np.isfinite(linear.outputs)):
        raise ValueError(
            f"The outputs of `one` overflow {one.dtype} at these inputs; take smaller weights, fewer layers"
            + (" or dtype='float64'." if one.dtype == np.float32 else ".")
        )
    n_samples, n_outputs = linear.outputs.shape
    size, n_parameters = n_samples * n_outputs, one.n_parameters
    possible = min(size, n_parameters)
    if k is not None and positive_integer("k", k) > possible:
        raise ValueError(f"`k` must be at most min(TC, P) = {possible}, got {k}; pass less, or None for all of them.")

    coupled = any(layer.couples_samples for layer in one.network.layers)
    dual = Dual(linear) if coupled else HadamardDual(linear, whole=k is None or size <= SMALL)
    common = {"n_parameters": n_parameters, "n_samples": n_samples, "n_outputs": n_outputs}
    rounding = np.finfo(one.dtype).eps
    if k is None or size <= SMALL:
        values = _eigenvalues(dual)
        # Backward error of the solver, and of the scalar products that fill the matrix.
        longest = max(max(weight.shape) for weight, _ in one.parameters)
        residuals = np.full(possible, rounding * (size + longest) * max(values[0], 0.0))
        mean, second = float(values.sum()) / n_parameters, float(values @ values) / n_parameters
        top = slice(None, possible if k is None else k)
        return FisherSpectrum(values[:possible][top], residuals[top], mean, _second_moment=second, **common)
    values, residuals = _largest(dual.product, _start(linear, min(k, n_outputs)), k, tol, max_products)
    residuals = residuals + 10 * rounding * values[0]  # of one product: about 2 eps, measured
    return FisherSpectrum(
        values,
        residuals,
        dual.trace() / n_parameters,
        _second_moment=lambda: dual.squared_norm() / n_parameters,
        **common,
    )


class Dual:
    """F* = J J^T / T, its rows ordered output by output, from Jacobian products alone: for any layer."""

    def __init__(self, linear: Linearisation):
        self.linear = linear
        self.n_samples, self.n_outputs = linear.outputs.shape
        self.size = self.n_samples * self.n_outputs

    def product(self, V: np.ndarray) -> np.ndarray:
        """F* V for V (TC, b): a backward and a forward pass for each column."""
        columns = []
        for v in V.T.astype(self.linear.one.dtype):
            u = v.reshape(self.n_outputs, self.n_samples).T
            columns.append(self.linear.push(self.linear.gradients(u)).T.ravel())
        return np.array(columns, dtype=np.float64).T / self.n_samples

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """(rows, columns, block) that cover the lower triangle, diagonal blocks entire."""
        for k in range(self.n_outputs):
            rows = slice(k * self.n_samples, (k + 1) * self.n_samples)
            unit = np.zeros((self.size, self.n_samples))
            unit[rows] = np.eye(self.n_samples)
            block = self.product(unit).T
            for j in range(k + 1):
                columns = slice(j * self.n_samples, (j + 1) * self.n_samples)
                yield rows, columns, block[:, columns]

    def trace(self) -> float:
        """Tr F* = tr F."""
        return float(sum(np.trace(block) for rows, columns, block in self.blocks() if rows == columns))

    def squared_norm(self) -> float:
        """Tr F*^2 = tr F^2."""
        total = 0.0
        for rows, columns, block in self.blocks():
            total += (1 if rows == columns else 2) * float(np.sum(np.square(block, dtype=np.float64)))
        return total


class HadamardDual(Dual):
    """The same where a weight gradient is a sum over samples of delta h^T, from Gram matrices of h and delta.

    `layers` holds (h, delta, bias) of every weight layer: h (T, fan_in), delta (T, C, fan_out), or None for delta
    if that would take more than `STORED_ERRORS`; then it is back-propagated again wherever it is needed.
    """

    def __init__(self, linear: Linearisation, whole: bool):
        super().__init__(linear)
        units = sum(weight.shape[0] for weight, _ in linear.one.parameters)
        stored = self.size * units * linear.one.dtype.itemsize
        if whole:
            matrix = 8 * self.size**2 + 4 * 8 * self.n_samples * min(ROWS, self.n_samples)
            require_memory(
                matrix + (stored if stored <= STORED_ERRORS else 0),
                f"the dual matrix of {self.n_samples} samples and {self.n_outputs} outputs",
                "pass k=... for the largest eigenvalues only, or fewer samples",
            )
        self.stored = stored <= STORED_ERRORS
        if self.stored:
            self.layers = [(h, np.swapaxes(delta, 0, 1), bias) for h, delta, bias in linear.errors()]
            self._factors = [_gram(h, bias) for h, _, bias in self.layers] if not whole else []

    def product(self, V: np.ndarray) -> np.ndarray:
        """F* V: errors mixed by V, samples mixed by the Gram matrix of the inputs, errors read off again."""
        if not self.stored:
            return super().product(V)
        b = V.shape[1]
        mix = V.astype(self.linear.one.dtype).reshape(self.n_outputs, self.n_samples, b).transpose(1, 2, 0)
        total = np.zeros((self.n_samples, b, self.n_outputs), dtype=mix.dtype)
        for (_, delta, _), gram in zip(self.layers, self._factors, strict=True):
            mixed = np.matmul(mix, delta)  # (T, b, fan_out)
            mixed = gram(mixed.reshape(self.n_samples, -1)).reshape(mixed.shape)
            total += np.matmul(mixed, np.swapaxes(delta, 1, 2))
        return total.transpose(2, 0, 1).reshape(self.size, b).astype(np.float64) / self.n_samples

    def _errors(self, k: int) -> list[tuple[np.ndarray, np.ndarray, bool]]:
        """(h, delta of output k, bias) of every layer."""
        if self.stored:
            return [(h, delta[:, k], bias) for h, delta, bias in self.layers]
        u = np.zeros_like(self.linear.outputs)
        u[:, k] = 1
        return self.linear.pull(u)

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """At most `ROWS` samples high; the Gram matrices of the inputs are computed once for all outputs."""
        for start in range(0, self.n_samples, ROWS):
            part = slice(start, min(start + ROWS, self.n_samples))
            grams = None
            for k in range(self.n_outputs):
                here = self._errors(k)
                if grams is None:
                    grams = [h[part] @ h.T + h.dtype.type(bias) for h, _, bias in here]
                for j in range(k + 1):
                    block = 0.0
                    for gram, (_, delta, _), (_, other, _) in zip(grams, here, self._errors(j), strict=True):
                        block = block + gram * (delta[part] @ other.T)
                    rows = slice(k * self.n_samples + part.start, k * self.n_samples + part.stop)
                    columns = slice(j * self.n_samples, (j + 1) * self.n_samples)
                    yield rows, columns, block / self.n_samples

    def trace(self) -> float:
        """Exact, from the norms of inputs and errors."""
        total = 0.0
        for k in range(self.n_outputs):
            for h, delta, bias in self._errors(k):
                total += float(np.sum((_squares(h) + bias) * _squares(delta)))
        return total / self.n_samples

    def squared_norm(self) -> float:
        """Blocks of output k against outputs j <= k: twice, save for j = k."""
        total = 0.0
        for rows, columns, block in self.blocks():
            diagonal = rows.start // self.n_samples == columns.start // self.n_samples
            total += (1 if diagonal else 2) * float(np.sum(np.square(block, dtype=np.float64)))
        return total


def _squares(x: np.ndarray) -> np.ndarray:
    """Squared norm of every row, accumulated in float64."""
    return np.einsum("ti,ti->t", x, x, dtype=np.float64)


def _gram(h: np.ndarray, bias: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Product with h h^T + bias, the cheaper way round."""
    if h.shape[0] <= 2 * h.shape[1]:
        gram = h @ h.T + h.dtype.type(bias)
        return lambda x: gram @ x
    return lambda x: h @ (h.T @ x) + (x.sum(axis=0) if bias else 0)


def _eigenvalues(dual: Dual) -> np.ndarray:
    """All eigenvalues, descending, solved in place."""
    matrix = np.empty((dual.size, dual.size))
    for rows, columns, block in dual.blocks():
        matrix[rows, columns] = block
    if not np.all(np.isfinite(np.diagonal(matrix))):
        raise ValueError("The gradients of `one` overflow at these inputs; take smaller weights or fewer layers.")
    # The lower triangle by rows is the upper one by columns, which is LAPACK's order: nothing is copied.
    return linalg.eigvalsh(matrix.T, lower=False, overwrite_a=True, check_finite=False)[::-1]


def _start(linear: Linearisation, b: int) -> np.ndarray:
    """Starting block (TC, b): half of it in the span of the C constants, half of it anywhere."""
    n_samples, n_outputs = linear.outputs.shape
    rng = np.random.default_rng(0)  # a start, not a sample: the answer does not depend on it
    constants = np.linalg.qr(rng.standard_normal((n_outputs, b)))[0] / np.sqrt(n_samples)
    noise = rng.standard_normal((n_samples * n_outputs, b)) / np.sqrt(n_samples * n_outputs)
    return np.repeat(constants, n_samples, axis=0) + noise


def _largest(
    product: Callable[[np.ndarray], np.ndarray], block: np.ndarray, k: int, tol: float, max_products: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenvalues of a positive semi-definite operator on R^n, and their residual norms.

    Rayleigh-Ritz on a growing orthonormal basis. Basis and images are kept (in the dual space they are short), so the
    residuals come from explicit products and cost none. The basis grows by the residuals of what has not
    converged, which spans the block Krylov space and lets the block shrink as vectors converge.
    """
    n, b = block.shape
    largest_basis = min(n, 2 * k + 10 * b + 40)
    basis = images = np.empty((n, 0))
    rng = np.random.default_rng(1)
    n_products = 0
    while True:
        block = _orthonormal(block, basis)
        basis, images = np.hstack([basis, block]), np.hstack([images, product(block)])
        n_products += block.shape[1]
        projected = basis.T @ images
        values, vectors = np.linalg.eigh(projected + projected.T)
        values, vectors = 0.5 * values[::-1], vectors[:, ::-1]
        if not np.all(np.isfinite(values)):
            raise ValueError("The gradients of `one` overflow at these inputs; take smaller weights or fewer layers.")
        residuals = images @ vectors[:, :k] - (basis @ vectors[:, :k]) * values[:k]
        norms = np.linalg.norm(residuals, axis=0)
        open_ = np.flatnonzero(norms > tol * values[0])
        if basis.shape[1] >= k and not open_.size:
            return values[:k], norms
        if n_products >= max_products:
            raise ArithmeticError(
                f"`fisher_spectrum` has a residual of {norms.max() / values[0]:.1e} of the largest eigenvalue after "
                f"{n_products} products and not `tol` = {tol:g}; raise `tol` or `max_products`, ask for fewer "
                "eigenvalues, or sample with dtype='float64'."
            )
        if basis.shape[1] + b > largest_basis:
            keep = vectors[:, : k + (largest_basis - k) // 3]
            basis, images = basis @ keep, images @ keep
        # What has converged spans an invariant subspace that is too small: go on from anywhere else.
        block = residuals[:, open_[:b]] if open_.size else rng.standard_normal((n, b))


def _orthonormal(block: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what `block` adds to the span of `basis`."""
    block = block / np.linalg.norm(block, axis=0)
    for _ in range(2):  # twice is enough (Kahan and Parlett)
        block, r = np.linalg.qr(block - basis @ (basis.T @ block))
        block = block[:, np.abs(np.diagonal(r)) > 1e-10]  # a smaller remainder is rounding noise of the others
    return block

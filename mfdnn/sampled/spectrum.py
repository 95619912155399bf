r"""Eigenvalues of the Fisher information of a sampled network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._errors import OutOfRange
from .._lanczos import largest_eigenvalues
from .._results import Result
from .._validation import one_of, positive_integer
from ..softmax import SoftmaxRoot
from .dual import Dual, dual
from .network import Linearisation, SampledNetwork

__all__ = ["FisherSpectrum", "fisher_spectrum"]

OUTPUTS = ("linear", "softmax")
SMALL = 300  # T C up to which the whole spectrum costs less than iterating


@dataclass(frozen=True, repr=False, eq=False)
class FisherSpectrum(Result):
    r"""Eigenvalues of :math:`F = \frac1T \sum_t \sum_k \nabla f_k(x_t) \nabla f_k(x_t)^T` of one network.

    With `output` "softmax" those of :math:`F_{cross} = \frac1T \sum_t J_t^T Q_t J_t`,
    :math:`Q_t = \mathrm{diag}(p) - p p^T`.

    Attributes
    ----------
    eigenvalues
        Descending: the min(TC, P) that can be non-zero (softmax: min(T(C - 1), P)), or the k largest.
    residuals
        Same shape: within this distance of each there is an eigenvalue (:math:`|F^* v - \lambda v|` for a
        unit vector v, and the rounding error of the product).
    mean
        tr F / P, over all P eigenvalues.
    second_moment
        tr F^2 / P.
    largest
        The largest eigenvalue; gradient descent on half the squared error (softmax: on the cross-entropy, while
        the outputs are what they are) is stable below 2/largest.
    n_outliers
        How many can be of the order of the width: C, or C - 1 (softmax).
    outlier_mean
        Mean of that many of the largest, the number to compare with theory.
    n_parameters, n_samples, n_outputs
        P, T and C.
    output
        "linear" or "softmax".
    """

    eigenvalues: np.ndarray
    residuals: np.ndarray
    mean: float
    n_parameters: int
    n_samples: int
    n_outputs: int
    output: str
    _second_moment: Any = field(compare=False)  # a number, or a function that has yet to compute it

    @property
    def second_moment(self) -> float:
        """Tr F^2 / P, exact. After ``k=...`` computed when first read: it may cost more than they did."""
        if callable(self._second_moment):
            object.__setattr__(self, "_second_moment", self._second_moment())
        return self._second_moment

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.eigenvalues[0])

    @property
    def n_outliers(self) -> int:
        """C, or C - 1 of a softmax."""
        return self.n_outputs - (self.output == "softmax")

    @property
    def outlier_mean(self) -> float:
        """Mean of the `n_outliers` largest eigenvalues."""
        n = self.n_outliers
        if len(self.eigenvalues) < n:
            each = "output" if self.output == "linear" else "output but one"
            raise ValueError(
                f"`outlier_mean` needs the {n} largest eigenvalues, one per {each}, but only "
                f"{len(self.eigenvalues)} are known; call fisher_spectrum with k={n} or more."
            )
        return float(self.eigenvalues[:n].mean())

    def __repr__(self) -> str:
        return (
            f"FisherSpectrum(largest={self.largest:.6g}, mean={self.mean:.6g}, {len(self.eigenvalues)} "
            f"eigenvalues, T={self.n_samples}, C={self.n_outputs}, P={self.n_parameters})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain Python; `outlier_mean` is None where too few eigenvalues are known."""
        known = len(self.eigenvalues) >= self.n_outliers
        return {
            **super().to_dict(),
            "second_moment": self.second_moment,
            "largest": self.largest,
            "outlier_mean": self.outlier_mean if known else None,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_second_moment": self.second_moment}  # a pickle holds numbers only


def fisher_spectrum(
    one: SampledNetwork,
    X: np.ndarray,
    k: int | None = None,
    *,
    output: str = "linear",
    tol: float = 1e-5,
    max_products: int = 2000,
) -> FisherSpectrum:
    r"""Eigenvalues of the Fisher information of a sampled network at the inputs X.

    The P x P matrix is never formed. Its non-zero eigenvalues are those of the dual :math:`F^* = J J^T/T`
    (TC x TC), and for layers that treat samples one by one

    .. math:: (J J^T)_{ks,jt} = \sum_l (h_s^{l-1} \cdot h_t^{l-1} + 1)\,(\delta_{ks}^l \cdot \delta_{jt}^l),

    a sum of Hadamard products of Gram matrices (no 1 without bias), so no Jacobian is stored either. For a
    softmax :math:`R_t J_t` takes the place of :math:`J_t`, with :math:`R_t^T R_t = \mathrm{diag}(p) - p p^T`: the
    errors of all outputs are mixed sample by sample, and nothing else changes.

    Parameters
    ----------
    one : SampledNetwork
    X : array (T, M_0)
    k : int, optional
        How many of the largest eigenvalues, found iteratively. Default: all, from the dense dual matrix.
    output : {"linear", "softmax"}
        What the loss makes of the outputs: nothing (squared errors), or class probabilities (cross-entropy),
        those of `one` as it is.
    tol : float
        With `k`: largest residual, as a fraction of the largest eigenvalue. The error of an eigenvalue is at
        most its residual, and of the order of residual^2/gap.
    max_products : int
        With `k`: number of products with the dual matrix after which to give up.

    Returns
    -------
    FisherSpectrum

    Raises
    ------
    TypeError, ValueError
        `one` is not a sampled network; X is not a finite (T, M_0) matrix; `k` is not in 1..min(TC, P)
        (softmax: T(C - 1) for TC); `tol` is not positive; a softmax of one output; outputs overflow (an
        OverflowError too).
    MemoryError
        The spectrum does not fit into the memory that is free now; give `k`, or fewer samples.
    ArithmeticError
        The iteration has not reached `tol` after `max_products` products; gradients overflow.

    Notes
    -----
    All: two TC x TC matrices in float64 and T x T blocks beside them; time about
    :math:`(TC)^2 \sum_l M_l` operations and (4/3) (TC)^3 for the eigenvalues.

    k: block Lanczos with full orthogonalisation, in the dual space. The block has min(k, C) vectors (softmax:
    C - 1), so that eigenvalues that coincide for that many outputs are all found; ARPACK returns too few of them.
    It starts near the constants :math:`1_T \otimes e_k`, which span the top eigenspace of a non-centred network
    (Karakida et al. 2019), with random noise, which finds all others. The errors :math:`\delta` are
    computed once (unless they take more than 1 GiB); then a product costs
    :math:`2 T \sum_l M_l \min(T, 2 M_{l-1})` operations.

    In float32 eigenvalues are good to about 1e-6 of the largest, for the network as rounded: a relu unit
    within rounding of its kink may fall on either side of it.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean
    field approach", arXiv:1806.01316.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([100, 100, 100, 2], "relu", sigma_w2=2.0, sigma_b2=0.1), rng=0)
    >>> X = np.random.default_rng(0).standard_normal((200, 100))
    >>> all_of_them, top = mfdnn.fisher_spectrum(one, X), mfdnn.fisher_spectrum(one, X, k=2)
    >>> bool(np.all(np.abs(top.eigenvalues - all_of_them.eigenvalues[:2]) <= top.residuals))
    True
    """
    if not isinstance(one, SampledNetwork):
        raise TypeError(
            f"`one` must be a SampledNetwork, got {type(one).__name__}; draw one with mfdnn.sample(net)."
        )
    one_of("output", output, OUTPUTS)
    if output == "softmax" and one.network.n_outputs == 1:
        raise ValueError(
            "`output` = softmax needs two outputs or more, got 1: a softmax of one output is constant; use linear."
        )
    if not tol > 0:
        raise ValueError(f"`tol` must be positive, got {tol}; pass for example 1e-5.")
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is reported below, in one sentence
        linear = one.linearise(X)
    if not np.all(np.isfinite(linear.outputs)):
        raise OutOfRange(
            f"The outputs of `one` overflow {one.dtype} at these inputs; take smaller weights or fewer layers"
            + (", or dtype='float64'." if one.dtype == np.float32 else ".")
        )
    n_samples, n_outputs = linear.outputs.shape
    n_parameters = one.n_parameters
    root = SoftmaxRoot(linear.outputs) if output == "softmax" else None
    free, rank = ("C", n_outputs) if root is None else ("(C - 1)", n_outputs - 1)  # Q 1 = 0
    possible = min(n_samples * rank, n_parameters)
    if k is not None and positive_integer("k", k) > possible:
        raise ValueError(
            f"`k` must be at most min(T{free}, P) = {possible}, got {k}; pass less, or None for all."
        )

    sizes = {"n_parameters": n_parameters, "n_samples": n_samples, "n_outputs": n_outputs, "output": output}
    eps = float(np.finfo(one.dtype).eps)
    if k is None or n_samples * n_outputs <= SMALL:
        values = _eigenvalues(dual(linear, None, root))
        # Backward error of the solver, and of the scalar products that fill the matrix.
        longest = max(max(a.shape) for group in one.parameters for a in group if a is not None)
        residuals = np.full(possible, eps * (len(values) + longest) * max(values[0], 0.0))
        mean, second = values.sum() / n_parameters, values @ values / n_parameters
        k = possible if k is None else k
        return FisherSpectrum(values[:k], residuals[:k], float(mean), _second_moment=float(second), **sizes)
    fast = dual(linear, k, root)
    # A product in float32 moves eigenvalues by less than 1 eps (measured for widths 30 to 2000).
    values, residuals = largest_eigenvalues(
        fast.product, _start(linear, min(k, rank), root), k, tol, max_products, rounding=10 * eps
    )
    mean = fast.trace() / n_parameters
    later = lambda: fast.squared_norm() / n_parameters  # noqa: E731
    return FisherSpectrum(values, residuals, mean, _second_moment=later, **sizes)


def _eigenvalues(whole: Dual) -> np.ndarray:
    """All eigenvalues, descending."""
    matrix = whole.matrix()
    if not np.all(np.isfinite(np.diagonal(matrix))):
        raise ArithmeticError("The gradients of `one` overflow; take smaller weights or fewer layers.")
    # Of NumPy, not of SciPy: it releases the GIL, so that the networks of an ensemble run side by side.
    return np.linalg.eigvalsh(matrix)[::-1]


def _start(linear: Linearisation, b: int, root: SoftmaxRoot | None) -> np.ndarray:
    """Starting block (TC, b): most of it in the span of the C constants (or R of them), some of it anywhere."""
    n_samples, n_outputs = linear.outputs.shape
    rng = np.random.default_rng(0)  # a start, not a sample: the answer does not depend on it
    constants = np.linalg.qr(rng.standard_normal((n_outputs, b)))[0] / np.sqrt(n_samples)
    start = np.repeat(constants, n_samples, axis=0)
    noise = rng.standard_normal((n_samples * n_outputs, b)) / np.sqrt(n_samples * n_outputs)
    if root is not None:
        start, noise = root.columns(start), noise / np.sqrt(n_outputs)  # |Q| is about 1/C for small outputs
    return start + 0.3 * noise

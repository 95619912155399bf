r"""Eigenvalues of the Fisher information of a sampled network."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from .._support.results import Result
from .._support.validation import boolean, positive_integer, positive_number
from ..jobs.watch import told_if_long
from .checks import OUTPUTS, linearised, softmax_root
from .coordinates import coordinates_of
from .eigenpairs import eigenpairs, told
from .jacobian import Jacobian
from .network import SampledNetwork
from .protocol import Operator
from .vectors import angles_to_mean_gradients, require_above_zero, require_vectors

__all__ = ["OUTPUTS", "FisherSpectrum", "fisher_spectrum"]


@dataclass(frozen=True, repr=False, eq=False)
class FisherSpectrum(Result):
    r"""Eigenvalues of the Fisher information of one network.

    .. math:: F = \frac1T \sum_t \sum_k \nabla f_k(x_t) \nabla f_k(x_t)^T

    With `output` "softmax" those of :math:`F_{cross} = \frac1T \sum_t J_t^T Q_t J_t`,
    :math:`Q_t = \mathrm{diag}(p) - p p^T`.

    Attributes
    ----------
    eigenvalues : ndarray, shape (min(TC, P),) or (k,)
        Descending: those that can be non-zero (softmax: min(T(C - 1), P) of them), or the k largest.
    residuals : ndarray, the same shape
        Within this distance of each there is an eigenvalue (:math:`|F^* v - \lambda v|` for a unit vector v, and the
        rounding error of the product).
    mean : float
        tr F / P, over all P eigenvalues.
    second_moment : float
        tr F^2 / P. After ``k=...`` it is computed when first read, and so is `mean` where layers couple samples.
    largest : float
        The largest eigenvalue; gradient descent on half the squared error (softmax: on the cross-entropy, while
        the outputs are what they are) is stable below 2/largest.
    n_outliers : int
        How many can be of the order of the width: C, or C - 1 (softmax, and layer norm of the outputs).
    outlier_mean : float
        Mean of that many of the largest, the number to compare with theory.
    coupling : float
        How far the dual is from one block an output, from 0 to 1.
    n_parameters, n_samples, n_outputs : int
        P (of the block, for one `layer`), T and C.
    output : str
        "linear" or "softmax".
    layer : int or None
        The weight layer whose diagonal block of F this is, counted from 0, or None: all of F.
    parameterisation : str
        "standard" or "ntk".
    eigenvectors : ndarray, shape (P, k), or None
        On request: orthonormal columns, one an eigenvalue, in the order of `SampledNetwork.flatten`.
    principal_angles : ndarray, shape (n_outliers,), or None
        With `eigenvectors`: angles in radians, descending, between the space of the `n_outliers`
        first and the span of the mean gradients :math:`E_t[\nabla f_k]`, k = 1..C, which contains it as the width
        grows. None where too few vectors are known, or the mean gradients vanish.
    """

    eigenvalues: np.ndarray
    residuals: np.ndarray
    n_parameters: int
    n_samples: int
    n_outputs: int
    output: str
    # `Dual.trace` and `Dual.squared_norms`, or the functions that have yet to compute them.
    _trace: Any = field(compare=False)
    _norms: Any = field(compare=False)
    _common: bool = False  # whether what all outputs share is taken away by a layer
    layer: int | None = None
    parameterisation: str = "standard"
    eigenvectors: np.ndarray | None = None
    principal_angles: np.ndarray | None = None

    @property
    def mean(self) -> float:
        """Tr F / P, exact, over all P eigenvalues.

        Where layers couple samples it is computed when first read after ``k=...``: a backward pass for each output at
        each sample, which cost more than the k eigenvalues did.
        """
        return self._known("_trace") / self.n_parameters

    @property
    def second_moment(self) -> float:
        """Tr F^2 / P, exact.

        After ``k=...`` it is computed when first read, which may cost more than the k eigenvalues did.
        """
        return sum(self._known("_norms")) / self.n_parameters

    @property
    def coupling(self) -> float:
        r"""How far the dual is from C separate blocks, one an output, from 0 to 1.

        Frobenius norm of what is between outputs, over that of the whole dual.

        0 for one output, a single weight layer, or the last `layer`; 0 in a linear network of orthogonal weights whose
        widths do not grow; 0 as the width M grows, and of order :math:`\sqrt{C/M}` otherwise. Softmax couples
        all outputs. Costs what `second_moment` does.
        """
        within, between = self._known("_norms")
        return float(np.sqrt(between / (within + between))) if between > 0 else 0.0

    def _known(self, name: str) -> Any:
        """The value of a field that may be the function which computes it."""
        if callable(value := getattr(self, name)):
            object.__setattr__(self, name, value())
        return getattr(self, name)

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.eigenvalues[0])

    @property
    def n_outliers(self) -> int:
        """How many eigenvalues can be of the order of the width: C or C - 1.

        C - 1 where what all outputs share does not count: of a softmax, behind layer norm.
        """
        return self.n_outputs - (self.output == "softmax" or self._common)

    @property
    def outlier_mean(self) -> float:
        """Mean of the `n_outliers` largest eigenvalues.

        Raises
        ------
        ValueError
            Fewer eigenvalues are known.
        """
        n = self.n_outliers
        if len(self.eigenvalues) < n:
            each = "output" if n == self.n_outputs else "output but one"
            raise ValueError(
                f"`outlier_mean` needs the {n} largest eigenvalues, one per {each}, but only "
                f"{len(self.eigenvalues)} are known; call fisher_spectrum with k={n} or more."
            )
        return float(self.eigenvalues[:n].mean())

    def __repr__(self) -> str:
        mean = "" if callable(self._trace) else f"mean={self.mean:.6g}, "
        return (
            f"FisherSpectrum(largest={self.largest:.6g}, {mean}{len(self.eigenvalues)} eigenvalues, "
            f"T={self.n_samples}, C={self.n_outputs}, P={self.n_parameters})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Every field but `eigenvectors`, and the numbers made of them, as plain Python.

        `outlier_mean` is None where too few eigenvalues are known.
        """
        known = len(self.eigenvalues) >= self.n_outliers
        return {
            **super().to_dict(),
            "eigenvectors": None,
            "mean": self.mean,
            "second_moment": self.second_moment,
            "coupling": self.coupling,
            "largest": self.largest,
            "outlier_mean": self.outlier_mean if known else None,
        }

    def __getstate__(self) -> dict[str, Any]:
        known = {name: self._known(name) for name in ("_trace", "_norms")}  # a pickle holds numbers only
        return {**self.__dict__, **known}


def fisher_spectrum(
    one: Operator,
    X: Any,
    k: int | None = None,
    *,
    output: str = "linear",
    layer: int | None = None,
    parameterisation: str = "standard",
    eigenvectors: bool = False,
    tol: float = 1e-5,
    max_products: int = 2000,
) -> FisherSpectrum:
    r"""Eigenvalues of the Fisher information of a sampled network at the inputs X.

    The P x P matrix is not formed unless it is the smaller one. Its non-zero eigenvalues are those of the dual
    :math:`F^* = J J^T/T` (TC x TC), and for layers that treat samples one by one

    .. math:: (J J^T)_{ks,jt} = \sum_l (h_s^{l-1} \cdot h_t^{l-1} + 1)\,(\delta_{ks}^l \cdot \delta_{jt}^l),

    a sum of Hadamard products of Gram matrices (no 1 without bias), so no Jacobian is stored either. For a
    softmax :math:`R_t J_t` takes the place of :math:`J_t`, with :math:`R_t^T R_t = \mathrm{diag}(p) - p p^T`: the
    errors of all outputs are mixed sample by sample, and nothing else changes.

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator`
        `layer` and "ntk" need the layers of a SampledNetwork.
    X : array (T, M_0), or (T, *input_shape)
    k : int, optional
        How many of the largest eigenvalues, found iteratively unless all of them cost less. Default: all, from the
        dense dual matrix or, if that is smaller, from F.
    output : {"linear", "softmax"}
        What the loss makes of the outputs: nothing (squared errors), or class probabilities (cross-entropy),
        those of `one` as it is.
    layer : int, optional
        Index of a weight layer, as in ``fisher_statistics(...).layers``: the spectrum of its diagonal block of F, the
        derivatives by its weights and biases alone.
    parameterisation : {"standard", "ntk"}
        "ntk": derivatives by w and :math:`\beta` of :math:`W = \sigma_w w/\sqrt{M_{in}}`, :math:`b = \sigma_b \beta`.
    eigenvectors : bool
        Also return the eigenvectors :math:`v = J^T u/\sqrt{T \lambda}` of the eigenvalues, u those of the dual, and
        their `principal_angles`.
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
        `one` serves no Jacobian products; X is not a finite (T, M_0) matrix; `k` is not in 1..min(TC, P)
        (softmax: T(C - 1) for TC); `layer` is not the index of a weight layer; `tol` is not positive; a softmax of one
        output; outputs overflow (an OverflowError too).
    MemoryError
        The spectrum, or the eigenvectors, do not fit into the memory that is free now; give `k`, or fewer samples.
    ArithmeticError
        The iteration has not reached `tol` after `max_products` products; gradients overflow; eigenvectors of
        eigenvalues that are zero within rounding, which J^T u does not determine.

    Notes
    -----
    All, for TC < P: two TC x TC matrices in float64 and T x T blocks beside them; time about
    :math:`(TC)^2 \sum_l M_l` operations and (4/3) (TC)^3 for the eigenvalues. For P < TC those of F itself: two P x P
    matrices, 2 T C P^2 operations, and (4/3) P^3; then the P x P matrix is formed after all, from the Jacobian of a few
    outputs at a time.

    k: block Lanczos with full orthogonalisation, in the dual space. The block has min(k, C) vectors (softmax:
    C - 1), so that eigenvalues that coincide for that many outputs are all found; ARPACK returns too few of them.
    It starts near the constants :math:`1_T \otimes e_k`, which span the top eigenspace of a non-centred network
    (Karakida et al. 2019), with random noise, which finds all others. The errors :math:`\delta` are
    computed once (unless they take more than 1 GiB); then a product costs
    :math:`2 T \sum_l M_l \min(T, 2 M_{l-1})` operations.

    Where a layer couples samples or does not know its gradients as outer products (`Layer.factors`), and for what
    serves Jacobian products alone, a product is one of each, J (J^T u), and the whole dual takes TC of them, as does
    `second_moment`; `mean` takes as many backward passes. With `k` both wait until they are read. The whole of F takes
    P forward passes; a Gram matrix that comes at once saves all these where the spectrum is dense.

    Eigenvectors: k P numbers, a backward pass each; like all vectors they turn into their neighbours by residual/gap.
    The outliers lie in the span of the mean gradients to leading order in M, at angles of order :math:`M^{-1/2}`
    (three layers, C = 2, M = T = 100: 0.04 for relu (2, 0.1) and tanh (3, 0.64), 0.12 for linear (1, 0.1)). Those of a
    softmax weigh samples differently, which adds an angle of order :math:`T^{-1/2}` at any width (relu, M = 500:
    0.09 at T = 100).

    Outputs decouple at infinite width: the dual is then C copies of one T x T matrix
    (`mfdnn.fisher_statistics`, for given inputs too). At finite width :math:`\delta_k^l \cdot \delta_j^l` is of order
    :math:`M^{-1/2}` for two outputs, and `coupling` says how much that makes; only in the last layer it is exactly 0.

    In float32 eigenvalues are good to about 1e-6 of the largest, for the network as rounded: a relu unit
    within rounding of its kink may fall on either side of it.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean
    field approach", arXiv:1806.01316. Blocks: the same authors 2021, "Pathological spectra of the Fisher
    information metric and its variants in deep neural networks", arXiv:1910.05992.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([100, 100, 100, 2], "relu", sigma_w2=2.0, sigma_b2=0.1), rng=0)
    >>> X = np.random.default_rng(1).standard_normal((200, 100))
    >>> all_of_them, top = mfdnn.fisher_spectrum(one, X), mfdnn.fisher_spectrum(one, X, k=2)
    >>> bool(np.all(np.abs(top.eigenvalues - all_of_them.eigenvalues[:2]) <= top.residuals))
    True
    >>> spec = mfdnn.fisher_spectrum(one, X, k=2, eigenvectors=True)
    >>> spec.eigenvectors.shape, bool(spec.principal_angles.max() < 0.2)
    ((20402, 2), True)
    """
    tol, eigenvectors = positive_number("tol", tol), boolean("eigenvectors", eigenvectors)
    max_products = positive_integer("max_products", max_products)
    linear = linearised(one, X)
    root = softmax_root(output, linear)
    jacobian = Jacobian(linear, root, coordinates_of(one, parameterisation, layer))
    n_samples, n_outputs, n_parameters = jacobian.n_samples, jacobian.n_outputs, jacobian.n_parameters
    free, rank = ("C", n_outputs) if root is None else ("(C - 1)", n_outputs - 1)  # Q 1 = 0
    possible = min(n_samples * rank, n_parameters)
    if k is not None and positive_integer("k", k) > possible:
        raise ValueError(
            f"`k` must be at most min(T{free}, P) = {possible}, got {k}; pass less, or None for all."
        )

    common = isinstance(one, SampledNetwork) and one.network.n_free_outputs < n_outputs
    n_wanted = possible if k is None else k
    n_outliers = n_outputs - (output == "softmax" or common)
    n_angles = n_outliers if eigenvectors and n_wanted >= n_outliers else 0
    if eigenvectors:
        n_decomposed = 0 if k is not None else min(jacobian.size, n_parameters)
        require_vectors(jacobian, n_wanted, n_angles, n_decomposed)
    settings: dict[str, Any] = {"eigenvectors": eigenvectors, "tol": tol, "max_products": max_products}
    with told_if_long(lambda: told(jacobian, k)):
        found = eigenpairs(jacobian, k, rank, longest_sum=_longest_sum(one), **settings)
        trace, V, angles = found.trace, None, None
        if eigenvectors:
            require_above_zero(found.values, found.residuals)
            V = found.vectors(n_wanted)
            if n_angles:
                trace = trace() if callable(trace) else trace
                angles = angles_to_mean_gradients(jacobian, V[:, :n_angles], trace)
    return FisherSpectrum(
        eigenvalues=found.values,
        residuals=found.residuals,
        n_parameters=n_parameters,
        n_samples=n_samples,
        n_outputs=n_outputs,
        output=output,
        _trace=trace,
        _norms=found.norms,
        _common=common,
        layer=jacobian.coordinates.layer,
        parameterisation=parameterisation,
        eigenvectors=V,
        principal_angles=angles,
    )


def _longest_sum(one: Operator) -> int:
    """How many products the scalar product of two gradients adds up, at most.

    Of a network these are the units of one layer.
    """
    if not isinstance(one, SampledNetwork):
        return one.n_parameters
    arrays = [a for group in one.parameters for a in group if a is not None]
    return max(max(1, *a.shape, prod(a.shape[1:])) for a in arrays)

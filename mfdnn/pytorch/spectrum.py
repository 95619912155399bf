r"""Eigenvalues of the Fisher information of a module, at a batch, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.results import Result
from .._support.validation import boolean, positive_integer, positive_number, short
from ..jobs.watch import told_if_long
from ..losses.probabilities import SoftmaxRoot
from ..sampled import FisherSpectrum
from ..sampled.checks import OUTPUTS, linearised, softmax_root
from ..sampled.eigenpairs import Eigenpairs, eigenpairs, told
from ..sampled.jacobian import Jacobian
from ..sampled.vectors import angles_to_mean_gradients, require_above_zero, require_vectors
from .loss_root import LossRoot
from .module_operator import operator

__all__ = ["ModuleSpectrum", "fisher_spectrum"]

ALL = 2000  # T C up to which all eigenvalues are computed, and traces exactly
PROBES = 16  # random vectors of an estimated trace


@dataclass(frozen=True, repr=False, eq=False)
class ModuleSpectrum(FisherSpectrum):
    r"""A `mfdnn.sampled.FisherSpectrum` of a PyTorch module.

    `output` is "linear", "softmax" or the name of the loss, whose Gauss-Newton matrix :math:`J^T H J` then takes the
    place of F. Parameters are those that require gradients, in their order.

    Attributes
    ----------
    batch_size : int or None
        Where the matrix is the mean over batches of that size.
    caution : str
        What should be known of the module (`mfdnn.pytorch.ModuleOperator.caution`), or "".
    standard_error : dict or None
        Of `mean` and `second_moment` where they are estimated: after a search with T C above 2000, by 16 random vectors
        beside the eigenvectors that are known. None where they are exact.
    """

    batch_size: int | None = None
    caution: str = ""
    # `Estimate`, or its values; None where traces are exact.
    _estimated: Any = field(default=None, compare=False)

    @property
    def mean(self) -> float:
        """Tr F / P, over all P eigenvalues; computed when first read after a search."""
        return super().mean if self._estimated is None else self._known("_estimated")["mean"][0]

    @property
    def second_moment(self) -> float:
        """Tr F^2 / P; computed when first read after a search."""
        return (
            super().second_moment
            if self._estimated is None
            else self._known("_estimated")["second_moment"][0]
        )

    @property
    def standard_error(self) -> dict[str, float] | None:
        """Of what is estimated."""
        if self._estimated is None:
            return None
        return {name: error for name, (_, error) in self._known("_estimated").items()}

    @property
    def coupling(self) -> float:
        """How far the dual is from one block an output, from 0 to 1.

        Raises
        ------
        ValueError
            Traces are estimated.
        """
        if self._estimated is not None:
            raise ValueError(
                f"`coupling` needs the squared norm of every block of the dual, which is computed up to T C = {ALL} "
                f"only, got {self.n_samples * self.n_outputs}; pass fewer samples."
            )
        return super().coupling

    def __repr__(self) -> str:
        return super().__repr__().replace("FisherSpectrum(", "ModuleSpectrum(")

    def to_dict(self) -> dict[str, Any]:
        """Every field but `eigenvectors`, and the numbers made of them, as plain Python."""
        known = len(self.eigenvalues) >= self.n_outliers
        return {
            **Result.to_dict(self),
            "eigenvectors": None,
            "mean": self.mean,
            "second_moment": self.second_moment,
            "standard_error": self.standard_error,
            "coupling": self.coupling if self._estimated is None else None,
            "largest": self.largest,
            "outlier_mean": self.outlier_mean if known else None,
        }

    def __getstate__(self) -> dict[str, Any]:
        if self._estimated is None:
            return super().__getstate__()
        self._known("_estimated")  # a pickle holds numbers only
        return {**self.__dict__, "_trace": None, "_norms": None}


def fisher_spectrum(
    module: Any,
    X: Any,
    k: int | None = None,
    *,
    output: Any = "linear",
    select: Any = None,
    batch_size: int | None = None,
    eigenvectors: bool = False,
    tol: float = 1e-5,
    max_products: int = 2000,
) -> ModuleSpectrum:
    r"""Eigenvalues of the Fisher information of a PyTorch module at the inputs X.

    .. math:: F = \frac1T \sum_t \sum_k \nabla f_k(x_t) \nabla f_k(x_t)^T

    with the gradients by all trainable parameters. The module is taken as it stands: batch norm in training mode has
    the statistics of the batch, and its coupling of the samples is in F. Nothing of the module changes.

    Parameters
    ----------
    module : torch.nn.Module, or ModuleOperator
        Whatever autograd differentiates.
    X : Tensor, array, or tuple or dict of them
        A batch of T samples as the module takes it, on its device: ``module(X)``, or ``module(*X)`` of a tuple, or
        ``module(**X)`` of a dict.
    k : int, optional
        How many of the largest eigenvalues. Default: all that can be non-zero up to T C = 2000, beyond the C largest.
    output : {"linear", "softmax"} or loss
        "linear": F, of squared errors. "softmax": :math:`\frac1T \sum_t J_t^T (\mathrm{diag}\,p - p p^T) J_t`, of
        cross-entropy. A loss, a module of torch.nn or a function of outputs and targets: its Gauss-Newton matrix
        :math:`J^T H J` with its own reduction, H its Hessian by the outputs, if that does not depend on the targets.
    select : callable, int or str, optional
        What of the module's return value are the outputs (T, C): see `operator`.
    batch_size : int, optional
        The mean of the matrices of batches of that size, which divides T, in the order of X: what gradient descent with
        such batches sees on average. Without batch norm it changes the memory needed and not the matrix.
    eigenvectors : bool
        Also eigenvectors (P, k) and their `principal_angles`.
    tol : float
        With `k`: largest residual, as a fraction of the largest eigenvalue.
    max_products : int
        With `k`: number of products with the dual matrix after which to give up.

    Returns
    -------
    ModuleSpectrum

    Raises
    ------
    TypeError, ValueError
        As `operator`, and its `linearise`; `k` is not in 1..min(TC, P) (softmax: T(C - 1) for TC); `batch_size` does
        not divide T; a loss whose Hessian depends on the targets, or that is not convex in the outputs.
    MemoryError
        Graph, matrix or vectors do not fit.
    ArithmeticError
        The iteration has not reached `tol` after `max_products` products; outputs or gradients overflow.

    Notes
    -----
    The matrix has P rows, its dual :math:`J J^T/T` only T C, and the same eigenvalues but for zeros. A product of the
    dual is a backward pass and its derivative through one graph, which is kept; several are passed together where they
    are small (`torch.vmap`). All eigenvalues take T C of them; the k largest, by block Lanczos with a block of
    min(k, C) vectors, as eigenvalues coincide for that many outputs, ten to thirty for each. Residuals are those of
    explicit products: within that distance of each there is an eigenvalue.

    Memory: what the graph keeps, measured on four samples and predicted for all; where that is not there, samples are
    passed some at a time, if they do not depend on one another, and with twice as many passes.

    Traces are exact up to T C = 2000; beyond, of what is not in the k largest, they are estimated by Hutchinson's
    method, with `standard_error`.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean
    field approach", arXiv:1806.01316. Traces: Meyer, Musco, Musco & Woodruff 2021, "Hutch++: optimal stochastic trace
    estimation", arXiv:2010.09649.

    Examples
    --------
    >>> import torch
    >>> import mfdnn.pytorch as mp
    >>> _ = torch.manual_seed(0)
    >>> module = torch.nn.Sequential(
    ...     torch.nn.Linear(10, 50), torch.nn.BatchNorm1d(50), torch.nn.ReLU(), torch.nn.Linear(50, 3))
    >>> X = torch.randn(40, 10)
    >>> spectrum = mp.fisher_spectrum(module, X)
    >>> print(f"{spectrum.largest:.2f}, the mean of {spectrum.n_parameters} is {spectrum.mean:.3f}")
    9.89, the mean of 803 is 0.121
    >>> top = mp.fisher_spectrum(module, X, k=1, output=torch.nn.MSELoss())
    >>> bool(abs(top.largest / (2 / 3 * spectrum.largest) - 1) < 1e-5)
    True
    """
    tol, eigenvectors = positive_number("tol", tol), boolean("eigenvectors", eigenvectors)
    max_products = positive_integer("max_products", max_products)
    one = operator(module, select=select).in_batches(batch_size)
    loss = _checked_output(output)
    linear = linearised(one, X)
    root: SoftmaxRoot | LossRoot | None
    root = softmax_root(output, linear) if loss is None else LossRoot(loss, linear.outputs)
    classes = isinstance(root, SoftmaxRoot) or (isinstance(root, LossRoot) and root.classes)
    jacobian = Jacobian(linear, root)  # type: ignore[arg-type]  # of the same methods
    n_samples, n_outputs = jacobian.n_samples, jacobian.n_outputs
    rank = n_outputs - classes
    possible = min(n_samples * rank, jacobian.n_parameters)
    if k is not None and positive_integer("k", k) > possible:
        raise ValueError(
            f"`k` must be at most min(T{'(C - 1)' if classes else 'C'}, P) = {possible}, got {k}; pass less, or None."
        )
    if k is None and jacobian.size > ALL:
        k = min(rank, possible)
    n_wanted = possible if k is None else k
    n_angles = rank if eigenvectors and n_wanted >= rank else 0
    if eigenvectors:
        n_decomposed = 0 if k is not None else min(jacobian.size, jacobian.n_parameters)
        require_vectors(jacobian, n_wanted, n_angles, n_decomposed)
    settings: dict[str, Any] = {"eigenvectors": eigenvectors, "tol": tol, "max_products": max_products}
    with told_if_long(lambda: told(jacobian, k)):
        # In this thread, as PyTorch has settings and memory for each; Ctrl-C comes between products.
        longest = max(p.numel() for p in one.tensors)
        found = eigenpairs(jacobian, k, rank, longest_sum=longest, run=_here, **settings)
        trace, V, angles = found.trace, None, None
        if eigenvectors:
            require_above_zero(found.values, found.residuals)
            V = found.vectors(n_wanted)
            if n_angles:
                angles = angles_to_mean_gradients(jacobian, V[:, :n_angles], float(found.values.sum()))
    estimated = found.of_dual is not None and jacobian.size > ALL
    return ModuleSpectrum(
        eigenvalues=found.values,
        residuals=found.residuals,
        n_parameters=jacobian.n_parameters,
        n_samples=n_samples,
        n_outputs=n_outputs,
        output=root.name if isinstance(root, LossRoot) else output,
        _trace=trace,
        _norms=found.norms,
        _common=isinstance(root, LossRoot) and root.classes,
        eigenvectors=V,
        principal_angles=angles,
        batch_size=batch_size,
        caution=one.caution,
        _estimated=Estimate(jacobian, found) if estimated else None,
    )


def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _checked_output(output: Any) -> Any:
    """The loss that `output` is, or None for a name."""
    if isinstance(output, str) and output in OUTPUTS:
        return None
    if callable(output):
        return output
    raise ValueError(
        f"`output` must be linear, softmax or a loss as torch.nn.CrossEntropyLoss(), got {short(output)}; pass one."
    )


class Estimate:
    r"""Traces of F and F^2 from random vectors, beside the eigenpairs that are known.

    With eigenpairs :math:`\lambda_i, u_i` of the dual, D the dual without them and z of random signs,
    :math:`\mathrm{tr} F = \sum_i \lambda_i + E\, z^T D z` and
    :math:`\mathrm{tr} F^2 = \sum_i \lambda_i^2 + E\,|D z|^2`.
    """

    def __init__(self, jacobian: Jacobian, found: Eigenpairs):
        self._jacobian, self._found = jacobian, found

    def __call__(self) -> dict[str, tuple[float, float]]:
        """Mean and second moment over all P eigenvalues, with their standard errors."""
        jacobian, found = self._jacobian, self._found
        assert found.of_dual is not None
        U = found.of_dual[:, : len(found.values)]
        Z = np.random.default_rng(0).choice(
            [-1.0, 1.0], (jacobian.size, PROBES)
        )  # the answer's error is told
        with told_if_long(lambda: f"traces at T = {jacobian.n_samples}, C = {jacobian.n_outputs} take long"):
            Z = Z - U @ (U.T @ Z)
            DZ = jacobian.pull_and_push(Z) / jacobian.n_samples
        DZ -= U @ (U.T @ DZ)
        return {
            name: (
                float(known + samples.mean()) / jacobian.n_parameters,
                float(samples.std(ddof=1) / np.sqrt(PROBES)) / jacobian.n_parameters,
            )
            for name, known, samples in (
                ("mean", found.values.sum(), np.einsum("ij,ij->j", Z, DZ)),
                ("second_moment", found.values @ found.values, np.einsum("ij,ij->j", DZ, DZ)),
            )
        }

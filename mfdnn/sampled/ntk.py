r"""Neural tangent kernel :math:`\Theta = J J^T` and its duality with Fisher."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import finite_array, input_array
from ..jobs.watch import told_if_long
from .between import products_between
from .checks import linearised, require_finite_gradients
from .coordinates import Coordinates, Plain, coordinates_of
from .dual import dual_of
from .jacobian import Jacobian
from .linearisation import Linearisation
from .network import SampledNetwork
from .protocol import Operator, Served
from .vectors import require_vectors

__all__ = ["empirical_ntk", "fisher_from_ntk", "ntk_from_fisher"]


def empirical_ntk(
    one: Operator,
    X: np.ndarray,
    others: np.ndarray | None = None,
    *,
    parameterisation: str = "standard",
    layer: int | None = None,
) -> np.ndarray:
    r"""Neural tangent kernel of a sampled network: products of its gradients.

    .. math:: \Theta_{kT + s,\,jT + t} = \nabla f_k(x_s) \cdot \nabla f_j(x_t)

    Rows and columns go output by output, and sample by sample within an output (from 0);
    ``theta.reshape(C, T, C, T)`` has the indices k, s, j, t.

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator`
    X : array (T, M_0), or (T, *input_shape)
    others : array (T', M_0), or (T', *input_shape), optional
        Other inputs, for the columns; where layers couple samples, a batch of its own. Default: X.
    parameterisation : {"standard", "ntk"}
        Derivatives by W and b, or by w and :math:`\beta` of :math:`W = \sigma_w w/\sqrt{M_{in}}`,
        :math:`b = \sigma_b \beta`, which gives a kernel that does not depend on the width in the limit.
    layer : int, optional
        Index of the weight layer whose parameters alone count. Default: all.

    Returns
    -------
    array (TC, TC) or (TC, T'C), float64
        Symmetric without `others`.

    Raises
    ------
    TypeError, ValueError
        X is not a finite (T, M_0) matrix; an unknown `parameterisation`; `layer` is not the index of a weight layer.
    MemoryError
        The kernel does not fit into the memory that is free now.

    Notes
    -----
    Exact up to rounding; no Jacobian is stored. `mfdnn.ntk` is the limit of infinite width of one output, and
    outputs decouple there: :math:`\Theta \otimes I_C`. :math:`\Theta/T` has the non-zero eigenvalues of the Fisher
    information (`fisher_from_ntk`).

    References
    ----------
    Jacot, Gabriel & Hongler 2018, "Neural tangent kernel: convergence and generalization in neural networks",
    arXiv:1806.07572.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([20, 50, 2], "relu", sigma_w2=2.0), rng=0)
    >>> X = np.random.default_rng(1).standard_normal((5, 20))
    >>> theta = mfdnn.empirical_ntk(one, X)
    >>> theta.shape, bool(np.allclose(np.linalg.eigvalsh(theta)[::-1] / 5, mfdnn.fisher_spectrum(one, X).eigenvalues))
    ((10, 10), True)
    """
    linear = linearised(one, X)
    if others is not None:
        return _between(one, linear, others, coordinates_of(one, parameterisation, layer))
    n_samples, n_outputs = linear.outputs.shape
    require_memory(
        16 * linear.outputs.size**2,
        f"the tangent kernel of {n_outputs} outputs at {n_samples} samples",
        "pass fewer samples, or ask `fisher_spectrum` for the largest eigenvalues",
    )
    jacobian = Jacobian(linear, None, coordinates_of(one, parameterisation, layer))
    with told_if_long(lambda: f"the tangent kernel at T = {n_samples}, C = {n_outputs} takes long"):
        theta = dual_of(jacobian, None).matrix()
    require_finite_gradients(np.diagonal(theta))
    for k in range(n_outputs):
        rows = slice(k * n_samples, (k + 1) * n_samples)
        theta[: rows.start, rows] = theta[rows, : rows.start].T
    return theta * n_samples


def _between(one: Any, linear: Linearisation | Served, others: Any, coordinates: Coordinates | Plain) -> np.ndarray:
    """The kernel between the samples of `linear` and others."""
    if isinstance(one, SampledNetwork):
        others = input_array("others", others, one.network.input_shape)
    there = linearised(one, others)
    n_samples, n_others = len(linear.outputs), len(there.outputs)
    require_memory(
        16.0 * linear.outputs.size * there.outputs.size,
        f"the tangent kernel of {n_samples} samples and {n_others} others",
        "pass fewer",
    )
    with told_if_long(lambda: f"the tangent kernel of {n_samples} samples and {n_others} others takes long"):
        theta = products_between(Jacobian(linear, None, coordinates), Jacobian(there, None, coordinates))
    require_finite_gradients(theta)
    return theta


def fisher_from_ntk(
    one: Operator,
    X: np.ndarray,
    eigenvalues: np.ndarray,
    eigenvectors: np.ndarray,
    *,
    parameterisation: str = "standard",
) -> tuple[np.ndarray, np.ndarray]:
    r"""Eigenpairs of the Fisher information from those of the neural tangent kernel.

    .. math:: \Theta u = \mu u \quad\Rightarrow\quad F v = \frac\mu T v, \qquad v = \frac{J^T u}{\sqrt\mu}

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator`
    X : array (T, M_0), or (T, *input_shape)
    eigenvalues, eigenvectors : array (k,), array (TC, k)
        Of `empirical_ntk`, as from `numpy.linalg.eigh`: all of them or some, not zero, unit vectors in columns.
    parameterisation : {"standard", "ntk"}
        Of both.

    Returns
    -------
    eigenvalues : array (k,)
    eigenvectors : array (P, k)
        Unit vectors in columns, orthogonal if those given are.

    Raises
    ------
    ValueError
        Shapes that do not fit, eigenvalues that are not positive, or no eigenpairs: of another network, other inputs
        or units, or of eigenvalues that are zero but for rounding.
    MemoryError
        The vectors do not fit.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one, X = mfdnn.sample(mfdnn.mlp([20, 50, 2], "relu", sigma_w2=2.0), rng=0), np.eye(20)[:5]
    >>> mu, U = np.linalg.eigh(mfdnn.empirical_ntk(one, X))
    >>> values, V = mfdnn.fisher_from_ntk(one, X, mu, U)
    >>> back, W = mfdnn.ntk_from_fisher(one, X, values, V)
    >>> V.shape, bool(np.allclose(back, mu)), bool(np.allclose(W, U))
    ((1152, 10), True, True)
    """
    jacobian = Jacobian(linearised(one, X), None, coordinates_of(one, parameterisation))
    mu, U = _pairs(eigenvalues, eigenvectors, jacobian.size, "T C")
    require_vectors(jacobian, len(mu))
    V = jacobian.pull(U)
    _require_eigenpairs("mu = |J^T u|^2", V, mu)
    V /= np.sqrt(mu).astype(V.dtype)
    return mu / jacobian.n_samples, V


def ntk_from_fisher(
    one: Operator,
    X: np.ndarray,
    eigenvalues: np.ndarray,
    eigenvectors: np.ndarray,
    *,
    parameterisation: str = "standard",
) -> tuple[np.ndarray, np.ndarray]:
    r"""Eigenpairs of the neural tangent kernel from those of the Fisher information.

    .. math:: F v = \lambda v \quad\Rightarrow\quad \Theta u = T \lambda u, \qquad u = \frac{J v}{\sqrt{T \lambda}}

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator`
    X : array (T, M_0), or (T, *input_shape)
    eigenvalues, eigenvectors : array (k,), array (P, k)
        Of F, as from ``fisher_spectrum(one, X, k, eigenvectors=True)``: some or all that are not zero.
    parameterisation : {"standard", "ntk"}
        Of both.

    Returns
    -------
    eigenvalues : array (k,)
    eigenvectors : array (TC, k)
        Unit vectors in columns, rows as in `empirical_ntk`.

    Raises
    ------
    ValueError
        Shapes that do not fit, eigenvalues that are not positive, or no eigenpairs: of another network, other inputs
        or units, or of eigenvalues that are zero but for rounding.
    MemoryError
        The vectors do not fit.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one, X = mfdnn.sample(mfdnn.mlp([20, 50, 2], "relu", sigma_w2=2.0), rng=0), np.eye(20)[:5]
    >>> spec = mfdnn.fisher_spectrum(one, X, k=2, eigenvectors=True)
    >>> mu, U = mfdnn.ntk_from_fisher(one, X, spec.eigenvalues, spec.eigenvectors)
    >>> bool(np.allclose(mfdnn.empirical_ntk(one, X) @ U, U * mu))
    True
    """
    jacobian = Jacobian(linearised(one, X), None, coordinates_of(one, parameterisation))
    values, V = _pairs(eigenvalues, eigenvectors, jacobian.n_parameters, "P")
    require_memory(8 * jacobian.size * len(values), f"{len(values)} vectors of the kernel", "pass fewer")
    U, mu = jacobian.push(V), jacobian.n_samples * values
    _require_eigenpairs("T lambda = |J v|^2", U, mu)
    return mu, U / np.sqrt(mu)


def _pairs(values: Any, vectors: Any, size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Checked eigenpairs."""
    values, vectors = finite_array("eigenvalues", values), finite_array("eigenvectors", vectors)
    if values.ndim != 1 or vectors.shape != (size, len(values)):
        raise ValueError(
            f"`eigenvectors` must have shape ({name}, k) = ({size}, {values.size}) for {values.size} `eigenvalues`, "
            f"got {vectors.shape}; pass one column an eigenvalue."
        )
    if np.any(values <= 0):
        raise ValueError(
            f"`eigenvalues` must be positive, got {values.min():.3g}: the two spectra share those that are not zero; "
            "drop the others."
        )
    return values, vectors


def _require_eigenpairs(identity: str, images: np.ndarray, values: np.ndarray) -> None:
    """Squared norms of the images of unit eigenvectors are eigenvalues."""
    squares = np.einsum("ik,ik->k", images, images, dtype=np.float64)
    # A tenth: of another kernel, or where an eigenvalue is rounding, they differ by factors.
    wrong = np.flatnonzero(~(np.abs(squares - values) <= 0.1 * values))
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"`eigenvectors` must be unit eigenvectors of `one` at `X`, for which {identity}, but column {i} has "
            f"{squares[i]:.3g} for {values[i]:.3g}; check the parameterisation, and drop eigenvalues that are zero but "
            "for rounding."
        )

r"""Vectors of the dual in parameter space, :math:`v = J^T u/\sqrt{T \lambda}`."""

from __future__ import annotations

import numpy as np

from .._support.memory import require_memory
from .jacobian import Jacobian

__all__ = ["angles_to_mean_gradients", "mean_gradients", "orthonormal", "require_above_zero", "require_vectors"]


def require_vectors(jacobian: Jacobian, k: int, n_angles: int = 0, n_decomposed: int = 0) -> None:
    """Raise a MemoryError where k vectors of the parameters do not fit.

    Nor what the `n_angles` principal angles of them take, and the decomposition of a matrix of `n_decomposed` rows.
    """
    # k of them and a copy, or `subspace_angles` (measured); and the one that is being computed, in pieces.
    beside = max(k, 5 * jacobian.n_outputs) if n_angles else k
    n_bytes = jacobian.dtype.itemsize * jacobian.n_parameters * (k + beside + 3)
    n_bytes += 40 * n_decomposed**2  # the matrix, its vectors, and the work space of the solver
    what = f"{k} eigenvectors of {jacobian.n_parameters} parameters"
    require_memory(n_bytes, what, "pass a smaller k, or eigenvectors=False")


def require_above_zero(values: np.ndarray, residuals: np.ndarray) -> None:
    """Raise an ArithmeticError for eigenvectors of eigenvalues that are rounding."""
    zero = np.flatnonzero(values <= residuals)
    if zero.size:
        raise ArithmeticError(
            f"`eigenvectors` of eigenvalues that are zero within rounding are not determined by the dual: only the "
            f"first {zero[0]} of {len(values)} are larger; pass k={zero[0]} or less."
            if zero[0]
            else "`eigenvectors` need eigenvalues above zero, but the largest is zero within rounding; drop them."
        )


def orthonormal(jacobian: Jacobian, values: np.ndarray, U: np.ndarray, k: int) -> np.ndarray:
    """Eigenvectors (P, k) of F for the first k eigenpairs of its dual."""
    V = jacobian.pull(U[:, :k])
    V /= np.sqrt(jacobian.n_samples * values[:k]).astype(V.dtype)
    # Orthonormal to rounding times largest over smallest eigenvalue: one step of Cholesky QR removes that factor.
    return V @ np.linalg.inv(np.linalg.cholesky(V.T @ V)).T


def mean_gradients(jacobian: Jacobian) -> np.ndarray:
    """E_t[grad f_k], the mean over samples, for every output: (P, C)."""
    each = np.repeat(np.eye(jacobian.n_outputs), jacobian.n_samples, axis=0)
    return Jacobian(jacobian.linear, None, jacobian.coordinates).pull(each) / jacobian.n_samples


def angles_to_mean_gradients(jacobian: Jacobian, V: np.ndarray, trace: float) -> np.ndarray | None:
    """Principal angles between orthonormal V (P, n) and the mean gradients' span.

    They descend. None if the mean gradients vanish beside `trace`, that of F.
    """
    from scipy.linalg import subspace_angles

    G = mean_gradients(jacobian)
    rounding = jacobian.n_samples * np.finfo(G.dtype).eps  # of a sum over samples
    if np.sum(G**2, dtype=np.float64) <= rounding**2 * trace:
        return None
    return subspace_angles(V, G)

r"""Vectors of the dual in parameter space, :math:`v = J^T u/\sqrt{T \lambda}`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.memory import require_memory
from ..losses.probabilities import SoftmaxRoot
from .network import Linearisation
from .operator import Served

__all__ = [
    "angles_to_mean_gradients",
    "in_parameters",
    "mean_gradients",
    "orthonormal_eigenvectors",
    "require_vectors",
]


def require_vectors(
    linear: Linearisation | Served, n_parameters: int, k: int, n_angles: int = 0, whole: bool = False
) -> None:
    """Raise a MemoryError where k vectors of the parameters do not fit.

    Nor what the `n_angles` principal angles of them take.
    """
    n_samples, n_outputs = linear.outputs.shape
    # k of them and a copy, or `subspace_angles` (measured); and the one that is being computed, in pieces.
    beside = max(k, 5 * n_outputs) if n_angles else k
    n_bytes = linear.dtype.itemsize * n_parameters * (k + beside + 3)
    if whole:  # the dual, its vectors, and the work space of the solver
        n_bytes += 40 * (n_samples * n_outputs) ** 2
    what = f"{k} eigenvectors of {n_parameters} parameters"
    require_memory(n_bytes, what, "pass a smaller k, or eigenvectors=False")


def in_parameters(
    linear: Linearisation | Served, coordinates: Any, U: np.ndarray, root: SoftmaxRoot | None = None
) -> np.ndarray:
    """J^T U (P, k) for vectors U (TC, k) of the dual, whose rows go output by output."""
    n_samples, n_outputs = linear.outputs.shape
    if root is not None:
        U = root.columns(U, transpose=True)
    V = np.empty((U.shape[1], coordinates.n_parameters), linear.dtype)
    for v, u in zip(V, U.T.astype(linear.dtype), strict=True):
        v[:] = coordinates.pull(linear, u.reshape(n_outputs, n_samples).T)
    return V.T


def orthonormal_eigenvectors(
    linear: Linearisation | Served,
    coordinates: Any,
    root: SoftmaxRoot | None,
    values: np.ndarray,
    residuals: np.ndarray,
    U: np.ndarray,
) -> np.ndarray:
    """Eigenvectors (P, k) of F for eigenpairs of its dual."""
    zero = np.flatnonzero(values <= residuals)
    if zero.size:
        raise ArithmeticError(
            f"`eigenvectors` of eigenvalues that are zero within rounding are not determined by the dual: only the "
            f"first {zero[0]} of {len(values)} are larger; pass k={zero[0]} or less."
            if zero[0]
            else "`eigenvectors` need eigenvalues above zero, but the largest is zero within rounding; drop them."
        )
    V = in_parameters(linear, coordinates, U[:, : len(values)], root)
    V /= np.sqrt(len(linear.outputs) * values).astype(V.dtype)
    # Orthonormal to rounding times largest over smallest eigenvalue: one step of Cholesky QR removes that factor.
    return V @ np.linalg.inv(np.linalg.cholesky(V.T @ V)).T


def mean_gradients(linear: Linearisation | Served, coordinates: Any) -> np.ndarray:
    """E_t[grad f_k], the mean over samples, for every output: (P, C)."""
    n_samples, n_outputs = linear.outputs.shape
    return in_parameters(linear, coordinates, np.repeat(np.eye(n_outputs), n_samples, axis=0)) / n_samples


def angles_to_mean_gradients(
    linear: Linearisation | Served, coordinates: Any, V: np.ndarray, trace: float
) -> np.ndarray | None:
    """Principal angles between orthonormal V (P, n) and the mean gradients' span.

    They descend. None if these vanish beside `trace`, that of F.
    """
    from scipy.linalg import subspace_angles

    G = mean_gradients(linear, coordinates)
    rounding = len(linear.outputs) * np.finfo(G.dtype).eps  # of a sum over samples
    if np.sum(G**2, dtype=np.float64) <= rounding**2 * trace:
        return None
    return subspace_angles(V, G)

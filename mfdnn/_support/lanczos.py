"""Largest eigenvalues of a positive semi-definite operator by block Lanczos.

Residuals are those of explicit products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["basis_size", "largest_eigenpairs", "largest_eigenvalues"]

BASIS = 2**28  # bytes the vectors may take before a restart, if that leaves enough of them


def basis_size(n: int, k: int, b: int) -> int:
    """Number of vectors of length n an iteration may hold before it restarts."""
    return min(n, max(2 * k + 6 * b + 40, min(500, BASIS // (16 * n))))


def largest_eigenvalues(
    product: Callable[[np.ndarray], np.ndarray],
    block: np.ndarray,
    k: int,
    tol: float,
    max_products: int,
    rounding: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenvalues, descending, and their residual norms: (k,) each.

    What `largest_eigenpairs` returns without the vectors; the arguments are explained there.
    """
    return largest_eigenpairs(product, block, k, tol, max_products, rounding)[:2]


def largest_eigenpairs(
    product: Callable[[np.ndarray], np.ndarray],
    block: np.ndarray,
    k: int,
    tol: float,
    max_products: int,
    rounding: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest eigenvalues, descending, their residual norms, and eigenvectors.

    Rayleigh-Ritz on a growing orthonormal basis. Basis and images are both kept, so the residuals are those
    of explicit products and cost none. The basis grows by the residuals of what has not converged, which
    spans the block Krylov space, and by noise where all has, which finds what was missed.

    Parameters
    ----------
    product : callable
        Maps (n, b) to (n, b).
    block : array (n, b)
        Where to start. An eigenvalue is found as often as it occurs, up to b times.
    k : int
    tol : float
        Largest residual as a fraction of the largest eigenvalue.
    max_products : int
        Number of vectors that may be multiplied.
    rounding : float
        Rounding error of one product, as a fraction of the largest eigenvalue; part of the residuals.

    Returns
    -------
    (array (k,), array (k,), array (n, max(k, b)))
        Eigenvalues, residual norms (of the eigenvalues' unit), orthonormal vectors as columns: as many as `block` has,
        or k if that is more.

    Raises
    ------
    ArithmeticError
        No convergence within `max_products`, or an operator that overflows.
    """
    n, b = block.shape
    basis = images = np.empty((n, 0))
    rng = np.random.default_rng(1)  # the answer does not depend on it
    n_products = 0
    while True:
        block = _orthonormal(block, basis)
        basis, images = np.hstack([basis, block]), np.hstack([images, product(block)])
        n_products += b
        projected = basis.T @ images
        if not np.all(np.isfinite(projected)):
            raise ArithmeticError("The gradients of `one` overflow; take smaller weights or fewer layers.")
        values, vectors = np.linalg.eigh(projected + projected.T)  # symmetric up to rounding
        values, vectors = 0.5 * values[::-1], vectors[:, ::-1]
        some = vectors[:, : k + b]
        residuals = images @ some - basis @ some * values[: k + b]
        norms = np.linalg.norm(residuals, axis=0) + rounding * values[0]
        if basis.shape[1] >= k and np.all(norms[:k] <= tol * values[0]):
            return values[:k], norms[:k], basis @ vectors[:, : max(k, b)]
        if n_products >= max_products:
            raise ArithmeticError(
                f"`fisher_spectrum` has a residual of {norms[:k].max() / values[0]:.1e} of the largest "
                f"eigenvalue after {n_products} products, not `tol` = {tol:g}; raise `tol` or "
                "`max_products`, ask for fewer eigenvalues, or sample with dtype='float64'."
            )
        if basis.shape[1] + b > basis_size(n, k, b):
            keep = vectors[:, : k + (basis_size(n, k, b) - k) // 3]
            basis, images = basis @ keep, images @ keep
        # The block keeps its width, beyond the k wanted if need be: a narrower one misses copies.
        remaining = np.flatnonzero(norms > tol * values[0])[:b]
        block = np.hstack([residuals[:, remaining], rng.standard_normal((n, b - remaining.size))])


def _orthonormal(block: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what `block` adds to the span of `basis`."""
    block = block / np.linalg.norm(block, axis=0)
    for _ in range(2):  # twice is enough (Kahan and Parlett)
        block, r = np.linalg.qr(block - basis @ (basis.T @ block))
        block = block[:, np.abs(np.diagonal(r)) > 1e-10]  # less than that is rounding noise of the others
    return block

"""All eigenpairs from the smaller of two matrices, or where a search begins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from .checks import require_finite_gradients
from .dual import dual_of, kind_of_dual
from .jacobian import Jacobian
from .primal import fisher_matrix
from .vectors import orthonormal

__all__ = ["SMALL", "all_pairs", "starting_block", "worth_all"]

SMALL = 300  # T C up to which the whole spectrum costs less than iterating
PASSES = 30  # products that an eigenvalue may take; where each is a pass through the network, as few rows cost less
SHARE = 8  # of P < T C, this many for each eigenvalue wanted: all of them cost less than iterating


def worth_all(jacobian: Jacobian, k: int, small: int) -> bool:
    """Whether all eigenvalues cost less than a search for the k largest.

    `small` is T C up to which they do where the dual is quick.
    """
    if _fewer_parameters(jacobian) and jacobian.n_parameters <= SHARE * k:
        return True
    return jacobian.size <= (small if kind_of_dual(jacobian, None).quick else min(small, PASSES * k))


def all_pairs(
    jacobian: Jacobian, eigenvectors: bool
) -> tuple[np.ndarray, Callable[[int], np.ndarray], tuple[float, float]]:
    """All eigenvalues, descending, vectors if wanted, and squared norms of the dual.

    Those of the smaller of the two matrices, the dual and F. Vectors come from a function of their number n, which
    returns the first as columns (P, n), if `eigenvectors`.
    """
    if _fewer_parameters(jacobian):
        matrix, norms = fisher_matrix(jacobian, ordered=eigenvectors)
    else:
        whole = dual_of(jacobian, None)
        matrix = whole.matrix()
        norms = whole.squared_norms(matrix)
    require_finite_gradients(np.diagonal(matrix))
    # Of NumPy, not of SciPy: it releases the GIL, so that the networks of an ensemble run side by side.
    if eigenvectors:
        values, vectors = np.linalg.eigh(matrix)
    else:
        values, vectors = np.linalg.eigvalsh(matrix), matrix[:, :0]
    values, vectors = values[::-1], vectors[:, ::-1]
    if _fewer_parameters(jacobian):
        return values, lambda n: vectors[:, :n].astype(jacobian.dtype), norms
    return values, partial(orthonormal, jacobian, values, vectors), norms


def _fewer_parameters(jacobian: Jacobian) -> bool:
    """Whether F is the smaller matrix, and no Gram matrix comes at once."""
    return 0 < jacobian.n_parameters < jacobian.size and not getattr(jacobian.linear, "has_gram", False)


def starting_block(jacobian: Jacobian, b: int) -> np.ndarray:
    """Starting block (TC, b), most of it in the span of the C constants.

    With a root R in the span of R of them; some of it lies anywhere.
    """
    n_samples, n_outputs, root = jacobian.n_samples, jacobian.n_outputs, jacobian.root
    rng = np.random.default_rng(0)  # a start, not a sample: the answer does not depend on it
    constants = np.linalg.qr(rng.standard_normal((n_outputs, b)))[0] / np.sqrt(n_samples)
    start = np.repeat(constants, n_samples, axis=0)
    noise = rng.standard_normal((n_samples * n_outputs, b)) / np.sqrt(n_samples * n_outputs)
    if root is not None:
        start, noise = root.columns(start), noise / np.sqrt(n_outputs)  # |Q| is about 1/C for small outputs
    return start + 0.3 * noise

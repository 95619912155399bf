"""All eigenpairs from the smaller of two matrices, or where a search begins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._support.lanczos import largest_eigenpairs
from ..jobs.threads import aside
from .checks import require_finite_gradients
from .dual import dual_of, kind_of_dual
from .jacobian import Jacobian
from .primal import fisher_matrix
from .vectors import orthonormal

__all__ = ["SMALL", "Eigenpairs", "all_pairs", "eigenpairs", "starting_block", "told", "worth_all"]

SMALL = 300  # T C up to which the whole spectrum costs less than iterating
PASSES = 30  # products that an eigenvalue may take; where each is a pass through the network, as few rows cost less
SHARE = 8  # of P < T C, this many for each eigenvalue wanted: all of them cost less than iterating


class Eigenpairs(NamedTuple):
    """The largest eigenvalues of a dual, and what else came of the search.

    Attributes
    ----------
    values, residuals : array (n,)
        Descending.
    vectors : callable
        Of n: the first n eigenvectors (P, n) of F; of dense spectra only where they were asked for.
    of_dual : array (TC, n), or None
        Those of the dual, after a search.
    trace, norms : object
        `Dual.trace` and `Dual.squared_norms`, or the functions that have yet to compute them.
    """

    values: np.ndarray
    residuals: np.ndarray
    vectors: Callable[[int], np.ndarray]
    of_dual: np.ndarray | None
    trace: Any
    norms: Any


def eigenpairs(
    jacobian: Jacobian,
    k: int | None,
    rank: int,
    *,
    eigenvectors: bool,
    tol: float,
    max_products: int,
    longest_sum: int,
    run: Callable[..., Any] = aside,
) -> Eigenpairs:
    """The k largest, or all that can be non-zero.

    Parameters
    ----------
    jacobian : Jacobian
    k : int, optional
    rank : int
        How many of the C outputs of a sample count.
    eigenvectors, tol, max_products
        As of `fisher_spectrum`.
    longest_sum : int
        How many products the scalar product of two gradients adds up, at most.
    run : callable
        ``run(function, *arguments)``: where Ctrl-C finds it. Default: in a thread of its own.
    """
    eps = float(np.finfo(jacobian.dtype).eps)
    if k is None or worth_all(jacobian, k, SMALL):
        values, vectors, norms = run(all_pairs, jacobian, eigenvectors)
        n = min(jacobian.n_samples * rank, jacobian.n_parameters) if k is None else k
        # Backward error of the solver, and of the scalar products that fill the matrix.
        residuals = np.full(n, eps * (jacobian.size + longest_sum) * max(values[0], 0.0))
        return Eigenpairs(values[:n], residuals, vectors, None, float(values.sum()), norms)
    dual = run(dual_of, jacobian, k)
    # A product in float32 moves eigenvalues by less than 1 eps (measured for widths 30 to 2000).
    start = starting_block(jacobian, min(k, rank))
    search = partial(largest_eigenpairs, rounding=10 * eps)
    values, residuals, U = run(search, dual.product, start, k, tol, max_products)
    trace = dual.trace() if dual.quick else dual.trace
    return Eigenpairs(
        values, residuals, partial(orthonormal, jacobian, values, U), U, trace, dual.squared_norms
    )


def told(jacobian: Jacobian, k: int | None) -> str:
    """What takes long, and what would take less."""
    wanted = "all eigenvalues" if k is None else f"the {k} largest eigenvalues"
    advice = "; `k` asks for the largest alone" if k is None else ""
    return f"{wanted} at T = {jacobian.n_samples}, C = {jacobian.n_outputs} take long{advice}"


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

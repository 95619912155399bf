"""Draws of Gaussian fields with less noise than independent ones."""

from __future__ import annotations

import numpy as np

from .._support.blas import single_blas_thread

__all__ = ["factor", "normals"]

SOBOL_UP_TO = 512  # dimensions: beyond, points of a net are no better than random ones at a few hundred units
COMPONENTS_UP_TO = 256
OPEN = 2.0**-52  # a point of a net may be 0, whose normal is infinite


def factor(covariance: np.ndarray) -> np.ndarray:
    """A with A A^T = covariance, (n, n).

    Its columns come in the order of what they contribute.
    Of a positive semi-definite matrix, which may be singular: inputs may repeat. What rounding makes negative is 0. By
    principal components, beyond 256 of them by Cholesky decomposition with the largest pivots first, which is thirty
    times faster.
    """
    with single_blas_thread():  # several wait for each other as soon as a core is busy
        if len(covariance) <= COMPONENTS_UP_TO:
            values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
            return (vectors * np.sqrt(np.clip(values, 0, None)))[:, ::-1]
        from scipy.linalg.lapack import dpstrf

        found, pivots, rank, _ = dpstrf(covariance, lower=1)
        rows = np.tril(found)
        rows[:, rank:] = 0.0  # what is left of it is rounding
        lower = np.empty_like(rows)
        lower[pivots - 1] = rows
        return lower


def normals(n_units: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal fields, (n_units, n), whose averages have little noise.

    Points of a scrambled Sobol net up to 512 dimensions, random ones beyond. Over the units the mean is 0 and the
    covariance the identity, exactly, in the first directions: up to half as many as there are units. `factor` puts
    first what matters most.

    Notes
    -----
    Units are not independent of each other: an error is told by several draws. Of a network's largest tangent
    eigenvalue (three hidden layers, 50 inputs, 1024 units) it is 0.3 % for relu where independent units leave 7 %, and
    0.6 % for tanh in place of 3 %. Pairs with opposite signs would help even activations and double the variance of odd
    ones, so that they are not used.
    """
    if n <= SOBOL_UP_TO:
        from scipy.special import ndtri
        from scipy.stats import qmc

        # A net is balanced at powers of two: drawn up to the next one, what is over is left out.
        points = qmc.Sobol(n, scramble=True, rng=rng).random_base2(int(n_units - 1).bit_length())[:n_units]
        # In an order of its own: points of two nets with the same number depend on each other.
        e = rng.permutation(ndtri(np.clip(points, OPEN, 1 - OPEN)))
    else:
        e = rng.standard_normal((n_units, n))
    e -= e.mean(axis=0)
    matched = min(n, n_units // 2)
    if matched:
        first = e[:, :matched]
        with single_blas_thread():
            lower = np.linalg.cholesky(first.T @ first / n_units)
            e[:, :matched] = np.linalg.solve(lower, first.T).T
    return e

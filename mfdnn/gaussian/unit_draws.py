"""Draws of Gaussian fields with less noise than independent ones."""

from __future__ import annotations

from inspect import signature

import numpy as np

from .._support.blas import single_blas_thread

__all__ = ["factor", "normals"]

POINTS = 32  # units a dimension from which a net fills the space; with eight averages were 0.1 % off
TIES = 1e-3  # relative, between the first variance and the last
OPEN = 2.0**-52  # a point of a net may be 0, whose normal is infinite


def factor(covariance: np.ndarray) -> np.ndarray:
    """A with A A^T = covariance, (n, n).

    Of a positive semi-definite matrix, which may be singular: inputs may repeat. By Cholesky decomposition with the
    largest pivots first, so that its columns come in the order of what they contribute, about. It is the same on every
    processor, to rounding, where the signs of eigenvectors are not, nor the choice of those that belong to one value.
    """
    from scipy.linalg.lapack import dpstrf

    # Variances are mostly equal: the order of the pivots must not hang on their last bits.
    scale = 1 - TIES * np.arange(len(covariance)) / len(covariance)
    with single_blas_thread():  # several wait for each other as soon as a core is busy
        found, pivots, rank, _ = dpstrf(scale[:, None] * covariance * scale, lower=1)
    rows = np.tril(found)
    rows[:, rank:] = 0.0  # what is left of it is rounding
    lower = np.empty_like(rows)
    lower[pivots - 1] = rows
    return lower / scale[:, None]


def normals(n_units: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal fields, (n_units, n), whose averages have little noise.

    Points of a scrambled Sobol net where there are 32 units a dimension, random ones elsewhere. Over the units the mean
    is 0 and the covariance the identity, exactly, in the first directions: up to half as many as there are units.
    `factor` puts first what matters most.

    Notes
    -----
    Units are not independent of each other: an error is told by several draws. Of a network's largest tangent
    eigenvalue (three hidden layers, 50 inputs, 1024 units) it is 1 % for relu where independent units leave 7 %, and
    0.6 % for tanh in place of 3 %. Pairs with opposite signs would help even activations and double the variance of odd
    ones, so that they are not used.
    """
    if n_units >= POINTS * n:
        from scipy.special import ndtri
        from scipy.stats import qmc

        # A net is balanced at powers of two: drawn up to the next one, what is over is left out.
        name = "rng" if "rng" in signature(qmc.Sobol).parameters else "seed"  # before SciPy 1.15
        points = qmc.Sobol(n, scramble=True, **{name: rng}).random_base2(int(n_units - 1).bit_length())[:n_units]
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

"""Second moments of inputs, and how they scatter: what the recursion starts from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .recursion import InputMoments

__all__ = ["drawn_inputs", "given_inputs"]

ROWS = 512  # of a Gram matrix that are computed at once


def drawn_inputs(n_features: int, q0: float, c0: float) -> InputMoments:
    r"""Moments of Gaussian inputs, which every network has anew.

    :math:`x_t = \sqrt{q_0}(\sqrt{c_0}\,\xi + \sqrt{1 - c_0}\,\zeta_t)`. Negative correlations are of the order of 1/T,
    and enter in their mean only.
    """
    shared, own = q0 * max(c0, 0.0), q0 * (1 - max(c0, 0.0))
    return InputMoments(
        q=q0,
        q_st=q0 * c0,
        common=np.full((2, 2), 2 * shared**2 / n_features),
        own=np.array([[4 * shared * own + 2 * own**2, 2 * shared * own], [2 * shared * own, shared * own]])
        / n_features,
        pair=own**2 / n_features,
        quartic=np.array([3 * q0**2, 3 * q0 * shared, q0**2 + 2 * shared**2]),
        given=False,
    )


def given_inputs(X: np.ndarray) -> InputMoments:
    """Moments of given inputs (T, M_0).

    Means over inputs and pairs of the Gram matrix, and what is left of it.
    """
    n = len(X)
    own = np.empty(n)
    row = np.empty(n)  # means over the other inputs, times n - 1
    for rows, gram in _gram_by_rows(X):
        own[rows] = np.diagonal(gram, rows.start)
        row[rows] = gram.sum(axis=1) - own[rows]
    q = own.mean()
    powers = [np.sum(X**power, axis=0) for power in range(1, 5)]
    fourth = np.mean(powers[3])
    if n == 1:
        return InputMoments(
            q, 0.0, np.zeros((2, 2)), np.zeros((2, 2)), 0.0, np.array([fourth, 0.0, 0.0]), given=True
        )
    pairs = n * (n - 1)
    q_st = row.sum() / pairs
    e, a, left = own - q, np.zeros(n), 0.0
    if n > 2:  # row means of a_s + a_t over t != s
        a = (row / (n - 1) - q_st) * (n - 1) / (n - 2)
        for rows, gram in _gram_by_rows(X):
            gram -= q_st + a[rows, None] + a
            np.fill_diagonal(gram[:, rows], 0.0)
            left += np.sum(gram**2) / pairs
    quartic = [
        fourth / n,
        np.mean(powers[2] * powers[0] - powers[3]) / pairs,
        np.mean(powers[1] ** 2 - powers[3]) / pairs,
    ]
    return InputMoments(
        q=float(q),
        q_st=float(q_st),
        common=np.zeros((2, 2)),
        own=np.array([[e @ e, e @ a], [e @ a, a @ a]]) / n,
        pair=float(left),
        quartic=np.array(quartic),
        given=True,
    )


def _gram_by_rows(X: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Mean products of inputs with all of them, some inputs at a time."""
    for start in range(0, len(X), ROWS):
        rows = slice(start, min(start + ROWS, len(X)))
        yield rows, X[rows] @ X.T / X.shape[1]

"""Kernels of many inputs, of which half is held."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .._support.memory import require_memory
from .on_data import Tile

__all__ = ["HalfKernel"]

BYTES = 4.5  # a pair of inputs: half of the matrix, and what is under way


class HalfKernel:
    """The tiles of a symmetric kernel on and below the diagonal.

    Parameters
    ----------
    n : int
        T.
    parts : iterable of Tile
        In any order: products have the same bits whatever it is.

    Raises
    ------
    MemoryError
        They do not fit, before the first of them is asked for.
    """

    def __init__(self, n: int, parts: Iterable[Tile]):
        require_memory(BYTES * n**2, f"half of the kernel of {n} inputs", "take fewer, or pass `subsets`")
        self.n = n
        self.tiles = sorted(parts, key=lambda tile: (tile.rows.start, tile.columns.start))

    def apply(self, v: np.ndarray) -> np.ndarray:
        """The kernel times a vector (T,)."""
        out = np.zeros(self.n)
        v = np.ravel(v)
        for rows, columns, kernel in self.tiles:
            out[rows] += kernel @ v[columns]
            if rows != columns:
                out[columns] += v[rows] @ kernel
        return out

    def largest(self, k: int = 1) -> np.ndarray:
        """The k largest eigenvalues in descending order, by Lanczos iteration."""
        from scipy.sparse.linalg import LinearOperator, eigsh

        operator = LinearOperator((self.n, self.n), matvec=self.apply, dtype=np.float64)
        # A fixed start makes the result reproducible.
        start = np.random.default_rng(0).standard_normal(self.n)
        if not np.any(self.apply(start)):  # from which there is nothing to iterate
            return np.zeros(k)
        return np.sort(eigsh(operator, k=k, which="LA", v0=start, return_eigenvectors=False))[::-1]

"""Which pairs of sites a matrix over (input, site) holds for a pair of inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ..windows import Windows

__all__ = ["ALL", "OFFSETS", "SAME", "SitePairs"]


class SitePairs(ABC):
    r"""Pairs of sites of two inputs, and how a block (..., \*entries) holds them.

    A law is told by `name` which of them it is asked for (`Layer.closes`).

    Attributes
    ----------
    name : str
    axes : int
        How many axes the entries take.
    """

    name: str
    axes: int

    def __repr__(self) -> str:
        return self.name.upper()

    def __reduce__(self) -> str:
        return repr(self)  # there is one of each

    def entries(self, n: int) -> int:
        """How many numbers a block of n sites holds."""
        return n**self.axes

    @abstractmethod
    def diagonal(self, k: np.ndarray) -> np.ndarray:
        """Entries of every site with itself, (..., n)."""

    @abstractmethod
    def outer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Products of numbers (..., n) of the sites of either input."""

    @abstractmethod
    def identity(self, k: np.ndarray) -> np.ndarray:
        """1 where the sites are the same, else 0, in the shape of k."""

    @abstractmethod
    def same_mean(self, k: np.ndarray) -> np.ndarray:
        """Mean over sites of the entries of a site with itself, (...)."""

    @abstractmethod
    def mean(self, k: np.ndarray) -> np.ndarray:
        """Mean over all pairs of sites, (...)."""

    @abstractmethod
    def over_windows(self, k: np.ndarray, windows: Windows) -> np.ndarray:
        """Mean over the taps of windows, the same tap at both sites."""

    @abstractmethod
    def pooled(self, k: np.ndarray, windows: Windows) -> np.ndarray:
        """Mean over windows: over a tap of either site."""


class _All(SitePairs):
    """Every site with every site, a block (..., n, n)."""

    name, axes = "all", 2

    def diagonal(self, k: np.ndarray) -> np.ndarray:
        return np.diagonal(k, axis1=-2, axis2=-1)

    def outer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[..., :, None] * b[..., None, :]

    def identity(self, k: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.eye(k.shape[-1]), k.shape).copy()

    def same_mean(self, k: np.ndarray) -> np.ndarray:
        return np.trace(k, axis1=-2, axis2=-1) / k.shape[-1]

    def mean(self, k: np.ndarray) -> np.ndarray:
        return k.mean(axis=(-2, -1))

    def over_windows(self, k: np.ndarray, windows: Windows) -> np.ndarray:
        return windows.mean_of_pairs(k)

    def pooled(self, k: np.ndarray, windows: Windows) -> np.ndarray:
        return windows.mean_of_all_pairs(k)


class _Same(SitePairs):
    """Every site with itself alone, a block (..., n).

    All that a read-out of sites side by side needs, if nothing in front of it pools.
    """

    name, axes = "same", 1

    def diagonal(self, k: np.ndarray) -> np.ndarray:
        return k

    def outer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def identity(self, k: np.ndarray) -> np.ndarray:
        return np.ones_like(k)

    def same_mean(self, k: np.ndarray) -> np.ndarray:
        return k.mean(axis=-1)

    def mean(self, k: np.ndarray) -> np.ndarray:
        raise TypeError("means over all pairs of sites need all of them; such a layer does not close on `same`.")

    def over_windows(self, k: np.ndarray, windows: Windows) -> np.ndarray:
        return windows.mean_of_sites(k)

    def pooled(self, k: np.ndarray, windows: Windows) -> np.ndarray:
        return self.mean(k)


class _Offsets(SitePairs):
    """One number for each offset of two sites on a ring, a block (..., n).

    Of random inputs whose law is the same at every site. Numbers of sites, as variances, are the same at all of them.
    """

    name, axes = "offsets", 1

    def diagonal(self, k: np.ndarray) -> np.ndarray:
        return np.broadcast_to(k[..., :1], k.shape)

    def outer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[..., :1] * np.broadcast_to(b[..., :1], b.shape)

    def identity(self, k: np.ndarray) -> np.ndarray:
        found = np.zeros_like(k)
        found[..., 0] = 1
        return found

    def same_mean(self, k: np.ndarray) -> np.ndarray:
        return k[..., 0]

    def mean(self, k: np.ndarray) -> np.ndarray:
        return k.mean(axis=-1)

    def over_windows(self, k: np.ndarray, windows: Windows) -> np.ndarray:
        return windows.mean_of_offsets(k)

    def pooled(self, k: np.ndarray, windows: Windows) -> np.ndarray:
        return windows.mean_of_all_offsets(k)


ALL, SAME, OFFSETS = _All(), _Same(), _Offsets()

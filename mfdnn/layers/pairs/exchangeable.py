"""Second moments of exchangeable inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...activations import Activation
from ...gaussian.matrices import covariances, moments
from .base import Pairs, Sums
from .sites import ALL, SAME, SitePairs

__all__ = ["Exchangeable"]


class Exchangeable(Pairs):
    """One block for an input with itself, one for two different inputs.

    Parameters
    ----------
    one, two : ndarray, shape (*S, n, n)
        Any leading shape S; n sites.
    n_samples : int, optional
        T. Default: infinitely many.
    sites : SitePairs
        Which pairs of sites there are; of fewer than all of them `one` and `two` are (*S, n).
    """

    given = False

    def __init__(self, one: np.ndarray, two: np.ndarray, n_samples: int | None = None, sites: SitePairs = ALL):
        self.one, self.two, self.n_samples, self.sites = one, two, n_samples, sites

    def __repr__(self) -> str:
        return f"Exchangeable({self.one.shape}, n_samples={self.n_samples})"

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        return self.one, self.two

    def _like(self, *blocks: np.ndarray, sites: SitePairs | None = None) -> Exchangeable:
        one, two = blocks
        return Exchangeable(one, two, self.n_samples, self.sites if sites is None else sites)

    @property
    def leading_shape(self) -> tuple[int, ...]:
        return self.one.shape[: -self.sites.axes]

    @property
    def variance(self) -> np.ndarray:
        return self.sites.diagonal(self.one)

    def outer(self, a: np.ndarray, b: np.ndarray | None = None) -> Exchangeable:
        b = a if b is None else b
        product = (self.sites.outer(a, b) + self.sites.outer(b, a)) / 2
        return self._like(product, product)

    def on_itself(self, factor: float) -> Exchangeable:
        return self._like(self.one * (1 + (factor - 1) * self.sites.identity(self.one)), self.two)

    def centred(self) -> Exchangeable:
        share = 0.0 if self.n_samples is None else 1 / self.n_samples
        difference = self.one - self.two
        return self._like((1 - share) * difference, -share * difference)

    def expect(self, act: Activation) -> tuple[np.ndarray, Exchangeable, Exchangeable]:
        if self.sites is not ALL:
            return self._expect_of_entries(act)
        if self.n_sites > 1:
            return self._expect_of_sites(act)
        variance = self.at_one
        mean, second, slope2 = moments(act, variance)
        value, slope = covariances(act, variance, self.at_two)
        second, value, slope2, slope = (a[..., None, None] for a in (second, value, slope2, slope))
        return mean[..., None], self._like(second, value), self._like(slope2, slope)

    def _expect_of_entries(self, act: Activation) -> tuple[np.ndarray, Exchangeable, Exchangeable]:
        """Every entry is of two units of one variance."""
        variance = self.variance
        mean, second, slope2 = moments(act, variance)
        value, slope = covariances(act, variance, self.two)
        if self.sites is not SAME:
            own = covariances(act, variance, self.one)
            same = self.sites.identity(self.one) > 0
            second, slope2 = (np.where(same, a, b) for a, b in zip((second, slope2), own, strict=True))
        return mean, self._like(second, value), self._like(slope2, slope)

    def _expect_of_sites(self, act: Activation) -> tuple[np.ndarray, Exchangeable, Exchangeable]:
        """As two given inputs, for each of the leading shape one after the other."""
        n, shape = self.n_sites, self.one.shape[:-2]
        mean, found = np.empty((*shape, n)), np.empty((2, 2, *shape, n, n))
        for index in np.ndindex(shape):
            one, two = self.one[index], self.two[index]
            variance = np.tile(np.diagonal(one), 2)
            mean[index] = moments(act, variance)[0][:n]
            both = covariances(act, variance, np.block([[one, two], [two, one]]))
            for target, matrix in zip(found, both, strict=True):
                target[0][index], target[1][index] = matrix[:n, :n], matrix[:n, n:]
        return mean, self._like(*found[0]), self._like(*found[1])

    @property
    def at_one(self) -> np.ndarray:
        assert self.n_sites == 1
        return self.one[..., 0, 0]

    @property
    def at_two(self) -> np.ndarray:
        assert self.n_sites == 1
        return self.two[..., 0, 0]

    def averages(self) -> tuple[Any, Any]:
        return self.at_one, self.at_two

    def sums(self, leading: bool = False) -> Sums:
        assert self.n_samples is not None
        n, one, two = self.n_samples, self.at_one, self.at_two
        # Two different eigenvalues: of the constant vector, and of everything orthogonal to it.
        common, others = (one + (n - 1) * two) / n, (one - two) / n
        largest = np.maximum(common, others) if n > 1 else one
        return Sums(one, two, (one**2 + (n - 1) * two**2) / n, largest)

    def apply(self, v: np.ndarray) -> np.ndarray:
        one, two = self.at_one, self.at_two
        return (one - two) * v + two * v.sum(axis=1, keepdims=True)

    def draw(self, n_samples: int, n_outputs: int, n_draws: int, rng: Any) -> np.ndarray:
        z = np.random.default_rng(rng).standard_normal((n_draws, n_samples, n_outputs))
        own = self.at_one - self.at_two
        # The mean over samples has variance own/T + q_st, also where q_st < 0.
        mean = z.mean(axis=1, keepdims=True)
        common = max(own / n_samples + self.at_two, 0.0)
        own = np.maximum(own, 0.0)  # below by rounding alone, of inputs that are the same
        return np.sqrt(own) * (z - mean) + np.sqrt(n_samples * common) * mean

"""Second moments of exchangeable inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...activations import Activation
from ...gaussian.matrices import covariances, moments
from ...gaussian.unit_draws import factor, normals
from .base import NeedsSingle, Pairs, Sums, as_many_units
from .derivative import Derivative
from .sites import ALL, SAME, SitePairs

__all__ = ["Exchangeable"]

SPACE = 2**22  # floats of work space, about


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

    # -- fields of sampled units: what a pair of inputs has is the mean over pairs of those that were drawn --------

    def drawn_samples(self, coupled: bool, representatives: int) -> int:
        return representatives if self.n_samples is None or not coupled else self.n_samples

    def draw_fields(self, n_units: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        self._require_all_sites()
        if self.leading_shape:
            raise NeedsSingle
        own, n = self.one - self.two, self.n_sites
        # What is left of each beside the mean over samples, and that mean; covariances of two inputs may be negative.
        each = normals(n_units * n_samples, n, rng).reshape(n_units, n_samples, n) @ factor(own).T
        each -= each.mean(axis=1, keepdims=True)
        common = normals(n_units, n, rng) @ factor(own / n_samples + self.two).T
        return each + common[:, None]

    def products(self, x: np.ndarray, y: np.ndarray) -> Exchangeable:
        n_units, n_samples = x.shape[-3:-1]
        one, two = _gram(x, y), _gram(x.sum(axis=-2, keepdims=True), y.sum(axis=-2, keepdims=True))
        two = (two - one) / (n_units * _ordered_pairs(n_samples))
        return self._like(one / (n_units * n_samples), two)

    def mean_of_fields(self, x: np.ndarray) -> np.ndarray:
        return x.mean(axis=(0, 1))

    def onto(self, x: np.ndarray) -> np.ndarray:
        one, two = (block[..., None, :, :] for block in self.blocks)
        return x @ (one - two) + x.sum(axis=-2, keepdims=True) @ two

    def transposed(self) -> Exchangeable:
        return self._each(lambda k: k.swapaxes(-1, -2))

    def picked(self, a: np.ndarray, at: np.ndarray) -> Exchangeable:
        n_units, n_samples, m = a.shape
        one, two = (np.zeros((*self.leading_shape, m, m)) for _ in range(2))
        step = max(1, SPACE // (8 * n_samples * m * self.n_sites))  # rows, and what they see: in the cache
        for start in range(0, n_units, step):
            slopes, places = (of[start : start + step] for of in (a, at))
            rows = np.zeros((*slopes.shape, self.n_sites))  # of the derivative of every sample
            np.put_along_axis(rows, places[..., None], slopes[..., None], axis=-1)
            own, total = rows.reshape(-1, m, self.n_sites), rows.sum(axis=1)
            one += _sandwiched(own, self.one)
            two += _sandwiched(total, self.two) - _sandwiched(own, self.two)
        n = n_units * n_samples
        return self._like(one / n, two / (n_units * _ordered_pairs(n_samples)))

    def within_samples(self, d: Derivative) -> Exchangeable:
        n_units = max(map(len, (d.slope, *d.left, *d.right)))
        n_samples, m = d.slope.shape[1:]
        found = self.along_rows(d)
        one, two = (np.zeros_like(block) for block in found.blocks)
        step = max(1, SPACE // (n_samples * max(n_samples, m, self.n_sites)))
        for start in range(0, n_units, step):
            part = d.of_units(slice(start, start + step))
            both = list(zip(part.left, part.right, strict=True))
            for left, right in both:
                seen = right @ self.one[..., None, :, :]
                rest = part.rows_of(seen)
                for other_left, other_right in both:
                    rest = rest + 0.5 * np.sum(other_right * seen, axis=-1, keepdims=True) * other_left
                one += _gram(*as_many_units(rest, left))
                seen = right @ self.two[..., None, :, :]  # of sample t, at the rows of all others
                rest = part.rows_of_all(seen) - part.rows_of(seen)
                for other_left, other_right in both:
                    shared = seen @ other_right.swapaxes(-1, -2)  # (t, s)
                    shared[..., range(n_samples), range(n_samples)] = 0.0
                    rest = rest + 0.5 * shared @ other_left
                two += _gram(*as_many_units(rest, left))
        half = found._like(one / (n_units * n_samples), two / (n_units * _ordered_pairs(n_samples)))
        return found + half + half.transposed()

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

    def two_largest(self) -> tuple[Any, Any]:
        assert self.n_samples is not None
        n, one, two = self.n_samples, self.at_one, self.at_two
        common, others = (one + (n - 1) * two) / n, (one - two) / n
        if n == 1:
            return one, np.zeros_like(one)
        return np.maximum(common, others), others if n > 2 else np.minimum(common, others)

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


def _ordered_pairs(n_samples: int) -> int:
    """How many pairs of different samples there are; 1 where there are none."""
    return max(n_samples * (n_samples - 1), 1)


def _gram(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums over units and samples of products at two sites, (..., m, n)."""
    flat = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    return flat.swapaxes(-1, -2) @ y.reshape(-1, y.shape[-1])


def _sandwiched(rows: np.ndarray, block: np.ndarray) -> np.ndarray:
    """The sum over samples of rows block rows^T."""
    seen = rows @ block[..., None, :, :]
    return np.einsum("...tpx,tqx->...pq", seen, rows, optimize=True)

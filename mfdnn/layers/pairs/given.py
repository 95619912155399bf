"""Second moments of given inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._support.blas import single_blas_thread
from ...activations import Activation
from ...gaussian.matrices import covariances, moments
from ...gaussian.unit_draws import factor, normals
from .base import Pairs, Sums, as_many_units
from .derivative import Derivative
from .sites import ALL, SAME, SitePairs

__all__ = ["DENSE_UP_TO", "Given", "largest_eigenvalue"]

SPACE = 2**16  # entries of units at once
DENSE_UP_TO = 512  # inputs: above, Lanczos for the top eigenvalue beats a full eigenvalue decomposition


class Given(Pairs):
    """One block for every pair of T inputs.

    Parameters
    ----------
    matrix : ndarray, shape (T, T, n, n)
        n sites; ``matrix[s, t, x, y]`` belongs to input s at site x and input t at site y.
    sites : SitePairs
        Which pairs of sites there are: all, or of the same site, of which `matrix` is (T, T, n).
    """

    given = True

    def __init__(self, matrix: np.ndarray, sites: SitePairs = ALL):
        self.matrix, self.sites = matrix, sites
        self.n_samples: int = len(matrix)

    def __repr__(self) -> str:
        return f"Given({self.matrix.shape})"

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        return (self.matrix,)

    def _like(self, *blocks: np.ndarray, sites: SitePairs | None = None) -> Given:
        (matrix,) = blocks
        return Given(matrix, self.sites if sites is None else sites)

    @property
    def variance(self) -> np.ndarray:
        return self.sites.diagonal(np.moveaxis(np.diagonal(self.matrix), -1, 0)).copy()

    def outer(self, a: np.ndarray, b: np.ndarray | None = None) -> Given:
        product = self.sites.outer
        if b is None:
            return self._like(product(a[:, None], a))
        return self._like((product(a[:, None], b) + product(b[:, None], a)) / 2)

    def on_itself(self, factor: float) -> Given:
        matrix, inputs = self.matrix.copy(), range(self.n_samples)
        own = matrix[inputs, inputs]
        matrix[inputs, inputs] = own * (1 + (factor - 1) * self.sites.identity(own))
        return self._like(matrix)

    def centred(self) -> Given:
        less = self.matrix - self.matrix.mean(axis=1, keepdims=True)
        return self._like(less - less.mean(axis=0, keepdims=True))

    def expect(self, act: Activation) -> tuple[np.ndarray, Given, Given]:
        if self.sites is SAME:
            return self._expect_of_same_sites(act)
        n_samples, n = self.n_samples, self.n_sites
        variance = self.variance.ravel()
        mean = moments(act, variance)[0]
        value, slope = (
            Given(matrix.reshape(n_samples, n, n_samples, n).swapaxes(1, 2))
            for matrix in covariances(act, variance, self.matrix.swapaxes(1, 2).reshape(2 * (variance.size,)))
        )
        return mean.reshape(n_samples, n), value, slope

    def _expect_of_same_sites(self, act: Activation) -> tuple[np.ndarray, Given, Given]:
        """One site after the other."""
        variance = self.variance
        found = covariances(act, variance.T, np.moveaxis(self.matrix, -1, 0))  # a matrix over inputs for every site
        value, slope = (self._like(np.moveaxis(of, 0, -1)) for of in found)
        return moments(act, variance)[0], value, slope

    # -- fields of sampled units ------------------------------------------------------------------------------

    @property
    def _flat(self) -> np.ndarray:
        """One matrix over (input, site)."""
        n = self.n_samples * self.n_sites
        return self.matrix.swapaxes(1, 2).reshape(n, n)

    def _of_flat(self, matrix: np.ndarray) -> Given:
        n = self.n_samples
        return self._like(matrix.reshape(n, len(matrix) // n, n, -1).swapaxes(1, 2))

    def drawn_samples(self, coupled: bool, representatives: int) -> int:
        return self.n_samples

    def draw_fields(self, n_units: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        self._require_all_sites()
        flat = factor(self._flat)
        return (normals(n_units, len(flat), rng) @ flat.T).reshape(n_units, n_samples, -1)

    def products(self, x: np.ndarray, y: np.ndarray) -> Given:
        return self._of_flat(x.reshape(len(x), -1).T @ y.reshape(len(y), -1) / len(y))

    def mean_of_fields(self, x: np.ndarray) -> np.ndarray:
        return x.mean(axis=0)

    def onto(self, x: np.ndarray) -> np.ndarray:
        return (x.reshape(len(x), -1) @ self._flat).reshape(x.shape)

    def transposed(self) -> Given:
        return self._like(self.matrix.swapaxes(0, 1).swapaxes(2, 3))

    def picked(self, a: np.ndarray, at: np.ndarray) -> Given:
        flat, (n_units, n_samples, m) = self._flat, a.shape
        rows = (at + self.n_sites * np.arange(n_samples)[:, None]).reshape(n_units, -1)
        slopes, total = a.reshape(n_units, -1), np.zeros(2 * (n_samples * m,))
        step = max(1, SPACE // total.size)
        for start in range(0, n_units, step):
            some, at_once = slopes[start : start + step], rows[start : start + step]
            entries = flat[at_once[:, :, None], at_once[:, None, :]]
            total += np.einsum("ui,uj,uij->ij", some, some, entries)
        return self._of_flat(total / n_units)

    def within_samples(self, d: Derivative) -> Given:
        if d.slope.shape[-1] == self.n_sites == 1:
            own = sum((left * right for left, right in zip(d.left, d.right, strict=True)), start=d.slope)
            return self * self.products(own, own)
        found, both = self.along_rows(d), list(zip(d.left, d.right, strict=True))
        half = np.zeros_like(found.matrix)
        for t in range(self.n_samples):
            for left, right in both:
                seen = np.einsum("uq,spq->usp", right[:, t], self.matrix[:, t], optimize=True)
                rest = d.rows_of(seen)
                for other_left, other_right in both:
                    rest = rest + 0.5 * np.sum(other_right * seen, axis=-1, keepdims=True) * other_left
                rest, beside = as_many_units(rest, left)
                half[:, t] += np.einsum("usp,uq->spq", rest, beside[:, t], optimize=True) / len(rest)
        part = found._like(half)
        return found + part + part.transposed()

    @property
    def at_one(self) -> np.ndarray:
        return np.diagonal(self.at_two)

    @property
    def at_two(self) -> np.ndarray:
        assert self.n_sites == 1
        return self.matrix[..., 0, 0]

    def averages(self) -> tuple[Any, Any]:
        n, total = self.n_samples, self.at_two.sum()
        diagonal = self.at_one.mean()
        return diagonal, (total - self.at_one.sum()) / (n * (n - 1)) if n > 1 else diagonal

    def sums(self, leading: bool = False) -> Sums:
        n, two = self.n_samples, self.at_two
        largest = two.sum() / n**2 if leading else largest_eigenvalue(two) / n
        return Sums(*self.averages(), np.vdot(two, two) / n**2, largest)

    def two_largest(self) -> tuple[Any, Any]:
        if self.n_samples == 1:
            return self.at_one[0], 0.0
        second, first = _largest(self.at_two, 2) / self.n_samples
        return first, second

    def apply(self, v: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.tensordot(self.at_two, v, (1, 1)), 0, 1)  # one matrix product

    def draw(self, n_samples: int, n_outputs: int, n_draws: int, rng: Any) -> np.ndarray:
        if n_samples != self.n_samples:
            raise ValueError(
                f"`n_samples` must be {self.n_samples}, the number of given inputs, got {n_samples}; pass that."
            )
        z = np.random.default_rng(rng).standard_normal((n_draws, n_samples, n_outputs))
        with single_blas_thread():  # several wait for each other as soon as a core is busy
            values, vectors = np.linalg.eigh(self.at_two)  # not Cholesky: inputs may repeat
        return (vectors * np.sqrt(np.maximum(values, 0.0))) @ z


def largest_eigenvalue(matrix: np.ndarray) -> np.ndarray:
    """The largest eigenvalue of a symmetric matrix."""
    return _largest(matrix, 1)[0]


def _largest(matrix: np.ndarray, k: int) -> np.ndarray:
    """The k largest eigenvalues of a symmetric matrix, ascending."""
    n = len(matrix)
    if n <= DENSE_UP_TO:
        from scipy.linalg import eigvalsh

        return eigvalsh(matrix, subset_by_index=[n - k, n - 1])
    from scipy.sparse.linalg import eigsh

    # A fixed start makes the result reproducible; a random one has a component along the top eigenvector.
    start = np.random.default_rng(0).standard_normal(n)
    return np.sort(eigsh(matrix, k=k, which="LA", v0=start, return_eigenvectors=False))

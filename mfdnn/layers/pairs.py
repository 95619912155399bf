"""Second moments over (input, site), of exchangeable or of given inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .._support.blas import single_blas_thread
from ..activations import Activation
from ..gaussian.matrices import covariances, moments

__all__ = ["DENSE_UP_TO", "Exchangeable", "Given", "Pairs", "Sums", "largest_eigenvalue"]

DENSE_UP_TO = 512  # inputs: above, Lanczos for the top eigenvalue beats a full eigenvalue decomposition

Self = TypeVar("Self", bound="Pairs")


class Sums(NamedTuple):
    """What the statistics need of a kernel Theta (T x T).

    Numbers, or arrays of the leading shape S.

    Attributes
    ----------
    diagonal, off_diagonal : float or ndarray
        Mean of its diagonal and of the rest: A_1 and A_2.
    square : float or ndarray
        ||Theta||_F^2 / T^2.
    top : float or ndarray
        Largest eigenvalue of Theta / T.
    """

    diagonal: Any
    off_diagonal: Any
    square: Any
    top: Any


class Pairs(ABC):
    r"""A symmetric matrix over (input, site).

    It holds products of a unit's values or derivatives, their mean or sum over units. `Exchangeable` has one block of
    sites for an input with itself and one for two different inputs, `Given` one for every pair of T inputs. Whoever
    computes with them need not know which: numbers are added and multiplied entry by entry, ``pairs.over_sites(f)``
    maps every block, ``pairs.outer(a)`` are the products of one number an input and site, and `centred` subtracts the
    mean over inputs. A fully connected signal has one site.

    Attributes
    ----------
    given : bool
        Whether there is a block for every pair of inputs.
    n_samples : int or None
        T; None: infinitely many.
    n_sites : int
        n, how many sites an input has.
    """

    given: bool
    n_samples: int | None
    __array_ufunc__ = None  # numbers and arrays of NumPy leave products with these to `__rmul__`

    @property
    @abstractmethod
    def blocks(self) -> tuple[np.ndarray, ...]:
        """The arrays (..., n, n) that hold the entries."""

    @abstractmethod
    def _like(self: Self, *blocks: np.ndarray) -> Self:
        """A matrix of the same kind with these blocks."""

    @property
    def n_sites(self) -> int:
        """How many sites there are."""
        return self.blocks[0].shape[-1]

    @property
    def finite(self) -> bool:
        """Whether all entries are finite."""
        return all(bool(np.all(np.isfinite(block))) for block in self.blocks)

    @property
    def leading_shape(self) -> tuple[int, ...]:
        """S: how many of these matrices there are at once."""
        return ()

    def over_sites(self: Self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        """`function` of every block of sites.

        It takes an array (..., n, n) of any leading axes, and returns one (..., m, m).
        """
        return self._like(*map(function, self.blocks))

    def entrywise(self: Self, function: Callable[..., np.ndarray], *others: Pairs) -> Self:
        """`function` of the entries, and of those of `others` of the same kind.

        It takes arrays of one shape, the blocks of this matrix and of the others, and returns one array.
        """
        return self._like(*map(function, self.blocks, *(other.blocks for other in others)))

    @property
    @abstractmethod
    def variance(self) -> np.ndarray:
        """Entries of one input at one site with itself: (*S, n), or (T, n)."""

    @abstractmethod
    def outer(self: Self, a: np.ndarray, b: np.ndarray | None = None) -> Self:
        """(a_i b_j + b_i a_j) / 2 for numbers of every input and site.

        a and b (default: a) are shaped as `variance`.
        """

    @abstractmethod
    def centred(self: Self) -> Self:
        """P_0 K P_0 with :math:`P_0 = I - 1 1^T/T` over inputs."""

    @abstractmethod
    def expect(self: Self, act: Activation) -> tuple[np.ndarray, Self, Self]:
        """E[phi], E[phi phi] and E[phi' phi'] of Gaussian units with these moments.

        The first is shaped as `variance`, the others are Pairs.
        """

    def times(self: Self, factor: Any) -> Self:
        """The same times a number, or numbers of the leading shape S."""
        factor = np.asarray(factor)[..., None, None]
        return self.over_sites(lambda k: factor * k)

    def __add__(self: Self, other: Any) -> Self:
        return self.entrywise(np.add, other) if isinstance(other, Pairs) else self.over_sites(lambda k: k + other)

    def __sub__(self: Self, other: Any) -> Self:
        return self + (-1.0) * other

    def __mul__(self: Self, other: Any) -> Self:
        return self.entrywise(np.multiply, other) if isinstance(other, Pairs) else self.times(other)

    __radd__, __rmul__ = __add__, __mul__

    def ones(self: Self) -> Self:
        """1 in every entry."""
        return self.entrywise(np.ones_like)

    def same_sites(self: Self) -> Self:
        """1 where the sites are the same, 0 elsewhere: the identity over sites."""
        return self.over_sites(lambda k: np.broadcast_to(np.eye(k.shape[-1]), k.shape).copy())

    def site_mean(self: Self) -> Self:
        """Mean over sites of the products at the same site, as Pairs of one site."""
        if self.n_sites == 1:
            return self
        return self.over_sites(lambda k: np.trace(k, axis1=-2, axis2=-1)[..., None, None] / k.shape[-1])

    # -- one site: what statistics ask of a kernel ------------------------------------------------------------

    @property
    @abstractmethod
    def at_one(self) -> np.ndarray:
        """Entries of one input: S, or (T,)."""

    @property
    @abstractmethod
    def at_two(self) -> np.ndarray:
        """Entries of two inputs: S, or (T, T) with those of one on its diagonal."""

    @abstractmethod
    def averages(self) -> tuple[Any, Any]:
        """Mean of the diagonal and mean of the rest; of one given input the same twice."""

    @abstractmethod
    def sums(self, leading: bool = False) -> Sums:
        """What eigenvalue statistics need of a kernel.

        Parameters
        ----------
        leading : bool
            Take the mean of all pairs in place of the largest eigenvalue, over T, of given inputs.
        """

    @abstractmethod
    def apply(self, v: np.ndarray) -> np.ndarray:
        """The matrix times v, arrays (b, T, C), over the samples."""

    @abstractmethod
    def draw(self, n_samples: int, n_outputs: int, n_draws: int, rng: Any) -> np.ndarray:
        """Gaussian units with these moments, (n_draws, T, C).

        They are independent between units, correlated between inputs.

        Parameters
        ----------
        n_samples, n_outputs, n_draws : int
            T, C, and how many draws.
        rng : int, numpy.random.Generator, ...

        Raises
        ------
        ValueError
            Another number of samples than that of given inputs.
        """


class Exchangeable(Pairs):
    """One block for an input with itself, one for two different inputs.

    Parameters
    ----------
    one, two : ndarray, shape (*S, n, n)
        Any leading shape S; n sites.
    n_samples : int, optional
        T. Default: infinitely many.
    """

    given = False

    def __init__(self, one: np.ndarray, two: np.ndarray, n_samples: int | None = None):
        self.one, self.two, self.n_samples = one, two, n_samples

    def __repr__(self) -> str:
        return f"Exchangeable({self.one.shape}, n_samples={self.n_samples})"

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        return self.one, self.two

    def _like(self, *blocks: np.ndarray) -> Exchangeable:
        one, two = blocks
        return Exchangeable(one, two, self.n_samples)

    @property
    def leading_shape(self) -> tuple[int, ...]:
        return self.one.shape[:-2]

    @property
    def variance(self) -> np.ndarray:
        return np.diagonal(self.one, axis1=-2, axis2=-1)

    def outer(self, a: np.ndarray, b: np.ndarray | None = None) -> Exchangeable:
        b = a if b is None else b
        product = (a[..., :, None] * b[..., None, :] + b[..., :, None] * a[..., None, :]) / 2
        return self._like(product, product)

    def centred(self) -> Exchangeable:
        share = 0.0 if self.n_samples is None else 1 / self.n_samples
        difference = self.one - self.two
        return self._like((1 - share) * difference, -share * difference)

    def expect(self, act: Activation) -> tuple[np.ndarray, Exchangeable, Exchangeable]:
        if self.n_sites > 1:
            return self._expect_of_sites(act)
        variance = self.at_one
        mean, second, slope2 = moments(act, variance)
        value, slope = covariances(act, variance, self.at_two)
        second, value, slope2, slope = (a[..., None, None] for a in (second, value, slope2, slope))
        return mean[..., None], self._like(second, value), self._like(slope2, slope)

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


class Given(Pairs):
    """One block for every pair of T inputs.

    Parameters
    ----------
    matrix : ndarray, shape (T, T, n, n)
        n sites; ``matrix[s, t, x, y]`` belongs to input s at site x and input t at site y.
    """

    given = True

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix
        self.n_samples: int = len(matrix)

    def __repr__(self) -> str:
        return f"Given({self.matrix.shape})"

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        return (self.matrix,)

    def _like(self, *blocks: np.ndarray) -> Given:
        return Given(*blocks)

    @property
    def variance(self) -> np.ndarray:
        return np.diagonal(np.diagonal(self.matrix), axis1=0, axis2=1).copy()

    def outer(self, a: np.ndarray, b: np.ndarray | None = None) -> Given:
        row, column = (slice(None), None, slice(None), None), (None, slice(None), None, slice(None))
        if b is None:
            return Given(a[row] * a[column])
        return Given((a[row] * b[column] + b[row] * a[column]) / 2)

    def centred(self) -> Given:
        less = self.matrix - self.matrix.mean(axis=1, keepdims=True)
        return Given(less - less.mean(axis=0, keepdims=True))

    def expect(self, act: Activation) -> tuple[np.ndarray, Given, Given]:
        n_samples, n = self.n_samples, self.n_sites
        variance = self.variance.ravel()
        mean = moments(act, variance)[0]
        value, slope = (
            Given(matrix.reshape(n_samples, n, n_samples, n).swapaxes(1, 2))
            for matrix in covariances(act, variance, self.matrix.swapaxes(1, 2).reshape(2 * (variance.size,)))
        )
        return mean.reshape(n_samples, n), value, slope

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
    n = len(matrix)
    if n <= DENSE_UP_TO:
        from scipy.linalg import eigvalsh

        return eigvalsh(matrix, subset_by_index=[n - 1, n - 1])[0]
    from scipy.sparse.linalg import eigsh

    # A fixed start makes the result reproducible; a random one has a component along the top eigenvector.
    start = np.random.default_rng(0).standard_normal(n)
    return eigsh(matrix, k=1, which="LA", v0=start, return_eigenvectors=False)[0]

"""What a symmetric matrix over (input, site) can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...activations import Activation
from ..windows import Windows

__all__ = ["Pairs", "Sums"]

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
    sites for an input with itself and one for two different inputs, `Given` one for every pair of T inputs, `Between`
    one for every pair of an input and another, so that a large kernel is computed in parts. Whoever
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

    def mean_over_sites(self: Self) -> Self:
        """Mean over all pairs of sites, as Pairs of one site."""
        return self.over_sites(lambda k: k.mean(axis=(-2, -1), keepdims=True))

    def over_windows(self: Self, windows: Windows) -> Self:
        """Mean over the taps of windows, the same tap at both sites."""
        return self.over_sites(windows.mean_of_pairs)

    def pooled(self: Self, windows: Windows) -> Self:
        """Mean over windows: over a tap of either site."""
        return self.over_sites(windows.mean_of_all_pairs)

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

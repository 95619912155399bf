"""What a symmetric matrix over (input, site) can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...activations import Activation
from ..windows import Windows
from .derivative import Derivative
from .sites import ALL, SitePairs

__all__ = ["NeedsAllPairs", "NeedsSingle", "Pairs", "Sums", "as_many_units"]

Self = TypeVar("Self", bound="Pairs")


class NeedsAllPairs(Exception):
    """Units are to be sampled where some pairs of inputs, or of sites, were left out."""


class NeedsSingle(Exception):
    """Units are to be sampled of several mean squares or correlations at once."""


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
    sites : SitePairs
        Which pairs of sites a block holds: all of them, unless no layer of a network needs the others.
    """

    given: bool
    sites: SitePairs = ALL
    n_samples: int | None
    __array_ufunc__ = None  # numbers and arrays of NumPy leave products with these to `__rmul__`

    @property
    @abstractmethod
    def blocks(self) -> tuple[np.ndarray, ...]:
        """The entries: arrays (..., n, n), or (..., n) of fewer pairs of sites."""

    @abstractmethod
    def _like(self: Self, *blocks: np.ndarray, sites: SitePairs | None = None) -> Self:
        """A matrix of the same kind with these blocks; of other pairs of sites."""

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
        if self.sites is not ALL and self.n_sites > 1:
            raise TypeError(f"`over_sites` maps blocks of all pairs of sites, but these are of {self.sites.name} ones.")
        return self._like(*map(function, self.blocks), sites=ALL)

    def _each(self: Self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        """`function` of the entries of every block, of the same pairs of sites."""
        return self._like(*map(function, self.blocks))

    def _one_site(self: Self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        """One site, of which `function` of a block gives the entries (...)."""
        return self._like(*(function(block)[..., None, None] for block in self.blocks), sites=ALL)

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

    # -- fields of sampled units: arrays (S, T, n), of several matrices at once (..., S, T, n) ---------------------

    @abstractmethod
    def drawn_samples(self, coupled: bool, representatives: int) -> int:
        """How many samples a field of a sampled unit holds: all, if layers couple.

        Else so many `representatives`, of exchangeable ones.
        """

    @abstractmethod
    def draw_fields(self, n_units: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Gaussian fields of mean 0 with these covariances, (S, T, n).

        Parameters
        ----------
        n_units, n_samples : int
            S, and T as `drawn_samples` tells.
        rng : numpy.random.Generator

        Raises
        ------
        NeedsAllPairs
            Some pairs of inputs, or of sites, are missing.
        """

    @abstractmethod
    def products(self: Self, x: np.ndarray, y: np.ndarray) -> Self:
        """Means over units of x_i y_j, of fields; a matrix of this kind."""

    @abstractmethod
    def mean_of_fields(self, x: np.ndarray) -> np.ndarray:
        """Means over units of fields, shaped as `variance`."""

    @abstractmethod
    def onto(self, x: np.ndarray) -> np.ndarray:
        """The matrix times fields, which may be of one unit for all."""

    @abstractmethod
    def transposed(self: Self) -> Self:
        """Of a matrix that is not symmetric: its transpose."""

    @abstractmethod
    def picked(self: Self, a: np.ndarray, at: np.ndarray) -> Self:
        """Means over units of a_i a_j K[at_i, at_j], at sites (S, T, m) of a sample."""

    @abstractmethod
    def within_samples(self: Self, d: Derivative) -> Self:
        """E[J K J^T] of derivatives without what samples do to each other."""

    def _require_all_sites(self) -> None:
        if self.sites is not ALL:
            raise NeedsAllPairs

    def along_rows(self: Self, d: Derivative) -> Self:
        """E[J K J^T] of derivatives with one entry a row."""
        return self * self.products(d.slope, d.slope) if d.at is None else self.picked(d.slope, d.at)

    def behind(self: Self, d: Derivative) -> Self:
        """E[J K J^T], the mean over units of derivatives."""
        found = self.along_rows(d)
        half = None
        for left, right in zip(d.left, d.right, strict=True):
            seen = self.onto(right)
            rest = d.rows_of(seen)
            for other_left, other_right in zip(d.left, d.right, strict=True):
                rest = rest + 0.5 * np.sum(other_right * seen, axis=(-2, -1), keepdims=True) * other_left
            part = found.products(*as_many_units(rest, left))
            half = part if half is None else half + part
        return found if half is None else found + half + half.transposed()

    def times(self: Self, factor: Any) -> Self:
        """The same times a number, or numbers of the leading shape S."""
        factor = np.reshape(factor, (*np.shape(factor), *[1] * self.sites.axes))
        return self._each(lambda k: factor * k)

    def __add__(self: Self, other: Any) -> Self:
        return self.entrywise(np.add, other) if isinstance(other, Pairs) else self._each(lambda k: k + other)

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
        return self._each(self.sites.identity)

    def site_mean(self: Self) -> Self:
        """Mean over sites of the products at the same site, as Pairs of one site."""
        if self.n_sites == 1 and self.sites is ALL:
            return self
        return self._one_site(self.sites.same_mean)

    @abstractmethod
    def on_itself(self: Self, factor: float) -> Self:
        """`factor` times what an input at a site shares with itself, all else as it is."""

    def mean_over_sites(self: Self) -> Self:
        """Mean over all pairs of sites, as Pairs of one site."""
        return self._one_site(self.sites.mean)

    def over_windows(self: Self, windows: Windows) -> Self:
        """Mean over the taps of windows, the same tap at both sites."""
        return self._each(lambda k: self.sites.over_windows(k, windows))

    def pooled(self: Self, windows: Windows) -> Self:
        """Mean over windows: over a tap of either site."""
        return self._each(lambda k: self.sites.pooled(k, windows))

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
    def two_largest(self) -> tuple[Any, Any]:
        """The two largest eigenvalues, over T; the second is 0 of one input."""

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


def as_many_units(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fields (..., S, T, m), of as many units both."""
    n_units = max(x.shape[-3], y.shape[-3])
    return tuple(np.broadcast_to(of, (*of.shape[:-3], n_units, *of.shape[-2:])) for of in (x, y))  # type: ignore

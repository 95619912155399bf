"""Second moments of two sets of given inputs: a block of a larger matrix."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from ..._support.errors import NoTheory
from ...activations import Activation
from ...gaussian.matrices import covariances, moments
from .base import NeedsAllPairs, Pairs
from .derivative import Derivative
from .sites import ALL, SAME, SitePairs

__all__ = ["Between"]


class Between(Pairs):
    """One block for every pair of one of T inputs and one of T' others.

    The off-diagonal part of a `Given` matrix of all of them, with what it needs of the rest: the blocks of every input
    with itself. Numbers of every input, as `variance`, are those of the inputs and behind them those of the others.

    Parameters
    ----------
    rows : ndarray, shape (T, n, n)
        Blocks of the inputs with themselves; n sites.
    columns : ndarray, shape (T', n, n)
        The same of the others.
    matrix : ndarray, shape (T, T', n, n)
        ``matrix[s, t, x, y]`` belongs to input s at site x and other t at site y.
    sites : SitePairs
        Which pairs of sites there are: all, or of the same site, whose arrays have one axis of sites.
    """

    given = True
    n_samples = None

    def __init__(self, rows: np.ndarray, columns: np.ndarray, matrix: np.ndarray, sites: SitePairs = ALL):
        self.rows, self.columns, self.matrix, self.sites = rows, columns, matrix, sites

    def __repr__(self) -> str:
        return f"Between({self.matrix.shape})"

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        return self.rows, self.columns, self.matrix

    def _like(self, *blocks: np.ndarray, sites: SitePairs | None = None) -> Between:
        rows, columns, matrix = blocks
        return Between(rows, columns, matrix, self.sites if sites is None else sites)

    def _split(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of every input: those of the rows, and those of the columns."""
        return a[: len(self.rows)], a[len(self.rows) :]

    @property
    def variance(self) -> np.ndarray:
        return np.concatenate([self.sites.diagonal(own) for own in (self.rows, self.columns)])

    def outer(self, a: np.ndarray, b: np.ndarray | None = None) -> Between:
        rows, columns = self._split(a)
        other_rows, other_columns = self._split(a if b is None else b)

        def product(a: np.ndarray, other_a: np.ndarray, b: np.ndarray, other_b: np.ndarray) -> np.ndarray:
            return (self.sites.outer(a, other_b) + self.sites.outer(other_a, b)) / 2

        return self._like(
            product(rows, other_rows, rows, other_rows),
            product(columns, other_columns, columns, other_columns),
            product(rows[:, None], other_rows[:, None], columns, other_columns),
        )

    def on_itself(self, factor: float) -> Between:
        rows, columns = (own * (1 + (factor - 1) * self.sites.identity(own)) for own in (self.rows, self.columns))
        return self._like(rows, columns, self.matrix)

    def centred(self) -> NoReturn:
        raise NoTheory(
            "`others` have no kernel with `inputs` in a network that couples samples, as batch norm does; pass all of "
            "them as `inputs`."
        )

    def expect(self, act: Activation) -> tuple[np.ndarray, Between, Between]:
        variance = self.variance
        mean = moments(act, variance)[0]
        if self.sites is SAME:
            return self._expect_of_same_sites(act, variance)
        rows, columns = (v.ravel() for v in self._split(variance))
        n, shape = self.n_sites, self.matrix.shape[:2]
        flat = self.matrix.swapaxes(1, 2).reshape(rows.size, columns.size)
        between = [
            found.reshape(shape[0], n, shape[1], n).swapaxes(1, 2) for found in covariances(act, rows, flat, columns)
        ]
        own = [self._expect_own(act, blocks) for blocks in (self.rows, self.columns)]
        value, slope = (Between(own[0][i], own[1][i], between[i]) for i in (0, 1))
        return mean, value, slope

    def _expect_of_same_sites(self, act: Activation, variance: np.ndarray) -> tuple[np.ndarray, Between, Between]:
        """One site after the other."""
        mean, *own = moments(act, variance)
        rows, columns = self._split(variance)
        found = covariances(act, rows.T, np.moveaxis(self.matrix, -1, 0), columns.T)
        value, slope = (
            self._like(*self._split(same), np.moveaxis(of, 0, -1)) for same, of in zip(own, found, strict=True)
        )
        return mean, value, slope

    def _expect_own(self, act: Activation, blocks: np.ndarray) -> np.ndarray:
        """Both expectations of the blocks of inputs with themselves."""
        if self.n_sites == 1:
            return np.stack(moments(act, blocks)[1:])
        found = [covariances(act, np.diagonal(block), block) for block in blocks]
        return np.array(found).swapaxes(0, 1)

    def drawn_samples(self, coupled: bool, representatives: int) -> NoReturn:
        raise NeedsAllPairs  # of the rows among them, and of the columns

    def draw_fields(self, n_units: int, n_samples: int, rng: np.random.Generator) -> NoReturn:
        raise NeedsAllPairs

    def products(self, x: np.ndarray, y: np.ndarray) -> NoReturn:
        raise NeedsAllPairs

    def mean_of_fields(self, x: np.ndarray) -> NoReturn:
        raise NeedsAllPairs

    def onto(self, x: np.ndarray) -> NoReturn:
        raise NeedsAllPairs

    def transposed(self) -> NoReturn:
        raise NeedsAllPairs

    def picked(self, a: np.ndarray, at: np.ndarray) -> NoReturn:
        raise NeedsAllPairs

    def within_samples(self, d: Derivative) -> NoReturn:
        raise NeedsAllPairs

    @property
    def at_one(self) -> np.ndarray:
        return self.variance[:, 0]

    @property
    def at_two(self) -> np.ndarray:
        assert self.n_sites == 1
        return self.matrix[..., 0, 0]

    def averages(self) -> NoReturn:
        self._not_square()

    def sums(self, leading: bool = False) -> NoReturn:
        self._not_square()

    def two_largest(self) -> NoReturn:
        self._not_square()

    def apply(self, v: np.ndarray) -> NoReturn:
        self._not_square()

    def draw(self, n_samples: int, n_outputs: int, n_draws: int, rng: Any) -> NoReturn:
        self._not_square()

    def _not_square(self) -> NoReturn:
        raise TypeError("Pairs of `inputs` and `others` are no square matrix; take those of the inputs alone.")

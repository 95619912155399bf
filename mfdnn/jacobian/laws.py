"""The law of squared slopes phi'(u)^2 of Gaussian units."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property

import numpy as np

from .._compiled import inverse_moment_function, moment_functions
from .._support.errors import NoTheory
from ..activations import Activation
from ..gaussian.quadrature import breaks, nodes, values

__all__ = ["ROUGH", "Distribution", "Laws", "SlopeLaw", "require_moments", "unbounded"]

CONSTANT = 1e-10  # relative size of what bends a slope on a panel where it is constant
DIGITS = 10  # of constant slopes that are the same
ALIKE = 1e-14  # relative variance of slopes that are one number
NOTHING = 1e-22  # probability of a node that is left out
LEAST = 1e-9  # mass of an atom that is one
FEW, ROUGH = 128, 24  # nodes of a compressed law, and of one that is good enough off its support
EXHAUSTED = 1e-14
CLOSE = 4e-16  # relative step of Newton behind which there is rounding
HALVES = 70  # of a bracket, behind which there is nothing between its ends
REACH, CELLS = 9.0, 20_000  # of standard deviations, and intervals, of the distribution
BESIDE = 1e-9  # of a kink, in intervals
PLACES = 1e-8, 1e-6, 1e-4  # distances from a place where slopes may be unbounded


class SlopeLaw:
    r"""Law of :math:`d = \phi'(u)^2` for Gaussian u of variance q, by quadrature.

    Attributes
    ----------
    q : float
    values : ndarray, shape (n,)
        Different values d, ascending.
    weights : ndarray, shape (n,)
        Their probabilities.
    least, greatest : float
        About the least and the greatest that d can be, however unlikely.
    excess : float
        E[d^2]/E[d]^2 - 1, with the digits it has where it is small; inf where d is 0.
    """

    values: np.ndarray
    weights: np.ndarray
    least: float
    greatest: float

    def __init__(self, act: Activation, q: float):
        self._act: Activation | None = act
        self.q = q
        self.excess = 0.0
        if q == 0:  # as in a sampled network, whose units are all at zero
            self._number(float(act.slope(np.zeros(1))[0]) ** 2)
            return
        z, weight = nodes(breaks(act, q))
        x = np.sqrt(q) * z
        slope = values(act, x, 1)
        # Where phi is a straight line its slopes are one number, an atom of the law.
        pieces = act.pieces
        panel = np.clip(np.searchsorted(pieces.edges, x, side="right") - 1, 0, pieces.edges.size - 2)
        table = pieces.coefficients[1]
        straight = np.abs(table[:, 1:]).max(axis=1) <= CONSTANT * np.abs(table).max()
        on_line = straight[panel]
        slope = np.where(on_line, np.round(table[panel, 0], DIGITS), slope)
        likely = weight > NOTHING
        with np.errstate(over="ignore", invalid="ignore"):  # far away; a law that overflows has no finite moments
            self.values, at = np.unique(slope[likely] ** 2, return_inverse=True)
            weights = np.bincount(at, weight[likely])
            self.weights = weights / weights.sum()
            self._straight = np.unique(slope[on_line] ** 2)
            self.least = float(min(self.values[0], (values(act, pieces.edges, 1) ** 2).min()))
            near = pieces.edges[(pieces.edges >= x.min()) & (pieces.edges <= x.max())]
            self.greatest = float(max(self.values[-1], (values(act, near, 1) ** 2).max(initial=0.0)))
            mean = self.moment(1)
            self.excess = float(self.weights @ (self.values - mean) ** 2 / mean**2) if mean > 0 else np.inf
        if self.excess <= ALIKE:
            self._number(mean)

    def _number(self, value: float) -> None:
        """Slopes that are all the same."""
        self.values, self.weights, self._straight = np.array([value]), np.ones(1), np.array([value])
        self.least = self.greatest = value

    @cached_property
    def _recurrence(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the orthogonal polynomials of the law, by the Lanczos iteration."""
        n = min(FEW, self.values.size)
        basis = np.empty((n, self.values.size))
        basis[0] = np.sqrt(self.weights)
        alpha, beta = np.empty(n), np.empty(n - 1)
        for k in range(n):
            v = self.values * basis[k]
            alpha[k] = v @ basis[k]
            v -= alpha[k] * basis[k]
            if k > 0:
                v -= beta[k - 1] * basis[k - 1]
            v -= basis[: k + 1].T @ (basis[: k + 1] @ v)  # what rounding has left of the others
            if k < n - 1:
                beta[k] = np.linalg.norm(v)
                if beta[k] <= EXHAUSTED * self.values[-1]:  # as few different values
                    return alpha[: k + 1], beta[:k]
                basis[k + 1] = v / beta[k]
        return alpha, beta

    def compressed(self, n: int = FEW) -> SlopeLaw:
        """The law by at most n nodes, those of its own Gauss quadrature.

        As right off the support of the law.
        """
        if self.values.size <= n:
            return self
        from scipy.linalg import eigh_tridiagonal

        alpha, beta = self._recurrence
        values, vectors = eigh_tridiagonal(alpha[:n], beta[: n - 1])
        few = copy(self)  # and its recurrence, which begins in the same way
        few._act = self._act
        few.values, few.weights = np.maximum(values, 0.0), vectors[0] ** 2
        return few

    def moment(self, k: int) -> float:
        """E[d^k]."""
        return float(self.weights @ self.values**k)

    @cached_property
    def atoms(self) -> dict[float, float]:
        """Values of positive probability, and that."""
        found = {float(v): float(self.weights[self.values == v].sum()) for v in self._straight}
        return {value: mass for value, mass in found.items() if mass > LEAST}

    @property
    def rank(self) -> float:
        """P(d > 0)."""
        return float(self.weights[self.values > 0].sum())

    def angle(self, x: np.ndarray, signed: bool = False) -> np.ndarray:
        """Mean argument of 1 - d/x, in [0, pi] for Im x >= 0, or `signed` for any x."""
        angles = np.angle(1 - self.values / x[:, None])
        return (angles if signed else np.abs(angles)) @ self.weights

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_act": None}  # a function of one's own may not pickle

    def inverse(self, y: np.ndarray, where: str) -> np.ndarray:
        """The real x with M(x) = y.

        Parameters
        ----------
        y : ndarray, shape (n,)
        where : {"above", "below", "under"}
            Above the largest d, for y > 0; between 0 and the smallest other d, for y < -P(d > 0); between the largest
            and the next smaller one.
        """
        d, w = self.values[self.values > 0], self.weights[self.values > 0]
        low, high = {
            "above": (d[-1], d[-1] + w @ d / y),
            "below": (0.0, d[0]),
            "under": (d[-2] if d.size > 1 else 0.0, d[-1]),
        }[where]
        low, high = (np.full(y.shape, end) for end in (low, high))
        x = np.empty(y.shape)
        inverse_moment_function(d, w * d, y, low, high, HALVES, CLOSE, x)
        return x


def require_moments(act: Activation) -> None:
    """Refuse an activation whose squared slopes have no second moment."""
    if np.any(act.pieces.jumps[:, 0]):
        raise NoTheory(f"activation {act.label!r} jumps, so that its slope has no second moment; use another.")
    if unbounded(act):
        raise NoTheory(
            f"activation {act.label!r} has slopes whose square has no finite second moment; use one with bounded "
            "slopes."
        )


def unbounded(act: Activation) -> bool:
    """Whether phi'(u)^2 grows so fast towards a place that it has no second moment.

    As the distance to the power -1/2 or faster, by its values beside all edges of the pieces of phi.
    """
    edges = act.pieces.edges[np.isfinite(act.pieces.edges)]
    with np.errstate(all="ignore"):
        squares = [np.array([act.slope(edges + side * distance) ** 2 for side in (-1, 1)]) for distance in PLACES]
        # A zero of the slope may be next to one of the places, and not to two.
        power = (np.diff(np.log(squares), axis=0).T / -np.diff(np.log(PLACES))).min(axis=-1)
    return bool(np.any(power[np.isfinite(power)] > 0.45))


class Distribution:
    """Of the squared slopes of Gaussian units.

    Between close values of u the squared slope is taken for a straight line: right to 1e-5.

    Parameters
    ----------
    law : SlopeLaw
    scale : float
        Times which squared slopes are taken.
    offset : float
        What is added to them then.
    share : float
        Of these units in all; the others are 0.
    """

    def __init__(self, law: SlopeLaw, scale: float = 1.0, offset: float = 0.0, share: float = 1.0):
        from scipy.special import ndtr

        act = law._act
        assert act is not None  # the law was not pickled
        u = np.linspace(-REACH, REACH, CELLS + 1)
        edges = act.pieces.edges / np.sqrt(law.q)
        u = np.unique(np.concatenate([u, edges[np.abs(edges) < REACH]]))
        width, mass = np.diff(u), np.diff(ndtr(u))
        inside = np.sqrt(law.q) * np.concatenate([u[:-1] + BESIDE * width, u[1:] - BESIDE * width])
        low, high = np.sort(scale * values(act, inside, 1).reshape(2, -1) ** 2 + offset, axis=0)
        flat = high - low <= CONSTANT * scale * law.greatest
        order = np.argsort(low[flat])
        self._places, self._passed = low[flat][order], np.concatenate([[0.0], np.cumsum(mass[flat][order])])
        self._low, self._rise, self._mass = low[~flat], (high - low)[~flat], mass[~flat]
        self._share = share
        self.edges = (float(low.min()), float(high.max()))

    def below(self, places: np.ndarray) -> np.ndarray:
        """Probability of what is at most at the `places` (n,)."""
        found = self._passed[np.searchsorted(self._places, places * (1 + CONSTANT), side="right")]
        found = found + [self._mass @ np.clip((place - self._low) / self._rise, 0.0, 1.0) for place in places]
        return 1 - self._share + self._share * found

    def density(self, places: np.ndarray) -> np.ndarray:
        """Density of what is no atom at the `places` (n,)."""
        shares = ((place - self._low) / self._rise for place in places)
        heights = self._share * self._mass / self._rise
        return np.array([np.sum(heights[(share > 0) & (share < 1)]) for share in shares])


class Laws:
    """Laws side by side, for their moment functions at once.

    Parameters
    ----------
    laws : sequence of SlopeLaw
    """

    def __init__(self, laws: Sequence[SlopeLaw]):
        nodes = [(law.values[law.values > 0], law.weights[law.values > 0]) for law in laws]  # others add nothing
        self.size = max((d.size for d, _ in nodes), default=0)
        self._values = np.ones((len(laws), self.size))
        self._weighted = np.zeros((len(laws), self.size))
        for l, (d, weights) in enumerate(nodes):
            self._values[l, : d.size], self._weighted[l, : d.size] = d, weights * d

    def transform(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """M(x) = E[d / (x - d)] and its derivative, at complex x (F, n): a row a law."""
        x = np.ascontiguousarray(x)
        m, dm = np.empty_like(x), np.empty_like(x)
        moment_functions(self._values, self._weighted, x, m, dm)
        return m, dm

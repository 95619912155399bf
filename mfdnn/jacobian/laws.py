"""The law of squared slopes phi'(u)^2 of Gaussian units."""

from __future__ import annotations

from copy import copy
from functools import cached_property

import numpy as np

from ..activations import Activation
from ..gaussian.quadrature import breaks, nodes, values

__all__ = ["SlopeLaw"]

CONSTANT = 1e-10  # relative size of what bends a slope on a panel where it is constant
DIGITS = 10  # of constant slopes that are the same
NOTHING = 1e-22  # probability of a node that is left out
LEAST = 1e-9  # mass of an atom that is one
FEW = 128  # nodes of a compressed law
EXHAUSTED = 1e-14


class SlopeLaw:
    r"""Law of :math:`d = \phi'(u)^2` for Gaussian u of variance q, by quadrature.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Different values d, ascending.
    weights : ndarray, shape (n,)
        Their probabilities.
    least : float
        About the least that d can be, however unlikely.
    """

    def __init__(self, act: Activation, q: float):
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
        self.values, at = np.unique(slope[likely] ** 2, return_inverse=True)
        weights = np.bincount(at, weight[likely])
        self.weights: np.ndarray = weights / weights.sum()
        self._straight = np.unique(slope[on_line] ** 2)
        self.least = float(min(self.values[0], (values(act, pieces.edges, 1) ** 2).min()))

    def compressed(self) -> SlopeLaw:
        """The law by few nodes, those of its own Gauss quadrature.

        As right off the support of the law.

        By the Lanczos iteration for the recurrence of its orthogonal polynomials.
        """
        if self.values.size <= FEW:
            return self
        from scipy.linalg import eigh_tridiagonal

        basis = np.empty((FEW, self.values.size))
        basis[0] = np.sqrt(self.weights)
        alpha, beta = np.empty(FEW), np.empty(FEW - 1)
        for k in range(FEW):
            v = self.values * basis[k]
            alpha[k] = v @ basis[k]
            for _ in range(2):  # twice is enough
                v -= basis[: k + 1].T @ (basis[: k + 1] @ v)
            if k < FEW - 1:
                beta[k] = np.linalg.norm(v)
                if beta[k] <= EXHAUSTED * self.values[-1]:  # as few different values
                    alpha, beta = alpha[: k + 1], beta[:k]
                    break
                basis[k + 1] = v / beta[k]
        values, vectors = eigh_tridiagonal(alpha, beta)
        few = copy(self)
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

    def transform(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """M(x) = E[d / (x - d)] and its derivative, at numbers x (n,)."""
        inverse = 1.0 / (x[:, None] - self.values)
        weighted = inverse * (self.weights * self.values)
        return weighted.sum(axis=1), -(weighted * inverse).sum(axis=1)

    def angle(self, x: np.ndarray) -> np.ndarray:
        """Mean argument of 1 - d/x, in [0, pi], for Im x >= 0."""
        return np.abs(np.angle(1 - self.values / x[:, None])) @ self.weights

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
        low, high = np.broadcast_to(low, y.shape), np.broadcast_to(high, y.shape)
        for _ in range(70):
            x = (low + high) / 2
            with np.errstate(divide="ignore"):
                above = (w * d / (x[:, None] - d)).sum(axis=1) > y  # M falls
            low, high = np.where(above, x, low), np.where(above, high, x)
        return (low + high) / 2

r"""Free multiplicative products: the spectrum of a product of matrices.

Of :math:`J J^T`, J = W_L D_{L-1} W_{L-1} ... D_1 W_1, in terms of the moment function :math:`y = M(\lambda) = \int
\Lambda/(\lambda - \Lambda)\,\rho(d\Lambda)`. The inverses of those of independent factors multiply, up to elementary
terms. Matrices of different sizes share what is not zero: that of size n sees :math:`y_n = y M_L/n`. So

.. math:: \lambda(y) = y^p \prod_l s_l \prod_k (1 + y_k)^{c_k} \prod_l r_l\,x_l(y_l), \qquad E[d/(x_l - d)] = y_l,

with d the squared slopes of layer l, :math:`r_l = M_L/M_l`, and integers p and c_k that the kinds of weights give.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .laws import SlopeLaw

__all__ = ["Factor", "FreeProduct", "Solution"]

STEP = 0.04  # of the way from far away to a real place
SMALLEST = 1e-5
LEAP = 0.8  # most that a logarithm may move in one step
ITERATIONS = 12
SETTLED = 1e-9  # step in the logarithms behind which convergence is quadratic
TAIL = 1e-2  # relative distance of M from its value in front of all that is not 0
ROUNDING = 1e-9  # of an argument: on the real line
FAR = 1e4  # where it begins, over the scale of the spectrum


class Factor(NamedTuple):
    """Squared slopes of layers.

    Attributes
    ----------
    law : SlopeLaw
    ratio : float
        r, M_L over the number of units.
    layers : int
        How many layers have them.
    """

    law: SlopeLaw
    ratio: float
    layers: int


class Solution(NamedTuple):
    """What belongs to real places lambda + i0.

    Attributes
    ----------
    y : ndarray of complex, shape (n,)
        M(lambda).
    x : ndarray of complex, shape (K, n)
        Places of the factors' own moment functions.
    settled : ndarray of bool, shape (n,)
        False at an edge, and so far out in a tail that nothing is there.
    """

    y: np.ndarray
    x: np.ndarray
    settled: np.ndarray


class FreeProduct:
    """The spectrum of a product of free matrices.

    Parameters
    ----------
    log_scale : float
        Sum of log s_l.
    power : int
        p.
    powers : dict of float to int
        c_k by the ratios r_k.
    factors : iterable of Factor
    rank : float
        The share of it that is not 0.
    """

    def __init__(
        self, log_scale: float, power: int, powers: dict[float, int], factors: Iterable[Factor], rank: float = 1.0
    ):
        self.power, self.rank = power, rank
        self.powers = {ratio: c for ratio, c in powers.items() if c}
        self.factors = list(factors)
        self.log_constant = log_scale + sum(f.layers * np.log(f.ratio) for f in self.factors)

    @property
    def log_mean(self) -> float:
        """Logarithm of the mean of the spectrum."""
        return float(self.log_constant + sum(f.layers * np.log(f.law.moment(1) / f.ratio) for f in self.factors))

    @property
    def ratio(self) -> float:
        """Its second moment over the square of the mean."""
        parts = [f.layers * f.ratio * f.law.moment(2) / f.law.moment(1) ** 2 for f in self.factors]
        return float(sum(parts) + sum(c * r for r, c in self.powers.items()))

    def solve(self, log_place: np.ndarray) -> Solution:
        """M at the real places exp(`log_place`), from above.

        Newton's method in logarithms, continued from far away in the upper half-plane, where M is its first moment.
        """
        log_place = np.asarray(log_place, dtype=np.float64)
        n = log_place.size
        if n == 0:
            return Solution(np.empty(0, complex), np.empty((len(self.factors), 0), complex), np.empty(0, bool))
        start = self.log_mean + np.log(FAR * max(self.ratio, 1.0)) + 3.0j
        step = log_place - start
        log_y = np.full(n, self.log_mean - start)
        log_x = np.array([np.log(f.law.moment(1) / f.ratio) - log_y for f in self.factors], dtype=complex)
        log_x = log_x.reshape(-1, n)
        done, settled = np.zeros(n), np.ones(n, dtype=bool)
        length = np.full(n, STEP)
        log_y, log_x, _ = self._newton(np.full(n, start), log_y, log_x)
        while np.any(rest := done < 1.0):
            at = np.flatnonzero(rest)
            goal = np.minimum(done[at] + length[at], 1.0)
            found_y, found_x, good = self._newton(start + goal * step[at], log_y[at], log_x[:, at])
            # Another root is not nearby.
            leap = np.abs(found_x - log_x[:, at]).max(axis=0, initial=0.0)
            good &= np.maximum(leap, np.abs(found_y - log_y[at])) < LEAP
            moved = at[good]
            log_y[moved], log_x[:, moved], done[moved] = found_y[good], found_x[:, good], goal[good]
            length[at] = np.where(good, np.minimum(1.5 * length[at], STEP), length[at] / 3)
            # At an edge, where two roots meet, or where nothing is but the tail of a law.
            lost = length < SMALLEST
            settled &= ~lost
            done[lost] = 1.0
        return Solution(np.exp(log_y), np.exp(log_x), settled)

    def _newton(
        self, target: np.ndarray, log_y: np.ndarray, log_x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Solutions at `target`, log lambda, and whether they are ones.

        In the right half-planes.
        """
        log_y, log_x = log_y.copy(), log_x.copy()
        good = np.zeros(target.size, dtype=bool)
        at = np.arange(target.size)  # of those that are not found yet
        for _ in range(ITERATIONS):
            change, moves, worst = self._step(target[at], log_y[at], log_x[:, at])
            log_y[at] += change
            log_x[:, at] += moves
            found = worst < SETTLED
            good[at[found]] = True
            at = at[~found]
            if at.size == 0:
                break
        inside = np.sin(log_y.imag) < ROUNDING
        for log_x_l in log_x:
            inside &= np.sin(log_x_l.imag) > -ROUNDING
        return log_y, log_x, good & inside

    def _step(
        self, target: np.ndarray, log_y: np.ndarray, log_x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A step of Newton's method: changes of both logarithms, and the largest of them."""
        y = np.exp(log_y)
        value = self.log_constant + self.power * log_y
        slope = np.full(y.shape, complex(self.power))
        for r, c in self.powers.items():
            value = value + c * np.log1p(r * y)
            slope = slope + c * r * y / (1 + r * y)
        gaps, rates = np.empty_like(log_x), np.empty_like(log_x)
        for l, f in enumerate(self.factors):
            x = np.exp(log_x[l])
            m, dm = f.law.transform(x)
            gaps[l] = np.log(m / (f.ratio * y))
            rates[l] = x * dm / m  # d log m / d log x
            # Where the equation of this factor will hold.
            value = value + f.layers * (log_x[l] - gaps[l] / rates[l])
            slope = slope + f.layers / rates[l]
        miss = target - value
        miss = miss - 2j * np.pi * np.round(miss.imag / (2 * np.pi))
        change = miss / slope
        change = change / np.maximum(1.0, 2.0 * np.abs(change))
        moves = (change - gaps) / rates
        moves = moves / np.maximum(1.0, 2.0 * np.abs(moves))
        return change, moves, np.maximum(np.abs(change), np.abs(moves).max(axis=0, initial=0.0))

    def density(self, log_place: np.ndarray, found: Solution) -> np.ndarray:
        """Density of the continuous part at exp(`log_place`)."""
        density = np.maximum(-found.y.imag / np.pi, 0.0) / np.exp(log_place)
        return np.where(self._in_tail(found), 0.0, density)

    def below(self, log_place: np.ndarray, found: Solution) -> np.ndarray:
        r"""Probability of what is at most exp(`log_place`).

        :math:`E[\log(1 - \Lambda/\lambda)]`, whose imaginary part counts what is above, has the differential
        :math:`y\, d\log\lambda`, which is known term by term.
        """
        # y lies in the lower half-plane, x in the upper one: on the real line it is the sign of rounding that may not.
        total = self.power * found.y.imag
        for r, c in self.powers.items():
            total = total + c * (found.y.imag + np.abs(np.angle(1 + r * found.y)) / r)
        for f, x in zip(self.factors, found.x, strict=True):
            total = total + f.layers * f.law.angle(x) / f.ratio
        return np.where(self._in_tail(found), 1.0 - self.rank, np.clip(1.0 - total / np.pi, 0.0, 1.0))

    def _in_tail(self, found: Solution) -> np.ndarray:
        """Where all but what is 0 lies above: M is minus the rank."""
        return ~found.settled & (np.abs(found.y / self.rank + 1) < TAIL)

    # -- on the real line outside the support -----------------------------------------------------------------

    def log_place(self, y: np.ndarray, where: str) -> np.ndarray:
        """Logarithms of lambda at real y.

        With places x of the factors as `SlopeLaw.inverse` finds them there.
        """
        value = self.log_constant + self.power * np.log(np.abs(y))
        for r, c in self.powers.items():
            value = value + c * np.log(np.abs(1 + r * y))
        for f in self.factors:
            value = value + f.layers * np.log(f.law.inverse(f.ratio * y, where))
        return value

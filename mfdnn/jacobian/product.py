r"""Free multiplicative products: the spectrum of a product of matrices.

Of :math:`J J^T`, J = W_L D_{L-1} W_{L-1} ... D_1 W_1, in terms of the moment function :math:`y = M(\lambda) = \int
\Lambda/(\lambda - \Lambda)\,\rho(d\Lambda)`. The inverses of those of independent factors multiply, up to elementary
terms. Matrices of different sizes share what is not zero: that of size n sees :math:`y_n = y M_L/n`. So

.. math:: \lambda(y) = y^p \prod_l s_l \prod_k (1 + y_k)^{c_k} \prod_l r_l\,x_l(y_l), \qquad E[d/(x_l - d)] = y_l,

with d the squared slopes of layer l, :math:`r_l = M_L/M_l`, and integers p and c_k that the kinds of weights give.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .continuation import follow, step_size
from .laws import ROUGH, Distribution, Laws, SlopeLaw

__all__ = ["Factor", "FreeProduct", "Solution"]

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
        self._ratios = np.array([f.ratio for f in self.factors])
        self._layers = np.array([float(f.layers) for f in self.factors])
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
        log_y = self.log_mean - start
        log_x = [np.log(f.law.moment(1) / f.ratio) - log_y for f in self.factors]
        unknown, settled = follow(self, start, np.array([log_y, *log_x])[:, None], log_place)
        return Solution(np.exp(unknown[0]), np.exp(unknown[1:]), settled)

    @cached_property
    def _laws(self) -> Laws:
        return Laws([f.law for f in self.factors])

    @cached_property
    def rough(self) -> FreeProduct | None:
        """The product with laws of few nodes; None if these have few."""
        if self._laws.size <= 2 * ROUGH:
            return None
        factors = [f._replace(law=f.law.compressed(ROUGH)) for f in self.factors]
        other = copy(self)
        other.factors, other._laws, other.rough = factors, Laws([f.law for f in factors]), None
        return other

    def inside(self, unknown: np.ndarray) -> np.ndarray:
        """Whether M is in the lower half-plane, and the places in the upper one."""
        sines = np.sin(unknown.imag)
        return (sines[0] < ROUNDING) & np.all(sines[1:] > -ROUNDING, axis=0)

    def step(self, target: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A step of Newton's method: changes of the logarithms of M and of the places."""
        log_y, log_x = unknown[0], unknown[1:]
        y = np.exp(log_y)
        value = self.log_constant + self.power * log_y
        slope = np.full(y.shape, complex(self.power))
        for r, c in self.powers.items():
            value = value + c * np.log1p(r * y)
            slope = slope + c * r * y / (1 + r * y)
        x = np.exp(log_x)
        m, dm = self._laws.transform(x)
        gaps = np.log(m / (self._ratios[:, None] * y))
        rates = x * dm / m  # d log m / d log x
        # Where the equations of the factors will hold.
        value = value + self._layers @ (log_x - gaps / rates)
        slope = slope + self._layers @ (1 / rates)
        miss = target - value
        miss = miss - 2j * np.pi * np.round(miss.imag / (2 * np.pi))
        change = miss / slope
        change = change / np.maximum(1.0, 2.0 * np.abs(change))
        moves = (change - gaps) / rates
        changes = np.concatenate([change[None], moves / np.maximum(1.0, 2.0 * np.abs(moves))])
        return changes, step_size(changes, gaps)

    @cached_property
    def alone(self) -> Distribution | None:
        """The law of a single factor, where the product is nothing else."""
        # Of the moment function y, log lambda = log x(y) up to a constant.
        if len(self.factors) != 1 or self.factors[0][1:] != (1.0, 1) or self.power or self.powers:
            return None
        return Distribution(self.factors[0].law, float(np.exp(self.log_constant)))

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

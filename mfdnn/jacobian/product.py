r"""Free multiplicative products: the spectrum of a product of matrices.

Of :math:`J J^T`, J = W_L D_{L-1} W_{L-1} ... D_1 W_1, in terms of the moment function :math:`y = M(\lambda) = \int
\Lambda/(\lambda - \Lambda)\,\rho(d\Lambda)`. The inverses of those of independent factors multiply, up to elementary
terms. Matrices of different sizes share what is not zero: that of size n sees :math:`y_n = y M_L/n`. So

.. math:: \lambda(y) = y^p \prod_l s_l \prod_k (1 + y_k)^{c_k} \prod_l r_l\,x_l(y_l), \qquad E[d/(x_l - d)] = y_l,

with d the squared slopes of layer l, :math:`r_l = M_L/M_l`, and integers p and c_k that the kinds of weights give.

A residual block, s + B, has a factor :math:`(1 + y_P)^2/g^2` more, at :math:`y_P = r y`. Where B begins and ends with
weights of its own, its singular values and those of s, each with both signs, add up as free ones do:

.. math:: y_P = y_B + y_s, \qquad g^2 = \frac{(1 + y_B)^2}{\lambda_B(y_B)} = \frac{y_s\,(1 + y_s)}{s^2},

with :math:`\lambda_B` the product of the block (Haagerup & Schultz 2007, "Brown measures of unbounded operators
affiliated with a finite von Neumann algebra": R-diagonal elements).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .._compiled import factor_equations
from .continuation import REAL, follow, principal, step_size
from .laws import ROUGH, Distribution, Laws, SlopeLaw

__all__ = ["Factor", "FreeProduct", "Solution"]

TAIL = 1e-2  # relative distance of M from its value in front of all that is not 0
ROUNDING = 1e-9  # of an argument: on the real line
NEAR = 1e-6  # of a logarithm, without a multiple of 2 pi i
BELOW = 1e-6  # relative, of places that are above another, beyond rounding
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


class Block(NamedTuple):
    """Residual block.

    Attributes
    ----------
    product : FreeProduct
        B B^T.
    skip2 : float
        s^2 > 0.
    ratio : float
        r, M_L over the number of units.
    """

    product: FreeProduct
    skip2: float
    ratio: float

    @property
    def log_mean(self) -> float:
        """Logarithm of the mean of (s + B) (s + B)^T."""
        return float(np.logaddexp(np.log(self.skip2), self.product.log_mean))

    @property
    def moment_ratio(self) -> float:
        """Its second moment over the square of the mean."""
        share = np.exp(self.product.log_mean - self.log_mean)  # of B
        return float((1 - share) ** 2 + 4 * (1 - share) * share + share**2 * self.product.ratio)


class Solution(NamedTuple):
    """What belongs to real places lambda + i0.

    Attributes
    ----------
    unknown : ndarray of complex, shape (k, n)
        Logarithms of M(lambda), of the places of the factors' own moment functions, and for each block of y_s and of
        the same of its product.
    settled : ndarray of bool, shape (n,)
        False at an edge, and so far out in a tail that nothing is there.
    """

    unknown: np.ndarray
    settled: np.ndarray

    @property
    def y(self) -> np.ndarray:
        """M(lambda)."""
        return np.exp(self.unknown[0])


class Linear(NamedTuple):
    """Equations to first order in the change of log y.

    log lambda and its derivative, changes of the other unknowns without one, by it, and gaps of their equations.
    """

    value: np.ndarray
    slope: np.ndarray
    moves: np.ndarray
    follows: np.ndarray
    gaps: np.ndarray


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
    blocks : iterable of Block
    gaussian : iterable of (float, float)
        Ratios of the units below and above Gaussian weights.
    """

    def __init__(
        self,
        log_scale: float,
        power: int,
        powers: dict[float, int],
        factors: Iterable[Factor],
        rank: float = 1.0,
        blocks: Iterable[Block] = (),
        gaussian: Iterable[tuple[float, float]] = (),
    ):
        self.power, self.rank, self.gaussian = power, rank, sorted(set(gaussian))
        self.powers = {ratio: c for ratio, c in powers.items() if c}
        self.factors = list(factors)
        self._ratios = np.array([f.ratio for f in self.factors])
        self._layers = np.array([float(f.layers) for f in self.factors])
        self.blocks = list(blocks)
        ratios = [(f.layers, f.ratio) for f in self.factors] + [(1, b.ratio) for b in self.blocks]
        self.log_constant = log_scale + sum(n * np.log(r) for n, r in ratios)

    @property
    def log_mean(self) -> float:
        """Logarithm of the mean of the spectrum."""
        blocks = sum(b.log_mean - np.log(b.ratio) for b in self.blocks)
        return float(
            self.log_constant + sum(f.layers * np.log(f.law.moment(1) / f.ratio) for f in self.factors) + blocks
        )

    @property
    def ratio(self) -> float:
        """Its second moment over the square of the mean."""
        parts = [f.layers * f.ratio * f.law.moment(2) / f.law.moment(1) ** 2 for f in self.factors]
        parts += [b.ratio * (b.moment_ratio - 2) for b in self.blocks]  # whose squares are among the powers
        return float(sum(parts) + sum(c * r for r, c in self.powers.items()))

    def solve(self, log_place: np.ndarray) -> Solution:
        """M at the real places exp(`log_place`), from above.

        Newton's method in logarithms, continued from far away in the upper half-plane, where M is its first moment.
        """
        log_place = np.asarray(log_place, dtype=np.float64)
        n = log_place.size
        start = self.log_mean + np.log(FAR * max(self.ratio, 1.0)) + 3.0j
        first = np.array(self._far(self.log_mean - start))[:, None]
        if n == 0:
            return Solution(first[:, :0], np.empty(0, bool))
        return Solution(*follow(self, start, first, log_place))

    def _far(self, log_y: complex) -> list[complex]:
        """The unknowns where y is small."""
        found = [log_y] + [np.log(f.law.moment(1) / f.ratio) - log_y for f in self.factors]
        for b in self.blocks:
            log_share = log_y + np.log(b.ratio) - b.log_mean
            found += [np.log(b.skip2) + log_share, *b.product._far(b.product.log_mean + log_share)]
        return found

    @cached_property
    def size(self) -> int:
        """How many unknowns there are."""
        return 1 + len(self.factors) + sum(1 + b.product.size for b in self.blocks)

    @cached_property
    def _laws(self) -> Laws:
        return Laws([f.law for f in self.factors])

    @cached_property
    def rough(self) -> FreeProduct | None:
        """The product with laws of few nodes; None if these have few."""
        inner = [b.product.rough for b in self.blocks]
        if self._laws.size <= 2 * ROUGH and not any(inner):
            return None
        factors = [f._replace(law=f.law.compressed(ROUGH)) for f in self.factors]
        other = copy(self)
        other.factors, other._laws, other.rough = factors, Laws([f.law for f in factors]), None
        other.blocks = [b._replace(product=few or b.product) for b, few in zip(self.blocks, inner, strict=True)]
        return other

    def inside(self, unknown: np.ndarray) -> np.ndarray:
        """Whether M is in the lower half-plane, and the places in the upper one."""
        sines = np.sin(unknown[: 1 + len(self.factors)].imag)
        good = (sines[0] < ROUNDING) & np.all(sines[1:] > -ROUNDING, axis=0)
        y, at = np.exp(unknown[0]), 1 + len(self.factors)
        for b in self.blocks:
            y_s, y_b = np.exp(unknown[at]), np.exp(unknown[at + 1])
            at += 1 + b.product.size
            # Places of what adds up freely are above that of the sum.
            y_p = b.ratio * y
            z = (1 + y_p) * np.sqrt(b.skip2 / (y_s * (1 + y_s)))
            z = np.where(z.imag < 0, -z, z)
            each = np.array([(1 + y_s) / (1 + y_p) * z, (1 + y_b) / (1 + y_p) * z])
            good &= np.all(each.imag > z.imag - BELOW * np.abs(each), axis=0)
        return good

    def certain(self, log_place: np.ndarray, unknown: np.ndarray) -> np.ndarray | None:
        """Whether M and the places are those of the spectrum: unknown of residual blocks."""
        if self.blocks:
            return None
        unknown = principal(unknown, np.arange(len(unknown)) > 0)
        linear = self._linear(unknown)
        good = np.abs(linear.value - log_place) < NEAR
        y, sines = np.exp(unknown[0]), np.sin(unknown.imag)
        real = np.all(np.abs(sines) < REAL, axis=0)
        off_line = (sines[0] < ROUNDING) & np.all(sines[1:] > -ROUNDING, axis=0)
        for r, other in self.gaussian:  # the place of (1 + y) (1 + y')/y, of such weights
            off_line &= np.angle(1 + r * y) + np.angle(1 + other * y) - unknown[0].imag > -ROUNDING
        # Moves with lambda, that of y to the other side.
        on_line = (y / linear.slope).real < 0
        on_line &= np.all((np.exp(unknown[1:]) * linear.follows / linear.slope).real > 0, axis=0)
        for r, other in self.gaussian:
            place = (1 + r * y) * (1 + other * y) / y
            rate = r * y / (1 + r * y) + other * y / (1 + other * y) - 1
            on_line &= (place * rate / linear.slope).real > 0
        return good & np.where(real, on_line, off_line)

    def step(self, target: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A step of Newton's method: changes of the logarithms of M and of the places."""
        linear = self._linear(unknown)
        miss = target - linear.value
        miss = miss - 2j * np.pi * np.round(miss.imag / (2 * np.pi))
        change = miss / linear.slope
        change = change / np.maximum(1.0, 2.0 * np.abs(change))
        moves = linear.moves + linear.follows * change
        changes = np.concatenate([change[None], moves / np.maximum(1.0, 2.0 * np.abs(moves))])
        return changes, step_size(changes, linear.gaps)

    def _linear(self, unknown: np.ndarray) -> Linear:
        """The equations near `unknown`."""
        log_y, log_x = unknown[0], unknown[1 : 1 + len(self.factors)]
        y = np.exp(log_y)
        value = self.log_constant + self.power * log_y
        slope = np.full(y.shape, complex(self.power))
        for r, c in self.powers.items():
            value = value + c * np.log1p(r * y)
            slope = slope + c * r * y / (1 + r * y)
        # Where the equations of the factors will hold.
        m, dm = self._laws.transform(np.exp(log_x))
        first = np.empty((3, *log_x.shape), complex)
        factor_equations(y, np.ascontiguousarray(log_x), self._ratios, self._layers, m, dm, *first, value, slope)
        moves, follows, off = [first[0]], [first[1]], [first[2]]
        at = 1 + len(self.factors)
        for b in self.blocks:
            own = _of_block(b, b.ratio * y, unknown[at : at + 1 + b.product.size])
            at += 1 + b.product.size
            value, slope = value + own.value, slope + own.slope
            moves.append(own.moves)
            follows.append(own.follows)
            off.append(own.gaps)
        return Linear(value, slope, np.concatenate(moves), np.concatenate(follows), np.concatenate(off))

    @cached_property
    def alone(self) -> Distribution | None:
        """The law of a single factor, where the product is nothing else."""
        # Of the moment function y, log lambda = log x(y) up to a constant.
        if self.blocks or len(self.factors) != 1 or self.factors[0].layers != 1 or self.power or self.powers:
            return None
        law, ratio, _ = self.factors[0]
        return Distribution(law, float(np.exp(self.log_constant)), share=1 / ratio)

    def density(self, log_place: np.ndarray, found: Solution) -> np.ndarray:
        """Density of the continuous part at exp(`log_place`)."""
        density = np.maximum(-found.y.imag / np.pi, 0.0) / np.exp(log_place)
        return np.where(self._in_tail(found), 0.0, density)

    def below(self, log_place: np.ndarray, found: Solution) -> np.ndarray:
        r"""Probability of what is at most exp(`log_place`).

        :math:`E[\log(1 - \Lambda/\lambda)]`, whose imaginary part counts what is above, has the differential
        :math:`y\, d\log\lambda`, which is known term by term.
        """
        total = self._argument(found.unknown)
        return np.where(self._in_tail(found), 1.0 - self.rank, np.clip(1.0 - total / np.pi, 0.0, 1.0))

    def _argument(self, unknown: np.ndarray, inner: bool = False) -> np.ndarray:
        """Mean argument of 1 - Lambda/lambda."""
        y, x = np.exp(unknown[0]), np.exp(unknown[1 : 1 + len(self.factors)])
        # y lies in the lower half-plane, x in the upper one: on the real line it is the sign of rounding that may not.
        # Inside a block they may lie anywhere.
        side = (lambda angle: -angle) if inner else np.abs
        total = self.power * y.imag
        for r, c in self.powers.items():
            total = total + c * (y.imag + side(np.angle(1 + r * y)) / r)
        for f, place in zip(self.factors, x, strict=True):
            total = total + f.layers * f.law.angle(place, signed=inner) / f.ratio
        at = 1 + len(self.factors)
        for b in self.blocks:
            y_s, own = np.exp(unknown[at]), unknown[at + 1 : at + 1 + b.product.size]
            angles = 2 * np.angle(1 + np.exp(own[0])) + np.angle(1 + y_s) + b.product._argument(own, inner=True)
            total = total + (angles - 2 * b.ratio * y.imag) / b.ratio
            at += 1 + b.product.size
        return total

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


def _of_block(b: Block, y_p: np.ndarray, unknown: np.ndarray) -> Linear:
    """What a block adds at y_P, and its own equations."""
    inner = b.product._linear(unknown[1:])
    y_s, y_b = np.exp(unknown[0]), np.exp(unknown[1])
    log_s2g2 = np.log(b.skip2) + 2 * np.log1p(y_b) - inner.value
    by_b = 2 * y_b / (1 + y_b) - inner.slope  # its derivative by log y_B
    by_s = (1 + 2 * y_s) / (1 + y_s)  # of log y_s (1 + y_s) by log y_s
    gap_sum = np.log((y_b + y_s) / y_p)
    gap_g = unknown[0] + np.log1p(y_s) - log_s2g2
    gap_g = gap_g - 2j * np.pi * np.round(gap_g.imag / (2 * np.pi))
    # y_B d log y_B + y_s d log y_s = y_P (d log y - gap), and d of both forms of g^2.
    share_b, share_s = y_b / (y_b + y_s), y_s / (y_b + y_s)
    determinant = share_b * by_s + share_s * by_b
    move_b, follow_b = (gap_g * share_s - gap_sum * by_s) / determinant, by_s / determinant
    move_s, follow_s = (-gap_g * share_b - gap_sum * by_b) / determinant, by_b / determinant
    return Linear(
        np.log(b.skip2) - log_s2g2 - by_b * move_b,
        -by_b * follow_b,
        np.concatenate([move_s[None], move_b[None], inner.moves + inner.follows * move_b]),
        np.concatenate([follow_s[None], follow_b[None], inner.follows * follow_b]),
        np.concatenate([gap_sum[None], gap_g[None], inner.gaps]),
    )

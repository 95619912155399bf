r"""A sum that passes through layers, and its spectrum.

:math:`H_1 = c_0`, :math:`H_{l+1} = c_l + s_l W D_l H_l D_l W^T`. Weights, slopes and what has come so far are free of
each other, so that in terms of the Cauchy transform g of a layer and of its moment function y, at places that belong to
each other,

.. math:: g_1 = y_1/c_0, \qquad g_{l+1} = \frac{g_l\,(1 + y_l)}{s_l\,x_l\,y_l}, \qquad y_{l+1} = y_l + c_l\,g_{l+1},
   \qquad E[d/(x_l - d)] = y_l,

without 1 + y_l for Gaussian weights, and the place of the last layer is :math:`\lambda = (1 + y_L)/g_L`: an explicit
function of g_1, to be solved for that.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from .._compiled import passed_on
from .continuation import REAL, follow, principal, step_size
from .laws import ROUGH, Distribution, Laws, SlopeLaw

__all__ = ["Accumulation", "Passage", "Solved"]

ROUNDING = 1e-9  # of an argument: on the real line
NEAR, TURNED = 1e-6, 1e-6  # of a logarithm, and of an argument
FAR = 1e4  # where it begins, over the largest place
GAUSSIAN = 4.0  # squared norm of a square Gaussian matrix, over its variance
SECTION, ROUNDS = 300, 7
NEAREST = 20.0  # logarithm of c_0 over the least distance of a place from it
LEAST = 1e-12  # mass of an atom that is none


class Passage(NamedTuple):
    """From a layer to the next: slopes, then weights.

    Attributes
    ----------
    law : SlopeLaw
    sigma_w2 : float
    orthogonal : bool
    constant : float
        c, what the layer adds.
    """

    law: SlopeLaw
    sigma_w2: float
    orthogonal: bool
    constant: float


class Solved(NamedTuple):
    """What belongs to real places + i0.

    Transforms of all layers, (L, n), and the x_l, (L - 1, n).
    """

    y: np.ndarray
    g: np.ndarray
    x: np.ndarray
    settled: np.ndarray


class Way(NamedTuple):
    """What belongs to unknowns (L, n), all (L, n).

    Changes of the unknowns, their derivatives by log g_1, gaps of their equations; log g and y of all layers with
    derivatives.
    """

    moves: np.ndarray
    follows: np.ndarray
    gaps: np.ndarray
    log_g: np.ndarray
    rate_g: np.ndarray
    y: np.ndarray
    dy: np.ndarray


class Accumulation:
    """The spectrum of H_L.

    Parameters
    ----------
    first : float
        c_0 > 0.
    passages : list of Passage
    """

    def __init__(self, first: float, passages: list[Passage]):
        self.first, self.passages = first, passages
        # One layer of slopes and nothing else is their law.
        self._alone: Distribution | None = None
        if len(passages) == 1 and passages[0].orthogonal:
            p = passages[0]
            self._alone = Distribution(p.law, p.sigma_w2 * first, p.constant)

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and second moment of H_L."""
        mean, second = self.first, self.first**2
        for p in self.passages:
            mu_1, mu_2 = p.law.moment(1), p.law.moment(2)
            product = second * mu_1**2 + mean**2 * (mu_2 - mu_1**2) + (0.0 if p.orthogonal else (mean * mu_1) ** 2)
            first = p.sigma_w2 * mu_1 * mean
            second = p.constant**2 + 2 * p.constant * first + p.sigma_w2**2 * product
            mean = p.constant + first
        return mean, second

    @property
    def bounds(self) -> tuple[float, float]:
        """Numbers below and above the whole spectrum."""
        low = high = self.first
        for p in self.passages:
            low = p.constant + (p.sigma_w2 * p.law.least * low if p.orthogonal else 0.0)
            high = p.constant + p.sigma_w2 * p.law.greatest * high * (1.0 if p.orthogonal else GAUSSIAN)
        return low, high

    @property
    def atoms(self) -> dict[float, float]:
        """Eigenvalues of positive share, and that.

        A product of free factors has an atom where those of the factors together weigh more than all but one of them,
        and one at 0 that is the heavier of theirs.
        """
        found = {self.first: 1.0}
        for p in self.passages:
            law, passed = p.law.atoms, {}
            if (zero := law.get(0.0, 0.0)) > LEAST:
                passed[p.constant] = zero
            if p.orthogonal:
                for h, one in found.items():
                    for d, two in law.items():
                        if d > 0 and one + two - 1 > LEAST:
                            passed[p.constant + p.sigma_w2 * d * h] = one + two - 1
            found = passed
        return found

    @cached_property
    def largest(self) -> float:
        """The upper end of the spectrum.

        The least of the places of positive g_1, be it an edge or, in the limit of large ones, an atom.
        """
        _, high = self.bounds
        if not self.passages or (self.passages[-1].orthogonal and len(self.passages) == 1):
            return high  # of one law of slopes alone
        if self.atoms and (top := max(self.atoms)) >= high * (1 - LEAST):
            return top
        # 1/g_1 is the distance of the first layer's place from c_0: at most that place, which is 2/(s E[d]) of the next
        # layer's at most, and so on up to the bound.
        down = sum(np.log(p.sigma_w2 * p.law.moment(1) / 2) for p in self.passages)
        log_g = np.linspace(down - np.log(high), NEAREST - np.log(self.first), SECTION)
        for _ in range(ROUNDS):
            with np.errstate(over="ignore", invalid="ignore"):  # far from where it is
                value = self._place(log_g)
            at = int(np.clip(np.nanargmin(value), 1, log_g.size - 2))
            log_g = np.linspace(log_g[at - 1], log_g[at + 1], 41)
        return float(np.exp(self._place(log_g).min()))

    def _place(self, log_g: np.ndarray) -> np.ndarray:
        """Logarithm of the place of the last layer, at real g_1 > 0."""
        y = self.first * np.exp(log_g)
        for p in self.passages:
            log_g = log_g - np.log(p.sigma_w2 * y * p.law.inverse(y, "above"))
            if p.orthogonal:
                log_g = log_g + np.log1p(y)
            y = y + p.constant * np.exp(log_g)
        return np.log1p(y) - log_g

    def solve(self, places: np.ndarray) -> Solved:
        """Transforms at real places > 0, from above."""
        start = np.log(FAR * self.largest) + 3.0j
        log_g = -start + sum(np.log(p.sigma_w2 * p.law.moment(1)) for p in self.passages)
        unknown, y = [log_g], self.first * np.exp(log_g)
        for p in self.passages:
            mean = np.log(p.law.moment(1))
            unknown.append(mean - np.log(y))
            log_g = log_g - np.log(p.sigma_w2) - mean
            y = y + p.constant * np.exp(log_g)
        found, settled = follow(self, start, np.array(unknown)[:, None], np.log(places))
        x = np.exp(found[1:])
        log_g, ys = found[0], [self.first * np.exp(found[0])]
        gs = [np.exp(log_g)]
        for l, p in enumerate(self.passages):
            log_g = log_g - np.log(p.sigma_w2) - found[l + 1] - np.log(ys[-1])
            if p.orthogonal:
                log_g = log_g + np.log1p(ys[-1])
            gs.append(np.exp(log_g))
            ys.append(ys[-1] + p.constant * gs[-1])
        return Solved(np.array(ys), np.array(gs), x, settled)

    @cached_property
    def _laws(self) -> Laws:
        return Laws([p.law for p in self.passages])

    @cached_property
    def _constants(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logarithms of sigma_w^2, what layers add, and which are orthogonal."""
        return (
            np.array([np.log(p.sigma_w2) for p in self.passages]),
            np.array([p.constant for p in self.passages]),
            np.array([p.orthogonal for p in self.passages], dtype=bool),
        )

    @cached_property
    def rough(self) -> Accumulation | None:
        """The sum with laws of few nodes; None if these have few."""
        if self._laws.size <= 2 * ROUGH:
            return None
        few = {id(p.law): p.law for p in self.passages}
        few = {name: law.compressed(ROUGH) for name, law in few.items()}
        other = Accumulation(self.first, [p._replace(law=few[id(p.law)]) for p in self.passages])
        other.rough = None
        return other

    def inside(self, unknown: np.ndarray) -> np.ndarray:
        """Whether g_1 is in the lower half-plane, and the x_l in the upper one."""
        sines = np.sin(unknown.imag)
        return (sines[0] < ROUNDING) & np.all(sines[1:] > -ROUNDING, axis=0)

    def certain(self, log_place: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        """Whether g_1 and the x_l are those of the spectrum.

        Places of all sums on the way, and of the factors between them, are in the upper half-plane then.
        """
        unknown = principal(unknown, np.arange(len(unknown)) > 0)
        way = self._way(unknown)
        g, y = np.exp(way.log_g), way.y
        z, rate_z = (1 + y) / g, way.dy / (1 + y) - way.rate_g
        good = np.abs(np.log(z[-1]) - log_place) < NEAR
        good &= np.abs(way.gaps).max(axis=0) < NEAR
        off_line = np.all(np.sin(unknown.imag[1:]) > -ROUNDING, axis=0)
        off_line &= np.all(np.concatenate([g, y]).imag < ROUNDING * np.abs(np.concatenate([g, y])), axis=0)
        off_line &= np.all(z.imag > -ROUNDING * np.abs(z), axis=0)
        on_line = np.ones(log_place.size, dtype=bool)

        def up(place: np.ndarray, rate: np.ndarray) -> np.ndarray:  # whether it moves with lambda
            return (place * rate / rate_z[-1]).real > 0

        for l, p in enumerate(self.passages):
            on_line &= up(np.exp(unknown[l + 1]), way.follows[l + 1]) & up(z[l], rate_z[l])
            on_line &= up(-g[l], way.rate_g[l]) & up(-y[l], way.dy[l] / y[l])
            angle_y, angle_1 = _lower(y[l]), _lower(1 + y[l])
            added = -_lower(z[l].conj()) + unknown[l + 1].imag + angle_y - (angle_1 if p.orthogonal else 0.0)
            good &= (added > -TURNED) & (added < np.pi + TURNED)
            if not p.orthogonal:
                off_line &= 2 * angle_1 - angle_y > -ROUNDING
                on_line &= up((1 + y[l]) ** 2 / y[l], 2 * way.dy[l] / (1 + y[l]) - way.dy[l] / y[l])
        return good & np.where(np.all(np.abs(np.sin(unknown.imag)) < REAL, axis=0), on_line, off_line)

    def step(self, target: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A step of Newton's method: changes of the logarithms of g_1 and of the x_l."""
        way = self._way(unknown)
        y, dy = way.y[-1], way.dy[-1]
        miss = target - (np.log1p(y) - way.log_g[-1])
        miss = miss - 2j * np.pi * np.round(miss.imag / (2 * np.pi))
        changes = way.moves + way.follows * _short(miss / (dy / (1 + y) - way.rate_g[-1]))
        return changes, step_size(changes, way.gaps)

    def _way(self, unknown: np.ndarray) -> Way:
        """From layer to layer, with the x_l where their own equations hold to first order."""
        x = np.exp(unknown[1:])
        m, dm = self._laws.transform(x)
        out = np.empty((7, *unknown.shape), complex)
        log_scales, constants, orthogonal = self._constants
        passed_on(self.first, log_scales, constants, orthogonal, np.ascontiguousarray(unknown), m, x * dm / m, out)
        return Way(*out)

    def both(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Density of the continuous part, and probability of what is at most at `places`.

        The imaginary part of :math:`E[\log(\lambda - \Lambda)]` counts what is above, and is known term by term from
        layer to layer, as its differential is that of :math:`g\,d\lambda`.
        """
        if self._alone is not None:
            return self._alone.density(places), self._alone.below(places)
        found = self.solve(places)
        density = np.maximum(-found.g[-1].imag / np.pi, 0.0)
        # Transforms lie in the lower half-plane, x in the upper one: on the real line only signs of rounding may not.
        angles = np.abs(np.angle(1 + found.y))
        total = angles[-1]
        for l, p in enumerate(self.passages):
            total = total + p.law.angle(found.x[l]) + (-angles[l] if p.orthogonal else found.y[l].imag)
        return density, np.clip(1.0 - total / np.pi, 0.0, 1.0)


def _lower(value: np.ndarray) -> np.ndarray:
    """Arguments in [-pi, 0] of what is in the lower half-plane."""
    angle = np.angle(value)
    return np.where(angle > np.pi - TURNED, -np.pi, angle)


def _short(change: np.ndarray) -> np.ndarray:
    """A change that is at most 1/2."""
    return change / np.maximum(1.0, 2.0 * np.abs(change))

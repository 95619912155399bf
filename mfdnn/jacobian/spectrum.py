"""The spectrum of the Jacobian: density, distribution, edges and atoms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.results import Result
from .._support.validation import finite_array
from ..network import Network
from .chain import JacobianChain, read
from .product import FreeProduct, Solution

__all__ = ["JacobianSpectrum", "jacobian_spectrum"]

POINTS = 200
SMALLEST = 1e-8  # of the upper edge, where the default grid begins if there is no lower edge
BESIDE = 1e-9  # distance from an atom at which the distribution is right of it
RARE = 1e-5  # probability of what the default grid leaves out below
MISSING = 1e-11  # probability that is none
FLAT = 1e-12  # of the largest squared slope: slopes that come so close to 0 have no lower edge
SECTION = 40
STEPS = 60  # places on the way down a tail
BEYOND = 500.0  # of logarithms whose exponentials are left alone
FAR = np.log(1e12)  # of a mean from 1 that is named
SECTIONS = 4  # times that an end is looked for in an interval of a section
NONE, NEARLY_NONE = 1e-11, 1e-6  # probability beyond an upper end, and below a lower one, where there is rounding
WIDE = 6.0  # of log lambda, about the mean, wherever ends may be
PLACES, ROUNDS = 120, 6  # where an extremum is looked for, and how often again, 20 times as near


@dataclass(frozen=True, repr=False, eq=False)
class JacobianSpectrum(Result):
    r"""Limit of the squared singular values of the input-output Jacobian.

    Attributes
    ----------
    grid : ndarray, shape (n,)
        Places.
    density : ndarray, shape (n,)
        Of the continuous part; 0 outside its support.
    edges : tuple of float
        Ends of the support of the continuous part; empty where there is none.
    atoms : tuple of (float, float)
        Places and shares of what is not continuous, 0 among them.
    mass : float
        Of all together: 1.
    mean, relative_variance : float
        As in `jacobian_moments`.
    log_scale : float
        0; where squared singular values are beyond floating point, the logarithm of their mean: all places, here and
        in `cdf`, are over its exponential.
    caution : str
        Names a spectrum that collapses or explodes with depth; empty if it does neither.
    """

    grid: np.ndarray
    density: np.ndarray
    edges: tuple[float, ...]
    atoms: tuple[tuple[float, float], ...]
    mass: float
    mean: float
    relative_variance: float
    log_scale: float
    caution: str
    _product: FreeProduct

    def cdf(self, x: Any) -> Any:
        """Share of squared singular values that are at most x.

        Of its shape, and in closed form at every place, atoms counted: no integral over the density.
        """
        places = finite_array("x", x)
        flat = places.ravel()
        zero = sum(mass for place, mass in self.atoms if place == 0)
        out = np.where(flat < 0, 0.0, zero)
        ends = [place for place, _ in self.atoms if place > 0] + list(self.edges)
        least, greatest = min(ends, default=0.0), max(ends, default=0.0)
        out[flat >= greatest * (1 - BESIDE)] = 1.0
        inside = (flat > least) & (flat < greatest * (1 - BESIDE))
        if np.any(inside):
            at = np.log(flat[inside])
            for place, _ in self.atoms:
                if place > 0:
                    at = np.where(np.abs(at - np.log(place)) < BESIDE, np.log(place) + BESIDE, at)
            out[inside] = np.maximum(_below(self._product, at), zero)
        return out.reshape(places.shape) if places.ndim else float(out[0])

    def plot(self, ax: Any = None) -> Any:
        """Draw the density on a logarithmic axis; returns the Axes."""
        from ..plots import jacobian_spectrum as draw

        return draw(self, ax=ax)


def jacobian_spectrum(
    net: Network, grid: Any = None, q0: float | None = None, *, q_hat: Any = None
) -> JacobianSpectrum:
    r"""Spectrum of the input-output Jacobian of an infinitely wide network.

    The squared singular values of :math:`J = W_L D_{L-1} \cdots D_1 W_1`, by free probability: weights and slopes are
    free of each other, so that the inverses of their moment functions multiply (see `mfdnn.jacobian.product`).

    Parameters
    ----------
    net : Network
        As in `jacobian_moments`.
    grid : array_like, shape (n,), optional
        Places > 0 of the density. Default: 200 between the edges, equally spaced in the logarithm.
    q0 : float, optional
        Mean square of the input. Default: 1.
    q_hat : array_like, shape (L,), optional
        Mean squares of what the weight layers see, in place of `q0` and of those of infinite width: such as those of a
        sampled network, ``mfdnn.sampled.conditional_fisher(one, x, k=1).q_hat``.

    Returns
    -------
    JacobianSpectrum

    Raises
    ------
    TypeError, ValueError
        As `jacobian_moments`, and a `grid` that is not of positive numbers.

    Notes
    -----
    Newton's method in logarithms with continuation from the upper half-plane; the distribution is right to 1e-9, or
    1e-6 where widths differ tenfold and slopes oscillate, and the density loses digits beside its edges. Slopes are
    taken at the nodes of a quadrature, and where the spectrum is hardly spread by anything else (orthogonal weights
    and few layers, slopes almost all the same in the others), or in its tail of the smallest slopes, it is as fine as
    these: to 1e-3, in the worst of 460 random networks 8e-3. Any
    activation; layers may differ in width, activation and kind of weights, and may be residual blocks, whose upper
    edges are right to 1e-6; a lower edge of these, or of fewer outputs than units with slopes that can be 0, to
    1e-4. Where slopes are unbounded, as of x^3, there is no upper edge: what is told is that of units within twelve
    standard deviations. At depth 64 on one core 0.1 to 0.5 seconds, 0.7 if all layers differ; 1.2 with 16 residual
    blocks.

    References
    ----------
    Pennington, Schoenholz & Ganguli 2017, arXiv:1711.04735, and 2018, "The emergence of spectral universality in deep
    networks", arXiv:1802.09979.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([100] * 9, "relu", sigma_w2=2.0, weights="orthogonal")
    >>> found = mfdnn.jacobian_spectrum(net)
    >>> round(found.atoms[0][1], 9), round(found.edges[1], 6)  # L^L/(L-1)^(L-1) for L = 7 activations, times sigma_w^2
    (0.5, 35.302769)
    >>> round(found.cdf(found.edges[1]), 9)
    1.0
    """
    chain = read(net, q0, q_hat)
    product = chain.product
    log_mean = product.log_mean
    log_scale = log_mean if abs(log_mean) + np.log1p(product.ratio) > BEYOND else 0.0
    product.log_constant -= log_scale
    zero = 1.0 - chain.rank
    places = {0.0: zero} if zero > MISSING else {}
    atoms = chain.atoms(log_scale)
    places |= atoms
    top = max(atoms, default=0.0)
    edges = () if sum(places.values()) > 1 - 1e-9 else _edges(product, chain.rank, top)
    if grid is None:
        low, high = edges if edges else (0.5 * max(places), 2 * max(places))
        points = np.geomspace(max(low, _least(product, high, zero)), high, POINTS)
    else:
        points = finite_array("grid", grid, "an array of places")
        if points.ndim != 1 or points.size == 0 or points.min() <= 0:
            raise ValueError(f"`grid` must be an array (n,) of positive places, got {grid!r:.60}; leave out others.")
    log_place = np.log(points)
    density = np.zeros(points.size)
    if edges:
        inside = (points > edges[0]) & (points < edges[1])
        density[inside] = _density(product, log_place[inside])
    return JacobianSpectrum(
        grid=points,
        density=density,
        edges=edges,
        atoms=tuple(sorted((float(place), float(mass)) for place, mass in places.items())),
        mass=1.0,
        mean=float(np.exp(product.log_mean)),
        relative_variance=product.ratio - 1,
        log_scale=float(log_scale),
        caution=_caution(log_mean, log_scale),
        _product=product,
    )


def _caution(log_mean: float, log_scale: float) -> str:
    """A name for a mean far from 1."""
    if abs(log_mean) < FAR:
        return ""
    what = "collapses" if log_mean < 0 else "explodes"
    units = "; places are in units of that" if log_scale else ""
    return f"The spectrum {what} with depth: its mean is 10^{log_mean / np.log(10):.1f}, as chi_1 is not 1{units}."


def ends(chain: JacobianChain, product: FreeProduct) -> tuple[float, float]:
    """The least and the greatest place but 0 of a spectrum, atoms counted."""
    atoms = chain.atoms()
    whole = sum(atoms.values()) + 1.0 - chain.rank
    edges = () if whole > 1 - 1e-9 else _edges(product, chain.rank, max(atoms, default=0.0))
    places = [*atoms, *edges]
    return min(places), max(places)


def _below(product: FreeProduct, log_place: np.ndarray) -> np.ndarray:
    """Probability of what is at most exp(`log_place`)."""
    if product.alone is not None:
        return product.alone.below(np.exp(log_place))
    found = product.solve(log_place)
    below, lost = product.below(log_place, found), _lost(product, log_place, found)
    if np.any(lost):  # so far out that 1 + M has no digits: what is known of the next place above
        more = np.linspace(log_place[lost].min(), product.log_mean, STEPS)
        known = product.solve(more)
        more = more[known.settled]
        values = product.below(more, Solution(known.unknown[:, known.settled], np.ones(more.size, dtype=bool)))
        next_above = np.searchsorted(more, log_place[lost])
        below[lost] = np.append(values, 1.0)[next_above]
    return below


def _lost(product: FreeProduct, log_place: np.ndarray, found: Solution) -> np.ndarray:
    """Places in the lower tail that were not reached."""
    return ~found.settled & (log_place < product.log_mean - 1.0)


def _density(product: FreeProduct, log_place: np.ndarray) -> np.ndarray:
    """Density of the continuous part at exp(`log_place`)."""
    if product.alone is not None:
        return product.alone.density(np.exp(log_place))
    found = product.solve(log_place)
    return np.where(_lost(product, log_place, found), 0.0, product.density(log_place, found))


def _least(product: FreeProduct, high: float, zero: float) -> float:
    """A place below which there is next to nothing."""
    at = np.log(high) + np.linspace(np.log(SMALLEST), 0.0, SECTION)
    there = _below(product, at) > zero + RARE
    return float(np.exp(at[max(np.argmax(there) - 1, 0)]))


def _edges(product: FreeProduct, rank: float, top: float) -> tuple[float, float]:
    """Ends of the continuous part."""
    if product.alone is not None:
        return product.alone.edges
    y = np.logspace(-8, 8, PLACES)
    if product.blocks:
        return _ends(product, rank)
    # Below an atom at the top M comes from minus infinity.
    end = max(1 / ratio for ratio in (*product.powers, *(f.ratio for f in product.factors)))
    high = _extremum(product, -end - y[y > 1e-4], 1, "under") if top else _extremum(product, y, 1, "above")
    below = _gap(product, rank)
    low = np.exp(_extremum(product, below, -1, "below")) if below.size else 0.0
    singular = max((rank * f.ratio / f.law.rank for f in product.factors), default=1.0)
    if not below.size and singular < 1 - 1e-9:
        low = _lower_end(product, rank, high)  # fewer eigenvalues than units with slopes, wherever these are small
    return float(low), float(np.exp(high))


def _ends(product: FreeProduct, rank: float) -> tuple[float, float]:
    """Ends: where the distribution leaves that of 0, and where it is 1."""
    reach = np.log(product.ratio + 1) + WIDE
    high = product.log_mean + reach * np.linspace(-1.0, 1.0, SECTION)
    for _ in range(SECTIONS):
        whole = _below(product, high) > 1 - NONE
        at = int(np.argmax(whole)) if whole.any() else SECTION - 1
        high = np.linspace(high[max(at - 1, 0)], high[at], SECTION)
    return _lower_end(product, rank, high[-1]), float(np.exp(high[-1]))


def _lower_end(product: FreeProduct, rank: float, log_high: float) -> float:
    """Where the distribution leaves that of 0; 0 if that is too near to it."""
    low = log_high + np.linspace(np.log(SMALLEST) - WIDE, 0.0, SECTION)
    for _ in range(SECTIONS):
        none = np.flatnonzero(_below(product, low) < 1 - rank + NEARLY_NONE)
        if not none.size:
            return 0.0
        at = min(none[-1], SECTION - 2)  # from above: far below 1 + M has few digits
        low = np.linspace(low[at], low[at + 1], SECTION)
    return float(np.exp(low[0]))


def _gap(product: FreeProduct, rank: float) -> np.ndarray:
    """Values of M between 0, or the atom there, and a lower edge > 0.

    None where the continuous part begins at 0. There is an edge where lambda(y) has a simple zero at minus the rank:
    of more factors that are singular, or nearly so, the product has ever smaller eigenvalues.
    """
    laws = [f.law for f in product.factors]
    if any(law.least < FLAT * law.values[-1] for law in laws):
        return np.empty(0)
    zeros = Counter(product.powers)
    for f in product.factors:
        zeros[f.ratio] += f.layers
    at_rank = sum(n for r, n in zeros.items() if abs(r * rank - 1) < 1e-12)
    if at_rank != 1:
        return np.empty(0)
    end = min((1 / r for r, n in zeros.items() if n > 0 and r * rank < 1 - 1e-12), default=np.inf)
    y = rank + np.logspace(-8, 8, PLACES)
    return -y[y < end]


def _extremum(product: FreeProduct, y: np.ndarray, sign: int, where: str) -> float:
    """The least (sign 1) or greatest (-1) log lambda over real y.

    Refined around where it is on a grid.
    """
    for _ in range(ROUNDS):
        value = sign * product.log_place(y, where)
        at = int(np.clip(np.argmin(value), 1, y.size - 2))
        y = np.linspace(y[at - 1], y[at + 1], 41)
    return sign * float(np.min(sign * product.log_place(y, where)))

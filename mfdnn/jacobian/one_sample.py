"""The Fisher information of one sample: its spectrum in wide networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.results import Result
from .._support.validation import finite_array
from ..activations import activation
from ..network import Network
from .accumulation import Accumulation, Passage
from .chain import Shortcut, Slopes, Weights, read
from .laws import SlopeLaw

__all__ = ["ConditionalFisher", "accumulated", "conditional_fisher"]

POINTS = 200
BESIDE = 3e-6  # relative distance from an atom, whose transforms have rounding for digits there
ROUNDING = 1e-12  # relative, of places
WHOLE = 1e-9  # missing mass that is none
NO_SHARE = 1e-17  # of the mean, that a layer and all before it add: less than rounding


@dataclass(frozen=True, repr=False, eq=False)
class ConditionalFisher(Result):
    r"""Limit of the spectrum of one sample's Fisher information.

    Of the M eigenvalues of :math:`F = \sum_k \nabla f_k \nabla f_k^T` at one input that need not be 0, those of the
    dual :math:`J J^T = M H_L`: shares and moments are over these M, not over all P parameters.

    Attributes
    ----------
    largest : float
        Upper end of the spectrum, of the order of M L at :math:`\chi_1 = 1`.
    atoms : tuple of (float, float)
        Places and shares of what is not continuous.
    mean, second_moment : float
        Of an eigenvalue and of its square.
    grid, density : ndarray, shape (n,)
        Places, and the density of the continuous part there; 0 outside its support.
    scale : float
        M: divided by it, places are eigenvalues of :math:`H_L`.
    q_hat : ndarray, shape (L,)
        Mean squares of what the weight layers see.
    """

    largest: float
    atoms: tuple[tuple[float, float], ...]
    mean: float
    second_moment: float
    grid: np.ndarray
    density: np.ndarray
    scale: float
    q_hat: np.ndarray
    _sum: Accumulation

    def cdf(self, x: Any) -> Any:
        """Share of the M eigenvalues that are at most x.

        Of its shape, and in closed form at every place, atoms counted.
        """
        places = finite_array("x", x)
        flat = places.ravel() / self.scale
        low, _ = self._sum.bounds
        top = self.largest / self.scale * (1 - ROUNDING)
        out = np.where(flat >= top, 1.0, 0.0)
        inside = (flat >= low * (1 - ROUNDING)) & (flat < top)
        if np.any(inside):
            at = flat[inside]
            for place in self._sum.atoms:
                side = np.where(at < place * (1 - ROUNDING), -BESIDE, BESIDE)
                at = np.where(np.abs(at - place) < BESIDE * place, place * (1 + side), at)
            _, out[inside] = self._sum.both(at)
        return out.reshape(places.shape) if places.ndim else float(out[0])


def conditional_fisher(
    net: Network, q0: float | None = None, *, q_hat: Any = None, grid: Any = None
) -> ConditionalFisher:
    r"""Spectrum of the Fisher information of one sample, in a wide network.

    What online training sees, one sample at a time. With the widths equal, M, outputs too, the derivatives of
    the outputs by all parameters have the Gram matrix :math:`J J^T = M H_L`,

    .. math:: H_1 = \hat q^0 I, \qquad H_{l+1} = \hat q^l I + W^{l+1} D^l H_l D^l (W^{l+1})^T,

    D the slopes of the units; to each :math:`\hat q` the biases add 1/M. Slopes, weights and what has come so far are
    free of each other, so that the spectrum follows from layer to layer (see `mfdnn.jacobian.accumulation`).
    Orthogonal weights and slopes that are 1 with probability a and else 0 (hard tanh, shifted relu) put a share
    :math:`1 - \sum_l (1 - a_l)` of all eigenvalues, if that is positive, at the largest possible place

    .. math:: \lambda_{max} = M \sum_{j=0}^{L-1} \hat q^{L-1-j} \sigma_w^{2j},

    at criticality and near isometry about :math:`M \hat q L`. Gaussian weights have no atom and a far larger end.

    Parameters
    ----------
    net : Network
        Fully connected layers of one width, inputs and outputs too, and an activation or none between two of them.
    q0 : float, optional
        Mean square of the input. Default: 1.
    q_hat : array_like, shape (L,), optional
        Mean squares of what the weight layers see, such as those of a sampled network
        (`mfdnn.sampled.conditional_fisher`), instead of those of infinite width.
    grid : array_like, shape (n,), optional
        Places > 0 of the density, eigenvalues of F. Default: up to 200, most of them where the eigenvalues are.

    Returns
    -------
    ConditionalFisher

    Raises
    ------
    TypeError, ValueError
        No network, negative `q0`, `q_hat` that are not L positive numbers or beside `q0`, a `grid` that is not of
        positive numbers, a signal that overflows. `NoTheory`: unequal widths, other layers, an activation that jumps or
        behind the last weights.

    Notes
    -----
    Moments, atoms and the largest eigenvalue have the accuracy of Gaussian integrals, the distribution 1e-6 but where a
    tail is of the few units with the smallest slopes alone (of erf, near isometry): 2e-4 there. A tenth of a
    second at ten layers, under one at 64.

    In a sampled network of orthogonal weights and slopes 0 or 1 the largest eigenvalue is that of its own `q_hat` to
    rounding while the atom is there; those scatter by :math:`M^{-1/2}`, and the eigenvalue does with them.

    References
    ----------
    Hayase & Karakida 2021, "The spectrum of Fisher information of deep networks achieving dynamical isometry",
    arXiv:2006.07814: hard tanh and shifted relu, orthogonal. Other slopes, Gaussian weights and the biases are
    derived for this package.

    Examples
    --------
    >>> import mfdnn
    >>> init = mfdnn.isometric_init("hard_tanh", depth=20, variance=0.2)
    >>> for weights in ("orthogonal", "gaussian"):
    ...     net = mfdnn.mlp([400] * 21, "hard_tanh", init.sigma_w2, init.sigma_b2, weights=weights)
    ...     found = mfdnn.conditional_fisher(net, q0=init.q0)
    ...     print(f"{weights}: mean {found.mean:.0f}, at most {found.largest:.0f}, over 1300 {1 - found.cdf(1300):.2f}")
    orthogonal: mean 1201, at most 1322, over 1300 0.81
    gaussian: mean 1201, at most 27876, over 1300 0.17
    """
    found, q_hats = accumulated(net, q0, q_hat)
    width = float(net.n_inputs)
    atoms = tuple(sorted(found.atoms.items()))
    largest, (mean, second) = found.largest, found.moments
    continuous = sum(mass for _, mass in atoms) < 1 - WHOLE
    if grid is None and continuous:
        places, density = _default_grid(found, largest)
    else:
        places = np.array([place for place, _ in atoms]) if grid is None else _places(grid) / width
        density = np.zeros(places.size)
        inside = (places > found.bounds[0]) & (places < largest) & continuous
        for place, _ in atoms:
            inside &= np.abs(places - place) > BESIDE * place
        density[inside], _ = found.both(places[inside])
    return ConditionalFisher(
        largest=width * largest,
        atoms=tuple((float(width * place), float(mass)) for place, mass in atoms),
        mean=width * mean,
        second_moment=width**2 * second,
        grid=width * places,
        density=density / width,
        scale=width,
        q_hat=q_hats,
        _sum=found,
    )


def accumulated(net: Any, q0: Any, q_hat: Any = None) -> tuple[Accumulation, np.ndarray]:
    """H_L of a network, and what its weight layers see."""
    chain = read(net, q0, q_hat)
    if any(isinstance(f, Shortcut) for f in chain.factors):
        raise NoTheory(
            "the Fisher information of one sample has a theory of fully connected layers and activations, got residual "
            "blocks; mfdnn.fisher_spectrum takes them in sampled networks."
        )
    width = float(net.n_inputs)
    sizes = {size for f in chain.factors for size in ([f.fan_in, f.units] if isinstance(f, Weights) else [f.units])}
    if len(sizes) > 1:
        raise NoTheory(
            f"the Fisher information of one sample has a theory of equal widths, outputs too, got {min(sizes)} to "
            f"{max(sizes)}; few outputs of wide layers are those of fisher_statistics(net, n_samples=1), and sampled "
            "networks have mfdnn.sampled.conditional_fisher."
        )
    if isinstance(chain.factors[-1], Slopes):
        raise NoTheory(
            "the Fisher information of one sample has a theory of outputs that are linear, got an activation behind "
            "the last weights; leave it out."
        )
    first, passages, q_hats = _passages(chain.factors, width)
    if not first and not any(p.constant for p in passages):
        raise NoTheory("the Fisher information is zero, as the inputs are and there are no biases; take others.")
    shares = _shares(first, passages)
    start = int(np.argmax(shares > NO_SHARE))  # layers of a signal that dies out are not felt at the outputs
    if start:
        first, passages = passages[start - 1].constant, passages[start:]
    return Accumulation(first, passages), q_hats


def _passages(factors: list, width: float) -> tuple[float, list[Passage], np.ndarray]:
    """What the first layer adds, how it passes on, and what all of them see."""
    constants, seen, passages = [], [], []
    none = SlopeLaw(activation("linear"), 1.0)
    law = none
    few: dict[int, SlopeLaw] = {}
    for factor in factors:
        if isinstance(factor, Slopes):
            law = few.setdefault(id(factor.law), factor.law.compressed())
            continue
        seen.append(factor.seen)
        constants.append(factor.seen + factor.bias / width)
        if len(constants) > 1:
            passages.append(Passage(law, factor.sigma_w2, factor.orthogonal, constants[-1]))
        law = none
    return constants[0], passages, np.array(seen)


def _shares(first: float, passages: list[Passage]) -> np.ndarray:
    """What every layer adds to the mean of H_L, of all of it, (L,)."""
    added = np.array([first, *(p.constant for p in passages)])
    gains = np.array([np.log(p.sigma_w2 * p.law.moment(1)) for p in passages])
    onwards = np.append(np.cumsum(gains[::-1])[::-1], 0.0)
    with np.errstate(divide="ignore"):
        logs = np.log(added) + onwards
    return np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()


def _places(grid: Any) -> np.ndarray:
    places = finite_array("grid", grid, "an array of places")
    if places.ndim != 1 or places.size == 0 or places.min() <= 0:
        raise ValueError(f"`grid` must be an array (n,) of positive places, got {grid!r:.60}; leave out others.")
    return places


def _default_grid(found: Accumulation, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Places and densities: half equally far apart in the logarithm, half by shares."""
    n = POINTS // 2
    even = np.geomspace(found.bounds[0], largest, n + 2)[1:-1]
    density, below = found.both(even)
    below = np.maximum.accumulate(below)
    shares = (np.arange(n) + 0.5) / n
    shares = shares[(shares > below[0]) & (shares < below[-1])]  # not those of atoms at the ends
    more = np.setdiff1d(np.exp(np.interp(shares, below, np.log(even))), even)
    places = np.concatenate([even, more])
    density = np.concatenate([density, found.both(more)[0]])
    order = np.argsort(places)
    return places[order], density[order]

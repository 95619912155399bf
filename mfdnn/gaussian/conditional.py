r"""Gaussian integrals of an activation given the factor that all inputs share.

The pre-activations of a unit at exchangeable inputs s are
:math:`u_s = \sqrt{q_{st}}\,\xi + \sqrt{q - q_{st}}\,\zeta_s`. Given :math:`\xi` they are independent, so an
expectation over any number of inputs is one integral over :math:`\xi` of a product of conditional moments.
Derivatives are smoothed by what is not shared, and read off :math:`\phi'` by partial integration: a kink is no
special case.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from math import comb

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import finite_number, variance
from ..activations import Activation, activation
from .quadrature import GAUSS_W, GAUSS_X, REACH, breaks, nodes, values
from .tables import check_range

__all__ = ["Conditional", "conditional", "inaccuracy"]

# Sixteen nodes resolve to rounding: a Gaussian on panels of that many of its standard deviations,
GAUSSIAN_PANEL = 3.0
# and products of four functions that a Gaussian has smoothed on panels of that many of its.
SMOOTHED_PANEL = 2.0
LAYER = np.arange(1.0, 10.0, SMOOTHED_PANEL)  # a smoothed kink is seen up to nine of them (1e-19 of the mass)
CUT = 1e-14  # largest share of an integrand at REACH: more, and it is cut off there
UNRESOLVED = 1e-10  # panels that narrow surround a singularity: what they hold is in doubt
PROMISED = 1e-11  # relative error above which the caller is told


class Conditional:
    r"""Moments of :math:`\phi` and its derivatives given the common factor.

    On nodes of that factor, :math:`\xi`.

    Attributes
    ----------
    q, q_st : float
        Variance of u, and its shared part.
    xi, weights : ndarray, shape (n,)
        Nodes of the standard normal factor and their weights, which sum to 1.
    error : float
        Estimated relative error of averages: the largest, of :math:`\phi^2`, :math:`\phi'^2`, :math:`\phi^4` and
        :math:`\phi'^4`, of the deviation from the integral over u and of the share of unresolved singularities.
    """

    def __init__(self, act: Activation, q: float, q_st: float):
        total, shared = variance("q", q), finite_number("q_st", q_st)
        if total == 0 or not 0 <= shared <= total:
            raise ValueError(
                f"`q_st` must lie in [0, q] and `q` be > 0, got q = {total:g}, q_st = {shared:g}; only inputs that are "
                "not negatively correlated share a factor."
            )
        if np.any(act.pieces.jumps[:, 0]):
            raise NoTheory(
                f"activation {act.label!r} jumps, so that its squared slope has no expectation; use a continuous one."
            )
        check_range(act, np.array(total))
        q, q_st = total, shared
        self.q, self.q_st, self._act = q, q_st, act
        self._own = np.sqrt(q - q_st)  # standard deviation of what is not shared
        edges = act.pieces.edges
        self.xi, self.weights = _outer_nodes(edges, act.pieces.breaks, np.sqrt(q_st), self._own)
        shared = np.sqrt(q_st) * self.xi
        self._zeta, self._density, counts = _inner_nodes(edges, shared, self._own)
        self._starts = np.cumsum(counts) - counts
        # Beyond the last panel phi is unknown, and nothing is left of the weight.
        self._u = np.clip(np.repeat(shared, counts) + self._own * self._zeta, edges[0], edges[-1])
        self._powers, self._slope_powers = (_powers(values(act, self._u, order)) for order in (0, 1))
        self._derivatives: dict[int, np.ndarray] = {}
        self.error = self._deviation()

    def __repr__(self) -> str:
        return f"Conditional({self._act.label!r}, q={self.q:.6g}, q_st={self.q_st:.6g}, {self.xi.size} nodes)"

    def moment(self, power: int, slope_power: int = 0, order: int = 0) -> np.ndarray:
        r""":math:`E[(\phi^j \phi'^k)^{(n)} | \xi]` on the nodes of :math:`\xi`.

        j = `power` and k = `slope_power` up to 4, n = `order`.

        .. math:: E[f^{(n)} | \xi] = (q - q_{st})^{-n/2}\, E[f(u)\, He_n(\zeta) | \xi].

        Raises
        ------
        ValueError
            n > 0 and q_st = q, where nothing smooths the derivative.
        """
        if order and self._own == 0:
            raise ValueError(
                f"`order` = {order}: at q_st = q nothing smooths this derivative of {self._act.label!r}; take q_st < q."
            )
        integrand = self._powers[power] * self._slope_powers[slope_power]
        return self._integrate(integrand * _hermite(order, self._zeta)) / self._own**order

    def derivative(self, order: int) -> np.ndarray:
        r""":math:`m_n(\xi) = E[\phi^{(n)} | \xi]`, shape (n,).

        .. math:: m_n = (q - q_{st})^{-(n-1)/2}\, E[\phi'(u)\, He_{n-1}(\zeta) | \xi], \qquad n \ge 1.

        Rounding grows like :math:`(1 - q_{st}/q)^{-(n-1)/2}`.

        Raises
        ------
        ValueError
            q_st = q, where nothing smooths the derivative, and n > 2, or n = 2 and phi' jumps.
        """
        if order not in self._derivatives:
            self._derivatives[order] = self._derivative(order)
        return self._derivatives[order]

    def average(self, conditional_values: np.ndarray) -> float:
        """Expectation over the common factor of values (n,) on its nodes."""
        return float(conditional_values @ self.weights)

    def product(self, first: int, second: int) -> float:
        r""":math:`E[\phi^{(m)}(u_s)\,\phi^{(n)}(u_t)]` of two different inputs.

        It is :math:`E[m_m m_n]`.

        Where most of the variance is shared, the order is shifted to the lower one by partial integration in
        the common factor, :math:`q_{st}^{k/2} E[(m_n^2)^{(k)}] = E[m_n^2\,He_k(\xi)]` with k = m - n and
        Leibniz' rule, which keeps the digits that high derivatives lose.
        """
        low, high = sorted((first, second))
        if low == high or self.q_st <= self.q / 2:
            return self.average(self.derivative(low) * self.derivative(high))
        k = high - low
        whole = self.average(self.derivative(low) ** 2 * _hermite(k, self.xi)) / self.q_st ** (k / 2)
        return (whole - sum(comb(k, j) * self.product(low + j, high - j) for j in range(1, k))) / 2

    def single(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray], order: int = 0) -> float:
        r""":math:`E[d^n f(\phi, \phi')/du^n] = E[f\,He_n(z)] / q^{n/2}` at one input."""
        z, weight = nodes(breaks(self._act, self.q))
        phi, slope = (values(self._act, np.sqrt(self.q) * z, i) for i in (0, 1))
        return float(weight @ (function(phi, slope) * _hermite(order, z))) / self.q ** (order / 2)

    def _derivative(self, order: int) -> np.ndarray:
        if order == 0:
            return self.moment(1)
        if self._own > 0 or order == 1:
            return self.moment(0, 1, order - 1)
        if order == 2 and not np.any(self._act.pieces.jumps[:, 1]):
            return self._integrate(values(self._act, self._u, 2))
        raise ValueError(
            f"`order` = {order}: at q_st = q nothing smooths this derivative of {self._act.label!r}; take q_st < q."
        )

    def _integrate(self, integrand: np.ndarray) -> np.ndarray:
        """Over what is not shared: values on all inner nodes to (n,)."""
        return np.add.reduceat(integrand * self._density, self._starts)

    def _deviation(self) -> float:
        edges = breaks(self._act, self.q)
        z, weight = nodes(edges)
        unresolved = np.repeat(np.diff(edges) < UNRESOLVED, GAUSS_X.size)
        worst = 0.0
        for order, inner in enumerate((self._powers, self._slope_powers)):
            for power in (2, 4):
                integrand = weight * values(self._act, np.sqrt(self.q) * z, order) ** power
                exact = integrand.sum()
                if integrand[[0, -1]].max() > CUT * exact:
                    raise NoTheory(
                        f"`q` = {self.q:g} is too large for fourth moments of {self._act.label!r}, which outgrows the "
                        "Gaussian weight; use smaller variances."
                    )
                if exact > 0:
                    deviation = abs(self.average(self._integrate(inner[power])) / exact - 1)
                    worst = max(worst, float(deviation), float(integrand[unresolved].sum() / exact))
        return worst


def conditional(phi: str | Callable | Activation, q: float, q_st: float) -> Conditional:
    r"""Integrals of an activation over what inputs do not share, given what they do.

    For :math:`u_s = \sqrt{q_{st}}\,\xi + \sqrt{q - q_{st}}\,\zeta_s` the result has, as functions of
    :math:`\xi`, the moments :math:`E[\phi^j \phi'^k|\xi]`, the derivatives :math:`E[\phi^{(n)}|\xi]`, and
    their averages.

    Parameters
    ----------
    phi : str, callable or Activation
        It must not jump.
    q, q_st : float
        Variance > 0 of a pre-activation, and covariance in [0, q] of those at two inputs.

    Returns
    -------
    Conditional

    Raises
    ------
    ValueError
        An activation that jumps, q or q_st out of range, or a variance at which the fourth moments are not
        covered.

    Warns
    -----
    RuntimeWarning
        The estimated relative error exceeds 1e-11 (singularities other than jumps of derivatives).

    Notes
    -----
    Accuracy: about 1e-13 relative for averages of moments; a derivative of order n loses a factor
    :math:`(1 - q_{st}/q)^{-(n-1)/2}` to rounding, `Conditional.product` at most the half of it.
    Gauss-Legendre panels end where phi breaks, and outer ones resolve the layers of width
    :math:`\sqrt{q - q_{st}}` into which what is not shared smears each break. Cost: a few milliseconds.

    Examples
    --------
    >>> import mfdnn
    >>> from mfdnn.gaussian.conditional import conditional
    >>> relu = conditional("relu", q=1.0, q_st=0.5)
    >>> slope = relu.derivative(1)  # probability that u > 0, given xi
    >>> round(relu.average(slope**2), 12)  # 1/4 + arcsin(c)/(2 pi)
    0.333333333333
    """
    act = activation(phi)
    result = Conditional(act, q, q_st)
    said = inaccuracy(act, result.q, result.q_st, result.error)
    if said:
        warnings.warn(said, RuntimeWarning, stacklevel=2)
    return result


def inaccuracy(act: Activation, q: float, q_st: float, error: float) -> str:
    """What there is to say of integrals with this relative error: nothing up to 1e-11."""
    if error <= PROMISED:
        return ""
    return (
        f"Integrals of {act.label!r} at q = {q:g}, q_st = {q_st:g} have relative errors of about {error:.1g}; name its "
        "kinks, or smooth its singularities."
    )


# -- implementation ------------------------------------------------------------------------------------------


def _powers(x: np.ndarray) -> list[np.ndarray]:
    """Powers 0 to 4."""
    square = x * x
    return [np.ones_like(x), x, square, square * x, square * square]


def _hermite(order: int, x: np.ndarray) -> np.ndarray:
    """He_n(x)."""
    if order == 0:
        return np.ones_like(x)
    before, now = np.ones(1), x
    for n in range(1, order):
        before, now = now, x * now - n * before
    return now


def _outer_nodes(
    edges: np.ndarray, breaks_at: np.ndarray, shared: float, own: float
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the common factor.

    Edges closer than what `own` smooths are merged.
    """
    if shared == 0:
        return np.zeros(1), np.ones(1)
    width = own / shared
    layers = (breaks_at / shared)[:, None] + width * np.concatenate([-LAYER, LAYER])
    all_edges = np.unique(np.concatenate([edges / shared, layers.ravel()]))
    inside = np.concatenate([all_edges[np.abs(all_edges) < REACH], [REACH]])
    kept = [-REACH]
    for edge, following in pairwise(inside):
        if following - kept[-1] > SMOOTHED_PANEL * width * (1 + 1e-9) and edge > kept[-1] + 1e-13:
            kept.append(edge)
    kept.append(REACH)
    left, size = _subdivide(np.array(kept[:-1]), np.diff(kept))
    return _gauss(left, size)


def _inner_nodes(
    edges: np.ndarray, shared: np.ndarray, own: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes zeta, weights and their numbers for every value of the shared part."""
    if own == 0:
        return np.zeros_like(shared), np.ones_like(shared), np.ones(shared.size, dtype=int)
    near = edges[(edges > shared.min() - REACH * own) & (edges < shared.max() + REACH * own)]
    at = np.clip((near - shared[:, None]) / own, -REACH, REACH)
    ends = np.full((shared.size, 1), REACH)
    at = np.concatenate([-ends, at, ends], axis=1)
    left, size = _subdivide(at[:, :-1], np.diff(at, axis=1))
    zeta, weight = _gauss(left, size)
    per_panel = np.ceil(np.diff(at, axis=1) / GAUSSIAN_PANEL).astype(int)
    return zeta, weight, GAUSS_X.size * per_panel.sum(axis=1)


def _subdivide(left: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split panels into parts no wider than `GAUSSIAN_PANEL`, without empty ones.

    Their left ends and sizes, flat.
    """
    parts = np.ceil(size / GAUSSIAN_PANEL).astype(int).ravel()
    part = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    size = np.repeat(size.ravel() / np.maximum(parts, 1), parts)
    return np.repeat(left.ravel(), parts) + part * size, size


def _gauss(left: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on panels, standard normal density included."""
    z = (left[:, None] + size[:, None] / 2 * (1 + GAUSS_X)).ravel()
    return z, (size[:, None] / 2 * GAUSS_W).ravel() * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)

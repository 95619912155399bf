"""Universality classes of criticality: where chi_perp = chi_par = 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .. import _compiled
from .._support.results import Result
from ..activations import Activation, activation
from ..activations.pieces import NODES, chebyshev_fit
from ..gaussian.quadrature import breaks, nodes
from ..gaussian.tables import tables
from .variances import PER_DECADE, bisect, has_jumps, slopes_at_zero, variance_fixed_points

__all__ = ["CLASSES", "UniversalityClass", "derivatives_at_zero", "universality_class"]

CLASSES = ("scale-invariant", "K* = 0", "half-stable", "none")
FLAT = 1e-10  # relative size of a Taylor coefficient that is rounding


@dataclass(frozen=True, repr=False, eq=False)
class UniversalityClass(Result):
    r"""Universality class of an activation at criticality.

    Attributes
    ----------
    name : str
        "scale-invariant", "K* = 0", "half-stable" or "none".
    sigma_w2, sigma_b2, q : float or None
        The critical variances (C_W, C_b) and the variance there (K*); None for "none". Every q is fixed in the
        scale-invariant class: q is None.
    a_1, b_1 : float or None
        :math:`\chi_\parallel` and :math:`\chi_\perp` near q = 0 without biases, at
        :math:`\sigma_w^2 = 2/(\phi'(0^-)^2 + \phi'(0^+)^2)`: the variance goes
        :math:`q \to q (1 + a_1 q^p + \dots)`, and :math:`\chi_1 = 1 + b_1 q^p + \dots`. None unless
        :math:`\phi(0) = 0 \ne \phi'(0)`.
    power : float or None
        p: 1 if :math:`\phi'` and :math:`\phi''` are continuous at zero, else 1/2; None if phi is linear around zero on
        either side (a_1 = b_1 = 0: slower than any power).
    """

    name: str
    sigma_w2: float | None = None
    sigma_b2: float | None = None
    q: float | None = None
    a_1: float | None = None
    b_1: float | None = None
    power: float | None = None


def universality_class(phi: str | Callable | Activation) -> UniversalityClass:
    r"""Where both susceptibilities are 1, and in which way an activation gets there.

    There neither the variance nor differences of signals change exponentially with depth.

    - "scale-invariant": :math:`\phi` is positively homogeneous; :math:`\sigma_b^2 = 0`,
      :math:`\sigma_w^2 = 2/(a_-^2 + a_+^2)`, every q is fixed.
    - "K* = 0": :math:`\phi(0) = 0`, :math:`\sigma_b^2 = 0`, :math:`\sigma_w^2 = 1/\phi'(0)^2`, and q = 0 attracts:
      :math:`q^l \to (-p\,a_1 l)^{-1/p}`. For smooth :math:`\phi`, p = 1 and, with Taylor coefficients
      :math:`s_k = \phi^{(k)}(0)`, :math:`a_1 = s_3/s_1 + \tfrac34 (s_2/s_1)^2` and :math:`b_1 = s_3/s_1 + (s_2/s_1)^2`.
      Where :math:`\phi'` or :math:`\phi''` jumps at zero (selu, elu), p = 1/2 and
      :math:`a_1 = b_1 = \sigma_w^2 \sqrt{2/\pi}\,(s_1^+ s_2^+ - s_1^- s_2^-)`.
    - "half-stable": a variance q > 0 with :math:`\chi_\perp = \sigma_w^2 E[\phi'^2] = 1` and
      :math:`\chi_\parallel = d(\sigma_w^2 E[\phi^2])/dq = 1`: :math:`E[\phi\phi''] = 0`. It attracts from one side
      only. The smallest one with :math:`\sigma_b^2 \ge 0`.
    - "none": softplus, sigmoid, activations that jump.

    An activation is given the first class of this list that it belongs to; gelu and silu also have a critical point at
    q = 0, which repels (a_1 > 0).

    Parameters
    ----------
    phi : str, callable or Activation

    Returns
    -------
    UniversalityClass

    Notes
    -----
    Accuracy about 1e-13 relative for the critical variances and 1e-9 for a_1 and b_1 (1e-7 for a callable whose
    derivative is not given).

    References
    ----------
    Roberts, Yaida & Hanin 2022, "The principles of deep learning theory", arXiv:2106.10165.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.universality_class("tanh")
    UniversalityClass(name='K* = 0', sigma_w2=1, sigma_b2=0, q=0, a_1=-2, b_1=-2, power=1)
    >>> mfdnn.universality_class("gelu")  # doctest: +NORMALIZE_WHITESPACE
    UniversalityClass(name='half-stable', sigma_w2=1.98306, sigma_b2=0.172922, q=3.56155, a_1=1.90986, b_1=2.54648,
                      power=1)
    """
    act = activation(phi)
    if act.homogeneous and any(act.homogeneous):
        slopes = np.array(act.homogeneous)
        return UniversalityClass("scale-invariant", float(2 / (slopes @ slopes)), 0.0)
    if has_jumps(act):
        return UniversalityClass("none")
    near_zero: tuple[float | None, float | None, float | None] = None, None, None
    near = derivatives_at_zero(act)
    if tables(act).moments.origin == 0 and np.any(near[:, 0]):
        near_zero = _expansion(near)
        slopes = slopes_at_zero(act)
        weight = float(2 / (slopes @ slopes))
        if variance_fixed_points(act, weight, 0.0).stable[0]:
            return UniversalityClass("K* = 0", weight, 0.0, 0.0, *near_zero)
    found = _half_stable(act)
    if found is None:
        return UniversalityClass("none", None, None, None, *near_zero)
    return UniversalityClass("half-stable", *found, *near_zero)


# -- implementation ------------------------------------------------------------------------------------------


def derivatives_at_zero(act: Activation) -> np.ndarray:
    """The limits of phi', phi'', phi''' at zero, from left and right: (2, 3).

    What is rounding is zero, or equal on both sides.
    """
    pieces = act.pieces
    own = act._derivative is not None
    function = act.slope if own else act
    smooth = not np.any(pieces.breaks == 0.0)
    reach = 1.0
    while reach > 1e-3:
        spans = [(-reach, reach)] if smooth else [(-reach, 0.0), (0.0, reach)]
        inside = np.any((np.abs(pieces.breaks) < reach) & (pieces.breaks != 0.0))
        fits = [chebyshev_fit(function((a + b) / 2 + (b - a) / 2 * NODES)) for a, b in spans]
        if not inside and all(np.abs(fit[-3:]).max() <= 1e-13 * np.abs(fit).max() for fit in fits):
            break
        reach /= 2
    out = []
    for (a, b), fit, at in zip(spans, fits, [0.0] if smooth else [1.0, -1.0], strict=True):
        orders = np.arange(3) if own else np.arange(1, 4)
        half = (b - a) / 2
        series = [np.polynomial.chebyshev.chebder(fit, int(k)) for k in orders]
        out.append(
            [np.polynomial.chebyshev.chebval(at, s) / half**k for s, k in zip(series, orders, strict=True)]
        )
    found = np.array(out * 2 if smooth else out)
    found[np.abs(found) <= FLAT * np.abs(found).max()] = 0.0
    same = np.abs(found[0] - found[1]) <= FLAT * np.abs(found).max()
    found[:, same] = found[:, same].mean(axis=0)
    return found


def _expansion(near: np.ndarray) -> tuple[float, float, float | None]:
    """a_1, b_1 and the power p of q to which they belong."""
    (l1, l2, l3), (r1, r2, r3) = near
    gain = 2 / (l1**2 + r1**2)
    bent = gain * np.sqrt(2 / np.pi) * (r1 * r2 - l1 * l2)
    if l1 != r1 or l2 != r2:
        if abs(bent) > FLAT:
            return float(bent), float(bent), 0.5
    # E[phi^2] = q E[s_1^2] + q^2 E[3 (s_2^2/4 + s_1 s_3/3)], E[phi'^2] = E[s_1^2] + q E[s_2^2 + s_1 s_3], means over
    # the two sides of zero.
    cross, square = (l1 * l3 + r1 * r3) / 2, (l2**2 + r2**2) / 2
    a_1, b_1 = gain * (cross + 0.75 * square), gain * (cross + square)
    power = 1.0 if abs(a_1) > FLAT or abs(b_1) > FLAT else None
    return float(a_1), float(b_1), power


def _half_stable(act: Activation) -> tuple[float, float, float] | None:
    """C_W, C_b, K* of the smallest variance where chi_par = chi_perp = 1, C_b >= 0."""
    table = tables(act).moments
    q = np.geomspace(table.low, table.high, int(PER_DECADE * np.log10(table.high / table.low)))
    second, slope2, rate, _ = _compiled.table_moments(table, q)
    rounding = 1e-11 * (slope2 + second / q)  # of the table: no change of sign
    sign = np.where(np.abs(rate - slope2) <= rounding, 0, np.sign(rate - slope2))

    def moments(q: float) -> tuple[float, float, float]:
        z, weight = nodes(breaks(act, q))
        x = np.sqrt(q) * z
        square = weight * act(x) ** 2
        return float(square.sum()), float(weight @ act.slope(x) ** 2), float(square @ (z**2 - 1)) / (2 * q)

    def excess(q: float) -> float:
        _, slope2, rate = moments(q)
        return rate - slope2

    moving = np.flatnonzero(sign)
    for i, j in pairwise(moving):
        if j == i + 1 and sign[i] != sign[j]:
            root = bisect(excess, q[i], q[j])
            second, slope2, _ = moments(root)
            if root >= second / slope2:
                return 1 / slope2, root - second / slope2, root
    return None

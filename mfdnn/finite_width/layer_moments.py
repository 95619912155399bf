"""Numbers that the recursion over layers needs to know of an activation."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..activations import Activation
from ..gaussian.conditional import Conditional

__all__ = ["LayerMoments", "layer_moments"]


class LayerMoments(NamedTuple):
    r"""Gaussian moments of the units of a layer, at one input s and at two s, t.

    Fields that are pairs belong to :math:`\phi` and to :math:`\phi'`: with x one of them, and
    :math:`E_{mn} = E[x^{(m)}(u_s)\, x^{(n)}(u_t)]`,

    Attributes
    ----------
    one, two : (2,) array
        :math:`E[x^2]`, :math:`E_{00}`.
    one_by_variance, two_by_variance, two_by_covariance : (2,) array
        Their derivatives: :math:`E[(x^2)'']/2` by K_ss; :math:`E_{20}/2` by K_ss; :math:`E_{11}` by K_st.
    one_curvature : (2,) array
        :math:`E[(x^2)'''']`.
    curvature : (2, 3) array
        :math:`E_{40}, E_{31}, E_{22}`.
    quartic : (3,) array
        :math:`E[\phi_s^4], E[\phi_s^3\phi_t], E[\phi_s^2\phi_t^2]`.
    features_one, features : float, (2, 2) array
        :math:`E[\phi^2\phi'^2]`; :math:`E[\phi'_s\phi'_t\phi_a\phi_b]` with a, b = s, t.
    pull_one, pull : float, (2, 2) array
        :math:`E[(\phi\phi')']`; :math:`E[\partial_{a'}(\phi'_s\phi_a)]` as [a', a], a', a = s, t. Seen from t both
        indices are exchanged.
    slopes : (9,) array
        :math:`E[\phi'_s\phi'_t\phi'_{s'}\phi'_{t'}]` by pattern (`recursion._ACROSS`).
    common, own, pair : (4, 4), (4, 4), (2, 2) array
        Covariance over units of :math:`\phi_s^2, \phi'^2_s, \phi_s\phi_t, \phi'_s\phi'_t` (pair: the last two):
        of what all inputs have in common, of what belongs to one, of what belongs to a pair.
    common_quartic : (4, 4) array
        How `common` grows with the fourth cumulant of the common factor, to first order.
    growth : float
        :math:`d \log E[\phi^2] / d \log K_{ss}`: 1 for what is linear in its size, 2 for a square.
    error : float
        Estimated relative error, of which `inaccuracy` is what to say.
    """

    one: np.ndarray
    two: np.ndarray
    one_by_variance: np.ndarray
    two_by_variance: np.ndarray
    two_by_covariance: np.ndarray
    one_curvature: np.ndarray
    curvature: np.ndarray
    quartic: np.ndarray
    features_one: float
    features: np.ndarray
    pull_one: float
    pull: np.ndarray
    slopes: np.ndarray
    common: np.ndarray
    common_quartic: np.ndarray
    own: np.ndarray
    pair: np.ndarray
    growth: float
    error: float


@lru_cache(maxsize=64)  # widths do not enter: a search over them integrates once
def layer_moments(act: Activation, q: float, q_st: float) -> LayerMoments:
    """Moments of pre-activations of variance q > 0 and covariance 0 <= q_st < q."""
    given = Conditional(act, q, q_st)
    average, single, product = given.average, given.single, given.product
    c = {(j, k): given.moment(j, k) for j in range(5) for k in range(5 - j)}
    m0, m1 = given.derivative(0), given.derivative(1)
    squares = (lambda f, g: f * f), (lambda f, g: g * g)
    e20, e11, e22, e31 = product(2, 0), average(m1 * m1), product(2, 2), product(3, 1)
    pull_one = single(lambda f, g: f * g, 1)
    one, by_variance = np.array([average(c[2, 0]), average(c[0, 2])]), np.array([single(f, 2) for f in squares]) / 2
    common, common_quartic = _common(given, np.array([c[2, 0], c[0, 2], m0 * m0, m1 * m1]))
    two_slopes, four_slopes = average(c[0, 2] * m1**2), average(m1**4)
    same, crossed = average(c[2, 1] * m1), average(c[1, 1] ** 2)
    return LayerMoments(
        one=one,
        two=np.array([average(m0 * m0), e11]),
        one_by_variance=by_variance,
        two_by_variance=np.array([e20, e31]) / 2,
        two_by_covariance=np.array([e11, e22]),
        one_curvature=np.array([single(square, 4) for square in squares]),
        curvature=np.array([[product(4, 0), e31, e22], [product(5, 1), product(4, 2), product(3, 3)]]),
        quartic=np.array([average(c[4, 0]), average(c[3, 0] * m0), average(c[2, 0] ** 2)]),
        features_one=average(c[2, 2]),
        features=np.array([[same, crossed], [crossed, same]]),
        pull_one=pull_one,
        pull=np.array([[pull_one, e20], [0.0, e11]]),
        # distinct; s = s'; s = t'; s = t; s = s', t = t'; s = t', t = s'; s = t, s' = t'; three equal; all equal
        slopes=np.array(
            [four_slopes]
            + [two_slopes] * 3
            + [average(c[0, 2] ** 2)] * 3
            + [average(c[0, 3] * m1), average(c[0, 4])]
        ),
        common=common,
        common_quartic=common_quartic,
        own=_own(given, c, m0, m1),
        pair=_pair(given, c, m0, m1),
        growth=float(q * by_variance[0] / one[0]) if one[0] > 0 else 0.0,
        error=given.error,
    )


def _common(given: Conditional, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance over the common factor of means given it, and its growth.

    The growth is that with the fourth cumulant of the common factor, to first order.
    """
    centred = means - (means @ given.weights)[:, None]
    covariance = (centred * given.weights) @ centred.T
    if given.q_st**2 == 0:  # or too small to be squared
        return covariance, np.zeros_like(covariance)
    # E[f] grows by 1/24 of the mean fourth derivative, E[f He_4] / q_st^2
    fourth = given.xi**4 - 6 * given.xi**2 + 3
    return covariance, (centred * given.weights * fourth) @ centred.T / (24 * given.q_st**2)


def _own(given: Conditional, c: dict, m0: np.ndarray, m1: np.ndarray) -> np.ndarray:
    """Mean conditional covariance of phi_s^2, phi'_s^2, m_0 phi_s, m_1 phi'_s."""
    # Each is a power of phi_s, a power of phi'_s, and a factor that s does not change.
    unit = np.ones_like(m0)
    parts = [(2, 0, unit), (0, 2, unit), (1, 0, m0), (0, 1, m1)]
    covariance = np.empty((4, 4))
    for a, (j, k, x) in enumerate(parts):
        for b, (m, n, y) in enumerate(parts):
            covariance[a, b] = given.average(x * y * (c[j + m, k + n] - c[j, k] * c[m, n]))
    return covariance


def _pair(given: Conditional, c: dict, m0: np.ndarray, m1: np.ndarray) -> np.ndarray:
    """Mean squares of conditional covariances.

    They are the part of (phi_s phi_t, phi'_s phi'_t) that belongs to s and t together.
    """
    off = given.average((c[1, 1] - m0 * m1) ** 2)
    return np.array(
        [[given.average((c[2, 0] - m0 * m0) ** 2), off], [off, given.average((c[0, 2] - m1 * m1) ** 2)]]
    )

"""Length and curvature of a curve of inputs on its way through the layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._support.results import Result
from .._support.validation import checked, variance
from ..activations import Activation, activation
from ..gaussian.matrices import moments
from ..gaussian.quadrature import second_moment
from ..gaussian.tables import tables
from .fixed_points import asymptotic_slopes, fixed_point
from .maps import trajectory
from .variances import outgrows_lines

__all__ = ["CurveGeometry", "curve_geometry"]


@dataclass(frozen=True, repr=False, eq=False)
class CurveGeometry(Result):
    r"""A circle of inputs layer by layer: arrays of shape (depth + 1,).

    They begin with the first pre-activation. For a curve :math:`h(\theta)` of N pre-activations with velocity v and
    acceleration a.

    Attributes
    ----------
    q
        Variance, :math:`|h|^2/N`.
    g
        Metric, :math:`|v|^2/N`: the curve has length :math:`2\pi\sqrt{N g}`.
    kappa2
        Squared curvature times N: :math:`N (|v|^2 |a|^2 - (v \cdot a)^2)/|v|^6`.
    g_grassmann
        Metric of its tangent direction, :math:`\kappa^2 g`: length :math:`2\pi\sqrt{g_G}`.
    chi_1, chi_2
        :math:`\sigma_w^2 E[\phi'^2]` and :math:`\sigma_w^2 E[\phi''^2]` at q; chi_2 is inf where :math:`\phi'` jumps.
    """

    q: np.ndarray
    g: np.ndarray
    kappa2: np.ndarray
    g_grassmann: np.ndarray
    chi_1: np.ndarray
    chi_2: np.ndarray


def curve_geometry(
    phi: str | Callable | Activation, sigma_w2: float, sigma_b2: float, depth: int, q0: float | None = None
) -> CurveGeometry:
    r"""Length and curvature of a circle of inputs through `depth` layers.

    The circle :math:`h^0(\theta) = \sqrt{N q_0}\,(u_0 \cos\theta + u_1 \sin\theta)` has g = q0 and
    :math:`\kappa^2 = 1/q_0`. Then

    .. math:: g^{l+1} = \chi_1 g^l, \qquad
              (\kappa^2)^{l+1} = \frac{3\chi_2}{\chi_1^2} + \frac{(\kappa^2)^l}{\chi_1}, \qquad
              g_G^{l+1} = g_G^l + \frac{3\chi_2}{\chi_1} g^l

    with :math:`\chi_1, \chi_2` at :math:`q^l`. They hold layer by layer, at the fixed point or not: along the circle
    the variance is constant, so v is independent of h and of a, :math:`E[h a] = -g`, and in
    :math:`|a^{l+1}|^2/N = \sigma_w^2 E[(\phi'' v^2 + \phi' a)^2]` the terms with :math:`\phi' \phi''` cancel.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    depth : int
        Number of layers after the first.
    q0 : float, optional
        Variance of the circle. Default: the fixed point q* reached from 1.

    Returns
    -------
    CurveGeometry
        What leaves the range of floating point is inf or 0. Where :math:`\phi'` jumps (relu), the curve has corners
        after the first layer and kappa2 is inf.

    Raises
    ------
    ValueError
        Negative variances or depth, ``q0 <= 0``, no positive finite q* and no `q0`.

    Notes
    -----
    In the chaotic phase lengths grow as :math:`\chi_1^{l/2}` while kappa2 tends to
    :math:`3\chi_2/(\chi_1 (\chi_1 - 1))`. Cost: about 0.2 ms per distinct variance.

    References
    ----------
    Poole, Lahiri, Raghu, Sohl-Dickstein & Ganguli 2016, arXiv:1606.05340.

    Examples
    --------
    >>> import mfdnn
    >>> circle = mfdnn.curve_geometry("tanh", 6.25, 0.09, depth=10)
    >>> circle.g[[0, 1, 10]].round(3), circle.kappa2[[0, 1, 10]].round(3)
    (array([  4.079,   6.466, 408.767]), array([0.245, 1.583, 3.832]))
    """
    act = activation(phi)
    w2, b2 = variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2)
    if q0 is None:
        q0 = fixed_point(act, w2, b2).q
        if not 0 < q0 < np.inf:
            raise ValueError(
                f"`q0` is needed: with sigma_w2 = {w2:g}, sigma_b2 = {b2:g} q* = {q0:g}; pass q0 > 0."
            )
    n = checked(depth=depth)
    q = trajectory(act, w2, b2, n, q0=q0).q
    chi_1, chi_2 = _slopes(act, w2, q)
    smooth = not np.any(act.pieces.jumps[:, :2] != 0)
    g, kappa2, grassmann = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    g[0], kappa2[0], grassmann[0] = q0, 1 / q0, 1.0
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        for layer in range(n):
            one, two = chi_1[layer], chi_2[layer]
            g[layer + 1] = one * g[layer] if one > 0 and g[layer] > 0 else 0.0
            # A straight line stays one; a curve that shrinks to a point has no finite curvature.
            bent = 3 * two / one if 0 < two < np.inf else two
            if one == np.inf and smooth:  # E[phi''^2] stays below E[phi'^2]^2
                kappa2[layer + 1] = 0.0
            else:
                kappa2[layer + 1] = (bent + kappa2[layer]) / one if two < np.inf else np.inf
            grassmann[layer + 1] = grassmann[layer] + (bent * g[layer] if bent > 0 and g[layer] > 0 else 0.0)
    return CurveGeometry(q, g, kappa2, grassmann, chi_1, chi_2)


def _slopes(act: Activation, w2: float, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """chi_1 and chi_2 at every variance; beyond the tables their limits at large ones."""
    at, inverse = np.unique(np.minimum(q, tables(act).q_max), return_inverse=True)
    if w2 == 0:
        return np.zeros(q.shape), np.zeros(q.shape)
    chi_1 = (w2 * moments(act, at)[2])[inverse]
    beyond = q > tables(act).q_max
    ends = asymptotic_slopes(act)
    if ends is not None:
        chi_1[beyond] = w2 * (ends[0] ** 2 + ends[1] ** 2) / 2
    elif outgrows_lines(tables(act).moments):
        chi_1[beyond] = np.inf
    if np.any(act.pieces.jumps[:, :2] != 0):
        return chi_1, np.full(q.shape, np.inf)
    chi_2 = w2 * np.array([second_moment(act, v, 2) for v in at])[inverse]
    if ends is not None:
        chi_2[beyond] = 0.0
    elif outgrows_lines(tables(act).moments):
        chi_2[beyond] = np.inf
    return chi_1, chi_2

"""How two inputs of a deep network approach their final correlation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._support.results import Result
from .._support.validation import finite_number, variance
from ..activations import Activation, activation
from ..gaussian.quadrature import breaks, nodes
from .fixed_points import EDGE, asymptotic_slopes, fixed_point
from .universality import derivatives_at_zero

__all__ = ["CorrelationDecay", "correlation_decay"]

KINDS = {
    "exponential": "|c^l - c*| ~ exp(-l/xi_c)",
    "1/l": "1 - c^l ~ coefficient/l",
    "1/l^2": "1 - c^l ~ coefficient/l^2",
    "power": "c^l - c* ~ l^-exponent, with a factor that depends on the start",
    "frozen": "c^l tends to a limit that depends on the start",
}


@dataclass(frozen=True, repr=False, eq=False)
class CorrelationDecay(Result):
    """Decay law of the correlation of two inputs with depth.

    Attributes
    ----------
    kind : str
        A key of `mfdnn.phase.decay.KINDS`: "exponential", "1/l", "1/l^2", "power" or "frozen".
    c : float or None
        The limit c*; None if it may depend on the start ("frozen").
    xi_c : float
        Depth scale in layers; inf unless exponential.
    coefficient : float or None
        Factor of the power law; None where there is none, or where it depends on the start.
    exponent : float or None
        Power of 1/l; None if the decay is exponential or the power is not known, 0 if there is no decay.
    """

    kind: str
    c: float | None
    xi_c: float = np.inf
    coefficient: float | None = None
    exponent: float | None = None


FROZEN = CorrelationDecay("frozen", None, exponent=0.0)


def correlation_decay(
    phi: str | Callable | Activation, sigma_w2: float, sigma_b2: float, q0: float = 1.0
) -> CorrelationDecay:
    r"""Law by which the correlation of two inputs approaches its limit in depth.

    Off the edge of chaos it is exponential, with depth scale xi_c. On it, near c = 1,

    - :math:`1 - c \to (1 - c) - \tfrac12 \sigma_w^2 q E[\phi''^2] (1 - c)^2` where :math:`\phi'` is continuous, so
      :math:`1 - c^l \sim \beta_q/l` with :math:`\beta_q = 2 E[\phi'^2]/(q E[\phi''^2])`;
    - :math:`1 - c \to (1 - c) - A (1 - c)^{3/2}` where :math:`\phi'` jumps: u and v lie on two sides of a kink x with
      probability :math:`2 p_q(x) \sqrt{q (1 - c)/\pi}`, hence
      :math:`A = \tfrac43 \sigma_w^2 \sqrt{q/\pi} \sum_j p_q(x_j) J_j^2/2` for jumps J and Gaussian density p, and
      :math:`1 - c^l \sim 4/(A l)^2`: :math:`9\pi^2/2` over :math:`l^2` for relu, times
      :math:`((1 + a^2)/(1 - a)^2)^2` for leaky_relu of slope a.

    At the critical point without biases of the K* = 0 class the variance vanishes as well, and phi becomes linear
    before the correlation has gone anywhere: it is "frozen". If :math:`\phi''(0) = s_2 \ne 0` it goes to 1/2 instead,
    as :math:`c \to c + q (s_2/s_1)^2 (1 - c)(1 - 2c)/4`. With a kink at zero it keeps its :math:`1/l^2`.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    q0 : float
        Variance of the first pre-activation: it matters where there are several fixed points.

    Returns
    -------
    CorrelationDecay

    Raises
    ------
    ValueError
        Negative or non-finite variances, ``q0 <= 0``.

    Notes
    -----
    At the fixed variance q*: where the variance itself converges more slowly (xi_q > xi_c) and c* < 1, the correlation
    follows it. At a half-stable point, where q - q* falls as 1/l too and moves chi_1, the coefficient is None.

    An unbounded variance has the law of the asymptotes of phi. Where it grows by the biases alone, at critical weights,
    :math:`1 - c^l \sim 1/(A l)^2` for scale-invariant activations (a quarter of the above; 1/l for linear); for others
    exponent and coefficient, which depend on how phi approaches its asymptotes, are None. Within 1e-9 of chi_1 = 1
    counts as the edge.

    References
    ----------
    Hayou, Doucet & Rousseau 2019, arXiv:1902.06853 (smooth and relu-like activations); the other cases were derived
    and checked by iterating the map to l = 1e5.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.correlation_decay("relu", 2.0, 0.0)  # 9 pi^2/2
    CorrelationDecay(kind='1/l^2', c=1, xi_c=inf, coefficient=44.4132, exponent=2)
    >>> mfdnn.correlation_decay("tanh", 2.0, 0.05).kind
    'exponential'
    """
    act = activation(phi)
    w2, b2 = variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2)
    fp = fixed_point(act, w2, b2, q0=finite_number("q0", q0))
    if fp.phase == "unbounded":
        ends = act.homogeneous or asymptotic_slopes(act)
        if ends is None or fp.chi_c != 1:
            return CorrelationDecay("exponential", fp.c, fp.xi_c)
        return _unbounded(ends, abs(fp.chi_1 - 1) <= EDGE and b2 > 0, bool(act.homogeneous))
    if fp.phase != "critical":
        return CorrelationDecay("exponential", fp.c, fp.xi_c)
    if fp.q == 0:
        return _vanishing(act)
    # Else q - q* ~ 1/l moves the slope chi_1 by as much as the law does.
    settles = fp.xi_q < np.inf or fp.status == "scale_invariant"
    bend = _bend(act, w2, fp.q)
    if bend > 0:
        return CorrelationDecay("1/l^2", 1.0, np.inf, 4 / bend**2 if settles else None, 2.0)
    z, weight = nodes(breaks(act, fp.q))
    curvature = w2 * fp.q * float(weight @ act.pieces.evaluate(np.sqrt(fp.q) * z, 2) ** 2)
    if curvature <= act.pieces.slope_noise**2:  # a straight line
        return FROZEN
    return CorrelationDecay("1/l", 1.0, np.inf, 2 / curvature if settles else None, 1.0)


def _bend(act: Activation, w2: float, q: float) -> float:
    """A, the factor of (1 - c)^(3/2) that kinks take from 1 - c in a layer."""
    x, jumps = act.pieces.breaks, act.pieces.jumps[:, 1]
    density = np.exp(-0.5 * x**2 / q) / np.sqrt(2 * np.pi * q)
    return float(2 / 3 * w2 * np.sqrt(q / np.pi) * density @ jumps**2)


def _unbounded(ends: tuple[float, float], linearly: bool, exactly: bool) -> CorrelationDecay:
    """The law of a variance that grows without bound.

    Where weights are critical it grows by biases alone, `linearly` in l. Then they take 1/l of 1 - c in layer l: for D
    = l (1 - c) the step -A (1 - c)^(3/2) becomes -A D^(3/2) l^(-1/2), and 1 - c ~ 1/(A l)^2. A straight line leaves D
    constant. Asymptotes that phi only approaches let the variance grow by terms of the order of its root as well.
    """
    law = _kinked_at_zero(*ends)
    if not linearly:
        return law
    if not exactly:
        return CorrelationDecay("power", None if law.kind == "frozen" else 1.0)
    if law.coefficient is None:
        return CorrelationDecay("1/l", 1.0, exponent=1.0)
    return CorrelationDecay("1/l^2", 1.0, np.inf, law.coefficient / 4, 2.0)


def _kinked_at_zero(low: float, high: float) -> CorrelationDecay:
    """The law of the positively homogeneous function with these slopes."""
    if low == high:
        return FROZEN
    ratio = (low**2 + high**2) / (high - low) ** 2
    return CorrelationDecay("1/l^2", 1.0, np.inf, float(9 * np.pi**2 / 2 * ratio**2), 2.0)


def _vanishing(act: Activation) -> CorrelationDecay:
    """The law where the variance vanishes with depth, at the slope of phi at zero."""
    (l1, l2, l3), (r1, r2, r3) = derivatives_at_zero(act)
    if l1 != r1:
        return _kinked_at_zero(l1, r1)
    if l2 != r2 or l2 == 0:
        # The steps of c sum up: they are O(q) with q ~ 1/l^2 if phi'' jumps, else O(q^2) with q ~ 1/l or, where phi is
        # linear up to kinks elsewhere, O(dq/dl).
        return FROZEN
    square = (l2 / l1) ** 2
    a_1 = (l3 + r3) / (2 * l1) + 0.75 * square
    return CorrelationDecay("power", 0.5, exponent=float(-square / (4 * a_1)))

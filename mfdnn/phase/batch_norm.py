"""Deep networks with batch norm: what a batch becomes, how gradients explode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.errors import OutOfRange
from .._support.results import Result
from .._support.validation import finite_number, positive_integer
from ..activations import Activation, activation
from .variances import has_jumps

__all__ = ["BatchNormFixedPoint", "batch_norm_fixed_point"]

NODES = 48  # Gauss-Legendre nodes of a panel
REACH = 9.0  # standard deviations to integrate over: beyond lies exp(-40)
PANELS = 6  # between the ends, besides the kinks
ROUNDING = 1e-12  # of a variance, relative to the second moment it is a difference of

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, repr=False, eq=False)
class BatchNormFixedPoint(Result):
    r"""Where a batch settles in a deep network with batch norm in every layer.

    The norm stands before every activation. The fixed point is reached from any batch.

    Attributes
    ----------
    q : float
        :math:`E[\phi(z_s)^2]`, mean square of an activation.
    c : float
        :math:`E[\phi(z_s)\,\phi(z_t)]/q` for two samples of a batch.
    gradient_growth : float
        Factor by which the *squared* norm of gradients grows with every layer on the way back, 1.467 for relu in large
        batches.
    batch_size : int or None
        B; None: infinite.
    """

    q: float
    c: float
    gradient_growth: float
    batch_size: int | None

    @property
    def gradient_growth_norm(self) -> float:
        """Growth of the norm of gradients per layer: the root of `gradient_growth`."""
        return float(np.sqrt(self.gradient_growth))

    @property
    def xi_grad(self) -> float:
        """Depth scale of the squared gradient in layers, negative where it grows.

        It is inf where the gradient does not grow: for a linear phi in an infinite batch.
        """
        rate = np.log(self.gradient_growth)
        return float(-1 / rate) if abs(rate) > ROUNDING else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """All fields and properties as plain Python."""
        rest = {"gradient_growth_norm": self.gradient_growth_norm, "xi_grad": self.xi_grad}
        return {**super().to_dict(), **rest}


def batch_norm_fixed_point(
    phi: str | Callable | Activation, batch_size: int | None = None, *, gamma: float = 1.0, beta: float = 0.0
) -> BatchNormFixedPoint:
    r"""Fixed point and gradient explosion where batch norm precedes every activation.

    Weights scale out and biases are subtracted, so neither matters. A normalised batch of B samples is uniform on the
    sphere of radius :math:`\sqrt B` in the B - 1 dimensions orthogonal to 1. With :math:`\phi` standing for
    :math:`\phi(\gamma z + \beta)`, squared gradients grow per layer by

    .. math::
        \frac{E[(B - 1 - z_1^2)\,\phi'(z_1)^2 + (1 + z_1 z_2)\,\phi'(z_1)\,\phi'(z_2)]}{(B - 3)\,q\,(1 - c)}.

    ========  ==============================================  ===================  ===============
    phi       growth of squared gradients, x = -1/(B - 1)     B to infinity        q, c
    ========  ==============================================  ===================  ===============
    linear    (B - 2)/(B - 3)                                 1                    1, x
    relu      (B - 2 + J(x) + J'(x))/((B - 3)(1 - J(x)))      pi/(pi - 1) = 1.467  1/2, J(x)
    any                                                       E[phi'^2]/Var[phi]   (B infinite)
    ========  ==============================================  ===================  ===============

    with :math:`J(x) = (\sqrt{1 - x^2} + (\pi - \arccos x)\,x)/\pi`. It is above 1 for every phi but a linear one in an
    infinite batch. Often quoted is 1.21, the growth for relu of the norm itself.

    Parameters
    ----------
    phi : str, callable or Activation
    batch_size : int, optional
        B >= 4: for three samples the mean square of the gradient is infinite. Default: infinite.
    gamma, beta : float
        Gain and offset.

    Returns
    -------
    BatchNormFixedPoint

    Raises
    ------
    ValueError
        `batch_size` < 4, an activation that jumps, or one that is constant on a batch.

    Examples
    --------
    >>> import mfdnn
    >>> fp = mfdnn.batch_norm_fixed_point("relu")
    >>> round(fp.gradient_growth, 6), round(fp.gradient_growth_norm, 6)
    (1.466942, 1.211174)
    >>> round(mfdnn.batch_norm_fixed_point("relu", 8).gradient_growth, 4)
    1.7882

    Notes
    -----
    Accuracy: 1e-10 for built-in activations and gains up to 10, by quadrature in panels split at the kinks. Cost:
    milliseconds.

    References
    ----------
    Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz 2019, "A mean field theory of batch normalization",
    arXiv:1902.08129.
    """
    act = activation(phi)
    gain, offset = finite_number("gamma", gamma), finite_number("beta", beta)
    size = None if batch_size is None else positive_integer("batch_size", batch_size, 4)
    if has_jumps(act):
        raise ValueError(
            f"`phi` must be continuous, got {act.label!r}: its gradients are infinite; take another."
        )

    def value(z: np.ndarray) -> np.ndarray:
        return act(gain * z + offset)

    def slope(z: np.ndarray) -> np.ndarray:
        return gain * act.slope(gain * z + offset)

    kinks = np.array([(kink - offset) / gain for kink in act.kinks]) if gain else np.empty(0)
    z, weight, inner = _nodes(kinks, size)
    with np.errstate(over="ignore", invalid="ignore"):  # said below, in one sentence
        q = float(weight @ value(z) ** 2)
        product = float(weight @ (value(z) * inner(value)))
    if not np.isfinite(q):
        raise OutOfRange(f"The variance behind {act.label!r} is infinite", "pass a smaller `gamma` or `beta`")
    if q - product <= ROUNDING * q:
        raise ValueError(
            f"`phi` must not be constant on a batch, got {act.label!r} with gamma={gain:g}; change them."
        )
    slope_2 = slope(z) ** 2
    if size is None:
        growth = weight @ slope_2
    else:
        both = slope(z) * inner(slope) + z * slope(z) * inner(lambda x: x * slope(x))
        growth = weight @ ((size - 1 - z**2) * slope_2 + both) / (size - 3)
    return BatchNormFixedPoint(q, product / q, float(growth) / (q - product), size)


def _nodes(
    kinks: np.ndarray, size: int | None
) -> tuple[np.ndarray, np.ndarray, Callable[[Function], np.ndarray]]:
    r"""Nodes and weights (n,) of z_1, and the mean of a function of z_2 given z_1.

    With unit vectors u in n = B - 1 dimensions, :math:`z_1 = \sqrt n\,u_1` has the density
    :math:`(1 - u_1^2)^{(n - 3)/2}`, and :math:`z_2 = x z_1 + \sqrt{1 - x^2}\,\sqrt{n - z_1^2}\,v`, x = -1/n, has v as
    a unit vector's component in n - 1 dimensions.
    """
    if size is None:
        z, weight = _panels(kinks[None], REACH, lambda x: np.exp(-(x**2) / 2))
        z, weight = z[0], weight[0]
        return z, weight, lambda f: np.full_like(z, weight @ f(z))
    n = size - 1
    with np.errstate(divide="ignore"):
        # Where a kink enters the range of z_2 the conditional mean is singular too.
        root = np.sqrt(np.maximum((1 - 1 / n**2) * (n - kinks**2), 0))
        singular = np.concatenate([kinks, -kinks / n - root, -kinks / n + root])
        angle, weight = _sphere(singular[None] / np.sqrt(n), n)
        z, weight = np.sqrt(n) * angle[0], weight[0]
        spread = np.sqrt(1 - 1 / n**2) * np.sqrt(n - z**2)[:, None]
        breaks = (kinks[None] + z[:, None] / n) / spread
    v, conditional = _sphere(breaks, n - 1)
    z_2 = spread * v - z[:, None] / n
    return z, weight, lambda f: np.sum(conditional * f(z_2), axis=1)


def _sphere(breaks: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of one component of a random unit vector in n >= 2 dimensions.

    It is the sine of an angle whose density is cos^(n - 2).
    """
    reach = min(np.pi / 2, REACH / np.sqrt(n))
    angle, weight = _panels(np.arcsin(np.clip(breaks, -1, 1)), reach, lambda x: np.cos(x) ** (n - 2))
    return np.sin(angle), weight


def _panels(breaks: np.ndarray, reach: float, density: Function) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre panels of [-reach, reach], split at each row of breaks (m, k).

    Returns nodes (m, n), and weights (m, n) of sum 1.
    """
    even = np.linspace(-reach, reach, PANELS + 1)
    inside = np.clip(breaks, -reach, reach)
    ends = np.sort(np.concatenate([np.tile(even, (len(breaks), 1)), inside], axis=1), axis=1)
    t, w = np.polynomial.legendre.leggauss(NODES)
    x, w = np.sin(np.pi / 2 * t), np.pi / 2 * np.cos(np.pi / 2 * t) * w  # dissolves roots at the ends
    half, middle = np.diff(ends, axis=1) / 2, (ends[:, 1:] + ends[:, :-1]) / 2
    nodes = (middle[..., None] + half[..., None] * x).reshape(len(breaks), -1)
    weights = (half[..., None] * w).reshape(len(breaks), -1) * density(nodes)
    return nodes, weights / weights.sum(axis=1, keepdims=True)

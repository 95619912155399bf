"""First moments of the Jacobian's spectrum, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.results import Result
from ..network import Network
from .chain import JacobianChain, Shortcut, Weights, read
from .product import Block

__all__ = ["JacobianMoments", "jacobian_moments"]


@dataclass(frozen=True, repr=False, eq=False)
class JacobianMoments(Result):
    r"""Moments of the squared singular values of the input-output Jacobian J.

    Attributes
    ----------
    mean, second_moment : float
        :math:`m_1 = \operatorname{tr} J J^T / M_L` and :math:`m_2 = \operatorname{tr} (J J^T)^2 / M_L`.
    log_mean : float
        Logarithm of :math:`m_1`, which itself may be beyond floating point in deep networks.
    relative_variance : float
        :math:`\sigma^2_{JJ^T} = m_2/m_1^2 - 1`.
    by_layer : ndarray
        What every factor of J adds to it, from the inputs on: weights, slopes or a residual block, weights, ...
    """

    mean: float
    second_moment: float
    log_mean: float
    relative_variance: float
    by_layer: np.ndarray


def jacobian_moments(net: Network, q0: float | None = None, *, q_hat: Any = None) -> JacobianMoments:
    r"""Mean and variance of the squared singular values of the input-output Jacobian.

    Of :math:`J = W_L D_{L-1} W_{L-1} \cdots D_1 W_1`, D the slopes :math:`\phi'` at the units, of a network as it
    stands (one that ends in an activation has another D), infinitely wide with the ratios of its widths:

    .. math:: m_1 = \prod_l \sigma_w^2\, \mu_1^l, \qquad
       \frac{m_2}{m_1^2} - 1 = \sum_l \frac{M_L}{M_l} \Big(\frac{\mu_2^l}{(\mu_1^l)^2} - 1\Big)
       + \sum_l \frac{M_L}{M_{l-1}} \quad(\text{Gaussian weights}),

    with :math:`\mu_k = E[\phi'(u)^{2k}]`. Square orthogonal weights add nothing, those with more inputs than outputs
    neither, others :math:`M_L/M_{l-1} - M_L/M_l`. A residual block s + B has the mean :math:`s^2 + b_1`, the second
    moment :math:`s^4 + 4 s^2 b_1 + b_2` with those of B, and adds as much as slopes with these would.

    Parameters
    ----------
    net : Network
        Fully connected layers, an activation or none between two of them, and residual blocks, in each other too, that
        begin and end with such a layer.
    q0 : float, optional
        Mean square of the input. Default: 1.
    q_hat : array_like, shape (L,), optional
        Mean squares of what the weight layers see, in place of `q0` and of those of infinite width: such as those of a
        sampled network, ``mfdnn.sampled.conditional_fisher(one, x, k=1).q_hat``.

    Returns
    -------
    JacobianMoments

    Raises
    ------
    TypeError, ValueError
        No network, negative `q0`, `q_hat` that are not L positive numbers or beside `q0`, a signal that overflows.
        `NoTheory`: other layers, an activation that jumps, a Jacobian that is zero.

    Notes
    -----
    Accuracy that of Gaussian integrals, 1e-10 a layer. Uniform weights count as Gaussian.

    References
    ----------
    Pennington, Schoenholz & Ganguli 2017, "Resurrecting the sigmoid in deep learning through dynamical isometry",
    arXiv:1711.04735; unequal widths are derived for this package.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([100] * 11, "relu", sigma_w2=2.0, weights="orthogonal")
    >>> found = mfdnn.jacobian_moments(net)
    >>> round(found.mean, 10), round(found.relative_variance, 10)  # nine activations between ten layers
    (2.0, 9.0)
    """
    chain = read(net, q0, q_hat)
    parts = np.array([_excess(chain, factor) for factor in chain.factors])
    log_mean = chain.product.log_mean
    with np.errstate(over="ignore", under="ignore"):
        mean = float(np.exp(log_mean))
        second = float(np.exp(2 * log_mean) * (1 + parts.sum()))
    return JacobianMoments(mean, second, float(log_mean), float(parts.sum()), parts)


def _excess(chain: JacobianChain, factor: Any) -> float:
    """What a factor adds to the relative variance."""
    if isinstance(factor, Weights):
        read_, left = chain.n_outputs / factor.fan_in, chain.n_outputs / factor.units
        return max(read_ - left, 0.0) if factor.orthogonal else read_
    if isinstance(factor, Shortcut):
        inner = factor.inner.product
        return chain.n_outputs / factor.units * (Block(inner, factor.skip2, 1.0).moment_ratio - 1)
    law = factor.law
    return chain.n_outputs / factor.units * (law.moment(2) / law.moment(1) ** 2 - 1)

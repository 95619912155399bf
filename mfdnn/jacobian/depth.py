"""Singular values of the Jacobian against depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.errors import NoTheory
from .._support.results import Result
from ..network import Network
from .chain import JacobianChain, Slopes, Weights, read
from .spectrum import ends

__all__ = ["JacobianDepth", "jacobian_depth"]

WHOLE = 1e-9  # missing rank that is none
NOTHING = 1e-14  # of the largest place: a slope that comes so close to 0


@dataclass(frozen=True, repr=False, eq=False)
class JacobianDepth(Result):
    r"""Squared singular values of the Jacobians of all weight layers by the inputs.

    Of :math:`J^l = W_l D_{l-1} \cdots D_1 W_1`, l = 1..L, those that are not 0 because units are more than inputs.

    Attributes
    ----------
    mean : ndarray, shape (L,)
        Over all :math:`M_l` eigenvalues of :math:`J^l (J^l)^T`.
    relative_variance : ndarray, shape (L,)
        As in `jacobian_moments`.
    largest, smallest : ndarray, shape (L,)
        Ends of the spectrum, atoms counted; smallest is 0 where slopes are, or of many Gaussian layers.
    condition : ndarray, shape (L,)
        :math:`(\text{largest}/\text{smallest})^{1/2}`, the condition number of :math:`J^l`; inf where smallest is 0.
    """

    mean: np.ndarray
    relative_variance: np.ndarray
    largest: np.ndarray
    smallest: np.ndarray
    condition: np.ndarray


def jacobian_depth(net: Network, q0: float | None = None) -> JacobianDepth:
    """Mean and ends of the Jacobian's spectrum behind every weight layer.

    Parameters
    ----------
    net : Network
        Fully connected layers and activations, as in `jacobian_moments`, without residual blocks.
    q0 : float, optional
        Mean square of the input. Default: 1.

    Returns
    -------
    JacobianDepth

    Raises
    ------
    TypeError, ValueError
        As `jacobian_moments`. `NoTheory`: residual blocks too.

    Notes
    -----
    Ends are those of infinite width: at a finite one the largest lies within, by far where many Gaussian layers have a
    long tail. A tenth of a second a layer.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([100] * 5, "hard_tanh", 1.1, 0.02, weights="orthogonal")
    >>> mfdnn.jacobian.jacobian_depth(net, q0=0.2).largest.round(3)
    array([1.1  , 1.21 , 1.331, 1.464])
    """
    chain = read(net, q0)
    if not all(isinstance(factor, Weights | Slopes) for factor in chain.factors):
        raise NoTheory(
            "the Jacobian over depth has a theory of fully connected layers and activations, got residual blocks; take "
            "jacobian_spectrum of each network."
        )
    found = []
    for l, factor in enumerate(chain.factors):
        if isinstance(factor, Weights):
            upto = JacobianChain(chain.factors[: l + 1], factor.units)
            product = upto.product
            low, high = ends(upto, product)
            free = min(factor.units, net.n_inputs) / factor.units
            if upto.rank < free - WHOLE or low < NOTHING * high:  # and not for being more units than inputs
                low = 0.0
            found.append((float(np.exp(product.log_mean)), product.ratio - 1, high, low))
    mean, variance, largest, smallest = np.array(found).T
    with np.errstate(divide="ignore"):
        return JacobianDepth(mean, variance, largest, smallest, np.sqrt(largest / smallest))

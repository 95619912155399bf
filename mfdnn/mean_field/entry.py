"""What theory takes: a network and its data, or a `MeanField` with both."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..layers import Keep
from ..network import Network
from .moments import OrderParameters
from .recursion import MeanField

__all__ = ["as_mean_field", "order_parameters", "refuse_data"]


def as_mean_field(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: Any = None,
    keep: Keep | None = None,
) -> MeanField:
    """A network and its data as a `MeanField`, a partial one with `keep`.

    Beside a `MeanField` data are refused.
    """
    if not isinstance(net, MeanField):
        if keep is not None:
            return MeanField.partial(net, n_samples, q0, c0, inputs, keep)
        return MeanField(net, n_samples, q0, c0, inputs=inputs)
    refuse_data(net, n_samples=n_samples, q0=q0, c0=c0, inputs=inputs)
    return net


def refuse_data(known: MeanField, **data: Any) -> None:
    """Raise a ValueError for data beside a `MeanField`, which has its own."""
    given = [f"`{name}`" for name, value in data.items() if value is not None]
    if given:
        them = "it" if len(given) == 1 else "them"
        raise ValueError(f"`net` is {known!r}, which has its own data, got {' and '.join(given)} too; drop {them}.")


def order_parameters(
    net: Network | MeanField,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: np.ndarray | None = None,
    n_samples: int | None = None,
) -> OrderParameters:
    r"""Order parameters of an infinitely wide random network.

    In a fully connected network, for :math:`l = 1, \dots, L` (the hats for the layer's input),

    .. math::
        q^l &= \sigma_w^2 \hat q^{l-1} + \sigma_b^2, & \hat q^l &= E[\phi(u)^2],
        \\
        q_{st}^l &= \sigma_w^2 \hat q_{st}^{l-1} + \sigma_b^2, & \hat q_{st}^l &= E[\phi(u)\,\phi(v)],
        \\
        \tilde q^l &= \sigma_w^2 \tilde q^{l+1} E[\phi'(u)^2], &
        \tilde q_{st}^l &= \sigma_w^2 \tilde q_{st}^{l+1} E[\phi'(u)\,\phi'(v)],

    with (u, v) Gaussian of variance :math:`q^l` and covariance :math:`q_{st}^l`, and
    :math:`\tilde q^L = \tilde q_{st}^L = 1`. Other layers follow their own algebra (`mfdnn.layers`).

    Parameters
    ----------
    net : Network or MeanField
        A network with linear outputs: its last layer is a weight layer. Or one with its data, without others.
    q0 : float or array_like, optional
        Mean square of an input unit, :math:`\hat q^0 \ge 0`. Default: 1.
    c0 : float or array_like, optional
        Correlation of two inputs, :math:`\hat q_{st}^0 / \hat q^0`, in [-1, 1]. Broadcasts with `q0` to shape
        S. Default: 0.
    inputs : array_like, shape (T, M_0) or (T, *input_shape), optional
        Given inputs instead of exchangeable random ones: one entry per input, and per pair. They determine,
        and so exclude, `q0` and `c0`.
    n_samples : int, optional
        T, which matters to layers that couple samples. Default: infinitely many, or the rows of `inputs`.

    Returns
    -------
    OrderParameters

    Raises
    ------
    ValueError
        Outputs that are not linear, negative `q0`, `c0` outside [-1, 1], `inputs` of another width than the
        network's, both `inputs` and `q0` or `c0`, or values beyond the range of floating-point numbers (an
        OverflowError too). `NoTheory`, a ValueError too: a layer without a law, an activation that jumps.
    MemoryError
        The (L, T, T) fields of given inputs do not fit.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([784, 1000, 1000, 10], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> op = mfdnn.order_parameters(net)
    >>> op.q
    array([2.1, 2.2, 2.3])
    >>> op.chi
    array([1., 1., 1.])
    >>> op.c.round(4)
    array([0.0476, 0.3724, 0.5474])

    Notes
    -----
    Accuracy: that of the Gaussian integrals, 1e-10 relative to :math:`E[\phi^2]` and :math:`E[\phi'^2]` in
    each layer. `q0` = 0 is allowed: two zero inputs coincide, so that c = 1 in every layer. Units that are exactly 0
    have the slope that finite networks give them, :math:`\phi'(0)` of `Activation.slope`: 0 for relu, for which the
    limit of weak signals is :math:`E[\phi'^2]` = 1/2. Uniform biases (those of
    uniform weights) count by their variance, as if they were Gaussian: where they make up half of q, q_hat of tanh is
    5 % low and that of relu and gelu right within 2 %; PyTorch's, a share of 1/fan_in, do not matter.

    Cost: milliseconds for exchangeable inputs. The fields of T given inputs are 3 L T^2 floats; O(L T^2) time for
    integrals, and O(L^2 T^2) for products of numbers, which take longer from some forty layers on.

    References
    ----------
    Poole et al. 2016, "Exponential expressivity in deep neural networks through transient chaos",
    arXiv:1606.05340. Schoenholz et al. 2017, "Deep information propagation", arXiv:1611.01232. Karakida,
    Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean field
    approach", arXiv:1806.01316 (whose notation this is).
    """
    return as_mean_field(net, n_samples, q0, c0, inputs=inputs, keep=Keep(shares=False)).order_parameters

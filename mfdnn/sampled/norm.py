r"""The Fisher-Rao norm of the parameters of a sampled network."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import linearised, require_finite_gradients, softmax_root
from .linearisation import Linearisation
from .protocol import Operator

__all__ = ["squared_fisher_rao_norm"]


def squared_fisher_rao_norm(one: Operator, X: Any, *, output: str = "linear") -> float:
    r"""Squared Fisher-Rao norm of the parameters of a sampled network, exact.

    .. math:: \theta^T F(\theta)\,\theta = \frac1T |J \theta|^2

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator`
        With the parameters :math:`\theta`; those of one's own as ``one.parameters`` or ``one.vector``, a vector (P,).
    X : array (T, M_0), or (T, *input_shape)
    output : {"linear", "softmax"}
        Whose Fisher information: of outputs with Gaussian noise, or of class probabilities,
        :math:`\frac1T \sum_t (J_t \theta)^T Q_t\, J_t \theta`.

    Returns
    -------
    float
        In the units of the loss, a mean over samples: :math:`\theta` is a plain sum over all P parameters.

    Raises
    ------
    TypeError, ValueError
        `one` does not say its parameters; X is not a finite (T, M_0) matrix; an unknown `output`; a softmax of one
        output.

    Notes
    -----
    One Jacobian-vector product. In a network of L weight layers without biases whose activations are homogeneous
    (relu, linear) :math:`J \theta = L f`, so that this is :math:`L^2` times the mean squared output. What it is on
    average over draws: `mfdnn.fisher_rao_statistics`.

    References
    ----------
    Liang, Poggio, Rakhlin & Stokes 2019, "Fisher-Rao metric, geometry, and complexity of neural networks",
    arXiv:1711.01530.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([20, 50, 50, 2], "relu", sigma_w2=2.0, bias=False), rng=0)
    >>> X = np.random.default_rng(1).standard_normal((30, 20))
    >>> norm = mfdnn.squared_fisher_rao_norm(one, X)
    >>> bool(np.isclose(norm, 3**2 * np.mean(np.sum(one(X) ** 2, axis=1))))
    True
    """
    linear = linearised(one, X)
    root = softmax_root(output, linear)
    if isinstance(linear, Linearisation):
        along = linear.push(linear.parameters).astype(np.float64)
    elif np.shape(theta := getattr(one, "parameters", getattr(one, "vector", ()))) == (one.n_parameters,):
        along = linear.jvp(np.asarray(theta, linear.dtype)).astype(np.float64)
    else:
        raise TypeError(
            f"`one` must have `parameters`, a vector ({one.n_parameters},), got {type(one).__name__} without; add them."
        )
    require_finite_gradients(along)
    if root is not None:
        along = root.apply(along)
    return float(np.sum(along**2) / len(along))

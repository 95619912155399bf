"""Singular values of the derivative of a sampled network's outputs by its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import one_input
from .linearisation import Linearisation
from .network import SampledNetwork

__all__ = ["jacobian_singular_values"]


def jacobian_singular_values(one: SampledNetwork, x: Any) -> np.ndarray:
    r"""Singular values of the input-output Jacobian of a sampled network at one input.

    Parameters
    ----------
    one : SampledNetwork
    x : array_like, shape (M_0,), input_shape, or with one sample in front

    Returns
    -------
    ndarray, shape (min(C, M_0),)
        In descending order.

    Raises
    ------
    TypeError, ValueError
        What is no sampled network, or one that couples samples as batch norm does; several inputs.

    Notes
    -----
    A backward pass of C errors and a singular value decomposition of a C x M_0 matrix.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([40, 40, 40], "linear", sigma_w2=1.0, weights="orthogonal")
    >>> mfdnn.sampled.jacobian_singular_values(mfdnn.sample(net, rng=0), np.ones(40))[[0, -1]].round(12)
    array([1., 1.])
    """
    array, net = one_input(one, x), one.network
    copies = np.repeat(array, net.n_outputs, axis=0)
    return np.linalg.svd(Linearisation(net, one.parameters, copies).input_jacobian(), compute_uv=False)

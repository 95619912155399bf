"""Singular values of the derivative of a sampled network's outputs by its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.errors import OutOfRange
from .checks import one_input
from .linearisation import Linearisation
from .network import SampledNetwork

__all__ = ["jacobian_depth", "jacobian_singular_values"]

LARGEST = 1e150  # singular value whose square, and the sum of many, is a number


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
        What is no sampled network, or one that couples samples as batch norm does; several inputs; what overflows.

    Notes
    -----
    A backward pass of C errors and a singular value decomposition of a C x M_0 matrix. In float64 right to some 1e-15
    of the largest one, so that a square 1e-12 times the largest has nine digits, and one below 1e-30 times it none.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([40, 40, 40], "linear", sigma_w2=1.0, weights="orthogonal")
    >>> mfdnn.sampled.jacobian_singular_values(mfdnn.sample(net, rng=0), np.ones(40))[[0, -1]].round(12)
    array([1., 1.])
    """
    array, net = one_input(one, x), one.network
    copies = np.repeat(array, net.n_outputs, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        linear = Linearisation(net, one.parameters, copies)
        if not np.all(np.isfinite(linear.outputs)):
            raise _overflow("outputs of `one` overflow")
        jacobian = linear.input_jacobian()
    return _singular_values(jacobian)


def jacobian_depth(one: SampledNetwork, x: Any) -> dict[str, np.ndarray]:
    r"""Squared singular values of the Jacobians of all weight layers by one input.

    Parameters
    ----------
    one : SampledNetwork
        Of fully connected layers and activations.
    x : array_like, shape (M_0,), or with one sample in front

    Returns
    -------
    dict of ndarray, shape (L,)
        "mean" of all :math:`M_l` eigenvalues of :math:`J^l (J^l)^T`, "largest" and "smallest" of the first
        :math:`\min(M_l, M_0)`, and "condition", the root of their ratio: as in `mfdnn.jacobian.jacobian_depth`.

    Raises
    ------
    TypeError, ValueError
        As `jacobian_singular_values`, and other layers.

    Notes
    -----
    A product of matrices and a singular value decomposition for each layer.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([40, 40, 40], "linear", sigma_w2=1.0, weights="orthogonal")
    >>> mfdnn.sampled.jacobian_depth(mfdnn.sample(net, rng=0), np.ones(40))["condition"].round(9)
    array([1., 1.])
    """
    h = one_input(one, x).ravel()  # sites in the order of `Flatten`
    own, jacobian, found = iter(one.parameters), np.eye(h.size, dtype=h.dtype), []
    for layer in one.network.layers:
        if layer.fully_connected:
            weight, bias = next(own)
            with np.errstate(over="ignore", invalid="ignore"):
                h, jacobian = weight @ h + (0.0 if bias is None else bias), weight @ jacobian
            values = _singular_values(jacobian)
            if values[0] > LARGEST:
                raise _overflow("squared singular values of `one` overflow")
            squares = values**2
            squares[squares <= squares[0] * (max(jacobian.shape) * np.finfo(h.dtype).eps) ** 2] = 0.0  # rounding
            found.append((squares.sum() / h.size, squares[0], squares[-1]))
        elif layer.activation is not None:
            jacobian = layer.activation.slope(h)[:, None] * jacobian
            h = layer.activation(h)
        elif not layer.relabels:
            raise ValueError(
                f"`one` must be a network of fully connected layers and activations, got {layer!r}; "
                "jacobian_singular_values takes others."
            )
    mean, largest, smallest = np.array(found, dtype=np.float64).T
    with np.errstate(divide="ignore"):
        return {"mean": mean, "largest": largest, "smallest": smallest, "condition": np.sqrt(largest / smallest)}


def _singular_values(jacobian: np.ndarray) -> np.ndarray:
    if not np.all(np.isfinite(jacobian)):
        raise _overflow("Jacobian of `one` overflows")
    return np.linalg.svd(jacobian, compute_uv=False)


def _overflow(fact: str) -> OutOfRange:
    return OutOfRange(f"The {fact}", "take smaller weights or fewer layers")

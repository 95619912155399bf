"""What gradient descent will do to a wide network on given data, in closed form."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import finite_number, input_array, one_of
from ..jobs.watch import told_if_long
from ..losses import LOSSES, loss_scale, stability_limit
from ..losses.probabilities import softmax
from ..losses.stability import checked_nesterov
from ..losses.values import checked_targets
from ..mean_field import MeanField, refuse_data
from ..mean_field.inputs import check_network
from ..network import Network
from .dynamics import Modes, modes_of
from .kernel_pair import KernelPair
from .on_data import PARAMETERISATIONS
from .paths import CrossEntropy, Optimiser, SquaredErrors
from .singular import SINGULAR, why_singular
from .spectrum import KERNELS
from .training_result import KernelTraining, matrix_of_outputs

__all__ = ["kernel_training"]

FROM_ZERO = (
    "The path starts from outputs 0, the mean of those that are drawn: with cross_entropy the mean over draws is "
    "another; pass `initial` for one network."
)


def kernel_training(
    net: Network | MeanField,
    inputs: Any,
    targets: Any,
    learning_rate: float | None = None,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    kernel: str = "ntk",
    parameterisation: str = "standard",
    loss: str = "half_mse",
    initial: Any = None,
) -> KernelTraining:
    r"""Training of an infinitely wide network on given data, at any time at once.

    Such a network is linear in its parameters, and its outputs obey

    .. math:: \dot f = -\frac sT\,\Theta\,(f - y) \quad\text{(flow)}, \qquad
        f_{t+1} = f_t - \eta\,\frac sT\,\Theta\,(f_t - y) \quad\text{(descent)},

    :math:`\Theta` the tangent kernel (`mfdnn.ntk`), s the scale of the loss (`mfdnn.losses.loss_scale`). An error along
    an eigenvector of :math:`s\Theta/T` falls as :math:`e^{-\lambda t}`, or :math:`(1 - \eta\lambda)^t`.

    Parameters
    ----------
    net : Network or MeanField
        With linear outputs.
    inputs : array_like, shape (T, M_0) or (T, *input_shape), or None
        None where `net` is a `MeanField` of given inputs.
    targets : array_like, shape (T, C), or (T,) of int
        As of `mfdnn.train`: for cross-entropy probabilities; labels 0..C-1 stand for unit vectors.
    learning_rate : float, optional
        :math:`\eta` of descent, whose time counts steps. Default: gradient flow.
    momentum : float
        b, in [0, 1), as of `mfdnn.train`.
    nesterov : bool
        Nesterov's momentum instead of the heavy ball.
    kernel : {"ntk", "nngp"}
        Whether all parameters are trained, or the last weight layer alone: :math:`\Theta = M_{L-1} \hat q_{st}^{L-1} +
        1` (standard), or the kernel K of the outputs (ntk), whose end is Bayesian regression.
    parameterisation : {"standard", "ntk"}
        As in `mfdnn.ntk`: learning rates and times of the standard one are in units of 1/width.
    loss : str
        One of `mfdnn.losses.LOSSES`. Of cross-entropy the flow is solved by SciPy, and descent made step by step.
    initial : array_like, shape (T, C), optional
        Outputs :math:`f_0` at `inputs`, of a sampled network for example. Default: averages over initialisations, whose
        outputs have mean 0 and covariance K (`mfdnn.nngp`); with cross-entropy the path from 0.

    Returns
    -------
    KernelTraining
        ``.outputs(t)``, ``.covariance(t)``, ``.loss(t)`` and more.

    Raises
    ------
    TypeError, ValueError
        `inputs` or `targets` that do not fit the network or are not finite; a rate that is not positive; `momentum`
        outside [0, 1), without `learning_rate`, or 0 with `nesterov`; unknown words; what `mfdnn.ntk` raises.
    MemoryError
        Kernel and eigenvectors do not fit into the memory that is free now.

    Warns
    -----
    UserWarning
        Eigenvalues that are 0, within 1e-12 of the largest: along their eigenvectors nothing is learned. The cause is
        named, inputs that are the same by their indices.

    Notes
    -----
    One eigendecomposition, (4/3 + 4) T^3 operations, and five T x T matrices; then T^2 C operations for each time. At
    finite width M the outputs of trained networks differ by :math:`O(M^{-1/2})` (`mfdnn.comparison.lazy_training`).

    References
    ----------
    Jacot, Gabriel & Hongler 2018, "Neural tangent kernel: convergence and generalization in neural networks",
    arXiv:1806.07572. Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein & Pennington 2019, "Wide neural networks of
    any depth evolve as linear models under gradient descent", arXiv:1902.06720.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([2, 1000, 1000, 1], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    >>> X, y = np.column_stack([np.cos(angle), np.sin(angle)]), np.sin(angle)
    >>> path = mfdnn.kernel_training(net, X, y, parameterisation="ntk")
    >>> path.loss([0, 1, 10]).round(4)
    array([0.25  , 0.0627, 0.    ])
    >>> between = np.array([[np.cos(np.pi / 8), np.sin(np.pi / 8)]])
    >>> mean, variance = path.outputs(10, between), path.covariance(10, between)
    >>> mean.shape, variance.shape
    ((1, 1), (1, 1))
    """
    one_of("kernel", kernel, KERNELS)
    one_of("parameterisation", parameterisation, PARAMETERISATIONS)
    one_of("loss", loss, LOSSES)
    optimiser = _checked_optimiser(learning_rate, momentum, nesterov)
    x = _checked_inputs(net, inputs)
    kernels = KernelPair(net, x, kernel, parameterisation)
    n_samples, n_outputs = len(x), kernels.network.n_outputs
    y = checked_targets(targets, loss, n_samples, n_outputs, np.dtype(float), name="targets")
    start = None if initial is None else matrix_of_outputs("initial", initial, n_samples, n_outputs)
    require_memory(
        5 * 8 * n_samples**2,
        f"the modes of the kernel of {n_samples} inputs",
        "pass fewer, or ask `mfdnn.max_learning_rate` for the largest eigenvalue alone",
    )
    scale = loss_scale(loss, n_outputs, n_samples) / n_samples
    with told_if_long(lambda: f"the modes of the kernel of {n_samples} inputs take long"):
        theta = kernels.trained()
        modes = modes_of(scale * theta, SINGULAR)
    f_0 = np.zeros_like(y) if start is None else start
    path: SquaredErrors | CrossEntropy
    if loss == "cross_entropy":
        path, error = CrossEntropy(theta, y, f_0, optimiser), y - softmax(f_0)
    else:
        path, error = SquaredErrors(modes, y, f_0, scale, optimiser), y - f_0
    squares = np.sum((modes.vectors.T @ error) ** 2, axis=1)
    share = np.divide(squares, squares.sum(), out=np.zeros_like(squares), where=squares.sum() > 0)
    falls = optimiser.falls(modes.values)
    largest, smallest = modes.values[0], modes.values[-1]
    unlearnable = _unlearnable(modes, theta, x, share)
    if unlearnable:
        warnings.warn(unlearnable, UserWarning, stacklevel=2)
    cautions = [unlearnable, _divergence(falls, share, modes.values[0], optimiser, loss)]
    cautions.append(FROM_ZERO if loss == "cross_entropy" and start is None else "")
    return KernelTraining(
        eigenvalues=modes.values,
        times=np.divide(1.0, falls, out=np.full(n_samples, np.inf), where=falls > 0),
        share=share,
        unlearnable=int(np.sum(modes.values == 0)),
        diverging=int(np.sum(falls < 0)),
        stable_rate=stability_limit(largest),
        fastest_rate=stability_limit((largest + smallest) / 2) / 2,
        learning_rate=optimiser.rate,
        momentum=optimiser.momentum,
        nesterov=optimiser.nesterov,
        kernel=kernel,
        parameterisation=parameterisation,
        loss_name=loss,
        n_samples=n_samples,
        n_outputs=n_outputs,
        caution=" ".join(filter(None, cautions)),
        _path=path,
        _kernels=kernels,
        _initial=start,
    )


def _checked_optimiser(learning_rate: Any, momentum: Any, nesterov: Any) -> Optimiser:
    b = finite_number("momentum", momentum)
    if not 0 <= b < 1:
        raise ValueError(f"`momentum` must lie in [0, 1), got {b:g}; 0.9 is usual, 0 is plain descent.")
    flag = checked_nesterov(nesterov, b)
    if learning_rate is None:
        if b:
            raise ValueError(
                f"`momentum` is that of descent, got {b:g} and no `learning_rate`; give one, or drop it for the flow."
            )
        return Optimiser(None)
    rate = finite_number("learning_rate", learning_rate)
    if rate <= 0:
        raise ValueError(
            f"`learning_rate` must be positive, got {rate:g}; pass its size, or None for gradient flow."
        )
    return Optimiser(rate, b, flag)


def _checked_inputs(net: Network | MeanField, inputs: Any) -> np.ndarray:
    if isinstance(net, MeanField):
        refuse_data(net, inputs=inputs)
        if net.inputs is None:
            raise ValueError(
                "`net` must have given inputs to be trained on, got random ones; pass MeanField(net, inputs=X)."
            )
        return net.inputs
    check_network(net)
    if inputs is None:
        raise ValueError("`inputs` must be a (T, M_0) matrix of inputs, got None; pass the data.")
    return input_array("inputs", inputs, net.input_shape)


def _divergence(falls: np.ndarray, share: np.ndarray, largest: float, optimiser: Optimiser, loss: str) -> str:
    """Which modes diverge, in words."""
    n = int(np.sum(falls < 0))
    if n == 0:
        return ""
    _, b, nesterov = optimiser
    first = "The first mode" if n == 1 else f"The first {n} of {len(falls)} modes"
    what = "may oscillate" if loss == "cross_entropy" else f"diverge{'s' * (n == 1)}"
    return (
        f"{first} {what}, with {share[:n].sum():.2g} of the squared error: `learning_rate` {optimiser.rate:g} is above "
        f"{stability_limit(largest, b, nesterov):g}, the largest stable one."
    )


def _unlearnable(modes: Modes, theta: np.ndarray, inputs: np.ndarray, share: np.ndarray) -> str:
    """How much is never learned, and why, in words."""
    none = modes.values == 0
    if not none.any():
        return ""
    _, cause = why_singular(theta, inputs)
    return (
        f"{none.sum()} of {len(none)} eigenvalues are 0, and {share[none].sum():.2g} of the squared error is never "
        f"learned. {cause}"
    )

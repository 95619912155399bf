"""The neural tangent kernel of a wide random network, on data and for random inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._results import Result, unwrap
from ._validation import one_of, sample_count
from .fisher.kernel import first_block_edge, kernel, sums_of
from .fisher.normalised import output_normalisation
from .fisher.outlier import outlier_caution
from .fisher.statistics import check_correlation
from .layers import LayerNorm
from .network import Network
from .order_parameters import OrderParameters, order_parameters

__all__ = ["NTKStatistics", "ntk", "ntk_statistics"]

PARAMETERISATIONS = ("standard", "ntk")
CENTRED = (
    "The outputs are centred, and no eigenvalue stands out: `largest` is right for n_samples much smaller than the "
    "widths; where they are comparable it is several times larger, n_samples times that of `fisher_statistics` "
    "(standard parameterisation)."
)


@dataclass(frozen=True, repr=False, eq=False)
class NTKStatistics(Result):
    r"""Eigenvalue statistics of :math:`\Theta = J J^T` (TC x TC).

    Numbers are floats, or arrays of the common shape of `q0` and `c0`.

    Attributes
    ----------
    mean, second_moment : float or ndarray
        tr :math:`\Theta/(TC)`, the papers' :math:`K_1`, and tr :math:`\Theta^2/(TC)`.
    off_diagonal : float or ndarray
        :math:`K_2`, the kernel of two different inputs; for given inputs its average over pairs (:math:`K_1` for one).
    largest : float or ndarray
        The largest eigenvalue, C-fold.
    rest : float or ndarray
        Mean of the other (T - 1) C eigenvalues (0 for T = 1); for random inputs all of them are :math:`K_1 - K_2` in
        the limit.
    n_samples, n_outputs : int
        T and C.
    parameterisation : str
        "standard" or "ntk".
    caution : str
        What to know before `largest` is used; empty where it is a separate outlier, or T = 1.
    """

    mean: Any
    second_moment: Any
    off_diagonal: Any
    largest: Any
    rest: Any
    n_samples: int
    n_outputs: int
    parameterisation: str
    caution: str


def ntk(net: Network, inputs: Any, *, parameterisation: str = "standard") -> np.ndarray:
    r"""Neural tangent kernel of one output of an infinitely wide network, at given inputs.

    .. math::
        \Theta_{st} = \sum_l \tilde q_{st}^l\,(M_{l-1}\, \hat q_{st}^{l-1} + 1) \quad\text{(standard)}, \qquad
        \Theta_{st} = \sum_l \tilde q_{st}^l\, q_{st}^l \quad\text{(ntk)},

    the 1 only for layers with biases. That of C outputs is :math:`\Theta \otimes I_C`.

    Parameters
    ----------
    net : Network
        With linear outputs.
    inputs : array_like, shape (T, M_0)
    parameterisation : {"standard", "ntk"}
        Derivatives by W and b, with the exact widths; or by w and :math:`\beta` of
        :math:`W = \sigma_w w/\sqrt{M_{in}}`, :math:`b = \sigma_b \beta`, which do not depend on the width. (The
        standard one grows with it: 1/T of it has the eigenvalues of the Fisher information.)

    Returns
    -------
    ndarray, shape (T, T)

    Raises
    ------
    ValueError
        `inputs` that are not a finite (T, M_0) matrix; layer norm of the outputs; in NTK parameterisation,
        normalisation layers with trained gains; layers of one's own that couple samples without
        `propagate_tangents`; and what `order_parameters` raises.
    MemoryError
        The kernels do not fit.

    Notes
    -----
    Accuracy that of the Gaussian integrals, 1e-10; time O(L T^2). At finite width M entries scatter by
    O(M^-1/2) of themselves: `mfdnn.empirical_ntk`. Trained gains of hidden normalisation layers enter the
    standard kernel as if errors did not depend on what they multiply: O(1) beside O(M).

    References
    ----------
    Jacot, Gabriel & Hongler 2018, "Neural tangent kernel: convergence and generalization in neural networks",
    arXiv:1806.07572.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([2, 1000, 1000, 1], "relu", sigma_w2=2.0)
    >>> mfdnn.ntk(net, np.sqrt(2) * np.eye(2), parameterisation="ntk").round(6)  # 2 L on the diagonal
    array([[6.      , 1.371417],
           [1.371417, 6.      ]])
    """
    one_of("parameterisation", parameterisation, PARAMETERISATIONS)
    return _kernel(net, order_parameters(net, inputs=inputs), parameterisation)[1]


def ntk_statistics(
    net: Network,
    n_samples: int | None = None,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: np.ndarray | None = None,
    parameterisation: str = "standard",
) -> NTKStatistics:
    r"""Mean, second moment and largest eigenvalue of the neural tangent kernel of a wide random network.

    For exchangeable inputs :math:`\Theta` has :math:`K_1` on its diagonal and :math:`K_2` elsewhere:

    .. math::
        m = K_1, \qquad s = K_1^2 + (T - 1) K_2^2, \qquad \lambda_{max} = K_1 + (T - 1) K_2,

    with :math:`K_1 = \sum_l \tilde q^l q^l` and :math:`K_2 = \sum_l \tilde q_{st}^l q_{st}^l` in NTK parameterisation.

    Parameters
    ----------
    net : Network
        With linear outputs.
    n_samples : int, optional
        T. Default: 1000.
    q0, c0 : float or array_like, optional
        Mean square of the inputs and correlation of two of them, as in `order_parameters`. Default: 1 and 0.
    inputs : array_like, shape (T, M_0), optional
        Given inputs. They determine T, and exclude `q0` and `c0`.
    parameterisation : {"standard", "ntk"}
        As in `ntk`.

    Returns
    -------
    NTKStatistics

    Raises
    ------
    ValueError
        As `ntk`, and `n_samples` < 1, or another than the rows of `inputs`; `c0` < -1/(T - 1).

    Notes
    -----
    Finite networks: the mean within sampling error; the C largest eigenvalues split by O(M^-1/2) around `largest`;
    the second moment is larger by T O(1/M) of :math:`K_1^2`. Where :math:`K_2` = 0 (odd activations without bias)
    nothing stands out, and the edge of the bulk is larger than `largest` unless T is much smaller than the widths
    (`caution`). As in `fisher_statistics`, `largest` is never below the edge of what the first layer's weights
    contribute under independent Gaussian inputs; for one weight layer it is this edge. In standard parameterisation
    `mean`, `second_moment` and `largest` are P/C, P T/C and T times those of `fisher_statistics`, unless outputs are
    normalised.

    References
    ----------
    Karakida, Akaho & Amari 2021, "Pathological spectra of the Fisher information metric and its variants in
    deep neural networks", arXiv:1910.05992, for the orders; the coefficients are derived for this package.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([1000, 1000, 1000, 2], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> theta = mfdnn.ntk_statistics(net, n_samples=100, parameterisation="ntk")
    >>> round(theta.mean, 6), round(theta.off_diagonal, 6), round(theta.largest, 3)
    (6.6, 1.800137, 184.814)
    """
    one_of("parameterisation", parameterisation, PARAMETERISATIONS)
    if inputs is None:
        n_samples = sample_count(n_samples, None)
        check_correlation(0.0 if c0 is None else c0, n_samples)
    op = order_parameters(net, q0, c0, inputs=inputs, n_samples=n_samples)
    n = n_samples or op.q.shape[1]
    found = sums_of(*_kernel(net, op, parameterisation), op.per_input, n)
    units = None
    if parameterisation == "ntk":
        first, shape = net.weight_layers[0]
        units = first.sigma_w2 / first.fan_in(shape), first.sigma_b2
    caution = outlier_caution(op, n) if output_normalisation(net) is None else CENTRED
    return NTKStatistics(
        mean=unwrap(found.diagonal),
        second_moment=unwrap(n * found.square),
        off_diagonal=unwrap(found.off_diagonal),
        largest=unwrap(n * first_block_edge(op, found, n, net.couples_samples, units)),
        rest=unwrap(n * np.maximum(found.diagonal - found.top, 0.0) / max(n - 1, 1)),
        n_samples=n,
        n_outputs=net.n_outputs,
        parameterisation=parameterisation,
        caution=caution,
    )


def _kernel(net: Network, op: OrderParameters, parameterisation: str) -> tuple[Any, Any]:
    """The kernel of one output at one input and at two: (T,) and (T, T) for given inputs."""
    if isinstance(output_normalisation(net), LayerNorm):
        raise ValueError(
            "`net` must have outputs that are not coupled, but ends in layer norm; drop it, or take "
            "`mfdnn.empirical_ntk`."
        )
    if net.couples_samples and op._tangents is None:
        raise ValueError(
            "`net` has layers that couple samples, of whose tangent kernel there is no theory yet; sample it "
            "(`mfdnn.empirical_ntk`), or drop them."
        )
    if parameterisation == "standard":
        return kernel(op, None)
    if any(not layer.n_weight_layers for layer, _ in net.parameter_layers):
        raise ValueError(
            "`parameterisation` = ntk has no theory of trained gains and offsets, whose derivatives and errors are not "
            "independent, got a normalisation layer with some; give it affine=False, or take standard."
        )
    if op._tangents is None:
        return (op.q_tilde * op.q).sum(axis=0), (op.q_tilde_st * op.q_st).sum(axis=0)
    layers = iter(net.weight_layers)
    one, two, sigma_b2 = np.zeros_like(op.q[0]), np.zeros_like(op.q_st[0]), 0.0
    for tangent in op._tangents:
        scale = sigma_b2  # biases, of the weights before them
        if tangent.source == "weights":
            layer, shape = next(layers)
            scale, sigma_b2 = layer.sigma_w2 / layer.fan_in(shape), layer.sigma_b2
        one, two = one + scale * tangent.one, two + scale * tangent.two
    return one, two

"""Eigenvalue statistics of the neural tangent kernel, of given and random inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.results import Result, unwrap
from .._support.validation import one_of
from ..mean_field import MeanField, as_mean_field
from ..network import Network
from .on_data import PARAMETERISATIONS, tangent_kernel
from .outlier import few_channels, outlier_caution
from .parts import first_block_edge

__all__ = ["NTKStatistics", "ntk_statistics"]

CENTRED = (
    "The outputs are centred, and no eigenvalue stands out: `largest` is right for n_samples much smaller than the "
    "widths; where they are comparable it is several times larger, n_samples times that of `fisher_statistics` "
    "(standard parameterisation)."
)


@dataclass(frozen=True, repr=False, eq=False)
class NTKStatistics(Result):
    r"""Eigenvalue statistics of the neural tangent kernel.

    Of :math:`\Theta = J J^T` (TC x TC), J the derivatives of the C outputs at T inputs by the parameters. Numbers are
    floats, or arrays of the common shape of `q0` and `c0`.

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


def ntk_statistics(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: np.ndarray | None = None,
    parameterisation: str = "standard",
) -> NTKStatistics:
    r"""Mean, second moment and largest eigenvalue of the neural tangent kernel.

    For exchangeable inputs :math:`\Theta` has :math:`K_1` on its diagonal and :math:`K_2` elsewhere:

    .. math::
        m = K_1, \qquad s = K_1^2 + (T - 1) K_2^2, \qquad \lambda_{max} = K_1 + (T - 1) K_2,

    with :math:`K_1 = \sum_l \tilde q^l q^l` and :math:`K_2 = \sum_l \tilde q_{st}^l q_{st}^l` in NTK parameterisation.

    Parameters
    ----------
    net : Network or MeanField
        With linear outputs.
    n_samples : int, optional
        T. Default: 1000.
    q0, c0 : float or array_like, optional
        Mean square of the inputs and correlation of two of them, as in `order_parameters`. Default: 1 and 0.
    inputs : array_like, shape (T, M_0) or (T, *input_shape), optional
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
    wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
    theta, n = tangent_kernel(wide, parameterisation), wide.n_samples
    net, op, found = wide.network, wide.order_parameters, theta.sums()
    first, _ = net.weight_layers[0]
    largest, units = found.top, None
    if first.fully_connected:
        if parameterisation == "ntk":
            units = first.sigma_w2 / op.fan_in[0], first.sigma_b2
        largest = first_block_edge(op, found, n, net.couples_samples, units)
    cautions = outlier_caution(op, n) if wide.last is None else CENTRED, few_channels(net)
    return NTKStatistics(
        mean=unwrap(found.diagonal),
        second_moment=unwrap(n * found.square),
        off_diagonal=unwrap(found.off_diagonal),
        largest=unwrap(n * largest),
        rest=unwrap(n * np.maximum(found.diagonal - found.top, 0.0) / max(n - 1, 1)),
        n_samples=n,
        n_outputs=net.n_outputs,
        parameterisation=parameterisation,
        caution=" ".join(filter(None, cautions)),
    )

"""Eigenvalue statistics of the metric of features of a wide network."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .._support.blas import single_blas_thread
from .._support.errors import NoTheory
from .._support.results import Result, unwrap
from .._support.validation import one_of
from ..layers import Pairs
from ..mean_field import MeanField, as_mean_field
from ..network import Network
from .cross_entropy import _of_outputs
from .normalised import refuse_softmax

__all__ = ["FeatureStatistics", "feature_statistics"]

N_DRAWS = 10  # of the outputs a softmax is taken of, as in `softmax_statistics`


@dataclass(frozen=True, repr=False, eq=False)
class FeatureStatistics(Result):
    r"""Eigenvalue statistics of the metric of features.

    It is :math:`A = \frac1T \sum_t \sum_k \nabla_h f_k(t)\,\nabla_h f_k(t)^T` (H x H), of all features h together.
    Numbers are floats, or arrays of the common shape of `q0` and `c0`. Those of a softmax are means over draws of the
    outputs.

    Attributes
    ----------
    kappa_1, kappa_2 : float or ndarray
        :math:`\tilde\kappa_1 = \frac1{\tilde\alpha} \sum_l \sigma_w^2\, \tilde q^l`, :math:`\tilde\kappa_2` the same of
        :math:`\tilde q_{st}^l`; for given inputs their averages over inputs, and over pairs.
    alpha : float
        :math:`\tilde\alpha = \sum_{l<L} M_l/M`.
    width : float
        The reference width M: the mean fan-in of the weight layers.
    mean, second_moment : float or ndarray
        tr A / H and tr A^2 / H.
    largest : float or ndarray
        The largest eigenvalue, C-fold for linear outputs. Of order 1 for any M and T.
    outliers : ndarray, shape (n_outliers, \*S)
        The largest: of linear outputs all are `largest`, of a softmax they spread.
    n_outliers : int
        C, or C - 1 (softmax).
    n_features, n_samples, n_outputs : int
        :math:`H = \sum_{l<L} M_l`, T and C.
    output : str
        "linear" or "softmax".
    """

    kappa_1: Any
    kappa_2: Any
    alpha: float
    width: float
    mean: Any
    second_moment: Any
    largest: Any
    outliers: np.ndarray
    n_outliers: int
    n_features: int
    n_samples: int
    n_outputs: int
    output: str


def feature_statistics(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: np.ndarray | None = None,
    output: str = "linear",
) -> FeatureStatistics:
    r"""Mean, second moment and largest eigenvalue of the metric of features.

    The features :math:`h = (h^0, \dots, h^{L-1})` are what enters the weight layers, the inputs among them, and
    :math:`\partial f_k/\partial h^{l-1} = (W^l)^T \delta_k^l`. With
    :math:`B_1 = \sum_l \sigma_w^2\,\tilde q^l = \tilde\alpha \tilde\kappa_1` and :math:`B_2` the same of
    :math:`\tilde q_{st}^l`,

    .. math::
        m = \frac{C B_1}{H}, \qquad
        s = \frac CH \left(\frac{B_1^2}{T} + \frac{T-1}{T} B_2^2\right), \qquad
        \lambda_{max} = \frac{B_1 + (T-1) B_2}{T},

    or :math:`(B_1 - B_2)/T` where :math:`B_2 < 0`.

    Parameters
    ----------
    net : Network or MeanField
        With linear outputs. Layer norm and residual blocks are allowed; layers that couple samples, and any
        normalisation of the outputs, are not.
    n_samples : int, optional
        T. Default: 1000.
    q0, c0 : float or array_like, optional
        Mean square of the inputs and correlation of two of them, as in `order_parameters`. Default: 1 and 0.
    inputs : array_like, shape (T, M_0), optional
        Given inputs. They determine T, and exclude `q0` and `c0`.
    output : {"linear", "softmax"}
        With "softmax" the metric is :math:`\frac1T \sum_t G_t^T Q_t G_t`, :math:`Q = \mathrm{diag}(p) - p p^T`, for ten
        draws of the outputs from their law.

    Returns
    -------
    FeatureStatistics

    Raises
    ------
    ValueError
        Layers that couple samples; normalised outputs; `n_samples` < 1, or another than the rows of `inputs`; a
        softmax of one output, or for several `q0` or `c0`; and what `order_parameters` raises.

    Notes
    -----
    Exact widths enter through H alone: the derivatives themselves do not depend on them in the limit, so that
    neither do :math:`B_1`, :math:`B_2` and `largest`. Checked by simulation with even and uneven widths: see the
    tests. The outliers of a finite network split by O(1/sqrt(M)); `largest` is to be compared with their mean.

    References
    ----------
    Karakida, Akaho & Amari 2021, "Pathological spectra of the Fisher information metric and its variants in
    deep neural networks", arXiv:1910.05992, for the metric and its orders in M; the coefficients are derived for this
    package.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([500, 500, 500, 2], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> metric = mfdnn.feature_statistics(net, n_samples=1000)
    >>> round(metric.kappa_1, 6), round(metric.kappa_2, 6), metric.alpha
    (2.712688, 1.874451, 3.0)
    >>> wider = mfdnn.mlp([1000, 1000, 1000, 2], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> mfdnn.feature_statistics(wider, n_samples=1000).largest == metric.largest
    True
    """
    one_of("output", output, ("linear", "softmax"))
    wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
    net, op = wide.network, wide.order_parameters
    if net.couples_samples or wide.last is not None:
        raise NoTheory(
            "`net` must treat samples one by one and outputs that are not normalised; of others there is no theory "
            "of the feature metric; drop the normalisation, or take `LayerNorm` in hidden layers."
        )
    n_samples, n_outputs = wide.n_samples, net.n_outputs
    n_features = sum(prod(shape) for _, shape in net.weight_layers)  # no taps: each is counted once
    width = float(op.fan_in.mean())
    theta = feature_kernel(wide)
    plain = theta.sums()
    if output == "softmax":
        found = _softmax(wide, theta)
    else:
        found = {
            "mean": n_outputs * plain.diagonal,
            "second_moment": n_outputs * plain.square,
            "outliers": np.multiply.outer(np.ones(n_outputs), plain.top),
        }
    return FeatureStatistics(
        kappa_1=unwrap(plain.diagonal) * width / n_features,
        kappa_2=unwrap(plain.off_diagonal) * width / n_features,
        alpha=n_features / width,
        width=width,
        mean=unwrap(found["mean"] / n_features),
        second_moment=unwrap(found["second_moment"] / n_features),
        largest=unwrap(found["outliers"][0]),
        outliers=found["outliers"],
        n_outliers=n_outputs - (output == "softmax"),
        n_features=n_features,
        n_samples=n_samples,
        n_outputs=n_outputs,
        output=output,
    )


def feature_kernel(wide: MeanField) -> Pairs:
    """Products of the derivatives of one output by the features, summed over these."""
    tangents = wide.tangents
    parts = []
    for l, record in enumerate(wide.records):
        several = ("features", l)  # with one site, errors times the squared norm of a unit's weights
        parts.append(tangents[several] if several in tangents else record.sigma_w2 * tangents[("errors", l)])
    return sum(parts[1:], start=parts[0])


def _softmax(wide: MeanField, theta: Pairs) -> dict[str, Any]:
    """Trace, squared norm and outliers behind a softmax, means over drawn outputs."""
    n_samples, n_outputs = wide.n_samples, wide.network.n_outputs
    refuse_softmax(wide.network)
    if theta.leading_shape:
        raise ValueError(
            f"`output` = softmax takes one `q0` and one `c0`, got an array of shape {theta.leading_shape}; "
            "call for each."
        )
    draws = wide.outputs.draw(n_samples, n_outputs, N_DRAWS, rng=0)
    with single_blas_thread():  # as in `softmax_statistics`
        found = [_of_outputs(theta, draw, 1) for draw in draws]
    return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}

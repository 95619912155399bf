"""The feature-space metric: how outputs depend on what enters weight layers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.results import Result
from ..jobs.threads import aside
from ..jobs.watch import told_if_long
from .checks import linearised, require_finite_gradients, require_finite_outputs, softmax_root
from .jacobian import Jacobian
from .linearisation import Linearisation
from .network import SampledNetwork
from .protocol import Served

__all__ = ["FeatureSpectrum", "feature_spectrum"]


@dataclass(frozen=True, repr=False, eq=False)
class FeatureSpectrum(Result):
    r"""Eigenvalues of the feature-space metric of one sampled network.

    .. math:: A = \frac1T \sum_t \sum_k \nabla_h f_k(x_t) \nabla_h f_k(x_t)^T

    With `output` "softmax" those of :math:`\frac1T \sum_t G_t^T Q_t G_t`, :math:`G_t` the C rows
    :math:`\nabla_h f_k(x_t)`.

    Attributes
    ----------
    eigenvalues : ndarray, shape (min(TC, H),)
        Descending: those that can be non-zero (softmax: min(T(C - 1), H) of them).
    mean, second_moment : float
        tr A / H and tr A^2 / H.
    n_outliers : int
        How many can be of the order of the width: C, or C - 1 (softmax).
    n_features, n_samples, n_outputs : int
        :math:`H = \sum_{l<L} M_l` (units at all sites, the inputs among them), T and C.
    output : str
        "linear" or "softmax".
    largest, outlier_mean : float
        The largest eigenvalue, and the mean of the `n_outliers` largest.
    """

    eigenvalues: np.ndarray
    mean: float
    second_moment: float
    n_outliers: int
    n_features: int
    n_samples: int
    n_outputs: int
    output: str

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.eigenvalues[0])

    @property
    def outlier_mean(self) -> float:
        """Mean of the `n_outliers` largest eigenvalues, the number to compare with theory."""
        return float(self.eigenvalues[: self.n_outliers].mean())

    def __repr__(self) -> str:
        return (
            f"FeatureSpectrum(largest={self.largest:.6g}, mean={self.mean:.6g}, {len(self.eigenvalues)} eigenvalues, "
            f"T={self.n_samples}, C={self.n_outputs}, H={self.n_features})"
        )


def feature_spectrum(one: Any, X: Any, *, output: str = "linear") -> FeatureSpectrum:
    r"""Eigenvalues of the feature-space metric of a sampled network.

    It is made of the derivatives of the outputs by the features. The features :math:`h = (h^0, \dots, h^{L-1})` are
    what enters the weight layers, the inputs among them, and
    :math:`\partial f_k/\partial h^{l-1} = (W^l)^T \delta_k^l`: of a change of what that layer sees.

    Parameters
    ----------
    one : SampledNetwork, or what has ``features(X)``
        One's own, as a PyTorch module by `mfdnn.pytorch.operator`: its features at X have ``outputs`` (T, C), the
        number of them ``n_features`` (H), and ``gradient(u)`` (T, H) of ``sum(u * outputs)``, u (T, C).
    X : array (T, M_0), or (T, *input_shape)
    output : {"linear", "softmax"}
        What the loss makes of the outputs.

    Returns
    -------
    FeatureSpectrum

    Raises
    ------
    TypeError, ValueError
        `one` has no features, or couples samples (batch norm, mean subtraction), where an output depends on
        the features of all of them; X is not a finite (T, M_0) matrix; a softmax of one output.
    MemoryError
        The smaller of the H x H matrix and its TC x TC dual does not fit.

    Notes
    -----
    Exact up to rounding. Time: a backward pass an output, :math:`T C H \min(TC, H)` operations for the matrix and
    (4/3) :math:`\min(TC, H)^3` for its eigenvalues.

    References
    ----------
    Karakida, Akaho & Amari 2021, "Pathological spectra of the Fisher information metric and its variants in
    deep neural networks", arXiv:1910.05992.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([300, 300, 300, 2], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> X = np.random.default_rng(1).standard_normal((200, 300))
    >>> spec = mfdnn.feature_spectrum(mfdnn.sample(net, rng=0), X)
    >>> theory = mfdnn.feature_statistics(net, n_samples=200)
    >>> bool(abs(spec.outlier_mean / theory.largest - 1) < 0.1)
    True
    """
    known: Any
    if isinstance(one, SampledNetwork):
        known = _Features(linearised(one, X))  # type: ignore[arg-type]  # of a network, a Linearisation
    elif callable(features := getattr(one, "features", None)):
        known = features(X)
    else:
        raise TypeError(
            f"`one` must be a SampledNetwork, whose weight layers have features, got {type(one).__name__}; draw one "
            "with mfdnn.sample(net)."
        )
    if one.couples_samples:
        raise ValueError(
            "`one` must treat samples one by one, but has layers that couple them (batch norm, mean subtraction): its "
            "outputs depend on the features of all samples; take a network without them."
        )
    linear = Served(known, one)
    require_finite_outputs(linear)
    jacobian = Jacobian(linear, softmax_root(output, linear))
    n_samples, n_outputs = linear.outputs.shape
    n_features = known.n_features
    rows, small = n_samples * n_outputs, min(n_samples * n_outputs, n_features)
    by_features = n_features <= rows
    stored = n_samples if by_features else rows
    require_memory(
        16 * small**2 + 2 * one.dtype.itemsize * stored * n_features,
        f"the feature metric of {n_features} features and {rows} outputs",
        "pass fewer samples or sample with dtype='float32'",
    )
    with told_if_long(
        lambda: f"the metric of {n_features} features at T = {n_samples}, C = {n_outputs} takes long"
    ):
        gradients = (known.gradient(jacobian.row(k)) for k in range(n_outputs))
        if by_features:
            matrix = np.zeros((n_features, n_features))
            for g in gradients:
                matrix += g.T @ g
        else:
            g = np.concatenate(list(gradients))
            matrix = (g @ g.T).astype(np.float64)
        require_finite_gradients(np.diagonal(matrix))
        values = aside(np.linalg.eigvalsh, matrix / n_samples)[::-1]
    n_outliers = n_outputs - (output == "softmax")
    return FeatureSpectrum(
        eigenvalues=values[: min(n_samples * n_outliers, n_features)],
        mean=float(values.sum() / n_features),
        second_moment=float(values @ values / n_features),
        n_outliers=n_outliers,
        n_features=n_features,
        n_samples=n_samples,
        n_outputs=n_outputs,
        output=output,
    )


class _Features:
    """Those of a sampled network: outputs, and derivatives by the features."""

    def __init__(self, linear: Linearisation):
        self._linear, self.inputs, self.outputs = linear, linear.inputs, linear.outputs
        self.n_features = sum(prod(shape) for _, shape in linear.network.weight_layers)

    def gradient(self, u: np.ndarray) -> np.ndarray:
        """Derivatives (T, H) of ``sum(u * outputs)`` by each sample's own features."""
        linear = self._linear
        found = zip(linear.network.parameter_layers, linear.parameters, linear.pull(u), strict=True)
        below = [
            layer.errors_below(h, delta, group)
            for (layer, _), group, (h, delta) in found
            if layer.n_weight_layers
        ]
        return np.hstack([own.reshape(len(own), -1) for own in below])

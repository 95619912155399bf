r"""The softmax as a matrix Q, its root, and averages of it over samples.

Cross-entropy puts :math:`Q(t) = \mathrm{diag}(p) - p p^T = R(t)^T R(t)` between the Jacobians of the logits f(t),
C numbers per sample:

.. math:: F_{cross} = \frac1T \sum_t J(t)^T Q(t) J(t).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.results import Result
from .._support.validation import finite_array

__all__ = ["SoftmaxCoefficients", "SoftmaxRoot", "softmax", "softmax_coefficients"]


def softmax(logits: Any) -> np.ndarray:
    r"""Probabilities of classes over the last axis, without overflow.

    .. math:: p_k = e^{f_k} / \sum_j e^{f_j}

    Parameters
    ----------
    logits : array_like, shape (..., C)

    Returns
    -------
    ndarray, shape (..., C)
        Sums to 1 over the last axis.

    Examples
    --------
    >>> from mfdnn.losses.probabilities import softmax
    >>> softmax([0.0, 1000.0])
    array([0., 1.])
    """
    known = type(logits) is np.ndarray and logits.dtype == np.float32
    f = logits if known else finite_array("logits", logits)
    if f.size == 0 or f.ndim == 0:
        raise ValueError(f"`logits` must have outputs along its last axis, got shape {f.shape}; pass a row or more.")
    p = np.exp(f - f.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


class SoftmaxRoot:
    r"""The root R of :math:`Q = R^T R`, sample by sample.

    It is :math:`R = \mathrm{diag}(\sqrt p) - \sqrt p\, p^T`. The dual of :math:`F_{cross}`, with the same non-zero
    eigenvalues, is :math:`R J J^T R^T / T`: `transpose` before the product with :math:`J J^T`, `apply` after it.

    Parameters
    ----------
    logits : array_like, shape (T, C)
        Outputs of the network, at initialisation or at any time later.

    Attributes
    ----------
    p : ndarray, shape (T, C)
        The probabilities.

    Raises
    ------
    ValueError
        `logits` is not a finite (T, C) matrix with C >= 2.

    Examples
    --------
    >>> import numpy as np
    >>> from mfdnn.losses.probabilities import SoftmaxRoot
    >>> root = SoftmaxRoot([[0.0, 0.0], [2.0, 0.0]])
    >>> v = np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> bool(np.allclose(root.transpose(root.apply(v)), root.p * v - root.p * (root.p * v).sum(1)[:, None]))
    True
    """

    def __init__(self, logits: Any):
        self.p = softmax(logit_matrix(logits))
        self._sqrt = np.sqrt(self.p)
        self._top = ..., np.arange(len(self.p)), self.p.argmax(axis=-1)  # where the likeliest class is

    def apply(self, v: np.ndarray) -> np.ndarray:
        """R(t) v(t) for v (..., T, C), of that shape."""
        v = v - v[self._top][..., None]  # R 1 = 0; no cancellation where one p is nearly 1
        return self._sqrt * (v - (self.p * v).sum(axis=-1, keepdims=True))

    def transpose(self, w: np.ndarray) -> np.ndarray:
        """R(t)^T w(t) for w (..., T, C), of that shape."""
        u = self._sqrt * w - self.p * (self._sqrt * w).sum(axis=-1, keepdims=True)
        u[self._top] = 0.0
        u[self._top] = -u.sum(axis=-1)  # 1^T R^T = 0, again without cancellation
        return u

    def columns(self, V: np.ndarray, transpose: bool = False) -> np.ndarray:
        """R V, or R^T V, for columns V (C T, b), of that shape.

        Rows go output by output, as in the dual of a sampled network.
        """
        product = self.transpose if transpose else self.apply
        by_sample = V.T.reshape(-1, *self.p.shape[::-1]).swapaxes(1, 2)
        return product(by_sample).swapaxes(1, 2).reshape(V.shape[::-1]).T


@dataclass(frozen=True, repr=False, eq=False)
class SoftmaxCoefficients(Result):
    r"""Averages of :math:`Q = \mathrm{diag}(p) - p p^T` over samples, in [0, 1].

    Attributes
    ----------
    beta_1 : float
        :math:`E_t\,\mathrm{tr}\,Q(t) = 1 - E_t \sum_k p_k^2`.
    beta_2 : float
        :math:`E_{s \ne t}\,\mathrm{tr}\,Q(s) Q(t)`; 0 for one sample, which has no pairs.
    beta_3 : float
        :math:`E_t\,\mathrm{tr}\,Q(t)^2`.
    beta_4 : float
        :math:`\max_k E_t[p_k (1 - p_k)]`.
    n_samples, n_outputs : int
        T and C.
    """

    beta_1: float
    beta_2: float
    beta_3: float
    beta_4: float
    n_samples: int
    n_outputs: int


def softmax_coefficients(logits: Any) -> SoftmaxCoefficients:
    r"""The coefficients :math:`\beta_1, \dots, \beta_4` of a softmax.

    They stand in the statistics of its Fisher information.

    Parameters
    ----------
    logits : array_like, shape (T, C)
        Outputs, at initialisation or during training.

    Returns
    -------
    SoftmaxCoefficients

    Raises
    ------
    ValueError
        `logits` is not a finite (T, C) matrix with C >= 2.

    Notes
    -----
    With :math:`g_{st} = p(s) \cdot p(t)`,

    .. math:: \mathrm{tr}\,Q(s) Q(t) = g_{st} - \sum_k p_k(s)\,p_k(t)^2 - \sum_k p_k(s)^2\,p_k(t) + g_{st}^2.

    Cost: O(T C min(T, C)).

    References
    ----------
    Karakida, Akaho & Amari 2021, "Pathological spectra of the Fisher information metric and its variants in
    deep neural networks", arXiv:1910.05992, for the quantities these coefficients belong to; their form is
    derived for this package.

    Examples
    --------
    >>> from mfdnn.losses.probabilities import softmax_coefficients
    >>> softmax_coefficients([[0.0, 0.0], [0.0, 0.0]])  # Q = (I - 11^T/2)/2
    SoftmaxCoefficients(beta_1=0.5, beta_2=0.25, beta_3=0.25, beta_4=0.25, n_samples=2, n_outputs=2)
    """
    p = softmax(logit_matrix(logits))
    n_samples, n_outputs = p.shape
    square = p**2
    norm = square.sum(axis=1)
    own = norm - 2 * (p**3).sum(axis=1) + norm**2  # tr Q(t)^2
    gram = p.T @ p if n_outputs < n_samples else p @ p.T
    total = p.sum(axis=0)
    pairs = total @ total - 2 * total @ square.sum(axis=0) + np.sum(gram**2)  # of all s, t, s = t among them
    return SoftmaxCoefficients(
        beta_1=float(1 - norm.mean()),
        beta_2=float((pairs - own.sum()) / (n_samples * (n_samples - 1))) if n_samples > 1 else 0.0,
        beta_3=float(own.mean()),
        beta_4=float((p - square).mean(axis=0).max()),
        n_samples=n_samples,
        n_outputs=n_outputs,
    )


def logit_matrix(logits: Any) -> np.ndarray:
    """Logits as a float64 matrix (T, C), C >= 2."""
    f = finite_array("logits", logits, "a (T, C) matrix of outputs")
    if f.ndim != 2 or len(f) == 0:
        raise ValueError(
            f"`logits` must be a matrix (T samples, C outputs), got shape {f.shape}; give each sample a row."
        )
    if f.shape[1] < 2:
        raise ValueError(
            f"`logits` must have two outputs or more, got {f.shape[1]}: a softmax of one is constant; use C >= 2."
        )
    return f

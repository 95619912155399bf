r"""Learning rates of natural gradient descent with approximate Fisher information, in wide networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._results import Result
from ._validation import finite_array, one_of, positive_integer

__all__ = ["APPROXIMATIONS", "NaturalGradientRate", "natural_gradient_rate"]

APPROXIMATIONS = ("exact", "block_diagonal", "block_tridiagonal", "kfac", "kfac_unscaled")


@dataclass(frozen=True, repr=False, eq=False)
class NaturalGradientRate(Result):
    r"""What an approximate natural gradient G makes of the error of the outputs on the training set.

    Attributes
    ----------
    isotropy : float
        a in :math:`\frac1T J G^{-1} J^T = a I`: all errors shrink by the factor :math:`1 - \eta a` a step.
    rate : float
        1/a, with which one step of the linearised network fits the training set. Rates below 2/a (of the same
        sign as a) converge.
    approximation : str
        Its name, or "given".
    n_layers : int or None
        L.
    """

    isotropy: float
    rate: float
    approximation: str
    n_layers: int | None

    def __float__(self) -> float:
        return self.rate


def natural_gradient_rate(
    approximation: Any = "exact", n_layers: int | None = None, n_samples: int | None = None
) -> NaturalGradientRate:
    r"""Learning rate of natural gradient descent with an approximate Fisher information.

    The step is :math:`-\eta G^{-1} \nabla E`, E half the mean squared error. In a wide network many approximations G
    of the Fisher information satisfy, as their damping vanishes,

    .. math:: \frac1T J G^{-1} J^T = a I,

    so that the outputs on the training set follow :math:`f_t = y + (1 - \eta a)^t (f_0 - y)`. For
    :math:`G = \frac1T S^T (\Sigma \otimes I) S`, with S block-diagonal, of the Jacobians of the L weight layers,
    :math:`a = 1^T \Sigma^{-1} 1`.

    =================  =============================================================  ==============================
    `approximation`    G                                                              a
    =================  =============================================================  ==============================
    exact              F                                                              1
    block_diagonal     F without blocks of two layers, :math:`\Sigma = I`             L
    block_tridiagonal  F with blocks of neighbours, :math:`\Sigma` tri-diagonal ones  s for L = 3s, s + 1 for 3s + 1
    kfac               :math:`A_{l-1} \otimes B_l` a layer, and :math:`B_L = I/T`     T L
    kfac_unscaled      the same with :math:`B_L = I`, as it comes out                 T (L - 1) + 1
    a matrix (L, L)    of that :math:`\Sigma`                                         :math:`1^T \Sigma^{-1} 1`
    =================  =============================================================  ==============================

    Parameters
    ----------
    approximation : str or array_like, shape (L, L)
    n_layers : int, optional
        L, the number of weight layers. Not needed by "exact", nor with a matrix.
    n_samples : int, optional
        T, of the training set: needed by K-FAC alone.

    Returns
    -------
    NaturalGradientRate

    Raises
    ------
    ValueError
        An unknown name; sizes that are missing; a singular :math:`\Sigma`, as of "block_tridiagonal" for L = 3s + 2;
        one with a = 0.

    Notes
    -----
    The identity for :math:`\Sigma` needs Jacobians of full row rank in each layer, no limit of width. K-FAC has
    :math:`A_{l-1} = \frac1T \sum_t h_t h_t^T` (a 1 appended to h for biases) and
    :math:`B_l = \frac1T \sum_t \sum_k \delta_k(t) \delta_k(t)^T`, and needs at least T features into each layer and T C
    units out of each but the last. There :math:`B_L = I` for linear outputs, and the last layer counts 1 in a, the
    others T each; the paper scales it to count T.

    References
    ----------
    Karakida & Osawa 2020, "Understanding approximate Fisher information for fast convergence of natural gradient
    descent in wide neural networks", arXiv:2010.00879. "kfac_unscaled" is derived for this package.

    Examples
    --------
    >>> import mfdnn
    >>> mfdnn.natural_gradient_rate("block_diagonal", n_layers=4)
    NaturalGradientRate(isotropy=4, rate=0.25, approximation='block_diagonal', n_layers=4)
    >>> float(mfdnn.natural_gradient_rate("kfac", n_layers=3, n_samples=100)) == 1 / 300
    True
    >>> mfdnn.natural_gradient_rate("block_tridiagonal", n_layers=3).isotropy
    1.0
    """
    if not isinstance(approximation, str):
        sigma = _square(finite_array("approximation", approximation, "a name, or a (L, L) matrix"))
        if n_layers not in (None, len(sigma)):
            raise ValueError(
                f"`n_layers` is {n_layers} but `approximation` has {len(sigma)} rows; drop `n_layers`."
            )
        return _rate("given", _isotropy(sigma), len(sigma))
    name = one_of("approximation", approximation, APPROXIMATIONS)
    if name == "exact":
        return _rate(name, 1.0, None if n_layers is None else positive_integer("n_layers", n_layers))
    depth = _needed("n_layers", n_layers, name)
    if name == "block_diagonal":
        return _rate(name, float(depth), depth)
    if name == "block_tridiagonal":
        if depth % 3 == 2:
            raise ValueError(
                f"`approximation` block_tridiagonal is singular for {depth} layers, as for any `n_layers` = 3s + 2; "
                "take block_diagonal, or another depth."
            )
        return _rate(name, float((depth + 2) // 3), depth)
    n = _needed("n_samples", n_samples, name)
    return _rate(name, float(n * depth if name == "kfac" else n * (depth - 1) + 1), depth)


def _isotropy(sigma: np.ndarray) -> float:
    """1^T Sigma^-1 1."""
    ones = np.ones(len(sigma))
    singular = np.linalg.svd(sigma, compute_uv=False)
    if singular[-1] <= len(sigma) * np.finfo(float).eps * singular[0]:  # NumPy's own rank
        raise ValueError(
            "`approximation` must be an invertible matrix, got a singular one; add damping to it."
        )
    return float(ones @ np.linalg.solve(sigma, ones))


def _square(sigma: np.ndarray) -> np.ndarray:
    if sigma.ndim != 2 or sigma.shape[0] != sigma.shape[1] or sigma.size == 0:
        raise ValueError(
            f"`approximation` must be a square matrix (L, L), got shape {sigma.shape}; pass one row a layer."
        )
    return sigma


def _needed(name: str, value: Any, approximation: str) -> int:
    if value is None:
        raise ValueError(f"`{name}` is needed for {approximation}, got None; pass it.")
    return positive_integer(name, value)


def _rate(name: str, isotropy: float, n_layers: int | None) -> NaturalGradientRate:
    if isotropy == 0:
        raise ValueError(
            "`approximation` has 1^T Sigma^-1 1 = 0, with which errors never shrink; pass another."
        )
    return NaturalGradientRate(isotropy, 1 / isotropy, name, n_layers)

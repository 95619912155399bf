r"""Learning rates of approximate natural gradient descent in wide networks."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.results import Result
from .._support.validation import finite_array, one_of, positive_integer
from ..mean_field import MeanField, refuse_data
from ..mean_field.outputs import layers_behind
from ..network import Network

__all__ = ["APPROXIMATIONS", "NaturalGradientRate", "natural_gradient_rate"]

APPROXIMATIONS = ("exact", "block_diagonal", "block_tridiagonal", "kfac", "kfac_unscaled")


@dataclass(frozen=True, repr=False, eq=False)
class NaturalGradientRate(Result):
    r"""What an approximate natural gradient G makes of the errors of training.

    Attributes
    ----------
    isotropy : float
        a in :math:`\frac1T J G^{-1} J^T = a I`: all errors shrink by the factor :math:`1 - \eta a` a step.
    rate : float
        1/a, with which one step of the linearised network fits the training set. Rates below 2/a (of the same
        sign as a) converge.
    approximation : str
        Its name, or "given".
    n_layers : int
        L.
    caution : str
        Which layer is too narrow for `n_samples`, so that the identity does not hold; empty where all are wide enough,
        or `n_samples` was not given.
    """

    isotropy: float
    rate: float
    approximation: str
    n_layers: int
    caution: str

    def __float__(self) -> float:
        return self.rate


def natural_gradient_rate(
    net: Network | MeanField, approximation: Any = "exact", n_samples: int | None = None
) -> NaturalGradientRate:
    r"""Learning rate of natural gradient descent with an approximation of F.

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
    net : Network or MeanField
        With linear outputs, and no parameters but those of its weight layers.
    approximation : str or array_like, shape (L, L)
    n_samples : int, optional
        T, of the training set: needed by K-FAC, and for `caution`.

    Returns
    -------
    NaturalGradientRate

    Raises
    ------
    ValueError
        An unknown name; `n_samples` missing; a singular :math:`\Sigma`, as of "block_tridiagonal" for L = 3s + 2; one
        with a = 0, or of another size than the network; layers that couple samples, normalised outputs, trained gains.

    Notes
    -----
    The identity needs Jacobians of full row rank, of all layers together ("exact") or of each, no limit of width: T C
    parameters, and in the last layer T features, a bias among them. K-FAC has
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
    >>> net = mfdnn.mlp([784, 4096, 4096, 2], "relu", sigma_w2=2.0, bias=False)
    >>> float(mfdnn.natural_gradient_rate(net, "kfac", n_samples=100)) == 1 / 300
    True
    >>> mfdnn.natural_gradient_rate(net, "block_tridiagonal").isotropy
    1.0
    >>> mfdnn.natural_gradient_rate(net, "kfac", n_samples=1000).caution
    'Weight layer 0 has 784 features for 1000 samples: A is singular.'
    """
    if isinstance(net, MeanField):
        refuse_data(net, n_samples=n_samples)
        n_samples, net = net.n_samples, net.network
    shapes = _weight_shapes(net)
    n = None if n_samples is None else positive_integer("n_samples", n_samples)
    if isinstance(approximation, str):
        name = one_of("approximation", approximation, APPROXIMATIONS)
        isotropy = _of_name(name, len(shapes), n)
    else:
        name, isotropy = "given", _of_matrix(approximation, len(shapes))
    if isotropy == 0:
        raise ValueError(
            "`approximation` has 1^T Sigma^-1 1 = 0, with which errors never shrink; pass another."
        )
    caution = "" if n is None else _caution(name, shapes, n, net.n_outputs)
    return NaturalGradientRate(isotropy, 1 / isotropy, name, len(shapes), caution)


def _weight_shapes(net: Network) -> list[tuple[int, int]]:
    """Units and features, a bias among them, of every weight layer."""
    if not isinstance(net, Network):
        raise TypeError(f"`net` must be a Network, got {type(net).__name__}; build one with mlp or Network.")
    linear = all(layer.homogeneous or layer.activation is not None for layer in layers_behind(net))
    if net.couples_samples or not linear:
        raise NoTheory(
            "`net` must treat samples one by one and have outputs that are not normalised, or J lacks rank; drop the "
            "normalisation."
        )
    if any(not layer.fully_connected for layer, _ in net.weight_layers):
        raise NoTheory(
            "`net` must have fully connected weight layers: of these approximations there is no theory for shared "
            "weights."
        )
    if any(not layer.n_weight_layers for layer, _ in net.parameter_layers):
        raise NoTheory(
            "`net` must have parameters in weight layers only, got trained gains, which would be blocks of their own; "
            "make the layer without them (affine=False of a normalisation)."
        )
    found = []
    for layer, shape in net.parameter_layers:
        weight, bias = layer.parameter_shapes(shape)
        assert weight is not None  # only biases may be missing
        found.append((weight[0], weight[1] + (bias is not None)))
    return found


def _of_name(name: str, depth: int, n: int | None) -> float:
    """Isotropy of a known approximation."""
    if name == "exact":
        return 1.0
    if name == "block_diagonal":
        return float(depth)
    if name == "block_tridiagonal":
        if depth % 3 == 2:
            raise ValueError(
                f"`approximation` block_tridiagonal is singular for {depth} weight layers, as for any 3s + 2; take "
                "block_diagonal, or another depth."
            )
        return float((depth + 2) // 3)
    if n is None:
        raise ValueError(f"`n_samples` is needed for {name}, got None; pass the size of the training set.")
    return float(n * depth if name == "kfac" else n * (depth - 1) + 1)


def _of_matrix(approximation: Any, depth: int) -> float:
    """1^T Sigma^-1 1."""
    sigma = finite_array("approximation", approximation, "a name, or a (L, L) matrix")
    if sigma.shape != (depth, depth):
        raise ValueError(
            f"`approximation` must be a name, or a matrix (L, L) = ({depth}, {depth}), got shape {sigma.shape}; pass "
            "one row a weight layer."
        )
    singular = np.linalg.svd(sigma, compute_uv=False)
    if singular[-1] <= depth * np.finfo(float).eps * singular[0]:  # NumPy's own rank
        raise ValueError(
            "`approximation` must be an invertible matrix, got a singular one; add damping to it."
        )
    ones = np.ones(depth)
    return float(ones @ np.linalg.solve(sigma, ones))


def _caution(name: str, shapes: list[tuple[int, int]], n: int, n_outputs: int) -> str:
    """Which layer is too narrow for n samples."""
    rows, last = n * n_outputs, len(shapes) - 1
    if name == "exact":
        total = sum(map(prod, shapes))
        return (
            ""
            if rows <= total
            else f"{total} parameters are too few for {n} samples: J has not full row rank."
        )
    for i, (units, features) in enumerate(shapes):
        if name.startswith("kfac"):
            if features < n:
                return f"Weight layer {i} has {features} features for {n} samples: A is singular."
            if i < last and units < rows:
                return f"Weight layer {i} has {units} units for T C = {rows} errors: B is singular."
        elif units * features < rows or (i == last and features < n):
            return (
                f"Weight layer {i} has {units} units of {features} features, too few for {n} samples: its Jacobian has "
                "not full row rank."
            )
    return ""

"""Two-layer networks on given data: their kernel at infinite width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.memory import require_memory
from .._support.validation import input_matrix, one_of
from ..activations import Activation
from ..activations.definition import as_activation
from ..gaussian.matrices import covariances
from .two_layer_result import TwoLayerTheory, checked_labels, checked_size

__all__ = ["TRAINED", "two_layer_theory"]

TRAINED = ("weights", "both")
UNIT = 1e-6  # how far a squared norm may be from 1: rounding of single precision
ROUNDING, INTEGRALS = 1e-15, 1e-11  # relative errors of the kernel: closed form, and integrals
SMALL_STEP = 0.1  # of pre-activations, in units of kappa, up to which training counts as lazy
WIDEST = 1e5  # a width beyond which hardly anybody trains


def two_layer_theory(
    X: Any, y: Any, activation: str | Callable | Activation = "relu", *, trained: str = "weights", kappa: float = 1.0
) -> TwoLayerTheory:
    r"""Convergence and generalisation theory of a wide two-layer network on data.

    The network is :math:`f(x) = m^{-1/2} \sum_r a_r \phi(w_r \cdot x)` with :math:`w_r \sim N(0, \kappa^2 I)` and
    :math:`a_r = \pm 1`, on inputs of norm 1, trained on the sum of half squared errors. As m grows, its tangent kernel
    is

    .. math::
        H^\infty_{ij} = x_i \cdot x_j\, E[\phi'(w \cdot x_i) \phi'(w \cdot x_j)] \quad
        \big(+\, E[\phi(w \cdot x_i) \phi(w \cdot x_j)] \text{ if a is trained too}\big),

    for relu :math:`x_i \cdot x_j (\pi - \arccos x_i \cdot x_j)/2\pi`, and stays so while it trains.

    Parameters
    ----------
    X : array (T, M_0)
        Inputs, each of norm 1.
    y : array (T,)
        Labels.
    activation : str, callable or Activation
    trained : {"weights", "both"}
        The w alone, as the theorems have it, or a too.
    kappa : float
        Standard deviation (not variance) of the weights, as in the papers.

    Returns
    -------
    TwoLayerTheory
        The kernel with its smallest eigenvalue, widths that theorems ask for, bounds, the fine-grained prediction of a
        run, and the generalisation measure.

    Raises
    ------
    TypeError, ValueError
        Inputs that are not of norm 1, two of them that are the same to this kernel (parallel; opposite for odd and even
        activations), labels of another shape, numbers that are not finite, `kappa` that is not positive. `NoTheory`: an
        activation that jumps, or that has no slope.
    MemoryError
        The T x T matrices do not fit.

    Notes
    -----
    relu and its like are closed forms; others go through the Gaussian integrals, accurate to 1e-11. Time O(T^3), memory
    of nine T x T matrices.

    References
    ----------
    Du, Zhai, Poczos & Singh 2019, "Gradient descent provably optimizes over-parameterized neural networks",
    arXiv:1810.02054. Others: `TwoLayerTheory.sources`.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 10))
    >>> X /= np.linalg.norm(X, axis=1, keepdims=True)
    >>> theory = mfdnn.two_layer_theory(X, np.sign(X[:, 0]))
    >>> theory
    TwoLayerTheory(relu, weights trained, T=60, lambda_0=0.0742249, kappa=1)
    >>> theory.predicted_residual(0.25, [0, 20, 50]).round(2)
    array([7.75, 1.74, 0.71])
    >>> random = np.random.default_rng(1).choice([-1.0, 1.0], 60)
    >>> round(theory.generalisation(), 2), round(theory.generalisation(random), 2)
    (2.07, 3.28)
    """
    act, size = as_activation("activation", activation), checked_size("kappa", kappa)
    one_of("trained", trained, TRAINED)
    inputs = _unit_inputs(X)
    n = len(inputs)
    labels = checked_labels("y", y, n)
    require_memory(9 * 8 * n**2, f"a two-layer theory of {n} inputs", "take fewer inputs")
    overlaps = inputs @ inputs.T
    # What `covariances` has on the diagonal are the variances.
    values, slopes = covariances(act, size**2 * np.diag(overlaps), size**2 * overlaps)
    if not np.all(np.isfinite(slopes)):
        raise NoTheory(
            f"`activation` must not jump, got {act.label}: the kernel of its weights is infinite; take a steep slope."
        )
    gram = overlaps * slopes + (values if trained == "both" else 0.0)
    _refuse_copies(gram, act)
    eigenvalues, eigenvectors = np.linalg.eigh(gram)
    eigenvalues, eigenvectors = eigenvalues[::-1].copy(), eigenvectors[:, ::-1]
    known = (ROUNDING if act.homogeneous else INTEGRALS) * np.trace(gram)
    lambda_0 = float(eigenvalues[-1]) if eigenvalues[-1] > known else 0.0
    lazy_width = np.inf
    if lambda_0 > 0:
        alpha = eigenvectors @ ((labels @ eigenvectors) / eigenvalues)
        moved = alpha @ ((slopes * (overlaps @ overlaps)) @ alpha) / n  # mean square, times m
        lazy_width = float(moved / (SMALL_STEP * size) ** 2)
    return TwoLayerTheory(
        gram=gram,
        labels=labels,
        eigenvalues=eigenvalues,
        lambda_0=lambda_0,
        separation=_separation(inputs, overlaps),
        lazy_width=lazy_width,
        activation=act,
        trained=trained,
        kappa=size,
        n_samples=n,
        caution=_caution(lambda_0, lazy_width, size, known),
        _eigenvectors=eigenvectors,
        _covariance=values,
    )


# -- implementation ------------------------------------------------------------------------------------------


def _unit_inputs(X: Any) -> np.ndarray:
    inputs = input_matrix("X", X)
    squares = np.einsum("ti,ti->t", inputs, inputs)
    off = np.abs(squares - 1)
    if off.max() > UNIT:
        worst = int(np.argmax(off))
        raise ValueError(
            f"`X` must have rows of norm 1, got norm {np.sqrt(squares[worst]):.6g} in row {worst}; if lengths may be "
            "forgotten, pass X / np.linalg.norm(X, axis=1, keepdims=True)."
        )
    return inputs


def _refuse_copies(gram: np.ndarray, act: Activation) -> None:
    """Two inputs whose gradients are parallel make the kernel singular."""
    size = np.sqrt(np.diag(gram))
    if not np.all(size > 0):
        raise NoTheory(f"`activation` has no slope at these inputs, got {act.label}: nothing is learnt; take another.")
    alike = np.abs(gram) >= (1 - INTEGRALS) * np.multiply.outer(size, size)
    pairs = np.argwhere(np.triu(alike, 1))
    if len(pairs):
        shown = ", ".join(f"{i} and {j}" for i, j in pairs[:5].tolist()) + (", ..." if len(pairs) > 5 else "")
        raise ValueError(
            f"`X` must have no parallel rows, got {len(pairs)} pair{'s' if len(pairs) > 1 else ''} that {act.label} "
            f"cannot tell apart (rows {shown}): the kernel is singular; remove one of each."
        )


def _separation(inputs: np.ndarray, overlaps: np.ndarray) -> float:
    if len(inputs) == 1:
        return 2.0
    nearest = np.argmax(np.where(np.eye(len(inputs), dtype=bool), -np.inf, overlaps))
    i, j = np.unravel_index(nearest, overlaps.shape)
    return float(np.linalg.norm(inputs[i] - inputs[j]))  # not by 2 - 2 c, which cancels


def _caution(lambda_0: float, lazy_width: float, kappa: float, known: float) -> str:
    if lambda_0 == 0:
        return (
            f"The smallest eigenvalue of the kernel is not told from 0 (it is known to {known:.1g}): too many inputs "
            "for their dimension and so smooth an activation. Bounds and widths are void."
        )
    if lazy_width > WIDEST:
        return (
            f"Training to the end is lazy, as every prediction assumes, only at widths above {lazy_width:.1g}: below, "
            f"pre-activations move by more than a tenth of their size, kappa = {kappa:g}; a larger kappa helps."
        )
    return ""

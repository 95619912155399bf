"""Rank of the hidden layer's matrix, and what training reaches at such widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.results import Result
from .._support.validation import checked, input_matrix, listed, positive_integer
from ..activations import Activation
from ..activations.definition import as_activation
from ..jobs.streams import streams
from ..kernels.two_layer_result import checked_labels, checked_size
from ..training.two_layer import draw, squared_residuals, tangent_kernel

__all__ = ["HiddenRank", "hidden_rank"]


@dataclass(frozen=True, repr=False, eq=False)
class HiddenRank(Result):
    r"""Rank of :math:`\phi(X W^T)` at several widths, and how well networks fit.

    Attributes
    ----------
    widths : ndarray of int, shape (N,)
        M.
    ranks : ndarray of int, shape (n_trials, N)
        Of the T x M matrix of hidden units at the start, numerical. Rank T: outer weights alone can fit all labels.
    outer : ndarray, shape (n_trials, N)
        :math:`|u - y|^2/|y|^2` that the best outer weights leave there.
    descent : ndarray, shape (n_trials, N)
        The same after descent on both layers; inf if it diverged.
    n_samples, n_steps : int
        T, and steps of descent.
    """

    widths: np.ndarray
    ranks: np.ndarray
    outer: np.ndarray
    descent: np.ndarray
    n_samples: int
    n_steps: int


def hidden_rank(
    X: Any,
    y: Any,
    activation: str | Callable | Activation = "relu",
    *,
    widths: Sequence[int] | None = None,
    kappa: float = 1.0,
    n_steps: int = 1000,
    n_trials: int = 5,
    rng: Any = None,
) -> HiddenRank:
    r"""Rank of the hidden matrix and the loss reached, where M passes T.

    A hidden layer with as many units as there are samples has a matrix :math:`\phi(X W^T)` of rank T, as a rule, so
    that outer weights exist which fit any labels: what theorems on landscapes rest on. Networks are those of
    `two_layer_theory`, trained in both layers at :math:`1/\lambda_{max}` of their own tangent kernel.

    Parameters
    ----------
    X : array (T, M_0)
        Of any norm.
    y : array (T,)
        Not all 0.
    activation : str, callable or Activation
    widths : sequence of int, optional
        M. Default: T/2, T and 2T.
    kappa : float
        Standard deviation of the weights.
    n_steps, n_trials : int
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes.

    Returns
    -------
    HiddenRank

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit, or are not finite; labels that are 0; sizes or a `kappa` that are not positive.
    MemoryError
        The hidden matrix does not fit.

    Notes
    -----
    The rank is numerical: of smooth activations in few dimensions it falls short of T long before M does.

    References
    ----------
    Nguyen & Hein 2017, arXiv:1704.08045, not read in print (`TwoLayerTheory.sources`).

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> X = np.random.default_rng(0).standard_normal((20, 5))
    >>> found = mfdnn.comparison.hidden_rank(X, np.sign(X[:, 0] * X[:, 1]), n_trials=3, rng=0)
    >>> found.ranks
    array([[10, 20, 20],
           [10, 20, 20],
           [10, 20, 20]])
    >>> found.outer.mean(axis=0).round(2)  # of the drawn hidden units; trained ones fit
    array([0.44, 0.  , 0.  ])
    >>> bool(found.descent.max() < 0.01)
    True
    """
    act, size = as_activation("activation", activation), checked_size("kappa", kappa)
    n_steps, n_trials, rng = checked(n_steps=n_steps, n_trials=n_trials, rng=rng)
    inputs = input_matrix("X", X)
    n, d = inputs.shape
    labels = checked_labels("y", y, n)
    square = float(labels @ labels)
    if square == 0:
        raise ValueError("`y` must not be 0 everywhere, or there is nothing to fit; pass other labels.")
    sizes = [max(n // 2, 1), n, 2 * n]
    if widths is not None:
        sizes = [positive_integer("widths", m) for m in listed("widths", widths, "[20, 40, 80]")]
    if not sizes:
        raise ValueError("`widths` must not be empty; pass for example [20, 40, 80].")
    seeds = streams(rng, n_trials)
    n_bytes = 8 * (6 * n * max(sizes) + 4 * n**2)
    require_memory(n_bytes, f"{max(sizes)} units at {n} inputs", "take fewer inputs, or narrower layers")
    found = np.array([[_one(m, d, size, seed, inputs, labels, act, n_steps) for m in sizes] for seed in seeds])
    return HiddenRank(
        widths=np.array(sizes),
        ranks=found[..., 0].astype(int),
        outer=found[..., 1] / square,
        descent=found[..., 2] / square,
        n_samples=n,
        n_steps=n_steps,
    )


def _one(
    width: int,
    n_inputs: int,
    kappa: float,
    seed: np.random.SeedSequence,
    X: np.ndarray,
    y: np.ndarray,
    act: Activation,
    n_steps: int,
) -> tuple[int, float, float]:
    """Rank, and the squares that the best outer weights and descent leave."""
    w, a = draw(width, n_inputs, kappa, seed)
    hidden = act(X @ w.T)
    best, _, rank, _ = np.linalg.lstsq(hidden, y, rcond=None)
    left = hidden @ best - y
    top = float(np.linalg.eigvalsh(tangent_kernel(w, a, X, act, both=True))[-1])
    rate = 1 / top if top > 0 else 0.0  # units that are off at all inputs learn nothing
    last = np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        for last in squared_residuals(w, a, X, y, act, rate, n_steps, both=True):  # noqa: B007
            pass
    return rank, float(left @ left), last if np.isfinite(last) else np.inf

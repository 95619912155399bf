"""Eigenvalue statistics of the Fisher information behind a softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.blas import single_blas_thread
from .._support.errors import NoTheory
from .._support.lanczos import largest_eigenvalues
from .._support.results import Result, unwrap
from .._support.validation import checked
from ..kernels.parts import kernel
from ..layers import Pairs
from ..losses.probabilities import SoftmaxRoot, logit_matrix, softmax_coefficients
from ..mean_field.outputs import mean_field_logits
from .cautions import of_second_moment, of_softmax
from .result import FisherStatistics

__all__ = ["SoftmaxStatistics", "softmax_statistics"]

DENSE_UP_TO = 512  # T C: above, block Lanczos beats a full eigenvalue decomposition
TOLERANCE = 1e-3  # residual over largest eigenvalue: far below the O(1/sqrt(M)) of a finite network
MAX_PRODUCTS = 20_000
SECULAR_POINTS = 60  # of the interpolation in `_secular_roots`: good to 1e-3


@dataclass(frozen=True, repr=False, eq=False)
class SoftmaxStatistics(Result):
    r"""Eigenvalue statistics of the Fisher information of class probabilities.

    It is :math:`F_{cross} = \frac1T \sum_t J(t)^T Q(t) J(t)`, and :math:`Q = \mathrm{diag}(p) - p p^T` depends on the
    outputs. Numbers are means over `n_draws` draws of all outputs; `spread` has their standard deviations.

    Attributes
    ----------
    beta_1, beta_2, beta_3, beta_4 : float
        Coefficients of the outputs, as in `mfdnn.losses.probabilities.SoftmaxCoefficients`.
    mean, second_moment : float
        tr F_cross / P and tr F_cross^2 / P.
    outliers : ndarray, shape (C - 1,)
        The largest eigenvalues, descending. Q 1 = 0 for every sample, so E[Q] has rank C - 1, and only C - 1
        eigenvalues are of the size of M as T grows.
    largest : float
        The first of them.
    lower, upper : float
        Bounds of `largest`: of the test vector :math:`E[\nabla f_k]`, and :math:`(\mathrm{tr}\,F_{cross}^2)^{1/2}`.
    limit : ndarray, shape (C - 1,)
        What `outliers` tend to as T grows with p distributed as it is: :math:`A_2` times the eigenvalues of
        E[Q]. Of given inputs, :math:`A_2` averages over pairs.
    largest_regression : float
        The largest eigenvalue of :math:`F = \frac1T \sum_t J(t)^T J(t)` of the same network and inputs.
    spread : dict of str to float or ndarray
        Standard deviation over draws of `beta_1`, ..., `mean`, ..., `limit`, by name; {} for one draw.
    n_outliers, n_parameters, n_samples, n_outputs, n_draws : int
        C - 1, P, T, C, and how many draws of the outputs.
    caution : str
        What to know before `largest` or `second_moment` is used; empty where nothing is known against them.
    """

    beta_1: float
    beta_2: float
    beta_3: float
    beta_4: float
    mean: float
    second_moment: float
    outliers: np.ndarray
    largest: float
    lower: float
    upper: float
    limit: np.ndarray
    largest_regression: float
    spread: dict[str, Any]
    n_outliers: int
    n_parameters: int
    n_samples: int
    n_outputs: int
    n_draws: int
    caution: str

    def __repr__(self) -> str:
        numbers = ", ".join(f"{k}={getattr(self, k):.6g}" for k in ("mean", "second_moment", "largest"))
        return f"SoftmaxStatistics({numbers}, T={self.n_samples}, C={self.n_outputs}, P={self.n_parameters})"

    @property
    def largest_any_softmax(self) -> float:
        r"""Half of `largest_regression`, which no softmax exceeds: :math:`Q \le I/2`."""
        return self.largest_regression / 2

    @property
    def rate_now(self) -> float:
        """2 / `largest`: where gradient descent becomes unstable at these outputs."""
        return 2 / self.largest if self.largest > 0 else float("inf")

    @property
    def rate_any_softmax(self) -> float:
        """4 / `largest_regression`: stable at any outputs.

        As long as F itself does not grow.
        """
        return 2 / self.largest_any_softmax if self.largest_regression > 0 else float("inf")

    @property
    def which_rate(self) -> str:
        """Which of the two learning rates applies, and why."""
        growth = self.largest_any_softmax / self.largest if self.largest > 0 else float("inf")
        return (
            f"2/lambda_max(F_cross) = {self.rate_now:.4g} is the stability limit at these outputs. They move, and "
            f"F_cross with them: with F fixed it may still grow {growth:.3g} times, most of all from small outputs, "
            "where p is uniform and |Q| = 1/C. "
            f"4/lambda_max(F) = {self.rate_any_softmax:.4g} holds for every softmax, as long as F does not grow; "
            "it is the one to use before training."
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, both learning rates and what is said of them, as plain Python."""
        rates = {"rate_now": self.rate_now, "rate_any_softmax": self.rate_any_softmax}
        return {**super().to_dict(), **rates, "which_rate": self.which_rate}


def softmax_statistics(
    fim: FisherStatistics, *, logits: Any = None, n_draws: int = 10, rng: Any = 0
) -> SoftmaxStatistics:
    r"""Statistics of the Fisher information of a wide random classifier.

    With :math:`\Theta` the T x T kernel of one output (`fisher_statistics`) the non-zero eigenvalues are those
    of :math:`R (\Theta \otimes I_C) R^T / T`, where R is block-diagonal with :math:`R(t)^T R(t) = Q(t)`. For
    exchangeable inputs, with :math:`A_1` on the diagonal of :math:`\Theta` and :math:`A_2` elsewhere,

    .. math::
        m_\lambda = \frac{\beta_1 A_1}{P}, \qquad
        s_\lambda = \frac1P \left(\beta_3 \frac{A_1^2}{T} + \beta_2 \frac{T-1}{T} A_2^2\right), \qquad
        \beta_4 \frac{A_1 + (T-1) A_2}{T} \le \lambda_{max} \le \sqrt{P s_\lambda}.

    Parameters
    ----------
    fim : FisherStatistics
        Of the network with its linear outputs, two or more: the softmax is added here.
    logits : array_like, shape (T, C), optional
        Outputs, of a sampled network or during training. Default: drawn as those of the infinitely wide
        network, Gaussian with the variance and covariance of its last layer, independent between outputs.
    n_draws : int
        How many times all outputs are drawn: what inputs share in the outputs of one network does not average
        out over samples. Not with `logits`.
    rng : int, numpy.random.Generator, ...
        Of the draws. The default gives the same numbers every time.

    Returns
    -------
    SoftmaxStatistics

    Raises
    ------
    TypeError, ValueError
        Another `fim`, one output, `logits` that are not (T, C), or statistics of several `q0` or `c0` at once
        or of many inputs, summed by tiles.

    Examples
    --------
    >>> import mfdnn
    >>> from mfdnn.fisher import softmax_statistics
    >>> net = mfdnn.mlp([1000, 1000, 1000, 10], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> fim = softmax_statistics(mfdnn.fisher_statistics(net, n_samples=100))
    >>> fim.n_outliers, bool(fim.lower < fim.largest < fim.upper)
    (9, True)
    >>> round(fim.beta_1, 2), round(fim.spread["beta_1"], 2)
    (0.7, 0.07)

    Notes
    -----
    Order in M, and bounds by those of a squared error, are in the paper. The coefficients, the refinement to
    exact widths and the eigenvalues in `outliers` are derived for this package and checked by simulation:
    within 6 % at M = 1000, T = 100, C = 10, for given logits (second moment: 9 %). `outliers` are computed to
    1e-3; of exchangeable inputs none is below the edge of the bulk. Cost: about 0.05 s a draw for T = 1000 and
    C = 10; seconds for given inputs.

    References
    ----------
    Karakida, Akaho & Amari 2021, "Pathological spectra of the Fisher information metric and its variants in
    deep neural networks", arXiv:1910.05992.
    """
    if not isinstance(fim, FisherStatistics):
        raise TypeError(
            f"`fim` must be FisherStatistics, got {type(fim).__name__}; pass mfdnn.fisher_statistics of the network."
        )
    if np.ndim(fim.largest):
        raise ValueError(
            f"`fim` must be of one `q0` and one `c0`, got an array of shape {np.shape(fim.largest)}; call for each."
        )
    if fim.normalised_by:
        raise NoTheory(
            f"`fim` must be of linear outputs, got {fim.normalised_by} behind them, for which there is no softmax "
            "theory; take the network without it."
        )
    if fim.n_outputs < 2:
        raise ValueError("`fim` must be of two outputs or more, got 1: a softmax of one is constant; use C >= 2.")
    if fim.summed:
        raise ValueError(
            f"`fim` is of {fim.n_samples} inputs whose kernels were summed tile by tile, and a softmax needs them "
            "whole; take mfdnn.fisher_statistics(net, inputs=X, output='softmax'), or fewer inputs."
        )
    shape, op = (fim.n_samples, fim.n_outputs), fim.order_parameters
    if logits is None:
        draws = mean_field_logits(op, *shape, checked(n_draws=n_draws), rng=checked(rng=rng))
    else:
        draws = logit_matrix(logits)[None]
        if draws.shape[1:] != shape:
            raise ValueError(
                f"`logits` must have shape {shape}, got {draws.shape[1:]}; pass all outputs at all inputs of `fim`."
            )
    theta = kernel(op)
    with single_blas_thread():  # many small products and eigenvalue problems, which threads slow down
        found = [_of_outputs(theta, draw, fim.n_parameters) for draw in draws]
    names = list(found[0])
    beta_2, square = (float(np.mean([one[name] for one in found])) for name in ("beta_2", "second_moment"))
    said = (
        of_softmax(op, *shape),
        of_second_moment(beta_2 * fim._overlaps, square * fim.n_parameters),
    )
    return SoftmaxStatistics(
        **{name: unwrap(np.mean([one[name] for one in found], axis=0)) for name in names},
        largest_regression=fim.largest,
        spread={n: unwrap(np.std([one[n] for one in found], axis=0, ddof=1)) for n in names if len(found) > 1},
        n_outliers=fim.n_outputs - 1,
        n_parameters=fim.n_parameters,
        n_samples=fim.n_samples,
        n_outputs=fim.n_outputs,
        n_draws=len(draws),
        caution=" ".join(filter(None, said)),
    )


def _of_outputs(theta: Pairs, logits: np.ndarray, n_parameters: int) -> dict[str, Any]:
    """What `SoftmaxStatistics` averages over draws, of one of them."""
    beta, root = softmax_coefficients(logits), SoftmaxRoot(logits)
    p = root.p
    n, one, two = len(p), theta.at_one, theta.at_two
    if theta.given:
        g, cross = p @ p.T, p @ (p**2).T
        square = np.sum(two**2 * (g + g**2 - cross - cross.T)) / n**2
    else:
        square = (beta.beta_3 * one**2 + beta.beta_2 * (n - 1) * two**2) / n
    trace = np.mean(one * (1 - (p**2).sum(axis=1)))
    # Along the mean gradient of output k, whose product with that of sample t is `row`.
    row = theta.apply(np.ones((1, n, 1)))[0] / n
    along = np.mean(p * (1 - p) * row**2, axis=0).max() / row.mean() if row.mean() > 0 else 0.0
    outliers = _outliers(theta, root)
    average = np.diag(p.mean(axis=0)) - p.T @ p / n
    return {
        **{name: getattr(beta, name) for name in ("beta_1", "beta_2", "beta_3", "beta_4")},
        "mean": trace / n_parameters,
        "second_moment": square / n_parameters,
        "outliers": outliers,
        "largest": outliers[0],
        "lower": along,
        "upper": np.sqrt(square),
        "limit": _shared(theta) * np.linalg.eigvalsh(average)[:0:-1],
    }


def _shared(theta: Pairs) -> float:
    """A_2, the mean off the diagonal; 0 for one given input, which has no pair."""
    return 0.0 if theta.given and theta.n_samples == 1 else float(theta.averages()[1])


def _outliers(theta: Pairs, root: SoftmaxRoot) -> np.ndarray:
    """The C - 1 largest eigenvalues of R (Theta x I_C) R^T / T.

    Of exchangeable inputs none is below the edge of the bulk.
    """
    n, c = root.p.shape

    def product(v: np.ndarray) -> np.ndarray:
        w = theta.apply(root.transpose(v.T.reshape(-1, n, c)))
        return root.apply(w).reshape(len(w), -1).T / n

    if n * c <= DENSE_UP_TO:
        return np.linalg.eigvalsh(product(np.eye(n * c)))[:-c:-1]
    if not theta.given:
        return _secular_roots(root.p, float(theta.at_two), float(theta.at_one - theta.at_two) / n)
    rng = np.random.default_rng(0)  # a start, not a sample: mostly constants over samples, where outliers are
    start = root.apply(np.broadcast_to(rng.standard_normal((c - 1, 1, c)), (c - 1, n, c)))
    start = start.reshape(c - 1, -1).T + 0.1 * rng.standard_normal((n * c, c - 1)) / np.sqrt(c)
    return largest_eigenvalues(product, start, c - 1, TOLERANCE, MAX_PRODUCTS, 10 * np.finfo(float).eps)[0]


def _secular_roots(p: np.ndarray, shared: float, own: float) -> np.ndarray:
    r"""The C - 1 largest eigenvalues of `shared` R R^T / T + `own` R(t) R(t)^T.

    The edge of the bulk stands for those that are not above it. With Q = diag(p) - p p^T they are where an eigenvalue
    of mean_t shared Q (x - own Q)^-1 is 1. By the Sherman-Morrison formula Q (x - own Q)^-1 = diag(v) - v v^T / sum(v),
    v = p / (x - own p).
    """
    from scipy.interpolate import PchipInterpolator

    n, c = p.shape
    edge = own * _largest_of_q(p).max()
    # Denser towards the edge, where terms diverge; no eigenvalue is above edge + shared / 2.
    x = edge + np.geomspace(1e-6 * edge, max(shared, edge), SECULAR_POINTS)
    excess = np.empty((SECULAR_POINTS, c - 1))  # increasing in x
    for i, at in enumerate(x):
        v = p / (at - own * p)
        q = np.diag(v.sum(axis=0)) - (v.T / v.sum(axis=1)) @ v
        excess[i] = at - at * shared / n * np.linalg.eigvalsh(q)[:0:-1]
    inside = excess[0] > 0  # not above the bulk
    return np.array([edge if inside[j] else PchipInterpolator(excess[:, j], x)(0.0) for j in range(c - 1)])


def _largest_of_q(p: np.ndarray) -> np.ndarray:
    """Largest eigenvalue of diag(p) - p p^T for each row.

    It is in [p_2, p_1], where sum_k p_k^2 / (p_k - x) = 1.
    """
    low, high = np.sort(p, axis=1)[:, -2:].T
    for _ in range(50):  # to rounding
        x = (low + high) / 2
        with np.errstate(divide="ignore"):  # p_1 = p_2
            above = np.nansum(p**2 / (p - x[:, None]), axis=1) > 1
        low, high = np.where(above, low, x), np.where(above, x, high)
    return high

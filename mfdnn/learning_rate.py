"""The largest stable learning rate, in the user's own loss and optimiser."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._results import Result
from ._validation import finite_array, finite_number, nonnegative_array, one_of
from .finite_width import OutlierDistribution, outlier_distribution
from .fisher import FisherStatistics, fisher_statistics, softmax_statistics
from .network import Network

__all__ = ["LOSSES", "LearningRate", "loss_scale", "max_learning_rate", "stability_limit"]

LOSSES = {
    "half_mse": "(1/(2T)) sum_t |f_t - y_t|^2",
    "mse_per_sample": "(1/T) sum_t |f_t - y_t|^2",
    "torch_mse": "(1/(TC)) sum_t |f_t - y_t|^2, torch.nn.MSELoss()",
    "torch_mse_sum": "sum_t |f_t - y_t|^2, torch.nn.MSELoss(reduction='sum')",
    "cross_entropy": "-(1/T) sum_t log softmax(f_t)[y_t], torch.nn.CrossEntropyLoss()",
}
OPTIMISERS = {"gradient descent": (0.0, False), "heavy ball 0.9": (0.9, False), "Nesterov 0.9": (0.9, True)}

# In units of 2/lambda: how far beyond it full-batch descent is known to come back (see `LearningRate`).
CATAPULT_LINEAR, CATAPULT_RELU = 2.0, 6.0


@dataclass(frozen=True, repr=False, eq=False)
class LearningRate(Result):
    r"""Largest stable learning rate, with the convention it belongs to; ``float(lr)`` is the number.

    Attributes
    ----------
    value : float
        Largest step at which full-batch descent does not grow near initialisation (inf if nothing is learnt). For
        cross-entropy a bound that holds for any softmax; with `confidence` that of so many of the networks drawn.
    lambda_max : float
        Largest eigenvalue of :math:`F = \frac1T \sum_t \sum_k \nabla f_k \nabla f_k^T` at infinite width.
    loss : str
        One of `LOSSES`.
    scale : float
        s: the matrix that matters is s F + `weight_decay` I.
    momentum : float
    nesterov : bool
    weight_decay : float
    catapult_limit : float
        Above it descent diverges for good; below it, and above `value`, the loss first grows and then descent
        settles in a flatter region. Empirical: 2 `typical`, and 6 `typical` if every activation is relu.
    n_samples, n_outputs : int
        T and C.
    caution : str
        What `FisherStatistics.caution` says of `lambda_max`, and `OutlierDistribution.caution` of its quantile;
        empty if nothing.
    confidence : float or None
        Share of the networks drawn whose own limit is above `value`; None: `value` is `typical`.
    lambda_quantile : float or None
        What the largest eigenvalue of F stays below with probability `confidence`.
    lambda_max_softmax : float or None
        For cross-entropy the largest eigenvalue of :math:`F_{cross} = \frac1T \sum_t J_t^T Q_t J_t` at
        initialisation, at infinite width. None for other losses, and behind a normalisation of the outputs.

    Notes
    -----
    Below `value` stability is a theorem of the linearised network. Twice that, as the limit of the catapult,
    is derived for the linear network of two layers with plain gradient descent on a squared error; six times
    was observed for relu networks; for other activations the smaller multiple is taken. With momentum, weight
    decay or cross-entropy these multiples are a guess.

    References
    ----------
    Lewkowycz, Bahri, Dyer, Sohl-Dickstein & Gur-Ari 2020, "The large learning rate phase of deep learning:
    the catapult mechanism", arXiv:2003.02218.
    """

    value: float
    lambda_max: float
    loss: str
    scale: float
    momentum: float
    nesterov: bool
    weight_decay: float
    catapult_limit: float
    n_samples: int
    n_outputs: int
    caution: str
    confidence: float | None = None
    lambda_quantile: float | None = None
    lambda_max_softmax: float | None = None

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        drawn = "" if self.confidence is None else f", for {self._share} of networks"
        return f"LearningRate({self.value:.6g}, loss={self.loss!r}, {self.optimiser}{drawn})"

    @property
    def typical(self) -> float:
        """The limit at infinite width, which wide networks scatter around."""
        return self._limit(self.scale * self.lambda_max)

    @property
    def initial(self) -> float | None:
        """For cross-entropy the limit of `lambda_max_softmax`: at the first outputs, not safe once they move."""
        return None if self.lambda_max_softmax is None else self._limit(self.lambda_max_softmax)

    def _limit(self, curvature: float) -> float:
        return stability_limit(curvature + self.weight_decay, self.momentum, self.nesterov)

    @property
    def _share(self) -> str:
        return "" if self.confidence is None else f"{100 * self.confidence:.6g} %"

    @property
    def optimiser(self) -> str:
        """Name of the optimiser, with its momentum and weight decay."""
        name = "Nesterov momentum" if self.nesterov else "heavy-ball momentum"
        text = f"{name} {self.momentum:g}" if self.momentum else "gradient descent"
        return text + (f", weight decay {self.weight_decay:g}" if self.weight_decay else "")

    @property
    def convention(self) -> str:
        """Which loss, which matrix, which statement the number belongs to."""
        matrix = f"{self.scale:g} F" + (f" + {self.weight_decay:g} I" if self.weight_decay else "")
        head = f"loss {self.loss} = {LOSSES[self.loss]}; F = (1/T) sum_t sum_k grad f_k grad f_k^T; "
        drawn = ""
        if self.lambda_quantile is not None:
            drawn = (
                f" In {self._share} of the networks drawn at these widths F has no eigenvalue above "
                f"{self.lambda_quantile:.4g}, from which the value is; at infinite width it is {self.typical:.4g}."
            )
        if self.loss != "cross_entropy":
            return (
                head
                + f"the Hessian at a perfect fit is {matrix}; stability limit of {self.optimiser}."
                + drawn
            )
        bound = (
            f"a bound, not an edge: for any softmax the matrix is at most {matrix}, so the value is safe for "
            f"{self.optimiser} as long as F itself does not grow; it is the one to use before training.{drawn}"
        )
        if self.lambda_max_softmax is None:
            return head + bound
        growth = self.scale * self.lambda_max / self.lambda_max_softmax if self.lambda_max_softmax else np.inf
        return (
            f"{head}{bound} At the first outputs the limit is {self.initial:.4g}, from lambda_max(F_cross) = "
            f"{self.lambda_max_softmax:.4g}. It holds in their neighbourhood only: they move, and with F fixed "
            f"F_cross may still grow {growth:.3g} times, most of all from small outputs."
        )

    @property
    def zones(self) -> dict[str, tuple[float, float]]:
        """Intervals of learning rates: monotone, catapult, diverges; monotone, unknown for cross-entropy."""
        if self.loss == "cross_entropy":
            return {"monotone": (0.0, self.value), "unknown": (self.value, np.inf)}
        return {
            "monotone": (0.0, self.value),
            "catapult": (self.value, self.catapult_limit),
            "diverges": (self.catapult_limit, np.inf),
        }

    def zone(self, eta: Any) -> Any:
        """What full-batch descent with learning rate `eta` does from initialisation.

        Parameters
        ----------
        eta : float or array_like
            Learning rates >= 0.

        Returns
        -------
        str or ndarray of str
            "monotone" (up to `value`: the loss does not grow; with momentum it may ripple), "catapult" (up to
            `catapult_limit`: it grows, then falls) or "diverges". Only the first is proved; see the class. For
            cross-entropy "monotone" or "unknown": beyond a bound nothing is known.

        Raises
        ------
        ValueError
            Negative or non-finite `eta`.
        """
        rates = finite_array("eta", eta)
        if np.any(rates < 0):
            raise ValueError(f"`eta` must be a learning rate >= 0, got {rates.min():g}; pass its size.")
        names = np.array(list(self.zones))
        upper = [high for _, high in self.zones.values()][:-1]
        zone = names[np.searchsorted(upper, rates)]
        return str(zone) if rates.ndim == 0 else zone

    def table(self) -> str:
        """Text table of the limits for every loss and the usual optimisers, with this weight decay.

        With `confidence` each loss has a second row, for that share of the networks drawn. If the loss is
        cross-entropy the last row is that of the first outputs, its scale `lambda_max_softmax` / `lambda_max`.
        """
        rows = [["loss", "scale s", *OPTIMISERS]]

        def add(label: str, scale: str, curvature: float) -> None:
            curvature += self.weight_decay
            limits = [stability_limit(curvature, *optimiser) for optimiser in OPTIMISERS.values()]
            rows.append([label, scale, *(f"{limit:.4g}" for limit in limits)])

        for loss in LOSSES:
            if loss == "cross_entropy" and self.n_outputs == 1:
                continue
            scale = loss_scale(loss, self.n_outputs, self.n_samples)
            add(loss, f"{scale:.4g}", scale * self.lambda_max)
            if self.lambda_quantile is not None:
                add(f"  {self._share} of draws", "", scale * self.lambda_quantile)
        if self.lambda_max_softmax is not None:
            ratio = self.lambda_max_softmax / self.lambda_max if self.lambda_max else 0.0
            add("  at first outputs", f"{ratio:.4g}", self.lambda_max_softmax)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def to_dict(self) -> dict[str, Any]:
        """All fields, `typical`, `initial`, `convention` and `zones`, as plain Python."""
        return {
            **super().to_dict(),
            "typical": self.typical,
            "initial": self.initial,
            "convention": self.convention,
            "zones": {name: list(interval) for name, interval in self.zones.items()},
        }


def max_learning_rate(
    net: Network,
    n_samples: int | None = None,
    q0: float | None = None,
    c0: float | None = None,
    *,
    inputs: np.ndarray | None = None,
    loss: str = "half_mse",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    confidence: float | None = None,
) -> LearningRate:
    r"""Largest learning rate at which full-batch descent is stable, before anything is trained.

    Near initialisation a wide network is linear in its parameters, and descent on a loss with curvature
    :math:`\lambda = s \lambda_{max}(F) + w` is stable below

    .. math::
        \eta = \frac2\lambda, \qquad \frac{2(1+b)}{\lambda} \text{ (heavy ball)}, \qquad
        \frac{2(1+b)}{(1+2b)\lambda} \text{ (Nesterov)},

    with s = 1 for ``half_mse``, 2 for ``mse_per_sample``, 2/C for ``torch_mse``, 2T for ``torch_mse_sum`` and
    1/2 for ``cross_entropy``, which is a bound: the Hessian in the outputs is
    :math:`Q = \mathrm{diag}(p) - p p^T`, and
    :math:`v^T Q v = \mathrm{Var}_p(v) \le (\max v - \min v)^2 / 4 \le |v|^2 / 2` for every softmax p.

    Parameters
    ----------
    net : Network
    n_samples, q0, c0, inputs
        Number of inputs (default 1000) and their statistics (1 and 0), or the inputs themselves, as in
        `fisher_statistics`.
    loss : str
        One of `LOSSES`, where the formulas are.
    momentum : float
        b, in [0, 1), without dampening.
    nesterov : bool
        Nesterov's momentum instead of the heavy ball.
    weight_decay : float
        w >= 0: the loss has an extra :math:`\frac w2 |\theta|^2`, as in ``torch.optim.SGD``.
    confidence : float, optional
        In (0, 1): a rate below the limit of that share of the networks drawn at these widths, from the quantile of
        :math:`\lambda_{max}` by `mfdnn.finite_width.outlier_distribution`. Default: the limit at infinite width,
        which is too large for half of them, and for most with several outputs.

    Returns
    -------
    LearningRate
        With `value`, its `convention`, the `zones` beyond it, a `table` of other losses and optimisers; for
        cross-entropy also the limit at the first outputs, `initial`.

    Raises
    ------
    ValueError
        Unknown `loss`, cross_entropy of one output, `momentum` outside [0, 1), negative `weight_decay`,
        `confidence` outside (0, 1) or of a network whose law of :math:`\lambda_{max}` is not known
        (`outlier_distribution` says which), and what `fisher_statistics` raises.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([784, 1000, 1000, 10], "relu", init="he")
    >>> lr = mfdnn.max_learning_rate(net, loss="torch_mse", momentum=0.9)
    >>> lr
    LearningRate(0.0275477, loss='torch_mse', heavy-ball momentum 0.9)
    >>> lr.zone([0.01, 0.1, 1.0])
    array(['monotone', 'catapult', 'diverges'], dtype='<U8')
    >>> print(lr.table())
    loss            scale s  gradient descent  heavy ball 0.9  Nesterov 0.9
    -----------------------------------------------------------------------
    half_mse              1            0.0029         0.00551      0.001968
    mse_per_sample        2           0.00145        0.002755     0.0009838
    torch_mse           0.2            0.0145         0.02755      0.009838
    torch_mse_sum      2000          1.45e-06       2.755e-06     9.838e-07
    cross_entropy       0.5            0.0058         0.01102      0.003935
    >>> mfdnn.max_learning_rate(net, loss="torch_mse", momentum=0.9, confidence=0.95)
    LearningRate(0.0241201, loss='torch_mse', heavy-ball momentum 0.9, for 95 % of networks)

    Notes
    -----
    Without `confidence` the number is that of the infinitely wide network; the largest eigenvalue of one sampled
    network scatters around it by O(1/sqrt(M)). :math:`\lambda_{max}` moves in training, and mini-batches need
    smaller steps than the full batch. Cost: that of `fisher_statistics`; for cross-entropy that of
    `softmax_statistics`, half a second for T = 1000 and C = 10; with `confidence` 0.1 s more.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean
    field approach", arXiv:1806.01316. Polyak 1964, "Some methods of speeding up the convergence of iteration
    methods" (heavy ball).
    """
    one_of("loss", loss, LOSSES)
    b, w = finite_number("momentum", momentum), finite_number("weight_decay", weight_decay)
    if not 0 <= b < 1:
        raise ValueError(f"`momentum` must lie in [0, 1), got {b:g}; 0.9 is usual, 0 is plain descent.")
    if w < 0:
        raise ValueError(f"`weight_decay` must be >= 0, got {w:g}; pass its size, without a sign.")
    if confidence is not None and not 0 < finite_number("confidence", confidence) < 1:
        raise ValueError(f"`confidence` must be a probability in (0, 1), got {confidence:g}; 0.95 is usual.")
    for name, number in (("q0", q0), ("c0", c0)):  # `fisher_statistics` takes arrays too
        if number is not None:
            finite_number(name, number)
    fim = fisher_statistics(net, n_samples, q0, c0, inputs=inputs)
    if loss == "cross_entropy" and fim.n_outputs == 1:
        raise ValueError(
            "`loss` = cross_entropy needs two outputs or more, got 1: a softmax of one output is constant."
        )
    scale = loss_scale(loss, fim.n_outputs, fim.n_samples)
    typical = value = stability_limit(scale * fim.largest + w, b, nesterov)
    cautions, quantile = [fim.caution], None
    if confidence is not None:
        law = _law(net, fim, q0, c0, inputs)
        cautions.append(law.caution)
        quantile = law.quantile(confidence)
        value = stability_limit(scale * quantile + w, b, nesterov)
    all_relu = bool(net.activations) and all(act.name == "relu" for act in net.activations)
    catapult = (CATAPULT_RELU if all_relu else CATAPULT_LINEAR) * typical
    return LearningRate(
        value=value,
        lambda_max=fim.largest,
        loss=loss,
        scale=scale,
        momentum=b,
        nesterov=bool(nesterov),
        weight_decay=w,
        catapult_limit=max(catapult, value),
        n_samples=fim.n_samples,
        n_outputs=fim.n_outputs,
        caution=" ".join(filter(None, cautions)),
        confidence=None if confidence is None else float(confidence),
        lambda_quantile=quantile,
        lambda_max_softmax=softmax_statistics(fim).largest
        if loss == "cross_entropy" and not fim.normalised_by
        else None,
    )


def _law(net: Network, fim: FisherStatistics, q0: Any, c0: Any, inputs: Any) -> OutlierDistribution:
    """Law of `fim.largest`, whose caution the result carries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return outlier_distribution(net, None if inputs is not None else fim.n_samples, q0, c0, inputs=inputs)


def loss_scale(loss: str, n_outputs: int, n_samples: int) -> float:
    """Factor s such that the curvature of `loss` is s F; for cross-entropy an upper bound.

    Parameters
    ----------
    loss : str
        One of `LOSSES`.
    n_outputs, n_samples : int
        C and T.

    Raises
    ------
    ValueError
        Unknown `loss`.

    Examples
    --------
    >>> from mfdnn.learning_rate import loss_scale
    >>> loss_scale("torch_mse", n_outputs=10, n_samples=1000)
    0.2
    """
    return {
        "half_mse": 1.0,
        "mse_per_sample": 2.0,
        "torch_mse": 2.0 / n_outputs,
        "torch_mse_sum": 2.0 * n_samples,
        "cross_entropy": 0.5,
    }[one_of("loss", loss, LOSSES)]


def stability_limit(curvature: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    r"""Largest stable step on a quadratic of that largest `curvature`; inf where it is 0.

    In an eigendirection of curvature :math:`\lambda` the two-step map has the characteristic polynomial
    :math:`z^2 - (1 + b - \eta\lambda) z + b` (heavy ball) or
    :math:`z^2 - (1 + b)(1 - \eta\lambda) z + b (1 - \eta\lambda)` (Nesterov); the first root to leave the
    unit circle does so at z = -1.

    Parameters
    ----------
    curvature : float
        Largest eigenvalue of the Hessian, >= 0.
    momentum : float
        b, in [0, 1).
    nesterov : bool

    Raises
    ------
    ValueError
        Negative or non-finite `curvature`.

    Examples
    --------
    >>> from mfdnn.learning_rate import stability_limit
    >>> stability_limit(4.0), stability_limit(4.0, momentum=0.5), stability_limit(4.0, 0.5, nesterov=True)
    (0.5, 0.75, 0.375)
    """
    nonnegative_array("curvature", curvature)
    if curvature == 0:
        return float("inf")
    steps = 2 * (1 + momentum) / (1 + 2 * momentum) if nesterov else 2 * (1 + momentum)
    return float(steps / curvature)

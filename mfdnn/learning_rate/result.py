"""A learning rate with its convention, what is beyond it, and what is safe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from .._support.results import Result
from .._support.validation import finite_array
from ..finite_width.outliers import law_of
from ..finite_width.outliers_result import OutlierDistribution
from ..losses import LOSSES, OPTIMISERS, loss_scale, stability_limit
from ..mean_field import MeanField
from .updates import FirstStep

__all__ = ["SAFE_SHARE", "LearningRate"]

SAFE_SHARE = 0.95  # of the networks drawn, whose own limit is above `LearningRate.safe`


@dataclass(frozen=True, repr=False, eq=False)
class LearningRate(Result):
    r"""Largest stable learning rate, with the convention that it belongs to.

    ``float(lr)`` is `value`. Of the networks that a person may draw about half have a smaller limit than that of
    infinite width, and most if they have several outputs: the rate to train with is `safe`.

    Attributes
    ----------
    value : float
        Largest step at which full-batch descent does not grow near initialisation (inf if nothing is learnt). For
        cross-entropy a bound that holds for any softmax; with `confidence` that of so many of the networks drawn.
        What else it may be `notion` says.
    lambda_max : float or None
        Largest eigenvalue of :math:`F = \frac1T \sum_t \sum_k \nabla f_k \nabla f_k^T` at infinite width. None where
        the value is of another `notion` than stability.
    loss : str
        One of `LOSSES`.
    scale : float
        s: the matrix that matters is s F + `weight_decay` I.
    momentum : float
        b, of the heavy ball or of Nesterov's; 0 for plain descent.
    nesterov : bool
        Whether the momentum is Nesterov's.
    weight_decay : float
        w, added to every eigenvalue.
    catapult_limit : float or None
        Above it descent diverges for good; below it, and above `value`, the loss first grows and then descent
        settles in a flatter region. Empirical, for plain descent on squared errors: 2 `typical`, and 6 `typical` for
        relu networks of two hidden layers or more. None where nothing is known: cross-entropy, momentum, normalisation,
        layers of one's own that may normalise (neither weights, nor an activation, nor `Layer.homogeneous`).
    n_samples, n_outputs : int
        T and C.
    caution : str
        What `FisherStatistics.largest_caution` says of `lambda_max` and, with `confidence`,
        `OutlierDistribution.caution` of its quantile; empty if nothing.
    confidence : float or None
        Share of the networks drawn whose own limit is above `value`; None: `value` is `typical`.
    lambda_quantile : float or None
        What the largest eigenvalue of F stays below with probability `confidence`.
    lambda_max_softmax : float or None
        For cross-entropy the largest eigenvalue of :math:`F_{cross} = \frac1T \sum_t J_t^T Q_t J_t` at
        initialisation, at infinite width. None for other losses, behind a normalisation of the outputs, and of many
        given inputs (`FisherStatistics.summed`).
    notion : {"stability", "first step", "one sample"}
        What `value` is: the limit of descent on the full batch; of an optimiser's first step; of a step at one sample,
        which below it does not raise that sample's own loss, while nothing is promised of the other samples.
    optimizer : str
        Name of the optimiser in PyTorch's words: "sgd", or another whose `value` is that of its first step.
    lambda_max_one : float or None
        For "one sample" the largest eigenvalue of the Fisher information of one sample, at infinite width.
    first_step : FirstStep or None
        For "first step" all that is known of it.
    standard_error : dict or None
        Of `value` and `lambda_max`, where units were sampled (`mfdnn.MeanField`); of `value` and `lambda_quantile`,
        where they were measured on networks; None: closed form.
    method : str
        With `confidence` what the quantile is from: a law by its `OutlierDistribution.method`, "networks" that were
        drawn, or both, "networks and sampled units"; else "".
    n_wanted : int or None
        How many networks know a measured quantile to 3 %; None where it was not measured.

    Notes
    -----
    Below `value` stability is a theorem of the linearised network of infinite width, and so is a loss that does not
    grow in plain descent. With momentum descent is stable there too, but the loss may grow before it decays: in the
    direction of the largest eigenvalue up to :math:`((1 + b)/(1 - b))^2` times with the heavy ball and
    :math:`(1 + 2 b^2/(1 + 2 b))^2` times with Nesterov's, both reached at the limit. Of 40 relu networks of two hidden
    layers (M = 100, T = 50) at 0.9 times `safe`, b = 0.9, 25 exceeded 1.02 of their first loss, and half of all 1.4 of
    it.

    Twice `value`, as the limit of the catapult, is derived for the linear network of two layers with plain gradient
    descent on a squared error; six times was observed for relu networks. It is taken for two hidden layers or more
    (with one, of M = 200, half of the runs were lost from 3.2 on); for other activations the smaller multiple is, on
    the careful side: gelu came back from 6. With momentum networks are lost sooner, of tanh and linear ones with
    b = 0.9 most at 1.5 times `value`; behind batch norm of the outputs the loss never grew.

    References
    ----------
    Lewkowycz, Bahri, Dyer, Sohl-Dickstein & Gur-Ari 2020, "The large learning rate phase of deep learning:
    the catapult mechanism", arXiv:2003.02218.
    """

    value: float
    lambda_max: float | None
    loss: str
    scale: float
    momentum: float
    nesterov: bool
    weight_decay: float
    catapult_limit: float | None
    n_samples: int
    n_outputs: int
    caution: str
    confidence: float | None = None
    lambda_quantile: float | None = None
    lambda_max_softmax: float | None = None
    notion: str = "stability"
    optimizer: str = "sgd"
    lambda_max_one: float | None = None
    first_step: FirstStep | None = None
    standard_error: dict[str, float] | None = None
    method: str = ""
    n_wanted: int | None = None
    _wide: MeanField | None = None

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        drawn = "" if self.confidence is None else f", for {self._share} of networks"
        steps = {"one sample": ", one sample at a time", "first step": ", first step"}.get(self.notion, "")
        return f"LearningRate({self.value:.6g}, loss={self.loss!r}, {self.optimiser}{steps}{drawn})"

    @property
    def typical(self) -> float:
        """The limit at infinite width, which wide networks scatter around.

        Of a first step the median over draws.
        """
        if self.first_step is not None:
            return float(self.first_step)
        return self._limit(self.scale * self._largest)

    @property
    def _largest(self) -> float:
        """The eigenvalue that the limits are of."""
        found = self.lambda_max if self.lambda_max_one is None else self.lambda_max_one
        assert found is not None  # each notion has its own
        return found

    @property
    def initial(self) -> float | None:
        """For cross-entropy the limit of `lambda_max_softmax`, at the first outputs.

        It is not safe once they move. None where `lambda_max_softmax` is.
        """
        return None if self.lambda_max_softmax is None else self._limit(self.lambda_max_softmax)

    @property
    def safe(self) -> float | None:
        """The rate below the limit of at least 95 % of the networks drawn at these widths.

        That of ``max_learning_rate(..., confidence=0.95)``, whatever `confidence` is, and a few percent less where
        `safe_caution` says that the quantile may be higher (`OutlierDistribution.allowance`). None where the law of the
        largest eigenvalue is not known, for the reason `why_not_safe`. Of a first step the lower end of its band.
        """
        if self.first_step is not None:
            return self.first_step.quantile(1 - SAFE_SHARE)
        law = self._law
        if isinstance(law, str):
            return None
        return self._limit(self.scale * law.quantile(SAFE_SHARE) * (1 + law.allowance))

    @property
    def why_not_safe(self) -> str:
        """Why there is no `safe` rate, in one sentence; empty where there is one."""
        if self.first_step is not None:
            return ""
        return self._law if isinstance(self._law, str) else ""

    @property
    def safe_caution(self) -> str:
        """What is known against `safe`: `OutlierDistribution.caution`; empty if nothing."""
        if self.first_step is not None:
            return self.first_step.caution
        return "" if isinstance(self._law, str) else self._law.caution

    @cached_property
    def _law(self) -> OutlierDistribution | str:
        """The law of the largest eigenvalue at these widths, or why there is none."""
        if self.notion == "one sample":
            return "The largest eigenvalue of one sample's Fisher information has no law over the networks drawn."
        assert self._wide is not None  # a private field: `max_learning_rate` sets it
        try:
            return law_of(self._wide)
        except (NoTheory, OutOfRange) as error:
            return str(error)

    def _limit(self, curvature: float) -> float:
        return stability_limit(curvature + self.weight_decay, self.momentum, self.nesterov)

    @property
    def _share(self) -> str:
        return "" if self.confidence is None else f"{100 * self.confidence:.6g} %"

    @property
    def optimiser(self) -> str:
        """Name of the optimiser, with its momentum and weight decay."""
        name = "Nesterov momentum" if self.nesterov else "heavy-ball momentum"
        plain = "gradient descent" if self.optimizer == "sgd" else self.optimizer
        text = f"{name} {self.momentum:g}" if self.momentum and self.optimizer == "sgd" else plain
        return text + (f", weight decay {self.weight_decay:g}" if self.weight_decay else "")

    @property
    def convention(self) -> str:
        """Which loss, which matrix, which statement `value` belongs to, in sentences."""
        matrix = ("F" if self.scale == 1 else f"{self.scale:g} F") + (
            f" + {self.weight_decay:g} I" if self.weight_decay else ""
        )
        if self.notion == "one sample":
            return (
                f"loss {self.loss} = {LOSSES[self.loss]} at T = 1, one sample a step and not divided by the width; "
                f"F = sum_k grad f_k grad f_k^T at it; with a step below 2 over the largest eigenvalue of {matrix} its "
                "own loss does not grow, in a wide network; nothing is promised of other samples."
            )
        if self.first_step is not None:
            return self.first_step.convention
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
        growth = self.scale * self._largest / self.lambda_max_softmax if self.lambda_max_softmax else np.inf
        return (
            f"{head}{bound} At the first outputs the limit is {self.initial:.4g}, from lambda_max(F_cross) = "
            f"{self.lambda_max_softmax:.4g}. It holds in their neighbourhood only: they move, and with F fixed "
            f"F_cross may still grow {growth:.3g} times, most of all from small outputs."
        )

    @property
    def zones(self) -> dict[str, tuple[float, float]]:
        """Intervals of rates by what descent does there, from 0 to inf.

        "monotone" (with momentum "stable"), "catapult" and "diverges"; without a `catapult_limit` the first of them and
        "unknown". `zone` says what they mean.
        """
        first = "stable" if self.momentum and self.first_step is None else "monotone"
        if self.catapult_limit is None:
            return {first: (0.0, self.value), "unknown": (self.value, np.inf)}
        return {
            first: (0.0, self.value),
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
        str or ndarray of str, shape of `eta`
            "monotone" (up to `value`, without momentum: the loss does not grow), "stable" (the same with momentum: the
            loss may first grow, and then decays), "catapult" (up to `catapult_limit`: it grows, then falls),
            "diverges", or "unknown" (above `value`, without a `catapult_limit`). Only the first two are proved, of
            infinitely wide networks that are linear in their parameters; see the class. Of a first step they are about
            that step alone.

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
        """Text table of the limits of every loss and the usual optimisers.

        All with this weight decay; lines of one length, a head and a rule first.
        With `confidence` each loss has a second row, for that share of the networks drawn. If the loss is
        cross-entropy the last row is that of the first outputs, its scale `lambda_max_softmax` / `lambda_max`.
        Of a first step one row, of the rates that 5, 50 and 95 % of the networks drawn stay below.
        """
        if self.first_step is not None:
            rates = self.first_step.quantile([0.05, 0.5, 0.95])
            own = [self.loss, self.optimiser, *(f"{rate:.4g}" for rate in rates)]
            return _aligned([["loss", "first step of", "5 %", "50 %", "95 %"], own])
        rows = [["loss", "scale s", *self._optimisers]]
        for loss, drawn, scale, curvature in self._curvatures():
            limits = [stability_limit(curvature, *optimiser) for optimiser in self._optimisers.values()]
            label, shown = (f"  {drawn}" if drawn else loss), ("" if drawn == self._drawn else f"{scale:.4g}")
            rows.append([label, shown, *(f"{limit:.4g}" for limit in limits)])
        return _aligned(rows)

    def limits(self) -> dict[str, np.ndarray]:
        """The rates by loss, optimiser and networks, as columns of equal length.

        First those of the loss and optimiser that were asked for, then the entries of `table`.

        Returns
        -------
        dict
            "loss", "optimiser", "networks" (of which the rate is: "infinite width", "95 % of draws", "at first
            outputs") and "rate".
        """
        own = (self.loss, self.optimiser)
        rows = [] if self.safe is None else [(*own, f"{100 * SAFE_SHARE:g} % of draws", self.safe)]
        if self.confidence not in (None, SAFE_SHARE):
            rows.append((*own, self._drawn, self.value))
        rows.append((*own, "infinite width" if self.first_step is None else "50 % of draws", self.typical))
        for loss, drawn, _, curvature in self._curvatures():
            for name, optimiser in self._optimisers.items():
                rows.append((loss, name, drawn or "infinite width", stability_limit(curvature, *optimiser)))
        return dict(zip(("loss", "optimiser", "networks", "rate"), map(np.array, zip(*rows, strict=True)), strict=True))

    @property
    def _optimisers(self) -> dict[str, tuple[float, bool]]:
        """Those with limits of this notion: steps at single samples have no momentum."""
        return dict(list(OPTIMISERS.items())[:1]) if self.notion == "one sample" else OPTIMISERS

    @property
    def _drawn(self) -> str:
        return f"{self._share} of draws"

    def _curvatures(self) -> Iterator[tuple[str, str, float, float]]:
        """Loss, which networks, scale s and curvature: the rows of `table`.

        The networks are "" where they are infinitely wide.
        """
        w = self.weight_decay
        if self.first_step is not None:
            return
        for loss in LOSSES:
            if loss == "cross_entropy" and self.n_outputs == 1:
                continue
            scale = loss_scale(loss, self.n_outputs, self.n_samples)
            yield loss, "", scale, scale * self._largest + w
            if self.lambda_quantile is not None:
                yield loss, self._drawn, scale, scale * self.lambda_quantile + w
        if self.lambda_max_softmax is not None:
            ratio = self.lambda_max_softmax / self._largest if self._largest else 0.0
            yield "cross_entropy", "at first outputs", ratio, self.lambda_max_softmax + w

    def to_dict(self) -> dict[str, Any]:
        """All fields and properties but `optimiser`, as plain Python."""
        known = super().to_dict()
        if self.standard_error is None:
            del known["standard_error"]
        if not self.method:
            del known["method"]
        if self.n_wanted is None:
            del known["n_wanted"]
        return {
            **known,
            "safe": self.safe,
            "why_not_safe": self.why_not_safe,
            "safe_caution": self.safe_caution,
            "typical": self.typical,
            "initial": self.initial,
            "convention": self.convention,
            "zones": {name: list(interval) for name, interval in self.zones.items()},
        }


def _aligned(rows: list[list[str]]) -> str:
    """A head, a rule and rows, of one length."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

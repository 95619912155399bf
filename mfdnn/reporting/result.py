"""The report of one network: what it knows, as a page, a picture or a file."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .._support.results import Result, jsonable
from .._support.validation import file_path
from ..activations import Activation
from ..comparison import Comparison
from ..ensembles import Ensemble
from ..fisher import FisherStatistics
from ..jacobian import JacobianDepth
from ..learning_rate import SAFE_SHARE, FirstStep, LearningRate
from ..mean_field.moments import OrderParameters
from ..network import Network
from ..phase import FixedPoint
from .boundary import Boundary, sampled_rates

__all__ = ["HiddenLayer", "Report"]


@dataclass(frozen=True, repr=False, eq=False)
class HiddenLayer(Result):
    """What decides the phase of a plain network: activation, then variances.

    Attributes
    ----------
    activation : Activation
    sigma_w2, sigma_b2 : float
        Variances of the weights behind it, times their fan-in, and of the biases.
    uniform : bool
        Whether all hidden layers share them; if not, this is the most frequent combination.
    """

    activation: Activation
    sigma_w2: float
    sigma_b2: float
    uniform: bool


@dataclass(frozen=True, repr=False, eq=False)
class Report(Result):
    """Everything about one network; ``str(report)`` is the page, `figure` its picture.

    Attributes
    ----------
    network : Network
        What is reported.
    hidden : HiddenLayer or None
        Activation and variances whose phase is reported; None for residual networks and without hidden layers.
    fixed_point : FixedPoint or None
        Theirs, reached from the variance of the first layer; None without them, and for zero inputs.
    order_parameters : OrderParameters
    fisher : FisherStatistics
    learning_rate : LearningRate
        The limit at infinite width, in the loss and optimiser of the report.
    confident : LearningRate or None
        The same with confidence 0.95; None where the law of the largest eigenvalue is not known.
    why_not_confident : str
        What stands against it; empty if nothing.
    measured : LearningRate or None
        The same from the networks of `ensemble`, and the spread of the law where there is one, with its standard error;
        None for fewer than 8 networks, or where nothing is learnt.
    comparison : Comparison
        Theory against `n_networks` sampled networks.
    softmax : Comparison or None
        For cross-entropy that of F_cross, for the same networks; None for other losses, and behind a normalisation
        of the outputs, of which there is no theory.
    ensemble : Ensemble
        Those networks, with all eigenvalues where the dual matrix is small enough, and with the singular values of
        their Jacobians where these take seconds.
    jacobian : JacobianDepth or None
        Singular values of the Jacobian against depth, at infinite width; None where there is no theory.
    first_steps : dict of str to FirstStep
        By optimiser, the critical rate of its first step on the loss of the report; empty where there is no theory.
    why_no_first_steps : str
        The reason then; else empty.
    boundary : Boundary
        2/lambda_max, in the loss and optimiser of `learning_rate`, against width.
    warnings : tuple of str
        What a user should know before training.
    inputs : str
        What the inputs are, in words.
    """

    network: Network
    hidden: HiddenLayer | None
    fixed_point: FixedPoint | None
    order_parameters: OrderParameters
    fisher: FisherStatistics
    learning_rate: LearningRate
    confident: LearningRate | None
    why_not_confident: str
    measured: LearningRate | None
    comparison: Comparison
    softmax: Comparison | None
    ensemble: Ensemble
    jacobian: JacobianDepth | None
    first_steps: dict[str, FirstStep]
    why_no_first_steps: str
    boundary: Boundary
    warnings: tuple[str, ...]
    inputs: str

    def __repr__(self) -> str:
        phase = self.fixed_point.phase if self.fixed_point else "no phase"
        rate = f"below {self.safe_rate:.4g} for {self.learning_rate.optimiser} on {self.learning_rate.loss}"
        return f"Report({self.network}, {phase}, learning rate {rate})"

    def __str__(self) -> str:
        from .page import page

        return "\n".join(page(self))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain Python, the safe rate first.

        Order parameters and simulations are as in `comparison`.
        """
        derived = {"safe_rate": self.safe_rate, "safe_for": self.safe_for}
        names = [field.name for field in fields(self) if field.name not in ("order_parameters", "ensemble")]
        return derived | {name: jsonable(getattr(self, name)) for name in names}

    @property
    def safe_rate(self) -> float:
        """The learning rate to use: below the limit of 95 % of the networks drawn.

        `LearningRate.safe`, which is below `confident` where a caution says that the quantile may be higher. Where the
        law of the largest eigenvalue is not known, that which was `measured`; of fewer than 8 networks below the limits
        of all of them.
        """
        safe = self.learning_rate.safe
        if safe is not None:
            return safe
        if self.measured is not None:
            return self.measured.value
        return float(sampled_rates(self.learning_rate, self.ensemble).min())

    @property
    def safe_for(self) -> str:
        """Of which networks `safe_rate` is below the limits, in words."""
        n, share = self.ensemble.n_networks, f"{100 * SAFE_SHARE:g} % of the networks drawn at these widths"
        if self.confident is not None:
            return share
        return f"all {n} sampled networks" if self.measured is None else f"{share}, as {n} of them say"

    @property
    def why_no_phase(self) -> str:
        """Why there is no phase of its own, in a few words; empty where there is one."""
        if self.hidden is not None:
            return "" if self.fixed_point is not None else "zero inputs"
        if self.network.kinds:
            return f"{', '.join(self.network.kinds)} network"
        return "weights are not fully connected" if self.network.activations else "no activation"

    def figure(self) -> Any:
        """The picture: phase, order parameters over depth, spectrum, learning rates.

        Returns
        -------
        matplotlib.figure.Figure
            Four panels: the phase diagram, or else correlations over depth; order parameters over depth, theory and
            simulation; the sampled eigenvalues with those predicted; limits of the learning rate against the width.
        """
        from .picture import picture

        return picture(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write the picture (png, pdf, svg) or page and picture (html).

        Raises
        ------
        ValueError
            Another suffix.
        """
        path = file_path("path", path)
        suffix = Path(path).suffix.lower()
        if suffix not in (".png", ".pdf", ".svg", ".html"):
            raise ValueError(
                f"`path` must end in .png, .pdf, .svg or .html, got {path!r}; change the suffix."
            )
        figure = self.figure()
        if suffix != ".html":
            figure.savefig(path, dpi=150)
        else:
            from .picture import html_page

            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=130)
            Path(path).write_text(html_page(self, picture.getvalue()), encoding="utf-8")
        from matplotlib import pyplot

        pyplot.close(figure)

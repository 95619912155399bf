"""The report of one network: what it knows, as a page, a picture or a file."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._support.results import Result
from ..activations import Activation
from ..comparison import Comparison
from ..ensembles import Ensemble
from ..fisher import FisherStatistics
from ..learning_rate import LearningRate
from ..mean_field.moments import OrderParameters
from ..network import Network
from ..phase import FixedPoint
from .boundary import Boundary

__all__ = ["HiddenLayer", "Report"]


@dataclass(frozen=True, repr=False, eq=False)
class HiddenLayer(Result):
    """What decides the phase of a plain network: its activation and the variances of the next weights.

    `uniform` says whether all hidden layers share them; if not, this is the most frequent combination.
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
    hidden : HiddenLayer or None
        Activation and variances whose phase is reported; None for residual networks and without hidden layers.
    fixed_point : FixedPoint or None
    order_parameters : OrderParameters
    fisher : FisherStatistics
    learning_rate : LearningRate
    confident : LearningRate or None
        The same with confidence 0.95; None where the law of the largest eigenvalue is not known.
    why_not_confident : str
        What stands against it; empty if nothing.
    comparison : Comparison
        Theory against `n_networks` sampled networks.
    softmax : Comparison or None
        For cross-entropy that of F_cross, for the same networks; None for other losses, and behind a normalisation
        of the outputs, of which there is no theory.
    ensemble : Ensemble
        Those networks, with all eigenvalues where the dual matrix is small enough.
    boundary : Boundary
        2/lambda_max, in the loss and optimiser of `learning_rate`, against width.
    warnings : tuple of str
        What a user should know before training.
    """

    network: Network
    hidden: HiddenLayer | None
    fixed_point: FixedPoint | None
    order_parameters: OrderParameters
    fisher: FisherStatistics
    learning_rate: LearningRate
    confident: LearningRate | None
    why_not_confident: str
    comparison: Comparison
    softmax: Comparison | None
    ensemble: Ensemble
    boundary: Boundary
    warnings: tuple[str, ...]
    inputs: str

    def __repr__(self) -> str:
        phase = self.fixed_point.phase if self.fixed_point else "no phase"
        return f"Report({self.network}, {phase}, {self.learning_rate})"

    def __str__(self) -> str:
        from .page import page

        return "\n".join(page(self))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python; order parameters and simulations as in `comparison`."""
        fields = [
            "hidden",
            "fixed_point",
            "fisher",
            "learning_rate",
            "confident",
            "comparison",
            "softmax",
            "boundary",
        ]
        parts = {name: getattr(self, name) and getattr(self, name).to_dict() for name in fields}
        return {
            "network": repr(self.network),
            "inputs": self.inputs,
            **parts,
            "why_not_confident": self.why_not_confident,
            "warnings": list(self.warnings),
        }

    @property
    def why_no_phase(self) -> str:
        """What stands against a phase of its own, in a few words; empty where `hidden` has one."""
        if self.hidden is not None:
            return "" if self.fixed_point is not None else "zero inputs"
        if self.network.kinds:
            return f"{', '.join(self.network.kinds)} network"
        return "weights are not fully connected" if self.network.activations else "no activation"

    def figure(self) -> Any:
        """Four panels: phase diagram, order parameters over depth, spectrum, learning rate against width."""
        from .picture import picture

        return picture(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write the picture (png, pdf, svg) or page and picture (html).

        Raises
        ------
        ValueError
            Another suffix.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".png", ".pdf", ".svg", ".html"):
            raise ValueError(
                f"`path` must end in .png, .pdf, .svg or .html, got {os.fspath(path)!r}; change the suffix."
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

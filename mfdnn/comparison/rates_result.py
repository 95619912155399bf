"""What a map of training over width and learning rate holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._support.results import GridResult

__all__ = ["LearningRateMap"]


@dataclass(frozen=True, repr=False, eq=False)
class LearningRateMap(GridResult):
    r"""What training does at each width and learning rate; W widths, R rates, N trials.

    Attributes
    ----------
    width : ndarray of int, shape (W,)
        First hidden width.
    learning_rate : ndarray, shape (R,)
        In the convention of `loss`.
    final_loss : ndarray, shape (W, R)
        Loss of all samples at the end, averaged over the trials; inf where one of them diverged.
    outcome : ndarray of str, shape (W, R)
        What most trials did, the worse at a tie: "fell", "catapulted", "grew" or "diverged", as in `TrainingRun`.
    share_grew, share_diverged : ndarray, shape (W, R)
        Of the trials: those whose loss exceeded its initial value at some time, and those that diverged.
    zone : ndarray of str, shape (W, R), or None
        What theory expects: `LearningRate.zone`; of a first step "monotone" (it lowers the loss) or "unknown".
    final_losses : ndarray, shape (N, W, R)
        Of each trial; inf if it diverged.
    outcomes : ndarray of str, shape (N, W, R)
        Of each trial.
    initial_loss, lambda_max : ndarray, shape (N, W)
        Of each trial, before training; the largest eigenvalue of F at its samples.
    sampled_limit : ndarray, shape (N, W)
        The stability limit of each network drawn, from its own `lambda_max`; of another optimiser than sgd the critical
        rate of its first step at its samples, by a line search (`mfdnn.training.critical_rate`).
    limit, catapult_limit : ndarray, shape (W,), or None
        Of `max_learning_rate` at infinite width, or of `first_step` where that is the `notion`; None where there is no
        theory, and `caution` says why. For cross-entropy bounds of descent, as `sampled_limit` is.
    limit_low, limit_high : ndarray, shape (W,)
        Limits that 5 % and 95 % of the networks drawn are below, by `outlier_distribution` or `FirstStep.band`; 0 and
        inf where there is no law, and `caution` says why.
    n_samples, n_outputs, n_trials, n_steps : int
        T, C, N, and steps of each run.
    loss : str
        One of `mfdnn.losses.LOSSES`.
    momentum, nesterov, weight_decay : float, bool, float
        Of the optimiser.
    batch_size : int or None
        None: full batches.
    diverged_at : float
        A run diverged when its loss was above so many times its initial value, or overflowed.
    dtype : str
        In which the networks computed.
    optimizer, settings : str
        Its name as in `train`, and what is set of it, in words.
    notion : {"stability", "first step"}
        What `limit` is: of descent (sgd), or of the first step of another optimiser.
    caution : str
        What is to be known of the lines of theory; empty if nothing.
    initial_limit : ndarray, shape (W,), or None
        For cross-entropy `LearningRate.initial`: from the largest eigenvalue of F_cross at the first outputs. None for
        other losses, and without theory.
    lambda_max_softmax, sampled_initial : ndarray, shape (N, W), or None
        For cross-entropy the largest eigenvalue of F_cross of each network drawn, before training, and its limit.
        There a residual along the top eigenvector begins to grow; labels are no small residual.
    """

    AXES: ClassVar[tuple[str, ...]] = ("width", "learning_rate")

    width: np.ndarray
    learning_rate: np.ndarray
    final_loss: np.ndarray
    outcome: np.ndarray
    share_grew: np.ndarray
    share_diverged: np.ndarray
    zone: np.ndarray | None
    final_losses: np.ndarray
    outcomes: np.ndarray
    initial_loss: np.ndarray
    lambda_max: np.ndarray
    sampled_limit: np.ndarray
    limit: np.ndarray | None
    catapult_limit: np.ndarray | None
    limit_low: np.ndarray
    limit_high: np.ndarray
    n_samples: int
    n_outputs: int
    n_trials: int
    n_steps: int
    loss: str
    momentum: float
    nesterov: bool
    weight_decay: float
    batch_size: int | None
    diverged_at: float
    dtype: str
    caution: str
    initial_limit: np.ndarray | None = None
    lambda_max_softmax: np.ndarray | None = None
    sampled_initial: np.ndarray | None = None
    optimizer: str = "sgd"
    settings: str = ""
    notion: str = "stability"

    @property
    def divergence(self) -> str:
        """What counts as divergence, in words."""
        return f"loss above {self.diverged_at:g} times its initial value, or overflow"

    def to_xarray(self) -> Any:
        """The map as an `xarray.Dataset`, with the trials as a third dimension.

        Raises
        ------
        ImportError
            xarray is not installed.
        """
        dataset = super().to_xarray()
        for name in ("final_losses", "outcomes"):
            dataset[name] = (("trial", *self.AXES), getattr(self, name))
        of_trials = ("initial_loss", "lambda_max", "sampled_limit", "lambda_max_softmax", "sampled_initial")
        of_widths = ("limit", "catapult_limit", "limit_low", "limit_high", "initial_limit")
        for dims, names in ((("trial", "width"), of_trials), (("width",), of_widths)):
            for name in names:
                if getattr(self, name) is not None:
                    dataset[name] = (dims, getattr(self, name))
        return dataset

    def plot(self, field: str = "final_loss", ax: Any = None, **options: Any) -> Any:
        """Heat map of one field with the lines of theory.

        Arguments and returned Axes are those of `mfdnn.plots.learning_rate_map`.
        """
        from .. import plots

        return plots.learning_rate_map(self, field, ax=ax, **options)

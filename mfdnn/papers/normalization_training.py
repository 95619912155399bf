r"""Karakida, Akaho & Amari 2019: learning rates with normalised outputs.

References
----------
Karakida, Akaho & Amari 2019, "The normalization method for alleviating pathological sharpness in wide neural
networks", NeurIPS 2019, arXiv:1906.02926.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..comparison import learning_rate_map
from ._style import letter, paper_style
from .karakida2019_normalization import network
from .karakida2019_training import share

__all__ = ["figure"]

METHODS = {"none": "no normalisation", "mean subtraction": "mean subtraction", "batch norm": "batch norm"}
PHI = "relu"
WIDTHS, WIDTHS_FAST = (50, 100, 200, 400), (20, 40)
N_SAMPLES, N_SAMPLES_FAST = 400, 60  # batch norm has its edge for T > 50 only
RATES, N_RATES, N_TRIALS, N_STEPS = (1e-3, 10.0), 14, 3, 50
LOSSES = 1e-3, 1.0


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Training loss over width and learning rate, with and without normalisation.

    After the paper's maps, which show that batch norm of the last layer alone admits a large learning rate that does
    not depend on the width. Settings not recovered, so ours: ReLU with :math:`(\sigma_w^2, \sigma_b^2)` = (2, 0.1),
    three weight layers of width M = 50 ... 400, one output, T = 400 Gaussian inputs, a teacher of the same kind, 50
    steps of full-batch descent on half the squared error, three trials; gains 1 and offsets 0, not trained.

    Above: loss at the end; grey: at least one trial diverged. Below: share of the runs whose loss exceeded its initial
    value at some time. Solid: :math:`2/\lambda_{max}` at infinite width, of normalised outputs from the edge of the
    bulk; dotted: the 5-95 % band over networks, of outliers, which normalisation takes away; dashed: where descent
    without normalisation should diverge for good. Behind batch norm the outputs are bounded, and so is the loss: it
    starts near its largest value, and steps beyond the limit of the start find flatter places.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: widths 20 and 40, T = 60, four rates, two trials, five steps.

    Returns
    -------
    matplotlib.figure.Figure
    """
    children = np.random.default_rng(rng).spawn(len(METHODS))
    drawing, axes = pyplot.subplots(2, len(METHODS), figsize=(7.6, 5.0), layout="constrained", sharey=True)
    for column, (method, title), child in zip(range(3), METHODS.items(), children, strict=True):
        found = learning_rate_map(
            partial(network, method, PHI),
            WIDTHS_FAST if fast else WIDTHS,
            np.geomspace(*RATES, 4 if fast else N_RATES),
            5 if fast else N_STEPS,
            n_samples=N_SAMPLES_FAST if fast else N_SAMPLES,
            n_trials=2 if fast else N_TRIALS,
            rng=child,
            progress=progress,
        )
        loss, grew = axes[:, column]
        plots.learning_rate_map(found, ax=loss, colorbar=False, vmin=LOSSES[0], vmax=LOSSES[1])
        plots.learning_rate_map(found, "share_grew", ax=grew, colorbar=False)
        letter(loss, "ABC"[column], title)
        letter(grew, "DEF"[column])
    share(drawing, axes[:1], "training loss at the end")
    share(drawing, axes[1:], "share whose loss grew", with_legend=False)
    return drawing

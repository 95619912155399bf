r"""The law of the largest Fisher eigenvalue, this package's own result.

Infinite-width theory gives one number; a person draws one network. `mfdnn.outlier_distribution` says how the
largest eigenvalue scatters from draw to draw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..architectures import mlp
from ..ensembles import ensemble
from ..finite_width import outlier_distribution
from ..network import Network
from ._style import legend, letter, paper_style

__all__ = ["N_SAMPLES", "N_SAMPLES_FAST", "PANELS", "figure", "network"]

PANELS = (("relu", 2.0, 0.1, 1), ("relu", 2.0, 0.1, 10), ("tanh", 3.0, 0.64, 10))  # with C the last
WIDTH, WIDTH_FAST, N_LAYERS = 100, 60, 4
N_SAMPLES, N_SAMPLES_FAST = 100, 25


def network(panel: tuple[str, float, float, int], fast: bool = False) -> Network:
    """The network of one of the `PANELS`."""
    phi, sigma_w2, sigma_b2, n_outputs = panel
    width = WIDTH_FAST if fast else WIDTH
    return mlp([width] * N_LAYERS + [n_outputs], phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2)


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Largest Fisher eigenvalue: predicted law and histogram of drawn networks.

    The result and the settings are ours, of no paper: four weight layers of width 100, T = 100 Gaussian inputs
    of variance 1, drawn afresh for every network; ReLU with :math:`(\sigma_w^2, \sigma_b^2)` = (2, 0.1) and
    C = 1 or 10 outputs, tanh with (3, 0.64) and C = 10; 1000 networks for C = 1, 500 for C = 10. Lines: density
    of the predicted law, its 5-95 % band, mean and 95 % value, and the value of infinite width. The learning
    rate :math:`2/\lambda` of a line is too large for the networks beyond it; their share is printed.

    Nothing is fitted: the law is computed from the widths, the variances and T.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: width 60, T = 25, 12 networks a panel.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n_samples = N_SAMPLES_FAST if fast else N_SAMPLES
    children = np.random.default_rng(rng).spawn(len(PANELS))
    drawing, axes = pyplot.subplots(1, len(PANELS), figsize=(7.0, 2.9), layout="constrained")
    for ax, panel, child, name in zip(axes, PANELS, children, "ABC", strict=True):
        net = network(panel, fast)
        n_networks = 12 if fast else 1000 if net.n_outputs == 1 else 500
        drawn = ensemble(net, n_samples=n_samples, n_networks=n_networks, rng=child, progress=progress)
        plots.outlier_law(outlier_distribution(net, n_samples), drawn.values["lambda_max"], ax=ax)
        ax.get_legend().remove()
        letter(ax, name, f"{panel[0]}, $C = {net.n_outputs}$, {n_networks} draws")
    for ax in axes[1:]:
        ax.set_ylabel("")
    legend(drawing, axes[0].get_legend_handles_labels()[0], 3)
    return drawing

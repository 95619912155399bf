r"""Karakida, Akaho & Amari 2019: universal statistics of Fisher information.

Mean, second moment and maximum of the eigenvalues of the Fisher information grow like 1/M, 1 and M with the
width M, whatever the activation.

References
----------
Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean field
approach", AISTATS 2019, arXiv:1806.01316.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..architectures import mlp
from ..ensembles import ensemble
from ..finite_width.band import outlier_band
from ..fisher import fisher_statistics
from ._style import entry, legend, letter, marked, paper_style, shade

__all__ = ["NETWORKS", "STYLES", "WIDTHS", "figure1"]

NETWORKS = {"tanh": (3.0, 0.64), "relu": (2.0, 0.1), "linear": (1.0, 0.1)}  # sigma_w^2, sigma_b^2
STYLES = {"tanh": ("blue", "o"), "relu": ("vermillion", "s"), "linear": ("green", "^")}
STATISTICS = {  # of `Ensemble`: of `FisherStatistics`, symbol, name
    "mean": ("mean", r"$m_\lambda$", "mean"),
    "second_moment": ("second_moment", r"$s_\lambda$", "second moment"),
    "lambda_max": ("largest", r"$\lambda_{\max}$", "maximum"),
}
N_LAYERS, N_OUTPUTS, N_SAMPLES = 3, 1, 100
WIDTHS, WIDTHS_FAST = (100, 200, 300, 500, 700, 1000, 1400, 2000), (20, 40)


@paper_style
def figure1(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Mean, second moment and largest Fisher eigenvalue against the width.

    After the paper's figure of these statistics; settings not recovered with certainty, so ours: three weight
    layers of uniform width M = 100 ... 2000, one output, T = 100 Gaussian inputs of variance 1; tanh with
    :math:`(\sigma_w^2, \sigma_b^2)` = (3, 0.64), ReLU with (2, 0.1), linear with (1, 0.1). Solid lines:
    theory with exact widths and bias gradients; dotted: the paper's leading order in M. Points: means over
    100 networks (30 from M = 1000 on) with error bars of one standard error. Shaded, of the maximum: where nine
    networks in ten lie, 5-95 % of `mfdnn.outlier_distribution` (ours), from the width on at which that law holds.

    The second moment of narrow networks lies above both: chance overlaps of gradients add a term of order 1/M
    that neither contains.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: widths 20 and 40, four networks each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths = WIDTHS_FAST if fast else WIDTHS
    children = iter(np.random.default_rng(rng).spawn(len(NETWORKS) * len(widths)))
    figure, axes = pyplot.subplots(1, 3, figsize=(7.0, 3.0), layout="constrained")
    handles: list[Any] = []
    for name, (sigma_w2, sigma_b2) in NETWORKS.items():
        theory, sampled, bands = [], [], []
        for width in widths:
            net = mlp([width] * N_LAYERS + [N_OUTPUTS], name, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
            theory.append(fisher_statistics(net, n_samples=N_SAMPLES))
            between = outlier_band(net, N_SAMPLES).quantiles
            bands += [] if between is None else [(width, *between)]
            n_networks = 4 if fast else 100 if width < 1000 else 30
            sampled.append(ensemble(net, N_SAMPLES, n_networks, rng=next(children), progress=progress))
        colour, marker = plots.COLOURS[STYLES[name][0]], STYLES[name][1]
        for ax, (measured, (predicted, *_)) in zip(axes, STATISTICS.items(), strict=True):
            plots.eigenvalue_scaling(
                widths,
                [getattr(fim, predicted) for fim in theory],
                [ens.mean[measured] for ens in sampled],
                [ens.standard_error[measured] for ens in sampled],
                ax=ax,
                leading=[getattr(fim, f"{predicted}_leading") for fim in theory],
                band=np.transpose(bands) if bands and predicted == "largest" else None,
                color=colour,
                marker=marker,
            )
        handles.append(marked(f"{name} ({sigma_w2:g}, {sigma_b2:g})", colour, marker))
    for ax, panel, (_, symbol, title) in zip(axes, "ABC", STATISTICS.values(), strict=True):
        ax.set_ylabel(symbol)
        letter(ax, panel, title)
    handles += [entry("theory, exact widths"), entry("leading order in $M$", ls=":")]
    handles += [marked("simulation", "0.3", "D", ls="none", ms=4), shade("5-95 % of networks, predicted (C)")]
    legend(figure, handles, 3, columnspacing=1.4, title=r"activation $(\sigma_w^2, \sigma_b^2)$")
    return figure

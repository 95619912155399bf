r"""Karakida, Akaho & Amari 2021: spectra of Fisher information for squared errors and for a softmax.

The C largest eigenvalues stand apart from all others; behind a softmax C - 1 of them, spread along a tail.

References
----------
Karakida, Akaho & Amari 2021, "Pathological spectra of the Fisher information metric and its variants in deep
neural networks", Neural Computation 33(8), arXiv:1910.05992.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import plots
from ..datasets import gaussian_inputs
from ..ensemble.run import run
from ..fisher import fisher_statistics
from ..network import Network, mlp
from ..sampled import fisher_spectrum, sample
from ._style import letter, paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["network", "spectra"]

PHI, SIGMA_W2, SIGMA_B2, N_OUTPUTS = "tanh", 3.0, 0.64, 10
WIDTH, N_SAMPLES, N_NETWORKS = 200, 100, 100
WIDTH_FAST, N_SAMPLES_FAST, N_NETWORKS_FAST = 40, 20, 3


def network(fast: bool = False) -> Network:
    """Three weight layers."""
    width = WIDTH_FAST if fast else WIDTH
    return mlp([width] * 3 + [N_OUTPUTS], PHI, sigma_w2=SIGMA_W2, sigma_b2=SIGMA_B2)


@paper_style
def spectra(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Histograms of the non-zero eigenvalues for linear outputs and for a softmax.

    Tanh, three weight layers of width M = 200, C = 10 outputs, 100 inputs and 100 networks are the paper's, for
    linear outputs. Ours: :math:`(\sigma_w^2, \sigma_b^2)` = (3, 0.64), Gaussian inputs of
    variance 1, and the same networks with a softmax behind. Two histograms a panel: the C (softmax: C - 1)
    largest eigenvalues of every network, and all others. Dashed: the predicted outliers, one value
    for all C of linear outputs at infinite width, C - 1 different ones behind a softmax (means over draws of the
    outputs); dash-dotted: the predicted mean of the others, for linear outputs.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: width 40, 20 inputs, three networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib import pyplot

    net = network(fast)
    n_samples = N_SAMPLES_FAST if fast else N_SAMPLES
    n_networks = N_NETWORKS_FAST if fast else N_NETWORKS
    tasks = [(net, n_samples, child) for child in np.random.default_rng(rng).spawn(n_networks)]
    drawn = run(_eigenvalues, tasks, progress=progress)
    linear = fisher_statistics(net, n_samples=n_samples)
    softmax = fisher_statistics(net, n_samples=n_samples, output="softmax")
    figure, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.2), layout="constrained", sharey=True)
    for ax, panel, output, n_outliers, predicted in (
        (axes[0], "A", "linear", N_OUTPUTS, [linear.largest]),
        (axes[1], "B", "softmax", N_OUTPUTS - 1, softmax.outliers),
    ):
        values = np.stack([found[output] for found in drawn])
        positive = values[values > 1e-6 * values.max()]
        bins = np.geomspace(positive.min(), 1.02 * positive.max(), 60)
        for part, colour, label in (
            (values[:, n_outliers:], "sky", "all others"),
            (values[:, :n_outliers], "orange", "$C$ largest (softmax: $C - 1$)"),
        ):
            weights = np.full(part.size, 1 / n_networks)
            ax.hist(part.ravel(), bins, weights=weights, color=plots.COLOURS[colour], alpha=0.8, label=label)
        for outlier in predicted:
            line = ax.axvline(outlier, 0.62, color=plots.COLOURS["vermillion"], ls="--", lw=1.2)
        line.set_label("predicted outliers")
        ax.set(xscale="log", yscale="log", xlabel=rf"eigenvalue $\lambda$, {output} outputs")
        letter(ax, panel, "squared error" if output == "linear" else "cross-entropy")
    axes[0].axvline(linear.bulk, color="0.2", ls="-.", lw=1.5, label="predicted mean of all others (A)")
    axes[0].set_ylabel("eigenvalues per bin and network")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _eigenvalues(task: tuple[Network, int, np.random.Generator]) -> dict[str, np.ndarray]:
    net, n_samples, rng = task
    one = sample(net, rng=rng)
    X = gaussian_inputs(n_samples, net.n_inputs, rng=rng)
    return {output: fisher_spectrum(one, X, output=output).eigenvalues for output in ("linear", "softmax")}

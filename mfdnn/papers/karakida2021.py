r"""Karakida, Akaho & Amari 2021: spectra for squared errors and for a softmax.

The C largest eigenvalues of Fisher information stand apart from all others; behind a softmax C - 1 of them, spread
along a tail.

References
----------
Karakida, Akaho & Amari 2021, "Pathological spectra of the Fisher information metric and its variants in deep
neural networks", Neural Computation 33(8), arXiv:1910.05992.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..architectures import mlp
from ..datasets import gaussian_inputs
from ..fisher import feature_statistics, fisher_statistics, softmax_statistics
from ..jobs.run import run
from ..layers import Layer, MeanSubtraction
from ..network import Network
from ..plots._style import sequence
from ..sampled import feature_spectrum, fisher_spectrum, sample
from ._style import entry, legend, letter, marked, paper_style, standard_error
from .karakida2019 import NETWORKS, STATISTICS, STYLES

__all__ = ["NETWORKS", "feature_metric", "network", "ntk_spectra", "softmax_statistics_and_spectra", "spectra"]

PHI, SIGMA_W2, SIGMA_B2, N_OUTPUTS = "tanh", 3.0, 0.64, 10
WIDTH, N_SAMPLES, N_NETWORKS = 200, 100, 100
WIDTH_FAST, N_SAMPLES_FAST, N_NETWORKS_FAST = 40, 20, 3
OUTPUTS = {"linear": "squared error", "softmax": "cross-entropy"}

WIDTHS, WIDTHS_FAST = (100, 200, 400, 1000), (40, 60)
N_DRAWS = 60  # of the outputs of infinitely wide networks, which scatter as much as those of sampled ones
BINS = 60
FEATURE_SIZES, FEATURE_SIZES_FAST = (500, 1000, 8), (40, 60, 3)  # width, samples, networks

NTK_PHI, NTK_SIGMA_W2, NTK_WIDTH, NTK_OUTPUTS = "relu", 2.0, 1000, 2
NTK_SAMPLES, NTK_SAMPLES_FAST = (10, 30, 100, 300), (5, 10)
NTK_WIDTHS, NTK_WIDTHS_FAST = (100, 200, 400), (60, 80)  # with as many samples; the edge's law needs 51


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
    net = network(fast)
    n_samples = N_SAMPLES_FAST if fast else N_SAMPLES
    n_networks = N_NETWORKS_FAST if fast else N_NETWORKS
    generator = np.random.default_rng(rng)
    drawn = _drawn(fisher_spectrum, net, n_samples, n_networks, generator, progress, outputs=tuple(OUTPUTS))
    linear = fisher_statistics(net, n_samples=n_samples)
    softmax = fisher_statistics(net, n_samples=n_samples, output="softmax")
    predicted = {"linear": np.array([linear.largest]), "softmax": softmax.outliers}
    figure, axes = _both_outputs(drawn, predicted, r"eigenvalue $\lambda$")
    axes[0].axvline(linear.bulk, color="0.2", ls="-.", lw=1.5, label="predicted mean of all others (A)")
    legend(figure, axes[0].get_legend_handles_labels()[0], 2)
    return figure


def _drawn(
    find: Callable[..., Any],
    net: Network,
    n_samples: int,
    n_networks: int,
    rng: np.random.Generator,
    progress: bool,
    outputs: tuple[str, ...] = ("linear",),
) -> dict[str, np.ndarray]:
    """Eigenvalues of networks, each at its own inputs: (n_networks, k) by output."""
    tasks = [(net, n_samples, child) for child in rng.spawn(n_networks)]
    found = run(partial(_eigenvalues, find=find, outputs=outputs), tasks, progress=progress)
    return {output: np.stack([one[output] for one in found]) for output in outputs}


def _eigenvalues(
    task: tuple[Network, int, np.random.Generator], find: Callable[..., Any], outputs: tuple[str, ...]
) -> dict[str, np.ndarray]:
    net, n_samples, rng = task
    one = sample(net, rng=rng)
    X = gaussian_inputs(n_samples, net.n_inputs, rng=rng)
    return {output: find(one, X, output=output).eigenvalues for output in outputs}


def _both_outputs(
    drawn: dict[str, np.ndarray], predicted: dict[str, np.ndarray], what: str
) -> tuple[Figure, Any]:
    """Spectra for linear outputs and a softmax, side by side."""
    figure, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.2), layout="constrained", sharey=True)
    for ax, panel, (output, loss) in zip(axes, "AB", OUTPUTS.items(), strict=True):
        n_outliers = N_OUTPUTS - (output == "softmax")
        _two_populations(ax, drawn[output], n_outliers, predicted[output], "$C$ largest (softmax: $C - 1$)")
        ax.set_xlabel(f"{what}, {output} outputs")
        letter(ax, panel, loss)
    axes[0].set_ylabel("eigenvalues per bin and network")
    return figure, axes


def softmax_networks(fast: bool = False) -> dict[str, list[Network]]:
    """Three weight layers of each of the `NETWORKS`, at each width."""
    return {
        phi: [
            mlp([width] * 3 + [N_OUTPUTS], phi, sigma_w2=variances[0], sigma_b2=variances[1])
            for width in (WIDTHS_FAST if fast else WIDTHS)
        ]
        for phi, variances in NETWORKS.items()
    }


@paper_style
def softmax_statistics_and_spectra(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Fisher eigenvalues behind a softmax: statistics against the width, and spectra.

    Three weight layers, C = 10 outputs, 100 inputs, tanh, ReLU and linear, and spectra at M = 1000 are the paper's.
    Ours: :math:`(\sigma_w^2, \sigma_b^2)` = (3, 0.64), (2, 0.1) and (1, 0.1), Gaussian inputs of variance 1, widths
    from 100 to 1000, and 12 networks each. A, B, C, mean, second moment and maximum: lines are
    `mfdnn.softmax_statistics`, means over 60 draws of the outputs of infinitely wide networks; dotted in C: the bounds;
    points: means over the networks with error bars of one standard error, in which the scatter of the outputs
    from network to network dominates. In B narrow networks lie above the lines: chance overlaps of gradients add a term
    of order 1/M. D, E, F, spectra of :math:`F_{cross}`: two histograms, of the C - 1 largest
    eigenvalues of every network and of all others; dashed: the C - 1 predicted outliers, means over the draws, whose
    scatter spreads them into a tail.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: widths 40 and 60, 20 inputs, three networks each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths = WIDTHS_FAST if fast else WIDTHS
    n_samples, n_networks = (N_SAMPLES_FAST, N_NETWORKS_FAST) if fast else (N_SAMPLES, 12)
    nets = softmax_networks(fast)
    children = iter(np.random.default_rng(rng).spawn(len(nets) * len(widths)))
    figure, axes = pyplot.subplots(2, 3, figsize=(7.0, 5.4), layout="constrained")
    for (phi, wide), panel, below in zip(nets.items(), "DEF", axes[1], strict=True):
        colour, marker = plots.COLOURS[STYLES[phi][0]], STYLES[phi][1]
        theory = [softmax_statistics(fisher_statistics(net, n_samples=n_samples), n_draws=N_DRAWS) for net in wide]
        drawn = [
            _drawn(fisher_spectrum, net, n_samples, n_networks, next(children), progress, ("softmax",))["softmax"]
            for net in wide
        ]
        sizes = np.array([[net.n_parameters] for net in wide])
        measured = {
            "mean": [f.sum(axis=1) for f in drawn] / sizes,
            "second_moment": [(f**2).sum(axis=1) for f in drawn] / sizes,
            "largest": np.array([f.max(axis=1) for f in drawn]),
        }
        for ax, (name, values) in zip(axes[0], measured.items(), strict=True):
            plots.eigenvalue_scaling(
                widths,
                [getattr(fim, name) for fim in theory],
                np.mean(values, axis=1),
                standard_error(values),
                ax=ax,
                color=colour,
                marker=marker,
            )
        for bound in ("lower", "upper"):  # lines: three shades of one another would be mud
            axes[0, 2].plot(widths, [getattr(fim, bound) for fim in theory], color=colour, ls=":", lw=1.2, gid=bound)
        _two_populations(below, drawn[-1], N_OUTPUTS - 1, theory[-1].outliers)
        below.set_xlabel(r"eigenvalue $\lambda$ of $F_{cross}$")
        letter(below, panel, f"{phi}, $M = {widths[-1]}$")
    for ax, panel, (_, symbol, title) in zip(axes[0], "ABC", STATISTICS.values(), strict=True):
        ax.set_ylabel(symbol)
        letter(ax, panel, title)
    axes[1, 0].set_ylabel("eigenvalues per bin and network")
    handles = [marked(f"{phi} (A, B, C)", plots.COLOURS[name], marker) for phi, (name, marker) in STYLES.items()]
    legend(figure, [*handles, entry("bounds (C)", ls=":", lw=1.2), *axes[1, 0].get_legend_handles_labels()[0]], 3)
    return figure


@paper_style
def ntk_spectra(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Spectra of the neural tangent kernel, without and with mean subtraction.

    ReLU, three weight layers, M = 1000, C = 2, :math:`(\sigma_w^2, \sigma_b^2)` = (2, 0) are the paper's, which drew
    400 networks. Ours: 20 networks, Gaussian inputs of variance 1, all numbers T of them (the paper's N), and the
    parameterisation :math:`W = \sigma_w w/\sqrt M` with gradients by w, in which the mean of the kernel
    :math:`\Theta = J J^T` does not depend on M: with equal widths and no biases its eigenvalues are
    :math:`\sigma_w^2 T/M` times those of the Fisher information. A: T = 10 ... 300; dashed: :math:`K_1 + (T-1) K_2`,
    with :math:`K_1` and :math:`K_2` the mean entries on and off the diagonal, the C largest; dash-dotted:
    :math:`K_1 - K_2`, the mean of all others. B: with the mean of each output over the samples subtracted, at
    T = M = 100, 200, 400; dashed: the predicted edge, `mfdnn.centred_edge`, nearly the same at all three;
    dash-dotted: the predicted mean.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: width 60, at most 80 samples, three networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n_networks = N_NETWORKS_FAST if fast else 20
    samples, square = (NTK_SAMPLES_FAST, NTK_WIDTHS_FAST) if fast else (NTK_SAMPLES, NTK_WIDTHS)
    width = square[0] if fast else NTK_WIDTH
    figure, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.5), layout="constrained", sharey=True)
    children = iter(np.random.default_rng(rng).spawn(len(samples) + len(square)))
    handles = []
    for ax, panel, sizes, last in (
        (axes[0], "A", [(width, n) for n in samples], []),
        (axes[1], "B", [(m, m) for m in square], [MeanSubtraction()]),
    ):
        drawn = []
        for m, n in sizes:
            net = ntk_network(m, last)
            found = _drawn(fisher_spectrum, net, n, n_networks, next(children), progress)
            values = NTK_SIGMA_W2 * n / m * found["linear"].ravel()
            drawn.append(values[values > 1e-6 * values.max()])  # others are zero but for rounding
        bins = np.geomspace(min(v.min() for v in drawn), 1.02 * max(v.max() for v in drawn), BINS)
        for index, ((m, n), values) in enumerate(zip(sizes, drawn, strict=True)):
            colour = sequence(index, len(sizes), None)
            weights = np.full(values.size, 1 / values.size)
            ax.hist(values, bins, weights=weights, histtype="step", lw=1.3, color=colour)
            fim = fisher_statistics(ntk_network(m, last), n_samples=n)
            per_fisher = NTK_SIGMA_W2 * n / m
            ax.axvline(per_fisher * fim.largest, 0.75, color=colour, ls="--", lw=1.3)
            label = f"$T = {n}$ (A)" if not last else f"$T = M = {n}$ (B)"
            handles.append(entry(label, colour))
        ax.axvline(per_fisher * fim.bulk, color="0.2", ls="-.", lw=1.2)
        ax.set(xscale="log", yscale="log", xlabel=r"eigenvalue of the kernel $\Theta = J J^T$")
        letter(ax, panel, "mean subtraction" if last else f"width $M = {width}$")
    axes[0].set_ylabel("share of the eigenvalues per bin")
    handles += [
        entry("predicted largest (A), edge (B)", "0.2", ls="--"),
        entry("predicted mean of the bulk", "0.2", ls="-."),
    ]
    legend(figure, handles, 3, title=f"$T$ samples, {n_networks} networks each")
    return figure


@paper_style
def feature_metric(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Spectrum of the feature-space metric, for linear outputs and for a softmax.

    Tanh, M = 500 and T = 1000 are the paper's. Ours: three weight layers, C = 10 outputs,
    :math:`(\sigma_w^2, \sigma_b^2)` = (3, 0.64), Gaussian inputs of variance 1, and 8 networks. The metric is that of
    all features, inputs and hidden units, 3 M of them. Two histograms a panel: the C (softmax: C - 1) largest
    eigenvalues of every network, and all others. Dashed: the predicted outliers of `mfdnn.feature_statistics`, one
    value for all C of linear outputs at infinite width, C - 1 different ones behind a softmax (means over draws of
    the outputs); they do not grow with M. Eigenvalues below a millionth of the largest are off the axis.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: width 40, 60 inputs, three networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width, n_samples, n_networks = FEATURE_SIZES_FAST if fast else FEATURE_SIZES
    net = mlp([width] * 3 + [N_OUTPUTS], PHI, sigma_w2=SIGMA_W2, sigma_b2=SIGMA_B2)
    generator = np.random.default_rng(rng)
    drawn = _drawn(feature_spectrum, net, n_samples, n_networks, generator, progress, outputs=tuple(OUTPUTS))
    theory = {output: feature_statistics(net, n_samples=n_samples, output=output) for output in OUTPUTS}
    predicted = {output: np.unique(found.outliers) for output, found in theory.items()}
    figure, axes = _both_outputs(drawn, predicted, "eigenvalue of the feature metric")
    legend(figure, axes[0].get_legend_handles_labels()[0], 3)
    return figure


def ntk_network(width: int, last: Sequence[Layer]) -> Network:
    """Three weight layers without biases, and what stands behind them."""
    net = mlp([width] * 3 + [NTK_OUTPUTS], NTK_PHI, sigma_w2=NTK_SIGMA_W2, bias=False)
    return Network(width, [*net.layers, *last])


def _two_populations(
    ax: Axes, values: np.ndarray, n_outliers: int, predicted: np.ndarray, label: str = "$C - 1$ largest"
) -> None:
    """Histograms of the largest of every network and of all others, and predictions.

    `values` are (networks, eigenvalues), descending.
    """
    positive = values[values > 1e-6 * values.max()]
    bins = np.geomspace(positive.min(), 1.02 * positive.max(), BINS).tolist()
    for part, colour, name in (
        (values[:, n_outliers:], "sky", "all others"),
        (values[:, :n_outliers], "orange", label),
    ):
        weights = np.full(part.size, 1 / len(values))
        ax.hist(part.ravel(), bins, weights=weights, color=plots.COLOURS[colour], alpha=0.8, label=name)
    for outlier in predicted:
        line = ax.axvline(outlier, 0.62, color=plots.COLOURS["vermillion"], ls="--", lw=1.2)
    line.set_label("predicted outliers")
    ax.set(xscale="log", yscale="log")

"""The first step of four optimisers over width: theory before drawing, networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..architectures import mlp
from ..datasets import gaussian_inputs
from ..learning_rate import first_step
from ..network import Network
from ..sampled import sample
from ..training.critical import critical_rate
from ._style import bar, entry, legend, letter, marked, paper_style, shade, ticks

__all__ = ["NETWORKS", "OPTIMISERS", "WIDTHS", "figure", "measured", "network"]

NETWORKS = {"relu": (2.0, 0.0), "tanh": (1.0, 0.0)}  # sigma_w2, sigma_b2
OPTIMISERS = {  # colour, marker
    "sgd": ("blue", "o"),
    "adamw": ("vermillion", "s"),
    "rmsprop": ("green", "^"),
    "muon": ("orange", "D"),
}
WIDTHS, WIDTHS_FAST = (32, 64, 128, 256, 512), (8, 16, 32)
N_NETWORKS, N_NETWORKS_FAST = 7, 2
DEPTH, N_INPUTS, N_SAMPLES, N_OUTPUTS = 3, 64, 64, 10
RATE = 1e-3


def network(phi: str, width: int) -> Network:
    """Three weight layers of one hidden width."""
    return mlp([N_INPUTS, *[width] * (DEPTH - 1), N_OUTPUTS], phi, *NETWORKS[phi])


def measured(net: Network, optimizer: str, X: np.ndarray, Y: np.ndarray, n: int, rng: np.random.Generator) -> Any:
    """Critical rates (n,) and responses (n,) of networks drawn."""
    found = [critical_rate(sample(net, rng=child), X, Y, optimizer) for child in rng.spawn(n)]
    return np.array([one.rate for one in found]), np.array([one.response for one in found])


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    """Critical rates of the first step of SGD, AdamW, RMSprop and Muon, against width.

    The comparison and its settings are ours, of no paper: networks of three weight layers of one hidden width M, relu
    with a weight variance of 2 and tanh with 1, no bias variance, 64 Gaussian inputs of 64 features, one-hot labels of
    ten classes, half the mean squared error. A, B: rates above which the first step raises the loss: predicted before
    any network is drawn (lines, shaded from 5 to 95 % of networks), and found by a line search on seven networks a
    width (points: the median, bars from the lowest to the highest). C: how far a step with the rate 1e-3 moves the
    outputs of relu networks, root mean square.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: widths 8, 16 and 32, two networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths, n_networks = (WIDTHS_FAST, N_NETWORKS_FAST) if fast else (WIDTHS, N_NETWORKS)
    of_data, of_networks = np.random.default_rng(rng).spawn(2)
    X = gaussian_inputs(N_SAMPLES, N_INPUTS, rng=of_data)
    Y = np.eye(N_OUTPUTS)[of_data.integers(0, N_OUTPUTS, N_SAMPLES)]
    drawing, axes = pyplot.subplots(1, 3, figsize=(7.0, 3.0), layout="constrained")
    kinds = [(phi, name) for phi in NETWORKS for name in OPTIMISERS]
    for phi, name in bar(kinds, progress, "first steps"):
        colour, marker = plots.COLOURS[OPTIMISERS[name][0]], OPTIMISERS[name][1]
        nets = [network(phi, width) for width in widths]
        steps = [first_step(net, name, inputs=X, targets=Y) for net in nets]
        drawn = [measured(net, name, X, Y, n_networks, of_networks) for net in nets]
        rates, responses = (np.array(values) for values in zip(*drawn, strict=True))
        ax = axes[list(NETWORKS).index(phi)]
        ax.plot(widths, [step.critical_learning_rate for step in steps], color=colour, lw=1.3)
        ax.fill_between(widths, *np.array([step.band for step in steps]).T, color=colour, alpha=0.2, lw=0)
        _points(ax, widths, rates, colour, marker)
        if phi == "relu":
            axes[2].plot(widths, [RATE * step.response for step in steps], color=colour, lw=1.3)
            _points(axes[2], widths, RATE * responses, colour, marker)
    axes[2].axhline(1, color="0.5", ls=":", lw=1)
    for ax, name, text in zip(axes, "ABC", ("relu", "tanh", "relu, rate $10^{-3}$"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel="width $M$")
        ticks(ax.xaxis, widths)
        letter(ax, name, text)
    axes[0].set_ylabel(r"critical rate $\eta$")
    axes[2].set_ylabel("change of the outputs")
    handles: list[Any] = [
        marked(name, plots.COLOURS[colour], marker, lw=1.3) for name, (colour, marker) in OPTIMISERS.items()
    ]
    handles += [entry("theory", lw=1.3), shade("5 to 95 % of networks, predicted")]
    handles += [marked("networks", "0.3", "o", ls=""), entry("as large as outputs are (C)", "0.5", ls=":", lw=1)]
    legend(drawing, handles, 4)
    return drawing


def _points(ax: Any, widths: Any, values: np.ndarray, colour: str, marker: str) -> None:
    """Medians, with bars to the lowest and the highest."""
    middle = np.median(values, axis=1)
    reach = [middle - values.min(axis=1), values.max(axis=1) - middle]
    style: dict[str, Any] = {"ms": 4, "mfc": "white", "mew": 1.1, "capsize": 2, "lw": 0.8, "zorder": 3}
    ax.errorbar(widths, middle, reach, fmt=marker, color=colour, **style)

r"""Karakida, Akaho & Amari 2019: normalisation and the largest eigenvalue.

Subtracting the mean of the outputs over the samples takes the eigenvalues of Fisher information of order M away;
normalisation in hidden layers, or over the units of the last layer, leaves them.

References
----------
Karakida, Akaho & Amari 2019, "The normalization method for alleviating pathological sharpness in wide neural
networks", NeurIPS 2019, arXiv:1906.02926.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..datasets import gaussian_inputs
from ..finite_width.band import outlier_band
from ..fisher import fisher_statistics
from ..jobs.run import run
from ..layers import BatchNorm, Dense, Layer, LayerNorm, MeanSubtraction, Pointwise
from ..network import Network
from ..sampled import fisher_spectrum, sample
from ._style import entry, legend, letter, marked, paper_style, points, shade, standard_error, ticks

__all__ = ["METHODS", "NETWORKS", "WIDTHS", "largest_against_width", "network"]

NETWORKS = {"relu": (2.0, 0.1), "tanh": (3.0, 0.64)}  # sigma_w^2, sigma_b^2
METHODS = {
    "none": ("black", "o", "none"),
    "batch norm, hidden": ("orange", "v", "batch norm, hidden layers (B: no theory)"),
    "layer norm": ("green", "D", "layer norm, outputs ($C = 10$): largest of 9"),
    "mean subtraction": ("blue", "s", "mean subtraction, outputs"),
    "batch norm": ("vermillion", "^", "batch norm, outputs"),
}
MEAN: dict[str, Any] = {"ls": "none", "marker": "D", "ms": 3.2, "zorder": 3}  # of several outliers
BESIDE = {"batch norm, hidden": 0.97, "batch norm": 1.03}  # so that points do not hide each other
WIDTHS, WIDTHS_FAST = (60, 90, 130, 200), (52, 60)  # batch norm has its edge for T > 50 only


def network(method: str, phi: str, width: int) -> Network:
    """Three weight layers of this width with one of the `METHODS`."""
    sigma_w2, sigma_b2 = NETWORKS[phi]
    layers: list[Layer] = []
    for _ in range(2):
        layers.append(Dense(width, sigma_w2, sigma_b2))
        if method == "batch norm, hidden":
            layers.append(BatchNorm(affine=False))
        layers.append(Pointwise(phi))
    layers.append(Dense(10 if method == "layer norm" else 1, sigma_w2, sigma_b2))
    behind = {
        "mean subtraction": MeanSubtraction(),
        "batch norm": BatchNorm(affine=False),
        "layer norm": LayerNorm(affine=False),
    }
    return Network(width, [*layers, behind[method]] if method in behind else layers)


@paper_style
def largest_against_width(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Largest eigenvalue against the width, with normalisation in different places.

    After the paper's comparison; its sizes were not recovered, so the settings are ours: three weight layers of
    uniform width M = 60 ... 200, as many Gaussian inputs, T = M, of variance 1; ReLU with
    :math:`(\sigma_w^2, \sigma_b^2)` = (2, 0.1), tanh with (3, 0.64); one output, ten for layer norm, which needs
    more than two; gains 1 and offsets 0, not trained. Solid lines: this package's theory, which for mean
    subtraction and batch norm of the outputs is the edge of the bulk. Shaded: between the paper's bounds for mean
    subtraction, with the two constants that it leaves open set to 0; and, where nothing is normalised, 5-95 % of
    networks by `mfdnn.outlier_distribution`, a law that is not derived for the others. Points: means over 40 networks
    (10 at M = 200) with error bars of one standard error; triangles are set 3 % aside to be seen.

    Under layer norm nine eigenvalues stand out, equal at infinite width, which chance splits at finite width: the
    largest of them (open) lies up to a third above the line, their mean (filled) on it. Under batch norm in the hidden
    layers of an odd activation (tanh) no eigenvalue stands out either, and there is no theory of its bulk: points only.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: ReLU only, widths 52 and 60, three networks each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths = WIDTHS_FAST if fast else WIDTHS
    networks = {"relu": NETWORKS["relu"]} if fast else NETWORKS
    children = iter(np.random.default_rng(rng).spawn(len(networks) * len(METHODS) * len(widths)))
    shared: dict[str, Any] = {"sharex": True, "sharey": True, "squeeze": False}
    figure, axes = pyplot.subplots(1, len(networks), figsize=(7.0, 3.9), layout="constrained", **shared)
    for ax, panel, (phi, variances) in zip(axes[0], "AB", networks.items(), strict=False):
        for method, (name, marker, _) in METHODS.items():
            nets = [network(method, phi, width) for width in widths]
            theory = [fisher_statistics(net, n_samples=net.n_inputs) for net in nets]
            drawn = [
                _outliers(net, 3 if fast else 40 if net.n_inputs < 200 else 10, next(children), progress)
                for net in nets
            ]
            colour = plots.COLOURS[name]
            if method != "batch norm, hidden" or not any(fim.largest_caution for fim in theory):
                ax.plot(widths, [fim.largest for fim in theory], color=colour, lw=1.6)
            places = np.multiply(widths, BESIDE.get(method, 1.0))
            largest = [values.max(axis=1) for values in drawn]
            errors = [standard_error(values) for values in largest]
            points(ax, places, [np.mean(values) for values in largest], errors, colour, marker)
            if method == "layer norm":
                ax.plot(places, [np.mean(values) for values in drawn], color=colour, **MEAN)
            if method == "none":
                bands = [outlier_band(net, net.n_inputs).quantiles for net in nets]
                known = [(width, *band) for width, band in zip(widths, bands, strict=True) if band]
                ax.fill_between(*np.transpose(known), color="0.2", alpha=0.2, lw=0)
            if method == "mean subtraction":
                laws = [fim.output_normalisation for fim in theory if fim.output_normalisation]
                bounds = [law.lower() for law in laws], [law.upper() for law in laws]
                ax.fill_between(widths, *bounds, color=plots.COLOURS["sky"], alpha=0.25, lw=0)
        letter(ax, panel, rf"{phi}, $(\sigma_w^2, \sigma_b^2) = ({variances[0]:g}, {variances[1]:g})$")
        ax.set(xscale="log", yscale="log", xlabel="width $M$ = number of samples $T$")
        ticks(ax.xaxis, widths)
    axes[0, 0].set_ylabel(r"$\lambda_{\max}$")
    handles = [
        *(marked(label, plots.COLOURS[name], marker) for name, marker, label in METHODS.values()),
        entry("layer norm, outputs: mean of the 9", plots.COLOURS["green"], **MEAN),
        shade("the paper's bounds, mean subtraction", plots.COLOURS["sky"]),
        shade("5-95 % of networks, predicted (none)", "0.2", 0.2),
    ]
    title = "normalisation: theory (lines), simulation (points, triangles set 3 % aside)"
    legend(figure, handles, 2, title=title)
    return figure


def _outliers(net: Network, n_networks: int, rng: np.random.Generator, progress: bool) -> np.ndarray:
    """Largest eigenvalues (n_networks, k) of networks, each at its own inputs.

    k is 1, or C - 1 of several outputs.
    """
    tasks = [(net, child) for child in rng.spawn(n_networks)]
    return np.array([found["outliers"] for found in run(_largest, tasks, progress=progress)])


def _largest(task: tuple[Network, np.random.Generator]) -> dict[str, np.ndarray]:
    net, rng = task
    one = sample(net, rng=rng)
    X = gaussian_inputs(net.n_inputs, net.n_inputs, rng=rng)
    k = net.n_outputs - 1 or None  # T eigenvalues cost less than iterating at the edge of a bulk
    return {"outliers": fisher_spectrum(one, X, k).eigenvalues[: k or 1]}

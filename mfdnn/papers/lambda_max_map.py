r"""Spread of the largest Fisher eigenvalue over depth and width, our own result.

The spread over drawn networks of a relu network depends on depth and width nearly through :math:`L/\sqrt M` alone;
that of a tanh network grows less with the depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .. import plots
from ..architectures import mlp
from ..ensembles import ensemble
from ..finite_width import spread_map, width_for_spread
from ..finite_width.doubts import DOUBTFUL_SPREAD
from ._style import entry, legend, letter, marked, paper_style, points

__all__ = ["NETWORKS", "N_SAMPLES", "POINTS", "figure", "relative_spread"]

NETWORKS = {"relu": (2.0, 0.0), "tanh": (1.5, 0.05)}  # sigma_w^2, sigma_b^2 of the maps and of the simulation
OTHERS = {"gelu": (2.0, 0.1), "linear": (1.0, 0.1)}
STYLES = {"relu": ("vermillion", "s"), "tanh": ("blue", "o"), "gelu": ("orange", ""), "linear": ("green", "")}
N_SAMPLES, SPREAD, N_INPUTS = 50, 0.1, 1000
DEPTHS, DEPTHS_FAST = (*range(2, 12), *range(12, 25, 2)), (2, 4, 8)
WIDTHS, WIDTHS_FAST = tuple(np.unique(np.geomspace(50, 3200, 25).astype(int)).tolist()), (50, 200, 800)
LINES, RATIOS = (100, 400, 1600), (0.1, 0.2, 0.4, 0.7)
POINTS, POINTS_FAST = ((4, 100), (6, 100), (4, 200), (8, 200), (4, 400), (8, 400)), ((4, 60),)  # (L, M)


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Relative spread of the largest Fisher eigenvalue, and the width a spread needs.

    The result and the settings are ours, of no paper: L weight layers of uniform width M, one output, T = 50
    Gaussian inputs of variance 1, drawn afresh for every network; ReLU with :math:`(\sigma_w^2, \sigma_b^2)` = (2, 0),
    tanh with (1.5, 0.05), GELU with (2, 0.1), linear with (1, 0.1). A, B: standard deviation of the largest eigenvalue
    over its mean, by `mfdnn.outlier_distribution`; contours (white) of the ReLU network follow lines (dashed) of
    constant :math:`L/\sqrt M` from L = 4 to about 12, above which the spread grows more slowly; at L = 2, without
    biases, its leading order nearly vanishes. C: the same against this ratio, lines at M = 100, 400, 1600 (dark to
    light, named at those of tanh) from L = 3 to 24 or to a spread of 35 %, beyond which the law was not tested and
    gives a caution; points: 200 networks each, L = 4, 6, 8 and M = 100, 200, 400, with error bars of one standard
    error. D: the hidden width at which the spread is 10 %, for 1000 input units; for
    ReLU it grows like :math:`L^2` (dotted) up to L = 8.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: three depths and widths, 20 networks of width 60.

    Returns
    -------
    matplotlib.figure.Figure
    """
    depths, widths = (DEPTHS_FAST, WIDTHS_FAST) if fast else (DEPTHS, WIDTHS)
    drawing, axes = pyplot.subplots(2, 2, figsize=(7.0, 6.4), layout="constrained")
    entries: dict[str, Any] = {}
    for ax, panel, (phi, variances) in zip(axes[0], "AB", NETWORKS.items(), strict=True):
        found = spread_map(phi, *variances, depths, widths, N_SAMPLES)
        plots.spread_map(found, ax=ax, colorbar=panel == "B", constant=RATIOS)
        entries.update({handle.get_label(): handle for handle in ax.get_legend().legend_handles})
        ax.get_legend().remove()
        letter(ax, panel, _name(phi, variances))
    axes[0, 1].set_ylabel("")
    _collapse(axes[1, 0], fast, rng, progress)
    _required(axes[1, 1], depths[:: 1 if fast else 2])
    for phi in (*NETWORKS, *OTHERS):
        colour, marker = plots.COLOURS[STYLES[phi][0]], STYLES[phi][1]
        entries[phi] = marked(f"{phi} {'(C, D)' if marker else '(D)'}", colour, marker)
    entries["square"] = entry("slope 2 (D)", ls=":", lw=1.2)
    entries["tested"] = entry(f"law tested up to {100 * DOUBTFUL_SPREAD:g} % (C)", ls="-.", lw=1)
    legend(drawing, list(entries.values()), 3)
    return drawing


def _collapse(ax: Axes, fast: bool, rng: Any, progress: bool) -> None:
    places = POINTS_FAST if fast else POINTS
    children = iter(np.random.default_rng(rng).spawn(len(NETWORKS) * len(places)))
    for phi, variances in NETWORKS.items():
        colour, marker = plots.COLOURS[STYLES[phi][0]], STYLES[phi][1]
        found = spread_map(phi, *variances, DEPTHS_FAST if fast else DEPTHS[1:], LINES, N_SAMPLES)
        for column, width in enumerate(LINES):
            known = found.status[:, column] == "ok"
            ratio, spread = found.depths[known] / np.sqrt(width), found.spread[known, column]
            ax.plot(ratio, spread, color=colour, lw=1.5, alpha=(1.0, 0.65, 0.4)[column])
            if phi == "tanh" and ratio.size:
                place: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
                ax.annotate(f"$M = {width}$", (ratio[-1], spread[-1]), fontsize="small", **place)
        for depth, width in places:
            net = mlp([width] * depth + [1], phi, sigma_w2=variances[0], sigma_b2=variances[1])
            ens = ensemble(net, N_SAMPLES, 20 if fast else 200, rng=next(children), progress=progress)
            spread, error = relative_spread(ens.values["lambda_max"])
            points(ax, depth / np.sqrt(width), spread, error, colour, marker)
    ax.set(xscale="log", yscale="log", xlabel=r"$L/\sqrt{M}$", ylabel=r"relative spread of $\lambda_{\max}$")
    ax.axhline(DOUBTFUL_SPREAD, color="0.3", lw=1, ls="-.")
    ax.set_xlim(right=2.5 * ax.get_xlim()[1])  # room for the names of lines
    _plain(ax.xaxis, (0.1, 0.2, 0.5, 1, 2))
    _plain(ax.yaxis, (0.03, 0.05, 0.1, 0.2, 0.3))
    letter(ax, "C", "theory and simulation")


def _required(ax: Axes, depths: tuple[int, ...]) -> None:
    for phi, variances in {**NETWORKS, **OTHERS}.items():
        widths = []
        for depth in depths:
            net = mlp([N_INPUTS, *[100] * (depth - 1), 1], phi, sigma_w2=variances[0], sigma_b2=variances[1])
            widths.append(width_for_spread(net, SPREAD, N_SAMPLES).widths[1])
        ax.plot(depths, widths, color=plots.COLOURS[STYLES[phi][0]], lw=1.6)
        if phi == "relu":
            square = widths[depths.index(8)] * (np.array(depths) / 8) ** 2
            ax.plot(depths, square, color="0.3", ls=":", lw=1.2)
    ax.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="hidden width $M$")
    _plain(ax.xaxis, (2, 4, 8, 16))
    letter(ax, "D", f"width for a spread of {100 * SPREAD:g} %")


def _plain(axis: Any, places: tuple[float, ...]) -> None:
    """Plain numbers on a logarithmic axis."""
    low, high = axis.get_view_interval()
    shown = [place for place in places if low <= place <= high]
    axis.set_ticks(shown, labels=[f"{place:g}" for place in shown])
    axis.set_minor_formatter(NullFormatter())


def relative_spread(values: np.ndarray) -> tuple[float, float]:
    """Standard deviation over mean, and its standard error from the fourth moment."""
    centred = values - values.mean()
    deviation = np.sqrt(np.sum(centred**2) / (len(values) - 1))
    kurtosis = np.mean(centred**4) / np.mean(centred**2) ** 2
    spread = deviation / values.mean()
    return float(spread), float(spread * np.sqrt((kurtosis - 1) / (4 * len(values))))


def _name(phi: str, variances: tuple[float, float]) -> str:
    return rf"{phi}, $(\sigma_w^2, \sigma_b^2) = ({variances[0]:g}, {variances[1]:g})$"

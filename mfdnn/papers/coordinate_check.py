r"""Parameterisations: how far layers move in a few steps, over width.

References
----------
Yang et al. 2022, "Tensor programs V: tuning large neural networks via zero-shot hyperparameter transfer",
arXiv:2203.03466, who made the check. The figure is this package's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import comparison, plots
from ..architectures import mlp
from ._style import bar, entry, legend, letter, marked, paper_style, points, ticks

__all__ = ["figure", "measured"]

SIZES, SIZES_FAST = (64, 128, 256, 512, 1024), (32, 64)
N_NETWORKS, N_NETWORKS_FAST = 6, 2
PANELS = {"standard": "standard", "ntk": "NTK", "mup": "muP"}
LAYERS = {
    "first layer": ("blue", "o"),
    "second layer": ("sky", "s"),
    "third layer": ("green", "D"),
    "outputs": ("black", "^"),
}


def measured(kind: str, sizes: tuple[int, ...], n_networks: int, rng: Any) -> comparison.CoordinateCheck:
    """The check of a relu network of four weight layers, trained by Adam."""
    net = mlp([64, *[sizes[0]] * 3, 10], "relu", init="he")
    return comparison.coordinate_check(
        net, "adam", parameterisation=kind, sizes=sizes, n_networks=n_networks, rng=rng
    )


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""How far layers move in five steps of Adam, in three parameterisations.

    Ours: relu networks of three hidden layers, He's initialisation, 32 Gaussian inputs of 64 features, ten classes,
    half the squared error; one rate for all widths, a quarter of the critical rate of the first step where that is
    smallest. Points: root mean square change of the pre-activations of each layer, means over six networks; lines: the
    power of the width through them. Open circles: the outputs after the first step alone, and what theory says of them
    (dashed). In muP no layer knows the width.

    Parameters
    ----------
    fast : bool
        Widths 32 and 64, two networks.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    sizes, n_networks = (SIZES_FAST, N_NETWORKS_FAST) if fast else (SIZES, N_NETWORKS)
    figure, axes = pyplot.subplots(1, 3, figsize=(7.0, 3.1), layout="constrained", sharey=True)
    panels = zip(bar(PANELS.items(), progress, "parameterisation"), axes, "ABC", strict=True)
    for (kind, label), ax, name in panels:
        _draw(ax, measured(kind, sizes, n_networks, rng))
        letter(ax, name, label)
    axes[0].set_ylabel("change of pre-activations")
    handles = [marked(label, plots.COLOURS[tone], marker) for label, (tone, marker) in LAYERS.items()]
    handles.append(marked("outputs, first step", plots.COLOURS["vermillion"], "o", ls="none"))
    handles.append(entry("the same in theory", plots.COLOURS["vermillion"], ls="--"))
    legend(figure, handles, 3)
    return figure


def _draw(ax: Axes, found: comparison.CoordinateCheck) -> None:
    centre = np.exp(np.mean(np.log(found.sizes)))
    errors = found.standard_error["change"]
    for layer, (tone, marker) in enumerate(LAYERS.values()):
        last, colour = found.change[:, -1, layer], plots.COLOURS[tone]
        points(ax, found.sizes, last, errors[:, -1, layer], colour, marker)
        middle = np.exp(np.mean(np.log(last)))
        ax.plot(found.sizes, middle * (found.sizes / centre) ** found.slopes[layer], color=colour, lw=1)
    red = plots.COLOURS["vermillion"]
    points(ax, found.sizes, found.change[:, 0, -1], errors[:, 0, -1], red, "o")
    ax.plot(found.sizes, found.predicted, "--", color=red)
    ax.set(xscale="log", yscale="log", xlabel="width")
    ticks(ax.xaxis, found.sizes[:: 1 if len(found.sizes) < 4 else 2])

"""How far layers move, over width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import COLOURS, legend, make_axes, points, require_result, sequence, width_ticks

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["coordinate_check"]


def coordinate_check(found: Any, ax: Axes | None = None) -> Axes:
    """How far each layer moved, over width; the outputs' first step beside theory.

    Parameters
    ----------
    found : CoordinateCheck
    ax : Axes, optional

    Returns
    -------
    Axes
        With logarithmic axes: points of every layer behind the last step, the power law through them, and the change of
        the outputs in the first step, which theory predicts (dashed).
    """
    require_result("found", found, "CoordinateCheck", "mfdnn.comparison.coordinate_check(...)")
    ax = make_axes(ax)
    n_steps, depth = found.change.shape[1:]
    centre = np.exp(np.mean(np.log(found.sizes)))
    for layer in range(depth):
        colour = sequence(layer, depth, None)
        last, error = found.change[:, -1, layer], found.standard_error["change"][:, -1, layer]
        line = points(ax, found.sizes, last, error, "o", colour)
        name = "outputs" if layer == depth - 1 else f"layer {layer + 1}"
        line.set_label(rf"{name}, $M^{{{found.slopes[layer]:.2f}}}$")
        middle = np.exp(np.mean(np.log(last)))
        ax.plot(found.sizes, middle * (found.sizes / centre) ** found.slopes[layer], "-", color=colour, lw=1)
    first, error = found.change[:, 0, -1], found.standard_error["change"][:, 0, -1]
    points(ax, found.sizes, first, error, "s", COLOURS["vermillion"]).set_label("outputs, first step")
    ax.plot(found.sizes, found.predicted, "--", color=COLOURS["vermillion"], label="the same in theory")
    ax.set_xscale("log")
    ax.set_yscale("log")
    width_ticks(ax, found.sizes)
    ax.set_xlabel("width $M$")
    ax.set_ylabel(f"change of pre-activations after {n_steps} steps" if n_steps > 1 else "change after one step")
    legend(ax)
    return ax

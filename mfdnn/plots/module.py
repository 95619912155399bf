"""Learning rates of a PyTorch module: the loss along the step, and who moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import positive_integer
from ._style import COLOURS, legend, make_axes, number, require_result

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["layer_shares", "loss_along_step"]

# Field, style of its line, words.
_ANSWERS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("current", {"color": "0.55", "ls": "-"}, "present rate"),
    ("critical", {"color": COLOURS["vermillion"], "ls": "-"}, "critical"),
    ("directional", {"color": COLOURS["vermillion"], "ls": "--"}, "Gauss-Newton parabola"),
    ("stable", {"color": COLOURS["blue"], "ls": "-"}, "stable"),
    ("any_softmax", {"color": COLOURS["blue"], "ls": ":"}, "any softmax"),
)


def loss_along_step(answer: Any, ax: Axes | None = None) -> Axes:
    """Loss against the rate of one step of the optimiser, with the answers marked.

    Parameters
    ----------
    answer : mfdnn.pytorch.ModuleLearningRate
        With its critical part.
    ax : Axes, optional

    Returns
    -------
    Axes
        With a logarithmic horizontal axis; losses far above the first one are cut off.

    Raises
    ------
    TypeError, ValueError
        Another object; an answer without the critical part.
    """
    require_result("answer", answer, "ModuleLearningRate", "mfdnn.pytorch.learning_rate(...)")
    if answer.along is None:
        raise ValueError("`answer` has no loss along the step; ask for it with parts='all'.")
    ax = make_axes(ax)
    rates, losses = answer.along["rate"][1:], answer.along["loss"][1:]
    marked = [(getattr(answer, name), style, words) for name, style, words in _ANSWERS]
    marked = [(place, style, words) for place, style, words in marked if place and np.isfinite(place)]
    places = [place for place, _, _ in marked]
    low, high = min([*places, *rates[:1]]) / 1.6, max([*places, *rates[-1:]]) * 1.1
    if answer.critical and np.isfinite(answer.critical):
        high = max(4 * answer.critical, max(places) * 1.6)
    ax.plot(rates, losses, "o-", ms=3, color=COLOURS["black"], label="loss after one step")
    smooth = np.geomspace(low, high, 200)
    parabola = answer.parabola(smooth)
    if parabola is not None:
        ax.plot(smooth, parabola, color=COLOURS["vermillion"], ls="--", lw=0.9, zorder=1)
    ax.axhline(answer.first_loss, color="0.6", lw=0.8, zorder=0)
    for place, style, words in marked:
        ax.axvline(place, lw=1.4, label=f"{words}: {number(place)}", **style)
    finite = losses[np.isfinite(losses) & (rates <= high)]
    lowest = min(finite.min(initial=answer.first_loss), answer.first_loss)
    depth = answer.first_loss - lowest or abs(answer.first_loss) or 1.0
    ax.set(xscale="log", xlim=(low, high), ylim=(lowest - 0.1 * depth, answer.first_loss + 0.8 * depth))
    ax.set(xlabel=f"rate of one step of {answer.optimizer}", ylabel=f"{answer.loss} of the batch")
    legend(ax)
    return ax


def layer_shares(answer: Any, ax: Axes | None = None, most: int = 24) -> Axes:
    """Shares of the layers in the first fall of the loss, as bars.

    Parameters
    ----------
    answer : mfdnn.pytorch.ModuleLearningRate
        With its first step.
    ax : Axes, optional
    most : int
        Layers that are shown, in the order of the module; the smaller ones of more layers share a bar.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        Another object; an answer without the first step.
    """
    require_result("answer", answer, "ModuleLearningRate", "mfdnn.pytorch.learning_rate(...)")
    most = positive_integer("most", most, minimum=2)
    if answer.by_layer is None:
        raise ValueError("`answer` has no shares of layers; ask for them with parts='all'.")
    ax = make_axes(ax)
    names, values = list(answer.by_layer), np.array(list(answer.by_layer.values()))
    kept = np.sort(np.argsort(-np.abs(values), kind="stable")[: most - 1 if len(names) > most else None])
    rows = [(names[i], values[i]) for i in kept]
    if len(kept) < len(names):
        rows.append((f"{len(names) - len(kept)} others", values.sum() - values[kept].sum()))
    places = np.arange(len(rows))
    heights = np.array([100 * value for _, value in rows])
    colours = [COLOURS["blue"] if height >= 0 else COLOURS["orange"] for height in heights]
    ax.barh(places, heights, color=colours, height=0.75)
    ax.set_yticks(places, labels=[name for name, _ in rows], fontsize="small" if len(rows) <= 16 else "x-small")
    empty = max(6 - len(rows), 0) / 2  # a few layers make no blocks of their bars
    ax.set_ylim(len(rows) - 0.4 + empty, -0.6 - empty)
    ax.axvline(0.0, color="0.3", lw=0.8)
    ax.set(xlabel=f"share of the first fall of the loss, step of {answer.optimizer} (%)", ylabel="layer")
    return ax

"""What the pictures have in common: colours, a legend above the axes, ticks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = [
    "B2",
    "COLOURS",
    "W2",
    "integer_ticks",
    "legend",
    "make_axes",
    "number",
    "require_result",
    "sequence",
    "width_ticks",
]

COLOURS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
}
W2, B2 = r"$\sigma_w^2$", r"$\sigma_b^2$"


def make_axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


_PLAIN = re.compile(r"\\[a-z]+|[{}$^_\\]")  # what mathtext does not print


def legend(ax: Axes, handles: Sequence[Any] | None = None) -> None:
    """Above the axes, where no data are."""
    from matplotlib import rcParams

    found = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    if not found:
        return
    # As many columns as fit: letters are about half as wide as high (0.83 of the font), a handle is five.
    letter = 0.43 * rcParams["font.size"] / 72
    longest = max(len(_PLAIN.sub("", str(handle.get_label()))) for handle in found) + 5
    columns = min(max(int(ax.bbox.width / ax.figure.dpi / letter / longest), 1), len(found))
    rows = -(-len(found) // columns)
    ax.legend(
        handles=found,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.01),
        ncols=-(-len(found) // rows),  # rows of equal length
        frameon=False,
        borderaxespad=0.0,
        fontsize="small",
        handlelength=1.8,
        columnspacing=1.2,
        labelspacing=0.3,
    )


def integer_ticks(ax: Axes, layers: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    margin = 0.03 * (layers[-1] - layers[0]) or 0.5
    ax.set_xlim(layers[0] - margin, layers[-1] + margin)


def width_ticks(ax: Axes, widths: np.ndarray) -> None:
    """The widths themselves as ticks, where there is room to print them."""
    from matplotlib.ticker import NullFormatter

    shown: list[float] = []
    for width in np.unique(widths):
        if not shown or width >= 1.6 * shown[-1]:
            shown.append(width)
    if len(shown) <= 8:
        ax.set_xticks(shown, labels=[f"{width:g}" for width in shown])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(axis="x", which="minor", length=0)


def sequence(index: int, n: int, hue: str | None) -> Any:
    """Colour `index` of n: of a sequential map, or tints of one hue."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if hue is None:
        return colormaps["viridis"](0.9 * index / max(n - 1, 1))
    weight = 0.35 + 0.65 * index / max(n - 1, 1)
    return tuple(weight * part + 1 - weight for part in to_rgb(hue))


def number(value: float) -> str:
    return f"{value:.3g}"


def require_result(name: str, value: Any, kind: str, call: str) -> None:
    """Raise a TypeError for what is not the result that a picture is drawn of.

    By the name of its class: this room knows none of the classes.
    """
    if type(value).__name__ != kind:
        raise TypeError(
            f"`{name}` must be a {kind}, got {type(value).__name__}; pass that of {call}, or call its `.plot()`."
        )

"""What the pictures have in common: colours, a legend above the axes, ticks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import finite_array, positive_integer, short

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = [
    "B2",
    "COLOURS",
    "W2",
    "categories",
    "checked_bins",
    "colour_bar",
    "integer_ticks",
    "legend",
    "make_axes",
    "number",
    "points",
    "require_result",
    "sequence",
    "ticks_at",
    "to_edges",
    "width_ticks",
]

MOST_BINS = 10**5
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
    from matplotlib import pyplot
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        return ax
    if ax is not None:
        raise TypeError(f"`ax` must be Axes of Matplotlib, got {short(ax)}; pass pyplot.subplots()[1], or None.")
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


def categories(labels: np.ndarray, colours: dict[str, str]) -> tuple[np.ndarray, dict[str, Any]]:
    """A number for each label (nan for others), and the colours that show them."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    same = labels[..., None] == list(colours)
    codes = np.where(same.any(axis=-1), same.argmax(axis=-1), np.nan)
    norm = BoundaryNorm(np.arange(len(colours) + 1) - 0.5, len(colours))
    return codes, {"cmap": ListedColormap(list(colours.values())), "norm": norm}


def colour_bar(ax: Axes, mesh: Any, ticks: Any = None, names: Any = None, **options: Any) -> None:
    """A colour bar with these ticks and names, or matplotlib's own."""
    bar = ax.figure.colorbar(mesh, ax=ax, **options)
    if ticks is not None:
        bar.set_ticks(ticks, labels=names)
        bar.minorticks_off()


def integer_ticks(ax: Axes, layers: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    margin = 0.03 * (layers[-1] - layers[0]) or 0.5
    ax.set_xlim(layers[0] - margin, layers[-1] + margin)


def width_ticks(ax: Axes, widths: np.ndarray) -> None:
    """The widths themselves as ticks, where there is room to print them."""
    shown: list[float] = []
    for width in np.unique(widths):
        if not shown or width >= 1.6 * shown[-1]:
            shown.append(width)
    if len(shown) <= 8:
        ticks_at(ax.xaxis, shown)
        ax.tick_params(axis="x", which="minor", length=0)


def ticks_at(axis: Any, places: Sequence[float]) -> None:
    """These ticks of a logarithmic axis, and names for no others."""
    from matplotlib.ticker import NullFormatter

    axis.set_ticks(places, labels=[f"{place:g}" for place in places])
    axis.set_minor_formatter(NullFormatter())


def sequence(index: int, n: int, hue: str | None) -> Any:
    """Colour `index` of n: of a sequential map, or tints of one hue."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if hue is None:
        return colormaps["viridis"](0.8 * index / max(n - 1, 1))  # its yellow end is pale on white
    weight = 0.35 + 0.65 * index / max(n - 1, 1)
    return tuple(weight * part + 1 - weight for part in to_rgb(hue))


def to_edges(x: np.ndarray, y: np.ndarray, left: float, right: float) -> np.ndarray:
    """A line on logarithmic scales, continued straight to `left` and `right`."""
    slopes = np.diff(np.log(y)) / np.diff(np.log(x)) if x.size > 1 else np.zeros(1)
    return np.concatenate([[y[0] * (left / x[0]) ** slopes[0]], y, [y[-1] * (right / x[-1]) ** slopes[-1]]])


def points(ax: Axes, x: Any, y: Any, errors: Any, marker: str, colour: Any) -> Any:
    """Points with error bars, filled with white; returns the line of points."""
    style: dict[str, Any] = {"ms": 4.5, "mfc": "white", "mew": 1.1, "capsize": 2, "zorder": 3}
    return ax.errorbar(x, y, errors, fmt=marker, color=colour, **style)[0]


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


def checked_bins(bins: Any) -> int | list[float]:
    """The number of bins of a histogram, or their edges."""
    if not isinstance(bins, list | tuple | range | np.ndarray) or (isinstance(bins, np.ndarray) and bins.ndim == 0):
        return positive_integer("bins", bins, maximum=MOST_BINS)
    edges = finite_array("bins", bins)
    if edges.ndim != 1 or edges.size < 2 or np.any(np.diff(edges) <= 0):
        raise ValueError(f"`bins` must be a number, or edges that increase, got {short(bins)}; pass for example 30.")
    return edges.tolist()

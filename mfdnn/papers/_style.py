"""What the figures have in common: fonts for print, letters, legends, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from tqdm import tqdm

__all__ = ["bar", "entry", "legend", "letter", "marked", "paper_style", "points", "shade", "standard_error", "ticks"]

RC: Any = {
    "font.family": "STIXGeneral",  # comes with matplotlib, and its mathematics matches its text
    "mathtext.fontset": "stix",
    "font.size": 10.0,
    "axes.labelsize": 10.5,
    "axes.titlesize": 10.5,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.linewidth": 0.7,
    "lines.dash_capstyle": "butt",
}

Function = TypeVar("Function", bound=Callable[..., Any])
Item = TypeVar("Item")


def paper_style(function: Function) -> Function:
    """Draw with the fonts and lines of a printed page, whatever the settings are."""

    @wraps(function)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        with rc_context(RC):
            return function(*args, **kwargs)

    return drawn  # type: ignore[return-value]


def letter(ax: Axes, name: str, text: str = "") -> None:
    """A bold panel letter, and what the panel shows, above its left corner."""
    ax.set_title(rf"$\mathbf{{{name}}}$   {text}", loc="left")


def ticks(axis: Any, places: Iterable[float]) -> None:
    """Ticks at these places only, with plain numbers."""
    axis.set_ticks(list(places), labels=[f"{place:g}" for place in places])
    axis.set_ticks([], minor=True)


def points(ax: Axes, x: Any, values: Any, errors: Any, color: str, marker: str) -> None:
    """Points of simulation with their error bars."""
    style: dict[str, Any] = {"ms": 4.5, "mfc": "white", "mew": 1.1, "capsize": 2, "zorder": 3}
    ax.errorbar(x, values, errors, fmt=marker, color=color, **style)


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of means over the last axis."""
    return np.std(values, axis=-1, ddof=1) / np.sqrt(np.shape(values)[-1])


def entry(label: str, color: Any = "0.3", **style: Any) -> Line2D:
    """A line in a legend."""
    return Line2D([], [], color=color, label=label, **style)


def marked(label: str, color: Any, marker: str, **style: Any) -> Line2D:
    """A marker in a legend, on a line unless that has the style none."""
    return entry(label, color, **{"marker": marker, "mfc": "white", "ms": 4.5, **style})


def shade(label: str, color: Any = "0.3", alpha: float = 0.25) -> Patch:
    """A shaded region in a legend."""
    return Patch(color=color, alpha=alpha, lw=0, label=label)


def legend(figure: Figure, handles: list[Any], ncols: int, **options: Any) -> None:
    """The one legend of a figure, below its panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False, **options)


def bar(items: Iterable[Item], progress: bool, description: str) -> Iterator[Item]:
    """The items, with a progress bar on stderr if that is wanted and a terminal."""
    yield from tqdm(items, desc=description, disable=None if progress else True)

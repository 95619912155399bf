"""What the papers' figures have in common: fonts for print, panel letters, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bar", "letter", "paper_style"]

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
    """Draw with the fonts and lines of a printed page, whatever the caller's settings are."""

    @wraps(function)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        from matplotlib import rc_context

        with rc_context(RC):
            return function(*args, **kwargs)

    return drawn  # type: ignore[return-value]


def letter(ax: Axes, name: str, text: str = "") -> None:
    """A bold panel letter, and what the panel shows, above its left corner."""
    ax.set_title(rf"$\mathbf{{{name}}}$   {text}", loc="left")


def bar(items: Iterable[Item], progress: bool, description: str) -> Iterator[Item]:
    """The items, with a progress bar on stderr if that is wanted and a terminal."""
    yield from tqdm(items, desc=description, disable=None if progress else True)

"""The spectrum of the Jacobian: a density, and what stands apart from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import finite_array
from ._style import COLOURS, legend, make_axes, require_result

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["jacobian_spectrum"]


def jacobian_spectrum(found: Any, ax: Axes | None = None, singular_values: Any = None) -> Axes:
    r"""Density of the logarithm of squared singular values; atoms as stems.

    Parameters
    ----------
    found : JacobianSpectrum
    ax : Axes, optional
    singular_values : array_like, shape (n,), optional
        Of sampled networks, as `mfdnn.sampled.jacobian_singular_values` returns them: a histogram of their squares.

    Returns
    -------
    Axes
        With a logarithmic horizontal axis. The density is that of log lambda, lambda times the density of lambda.
    """
    require_result("found", found, "JacobianSpectrum", "mfdnn.jacobian_spectrum(...)")
    ax = make_axes(ax)
    drawn = found.grid * found.density
    if singular_values is not None:
        values = np.abs(finite_array("singular_values", singular_values).ravel())
        lowest, highest = np.sqrt(found.grid[0] / 2), np.sqrt(2 * max([found.grid[-1], *found.edges]))
        within = 2 * np.log(values[(values >= lowest) & (values <= highest)])
        heights, edges = np.histogram(within, bins=int(np.clip(2 * np.cbrt(within.size), 8, 60)))
        ax.stairs(
            heights / values.size / np.diff(edges), np.exp(edges), color=COLOURS["sky"], fill=True, label="networks"
        )
    ax.plot(found.grid, drawn, color=COLOURS["blue"], label="theory")
    for place, mass in found.atoms:
        if place > 0:
            ax.plot([place, place], [0, drawn.max(initial=1.0)], "--", color=COLOURS["vermillion"])
            ax.plot([], [], "--", color=COLOURS["vermillion"], label=f"{mass:.3g} of all at {place:.4g}")
        else:
            ax.plot([], [], " ", label=f"{mass:.3g} of all at 0")
    ax.set_xscale("log")
    ax.set_xlabel(r"$\lambda$, squared singular value of $J$")
    ax.set_ylabel(r"density of $\log\lambda$")
    legend(ax)
    return ax

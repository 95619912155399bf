"""The law of the largest eigenvalue: of one network, and over depth and width."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import checked, finite_array, finite_number, short
from ._style import COLOURS, checked_bins, colour_bar, legend, make_axes, number, require_result, ticks_at

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["outlier_law", "spread_map"]

LEVELS = (0.025, 0.05, 0.1, 0.2, 0.35)  # beyond the last the law was not tested
LABELLED = 0.42  # of the panel, from its middle: nearer to an edge the label of a contour would be cut
RANGE = (0.01, 1.0)  # of the colours
TICKS = (0.01, 0.03, 0.1, 0.3, 1.0)
WIDTHS = [step * 10**k for k in range(6) for step in (1, 2, 5)]  # named on the axes
DEPTHS = [2**k for k in range(12)]
SPREAD = r"relative spread of $\lambda_{\max}$"
VOID = {"no outlier": "no outlier clear of the bulk", "no law": "no law"}
NOTHING = "#CCCCCC"


def outlier_law(
    law: Any,
    values: Any = None,
    ax: Axes | None = None,
    bins: int | Sequence[float] = 30,
    *,
    confidence: float = 0.95,
) -> Axes:
    r"""Predicted law of the largest eigenvalue: density, band, a value that is safe.

    Parameters
    ----------
    law : OutlierDistribution
        Of `mfdnn.outlier_distribution`. Drawn are the density of its largest outlier, the band from
        1 - `confidence` to `confidence`, the mean and the infinite-width value `lambda_0`.
    values : array, optional
        Largest eigenvalues of drawn networks, as a histogram, and the shares of them beyond `lambda_0` and
        beyond the upper end of the band.
    ax : Axes, optional
    bins : int or sequence
        Of the histogram, as in `numpy.histogram`.
    confidence : float
        Probability that a network stays below the upper end of the band.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `confidence` is not between 0.5 and 1, `values` are not finite or empty.

    Examples
    --------
    >>> import mfdnn
    >>> from matplotlib import pyplot
    >>> from mfdnn import plots
    >>> net = mfdnn.mlp([100, 100, 100, 1], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> ax = plots.outlier_law(mfdnn.outlier_distribution(net, n_samples=100))
    >>> ax.get_xlabel()
    '$\\lambda_{\\max}$ of one network'
    >>> pyplot.close(ax.figure)
    """
    require_result("law", law, "OutlierDistribution", "mfdnn.outlier_distribution(...)")
    if not 0.5 < finite_number("confidence", confidence) < 1:
        raise ValueError(f"`confidence` must be between 0.5 and 1, got {confidence}; 0.95 is usual.")
    measured = None if values is None else finite_array("values", values).ravel()
    if measured is not None and measured.size == 0:
        raise ValueError(
            "`values` must contain a largest eigenvalue or more, got none; pass None to leave it out."
        )
    ax = make_axes(ax)
    if measured is not None:
        style: dict[str, Any] = {"color": "0.82", "edgecolor": "0.55", "lw": 0.6}
        low, high = measured.min(), measured.max()
        if high - low <= 1e-9 * abs(high):  # one value, or many of them
            low, high = low - (0.01 * abs(low) or 0.5), high + (0.01 * abs(high) or 0.5)
        style |= {"density": True, "histtype": "stepfilled", "label": "drawn networks"}
        ax.hist(measured, checked_bins(bins), range=(low, high), **style)
    p = np.linspace(0, 1, 402)[1:-1]
    edges = law.quantile(p)
    middle, density = (edges[1:] + edges[:-1]) / 2, np.diff(p) / np.diff(edges)
    low, high = law.quantile([1 - confidence, confidence])
    inside = (middle >= low) & (middle <= high)
    percent = f"{100 * confidence:g} %"
    band = f"predicted {100 * (1 - confidence):g}-{percent}"
    ax.plot(middle, density, color=COLOURS["blue"], lw=1.6, label="predicted law")
    ax.fill_between(middle[inside], density[inside], color=COLOURS["blue"], alpha=0.2, lw=0, label=band)
    lines = (
        (law.lambda_0, "--", COLOURS["vermillion"], r"infinite width, $\lambda_0$"),
        (law.largest_mean, ":", COLOURS["blue"], "predicted mean"),
        (high, "-", COLOURS["green"], f"predicted {percent} value"),
    )
    for value, dash, colour, label in lines:
        ax.axvline(value, ymax=0.8, color=colour, ls=dash, lw=1.4, label=label)
    if measured is not None:
        for y, value, colour in ((0.98, law.lambda_0, lines[0][2]), (0.89, high, lines[2][2])):
            share = f"{100 * np.mean(measured > value):.3g} % beyond"
            place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top"}
            ax.text(0.98, y, share, color=colour, fontsize="small", **place)
    ax.set(xlabel=r"$\lambda_{\max}$ of one network", ylabel="density")
    ax.set_ylim(0, ax.get_ylim()[1] / 0.8)
    legend(ax)
    return ax


def spread_map(
    found: Any,
    ax: Axes | None = None,
    colorbar: bool = True,
    *,
    levels: Sequence[float] = LEVELS,
    constant: Sequence[float] = (),
    labels: bool = True,
) -> Axes:
    r"""Heat map of the spread of the largest eigenvalue over width and depth.

    The spread is relative to the mean. A contour says how wide a network of some depth must be for 2/lambda_max to be
    known that well. Hatched: the law has a caution there, mostly because it was tested up to a spread of 0.35 only;
    grey: no eigenvalue stands clear of the bulk, or there is no law.

    Parameters
    ----------
    found : SpreadMap
        Of `mfdnn.spread_map`, with two depths and two widths or more.
    ax : Axes, optional
    colorbar : bool
    levels : sequence of float
        Of the contours, ascending.
    constant : sequence of float
        Values of :math:`L/\sqrt M` along which dashed lines are drawn: contours that follow them show that the spread
        depends on this ratio alone.
    labels : bool
        Print the levels on the contours.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        A single depth or width.

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> import mfdnn
    >>> from mfdnn import plots
    >>> found = mfdnn.spread_map("relu", 2.0, 0.0, [2, 4, 8], [100, 400, 1600], n_samples=50)
    >>> ax = plots.spread_map(found, constant=[0.1, 0.2, 0.4])
    >>> ax.get_ylabel()
    'depth $L$'
    >>> pyplot.close(ax.figure)
    """
    require_result("found", found, "SpreadMap", "mfdnn.spread_map(...)")
    colorbar, labels = checked(colorbar=colorbar, labels=labels)
    if min(found.spread.shape) < 2:
        raise ValueError(
            f"`found` needs two depths and two widths, got {found.spread.shape[0]} x {found.spread.shape[1]}; compute "
            "it on a grid."
        )
    levels, constant = _positive("levels", levels), _positive("constant", constant)
    if sorted(set(levels)) != levels:
        raise ValueError(f"`levels` must increase, got {short(levels)}; sort them.")
    from matplotlib.colors import LogNorm
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    ax = make_axes(ax)
    x, y, values = found.widths, found.depths, np.ma.masked_invalid(found.spread)
    shown = np.ma.clip(values, *RANGE)
    style: dict[str, Any] = {"norm": LogNorm(*RANGE), "cmap": "viridis"}
    mesh = ax.pcolormesh(x, y, shown, shading="nearest", rasterized=True, **style)
    ax.set(xscale="log", yscale="log", xlabel="width $M$", ylabel="depth $L$")
    ax.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    handles: list[Any] = []
    inside = [level for level in levels if values.min() < level < values.max()]
    if inside:
        drawn = ax.contour(x, y, values, inside, colors="white", linewidths=1.3)
        handles.append(Line2D([], [], color="0.6", lw=1.3, label="equal spread (white)"))
        if labels:
            lines = [_longest(path) for path in drawn.get_paths() if np.size(path.vertices)]
            places = [place for place in map(partial(_innermost, ax), lines) if place is not None]
            ax.clabel(drawn, fmt=lambda level: f"{100 * level:g} %", fontsize="small", manual=places)
    for ratio in constant:
        ax.plot(x, ratio * np.sqrt(x), color="black", ls="--", lw=1.0).pop().set_gid("constant ratio")
    if len(constant):
        ratios = ", ".join(number(ratio) for ratio in constant)
        handles.append(Line2D([], [], color="black", ls="--", lw=1.0, label=rf"$L/\sqrt{{M}}$ = {ratios}"))
    doubtful = (found.status == "caution").astype(float)
    if doubtful.any():
        ax.contourf(x, y, doubtful, [0.5, 1.5], hatches=["///"], colors="none")
        handles.append(Patch(fc="white", ec="black", hatch="///", lw=0.5, label="law in doubt"))
    if np.ma.getmaskarray(values).any():
        ax.set_facecolor(NOTHING)
        reasons = [reason for status, reason in VOID.items() if np.any(found.status == status)]
        handles.append(Patch(fc=NOTHING, label=", or ".join(reasons)))
    if colorbar:
        ends = bool(values.min() < RANGE[0]), bool(values.max() > RANGE[1])  # False where all are masked
        extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[ends]
        colour_bar(ax, mesh, TICKS, [f"{tick:g}" for tick in TICKS], label=SPREAD, extend=extend)
    for axis, known, named in ((ax.xaxis, x, WIDTHS), (ax.yaxis, y, DEPTHS)):
        ticks_at(axis, [place for place in named if known.min() <= place <= known.max()])
    legend(ax, handles)
    return ax


def _innermost(ax: Axes, line: np.ndarray) -> tuple[float, float] | None:
    """Where a label of the line has most room; None if that is at an edge."""
    off = np.abs((ax.transData + ax.transAxes.inverted()).transform(line) - 0.5).max(axis=1)
    return tuple(line[off.argmin()]) if off.min() < LABELLED else None


def _longest(path: Any) -> np.ndarray:
    """Of the lines that a path consists of."""
    return max(np.split(path.vertices, np.flatnonzero(path.codes == path.MOVETO)[1:]), key=len)


def _positive(name: str, value: Any) -> list[float]:
    values = finite_array(name, value, "a list of numbers")
    if values.ndim != 1 or np.any(values <= 0):
        raise ValueError(f"`{name}` must be a list of positive numbers, got {short(value)}; pass such as (0.1, 0.2).")
    return values.tolist()

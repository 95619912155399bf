"""Spectra of the Fisher information, and what follows for the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import checked, finite_array, listed, nonnegative_array, positive_integer, short
from ._style import (
    COLOURS,
    checked_bins,
    legend,
    make_axes,
    number,
    points,
    to_edges,
    width_ticks,
)

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["eigenvalue_scaling", "fisher_spectrum", "learning_rate_boundary"]


def fisher_spectrum(
    eigenvalues: Any,
    statistics: Any = None,
    ax: Axes | None = None,
    n_networks: int = 1,
    bins: int | Sequence[float] = 60,
    *,
    color: Any = None,
    label: str | None = None,
) -> Axes:
    r"""Histogram of the non-zero eigenvalues of Fisher matrices, with predictions.

    Parameters
    ----------
    eigenvalues : array
        Of one or several networks together. Those below 1e-12 of the largest are zero but for rounding and
        left out.
    statistics : FisherStatistics or SoftmaxStatistics, optional
        Its `mean` (over all P eigenvalues, most of which are zero), `bulk` and `largest`, or `outliers`, become
        vertical lines.
    ax : Axes, optional
    n_networks : int
        How many networks `eigenvalues` comes from: counts are per network.
    bins : int or sequence
        Number of bins, equally wide in the logarithm, or their edges.
    color, label : optional
        Of the histogram.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        No positive eigenvalue.

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> import numpy as np
    >>> from mfdnn import plots
    >>> ax = plots.fisher_spectrum(np.geomspace(0.1, 10, 200))
    >>> ax.get_xscale()
    'log'
    >>> pyplot.close(ax.figure)
    """
    values = finite_array("eigenvalues", eigenvalues).ravel()
    networks, label = positive_integer("n_networks", n_networks), checked(label=label)
    if statistics is not None and not all(hasattr(statistics, name) for name in ("mean", "largest", "n_outliers")):
        raise TypeError(
            f"`statistics` must have mean, largest and n_outliers, got {type(statistics).__name__}; pass those of "
            "mfdnn.fisher_statistics(...) or softmax_statistics(...)."
        )
    values = values[values > 1e-12 * values.max(initial=0.0)]
    if values.size == 0:
        raise ValueError(
            "`eigenvalues` must contain a positive number, got none; pass those of a Fisher matrix."
        )
    edges = checked_bins(bins)
    ax = make_axes(ax)
    if isinstance(edges, int):
        edges = np.geomspace(values.min() / 1.02, values.max() * 1.02, edges + 1).tolist()
    style: dict[str, Any] = {"color": color or COLOURS["sky"], "label": label or "sampled eigenvalues"}
    weights = np.full(values.size, 1 / networks)
    heights, _, _ = ax.hist(values, edges, weights=weights, histtype="stepfilled", **style)
    if statistics is not None:
        for values, dash, colour, text in _predicted(statistics):
            for i, value in enumerate(values):
                ax.axvline(value, color=colour, ls=dash, lw=1.6, label=None if i else text)
    ax.set_xscale("log")
    counts = np.asarray(heights)
    if counts.max() > 30 * counts[counts > 0].min():
        ax.set_yscale("log")
    ax.set(xlabel=r"eigenvalue $\lambda$ of $F$", ylabel="eigenvalues per bin and network")
    legend(ax)
    return ax


def learning_rate_boundary(
    widths: Any,
    predicted: Any,
    measured: Any = None,
    measured_error: Any = None,
    ax: Axes | None = None,
    label: str | None = None,
    *,
    measured_label: str = "sampled networks",
    band: Any = None,
    band_label: str = "limits of 90 % of networks, predicted",
    note: str | None = None,
    zone: str = "monotone",
) -> Axes:
    r"""Learning-rate limit 2/lambda_max against width, theory and measured.

    Drawn are the line of theory, measured points, a band and the two zones.

    Parameters
    ----------
    widths, predicted : array, shape (n,)
    measured : array (n,), or pair (widths, values), optional
    measured_error : array, optional
        Standard errors of `measured`.
    ax : Axes, optional
    label : str, optional
        What the line is the limit of, such as the loss and the optimiser.
    measured_label : str
    band : tuple (widths, low, high), optional
        Limits between which single networks have theirs, at those of `widths` where they are known. Neither zone
        reaches into it.
    band_label : str
        What the band is, by default of nine networks in ten: 2 over quantiles of `mfdnn.outlier_distribution`.
    note : str, optional
        An entry of the legend: why there is no band, or only a part of it.
    zone : str
        Name of the lower zone, the first of `LearningRate.zones`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> from mfdnn import plots
    >>> ax = plots.learning_rate_boundary([100, 200, 400], [0.4, 0.2, 0.1])
    >>> [text.get_text() for text in ax.texts]
    ['monotone', 'may grow:\ncatapult or divergence']
    >>> pyplot.close(ax.figure)
    """
    label, note, zone, measured_label, band_label = checked(
        label=label, note=note, zone=zone, measured_label=measured_label, band_label=band_label
    )
    x, y = _over_widths(widths, "predicted", predicted)
    if x.size == 0 or min(x.min(), y.min()) <= 0:
        raise ValueError("`widths` and `predicted` must be positive numbers, got none or others; check them.")
    order = np.argsort(x)
    x, y = x[order], y[order]
    ax = make_axes(ax)
    everything = [y]
    if measured is not None:
        pair = isinstance(measured, tuple) and len(measured) == 2 and np.ndim(measured[0]) == 1
        at, measured = measured if pair else (widths, measured)
        places, measured = _over_widths(at, "measured", measured)
        if measured_error is not None:
            errors = nonnegative_array("measured_error", measured_error)
            measured_error = _over_widths(at, "measured_error", errors)[1]
        everything.append(measured)
    known: dict[float, tuple[float, float]] = {}
    if band is not None:
        between = _band(band)
        known = {width: (under, over) for width, under, over in zip(*between, strict=True)}
        everything += between[1:]
    low, high = np.concatenate(everything).min() / 3, np.concatenate(everything).max() * 3
    left, right = (x[0] / 1.15, x[-1] * 1.15) if x.size > 1 else (x[0] / 2, x[0] * 2)
    ax.set(xscale="log", yscale="log")
    at, under, over = _zones(x, y, known, left, right)
    ax.fill_between(at, low, under, color=COLOURS["green"], alpha=0.15, lw=0, gid="monotone")
    ax.fill_between(at, over, high, color=COLOURS["orange"], alpha=0.18, lw=0, gid="may grow")
    if known:
        ax.fill_between(at, under, over, color="0.8", lw=0, label=band_label, gid="band")
    text = r"theory, $2/\lambda_{\max}$" if label is None else f"theory: {label}"
    ax.plot(x, y, color=COLOURS["black"], lw=1.8, label=text)
    if measured is not None:
        style: dict[str, Any] = {"fmt": "o", "color": COLOURS["blue"], "ms": 5, "capsize": 2.5, "zorder": 3}
        ax.errorbar(places, measured, measured_error, label=measured_label, **style)
    if note is not None:
        ax.plot([], [], ls="none", label=note)
    ax.text(0.04, 0.05, zone, transform=ax.transAxes, ha="left", va="bottom")
    ax.text(0.96, 0.95, "may grow:\ncatapult or divergence", transform=ax.transAxes, ha="right", va="top")
    ax.set(xlabel="width $M$", ylabel=r"learning rate $\eta$", xlim=(left, right), ylim=(low, high))
    width_ticks(ax, x)
    legend(ax)
    return ax


def eigenvalue_scaling(
    widths: Any,
    theory: Any,
    values: Any = None,
    errors: Any = None,
    ax: Axes | None = None,
    label: str | None = None,
    *,
    leading: Any = None,
    band: Any = None,
    color: Any = None,
    marker: str = "o",
) -> Axes:
    r"""A statistic of the Fisher spectrum against width, on logarithmic axes.

    A line of theory and points with error bars. Call it once per network with the same `ax`; legend and labels of the
    ordinate are the caller's.

    Parameters
    ----------
    widths, theory : array, shape (n,)
    values, errors : array, shape (n,), optional
        Means over sampled networks and their standard errors.
    ax : Axes, optional
    label : str, optional
        Of the line of theory.
    leading : array, shape (n,), optional
        The leading order in the width, drawn dotted.
    band : tuple (widths, low, high), optional
        Where single networks lie, as quantiles of `mfdnn.outlier_distribution`; shaded.
    color, marker : optional
        By default the colour is the next of the cycle.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> from mfdnn import plots
    >>> ax = plots.eigenvalue_scaling([100, 200], [10.0, 20.0], [11.0, 20.5], [0.3, 0.2], label="tanh")
    >>> ax.get_xlabel()
    'width $M$'
    >>> pyplot.close(ax.figure)
    """
    label, (x, y) = checked(label=label), _over_widths(widths, "theory", theory)
    leading = None if leading is None else _over_widths(widths, "leading", leading)[1]
    values = None if values is None else _over_widths(widths, "values", values)[1]
    errors = None if errors is None else _over_widths(widths, "errors", nonnegative_array("errors", errors))[1]
    ax = make_axes(ax)
    (line,) = ax.plot(x, y, lw=1.6, label=label, color=color)
    if band is not None:
        at, low, high = _band(band)
        ax.fill_between(at, low, high, color=line.get_color(), alpha=0.25, lw=0, zorder=1.5, gid="band")
    if leading is not None:
        ax.plot(x, leading, lw=1.2, ls=":", color=line.get_color(), gid="leading")
    if values is not None:
        points(ax, x, values, errors, marker, line.get_color())
    ax.set(xscale="log", yscale="log", xlabel="width $M$")
    width_ticks(ax, x)
    return ax


def _predicted(statistics: Any) -> list[tuple[np.ndarray, str, str, str]]:
    """Places, dashes, colour and label of the lines of theory."""
    mean, bulk, largest = statistics.mean, getattr(statistics, "bulk", 0.0), statistics.largest
    outliers = np.atleast_1d(getattr(statistics, "outliers", largest))
    name, fold = r"$\lambda_{\max}$", statistics.n_outliers
    if len(outliers) > 1:
        name = f"{fold} outliers"
    elif fold > 1 and getattr(statistics, "normalised_by", "") != "layer norm":  # whose outliers differ
        name += f" ({fold}-fold)"
    ends = " to ".join(number(value) for value in outliers[:: max(len(outliers) - 1, 1)])  # the first and the last
    found = [
        (np.atleast_1d(mean), ":", COLOURS["black"], f"mean of all $P$: {number(mean)}"),
        (np.atleast_1d(bulk), "-.", COLOURS["green"], f"mean of the bulk: {number(bulk)}"),
        (outliers, "--", COLOURS["vermillion"], f"{name}: {ends}"),
    ]
    return [line for line in found if line[0].min() > 0]


def _band(band: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths, ascending, and both ends."""
    band = listed("band", band, "(widths, low, high)")
    if len(band) != 3:
        raise ValueError(f"`band` must be (widths, low, high), got {short(band)}; pass three arrays.")
    widths, low = _over_widths(band[0], "band", band[1])
    high = _over_widths(widths, "band", band[2])[1]
    order = np.argsort(widths)
    return widths[order], low[order], high[order]


def _zones(
    x: np.ndarray, y: np.ndarray, known: dict[float, tuple[float, float]], left: float, right: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths, and where the zones end below and above the line.

    They end at the band, which begins and ends with a step, and where there is none at the line.
    """
    place = np.array([0, *range(x.size), x.size - 1])  # on to the edges of the axes
    ends, line = np.concatenate([[left], x, [right]]), to_edges(x, y, left, right)
    band = np.array([known.get(width, (limit, limit)) for width, limit in zip(x, y, strict=True)])
    band = (band / y[:, None])[place]
    inside = np.isin(x, list(known))[place]
    step = np.flatnonzero(inside[1:] != inside[:-1])
    index = np.insert(np.arange(place.size), step + 1, np.where(inside[step + 1], step + 1, step))
    under, over = np.insert(band, step + 1, 1.0, axis=0).T * line[index]
    return ends[index], under, over


def _over_widths(widths: Any, name: str, values: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.atleast_1d(finite_array("widths", widths)), np.atleast_1d(finite_array(name, values))
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"`{name}` must have one value for each of `widths`, got shapes {y.shape} and {x.shape}; pass one each."
        )
    return x, y

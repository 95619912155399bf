"""Training over width and learning rate, with the lines of theory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import checked, one_of
from ._style import COLOURS, categories, colour_bar, legend, make_axes, require_result, to_edges, width_ticks

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["learning_rate_map"]

LABELS = {
    "final_loss": "training loss at the end",
    "share_grew": "share of runs whose loss grew",
    "share_diverged": "share of runs that diverged",
    "outcome": "",
}
OUTCOME_COLOURS = {"fell": "#A6CEE3", "catapulted": "#FDBF6F", "grew": "#E31A1C", "diverged": "#999999"}
DIVERGED = "0.6"
LOSS_RANGE = 1e-3, 10.0  # of the median initial loss: less has been learnt, more is lost


def learning_rate_map(
    found: Any,
    field: str = "final_loss",
    ax: Axes | None = None,
    colorbar: bool = True,
    *,
    drawn: bool = False,
    **kwargs: Any,
) -> Axes:
    r"""Heat map of what training did at each width and rate, with lines of theory.

    Drawn are the stability limit of infinite width, its 5-95 % band over networks where the law is known, and the
    catapult limit; for cross-entropy the limit is a bound, and that of the first outputs is drawn instead of the
    catapult limit. Of another optimiser than sgd the line is the critical rate of its first step. Losses have a
    logarithmic scale, from a thousandth to ten times the median initial loss; grey is where a run diverged.

    Parameters
    ----------
    found : LearningRateMap
        With at least two points on each axis.
    field : {"final_loss", "share_grew", "share_diverged", "outcome"}
    ax : Axes, optional
    colorbar : bool
    drawn : bool
        Also draw the limits of the sampled networks, from their own :math:`\lambda_{max}`, as points; for cross-entropy
        those of their first outputs.
    **kwargs
        To ``Axes.pcolormesh``: ``vmin``, ``vmax`` for the range, ``norm`` for the scale, ``cmap``.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Unknown field, or an axis with a single point.

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> import mfdnn
    >>> net = mfdnn.mlp([20, 20, 20, 1], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> found = mfdnn.learning_rate_map(net, [20, 40], [0.1, 1.0], 20, n_samples=20, n_trials=2, rng=0)
    >>> ax = found.plot("share_grew")
    >>> ax.get_ylabel()
    'learning rate $\\eta$'
    >>> pyplot.close(ax.figure)
    """
    one_of("field", field, LABELS)
    require_result("found", found, "LearningRateMap", "mfdnn.learning_rate_map(...)")
    colorbar, drawn = checked(colorbar=colorbar, drawn=drawn)
    if min(found.width.size, found.learning_rate.size) < 2:
        raise ValueError(
            f"`found` needs two points on each axis, got {found.width.size} x {found.learning_rate.size}; compute more."
        )
    ax = make_axes(ax)
    columns, rows = np.argsort(found.width), np.argsort(found.learning_rate)
    width, rate = found.width[columns].astype(float), found.learning_rate[rows]
    values, scale = _values_and_scale(found, field)
    options = {**scale, **kwargs}
    if "norm" in options and {"vmin", "vmax"} & set(kwargs):
        options["norm"] = type(options["norm"])(options.pop("vmin", None), options.pop("vmax", None))
    shown = np.ma.masked_invalid(values[np.ix_(columns, rows)].T)
    mesh = ax.pcolormesh(_edges(width), _edges(rate), shown, rasterized=True, **options)
    ax.set(xscale="log", yscale="log")
    if field == "final_loss" and np.any(np.ma.getmaskarray(shown)):
        ax.scatter([], [], marker="s", color=DIVERGED, label="diverged")
    if colorbar:
        extend = "both" if field == "final_loss" else "neither"
        ticks = range(len(OUTCOME_COLOURS)) if field == "outcome" else None
        colour_bar(ax, mesh, ticks, list(OUTCOME_COLOURS), label=LABELS[field], extend=extend)
    _draw_theory(ax, found, columns, width)
    if drawn:
        limits = found.sampled_limit if found.sampled_initial is None else found.sampled_initial
        places = np.broadcast_to(found.width, limits.shape)
        style: dict[str, Any] = {"ms": 2.5, "mfc": "white", "mec": "black", "mew": 0.5}
        label = "limits of the networks drawn" if found.notion == "stability" else "line searches of the networks drawn"
        ax.plot(places.ravel(), limits.ravel(), "o", label=label, **style)
    ax.set(xlabel="width $M$", ylabel=r"learning rate $\eta$")
    ax.set(xlim=_edges(width)[[0, -1]], ylim=_edges(rate)[[0, -1]])
    width_ticks(ax, found.width)
    legend(ax)
    return ax


def _values_and_scale(found: Any, field: str) -> tuple[np.ndarray, dict[str, Any]]:
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    values = getattr(found, field)
    if field == "outcome":
        return categories(values, OUTCOME_COLOURS)
    if field == "final_loss":
        low, high = np.multiply(LOSS_RANGE, np.median(found.initial_loss))
        return values, {"cmap": colormaps["viridis"].with_extremes(bad=DIVERGED), "norm": LogNorm(low, high)}
    return values, {"cmap": "Blues", "vmin": 0.0, "vmax": 1.0}


def _edges(x: np.ndarray) -> np.ndarray:
    """Edges of cells around points that are read on a logarithmic axis."""
    middle = np.sqrt(x[1:] * x[:-1])
    return np.concatenate([[x[0] ** 2 / middle[0]], middle, [x[-1] ** 2 / middle[-1]]])


def _draw_theory(ax: Axes, found: Any, columns: np.ndarray, width: np.ndarray) -> None:
    plain = found.momentum == 0 and found.weight_decay == 0
    softmax = found.loss == "cross_entropy"
    limit = r"$2/\lambda_{\max}$" if plain else "stability limit"
    theory, networks = COLOURS["vermillion"], COLOURS["black"]  # of networks on top: the line may lie on its end
    said = "theory, safe for any softmax" if softmax else f"theory, {limit}"
    if found.notion == "first step":
        said, softmax = f"theory, critical first step, {found.optimizer}", False
    lines: list[tuple[str, str, float, str, str | None]] = [
        ("limit", "-", 1.8, theory, said),
        ("limit_low", ":", 1.4, networks, "5-95 % of networks"),
        ("limit_high", ":", 1.4, networks, None),
    ]
    if softmax:
        lines.append(("initial_limit", "-.", 1.4, theory, f"{limit} at the first outputs"))
    else:
        lines.append(("catapult_limit", "--", 1.4, theory, "catapult limit"))
    for name, dash, thick, colour, label in lines:
        values = getattr(found, name)
        if values is not None:
            draw_limit(ax, width, values[columns], color=colour, ls=dash, lw=thick, label=label, gid=name)


def draw_limit(ax: Axes, width: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """Learning rates of ascending widths, as a line on to the edges of the map."""
    from matplotlib.patheffects import Normal, Stroke

    known = np.isfinite(values) & (values > 0)
    if known.sum() < 2:
        return
    ends = _edges(width)[[0, -1]]
    x, y = width[known], values[known]
    x, y = np.concatenate([ends[:1], x, ends[1:]]), to_edges(x, y, *ends)
    inside = np.concatenate([known[:1], np.full(x.size - 2, True), known[-1:]])
    halo = [Stroke(linewidth=3.2, foreground="white"), Normal()]  # to be seen on any colour
    ax.plot(x[inside], y[inside], path_effects=halo, **style)

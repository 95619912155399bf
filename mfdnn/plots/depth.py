"""Order parameters over depth: theory and simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import COLOURS, integer_ticks, legend, make_axes, points, require_result

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["order_parameters"]

POINTS = 21  # layers of a deep network at which sampled points are drawn; more would hide the lines


def order_parameters(op: Any, ax: Axes | None = None, ensemble: Any = None) -> Axes:
    r"""Order parameters over depth: lines of theory, points of sampled networks.

    Parameters
    ----------
    op : OrderParameters
        Of exchangeable inputs with scalar `q0` and `c0`, or of given inputs (then means over inputs, and over
        pairs of different inputs, are drawn).
    ax : Axes, optional
    ensemble : Ensemble, optional
        Its ``mean[name]`` and ``standard_error[name]``, (L,) arrays for q, q_st, q_tilde, q_tilde_st, become
        points with error bars of one standard error.

    Returns
    -------
    Axes
        With a logarithmic scale where values range over more than a factor of 30. Order parameters that
        vanish are left out there, and the legend says so.

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> import mfdnn
    >>> from mfdnn import plots
    >>> net = mfdnn.mlp([100] * 12, "tanh", sigma_w2=1.5, sigma_b2=0.1)
    >>> ax = plots.order_parameters(mfdnn.order_parameters(net))
    >>> ax.get_xlabel()
    'weight layer $l$'
    >>> pyplot.close(ax.figure)
    """
    names = {
        "q": (r"$q^l$", COLOURS["blue"], "-", "o"),
        "q_st": (r"$q_{st}^l$", COLOURS["sky"], "--", "s"),
        "q_tilde": (r"$\tilde q^l$", COLOURS["vermillion"], "-", "o"),
        "q_tilde_st": (r"$\tilde q_{st}^l$", COLOURS["orange"], "--", "s"),
    }
    require_result("op", op, "OrderParameters", "mfdnn.order_parameters(...)")
    if ensemble is not None:
        require_result("ensemble", ensemble, "Ensemble", "mfdnn.ensemble(...)")
    ax = make_axes(ax)
    if op.per_input and op.q.shape[1] == 1:  # one input has no pairs
        names = {name: style for name, style in names.items() if not name.endswith("_st")}
    theory = {name: op.averaged(name) for name in names}
    if theory["q"].ndim != 1:
        raise ValueError(f"`op` must be of one `q0` and `c0`, but q has shape {op.q.shape}; pass numbers.")
    layers = np.arange(1, len(theory["q"]) + 1)
    top = max(np.abs(values).max() for values in theory.values())
    gone = {name for name, values in theory.items() if np.all(values <= 1e-9 * _size(theory, name))}
    positive = np.concatenate(
        [np.abs(values[values != 0]) for name, values in theory.items() if name not in gone] or [[1.0]]
    )
    log = bool(positive.size) and positive.max() > 30 * positive.min() and top > 0
    marked = np.unique(np.linspace(1, layers[-1], min(layers[-1], POINTS)).round())
    for name, (symbol, colour, dash, marker) in names.items():
        if log and name in gone:
            ax.plot([], [], color=colour, ls=dash, label=f"{symbol} = 0: not shown")
            continue
        # A logarithmic axis has no place for a layer where the signal vanishes.
        shown = theory[name] > 0 if log else np.full(layers.shape, True)
        line = np.where(shown, theory[name], np.nan)
        ax.plot(layers, line, color=colour, ls=dash, lw=1.8, label=symbol, gid=name)
        if ensemble is not None and name in ensemble.mean:  # one input has no pairs
            at = np.flatnonzero(shown & np.isin(layers, marked))
            mean, error = ensemble.mean[name][at], ensemble.standard_error[name][at]
            drawn = points(ax, layers[at], mean, np.where(np.isfinite(error), error, 0.0), marker, colour)
            drawn.set(mfc="white" if dash == "--" else colour, gid=f"{name} simulated")
    if log:
        ax.set_yscale("log")
    handles = ax.get_legend_handles_labels()[0]
    if ensemble is not None:
        from matplotlib.lines import Line2D

        label = "simulation (of pairs: open)" if "q_st" in names else "simulation"
        handles.append(Line2D([], [], color="0.3", marker="o", ls="none", ms=4.5, label=label))
    ax.set(xlabel="weight layer $l$", ylabel="order parameter")
    integer_ticks(ax, layers)
    legend(ax, handles)
    return ax


def _size(theory: dict[str, np.ndarray], name: str) -> float:
    """What `name` is to be compared with: the same without _st."""
    return float(np.abs(theory[name.removesuffix("_st")]).max()) or 1.0

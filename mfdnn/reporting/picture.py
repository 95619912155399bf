"""The picture, and page and picture in one file."""

from __future__ import annotations

import base64
import html
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import plots
from ..phase import phase_diagram
from ..plots._style import COLOURS, integer_ticks, legend, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["html_page", "picture"]

GRID = 160  # points per axis of the phase diagram
NOTE = 62  # characters of a line of a legend that is as wide as its panel


def picture(r: Any) -> Figure:
    """The four panels."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8.2), layout="constrained")
    _place_panel(r, axes[0, 0])
    plots.order_parameters(r.order_parameters, ax=axes[0, 1], ensemble=r.ensemble)
    _spectrum_panel(r, axes[1, 0])
    _boundary_panel(r, axes[1, 1])
    lr = r.learning_rate
    figure.suptitle(
        f"{repr(r.network)[8:-1]}\nlearning rate below {r.safe_rate:.4g}, safe for {r.safe_for} "
        f"({lr.value:.4g} at infinite width)",
        fontsize="medium",
    )
    return figure


def _spectrum_panel(r: Any, ax: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    sampled = r.ensemble.values
    whole = "eigenvalues" in sampled
    values = np.ravel(sampled["eigenvalues" if whole else "lambda_max"])
    if not values.any() or r.fisher.largest == 0:  # theory knows what rounding may hide
        _say(ax, "all gradients are 0: no eigenvalues")
        return
    plots.fisher_spectrum(
        values,
        r.fisher,
        ax=ax,
        n_networks=r.ensemble.n_networks,
        label="sampled eigenvalues" if whole else "largest eigenvalue of each sampled network",
    )
    if ax.get_yscale() == "log":  # over less than two decades matplotlib labels every tick
        low, high = ax.get_ylim()
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.yaxis.set_minor_formatter("{x:g}" if high < 100 * low else NullFormatter())
    cross = r.learning_rate.lambda_max_softmax
    if cross:
        label = rf"$\lambda_{{\max}}$ of $F_\mathrm{{cross}}$: {number(cross)}"
        ax.axvline(cross, color=COLOURS["blue"], ls=(0, (5, 1, 1, 1, 1, 1)), lw=1.6, label=label)
        legend(ax)


def _boundary_panel(r: Any, ax: Axes) -> None:
    b, lr = r.boundary, r.learning_rate
    if not b.widths.size:
        why = "no hidden layer to widen" if np.isfinite(lr.value) else "nothing is learnt"
        _say(ax, f"{why}\n{lr!r}")
        return
    sampled, known = len(b.measured), b.band.shape[1]
    networks = "sampled networks" + (", and of 90 %, predicted" if known else "")
    if not known and sampled < len(b.widths):
        networks += "; wider ones in proportion"
    where = " at smaller widths: " if known else ": "
    note = textwrap.fill(f"no prediction{where}{b.band_note}", NOTE)
    own = r.network.widths[1:-1]
    ax.plot(
        np.mean(own),
        r.safe_rate,
        "*",
        ms=14,
        color="white",
        mec=COLOURS["black"],
        zorder=4,
        label=f"{r.safe_rate:.4g}, safe for {r.safe_for}",
    )
    plots.learning_rate_boundary(
        b.widths,
        b.predicted,
        (b.widths[:sampled], b.measured),
        b.standard_error,
        ax=ax,
        label=f"infinite width, {lr.optimiser}, {lr.loss}"
        + (", any softmax" if lr.loss == "cross_entropy" else ""),
        measured_label="sampled networks, means",
        band=(b.widths, *b.spread),
        band_label=f"limits of {networks}",
        note=note if b.band_note else None,
        zone=next(iter(lr.zones)),
    )


def _say(ax: Axes, text: str) -> None:
    """Instead of a panel."""
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize="small")
    ax.set_axis_off()


def _place_panel(r: Any, ax: Axes) -> None:
    if r.hidden is None:
        op = r.order_parameters
        layers = np.arange(1, r.network.n_weight_layers + 1)
        correlation = op.averaged("c")
        ax.plot(layers, correlation, "o-", ms=3, color=COLOURS["blue"])
        ax.set(
            xlabel="weight layer $l$",
            ylabel=r"correlation of two inputs $q_{st}^l/q^l$",
            ylim=(min(-0.05, correlation.min() - 0.05), 1.05),
        )
        integer_ticks(ax, layers)
        ax.set_title(f"correlation over depth ({r.why_no_phase}: no phase diagram)", fontsize="small")
        return
    h = r.hidden
    act = h.activation
    top_w = max(4.0, 1.6 * h.sigma_w2)
    top_b = max(0.5, 2.0 * h.sigma_b2)
    diagram = phase_diagram(act, np.linspace(top_w / GRID, top_w, GRID), np.linspace(0, top_b, GRID))
    plots.phase_diagram(diagram, "chi_1", ax=ax, network=(h.sigma_w2, h.sigma_b2), phi=act)


def html_page(r: Any, picture: bytes) -> str:
    """Page and picture (a PNG) in one file."""
    encoded = base64.b64encode(picture).decode()
    title = html.escape(f"mfdnn report: {r.network!r}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
        "pre{font-size:90%;overflow-x:auto}img{max-width:100%}</style></head><body>"
        f"<h1>{title}</h1><pre>{html.escape(str(r))}</pre>"
        '<img alt="phase diagram, order parameters, Fisher spectrum, learning rate" '
        f'src="data:image/png;base64,{encoded}">'
        "</body></html>\n"
    )

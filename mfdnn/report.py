"""The one-page answer for an architecture: phase, spectrum, safe learning rate, and their check by simulation."""

from __future__ import annotations

import base64
import html
import io
import os
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._results import Result
from ._validation import positive_integer
from .activations import Activation
from .ensemble import Comparison, Ensemble, compare, ensemble
from .fisher import FisherStatistics, fisher_statistics
from .layers import Dense, Pointwise, Residual
from .learning_rate import LearningRate, max_learning_rate, stability_limit
from .network import Network, scale_widths
from .order_parameters import OrderParameters
from .phase import STATUS, FixedPoint, fixed_point, phase_diagram

__all__ = ["Boundary", "HiddenLayer", "Report", "report"]

WIDTH_FACTORS = (
    0.125,
    0.25,
    0.5,
    1.0,
    2.0,
)  # hidden widths of the learning-rate panel, relative to the network's own
MEASURED_UP_TO = 1.0  # wider ones are theory only: sampling them costs more than the network asked about
NETWORKS_PER_WIDTH = 5
WHOLE_SPECTRA = 3000  # T C up to which all eigenvalues are computed for the histogram (2 s a network)
GRID = 160  # points per axis of the phase diagram


@dataclass(frozen=True, repr=False, eq=False)
class HiddenLayer(Result):
    """What decides the phase of a plain network: its activation and the variances of the next weights.

    `uniform` says whether all hidden layers share them; if not, this is the most frequent combination.
    """

    activation: Activation
    sigma_w2: float
    sigma_b2: float
    uniform: bool


@dataclass(frozen=True, repr=False, eq=False)
class Boundary(Result):
    """Learning-rate limit against width: mean hidden widths, predicted, measured mean and its standard error.

    `measured` and `standard_error` belong to the first ``len(measured)`` widths; wider networks are not sampled.
    """

    widths: np.ndarray
    predicted: np.ndarray
    measured: np.ndarray
    standard_error: np.ndarray


@dataclass(frozen=True, repr=False, eq=False)
class Report(Result):
    """Everything about one network; ``str(report)`` is the page, `figure` its picture.

    Attributes
    ----------
    network : Network
    hidden : HiddenLayer or None
        Activation and variances whose phase is reported; None for residual networks and without hidden layers.
    fixed_point : FixedPoint or None
    order_parameters : OrderParameters
    fisher : FisherStatistics
    learning_rate : LearningRate
    comparison : Comparison
        Theory against `n_networks` sampled networks.
    ensemble : Ensemble
        Those networks, with all eigenvalues where the dual matrix is small enough.
    boundary : Boundary
        2/lambda_max, in the loss and optimiser of `learning_rate`, against width.
    warnings : tuple of str
        What a user should know before training.
    """

    network: Network
    hidden: HiddenLayer | None
    fixed_point: FixedPoint | None
    order_parameters: OrderParameters
    fisher: FisherStatistics
    learning_rate: LearningRate
    comparison: Comparison
    ensemble: Ensemble
    boundary: Boundary
    warnings: tuple[str, ...]
    inputs: str

    def __repr__(self) -> str:
        phase = self.fixed_point.phase if self.fixed_point else "no phase"
        return f"Report({self.network}, {phase}, {self.learning_rate})"

    def __str__(self) -> str:
        return "\n".join(_page(self))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python; order parameters and simulations as in `comparison`."""
        fields = ("hidden", "fixed_point", "fisher", "learning_rate", "comparison", "boundary")
        parts = {name: getattr(self, name) and getattr(self, name).to_dict() for name in fields}
        return {
            "network": repr(self.network),
            "inputs": self.inputs,
            **parts,
            "warnings": list(self.warnings),
        }

    def figure(self) -> Any:
        """Four panels: phase diagram, order parameters over depth, spectrum, learning rate against width."""
        return _figure(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write the picture (png, pdf, svg) or page and picture (html).

        Raises
        ------
        ValueError
            Another suffix.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".png", ".pdf", ".svg", ".html"):
            raise ValueError(
                f"`path` must end in .png, .pdf, .svg or .html, got {os.fspath(path)!r}; change the suffix."
            )
        figure = self.figure()
        if suffix != ".html":
            figure.savefig(path, dpi=150)
        else:
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=130)
            Path(path).write_text(_html(self, picture.getvalue()), encoding="utf-8")
        from matplotlib import pyplot

        pyplot.close(figure)


def report(
    net: Network,
    n_samples: int = 100,
    n_networks: int = 20,
    *,
    q0: float = 1.0,
    c0: float = 0.0,
    inputs: np.ndarray | None = None,
    loss: str = "half_mse",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    rng: Any = None,
    executor: Any = None,
    progress: bool = False,
) -> Report:
    """Theory and simulation of one network, ready to print and to draw.

    Parameters
    ----------
    net : Network
    n_samples, q0, c0, inputs
        Number of inputs and their statistics, or the inputs themselves, (T, M_0), as in `fisher_statistics`.
    n_networks : int
        Sampled networks for the check (at least 2, for standard errors).
    loss, momentum, nesterov, weight_decay
        As in `max_learning_rate`.
    rng
        Seed of the sampled networks.
    executor, progress
        As in `ensemble`.

    Returns
    -------
    Report
        ``print(report)`` for the page, ``report.save("report.png")`` for the picture.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `fisher_statistics`, `max_learning_rate` and `ensemble`.

    Notes
    -----
    Theory takes milliseconds; the sampled networks take the time: about a minute for the defaults at width 1000.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([50, 100, 100, 2], "tanh", sigma_w2=1.5, sigma_b2=0.1)
    >>> page = mfdnn.report(net, n_samples=40, n_networks=4, rng=0)
    >>> print(page)  # doctest: +ELLIPSIS
    Network        50-100-100-2, tanh, ...
    """
    positive_integer("n_networks", n_networks, minimum=2)
    children = np.random.default_rng(rng).spawn(1 + len(WIDTH_FACTORS))
    limits: dict[str, Any] = {
        "loss": loss,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
    }
    data: dict[str, Any] = (
        {"inputs": inputs} if inputs is not None else {"n_samples": n_samples, "q0": q0, "c0": c0}
    )
    lr = max_learning_rate(net, **data, **limits)
    fim = fisher_statistics(net, **data)
    hidden = _hidden_layer(net)
    first = float(fim.order_parameters.averaged("q")[0])
    fp = None
    if hidden is not None and first > 0:
        fp = fixed_point(hidden.activation, hidden.sigma_w2, hidden.sigma_b2, q0=first)
    run = {"executor": executor, "progress": progress}
    whole = fim.n_samples * fim.n_outputs <= WHOLE_SPECTRA
    ens = ensemble(net, n_networks=n_networks, rng=children[0], eigenvalues=whole, **data, **run)
    table = compare(net, ensemble=ens, **data)
    boundary = _boundary(net, data, limits, min(n_networks, NETWORKS_PER_WIDTH), children[1:], ens, run)
    op = fim.order_parameters
    return Report(
        network=net,
        hidden=hidden,
        fixed_point=fp,
        order_parameters=op,
        fisher=fim,
        learning_rate=lr,
        comparison=table,
        ensemble=ens,
        boundary=boundary,
        warnings=tuple(_warnings(net, fp, op, fim, lr, table, ens)),
        inputs=_describe_inputs(fim.n_samples, q0, c0, inputs),
    )


# -- the network as a point in the phase diagram -------------------------------------------------------------


def _hidden_layer(net: Network) -> HiddenLayer | None:
    if _is_residual(net):
        return None
    pairs = [
        (act.activation, dense.sigma_w2, dense.sigma_b2)
        for act, dense in zip(net.layers[:-1], net.layers[1:], strict=True)
        if isinstance(act, Pointwise) and isinstance(dense, Dense)
    ]
    if not pairs:
        return None
    common = Counter(pairs).most_common(1)[0][0]
    return HiddenLayer(*common, uniform=len(set(pairs)) == 1)


def _is_residual(net: Network) -> bool:
    return any(isinstance(layer, Residual) for layer in net.layers)


def _describe_inputs(n_samples: int, q0: float, c0: float, inputs: np.ndarray | None) -> str:
    if inputs is None:
        return f"{n_samples} Gaussian samples, mean square {q0:g}, correlation {c0:g}"
    x = np.asarray(inputs, dtype=float)
    square = np.mean(x**2)
    gram = x @ x.T / x.shape[1]
    pairs = (gram.sum() - np.trace(gram)) / max(n_samples * (n_samples - 1), 1)
    return f"{n_samples} given samples, mean square {square:.3g}, mean product of two {pairs:.3g}"


def _boundary(
    net: Network, data: dict, limits: dict, n_networks: int, children: list, ens: Ensemble, run: dict
) -> Boundary:
    widths, predicted, measured, errors = [], [], [], []
    tied = isinstance(net.layers[0], Residual) or isinstance(net.layers[-1], Residual)
    for factor, child in zip(WIDTH_FACTORS, children, strict=True):
        if tied and factor != 1:  # the width is that of the inputs or outputs
            continue
        scaled = net if factor == 1 else scale_widths(net, factor)
        hidden = scaled.widths[1:-1]
        if not hidden or (min(hidden) < 8 and factor != 1):
            continue
        lr = max_learning_rate(scaled, **data, **limits)
        widths.append(float(np.mean(hidden)))
        predicted.append(lr.value)
        if factor <= MEASURED_UP_TO:
            sampled = (
                ens if factor == 1 else ensemble(scaled, n_networks=n_networks, rng=child, **data, **run)
            )
            rates = _sampled_rates(lr, sampled)
            measured.append(np.mean(rates))
            errors.append(np.std(rates, ddof=1) / np.sqrt(len(rates)))
    return Boundary(*map(np.array, (widths, predicted, measured, errors)))


def _sampled_rates(lr: LearningRate, ens: Ensemble) -> np.ndarray:
    """The limit of each sampled network in the loss and optimiser of `lr`."""
    curvatures = lr.scale * ens.values["lambda_max"] + lr.weight_decay
    return np.array([stability_limit(curvature, lr.momentum, lr.nesterov) for curvature in curvatures])


# -- the page ------------------------------------------------------------------------------------------------

_PHASE_MEANING = {
    "ordered": "inputs become alike and gradients vanish with depth",
    "critical": "signals and gradients pass through; the edge of chaos",
    "chaotic": "similar inputs drift apart and gradients explode with depth",
    "unbounded": "activations grow without bound with depth",
}


def _page(r: Report) -> list[str]:
    net, fim, lr = r.network, r.fisher, r.learning_rate
    ensembles = sorted({layer.weights for layer, _ in net.weight_layers})
    lines = [
        _entry("Network", f"{repr(net)[8:-1]}; {'/'.join(ensembles)} weights"),
        _entry("Inputs", r.inputs),
    ]
    if r.hidden is None or r.fixed_point is None:
        kind = (
            "residual network"
            if _is_residual(net)
            else "no activation"
            if r.hidden is None
            else "zero inputs"
        )
        lines.append(_entry("Phase", f"none ({kind}): see the order parameters over depth"))
    else:
        fp, h = r.fixed_point, r.hidden
        where = f"{h.activation.label}, sigma_w^2 = {h.sigma_w2:.6g}, sigma_b^2 = {h.sigma_b2:.6g}"
        where += "" if h.uniform else " (most frequent; layers differ)"
        lines += [
            _entry("Phase", f"{fp.phase}: {_PHASE_MEANING[fp.phase]}"),
            _entry("", where),
            _entry(
                "Fixed point",
                f"q* = {fp.q:.6g}, c* = {fp.c:.6g}, chi_1 = {fp.chi_1:.6g}, chi_c = {fp.chi_c:.6g}",
            ),
            _entry(
                "Depth scales",
                f"xi_q = {fp.xi_q:.3g}, xi_c = {fp.xi_c:.3g}, xi_grad = {fp.xi_grad:.3g} layers; "
                f"depth L = {net.n_weight_layers}",
            ),
        ]
        if fp.status != "ok":
            lines.append(_entry("", STATUS[fp.status]))
    n_networks = r.ensemble.n_networks
    lines += ["", f"Order parameters by layer: theory | simulation of {n_networks} networks (standard error)"]
    lines += _layer_table(r)
    lines += ["", "Fisher information: theory | simulation (standard error)"]
    rows = [["", "theory", "simulation", "", "difference"]]
    for name, label in (
        ("mean", "mean eigenvalue"),
        ("second_moment", "second moment"),
        (
            "outlier_mean",
            f"mean of the {fim.n_outliers} outliers" if fim.n_outliers > 1 else "largest eigenvalue",
        ),
        ("lambda_max", "largest eigenvalue"),
    ):
        if name == "lambda_max" and fim.n_outliers == 1:
            continue
        row = r.comparison.row(name)
        rows.append(
            [
                label,
                f"{row.theory:.5g}",
                f"{row.simulation:.5g}",
                f"({row.standard_error:.2g})",
                f"{row.simulation / row.theory - 1:+.1%}",
            ]
        )
    lines += _align(rows, "  ")
    lines += [
        "",
        f"Learning rate  below {lr.value:.4g} for {lr.optimiser} on {lr.loss}",
        *textwrap.wrap(f"({lr.convention})", 100, initial_indent=" " * 15, subsequent_indent=" " * 15),
    ]
    rates = _sampled_rates(lr, r.ensemble)
    lines += [
        " " * 15
        + f"sampled networks: {rates.mean():.4g} on average, {rates.min():.4g} for the worst of {n_networks}",
        "",
    ]
    lines += ["  " + line for line in lr.table().splitlines()]
    if r.warnings:
        lines += ["", "Warnings"]
        for text in r.warnings:
            lines += textwrap.wrap(text, 100, initial_indent="  * ", subsequent_indent="    ")
    return lines


def _entry(label: str, text: str) -> str:
    return f"{label:<14} {text}"


def _layer_table(r: Report) -> list[str]:
    op, ens = r.order_parameters, r.ensemble
    names = [
        name for name in ("q", "q_st", "q_tilde", "q_tilde_st") if name in ens.mean
    ]  # one input has no pairs
    rows = [["layer", *(cell for name in names for cell in (name, "simulated", ""))]]
    depth = r.network.n_weight_layers
    shown = (
        range(depth)
        if depth <= 12
        else [*range(4), *np.unique(np.linspace(4, depth - 4, 5, dtype=int)), *range(depth - 3, depth)]
    )
    theory = {name: op.averaged(name) for name in names}
    for layer in shown:
        cells = [str(layer + 1)]
        for name in names:
            mean, error = ens.mean[name][layer], ens.standard_error[name][layer]
            cells += [f"{theory[name][layer]:.4g}", f"{mean:.4g}", f"({error:.1g})"]
        rows.append(cells)
    return _align(rows, "  ")


def _align(rows: list[list[str]], indent: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])).rstrip()
        for row in rows
    ]


def _warnings(
    net: Network,
    fp: FixedPoint | None,
    op: OrderParameters,
    fim: FisherStatistics,
    lr: LearningRate,
    table: Comparison,
    ens: Ensemble,
) -> list[str]:
    found = []
    depth = net.n_weight_layers
    back = op.averaged("q_tilde")
    gain = back[0] / back[-1]
    scale = ""
    if fp is not None and 0 < abs(fp.xi_grad) < depth:
        scale = f": depth {depth} is {depth / abs(fp.xi_grad):.2g} times |xi_grad| = {abs(fp.xi_grad):.3g}"
    if gain < 0.01:
        found.append(
            f"gradients vanish{scale}; squared errors reach the first layer {gain:.2g} times their size at the output"
        )
    elif gain > 100:
        found.append(
            f"gradients explode{scale}; squared errors reach the first layer {gain:.2g} times their size at the output"
        )
    forward = op.averaged("q")
    growth = forward[-1] / forward[0] if forward[0] > 0 else 1.0
    if not 1e-3 < growth < 1e3:
        found.append(
            f"pre-activations {'grow' if growth > 1 else 'shrink'} {growth:.2g}-fold in variance from the first "
            "to the last layer"
        )
    if forward[-1] > 0 and fim.n_samples > 1:
        c = op.averaged("q_st")[-1] / forward[-1]
        if 1 - c < 0.01 and depth > 1:
            found.append(
                "outputs for different inputs are nearly equal at initialisation: their correlation is "
                f"1 - {max(1 - c, 0):.2g}"
            )
    if fim.caution:
        found.append(fim.caution)
    narrow = min(net.widths[1:-1], default=0)
    if narrow and depth / narrow > 0.1:
        found.append(
            f"narrow: depth/width = {depth / narrow:.2g}; single networks scatter widely around the values of theory"
        )
    top = float(np.mean(ens.values["lambda_max"]))
    if top > 1.05 * fim.largest:
        why = f"the {fim.n_outliers} outliers split" if fim.n_outliers > 1 else "finite width raises it"
        found.append(
            f"the largest eigenvalue of the sampled networks is {top / fim.largest - 1:.0%} above theory ({why}): "
            "take the smaller, sampled learning rate"
        )
    missed = [row.quantity for row in table.rows if row.agrees is False]
    if missed:
        found.append(
            "theory and simulation differ by more than the stated finite-width corrections in "
            + ", ".join(missed)
        )
    if lr.loss == "cross_entropy":
        found.append(
            "the cross-entropy rate is a bound for any softmax while F itself does not grow, not the exact edge"
        )
    return found


# -- the picture ---------------------------------------------------------------------------------------------


def _figure(r: Report) -> Any:
    from matplotlib import pyplot

    from . import plots

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8.2), layout="constrained")
    _place_panel(r, axes[0, 0])
    plots.order_parameters(r.order_parameters, ax=axes[0, 1], ensemble=r.ensemble)
    sampled = r.ensemble.values
    whole = "eigenvalues" in sampled
    plots.fisher_spectrum(
        np.ravel(sampled["eigenvalues" if whole else "lambda_max"]),
        r.fisher,
        ax=axes[1, 0],
        n_networks=r.ensemble.n_networks,
        label="sampled eigenvalues" if whole else "largest eigenvalue of each sampled network",
    )
    _boundary_panel(r, axes[1, 1])
    figure.suptitle(repr(r.network)[8:-1], fontsize="medium")
    return figure


def _boundary_panel(r: Report, ax: Any) -> None:
    from . import plots

    b = r.boundary
    if not b.widths.size:
        ax.text(
            0.5,
            0.5,
            f"no hidden layer to widen\n{r.learning_rate!r}",
            ha="center",
            va="center",
            fontsize="small",
        )
        ax.set_axis_off()
        return
    measured = slice(0, len(b.measured))
    plots.learning_rate_boundary(
        b.widths,
        b.predicted,
        (b.widths[measured], b.measured),
        b.standard_error,
        ax=ax,
        label=f"{r.learning_rate.optimiser}, {r.learning_rate.loss}",
    )


def _place_panel(r: Report, ax: Any) -> None:
    from . import plots

    if r.hidden is None:
        op = r.order_parameters
        layers = np.arange(1, r.network.n_weight_layers + 1)
        ax.plot(layers, op.averaged("c"), "o-", ms=3)
        ax.set(
            xlabel="weight layer $l$", ylabel=r"correlation of two inputs $q_{st}^l/q^l$", ylim=(-0.05, 1.05)
        )
        ax.set_title("correlation over depth (no fixed variances: no phase diagram)", fontsize="small")
        return
    h = r.hidden
    act = h.activation
    top_w = max(4.0, 1.6 * h.sigma_w2)
    top_b = max(0.5, 2.0 * h.sigma_b2)
    diagram = phase_diagram(act, np.linspace(top_w / GRID, top_w, GRID), np.linspace(0, top_b, GRID))
    plots.phase_diagram(diagram, "chi_1", ax=ax, network=(h.sigma_w2, h.sigma_b2), phi=act)


def _html(r: Report, picture: bytes) -> str:
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

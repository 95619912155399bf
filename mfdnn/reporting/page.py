"""The page of text."""

from __future__ import annotations

import re
from itertools import chain, pairwise
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..comparison.table import aligned, few_networks
from ..finite_width.measured import WANTED, how_to_measure
from ..phase import STATUS
from ..phase.batch_norm import batch_norm_fixed_point
from .boundary import sampled_rates

if TYPE_CHECKING:
    from ..comparison import Comparison
    from ..network import Network

__all__ = ["page"]

ROUNDING = 1e-12  # of a mean: what scatters less does not scatter
_PHASE_MEANING = {
    "ordered": "inputs become alike and gradients vanish with depth",
    "critical": "signals and gradients pass through; the edge of chaos",
    "chaotic": "similar inputs drift apart and gradients explode with depth",
    "unbounded": "activations grow without bound with depth",
}


def page(r: Any) -> list[str]:
    """The lines of the page."""
    net, fim, lr = r.network, r.fisher, r.learning_rate
    # Weight layers of one's own may not name a law of their weights.
    named = (getattr(layer, "weights", None) for layer, _ in net.weight_layers)
    ensembles = sorted({name.replace("_", "-") for name in named if isinstance(name, str)})
    lines = [
        _entry("Network", f"{repr(net)[8:-1]}; {'/'.join(ensembles)} weights"),
        _entry("Inputs", r.inputs),
    ]
    if fim.standard_error is not None:
        error = fim.standard_error["largest"]
        lines.append(_entry("Theory", f"units are sampled: largest eigenvalue {fim.largest:.5g} +- {error:.2g}"))
    if r.hidden is None or r.fixed_point is None:
        lines.append(_entry("Phase", f"none ({r.why_no_phase}): see the order parameters over depth"))
        lines += _batch_norm_growth(net)
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
    lines += [
        "",
        f"Order parameters by layer: theory | simulation of {n_networks} networks (standard error), deviation in sigma",
        *_layer_table(r),
        *wrap(few_networks(n_networks), 100, initial_indent="  ", subsequent_indent="    "),
        "",         *_fisher_table("Fisher information", r.comparison, fim.n_outliers),
    ]
    if r.jacobian is not None:
        lines += ["", *_jacobian_table(r)]
    if r.softmax is not None:
        lines += ["", *_fisher_table("That of class probabilities, F_cross", r.softmax, fim.n_outputs - 1)]
    lines += ["", *_rates(r), ""]
    lines += ["  " + line for line in (r.confident or lr).table().splitlines()]
    lines += ["", *_first_steps(r)]
    if r.warnings:
        lines += ["", "Warnings"]
        for text in r.warnings:
            lines += wrap(text, 100, initial_indent="  * ", subsequent_indent="    ")
    return lines


def _rates(r: Any) -> list[str]:
    """The learning rate to use, then those that it is taken from."""
    lr, rates = r.learning_rate, sampled_rates(r.learning_rate, r.ensemble)
    said = [f"infinite width: {lr.value:.4g} ({lr.convention})"]
    said += [f"sampled networks: {rates.mean():.4g} on average, {rates.min():.4g} for the worst of {rates.size}"]
    if r.measured is not None:
        said.append(_measured(r.measured, rates.size))
    if r.confident is None:
        why = r.why_not_confident.partition("; ")[0].removesuffix(".")
        why = why.partition(" (")[0] if why.count("(") > why.count(")") else why
        said.append(f"no law for a share of the networks drawn: {why}")
        if r.measured is None or r.measured.n_wanted > rates.size:
            said.append(how_to_measure(r.ensemble.n_samples, r.ensemble.inputs is not None))
    elif lr.safe_caution not in lr.caution:  # which is among the warnings
        said.append(f"of the safe rate: {lr.safe_caution}")
    lines = [_entry("Learning rate", f"below {r.safe_rate:.4g} for {lr.optimiser} on {lr.loss}, safe for {r.safe_for}")]
    for text in said:
        lines += wrap(text, 115, initial_indent=" " * 15, subsequent_indent=" " * 17)
    return lines


def _measured(rate: Any, n_networks: int) -> str:
    """The rate of the sampled networks, its error, and how many would know it."""
    law = "" if rate.method == "networks" else ", with the spread of the law"
    more = f"; about {rate.n_wanted} know it to {WANTED:.0%}" if rate.n_wanted > n_networks else ""
    error = rate.standard_error["value"]
    return (
        f"measured on these {n_networks} networks{law}: {rate.value:.4g} +- {error:.2g} for "
        f"{100 * rate.confidence:g} % of all{more}"
    )


def _first_steps(r: Any) -> list[str]:
    """Critical rates of first steps, by optimiser."""
    if not r.first_steps:
        why = r.why_no_first_steps.partition("; ")[0].removesuffix(".")
        return wrap(f"First steps of other optimisers: none, as {why}", 115, subsequent_indent="  ")
    some = next(iter(r.first_steps.values()))
    head = "First steps: rates at which one step brings the loss back to where it was, for networks drawn; and how far "
    head += f"a rate of 1e-3 moves the outputs (root mean square; T = {some.n_samples}, {some.labels} labels)"
    rows = [["optimiser", "5 %", "50 %", "95 %", "outputs at 1e-3"]]
    for name, step in r.first_steps.items():
        quantiles = (f"{step.quantile(p):.4g}" for p in (0.05, 0.5, 0.95))
        rows.append([name, *quantiles, f"{1e-3 * step.response:.3g}"])
    sentences = [re.split(r"(?<=[.]) (?=[A-Z])", step.caution) for step in r.first_steps.values()]
    notes = " ".join(filter(None, dict.fromkeys(chain.from_iterable(sentences))))
    lines = [*wrap(head, 115, subsequent_indent="  "), *_indented(rows)]
    return lines + wrap(notes, 100, initial_indent="  ", subsequent_indent="    ")


def _batch_norm_growth(net: Network) -> list[str]:
    """How fast gradients explode with the same batch norm before every activation."""
    layers: tuple[Any, ...] = net.layers
    pairs = list(pairwise(layers))
    norms = {
        (b.activation, getattr(a, "gamma", None), getattr(a, "beta", None)): a
        for a, b in pairs
        if a.normalises == "samples" and b.activation
    }
    count = sum(a.normalises == "samples" and b.activation is not None for a, b in pairs)
    if len(norms) != 1 or count != len(net.activations) or next(iter(norms))[1:] != (1.0, 0.0):
        return []
    growth = batch_norm_fixed_point(next(iter(norms))[0]).gradient_growth
    return [_entry("", f"batch norm: squared gradients grow {growth:.4g}-fold a layer, on large batches")]


def _fisher_table(title: str, table: Comparison, n_outliers: int) -> list[str]:
    """Eigenvalue statistics: infinite width, this one where a law says, simulation."""
    rows = [["", "theory", "this width", "simulation", "", "sigma", "difference"]]
    for name, label in (
        ("mean", "mean eigenvalue"),
        ("second_moment", "second moment"),
        ("outlier_mean", f"mean of the {n_outliers} outliers"),
        ("lambda_max", "largest eigenvalue"),
    ):
        if name == "outlier_mean" and n_outliers <= 1:
            continue
        row = table.row(name)
        expected = row.theory if row.predicted is None else row.predicted
        difference = f"{row.simulation / expected - 1:+.1%}" if expected else ""
        rows.append(
            [
                label,
                f"{row.theory:.5g}",
                "" if row.predicted is None else f"{row.predicted:.5g}",
                f"{row.simulation:.5g}",
                f"({row.standard_error:.2g})",
                f"{row.deviation:+.1f}",
                difference + (f" {row.verdict}" if row.agrees is None else ""),
            ]
        )
    known = any(row[2] for row in rows[1:])
    if not known:
        rows = [[*row[:2], *row[3:]] for row in rows]
    head = "infinite width | this width | simulation" if known else "theory | simulation"
    lines = [f"{title}: {head} (standard error), deviation in sigma", *_indented(rows)]
    notes = dict.fromkeys((row.verdict, row.note) for row in table.rows[:4] if row.agrees is None and row.note)
    for verdict, note in notes:
        lines += wrap(f"{verdict}: {note}", 100, initial_indent="  ", subsequent_indent="    ")
    return lines


def _entry(label: str, text: str) -> str:
    return f"{label:<14} {text}"


def _layer_table(r: Any) -> list[str]:
    op, ens = r.order_parameters, r.ensemble
    names = [
        name for name in ("q", "q_st", "q_tilde", "q_tilde_st") if name in ens.mean
    ]  # one input has no pairs
    rows = [["layer", *(cell for name in names for cell in (name, "sampled", ""))]]
    theory = {name: op.averaged(name) for name in names}
    deviations = {row.quantity: row.deviation for row in r.comparison.rows}
    for layer in _shown(r.network.n_weight_layers):
        cells = [str(layer + 1)]
        for name in names:
            mean, error = ens.mean[name][layer], ens.standard_error[name][layer]
            error = error if error > ROUNDING * abs(mean) else 0.0
            deviation = f" {deviations[f'{name}[{layer + 1}]']:+.1f}" if error else ""
            cells += [f"{theory[name][layer]:.4g}", f"{mean:.4g}", f"({error:.1g}){deviation}"]
        rows.append(cells)
    return _indented(rows)


def _shown(depth: int) -> list[int]:
    """The layers of a table: all, or the first, the last and some between."""
    if depth <= 12:
        return list(range(depth))
    return [*range(4), *np.unique(np.linspace(4, depth - 4, 5, dtype=int)), *range(depth - 3, depth)]


def _jacobian_table(r: Any) -> list[str]:
    """Singular values of the Jacobian by the inputs, layer by layer."""
    names, ens = ("mean", "largest", "smallest"), r.ensemble
    sampled = "jacobian_mean" in ens.mean
    theory = {name: getattr(r.jacobian, name) for name in names}
    head = "theory | simulation (standard error)" if sampled else "theory"
    rows = [["layer", *(cell for name in names for cell in (name, *["sampled", ""] * sampled)), "condition"]]
    rows[0] += ["sampled"] * sampled
    for layer in _shown(r.network.n_weight_layers):
        cells = [str(layer + 1)]
        for name in names:
            cells.append(f"{theory[name][layer]:.4g}")
            if sampled:
                mean, error = (where[f"jacobian_{name}"][layer] for where in (ens.mean, ens.standard_error))
                cells += [f"{mean:.4g}", f"({error if error > ROUNDING * abs(mean) else 0.0:.1g})"]
        cells.append(f"{r.jacobian.condition[layer]:.4g}")
        if sampled:
            inverse = ens.mean["jacobian_inverse_condition"][layer]
            cells.append(f"{1 / inverse:.4g}" if inverse else "inf")
        rows.append(cells)
    return [f"Squared singular values of the Jacobian by layer, and its condition number: {head}", *_indented(rows)]


def _indented(rows: list[list[str]]) -> list[str]:
    return ["  " + line.rstrip() for line in aligned(rows)]

"""The verbs: arguments in, text and data out.

What a verb needs is imported when it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .._support.validation import one_of
from .arguments import loss_options, network_and_data, parse_activation, simulation_options
from .output import Output, table

FIRST_STEP_SAMPLES = 100  # inputs of a first step, unless more are asked for: its cost grows with their square


def run_report(args: argparse.Namespace) -> Output:
    """One page and one picture."""
    from ..reporting import report

    net, data = network_and_data(args)
    page = report(net, **data, **loss_options(args), **simulation_options(args))
    return Output(str(page), page.to_dict(), save=page.save)


def run_phase_diagram(args: argparse.Namespace) -> Output:
    """Fixed points over a grid."""
    from ..phase import PHASES, STATUS, phase_diagram

    one_of("field", args.field, ("phase", "q", "c", "chi_1", "chi_c", "xi_q", "xi_c", "xi_grad"))
    act = parse_activation(args.activation)
    diagram = phase_diagram(act, args.sigma_w2, args.sigma_b2, progress=True, q0=args.q0)
    n = diagram.phase.size
    lines = [repr(diagram)]
    for title, names, values in (("phase", PHASES, diagram.phase), ("status", STATUS, diagram.status)):
        counts = {name: int((values == name).sum()) for name in names}
        lines += [
            f"{title:<8} {name:<16} {count / n:7.2%}  ({count} points)"
            for name, count in counts.items()
            if count
        ]
    w, b = np.meshgrid(diagram.sigma_w2, diagram.sigma_b2, indexing="ij")
    fields = ("q", "c", "chi_1", "chi_c", "xi_q", "xi_c", "xi_grad", "phase", "status")
    columns = {"sigma_w2": w, "sigma_b2": b, **{name: getattr(diagram, name) for name in fields}}
    save = diagram.save if args.output and args.output.lower().endswith(".npz") else None
    return Output("\n".join(lines), diagram.to_dict(), columns, lambda: diagram.plot(args.field).figure, save)


def run_critical_line(args: argparse.Namespace) -> Output:
    """The edge of chaos."""
    from ..phase import critical_line, critical_sigma_w2

    act, note = parse_activation(args.activation), ""
    b2 = np.zeros(1) if args.sigma_b2 is None and args.q is None and act.homogeneous else args.sigma_b2
    if b2 is not None:
        columns = {"sigma_b2": b2, "sigma_w2": np.atleast_1d(critical_sigma_w2(act, b2))}
    else:
        line = critical_line(act, args.q)
        columns = {name: getattr(line, name) for name in ("q", "sigma_w2", "sigma_b2", "stable")}
        if args.q is None:
            columns = _part_of_line(columns)
            note = "\n\na part of the line; --sigma-b2 or --q gives other points"

    def draw() -> Any:
        from matplotlib import pyplot

        figure, ax = pyplot.subplots(layout="constrained")
        ax.plot(columns["sigma_w2"], columns["sigma_b2"], "o-" if len(columns["sigma_w2"]) < 30 else "-")
        ax.set(xlabel=r"$\sigma_w^2$", ylabel=r"$\sigma_b^2$", title=f"edge of chaos, {act.label}")
        return figure

    return Output(table(columns) + note, {"activation": act.label, **columns}, columns, draw)


def _part_of_line(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Some twenty points, of usual bias variances if there are."""
    chosen = np.flatnonzero((columns["q"] >= 0.01) & (columns["sigma_b2"] <= 0.5))
    if not chosen.size:
        chosen = np.arange(columns["q"].size)
    chosen = chosen[:: chosen.size // 20 + 1]
    return {name: column[chosen] for name, column in columns.items()}


def run_order_parameters(args: argparse.Namespace) -> Output:
    """Layer by layer."""
    from ..mean_field import order_parameters

    net, data = network_and_data(args)
    op = order_parameters(net, **data)
    names = ("q", "q_st", "q_tilde", "q_tilde_st", "chi", "q_hat", "q_hat_st")
    columns = {"layer": np.arange(1, len(op.q) + 1)}
    columns |= {name: op.averaged(name) for name in names}
    text = f"{net!r}\n{table(columns)}"
    if "inputs" in data:
        text += "\nmeans over the inputs, and over pairs of different inputs"

    def draw() -> Any:
        from .. import plots

        return plots.order_parameters(op).figure

    return Output(text, {"network": repr(net), **{k: v.tolist() for k, v in columns.items()}}, columns, draw)


def run_fisher(args: argparse.Namespace) -> Output:
    """Eigenvalue statistics."""
    from ..fisher import fisher_statistics

    net, data = network_and_data(args)
    if args.output_layer == "softmax":
        return _run_softmax(net, fisher_statistics(net, **data, output="softmax"))
    fim = fisher_statistics(net, **data)
    names = ("kappa_1", "kappa_2", "alpha", "mean", "second_moment", "largest", "bulk", "largest_leading")
    rows = {name: getattr(fim, name) for name in names}
    known = fim.output_normalisation
    if known is not None:
        rows |= {"lower (c_1 = 0)": known.lower(), "upper (c_2 = 0)": known.upper()}
    blocks = {"layer": np.arange(1, len(fim.layers) + 1)}
    for name in ("n_parameters", "mean", "second_moment", "largest"):
        blocks[name] = np.array([getattr(block, name) for block in fim.layers])
    errors = fim.standard_error or {}
    said = {name: f"  +- {errors[name]:.2g}" for name in rows if name in errors}
    lines = [f"{net!r}, T = {fim.n_samples}"]
    lines += [f"{name:<16} {value:.10g}{said.get(name, '')}" for name, value in rows.items()]
    if errors:
        lines.append("(+-: standard errors of theory, which samples units)")
    lines += [f"{'n_outliers':<16} {fim.n_outliers}", "", "diagonal blocks", table(blocks)]
    if fim.caution:
        lines += ["", fim.caution]
    return Output("\n".join(lines), {"network": repr(net), **fim.to_dict()}, blocks)


def _run_softmax(net: Any, found: Any) -> Output:
    names = ("beta_1", "beta_2", "beta_3", "beta_4", "mean", "second_moment", "largest", "lower", "upper")
    lines = [
        f"{net!r}, T = {found.n_samples}, softmax: mean over {found.n_draws} draws of the outputs (deviation)"
    ]
    for name in names:
        lines.append(f"{name:<18} {getattr(found, name):<14.8g} ({found.spread[name]:.2g})")
    lines += [f"{'largest_regression':<18} {found.largest_regression:.8g}", "", "outliers"]
    columns = {
        "number": np.arange(1, found.n_outliers + 1),
        "eigenvalue": found.outliers,
        "deviation": found.spread["outliers"],
        "limit": found.limit,
    }
    lines += [table(columns), "", found.which_rate]
    return Output("\n".join(lines), {"network": repr(net), **found.to_dict()}, columns)


def run_learning_rate(args: argparse.Namespace) -> Output:
    """The safe one, and the largest stable one at infinite width."""
    from ..learning_rate import SAFE_SHARE, max_learning_rate

    if args.optimizer != "sgd":
        args.default_samples = FIRST_STEP_SAMPLES
    net, data = network_and_data(args)
    options = {**loss_options(args), "optimizer": args.optimizer, "confidence": args.confidence}
    if args.networks is not None:
        options["networks"] = _drawn(net, data, args)
        options["confidence"] = SAFE_SHARE if args.confidence is None else args.confidence
    lr = max_learning_rate(net, **data, **options)
    if lr.first_step is not None:
        return _run_first_step(net, lr)
    beyond = "beyond that bound nothing is known"
    if "catapult" in lr.zones:
        beyond = (
            f"may grow and recover (catapult) from there to about {lr.catapult_limit:.4g}; diverges above"
        )
    share = f"{100 * SAFE_SHARE:g} % of the networks drawn at these widths"
    lines = [f"{net!r}, T = {lr.n_samples}"]
    if lr.safe is None:
        lines += [f"no rate known to be safe for {share}: {lr.why_not_safe}"]
        lines += ["--networks 400 measures one."] if args.networks is None else []
    else:
        lines += [f"{lr.safe:.6g}  safe for {share}, {lr.optimiser}"]
    if args.networks is not None:
        assert lr.standard_error is not None and lr.confidence is not None  # of what was measured
        error = lr.standard_error["value"]
        of_share = f"for {100 * lr.confidence:.6g} %, measured on {args.networks} networks"
        lines += [f"{lr.value:.6g} +- {error:.2g}  {of_share}"]
    elif lr.confidence is not None:
        lines += [f"{lr.value:.6g}  for {100 * lr.confidence:.6g} % of them"]
    lines += [
        f"{lr.typical:.6g}  largest stable learning rate at infinite width, {lr.optimiser}",
        lr.convention,
        f"{next(iter(lr.zones))} below {lr.value:.4g}{' at infinite width' if lr.confidence is None else ''}; {beyond}",
        "",
        lr.table(),
    ]
    if lr.caution:
        lines += ["", lr.caution]
    if lr.safe_caution not in lr.caution:
        lines += ["", f"Of the safe rate: {lr.safe_caution}"]
    return Output("\n".join(lines), {"network": repr(net), "safe": lr.safe, **lr.to_dict()}, lr.limits())


def _drawn(net: Any, data: dict[str, Any], args: argparse.Namespace) -> Any:
    """Networks of which a rate is measured, of optimisers that have one."""
    from ..ensembles import ensemble
    from ..finite_width.measured import FEWEST

    if args.optimizer != "sgd":
        raise ValueError(f"`--networks` measures stability of sgd, not the first step of {args.optimizer}; drop it.")
    if args.networks < FEWEST:
        raise ValueError(f"`--networks` must be {FEWEST} or more for a quantile, got {args.networks}; draw more.")
    return ensemble(net, **data, n_networks=args.networks, rng=args.seed, progress=True)


def _run_first_step(net: Any, lr: Any) -> Output:
    """The critical rate of an optimiser's first step, and what makes it."""
    from ..learning_rate import SAFE_SHARE

    step = lr.first_step
    share = f"{100 * SAFE_SHARE:g} % of the networks drawn at these widths"
    lines = [f"{net!r}, T = {lr.n_samples}", f"{lr.safe:.6g}  below the critical rates of {share}, {lr.optimiser}"]
    if lr.confidence is not None:
        lines += [f"{lr.value:.6g}  for {100 * lr.confidence:.6g} % of them"]
    lines += [
        f"{lr.typical:.6g}  critical rate of the first step: larger ones raise the loss",
        lr.convention,
        f"A rate of {lr.typical:.4g} moves outputs by {lr.typical * step.response:.4g} in that step, root mean square.",
        "",
        lr.table(),
        "",
        "shares of the layers in the first fall of the loss",
        table({"layer": np.arange(1, len(step.by_layer) + 1), "share": step.by_layer}),
    ]
    if lr.caution:
        lines += ["", lr.caution]
    return Output("\n".join(lines), {"network": repr(net), "safe": lr.safe, **lr.to_dict()}, lr.limits())


def run_kernel(args: argparse.Namespace) -> Output:
    """Eigenvalues, condition, and the learning rate they allow."""
    from ..kernels import kernel_spectrum
    from ..kernels.on_data import PARAMETERISATIONS
    from ..kernels.spectrum import KERNELS
    from ..losses import LOSSES

    one_of("--loss", args.loss, [loss for loss in LOSSES if loss != "cross_entropy"])  # multiples of the kernel
    one_of("--kernel", args.kernel, KERNELS)
    one_of("--parameterisation", args.parameterisation, PARAMETERISATIONS)
    net, data = network_and_data(args)
    option = {"kernel": args.kernel, "parameterisation": args.parameterisation}
    found = kernel_spectrum(net, **data, k=args.k, subsets=args.subsets, **option)
    what = f"tangent kernel, {args.parameterisation} parameterisation" if args.kernel == "ntk" else "NNGP kernel"
    lines = [f"{net!r}, T = {found.n_samples}, {what}, of one output, not divided by T"]
    for name in ("largest", "smallest", "condition"):
        value = getattr(found, name)
        error = "" if found.standard_error is None else found.standard_error.get(name, "")
        lines.append(f"{name:<10} {'not known' if value is None else f'{value:.8g}'}{error and f' +- {error:.2g}'}")
    rate = None
    if (args.kernel, args.parameterisation) == ("ntk", "standard"):
        rate = found.max_learning_rate(**loss_options(args))
        what_for = f"largest stable learning rate at infinite width, {args.loss}{_optimiser(args)}"
        lines.append(f"{'rate':<10} {rate:.6g}  {what_for}")
    columns = {"number": np.arange(1, found.eigenvalues.size + 1), "eigenvalue": found.eigenvalues}
    lines += ["", table({name: column[:10] for name, column in columns.items()})]
    if found.eigenvalues.size > 10:
        lines.append(f"and {found.eigenvalues.size - 10} more, which -o FILE and --json have")
    if found.caution:
        lines += ["", found.caution]

    def draw() -> Any:
        from matplotlib import pyplot

        figure, ax = pyplot.subplots(layout="constrained")
        ax.loglog(columns["number"], columns["eigenvalue"], "o", ms=3)
        ax.set(xlabel="number", ylabel="eigenvalue", title=f"{what}, T = {found.n_samples}")
        return figure

    data_of = {"network": repr(net), "max_learning_rate": rate, **found.to_dict()}
    return Output("\n".join(lines), data_of, columns, draw)


def _optimiser(args: argparse.Namespace) -> str:
    """What of it is not plain descent."""
    kind = f", {'Nesterov' if args.nesterov else 'heavy-ball'} momentum {args.momentum:g}" if args.momentum else ""
    return kind + (f", weight decay {args.weight_decay:g}" if args.weight_decay else "")


def run_compare(args: argparse.Namespace) -> Output:
    """Theory against sampled networks."""
    from ..comparison import compare

    net, data = network_and_data(args)
    found = compare(
        net,
        **data,
        output=args.output_layer,
        **simulation_options(args),
        checkpoint=args.checkpoint,
        geometry=args.geometry,
    )
    fields = ("quantity", "theory", "simulation", "standard_error", "deviation", "allowance")
    columns = {name: np.array([getattr(row, name) for row in found.rows]) for name in fields}
    columns["predicted"] = np.array(
        [row.theory if row.predicted is None else row.predicted for row in found.rows]
    )
    return Output(f"{net!r}\n{found}", {"network": repr(net), **found.to_dict()}, columns)


def run_figure(args: argparse.Namespace) -> Output:
    """Figures of the papers: a list, one, or all of them."""
    from .. import papers

    names = list(papers.FIGURES)
    if args.output and args.name is None:
        raise ValueError("`-o` needs the name of one figure; see mfdnn figure --list.")
    if args.list or (args.name is None and not args.all):
        lines = [f"{name:<28} {papers.summary(name)}" for name in names]
        return Output("\n".join(lines), {"figures": {name: papers.summary(name) for name in names}})
    if args.all and args.name:
        raise ValueError(f"`--all` writes every figure into --folder; drop {args.name!r}.")
    wanted = names if args.all else [one_of("NAME", args.name, names)]
    one_of("--format", args.format, ("png", "pdf", "svg"))
    folder = Path(args.folder)
    if not args.output:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"`--folder` {args.folder!r} cannot be made ({error.strerror}); choose another."
            ) from None
    written = []
    for name in wanted:
        path = args.output or str(folder / f"{name}.{args.format}")
        papers.draw(name, path, fast=args.fast, rng=args.seed)
        written.append(path)
    args.output = None  # written already
    return Output("\n".join(written), {"written": written})

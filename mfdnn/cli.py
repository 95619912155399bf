"""The command line: one verb a function, the same names. Data on stdout, progress and warnings on stderr."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._validation import one_of

__all__ = ["main"]

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
DEFAULT_HIDDEN = "1000-1000-10"
DEFAULT_INPUTS = 784
PICTURES = (".png", ".pdf", ".svg")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 computation failed, 2 bad usage, 130 interrupted."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest, **kw: print(
                f"mfdnn: warning: {message}", file=sys.stderr
            )
            _check_output(args)
            output = args.run(args)
            _emit(args, output)
    except KeyboardInterrupt:
        print("mfdnn: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ValueError, TypeError, FileNotFoundError) as error:
        print(f"mfdnn {args.verb}: {error}", file=sys.stderr)
        return USAGE
    except (ArithmeticError, ImportError, MemoryError, OSError, RuntimeError) as error:
        print(f"mfdnn {args.verb}: {error}", file=sys.stderr)
        return FAILED
    return DONE


# -- what a verb hands back ----------------------------------------------------------------------------------


class Output:
    """Text for stdout, data for --json, columns for csv and npz, a function that draws."""

    def __init__(
        self,
        text: str,
        data: dict[str, Any],
        columns: dict[str, np.ndarray] | None = None,
        draw: Callable[[], Any] | None = None,
        save: Callable[[str], None] | None = None,
    ):
        self.text, self.data, self.columns, self.draw, self.save = text, data, columns, draw, save


def _emit(args: argparse.Namespace, output: Output) -> None:
    if args.output:
        _write(args.output, output)
        print(f"wrote {args.output}", file=sys.stderr)
    print(json.dumps(_plain(output.data), indent=1, allow_nan=False) if args.json else output.text)


def _write(path: str, output: Output) -> None:
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        Path(path).write_text(
            json.dumps(_plain(output.data), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    elif suffix == ".csv" and output.columns is not None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(output.columns)
            writer.writerows(
                zip(*(np.ravel(column).tolist() for column in output.columns.values()), strict=True)
            )
    elif output.save is not None:
        output.save(path)
    elif suffix == ".npz" and output.columns is not None:
        np.savez_compressed(path, **output.columns)  # type: ignore[arg-type]
    elif suffix in PICTURES and output.draw is not None:
        from matplotlib import pyplot

        figure = output.draw()
        figure.savefig(path, dpi=150)
        pyplot.close(figure)
    else:  # _check_output has seen to it
        raise AssertionError(path)


def _plain(value: Any) -> Any:
    """JSON has no infinity: the strings "inf" and "-inf" stand for it."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _check_output(args: argparse.Namespace) -> None:
    """Find out before the work that the file can be written."""
    if not args.output:
        return
    path = Path(args.output)
    if path.suffix.lower() not in args.suffixes:
        raise ValueError(
            f"`-o` must end in {', '.join(args.suffixes)} for {args.verb}, got {args.output!r}; change the suffix."
        )
    if path.is_dir():
        raise ValueError(f"`-o` {args.output!r} is a directory; name a file in it.")
    if not path.parent.is_dir():
        raise ValueError(
            f"`-o` {args.output!r}: there is no directory {str(path.parent)!r}; create it first."
        )
    existed = path.exists()
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        raise OSError(
            f"`-o` {args.output!r} cannot be written: {error.strerror}; choose another path."
        ) from None
    if not existed:
        path.unlink()


# -- arguments -----------------------------------------------------------------------------------------------


def _widths(text: str) -> list[int]:
    """784-1000-1000-10, or 784-1000x5-10 for five equal widths."""
    sizes: list[int] = []
    for part in text.split("-"):
        match = re.fullmatch(r"(\d+)(?:x(\d+))?", part.strip())
        if not match:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a list of widths such as 784-1000-1000-10 or 784-1000x5-10"
            )
        sizes += [int(match[1])] * int(match[2] or 1)
    return sizes


def _activation(text: str) -> Any:
    """relu, leaky_relu(slope=0.2), or module:function."""
    from .activations import activation

    if ":" in text and "(" not in text:
        module_name, _, attribute = text.partition(":")
        sys.path.insert(0, os.getcwd())
        try:
            return activation(getattr(importlib.import_module(module_name), attribute))
        except Exception as error:  # importing a user's module may raise anything
            raise ValueError(
                f"`--activation` {text!r}: {type(error).__name__}: {error}; write module:function for a function of "
                "your own."
            ) from None
        finally:
            sys.path.pop(0)
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?", text.strip())
    if not match:
        raise ValueError(
            f"`--activation` must be a name, name(parameter=value) or module:function, got {text!r}."
        )
    parameters = {}
    for item in filter(None, (match[2] or "").split(",")):
        key, _, value = item.partition("=")
        try:
            parameters[key.strip()] = float(value)
        except ValueError:
            raise ValueError(
                f"`--activation` {text!r}: write parameters as {match[1]}(name=number)."
            ) from None
    return activation(match[1], **parameters)


def _range(text: str) -> np.ndarray:
    """0.5:4:200 (start:stop:points), a comma-separated list, or a number."""
    try:
        if ":" in text:
            start, stop, n = text.split(":")
            return np.linspace(float(start), float(stop), int(n))
        return np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not start:stop:points (0.5:4:200), a list (1,2,3) or a number"
        ) from None


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "widths",
        nargs="?",
        type=_widths,
        metavar="WIDTHS",
        help="inputs-hidden-...-outputs, such as 784-1000x5-10 for five hidden layers "
        f"(default: {DEFAULT_INPUTS}-{DEFAULT_HIDDEN})",
    )
    group.add_argument(
        "--activation",
        default="relu",
        metavar="PHI",
        help="name, name(parameter=value) or module:function (default: relu)",
    )
    group.add_argument("--sigma-w2", type=float, metavar="V", help="weight variance times fan-in")
    group.add_argument("--sigma-b2", type=float, metavar="V", help="bias variance")
    group.add_argument(
        "--init",
        metavar="NAME",
        help="he (default), lecun, glorot, pytorch or critical, instead of --sigma-w2",
    )
    group.add_argument("--weights", metavar="KIND", help="gaussian (default), orthogonal or uniform")
    group.add_argument(
        "--blocks",
        type=int,
        metavar="N",
        help="residual network of N blocks; WIDTHS is then inputs-width-outputs",
    )


def _add_data(parser: argparse.ArgumentParser, samples: int) -> None:
    group = parser.add_argument_group("inputs")
    group.add_argument(
        "--samples", type=int, default=samples, metavar="T", help=f"number of inputs (default: {samples})"
    )
    group.add_argument(
        "--data",
        default="gaussian",
        metavar="DATA",
        help="gaussian (default), digits, or a .npy file of shape (rows, features)",
    )
    group.add_argument("--q0", type=float, default=1.0, help="mean square of Gaussian inputs (default: 1)")
    group.add_argument(
        "--c0", type=float, default=0.0, help="correlation of two Gaussian inputs (default: 0)"
    )


def _add_loss(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("loss and optimiser")
    group.add_argument(
        "--loss",
        default="half_mse",
        metavar="LOSS",
        help="half_mse (default), mse_per_sample, torch_mse, torch_mse_sum or cross_entropy",
    )
    group.add_argument("--momentum", type=float, default=0.0, metavar="B", help="momentum (default: 0)")
    group.add_argument(
        "--nesterov", action="store_true", help="Nesterov's momentum instead of the heavy ball"
    )
    group.add_argument("--weight-decay", type=float, default=0.0, metavar="W", help="L2 decay (default: 0)")


def _add_simulation(parser: argparse.ArgumentParser, networks: int) -> None:
    group = parser.add_argument_group("simulation")
    group.add_argument(
        "--networks",
        type=int,
        default=networks,
        metavar="N",
        help=f"number of sampled networks (default: {networks})",
    )
    group.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: 0)")


def _network(args: argparse.Namespace, n_features: int | None = None) -> Any:
    from .network import mlp, resnet

    act = _activation(args.activation)
    widths = args.widths or _widths(f"{n_features or DEFAULT_INPUTS}-{DEFAULT_HIDDEN}")
    if args.blocks is None:
        return mlp(widths, act, args.sigma_w2, args.sigma_b2, init=args.init, weights=args.weights)
    for name in ("init", "weights"):
        if getattr(args, name) is not None:
            raise ValueError(
                f"`--{name}` does not go with --blocks, got {getattr(args, name)!r}; give --sigma-w2 and --sigma-b2."
            )
    if not args.widths:
        widths = [widths[0], widths[1], widths[-1]]
    return resnet(
        widths, args.blocks, act, 1.0 if args.sigma_w2 is None else args.sigma_w2, args.sigma_b2 or 0.0
    )


def _network_and_data(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The network, and either statistics of Gaussian inputs or the inputs themselves as keywords."""
    if args.data == "gaussian":
        return _network(args), {"n_samples": args.samples, "q0": args.q0, "c0": args.c0}
    for name, default in (("q0", 1.0), ("c0", 0.0)):
        if getattr(args, name) != default:
            raise ValueError(
                f"`--{name}` describes Gaussian inputs and does not go with --data {args.data}; drop it."
            )
    from .datasets import load_inputs

    n_features = args.widths[0] if args.widths else None
    X = load_inputs(args.data, args.samples, n_features, rng=getattr(args, "seed", 0))
    return _network(args, X.shape[1]), {"inputs": X}


def _loss(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "loss": args.loss,
        "momentum": args.momentum,
        "nesterov": args.nesterov,
        "weight_decay": args.weight_decay,
    }


# -- verbs ---------------------------------------------------------------------------------------------------


def _report(args: argparse.Namespace) -> Output:
    from .report import report

    net, data = _network_and_data(args)
    page = report(net, n_networks=args.networks, rng=args.seed, progress=True, **data, **_loss(args))
    return Output(str(page), page.to_dict(), save=page.save)


def _phase_diagram(args: argparse.Namespace) -> Output:
    from .phase import PHASES, STATUS, phase_diagram

    act = _activation(args.activation)
    diagram = phase_diagram(act, args.sigma_w2, args.sigma_b2, progress=True, q0=args.q0)
    one_of("field", args.field, ("phase", "q", "c", "chi_1", "chi_c", "xi_q", "xi_c", "xi_grad"))
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
    save = diagram.save if args.output and args.output.endswith(".npz") else None
    return Output("\n".join(lines), diagram.to_dict(), columns, lambda: diagram.plot(args.field).figure, save)


def _critical_line(args: argparse.Namespace) -> Output:
    from .phase import critical_line, critical_sigma_w2

    act = _activation(args.activation)
    if args.sigma_b2 is not None:
        weights = np.atleast_1d(critical_sigma_w2(act, args.sigma_b2))
        columns = {"sigma_b2": args.sigma_b2, "sigma_w2": weights}
        data = {"activation": act.label, **columns}
    else:
        line = critical_line(act, args.q)
        columns = {"q": line.q, "sigma_w2": line.sigma_w2, "sigma_b2": line.sigma_b2}
        data = {"activation": act.label, **line.to_dict()}

    def draw() -> Any:
        from matplotlib import pyplot

        figure, ax = pyplot.subplots(layout="constrained")
        ax.plot(columns["sigma_w2"], columns["sigma_b2"], "o-" if len(columns["sigma_w2"]) < 20 else "-")
        ax.set(xlabel=r"$\sigma_w^2$", ylabel=r"$\sigma_b^2$", title=f"edge of chaos, {act.label}")
        return figure

    return Output(_table(columns), data, columns, draw)


def _order_parameters(args: argparse.Namespace) -> Output:
    from .order_parameters import order_parameters

    net, data = _network_and_data(args)
    data.pop("n_samples", None)
    op = order_parameters(net, **data)
    names = ("q", "q_st", "q_tilde", "q_tilde_st", "chi", "q_hat", "q_hat_st")
    columns = {"layer": np.arange(1, len(op.q) + 1)}
    columns |= {name: op.averaged(name) for name in names}
    text = f"{net!r}\n{_table(columns)}"
    if "inputs" in data:
        text += "\nmeans over the inputs, and over pairs of different inputs"

    def draw() -> Any:
        from matplotlib import pyplot

        from . import plots

        figure, ax = pyplot.subplots(layout="constrained")
        plots.order_parameters(op, ax=ax)
        return figure

    return Output(text, {"network": repr(net), **{k: v.tolist() for k, v in columns.items()}}, columns, draw)


def _fisher(args: argparse.Namespace) -> Output:
    from .fisher import fisher_statistics

    net, data = _network_and_data(args)
    fim = fisher_statistics(net, **data)
    rows = {
        "kappa_1": fim.kappa_1,
        "kappa_2": fim.kappa_2,
        "alpha": fim.alpha,
        "mean": fim.mean,
        "second_moment": fim.second_moment,
        "largest": fim.largest,
        "bulk": fim.bulk,
        "largest_leading": fim.largest_leading,
    }
    blocks = {
        "layer": np.arange(1, len(fim.layers) + 1),
        **{
            name: np.array([getattr(b, name) for b in fim.layers])
            for name in ("n_parameters", "mean", "second_moment", "largest")
        },
    }
    lines = [f"{net!r}, T = {fim.n_samples}", *(f"{name:<16} {value:.10g}" for name, value in rows.items())]
    lines += [f"{'n_outliers':<16} {fim.n_outliers}", "", "diagonal blocks", _table(blocks)]
    if fim.caution:
        lines += ["", fim.caution]
    return Output("\n".join(lines), {"network": repr(net), **fim.to_dict()}, blocks)


def _learning_rate(args: argparse.Namespace) -> Output:
    from .learning_rate import max_learning_rate

    net, data = _network_and_data(args)
    lr = max_learning_rate(net, **data, **_loss(args))
    beyond = "beyond that bound nothing is known"
    if "catapult" in lr.zones:
        beyond = (
            f"may grow and recover (catapult) from there to about {lr.catapult_limit:.4g}; diverges above"
        )
    lines = [
        f"{net!r}, T = {lr.n_samples}",
        f"{lr.value:.6g}  largest stable learning rate, {lr.optimiser}",
        lr.convention,
        f"monotone below {lr.value:.4g}; {beyond}",
        "",
        lr.table(),
    ]
    if lr.caution:
        lines += ["", lr.caution]
    return Output("\n".join(lines), {"network": repr(net), **lr.to_dict()})


def _compare(args: argparse.Namespace) -> Output:
    from .ensemble import compare

    net, data = _network_and_data(args)
    run = {"n_networks": args.networks, "rng": args.seed, "checkpoint": args.checkpoint, "progress": True}
    table = compare(net, **run, **data)
    fields = ("quantity", "theory", "simulation", "standard_error", "deviation")
    columns = {name: np.array([getattr(row, name) for row in table.rows]) for name in fields}
    return Output(f"{net!r}\n{table}", {"network": repr(net), **table.to_dict()}, columns)


def _figure(args: argparse.Namespace) -> Output:
    from . import papers

    names = list(papers.FIGURES)
    if args.output and args.name is None:
        raise ValueError("`-o` needs the name of one figure; see mfdnn figure --list.")
    if args.list or (args.name is None and not args.all):
        lines = [f"{name:<28} {papers.summary(name)}" for name in names]
        return Output("\n".join(lines), {"figures": {name: papers.summary(name) for name in names}})
    if args.all and args.name:
        raise ValueError(f"`--all` writes every figure into --folder; drop {args.name!r}.")
    wanted = names if args.all else [one_of("figure", args.name, names)]
    folder = Path(args.folder)
    if not args.output:
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in wanted:
        path = args.output or str(folder / f"{name}.{args.format}")
        papers.draw(name, path, fast=args.fast, rng=args.seed)
        written.append(path)
    args.output = None  # written already
    return Output("\n".join(written), {"written": written})


def _table(columns: dict[str, np.ndarray]) -> str:
    rows = [list(columns)]
    rows += [
        [f"{v:.8g}" if isinstance(v, float) else str(v) for v in row]
        for row in zip(*(c.tolist() for c in columns.values()), strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)


# -- the parser ----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("meanfield-dnn")
    except PackageNotFoundError:
        number = "unknown"
    parser = argparse.ArgumentParser(
        prog="mfdnn",
        description="Mean-field theory and Fisher information of deep neural networks.",
        epilog="Weights have variance sigma_w^2/fan_in and biases sigma_b^2: arguments are always variances. "
        "`mfdnn VERB --help` shows an example of each verb.",
    )
    parser.add_argument("--version", action="version", version=f"mfdnn {number}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str, run: Callable, summary: str, example: str, suffixes: Sequence[str]
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument(
            "--json", action="store_true", help="print JSON instead of text (infinite numbers as strings)"
        )
        sub.add_argument("-o", "--output", metavar="FILE", help=f"write a file too: {', '.join(suffixes)}")
        sub.set_defaults(run=run, suffixes=suffixes)
        return sub

    data_files = (*PICTURES, ".npz", ".csv", ".json")
    sub = verb(
        "report",
        _report,
        "one page and one picture about a network",
        "mfdnn report 784-500-500-10 --activation tanh --sigma-w2 3 --sigma-b2 0.64 -o report.png",
        (*PICTURES, ".html", ".json"),
    )
    _add_network(sub)
    _add_data(sub, 100)
    _add_loss(sub)
    _add_simulation(sub, 20)

    sub = verb(
        "phase-diagram",
        _phase_diagram,
        "fixed points over a grid of variances",
        "mfdnn phase-diagram --activation gelu --sigma-w2 0.5:4:300 --sigma-b2 0:0.5:300 --field xi_c -o gelu.png",
        data_files,
    )
    sub.add_argument(
        "--activation",
        default="tanh",
        metavar="PHI",
        help="name, name(parameter=value) or module:function (default: tanh)",
    )
    sub.add_argument(
        "--sigma-w2",
        type=_range,
        default=np.linspace(0.02, 4, 200),
        metavar="RANGE",
        help="start:stop:points (default: 0.02:4:200)",
    )
    sub.add_argument(
        "--sigma-b2",
        type=_range,
        default=np.linspace(0, 0.5, 200),
        metavar="RANGE",
        help="start:stop:points (default: 0:0.5:200)",
    )
    sub.add_argument("--q0", type=float, default=1.0, help="variance of the first layer (default: 1)")
    sub.add_argument(
        "--field",
        default="xi_c",
        help="what the picture shows: phase, q, c, chi_1, chi_c, xi_q, xi_c (default), xi_grad",
    )

    sub = verb(
        "critical-line",
        _critical_line,
        "the edge of chaos",
        "mfdnn critical-line --activation tanh --sigma-b2 0,0.05,0.2",
        data_files,
    )
    sub.add_argument(
        "--activation",
        default="tanh",
        metavar="PHI",
        help="name, name(parameter=value) or module:function (default: tanh)",
    )
    choice = sub.add_mutually_exclusive_group()
    choice.add_argument(
        "--sigma-b2",
        type=_range,
        metavar="RANGE",
        help="bias variances at which to find the critical weight variance",
    )
    choice.add_argument(
        "--q",
        type=_range,
        default=None,
        metavar="RANGE",
        help="variances q* that parametrise the line (default: all there are)",
    )

    sub = verb(
        "order-parameters",
        _order_parameters,
        "forward and backward order parameters, layer by layer",
        "mfdnn order-parameters 784-1000x20-10 --activation tanh --sigma-w2 1.8 --sigma-b2 0.05",
        data_files,
    )
    _add_network(sub)
    _add_data(sub, 100)

    sub = verb(
        "fisher",
        _fisher,
        "eigenvalue statistics of the Fisher information",
        "mfdnn fisher 784-1000-1000-10 --init he --samples 1000 --json",
        (".csv", ".npz", ".json"),
    )
    _add_network(sub)
    _add_data(sub, 1000)

    sub = verb(
        "learning-rate",
        _learning_rate,
        "the largest stable learning rate in your loss and optimiser",
        "mfdnn learning-rate 784-1000-1000-10 --init he --loss torch_mse --momentum 0.9",
        (".json",),
    )
    _add_network(sub)
    _add_data(sub, 1000)
    _add_loss(sub)

    sub = verb(
        "compare",
        _compare,
        "theory against sampled networks",
        "mfdnn compare 100-300-300-5 --activation gelu --sigma-w2 2 --sigma-b2 0.1 --samples 100 --networks 10",
        (".csv", ".npz", ".json"),
    )
    _add_network(sub)
    _add_data(sub, 100)
    _add_simulation(sub, 20)
    sub.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="keep finished networks in this file; the same command resumes after an interruption",
    )

    sub = verb(
        "figure", _figure, "draw the papers' figures", "mfdnn figure poole2016-fig1 -o poole.pdf", PICTURES
    )
    sub.add_argument("name", nargs="?", metavar="NAME", help="which figure; --list shows them")
    sub.add_argument("--list", action="store_true", help="list the figures")
    sub.add_argument("--all", action="store_true", help="draw all of them into --folder")
    sub.add_argument("--folder", default="figures", help="where figures go without -o (default: figures)")
    sub.add_argument(
        "--format", default="png", choices=["png", "pdf", "svg"], help="file format without -o (default: png)"
    )
    sub.add_argument("--fast", action="store_true", help="small networks, for a quick look")
    sub.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The parser: the verbs and their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from .._version import __version__
from . import verbs
from .arguments import (
    add_activation,
    add_data,
    add_loss,
    add_network,
    add_simulation,
    add_softmax,
    parse_range,
)
from .output import PICTURES
from .sweep import add_sweep, run_sweep

__all__ = ["build_parser"]


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``mfdnn``; each verb's arguments say what runs it (`run`) and what it writes (`suffixes`)."""
    parser = argparse.ArgumentParser(
        prog="mfdnn",
        description="Mean-field theory and Fisher information of deep neural networks.",
        epilog="Weights have variance sigma_w^2/fan_in and biases sigma_b^2: arguments are always variances. "
        "`mfdnn VERB --help` shows an example of each verb. Exit codes: 0 done, 1 computation failed, 2 bad usage, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"mfdnn {__version__}")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str, run: Callable, summary: str, example: str, suffixes: Sequence[str]
    ) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
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
        verbs.run_report,
        "one page and one picture about a network",
        "mfdnn report 64-60-60-10 --norm batch_norm --samples 30 --loss cross_entropy --networks 4 "
        "-o report.png",
        (*PICTURES, ".html", ".json"),
    )
    add_network(sub)
    add_data(sub, 100)
    add_loss(sub)
    add_simulation(sub, 20)

    sub = verb(
        "phase-diagram",
        verbs.run_phase_diagram,
        "fixed points over a grid of variances",
        "mfdnn phase-diagram --activation gelu --sigma-w2 0.5:4:100 --sigma-b2 0:0.5:100 --field xi_c -o gelu.png",
        data_files,
    )
    add_activation(sub, "tanh")
    sub.add_argument(
        "--sigma-w2",
        type=parse_range,
        default=np.linspace(0.02, 4, 200),
        metavar="RANGE",
        help="start:stop:points (default: 0.02:4:200)",
    )
    sub.add_argument(
        "--sigma-b2",
        type=parse_range,
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
        verbs.run_critical_line,
        "the edge of chaos",
        "mfdnn critical-line --activation tanh --sigma-b2 0,0.05,0.2",
        data_files,
    )
    add_activation(sub, "tanh")
    choice = sub.add_mutually_exclusive_group()
    choice.add_argument(
        "--sigma-b2",
        type=parse_range,
        metavar="RANGE",
        help="bias variances at which to find the critical weight variance",
    )
    choice.add_argument(
        "--q",
        type=parse_range,
        default=None,
        metavar="RANGE",
        help="variances q* that parametrise the line (default: all there are)",
    )

    sub = verb(
        "order-parameters",
        verbs.run_order_parameters,
        "forward and backward order parameters, layer by layer",
        "mfdnn order-parameters 784-1000x20-10 --activation tanh --sigma-w2 1.8 --sigma-b2 0.05",
        data_files,
    )
    add_network(sub)
    add_data(sub, 100)

    sub = verb(
        "fisher",
        verbs.run_fisher,
        "eigenvalue statistics of the Fisher information",
        "mfdnn fisher 784-1000-1000-10 --init he --norm batch_norm --samples 1000 --json",
        (".csv", ".npz", ".json"),
    )
    add_network(sub)
    add_data(sub, 1000)
    add_softmax(sub)

    sub = verb(
        "learning-rate",
        verbs.run_learning_rate,
        "the largest stable learning rate in your loss and optimiser",
        "mfdnn learning-rate 784-1000-1000-10 --init he --loss torch_mse --momentum 0.9 --confidence 0.95",
        (".json",),
    )
    add_network(sub)
    add_data(sub, 1000)
    add_loss(sub)
    sub.add_argument(
        "--confidence",
        type=float,
        metavar="P",
        help="a rate below the limit of this share of the networks drawn, such as 0.95 (default: the limit at "
        "infinite width)",
    )

    sub = verb(
        "compare",
        verbs.run_compare,
        "theory against sampled networks",
        "mfdnn compare 100-200-200-5 --activation gelu --sigma-w2 2 --sigma-b2 0.1 --softmax --samples 50",
        (".csv", ".npz", ".json"),
    )
    add_network(sub)
    add_data(sub, 100)
    add_softmax(sub)
    sub.add_argument(
        "--geometry",
        action="store_true",
        help="also the metric of the features, the tangent kernel in NTK parameterisation, the Fisher-Rao norm",
    )
    add_simulation(sub, 20)
    sub.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="keep finished networks in this file; the same command resumes after an interruption",
    )

    sub = verb(
        "sweep",
        run_sweep,
        "a grid of networks, data and learning rates from a file",
        "mfdnn sweep docs/sweep.toml --checkpoint sweep-of-widths --jobs 2",
        (".csv", ".npz", ".nc", ".json"),
    )
    add_sweep(sub)

    sub = verb(
        "figure",
        verbs.run_figure,
        "draw the papers' figures",
        "mfdnn figure poole2016-fig1 --fast -o poole.pdf",
        PICTURES,
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

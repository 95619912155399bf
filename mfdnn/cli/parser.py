"""The parser: a row for each verb, with its arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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
    parse_subsets,
)
from .jacobian import add_jacobian, run_jacobian
from .module import add_module, run_module
from .output import PICTURES
from .sweep import add_sweep, run_sweep
from .width import add_width, run_width
from .words import Parser, number, seed, whole_number

__all__ = ["VERBS", "Verb", "build_parser"]

TABLES = (".csv", ".npz", ".json")
DATA_FILES = (*PICTURES, *TABLES)


class Verb(NamedTuple):
    """What runs it, what ``--help`` says, what ``-o`` writes, what adds arguments."""

    name: str
    run: Callable
    summary: str
    example: str
    suffixes: tuple[str, ...]
    arguments: tuple[Callable[[Any], Any], ...]


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """What adds one argument."""
    return lambda parser: parser.add_argument(*names, **settings)


def one_of_these(*options: Callable[[Any], Any]) -> Callable[[Any], None]:
    """What adds arguments that exclude each other."""

    def add(parser: argparse.ArgumentParser) -> None:
        group = parser.add_mutually_exclusive_group()
        for each in options:
            each(group)

    return add


def axis(name: str, values: np.ndarray, spelt: str) -> Callable[[Any], Any]:
    """What adds an axis of a grid."""
    text = f"start:stop:points (default: {spelt})"
    return option(name, type=parse_range, default=values, metavar="RANGE", help=text)


VERBS = (
    Verb(
        "report",
        verbs.run_report,
        "one page and one picture about a network",
        "mfdnn report 64-60-60-10 --norm batch_norm --samples 30 --loss cross_entropy --networks 4 -o report.png",
        (*PICTURES, ".html", ".json"),
        (add_network, partial(add_data, samples=100), add_loss, partial(add_simulation, networks=20)),
    ),
    Verb(
        "phase-diagram",
        verbs.run_phase_diagram,
        "fixed points over a grid of variances",
        "mfdnn phase-diagram --activation gelu --sigma-w2 0.5:4:100 --sigma-b2 0:0.5:100 --field xi_c -o gelu.png",
        DATA_FILES,
        (
            partial(add_activation, default="tanh"),
            axis("--sigma-w2", np.linspace(0.02, 4, 200), "0.02:4:200"),
            axis("--sigma-b2", np.linspace(0, 0.5, 200), "0:0.5:200"),
            option("--q0", type=number, default=1.0, help="variance of the first layer (default: 1)"),
            option(
                "--field",
                default="xi_c",
                help="what the picture shows: phase, q, c, chi_1, chi_c, xi_q, xi_c (default), xi_grad",
            ),
        ),
    ),
    Verb(
        "critical-line",
        verbs.run_critical_line,
        "the edge of chaos",
        "mfdnn critical-line --activation tanh --sigma-b2 0,0.05,0.2",
        DATA_FILES,
        (
            partial(add_activation, default="tanh"),
            one_of_these(
                option(
                    "--sigma-b2",
                    type=parse_range,
                    metavar="RANGE",
                    help="bias variances at which to find the critical weight variance",
                ),
                option(
                    "--q",
                    type=parse_range,
                    metavar="RANGE",
                    help="variances q* that parametrise the line (default: some twenty, where sigma_b2 <= 0.5)",
                ),
            ),
        ),
    ),
    Verb(
        "order-parameters",
        verbs.run_order_parameters,
        "forward and backward order parameters, layer by layer",
        "mfdnn order-parameters 784-1000x20-10 --activation tanh --sigma-w2 1.8 --sigma-b2 0.05",
        DATA_FILES,
        (add_network, partial(add_data, samples=100)),
    ),
    Verb(
        "fisher",
        verbs.run_fisher,
        "eigenvalue statistics of the Fisher information",
        "mfdnn fisher 784-1000-1000-10 --init he --norm batch_norm --samples 1000 --json",
        TABLES,
        (add_network, partial(add_data, samples=1000), add_softmax),
    ),
    Verb(
        "learning-rate",
        verbs.run_learning_rate,
        "the largest stable learning rate in your loss and optimiser",
        "mfdnn learning-rate 784-1000-1000-10 --init he --loss torch_mse --momentum 0.9 --confidence 0.95",
        TABLES,
        (
            add_network,
            partial(add_data, samples=1000),
            add_loss,
            option(
                "--optimizer",
                default="sgd",
                metavar="NAME",
                help="sgd (default), or one whose first step is meant: adam, adamw, lion, muon, rmsprop, nadam, ... "
                f"(on {verbs.FIRST_STEP_SAMPLES} inputs unless --samples says how many)",
            ),
            option(
                "--confidence",
                type=number,
                metavar="P",
                help="a rate below the limit of this share of the networks drawn, such as 0.95 (default: the limit "
                "at infinite width)",
            ),
            option(
                "--networks",
                type=whole_number,
                metavar="N",
                help="draw N networks and measure the rate for 95 %% of them, or for that share, with its error: "
                "150 are enough for most where there is a law, 400 where there is none",
            ),
            option("--seed", type=seed, default=0, help="seed of these networks (default: 0)"),
        ),
    ),
    Verb(
        "kernel",
        verbs.run_kernel,
        "spectrum and condition of the network's kernel, and its learning rate",
        "mfdnn kernel 64-1000-1000-10 --activation tanh --samples 200 --loss torch_mse -o kernel.csv",
        DATA_FILES,
        (
            add_network,
            partial(add_data, samples=1000),
            add_loss,
            option("--kernel", default="ntk", help="of the gradients (ntk, default) or of the outputs (nngp)"),
            option(
                "--parameterisation",
                default="standard",
                metavar="NAME",
                help="of the tangent kernel: standard (default) or ntk",
            ),
            option("--k", type=whole_number, help="how many of the largest eigenvalues (default: all)"),
            option(
                "--subsets",
                type=parse_subsets,
                metavar="N[,M]",
                help="estimate the largest eigenvalue on N random subsets of the inputs, of M each (default: 1000)",
            ),
        ),
    ),
    Verb(
        "jacobian",
        run_jacobian,
        "singular values of the network's input-output Jacobian, and isometric initialisations",
        "mfdnn jacobian 400-400x32 --activation tanh --isometric 0.1 --networks 2 -o jacobian.png",
        DATA_FILES,
        (add_network, add_jacobian),
    ),
    Verb(
        "width",
        run_width,
        "widths of two-layer networks: what theorems demand, what training needs",
        "mfdnn width --data digits --normalise --samples 60 --trials 10 -o widths.json",
        TABLES,
        (add_width,),
    ),
    Verb(
        "torch",
        run_module,
        "learning rates of a PyTorch module, its loss and its optimiser",
        "mfdnn torch models:make --input 64x3x32x32 --loss cross_entropy --optimizer adamw -o report.html",
        (*DATA_FILES, ".html"),
        (add_module,),
    ),
    Verb(
        "compare",
        verbs.run_compare,
        "theory against sampled networks",
        "mfdnn compare 100-200-200-5 --activation gelu --sigma-w2 2 --sigma-b2 0.1 --softmax --samples 50",
        TABLES,
        (
            add_network,
            partial(add_data, samples=100),
            add_softmax,
            option(
                "--geometry",
                action="store_true",
                help="also the metric of the features, the tangent kernel in NTK parameterisation, the Fisher-Rao "
                "norm",
            ),
            partial(add_simulation, networks=20),
            option(
                "--checkpoint",
                metavar="FILE",
                help="keep finished networks in this file; the same command resumes after an interruption",
            ),
        ),
    ),
    Verb(
        "sweep",
        run_sweep,
        "a grid of networks, data and learning rates from a file",
        "mfdnn sweep docs/sweep.toml --checkpoint sweep-of-widths --jobs 2",
        (".csv", ".npz", ".nc", ".json"),
        (add_sweep,),
    ),
    Verb(
        "figure",
        verbs.run_figure,
        "draw the papers' figures",
        "mfdnn figure poole2016-fig1 --fast -o poole.pdf",
        PICTURES,
        (
            option("name", nargs="?", metavar="NAME", help="which figure; --list shows them"),
            option("--list", action="store_true", help="list the figures"),
            option("--all", action="store_true", help="draw all of them into --folder"),
            option("--folder", default="figures", help="where figures go without -o (default: figures)"),
            option(
                "--format",
                default="png",
                metavar="SUFFIX",
                help="png (default), pdf or svg, without -o",
            ),
            option("--fast", action="store_true", help="small networks, for a quick look"),
            option("--seed", type=seed, default=0, help="seed of the random numbers (default: 0)"),
        ),
    ),
)


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser of ``mfdnn``, and those of its verbs.

    Parsed arguments also say what runs the verb (`run`) and what it writes (`suffixes`).
    """
    parser = Parser(
        prog="mfdnn",
        description="Mean-field theory and Fisher information of deep neural networks.",
        epilog="Weights have variance sigma_w^2/fan_in and biases sigma_b^2: arguments are always variances. "
        "`mfdnn VERB --help` shows an example of each verb. Exit codes: 0 done, 1 computation failed, 2 bad usage, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"mfdnn {__version__}")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    parsers = {}
    json_help = "print JSON instead of text (infinite numbers as strings)"
    for verb in VERBS:
        sub = parsers[verb.name] = subparsers.add_parser(
            verb.name,
            help=verb.summary,
            description=verb.summary[0].upper() + verb.summary[1:] + ".",
            epilog=f"example:\n  {verb.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--json", action="store_true", help=json_help)
        written = ", ".join(verb.suffixes)
        sub.add_argument("-o", "--output", metavar="FILE", help=f"write a file too: {written}")
        sub.set_defaults(run=verb.run, suffixes=verb.suffixes)
        for add in verb.arguments:
            add(sub)
    return parser, parsers

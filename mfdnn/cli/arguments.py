"""Arguments of the command line: their names, and what Python makes of them."""

from __future__ import annotations

import argparse
import re
from math import prod
from typing import Any

import numpy as np

from .._support.files import SUFFIXES
from .._support.validation import one_of
from ..activations.parsing import parse_activation
from .arch import network_of_arch
from .words import DEFAULT_ACTIVATION, FILES, number, parse_widths, seed, whole_number

DEFAULT_HIDDEN = "1000-1000-10"
DEFAULT_INPUTS = 784
NORMS = ("mean_subtraction", "batch_norm", "layer_norm")
NORM_PLACES = ("hidden", "after", "last")
MOST_POINTS = 1_000_000  # of one axis


def parse_shape(text: str) -> tuple[int, ...]:
    """3x32x32: channels and sites."""
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})+", text):
        raise argparse.ArgumentTypeError(f"must be channels and sites such as 3x32x32 or 1x28x28, got {text!r}")
    return tuple(int(size) for size in text.split("x"))


def parse_range(text: str) -> np.ndarray:
    """0.5:4:200 (start:stop:points), a comma-separated list, or a number."""
    numbers, colon, points = text.rpartition(":")
    try:
        values = [float(part) for part in (numbers.split(":") if colon else text.split(","))]
        n = int(points) if colon else 1
        if colon and len(values) != 2:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be start:stop:points (0.5:4:200), a list (1,2,3) or a number, got {text!r}"
        ) from None
    if not np.all(np.isfinite(values)):
        raise argparse.ArgumentTypeError(f"must be of finite numbers, got {text!r}")
    if not 1 <= n <= MOST_POINTS:
        raise argparse.ArgumentTypeError(f"must have 1 to {MOST_POINTS} points, got {text!r}")
    return np.linspace(values[0], values[1], n) if colon else np.array(values)


def parse_subsets(text: str) -> int | tuple[int, int]:
    """8, or 8,500 for eight subsets of 500 inputs."""
    if not re.fullmatch(r"\d{1,18}(,\d{1,18})?", text):
        raise argparse.ArgumentTypeError(f"must be how many, or how many and of how many inputs (8,500), got {text!r}")
    number, comma, size = text.partition(",")
    return (int(number), int(size)) if comma else int(number)


def add_activation(parser: Any, default: str) -> None:
    """Of all verbs."""
    parser.add_argument(
        "--activation",
        default=default,
        metavar="PHI",
        help=f"name, name(parameter=value) or module:function (default: {default})",
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Widths, activation, initialisation."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "widths",
        nargs="?",
        type=parse_widths,
        metavar="WIDTHS",
        help="inputs-hidden-...-outputs, such as 784-1000x5-10 for five hidden layers "
        f"(default: {DEFAULT_INPUTS}-{DEFAULT_HIDDEN})",
    )
    group.add_argument(
        "--arch",
        metavar="ARCH",
        help="in place of WIDTHS: cnn:64-64-10, convolutions with 64 channels each and 10 outputs, or resnet2d:mini or "
        "resnet2d:18, residual networks with batch norm and 10 outputs (resnet2d:18-1000: 1000), of inputs of the "
        "shape --input; or the network of a file, Network.to_dict() as json, in place of all that describes it here",
    )
    group.add_argument(
        "--input",
        type=parse_shape,
        metavar="SHAPE",
        help="channels x sites of an input of --arch cnn or resnet2d: 3x32x32 for colour images",
    )
    group.add_argument(
        "--readout", metavar="KIND", help="of --arch cnn: flatten (default), sites side by side, or average, their mean"
    )
    add_activation(group, DEFAULT_ACTIVATION)
    group.set_defaults(activation=None)  # so that it is seen beside --arch
    group.add_argument("--sigma-w2", type=number, metavar="V", help="weight variance times fan-in")
    group.add_argument("--sigma-b2", type=number, metavar="V", help="bias variance")
    group.add_argument(
        "--init",
        metavar="NAME",
        help="he (default), lecun, glorot, pytorch or critical, instead of --sigma-w2",
    )
    group.add_argument("--weights", metavar="KIND", help="gaussian (default), orthogonal or uniform")
    group.add_argument(
        "--blocks",
        type=whole_number,
        metavar="N",
        help="residual network of N blocks; WIDTHS is then inputs-width-outputs",
    )
    group.add_argument(
        "--norm",
        metavar="KIND",
        help=f"{', '.join(NORMS)}: a normalisation, with its gains and offsets as parameters",
    )
    group.add_argument(
        "--norm-at",
        metavar="PLACE",
        help="where it stands: hidden (default: before every hidden activation), after (behind every hidden "
        "activation) or last (behind the outputs)",
    )


def add_data(parser: argparse.ArgumentParser, samples: int) -> None:
    """Number of inputs, and what they are."""
    group = add_rows(parser, samples)
    group.add_argument("--q0", type=number, help="mean square of Gaussian inputs (default: 1)")
    group.add_argument("--c0", type=number, help="correlation of two Gaussian inputs (default: 0)")


def add_rows(parser: argparse.ArgumentParser, samples: int) -> Any:
    """Number of inputs, where they are from, and how a file is written."""
    group = parser.add_argument_group("inputs")
    group.add_argument(
        "--samples",
        type=whole_number,
        metavar="T",
        help=f"number of inputs (default: {samples}; of a file at most the rows it has)",
    )
    parser.set_defaults(default_samples=samples)
    group.add_argument(
        "--data",
        default="gaussian",
        metavar="DATA",
        help="gaussian (default), digits, mnist and other sets of openml.org, or a file of shape (rows, features): "
        ".npy, .npz, or .csv, .tsv, .txt, also .gz, .bz2, .xz; the next options tell how it is written",
    )
    group.add_argument("--array", metavar="NAME", help="which array of an .npz file (default: the only one, or X)")
    group.add_argument(
        "--delimiter",
        type=_delimiter,
        metavar="CHAR",
        help="what separates the cells of a text file: a character, tab or blank (default: found)",
    )
    group.add_argument("--decimal", metavar="CHAR", help="the decimal point of a text file, or a comma")
    group.add_argument("--encoding", metavar="NAME", help="of a text file, such as latin-1 (default: utf-8)")
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first line of a text file is names (default: if it holds no number)",
    )
    group.add_argument(
        "--index",
        action=argparse.BooleanOptionalAction,
        help="whether the first column of a text file numbers the rows, and is left out",
    )
    return group


def _delimiter(text: str) -> str:
    """A character, or the name of one that is hard to type."""
    return {"tab": "\t", "\\t": "\t", "blank": " "}.get(text, text)


def add_loss(parser: argparse.ArgumentParser) -> None:
    """Loss and optimiser."""
    group = parser.add_argument_group("loss and optimiser")
    group.add_argument(
        "--loss",
        default="half_mse",
        metavar="LOSS",
        help="half_mse (default), mse_per_sample, torch_mse, torch_mse_sum or cross_entropy",
    )
    group.add_argument("--momentum", type=number, default=0.0, metavar="B", help="momentum (default: 0)")
    group.add_argument(
        "--nesterov", action="store_true", help="Nesterov's momentum instead of the heavy ball"
    )
    group.add_argument("--weight-decay", type=number, default=0.0, metavar="W", help="L2 decay (default: 0)")


def add_simulation(parser: argparse.ArgumentParser, networks: int) -> None:
    """What is sampled, and how."""
    group = parser.add_argument_group("simulation")
    group.add_argument(
        "--networks",
        type=whole_number,
        default=networks,
        metavar="N",
        help=f"number of sampled networks (default: {networks})",
    )
    group.add_argument("--seed", type=seed, default=0, help="seed of the random numbers (default: 0)")
    group.add_argument(
        "--dtype",
        default="float64",
        metavar="TYPE",
        help="float64 (default), or float32 for half the time and memory",
    )


def add_softmax(parser: argparse.ArgumentParser) -> None:
    """Whose Fisher information."""
    parser.add_argument(
        "--softmax",
        dest="output_layer",
        action="store_const",
        const="softmax",
        default="linear",
        help="the Fisher information of class probabilities (cross-entropy), not of the outputs (squared errors)",
    )


def network_of(args: argparse.Namespace, n_features: int | None = None) -> Any:
    """The network that is described.

    Its inputs are as wide as the data if its widths are not given.
    """
    from ..architectures import mlp, resnet

    if args.arch is not None:
        return network_of_arch(args)
    for name in ("input", "readout"):
        if getattr(args, name) is not None:
            raise ValueError(f"`--{name}` goes with --arch cnn:CHANNELS-OUTPUTS, got it without; drop it.")
    act = parse_activation(DEFAULT_ACTIVATION if args.activation is None else args.activation)
    widths = args.widths or parse_widths(f"{n_features or DEFAULT_INPUTS}-{DEFAULT_HIDDEN}")
    if args.norm_at is not None and args.norm is None:
        raise ValueError(f"`--norm-at` {args.norm_at!r} needs --norm, one of {', '.join(NORMS)}; give it.")
    if args.blocks is None:
        net = mlp(widths, act, args.sigma_w2, args.sigma_b2, init=args.init, weights=args.weights)
        return net if args.norm is None else _normalised(net, args.norm, args.norm_at or "hidden")
    for name in ("init", "weights", "norm"):
        if getattr(args, name) is not None:
            advice = "write such a network in Python" if name == "norm" else "give --sigma-w2 and --sigma-b2"
            raise ValueError(f"`--{name}` does not go with --blocks, got {getattr(args, name)!r}; {advice}.")
    if not args.widths:
        widths = [widths[0], widths[1], widths[-1]]
    return resnet(
        widths, args.blocks, act, 1.0 if args.sigma_w2 is None else args.sigma_w2, args.sigma_b2 or 0.0
    )


def _normalised(net: Any, kind: str, place: str) -> Any:
    """The network with that normalisation at every hidden activation or at the end.

    `place` is "hidden" (before every hidden activation), "after" (behind it) or "last" (behind the outputs).
    """
    from ..layers import BatchNorm, LayerNorm, MeanSubtraction
    from ..network import Network

    layers = (MeanSubtraction, BatchNorm, LayerNorm)
    norm = dict(zip(NORMS, layers, strict=True))[one_of("--norm", kind, NORMS)]
    if one_of("--norm-at", place, NORM_PLACES) == "last":
        return Network(net.input_shape, [*net.layers, norm()])
    found: list[Any] = []
    for layer in net.layers:
        pair = [norm(), layer] if place == "hidden" else [layer, norm()]
        found += [layer] if layer.activation is None else pair
    if len(found) == len(net.layers):
        raise ValueError(
            f"`--norm-at` {place} needs a hidden layer, got {net!r}; add one, or say --norm-at last."
        )
    return Network(net.input_shape, found)


def network_and_data(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The network, and its inputs as keywords: their statistics or themselves."""
    if args.data == "gaussian":
        _file_options(args)
        n_samples = args.default_samples if args.samples is None else args.samples
        return network_of(args), {"n_samples": n_samples, "q0": args.q0, "c0": args.c0}
    for name in ("q0", "c0"):
        if getattr(args, name) is not None:
            raise ValueError(
                f"`--{name}` describes Gaussian inputs and does not go with --data {args.data}; drop it."
            )
    n_features = prod(args.input) if args.input else None
    X = read_rows(args, args.widths[0] if args.widths else n_features)
    return network_of(args, X.shape[1]), {"inputs": X}


def read_rows(args: argparse.Namespace, n_features: int | None) -> np.ndarray:
    """The matrix that --data names."""
    from ..datasets import load_inputs

    n_samples = args.samples
    if n_samples is None and not args.data.lower().endswith(SUFFIXES):  # a file may have fewer
        n_samples = args.default_samples
    X = load_inputs(args.data, n_samples, n_features, rng=getattr(args, "seed", 0), **_file_options(args))
    return X[: args.default_samples] if args.samples is None else X


def _file_options(args: argparse.Namespace) -> dict[str, Any]:
    """How the file is written, as keywords."""
    written = {name: getattr(args, name) for name in FILES if getattr(args, name) is not None}
    if written and args.data == "gaussian":
        raise ValueError(f"`--{next(iter(written))}` tells how a file is written; name the file by --data.")
    return written


def loss_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_loss` added, as keywords."""
    return {name: getattr(args, name) for name in ("loss", "momentum", "nesterov", "weight_decay")}


def simulation_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_simulation` added, as keywords."""
    return {"n_networks": args.networks, "rng": args.seed, "dtype": args.dtype, "progress": True}

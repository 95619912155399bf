"""Networks that `--arch` describes: by a word, or in a file."""

from __future__ import annotations

import argparse
import json
import os
import re
from typing import Any

from ..activations.parsing import parse_activation
from .words import DEFAULT_ACTIVATION, parse_widths

__all__ = ["network_of_arch"]

N_OUTPUTS = 10  # of resnet2d:mini


def network_of_arch(args: argparse.Namespace) -> Any:
    """The network of `args.arch`."""
    kind, colon, rest = args.arch.partition(":")
    if colon and kind in ("cnn", "resnet2d"):
        return (_cnn if kind == "cnn" else _resnet2d)(args, rest)
    if not (args.arch.endswith(".json") or os.path.exists(args.arch)):
        raise ValueError(
            "`--arch` must be cnn: with channels and outputs, such as cnn:64-64-10, resnet2d:mini or resnet2d:18, or a "
            f"file that Network.to_dict() wrote, got {args.arch!r}; write one of these words, or a path that exists."
        )
    _refuse(args, ("input", "readout"), "has the whole network")
    return _network_of_file(args)


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str = "") -> None:
    """Raise for an argument that describes something else."""
    for name in names:
        if getattr(args, name) is not None:
            said = "WIDTHS" if name == "widths" else f"--{name.replace('_', '-')}"
            arch = f"`--arch` {args.arch}"
            told = f"{arch} {why}, got {said} too" if why else f"{said} does not go with {arch}"
            raise ValueError(f"{told}; drop it.")


def _of_images(args: argparse.Namespace, *others: str) -> Any:
    """The activation of a network of images.

    What such networks do not take is refused, and so is a missing shape.
    """
    _refuse(args, ("widths", "blocks", "norm", "norm_at", *others))
    if args.input is None:
        raise ValueError(f"`--arch` {args.arch} needs the shape of an input; give --input, such as --input 3x32x32.")
    return parse_activation(DEFAULT_ACTIVATION if args.activation is None else args.activation)


def _cnn(args: argparse.Namespace, rest: str) -> Any:
    """The convolutional network that --arch cnn:64-64-10 describes."""
    from ..architectures import cnn

    act = _of_images(args)
    try:
        *channels, n_outputs = parse_widths(rest)
    except argparse.ArgumentTypeError:
        channels = []
    if not channels:
        raise ValueError(
            f"`--arch` cnn: must be followed by channels and outputs, such as cnn:64-64-10, got {args.arch!r}."
        )
    options = {"sigma_w2": args.sigma_w2, "sigma_b2": args.sigma_b2, "init": args.init}
    options["readout"] = args.readout or "flatten"
    if args.weights is not None:
        options["weights"] = args.weights
    return cnn(args.input, channels, n_outputs, act, **options)


def _resnet2d(args: argparse.Namespace, rest: str) -> Any:
    """The residual network that --arch resnet2d:mini or resnet2d:18-1000 describes."""
    from ..architectures import resnet2d

    act = _of_images(args, "init", "weights", "readout")
    match = re.fullmatch(r"(mini|18)(?:-([1-9]\d{0,8}))?", rest)
    if not match:
        raise ValueError(
            f"`--arch` resnet2d: must be followed by mini or 18, and outputs if they are not {N_OUTPUTS}, such as "
            f"resnet2d:18-1000, got {args.arch!r}."
        )
    given = {name: getattr(args, name) for name in ("sigma_w2", "sigma_b2") if getattr(args, name) is not None}
    return resnet2d(args.input, int(match[2] or N_OUTPUTS), size=match[1], activation=act, **given)


def _network_of_file(args: argparse.Namespace) -> Any:
    """What `Network.to_dict` wrote."""
    from ..network import Network

    described = ("widths", "activation", "sigma_w2", "sigma_b2", "init", "weights", "blocks", "norm", "norm_at")
    _refuse(args, described, "has the whole network")
    try:
        with open(args.arch, encoding="utf-8") as file:
            description = json.load(file)
    except OSError as error:
        raise ValueError(
            f"`--arch` {args.arch} cannot be read ({error.strerror}); give a file that Network.to_dict() wrote."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"`--arch` {args.arch} must be json, as of Network.to_dict(): {error}.") from None
    try:
        return Network.from_dict(description)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`--arch` {args.arch}: {error}") from None

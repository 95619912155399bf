"""Complaints in the terms of the command line: its options and its parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from .._support.validation import did_you_mean, one_of

__all__ = [
    *("DEFAULT_ACTIVATION", "FILES", "Parser", "in_options", "number", "parse", "parse_widths", "seed", "whole_number"),
]

DEFAULT_ACTIVATION = "relu"
DEEPEST = 10_000  # layers of one repeated width

# Arguments of functions, and the options that give them.
NETWORK = ("activation", "sigma_w2", "sigma_b2", "init", "weights")
OTHERS = (
    *("q0", "c0", "q", "loss", "optimizer", "momentum", "nesterov", "weight_decay", "confidence"),
    *("dtype", "geometry", "field"),
)
KERNELS = ("k", "subsets")
TRIALS = ("trained", "kappa", "eta", "delta", "max_width")
FILES = ("array", "delimiter", "decimal", "encoding", "header", "index")
SAME = (*NETWORK, *OTHERS, *KERNELS, *TRIALS, *FILES, "checkpoint")
NAMES = {name: f"`--{name.replace('_', '-')}`" for name in SAME} | {
    "n_samples": "`--samples`",
    "n_networks": "`--networks`",
    "n_trials": "`--trials`",
    "n_steps": "`--steps`",
    "n_blocks": "`--blocks`",
    "inputs": "`--data`",
    "X": "`--data`",
    "rng": "`--seed`",
    "widths": "`WIDTHS`",
    "n_features": "the number of features",
    "net": "the network",
    "one": "the drawn network",
    "spec": "`SPEC`",
}
# Of a module of PyTorch, whose inputs are no file.
MODULE = {name: f"`--{name}`" for name in ("loss", "optimizer", "select", "parts", "momentum")} | {
    "X": "`--input`",
    "batch": "the batch",
    "module": "the module",
    "weight_decay": "`--weight-decay`",
}


def in_options(message: str, args: argparse.Namespace) -> str:
    """The message with options in place of the arguments of functions that they give.

    What a file describes, a network or a sweep, keeps the names that it has there.
    """
    if args.verb == "torch":
        return re.sub(r"`(\w+)`", lambda found: MODULE.get(found[1], found[0]), message)
    of_file = NETWORK if getattr(args, "arch", None) else ()
    said = {"spec", "checkpoint"} if args.verb == "sweep" else NAMES.keys() - of_file
    message = message.replace("`output` = softmax", "`--softmax`").replace("`decimal=','`", "`--decimal ,`")
    message = message.replace("pass X / np.linalg.norm(X, axis=1, keepdims=True)", "give --normalise")
    message = re.sub(r"`(header|index)=True`", r"`--\1`", message)
    message = re.sub(r"`(header|index)=False`", r"`--no-\1`", message)
    return re.sub(r"`(\w+)`", lambda found: NAMES[found[1]] if found[1] in said else found[0], message)


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        # Values that begin with a minus, -1:2:10 and -1e3 among them; no option is a number.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without the list of all options, and exit with 2."""
        message = re.sub(r"^argument (?:-o/--output|(\S+)): ", lambda found: f"`{found[1] or '-o'}` ", message)
        message = message.replace("expected one argument", "needs a value, and there is none")
        message = message.replace("not allowed with argument ", "does not go with ")
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`.\n")


def parse(parser: Parser, verbs: dict[str, Parser], argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, or an exit with 2 and a sentence."""
    verb = next((word for word in argv if not word.startswith("-")), "")
    if not verb:
        parser.parse_args(argv)  # --help and --version end here, and what has no verb
    if verb not in verbs:
        try:
            one_of("VERB", verb, verbs)
        except ValueError as error:
            parser.error(str(error).removesuffix("."))
    chosen = verbs[verb]
    known = chosen._option_string_actions  # abbreviations are known too
    for word in argv[argv.index(verb) + 1 :]:
        option = word.partition("=")[0]
        if option.startswith("--") and not any(name.startswith(option) for name in known):
            chosen.error(f"`{option}` is no option of {verb}{did_you_mean(option, list(known))}")
    args, left = parser.parse_known_args(argv)
    if left and left[0].startswith("-"):
        chosen.error(f"`{left[0]}` is no option of {verb}")
    if left:
        advice = "; write widths as one word, 784-1000-10" if hasattr(args, "widths") else ""
        chosen.error(f"`{' '.join(left)}` does not belong here{advice}")
    return args


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a finite number such as 0.5 or 1e-3, got {text!r}")
    return value


def whole_number(text: str) -> int:
    """A whole number below 2^62, what arrays count with."""
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number such as 100, got {text!r}")
    return int(text)


def seed(text: str) -> int:
    """A whole number that is not negative, of any length."""
    if not re.fullmatch(r"\d{1,4000}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number >= 0, got {text!r}")
    return int(text)


def parse_widths(text: str) -> list[int]:
    """784-1000-1000-10, or 784-1000x5-10 for five equal widths."""
    sizes: list[int] = []
    for part in text.split("-"):
        match = re.fullmatch(r"(\d{1,18})(?:x(\d{1,18}))?", part.strip())
        if not match:
            raise argparse.ArgumentTypeError(
                f"must be widths such as 784-1000-1000-10 or 784-1000x5-10, got {text!r}"
            )
        units, repeats = int(match[1]), int(match[2] or 1)
        if match[2] and not sizes:
            rest = text[len(part) :]
            raise argparse.ArgumentTypeError(
                f"begins with {part}: inputs of {units} x {repeats} pixels are written {units * repeats}{rest}, and "
                f"{repeats} layers of {units} units {units}-{units}x{repeats - 1}{rest}"
            )
        if not 1 <= repeats <= DEEPEST:
            raise argparse.ArgumentTypeError(
                f"must repeat a width 1 to {DEEPEST} times, got {part}; write 1000x5 for five layers of 1000 units"
            )
        sizes += [units] * repeats
    return sizes

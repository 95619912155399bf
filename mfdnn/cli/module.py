"""Learning rates of a module that a function makes: the verb ``mfdnn torch``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import did_you_mean
from .output import PICTURES, Output
from .words import number, seed, whole_number

__all__ = ["add_module", "run_module"]

LOSSES = {"cross_entropy": "CrossEntropyLoss", "mse": "MSELoss"}
PARTS = ("first_step", "critical", "stable")


def add_module(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "factory",
        metavar="FACTORY",
        help="package.module:function, which takes nothing and returns a torch.nn.Module, or that and a batch: module, "
        "(X, Y)",
    )
    group = parser.add_argument_group("batch, where the function returns none")
    group.add_argument(
        "--input",
        type=parse_shape,
        metavar="SHAPE",
        help="of random inputs, samples first: 64x3x32x32; labels, or targets, are random too",
    )
    group.add_argument(
        "--tokens", type=whole_number, metavar="N", help="inputs are whole numbers below N (default: standard normal)"
    )
    group = parser.add_argument_group("loss and optimiser")
    group.add_argument(
        "--loss", default="cross_entropy", help="cross_entropy (default), mse, or the name of a loss of torch.nn"
    )
    group.add_argument(
        "--optimizer",
        default="adamw",
        metavar="NAME",
        help="of torch.optim, in small letters or not: adamw (default), sgd, muon (of the matrices alone), ...",
    )
    group.add_argument("--lr", type=number, help="present rate (default: that of torch.optim; 0.1 where it has none)")
    group.add_argument("--momentum", type=number, metavar="B", help="momentum (default: that of torch.optim)")
    group.add_argument("--weight-decay", type=number, metavar="W", help="decay (default: that of torch.optim)")
    parser.add_argument("--select", metavar="KEY", help="what of the returned tuple or dictionary are the outputs")
    parser.add_argument(
        "--parts", default="all", help=f"what to compute: all (default), or of {','.join(PARTS)}, with commas"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of module and batch (default: 0)")


def parse_shape(text: str) -> tuple[int, ...]:
    """64x3x32x32, samples first."""
    parts = text.lower().split("x")
    if not all(part.isdigit() and 0 < int(part) < 2**31 for part in parts):
        raise argparse.ArgumentTypeError(f"must be sizes with x between, samples first, as 64x3x32x32, got {text!r}")
    return tuple(map(int, parts))


def run_module(args: argparse.Namespace) -> Output:
    """Learning rates; with a picture or a page also the spectrum."""
    from ..pytorch import learning_rate, report
    from ..pytorch._torch import torch

    torch.manual_seed(args.seed % 2**63)
    module, batch = _made(args, torch)
    select = int(args.select) if args.select is not None and args.select.isdigit() else args.select
    if batch is None:
        batch = _drawn(args, torch, module, select)
    elif args.input is not None or args.tokens is not None:
        raise ValueError(f"`--input` does not go with {args.factory!r}, which returns a batch of its own; drop it.")
    loss, optimizer = _loss(args.loss, torch), _optimizer(args, torch, module)
    parts: Any = args.parts if args.parts == "all" else tuple(args.parts.split(","))
    suffix = Path(args.output or "").suffix.lower()
    if suffix in (".csv", ".npz") and parts != "all" and "critical" not in parts:
        raise ValueError(f"`--parts` {args.parts} has no loss along the step for {args.output}; add critical.")
    if suffix in (*PICTURES, ".html"):
        if parts != "all":
            raise ValueError(f"`--parts` {args.parts} does not go with a picture, which shows all; drop it.")
        page = report(module, batch, loss, optimizer, select=select)
        return Output(str(page), page.answer.to_dict(), save=page.save)
    answer = learning_rate(module, batch, loss, optimizer, select=select, parts=parts)
    columns = None if answer.along is None else {name: np.asarray(v) for name, v in answer.along.items()}
    return Output(str(answer), answer.to_dict(), columns)


def _made(args: argparse.Namespace, torch: Any) -> tuple[Any, Any]:
    """What the user's function returns: a module, and a batch or None."""
    name, colon, attribute = args.factory.partition(":")
    if not (name and colon and attribute):
        raise ValueError(
            f"`FACTORY` must be package.module:function, got {args.factory!r}; write for example models:make_resnet."
        )
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(name)
        for part in attribute.split("."):
            found = getattr(found, part)
        made: Any = found if isinstance(found, torch.nn.Module) else found()
    except (Exception, SystemExit) as error:  # a user's module may raise anything, or be a script that exits
        said = " ".join(str(error).split())
        raise ValueError(
            f"`FACTORY` {args.factory!r}: {type(error).__name__}: {said:.300}; write package.module:function for a "
            "function that takes nothing."
        ) from None
    finally:
        sys.path.pop(0)
    batch = None
    if isinstance(made, tuple) and len(made) == 2:
        made, batch = made
    if not isinstance(made, torch.nn.Module):
        raise ValueError(
            f"`FACTORY` {args.factory!r} must return a torch.nn.Module, or a module and (X, Y), got a "
            f"{type(made).__name__}; return the network."
        )
    return made, batch


def _drawn(args: argparse.Namespace, torch: Any, module: Any, select: Any) -> tuple[Any, Any]:
    """A random batch: inputs, and labels or targets of the shape that the loss takes."""
    from ..pytorch import operator

    if args.input is None:
        raise ValueError(
            f"`--input` must be given, as {args.factory!r} returns no batch; write for example --input 64x3x32x32."
        )
    require_memory(8.0 * prod(args.input), f"Inputs of shape {args.input}", "pass a smaller --input")
    one = operator(module, select=select)
    p = one.tensors[0]
    if args.tokens is None:
        X = torch.randn(args.input).to(p)
    elif args.tokens < 1:
        raise ValueError(f"`--tokens` must be >= 1, got {args.tokens}; pass the size of the vocabulary.")
    else:
        X = torch.randint(args.tokens, args.input).to(p.device)
    outputs = one.values(X)
    if args.loss not in ("cross_entropy", "CrossEntropyLoss", "NLLLoss"):
        return X, torch.randn(outputs.shape).to(outputs)
    if outputs.ndim < 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"`--loss` {args.loss} needs two classes or more on the second axis, but outputs have shape "
            f"{tuple(outputs.shape)}; give --loss mse, or --select."
        )
    return X, torch.randint(outputs.shape[1], (len(outputs), *outputs.shape[2:])).to(outputs.device)


def _loss(name: str, torch: Any) -> Any:
    losses = [known for known in dir(torch.nn) if known.endswith("Loss")]
    found = LOSSES.get(name, name)
    if found not in losses:
        hint = did_you_mean(name, [*LOSSES, *losses])
        raise ValueError(f"`--loss` must be cross_entropy, mse or a loss of torch.nn, got {name!r}{hint}.")
    return getattr(torch.nn, found)()


def _optimizer(args: argparse.Namespace, torch: Any, module: Any) -> Any:
    kinds = {
        name.lower(): kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    }
    kind = kinds.get(args.optimizer.lower())
    if kind is None:
        hint = did_you_mean(args.optimizer.lower(), list(kinds))
        raise ValueError(f"`--optimizer` must be one of {', '.join(sorted(kinds))}; got {args.optimizer!r}{hint}.")
    options = {name: getattr(args, name) for name in ("lr", "momentum", "weight_decay")}
    options = {name: value for name, value in options.items() if value is not None}
    parameters = [p for p in module.parameters() if p.requires_grad and (kind.__name__ != "Muon" or p.ndim == 2)]
    try:
        try:
            return kind(parameters, **options)
        except TypeError:
            if "lr" in options:
                raise
            return kind(parameters, lr=0.1, **options)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in options.items()) or "no options"
        raise ValueError(f"`--optimizer` {kind.__name__} does not take {given}: {error}; change them.") from None

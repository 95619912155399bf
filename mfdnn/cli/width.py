"""How wide is wide enough for a data file: the verb ``mfdnn width``."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .._support.validation import one_of
from .arguments import DEFAULT_ACTIVATION, add_activation, add_rows, parse_activation, read_rows
from .output import Output
from .words import number, seed, whole_number

__all__ = ["add_width", "run_width"]

N_FEATURES, N_SAMPLES = 100, 100
LOWER = 5  # of the ten classes of digits and of the sets of openml.org


def add_width(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    group = parser.add_argument_group("network, f(x) = m^-1/2 sum_r a_r phi(w_r . x)")
    add_activation(group, DEFAULT_ACTIVATION)
    group.add_argument("--trained", default="weights", metavar="WHAT", help="weights (w, default) or both (a too)")
    group.add_argument("--kappa", type=number, default=1.0, help="standard deviation of the w (default: 1)")
    group = add_rows(parser, N_SAMPLES)
    group.add_argument(
        "--features",
        type=whole_number,
        metavar="M0",
        help=f"dimension of Gaussian inputs, which are scaled to norm 1 (default: {N_FEATURES})",
    )
    group.add_argument("--normalise", action="store_true", help="scale the inputs of other data to norm 1 too")
    group.add_argument(
        "--labels",
        metavar="WHAT",
        help="first or last: that column of a file; classes: +1 for 0 to 4 and -1 for 5 to 9, default of digits, mnist "
        "and such sets; random: standard normal, default of Gaussian inputs",
    )
    group = parser.add_argument_group("training")
    group.add_argument(
        "--eta", type=number, help="learning rate, of the sum of half squared errors (default: 1/lambda_max)"
    )
    group.add_argument("--delta", type=number, default=0.1, help="share of trials that may fail (default: 0.1)")
    group.add_argument(
        "--trials", dest="n_trials", type=whole_number, default=20, metavar="N", help="at each width (default: 20)"
    )
    group.add_argument(
        "--steps", dest="n_steps", type=whole_number, default=100, metavar="K", help="of each trial (default: 100)"
    )
    group.add_argument(
        "--max-width", type=whole_number, default=2**14, metavar="M", help="the largest to try (default: 16384)"
    )
    group.add_argument("--seed", type=seed, default=0, help="seed of the random numbers (default: 0)")
    group.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="keep finished trials in this file; the same command resumes after an interruption",
    )


def run_width(args: argparse.Namespace) -> Output:
    """Widths that theorems demand, and the width that training needs."""
    from ..comparison import required_width_measured
    from ..kernels.theorems import THEOREMS

    act = parse_activation(args.activation)
    names = ("trained", "kappa", "eta", "delta", "n_trials", "n_steps", "max_width", "checkpoint")
    options = {name: getattr(args, name) for name in names}
    found = required_width_measured(*labelled(args), act, **options, rng=args.seed, progress=True)
    theory = found.theory
    numbers = {
        "lambda_0": theory.lambda_0,
        "learning rate": found.eta,
        "lazy width": theory.lazy_width,
        "generalisation measure": theory.generalisation(),
    }
    lines = [repr(theory), str(found), "", *(f"{name:<22}  {value:.4g}" for name, value in numbers.items())]
    lines += ["", "where the widths of theorems are from; constants and logarithms are taken as 1:"]
    lines += [f"{name}: {source}" for name, source in theory.sources.items()]
    if found.caution:
        lines += ["", found.caution]
    columns = {
        "theorem": np.array(["measured", *found.demanded]),
        "width": np.array([np.nan if found.width is None else found.width, *found.demanded.values()], dtype=float),
        "formula": np.array(["", *(THEOREMS[name].formula for name in found.demanded)]),
    }
    data = found.to_dict() | {name.replace(" ", "_"): value for name, value in numbers.items()}
    return Output("\n".join(lines), {"theory": repr(theory), **data, "sources": theory.sources}, columns)


def labelled(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (T, M_0), of norm 1 where that was asked for, and labels (T,)."""
    gaussian = args.data == "gaussian"
    if args.features is not None and not gaussian:
        raise ValueError(f"`--features` is of Gaussian inputs and does not go with --data {args.data}; drop it.")
    X = read_rows(args, (N_FEATURES if args.features is None else args.features) if gaussian else None)
    X, y = _split(args, X)
    if gaussian or args.normalise:
        norms = np.linalg.norm(X, axis=1, keepdims=True)
        if not norms.all():
            raise ValueError(f"`--data` must have no input of zeros, got row {np.argmin(norms)}; leave it out.")
        X = X / norms
    return X, y


def _split(args: argparse.Namespace, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels."""
    from ..datasets import OPENML

    allowed = ["first", "last", "random"]
    if args.data in ("gaussian", "digits", *OPENML):
        allowed = ["random"] if args.data == "gaussian" else ["classes", "random"]
    elif args.labels is None:
        raise ValueError(f"`--labels` must be given with --data {args.data}: first or last (its column), or random.")
    kind = one_of("--labels", allowed[0] if args.labels is None else args.labels, allowed)
    if kind == "random":
        return X, np.random.default_rng([args.seed, len(X)]).standard_normal(len(X))  # not the numbers of the inputs
    if kind == "classes":
        return X, np.where(_classes(args, len(X)) < LOWER, 1.0, -1.0)
    if X.shape[1] < 2:
        raise ValueError(f"`--data` must have a column beside the labels, but {args.data!r} has one; add the inputs.")
    at = 0 if kind == "first" else X.shape[1] - 1
    return np.delete(X, at, axis=1), X[:, at]


def _classes(args: argparse.Namespace, n_samples: int) -> Any:
    """Of the same choice of images."""
    from ..datasets import digits, openml

    if args.data == "digits":
        return digits(n_samples, rng=args.seed)[1]
    return openml(args.data, n_samples, rng=args.seed)[1]

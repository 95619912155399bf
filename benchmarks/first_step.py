"""Critical rates of fresh networks over those predicted before drawing them: the table of docs/optimisers.md.

    python benchmarks/first_step.py            # about a quarter of an hour on one core
    python benchmarks/first_step.py --quick    # four networks a row, printed and not written

Each cell is the median over networks of the rate that a line search finds (`mfdnn.training.critical_rate`)
over `mfdnn.first_step(...).critical_learning_rate`, and in brackets the second smallest and the second largest of them.
"""

import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np

import mfdnn
from mfdnn.datasets import digits, gaussian_inputs

PAGE = Path(__file__).parent.parent / "docs" / "optimisers.md"
BEGIN, END = "<!-- measured: written by benchmarks/first_step.py -->", "<!-- end of what was measured -->"
OPTIMISERS = ("sgd", "adamw", "muon")
N_NETWORKS, N_SAMPLES = {"width": 14, "depth": 14}, 64
OTHERWISE = 8  # networks
WORST = 8

HE, ONE, DEFAULT = {"init": "he"}, {"sigma_w2": 1.0}, {"init": "pytorch", "weights": "uniform"}
NAMES = {"he": "He", "one": "sigma_w2 = 1", "default": "PyTorch"}
INITIALISATIONS = {"he": HE, "one": ONE, "default": DEFAULT, "bias": {"sigma_w2": 2.0, "sigma_b2": 0.1}}
WORDS = {**NAMES, "bias": "He, sigma_b2 = 0.1"}

# What varies; activation, initialisation, loss, weight layers, width, data.
ROWS = [
    *(("width", "relu", "he", "half_mse", 3, M, "digits") for M in (64, 128, 256, 512, 1024)),
    *(("width", "tanh", "one", "half_mse", 4, M, "digits") for M in (64, 256, 1024)),
    *(("depth", "relu", "he", "half_mse", L, 256, "digits") for L in (2, 4, 6, 8)),
    *(("depth", "tanh", "one", "half_mse", L, 256, "digits") for L in (2, 8)),
    ("depth", "relu", "he", "half_mse", 8, 128, "digits"),
    ("depth", "gelu", "he", "half_mse", 8, 128, "digits"),
    *(("activation", phi, "he", "half_mse", 3, 256, "digits") for phi in ("gelu", "silu", "elu", "leaky_relu")),
    *(("activation", phi, "one", "half_mse", 3, 256, "digits") for phi in ("erf", "sin")),
    ("initialisation", "relu", "bias", "half_mse", 8, 256, "digits"),
    *(("initialisation", phi, "default", "half_mse", L, 256, "digits") for phi, L in (("relu", 3), ("gelu", 3))),
    ("initialisation", "relu", "default", "half_mse", 8, 128, "digits"),
    *(("data", phi, init, "half_mse", 3, 256, "gaussian") for phi, init in (("relu", "he"), ("tanh", "one"))),
    *(("loss", phi, init, "cross_entropy", 3, 256, "digits") for phi, init in (("relu", "he"), ("gelu", "he"))),
    *(("loss", "tanh", "one", "cross_entropy", L, 256, "digits") for L in (2, 4)),
    *(("loss", "relu", "default", "cross_entropy", L, M, "digits") for L, M in ((2, 256), (3, 256), (4, 512))),
    ("loss", "relu", "default", "cross_entropy", 6, 256, "digits"),
    ("loss", "gelu", "default", "cross_entropy", 3, 256, "digits"),
]


def problem(kind):
    """Inputs and targets: standardised digits with their classes, or Gaussian ones with one normal label."""
    if kind == "digits":
        return digits(N_SAMPLES, rng=0, standardise=True)
    return gaussian_inputs(N_SAMPLES, 64, rng=0), gaussian_inputs(N_SAMPLES, 1, rng=1)


def network(phi, init, depth, width, kind):
    """Of one hidden width."""
    return mfdnn.mlp([64, *[width] * (depth - 1), 10 if kind == "digits" else 1], phi, **INITIALISATIONS[init])


def ratios(row, optimizer, n_networks):
    """Measured over predicted, one a network; the prediction."""
    _, phi, init, loss, depth, width, kind = row
    X, y = problem(kind)
    net = network(phi, init, depth, width, kind)
    targets = np.eye(10)[y] if kind == "digits" else y
    predicted = mfdnn.first_step(net, optimizer, inputs=X, targets=targets, loss=loss)
    drawn = [mfdnn.sample(net, rng=seed) for seed in np.random.SeedSequence(20).spawn(n_networks)]
    found = [mfdnn.training.critical_rate(one, X, targets, optimizer, loss).rate for one in drawn]
    return np.array(found) / predicted.critical_learning_rate, predicted


def label(row):
    """Of a row, in words."""
    _, phi, init, loss, depth, width, kind = row
    return f"{phi}, {WORDS[init]}", depth, width, loss, kind


def cell(values):
    """Median, and all but the extremes."""
    ordered = np.sort(values)
    return f"{np.median(values):.2f} [{ordered[1]:.2f}, {ordered[-2]:.2f}]"


def wrapped(line):
    """A paragraph or an entry of a list, as the page has it."""
    return textwrap.fill(line, 118, subsequent_indent="  " if line.startswith("- ") else "")


def write(lines, begin, end):
    """Put the lines between two marks of the page."""
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text("\n".join([before + begin, *lines, end + after]))


def measured(rows=ROWS, few=None):
    """Lines of the page; `few`: that many networks a row."""
    head = ["varied", "network", "L", "M", "loss", "data", "networks", *OPTIMISERS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    medians = []
    for row in rows:
        cells, n_networks = [], few or N_NETWORKS.get(row[0], OTHERWISE)
        for optimizer in OPTIMISERS:
            values, predicted = ratios(row, optimizer, n_networks)
            cells.append(cell(values))
            medians.append((float(np.median(values)), row, optimizer, predicted.caution))
        words = [row[0], *map(str, label(row)), str(n_networks), *cells]
        lines.append("| " + " | ".join(words) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    medians.sort(key=lambda entry: -abs(np.log(entry[0])))
    lines += ["", f"The {WORST} medians that are furthest from 1, and what `first_step(...).caution` says of each:", ""]
    for median, row, optimizer, caution in medians[:WORST]:
        phi, depth, width, loss, _ = label(row)
        said = caution.partition("The band is ")[0].strip() or "nothing"
        lines.append(f"- {median:.2f}: {optimizer}, {phi}, L = {depth}, M = {width}, {loss}. {said}")
    within = np.mean([0.5 <= entry[0] <= 2 for entry in medians])
    silent = [entry[0] for entry in medians if not entry[3]]
    words = f"Of {len(medians)} medians {within:.0%} lie between 1/2 and 2"
    if silent:
        words += f"; the {len(silent)} without any caution lie between {min(silent):.2f} and {max(silent):.2f}"
    lines += ["", f"{words}."]
    return [line if line.startswith("|") else wrapped(line) for line in lines]


def main():
    """Print, or write into the page with blank lines around."""
    quick = "--quick" in sys.argv
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # cautions of narrow networks
        lines = measured(few=4 if quick else None)
    if quick or "--print" in sys.argv:
        print("\n".join(lines))
    else:
        write(["", *lines, ""], BEGIN, END)


if __name__ == "__main__":
    main()

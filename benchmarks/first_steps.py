"""Critical first steps of networks on digits, over those predicted before one is drawn.

The table of docs/optimisers.md.
Line searches on eight networks a row, T = 64 digits of ten classes (scikit-learn's), each over the one prediction. Some
ten minutes on one core; `--quick` leaves out widths of 1024.
"""

import sys
from functools import partial

import numpy as np

import mfdnn
from mfdnn.datasets import digits
from mfdnn.training import critical_rate

OPTIMISERS = ("sgd", "adamw", "muon")
NETWORKS = 8


def row(name, widths, loss="half_mse", **options):
    return name, widths, loss, options


RELU = {"activation": "relu", "init": "he"}
GELU = {"activation": "gelu", "sigma_w2": 2.0}
TANH = {"activation": "tanh", "sigma_w2": 1.0}
TORCH = partial(dict, init="pytorch")
ROWS = [
    row("relu, He", [64] * 3, **RELU),
    row("relu, He", [256] * 2, **RELU),
    row("relu, He", [256] * 3, **RELU),
    row("relu, He", [1024] * 3, **RELU),
    row("relu, He", [128] * 7, **RELU),
    row("gelu, (2, 0)", [256] * 2, **GELU),
    row("gelu, (2, 0)", [128] * 7, **GELU),
    row("tanh, (1, 0)", [64] * 3, **TANH),
    row("tanh, (1, 0)", [256] * 3, **TANH),
    row("tanh, (1, 0)", [1024] * 3, **TANH),
    row("tanh, (1, 0)", [128] * 7, **TANH),
    row("relu, PyTorch", [128] * 2, **TORCH(activation="relu")),
    row("relu, PyTorch", [128] * 7, **TORCH(activation="relu")),
    row("relu, He", [256] * 2, "cross_entropy", **RELU),
    row("relu, He", [1024] * 3, "cross_entropy", **RELU),
    row("tanh, (1, 0)", [256] * 3, "cross_entropy", **TANH),
    row("relu, PyTorch", [128] * 2, "cross_entropy", **TORCH(activation="relu")),
    row("relu, PyTorch", [512] * 3, "cross_entropy", **TORCH(activation="relu")),
    row("gelu, PyTorch", [256] * 2, "cross_entropy", **TORCH(activation="gelu")),
    row("tanh, PyTorch", [256] * 3, "cross_entropy", **TORCH(activation="tanh")),
]


def ratios(net, X, Y, loss, optimizer):
    """Median over networks of their own critical rates over the predicted one, the lowest and highest; rho."""
    step = mfdnn.first_step(net, optimizer, inputs=X, targets=Y, loss=loss)
    found = []
    for seed in range(NETWORKS):
        one = mfdnn.sample(net, rng=[7, seed])
        found.append(critical_rate(one, X, Y, optimizer, loss).rate / float(step))
    return np.median(found), min(found), max(found), step.validity


def main():
    X, labels = digits(64, rng=0)
    X, Y = X.reshape(64, -1), np.eye(10)[labels]
    print("| network | M | L | loss | L/sqrt M | SGD | AdamW | Muon | rho |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, hidden, loss, options in ROWS:
        if hidden[0] == 1024 and "--quick" in sys.argv:
            continue
        options = dict(options)
        net = mfdnn.mlp([64, *hidden, 10], options.pop("activation"), **options)
        cells, rhos = [], []
        for optimizer in OPTIMISERS:
            median, low, high, rho = ratios(net, X, Y, loss, optimizer)
            cells.append(f"{median:.2f} [{low:.2f}, {high:.2f}]")
            rhos.append(f"{rho:.2g}")
        L = len(hidden) + 1
        depth = f"{L / np.sqrt(hidden[0]):.2f}"
        print("|", " | ".join([name, str(hidden[0]), str(L), loss, depth, *cells, ", ".join(rhos)]), "|", flush=True)


if __name__ == "__main__":
    main()

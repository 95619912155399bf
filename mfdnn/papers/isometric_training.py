r"""How fast deep networks train, with and without dynamical isometry.

Gradients of the right size are not enough: with Gaussian weights a few directions of a deep network take all of it, and
the learning rate they allow is small. Orthogonal weights near isometry keep all directions alike.

References
----------
Pennington, Schoenholz & Ganguli 2017, "Resurrecting the sigmoid in deep learning through dynamical isometry",
arXiv:1711.04735: its experiments. The figure is this package's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..architectures import mlp
from ..datasets import digits
from ..jacobian import isometric_init
from ..learning_rate import max_learning_rate
from ..network import Network
from ..sampled import sample
from ..training import train
from ._style import bar, entry, legend, letter, marked, paper_style, ticks

__all__ = ["figure", "network", "runs"]

VARIANCE = 1 / 16  # sigma^2_JJT
WIDTH, N_SAMPLES, BATCH = 100, 500, 50
DEPTHS, DEPTHS_FAST = (8, 16, 32, 64, 128), (4, 8)
SHOWN = 64  # depth of panel A
N_STEPS, N_STEPS_FAST = 500, 10
MULTIPLES, MULTIPLES_FAST = (0.25, 0.5, 1.0, 2.0, 4.0), (0.25,)  # of the limit of infinite width
GOAL = 0.5  # of the loss of the best constant
KINDS = {
    "tanh, orthogonal, isometric": ("tanh", "orthogonal", "blue", "o"),
    "tanh, Gaussian, same variances": ("tanh", "gaussian", "vermillion", "s"),
    "relu, Gaussian, He": ("relu", "gaussian", "green", "^"),
}


def network(kind: str, depth: int) -> Network:
    """Of that many hidden layers for digits."""
    phi, weights, _, _ = KINDS[kind]
    widths = [64, *[WIDTH] * depth, 10]
    if phi == "relu":
        return mlp(widths, phi, 2.0)
    init = isometric_init(phi, depth, VARIANCE)
    return mlp(widths, phi, init.sigma_w2, init.sigma_b2, weights=weights)


def runs(depth: int, n_steps: int, multiples: tuple[float, ...], rng: Any) -> dict[str, tuple[np.ndarray, float]]:
    """For each kind the losses of epochs, and the rate.

    Losses are over that of the best constant; the rate is that whose last one is the smallest.
    """
    X, y = digits(N_SAMPLES, rng=0)
    constant = 0.5 * np.sum(np.var(np.eye(10)[y], axis=0))
    out = {}
    for kind, seed in zip(KINDS, np.random.default_rng(rng).integers(2**31, size=len(KINDS)), strict=True):
        net = network(kind, depth)
        data = X / np.sqrt(np.mean(X**2, axis=1, keepdims=True))
        if KINDS[kind][0] == "tanh":  # the stationary mean square
            data = data * np.sqrt(isometric_init("tanh", depth, VARIANCE).q0)
        limit = float(max_learning_rate(net, inputs=data))
        one = sample(net, rng=int(seed), dtype="float32")
        best = np.array([np.inf])
        for multiple in multiples:
            run = train(one, data, y, multiple * limit, n_steps, batch_size=BATCH, rng=0)
            if run.outcome != "diverged":
                epoch = N_SAMPLES // BATCH
                losses = run.losses[:n_steps].reshape(-1, epoch).mean(axis=1) / constant
                if losses[-1] < best[-1]:
                    best, rate = losses, multiple * limit
        out[kind] = (best, rate if np.isfinite(best[-1]) else np.nan)
    return out


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Training of deep networks on digits, with and without isometry.

    Ours throughout, after the paper's experiments: 500 of scikit-learn's digits, classes as unit vectors, half the
    squared error per sample, batches of 50, 500 steps; hidden layers of 100 units; tanh at :math:`\chi_1 = 1` with
    :math:`\sigma^2_{JJ^T} = 1/16` at each depth (`mfdnn.isometric_init`), inputs of the stationary mean square;
    He's initialisation with inputs of mean square 1. Each network takes the best of five rates, 1/4 to 4 times the
    limit :math:`2/\lambda_{max}` of infinite width at these inputs. A: mean loss of each epoch over the loss of the
    best constant, 64 hidden layers. B: steps until that is below one half; what does not get there in 500 is at the
    upper edge. One network each.

    Parameters
    ----------
    fast : bool
        4 and 8 hidden layers, ten steps, one rate.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    depths, n_steps, multiples = (
        (DEPTHS_FAST, N_STEPS_FAST, MULTIPLES_FAST) if fast else (DEPTHS, N_STEPS, MULTIPLES)
    )
    seeds = np.random.default_rng(rng).spawn(len(depths))
    found = {d: runs(d, n_steps, multiples, s) for d, s in zip(bar(depths, progress, "depths"), seeds, strict=True)}
    figure, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.3), layout="constrained")
    curves, steps = axes
    epoch = N_SAMPLES // BATCH
    handles: list[Any] = []
    shown = SHOWN if SHOWN in depths else depths[-1]
    for kind, (_, _, tone, marker) in KINDS.items():
        colour = plots.COLOURS[tone]
        losses = found[shown][kind][0]
        curves.plot((np.arange(losses.size) + 0.5) * epoch, losses, color=colour)
        needed = []
        for depth in depths:
            below = np.flatnonzero(found[depth][kind][0] < GOAL)
            needed.append((below[0] + 1) * epoch if below.size else n_steps)
        steps.plot(depths, needed, "-", marker=marker, mfc="white", ms=4.5, color=colour)
        handles.append(marked(kind, colour, marker))
    curves.axhline(GOAL, color="0.3", ls=":", lw=1.2)
    curves.set(yscale="log", ylim=(0.05, 10), xlim=(0, n_steps), xlabel="steps")
    curves.set_ylabel("loss over that of the best constant")
    steps.set(xscale="log", ylim=(0, 1.05 * n_steps), xlabel="hidden layers", ylabel="steps to one half")
    ticks(steps.xaxis, depths)
    letter(curves, "A", f"{shown} hidden layers")
    letter(steps, "B", "time to learn")
    handles.append(entry("one half (A)", ls=":", lw=1.2))
    legend(figure, handles, 2)
    return figure

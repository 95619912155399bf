r"""Lee et al. 2019: wide networks are trained as linear models.

Outputs of networks that are drawn and trained are Gaussian at infinite width, with mean and covariance in closed form
(`mfdnn.kernel_training`); one network stays near its expansion in the parameters (`mfdnn.sampled.linearised`).

References
----------
Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein & Pennington 2019, "Wide neural networks of any depth evolve as
linear models under gradient descent", arXiv:1902.06720.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from .._support.blas import single_blas_thread
from ..architectures import mlp
from ..comparison import lazy_training
from ..datasets import digits
from ..jobs.run import stack
from ..kernels import KernelTraining, kernel_training
from ..network import Network
from ..plots._style import ticks_at, width_ticks
from ..sampled import linearised, sample
from ..training import train
from ._style import bar, entry, legend, letter, marked, paper_style, points, shade, standard_error

__all__ = ["across_widths", "compared", "ensemble_network", "outputs", "pair", "two_layers", "two_layers_run"]

# `outputs`: widths, networks, steps a piece, pieces
WIDTH, N_NETWORKS, PIECE, PIECES = 400, 30, 8, 12
WIDTH_FAST, N_NETWORKS_FAST, PIECES_FAST = 20, 3, 3
N_TRAIN, N_PLACES = 16, 41
# `across_widths`
NARROWEST, FACTORS, FACTORS_FAST = 32, (1, 2, 4, 8, 16), (0.25, 0.5, 1)
N_WIDE, N_STEPS, N_DRAWS = 32, 50, 6
# `two_layers`
TWO_LAYER_WIDTH, MOMENTUM, N_IMAGES = 1024, 0.9, 64
TIMES, TIMES_FAST = (1, 2, 4, 7, *range(10, 60, 4), *range(60, 201, 14)), (1, 5, 12)


def pair(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 64) of zeros and ones, and targets -1 and 1, (n, 1)."""
    X, y = digits(standardise=False)
    rows = np.flatnonzero(y < 2)[:n]
    return X[rows], 2.0 * y[rows, None] - 1


# -- ensembles against the Gaussian process --------------------------------------------------------------------


def ensemble_network(width: int) -> Network:
    """Three hidden layers and one output."""
    return mlp([64, width, width, width, 1], "tanh", 1.5, 0.1)


def between(X: np.ndarray) -> np.ndarray:
    """Inputs on the line through the first two, and beyond: (n, 64)."""
    share = np.linspace(-0.5, 1.5, N_PLACES)[:, None]
    return (1 - share) * X[0] + share * X[1]


def compared(seed: Any, width: int, rate: float, n_pieces: int) -> dict[str, np.ndarray]:
    """Losses and outputs of one network in training: (times,) and (times, n)."""
    X, y = pair(N_TRAIN)
    places = between(X)
    one: Any = sample(ensemble_network(width), rng=np.random.default_rng(seed), dtype="float32")
    found = [(one(X), one(places))]
    for _ in range(n_pieces):  # plain descent has no memory
        one = train(one, X, y, rate, PIECE).trained
        found.append((one(X), one(places)))
    losses = np.array([np.mean((there - y) ** 2) / 2 for there, _ in found], np.float64)
    return {"loss": losses, "outputs": np.array([there[:, 0] for _, there in found], np.float64)}


@paper_style
def outputs(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Loss and outputs of an ensemble in training, and the Gaussian process.

    After the paper's figure of the dynamics of the outputs; its settings were not recovered and are ours: three hidden
    tanh layers of width 400, :math:`(\sigma_w^2, \sigma_b^2)` = (1.5, 0.1), one output, 30 networks, 16 of
    scikit-learn's digits, zeros and ones with targets -1 and 1, half the squared error per sample, 96 steps of descent
    at half the largest stable rate. Lines and shades are of infinite width, mean and standard deviation over draws in
    closed form; points are of the ensemble. A: loss, mean over draws. B: outputs at two inputs that were not trained,
    midway between a zero and a one, and beyond the one; error bars are standard deviations over networks. C: outputs
    on the line through a zero and a one (targets marked), before and after training, with every network (thin).

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: three networks of width 20, 24 steps.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width, n, n_pieces = (WIDTH_FAST, N_NETWORKS_FAST, PIECES_FAST) if fast else (WIDTH, N_NETWORKS, PIECES)
    X, y = pair(N_TRAIN)
    places, net = between(X), ensemble_network(width)
    rate = kernel_training(net, X, y).stable_rate / 2
    path = kernel_training(net, X, y, rate)
    times = PIECE * np.arange(n_pieces + 1)
    task = partial(compared, width=width, rate=rate, n_pieces=n_pieces)
    seeds = np.random.default_rng(rng).bit_generator.seed_seq.spawn(n)  # type: ignore[attr-defined]
    found = stack(task, seeds, progress=progress)
    figure, (loss, course, line) = pyplot.subplots(1, 3, figsize=(7.0, 3.2), layout="constrained")
    steps = np.arange(times[-1] + 1)
    loss.plot(steps, path.expected_loss(steps), color="black")
    losses = found["loss"].T
    points(loss, times, losses.mean(axis=1), standard_error(losses), "black", "o")
    mean, spread = _law(path, steps, places)
    for place, colour, marker in ((N_PLACES // 2, "blue", "s"), (N_PLACES - 1, "vermillion", "^")):
        _band(course, steps, mean[:, place], spread[:, place], colour)
        there = found["outputs"][:, :, place]
        points(course, times, there.mean(axis=0), there.std(axis=0, ddof=1), plots.COLOURS[colour], marker)
    along = np.linspace(-0.5, 1.5, N_PLACES)
    for time, colour in ((0, "sky"), (n_pieces, "green")):
        line.plot(along, found["outputs"][:, time].T, color=plots.COLOURS[colour], lw=0.4, alpha=0.7)
        _band(line, along, mean[times[time]], spread[times[time]], colour)
    line.plot([0, 1], y[:2, 0], "o", color="black", mfc="black", ms=4.5, zorder=4)
    loss.set(yscale="log", xlabel="step", ylabel="loss")
    course.set(xlabel="step", ylabel="output")
    line.set(xlabel="from a zero (0) to a one (1)", ylabel="output")
    letter(loss, "A", "loss")
    letter(course, "B", "two inputs")
    letter(line, "C", "a line of inputs")
    handles = [
        entry("infinite width (mean)"),
        shade("its standard deviation (B, C)"),
        marked("ensemble (A, B)", "black", "o", ls="none"),
        marked("midway (B)", plots.COLOURS["blue"], "s"),
        marked("beyond the one (B)", plots.COLOURS["vermillion"], "^"),
        entry("before training (C)", plots.COLOURS["sky"]),
        entry("after training (C)", plots.COLOURS["green"]),
        entry("targets (C)", "black", marker="o", ms=4.5, ls="none"),
    ]
    legend(figure, handles, 3)
    return figure


def _law(path: KernelTraining, times: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation at places, (times, n) each."""
    variance = np.einsum("tii->ti", path.covariance(times, places))
    return path.outputs(times, places)[:, :, 0], np.sqrt(variance)


def _band(ax: Any, x: np.ndarray, mean: np.ndarray, spread: np.ndarray, colour: str) -> None:
    ax.fill_between(x, mean - spread, mean + spread, color=plots.COLOURS[colour], alpha=0.25, lw=0)
    ax.plot(x, mean, color=plots.COLOURS[colour])


# -- width -----------------------------------------------------------------------------------------------------


@paper_style
def across_widths(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""What training changes, and how far it is from linear, against width.

    After the paper's figure of changes against width; its settings were not recovered and are ours: three hidden ReLU
    layers of width 32 to 512, :math:`(\sigma_w^2, \sigma_b^2)` = (2, 0.1), one output, 32 of scikit-learn's digits,
    zeros and ones with targets -1 and 1, 50 steps at half the largest stable rate, six networks of each width, means
    with standard errors (`mfdnn.comparison.lazy_training`). A: relative change of the tangent kernel; B: of the
    parameters; C: distance of the trained outputs from those of the linearised network and of the infinitely wide one
    that starts at the same outputs, over how far they moved. Lines: slopes -1 (dotted) and -1/2 (dashed) through the
    first points. (The paper bounds the distance from the linearised network by a multiple of :math:`M^{-1/2}`; it falls
    faster here. Parameters of all layers together change by 1/M of themselves, those of the last by more.)

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: widths 8 to 32, ten steps, two networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    X, y = pair(N_WIDE)
    net = mlp([64, NARROWEST, NARROWEST, NARROWEST, 1], "relu", 2.0, 0.1)
    n_steps, factors, n = (10, FACTORS_FAST, 2) if fast else (N_STEPS, FACTORS, N_DRAWS)
    found = lazy_training(net, X, y, n_steps, factors=factors, n_networks=n, rng=rng, progress=progress)
    figure, axes = pyplot.subplots(1, 3, figsize=(7.0, 3.2), layout="constrained")
    panels = {
        "A": ("kernel", {"kernel_drift": ("black", "o", -1.0)}),
        "B": ("parameters", {"parameter_movement": ("black", "o", -1.0)}),
        "C": (
            "distance of outputs",
            {"linear_gap": ("blue", "s", -0.5), "kernel_gap": ("vermillion", "^", -0.5)},
        ),
    }
    for ax, (panel, (text, shown)) in zip(axes, panels.items(), strict=True):
        for name, (colour, marker, slope) in shown.items():
            values = found.mean[name]
            points(ax, found.width, values, found.standard_error[name], plots.COLOURS[colour], marker)
            guide = values[0] * (found.width / found.width[0]) ** slope
            ax.plot(found.width, guide, color=plots.COLOURS[colour], ls=":" if slope == -1 else "--", lw=1.2)
        ax.set(xscale="log", yscale="log", xlabel="width $M$")
        width_ticks(ax, found.width)
        low, high = ax.get_ylim()
        ticks_at(ax.yaxis, [n * 10.0**k for k in range(-5, 2) for n in (1, 2, 5) if low <= n * 10.0**k <= high])
        letter(ax, panel, text)
    axes[0].set_ylabel("relative change")
    handles = [
        marked("change (A, B)", "black", "o", ls="none"),
        marked("from the linearised network (C)", plots.COLOURS["blue"], "s", ls="none"),
        marked("from infinite width (C)", plots.COLOURS["vermillion"], "^", ls="none"),
        entry("slope $-1$", ls=":", lw=1.2),
        entry("slope $-1/2$", ls="--", lw=1.2),
    ]
    legend(figure, handles, 3)
    return figure


# -- two layers ------------------------------------------------------------------------------------------------


def two_layers_run(fast: bool, rng: Any, progress: bool) -> dict[str, Any]:
    """A network, its expansion and the infinitely wide one, trained alike.

    Losses (steps + 1,), and outputs at a test image at the times that are asked for, (times, 10).
    """
    width, times = (50, TIMES_FAST) if fast else (TWO_LAYER_WIDTH, TIMES)
    X, labels = digits(N_IMAGES + 1, rng=0)
    x, X, y = X[N_IMAGES:], X[:N_IMAGES], labels[:N_IMAGES]
    net = mlp([64, width, 10], "relu", 2.0, 0.1)
    one = sample(net, rng=rng)
    start = one(np.vstack([X, x]))
    option: dict[str, Any] = {"momentum": MOMENTUM}
    rate = kernel_training(net, X, y).stable_rate / 40
    path = kernel_training(net, X, y, rate, initial=start[:-1], **option)
    steps = np.arange(times[-1] + 1)
    found: dict[str, Any] = {"times": np.array(times), "label": int(labels[-1])}
    found["infinite"] = path.loss(steps), path.outputs(times, x, initial=start[-1:])[:, 0]
    with single_blas_thread():
        for name, function in (("network", one), ("linearised", linearised(one))):
            runs = [train(function, X, y, rate, time, **option) for time in bar(times, progress, name)]
            ends: list[Any] = [run.trained for run in runs]
            found[name] = runs[-1].losses, np.array([end(x)[0] for end in ends])
    return found


@paper_style
def two_layers(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""A two-layer ReLU network trained with momentum, and its linearisation.

    After the paper's comparison of real and linearised networks; its settings were not recovered and are ours: width
    1024, :math:`(\sigma_w^2, \sigma_b^2)` = (2, 0.1), ten outputs, 64 of scikit-learn's digits with unit vectors as
    targets, half the squared error per sample, 200 steps of all samples with heavy-ball momentum 0.9 at 1/40 of the
    largest stable rate without momentum, so that outputs swing a few times. Solid: the network; points: its
    linearisation; dashed: the infinitely wide network that starts at the same outputs. A: loss. B: three of the outputs
    at an image that was not trained: that of its class, and the next two. C: distance of the ten outputs there from
    those of the network.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: width 50, twelve steps.

    Returns
    -------
    matplotlib.figure.Figure
    """
    found = two_layers_run(fast, rng, progress)
    times, label = found["times"], found["label"]
    figure, (loss, course, gap) = pyplot.subplots(1, 3, figsize=(7.0, 3.2), layout="constrained")
    steps = np.arange(times[-1] + 1)
    loss.plot(steps, found["network"][0], color="black")
    loss.plot(times, found["linearised"][0][times], "o", color="black", mfc="white", ms=4)
    loss.plot(steps, found["infinite"][0], color="black", ls="--", lw=1.2)
    for i, colour in enumerate(("blue", "vermillion", "green")):
        style: dict[str, Any] = {"color": plots.COLOURS[colour]}
        output = (label + i) % 10
        course.plot(times, found["network"][1][:, output], **style)
        course.plot(times, found["linearised"][1][:, output], "o", mfc="white", ms=4, **style)
        course.plot(times, found["infinite"][1][:, output], ls="--", lw=1.2, **style)
    for name, colour, marker in (("linearised", "blue", "s"), ("infinite", "vermillion", "^")):
        apart = np.linalg.norm(found[name][1] - found["network"][1], axis=1)
        gap.plot(times, apart, marker, color=plots.COLOURS[colour], mfc="white", ms=4.5, ls="-", lw=0.8)
    loss.set(yscale="log", xlabel="step", ylabel="loss")
    course.set(xlabel="step", ylabel="output")
    gap.set(xscale="log", yscale="log", xlabel="step", ylabel="distance")
    letter(loss, "A", "loss")
    letter(course, "B", "outputs at a test image")
    letter(gap, "C", "from the network")
    handles = [
        entry("network (A, B)"),
        marked("linearised (A, B)", "0.3", "o", ls="none"),
        entry("infinite width (A, B)", ls="--", lw=1.2),
        entry("its class (B)", plots.COLOURS["blue"]),
        entry("the next (B)", plots.COLOURS["vermillion"]),
        entry("the one after (B)", plots.COLOURS["green"]),
        marked("linearised (C)", plots.COLOURS["blue"], "s", lw=0.8),
        marked("infinite width (C)", plots.COLOURS["vermillion"], "^", lw=0.8),
    ]
    legend(figure, handles, 3)
    return figure

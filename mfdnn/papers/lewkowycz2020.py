r"""Lewkowycz et al. 2020: gradient descent above 2/lambda_max, the catapult.

References
----------
Lewkowycz, Bahri, Dyer, Sohl-Dickstein & Gur-Ari 2020, "The large learning rate phase of deep learning: the
catapult mechanism", arXiv:2003.02218.
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
from ..datasets import gaussian_inputs
from ..jobs.run import stack
from ..plots._style import sequence
from ..sampled import sample
from ..training import LargestEigenvalue, catapult_trajectory, train
from ._style import entry, legend, letter, paper_style, shade, ticks

__all__ = ["NETWORKS", "WARM_UP", "figure", "measure"]

WARM_UP = (1.0, 2.2, 3.0, 3.8, 4.2)  # eta lambda_0
WARM_UP_WIDTH, WARM_UP_STEPS = 1000, 40
ZONES = {"lazy": (0.4, 2.0, 0.06), "catapult": (2.0, 4.0, 0.15), "divergent": (4.0, 30.0, 0.28)}  # and their shades
DIVERGED = 1.6  # above this height of panel D stand, in rows, networks that have none
TRAJECTORIES = (1.0, 2.5, 4.0, 8.0)
NETWORKS = {  # activation, weight layers: sigma_w^2, marker, colour
    ("linear", 2): (1.0, "^", "green"),
    ("linear", 3): (1.0, "v", "green"),
    ("relu", 2): (2.0, "s", "vermillion"),
    ("relu", 3): (2.0, "D", "vermillion"),
}
TIMES = (0.5, 1.0, 1.5, 1.9, 2.1, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0)
WIDTH, N_INPUTS, N_SAMPLES, N_STEPS, N_NETWORKS = 300, 20, 20, 200, 4


def measure(
    seed: Any, phi: str, n_layers: int, width: int, times: tuple, n_steps: int
) -> dict[str, np.ndarray]:
    """Losses (len(times), n_steps + 1), and lambda_max at the end over that before.

    Both are inf for runs that diverged.
    """
    rng = np.random.default_rng(seed)
    net = mlp([N_INPUTS, *[width] * (n_layers - 1), 1], phi, NETWORKS[phi, n_layers][0], 0.0)
    one, X = sample(net, rng=rng, dtype="float32"), gaussian_inputs(N_SAMPLES, N_INPUTS, rng=rng)
    Y = rng.standard_normal((N_SAMPLES, 1))
    start = LargestEigenvalue()(one.linearise(X))
    losses, flatter = np.full((len(times), n_steps + 1), np.inf), np.full(len(times), np.inf)
    for i, times_limit in enumerate(times):
        run = train(one, X, Y, times_limit / start, n_steps, record_every=n_steps)
        if run.outcome != "diverged":
            losses[i], flatter[i] = run.losses, run.lambda_max[-1] / start
    return {"losses": losses, "flatter": flatter}


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""The catapult: solved model, trained networks, zones of linear and ReLU ones.

    After the paper's figures of the model and of early training; widths and learning rates were not recovered, so the
    settings are ours. A, B: the model of two numbers, n = 1000, f_0 = 1, :math:`\lambda_0 = 1`: loss, and curvature
    over its start; dashed: :math:`2/(\eta \lambda_0)` of the rates between 2 and 4. C: losses of one ReLU network of
    three weight layers, width 300, 20 Gaussian inputs of 20 features, random normal targets, half the squared error
    per sample, no bias variance. D: largest eigenvalue of the Fisher information after 200 steps over that before, of
    four networks of two or three weight layers each, their median; above the line at the top: at least two of the
    four diverged. Shaded: zones of the solved model, lazy below 2, catapult up to 4, divergent above; dashed:
    :math:`2/(\eta \lambda_0)`, the curvature below which descent is stable.

    Linear networks diverge near 4, as the model does, deeper ones a little later. Of ReLU networks the paper reports
    about 12; here those of two layers diverge near 6, those of three not up to 20.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: width 20, ten steps, five learning rates, two networks each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width, n_steps, n_networks = (20, 10, 2) if fast else (WIDTH, N_STEPS, N_NETWORKS)
    times = TIMES[::4] if fast else TIMES
    children = np.random.default_rng(rng).bit_generator.seed_seq.spawn(len(NETWORKS) * n_networks + 1)  # type: ignore[attr-defined]
    drawing, axes = pyplot.subplots(2, 2, figsize=(7.0, 5.6), layout="constrained")
    model, curvature, paths, zones = axes.flat
    for i, step in enumerate(WARM_UP):
        path = catapult_trajectory(1.0, 1.0, step, WARM_UP_STEPS, width=WARM_UP_WIDTH)
        colour = sequence(i, len(WARM_UP), None)
        shown = path.losses < 1e8  # what diverges leaves the picture
        model.plot(np.flatnonzero(shown), path.losses[shown], color=colour, label=f"{step:g}")
        curvature.plot(np.flatnonzero(shown), path.curvature[shown], color=colour)
        if 2 < step < 4:
            curvature.axhline(2 / step, color=colour, ls="--", lw=1)
    model.set(yscale="log", ylim=(1e-8, 1e6), ylabel="loss")
    curvature.set(ylim=(0, 1.6), ylabel=r"$\lambda / \lambda_0$")
    letter(model, "A", "solved model: loss")
    letter(curvature, "B", "solved model: curvature")
    with single_blas_thread():  # as in an ensemble
        trajectories = measure(children[-1], "relu", 3, width, TRAJECTORIES, n_steps)["losses"]
    for i, (step, losses) in enumerate(zip(TRAJECTORIES, trajectories, strict=True)):
        if np.all(np.isfinite(losses)):
            colour = sequence(i, len(TRAJECTORIES), None)
            paths.plot(losses / losses[0], color=colour, label=f"{step:g}")
    paths.set(xscale="symlog", yscale="log", ylabel="loss / initial loss")
    letter(paths, "C", f"relu, $L = 3$, $M = {width}$: loss")
    for ax in (model, curvature, paths):
        ax.set_xlabel("step")
    for ax in (model, paths):
        ax.text(0.98, 0.97, r"$\eta \lambda_0$", transform=ax.transAxes, ha="right", va="top")
        _direct_labels(ax)
    for name, (left, right, depth) in ZONES.items():
        zones.axvspan(left, right, color=plots.COLOURS["black"], alpha=depth, lw=0)
        middle = np.sqrt(left * min(right, 25))  # where the axis ends
        zones.text(middle, 0.012, name, ha="center", va="bottom", fontsize="small")
    handles: list[Any] = []
    for i, ((phi, n_layers), (_, marker, name)) in enumerate(NETWORKS.items()):
        seeds = children[i * n_networks : (i + 1) * n_networks]
        task = partial(measure, phi=phi, n_layers=n_layers, width=width, times=times, n_steps=n_steps)
        flatter = stack(task, seeds, progress=progress)["flatter"]
        diverged = np.isinf(flatter).mean(axis=0) >= 0.5
        style: dict[str, Any] = {"color": plots.COLOURS[name], "ls": "-", "lw": 0.8, "ms": 4}
        style |= {"marker": marker, "mfc": "white" if n_layers == 2 else None}
        # The middle of the networks: one of them may lose what another keeps.
        typical = np.median(flatter, axis=0)
        zones.plot(np.array(times)[~diverged], typical[~diverged], **style)
        height = np.full(diverged.sum(), 1.3 * DIVERGED * 1.35**i)
        zones.plot(np.array(times)[diverged], height, **{**style, "ls": "none"})
        handles.append(entry(f"{phi}, $L = {n_layers}$ (D)", **style))
    steps = np.geomspace(2, 25, 50)
    zones.plot(steps, 2 / steps, color="black", lw=1.2, ls="--")
    zones.axhline(DIVERGED, color="black", lw=0.7)
    zones.text(0.45, 2 * DIVERGED, "diverged", va="center", fontsize="small")
    handles.append(entry(r"$2/(\eta \lambda_0)$ (B, D)", lw=1.2, ls="--"))
    handles.append(shade("zones of the solved model (D)", "black", ZONES["catapult"][2]))
    zones.set(xscale="log", yscale="log", xlim=(0.4, 25), ylim=(0.01, 9), xlabel=r"$\eta \lambda_0$")
    ticks(zones.xaxis, (0.5, 1, 2, 4, 6, 12, 20))
    zones.set_ylabel(r"$\lambda_{\max}$ after training / before")
    letter(zones, "D", "how flat training ends")
    legend(drawing, handles, 3)
    return drawing


def _direct_labels(ax: Any) -> None:
    """The label of each line inside the upper right corner, in its colour."""
    place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top"}
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    for i, line in enumerate(lines):
        ax.text(0.98, 0.97 - 0.08 * (i + 1), line.get_label(), color=line.get_color(), **place)

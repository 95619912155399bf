r"""Karakida, Akaho & Amari 2021: largest Fisher eigenvalues during training.

References
----------
Karakida, Akaho & Amari 2021, "Pathological spectra of the Fisher information metric and its variants in deep
neural networks", Neural Computation 33(8), arXiv:1910.05992.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from .._support.blas import single_blas_thread
from ..architectures import mlp
from ..datasets import gaussian_inputs
from ..fisher import fisher_statistics, softmax_statistics
from ..sampled import SampledNetwork, sample
from ..sampled.dual import dual
from ..training import LargestEigenvalue, loss_and_slope, train
from ._style import bar, entry, legend, letter, paper_style, shade, ticks

__all__ = ["curvature_along", "figure", "linearised", "recorded_steps"]

PHI, SIGMA_W2, SIGMA_B2, N_OUTPUTS = "tanh", 3.0, 0.64, 2
WIDTH, WIDTH_FAST, N_SAMPLES, N_SAMPLES_FAST = 1000, 30, 100, 20
N_STEPS, N_STEPS_FAST, SHARE = 1000, 10, 0.5  # of the rate that is safe for any softmax
SMALL_OUTPUTS = ([50, 200, 200, 10], 64, 60, 0.1)  # widths, samples, steps, share of 2/lambda_max(F_cross)
INITIALISATIONS = {"he": ("He", "green"), "pytorch": ("PyTorch's default", "purple")}


def recorded_steps(n_steps: int) -> list[int]:
    """About eight a decade."""
    return sorted(
        {0, *np.unique(np.geomspace(1, n_steps, int(8 * np.log10(n_steps)) + 1).astype(int)).tolist()}
    )


def linearised(one: SampledNetwork, X: np.ndarray, y: np.ndarray, rate: float, n_steps: int) -> np.ndarray:
    """Losses (n_steps + 1,) of `one` linearised at the start."""
    linear = one.linearise(X)
    f, Y = linear.outputs.astype(float), np.eye(linear.outputs.shape[1])[y]
    lower = dual(linear, None).matrix()
    kernel = np.tril(lower) + np.tril(lower, -1).T  # J J^T / T, ordered output by output
    losses = []
    for _ in range(n_steps + 1):
        loss, slope = loss_and_slope("cross_entropy", f, Y)
        losses.append(loss)
        f = f - rate * len(X) * (kernel @ slope.T.ravel()).reshape(f.shape[::-1]).T
    return np.array(losses)


def curvature_along(
    one: SampledNetwork, X: np.ndarray, y: np.ndarray, rate: float, steps: list[int], progress: bool
) -> tuple[list[float], list[float], list[float], list[np.ndarray]]:
    """Losses, largest eigenvalues of F and F_cross, and outputs (T, C), by step.

    Before each of these steps of descent.
    """
    find, find_softmax = LargestEigenvalue(), LargestEigenvalue("softmax")
    losses, top, top_softmax, logits = [], [], [], []
    for start, stop in bar(list(zip(steps, [*steps[1:], steps[-1] + 1], strict=True)), progress, "pieces"):
        linear = one.linearise(X)
        top.append(find(linear))
        top_softmax.append(find_softmax(linear))
        logits.append(linear.outputs)
        run = train(one, X, y, rate, stop - start, loss="cross_entropy")  # without memory: pieces are the run
        losses.append(run.initial_loss)
        assert run.trained is not None  # a safe rate
        one = run.trained
    return losses, top, top_softmax, logits


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Loss and largest eigenvalues of F and F_cross while a classifier is trained.

    By cross-entropy. A, B: after the paper's figure; its settings are three weight layers, C = 2 outputs, gradient
    descent, Gaussian inputs labelled by a teacher network. Ours: tanh with
    :math:`(\sigma_w^2, \sigma_b^2)` = (3, 0.64), width 1000 (the paper: 2000), T = 100, half the learning rate
    :math:`4/\lambda_{max}(F)` that is safe for any softmax, 1000 steps.
    A: loss, and that of the network linearised at its start (line). B: largest eigenvalues (points); lines: the
    mean-field kernel with the outputs of the moment, between the paper's bounds (shaded). F hardly moves; F_cross
    falls with the softmax, which grows certain.

    C, ours: relu, random labels, T = 64, 50-200-200-10, a tenth of :math:`2/\lambda_{max}(F_{cross})` at the start.
    From the small outputs of PyTorch's default initialisation F_cross grows several times, and the rate that was its
    limit is no longer. Dotted: :math:`\lambda_{max}(F)/2` at the start, which no softmax exceeds while F stays; F
    grows too.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: width 30, T = 20, ten steps.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawing, axes = pyplot.subplots(1, 3, figsize=(7.2, 3.1), layout="constrained")
    child, *others = np.random.default_rng(rng).spawn(1 + len(INITIALISATIONS))
    handles = _training(axes[0], axes[1], fast, child, progress) + _small_outputs(axes[2], fast, others)
    for ax, panel, title in zip(axes, "ABC", ("loss", "curvature", "random labels"), strict=True):
        ax.set_xlabel("step")
        letter(ax, panel, title)
    legend(drawing, handles, 3)
    return drawing


def _training(ax_loss: Axes, ax_top: Axes, fast: bool, rng: np.random.Generator, progress: bool) -> list:
    """Panels A and B; returns the entries of the legend."""
    width, n_samples, n_steps = (
        (WIDTH_FAST, N_SAMPLES_FAST, N_STEPS_FAST) if fast else (WIDTH, N_SAMPLES, N_STEPS)
    )
    net = mlp([width] * 3 + [N_OUTPUTS], PHI, SIGMA_W2, SIGMA_B2)
    one, teacher = sample(net, rng=rng, dtype="float32"), sample(net, rng=rng, dtype="float32")
    X = gaussian_inputs(n_samples, width, rng=rng)
    y = teacher(X).argmax(axis=1)
    fim = fisher_statistics(net, n_samples=n_samples)
    rate = SHARE * 4 / fim.largest
    steps = recorded_steps(n_steps)
    with single_blas_thread():
        losses, top, top_softmax, logits = curvature_along(one, X, y, rate, steps, progress)
        line = linearised(one, X, y, rate, n_steps)
    theory = [softmax_statistics(fim, logits=f.astype(float)) for f in logits]
    shown = np.maximum(steps, 0.5)  # step 0 on a logarithmic axis
    points: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 3.5, "mfc": "white", "mew": 1.0}
    blue, red = plots.COLOURS["blue"], plots.COLOURS["vermillion"]
    ax_loss.plot(np.maximum(np.arange(n_steps + 1), 0.5), line, color="black", lw=1.2)
    ax_loss.plot(shown, losses, color="black", **points)
    ax_loss.set(xscale="log", yscale="log", ylabel="cross-entropy")
    ax_top.axhline(fim.largest, color=blue, lw=1.2)
    ax_top.plot(shown, top, color=blue, **points)
    bounds = [t.lower for t in theory], [t.upper for t in theory]
    ax_top.fill_between(shown, *bounds, color=red, alpha=0.15, lw=0)
    ax_top.plot(shown, [t.largest for t in theory], color=red, lw=1.2)
    ax_top.plot(shown, top_softmax, color=red, **points)
    ax_top.set(xscale="log", yscale="log", ylabel=r"$\lambda_{\max}$")
    for ax in (ax_loss, ax_top):
        marks = [mark for mark in (1, 10, 100, 1000) if mark <= n_steps]
        ax.set_xticks([0.5, *marks], labels=["0", *map(str, marks)])
        ax.set_xticks([], minor=True)
    both = {**points, "ls": "-", "lw": 1.2}
    return [
        entry("network (A)", "black", **points),
        entry("linearised at the start (A)", "black", lw=1.2),
        entry("$F$: network, theory (B)", blue, **both),
        entry(r"$F_{\mathrm{cross}}$: network, theory (B)", red, **both),
        shade(r"bounds of $F_{\mathrm{cross}}$ (B)", red, 0.15),
    ]


def _small_outputs(ax: Axes, fast: bool, others: list[np.random.Generator]) -> list:
    """Panel C; returns the entries of the legend."""
    handles = []
    widths, n_samples, n_steps, share = SMALL_OUTPUTS
    options: dict[str, Any] = {"loss": "cross_entropy"}
    for (init, (label, name)), other in zip(INITIALISATIONS.items(), others, strict=True):
        small = sample(mlp(widths, "relu", init=init), rng=other)
        inputs, labels = gaussian_inputs(n_samples, widths[0], rng=other), other.integers(widths[-1], size=n_samples)
        first = train(small, inputs, labels, 1e-9, 1, record_every=1, **options)
        assert first.lambda_max_softmax is not None
        start = first.lambda_max_softmax[0]
        steps, every = (5, 1) if fast else (n_steps, 2)
        run = train(small, inputs, labels, share * 2 / start, steps, record_every=every, **options)
        assert run.lambda_max_softmax is not None
        colour = plots.COLOURS[name]
        ax.plot(run.steps, run.lambda_max_softmax / start, color=colour, lw=1.6)
        ax.axhline(first.lambda_max[0] / 2 / start, color=colour, lw=1, ls=":")
        handles.append(entry(rf"$F_{{\mathrm{{cross}}}}$: {label} (C)", colour, lw=1.6))
    handles.append(entry(r"$\lambda_{\max}(F)/2$ at the start (C)", lw=1, ls=":"))
    ax.set(yscale="log", ylabel=r"$\lambda_{\max}(F_{\mathrm{cross}})$ / at the start")
    ticks(ax.yaxis, (0.5, 1, 2, 5, 10))
    return handles

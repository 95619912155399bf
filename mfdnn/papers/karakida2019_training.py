r"""Karakida, Akaho & Amari 2019: training loss over width and learning rate.

References
----------
Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean field
approach", AISTATS 2019, arXiv:1806.01316.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..architectures import mlp
from ..comparison import LearningRateMap, learning_rate_map
from ..datasets import digits, openml
from ..learning_rate import max_learning_rate
from ..network import Network
from ..plots.training import draw_limit
from ._style import legend, letter, paper_style
from .karakida2019 import NETWORKS

__all__ = ["RATES", "WIDTHS", "batch_limits", "figure2", "full_batch", "one_epoch"]

WIDTHS, WIDTHS_FAST = (50, 100, 200, 400), (20, 40)
RATES = {"tanh": (3e-3, 1.0), "relu": (1e-3, 1.0), "linear": (3e-3, 1.0)}
RATES_EPOCH = (1e-4, 0.6)
N_RATES, N_TRIALS, N_STEPS, N_SAMPLES = 15, 5, 100, 100
N_IMAGES, BATCH = 1000, 50
LOSSES = 1e-2, 10.0  # range of the colours
BATCH_LABEL = r"$2/\lambda_{\max}$ of the sharpest batch (B, D, F)"


def teacher_student(width: int, phi: str) -> Network:
    """Three weight layers of this width, one output."""
    return mlp([width] * 3 + [1], phi, *NETWORKS[phi])


def classifier(width: int, phi: str, n_inputs: int = 64) -> Network:
    """Three weight layers, four of relu, for images of ten classes."""
    return mlp([n_inputs, *[width] * (3 if phi == "relu" else 2), 10], phi, *NETWORKS[phi])


def full_batch(phi: str, fast: bool, rng: Any, progress: bool) -> LearningRateMap:
    """Full-batch descent on the outputs of a teacher."""
    rates = np.geomspace(*RATES[phi], 4 if fast else N_RATES)
    trials, steps = (2, 5) if fast else (N_TRIALS, N_STEPS)
    return learning_rate_map(
        partial(teacher_student, phi=phi),
        WIDTHS_FAST if fast else WIDTHS,
        rates,
        steps,
        n_samples=20 if fast else N_SAMPLES,
        n_trials=trials,
        rng=rng,
        progress=progress,
    )


def one_epoch(phi: str, fast: bool, rng: Any, progress: bool, images: str = "digits") -> LearningRateMap:
    """One epoch of mini-batches on images, squared errors."""
    X, y, batch = batches(fast, images)
    return learning_rate_map(
        partial(classifier, phi=phi, n_inputs=X.shape[1]),
        WIDTHS_FAST if fast else WIDTHS,
        np.geomspace(*RATES_EPOCH, 4 if fast else N_RATES),
        len(X) // batch,
        data=(X, y),
        batch_size=batch,
        n_trials=2 if fast else N_TRIALS,
        rng=rng,
        progress=progress,
    )


def batches(fast: bool, images: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, their classes, and how many make a batch."""
    n_images = 40 if fast else N_IMAGES
    options: dict[str, Any] = {"rng": 0, "standardise": True}
    X, y = digits(n_images, **options) if images == "digits" else openml(images, n_images, **options)
    return X, y, 20 if fast else BATCH


def batch_limits(phi: str, widths: np.ndarray, X: np.ndarray, batch: int) -> np.ndarray:
    """2/lambda_max of the sharpest of the batches at infinite width, one a width."""
    nets = [classifier(int(width), phi, X.shape[1]) for width in widths]
    parts = [X[start : start + batch] for start in range(0, len(X), batch)]
    return np.array([min(max_learning_rate(net, inputs=part).value for part in parts) for net in nets])


@paper_style
def figure2(fast: bool = False, rng: Any = 0, progress: bool = False, *, images: str = "digits") -> Figure:
    r"""Training loss over width and learning rate, for full batches and mini-batches.

    After the paper's maps: full-batch descent on data made by a teacher (left) and stochastic descent on images
    (right), averages of five trials, for tanh, ReLU and linear networks with :math:`(\sigma_w^2, \sigma_b^2)` =
    (3, 0.64), (2, 0.1) and (1, 0.1); the paper's ReLU panel of images has four weight layers and one epoch, and so has
    ours. The other settings were not recovered and are ours. Left: three weight layers of width M = 50 ... 400, one
    output, T = 100 Gaussian inputs, a teacher of the same shape, 100 steps. Right: 1000 of scikit-learn's digits,
    standardised (the paper: MNIST), ten outputs, unit vectors as targets, one epoch of batches of 50. Loss: half the
    squared error per sample.

    Solid: :math:`2/\lambda_{max}` of the infinitely wide network at these inputs; dotted: the 5-95 % band over the
    networks drawn, where its law holds, which with ten outputs lies below the solid line, for of ten eigenvalues the
    largest counts (in D its upper end nearly lies on that line); dashed: where full-batch descent should diverge for
    good. Grey: at least one trial diverged (loss above :math:`10^6` times its initial value). Between solid and dashed
    line the loss first grows and then falls again, so the final loss does not show the solid line.

    Mini-batches fail earlier, linear networks below the solid line: two of the standardised digits have a mean square
    above 35, and to linear networks a batch with one of them is six times as sharp as all images together. Dash-dotted:
    what the solid line is, for the sharpest of the twenty batches. Narrow linear networks diverge between the two.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: two widths, four rates, two trials, few steps.
    images : str
        "digits", or a set of ten classes that `mfdnn.datasets.openml` can fetch: ``figure2(images="mnist")``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    children = iter(np.random.default_rng(rng).spawn(2 * len(NETWORKS)))
    figure, axes = pyplot.subplots(len(NETWORKS), 2, figsize=(7.0, 8.2), layout="constrained")
    maps: tuple[Callable[..., LearningRateMap], ...] = full_batch, partial(one_epoch, images=images)
    for row, phi in zip(axes, NETWORKS, strict=True):
        for ax, train, what in zip(row, maps, ("teacher", images), strict=True):
            found = train(phi, fast, next(children), progress)
            plots.learning_rate_map(found, ax=ax, colorbar=False, vmin=LOSSES[0], vmax=LOSSES[1])
            if what != "teacher":
                X, _, size = batches(fast, images)
                style: dict[str, Any] = {"color": plots.COLOURS["vermillion"], "ls": "-.", "lw": 1.4}
                limits = batch_limits(phi, found.width, X, size)
                draw_limit(ax, found.width.astype(float), limits, gid="batch_limit", label=BATCH_LABEL, **style)
            layers = ", $L = 4$" if what != "teacher" and phi == "relu" else ""
            batch = "full batch, teacher" if what == "teacher" else f"one epoch, {images}"
            letter(ax, "ABCDEF"[axes.ravel().tolist().index(ax)], f"{phi}{layers}: {batch}")
    share(figure, axes, "training loss at the end")
    return figure


def share(figure: Figure, axes: Any, label: str, with_legend: bool = True) -> None:
    """Give maps of the same colours one colour bar, and one legend."""
    handles: dict[str, Any] = {}
    for ax in axes.flat:
        handles |= {handle.get_label(): handle for handle in ax.get_legend_handles_labels()[0]}
        ax.get_legend().remove()
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    mesh = axes.flat[0].collections[0]
    extend = "both" if mesh.norm.vmin else "neither"  # shares go from 0 to 1, losses beyond
    size: dict[str, Any] = {"shrink": max(0.6, 1 / len(axes)), "aspect": 13 * (1 + len(axes))}
    figure.colorbar(mesh, ax=axes, label=label, extend=extend, **size)
    if with_legend:
        legend(figure, list(handles.values()), -(-len(handles) // 2))

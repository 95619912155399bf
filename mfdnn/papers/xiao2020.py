r"""Xiao et al. 2020: kernels against depth, what trains and what generalises.

Of L equal layers, in NTK parameterisation,

.. math::
    K^{l+1} = \sigma_w^2 E[\phi\phi] + \sigma_b^2, \qquad \Theta^{l+1} = K^{l+1} + \sigma_w^2 E[\phi'\phi']\,\Theta^l.

References
----------
Xiao, Pennington & Schoenholz 2020, "Disentangling trainability and generalization in deep neural networks",
arXiv:1912.13053.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from .. import phase, plots
from ..architectures import mlp
from ..datasets import digits
from ..kernels import KernelTraining, kernel_depth, kernel_training
from ..network import Network
from ._style import bar, entry, legend, letter, marked, paper_style

__all__ = ["classes", "conditioning", "learned", "losses", "trainability"]

PHI, BIAS = "erf", 0.05
ORDERED, CHAOTIC = 1.25, 1.5  # sigma_w^2 of `conditioning`
N_TRAIN, N_TEST = 64, 32
LAYERS, LAYERS_FAST = 400, 40
DEPTHS, DEPTHS_FAST = (2, 4, 8, 16, 32, 64, 120, 200, 300, 400), (2, 8, 40)  # of kernels of images
MAP_BIAS = 0.18
MAP_SIZE = 128  # images trained, and as many tested
MAP_TIMES = (64, 4096)  # in units of 1/lambda_max
MAP_VARIANCES, MAP_VARIANCES_FAST = tuple(np.linspace(0.5, 3, 26).tolist()), (1.0, 1.8, 3.0)
MAP_DEPTHS, MAP_DEPTHS_FAST = (2, 3, 5, *range(8, 57, 4)), (2, 5, 20)
LOWEST = 1e-3  # loss that has a colour of its own
SCALES = 8  # depth scales within which networks learn, as the paper draws it


def classes(n_train: int, n_test: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Digits of mean square 1 each, to train and to test, and their classes."""
    X, y = digits(n_train + n_test, rng=0)
    X = X / np.sqrt(np.mean(X**2, axis=1, keepdims=True))
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def network(depth: int, sigma_w2: float, sigma_b2: float, n_inputs: int) -> Network:
    """L weight layers and ten outputs; widths do not enter its kernels."""
    return mlp([n_inputs, *[1000] * (depth - 1), 10], PHI, sigma_w2, sigma_b2)


def learned(depth: int, sigma_w2: float, sigma_b2: float, X: np.ndarray, y: np.ndarray) -> KernelTraining:
    """Training of the kernel on classes as unit vectors, less their mean."""
    net, targets = network(depth, sigma_w2, sigma_b2, X.shape[1]), np.eye(10)[y]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the deep ordered ones, which learn little
        return kernel_training(net, X, targets - targets.mean(axis=0), parameterisation="ntk")


# -- condition numbers ---------------------------------------------------------------------------------------


@paper_style
def conditioning(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Condition number and mean prediction of tangent kernels against depth, by phase.

    Of the paper: erf, :math:`\sigma_b^2 = 0.05`, :math:`\sigma_w^2` = 1.25 (ordered) and 1.5 (chaotic), up to 400
    layers, 64 training and 32 test images of :math:`|x|^2 = d`. Ours: scikit-learn's digits in place of CIFAR-10; the
    critical network, at :math:`\sigma_w^2` = 1.3758; a critical ReLU network, (2, 0). A: condition number of the
    kernel of the images (points), and of 64 inputs of correlation 0.4 (solid); dashed: what it grows like at large
    depth, :math:`1/(l\chi_1^l)`, through the last value; dotted: its limits at criticality, (T + 2)/2 and (T + 3)/3.
    B: off-diagonal over diagonal of the kernel at criticality, with its limits 1/3 and 1/4. C: root mean square of the
    trained outputs at test images, for classes as unit vectors less their mean; dashed: the paper's decay
    :math:`l\,(\chi_c/\chi_1)^l`, through the last value. D: depth scales against the weight variance, :math:`\xi_1 =
    1/|\log\chi_1|` of the condition number and :math:`\xi_* = 1/\log(\chi_1/\chi_c)` of what the prediction knows of
    the inputs; marks: the two networks of the paper.

    Parameters
    ----------
    fast : bool
        40 layers, three of the kernels of images, fewer variances.
    rng, progress
        As for every figure (`PaperFigure`); nothing is random.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n_layers, depths = (LAYERS_FAST, DEPTHS_FAST) if fast else (LAYERS, DEPTHS)
    critical = float(phase.critical_sigma_w2(PHI, BIAS))
    networks = {
        "ordered": (PHI, ORDERED, BIAS, "blue", "o"),
        "critical": (PHI, critical, BIAS, "black", "s"),
        "chaotic": (PHI, CHAOTIC, BIAS, "vermillion", "^"),
        "critical, relu": ("relu", 2.0, 0.0, "green", ""),
    }
    figure, axes = pyplot.subplots(2, 2, figsize=(7.0, 5.8), layout="constrained")
    condition, ratio, predictions, scales = axes.flat
    X, y, others, _ = classes(N_TRAIN, N_TEST)
    handles: list[Any] = []
    for name, (phi, sigma_w2, sigma_b2, colour, marker) in networks.items():
        style: dict[str, Any] = {"color": plots.COLOURS[colour]}
        theory = kernel_depth(phi, sigma_w2, sigma_b2, n_layers, N_TRAIN, c0=0.4)
        condition.plot(theory.depth, theory.condition, **style)
        if theory.phase == "critical":
            condition.axhline(theory.condition_limit, ls=":", lw=1.2, **style)
            ratio.plot(theory.depth, theory.theta_st / theory.theta, **style)
            ratio.axhline(theory.ratio_limit, ls=":", lw=1.2, **style)
        if theory.phase == "ordered":
            growth = 1 / (theory.depth * theory.chi_1**theory.depth)
            _through_end(condition, growth, theory.depth, theory.condition, style)
        label = rf"{name}, $\sigma_w^2 = {sigma_w2:.5g}$"
        handles.append(marked(label, ls="-", marker=marker or "none", **style))
        if not marker:
            continue
        found = [learned(depth, sigma_w2, sigma_b2, X, y) for depth in bar(depths, progress, name)]
        point: dict[str, Any] = {"marker": marker, "mfc": "white", "ms": 4.5, **style}
        condition.plot(depths, [path.eigenvalues[0] / path.eigenvalues[-1] for path in found], ls="none", **point)
        sizes = np.array([np.sqrt(np.mean(path.ridgeless(others) ** 2)) for path in found])
        predictions.plot(depths, sizes, ls="-", lw=1, **point)
        if name == "chaotic":
            decay = theory.depth * (theory.chi_c / theory.chi_1) ** theory.depth
            _through_end(predictions, decay, np.array(depths), sizes, style)
    _depth_scales(scales, fast)
    condition.set(yscale="log", ylim=(0.5, 1e9), ylabel=r"$\kappa(\Theta)$")
    ratio.set(xscale="log", ylim=(0.2, 0.45), ylabel=r"$\Theta_{st}/\Theta_{ss}$")
    predictions.set(yscale="log", ylim=(1e-11, 5), ylabel="outputs at test images")
    for ax in (condition, ratio, predictions):
        ax.set_xlabel("depth $l$")
    letter(condition, "A", "condition number")
    letter(ratio, "B", "kernel ratio at criticality")
    letter(predictions, "C", "mean prediction")
    letter(scales, "D", "depth scales")
    handles.append(entry(r"growth $1/(l\chi_1^l)$, decay $l(\chi_c/\chi_1)^l$", ls="--"))
    handles.append(entry("limits at criticality (A, B)", ls=":", lw=1.2))
    handles.append(entry(r"$\xi_1$ (D)", plots.COLOURS["purple"]))
    handles.append(entry(r"$\xi_*$ (D)", plots.COLOURS["orange"]))
    legend(figure, handles, 3)
    return figure


def _through_end(ax: Axes, shape: np.ndarray, x: np.ndarray, values: np.ndarray, style: dict[str, Any]) -> None:
    """A shape of layers 1, ..., L, dashed, times what takes it through the last value.

    Over the later two thirds.
    """
    layers = np.arange(len(shape) // 3, len(shape))
    ax.plot(layers + 1, shape[layers] * values[-1] / shape[x[-1] - 1], ls="--", lw=1.2, **style)


def _depth_scales(ax: Axes, fast: bool) -> None:
    sigma_w2 = np.linspace(0.5, 3, 26 if fast else 251)
    fixed = phase.fixed_point(PHI, sigma_w2, BIAS)
    chaotic = fixed.phase == "chaotic"
    ax.plot(sigma_w2, 1 / np.abs(np.log(fixed.chi_1)), color=plots.COLOURS["purple"])
    apart = 1 / np.log(fixed.chi_1[chaotic] / fixed.chi_c[chaotic])
    ax.plot(sigma_w2[chaotic], apart, color=plots.COLOURS["orange"])
    for value, colour, marker in ((ORDERED, "blue", "o"), (CHAOTIC, "vermillion", "^")):
        scale = 1 / abs(np.log(float(phase.fixed_point(PHI, value, BIAS).chi_1)))
        ax.plot(value, scale, marker, color=plots.COLOURS[colour], mfc="white", ms=4.5)
    ax.set(yscale="log", ylim=(0.5, 300), xlabel=r"$\sigma_w^2$", ylabel="layers")


# -- the map -------------------------------------------------------------------------------------------------


@paper_style
def trainability(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Loss of trained kernels over weight variance and depth, with the depth scales.

    Of the paper: erf, :math:`\sigma_b^2 = 0.18`, :math:`\sigma_w^2` from 0.5 to 3, squared errors, lines of eight depth
    scales. Ours: 128 of scikit-learn's digits, as many to test (the paper: 256 images, and 10 000 to test), fewer
    variances, depths to 56, times 64 and 4096 (the paper: :math:`8^0` to :math:`8^4`) in units of
    :math:`1/\lambda_{max}`, which are steps at half the largest stable rate; unit vectors less their mean as targets,
    squared errors, gradient flow in closed form (`mfdnn.kernel_training`).

    Black: :math:`8\,\xi_1` in the ordered phase, beyond which kernels are too badly conditioned to be trained; in the
    chaotic one, where all is learned, :math:`8\,\xi_*`, beyond which nothing is known of other inputs; white: the edge
    of chaos, 1.7476. Colours end at 1 and at 0.001. (The line of the ordered phase belongs to no time: training longer
    goes deeper.)

    Parameters
    ----------
    fast : bool
        Three variances, three depths, 32 images.
    rng, progress
        As for every figure (`PaperFigure`); nothing is random.

    Returns
    -------
    matplotlib.figure.Figure
    """
    variances, depths = (MAP_VARIANCES_FAST, MAP_DEPTHS_FAST) if fast else (MAP_VARIANCES, MAP_DEPTHS)
    trained, tested = losses(variances, depths, 32 if fast else MAP_SIZE, progress)
    figure, axes = pyplot.subplots(2, 2, figsize=(7.0, 5.8), layout="constrained", sharey=True)
    for column, time in enumerate(MAP_TIMES):
        for row, (values, what) in enumerate(((trained, "training"), (tested, "test"))):
            ax = axes[row, column]
            colours: dict[str, Any] = {"norm": LogNorm(LOWEST, 1), "cmap": "viridis"}
            mesh = ax.pcolormesh(variances, depths, values[column].T, shading="nearest", rasterized=True, **colours)
            _scales(ax, what)
            ax.set(xlim=(min(variances), max(variances)), ylim=(min(depths), max(depths)))
            letter(ax, "ABCD"[2 * row + column], rf"{what} images, $t = {time}/\lambda_{{\max}}$")
            ax.set_xlabel(r"$\sigma_w^2$")
    for ax in axes[:, 0]:
        ax.set_ylabel("depth $L$")
    figure.colorbar(mesh, ax=axes, label="loss over that of outputs 0", extend="both", shrink=0.6, aspect=30)
    handles = [
        entry(rf"${SCALES}\,\xi_1$, ordered phase", "black", ls="-", lw=1.8),
        entry(rf"${SCALES}\,\xi_*$, chaotic phase (C, D)", "black", ls="--", lw=1.8),
        entry("edge of chaos (white)", ls=":", lw=1.6),
    ]
    legend(figure, handles, 3)
    return figure


def losses(
    variances: tuple[float, ...], depths: tuple[int, ...], size: int, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """At trained and at test images, over those of outputs 0.

    (times, variances, depths) each.
    """
    X, y, others, y_there = classes(size, size)
    mean = np.eye(10)[y].mean(axis=0)
    trained, tested = np.empty((2, len(MAP_TIMES), len(variances), len(depths)))
    for i, sigma_w2 in enumerate(bar(variances, progress, "variances")):
        for j, depth in enumerate(depths):
            path = learned(depth, sigma_w2, MAP_BIAS, X, y)
            times = np.array(MAP_TIMES) / path.eigenvalues[0]
            for found, places, known in ((trained, None, y), (tested, others, y_there)):
                targets = np.eye(10)[known] - mean
                left = np.sum((path.outputs(times, places) - targets) ** 2, axis=(1, 2))
                found[:, i, j] = np.maximum(left / np.sum(targets**2), LOWEST / 2)
    return trained, tested


def _scales(ax: Axes, what: str) -> None:
    sigma_w2 = np.linspace(0.5, 3, 251)
    fixed = phase.fixed_point(PHI, sigma_w2, MAP_BIAS)
    ordered, chaotic = fixed.phase == "ordered", fixed.phase == "chaotic"
    black: dict[str, Any] = {"color": "black", "lw": 1.8}
    ax.plot(sigma_w2[ordered], -SCALES / np.log(fixed.chi_1[ordered]), **black)
    if what == "test":
        apart = np.log(fixed.chi_1[chaotic] / fixed.chi_c[chaotic])
        ax.plot(sigma_w2[chaotic], SCALES / apart, ls="--", **black)
    ax.axvline(float(phase.critical_sigma_w2(PHI, MAP_BIAS)), color="white", ls=":", lw=1.6)

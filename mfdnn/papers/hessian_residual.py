r"""What the Fisher information leaves out of the Hessian, against width.

The Hessian of a loss of the outputs f is :math:`J^T Q J + \sum_{tk} e_{tk} \nabla^2 f_{tk}`: the Gauss-Newton matrix,
from which learning rates are taken, and a residual term, which vanishes at a perfect fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure
from scipy.sparse.linalg import LinearOperator, eigsh

from .. import plots
from ..architectures import mlp
from ..losses.probabilities import softmax
from ..sampled import SampledNetwork, fisher_spectrum, sample
from ._style import bar, entry, legend, letter, marked, paper_style, points, standard_error, ticks

__all__ = ["LOSSES", "NETWORKS", "WIDTHS", "both_parts", "drawn", "figure", "residual_norm"]

NETWORKS = {  # weight variance, colour and marker
    "relu": (2.0, "vermillion", "o"),
    "tanh": (1.0, "blue", "s"),
}
LOSSES = {"half_mse": "half MSE", "cross_entropy": "cross-entropy"}
WIDTHS, WIDTHS_FAST = (32, 64, 128, 256, 512), (8, 16, 24)
N_NETWORKS, N_NETWORKS_FAST = 10, 2
N_INPUTS, N_SAMPLES, N_OUTPUTS = 32, 64, 4
STEP = 1e-8  # of the length of all parameters: few relu units are so close to their kink


def drawn(phi: str, width: int, rng: np.random.Generator) -> tuple[SampledNetwork, np.ndarray, np.ndarray]:
    """A network of three weight layers, Gaussian inputs, one-hot labels."""
    X = rng.standard_normal((N_SAMPLES, N_INPUTS))
    Y = np.eye(N_OUTPUTS)[rng.integers(0, N_OUTPUTS, N_SAMPLES)]
    return sample(mlp([N_INPUTS, width, width, N_OUTPUTS], phi, NETWORKS[phi][0], 0.0), rng=rng), X, Y


def residual_norm(one: SampledNetwork, X: np.ndarray, Y: np.ndarray, loss: str) -> float:
    r"""Largest :math:`|\lambda|` of :math:`\sum_{tk} e_{tk} \nabla^2 f_{tk}`.

    A product with it is the derivative of :math:`J^T e` along a direction, e held: a central difference.
    """
    f = one(X)
    e = ((softmax(f) if loss == "cross_entropy" else f) - Y) / len(X)
    theta = one.vector

    def product(v: np.ndarray) -> np.ndarray:
        step = STEP * np.linalg.norm(theta) / np.linalg.norm(v) * v.ravel()
        ahead, behind = (one.at(theta + side * step).linearise(X).vjp(e) for side in (1, -1))
        return (ahead - behind) * np.linalg.norm(v) / (2 * STEP * np.linalg.norm(theta))

    matrix = LinearOperator((theta.size, theta.size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(theta.size)
    return float(np.abs(eigsh(matrix, k=1, which="LM", tol=1e-2, v0=start, return_eigenvectors=False)[0]))


def both_parts(phi: str, loss: str, width: int, rng: np.random.Generator) -> tuple[float, float]:
    """Largest eigenvalue of the Gauss-Newton matrix, and `residual_norm`."""
    one, X, Y = drawn(phi, width, rng)
    output = "softmax" if loss == "cross_entropy" else "linear"
    return fisher_spectrum(one, X, k=1, output=output).largest, residual_norm(one, X, Y, loss)


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Both parts of the Hessian at initialisation, and their ratio, against width.

    The comparison and its settings are ours, of no paper: networks of three weight layers of one hidden width M, 32
    Gaussian inputs and 4 outputs, relu with :math:`\sigma_w^2 = 2` and tanh with 1, no bias variance, T = 64 samples
    with random one-hot labels. A: half the mean squared error, whose Gauss-Newton matrix is F. B: cross-entropy, whose
    matrix is F_cross. Filled: its largest eigenvalue. Open: the largest eigenvalue of the residual term in absolute
    value. Means over ten networks, error bars of one standard error. C: residual over Gauss-Newton, of A (solid) and B
    (dashed), and the slope :math:`M^{-1/2}`.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: widths 8, 16 and 24, two networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths, n_networks = (WIDTHS_FAST, N_NETWORKS_FAST) if fast else (WIDTHS, N_NETWORKS)
    drawing, axes = pyplot.subplots(1, 3, figsize=(7.0, 2.9), layout="constrained")
    kinds = [(phi, loss) for phi in NETWORKS for loss in LOSSES]
    seeds = dict(zip(kinds, np.random.default_rng(rng).spawn(len(kinds)), strict=True))
    for phi, loss in bar(kinds, progress, "Hessians"):
        each = zip(np.repeat(widths, n_networks), seeds[phi, loss].spawn(len(widths) * n_networks), strict=True)
        found = np.array([both_parts(phi, loss, int(M), child) for M, child in each])
        top, residual = found.reshape(len(widths), n_networks, 2).transpose(2, 0, 1)
        colour, marker = plots.COLOURS[NETWORKS[phi][1]], NETWORKS[phi][2]
        ax = axes[list(LOSSES).index(loss)]
        ax.plot(widths, top.mean(axis=1), color=colour, marker=marker, ms=4.5, lw=0.8)
        ax.plot(widths, residual.mean(axis=1), color=colour, lw=0.8)
        points(ax, widths, residual.mean(axis=1), standard_error(residual), colour, marker)
        ratio = residual / top
        axes[2].plot(widths, ratio.mean(axis=1), color=colour, ls="-" if loss == "half_mse" else "--", lw=1.2)
        points(axes[2], widths, ratio.mean(axis=1), standard_error(ratio), colour, marker)
    slope = 1.5 * np.sqrt(widths[0] / np.array(widths))
    axes[2].plot(widths, slope, color="0.3", ls=":", lw=1.2)
    for ax, name, text in zip(axes, "ABC", (*LOSSES.values(), "their ratio"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel="width $M$")
        ticks(ax.xaxis, widths)
        letter(ax, name, text)
    axes[0].set_ylabel(r"largest $|\lambda|$")
    axes[2].set_ylabel("residual / Gauss-Newton")
    handles: list[Any] = []
    for phi, (_, colour_name, marker) in NETWORKS.items():
        colour = plots.COLOURS[colour_name]
        handles.append(entry(f"{phi}, Gauss-Newton", colour, marker=marker, ms=4.5, lw=0.8))
        handles.append(marked(f"{phi}, residual", colour, marker, lw=0.8))
    handles += [entry("cross-entropy (C)", ls="--", lw=1.2), entry("slope $-1/2$ (C)", ls=":", lw=1.2)]
    legend(drawing, handles, 3)
    return drawing

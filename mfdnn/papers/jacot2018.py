r"""Jacot et al. 2018: the neural tangent kernel, before and after training.

Their layers are :math:`W \alpha/\sqrt{n} + \beta b` with parameters of variance 1, and are trained by these:
:math:`\sigma_w^2 = 1`, :math:`\sigma_b^2 = \beta^2` in NTK parameterisation.

References
----------
Jacot, Gabriel & Hongler 2018, "Neural tangent kernel: convergence and generalization in neural networks",
arXiv:1806.07572.
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
from ..datasets import digits, openml
from ..jobs.run import stack
from ..kernels import kernel_training, ntk
from ..network import Network
from ..plots._style import sequence
from ..sampled import empirical_ntk, sample
from ..training import train
from ._parameterised import InNTK
from ._style import bar, entry, legend, letter, marked, paper_style, shade

__all__ = ["circle", "descent", "figure1", "figure2", "figure3", "kernels", "network", "regressions"]

BETA = 0.1
RATE = 1.0
N_NETWORKS, N_NETWORKS_FAST = 10, 2
WIDTHS, WIDTHS_FAST = (100, 500), (10, 20)  # of figure 1
STEPS, STEPS_FAST, N_INPUTS = 200, 10, 50
WIDTHS_2 = (50, 300)
STEPS_2 = 1000
POINTS = (-2.4, -0.7, 0.6, 1.9)  # angles of the inputs of figure 2
TENTH = 1.2815515655446004  # standard deviations from the median to the 90 % quantile
WIDTHS_3, WIDTHS_3_FAST = (50, 150, 500), (10, 30)
N_IMAGES, N_IMAGES_FAST = 256, 30
PIECES, PIECE = 15, 20  # figure 3: pieces of so many steps
N_TRIALS = 2


def network(width: int, n_inputs: int = 2) -> Network:
    """Four weight layers and one output."""
    return mlp([n_inputs, width, width, width, 1], "relu", 1.0, BETA**2)


def circle(angles: Any) -> np.ndarray:
    """Points of the unit circle (n, 2)."""
    return np.column_stack([np.cos(angles), np.sin(angles)])


def drawn(net: Network, rng: Any) -> Any:
    """A network whose parameters are those of the paper."""
    return InNTK(sample(net, rng=rng, dtype="float32"))


# -- figure 1 ------------------------------------------------------------------------------------------------


def kernels(seed: Any, width: int, angles: np.ndarray, n_steps: int) -> dict[str, np.ndarray]:
    """Tangent kernel between (1, 0) and the circle, before and after training: (2, n)."""
    rng = np.random.default_rng(seed)
    one, X = drawn(network(width), rng), rng.standard_normal((N_INPUTS, 2))
    end: Any = train(one, X, X[:, :1] * X[:, 1:], RATE, n_steps).trained
    places = np.vstack([circle([0.0]), circle(angles)])
    found = [empirical_ntk(net.one, places, parameterisation="ntk")[0, 1:] for net in (one, end)]
    return {"kernel": np.array(found)}


@paper_style
def figure1(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""The tangent kernel on a circle at two widths, before and after training.

    Of the paper: four weight layers, ReLU, :math:`\beta = 0.1`, kernel between (1, 0) and :math:`(\cos\gamma,
    \sin\gamma)`, ten networks, 200 steps at rate 1 on the product of the two coordinates of random normal inputs.
    Ours: widths 100 and 500 (the paper: 500 and 10 000), 50 inputs (the paper does not say), half the squared error per
    sample. Training inflates the kernel, the more the narrower the network; the infinitely wide one keeps its own.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: widths 10 and 20, ten steps, two networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths, n_networks, n_steps = (WIDTHS_FAST, 2, STEPS_FAST) if fast else (WIDTHS, N_NETWORKS, STEPS)
    angles = np.linspace(-np.pi, np.pi, 61)
    children = np.random.default_rng(rng).bit_generator.seed_seq.spawn(len(widths) * n_networks)  # type: ignore[attr-defined]
    figure, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.3), layout="constrained", sharey=True)
    limit = ntk(network(100), circle([0.0]), circle(angles), parameterisation="ntk")[0]
    styles = ("sky", "$t = 0$"), ("vermillion", f"$t = {n_steps}$")
    for i, (ax, width) in enumerate(zip(axes, widths, strict=True)):
        task = partial(kernels, width=width, angles=angles, n_steps=n_steps)
        found = stack(task, children[i * n_networks : (i + 1) * n_networks], progress=progress)["kernel"]
        for time, (colour, _) in enumerate(styles):
            ax.plot(angles, found[:, time].T, color=plots.COLOURS[colour], lw=0.9)
        ax.plot(angles, limit, color="black", ls="--", lw=1.6)
        ax.set(xlabel=r"$\gamma$", xticks=[-np.pi, 0, np.pi], xticklabels=[r"$-\pi$", "0", r"$\pi$"])
        letter(ax, "AB"[i], f"width {width}")
    axes[0].set_ylabel(r"$\Theta(x_0, x)$")
    handles = [entry(text, plots.COLOURS[colour], lw=0.9) for colour, text in styles]
    legend(figure, [*handles, entry("infinite width", "black", ls="--", lw=1.6)], 3)
    return figure


# -- figure 2 ------------------------------------------------------------------------------------------------


def regressions(seed: Any, width: int, places: np.ndarray, n_steps: int) -> dict[str, np.ndarray]:
    """Outputs at places (n,) after training at four points."""
    one, X = drawn(network(width), np.random.default_rng(seed)), circle(POINTS)
    end: Any = train(one, X, X[:, :1] * X[:, 1:], RATE, n_steps).trained
    return {"outputs": end(places)[:, 0]}


@paper_style
def figure2(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Networks trained at four points of a circle, and the limiting Gaussian process.

    Of the paper: four weight layers, ReLU, :math:`\beta = 0.1`, ten networks of each width, four points, 1000 steps at
    rate 1, the 10 %, 50 % and 90 % quantiles of the limit. Ours: widths 50 and 300 (the paper: 50 and 1000), the
    points, the product of their coordinates as targets, half the squared error per sample; kernels of infinite width
    (the paper: of width 10 000) and `mfdnn.kernel_training` of as many steps.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: widths 10 and 20, 50 steps, two networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths, n_networks, n_steps = (WIDTHS_FAST, 2, 50) if fast else (WIDTHS_2, N_NETWORKS, STEPS_2)
    angles = np.linspace(-np.pi, np.pi, 121)
    X = circle(POINTS)
    path = kernel_training(network(100), X, X[:, 0] * X[:, 1], RATE, parameterisation="ntk")
    middle = path.outputs(n_steps, circle(angles))[:, 0]
    spread = TENTH * np.sqrt(np.diagonal(path.covariance(n_steps, circle(angles))))
    children = np.random.default_rng(rng).bit_generator.seed_seq.spawn(len(widths) * n_networks)  # type: ignore[attr-defined]
    figure, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.3), layout="constrained", sharey=True)
    for i, (ax, width) in enumerate(zip(axes, widths, strict=True)):
        task = partial(regressions, width=width, places=circle(angles), n_steps=n_steps)
        found = stack(task, children[i * n_networks : (i + 1) * n_networks], progress=progress)["outputs"]
        ax.fill_between(angles, middle - spread, middle + spread, color="black", alpha=0.15, lw=0)
        ax.plot(angles, found.T, color=plots.COLOURS["sky"], lw=0.9)
        ax.plot(angles, middle, color="black", ls="--", lw=1.6)
        ax.plot(POINTS, X[:, 0] * X[:, 1], "o", color="black", ms=4.5, mfc="white", zorder=3)
        ax.set(xlabel=r"$\gamma$", xticks=[-np.pi, 0, np.pi], xticklabels=[r"$-\pi$", "0", r"$\pi$"])
        letter(ax, "AB"[i], f"width {width}")
    axes[0].set_ylabel(r"$f(\cos\gamma, \sin\gamma)$")
    handles = [
        entry("trained networks", plots.COLOURS["sky"], lw=0.9),
        entry("median, infinite width", "black", ls="--", lw=1.6),
        shade("10 % to 90 %, infinite width", "black", 0.15),
        marked("targets", "black", "o", ls="none"),
    ]
    legend(figure, handles, 2)
    return figure


# -- figure 3 ------------------------------------------------------------------------------------------------


def images(fast: bool, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (T, M_0) and their classes (T,)."""
    n = N_IMAGES_FAST if fast else N_IMAGES
    return digits(n, rng=0) if source == "digits" else openml(source, n, rng=0)


def descent(seed: Any, width: int, X: np.ndarray, direction: np.ndarray) -> dict[str, np.ndarray]:
    """Size of the error along a direction (T,), and of the rest: (times,) each."""
    one: Any = drawn(network(width, X.shape[1]), np.random.default_rng(seed))
    goal = one(X) + 0.5 * direction[:, None]
    errors = [one(X) - goal]
    for _ in range(PIECES):  # plain descent has no memory
        one = train(one, X, goal, RATE, PIECE).trained
        errors.append(one(X) - goal)
    along = np.array([np.mean(error[:, 0] * direction) for error in errors])
    rest = np.array([error[:, 0] - g * direction for error, g in zip(errors, along, strict=True)])
    return {"along": np.abs(along), "rest": np.sqrt(np.mean(rest**2, axis=1))}


@paper_style
def figure3(fast: bool = False, rng: Any = 0, progress: bool = False, *, source: str = "digits") -> Figure:
    r"""Training along the second component of the kernel, on images.

    Of the paper: four weight layers, ReLU, :math:`\beta = 0.1`, targets :math:`f_0 + 0.5 f^{(2)}`, two networks of each
    width, :math:`f^{(2)}` the second eigenvector of :math:`\Theta/T`, of mean square 1; at infinite width the error
    stays along it and is :math:`0.5\,e^{-\lambda_2 t}`. Ours: 256 of scikit-learn's digits (the paper: 512 of MNIST,
    with eigenvalues 0.0457, 0.00108, 0.00078), widths 50, 150, 500 (the paper: 100, 1000, 10 000), rate 1 to t = 300
    (the paper: to 4000), half the squared error per sample. A: eigenvalues; B: the images at their second and third
    components, in the colours of their classes; C: error along the second component; D: the rest.

    Narrow networks are faster along the component at first, as the paper noticed, for their kernel inflates there: at
    t = 60 :math:`f^{(2)} \cdot \Theta_t f^{(2)}` is 1 + 50/M of itself at the start (3.1(5), 2.0(2), 1.33(5), 1.11(3)
    at M = 25, 50, 150, 500; six to twelve networks each), and the error along it has fallen at 1.24(16), 1.20(13),
    1.13(5), 1.06(6) times :math:`\lambda_2` on average. The whole error has not fallen faster, as the rest grows: it
    is 0.40, 0.37, 0.32, 0.32 of its start then, and 0.32 at infinite width.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: 30 images, widths 10 and 30.
    source : str
        "digits", or a set that `mfdnn.datasets.openml` can fetch: ``figure3(source="mnist")``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    widths, (X, classes) = WIDTHS_3_FAST if fast else WIDTHS_3, images(fast, source)
    values, vectors = np.linalg.eigh(ntk(network(100, X.shape[1]), X, parameterisation="ntk") / len(X))
    third, direction = vectors[:, -3:-1].T * np.sqrt(len(X))
    children = np.random.default_rng(rng).bit_generator.seed_seq.spawn(len(widths) * N_TRIALS)  # type: ignore[attr-defined]
    figure, axes = pyplot.subplots(2, 2, figsize=(7.0, 6.0), layout="constrained")
    (spectrum, components), (along, rest) = axes
    spectrum.plot(np.arange(1, 11), values[:-11:-1], "o", color="black", mfc="white", ms=4.5)
    for at, name, colour in zip(np.stack([direction, third], axis=1), classes, _colours(classes), strict=True):
        components.text(*at, str(name), color=colour, fontsize=7.0, ha="center", va="center", clip_on=True)
    times = RATE * PIECE * np.arange(PIECES + 1)
    handles = [marked(r"$\lambda_i$ of $\Theta/T$ (A)", "black", "o", ls="none")]
    with single_blas_thread():
        for i, width in enumerate(bar(widths, progress, "widths")):
            colour = sequence(i, len(widths), None)
            task = partial(descent, width=width, X=X, direction=direction)
            found = stack(task, children[i * N_TRIALS : (i + 1) * N_TRIALS])
            along.plot(times, found["along"].T, color=colour, lw=1.2)
            rest.plot(times, found["rest"].T, color=colour, lw=1.2)
            handles.append(entry(f"width {width}", colour, lw=1.2))
    along.plot(times, 0.5 * np.exp(-values[-2] * times), color="black", ls="--", lw=1.6)
    handles.append(entry("infinite width (0 in D)", "black", ls="--", lw=1.6))
    spectrum.set(yscale="log", xlabel="$i$", ylabel=r"$\lambda_i$", xticks=[1, 5, 10])
    reach = 1.1 * np.abs([direction, third]).max()
    components.set(xlabel="$f^{(2)}$", ylabel="$f^{(3)}$", xlim=(-reach, reach), ylim=(-reach, reach))
    along.set(yscale="log", xlabel="$t$", ylabel="root mean square")
    rest.set(xlabel="$t$", ylabel="root mean square", ylim=(0, None))
    letter(spectrum, "A", "eigenvalues")
    letter(components, "B", "images, named by their class")
    letter(along, "C", "along $f^{(2)}$")
    letter(rest, "D", "the rest")
    legend(figure, handles, 3)
    return figure


def _colours(classes: np.ndarray) -> np.ndarray:
    """One colour for each class, (T, 4)."""
    return pyplot.get_cmap("tab10")(np.unique(classes, return_inverse=True)[1] % 10)

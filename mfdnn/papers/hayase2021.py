r"""Hayase & Karakida 2021: one sample's Fisher information under isometry.

Hard tanh units, orthogonal weights, widths equal, outputs too. The eigenvalues of the Fisher information of one sample
gather at the largest one, which grows like depth, so that a learning rate for one sample at a time falls like 1/depth.

References
----------
Hayase & Karakida 2021, "The spectrum of Fisher information of deep networks achieving dynamical isometry",
arXiv:2006.07814.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from .. import plots
from ..architectures import mlp
from ..datasets import digits
from ..jacobian import conditional_fisher
from ..learning_rate import max_learning_rate
from ..network import Network
from ..sampled import conditional_fisher as sampled_fisher
from ..sampled import sample
from ..training import train
from ._style import bar, entry, legend, letter, marked, paper_style
from .pennington2017 import critical

__all__ = ["losses", "online", "online_network", "spectra"]

PHI, Q = "hard_tanh", 0.15
DEPTHS, DEPTHS_FAST = (4, 16, 64), (2, 6)
TONES = ("sky", "blue", "black")  # of the depths
WIDTH, WIDTH_FAST = 400, 60
LAYERS, LAYERS_FAST = (2, 4, 8, 16, 32, 64, 96), (2, 6)  # of panel B
N_STEPS, N_STEPS_FAST = 500, 20
ONLINE_WIDTH = 128
ONLINE_DEPTHS, ONLINE_DEPTHS_FAST = (2, 3, 4, 6, 8, 12, 16, 24, 32), (2, 4)
RATES, RATES_FAST = tuple(np.geomspace(0.02, 50, 18).tolist()), (0.3, 3.0, 30.0)  # times M: of the paper's loss
LOWEST, HIGHEST = 0.1, 10.0  # of losses that have colours of their own


def network(depth: int, width: int, weights: str) -> Network:
    """L weight layers of one width at q*, critical."""
    at = critical(PHI, Q)
    return mlp([width] * (depth + 1), PHI, at.sigma_w2, at.sigma_b2, weights=weights)


def one_input(width: int, rng: Any) -> np.ndarray:
    """A random one of the stationary mean square."""
    x = np.random.default_rng(rng).standard_normal(width)
    return x * np.sqrt(critical(PHI, Q).q0 / np.mean(x**2))


# -- spectra -------------------------------------------------------------------------------------------------


@paper_style
def spectra(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Spectra of the Fisher information of one sample, over depth.

    And their largest eigenvalue.

    Of the paper: hard tanh, orthogonal weights, criticality, equal widths. Ours: :math:`q^* = 0.15`, depths 4, 16
    and 64, M = 400. A: share of the M eigenvalues that are at most :math:`\lambda`, over :math:`M \hat q L`; dots:
    one sampled network (`mfdnn.sampled.conditional_fisher`), lines: free probability (`mfdnn.conditional_fisher`)
    for its own :math:`\hat q^l`, which scatter by some per cent. The upright part is the share at the top, :math:`1
    - \sum_l (1 - a_l)`. B: the largest eigenvalue over M, against depth, with Gaussian weights beside orthogonal
    ones; dotted: :math:`\hat q L`.

    Parameters
    ----------
    fast : bool
        Depths 2 and 6, 60 units.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    depths, layers, width = (DEPTHS_FAST, LAYERS_FAST, WIDTH_FAST) if fast else (DEPTHS, LAYERS, WIDTH)
    draws = iter(np.random.default_rng(rng).spawn(len(depths) + 2 * len(layers)))
    q_hat = critical(PHI, Q).q0
    figure, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.5), layout="constrained")
    shares, largest = axes
    handles: list[Any] = []
    for depth, tone in zip(bar(depths, progress, "spectra"), TONES[-len(depths) :], strict=True):
        net = network(depth, width, "orthogonal")
        draw, place = next(draws).spawn(2)
        one = sampled_fisher(sample(net, rng=draw), one_input(width, place))
        found = conditional_fisher(net, q_hat=one.q_hat)
        unit, colour = width * q_hat * depth, plots.COLOURS[tone]
        places = np.union1d(np.linspace(0.0, 1.8, 361)[1:] * unit, found.largest * np.array([1 - 1e-9, 1, 1 + 1e-9]))
        shares.plot(places / unit, found.cdf(places), color=colour)
        values = one.eigenvalues[::-1]
        some = np.unique(np.linspace(0, width - 1, 25).astype(int))
        shares.plot(values[some] / unit, (some + 1) / width, "o", ms=3, mfc="white", color=colour)
        handles.append(marked(f"depth {depth} (A)", colour, "o", ms=3))
    for weights, tone, marker in (("orthogonal", "blue", "o"), ("gaussian", "vermillion", "s")):
        theory, points = [], []
        for depth in bar(layers, progress, weights):
            net = network(depth, width, weights)
            theory.append(conditional_fisher(net, q0=q_hat).largest / width)
            draw, place = next(draws).spawn(2)
            points.append(sampled_fisher(sample(net, rng=draw), one_input(width, place), k=1).largest / width)
        colour = plots.COLOURS[tone]
        largest.plot(layers, theory, color=colour)
        largest.plot(layers, points, marker, ms=4.5, mfc="white", color=colour)
        handles.append(marked(f"{'Gaussian' if weights == 'gaussian' else weights} weights (B)", colour, marker))
    largest.plot(layers, q_hat * np.array(layers), ":", color="0.3")
    shares.set(xlim=(0, 1.8), ylim=(0, 1.03), xlabel=r"eigenvalue $\lambda$, over $M\hat q L$", ylabel="share below")
    largest.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel=r"$\lambda_{\max}/M$")
    letter(shares, "A", "orthogonal weights")
    letter(largest, "B", "largest eigenvalue")
    handles += [entry(r"$\hat q L$ (B)", ls=":"), entry("lines: theory; marks: one network", ls="none")]
    legend(figure, handles, 3)
    return figure


# -- online training -----------------------------------------------------------------------------------------


def online_network(depth: int) -> Network:
    """As wide as its inputs and outputs."""
    return network(depth, ONLINE_WIDTH, "orthogonal")


def online_data(rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """Digits in as many coordinates as units, and unit vectors for their classes."""
    X, y = digits(1000, rng=0)
    turned, _ = np.linalg.qr(np.random.default_rng(rng).standard_normal((ONLINE_WIDTH, X.shape[1])))
    X = X @ turned.T
    X *= np.sqrt(critical(PHI, Q).q0 / np.mean(X**2, axis=1, keepdims=True))
    return X, np.eye(ONLINE_WIDTH)[y]


def losses(depths: tuple[int, ...], rates: tuple[float, ...], n_steps: int, rng: Any, progress: bool) -> np.ndarray:
    """Of all samples, over that of outputs 0, after training (depths, rates).

    Steps are of one sample each; inf: diverged.
    """
    place, order, *draws = np.random.default_rng(rng).spawn(2 + len(depths))
    X, Y = online_data(place)
    out = np.full((len(depths), len(rates)), np.inf)
    for i, (depth, draw) in enumerate(zip(bar(depths, progress, "depths"), draws, strict=True)):
        one = sample(online_network(depth), rng=draw, dtype="float32")
        seed = int(order.integers(2**31))
        for j, rate in enumerate(rates):
            run = train(one, X, Y, rate / ONLINE_WIDTH, n_steps, batch_size=1, rng=seed, diverged_at=1e3)
            if run.outcome != "diverged":
                out[i, j] = run.final_loss / (0.5 * np.mean(np.sum(Y**2, axis=1)))
    return out


@paper_style
def online(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Loss of online training over depth and learning rate, with the limit.

    Of the paper: hard tanh, orthogonal weights near isometry, 500 steps of one sample each, squared errors over M.
    Ours: scikit-learn's digits in place of Fashion-MNIST, turned into 128 coordinates of the stationary mean
    square; M = 128, classes as unit vectors; one network a depth. Colours: loss of all samples after the steps over
    that before; white: diverged. Black: :math:`2/(\hat q L)`, in full :math:`2M/\lambda_{max}` of
    `mfdnn.conditional_fisher`, as ``max_learning_rate(net, batch_size=1)`` has it times M, for the loss of the
    paper is ours over M.

    Parameters
    ----------
    fast : bool
        Two depths, three rates, 20 steps.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    depths, rates, n_steps = (
        (ONLINE_DEPTHS_FAST, RATES_FAST, N_STEPS_FAST) if fast else (ONLINE_DEPTHS, RATES, N_STEPS)
    )
    found = losses(depths, rates, n_steps, rng, progress)
    figure, ax = pyplot.subplots(figsize=(4.6, 3.9), layout="constrained")
    _colours(ax, depths, rates, found, figure)
    q0 = critical(PHI, Q).q0
    limit = [float(max_learning_rate(online_network(depth), q0=q0, batch_size=1)) for depth in depths]
    ax.plot(depths, np.array(limit) * ONLINE_WIDTH, color="black", lw=1.8)
    ax.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel=r"learning rate $\eta$, loss over $M$")
    plots_ticks = [depth for depth in depths if depth in (2, 4, 8, 16, 32)]
    ax.set_xticks(plots_ticks, labels=[str(depth) for depth in plots_ticks])
    ax.set_xticks([], minor=True)
    letter(ax, "A", f"online training, {n_steps} steps")
    handles = [entry(r"$2M/\lambda_{\max}$, one sample", "black", lw=1.8)]
    legend(figure, handles, 1)
    return figure


def _colours(ax: Axes, depths: tuple[int, ...], rates: tuple[float, ...], found: np.ndarray, figure: Figure) -> None:
    """A cell a run."""
    norm = LogNorm(LOWEST, HIGHEST)
    masked = np.ma.masked_invalid(found.T)
    mesh = ax.pcolormesh(depths, rates, masked, norm=norm, cmap="viridis", shading="nearest", rasterized=True)
    figure.colorbar(mesh, ax=ax, label="loss of all samples, over that of outputs 0", extend="both")

r"""Schoenholz et al. 2017: how far information travels through a random network.

Deviations from the fixed point decay like :math:`e^{-l/\xi}` with

.. math::
    1/\xi_q = -\log(dq^{l+1}/dq^l), \qquad 1/\xi_c = -\log(\sigma_w^2 E[\phi'(u)\phi'(v)]), \qquad
    1/\xi_\nabla = -\log \chi_1,

the last for squared gradients; it is negative where they explode.

References
----------
Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017, "Deep information propagation", ICLR 2017, arXiv:1611.01232.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from .. import phase, plots
from ..architectures import mlp
from ..ensembles import ensemble
from ..mean_field import order_parameters
from ._style import entry, legend, letter, paper_style

__all__ = ["depth_scales", "simulation"]

PHI = "tanh"
SIGMA_B2 = (0.01, 0.05, 0.1, 0.2, 0.3)  # of `depth_scales`
ORDERED, CHAOTIC = 1.0, 2.5  # sigma_w^2 of `simulation`, on both sides of the edge of chaos
BIAS = 0.05
Q0, C0 = 4.0, 0.0  # mean square and correlation of its inputs, far from all fixed points
SHOWN = 10  # layers in which deviations of the variance stand out of the fluctuations
RESOLVED = 3.0  # standard errors below which a simulated deviation is not told from none
BELOW: dict[str, Any] = {"marker": 11, "ms": 3.5, "ls": "none"}  # a caret that hangs from its place


@paper_style
def depth_scales(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Depth scales of variance, correlation and gradients against the weight variance.

    Settings not recovered; ours: tanh, :math:`\sigma_b^2` = 0.01, 0.05, 0.1, 0.2, 0.3, :math:`\sigma_w^2` in
    [0.5, 4]. Theory only: nothing is random.

    Parameters
    ----------
    fast : bool
        Fewer weight variances.
    rng, progress
        Not used.

    Returns
    -------
    matplotlib.figure.Figure
    """
    sigma_w2 = np.linspace(0.5, 4, 100 if fast else 1500)
    figure, axes = pyplot.subplots(1, 3, figsize=(7.0, 2.9), layout="constrained")
    names = {"xi_q": "variance", "xi_c": "correlation", "xi_grad": "squared gradients"}
    found = phase.depth_scales(PHI, sigma_w2, SIGMA_B2)
    for ax, name, panel in zip(axes, names, "ABC", strict=True):
        plots.depth_scales(found, ax=ax, scales=(name,))
        handles = ax.get_legend().legend_handles
        ax.get_legend().remove()
        ax.xaxis.set_major_locator(MultipleLocator(1))
        if name == "xi_q":  # less than a decade
            ax.set_ylim(0.5, 5)
            ax.set_yticks([0.5, 1, 2, 5], labels=["0.5", "1", "2", "5"])
            ax.minorticks_off()
        if name == "xi_grad":
            ax.set_ylabel(r"$|\xi_\nabla|$ (layers)")
        letter(ax, panel, names[name])
    # The last panel explains every line of the others.
    legend(figure, handles, 4, columnspacing=1.2)
    return figure


@paper_style
def simulation(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Decay of deviations of variance and correlation, and of gradients.

    Theory and simulation. Settings not recovered; ours: tanh, :math:`\sigma_b^2 = 0.05`, :math:`\sigma_w^2` = 1, on
    the edge of chaos (1.761), and 2.5; 40 hidden layers of 1000 units and one output; 30 networks, each with ten
    Gaussian inputs of mean square 4 and correlation 0, far from all fixed points. Error bars are standard errors;
    where a deviation is below three of them, a caret hangs from there. Dotted: :math:`e^{-l/\xi}` with the depth scale
    of the fixed point.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: ten hidden layers of 50 units, four networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width, depth, n_networks = (50, 10, 4) if fast else (1000, 40, 30)
    networks = {
        "ordered": (ORDERED, "blue", "o"),
        "critical": (phase.critical_sigma_w2(PHI, BIAS), "black", "s"),
        "chaotic": (CHAOTIC, "vermillion", "^"),
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(7.0, 3.2), layout="constrained")
    handles = []
    children = np.random.default_rng(rng).spawn(len(networks))
    for (name, (sigma_w2, colour, marker)), child in zip(networks.items(), children, strict=True):
        net = mlp([width] * (depth + 1) + [1], PHI, sigma_w2=sigma_w2, sigma_b2=BIAS)
        fixed = phase.fixed_point(PHI, sigma_w2, BIAS)
        theory = order_parameters(net, q0=Q0, c0=C0)
        options: dict[str, Any] = {"q0": Q0, "c0": C0, "dtype": "float32", "progress": progress}
        sampled = ensemble(net, n_samples=10, n_networks=n_networks, rng=child, **options)
        # The output, a single unit, fluctuates too much for a ratio.
        layers, hidden = np.arange(1, depth + 1), slice(depth)
        style: dict[str, Any] = {"color": plots.COLOURS[colour], "marker": marker}
        values = sampled.values["q"][:, hidden] - fixed.q
        first = slice(min(SHOWN, depth))
        expected = (theory.q[hidden] - fixed.q)[first]
        _decay(axes[0], layers[first], expected, values[:, first], fixed.xi_q, style)
        values = (sampled.values["q_st"] / sampled.values["q"])[:, hidden] - fixed.c
        _decay(axes[1], layers, theory.c[hidden] - fixed.c, values, fixed.xi_c, style)
        # Gradients grow or shrink towards the first layer: over the distance to the output.
        back = slice(None, None, -1)
        values = sampled.values["q_tilde"][:, back]
        _decay(axes[2], np.arange(depth + 1), theory.q_tilde[back], values, fixed.xi_grad, style, anchor=0)
        label = rf"$\sigma_w^2 = {sigma_w2:.4g}$ ({name})"
        handles.append(entry(label, ls="-", ms=3.5, mfc="white", **style))
    axes[0].set(xlabel="weight layer $l$", ylabel="$|q^l - q^*|$")
    axes[1].set(xlabel="weight layer $l$", ylabel="$|c^l - c^*|$")
    axes[2].set(xlabel="layers from the output, $L - l$", ylabel=r"$\tilde q^l$")
    for ax, panel, text in zip(axes, "ABC", ("variance", "correlation", "squared gradients"), strict=True):
        ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        letter(ax, panel, text)
    handles.append(entry(r"$\propto e^{-l/\xi}$", ls=":"))
    handles.append(entry("simulation: below here (three standard errors)", **BELOW))
    legend(figure, handles, 3)
    return figure


def _decay(
    ax: Axes, x: np.ndarray, theory: np.ndarray, values: np.ndarray, xi: float, style: dict, anchor: int = -1
) -> None:
    """Line of theory, points of simulation, and the asymptotic exponential.

    `values` are of networks by layers. The exponential goes through the theory at entry `anchor`.
    """
    ax.plot(x, np.abs(theory), color=style["color"], lw=1.3)
    if np.isfinite(xi):
        ax.plot(x, np.abs(theory[anchor]) * np.exp((x[anchor] - x) / xi), color=style["color"], lw=1, ls=":")
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    resolved = np.abs(mean) > RESOLVED * error
    seen, below = np.flatnonzero(resolved), np.flatnonzero(~resolved)
    options = {**style, "ls": "none", "ms": 3.2, "mfc": "white", "mew": 0.8, "elinewidth": 0.8, "zorder": 3}
    ax.errorbar(x[seen], np.abs(mean[seen]), error[seen], **options)
    ax.plot(x[below], RESOLVED * error[below], color=style["color"], **BELOW)

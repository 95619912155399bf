r"""Poole et al. 2016: exponential expressivity through transient chaos.

Networks of tanh units with weights of standard deviation :math:`\sigma_w/\sqrt N` and biases of
:math:`\sigma_b = 0.3`, at :math:`\sigma_w` = 1.3 (ordered), 2.5 and 4.0 (chaotic). The axes of the heat maps
are standard deviations here, as in the paper, and not the variances of the rest of the package.

References
----------
Poole, Lahiri, Raghu, Sohl-Dickstein & Ganguli 2016, "Exponential expressivity in deep neural networks
through transient chaos", NeurIPS 2016, arXiv:1606.05340.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.linalg import eigh

from .. import phase
from ..gaussian import expect_product
from . import _signals as signals
from ._style import bar, entry, legend, letter, paper_style

__all__ = ["figure1", "figure2", "figure3"]

PHI = "tanh"
SIGMA_W = (1.3, 2.5, 4.0)
SIGMA_B = 0.3
COLOURS = ("#0072B2", "#009E73", "#D55E00")
WIDTH, WIDTH_FAST = 1000, 100
AXIS_W, AXIS_B = np.linspace(1, 5, 41), np.linspace(0, 4, 41)  # of the heat maps

NORMS = np.linspace(0, 15, 100)
PROJECTED, COMPARED = (5, 10, 15), (5, 10, 20)  # layers of figure 3
TONES = ("#56B4E9", "#0072B2", "#000000")  # of the compared layers
OFFSET = 0.5  # largest one of figure 3, row 5

SETTLED = 0.01  # (q - q*)^2 / q*^2 at which the variance counts as converged (figure 1 D)
PATIENCE = 100  # layers after which the count stops: far beyond the colour scale


@paper_style
def figure1(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Figure 1: variance map, trajectories, fixed point, speed of convergence.

    The paper's settings: tanh; heat maps on 41 x 41 points, sigma_w in [1, 5], sigma_b in [0, 4]; curves at
    sigma_w = 1.3, 2.5, 4.0 with sigma_b = 0.3. A: q in [0, 15], networks of N = 1000 units, 20 inputs per
    norm. B: starts at q = 3.94, 8.03, 12.12, seven layers. C: q*. D: mean number of layers until
    :math:`(q - q^*)^2/q^{*2} < 0.01`, from 25 starts in [0, 15]; colours end at 6.

    Ours: the inputs are vectors of random direction with exactly the stated norm; error bars are standard
    deviations over the inputs; simulated points are shown at 16 of the 100 norms; the edge of chaos in C and
    D. The starts of D leave out q = 0, from where an unbiased network goes nowhere.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: N = 100 and heat maps of 9 x 9 points.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width = WIDTH_FAST if fast else WIDTH
    one, many = np.random.default_rng(rng).spawn(2)
    figure, axes = pyplot.subplots(2, 2, figsize=(7.0, 5.6), layout="constrained")
    _variance_maps(axes[0, 0], width, one)
    letter(axes[0, 0], "A", "variance map")
    _variances_over_depth(axes[0, 1], width, many, progress)
    letter(axes[0, 1], "B", "variance over depth")

    w, b = (AXIS_W[::5], AXIS_B[::5]) if fast else (AXIS_W, AXIS_B)
    fixed = phase.phase_diagram(PHI, w**2, b**2).q
    _heat_map(axes[1, 0], w, b, fixed, "$q^*$", vmin=0)
    letter(axes[1, 0], "C", "fixed point")
    counts = np.empty(fixed.shape)
    for i in bar(range(len(w)), progress, "figure 1 D"):
        counts[i] = [_layers_to_settle(w[i] ** 2, b[j] ** 2, fixed[i, j]) for j in range(len(b))]
    ax = _heat_map(axes[1, 1], w, b, counts, "layers to reach $q^*$ within 10 %", "max", vmin=0, vmax=6)
    letter(ax, "D", "convergence")
    _legend(figure, "fixed point $q^*$ (A)")
    return figure


def _variance_maps(ax: Axes, width: int, rng: np.random.Generator) -> None:
    n_inputs = 20
    shown = NORMS[np.linspace(1, NORMS.size - 1, 16, dtype=int)]
    for sigma_w, colour in zip(SIGMA_W, COLOURS, strict=True):
        variances = sigma_w**2, SIGMA_B**2
        phase.variance_curve(PHI, *variances, steps=0, q_max=NORMS[-1]).plot(ax=ax, color=colour)
        inputs = np.stack([signals.on_sphere(rng, n_inputs, width, q) for q in shown])
        _points(ax, shown, signals.mean_square(signals.next_layer(PHI, inputs, *variances, rng)), colour)
    ax.legend().remove()  # the figure has one for all panels


def _variances_over_depth(ax: Axes, width: int, rng: np.random.Generator, progress: bool) -> None:
    n_inputs, n_layers = 20, 7
    layers = np.arange(n_layers + 1)
    starts = NORMS[[26, 53, 80]]
    for sigma_w, colour in zip(SIGMA_W, COLOURS, strict=True):
        variances = sigma_w**2, SIGMA_B**2
        for start in starts:
            ax.plot(layers, phase.trajectory(PHI, *variances, n_layers, q0=start).q, color=colour, lw=1.4)
        inputs = np.stack([signals.on_sphere(rng, n_inputs, width, q) for q in starts])
        steps = bar(layers[1:], progress, f"figure 1 B, sigma_w = {sigma_w}")
        for lengths in _through_layers(inputs, signals.mean_square, variances, rng, steps):
            _points(ax, layers, lengths, colour)
    ax.set(xlabel="layer $l$", ylabel="$q^l$", ylim=(0, 15))


@paper_style
def figure2(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Figure 2: the correlation map, its trajectories, c* and chi_1.

    The paper's settings: as in figure 1. A: the map at q* on 51 correlations in [0, 1]. B: starts at
    c = 0.2, 0.5, 0.8, 30 layers, simulation with N = 1000. C: c*, the dotted line is :math:`\chi_1 = 1`. D:
    :math:`\chi_1`, colours from 0 to 3.

    Ours: 20 pairs of inputs of variance exactly q* and the stated correlation; error bars are standard
    deviations over the pairs; simulated points in A; the dotted line in D.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: N = 100 and heat maps of 9 x 9 points.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width = WIDTH_FAST if fast else WIDTH
    one, many = np.random.default_rng(rng).spawn(2)
    figure, axes = pyplot.subplots(2, 2, figsize=(7.0, 5.6), layout="constrained")
    _correlation_maps(axes[0, 0], width, one)
    letter(axes[0, 0], "A", "correlation map at $q^*$")
    _correlations_over_depth(axes[0, 1], width, many, progress)
    letter(axes[0, 1], "B", "correlation over depth")

    w, b = (AXIS_W[::5], AXIS_B[::5]) if fast else (AXIS_W, AXIS_B)
    diagram = phase.phase_diagram(PHI, w**2, b**2)
    _heat_map(axes[1, 0], w, b, diagram.c, "$c^*$", vmin=0, vmax=1)
    letter(axes[1, 0], "C", "fixed point")
    beyond = "max" if diagram.chi_1.max() > 3 else "neither"
    _heat_map(axes[1, 1], w, b, diagram.chi_1, r"$\chi_1$", beyond, vmin=0, vmax=3)
    letter(axes[1, 1], "D", "slope of the map at $c = 1$")
    _legend(figure)
    return figure


def _correlation_maps(ax: Axes, width: int, rng: np.random.Generator) -> None:
    n_pairs = 20
    grid = np.linspace(0, 1, 51)
    shown = grid[::5]
    ax.axline((0, 0), slope=1, color="0.5", lw=1, ls="--").set_gid("identity")
    for sigma_w, colour in zip(SIGMA_W, COLOURS, strict=True):
        variances = sigma_w**2, SIGMA_B**2
        ax.plot(grid, phase.correlation_map(PHI, grid, *variances), color=colour, lw=1.8)
        q = phase.fixed_point(PHI, *variances).q
        pairs = np.stack([signals.pairs(rng, n_pairs, width, q, c) for c in shown])
        _points(ax, shown, signals.correlation(signals.next_layer(PHI, pairs, *variances, rng)), colour)
    ax.set(xlabel="$c^l$", ylabel="$c^{l+1}$", xlim=(0, 1), ylim=(0, 1.02))


def _correlations_over_depth(ax: Axes, width: int, rng: np.random.Generator, progress: bool) -> None:
    n_pairs, n_layers = 20, 30
    layers = np.arange(n_layers + 1)
    starts = (0.2, 0.5, 0.8)
    for sigma_w, colour in zip(SIGMA_W, COLOURS, strict=True):
        variances = sigma_w**2, SIGMA_B**2
        q = phase.fixed_point(PHI, *variances).q
        for c in starts:
            ax.plot(layers, phase.trajectory(PHI, *variances, n_layers, q0=q, c0=c).c, color=colour, lw=1.4)
        inputs = np.stack([signals.pairs(rng, n_pairs, width, q, c) for c in starts])
        steps = bar(layers[1:], progress, f"figure 2 B, sigma_w = {sigma_w}")
        for correlations in _through_layers(inputs, signals.correlation, variances, rng, steps):
            _points(ax, layers[::2], correlations[::2], colour)
    ax.set(xlabel="layer $l$", ylabel="$c^l$", ylim=(0, 1.02))


def _through_layers(
    h: np.ndarray,
    measure: Callable[[np.ndarray], np.ndarray],
    variances: tuple[float, float],
    rng: np.random.Generator,
    steps: Iterable,
) -> np.ndarray:
    """What is measured of signals h and behind each further layer.

    h is of shape (starts, inputs, ...), the result (starts, steps + 1, inputs).
    """
    sampled = [measure(h)]
    for _ in steps:
        h = signals.next_layer(PHI, h, *variances, rng)
        sampled.append(measure(h))
    return np.swapaxes(sampled, 0, 1)


@paper_style
def figure3(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Figure 3: what the layers make of a circle.

    The paper's settings: N = 1000 inputs and units, 40 layers, 500 angles on a circle of random orientation,
    scaled so that the first layer has variance q*. Rows 1-3: projections onto principal components at layers
    5, 10, 15, coloured by the angle. Row 4: autocorrelation of angles over layers 1 to 20. Row 5: theory and simulation
    at layers 5, 10, 20, offsets from -0.5 to 0.5.

    Ours: projections onto the first two components, with their share of the variance; offsets in row 5 are in
    radians. Only the 20 layers that are shown are computed.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: N = 100 and 60 angles.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width, n_angles = (WIDTH_FAST, 60) if fast else (WIDTH, 500)
    children = np.random.default_rng(rng).spawn(len(SIGMA_W))
    angles = 2 * np.pi * np.arange(n_angles) / n_angles
    # Chaos narrows the peak at 0 from layer to layer, so offsets are denser there.
    offsets = OFFSET * np.linspace(0, 1, 5 if fast else 81) ** 2
    figure, axes = pyplot.subplots(
        5, 3, figsize=(7.0, 10.2), height_ratios=[1, 1, 1, 1, 1.1], layout="constrained"
    )
    for column, sigma_w, child in zip(axes.T, SIGMA_W, children, strict=True):
        column[0].set_title(rf"$\sigma_w = {sigma_w}$")
        description = f"figure 3, sigma_w = {sigma_w}"
        circle, image = _circle_through_layers(
            column, sigma_w, angles, offsets, width, child, progress, description
        )
    for ax, l in zip(axes[:3, 0], PROJECTED, strict=True):
        ax.set_ylabel(f"layer {l}")
    axes[3, 0].set_ylabel("layer $l$")
    axes[4, 0].set_ylabel(r"$c^l(\Delta\theta)$")
    bar_of_angles = figure.colorbar(circle, ax=axes[:3, :], label=r"angle $\theta$", pad=0.02, aspect=40)
    bar_of_angles.set_ticks([0, np.pi, 2 * np.pi], labels=["0", r"$\pi$", r"$2\pi$"])
    figure.colorbar(image, ax=axes[3, :], label=r"$c^l(\Delta\theta)$", pad=0.02, aspect=12, extend="min")
    handles = axes[4, 0].get_legend_handles_labels()[0]
    handles += [entry("theory"), entry("simulation", ls="none", marker="o", mfc="none", ms=3)]
    legend(figure, handles, 5)
    return figure


def _circle_through_layers(
    axes: Any,
    sigma_w: float,
    angles: np.ndarray,
    offsets: np.ndarray,
    width: int,
    rng: np.random.Generator,
    progress: bool,
    description: str,
) -> tuple[Any, Any]:
    """A column of figure 3; returns points of row 3, and the image of row 4."""
    w2, b2 = sigma_w**2, SIGMA_B**2
    q = phase.fixed_point(PHI, w2, b2).q
    q_input = (q - b2) / w2
    hidden = signals.first_layer(signals.circle(rng, angles, width, q_input), w2, b2, rng)
    theory = (w2 * q_input * np.cos(offsets) + b2) / q
    measured = [signals.autocorrelation(hidden)]
    around = (angles + np.pi) % (2 * np.pi) - np.pi
    near = np.flatnonzero(np.abs(around) <= OFFSET)[:: 4 if len(angles) > 100 else 1]
    for l in bar(range(2, COMPARED[-1] + 1), progress, description):
        hidden = signals.next_layer(PHI, hidden, w2, b2, rng)
        # With an error bound, for errors near c = 1 grow by chi_1 per layer: 3e7-fold at sigma_w = 4.
        theory = ((w2 * expect_product(PHI, q, theory) + b2) / q).clip(-1, 1)
        measured.append(signals.autocorrelation(hidden))
        if l in PROJECTED:
            circle = _projection(axes[PROJECTED.index(l)], hidden, angles)
        if l in COMPARED:
            tone = TONES[COMPARED.index(l)]
            x, y = np.concatenate([-offsets[:0:-1], offsets]), np.concatenate([theory[:0:-1], theory])
            axes[4].plot(x, y, color=tone, lw=1.3, label=f"$l = {l}$")
            axes[4].plot(around[near], measured[-1][near], "o", ms=3, mfc="none", color=tone)
    image = axes[3].imshow(
        np.roll(measured, len(angles) // 2, axis=1),
        aspect="auto",
        extent=(-np.pi, np.pi, len(measured) + 0.5, 0.5),
        vmin=0,
        vmax=1,
        cmap="viridis",
        interpolation="nearest",
    )
    axes[3].set(xlabel=r"$\Delta\theta$", yticks=[1, 5, 10, 15, 20])
    axes[3].set_xticks([-np.pi, 0, np.pi], labels=[r"$-\pi$", "0", r"$\pi$"])
    axes[4].set(xlabel=r"$\Delta\theta$ (radians)", xlim=(-OFFSET, OFFSET), ylim=(0, 1.03))
    return circle, image


def _layers_to_settle(sigma_w2: float, sigma_b2: float, fixed: float) -> float:
    """Mean number of layers to within 10 % of q*, over 25 starts in (0, 15]."""
    q = np.linspace(0, 15, 26)[1:]
    counts = np.zeros(q.size)
    for _ in range(PATIENCE):
        waiting = (q - fixed) ** 2 >= SETTLED * fixed**2
        if not np.any(waiting):
            break
        counts += waiting
        q = phase.variance_map(PHI, q, sigma_w2, sigma_b2)
    return float(counts.mean())


# -- drawing -------------------------------------------------------------------------------------------------


def _points(ax: Axes, x: np.ndarray, samples: np.ndarray, colour: str) -> None:
    """Means and standard deviations over the last axis of `samples`."""
    options: dict[str, Any] = {"ms": 3, "mfc": "white", "mew": 0.9, "lw": 0.9, "zorder": 3, "clip_on": False}
    ax.errorbar(x, samples.mean(axis=1), samples.std(axis=1, ddof=1), fmt="o", color=colour, **options)


def _heat_map(
    ax: Axes,
    w: np.ndarray,
    b: np.ndarray,
    values: np.ndarray,
    label: str,
    extend: str = "neither",
    **limits: Any,
) -> Axes:
    """A field over standard deviations, with the edge of chaos and the networks."""
    mesh = ax.pcolormesh(w, b, values.T, shading="nearest", cmap="viridis", rasterized=True, **limits)
    ax.figure.colorbar(mesh, ax=ax, label=label, extend=extend)
    line = phase.critical_line(PHI)
    ax.plot(np.sqrt(line.sigma_w2), np.sqrt(line.sigma_b2), color="white", lw=1.6, ls=":")[0].set_gid("edge")
    for sigma_w, colour in zip(SIGMA_W, COLOURS, strict=True):
        ax.plot(sigma_w, SIGMA_B, "o", ms=6, color=colour, mec="white", mew=1)
    ax.set(xlabel=r"$\sigma_w$", ylabel=r"$\sigma_b$", xlim=(w[0], w[-1]), ylim=(b[0], b[-1]))
    return ax


def _projection(ax: Axes, h: np.ndarray, angles: np.ndarray) -> Any:
    """The points on their first two principal components, coloured by their angle.

    Returns what is drawn.
    """
    centred = h - h.mean(axis=0)
    n = len(h)
    squares, u = eigh(centred @ centred.T, subset_by_index=[n - 2, n - 1])
    x, y = (u * np.sqrt(squares)).T
    around: dict[str, Any] = {"cmap": "twilight", "vmin": 0, "vmax": 2 * np.pi}
    drawn = ax.scatter(x, y, c=angles, s=5, lw=0, rasterized=True, **around)
    ax.plot([*x, x[0]], [*y, y[0]], color="0.4", lw=0.5, zorder=0)
    share = 100 * np.sum(squares) / np.sum(centred**2)
    ax.set(xticks=[], yticks=[], xlabel=f"{share:.0f} % of the variance")
    ax.margins(0.08)
    ax.set_aspect("equal", adjustable="datalim")
    return drawn


def _legend(figure: Figure, fixed: str = "") -> None:
    handles = [
        entry(rf"$\sigma_w = {sigma_w}$", colour, lw=1.8)
        for sigma_w, colour in zip(SIGMA_W, COLOURS, strict=True)
    ]
    handles.append(entry("simulation", ls="none", marker="o", mfc="white", ms=4))
    handles.append(entry("identity", "0.5", ls="--", lw=1))
    handles.append(entry(r"$\chi_1 = 1$ (white in C, D)", ls=":", lw=1.6))
    filled: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 6}
    if fixed:
        handles.append(entry(fixed, mec="black", **filled))
    handles.append(entry("networks of A, B (C, D)", mec="white", **filled))
    legend(figure, handles, 4)

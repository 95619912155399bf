r"""Pennington, Schoenholz & Ganguli 2017: the spectrum of the Jacobian.

Of :math:`J = \prod_l D^l W^l` at criticality, :math:`\chi_1 = 1`: mean squared singular value 1 at every depth, and
spectra that spread all the same, but for orthogonal weights and units that are hardly ever saturated.

References
----------
Pennington, Schoenholz & Ganguli 2017, "Resurrecting the sigmoid in deep learning through dynamical isometry",
arXiv:1711.04735.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..gaussian import expect_product
from ..jacobian import IsometricInit, isometric_init, jacobian_moments, jacobian_spectrum
from ..layers import Dense, Pointwise
from ..network import Network
from ..sampled import jacobian_singular_values, sample
from ._style import bar, entry, legend, letter, marked, paper_style

__all__ = ["critical", "densities", "largest", "network", "squared_singular_values"]

DEPTHS, DEPTHS_FAST = (2, 8, 32, 128), (2, 8)
TONES = ("orange", "sky", "blue", "black")  # of the depths
WIDTH, WIDTH_FAST = 400, 60
Q = 0.15  # of the hard tanh networks in `densities`
LOWEST = 1e-3  # singular value that is shown
BINS, FEWEST = 15, 8  # of the simulation, and singular values in one
BESIDE = 1e-3  # relative distance within which a singular value is one of the isolated share
VARIANCES = (0.25, 1.0, 4.0)  # of the hard tanh networks in `largest`
SHORT = (1, 2, 4, 8, 16, 32, 64, 128)
MEASURED = (2, 8, 32, 128)


def network(phi: str, depth: int, width: int, init: IsometricInit, weights: str) -> Network:
    """The product of the paper: L times a matrix and the slopes behind it."""
    dense = Dense(width, init.sigma_w2, init.sigma_b2, weights=weights)
    return Network(width, [dense, Pointwise(phi)] * depth)


def squared_singular_values(net: Network, q0: float, rng: Any) -> np.ndarray:
    """Of one sampled network, at a random input of that mean square, with the zeros."""
    draw, place = np.random.default_rng(rng).spawn(2)
    x = place.standard_normal(net.n_inputs)
    one = sample(net, rng=draw)
    return jacobian_singular_values(one, x * np.sqrt(q0 / np.mean(x**2))) ** 2


def critical(phi: str, q: float) -> IsometricInit:
    """Variances at which q is a fixed point and chi_1 = 1."""
    seen, slope = (float(expect_product(phi, q, derivative=order)) for order in (0, 1))
    return IsometricInit(1 / slope, q - seen / slope, q, seen)


def _cases(variance: float | None = None) -> dict[str, tuple[str, str, Any]]:
    """Title: activation, weights, and the initialisation at a depth."""
    linear = IsometricInit(1.0, 0.0, 1.0, 1.0)
    he, at_q = IsometricInit(2.0, 0.0, 2.0, 1.0), critical("hard_tanh", Q)

    def hard(depth: int) -> IsometricInit:
        return at_q if variance is None else isometric_init("hard_tanh", depth, variance)

    return {
        "linear, Gaussian": ("linear", "gaussian", lambda depth: linear),
        "relu, orthogonal": ("relu", "orthogonal", lambda depth: he),
        "hard tanh, orthogonal": ("hard_tanh", "orthogonal", hard),
    }


# -- densities -----------------------------------------------------------------------------------------------


@paper_style
def densities(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Densities of singular values over depth, without and with isometry.

    Of the paper: the three kinds of networks, at criticality, at depths that double. Ours: every second doubling to
    128; hard tanh at :math:`q^* = 0.15`, where :math:`\sigma^2_{JJ^T} = 0.0099\,L`; densities of the logarithm of the
    singular value (the paper: of the singular value), because those of s end in a singularity at 0. Lines: free
    probability (`mfdnn.jacobian_spectrum`); points: one sampled network of 400 units, in bins of equally many singular
    values, at least eight. Shares that are 0 for certain, of inactive units, are in no bin: they are what a density
    lacks to 1; the isolated share of hard tanh at the largest singular value is an upright line, as high as its share,
    with a square where the sampled network has it.

    Parameters
    ----------
    fast : bool
        Depths 2 and 8, 60 units.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    depths, width = (DEPTHS_FAST, WIDTH_FAST) if fast else (DEPTHS, WIDTH)
    figure, axes = pyplot.subplots(1, 3, figsize=(7.0, 3.0), layout="constrained")
    seeds = iter(np.random.default_rng(rng).spawn(3 * len(depths)))
    for ax, name, (title, (phi, weights, init)) in zip(axes, "ABC", _cases().items(), strict=True):
        for depth, tone in zip(bar(depths, progress, title), TONES[-len(depths) :], strict=True):
            at = init(depth)
            net = network(phi, depth, width, at, weights)
            colour = plots.COLOURS[tone]
            found = jacobian_spectrum(net, q0=at.q0)
            inside = found.density > 0
            s = np.sqrt(found.grid[inside])
            ax.plot(s, 2 * found.grid[inside] * found.density[inside], color=colour)
            squares = squared_singular_values(net, at.q0, next(seeds))
            for place, mass in found.atoms:
                if place > 0:
                    ax.vlines(np.sqrt(place), LOWEST, mass, color=colour)
                    isolated = np.abs(squares - place) < BESIDE * place
                    ax.plot(np.sqrt(place), isolated.mean(), "s", ms=3.5, color=colour)
                    squares[isolated] = 0.0
            _histogram(ax, squares, colour)
        letter(ax, name, title)
        ax.set(xscale="log", yscale="log", ylim=(LOWEST, 4), xlim=(LOWEST, 30), xlabel="singular value $s$")
    axes[2].set_xlim(0.02, 3)
    axes[0].set_ylabel(r"density of $\log s$")
    shown = zip(depths, TONES[-len(depths) :], strict=True)
    handles: list[Any] = [entry(f"depth {depth}", plots.COLOURS[tone]) for depth, tone in shown]
    handles.append(marked("one sampled network", "0.3", "o", ls="none", ms=3))
    handles.append(marked("its isolated share (C: also lines)", "0.3", "s", ls="none", ms=3.5, mfc="0.3"))
    legend(figure, handles, 3)
    return figure


def _histogram(ax: Axes, squares: np.ndarray, colour: str) -> None:
    """Densities of log s as points, in bins of equally many."""
    log_s = np.sort(0.5 * np.log(squares[squares > LOWEST**2]))
    each = max(FEWEST, log_s.size // BINS)
    ends = log_s[::each]
    density = each / (squares.size * np.diff(ends))
    ax.plot(np.exp((ends[1:] + ends[:-1]) / 2), density, "o", ms=3, mfc="white", color=colour)


# -- the largest ---------------------------------------------------------------------------------------------


@paper_style
def largest(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Largest singular value, and variance of the squared ones, against depth.

    Of the paper: linear Gaussian, relu and hard tanh with orthogonal weights at criticality. Ours: hard tanh
    initialised for :math:`\sigma^2_{JJ^T}` = 1/4, 1 and 4 at each depth (`mfdnn.isometric_init`). A: the upper end of
    the spectrum; :math:`s_{max}` grows like :math:`\sqrt{eL}` where nothing holds it, and stays finite where the
    variance does. B: the variance. Points: the same of one sampled network of 400 units at an input of the
    stationary mean square; a largest singular value scatters by some per cent.

    Parameters
    ----------
    fast : bool
        Depths to 8, 60 units.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    width = WIDTH_FAST if fast else WIDTH
    depths, measured = ([x for x in which if x <= 8 or not fast] for which in (SHORT, MEASURED))
    figure, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.4), layout="constrained")
    handles: list[Any] = []
    hard = {variance: _cases(variance)["hard tanh, orthogonal"] for variance in VARIANCES}
    cases = {title: case for title, case in _cases().items() if case[0] != "hard_tanh"}
    cases |= {rf"hard tanh, orthogonal, $\sigma^2_{{JJ^T}} = {v:g}$": case for v, case in hard.items()}
    tones = ("black", "vermillion", "sky", "blue", "purple")
    seeds = iter(np.random.default_rng(rng).spawn(len(cases) * len(measured)))
    styles = zip(tones, "os^vD", strict=True)
    kinds = bar(cases.items(), progress, "kinds")
    for (title, (phi, weights, init)), (tone, marker) in zip(kinds, styles, strict=True):
        colour = plots.COLOURS[tone]
        theory, points = [], []
        for depth in depths:
            at = init(depth)
            net = network(phi, depth, width, at, weights)
            found = jacobian_spectrum(net, grid=[1.0], q0=at.q0)
            top = max([*found.edges, *(place for place, _ in found.atoms)])
            theory.append((np.sqrt(top), jacobian_moments(net, q0=at.q0).relative_variance))
            if depth in measured:
                squares = squared_singular_values(net, at.q0, next(seeds))
                points.append((np.sqrt(squares.max()), np.var(squares) / np.mean(squares) ** 2))
        for ax, values, found_there in zip(axes, np.transpose(theory), np.transpose(points), strict=True):
            shown = values > 1e-9  # relu and linear orthogonal networks of one layer have variances, all of these
            ax.plot(np.array(depths)[shown], values[shown], color=colour)
            ax.plot(measured, found_there, marker, color=colour, mfc="white", ms=4.5)
        handles.append(marked(title, colour, marker))
    for ax, name, title in zip(axes, "AB", ("largest singular value", "variance of squared ones"), strict=True):
        letter(ax, name, title)
        ax.set(xscale="log", yscale="log", xlabel="depth $L$")
    axes[0].set_ylabel(r"$s_{\max}$")
    axes[1].set_ylabel(r"$\sigma^2_{JJ^T}$, over the mean squared")
    handles.append(entry("lines: infinite width; marks: one network", ls="none"))
    legend(figure, handles, 2)
    return figure

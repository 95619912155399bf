r"""Pennington, Schoenholz & Ganguli 2018: spectra common to activations.

Orthogonal weights, :math:`\chi_1 = 1`, variances :math:`q^*` so small that :math:`\sigma^2_{JJ^T} = s_0^2` at each
depth: as :math:`L \to \infty` the spectrum is one of two, whose S-transforms are

.. math:: e^{-s_0^2 z/(1+z)} \text{ (Bernoulli: slopes 0 or 1)}, \qquad e^{-s_0^2 z} \text{ (smooth)}.

References
----------
Pennington, Schoenholz & Ganguli 2018, "The emergence of spectral universality in deep networks", arXiv:1802.09979.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..activations import Activation
from ..jacobian import isometric_init, jacobian_spectrum
from ._style import bar, entry, legend, letter, marked, paper_style
from .pennington2017 import network, squared_singular_values

__all__ = ["bernoulli_limit", "smooth_limit", "universality"]

VARIANCES = (0.25, 1.0, 4.0)  # s_0^2
DEPTH, DEPTH_FAST = 64, 8
WIDTH, WIDTH_FAST = 400, 60
BINS, FEWEST = np.geomspace(1e-2, 40, 31), 8  # of the simulation, and singular values in one that is shown
SHIFTED = Activation("shifted_relu", lambda x: np.maximum(x, -0.5), lambda x: 1.0 * (x > -0.5), kinks=[-0.5])
CLASSES: dict[str, dict[str, tuple[Any, str, str]]] = {
    "Bernoulli": {"hard tanh": ("hard_tanh", "blue", "o"), "shifted relu": (SHIFTED, "vermillion", "s")},
    "smooth": {"tanh": ("tanh", "blue", "o"), "erf": ("erf", "vermillion", "s")},
}


def bernoulli_limit(s2: float, place: np.ndarray) -> np.ndarray:
    r"""Density of the continuous part, slopes 0 or 1, in the limit of depth.

    With :math:`w = z/(1+z) = -W(-s_0^2/\lambda)/s_0^2`, Lambert's W, it is the imaginary part of
    :math:`G = 1/(\lambda(1-w))`. If :math:`s_0^2 < 1`, a share :math:`1 - s_0^2` is at :math:`e^{s_0^2}`.
    """
    from scipy.special import lambertw

    w = -lambertw(-s2 / place.astype(complex)) / s2
    density = np.abs((1 / (place * (1 - w))).imag) / np.pi
    return np.where(place < np.exp(1.0) * s2, density, 0.0)


def smooth_limit(s2: float, place: np.ndarray) -> np.ndarray:
    r"""Density for smooth activations in the limit of depth.

    G = (1+z)/lambda at the root in the upper half-plane of :math:`(1+z)/z\; e^{s_0^2 z} = \lambda`, which is followed
    from the upper edge, :math:`z = (-1 + \sqrt{1 + 4/s_0^2})/2`, down to the lower one.
    """
    ends = (-1 + np.array([-1, 1]) * np.sqrt(1 + 4 / s2)) / 2
    low, high = np.exp(s2 * ends) * (1 + ends) / ends
    density = np.zeros(place.size)
    z = complex(ends[1], 0.0)
    inside = np.flatnonzero((place > low) & (place < high))
    log_place, start = np.log(place), np.log(high)
    for i in inside[::-1]:
        for step in np.linspace(start, log_place[i], 21)[1:]:
            if z.imag == 0:  # at the edge the two roots part like a square root
                curvature = 1 / z**2 - 1 / (1 + z) ** 2
                z += 1j * np.sqrt(2 * abs(step - start) / curvature.real)
            for _ in range(60):
                error = np.log(1 + z) - np.log(z) + s2 * z - step
                z -= error / (1 / (1 + z) - 1 / z + s2)
        start = log_place[i]
        density[i] = abs((1 + z).imag) / place[i] / np.pi
    return density


@paper_style
def universality(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Spectra of deep isometric networks and the limits of their class.

    Of the paper: orthogonal weights, criticality, :math:`\sigma^2_{JJ^T} = s_0^2` held fixed by the initialisation
    (`mfdnn.isometric_init`). Ours: :math:`s_0^2` = 1/4, 1, 4; 64 layers; hard tanh and max(x, -1/2), tanh and erf;
    one sampled network of 400 units each (points, of at least eight singular values). Coloured lines: free
    probability at that depth; black: the limit. Places are over the mean squared singular value. The lower row
    comes close to its limit slowly: slopes of smooth activations are skew.

    Parameters
    ----------
    fast : bool
        8 layers, 60 units.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    depth, width = (DEPTH_FAST, WIDTH_FAST) if fast else (DEPTH, WIDTH)
    limits: dict[str, Callable] = {"Bernoulli": bernoulli_limit, "smooth": smooth_limit}
    figure, axes = pyplot.subplots(2, len(VARIANCES), figsize=(7.0, 4.8), layout="constrained")
    seeds = iter(np.random.default_rng(rng).spawn(4 * len(VARIANCES)))
    for row, (name, members) in zip(axes, CLASSES.items(), strict=True):
        for ax, s2 in zip(row, bar(VARIANCES, progress, name), strict=True):
            for phi, tone, marker in members.values():
                init = isometric_init(phi, depth, s2)
                net = network(phi, depth, width, init, "orthogonal")
                found = jacobian_spectrum(net, q0=init.q0)
                colour = plots.COLOURS[tone]
                inside = found.density > 0
                ax.plot(found.grid[inside], found.grid[inside] * found.density[inside], color=colour)
                squares = squared_singular_values(net, init.q0, next(seeds))
                top = max(found.edges) * (1 + 1e-9)
                squares = squares[(squares > BINS[0]) & (squares < top)]
                counts, _ = np.histogram(squares, BINS)
                density = np.where(counts >= FEWEST, counts / (width * np.diff(np.log(BINS))), np.nan)
                middle = np.sqrt(BINS[1:] * BINS[:-1])
                ax.plot(middle, density, marker, ms=3, mfc="white", color=colour)
            places = np.geomspace(1e-3, 4 * s2 + 8, 400)
            limit = limits[name](s2, places)
            ax.plot(places[limit > 0], (places * limit)[limit > 0], "--", color="black", lw=1.2)
            ax.set(xscale="log", yscale="log", xlim=(1e-2, 40), ylim=(1e-2, 5), xlabel=r"squared singular value")
    for ax, name, s2 in zip(axes.flat, "ABCDEF", VARIANCES * 2, strict=True):
        letter(ax, name, rf"$s_0^2 = {s2:g}$")
    for ax, name in zip(axes[:, 0], CLASSES, strict=True):
        ax.set_ylabel(rf"{name}: density of $\log\lambda$")
    handles = [
        marked(f"{upper} (A-C), {lower} (D-F)", plots.COLOURS[tone], marker)
        for (upper, (_, tone, marker)), lower in zip(CLASSES["Bernoulli"].items(), CLASSES["smooth"], strict=True)
    ]
    legend(figure, [*handles, entry("limit of depth", "black", ls="--", lw=1.2)], 3)
    return figure

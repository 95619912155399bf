r"""Convolutional networks: the size of an image, and which patterns get through.

References
----------
Xiao, Bahri, Sohl-Dickstein, Schoenholz & Pennington 2018, "Dynamical isometry and a mean field theory of CNNs: how to
train 10,000-layer vanilla convolutional neural networks", arXiv:1806.05393, for the modes. The figure is this
package's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import phase, plots
from ..architectures import cnn
from ..fisher import fisher_statistics
from ..network import Network
from ..sampled import fisher_spectrum, sample
from ._style import bar, entry, legend, letter, marked, paper_style, points, standard_error, ticks

__all__ = ["figure", "largest", "network"]

CHANNELS, CHANNELS_FAST = 64, 16
SIDES, SIDES_FAST = (4, 8, 16, 32, 64), (4, 8)
SAMPLED, SAMPLED_FAST = (4, 8, 16), (4,)
N_SAMPLES, N_NETWORKS, N_NETWORKS_FAST = 32, 24, 2
READOUTS = {"flatten": ("flatten", "blue", "o"), "average": ("mean of the sites", "vermillion", "s")}
PHI, BIAS, RING = "tanh", 0.05, 32
BELOW = 0.9  # of the critical weight variance, in the ordered phase


def network(side: int, channels: int, readout: str) -> Network:
    """Three relu convolutions of the ring, and ten outputs."""
    return cnn((3, side, side), [channels] * 3, 10, readout=readout, mode="circular")


def largest(side: int, channels: int, readout: str, n_networks: int, rng: Any) -> np.ndarray:
    """Largest Fisher eigenvalues of sampled networks at random images.

    The mean of the ten that belong to one eigenvalue at infinite width.
    """
    net, found = network(side, channels, readout), []
    for stream in np.random.default_rng(rng).spawn(n_networks):
        draw, images = stream.spawn(2)
        X = images.standard_normal((N_SAMPLES, *net.input_shape))
        found.append(np.mean(fisher_spectrum(sample(net, rng=draw), X).eigenvalues[: net.n_outputs]))
    return np.array(found)


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Largest Fisher eigenvalue and safe rate over the size of images; modes.

    Ours throughout: three convolutions of three taps along each axis of a ring, 64 channels, relu, He's
    initialisation, ten outputs, 32 random images of three channels. A: the largest eigenvalue of the Fisher
    information; lines: infinite width, points: mean of the ten largest eigenvalues of 24 sampled networks each,
    with standard errors. Laid flat, the sites have read-out weights of their own, and it grows with their number.
    B: the largest stable rate, :math:`2/\lambda_{max}`, for half the squared error. C: layers that a Fourier mode
    survives on a ring of 32 sites; tanh, :math:`\sigma_b^2 = 0.05`, nine tenths of the critical weight variance
    (`mfdnn.phase.convolution_modes`).

    Parameters
    ----------
    fast : bool
        16 channels, images of 4 x 4 and 8 x 8, two networks.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    channels, sides, sampled, n_networks = (
        (CHANNELS_FAST, SIDES_FAST, SAMPLED_FAST, N_NETWORKS_FAST) if fast else (CHANNELS, SIDES, SAMPLED, N_NETWORKS)
    )
    seeds = iter(np.random.default_rng(rng).spawn(2 * len(sampled)))
    figure, (eigenvalue, rate, modes) = pyplot.subplots(1, 3, figsize=(7.0, 3.0), layout="constrained")
    handles: list[Any] = []
    for readout, (label, tone, marker) in READOUTS.items():
        colour = plots.COLOURS[tone]
        nets = [network(side, channels, readout) for side in sides]
        theory = np.array([fisher_statistics(net, N_SAMPLES).largest for net in nets])
        eigenvalue.plot(sides, theory, color=colour)
        rate.plot(sides, 2 / theory, color=colour)
        values = np.array([
            largest(side, channels, readout, n_networks, next(seeds)) for side in bar(sampled, progress, label)
        ])
        points(eigenvalue, sampled, values.mean(axis=1), standard_error(values), colour, marker)
        handles.append(marked(f"{label} (A, B)", colour, marker))
    handles += _modes(modes)
    for ax in (eigenvalue, rate):
        ax.set(xscale="log", yscale="log", xlabel="side of the image")
        ticks(ax.xaxis, sides)
    eigenvalue.set_ylabel(r"$\lambda_{\max}$")
    rate.set_ylabel(r"$2/\lambda_{\max}$")
    letter(eigenvalue, "A", "largest eigenvalue")
    letter(rate, "B", "largest stable rate")
    letter(modes, "C", "what a mode survives")
    legend(figure, handles, 2)
    return figure


def _modes(ax: Axes) -> list[Any]:
    """Depth scales against wave numbers; entries of a legend."""
    sigma_w2 = BELOW * float(phase.critical_sigma_w2(PHI, BIAS))
    wave = np.arange(RING // 2 + 1)
    handles = []
    for weights, tone, label in (("gaussian", "black", "Gaussian"), ("delta_orthogonal", "green", "delta-orthogonal")):
        found = phase.convolution_modes(PHI, sigma_w2, BIAS, sites=RING, weights=weights)
        ax.plot(wave, found.xi[: wave.size], ".-", color=plots.COLOURS[tone])
        handles.append(entry(f"{label} weights (C)", plots.COLOURS[tone], marker="."))
    ax.set(yscale="log", xlabel="wave number", ylabel="layers")
    return handles

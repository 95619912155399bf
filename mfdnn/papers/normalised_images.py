r"""Batch norm and skip connections in networks of images: the largest eigenvalue.

References
----------
Karakida, Akaho & Amari 2019, "The normalization method for alleviating pathological sharpness in wide neural
networks", NeurIPS 2019, arXiv:1906.02926, for the claim that normalisation in hidden layers leaves the largest
eigenvalue of order M. The figure is this package's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from ..kernels import kernel_spectrum
from ..layers import BatchNorm, Conv, Dense, GlobalAveragePool, Layer, MeanSubtraction, Pointwise, Residual
from ..network import Network
from ..sampled import fisher_spectrum, sample
from ._style import bar, legend, letter, marked, paper_style, points, standard_error, ticks

__all__ = ["CHANNELS", "DEPTHS", "METHODS", "chain", "figure", "infinitely_wide", "largest", "residual"]

SHAPE, N_SAMPLES, SIGMA_W2 = (3, 6, 6), 16, 2.0
CHANNELS, CHANNELS_FAST = (16, 32, 64, 128), (8, 16)
DEPTHS, DEPTHS_FAST = (1, 2, 4, 8), (1, 2)  # blocks
WIDTH, WIDTH_FAST = 64, 8
N_NETWORKS, N_NETWORKS_FAST = 20, 2
METHODS = {  # normalisation in hidden layers, of the outputs: colour, marker, words
    (False, False): ("black", "o", "none"),
    (True, False): ("orange", "v", "batch norm, hidden layers"),
    (False, True): ("blue", "s", "mean subtraction, outputs (A; no theory)"),
}


def convolution(channels: int, norm: bool) -> list[Layer]:
    """A convolution of the ring, with a normalisation behind it or not."""
    norms: list[Layer] = [BatchNorm(affine=False)] if norm else []
    return [Conv(channels, 3, SIGMA_W2, mode="circular"), *norms]


def chain(channels: int, norm: bool, centred: bool = False) -> Network:
    """Three relu convolutions, the mean over sites, one output, centred or not."""
    layers = [layer for _ in range(3) for layer in (*convolution(channels, norm), Pointwise("relu"))]
    last: list[Layer] = [MeanSubtraction()] if centred else []
    return Network(SHAPE, [*layers, GlobalAveragePool(), Dense(1, SIGMA_W2), *last])


def residual(n_blocks: int, channels: int, norm: bool) -> Network:
    """A stem, blocks of two convolutions and an activation, and one output."""
    layers: list[Layer] = [*convolution(channels, norm), Pointwise("relu")]
    for _ in range(n_blocks):
        block = [*convolution(channels, norm), Pointwise("relu"), *convolution(channels, norm)]
        layers += [Residual(block), Pointwise("relu")]
    return Network(SHAPE, [*layers, GlobalAveragePool(), Dense(1, SIGMA_W2)])


def infinitely_wide(net: Network) -> float:
    """Largest eigenvalue of the kernel of random images, over their number."""
    return kernel_spectrum(net, N_SAMPLES).largest / N_SAMPLES


def largest(net: Network, n_networks: int, rng: Any) -> np.ndarray:
    """Largest Fisher eigenvalues of sampled networks, each at images of its own."""
    found = []
    for stream in np.random.default_rng(rng).spawn(n_networks):
        draw, images = stream.spawn(2)
        X = images.standard_normal((N_SAMPLES, *net.input_shape))
        found.append(fisher_spectrum(sample(net, rng=draw), X, k=1).largest)
    return np.array(found)


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Largest Fisher eigenvalue over channels, safe rate over depth.

    Ours throughout: convolutions of three by three taps on a ring, relu, He's initialisation, gains not trained, the
    mean over sites, one output, 16 random images of 6 x 6 sites and three channels. A: three convolutions. Batch norm
    in the hidden layers divides the largest eigenvalue by a number that hardly changes: it still grows like the
    channels. Mean subtraction of the outputs leaves a bulk, of the order of channels over samples; its edge has no
    theory with several sites, points only. B: :math:`2/\lambda_{max}` for half the squared error, of residual
    networks of 64 channels whose blocks have two convolutions and an activation behind the sum. Lines: infinite width,
    units sampled where there is no closed form, with errors below their breadth; points: means over 20 networks with
    standard errors (B: of :math:`2/\lambda_{max}` at the mean).

    Parameters
    ----------
    fast : bool
        8 and 16 channels, one and two blocks, two networks.
    rng, progress
        As for every figure (`PaperFigure`).

    Returns
    -------
    matplotlib.figure.Figure
    """
    channels, depths, width, n_networks = (
        (CHANNELS_FAST, DEPTHS_FAST, WIDTH_FAST, N_NETWORKS_FAST) if fast else (CHANNELS, DEPTHS, WIDTH, N_NETWORKS)
    )
    seeds = iter(np.random.default_rng(rng).spawn(len(METHODS) * (len(channels) + len(depths))))
    figure, (eigenvalue, rate) = pyplot.subplots(1, 2, figsize=(7.0, 3.2), layout="constrained")
    handles: list[Any] = []
    for (norm, centred), (tone, marker, label) in METHODS.items():
        colour = plots.COLOURS[tone]
        nets = [chain(n, norm, centred) for n in channels]
        if not centred:
            theory = [infinitely_wide(net) for net in nets]
            eigenvalue.plot(channels, theory, color=colour)
        values = np.array([largest(net, n_networks, next(seeds)) for net in bar(nets, progress, label)])
        points(eigenvalue, channels, values.mean(axis=1), standard_error(values), colour, marker)
        handles.append(marked(label, colour, marker, **({"ls": "none"} if centred else {})))
        if centred:
            continue
        nets = [residual(n, width, norm) for n in depths]
        rate.plot(depths, [2 / infinitely_wide(net) for net in nets], color=colour)
        values = np.array([largest(net, n_networks, next(seeds)) for net in bar(nets, progress, label)])
        mean, error = values.mean(axis=1), standard_error(values)
        points(rate, depths, 2 / mean, 2 * error / mean**2, colour, marker)
    eigenvalue.set(xscale="log", yscale="log", xlabel="channels", ylabel=r"$\lambda_{\max}$")
    rate.set(xscale="log", yscale="log", xlabel="blocks", ylabel=r"$2/\lambda_{\max}$")
    ticks(eigenvalue.xaxis, channels)
    ticks(rate.xaxis, depths)
    letter(eigenvalue, "A", "three convolutions")
    letter(rate, "B", "residual networks")
    legend(figure, handles, 3)
    return figure

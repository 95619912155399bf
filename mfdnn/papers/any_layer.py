r"""The 95 % rate of single networks, for layers of every kind.

`mfdnn.outlier_distribution` at given inputs, against networks that were drawn.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from ..ensembles import ensemble
from ..finite_width import outlier_distribution
from ..layers import (
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    Gate,
    GlobalAveragePool,
    Layer,
    LayerNorm,
    MaxPool,
    Pointwise,
    Residual,
    RMSNorm,
)
from ..network import Network
from ._style import bar, entry, legend, letter, marked, paper_style, shade

__all__ = ["figure", "networks"]

CONFIDENCE, ALLOWED = 0.95, (0.92, 0.98)
IMAGES, VECTORS = (8, 4, 6, 6), (12, 32)  # inputs
WIDTH, WIDTH_FAST = 64, 24


def networks(fast: bool = False) -> dict[str, Network]:
    """The ten networks; `fast`: narrow ones, and the first three."""
    m = WIDTH_FAST if fast else WIDTH

    def relu() -> Layer:
        return Pointwise("relu")

    def dense(n: int = m) -> Layer:
        return Dense(n, 2.0, 0.1)

    def conv(n: int, **options: Any) -> Layer:
        return Conv(n, 3, 2.0, 0.1, **options)

    def norms(norm: Any) -> list[Layer]:
        return [layer for _ in range(2) for layer in (dense(), norm(eps=1e-5), relu())]

    bodies: dict[str, list[Layer]] = {
        "stride, flatten": [conv(m // 2), relu(), conv(m, stride=2), relu(), Flatten()],
        "residual": [dense(), *[Residual([relu(), dense(), relu(), dense()]) for _ in range(2)], relu()],
        "layer norm": norms(LayerNorm),
        "global average": [conv(m // 2), relu(), conv(m), relu(), GlobalAveragePool()],
        "max pooling": [conv(m // 2), relu(), MaxPool(2), conv(m), relu(), Flatten()],
        "projection": [
            conv(m // 2),
            relu(),
            Residual([conv(m, stride=2), relu(), conv(m)], [Conv(m, 1, 1.0, stride=2)]),
            relu(),
            GlobalAveragePool(),
        ],
        "average pooling": [conv(m // 2), Pointwise("gelu"), AveragePool(2), conv(m), Pointwise("tanh"), Flatten()],
        "gate": [Gate(dense(), dense(), "sigmoid"), dense(), relu()],
        "RMS norm": [dense(), *[Residual([RMSNorm(), relu(), dense()]) for _ in range(2)], RMSNorm()],
        "batch norm": norms(BatchNorm),
    }
    chosen = list(bodies.items())[: 3 if fast else None]
    vectors = {"residual", "layer norm", "gate", "RMS norm", "batch norm"}
    return {name: Network(VECTORS[1] if name in vectors else IMAGES[1:], [*body, dense(1)]) for name, body in chosen}


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Share of drawn networks below the predicted 95 % quantile, and their spread.

    The result and the settings are ours, of no paper: ten architectures of width 64 (images: 32 and 64 channels),
    :math:`(\sigma_w^2, \sigma_b^2)` = (2, 0.1), one output, 12 Gaussian inputs of 32 numbers (batch norm: 48) or 8
    images 4x6x6, the same for all 300 networks of an architecture. A: networks whose :math:`\lambda_{max}` is below
    the 95 % quantile of `outlier_distribution`, so that :math:`2/q_{95}` is a stable rate for them, with binomial
    standard errors; dashed 95 %, shaded 92 to 98 %. B: standard deviation over mean, of the law (bars) and of the
    networks.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: width 24, three architectures, 12 networks each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    nets = networks(fast)
    n_networks = 12 if fast else 300
    children = np.random.default_rng(rng).spawn(2 * len(nets))
    below, predicted, measured, errors = [], [], [], []
    for i, (_, net) in enumerate(bar(nets.items(), progress, "architectures")):
        n_samples = IMAGES[0] if len(net.input_shape) > 1 else 48 if net.couples_samples else VECTORS[0]
        X = children[2 * i].standard_normal((n_samples, *net.input_shape))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of narrow networks
            law = outlier_distribution(net, inputs=X)
        drawn = ensemble(net, inputs=X, n_networks=n_networks, rng=children[2 * i + 1]).values["lambda_max"]
        below.append(np.mean(drawn < law.quantile(CONFIDENCE)))
        predicted.append(law.relative_spread)
        relative = drawn / drawn.mean() - 1
        measured.append(relative.std())
        errors.append(np.std(relative**2) / (2 * np.sqrt(n_networks) * relative.std()))
    drawing, axes = pyplot.subplots(1, 2, figsize=(7.0, 3.2), sharey=True, layout="constrained")
    places = np.arange(len(nets))[::-1]
    shares = np.array(below)
    axes[0].axvspan(*(100 * share for share in ALLOWED), color="0.9")
    axes[0].axvline(100 * CONFIDENCE, color="0.4", linestyle="--", linewidth=1)
    axes[0].errorbar(
        100 * shares, places, xerr=100 * np.sqrt(shares * (1 - shares) / n_networks), fmt="o", color="C0", markersize=4
    )
    axes[0].set_yticks(places, list(nets))
    axes[0].set_ylabel("architecture")
    axes[0].set_xlabel("networks below the 95 % quantile (%)")
    axes[1].barh(places, predicted, color="C1", alpha=0.5, height=0.6)
    axes[1].errorbar(measured, places, xerr=errors, fmt="o", color="C0", markersize=4)
    axes[1].set_xlabel(r"standard deviation of $\lambda_\mathrm{max}$ over its mean")
    letter(axes[0], "A", "who is safe at $2/q_{95}$")
    letter(axes[1], "B", "spread over networks")
    handles = [
        marked(f"{n_networks} networks", "C0", "o", ls="none", mfc="C0"),
        entry("95 %", "0.4", ls="--", lw=1),
        shade("92 to 98 %", "0.9", alpha=1),
        shade("law", "C1", alpha=0.5),
    ]
    legend(drawing, handles, 4)
    return drawing

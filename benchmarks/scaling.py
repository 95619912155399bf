"""How times grow with points, layers, samples, terms and threads: figures/scaling.png (two to three minutes)."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from baselines import cores, seconds

import mfdnn
from mfdnn import _compiled
from mfdnn.gaussian.tables import tables
from mfdnn.papers._style import entry, legend, letter, marked, paper_style, ticks
from mfdnn.plots import COLOURS

FIGURE = Path(__file__).parent.parent / "figures" / "scaling.png"
REPEATS = 3
STYLES = {"tanh": ("blue", "o"), "relu": ("vermillion", "s")}


def diagram(n, threads=1):
    """Seconds for n x n points; tables exist."""
    axes = np.linspace(0.1, 4, n), np.linspace(0, 0.5, n)
    with cores(threads), ThreadPoolExecutor(threads) as pool:
        return seconds(lambda: mfdnn.phase_diagram("tanh", *axes, executor=pool), REPEATS)


def kernel(name, n_samples, n_layers):
    """Seconds for order parameters of every pair of real inputs."""
    X = np.random.default_rng(0).standard_normal((n_samples, 100))
    net = mfdnn.mlp([100] * n_layers + [1], name, sigma_w2=2.0, sigma_b2=0.1)
    return seconds(lambda: mfdnn.order_parameters(net, inputs=X), REPEATS)


def series(n_terms, n_pairs=100_000):
    """Seconds for a Hermite series of so many terms at pairs of variances of their own."""
    table = tables(mfdnn.activation("tanh")).hermite
    short = table._replace(values=np.ascontiguousarray(table.values[:, :, : n_terms + 1]))
    rng = np.random.default_rng(0)
    q1, q2, c = *rng.uniform(0.5, 2, (2, n_pairs)), rng.uniform(-1, 1, n_pairs)
    return seconds(lambda: _compiled.series_products(short, q1, q2, c), REPEATS)


def sweep(function, values):
    """Seconds at each of the values, after one call that compiles and builds tables."""
    function(values[0])
    return np.array([function(value) for value in values])


PANELS = {  # title, abscissa, the power of it that times should follow
    "points": ("phase diagram", "points a side", 2),
    "depth": ("order parameters, $T = 300$", "weight layers $L$", 1),
    "samples": ("order parameters, $L = 5$", "inputs $T$", 2),
    "terms": ("$10^5$ Hermite series", "Hermite terms $K$", 1),
    "threads": (r"$512 \times 512$ phase diagram", "threads, one a core", 1),
}


def measure():
    """Of each panel, the abscissa and the times by activation; of threads, how many times faster."""
    sides, layers, samples = [32, 64, 128, 256, 512, 1024], [4, 8, 16, 32, 64], [125, 250, 500, 1000, 2000]
    terms, threads = [8, 16, 32, 64, 128], list(range(1, len(os.sched_getaffinity(0)) + 1))
    times = sweep(lambda n: diagram(512, n), threads)
    return {
        "points": (sides, {"tanh": sweep(diagram, sides)}),
        "depth": (layers, {name: sweep(lambda n, name=name: kernel(name, 300, n), layers) for name in STYLES}),
        "samples": (samples, {name: sweep(lambda n, name=name: kernel(name, n, 5), samples) for name in STYLES}),
        "terms": (terms, {"tanh": sweep(series, terms)}),
        "threads": (threads, {"tanh": times[0] / times}),
    }


@paper_style
def draw(measured):
    """Points on logarithmic axes, and lines of the power they should follow."""
    figure, axes = plt.subplots(2, 3, figsize=(7.0, 4.6), layout="constrained")
    for ax, panel, (name, (title, label, power)) in zip(axes.flat, "ABCDE", PANELS.items(), strict=False):
        x, curves = measured[name]
        for phi, values in curves.items():
            colour, marker = STYLES[phi]
            ax.plot(x, values, color=COLOURS[colour], marker=marker, ms=4.5, mfc="white", lw=1.2)
        at = 0 if name == "threads" else -1  # where the line meets the points
        ax.plot(x, curves["tanh"][at] * (np.array(x) / x[at]) ** power, color="0.3", ls="--", lw=1, zorder=1)
        ax.set(xscale="log", yscale="log", xlabel=label, ylabel="times faster" if name == "threads" else "seconds")
        ticks(ax.xaxis, x if name == "threads" else x[::-2])
        if name == "threads":
            ticks(ax.yaxis, x)
        letter(ax, panel, title)
    axes[1, 2].axis("off")
    handles = [marked(phi, COLOURS[colour], marker) for phi, (colour, marker) in STYLES.items()]
    legend(figure, [*handles, entry("proportional to points, layers, pairs, terms, threads", ls="--", lw=1)], 3)
    return figure


def main():
    draw(measure()).savefig(FIGURE, dpi=150)
    print(f"wrote {FIGURE}")


if __name__ == "__main__":
    main()

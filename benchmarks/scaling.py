"""How times grow with points, layers, samples, terms and threads: figures/scaling.png (two to three minutes)."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from baselines import cores, seconds
from matplotlib.ticker import FixedLocator, NullLocator

import mfdnn
from mfdnn import _compiled
from mfdnn.gaussian.tables import tables

FIGURE = Path(__file__).parent.parent / "figures" / "scaling.png"
REPEATS = 3
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "0.6"


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


def draw(ax, x, curves, power, label):
    """Points on two logarithmic axes, and a line of the power they should follow."""
    for (name, t), colour in zip(curves.items(), (BLUE, VERMILLION), strict=False):
        ax.loglog(x, t, "o-", color=colour, label=name, markersize=4, linewidth=1)
    t = next(iter(curves.values()))
    ax.loglog(x, t[-1] * (np.array(x) / x[-1]) ** power, "--", color=GREY, linewidth=1, zorder=0)
    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(FixedLocator(x[::-2]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    if len(curves) > 1:
        ax.legend(frameon=False)


def main():
    sides = [32, 64, 128, 256, 512, 1024]
    layers = [4, 8, 16, 32, 64]
    samples = [125, 250, 500, 1000, 2000]
    terms = [8, 16, 32, 64, 128]
    threads = list(range(1, len(os.sched_getaffinity(0)) + 1))

    fig, axes = plt.subplots(2, 3, figsize=(9, 5.2), layout="constrained")
    (points, depth, size), (order, speed_up, note) = axes
    draw(points, sides, {"tanh": sweep(diagram, sides)}, 2, "points a side")
    by_depth = {name: sweep(lambda n, name=name: kernel(name, 300, n), layers) for name in ("tanh", "relu")}
    draw(depth, layers, by_depth, 1, "weight layers $L$, for $T = 300$")
    by_size = {name: sweep(lambda n, name=name: kernel(name, n, 5), samples) for name in ("tanh", "relu")}
    draw(size, samples, by_size, 2, "inputs $T$, for $L = 5$")
    draw(order, terms, {"tanh": sweep(series, terms)}, 1, "Hermite terms $K$")
    for ax in (points, depth, size, order):
        ax.set_ylabel("seconds")
    times = sweep(lambda n: diagram(512, n), threads)
    speed_up.plot(threads, times[0] / times, "o-", color=BLUE, markersize=4, linewidth=1)
    speed_up.plot(threads, threads, "--", color=GREY, linewidth=1, zorder=0)
    speed_up.set(xlabel="threads, one a core", ylabel="times faster", xticks=threads)
    note.axis("off")
    note.text(
        0, 0.5, "dashed: proportional to the number of\npoints, layers, pairs, terms, threads", va="center"
    )
    titles = (
        "phase diagram, tanh",
        "order parameters of data",
        "order parameters of data",
        "$10^5$ Hermite series, tanh",
        "$512 \\times 512$ phase diagram, tanh",
    )
    for letter, title, ax in zip("abcde", titles, (points, depth, size, order, speed_up), strict=True):
        ax.set_title(rf"$\mathbf{{{letter}}}$   {title}", loc="left", fontsize="medium")
    fig.savefig(FIGURE, dpi=150)
    print(f"wrote {FIGURE}")


if __name__ == "__main__":
    main()

"""Many sampled networks."""

import multiprocessing
import statistics
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from baselines import seconds

import mfdnn
from mfdnn.ensemble.run import run

NETWORKS = 16
ROUNDS = 5
POOLS = {
    "threads": ThreadPoolExecutor,
    "processes": lambda n: ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn")),
}


def draw(pool, n_networks=NETWORKS):
    net = mfdnn.mlp([200, 200, 200, 10], "tanh", sigma_w2=2.0, sigma_b2=0.1)
    return mfdnn.ensemble(net, n_samples=100, n_networks=n_networks, rng=0, executor=pool)


def test_two_workers(timed, row):
    """Ratios of neighbours in time: the machine may slow down and recover on the way."""
    for kind, make in POOLS.items():
        with make(1) as one, make(2) as two:
            for pool in (one, two):
                draw(pool, 4)  # processes start, and import
            pairs = [(seconds(lambda: draw(one), 1), seconds(lambda: draw(two), 1)) for _ in range(ROUNDS)]
        ratio = statistics.median(a / b for a, b in pairs)
        row(
            f"ensemble of {NETWORKS} networks, 200-200-200-10, T = 100, on two {kind}",
            "1.8x",
            f"{statistics.median(b for _, b in pairs):.2f} s, {ratio:.2f}x",
            ratio >= 1.8,
        )
    timed(lambda: draw(None, 2), rounds=1)


def peak(n_networks):
    """Bytes taken on the way, and those of the numbers that are returned."""
    net = mfdnn.mlp([4, 4, 1], "linear", sigma_w2=2.0, sigma_b2=0.1)
    tracemalloc.start()
    ens = mfdnn.ensemble(net, n_samples=2, n_networks=n_networks, rng=0)
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size, sum(array.nbytes for array in ens.values.values())


def test_memory(timed, row):
    timed(lambda: peak(10), rounds=1)
    (few, few_numbers), (many, many_numbers) = peak(6000), peak(12000)  # both more than are ever in flight
    growth = (many - many_numbers) / (few - few_numbers)
    row(
        "memory of 12000 networks, beside their numbers",
        "that of 6000",
        f"{(many - many_numbers) / 2**20:.1f} MiB, {growth:.2f} times that of 6000",
        growth < 1.1,
    )


def value(i):
    """A task of no time."""
    return {"x": i}


def test_overhead(timed, row):
    n = 2000
    with POOLS["processes"](2) as pool:
        run(value, range(10), executor=pool)
        each = timed(lambda: run(value, range(n), executor=pool)) / n
    row("what a short task costs on two processes", "", f"{1e6 * each:.0f} microseconds", None)

"""Many sampled networks."""

import multiprocessing
import statistics
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import mfdnn
from mfdnn.jobs.run import run

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
    timed(lambda: draw(None, 2), rounds=1)
    for kind, make in POOLS.items():
        with make(1) as one, make(2) as two:
            for pool in (one, two):
                draw(pool, 4)  # processes start, and import
            pairs = [(wall_and_cpu(one), wall_and_cpu(two)) for _ in range(ROUNDS)]
        ratio = statistics.median(a[0] / b[0] for a, b in pairs)
        cost = statistics.median(b[1] / a[1] for a, b in pairs)
        row(
            f"ensemble of {NETWORKS} networks, 200-200-200-10, T = 100, on two {kind}",
            "1.8x",
            f"{statistics.median(b[0] for _, b in pairs):.2f} s, {ratio:.2f}x"
            + (f"; processor time {cost:.2f} times that of one" if kind == "threads" else ""),
            ratio >= 1.8,
        )


def wall_and_cpu(pool):
    """Seconds of an ensemble, and of this process on a core, which other work on the machine does not lengthen."""
    start, busy = time.perf_counter(), time.process_time()
    draw(pool)
    return time.perf_counter() - start, time.process_time() - busy


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
    (few, few_numbers), (many, many_numbers) = peak(5000), peak(8000)  # both more than are ever in flight
    growth = (many - many_numbers) / (few - few_numbers)
    row(
        "memory of 8000 networks, beside their numbers",
        "that of 5000",
        f"{(many - many_numbers) / 2**20:.1f} MiB, {growth:.2f} times that of 5000",
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

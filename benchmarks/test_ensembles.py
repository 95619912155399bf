"""Many sampled networks."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

from baselines import seconds

import mfdnn

NETWORKS = 16


def run(n_networks, workers):
    net = mfdnn.mlp([200, 200, 200, 10], "tanh", sigma_w2=2.0, sigma_b2=0.1)
    with ThreadPoolExecutor(workers) as pool:
        return mfdnn.ensemble(net, n_samples=100, n_networks=n_networks, rng=0, executor=pool)


def peak(n_networks):
    tracemalloc.start()
    run(n_networks, 1)
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


def test_two_workers(timed, row):
    two = timed(lambda: run(NETWORKS, 2))
    one = seconds(lambda: run(NETWORKS, 1))
    growth = peak(4 * NETWORKS) / peak(NETWORKS)
    row(
        f"ensemble of {NETWORKS} networks, 200-200-200-10, T = 100, on two workers",
        "1.8x; memory independent of the number of networks",
        f"{two:.2f} s, {one / two:.2f}x; {growth:.2f} times the memory for {4 * NETWORKS} networks",
        one / two >= 1.8 and growth < 1.1,
    )

"""The first step of every optimiser, before a network is drawn."""

import time
from statistics import median

import pytest

import mfdnn
from mfdnn.losses.optimisers import RULES


def processor_seconds(function, rounds=3):
    """Median over rounds, of all threads, after one that warms up."""
    found = []
    for _ in range(rounds + 1):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return median(found[1:])


@pytest.mark.parametrize("n_outputs", [1, 10])
def test_every_optimiser(n_outputs, timed, row):
    net = mfdnn.mlp([1000] * 8 + [n_outputs], "relu", init="he")
    timed(lambda: mfdnn.first_step(net, "sgd", 100), rounds=1)
    found = {name: processor_seconds(lambda name=name: mfdnn.first_step(net, name, 100)) for name in RULES}
    slowest = max(found, key=found.get)
    row(
        f"first step of any optimiser, M = 1000, L = 8, T = 100, C = {n_outputs}",
        "< 1 s",
        f"{found[slowest]:.2f} s ({slowest}); sgd {found['sgd']:.2f} s, muon {found['muon']:.2f} s of one core",
        found[slowest] < 1,
    )

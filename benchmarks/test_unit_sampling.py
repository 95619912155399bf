"""Sampled units: standard error and processor time, beside what sampled networks take for the same error."""

import time

import numpy as np
import pytest

import mfdnn

N_NETWORKS = 6


def multilayer():
    hidden = [mfdnn.Dense(500, 2.0, 0.1), mfdnn.BatchNorm(), mfdnn.Pointwise("relu")]
    net = mfdnn.Network(64, [*hidden, *hidden, mfdnn.Dense(1, 2.0, 0.1)])
    return net, np.random.default_rng(5).standard_normal((100, 64))


def residual():
    return mfdnn.resnet2d((3, 8, 8), 1), np.random.default_rng(3).standard_normal((8, 3, 8, 8)) + 0.7


CASES = {
    "batch norm, 64-500-500-1, T = 100": (multilayer, 0.001, 1.0),
    "resnet2d mini, 8 images 8 x 8": (residual, 0.01, 60.0),
}


def processor_time(function):
    start = time.process_time()
    return function(), time.process_time() - start


def largest_of_one(net, X, seed):
    return mfdnn.fisher_spectrum(mfdnn.sample(net, rng=seed), X, k=1).largest


@pytest.mark.filterwarnings("ignore:sampling units takes long")
@pytest.mark.parametrize("name", CASES)
def test_error_and_time(name, timed, row):
    make, bar, seconds = CASES[name]
    net, X = make()
    mfdnn.fisher_statistics(mfdnn.MeanField(net, inputs=X[:8], n_units=16))  # imports
    found = []
    timed(lambda: found.append(processor_time(lambda: mfdnn.fisher_statistics(net, inputs=X))), rounds=3)
    (fim, _), taken = found[-1], np.median([each for _, each in found])
    error = fim.standard_error["largest"] / fim.largest
    largest, by_networks = processor_time(lambda: [largest_of_one(net, X, seed) for seed in range(N_NETWORKS)])
    # Networks for the same error, if they were centred on the same number, which they are at infinite width alone.
    n_networks = (np.std(largest, ddof=1) / np.mean(largest) / error) ** 2
    as_long = n_networks * by_networks / N_NETWORKS
    row(
        f"sampled units, {name}: standard error of lambda_max",
        f"{bar:.1%} in {seconds:g} s",
        f"{error:.2%} in {taken:.2f} s of processor time; {n_networks:.0f} sampled networks would take {as_long:.1f} s",
        error < bar and taken < seconds,
    )

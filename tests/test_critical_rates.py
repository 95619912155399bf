"""Critical rates of fresh networks against those that were predicted before one was drawn."""

import numpy as np
import pytest
from slow import slow

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.training import critical_rate

RELU, TANH = ("relu", 2.0, (0.8, 1.4)), ("tanh", 1.0, (0.8, 1.3))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", slow("muon")])
@pytest.mark.parametrize(
    ("kind", "depth", "width"),
    [(RELU, 3, 256), (TANH, 3, 256), slow(RELU, 2, 256), slow(RELU, 4, 400), slow(TANH, 6, 256), slow(TANH, 4, 512)],
)
def test_the_median_of_fourteen_networks_is_near_the_predicted_rate(kind, depth, width, optimizer):
    """Half MSE on 64 inputs with one-hot labels of ten classes; L/sqrt M <= 0.2 for relu."""
    phi, sigma_w2, (low, high) = kind
    rng = np.random.default_rng(1)
    X, Y = gaussian_inputs(64, 64, rng=rng), np.eye(10)[rng.integers(0, 10, 64)]
    net = mfdnn.mlp([64, *[width] * (depth - 1), 10], phi, sigma_w2)
    predicted = mfdnn.first_step(net, optimizer, inputs=X, targets=Y)
    found = [critical_rate(mfdnn.sample(net, rng=child), X, Y, optimizer).rate for child in rng.spawn(14)]
    assert low <= np.median(found) / predicted.critical_learning_rate <= high
    # Of fourteen networks about one lies outside of a band of 90 %; five or more by chance once in a thousand times.
    outside = [rate for rate in found if not 0.9 * predicted.band[0] <= rate <= 1.1 * predicted.band[1]]
    assert len(outside) <= 5

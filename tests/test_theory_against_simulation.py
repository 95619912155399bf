"""Idea 3: theory and sampled networks agree, row by row, within standard errors and stated corrections."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import digits
from mfdnn.phase import critical_point

M = 200


def dense(activation, sigma_w2, sigma_b2, widths=(M, M, M, 1)):
    return mfdnn.mlp(widths, activation, sigma_w2=sigma_w2, sigma_b2=sigma_b2)


NETWORKS = {  # made by the tests: a critical point is computed
    "tanh": lambda: dense("tanh", 3.0, 0.64),
    "relu": lambda: dense("relu", 2.0, 0.1),
    "linear": lambda: dense("linear", 1.0, 0.1),
    "gelu at criticality": lambda: dense("gelu", *critical_point("gelu")),
    "unequal widths, C = 5": lambda: dense("tanh", 3.0, 0.64, (150, 300, 225, 5)),
    "relu, unequal widths, C = 5": lambda: dense("relu", 2.0, 0.1, (150, 300, 225, 5)),
    "residual": lambda: mfdnn.resnet(
        [M, M, 2], n_blocks=2, activation="tanh", sigma_w2=1.0, sigma_b2=0.1, sigma_v2=0.5
    ),
    "residual, relu, scaled skip": lambda: mfdnn.resnet([M, M, 1], 2, "relu", 1.0, 0.1, 1.0, 0.05, skip=0.7),
    # The sum of tanh branches without a second weight matrix: the "reduced" residual network.
    "reduced residual": lambda: mfdnn.Network(
        M,
        [
            mfdnn.Dense(M, 1.0, 0.1),
            mfdnn.Residual([mfdnn.Dense(M, 1.5, 0.1), mfdnn.Pointwise("relu")]),
            mfdnn.Residual([mfdnn.Dense(M, 1.5, 0.1), mfdnn.Pointwise("tanh")]),
            mfdnn.Dense(1, 1.0, 0.1),
        ],
    ),
    "orthogonal": lambda: mfdnn.mlp([M, M, M, 1], "tanh", sigma_w2=1.5, sigma_b2=0.1, weights="orthogonal"),
    "pytorch": lambda: mfdnn.mlp([M, M, M, 1], "relu", init="pytorch"),
    "no bias": lambda: mfdnn.mlp([M, M, M, 1], "relu", init="he", bias=False),
    "mixed activations": lambda: mfdnn.mlp(
        [M, M, M, M, 1], ["tanh", lambda x: np.maximum(x, -0.5), "gelu"], sigma_w2=1.5, sigma_b2=0.1
    ),
    "deep": lambda: dense("tanh", 1.76, 0.05, (M,) * 10 + (1,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_row_agrees(name):
    table = mfdnn.compare(NETWORKS[name](), n_samples=60, n_networks=30, rng=8)
    assert table.agrees, f"\n{table}"


def test_correlated_inputs_of_another_size():
    table = mfdnn.compare(NETWORKS["relu"](), n_samples=60, n_networks=30, q0=2.0, c0=0.5, rng=7)
    assert table.agrees, f"\n{table}"


@pytest.mark.parametrize("activation", ["tanh", "relu", "elu"])
def test_digits_as_inputs(activation):
    X, _ = digits(60, rng=0)
    net = mfdnn.mlp([64, 200, 200, 5], activation, sigma_w2=1.8, sigma_b2=0.1)
    table = mfdnn.compare(net, inputs=X, n_networks=30, rng=7)
    assert table.agrees, f"\n{table}"

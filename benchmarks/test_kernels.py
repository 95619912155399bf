"""The tangent kernel of real inputs, T = 1000 and L = 5, in float64."""

import naive
import numpy as np
import pytest
from baselines import DEGREE, erf_products, product, relu_products, seconds, tangent_kernel

import mfdnn

T, L, WEIGHT, BIAS = 1000, 5, 2.0, 0.1
PAIRS = 2000  # that the plain quadrature does; its time is scaled up to all
CLOSED = {"relu": relu_products, "erf": erf_products}
SLOPE = {"tanh": lambda x: 1 - np.tanh(x) ** 2}


def inputs():
    return np.random.default_rng(0).standard_normal((T, 784))


def ours(name, X):
    """NTK in NTK parameterisation."""
    net = mfdnn.mlp([X.shape[1], *[1000] * (L - 1), 10], name, sigma_w2=WEIGHT, sigma_b2=BIAS)
    return mfdnn.ntk(net, X, parameterisation="ntk")


def quadrature_seconds(phi, slope):
    """Seconds of the plain quadrature for every pair and layer."""
    rng = np.random.default_rng(1)
    q1, q2, c = *rng.uniform(0.5, 2, (2, PAIRS)), rng.uniform(-1, 1, PAIRS)
    one = seconds(lambda: (product(phi, q1, q2, c), product(slope, q1, q2, c)), repeats=1)
    return one * (L - 1) * T * (T + 1) / 2 / PAIRS


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_closed_forms(name, timed, row):
    X = inputs()
    time = timed(lambda: ours(name, X), rounds=5)
    plain = seconds(lambda: tangent_kernel(CLOSED[name], X, L, WEIGHT, BIAS))
    expected = tangent_kernel(CLOSED[name], X, L, WEIGHT, BIAS)
    error = np.max(np.abs(ours(name, X) / expected - 1))
    row(
        f"NTK, {name}, T = {T}, L = {L}",
        "twice as fast as neural-tangents (versus_neural_tangents.py)",
        f"{time:.3f} s; its closed form in NumPy {plain:.3f} s; relative difference {error:.0e}",
    )
    assert error < 1e-7  # arccos and arcsin lose half the digits at c = 1


def test_tanh(timed, row):
    X = inputs()
    time = timed(lambda: ours("tanh", X), rounds=5)
    plain = quadrature_seconds(np.tanh, SLOPE["tanh"])
    kernel, p, error = ours("tanh", X), naive.tanh(), 0.0
    for i, j in np.random.default_rng(2).integers(0, T, (5, 2)):

        @np.vectorize
        def products(q1, q2, c):
            return tuple(naive.expect_product(p, q1, c, q2, d) for d in (0, 1))

        expected = tangent_kernel(products, X[[i, j]], L, WEIGHT, BIAS)
        error = max(error, np.max(np.abs(kernel[np.ix_([i, j], [i, j])] / expected - 1)))
    row(
        f"NTK, tanh, T = {T}, L = {L}",
        f"100 times faster than degree-{DEGREE} quadrature, right to 1e-9",
        f"{time:.3f} s, {plain / time:.0f}x (scaled up from {PAIRS} pairs), error {error:.0e}",
        plain / time >= 100 and error <= 1e-9,
    )

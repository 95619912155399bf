"""The mean-field theory of batch normalisation against closed forms, drawn batches and sampled networks."""

import numpy as np
import pytest

import mfdnn
from mfdnn import batch_norm_fixed_point
from mfdnn.datasets import gaussian_inputs


def arc_cosine(x):
    angle = np.pi - np.arccos(x)
    return (np.sqrt(1 - x**2) + angle * x) / np.pi, angle / np.pi


@pytest.mark.parametrize("size", [4, 5, 8, 64, 1000])
def test_relu_and_linear_have_closed_forms(size):
    x = -1 / (size - 1)
    j, slope = arc_cosine(x)
    relu, linear = (batch_norm_fixed_point(act, size) for act in ("relu", "linear"))
    # Quadrature of analytic pieces: rounding, amplified by sums over 1e5 nodes.
    assert relu.q == pytest.approx(1 / 2, rel=1e-12)
    assert relu.c == pytest.approx(j, rel=1e-12)
    assert relu.gradient_growth == pytest.approx((size - 2 + j + slope) / ((size - 3) * (1 - j)), rel=1e-12)
    # As the paper has it.
    printed = (slope + size - 1) / ((size - 3) * (1 - j)) - 1 / (size - 3)
    assert relu.gradient_growth == pytest.approx(printed, rel=1e-12)
    assert (linear.q, linear.c) == pytest.approx((1, x), rel=1e-12)
    assert linear.gradient_growth == pytest.approx((size - 2) / (size - 3), rel=1e-12)


def test_growth_is_of_the_square_and_its_root_of_the_norm():
    fp = batch_norm_fixed_point("relu")
    assert fp.gradient_growth == pytest.approx(np.pi / (np.pi - 1), rel=1e-13)
    assert fp.gradient_growth_norm == pytest.approx(1.211173896, abs=1e-9)  # often quoted as 1.21
    assert fp.xi_grad == pytest.approx(-1 / np.log(np.pi / (np.pi - 1)))
    assert batch_norm_fixed_point("linear").xi_grad == np.inf
    assert fp.to_dict()["gradient_growth_norm"] == fp.gradient_growth_norm


@pytest.mark.parametrize("act", ["tanh", "gelu", "silu", "hard_tanh", "elu"])
def test_large_batches_tend_to_slope_over_variance(act):
    limit = batch_norm_fixed_point(act)
    second, mean = mfdnn.expect_product(act, 1.0), mfdnn.expect(act, 1.0)
    assert limit.q == pytest.approx(second, rel=1e-10)
    assert limit.q * limit.c == pytest.approx(mean**2, rel=1e-10, abs=1e-15)
    slope = mfdnn.expect_product(act, 1.0, derivative=1)
    assert limit.gradient_growth == pytest.approx(slope / (second - mean**2), rel=1e-10)
    assert limit.gradient_growth > 1
    near, nearer = (
        batch_norm_fixed_point(act, size).gradient_growth - limit.gradient_growth for size in (1000, 2000)
    )
    assert near / nearer == pytest.approx(2, rel=0.01)  # O(1/B)


@pytest.mark.parametrize(
    ("act", "gamma", "beta"), [("tanh", 1.0, 0.0), ("hard_tanh", 2.0, 0.0), ("relu", 0.7, 0.4)]
)
def test_against_drawn_batches(act, gamma, beta):
    size, rng, phi = 6, np.random.default_rng(0), mfdnn.activation(act)
    z = rng.standard_normal((10**5, size))
    z -= z.mean(axis=1, keepdims=True)
    z /= z.std(axis=1, keepdims=True)
    y, slope = phi(gamma * z + beta), gamma * phi.slope(gamma * z + beta)
    fp = batch_norm_fixed_point(act, size, gamma=gamma, beta=beta)
    gap = 4 * np.std(np.mean(y**2, axis=1)) / np.sqrt(len(z))
    assert fp.q == pytest.approx(np.mean(y**2), abs=gap)
    variance = np.var(y, axis=1) * size / (size - 1)  # q (1 - c)
    assert fp.q * (1 - fp.c) == pytest.approx(variance.mean(), abs=4 * variance.std() / np.sqrt(len(z)))
    # tr(P D G D P)/tr G with P = G - z z^T/B, times E[1/sigma^2] = B/((B - 3) q (1 - c)).
    total = (slope**2 * (1 - 1 / size - z**2 / size)).sum(axis=1)
    total -= (
        (slope**2).sum(axis=1) - slope.sum(axis=1) ** 2 / size - (z * slope).sum(axis=1) ** 2 / size
    ) / size
    total *= size / ((size - 3) * (size - 1) * fp.q * (1 - fp.c))
    assert fp.gradient_growth == pytest.approx(total.mean(), abs=4 * total.std() / np.sqrt(len(z)))


@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_sampled_networks_explode_at_this_rate(act):
    size, depth, width = 16, 6, 300
    hidden = [
        x
        for _ in range(depth)
        for x in (mfdnn.Dense(width), mfdnn.BatchNorm(affine=False), mfdnn.Pointwise(act))
    ]
    net = mfdnn.Network(width, [*hidden, mfdnn.Dense(1)])
    X, rng = gaussian_inputs(size, width, rng=0), np.random.default_rng(1)
    squares = []
    for seed in range(12):
        pairs = mfdnn.sample(net, rng=seed).linearise(X).pull(rng.standard_normal((size, 1)))
        squares.append([np.sum(delta**2) for _, delta in pairs[1:depth]])
    # Without the first layer, whose inputs have another variance than the fixed point.
    growth = (np.mean(squares, axis=0)[0] / np.mean(squares, axis=0)[-1]) ** (1 / (depth - 2))
    logs = np.log(np.array(squares)[:, 0] / np.array(squares)[:, -1]) / (depth - 2)
    error = growth * logs.std(ddof=1) / np.sqrt(12)
    assert growth == pytest.approx(batch_norm_fixed_point(act, size).gradient_growth, abs=4 * error)
    assert error < 0.03 * growth


def test_gain_zero_and_jumps_and_small_batches_are_refused():
    with pytest.raises(ValueError, match="`batch_size` must be an integer >= 4, got 3"):
        batch_norm_fixed_point("relu", 3)
    with pytest.raises(ValueError, match="`phi` must not be constant on a batch, got 'tanh' with gamma=0"):
        batch_norm_fixed_point("tanh", gamma=0)
    with pytest.raises(ValueError, match="`phi` must be continuous, got 'sign'"):
        batch_norm_fixed_point("sign")

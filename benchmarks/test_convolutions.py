"""Convolutional networks: random images on rings, and given ones in front of `Flatten`."""

import numpy as np
import pytest
from baselines import DEGREE, product, relu_products, seconds

import mfdnn

T, SIDE, CHANNELS, WEIGHT, BIAS = 200, 8, 64, 2.0, 0.1
PAIRS = 2000  # that the plain quadrature does; its time is scaled up to all


@pytest.mark.parametrize("name", ["relu", "tanh"])
@pytest.mark.parametrize("readout", ["flatten", "average"])
def test_random_images(name, readout, timed, row):
    net = mfdnn.cnn(
        (3, 32, 32),
        [CHANNELS] * 8,
        10,
        name,
        sigma_w2=WEIGHT,
        sigma_b2=BIAS,
        mode="circular",
        readout=readout,
    )
    time = timed(lambda: mfdnn.ntk_statistics(net, T), rounds=5)
    row(
        f"kernels, random images 32 x 32 on rings, 8 convolutions, {name}, {readout}",
        "< 0.1 s",
        f"{time:.3f} s",
        time < 0.1,
    )


def images():
    return np.random.default_rng(0).standard_normal((T, 1, SIDE, SIDE))


def ours(name, X):
    net = mfdnn.cnn(X.shape[1:], [CHANNELS] * 2, 1, name, sigma_w2=WEIGHT, sigma_b2=BIAS)
    return mfdnn.ntk(net, X, parameterisation="ntk")


def over_taps(k):
    """Mean over 3 x 3 taps, zeros outside, of (side, side, T, T)."""
    padded = np.pad(k, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return sum(padded[i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)) / 9


def plain(X):
    """The same kernel of relu in NumPy, at the same sites alone."""
    x = np.moveaxis(X[:, 0], 0, -1)
    k, theta = x[..., :, None] * x[..., None, :], 0.0
    for _ in range(2):
        q = WEIGHT * over_taps(k) + BIAS
        theta = q + WEIGHT * (over_taps(theta) if np.ndim(theta) else 0.0)
        variance = np.diagonal(q, axis1=2, axis2=3)
        root = np.sqrt(variance[..., :, None] * variance[..., None, :])
        c = np.clip(q / root, -1, 1)
        value, slope = relu_products(variance[..., :, None], variance[..., None, :], c)
        k, theta = value, theta * slope
    return WEIGHT * k.mean(axis=(0, 1)) + BIAS + WEIGHT * theta.mean(axis=(0, 1))


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_given_images(name, timed, row):
    X = images()
    time = timed(lambda: ours(name, X), rounds=3)
    what = f"NTK of T = {T} images {SIDE} x {SIDE}, 2 convolutions, Flatten, {name}"
    if name == "relu":
        closed = seconds(lambda: plain(X), repeats=1)
        error = np.max(np.abs(ours(name, X) / plain(X) - 1))
        row(
            what,
            "no slower than its closed form in NumPy",
            f"{time:.3f} s, {closed:.3f} s; difference {error:.0e}",
            time < closed,
        )
        assert error < 1e-7  # arccos loses half the digits at c = 1
        return
    rng = np.random.default_rng(1)
    q1, q2, c = *rng.uniform(0.5, 2, (2, PAIRS)), rng.uniform(-1, 1, PAIRS)
    both = lambda: (product(np.tanh, q1, q2, c), product(lambda x: 1 - np.tanh(x) ** 2, q1, q2, c))  # noqa: E731
    by_quadrature = seconds(both, repeats=1) * 2 * SIDE**2 * T * (T + 1) / 2 / PAIRS
    row(
        what,
        f"100 times faster than degree-{DEGREE} quadrature",
        f"{time:.3f} s, {by_quadrature / time:.0f}x (scaled up from {PAIRS} pairs)",
        by_quadrature / time >= 100,
    )

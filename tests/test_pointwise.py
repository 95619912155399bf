"""Activations of units that are exactly 0: the slope that networks of finite width give them there."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from user_layers import CircularConv

import mfdnn
from mfdnn.layers import Dense, Flatten, Pointwise, Residual

KINKED = {
    "relu": "relu",
    "leaky_relu": "leaky_relu",
    "abs": "abs",
    "selu": "selu",
    "elu": mfdnn.activation("elu", alpha=2.0),
    "own": lambda x: np.maximum(x, 0) + 0.3 * np.abs(x),
}
SMOOTH_AT_ZERO = {name: name for name in ("tanh", "hard_tanh", "shifted_relu")}
X = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("phi", [*KINKED.values(), *SMOOTH_AT_ZERO.values()], ids=[*KINKED, *SMOOTH_AT_ZERO])
def test_zero_inputs_have_the_slope_at_zero(phi):
    """q_tilde_st = sigma_w^2 E[phi'(u_s) phi'(u_t)], phi'(0) where u is 0."""
    net = mfdnn.mlp([3, 40, 1], phi, 2.0, weights="orthogonal")
    act = net.activations[0]
    (at_zero,) = act.slope(np.zeros(1))
    q = 2 * np.mean(X[1] ** 2)

    def mean(power):  # adaptive quadrature between the kinks
        def integrand(z):
            return float(act.slope(np.array([np.sqrt(q) * z]))[0]) ** power * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

        edges = np.array([-np.inf, -1.0, -0.5, 0.0, 1.0, np.inf]) / np.sqrt(q)
        return sum(quad(integrand, a, b, epsabs=1e-12)[0] for a, b in pairwise(edges))

    expected = at_zero**2 * np.ones((3, 3))
    expected[1, [0, 2]] = expected[[0, 2], 1] = at_zero * mean(1)
    expected[1, 1] = mean(2)
    given = mfdnn.order_parameters(net, inputs=X)
    np.testing.assert_allclose(given.q_tilde_st[0], 2 * expected, rtol=1e-9, atol=1e-12)
    random = mfdnn.order_parameters(net, [0.0, q / 2], 0.0)
    np.testing.assert_allclose(random.q_tilde[0], 2 * expected[[0, 1], [0, 1]], rtol=1e-9)
    assert random.q_tilde_st[0, 0] == random.q_tilde[0, 0]
    # A row of orthogonal weights has its squared norm exactly: so has the kernel of biases at zero inputs.
    one = mfdnn.sample(net, rng=0)
    np.testing.assert_allclose(mfdnn.empirical_ntk(one, X)[::2, ::2], mfdnn.ntk(net, X)[::2, ::2], rtol=1e-12)
    assert mfdnn.fisher_statistics(net, inputs=X[:1]).largest == pytest.approx(1 + 2 * at_zero**2, rel=1e-12)


def test_zero_and_other_inputs_against_a_wide_network():
    net = mfdnn.mlp([3, 2000, 2000, 1], "selu", 1.0)
    found = mfdnn.empirical_ntk(mfdnn.sample(net, rng=0), X)
    # One network: entries scatter by some M^-1/2, here by 3 %; the limit of weak signals is 40 % off.
    np.testing.assert_allclose(found, mfdnn.ntk(net, X), rtol=0.12)


@pytest.mark.parametrize("given", [True, False])
def test_a_layer_of_zero_weights(given):
    """Behind it signals are 0, and relu passes no error: of the kernel the last bias is left."""
    net = mfdnn.mlp([4, 20, 20, 1], "relu", [2.0, 0.0, 2.0])
    inputs = np.random.default_rng(0).standard_normal((5, 4))
    data = {"inputs": inputs} if given else {"n_samples": 5}
    fim = mfdnn.fisher_statistics(net, **data)
    op = fim.order_parameters
    assert [np.unique(rows).tolist() for rows in op.q_tilde_st] == [[0], [0], [1]]
    assert fim.largest == pytest.approx(1.0)
    assert mfdnn.fisher_spectrum(mfdnn.sample(net, rng=0), inputs).largest == pytest.approx(1.0)


def test_sites_that_are_zero():
    """Black pixels, through a convolution without bias: 2 of 6 sites pass errors, half of their units each."""
    net = mfdnn.Network((1, 6), [CircularConv(30, 1, 2.0, 0.0), Pointwise("relu"), Flatten(), Dense(1, 2.0)])
    x = np.array([[[0.0, 0.0, 1.0, -2.0, 0.0, 0.0]], [[0.0, 3.0, 1.0, 0.0, 0.0, 0.0]]])
    op = mfdnn.order_parameters(net, inputs=x)
    np.testing.assert_allclose(op.q_tilde[0], 2 * 2 / 6 * 0.5, rtol=1e-12)
    # Both see one site, whose units are positive multiples of each other.
    np.testing.assert_allclose(op.q_tilde_st[0, 0, 1], 2 * 1 / 6 * 0.5, rtol=1e-12)


def test_a_skip_connection_keeps_a_signal_alive():
    block = Residual([Dense(9, 0.0), Pointwise("relu"), Dense(9, 2.0)])
    op = mfdnn.order_parameters(mfdnn.Network(9, [Dense(9, 2.0), block, Pointwise("relu"), Dense(1, 2.0)]))
    np.testing.assert_allclose(op.q_tilde, [1.0, 0.0, 1.0, 1.0], rtol=1e-12)  # 2 E[phi'^2], 0 inside, 2 E[phi'^2]


@pytest.mark.parametrize("given", [True, False])
def test_a_variance_that_underflows_is_no_zero(given):
    """Half of the units pass errors, however weak the signal."""
    data = {"inputs": np.random.default_rng(0).standard_normal((3, 5))} if given else {}
    op = mfdnn.order_parameters(mfdnn.mlp([5] * 90 + [1], "relu", 2e-4), **data)
    assert np.all(op.q[-1] == 0.0)
    np.testing.assert_allclose(op.q_tilde[-5:].reshape(5, -1)[:, 0], 1e-4 ** np.arange(5)[::-1], rtol=1e-12)

"""Dropout: its masks, its fixed point, and a theory that sampled networks scatter around."""

import numpy as np
import pytest

import mfdnn
from mfdnn.layers import Conv, Dense, Dropout, GlobalAveragePool, Pointwise


def test_masks_belong_to_samples_and_layers():
    x = np.ones((6, 50, 4))
    y = Dropout(0.8).forward(x, iter(()), [])
    assert set(np.unique(y)) == {0.0, 1.25}
    assert np.mean(y) == pytest.approx(1.0, abs=4 * np.sqrt(0.2 / 0.8 / y.size))
    np.testing.assert_array_equal(Dropout(0.8).forward(x[:3], iter(()), []), y[:3])
    assert not np.array_equal(Dropout(0.8).forward(x, iter(()), [None]), y)
    assert not np.array_equal(Dropout(0.8, seed=1).forward(x, iter(()), []), y)
    assert not np.array_equal(y[0], y[1])
    np.testing.assert_array_equal(Dropout(1.0).forward(x, iter(()), []), x)
    assert Dropout(0.8).forward(x.astype("float32"), iter(()), []).dtype == np.float32


def test_deep_networks_reach_the_fixed_point_of_dropout():
    layers = [Dense(50, 1.6, 0.1), Pointwise("tanh")]
    for _ in range(60):
        layers += [Dropout(0.7), Dense(50, 1.6, 0.1), Pointwise("tanh")]
    op = mfdnn.order_parameters(mfdnn.Network(50, [*layers[:-1]]), c0=0.5)
    fp = mfdnn.fixed_point("tanh", 1.6, 0.1, keep_rate=0.7)
    assert op.q[-1] == pytest.approx(fp.q, rel=1e-10)
    assert op.c[-1] == pytest.approx(fp.c, rel=1e-6)


def test_compare():
    convs = [Conv(64, 3, 2.0, 0.1), Pointwise("relu"), Dropout(0.8), Conv(64, 3, 2.0), Pointwise("relu"), Dropout(0.9)]
    net = mfdnn.Network((3, 6), [*convs, GlobalAveragePool(), Dense(2, 2.0)])
    X = np.random.default_rng(0).standard_normal((12, 3, 6))
    table = mfdnn.compare(net, n_networks=10, inputs=X, rng=0)
    assert not [row for row in table.rows if row.agrees is False]
    # In front of the read-out it changes what an input shares with itself alone.
    last, without = (
        mfdnn.ntk(mfdnn.Network((3, 6), [layer for layer in net.layers if layer not in left_out]), X)
        for left_out in (net.layers[2:3], (net.layers[2], net.layers[5]))
    )
    off = ~np.eye(12, dtype=bool)
    np.testing.assert_allclose(last[off], without[off], rtol=1e-13)
    assert np.all(np.diagonal(last) > np.diagonal(without))


@pytest.mark.parametrize("rate", [0.0, 1.5, -0.1])
def test_bad_rates(rate):
    with pytest.raises(ValueError, match=r"`keep_rate` must be in \(0, 1\]"):
        Dropout(rate)


def test_an_activation_needs_a_weight_layer_in_between():
    net = mfdnn.Network(5, [Dense(6), Dropout(0.5), Pointwise("relu"), Dense(2)])
    with pytest.raises(mfdnn.NoTheory, match="needs Gaussian pre-activations"):
        mfdnn.order_parameters(net)

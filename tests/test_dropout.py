"""Dropout: its masks, its fixed point, and a theory that sampled networks scatter around."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import mfdnn
from mfdnn.layers import Conv, Dense, Dropout, GlobalAveragePool, Pointwise


def test_masks_belong_to_samples_and_seeds():
    x = np.ones((6, 50, 4))
    y = Dropout(0.8, seed=0).forward(x, iter(()), [])
    assert set(np.unique(y)) == {0.0, 1.25}
    assert np.mean(y) == pytest.approx(1.0, abs=4 * np.sqrt(0.2 / 0.8 / y.size))
    np.testing.assert_array_equal(Dropout(0.8, seed=0).forward(x[:3], iter(()), []), y[:3])
    assert not np.array_equal(Dropout(0.8, seed=1).forward(x, iter(()), []), y)
    assert not np.array_equal(y[0], y[1])
    np.testing.assert_array_equal(Dropout(1.0, seed=0).forward(x, iter(()), []), x)
    assert Dropout(0.8, seed=0).forward(x.astype("float32"), iter(()), []).dtype == np.float32


def perceptron(phi="tanh", seed=None):
    hidden = [[Dense(40, 1.6, 0.1), Pointwise(phi), Dropout(0.8, seed)] for _ in range(3)]
    return mfdnn.Network(20, [layer for block in hidden for layer in block] + [Dense(2, 1.6)])


def masks(one):
    return [layer.forward(np.ones((4, 40)), iter(()), []) for layer in one.network.layers if isinstance(layer, Dropout)]


def test_masks_are_drawn_with_the_network():
    net = perceptron()
    one, again, other = (mfdnn.sample(net, rng=rng) for rng in (0, 0, 1))
    np.testing.assert_array_equal(masks(one), masks(again))
    np.testing.assert_array_equal(masks(one), masks(mfdnn.sample(net, rng=0, dtype="float32")))
    assert not any(map(np.array_equal, masks(one), masks(other)))
    assert not np.array_equal(masks(one)[0], masks(one)[1])
    fixed = perceptron(seed=3)
    assert mfdnn.sample(fixed, rng=0).network is fixed
    # One function: at other parameters, in training, and after a way through a file.
    X = np.random.default_rng(0).standard_normal((5, 20))
    np.testing.assert_array_equal(one.at(one.vector)(X), one(X))
    run = mfdnn.train(one, X, one(X), 1e-3, 3)
    assert np.all(run.losses == 0)
    back = mfdnn.Network.from_dict(json.loads(json.dumps(one.network.to_dict())))
    np.testing.assert_array_equal(mfdnn.SampledNetwork(back, one.parameters)(X), one(X))
    with pytest.raises(ValueError, match=r"has no masks.*seed=0"):
        mfdnn.SampledNetwork(net, one.parameters)(X)


def test_inside_of_composites():
    inner = [Dense(30, 1.0), Pointwise("tanh"), Dropout(0.8)]
    for block in (mfdnn.Residual(inner, 0.5), mfdnn.Residual([*inner, Dense(20, 1.0)], [Dense(20), Dropout(0.9)])):
        net = mfdnn.Network(20 if block.beside else 30, [block, Dense(2)])
        one, other = mfdnn.sample(net, rng=0), mfdnn.sample(net, rng=1)
        X = np.ones((3, net.n_inputs))
        assert np.all(np.isfinite(one(X)))
        nets = one.network, other.network
        seeds = [[layer.seed for layer, _ in net.walk() if isinstance(layer, Dropout)] for net in nets]
        assert len({*seeds[0], *seeds[1]}) == 2 * len(seeds[0])
        assert one.network.layers[0].skip == block.skip or block.beside

    class Twice(mfdnn.Layer):
        def __init__(self, child):
            self.children = (child,)

    with pytest.raises(NotImplementedError, match=r"`Twice` holds layers that draw more.*no `drawn`"):
        Twice(Dropout(0.8)).drawn(np.random.default_rng(0))
    twice = Twice(Pointwise("tanh"))
    assert twice.drawn(np.random.default_rng(0)) is twice


def test_ensembles_have_the_same_bits_on_any_executor():
    options = {"n_samples": 6, "n_networks": 4, "rng": 5}
    alone = mfdnn.ensemble(perceptron(), **options)
    with ThreadPoolExecutor(3) as pool:
        spread = mfdnn.ensemble(perceptron(), **options, executor=pool)
    np.testing.assert_array_equal(alone.values["lambda_max"], spread.values["lambda_max"])


def test_dual_of_outputs_coupled_behind_the_last_weights():
    layers = [Dense(30, 1.5), Pointwise("tanh"), Dropout(0.7), Dense(3, 1.5), mfdnn.BatchNorm(), Dropout(0.7)]
    one = mfdnn.sample(mfdnn.Network(10, layers), rng=0)
    X = np.random.default_rng(1).standard_normal((8, 10))
    J = np.stack([one.vjp(X, e.reshape(8, 3)) for e in np.eye(24)])
    expected = np.linalg.eigvalsh(J @ J.T / 8)[::-1]
    found = mfdnn.fisher_spectrum(one, X).eigenvalues
    np.testing.assert_allclose(found[:10], expected[:10], rtol=1e-9)


def test_deep_networks_reach_the_fixed_point_of_dropout():
    layers = [Dense(50, 1.6, 0.1), Pointwise("tanh")]
    for _ in range(60):
        layers += [Dropout(0.7), Dense(50, 1.6, 0.1), Pointwise("tanh")]
    op = mfdnn.order_parameters(mfdnn.Network(50, [*layers[:-1]]), c0=0.5)
    fp = mfdnn.fixed_point("tanh", 1.6, 0.1, keep_rate=0.7)
    assert op.q[-1] == pytest.approx(fp.q, rel=1e-10)
    assert op.c[-1] == pytest.approx(fp.c, rel=1e-6)


def test_compare():
    convs = [Conv(128, 3, 2.0, 0.1), Pointwise("relu"), Dropout(0.8), Conv(128, 3, 2.0)]
    convs += [Pointwise("relu"), Dropout(0.9)]
    net = mfdnn.Network((3, 6), [*convs, GlobalAveragePool(), Dense(2, 2.0)])
    X = np.random.default_rng(0).standard_normal((12, 3, 6))
    flat = np.random.default_rng(1).standard_normal((12, 20))
    for wide, inputs in ((net, X), (mfdnn.network.scale_widths(perceptron(), 5), flat)):
        table = mfdnn.compare(wide, n_networks=60, inputs=inputs, rng=0)
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


def test_in_front_of_relu_is_behind_it():
    front, behind = (
        mfdnn.Network(5, [Dense(6, 1.5, 0.1), *both, Dense(2)])
        for both in ([Dropout(0.5), Pointwise("relu")], [Pointwise("relu"), Dropout(0.5)])
    )
    sampled, closed = mfdnn.fisher_statistics(front, 10), mfdnn.fisher_statistics(behind, 10)
    for name in ("mean", "largest"):
        error = sampled.standard_error[name]
        assert error < 0.01 * getattr(closed, name)
        assert abs(getattr(sampled, name) - getattr(closed, name)) < 5 * error  # of eight runs: 1 in 640

"""A layer of one's own is one class: everything else takes it as it is."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.layers import Factors, Layer
from mfdnn.network import scale_widths


class Gains(Layer):
    """y_i = gamma_i x_i + beta_i, with trainable gammas and betas that start at 1 and 0."""

    kind = "gains"

    def __repr__(self):
        return "Gains()"

    def propagate(self, state):
        return state.trained(state.moments + 1.0)

    def parameter_shapes(self, shape):
        return shape, shape

    def initialise(self, rng, shape, dtype):
        return np.ones(shape, dtype), np.zeros(shape, dtype)

    def forward(self, x, parameters, trace):
        gamma, beta = next(parameters)
        trace.append(x)
        return gamma * x + beta

    def pushforward(self, dx, parameters, tangents, trace):
        (gamma, _), (d_gamma, d_beta) = next(parameters), next(tangents)
        dy = d_gamma * next(trace) + d_beta
        return dy if dx is None else dy + gamma * dx

    def backward(self, delta, parameters, trace, collected):
        gamma, _ = next(parameters)
        collected.append((next(trace), delta))
        return gamma * delta

    def gradient(self, h, delta):
        return (delta * h).sum(axis=0), delta.sum(axis=0)

    def factors(self, h, delta):
        return Factors(h[:, :0], np.concatenate([delta * h, delta], axis=-1), True)


class Centre(Layer):
    """Mean over the samples subtracted."""

    kind, couples_samples = "centred", True

    def propagate(self, state):
        return state.mapped(
            state.moments.centred(), lambda kernel: kernel.centred(), mean=0 * state.mean, errors=lambda kernel: kernel
        )

    def forward(self, x, parameters, trace):
        return x - x.mean(axis=-2, keepdims=True)

    def pushforward(self, dx, parameters, tangents, trace):
        return None if dx is None else self.forward(dx, parameters, [])

    def backward(self, delta, parameters, trace, collected):
        return self.forward(delta, parameters, [])


def dense(units=7):
    return mfdnn.Dense(units, 1.5, 0.1)


def tanh():
    return mfdnn.Pointwise("tanh")


NETS = {
    "gains": [dense(), Gains(), tanh(), dense(3)],
    "gains first and last": [Gains(), dense(), tanh(), dense(3), Gains()],
    "gains in a block": [dense(6), mfdnn.Residual([tanh(), Gains(), dense(6)]), dense(3)],
    "centred": [dense(), Centre(), tanh(), Gains(), dense(3)],
    "centred last": [dense(), tanh(), dense(3), Centre()],
    "centred in a block": [mfdnn.Residual([Centre(), dense(5), tanh()]), dense(3)],
}


@pytest.fixture(params=NETS)
def net(request):
    return mfdnn.Network(5, NETS[request.param])


def jacobian(one, X):
    """(CT, P), output by output, from central differences of the outputs."""
    theta, step = one.flatten(one.parameters), 1e-6
    columns = []
    for direction in np.eye(theta.size):
        ahead, behind = (
            mfdnn.SampledNetwork(one.network, one.unflatten(theta + s * step * direction))(X) for s in (1, -1)
        )
        columns.append((ahead - behind).T.ravel() / (2 * step))
    return np.array(columns).T


def test_jacobian_products_and_spectra_are_those_of_differences(net, monkeypatch):
    one, X = mfdnn.sample(net, rng=0), gaussian_inputs(4, 5, rng=1)
    J = jacobian(one, X)
    assert J.shape == (12, net.n_parameters)
    v, u = np.random.default_rng(2).standard_normal(net.n_parameters), np.arange(12.0).reshape(4, 3)
    # Central differences of step 1e-6: truncation 1e-12, rounding 1e-10.
    np.testing.assert_allclose(one.jvp(X, v).T.ravel(), J @ v, atol=1e-8)
    np.testing.assert_allclose(one.vjp(X, u), J.T @ u.T.ravel(), atol=1e-8)
    expected = np.linalg.eigvalsh(J @ J.T / 4)[::-1]
    np.testing.assert_allclose(mfdnn.fisher_spectrum(one, X).eigenvalues, expected, atol=1e-7)
    monkeypatch.setattr("mfdnn.sampled.eigenpairs.SMALL", 0)
    top = mfdnn.fisher_spectrum(one, X, k=3)
    np.testing.assert_allclose(top.eigenvalues, expected[:3], rtol=1e-5)  # the default `tol`
    assert top.mean * net.n_parameters == pytest.approx(expected.sum(), rel=1e-7)
    assert top.second_moment * net.n_parameters == pytest.approx(expected @ expected, rel=1e-7)


def test_activity_is_that_of_weight_layers_and_own_samples(net):
    one, X = mfdnn.sample(net, rng=0), gaussian_inputs(4, 5, rng=1)
    J = jacobian(one, X).reshape(3, 4, -1)
    layers = one.activity(X)
    assert len(layers) == net.n_weight_layers
    position, found = 0, iter(layers)
    for layer, shape in net.parameter_layers:
        shapes = layer.parameter_shapes(shape)
        position += sum(int(np.prod(shape)) for shape in shapes)
        if layer.n_weight_layers and not net.couples_samples:
            activity = next(found)  # derivatives by the bias are the errors, for each output and sample
            np.testing.assert_allclose(activity.delta, J[:, :, position - layer.units : position], atol=1e-8)
            assert activity.u.shape == (4, layer.units)


def test_errors_are_derivatives_by_the_sample_s_own_units():
    net = mfdnn.Network(5, [dense(), Centre(), dense(2)])
    one, X = mfdnn.sample(net, rng=0), gaussian_inputs(4, 5, rng=1)
    first, last = one.activity(X)
    weight = one.parameters[1][0]
    for t in range(4):  # of what enters the mean, a share of 1/T comes back
        np.testing.assert_allclose(first.delta[:, t], weight * (1 - 1 / 4), rtol=1e-14)
        np.testing.assert_array_equal(last.delta[:, t], np.eye(2))


def test_a_network_knows_its_layers():
    block = mfdnn.Residual([tanh(), Gains(), Centre(), dense(6)])
    net = mfdnn.Network(5, [dense(6), block, Gains(), dense(3)])
    assert repr(net) == "Network(5-6-6-3, residual, gains, centred, tanh, L=3, P=123)"
    assert net.n_parameters == 6 * 6 + 12 + 6 * 7 + 12 + 3 * 7
    assert net.widths == (5, 6, 6, 3)
    assert net.kinds == ("residual", "gains", "centred")
    assert net.couples_samples
    assert block.couples_samples
    assert [layer.__class__.__name__ for layer, _ in net.parameter_layers] == [
        "Dense",
        "Gains",
        "Dense",
        "Gains",
        "Dense",
    ]
    assert scale_widths(net, 2).widths == (5, 12, 12, 3)
    ens = mfdnn.ensemble(net, 4, 2, rng=0)
    assert ens.values["q"].shape == (2, 3)


def test_parameters_that_are_no_weights_enter_the_fisher_information():
    layers = [
        mfdnn.Dense(200, 1.5, 0.1),
        Gains(),
        tanh(),
        mfdnn.Dense(200, 1.5, 0.1),
        Gains(),
        tanh(),
        dense(1),
    ]
    net = mfdnn.Network(4, layers)
    fim, op = mfdnn.fisher_statistics(net, 5), mfdnn.order_parameters(net)
    plain = mfdnn.fisher_statistics(mfdnn.Network(4, [x for x in layers if not isinstance(x, Gains)]), 5)
    added = fim.mean * fim.n_parameters - plain.mean * plain.n_parameters
    assert added == pytest.approx(np.sum(op.q_tilde[:2] * (op.q[:2] + 1)), rel=1e-10)
    X = gaussian_inputs(8, 4, c0=0.5, rng=0)
    given, ens = mfdnn.fisher_statistics(net, inputs=X), mfdnn.ensemble(net, inputs=X, n_networks=20, rng=0)
    # Relative width corrections of 2/200, and three standard errors.
    assert abs(ens.mean["mean"] - given.mean) < 0.01 * given.mean + 3 * ens.standard_error["mean"]
    assert added > 0.02 * given.mean * given.n_parameters  # what is added would be missed


def test_memory_is_predicted_for_any_layer(monkeypatch):
    one = mfdnn.sample(mfdnn.Network(5, NETS["centred"]), rng=0)
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 5000.0)  # the matrix of 36^2 takes 10 kB
    with pytest.raises(MemoryError, match="the spectrum of 3 outputs at 12 samples would take"):
        mfdnn.fisher_spectrum(one, np.ones((12, 5)))


def test_layers_that_couple_samples_know_how_many_there_are():
    net = mfdnn.Network(300, [mfdnn.Dense(300), Centre(), tanh(), mfdnn.Dense(1)])
    op = mfdnn.order_parameters(net, n_samples=5)
    ens = mfdnn.ensemble(net, 5, 20, rng=0)
    for name in ("q_hat", "q_hat_st"):
        assert abs(ens.mean[name][1] - getattr(op, name)[1]) < 4 * ens.standard_error[name][1]
    assert mfdnn.order_parameters(net).q_hat_st[1] == pytest.approx(0, abs=1e-15)  # infinitely many
    own = mfdnn.fisher_statistics(net, 5)
    known = mfdnn.Network(300, [mfdnn.Dense(300), mfdnn.MeanSubtraction(), tanh(), mfdnn.Dense(1)])
    assert own.largest == mfdnn.fisher_statistics(known, 5).largest

"""Batch norm of images, at finite width: mean and variance of a channel over samples and sites."""

import numpy as np
import pytest

import mfdnn
from mfdnn.layers import BatchNorm, Conv, Dense, Flatten, GlobalAveragePool, Pointwise, Residual

T = 4


def arrays(shape, rng=0):
    """An input (T, *shape), its gains and offsets, away from 1 and 0."""
    rng = np.random.default_rng(rng)
    x = 1.0 + 2.0 * rng.standard_normal((T, *shape))
    return x, tuple(1.0 + 0.5 * rng.standard_normal((2, shape[0])))


def defined(x, gamma, beta, eps=0.0):
    """The definition, channel by channel."""
    y = np.empty_like(x)
    for i in range(x.shape[1]):
        values = x[:, i]
        y[:, i] = gamma[i] * (values - values.mean()) / np.sqrt(values.var() + eps) + beta[i]
    return y


def dense(map_of, x, step=1e-5):
    """The derivative of a map of arrays by central differences: (outputs, inputs)."""
    columns = [(map_of(x + step * e.reshape(x.shape)) - map_of(x - step * e.reshape(x.shape))) for e in np.eye(x.size)]
    return np.array([column.ravel() for column in columns]).T / (2 * step)


@pytest.mark.parametrize("shape", [(3,), (3, 5), (2, 3, 2), (2, 2, 1, 2)])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_it_is_its_definition(shape, eps):
    x, group = arrays(shape)
    trace, layer = [], BatchNorm(eps=eps)
    np.testing.assert_allclose(layer.forward(x, iter([group]), trace), defined(x, *group, eps), rtol=1e-13, atol=1e-13)
    J = dense(lambda x: defined(x, *group, eps), x)
    lead = np.random.default_rng(1).standard_normal((2, 3, *x.shape))
    still = (np.zeros(shape[0]), np.zeros(shape[0]))
    pushed = layer.pushforward(lead, iter([group]), iter([still]), iter(trace))
    pulled = layer.backward(lead, iter([group]), iter(trace), collected := [])
    flat = lead.reshape(6, -1)
    # Central differences of second order, of values and third derivatives of order one.
    np.testing.assert_allclose(pushed.reshape(6, -1), flat @ J.T, atol=1e-8)
    np.testing.assert_allclose(pulled.reshape(6, -1), flat @ J, atol=1e-8)
    one = layer.gradient(collected[0][0], lead[1, 2])
    own = [dense(lambda a, i=i: defined(x, *group[:i], a, *group[i + 1 :], eps), group[i]) for i in (0, 1)]
    for found, expected in zip(one, own, strict=True):
        np.testing.assert_allclose(found, lead[1, 2].ravel() @ expected, atol=1e-8)
    moved = layer.pushforward(None, iter([group]), iter([group]), iter(trace))
    np.testing.assert_allclose(moved.ravel(), sum(J @ a for J, a in zip(own, group, strict=True)), atol=1e-8)


def test_gains_belong_to_channels():
    net = mfdnn.Network((3, 4, 4), [Conv(6), BatchNorm(1.5, 0.2), Flatten(), Dense(2)])
    assert BatchNorm().parameter_shapes((6, 4, 4)) == ((6,), (6,))
    assert BatchNorm(affine=False).parameter_shapes((6, 4, 4)) == ()
    gains, offsets = mfdnn.sample(net, rng=0).parameters[1]
    np.testing.assert_array_equal(gains, np.full(6, 1.5))
    np.testing.assert_array_equal(offsets, np.full(6, 0.2))
    back = mfdnn.Network.from_dict(net.to_dict())
    assert (repr(back), repr(back.layers[1])) == (repr(net), "BatchNorm(1.5, 0.2)")


def test_few_numbers_a_channel_are_refused():
    x = np.random.default_rng(0).standard_normal((1, 2, 3))
    y = BatchNorm(affine=False).forward(x, iter(()), [])
    np.testing.assert_allclose(y.var(axis=(0, 2)), 1.0, rtol=1e-14)
    for sites, n_samples, least in (((2,), 1, 2), ((1, 1), 2, 3), ((), 2, 3)):
        with pytest.raises(ValueError, match=f"`n_samples` must be {least} or more for batch norm.*got {n_samples}"):
            BatchNorm(affine=False).forward(np.ones((n_samples, 2, *sites)), iter(()), [])
    with pytest.raises(ValueError, match="of 2 sites, got 1; pass more samples"):
        BatchNorm(affine=False).forward(np.ones((1, 2, 2)), iter(()), [])


def test_a_constant_channel_becomes_its_offset_and_passes_no_error():
    x = np.random.default_rng(0).standard_normal((3, 2, 4))
    x[:, 1] = 0.1
    trace = []
    y = BatchNorm(1.0, 0.7, affine=False).forward(x, iter(()), trace)
    np.testing.assert_array_equal(y[:, 1], 0.7)
    below = BatchNorm(affine=False).backward(np.ones_like(x) * x, iter(()), iter(trace), [])
    np.testing.assert_array_equal(below[:, 1], 0.0)
    assert np.any(below[:, 0])


NETWORKS = {
    "between convolutions": [Conv(3), BatchNorm(), Pointwise("tanh"), Conv(3), BatchNorm(), Flatten(), Dense(2)],
    "in a block": [
        *(Conv(3), Residual([Conv(3), BatchNorm(), Pointwise("tanh"), Conv(3), BatchNorm()])),
        *(Pointwise("relu"), GlobalAveragePool(), Dense(2)),
    ],
    "behind the last weights": [Conv(4), Pointwise("tanh"), Conv(2), BatchNorm(), GlobalAveragePool()],
    "behind outputs of one site": [Conv(4), Pointwise("tanh"), Flatten(), Dense(2), BatchNorm(1.2, 0.3, eps=0.1)],
    "before outputs": [Conv(4), BatchNorm(affine=False), Pointwise("tanh"), GlobalAveragePool(), Dense(2)],
}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_spectra_are_those_of_the_dense_jacobian(layers, monkeypatch):
    """Dual, primal, blocks of layers and kernels, against central differences by every parameter."""
    net = mfdnn.Network((2, 3, 2), layers)
    one = mfdnn.sample(net, rng=0)
    theta = one.vector + 0.2 * np.random.default_rng(1).standard_normal(net.n_parameters)
    one.parameters = one.unflatten(theta)
    X = np.random.default_rng(2).standard_normal((5, 2, 3, 2))
    J = dense(lambda theta: one.at(theta)(X), theta)
    expected = np.linalg.eigvalsh(J @ J.T / 5)[::-1]
    scale = 1e-7 * expected[0]  # of differences
    found = mfdnn.fisher_spectrum(one, X)
    np.testing.assert_allclose(found.eigenvalues[: len(expected)], expected[: len(found.eigenvalues)], atol=scale)
    assert found.mean * net.n_parameters == pytest.approx(np.sum(J**2) / 5, rel=1e-7)
    rows = np.arange(10).reshape(5, 2).T.ravel()  # output by output
    np.testing.assert_allclose(mfdnn.empirical_ntk(one, X), (J @ J.T)[np.ix_(rows, rows)], atol=5 * scale)
    monkeypatch.setattr("mfdnn.sampled.eigenpairs.SMALL", 0)
    top = mfdnn.fisher_spectrum(one, X, k=2)
    np.testing.assert_allclose(top.eigenvalues, expected[:2], rtol=1e-6)
    assert top.second_moment * net.n_parameters == pytest.approx(expected @ expected, rel=1e-6)
    ends = np.cumsum([0, *(sum(a.size for a in group if a is not None) for group in one.parameters)])
    weighted = [i for i, (layer, _) in enumerate(net.parameter_layers) if layer.n_weight_layers]
    for index, i in enumerate(weighted):
        block = J[:, ends[i] : ends[i + 1]]
        values = mfdnn.fisher_spectrum(one, X, layer=index).eigenvalues
        np.testing.assert_allclose(values, np.linalg.eigvalsh(block @ block.T / 5)[::-1][: len(values)], atol=scale)


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 3, 4), (5, 2, 3, 2)])
def test_it_is_torch_s(torch, shape):
    x, group = arrays(shape)
    delta = np.random.default_rng(3).standard_normal(x.shape)
    kind = [torch.nn.BatchNorm1d, torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d][len(shape) - 1]
    module = kind(shape[0], eps=1e-5).double()
    with torch.no_grad():
        for own, values in zip(module.parameters(), group, strict=True):
            own.copy_(torch.tensor(values))
    ours, trace, collected = BatchNorm(eps=1e-5), [], []
    found = ours.forward(x, iter([group]), trace)
    below = ours.backward(delta, iter([group]), iter(trace), collected)
    x_ = torch.tensor(x, requires_grad=True)
    y = module(x_)
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(y, [x_, *module.parameters()], torch.tensor(delta))
    for mine, theirs in zip((below, *ours.gradient(*collected[0])), expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-12, atol=1e-12)



"""Gates at finite width: a product of two paths, and its derivative by all that is in them."""

import numpy as np
import pytest

import mfdnn
from mfdnn.layers import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Gate,
    GlobalAveragePool,
    Pointwise,
    Residual,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def central(function, theta, step=1e-5):
    """Derivatives by central differences, (outputs, parameters)."""
    both = [(function(theta + step * e) - function(theta - step * e)).ravel() for e in np.eye(len(theta))]
    return np.array(both).T / (2 * step)


def test_it_is_its_definition():
    gate = Gate(Dense(4, 2.0, 0.1), [Dense(5, 1.5), Pointwise("tanh"), Dense(4, 1.0, 0.2)], "sigmoid")
    one = mfdnn.sample(mfdnn.Network(3, [gate]), rng=0)
    (A, a), (B, b), (C, c) = one.parameters
    X = np.random.default_rng(0).standard_normal((6, 3))
    expected = (X @ A.T + a) * sigmoid(np.tanh(X @ B.T + b) @ C.T + c)
    np.testing.assert_allclose(one(X), expected, rtol=1e-13)
    assert one.network.n_weight_layers == gate.total_weight_layers == 3
    assert [shape for _, shape in one.network.weight_layers] == [(3,), (3,), (5,)]
    assert [act.label for act in one.network.activations] == ["tanh", "sigmoid"]


def test_an_empty_path_is_the_input():
    x = np.random.default_rng(0).standard_normal((5, 7))
    np.testing.assert_allclose(Gate([], [], "sigmoid").forward(x, iter(()), []), x * sigmoid(x), rtol=1e-14)
    silu = mfdnn.activation("silu")
    layers = [[Dense(20), middle, Dense(2)] for middle in (Gate([], [], "sigmoid"), Pointwise(silu))]
    ours, theirs = (mfdnn.sample(mfdnn.Network(7, each), rng=0) for each in layers)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-12)
    found, expected = (mfdnn.fisher_spectrum(one, x).eigenvalues for one in (ours, theirs))
    np.testing.assert_allclose(found, expected, atol=1e-12 * expected[0])


NETWORKS = {
    "units": (6, [Gate(Dense(4, 2.0), Dense(4, 2.0), "silu"), Dense(2)]),
    "input left": (6, [Gate([], Dense(6), "sigmoid"), Dense(2)]),
    "input right": (6, [Gate(Dense(6), [], "tanh"), Dense(2)]),
    "no weights": (6, [Dense(4), Gate([], [], "sigmoid"), Dense(2)]),
    "nested": (6, [Gate(Gate(Dense(4), Dense(4), "tanh"), [Dense(4), Residual([Dense(4)])], "sigmoid"), Dense(2)]),
    "outputs": (6, [Dense(4), Pointwise("tanh"), Gate(Dense(2), Dense(2), "sigmoid")]),
    "coupled": (6, [Gate([Dense(4), BatchNorm()], Dense(4), "sigmoid"), Dense(2)]),
    "sites": ((2, 3, 3), [Gate(Conv(4), [Conv(4), BatchNorm()], "sigmoid"), GlobalAveragePool(), Dense(2)]),
    "dropped": (6, [Gate([Dense(4), Dropout(0.7)], Dense(4), "sigmoid"), Dense(2)]),
    "in a block": (6, [Dense(4), Residual([Gate(Dense(5), Dense(5), "gelu"), Dense(4)]), Dense(2)]),
}


@pytest.mark.parametrize(("shape", "layers"), NETWORKS.values(), ids=NETWORKS)
def test_spectra_are_those_of_the_dense_jacobian(shape, layers, monkeypatch):
    one = mfdnn.sample(mfdnn.Network(shape, layers), rng=0)
    one.parameters = one.unflatten(one.vector + 0.2 * np.random.default_rng(1).standard_normal(one.n_parameters))
    X = np.random.default_rng(2).standard_normal((5, *one.network.input_shape))
    J = central(lambda theta: one.at(theta)(X), one.vector)
    expected = np.linalg.eigvalsh(J @ J.T / 5)[::-1]
    scale = 1e-7 * expected[0]  # of differences
    found = mfdnn.fisher_spectrum(one, X).eigenvalues
    np.testing.assert_allclose(found, expected[: len(found)], atol=scale)
    v, u = np.random.default_rng(3).standard_normal(one.n_parameters), np.random.default_rng(4).standard_normal((5, 2))
    linear = one.linearise(X)
    np.testing.assert_allclose(linear.jvp(v).ravel(), J @ v, atol=1e-6 * np.abs(J @ v).max())
    np.testing.assert_allclose(linear.vjp(u), u.ravel() @ J, atol=1e-6 * np.abs(u.ravel() @ J).max())
    monkeypatch.setattr("mfdnn.sampled.eigenpairs.SMALL", 0)
    np.testing.assert_allclose(mfdnn.fisher_spectrum(one, X, k=2).eigenvalues, expected[:2], rtol=1e-6)


def test_jacobian_of_an_input():
    one = mfdnn.sample(mfdnn.Network(6, [Gate([], [Dense(4), Dense(6)], "gelu"), Dense(3)]), rng=0)
    x = np.random.default_rng(0).standard_normal(6)
    D = central(lambda x: one(x[None]), x)
    found = mfdnn.sampled.jacobian_singular_values(one, x)
    np.testing.assert_allclose(found, np.linalg.svd(D, compute_uv=False), rtol=1e-7)


def test_masks_are_drawn_in_both_paths():
    net = mfdnn.Network(6, [Gate([Dense(4), Dropout(0.7)], [Dense(4), Dropout(0.7)], "sigmoid"), Dense(2)])
    seeds = [layer.seed for layer, _ in mfdnn.sample(net, rng=0).network.walk() if isinstance(layer, Dropout)]
    assert len(set(seeds)) == 2
    assert None not in seeds
    plain = mfdnn.Network(6, [Gate(Dense(4), Dense(4), "sigmoid"), Dense(2)])
    assert mfdnn.sample(plain, rng=0).network is plain


def test_description():
    gate = Gate(Dense(10, 2.0), [Dense(7), Pointwise("relu"), Dense(10)], "sigmoid")
    net = mfdnn.Network(5, [Dense(3), gate, Dense(2)])
    assert repr(gate) == f"Gate({Dense(10, 2.0)!r}, [{Dense(7)!r}, Pointwise('relu'), {Dense(10)!r}], 'sigmoid')"
    assert repr(net) == "Network(5-3-3-7-10-2, gate, relu/sigmoid, L=5, P=188)"
    back = mfdnn.Network.from_dict(net.to_dict())
    assert (repr(back), repr(back.layers)) == (repr(net), repr(net.layers))
    wider = mfdnn.network.scale_widths(net, 2)
    assert wider.widths == (5, 6, 6, 14, 20, 2)
    assert repr(net.layers[1]) == repr(gate)
    own = Gate(Dense(3), Dense(3), lambda x: x**2)
    with pytest.raises(ValueError, match="holds a function of your own"):
        own.to_dict()
    assert not gate.homogeneous


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gate(Dense(3), Dense(4), "tanh"), "one shape behind both of its paths: 3 leave `left` and 4"),
        (lambda: Gate([], Dense(4), "tanh"), "5 leave `left` and 4 leave `right`; choose"),
        (lambda: Gate(Dense(3), "tanh", "tanh"), "`right` must"),
        (lambda: Gate([Dense(3), "relu"], Dense(3), "tanh"), "`left` must contain layers of mfdnn, got 'relu'"),
        (lambda: Gate(Dense(3), Dense(3), "tahn"), "tahn"),
    ],
)
def test_what_does_not_fit_is_said(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        mfdnn.Network(5, [make(), Dense(2)])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"left": None}, "`left` must be a list"), ({"phi": "module:f"}, "`phi` must be the name of an activation")],
)
def test_files_that_describe_no_gate(change, message):
    description = mfdnn.Network(5, [Gate(Dense(3), Dense(3), "tanh"), Dense(2)]).to_dict()
    description["layers"][0] |= change
    with pytest.raises(ValueError, match=message):
        mfdnn.Network.from_dict(description)


@pytest.mark.torch
def test_it_is_torch_s_gated_linear_unit(torch):
    X = np.random.default_rng(0).standard_normal((5, 6))
    one = mfdnn.sample(mfdnn.Network(6, [Gate(Dense(4, 2.0, 0.1), Dense(4, 2.0, 0.1), "sigmoid")]), rng=0)
    (A, a), (B, b) = one.parameters
    linear = torch.nn.Linear(6, 8).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(np.concatenate([A, B])))
        linear.bias.copy_(torch.tensor(np.concatenate([a, b])))
    y = torch.nn.GLU()(linear(torch.tensor(X)))
    np.testing.assert_allclose(one(X), y.detach().numpy(), rtol=1e-12, atol=1e-12)
    u = np.random.default_rng(1).standard_normal(y.shape)
    weight, bias = (g.numpy() for g in torch.autograd.grad(y, list(linear.parameters()), torch.tensor(u)))
    expected = np.concatenate([weight[:4].ravel(), bias[:4], weight[4:].ravel(), bias[4:]])
    np.testing.assert_allclose(one.vjp(X, u), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.torch
def test_gated_convolutions_are_torch_s(torch):
    X = np.random.default_rng(0).standard_normal((3, 2, 5, 4))
    one = mfdnn.sample(mfdnn.Network((2, 5, 4), [Gate(Conv(4, 3), Conv(4, 1), "silu"), Flatten(), Dense(1)]), rng=0)
    arrays = [torch.tensor(a, requires_grad=True) for group in one.parameters for a in group]
    A, a, B, b, C, c = arrays
    x, F = torch.tensor(X), torch.nn.functional
    y = F.linear((F.conv2d(x, A, a, padding=1) * F.silu(F.conv2d(x, B, b))).flatten(1), C, c)
    np.testing.assert_allclose(one(X), y.detach().numpy(), rtol=1e-12, atol=1e-12)
    u = np.random.default_rng(1).standard_normal(y.shape)
    expected = np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(y, arrays, torch.tensor(u))])
    np.testing.assert_allclose(one.vjp(X, u), expected, rtol=1e-11, atol=1e-12)

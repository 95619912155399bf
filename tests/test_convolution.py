"""Convolutions of finite width: a loop, PyTorch, products, Gram matrices, weights, words for what does not fit."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from test_windows import convolutions, loops

import mfdnn
from mfdnn.layers import AveragePool, Conv, Dense, Flatten, GlobalAveragePool, Pointwise
from mfdnn.sampled import dual


def by_loops(conv, x, weight, bias):
    """The convolution as it is defined."""
    windows = conv.windows(x.shape[1:])
    share, rows = x.shape[1] // conv.groups, conv.channels // conv.groups
    flat, taps = x.reshape(*x.shape[:2], -1), weight.reshape(*weight.shape[:2], -1)
    u = np.zeros((len(x), conv.channels, np.prod(windows.out)))
    for (p, row), a, b in product(enumerate(loops(windows)), range(conv.channels), range(share)):
        for tap, at in enumerate(row):
            if at is not None:
                u[:, a, p] += taps[a, b, tap] * flat[:, a // rows * share + b, at]
    return u.reshape(len(x), conv.channels, *windows.out) + bias.reshape(-1, *[1] * windows.d)


@given(convolutions())
@settings(max_examples=25)
def test_a_convolution_is_a_loop(case):
    conv, sites, rng = case
    for groups in (1, 3):
        own = Conv(
            6,
            conv.kernel,
            stride=conv.stride,
            dilation=conv.dilation,
            padding=conv.padding,
            mode=conv.mode,
            groups=groups,
        )
        x = rng.standard_normal((2, 6, *sites))
        weight, bias = (rng.standard_normal(shape) for shape in own.parameter_shapes(x.shape[1:]))
        found = own.forward(x, iter([(weight, bias)]), [])
        np.testing.assert_allclose(found, by_loops(own, x, weight, bias), rtol=1e-12, atol=1e-12)


@given(convolutions())
@settings(max_examples=25)
def test_products_are_adjoint_in_blocks_and_stacks(case):
    conv, sites, rng = case
    x, shape = rng.standard_normal((5, 2, *sites)), (2, *sites)
    group, tangent = (
        tuple(rng.standard_normal(own) for own in conv.parameter_shapes(shape)) for _ in range(2)
    )
    trace = []
    u = conv.forward(x, iter([group]), trace)
    dx, delta = rng.standard_normal((3, *x.shape)), rng.standard_normal((3, *u.shape))
    pushed = conv.pushforward(dx, iter([group]), iter([tangent]), iter(trace))
    alone = conv.pushforward(None, iter([group]), iter([tangent]), iter(trace))
    collected = []
    below = conv.backward(delta, iter([group]), iter(trace), collected)
    for i in range(3):
        gradient = conv.gradient(x, delta[i])
        expected = np.sum(below[i] * dx[i]) + sum(
            np.sum(a * b) for a, b in zip(gradient, tangent, strict=True)
        )
        assert np.sum(delta[i] * pushed[i]) == pytest.approx(expected, rel=1e-12, abs=1e-11)
        assert np.sum(delta[i] * alone) == pytest.approx(
            sum(np.sum(a * b) for a, b in zip(gradient, tangent, strict=True)), rel=1e-12, abs=1e-11
        )
    np.testing.assert_array_equal(conv.errors_below(x, delta[0], group), below[0])
    each = conv.factors(*collected[0])
    for factor, parts in zip(each, zip(*(conv.gradient(x, d) for d in delta), strict=True), strict=True):
        assert factor.h.shape == (5, 0)
        for found, whole in zip(factor.delta, parts, strict=True):
            np.testing.assert_allclose(found.sum(axis=0), whole.ravel(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_of_samples_are_the_whole(dtype, monkeypatch):
    net = mfdnn.Network((3, 6, 6), [Conv(4, 3, 2.0, 0.1), Pointwise("tanh"), GlobalAveragePool(), Dense(2)])
    one, X = mfdnn.sample(net, rng=0, dtype=dtype), np.random.default_rng(0).standard_normal((7, 3, 6, 6))
    u, v = (
        np.random.default_rng(1).standard_normal((7, 2)),
        np.random.default_rng(2).standard_normal(net.n_parameters),
    )
    whole = one(X), one.jvp(X, v), one.vjp(X, u)
    assert {a.dtype for a in whole} == {np.dtype(dtype)}
    monkeypatch.setattr("mfdnn.layers.convolution.BLOCK", 1)
    for found, expected in zip((one(X), one.jvp(X, v), one.vjp(X, u)), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == "float32" else 1e-12, atol=1e-5)


@pytest.mark.torch
@given(convolutions(2))
@settings(max_examples=25)
def test_it_is_torch_s_conv2d(torch, case):
    conv, sites, rng = case
    x = rng.standard_normal((2, 4, *sites))
    own = Conv(
        6,
        conv.kernel,
        stride=conv.stride,
        dilation=conv.dilation,
        padding=conv.padding,
        mode=conv.mode,
        groups=2,
    )
    weight, bias = (rng.standard_normal(shape) for shape in own.parameter_shapes(x.shape[1:]))
    (top, bottom), (left, right) = own.padding
    mode = {"zeros": "constant"}.get(own.mode, own.mode)
    x_, w_, b_ = (torch.tensor(a, requires_grad=True) for a in (x, weight, bias))
    padded = torch.nn.functional.pad(x_, (left, right, top, bottom), mode)
    u = torch.nn.functional.conv2d(
        padded, w_, b_, stride=own.stride, dilation=own.dilation, groups=own.groups
    )
    found, trace, collected = None, [], []
    found = own.forward(x, iter([(weight, bias)]), trace)
    np.testing.assert_allclose(found, u.detach().numpy(), rtol=1e-6, atol=1e-12)
    delta = rng.standard_normal(found.shape)
    below = own.backward(delta, iter([(weight, bias)]), iter(trace), collected)
    expected = torch.autograd.grad(u, (x_, w_, b_), torch.tensor(delta))
    for ours, theirs in zip((below, *own.gradient(*collected[0])), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize("padding", [0, 1, (1, 1), "torch"])
def test_padding_and_pooling_of_torch_s_modules(torch, padding):
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8))
    given = ((1, 1), (1, 1)) if padding == (1, 1) else padding
    own = Conv(4, 3, stride=2, padding=given, mode="circular")
    module = torch.nn.Conv2d(
        3, 4, 3, stride=2, padding=1 if padding == "torch" else padding, padding_mode="circular"
    ).double()
    weight, bias = (p.detach().numpy() for p in module.parameters())
    u = own.forward(x, iter([(weight, bias)]), [])
    np.testing.assert_allclose(u, module(torch.tensor(x)).detach().numpy(), rtol=1e-6, atol=1e-12)
    pooled = AveragePool(3, 1).forward(x, iter(()), [])
    expected = torch.nn.AvgPool2d(3, 1)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(pooled, expected, rtol=1e-6, atol=1e-12)
    pooled = AveragePool(3, 2).forward(x, iter(()), [])  # the last row and column are left out
    expected = torch.nn.AvgPool2d(3, 2)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(pooled, expected, rtol=1e-6, atol=1e-12)


# -- pooling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (AveragePool(2), (3, 4, 6)),
        (AveragePool(3, 1), (3, 5)),
        (AveragePool((2, 1), (1, 2)), (2, 3, 5)),
        (AveragePool(2), (2, 5, 7)),
        (AveragePool(3, 2), (2, 6)),
        (GlobalAveragePool(), (3, 4, 2)),
    ],
)
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_pooling_is_a_matrix(layer, shape, leading):
    n, out = int(np.prod(shape)), layer.output_shape(shape)
    trace = []
    matrix = layer.forward(np.eye(n).reshape(n, *shape), iter(()), trace).reshape(n, -1).T
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-14)  # means
    rng = np.random.default_rng(0)
    dx, delta = rng.standard_normal((*leading, 4, *shape)), rng.standard_normal((*leading, 4, *out))
    pushed = layer.pushforward(dx, iter(()), iter(()), iter(trace))
    np.testing.assert_allclose(
        pushed.reshape(*leading, 4, -1), dx.reshape(*leading, 4, n) @ matrix.T, atol=1e-14
    )
    below = layer.backward(delta, iter(()), iter(trace), [])
    np.testing.assert_allclose(
        below.reshape(*leading, 4, n), delta.reshape(*leading, 4, -1) @ matrix, atol=1e-14
    )
    assert layer.pushforward(None, iter(()), iter(()), iter(trace)) is None


# -- weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["gaussian", "uniform", "orthogonal"])
def test_weights_have_their_variance(weights):
    conv = Conv(64, (3, 2), 1.7, 0.3, weights=weights, groups=2)
    weight, bias = conv.initialise(np.random.default_rng(0), (16, 5, 5), np.dtype(float))
    assert weight.shape == (64, 8, 3, 2)
    n = weight.size
    assert weight.var() == pytest.approx(1.7 / 48, rel=6 / np.sqrt(n))  # four standard errors of a Gaussian
    assert abs(weight.mean()) < 4 * weight.std() / np.sqrt(n)
    assert bias.var() == pytest.approx(0.3, rel=1.0)
    if weights == "orthogonal":
        for rows in weight.reshape(2, 32, 48):
            np.testing.assert_allclose(rows @ rows.T, 1.7 * np.eye(32), atol=1e-12)
    if weights == "uniform":
        assert np.abs(weight).max() <= np.sqrt(3 * 1.7 / 48)


@pytest.mark.parametrize(("c_in", "channels"), [(8, 8), (4, 8), (8, 4)])
def test_delta_orthogonal_weights_are_a_matrix_at_the_centre(c_in, channels):
    conv = Conv(channels, (3, 4), 1.7, 0.0, weights="delta_orthogonal")
    weight, _ = conv.initialise(np.random.default_rng(0), (c_in, 5, 5), np.dtype(float))
    centre = weight[:, :, 1, 1].copy()
    weight[:, :, 1, 1] = 0
    assert not weight.any()
    gram = centre.T @ centre if channels >= c_in else centre @ centre.T
    np.testing.assert_allclose(gram, 1.7 * max(channels / c_in, 1) * np.eye(min(channels, c_in)), atol=1e-12)
    if channels == c_in:  # an isometry of the sites
        x = np.random.default_rng(1).standard_normal((3, c_in, 6, 6))
        own = Conv(channels, 3, 1.0, weights="delta_orthogonal")
        group = own.initialise(np.random.default_rng(0), (c_in, 6, 6), np.dtype(float))
        u = own.forward(x, iter([group]), [])
        np.testing.assert_allclose(np.sum(u**2, axis=1), np.sum(x**2, axis=1), rtol=1e-12)


# -- spectra ----------------------------------------------------------------------------------------------------

NET = mfdnn.Network(
    (3, 4, 4), [Conv(4, 3, 2.0, 0.1), Pointwise("tanh"), AveragePool(2), Conv(5, 2, 2.0), Flatten(), Dense(2)]
)


@pytest.mark.parametrize("options", [{}, {"parameterisation": "ntk"}, {"layer": 0}, {"layer": 1}])
def test_gram_matrices_of_gradients(options, monkeypatch):
    """Explicit derivatives sample by sample against products with unit vectors."""
    one, X = mfdnn.sample(NET, rng=0), np.random.default_rng(0).standard_normal((6, 3, 4, 4))
    chosen = []
    kind = dual.kind_of_dual
    monkeypatch.setattr(dual, "kind_of_dual", lambda *args: chosen.append(kind(*args)) or chosen[-1])
    quick = mfdnn.empirical_ntk(one, X, **options)
    assert chosen == [dual.HadamardDual]
    monkeypatch.setattr(Conv, "has_factors", False)
    np.testing.assert_allclose(mfdnn.empirical_ntk(one, X, **options), quick, rtol=1e-10, atol=1e-10)
    assert chosen[1:] == [dual.Dual]


def test_largest_eigenvalues_without_a_copy_a_sample(monkeypatch):
    one, X = mfdnn.sample(NET, rng=0), np.random.default_rng(0).standard_normal((40, 3, 4, 4))
    expected = mfdnn.fisher_spectrum(one, X).eigenvalues[:3]
    monkeypatch.setattr("mfdnn.sampled.eigenpairs.SMALL", 0)
    linear = one.linearise(X)
    of_convolutions = sum(a.size for group in one.parameters[:2] for a in group)
    assert linear.factor_bytes - linear.error_bytes == 8 * 40 * 2 * of_convolutions
    kinds = []
    kind = dual.kind_of_dual
    monkeypatch.setattr(dual, "kind_of_dual", lambda *args: kinds.append(kind(*args)) or kinds[-1])
    # All at once, output by output, and products alone, which take no more than the batch does.
    for stored in (2**30, linear.factor_bytes_of_one, 0):
        monkeypatch.setattr(dual, "STORED_ERRORS", stored)
        np.testing.assert_allclose(
            mfdnn.fisher_spectrum(one, X, k=3, tol=1e-10).eigenvalues, expected, rtol=1e-8
        )
    assert kinds[0] is kinds[1] is dual.HadamardDual
    assert kinds[2] is dual.Dual


def test_training():
    one, X = mfdnn.sample(NET, rng=0), np.random.default_rng(0).standard_normal((8, 3, 4, 4))
    rate = 1 / mfdnn.fisher_spectrum(one, X, k=1).largest
    assert mfdnn.train(one, X, np.ones((8, 2)), rate, 20).outcome == "fell"


# -- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "layer", "message"),
    [
        (
            (3, 4),
            Conv(2, 7, padding=0),
            "`kernel` must fit into the padded sites, got 7 taps that span 7 of 4",
        ),
        (
            (3, 5, 5),
            Conv(2, 3, dilation=3, padding=0),
            "3 taps that span 7 of 5; take a shorter kernel, or more",
        ),
        (
            (3, 4),
            Conv(2, 3, padding=4, mode="reflect"),
            "`padding` must be shorter than the sites with mode='refl",
        ),
        (
            (3, 4),
            Conv(2, 3, padding=5, mode="circular"),
            "`padding` must be no longer than the sites with mode='c",
        ),
        (
            (3, 5),
            Conv(2, 3, stride=2, mode="circular"),
            "`stride` must divide the sites of a ring .* got 2 for 5",
        ),
        ((3, 5), Conv(4, 3, groups=2), "`groups` must divide the channels that enter, got 2 for 3 channels"),
        (
            (7,),
            Conv(4, 3),
            "`Conv` takes channels with sites, but 7 enter without; give the network an `input_shape`",
        ),
        (
            (3, 5, 5),
            Conv(4, (3, 3, 3)),
            r"`kernel` must be a number, or one for each of 2 axes of sites, got \(3, 3, ",
        ),
        ((3, 5, 5), Conv(4, padding=((1, 1),)), "`padding` must be a number, or one for each of 2 axes"),
        (
            (3, 5),
            AveragePool((2, 2)),
            "`size` and `stride` must be numbers, or one for each of 1 axes of sites",
        ),
        ((3, 5), AveragePool(6), "`AveragePool` needs windows no longer than the sites, got a `size` of 6"),
        ((7,), AveragePool(2), "`AveragePool` takes channels with sites, but 7 enter without"),
    ],
)
def test_what_does_not_fit_is_said(shape, layer, message):
    with pytest.raises(ValueError, match=message):
        mfdnn.Network(shape, [layer, Flatten(), Dense(2)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "full"}, "`padding` must be one of"),
        ({"padding": -1}, "`padding` must be an integer >= 0"),
        ({"padding": ((1,),)}, "`padding` must be torch, same, valid, a number, or a pair"),
        ({"mode": "replicate"}, "`mode` must be one of"),
        ({"weights": "delta"}, "`weights` must be one of"),
        ({"groups": 3}, "`groups` must divide `channels`, got 3 and 4"),
        ({"stride": 0}, "`stride` must be an integer >= 1"),
        ({"bias": False, "sigma_b2": 0.1}, "`sigma_b2` must be 0 in a layer without bias"),
    ],
)
def test_bad_options_are_said(options, message):
    with pytest.raises(ValueError, match=message):
        Conv(4, **options)


def test_channels_last_are_recognised():
    one = mfdnn.sample(NET, rng=0)
    with pytest.raises(ValueError, match=r"channels come first: pass np.moveaxis\(X, -1, 1\)"):
        one(np.ones((5, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"channels come first: pass np.moveaxis\(inputs, -1, 1\)"):
        mfdnn.fisher_statistics(NET, inputs=np.ones((5, 4, 4, 3)))


def test_dense_behind_sites_names_what_to_put_before_it():
    with pytest.raises(
        ValueError, match=r"`Dense` takes units of one site, but 2x4x4 enter .*; put `Flatten`"
    ):
        mfdnn.Network((3, 4, 4), [Conv(2), Dense(2)])


@pytest.mark.parametrize("weights", ["gaussian", "uniform", "delta_orthogonal"])
@pytest.mark.parametrize("given", [False, True])
def test_a_channel_a_group_is_sampled_by_theory(given, weights):
    """The sum over taps of one channel is not Gaussian: units have taps of their own."""
    c = 60
    depthwise = Conv(c, 3, 1.5, 0.1, groups=c, weights=weights)
    layers = [Conv(c, 1, 1.5, 0.1), depthwise, Pointwise("tanh"), Conv(c, 1, 1.5, 0.1), Pointwise("tanh"), Flatten()]
    net = mfdnn.Network((8, 6), [*layers, Dense(1, 1.0, 0.1)])
    X = np.random.default_rng(3).standard_normal((5, 8, 6))
    wide = mfdnn.MeanField(net, inputs=X) if given else mfdnn.MeanField(net, 5)
    found = wide.tangents.total(("weights",), ("biases",)).averages()
    errors = [
        np.std([float(one.tangents.total(("weights",), ("biases",)).averages()[i]) for one in wide.without_one_run()])
        * np.sqrt(7)
        for i in (0, 1)
    ]
    draws = []
    for seed in range(20):
        x = X if given else np.random.default_rng(seed).standard_normal(X.shape)
        theta = mfdnn.empirical_ntk(mfdnn.sample(net, rng=seed), x).reshape(5, 5)
        draws.append((np.trace(theta) / 5, (theta.sum() - np.trace(theta)) / 20))
    for i, measured in enumerate(np.array(draws).T):
        error = measured.std(ddof=1) / np.sqrt(len(draws))
        assert abs(measured.mean() - found[i]) < 4 * np.hypot(error, errors[i]) + 2 * found[0] / c  # O(1/M)
    assert errors[0] < 0.03 * found[0]


def test_descriptions_come_back():
    layers = [
        Conv(4, (3, 2), 2.0, 0.1, stride=2, padding=((1, 0), (0, 1)), mode="circular", weights="uniform"),
        mfdnn.Residual([Pointwise("relu"), Conv(8, 3, groups=2, stride=2)], [Conv(8, 1, stride=2)]),
        mfdnn.GroupNorm(2, 1.1, 0.2, eps=0.1, affine=False),
        AveragePool(2),
        mfdnn.RMSNorm(1.1, eps=0.1),
        mfdnn.Dropout(0.9, seed=3),
        GlobalAveragePool(),
        Dense(2),
    ]
    net = mfdnn.Network((2, 8, 8), layers)
    again = mfdnn.Network.from_dict(net.to_dict())
    assert repr(again) == repr(net)
    assert repr(again.layers) == repr(net.layers)
    one, other = mfdnn.sample(net, rng=0), mfdnn.sample(again, rng=0)
    np.testing.assert_array_equal(one.vector, other.vector)
    assert mfdnn.network.scale_widths(net, 2).widths[:1] == net.widths[:1]

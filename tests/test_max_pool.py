"""Max pooling at finite width: its values, its derivative, and what it refuses."""

import numpy as np
import pytest

import mfdnn
from mfdnn.kernels import spectrum
from mfdnn.layers import Conv, Dense, Flatten, Keep, MaxPool, Pointwise
from mfdnn.mean_field import tiles

CASES = [
    (MaxPool(2), (3, 4, 6)),
    (MaxPool(2), (3, 5, 7)),  # the last sites are left out
    (MaxPool(3, 2), (3, 8)),  # windows overlap
    (MaxPool(3, 1), (2, 4, 5)),
    (MaxPool(2, 3), (2, 7)),  # gaps
    (MaxPool((2, 1), (1, 2)), (2, 3, 5)),
    (MaxPool(2), (2, 3, 4, 5)),
    (MaxPool(1), (2, 3)),
    (MaxPool(5), (2, 5)),
]
ids = [f"{layer!r} of {'x'.join(map(str, shape))}" for layer, shape in CASES]


def each(value, d):
    return value if isinstance(value, tuple) else (value,) * d


def defined(layer, x):
    """Values, and the flat places of the sites they come from, window by window."""
    size, stride = each(layer.size, x.ndim - 2), each(layer.stride, x.ndim - 2)
    out = [(n - a) // b + 1 for n, a, b in zip(x.shape[2:], size, stride, strict=True)]
    y, place = np.empty((*x.shape[:2], *out)), np.empty((*x.shape[:2], *out), int)
    for t, i, *window in np.ndindex(y.shape):
        reads = [
            tuple(p * b + tap for p, b, tap in zip(window, stride, taps, strict=True)) for taps in np.ndindex(size)
        ]
        best = reads[0]
        for site in reads:
            if x[(t, i, *site)] > x[(t, i, *best)]:  # the first of equal ones
                best = site
        y[(t, i, *window)] = x[(t, i, *best)]
        place[(t, i, *window)] = np.ravel_multi_index((t, i, *best), x.shape)
    return y, place


def inputs(shape, kind):
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, *shape)) if kind == "distinct" else rng.integers(0, 2, (3, *shape)).astype(float)


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=ids)
@pytest.mark.parametrize("kind", ["distinct", "ties"])
def test_it_is_its_definition(layer, shape, kind):
    x, trace = inputs(shape, kind), []
    y, place = defined(layer, x)
    np.testing.assert_array_equal(layer.forward(x, iter(()), trace), y)
    assert (layer.output_shape(shape), x.dtype) == (y.shape[1:], y.dtype)
    # Its derivative is a matrix of zeros and ones: what each window takes of the sites.
    J = np.zeros((y.size, x.size))
    J[np.arange(y.size), place.ravel()] = 1
    rng = np.random.default_rng(1)
    for lead in ((), (2,), (2, 3)):
        dx, delta = rng.standard_normal((*lead, *x.shape)), rng.standard_normal((*lead, *y.shape))
        pushed = layer.pushforward(dx, iter(()), iter(()), iter(trace))
        np.testing.assert_allclose(pushed.reshape(*lead, -1), dx.reshape(*lead, -1) @ J.T, rtol=0, atol=0)
        below = layer.backward(delta, iter(()), iter(trace), [])
        assert below.shape == dx.shape
        np.testing.assert_allclose(below.reshape(*lead, -1), delta.reshape(*lead, -1) @ J, atol=1e-14)
    assert layer.pushforward(None, iter(()), iter(()), iter(trace)) is None


def test_single_precision_stays_and_inputs_are_not_changed():
    x = inputs((2, 4, 4), "distinct").astype("float32")
    before, trace = x.copy(), []
    assert MaxPool(2).forward(x, iter(()), trace).dtype == np.float32
    assert MaxPool(2).backward(x[..., :2, :2], iter(()), iter(trace), []).dtype == np.float32
    np.testing.assert_array_equal(x, before)


def test_many_taps_and_equal_values():
    x = np.zeros((1, 1, 20, 20))
    x[0, 0, 17, 3] = 1
    trace = []
    assert MaxPool(20).forward(x, iter(()), trace).item() == 1
    np.testing.assert_array_equal(MaxPool(20).backward(np.ones((1, 1, 1, 1)), iter(()), iter(trace), []), x)


def test_description():
    net = mfdnn.Network((3, 9), [Conv(8), MaxPool(3, 2), MaxPool((2,)), Flatten(), Dense(2)])
    assert [repr(layer) for layer in net.layers[1:3]] == ["MaxPool(3, stride=2)", "MaxPool((2,))"]
    back = mfdnn.Network.from_dict(net.to_dict())
    assert repr(back.layers) == repr(net.layers)
    assert net.layers[1].scaled(2) is net.layers[1]
    assert net.output_shape == (2,)
    assert net.widths == (9, 16, 2)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda: MaxPool(0), (3, 4), "`size` must be an integer >= 1"),
        (lambda: MaxPool(2, 0), (3, 4), "`stride` must be an integer >= 1"),
        (lambda: MaxPool(2.5), (3, 4), "`size` must be an integer"),
        (lambda: MaxPool((2, 2)), (3, 4), "`size` and `stride` must be numbers, or one for each of 1 axes of sites"),
        (lambda: MaxPool(2, (1, 1, 1)), (3, 4, 4), "one for each of 2 axes of sites, got 2 and"),
        (lambda: MaxPool(5), (3, 8, 4), "needs windows no longer than the sites, got a `size` of 5 where 8x4"),
        (lambda: MaxPool(2), (3,), "`MaxPool` takes channels with sites, but 3 enter without; put it before `Flatten`"),
    ],
)
def test_what_does_not_fit_is_said(layer, shape, message):
    with pytest.raises((TypeError, ValueError), match=message):
        mfdnn.Network(shape, [layer(), Flatten(), Dense(2)])


def test_relu_and_largest_values_change_places():
    X = np.random.default_rng(0).standard_normal((4, 2, 6, 6))
    found = []
    for middle in ([Pointwise("relu"), MaxPool(2)], [MaxPool(2), Pointwise("relu")]):
        one = mfdnn.sample(mfdnn.Network((2, 6, 6), [Conv(5), *middle, Flatten(), Dense(2)]), rng=0)
        found.append((one(X), mfdnn.fisher_spectrum(one, X).eigenvalues))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.torch
@pytest.mark.parametrize(("layer", "shape"), CASES, ids=ids)
@pytest.mark.parametrize("kind", ["distinct", "ties"])
def test_it_is_torch_s(torch, layer, shape, kind):
    x, trace = inputs(shape, kind), []
    module = [torch.nn.MaxPool1d, torch.nn.MaxPool2d, torch.nn.MaxPool3d][len(shape) - 2](layer.size, layer.stride)
    x_ = torch.tensor(x, requires_grad=True)
    y = module(x_)
    np.testing.assert_array_equal(layer.forward(x, iter(()), trace), y.detach().numpy())
    delta = np.random.default_rng(1).standard_normal(y.shape)
    (expected,) = torch.autograd.grad(y, x_, torch.tensor(delta))
    np.testing.assert_allclose(layer.backward(delta, iter(()), iter(trace), []), expected.numpy(), rtol=0, atol=1e-12)


def test_many_pairs_of_sites_do_not_hide_that_units_are_sampled(monkeypatch):
    """Blocks of pairs of inputs, or tiles of them, are given up, as units are drawn for all inputs at once."""
    net = mfdnn.cnn((1, 4, 4), [32], 2, pool=MaxPool(2))
    X = np.random.default_rng(0).standard_normal((6, 1, 4, 4))
    expected, values = mfdnn.fisher_statistics(net, inputs=X).largest, mfdnn.kernel_spectrum(net, inputs=X).eigenvalues
    monkeypatch.setattr(tiles, "WHOLE", 0)
    assert tiles.goes_in_tiles(net, 6, Keep())
    assert mfdnn.fisher_statistics(net, inputs=X).largest == expected
    monkeypatch.setattr(spectrum, "DENSE_UP_TO", 5)
    np.testing.assert_allclose(mfdnn.kernel_spectrum(net, inputs=X, k=2).eigenvalues, values[:2], rtol=1e-12)

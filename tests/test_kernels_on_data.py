"""NNGP and NTK at given inputs: of all pairs and of pairs with others, whole and in tiles, every layer."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from layer_catalogue import CATALOGUE
from make_neural_tangents_values import GAPS, NETWORKS, TEST, TRAINING, near_copies
from make_neural_tangents_values import inputs as neural_tangents_inputs
from test_catalogue import inputs, refused

import mfdnn
from mfdnn.gaussian.matrices import covariances
from mfdnn.kernels import on_data
from mfdnn.layers.pairs import Between, Given
from mfdnn.layers.state import given_moments
from mfdnn.mean_field.tiles import pairs_are_apart

EXACT = {"rtol": 0, "atol": 4e-12}  # a series is cut short for the worst of other inputs, at 1e-12; four layers


def assert_same(found, expected):
    np.testing.assert_allclose(found / np.abs(expected).max(), expected / np.abs(expected).max(), **EXACT)


def given_only(name):
    return not refused(name, True)


# -- Pairs of inputs and others -----------------------------------------------------------------------------------

MAPS = {
    "ones": lambda k, a: k.ones(),
    "same_sites": lambda k, a: k.same_sites(),
    "site_mean": lambda k, a: k.site_mean(),
    "over_sites": lambda k, a: k.over_sites(lambda b: b + b.sum((-2, -1), keepdims=True)),
    "arithmetic": lambda k, a: 2.0 * k * k + k * np.float64(0.3) - (k - 1.0) + 0.5,
    "outer": lambda k, a: k.outer(k.variance),
    "outer of two": lambda k, a: k.outer(a(k), np.sqrt(k.variance)),
    **{name: lambda k, a, act=name: k.expect(mfdnn.activation(act))[1] for name in ("relu", "tanh", "erf", "sin")},
    **{f"slope of {name}": lambda k, a, act=name: k.expect(mfdnn.activation(act))[2] for name in ("relu", "elu")},
    "mean": lambda k, a: k.outer(k.expect(mfdnn.activation("relu"))[0]),
}


@pytest.mark.parametrize("n_sites", [1, 3])
@pytest.mark.parametrize("name", MAPS)
def test_pairs_with_others_are_a_part_of_all_pairs(name, n_sites):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((4, 20, n_sites)), rng.standard_normal((3, 20, n_sites))
    y[1] = x[2]
    numbers = rng.standard_normal((7, n_sites))
    all_pairs, part = given_moments(np.concatenate([x, y])), given_moments(x, y)
    assert (type(all_pairs), type(part)) == (Given, Between)
    whole = MAPS[name](all_pairs, lambda k: numbers).matrix
    found = MAPS[name](part, lambda k: numbers)
    np.testing.assert_allclose(found.matrix, whole[:4, 4:], rtol=1e-12, atol=1e-12)
    own = np.array([whole[t, t] for t in range(7)])
    np.testing.assert_allclose(np.concatenate([found.rows, found.columns]), own, rtol=1e-12, atol=1e-12)


def test_no_square_matrix():
    part = given_moments(np.ones((2, 3, 1)), np.ones((4, 3, 1)))
    assert repr(part) == "Between((2, 4, 1, 1))"
    for ask in (Between.averages, Between.sums, lambda k: k.apply(np.ones((1, 4, 1))), lambda k: k.draw(2, 1, 1, 0)):
        with pytest.raises(TypeError, match="no square matrix"):
            ask(part)
    with pytest.raises(mfdnn.NoTheory, match="`others` have no kernel"):
        part.centred()


@pytest.mark.parametrize("phi", ["relu", "erf", "tanh", "cos", "selu", "hard_tanh"])
def test_integrals_of_pairs_with_others(phi):
    """Zero inputs, copies and near copies on both sides; large and small ones; blocks and tiles that are not full."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 30))
    x[3], x[140], x[5], x[141] = 0.0, 0.0, 1e-7 * x[6], x[7]
    x[8], x[142], x[9] = x[10] + 1e-6 * x[11], x[10], 20 * x[12]
    covariance = x @ x.T / 30
    variance = np.diagonal(covariance).copy()
    whole = covariances(mfdnn.activation(phi), variance, covariance)
    part = covariances(mfdnn.activation(phi), variance[:70], covariance[:70, 70:], variance[70:])
    for found, expected in zip(part, whole, strict=True):
        np.testing.assert_allclose(found, expected[:70, 70:], rtol=0, atol=3e-12 * np.abs(expected).max())


# -- kernels of networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CATALOGUE if given_only(name)])
def test_kernels_of_every_layer_are_those_of_the_recursion(name, monkeypatch):
    monkeypatch.setattr(on_data, "TILE", 4)  # several tiles of few inputs
    net = CATALOGUE[name]()
    X, Y = inputs(net, 6), inputs(net, 3, rng=4)
    wide = mfdnn.MeanField(net, inputs=np.concatenate([X, Y]))
    if not (wide.output_law is None or wide.output_law.edge):
        with pytest.raises(mfdnn.NoTheory, match="layer norm"):
            mfdnn.ntk(net, X)
        return
    kernels = [(mfdnn.nngp, {}), (mfdnn.ntk, {})]
    if all(layer.n_weight_layers for layer, _ in net.parameter_layers):
        kernels.append((mfdnn.ntk, {"parameterisation": "ntk"}))
    for kernel, option in kernels:
        if not pairs_are_apart(net):
            with pytest.raises(mfdnn.NoTheory, match="`others`"):
                kernel(net, X, Y, **option)
            continue
        whole = kernel(wide, **option)
        both = kernel(net, np.concatenate([X, Y]), **option)
        assert_same(both, whole)
        np.testing.assert_array_equal(both, both.T)
        assert_same(kernel(net, X, Y, **option), whole[:6, 6:])


def test_the_kernel_of_outputs_is_their_covariance():
    net = mfdnn.mlp([5, 20, 20, 2], "tanh", 1.7, 0.3)
    X = inputs(net, 4)
    np.testing.assert_allclose(mfdnn.nngp(net, X), mfdnn.order_parameters(net, inputs=X).q_st[-1], rtol=1e-12)


def test_a_jump_is_no_obstacle_to_outputs():
    sign = mfdnn.Activation("sign", np.sign)
    net = mfdnn.Network(2, [mfdnn.Dense(50, 2.0), mfdnn.Pointwise(sign), mfdnn.Dense(1, 1.0)])
    X = np.array([[1.0, 0.0], [0.6, 0.8]])
    np.testing.assert_allclose(mfdnn.nngp(net, X)[0, 1], 2 / np.pi * np.arcsin(0.6), rtol=1e-11)
    with pytest.raises(mfdnn.NoTheory, match="jumps"):
        mfdnn.ntk(net, X)


@pytest.mark.parametrize("n_samples", [300, 700])
def test_tiles_on_any_executor(n_samples):
    net = mfdnn.mlp([4, 30, 30, 1], "erf", 1.5, 0.1)
    X = np.random.default_rng(0).standard_normal((n_samples, 4))
    expected = mfdnn.ntk(net, X)
    np.testing.assert_array_equal(expected, expected.T)
    assert_same(expected, mfdnn.ntk(mfdnn.MeanField(net, inputs=X)))
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(mfdnn.ntk(net, X, executor=pool), expected)


def test_memory_is_that_of_the_result():
    net = mfdnn.mlp([3, *[40] * 6, 1], "relu", 2.0, 0.1)
    X = np.random.default_rng(0).standard_normal((1500, 3))
    mfdnn.ntk(net, X[:300])
    tracemalloc.start()
    try:
        theta = mfdnn.ntk(net, X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The result, tiles that wait (half of it at most), and some matrices of the tiles in work.
    assert peak < 1.5 * theta.nbytes + 4 * on_data.MATRICES * 8 * on_data.TILE**2


TWO = np.ones((2, 2))
BAD = {
    "no inputs": (lambda net: mfdnn.nngp(net), "`inputs` must be"),
    "of another width": (lambda net: mfdnn.ntk(net, np.ones((2, 3))), "`inputs` has 3 features"),
    "others of another width": (lambda net: mfdnn.ntk(net, TWO, np.ones((2, 3))), "`others` has 3 features"),
    "others beside a MeanField": (
        lambda net: mfdnn.nngp(mfdnn.MeanField(net, inputs=TWO), others=TWO),
        "`others` go with a Network",
    ),
    "random inputs": (lambda net: mfdnn.nngp(mfdnn.MeanField(net)), "must have given inputs"),
    "another parameterisation": (lambda net: mfdnn.ntk(net, TWO, parameterisation="mup"), "must be one of"),
    "overflow": (lambda net: mfdnn.nngp(mfdnn.mlp([2, 9, 1], "relu", 1e200), np.full((2, 2), 1e100)), "infinite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_a_sentence(name):
    call, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        call(mfdnn.mlp([2, 9, 1], "relu"))


# -- against other programs -----------------------------------------------------------------------------------------

PUBLIC = json.loads(Path(__file__).with_name("neural_tangents_values.json").read_text())
# The last of the others is the second of those trained.
SAME = {"square": np.eye(TRAINING, dtype=bool), "others": np.outer(np.arange(TRAINING) == 1, np.arange(TEST) == 2)}


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_are_those_of_neural_tangents(name):
    X = neural_tangents_inputs()
    net = mfdnn.mlp([4, 50, 50, 1], name, *NETWORKS[name])
    for kind, option in (("nngp", {}), ("ntk", {"parameterisation": "ntk"})):
        kernel = getattr(mfdnn, kind)
        for part, others in (("square", None), ("others", X[TRAINING:])):
            expected = np.array(PUBLIC[name][kind][part])
            error = np.abs(kernel(net, X[:TRAINING], others, **option) / expected - 1)
            # Of a kinked activation they lose half of the digits where an input meets itself or its copy.
            lost = SAME[part] & (name not in ("erf", "sin"))
            assert error[~lost].max() < 1e-10
            assert error.max() < 3e-8


@pytest.mark.parametrize("gap", GAPS)
def test_relu_near_copies_to_twelve_digits(gap):
    x, net = near_copies(gap), mfdnn.mlp([2, 9, 9, 1], "relu", 2.0)
    k, theta = PUBLIC["relu near copies"][str(gap)]
    assert mfdnn.nngp(net, x)[0, 1] == pytest.approx(k, rel=1e-12)
    # A cosine in double precision knows its angle, by which slopes differ from 1, to 1e-16 over the angle.
    known = 1e-12 + 4e-16 / np.sqrt(2 * gap)
    assert mfdnn.ntk(net, x, parameterisation="ntk")[0, 1] == pytest.approx(theta, rel=known)


# -- units that are sampled ------------------------------------------------------------------------------------


def test_kernels_of_sampled_units_are_cut_out_of_that_of_all_inputs():
    layers = [mfdnn.Conv(8), mfdnn.Pointwise("relu"), mfdnn.MaxPool(2), mfdnn.Flatten(), mfdnn.Dense(1)]
    net = mfdnn.Network((2, 6), layers)
    X, Z = (np.random.default_rng(i).standard_normal((3 + i, 12)) for i in (0, 1))
    every = np.concatenate([X, Z])
    for kernel in (mfdnn.nngp, mfdnn.ntk):
        whole = kernel(net, every)
        assert np.array_equal(kernel(net, X, Z), whole[:3, 3:])
        # The same units are drawn for fewer inputs up to their number: within a few percent, which is their error.
        np.testing.assert_allclose(kernel(net, X), whole[:3, :3], rtol=0.05)

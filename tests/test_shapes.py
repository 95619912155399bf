"""Networks whose inputs have sites: shapes, Flatten, and sentences for what does not fit."""

import numpy as np
import pytest
from user_layers import CircularConv, SiteMean

import mfdnn
from mfdnn.layers import BatchNorm, Dense, Flatten, LayerNorm, MeanSubtraction, Pointwise, Residual


def test_a_number_and_a_shape_of_one_site_are_the_same():
    one, other = (mfdnn.Network(shape, [Dense(3)]) for shape in (5, (5,)))
    assert one.input_shape == other.input_shape == (5,)
    assert repr(one) == repr(other) == "Network(5-3, linear, L=1, P=18)"
    assert (one.n_inputs, one.n_outputs, one.output_shape) == (5, 3, (3,))


def test_a_network_with_sites_knows_its_shapes():
    layers = [CircularConv(5, 3), Pointwise("relu"), Residual([CircularConv(5, 1)]), Flatten(), Dense(3)]
    net = mfdnn.Network([2, 8], layers)
    assert (net.input_shape, net.n_inputs, net.output_shape, net.n_outputs) == ((2, 8), 16, (3,), 3)
    shapes = [(2, 8), (5, 8), (5, 8), (5, 8), (5, 8), (40,)]
    walked = list(net.walk())
    assert [shape for _, shape in walked] == shapes
    assert [layer for layer, _ in walked] == [*layers[:3], layers[2].layers[0], *layers[3:]]
    assert [shape for _, shape in net.weight_layers] == [shape for _, shape in net.parameter_layers]
    assert net.widths == (2 * 3, 5, 40, 3)  # taps count
    assert net.n_parameters == 5 * 2 * 3 + 5 + 5 * 5 + 5 + 3 * 40 + 3
    assert repr(net) == f"Network(2x8: 6-5-40-3, residual, relu, L=3, P={net.n_parameters})"


def test_flatten_puts_sites_side_by_side_in_c_order():
    net = mfdnn.Network((2, 3, 2), [Flatten(), Dense(12, bias=False)])
    X = np.arange(48.0).reshape(4, 2, 3, 2)
    one = mfdnn.SampledNetwork(net, [(np.eye(12), None)])
    np.testing.assert_array_equal(one(X), X.reshape(4, 12))
    np.testing.assert_array_equal(one(X.reshape(4, 12)), X.reshape(4, 12))
    assert one.linearise(X.reshape(4, 12)).inputs.shape == (4, 2, 3, 2)


def test_a_flat_network_is_that_of_rows():
    """The same parameters, outputs and spectrum to the last bit."""
    X = np.random.default_rng(1).standard_normal((9, 3, 2, 2))
    plain = mfdnn.mlp([12, 20, 4], "tanh", 1.5, 0.1)
    one = mfdnn.sample(plain, rng=0)
    flat = mfdnn.sample(mfdnn.Network((3, 2, 2), [Flatten(), *plain.layers]), rng=0)
    rows = X.reshape(9, 12)
    np.testing.assert_array_equal(one.flatten(one.parameters), flat.flatten(flat.parameters))
    np.testing.assert_array_equal(one(rows), flat(X))
    for options in ({}, {"k": 3}, {"output": "softmax"}, {"parameterisation": "ntk"}, {"layer": 0}):
        expected, found = (
            mfdnn.fisher_spectrum(one, rows, **options),
            mfdnn.fisher_spectrum(flat, X, **options),
        )
        np.testing.assert_array_equal(found.eigenvalues, expected.eigenvalues)
    np.testing.assert_array_equal(
        mfdnn.feature_spectrum(one, rows).eigenvalues, mfdnn.feature_spectrum(flat, X).eigenvalues
    )
    training = [mfdnn.train(network, x, np.ones((9, 4)), 0.01, 5) for network, x in ((one, rows), (flat, X))]
    np.testing.assert_array_equal(*[run.losses for run in training])


@pytest.mark.parametrize("leading", [(), (5,), (5, 2)])
def test_flatten_takes_leading_axes(leading):
    trace = []
    y = Flatten().forward(np.ones((4, 2, 3)), iter(()), trace)
    assert y.shape == (4, 6)
    delta = np.random.default_rng(0).standard_normal((*leading, 4, 6))
    below = Flatten().backward(delta, iter(()), iter(trace), [])
    assert below.shape == (*leading, 4, 2, 3)
    np.testing.assert_array_equal(Flatten().pushforward(below, iter(()), iter(()), iter(trace)), delta)
    assert Flatten().pushforward(None, iter(()), iter(()), iter(trace)) is None


@pytest.mark.parametrize(
    ("shape", "layers", "message"),
    [
        (
            (3, 8, 8),
            [Dense(4)],
            r"`Dense` takes units of one site, but 3x8x8 enter .*; put `Flatten` \(or a pooling",
        ),
        (
            (2, 4),
            [CircularConv(3, 2)],
            r"must end with outputs of one site, got 3x4 .*; put `Flatten` \(or a pooling",
        ),
        (
            (2, 4),
            [Residual([CircularConv(3, 2)]), SiteMean()],
            "`Residual` must keep channels and sites: 2x4 enter and",
        ),
        ((2, 0), [Flatten(), Dense(2)], "`input_shape` must be an integer >= 1"),
        ((), [Dense(2)], "`input_shape` must not be empty"),
        (0, [Dense(2)], "`input_shape` must be an integer >= 1"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shape, layers, message):
    with pytest.raises(ValueError, match=message):
        mfdnn.Network(shape, layers)


@pytest.mark.parametrize("shape", ["5", 2.5, (2.5, 3), None])
def test_a_shape_holds_whole_numbers(shape):
    with pytest.raises(TypeError, match="`input_shape` must be an integer"):
        mfdnn.Network(shape, [Dense(2)])


@pytest.mark.parametrize("shape", [(4, 3, 4), (4, 11), (12,), (0, 12), (4, 2, 2, 3)])
def test_inputs_that_do_not_fit_are_named(shape):
    one = mfdnn.sample(mfdnn.Network((3, 2, 2), [Flatten(), Dense(2)]), rng=0)
    with pytest.raises(
        ValueError, match=r"`X` must have shape \(T, 3, 2, 2\), or \(T, 12\) in C order, as the network"
    ):
        one(np.ones(shape))


def test_no_theory_is_a_value_error_with_a_reason():
    assert issubclass(mfdnn.NoTheory, ValueError)
    assert str(mfdnn.NoTheory("nobody has found it.")) == "nobody has found it."


def test_layers_say_what_they_are():
    dense, norm, relu = Dense(5, 2.0, 0.3), LayerNorm(), Pointwise("relu")
    assert (dense.fully_connected, dense.parameter_roles) == (True, ("weights", "biases"))
    assert dense.ntk_units((8,)) == (0.5, np.sqrt(0.3))
    assert norm.ntk_units((8,)) == (1.0, 1.0)
    assert LayerNorm(affine=False).ntk_units((8,)) == ()
    assert [layer.normalises for layer in (dense, MeanSubtraction(), BatchNorm(), norm)] == [
        "",
        "mean",
        "samples",
        "units",
    ]
    assert [layer.n_free_outputs(4) for layer in (dense, BatchNorm(), norm)] == [4, 4, 3]
    assert [layer.homogeneous for layer in (dense, relu, Flatten(), Pointwise("tanh"), norm)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert Residual([relu, dense]).homogeneous
    assert not Residual([Pointwise("tanh"), dense]).homogeneous
    assert Residual([relu, dense]).batches_errors
    assert not Residual([CircularConv(2, 1)]).batches_errors
    assert CircularConv(2, 1).fan_in((3, 8)) == 3
    assert mfdnn.Network(8, [dense, norm]).n_free_outputs == 4

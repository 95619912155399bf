"""Eigenvalues of kernels: dense, by halves, of random subsets; what makes them singular."""

import numpy as np
import pytest

import mfdnn
from mfdnn.kernels import spectrum
from mfdnn.kernels.many_inputs import HalfKernel
from mfdnn.kernels.on_data import ONLY_MOMENTS, tiles
from mfdnn.kernels.singular import duplicates

RELU = mfdnn.mlp([6, 50, 50, 2], "relu", 2.0, 0.1)
KERNELS = [("nngp", "standard"), ("ntk", "standard"), ("ntk", "ntk")]


def data(n, n_features=6, rng=0):
    return np.random.default_rng(rng).standard_normal((n, n_features))


def matrix(net, X, kernel, parameterisation):
    return mfdnn.nngp(net, X) if kernel == "nngp" else mfdnn.ntk(net, X, parameterisation=parameterisation)


@pytest.mark.parametrize(("kernel", "parameterisation"), KERNELS)
def test_eigenvalues_are_those_of_the_kernel(kernel, parameterisation):
    X = data(12)
    option = {"kernel": kernel, "parameterisation": parameterisation}
    found = mfdnn.kernel_spectrum(RELU, inputs=X, **option)
    values = np.linalg.eigvalsh(matrix(RELU, X, kernel, parameterisation))[::-1]
    np.testing.assert_allclose(found.eigenvalues, values, rtol=0, atol=1e-13 * values[0])
    assert (found.largest, found.smallest) == (found.eigenvalues[0], found.eigenvalues[-1])
    assert found.condition == found.largest / found.smallest
    assert (found.n_samples, found.n_outputs, found.duplicates, found.caution) == (12, 2, (), "")
    few = mfdnn.kernel_spectrum(mfdnn.MeanField(RELU, inputs=X), k=3, **option)
    np.testing.assert_allclose(few.eigenvalues, found.eigenvalues[:3], rtol=1e-12)
    assert few.smallest == pytest.approx(found.smallest, rel=1e-9)


@pytest.mark.parametrize(("kernel", "parameterisation"), KERNELS)
def test_random_inputs_have_two_eigenvalues(kernel, parameterisation):
    net = mfdnn.mlp([40, 50, 50, 1], "tanh", 1.5, 0.2)
    found = mfdnn.kernel_spectrum(net, 5, 1.3, 0.4, kernel=kernel, parameterisation=parameterisation)
    # Inputs with these inner products exactly: their kernel is that of exchangeable ones.
    X = np.linalg.cholesky(1.3 * 40 * (0.6 * np.eye(5) + 0.4)) @ np.eye(5, 40)
    values = np.linalg.eigvalsh(matrix(net, X, kernel, parameterisation))[::-1]
    np.testing.assert_allclose(found.eigenvalues, values, rtol=0, atol=1e-10 * values[0])


def test_the_learning_rate_is_two_over_the_largest():
    X = data(30)
    found = mfdnn.kernel_spectrum(RELU, inputs=X)
    for option in ({"loss": "half_mse"}, {"loss": "torch_mse", "momentum": 0.9, "nesterov": True}):
        limit = mfdnn.max_learning_rate(RELU, inputs=X, **option).value
        assert found.max_learning_rate(**option) == pytest.approx(limit, rel=1e-10)
    with pytest.raises(ValueError, match="`loss` must be one of squares"):
        found.max_learning_rate("cross_entropy")
    with pytest.raises(ValueError, match="standard parameterisation"):
        mfdnn.kernel_spectrum(RELU, inputs=X, kernel="nngp").max_learning_rate()


# -- singular kernels ---------------------------------------------------------------------------------------------


def test_parallel_inputs_are_named():
    X = data(8)
    X[5], X[2], X[7] = X[0], 3.0 * X[1], X[0]
    no_bias = mfdnn.mlp([6, 50, 50, 1], "relu", 2.0)
    found = mfdnn.kernel_spectrum(no_bias, inputs=X, parameterisation="ntk")
    assert found.duplicates == ((0, 5, 7), (1, 2))
    assert (found.smallest, found.condition) == (0.0, np.inf)
    assert "(0, 5, 7), (1, 2) are the same" in found.caution
    # A bias tells inputs of two lengths apart.
    assert mfdnn.kernel_spectrum(RELU, inputs=X, parameterisation="ntk").duplicates == ((0, 5, 7),)


def test_opposite_inputs_are_the_same_to_an_odd_network():
    X = data(4)
    X[3] = -X[1]
    for phi, expected in (("tanh", ((1, 3),)), ("relu", ())):
        found = mfdnn.kernel_spectrum(mfdnn.mlp([6, 9, 1], phi, 1.5), inputs=X, parameterisation="ntk")
        assert found.duplicates == expected


def test_zero_inputs_are_duplicates():
    correlation = np.eye(3)
    correlation[0, 2] = correlation[2, 0] = 1.0
    inputs = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert duplicates(correlation, inputs) == ((0, 2),)


def test_the_ordered_phase_at_depth_is_named():
    net = mfdnn.mlp([6, *[20] * 40, 1], "tanh", 0.5, 0.5)
    found = mfdnn.kernel_spectrum(net, inputs=data(5), parameterisation="ntk")
    assert (found.smallest, found.condition, found.duplicates) == (0.0, np.inf, ())
    assert "look alike at the outputs" in found.caution


def test_a_linear_network_of_few_features_is_named():
    found = mfdnn.kernel_spectrum(mfdnn.mlp([2, 20, 1], "linear", 1.0), inputs=data(5, 2))
    assert found.condition == np.inf
    assert "fewer dimensions" in found.caution


# -- many inputs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "parameterisation"), KERNELS)
def test_the_largest_of_many_inputs(kernel, parameterisation, monkeypatch):
    X = data(300) + 0.3
    option = {"kernel": kernel, "parameterisation": parameterisation}
    expected = mfdnn.kernel_spectrum(RELU, inputs=X, k=4, **option)
    monkeypatch.setattr(spectrum, "DENSE_UP_TO", 100)
    found = mfdnn.kernel_spectrum(RELU, inputs=X, k=4, **option)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-10)
    assert (found.smallest, found.condition) == (None, None)
    assert "the smallest is not known" in found.caution


def test_half_a_kernel_is_a_matrix():
    X, v = data(300), data(300, 1, rng=1)
    parts = list(tiles(RELU, X, None, ONLY_MOMENTS._replace(only="ntk")))
    half = HalfKernel(len(X), parts)
    expected = mfdnn.ntk(RELU, X, parameterisation="ntk") @ v[:, 0]
    np.testing.assert_allclose(half.apply(v), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    in_another_order = HalfKernel(len(X), parts[::-1])
    assert np.array_equal(in_another_order.apply(v), half.apply(v))  # as threads may bring them


def test_random_subsets_know_the_largest():
    X = data(400, rng=2) + 0.5
    expected = mfdnn.kernel_spectrum(RELU, inputs=X, k=1)
    found = mfdnn.kernel_spectrum(RELU, inputs=X, subsets=(10, 100))
    error = found.standard_error["largest"]
    assert 0 < error < 0.05 * expected.largest
    assert abs(found.largest - expected.largest) < 4 * error + 0.01 * expected.largest  # what T enters by is no theorem
    assert found.smallest >= expected.smallest
    assert "10 random subsets of 100 inputs and their halves" in found.caution
    whole = mfdnn.kernel_spectrum(RELU, inputs=X[:50], subsets=2)
    assert whole.largest == pytest.approx(mfdnn.kernel_spectrum(RELU, inputs=X[:50]).largest, rel=1e-12)


def test_the_error_of_subsets_covers_a_kernel_without_dominant_directions():
    """Where T does not enter as for exchangeable inputs: the scatter over subsets alone would be 0.01 of it."""
    net = mfdnn.mlp([40, 100, 1], "tanh", 1.5, bias=False)
    X = data(600, 40, rng=5)
    expected = mfdnn.kernel_spectrum(net, inputs=X, k=1).largest
    found = mfdnn.kernel_spectrum(net, inputs=X, subsets=(6, 150))
    error = found.standard_error["largest"]
    assert 0.03 * expected < abs(found.largest - expected) < 2 * error


BATCH = mfdnn.Network(6, [mfdnn.Dense(20), mfdnn.BatchNorm(), mfdnn.Pointwise("relu"), mfdnn.Dense(1)])
BAD = {
    "kernel": (lambda: mfdnn.kernel_spectrum(RELU, kernel="rbf"), "`kernel` must be one of"),
    "k": (lambda: mfdnn.kernel_spectrum(RELU, inputs=data(3), k=4), "`k` must be at most 3"),
    "k of random inputs": (lambda: mfdnn.kernel_spectrum(RELU, 3, k=4), "`k` must be at most 3"),
    "q0 and inputs": (lambda: mfdnn.kernel_spectrum(RELU, q0=1.0, inputs=data(3)), "`inputs` excludes"),
    "several q0": (lambda: mfdnn.kernel_spectrum(RELU, q0=[1.0, 2.0]), "`q0` must be a single number"),
    "subsets of random inputs": (lambda: mfdnn.kernel_spectrum(RELU, subsets=3), "`subsets` are of given"),
    "one subset": (lambda: mfdnn.kernel_spectrum(RELU, inputs=data(3), subsets=1), "`subsets` must be an integer >= 2"),
    "large subsets": (lambda: mfdnn.kernel_spectrum(RELU, inputs=data(3), subsets=(2, 4)), "at most 3 inputs"),
    "subsets of a batch": (lambda: mfdnn.kernel_spectrum(BATCH, inputs=data(9), subsets=2), "couples samples"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_a_sentence(name):
    call, words = BAD[name]
    with pytest.raises((TypeError, ValueError), match=words):
        call()

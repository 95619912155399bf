"""How critical rates scale: exponents over width and batch, in three parameterisations."""

import json

import numpy as np
import pytest

import mfdnn
from mfdnn.learning_rate import ScalingExponents, max_learning_rate, scaling_exponents

SIZES = [64, 256, 1024, 4096]


def chain(act, depth, sigma_w2, sigma_b2, width=64):
    return mfdnn.MeanField(mfdnn.mlp([64, *[width] * (depth - 1), 1], act, sigma_w2, sigma_b2), 32)


# d log rate/d log M between the sizes, of other inputs and labels (T = 32): they differ by up to 0.05, most where the
# network is narrow; and of infinite widths, which are powers of M in every row.
KNOWN = {
    ("relu", 4, "standard", "sgd"): ([-1.0, -1.0, -1.0], -1),
    ("tanh", 3, "standard", "sgd"): ([-0.8, -0.95, -0.99], -1),
    ("relu", 4, "standard", "adam"): ([-1.42, -1.47, -1.49], -1.5),
    ("tanh", 3, "standard", "adam"): ([-1.17, -1.38, -1.46], -1.5),
    ("relu", 2, "standard", "adam"): ([-0.68, -0.80, -0.91], -1),
    ("relu", 4, "standard", "muon"): ([-0.5, -0.5, -0.5], -0.5),
    ("relu", 4, "ntk", "sgd"): ([0, 0, 0], 0),
    ("relu", 4, "ntk", "adam"): ([-0.95, -0.97, -0.98], -1),
    ("relu", 2, "ntk", "adam"): ([-0.5, -0.5, -0.5], -0.5),
    ("relu", 4, "mup", "sgd"): ([0, 0, 0], 0),
    ("tanh", 3, "mup", "adam"): ([0, 0, 0], 0),
    ("relu", 4, "mup", "muon"): ([-0.03, 0.02, 0.01], 0),
}


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: "-".join(map(str, case)))
def test_known_exponents(case):
    act, depth, parameterisation, optimizer = case
    slopes, limit = KNOWN[case]
    net = chain(act, depth, 2.0 if act == "relu" else 1.5, 0.0 if act == "relu" else 0.05)
    found = scaling_exponents(net, optimizer, parameterisation=parameterisation, sizes=SIZES)
    np.testing.assert_allclose(found.slopes, slopes, atol=0.07 if (act, optimizer) == ("relu", "adam") else 0.05)
    assert found.limit_exponent == pytest.approx(limit, abs=1e-3)
    assert found.factor_of_two == 2**found.exponent
    assert found.slopes.min() - 1e-9 <= found.exponent <= found.slopes.max() + 1e-9
    assert 0 <= found.standard_error["exponent"] < 0.03


def test_of_descent_the_stable_rate_too():
    net = chain("tanh", 3, 1.5, 0.05)
    found = scaling_exponents(net, "sgd", sizes=[64, 256])
    X = net.inputs
    assert X is None
    given = mfdnn.MeanField(net.network, inputs=np.random.default_rng(0).standard_normal((20, 64)))
    found = scaling_exponents(given, "sgd", sizes=[64, 256])
    limits = [max_learning_rate(mfdnn.mlp([64, M, M, 1], "tanh", 1.5, 0.05), inputs=given.inputs) for M in (64, 256)]
    np.testing.assert_allclose(found.stable_rates, [lr.value for lr in limits], rtol=1e-9)
    assert found.stable_exponent == pytest.approx(np.log(limits[1].value / limits[0].value) / np.log(4))
    kernel = mfdnn.ntk(given.network, given.inputs, parameterisation="ntk")
    ntk = scaling_exponents(given, "sgd", parameterisation="ntk", sizes=[64, 256])
    np.testing.assert_allclose(ntk.stable_rates, 2 * 20 / np.linalg.eigvalsh(kernel)[-1], rtol=1e-9)
    assert scaling_exponents(given, "adam", sizes=[64, 256]).stable_rates is None


def test_rates_are_those_of_first_step():
    X = np.random.default_rng(0).standard_normal((20, 8))
    nets = {M: mfdnn.mlp([8, M, 2 * M, 3], "gelu", 1.5, 0.1) for M in (30, 60)}
    found = scaling_exponents(mfdnn.MeanField(nets[30], inputs=X), "lion", sizes=[60, 30])
    rates = [mfdnn.first_step(nets[M], "lion", inputs=X).directional for M in (30, 60)]
    np.testing.assert_allclose(found.rates, rates, rtol=1e-12)
    assert found.sizes.tolist() == [30, 60]
    assert found.exponent == pytest.approx(np.log2(rates[1] / rates[0]))


def test_sizes_by_default():
    found = mfdnn.scaling_exponents(mfdnn.mlp([8, 50, 50, 2]), "sgd")
    assert isinstance(found, ScalingExponents)
    assert found.sizes.tolist() == [25, 50, 100] and found.n_samples == 100 and found.n_outputs == 2
    assert "sgd, standard, over width" in repr(found)
    assert json.loads(json.dumps(found.to_dict()))["factor_of_two"] == found.factor_of_two


def test_over_samples_the_rate_becomes_constant():
    net = mfdnn.mlp([64, 200, 200, 1], "relu", 2.0, 0.1)
    found = mfdnn.scaling_exponents(net, "adam", over="samples", sizes=[16, 64, 256])
    assert found.limit_exponent == 0 and found.n_samples is None
    assert -0.6 < found.slopes[0] < 0.1 and abs(found.slopes[1]) < 0.25  # errors of the outputs' draws: 0.1
    X = np.random.default_rng(0).standard_normal((64, 64))
    given = mfdnn.MeanField(net, inputs=X)
    of_given = mfdnn.scaling_exponents(given, "sgd", over="samples", sizes=[32, 64])
    assert of_given.rates[0] == pytest.approx(mfdnn.first_step(net, "sgd", inputs=X[:32]).directional)
    of_descent = mfdnn.scaling_exponents(net, "sgd", over="samples")
    assert of_descent.sizes.tolist() == [50, 100, 200] and abs(of_descent.exponent) < 0.15
    with pytest.raises(ValueError, match="`sizes` must be at most 64"):
        mfdnn.scaling_exponents(given, "sgd", over="samples", sizes=[32, 65])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": "sdg"}, ValueError, "did you mean sgd"),
        ({"over": "depth"}, ValueError, "`over` must be one of width, samples"),
        ({"parameterisation": "sp"}, ValueError, "`parameterisation` must be one of"),
        ({"sizes": [64]}, ValueError, "`sizes` must be two or more different ones"),
        ({"sizes": [64, 64]}, ValueError, "`sizes` must be two or more different ones"),
        ({"sizes": 64}, TypeError, "`sizes` must be a sequence"),
        ({"sizes": [0, 64]}, ValueError, "`sizes` must be an integer >= 1"),
        ({"net": mfdnn.mlp([4, 2])}, ValueError, "`net` must have a hidden layer"),
        ({"net": 3}, TypeError, "`net` must be a Network"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        mfdnn.scaling_exponents(**{"net": mfdnn.mlp([4, 5, 2]), **arguments})


def test_other_networks_have_those_of_descent_over_samples():
    net = mfdnn.cnn((3, 6, 6), [8, 8], 4, "relu", norm=None)
    found = mfdnn.scaling_exponents(net, "sgd", over="samples", sizes=[4, 8])
    assert np.all(found.rates > 0) and found.stable_rates is not None
    with pytest.raises(mfdnn.NoTheory, match="got a layer Conv"):
        mfdnn.scaling_exponents(net, "adam", over="samples", sizes=[4, 8])

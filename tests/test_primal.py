"""F itself, where parameters are fewer than outputs, against the dual: the same eigenvalues, norms and vectors."""

import numpy as np
import pytest

import mfdnn
from mfdnn.sampled import primal
from mfdnn.sampled.checks import linearised, softmax_root
from mfdnn.sampled.coordinates import coordinates_of
from mfdnn.sampled.dual import dual_of
from mfdnn.sampled.jacobian import Jacobian

NETWORKS = {
    "two layers": mfdnn.mlp([4, 6, 5], "tanh", sigma_w2=1.5, sigma_b2=0.1),
    "many outputs, few samples": mfdnn.mlp([4, 2, 40], "relu", sigma_w2=2.0, bias=False),
    "one layer": mfdnn.mlp([4, 5], sigma_w2=1.5, sigma_b2=0.1),
    "layer norm": mfdnn.Network(4, [mfdnn.Dense(6), mfdnn.LayerNorm(), mfdnn.Pointwise("tanh"), mfdnn.Dense(3)]),
    "batch norm": mfdnn.Network(4, [mfdnn.Dense(6), mfdnn.BatchNorm(), mfdnn.Pointwise("tanh"), mfdnn.Dense(3)]),
}
ASKED = {
    "linear": {},
    "softmax": {"output": "softmax"},
    "ntk": {"parameterisation": "ntk"},
    "first layer": {"layer": 0},
}


def drawn(name):
    X = np.random.default_rng(1).standard_normal((4 if "few" in name else 40, 4))
    return mfdnn.sample(NETWORKS[name], rng=0), X


def of_the_dual(one, X, output="linear", parameterisation="standard", layer=None):
    linear = linearised(one, X)
    root = softmax_root(output, linear)
    dual = dual_of(Jacobian(linear, root, coordinates_of(one, parameterisation, layer)), None)
    matrix = dual.matrix()
    return np.linalg.eigvalsh(matrix)[::-1], dual.squared_norms(matrix)


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_matrix_has_the_eigenvalues_of_the_larger(name, asked):
    one, X = drawn(name)
    found = mfdnn.fisher_spectrum(one, X, **asked)
    P, rank = found.n_parameters, len(X) * (found.n_outputs - (found.output == "softmax"))
    assert P < len(X) * found.n_outputs  # or this would compare the dual with itself
    expected, (within, between) = of_the_dual(one, X, **asked)
    assert found.eigenvalues.shape == (min(P, rank),)
    rounding = 1e-13 * expected[0]
    np.testing.assert_allclose(found.eigenvalues, expected[: len(found.eigenvalues)], rtol=0, atol=rounding)
    assert np.all(np.abs(expected[len(found.eigenvalues) :]) < rounding)
    assert found.mean == pytest.approx(expected.sum() / P, rel=1e-13)
    assert found.second_moment == pytest.approx((within + between) / P, rel=1e-13)
    assert found.coupling == pytest.approx(np.sqrt(between / (within + between)), rel=1e-12, abs=1e-14)


def test_outputs_of_one_layer_do_not_couple_at_all():
    assert mfdnn.fisher_spectrum(*drawn("one layer")).coupling == 0


@pytest.mark.parametrize("name", ["two layers", "batch norm"])
def test_eigenvectors_are_those_of_f(name):
    one, X = drawn(name)
    found = mfdnn.fisher_spectrum(one, X, k=10, eigenvectors=True)
    J = np.array([one.jvp(X, e).ravel() for e in np.eye(one.n_parameters)]).T
    V, rounding = found.eigenvectors, 1e-13 * found.largest
    np.testing.assert_allclose(J.T @ (J @ V) / len(X), V * found.eigenvalues, rtol=0, atol=rounding)
    np.testing.assert_allclose(V.T @ V, np.eye(10), rtol=0, atol=1e-13)


def test_a_wide_dual_of_few_parameters_needs_no_room_for_it(monkeypatch):
    one, X = mfdnn.sample(NETWORKS["two layers"], rng=0), np.random.default_rng(1).standard_normal((2000, 4))
    monkeypatch.setattr(primal, "require_memory", lambda n_bytes, *_: asked.append(n_bytes))
    monkeypatch.setattr("mfdnn.sampled.dual.require_memory", None)  # would be called for the dual
    asked = []
    assert len(mfdnn.fisher_spectrum(one, X).eigenvalues) == one.n_parameters
    assert asked[0] < 16 * (2000 * 5) ** 2 / 100


def test_in_single_precision():
    one, X = drawn("two layers")
    single = mfdnn.sample(one.network, rng=0, dtype="float32")
    single.parameters = [tuple(a.astype(np.float32) for a in group) for group in one.parameters]
    found, expected = mfdnn.fisher_spectrum(single, X), mfdnn.fisher_spectrum(one, X)
    assert np.abs(found.eigenvalues - expected.eigenvalues).max() < 1e-5 * expected.largest  # rounding of a product
    assert mfdnn.fisher_spectrum(single, X, k=3, eigenvectors=True).eigenvectors.dtype == np.float32

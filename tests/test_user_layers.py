"""Layers of a user's own, on sites: products, Gram matrices and spectra against a Jacobian by differences."""

import ast
from pathlib import Path

import naive
import numpy as np
import pytest
from user_layers import CircularConv, RMSNorm, SiteMean

import mfdnn
from mfdnn.layers import BatchNorm, Dense, Flatten, MeanSubtraction, Pointwise, Residual
from mfdnn.sampled import dual
from mfdnn.sampled.coordinates import Coordinates
from mfdnn.training.curvature import LargestEigenvalue


def tanh():
    return Pointwise("tanh")


def dense(units=3):
    return Dense(units, 1.5, 0.1)


NETS = {
    "convolution": ((2, 4), [CircularConv(3, 3), tanh(), CircularConv(2, 2), tanh(), Flatten(), dense()]),
    "normalised sites": ((2, 4), [CircularConv(4, 3), RMSNorm(), tanh(), Flatten(), dense()]),
    "normalised units": (5, [dense(6), RMSNorm(), tanh(), dense()]),
    "mean over sites": ((2, 4), [tanh(), CircularConv(4, 2), tanh(), SiteMean(), dense()]),
    "ends with a mean": ((2, 4), [CircularConv(4, 2), tanh(), CircularConv(3, 2), SiteMean()]),
    "in a block": ((3, 4), [Residual([tanh(), CircularConv(3, 3)], skip=0.5), Flatten(), dense()]),
    "flat from the start": ((2, 2, 2), [Flatten(), dense(5), tanh(), dense()]),
    "coupled behind": ((2, 4), [CircularConv(3, 3), tanh(), Flatten(), dense(), BatchNorm()]),
    "coupled within": (
        (2, 4),
        [CircularConv(3, 3), tanh(), Flatten(), dense(5), BatchNorm(), tanh(), dense()],
    ),
    "coupled twice": (5, [dense(4), BatchNorm(), RMSNorm(), tanh(), dense(), MeanSubtraction()]),
    "one's own behind": (5, [dense(6), tanh(), dense(), MeanSubtraction(), RMSNorm()]),
}
T, C = 6, 3


@pytest.fixture(params=NETS)
def case(request):
    """A network, inputs, and J (C T, P), output by output, from central differences of the outputs."""
    net = mfdnn.Network(*NETS[request.param])
    one = mfdnn.sample(net, rng=0)
    # Gains of 1 and offsets of 0 would hide where they are missing.
    rng = np.random.default_rng(3)
    one.parameters = one.unflatten(one.flatten(one.parameters) + 0.3 * rng.standard_normal(net.n_parameters))
    X = rng.standard_normal((T, *net.input_shape))

    def outputs(theta):
        return mfdnn.SampledNetwork(net, one.unflatten(theta))(X).T.ravel()

    return one, X, naive.finite_difference_jacobian(outputs, one.flatten(one.parameters))


def test_jacobian_products(case):
    one, X, J = case
    v = np.random.default_rng(2).standard_normal(one.n_parameters)
    u = np.random.default_rng(3).standard_normal((T, C))
    # Central differences: truncation and rounding of about 1e-9.
    np.testing.assert_allclose(one.jvp(X, v).T.ravel(), J @ v, atol=1e-7)
    np.testing.assert_allclose(one.vjp(X, u), J.T @ u.T.ravel(), atol=1e-7)
    assert np.sum(u * one.jvp(X, v)) == pytest.approx(one.vjp(X, u) @ v, rel=1e-12, abs=1e-12)


def test_spectra_and_kernel(case, monkeypatch):
    one, X, J = case
    expected = np.linalg.eigvalsh(J @ J.T / T)[::-1][: min(T * C, one.n_parameters)]
    np.testing.assert_allclose(mfdnn.empirical_ntk(one, X), J @ J.T, atol=1e-6)
    assert np.abs(mfdnn.fisher_spectrum(one, X).eigenvalues - expected).max() < 1e-7 * expected[0]
    softmax = mfdnn.fisher_spectrum(one, X, output="softmax")
    of_samples = J.reshape(C, T, -1).swapaxes(0, 1)
    cross = naive.eigenvalues(naive.softmax_fisher_matrix(of_samples, one(X)))[: len(softmax.eigenvalues)]
    assert np.abs(softmax.eigenvalues - cross).max() < 1e-7 * cross[0]
    monkeypatch.setattr("mfdnn.sampled.spectrum.SMALL", 0)
    monkeypatch.setattr("mfdnn.training.curvature.SMALL", 0)
    top = mfdnn.fisher_spectrum(one, X, k=2, eigenvectors=True, tol=1e-9)
    np.testing.assert_allclose(top.eigenvalues, expected[:2], rtol=1e-7)
    assert top.mean * one.n_parameters == pytest.approx(expected.sum(), rel=1e-7)
    assert top.second_moment * one.n_parameters == pytest.approx(expected @ expected, rel=1e-7)
    images = J.T @ (J @ top.eigenvectors) / T
    np.testing.assert_allclose(images, top.eigenvectors * top.eigenvalues, atol=1e-6 * top.largest)
    assert LargestEigenvalue()(one.linearise(X)) == pytest.approx(expected[0], rel=1e-7)
    assert LargestEigenvalue("softmax")(one.linearise(X)) == pytest.approx(cross[0], rel=1e-7)


def test_the_block_of_one_layer(case):
    one, X, J = case
    ends = np.cumsum([sum(a.size for a in group) for group in one.parameters])
    weighted = [bool(layer.n_weight_layers) for layer, _ in one.network.parameter_layers]
    for index, i in enumerate(np.flatnonzero(weighted)):
        block = J[:, ends[i] - sum(a.size for a in one.parameters[i]) : ends[i]]
        found = mfdnn.fisher_spectrum(one, X, layer=index).eigenvalues
        expected = np.linalg.eigvalsh(block @ block.T / T)[::-1][: len(found)]
        assert np.abs(found - expected).max() < 1e-7 * expected[0]


def test_errors_of_own_samples_make_the_gradients(case):
    one, X, J = case
    layers, errors = one.network.parameter_layers, one.linearise(X).errors()
    if one.couples_samples:  # what passes through other samples is not in them; the last layer has all
        layers, errors = layers[-1:], errors[-1:]
        if one.network.layers[-1].couples_samples:
            return
    for k in range(C):
        gradients = [
            layer.gradient(h, delta[k]) for (layer, _), (h, delta) in zip(layers, errors, strict=True)
        ]
        found = np.concatenate([a.ravel() for group in gradients for a in group])
        np.testing.assert_allclose(found, J[k * T : (k + 1) * T].sum(axis=0)[-len(found) :], atol=1e-7)
    for activity, (layer, shape) in zip(one.activity(X), one.network.weight_layers, strict=True):
        assert activity.h.shape == (T, *shape)
        assert activity.u.shape == (T, *layer.output_shape(shape))
        assert activity.delta.shape == (C, *activity.u.shape)


def test_features_are_what_enters_weight_layers():
    one = mfdnn.sample(mfdnn.Network(*NETS["convolution"]), rng=0)
    X = np.random.default_rng(3).standard_normal((T, *one.network.input_shape))
    columns = []
    for i, ((_, shape), activity) in enumerate(zip(one.network.weight_layers, one.activity(X), strict=True)):
        rest = one.network.layers[2 * i + (i == 2) :]  # the third stands behind Flatten
        tail = mfdnn.SampledNetwork(mfdnn.Network(shape, rest), one.parameters[i:])
        columns.append(
            [
                naive.finite_difference_jacobian(lambda x, tail=tail: tail(x[None])[0], h.ravel())
                for h in activity.h
            ]
        )
    G = np.concatenate(columns, axis=2).reshape(T * C, -1)
    found = mfdnn.feature_spectrum(one, X)
    assert found.n_features == G.shape[1] == 2 * 4 + 3 * 4 + 2 * 4
    expected = np.linalg.eigvalsh(G @ G.T / T)[::-1]
    assert np.abs(found.eigenvalues - expected[: len(found.eigenvalues)]).max() < 1e-7 * expected[0]


def test_ensembles_and_training_take_them():
    net = mfdnn.Network(*NETS["convolution"])
    X = np.random.default_rng(0).standard_normal((8, 2, 4))
    ens = mfdnn.ensemble(net, inputs=X, n_networks=3, rng=0)
    assert ens.values["q_tilde"].shape == (3, 3)
    flat = mfdnn.ensemble(net, inputs=X.reshape(8, 8), n_networks=3, rng=0)
    np.testing.assert_array_equal(flat.values["lambda_max"], ens.values["lambda_max"])
    one = mfdnn.sample(net, rng=1)
    u = one.activity(X)[0].u
    assert u.shape == (8, 3, 4)
    rate = 1 / mfdnn.fisher_spectrum(one, X, k=1).largest
    run = mfdnn.train(one, X, np.ones((8, 3)), rate, 20, record_every=10)
    assert run.outcome == "fell"
    np.testing.assert_allclose(
        run.lambda_max[[0, -1]],
        [mfdnn.fisher_spectrum(network, X).largest for network in (one, run.trained)],
        rtol=1e-7,
    )


def test_order_parameters_are_means_over_units_and_sites():
    net = mfdnn.Network(*NETS["convolution"])
    X = np.random.default_rng(0).standard_normal((2, 2, 4))
    ens = mfdnn.ensemble(net, inputs=X, n_networks=1, rng=0)
    one = mfdnn.sample(
        net, rng=np.random.default_rng(np.random.default_rng(0).bit_generator.seed_seq.spawn(1)[0])
    )
    first = one.activity(X)[0]
    assert ens.mean["q"][0] == pytest.approx(np.mean(first.u**2), rel=1e-14)
    assert ens.mean["q_st"][0] == pytest.approx(np.mean(first.u[0] * first.u[1]), rel=1e-14)
    assert ens.mean["q_tilde"][0] == pytest.approx(np.sum(first.delta**2) / (2 * 3), rel=1e-14)


def test_which_dual_a_network_gets():
    def chosen(name, **options):
        net = mfdnn.Network(*NETS[name])
        linear = mfdnn.sample(net, rng=0).linearise(
            np.random.default_rng(0).standard_normal((T, net.n_inputs))
        )
        return type(dual.dual(linear, None, None, Coordinates(net, **options)))

    assert chosen("convolution") is dual.Dual
    assert chosen("normalised units") is dual.Dual
    assert (
        chosen("flat from the start")
        is chosen("flat from the start", parameterisation="ntk")
        is dual.HadamardDual
    )
    assert chosen("coupled behind") is dual.Dual
    assert chosen("one's own behind") is dual.BehindDual


def test_a_weight_layer_without_units_has_no_ntk_parameterisation():
    one = mfdnn.sample(mfdnn.Network(*NETS["convolution"]), rng=0)
    with pytest.raises(
        mfdnn.NoTheory, match=r"weight layers that know their units, got CircularConv\(3, 3\)"
    ):
        mfdnn.fisher_spectrum(one, np.ones((T, 8)), parameterisation="ntk")

    class Known(CircularConv):
        def ntk_units(self, shape):
            return float(np.sqrt(self.sigma_w2 / self.fan_in(shape))), float(np.sqrt(self.sigma_b2))

    net = mfdnn.Network((2, 4), [Known(3, 3), tanh(), Flatten(), dense()])
    one, X = mfdnn.sample(net, rng=0), np.random.default_rng(1).standard_normal((T, 2, 4))
    units = [np.sqrt([1.5 / 6, 0.1]), np.sqrt([1.5 / 12, 0.1])]
    scale = one.flatten(
        [
            [np.full(a.shape, s) for a, s in zip(*pair, strict=True)]
            for pair in zip(one.parameters, units, strict=True)
        ]
    )
    J = np.array([one.jvp(X, s * e).T.ravel() for s, e in zip(scale, np.eye(len(scale)), strict=True)]).T
    np.testing.assert_allclose(mfdnn.empirical_ntk(one, X, parameterisation="ntk"), J @ J.T, atol=1e-12)


def test_factors_that_were_promised_and_do_not_come_are_named():
    class Promises(RMSNorm):
        def factors(self, h, delta):
            return None

    one = mfdnn.sample(mfdnn.Network(4, [dense(), Promises()]), rng=0)
    with pytest.raises(
        ValueError, match=r"`factors` of RMSNorm\(\) must return factors where `has_factors` is true"
    ):
        mfdnn.fisher_spectrum(one, np.ones((T, 4)))


def test_what_finite_networks_do_asks_no_layer_for_its_class():
    root = Path(mfdnn.__file__).parent
    for path in [*root.glob("sampled/*.py"), *root.glob("training/*.py"), *root.glob("ensemble/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "layers":
                assert {alias.name for alias in node.names} <= {"Factors", "Layer"}, path


def test_a_layer_that_breaks_its_word_is_named():
    class Wrong(SiteMean):
        def output_shape(self, shape):
            return (shape[0] + 1,)

    net = mfdnn.Network((2, 4), [CircularConv(3, 3), Wrong()])
    with pytest.raises(
        ValueError, match="`forward` of one of them returns another shape than its `output_shape`"
    ):
        mfdnn.sample(net, rng=0)(np.ones((T, 8)))


def test_float32_stays_float32():
    one = mfdnn.sample(mfdnn.Network(*NETS["normalised sites"]), rng=0, dtype="float32")
    X = np.random.default_rng(1).standard_normal((T, 2, 4))
    double = mfdnn.SampledNetwork(one.network, [[a.astype(float) for a in group] for group in one.parameters])
    single, exact = mfdnn.fisher_spectrum(one, X), mfdnn.fisher_spectrum(double, X)
    assert one(X).dtype == one.vjp(X, np.ones((T, C))).dtype == np.float32
    assert np.abs(single.eigenvalues - exact.eigenvalues).max() < 1e-5 * exact.largest

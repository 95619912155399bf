"""Layers of a user's own, on sites: products, Gram matrices and spectra against a Jacobian by differences."""

import ast
from pathlib import Path

import naive
import numpy as np
import pytest
from user_layers import CircularConv, PaddedConv, RMSNorm, SiteMean

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.layers import BatchNorm, Dense, Flatten, Layer, MeanSubtraction, Pointwise, Residual
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
    monkeypatch.setattr("mfdnn.sampled.eigenpairs.SMALL", 0)
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


# -- theory -------------------------------------------------------------------------------------------------------
# Derived for this project: independent N(0, 1) pixels in three colours, two circular convolutions of 3 taps and 128
# channels, a readout; all layers with the same variances. Kernel of a sample with itself, and of two.
KNOWN = [
    ("relu", 2.0, 0.1, 8, Flatten, 1541.6, 681.1761),
    ("relu", 2.0, 0.1, 32, Flatten, 4920.8, 2461.4335),
    ("relu", 2.0, 0.1, 8, SiteMean, 211.1926, 161.9343810051),
    ("relu", 2.0, 0.1, 64, SiteMean, 168.0917, 161.9343810051),
    ("erf", 3.0, 0.64, 8, Flatten, 959.4846, 219.7929),
    ("erf", 3.0, 0.64, 8, SiteMean, 92.0791, 49.9341250065),
]


def convolutional(phi, sigma_w2, sigma_b2, n, last, channels=128, n_outputs=1, behind=(), conv=CircularConv):
    """Two convolutions, on a ring of n sites and three colours, with layers behind the first."""
    layers = [conv(channels, 3, sigma_w2, sigma_b2), *behind, Pointwise(phi)]
    layers += [conv(channels, 3, sigma_w2, sigma_b2), Pointwise(phi), last()]
    return mfdnn.Network((3, n), [*layers, Dense(n_outputs, sigma_w2, sigma_b2)])


@pytest.mark.parametrize(("phi", "w", "b", "n", "last", "one", "two"), KNOWN)
def test_kernels_of_convolutions(phi, w, b, n, last, one, two):
    net = convolutional(phi, w, b, n, last)
    found = mfdnn.ntk_statistics(net, 100)
    digits = [f"{value:.10f}".rstrip("0") for value in (one, two)]
    for value, text in zip((found.mean, found.off_diagonal), digits, strict=True):
        assert abs(value - float(text)) <= 0.6 * 10.0 ** -len(text.split(".")[1])  # as many as are known
    fim = mfdnn.fisher_statistics(net, 100)
    assert fim.mean == pytest.approx(found.mean / net.n_parameters, rel=1e-14)
    assert fim.largest == pytest.approx((found.mean + 99 * found.off_diagonal) / 100, rel=1e-14)
    assert fim.second_moment == pytest.approx(
        (found.mean**2 + 99 * found.off_diagonal**2) / (100 * net.n_parameters), rel=1e-14
    )


@pytest.mark.parametrize("phi", ["relu", "erf"])
def test_circular_convolutions_of_independent_pixels_are_fully_connected(phi):
    """Every site sees the same: what matters are fan-ins, taps and sites counted."""
    net, plain = convolutional(phi, 2.0, 0.1, 8, Flatten), mfdnn.mlp([9, 384, 128 * 8, 1], phi, 2.0, 0.1)
    for parameterisation in ("standard", "ntk"):
        found, expected = (
            mfdnn.ntk_statistics(which, 50, parameterisation=parameterisation) for which in (net, plain)
        )
        assert found.mean == pytest.approx(expected.mean, rel=1e-13)
        assert found.off_diagonal == pytest.approx(expected.off_diagonal, rel=1e-13)
    op, of_plain = mfdnn.order_parameters(net), mfdnn.order_parameters(plain)
    for name in ("q", "q_st", "q_hat", "q_hat_st", "q_tilde", "q_tilde_st"):
        np.testing.assert_allclose(getattr(op, name), getattr(of_plain, name), rtol=1e-13)


def test_kernel_of_given_images():
    """Of neural-tangents 0.6.5, whose relu is good to 4e-9 of a sample with itself."""
    X = np.random.default_rng(0).standard_normal((4, 8, 3)).swapaxes(1, 2)
    relu = Pointwise("relu")
    layers = [
        CircularConv(64, 3, 2.0, 0.1),
        relu,
        CircularConv(32, 3, 2.0, 0.1),
        relu,
        Flatten(),
        Dense(1, 2.0, 0.1),
    ]
    theta = mfdnn.ntk(mfdnn.Network((3, 8), layers), X, parameterisation="ntk")
    assert theta[0, 0] == pytest.approx(5.000165383113328, rel=4e-9)
    assert theta[0, 1] == pytest.approx(1.2762300947433822, rel=1e-13)
    # relu halves what He weights double, so that q grows by the bias variance and errors do not change.
    expected = 6 * np.mean(X**2, axis=(1, 2)) + 0.1 + 0.2 + 0.3
    np.testing.assert_allclose(np.diagonal(theta), expected, rtol=1e-14)


class KnownUnits(CircularConv):
    def ntk_units(self, shape):
        return float(np.sqrt(self.sigma_w2 / self.fan_in(shape))), float(np.sqrt(self.sigma_b2))


OF_THEORY = {
    "flattened": lambda: convolutional("relu", 2.0, 0.1, 4, Flatten, 40),
    "mean over sites": lambda: convolutional("tanh", 2.0, 0.1, 4, SiteMean, 40, 2),
    "normalised sites": lambda: convolutional("tanh", 2.0, 0.1, 4, Flatten, 40, behind=[RMSNorm()]),
    "normalised units": lambda: mfdnn.Network(
        30, [Dense(50, 1.5, 0.1), RMSNorm(), tanh(), Dense(50, 1.5, 0.1), tanh(), dense(2)]
    ),
    "in a block": lambda: mfdnn.Network(
        (3, 4), [CircularConv(40, 3), Residual([tanh(), CircularConv(40, 3)], 0.7), SiteMean(), dense(1)]
    ),
}


@pytest.mark.parametrize("name", OF_THEORY)
def test_theory_and_simulation_are_one_call_apart(name):
    net = OF_THEORY[name]()
    X = np.random.default_rng(0).standard_normal((12, *net.input_shape))
    wide = mfdnn.MeanField(net, inputs=X)
    fim = mfdnn.fisher_statistics(wide)
    assert mfdnn.fisher_statistics(net, inputs=X.reshape(12, -1)).to_dict() == fim.to_dict()
    assert mfdnn.max_learning_rate(wide).value == 2 / fim.largest
    theta = mfdnn.ntk(wide)
    assert fim.largest == pytest.approx(np.linalg.eigvalsh(theta)[-1] / 12, rel=1e-13)
    assert fim.mean == pytest.approx(net.n_outputs * np.trace(theta) / 12 / net.n_parameters, rel=1e-13)
    table = mfdnn.compare(wide, n_networks=10, rng=0)
    assert [row for row in table.rows if row.agrees is False] == []
    assert sum(row.agrees is True for row in table.rows) >= 18
    random = mfdnn.compare(net, 12, n_networks=10, rng=0)
    outputs = f"[{net.n_weight_layers}]"  # few, hence far from normal over networks
    refuted = [row for row in random.rows if row.agrees is False]
    assert [row for row in refuted if not row.quantity.endswith(outputs)] == []
    assert random.row("mean").agrees


@pytest.mark.parametrize("last", [Flatten, SiteMean])
def test_metrics_of_features_and_kernels_in_other_units(last):
    net = convolutional("tanh", 2.0, 0.1, 4, last, 40, 2, conv=KnownUnits)
    X = np.random.default_rng(0).standard_normal((10, 3, 4))
    metric, theta = mfdnn.feature_statistics(net, inputs=X), mfdnn.ntk(net, X, parameterisation="ntk")
    assert metric.n_features == 3 * 4 + 40 * 4 + (40 * 4 if last is Flatten else 40)
    values, kernels = [], []
    for one in (mfdnn.sample(net, rng=i) for i in range(12)):
        found = mfdnn.feature_spectrum(one, X)
        assert found.n_features == metric.n_features
        values.append([found.mean, found.largest])
        whole = mfdnn.empirical_ntk(one, X, parameterisation="ntk").reshape(2, 10, 2, 10)
        kernels.append((whole[0, :, 0] + whole[1, :, 1]) / 2)
    # Four standard errors, and relative O(1/M): 3/40.
    for found, expected in ((values, np.array([metric.mean, metric.largest])), (kernels, theta)):
        error = np.std(found, axis=0, ddof=1) / np.sqrt(12)
        size = np.diagonal(expected).max() if expected.ndim == 2 else expected
        spread = (
            np.array([1.0, 2.0]) if expected.ndim == 1 else 1.0
        )  # two outliers split: the larger lies above
        assert np.all(np.abs(np.mean(found, axis=0) - expected) < 4 * error + 3 / 40 * spread * size)


class Unknown(RMSNorm):
    no_theory = "`Unknown` has no law of infinite width: nobody has found it."
    propagate = Layer.propagate


def test_without_a_law_networks_are_sampled_and_theory_says_why(monkeypatch):
    net = convolutional("tanh", 2.0, 0.1, 4, Flatten, 6, behind=[Unknown()])
    X = np.random.default_rng(0).standard_normal((8, 3, 4))
    spectrum = mfdnn.fisher_spectrum(mfdnn.sample(net, rng=0), X)
    assert spectrum.largest > spectrum.mean > 0
    ens = mfdnn.ensemble(net, inputs=X, n_networks=2, rng=0)
    assert ens.values["lambda_max"].shape == (2,)

    def never(*args, **options):
        raise AssertionError("a network was drawn")

    monkeypatch.setattr("mfdnn.sampled.network.SampledNetwork.__init__", never)
    for theory in (
        mfdnn.order_parameters,
        mfdnn.fisher_statistics,
        mfdnn.feature_statistics,
        mfdnn.max_learning_rate,
        mfdnn.ntk_statistics,
        mfdnn.compare,
        mfdnn.report,
        lambda net: mfdnn.ntk(net, X),
        lambda net: mfdnn.compare(net, inputs=X),
        lambda net: mfdnn.report(net, inputs=X),
        lambda net: mfdnn.fisher_statistics(mfdnn.MeanField(net, inputs=X)),
    ):
        with pytest.raises(mfdnn.NoTheory) as reason:
            theory(net)
        assert str(reason.value) == Unknown.no_theory
    plain = mfdnn.Network(5, [dense(), tanh(), Bare(), dense()])
    with pytest.raises(
        mfdnn.NoTheory, match=r"`Bare\(\)` has no law of infinite width \(`propagate`\); sample such"
    ):
        mfdnn.fisher_statistics(plain)


class Bare(Layer):
    def __repr__(self):
        return "Bare()"


def test_outputs_that_share_weights_have_no_theory():
    net = mfdnn.Network((3, 4), [CircularConv(8, 2), tanh(), CircularConv(2, 2), Flatten()])
    with pytest.raises(mfdnn.NoTheory, match="has 8 outputs at the sites of 2 channels, which share weights"):
        mfdnn.fisher_statistics(net)
    assert mfdnn.fisher_spectrum(mfdnn.sample(net, rng=0), np.ones((5, 12))).n_outputs == 8


# -- what could be silently wrong --------------------------------------------------------------------------------


class Halved(mfdnn.Dense):
    """A dense layer with another arithmetic: W x / 2 + b."""

    def forward(self, x, parameters, trace):
        return super().forward(x / 2, parameters, trace)

    def backward(self, delta, parameters, trace, collected):
        return super().backward(delta, parameters, trace, collected) / 2


class Sequence(Layer):
    """Layers one after the other."""

    def __init__(self, *layers):
        self.children = layers

    def output_shape(self, shape):
        for layer in self.children:
            shape = layer.output_shape(shape)
        return shape

    def propagate(self, state):
        for layer in self.children:
            state = layer.propagate(state)
        return state

    def forward(self, x, parameters, trace):
        for layer in self.children:
            x = layer.forward(x, parameters, trace)
        return x

    def pushforward(self, dx, parameters, tangents, trace):
        for layer in self.children:
            dx = layer.pushforward(dx, parameters, tangents, trace)
        return dx

    def backward(self, delta, parameters, trace, collected):
        for layer in reversed(self.children):
            delta = layer.backward(delta, parameters, trace, collected)
        return delta


def test_another_arithmetic_inherits_no_law_and_no_gram():
    one = mfdnn.sample(mfdnn.Network(5, [Halved(20, 2.0), mfdnn.Pointwise("tanh"), mfdnn.Dense(2)]), rng=0)
    X = gaussian_inputs(6, 5, rng=1)
    J = np.array([one.vjp(X, e.reshape(6, 2)) for e in np.eye(12)])
    largest = np.linalg.eigvalsh(J @ J.T / 6)[-1]
    assert mfdnn.fisher_spectrum(one, X).largest == pytest.approx(largest, rel=1e-12)
    with pytest.raises(mfdnn.NoTheory, match=r"Halved.* has no law of infinite width"):
        mfdnn.fisher_statistics(one.network)


def test_a_composite_has_the_traits_of_its_children():
    norm, phi = mfdnn.BatchNorm(affine=False), mfdnn.Pointwise("tanh")
    plain = [mfdnn.Dense(20, 2.0), norm, phi, mfdnn.Dense(2)]
    composite = mfdnn.Network(5, [Sequence(mfdnn.Dense(20, 2.0), norm, phi), mfdnn.Dense(2)])
    assert composite.couples_samples and composite.n_weight_layers == 2
    X = gaussian_inputs(6, 5, rng=1)
    found, expected = (
        mfdnn.fisher_spectrum(mfdnn.sample(net, rng=0), X).largest
        for net in (composite, mfdnn.Network(5, plain))
    )
    assert found == pytest.approx(expected, rel=1e-12)
    assert (
        mfdnn.fisher_statistics(composite, 9).largest
        == mfdnn.fisher_statistics(mfdnn.Network(5, plain), 9).largest
    )


def test_what_a_layer_makes_of_few_outputs_it_says_itself():
    net = mfdnn.Network(5, [mfdnn.Dense(20), mfdnn.Pointwise("tanh"), mfdnn.Dense(3), RMSNorm()])
    with pytest.raises(mfdnn.NoTheory, match=r"RMSNorm\(\) stands behind the last weights"):
        mfdnn.fisher_statistics(net)
    assert mfdnn.fisher_spectrum(mfdnn.sample(net, rng=0), np.eye(5)).largest > 0


def test_single_units_behind_a_law_of_moments_alone_are_refused():
    layers = [mfdnn.Dense(30), mfdnn.BatchNorm(1, 1), mfdnn.Residual([mfdnn.Dense(30)]), RMSNorm()]
    net = mfdnn.Network(5, [*layers, mfdnn.Pointwise("relu"), mfdnn.Dense(2)])
    with pytest.raises(mfdnn.NoTheory, match=r"`Pointwise\('relu'\)` needs the law of single units"):
        mfdnn.order_parameters(net, inputs=gaussian_inputs(9, 5, rng=0))


@pytest.mark.parametrize("rows", [False, True])
def test_a_report_of_images(rows):
    conv = CircularConv(12, 3)
    net = mfdnn.Network((3, 4), [conv, mfdnn.Pointwise("relu"), mfdnn.Flatten(), mfdnn.Dense(2)])
    X = np.random.default_rng(0).standard_normal((7, 3, 4))
    page = mfdnn.report(net, n_networks=2, inputs=X.reshape(7, 12) if rows else X, rng=0)
    assert "12" in str(page)
    ens = mfdnn.ensemble(net, n_networks=2, inputs=X, rng=0)
    assert (
        mfdnn.compare(net, inputs=X.reshape(7, 12), ensemble=ens).to_dict()
        == mfdnn.compare(net, ensemble=ens).to_dict()
    )


def test_a_layer_without_a_repr_describes_itself_by_what_it_was_made_of():
    class Fixed(Layer):
        def __init__(self, matrix, phi):
            self.matrix, self.phi = matrix, phi

    one, two = np.zeros((40, 40)), np.zeros((40, 40))
    two[20, 20] = 1.0  # where `repr` leaves numbers out
    assert " at 0x" not in repr(Fixed(one, lambda x: x)) and "<lambda>" in repr(Fixed(one, lambda x: x))
    assert repr(Fixed(one, np.tanh)) == repr(Fixed(one.copy(), np.tanh)) != repr(Fixed(two, np.tanh))


def test_what_units_read_of_a_padded_line_is_what_theory_and_simulation_call_q_hat():
    conv, phi = PaddedConv(40), Pointwise("relu")
    net = mfdnn.Network((3, 5), [conv, phi, conv, phi, Flatten(), Dense(2, 1.5, 0.1)])
    X = np.random.default_rng(0).standard_normal((8, 3, 5))
    one = mfdnn.sample(net, rng=0)
    J = np.array([one.vjp(X, e.reshape(8, 2)) for e in np.eye(16)])
    assert mfdnn.fisher_spectrum(one, X).largest == pytest.approx(
        np.linalg.eigvalsh(J @ J.T / 8)[-1], rel=1e-12
    )
    op = mfdnn.order_parameters(net, inputs=X)
    np.testing.assert_allclose(op.q, 1.5 * op.q_hat + 0.1, rtol=1e-14)
    zeros = np.pad(X, ((0, 0), (0, 0), (1, 1)))
    patches = np.stack([zeros[:, :, s : s + 5] for s in range(3)])
    np.testing.assert_allclose(op.q_hat[0], np.mean(patches**2, axis=(0, 2, 3)), rtol=1e-14)
    table = mfdnn.compare(net, n_networks=12, inputs=X, rng=0)
    assert all(row.agrees is not False for row in table.rows)
    assert table.row("q_hat[0]").simulation == pytest.approx(
        op.averaged("q_hat")[0], rel=1e-12
    )  # no chance in it


def test_what_geometry_cannot_measure_is_refused_before_networks_are_drawn(monkeypatch):
    monkeypatch.setattr("mfdnn.ensembles.statistics.sample", None)
    net = mfdnn.Network((3, 5), [CircularConv(4, 3), Pointwise("relu"), Flatten(), Dense(2)])
    with pytest.raises(mfdnn.NoTheory, match="needs weight layers that know their units"):
        mfdnn.ensemble(net, 5, 2, geometry=True)


class Mistaken(mfdnn.Layer):
    """A layer with one of the mistakes one makes."""

    def __init__(self, law=None, shape=None):
        self.law, self.shape = law, shape
        self.n_weight_layers = int(law == "no weights")

    def output_shape(self, shape):
        return self.shape or shape

    def propagate(self, state):
        return None if self.law == "nothing" else state


@pytest.mark.parametrize("around", [lambda layer: layer, lambda layer: mfdnn.Residual([Dense(5), layer])])
def test_mistakes_of_a_law_are_named(around):
    for law, error, message in (
        ("nothing", TypeError, r"`propagate` of Mistaken.* must return a State, got None"),
        ("no weights", ValueError, r"must meet 1 weight layers .*got 0; weights enter by `State.weighted`"),
    ):
        with pytest.raises(error, match=message):
            mfdnn.fisher_statistics(mfdnn.Network(5, [Dense(5), around(Mistaken(law)), Dense(2)]))


def test_mistakes_of_a_network_are_named():
    with pytest.raises(TypeError, match=r"`output_shape` of Mistaken.* must return a tuple.*got 7 for \(5,\)"):
        mfdnn.Network(5, [Dense(5), Mistaken(shape=7), Dense(2)])
    with pytest.raises(TypeError, match="`layers` must be a sequence"):
        mfdnn.Network(5, Dense(2))
    with pytest.raises(TypeError, match=r"pass mfdnn\.fisher_statistics of the network"):
        mfdnn.softmax_statistics(mfdnn.MeanField(mfdnn.Network(5, [Dense(2)])))
    with pytest.raises(NotImplementedError, match="`Mistaken` has no `forward`"):
        mfdnn.sample(mfdnn.Network(5, [Dense(5), Mistaken(), Dense(2)]), rng=0)(np.ones((2, 5)))
    hidden = np.ma.masked_array(np.ones((3, 5)), mask=np.eye(3, 5))
    with pytest.raises(TypeError, match=r"`inputs` must be a .* matrix of inputs"):
        mfdnn.fisher_statistics(mfdnn.Network(5, [Dense(2)]), inputs=hidden)

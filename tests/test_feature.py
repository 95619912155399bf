"""The feature-space metric and the Fisher-Rao norm, theory and sampled networks."""

import naive
import numpy as np
import pytest
from test_sampled import NETWORKS, draw, jacobian

import mfdnn
from mfdnn.architectures import mlp, resnet
from mfdnn.layers import BatchNorm, Dense, LayerNorm, MeanSubtraction, Pointwise
from mfdnn.network import Network
from mfdnn.sampled import feature_spectrum, sample

# -- the feature-space metric -------------------------------------------------------------------------------


def feature_jacobian(one, X, phi):
    """(T, C, H): derivatives by what enters each layer, through the rest of the network, by finite differences."""
    h, found = np.asarray(X, float), []
    for i, (weight, bias) in enumerate(one.parameters):
        rest = one.parameters[i:]
        found.append([naive.input_jacobian(rest, phi.value, sample) for sample in h])
        h = phi.value(h @ weight.T + bias)
    return np.concatenate(found, axis=-1)


@pytest.mark.parametrize("output", ["linear", "softmax"])
@pytest.mark.parametrize("n_samples", [3, 30])  # fewer rows than features, and more
def test_feature_spectrum_is_that_of_the_dense_metric(n_samples, output):
    one, X, _ = draw(mlp([5, 8, 7, 3], "tanh", 1.5, 0.1), n_samples)
    G = feature_jacobian(one, X, naive.phi("tanh"))
    A = naive.fisher_matrix(G) if output == "linear" else naive.softmax_fisher_matrix(G, one(X))
    found = feature_spectrum(one, X, output=output)
    assert len(found.eigenvalues) == min(n_samples * (3 - (output == "softmax")), 20)
    # Finite differences of 1e-10.
    assert (
        np.abs(found.eigenvalues - naive.eigenvalues(A)[: len(found.eigenvalues)]).max()
        < 1e-8 * found.largest
    )
    assert found.mean == pytest.approx(np.trace(A) / 20, rel=1e-8)
    assert found.second_moment == pytest.approx(np.sum(A**2) / 20, rel=1e-8)
    assert found.n_features == 20
    assert repr(found).startswith("FeatureSpectrum(largest=")


SHAPES = {
    "even": ([150, 150, 150, 2], 60),
    "uneven": ([90, 240, 120, 150, 3], 50),
    "shallow": ([200, 120, 2], 80),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("phi", "sigma_w2", "sigma_b2"), [("tanh", 3.0, 0.64), ("relu", 2.0, 0.1), ("linear", 1.0, 0.1)]
)
def test_feature_metric_of_sampled_networks_is_that_of_theory(phi, sigma_w2, sigma_b2, shape):
    widths, n_samples = SHAPES[shape]
    factors = sigma_w2 * np.linspace(1.2, 0.8, len(widths) - 1)  # every layer its own variance
    net = mlp(widths, phi, factors, sigma_b2)
    theory = mfdnn.feature_statistics(net, n_samples)
    ratios = []
    for seed in range(10):
        one, X, _ = draw(net, n_samples, seed)
        found = feature_spectrum(one, X)
        ratios.append(
            [
                found.mean / theory.mean,
                found.second_moment / theory.second_moment,
                found.outlier_mean / theory.largest,
            ]
        )
    ratios = np.array(ratios)
    error = ratios.std(axis=0, ddof=1) / np.sqrt(10)
    # Four standard errors; corrections of order 1/M: at most 8 % of the second moment (measured), 3 % else.
    assert np.all(np.abs(ratios.mean(axis=0) - 1) < 4 * error + [0.03, 0.08, 0.03])


def test_feature_statistics_are_the_formula():
    widths, n = [40, 100, 60, 2], 30
    op = naive.order_parameters(naive.phi("tanh"), 3, 3.0, 0.64)
    b1, b2 = 3.0 * op["q_tilde"].sum(), 3.0 * op["q_tilde_st"].sum()
    found = mfdnn.feature_statistics(mlp(widths, "tanh", 3.0, 0.64), n)
    assert found.mean == pytest.approx(2 * b1 / 200, rel=1e-9)
    assert found.second_moment == pytest.approx(2 / 200 * (b1**2 / n + (n - 1) / n * b2**2), rel=1e-9)
    assert found.largest == pytest.approx((b1 + (n - 1) * b2) / n, rel=1e-9)
    assert found.kappa_1 * found.alpha == pytest.approx(b1, rel=1e-9)
    assert found.kappa_2 * found.alpha == pytest.approx(b2, rel=1e-9)
    assert found.alpha == 200 / found.width
    assert np.array_equal(found.outliers, [found.largest] * 2)


def test_feature_statistics_of_exchangeable_inputs_are_those_of_such_given_ones():
    # A regular simplex has one mean square and one correlation, -1/(T - 1).
    n, net = 6, mlp([6, 50, 40, 2], "relu", 2.0, 0.1)
    X = np.sqrt(6) * np.sqrt(6 / 5) * (np.eye(6) - 1 / 6)
    given, drawn = mfdnn.feature_statistics(net, inputs=X), mfdnn.feature_statistics(net, n, 1.0, -1 / 5)
    for name in ("kappa_1", "kappa_2", "mean", "second_moment", "largest"):
        assert getattr(given, name) == pytest.approx(getattr(drawn, name), rel=1e-9)
    # Of opposite inputs the slopes of abs are opposite, and the common part is not the largest.
    opposite = mlp([2, 50, 1], "abs", 4.0, bias=False)
    for found in (
        mfdnn.feature_statistics(opposite, 2, 1.0, -1.0),
        mfdnn.feature_statistics(opposite, inputs=np.array([[1.0, 1.0], [-1.0, -1.0]])),
    ):
        assert found.largest == pytest.approx((20 + 12) / 2, rel=1e-9)
    several = mfdnn.feature_statistics(net, n, 1.0, [0.0, -1 / 5])
    assert several.largest[1] == drawn.largest
    assert several.outliers.shape == (2, 2)
    assert mfdnn.feature_statistics(net, inputs=X[:1]).largest == pytest.approx(
        drawn.kappa_1 * drawn.alpha, rel=1e-9
    )


@pytest.mark.parametrize("given", [False, True])
def test_softmax_feature_metric_is_that_of_sampled_networks(given):
    net, n = mlp([150, 150, 150, 3], "tanh", 3.0, 0.64), 60
    X = draw(net, n, 50)[1]
    theory = mfdnn.feature_statistics(net, output="softmax", **({"inputs": X} if given else {"n_samples": n}))
    found = [feature_spectrum(sample(net, rng=seed), X, output="softmax") for seed in range(12)]
    for name in ("mean", "largest", "second_moment"):
        values = np.array([getattr(one, name) for one in found])
        # Outputs are drawn on both sides, ten times in theory.
        error = values.std(ddof=1) * np.sqrt(1 / 12 + 1 / 10)
        correction = 0.05 * getattr(theory, name) * (name == "second_moment")  # of order 1/M
        assert abs(values.mean() - getattr(theory, name)) < 4 * error + correction
    assert theory.n_outliers == len(theory.outliers) == 2
    assert theory.largest == theory.outliers[0]


@pytest.mark.parametrize(
    "net",
    [
        resnet([60, 80, 2], 2, "relu", 1.0, 0.1),
        Network(
            60, [Dense(80, 2.0), LayerNorm(), Pointwise("relu"), Dense(90, 1.5), Pointwise("relu"), Dense(2)]
        ),
    ],
    ids=["residual", "layer norm"],
)
def test_other_layers_have_a_feature_metric_too(net):
    theory = mfdnn.feature_statistics(net, 40)
    values = np.array([feature_spectrum(*draw(net, 40, seed)[:2]).mean for seed in range(12)])
    assert abs(values.mean() - theory.mean) < 4 * values.std(ddof=1) / np.sqrt(12) + 0.03 * theory.mean  # 1/M


def test_wrong_arguments_of_the_feature_metric_are_named(monkeypatch):
    dense = [Dense(8), Pointwise("tanh"), Dense(3)]
    for layers in ([Dense(8), BatchNorm(), *dense[1:]], [*dense, MeanSubtraction()]):
        net = Network(5, layers)
        with pytest.raises(ValueError, match="must treat samples one by one"):
            mfdnn.feature_statistics(net)
        with pytest.raises(ValueError, match="must treat samples one by one"):
            feature_spectrum(*draw(net)[:2])
    with pytest.raises(ValueError, match="outputs that are not normalised"):
        mfdnn.feature_statistics(Network(5, [*dense, LayerNorm()]))
    one_output = mlp([5, 8, 1], "tanh")
    with pytest.raises(ValueError, match="softmax needs two outputs"):
        mfdnn.feature_statistics(one_output, output="softmax")
    with pytest.raises(ValueError, match="two outputs or more"):
        feature_spectrum(*draw(one_output)[:2], output="softmax")
    with pytest.raises(ValueError, match="one `q0` and one `c0`"):
        mfdnn.feature_statistics(Network(5, dense), q0=[1.0, 2.0], output="softmax")
    with pytest.raises(ValueError, match="`c0` must be at least"):
        mfdnn.feature_statistics(Network(5, dense), 10, c0=-0.5)
    with pytest.raises(TypeError, match=r"draw one with mfdnn\.sample"):
        feature_spectrum(one_output, np.ones((3, 5)))
    one, X, _ = draw(NETWORKS["gaussian"])
    monkeypatch.setattr(mfdnn._support.memory, "available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match="feature metric of 20 features and 27 outputs"):
        feature_spectrum(one, X)


# -- the Fisher-Rao norm ------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["linear", "softmax"])
@pytest.mark.parametrize("name", ["gaussian", "no bias", "residual"])
def test_fisher_rao_norm_is_the_quadratic_form(name, output):
    one, X, _ = draw(NETWORKS[name])
    J = jacobian(one, X).reshape(9, 3, -1)
    F = naive.fisher_matrix(J) if output == "linear" else naive.softmax_fisher_matrix(J, one(X))
    theta = one.flatten(one.parameters)
    assert mfdnn.squared_fisher_rao_norm(one, X, output=output) == pytest.approx(theta @ F @ theta, rel=1e-11)


def test_fisher_rao_norm_of_homogeneous_networks_is_l_squared_times_the_output():
    for phi in ("relu", "linear"):
        one, X, _ = draw(mlp([5, 8, 7, 6, 2], phi, 2.0, bias=False))
        expected = 16 * np.mean(np.sum(one(X) ** 2, axis=1))
        assert mfdnn.squared_fisher_rao_norm(one, X) == pytest.approx(expected, rel=1e-12)
        theory = mfdnn.fisher_rao_statistics(one.network)
        q = 2.0**4 * (0.5**3 if phi == "relu" else 1)  # q^L
        assert theory.squared_norm == pytest.approx(2 * 16 * q, rel=1e-12)
        # Of parameters independent of F: L times less.
        assert theory.squared_norm_of_a_fresh_draw == pytest.approx(2 * 4 * q, rel=1e-12)


def test_kappa_1_gives_the_norm_of_a_fresh_draw():
    fim = mfdnn.fisher_statistics(mlp([50, 50, 50, 3], "tanh", 3.0, 0.0), 10)
    theory = mfdnn.fisher_rao_statistics(mlp([50, 50, 50, 3], "tanh", 3.0, 0.0))
    # sigma_w^2 alpha C kappa_1 for equal widths without bias variance
    assert theory.squared_norm_of_a_fresh_draw == pytest.approx(3.0 * fim.alpha * 3 * fim.kappa_1, rel=1e-9)


@pytest.mark.parametrize(
    ("widths", "phi", "sigma_w2", "sigma_b2"),
    [
        ([150, 150, 150, 2], "tanh", 3.0, 0.0),
        ([80, 200, 100, 150, 3], "tanh", 2.0, 0.5),
        ([100, 150, 2], "gelu", 2.0, 0.1),
        ([150, 150, 150, 2], "sin", 4.0, 0.0),  # of which parameters along u alone would be a quarter
    ],
)
def test_mean_fisher_rao_norms_are_those_of_sampled_networks(widths, phi, sigma_w2, sigma_b2):
    net = mlp(widths, phi, sigma_w2, sigma_b2)
    X = draw(net, 20, 70)[1]
    theory = mfdnn.fisher_rao_statistics(net, inputs=X)
    own, fresh = [], []
    for seed in range(30):
        one, other = sample(net, rng=seed), sample(net, rng=1000 + seed)
        own.append(mfdnn.squared_fisher_rao_norm(one, X))
        fresh.append(np.sum(one.jvp(X, other.flatten(other.parameters)) ** 2) / 20)
    for values, expected in ((own, theory.squared_norm), (fresh, theory.squared_norm_of_a_fresh_draw)):
        error = np.std(values, ddof=1) / np.sqrt(30)
        assert abs(np.mean(values) - expected) < 4 * error


def test_mean_fisher_rao_norm_at_one_and_at_equal_inputs():
    net = mlp([50, 60, 2], "tanh", 2.0, 0.1)
    X = np.full((3, 50), np.sqrt(1.7))
    given, drawn = mfdnn.fisher_rao_statistics(net, inputs=X), mfdnn.fisher_rao_statistics(net, 1.7)
    assert given.squared_norm == pytest.approx(drawn.squared_norm, rel=1e-12)
    assert mfdnn.fisher_rao_statistics(mlp([5, 6, 2], "relu"), 0.0).squared_norm == 0.0
    no_activation = Network(5, [Dense(7, 1.0), Dense(2, 1.0)])
    assert mfdnn.fisher_rao_statistics(no_activation).squared_norm == pytest.approx(2 * 4.0, rel=1e-12)


def test_wrong_arguments_of_the_fisher_rao_norm_are_named():
    with pytest.raises(ValueError, match="must be fully connected"):
        mfdnn.fisher_rao_statistics(resnet([5, 6, 2], 1, "tanh"))
    with pytest.raises(ValueError, match="`inputs` excludes `q0`"):
        mfdnn.fisher_rao_statistics(mlp([5, 6, 2], "tanh"), 1.0, inputs=np.ones((2, 5)))
    with pytest.raises(ValueError, match="`output` must be one of"):
        mfdnn.squared_fisher_rao_norm(*draw(NETWORKS["gaussian"])[:2], output="sotfmax")
    with pytest.raises(ValueError, match="two outputs or more"):
        mfdnn.squared_fisher_rao_norm(*draw(mlp([5, 8, 1], "tanh"))[:2], output="softmax")

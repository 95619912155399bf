"""The neural tangent kernel: analytic, of sampled networks, and its duality with the Fisher information."""

import naive
import numpy as np
import pytest
from test_sampled import NETWORKS, draw, each_network, jacobian

import mfdnn
from mfdnn.architectures import mlp, resnet
from mfdnn.layers import BatchNorm, Dense, LayerNorm, MeanSubtraction, Pointwise
from mfdnn.network import Network
from mfdnn.sampled import (
    SampledNetwork,
    empirical_ntk,
    fisher_from_ntk,
    fisher_spectrum,
    ntk_from_fisher,
    sample,
)

RELU = ("relu", 2.0, 0.1)


def output_by_output(J):
    """Rows of a Jacobian (T, C, P) as in the dual."""
    return J.swapaxes(0, 1).reshape(-1, J.shape[-1])


# -- of a sampled network -----------------------------------------------------------------------------------


@each_network
def test_empirical_ntk_is_the_gram_matrix_of_gradients(net):
    one, X, _ = draw(net)
    rows = output_by_output(jacobian(one, X).reshape(9, net.n_outputs, -1))
    theta = empirical_ntk(one, X)
    assert np.abs(theta - rows @ rows.T).max() < 1e-13 * np.abs(theta).max()
    assert np.array_equal(theta, theta.T)


def test_indices_are_those_of_the_docstring():
    one, X, _ = draw(NETWORKS["gaussian"])
    theta = empirical_ntk(one, X).reshape(3, 9, 3, 9)
    u, v = np.zeros((2, 9, 3))
    u[4, 1] = v[7, 2] = 1
    assert theta[1, 4, 2, 7] == pytest.approx(one.vjp(X, u) @ one.vjp(X, v), rel=1e-12)


def test_kernels_of_the_layers_add_up():
    one, X, _ = draw(NETWORKS["gaussian"])
    parts = [empirical_ntk(one, X, layer=i) for i in range(3)]
    assert sum(parts) == pytest.approx(empirical_ntk(one, X), rel=1e-12)


def test_ntk_parameterisation_is_the_chain_rule():
    # W = sigma_w w / sqrt(fan_in): the kernel of the network that is a function of w and beta.
    net = mlp([5, 8, 7, 2], "tanh", [1.5, 2.0, 0.5], [0.1, 0.0, 0.3])
    one, X, _ = draw(net)
    layers = net.weight_layers
    units = [
        (np.sqrt(layer.sigma_w2 / layer.fan_in(shape)), np.sqrt(layer.sigma_b2)) for layer, shape in layers
    ]
    # beta of layers without bias variance has no units: start from zero.
    own = [(w / s, b / t if t else b) for (w, b), (s, t) in zip(one.parameters, units, strict=True)]
    psi = one.flatten(own)

    def outputs(psi):
        pairs = [(s * w, t * b) for (w, b), (s, t) in zip(one.unflatten(psi), units, strict=True)]
        return SampledNetwork(net, pairs)(X)

    rows = output_by_output(naive.finite_difference_jacobian(outputs, psi))
    theta = empirical_ntk(one, X, parameterisation="ntk")
    assert np.abs(theta - rows @ rows.T).max() < 1e-8 * np.abs(theta).max()  # finite differences


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
@pytest.mark.parametrize("name", ["gaussian", "residual", "no bias"])
def test_duality_in_both_directions(name, parameterisation):
    one, X, _ = draw(NETWORKS[name], 5)
    option = {"parameterisation": parameterisation}
    mu, U = np.linalg.eigh(empirical_ntk(one, X, **option))
    values, V = fisher_from_ntk(one, X, mu, U, **option)
    spec = fisher_spectrum(one, X, eigenvectors=True, **option)
    n = len(mu)
    assert np.abs(values[::-1] - spec.eigenvalues[:n]).max() < 1e-12 * spec.largest
    assert np.abs(V.T @ V - np.eye(n)).max() < 1e-12 * mu[-1] / mu[0]
    assert np.abs(np.abs(np.sum(V[:, ::-1] * spec.eigenvectors, axis=0)) - 1).max() < 1e-9  # but for signs
    back, W = ntk_from_fisher(one, X, values, V, **option)
    assert back == pytest.approx(mu, rel=1e-12)
    assert np.abs(W - U).max() < 1e-12 * mu[-1] / mu[0]


def test_wrong_eigenpairs_are_named(monkeypatch):
    one, X, _ = draw(NETWORKS["gaussian"], 5)
    mu, U = np.linalg.eigh(empirical_ntk(one, X))
    with pytest.raises(ValueError, match=r"shape \(T C, k\) = \(15, 2\) for 2 `eigenvalues`, got \(15, 15\)"):
        fisher_from_ntk(one, X, mu[:2], U)
    with pytest.raises(ValueError, match=r"shape \(P, k\) = \(135, 15\)"):
        ntk_from_fisher(one, X, mu, U)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        fisher_from_ntk(one, X, 0 * mu, U)
    for convert, vectors in ((fisher_from_ntk, U), (ntk_from_fisher, fisher_from_ntk(one, X, mu, U)[1])):
        with pytest.raises(
            ValueError, match=r"must be unit eigenvectors of `one` at `X`, for which .* column 0 has"
        ):
            convert(one, X, mu, vectors, parameterisation="ntk")
    with pytest.raises(ValueError, match="eigenvalues that are zero but for rounding"):
        fisher_from_ntk(one, X, np.full(15, 1e-20), U)
    with pytest.raises(ValueError, match="`parameterisation` must be one of standard, ntk"):
        empirical_ntk(one, X, parameterisation="NTK")
    with pytest.raises(TypeError, match=r"draw one with mfdnn\.sample"):
        empirical_ntk(one.network, X)
    monkeypatch.setattr(mfdnn._support.memory, "available_memory", lambda: 5e3)
    with pytest.raises(MemoryError, match="15 eigenvectors of 135 parameters"):
        fisher_from_ntk(one, X, mu, U)
    monkeypatch.setattr(mfdnn._support.memory, "available_memory", lambda: 1e3)
    with pytest.raises(MemoryError, match="tangent kernel of 3 outputs at 5 samples"):
        empirical_ntk(one, X)


# -- infinite width -----------------------------------------------------------------------------------------


def test_relu_kernel_is_the_closed_form():
    # Arc-cosine kernels (Cho & Saul 2009) of unit inputs, sigma_w^2 = 2, three layers.
    c = np.linspace(-1, 1, 9)
    X = np.sqrt(2) * np.stack([c, np.sqrt(1 - c**2)], axis=1)
    rho = np.clip(X @ X.T / 2, -1, 1)
    theta = sigma = 2 * rho
    for _ in range(2):
        angle = np.arccos(rho)
        slope, rho = 1 - angle / np.pi, (np.sqrt(1 - rho**2) + (np.pi - angle) * rho) / np.pi
        rho = np.clip(rho, -1, 1)
        sigma = 2 * rho
        theta = theta * slope + sigma
    found = mfdnn.ntk(mlp([2, 10, 10, 3], "relu", 2.0), X, parameterisation="ntk")
    # arccos of 1 - 1e-16 is 1e-8.
    assert np.abs(found - theta).max() < 1e-7


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
@pytest.mark.parametrize(("phi", "sigma_w2", "sigma_b2"), [("tanh", 3.0, 0.64), RELU, ("linear", 1.0, 0.1)])
def test_statistics_of_sampled_networks_are_those_of_theory(phi, sigma_w2, sigma_b2, parameterisation):
    net = mlp([120, 300, 200, 2], phi, sigma_w2, sigma_b2)
    option = {"parameterisation": parameterisation}
    X = draw(net, 20)[1]
    theory, kernel = mfdnn.ntk_statistics(net, inputs=X, **option), mfdnn.ntk(net, X, **option)
    ratios = []
    for seed in range(12):
        theta = empirical_ntk(sample(net, rng=seed), X, **option)
        values = np.linalg.eigvalsh(theta)
        blocks = theta.reshape(2, 20, 2, 20)
        ratios.append(
            [
                values.mean() / theory.mean,
                values[-2:].mean() / theory.largest,
                values[:-2].mean() / theory.rest,
                np.sum((blocks[0, :, 0] + blocks[1, :, 1]) / 2 * kernel) / np.sum(kernel**2),
            ]
        )
    ratios = np.array(ratios)
    error = ratios.std(axis=0, ddof=1) / np.sqrt(12)
    # Four standard errors, and 3 % of order 1/M.
    assert np.all(np.abs(ratios.mean(axis=0) - 1) < 4 * error + 0.03)


SETTINGS = {"tanh": (3.0, 0.64), "relu": (2.0, 0.1), "linear": (1.0, 0.1), "erf": (3.0, 0.64)}


@pytest.mark.parametrize(
    ("phi", "depth", "k_1", "k_2"),
    [
        ("tanh", 2, 5.421204, 1.196722),
        ("tanh", 3, 7.469251, 1.911341),
        ("tanh", 4, 9.621606, 2.677369),
        ("relu", 2, 4.3, 0.870725),
        ("relu", 3, 6.6, 1.800137),
        ("relu", 4, 9.0, 2.806319),
        ("linear", 2, 2.3, 0.3),
        ("linear", 3, 3.6, 0.6),
        ("linear", 4, 5.0, 1.0),
        ("erf", 3, 9.478695, 1.981931),
    ],
)
def test_ntk_sums_do_not_depend_on_the_width(phi, depth, k_1, k_2):
    for width in (10, 500):
        net = mlp([width * (2 + i % 2) for i in range(depth)] + [2], phi, *SETTINGS[phi])
        found = mfdnn.ntk_statistics(net, 100, parameterisation="ntk")
        assert (found.mean, found.off_diagonal) == pytest.approx((k_1, k_2), rel=1e-6)  # digits of the table
        assert found.second_moment == pytest.approx(found.mean**2 + 99 * found.off_diagonal**2, rel=1e-12)
        assert found.largest == pytest.approx(found.mean + 99 * found.off_diagonal, rel=1e-12)
        assert found.rest == pytest.approx(found.mean - found.off_diagonal, rel=1e-12)


@pytest.mark.parametrize(
    "net",
    [
        mlp([40, 100, 60, 3], "tanh", 3.0, 0.64),
        mlp([40, 100, 60, 3], "tanh", 3.0),
        mlp([40, 3], sigma_w2=2.0, sigma_b2=0.1),
    ],
    ids=["outliers", "centred", "one layer"],
)
def test_standard_kernel_is_that_of_the_fisher_information(net):
    theta, fim = mfdnn.ntk_statistics(net, 25), mfdnn.fisher_statistics(net, 25)
    assert theta.largest / 25 == pytest.approx(fim.largest, rel=1e-12)
    assert theta.mean * 3 / net.n_parameters == pytest.approx(fim.mean, rel=1e-12)
    assert theta.second_moment * 3 / 25 / net.n_parameters == pytest.approx(fim.second_moment, rel=1e-12)
    assert theta.rest / 25 == pytest.approx(fim.bulk, rel=1e-12)
    assert fim.caution.startswith(theta.caution)  # which adds what it says of splits and of chance overlaps
    several = mfdnn.ntk_statistics(net, 25, q0=[0.5, 1.0])
    assert several.largest[1] == theta.largest


@pytest.mark.parametrize("sigma_b2", [0.0, 0.3])
def test_kernel_of_one_layer_is_that_of_the_inputs(sigma_b2):
    """sigma_w^2 x.x/M_0 + sigma_b^2, for T of the order of M_0."""
    net = mlp([100, 1], sigma_w2=2.0, sigma_b2=sigma_b2)
    theory = mfdnn.ntk_statistics(net, 200, parameterisation="ntk")
    found = [
        np.linalg.eigvalsh(empirical_ntk(*draw(net, 200, seed)[:2], parameterisation="ntk"))[-1]
        for seed in range(3)
    ]
    # The Tracy-Widom law lies 2.8 % lower, and three draws of it scatter by 1.7 %.
    assert np.mean(found) == pytest.approx(theory.largest, rel=0.028 + 4 * 0.017)
    assert theory.rest == pytest.approx(2.0, rel=1e-9)


def test_largest_eigenvalues_that_do_not_stand_out_are_told():
    assert "No eigenvalue stands out" in mfdnn.ntk_statistics(mlp([40, 60, 3], "tanh", 3.0), 25).caution
    behind = Network(40, [Dense(60, 2.0, 0.1), Pointwise("relu"), Dense(2), MeanSubtraction()])
    assert "outputs are centred" in mfdnn.ntk_statistics(behind, 25).caution


def test_equal_inputs_leave_no_rest():
    found = mfdnn.ntk_statistics(mlp([4, 50, 2], "tanh", 2.0, 0.1), 10, c0=1.0)
    assert 0 <= found.rest < 1e-12 * found.mean


def test_given_and_exchangeable_inputs_agree():
    net = mlp([6, 50, 40, 2], *RELU)
    X = np.sqrt(6) * np.sqrt(6 / 5) * (np.eye(6) - 1 / 6)  # a regular simplex
    for parameterisation in ("standard", "ntk"):
        given = mfdnn.ntk_statistics(net, inputs=X, parameterisation=parameterisation)
        drawn = mfdnn.ntk_statistics(net, 6, 1.0, -1 / 5, parameterisation=parameterisation)
        for name in ("mean", "second_moment", "off_diagonal", "largest", "rest"):
            assert getattr(given, name) == pytest.approx(getattr(drawn, name), rel=1e-9)
    alone = mfdnn.ntk_statistics(net, inputs=X[:1])
    assert alone.largest == alone.mean
    assert alone.rest == 0.0
    assert alone.off_diagonal == alone.mean  # of no pairs


BODY = [Dense(150, 2.0, 0.2), Pointwise("relu"), Dense(100, 1.5, 0.1), Pointwise("relu"), Dense(2, 1.0, 0.1)]


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
@pytest.mark.parametrize(
    "net",
    [
        resnet([100, 120, 2], 2, "relu", 1.0, 0.1),
        Network(100, [*BODY[:1], LayerNorm(affine=False), *BODY[1:]]),
        Network(100, [*BODY[:1], MeanSubtraction(), *BODY[1:]]),
        Network(100, [*BODY[:3], BatchNorm(affine=False), *BODY[3:]]),
        Network(100, [*BODY, MeanSubtraction()]),
    ],
    ids=["residual", "layer norm", "mean subtraction", "batch norm", "mean subtraction of outputs"],
)
def test_other_layers_have_a_kernel_too(net, parameterisation):
    X = draw(net, 30)[1]
    theory = mfdnn.ntk(net, X, parameterisation=parameterisation)
    means = []
    for seed in range(12):
        theta = empirical_ntk(sample(net, rng=seed), X, parameterisation=parameterisation).reshape(
            2, 30, 2, 30
        )
        own = (theta[0, :, 0] + theta[1, :, 1]) / 2
        means.append([np.trace(own), np.sum(own * theory) / np.linalg.norm(theory)])
    means, expected = np.array(means), [np.trace(theory), np.linalg.norm(theory)]
    error = means.std(axis=0, ddof=1) / np.sqrt(12)
    # Four standard errors; 1/M, and 1/T where samples are coupled: 5 %.
    assert np.all(np.abs(means.mean(axis=0) - expected) < 4 * error + 0.05 * np.array(expected))


def test_wrong_arguments_of_the_kernel_are_named():
    net = mlp([5, 8, 3], "tanh")
    with pytest.raises(ValueError, match="ends in layer norm"):
        mfdnn.ntk(Network(5, [Dense(8), LayerNorm()]), np.ones((2, 5)))
    gains = Network(5, [Dense(8), LayerNorm(), Pointwise("relu"), Dense(2)])
    with pytest.raises(ValueError, match="no theory of trained gains and offsets"):
        mfdnn.ntk(gains, np.ones((2, 5)), parameterisation="ntk")
    with pytest.raises(ValueError, match="`parameterisation` must be one of standard, ntk"):
        mfdnn.ntk(net, np.ones((2, 5)), parameterisation="mup")
    with pytest.raises(ValueError, match="`n_samples` must be an integer >= 1"):
        mfdnn.ntk_statistics(net, 0)
    with pytest.raises(ValueError, match="`c0` must be at least -1/"):
        mfdnn.ntk_statistics(net, 10, c0=-0.5)
    with pytest.raises(ValueError, match="4 features but the network takes 5"):
        mfdnn.ntk(net, np.ones((2, 4)))

"""Fisher eigenvalue statistics: known values, the naive twin, explicit kernels, simulation, edge cases."""

import json
import re

import cases
import naive
import numpy as np
import pytest
from scipy.linalg import eigvalsh
from user_layers import CircularConv

import mfdnn
from mfdnn._support.blas import single_blas_thread
from mfdnn.architectures import mlp, resnet
from mfdnn.fisher import DENSE_UP_TO, fisher_statistics
from mfdnn.fisher.cautions import chance_overlaps, of_second_moment, splitting
from mfdnn.layers import Dense, Pointwise
from mfdnn.network import Network

INTEGRALS = 1e-10  # accuracy promised for each Gaussian integral
NUMBERS = ("mean", "second_moment", "largest", "bulk")


def equicorrelated(n_inputs, width, q0, c0):
    """Inputs (n_inputs, width) with mean square q0 and correlation c0, all of them exactly alike."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((width, n_inputs)))[0]
    centre = np.full((n_inputs, n_inputs), 1 / n_inputs)
    own, common = np.sqrt(1 - c0), np.sqrt(max(1 + (n_inputs - 1) * c0, 0.0))
    return np.sqrt(q0 * width) * (own * (np.eye(n_inputs) - centre) + common * centre) @ basis.T


def sampled_duals(parameters, phi, x):
    """J_k J_k^T / T (T x T) of each output k of one network, from its activations and errors."""
    hs, slopes = [x], []
    for weight, bias in parameters[:-1]:
        u = hs[-1] @ weight.T + bias
        hs.append(phi.value(u))
        slopes.append(phi.slope(u))
    n_outputs, n_samples = len(parameters[-1][1]), len(x)
    duals = np.zeros((n_outputs, n_samples, n_samples))
    for k in range(n_outputs):
        delta = np.tile(np.eye(n_outputs)[k], (n_samples, 1))
        for layer in range(len(parameters) - 1, -1, -1):
            duals[k] += (delta @ delta.T) * (hs[layer] @ hs[layer].T + 1)
            if layer:
                delta = slopes[layer - 1] * (delta @ parameters[layer][0])
    return duals / n_samples


# -- known values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases.GOLDEN_FISHER, ids=lambda g: f"{g.activation}-{g.depth}")
def test_golden_values(case):
    width = 730
    net = mlp([width] * case.depth + [1], case.activation, case.sigma_w2, case.sigma_b2)
    fim = fisher_statistics(net, n_samples=100)
    found = {
        "kappa_1": fim.kappa_1,
        "kappa_2": fim.kappa_2,
        "lambda_max_over_M": fim.largest_leading / width,
        "eta_c_times_M": 2 * width / fim.largest_leading,
    }
    assert fim.alpha == pytest.approx(case.depth - 1)
    assert fim.width == width
    for name, value in found.items():
        assert abs(value - case.values[name]) <= case.tolerance(name), name


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["tanh", "relu", "silu"])
def test_naive_twin_with_unequal_widths(name, bias):
    widths, n_samples, w2, b2, q0, c0 = [300, 600, 450, 5], 60, 2.2, 0.3 * bias, 1.4, 0.1
    net = mlp(widths, name, w2, b2, bias=bias)
    fim = fisher_statistics(net, n_samples, q0, c0)
    op = naive.order_parameters(naive.phi(name), 3, w2, b2, q0, c0)
    twin = naive.fisher_statistics(op, widths, n_samples, bias)
    assert fim.n_parameters == twin["n_parameters"] == net.n_parameters
    for quantity in ("mean", "second_moment", "largest"):
        # A few integrals, each with its error, enter as products.
        assert getattr(fim, quantity) == pytest.approx(twin[quantity], rel=20 * INTEGRALS), quantity
    reference = np.mean(widths[:3])
    kappa_1, kappa_2, alpha = naive.kappas(op, widths, reference)
    assert fim.width == reference
    assert fim.alpha == pytest.approx(alpha, rel=1e-12)
    assert fim.kappa_1 == pytest.approx(kappa_1, rel=20 * INTEGRALS)
    assert fim.kappa_2 == pytest.approx(kappa_2, rel=20 * INTEGRALS)


def test_leading_order_is_the_limit_of_wide_networks():
    """The paper's m ~ kappa_1 C/M, s ~ alpha C (...), lambda_max ~ alpha (...) M, at T fixed."""
    n_samples, n_outputs = 50, 3
    gaps = []
    for width in (10**4, 10**6):
        fim = fisher_statistics(mlp([width] * 3 + [n_outputs], "gelu", 2.0, 0.1), n_samples)
        square = (n_samples - 1) / n_samples * fim.kappa_2**2 + fim.kappa_1**2 / n_samples
        common = (n_samples - 1) / n_samples * fim.kappa_2 + fim.kappa_1 / n_samples
        assert fim.mean_leading == pytest.approx(fim.kappa_1 * n_outputs / width, rel=1e-12)
        assert fim.second_moment_leading == pytest.approx(fim.alpha * n_outputs * square, rel=1e-12)
        assert fim.largest_leading == pytest.approx(fim.alpha * common * width, rel=1e-12)
        pairs = [
            (fim.mean, fim.mean_leading),
            (fim.second_moment, fim.second_moment_leading),
            (fim.largest, fim.largest_leading),
        ]
        gaps.append([abs(exact / leading - 1) for exact, leading in pairs])
    gaps = np.array(gaps)
    np.testing.assert_allclose(gaps[0] / gaps[1], 100.0, rtol=0.01)  # corrections of order 1/M


# -- blocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    "net",
    [mlp([30, 50, 40, 4], "relu", 2.0, 0.1), resnet([30, 50, 4], 2, "tanh", 1.2, 0.1, 0.9, 0.05)],
    ids=["mlp", "resnet"],
)
def test_blocks_sum_to_the_whole_trace(net, given):
    inputs = {"inputs": equicorrelated(7, 30, 1.0, 0.2)} if given else {"n_samples": 7, "c0": 0.2}
    fim = fisher_statistics(net, **inputs)
    assert sum(block.n_parameters for block in fim.layers) == fim.n_parameters == net.n_parameters
    trace = sum(block.mean * block.n_parameters for block in fim.layers)
    assert trace == pytest.approx(fim.mean * fim.n_parameters, rel=1e-12)
    assert all(fim.largest >= block.largest for block in fim.layers)  # interlacing
    assert fim.largest <= sum(block.largest for block in fim.layers) * (1 + 1e-12)
    assert [block.fan_in for block in fim.layers] == list(net.widths[:-1])


def test_trace_is_that_of_outliers_and_bulk():
    for n_samples in (2, 9, 1000):
        fim = fisher_statistics(mlp([50, 60, 70, 3], "tanh", 2.0, 0.2), n_samples)
        total = fim.n_outputs * (fim.largest + (n_samples - 1) * fim.bulk)
        assert total == pytest.approx(fim.mean * fim.n_parameters, rel=1e-12)


def first_block_simulated(n_samples, width, q0, c0, error, error_st, bias, rng):
    """Largest eigenvalue of (q~_st off, q~ on the diagonal) times (X X^T + bias) over T, X Gaussian.

    The common part has the length it has on average, whose chance of a draw would blur the comparison.
    """
    x = rng.standard_normal(width)
    x *= np.sqrt(width * q0 * c0) / np.linalg.norm(x)
    x = x + np.sqrt(q0 * (1 - c0)) * rng.standard_normal((n_samples, width))
    kernel = error_st * (x @ x.T + bias)
    np.fill_diagonal(kernel, error * (np.sum(x**2, axis=1) + bias))
    return eigvalsh(kernel / n_samples, subset_by_index=[n_samples - 1, n_samples - 1])[0]


@pytest.mark.parametrize(
    ("n_samples", "width", "q0", "c0", "bias"),
    [
        (200, 200, 1.0, 0.0, True),  # Marchenko-Pastur edge
        (150, 450, 2.0, 0.0, False),
        (300, 100, 1.0, 0.0, True),
        (200, 200, 0.35, 0.0, True),  # the bias leaves the bulk, which ends 9 % lower
        (200, 200, 1.0, 0.1, False),  # the common part of the inputs leaves the bulk
        (200, 200, 1.0, 0.02, True),  # common part and bias: each alone, or both as one spike, 11 % less
        (300, 64, 1.0, 0.1, True),
        (100, 400, 1.0, 0.03, True),
        (60, 100, 0.5, 1.0, True),  # no noise at all
    ],
)
def test_edge_of_the_first_block(n_samples, width, q0, c0, bias):
    net = mlp([width, width, 1], "tanh", 2.0, 0.3 * bias, bias=bias)
    fim = fisher_statistics(net, n_samples, q0, c0)
    op, rng = fim.order_parameters, np.random.default_rng(3)
    arguments = (n_samples, width, q0, c0, op.q_tilde[0], op.q_tilde_st[0], bias, rng)
    with single_blas_thread():  # for matrices so small, threads only wait for each other
        draws = [first_block_simulated(*arguments) for _ in range(20)]
    # The mean of an edge is off by O(n^(-2/3)) (Tracy-Widom), of an eigenvalue outside by less.
    error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    tolerance = min(n_samples, width) ** (-2 / 3) * np.mean(draws) + 3 * error
    assert fim.layers[0].largest == pytest.approx(np.mean(draws), abs=tolerance)


# -- given inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("c0", [0.0, 0.3])
@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_given_inputs_that_are_exchangeable(name, c0):
    n_samples = 6
    net = mlp([50, 40, 60, 3], name, 1.8, 0.2)
    exchangeable = fisher_statistics(net, n_samples, 1.2, c0)
    given = fisher_statistics(net, inputs=equicorrelated(n_samples, 50, 1.2, c0))
    assert given.n_samples == n_samples
    for quantity in (*NUMBERS, "kappa_1", "kappa_2", "mean_leading", "largest_leading"):
        expected = getattr(exchangeable, quantity)
        assert getattr(given, quantity) == pytest.approx(expected, rel=INTEGRALS), quantity
    for one, two in zip(given.layers[1:], exchangeable.layers[1:], strict=True):
        assert one.mean == pytest.approx(two.mean, rel=INTEGRALS)
        assert one.second_moment == pytest.approx(two.second_moment, rel=INTEGRALS)
        assert one.largest == pytest.approx(two.largest, rel=INTEGRALS)


def test_given_inputs_against_an_explicit_kernel():
    """Linear networks, where the kernel is elementary: sigma_w2 = 1, q^l = x.x'/M_0 + l sigma_b2, q~ = 1."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((8, 12)) + 0.3
    widths, b2, n_outputs = [12, 20, 30], 0.25, 3
    fim = fisher_statistics(mlp([*widths, n_outputs], "linear", 1.0, b2), inputs=x)
    gram = x @ x.T / 12
    theta = sum(width * (gram + layer * b2) + 1 for layer, width in enumerate(widths))
    spectrum = np.repeat(np.linalg.eigvalsh(theta / 8), n_outputs)
    assert fim.mean == pytest.approx(spectrum.sum() / fim.n_parameters, rel=1e-12)
    assert fim.second_moment == pytest.approx(np.sum(spectrum**2) / fim.n_parameters, rel=1e-12)
    assert fim.largest == pytest.approx(spectrum[-1], rel=1e-12)
    assert fim.bulk == pytest.approx((spectrum.sum() - 3 * spectrum[-1]) / (3 * 7), rel=1e-12)
    reference, off = np.mean(widths), ~np.eye(8, dtype=bool)
    weights_only = theta - 3
    scale = reference * fim.alpha
    assert fim.kappa_1 == pytest.approx(np.diagonal(weights_only).mean() / scale, rel=1e-12)
    assert fim.kappa_2 == pytest.approx(weights_only[off].mean() / scale, rel=1e-12)


def test_gaussian_inputs_are_exchangeable_on_average():
    width, n_samples, n_draws = 400, 40, 10
    net = mlp([width, 300, 300, 2], "relu", 2.0, 0.2)
    theory = fisher_statistics(net, n_samples)
    rng = np.random.default_rng(6)
    draws = [fisher_statistics(net, inputs=rng.standard_normal((n_samples, width))) for _ in range(n_draws)]
    for quantity, bias in [("mean", 0), ("kappa_1", 0), ("kappa_2", 0), ("largest", 1 / width)]:
        values = np.array([getattr(draw, quantity) for draw in draws])
        error = values.std(ddof=1) / np.sqrt(n_draws)
        expected = getattr(theory, quantity)
        assert abs(values.mean() - expected) <= 4 * error + 2 * bias * expected, quantity


@pytest.mark.parametrize("c0", [0.0, 0.3])
def test_lanczos_equals_the_closed_form(c0):
    """Above DENSE_UP_TO inputs; kernels with two distinct eigenvalues are the hardest for Lanczos."""
    n_samples = DENSE_UP_TO + 40
    net = mlp([700, 50, 2], "linear", 1.0, 0.1)
    given = fisher_statistics(net, inputs=equicorrelated(n_samples, 700, 1.0, c0))
    exchangeable = fisher_statistics(net, n_samples, 1.0, c0)
    top = exchangeable.mean * exchangeable.n_parameters / exchangeable.n_outputs
    top -= (n_samples - 1) * exchangeable.bulk
    assert given.largest == pytest.approx(top, rel=1e-9)


# -- simulation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_sampled_networks(name):
    """Mean within its standard error; the mean of the C outliers to O(1/M)."""
    widths, n_samples, n_networks = [300, 300, 300, 3], 40, 12
    w2, b2 = (3.0, 0.64) if name == "tanh" else (2.0, 0.1)
    theory = fisher_statistics(mlp(widths, name, w2, b2), n_samples)
    rng, phi = np.random.default_rng(7), naive.phi(name)
    means, tops = [], []
    for _ in range(n_networks):
        parameters = naive.random_parameters(widths, w2, b2, rng)
        duals = sampled_duals(parameters, phi, rng.standard_normal((n_samples, widths[0])))
        means.append(np.trace(duals, axis1=1, axis2=2).sum() / theory.n_parameters)
        tops.append(np.linalg.eigvalsh(duals)[:, -1].mean())
    for values, expected, bias in [(means, theory.mean, 0.0), (tops, theory.largest, 0.02)]:
        error = np.std(values, ddof=1) / np.sqrt(n_networks)
        assert abs(np.mean(values) - expected) <= 4 * error + bias * expected


# -- one layer, one sample, no common direction --------------------------------------------------------


def test_linear_regression():
    """L = 1: alpha = 0 and the kappas are infinite, but what they stand for is not."""
    n_samples, width, n_outputs = 100, 784, 10
    fim = fisher_statistics(mlp([width, n_outputs], sigma_w2=1.0), n_samples)
    assert (fim.alpha, fim.kappa_1, fim.kappa_2) == (0.0, np.inf, 0.0)
    assert fim.mean == pytest.approx(1.0)  # features and the constant 1 have mean square 1
    assert fim.mean_leading == pytest.approx(1.0)
    assert fim.largest_leading == pytest.approx(width / n_samples)
    # The Fisher matrix is the covariance of the inputs: Marchenko-Pastur; O(n^(-2/3)) of one draw.
    x = np.random.default_rng(8).standard_normal((n_samples, width))
    top = np.linalg.eigvalsh((x @ x.T + 1) / n_samples)[-1]
    assert fim.largest == pytest.approx(top, rel=2 * n_samples ** (-2 / 3))
    assert fim.caution == ""
    given = fisher_statistics(mlp([width, n_outputs], sigma_w2=1.0), inputs=x)
    assert given.largest == pytest.approx(top, rel=1e-12)
    assert fisher_statistics(mlp([width, 1], sigma_w2=1.0), c0=0.5).kappa_2 == np.inf


@pytest.mark.parametrize("given", [False, True])
def test_one_sample(given):
    """T = 1: C eigenvalues A_1, nothing else."""
    net = mlp([20, 30, 30, 2], "relu", 2.0, 0.1)
    arguments = {"inputs": np.ones((1, 20))} if given else {"n_samples": 1}
    fim = fisher_statistics(net, **arguments)
    assert fim.largest == pytest.approx(fim.mean * fim.n_parameters / fim.n_outputs, rel=1e-12)
    assert fim.second_moment * fim.n_parameters == pytest.approx(2 * fim.largest**2, rel=1e-12)
    assert fim.largest_leading == pytest.approx(fim.alpha * fim.kappa_1 * fim.width, rel=1e-12)
    assert fim.bulk == 0.0
    assert "stands" not in fim.caution


def test_centred_networks_carry_a_caution():
    centred = fisher_statistics(mlp([100, 100, 100, 1], "tanh", 1.5), 100)
    assert centred.centred
    assert "No eigenvalue stands out" in centred.caution
    assert not fisher_statistics(mlp([100, 100, 100, 1], "relu", 2.0), 100).centred
    assert fisher_statistics(mlp([100, 100, 100, 1], "relu", 2.0), 100).caution == ""
    correlated = fisher_statistics(mlp([100, 100, 100, 1], "tanh", 1.5), 100, c0=0.5)
    assert not correlated.centred
    assert correlated.caution == ""


def test_networks_too_narrow_for_their_depth_carry_a_caution():
    """Chaotic, 15 layers of 200: sampled networks have twice the `largest` of theory."""
    chaotic = mlp([200] * 15 + [1], "tanh", 4.0, 0.05)
    assert "stands clear of the bulk at this width" in fisher_statistics(chaotic, 1000).caution
    assert fisher_statistics(chaotic, 1).caution == ""
    # c = kappa_1 / (2 kappa_2) + 5 L / 4 at both sides of M / 3, M the smallest width.
    anyone = fisher_statistics(mlp([50] * 3 + [1], "relu", 2.0), 1000)  # equal widths: they drop out
    c = anyone.kappa_1 / anyone.kappa_2 / 2 + 15 / 4
    for width, clear in ((int(3 * c) - 1, False), (int(3 * c) + 2, True)):
        net = mlp([width] * 3 + [1], "relu", 2.0)
        assert (fisher_statistics(net, 1000).caution == "") is clear
    # Given inputs are no random quantity: their number of features does not count.
    inputs = np.random.default_rng(0).standard_normal((200, 4)) + 2.0
    assert fisher_statistics(mlp([4, 100, 100, 1], "relu", 2.0), inputs=inputs).caution == ""
    assert fisher_statistics(mlp([4, 100, 100, 1], "relu", 2.0), 200, c0=0.8).caution != ""
    both = fisher_statistics(mlp([100, 100, 100, 1], "tanh", 1.5), 100, c0=[0.0, 0.5])
    assert "No eigenvalue stands out" in both.caution


def percentage(caution, words):
    """The number in a sentence of a caution."""
    return int(re.search(words + r"[^.]*?(\d+)%", caution)[1]) / 100


def left_out(net, n_networks, **data):
    """Of tr F^2 of sampled networks, what `second_moment` leaves out as a share of it, and its standard error."""
    theory, found = fisher_statistics(net, **data).second_moment, []
    for seed in range(n_networks):
        X = data.get("inputs")
        if X is None:
            X = np.random.default_rng(500 + seed).standard_normal((data["n_samples"], net.n_inputs))
        found.append(mfdnn.fisher_spectrum(mfdnn.sample(net, rng=seed), X).second_moment / theory - 1)
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(n_networks)


def chain_of_two(act, widths, w2, b2, *last, hidden=()):
    first, second, third = widths
    layers = [Dense(second, w2, b2), *hidden, Pointwise(act), Dense(third, w2, b2), *hidden, Pointwise(act)]
    return Network(first, [*layers, Dense(1, 1.0, b2), *last])


@pytest.mark.parametrize(
    ("net", "n_samples"),
    [
        (chain_of_two("softsign", [100, 150, 100], 4.0, 0.2, mfdnn.MeanSubtraction()), 100),
        (chain_of_two("relu", [100, 100, 100], 2.0, 0.1, mfdnn.MeanSubtraction()), 300),
        (chain_of_two("tanh", [100, 150, 100], 1.5, 0.0), 100),  # nothing in common: all of the spectrum is bulk
        (chain_of_two("mish", [60, 60, 60], 2.0, 0.1, hidden=[mfdnn.BatchNorm()]), 60),
    ],
    ids=["softsign", "relu", "tanh", "hidden batch norm"],
)
def test_what_chance_overlaps_add_to_the_second_moment_is_said(net, n_samples):
    """T of the order of M: the second moment is up to four times as large. The sentence is good to a factor of 1.7."""
    fim = fisher_statistics(net, n_samples)
    said = percentage(fim.caution, "Chance overlaps")
    share, error = left_out(net, 8, n_samples=n_samples)
    assert 0.7 * (share - 3 * error) < said < 1.7 * (share + 3 * error)
    assert "Chance overlaps" not in fim.largest_caution
    assert of_second_moment(0.2, 1.0) == of_second_moment(0.0, 0.0) == ""


def test_chance_overlaps_of_given_inputs_are_theirs():
    """Those of hidden units are left: T = M = 60, hidden batch norm."""
    net = chain_of_two("mish", [60, 60, 60], 2.0, 0.1, hidden=[mfdnn.BatchNorm()])
    X = np.random.default_rng(0).standard_normal((60, 60))
    share, error = left_out(net, 12, inputs=X)
    said = percentage(fisher_statistics(net, inputs=X).caution, "Chance overlaps")
    assert 0.7 * (share - 3 * error) < said < 1.7 * (share + 3 * error)
    wide = chain_of_two("mish", [60, 900, 900], 2.0, 0.1, hidden=[mfdnn.BatchNorm()])
    assert "Chance overlaps" not in fisher_statistics(wide, inputs=X).caution


def test_chance_overlaps_of_linear_regression():
    """One layer: x_s.x_t is off by sqrt(M_0), which all T (T - 1) products feel."""
    fim = fisher_statistics(mlp([30, 2], sigma_w2=1.0), 60, q0=2.0)
    assert chance_overlaps(fim.order_parameters, 60) == pytest.approx(59 / 60 * 30 * 4.0, rel=1e-12)
    share = 59 / 60 * 120 / (61**2 / 60 + 59 / 60)
    assert percentage(fim.caution, "Chance overlaps") == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize(("name", "w2", "b2"), [("tanh", 3.0, 0.64), ("relu", 2.0, 0.1)])
@pytest.mark.parametrize("n_outputs", [2, 10])
def test_splitting_of_several_outputs(name, w2, b2, n_outputs):
    """Against the law of the outliers, which simulation has confirmed to 1 %."""
    for widths, n_samples in (([200] * 3, 40), ([300, 100, 200, 150], 300)):
        net = mlp([*widths, n_outputs], name, w2, b2)
        law = mfdnn.finite_width.outlier_distribution(net, n_samples)
        fim, expected = fisher_statistics(net, n_samples), law.largest_mean / law.mean - 1
        assert splitting(fim.order_parameters, n_samples, n_outputs) == pytest.approx(expected, rel=0.25)
        if abs(expected - 0.1) > 0.025:
            assert ("outliers of a network of these widths split" in fim.largest_caution) == (expected > 0.1)
    assert fim.caution == fim.largest_caution == fim.to_dict()["caution"]


def test_splitting_of_convolutions_counts_channels():
    """Two layers of 30 channels on 8 sites, relu, T = 30: six networks have 25 +- 3 % (of 90 and 240 units: 6 %)."""
    layers = [CircularConv(30, 3, 2.0), Pointwise("relu"), CircularConv(30, 3, 2.0), Pointwise("relu")]
    net = Network((3, 8), [*layers, mfdnn.layers.Flatten(), Dense(10, 2.0, 0.1)])
    assert 0.15 < splitting(fisher_statistics(net, 30).order_parameters, 30, 10) < 0.25


def test_negative_correlation():
    """A simplex of inputs sums to zero, so that the constant direction has the lowest eigenvalue."""
    net = mlp([30, 40, 1], "linear", 1.0)
    fim = fisher_statistics(net, 5, 1.0, -0.25)
    given = fisher_statistics(net, inputs=equicorrelated(5, 30, 1.0, -0.25))
    assert fim.bulk == pytest.approx(given.bulk, rel=1e-12)
    assert fim.layers[1].largest == pytest.approx(given.layers[1].largest, rel=1e-12)


def test_zero_inputs():
    net = mlp([5, 5, 1], "relu", 2.0, bias=False)
    fim = fisher_statistics(net, q0=0.0)
    assert (fim.mean, fim.second_moment, fim.largest, fim.kappa_1, fim.kappa_2) == (0, 0, 0, 0, 0)


def test_scale_invariance_of_the_reference_width():
    """alpha kappa M is what eigenvalues are made of; it does not depend on the choice of M."""
    fim = fisher_statistics(mlp([100, 500, 300, 2], "relu", 2.0, 0.1), 1)
    op = fim.order_parameters
    total = np.sum(op.fan_in * op.q_tilde * op.q_hat)
    assert fim.alpha * fim.kappa_1 * fim.width == pytest.approx(total, rel=1e-12)


# -- broadcasting, results, bad input ------------------------------------------------------------------


def test_broadcasts():
    net = mlp([30, 40, 40, 2], "tanh", 2.0, 0.1)
    c0 = np.array([0.0, 0.3, 1.0])
    fim = fisher_statistics(net, 20, 1.5, c0)
    singles = [fisher_statistics(net, 20, 1.5, c) for c in c0]
    for quantity in (*NUMBERS, "kappa_1", "kappa_2", "largest_leading", "centred"):
        expected = [getattr(single, quantity) for single in singles]
        np.testing.assert_allclose(getattr(fim, quantity), expected, rtol=1e-10, err_msg=quantity)
    expected = [single.layers[0].largest for single in singles]
    np.testing.assert_allclose(fim.layers[0].largest, expected, rtol=1e-10)
    assert "(3,)" in repr(fim)


def test_result():
    net = Network(6, [Dense(5, 2.0), Pointwise("relu"), Dense(2, 2.0, bias=False)])
    fim = fisher_statistics(net, 4)
    assert type(fim.largest) is float
    plain = json.loads(json.dumps(fim.to_dict()))
    assert plain["largest"] == fim.largest
    assert plain["layers"][1]["n_parameters"] == 10
    assert plain["centred"] is False
    assert "order_parameters" not in plain
    assert repr(fim).startswith("FisherStatistics(mean=")
    assert repr(fim.layers[0]).startswith("BlockStatistics(mean=")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "`n_samples` must be an integer >= 1"),
        ({"n_samples": 2.5}, TypeError, "`n_samples` must be an integer"),
        ({"n_samples": 5, "c0": -0.3}, ValueError, "`c0` must be at least"),
        ({"n_samples": 7, "inputs": np.ones((3, 4))}, ValueError, "`n_samples` is 7 but `inputs` has 3 rows"),
        ({"q0": -1.0}, ValueError, "`q0` is a variance"),
        ({"inputs": np.ones((3, 9))}, ValueError, "9 features but the network takes 4"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        fisher_statistics(mlp([4, 4, 1], "relu"), **arguments)


@pytest.mark.parametrize("verb", ["fisher_statistics", "max_learning_rate", "ensemble", "compare", "report"])
def test_inputs_exclude_what_they_determine_only_where_it_is_given(verb):
    net, x = mfdnn.mlp([4, 9, 2], "tanh", 1.5, 0.1), np.random.default_rng(0).standard_normal((6, 4))
    run = {"n_networks": 2, "rng": 0} if verb in ("ensemble", "compare", "report") else {}
    call = getattr(mfdnn, verb)
    for given, message in (
        ({"q0": 1.0}, "`inputs` excludes `q0`, which it determines; drop it"),
        ({"q0": 2.0, "c0": 0.0}, "`inputs` excludes `q0` and `c0`, which it determines; drop them"),
        ({"n_samples": 1000}, "`n_samples` is 1000 but `inputs` has 6 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            call(net, inputs=x, **given, **run)
    assert call(net, inputs=x, n_samples=6, **run).to_dict() == call(net, inputs=x, **run).to_dict()
    assert call(net, 6, q0=1.0, c0=0.0, **run).to_dict() == call(net, 6, **run).to_dict()


def test_a_thousand_samples_are_the_default():
    net = mlp([30, 20, 2])
    assert (
        fisher_statistics(net).to_dict() == fisher_statistics(net, n_samples=1000, q0=1.0, c0=0.0).to_dict()
    )
    assert fisher_statistics(net).n_samples == mfdnn.max_learning_rate(net).n_samples == 1000


def test_caution_says_why_the_edge_is_not_known():
    body = mlp([20, 30, 30, 1], "relu", 2.0, 0.1)
    net = Network(20, [*body.layers, mfdnn.BatchNorm()])
    few = fisher_statistics(net, 20)
    assert few.output_normalisation.edge is None
    assert "`n_samples` must be" in few.caution and "51" in few.caution
    given = fisher_statistics(net, inputs=np.random.default_rng(0).standard_normal((60, 20)))
    assert "random inputs" in given.caution
    known = fisher_statistics(net, 60).output_normalisation
    assert known.edge is not None and known.why_no_edge == ""

"""Tables of Fisher eigenvalues of normalised networks, classifiers, kernels and features, drawn again.

The numbers are this project's own Monte Carlo of 3 to 10 networks a row, made with another code before this package;
what they check is in Karakida, Akaho & Amari, arXiv:1906.02926 (normalisation) and arXiv:1910.05992 (softmax, tangent
kernel, features). Each row is drawn again by the package, with networks of its own, and held against both: the table,
and the package's theory with its stated accuracy.
"""

import numpy as np
import pytest
from slow import slow

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.kernels.parts import kernel

VARIANCES = {"tanh": (3.0, 0.64), "relu": (2.0, 0.1), "linear": (1.0, 0.1)}
CENTRED = [mfdnn.MeanSubtraction()]
SIGMAS = 4  # of errors that are estimated from 3 to 16 draws


def network(phi, width, n_outputs=1, last=(), hidden=(), bias=True):
    """Three weight layers; `hidden` before each activation, `last` behind the outputs."""
    sigma_w2, sigma_b2 = VARIANCES[phi]
    weights = {"sigma_w2": sigma_w2, "sigma_b2": sigma_b2 if bias else 0.0, "bias": bias}
    layers = [x for _ in range(2) for x in (mfdnn.Dense(width, **weights), *hidden, mfdnn.Pointwise(phi))]
    return mfdnn.Network(width, [*layers, mfdnn.Dense(n_outputs, **weights), *last])


def drawn(net, n_samples, n_networks, measure, seed=0):
    """`measure` of sampled networks in single precision, each at its own Gaussian inputs: (n_networks, ...)."""
    found = []
    for rng in np.random.default_rng(seed).spawn(n_networks):
        one = mfdnn.sample(net, rng=rng, dtype="float32")
        found.append(measure(one, gaussian_inputs(n_samples, net.n_inputs, rng=rng)))
    return np.array(found)


def largest(one, X):
    return mfdnn.fisher_spectrum(one, X).largest


def assert_reproduces(values, table, n_table, rounding=0.0):
    """Means of our draws and of the table's `n_table` networks agree within their standard errors."""
    error = np.std(values, ddof=1) * np.sqrt(1 / len(values) + 1 / n_table)
    assert np.mean(values) == pytest.approx(table, abs=SIGMAS * error + rounding)


def assert_predicts(values, theory, accuracy):
    """The mean of our draws and theory agree within its standard error and the stated accuracy of the theory."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(theory, abs=SIGMAS * error + accuracy * theory)


# -- arXiv:1906.02926: the mean of the outputs subtracted -----------------------------------------------------

# phi, M = T, largest without and with mean subtraction (4 networks each), the lower and the upper bound at c_i = 0
MEAN_SUBTRACTION = [
    ("tanh", 200, 50.1, 5.90, 1.674, 23.7),
    slow("tanh", 400, 97.4, 6.07, 1.674, 33.5),
    ("relu", 200, 164, 8.69, 2.347, 33.2),
    slow("relu", 400, 336, 9.20, 2.347, 46.9),
    ("linear", 200, 65.1, 17.2, 3.000, 42.4),
    slow("linear", 400, 124, 17.9, 3.000, 60.0),
]


@pytest.mark.parametrize(("phi", "width", "plain", "centred", "lower", "upper"), MEAN_SUBTRACTION)
def test_mean_subtraction_takes_order_m_away(phi, width, plain, centred, lower, upper):
    before, after = network(phi, width), network(phi, width, last=CENTRED)
    n = 16 if width == 200 else 8
    values, others = drawn(before, width, n, largest), drawn(after, width, n, largest, seed=1)
    assert_reproduces(values, plain, 4)
    assert_reproduces(others, centred, 4)
    assert_predicts(values, mfdnn.outlier_distribution(before, width).largest_mean, 0.01)
    fim = mfdnn.fisher_statistics(after, width)
    assert_predicts(others, fim.largest, 0.04)
    known = fim.output_normalisation
    assert known.lower() == pytest.approx(lower, abs=5e-4)
    assert known.upper() == pytest.approx(upper, abs=0.06)
    assert np.all((known.lower() < others) & (others < known.upper()))


@pytest.mark.parametrize(("n_samples", "table", "lower"), [(400, 7.6, 1.174), (100, 13.0, 4.694)])
def test_mean_subtraction_at_other_ratios_of_width_and_samples(n_samples, table, lower):
    net = network("relu", 200, last=CENTRED)
    values, fim = drawn(net, n_samples, 8, largest), mfdnn.fisher_statistics(net, n_samples)
    assert_reproduces(values, table, 3)
    assert_predicts(values, fim.largest, 0.04)
    assert fim.output_normalisation.lower() == pytest.approx(lower, abs=5e-4)


@pytest.mark.parametrize(
    ("phi", "table", "lower"), [("tanh", 8.9, 3.35), ("relu", 13.3, 4.69), ("linear", 24.4, 6.0)]
)
def test_mean_subtraction_of_two_outputs(phi, table, lower):
    net = network(phi, 400, n_outputs=2, last=CENTRED)
    values, fim = drawn(net, 200, 6, largest), mfdnn.fisher_statistics(net, 200)
    assert_reproduces(values, table, 3, rounding=0.05)
    assert_predicts(values, fim.largest, 0.04)
    assert fim.output_normalisation.lower() == pytest.approx(lower, abs=0.006)


@pytest.mark.parametrize(("phi", "table", "degenerate"), [("tanh", 715, 669.5), ("relu", 998, 939)])
def test_mean_subtraction_of_five_samples_leaves_degenerate_eigenvalues(phi, table, degenerate):
    """alpha (kappa_1 - kappa_2) M/T each, split by O(1/sqrt(M)) into those of a 4 x 4 matrix: by 9 % at M = 2000."""
    net = network(phi, 2000, last=CENTRED)
    values = drawn(net, 5, 3, lambda one, X: mfdnn.fisher_spectrum(one, X).eigenvalues[:4])
    assert_reproduces(values[:, 0], table, 1)
    fim = mfdnn.fisher_statistics(net, 5)
    assert fim.output_normalisation.degenerate == pytest.approx(degenerate, abs=0.5)
    assert_predicts(values.mean(axis=1), degenerate, 0.01)
    assert np.all(np.abs(values / degenerate - 1) < 0.15)


# -- arXiv:1906.02926: batch norm of the outputs --------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "width", "table"),
    [
        ("tanh", 200, 4.89),
        slow("tanh", 400, 4.94),
        ("relu", 200, 9.26),
        slow("relu", 400, 8.77),
        ("linear", 200, 16.3),
        slow("linear", 400, 16.9),
    ],
)
def test_batch_norm_of_the_outputs(phi, width, table):
    net, body = network(phi, width, last=[mfdnn.BatchNorm(affine=False)]), network(phi, width)
    values = drawn(net, width, 8, largest)
    assert_reproduces(values, table, 4)
    # -2 to +6 % for C = 1, and the spread of sigma^2 by which it is divided
    assert_predicts(values, mfdnn.fisher_statistics(net, width).largest, 0.06)
    # (T - 2)/T (kappa_1 - kappa_2)/M times 1/sigma^2 of the network's own outputs: 1.008, 0.981, 1.006 +- 0.014
    plain = mfdnn.fisher_statistics(body, width)
    mean = drawn(net, width, 8, lambda one, X: mfdnn.fisher_spectrum(one, X).mean)
    variance = drawn(body, width, 8, lambda one, X: one(X).var())  # the same draws
    leading = (width - 2) / width * (plain.kappa_1 - plain.kappa_2) / width
    assert_predicts(mean * variance / leading, 1.0, 1 / width)


@pytest.mark.parametrize(("phi", "limit", "table"), [("tanh", 1.134, 1.200), ("relu", 1.041, 1.089)])
def test_batch_norm_divides_by_what_inputs_do_not_share(phi, limit, table):
    """The variance of an output over the samples: a spread of 8 to 9 % from network to network at M = 800."""
    op = mfdnn.order_parameters(network(phi, 800))
    assert op.q[-1] - op.q_st[-1] == pytest.approx(limit, abs=5e-4)
    values = drawn(network(phi, 800), 400, 8, lambda one, X: one(X).var())
    assert_reproduces(values, table, 4)
    assert_predicts(values, limit, 2 / 800)
    assert 0.03 < np.std(values, ddof=1) / limit < 0.15


# -- arXiv:1906.02926: normalisation of hidden layers ---------------------------------------------------------

# Largest eigenvalue, that of the last layer's block and its bound; T = 60, no bias parameters.
HIDDEN = [
    ("relu", 100, mfdnn.BatchNorm(affine=False), 17.06, 16.57, 16.48),
    ("relu", 200, mfdnn.BatchNorm(affine=False), 33.48, 32.68, 32.97),
    slow("relu", 300, mfdnn.BatchNorm(affine=False), 49.74, 48.42, 49.45),
    ("relu", 200, mfdnn.MeanSubtraction(), 45.7, 42.5, 44.95),
    ("tanh", 100, mfdnn.BatchNorm(affine=False), 7.3, None, None),
    slow("tanh", 300, mfdnn.BatchNorm(affine=False), 14.4, None, None),
]


@pytest.mark.parametrize(("phi", "width", "layer", "table", "block", "bound"), HIDDEN)
def test_normalisation_of_hidden_layers_leaves_order_m(phi, width, layer, table, block, bound):
    n = 60
    net = network(phi, width, hidden=[layer], bias=False)
    values = drawn(
        net, n, 6, lambda one, X: (largest(one, X), mfdnn.fisher_spectrum(one, X, layer=2).largest)
    )
    assert_reproduces(values[:, 0], table, 3)
    fim = mfdnn.fisher_statistics(net, n)
    if bound is None:  # an odd activation: nothing stands out
        assert "No eigenvalue stands out" in fim.caution
        return
    assert_reproduces(values[:, 1], block, 3)
    # M ((T - 1)/T q_hat_st + q_hat/T), without the correlation -1/(T - 1) of samples that the package knows: for relu
    # pi/2 of it, 2.7 % at T = 60, for each layer that it passes
    q, q_st = (0.5, 1 / (2 * np.pi)) if layer.kind == "batch norm" else _mean_subtracted()
    assert width * ((n - 1) / n * q_st + q / n) == pytest.approx(bound, rel=5e-4)
    assert fim.layers[-1].largest == pytest.approx(bound, rel=np.pi / n)
    assert_predicts(values[:, 1], fim.layers[-1].largest, 1 / n)


def _mean_subtracted():
    """q_hat, q_hat_st after two relu layers behind mean subtraction: q_st = 0 before each."""
    q = 2.0 * 1.0
    q = 2.0 * (q / 2 - q / (2 * np.pi))
    return q / 2, q / (2 * np.pi)


# -- arXiv:1906.02926: layer norm of the outputs --------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "width", "n_samples", "n_outputs", "simulation", "theory"),
    [
        ("tanh", 800, 60, 10, 134.5, 127.2),
        ("relu", 800, 60, 10, 368, 362),
        ("linear", 800, 60, 10, 363, 331),
        ("relu", 500, 40, 5, 409, 398),
        ("relu", 500, 40, 20, 231, 203),
    ],
)
def test_layer_norm_of_the_outputs(phi, width, n_samples, n_outputs, simulation, theory):
    """1/sigma^2 of the outputs scatters by 20 to 60 %: compared are ratios to theory at a network's own outputs."""
    net = network(phi, width, n_outputs, last=[mfdnn.LayerNorm(affine=False)])
    body = network(phi, width, n_outputs)
    fim = mfdnn.fisher_statistics(body, n_samples)
    one_sample, two_samples = kernel(fim.order_parameters).averages()

    def measure(one, X):
        plain = mfdnn.SampledNetwork(body, one.parameters)
        own = layer_norm_theory(plain(X), float(one_sample), float(two_samples))
        found = mfdnn.fisher_spectrum(one, X, k=1)
        return found.largest / own[0], found.mean * fim.n_parameters / own[1]

    top, trace = drawn(net, n_samples, 3, measure).T
    assert_reproduces(top, simulation / theory, 3, rounding=0.02)
    assert_predicts(trace, 1.0, 0.025)


def layer_norm_theory(f, one, two):
    """Largest eigenvalue and trace of the dual of infinite width, layer norm of outputs f (T, C) behind it."""
    T, C = f.shape
    centred = f - f.mean(axis=1, keepdims=True)
    sigma = np.sqrt(np.mean(centred**2, axis=1))
    z = centred / sigma[:, None]
    q = np.eye(C) - (1 + np.einsum("ti,tj->tij", z, z)) / C  # rank C - 2
    b = (q / sigma[:, None, None]).reshape(T * C, C)
    matrix = two * b @ b.T
    for t in range(T):
        rows = slice(t * C, (t + 1) * C)
        matrix[rows, rows] += (one - two) * q[t] / sigma[t] ** 2
    return np.linalg.eigvalsh(matrix)[-1] / T, one * (C - 2) * np.mean(1 / sigma**2)


# -- arXiv:1910.05992: softmax --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "top", "ratios"),
    [  # largest; mean, second moment and largest over theory at the network's own outputs
        ("tanh", 47.7, (1.005, 1.051, 1.038)),
        ("relu", 142.6, (0.988, 0.969, 0.978)),
        ("linear", 52.1, (1.000, 1.091, 1.062)),
    ],
)
def test_softmax(phi, top, ratios):
    net = network(phi, 1000, n_outputs=10)
    fim = mfdnn.fisher_statistics(net, 100)

    def measure(one, X):
        found = mfdnn.fisher_spectrum(one, X, output="softmax")
        theory = mfdnn.softmax_statistics(fim, logits=one(X))
        assert theory.lower < found.largest < theory.upper
        return (
            found.largest,
            found.mean / theory.mean,
            found.second_moment / theory.second_moment,
            found.largest / theory.largest,
        )

    values = drawn(net, 100, 4, measure)
    assert_reproduces(values[:, 0], top, 3)
    for column, ratio, accuracy in zip(values.T[1:], ratios, (0.01, 0.09, 0.06), strict=True):
        assert_reproduces(column, ratio, 3, rounding=5e-4)
        assert_predicts(column, 1.0, accuracy)


def test_softmax_has_one_outlier_less_than_outputs():
    """relu, C = 3, T = 200, M = 1000: 206 and 136, then the edge of the bulk at 7.3."""
    net = network("relu", 1000, n_outputs=3)
    values = drawn(
        net, 200, 4, lambda one, X: mfdnn.fisher_spectrum(one, X, k=3, output="softmax").eigenvalues
    )
    for column, table in zip(values.T, (206, 136, 7.3), strict=True):
        assert_reproduces(column, table, 1)
    assert np.all(values[:, 1] > 10 * values[:, 2])
    assert mfdnn.softmax_statistics(mfdnn.fisher_statistics(net, 200)).n_outliers == 2


# -- arXiv:1910.05992: tangent kernel and features ------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "k1", "k2", "deviations"),
    [  # mean, second moment and mean of the two largest over theory, less 1, of 10 networks
        ("tanh", 7.469251, 1.911341, (-0.002, 0.004, -0.0004)),
        ("relu", 6.6, 1.800137, (-0.024, -0.043, -0.024)),
        ("linear", 3.6, 0.6, (-0.007, 0.024, -0.002)),
    ],
)
def test_tangent_kernel_in_its_own_parameterisation(phi, k1, k2, deviations):
    net, n = network(phi, 1000, n_outputs=2), 100
    theory = mfdnn.ntk_statistics(net, n, parameterisation="ntk")
    expected = k1, k1**2 + (n - 1) * k2**2, k1 + (n - 1) * k2
    found = theory.mean, theory.second_moment, theory.largest
    assert found == pytest.approx(expected, rel=1e-6)

    def measure(one, X):
        values = np.linalg.eigvalsh(mfdnn.empirical_ntk(one, X, parameterisation="ntk"))[::-1]
        return values.mean(), np.mean(values**2), values[:2].mean()

    ratios = drawn(net, n, 6, measure) / expected
    # the second moment has a term T/M of K_1^2 more: v = 15 (linear), 7 (relu), 1.5 (tanh) of it, over T K_2^2
    for column, deviation, accuracy in zip(ratios.T, deviations, (1e-3, 0.06, 0.01), strict=True):
        assert_reproduces(column, 1 + deviation, 10)
        assert_predicts(column, 1.0, accuracy)


@pytest.mark.parametrize("phi", VARIANCES)
def test_feature_metric(phi):
    """M = 1000, T = 300, C = 2: mean, second moment and mean outlier within 0.7 %, the largest 6 % above."""
    net = network(phi, 1000, n_outputs=2)
    theory = mfdnn.feature_statistics(net, 300)
    expected = theory.mean, theory.second_moment, theory.largest, theory.largest

    def measure(one, X):
        found = mfdnn.feature_spectrum(one, X)
        return found.mean, found.second_moment, found.outlier_mean, found.largest

    ratios = drawn(net, 300, 4, measure, seed=2) / expected
    for column, table in zip(ratios.T, (1.0, 1.0, 1.0, 1.06), strict=True):
        assert_reproduces(column, table, 3, rounding=0.007)

"""Sampled networks: products against finite differences, spectra against dense matrices."""

import json
import pickle
import tracemalloc

import naive
import numpy as np
import pytest

import mfdnn._support.memory
from mfdnn._support import lanczos as lanczos
from mfdnn.architectures import mlp, resnet
from mfdnn.layers import BatchNorm, Dense, Layer, Pointwise, Residual
from mfdnn.network import Network
from mfdnn.sampled import SampledNetwork, dual, eigenpairs, fisher_spectrum, sample
from mfdnn.sampled.jacobian import Jacobian

BLOCK = [Dense(6, 1.5, 0.1), Pointwise("tanh"), Dense(6, 1.5)]
NETWORKS = {
    "gaussian": mlp([5, 8, 7, 3], "tanh", 1.5, 0.1),
    "orthogonal": mlp([5, 8, 7, 3], "gelu", 1.5, 0.1, weights="orthogonal"),
    "uniform": mlp([5, 8, 7, 3], "relu", init="pytorch"),
    "no bias": mlp([5, 8, 7, 3], "silu", 2.0, bias=False),
    "mixed": mlp([5, 8, 7, 3], ["leaky_relu", "softplus"], [1.0, 2.0, 0.5], [0.1, 0.0, 0.2]),
    "lambda": mlp([5, 8, 3], lambda x: x / (1 + x**2), 2.0, 0.1),
    "linear": mlp([5, 8, 3], "linear", 1.0, 0.1),
    "one layer": mlp([5, 3], "relu", 1.0, 0.1),
    "residual": resnet([5, 6, 3], 2, "tanh", skip=0.5),
    "nested": Network(
        6, [Residual([Residual(BLOCK, skip=0.5), Pointwise("erf"), Dense(6)]), Dense(2, 1.0, 0.1)]
    ),
    "ends nonlinear": Network(5, [Dense(4, 2.0, 0.1), Pointwise("sigmoid")]),
}
each_network = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS.keys())


def draw(net, n_samples=9, seed=0, dtype="float64"):
    one = sample(net, rng=seed, dtype=dtype)
    X = np.random.default_rng(seed + 100).standard_normal((n_samples, net.n_inputs))
    return one, X, np.random.default_rng(seed + 200)


def jacobian(one, X):
    """J (T C, P), column by column, by forward mode; the forward mode is held against differences below."""
    return np.array([one.jvp(X, e).ravel() for e in np.eye(one.n_parameters)]).T


def dense_eigenvalues(one, X):
    """All non-zero eigenvalues of the Fisher information, from the dense Jacobian."""
    J = jacobian(one, X)
    return naive.singular_values(J)[: min(J.shape)] ** 2 / len(X)


@pytest.fixture
def iterate(monkeypatch):
    """Small problems take the iterative path too."""
    monkeypatch.setattr(eigenpairs, "SMALL", 0)


# -- drawing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weights", "kurtosis"), [("gaussian", 3.0), ("uniform", 1.8)])
def test_weights_and_biases_have_the_variances_asked_for(weights, kurtosis):
    one = sample(mlp([400, 300, 300], "relu", 1.7, 0.4, weights=weights), rng=1)
    for (weight, bias), fan_in in zip(one.parameters, (400, 300), strict=True):
        for values, variance in ((weight, 1.7 / fan_in), (bias, 0.4)):
            error = np.sqrt((kurtosis - 1) / values.size)  # relative standard error of a sample variance
            assert np.mean(values**2) / variance == pytest.approx(1, abs=5 * error)
            assert abs(values.mean()) < 5 * np.sqrt(variance / values.size)


@pytest.mark.parametrize("widths", [[20, 30], [30, 20]])
def test_orthogonal_weights_are_orthogonal(widths):
    weight, _ = sample(mlp(widths, "relu", 1.7, weights="orthogonal"), rng=0).parameters[0]
    gram = weight @ weight.T if widths[1] <= widths[0] else weight.T @ weight
    # Entries of variance sigma_w2/fan_in: the shorter side has squared norm max(shape) sigma_w2/fan_in.
    assert np.abs(gram - 1.7 * max(widths) / widths[0] * np.eye(20)).max() < 1e-13


def test_orthogonal_weights_are_haar_not_just_orthogonal():
    # Without the sign correction of QR the diagonal of a Haar sample would have a mean far from zero.
    diagonal = [
        np.diagonal(sample(mlp([4, 4], "relu", 4.0, weights="orthogonal"), rng=i).parameters[0][0])
        for i in range(500)
    ]
    assert abs(np.mean(diagonal)) < 5 / np.sqrt(2000)


def test_the_same_seed_gives_the_same_network():
    net = NETWORKS["mixed"]
    a, b, c = (np.concatenate([w.ravel() for w, _ in sample(net, rng=seed).parameters]) for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32, np.dtype("float64")])
@each_network
def test_everything_keeps_the_dtype(net, dtype):
    one, X, _ = draw(net, dtype=dtype)
    assert one.dtype == np.dtype(dtype)
    assert all(a.dtype == one.dtype for pair in one.parameters for a in pair if a is not None)
    assert one(X).dtype == one.jvp(X, np.ones(one.n_parameters)).dtype == one.dtype
    assert one.vjp(X, np.ones((9, net.n_outputs))).dtype == one.dtype
    assert all(a.dtype == one.dtype for layer in one.activity(X) for a in layer)


@pytest.mark.parametrize("dtype", ["float16", "int64", "floaty", None, complex])
def test_other_dtypes_are_refused(dtype):
    if dtype is None:  # NumPy's spelling of float64
        assert sample(NETWORKS["linear"], dtype=None).dtype == np.float64
    else:
        with pytest.raises(ValueError, match="`dtype` must be one of float32, float64"):
            sample(NETWORKS["linear"], dtype=dtype)


def test_a_network_that_cannot_fit_is_refused(monkeypatch):
    with pytest.raises(
        MemoryError, match=r"would take .* GiB, but only .* narrower layers or dtype='float32'"
    ):
        sample(mlp([10**6, 10**7, 1], "relu"))
    monkeypatch.setattr(mfdnn._support.memory, "available_memory", lambda: float("inf"))
    mfdnn._support.memory.require_memory(1e30, "anything", "nothing")  # nothing known, nothing refused


def test_sample_wants_a_network():
    with pytest.raises(TypeError, match="`net` must be a Network, got list"):
        sample([3, 4, 1])


# -- outputs and Jacobian products -------------------------------------------------------------------------


def test_outputs_are_those_of_the_definition():
    one, X, _ = draw(NETWORKS["gaussian"])
    # Rounding of sums of eight terms.
    assert np.abs(one(X) - naive.forward(one.parameters, np.tanh, X)).max() < 1e-14


def test_a_residual_block_adds_the_scaled_input():
    net = Network(3, [Residual([Dense(3, 1.0, 0.5)], skip=0.5)])
    one, X, _ = draw(net)
    weight, bias = one.parameters[0]
    assert np.abs(one(X) - (0.5 * X + X @ weight.T + bias)).max() < 1e-14


@each_network
def test_jvp_and_vjp_are_adjoint(net):
    one, X, rng = draw(net)
    v, u = rng.standard_normal(one.n_parameters), rng.standard_normal((9, net.n_outputs))
    left, right = np.sum(u * one.jvp(X, v)), one.vjp(X, u) @ v
    assert left == pytest.approx(right, rel=1e-12, abs=1e-12)  # rounding


@each_network
def test_jvp_is_the_derivative(net):
    one, X, rng = draw(net)
    theta, v = one.flatten(one.parameters), rng.standard_normal(one.n_parameters)
    step = 1e-6

    def outputs(t):
        return SampledNetwork(net, one.unflatten(theta + t * v))(X)

    difference = (outputs(step) - outputs(-step)) / (2 * step)
    # Truncation step^2 |f'''|, rounding eps/step = 2e-10; f''' is of order 10 here.
    assert np.abs(one.jvp(X, v) - difference).max() < 1e-8 * max(1, np.abs(difference).max())


@pytest.mark.parametrize("name", ["gaussian", "linear", "one layer"])
def test_vjp_is_textbook_back_propagation(name):
    net = NETWORKS[name]
    one, X, _ = draw(net)
    phi = naive.phi("tanh" if name == "gaussian" else "linear")
    J = naive.backward_jacobian(one.parameters, phi, X)
    for t in range(9):
        for k in range(3):
            u = np.zeros((9, 3))
            u[t, k] = 1
            assert np.abs(one.vjp(X, u) - J[t, k]).max() < 1e-13


@each_network
def test_flatten_and_unflatten_are_inverse(net):
    one, X, rng = draw(net)
    v = rng.standard_normal(one.n_parameters)
    pairs = one.unflatten(v)
    assert np.array_equal(one.flatten(pairs), v)
    assert [None if a is None else a.shape for p in pairs for a in p] == [
        None if a is None else a.shape for p in one.parameters for a in p
    ]
    assert np.array_equal(one.jvp(X, pairs), one.jvp(X, v))


@each_network
def test_activity_is_consistent_with_the_gradient(net):
    one, X, _ = draw(net)
    layers = one.activity(X)
    for k in range(net.n_outputs):
        u = np.zeros((9, net.n_outputs))
        u[:, k] = 1
        gradient = one.unflatten(one.vjp(X, u))
        for layer, (weight, bias), (dw, db) in zip(layers, one.parameters, gradient, strict=True):
            assert np.abs(layer.delta[k].T @ layer.h - dw).max() < 1e-13
            assert db is None or np.abs(layer.delta[k].sum(axis=0) - db).max() < 1e-13
            assert np.abs(layer.u - layer.h @ weight.T - (0 if bias is None else bias)).max() < 1e-13


def test_activity_predicts_its_memory(monkeypatch):
    one, X, _ = draw(NETWORKS["gaussian"])
    monkeypatch.setattr(mfdnn._support.memory, "available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match="errors of 3 outputs at 9 samples would take"):
        one.activity(X)


def test_parameters_can_be_set():
    one, X, _ = draw(NETWORKS["gaussian"])
    other = sample(NETWORKS["gaussian"], rng=5)
    one.parameters = other.parameters
    assert np.array_equal(one(X), other(X))
    one.parameters[0][0][:] = 0.0
    assert not np.array_equal(one(X)[0], sample(NETWORKS["gaussian"], rng=5)(X)[0])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda p: p[:-1], ValueError, "must be .weight, bias. pairs of shapes"),
        (lambda p: [(p[0][0].T, p[0][1]), *p[1:]], ValueError, "one pair for every weight layer"),
        (lambda p: [(p[0][0], None), *p[1:]], ValueError, "one pair for every weight layer"),
        (lambda p: 3, ValueError, "one pair for every weight layer"),
        (lambda p: [(p[0][0] * np.nan, p[0][1]), *p[1:]], ValueError, "must be finite"),
        (lambda p: [(p[0][0] + 1j, p[0][1]), *p[1:]], TypeError, "real number"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(spoil, error, message):
    one, _, _ = draw(NETWORKS["gaussian"])
    with pytest.raises(error, match=message):
        one.parameters = spoil(one.parameters)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one, X: one(X[0]), "must be a matrix"),
        (lambda one, X: one(X[:, :4]), "4 features but the network takes 5"),
        (lambda one, X: one(X * np.nan), "`X` must be finite"),
        (lambda one, X: one.jvp(X, np.ones(3)), r"`v` must have shape \(135,\), got \(3,\)"),
        (lambda one, X: one.vjp(X, np.ones((9, 2))), r"`u` must have the shape of the outputs, \(9, 3\)"),
        (lambda one, X: one.jvp(X, one.parameters[:1]), "`v` must be .weight, bias. pairs"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    one, X, _ = draw(NETWORKS["gaussian"])
    with pytest.raises(ValueError, match=message):
        call(one, X)


# -- the whole spectrum ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_samples", [1, 4, 60])  # TC < P and TC > P
@each_network
def test_the_dual_has_the_eigenvalues_of_the_fisher_matrix(net, n_samples):
    one, X, _ = draw(net, n_samples)
    expected = dense_eigenvalues(one, X)
    found = fisher_spectrum(one, X)
    assert len(found.eigenvalues) == min(n_samples * net.n_outputs, one.n_parameters)
    assert np.all(np.abs(found.eigenvalues - expected) <= found.residuals)
    assert found.residuals[0] < 1e-12 * found.largest  # rounding of a matrix of at most 180 rows
    assert found.mean == pytest.approx(expected.sum() / one.n_parameters, rel=1e-12)
    assert found.second_moment == pytest.approx(np.sum(expected**2) / one.n_parameters, rel=1e-12)
    assert found.outlier_mean == pytest.approx(expected[: net.n_outputs].mean(), rel=1e-12)


def test_the_fisher_matrix_itself_has_these_eigenvalues():
    one, X, _ = draw(NETWORKS["gaussian"], 6)
    F = naive.fisher_matrix(naive.backward_jacobian(one.parameters, naive.phi("tanh"), X))
    expected = naive.eigenvalues(F)[: 6 * 3]
    found = fisher_spectrum(one, X)
    assert np.abs(found.eigenvalues - expected).max() < 1e-12 * found.largest


def test_no_jacobian_is_stored_and_memory_stays_below_five_dual_matrices():
    net = mlp([60, 80, 80, 5], "tanh", 1.5, 0.1)
    one, X, _ = draw(net, 200)
    fisher_spectrum(one, X[:3])  # imports
    tracemalloc.start()
    fisher_spectrum(one, X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    matrix, activations = 8 * (200 * 5) ** 2, 8 * 200 * (60 + 2 * 80 + 5 * (80 + 80 + 5) * 2)
    assert peak < 5 * matrix + activations
    assert peak < 8 * 1000 * one.n_parameters  # the Jacobian alone


def test_a_spectrum_that_cannot_fit_is_refused(monkeypatch):
    one, X, _ = draw(NETWORKS["gaussian"], 200)
    monkeypatch.setattr(mfdnn._support.memory, "available_memory", lambda: 5e5)
    with pytest.raises(MemoryError, match=r"pass k=.* for the largest eigenvalues only, or fewer samples"):
        fisher_spectrum(one, X)
    monkeypatch.setattr(mfdnn._support.memory, "available_memory", lambda: 1e5)
    with pytest.raises(MemoryError, match="pass fewer samples or a smaller k"):
        fisher_spectrum(one, X, k=3)


# -- the largest eigenvalues -------------------------------------------------------------------------------

TOP = {
    "outliers": mlp([40, 50, 50, 4], "relu", 2.0, 0.1),
    "ten outliers": mlp([30, 60, 60, 10], "tanh", 3.0, 0.64),
    "centred": mlp([40, 50, 50, 4], "tanh", 1.5, 0.0, bias=False),
    "residual": resnet([20, 30, 3], 2, "relu", 1.0, 0.1),
    "one output": mlp([40, 50, 1], "gelu", 2.0, 0.1),
}


@pytest.mark.parametrize("k", [1, 2, 10, 15])
@pytest.mark.parametrize("net", TOP.values(), ids=TOP.keys())
def test_the_top_is_that_of_the_whole(net, k, iterate):
    one, X, _ = draw(net, 60)
    whole, top = fisher_spectrum(one, X), fisher_spectrum(one, X, k=k)
    assert np.all(np.abs(top.eigenvalues - whole.eigenvalues[:k]) <= top.residuals)
    assert np.all(top.residuals <= 1e-5 * top.largest)
    assert top.mean == pytest.approx(whole.mean, rel=1e-12)
    assert top.second_moment == pytest.approx(whole.second_moment, rel=1e-12)


def test_a_centred_network_has_no_help_from_the_constants(iterate):
    # An odd network without bias at pairs +-x: the dual annihilates the constants the iteration starts from.
    one, X, _ = draw(TOP["centred"], 30)
    X = np.vstack([X, -X])
    constants = np.repeat(np.eye(4), 60, axis=0)
    assert np.abs(dual.Dual(Jacobian(one.linearise(X)), 4).product(constants)).max() < 1e-12
    whole, top = fisher_spectrum(one, X), fisher_spectrum(one, X, k=6)
    assert np.all(np.abs(top.eigenvalues - whole.eigenvalues[:6]) <= top.residuals)


@pytest.mark.parametrize("k", [1, 3, 8, 20])
@pytest.mark.parametrize(
    "net",
    [mlp([30, 8], "relu", 1.0, 0.1), mlp([30, 40, 8], "relu", [2.0, 0.0])],
    ids=["one layer", "read-out starts at zero"],
)
def test_every_copy_of_a_degenerate_eigenvalue_is_found(net, k, iterate):
    # The dual is the same matrix for each of 8 outputs: plain Lanczos finds one copy of each eigenvalue.
    one, X, _ = draw(net, 50)
    whole, top = fisher_spectrum(one, X), fisher_spectrum(one, X, k=k)
    assert np.ptp(whole.eigenvalues[:8]) < 1e-12 * whole.largest
    assert np.all(np.abs(top.eigenvalues - whole.eigenvalues[:k]) <= top.residuals)


def test_identical_eigenvalues_of_one_output(iterate):
    # Orthonormal inputs: the dual is a multiple of the identity, and any first vector converges at once.
    one = sample(mlp([40, 1], "linear", 1.0, bias=False), rng=0)
    top = fisher_spectrum(one, np.sqrt(40) * np.eye(40), k=5)
    assert np.allclose(top.eigenvalues, 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [("STORED_ERRORS", 0), ("WORTH_STORING", 0), ("ROWS", 7)],
    ids=["large", "many", "rows"],
)
@each_network
def test_all_paths_through_the_dual_agree(net, name, value, monkeypatch, iterate):
    one, X, _ = draw(net, 20)
    expected = fisher_spectrum(one, X)
    monkeypatch.setattr(dual, name, value)
    found, top = fisher_spectrum(one, X), fisher_spectrum(one, X, k=2)
    # Other orders of summation.
    assert np.abs(found.eigenvalues - expected.eigenvalues).max() < 1e-13 * expected.largest
    assert np.all(np.abs(top.eigenvalues - expected.eigenvalues[:2]) <= top.residuals)
    assert top.mean == pytest.approx(expected.mean, rel=1e-12)
    assert top.second_moment == pytest.approx(expected.second_moment, rel=1e-12)


def test_more_samples_than_units_take_the_factored_gram_matrix(iterate):
    one, X, _ = draw(NETWORKS["gaussian"], 100)  # 100 > 2 * 8
    top, whole = fisher_spectrum(one, X, k=3), fisher_spectrum(one, X)
    assert np.all(np.abs(top.eigenvalues - whole.eigenvalues[:3]) <= top.residuals)


class CentreBatch(Layer):
    """Subtract the mean over the batch: the simplest layer that couples samples."""

    couples_samples = True

    def forward(self, x, parameters, trace):
        return x - x.mean(axis=0)

    def pushforward(self, dx, parameters, tangents, trace):
        return None if dx is None else dx - dx.mean(axis=0)

    def backward(self, delta, parameters, trace, collected):
        return delta - delta.mean(axis=-2, keepdims=True)


@pytest.mark.parametrize("nested", [False, True])
def test_layers_that_couple_samples_use_jacobian_products(nested, iterate):
    centre = Residual([CentreBatch(), Dense(8, 1.0, 0.1)]) if nested else CentreBatch()
    net = Network(5, [Dense(8, 1.5, 0.1), centre, Pointwise("tanh"), Dense(2, 1.5, 0.1), CentreBatch()])
    one, X, _ = draw(net, 30)
    theta = one.flatten(one.parameters)
    J = naive.finite_difference_jacobian(lambda t: SampledNetwork(net, one.unflatten(t))(X).ravel(), theta)
    expected = naive.singular_values(J) ** 2 / 30
    found, top = fisher_spectrum(one, X), fisher_spectrum(one, X, k=3)
    assert np.abs(found.eigenvalues - expected[:60]).max() < 1e-8 * found.largest  # finite differences
    assert np.all(np.abs(top.eigenvalues - found.eigenvalues[:3]) <= top.residuals)
    assert top.mean == pytest.approx(found.mean, rel=1e-12)
    assert top.second_moment == pytest.approx(found.second_moment, rel=1e-12)


def test_residuals_are_those_of_explicit_products():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((80, 30))
    A = A @ A.T
    images = []

    def product(V):
        images.append(V)
        return A @ V

    values, norms = lanczos.largest_eigenvalues(product, rng.standard_normal((80, 2)), 4, 1e-3, 1000, 0.0)
    # Rayleigh-Ritz on everything that was multiplied, from scratch.
    Q = np.linalg.qr(np.hstack(images))[0]
    ritz, Y = np.linalg.eigh(Q.T @ A @ Q)
    V, ritz = (Q @ Y)[:, ::-1][:, :4], ritz[::-1][:4]
    assert np.abs(values - ritz).max() < 1e-12 * ritz[0]
    assert np.abs(norms - np.linalg.norm(A @ V - V * ritz, axis=0)).max() < 1e-11 * ritz[0]


def test_the_iteration_restarts(monkeypatch):
    monkeypatch.setattr(lanczos, "BASIS", 0)  # as few vectors as it can do with
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((400, 400)))[0]
    exact = np.linspace(1, 0, 400) ** 0.5  # gaps of 1e-3: many steps
    values, norms = lanczos.largest_eigenvalues(
        lambda V: Q @ (exact[:, None] * (Q.T @ V)), rng.standard_normal((400, 1)), 2, 1e-8, 1000, 0.0
    )
    assert np.abs(values - exact[:2]).max() <= norms.max() + 1e-14


@pytest.mark.parametrize("name", ["outliers", "centred", "ten outliers"])
def test_float32_is_close_to_float64(name):
    single, X, _ = draw(TOP[name], 60, dtype="float32")
    double = SampledNetwork(
        TOP[name], [(w.astype(float), None if b is None else b.astype(float)) for w, b in single.parameters]
    )
    X = X.astype(np.float32)
    for k in (None, 5):
        a, b = fisher_spectrum(single, X, k=k), fisher_spectrum(double, X, k=k)
        assert np.all(np.abs(a.eigenvalues - b.eigenvalues) <= a.residuals + b.residuals)
        assert a.residuals.max() < 1e-3 * a.largest
        # Sums over 60 x 200 products of numbers rounded to 6e-8.
        assert a.mean == pytest.approx(b.mean, rel=1e-5)
        assert a.second_moment == pytest.approx(b.second_moment, rel=1e-5)


def test_the_answer_does_not_depend_on_the_state_of_a_generator():
    one, X, _ = draw(TOP["outliers"], 100)
    first = fisher_spectrum(one, X, k=2).eigenvalues
    np.random.default_rng(3).standard_normal(5)
    assert np.array_equal(fisher_spectrum(one, X, k=2).eigenvalues, first)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, ValueError, "`k` must be an integer >= 1"),
        ({"k": 28}, ValueError, r"`k` must be at most min\(TC, P\) = 27, got 28"),
        ({"k": 1.5}, TypeError, "`k` must be an integer"),
        ({"k": 2, "tol": 0.0}, ValueError, "`tol` must be > 0"),
        ({"k": 2, "tol": np.nan}, ValueError, "`tol` must be finite"),
    ],
)
def test_wrong_arguments_of_the_spectrum_are_named(arguments, error, message):
    one, X, _ = draw(NETWORKS["gaussian"])
    with pytest.raises(error, match=message):
        fisher_spectrum(one, X, **arguments)


def test_a_spectrum_needs_a_sampled_network_and_inputs():
    one, X, _ = draw(NETWORKS["gaussian"])
    with pytest.raises(TypeError, match=r"draw one with mfdnn\.sample"):
        fisher_spectrum(NETWORKS["gaussian"], X)
    with pytest.raises(ValueError, match="must be a matrix"):
        fisher_spectrum(one, X[0])


@pytest.mark.parametrize("k", [1, 3])
def test_no_convergence_is_an_error_that_says_what_to_change(k, iterate):
    one, X, _ = draw(TOP["centred"], 60)
    with pytest.raises(ArithmeticError, match="raise `tol` or `max_products`, ask for fewer"):
        fisher_spectrum(one, X, k=k, max_products=6)
    one, X, _ = draw(TOP["centred"], 60, dtype="float32")
    with pytest.raises(ArithmeticError, match="sample with dtype='float64'"):
        fisher_spectrum(one, X, k=k, tol=1e-12, max_products=100)


def test_overflow_is_named():
    one = sample(mlp([5, 6, 2], "linear", 1e60), rng=0, dtype="float32")
    one.parameters = [(np.float32(1e30) * np.ones_like(w), b) for w, b in one.parameters]
    with np.errstate(over="ignore", invalid="ignore"):
        with pytest.raises(ValueError, match="overflow float32 at these inputs"):
            fisher_spectrum(one, np.ones((4, 5)))
        one.parameters = [(np.float32(2e18) * np.ones_like(w), b) for w, b in one.parameters]
        for k in (None, 1):
            with pytest.raises(ArithmeticError, match="gradients of `one` overflow"):
                fisher_spectrum(one, np.ones((200, 5)), k)


# -- the result --------------------------------------------------------------------------------------------


def test_the_result_is_short_in_print_whole_as_dictionary_and_light_as_pickle():
    one, X, _ = draw(TOP["outliers"], 100)
    top = fisher_spectrum(one, X, k=2)
    assert repr(top).startswith("FisherSpectrum(largest=")
    assert len(repr(top)) < 120
    with pytest.raises(ValueError, match="call fisher_spectrum with k=4 or more"):
        _ = top.outlier_mean
    as_dict = json.loads(json.dumps(top.to_dict()))
    assert as_dict["outlier_mean"] is None
    assert as_dict["largest"] == top.largest == top.eigenvalues[0]
    assert as_dict["second_moment"] == top.second_moment
    fresh = fisher_spectrum(one, X, k=2)
    data = pickle.dumps(fresh)
    assert len(data) < 2000  # numbers only, although the moment had not been read
    assert pickle.loads(data).second_moment == top.second_moment


def test_the_second_moment_is_that_of_the_parameters_at_the_time():
    one, X, _ = draw(TOP["outliers"], 100)
    top, expected = fisher_spectrum(one, X, k=2), fisher_spectrum(one, X).second_moment
    one.parameters = [(2 * w, b) for w, b in one.parameters]
    assert top.second_moment == pytest.approx(expected, rel=1e-12)


# -- softmax -----------------------------------------------------------------------------------------------

CLASSIFIERS = {
    "tanh": mlp([5, 8, 7, 3], "tanh", 3.0, 0.5),
    "no bias": mlp([5, 8, 4], "relu", 2.0, bias=False),
    "fewer parameters": mlp([2, 3], sigma_w2=1.0),
    "residual": resnet([5, 6, 2], 2, "tanh", skip=0.5),
    "couples samples": Network(5, [Dense(8, 1.5, 0.1), BatchNorm(), Pointwise("tanh"), Dense(3, 1.5, 0.1)]),
}


def dense_softmax_eigenvalues(one, X):
    """All eigenvalues of F_cross that may be non-zero, from the dense Jacobian and the definition."""
    outputs = one(X)
    J = jacobian(one, X).reshape(*outputs.shape, -1)
    rank = min(len(X) * (outputs.shape[1] - 1), one.n_parameters)
    return naive.eigenvalues(naive.softmax_fisher_matrix(J, outputs))[:rank]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_softmax_spectrum_is_that_of_the_dense_matrix(name, iterate):
    one, X, _ = draw(CLASSIFIERS[name], 12)
    expected = dense_softmax_eigenvalues(one, X)
    found = fisher_spectrum(one, X, output="softmax")
    assert found.eigenvalues.shape == found.residuals.shape == expected.shape
    assert np.abs(found.eigenvalues - expected).max() < 1e-12 * expected[0]
    assert found.mean == pytest.approx(expected.sum() / one.n_parameters, rel=1e-12)
    assert found.second_moment == pytest.approx(expected @ expected / one.n_parameters, rel=1e-12)
    k = min(4, len(expected))
    top = fisher_spectrum(one, X, k=k, output="softmax", tol=1e-9)
    assert np.all(np.abs(top.eigenvalues - expected[:k]) <= top.residuals)
    assert top.mean == pytest.approx(found.mean, rel=1e-12)
    assert top.second_moment == pytest.approx(found.second_moment, rel=1e-12)
    assert found.n_outliers == one.network.n_outputs - 1
    assert found.outlier_mean == pytest.approx(expected[: found.n_outliers].mean(), rel=1e-12)


def test_softmax_without_stored_errors_and_in_float32(monkeypatch, iterate):
    one, X, _ = draw(CLASSIFIERS["tanh"], 12)
    stored = [fisher_spectrum(one, X, k=k, output="softmax", tol=1e-9) for k in (None, 3)]
    single = SampledNetwork(
        one.network, [tuple(a.astype(np.float32) for a in pair) for pair in one.parameters]
    )
    in_single = fisher_spectrum(single, X, output="softmax").eigenvalues
    assert (
        np.abs(in_single - stored[0].eigenvalues).max() < 1e-5 * stored[0].largest
    )  # 100 times its rounding
    monkeypatch.setattr(dual, "STORED_ERRORS", 0)
    for k, before in zip((None, 3), stored, strict=True):
        again = fisher_spectrum(one, X, k=k, output="softmax", tol=1e-9)
        assert np.abs(again.eigenvalues - before.eigenvalues).max() <= before.residuals.max()
        assert again.second_moment == pytest.approx(before.second_moment, rel=1e-12)


def test_softmax_of_certain_outputs_has_no_curvature(iterate):
    one = SampledNetwork(mlp([2, 3], bias=False), [(np.array([[9e3, 0.0], [0.0, 9e3], [-9e3, -9e3]]), None)])
    X = np.eye(2)[[0, 1, 0, 1]]
    for k in (None, 2):
        found = fisher_spectrum(one, X, k=k, output="softmax")
        assert found.largest == found.mean == found.second_moment == 0.0


def test_softmax_needs_two_outputs():
    one, X, _ = draw(mlp([5, 8, 1], "tanh"), 4)
    with pytest.raises(ValueError, match="`output` = softmax needs two outputs or more, got 1"):
        fisher_spectrum(one, X, output="softmax")
    with pytest.raises(ValueError, match="`output` must be one of linear, softmax"):
        fisher_spectrum(one, X, output="softmx")
    one, X, _ = draw(CLASSIFIERS["tanh"], 4)
    with pytest.raises(ValueError, match=r"`k` must be at most min\(T\(C - 1\), P\) = 8, got 9"):
        fisher_spectrum(one, X, k=9, output="softmax")


def test_inputs_of_the_same_seed_are_independent_of_the_network():
    """Drawn from one stream, they would be the first weights but for their scale."""
    one = mfdnn.sample(mfdnn.mlp([100, 100, 1], "tanh"), rng=0)
    X = np.random.default_rng(0).standard_normal((100, 100))
    overlap = np.corrcoef(one.parameters[0][0].ravel(), X.ravel())[0, 1]
    assert abs(overlap) < 4 / 100  # four standard errors of 10^4 numbers

"""The protocol: whatever serves Jacobian products gets spectra, kernels and curvature."""

import numpy as np
import pytest

import mfdnn
from mfdnn.training.curvature import LargestEigenvalue

T, C, P = 5, 3, 8


class Bare:
    """f_k(x) = sum_p A_kp(x) theta_p + (B_k(x) . theta)^2: a model with an explicit Jacobian; inputs are a dict."""

    n_parameters, couples_samples = P, False

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.A, self.B = rng.standard_normal((2, C, P, 2))
        self.theta = rng.standard_normal(P)

    def __call__(self, X):
        return self.linearise(X).outputs

    def linearise(self, X):
        A, B = (np.einsum("kpi,ti->tkp", a, X["features"]) for a in (self.A, self.B))
        along = B @ self.theta
        return Point(X, A @ self.theta + along**2, A + 2 * along[:, :, None] * B)


class Point:
    def __init__(self, inputs, outputs, J):
        self.inputs, self.outputs, self.J = inputs, outputs, J

    def jvp(self, v):
        return self.J @ v

    def vjp(self, u):
        return np.einsum("tkp,tk->p", self.J, u)


class WithGram(Bare):
    """Dense matrices need no product."""

    def linearise(self, X):
        point = super().linearise(X)
        point.jvp = None
        return point

    def gram(self, X):
        rows = rows_of(super().linearise(X))
        return rows @ rows.T


def rows_of(point):
    """J (C T, P), output by output."""
    return point.J.swapaxes(0, 1).reshape(-1, P)


@pytest.fixture
def X():
    return {"features": np.random.default_rng(1).standard_normal((T, 2))}


@pytest.mark.parametrize("kind", [Bare, WithGram])
def test_dense_spectrum_and_kernel(kind, X):
    one, rows = kind(), rows_of(Bare().linearise(X))
    expected = np.linalg.eigvalsh(rows.T @ rows / T)[::-1]
    found = mfdnn.fisher_spectrum(one, X)
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-13 * expected[0])
    assert np.abs(found.eigenvalues - expected).max() <= found.residuals.max()
    assert (found.n_parameters, found.n_samples, found.n_outputs, found.n_outliers) == (P, T, C, C)
    assert found.mean == pytest.approx(expected.sum() / P, rel=1e-13)
    assert found.second_moment == pytest.approx(expected @ expected / P, rel=1e-13)
    np.testing.assert_allclose(mfdnn.empirical_ntk(one, X), rows @ rows.T, atol=1e-13 * T * expected[0])
    assert mfdnn.fisher_spectrum(one, X, k=2).largest == pytest.approx(expected[0], rel=1e-13)


@pytest.mark.parametrize("kind", [Bare, WithGram])
def test_softmax_spectrum(kind, X):
    one, point = kind(), Bare().linearise(X)
    p = np.exp(point.outputs) / np.exp(point.outputs).sum(axis=1, keepdims=True)
    Q = [np.diag(row) - np.outer(row, row) for row in p]
    F = sum(J.T @ q @ J for J, q in zip(point.J, Q, strict=True)) / T
    found = mfdnn.fisher_spectrum(one, X, output="softmax").eigenvalues
    np.testing.assert_allclose(found, np.linalg.eigvalsh(F)[::-1], atol=1e-13 * found[0])


def test_iterations_eigenvectors_and_curvature(X, monkeypatch):
    monkeypatch.setattr("mfdnn.sampled.eigenpairs.SMALL", 0)
    monkeypatch.setattr("mfdnn.training.curvature.SMALL", 0)
    one, rows = Bare(), rows_of(Bare().linearise(X))
    F = rows.T @ rows / T
    top = mfdnn.fisher_spectrum(one, X, k=3, eigenvectors=True, tol=1e-9)
    np.testing.assert_allclose(top.eigenvalues, np.linalg.eigvalsh(F)[::-1][:3], rtol=1e-10)
    np.testing.assert_allclose(
        F @ top.eigenvectors, top.eigenvectors * top.eigenvalues, atol=1e-6 * top.largest
    )
    assert top.mean == pytest.approx(np.trace(F) / P, rel=1e-12)
    assert top.principal_angles.shape == (C,)
    assert LargestEigenvalue()(one.linearise(X)) == pytest.approx(top.largest, rel=1e-7)


def test_duality_with_the_kernel(X):
    one = Bare()
    mu, U = np.linalg.eigh(mfdnn.empirical_ntk(one, X))
    values, V = mfdnn.fisher_from_ntk(one, X, mu[-P:], U[:, -P:])
    np.testing.assert_allclose(values[::-1], mfdnn.fisher_spectrum(one, X).eigenvalues, rtol=1e-10)
    back, W = mfdnn.ntk_from_fisher(one, X, values, V)
    np.testing.assert_allclose(back, mu[-P:])
    np.testing.assert_allclose(W, U[:, -P:], atol=1e-10)


def test_norm_of_the_parameters_where_it_says_them(X):
    one = Bare()
    with pytest.raises(TypeError, match=r"`one` must have `parameters`, a vector \(8,\), got Bare without"):
        mfdnn.squared_fisher_rao_norm(one, X)
    one.parameters = one.theta
    rows = rows_of(one.linearise(X))
    expected = one.theta @ rows.T @ rows @ one.theta / T
    assert mfdnn.squared_fisher_rao_norm(one, X) == pytest.approx(expected, rel=1e-13)


def test_a_network_behind_the_protocol_has_the_same_spectrum():
    network = mfdnn.sample(mfdnn.mlp([4, 20, 2], "tanh", 1.5, 0.1), rng=0, dtype="float32")
    X = np.random.default_rng(1).standard_normal((6, 4))

    class Behind:
        n_parameters, couples_samples, dtype = network.n_parameters, network.couples_samples, network.dtype
        __call__ = staticmethod(network)

        def linearise(self, X):
            linear = network.linearise(X)
            return type(
                "Only", (), {name: getattr(linear, name) for name in ("inputs", "outputs", "jvp", "vjp")}
            )

    found, expected = mfdnn.fisher_spectrum(Behind(), X), mfdnn.fisher_spectrum(network, X)
    assert np.abs(found.eigenvalues - expected.eigenvalues).max() < 1e-6 * expected.largest  # of float32
    found = mfdnn.fisher_spectrum(Behind(), X, k=2, eigenvectors=True)
    assert found.eigenvectors.dtype == np.float32


@pytest.mark.parametrize(
    ("measure", "error", "message"),
    [
        (
            lambda one, X: mfdnn.fisher_spectrum(one, X, layer=0),
            ValueError,
            "`layer` needs the layers of a Sampled",
        ),
        (
            lambda one, X: mfdnn.empirical_ntk(one, X, parameterisation="ntk"),
            ValueError,
            "`parameterisation` = ntk needs the layers of a SampledNetwork, got Bare, which serves Jacobian products",
        ),
        (
            lambda one, X: mfdnn.feature_spectrum(one, X),
            TypeError,
            "`one` must be a SampledNetwork, whose weight",
        ),
        (
            lambda one, X: mfdnn.train(one, X, X, 0.1, 1),
            TypeError,
            "`one` must be a SampledNetwork, got Bare",
        ),
        (
            lambda one, X: mfdnn.fisher_spectrum(one, X, k=9),
            ValueError,
            r"`k` must be at most min\(TC, P\) = 8, got 9",
        ),
        (
            lambda one, X: mfdnn.fisher_spectrum(one, X, parameterisation="nkt"),
            ValueError,
            "`parameterisation` must be one of standard, ntk",
        ),
    ],
)
def test_what_needs_layers_says_so(measure, error, message, X):
    with pytest.raises(error, match=message):
        measure(Bare(), X)


@pytest.mark.parametrize(
    "one", [None, Bare, mfdnn.mlp([2, 1]), lambda X: X], ids=["none", "class", "net", "function"]
)
def test_what_serves_nothing_is_refused(one, X):
    with pytest.raises(
        TypeError, match=r"or serve its protocol \(`mfdnn.sampled.Operator`\), got .*draw one with"
    ):
        mfdnn.fisher_spectrum(one, X)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "jvp",
            lambda v: np.zeros((C, T)),
            r"`jvp` of `one` must return an array of shape \(5, 3\), got \(3, 5\)",
        ),
        ("vjp", lambda u: np.zeros(2), r"`vjp` of `one` must return an array of shape \(8,\), got \(2,\)"),
        ("outputs", np.zeros(T), r"`one` must have outputs of shape \(T, C\), got \(5,\)"),
        ("outputs", np.ones((T, C)) * 1j, "`outputs` of `one` must be real, got complex128"),
        ("jvp", lambda v: np.ones((T, C)) * 1j, "`jvp` of `one` must be real, got complex128"),
        ("outputs", np.full((T, C), np.inf), "The outputs of `one` overflow float64 at these inputs"),
    ],
)
def test_shapes_that_do_not_fit_are_named(name, value, message, X):
    class Broken(Bare):
        def linearise(self, X):
            point = super().linearise(X)
            setattr(point, name, value)
            return point

    with pytest.raises(ValueError, match=message):
        mfdnn.empirical_ntk(Broken(), X)


def test_a_gram_matrix_that_does_not_fit_is_named(X):
    one = WithGram()
    one.gram = lambda X: np.zeros((2, 2))
    with pytest.raises(
        ValueError, match=r"`gram` of `one` must return an array of shape \(15, 15\), got \(2, 2\)"
    ):
        mfdnn.empirical_ntk(one, X)
    whole = WithGram().gram(X)
    one.gram = lambda X: np.tril(whole)
    with pytest.raises(ValueError, match="`gram` of `one` must return a symmetric matrix"):
        mfdnn.fisher_spectrum(one, X)


def test_memory_is_predicted(X, monkeypatch):
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 2000.0)
    for one in (Bare(), WithGram()):
        with pytest.raises(MemoryError, match="the spectrum of 3 outputs at 5 samples would take"):
            mfdnn.fisher_spectrum(one, X)


def test_a_sampled_network_serves_the_protocol():
    one = mfdnn.sample(mfdnn.Network(3, [mfdnn.Dense(4), mfdnn.BatchNorm()]), rng=0)
    assert one.couples_samples
    assert not mfdnn.sample(mfdnn.mlp([3, 2]), rng=0).couples_samples
    linear = one.linearise(np.random.default_rng(0).standard_normal((6, 3)))
    assert linear.inputs.shape == (6, 3)
    assert linear.jvp(np.ones(one.n_parameters)).shape == linear.outputs.shape == (6, 4)
    assert linear.vjp(linear.outputs).shape == (one.n_parameters,)

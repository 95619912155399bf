"""Functions linear in their parameters: first-order expansions, multiples, random functions; all of them trained."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.kernels.dynamics import modes_of
from mfdnn.kernels.paths import Optimiser, SquaredErrors
from mfdnn.losses import loss_scale
from mfdnn.sampled import RandomFunctions, linearised, rescaled

OPTIMISERS = {"plain": (0.0, False), "heavy ball": (0.8, False), "Nesterov": (0.8, True)}
NETWORKS = {
    "tanh": mfdnn.mlp([4, 9, 8, 2], "tanh", 1.5, 0.1),
    "residual": mfdnn.resnet([4, 6, 2], 2, "gelu", skip=0.5),
    "batch norm": mfdnn.Network(4, [mfdnn.Dense(6), mfdnn.BatchNorm(), mfdnn.Pointwise("tanh"), mfdnn.Dense(2)]),
}


def draw(name="tanh", n_samples=5, dtype="float64"):
    X, Y = gaussian_inputs(n_samples, 4, rng=1), np.random.default_rng(2).standard_normal((n_samples, 2))
    return mfdnn.sample(NETWORKS[name], rng=0, dtype=dtype), X, Y


# -- the expansion ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_first_order_expansion_exactly(name):
    one, X, _ = draw(name)
    line, v = linearised(one), np.random.default_rng(3).standard_normal(one.n_parameters)
    np.testing.assert_array_equal(line(X), one(X))
    moved = line.at(line.vector + 3 * v)
    np.testing.assert_allclose(moved(X), one(X) + 3 * one.jvp(X, v), rtol=0, atol=1e-12)
    near = one.at(one.vector + 1e-5 * v)(X)  # to second order in 1e-5, times second derivatives
    np.testing.assert_allclose(line.at(line.vector + 1e-5 * v)(X), near, rtol=0, atol=1e-6)
    u = np.ones((5, 2))
    np.testing.assert_array_equal(moved.linearise(X).vjp(u), one.vjp(X, u))
    assert moved.couples_samples == one.couples_samples


def test_kernel_and_spectrum_are_those_of_the_network_wherever_it_is():
    one, X, _ = draw()
    moved = linearised(one).at(np.ones(one.n_parameters))
    np.testing.assert_array_equal(mfdnn.empirical_ntk(moved, X), mfdnn.empirical_ntk(one, X))
    found, expected = mfdnn.fisher_spectrum(moved, X, k=3), mfdnn.fisher_spectrum(one, X, k=3)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kernel_between_two_batches_is_that_of_their_gradients(name):
    one, X, _ = draw(name)
    others = gaussian_inputs(7, 4, rng=4)

    def jacobian(x):
        return np.array([one.vjp(x, e.reshape(2, -1).T) for e in np.eye(2 * len(x))])

    for found in (mfdnn.empirical_ntk(one, X, others), mfdnn.empirical_ntk(linearised(one), X, others)):
        np.testing.assert_allclose(found, jacobian(X) @ jacobian(others).T, rtol=0, atol=1e-11)
    if one.couples_samples:
        return
    # A part of the kernel of both, in whatever units and of whatever layer.
    rows, columns = np.arange(24).reshape(2, 12)[:, :5].ravel(), np.arange(24).reshape(2, 12)[:, 5:].ravel()
    for options in ({"parameterisation": "ntk"}, {"layer": 1}, {"parameterisation": "ntk", "layer": 0}):
        both = mfdnn.empirical_ntk(one, np.concatenate([X, others]), **options)
        found = mfdnn.empirical_ntk(one, X, others, **options)
        np.testing.assert_allclose(found, both[np.ix_(rows, columns)], rtol=0, atol=1e-12 * np.abs(both).max())


def test_outputs_at_other_inputs_follow_the_kernel_between():
    """f(x') = f_0(x') + Theta(x', X) A, whatever the outputs do to one another."""
    one, X, Y = draw()
    others, theta = gaussian_inputs(3, 4, rng=4), mfdnn.empirical_ntk(one, X)
    columns = [a.T.reshape(-1, 1) for a in (Y, one(X))]
    path = SquaredErrors(modes_of(theta / 5), *columns, 1 / 5, Optimiser(0.05, 0.5))
    run = mfdnn.train(linearised(one), X, Y, 0.05, 12, momentum=0.5)
    moved = mfdnn.empirical_ntk(one, others, X) @ path.coefficients(np.array([12.0]))[0]
    np.testing.assert_allclose(run.trained(others), one(others) + moved.reshape(2, 3).T, rtol=0, atol=1e-11)


def test_a_network_set_to_other_parameters_later_does_not_move_its_expansion():
    one, X, _ = draw()
    line, before = linearised(one), one(X)
    one.parameters = one.unflatten(np.zeros(one.n_parameters))
    np.testing.assert_array_equal(line(X), before)
    one.parameters[0][0][:] = 7.0
    np.testing.assert_array_equal(line(X), before)


@pytest.mark.parametrize("loss", ["half_mse", "torch_mse", "cross_entropy"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_its_training_is_that_by_the_empirical_kernel(optimiser, loss):
    momentum, nesterov = OPTIMISERS[optimiser]
    one, X, Y = draw()
    labels = np.eye(2)[np.arange(5) % 2]
    Y = labels if loss == "cross_entropy" else Y
    theta = mfdnn.empirical_ntk(one, X)
    rate = 0.3 / np.linalg.eigvalsh(theta)[-1] * 5
    options = {"loss": loss, "momentum": momentum, "nesterov": nesterov}
    run = mfdnn.train(linearised(one), X, Y, rate, 25, **options)
    optimiser = Optimiser(rate, momentum, nesterov)
    if loss == "cross_entropy":
        f = iterated_cross_entropy(theta, Y, one(X), optimiser, 25)
    else:
        # Outputs in the order of the kernel, output by output, as samples of one output.
        scale = loss_scale(loss, 2, 5) / 5
        columns = [a.T.reshape(-1, 1) for a in (Y, one(X))]
        path = SquaredErrors(modes_of(scale * theta), *columns, scale, optimiser)
        f = path.outputs(np.array([25.0]))[0].reshape(2, 5).T
        assert run.losses == pytest.approx(path.losses(np.arange(26.0)), rel=1e-10)
    np.testing.assert_allclose(run.trained(X), f, rtol=0, atol=1e-10)


def iterated_cross_entropy(theta, labels, f_0, optimiser, n_steps):
    """Step by step, outputs coupled by the whole kernel."""
    rate, momentum, nesterov = optimiser
    f, velocity = f_0.copy(), np.zeros_like(f_0)
    for _ in range(n_steps):
        p = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
        gradient = rate * (p - labels) / len(f)
        velocity = momentum * velocity + gradient
        step = gradient + momentum * velocity if nesterov else velocity
        f = f - (theta @ step.T.ravel()).reshape(2, -1).T
    return f


def test_one_output_is_trained_as_kernel_training_says_of_its_kernel():
    """The public function knows infinite width; its mathematics, given the drawn kernel, is exact for the expansion."""
    net = mfdnn.mlp([4, 30, 1], "tanh", 1.5, 0.1)
    one, X = mfdnn.sample(net, rng=0), gaussian_inputs(6, 4, rng=1)
    y, theta = np.sin(X[:, :1]), mfdnn.empirical_ntk(one, X)
    path = SquaredErrors(modes_of(theta / 6), y, one(X), 1 / 6, Optimiser(0.05, 0.9))
    run = mfdnn.train(linearised(one), X, y, 0.05, 40, momentum=0.9)
    np.testing.assert_allclose(run.losses, path.losses(np.arange(41.0)), rtol=1e-10)
    np.testing.assert_allclose(run.trained(X), path.outputs(np.array([40.0]))[0], rtol=0, atol=1e-10)
    moved = run.trained.vector - one.vector  # J^T A, the parameters that make the coefficients of the kernel
    np.testing.assert_allclose(moved, one.vjp(X, path.coefficients(np.array([40.0]))[0]), rtol=0, atol=1e-10)


def test_single_precision_and_mini_batches_and_records_work_as_for_networks():
    one, X, Y = draw(dtype="float32")
    run = mfdnn.train(linearised(one), X, Y, 0.01, 6, batch_size=2, rng=0, record_every=3, weight_decay=0.1)
    assert run.trained.vector.dtype == np.float32 and run.steps.tolist() == [0, 3, 6]
    assert run.lambda_max == pytest.approx(run.lambda_max[0])  # it does not change
    first, last = run.trained.at(one.vector), run.trained
    assert run.distance[-1] == pytest.approx(np.linalg.norm(last.vector - first.vector), rel=1e-5)


def test_a_function_of_ones_own_is_expanded_around_what_is_called_zero():
    class Own:
        n_parameters, couples_samples = 2, False

        def __call__(self, X):
            return self.linearise(X).outputs

        def linearise(self, X):
            return Features(X)

    class Features:
        def __init__(self, X):
            self.inputs, self.outputs = X, np.ones((len(X), 1))

        def jvp(self, v):
            return self.inputs @ v[:, None]

        def vjp(self, u):
            return self.inputs.T @ u[:, 0]

    X = np.eye(2)
    line = linearised(Own())
    np.testing.assert_array_equal(line.at([1.0, 2.0])(X), [[2.0], [3.0]])
    run = mfdnn.train(line, X, np.zeros((2, 1)), 0.5, 200)
    np.testing.assert_allclose(run.trained.vector, [-1, -1], rtol=0, atol=1e-9)
    with pytest.raises(TypeError, match=r"`one` must be a SampledNetwork, got Own; .* with `vector` and `at`"):
        mfdnn.train(Own(), X, np.zeros((2, 1)), 0.5, 2)
    with pytest.raises(TypeError, match="`one` must have `vector` and `at`, to be moved, got Own"):
        rescaled(Own(), 2.0)
    with pytest.raises(TypeError, match="`one` must be a SampledNetwork, or serve its protocol"):
        linearised("network")
    with pytest.raises(ValueError, match="`vector` must have shape"):
        line.at(np.ones(3))


# -- output scale ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [False, True])
def test_a_rescaled_network_is_a_multiple(centred):
    one, X, Y = draw()
    large = rescaled(one, 10.0, centred=centred)
    np.testing.assert_array_equal(large(X), 0 * one(X) if centred else 10 * one(X))
    np.testing.assert_allclose(mfdnn.empirical_ntk(large, X), 100 * mfdnn.empirical_ntk(one, X), rtol=1e-9, atol=1e-9)
    moved = large.at(one.vector + 0.1)
    expected = 10 * (one.at(one.vector + 0.1)(X) - centred * one(X))
    np.testing.assert_allclose(moved(X), expected, rtol=0, atol=1e-12)
    run = mfdnn.train(large, X, Y, 0.02 / 100, 1)
    gradient = one.vjp(X, 10 * (large(X) - Y) / 5)
    np.testing.assert_allclose(run.trained.vector, one.vector - 0.02 / 100 * gradient, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="`alpha` must be > 0"):
        rescaled(one, 0.0)


def test_a_large_scale_makes_training_linear_and_parameters_rest():
    """Both deviations are of order 1/alpha."""
    one, X, Y = draw()
    gaps, movements = [], []
    for alpha in (10.0, 100.0):
        start = rescaled(one, alpha, centred=True)
        run, line = (mfdnn.train(f, X, Y, 0.02 / alpha**2, 30).trained for f in (start, linearised(start)))
        gaps.append(np.linalg.norm(run(X) - line(X)))
        movements.append(np.linalg.norm(run.vector - start.vector))
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1) and movements[0] / movements[1] == pytest.approx(10, rel=0.1)


# -- random functions ------------------------------------------------------------------------------------------


def waves(n, rng):
    """Two outputs each."""
    return [lambda X, w=w: np.sin(X @ w) for w in rng.standard_normal((n, 3, 2))]


def test_the_kernel_of_random_functions_is_their_mean_product_whatever_the_parameters():
    rng, X = np.random.default_rng(0), gaussian_inputs(4, 3, rng=1)
    functions = waves(7, rng)
    model = RandomFunctions(functions, rng.standard_normal(7))
    values = np.array([f(X) for f in functions])
    np.testing.assert_allclose(model(X), np.tensordot(model.vector, values, 1) / np.sqrt(7), rtol=0, atol=1e-14)
    expected = np.einsum("psk,ptj->kstj", values, values).transpose(0, 1, 3, 2).reshape(8, 8) / 7
    theta = mfdnn.empirical_ntk(model, X)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-14)
    jacobian = np.array([model.linearise(X).vjp(e.reshape(4, 2, order="F")) for e in np.eye(8)])
    np.testing.assert_allclose(theta, jacobian @ jacobian.T, rtol=0, atol=1e-14)
    v = rng.standard_normal(7)
    np.testing.assert_allclose(model.linearise(X).jvp(v).T.ravel(), jacobian @ v, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(mfdnn.empirical_ntk(model.at(v), X), theta)


def test_their_training_is_kernel_descent():
    X, y = gaussian_inputs(4, 3, rng=1), np.ones((4, 1))
    functions = [lambda X, f=f: f(X)[:, 0] for f in waves(20, np.random.default_rng(0))]
    model = RandomFunctions(functions)
    path = SquaredErrors(modes_of(mfdnn.empirical_ntk(model, X) / 4), y, np.zeros((4, 1)), 1 / 4, Optimiser(0.5))
    run = mfdnn.train(model, X, y, 0.5, 30)
    np.testing.assert_allclose(run.losses, path.losses(np.arange(31.0)), rtol=1e-11)


def test_of_random_networks_it_tends_to_the_kernel_of_infinite_width():
    net, X = mfdnn.mlp([4, 50, 1], "tanh", 2.0, 0.1), gaussian_inputs(3, 4, rng=1)
    model = RandomFunctions([mfdnn.sample(net, rng=i) for i in range(400)])
    K = mfdnn.nngp(net, X)
    scatter = np.sqrt((np.outer(np.diag(K), np.diag(K)) + K**2) / 400)  # of products of Gaussian outputs
    assert np.all(np.abs(mfdnn.empirical_ntk(model, X) - K) < 5 * scatter)


def test_random_functions_that_do_not_fit_are_refused():
    X = np.ones((4, 3))
    for functions in ([], [1, 2]):
        with pytest.raises(TypeError, match="`functions` must be a list of functions"):
            RandomFunctions(functions)
    with pytest.raises(ValueError, match="`vector` must have an entry for each of 1 functions"):
        RandomFunctions([np.sum], [1.0, 2.0])
    for functions in ([lambda X: X.sum()], [lambda X: X, lambda X: X[:, 0]], [lambda X: X[:2]]):
        with pytest.raises(ValueError, match="`functions` must all return an array"):
            RandomFunctions(functions)(X)

"""Training by the kernel: against steps made one by one, matrix exponentials, draws, and networks that are trained."""

import json
import pickle

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import mfdnn
from mfdnn.kernels import dynamics, kernel_training, paths
from mfdnn.losses import loss_scale, stability_limit
from mfdnn.losses.values import loss_and_slope

NET = mfdnn.mlp([3, 40, 40, 2], "erf", sigma_w2=2.0, sigma_b2=0.1)
OPTIMISERS = {"plain": (0.0, False), "heavy ball": (0.8, False), "Nesterov": (0.8, True)}
SQUARED = ("half_mse", "mse_per_sample", "torch_mse", "torch_mse_sum")


def data(n_samples=6, n_others=4, n_outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    X, others = np.split(rng.standard_normal((n_samples + n_others, 3)), [n_samples])
    return X, rng.standard_normal((n_samples, n_outputs)), others


def iterated(theta, f_0, y, rate, steps, momentum=0.0, nesterov=False, loss="half_mse", dtype=np.float64):
    """Descent on f_0 + theta A, step by step, at the trained inputs (first rows of theta) and others."""
    n = len(y)
    f, velocity, path = f_0.astype(dtype), np.zeros_like(y, dtype=dtype), [f_0]
    for _ in range(steps):
        gradient = rate * loss_and_slope(loss, f[:n], y)[1]
        velocity = momentum * velocity + gradient
        f = f - theta @ (gradient + momentum * velocity if nesterov else velocity)
        path.append(f)
    return np.array(path)


# -- factors along a mode --------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 1e-9, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("nesterov", [False, True])
def test_factors_of_descent_are_those_of_steps_made_one_by_one(momentum, nesterov):
    """Also at double roots, at eigenvalues 0 and nearly 0, and where errors grow."""
    double = [(1 - momentum**0.5) ** 2, (1 + momentum**0.5) ** 2, 1 - 4 * momentum / (1 + momentum) ** 2]
    values = np.array([0, 1e-17, 1e-9, 1e-3, 0.01, 0.3, 0.9, 1 - 1e-9, 1, 1.1, 1.9, 2, 2.3, 3.61, *double])
    steps = np.array([0, 1, 2, 3, 7, 50, 300])
    found = dynamics.descent(values, steps.astype(float), 1.0, momentum, nesterov)
    left, learned = np.ones(len(values), np.longdouble), np.zeros(len(values), np.longdouble)
    velocity = np.zeros_like(left)
    for step in range(steps[-1] + 1):
        if step in steps:
            row = list(steps).index(step)
            # Rounding grows with the number of steps, at most 300 times 1e-16 of a factor or, where it fell, of 1.
            for ours, exact in ((found.left[row], left), (found.learned[row], learned)):
                assert np.all(np.abs(ours - exact) <= 1e-12 * np.maximum(np.abs(exact), 1))
        velocity = momentum * velocity + left
        change = left + momentum * velocity if nesterov else velocity
        learned = learned + change
        left = left - values * change


def test_factors_of_the_flow_are_exponentials_and_their_integrals():
    found = dynamics.flow(np.array([0.0, 1e-20, 0.5, 1e6]), np.array([0.0, 2.0, 1e9]))
    np.testing.assert_allclose(found.left[1], [1, 1, np.exp(-1), 0], rtol=1e-15)
    np.testing.assert_allclose(found.learned[1], [2, 2, 2 * (1 - np.exp(-1)), 1e-6], rtol=1e-14)
    assert found.learned[2, 1] == pytest.approx(1e9, rel=1e-10) and np.all(found.learned[0] == 0)


def test_factors_beyond_floating_point_are_infinite_and_no_others():
    found = dynamics.descent(np.array([3.0, 1.0, 0.5]), np.array([10.0, 1e5]), 1.0)
    assert np.isinf(found.left).tolist() == [[False] * 3, [True, False, False]]
    assert not np.isnan(found.left).any() and not np.isnan(found.learned).any()


# -- outputs and losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", SQUARED)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_descent_is_that_on_the_kernel_step_by_step(optimiser, loss):
    momentum, nesterov = OPTIMISERS[optimiser]
    X, y, others = data()
    both = np.concatenate([X, others])
    theta = mfdnn.ntk(NET, both)[:, : len(X)]
    rate = 0.8 * stability_limit(kernel_training(NET, X, y, loss=loss).eigenvalues[0], momentum, nesterov)
    f_0 = np.random.default_rng(3).standard_normal((len(both), 2))
    exact = iterated(theta, f_0, y, rate, 40, momentum, nesterov, loss)
    options = {"momentum": momentum, "nesterov": nesterov, "loss": loss}
    path = kernel_training(NET, X, y, rate, initial=f_0[:6], **options)
    steps = np.array([0, 1, 2, 10, 40])
    # Outputs are of order 1; theirs and ours are rounded 40 times.
    np.testing.assert_allclose(path.outputs(steps), exact[steps, :6], rtol=0, atol=1e-12)
    np.testing.assert_allclose(path.outputs(steps, others, initial=f_0[6:]), exact[steps, 6:], rtol=0, atol=1e-12)
    losses = [loss_and_slope(loss, f[:6], y)[0] for f in exact[steps]]
    np.testing.assert_allclose(path.loss(steps), losses, rtol=1e-11)
    assert path.loss(10) == pytest.approx(losses[3], rel=1e-11) and path.outputs(3).shape == (6, 2)


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
def test_the_flow_is_the_matrix_exponential(kernel, parameterisation):
    X, y, others = data()
    both = np.concatenate([X, others])
    options = {"kernel": kernel, "parameterisation": parameterisation}
    path = kernel_training(NET, X, y, loss="mse_per_sample", **options)
    theta = mfdnn.ntk(NET, both, parameterisation=parameterisation) if kernel == "ntk" else mfdnn.nngp(NET, both)
    if options == {"kernel": "nngp", "parameterisation": "standard"}:
        theta = 40 * (theta - 0.1) / 2.0 + 1  # M q_hat + 1, and K = sigma_w^2 q_hat + sigma_b^2
    A = 2 / 6 * theta[:6, :6]
    for t in (0.0, 0.01, 0.5):
        left = expm(-A * t)
        assert path.outputs(t) == pytest.approx(y - left @ y, abs=1e-11)
        expected = theta[6:, :6] @ np.linalg.solve(theta[:6, :6], y - left @ y)
        # The solution of the linear system loses as many digits as the condition number has.
        assert path.outputs(t, others) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(path.eigenvalues, np.linalg.eigvalsh(A)[::-1], rtol=1e-9)


def test_outputs_at_the_trained_inputs_do_not_depend_on_how_they_are_asked_for():
    X, y, _ = data()
    f_0 = np.random.default_rng(3).standard_normal((6, 2))
    for initial in (None, f_0):
        for rate in (None, 1e-3):
            path = kernel_training(NET, X, y, rate, initial=initial)
            np.testing.assert_allclose(path.outputs([0, 5, 50], X), path.outputs([0, 5, 50]), rtol=0, atol=1e-9)
    np.testing.assert_allclose(path.ridgeless(X), y, rtol=0, atol=1e-10)


def test_the_fields_are_what_they_say():
    X, y, _ = data()
    f_0 = np.random.default_rng(3).standard_normal((6, 2))
    values, vectors = np.linalg.eigh(mfdnn.ntk(NET, X) / 6)
    flow = kernel_training(NET, X, y, initial=f_0)
    np.testing.assert_allclose(flow.eigenvalues, values[::-1], rtol=1e-10)
    np.testing.assert_allclose(flow.times, 1 / values[::-1], rtol=1e-10)
    squares = np.sum((vectors.T @ (y - f_0)) ** 2, axis=1)[::-1]
    np.testing.assert_allclose(flow.share, squares / squares.sum(), rtol=1e-8)
    assert flow.stable_rate == pytest.approx(2 / values[-1])
    assert flow.fastest_rate == pytest.approx(2 / (values[-1] + values[0]))
    assert (flow.unlearnable, flow.diverging, flow.caution) == (0, 0, "")
    steps = kernel_training(NET, X, y, flow.fastest_rate, initial=f_0)
    np.testing.assert_allclose(steps.times, -1 / np.log(np.abs(1 - flow.fastest_rate * flow.eigenvalues)), rtol=1e-9)
    assert steps.times[0] == pytest.approx(steps.times[-1], rel=1e-9)  # of both ends, as fast as it can be
    left = (1 - flow.fastest_rate * flow.eigenvalues) ** 6
    assert steps.loss(3) == pytest.approx(steps.loss(0) * np.sum(steps.share * left), rel=1e-12)


def test_a_mode_learned_for_its_time_is_left_to_a_factor_e():
    X, y, _ = data()
    path = kernel_training(NET, X, y)
    left = y - path.outputs(path.times)
    _, vectors = np.linalg.eigh(mfdnn.ntk(NET, X))
    for j in range(6):
        v = vectors[:, ::-1][:, j]
        assert v @ left[j] == pytest.approx(v @ y / np.e, rel=1e-8)


def test_ridge_and_ridgeless_are_the_textbook_regressions():
    X, y, others = data()
    path, rng = kernel_training(NET, X, y, 1e-3), np.random.default_rng(4)
    theta, between = mfdnn.ntk(NET, X), mfdnn.ntk(NET, np.concatenate([others, X]))[:4, 4:]
    for penalty in (0.0, 0.3, 1e6):
        expected = between @ np.linalg.solve(theta + penalty * np.eye(6), y)
        np.testing.assert_allclose(path.ridge(others, penalty), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(path.ridge(None, 0.3), theta @ np.linalg.solve(theta + 0.3 * np.eye(6), y), atol=1e-10)
    np.testing.assert_array_equal(path.ridgeless(others), path.ridge(others, 0))
    f_0, there = rng.standard_normal((6, 2)), rng.standard_normal((4, 2))
    path = kernel_training(NET, X, y, initial=f_0)
    expected = there + between @ np.linalg.solve(theta, y - f_0)
    np.testing.assert_allclose(path.ridgeless(others, initial=there), expected, rtol=0, atol=1e-9)


# -- over initialisations --------------------------------------------------------------------------------------


def covariances(theta, K, left, n):
    """Lee et al. 2019, by inverses: of outputs at all inputs, of which the first n are trained."""
    B = theta[:, :n] @ np.linalg.solve(theta[:n, :n], np.eye(n) - left)
    return K - B @ K[:n] - K[:, :n] @ B.T + B @ K[:n, :n] @ B.T


@pytest.mark.parametrize("rate", [None, 2e-3])
def test_the_covariance_is_the_formula(rate):
    X, y, others = data()
    both = np.concatenate([X, others])
    theta, K = mfdnn.ntk(NET, both), mfdnn.nngp(NET, both)
    path, A = kernel_training(NET, X, y, rate), theta[:6, :6] / 6
    found, there = path.covariance([0, 3, 40]), path.covariance([0, 3, 40], others)
    for i, t in enumerate((0, 3, 40)):
        left = expm(-A * t) if rate is None else np.linalg.matrix_power(np.eye(6) - rate * A, t)
        exact = covariances(theta, K, left, 6)
        np.testing.assert_allclose(found[i], exact[:6, :6], rtol=0, atol=1e-10)
        np.testing.assert_allclose(there[i], exact[6:, 6:], rtol=0, atol=1e-9)
        spread = 2 * np.trace(exact[:6, :6]) / 12  # two outputs, half the mean of squares
        assert path.expected_loss(t) == pytest.approx(path.loss(t) + spread, rel=1e-9)
    np.testing.assert_allclose(path.covariance(3, X), found[1], rtol=0, atol=1e-10)


def test_mean_and_covariance_are_those_of_drawn_outputs_trained_step_by_step():
    X, y, others = data(n_samples=4, n_others=2, n_outputs=1)
    net, both = mfdnn.mlp([3, 40, 40, 1], "relu", 2.0, 0.1), np.concatenate([X, others])
    theta, K = mfdnn.ntk(net, both)[:, :4], mfdnn.nngp(net, both)
    n_draws, rng = 20000, np.random.default_rng(5)
    f_0 = rng.multivariate_normal(np.zeros(6), K, n_draws).T  # every draw is an output of its own
    path = kernel_training(net, X, y, 2e-3, momentum=0.5)
    f = iterated(theta, f_0, np.broadcast_to(y, (4, n_draws)).copy(), 2e-3, 15, 0.5)[-1]
    variance = path.covariance(15, both)
    scatter = np.sqrt((np.outer(np.diag(variance), np.diag(variance)) + variance**2) / n_draws)
    assert np.all(np.abs(np.cov(f) - variance) < 5 * scatter)
    mean = path.outputs(15, both)[:, 0]
    assert np.all(np.abs(f.mean(axis=1) - mean) < 5 * np.sqrt(np.diag(variance) / n_draws))
    losses = np.mean((f[:4] - y) ** 2, axis=0) / 2
    assert path.expected_loss(15) == pytest.approx(losses.mean(), abs=5 * losses.std() / np.sqrt(n_draws))


def test_training_the_last_layer_alone_ends_in_bayesian_regression():
    X, y, others = data()
    path = kernel_training(NET, X, y, kernel="nngp", parameterisation="ntk")
    K = mfdnn.nngp(NET, np.concatenate([X, others]))
    gain = np.linalg.solve(K[:6, :6], K[:6, 6:]).T
    late = 1e3 * path.times[-1]
    np.testing.assert_allclose(path.outputs(late, others), gain @ y, rtol=0, atol=1e-9)
    np.testing.assert_allclose(path.covariance(late, others), K[6:, 6:] - gain @ K[:6, 6:], rtol=0, atol=1e-9)
    assert np.abs(path.covariance(late)).max() < 1e-12
    assert np.all(np.diagonal(path.covariance([late, 2 * late], X), axis1=1, axis2=2) >= 0)


def test_the_kernel_of_the_last_layer_is_the_mean_of_drawn_ones():
    """With one hidden layer that is so at any width, for h of different units are independent."""
    net, (X, y, _) = mfdnn.mlp([3, 30, 1], "tanh", 2.0, 0.1), data(n_outputs=1)
    theta = kernel_training(net, X, y, kernel="nngp")._kernels.trained()
    drawn = np.array([mfdnn.empirical_ntk(mfdnn.sample(net, rng=i), X, layer=-1) for i in range(200)])
    assert np.all(np.abs(drawn.mean(axis=0) - theta) < 5 * drawn.std(axis=0) / np.sqrt(200) + 1e-12)


def test_without_first_outputs_at_others_their_mean_given_those_at_trained_inputs_is_taken():
    X, y, others = data()
    f_0 = np.random.default_rng(3).standard_normal((6, 2))
    path = kernel_training(NET, X, y, initial=f_0)
    K = mfdnn.nngp(NET, np.concatenate([X, others]))
    np.testing.assert_allclose(path.outputs(0, others), K[6:, :6] @ np.linalg.solve(K[:6, :6], f_0), atol=1e-9)
    np.testing.assert_allclose(path.outputs(7, X), path.outputs(7), rtol=0, atol=1e-9)
    assert path.expected_loss(7) == path.loss(7)


# -- cross-entropy ---------------------------------------------------------------------------------------------


def test_the_flow_of_cross_entropy_is_that_of_the_outputs():
    X, _, others = data()
    labels, f_0 = np.arange(6) % 2, np.random.default_rng(3).standard_normal((10, 2))
    theta = mfdnn.ntk(NET, np.concatenate([X, others]))[:, :6]

    def moves(_, f):
        return -(theta @ loss_and_slope("cross_entropy", f.reshape(10, 2)[:6], np.eye(2)[labels])[1]).ravel()

    exact = solve_ivp(moves, (0, 3), f_0.ravel(), "Radau", [0.5, 3], rtol=1e-9, atol=1e-9).y.T.reshape(2, 10, 2)
    path = kernel_training(NET, X, labels, loss="cross_entropy", initial=f_0[:6])
    # Both solvers were asked for nine digits of every step.
    np.testing.assert_allclose(path.outputs([3, 0.5, 3])[[1, 0]], exact[:, :6], rtol=0, atol=1e-6)
    np.testing.assert_allclose(path.outputs([0.5, 3], others, initial=f_0[6:]), exact[:, 6:], rtol=0, atol=1e-6)
    assert path.loss(3) == pytest.approx(loss_and_slope("cross_entropy", exact[1, :6], np.eye(2)[labels])[0], abs=1e-7)
    assert path.outputs(0) == pytest.approx(f_0[:6])


def test_the_solver_for_many_unknowns_finds_the_same(monkeypatch):
    X, _, _ = data()
    path = kernel_training(NET, X, np.arange(6) % 2, loss="cross_entropy", initial=np.zeros((6, 2)))
    few = path.outputs([0.2, 1])
    monkeypatch.setattr(paths, "DENSE", 0)
    np.testing.assert_allclose(path.outputs([0.2, 1]), few, rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_descent_of_cross_entropy_is_made_step_by_step(optimiser):
    momentum, nesterov = OPTIMISERS[optimiser]
    X, _, _ = data()
    labels = np.arange(6) % 2
    path = kernel_training(NET, X, labels, 0.01, loss="cross_entropy", momentum=momentum, nesterov=nesterov)
    start, y = np.zeros((6, 2)), np.eye(2)[labels]
    exact = iterated(mfdnn.ntk(NET, X), start, y, 0.01, 9, momentum, nesterov, "cross_entropy")
    np.testing.assert_allclose(path.outputs([9, 0, 4]), exact[[9, 0, 4]], rtol=0, atol=1e-11)
    assert "starts from outputs 0" in path.caution
    for name, call in {"covariance": path.covariance, "expected_loss": path.expected_loss}.items():
        with pytest.raises(mfdnn.NoTheory, match=name):
            call(1)


# -- kernels that are singular, rates that are too large -------------------------------------------------------


def test_duplicates_are_named_and_what_cannot_be_learned_stays():
    X, y, others = data()
    twice, labels = np.concatenate([X, X[:1]]), np.concatenate([y, -y[:1]])
    with pytest.warns(UserWarning, match=r"1 of 7 eigenvalues are 0, .* inputs \(0, 6\) are the same to it"):
        path = kernel_training(NET, twice, labels)
    assert path.unlearnable == 1 and path.eigenvalues[-1] == 0 and path.times[-1] == np.inf
    late = 1e6 * path.times[-2]
    assert path.loss(late) == pytest.approx(np.sum(y[0] ** 2) / 7, rel=1e-9)  # of the two, +y and -y
    mean = np.concatenate([np.zeros((1, 2)), y[1:]])
    np.testing.assert_allclose(path.outputs(late), np.concatenate([mean, mean[:1]]), rtol=0, atol=1e-8)
    once = kernel_training(NET, X, mean)
    np.testing.assert_allclose(path.ridgeless(others), once.ridgeless(others), rtol=0, atol=1e-7)
    np.testing.assert_allclose(path.outputs(1e12, others), once.ridgeless(others), rtol=0, atol=1e-7)
    assert np.abs(path.covariance(1e12)).max() < 1e-9  # what the two share is learned, in what they differ none differ


@pytest.mark.parametrize("activation", ["tanh", lambda x: x / (1 + x**2)])
def test_duplicates_are_the_same_within_the_accuracy_of_integrals(activation):
    X, y, others = data()
    net = mfdnn.mlp([3, 20, 20, 2], activation, 2.0, 0.1)
    with pytest.warns(UserWarning, match=r"inputs \(0, 6\)"):
        path = kernel_training(net, np.concatenate([X, X[:1]]), np.concatenate([y, -y[:1]]))
    assert path.unlearnable == 1 and np.abs(path.outputs(1e12, others)).max() < 100


def test_kernels_of_low_rank_are_told_without_naming_inputs():
    X, y, _ = data(n_samples=9)
    with pytest.warns(UserWarning, match=r"5 of 9 eigenvalues .* has fewer dimensions"):
        path = kernel_training(mfdnn.mlp([3, 20, 2], "linear", 1.0, 0.1), X, y)
    assert path.unlearnable == 5
    best = np.column_stack([np.ones(9), X])  # linear regression
    expected = best @ np.linalg.lstsq(best, y, rcond=None)[0]
    np.testing.assert_allclose(path.ridgeless(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_modes_that_diverge_are_counted_and_overflow_is_told(optimiser):
    momentum, nesterov = OPTIMISERS[optimiser]
    X, y, others = data()
    largest, second = kernel_training(NET, X, y).eigenvalues[:2]
    limit = stability_limit(largest, momentum, nesterov)
    options = {"momentum": momentum, "nesterov": nesterov}
    for rate, n in ((limit, 0), (limit * (1 - 1e-9), 0), (limit * (1 + 1e-9), 1), (limit * largest / second * 1.01, 2)):
        path = kernel_training(NET, X, y, rate, **options)
        assert path.diverging == n and (n == 0) == (path.caution == "")
        assert np.all(np.isinf(path.times[:n])) and np.all(np.isfinite(path.times[2:]))
    assert "of 6 modes diverge" in path.caution and f"{limit:g}" in path.caution
    assert path.loss([0, 10**6]).tolist() == [path.loss(0), np.inf] and path.expected_loss(10**6) == np.inf
    for call in (path.outputs, path.covariance):
        for at in (None, others):
            with pytest.raises(OverflowError, match=r"t = 1e\+06 are beyond .* below `stable_rate`"):
                call([0, 10**6], at)


def test_inputs_of_zero_have_nothing_to_learn():
    net = mfdnn.mlp([3, 10, 1], "relu", 2.0, bias=False)
    with pytest.warns(UserWarning, match="2 of 2 eigenvalues"):
        path = kernel_training(net, np.zeros((2, 3)), np.ones((2, 1)), 0.1)
    assert path.loss(100) == path.loss(0) == 0.5 and path.stable_rate == np.inf
    assert np.all(path.ridgeless(np.ones((1, 3))) == 0)


# -- the boundary ----------------------------------------------------------------------------------------------


def test_a_mean_field_takes_the_place_of_network_and_inputs():
    X, y, others = data()
    one, two = kernel_training(NET, X, y), kernel_training(mfdnn.MeanField(NET, inputs=X), None, y)
    np.testing.assert_allclose(two.outputs(0.3, others), one.outputs(0.3, others), rtol=0, atol=1e-12)
    np.testing.assert_allclose(two.covariance(0.3), one.covariance(0.3), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"`net` is MeanField.*`inputs`"):
        kernel_training(mfdnn.MeanField(NET, inputs=X), X, y)
    with pytest.raises(ValueError, match="given inputs to be trained on"):
        kernel_training(mfdnn.MeanField(NET), None, y)


def test_results_are_shown_exported_and_sent():
    X, y, others = data()
    path = kernel_training(NET, X, y, 1e-3, momentum=0.5)
    assert json.loads(json.dumps(path.to_dict()))["loss_name"] == "half_mse" and "stable_rate" in repr(path)
    again = pickle.loads(pickle.dumps(path))
    assert np.array_equal(again.outputs(3, others), path.outputs(3, others))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"targets": np.ones((5, 2))}, "`targets` must have the shape of the outputs"),
        ({"targets": np.ones(6)}, "`targets` must have the shape of the outputs"),
        ({"targets": np.full((6, 2), np.nan)}, "`targets` must be finite"),
        ({"targets": np.arange(6)}, "`targets` must hold labels from 0 to 1"),
        ({"targets": np.ones((6, 2)), "loss": "cross_entropy"}, "`targets` must hold probabilities"),
        ({"inputs": np.ones((6, 4))}, "`inputs` has 4 features"),
        ({"inputs": None}, "`inputs` must be a"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, got 0"),
        ({"momentum": 0.5}, "`momentum` is that of descent"),
        ({"momentum": 1.0, "learning_rate": 0.1}, r"`momentum` must lie in \[0, 1\)"),
        ({"nesterov": True, "learning_rate": 0.1}, "`nesterov` does nothing"),
        ({"kernel": "ntp"}, "`kernel` must be one of ntk, nngp"),
        ({"parameterisation": "mup"}, "`parameterisation` must be one of"),
        ({"loss": "hinge"}, "`loss` must be one of"),
        ({"initial": np.ones((6, 3))}, "`initial` must have the shape of the outputs"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    X, y, _ = data()
    with pytest.raises((TypeError, ValueError), match=message):
        kernel_training(NET, **{"inputs": X, "targets": y, **change})


def test_wrong_times_and_others_are_refused():
    X, y, others = data()
    flow, steps = kernel_training(NET, X, y), kernel_training(NET, X, y, 1e-3)
    for path, t, message in (
        (flow, -1, "`t` is a time of gradient flow and must be >= 0, got -1"),
        (flow, np.nan, "`t` must be finite"),
        (flow, [[1]], "list of them, got shape"),
        (flow, [], "list of them, got shape"),
        (steps, 0.5, "`t` is a number of steps and must be whole, got 0.5"),
        (steps, [1, -3], "must be >= 0, got -3"),
    ):
        for call in (path.outputs, path.loss, path.expected_loss, path.covariance):
            with pytest.raises(ValueError, match=message):
                call(t)
    given = kernel_training(NET, X, y, initial=np.zeros((6, 2)))
    with pytest.raises(ValueError, match="`covariance` is that over initialisations, but `initial` was given"):
        given.covariance(1)
    with pytest.raises(ValueError, match="`initial` belongs to `inputs`"):
        given.outputs(1, initial=np.zeros((6, 2)))
    with pytest.raises(ValueError, match="at the trained inputs too"):
        flow.outputs(1, others, initial=np.zeros((4, 2)))
    with pytest.raises(ValueError, match="`initial` must have the shape of the outputs"):
        given.outputs(1, others, initial=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="`penalty` must be >= 0"):
        flow.ridge(others, -1)


def test_what_would_not_fit_is_refused_before_it_is_made(monkeypatch):
    X, y, _ = data()
    path = kernel_training(NET, X, y)
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match="6 inputs"):
        kernel_training(NET, X, y)
    with pytest.raises(MemoryError, match="training at 100 times"):
        path.outputs(np.ones(100))


def test_the_last_layer_must_be_one_of_weights():
    X, y, _ = data()
    net = mfdnn.Network(3, [mfdnn.Dense(5), mfdnn.Pointwise("relu"), mfdnn.Dense(2), mfdnn.MeanSubtraction()])
    with pytest.raises(mfdnn.NoTheory):
        kernel_training(net, X, y, kernel="nngp")


# -- networks that are trained ---------------------------------------------------------------------------------


def gap(net, n_networks, seed=0, n_steps=30):
    """Squared difference of trained networks from prediction, of outputs and loss, relative, over networks."""
    X, y, others = data(n_outputs=1, seed=seed)
    rate = 0.5 * kernel_training(net, X, y).stable_rate
    found = []
    for i in range(n_networks):
        one = mfdnn.sample(net, rng=i)
        run = mfdnn.train(one, X, y, rate, n_steps)
        path = kernel_training(net, X, y, rate, initial=one(X))
        moved = np.linalg.norm(run.trained(X) - one(X))
        there = path.outputs(n_steps, others, initial=one(others))
        found.append(
            [
                np.linalg.norm(path.outputs(n_steps) - run.trained(X)) / moved,
                np.linalg.norm(there - run.trained(others)) / np.linalg.norm(run.trained(others) - one(others)),
                np.abs(path.loss(np.arange(n_steps + 1)) - run.losses).max() / run.losses[0],
            ]
        )
    return np.sqrt(np.mean(np.square(found), axis=0))


def test_trained_networks_come_closer_as_they_widen():
    """Half a power of the width: five times over a factor 25, within the scatter of a few networks."""
    narrow, wide = (gap(mfdnn.mlp([3, width, width, 1], "erf", 2.0, 0.1), 6, n_steps=15) for width in (8, 200))
    assert np.all(wide < 0.2) and np.all(narrow / wide > 2)


@pytest.mark.slow
def test_the_error_of_the_prediction_falls_as_the_root_of_the_width():
    widths = np.array([16, 64, 256])
    gaps = [gap(mfdnn.mlp([3, width, width, 1], "erf", 2.0, 0.1), 40, n_steps=15) for width in widths]
    slopes = np.polyfit(np.log(widths), np.log(gaps), 1)[0]
    # Root mean squares over 40 networks scatter by about 10 % each, a slope by 0.07; corrections are of order 1/M.
    assert np.all(np.abs(slopes + 0.5) < 0.2)


@pytest.mark.slow
def test_the_mean_over_networks_and_their_spread_are_predicted():
    X, y, others = data(n_outputs=1)
    net = mfdnn.mlp([3, 256, 256, 1], "erf", 2.0, 0.1)
    path = kernel_training(net, X, y, 0.5 * kernel_training(net, X, y).stable_rate)
    runs = (mfdnn.train(mfdnn.sample(net, rng=i), X, y, path.learning_rate, 20) for i in range(200))
    ends = [run.trained(others)[:, 0] for run in runs]
    variance = np.diagonal(path.covariance(20, others))
    error = np.std(ends, axis=0) / np.sqrt(200)
    # Corrections of mean and spread are of order 1/M, 0.4 %, times the depth and numbers of order one: 5 % are granted.
    assert np.all(np.abs(np.mean(ends, axis=0) - path.outputs(20, others)[:, 0]) < 5 * error + 0.05 * np.sqrt(variance))
    assert np.all(np.abs(np.var(ends, axis=0) / variance - 1) < 5 * np.sqrt(2 / 200) + 0.05)


def test_scales_of_losses_are_times():
    X, y, _ = data()
    paths_of = {loss: kernel_training(NET, X, y, loss=loss) for loss in SQUARED}
    for loss, path in paths_of.items():
        scale = loss_scale(loss, 2, 6)
        np.testing.assert_allclose(path.outputs(1 / scale), paths_of["half_mse"].outputs(1), rtol=0, atol=1e-12)
        assert path.loss(1 / scale) == pytest.approx(scale * paths_of["half_mse"].loss(1), rel=1e-12)

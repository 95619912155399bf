"""Training: gradients against differences, optimisers against loops, the edge of stability against 2/lambda_max."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.learning_rate import LOSSES, loss_scale, stability_limit
from mfdnn.training import LargestEigenvalue, catapult_trajectory, curvature, loss_and_slope

Dense, Phi = mfdnn.Dense, mfdnn.Pointwise
NETWORKS = {
    "tanh": mfdnn.mlp([5, 7, 6, 3], "tanh", 1.5, 0.1),
    "relu, no bias": mfdnn.mlp([5, 7, 6, 3], "relu", 2.0, bias=False),
    "residual": mfdnn.resnet([5, 6, 3], 2, "gelu", skip=0.5),
    "batch norm": mfdnn.Network(
        5, [Dense(6), mfdnn.BatchNorm(1.2, 0.1), Phi("tanh"), Dense(3), mfdnn.BatchNorm()]
    ),
    "layer norm": mfdnn.Network(
        5, [mfdnn.LayerNorm(), Dense(6), Phi("silu"), Dense(3), mfdnn.MeanSubtraction()]
    ),
    "own activation": mfdnn.mlp([5, 7, 3], lambda x: x / (1 + x**2), 2.0, 0.1),
}
VARIANCES = {"tanh": (3.0, 0.64), "relu": (2.0, 0.1), "linear": (1.0, 0.1), "gelu": (2.0, 0.1)}
OPTIMISERS = {"gradient descent": (0.0, False), "heavy ball": (0.8, False), "Nesterov": (0.8, True)}


def targets(loss, n_samples, n_outputs, seed=5):
    """Targets of random entries, probabilities for cross-entropy."""
    Y = np.random.default_rng(seed).standard_normal((n_samples, n_outputs))
    return np.exp(Y) / np.exp(Y).sum(axis=1, keepdims=True) if loss == "cross_entropy" else Y


def loss_of(loss, f, Y):
    """The definitions of `LOSSES`, word by word."""
    n_samples, n_outputs = f.shape
    square = np.sum((f - Y) ** 2)
    return {
        "half_mse": square / (2 * n_samples),
        "mse_per_sample": square / n_samples,
        "torch_mse": square / (n_samples * n_outputs),
        "torch_mse_sum": square,
        "cross_entropy": -np.sum(Y * np.log(np.exp(f) / np.exp(f).sum(axis=1, keepdims=True))) / n_samples,
    }[loss]


def draw(name="tanh", n_samples=9, dtype="float64"):
    net = NETWORKS[name]
    return mfdnn.sample(net, rng=0, dtype=dtype), gaussian_inputs(n_samples, net.n_inputs, rng=1)


def moved(one, run):
    """What training has added to the parameters."""
    return one.flatten(run.trained.parameters) - one.flatten(one.parameters)


def wide(act="tanh", width=60, n_outputs=1, n_samples=30, seed=0):
    net = mfdnn.mlp([width, width, width, n_outputs], act, *VARIANCES[act])
    return mfdnn.sample(net, rng=seed), gaussian_inputs(n_samples, width, rng=seed + 1)


def top(one, X, output="linear"):
    """Largest eigenvalue of F or F_cross, and an eigenvector (T, C) of the dual F* of F."""
    J = np.array([one.vjp(X, e.reshape(len(X), -1)) for e in np.eye(len(X) * one.network.n_outputs)])
    if output == "softmax":
        p = np.exp(one(X)) / np.exp(one(X)).sum(axis=1, keepdims=True)
        middle = np.zeros((len(J), len(J)))
        for t, row in enumerate(p):
            here = slice(t * len(row), (t + 1) * len(row))
            middle[here, here] = np.diag(row) - np.outer(row, row)
        values, vectors = np.linalg.eig(J @ J.T @ middle / len(X))
        best = np.argmax(values.real)
        return values.real[best], vectors.real[:, best].reshape(len(X), -1)
    values, vectors = np.linalg.eigh(J @ J.T / len(X))
    return values[-1], vectors[:, -1].reshape(len(X), -1)


# -- gradients and optimisers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_goes_along_the_gradient_of_the_loss(name, loss):
    one, X = draw(name)
    Y = targets(loss, 9, 3)
    run = mfdnn.train(one, X, Y, 0.01, 1, loss=loss)
    gradient = -moved(one, run) / 0.01
    assert run.losses[0] == run.initial_loss == pytest.approx(loss_of(loss, one(X), Y), rel=1e-13)
    assert run.final_loss == pytest.approx(loss_of(loss, run.trained(X), Y), rel=1e-13)
    theta, step = one.flatten(one.parameters), 1e-6
    v = np.random.default_rng(3).standard_normal(theta.size)

    def along(t):
        return loss_of(loss, mfdnn.SampledNetwork(one.network, one.unflatten(theta + t * v))(X), Y)

    # Rounding of a difference is 1e-16 times the loss over the step, truncation 1e-12 times a third derivative.
    difference = (along(step) - along(-step)) / (2 * step)
    assert gradient @ v == pytest.approx(difference, rel=1e-6, abs=1e-7 * run.initial_loss)
    slope = loss_and_slope(loss, one(X), Y)[1]
    np.testing.assert_allclose(gradient, one.vjp(X, slope), rtol=0, atol=1e-12 * np.abs(gradient).max())


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_optimisers_are_their_textbook_recurrences(optimiser, weight_decay):
    """Heavy ball by differences of positions; Nesterov by the point from which it looks ahead."""
    momentum, nesterov = OPTIMISERS[optimiser]
    one, X = draw()
    Y, rate, net = targets("half_mse", 9, 3), 0.05, one.network

    def gradient(theta):
        at = mfdnn.SampledNetwork(net, one.unflatten(theta))
        return at.vjp(X, (at(X) - Y) / len(X)) + weight_decay * theta

    theta = before = one.flatten(one.parameters)
    ahead = theta
    for _ in range(5):
        if nesterov:
            new = ahead - rate * gradient(ahead)
            ahead = new + momentum * (new - theta)
            theta = new
        else:
            theta, before = theta - rate * gradient(theta) + momentum * (theta - before), theta
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    run = mfdnn.train(one, X, Y, rate, 5, **options)
    expected = ahead if nesterov else theta
    np.testing.assert_allclose(run.trained.flatten(run.trained.parameters), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_mini_batches_take_every_sample_once_an_epoch_and_what_is_left_in_the_last_step(batch_size):
    one, X = draw()
    Y, rng = targets("half_mse", 9, 3), np.random.default_rng(7)
    theta, losses = one.flatten(one.parameters), []
    for _ in range(2):
        order = rng.permutation(9)
        for start in range(0, 9, batch_size):
            rows = order[start : start + batch_size]
            at = mfdnn.SampledNetwork(one.network, one.unflatten(theta))
            losses.append(loss_of("half_mse", at(X[rows]), Y[rows]))
            theta = theta - 0.05 * at.vjp(X[rows], (at(X[rows]) - Y[rows]) / len(rows))
    run = mfdnn.train(one, X, Y, 0.05, len(losses), batch_size=batch_size, rng=7)
    np.testing.assert_allclose(run.losses[:-1], losses, rtol=1e-12)
    np.testing.assert_allclose(run.trained.flatten(run.trained.parameters), theta, rtol=0, atol=1e-13)
    assert run.final_loss == pytest.approx(loss_of("half_mse", run.trained(X), Y), rel=1e-12)


def test_a_batch_of_all_samples_is_full_batch_descent_to_the_last_bit():
    one, X = draw()
    Y = targets("half_mse", 9, 3)
    full, batch = (mfdnn.train(one, X, Y, 0.05, 4, batch_size=size) for size in (None, 9))
    assert np.array_equal(full.losses, batch.losses)


def test_batch_norm_trains_with_the_statistics_of_each_batch():
    """A last batch norm makes the outputs of every batch, of whatever size, centred and of variance one."""
    one, X = draw("batch norm", n_samples=12)
    run = mfdnn.train(one, X, np.zeros((12, 3)), 1e-9, 4, batch_size=6, rng=0)
    # Gains are 1 and offsets 0: half the mean square of three outputs is 3/2 in each batch, and in all samples.
    np.testing.assert_allclose(run.losses, 1.5, rtol=1e-7)


def test_the_given_network_stays_as_it_is_and_its_dtype_is_kept():
    one, X = draw(dtype="float32")
    before = one.flatten(one.parameters).copy()
    Y = targets("half_mse", 9, 3)
    run = mfdnn.train(one, X, Y, 0.05, 20, momentum=0.5, weight_decay=0.01)
    assert np.array_equal(one.flatten(one.parameters), before)
    assert run.trained.dtype == np.float32 and run.losses.dtype == np.float64
    double = mfdnn.SampledNetwork(
        one.network, [tuple(a.astype(float) for a in group) for group in one.parameters]
    )
    exact = mfdnn.train(double, X, Y, 0.05, 20, momentum=0.5, weight_decay=0.01)
    np.testing.assert_allclose(run.losses, exact.losses, rtol=1e-5)  # rounding 1e-7 a step


def test_labels_are_unit_vectors():
    one, X = draw()
    y = np.arange(9) % 3
    for loss in ("half_mse", "cross_entropy"):
        labels, units = (mfdnn.train(one, X, Y, 0.05, 3, loss=loss).losses for Y in (y, np.eye(3)[y]))
        assert np.array_equal(labels, units)


# -- the edge of stability -------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_network_linear_in_its_parameters_follows_the_quadratic_model(optimiser):
    """One weight layer: residuals obey r -> (1 - eta F*) r, with momentum its two-term recurrence, exactly."""
    momentum, nesterov = OPTIMISERS[optimiser]
    one, X = mfdnn.sample(mfdnn.mlp([4, 2], "linear"), rng=0), gaussian_inputs(6, 4, rng=1)
    Y, value = targets("half_mse", 6, 2), top(one, X)[0]
    J = np.array([one.vjp(X, e.reshape(6, 2)) for e in np.eye(12)])
    dual = J @ J.T / 6
    for times in (0.5, 0.99, 1.01):
        rate = times * stability_limit(value, momentum, nesterov)
        r = before = (one(X) - Y).ravel()
        expected = [r @ r / 12]
        for _ in range(30):
            stepped = r - rate * dual @ r
            if nesterov:  # training tells the loss at the point ahead
                r, before = (1 + momentum) * stepped - momentum * before, stepped
            else:
                r, before = stepped + momentum * (r - before), r
            expected.append(r @ r / 12)
        run = mfdnn.train(one, X, Y, rate, 30, momentum=momentum, nesterov=nesterov)
        np.testing.assert_allclose(run.losses, expected, rtol=1e-10)


@pytest.mark.parametrize("act", VARIANCES)
def test_the_loss_first_grows_at_two_over_lambda_max(act):
    """Next to a minimum, along the top eigenvector, the first step multiplies the loss by (1 - eta lambda)^2."""
    one, X = wide(act)
    value, vector = top(one, X)
    Y = one(X) - 1e-5 * vector  # so small that the curvature stays
    for times in (0.5, 0.999, 1.001, 1.5):
        losses = mfdnn.train(one, X, Y, times * 2 / value, 1).losses
        assert losses[1] / losses[0] == pytest.approx((1 - 2 * times) ** 2, abs=2e-4)
        assert (losses[1] > losses[0]) == (times > 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_first_grows_at_two_over_lambda_max_in_every_kind_of_network(name):
    one, X = draw(name)
    value, vector = top(one, X)
    Y = one(X) - 1e-6 * vector
    for times in (0.999, 1.001):
        losses = mfdnn.train(one, X, Y, times * 2 / value, 1).losses
        assert losses[1] / losses[0] == pytest.approx((1 - 2 * times) ** 2, abs=2e-4)
        assert (losses[1] > losses[0]) == (times > 1)


@pytest.mark.parametrize("loss", ["half_mse", "torch_mse", "cross_entropy"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("act", VARIANCES)
def test_the_edge_of_stability_is_where_theory_says(act, optimiser, loss):
    """2 % below the limit a small residual dies out, 2 % above it grows: any optimiser, squares and cross-entropy.

    The targets of cross-entropy are the probabilities themselves, a perfect fit, where the Hessian is F_cross.
    """
    momentum, nesterov = OPTIMISERS[optimiser]
    one, X = wide(act, n_outputs=2, n_samples=20)
    softmax = loss == "cross_entropy"
    value, vector = top(one, X, "softmax" if softmax else "linear")
    scale = 1.0 if softmax else loss_scale(loss, 2, 20)
    f = one(X) - 1e-6 * vector / np.abs(vector).max()
    Y = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True) if softmax else f
    limit = stability_limit(scale * value, momentum, nesterov)
    for times, grows in ((0.98, False), (1.02, True)):
        run = mfdnn.train(one, X, Y, times * limit, 40, loss=loss, momentum=momentum, nesterov=nesterov)
        # Of outputs, less what a softmax does not see: the loss of a perfect fit is the entropy of the targets.
        start, end = (at(X) - f for at in (one, run.trained))
        start, end = (r - softmax * r.mean(axis=1, keepdims=True) for r in (start, end))
        assert (np.linalg.norm(end) > np.linalg.norm(start)) == grows


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_weight_decay_adds_to_the_curvature(optimiser):
    """A linear network of one layer without targets or bias: theta -> (I - eta (F + w)) theta, exactly."""
    momentum, nesterov = OPTIMISERS[optimiser]
    one = mfdnn.sample(mfdnn.mlp([4, 2], "linear", bias=False), rng=0)
    X, w = gaussian_inputs(6, 4, rng=1), 0.7
    limit = stability_limit(top(one, X)[0] + w, momentum, nesterov)
    below, above = (
        mfdnn.train(
            one, X, np.zeros((6, 2)), t * limit, 300, weight_decay=w, momentum=momentum, nesterov=nesterov
        )
        for t in (0.98, 1.02)
    )
    assert below.losses[-1] < below.losses[-2] and above.losses[-1] > above.losses[-2]


def test_cross_entropy_may_grow_below_its_initial_limit_and_not_below_its_bound():
    """Small first outputs hide curvature: 50-200-200-10 relu, random labels, T = 64, 40 steps.

    Largest loss over the initial one at multiples of 2/lambda_max(F_cross), ranges over a few draws: PyTorch's
    initialisation 1.1 to 1.5 at 0.75, 1.6 and more at 1, diverges at 2, and F_cross has grown five times after 20
    steps of a tenth; He: 1 up to 2, where half_mse has 2.4 to 4.5.
    """
    X = gaussian_inputs(64, 50, rng=1)
    y = np.random.default_rng(2).integers(10, size=64)
    for init in ("he", "pytorch"):
        one = mfdnn.sample(mfdnn.mlp([50, 200, 200, 10], "relu", init=init), rng=0)
        plain, softmax = (mfdnn.fisher_spectrum(one, X, k=1, output=o).largest for o in ("linear", "softmax"))
        at_bound = stability_limit(loss_scale("cross_entropy", 10, 64) * plain)
        rates = [at_bound, *(times * 2 / softmax for times in (0.75, 1.0, 2.0))]
        bound, *runs = (mfdnn.train(one, X, y, rate, 40, loss="cross_entropy") for rate in rates)
        assert bound.peak == 1
        slow = mfdnn.train(one, X, y, 0.1 * 2 / softmax, 20, loss="cross_entropy", record_every=20)
        growth = slow.lambda_max_softmax[1] / softmax
        if init == "he":
            assert all(run.peak == 1 for run in runs) and growth < 1
            assert mfdnn.train(one, X, y, 2 * 2 / plain, 40).peak > 2
        else:
            assert [run.peak > least for run, least in zip(runs, (1.05, 1.3, 1e6), strict=True)] == [True] * 3
            assert growth > 3


def test_the_rate_that_is_safe_for_95_of_100_networks_is():
    """Full-batch descent of two hundred networks at the 95 % rate, next to a minimum, where descent is linear.

    There the loss of a network grows for good if and only if its own lambda_max is above 2/rate. So many of 200 are
    binomial: 5 % with a standard error of 1.5 %. Networks within 1 % of the edge are not told apart in 60 steps.
    """
    net, n_samples = mfdnn.mlp([50, 50, 50, 1], "tanh", *VARIANCES["tanh"]), 30
    rate = float(mfdnn.max_learning_rate(net, n_samples, confidence=0.95))
    grew, above = [], []
    for child in np.random.default_rng(0).spawn(200):
        one = mfdnn.sample(net, rng=child)
        X = gaussian_inputs(n_samples, 50, rng=child)
        Y = one(X) + 1e-4 * child.standard_normal((n_samples, 1))
        losses = mfdnn.train(one, X, Y, rate, 60).losses
        grew.append(losses[-1] > losses[-11])
        above.append(mfdnn.fisher_spectrum(one, X).largest * rate / 2)
    grew, above = np.array(grew), np.array(above)
    assert np.mean(above > 1) == pytest.approx(0.05, abs=3 * 0.0154)  # 4.5 % with this seed
    clear = np.abs(above - 1) > 0.01
    assert np.array_equal(grew[clear], above[clear] > 1)
    assert np.mean(grew) == pytest.approx(0.05, abs=3 * 0.0154)


# -- what is recorded ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [0, 10**9])
def test_recorded_eigenvalues_are_those_of_the_network_at_that_step(small, monkeypatch):
    monkeypatch.setattr(curvature, "SMALL", small)  # the iteration, or the whole dual
    one, X = wide("relu", width=40, n_outputs=3, n_samples=30)
    y = np.arange(30) % 3
    run = mfdnn.train(one, X, y, 0.05, 25, loss="cross_entropy", record_every=10)
    assert run.steps.tolist() == [0, 10, 20, 25]
    for i, n_steps in enumerate(run.steps):
        at = one if n_steps == 0 else mfdnn.train(one, X, y, 0.05, int(n_steps), loss="cross_entropy").trained
        for output, found in (("linear", run.lambda_max), ("softmax", run.lambda_max_softmax)):
            # The square of the tolerance of the residual over the gaps between the outliers.
            assert found[i] == pytest.approx(mfdnn.fisher_spectrum(at, X, output=output).largest, rel=1e-6)
        assert run.distance[i] == pytest.approx(
            np.linalg.norm(one.flatten(at.parameters) - one.flatten(one.parameters)), rel=1e-12
        )


def test_a_search_from_the_last_vectors_finds_an_eigenvalue_that_overtakes(monkeypatch):
    """The output with the larger weights changes: the old eigenvector stays one, and is no longer the largest."""
    monkeypatch.setattr(curvature, "SMALL", 0)
    one, X = wide("relu", width=40, n_outputs=3, n_samples=30)
    find = LargestEigenvalue()
    for k in (0, 1, 2, 0):
        scaled = [(w.copy(), b.copy()) for w, b in one.parameters]
        scaled[-1][0][k] *= 5
        at = mfdnn.SampledNetwork(one.network, scaled)
        assert find(at.linearise(X)) == pytest.approx(mfdnn.fisher_spectrum(at, X).largest, rel=1e-6)


def test_outcomes_and_the_steps_at_which_they_happened():
    one, X = wide()
    Y, limit = np.ones((30, 1)), 2 / mfdnn.fisher_spectrum(*wide()).largest
    fell, catapulted, grew, diverged = (
        mfdnn.train(one, X, Y, times * limit, n_steps)
        for times, n_steps in ((0.5, 60), (1.5, 100), (1.5, 2), (8.0, 100))
    )
    assert [run.outcome for run in (fell, catapulted, grew, diverged)] == [
        "fell",
        "catapulted",
        "grew",
        "diverged",
    ]
    assert fell.grew_step is None and fell.diverged_step is None and fell.peak == 1
    for run in (catapulted, grew):
        assert run.losses[run.grew_step] > run.initial_loss
        assert np.all(run.losses[: run.grew_step] <= run.initial_loss)
        assert run.peak > 1 and len(run.losses) == (3 if run is grew else 101)
    assert diverged.diverged_step == len(diverged.losses) - 1 < 100
    assert diverged.final_loss > 1e6 * diverged.initial_loss
    assert np.all(diverged.losses[:-1] <= 1e6 * diverged.initial_loss)
    assert "diverged at step" in repr(diverged) and "growth at step" in repr(catapulted)


def test_outcomes_of_mini_batches_are_told_by_epochs():
    """Losses of single samples scatter above the initial mean; those of epochs do not."""
    one, X = wide()
    Y = gaussian_inputs(30, 1, rng=9)
    limit = 2 / mfdnn.fisher_spectrum(one, X).largest
    run = mfdnn.train(one, X, Y, 0.02 * limit, 90, batch_size=1, rng=0)
    assert run.losses[:-1].max() > run.initial_loss and run.outcome == "fell"
    assert mfdnn.train(one, X, Y, 50 * limit, 90, batch_size=10, rng=0).outcome == "diverged"


@pytest.mark.parametrize("times", [0.2, 1.5, 4.0])
def test_outcomes_do_not_depend_on_the_units_of_the_loss(times):
    """A sum over a batch is the mean times its size: the same steps with another rate, the same outcome."""
    one, X = wide()
    Y = gaussian_inputs(30, 1, rng=9)
    rate = times * 2 / mfdnn.fisher_spectrum(one, X).largest
    mean = mfdnn.train(one, X, Y, rate, 60, batch_size=10, rng=0)
    summed = mfdnn.train(one, X, Y, rate / 20, 60, batch_size=10, rng=0, loss="torch_mse_sum")
    assert (summed.outcome, summed.grew_step) == (mean.outcome, mean.grew_step)
    assert summed.peak == pytest.approx(mean.peak, rel=1e-6)  # rounding grows on the way


def test_a_short_last_batch_counts_for_its_samples():
    """Of three samples one has the wrong target; at a rate that changes nothing an epoch has the initial loss."""
    one, X = draw(n_samples=3)
    Y = one(X) + 100.0 * (np.arange(3) == 1)[:, None]
    for seed in range(5):  # the wrong one is alone in some
        run = mfdnn.train(one, X, Y, 1e-20, 8, batch_size=2, rng=seed)
        assert run.outcome == "fell" and run.final_loss == pytest.approx(run.initial_loss, rel=1e-9)


def test_a_perfect_fit_diverges_by_an_overflow_only():
    one, X = draw()
    run = mfdnn.train(one, X, one(X), 0.01, 20, weight_decay=0.1)
    assert (run.outcome, run.peak, run.initial_loss) == ("grew", np.inf, 0.0)
    still = mfdnn.train(one, X, one(X), 0.01, 20)
    assert (still.outcome, still.peak) == ("fell", 1.0)
    assert mfdnn.train(one, X, one(X), 1e6, 200, weight_decay=0.1).outcome == "diverged"


def test_a_loss_that_is_infinite_at_the_start_has_diverged():
    one = mfdnn.sample(mfdnn.mlp([5, 7, 3], "linear"), rng=0, dtype="float32")
    large = mfdnn.SampledNetwork(
        one.network, [tuple(a * np.float32(1e18) for a in group) for group in one.parameters]
    )
    X = 1e30 * gaussian_inputs(9, 5, rng=1)
    for batch_size in (None, 3):
        run = mfdnn.train(large, X, np.ones((9, 3)), 0.1, 5, batch_size=batch_size, rng=0)
        assert (run.outcome, run.diverged_step, run.initial_loss, run.peak) == ("diverged", 0, np.inf, np.inf)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_overflow_is_divergence_and_nothing_is_nan(dtype):
    one = mfdnn.sample(mfdnn.mlp([5, 7, 6, 3], "linear"), rng=0, dtype=dtype)
    X = gaussian_inputs(9, 5, rng=1)
    run = mfdnn.train(one, X, np.ones((9, 3)), 1e30, 50, diverged_at=np.inf, momentum=0.9)
    assert run.outcome == "diverged" and run.final_loss == np.inf
    assert not np.any(np.isnan(run.losses))


def test_results_are_plain_python():
    one, X = draw()
    run = mfdnn.train(one, X, np.ones((9, 3)), 0.01, 3, record_every=1)
    found = run.to_dict()
    assert found["losses"] == run.losses.tolist() and found["outcome"] == "fell"
    assert "_trained" not in found and found["lambda_max_softmax"] is None
    assert repr(run).startswith("TrainingRun(fell: half_mse ")


# -- arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"one": None}, TypeError, "`one` must be a SampledNetwork, got NoneType"),
        ({"X": np.ones((9, 4))}, ValueError, "4 features but the network takes 5"),
        (
            {"Y": np.ones((9, 2))},
            ValueError,
            r"`Y` must have the shape of the outputs, \(9, 3\), got \(9, 2\)",
        ),
        ({"Y": np.full((9, 3), np.nan)}, ValueError, "`Y` must be finite"),
        ({"Y": np.full(9, 3)}, ValueError, "labels from 0 to 2, one for each output, got 3 to 3"),
        ({"loss": "cross_entropy"}, ValueError, "rows >= 0 that sum to 1"),
        ({"loss": "mse"}, ValueError, "`loss` must be one of half_mse.*did you mean"),
        ({"learning_rate": 0.0}, ValueError, "`learning_rate` must be positive, got 0"),
        ({"learning_rate": np.nan}, ValueError, "`learning_rate` must be finite"),
        ({"n_steps": 0}, ValueError, "`n_steps` must be an integer >= 1"),
        ({"momentum": 1.0}, ValueError, r"`momentum` must lie in \[0, 1\)"),
        ({"nesterov": True}, ValueError, "`nesterov` does nothing where `momentum` is 0"),
        ({"weight_decay": -1.0}, ValueError, "`weight_decay` must be >= 0"),
        ({"batch_size": 10}, ValueError, "`batch_size` must be at most T = 9, got 10"),
        ({"record_every": 0}, ValueError, "`record_every` must be an integer >= 1"),
        ({"diverged_at": 1.0}, ValueError, "`diverged_at` must be a number above 1"),
    ],
)
def test_wrong_arguments_are_refused(change, error, message):
    one, X = draw()
    arguments = {"one": one, "X": X, "Y": np.ones((9, 3)), "learning_rate": 0.1, "n_steps": 2, **change}
    with pytest.raises(error, match=message):
        mfdnn.train(**arguments)


def test_a_softmax_of_one_output_is_refused():
    one, X = wide()
    with pytest.raises(ValueError, match="cross_entropy needs two outputs or more, got 1"):
        mfdnn.train(one, X, np.zeros(30, int), 0.1, 5, loss="cross_entropy")


def test_numbers_are_targets_of_one_output_whatever_their_type():
    one, X = wide()
    y = np.arange(30) % 4
    runs = [mfdnn.train(one, X, Y, 0.01, 3) for Y in (y, y.astype(float), y[:, None])]
    assert all(np.array_equal(run.losses, runs[0].losses) for run in runs)


@pytest.mark.parametrize("batch_size", [2, 4])
def test_batches_too_small_for_batch_norm_are_refused_before_training(batch_size):
    one, X = draw("batch norm")  # of 9 samples the last step would have 1
    with pytest.raises(ValueError, match="fewer than three of 9"):
        mfdnn.train(one, X, np.ones((9, 3)), 0.1, 5, batch_size=batch_size)


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 1000.0)
    one, X = draw()
    with pytest.raises(MemoryError, match=r"training Network.* would take"):
        mfdnn.train(one, X, np.ones((9, 3)), 0.1, 5)


# -- the catapult ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0.5, 1.9, 2.5, 3.5, 4.2])
def test_the_catapult_model_is_gradient_descent_on_a_linear_network_of_two_layers(times):
    """The network in standard parameterisation, u = w_1, v = w_2: the same two numbers, step by step."""
    n, rng = 30, np.random.default_rng(0)
    u, v = rng.standard_normal((2, n)) / n**0.25
    net = mfdnn.Network(1, [Dense(n, bias=False), Dense(1, bias=False)])
    one = mfdnn.SampledNetwork(net, [(u[:, None], None), (v[None, :], None)])
    X, rate = np.ones((1, 1)), times / (u @ u + v @ v)
    n_steps = 12 if times > 4 else 60
    run = mfdnn.train(one, X, np.zeros((1, 1)), rate, n_steps, record_every=1, diverged_at=np.inf)
    path = catapult_trajectory(u @ v, u @ u + v @ v, rate, n_steps)
    n_told = min(len(path.f), len(run.losses))
    sizes = np.maximum.accumulate(path.losses[:n_told])  # rounding is of the largest loss so far
    # Every step rounds sums of n terms, and the map amplifies that like a change of its start: 2 to 9000 times.
    moved = catapult_trajectory(u @ v, (u @ u + v @ v) * (1 + 1e-9), rate, n_steps)
    growth = np.max(np.abs(moved.losses[:n_told] - path.losses[:n_told]) / sizes) / 1e-9
    rounding = n_steps * n * np.finfo(float).eps * max(2.0, growth)
    np.testing.assert_allclose(
        run.losses[:n_told] / sizes, path.losses[:n_told] / sizes, rtol=0, atol=rounding
    )
    n_seen = min(len(path.curvature), len(run.lambda_max))
    np.testing.assert_allclose(run.lambda_max[:n_seen], path.curvature[:n_seen], rtol=2 * rounding)
    assert path.zone == ("lazy" if times < 2 else "catapult" if times < 4 else "divergent")


def test_the_parameterisations_of_the_catapult_model_are_one():
    """f = v.u / sqrt(n) is the same path with lambda and eta multiplied by sqrt(n) and its inverse."""
    n = 64
    one = catapult_trajectory(1.2, 2.0, 1.3, 30, width=n)
    other = catapult_trajectory(1.2, 2.0 * np.sqrt(n), 1.3 / np.sqrt(n), 30)
    np.testing.assert_allclose(one.f, other.f, rtol=1e-10)
    np.testing.assert_allclose(one.curvature * np.sqrt(n), other.curvature, rtol=1e-12)


def test_catapults_end_flatter_than_two_over_the_rate_and_divergence_ends_the_path():
    path = catapult_trajectory(1.0, 1.0, 3.0, 200, width=100)
    assert path.losses.max() > path.losses[0] > path.losses[-1]
    assert path.curvature[-1] < 2 / 3
    lost = catapult_trajectory(1.0, 1.0, 4.5, 10_000, width=100)
    assert len(lost.f) < 10_000 and np.all(np.isfinite(lost.losses))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2.0, 1.0, 0.1, 5), r"at least 2\|`f`\|/sqrt\(`width`\) = 4, got 1"),
        ((0.1, 1.0, 0.0, 5), "`learning_rate` must be positive"),
        ((0.1, 1.0, 1.0, 0), "`n_steps` must be an integer >= 1"),
    ],
)
def test_catapult_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        catapult_trajectory(*arguments)

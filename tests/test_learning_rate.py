"""Learning rates: momentum against the two-step map, loss scales against Hessians, zones, conventions."""

import json
import pickle

import numpy as np
import pytest
from user_layers import RMSNorm

from mfdnn import NoTheory
from mfdnn.architectures import mlp, resnet
from mfdnn.ensembles import ensemble
from mfdnn.finite_width import centred_edge, outlier_distribution, width_for_spread
from mfdnn.finite_width.band import outlier_band
from mfdnn.finite_width.traces import fisher_traces
from mfdnn.fisher import fisher_statistics
from mfdnn.jacobian import conditional_fisher, isometric_init
from mfdnn.layers import BatchNorm, Dense, Layer, MeanSubtraction, Pointwise, Residual
from mfdnn.learning_rate import (
    LOSSES,
    OPTIMISERS,
    SAFE_SHARE,
    first_step,
    loss_scale,
    max_learning_rate,
    natural_gradient_rate,
    stability_limit,
)
from mfdnn.mean_field import MeanField
from mfdnn.network import Network
from mfdnn.sampled import conditional_fisher as conditional_fisher_sampled
from mfdnn.sampled import sample
from mfdnn.training import train

NET = mlp([30, 50, 50, 4], "relu", sigma_w2=2.0, sigma_b2=0.1)


def spectral_radius(step, momentum, nesterov, curvature=1.0):
    """Of the map (theta, velocity) -> next of torch.optim.SGD on a quadratic of that curvature."""
    gradient = np.array([curvature, 0.0])  # as a linear form in (theta, velocity)
    velocity = np.array([0.0, momentum]) + gradient
    direction = gradient + momentum * velocity if nesterov else velocity
    theta = np.array([1.0, 0.0]) - step * direction
    return np.abs(np.linalg.eigvals(np.array([theta, velocity]))).max()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.99])
def test_momentum_formulas_are_where_the_spectral_radius_crosses_1(momentum, nesterov):
    limit = stability_limit(3.0, momentum, nesterov)
    assert spectral_radius(limit, momentum, nesterov, 3.0) == pytest.approx(1.0, abs=1e-12)
    assert spectral_radius(limit * (1 + 1e-6), momentum, nesterov, 3.0) > 1
    below = np.linspace(1e-6, 1 - 1e-6, 500) * limit
    assert max(spectral_radius(step, momentum, nesterov, 3.0) for step in below) < 1


def log_softmax(f):
    return f - np.log(np.sum(np.exp(f), axis=1, keepdims=True))


def loss_value(loss, f, y):
    """The losses as their users write them; y is a one-hot matrix for cross-entropy."""
    squares = (f - y) ** 2
    return {
        "half_mse": lambda: 0.5 * squares.sum(axis=1).mean(),
        "mse_per_sample": lambda: squares.sum(axis=1).mean(),
        "torch_mse": squares.mean,
        "torch_mse_sum": squares.sum,
        "cross_entropy": lambda: -np.sum(y * log_softmax(f), axis=1).mean(),
    }[loss]()


def hessian(function, theta, step=1e-3):
    """Central second differences: exact for a quadratic, up to rounding."""
    n = len(theta)
    steps = step * np.eye(n)
    result = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            corners = [
                function(theta + a * steps[i] + b * steps[j]) * a * b for a in (1, -1) for b in (1, -1)
            ]
            result[i, j] = sum(corners) / (4 * step**2)
    return result


def linear_model(seed=0, n_samples=6, width=3, n_outputs=2):
    """Inputs, Fisher matrix and outputs as a function of the parameters of f = x W^T."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_samples, width))
    fisher = np.kron(np.eye(n_outputs), x.T @ x / n_samples)
    return rng, fisher, lambda theta: x @ theta.reshape(n_outputs, width).T


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "cross_entropy"])
def test_scale_is_that_of_the_hessian(loss):
    rng, fisher, model = linear_model()
    y = rng.standard_normal((6, 2))
    found = hessian(lambda theta: loss_value(loss, model(theta), y), rng.standard_normal(6))
    # Rounding of second differences: 1e-16 of the loss (up to about 50) over step^2.
    np.testing.assert_allclose(found, loss_scale(loss, 2, 6) * fisher, atol=1e-7)


def test_cross_entropy_is_bounded_by_half_the_fisher_matrix():
    rng, fisher, model = linear_model()
    for size in (0.1, 1.0, 10.0):
        theta, y = size * rng.standard_normal(6), np.eye(2)[rng.integers(2, size=6)]
        matrix = hessian(lambda theta, y=y: loss_value("cross_entropy", model(theta), y), theta)
        gap = loss_scale("cross_entropy", 2, 6) * fisher - matrix
        assert np.linalg.eigvalsh(gap)[0] >= -1e-6  # second differences of a smooth function: step^2
    # Attained: two equally likely classes share all the probability.
    half = np.array([0.5, 0.5, 0.0])
    assert np.linalg.eigvalsh(np.diag(half) - np.outer(half, half))[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_value(loss, momentum, nesterov):
    fim = fisher_statistics(NET, 64)
    lr = max_learning_rate(NET, 64, loss=loss, momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    steps = {(0.0, False): 2.0, (0.9, False): 3.8, (0.9, True): 3.8 / 2.8}[momentum, nesterov]
    scale = {
        "half_mse": 1,
        "mse_per_sample": 2,
        "torch_mse": 0.5,
        "torch_mse_sum": 128,
        "cross_entropy": 0.5,
    }[loss]
    assert lr.lambda_max == fim.largest
    assert lr.scale == scale
    assert float(lr) == lr.value == pytest.approx(steps / (scale * fim.largest + 0.01), rel=1e-12)


def test_weight_decay_is_stable_up_to_the_limit():
    """Descent on a quadratic with an extra w/2 |theta|^2, simulated just below and just above."""
    curvature, decay = 2.5, 0.4
    limit = stability_limit(curvature + decay)
    for factor, grows in [(0.999, False), (1.001, True)]:
        theta = 1.0
        for _ in range(2000):
            theta -= factor * limit * (curvature * theta + decay * theta)
        assert (abs(theta) > 1) == grows


def test_given_inputs():
    x = np.random.default_rng(1).standard_normal((20, 30))
    lr = max_learning_rate(NET, inputs=x, loss="torch_mse_sum")
    assert lr.n_samples == 20
    assert lr.scale == 40
    assert lr.lambda_max == fisher_statistics(NET, inputs=x).largest


def test_zones():
    lr = max_learning_rate(NET)
    assert lr.catapult_limit == pytest.approx(6 * lr.value)  # relu
    assert lr.zone(0.5 * lr.value) == lr.zone(lr.value) == "monotone"
    rates = np.array([[0.0, 1.5], [5.9, 6.1]]) * lr.value
    assert lr.zone(rates).tolist() == [["monotone", "catapult"], ["catapult", "diverges"]]
    assert [*lr.zones] == ["monotone", "catapult", "diverges"]
    assert lr.zones["catapult"] == (lr.value, lr.catapult_limit)
    for name in ("tanh", "linear"):
        other = max_learning_rate(mlp([30, 50, 50, 4], name, 1.5, 0.1))
        assert other.catapult_limit == pytest.approx(2 * other.value)
    one_layer = max_learning_rate(mlp([30, 4], sigma_w2=1.0))
    assert one_layer.catapult_limit == pytest.approx(2 * one_layer.value)


@pytest.mark.parametrize("what", ["momentum", "cross-entropy", "normalised outputs"])
def test_nothing_is_said_beyond_the_limit_where_nothing_is_known(what):
    net = Network(30, [*NET.layers, MeanSubtraction()]) if what == "normalised outputs" else NET
    options = {"momentum": {"momentum": 0.5}, "cross-entropy": {"loss": "cross_entropy"}}.get(what, {})
    lr = max_learning_rate(net, 50, **options)
    assert lr.catapult_limit is None and lr.to_dict()["catapult_limit"] is None
    first = "stable" if what == "momentum" else "monotone"
    assert lr.zone([0.9 * lr.value, 1.1 * lr.value, 100 * lr.value]).tolist() == [first, "unknown", "unknown"]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.3, 0.9])
def test_stable_is_not_monotone_with_momentum(momentum, nesterov):
    """Along the largest curvature, step by step: as far as the docstring says, and only there."""
    said = 1 + 2 * momentum**2 / (1 + 2 * momentum) if nesterov else (1 + momentum) / (1 - momentum)

    def path(share):
        step, theta, velocity = share * stability_limit(1.0, momentum, nesterov), 1.0, 0.0
        found = []
        for _ in range(2000):
            gradient = theta
            velocity = momentum * velocity + gradient
            theta -= step * (gradient + momentum * velocity if nesterov else velocity)
            found.append(abs(theta))
        return np.array(found)

    largest = [path(share).max() for share in [*np.linspace(0.05, 0.95, 20), 1 - 1e-8]]
    assert max(largest) == pytest.approx(said, rel=1e-3)  # reached at the limit
    assert path(0.98).max() > 1 and path(0.98)[-1] < 1e-3
    lr = max_learning_rate(NET, 50, momentum=momentum, nesterov=nesterov)
    assert lr.zone(0.98 * lr.value) == "stable" and "monotone" not in lr.zones


def test_descent_with_momentum_first_grows_at_a_safe_rate():
    net = mlp([50, 100, 100, 1], "relu", 2.0, 0.1)
    lr = max_learning_rate(net, 50, momentum=0.9)
    grew = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, one = rng.standard_normal((50, 50)), sample(net, rng=rng)
        run = train(one, x, sample(net, rng=rng)(x), 0.9 * lr.safe, 80, momentum=0.9)
        losses = np.array(run.losses) / run.initial_loss
        grew.append(losses.max() > 1.02)
        assert losses[-1] < 0.1
    assert any(grew) and lr.zone(0.9 * lr.safe) == "stable"


class Unit(Layer):
    """x over its root mean square, as a user would write it: nothing says that it normalises."""

    def propagate(self, state):
        factors = state.moments.outer(1 / np.sqrt(state.moments.variance))
        mean = state.mean / np.sqrt(state.moments.variance)
        return state.mapped(state.moments * factors, lambda kernel: kernel * factors, mean=mean)

    def forward(self, x, parameters, trace):
        return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))


@pytest.mark.parametrize("norm", [RMSNorm, Unit])
def test_an_unknown_normaliser_is_promised_nothing(norm):
    body = [Dense(100, 2.0, 0.1), Pointwise("relu"), Dense(100, 2.0, 0.1), Pointwise("relu"), Dense(3, 2.0)]
    behind = Network(50, [*body, norm()])
    for theory in (max_learning_rate, outlier_distribution, centred_edge, fisher_traces, width_for_spread):
        arguments = (0.1, 20) if theory is width_for_spread else (20,)
        with pytest.raises(NoTheory, match=norm.__name__):
            theory(behind, *arguments)
    with pytest.raises(NoTheory, match=r"not normalised|trained gains"):
        natural_gradient_rate(behind)
    assert outlier_band(behind, 20).quantiles is None
    hidden = Network(50, [*body[:1], norm(), *body[1:]])
    inside = Network(50, [Dense(100, 2.0), Residual([norm(), Pointwise("relu"), Dense(100)]), Dense(3)])
    for net in (hidden, inside):
        lr = max_learning_rate(net, 20)
        assert lr.catapult_limit is None and [*lr.zones] == ["monotone", "unknown"]
        assert lr.safe is None and norm.__name__ in lr.why_not_safe
    assert max_learning_rate(Network(50, body), 20).catapult_limit is not None
    assert max_learning_rate(resnet([50, 50, 3], 2), 20).catapult_limit is not None


def test_catapult_limit_of_the_linear_two_layer_network():
    """Lewkowycz et al. 2020: f = u.v x / sqrt(n) comes back from below 4/lambda and not from above."""

    def final_loss(factor, width=2000, steps=400):
        rng = np.random.default_rng(2)
        u, v = rng.standard_normal(width), rng.standard_normal(width)
        step = factor * 2 / ((u @ u + v @ v) / width)
        for _ in range(steps):
            f = u @ v / np.sqrt(width)
            if abs(f) > 1e6:
                return np.inf
            u, v = u - step * f * v / np.sqrt(width), v - step * f * u / np.sqrt(width)
        return f**2 / 2

    assert final_loss(0.9) < 1e-10
    assert final_loss(1.8) < 1e-10
    assert final_loss(2.2) == np.inf


def test_table():
    lr = max_learning_rate(NET, 20, weight_decay=0.01)
    lines = lr.table().splitlines()
    assert len(lines) == 2 + len(LOSSES)
    assert all(name in lines[0] for name in OPTIMISERS)
    for line, loss in zip(lines[2:], LOSSES, strict=True):
        name, scale, *limits = line.split()
        assert name == loss
        assert float(scale) == pytest.approx(loss_scale(loss, 4, 20), rel=1e-3)
        for limit, (momentum, nesterov) in zip(limits, OPTIMISERS.values(), strict=True):
            one = max_learning_rate(
                NET, 20, loss=loss, momentum=momentum, nesterov=nesterov, weight_decay=0.01
            )
            assert float(limit) == pytest.approx(one.value, rel=1e-3)  # four digits are printed
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, True)])
def test_cross_entropy_comes_with_the_rate_of_the_first_outputs(momentum, nesterov):
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": 0.01}
    lr = max_learning_rate(NET, 20, loss="cross_entropy", **options)
    theory = fisher_statistics(NET, 20, output="softmax")
    assert lr.lambda_max_softmax == theory.largest
    assert lr.initial == stability_limit(theory.largest + 0.01, momentum, nesterov)
    assert lr.value == lr.typical < lr.initial  # Q is at most I/2
    assert f"{lr.initial:.4g}" in lr.convention
    growth = theory.largest_any_softmax / theory.largest
    assert f"may still grow {growth:.3g} times" in lr.convention
    *_, bound, first = lr.table().splitlines()
    assert bound.startswith("cross_entropy ")
    assert first.split()[:3] == ["at", "first", "outputs"]
    ratio, plain, *_ = map(float, first.split()[3:])
    assert ratio == pytest.approx(theory.largest / lr.lambda_max, rel=1e-3)
    assert plain == pytest.approx(2 / (theory.largest + 0.01), rel=1e-3)
    assert lr.to_dict()["initial"] == lr.initial
    other = max_learning_rate(NET, 20)
    assert other.initial is None and "at first outputs" not in other.table()


def test_cross_entropy_of_normalised_outputs_has_the_bound_alone():
    net = Network(30, [*NET.layers, BatchNorm()])
    lr = max_learning_rate(net, 60, loss="cross_entropy")
    assert lr.value == 4 / lr.lambda_max
    assert lr.initial is None


@pytest.mark.parametrize("loss", ["torch_mse", "cross_entropy"])
@pytest.mark.parametrize("given", [False, True])
def test_confidence_takes_the_quantile_of_the_law(given, loss):
    net = mlp([200, 300, 300, 3], "relu", 2.0, 0.1)
    data = {"inputs": np.random.default_rng(0).standard_normal((40, 200))} if given else {"n_samples": 40}
    law = outlier_distribution(net, **data)
    lr = max_learning_rate(net, **data, loss=loss, momentum=0.5, weight_decay=0.01, confidence=0.95)
    plain = max_learning_rate(net, **data, loss=loss, momentum=0.5, weight_decay=0.01)
    assert lr.lambda_quantile == law.quantile(0.95) > plain.lambda_max == lr.lambda_max
    assert lr.value == stability_limit(lr.scale * law.quantile(0.95) + 0.01, 0.5) < plain.value
    assert lr.typical == plain.value
    assert lr.catapult_limit == plain.catapult_limit
    assert "95 % of networks" in repr(lr) and "95 % of the networks" in lr.convention
    assert lr.table().count("95 % of draws") == len(LOSSES)
    row = next(line for line in lr.table().splitlines() if "95 %" in line)
    assert float(row.split()[4]) == pytest.approx(2 / (law.quantile(0.95) + 0.01), rel=1e-3)
    assert (
        max_learning_rate(net, **data, confidence=0.5).value
        > max_learning_rate(net, **data, confidence=0.9).value
    )


@pytest.mark.parametrize(
    "options", [{}, {"loss": "cross_entropy"}, {"loss": "torch_mse", "momentum": 0.9, "weight_decay": 0.1}]
)
@pytest.mark.parametrize("given", [False, True])
def test_the_safe_rate_is_that_of_95_percent_whatever_is_asked_for(given, options):
    net = mlp([40, 60, 60, 3], "relu", 2.0, 0.1)
    data = {"inputs": np.random.default_rng(0).standard_normal((20, 40))} if given else {"n_samples": 20}
    plain = max_learning_rate(net, **data, **options)
    confident = max_learning_rate(net, **data, **options, confidence=SAFE_SHARE)
    assert plain.safe == confident.value == confident.safe < plain.value
    assert max_learning_rate(MeanField(net, **data), **options, confidence=0.5).safe == plain.safe
    assert plain.why_not_safe == ""
    assert plain.safe_caution == outlier_distribution(net, **data).caution
    plain_python = json.loads(json.dumps(plain.to_dict()))
    assert plain_python["safe"] == plain.safe and plain_python["why_not_safe"] == ""
    again = pickle.loads(pickle.dumps(max_learning_rate(net, **data, **options)))
    assert again.safe == plain.safe


def test_where_no_rate_is_safe_the_reason_is_said():
    lr = max_learning_rate(mlp([30, 50, 4], "relu", 2.0, weights="orthogonal"), 100)
    assert lr.safe is None and "orthogonal weights" in lr.why_not_safe and lr.safe_caution == ""
    assert lr.to_dict()["safe"] is None and lr.value > 0
    with pytest.raises(ValueError, match="orthogonal weights"):
        max_learning_rate(mlp([30, 50, 4], "relu", 2.0, weights="orthogonal"), 100, confidence=SAFE_SHARE)


def test_the_safe_rate_carries_the_caution_of_the_law():
    lr = max_learning_rate(mlp([60, 60, 60, 60, 60, 1], "relu", 2.0, 0.1), 50)
    assert "relative spread" in lr.safe_caution and lr.safe < lr.value
    with pytest.warns(RuntimeWarning, match="quantiles may be 10 % higher"):
        law = outlier_distribution(mlp([60, 60, 60, 60, 60, 1], "relu", 2.0, 0.1), 50)
    assert lr.safe == pytest.approx(2 / (1.1 * law.quantile(SAFE_SHARE)), rel=1e-12)


def test_the_safe_rate_of_many_outputs():
    lr = max_learning_rate(mlp([100, 20_000, 200], "relu", 2.0, 0.1), 50)
    few = max_learning_rate(mlp([100, 20_000, 20], "relu", 2.0, 0.1), 50)
    assert 0.9 * few.safe < lr.safe < few.safe < lr.value


def test_confidence_carries_the_caution_of_the_law():
    net = mlp([60, 60, 60, 60, 60, 1], "relu", 2.0, 0.1)
    with pytest.warns(RuntimeWarning, match="relative spread"):
        law = outlier_distribution(net, 50)
    lr = max_learning_rate(net, 50, confidence=0.9)  # says it in the result, and warns not
    assert law.caution and law.caution in lr.caution
    assert max_learning_rate(net, 50).confidence is None


def test_confidence_only_where_the_law_holds():
    with pytest.raises(ValueError, match="no eigenvalue stands clear of the bulk"):
        max_learning_rate(mlp([100, 100, 100, 1], "tanh", 1.5, 0.0), 100, confidence=0.95)
    with pytest.raises(ValueError, match="orthogonal weights"):
        max_learning_rate(mlp([30, 50, 4], "relu", 2.0, weights="orthogonal"), 100, confidence=0.95)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="`nesterov` does nothing where `momentum` is 0"):
        max_learning_rate(NET, 20, nesterov=True)


def test_limits_are_the_entries_of_the_table():
    lr = max_learning_rate(NET, 20, loss="cross_entropy", momentum=0.9, confidence=0.9, weight_decay=0.01)
    columns = lr.limits()
    own = [tuple(row) for row in zip(*columns.values(), strict=True)][:3]
    assert [(networks, rate) for _, _, networks, rate in own] == [
        ("95 % of draws", lr.safe),
        ("90 % of draws", lr.value),
        ("infinite width", lr.typical),
    ]
    assert {(loss, optimiser) for loss, optimiser, _, _ in own} == {("cross_entropy", lr.optimiser)}
    entries = " ".join(lr.table().splitlines()[2:])
    assert all(f" {rate:.4g}" in entries for rate in columns["rate"][3:])
    assert len(columns["rate"]) == 3 + 3 * (2 * len(LOSSES) + 1)  # optimisers times networks, and the first outputs


def test_result():
    lr = max_learning_rate(NET, loss="torch_mse", momentum=0.9, nesterov=True, weight_decay=1e-3)
    assert "Nesterov momentum 0.9, weight decay 0.001" in repr(lr)
    plain = json.loads(json.dumps(lr.to_dict()))
    assert plain["value"] == lr.value
    assert plain["zones"]["unknown"] == [lr.value, np.inf]
    for word in ("torch_mse", LOSSES["torch_mse"], "0.5 F + 0.001 I", "Nesterov"):
        assert word in plain["convention"]
    assert "a bound, not an edge" in max_learning_rate(NET, 20, loss="cross_entropy").convention
    assert max_learning_rate(mlp([30, 50, 50, 1], "relu", 2.0, 0.1)).caution == ""
    assert "4 outliers" in max_learning_rate(NET).caution  # they split, and the value is of infinite width
    assert max_learning_rate(mlp([30, 50, 4], "tanh", 1.0)).caution != ""


def test_nothing_to_learn():
    lr = max_learning_rate(mlp([5, 5, 1], "relu", 2.0, bias=False), q0=0.0)
    assert float(lr) == np.inf
    assert lr.zone(1e9) == "monotone"
    assert "inf" in lr.table()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": "mse"}, ValueError, "did you mean half_mse or torch_mse"),
        ({"momentum": 1.0}, ValueError, r"`momentum` must lie in \[0, 1\)"),
        ({"momentum": -0.1}, ValueError, r"`momentum` must lie in \[0, 1\)"),
        ({"momentum": "fast"}, TypeError, "`momentum` must be a real number"),
        ({"weight_decay": -1e-4}, ValueError, "`weight_decay` must be >= 0"),
        ({"confidence": 1.0}, ValueError, r"`confidence` must be a probability in \(0, 1\), got 1"),
        ({"confidence": 0.0}, ValueError, r"`confidence` must be a probability in \(0, 1\)"),
        ({"confidence": "high"}, TypeError, "`confidence` must be a real number"),
        ({"n_samples": 0}, ValueError, "`n_samples` must be"),
        ({"q0": [1.0, 2.0]}, TypeError, "`q0` must be a single number"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        max_learning_rate(NET, **arguments)


# -- one sample at a time ------------------------------------------------------------------------------------------


def isometric(width=100, depth=10):
    init = isometric_init("hard_tanh", depth, 0.2)
    return mlp([width] * (depth + 1), "hard_tanh", init.sigma_w2, init.sigma_b2, weights="orthogonal"), init.q0


def test_one_sample_at_a_time():
    net, q0 = isometric()
    lr, found = max_learning_rate(net, q0=q0, batch_size=1), conditional_fisher(net, q0=q0)
    assert float(lr) == lr.value == lr.typical == pytest.approx(2 / found.largest, rel=1e-12)
    assert (lr.notion, lr.optimizer, lr.lambda_max, lr.n_samples, lr.n_outputs) == ("one sample", "sgd", None, 1, 100)
    assert lr.lambda_max_one == pytest.approx(found.largest, rel=1e-12)
    # Near isometry 2/(M q_hat L), of losses that are not divided by M.
    assert lr.value == pytest.approx(2 / (100 * (q0 + 0.01) * 10), rel=0.15)
    assert list(lr.zones) == ["monotone", "unknown"]
    assert lr.zone([0.9 * lr.value, 1.1 * lr.value]).tolist() == ["monotone", "unknown"]
    assert lr.safe is None and "no law" in lr.why_not_safe and lr.caution == ""
    assert "nothing is promised of other samples" in lr.convention and "not divided by the width" in lr.convention
    assert lr.table().splitlines()[0].split() == ["loss", "scale", "s", "gradient", "descent"]
    json.dumps(lr.to_dict())
    assert max_learning_rate(net, q0=q0, batch_size=1, loss="torch_mse").value == pytest.approx(50 * lr.value)
    decayed = max_learning_rate(net, q0=q0, batch_size=1, weight_decay=1.0)
    assert decayed.value == pytest.approx(2 / (found.largest + 1))


def test_the_notion_of_the_full_batch():
    lr = max_learning_rate(mlp([10, 50, 2], "tanh"))
    assert (lr.notion, lr.optimizer, lr.lambda_max_one) == ("stability", "sgd", None)


def test_given_inputs_one_at_a_time():
    """The largest of the samples decides."""
    net, q0 = isometric()
    X = np.random.default_rng(0).standard_normal((5, 100))
    X *= np.sqrt(q0 * np.linspace(0.5, 1.5, 5) * 100)[:, None] / np.linalg.norm(X, axis=1, keepdims=True)
    expected = 2 / max(conditional_fisher(net, q0=f * q0).largest for f in (0.5, 1.5))
    for data in ({"net": net, "inputs": X}, {"net": MeanField(net, inputs=X)}):
        assert max_learning_rate(**data, batch_size=1).value == pytest.approx(expected, rel=1e-9)


def test_few_outputs_one_sample_at_a_time():
    net = mlp([30, 2000, 2000, 2], "relu", 2.0, 0.1)
    lr = max_learning_rate(net, batch_size=1)
    assert lr.value == pytest.approx(2 / fisher_statistics(net, 1).largest, rel=1e-12)
    assert "equal widths" in lr.caution and "few outputs" in lr.caution
    x = np.random.default_rng(0).standard_normal(30)
    x /= np.sqrt(np.mean(x**2))
    found = [conditional_fisher_sampled(sample(net, rng=rng), x).largest for rng in range(4)]
    assert np.mean(found) == pytest.approx(lr.lambda_max_one, rel=0.1)


@pytest.mark.parametrize("times", [0.9, 1.2])
def test_a_step_at_a_sample_beyond_the_limit_raises_its_loss(times):
    """Its output errors along the top eigenvectors, an atom of large mass: they are multiplied by 1 - eta lambda."""
    net, q0 = isometric(200, 10)
    one, x = sample(net, rng=0), np.full((1, 200), np.sqrt(q0))
    measured = conditional_fisher_sampled(one, x)
    eta = times * 2 / measured.largest
    linear = one.linearise(x)
    _, vectors = np.linalg.eigh(measured._steps.matrix)
    error = 1e-4 * vectors[:, -1][None]  # small, so that the network is linear
    after = one.at(one.vector - eta * linear.vjp(error))(x) - (linear.outputs - error)
    assert np.linalg.norm(after) / np.linalg.norm(error) == pytest.approx(abs(1 - 2 * times), rel=1e-3)
    assert (np.linalg.norm(after) > np.linalg.norm(error)) == (times > 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 2}, "`batch_size` must be 1 or None"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"batch_size": 1, "momentum": 0.9}, "`momentum` has no theory with `batch_size` = 1"),
        ({"batch_size": 1, "confidence": 0.9}, "`confidence` has no theory with `batch_size` = 1"),
        ({"batch_size": 1, "loss": "cross_entropy"}, "two outputs or more"),
    ],
)
def test_bad_arguments_of_one_sample(arguments, message):
    with pytest.raises(ValueError, match=message):
        max_learning_rate(mlp([4, 4, 1], "tanh"), **arguments)


# -- first steps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adamw", "muon", "radam"])
def test_the_first_step_of_other_optimisers(name):
    step = first_step(NET, name, 20, loss="torch_mse")
    lr = max_learning_rate(NET, 20, loss="torch_mse", optimizer=name)
    assert (lr.notion, lr.optimizer, lr.lambda_max, lr.catapult_limit) == ("first step", name, None, None)
    assert float(lr) == lr.value == lr.typical == float(step) and lr.safe == step.band[0] < lr.value
    assert lr.n_samples == 20 and lr.n_outputs == 4 and lr.why_not_safe == "" and lr.safe_caution == step.caution
    assert list(lr.zones) == ["monotone", "unknown"]
    assert lr.zone([0.9 * lr.value, 1.1 * lr.value]).tolist() == ["monotone", "unknown"]
    assert name in repr(lr) and "first step" in repr(lr)
    assert "Nothing is said of later steps" in lr.convention and "one-hot labels, drawn" in lr.convention
    head, rule, row = lr.table().splitlines()
    assert head.split()[-6:] == ["5", "%", "50", "%", "95", "%"] and len(head) == len(rule) == len(row)
    assert float(row.split()[-2]) == pytest.approx(step.quantile(0.5), rel=1e-3)
    assert lr.limits()["rate"].tolist() == [lr.safe, lr.value]
    plain = json.loads(json.dumps(lr.to_dict()))
    assert plain["first_step"]["directional"] == step.directional and plain["initial"] is None
    confident = max_learning_rate(NET, 20, loss="torch_mse", optimizer=name, confidence=0.8)
    assert confident.value == step.quantile(0.2) < confident.typical and "80 % of networks" in repr(confident)
    assert confident.limits()["networks"].tolist() == ["95 % of draws", "80 % of draws", "50 % of draws"]


def test_first_steps_of_networks_on_data():
    X = np.random.default_rng(0).standard_normal((12, 30))
    for arguments in ({"net": NET, "inputs": X}, {"net": MeanField(NET, inputs=X)}):
        lr = max_learning_rate(**arguments, optimizer="lion", weight_decay=0.1)
        assert lr.value == float(first_step(NET, "lion", inputs=X, weight_decay=0.1))
        assert "lion, weight decay 0.1" in repr(lr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adamv"}, "did you mean adam or"),
        ({"optimizer": "adam", "momentum": 0.9}, "`momentum` is no setting of optimizer 'adam'"),
        ({"optimizer": "adam", "batch_size": 1}, "`optimizer` = adam has no theory with `batch_size` = 1"),
        ({"optimizer": "muon", "confidence": 2.0}, "`confidence` must be a probability"),
    ],
)
def test_bad_arguments_of_first_steps(arguments, message):
    with pytest.raises(ValueError, match=message):
        max_learning_rate(NET, 20, **arguments)


def test_bad_rate():
    with pytest.raises(ValueError, match="`eta` must be a learning rate >= 0"):
        max_learning_rate(NET).zone(-0.1)


def test_networks_that_say_nothing_of_the_rate_are_refused_with_the_reason():
    net, values = mlp([6, 20, 2], "relu", 2.0), np.linspace(1.0, 2.0, 8)
    values[3] = 0.0
    with pytest.raises(ValueError, match="all positive, got 0 among them"):
        max_learning_rate(net, 8, confidence=0.95, networks=values)
    with pytest.raises(ValueError, match=r"got shape \(7,\)"):
        max_learning_rate(net, 8, confidence=0.95, networks=values[4:].repeat(2)[:7])
    drawn = ensemble(net, n_samples=8, n_networks=8, rng=0)
    for other in (mlp([6, 20, 2], "relu", 1.5), mlp([6, 20, 2], "relu", 2.0, weights="orthogonal")):
        assert str(other) == str(net)  # which would say nothing
        with pytest.raises(ValueError, match=r"relu, .*, not from one of other variances, weights or settings"):
            max_learning_rate(other, 8, confidence=0.95, networks=drawn)

"""First updates of sampled networks: what they do to outputs and layers, and where the loss comes back."""

import numpy as np
import pytest

import mfdnn
from mfdnn.learning_rate.updates.muon import muon_rows
from mfdnn.learning_rate.updates.response import step_response
from mfdnn.learning_rate.updates.rules import checked_update
from mfdnn.losses import loss_and_slope
from mfdnn.losses.line import line_search
from mfdnn.losses.muon import muon_adjustment, orthogonalised_values


def orthogonalised(G):
    """By singular values: what Newton and Schulz do without them."""
    u, s, vt = np.linalg.svd(G, full_matrices=False)
    return (u * orthogonalised_values(s / np.linalg.norm(s))) @ vt


def displacement(update, g, w):
    """Of one array of parameters at a unit rate, as the optimiser's definition says."""
    if update.family == "gradient":
        return update.factor * g
    if g is None:
        return None
    if update.family == "muon" and g.ndim == 2:
        return muon_adjustment(*g.shape, update.optimiser.adjust) * orthogonalised(g)
    g = g + update.decay * w
    return update.factor * g / np.where(g == 0, 1.0, np.abs(g) + update.eps)


def displacements(update, one, gradient):
    """Of all parameters, (weights, biases) for each layer."""
    both = zip(one.unflatten(gradient), one.parameters, strict=True)
    return [tuple(displacement(update, g, w) for g, w in zip(gs, ws, strict=True)) for gs, ws in both]


def rows_of(one, linear, update, gradient):
    """What each array's displacement does to the outputs: weights, then biases."""
    zero = one.unflatten(np.zeros(one.n_parameters))
    moved = displacements(update, one, gradient)
    found = []
    for part in (0, 1):
        for layer, arrays in enumerate(moved):
            only = [tuple(map(np.zeros_like, pair)) for pair in zero]
            pair = [np.zeros_like(a) for a in arrays]
            pair[part] = arrays[part]
            only[layer] = tuple(pair)
            found.append(linear.jvp(one.flatten(only)))
    return np.array(found)


CASES = {
    "elu": ("elu", 1.2, 0.2, [20, 150, 200, 130, 3], 10),
    "softplus": ("softplus", 1.4, 0.1, [25, 160, 130, 2], 15),
    "erf": ("erf", 1.6, 0.1, [30, 130, 200, 4], 12),
    "uniform leaky": ("leaky_relu", 1.8, 0.0, [20, 150, 150, 1], 12),
}


@pytest.mark.parametrize("case", CASES)
def test_sampled_networks_respond_as_predicted_layer_by_layer(case):
    act, sigma_w2, sigma_b2, widths, n = CASES[case]
    rng, n_nets = np.random.default_rng(7), 16
    X, e = rng.standard_normal((n, widths[0])), rng.standard_normal((n, widths[-1]))
    net = mfdnn.mlp(widths, act, sigma_w2, sigma_b2, weights="uniform" if "uniform" in case else "gaussian")
    wide = mfdnn.MeanField(net, inputs=X)
    plain = step_response(wide, checked_update("sgd"), "standard").rows(e, 1, rng).D
    eps = float(np.sqrt((plain * e).sum() / n / net.n_parameters))  # the size of a gradient
    updates = {
        "sgd": checked_update("sgd"),
        "lion": checked_update("lion"),
        "adam": checked_update("adam", eps=eps),
        "decayed": checked_update("rmsprop", eps=eps / 10, weight_decay=2 * eps * np.sqrt(widths[1] / sigma_w2)),
        "muon": checked_update("muon", eps=eps),
    }
    if "uniform" in case:  # their decay counts as Gaussian in the theory
        del updates["decayed"]
    theory = {name: step_response(wide, update, "standard").rows(e, 2000, rng) for name, update in updates.items()}
    found = {name: [] for name in updates}
    for seed in range(n_nets):
        one = mfdnn.sample(net, rng=[11, seed])
        linear = one.linearise(X)
        gradient = linear.vjp(e / n)
        for name, update in updates.items():
            found[name].append(np.einsum("rtk,tk->r", rows_of(one, linear, update, gradient), e))
    L = len(widths) - 1
    for name, (D, error) in theory.items():
        said, measured = np.einsum("rtk,tk->r", D, e), np.array(found[name])
        deviation = np.hypot(measured.std(axis=0, ddof=1) / np.sqrt(n_nets), error)
        # Of 1/M, and of Muon 0.3 T/M, are not in the theory.
        beyond = 0.02 * np.abs(said)
        if name == "muon":
            beyond[:L] += 0.3 * n / min(widths[1:-1]) * said[:L]
        assert np.all(np.abs(measured.mean(axis=0) - said) <= 3 * deviation + beyond + 1e-12), name
        total = measured.sum(axis=1)
        error_of_total = np.hypot(total.std(ddof=1) / np.sqrt(n_nets), np.linalg.norm(error))
        assert abs(total.mean() - said.sum()) <= 3 * error_of_total + beyond.sum(), name


@pytest.mark.parametrize("name", ["sgd", "lion", "rmsprop", "muon"])
def test_layers_move_themselves_as_predicted(name):
    """By ten networks; their scatter is 3 %, and Muon's biases are taken as independent of its weights (13 %)."""
    net = mfdnn.mlp([30, 128, 200, 128, 2], "gelu", 2.0, 0.1)
    rng = np.random.default_rng(0)
    X, e = rng.standard_normal((16, 30)), rng.standard_normal((16, 2))
    update = checked_update(name, eps=1e-3)
    response = step_response(mfdnn.MeanField(net, inputs=X), update, "standard")
    said = np.mean([response.speed(e, rng) for _ in range(10)])  # each of few units
    found = []
    for seed in range(10):
        one = mfdnn.sample(net, rng=[3, seed])
        moved = displacements(update, one, one.linearise(X).vjp(e / 16))
        total = 0.0
        for layer in range(3):
            head = mfdnn.SampledNetwork(mfdnn.Network(30, net.layers[: 2 * layer + 1]), one.parameters[: layer + 1])
            own = [tuple(map(np.zeros_like, pair)) for pair in head.parameters]
            own[-1] = moved[layer]
            total += np.sqrt(np.mean(head.jvp(X, own) ** 2) / np.mean(head(X) ** 2))
        found.append(total)
    assert np.mean(found) == pytest.approx(said, rel=0.15 if name == "muon" else 0.08)


def line_searched(net, X, Y, loss, update, guess, seed):
    """The rate at which one step brings the loss of a fresh network back to where it was."""
    one = mfdnn.sample(net, rng=seed)
    linear = one.linearise(X)
    first, slope = loss_and_slope(loss, linear.outputs.copy(), Y)
    along, start = one.flatten(displacements(update, one, linear.vjp(slope))), one.vector
    found = line_search(lambda rate: loss_and_slope(loss, one.at(start - rate * along)(X), Y)[0], first, guess)
    return found.crossings[0]


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize(
    ("act", "sigma_w2", "sigma_b2", "low", "high"), [("tanh", 1.3, 0.05, 0.8, 1.3), ("relu", 2.0, 0.0, 0.8, 1.4)]
)
def test_critical_rates_of_fresh_networks(act, sigma_w2, sigma_b2, low, high, name):
    net = mfdnn.mlp([64, 256, 256, 10], act, sigma_w2, sigma_b2)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((48, 64)), np.eye(10)[rng.integers(10, size=48)]
    step = mfdnn.first_step(net, name, inputs=X, targets=Y)
    found = [
        line_searched(net, X, Y, "half_mse", checked_update(name), float(step), [5, seed]) for seed in range(14)
    ]
    assert low < np.median(found) / float(step) < high
    inside = np.mean((np.array(found) > 0.9 * step.band[0]) & (np.array(found) < 1.25 * step.band[1]))
    assert inside >= 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adam", "muon"])
def test_the_band_of_many_networks(name):
    """5 to 95 % of sixty networks' rates, which know their ends to 15 %: the band is never narrower by more.

    It may be wider, most of all above: large outputs and large kernels, which come together in relu networks, count
    apart, and where errors have little of the outlier the rate is large and outputs are no longer linear in it.
    """
    net = mfdnn.mlp([64, 256, 256, 1], "relu", 2.0, 0.1)
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((40, 64)), rng.standard_normal((40, 1))
    step = mfdnn.first_step(net, name, inputs=X, targets=Y, n_draws=200)
    found = [
        line_searched(net, X, Y, "half_mse", checked_update(name), float(step), [9, seed]) for seed in range(60)
    ]
    ratio = np.quantile(found, [0.05, 0.5, 0.95]) / [step.band[0], float(step), step.band[1]]
    assert np.all((ratio > [0.8, 0.85, 0.35]) & (ratio < [2.0, 1.3, 1.3])), ratio


MANY = [("relu", [32, 96, 96, 2], 96), ("tanh", [32, 64, 96, 1], 150), ("gelu", [64, 100, 100, 10], 40)]


@pytest.mark.parametrize(("act", "widths", "n"), MANY)
def test_muon_with_many_inputs(act, widths, n):
    """T of the order of M: the closed form is up to a quarter too large, Gram matrices of sampled units are not."""
    rng, n_nets = np.random.default_rng(3), 10
    X, e = rng.standard_normal((n, widths[0])), rng.standard_normal((n, widths[-1]))
    net = mfdnn.mlp(widths, act, 1.6, bias=False)
    update = checked_update("muon")
    response = step_response(mfdnn.MeanField(net, inputs=X), update, "standard")
    rows, errors = response.rows(e, 2000, rng)
    said = np.einsum("rtk,tk->r", rows, e)[:3]
    closed = np.einsum("rtk,tk->r", muon_rows(response.layers, response.rates, "original", e), e)
    found = []
    for seed in range(n_nets):
        one = mfdnn.sample(net, rng=[2, seed])
        moved = displacements(update, one, one.vjp(X, e / n))
        gradients = one.unflatten(one.vjp(X, e / n))
        found.append([n * np.vdot(u, g) for (u, _), (g, _) in zip(moved, gradients, strict=True)])
    total = np.sum(found, axis=1)
    error = np.hypot(total.std(ddof=1) / np.sqrt(n_nets), np.linalg.norm(errors))
    assert abs(total.mean() - said.sum()) < 3 * error + 0.05 * said.sum()
    assert closed.sum() > 1.02 * said.sum()

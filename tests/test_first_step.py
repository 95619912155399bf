"""First updates of optimisers: known values, closed forms, identities, parameterisations, what is said."""

import json
import pickle

import numpy as np
import pytest
from scipy.integrate import quad

import mfdnn
from mfdnn import NoTheory
from mfdnn.learning_rate.updates.chain import step_layers
from mfdnn.learning_rate.updates.draws import error_of_median, quantile_of_draws
from mfdnn.learning_rate.updates.gradient import gradient_rows, gradient_speeds
from mfdnn.learning_rate.updates.muon import muon_rows, muon_speeds
from mfdnn.learning_rate.updates.parameterisation import LayerRates, mup_network
from mfdnn.learning_rate.updates.response import step_response
from mfdnn.learning_rate.updates.rules import checked_update
from mfdnn.learning_rate.updates.sign import _Psi, gain, sign_rows
from mfdnn.losses import LOSSES, softmax
from mfdnn.losses.muon import muon_adjustment
from mfdnn.losses.optimisers import RULES

ROWS = np.arange(6)[:, None]
X = np.cos(1 + ROWS * (np.arange(8) + 1))
E = np.cos(ROWS + 2 * np.arange(2))
# e.D of the weights of layers 1..3 and of their biases, widths 8-100-100-2, sigma_w2 1.5, sigma_b2 0.1; the sampled
# ones from a million pairs, which leaves 0.02 to 0.07 %. And 2 e.D/D.D and |D| of sgd, signs and Muon's polar factor,
# and how far layers 1 and 2 move themselves by sgd and Muon. Written apart from this package.
VALUES = {
    "relu": {
        "sgd": [2.1396, 22.8366, 15.0372, 0.3409, 0.2447, 0.0099],
        "sign": [73.17, 619.3, 89.82, 10.83, 7.73, 0.298],
        "adam": [39.25, 348.3, 75.70, 6.09, 4.22, 0.177],
        "polar": [8.2231, 25.4499, 12.9208],
        "muon": [8.5372, 25.2650, 10.7142],
        "rate": [0.19019, 0.01248, 0.1558],
        "norm": [20.665, 358.3, 29.424],
        "speed": [[0.0734, 0.7339], [0.7683, 0.7604]],
        "one": [24.772574, 144.917625, 31.366653],
    },
    "tanh": {
        "sgd": [2.1317, 23.2894, 20.6891, 0.1648, 0.1044, 0.0099],
        "sign": [72.12, 823.5, 123.64, 7.67, 5.56, 0.298],
        "adam": [38.19, 427.1, 105.98, 3.64, 2.39, 0.177],
        "polar": [7.5218, 22.9276, 15.1648],
        "muon": [7.4118, 23.4651, 12.5913],
        "rate": [0.2052, 0.00969, 0.16776],
        "norm": [21.264, 461.8, 27.770],
        "speed": [[0.0653, 0.6227], [0.7683, 0.7507]],
        "one": [35.244485, 304.951718, 47.618679],
    },
    "gelu": {
        "sgd": [1.6084, 17.4800, 14.1197, 0.2087, 0.1548, 0.0099],
        "sign": [63.15, 577.1, 89.80, 8.50, 6.68, 0.298],
        "adam": [31.56, 288.9, 74.47, 4.27, 3.17, 0.177],
        "polar": [6.9639, 21.4654, 12.5054],
        "muon": [7.1409, 22.1022, 10.3520],
        "rate": [0.22774, 0.01298, 0.17411],
        "norm": [17.173, 338.9, 25.943],
        "speed": [[0.0622, 0.5933], [0.7683, 0.7508]],
        "one": [23.816720, 151.841935, 28.653330],
    },
}
STANDARD = [LayerRates()] * 3


def chain(act, X=X, widths=(8, 100, 100, 2)):
    return step_layers(mfdnn.MeanField(mfdnn.mlp(widths, act, 1.5, 0.1), inputs=X))


def sampled(layers, name, e, n=20_000, rng=0, **options):
    return sign_rows(layers, STANDARD, checked_update(name, **options), e, n, np.random.default_rng(rng))


def slopes(rows, e=E):
    return np.einsum("rtk,tk->r", rows, e)


def speed(squares, layers):
    return np.sqrt(squares / [np.trace(at.above.covariance) / len(X) for at in layers[:-1]])


@pytest.mark.parametrize("act", VALUES)
def test_known_values(act):
    known, layers = VALUES[act], chain(act)
    rows = {
        "sgd": gradient_rows(layers, STANDARD, E),
        "polar": muon_rows(layers, STANDARD, "original", E, steps=None),
        "muon": muon_rows(layers, STANDARD, "original", E),
    }
    factors = [muon_adjustment(100, 8, "original"), 1.0, 1.0]  # the known values are without
    for name, D in rows.items():
        found = slopes(D) / (1.0 if name == "sgd" else factors)
        np.testing.assert_allclose(found, known[name], rtol=1e-4, atol=6e-5)  # as they are printed
    signs = {"sign": sampled(layers, "lion", E), "adam": sampled(layers, "adam", E, eps=0.02)}
    for name, (D, error) in signs.items():
        of_known = 1e-3 * np.array(known[name]) + 6e-4  # their own errors, and digits
        assert np.all(np.abs(slopes(D) - known[name]) < 3.5 * error + of_known), name
    totals = [rows["sgd"].sum(0), signs["sign"][0].sum(0), rows["polar"].sum(0)]
    rates = [2 * np.vdot(E, D) / np.vdot(D, D) for D in totals]
    norms = [np.linalg.norm(D) for D in totals]
    # 20 000 pairs leave 0.3 % of the norm by signs, twice that of the rate; the rest is as printed.
    for found, name, loose in ((rates, "rate", 1e-2), (norms, "norm", 6e-3)):
        assert np.all(np.abs(np.array(found) / known[name] - 1) < [5e-4, loose, 5e-4]), name
    moved = [
        speed(gradient_speeds(layers, STANDARD, E), layers),
        speed(muon_speeds(layers, STANDARD, "original", E, steps=None), layers),
    ]
    np.testing.assert_allclose(moved, known["speed"], atol=6e-5)


@pytest.mark.parametrize("act", VALUES)
def test_one_sample_in_closed_form(act):
    x, e = np.linspace(-1, 1, 12)[None], np.array([[1.0, -0.5]])
    layers = chain(act, x, (12, 100, 100, 2))
    D, error = sampled(layers, "signsgd", e)
    # Half of |e| is not the first output's; the error of e.D bounds that of its share.
    np.testing.assert_array_less(np.abs(D[:3, 0, 0] - VALUES[act]["one"]), 3.5 * error[:3] + 1e-5)
    np.testing.assert_allclose(D[:2, 0, 1] / D[:2, 0, 0], -0.5, rtol=1e-12)  # along e in hidden layers
    np.testing.assert_allclose(D[2, 0, 1], -D[2, 0, 0], rtol=1e-12)  # by signs at the outputs


GAINS = [(0, 0.7978845608), (0.1, 0.7176018951), (1, 0.4127551003), (10, 0.0865238544)]


@pytest.mark.parametrize(("x", "known"), GAINS)
def test_gain(x, known):
    assert gain(np.array(float(x))) == pytest.approx(known, abs=1e-10)

    def density(z):
        return 2 * z**2 / (z + x) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi) if z else 0.0

    assert gain(np.array(float(x))) == pytest.approx(quad(density, 0, np.inf, epsabs=1e-13)[0], abs=1e-11)


def test_gain_where_its_forms_meet():
    x = np.array([5 - 1e-9, 5.0, 1e6])
    found = gain(x)
    assert found[0] == pytest.approx(found[1], rel=1e-8)
    assert found[2] == pytest.approx(1e-6, rel=1e-5)


def test_rows_of_sgd_sum_to_the_tangent_kernel():
    net = mfdnn.mlp([8, 50, 70, 2], "gelu", 1.5, 0.1)
    wide = mfdnn.MeanField(net, inputs=X)
    response = step_response(wide, checked_update("sgd"), "standard")
    D = response.rows(E, 1, np.random.default_rng(0)).D.sum(0)
    np.testing.assert_allclose(D, mfdnn.ntk(net, X) @ E / len(E), rtol=1e-12)
    psi = step_response(wide, checked_update("sgd"), "ntk").rows(E, 1, np.random.default_rng(0)).D.sum(0)
    np.testing.assert_allclose(psi, mfdnn.ntk(net, X, parameterisation="ntk") @ E / len(E), rtol=1e-12)


@pytest.mark.parametrize("eps", [1e-9, 1e9])
def test_adam_lies_between_signs_and_descent(eps):
    layers = chain("tanh")
    if eps < 1:
        np.testing.assert_allclose(sampled(layers, "adam", E, eps=eps).D, sampled(layers, "lion", E).D, rtol=1e-6)
    else:
        D = eps * sampled(layers, "adam", E, 2000, eps=eps).D[[0, 1, 3, 4, 5]]  # the last weights are sampled plainly
        np.testing.assert_allclose(D, gradient_rows(layers, STANDARD, E)[[0, 1, 3, 4, 5]], rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "lion", "muon"])
def test_invariances(name):
    """Of the errors' size, of rotations of the outputs, and of repeated inputs."""
    wide = mfdnn.MeanField(mfdnn.mlp([8, 100, 100, 2], "relu", 1.5, 0.1), inputs=X)
    twice = mfdnn.MeanField(wide.network, inputs=np.concatenate([X, X]))

    def rows(wide, e):
        return step_response(wide, checked_update(name, eps=0), "standard").rows(e, 200, np.random.default_rng(3)).D

    D = rows(wide, E)
    np.testing.assert_allclose(rows(wide, 7 * E), (7 if name == "sgd" else 1) * D, rtol=1e-9, atol=1e-9)
    angle = 0.4
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    kept = {"sgd": range(6), "lion": (0, 1, 3, 4), "muon": range(5)}[name]  # signs at the outputs know their axes
    for i in kept:
        np.testing.assert_allclose(rows(wide, E @ turned)[i], D[i] @ turned, rtol=1e-9, atol=1e-9)
    if name == "lion":  # pairs are other ones
        many = step_response(twice, checked_update(name), "standard")
        both, error = many.rows(np.concatenate([E, E]), 4000, np.random.default_rng(4))
        once, more = step_response(wide, checked_update(name), "standard").rows(E, 4000, np.random.default_rng(5))
        assert np.all(np.abs(slopes(both[:, :6]) - slopes(once)) < 3.5 * np.hypot(error / 2, more) + 1e-12)
    else:
        weights = range(3)
        both = rows(twice, np.concatenate([E, E]))
        for i in weights:
            np.testing.assert_allclose(both[i], np.concatenate([D[i], D[i]]), rtol=1e-6, atol=1e-6)


def test_decay_in_the_gradient_weakens_signs():
    """S and w W are independent Gaussians: where decay rules, the step follows the gradient over its size."""
    layers = chain("relu")
    w = 1e4
    D = sampled(layers, "adam", E, eps=0.0, weight_decay=w).D
    expected = gradient_rows(layers, STANDARD, E)[:3]
    for i, at in enumerate(layers):
        expected[i] *= np.sqrt(2 / np.pi) / (w * np.sqrt(at.layer.sigma_w2 / at.fan_in))
    np.testing.assert_allclose(D[:2], expected[:2], rtol=1e-4)
    error = np.abs(D[2] - expected[2]).max() / np.abs(expected[2]).max()  # 20 000 units, sampled plainly
    assert error < 0.03
    decoupled = sampled(layers, "adamw", E, 100, weight_decay=w).D
    np.testing.assert_array_equal(decoupled, sampled(layers, "adamw", E, 100).D)


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.1, 5.0])
def test_psi_averaged_over_the_decay(eps):
    update = checked_update("adam", eps=eps, weight_decay=0.3)
    psi = _Psi(update, unit=1.0, variance=0.5, n_samples=3)
    spread = 3 * 0.3 * np.sqrt(0.5)
    S = np.array([-2.0, 0.0, 0.05, 0.6, 30.0])

    def mean(s):
        def integrand(x):
            return x / (abs(x) + 3 * eps) * np.exp(-(((x - s) / spread) ** 2) / 2) if x else 0.0

        lower, upper = s - 9 * spread, s + 9 * spread
        points = [p for p in (-1e-5, 0, 1e-5, s) if lower < p < upper]
        return quad(integrand, lower, upper, points=points, limit=400)[0] / (spread * np.sqrt(2 * np.pi))

    np.testing.assert_allclose(psi.mean(S), [mean(s) for s in S], atol=4e-6)  # of quad, over so sharp a step


def test_updates_of_all_optimisers():
    """Against what each does with its first gradient, written out."""
    g = np.array([0.3, -2.0, 1e-3])
    eps = 1e-2
    b1, mu, following = 0.9, 0.9 * (1 - 0.5 * 0.96**0.004), 0.9 * (1 - 0.5 * 0.96**0.008)
    nadam = (1 + following * (1 - b1) / (1 - mu * following)) * g / (np.abs(g) + eps)
    adam = g / (np.abs(g) + eps)
    known = {
        **dict.fromkeys(("adam", "adamw", "adamax", "adagrad"), adam),
        **dict.fromkeys(("lion", "signsgd"), np.sign(g)),
        **dict.fromkeys(("sgd", "radam"), g),
        "rmsprop": g / (np.sqrt(0.01 * g**2) + eps),
        "nadam": nadam,
    }
    assert {*known, "muon"} == set(RULES)
    for name, expected in known.items():
        update = checked_update(name, eps=eps)
        found = update.factor * (g if update.family == "gradient" else g / (np.abs(g) + update.eps))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert checked_update("nadam").factor == pytest.approx(1.0564518, abs=1e-7)
    assert checked_update("sgd", momentum=0.9).factor == 1
    assert checked_update("sgd", momentum=0.9, nesterov=True).factor == 1.9
    assert checked_update("muon", momentum=0.9, nesterov=True).factor == 1


NET = mfdnn.mlp([8, 100, 100, 2], "relu", 1.5, 0.1)


@pytest.mark.parametrize("name", RULES)
def test_every_optimiser_has_a_first_step(name):
    step = mfdnn.first_step(NET, name, inputs=X, n_draws=6)
    assert float(step) == step.critical_learning_rate == min(step.directional, step.cap)
    assert step.validity == pytest.approx(4 * step.directional / step.cap)
    assert step.band[0] < float(step) < step.band[1]
    assert step.by_layer.shape == (3,) and step.by_layer.sum() == pytest.approx(1, abs=0.05)  # medians
    assert 0 < step.bias_share < 1
    assert (step.optimizer, step.labels, step.inputs) == (name, "one-hot", "given")
    assert (step.n_samples, step.n_outputs, step.n_draws) == (6, 2, 6)
    assert set(step.standard_error) == {"response", "directional", "critical_learning_rate"}
    plain = json.loads(json.dumps(step.to_dict()))
    assert plain["critical_learning_rate"] == float(step)
    assert pickle.loads(pickle.dumps(step)).quantile(0.5) == step.quantile(0.5)
    assert name in repr(step)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["sgd", "muon"])
def test_the_critical_rate_is_where_the_parabola_returns(loss, name):
    """By a twin: e, D and the loss along it, of the same draw of outputs."""
    y = np.eye(2)[[0, 1, 1, 0, 1, 0]]
    net = mfdnn.mlp([8, 100, 100, 2], "tanh", 1.5, 0.1, bias=True)
    wide = mfdnn.MeanField(net, inputs=X)
    step = mfdnn.first_step(wide, name, targets=y, loss=loss, n_draws=2, rng=5)
    seeds = np.random.default_rng(5).spawn(4)
    f = wide.outputs.draw(6, 2, 2, seeds[2])
    rates, sizes = [], []
    response = step_response(wide, checked_update(name), "standard")
    for i in range(2):
        s = {"half_mse": 1, "mse_per_sample": 2, "torch_mse": 1, "torch_mse_sum": 12, "cross_entropy": 1}[loss]
        p = softmax(f[i])
        e = s * (f[i] - y) if loss != "cross_entropy" else p - y
        D = response.rows(e, 1500, seeds[3]).D.sum(0)
        Q = [s * np.eye(2) if loss != "cross_entropy" else np.diag(row) - np.outer(row, row) for row in p]
        rates.append(2 * np.vdot(e, D) / sum(d @ q @ d for d, q in zip(D, Q, strict=True)))
        shown = D - D.mean(1, keepdims=True) if loss == "cross_entropy" else D
        sizes.append(np.sqrt(np.mean(shown**2)))
    assert step.directional == pytest.approx(np.median(rates), rel=1e-10)
    assert step.response == pytest.approx(np.median(sizes), rel=1e-10)


def test_integer_labels_are_unit_vectors():
    labels = np.array([0, 1, 1, 0, 1, 0])
    one, other = (mfdnn.first_step(NET, "sgd", inputs=X, targets=y) for y in (labels, np.eye(2)[labels]))
    assert float(one) == float(other) and one.labels == "given"
    assert mfdnn.first_step(mfdnn.mlp([8, 20, 1]), "sgd", 10).labels == "gaussian"


def test_inputs_that_are_drawn():
    step = mfdnn.first_step(NET, "sgd", q0=2.0, c0=0.5)
    assert (step.n_samples, step.inputs) == (100, "gaussian")
    again = mfdnn.first_step(mfdnn.MeanField(NET, 100, 2.0, 0.5), "sgd")
    assert float(again) == float(step) and again.inputs == "gaussian"
    assert float(mfdnn.first_step(NET, "sgd", q0=2.0, c0=0.5, rng=1)) != float(step)


def test_networks_that_are_no_chains_have_the_step_of_descent():
    net = mfdnn.cnn((3, 6, 6), [8, 8], 4, "relu", norm=None)
    inputs = np.random.default_rng(0).standard_normal((5, 3, 6, 6))
    wide = mfdnn.MeanField(net, inputs=inputs)
    step = mfdnn.first_step(wide, "sgd", n_draws=4)
    assert step.validity is None and step.cap is None and "not known" in step.caution
    assert step.critical_learning_rate == step.directional
    e = np.ones((5, 4))
    D = step_response(wide, checked_update("sgd"), "standard").rows(e, 1, np.random.default_rng(0)).D
    assert len(D) == net.n_weight_layers
    np.testing.assert_allclose(D.sum(0), mfdnn.ntk(net, inputs) @ e / 5, rtol=1e-10)
    for name in ("adam", "muon"):
        with pytest.raises(NoTheory, match="got a layer Conv"):
            mfdnn.first_step(wide, name)
    with pytest.raises(NoTheory, match="`parameterisation` = ntk is known for fully connected"):
        mfdnn.first_step(wide, "sgd", parameterisation="ntk")


def test_normalised_networks_have_the_step_of_descent():
    layers = [mfdnn.Dense(100, 2.0, 0.1), mfdnn.BatchNorm(), mfdnn.Pointwise("relu"), mfdnn.Dense(2)]
    inputs = np.random.default_rng(0).standard_normal((10, 8))
    wide = mfdnn.MeanField(mfdnn.Network(8, layers), inputs=inputs)
    e = np.ones((10, 2))
    rows = step_response(wide, checked_update("sgd"), "standard").rows(e, 1, np.random.default_rng(0)).D
    np.testing.assert_allclose(rows.sum(0), mfdnn.ntk(wide) @ e / 10, rtol=1e-10)
    assert mfdnn.first_step(wide, "sgd").by_layer.sum() == pytest.approx(1, abs=0.05)
    with pytest.raises(NoTheory, match="got a layer BatchNorm"):
        mfdnn.first_step(wide, "lion")
    behind = mfdnn.Network(8, [mfdnn.Dense(100), mfdnn.Pointwise("relu"), mfdnn.Dense(2), mfdnn.BatchNorm()])
    with pytest.raises(NoTheory, match="at the outputs"):
        mfdnn.first_step(behind, "sgd", inputs=inputs)


def test_nothing_to_learn():
    net = mfdnn.mlp([8, 20, 2], "relu", 2.0, bias=False)
    for name in ("sgd", "adam", "muon"):
        step = mfdnn.first_step(net, name, inputs=np.zeros((4, 8)), targets=np.zeros((4, 2)))
        assert float(step) == np.inf and step.response == 0 and "nothing to learn" in step.caution
        assert step.validity == 0.0


def test_two_weight_layers_without_an_activation_between():
    """All pairs are alike: their sums S have one variance, and a bias of the first layer has its closed form."""
    layers = [mfdnn.Dense(50, 1.0, 0.1), mfdnn.Dense(60, 1.2, 0.1), mfdnn.Pointwise("relu"), mfdnn.Dense(2)]
    wide = mfdnn.MeanField(mfdnn.Network(8, layers), inputs=X)
    response = step_response(wide, checked_update("lion"), "standard")
    rows = response.rows(E, 500, np.random.default_rng(0)).D
    V = np.einsum("sk,st,tk->", E, response.layers[0].back, E)
    assert slopes(rows)[3] == pytest.approx(50 * np.sqrt(2 / np.pi * V), rel=1e-9)


def test_one_weight_layer_has_no_kernels_to_draw():
    step = mfdnn.first_step(mfdnn.mlp([8, 3]), "muon", inputs=X)
    assert step.caution == "" and step.validity == 0 and step.cap is None and step.by_layer.tolist() == [1.0]


def test_a_zero_head_lets_nothing_through():
    net = mfdnn.Network(8, [mfdnn.Dense(50), mfdnn.Pointwise("tanh"), mfdnn.Dense(2, 0.0, bias=False)])
    for name in ("adam", "muon", "sgd"):
        step = mfdnn.first_step(net, name, inputs=X, targets=E)
        np.testing.assert_allclose(step.by_layer, [0, 1], atol=1e-12)
        assert np.isfinite(float(step))


def test_mup_changes_the_last_variance_alone():
    net = mup_network(NET)
    assert [layer.sigma_w2 for layer, _ in net.weight_layers] == [1.5, 1.5, 0.015]
    assert NET.weight_layers[-1][0].sigma_w2 == 1.5
    assert "muP" in mfdnn.first_step(NET, "sgd", inputs=X, parameterisation="mup").caution


@pytest.mark.parametrize("name", ["sgd", "signsgd", "muon"])
def test_rates_in_units_of_the_parameters(name):
    """NTK parameterisation: one update of psi is worth s, or s^2, in W = s psi."""
    wide = mfdnn.MeanField(NET, inputs=X)
    update = checked_update(name, eps=0)
    own, ntk = (
        step_response(wide, update, p).rows(E, 300, np.random.default_rng(0)).D for p in ("standard", "ntk")
    )
    units = [layer.ntk_units(shape) for layer, shape in NET.weight_layers]
    power = 2 if name == "sgd" else 1
    expected = [w**power for w, _ in units] + [b**power for _, b in units]
    np.testing.assert_allclose(ntk, np.array(expected)[:, None, None] * own, rtol=1e-9)


def test_eps_counts_in_units_of_the_parameters():
    wide = mfdnn.MeanField(NET, inputs=X)
    s = np.sqrt(1.5 / 100)
    ntk = step_response(wide, checked_update("adam", eps=1e-3), "ntk").rows(E, 300, np.random.default_rng(0)).D
    own = step_response(wide, checked_update("adam", eps=1e-3 / s), "standard").rows(E, 300, np.random.default_rng(0)).D
    np.testing.assert_allclose(ntk[1], s * own[1], rtol=1e-9)


def test_quantiles_of_draws():
    step = mfdnn.first_step(NET, "adam", inputs=X)
    assert step.quantile(0.05) == pytest.approx(step.band[0], rel=1e-12)
    assert np.all(np.diff(step.quantile([0.1, 0.5, 0.9])) > 0)
    rates = np.exp(0.5 * np.random.default_rng(0).standard_normal(4000))
    both = np.log(quantile_of_draws(rates, 0.5, np.array([0.05, 0.5, 0.95])))
    # s.e. of a 5 % quantile of 4000 numbers: 0.034 sigma
    np.testing.assert_allclose(both, 1.645 * np.sqrt(0.5) * np.array([-1, 0, 1]), atol=0.07)
    with pytest.raises(ValueError, match="`p` must lie in"):
        step.quantile(1.5)


def test_the_error_of_a_median_is_honest():
    rng = np.random.default_rng(0)
    for n in (5, 30):
        samples = np.exp(rng.standard_normal((2000, n)))
        said, true = np.mean([error_of_median(row) for row in samples]), np.median(samples, axis=1).std()
        assert 0.8 * true < said < 2 * true
    assert error_of_median(np.array([np.inf, np.inf])) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": "adan"}, ValueError, "did you mean .*adam"),
        ({"optimizer": 3}, ValueError, "`optimizer` must be one of"),
        ({"eps": -1e-8}, ValueError, "`eps` must be >= 0"),
        ({"optimizer": "sgd", "eps": -1e-8}, ValueError, "`eps` must be >= 0"),
        ({"momentum": 0.9}, ValueError, "`momentum` is no setting of optimizer 'adam'"),
        ({"optimizer": "sgd", "nesterov": True}, ValueError, "`nesterov` does nothing"),
        ({"adjust": "spectral_unclamped"}, ValueError, "`adjust` is no setting of optimizer 'adam'"),
        ({"optimizer": "muon", "adjust": "spectral"}, ValueError, "did you mean spectral_unclamped"),
        ({"weight_decay": -1}, ValueError, "`weight_decay` must be >= 0"),
        ({"parameterisation": "muP"}, ValueError, "did you mean mup"),
        ({"loss": "mse"}, ValueError, "did you mean half_mse"),
        ({"targets": np.ones((5, 2))}, ValueError, "`targets` must have the shape of the outputs"),
        ({"targets": [0, 1, 2, 0, 1, 0]}, ValueError, "`targets` must hold labels from 0 to 1"),
        ({"targets": np.full((6, 2), 0.7), "loss": "cross_entropy"}, ValueError, "`targets` must hold probabilities"),
        ({"n_draws": 1}, ValueError, "`n_draws` must be an integer >= 2"),
        ({"q0": 1.0}, ValueError, "`inputs` excludes `q0`"),
        ({"rng": "a"}, TypeError, "`rng` must be"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        mfdnn.first_step(NET, **{"inputs": X, **arguments})


def test_cross_entropy_of_one_output():
    with pytest.raises(ValueError, match="two outputs or more"):
        mfdnn.first_step(mfdnn.mlp([8, 20, 1]), "adam", 6, loss="cross_entropy")


def test_cross_entropy_says_what_line_searches_gave():
    """The rows of the page that were furthest from 1 lie within what is said of them."""
    inputs, classes = np.random.default_rng(0).standard_normal((30, 8)), np.arange(30) % 3
    for phi, said in (("tanh", "1 to 11 times"), ("relu", "to 4 times")):
        net = mfdnn.mlp([8, 100, 100, 3], phi, sigma_w2=1.0)
        step = mfdnn.first_step(net, "adamw", inputs=inputs, targets=classes, loss="cross_entropy", n_draws=4)
        assert step.validity < 4 and said in step.caution
    deep = mfdnn.mlp([8, *[100] * 5, 3], "relu", init="pytorch")
    step = mfdnn.first_step(deep, "muon", inputs=inputs, targets=classes, loss="cross_entropy", n_draws=4)
    assert step.validity > 4 and "0.5 to 5 times" in step.caution


def test_settings_at_the_edge_of_numbers():
    assert float(mfdnn.first_step(NET, "sgd", inputs=X, eps=None)) == float(mfdnn.first_step(NET, "sgd", inputs=X))
    step = mfdnn.first_step(NET, "adam", inputs=X, weight_decay=1e300, n_draws=4)  # nothing of the gradient is left
    assert step.response == 0 and "nothing to learn" in step.caution
    with pytest.raises(ValueError, match=r"`targets` reach 1e\+200"):
        mfdnn.first_step(NET, "muon", inputs=X, targets=np.full((6, 2), 1e200))


def test_one_weight_layer_in_mup_has_no_layers_that_move():
    assert mfdnn.first_step(mfdnn.mlp([8, 3]), "adam", inputs=X, parameterisation="mup").caution == ""

"""Theory of two-layer networks, and the widths that training them needs."""

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mfdnn
from mfdnn import comparison
from mfdnn.kernels import TwoLayerTheory
from mfdnn.kernels.theorems import THEOREMS
from mfdnn.training.two_layer import draw, squared_residuals, tangent_kernel


def sphere(n, d, rng=0):
    X = np.random.default_rng(rng).standard_normal((n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def labels(n, rng=1):
    return np.random.default_rng(rng).standard_normal(n)


def trained(theory, X, width, eta, n_steps, rng=0):
    """|u(k) - y| of one network, and its outputs at the start."""
    w, a = draw(width, X.shape[1], theory.kappa, rng)
    start = theory.activation(X @ w.T) @ a / np.sqrt(width)
    run = squared_residuals(w, a, X, theory.labels, theory.activation, eta, n_steps, theory.trained == "both")
    return np.sqrt(list(run)), start


@pytest.fixture(scope="module")
def data():
    return sphere(12, 4), labels(12)


@pytest.fixture(scope="module")
def theory(data):
    return mfdnn.two_layer_theory(*data)


# -- the kernel -----------------------------------------------------------------------------------------------


def test_the_kernel_of_relu_is_the_closed_form(data, theory):
    c = np.clip(data[0] @ data[0].T, -1, 1)
    np.fill_diagonal(c, 1.0)
    np.testing.assert_allclose(theory.gram, c * (np.pi - np.arccos(c)) / (2 * np.pi), rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.diag(theory.gram), 0.5, atol=1e-15)


@pytest.mark.parametrize("phi", ["relu", "tanh", "gelu", "erf", "sin", lambda x: np.abs(x) ** 3 / 6])
@pytest.mark.parametrize("both", [False, True])
def test_the_kernel_is_that_of_the_integrals(data, phi, both):
    X, y = data
    kappa = 0.7
    found = mfdnn.two_layer_theory(X, y, phi, trained="both" if both else "weights", kappa=kappa)
    c = np.clip(X @ X.T, -1, 1)
    np.fill_diagonal(c, 1.0)
    expected = c * mfdnn.expect_product(phi, kappa**2, c, derivative=1)
    if both:
        expected = expected + mfdnn.expect_product(phi, kappa**2, c)
    np.testing.assert_allclose(found.gram, expected, rtol=0, atol=1e-10 * expected.max())


@pytest.mark.parametrize("phi", ["relu", "tanh"])
@pytest.mark.parametrize("both", [False, True])
def test_the_kernel_is_the_mean_of_drawn_ones(data, phi, both):
    X, y = data[0][:4], data[1][:4]
    found = mfdnn.two_layer_theory(X, y, phi, trained="both" if both else "weights", kappa=1.3)
    act = mfdnn.activation(phi)
    drawn = np.array([tangent_kernel(*draw(200, 4, 1.3, seed), X, act, both) for seed in range(200)])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    # Four standard errors of ten different entries: one seed in a thousand.
    assert np.all(np.abs(drawn.mean(axis=0) - found.gram) < 4 * error + 1e-12)


@pytest.mark.parametrize("phi", ["relu", "tanh"])
def test_trained_in_both_layers_the_kernel_is_the_tangent_kernel_in_ntk_parameterisation(data, phi):
    X, y = data
    net = mfdnn.Network(4, [mfdnn.Dense(100, 4.0, bias=False), mfdnn.Pointwise(phi), mfdnn.Dense(1, 1.0, bias=False)])
    found = mfdnn.two_layer_theory(X, y, phi, trained="both")
    np.testing.assert_allclose(found.gram, mfdnn.ntk(net, X, parameterisation="ntk"), atol=1e-12)


def test_eigenvalues_rates_and_the_dictionary(theory):
    np.testing.assert_allclose(theory.eigenvalues, np.linalg.eigvalsh(theory.gram)[::-1], atol=1e-14)
    assert theory.lambda_0 == theory.eigenvalues[-1] > 0
    assert theory.step_size == theory.lambda_0 / 144
    assert theory.stable_rate == 2 / theory.eigenvalues[0]
    assert theory.caution == ""
    assert "sum over samples" in theory.convention and "T = 12 times" in theory.convention
    assert repr(theory).startswith("TwoLayerTheory(relu, weights trained, T=12, lambda_0=0.0")
    assert isinstance(theory, mfdnn.TwoLayerTheory)
    written = json.loads(json.dumps(theory.to_dict()))
    assert written["activation"] == "relu" and np.shape(written["gram"]) == (12, 12)
    assert written["convention"] == theory.convention and written["sources"] == theory.sources


def test_a_rate_of_half_mse_is_as_many_times_larger_as_there_are_samples(data, theory):
    """Against a sampled network, trained in the package's own convention."""
    X, y = data
    width, eta = 30, 0.2
    w, a = draw(width, 4, 1.0, 3)
    net = mfdnn.mlp([4, width, 1], "relu", sigma_b2=0.0)
    one = mfdnn.sample(net, rng=0)
    bias = [None if layer[1] is None else np.zeros_like(layer[1]) for layer in one.parameters]
    one.parameters = [(w.copy(), bias[0]), (a[None] / np.sqrt(width), bias[1])]
    slope = one.vjp(X, (one(X) - y[:, None]) / len(X))  # of half_mse
    (moved, *_), *_ = one.unflatten(-eta * len(X) * slope)
    before = w.copy()
    list(squared_residuals(w, a, X, y, theory.activation, eta, 1, both=False))
    np.testing.assert_allclose(w - before, moved, atol=1e-13)


# -- predictions ----------------------------------------------------------------------------------------------


def test_bounds_are_their_formulas(theory):
    k = np.array([0.0, 1.0, 7.0])
    np.testing.assert_allclose(theory.bound(k), np.exp(-theory.lambda_0 * k), rtol=1e-15)
    np.testing.assert_allclose(theory.bound(k, 0.1), (1 - 0.05 * theory.lambda_0) ** k, rtol=1e-15)
    assert theory.bound(0) == theory.bound(0, 0.1) == 1.0
    assert isinstance(theory.bound(3, 0.1), float)


def test_the_infinitely_wide_network_keeps_the_bound_up_to_the_largest_rate(theory):
    top = theory.eigenvalues[0]
    limit = 2 / top - theory.lambda_0 / (2 * top**2)
    k = np.arange(60)
    for y in (theory.labels, *np.linalg.eigh(theory.gram)[1].T[[0, -1]]):
        for eta in (theory.step_size, 1 / top, limit):
            run = theory.predicted_residual(eta, k, initial=theory.labels - y) ** 2
            assert np.all(run <= run[0] * theory.bound(k, eta) * (1 + 1e-12))
    with pytest.raises(ValueError, match=r"`eta` must lie in .*does not keep the bound"):
        theory.bound(k, limit * (1 + 1e-9))
    assert (1 - limit * 1.001 * top) ** 2 > 1 - limit * 1.001 * theory.lambda_0 / 2  # it is sharp


@pytest.mark.parametrize("initial", [None, labels(12, 5)])
def test_the_fine_grained_prediction_is_a_power_of_a_matrix(theory, initial):
    eta, start = 0.4, np.zeros(12) if initial is None else initial
    step = np.eye(12) - eta * theory.gram
    expected = [np.linalg.norm(np.linalg.matrix_power(step, k) @ (theory.labels - start)) for k in (0, 3, 40)]
    np.testing.assert_allclose(theory.predicted_residual(eta, [0, 3, 40], initial), expected, rtol=1e-12)
    assert isinstance(theory.predicted_residual(eta, 3, initial), float)
    slow = theory.predicted_residual(1e-4, 30000, initial)  # the flow is the limit of small steps: errors of order eta
    assert theory.predicted_residual(None, 3.0, initial) == pytest.approx(slow, rel=1e-3)


def test_the_average_over_networks_knows_the_spread_of_their_outputs(data, theory):
    X, y = data
    power = np.linalg.matrix_power(np.eye(12) - 0.4 * theory.gram, 3)
    squares = []
    for seed in range(2000):
        w, a = draw(20, 4, 1.0, seed)
        start = np.maximum(X @ w.T, 0) @ a / np.sqrt(20)
        squares.append(np.sum((power @ (y - start)) ** 2))
    error = np.std(squares, ddof=1) / np.sqrt(len(squares))
    assert abs(np.mean(squares) - theory.predicted_residual(0.4, 3, "average") ** 2) < 3 * error


def test_the_generalisation_measure_is_its_formula(theory):
    other = labels(12, 7)
    for given, y in ((None, theory.labels), (other, other)):
        expected = np.sqrt(2 * y @ np.linalg.solve(theory.gram, y) / 12)
        assert theory.generalisation(given) == pytest.approx(expected, rel=1e-10)


def test_true_labels_generalise_and_random_ones_do_not():
    pytest.importorskip("sklearn")
    X, digit = mfdnn.datasets.digits(150, rng=0)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    found = mfdnn.two_layer_theory(X, np.where(digit < 5, -1.0, 1.0))
    random = [found.generalisation(np.random.default_rng(seed).choice([-1.0, 1.0], 150)) for seed in range(5)]
    assert found.generalisation() < 0.75 * min(random)


# -- theory against training ----------------------------------------------------------------------------------


def test_a_linear_network_with_fixed_outer_weights_is_its_kernel(data):
    """Outputs are linear in W, and the kernel of any width stays: the prediction is exact."""
    X, y = sphere(4, 5), labels(4)
    w, a = draw(7, 5, 1.0, 0)
    act = mfdnn.activation("linear")
    found = mfdnn.two_layer_theory(X, y, act)
    np.testing.assert_allclose(tangent_kernel(w, a, X, act, False), found.gram, atol=1e-14)
    run, start = trained(found, X, 7, 0.3, 30)
    np.testing.assert_allclose(run, found.predicted_residual(0.3, np.arange(31), start), rtol=1e-11)


@pytest.mark.parametrize("both", [False, True])
def test_descent_follows_the_gradient(data, both):
    """The loss falls by rate times the squared gradient, which is the tangent kernel's form."""
    X, y = data
    act = mfdnn.activation("tanh")
    w, a = draw(9, 4, 1.0, 0)
    residual = act(X @ w.T) @ a / 3 - y
    theta = tangent_kernel(w, a, X, act, both)
    first, second = squared_residuals(w, a, X, y, act, 1e-6, 1, both)
    assert first - second == pytest.approx(2e-6 * residual @ theta @ residual, rel=1e-4)  # second order: 1e-6 of it


@pytest.mark.parametrize("phi, both", [("relu", False), ("tanh", False), ("relu", True)])
def test_trained_networks_follow_the_fine_grained_prediction(phi, both):
    X, y = sphere(20, 10), labels(20)
    found = mfdnn.two_layer_theory(X, y, phi, trained="both" if both else "weights")
    width = 4000
    assert width > 5 * found.lazy_width
    run, start = trained(found, X, width, 0.25, 50)
    predicted = found.predicted_residual(0.25, np.arange(51), start)
    # The kernel of width M is off by M^-1/2: 1.6 %, and half of it is seen.
    assert np.abs(run - predicted).max() < 0.015 * run[0]


@pytest.mark.slow
@pytest.mark.parametrize("d", [10, 30])
def test_the_prediction_is_right_to_one_percent_at_width_20000(d):
    X, y = sphere(60, d), labels(60)
    found = mfdnn.two_layer_theory(X, y)
    run, start = trained(found, X, 20000, 0.25, 50)
    assert np.abs(run - found.predicted_residual(0.25, np.arange(51), start)).max() < 0.01 * run[0]


def test_small_weights_are_not_lazy_and_the_caution_says_so():
    X, y = sphere(20, 10), labels(20)
    deviations = {}
    for kappa in (1.0, 0.01):
        found = mfdnn.two_layer_theory(X, y, kappa=kappa)
        run, start = trained(found, X, 4000, 0.25, 50)
        deviations[kappa] = np.abs(run - found.predicted_residual(0.25, np.arange(51), start)).max() / run[0]
        assert (found.caution != "") == (kappa == 0.01)
    assert "kappa = 0.01" in found.caution and f"{found.lazy_width:.1g}" in found.caution
    assert deviations[0.01] > 5 * deviations[1.0] and deviations[0.01] > 0.05


def test_pre_activations_move_as_far_as_the_lazy_width_says():
    X, y = sphere(6, 8), labels(6)
    found = mfdnn.two_layer_theory(X, y, "tanh", kappa=2.0)
    w, a = draw(1000, 8, 2.0, 0)
    w, a = np.vstack([w, w]), np.append(a, -a)  # u(0) = 0
    before = X @ w.T
    list(squared_residuals(w, a, X, y, found.activation, 1.0, 400, both=False))
    moved = np.mean((X @ w.T - before) ** 2)
    # 1000 different units, of which everything is an average.
    assert moved == pytest.approx(0.01 * found.lazy_width / len(a) * 4.0, rel=0.1)


@pytest.mark.parametrize("phi", ["relu", "tanh"])
def test_wide_networks_keep_the_bounds(phi):
    X, y = sphere(15, 6), labels(15)
    found = mfdnn.two_layer_theory(X, y, phi)
    for eta in (found.step_size, found.stable_rate / 2):
        for seed in range(8):
            run, _ = trained(found, X, 1000, eta, 60, seed)
            assert np.all(run**2 <= run[0] ** 2 * found.bound(np.arange(61), eta) * (1 + 1e-12))


# -- theorems -------------------------------------------------------------------------------------------------


def test_widths_of_the_theorems_are_their_formulas(theory):
    found = theory.required_width(0.1, epsilon=0.2)
    n, small = 12.0, theory.lambda_0
    assert found == pytest.approx(
        {
            "Du et al. 2019": n**6 / (small**4 * 1e-3),
            "Arora et al. 2019": n**7 / (small**4 * 1e-4 * 0.04),
            "Allen-Zhu et al. 2019": n**24 / theory.separation**8,
            "Zou & Gu 2019": n**8,
            "Huang & Yau 2020": n**3,
            "Nguyen & Hein 2017": n,
        },
        rel=1e-12,
    )
    assert set(theory.sources) == set(found) == set(THEOREMS)


def test_the_separation_is_the_smallest_distance(data):
    X = data[0].copy()
    distances = [np.linalg.norm(X[i] - X[j]) for i in range(12) for j in range(i)]
    assert mfdnn.two_layer_theory(X, data[1]).separation == pytest.approx(min(distances), rel=1e-12)
    assert mfdnn.two_layer_theory([[0.6, 0.8]], [1.0]).separation == 2.0
    X[5] = X[3] + 1e-7 * np.array([X[3][1], -X[3][0], 0, 0])  # cancels in 2 - 2 c
    near = mfdnn.two_layer_theory(X, data[1])
    assert near.separation == pytest.approx(np.linalg.norm(X[5] - X[3]), rel=1e-6)


def test_sources_say_what_was_read_and_where_a_theorem_does_not_apply(data, theory):
    told = theory.sources
    assert all("read in print" in text for text in told.values())
    assert "Not for this network" not in told["Du et al. 2019"] + told["Arora et al. 2019"]
    assert "it is about smooth activations" in told["Huang & Yau 2020"]
    other = mfdnn.two_layer_theory(*data, "tanh", trained="both", kappa=0.5).sources
    assert "it is about relu and trains the weights alone and has kappa = 1." in other["Du et al. 2019"]
    assert "Not for this network" not in other["Huang & Yau 2020"]


def test_a_kernel_that_cannot_be_told_from_a_singular_one_is_void_and_says_so():
    X, y = sphere(12, 4), labels(12)
    found = mfdnn.two_layer_theory(X, y, "linear")  # rank 4
    assert found.lambda_0 == found.step_size == 0.0
    assert "not told from 0" in found.caution
    assert found.bound(10.0) == found.bound(10, 0.1) == 1.0
    assert found.required_width(0.1)["Du et al. 2019"] == np.inf
    assert found.generalisation() == found.lazy_width == np.inf
    assert np.isfinite(found.predicted_residual(0.1, 10))


# -- bad input ------------------------------------------------------------------------------------------------


def test_inputs_of_other_norms_are_offered_to_be_normalised():
    X = sphere(4, 3)
    X[2] *= 2.5
    with pytest.raises(ValueError, match=r"norm 2.5 in row 2.*pass X / np.linalg.norm\(X, axis=1, keepdims=True\)"):
        mfdnn.two_layer_theory(X, np.ones(4))
    single = sphere(50, 30).astype(np.float32)
    assert mfdnn.two_layer_theory(single / np.linalg.norm(single, axis=1, keepdims=True), np.ones(50)).lambda_0 > 0


def test_parallel_inputs_are_named():
    X = sphere(6, 3)
    X[4] = X[1]
    with pytest.raises(ValueError, match=r"1 pair that relu cannot tell apart \(rows 1 and 4\)"):
        mfdnn.two_layer_theory(X, np.ones(6))
    X[5] = -X[1]
    with pytest.raises(ValueError, match=r"3 pairs that tanh .* \(rows 1 and 4, 1 and 5, 4 and 5\)"):
        mfdnn.two_layer_theory(X, np.ones(6), "tanh")


def test_opposite_inputs_are_parallel_to_odd_and_even_activations_alone():
    X, y = sphere(5, 3), np.ones(5)
    X[3] = -X[0]
    assert mfdnn.two_layer_theory(X, y).lambda_0 > 1e-3
    assert mfdnn.two_layer_theory(X, y).gram[0, 3] == pytest.approx(0.0, abs=1e-15)
    for phi in ("tanh", "abs"):
        with pytest.raises(ValueError, match="rows 0 and 3"):
            mfdnn.two_layer_theory(X, y, phi)
    assert mfdnn.two_layer_theory(X, y, "gelu").lambda_0 > 0


@pytest.mark.parametrize(
    "change, words",
    [
        ({"y": np.ones((5, 1))}, r"`y` must have shape \(5,\).*pass y\[:, 0\]"),
        ({"y": np.ones(4)}, r"`y` must have shape \(5,\)"),
        ({"y": [1, 2, np.nan, 4, 5]}, "`y` must be finite"),
        ({"X": np.full((5, 3), np.nan)}, "`X` must be finite"),
        ({"X": np.ones(5)}, "`X` must be a matrix"),
        ({"kappa": 0.0}, "`kappa` must be > 0"),
        ({"trained": "all"}, "`trained` must be one of weights, both"),
        ({"activation": "reluu"}, "`activation` must be one of"),
        ({"activation": lambda x: np.where(x > 0, 1.0, 0.0)}, "`activation` must not jump"),
        ({"activation": np.ones_like}, "`activation` has no slope"),
        ({"kappa": 1e308}, r"`kappa` must lie in \[1e-30, 1e\+30\]"),
    ],
)
def test_what_is_refused(change, words):
    arguments = {"X": sphere(5, 3), "y": np.ones(5)} | change
    with pytest.raises(ValueError, match=words):
        mfdnn.two_layer_theory(**arguments)


def test_what_methods_refuse(theory):
    for call, words in (
        (lambda: theory.bound(-1), "`k` must be >= 0"),
        (lambda: theory.bound(1, 0.0), "`eta` must lie in"),
        (lambda: theory.predicted_residual(100.0, 3), "`eta` must lie in .*does not converge"),
        (lambda: theory.predicted_residual(0.1, 2.5), "`k` counts steps"),
        (lambda: theory.predicted_residual(0.1, 2, "mean"), "`initial` must be one of average"),
        (lambda: theory.predicted_residual(0.1, 2, np.ones(3)), "`initial` must have shape"),
        (lambda: theory.generalisation(np.ones(3)), "`y` must have shape"),
        (lambda: theory.required_width(1.0), "`delta` is a probability"),
        (lambda: theory.required_width(0.1, 0.0), "`epsilon` must be > 0"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_memory_is_predicted(monkeypatch):
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match=r"a two-layer theory of 20 inputs .* take fewer inputs"):
        mfdnn.two_layer_theory(sphere(20, 3), np.ones(20))
    with pytest.raises(MemoryError, match="narrower"):
        comparison.hidden_rank(sphere(20, 3), np.ones(20))


# -- the measured half ----------------------------------------------------------------------------------------

FEW = {"n_trials": 10, "n_steps": 40, "rng": 0}


@pytest.fixture(scope="module")
def spread():
    """Inputs that are nearly orthogonal: the bound is close to what happens, and narrow networks fail it."""
    return sphere(12, 12), labels(12)


@pytest.fixture(scope="module")
def measured(spread):
    return comparison.required_width_measured(*spread, **FEW)


def test_the_measured_width_stands_beside_the_widths_of_theorems(measured):
    theory = measured.theory
    assert isinstance(theory, TwoLayerTheory)
    assert measured.width in measured.widths
    share = dict(zip(measured.widths, measured.shares, strict=True))
    assert share[measured.width] >= 0.9 > share[measured.width - 1]  # below 16 it is exact
    assert measured.demanded == theory.required_width(0.1)
    assert measured.demanded["Du et al. 2019"] > 1e8 * measured.width
    assert measured.eta == theory.stable_rate / 2
    text = str(measured)
    assert all(name in text for name in THEOREMS) and f"measured {' ' * 5}" in text
    np.testing.assert_allclose(measured.standard_error["shares"] ** 2 * 10, measured.shares * (1 - measured.shares))
    json.dumps(measured.to_dict())


def test_shares_are_those_of_networks_trained_one_by_one(spread, measured):
    (X, _), theory = spread, measured.theory
    bound = theory.bound(np.arange(41), measured.eta)
    for width, share in zip(measured.widths, measured.shares, strict=True):
        runs = [
            trained(theory, X, width, measured.eta, 40, seed)[0] ** 2
            for seed in np.random.SeedSequence(0).spawn(10)
        ]
        assert share == np.mean([np.all(run <= run[0] * bound * (1 + 1e-12)) for run in runs])


def test_units_of_a_narrow_network_are_the_first_of_a_wide_one():
    (w, a), (wide, more) = draw(5, 3, 0.5, 7), draw(9, 3, 0.5, 7)
    np.testing.assert_array_equal(w, wide[:5])
    np.testing.assert_array_equal(a, more[:5])
    assert set(more) <= {-1.0, 1.0}


def test_a_width_that_is_not_reached_is_none(spread):
    found = comparison.required_width_measured(*spread, max_width=2, delta=0.01, **FEW)
    assert found.width is None and found.widths.tolist() == [1, 2]
    assert "above 2" in repr(found) and "> 2" in str(found)


def test_any_executor_and_a_resumed_run_give_the_same(spread, measured, tmp_path):
    path = tmp_path / "kept"
    short = {**FEW, "n_trials": 4}
    comparison.required_width_measured(*spread, checkpoint=path, **short)
    lines = len(path.read_text().splitlines())
    with ProcessPoolExecutor(1) as pool:
        again = comparison.required_width_measured(*spread, checkpoint=path, executor=pool, **FEW)
    np.testing.assert_array_equal(again.shares, measured.shares)
    before = path.read_text()
    comparison.required_width_measured(*spread, checkpoint=path, **FEW)
    assert path.read_text() == before and len(before.splitlines()) > lines
    with pytest.raises(ValueError, match="was made with kappa"):
        comparison.required_width_measured(*spread, checkpoint=path, kappa=2.0, **FEW)
    with pytest.raises(ValueError, match="`checkpoint` needs `rng`"):
        comparison.required_width_measured(*spread, checkpoint=path)


@pytest.mark.slow
@pytest.mark.parametrize("phi", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("both", [False, True])
def test_far_above_the_measured_width_no_trial_leaves_the_bound(phi, both):
    X, y = sphere(40, 10), labels(40)
    options = {"trained": "both" if both else "weights", "rng": 0}
    found = comparison.required_width_measured(X, y, phi, **options)
    assert found.width < 200 < found.demanded["Huang & Yau 2020"]
    for seed in range(20):
        run, _ = trained(found.theory, X, 8 * found.width, found.eta, 100, seed)
        assert np.all(run**2 <= run[0] ** 2 * found.theory.bound(np.arange(101), found.eta) * (1 + 1e-12))


def test_the_hidden_matrix_has_the_rank_of_its_smaller_side():
    X, y = sphere(16, 5), labels(16)
    found = comparison.hidden_rank(X, y, n_steps=200, n_trials=2, rng=0)
    assert found.widths.tolist() == [8, 16, 32]
    assert found.ranks.tolist() == [[8, 16, 16]] * 2
    assert np.all(found.outer[:, 0] > 0.01) and np.all(found.outer[:, 1:] < 1e-12)
    assert np.all(found.descent < 1) and found.descent[:, 2].mean() < found.descent[:, 0].mean()
    with pytest.raises(ValueError, match="`y` must not be 0 everywhere"):
        comparison.hidden_rank(X, 0 * y)
    with pytest.raises(ValueError, match="`widths` must not be empty"):
        comparison.hidden_rank(X, y, widths=[])


def test_a_layer_whose_units_are_off_learns_nothing():
    found = comparison.hidden_rank(np.eye(3), np.ones(3), widths=[1], n_steps=3, n_trials=20, rng=0)
    off = found.ranks[:, 0] == 0
    assert off.any() and np.all(found.descent[off] == 1.0) and np.all(np.isfinite(found.descent))


def test_the_rank_of_smooth_activations_in_few_dimensions_is_small():
    X, y = sphere(30, 2), labels(30)
    found = comparison.hidden_rank(X, y, "erf", kappa=0.1, widths=[60], n_steps=1, n_trials=1, rng=0)
    assert found.ranks[0, 0] < 25


# -- the page -------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[1] / "docs" / "over_parameterisation.md"


def digits(n):
    pytest.importorskip("sklearn")
    X, digit = mfdnn.datasets.digits(n, rng=0)
    return X / np.linalg.norm(X, axis=1, keepdims=True), np.where(digit < 5, -1.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "row, make",
    [
        ("60 on the sphere in 10 dimensions", lambda: (sphere(60, 10), labels(60))),
        ("60 on the sphere in 100 dimensions", lambda: (sphere(60, 100), labels(60))),
        ("100 digits, below 5 or not", lambda: digits(100)),
    ],
)
def test_the_page_has_the_widths_that_are_measured(row, make):
    found = comparison.required_width_measured(*make(), rng=0)
    *widths, landscape = found.demanded.values()
    cells = [row, f"{found.theory.lambda_0:.2g}", *(f"{m:.0e}" for m in widths), f"{landscape:.0f}", f"{found.width}"]
    assert f"| {' | '.join(cells)} |" in PAGE.read_text().splitlines()


@pytest.mark.slow
def test_the_page_says_how_lazy_training_is_at_small_weights():
    X, y = sphere(60, 10), labels(60)
    words = []
    for kappa in (1.0, 0.1, 0.01):
        found = mfdnn.two_layer_theory(X, y, kappa=kappa)
        run, start = trained(found, X, 20000, 0.25, 50)
        deviation = np.abs(run - found.predicted_residual(0.25, np.arange(51), start)).max() / run[0]
        words.append(f"{float(f'{100 * deviation:.1g}'):g} % at {kappa:g} ({found.lazy_width:.0e})")
    assert ", ".join(words) in " ".join(PAGE.read_text().split())


@pytest.mark.slow
def test_the_page_says_what_hidden_units_reach():
    found = comparison.hidden_rank(sphere(60, 10), labels(60), n_steps=500, n_trials=3, rng=0)
    outer, descent = found.outer.mean(axis=0), found.descent.mean(axis=0)
    assert found.ranks.tolist() == [[30, 60, 60]] * 3 and outer[1:].max() < 1e-12
    text = " ".join(PAGE.read_text().split())
    assert f"leave {outer[0]:.2f}, 0 and 0" in text
    assert f"500 steps of descent {descent[0]:.0e}, {descent[1]:.0e} and {descent[2]:.0e}" in text

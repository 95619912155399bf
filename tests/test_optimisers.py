"""Optimisers of `train` against their definitions as sums over all gradients so far; checkpoints; critical rates."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.losses.optimisers import RULES, checked_optimiser
from mfdnn.training import critical_rate, loss_and_slope, progress
from mfdnn.training.updates import Update, newton_schulz

NET = mfdnn.mlp([5, 7, 6, 3], "tanh", 1.5, 0.1)
RATE, STEPS = 0.01, 7
SETTINGS = {
    "sgd": [{}, {"momentum": 0.8}, {"momentum": 0.8, "nesterov": True}],
    "signsgd": [{}],
    "lion": [{}, {"betas": (0.7, 0.95)}],
    "adam": [{}, {"betas": (0.5, 0.9), "eps": 1e-3}],
    "adamw": [{}, {"betas": (0.5, 0.9), "eps": 1e-3}],
    "nadam": [{}, {"betas": (0.5, 0.9), "eps": 1e-3}],
    "radam": [{}, {"betas": (0.5, 0.9), "eps": 1e-3}],  # its variance begins at step 6 and 8 of these
    "adamax": [{}, {"betas": (0.5, 0.9), "eps": 1e-3}],
    "adagrad": [{}, {"eps": 1e-2}],
    "rmsprop": [{}, {"alpha": 0.9, "eps": 1e-3, "momentum": 0.6}],
    "muon": [{}, {"momentum": 0.7, "nesterov": False}, {"adjust": "match_rms_adamw"}, {"adjust": "spectral_unclamped"}],
}
CASES = [(name, options, w) for name, all_options in SETTINGS.items() for options in all_options for w in (0.0, 0.3)]


def problem(n_samples=9, dtype="float64"):
    one = mfdnn.sample(NET, rng=0, dtype=dtype)
    X = gaussian_inputs(n_samples, 5, rng=1)
    return one, X, gaussian_inputs(n_samples, 3, rng=2)


def average(history, b):
    """(1 - b) sum_s b^(t - s) g_s."""
    return (1 - b) * sum(b ** (len(history) - 1 - s) * g for s, g in enumerate(history))


def step_of(name, past, o):
    """The step at the rate 1 that the gradients so far make, the last one among them."""
    g, t = past[-1], len(past)
    squares = [x**2 for x in past]
    b1, b2 = o.get("betas", (0.9, 0.99) if name == "lion" else (0.9, 0.999))
    eps = o.get("eps", 1e-10 if name == "adagrad" else 1e-8)
    if name == "sgd":
        b = o.get("momentum", 0.0)
        m = sum(b ** (t - 1 - s) * x for s, x in enumerate(past))
        return g + b * m if o.get("nesterov") else m
    if name == "signsgd":
        return np.sign(g)
    if name == "lion":
        return np.sign(b1 * (average(past[:-1], b2) if t > 1 else 0.0) + (1 - b1) * g)
    if name == "adagrad":
        return g / (np.sqrt(sum(squares)) + eps)
    if name == "rmsprop":
        b, alpha = o.get("momentum", 0.0), o.get("alpha", 0.99)
        single = [past[s] / (np.sqrt(average(squares[: s + 1], alpha)) + eps) for s in range(t)]
        return sum(b ** (t - 1 - s) * x for s, x in enumerate(single))
    m = average(past, b1) / (1 - b1**t)
    if name == "adamax":
        return m / np.max([b2 ** (t - 1 - s) * (np.abs(x) + eps) for s, x in enumerate(past)], axis=0)
    root = np.sqrt(average(squares, b2) / (1 - b2**t))
    if name == "nadam":
        mu = [b1 * (1 - 0.5 * 0.96 ** (0.004 * s)) for s in range(1, t + 2)]
        along = (1 - mu[t - 1]) / (1 - np.prod(mu[:t])) * g + mu[t] / (1 - np.prod(mu)) * average(past, b1)
        return along / (root + eps)
    if name == "radam":
        far = 2 / (1 - b2) - 1
        length = far - 2 * t * b2**t / (1 - b2**t)
        if length <= 5:
            return m
        r = np.sqrt((length - 4) * (length - 2) * far / ((far - 4) * (far - 2) * length))
        return m * r / (root + eps / np.sqrt(1 - b2**t))
    return m / (root + eps)


def orthogonalised(G):
    """Newton-Schulz by singular values."""
    u, s, vt = np.linalg.svd(G, full_matrices=False)
    s = s / np.sqrt(np.sum(s**2))
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ vt


def muon_step(past, o):
    """Of a matrix."""
    b = o.get("momentum", 0.95)
    along = average(past, b)
    if o.get("nesterov", True):
        along = (1 - b) * past[-1] + b * along
    rows, columns = past[-1].shape
    factor = {
        "original": max(1, rows / columns) ** 0.5,
        "match_rms_adamw": 0.2 * max(rows, columns) ** 0.5,
        "spectral_unclamped": (rows / columns) ** 0.5,
    }[o.get("adjust", "original")]
    return factor * orthogonalised(along)


@pytest.mark.parametrize(("name", "options", "weight_decay"), CASES)
def test_steps_are_sums_over_all_gradients_so_far(name, options, weight_decay):
    one, X, Y = problem()
    arrays = [a.copy() for group in one.parameters for a in group]
    past = [[] for _ in arrays]
    decoupled = name in ("adamw", "lion", "muon")
    for _ in range(STEPS):
        at = mfdnn.SampledNetwork(NET, list(zip(arrays[::2], arrays[1::2], strict=True)))
        slope = loss_and_slope("half_mse", at(X), Y)[1]
        gradients = [g for group in at.unflatten(at.vjp(X, slope)) for g in group]
        for a, g, before in zip(arrays, gradients, past, strict=True):
            before.append(g if decoupled else g + weight_decay * a)
            if name != "muon":
                step = step_of(name, before, options)
            else:
                step = muon_step(before, options) if a.ndim == 2 else step_of("adamw", before, {})
            a *= 1 - RATE * weight_decay * decoupled
            a -= RATE * step
    run = mfdnn.train(one, X, Y, RATE, STEPS, optimizer=name, weight_decay=weight_decay, **options)
    for a, found in zip(arrays, [a for group in run.trained.parameters for a in group], strict=True):
        # Rounding of m/sqrt(v) where both are small grows a little over seven steps.
        np.testing.assert_allclose(found, a, rtol=0, atol=1e-12)
    assert run.optimizer == name and f", {name})" in repr(run) + (", sgd)" if name == "sgd" else "")


def test_what_has_no_gradient_stays_even_without_eps():
    for name in RULES:
        p = [np.ones((3, 2)), np.ones(3)]
        update = Update(p, 0.1, checked_optimiser(name, **({"eps": 0.0} if "eps" in RULES[name] else {})))
        update([np.zeros((3, 2)), np.zeros(3)])
        assert all(np.array_equal(a, np.ones_like(a)) for a in p), name


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6), (1, 5)])
def test_newton_schulz_moves_singular_values_alone(shape):
    G = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(newton_schulz(G), orthogonalised(G), rtol=0, atol=1e-12)


def test_kernels_of_convolutions_are_matrices_to_muon():
    net = mfdnn.cnn((2, 4, 4), [3, 4], 2, "relu")
    one = mfdnn.sample(net, rng=0)
    X, Y = gaussian_inputs(6, 32, rng=1), np.arange(6) % 2
    run = mfdnn.train(one, X, Y, 0.01, 1, optimizer="muon", loss="cross_entropy")
    gradient = one.unflatten(one.vjp(X, loss_and_slope("cross_entropy", one(X), np.eye(2)[Y])[1]))[0][0]
    step = orthogonalised(gradient.reshape(3, -1)).reshape(gradient.shape)
    np.testing.assert_allclose(run.trained.parameters[0][0], one.parameters[0][0] - 0.01 * step, rtol=0, atol=1e-12)


def test_float32_stays_float32():
    one, X, Y = problem(dtype="float32")
    for name in RULES:
        run = mfdnn.train(one, X, Y, 1e-3, 3, optimizer=name)
        assert run.trained.dtype == np.float32 and run.outcome == "fell"


def test_more_numbers_than_a_block_are_all_moved(monkeypatch):
    one, X, Y = problem()
    whole = mfdnn.train(one, X, Y, RATE, 3, optimizer="adamw", weight_decay=0.1).trained.vector
    monkeypatch.setattr("mfdnn.training.updates.BLOCK", 4)
    parts = mfdnn.train(one, X, Y, RATE, 3, optimizer="adamw", weight_decay=0.1).trained.vector
    np.testing.assert_array_equal(parts, whole)


# -- checkpoints -----------------------------------------------------------------------------------------------


def same(one, other):
    fields = vars(one).items()
    return all(
        np.array_equal(value, getattr(other, name))
        for name, value in fields
        if name != "_trained" and value is not None
    ) and np.array_equal(one.trained.vector, other.trained.vector)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_resumed_run_returns_the_same_bits(name, batch_size, tmp_path):
    one, X, Y = problem()
    options = {"optimizer": name, "batch_size": batch_size, "rng": 3, "record_every": 4, "weight_decay": 0.1}
    straight = mfdnn.train(one, X, Y, 1e-3, 12, **options)
    for n_steps in (5, 5, 12):
        run = mfdnn.train(one, X, Y, 1e-3, n_steps, **options, checkpoint=tmp_path / "run.npz")
    assert same(straight, run)


def test_a_killed_run_goes_on_where_it_was_last_kept(tmp_path, monkeypatch):
    one, X, y = *problem()[:2], np.arange(9) % 3
    options = {"optimizer": "adam", "loss": "cross_entropy", "batch_size": 4, "rng": 3, "record_every": 3}
    straight = mfdnn.train(one, X, y, 1e-2, 20, **options)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    asked = []

    def killed():
        asked.append(1)
        if len(asked) == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mfdnn.training.descent.stop_if_asked", killed)
        mfdnn.train(one, X, y, 1e-2, 20, **options, checkpoint=tmp_path / "run.npz")
    kept = np.load(tmp_path / "run.npz")
    assert len(kept["losses"]) == 6
    assert same(straight, mfdnn.train(one, X, y, 1e-2, 20, **options, checkpoint=tmp_path / "run.npz"))
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    one, X, Y = problem()
    path = tmp_path / "run.npz"
    mfdnn.train(one, X, Y, 1e-3, 3, optimizer="adam", checkpoint=path)
    for change, words in (
        ({"optimizer": "adamw"}, "was made with optimizer = .*'adam'"),
        ({"X": 2 * X}, "was made with data = "),
        ({"one": mfdnn.sample(NET, rng=1)}, "was made with one = "),
        ({"n_steps": 2}, "has made 3 steps, more than `n_steps` = 2"),
        ({"batch_size": 3}, "`checkpoint` needs `rng`"),
    ):
        call = {"one": one, "X": X, "Y": Y, "learning_rate": 1e-3, "n_steps": 3, "optimizer": "adam", **change}
        with pytest.raises(ValueError, match=words):
            mfdnn.train(**call, checkpoint=path)
    for content in (b"", b"text", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="an existing file that is no checkpoint of training"):
            mfdnn.train(one, X, Y, 1e-3, 3, optimizer="adam", checkpoint=path)
    with pytest.raises(ValueError, match="cannot be written"):
        mfdnn.train(one, X, Y, 1e-3, 3, checkpoint=tmp_path / "no" / "run.npz")


# -- critical rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["half_mse", "torch_mse_sum", "cross_entropy"])
@pytest.mark.parametrize("name", RULES)
def test_the_first_step_lowers_the_loss_below_the_critical_rate_and_raises_it_above(name, loss):
    one, X, Y = problem()
    Y = np.arange(9) % 3 if loss == "cross_entropy" else Y
    found = critical_rate(one, X, Y, name, loss)
    assert found.rate == found.crossings[0] == float(found) and found.caution == ""
    assert found.first_loss == loss_and_slope(loss, one(X), np.eye(3)[Y] if loss == "cross_entropy" else Y)[0]
    outcomes = [
        mfdnn.train(one, X, Y, x * found.rate, 1, optimizer=name, loss=loss).outcome for x in (0.3, 0.994, 1.006)
    ]
    assert outcomes == ["fell", "fell", "grew"]
    # D by a small step of the optimiser itself.
    small = 1e-5 * found.rate
    D = (one(X) - mfdnn.train(one, X, Y, small, 1, optimizer=name, loss=loss).trained(X)) / small
    D -= D.mean(axis=1, keepdims=True) if loss == "cross_entropy" else 0.0
    assert found.response == pytest.approx(np.sqrt(np.mean(D**2)), rel=1e-3)


def test_outputs_linear_in_the_rate_cross_at_the_directional_one():
    """One weight layer: half MSE along the step is a parabola."""
    one = mfdnn.sample(mfdnn.mlp([5, 3], "tanh"), rng=0)
    for name in ("sgd", "adam", "muon"):
        found = critical_rate(one, *problem()[1:], name)
        assert found.rate == pytest.approx(found.directional, rel=1e-9)


def test_several_crossings_are_told():
    """A unit of sin: far along the step the loss swings."""
    net = mfdnn.mlp([1, 1, 1], "sin", bias=False)
    one = mfdnn.SampledNetwork(net, [(np.array([[1.0]]), None), (np.array([[1.0]]), None)])
    X, Y = np.array([[1.0]]), np.array([[0.1]])
    found = critical_rate(one, X, Y, "signsgd")
    rates = np.linspace(1e-3, found.searched_to, 20000)
    losses = 0.5 * ((1 - rates) * np.sin(1 - rates) - 0.1) ** 2
    above = losses > found.first_loss
    crossings = rates[1:][above[1:] != above[:-1]]
    assert len(found.crossings) == 3
    for crossing in found.crossings:
        assert np.min(np.abs(crossings - crossing)) < 5e-3 * crossing


def test_critical_rates_of_float32_and_of_functions_of_a_vector():
    one, X, Y = problem()
    double = critical_rate(one, X, Y, "adam", eps=1e-3).rate

    class Vector:
        n_parameters, couples_samples, dtype = one.n_parameters, False, "float64"
        vector, linearise, __call__ = one.vector, one.linearise, one.__call__

        def at(self, vector):
            return one.at(vector)

    assert critical_rate(Vector(), X, Y, "adam", eps=1e-3).rate == pytest.approx(double, rel=1e-12)
    rounded = [[a.astype(np.float32) for a in group] for group in one.parameters]
    single = critical_rate(mfdnn.SampledNetwork(NET, rounded), X, Y, "adam", eps=1e-3).rate
    assert single == pytest.approx(double, rel=5e-3)
    with pytest.raises(ValueError, match="muon needs matrices"):
        critical_rate(Vector(), X, Y, "muon")
    with pytest.raises(ValueError, match="muon needs matrices"):
        mfdnn.train(Vector(), X, Y, 0.1, 1, optimizer="muon")


def test_decay_that_turns_the_step_has_no_rate():
    """At targets close to the outputs an L2 decay of Adam decides all signs, and is wrong about one of two errors."""
    one, X, _ = problem()
    found = sorted((critical_rate(one, X, one(X) + e, "adam", weight_decay=1.0) for e in (1e-6, -1e-6)), key=float)
    assert found[0].rate == 0.0 < found[1].rate and "turns" in found[0].caution and not found[1].caution


def test_a_perfect_fit_has_nothing_to_learn():
    one, X, _ = problem()
    with pytest.raises(ValueError, match="`Y` gives a gradient of 0, so that nothing is learnt"):
        critical_rate(one, X, one(X), "adam")


# -- arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"optimizer": "adamW"}, ValueError, r"`optimizer` must be one of .*did you mean adamw"),
        ({"optimizer": None}, ValueError, "`optimizer` must be one of"),
        ({"optimizer": "adam", "momentum": 0.9}, ValueError, "`momentum` is no setting of optimizer 'adam'.*sgd"),
        ({"optimizer": "sgd", "betas": (0.9, 0.99)}, ValueError, "`betas` is no setting of optimizer 'sgd'"),
        ({"optimizer": "adam", "betas": (0.9, 1.0)}, ValueError, r"`betas` must lie in \[0, 1\)"),
        ({"optimizer": "adam", "betas": 0.9}, TypeError, r"`betas` must be a pair of numbers"),
        ({"optimizer": "adam", "eps": -1e-8}, ValueError, "`eps` must be >= 0"),
        ({"optimizer": "rmsprop", "alpha": 1.0}, ValueError, r"`alpha` must lie in \[0, 1\)"),
        ({"optimizer": "muon", "adjust": "own"}, ValueError, "`adjust` must be one of original"),
        ({"optimizer": "muon", "momentum": 0.0, "nesterov": True}, ValueError, "`nesterov` does nothing"),
        ({"loss": "mse"}, ValueError, "`loss` must be one of"),
        ({"weight_decay": -1}, ValueError, "`weight_decay` must be >= 0"),
        ({"Y": np.ones((9, 2))}, ValueError, "`Y` must have the shape of the outputs"),
        ({"Y": np.arange(9)}, ValueError, "`Y` must hold labels from 0 to 2"),
    ],
)
def test_wrong_arguments_are_refused(change, error, message):
    one, X, Y = problem()
    given = {"one": one, "X": X, "Y": Y, **change}
    with pytest.raises(error, match=message):
        critical_rate(**given)
    with pytest.raises(error, match=message):
        mfdnn.train(**given, learning_rate=0.1, n_steps=1)


def test_what_an_optimiser_does_not_have_may_be_said_to_be_none():
    assert checked_optimiser("adam", momentum=0.0, nesterov=False) == checked_optimiser("adam")
    assert checked_optimiser("muon", momentum=0.0).nesterov is False


def test_critical_rate_of_a_step_that_is_small_beside_the_parameters():
    """Adam with a large eps is descent at a rate eps times smaller."""
    one, X, Y = problem()
    descent = critical_rate(one, X, Y).rate
    for eps in (1e10, 1e30):
        found = critical_rate(one, X, Y, "adam", eps=eps)
        assert found.rate == pytest.approx(eps * descent, rel=1e-2) and not found.caution

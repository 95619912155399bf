"""Maps of training over width and learning rate: the edges where theory has them, and the bookkeeping."""

import tracemalloc
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from matplotlib import pyplot
from scipy.linalg import block_diag

import mfdnn
from mfdnn import plots
from mfdnn.comparison import rates as training_map
from mfdnn.datasets import gaussian_inputs
from mfdnn.learning_rate import stability_limit

VARIANCES = {"tanh": (3.0, 0.64), "relu": (2.0, 0.1), "linear": (1.0, 0.1), "gelu": (2.0, 0.1)}
WIDTHS, RATES = [20, 40], np.geomspace(0.03, 3.0, 5)


def network(width=40, act="tanh", n_outputs=1):
    return mfdnn.mlp([width] * 3 + [n_outputs], act, *VARIANCES[act])


def tanh(width):
    return network(width)


def small(**options):
    """A map of 2 x 5 cells and three trials."""
    return mfdnn.learning_rate_map(
        tanh, WIDTHS, RATES, 30, **{"n_samples": 15, "n_trials": 3, "rng": 0, **options}
    )


@pytest.fixture(scope="module")
def found():
    return small()


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


# -- the edges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("act", VARIANCES)
def test_losses_grow_beyond_the_limit_of_each_network_and_hardly_before(act, momentum):
    """Targets of a teacher, limits of each network's own lambda_max.

    Beyond it a start with little along the top eigenvector may turn flatter before the loss is above its initial value:
    one or two of twelve. With momentum the loss may ripple above it for a few steps, and the end tells the limit.
    """
    net = network(60, act)
    limit = float(mfdnn.max_learning_rate(net, 40, momentum=momentum))
    result = mfdnn.learning_rate_map(
        net,
        [60],
        np.array([0.5, 0.8, 1.25, 1.5]) * limit,
        60,
        n_samples=40,
        n_trials=6,
        momentum=momentum,
        rng=1,
    )
    times = result.learning_rate / result.sampled_limit[:, 0, None]  # in units of each network's own limit
    outcomes = result.outcomes[:, 0]
    assert np.mean(outcomes[times > 1.15] != "fell") > 0.8
    if momentum:
        assert np.all(np.isin(outcomes[times < 0.9], ["fell", "catapulted"]))
    else:
        assert np.all(outcomes[times < 0.98] == "fell")
    assert result.limit[0] == pytest.approx(limit, rel=1e-12)


@pytest.mark.parametrize("loss", ["half_mse", "cross_entropy"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("act", VARIANCES)
def test_the_edge_of_a_map_is_at_the_limit_and_the_limits_are_in_the_band(act, momentum, loss):
    """Next to a fit the loss grows for good from 2/lambda_max of the network on, to the 2 % that 20 steps tell apart.

    Targets are the outputs of the one network that the map draws and a little along the top eigenvector. Of
    cross-entropy they are probabilities, the matrix is F_cross, and the limit of F a bound. With momentum the loss
    ripples below the limit too. The band holds nine networks of ten: of three, all or two.
    """
    softmax, net, inside = loss == "cross_entropy", network(50, act, n_outputs=2), 0
    for seed in range(3):
        X = gaussian_inputs(20, 50, rng=seed + 100)
        stream = np.random.default_rng(seed).bit_generator.seed_seq.spawn(1)[0]
        one = mfdnn.sample(net, rng=np.random.default_rng(stream))
        value, vector = top_of_dual(one, X, softmax)
        f = one(X) + (3e-3 if softmax else 1e-5) * vector
        result = mfdnn.learning_rate_map(
            net,
            [50],
            np.arange(0.82, 1.24, 0.05) * stability_limit(value, momentum),
            20,
            data=(X, probabilities(f) if softmax else f),
            loss=loss,
            momentum=momentum,
            n_trials=1,
            dtype="float64",
            rng=seed,
        )
        limit = (result.sampled_initial if softmax else result.sampled_limit)[0, 0]
        assert limit == pytest.approx(stability_limit(value, momentum), rel=1e-6)
        times, outcomes = result.learning_rate / limit, result.outcomes[0, 0]
        assert np.all(np.isin(outcomes[times > 1.01], ["grew", "diverged"]))
        assert np.all(np.isin(outcomes[times < 0.98], ["fell", "catapulted"] if momentum else ["fell"]))
        edge = result.learning_rate[np.isin(outcomes, ["grew", "diverged"])][0]
        inside += result.limit_low[0] < edge < result.limit_high[0]
        assert result.sampled_limit[0, 0] <= limit
    assert inside >= 2 or softmax


def top_of_dual(one, X, softmax):
    """Largest eigenvalue of F or F_cross, and a vector (T, C) of outputs along it, 1 at most, by dense matrices."""
    n_samples, n_outputs = len(X), one.network.n_outputs
    J = np.array([one.vjp(X, e.reshape(n_samples, -1)) for e in np.eye(n_samples * n_outputs)])
    middle = np.eye(len(J))
    if softmax:
        blocks = [np.diag(p) - np.outer(p, p) for p in probabilities(one(X))]
        middle = block_diag(*blocks)
    values, vectors = np.linalg.eig(J @ J.T @ middle / n_samples)
    best = np.argmax(values.real)
    vector = vectors[:, best].real.reshape(n_samples, n_outputs)
    return values.real[best], vector / np.abs(vector).max()


def probabilities(f):
    return np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)


def test_limits_are_those_of_theory_and_of_the_networks_drawn(found):
    for i, width in enumerate(WIDTHS):
        net = network(width)
        lr = mfdnn.max_learning_rate(net, 15)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # such small networks come with a caution
            law = mfdnn.outlier_distribution(net, 15)
        assert law.caution in found.caution
        assert found.limit[i] == lr.value and found.catapult_limit[i] == lr.catapult_limit
        assert found.limit_low[i] == 2 / law.quantile(0.95) and found.limit_high[i] == 2 / law.quantile(0.05)
        assert np.array_equal(found.zone[i], lr.zone(RATES))
    np.testing.assert_allclose(found.sampled_limit, 2 / found.lambda_max, rtol=1e-14)
    # Three networks a width, spread by about 15 %.
    np.testing.assert_allclose(found.lambda_max.mean(axis=0), 2 / found.limit, rtol=0.35)


def test_limits_are_in_the_convention_of_the_loss_and_the_optimiser():
    options = {"loss": "torch_mse", "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}
    result = mfdnn.learning_rate_map(
        network(n_outputs=4), [40], [0.01], 2, n_samples=15, n_trials=2, rng=0, **options
    )
    curvature = 2 / 4 * result.lambda_max + 0.1
    expected = [stability_limit(value, 0.5, nesterov=True) for value in curvature[:, 0]]
    np.testing.assert_allclose(result.sampled_limit[:, 0], expected, rtol=1e-12)
    lr = mfdnn.max_learning_rate(network(n_outputs=4), 15, **options)
    assert result.limit[0] == lr.value


@pytest.mark.parametrize("loss", ["half_mse", "cross_entropy"])
def test_maps_of_other_optimisers_have_the_line_of_their_first_step(loss, tmp_path):
    options = {"optimizer": "adamw", "eps": 1e-6, "weight_decay": 0.01, "loss": loss}
    net, rates = network(n_outputs=3), [1e-4, 1e-3, 1e-2, 1.0]
    result = mfdnn.learning_rate_map(net, [20, 40], rates, 5, n_samples=15, n_trials=2, rng=0, **options)
    assert (result.notion, result.optimizer) == ("first step", "adamw")
    assert result.settings == "betas=(0.9, 0.999), eps=1e-06"
    assert result.catapult_limit is result.initial_limit is result.sampled_initial is None
    for trial, width in np.ndindex(2, 2):
        rng = np.random.default_rng(np.random.default_rng(0).bit_generator.seed_seq.spawn(4)[2 * trial + width])
        wide = mfdnn.network.scale_widths(net, [20, 40][width] / 40)
        one = mfdnn.sample(wide, rng=rng, dtype="float32")
        X = gaussian_inputs(15, wide.n_inputs, rng=rng)
        Y = mfdnn.sample(wide, rng=rng, dtype="float32")(X)
        Y = Y.argmax(axis=1) if loss == "cross_entropy" else Y
        found = mfdnn.training.critical_rate(one, X, Y, **options).rate
        assert result.sampled_limit[trial, width] == pytest.approx(found, rel=2e-2)  # float32 here
        if trial == 0:
            theory = mfdnn.first_step(wide, inputs=X, targets=Y, **options)
            assert result.limit[width] == theory.critical_learning_rate
            assert (result.limit_low[width], result.limit_high[width]) == theory.band
            below = np.array(rates) <= theory.critical_learning_rate
            assert np.array_equal(result.zone[width], np.where(below, "monotone", "unknown"))
    ax = result.plot("share_grew", drawn=True)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "theory, critical first step, adamw" in labels and labels[-1] == "line searches of the networks drawn"
    result.save(tmp_path / "map.npz")
    assert same(result, mfdnn.LearningRateMap.load(tmp_path / "map.npz"))


def test_maps_of_optimisers_without_a_theory_are_trained_all_the_same():
    found = small(optimizer="nadam", betas=(0.8, 0.99), n_trials=1)
    assert found.limit is None and "theory for betas = (0.9, 0.999) alone" in found.caution
    assert np.all(found.sampled_limit > 0) and found.final_loss.shape == (2, 5)


# -- what a cell holds -----------------------------------------------------------------------------------------


def test_cells_summarise_their_trials(found):
    assert found.final_losses.shape == found.outcomes.shape == (3, 2, 5)
    assert np.array_equal(found.final_loss, found.final_losses.mean(axis=0))
    assert np.array_equal(found.share_diverged, (found.outcomes == "diverged").mean(axis=0))
    assert np.array_equal(found.share_grew, (found.outcomes != "fell").mean(axis=0))
    assert np.array_equal(np.isinf(found.final_losses), found.outcomes == "diverged")
    order = ["fell", "catapulted", "grew", "diverged"]
    for i, j in np.ndindex(2, 5):
        trials = found.outcomes[:, i, j].tolist()
        most = max(trials.count(name) for name in order)
        assert found.outcome[i, j] == [name for name in order if trials.count(name) == most][-1]
    assert set(found.outcome.ravel()) >= {"fell", "diverged"}


def test_a_trial_is_training_of_the_network_and_the_teacher_of_its_own_seed(found):
    seed = np.random.default_rng(0).bit_generator.seed_seq.spawn(6)[3]  # trial 1 of width 40
    rng = np.random.default_rng(seed)
    one = mfdnn.sample(network(40), rng=rng, dtype="float32")
    X = gaussian_inputs(15, 40, rng=rng)
    Y = mfdnn.sample(network(40), rng=rng, dtype="float32")(X)
    for j, rate in enumerate(RATES):
        run = mfdnn.train(one, X, Y, rate, 30)
        assert found.outcomes[1, 1, j] == run.outcome
        if run.outcome != "diverged":  # threads of the BLAS may round differently
            assert found.final_losses[1, 1, j] == pytest.approx(run.final_loss, rel=1e-2)
    assert found.lambda_max[1, 1] == pytest.approx(mfdnn.fisher_spectrum(one, X).largest, rel=1e-5)


def test_the_criterion_of_divergence_is_an_argument_and_written_down(found):
    assert found.divergence == "loss above 1e+06 times its initial value, or overflow"
    strict = small(diverged_at=1.5)
    assert strict.diverged_at == 1.5 and "1.5 times" in strict.divergence
    assert np.all(strict.share_diverged >= found.share_diverged)
    assert strict.share_diverged.sum() > found.share_diverged.sum()


def test_given_data_are_the_same_for_all_trials_and_labels_serve_any_loss():
    X, y = gaussian_inputs(12, 6, rng=0), np.arange(12) % 3
    for loss in ("half_mse", "cross_entropy"):
        result = mfdnn.learning_rate_map(
            mfdnn.mlp([6, 10, 10, 3], "relu", init="he"),
            [10, 20],
            [0.01, 0.1],
            4,
            data=(X, y),
            batch_size=5,
            loss=loss,
            n_trials=2,
            rng=0,
        )
        assert (result.n_samples, result.n_outputs, result.batch_size) == (12, 3, 5)
        lr = mfdnn.max_learning_rate(mfdnn.mlp([6, 20, 20, 3], "relu", init="he"), inputs=X, loss=loss)
        assert result.limit[1] == lr.value
        if loss == "cross_entropy":
            assert set(result.zone.ravel()) <= {"monotone", "unknown"}


def test_teachers_of_cross_entropy_give_labels():
    result = mfdnn.learning_rate_map(
        network(n_outputs=3), [40], [0.01], 3, n_samples=15, n_trials=4, loss="cross_entropy", rng=0
    )
    # Labels of a teacher, not of the network itself: the loss is above the log of the number of classes on average.
    assert result.initial_loss.mean() > 1.0 and np.all(result.final_loss < result.initial_loss.mean())


def test_maps_of_cross_entropy_hold_the_limits_of_the_first_outputs(found):
    net = network(n_outputs=3)
    result = mfdnn.learning_rate_map(
        net, [20, 40], RATES, 2, n_samples=15, n_trials=2, loss="cross_entropy", weight_decay=0.1, rng=0
    )
    seed = np.random.default_rng(0).bit_generator.seed_seq.spawn(4)[3]  # trial 1 of width 40
    rng = np.random.default_rng(seed)
    one = mfdnn.sample(net, rng=rng, dtype="float32")
    X = gaussian_inputs(15, 40, rng=rng)
    spectrum = mfdnn.fisher_spectrum(one, X, output="softmax")
    assert result.lambda_max_softmax[1, 1] == pytest.approx(spectrum.largest, rel=1e-5)
    np.testing.assert_allclose(result.sampled_initial, 2 / (result.lambda_max_softmax + 0.1), rtol=1e-14)
    lr = mfdnn.max_learning_rate(net, 15, loss="cross_entropy", weight_decay=0.1)
    assert result.initial_limit[1] == lr.initial
    assert found.initial_limit is found.lambda_max_softmax is found.sampled_initial is None
    ax = result.plot("outcome", drawn=True)
    assert {line.get_gid() for line in ax.lines} >= {"limit", "initial_limit"}
    assert "catapult_limit" not in {line.get_gid() for line in ax.lines}
    assert np.array_equal(ax.lines[-1].get_ydata(), result.sampled_initial.ravel())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "theory, safe for any softmax" in labels and "stability limit at the first outputs" in labels


def test_networks_without_a_theory_are_trained_all_the_same():
    def without_theory(width):  # random inputs have moments alone
        layers = [mfdnn.Pointwise("relu"), mfdnn.Dense(width), mfdnn.Dense(1)]
        return mfdnn.Network(width, layers)

    result = mfdnn.learning_rate_map(without_theory, [10, 20], [0.01, 0.1], 3, n_samples=15, n_trials=2, rng=0)
    assert result.limit is None and result.zone is None and result.catapult_limit is None
    assert result.caution.startswith("No limit: `Pointwise('relu')` needs the law of single units")
    assert np.all(result.limit_low == 0) and np.all(result.limit_high == np.inf)
    assert not result.plot().lines


def test_inputs_too_many_for_their_kernel_are_trained_all_the_same(monkeypatch):
    def too_large(*args, **kwargs):
        raise MemoryError("the kernel would take 26.8 GiB; take fewer inputs.")

    monkeypatch.setattr("mfdnn.comparison.rates_theory.max_learning_rate", too_large)
    result = small(n_trials=1)
    assert (
        result.limit is None
        and result.caution == "No limit: the kernel would take 26.8 GiB; take fewer inputs."
    )
    assert result.final_loss.shape == (2, 5)


def test_fewer_trials_at_once_where_memory_is_short(monkeypatch):
    nets = [network(width) for width in (10, 300)]
    monkeypatch.setattr(training_map, "n_cores", lambda: 64)
    tracemalloc.start()
    mfdnn.learning_rate_map(network(300), [300], [1e-3], 2, n_samples=200, n_trials=1, momentum=0.5, rng=0)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for memory, low, high in ((1e15, 64, 64), (16 * taken, 8, 24), (10.0, 1, 1)):
        monkeypatch.setattr(training_map, "available_memory", lambda memory=memory: memory)
        assert low <= training_map._workers(nets, 200, np.dtype("float32"), 1) <= high


# -- executors, checkpoints, files -----------------------------------------------------------------------------


def same(one, other):
    return all(
        np.array_equal(value, getattr(other, name)) for name, value in vars(one).items() if value is not None
    )


def test_the_same_bits_for_any_executor(found):
    with ProcessPoolExecutor(2) as pool:
        assert same(found, small(executor=pool))


def test_a_checkpoint_is_resumed_and_one_of_other_settings_refused(found, tmp_path, monkeypatch):
    path = tmp_path / "map.txt"
    assert same(found, small(checkpoint=path))
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:4]))  # settings and three trials
    trained = []

    def counting(*args, **kwargs):
        trained.append(args)
        return mfdnn.train(*args, **kwargs)

    monkeypatch.setattr("mfdnn.comparison.rates.train", counting)
    assert same(found, small(checkpoint=path))
    assert len(trained) == 3 * len(RATES)
    more = small(checkpoint=path, n_trials=4)
    assert len(trained) == (3 + 2) * len(RATES)
    assert np.array_equal(more.final_losses[:3], found.final_losses)
    with pytest.raises(ValueError, match=r"was made with momentum = 0\.0, not 0\.5"):
        small(checkpoint=path, momentum=0.5)
    with pytest.raises(ValueError, match="`checkpoint` needs `rng`"):
        small(checkpoint=path, rng=None)


def test_maps_are_saved_and_loaded(found, tmp_path):
    found.save(tmp_path / "map.npz")
    loaded = mfdnn.LearningRateMap.load(tmp_path / "map.npz")
    assert same(found, loaded) and loaded.divergence == found.divergence
    assert repr(found).startswith("LearningRateMap(2 width x 5 learning_rate, n_samples=15")


def test_maps_become_xarray_with_their_trials(found):
    pytest.importorskip("xarray")
    dataset = found.to_xarray()
    assert dataset["final_loss"].dims == ("width", "learning_rate")
    assert dataset["final_losses"].dims == ("trial", "width", "learning_rate")
    assert np.array_equal(dataset["limit"], found.limit)
    assert dataset["outcome"].sel(width=20).shape == (5,)
    assert dataset.attrs["diverged_at"] == 1e6


# -- the picture -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["final_loss", "share_grew", "share_diverged", "outcome"])
def test_maps_are_drawn_with_the_lines_of_theory(found, field):
    ax = found.plot(field, drawn=True)
    ax.figure.canvas.draw()
    mesh = ax.collections[0]
    shown = np.ma.getdata(mesh.get_array())
    if field == "outcome":
        assert np.array_equal(
            shown, [[list(plots.training.OUTCOME_COLOURS).index(o) for o in row] for row in found.outcome.T]
        )
    else:
        assert np.array_equal(shown, getattr(found, field).T)
    lines = {line.get_gid(): line for line in ax.lines}
    for name in ("limit", "limit_low", "limit_high", "catapult_limit"):
        x, y = lines[name].get_data()
        np.testing.assert_allclose(np.interp(WIDTHS, x, y), getattr(found, name), rtol=1e-12)
    assert [text.get_text() for text in ax.get_legend().get_texts()][-1] == "limits of the networks drawn"


def test_axes_in_any_order_are_drawn_in_order(found):
    turned = mfdnn.learning_rate_map(tanh, WIDTHS[::-1], RATES[::-1], 3, n_samples=15, n_trials=2, rng=0)
    ax = turned.plot()
    assert np.array_equal(np.ma.getdata(ax.collections[0].get_array()), turned.final_loss[::-1, ::-1].T)
    x, y = next(line for line in ax.lines if line.get_gid() == "limit").get_data()
    np.testing.assert_allclose(np.interp(20, x, y), turned.limit[1], rtol=1e-12)


def test_the_band_is_drawn_where_it_is_known(monkeypatch):
    def law(wide):
        if wide.network.widths[1] == 10:
            raise mfdnn.NoTheory("too narrow.")
        return mfdnn.outlier_distribution(wide)

    monkeypatch.setattr("mfdnn.comparison.rates_theory.outlier_distribution", law)
    result = mfdnn.learning_rate_map(tanh, [10, 40, 80], RATES, 2, n_samples=40, n_trials=1, rng=0)
    assert result.limit_low[0] == 0 and result.limit_high[0] == np.inf
    assert "No band at width 10: too narrow." in result.caution
    line = next(line for line in result.plot().lines if line.get_gid() == "limit_low")
    assert np.all(np.isfinite(line.get_ydata())) and line.get_xdata().min() == pytest.approx(40)


# -- arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"net": None}, TypeError, "`net` must be a Network or a function that returns one"),
        ({"net": lambda width: width}, TypeError, "`net` must be a Network or a function"),
        ({"net": mfdnn.mlp([3, 1], "tanh")}, ValueError, "`net` must have a hidden layer to be scaled"),
        ({"widths": []}, ValueError, "must be non-empty lists, got 0 widths"),
        ({"widths": [0]}, ValueError, "`widths` must be an integer >= 1"),
        ({"learning_rates": [[0.1]]}, ValueError, r"rates of shape \(1, 1\)"),
        ({"learning_rates": [0.1, -0.1]}, ValueError, "`learning_rate` must be positive"),
        ({"loss": "mse"}, ValueError, "`loss` must be one of"),
        ({"nesterov": True}, ValueError, "`nesterov` does nothing where `momentum` is 0"),
        ({"n_trials": 0}, ValueError, "`n_trials` must be an integer >= 1"),
        ({"dtype": "float16"}, ValueError, "`dtype` must be one of"),
        (
            {"data": (np.ones((4, 40)), np.ones((4, 1))), "n_samples": 4},
            ValueError,
            "`data` excludes `n_samples`",
        ),
        ({"data": (np.ones((4, 3)), np.ones((4, 1)))}, ValueError, "3 features but the network takes 40"),
        ({"data": (np.ones((4, 40)), np.ones((4, 2)))}, ValueError, "`Y` must have the shape of the outputs"),
        ({"batch_size": 16, "n_samples": 15}, ValueError, "`batch_size` must be at most T = 15"),
    ],
)
def test_wrong_arguments_are_refused(change, error, message):
    arguments = {"net": network(), "widths": [40], "learning_rates": [0.1], "n_steps": 2, "rng": 0, **change}
    with pytest.raises(error, match=message):
        mfdnn.learning_rate_map(**arguments)


def test_plots_refuse_what_they_cannot_draw(found):
    with pytest.raises(ValueError, match=r"`field` must be one of final_loss.*did you mean"):
        found.plot("final_losses")
    one = mfdnn.learning_rate_map(tanh, [20], RATES, 2, n_samples=15, n_trials=1, rng=0)
    with pytest.raises(ValueError, match="needs two points on each axis, got 1 x 5"):
        one.plot()

"""The figures of training: their lines are what the package computes, in the stated settings."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import digits, gaussian_inputs
from mfdnn.papers import karakida2019_training, karakida2021_training, lewkowycz2020


def panels(figure):
    """By letter."""
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    return dict(zip("ABCDEF", axes, strict=False))


def line(ax, gid):
    return next(line for line in ax.lines if line.get_gid() == gid)


@pytest.mark.parametrize(("panel", "phi"), [("A", "tanh"), ("C", "relu"), ("E", "linear")])
def test_lines_of_full_batch_maps(panel, phi, drawn):
    x, y = line(panels(drawn["karakida2019-fig2"])[panel], "limit").get_data()
    for width in karakida2019_training.WIDTHS_FAST:
        net = karakida2019_training.teacher_student(width, phi)
        assert np.interp(width, x, y) == pytest.approx(float(mfdnn.max_learning_rate(net, 20)), rel=1e-12)


@pytest.mark.parametrize(("panel", "phi"), [("B", "tanh"), ("D", "relu"), ("F", "linear")])
def test_lines_of_maps_of_the_digits(panel, phi, drawn):
    x, y = line(panels(drawn["karakida2019-fig2"])[panel], "limit").get_data()
    X, _ = digits(40, rng=0, standardise=True)
    net = karakida2019_training.classifier(40, phi)
    assert net.n_weight_layers == (4 if phi == "relu" else 3)
    assert np.interp(40, x, y) == pytest.approx(float(mfdnn.max_learning_rate(net, inputs=X)), rel=1e-12)


@pytest.mark.parametrize(("panel", "phi"), [("B", "tanh"), ("D", "relu"), ("F", "linear")])
def test_the_sharpest_batch_has_a_limit_of_its_own(panel, phi, drawn):
    x, y = line(panels(drawn["karakida2019-fig2"])[panel], "batch_limit").get_data()
    X, _ = digits(40, rng=0, standardise=True)
    net = karakida2019_training.classifier(40, phi)
    halves = [float(mfdnn.max_learning_rate(net, inputs=part)) for part in (X[:20], X[20:])]
    assert np.interp(40, x, y) == pytest.approx(min(halves), rel=1e-12)


def test_mnist_takes_the_place_of_the_digits(monkeypatch):
    X, y = gaussian_inputs(40, 12, rng=0), np.arange(40) % 10
    asked = []

    def fetched(name, n_samples, **options):
        asked.append((name, n_samples))
        return X, y

    monkeypatch.setattr(karakida2019_training, "openml", fetched)
    found = karakida2019_training.one_epoch("tanh", True, 0, False, images="mnist")
    assert asked == [("mnist", 40)]
    lr = mfdnn.max_learning_rate(karakida2019_training.classifier(40, "tanh", 12), inputs=X)
    assert found.limit[1] == lr.value


def test_normalised_maps_have_no_catapult_limit(drawn):
    shown = panels(drawn["karakida2019-normalization-rates"])
    has = {panel: any(line.get_gid() == "catapult_limit" for line in ax.lines) for panel, ax in shown.items()}
    assert has == {"A": True, "B": False, "C": False, "D": True, "E": False, "F": False}
    assert all(any(line.get_gid() == "limit" for line in ax.lines) for ax in shown.values())


def test_the_solved_model_is_drawn(drawn):
    shown = panels(drawn["lewkowycz2020-catapult"])
    for i, step in enumerate(lewkowycz2020.WARM_UP):
        path = mfdnn.catapult_trajectory(1.0, 1.0, step, 40, width=1000)
        n = len(shown["A"].lines[i].get_ydata())
        assert n == 41 or path.zone == "divergent"
        assert np.array_equal(shown["A"].lines[i].get_ydata(), path.losses[:n])
    solid = [line for line in shown["B"].lines if line.get_linestyle() == "-"]
    assert np.array_equal(
        solid[1].get_ydata(), mfdnn.catapult_trajectory(1.0, 1.0, 2.2, 40, width=1000).curvature
    )


def test_networks_that_diverged_stand_in_rows_above_all_others(drawn):
    zones = panels(drawn["lewkowycz2020-catapult"])["D"]
    joined = [line for line in zones.lines if line.get_marker() != "None" and line.get_linestyle() == "-"]
    alone = [line for line in zones.lines if line.get_marker() != "None" and line.get_linestyle() == "None"]
    assert len(joined) == len(alone) == len(lewkowycz2020.NETWORKS)
    times = lewkowycz2020.TIMES[::4]
    for kept, lost in zip(joined, alone, strict=True):
        assert kept.get_marker() == lost.get_marker() and kept.get_color() == lost.get_color()
        assert sorted([*kept.get_xdata(), *lost.get_xdata()]) == list(times)
        assert np.all(kept.get_ydata() < lewkowycz2020.DIVERGED) and np.all(lost.get_ydata() > lewkowycz2020.DIVERGED)


def test_measured_catapults():
    found = lewkowycz2020.measure(0, "linear", 2, 40, (0.5, 3.0, 30.0), 60)
    assert np.isfinite(found["flatter"]).tolist() == [True, True, False]
    assert found["flatter"][1] < 2 / 3 * 1.1 < found["flatter"][0]
    assert found["losses"][1].max() > found["losses"][1, 0] > found["losses"][1, -1]


def test_the_linearised_network_is_the_network_where_it_is_linear():
    one, X = mfdnn.sample(mfdnn.mlp([5, 3], "linear"), rng=0), gaussian_inputs(12, 5, rng=1)
    y = np.arange(12) % 3
    expected = mfdnn.train(one, X, y, 0.3, 20, loss="cross_entropy").losses
    np.testing.assert_allclose(karakida2021_training.linearised(one, X, y, 0.3, 20), expected, rtol=1e-11)


def test_training_in_pieces_is_training():
    """The figure records at steps of its own; plain descent has no memory."""
    one, X = mfdnn.sample(mfdnn.mlp([5, 20, 2], "tanh", 1.5, 0.1), rng=0), gaussian_inputs(12, 5, rng=1)
    y = np.arange(12) % 2
    whole = mfdnn.train(one, X, y, 0.3, 10, loss="cross_entropy")
    first = mfdnn.train(one, X, y, 0.3, 4, loss="cross_entropy")
    second = mfdnn.train(first.trained, X, y, 0.3, 6, loss="cross_entropy")
    assert np.array_equal(whole.losses, np.append(first.losses[:-1], second.losses))


def test_recorded_steps_are_spread_over_the_decades():
    steps = karakida2021_training.recorded_steps(1000)
    assert steps[0] == 0 and steps[-1] == 1000 and steps == sorted(set(steps))
    assert np.max(np.diff(np.log(steps[1:]))) < np.log(2.01)


def test_curvature_and_theory_are_drawn(drawn):
    loss, top, small = panels(drawn["karakida2021-training"]).values()
    theory, points = loss.lines
    assert len(theory.get_ydata()) == 11
    # A narrow network leaves its linearisation slowly: the start is the same.
    assert points.get_ydata()[0] == pytest.approx(theory.get_ydata()[0], rel=1e-6)
    net = mfdnn.mlp([30, 30, 30, 2], "tanh", 3.0, 0.64)
    assert top.lines[0].get_ydata()[0] == mfdnn.fisher_statistics(net, n_samples=20).largest
    for curve in small.lines[::2]:
        assert curve.get_ydata()[0] == pytest.approx(1, rel=1e-6)

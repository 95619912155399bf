"""The figures of two-layer networks: their lines are what the package computes, in the stated settings."""

import numpy as np
import pytest

import mfdnn
from mfdnn.comparison import required_width_measured
from mfdnn.papers import arora2019, du2019, required_widths
from mfdnn.training.two_layer import draw, squared_residuals


def panels(figure):
    """By letter."""
    return dict(zip("ABCD", figure.axes, strict=False))


def of_style(ax, dash="None", marker="None"):
    return [line for line in ax.lines if (line.get_linestyle(), str(line.get_marker())) == (dash, marker)]


# -- Du et al. ------------------------------------------------------------------------------------------------


def test_loss_signs_and_weights_are_those_of_training():
    X = du2019.on_sphere(12, 4, 0)
    theory = mfdnn.two_layer_theory(X, np.random.default_rng(1).standard_normal(12))
    found = du2019.measure(theory, X, 30, 23, 5)
    assert found["epochs"].tolist() == [*range(11), 15, 20]
    w, a = draw(30, 4, 1.0, 5)
    start = w.copy()
    run = squared_residuals(w, a, X, theory.labels, theory.activation, theory.stable_rate / 2, 20, both=False)
    squares = np.array(list(run))  # w is that of epoch 20
    np.testing.assert_array_equal(found["squares"][:21], squares / squares[0])
    assert found["flips"][0] == found["moved"][0] == 0
    assert found["flips"][-1] == np.mean(np.sign(X @ w.T) != np.sign(X @ start.T))
    assert found["moved"][-1] == max(np.linalg.norm(row) for row in w - start)


def test_du_shows_the_prediction_and_the_bound(drawn):
    shown = panels(drawn["du2019-training"])
    inputs, labels, *_ = np.random.default_rng(0).spawn(4)
    X = du2019.on_sphere(40, 40, inputs)
    theory = mfdnn.two_layer_theory(X, labels.standard_normal(40))
    (wide,), (bound,) = of_style(shown["A"], "--"), of_style(shown["A"], ":")
    k, eta = np.arange(21), 1 / theory.eigenvalues[0]
    expected = theory.predicted_residual(eta, k, "average") ** 2
    np.testing.assert_allclose(wide.get_ydata(), expected / expected[0], rtol=1e-12)
    np.testing.assert_allclose(bound.get_ydata(), theory.bound(k, eta), rtol=1e-12)
    narrow, wider = of_style(shown["A"], "-")
    assert np.all(wide.get_ydata()[1:] < wider.get_ydata()[1:]) and wider.get_ydata()[-1] < narrow.get_ydata()[-1]
    assert np.all(narrow.get_ydata() <= bound.get_ydata())


def test_wider_networks_change_less(drawn):
    shown = panels(drawn["du2019-training"])
    for name in "BC":
        narrow, wide = (line.get_ydata()[-1] for line in of_style(shown[name], "-") if len(line.get_xdata()) > 2)
        assert wide < narrow
    (grey,) = (line.get_ydata()[0] for line in of_style(shown["C"], "-") if len(line.get_xdata()) == 2)
    assert grey == pytest.approx(narrow / 2, rel=1e-12)  # four times as wide


# -- Arora et al. ---------------------------------------------------------------------------------------------


def test_images_are_of_two_classes_and_norm_1():
    X, y = arora2019.images(0)
    assert X.shape == (361, 64) and np.unique(y).tolist() == [-1, 1]
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1)
    again, same = arora2019.images(1)
    assert not np.array_equal(X, again) and np.sum(y) == np.sum(same)


def test_the_predictor_is_that_of_long_training():
    X = du2019.on_sphere(14, 30, 0)
    y = np.sign(X[:, 0])
    gram = mfdnn.two_layer_theory(X, y).gram
    loss, wrong = arora2019.predictor_errors(gram, y, 10)
    u, f = np.zeros(10), np.zeros(4)
    for _ in range(3000):  # of the linear model with this kernel; its slowest mode has 1 - 0.2 lambda_0 < 0.97
        u, f = u + 0.2 * gram[:10, :10] @ (y[:10] - u), f + 0.2 * gram[10:, :10] @ (y[:10] - u)
    assert loss == pytest.approx(np.minimum(np.abs(f - y[10:]), 1).mean(), rel=1e-9)
    assert wrong == np.mean(np.sign(f) != y[10:])


def test_true_labels_are_learned_faster_and_generalise(drawn):
    shown = panels(drawn["arora2019-labels"])
    true, random = of_style(shown["A"], "-")
    assert true.get_ydata()[-1] < random.get_ydata()[-1]
    true, random = of_style(shown["B"], "-")
    assert np.all(true.get_ydata()[:-1] > random.get_ydata()[:-1])
    assert true.get_ydata()[-1] == pytest.approx(1) == random.get_ydata()[-1]
    measure, loss, wrong = (line.get_ydata() for line in of_style(shown["C"], "-"))
    assert np.all(wrong <= loss)  # a wrong sign is an error of 1 and more
    assert np.all(loss <= measure)
    X, y = arora2019.images(np.random.default_rng(0).spawn(5)[0])
    assert measure[0] == pytest.approx(mfdnn.two_layer_theory(X[:40], y[:40]).generalisation(), rel=1e-12)


def test_wide_networks_follow_the_prediction():
    X, y = arora2019.images(0)
    measured, predicted = arora2019.residuals(mfdnn.two_layer_theory(X[:30], y[:30]), X[:30], 4000, 30, 0)
    np.testing.assert_allclose(measured, predicted, rtol=0.05)  # 2 % here
    assert measured[-1] < 0.2 * measured[0]


# -- demanded and needed --------------------------------------------------------------------------------------


def test_widths_are_those_of_the_package(drawn):
    shown = panels(drawn["required-widths"])
    children = np.random.default_rng(0).spawn(3)
    found = []
    for n in required_widths.SIZES_FAST:
        inputs, trials = children[0].spawn(2)
        X, y = required_widths.data("sphere, 10 dimensions", n, inputs)
        found.append(required_width_measured(X, y, n_trials=3, n_steps=10, rng=trials))
    (needed,) = of_style(shown["A"], "-", "o")
    assert needed.get_ydata().tolist() == [each.width for each in found]
    lines = [*of_style(shown["A"], "-"), *of_style(shown["A"], "--")]
    for line, theorem in zip(lines, required_widths.THEOREMS, strict=True):
        assert line.get_ydata().tolist() == [each.demanded[theorem] for each in found]
    assert set(required_widths.THEOREMS) == set(found[0].demanded)


def test_theorems_on_smooth_activations_are_dashed():
    sources = mfdnn.two_layer_theory(np.eye(3), np.ones(3)).sources
    dashed = {name for name, (_, dashes) in required_widths.THEOREMS.items() if dashes == "--"}
    assert dashed == {name for name, source in sources.items() if "about smooth activations" in source}


def test_the_prediction_gets_better_with_the_width(drawn):
    shown = panels(drawn["required-widths"])["D"]
    for name, (_, marker) in required_widths.DATA.items():
        (line,) = of_style(shown, "None", marker)
        narrow, wide = line.get_ydata()
        assert wide < narrow, name
    lazy = [line.get_xdata()[0] for line in of_style(shown, "-.")]
    assert len(lazy) == 3 and min(lazy) > 1

"""Lazy training measured: powers of the width, the output scale, slopes."""

import numpy as np
import pytest

import mfdnn
from mfdnn.comparison import lazy_training
from mfdnn.comparison.lazy_training import fitted_slope

NET = mfdnn.mlp([2, 16, 16, 1], "erf", 2.0, 0.1)
X = np.random.default_rng(0).standard_normal((5, 2))
y = np.array([1.0, -1.0, 1.0, -1.0, 1.0])


def test_a_power_law_has_its_slope_and_the_error_that_errors_make():
    x = np.array([10.0, 20.0, 40.0])
    slope, error = fitted_slope(x, 3 * x**-0.5, 0.03 * x**-0.5)
    # One percent at each of three points whose logarithms differ by log 2.
    assert slope == pytest.approx(-0.5) and error == pytest.approx(0.01 / np.log(2) / np.sqrt(2))
    assert fitted_slope(x, 3 * x**-0.5, np.full(3, np.inf))[0] == pytest.approx(-0.5)
    assert fitted_slope(x, x, np.full(3, np.inf))[1] == np.inf
    assert lazy_training(NET, X, y, 1, factors=(1,), n_networks=1, rng=0).slopes == {}


def test_everything_vanishes_as_the_width_grows_and_runs_are_reproducible():
    options = {"factors": (1, 4, 16), "n_networks": 3, "rng": 0}
    found = lazy_training(NET, X, y, 10, **options)
    assert found.width.tolist() == [16, 64, 256] and found.learning_rate[0] / found.learning_rate[2] > 10
    for name in ("kernel_drift", "parameter_movement", "linear_gap", "kernel_gap"):
        assert np.all(np.diff(found.mean[name]) < 0), name
        assert -1.6 < found.slopes[name][0] < -0.2, name
    again = lazy_training(NET, X, y, 10, **options)
    assert all(np.array_equal(again.values[name], found.values[name]) for name in found.values)
    assert found.to_dict()["n_steps"] == 10 and "kernel_drift ~ M^-" in repr(found)


def test_the_numbers_are_those_of_one_network_trained_by_hand():
    found = lazy_training(NET, X, y, 5, factors=(1,), n_networks=1, rng=3, momentum=0.5)
    one = mfdnn.sample(NET, rng=np.random.default_rng(np.random.default_rng(3).bit_generator.seed_seq.spawn(1)[0]))
    rate = found.learning_rate[0]
    run = mfdnn.train(one, X, y, rate, 5, momentum=0.5)
    before, after = (mfdnn.empirical_ntk(f, X) for f in (one, run.trained))
    assert found.mean["kernel_drift"][0] == np.linalg.norm(after - before) / np.linalg.norm(before)
    assert found.mean["loss"][0] == run.final_loss / run.initial_loss
    largest = mfdnn.kernel_training(NET, X, y).eigenvalues[0]
    assert rate == pytest.approx(0.5 * 2 * 1.5 / largest)


def test_a_large_output_scale_is_lazy_at_small_width():
    one, large = (
        lazy_training(NET, X, y, 10, factors=(1,), n_networks=2, alpha=alpha, rng=0).mean for alpha in (1.0, 100.0)
    )
    for name in ("kernel_drift", "parameter_movement", "linear_gap"):
        assert large[name][0] < 0.05 * one[name][0]


def test_wrong_arguments_are_refused():
    for change, message in (
        ({"factors": ()}, "`factors` must be a list of positive numbers"),
        ({"factors": (1, -1)}, "`factors` must be a list of positive numbers"),
        ({"alpha": 0}, "`alpha` must be > 0"),
        ({"relative_rate": -1}, "`relative_rate` must be > 0"),
        ({"n_networks": 0}, "`n_networks` must be an integer >= 1"),
        ({"momentum": 2}, "`momentum` must lie in"),
        ({"relative_rate": 50.0}, "`relative_rate` makes a network .* diverge"),
    ):
        with pytest.raises(ValueError, match=message):
            lazy_training(NET, X, y, **{"n_steps": 20, "n_networks": 1, "rng": 0, **change})


@pytest.mark.slow
def test_powers_of_the_width_are_those_of_theory():
    found = lazy_training(NET, X, y, 20, factors=(2, 8, 32), n_networks=20, rng=0)
    # Drawn kernels scatter by M^-1/2; what training adds to a kernel is of order 1/M. Corrections at width 32: 0.2.
    for name, power in {"kernel_gap": -0.5, "kernel_drift": -1.0, "linear_gap": -1.0}.items():
        slope, error = found.slopes[name]
        assert abs(slope - power) < 4 * error + 0.2, (name, slope, error)

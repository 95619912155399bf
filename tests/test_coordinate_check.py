"""The coordinate check: how far layers move over width, in three parameterisations."""

import json

import matplotlib
import numpy as np
import pytest

import mfdnn
from mfdnn import plots
from mfdnn.comparison import CoordinateCheck, coordinate_check
from mfdnn.learning_rate.updates.parameterisation import mup_network

matplotlib.use("Agg")
NET = mfdnn.mlp([20, 64, 64, 2], "tanh", sigma_w2=1.5)


@pytest.fixture(scope="module", params=["sgd", "adam", "muon"])
def checks(request):
    kinds = ("mup", "standard")
    return {kind: coordinate_check(NET, request.param, parameterisation=kind, rng=0, n_steps=3) for kind in kinds}


def test_mup_is_flat_and_standard_is_not(checks):
    mup, standard = checks["mup"], checks["standard"]
    assert isinstance(mup, CoordinateCheck) and mup.flat and not standard.flat
    assert "one rate for all widths" in repr(mup) and "depends on the width" in repr(standard)
    assert mup.change.shape == standard.change.shape == (3, 3, 3)
    assert np.all(np.abs(mup.slopes) < 0.15)
    expected = {"sgd": 0.3, "adam": 0.8, "muon": 0.15}[mup.optimizer]  # towards 1, 3/2 - 1/2 and 1/2 of wide networks
    assert standard.slopes[-1] > expected


def test_the_first_step_is_predicted(checks):
    """By the response at infinite width: networks are 64 to 256 wide, and step a quarter of the way."""
    for found in checks.values():
        ratio = found.change[:, 0, -1] / found.predicted
        assert np.all((ratio > 0.7) & (ratio < 1.6)), ratio
        assert found.learning_rate > 0


def test_ntk_outputs_of_descent_move_alike():
    found = coordinate_check(NET, "sgd", parameterisation="ntk", rng=0, n_steps=1, n_networks=6)
    assert abs(found.slopes[-1]) < 0.25 and np.all(found.slopes[:-1] < -0.25)  # and features stand still


def test_its_own_data():
    X = np.random.default_rng(0).standard_normal((10, 20))
    y = np.random.default_rng(1).integers(2, size=10)
    own = {"inputs": X, "targets": y, "learning_rate": 0.01, "sizes": [40, 20]}
    found = coordinate_check(NET, "lion", **own, n_steps=1, n_networks=2, rng=0)
    assert found.sizes.tolist() == [20, 40] and found.n_samples == 10 and found.learning_rate == 0.01
    again = coordinate_check(NET, "lion", **own, n_steps=1, n_networks=2, rng=0)
    np.testing.assert_array_equal(found.change, again.change)
    steps = [
        mfdnn.first_step(mfdnn.mlp([20, M, M, 2], "tanh", 1.5), "lion", inputs=X, targets=y, parameterisation="mup")
        for M in (20, 40)
    ]
    np.testing.assert_allclose(found.predicted, [0.01 * step.response for step in steps], rtol=1e-12)
    assert json.loads(json.dumps(found.to_dict()))["optimizer"] == "lion"


def test_a_layer_moves_as_signs_say():
    """One step of signs at rate eta/M: a unit moves by eta times the mean of |h|, if its errors have one sign."""
    net = mfdnn.mlp([4, 50, 30, 1], "relu", 2.0, bias=False)
    x = np.array([[1.0, -2.0, 0.5, 1.5]])
    found = coordinate_check(
        net, "signsgd", inputs=x, targets=[[1.0]], learning_rate=1e-3, sizes=[50, 100], n_steps=1, n_networks=2, rng=0
    )
    # Of the first layer, whose rate is 1 at every width; units that are off, with gradients of 0, stay.
    share = found.change[:, 0, 0] / (1e-3 * np.abs(x).sum())
    assert np.all(share == pytest.approx(np.sqrt(0.5), rel=0.25))
    assert mup_network(net).weight_layers[-1][0].sigma_w2 == 2.0 / 30


def test_its_picture(checks):
    found = checks["mup"]
    ax = found.plot()
    assert ax is plots.coordinate_check(found, ax=ax)
    labels = ax.get_legend_handles_labels()[1]
    assert sum("layer" in label for label in labels) >= 2 and "the same in theory" in labels
    assert ax.get_xscale() == ax.get_yscale() == "log"
    with pytest.raises(TypeError, match="`found` must be a CoordinateCheck"):
        plots.coordinate_check(3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": "adamm"}, ValueError, "did you mean adam"),
        ({"parameterisation": "up"}, ValueError, "`parameterisation` must be one of"),
        ({"sizes": [64]}, ValueError, "`sizes` must be two or more different ones"),
        ({"n_networks": 1}, ValueError, "`n_networks` must be an integer >= 2"),
        ({"learning_rate": 1e100, "optimizer": "sgd"}, OverflowError, "makes networks diverge"),
        ({"learning_rate": 0}, ValueError, "`learning_rate` must be > 0"),
        ({"targets": np.ones((3, 3))}, ValueError, "`targets` must have the shape of the outputs"),
        ({"net": mfdnn.mlp([4, 2])}, ValueError, "`net` must have a hidden layer"),
        ({"net": mfdnn.cnn((3, 6, 6), [8], 2, norm=None)}, mfdnn.NoTheory, "got a layer Conv"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        coordinate_check(**{"net": NET, **arguments})

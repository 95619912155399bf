"""Rows of `compare(first_step=...)`: what a network's own update does, against differences and theory."""

import numpy as np
import pytest

import mfdnn
from mfdnn.comparison.first_step import first_steps
from mfdnn.datasets import gaussian_inputs
from mfdnn.mean_field import MeanField

NET = mfdnn.mlp([12, 40, 40, 2], "gelu", 1.5, 0.1)
SHAPES = {  # of other shapes and activations than those of the theory's own checks
    "silu": mfdnn.mlp([20, 160, 200, 3], "silu", 2.0, 0.1),
    "erf": mfdnn.mlp([24, 128, 128, 160, 1], "erf", 1.3, 0.05),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
def test_measured_rows_are_what_training_itself_does_to_the_outputs(optimizer):
    """e . (f(theta) - f(theta - eta U))/eta of one layer's update, by a small step of `train`."""
    X = gaussian_inputs(7, 12, rng=0)
    found = first_steps(MeanField(NET, inputs=X), optimizer, 2, rng=5)
    of_data, _, of_networks = np.random.default_rng(5).spawn(3)
    e = of_data.standard_normal((7, 2))
    values = []
    for seed in of_networks.bit_generator.seed_seq.spawn(2):
        one = mfdnn.sample(NET, rng=np.random.default_rng(seed))
        # Half MSE of targets f - e has these errors.
        trained = mfdnn.train(one, X, one(X) - e, 1e-6, 1, optimizer=optimizer).trained
        row = []
        for l in range(3):
            layers = [list(group) for group in one.parameters]
            layers[l] = trained.parameters[l]
            row.append(np.sum(e * (one(X) - mfdnn.SampledNetwork(NET, layers)(X))) / 1e-6)
        values.append(row)
    # The second derivative along a step of 1e-6, rounding of a difference of outputs over it.
    np.testing.assert_allclose(found.mean["first_step"], np.mean(values, axis=0), rtol=2e-3)
    assert found.mean["first_step_total"] == pytest.approx(found.mean["first_step"].sum())


@pytest.mark.parametrize("optimizer", ["sgd", "lion", "adamw", "muon"])
@pytest.mark.parametrize("name", SHAPES)
def test_theory_agrees_layer_by_layer_with_networks_of_other_shapes(name, optimizer):
    """Three standard errors and 2 %; Muon 0.3 T/M more, where not few singular values make the whole."""
    net, T = SHAPES[name], 12
    found = first_steps(MeanField(net, inputs=gaussian_inputs(T, net.n_inputs, rng=2)), optimizer, 24, rng=0)
    allowed = 0.02 + 0.3 * T / 128 * (optimizer == "muon")
    error = np.hypot(found.standard_error["first_step"], found._errors)
    off = np.abs(found.mean["first_step"] - found._theory)
    allowed = np.full(3 if name == "silu" else 4, allowed)
    allowed[-1] += 0.2 / np.sqrt(net.n_outputs) * (optimizer == "muon" and net.n_outputs > 1)
    assert np.all(off <= 3 * error + allowed * found._theory)


def test_tables_have_rows_of_the_first_step():
    table = mfdnn.compare(NET, 10, 6, rng=0, first_step="adam")
    names = [row.quantity for row in table.rows if row.quantity.startswith("first_step")]
    assert names == ["first_step[1]", "first_step[2]", "first_step[3]", "first_step_total"]
    total = table.row("first_step_total")
    assert total.agrees and total.simulation == pytest.approx(
        sum(table.row(name).simulation for name in names[:3]), rel=1e-12
    )
    assert 0 < total.allowance < 0.2 * total.theory and total.standard_error > 0
    again = mfdnn.compare(mfdnn.MeanField(NET, 10), None, 6, rng=0, first_step="adam")
    assert again.row("first_step[2]").simulation == table.row("first_step[2]").simulation
    plain = mfdnn.compare(NET, 10, 6, rng=0)
    assert [row.simulation for row in plain.rows] == [row.simulation for row in table.rows[: len(plain.rows)]]


def test_rows_of_descent_behind_any_layers():
    net = mfdnn.resnet([12, 60, 2], 2, "relu", 1.0, 0.1)
    table = mfdnn.compare(net, 10, 8, rng=0, first_step="sgd")
    assert table.row("first_step_total").agrees is not False
    with pytest.raises(mfdnn.NoTheory):
        mfdnn.compare(net, 10, 8, rng=0, first_step="adam")


def test_layers_too_narrow_for_so_many_samples_have_no_claim():
    row = mfdnn.compare(NET, 60, 3, rng=0, first_step="muon").row("first_step[1]")
    assert row.agrees is None and "finite width" in row.note


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`first_step` must be one of .*did you mean adam"):
        mfdnn.compare(NET, 10, 3, rng=0, first_step="Adam")
    drawn = mfdnn.ensemble(NET, 10, n_networks=2, rng=0)
    with pytest.raises(ValueError, match="`first_step` draws networks of its own"):
        mfdnn.compare(NET, ensemble=drawn, first_step="adam")

"""Normalised networks and classifiers: every row of theory within chance and the stated corrections, or no claim."""

import numpy as np
import pytest
from slow import slow

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.finite_width.traces import fisher_traces
from mfdnn.kernels.parts import kernel

VARIANCES = {"tanh": (3.0, 0.64), "relu": (2.0, 0.1), "linear": (1.0, 0.1)}
Mean, Batch, LayerN = mfdnn.MeanSubtraction, mfdnn.BatchNorm, mfdnn.LayerNorm

PLACES = {
    "mean subtraction before": {"before": [Mean()]},
    "mean subtraction after": {"after": [Mean()]},
    "batch norm": {"before": [Batch()]},
    "batch norm with an offset": {"before": [Batch(1.2, 0.1)]},
    "layer norm before": {"before": [LayerN()]},
    "layer norm after": {"after": [LayerN()]},
    "mean subtraction last": {"last": [Mean()]},
    "batch norm last": {"last": [Batch(affine=False)]},
    "layer norm last": {"last": [LayerN(affine=False)]},
    "softmax": {},
}
# Uneven widths with T < M and one output; T about M and three; narrow with ten.
SHAPES = {"C = 1": ((60, 100, 80, 1), 20), "C = 3": ((50, 50, 50, 3), 50), "C = 10": ((40, 50, 40, 10), 20)}


def network(widths, act, before=(), after=(), last=()):
    hidden = [x for m in widths[1:-1] for x in (dense(m, act), *before, mfdnn.Pointwise(act), *after)]
    return mfdnn.Network(widths[0], [*hidden, dense(widths[-1], act), *last])


def dense(units, act):
    return mfdnn.Dense(units, *VARIANCES[act])


@pytest.mark.parametrize("act", VARIANCES)
@pytest.mark.parametrize("shape", ["C = 1", "C = 3", slow("C = 10")])
@pytest.mark.parametrize("place", PLACES)
def test_every_row_agrees_or_makes_no_claim(place, shape, act):
    (*hidden, n_outputs), n_samples = SHAPES[shape]
    output = "softmax" if place == "softmax" else "linear"
    # A softmax needs two outputs, layer norm six for a variance of 1/sigma^2.
    least = {"softmax": 2, "layer norm last": 6}.get(place, 1)
    net = network((*hidden, max(n_outputs, least)), act, **PLACES[place])
    table = mfdnn.compare(net, n_samples, 12, rng=2, output=output)
    assert table.agrees, f"\n{table}"
    silent = {row.quantity.split("[")[0] for row in table.rows if row.agrees is None}
    assert silent <= {"lambda_max", "outlier_mean", "second_moment", "q_hat_st", "q_tilde_st", "q_st"}, (
        f"\n{table}"
    )


def squared_mean_gradient(net, n):
    """Mean over 20 networks of |E grad f|^2, which F has in that direction, and its standard error."""
    along = []
    for seed in range(20):
        X = gaussian_inputs(n, net.n_inputs, rng=100 + seed)
        gradient = mfdnn.sample(net, rng=seed).vjp(X, np.ones((n, 1))) / n
        along.append(gradient @ gradient)
    return np.mean(along), np.std(along, ddof=1) / np.sqrt(20)


def test_mean_subtraction_is_exact_at_infinite_width_and_any_number_of_samples():
    """In the constant direction, that of relu's outlier: what simulations have more is pushed there by the bulk."""
    net = network((300, 300, 300, 1), "relu", before=[Mean()])
    for n in (5, 40):
        one, two = kernel(mfdnn.fisher_statistics(net, n).order_parameters).averages()
        along, error = squared_mean_gradient(net, n)
        assert abs(along - (one + (n - 1) * two) / n) < 4 * error


def test_the_outlier_behind_batch_norm_is_exact_at_any_number_of_samples():
    """A fifth less, at ten samples, than a theory that takes normalised values for Gaussian."""
    net, n = network((200, 200, 200, 1), "relu", before=[Batch()]), 10
    wide = mfdnn.MeanField(net, n)
    one, two = kernel(wide.order_parameters).averages()
    theory = (one + (n - 1) * two) / n
    assert theory == pytest.approx(mfdnn.fisher_statistics(wide).largest, rel=1e-12)
    along, error = squared_mean_gradient(net, n)
    assert abs(along - theory) < 4 * np.hypot(error, mfdnn.fisher_statistics(wide).standard_error["largest"])
    assert error < 0.02 * theory


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("act", VARIANCES)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_traces_at_finite_width_against_simulation(n_outputs, act, centred):
    net = network((50, 60, 50, n_outputs), act, last=[Mean()] if centred else [])
    body = mfdnn.Network(50, net.layers[:-1]) if centred else net
    found = fisher_traces(body, 40, centred=centred)
    fim = mfdnn.fisher_statistics(net, 40, [1.0])  # an array: without the edge, which takes time
    p = net.n_parameters
    assert found.trace_wide / p == pytest.approx(fim.mean[0], rel=1e-9)
    assert found.square_wide / p == pytest.approx(fim.second_moment[0], rel=1e-9)
    ens = mfdnn.ensemble(net, 40, 60 // n_outputs, rng=1)
    for name, predicted in (("mean", found.trace), ("second_moment", found.square)):
        # What is left is of order (L^2/M)^2, and (C/M)^2.
        left = (0.3 * (9 / 50) ** 2 + (n_outputs / 50) ** 2) * predicted / p
        assert abs(ens.mean[name] - predicted / p) < 4 * ens.standard_error[name] + left, name
    assert found.square > 1.15 * found.square_wide


def test_traces_of_given_inputs_add_what_networks_scatter_to_the_kernel_of_the_data():
    X = gaussian_inputs(30, 20, c0=0.3, rng=4)
    net = network((20, 80, 80, 2), "relu")
    row = mfdnn.compare(net, inputs=X, n_networks=30, rng=0).row("second_moment")
    assert row.theory == mfdnn.fisher_statistics(net, inputs=X).second_moment
    assert row.agrees
    assert 1.02 < row.predicted / row.theory < 1.5


@pytest.mark.parametrize("act", ["relu", "linear"])
def test_batch_norm_of_given_inputs_scatters_beside_their_own_kernel(act):
    """Of inputs in few directions, whose kernel is far from one number on its diagonal and one elsewhere."""
    X = gaussian_inputs(30, 20, c0=0.3, rng=4) * np.arange(20, 0, -1) / 12
    rows = {
        last: mfdnn.compare(network((20, 80, 80, 2), act, last=[last]), inputs=X, n_networks=100, rng=0).row(
            "second_moment"
        )
        for last in (Mean(), Batch(affine=False))
    }
    mean, batch = rows.values()
    assert batch.predicted / batch.theory == pytest.approx(mean.predicted / mean.theory, rel=0.02)  # P
    for row in rows.values():
        assert abs(row.simulation - row.predicted) < 3 * row.standard_error


def test_layer_norm_of_outputs_with_an_eps():
    """Of the order of their variance, where (C - 2)/(C - 3) is not what the errors gain."""
    net = network((80, 120, 100, 10), "relu", last=[LayerN(1.5, 0.2, eps=0.5)])
    table = mfdnn.compare(net, 20, 40, rng=1)
    assert table.agrees, f"\n{table}"
    row = table.row("q_tilde[3]")
    assert row.allowance < 1e-3 * row.theory
    assert row.theory < row.predicted < 8 / 7 * row.theory


@pytest.mark.parametrize(
    ("act", "low", "high"), [("tanh", 1.2, 1.45), ("relu", 2.3, 2.95), ("linear", 13.8, 14.5)]
)
def test_the_constant_of_the_upper_bound_is_what_the_traces_add(act, low, high):
    """c_2 of Karakida et al. 2019, which they leave open; the ends are those of simulations at M = T = 200 to 800."""
    for m in (200, 800):
        body = network((m, m, m, 1), act)
        traces = fisher_traces(body, m, centred=True)
        c_2 = (traces.square - traces.square_wide) / m
        assert low < c_2 < high
        known = mfdnn.fisher_statistics(network((m, m, m, 1), act, last=[Mean()]), m).output_normalisation
        # The paper's bound leaves out biases and 1/T.
        assert known.upper(c_2) == pytest.approx(np.sqrt(traces.square), rel=0.02)

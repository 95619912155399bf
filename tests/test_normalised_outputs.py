"""Normalised outputs: the statistics of their Fisher information against simulation, closed forms, dense matrices."""

import numpy as np
import pytest
from test_normalization import VARIANCES, Batch, LayerN, Mean, error_of, network

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.fisher import softmax_statistics
from mfdnn.kernels.parts import kernel_of
from mfdnn.layers import Exchangeable, Given
from mfdnn.layers.output_laws import layer_norm_traces


@pytest.mark.parametrize(
    ("act", "lower", "upper"), [("tanh", 1.674, 23.7), ("relu", 2.347, 33.2), ("linear", 3.0, 42.4)]
)
def test_mean_subtraction_has_the_bounds_of_the_paper(act, lower, upper):
    net = network(200, act, last=[Mean()])
    fim = mfdnn.fisher_statistics(net, 200)
    known = fim.output_normalisation
    assert known.lower() == pytest.approx(lower, abs=5e-4)
    assert known.upper() == pytest.approx(upper, abs=0.05)
    assert known.lower(4.2) == pytest.approx(lower + 4.2, abs=5e-4)
    assert known.upper(1.3) == pytest.approx(np.sqrt(upper**2 + 1.3 * 200), abs=0.05)
    assert fim.kappa_1 == pytest.approx(mfdnn.fisher_statistics(network(200, act), 200).kappa_1)
    assert known.lower() < fim.largest < known.upper()
    assert fim.largest == known.edge.largest
    assert fim.n_outliers == 0
    plain = mfdnn.max_learning_rate(network(200, act), 200)
    rate = mfdnn.max_learning_rate(net, 200)
    assert float(rate) == pytest.approx(2 / fim.largest)
    assert float(rate) > 3.5 * float(plain)
    # (1 - 1/T)(kappa_1 - kappa_2) C/M.
    assert fim.mean_leading == pytest.approx((1 - 1 / 200) * (fim.kappa_1 - fim.kappa_2) / 200, rel=1e-12)


@pytest.mark.parametrize("act", VARIANCES)
@pytest.mark.parametrize("last", [Mean(), Batch(affine=False), Batch(1.5, eps=0.5)])
def test_last_layer_against_simulation(act, last):
    net = network(80, act, last=[last], n_outputs=2)
    X = gaussian_inputs(40, 80, c0=0.3, rng=3)
    for data in ({"n_samples": 40}, {"inputs": X}):
        as_array = {} if "inputs" in data else {"q0": [1.0]}  # without the sharp edge, which takes seconds
        fim, ens = (
            mfdnn.fisher_statistics(net, **data, **as_array),
            mfdnn.ensemble(net, n_networks=12, rng=0, **data),
        )
        # 1/M, and for variances of the outputs 2/T and 2/M.
        assert (
            error_of(fim.mean, ens, "mean", 2 / 80 + (0 if last.kind == "mean subtraction" else 2 / 80)) < 4
        )


@pytest.mark.parametrize(
    ("act", "last"), [("tanh", Mean()), ("relu", Mean()), ("linear", Batch(affine=False))]
)
def test_the_edge_of_many_samples_against_simulation(act, last):
    net = network(100, act, last=[last])
    fim, ens = mfdnn.fisher_statistics(net, 100), mfdnn.ensemble(net, 100, 16, rng=0)
    # The law holds within 5 %; one network scatters by 3 to 12 % at M = 400.
    assert error_of(fim.largest, ens, "lambda_max", 0.05) < 3
    assert fim.largest > 2 * fim.output_normalisation.lower()
    assert ens.mean["lambda_max"] < fim.output_normalisation.upper()


def test_softmax_behind_a_normalisation_is_refused():
    fim = mfdnn.fisher_statistics(network(20, "relu", last=[LayerN()], n_outputs=6), 10)
    with pytest.raises(ValueError, match="`fim` must be of linear outputs, got layer norm behind them"):
        softmax_statistics(fim)
    for refuse in (mfdnn.fisher_statistics, mfdnn.compare):
        with pytest.raises(
            ValueError, match="`output` = softmax needs linear outputs, got batch norm behind"
        ):
            refuse(network(20, "relu", last=[Batch()], n_outputs=3), 10, output="softmax")


def test_few_samples_are_degenerate_and_batch_norm_larger_by_t_over_t_minus_three():
    for last, factor in ((Mean(), 1.0), (Batch(affine=False), 5 / 2)):
        net = network(300, "tanh", last=[last])
        fim = mfdnn.fisher_statistics(net, 5)
        known = fim.output_normalisation
        np.testing.assert_allclose(
            known.degenerate, 300 * 2 * known.scale * (0.95552190 - 0.11861537) / 5, rtol=1e-7
        )
        # Width 300: the refined value has the biases' share in it.
        assert fim.bulk * 5 == pytest.approx(
            factor * 5 * known.degenerate * (1 - (1 if factor == 1 else 2) / 5), rel=0.01
        )
        ens = mfdnn.ensemble(net, 5, 30, rng=0)
        assert error_of(fim.mean, ens, "mean", 2 / 300) < 4
    assert fim.output_normalisation.edge is None
    assert "no eigenvalue stands out" in fim.caution


def test_batch_norm_divides_by_what_outputs_do_not_share():
    plain, fim = (mfdnn.fisher_statistics(network(200, "relu", last=last), 200) for last in ([], [Batch()]))
    own = plain.order_parameters.q[-1] - plain.order_parameters.q_st[-1]
    assert own == pytest.approx(1.041, abs=5e-4)
    assert fim.kappa_1 == pytest.approx(plain.kappa_1 / own)
    assert fim.output_normalisation.scale == pytest.approx(1 / own)
    edge = fim.output_normalisation.edge
    assert fim.largest == pytest.approx(edge.finite / own)
    # (T - 2)/T (kappa_1' - kappa_2')/M, with E[1/sigma^2] larger by T/(T - 3).
    assert fim.mean_leading == pytest.approx((198 / 197) * (fim.kappa_1 - fim.kappa_2) / 200, rel=1e-10)
    several = mfdnn.fisher_statistics(network(300, "relu", last=[Batch()], n_outputs=3), 300)
    assert "smallest variance" in several.caution


def test_other_networks_keep_the_leading_value_and_say_so():
    net = network(100, "relu", before=[Batch()], last=[Mean()])
    fim = mfdnn.fisher_statistics(net, 100)
    assert fim.output_normalisation.edge is None
    assert "several times larger" in fim.caution
    arrays = mfdnn.fisher_statistics(network(100, "relu", last=[Mean()]), 100, [1.0, 2.0])
    assert arrays.largest.shape == (2,)
    assert arrays.to_dict()["output_normalisation"]["lower"] == list(arrays.output_normalisation.lower())


def test_layer_norm_of_outputs_is_not_alleviated():
    net = network(150, "relu", last=[LayerN(affine=False)], n_outputs=8)
    fim = mfdnn.fisher_statistics(net, 20)
    plain = mfdnn.fisher_statistics(network(150, "relu", n_outputs=8), 20)
    q = plain.order_parameters.q[-1]
    # (C - 2) E[1/sigma^2] kappa_1/M with E[1/sigma^2] = C/((C - 3) q).
    assert fim.mean / plain.mean == pytest.approx(6 / 8 * 8 / 5 / q, rel=1e-12)
    assert fim.kappa_1 == plain.kappa_1
    assert (fim.n_outliers, fim.normalised_by, fim.caution) == (7, "layer norm", "")
    few = mfdnn.fisher_statistics(network(20, "relu", last=[LayerN()], n_outputs=3), 10)
    assert "1/sigma^2 has no variance" in few.caution
    ens = mfdnn.ensemble(net, 20, 16, rng=0)
    assert error_of(fim.mean, ens, "mean", 2 / 150) < 4
    # Outliers split by O(sqrt(M)): the largest is above the limit, by up to a half at this width.
    assert 0.8 * fim.largest < ens.mean["lambda_max"] < 1.6 * fim.largest
    wider = mfdnn.fisher_statistics(network(300, "relu", last=[LayerN(affine=False)], n_outputs=8), 20)
    assert wider.largest / fim.largest == pytest.approx(2, rel=0.03)  # order M


def other_draws(monkeypatch):
    """Outputs are drawn from another seed."""
    for kind in (Exchangeable, Given):
        draw = kind.draw
        monkeypatch.setattr(
            kind, "draw", lambda self, *args, rng, draw=draw, **more: draw(self, *args, rng=rng + 1, **more)
        )


@pytest.mark.parametrize(("n_outputs", "eps"), [(3, 0.1), (6, 0.0), (10, 0.5), (400, 0.0)])
def test_layer_norm_has_the_means_of_drawn_outputs(n_outputs, eps):
    q, last = 2.0, LayerN(1.5, eps=eps)
    trace, square = layer_norm_traces(last.gamma, last.eps, [0.0, q], n_outputs).T[1]
    variance = q * np.random.default_rng(0).chisquare(n_outputs - 1, 200_000) / n_outputs
    gain, lost = 1.5**2 / (variance + eps), 1 - (eps / (variance + eps)) ** 2
    drawn = gain * (n_outputs - 1 - lost)
    assert abs(trace - drawn.mean()) < 4 * drawn.std() / np.sqrt(len(drawn))
    if eps == 0:
        c = n_outputs
        assert trace == pytest.approx(1.5**2 * (c - 2) * c / ((c - 3) * q), rel=1e-12)
        assert square == pytest.approx(1.5**4 * (c - 2) * c**2 / ((c - 3) * (c - 5) * q**2), rel=1e-12)
    else:
        drawn = gain**2 * (n_outputs - 2 + (1 - lost) ** 2)
        assert abs(square - drawn.mean()) < 4 * drawn.std() / np.sqrt(len(drawn))


def test_layer_norm_of_outputs_is_continuous_in_eps_and_hardly_depends_on_the_draws(monkeypatch):
    """What inputs share in the outputs moves all gains of a draw together."""
    net = network(60, "relu", last=[LayerN()], n_outputs=10)
    near = network(60, "relu", last=[LayerN(eps=1e-9)], n_outputs=10)
    found = mfdnn.fisher_statistics(net, 30)
    for name in ("mean", "second_moment", "largest"):
        # 1/(sigma^2 + eps) moves by some eps/sigma^2
        assert getattr(mfdnn.fisher_statistics(near, 30), name) == pytest.approx(
            getattr(found, name), rel=1e-7
        )
    other_draws(monkeypatch)
    other = mfdnn.fisher_statistics(net, 30)
    assert other.mean == found.mean
    assert other.largest == pytest.approx(found.largest, rel=0.02)  # without known means 7 %
    assert other.second_moment == pytest.approx(found.second_moment, rel=0.15)  # without 15 %, each


def derivative(last, drawn, i, v):
    """R v of draw i, by the Jacobian of its normalisation."""
    z, inverse = (of_draws[i] for of_draws in drawn.drawn)
    v = v - v.mean(axis=last.along(2), keepdims=True) - z * np.mean(z * v, axis=last.along(2), keepdims=True)
    return inverse * v


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("eps", [0.0, 0.4])
@pytest.mark.parametrize("kind", [Batch, LayerN])
def test_drawn_outputs_against_dense_matrices(kind, eps, given):
    last = kind(1.3, eps=eps, affine=False)
    net = network(20, "relu", last=[last], n_outputs=4)
    data = {"inputs": gaussian_inputs(6, 20, c0=0.3, rng=0)} if given else {"n_samples": 6}
    if kind is Batch and not given:
        return  # in closed form
    wide = mfdnn.MeanField(net, **data)
    drawn, before = wide.output_law, kernel_of(wide.tangents_before)
    found = drawn.sums(before, kernel_of(wide.tangents), leading=False, own=True)
    one, two = before.at_one, before.at_two
    theta = two if given else (one - two) * np.eye(6) + two
    dual = np.kron(theta, np.eye(4)) / 6
    traces, squares, tops = [], [], []
    for i in range(len(drawn.drawn[0])):
        R = np.array([derivative(last, drawn, i, e.reshape(6, 4)).ravel() for e in np.eye(24)])
        np.testing.assert_allclose(R, R.T, atol=1e-12)
        values = np.linalg.eigvalsh(R @ dual @ R)
        traces.append(values.sum()), squares.append(values @ values), tops.append(values[-1])
    first, second = drawn._known_gains() if kind is Batch else (1.0, 1.0)
    analytic = kind is LayerN  # where 32 draws are worse
    assert 4 * found.diagonal == pytest.approx(first * np.mean(traces), rel=0.5 if analytic else 1e-10)
    assert 4 * found.square == pytest.approx(second * np.mean(squares), rel=1e-10)
    assert found.top == pytest.approx(first * np.mean(tops), rel=1e-8)


def test_batch_norm_of_given_outputs_hardly_depends_on_the_draws(monkeypatch):
    X = gaussian_inputs(30, 20, c0=0.3, rng=4) * np.arange(20, 0, -1) / 12
    net = network(20, "relu", last=[Batch()])
    found = mfdnn.fisher_statistics(net, inputs=X)
    other_draws(monkeypatch)
    other = mfdnn.fisher_statistics(net, inputs=X)
    # Without the known means of 1/sigma^2 and its square 8, 7 and 17 %.
    assert other.mean == pytest.approx(found.mean, rel=0.015)
    assert other.largest == pytest.approx(found.largest, rel=0.05)
    assert other.second_moment == pytest.approx(found.second_moment, rel=0.05)

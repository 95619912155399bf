"""Ensembles: every measured number by its definition, seeds, settings and what is refused."""

import json

import numpy as np
import pytest
from ensembles import NET, same_bits

from mfdnn.architectures import mlp
from mfdnn.datasets import gaussian_inputs
from mfdnn.ensembles import ensemble, statistics
from mfdnn.layers import LayerNorm
from mfdnn.network import Network
from mfdnn.sampled import fisher_spectrum, sample

PER_LAYER = ("q", "q_st", "q_hat", "q_hat_st", "q_tilde", "q_tilde_st")
NUMBERS = ("lambda_max", "outlier_mean", "mean", "second_moment")


def test_every_number_of_a_network_by_its_definition():
    ens = ensemble(NET, n_samples=4, n_networks=2, rng=3)
    rng = np.random.default_rng(3).spawn(2)[1]  # as the docstring says
    one = sample(NET, rng=rng)
    X = gaussian_inputs(4, 20, rng=rng)
    values = {name: ens.values[name][1] for name in ens.values}
    layers = one.activity(X)
    pairs = [(s, t) for s in range(4) for t in range(4) if s != t]
    for l, (h, u, delta) in enumerate(layers):
        for name, x in (("q_hat", h), ("q", u)):
            assert values[name][l] == pytest.approx(np.mean([x[t] @ x[t] / x.shape[1] for t in range(4)]))
            products = [x[s] @ x[t] / x.shape[1] for s, t in pairs]
            # Products cancel: rounding is on the scale of the squares.
            assert values[f"{name}_st"][l] == pytest.approx(np.mean(products), abs=1e-14)
        squares = [delta[k, t] @ delta[k, t] for k in range(2) for t in range(4)]
        products = [delta[k, s] @ delta[k, t] for k in range(2) for s, t in pairs]
        assert values["q_tilde"][l] == pytest.approx(np.mean(squares))
        assert values["q_tilde_st"][l] == pytest.approx(np.mean(products))
    spec = fisher_spectrum(one, X)
    assert values["lambda_max"] == spec.largest
    for name in NUMBERS[1:]:
        assert values[name] == getattr(spec, name)


def test_shapes_means_and_standard_errors():
    ens = ensemble(NET, n_samples=5, n_networks=7, rng=0, eigenvalues=True)
    assert set(ens.values) == {*NUMBERS, *PER_LAYER, "eigenvalues"}
    assert ens.values["eigenvalues"].shape == (7, 10)
    assert np.array_equal(ens.values["eigenvalues"][:, 0], ens.values["lambda_max"])
    for name, array in ens.values.items():
        assert array.shape[:1] == (7,)
        assert np.array_equal(ens.mean[name], array.mean(axis=0))
        assert np.allclose(ens.standard_error[name], array.std(axis=0, ddof=1) / np.sqrt(7), rtol=1e-14)
    assert all(ens.values[name].shape == (7, 3) for name in PER_LAYER)
    assert isinstance(ens.mean["lambda_max"], float)


def test_one_network_has_no_standard_error_and_one_input_no_pairs():
    ens = ensemble(NET, n_samples=1, n_networks=1, rng=0)
    assert set(ens.values) == {*NUMBERS, "q", "q_hat", "q_tilde"}
    assert ens.standard_error["lambda_max"] == np.inf
    assert np.all(ens.standard_error["q"] == np.inf)


def test_given_inputs_are_the_same_for_all_and_leave_the_weights_alone():
    X = gaussian_inputs(6, 20, rng=9)
    ens = ensemble(NET, n_networks=3, inputs=X, rng=1)
    assert ens.n_samples == 6
    assert np.all(ens.values["q_hat"][:, 0] == ens.values["q_hat"][0, 0])
    own = sample(NET, rng=np.random.default_rng(1).spawn(3)[2])
    assert ens.values["lambda_max"][2] == fisher_spectrum(own, X).largest


def test_large_spectra_are_iterated_to_the_same_numbers(monkeypatch):
    exact = ensemble(NET, n_samples=200, n_networks=2, rng=0)
    monkeypatch.setattr(statistics, "EXACT", 0)
    top = ensemble(NET, n_samples=200, n_networks=2, rng=0)
    for name in exact.values:  # the default tolerance of fisher_spectrum
        assert np.allclose(top.values[name], exact.values[name], rtol=1e-5, atol=0)
    assert ensemble(NET, 200, 2, rng=0, eigenvalues=True).values["eigenvalues"].shape == (2, 400)


def test_single_precision_measures_the_same():
    a, b = (ensemble(NET, 20, 40, rng=r, dtype=d) for r, d in ((0, "float64"), (1, "float32")))
    for name in a.mean:  # other draws: five standard errors of the difference
        error = np.hypot(a.standard_error[name], b.standard_error[name])
        assert np.all(np.abs(a.mean[name] - b.mean[name]) <= 5 * error + 1e-6)


def test_the_result_prints_and_exports():
    ens = ensemble(NET, 5, 3, rng=0)
    assert repr(ens).startswith("Ensemble(3 networks, T=5, lambda_max=")
    assert json.loads(json.dumps(ens.to_dict()))["values"]["q"] == ens.values["q"].tolist()


# -- who computes it ---------------------------------------------------------------------------------------


def test_seeds_and_generators():
    assert same_bits(ensemble(NET, 5, 3, rng=4), ensemble(NET, 5, 3, rng=np.random.default_rng(4)))
    assert not same_bits(ensemble(NET, 5, 3, rng=4), ensemble(NET, 5, 3, rng=5))
    assert not same_bits(ensemble(NET, 5, 3), ensemble(NET, 5, 3))
    few, many = ensemble(NET, 5, 3, rng=4), ensemble(NET, 5, 6, rng=4)
    assert np.array_equal(many.values["q"][:3], few.values["q"])
    assert not np.array_equal(few.values["q"][0], few.values["q"][1])


def test_workers_are_fewer_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(statistics, "n_cores", lambda: 64)
    monkeypatch.setattr(statistics, "available_memory", lambda: 1e6)
    assert statistics._workers(NET, 10, np.dtype(float), False) > 1
    monkeypatch.setattr(statistics, "available_memory", lambda: 10.0)
    assert statistics._workers(NET, 10, np.dtype(float), False) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"net": 3}, TypeError, "`net` must be a Network"),
        ({"n_samples": 0}, ValueError, "`n_samples` must be an integer >= 1"),
        ({"n_networks": 0}, ValueError, "`n_networks` must be an integer >= 1"),
        ({"q0": -1.0}, ValueError, "`q0` is a variance"),
        ({"c0": 2.0}, ValueError, "`c0` must be in"),
        ({"dtype": "float16"}, ValueError, "`dtype` must be one of float32, float64"),
        ({"inputs": np.ones((3, 7))}, ValueError, "7 features but the network takes 20"),
        (
            {"inputs": np.ones((3, 20)), "n_samples": 4},
            ValueError,
            "`n_samples` is 4 but `inputs` has 3 rows",
        ),
        ({"inputs": np.ones((3, 20)), "n_samples": 1000}, ValueError, "`n_samples` is 1000 but"),
        ({"inputs": np.ones((3, 20)), "q0": 1.0}, ValueError, "`inputs` excludes `q0`, which"),
        ({"rng": np.random.RandomState(0)}, TypeError, "`rng` must be something .* got RandomState"),
        ({"executor": "threads"}, TypeError, "`executor` must have a method map, got str"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        ensemble(**{"net": NET, "n_networks": 2, "rng": 0, **arguments})


def test_softmax_spectra_are_those_of_f_cross():
    ens = ensemble(NET, 9, 3, rng=0, output="softmax", eigenvalues=True)
    plain = ensemble(NET, 9, 3, rng=0)
    assert ens.output == "softmax" and plain.output == "linear"
    assert ens.values["eigenvalues"].shape == (3, 9)  # T (C - 1)
    for i, seed in enumerate(np.random.default_rng(0).bit_generator.seed_seq.spawn(3)):
        rng = np.random.default_rng(seed)
        one, X = sample(NET, rng=rng), gaussian_inputs(9, 20, rng=rng)
        spectrum = fisher_spectrum(one, X, output="softmax")
        np.testing.assert_allclose(ens.values["eigenvalues"][i], spectrum.eigenvalues, rtol=1e-9, atol=1e-12)
        assert ens.values["outlier_mean"][i] == pytest.approx(spectrum.eigenvalues[:1].mean())
    for name in ("q", "q_tilde_st"):
        np.testing.assert_array_equal(ens.values[name], plain.values[name])


def test_large_softmax_spectra_are_iterated_to_the_same_numbers(monkeypatch):
    net = mlp([20, 25, 30, 3], "tanh", 1.5, 0.1)
    exact = ensemble(net, 120, 2, rng=0, output="softmax")
    monkeypatch.setattr(statistics, "EXACT", 0)
    iterated = ensemble(net, 120, 2, rng=0, output="softmax")
    for name in ("lambda_max", "outlier_mean", "mean", "second_moment"):
        np.testing.assert_allclose(iterated.values[name], exact.values[name], rtol=1e-6)


def test_layer_norm_of_outputs_has_one_outlier_less():
    body = mlp([20, 30, 5], "relu", 2.0, 0.1)
    ens = ensemble(Network(20, [*body.layers, LayerNorm()]), 8, 2, rng=0, eigenvalues=True)
    np.testing.assert_allclose(ens.values["outlier_mean"], ens.values["eigenvalues"][:, :4].mean(axis=1))


def test_a_checkpoint_of_other_outputs_is_refused(tmp_path):
    ensemble(NET, 5, 2, rng=0, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="was made with output = None, not softmax"):
        ensemble(NET, 5, 2, rng=0, checkpoint=tmp_path / "run", output="softmax")
    with pytest.raises(ValueError, match="`output` = softmax needs two outputs or more, got 1"):
        ensemble(mlp([5, 1]), 5, 2, output="softmax")
    with pytest.raises(ValueError, match="`output` must be one of linear, softmax; got 'sigmoid'"):
        ensemble(NET, 5, 2, output="sigmoid")

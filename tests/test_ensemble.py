"""Ensembles: the definitions by double loops, the same bits everywhere, and nothing lost in a crash."""

import contextlib
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from mfdnn.datasets import gaussian_inputs
from mfdnn.ensemble import compare, ensemble, run, statistics
from mfdnn.fisher import fisher_statistics
from mfdnn.layers import BatchNorm, MeanSubtraction
from mfdnn.network import Network, mlp, resnet
from mfdnn.sampled import fisher_spectrum, sample

NET = mlp([20, 25, 30, 2], "tanh", 1.5, 0.1)
PER_LAYER = ("q", "q_st", "q_hat", "q_hat_st", "q_tilde", "q_tilde_st")
NUMBERS = ("lambda_max", "outlier_mean", "mean", "second_moment")


def same_bits(a, b):
    return a.values.keys() == b.values.keys() and all(
        np.array_equal(a.values[n], b.values[n]) for n in a.values
    )


class Counting:
    """An executor of the simplest kind, which counts and may fail."""

    def __init__(self, stop_after=None):
        self.stop_after, self.done = stop_after, 0

    def map(self, function, tasks):
        for task in tasks:
            if self.done == self.stop_after:
                raise RuntimeError("killed")
            self.done += 1
            yield function(task)


# -- what is measured --------------------------------------------------------------------------------------


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


def test_the_same_bits_for_any_executor_and_number_of_workers():
    reference = ensemble(NET, 30, 5, rng=2)
    assert same_bits(ensemble(NET, 30, 5, rng=2, executor=Counting()), reference)
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool:
            assert same_bits(ensemble(NET, 30, 5, rng=2, executor=pool), reference)
    # Not forked: a fork of a process with threads is deprecated.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert same_bits(ensemble(NET, 30, 5, rng=2, executor=pool), reference)


def test_the_same_bits_for_any_number_of_blas_threads():
    import threadpoolctl

    net = mlp([200, 200, 4], "tanh", 1.5, 0.1)  # large enough for BLAS to use its threads
    results = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            results.append(ensemble(net, 100, 2, rng=2))
    assert same_bits(*results)


def test_seeds_and_generators():
    assert same_bits(ensemble(NET, 5, 3, rng=4), ensemble(NET, 5, 3, rng=np.random.default_rng(4)))
    assert not same_bits(ensemble(NET, 5, 3, rng=4), ensemble(NET, 5, 3, rng=5))
    assert not same_bits(ensemble(NET, 5, 3), ensemble(NET, 5, 3))
    few, many = ensemble(NET, 5, 3, rng=4), ensemble(NET, 5, 6, rng=4)
    assert np.array_equal(many.values["q"][:3], few.values["q"])
    assert not np.array_equal(few.values["q"][0], few.values["q"][1])


def test_progress_is_silent_unless_asked_and_on_a_terminal(capfd):
    ensemble(NET, 5, 2, rng=0, progress=True)
    ensemble(NET, 5, 2, rng=0)
    assert capfd.readouterr() == ("", "")


def test_workers_are_fewer_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(statistics, "n_cores", lambda: 64)
    monkeypatch.setattr(statistics, "available_memory", lambda: 1e6)
    assert statistics._workers(NET, 10, np.dtype(float), False) > 1
    monkeypatch.setattr(statistics, "available_memory", lambda: 10.0)
    assert statistics._workers(NET, 10, np.dtype(float), False) == 1


# -- crashes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [{}, {"inputs": np.ones((3, 20))}], ids=["own inputs", "given inputs"])
def test_a_killed_run_resumes_and_recomputes_nothing(tmp_path, data):
    path = tmp_path / "run.npz"
    data = data or {"n_samples": 5}
    whole = ensemble(NET, n_networks=6, rng=0, **data)
    with pytest.raises(RuntimeError, match="killed"):
        ensemble(NET, n_networks=6, rng=0, checkpoint=path, executor=Counting(stop_after=4), **data)
    resumed = Counting()
    again = ensemble(NET, n_networks=6, rng=0, checkpoint=path, executor=resumed, **data)
    assert resumed.done == 2
    assert same_bits(again, whole)
    assert os.listdir(tmp_path) == ["run.npz"]  # no temporary file is left


def test_a_finished_run_can_be_read_shortened_and_extended(tmp_path):
    path = tmp_path / "run.npz"
    first = ensemble(NET, 5, 4, rng=0, checkpoint=path)
    for n_networks, new in ((4, 0), (2, 0), (7, 3)):
        counting = Counting()
        ens = ensemble(NET, 5, n_networks, rng=0, checkpoint=path, executor=counting)
        assert counting.done == new
        assert np.array_equal(ens.values["q"][:4], first.values["q"][:n_networks])
    assert same_bits(ens, ensemble(NET, 5, 7, rng=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": 6}, "n_samples = 5, not 6"),
        ({"rng": 1}, "rng = seed 0, key .* not seed 1"),
        ({"q0": 2.0}, "q0 = 1.0, not 2.0"),
        ({"dtype": "float32"}, "dtype"),
        ({"eigenvalues": True}, "eigenvalues = False, not True"),
        ({"net": mlp([20, 25, 31, 2], "tanh", 1.5, 0.1)}, "net = "),
        ({"net": mlp([20, 25, 30, 2], "tanh", 1.5, 0.1 + 1e-9)}, "variances = "),
        ({"net": mlp([20, 25, 30, 2], lambda x: np.tanh(x), 1.5, 0.1)}, "activations = "),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, message):
    path = tmp_path / "run.npz"
    settings = {"net": NET, "n_samples": 5, "n_networks": 2, "rng": 0, "checkpoint": path}
    ensemble(**settings)
    with pytest.raises(ValueError, match=f"was made with {message}.*pass another path"):
        ensemble(**{**settings, **change})


def test_other_inputs_are_another_run(tmp_path):
    X = gaussian_inputs(5, 20, rng=0)
    ensemble(NET, n_networks=2, rng=0, inputs=X, checkpoint=tmp_path / "run.npz")
    with pytest.raises(ValueError, match="was made with inputs"):
        ensemble(NET, n_networks=2, rng=0, inputs=X + 1e-9, checkpoint=tmp_path / "run.npz")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "npz"])
def test_a_file_that_is_no_checkpoint_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "thesis.npz"
    if content == "npz":
        np.savez(path, x=np.ones(3))
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="an existing file that is no checkpoint"):
        ensemble(NET, 5, 2, rng=0, checkpoint=path)
    assert path.read_bytes() == before


def test_an_unwritable_checkpoint_is_found_before_anything_is_computed(tmp_path):
    counting, path = Counting(), tmp_path / "missing" / "run.npz"
    with pytest.raises(ValueError, match=r"'.*missing.run.npz' cannot be written \(No such file"):
        ensemble(NET, 5, 2, rng=0, checkpoint=path, executor=counting)
    assert counting.done == 0
    assert os.listdir(tmp_path) == []
    with pytest.raises(RuntimeError, match="killed"):
        ensemble(NET, 5, 2, rng=0, checkpoint=tmp_path / "run.npz", executor=Counting(stop_after=0))
    assert os.listdir(tmp_path) == []  # the probe leaves nothing behind


def test_a_finished_checkpoint_need_not_be_writable(tmp_path, monkeypatch):
    first = ensemble(NET, 5, 2, rng=0, checkpoint=tmp_path / "run.npz")
    monkeypatch.setattr(run.Checkpoint, "check_writable", lambda self: 1 / 0)
    assert same_bits(ensemble(NET, 5, 2, rng=0, checkpoint=tmp_path / "run.npz"), first)


def test_a_checkpoint_needs_a_seed(tmp_path):
    with pytest.raises(ValueError, match="`checkpoint` needs `rng`"):
        ensemble(NET, 5, 2, checkpoint=tmp_path / "run.npz")


def test_a_crash_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run"
    kept = run.Checkpoint(path, {"a": "1"})
    with monkeypatch.context() as patch:
        patch.setattr(run.os, "fsync", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kept.add(0, {"x": np.ones(2)})
    assert os.listdir(tmp_path) == []
    kept.add(0, {"x": np.ones(2)})
    assert os.listdir(tmp_path) == ["run"]
    assert list(run.Checkpoint(path, {"a": "1"}).results) == [0]


def filled(path, tasks):
    """A checkpoint with a result for each of `tasks`, and these results."""
    rng = np.random.default_rng(0)
    kept = run.Checkpoint(path, {"a": "1"})
    for i in tasks:
        kept.add(i, {"x": rng.standard_normal(2), "y": np.array(np.inf if i else -0.0)})
    return kept.results


def test_a_file_cut_at_any_byte_loses_no_more_than_what_was_cut(tmp_path):
    path = tmp_path / "run"
    whole = filled(path, range(3))
    content = path.read_bytes()
    ends = [i for i in range(len(content)) if content[i : i + 1] == b"\n"] + [len(content)]
    for cut in range(ends[0], len(content) + 1):
        path.write_bytes(content[:cut])
        found = run.Checkpoint(path, {"a": "1"})
        assert sorted(found.results) == list(range(sum(end <= cut for end in ends[1:])))
        for i in set(range(3)) - set(found.results):
            found.add(i, whole[i])
        again = run.Checkpoint(path, {"a": "1"}).results
        assert {i: {n: x.tobytes() for n, x in r.items()} for i, r in again.items()} == {
            i: {n: x.tobytes() for n, x in r.items()} for i, r in whole.items()
        }
    path.write_bytes(content[: ends[0] - 1])
    with pytest.raises(ValueError, match="no checkpoint"):
        run.Checkpoint(path, {"a": "1"})


def test_a_damaged_result_is_computed_again_and_the_others_are_kept(tmp_path):
    path = tmp_path / "run"
    filled(path, range(3))
    lines = path.read_bytes().split(b"\n")
    for damage in (lines[2].replace(b"1", b"2", 1), bytes(len(lines[2])), b"", b"\xff", lines[2][:-5]):
        path.write_bytes(b"\n".join([*lines[:2], damage, lines[3]]))
        assert sorted(run.Checkpoint(path, {"a": "1"}).results) == [0, 2]


def test_a_result_is_written_once_whatever_the_others_take(tmp_path):
    path = tmp_path / "run"
    kept, sizes = run.Checkpoint(path, {"a": "1"}), []
    for i in range(10, 60):
        kept.add(i, {"x": np.ones(3)})
        sizes.append(path.stat().st_size)
    assert len(set(np.diff(sizes))) == 1


def test_ctrl_c_drops_what_has_not_begun_and_keeps_what_is_finished(tmp_path):
    begun = []

    def task(i):
        begun.append(i)
        time.sleep(0.01)
        if i == 3:
            raise KeyboardInterrupt
        return {"x": np.array(float(i))}

    kept = run.Checkpoint(tmp_path / "run.npz", {})
    with pytest.raises(KeyboardInterrupt):
        run.run(task, range(500), workers=1, checkpoint=kept)
    # The one worker may begin more before the main thread, busy writing, hears of it.
    assert len(begun) < 250
    assert sorted(run.Checkpoint(tmp_path / "run.npz", {}).results)[:3] == [0, 1, 2]


def test_results_come_back_in_order_from_any_executor():
    def task(i):
        return {"x": np.array(i)}

    for executor in (None, Counting(), ThreadPoolExecutor(3)):
        with executor if isinstance(executor, ThreadPoolExecutor) else contextlib.nullcontext():
            assert [int(r["x"]) for r in run.run(task, range(20), executor=executor)] == list(range(20))


# -- wrong arguments ---------------------------------------------------------------------------------------


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


# -- theory against simulation -----------------------------------------------------------------------------

COMPARED = {
    "tanh": (mlp([150, 150, 150, 1], "tanh", 3.0, 0.64), {"n_samples": 60}),
    "relu, three outputs": (mlp([100, 120, 150, 3], "relu", 2.0, 0.1), {"n_samples": 50, "c0": 0.3}),
    "linear": (mlp([200, 200, 1], "linear", 1.0, 0.1), {"n_samples": 60, "q0": 1.5}),
    "residual": (resnet([100, 100, 2], 2, "erf", 1.0, 0.1), {"n_samples": 50, "c0": 0.2}),
    "given inputs": (
        mlp([20, 150, 150, 2], "gelu", 2.0, 0.1),
        {"inputs": gaussian_inputs(40, 20, c0=0.3, rng=5)},
    ),
    "no bias": (mlp([100, 100, 100, 1], "silu", 2.0, bias=False), {"n_samples": 50}),
    "one sample": (mlp([100, 100, 2], "relu", 2.0, 0.1), {"n_samples": 1}),
}


@pytest.mark.parametrize(("net", "data"), COMPARED.values(), ids=COMPARED.keys())
def test_sampled_networks_agree_with_the_theory(net, data):
    table = compare(net, n_networks=40, rng=1, **data)
    for row in table.rows:  # five standard errors, for there are 130 rows in all
        assert abs(row.simulation - row.theory) <= 5 * row.standard_error + row.allowance + 1e-9, str(table)


@pytest.mark.parametrize(
    "name", ["mean", "second_moment", "outlier_mean", "q", "q_st", "q_tilde", "q_hat_st"]
)
def test_a_wrong_theory_is_caught(name):
    # The allowances must leave a factor of two visible in everything, at width 200.
    net = mlp([200, 200, 200, 1], "relu", 2.0, 0.1)
    ens = ensemble(net, 60, 10, rng=0)
    wrong = replace(ens, mean={**ens.mean, name: 2 * ens.mean[name]})
    table = compare(net, ensemble=wrong)
    quantity = name if name in NUMBERS else f"{name}[2]"
    assert not table.row(quantity).agrees
    assert compare(net, ensemble=ens).row(quantity).agrees


ALLOWANCES = {
    "tanh": (
        (mlp([100, 100, 100, 1], "tanh", 3.0, 0.64), 50, 0.0),
        {
            "lambda_max": 2.19687,
            "outlier_mean": 2.19687,
            "mean": 0.000143208,
            "second_moment": 0.026062,
            "q_hat": [0.0, 0.00465451, 0.00838417],
            "q": [0.0, 0.0187635, 0.0347525],
            "q_tilde": [0.011434, 0.0142563, 0.0],
        },
    ),
    "relu, three outputs": (
        (mlp([40, 50, 60, 3], "relu", 2.0, 0.1), 20, 0.3),
        {
            "lambda_max": 22.2386,
            "outlier_mean": 8.72425,
            "mean": 0.0034326,
            "second_moment": 1.62518,
            "q_hat": [0.0, 0.0196875, 0.04125],
            "q": [0.0, 0.04125, 0.08625],
            "q_tilde": [0.0375, 0.0375, 0.0],
        },
    ),
}


@pytest.mark.parametrize(("case", "expected"), ALLOWANCES.values(), ids=ALLOWANCES.keys())
def test_allowances_are_those_that_were_calibrated(case, expected):
    """Frozen: an allowance that grows hides errors, one that shrinks invents them."""
    net, n_samples, c0 = case
    table = compare(net, n_samples, 2, c0=c0, rng=0)
    for name, values in expected.items():
        if name in NUMBERS:
            assert table.row(name).allowance == pytest.approx(values, rel=1e-4), name
            continue
        for suffix in ("", "_st"):
            for l, value in enumerate(values, start=0 if name == "q_hat" else 1):
                row = table.row(f"{name}{suffix}[{l}]")
                assert row.allowance == pytest.approx(value, rel=1e-4), row


@pytest.fixture(scope="module")
def wide():
    """Thirty networks of width 300 with one output, and with ten, which average the gradients."""
    nets = {c: mlp([300, 300, 300, c], "tanh", 3.0, 0.64) for c in (1, 10)}
    return {c: ensemble(net, 60, 30, rng=0) for c, net in nets.items()}


@pytest.mark.parametrize("factor", [1, -1])
@pytest.mark.parametrize(
    ("quantity", "n_outputs", "percent"),
    [("lambda_max", 1, 15), ("outlier_mean", 1, 15), ("q_tilde_st[1]", 10, 15), ("mean", 10, 5)],
)
def test_a_slightly_wrong_theory_is_caught_at_width_300(wide, quantity, n_outputs, percent, factor):
    ens, name = wide[n_outputs], quantity.split("[")[0]
    assert compare(ens.network, ensemble=ens).row(quantity).agrees
    wrong = replace(ens, mean={**ens.mean, name: (1 + percent / 100) ** factor * ens.mean[name]})
    assert compare(ens.network, ensemble=wrong).row(quantity).agrees is False


def test_rows_hold_the_numbers_of_theory_and_ensemble():
    ens = ensemble(NET, 30, 10, rng=0)
    table, fim = compare(NET, ensemble=ens), fisher_statistics(NET, 30)
    op = fim.order_parameters
    for name, theory in (
        ("mean", fim.mean),
        ("second_moment", fim.second_moment),
        ("outlier_mean", fim.largest),
    ):
        row = table.row(name)
        assert (row.theory, row.simulation) == (theory, ens.mean[name])
        assert row.deviation == (row.simulation - theory) / ens.standard_error[name]
        # 4.09 standard errors for ten networks: as improbable as three when they are exactly known.
        within = abs(row.simulation - theory) <= 4.0942 * row.standard_error + row.allowance
        assert row.agrees == (None if name == "outlier_mean" else within)  # too narrow for an outlier
    for name in PER_LAYER:
        for l in range(3):
            row = table.row(f"{name}[{l + (not name.startswith('q_hat'))}]")
            assert (row.theory, row.simulation) == (getattr(op, name)[l], ens.mean[name][l])
    assert len(table.rows) == 4 + 3 * 6
    last = table.row("q_tilde[3]")
    assert (last.theory, last.simulation, last.deviation, last.allowance) == (1.0, 1.0, 0.0, 0.0)


def test_given_inputs_average_the_theory_over_inputs_and_pairs():
    X = gaussian_inputs(5, 20, rng=0)
    table = compare(NET, n_networks=2, inputs=X, rng=0)
    op = fisher_statistics(NET, inputs=X).order_parameters
    off = ~np.eye(5, dtype=bool)
    assert table.row("q[2]").theory == pytest.approx(op.q[1].mean(), rel=1e-14)
    assert table.row("q_st[2]").theory == pytest.approx(op.q_st[1][off].mean(), rel=1e-12)
    # The inputs are no random quantity: theory and simulation differ by rounding, which is no deviation.
    assert table.row("q_hat[0]").deviation == 0
    assert table.row("q_hat_st[0]").agrees


def test_where_no_outlier_stands_clear_the_table_says_so():
    table = compare(mlp([50, 50, 1], "tanh", 1.5, 0.0), 30, 3, rng=0)
    row = table.row("outlier_mean")
    assert row.allowance == np.inf
    assert row.agrees is None
    assert "no eigenvalue stands out" in row.note
    assert "lambda_max, outlier_mean: no eigenvalue stands out" in str(table)
    assert str(table).splitlines()[2].split()[0::6] == ["outlier_mean", "no"]
    assert str(table).count("no claim") == 2
    agreeing = sum(row.agrees is True for row in table.rows)
    assert repr(table).startswith(f"Comparison({agreeing} of 14 rows agree, 2 without a claim, 3 networks")
    assert table.agrees == (agreeing == 14)
    assert json.loads(json.dumps(table.to_dict()))["rows"][0]["agrees"] is None


def test_no_claim_where_the_allowance_exceeds_a_third():
    chaotic = mlp([200] * 15 + [1], "tanh", 4.0, 0.05)
    table, op = compare(chaotic, 10, 2, rng=0), fisher_statistics(chaotic, 10).order_parameters
    width_correction = 0.75 * 14 / 200
    for l in range(14):
        row = table.row(f"q_tilde_st[{l + 1}]")
        claimed = width_correction * op.q_tilde[l] <= op.q_tilde_st[l] / 3
        assert (row.allowance < np.inf, row.agrees is None) == (claimed, not claimed)
        assert claimed == (row.note == "")
    assert table.row("q_tilde_st[1]").agrees is None
    assert "more than a third" in table.row("q_tilde_st[1]").note
    assert table.row("q_tilde_st[14]").agrees is not None
    assert table.row("q_tilde[1]").allowance == pytest.approx(width_correction * op.q_tilde[0])
    assert compare(mlp([10] * 8 + [1], "relu", 2.0), 5, 2, rng=0).row("mean").agrees is None
    # A theory of 0 beside the squares is a claim: products are small.
    centred = compare(mlp([50, 50, 50, 1], "tanh", 1.5), 10, 3, rng=0)
    assert centred.row("q_st[3]").agrees is not None


def test_few_networks_refute_next_to_nothing_and_the_table_says_so():
    for n_networks, told in ((2, "236"), (3, "19.2"), (4, "9.22"), (5, None)):
        last = str(compare(NET, 5, n_networks, rng=0)).splitlines()[-1]
        assert ("draw more" in last) == (told is not None)
        assert told is None or f"three sigma are {told} standard errors" in last


@pytest.mark.parametrize("data", [{"inputs": np.zeros((4, 20))}, {"n_samples": 4, "q0": 0.0}])
def test_zero_inputs_are_compared(data):
    """Without bias all signals are 0, and so is the Fisher information of the weights."""
    table = compare(mlp([20, 25, 30, 2], "tanh", 1.5, bias=False), n_networks=5, rng=0, **data)
    for name in ("mean", "second_moment", "q[3]", "q_st[3]", "q_hat_st[2]"):
        row = table.row(name)
        assert (row.theory, row.simulation, row.agrees) == (0.0, 0.0, True)
    assert table.row("lambda_max").agrees is None
    assert table.row("q_tilde[1]").theory == pytest.approx(2.25)


def test_the_table_prints_aligned_and_exports():
    table = compare(mlp([80, 80, 2], "relu", 2.0, 0.1), 20, 3, rng=0)
    lines = str(table).splitlines()
    assert lines[0].split()[0] == "quantity"
    assert len({len(line) for line in lines[: 1 + 4 + 2 * 6]}) == 1
    assert "the C outliers split" in lines[-2]
    assert "simulation" in json.loads(json.dumps(table.to_dict()))["rows"][0]
    assert repr(table).endswith("rows agree, 3 networks, T=20)")
    with pytest.raises(ValueError, match=r"q_tilde\[4\]'; did you mean q_tilde"):
        table.row("q_tilde[4]")


def test_a_comparison_is_reproducible_and_resumes(tmp_path):
    a = compare(NET, 5, 3, rng=0, checkpoint=tmp_path / "run.npz")
    counting = Counting()
    b = compare(NET, 5, 3, rng=0, checkpoint=tmp_path / "run.npz", executor=counting)
    assert counting.done == 0
    assert a.to_dict() == b.to_dict()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_networks": 1}, ValueError, "`n_networks` must be an integer >= 2"),
        ({"ensemble": 3}, TypeError, "`ensemble` must be an Ensemble"),
        ({"ensemble": ensemble(NET, 5, 1, rng=0)}, ValueError, "at least two networks"),
        ({"ensemble": ensemble(mlp([20, 2]), 5, 2, rng=0)}, ValueError, "`ensemble` was drawn from Network"),
        ({"ensemble": ensemble(NET, 5, 2, rng=0), "n_samples": 6}, ValueError, "with other inputs"),
        ({"ensemble": ensemble(NET, 5, 2, rng=0), "c0": 0.5}, ValueError, "with other inputs"),
        (
            {"ensemble": ensemble(NET, 5, 2, rng=0), "inputs": np.ones((5, 20))},
            ValueError,
            "with other inputs",
        ),
    ],
)
def test_wrong_arguments_of_compare_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        compare(NET, **arguments)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_comparison_at_the_sharp_edge(n_outputs):
    body = mlp([100, 100, 100, n_outputs], "tanh", 2.0, 0.1)
    net = Network(100, [*body.layers, MeanSubtraction()])
    edge = fisher_statistics(net, 100).output_normalisation.edge
    table = compare(net, n_samples=100, n_networks=6, rng=0)
    row, outliers = table.row("lambda_max"), table.row("outlier_mean")
    assert row.theory == edge.largest
    assert row.allowance == pytest.approx(0.05 * edge.largest + edge.spread)
    assert (row.agrees, row.note) == (True, "")
    assert outliers.agrees is (True if n_outputs == 1 else None)
    assert "leading value" not in str(table)


def test_comparison_at_an_edge_with_a_caution_makes_no_claim():
    body = mlp([100, 100, 100, 2], "relu", 2.0, 0.1)
    table = compare(Network(100, [*body.layers, BatchNorm()]), 60, 2, rng=0)
    assert table.row("lambda_max").agrees is None
    assert "smallest variance" in table.row("lambda_max").note

"""Sweeps: every quantity by its own function, cells that know nothing of each other, files, and what is refused."""

import ast
import csv
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kill
import numpy as np
import pytest
from ensembles import Counting
from slow import slow

import mfdnn
from mfdnn import cli
from mfdnn.cli.parser import build_parser
from mfdnn.datasets import gaussian_inputs
from mfdnn.jobs.run import Checkpoint, run
from mfdnn.sweeps import KEYS, QUANTITIES, Spec
from mfdnn.sweeps import run as sweep_run
from mfdnn.sweeps.quantities import TRAINED, Cell

EXAMPLE = Path(__file__).parent.parent / "docs" / "sweep.toml"
SMALL = {
    "inputs": 10,
    "outputs": 1,
    "width": [12, 15],
    "depth": 3,
    "activation": ["tanh", "leaky_relu(slope=0.2)"],
    "sigma_w2": 2.0,
    "sigma_b2": 0.1,
    "n_samples": 8,
    "seed": [0, 1, 2],
    "quantities": ["theory_lambda_max", "lambda_max"],
}
TRAINING = {"learning_rate": [0.01, 30.0], "n_steps": 5}
TOML = """
quantities = ["theory_lambda_max", "lambda_max"]
inputs = 10
outputs = 1
width = [12, 15]
depth = 3
activation = "tanh"
sigma_w2 = 2.0
n_samples = 8
seed = {start = 0, stop = 2, points = 3}
"""


def same(a, b):
    return a.axes == b.axes and all(np.array_equal(a.values[n], b.values[n]) for n in a.values)


def test_every_quantity_by_its_own_function():
    spec = {**SMALL, **TRAINING, "loss": "torch_mse", "momentum": 0.5, "quantities": list(QUANTITIES)}
    found = mfdnn.sweep({**spec, "width": 12, "activation": ["tanh"], "seed": [4]})
    values = {name: array[0, 0] for name, array in found.values.items()}
    net = mfdnn.mlp([10, 12, 12, 1], "tanh", 2.0, 0.1)
    fim, fp = mfdnn.fisher_statistics(net, 8), mfdnn.fixed_point("tanh", 2.0, 0.1)
    rate = mfdnn.max_learning_rate(net, 8, loss="torch_mse", momentum=0.5)
    # The drawn network, then its inputs, then its teacher, from the random numbers of the cell.
    cell = Cell(next(Spec.read({**spec, "width": 12, "seed": 4}).cells()), mfdnn.activation("tanh"))
    one = mfdnn.sample(net, rng=cell.rng)
    X = gaussian_inputs(8, 10, rng=cell.rng)
    teacher = mfdnn.sample(net, rng=cell.rng.spawn(1)[0])
    spectrum = mfdnn.fisher_spectrum(one, X)
    for i, learning_rate in enumerate(TRAINING["learning_rate"]):
        trained = mfdnn.train(one, X, teacher(X), learning_rate, 5, loss="torch_mse", momentum=0.5)
        expected = {
            "theory_mean": fim.mean,
            "theory_second_moment": fim.second_moment,
            "theory_lambda_max": fim.largest,
            "theory_learning_rate": rate.value,
            "q_fixed": fp.q,
            "c_fixed": fp.c,
            "chi_1": fp.chi_1,
            "xi_c": fp.xi_c,
            "xi_grad": fp.xi_grad,
            "mean": spectrum.mean,
            "second_moment": spectrum.second_moment,
            "lambda_max": spectrum.largest,
            "outlier_mean": spectrum.outlier_mean,
            "initial_loss": trained.losses[0],
            "final_loss": trained.losses[-1],
            "largest_loss": trained.losses.max(),
            "grew": float(trained.grew_step is not None),
            "diverged": float(trained.outcome == "diverged"),
        }
        assert expected.keys() == QUANTITIES.keys()
        for name, value in expected.items():
            assert values[name][i] == value, name
    assert values["grew"].tolist() == [0.0, 1.0]


def test_labels_of_a_classifier_are_the_largest_outputs_of_its_teacher():
    spec = {**SMALL, **TRAINING, "outputs": 3, "loss": "cross_entropy", "quantities": ["initial_loss"]}
    spec |= {"width": 12, "activation": "tanh", "seed": 0}
    cell = Cell(next(Spec.read(spec).cells()), mfdnn.activation("tanh"))
    one, X = cell.drawn
    outputs = one(X)
    log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    labels = mfdnn.sample(cell.network, rng=_teacher_stream(spec))(X).argmax(axis=1)
    expected = -log_p[np.arange(8), labels].mean()
    assert mfdnn.sweep(spec).values["initial_loss"][0] == pytest.approx(expected, rel=1e-12)


def _teacher_stream(spec):
    rng = Cell(next(Spec.read(spec).cells()), mfdnn.activation("tanh")).rng
    return rng.spawn(1)[0]  # apart from the stream of the student, however far that has been read


def test_the_drawn_network_is_that_of_its_settings_wherever_it_lies():
    found = mfdnn.sweep(SMALL)
    assert found.shape == (2, 2, 3)
    alone = mfdnn.sweep({**SMALL, "width": 15, "activation": "tanh", "seed": 2})
    assert alone.shape == ()
    assert float(alone.values["lambda_max"]) == found.values["lambda_max"][1, 0, 2]
    drawn = found.values["lambda_max"]
    assert len(np.unique(drawn)) == drawn.size  # no two cells are the same draw
    rates = mfdnn.sweep({**SMALL, **TRAINING, "quantities": ["lambda_max", "initial_loss", "final_loss"]})
    for name in ("lambda_max", "initial_loss"):
        assert np.array_equal(rates.values[name][..., 0], rates.values[name][..., 1])
    assert np.array_equal(rates.values["lambda_max"][..., 0], drawn)
    assert np.all(rates.values["final_loss"][..., 0] < rates.values["final_loss"][..., 1])


def test_lists_and_ranges():
    spec = Spec.read(
        {
            **SMALL,
            "sigma_w2": {"start": 1, "stop": 4, "points": 3, "spacing": "log"},
            "sigma_b2": {"start": 0, "stop": 0.4, "points": 3},
            "seed": range(2),
            "q0": np.array([1.0, 2.0]),
        }
    )
    assert spec.axes["sigma_w2"] == pytest.approx((1.0, 2.0, 4.0), rel=1e-14)
    assert spec.axes["sigma_b2"] == (0.0, 0.2, 0.4)
    assert (spec.axes["seed"], spec.axes["q0"]) == ((0, 1), (1.0, 2.0))
    assert list(spec.axes) == [key for key in KEYS if key in spec.axes]
    for i, cell in enumerate(spec.cells()):
        assert (spec.place(cell), spec.mismatch(cell)) == (i, "")
    assert i + 1 == np.prod(spec.shape)
    assert spec.mismatch({**cell, "q0": 3.0}) == "q0 = 3.0, not 1.0 or 2.0"


# -- files -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def partly_failed():
    """relu has no critical point with a bias; tanh has."""
    spec = {**SMALL, "activation": ["tanh", "relu"], "init": "critical", "seed": [0, 1]}
    del spec["sigma_w2"]
    return mfdnn.sweep(spec)


def test_a_cell_that_fails_is_marked_and_the_others_are_there(partly_failed):
    assert sorted(partly_failed.failures) == [(w, 1, s) for w in (0, 1) for s in (0, 1)]
    assert all("ValueError" in why and "relu" in why for why in partly_failed.failures.values())
    for array in partly_failed.values.values():
        assert np.array_equal(np.isnan(array), partly_failed.status != "ok")
        assert np.all(array[:, 0] > 0)
    assert repr(partly_failed).endswith("theory_lambda_max, lambda_max, 4 cells failed)")


def test_csv_is_tidy(partly_failed, tmp_path):
    partly_failed.save(tmp_path / "sweep.csv")
    with open(tmp_path / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for row in rows:
        place = tuple(
            [str(value) for value in values].index(row[key]) for key, values in partly_failed.axes.items()
        )
        assert (row["init"], row["depth"], row["n_samples"]) == ("critical", "3", "8")
        assert row["status"] == partly_failed.status[place]
        for (
            name,
            array,
        ) in partly_failed.values.items():  # to the last bit, and empty where there is no number
            assert row[name] == ("" if np.isnan(array[place]) else repr(float(array[place])))


def test_npz_is_tidy_and_needs_no_pickle(partly_failed, tmp_path):
    partly_failed.save(tmp_path / "sweep.npz")
    with np.load(tmp_path / "sweep.npz", allow_pickle=False) as columns:
        assert np.array_equal(columns["width"], np.repeat([12, 15], 4))
        assert columns["activation"].tolist() == ["tanh", "tanh", "relu", "relu"] * 2
        assert columns["depth"].tolist() == [3] * 8
        expected = partly_failed.values["lambda_max"].ravel()
        assert np.array_equal(columns["lambda_max"], expected, equal_nan=True)


def test_a_dataset_of_xarray(partly_failed, tmp_path):
    xarray = pytest.importorskip("xarray")
    data = partly_failed.to_xarray()
    assert data["lambda_max"].dims == ("width", "activation", "seed")
    one = data.sel(width=15, activation="tanh", seed=1)
    assert float(one["lambda_max"]) == partly_failed.values["lambda_max"][1, 0, 1]
    assert (str(one["status"].values), data.attrs["n_samples"], data.attrs["nesterov"]) == ("ok", 8, 0)
    partly_failed.save(tmp_path / "sweep.nc")
    with xarray.open_dataset(tmp_path / "sweep.nc") as again:
        assert np.array_equal(again["lambda_max"], data["lambda_max"], equal_nan=True)


def test_a_dictionary_is_json_without_nan(partly_failed):
    data = json.loads(json.dumps(partly_failed.to_dict(), allow_nan=False))
    assert (data["failures"], data["axes"]["seed"], len(data["columns"]["lambda_max"])) == (4, [0, 1], 8)
    assert data["columns"]["lambda_max"].count(None) == 4
    with pytest.raises(ValueError, match=r"must end in .csv, .npz, .nc, got 'sweep.xls'"):
        partly_failed.save("sweep.xls")


# -- checkpoints -------------------------------------------------------------------------------------------


def test_an_interrupted_sweep_resumes_and_computes_nothing_twice(tmp_path):
    whole = mfdnn.sweep(SMALL)
    with pytest.raises(RuntimeError, match="killed"):
        mfdnn.sweep(SMALL, checkpoint=tmp_path / "run", executor=Counting(stop_after=5))
    resumed = Counting()
    assert same(mfdnn.sweep(SMALL, checkpoint=tmp_path / "run", executor=resumed), whole)
    assert resumed.done == 7


def test_more_values_take_the_cells_that_are_there(tmp_path):
    mfdnn.sweep({**SMALL, "width": 12, "seed": [0, 1]}, checkpoint=tmp_path)
    more = Counting()
    found = mfdnn.sweep(SMALL, checkpoint=tmp_path, executor=more)
    assert more.done == 12 - 4
    assert same(found, mfdnn.sweep(SMALL))
    fewer = Counting()
    mfdnn.sweep({**SMALL, "seed": 2}, checkpoint=tmp_path, executor=fewer)
    assert fewer.done == 0


def test_cells_that_failed_are_tried_again(tmp_path):
    spec = {**SMALL, "activation": ["tanh", "relu"], "init": "critical", "seed": 0, "width": 12}
    del spec["sigma_w2"]
    for expected in (2, 1):
        counting = Counting()
        assert len(mfdnn.sweep(spec, checkpoint=tmp_path, executor=counting).failures) == 1
        assert counting.done == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": 9}, "holds cells of another sweep, with n_samples = 8, not 9; pass another folder"),
        ({"width": [13]}, "with width = 12, not 13"),
        ({"sigma_w2": 2.0 + 1e-15}, r"with sigma_w2 = 2\.0, not 2\.00000000000000"),
        ({"quantities": "lambda_max"}, "quantities = theory_lambda_max, lambda_max, not lambda_max; pass"),
    ],
)
def test_the_checkpoint_of_another_sweep_is_refused(tmp_path, change, message):
    mfdnn.sweep({**SMALL, "width": [12], "seed": 0}, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=message):
        mfdnn.sweep({**SMALL, **change}, checkpoint=tmp_path)


def test_an_own_activation_that_was_changed_is_another_sweep(tmp_path):
    spec = {**SMALL, "width": 12, "seed": 0}
    first = mfdnn.sweep(
        {**spec, "activation": mfdnn.Activation("mine", lambda x: np.tanh(x))}, checkpoint=tmp_path
    )
    assert first.values["lambda_max"] > 0
    with pytest.raises(ValueError, match=r"with activation = mine \[\w+\], not mine \[\w+\]; pass another folder"):
        mfdnn.sweep(
            {**spec, "activation": mfdnn.Activation("mine", lambda x: np.tanh(2 * x))}, checkpoint=tmp_path
        )


def test_more_activations_of_ones_own_take_the_cells_that_are_there(tmp_path):
    mine, other = (mfdnn.Activation(name, lambda x, a=a: np.clip(x, 0, a)) for name, a in (("mine", 6), ("other", 2.5)))
    mfdnn.sweep({**SMALL, "width": 12, "activation": [mine]}, checkpoint=tmp_path)
    counting = Counting()
    spec = {**SMALL, "width": 12, "activation": [other, mine]}
    found = mfdnn.sweep(spec, checkpoint=tmp_path, executor=counting)
    assert counting.done == 3
    assert same(found, mfdnn.sweep(spec))


@pytest.fixture(scope="module")
def swept():
    return kill.swept()


@pytest.mark.jit  # in a process of its own
@pytest.mark.parametrize(("n_finished", "how"), [(0, "nothing"), (40, "cut")])
def test_sigkill_loses_no_finished_cell(tmp_path, swept, n_finished, how):
    kept = kill.killed_and_resumed("sweep", tmp_path / "run", n_finished, how, swept, np.random.default_rng(0))
    assert n_finished - (how != "nothing") <= kept <= kill.N_TASKS


@pytest.mark.slow
def test_fifty_kills_lose_no_finished_cell(swept):
    assert len(list(kill.in_a_row("sweep", 50, swept, np.random.default_rng(0)))) == 50


TINY = {"inputs": 3, "outputs": 1, "width": 4, "depth": 2, "activation": [lambda x: np.tanh(x)], "n_samples": 3}
TINY |= {"sigma_w2": 1.5, "seed": [0, 1, 2], "quantities": ["lambda_max"]}


def cut(content, place):
    return content[:place]


def changed(content, place):
    return content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]


@pytest.mark.parametrize("step", [19, slow(1)])
@pytest.mark.parametrize("harm", [cut, changed])
def test_a_damaged_file_of_cells_costs_what_was_damaged(tmp_path, harm, step):
    whole = mfdnn.sweep(TINY, checkpoint=tmp_path)
    content = (tmp_path / "cells").read_bytes()
    lines = content.split(b"\n")
    ends = np.cumsum([len(line) + 1 for line in lines]) - 1
    for place in range(0, len(content), step):
        (tmp_path / "cells").write_bytes(harm(content, place))
        counting = Counting()
        assert same(mfdnn.sweep(TINY, checkpoint=tmp_path, executor=counting), whole)
        if harm is cut:
            assert counting.done == sum(place < end for end in ends[1:])
        else:
            assert counting.done == int(place > ends[0] and place not in ends)
        assert same(mfdnn.sweep(TINY, checkpoint=tmp_path, executor=Counting(stop_after=0)), whole)


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (lambda cell: 3, {"lambda_max": np.ones(())}),
        (lambda cell: {}, {"lambda_max": np.ones(())}),
        (lambda cell: {"seed": 0}, {"lambda_max": np.ones(())}),
        (lambda cell: {**cell, "seed": [0]}, {"lambda_max": np.ones(())}),
        (lambda cell: {**cell, "width": {}}, {"lambda_max": np.ones(())}),
        (lambda cell: {**cell, "width": 5}, {"lambda_max": np.ones(())}),
        (lambda cell: cell, {"lambda_max": np.ones(1)}),
        (lambda cell: cell, {"lambda_max": np.array("1.0")}),
        (lambda cell: cell, {"chi_1": np.ones(())}),
        (lambda cell: cell, {}),
    ],
)
def test_what_is_no_cell_with_its_quantities_is_left_out(tmp_path, change, result):
    whole = mfdnn.sweep(TINY, checkpoint=tmp_path)
    spec = Spec.read(TINY)
    cell = change(spec.kept(next(spec.cells())))
    (kept := sweep_run._opened(tmp_path, spec)).add([(cell, result)])
    lines = (tmp_path / "cells").read_bytes().split(b"\n")
    (tmp_path / "cells").write_bytes(b"\n".join([lines[0], lines[-1], *lines[1:-1]]))
    assert len(list(kept)) == 4
    assert same(mfdnn.sweep(TINY, checkpoint=tmp_path, executor=Counting(stop_after=0)), whole)


@pytest.mark.jit  # in processes of its own
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)], ids=["SIGKILL", "Ctrl-C"]
)
def test_a_sweep_that_is_killed_resumes(tmp_path, sent, code):
    """With two processes at work, which do not outlive it."""
    (tmp_path / "spec.toml").write_text(
        TOML.replace("points = 3", "points = 2000").replace("= 2,", "= 1999,")
    )
    command = [sys.executable, "-m", "mfdnn.cli", "sweep", str(tmp_path / "spec.toml")]
    command += ["--checkpoint", str(tmp_path / "run"), "--jobs", "2"]
    # A suite that runs in the background may have been told to ignore Ctrl-C, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    cells = tmp_path / "run" / "cells"
    while process.poll() is None and not (cells.exists() and cells.read_bytes().count(b"\n") > 20):
        time.sleep(0.01)
    if sent == signal.SIGINT:  # as a terminal does it: all processes hear of it
        os.killpg(process.pid, sent)
    else:
        process.send_signal(sent)
    # Its workers hold the same pipes: this returns when they have ended too.
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, b"")
    assert (
        sent == signal.SIGKILL or err == b"mfdnn: interrupted\n"
    )  # killed, Python's own tracker may speak up
    kept = sum(b'"task"' in line for line in cells.read_bytes().split(b"\n"))
    (tmp_path / "few.toml").write_text(TOML)
    counting = Counting()
    found = mfdnn.sweep(tmp_path / "few.toml", checkpoint=tmp_path / "run", executor=counting)
    assert kept >= 20
    assert counting.done < 6  # the first cells are those of the small sweep too
    assert same(found, mfdnn.sweep(tmp_path / "few.toml"))


def test_fewer_cells_at_once_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(sweep_run, "n_cores", lambda: 64)
    spec = {**SMALL, "width": [10, 3000], "n_samples": [5, 20]}  # 9 million weights, 72 MB, twice
    for memory, workers in ((1e15, 64), (1e9, 6), (10.0, 1)):
        monkeypatch.setattr(sweep_run, "available_memory", lambda memory=memory: memory)
        assert sweep_run.workers_for(Spec.read(spec)) == workers
        assert sweep_run.workers_for(Spec.read({**spec, "quantities": "chi_1"})) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"width": 500},
        {"width": 50, "n_samples": 600},
        {"width": 500, "learning_rate": 0.01, "n_steps": 2, "momentum": 0.5, "quantities": "final_loss"},
    ],
)
def test_memory_that_is_predicted_is_taken(monkeypatch, change):
    spec = {**SMALL, "activation": "tanh", "seed": 0, "n_samples": 50, "quantities": "lambda_max", **change}
    mfdnn.sweep({**spec, "width": 5, "n_samples": 4})  # imports, and tables of the activation
    tracemalloc.start()
    mfdnn.sweep(spec)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    monkeypatch.setattr(sweep_run, "n_cores", lambda: 64)
    monkeypatch.setattr(sweep_run, "available_memory", lambda: 16 * peak)
    assert 10 <= sweep_run.workers_for(Spec.read(spec)) <= 20


# -- wrong specifications ----------------------------------------------------------------------------------

def test_a_grid_of_momenta_may_begin_at_0():
    kinds = {"momentum": [0.0, 0.5], "nesterov": [False, True], "seed": 0, "quantities": ["theory_learning_rate"]}
    rates = mfdnn.sweep({**SMALL, **kinds, "width": 12, "activation": "relu"}).values["theory_learning_rate"]
    assert rates[0, 0] == rates[0, 1] and rates[1, 0] > rates[0, 0] > rates[1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widht": 5}, "`key of the sweep` must be one of inputs, .*; got 'widht'; did you mean width"),
        ({"inputs": None}, r"`inputs` \(number of inputs, or channels of images\) is missing from the sweep; give"),
        ({"quantities": None}, "`quantities` is missing from the sweep; name what to measure"),
        ({"quantities": 3}, "`quantities` must be a list of names, got 3; write"),
        ({"quantities": ["lambda"]}, "`quantities` must be one of .*; got 'lambda'; did you mean"),
        ({"width": []}, "`width` must have at least one value"),
        ({"width": [12, 12]}, "`width` must have different values, got 12 twice"),
        ({"width": 12.5}, "`width` must be an integer"),
        ({"sigma_w2": [2.0, -1.0]}, "`sigma_w2` is a variance and must be >= 0"),
        ({"sigma_w2": "2"}, "`sigma_w2` must be a real number, got '2'"),
        ({"activation": ["tanh", "rellu"]}, "`activation` must be one of .* did you mean relu"),
        ({"activation": "leaky_relu(slope)"}, "`activation` 'leaky_relu.slope.': write parameters as"),
        ({"init": "he"}, "`init` and `sigma_w2` exclude each other"),
        ({"init": "hee", "sigma_w2": None}, "`init` must be one of he, .* did you mean he"),
        ({"weights": "gauss"}, "`weights` must be one of gaussian, .* did you mean gaussian"),
        ({"c0": 1.5}, r"`c0` must be in \[-1, 1\], got 1.5"),
        ({"momentum": 1}, r"`momentum` must be in \[0, 1\), got 1"),
        ({"nesterov": 1}, "`nesterov` must be true or false, got 1"),
        ({"nesterov": [False, True], "momentum": 0.0}, "`nesterov` does nothing where `momentum` is 0"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"loss": "mse"}, "`loss` must be one of .* did you mean half_mse"),
        (
            {"sigma_b2": {"start": 0, "stop": 1}},
            "`sigma_b2`: the range has no points; write sigma_b2 = {start",
        ),
        ({"sigma_b2": {"star": 0}}, "`sigma_b2: part of the range` must be one of .* did you mean start"),
        (
            {"sigma_b2": {"start": 0, "stop": 1, "points": 3, "spacing": "log"}},
            "spacing = log needs start and stop > 0, got 0",
        ),
        ({"quantities": ["final_loss"]}, "`learning_rate` is missing from the sweep, final_loss needs it"),
        (
            {"quantities": ["final_loss"], "learning_rate": 0.1},
            "`n_steps` is missing from the sweep, final_loss needs it",
        ),
        ({"learning_rate": 0.1, "n_steps": 3}, "`learning_rate` is of training, and no quantity"),
        (
            {"quantities": ["grew"], "learning_rate": [0.0], "n_steps": 3},
            "`learning_rate` must be > 0, got 0",
        ),
        (
            {"activation": [lambda x: np.tanh(x), lambda x: np.sin(x)]},
            "`activation` has two functions called lambda",
        ),
    ],
)
def test_a_wrong_specification_is_named_before_anything_runs(change, message):
    spec = {key: value for key, value in {**SMALL, **change}.items() if value is not None}
    counting = Counting()
    with pytest.raises((TypeError, ValueError), match=message):
        mfdnn.sweep(spec, executor=counting)
    assert counting.done == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sigma_w2": {"start": 1, "stop": 2, "points": 10**12}},
            "`sigma_w2`: a range of 1000000000000 points would",
        ),
        ({key: range(1, 20_000) for key in ("width", "seed", "n_samples")}, "a sweep of 159.* cells would"),
    ],
)
def test_grids_that_do_not_fit_into_memory_are_refused(change, message):
    with pytest.raises(MemoryError, match=message):
        mfdnn.sweep({**SMALL, **change}, executor=Counting())


def test_what_is_no_file_of_the_right_kind_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.toml' cannot be read \(No such file"):
        mfdnn.sweep(tmp_path / "nowhere.toml")
    for content in (b"width = [1, 2", b"\xff\xfe"):
        (tmp_path / "wrong.toml").write_bytes(content)
        with pytest.raises(ValueError, match=r"wrong.toml' is no TOML file: .*docs/sweep.toml"):
            mfdnn.sweep(tmp_path / "wrong.toml")
    with pytest.raises(TypeError, match="`spec` must be the path of a TOML file or a dictionary, got int"):
        mfdnn.sweep(3)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"`checkpoint` must be a folder, but .* is a file"):
        mfdnn.sweep(SMALL, checkpoint=tmp_path / "file")


# -- the command line --------------------------------------------------------------------------------------


@pytest.mark.jit  # in processes of its own
def test_the_example_of_the_help_runs_on_the_documented_file(capsys, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--help"])
    example = re.search(r"example:\n  mfdnn (.*)$", capsys.readouterr().out, re.M)[1]
    assert cli.main(shlex.split(example)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Sweep(3 width x 2 activation x 2 sigma_w2 x 2 seed x 3 learning_rate: ")
    assert err == "wrote sweep-of-widths/sweep.csv\n"
    found = mfdnn.sweep(EXAMPLE, checkpoint=tmp_path / "sweep-of-widths", executor=Counting(stop_after=0))
    safe = np.array(found.axes["learning_rate"]) < found.values["theory_learning_rate"] / 3
    assert np.all(found.values["grew"][safe] == 0)


def test_the_documented_file_names_every_key_and_quantity():
    text = EXAMPLE.read_text()
    for key in KEYS:
        assert re.search(rf"^(# )?{key} = ", text, re.M), key
    for name in QUANTITIES:
        assert name in text
    assert set(TRAINED) < set(QUANTITIES)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".npz"])
def test_files_and_json(suffix, capsys, tmp_path):
    (tmp_path / "spec.toml").write_text(TOML)
    path = tmp_path / f"table{suffix}"
    assert cli.main(["sweep", str(tmp_path / "spec.toml"), "--jobs", "1", "--json", "-o", str(path)]) == 0
    data = json.loads(capsys.readouterr().out)
    found = mfdnn.sweep(tmp_path / "spec.toml")
    assert data["columns"]["lambda_max"] == found.values["lambda_max"].ravel().tolist()
    assert path.stat().st_size > 100


def test_a_failed_cell_shows_in_the_exit_code(capsys, tmp_path):
    (tmp_path / "spec.toml").write_text(
        TOML.replace('"tanh"', '["tanh", "relu"]').replace(
            "sigma_w2 = 2.0", 'init = "critical"\nsigma_b2 = 0.1'
        )
    )
    argv = ["sweep", str(tmp_path / "spec.toml"), "--jobs", "1", "-o", str(tmp_path / "table.json"), "--json"]
    assert cli.main(argv) == 1
    assert json.loads(capsys.readouterr().out)["failures"] == 6
    assert json.loads((tmp_path / "table.json").read_text())["columns"]["lambda_max"].count(None) == 6
    assert cli.main([*argv[:4], "-o", str(tmp_path / "table.csv")]) == 1
    assert "failed: width = 12, activation = relu, seed = 0: ValueError: " in capsys.readouterr().out
    one = TOML.replace("[12, 15]", "12").replace("seed", "#").replace("sigma_w2 = 2.0", 'init = "critical"')
    (tmp_path / "spec.toml").write_text(one.replace('"tanh"', '"relu"\nsigma_b2 = 0.1'))
    assert cli.main([*argv[:4], "-o", str(tmp_path / "table.csv")]) == 1
    assert "\nfailed: ValueError: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nowhere.toml"], ["`SPEC` 'nowhere.toml' cannot be read"]),
        (["spec.toml", "--jobs", "0"], ["`--jobs`", ">= 1"]),
        (["spec.toml", "--jobs", "1", "--dask", "tcp://x:1"], ["`--dask` excludes `--jobs`"]),
        (["spec.toml", "-o", "table.xls"], ["`-o` must end in"]),
    ],
)
def test_bad_usage_says_what_to_do(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spec.toml").write_text(TOML)
    assert cli.main(["sweep", *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in words)


def test_dask_is_asked_for_where_it_is_missing(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    (tmp_path / "spec.toml").write_text(TOML)
    assert cli.main(["sweep", str(tmp_path / "spec.toml"), "--dask", "tcp://127.0.0.1:1"]) == 1
    assert "run `pip install distributed`" in capsys.readouterr().err


def test_a_scheduler_that_is_not_there_is_named(capsys, tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "spec.toml").write_text(TOML)
    assert cli.main(["sweep", str(tmp_path / "spec.toml"), "--dask", "scheduler.json"]) == 1
    err = capsys.readouterr().err
    assert "`--dask` 'scheduler.json' leads to no scheduler (missing port number" in err
    assert "pass tcp://host:port of one that runs, or the file that it wrote." in err


def test_on_a_dask_cluster_by_its_address_or_its_file(capsys, tmp_path):
    distributed = pytest.importorskip("distributed")
    (tmp_path / "spec.toml").write_text(TOML)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "processes": False}
    expected = mfdnn.sweep(tmp_path / "spec.toml").values["lambda_max"].ravel().tolist()
    with distributed.LocalCluster(**options, protocol="tcp://", host="127.0.0.1") as cluster:
        (tmp_path / "scheduler.json").write_text(json.dumps(cluster.scheduler.identity()))
        for where in (cluster.scheduler_address, str(tmp_path / "scheduler.json")):
            assert cli.main(["sweep", str(tmp_path / "spec.toml"), "--json", "--dask", where]) == 0
            assert json.loads(capsys.readouterr().out)["columns"]["lambda_max"] == expected


def test_the_scripts_of_the_document_on_clusters_are_what_the_package_takes():
    text = (EXAMPLE.parent / "cluster.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.S)
    commands = [line for kind, block in blocks for line in block.splitlines() if line.startswith("mfdnn ")]
    assert [build_parser()[0].parse_args(shlex.split(line)[1:]).verb for line in commands] == ["sweep", "sweep"]
    calls = [
        node
        for kind, block in blocks
        if kind == "python"
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call)
    ]
    known = {"sweep": mfdnn.sweep, "run": run, "Checkpoint": Checkpoint}
    found = [
        (known[name], call)
        for call in calls
        if (name := getattr(call.func, "attr", getattr(call.func, "id", ""))) in known
    ]
    assert len(found) == 4
    for function, call in found:
        inspect.signature(function).bind(*call.args, **{k.arg: k.value for k in call.keywords})


# -- convolutions -------------------------------------------------------------------------------------------------

IMAGES = {"inputs": 2, "outputs": 1, "image": [3, 4], "channels": [8, 12], "depth": 3, "n_samples": 6}


def test_a_sweep_of_convolutional_networks():
    quantities = ["theory_lambda_max", "theory_learning_rate", "lambda_max", "q_fixed"]
    options = {"mode": "circular", "readout": ["flatten", "average"], "sigma_w2": [1.2, 1.5], "sigma_b2": 0.1}
    found = mfdnn.sweep({**IMAGES, **options, "activation": "tanh", "quantities": quantities})
    assert found.shape == (2, 2, 2, 2) and not found.failures
    wanted = {"image": 4, "channels": 8, "sigma_w2": 1.5, "readout": "average"}
    place = tuple(values.index(wanted[axis]) for axis, values in found.axes.items())
    net = mfdnn.cnn(
        (2, 4, 4), [8, 8], 1, "tanh", sigma_w2=1.5, sigma_b2=0.1, mode="circular", readout="average"
    )
    fim = mfdnn.fisher_statistics(net, 6)
    assert found.values["theory_lambda_max"][place] == pytest.approx(fim.largest, rel=1e-12)
    assert found.values["theory_learning_rate"][place] == pytest.approx(2 / fim.largest, rel=1e-12)
    assert found.values["q_fixed"][place] == pytest.approx(mfdnn.fixed_point("tanh", 1.5, 0.1).q, rel=1e-12)
    assert len(np.unique(found.values["lambda_max"])) == 16


def test_convolutional_networks_are_trained_and_kept(tmp_path):
    spec = {**IMAGES, "learning_rate": 0.01, "n_steps": 3, "kernel": 1, "quantities": ["final_loss", "initial_loss"]}
    found = mfdnn.sweep(spec, checkpoint=tmp_path)
    assert np.all(found.values["final_loss"] < found.values["initial_loss"])
    again = mfdnn.sweep(spec, checkpoint=tmp_path, executor=ThreadPoolExecutor(2))
    np.testing.assert_array_equal(again.values["final_loss"], found.values["final_loss"])
    alone = mfdnn.sweep({**spec, "image": 4, "channels": 12})
    assert alone.values["final_loss"] == found.values["final_loss"][1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 10}, "`width` is of fully connected networks.*give `channels` instead"),
        ({"image": None, "channels": None, "kernel": 3, "width": 5}, "`kernel` is of convolutional networks"),
        ({"channels": None}, r"`channels` \(of every convolution, instead of width\) is missing"),
        ({"depth": 1}, "`depth` must be at least 2 with `image`"),
        ({"readout": "max"}, "`readout` must be one of flatten, average"),
    ],
)
def test_keys_of_images_that_do_not_fit(change, message):
    spec = {**IMAGES, "quantities": "theory_mean", **change}
    with pytest.raises(ValueError, match=message):
        mfdnn.sweep({key: value for key, value in spec.items() if value is not None})

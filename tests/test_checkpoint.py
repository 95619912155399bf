"""Checkpoints: what is finished survives a kill, a cut and damage, and is never computed twice."""

import errno
import functools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import zlib

import kill
import numpy as np
import pytest
import writers
from ensembles import NET, Counting, same_bits
from slow import slow

import mfdnn
from mfdnn import Dense, Network, Pointwise
from mfdnn.architectures import mlp
from mfdnn.datasets import gaussian_inputs
from mfdnn.ensembles import ensemble
from mfdnn.jobs import checkpoint, describe_network, run
from mfdnn.jobs.contents import contents_digest


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


@pytest.mark.parametrize("content", [b"not a checkpoint", b'00000000 {"settings": {}}', "npz"])
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
    monkeypatch.setattr(checkpoint.Checkpoint, "check_writable", lambda self: 1 / 0)
    assert same_bits(ensemble(NET, 5, 2, rng=0, checkpoint=tmp_path / "run.npz"), first)


def test_a_checkpoint_needs_a_seed(tmp_path):
    with pytest.raises(ValueError, match="`checkpoint` needs `rng`"):
        ensemble(NET, 5, 2, checkpoint=tmp_path / "run.npz")


def test_a_crash_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run"
    kept = checkpoint.Checkpoint(path, {"a": "1"})
    kept.add([(0, {"x": np.ones(2)})])
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kept.add([(1, {"x": np.ones(2)})])
    assert os.listdir(tmp_path) == ["run"]
    kept.add([(2, {"x": np.ones(2)})])
    assert {0, 2} <= set(dict(checkpoint.Checkpoint(path, {"a": "1"})))


def test_a_full_disk_is_named_and_what_was_kept_is_still_there(tmp_path, monkeypatch):
    path = tmp_path / "run"

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for tasks in ([], [0]):
        kept = checkpoint.Checkpoint(path, {"a": "1"})
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.os, "fsync", full)
            with pytest.raises(
                OSError, match=r"`checkpoint` '.*run' cannot take more results \(No space left"
            ):
                kept.add([(1, {"x": np.ones(2)})])
        assert set(tasks) <= set(dict(kept))
        kept.add([(0, {"x": np.ones(2)})])


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\); pass another path"):
        checkpoint.Checkpoint(tmp_path, {"a": "1"})


def filled(path, tasks):
    """A checkpoint with a result for each of `tasks`, and these results."""
    rng = np.random.default_rng(0)
    kept = checkpoint.Checkpoint(path, {"a": "1"})
    for i in tasks:
        kept.add([(i, {"x": rng.standard_normal(2), "y": np.array(np.inf if i else -0.0)})])
    return dict(kept)


def bits(results):
    return {task: {name: array.tobytes() for name, array in result.items()} for task, result in results.items()}


def resumed(path, whole):
    """What a damaged file still holds; what it lacks is added, and all is there again."""
    kept = checkpoint.Checkpoint(path, {"a": "1"})
    found = dict(kept)
    assert bits(found).items() <= bits(whole).items()
    kept.add([(i, whole[i]) for i in set(whole) - set(found)])
    assert bits(dict(checkpoint.Checkpoint(path, {"a": "1"}))) == bits(whole)
    return set(found)


def test_a_file_cut_at_any_byte_loses_no_more_than_what_was_cut(tmp_path):
    path = tmp_path / "run"
    whole = filled(path, range(3))
    content = path.read_bytes()
    ends = [i for i in range(len(content)) if content[i : i + 1] == b"\n"] + [len(content)]
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        assert resumed(path, whole) == {i for i in range(3) if ends[1 + i] <= cut}
    path.write_bytes(content[: ends[0] // 2])  # nothing is in it but the beginning of settings of another run
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoint.Checkpoint(path, {"a": "2"})


def flipped(path, whole, content, places):
    """How many results each changed bit cost."""
    lost = []
    for place, bit in places:
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        lost.append(len(whole) - len(resumed(path, whole)))
    return lost


@pytest.mark.parametrize("n_bits", [1, slow(8)])
def test_a_changed_bit_costs_the_result_in_its_line_and_no_other(tmp_path, n_bits):
    path = tmp_path / "run"
    whole = filled(path, range(3))
    content = path.read_bytes()
    head = content.index(b"\n")
    places = [(i, (i + k) % 8) for i in range(len(content)) for k in range(n_bits)]
    lost = flipped(path, whole, content, places)
    assert set(lost) == {0, 1}
    assert not any(n for (place, _), n in zip(places, lost, strict=True) if place <= head)


def windows(content):
    return content.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    "harm",
    [
        windows,
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: b"\xef\xbb\xbf" + windows(content),
        lambda content: content[1:],
        lambda content: content.partition(b"\n")[2],
        lambda content: b"#" + content,
        lambda content: content.replace(b"settings", b"sitting", 1),
    ],
    ids=["CRLF", "BOM", "both", "first byte", "first line", "a mark", "a word"],
)
def test_what_editors_do_to_a_file_costs_nothing(tmp_path, harm):
    path = tmp_path / "run"
    whole = filled(path, range(3))
    path.write_bytes(harm(path.read_bytes()))
    assert resumed(path, whole) == {0, 1, 2}
    checkpoint.Checkpoint(path, {"a": "1"}).add([(3, whole[0])])
    with pytest.raises(ValueError, match="was made with a = 1, not 2"):  # the settings were written again
        checkpoint.Checkpoint(path, {"a": "2"})


def test_a_damaged_result_is_computed_again_and_the_others_are_kept(tmp_path):
    path = tmp_path / "run"
    filled(path, range(3))
    lines = path.read_bytes().split(b"\n")
    for damage in (lines[2].replace(b"1", b"2", 1), bytes(len(lines[2])), b"", b"\xff", lines[2][:-5]):
        path.write_bytes(b"\n".join([*lines[:2], damage, lines[3]]))
        assert sorted(dict(checkpoint.Checkpoint(path, {"a": "1"}))) == [0, 2]


UNEXPECTED = [
    b"null",
    b"[1, 2]",
    b"{}",
    b'{"task": 1}',
    b'{"task": 1, "result": [1.0]}',
    b'{"task": 1, "result": {"lambda_max": [[1.0], [1.0, 2.0]]}}',
    b'{"task": 1, "result": {"lambda_max": {"a": 1}}}',
    b'{"task": 1, "result": {"lambda_max": "much"}}',
    b'{"task": 1, "result": {"lambda_max": 1.0}}',
    b'{"task": {"a": 1}, "result": {"lambda_max": 1.0}}',
    b'{"task": ' + b"[" * 10**5 + b"]" * 10**5 + b', "result": {}}',
    b'{"task": 1' + b"0" * 5000 + b', "result": {}}',
    b'{"task": 1, "result": NaN}',
    b"{not json}",
]


def as_line(text, kept):
    return b"%08x %s\n" % (zlib.crc32(text, kept._key), text)


@pytest.mark.parametrize("text", UNEXPECTED, ids=range(len(UNEXPECTED)))
def test_a_line_that_is_whole_and_of_another_form_is_left_out(tmp_path, text):
    path = tmp_path / "run"
    first = ensemble(NET, 5, 2, rng=0, checkpoint=path)
    kept = checkpoint.Checkpoint(path, settings_of(path))
    path.write_bytes(as_line(text, kept) + path.read_bytes())
    counting = Counting()
    assert same_bits(ensemble(NET, 5, 2, rng=0, checkpoint=path, executor=counting), first)
    assert counting.done == 0


def settings_of(path):
    head = path.read_bytes().split(b"\n")[0]
    return json.loads(head[head.index(b"{") :])["settings"]


def changes(result):
    yield {**result, "q": result["q"][:-1]}
    yield {**result, "q": np.float64(1)}
    yield {**result, "q": np.array(["a", "b", "c"])}
    yield {**result, "q": np.array([True, False, True])}
    yield {**result, "more": np.ones(3)}
    yield {name: array for name, array in result.items() if name != "q"}
    yield {}


def test_a_result_of_other_names_or_shapes_is_computed_again(tmp_path):
    path = tmp_path / "run"
    first = ensemble(NET, 5, 2, rng=0, checkpoint=path)
    settings = settings_of(path)
    (_, zero), (_, one) = sorted(checkpoint.Checkpoint(path, settings), key=lambda pair: pair[0])
    for changed in changes(one):
        path.unlink()
        kept = checkpoint.Checkpoint(path, settings)
        kept.add([(0, zero), (1, changed), (2, one), (-1, one), ("1", one), (True, one)])
        counting = Counting()
        assert same_bits(ensemble(NET, 5, 2, rng=0, checkpoint=path, executor=counting), first)
        assert counting.done == 1


def test_results_of_different_shapes_are_not_stacked():
    with pytest.raises(ValueError, match=r"`function` must return the same names and shapes .*\(2,\).*\(1,\)"):
        run.stack(lambda i: {"x": np.ones(i)}, [1, 2], workers=1)


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    path = tmp_path / "run"
    ensemble(NET, 5, 2, rng=0, checkpoint=path)
    content = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "__version__", "7.8.9")
        with pytest.raises(ValueError, match=r"was made by version \S+ of mfdnn, .* than those of 7.8.9; finish it"):
            ensemble(NET, 5, 2, rng=0, checkpoint=path)
    # As version 0.1 wrote them: no version, and results whose checksum is theirs alone.
    text = b'{"settings": {"n_samples": "5"}}'
    path.write_bytes(b"%08x %s\n00000000 {}" % (zlib.crc32(text), text))
    with pytest.raises(ValueError, match=r"was made by version 0.1 of mfdnn"):
        ensemble(NET, 5, 2, rng=0, checkpoint=path)
    path.write_bytes(content)
    assert len(dict(checkpoint.Checkpoint(path, settings_of(path)))) == 2


@pytest.mark.parametrize("n_races", [10, slow(60)])
def test_no_result_of_several_writers_of_a_new_file_is_lost(tmp_path, n_races):
    def write(writer):
        for race in range(n_races):
            writers.add(barrier, tmp_path / str(race), writer)

    barrier = threading.Barrier(writers.N_WRITERS)
    threads = [threading.Thread(target=write, args=(i,)) for i in range(writers.N_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [writers.missing(tmp_path / str(race)) for race in range(n_races)] == [set()] * n_races


@pytest.mark.parametrize("n_races", [10, slow(60)])
def test_no_result_of_several_processes_is_lost(tmp_path, n_races):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(writers.N_WRITERS)
    processes = [
        context.Process(target=writers.add_to_all, args=(barrier, tmp_path, writer, n_races))
        for writer in range(writers.N_WRITERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [writers.missing(tmp_path / str(race)) for race in range(n_races)] == [set()] * n_races


def test_where_files_cannot_be_locked_results_are_kept(tmp_path, monkeypatch):
    def unlocked(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(checkpoint, "_lock", unlocked)
    assert set(filled(tmp_path / "run", range(3))) == {0, 1, 2}


def test_two_runs_that_began_one_file_at_the_same_time_both_resume(tmp_path):
    one, other = (checkpoint.Checkpoint(tmp_path / "run", {"a": a}) for a in "12")
    one.add([(0, {"x": np.zeros(1)})])
    other.add([(0, {"x": np.ones(1)})])
    for a, value in (("1", 0.0), ("2", 1.0)):
        assert dict(checkpoint.Checkpoint(tmp_path / "run", {"a": a}))[0]["x"] == value
    with pytest.raises(ValueError, match="was made with a = 1, not 3"):
        checkpoint.Checkpoint(tmp_path / "run", {"a": "3"})


def test_a_result_is_written_once_whatever_the_others_take(tmp_path):
    path = tmp_path / "run"
    kept, sizes = checkpoint.Checkpoint(path, {"a": "1"}), []
    for i in range(10, 60):
        kept.add([(i, {"x": np.ones(3)})])
        sizes.append(path.stat().st_size)
    assert len(set(np.diff(sizes))) == 1  # beside the first, which comes with the settings


def test_ctrl_c_drops_what_has_not_begun_and_keeps_what_is_finished(tmp_path):
    begun = []

    def task(i):
        begun.append(i)
        time.sleep(0.01)
        if i == 3:
            raise KeyboardInterrupt
        return {"x": np.array(float(i))}

    kept = checkpoint.Checkpoint(tmp_path / "run.npz", {})
    with pytest.raises(KeyboardInterrupt):
        run.run(task, range(500), workers=1, checkpoint=kept)
    # The one worker may begin more before the main thread, busy writing, hears of it.
    assert len(begun) < 250
    assert sorted(dict(checkpoint.Checkpoint(tmp_path / "run.npz", {})))[:3] == [0, 1, 2]


@pytest.fixture(scope="module")
def whole():
    return kill.drawn()


@pytest.mark.parametrize(
    ("n_finished", "how"), [(0, "nothing"), (1, "changed byte"), (40, "cut"), (kill.N_TASKS, "nothing")]
)
def test_sigkill_loses_nothing_that_is_finished(tmp_path, whole, n_finished, how):
    kept = kill.killed_and_resumed("ensemble", tmp_path / "run", n_finished, how, whole, np.random.default_rng(0))
    assert n_finished - (how != "nothing") <= kept <= kill.N_TASKS  # the damaged one is lost


@pytest.mark.slow
def test_fifty_kills_lose_nothing_that_is_finished(whole):
    assert len(list(kill.in_a_row("ensemble", 50, whole, np.random.default_rng(0)))) == 50


def failing(i):
    """Three short tasks that end well, and one that does not."""
    if i == 3:
        raise ZeroDivisionError("three")
    return {"x": np.array(float(i))}


def test_what_is_finished_when_a_task_of_its_batch_fails_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "FEW_EACH", 1)  # the second batch holds all the others
    kept = checkpoint.Checkpoint(tmp_path / "run", {})
    with pytest.raises(ZeroDivisionError, match="three"):
        run.run(failing, range(8), workers=1, checkpoint=kept)
    assert sorted(dict(kept)) == [0, 1, 2]


class Holder(mfdnn.Layer):
    """A layer that multiplies by what `function` says of what it holds, whose words say nothing of it."""

    def __init__(self, function, *held):
        self.function, self.held = function, held

    def __repr__(self):
        return "Holder()"

    def forward(self, x, parameters, trace):
        return x * self.function(*self.held)

    def pushforward(self, dx, parameters, tangents, trace):
        return dx * self.function(*self.held)

    def backward(self, delta, parameters, trace, collected):
        return delta * self.function(*self.held)


class Told(Holder):
    __repr__ = mfdnn.Layer.__repr__


class Scale:
    def __init__(self, value):
        self.value = value

    def __call__(self, *held):
        return self.value


def multiplied(factor):
    return lambda *held: factor


def with_one_at(place):
    return [np.eye(1, 1200, place)]


def scales():
    """Pairs of layers that differ in one thing, and the layer made again."""
    return {
        "function": [Told(lambda x: x * x, 3.0), Told(lambda x: x + x, 3.0)],
        "closure": [Told(multiplied(1.0)), Told(multiplied(3.0))],
        "default": [Told(lambda x=1.0: x), Told(lambda x=2.0: x)],
        "array in a list": [Told(lambda x: 1 + x[0][0, 500], with_one_at(k)) for k in (500, 501)],
        "array in a dictionary": [
            Told(lambda x: 1 + x["a"][0][0, 500], {"a": with_one_at(k)}) for k in (500, 501)
        ],
        "integer in other words": [Holder(float, k) for k in (1, 7)],
        "object": [Told(Scale(1.0)), Told(Scale(3.0))],
        "partial": [Told(functools.partial(pow, 2), k) for k in (1, 2)],
        "last digit of an array": [Told(lambda x: x[0], np.array([1 + k * 1e-15])) for k in (0, 1)],
    }


def holding(layer):
    return Network(6, [Dense(5, 2.0), layer, Pointwise("relu"), Dense(2, 1.0)])


@pytest.mark.parametrize("what", scales())
def test_a_checkpoint_tells_apart_all_that_a_layer_of_ones_own_holds(what, tmp_path):
    settings = {"n_samples": 4, "n_networks": 2, "rng": 0, "checkpoint": tmp_path / "run"}
    (one, other), (again, _) = scales()[what], scales()[what]
    ens = ensemble(holding(one), **settings)
    assert same_bits(ensemble(holding(again), **settings), ens)
    with pytest.raises(ValueError, match=r"was made with (net|layers of one's own) = .*pass another path"):
        ensemble(holding(other), **settings)
    with pytest.raises(ValueError, match="`ensemble` was drawn from"):
        mfdnn.compare(holding(other), ensemble=ens)


def test_a_class_with_other_methods_is_another_layer():
    def layer(factor_of):
        return type("Mine", (mfdnn.Layer,), {"forward": factor_of})()

    def described(function):
        return describe_network(holding(layer(function)))

    assert described(lambda self, x, parameters, trace: x) == described(lambda self, x, parameters, trace: x)
    assert described(lambda self, x, parameters, trace: x) != described(lambda self, x, parameters, trace: -x)


def test_what_no_other_process_can_find_again_is_the_same_in_this_one_only():
    lock, other = threading.Lock(), threading.Lock()
    assert contents_digest(lock) == contents_digest(lock) != contents_digest(other)
    held: list = [1]
    held.append(held)
    assert contents_digest(held) == contents_digest(held) != contents_digest([1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: np.clip(x, -3.5, 3.5), lambda x: np.clip(x, -9, 9)),
        (lambda x: np.clip(x, -80, 80), lambda x: np.clip(x, -90, 90)),
        *[[mfdnn.activation("leaky_relu", slope=0.1 + k * 1e-9) for k in (0, 1)]],
        (np.tanh, mfdnn.Activation("tanh", np.tanh, lambda x: np.ones_like(x))),
    ],
)
def test_activations_that_differ_far_out_or_in_their_derivative_are_told_apart(one, other):
    one, other = (Network(20, [Dense(4), Pointwise(phi), Dense(2)]) for phi in (one, other))
    assert describe_network(one) == describe_network(one) != describe_network(other)


def clipped(bound):
    return lambda x: np.clip(x, 0, bound)


class Clipped:
    def __init__(self, bound):
        self.bound = bound

    def __call__(self, x):
        return np.clip(x, 0, self.bound)


def clip(x, bound):
    return np.clip(x, 0, bound)


def bent(x, at, by=0.0):
    return np.tanh(x) + by * (np.abs(x - at) < 0.02)


ALIKE = {
    "closures": [clipped(6), clipped(2.5)],
    "far out": [clipped(600), clipped(900)],
    "objects": [Clipped(6), Clipped(2.5)],
    "partial": [functools.partial(clip, bound=bound) for bound in (6, 2.5)],
    "the ninth digit": [functools.partial(np.multiply, 1 + k * 1e-9) for k in (0, 1)],
    "the ninth digit of weak signals": [lambda x: np.sin(x), lambda x: np.sin(x) + 1e-9 * x * np.exp(-(x**2))],
    "a narrow bump": [functools.partial(bent, at=1.234, by=by) for by in (0, 0.1)],
    "where a bump is": [functools.partial(bent, at=at, by=0.1) for at in (1.234, 1.23401)],
    "where it jumps": [lambda x: (x > 0.3) * 1.0, lambda x: (x > 0.300001) * 1.0],
    "where it overflows": [lambda x: np.cosh(x), lambda x: np.cosh(np.clip(x, -700, 700))],
    "derivative": [
        mfdnn.Activation("f", np.abs, slope) for slope in (np.sign, lambda x: np.sign(x) * (1 + 1e-9 * (x > 0)))
    ],
    "features": [mfdnn.Activation("f", np.tanh, features=given) for given in ((), ((0.5, 0.01),))],
}


@pytest.mark.parametrize("what", ALIKE)
def test_activations_of_one_name_are_told_apart_by_what_they_do(what):
    one, other = map(mfdnn.activation, ALIKE[what])
    assert one.label == other.label
    assert one.digest != other.digest


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.minimum(np.maximum(x, 0), 6),
        Clipped(6),
        functools.partial(clip, bound=6),
        np.vectorize(lambda x: min(max(x, 0.0), 6.0)),
    ],
)
def test_the_same_activation_written_in_another_way_is_the_same(function):
    assert mfdnn.activation(function).digest == mfdnn.activation(clipped(6)).digest


def test_processors_that_differ_in_last_digits_agree_on_an_activation():
    """A value may be off by the last bit or not, at random."""

    def rounded(x):
        y = np.tanh(x)
        return np.where(x.copy().view(np.int64) >> 2 & 1, np.nextafter(y, 2 * y), y)

    x = np.linspace(-3, 3, 1000)
    assert 0.2 < np.mean(rounded(x) != np.tanh(x)) < 0.8
    assert mfdnn.activation(rounded).digest == mfdnn.activation(lambda x: np.tanh(x)).digest


def test_an_activation_is_the_same_in_every_process():
    script = "import test_checkpoint as t; print(*(t.mfdnn.activation(one).digest for one, _ in t.ALIKE.values()))"
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=os.path.dirname(__file__), check=True, capture_output=True, text=True
    )
    assert told.stdout.split() == [mfdnn.activation(one).digest for one, _ in ALIKE.values()]


def test_an_activation_that_cannot_be_resolved_has_a_digest():
    one, other = (mfdnn.activation(lambda x, a=a: np.floor(100 * x) / a) for a in (100, 101))
    assert one.digest != other.digest


RUNS = {
    "ensemble": lambda net, path: ensemble(net, 5, 2, rng=0, checkpoint=path),
    "compare": lambda net, path: mfdnn.compare(net, 5, n_networks=2, rng=0, checkpoint=path),
    "learning_rate_map": lambda net, path: mfdnn.learning_rate_map(
        net, [8], [0.1], 3, n_samples=5, n_trials=2, rng=0, checkpoint=path
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_another_activation_of_the_same_name_is_another_run(name, tmp_path):
    nets = [mlp([6, 8, 8, 1], clipped(bound), 1.5, 0.1) for bound in (6, 2.5)]
    RUNS[name](nets[0], tmp_path / "run")
    RUNS[name](nets[0], tmp_path / "run")
    with pytest.raises(ValueError, match=r"was made with activations = .*lambda \[\w+\], .*not .*lambda \[\w+\]"):
        RUNS[name](nets[1], tmp_path / "run")

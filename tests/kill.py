"""Kill a run, damage its checkpoint, resume: `python tests/kill.py sweep 50` does so fifty times in a row."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ensembles import Counting

from mfdnn.architectures import mlp
from mfdnn.ensembles import ensemble
from mfdnn.jobs.checkpoint import Checkpoint
from mfdnn.sweeps import sweep

N_TASKS = 150
DAMAGES = ("nothing", "cut", "changed byte")
SWEEP = {
    "inputs": 30,
    "outputs": 2,
    "width": [40, 50],
    "depth": 3,
    "activation": ["tanh", "leaky_relu(slope=0.2)", "gelu"],
    "sigma_w2": 1.5,
    "n_samples": 40,
    "seed": range(N_TASKS // 6),
    "learning_rate": 0.01,
    "n_steps": 20,
    "quantities": ["lambda_max", "final_loss"],
}


def drawn(checkpoint=None, executor=None):
    """An ensemble with whole spectra: kilobytes to write for each network."""
    net = mlp([20, 60, 60, 3], "tanh", 1.5, 0.1)
    return ensemble(net, 60, N_TASKS, rng=0, eigenvalues=True, checkpoint=checkpoint, executor=executor)


def swept(checkpoint=None, executor=None):
    """A sweep of small networks, drawn and trained."""
    return sweep(SWEEP, checkpoint=checkpoint, executor=executor)


RUNS = {"ensemble": drawn, "sweep": swept}


def file_of(path):
    """Where results are: a sweep keeps them in a folder."""
    return path / "cells" if path.is_dir() else path


def finished(path):
    """The tasks that the file holds whole, as texts."""
    head = file_of(path).read_bytes().partition(b"\n")[0] if path.exists() and file_of(path).exists() else b""
    if not head.endswith(b"}"):  # it is being written
        return set()
    return {json.dumps(i) for i, _ in Checkpoint(file_of(path), json.loads(head[9:])["settings"])}


def kill(what, path, n_finished, rng):
    """Run it in a process of its own, and end that by SIGKILL once some tasks are on disk."""
    command = [sys.executable, __file__, what, "--run", os.fspath(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()  # everything is imported
        while process.poll() is None and len(finished(path)) < n_finished:
            time.sleep(1e-3)
        time.sleep(0.02 * rng.random())  # at any moment of what comes next
        before = finished(path)
        process.kill()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert process.returncode == -9, "it was not running any more"
    return before


def damage(path, how, rng):
    """Harm the last line of the file."""
    content = bytearray(file_of(path).read_bytes())
    last = content.rindex(b"\n") + 1
    if how == "cut":
        content = content[: rng.integers(last, len(content))]
    elif how == "changed byte":
        content[rng.integers(last, len(content))] ^= 1 << rng.integers(8)
    file_of(path).write_bytes(content)


def same_bits(one, other):
    return all(one.values[name].tobytes() == other.values[name].tobytes() for name in one.values)


def killed_and_resumed(what, path, n_finished, how, whole, rng):
    """How many results were on disk; nothing of them is lost or computed again, and every bit is the same."""
    before = kill(what, path, n_finished, rng)
    kept = finished(path)
    assert before <= kept
    assert n_finished <= len(kept)
    if how != "nothing" and kept:
        damage(path, how, rng)
        assert len(kept - finished(path)) <= 1  # the last line may have been incomplete
        kept = finished(path)
    resumed = Counting()
    again = RUNS[what](path, resumed)
    assert resumed.done == N_TASKS - len(kept)
    assert same_bits(again, whole)
    read = Counting()
    assert same_bits(RUNS[what](path, read), whole)
    assert read.done == 0
    return len(kept)


def in_a_row(what, n_kills, whole, rng):
    """So many of them, at random moments; how many results were kept in each."""
    for i in range(n_kills):
        with tempfile.TemporaryDirectory() as folder:
            moment, how = int(rng.integers(0, N_TASKS)), DAMAGES[i % len(DAMAGES)]
            yield how, killed_and_resumed(what, Path(folder) / "run", moment, how, whole, rng)


if __name__ == "__main__":
    what = sys.argv[1]
    if sys.argv[2] == "--run":
        print("ready", flush=True)
        RUNS[what](Path(sys.argv[3]))
        time.sleep(60)  # so that the last moments are tried too
    else:
        kills = in_a_row(what, int(sys.argv[2]), RUNS[what](), np.random.default_rng())
        for i, (how, kept) in enumerate(kills):
            print(f"{i + 1}: {how}, {kept} of {N_TASKS} results kept, resumed to the same bits", flush=True)

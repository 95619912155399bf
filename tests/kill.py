"""Kill an ensemble, damage its checkpoint, resume: `python tests/kill.py 50` does so fifty times in a row."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ensembles import Counting, same_bits

from mfdnn.architectures import mlp
from mfdnn.ensembles import ensemble
from mfdnn.jobs.checkpoint import Checkpoint

NET = mlp([20, 60, 60, 3], "tanh", 1.5, 0.1)
N_NETWORKS = 150
DAMAGES = ("nothing", "cut", "changed byte")


def drawn(n_networks=N_NETWORKS, **options):
    """The ensemble, with whole spectra: kilobytes to write for each network."""
    return ensemble(NET, 60, n_networks, rng=0, eigenvalues=True, **options)


def finished(path):
    """Numbers of the networks that the file holds whole."""
    head = path.read_bytes().partition(b"\n")[0]
    if not head.endswith(b"}"):  # it is being written
        return set()
    return {i for i, _ in Checkpoint(path, json.loads(head[head.index(b"{") :])["settings"])}


def kill(path, n_finished):
    """Run the ensemble in a process of its own, and end it by SIGKILL once some networks are on disk."""
    command = [sys.executable, __file__, "--run", os.fspath(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()  # everything is imported
        while process.poll() is None and not (path.exists() and len(finished(path)) >= n_finished):
            time.sleep(1e-3)
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
    content = bytearray(path.read_bytes())
    last = content.rindex(b"\n") + 1
    if how == "cut":
        content = content[: rng.integers(last, len(content))]
    elif how == "changed byte":
        content[rng.integers(last, len(content))] ^= 1
    path.write_bytes(content)


def killed_and_resumed(path, n_finished, how, whole, rng):
    """How many networks were on disk; nothing of them is lost or computed again, and every bit is the same."""
    before = kill(path, n_finished)
    assert len(before) >= n_finished
    kept = finished(path)
    assert before <= kept
    damage(path, how, rng)
    if how != "nothing":  # the last line may have been whole
        assert len(kept - finished(path)) <= 1
        kept = finished(path)
    resumed = Counting()
    again = drawn(checkpoint=path, executor=resumed)
    assert resumed.done == N_NETWORKS - len(kept)
    assert same_bits(again, whole)
    read = Counting()
    assert same_bits(drawn(checkpoint=path, executor=read), whole)
    assert read.done == 0
    return len(kept)


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        print("ready", flush=True)
        drawn(checkpoint=sys.argv[2])
        time.sleep(60)  # so that the last moments are tried too
    else:
        whole, rng = drawn(), np.random.default_rng()
        for i in range(int(sys.argv[1])):
            with tempfile.TemporaryDirectory() as folder:
                moment, how = int(rng.integers(0, N_NETWORKS)), DAMAGES[i % len(DAMAGES)]
                kept = killed_and_resumed(Path(folder) / "run", moment, how, whole, rng)
                print(f"{i + 1}: {how}, {kept} of {N_NETWORKS} networks kept, resumed to the same bits")

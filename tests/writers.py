"""Several writers of one new checkpoint at the same moment, in threads or processes."""

import numpy as np

from mfdnn.jobs.checkpoint import Checkpoint

N_WRITERS, N_RESULTS = 3, 4
SETTINGS = {"a": "1"}


def add(barrier, path, writer):
    """Begin a checkpoint and add results, one after the other, while others do the same."""
    kept = Checkpoint(path, SETTINGS)
    kept.check_writable()
    barrier.wait()
    for i in range(N_RESULTS):
        kept.add([(writer * N_RESULTS + i, {"x": np.full(50, writer + i / N_RESULTS)})])


def add_to_all(barrier, folder, writer, n_races):
    """A race for each of so many files."""
    for race in range(n_races):
        add(barrier, folder / str(race), writer)


def missing(path):
    """Which results are not in the file as they were written."""
    found = {task: set(result["x"] * N_RESULTS) for task, result in Checkpoint(path, SETTINGS)}
    return {i for i in range(N_WRITERS * N_RESULTS) if found.get(i) != {i // N_RESULTS * N_RESULTS + i % N_RESULTS}}

"""Measure every cell of a grid."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from .._support.memory import available_memory, require_memory
from .._support.validation import checked, folder_path
from ..activations import Activation, activation
from ..ensembles.statistics import EXACT
from ..jobs.checkpoint import Checkpoint
from ..jobs.run import are_numbers, check_executor, finished, n_cores
from .quantities import AT_INFINITE_WIDTH, QUANTITIES, TRAINED, Cell
from .result import Sweep
from .spec import KEYS, Spec

__all__ = ["sweep", "workers_for"]

CELLS = "cells"  # the file in the folder of a checkpoint


def sweep(
    spec: Any,
    *,
    executor: Any = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = False,
) -> Sweep:
    """Measure quantities on a grid of networks, data and learning rates.

    Parameters
    ----------
    spec : path or dict
        A TOML file, or a dictionary of the same form: the keys of `mfdnn.sweeps.spec.KEYS`, each with one value, a
        list or a range ``{start, stop, points, spacing}``, and `quantities`, names of
        `mfdnn.sweeps.quantities.QUANTITIES`. Every combination of values is a cell. ``docs/sweep.toml`` has an example.
    executor : optional
        Anything with ``.map``, such as the executors of concurrent.futures, loky, Dask and mpi4py. Default: threads,
        one per core, fewer if memory is short.
    checkpoint : path, optional
        Folder in which finished cells are kept; made if there is none. An interrupted sweep resumes with the
        same call, and computes none of them again. So does one with more values, or fewer, on its axes.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.

    Returns
    -------
    Sweep
        A cell that fails is marked there; the others are not affected.

    Raises
    ------
    OSError, TypeError, ValueError
        No such file; a key that is unknown or missing; a value that it does not take; an `executor` without
        ``.map``; a `checkpoint` of another sweep.
    MemoryError
        The table of all cells does not fit into memory.
    KeyboardInterrupt
        Ctrl-C: cells not yet begun are dropped; finished ones are in the checkpoint.

    Notes
    -----
    Every cell has random numbers of its own, which depend on its seed and on what is drawn in it, and on nothing
    else: neither on the executor, nor on the rest of the grid. Cells that differ in the learning rate, the loss or the
    optimiser only train the same network on the same data, taught by another network of the same kind.
    A cell that failed is tried again when the sweep resumes.

    Examples
    --------
    >>> import mfdnn
    >>> found = mfdnn.sweep({
    ...     "inputs": 20, "outputs": 1, "width": [20, 40], "depth": 3, "activation": ["tanh", "relu"],
    ...     "sigma_w2": 2.0, "n_samples": 30, "seed": [0, 1, 2], "quantities": ["theory_lambda_max", "lambda_max"],
    ... })
    >>> found
    Sweep(2 width x 2 activation x 3 seed: theory_lambda_max, lambda_max)
    >>> found.values["lambda_max"].mean(axis=2).shape
    (2, 2)
    """
    spec, progress = Spec.read(spec), checked(progress=progress)
    check_executor(executor)
    checkpoint = None if checkpoint is None else folder_path("checkpoint", checkpoint)
    n = math.prod(spec.shape)
    columns = len(spec.axes) + 2 * len(spec.quantities) + 2  # as a grid and as a table
    require_memory(
        8 * n * columns, f"a sweep of {n} cells", "take fewer values, or one sweep after the other"
    )
    values = {name: np.full(n, np.nan) for name in spec.quantities}
    done = np.zeros(n, dtype=bool)
    failures: dict[int, str] = {}

    def note(i: int, result: dict[str, np.ndarray]) -> None:
        if "error" in result:
            failures[i] = str(result["error"])
            return
        done[i] = True
        for name in values:
            values[name][i] = result[name]

    kept = None
    if checkpoint is not None:
        kept = _opened(checkpoint, spec)
        for i, result in _of_this_sweep(kept, spec):
            note(i, result)
    n_kept = int(done.sum())
    results = finished(
        partial(_measure, activations=spec.activations, quantities=spec.quantities),
        ((spec.kept(cell), cell) for i, cell in enumerate(spec.cells()) if not done[i]),
        n - n_kept,
        n_kept=n_kept,
        executor=executor,
        workers=workers_for(spec),
        checkpoint=kept,
        keep=lambda result: "error" not in result,
        progress=progress,
        unit="cell",
    )
    with closing(results):
        for cell, result in results:
            note(spec.place(cell), result)
    return Sweep(
        axes=spec.axes,
        fixed=spec.fixed,
        values={name: array.reshape(spec.shape) for name, array in values.items()},
        failures={tuple(map(int, np.unravel_index(i, spec.shape))): failures[i] for i in sorted(failures)},
    )


def workers_for(spec: Spec) -> int:
    """One per core, fewer if as many of the largest networks would not fit."""
    if set(spec.quantities) <= set(AT_INFINITE_WIDTH):
        return n_cores()
    keys = ("inputs", "outputs", "width", "depth", "n_samples", "image", "channels", "kernel")
    largest = {key: max(spec.axes.get(key, (spec.fixed.get(key),))) for key in keys}
    outputs, n_samples = largest["outputs"], largest["n_samples"]
    net = Cell({**dict.fromkeys(KEYS), **largest}, activation("relu")).network
    signals = sum(math.prod(layer.output_shape(shape)) for layer, shape in net.weight_layers[:-1])
    # The network and a vector of Lanczos, or its teacher, its trained self, a gradient and a velocity.
    copies = 5 if set(spec.quantities) & set(TRAINED) else 2
    rows = n_samples * outputs
    numbers = copies * net.n_parameters + 3 * n_samples * (net.n_inputs + signals * outputs)
    numbers += rows * (6 * rows if rows <= EXACT else 200)  # the dual matrix, and what its eigenvalues take
    return int(max(1, min(n_cores(), available_memory() // (8 * numbers))))


def _measure(
    cell: dict[str, Any], activations: dict[str, Activation], quantities: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """The quantities of one cell, or why it failed."""
    try:
        measured = Cell(cell, activations[cell["activation"]])
        return {name: np.array(float(QUANTITIES[name][1](measured))) for name in quantities}
    except Exception as error:  # whatever it is, the other cells are not to blame
        return {"error": np.array(f"{type(error).__name__}: {error}")}


def _opened(folder: str | os.PathLike, spec: Spec) -> Checkpoint:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"`checkpoint` {os.fspath(folder)!r} cannot be made ({error.strerror}); pass a folder "
            "that you may write to."
        ) from None
    return Checkpoint(os.path.join(folder, CELLS), {"quantities": ", ".join(spec.quantities)})


def _of_this_sweep(kept: Checkpoint, spec: Spec) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """(index, result) of the stored cells that the grid has too.

    What is no such cell, or has other results than the quantities, is left out.

    Raises
    ------
    ValueError
        There are cells, and none of them is in the grid.
    """
    found, other = 0, None
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(spec.quantities, ())
    for cell, result in kept:
        if not isinstance(cell, dict) or cell.keys() != KEYS.keys() or not are_numbers(result, shapes):
            continue
        if any(isinstance(value, list | dict) for value in cell.values()):
            continue
        if spec.mismatch(cell):
            other = cell
        else:
            found += 1
            yield spec.place(cell), result
    if other is not None and not found:
        raise ValueError(
            f"`checkpoint` {os.path.dirname(kept.path)!r} holds cells of another sweep, with {spec.mismatch(other)}; "
            "pass another folder, or remove it to start afresh."
        )

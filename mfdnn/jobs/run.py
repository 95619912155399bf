"""Run independent tasks on any executor, keep the finished, and resume."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from .._support.blas import single_blas_thread
from .checkpoint import Checkpoint, Result
from .threads import Threads
from .watch import LONG, in_task

__all__ = ["Checkpoint", "are_numbers", "check_executor", "finished", "n_cores", "run", "stack"]

Numbered = tuple[Any, Any]  # what a task is called, and the task; or that and its result

# A batch is long beside what it costs to send one (Dask: some milliseconds), and short beside a coffee.
BATCH_SECONDS, LARGEST_BATCH = 0.05, 64
# Tasks in flight: two a core until the first is back, or for a second; then enough for a thousand workers. Batches of
# short ones are fewer: to hand out more than these takes longer than they do.
FEW_EACH, FIRST_SECONDS, MANY, BATCHES = 2, 1.0, 1024, 64


def n_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def run(
    function: Callable[[Any], Result],
    tasks: Sequence[Any],
    *,
    executor: Any = None,
    workers: int | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
    unit: str = "network",
) -> list[Result]:
    """Return ``[function(task) for task in tasks]``, computed in any order.

    And anywhere: on the threads, processes or machines of the executor.

    Parameters
    ----------
    function : callable
        Defined in a module, so that it can be sent to other processes; returns a dictionary of arrays of
        float64. It computes in one BLAS thread, whoever runs it.
    tasks : sequence
    executor : optional
        Anything with ``.map``; a `concurrent.futures.Executor`, as those of loky, Dask and mpi4py are, also
        reports tasks as they finish, and holds a bounded number of them. Default: threads of this process.
    workers : int, optional
        Number of threads of the default executor. Default: one per core.
    checkpoint : Checkpoint, optional
        Tasks in it are not run again; finished ones are added at once.
    progress : bool
        Show a progress bar on stderr, if that is a terminal. Without, it comes after ten seconds.
    unit : str
        What the bar counts.

    Returns
    -------
    list of dict of str to ndarray
        In the order of `tasks`.

    Raises
    ------
    TypeError
        `executor` has no ``.map``, or is a Dask client rather than its executor.
    ValueError
        `checkpoint` cannot be written, and there is something to add to it.
    RuntimeError
        The executor lost tasks: its workers or the connection to them are gone.
    """
    options = {"executor": executor, "workers": workers, "progress": progress, "unit": unit}
    with closing(_results(function, tasks, checkpoint, **options)) as results:
        found = dict(results)
    return [found[i] for i in range(len(tasks))]


def stack(
    function: Callable[[Any], Result],
    tasks: Sequence[Any],
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    executor: Any = None,
    workers: int | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
    unit: str = "network",
) -> dict[str, np.ndarray]:
    """Return the results of `run` stacked, name to array, tasks first.

    They must have the same shapes for all tasks. Memory is that of the numbers, whatever their number.

    Parameters
    ----------
    function, tasks, executor, workers, checkpoint, progress, unit
        As in `run`.
    shapes : dict of str to tuple of int, optional
        Names and shapes of what `function` returns. A result in `checkpoint` of other ones is computed again. Default:
        those of the first result.

    Returns
    -------
    dict of str to ndarray
        Entry i of the first axis, of length ``len(tasks)``, is the array of task i. Empty without tasks.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `run`; results have different names or shapes.
    """
    stacked: dict[str, np.ndarray] = {}
    options = {"executor": executor, "workers": workers, "progress": progress, "unit": unit}
    with closing(_results(function, tasks, checkpoint, shapes, **options)) as results:
        for i, result in results:
            shapes = shapes or _shapes(result)
            if _shapes(result) != shapes:
                raise ValueError(
                    f"`function` must return the same names and shapes for every task, got {_shapes(result)} for task "
                    f"{i} and {shapes} for another; fill what is missing, or use run."
                )
            stacked = stacked or {name: np.empty((len(tasks), *shape)) for name, shape in shapes.items()}
            for name, array in result.items():
                stacked[name][i] = array
    return stacked


def _shapes(result: Result) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in result.items()}


def _results(
    function: Callable[[Any], Result],
    tasks: Sequence[Any],
    checkpoint: Checkpoint | None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    **options: Any,
) -> Generator[Numbered, None, None]:
    """(number, result) of every task, first what the checkpoint holds.

    What is no such task or has other names or `shapes` there is left out.
    """
    check_executor(options["executor"])
    kept = np.zeros(len(tasks), dtype=bool)
    for i, result in checkpoint or ():
        if type(i) is not int or not 0 <= i < len(tasks) or kept[i]:
            continue
        if shapes is None or are_numbers(result, shapes):
            kept[i] = True
            yield i, result
    waiting = ((i, task) for i, task in enumerate(tasks) if not kept[i])
    n_kept = int(kept.sum())
    yield from finished(
        function, waiting, len(tasks) - n_kept, n_kept=n_kept, checkpoint=checkpoint, **options
    )


def are_numbers(result: Result, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a result that was kept has these names and shapes, all numbers."""
    return _shapes(result) == shapes and all(array.dtype.kind in "fi" for array in result.values())


def check_executor(executor: Any) -> None:
    """Refuse what cannot run tasks."""
    if hasattr(executor, "get_executor"):
        raise TypeError(
            f"`executor` must have a method map, got a {type(executor).__name__} of Dask, whose map returns futures of "
            "its own; pass client.get_executor()."
        )
    if executor is not None and not callable(getattr(executor, "map", None)):
        raise TypeError(
            f"`executor` must have a method map, got {type(executor).__name__}; pass for example a "
            "concurrent.futures.ProcessPoolExecutor, or None for threads."
        )


def finished(
    function: Callable[[Any], Result],
    tasks: Iterable[Numbered],
    n_tasks: int,
    *,
    n_kept: int = 0,
    executor: Any = None,
    workers: int | None = None,
    checkpoint: Checkpoint | None = None,
    keep: Callable[[Result], bool] = bool,
    progress: bool = False,
    unit: str = "network",
) -> Generator[Numbered, None, None]:
    """(name, result) of the (name, task) in `tasks`, as they finish.

    `tasks` are `n_tasks`. Results of which `keep` is true are in the checkpoint before they come. `n_kept` others,
    which were there already, count as done in the progress bar.
    """
    if n_tasks and checkpoint is not None:  # a finished one may lie where it can only be read
        checkpoint.check_writable()
    workers = min(n_cores() if workers is None else workers, max(n_tasks, 1))
    # `disable=None` hides the bar where stderr is not a terminal.
    delay = 0.0 if progress else LONG
    bar = tqdm(total=n_kept + n_tasks, initial=n_kept, unit=unit, disable=None, delay=delay)
    # Threads of this process share its BLAS, so the limit holds from here; other processes see to themselves.
    with bar, single_blas_thread():
        for results in _completed(function, tasks, executor, workers):
            if checkpoint is not None:
                checkpoint.add([(name, result) for name, result in results if keep(result)])
            bar.update(len(results))
            yield from results


def _completed(
    function: Callable[[Any], Result], tasks: Iterable[Numbered], executor: Any, workers: int
) -> Iterator[list[Numbered]]:
    """Lists of (name, result), as they finish where the executor can tell."""
    if executor is None:
        with Threads(workers) as pool:
            yield from _in_threads(function, tasks, pool, workers)
    elif isinstance(executor, ThreadPoolExecutor):
        yield from _in_threads(function, tasks, executor, n_cores())
    elif isinstance(executor, Executor):
        yield from _submitted(function, tasks, executor, n_cores())
    else:
        named = dict(enumerate(tasks))
        results = executor.map(partial(_one, function), [task for _, task in named.values()])
        yield from ([(name, result)] for (name, _), result in zip(named.values(), results, strict=True))


def _in_threads(
    function: Callable[[Any], Result], tasks: Iterable[Numbered], pool: Executor, cores: int
) -> Iterator[list[Numbered]]:
    """Batches of results of threads, which are told when nobody waits."""
    stop = Event()
    try:
        yield from _submitted(partial(_until, stop, function), tasks, pool, cores)
    finally:  # before the pool waits for its threads: after an error or Ctrl-C, too
        stop.set()


def _submitted(
    function: Callable[[Any], Result], tasks: Iterable[Numbered], executor: Executor, cores: int
) -> Iterator[list[Numbered]]:
    """Batches of results.

    A bounded number of tasks is with the executor, in batches if they are short.
    """
    waiting = iter(tasks)
    back: SimpleQueue[Future] = SimpleQueue()
    running: dict[Future, list[Numbered]] = {}
    size, limit = 1, FEW_EACH * cores
    try:
        while True:
            while len(running) < limit and (batch := list(islice(waiting, size))):
                future = executor.submit(_batch, function, [task for _, task in batch])
                running[future] = batch
                future.add_done_callback(back.put)
            if not running:
                return
            try:
                future = back.get(timeout=FIRST_SECONDS if limit == FEW_EACH * cores else None)
            except Empty:
                limit = MANY
                continue
            batch = running.pop(future)
            try:
                seconds, results, failure = future.result()
            except CancelledError:
                raise RuntimeError(
                    "`executor` cancelled a task: its workers, or the connection to them, are gone; start it again, "
                    "and resume from the checkpoint if there is one."
                ) from None
            size = min(max(int(BATCH_SECONDS * len(results) / max(seconds, 1e-9)), 1), LARGEST_BATCH)
            limit = max(MANY // size, BATCHES)
            yield [(name, result) for (name, _), result in zip(batch, results, strict=False)]
            if failure is not None:
                error, where = failure
                raise error from RuntimeError(where)
    finally:
        # After an error or Ctrl-C nobody waits for what has not begun; cancelling the finished is void.
        for future in running:
            future.cancel()


def _batch(
    function: Callable[[Any], Result], tasks: Sequence[Any]
) -> tuple[float, list[Result], tuple[BaseException, str] | None]:
    """Seconds, the results of the tasks before the first that fails, its error.

    The error comes with its traceback, None if none failed.
    """
    start, results, failure = perf_counter(), [], None
    with single_blas_thread(), in_task():
        for task in tasks:
            try:
                results.append(function(task))
            except BaseException as error:
                if not results:
                    raise
                failure = (error, traceback.format_exc())
                break
    return perf_counter() - start, results, failure


def _one(function: Callable[[Any], Result], task: Any) -> Result:
    with single_blas_thread(), in_task():
        return function(task)


def _until(stop: Event, function: Callable[[Any], Result], task: Any) -> Result:
    """The result of a task that ends once `stop` is set, if it looks for it."""
    with in_task(stop):
        return function(task)

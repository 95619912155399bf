"""Run independent tasks on any executor, keep what is finished on disk, and resume."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np
from tqdm import tqdm

from .._blas import single_blas_thread

__all__ = ["Checkpoint", "n_cores", "run"]

Result = dict[str, np.ndarray]


def n_cores() -> int:
    """Cores this process may use."""
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
    """Return ``[function(task) for task in tasks]``, computed anywhere and in any order.

    Parameters
    ----------
    function : callable
        Defined in a module, so that it can be sent to other processes; returns a dictionary of arrays whose
        shapes are the same for all tasks.
    tasks : sequence
    executor : optional
        Anything with ``.map``; a `concurrent.futures.Executor` also reports tasks as they finish. Default:
        threads of this process.
    workers : int, optional
        Number of threads of the default executor. Default: one per core.
    checkpoint : Checkpoint, optional
        Tasks in it are not run again; finished ones are added at once.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.
    unit : str
        What the bar counts.

    Raises
    ------
    TypeError
        `executor` has no ``.map``.
    ValueError
        `checkpoint` cannot be written, and there is something to add to it.
    """
    if executor is not None and not callable(getattr(executor, "map", None)):
        raise TypeError(
            f"`executor` must have a method map, got {type(executor).__name__}; pass for example a "
            "concurrent.futures.ProcessPoolExecutor, or None for threads."
        )
    results = {} if checkpoint is None else {i: r for i, r in checkpoint.results.items() if i < len(tasks)}
    waiting = {i: task for i, task in enumerate(tasks) if i not in results}
    if checkpoint is not None and waiting:  # a finished one may lie where it can only be read
        checkpoint.check_writable()
    workers = min(n_cores() if workers is None else workers, max(len(waiting), 1))
    # `disable=None` hides the bar where stderr is not a terminal.
    bar = tqdm(total=len(tasks), initial=len(results), unit=unit, disable=None if progress else True)
    # Threads of this process share its BLAS, so the limit holds from here; other processes see to themselves.
    with bar, single_blas_thread():
        for i, result in _completed(function, waiting, executor, workers):
            results[i] = result
            if checkpoint is not None:
                checkpoint.add(i, result)
            bar.update()
    return [results[i] for i in range(len(tasks))]


def _completed(
    function: Callable[[Any], Result], tasks: dict[int, Any], executor: Any, workers: int
) -> Iterator[tuple[int, Result]]:
    """(number, result) of every task, as they finish where the executor can tell."""
    if executor is None:
        with ThreadPoolExecutor(workers) as pool:
            yield from _completed(function, tasks, pool, workers)
    elif isinstance(executor, Executor):
        futures = {executor.submit(function, task): i for i, task in tasks.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # After an error or Ctrl-C nobody waits for what has not begun; cancelling the finished is void.
            for future in futures:
                future.cancel()
    else:
        yield from zip(tasks, executor.map(function, tasks.values()), strict=True)


class Checkpoint:
    """Finished tasks in a file: numbers only (npz without pickle), replaced as a whole or not at all.

    Parameters
    ----------
    path : str or path
    settings : dict of str to str
        What determines the results. A file made with other settings is refused.

    Raises
    ------
    ValueError
        `path` exists and is no checkpoint, or one made with other settings.
    """

    def __init__(self, path: str | os.PathLike, settings: dict[str, str]):
        self.path = os.fspath(path)
        self.settings = settings
        self.results: dict[int, Result] = {}
        if os.path.exists(self.path):
            self._load()

    def check_writable(self) -> None:
        """Raise a ValueError now rather than lose the first result: `path` cannot be written."""
        temporary = self._temporary()
        try:
            with open(temporary, "wb"):
                pass
            os.remove(temporary)
        except OSError as error:
            raise ValueError(
                f"`checkpoint` {self.path!r} cannot be written ({error.strerror}); pass a path in an existing "
                "folder that you may write to."
            ) from None

    def _temporary(self) -> str:
        return f"{self.path}.{os.getpid()}.tmp"

    def add(self, number: int, result: Result) -> None:
        """Keep one more result, on disk when this returns."""
        self.results[number] = result
        numbers = np.array(sorted(self.results))
        arrays: dict[str, Any] = {
            f"result_{name}": np.stack([self.results[i][name] for i in numbers]) for name in result
        }
        temporary = self._temporary()
        try:
            with open(temporary, "wb") as file:
                np.savez(file, settings=np.array(json.dumps(self.settings)), numbers=numbers, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def _load(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            found = json.loads(str(arrays.pop("settings")))
            numbers = arrays.pop("numbers")
        except (AttributeError, KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile):
            raise ValueError(
                f"`checkpoint` is {self.path!r}, an existing file that is no checkpoint; pass another path."
            ) from None
        for name in sorted({*self.settings, *found}):
            if self.settings.get(name) != found.get(name):
                raise ValueError(
                    f"`checkpoint` {self.path!r} was made with {name} = {found.get(name)}, not "
                    f"{self.settings.get(name)}; pass another path, or remove the file to start afresh."
                )
        for row, number in enumerate(numbers):
            self.results[int(number)] = {
                name.removeprefix("result_"): array[row] for name, array in arrays.items()
            }

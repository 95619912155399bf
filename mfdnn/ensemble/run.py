"""Run independent tasks on any executor, keep what is finished on disk, and resume."""

from __future__ import annotations

import json
import os
import zlib
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
        Defined in a module, so that it can be sent to other processes; returns a dictionary of arrays of
        float64, whose shapes are the same for all tasks.
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
    """Finished tasks in a file, one line of text each: what a kill, a full disk or a cut leaves is read again.

    Every line is a checksum and JSON; the first holds the settings, any other one result, whose numbers are
    written to the last bit. A line is added in one go when its task is finished, whatever the others take. One
    that is incomplete or damaged is left out: its task runs again.

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
        existed = os.path.exists(self.path)
        probe = self.path if existed else self._temporary()
        try:
            with open(probe, "ab"):
                pass
            if not existed:
                os.remove(probe)
        except OSError as error:
            raise ValueError(
                f"`checkpoint` {self.path!r} cannot be written ({error.strerror}); pass a path in an existing "
                "folder that you may write to."
            ) from None

    def add(self, number: int, result: Result) -> None:
        """Keep one more result, on disk when this returns."""
        self.results[number] = result
        # A newline before and none behind: it also ends a line that a kill cut short.
        line = b"\n" + _line(
            {"task": number, "result": {name: array.tolist() for name, array in result.items()}}
        )
        if os.path.exists(self.path):
            _write(self.path, "ab", line)
            return
        temporary = self._temporary()  # so that there never is a file without settings
        try:
            _write(temporary, "wb", _line({"settings": self.settings}) + line)
            os.replace(temporary, self.path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def _temporary(self) -> str:
        return f"{self.path}.{os.getpid()}.tmp"

    def _load(self) -> None:
        with open(self.path, "rb") as file:
            first, *lines = file.read().split(b"\n")
        found = _content(first).get("settings")
        if found is None:
            raise ValueError(
                f"`checkpoint` is {self.path!r}, an existing file that is no checkpoint; pass another path."
            )
        for name in sorted({*self.settings, *found}):
            if self.settings.get(name) != found.get(name):
                raise ValueError(
                    f"`checkpoint` {self.path!r} was made with {name} = {found.get(name)}, not "
                    f"{self.settings.get(name)}; pass another path, or remove the file to start afresh."
                )
        for line in lines:
            content = _content(line)
            if content:
                arrays = {name: np.array(value) for name, value in content["result"].items()}
                self.results[content["task"]] = arrays


def _line(content: dict[str, Any]) -> bytes:
    text = json.dumps(content).encode()
    return b"%08x %s" % (zlib.crc32(text), text)


def _content(line: bytes) -> dict[str, Any]:
    """What `_line` was made of; nothing if that is not certain."""
    checksum, _, text = line.partition(b" ")
    return json.loads(text) if checksum == b"%08x" % zlib.crc32(text) else {}


def _write(path: str, mode: str, content: bytes) -> None:
    with open(path, mode) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())

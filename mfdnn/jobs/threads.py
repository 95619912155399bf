"""Threads that nobody has to wait for."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread, current_thread, main_thread
from time import monotonic
from typing import Any

from .watch import in_task

__all__ = ["Threads", "aside"]

PATIENCE = 1.0  # seconds that threads get to hear that their work is not wanted any more


class Threads(Executor):
    """A pool of threads for a ``with`` block.

    Whoever leaves the block by an error or Ctrl-C waits for none of them longer than a second, nor does the end of
    the process: a LAPACK call cannot be stopped, and threads of `concurrent.futures` are waited for all the same.

    Parameters
    ----------
    n : int, optional
        The most threads there may be. Default: one per core.
    """

    def __init__(self, n: int | None = None):
        self._most = n or os.cpu_count() or 1
        self._work: SimpleQueue = SimpleQueue()
        self._threads: list[Thread] = []

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Compute ``fn(*args, **kwargs)`` in one of the threads."""
        future: Future = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        if len(self._threads) < self._most:
            self._threads.append(Thread(target=_serve, args=(self._work,), daemon=True))
            self._threads[-1].start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; with `wait`, return when all is done."""
        self._end(cancel_futures, None if wait else 0.0)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._end(kind is not None, None if kind is None else PATIENCE)

    def _end(self, cancel: bool, seconds: float | None) -> None:
        """Wait so long for the threads to end; None: as long as it takes."""
        with suppress(Empty):
            while cancel:
                self._work.get_nowait()[0].cancel()
        for _ in self._threads:
            self._work.put(None)
        until = None if seconds is None else monotonic() + seconds
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - monotonic()))


def _serve(work: SimpleQueue) -> None:
    while (item := work.get()) is not None:
        future, call = item
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
        del item, future, call  # before the next one comes: they hold results


def aside(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, for whose end Ctrl-C need not wait.

    What is long in it nothing can stop, such as one call of LAPACK: it goes on in a thread of its own until it looks
    for its end (`stop_if_asked`). Only the main thread hears of Ctrl-C, so that others compute it themselves.
    """
    if current_thread() is not main_thread():
        return function(*args)
    pool, stop = Threads(1), Event()
    future = pool.submit(copy_context().run, in_task(stop)(function), *args)
    try:
        return future.result()
    finally:
        stop.set()
        # A thread that ends at the same time as the process may take it down, where C++ has objects in it.
        pool._end(False, None if future.done() else PATIENCE)

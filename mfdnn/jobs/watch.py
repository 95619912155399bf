"""What a long computation owes its user: a word after ten seconds, and an end."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["LONG", "Stopped", "in_task", "stop_if_asked", "told_if_long"]

LONG = 10.0  # seconds after which a computation says what it is

_here = threading.local()  # `stop`: the event that ends the task this thread computes, None outside tasks


class Stopped(BaseException):
    """The run that a task belongs to is over; nobody waits for its result."""


@contextmanager
def in_task(stop: Any = None) -> Iterator[None]:
    """Compute a task in this thread, until the `threading.Event` `stop` is set.

    What is long inside a task says nothing: its run has a progress bar.
    """
    before = getattr(_here, "stop", None)
    _here.stop = stop or before or threading.Event()
    try:
        yield
    finally:
        _here.stop = before


def stop_if_asked() -> None:
    """Raise `Stopped` in a task whose run is over; loops of long tasks call it.

    Ctrl-C reaches the main thread alone, and no thread can end another.
    """
    stop = getattr(_here, "stop", None)
    if stop is not None and stop.is_set():
        raise Stopped


@contextmanager
def told_if_long(tell: Callable[[], str]) -> Iterator[None]:
    """Warn with ``tell()``, once, when what is inside has taken `LONG` seconds.

    A RuntimeWarning, and none in a task of a run, which has a progress bar.
    """
    if getattr(_here, "stop", None) is not None:
        yield
        return

    telling = [tell]  # taken away below: what it knows must not live and die with the thread of the timer

    def say() -> None:
        if telling:
            warnings.warn_explicit(f"{telling[0]()} (Ctrl-C stops it)", RuntimeWarning, "mfdnn", 0)

    timer = threading.Timer(LONG, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        telling.clear()

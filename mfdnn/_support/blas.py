"""One BLAS thread in every task of an ensemble.

So the bits are the same whoever runs it, and tasks do not fight for the cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_blas_thread"]


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Keep the BLAS and LAPACK of this process to one thread within the block.

    Where several threads of the process ask for it, until the last of them has left.
    Products and eigenvalues differ in their last digits with the number of threads.
    """
    own = [(library, library.get_num_threads()) for library in _libraries() if _is_per_thread(library)]
    _set([(library, 1) for library, _ in own])
    _shared.enter()
    try:
        yield
    finally:
        _shared.leave()
        _set(own)


class _Shared:
    """The limit of the process: the first user sets it, the last takes it back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before: list[tuple[Any, int]] = []

    def enter(self) -> None:
        with self.lock:
            if self.users == 0:
                self.before = [
                    (lib, lib.get_num_threads()) for lib in _libraries() if not _is_per_thread(lib)
                ]
                _set([(library, 1) for library, _ in self.before])
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                _set(self.before)


_shared = _Shared()
if hasattr(os, "register_at_fork"):
    # A child begins with none of the threads that hold the lock or will leave.
    os.register_at_fork(after_in_child=_shared.__init__)  # type: ignore[misc]


@cache
def _libraries() -> list[Any]:
    """What NumPy and SciPy compute with, each of which may bring a BLAS of its own."""
    import scipy.linalg  # noqa: F401  # what is not loaded cannot be limited

    return ThreadpoolController().select(user_api="blas").lib_controllers


def _is_per_thread(library: Any) -> bool:
    return getattr(library, "threading_layer", None) == "openmp"


def _set(limits: list[tuple[Any, int]]) -> None:
    for library, n_threads in limits:
        # threadpoolctl may heed one thread only, the first that ever set a limit, which need not be this one.
        release = getattr(library, "clear_controlling_thread", None)
        if release is not None:
            release(force=True)
        library.set_num_threads(n_threads)
        if release is not None:
            release(force=True)

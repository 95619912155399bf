"""One BLAS thread for every task of an ensemble: the same bits whoever runs it, and no fight for the cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["single_blas_thread"]

_lock = threading.Lock()
_users = 0
_limits: Any = None


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Keep BLAS and LAPACK to one thread while any thread of this process is inside.

    The limit belongs to the process, so the first one in sets it and the last one out restores it. Needs
    threadpoolctl (which scikit-learn installs); does nothing without.
    """
    global _users, _limits
    with _lock:
        _users += 1
        if _users == 1:
            _limits = _limit()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limits is not None:
                _limits.restore_original_limits()


def _limit() -> Any:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return None
    return threadpool_limits(1, user_api="blas")

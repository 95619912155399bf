"""One BLAS thread in every task of an ensemble: the same bits whoever runs it, and no fight for the cores."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits

__all__ = ["single_blas_thread"]


def single_blas_thread() -> AbstractContextManager:
    """Keep the BLAS and LAPACK of this process to one thread; the calling thread enters and leaves.

    Products and eigenvalues differ in their last digits with the number of threads.
    """
    return threadpool_limits(1, user_api="blas")

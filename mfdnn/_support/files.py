"""Matrices of inputs in files: arrays of NumPy, and tables in text.

What is wrong with a file is said in one sentence.
"""

from __future__ import annotations

import numpy as np

from .arrays import StoredArray, stored_array, stored_arrays
from .memory import require_memory
from .tables import COMPRESSED, Layout, read_table

__all__ = ["SUFFIXES", "Layout", "read_matrix"]

TABLES = tuple(suffix + compressed for suffix in (".csv", ".tsv", ".txt") for compressed in ("", *COMPRESSED))
SUFFIXES = (".npy", ".npz", *TABLES)
NAMES = ("X", "x", "inputs", "data")  # of the matrix in an archive of several arrays
LARGEST_INTEGER = 2**53  # up to which float64 has every integer


def read_matrix(path: str, layout: Layout, array: str | None, n_rows: int | None) -> np.ndarray:
    """The (T, M_0) matrix of finite real numbers in a file, in float64.

    `layout` tells how a table is written, `array` which array of an archive is meant; of a table no more than `n_rows`
    rows are read.

    Raises
    ------
    ValueError, TypeError
        Another suffix, not such a file or a damaged one, an archive without a matrix that is known by its name, a table
        that could be read in two ways, not a matrix of finite numbers; `layout` or `array` for a file that has none.
    MemoryError
        More numbers than there is memory for.
    """
    name = path.lower()
    if not name.endswith(SUFFIXES):
        raise ValueError(
            "`inputs` must be a .npy, .npz, .csv, .tsv or .txt file, the last three also .gz, .bz2 or .xz, but "
            f"{path!r} has another suffix; rename or convert it."
        )
    if array is not None and not name.endswith(".npz"):
        raise ValueError(f"`array` names an array of an .npz file, but {path!r} is none; leave it out.")
    if name.endswith(TABLES):
        return read_table(path, layout, n_rows)
    if layout != Layout():
        raise ValueError(
            f"`delimiter`, `decimal`, `encoding`, `header` and `index` describe text, but {path!r} is none; leave them "
            "out."
        )
    write = "numpy.save" if name.endswith(".npy") else "numpy.savez"
    message = f"`inputs` must be a {name[-4:]} file of numbers, but {path!r} is none that is whole; use {write}."
    if name.endswith(".npy"):
        return _matrix(stored_array(path, message), path)
    with stored_arrays(path, message) as stored:
        return _matrix(stored[_chosen(array, list(stored), path)], path)


def _chosen(array: str | None, names: list[str], path: str) -> str:
    """The name of the array that is meant."""
    found = ", ".join(names[:10] + ["..."] * (len(names) > 10)) or "none"
    if array is not None and array not in names:
        raise ValueError(f"`array` must be one of {found} in {path!r}, not {array!r}; pass one of them.")
    known = [array] if array is not None else names if len(names) == 1 else [n for n in NAMES if n in names]
    if len(known) != 1:
        raise ValueError(
            f"`inputs` must be one array, but {path!r} is an archive of {found}; call one of them "
            "X, or pass its name as `array`."
        )
    return known[0]


def _matrix(stored: StoredArray, path: str) -> np.ndarray:
    shape, dtype, n_bytes, _ = stored.header
    if dtype.hasobject:
        raise ValueError(f"`inputs` must be a {path[-4:]} file of numbers, but {path!r} holds objects; convert them.")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        kind = "records" if dtype.names else dtype
        raise TypeError(f"`inputs` must hold real numbers, but {path!r} holds {kind}; convert them to float64.")
    if len(shape) != 2 or 0 in shape:
        raise ValueError(
            f"`inputs` must be a matrix (T inputs, M_0 features), but {path!r} has shape {shape}; reshape each input "
            "to a row."
        )
    n = shape[0] * shape[1]
    copied = 0 if dtype == np.float64 else 8
    require_memory(  # one byte a number for the question whether it is finite
        n_bytes + (copied + 1) * n,
        f"`inputs`, the {shape[0]} x {shape[1]} numbers of {path!r},",
        "write fewer of them to the file",
    )
    found = stored.read()
    if dtype.kind in "iu" and dtype.itemsize == 8 and max(int(found.max()), -int(found.min())) > LARGEST_INTEGER:
        raise ValueError(
            f"`inputs` must be numbers that float64 has, but {path!r} holds integers beyond 2**53; rescale them."
        )
    X = found.astype(np.float64, copy=False)
    finite = np.isfinite(X)
    if not finite.all():
        row, column = np.unravel_index(np.argmin(finite), X.shape)
        raise ValueError(
            f"`inputs` must be finite, but {path!r} holds {n - np.count_nonzero(finite)} nan or infinite values, the "
            f"first in row {row}, column {column} (from 0); remove or replace them."
        )
    return X

"""Matrices of inputs in files: .npy, .npz, .csv.

What is wrong with a file is said in one sentence.
"""

from __future__ import annotations

import os
import zipfile

import numpy as np

__all__ = ["SUFFIXES", "read_matrix"]

SUFFIXES = (".npy", ".npz", ".csv")
NAMES = ("X", "x", "inputs", "data")  # of the matrix in an archive of several arrays


def read_matrix(path: str) -> np.ndarray:
    """The (T, M_0) matrix of finite real numbers in a file.

    Raises
    ------
    ValueError, TypeError
        Another suffix, not such a file, an archive without a matrix that is known by its name, not a matrix of
        finite numbers.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".csv":
        X = _csv(path)
    else:
        X = _numpy(path)
    if not (np.issubdtype(X.dtype, np.floating) or np.issubdtype(X.dtype, np.integer)):
        raise TypeError(f"`inputs` must hold real numbers, but {path!r} holds {X.dtype}; convert them.")
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"`inputs` must be a matrix (T inputs, M_0 features), but {path!r} has shape {X.shape}; reshape "
            "each input to a row."
        )
    bad = ~np.isfinite(X)
    if bad.any():
        raise ValueError(
            f"`inputs` must be finite, but {path!r} holds {bad.sum()} nan or infinite values, the first in row "
            f"{int(np.argmax(bad.any(axis=1)))}; remove or replace them."
        )
    return X


def _numpy(path: str) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
        return found if isinstance(found, np.ndarray) else _member(path, found)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, _NoMatrixError):
            raise
        raise ValueError(
            f"`inputs` must be a {os.path.splitext(path)[1] or '.npy'} file of numbers, but {path!r} is not ({error}); "
            "write one with numpy.save."
        ) from None


class _NoMatrixError(ValueError):
    """An archive that does not say which array is meant."""


def _member(path: str, archive: np.lib.npyio.NpzFile) -> np.ndarray:
    with archive:
        names = archive.files if len(archive.files) == 1 else [n for n in NAMES if n in archive.files]
        if not names:
            raise _NoMatrixError(
                f"`inputs` must be one array, but {path!r} is an archive of {', '.join(archive.files) or 'none'}; call "
                "the inputs X."
            )
        return archive[names[0]]


def _csv(path: str) -> np.ndarray:
    """Numbers separated by commas, one input a line, below a line of names or none."""
    with open(path, encoding="utf-8-sig") as file:
        first, more = file.readline(), any(line.strip() for line in file)
    try:
        [float(cell) for cell in first.split(",")]
        header = 0
    except ValueError:
        header = 1
        if not more:
            raise ValueError(
                f"`inputs` must hold numbers, one input a line, but {path!r} has no line of them; fill it."
            ) from None
    try:
        return np.loadtxt(path, delimiter=",", skiprows=header, ndmin=2, encoding="utf-8-sig")
    except ValueError as error:
        raise ValueError(
            f"`inputs` must be a .csv file of numbers, one input a line, but {path!r} is not ({error}); leave out "
            "other columns."
        ) from None

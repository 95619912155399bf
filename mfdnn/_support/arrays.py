"""Arrays in .npy and .npz files: memory is predicted and checksums are read.

NumPy's format without its pickles. What a header declares is compared with the file before anything is allocated, and
a member of an archive is read to its end, where zip compares its checksum.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import IO, NamedTuple

import numpy as np

from .memory import require_memory

__all__ = ["Header", "StoredArray", "damaged", "stored_array", "stored_arrays"]

SMALL = 2**20  # bytes that there always are
LONGEST_HEADER = 2**16  # of arrays without fields: as much as the format's first version allows


class Header(NamedTuple):
    """What an array in a file declares itself to be."""

    shape: tuple[int, ...]
    dtype: np.dtype
    n_bytes: int  # of the numbers
    offset: int  # of the first of them


@contextmanager
def damaged(message: str) -> Iterator[None]:
    """A ValueError that says `message`, for whatever a parser raises within."""
    try:
        yield
    except MemoryError:
        raise
    # zlib.error, BadZipFile, struct.error, EOFError, RecursionError, NotImplementedError, SyntaxError, KeyError, ...
    except Exception:
        raise ValueError(message) from None


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, read when it is asked for.

    Files that are damaged or no such files raise a ValueError that says `message`.
    """

    open: Callable[[], IO[bytes]]
    size: int  # of all that `open` gives, in bytes
    message: str

    @cached_property
    def header(self) -> Header:
        with damaged(self.message), self.open() as stream:
            return _header(stream.read(LONGEST_HEADER))

    def read(self) -> np.ndarray:
        header = self.header
        if header.dtype.hasobject or header.offset + header.n_bytes != self.size:
            raise ValueError(self.message)
        if header.n_bytes > SMALL:
            require_memory(header.n_bytes, f"an array of shape {header.shape}", "store fewer numbers in the file")
        with damaged(self.message), warnings.catch_warnings(), self.open() as stream:
            warnings.simplefilter("ignore")
            array = np.lib.format.read_array(stream, allow_pickle=False)
            if stream.read(1):  # at the end of a member zip compares its checksum
                raise ValueError
        return array


def stored_array(path: str, message: str) -> StoredArray:
    """The array of an .npy file."""
    return StoredArray(lambda: open(path, "rb"), os.path.getsize(path), message)


@contextmanager
def stored_arrays(path: str, message: str) -> Iterator[dict[str, StoredArray]]:
    """The arrays of an .npz file, by name."""
    with open(path, "rb") as file:
        with damaged(message):
            archive = zipfile.ZipFile(file)
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if len(members) < len(archive.infolist()):
                raise ValueError  # two arrays of one name
        yield {
            name: StoredArray(partial(archive.open, member), member.file_size, message)
            for name, member in members.items()
        }


def _header(head: bytes) -> Header:
    """What the first bytes of an array's file declare."""
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    # A third version differs in the names of fields, which matrices have not.
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files of Python 2 are read too
            shape, _, dtype = read(stream)
    except MemoryError:
        raise ValueError from None  # brackets within brackets: the parser's memory, not the machine's
    if min(shape, default=1) < 0 or dtype.itemsize == 0:
        raise ValueError
    return Header(shape, dtype, prod(shape) * dtype.itemsize, stream.tell())

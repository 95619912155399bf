"""What is finished, in a file that survives a kill, other writers and damage."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np

from .._version import __version__

__all__ = ["Checkpoint", "Result"]

Result = dict[str, np.ndarray]

_BEGINNING = re.compile(rb'[0-9a-f]{8} \{"(?:settings|task)": ')


class Checkpoint:
    """Finished tasks in a file, one line of text each.

    What a kill, a full disk, a cut, a changed byte or a second writer leaves is read again. Every line is a checksum
    and JSON. One holds the settings, for messages; any other a result, whose numbers are written to the last bit, under
    a checksum that takes in the settings: it tells by itself which run it belongs to. Lines are added in one go when
    their tasks are finished, whatever the others take. One that is incomplete, damaged or of another form is left out:
    its task runs again. Several runs may add to one file at the same time.

    Iterating yields the tasks (their numbers, or what else JSON can hold) and results, one line of the file at a time.

    Parameters
    ----------
    path : str or path
    settings : dict of str to str
        What determines the results, as `describe_network` tells it; the version of the package is added. A file made
        with other settings is refused.

    Raises
    ------
    ValueError
        `path` exists and is no checkpoint, or one made with other settings or by another version.
    """

    def __init__(self, path: str | os.PathLike, settings: dict[str, str]):
        self.path = os.fspath(path)
        self.settings = {"mfdnn": __version__, **settings}
        self._key = zlib.crc32(json.dumps(self.settings, sort_keys=True).encode())
        self._told = False  # whether the settings are in the file
        if os.path.exists(self.path):
            self._check_settings()

    def __iter__(self) -> Iterator[tuple[Any, Result]]:
        """Yield (task, name to array) of what is undamaged, in the file's order."""
        if not os.path.exists(self.path):
            return
        with open(self.path, "rb") as file:
            for line in _lines(file):
                if (found := _numbered(_content(line, self._key))) is not None:
                    yield found

    def check_writable(self) -> None:
        """Raise a ValueError where `path` cannot be written.

        Now, rather than lose the first result.
        """
        folder, name = os.path.split(self.path)
        try:
            if os.path.exists(self.path):
                with open(self.path, "ab"):
                    pass
            else:
                # A name of its own, as long as the other.
                with tempfile.NamedTemporaryFile(prefix=name[8:], dir=folder or os.curdir):
                    pass
        except OSError as error:
            raise ValueError(
                f"`checkpoint` {self.path!r} cannot be written ({error.strerror}); pass a path in an existing "
                "folder that you may write to."
            ) from None

    def add(self, results: Sequence[tuple[Any, Result]]) -> None:
        """Keep more (task, result), on disk when this returns.

        Parameters
        ----------
        results : sequence of (task, dict of str to ndarray)
            A task is told by what JSON can hold: a number, a string, or a list of them.

        Raises
        ------
        OSError
            The disk is full, for example; what was kept before still is.
        """
        if not results:
            return
        # A newline before and none behind: it also ends a line that a kill cut short.
        lines = b"".join(
            b"\n" + _line({"task": task, "result": {name: array.tolist() for name, array in result.items()}}, self._key)
            for task, result in results
        )
        try:
            with open(self.path, "ab") as file:
                with _alone(file):
                    if file.tell() == 0:
                        lines = self._head() + lines
                    elif not self._told:
                        lines = b"\n" + self._head() + lines
                    file.write(lines)
                    file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(
                f"`checkpoint` {self.path!r} cannot take more results ({error.strerror}); make room, and start again: "
                "what it took before is there."
            ) from None
        self._told = True

    def _head(self) -> bytes:
        return _line({"settings": self.settings})

    def _check_settings(self) -> None:
        found: dict[str, Any] | None = None
        try:
            with open(self.path, "rb") as file:
                for line in _lines(file):
                    told = _content(line).get("settings")
                    self._told = self._told or told == self.settings
                    if self._told or _numbered(_content(line, self._key)) is not None:
                        return  # it is ours, whatever else is in it
                    found = found or (told if isinstance(told, dict) else None)
                file.seek(0)
                begun = self._head().startswith(file.read(len(self._head()) + 1))
        except OSError as error:
            raise ValueError(
                f"`checkpoint` {self.path!r} cannot be read ({error.strerror}); pass another path."
            ) from None
        if begun:  # it was cut short before the first result
            return
        if found is None:
            raise ValueError(
                f"`checkpoint` is {self.path!r}, an existing file that is no checkpoint; pass another path."
            )
        if (version := found.get("mfdnn", "0.1")) != __version__:
            raise ValueError(
                f"`checkpoint` {self.path!r} was made by version {version} of mfdnn, whose results may be others than "
                f"those of {__version__}; finish it with that version, pass another path, or remove the file to start "
                "afresh."
            )
        for name in sorted({*self.settings, *found}):
            if self.settings.get(name) != found.get(name):
                raise ValueError(
                    f"`checkpoint` {self.path!r} was made with {name} = {found.get(name)}, not "
                    f"{self.settings.get(name)}; pass another path, or remove the file to start afresh."
                )


def _line(content: dict[str, Any], key: int = 0) -> bytes:
    text = json.dumps(content).encode()
    return b"%08x %s" % (zlib.crc32(text, key), text)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """What `_line` may have made, whatever an editor or a changed byte put between."""
    for line in file:
        beginnings = [found.start() for found in _BEGINNING.finditer(line)]
        for start, end in pairwise([*beginnings, len(line)]):
            yield line[start : line.rfind(b"}", start, end) + 1]


def _content(line: bytes, key: int = 0) -> dict[str, Any]:
    """What `_line` was made of; nothing if that is not certain."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text, key):
        return {}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the checksum is right, but nothing of ours
        return {}


def _numbered(content: dict[str, Any]) -> tuple[Any, Result] | None:
    """(task, result) of a line, None if it is another."""
    if "task" not in content or not isinstance(content.get("result"), dict):
        return None
    try:
        result = {name: np.array(value) for name, value in content["result"].items()}
    except ValueError:  # lists of different lengths
        return None
    return None if any(array.dtype == object for array in result.values()) else (content["task"], result)


@contextmanager
def _alone(file: BinaryIO) -> Iterator[None]:
    """Keep other writers waiting, where the system can.

    Where it cannot, what is appended at once stays together on most disks, and damage is told elsewhere.
    """
    with suppress(ImportError, OSError):
        _lock(file, True)
    try:
        yield
    finally:  # not left to the end of the file: a process that was forked may hold it open
        with suppress(ImportError, OSError):
            _lock(file, False)


def _lock(file: BinaryIO, hold: bool) -> None:
    if sys.platform == "win32":
        import msvcrt

        file.seek(_FAR)  # appending goes to the end all the same
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if hold else msvcrt.LK_UNLCK, 1)
    else:
        from fcntl import LOCK_EX, LOCK_UN, flock

        flock(file, LOCK_EX if hold else LOCK_UN)


_FAR = 2**30  # a byte that nobody reads: Windows keeps others from what is locked

"""What is finished, in a file that survives a kill."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["Checkpoint", "Result"]

Result = dict[str, np.ndarray]


class Checkpoint:
    """Finished tasks in a file, one line of text each.

    What a kill, a full disk or a cut leaves is read again. Every line is a checksum and JSON; the first holds the
    settings, any other one result, whose numbers are written to the last bit. Lines are added in one go when their
    tasks are finished, whatever the others take. One that is incomplete or damaged is left out: its task runs again.
    Iterating yields the tasks (their numbers, or what else JSON can hold) and results, one line of the file at a time.

    Parameters
    ----------
    path : str or path
    settings : dict of str to str
        What determines the results, as `describe_network` tells it. A file made with other settings is refused.

    Raises
    ------
    ValueError
        `path` exists and is no checkpoint, or one made with other settings.
    """

    def __init__(self, path: str | os.PathLike, settings: dict[str, str]):
        self.path = os.fspath(path)
        self.settings = settings
        if os.path.exists(self.path):
            self._check_settings()

    def __iter__(self) -> Iterator[tuple[Any, Result]]:
        """Yield (task, name to array) of what is undamaged, in the file's order."""
        if not os.path.exists(self.path):
            return
        with open(self.path, "rb") as file:
            for line in file:
                content = _content(line.rstrip(b"\n"))
                if "task" in content:
                    yield (
                        content["task"],
                        {name: np.array(value) for name, value in content["result"].items()},
                    )

    def check_writable(self) -> None:
        """Raise a ValueError where `path` cannot be written.

        Now, rather than lose the first result.
        """
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
            b"\n" + _line({"task": task, "result": {name: array.tolist() for name, array in result.items()}})
            for task, result in results
        )
        temporary = self._temporary()  # so that there never is a file without settings
        try:
            if os.path.exists(self.path):
                _write(self.path, "ab", lines)
            else:
                _write(temporary, "wb", _line({"settings": self.settings}) + lines)
                os.replace(temporary, self.path)
        except OSError as error:
            raise OSError(
                f"`checkpoint` {self.path!r} cannot take more results ({error.strerror}); make room, and start again: "
                "what it took before is there."
            ) from None
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def _temporary(self) -> str:
        return f"{self.path}.{os.getpid()}.tmp"

    def _check_settings(self) -> None:
        try:
            with open(self.path, "rb") as file:
                found = _content(file.readline().rstrip(b"\n")).get("settings")
        except OSError as error:
            raise ValueError(
                f"`checkpoint` {self.path!r} cannot be read ({error.strerror}); pass another path."
            ) from None
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

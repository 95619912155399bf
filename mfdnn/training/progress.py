"""Where a training run is, in a file that survives a kill."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from time import monotonic
from typing import Any

import numpy as np

from .._version import __version__

__all__ = ["Batches", "Progress"]

SECONDS = 30.0  # between two savings
_FORMAT = "mfdnn training"


class Batches:
    """Rows of each step, for ever; knows where it is.

    Parameters
    ----------
    n_samples, size : int
        T, and samples of a step.
    rng
        Anything `numpy.random.default_rng` takes.
    """

    def __init__(self, n_samples: int, size: int, rng: Any):
        self.n_samples, self.size = n_samples, size
        self._generator = np.random.default_rng(rng)
        self._order, self._start = np.empty(0, dtype=int), n_samples

    def following(self) -> Any:
        """Rows of the next step: an index of arrays."""
        if self.size == self.n_samples:
            return slice(None)  # no copy
        if self._start >= self.n_samples:
            self._order, self._start = self._generator.permutation(self.n_samples), 0
        rows = self._order[self._start : self._start + self.size]
        self._start += self.size
        return rows

    @property
    def place(self) -> dict[str, Any]:
        """Where it is, as plain Python."""
        stream = self._generator.bit_generator.state
        return {"order": self._order.tolist(), "start": self._start, "stream": json.dumps(stream, default=_listed)}

    def go_to(self, place: dict[str, Any]) -> None:
        """Continue from a `place`."""
        self._order, self._start = np.array(place["order"], dtype=int), int(place["start"])
        self._generator.bit_generator.state = json.loads(place["stream"])


def _listed(value: Any) -> Any:
    """What JSON does not know: arrays and numbers of NumPy."""
    return value.tolist()


class Progress:
    """Arrays and plain numbers of a run, kept in one file (npz, no pickle).

    A kill leaves the last whole one.

    Parameters
    ----------
    path : str or path
    settings : dict of str to str
        What determines the run but its length; a file made with others is refused.
    """

    def __init__(self, path: str | os.PathLike, settings: dict[str, str]):
        self.path = os.fspath(path)
        self.settings = {"mfdnn": __version__, **settings}
        self._saved = monotonic()

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Numbers and arrays that were kept; None where there is no file yet.

        Raises
        ------
        ValueError
            Another file, a damaged one, or one of another run.
        """
        if not os.path.exists(self.path):
            self._check_writable()
            return None
        try:
            with open(self.path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            numbers = json.loads(str(arrays.pop("numbers")))
            if numbers["format"] != _FORMAT:
                raise KeyError("format")
        except (OSError, ValueError, KeyError, AttributeError, EOFError, TypeError, zipfile.BadZipFile):
            raise ValueError(
                f"`checkpoint` is {self.path!r}, an existing file that is no checkpoint of training; pass another path."
            ) from None
        found = numbers["settings"]
        for name in sorted({*self.settings, *found}):
            if self.settings.get(name) != found.get(name):
                raise ValueError(
                    f"`checkpoint` {self.path!r} was made with {name} = {found.get(name)}, not "
                    f"{self.settings.get(name)}; pass another path, or remove the file to start afresh."
                )
        return numbers, arrays

    @property
    def due(self) -> bool:
        """Whether the last saving is long ago."""
        return monotonic() - self._saved >= SECONDS

    def save(self, numbers: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Put these in place of what is there, in one go.

        Raises
        ------
        OSError
            The disk is full, for example; what was kept before still is.
        """
        text = json.dumps({"format": _FORMAT, "settings": self.settings, **numbers})
        folder = os.path.dirname(self.path) or os.curdir
        handle, beside = tempfile.mkstemp(prefix=f"{os.path.basename(self.path)}.", suffix=".part", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, numbers=np.array(text), **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
        except BaseException:
            os.unlink(beside)
            raise
        self._saved = monotonic()

    def _check_writable(self) -> None:
        """Now, rather than lose the first hour."""
        try:
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(self.path) or os.curdir):
                pass
        except OSError as error:
            raise ValueError(
                f"`checkpoint` {self.path!r} cannot be written ({error.strerror}); pass a path in an existing "
                "folder that you may write to."
            ) from None

"""What results have in common: a short repr, a dictionary; grids: files, xarray."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from threading import get_ident
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

import numpy as np

from .arrays import Header, damaged, stored_arrays
from .memory import require_memory
from .validation import file_path

__all__ = ["GridResult", "Result", "import_xarray", "jsonable", "replacing", "unwrap"]

_METADATA = "mfdnn_metadata"

Grid = TypeVar("Grid", bound="GridResult")


class Result:
    """Base of the frozen result dataclasses.

    Subclasses are written ``@dataclass(frozen=True, repr=False, eq=False)``: a generated ``==`` would compare
    arrays and fail.
    Fields whose name starts with an underscore are private: neither shown nor exported.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(_item(k, v) for k, v in _public(self).items())})"

    def to_dict(self) -> dict[str, Any]:
        """Every public field as plain Python, ready for `json`.

        Numbers, strings, (nested) lists and dictionaries: arrays become nested lists, results dictionaries. Infinite
        values stay floats, which Python's `json` writes as ``Infinity``. An activation or another callable is given by
        its label.
        """
        return {name: jsonable(value) for name, value in _public(self).items()}


class GridResult(Result):
    """A result on a grid: arrays over one-dimensional axes, with files and xarray.

    A subclass names the fields that are its axes in `AXES`, in the order of the dimensions; its other arrays have the
    shape ``tuple(len(axis) for axis in AXES)``, or one of their own.
    """

    AXES: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shape = " x ".join(f"{np.size(getattr(self, axis))} {axis}" for axis in self.AXES)
        rest = {k: v for k, v in _public(self).items() if not isinstance(v, np.ndarray)}
        return f"{type(self).__name__}({', '.join([shape, *(_item(k, v) for k, v in rest.items())])})"

    def save(self, path: str | os.PathLike) -> None:
        """Write to `path`, exactly that name, as npz without pickle.

        Arrays are stored as they are, other public fields as JSON. An older file is replaced once the new one is whole.
        """
        arrays: dict[str, Any] = {k: v for k, v in _public(self).items() if isinstance(v, np.ndarray)}
        rest = {k: jsonable(v) for k, v in _public(self).items() if k not in arrays}
        metadata = {"class": type(self).__name__, "fields": rest, "arrays": {k: _kind(v) for k, v in arrays.items()}}
        arrays[_METADATA] = np.array(json.dumps(metadata))
        with replacing(file_path("path", path)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls: type[Grid], path: str | os.PathLike) -> Grid:
        """Read what `save` wrote; callables come back as their labels, lists as tuples.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such file; it is damaged, another kind of file, or holds another kind of result.
        MemoryError
            More arrays than there is memory for.
        """
        path = file_path("path", path)
        if not os.path.exists(path):
            raise FileNotFoundError(f"`path` must be a file, but there is no {path!r}; pass one that was saved.")
        message = f"`path` must be a file written by {cls.__name__}.save, and whole, got {path!r}; pass one."
        with stored_arrays(path, message) as stored:
            with damaged(message):
                metadata = json.loads(str(stored.pop(_METADATA).read()))
                kind, rest = str(metadata["class"]), dict(metadata["fields"])
            if kind != cls.__name__ and kind.isidentifier():
                raise ValueError(f"`path` holds a {kind}, not a {cls.__name__}; load it with {kind}.load.")
            with damaged(message):
                headers = {name: array.header for name, array in stored.items()}
                if kind != cls.__name__ or not cls._holds(headers, rest, metadata.get("arrays")):
                    raise ValueError
            require_memory(
                sum(array.header.n_bytes for array in stored.values()), f"the arrays of {path!r}", "free some memory"
            )
            arrays = {name: array.read() for name, array in stored.items()}
        return cls(**arrays, **{k: tuple(v) if isinstance(v, list) else v for k, v in rest.items()})

    @classmethod
    def _holds(cls, arrays: dict[str, Header], rest: dict[str, Any], kinds: dict[str, Any] | None) -> bool:
        """Whether these are all the public fields, each of its type.

        `kinds` says the types and shapes of the arrays as they were written; files of version 0.1 do not have it.
        """
        types = get_type_hints(cls)
        return (
            sorted([*arrays, *rest]) == sorted(_names(cls))
            and all(_fits(value, types[name]) for name, value in rest.items())
            and all({np.ndarray, Any} & {types[name], *get_args(types[name])} for name in arrays)
            and all(0 not in header.shape and header.dtype.kind in "iufbU" for header in arrays.values())
            and all(len(arrays[axis].shape) == 1 and arrays[axis].dtype.kind in "iuf" for axis in cls.AXES)
            and kinds in (None, {name: _kind(header) for name, header in arrays.items()})
        )

    def to_xarray(self) -> Any:
        """The grid as an `xarray.Dataset`; fields that are no arrays become attributes.

        Raises
        ------
        ImportError
            xarray is not installed.
        """
        xarray = import_xarray()
        public = _public(self)
        shape = tuple(np.size(public[axis]) for axis in self.AXES)
        return xarray.Dataset(
            {k: (self.AXES, v) for k, v in public.items() if k not in self.AXES and np.shape(v) == shape},
            coords={axis: public[axis] for axis in self.AXES},
            attrs={k: jsonable(v) for k, v in public.items() if not isinstance(v, np.ndarray | None)},
        )


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """The path to write to instead of `path`, whose place the file takes once whole.

    So a full disk spoils no older file.
    """
    root, suffix = os.path.splitext(os.path.realpath(path))
    temporary = f"{root}.{os.getpid()}-{get_ident()}{suffix}"
    try:
        yield temporary
        os.replace(temporary, root + suffix)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def import_xarray() -> Any:
    """The module, or an ImportError that says what to install."""
    try:
        import xarray
    except ImportError:
        raise ImportError(
            "`to_xarray` needs xarray, which is not installed; run `pip install xarray`."
        ) from None
    return xarray


def jsonable(value: Any) -> Any:
    """Plain Python for a field of a result."""
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    label = getattr(value, "label", None) or getattr(value, "__name__", None)
    return str(label) if label else repr(value)


def unwrap(value: Any) -> Any:
    """Scalars in, scalars out."""
    return np.asarray(value).item() if np.ndim(value) == 0 else np.asarray(value)


def _kind(array: np.ndarray | Header) -> list[Any]:
    """Type and shape of an array, as json has them."""
    return [array.dtype.str, list(array.shape)]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from json may stand in a field with that annotation."""
    allowed = get_args(hint) or (hint,)
    if Any in allowed:
        return True
    value = tuple(value) if isinstance(value, list) else value
    return isinstance(value, (*allowed, int) if float in allowed else allowed)


def _public(result: Any) -> dict[str, Any]:
    return {name: getattr(result, name) for name in _names(result)}


def _names(result: Any) -> list[str]:
    """Of the public fields of a result or its class."""
    return [f.name for f in fields(result) if not f.name.startswith("_")]


def _item(name: str, value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{name}: {value.shape}"
    if isinstance(value, Result):
        return f"{name}={type(value).__name__}(...)"
    if isinstance(value, tuple | list) and len(value) > 3:
        return f"{name}: {len(value)} entries"
    value = jsonable(value)
    return f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!r}"

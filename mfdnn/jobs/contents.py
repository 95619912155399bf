"""What an object holds, in words that are the same in every process.

The settings of a checkpoint are made of them.
"""

from __future__ import annotations

import functools
import hashlib
import types
import uuid
from collections.abc import Mapping, Set
from typing import Any

import numpy as np

__all__ = ["contents", "contents_digest"]

_PROCESS = uuid.uuid4().hex  # what cannot be described is the same within one process only
_PLAIN = (type(None), type(Ellipsis), bool, int, float, complex, str, bytes, np.generic, np.dtype)


def contents_digest(*values: Any) -> str:
    """Sixteen hexadecimal digits of `contents`."""
    return hashlib.sha256(contents(*values).encode()).hexdigest()[:16]


def contents(*values: Any) -> str:
    """All that objects hold, in words.

    Numbers to the last bit, arrays by a digest, containers and objects by what is inside. Functions by their code
    (which differs between versions of Python), defaults, closure and the numbers, strings and arrays among the
    global names they use; what another process cannot find again, such as a lock, by this process and its address.
    """
    return repr([_told(value, ()) for value in values])


def _told(value: Any, inside: tuple[int, ...]) -> Any:
    """`value` as nested lists of strings; `inside` are those it is found in."""
    if isinstance(value, _PLAIN):
        return f"{type(value).__name__} {value!r}"
    if id(value) in inside:
        return f"the one {inside[::-1].index(id(value))} levels up"
    inside += (id(value),)
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | np.ufunc):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
    if hasattr(value, "_contents"):
        return _told(value._contents(), inside)
    if isinstance(getattr(value, "py_func", None), types.FunctionType):  # compiled by Numba
        return ["compiled", _told(value.py_func, inside)]
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array {value.shape} {value.dtype} {digest}"
    if isinstance(value, np.ndarray):
        return ["array", str(value.shape), *(_told(item, inside) for item in value.ravel())]
    if isinstance(value, Mapping):
        pairs = [[_told(key, inside), _told(item, inside)] for key, item in value.items()]
        return [type(value).__name__, *pairs]
    if isinstance(value, Set):
        return [type(value).__name__, *sorted(repr(_told(item, inside)) for item in value)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(_told(item, inside) for item in value)]
    if isinstance(value, types.FunctionType):
        return _function(value, inside)
    if isinstance(value, types.MethodType):
        return ["method", _told(value.__func__, inside), _told(value.__self__, inside)]
    if isinstance(value, functools.partial):
        return ["partial", *(_told(part, inside) for part in (value.func, value.args, value.keywords))]
    if isinstance(value, types.CodeType):
        constants = [_told(constant, inside) for constant in value.co_consts]
        return ["code", value.co_code.hex(), repr(value.co_names), constants]
    try:
        # What pickle would write. Its first part makes the object anew, the others fill it.
        reduced = value.__reduce_ex__(2)
    except Exception:  # a lock, a generator, an open file: whatever says that it cannot be written
        return f"{type(value).__qualname__} {_PROCESS} {id(value)}"
    if isinstance(reduced, str):
        return reduced
    return [type(value).__qualname__, *(_told(_listed(part), inside) for part in reduced)]


def _listed(part: Any) -> Any:
    return list(part) if isinstance(part, types.GeneratorType) or hasattr(part, "__next__") else part


def _function(function: types.FunctionType, inside: tuple[int, ...]) -> list:
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(_told(cell.cell_contents, inside))
        except ValueError:  # not filled yet
            cells.append("empty")
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    used = {name: function.__globals__[name] for name in sorted(names & function.__globals__.keys())}
    data = {name: item for name, item in used.items() if isinstance(item, (*_PLAIN, np.ndarray, list, tuple))}
    parts = (function.__code__, function.__defaults__, function.__kwdefaults__, data)
    return ["function", *(_told(part, inside) for part in parts), *cells]


def _codes(code: types.CodeType) -> list[types.CodeType]:
    """The code and that of the functions inside it."""
    within = [_codes(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return [code, *(found for codes in within for found in codes)]

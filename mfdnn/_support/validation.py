"""Checks at the public boundary.

Every message names the argument, what was expected, what came and what to do.
"""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Set
from math import prod
from typing import Any

import numpy as np

__all__ = [
    "PARAMETERS",
    "boolean",
    "checked",
    "did_you_mean",
    "file_path",
    "finite_array",
    "finite_number",
    "folder_path",
    "input_array",
    "input_matrix",
    "listed",
    "nonnegative_array",
    "one_of",
    "positive_integer",
    "positive_number",
    "random_source",
    "real_array",
    "refuse_both",
    "repetitions",
    "sample_count",
    "short",
    "text",
    "variance",
]

MOST = 10**8  # repetitions: more would end after weeks, or never
MOST_LAYERS = 10**6  # of a map that is iterated


def finite_array(name: str, value: Any, meaning: str = "a real number or an array of them") -> np.ndarray:
    """Return `value` as a float64 array of finite numbers."""
    array = real_array(name, value, meaning)
    if not np.all(np.isfinite(array)):
        bad = int(np.size(array) - np.isfinite(array).sum())
        raise ValueError(
            f"`{name}` must be finite, got {bad} nan or infinite value{'s' if bad > 1 else ''}; remove them."
        )
    return array


def real_array(name: str, value: Any, meaning: str = "a real number or an array of them") -> np.ndarray:
    """Return `value` as a float64 array of real numbers, nan and inf among them.

    No strings, truth values, dates, masked or complex numbers.
    """
    try:
        if np.ma.is_masked(value):
            raise TypeError("some are masked")
        array = _real(np.asarray(value))
    except OverflowError:
        raise ValueError(f"`{name}` must be at most 1.8e308, got {short(value)}; pass smaller numbers.") from None
    except Exception as error:  # an object may raise anything when it is asked for its numbers
        why = str(error).strip(" .") or type(error).__name__
        raise TypeError(f"`{name}` must be {meaning}, got {short(value)} ({why:.200}); pass numbers.") from None
    return array


def _real(array: np.ndarray) -> np.ndarray:
    """The numbers of an array as float64."""
    if array.dtype == object:  # integers of any size, fractions, decimals
        for item in array.flat:
            if item is None or isinstance(item, str | bytes | bool | np.bool_):
                raise TypeError(f"{type(item).__name__} is no real number")
    elif array.dtype.kind not in "iuf":
        raise TypeError(f"{array.dtype} is no type of real numbers")
    return array.astype(np.float64)


def nonnegative_array(name: str, value: Any) -> np.ndarray:
    """Return `value` as a float64 array of finite numbers >= 0 (variances)."""
    array = finite_array(name, value)
    if np.any(array < 0):
        raise ValueError(
            f"`{name}` is a variance and must be >= 0, got {array.min():g}; pass the variance itself."
        )
    return array


def finite_number(name: str, value: Any) -> float:
    array = finite_array(name, value, "a real number")
    if array.ndim:
        raise TypeError(
            f"`{name}` must be a single number, got an array of shape {array.shape}; pass one value."
        )
    return float(array)


def variance(name: str, value: Any) -> float:
    number = finite_number(name, value)
    nonnegative_array(name, number)
    return number


def positive_number(name: str, value: Any) -> float:
    number = finite_number(name, value)
    if number <= 0:
        raise ValueError(f"`{name}` must be > 0, got {number:g}; pass a positive number.")
    return number


def positive_integer(name: str, value: Any, minimum: int = 1, maximum: int = 2**62 - 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        if isinstance(value, float | np.floating) and float(value).is_integer():
            number = int(value)
        else:
            raise TypeError(f"`{name}` must be an integer, got {short(value)}; pass a whole number.") from None
    if isinstance(value, bool) or number < minimum:
        raise ValueError(
            f"`{name}` must be an integer >= {minimum}, got {short(value)}; pass a larger whole number."
        )
    if number > maximum:
        most = "2**62 - 1" if maximum == 2**62 - 1 else str(maximum)
        raise ValueError(f"`{name}` must be at most {most}, got {short(value)}; pass a smaller whole number.")
    return number


def repetitions(name: str, value: Any) -> int:
    """How often something is done, one after the other."""
    return positive_integer(name, value, maximum=MOST)


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be a string, got {short(value)}; pass words.")
    return value


def listed(name: str, value: Any, example: str) -> list:
    """The items of what has an order: no text, no set, no dictionary."""
    try:
        if isinstance(value, str | bytes | Set | Mapping):
            raise TypeError
        return list(value)
    except TypeError:
        raise TypeError(f"`{name}` must be a sequence, got {short(value)}; pass {example}.") from None


def boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError(f"`{name}` must be True or False, got {short(value)}; pass one of them.")


def random_source(name: str, value: Any) -> Any:
    """Return `value`, if `numpy.random.default_rng` takes it.

    Seeds are whole numbers >= 0. Of anything else NumPy's own words are obscure, and a matrix ends the process.
    """
    known = np.random.SeedSequence, np.random.BitGenerator, np.random.Generator, np.random.RandomState
    if value is None or isinstance(value, known):
        return value
    seeds = np.asarray(value, dtype=object) if isinstance(value, int | np.integer | list | tuple | range) else value
    if type(seeds) is np.ndarray and seeds.ndim <= 1 and all(map(_is_seed, seeds.ravel().tolist())):
        return value
    raise TypeError(
        f"`{name}` must be a whole number >= 0, a list of them, a numpy.random.Generator or None, got {short(value)}; "
        "pass a seed such as 0."
    )


def _is_seed(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)


def file_path(name: str, value: Any) -> str:
    """Return the path of a file, which there may be or not."""
    path = _path(name, value)
    if os.path.isdir(path):
        raise ValueError(f"`{name}` must be a file, but {short(path)} is a folder; add the name of a file.")
    return path


def folder_path(name: str, value: Any) -> str:
    """Return the path of a folder, which there may be or not."""
    path = _path(name, value)
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError(f"`{name}` must be a folder, but {short(path)} is a file; pass another path.")
    return path


def _path(name: str, value: Any) -> str:
    # Neither an open file's number, which `open` takes, nor bytes.
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"`{name}` must be a path, got {short(value)}; pass a string or a pathlib.Path.")
    if not path or "\0" in path:
        raise ValueError(f"`{name}` must be a path, got {path!r}; pass the name of one.")
    return path


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    known = list(known)
    if isinstance(value, str) and value in known:
        return value
    raise ValueError(
        f"`{name}` must be one of {', '.join(known)}; got {short(value)}{did_you_mean(value, known)}."
    )


def input_matrix(name: str, value: Any, width: int | None = None) -> np.ndarray:
    """Return inputs as a float64 matrix of shape (T, M_0)."""
    array = finite_array(name, value, "a (T, M_0) matrix of inputs")
    if array.ndim != 2 or min(array.shape) == 0:
        raise ValueError(
            f"`{name}` must be a matrix (T inputs, M_0 features), got shape {array.shape}; reshape each input to a row."
        )
    if width is not None and array.shape[1] != width:
        raise ValueError(
            f"`{name}` has {array.shape[1]} features but the network takes {width}; build the network with "
            f"{array.shape[1]} inputs or pass other data."
        )
    return array


def input_array(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return inputs as a float64 array (T, *shape).

    They come so, or as rows (T, prod(shape)) in C order.
    """
    width = prod(shape)
    if len(shape) == 1:
        return input_matrix(name, value, width)
    array = finite_array(name, value, "an array of inputs")
    if array.size == 0 or array.shape[1:] not in (shape, (width,)):
        whole = "".join(f", {size}" for size in shape)
        last = array.shape[1:] == (*shape[1:], shape[0])
        advice = f"channels come first: pass np.moveaxis({name}, -1, 1)" if last else "reshape it or pass other data"
        raise ValueError(
            f"`{name}` must have shape (T{whole}), or (T, {width}) in C order, as the network takes inputs of "
            f"{'x'.join(map(str, shape))}, got shape {array.shape}; {advice}."
        )
    return array.reshape(-1, *shape)


def refuse_both(name: str, value: Any, **others: Any) -> None:
    """Refuse `others` where `value`, which determines them, is given (not None)."""
    given = [f"`{other}`" for other, v in others.items() if v is not None]
    if value is not None and given:
        them = "it" if len(given) == 1 else "them"
        raise ValueError(f"`{name}` excludes {' and '.join(given)}, which it determines; drop {them}.")


def sample_count(n_samples: Any, inputs: Any, default: int = 1000) -> int:
    """T: the rows of `inputs`, or without them `n_samples`, or `default` for None.

    Where there are inputs, `n_samples` may repeat their number.
    """
    given = None if n_samples is None else positive_integer("n_samples", n_samples)
    if inputs is None:
        return given or default
    if given not in (None, len(inputs)):
        raise ValueError(f"`n_samples` is {given} but `inputs` has {len(inputs)} rows; drop `n_samples`.")
    return len(inputs)


def did_you_mean(value: Any, known: list[str]) -> str:
    """The end of a sentence that names near ones of the known names, if there are."""
    if not isinstance(value, str):
        return ""
    lower = {name.lower(): name for name in known}
    near = [lower[name] for name in difflib.get_close_matches(value.lower(), lower, n=3, cutoff=0.5)]
    return f"; did you mean {' or '.join(near)}" if near else ""


def short(value: Any) -> str:
    """What `value` is, in sixty characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # of an object that cannot say, or of an integer too long to be written
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else check(name, value)


# Parameters that mean the same in every public function, and their checks.
PARAMETERS: dict[str, Callable[[str, Any], Any]] = {
    # switches
    **dict.fromkeys(
        (
            *("affine", "bias", "colorbar", "drawn", "eigenvalues", "fast", "geometry", "labels", "nesterov"),
            *("jacobian", "progress", "return_error", "standardise"),
        ),
        boolean,
    ),
    # how often something is repeated
    **dict.fromkeys(("n_draws", "n_networks", "n_steps", "n_trials"), repetitions),
    "depth": lambda name, value: positive_integer(name, value, minimum=0, maximum=MOST_LAYERS),
    # words of a picture
    **dict.fromkeys(("label", "note"), _optional(text)),
    **dict.fromkeys(("band_label", "measured_label", "zone"), text),
    # where something is kept
    "checkpoint": _optional(file_path),
    "path": file_path,
    # where random numbers come from
    "rng": random_source,
}


def checked(**arguments: Any) -> Any:
    """The arguments, converted, in their order; alone, not in a tuple, if one.

    Raises
    ------
    TypeError, ValueError
        The sentence of the check in `PARAMETERS` of the first that its parameter does not take.
    """
    found = tuple(PARAMETERS[name](name, value) for name, value in arguments.items())
    return found if len(found) > 1 else found[0]

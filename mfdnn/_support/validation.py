"""Checks at the public boundary.

Every message names the argument, what was expected, what came and what to do.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

__all__ = [
    "finite_array",
    "finite_number",
    "input_array",
    "input_matrix",
    "nonnegative_array",
    "one_of",
    "positive_integer",
    "refuse_both",
    "sample_count",
    "variance",
]


def finite_array(name: str, value: Any, meaning: str = "a real number or an array of them") -> np.ndarray:
    """Return `value` as a float64 array of finite numbers."""
    try:
        array = np.asarray(value)
        if np.ma.is_masked(value) or array.dtype.kind in "cSU":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be {meaning}, got {_short(value)}; pass numbers.") from None
    if not np.all(np.isfinite(array)):
        bad = int(np.size(array) - np.isfinite(array).sum())
        raise ValueError(
            f"`{name}` must be finite, got {bad} nan or infinite value{'s' if bad > 1 else ''}; remove them."
        )
    return array


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


def positive_integer(name: str, value: Any, minimum: int = 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        if isinstance(value, float | np.floating) and float(value).is_integer():
            number = int(value)
        else:
            raise TypeError(
                f"`{name}` must be an integer, got {_short(value)}; pass a whole number."
            ) from None
    if isinstance(value, bool) or number < minimum:
        raise ValueError(
            f"`{name}` must be an integer >= {minimum}, got {value!r}; pass a larger whole number."
        )
    if number >= 2**62:  # beyond what arrays count with
        size = number.bit_length() - 1
        raise ValueError(f"`{name}` must be below 2**62, got 2**{size} or more; pass a smaller whole number.")
    return number


def boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"`{name}` must be True or False, got {_short(value)}; pass one of them.")


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    known = list(known)
    if isinstance(value, str) and value in known:
        return value
    raise ValueError(
        f"`{name}` must be one of {', '.join(known)}; got {value!r}{_did_you_mean(value, known)}."
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
        raise ValueError(
            f"`{name}` must have shape (T{whole}), or (T, {width}) in C order, as the network takes inputs of "
            f"{'x'.join(map(str, shape))}, got shape {array.shape}; reshape it or pass other data."
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


def _did_you_mean(value: Any, known: list[str]) -> str:
    lower = {name.lower(): name for name in known}
    near = [lower[name] for name in difflib.get_close_matches(str(value).lower(), lower, n=3, cutoff=0.5)]
    return f"; did you mean {' or '.join(near)}" if near else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

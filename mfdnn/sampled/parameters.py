"""The parameters of a network: arrays layer by layer, or one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.validation import finite_array, one_of
from ..network import Network

__all__ = ["Parameters", "checked_parameters", "dtype_of", "flatten", "float_dtype", "unflatten"]

DTYPES = ("float32", "float64")

Parameters = list[tuple[np.ndarray | None, ...]]  # of every layer that has some; None for an absent bias


def dtype_of(groups: Parameters) -> np.dtype:
    """float32 or float64."""
    return next(a.dtype for group in groups for a in group if a is not None)


def flatten(groups: Sequence[Sequence[np.ndarray | None]]) -> np.ndarray:
    """One vector (P,): array after array row by row, layer by layer."""
    return np.concatenate([np.ravel(a) for group in groups for a in group if a is not None])


def unflatten(vector: Any, like: Parameters, name: str = "vector") -> Parameters:
    """Arrays shaped as `like` of a vector (P,): views where the dtype allows."""
    vector = as_dtype(name, vector, dtype_of(like))
    sizes = [a.size for group in like for a in group if a is not None]
    if vector.shape != (sum(sizes),):
        raise ValueError(
            f"`{name}` must have shape ({sum(sizes)},), got {vector.shape}; pass one entry for "
            "every parameter, in the order of `flatten`."
        )
    parts = iter(np.split(vector, np.cumsum(sizes)[:-1]))
    return [tuple(None if a is None else next(parts).reshape(a.shape) for a in group) for group in like]


def as_dtype(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """An array of that dtype; numbers of another are checked to be finite."""
    known = type(value) is np.ndarray and value.dtype == dtype
    return value if known else finite_array(name, value).astype(dtype)


def float_dtype(dtype: Any) -> np.dtype:
    """The dtype of a name or type, one of `DTYPES`."""
    try:
        name = np.dtype(dtype).name if dtype is None or isinstance(dtype, str | type | np.dtype) else dtype
    except (TypeError, ValueError):
        name = dtype
    return np.dtype(one_of("dtype", name, DTYPES))


def checked_parameters(
    name: str, groups: Any, network: Network, dtype: np.dtype | None = None
) -> Parameters:
    """Parameters that fit the network, as arrays of one float dtype."""
    shapes = [layer.parameter_shapes(shape) for layer, shape in network.parameter_layers]
    try:
        found = [tuple(None if a is None else np.asarray(a) for a in group) for group in groups]
        fits = [tuple(None if a is None else a.shape for a in group) for group in found] == shapes
    except (TypeError, ValueError, RuntimeError):  # no pairs, rows of different lengths, no array
        fits = False
    if not fits:
        raise ValueError(
            f"`{name}` must be (weight, bias) pairs of shapes {shapes} in layer order (None: no bias); pass "
            "one pair for every weight layer."
        )
    arrays = [a for group in found for a in group if a is not None]
    for a in arrays:
        finite_array(name, a)
    if dtype is None:
        dtype = np.dtype(np.float32 if all(a.dtype == np.float32 for a in arrays) else np.float64)
    return [tuple(None if a is None else a.astype(dtype, copy=False) for a in group) for group in found]

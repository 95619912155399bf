"""Random numbers of many networks, one stream each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Streams", "streams"]

_AT_ONCE = 1000  # seeds made only to be counted


class Streams(Sequence):
    """The seeds that ``sequence.spawn(n)`` returns, each made when needed.

    So a million of them take no memory.
    """

    def __init__(self, sequence: Any, n: int):
        self._first, self._n = sequence.spawn(1)[0], n
        for start in range(1, n, _AT_ONCE):
            sequence.spawn(min(_AT_ONCE, n - start))

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._n:
            raise IndexError(index)
        *key, start = self._first.spawn_key
        return np.random.SeedSequence(
            self._first.entropy, spawn_key=(*key, start + index), pool_size=self._first.pool_size
        )


def streams(rng: Any, n: int) -> Streams:
    """One seed for each of n networks, split off what `default_rng` takes.

    Parameters
    ----------
    rng : int, numpy.random.Generator, numpy.random.SeedSequence, ... , optional
        Anything `numpy.random.default_rng` takes and that can be split. A generator moves on: the next call gives
        other seeds.
    n : int

    Returns
    -------
    Streams
        A sequence of n `numpy.random.SeedSequence`, those of ``default_rng(rng).spawn(n)``.

    Raises
    ------
    TypeError
        An `rng` that cannot be split, such as a RandomState.
    """
    try:
        sequence: Any = np.random.default_rng(rng).bit_generator.seed_seq
        return Streams(sequence, n)
    except (AttributeError, TypeError):  # a RandomState cannot be split, and NumPy 1 does not take it at all
        raise TypeError(
            f"`rng` must be something that can be split into one stream per network, got {type(rng).__name__}; "
            "pass an integer, or numpy.random.default_rng of one."
        ) from None

"""Runs of the recursion with sampled units: their mean, and standard errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from .._support.blas import single_blas_thread
from .._support.memory import require_memory
from .._support.results import unwrap
from ..jobs.run import n_cores
from ..jobs.watch import told_if_long
from ..layers import Pairs, State, Tangents
from ..layers.units import PAIR, REPLICATES, REPRESENTATIVES, Sampler
from ..network import Network

__all__ = ["Runs", "averaged", "jackknife", "one_by_one", "sampled_runs", "standard_errors", "without"]

Runs = tuple[tuple[State, State], ...]  # in front of a normalisation of the outputs, and at the outputs
Found = TypeVar("Found")


def sampled_runs(
    once: Callable[[Sampler], tuple[State, State]], seed: int, net: Network, n_units: int | None, c0: Any = None
) -> Runs:
    """Eight independent runs of a recursion that samples units, or one that does not.

    Parameters
    ----------
    once : callable
        The recursion, given its draws.
    seed : int
    net : Network
    n_units : int or None
    c0 : float, array_like or None
        Correlation of exchangeable inputs.

    Returns
    -------
    tuple of pairs of State
        The same for any number of threads.
    """
    coupled, noise = net.couples_samples, max(layer.unit_noise(shape) for layer, shape in net.walk())
    many = c0 is None or np.min(c0) * (REPRESENTATIVES - 1) >= -1  # or so many samples do not exist
    representatives = REPRESENTATIVES if many else PAIR
    first = Sampler((seed, 0), coupled, n_units, noise, representatives)

    def what() -> str:
        return f"{'sampling units' if first.n_draws else 'the recursion over the layers'} takes long"

    with single_blas_thread(), told_if_long(what):
        found = once(first)
        if not first.n_draws:
            return (found,)
        require_memory(
            8.0 * REPLICATES * sum(map(_size, {id(state): state for state in found}.values())),
            f"{REPLICATES} runs of the recursion with sampled units",
            "take fewer inputs, or none (exchangeable ones need no matrix over all pairs)",
        )
        samplers = [Sampler((seed, run), coupled, n_units, noise, representatives) for run in range(1, REPLICATES)]
        with ThreadPoolExecutor(min(n_cores(), len(samplers))) as threads:
            return (found, *threads.map(once, samplers))


def _size(state: State) -> int:
    """How many floats a state holds."""
    of_records = [pairs for record in state.records for pairs in (record.seen, record.left) if pairs is not None]
    return sum(block.size for pairs in (state.moments, *state.tangents.parts, *of_records) for block in pairs.blocks)


def averaged(runs: Runs) -> tuple[State, State]:
    """The mean of some runs: of all moments and kernels."""
    if len(runs) == 1:
        return runs[0]
    before, after = (_mean([run[i] for run in runs]) for i in (0, 1))
    return (after, after) if runs[0][0] is runs[0][1] else (before, after)


def without(runs: Runs) -> list[Runs]:
    """Those runs but one, for each of them."""
    return [runs[:i] + runs[i + 1 :] for i in range(len(runs))]


def jackknife(values: Sequence[Any]) -> Any:
    """Standard error of a function of runs, from its values without one each."""
    found = np.asarray(values, dtype=float)
    n = len(found)
    return np.sqrt((n - 1) / n * np.sum((found - found.mean(axis=0)) ** 2, axis=0))


def standard_errors(without_one: Iterable[Any], names: Sequence[str]) -> dict[str, Any]:
    """Of fields of a result, from what it is without one of the runs each."""
    found = list(without_one)
    return {name: unwrap(jackknife([getattr(one, name) for one in found])) for name in names}


def _mean(states: Sequence[State]) -> State:
    first = states[0]
    return _combined(states, lambda arrays: sum(arrays[1:], start=arrays[0]) / len(arrays), first.tangents.names)


def one_by_one(states: Sequence[State], shape: tuple[int, ...]) -> State:
    """Signals that were run one by one, as one of that leading shape."""

    def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(arrays).reshape(*shape, *arrays[0].shape)

    def stacked_groups(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(arrays, axis=1).reshape(len(arrays[0]), *shape, *arrays[0].shape[1:])

    return _combined(states, stacked, states[0].tangents.names, stacked_groups)


def _combined(
    states: Sequence[State],
    function: Callable[[Sequence[np.ndarray]], np.ndarray],
    names: tuple[tuple, ...],
    of_groups: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None,
) -> State:
    """`function` of the arrays of all states, in the place of each."""
    first = states[0]

    def of_pairs(pairs: Sequence[Any], function: Any = function) -> Pairs:
        return pairs[0].entrywise(lambda *blocks: function(blocks), *pairs[1:])

    def of_some(values: Sequence[Any], apply: Callable[[Sequence[Any]], Any]) -> Any:
        return None if values[0] is None else apply(values)

    records = []
    for at in zip(*(state.records for state in states), strict=True):
        seen, left = (of_some([getattr(record, name) for record in at], of_pairs) for name in ("seen", "left"))
        variance = of_some([record.variance for record in at], function)
        records.append(replace(at[0], seen=seen, left=left, variance=variance))
    parts = [
        of_pairs(at, of_groups or function) for at in zip(*(state.tangents.parts for state in states), strict=True)
    ]
    return first.replace(
        moments=of_pairs([state.moments for state in states]),
        mean=function([state.mean for state in states]),
        tangents=Tangents(first.tangents.keep, names, parts),
        records=tuple(records),
        faint=np.any([state.faint for state in states], axis=0),
        sampler=None,
        origin=None,
    )

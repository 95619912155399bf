"""What finite widths add to the mean of the tangent kernel, from sampled units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..layers.recorded import Recorded, Recording, Sample, Stream
from ..network import Network
from .influence import Influences

__all__ = ["SHIFTED_FIELD", "mean_shift"]

SHIFTED_FIELD = 64  # (input, site): walks take longer than all else beyond
# Of a stream. Its part of the shift is known to 1/sqrt of them, times twice itself or so, and up to one part in as many
# is off: all units are in mirrored pairs, those of a group are not.
FEWEST_GROUPS, GROUPS = 8, 16


def mean_shift(
    net: Network, start: Callable[[Recording], Recorded], form: np.ndarray, n_units: int, seed: list[int]
) -> float:
    r"""By what fraction sum(form * Theta) is higher on average at these widths.

    To first order in 1/width. Two things do it. A form of means over M units is bent: where :math:`m` units of S stand
    for all in one place, with the same random numbers everywhere, it changes by
    :math:`c\,(1/m - 1/S)` on average over groups of m, and a network has c/M; places add. And the weights of a layer
    make values and tangents of a unit from what is below, so that in a network they have the covariance that values and
    tangents have in M units, of the order :math:`M^{-1/2}` and 0 on average. Both are in the groups: that is what a
    random direction of forward differentiation does, whose mean square is the tangent kernel.

    Parameters
    ----------
    net : Network
    start : callable
        From a `Recording` to the signal of the inputs.
    form : ndarray, shape (T, T)
        Symmetric.
    n_units : int
        S.
    seed : list of int

    Returns
    -------
    float
        One draw of it.

    Notes
    -----
    Checked against the shift of the closed law for tanh, and on networks: gates, layer norm, residual blocks.
    """

    def walk(sample: Sample) -> tuple[float, list[Stream]]:
        signal = start(Recording(np.random.default_rng(seed), n_units, sample=sample))
        for layer in net.layers:
            signal = layer.recorded(signal)
        return float(np.sum(form * Influences(signal).kernel.value)), signal.recording.streams

    whole, streams = walk(Sample(frozenset(), slice(0, 0)))
    places: dict[int, list[Stream]] = {}
    for stream in streams[:-1]:  # nothing reads the outputs
        places.setdefault(stream.root.number, []).append(stream)
    found = 0.0
    for place in places.values():
        width = place[0].root.width
        n_groups = int(np.clip(n_units // width, FEWEST_GROUPS, GROUPS))
        size = n_units // n_groups
        numbers = frozenset(stream.number for stream in place)
        changed = [walk(Sample(numbers, slice(i * size, (i + 1) * size)))[0] / whole - 1 for i in range(n_groups)]
        found += float(np.mean(changed)) / width / (1 / size - 1 / n_units)
    return found

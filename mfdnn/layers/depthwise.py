"""A convolution that reads one channel a group: its weights act on single units."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..gaussian.unit_draws import normals
from .state import State
from .tangents import Tangents, WeightRecord
from .units import Integrated, Own, Source, units_of

__all__ = ["depthwise"]


def depthwise(conv: Any, state: State) -> State:
    r"""The state behind a depthwise convolution.

    :math:`u(p) = \sum_\beta w_\beta\, h(i_\beta(p)) + b` for every unit.
    A unit has taps of its own and reads a single other one, so that no central limit makes it Gaussian: taps, bias and
    the unit that they read are drawn together. The next layer that mixes channels sees means over units.

    Parameters
    ----------
    conv : Conv
        With one channel a group.
    state : State
        What enters.
    """
    units, windows = units_of(state, conv), conv.windows(state.shape)
    drawn, drawn_taps = windows, np.arange(windows.taps)
    if conv.weights == "delta_orthogonal":  # the others start at zero
        drawn, centre = windows.centre(), tuple((k - 1) // 2 for k in windows.kernel)
        drawn_taps = np.array([np.ravel_multi_index(centre, windows.kernel)])
    n_units, n_samples, _ = units.values.shape

    def patches(x: np.ndarray) -> np.ndarray:
        """What the taps read, (S, T, taps, m)."""
        return windows.patches(x.reshape(n_units * n_samples, 1, *units.sites)).reshape(
            n_units, n_samples, windows.taps, -1
        )

    k, shared = drawn.taps, conv.channels // conv.groups  # units that read the same channel
    n_entries = max(k, shared) if conv.weights in ("orthogonal", "delta_orthogonal") else k
    numbers = normals(n_units, n_entries + 1, units.sampler.next_rng())
    offsets = numbers[:, -1]
    if conv.weights == "uniform":
        from scipy.special import ndtr

        numbers = np.sqrt(12) * (ndtr(numbers) - 0.5)
        offsets = numbers[:, -1]
    entries = numbers[:, :-1]
    if conv.weights in ("orthogonal", "delta_orthogonal"):  # rows of orthogonal matrices
        entries = entries * np.sqrt(n_entries) / np.linalg.norm(entries, axis=1, keepdims=True)
    entries = np.sqrt(conv.sigma_w2 / k) * entries[:, :k]
    taps = np.zeros((n_units, windows.taps))
    taps[:, drawn_taps] = entries

    def through(x: np.ndarray) -> np.ndarray:
        return np.einsum("sk,stkm->stm", taps, patches(x), optimize=True)

    read = patches(units.values)
    values = through(units.values) + (np.sqrt(conv.sigma_b2) * offsets)[:, None, None]
    shape, keep, layer = conv.output_shape(state.shape), units.keep, len(state.records)
    moments = units.moments
    seen = moments.over_windows(drawn)
    left = conv.sigma_w2 * seen + conv.sigma_b2

    own = [read[:, :, k] for k in range(windows.taps)]
    bias = [np.ones_like(values)] if conv.bias else []
    groups: list[tuple[tuple, list[np.ndarray]]] = []
    units_w, units_b = np.sqrt(conv.sigma_w2 / windows.taps), np.sqrt(conv.sigma_b2)
    ntk = [units_w * x for x in own] + [units_b * x for x in bias]
    if not keep.only:
        groups += [(("weights",), own), (("biases",), bias), (("ntk",), ntk)]
    elif keep.only != "none":
        groups.append((("only",), ntk if keep.only == "ntk" else own + bias))
    if keep.shares:
        groups.append((("layer", layer), own + bias))
    sources: list[Source] = [Own(Tangents(keep), name, tuple(fields)) for name, fields in groups if fields]
    units = units.mapped(values, through, couples=False).replace(sites=shape[1:])
    if keep.errors:
        kernels = [(("errors", layer), left.same_sites())]
        kernels.append((("features", layer), conv.sigma_w2 * moments.same_sites().over_windows(drawn)))
        sources.append(Integrated.of(Tangents(keep).add(*kernels), values.shape))
    units = units.replace(sources=(*units.sources, *sources))
    record = WeightRecord(
        seen if keep.signal else None,
        left if keep.signal else None,
        conv.fan_in(state.shape),
        shape[0],
        conv.sigma_w2,
        conv.bias,
        left.variance if keep.signal else None,
        shape[1:],
    )
    return state.replace(
        units=units, shape=shape, gaussian=False, origin=None, records=(*state.records, record)
    )

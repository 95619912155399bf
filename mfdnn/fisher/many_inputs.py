"""What statistics need of the kernels of many inputs, summed tile by tile.

Half of one kernel is held at a time, and no order parameters of all pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.results import jsonable
from ..kernels.many_inputs import BYTES, HalfKernel
from ..kernels.on_data import Tile, computed, tile_places, tiles
from ..kernels.parts import PARTS
from ..layers import Given, Keep, Pairs, State, Sums, Tangents
from ..mean_field import MeanField
from ..mean_field.moments import OrderParameters, at_sites, check_finite
from ..mean_field.tiles import tile_outputs
from ..network import Network

__all__ = ["OrderParametersOfMany", "largest_of_layer", "order_parameters_of_many"]

SIGNAL, ERRORS = "the variance of the signal", "the squared error sent back"
FIELDS = {"q": SIGNAL, "q_hat": SIGNAL, "q_tilde": ERRORS}
OF_PAIRS = tuple(f"{name}_st" for name in FIELDS)
ALL_WEIGHTS, EVERYTHING = PARTS[:1], PARTS[:3]


def order_parameters_of_many(wide: MeanField) -> OrderParametersOfMany:
    """Averages of the order parameters and sums over kernels, by one pass over tiles.

    Parameters
    ----------
    wide : MeanField
        With `many` given inputs.

    Raises
    ------
    OutOfRange
        The signal or the errors are infinite somewhere.
    MemoryError
        Half of a kernel does not fit.
    """
    net, inputs, n = wide.network, wide.inputs, wide.n_samples
    assert inputs is not None
    depth = net.n_weight_layers
    names: list[tuple] = [*[(field, l) for field in OF_PAIRS for l in range(depth)], ALL_WEIGHTS, EVERYTHING]
    names += [(("layer", l),) for l in range(depth)]
    advice = "take fewer, or `mfdnn.kernel_spectrum` with `subsets` of them"
    require_memory(BYTES * n**2, f"the Fisher statistics of {n} inputs", advice)
    own = np.empty((len(names), n))
    at: list[np.ndarray] = []
    sums: dict[tuple[int, int], np.ndarray] = {}
    of_all: list[Tile] = []
    compute = partial(_tile, net=net, inputs=inputs, names=names)
    for rows, columns, found in computed(compute, tile_places(net, n), None):
        of_all.append(Tile(rows, columns, found["kernel"]))
        # A pair of two tiles stands for its mirror image too.
        sums[rows.start, columns.start] = found["sums"] * (1 if rows == columns else 2)
        if rows == columns:
            own[:, rows] = found["own"]
            variances = [found[f"variance {l}"] for l in range(depth)]
            at = at or [np.empty((n, *of.shape[1:])) for of in variances]
            for whole, of in zip(at, variances, strict=True):
                whole[rows] = of
    with np.errstate(over="ignore", invalid="ignore"):
        # In one order, whatever the tiles came in.
        total, square = np.sum([sums[place] for place in sorted(sums)], axis=0)
    off = (total - own.sum(axis=1)) / (n * (n - 1))
    alone = {field: own[i * depth : (i + 1) * depth] for i, field in enumerate(FIELDS)}
    pairs = {f"{field}_st": off[i * depth : (i + 1) * depth] for i, field in enumerate(FIELDS)}
    for field, what in FIELDS.items():
        check_finite(alone[field], pairs[f"{field}_st"], what)
    half = HalfKernel(n, of_all)
    everything = names.index(EVERYTHING)
    largest = float(half.largest()[0]) if np.isfinite(square[everything]) else np.inf
    two = partial(_two_largest, net, inputs)
    kernels = {
        name: Summed(own[i], total[i], square[i], *((largest, two) if i == everything else ()))
        for i, name in enumerate(names[3 * depth :], 3 * depth)
    }
    few = tile_outputs(net, inputs[:1], None, Keep())
    return OrderParametersOfMany(few, alone, pairs, at, kernels, net)


def _tile(part: tuple[slice, slice], net: Network, inputs: np.ndarray, names: list[tuple]) -> dict[str, np.ndarray]:
    """The kernel of all parameters in a tile, and sums of everything there."""
    rows, columns = part
    same = rows == columns
    state = tile_outputs(net, inputs[rows], None if same else inputs[columns], Keep())
    matrices = [_of_state(state, name) for name in names]
    with np.errstate(over="ignore", invalid="ignore"):
        found = {
            "kernel": matrices[names.index(EVERYTHING)],
            "sums": np.array([[m.sum() for m in matrices], [np.vdot(m, m) for m in matrices]]),
        }
    if same:
        found["own"] = np.array([np.diagonal(m) for m in matrices])
        for l, record in enumerate(state.records):
            assert record.variance is not None  # they are kept
            found[f"variance {l}"] = record.variance
    return found


def _of_state(state: State, name: tuple) -> np.ndarray:
    """A field of a layer or a sum of kernels, at pairs of inputs: means over sites."""
    pairs: Pairs | None
    if name[0] == "q_st":
        pairs = state.records[name[1]].left
    elif name[0] == "q_hat_st":
        pairs = state.records[name[1]].seen
    elif name[0] == "q_tilde_st":
        pairs = state.tangents[("errors", name[1])].site_mean()
    else:
        pairs = state.tangents.total(*name)
    assert pairs is not None
    return pairs.at_two


def _two_largest(net: Network, inputs: np.ndarray) -> np.ndarray:
    """Of the kernel of all parameters; iterations for the second are many."""
    keep = Keep(shares=False, errors=False, signal=False, only="standard")
    return HalfKernel(len(inputs), tiles(net, inputs, None, keep)).largest(2)


def largest_of_layer(net: Network, inputs: np.ndarray, layer: int) -> float:
    """Largest eigenvalue of a weight layer's own kernel, by a pass over tiles."""
    compute = partial(_tile_of_layer, net=net, inputs=inputs, layer=layer)
    found = computed(compute, tile_places(net, len(inputs)), None)
    half = HalfKernel(len(inputs), (Tile(rows, columns, of["kernel"]) for rows, columns, of in found))
    return float(half.largest()[0])


def _tile_of_layer(
    part: tuple[slice, slice], net: Network, inputs: np.ndarray, layer: int
) -> dict[str, np.ndarray]:
    rows, columns = part
    keep = Keep(shares=True, errors=False, signal=False, only="none")
    state = tile_outputs(net, inputs[rows], None if rows == columns else inputs[columns], keep)
    return {"kernel": state.tangents[("layer", layer)].at_two}


class Summed(Given):
    """A kernel of many inputs, of which sums alone are known.

    Parameters
    ----------
    own : ndarray, shape (T,)
        Its diagonal.
    total, square : float
        Sums of its entries, and of their squares.
    largest : float, optional
        Its largest eigenvalue, where that is known.
    two : callable, optional
        Computes the two largest ones.
    """

    def __init__(
        self,
        own: np.ndarray,
        total: float,
        square: float,
        largest: float | None = None,
        two: Callable[[], np.ndarray] | None = None,
    ):
        self.own, self.total, self.square, self.largest, self.two = own, total, square, largest, two
        self.n_samples = len(own)

    def __repr__(self) -> str:
        return f"Summed({self.n_samples})"

    def __getattr__(self, name: str) -> Any:
        return _not_held(self, name, ("matrix",), self.__dict__.get("n_samples"))

    @property
    def at_one(self) -> np.ndarray:
        return self.own

    def averages(self) -> tuple[Any, Any]:
        n = self.n_samples
        return self.own.mean(), (self.total - self.own.sum()) / (n * (n - 1))

    def sums(self, leading: bool = False) -> Sums:
        n = self.n_samples
        top = self.total / n if leading or self.largest is None else self.largest
        return Sums(*self.averages(), self.square / n**2, top / n)

    def two_largest(self) -> tuple[Any, Any]:
        """The two largest eigenvalues, over T, by another pass over tiles."""
        if self.two is None:
            return super().two_largest()
        first, second = self.two() / self.n_samples
        return first, second


class _SummedTangents(Tangents):
    """The sums over groups that statistics ask for."""

    def __init__(self, kernels: dict[tuple, Summed]):
        super().__init__(Keep())
        self.kernels = kernels

    def total(self, *names: tuple) -> Pairs | None:
        return self.kernels[names]


class OrderParametersOfMany(OrderParameters):
    """Order parameters of many given inputs, of which pairs are averaged alone.

    ``q_st``, ``q_hat_st``, ``q_tilde_st`` and ``c`` of all pairs are not held (`mfdnn.order_parameters` computes them,
    if they fit): ``averaged("q_st")`` is there.
    """

    def __init__(
        self,
        last: State,
        alone: dict[str, np.ndarray],
        pairs: dict[str, np.ndarray],
        variances: list[np.ndarray],
        kernels: dict[tuple, Summed],
        net: Network,
    ):
        records = last.records
        set_field = partial(object.__setattr__, self)  # the class is frozen
        for record, variance in zip(records, variances, strict=True):
            record.variance = variance
        known: dict[str, Any] = {
            **alone,
            "fan_in": np.array([record.fan_in for record in records]),
            "fan_out": np.array([record.fan_out for record in records]),
            "bias": np.array([record.bias for record in records]),
            "q_sites": tuple(at_sites(record) for record in records),
            "_given": True,
            "_products": not any(record.sites for record in records),
            "_tangents": _SummedTangents(kernels),
            "_outputs": None,
            "_averages": pairs,
        }
        for name, value in known.items():
            set_field(name, value)

    def __repr__(self) -> str:
        return f"OrderParametersOfMany({len(self.q)} weight layers, q: {self.q.shape}, pairs averaged)"

    def __getattr__(self, name: str) -> Any:
        q = self.__dict__.get("q")
        return _not_held(self, name, OF_PAIRS, None if q is None else q.shape[1])

    def averaged(self, name: str) -> np.ndarray:
        """Mean over given inputs, or over pairs of different ones: shape (L,).

        Parameters
        ----------
        name : str
            Of a field.
        """
        return self._averages[name] if name in OF_PAIRS else super().averaged(name)


    def to_dict(self) -> dict[str, Any]:
        """What is held as plain Python; fields of pairs are averages, shape (L,)."""
        held = (*FIELDS, "fan_in", "fan_out", "bias", "q_sites", "chi")
        return {name: jsonable(getattr(self, name)) for name in held} | jsonable(self._averages)


def _not_held(of: Any, name: str, pairs: tuple[str, ...], n: Any) -> Any:
    if name not in pairs:
        raise AttributeError(f"{type(of).__name__!r} object has no attribute {name!r}")
    raise MemoryError(
        f"`{name}` of all pairs of {n} inputs is not held: statistics of so many are summed tile by tile; take fewer "
        "inputs, or `mfdnn.order_parameters`, `mfdnn.nngp` or `mfdnn.ntk`, which say what they need."
    )

"""What enters a network: data checked, memory predicted, the first state."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from .._support.memory import require_memory
from .._support.validation import finite_array, input_array, nonnegative_array
from ..datasets import lowest_correlation
from ..layers import Exchangeable, Keep, Layer, State, Tangents
from ..layers.pairs import ALL, OFFSETS, SAME, SitePairs
from ..layers.state import given_moments
from ..layers.units import Sampler, Units
from ..network import Network

__all__ = [
    "advice",
    "bytes_of_recursion",
    "check_correlation",
    "check_network",
    "checked_inputs",
    "entering",
    "given_state",
    "matrices_over_inputs",
    "mean_square_and_correlation",
    "n_relabelling",
    "require_recursion_memory",
]


LARGE = 100.0  # a mean square above it is of inputs that nobody has scaled
LARGEST = 1e150  # squares of larger ones overflow, or their sums
STANDARDISE = "standardise them: take away the mean of every feature, and divide by its deviation"


def checked_inputs(name: str, inputs: Any, net: Network) -> np.ndarray:
    """Given inputs of a network, (T, *input_shape)."""
    found = input_array(name, inputs, net.input_shape)
    if (largest := max(found.max(), -found.min())) > LARGEST:
        raise OutOfRange(f"`{name}` reach {largest:.3g}, whose square is infinite", STANDARDISE)
    return found


def advice(inputs: np.ndarray | None, q0: Any = None) -> str:
    """What to change where a number is out of the range of floats or of tables."""
    size = float(np.square(inputs).mean() if inputs is not None else np.max(q0))
    if size <= LARGE:
        return "lower `sigma_w2` or the depth"
    if inputs is not None:
        return f"the mean square of the `inputs` is {size:.3g}; {STANDARDISE}"
    return f"lower `q0`, the mean square of the inputs, from {size:.3g}"


def check_correlation(c0: Any, n_samples: int) -> None:
    """Raise a ValueError for correlations that no `n_samples` inputs can have."""
    lowest = finite_array("c0", c0).min(initial=1.0)
    if lowest < lowest_correlation(n_samples):
        raise ValueError(
            f"`c0` must be at least -1/(T - 1) = {-1 / (n_samples - 1):.4g}, got {lowest:g}, which "
            f"no {n_samples} inputs can have among them; take fewer samples or a larger `c0`."
        )


def check_network(net: Any) -> None:
    """Raise for what is no network, and for outputs of which there is no theory."""
    if not isinstance(net, Network):
        raise TypeError(f"`net` must be a Network, got {type(net).__name__}; build one with mlp or Network.")
    last = net.layers[-1]
    while last.children:
        last = last.children[-1]
    if last.activation is not None:
        raise NoTheory(
            f"`net` must have linear outputs for now, but it ends in {last!r}; end it with a `Dense` layer."
        )
    weights, shape = net.weight_layers[-1]
    if (channels := weights.output_shape(shape)[0]) < net.n_outputs:
        raise NoTheory(
            f"`net` has {net.n_outputs} outputs at the sites of {channels} channels, which share weights, while theory "
            "is of outputs that do not; end it with a `Dense` layer, or with a mean over sites."
        )


def mean_square_and_correlation(q0: Any, c0: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean square and correlation of exchangeable inputs, of one shape."""
    variance, correlation = nonnegative_array("q0", q0), finite_array("c0", c0)
    if 0 in (variance.size, correlation.size):
        raise ValueError("`q0` and `c0` must be numbers or arrays of them, got an empty one; pass one number or more.")
    if np.any(np.abs(correlation) > 1):
        worst = correlation.ravel()[np.argmax(np.abs(correlation))]
        raise ValueError(
            f"`c0` is a correlation and must lie in [-1, 1], got {worst:g}; divide the covariance by `q0`."
        )
    try:
        variance, correlation = np.broadcast_arrays(variance, correlation)
    except ValueError:
        raise ValueError(
            f"`q0` and `c0` must broadcast, got shapes {variance.shape} and {correlation.shape}; reshape one."
        ) from None
    return variance, correlation


def n_relabelling(net: Network) -> int:
    """How many layers at its inputs give them another shape alone, as `Flatten` does."""
    return next(i for i, layer in enumerate(net.layers) if not layer.relabels)


def _shape_behind(net: Network, n: int) -> tuple[int, ...]:
    """The shape behind n layers."""
    shape = net.input_shape
    for layer in net.layers[:n]:
        shape = layer.output_shape(shape)
    return shape


def entering(
    net: Network,
    n_samples: int | None,
    q0: Any,
    c0: Any,
    inputs: np.ndarray | None,
    keep: Keep,
    sampler: Sampler | None = None,
    sites: SitePairs | None = None,
) -> State:
    """The state that enters the first layer that does more than relabel the inputs.

    With a `sampler` layers may draw units. `sites`: which pairs of sites, by default the fewest that laws need.
    """
    if inputs is not None:
        return given_state(net, inputs, None, keep, sampler, sites)
    shape = _shape_behind(net, n_relabelling(net))
    n_sites, sites = prod(shape[1:]), pairs_of_sites(net, given=False) if sites is None else sites
    most = max(n_sites, *(prod(layer.output_shape(at)[1:]) for layer, at in _plain_layers(net)))
    # Blocks of an input with itself and of two. Measured: 1.9 to 2.7 times what one of them takes, most with branches.
    require_memory(
        8.0 * q0.size * 2.75 * matrices_over_inputs(net, keep, given=False),
        f"the order parameters of inputs with {most} sites",
        "take smaller inputs" + cheaper(sites),
    )
    same = sites.identity(np.empty((n_sites,) * sites.axes))
    one, two = (np.multiply.outer(a, same) for a in (q0, q0 * c0))
    return State(
        Exchangeable(one, two, n_samples, sites),
        np.zeros((*q0.shape, n_sites)),
        shape,
        False,
        Tangents(keep),
        sampler=sampler,
    )


def given_state(
    net: Network,
    inputs: np.ndarray,
    others: np.ndarray | None,
    keep: Keep,
    sampler: Sampler | None = None,
    sites: SitePairs | None = None,
) -> State:
    """The same of given inputs: of pairs of them, or of them and `others`."""
    shape = _shape_behind(net, n_relabelling(net))
    x, *more = (of.reshape(len(of), shape[0], -1) for of in (inputs, others) if of is not None)
    mean = np.concatenate([of.mean(axis=1) for of in (x, *more)])
    if sites is None:
        sites = pairs_of_sites(net, given=True)
    moments = given_moments(x, more[0] if more else None, sites)

    def channels() -> Units:  # the units of the inputs are known, and few
        assert sampler is not None
        return Units(np.moveaxis(x, 1, 0).astype(float), (), moments, keep, sampler, shape[1:], known=True)

    return State(moments, mean, shape, False, Tangents(keep), sampler=sampler, origin=None if more else channels)


def pairs_of_sites(net: Network, given: bool) -> SitePairs:
    """The fewest pairs of sites that the laws of a network need.

    Those of the same site where nothing pools before the sites are laid side by side, offsets of random inputs on
    rings, or all of them.
    """
    if len(_shape_behind(net, n_relabelling(net))) > 1:
        for sites in (SAME,) if given else (SAME, OFFSETS):
            if all(layer.closes(sites, shape) for layer, shape in _with_sites(net)):
                return sites
    return ALL


def _with_sites(net: Network) -> Iterator[tuple[Layer, tuple[int, ...]]]:
    """The layers that sites enter, each with the shape that does."""
    behind = n_relabelling(net)
    shape = _shape_behind(net, behind)
    for layer in net.layers[behind:]:
        if len(shape) > 1:
            yield layer, shape
        shape = layer.output_shape(shape)


def cheaper(sites: SitePairs) -> str:
    """What would need fewer pairs of sites, as an end of a sentence."""
    return ", or `Flatten` in place of pooling, which needs the pairs of the same site alone" if sites is ALL else ""


def require_recursion_memory(net: Network, n: int, keep: Keep) -> None:
    """Raise a MemoryError if the recursion over n given inputs does not fit."""
    require_memory(
        bytes_of_recursion(net, n, keep),
        f"the order parameters of {n} inputs in {net.n_weight_layers} weight layers",
        "take fewer inputs" + (cheaper(pairs_of_sites(net, given=True)) if len(net.input_shape) > 1 else ""),
    )


def bytes_of_recursion(net: Network, n: int, keep: Keep) -> float:
    """Bytes that the recursion takes, run over n given inputs at once."""
    return 8.0 * n**2 * matrices_over_inputs(net, keep)


def matrices_over_inputs(net: Network, keep: Keep, given: bool = True) -> float:
    """How many matrices over the inputs the recursion holds at its peak.

    One over n sites counts n^2, or n where pairs of the same site are all that is needed.
    """
    # Measured: moments on both sides of every weight layer, where it left them; errors and shares of those met so
    # far, both of them twice while a layer maps them, at the sites of that layer; 14 more are work space of one layer,
    # or what `fisher_statistics` adds; a branch has tangents of its own.
    space = 14 + 4 * any(layer.children for layer in net.layers)
    kept = peak = 0.0
    n_met = sites = 0
    entries = pairs_of_sites(net, given).entries
    for layer, shape in _plain_layers(net):
        entering_sites, sites = prod(shape[1:]), prod(layer.output_shape(shape)[1:])
        n_met += layer.n_weight_layers
        kept += 3 * keep.signal * layer.n_weight_layers * entries(sites)
        tangents = (4 * keep.errors + 2 * keep.shares) * n_met
        if net.layers[-1].normalises and layer is net.layers[-1]:  # those in front of it are kept too
            tangents += 2 * (keep.errors + keep.shares) * n_met
        peak = max(peak, kept + (tangents + space) * entries(max(entering_sites, sites)))
    return peak


def _plain_layers(net: Network) -> Iterator[tuple[Layer, tuple[int, ...]]]:
    """Layers without others inside, each with the shape that enters.

    Those that relabel the inputs are left out.
    """
    behind = n_relabelling(net)
    shape = _shape_behind(net, behind)
    for layer in net.layers[behind:]:
        yield from ((inner, at) for inner, at in layer.walk(shape) if not inner.children)
        shape = layer.output_shape(shape)

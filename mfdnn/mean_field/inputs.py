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
from ..layers.state import given_moments
from ..network import Network

__all__ = [
    "advice",
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
    net: Network, n_samples: int | None, q0: Any, c0: Any, inputs: np.ndarray | None, keep: Keep
) -> State:
    """The state that enters the first layer that does more than relabel the inputs."""
    if inputs is not None:
        return given_state(net, inputs, None, keep)
    shape = _shape_behind(net, n_relabelling(net))
    n_sites = prod(shape[1:])
    most = max(prod(layer.output_shape(at)[1:]) for layer, at in _plain_layers(net))
    require_memory(
        8.0 * q0.size * max(n_sites, most) ** 2 * (20 + 2 * net.n_weight_layers),
        f"the order parameters of inputs with {max(n_sites, most)} sites",
        "take smaller inputs",
    )
    sites = np.eye(n_sites)
    one = q0[..., None, None] * sites
    moments = Exchangeable(one, (q0 * c0)[..., None, None] * sites, n_samples)
    return State(moments, np.zeros((*q0.shape, n_sites)), shape, False, Tangents(keep))


def given_state(net: Network, inputs: np.ndarray, others: np.ndarray | None, keep: Keep) -> State:
    """The same of given inputs: of pairs of them, or of them and `others`."""
    shape = _shape_behind(net, n_relabelling(net))
    x, *more = (of.reshape(len(of), shape[0], -1) for of in (inputs, others) if of is not None)
    mean = np.concatenate([of.mean(axis=1) for of in (x, *more)])
    return State(given_moments(x, *more), mean, shape, False, Tangents(keep))


def require_recursion_memory(net: Network, n: int, keep: Keep) -> None:
    """Raise a MemoryError if the recursion over n given inputs does not fit."""
    require_memory(
        8.0 * n**2 * matrices_over_inputs(net, keep),
        f"the order parameters of {n} inputs in {net.n_weight_layers} weight layers",
        "take fewer inputs",
    )


def matrices_over_inputs(net: Network, keep: Keep) -> float:
    """How many matrices over the inputs the recursion holds at its peak.

    One over n sites counts n^2.
    """
    # Measured: moments on both sides of every weight layer, where it left them; errors and shares of those met so
    # far, both of them twice while a layer maps them, at the sites of that layer; 14 more are work space of one layer,
    # or what `fisher_statistics` adds; a branch has tangents of its own.
    space = 14 + 4 * any(layer.children for layer in net.layers)
    kept = peak = 0.0
    n_met = sites = 0
    for layer, shape in _plain_layers(net):
        entering_sites, sites = prod(shape[1:]), prod(layer.output_shape(shape)[1:])
        n_met += layer.n_weight_layers
        kept += 3 * keep.signal * layer.n_weight_layers * sites**2
        tangents = (4 * keep.errors + 2 * keep.shares) * n_met
        if net.layers[-1].normalises and layer is net.layers[-1]:  # those in front of it are kept too
            tangents += 2 * (keep.errors + keep.shares) * n_met
        peak = max(peak, kept + (tangents + space) * max(entering_sites, sites) ** 2)
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

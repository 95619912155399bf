"""Jacobian products and back-propagated errors of a sampled network at a batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from .._support.memory import require_memory
from ..layers import Factors, Layer
from ..network import Network
from .parameters import Parameters, as_dtype, checked_parameters, dtype_of, flatten, unflatten

__all__ = ["Linearisation"]


class Linearisation:
    """A sampled network at a batch of T inputs, ready for Jacobian products.

    One forward pass is made at once and kept; products are then as many as needed. `SampledNetwork.linearise` makes one
    of checked inputs.

    Attributes
    ----------
    network : Network
    parameters : list of tuple of ndarray or None
        As they were when it was made.
    inputs : ndarray, shape (T, M_0), or (T, channels, *sites)
        X, in the dtype of the network.
    outputs : ndarray, shape (T, C)
        f(X).
    dtype : numpy.dtype
        float32 or float64.
    """

    def __init__(self, network: Network, parameters: Parameters, x: np.ndarray):
        self.network, self.parameters, self.inputs = network, list(parameters), x
        self._trace: list = []
        own = iter(self.parameters)
        for layer in network.layers:
            x = layer.forward(x, own, self._trace)
        self.outputs: np.ndarray = x
        expected = len(self.inputs), network.n_outputs
        if x.shape != expected:
            raise ValueError(
                f"The layers of {network} must map inputs {self.inputs.shape} to outputs {expected}, got {x.shape}; "
                "`forward` of one of them returns another shape than its `output_shape` says."
            )

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64."""
        return dtype_of(self.parameters)

    def jvp(self, v: np.ndarray | Sequence) -> np.ndarray:
        """J v (T, C), the change of the outputs along v, as `SampledNetwork.jvp`.

        Parameters
        ----------
        v : array (P,), or list of (weight, bias)

        Returns
        -------
        array (T, C)

        Raises
        ------
        ValueError
            v does not fit the parameters, or is not finite.
        """
        if isinstance(v, list | tuple):
            return self.push(checked_parameters("v", v, self.network, self.dtype))
        return self.push(unflatten(v, self.parameters, "v"))

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """J^T u (P,), the gradient of ``sum(u * outputs)``, as `SampledNetwork.vjp`.

        Parameters
        ----------
        u : array (T, C)

        Returns
        -------
        array (P,)

        Raises
        ------
        ValueError
            u of another shape than the outputs.
        """
        u = as_dtype("u", u, self.dtype)
        if u.shape != self.outputs.shape:
            raise ValueError(f"`u` must have the shape of the outputs, {self.outputs.shape}, got {u.shape}.")
        return flatten(self.gradients(u))

    def push(self, pairs: Parameters) -> np.ndarray:
        """`jvp` for pairs that are known to fit."""
        parameters, tangents, trace = iter(self.parameters), iter(pairs), iter(self._trace)
        du = None
        for layer in self.network.layers:
            du = layer.pushforward(du, parameters, tangents, trace)
        assert du is not None  # a network has a weight layer
        return du

    def pull(self, u: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(h, delta) of every layer with parameters, in order, for given errors.

        The errors u are those at the outputs, (T, C) or (n, T, C).
        """
        stacked = u.ndim > self.outputs.ndim
        first, *others = self.network.layers
        parameters, trace = reversed(self.parameters), reversed(self._trace)
        collected: list = []
        for layer in reversed(others):
            u = _backward(layer, u, parameters, trace, collected, stacked)
        if stacked and not first.batches_errors:
            _backward(first, u, parameters, trace, collected, stacked)
        else:
            first.collect(u, parameters, trace, collected)
        return collected[::-1]

    def input_jacobian(self) -> np.ndarray:
        """Derivatives of output k at sample k by its inputs, (C, M_0).

        For T = C samples.
        """
        errors = np.eye(*self.outputs.shape, dtype=self.dtype)
        parameters, trace = reversed(self.parameters), reversed(self._trace)
        for layer in reversed(self.network.layers):
            errors = layer.backward(errors, parameters, trace, [])
        return errors.reshape(len(errors), -1)

    def gradients(self, u: np.ndarray) -> Parameters:
        """J^T u as arrays of the shapes of the parameters, for u (T, C)."""
        layers = self.network.parameter_layers
        return [layer.gradient(*pair) for (layer, _), pair in zip(layers, self.pull(u), strict=True)]

    def factors(self, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[Factors | list[Factors]]:
        """Derivatives sample by sample, of what `pull` or `errors` returned.

        All layers must know them (`Layer.has_factors`).
        """
        layers = self.network.parameter_layers
        found: list[Factors | list[Factors]] = []
        for (layer, _), pair in zip(layers, pairs, strict=True):
            factors = layer.factors(*pair)
            if factors is None:
                raise ValueError(
                    f"`factors` of {layer!r} must return factors where `has_factors` is true, got None; set that to "
                    "false."
                )
            found.append(factors)
        return found

    @property
    def error_bytes(self) -> int:
        """Bytes that `errors` would take."""
        units = sum(prod(layer.output_shape(shape)) for layer, shape in self.network.parameter_layers)
        return self.outputs.size * units * self.dtype.itemsize

    @property
    def factor_bytes(self) -> int:
        """Bytes that `errors` and their `factors` would take."""
        own = sum(layer.factor_size(shape) for layer, shape in self.network.parameter_layers)
        return self.error_bytes + self.outputs.size * own * self.dtype.itemsize

    @property
    def factor_bytes_of_one(self) -> int:
        """What the `factors` of one output take beside its errors."""
        return (self.factor_bytes - self.error_bytes) // self.outputs.shape[1]

    def errors(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """`pull` of every output at once, with delta (C, T, fan_out).

        delta holds the derivatives of an output at a sample by the units of that sample.
        """
        n_samples, n_outputs = self.outputs.shape
        require_memory(
            self.error_bytes,
            f"the back-propagated errors of {n_outputs} outputs at {n_samples} samples",
            "pass fewer samples or sample with dtype='float32'",
        )
        one_hot = np.eye(n_outputs, dtype=self.dtype)[:, None, :]
        if not self.network.couples_samples:
            return self.pull(np.broadcast_to(one_hot, (n_outputs, n_samples, n_outputs)))
        # One sample at a time down to the first layer that couples them, or the outputs at all others would count too.
        layers = self.network.layers
        coupled = next(i for i, layer in enumerate(layers) if layer.mixes_samples)
        of_each: list[np.ndarray] = []
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for t in range(n_samples):
            parameters, trace = reversed(self.parameters), reversed(self._trace)
            collected: list = []
            u = one_hot * (np.arange(n_samples) == t)[:, None]
            for layer in reversed(layers[coupled:]):
                u = _backward(layer, u, parameters, trace, collected, stacked=True)
            of_each.append(u[:, t])
            found = found or [(h, np.empty_like(delta)) for h, delta in collected]
            for (_, own), (_, delta) in zip(found, collected, strict=True):
                own[:, t] = delta[:, t]
        u = np.stack(of_each, axis=1)
        # The iterators of the last sample stand where these layers begin.
        for layer in reversed(layers[:coupled]):
            u = _backward(layer, u, parameters, trace, found, stacked=True)
        return found[::-1]


def _backward(
    layer: Layer, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list, stacked: bool
) -> np.ndarray:
    """`layer.backward` of errors that may be stacked along a leading axis.

    They pass one by one where the layer does not take them stacked.
    """
    if not stacked or layer.batches_errors:
        return layer.backward(delta, parameters, trace, collected)
    passes: list[list] = []
    below = []
    # All pass through the same parameters and records; the last moves the iterators on.
    ahead = [(copy.copy(parameters), copy.copy(trace)) for _ in delta[1:]]
    for one, iterators in zip(delta, [*ahead, (parameters, trace)], strict=True):
        passes.append([])
        below.append(layer.backward(one, *iterators, passes[-1]))
    for pairs in zip(*passes, strict=True):
        collected.append((pairs[0][0], np.stack([own for _, own in pairs])))
    return np.stack(below)

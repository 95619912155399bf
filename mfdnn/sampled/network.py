"""One random network of finite width: its parameters and outputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._support.memory import require_memory
from .._support.validation import finite_array, input_array, one_of
from ..layers import Factors, Layer
from ..network import Network

__all__ = ["LayerActivity", "Linearisation", "SampledNetwork", "sample"]

DTYPES = ("float32", "float64")

Parameters = list[tuple[np.ndarray | None, ...]]


def sample(net: Network, *, rng: Any = None, dtype: Any = "float64") -> SampledNetwork:
    """Draw the parameters of a network.

    Parameters
    ----------
    net : Network
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes. A number stands for a stream of its own, not for that of
        ``default_rng(number)``: inputs drawn from the same seed are independent of the network.
    dtype : {"float64", "float32"}
        Of the parameters and of everything computed with them. float32 halves time and memory and gives
        eigenvalues to about 1e-6.

    Returns
    -------
    SampledNetwork

    Raises
    ------
    ValueError
        Unknown `dtype`.
    MemoryError
        The parameters do not fit into the memory that is free now.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([3, 50, 2], "tanh", sigma_w2=1.5, sigma_b2=0.1), rng=0)
    >>> one
    SampledNetwork(Network(3-50-2, tanh, L=2, P=302), float64)
    >>> one(np.ones((5, 3))).shape
    (5, 2)
    """
    if not isinstance(net, Network):
        raise TypeError(
            f"`net` must be a Network, got {type(net).__name__}; build one with mfdnn.mlp or mfdnn.Network."
        )
    kind = float_dtype(dtype)
    require_memory(
        net.n_parameters * kind.itemsize,
        f"a sample of {net}",
        "take narrower layers" + ("" if kind.itemsize == 4 else " or dtype='float32'"),
    )
    seed = np.random.SeedSequence(rng).spawn(1)[0] if isinstance(rng, int | np.integer) else rng
    generator = np.random.default_rng(seed)
    parameters = [layer.initialise(generator, shape, kind) for layer, shape in net.parameter_layers]
    return SampledNetwork(net, parameters)


class LayerActivity(NamedTuple):
    r"""What one weight layer sees of a batch of T samples, in a network with C outputs.

    Attributes
    ----------
    h
        Input of the layer, shape (T, fan_in), or (T, channels, \*sites).
    u
        Pre-activation, shape (T, fan_out), or (T, channels, \*sites).
    delta
        Back-propagated errors :math:`\partial f_k/\partial u_i` of every output k, shape (C, \*u.shape).
    """

    h: np.ndarray
    u: np.ndarray
    delta: np.ndarray


class SampledNetwork:
    r"""A network with numbers for its parameters, drawn or trained.

    ``one(X)`` maps inputs (T, M_0) to outputs (T, C). Where the inputs have sites, X is (T, channels, \*sites), or (T,
    M_0) in C order.

    Parameters
    ----------
    network : Network
        Its layers, without numbers.
    parameters : list of (weight, bias)
        In layer order; weight (fan_out, fan_in), bias (fan_out,) or None where the layer has none; what other
        layers have for parameters their classes say. float32 if all of them are, else float64. May be set
        later, to those of a trained network for example.

    Attributes
    ----------
    network : Network
    parameters : list of tuple of ndarray or None
        As above; what is assigned is checked.
    dtype : numpy.dtype
        float32 or float64: of the parameters and of all that is computed with them.
    n_parameters : int
        P.
    couples_samples : bool
        Whether an output at one sample depends on the others, as in batch normalisation.

    Raises
    ------
    ValueError
        Parameters whose number or shapes do not fit the network, or that are not finite.

    Notes
    -----
    Jacobian products are matrix-free, exact up to rounding, and cost about two forward passes each (and the
    one at which the network is linearised: `linearise` shares it among many). Parameter vectors hold weight
    (row by row), then bias, layer by layer; their length is `n_parameters`.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one, X = mfdnn.sample(mfdnn.mlp([3, 50, 2], "tanh"), rng=0), np.ones((5, 3))
    >>> u, v = np.ones((5, 2)), np.ones(one.n_parameters)
    >>> bool(np.isclose(np.sum(u * one.jvp(X, v)), one.vjp(X, u) @ v))
    True
    """

    def __init__(self, network: Network, parameters: Sequence[Sequence[np.ndarray | None]]):
        self.network = network
        self.parameters = parameters  # type: ignore[assignment]  # checked and converted by the setter

    def __repr__(self) -> str:
        return f"SampledNetwork({self.network}, {self.dtype})"

    @property
    def parameters(self) -> Parameters:
        """The parameters in layer order, (weight, bias) of a weight layer."""
        return self._parameters

    @parameters.setter
    def parameters(self, groups: Sequence[Sequence[np.ndarray | None]]) -> None:
        self._parameters = _check_parameters("parameters", groups, self.network)

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64, of parameters and all that is computed with them."""
        return next(a.dtype for group in self._parameters for a in group if a is not None)

    @property
    def n_parameters(self) -> int:
        """P, the number of all parameters of all layers."""
        return self.network.n_parameters

    @property
    def couples_samples(self) -> bool:
        """Whether an output at one sample depends on the others (batch norm)."""
        return self.network.couples_samples

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Outputs (T, C) for inputs (T, M_0), or (T, *input_shape), in `dtype`.

        Raises
        ------
        ValueError
            Inputs of another width, or that are not finite.
        """
        return self.linearise(X).outputs

    def linearise(self, X: np.ndarray) -> Linearisation:
        """Pass forward over X once, and keep it for any number of Jacobian products.

        Parameters
        ----------
        X : array (T, M_0), or (T, *input_shape)

        Returns
        -------
        Linearisation
            Of the parameters as they are now; it does not follow when others are set.

        Raises
        ------
        ValueError
            Inputs of another width, or that are not finite.
        """
        return Linearisation(self, X)

    def jvp(self, X: np.ndarray, v: np.ndarray | Sequence) -> np.ndarray:
        """J v, the change of the outputs along a change v of the parameters.

        Parameters
        ----------
        X : array (T, M_0), or (T, *input_shape)
        v : array (P,), or list of (weight, bias)
            A vector in the order of `flatten`, or arrays of the shapes of `parameters`.

        Returns
        -------
        array (T, C)

        Raises
        ------
        ValueError
            X or v that does not fit the network, or is not finite.
        """
        return self.linearise(X).jvp(v)

    def vjp(self, X: np.ndarray, u: np.ndarray) -> np.ndarray:
        """J^T u, the gradient of ``sum(u * one(X))`` by the parameters.

        Parameters
        ----------
        X : array (T, M_0), or (T, *input_shape)
        u : array (T, C)

        Returns
        -------
        array (P,)
            In the order of `flatten`; `unflatten` gives arrays of the shapes of `parameters`.

        Raises
        ------
        ValueError
            X that does not fit the network or is not finite, u of another shape than the outputs.
        """
        return self.linearise(X).vjp(u)

    def flatten(self, pairs: Sequence[Sequence[np.ndarray | None]]) -> np.ndarray:
        """One vector (P,) of arrays shaped as `parameters`: row by row, layer by layer."""
        return np.concatenate([np.ravel(a) for pair in pairs for a in pair if a is not None])

    def unflatten(self, vector: np.ndarray) -> Parameters:
        """The arrays, shaped as `parameters`, of a vector (P,): `flatten` undone.

        They are views where the dtype allows.

        Raises
        ------
        ValueError
            A vector of another length.
        """
        vector = np.asarray(vector, dtype=self.dtype)
        if vector.shape != (self.n_parameters,):
            raise ValueError(
                f"`vector` must have shape ({self.n_parameters},), got {vector.shape}; pass one entry for "
                "every parameter, in the order of `flatten`."
            )
        sizes = [a.size for group in self._parameters for a in group if a is not None]
        parts = iter(np.split(vector, np.cumsum(sizes)[:-1]))
        return [
            tuple(None if a is None else next(parts).reshape(a.shape) for a in group)
            for group in self._parameters
        ]

    def activity(self, X: np.ndarray) -> list[LayerActivity]:
        """What every weight layer sees, and the errors that come back to it.

        Parameters
        ----------
        X : array (T, M_0), or (T, *input_shape)

        Returns
        -------
        list of LayerActivity
            ``h`` (T, fan_in), ``u`` (T, fan_out) and ``delta`` (C, T, fan_out) of each weight layer, in order. Where
            samples are coupled, delta holds the derivatives of an output by the units of its own sample.

        Raises
        ------
        ValueError
            Inputs of another width, or that are not finite.
        MemoryError
            The errors of all outputs do not fit into memory.

        Examples
        --------
        >>> import numpy as np
        >>> import mfdnn
        >>> layers = mfdnn.sample(mfdnn.mlp([3, 50, 2], "tanh"), rng=0).activity(np.ones((5, 3)))
        >>> [layer.delta.shape for layer in layers]
        [(2, 5, 50), (2, 5, 2)]
        """
        found = zip(self.network.parameter_layers, self._parameters, self.linearise(X).errors(), strict=True)
        return [
            LayerActivity(h, layer.forward(h, iter([group]), []), delta)
            for (layer, _), group, (h, delta) in found
            if layer.n_weight_layers
        ]


class Linearisation:
    """A sampled network at a batch of T inputs, ready for Jacobian products.

    One forward pass is made at once and kept; products are then as many as needed.

    Attributes
    ----------
    one : SampledNetwork
    inputs : ndarray, shape (T, M_0), or (T, channels, *sites)
        X, in the dtype of the network.
    outputs : ndarray, shape (T, C)
        f(X).
    dtype : numpy.dtype
        float32 or float64.
    """

    def __init__(self, one: SampledNetwork, X: np.ndarray):
        self._pass(one, input_array("X", X, one.network.input_shape).astype(one.dtype))

    @classmethod
    def of_checked(cls, one: SampledNetwork, x: np.ndarray) -> Linearisation:
        """The same at inputs that fit and have the dtype of `one`, unchecked."""
        linear = cls.__new__(cls)
        linear._pass(one, x)
        return linear

    def _pass(self, one: SampledNetwork, x: np.ndarray) -> None:
        self.one, self.inputs = one, x
        self._parameters = list(one.parameters)
        self._trace: list = []
        parameters = iter(self._parameters)
        for layer in one.network.layers:
            x = layer.forward(x, parameters, self._trace)
        self.outputs: np.ndarray = x
        if x.shape != (len(self.inputs), one.network.n_outputs):
            raise ValueError(
                f"The layers of {one.network} must map inputs {self.inputs.shape} to outputs "
                f"{(len(self.inputs), one.network.n_outputs)}, got {x.shape}; `forward` of one of them returns another "
                "shape than its `output_shape` says."
            )

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64."""
        return self.one.dtype

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
        one = self.one
        if isinstance(v, list | tuple):
            return self.push(_check_parameters("v", v, one.network, one.dtype))
        return self.push(one.unflatten(np.asarray(v)))

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
        u = np.asarray(u, dtype=self.one.dtype)
        if u.shape != self.outputs.shape:
            raise ValueError(f"`u` must have the shape of the outputs, {self.outputs.shape}, got {u.shape}.")
        return self.one.flatten(self.gradients(u))

    def push(self, pairs: Parameters) -> np.ndarray:
        """`jvp` for pairs that are known to fit."""
        parameters, tangents, trace = iter(self._parameters), iter(pairs), iter(self._trace)
        du = None
        for layer in self.one.network.layers:
            du = layer.pushforward(du, parameters, tangents, trace)
        assert du is not None  # a network has a weight layer
        return du

    def pull(self, u: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(h, delta) of every layer with parameters, in order, for given errors.

        The errors u are those at the outputs, (T, C) or (n, T, C).
        """
        stacked = u.ndim > self.outputs.ndim
        first, *others = self.one.network.layers
        parameters, trace = reversed(self._parameters), reversed(self._trace)
        collected: list = []
        for layer in reversed(others):
            u = _backward(layer, u, parameters, trace, collected, stacked)
        if stacked and not first.batches_errors:
            _backward(first, u, parameters, trace, collected, stacked)
        else:
            first.collect(u, parameters, trace, collected)
        return collected[::-1]

    def gradients(self, u: np.ndarray) -> Parameters:
        """J^T u as arrays of the shapes of the parameters, for u (T, C)."""
        layers = self.one.network.parameter_layers
        return [layer.gradient(*pair) for (layer, _), pair in zip(layers, self.pull(u), strict=True)]

    def factors(self, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[Factors]:
        """Derivatives sample by sample, of what `pull` or `errors` returned.

        All layers must know them (`Layer.has_factors`).
        """
        layers = self.one.network.parameter_layers
        found = []
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
        units = sum(prod(layer.output_shape(shape)) for layer, shape in self.one.network.parameter_layers)
        return self.outputs.size * units * self.one.dtype.itemsize

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
        one_hot = np.eye(n_outputs, dtype=self.one.dtype)[:, None, :]
        if not self.one.network.couples_samples:
            return self.pull(np.broadcast_to(one_hot, (n_outputs, n_samples, n_outputs)))
        # One sample at a time down to the first layer that couples them, or the outputs at all others would count too.
        layers = self.one.network.layers
        coupled = next(i for i, layer in enumerate(layers) if layer.mixes_samples)
        of_each: list[np.ndarray] = []
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for t in range(n_samples):
            parameters, trace = reversed(self._parameters), reversed(self._trace)
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


def float_dtype(dtype: Any) -> np.dtype:
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = dtype
    return np.dtype(one_of("dtype", name, DTYPES))


def _check_parameters(name: str, groups: Any, network: Network, dtype: np.dtype | None = None) -> Parameters:
    """Parameters that fit the network, as arrays of one float dtype."""
    shapes = [layer.parameter_shapes(shape) for layer, shape in network.parameter_layers]
    try:
        found = [tuple(None if a is None else np.asarray(a) for a in group) for group in groups]
        fits = [tuple(None if a is None else a.shape for a in group) for group in found] == shapes
    except TypeError:
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

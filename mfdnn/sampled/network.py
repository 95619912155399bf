"""One random network of finite width: its parameters and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._support.memory import require_memory
from .._support.validation import checked, finite_array, input_array
from ..network import Network, require_network
from .linearisation import Linearisation
from .parameters import Parameters, checked_parameters, dtype_of, flatten, float_dtype, unflatten

__all__ = ["LayerActivity", "SampledNetwork", "sample"]

LARGE = 2**28  # bytes of signals up to which nobody asks how much memory is free


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
    require_network("net", net)
    kind, rng = float_dtype(dtype), checked(rng=rng)
    require_memory(
        net.n_parameters * kind.itemsize,
        f"a sample of {net}",
        "take narrower layers" + ("" if kind.itemsize == 4 else " or dtype='float32'"),
    )
    seed = np.random.SeedSequence(rng).spawn(1)[0] if isinstance(rng, int | np.integer) else rng
    generator = np.random.default_rng(seed)
    net = net.drawn(generator)  # before the parameters, which take more of the stream in float64 than in float32
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
        Where a layer draws more than parameters, as dropout its masks, that too: take this one for other parameters.
    parameters : list of tuple of ndarray or None
        As above; what is assigned is checked.
    dtype : numpy.dtype
        float32 or float64: of the parameters and of all that is computed with them.
    vector : ndarray, shape (P,)
        All of them in one.
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
        self.network = require_network("network", network)
        self.parameters = parameters  # type: ignore[assignment]  # checked and converted by the setter

    def __repr__(self) -> str:
        return f"SampledNetwork({self.network}, {self.dtype})"

    @property
    def parameters(self) -> Parameters:
        """The parameters in layer order, (weight, bias) of a weight layer."""
        return self._parameters

    @parameters.setter
    def parameters(self, groups: Sequence[Sequence[np.ndarray | None]]) -> None:
        self._parameters = checked_parameters("parameters", groups, self.network)

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64, of parameters and all that is computed with them."""
        return dtype_of(self._parameters)

    @property
    def vector(self) -> np.ndarray:
        """The parameters as one vector (P,), a copy."""
        return flatten(self._parameters)

    def at(self, vector: np.ndarray) -> SampledNetwork:
        """The same network with other parameters, a vector (P,) in the order of `flatten`.

        Raises
        ------
        ValueError
            A vector of another length, or that is not finite.
        """
        return SampledNetwork(self.network, self.unflatten(vector))

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
        MemoryError
            What enters the layers does not fit into the memory that is free.
        """
        x = input_array("X", X, self.network.input_shape)
        of_each = sum(prod(shape) for layer, shape in self.network.walk() if not layer.children)
        n_bytes = len(x) * of_each * self.dtype.itemsize  # measured: the pass takes 1.1 to 1.7 times that
        if n_bytes > LARGE:
            require_memory(
                n_bytes,
                f"the signals of {len(x)} samples in {self.network}",
                "pass fewer at once" + ("" if self.dtype.itemsize == 4 else ", or sample with dtype='float32'"),
            )
        x = x.astype(self.dtype)
        return Linearisation(self.network, self._parameters, x)

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
        return self.linearise(X).jvp(v if isinstance(v, list | tuple) else finite_array("v", v))

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
        return self.linearise(X).vjp(finite_array("u", u))

    def flatten(self, pairs: Sequence[Sequence[np.ndarray | None]]) -> np.ndarray:
        """One vector (P,) of arrays shaped as `parameters`: row by row, layer by layer.

        Raises
        ------
        ValueError
            Arrays of other shapes, or that are not finite.
        """
        return flatten(checked_parameters("pairs", pairs, self.network, self.dtype))

    def unflatten(self, vector: np.ndarray) -> Parameters:
        """The arrays, shaped as `parameters`, of a vector (P,): `flatten` undone.

        They are views where the dtype allows.

        Raises
        ------
        ValueError
            A vector of another length.
        """
        return unflatten(finite_array("vector", vector), self._parameters)

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

"""What is trained: arrays that move, and the function whose parameters they are."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .._support.validation import input_array
from ..jobs.settings import describe_arrays, describe_network
from ..network import Network
from ..sampled import Linearisation, SampledNetwork
from ..sampled.protocol import Served, serves

__all__ = ["InTraining", "in_training", "training_bytes"]


class NetworkInTraining:
    """A sampled network, its own arrays the parameters.

    Attributes
    ----------
    arrays : list of ndarray
        The parameters, a copy of those that are given.
    dtype : numpy.dtype
    couples_samples : bool
    label : str
        What it is, for messages.
    has_matrices : bool
        Whether `arrays` are shaped, and not one vector.
    """

    def __init__(self, one: SampledNetwork):
        copies = [tuple(None if a is None else a.copy() for a in group) for group in one.parameters]
        self._one = SampledNetwork(one.network, copies)
        self.arrays = [a for group in self._one.parameters for a in group if a is not None]
        self.dtype, self.couples_samples = one.dtype, one.couples_samples
        self.label, self.has_matrices = str(one.network), True

    def checked(self, X: Any) -> np.ndarray:
        """Inputs as the network takes them."""
        return input_array("X", X, self._one.network.input_shape).astype(self.dtype)

    def n_outputs(self, x: np.ndarray) -> int:
        """C."""
        return self._one.network.n_outputs

    def n_bytes(self, x: np.ndarray, buffers: int) -> int:
        """What training takes beside what is given, with so many moments."""
        return training_bytes(self._one.network, len(x), self.dtype, buffers)

    def linearise(self, x: np.ndarray) -> Linearisation:
        """The network at x, with the parameters as they are."""
        return Linearisation(self._one.network, self._one.parameters, x)

    def gradients(self, linear: Any, u: np.ndarray) -> list[np.ndarray]:
        """J^T u, as `arrays`."""
        return [g for group in linear.gradients(u) for g in group if g is not None]

    @property
    def description(self) -> str:
        """What it is and where it starts, in words."""
        return f"{describe_network(self._one.network)} {describe_arrays(*self.arrays)}"

    def finished(self) -> SampledNetwork:
        """The trained network."""
        return self._one


class FunctionInTraining:
    """A function of a vector of parameters, which serves the protocol.

    The same attributes and methods as `NetworkInTraining`.
    """

    def __init__(self, one: Any):
        self.arrays = [np.array(one.vector)]
        self.dtype, self.couples_samples = np.dtype(getattr(one, "dtype", np.float64)), one.couples_samples
        self.label, self._one, self.has_matrices = str(one), one, False

    def checked(self, X: Any) -> np.ndarray:
        """Inputs, of which rows can be taken."""
        return np.asarray(X)

    def n_outputs(self, x: np.ndarray) -> int:
        """C."""
        return self.linearise(x).outputs.shape[1]

    def n_bytes(self, x: np.ndarray, buffers: int) -> int:
        """Of vectors of parameters alone: nothing else is known."""
        return self.dtype.itemsize * self._one.n_parameters * (3 + buffers)

    def linearise(self, x: np.ndarray) -> Served:
        """The function at x, with the parameters as they are."""
        return Served(self._one.at(self.arrays[0]).linearise(x), self._one, x)

    def gradients(self, linear: Any, u: np.ndarray) -> list[np.ndarray]:
        """J^T u, as `arrays`."""
        return [np.array(linear.vjp(u))]  # a copy: the optimiser writes into it

    @property
    def description(self) -> str:
        """Where it starts, in words: what else determines it is not known."""
        return f"{type(self._one).__name__} {describe_arrays(*self.arrays)}"

    def finished(self) -> Any:
        """The trained function."""
        return self._one.at(self.arrays[0])


InTraining = NetworkInTraining | FunctionInTraining


def in_training(one: Any) -> InTraining:
    """`one` as something that moves; what is given stays as it is."""
    if isinstance(one, SampledNetwork):
        return NetworkInTraining(one)
    if not serves(one) or not hasattr(one, "vector") or not hasattr(one, "at"):
        raise TypeError(
            f"`one` must be a SampledNetwork, got {type(one).__name__}; draw one with mfdnn.sample(net), or serve "
            "`mfdnn.sampled.Operator` with `vector` and `at`."
        )
    return FunctionInTraining(one)


def training_bytes(net: Network, n_samples: int, dtype: np.dtype, buffers: int) -> int:
    """Bytes of a run beside the network it is given.

    Those of a network to train, gradients, so many moments and activations.
    """
    units = sum(prod(layer.output_shape(shape)) for layer, shape in net.walk())
    return dtype.itemsize * (net.n_parameters * (3 + buffers) + 3 * n_samples * units)

"""Sampled networks in NTK parameterisation, to be trained in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..sampled import Linearisation, SampledNetwork
from ..sampled.coordinates import Coordinates

__all__ = ["InNTK"]


class InNTK:
    r"""A network as a function of parameters of variance 1.

    They are w and :math:`\beta` of :math:`W = \sigma_w w/\sqrt{M_{in}}`, :math:`b = \sigma_b \beta`, both variances
    positive. Serves `mfdnn.sampled.Operator`, with `vector` and `at`: a rate of `mfdnn.train` is one of these
    parameters, and the same at all widths.
    """

    def __init__(self, one: SampledNetwork):
        self.one, self.n_parameters, self.couples_samples = one, one.n_parameters, one.couples_samples
        self.dtype = one.dtype
        self._coordinates = Coordinates(one.network, "ntk")
        self._units = self._coordinates.vector(one.unflatten(np.ones(one.n_parameters, one.dtype)))

    @property
    def vector(self) -> np.ndarray:
        """The parameters (P,), each of variance 1 at first."""
        return self.one.vector / self._units

    def at(self, vector: np.ndarray) -> InNTK:
        """The same network with other parameters (P,)."""
        return InNTK(self.one.at(vector * self._units))

    def __call__(self, X: Any) -> np.ndarray:
        """Outputs (T, C)."""
        return self.one(X)

    def linearise(self, X: Any) -> _Linear:
        """Outputs and Jacobian products at X."""
        return _Linear(self.one.linearise(X), self._coordinates)


class _Linear:
    """A linearisation in other units."""

    def __init__(self, linear: Linearisation, coordinates: Coordinates):
        self.inputs, self.outputs = linear.inputs, linear.outputs
        self._linear, self._coordinates = linear, coordinates

    def jvp(self, v: np.ndarray) -> np.ndarray:
        """J S v (T, C)."""
        return self._coordinates.push(self._linear, v)

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """S J^T u (P,)."""
        return self._coordinates.pull(self._linear, u)

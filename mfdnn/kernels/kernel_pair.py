"""The two kernels of training.

That of the parameters that are trained, and that of the outputs that are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import input_array
from ..layers import Dense
from ..mean_field import MeanField
from ..network import Network
from .on_data import nngp, ntk

__all__ = ["KernelPair"]


class KernelPair:
    r"""Kernels of a network between trained inputs X (T, ...), and others.

    Parameters
    ----------
    net : Network or MeanField
        A `MeanField` of these inputs, or a network.
    inputs : ndarray, shape (T, \*input_shape)
    kernel : {"ntk", "nngp"}
        Whether all parameters are trained, or those of the last weight layer alone.
    parameterisation : {"standard", "ntk"}
    """

    def __init__(self, net: Network | MeanField, inputs: np.ndarray, kernel: str, parameterisation: str):
        self.network = net.network if isinstance(net, MeanField) else net
        self.known, self.inputs = net, inputs
        self.kernel, self.parameterisation = kernel, parameterisation
        self._found: dict[str, Any] = {}

    def checked(self, inputs: Any) -> np.ndarray:
        """Inputs (T', *input_shape) of the network."""
        return input_array("inputs", inputs, self.network.input_shape)

    def trained(self, inputs: np.ndarray | None = None) -> np.ndarray:
        """Kernel Theta of what is trained, (T, T), or between others and X (T', T)."""
        if self.kernel == "ntk":
            return self._between(ntk, self.known, inputs, parameterisation=self.parameterisation)
        if self.parameterisation == "ntk":  # derivatives by standard normal numbers: the outputs themselves
            return self.outputs(inputs)
        last, shape = self._last()
        features = Network(self.network.input_shape, (*self.network.layers[:-1], Dense(1, 1.0, bias=False)))
        return last.fan_in(shape) * self._between(nngp, features, inputs) + float(last.bias)

    def outputs(self, inputs: np.ndarray | None = None) -> np.ndarray:
        """Covariance K of an output, (T, T), or between others and X (T', T)."""
        return self._between(nngp, self.known, inputs)

    def outputs_among(self, inputs: np.ndarray) -> np.ndarray:
        """Covariance of an output among others, (T', T')."""
        return nngp(self.network, inputs)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` returns, computed at the first call of that name alone."""
        if name not in self._found:
            self._found[name] = compute()
        return self._found[name]

    def _between(self, of: Any, net: Network | MeanField, inputs: np.ndarray | None, **options: Any) -> np.ndarray:
        if inputs is not None:
            return of(net.network if isinstance(net, MeanField) else net, inputs, self.inputs, **options)
        return of(net, **options) if isinstance(net, MeanField) else of(net, self.inputs, **options)

    def _last(self) -> tuple[Any, tuple[int, ...]]:
        """The last layer, which must be that of weights, and the shape that enters."""
        layer, shape = self.network.weight_layers[-1]
        if layer is not self.network.layers[-1] or not layer.fully_connected:
            raise NoTheory(
                '`kernel` = "nngp" trains a last layer that is fully connected, got '
                f"{self.network.layers[-1]!r} at the end; take kernel=\"ntk\"."
            )
        return layer, shape

r"""The Jacobian of a spectrum, :math:`R J S`.

It is that of the outputs as the loss sees them, in chosen units of the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..jobs.watch import stop_if_asked
from ..layers import Factors, Layer
from ..losses.probabilities import SoftmaxRoot
from .coordinates import Coordinates, Plain
from .linearisation import Linearisation
from .protocol import Served

__all__ = ["Jacobian", "one_by_one"]


class Jacobian:
    """R J S at T inputs, for products with columns.

    J is that of a network or of what serves the protocol, R the root of a softmax, S the units of the parameters.
    Columns of outputs are (TC, b), and their rows go output by output; columns of parameters are (P, b).

    Parameters
    ----------
    linear : Linearisation or Served
    root : SoftmaxRoot, optional
    coordinates : Coordinates or Plain, optional
        Default: all parameters as they are.
    """

    def __init__(
        self,
        linear: Linearisation | Served,
        root: SoftmaxRoot | None = None,
        coordinates: Coordinates | Plain | None = None,
    ):
        self.linear: Any = linear
        self.root, self.dtype = root, linear.dtype
        if coordinates is None:
            if isinstance(linear, Linearisation):
                coordinates = Coordinates(linear.network)
            else:
                coordinates = Plain(getattr(linear.one, "n_parameters", 0))
        self.coordinates: Any = coordinates
        self.n_samples, self.n_outputs = linear.outputs.shape
        self.size = self.n_samples * self.n_outputs
        self.n_parameters = self.coordinates.n_parameters

    @property
    def one_by_one(self) -> bool:
        """Whether `factors` knows all derivatives as outer products, sample by sample."""
        return (
            isinstance(self.linear, Linearisation)
            and one_by_one(self.linear.network.layers, self.linear.network.input_shape)
            and self.coordinates.separable
        )

    def pull(self, U: np.ndarray) -> np.ndarray:
        """S J^T R^T U (P, b): a backward pass for each column of U (TC, b)."""
        V = np.empty((U.shape[1], self.n_parameters), self.dtype)
        for v, found in zip(V, self.coordinates.pull_each(self.linear, self._errors(U)), strict=True):
            v[:] = found
        return V.T

    def push(self, V: np.ndarray) -> np.ndarray:
        """R J S V (TC, b) in float64: a forward pass for each column of V (P, b)."""
        along = (v for v in V.T.astype(self.dtype))
        return self._images(V.shape[1], self.coordinates.push_each(self.linear, along))

    def pull_and_push(self, U: np.ndarray) -> np.ndarray:
        """R J S^2 J^T R^T U (TC, b) in float64, two passes for each column."""
        images = self.coordinates.pull_and_push_each(self.linear, self._errors(U))
        return self._images(U.shape[1], images)

    def unit(self, k: int) -> np.ndarray:
        """The columns (TC, T) that stand for output k at each sample."""
        columns = np.zeros((self.size, self.n_samples))
        columns[k * self.n_samples : (k + 1) * self.n_samples] = np.eye(self.n_samples)
        return columns

    def squared_norm(self) -> float:
        """Sum of squares of all entries, by a pass for each output and sample."""
        total = 0.0
        for k in range(self.n_outputs):
            for v in self.coordinates.pull_each(self.linear, self._errors(self.unit(k))):
                total += float(np.sum(np.square(v, dtype=np.float64)))
        return total

    def row(self, k: int) -> np.ndarray:
        """What output k, or row k of R, takes of the outputs (T, C)."""
        u = np.zeros_like(self.linear.outputs)
        u[:, k] = 1
        return u if self.root is None else self.root.transpose(u).astype(u.dtype)

    def factors(self, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[Factors]:
        """Derivatives sample by sample of pairs from the network; if `one_by_one`."""
        return self.coordinates.of_factors(self.linear.factors(pairs))

    def _errors(self, U: np.ndarray) -> Iterator[np.ndarray]:
        """R^T u (T, C) of each column."""
        if self.root is not None:
            U = self.root.columns(U, transpose=True)
        for u in U.T.astype(self.dtype):
            stop_if_asked()
            yield u.reshape(self.n_outputs, self.n_samples).T

    def _images(self, b: int, images: Iterable[np.ndarray]) -> np.ndarray:
        """R times changes (T, C) of the outputs, as columns (TC, b)."""
        columns = np.empty((b, self.size))
        for column, image in zip(columns, images, strict=True):
            column[:] = image.T.ravel()
        return columns.T if self.root is None else self.root.columns(columns.T)


def one_by_one(layers: Sequence[Layer], shape: tuple[int, ...]) -> bool:
    """Whether samples pass one by one and all gradients are outer products."""
    for layer in layers:
        if layer.mixes_samples:
            return False
        if not all(own.has_factors for own, entering in layer.walk(shape) if own.parameter_shapes(entering)):
            return False
        shape = layer.output_shape(shape)
    return True

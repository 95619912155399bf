r"""The dual of the Fisher information, :math:`F^* = J J^T/T`.

Its products with vectors, its blocks, trace and norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._support.lanczos import basis_size
from .._support.memory import require_memory
from ..jobs.watch import stop_if_asked
from ..layers import Factors
from ..losses.probabilities import SoftmaxRoot
from ..network import Network
from .coordinates import Coordinates, Plain
from .jacobian import Jacobian, one_by_one
from .linearisation import Linearisation
from .protocol import Served

__all__ = ["Dual", "HadamardDual", "dual", "dual_of", "kind_of_dual"]

# Fixed numbers and not what happens to be free: the same call takes the same path, hence the same bits.
STORED_ERRORS = 2**30  # bytes; above, back-propagated errors are computed again where they are needed
WORTH_STORING = 30  # outputs for each eigenvalue wanted; above, few products do not repay storing them
ROWS = 2048  # samples in a block
MATRIX = 2**13  # T C up to which `BehindDual` keeps its matrix (0.5 GiB)


def dual(
    linear: Linearisation | Served,
    k: int | None,
    root: SoftmaxRoot | None = None,
    coordinates: Coordinates | Plain | None = None,
) -> Dual:
    """The dual at given inputs, for the k largest eigenvalues or all of them."""
    return dual_of(Jacobian(linear, root, coordinates), k)


def dual_of(jacobian: Jacobian, k: int | None) -> Dual:
    """The dual of R J S, for the k largest eigenvalues or all of them."""
    return kind_of_dual(jacobian, k)(jacobian, k)


def kind_of_dual(jacobian: Jacobian, k: int | None) -> type[Dual]:
    """The quickest way that is known to compute the dual."""
    if isinstance(jacobian.linear, Served):
        return GramDual if k is None and jacobian.linear.has_gram else Dual
    if jacobian.one_by_one:
        return HadamardDual if jacobian.linear.factor_bytes_of_one <= STORED_ERRORS else Dual
    return BehindDual if _coupled_behind(jacobian) else Dual


class Dual:
    """F* = J J^T / T from Jacobian products alone, for any operator and layer.

    Its rows go output by output. With the root R of a softmax, R J takes the place of J; with coordinates S, J S.

    Parameters
    ----------
    jacobian : Jacobian
    k : int or None
        How many eigenvalues will be asked for (None: all of them, from `matrix`).

    Attributes
    ----------
    quick : bool
        Whether `matrix` and `trace` take far fewer passes through the network than one for each output and sample.
    """

    quick = False

    def __init__(self, jacobian: Jacobian, k: int | None):
        self.jacobian, self.linear = jacobian, jacobian.linear
        self.n_samples, self.n_outputs, self.size = jacobian.n_samples, jacobian.n_outputs, jacobian.size
        if k is None:
            needed = 16 * self.size**2
            advice = "pass k=... for the largest eigenvalues only, or fewer samples"
        else:
            needed = 16 * self.size * basis_size(self.size, k, min(k, self.n_outputs))
            advice = "pass fewer samples or a smaller k"
        what = f"the spectrum of {self.n_outputs} outputs at {self.n_samples} samples"
        require_memory(needed + self._beside(k), what, advice)

    def _beside(self, k: int | None) -> int:
        """Bytes of what is beside the matrix, or beside the vectors of the iteration."""
        return 16 * self.size * self.n_samples

    def product(self, V: np.ndarray) -> np.ndarray:
        """F* V for V (TC, b): a backward and a forward pass for each column."""
        return self.jacobian.pull_and_push(V) / self.n_samples

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """(rows, columns, block) that cover the lower triangle, diagonal blocks entire."""
        for k in range(self.n_outputs):
            rows = slice(k * self.n_samples, (k + 1) * self.n_samples)
            block = self.product(self.jacobian.unit(k)).T
            for j in range(k + 1):
                columns = slice(j * self.n_samples, (j + 1) * self.n_samples)
                yield rows, columns, block[:, columns]

    def matrix(self) -> np.ndarray:
        """F* (TC, TC) in float64; only the lower triangle is sure to be filled."""
        matrix = np.empty((self.size, self.size))
        for rows, columns, block in self.blocks():
            matrix[rows, columns] = block
        return matrix

    def trace(self) -> float:
        """Tr F* = tr F."""
        return self.jacobian.squared_norm() / self.n_samples

    def squared_norms(self, matrix: np.ndarray | None = None) -> tuple[float, float]:
        """Of the C diagonal blocks, one an output, and of what is between outputs.

        Their sum is tr F*^2 = tr F^2.
        """
        within = between = 0.0
        for rows, columns, block in self.blocks() if matrix is None else self._blocks_of(matrix):
            square = float(np.sum(np.square(block, dtype=np.float64)))
            if rows.start // self.n_samples == columns.start // self.n_samples:
                within += square
            else:
                between += 2 * square  # and the block above the diagonal
        return within, between

    def _blocks_of(self, matrix: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """As `blocks`, of a matrix that is there."""
        parts = [slice(k * self.n_samples, (k + 1) * self.n_samples) for k in range(self.n_outputs)]
        for k, rows in enumerate(parts):
            for columns in parts[: k + 1]:
                yield rows, columns, matrix[rows, columns]


class StoredDual(Dual):
    """F* where all of it is there, as `_matrix`, which who inherits this computes."""

    quick = True
    _matrix: np.ndarray

    def _beside(self, k: int | None) -> int:
        return 16 * self.size**2 + super()._beside(k)

    def product(self, V: np.ndarray) -> np.ndarray:
        """F* V."""
        return self._matrix @ V

    def matrix(self) -> np.ndarray:
        """F* (TC, TC)."""
        return self._matrix

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Of the matrix that is there."""
        return self._blocks_of(self._matrix)

    def trace(self) -> float:
        """Tr F* = tr F."""
        return float(np.trace(self._matrix))


class GramDual(StoredDual):
    """F* = R G R^T / T of an operator that knows its Gram matrix G = J J^T."""

    def __init__(self, jacobian: Jacobian, k: int | None):
        super().__init__(jacobian, k)
        matrix, root = self.linear.gram() / self.n_samples, jacobian.root
        self._matrix = matrix if root is None else root.columns(root.columns(matrix).T)


class HadamardDual(Dual):
    """The dual where no layer couples samples, from Gram matrices.

    A layer adds (h h^T + 1) * (delta delta^T), an entrywise product.
    """

    quick = True

    def __init__(self, jacobian: Jacobian, k: int | None):
        linear, n_outputs = jacobian.linear, jacobian.n_outputs
        self.stored = linear.factor_bytes <= STORED_ERRORS and (k is None or n_outputs <= WORTH_STORING * k)
        super().__init__(jacobian, k)
        if self.stored:
            rows = None if jacobian.root is None else np.array([jacobian.row(i) for i in range(n_outputs)])
            factors = jacobian.factors(linear.errors() if rows is None else linear.pull(rows))
            self.layers = [(h, np.swapaxes(delta, 0, 1), bias) for h, delta, bias in factors]
            self.grams = [] if k is None else [_gram(h, bias) for h, _, bias in self.layers]

    def _beside(self, k: int | None) -> int:
        itemsize, parameters = self.linear.dtype.itemsize, self.linear.parameters
        errors = self.stored * self.linear.factor_bytes
        if not self.stored:  # of two outputs at a time
            errors += 2 * self.linear.factor_bytes_of_one
        if k is None:
            return errors + 32 * self.n_samples * min(ROWS, self.n_samples)
        return errors + self.stored * itemsize * self.n_samples**2 * len(parameters)

    def product(self, V: np.ndarray) -> np.ndarray:
        """F* V: V mixes errors, the Gram matrix mixes samples, errors read off."""
        if not self.stored:
            return super().product(V)
        stop_if_asked()
        b = V.shape[1]
        mix = V.astype(self.linear.dtype).reshape(self.n_outputs, self.n_samples, b).transpose(1, 2, 0)
        total = np.zeros((self.n_samples, b, self.n_outputs), dtype=mix.dtype)
        for (_, delta, _), gram in zip(self.layers, self.grams, strict=True):
            if gram is None:  # all samples mix alike
                along = np.tensordot(mix, delta, ((0, 2), (0, 1)))  # (b, P): J^T V
                total += np.moveaxis(np.tensordot(along, delta, (1, 2)), 0, 1)
                continue
            mixed = np.matmul(mix, delta)  # (T, b, fan_out)
            mixed = gram(mixed.reshape(self.n_samples, -1)).reshape(mixed.shape)
            total += np.matmul(mixed, np.swapaxes(delta, 1, 2))
        return total.transpose(2, 0, 1).reshape(self.size, b).astype(np.float64) / self.n_samples

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Blocks at most `ROWS` samples high.

        Gram matrices of the inputs serve all pairs of outputs.
        """
        for start in range(0, self.n_samples, ROWS):
            part = slice(start, min(start + ROWS, self.n_samples))
            grams: list[np.ndarray] = []
            for k in range(self.n_outputs):
                stop_if_asked()
                here = self._errors(k)
                grams = grams or [h[part] @ h.T + h.dtype.type(bias) for h, _, bias in here]
                rows = slice(k * self.n_samples + part.start, k * self.n_samples + part.stop)
                for j in range(k + 1):
                    block = np.zeros((part.stop - part.start, self.n_samples), self.linear.dtype)
                    for gram, (_, delta, _), (_, other, _) in zip(grams, here, self._errors(j), strict=True):
                        block += gram * (delta[part] @ other.T)
                    yield rows, slice(j * self.n_samples, (j + 1) * self.n_samples), block / self.n_samples

    def trace(self) -> float:
        """Exact, from the norms of inputs and errors."""
        total = 0.0
        for k in range(self.n_outputs):
            for h, delta, bias in self._errors(k):
                total += float(np.sum((_squares(h) + bias) * _squares(delta)))
        return total / self.n_samples

    def _errors(self, k: int) -> list[Factors]:
        """(h, delta of output k, or of row k of R, bias) of every layer with parameters."""
        if self.stored:
            return [Factors(h, delta[:, k], bias) for h, delta, bias in self.layers]
        return self.jacobian.factors(self.linear.pull(self.jacobian.row(k)))


class BehindDual(StoredDual):
    r"""F* = R J J^T R^T / T, with J of the body and R of the layers behind it.

    The dual of the body comes by Hadamard products. For samples coupled behind the last weight layer alone, as by batch
    norm of the outputs: up to T times faster than `Dual`, which sends every sample of every output back through the
    network.
    """

    def __init__(self, jacobian: Jacobian, k: int | None):
        super().__init__(jacobian, None)
        linear, coordinates, root = jacobian.linear, jacobian.coordinates, jacobian.root
        network, outputs, parameters = linear.network, linear.network.output_shape, linear.parameters
        body, behind = _split(network)
        n_own = sum(bool(layer.parameter_shapes(outputs)) for layer in behind)
        n_body = len(parameters) - n_own
        inner = Linearisation(Network(network.input_shape, body), parameters[:n_body], linear.inputs)
        matrix = HadamardDual(Jacobian(inner, None, coordinates.of_first(n_body)), None).matrix()
        matrix = np.tril(matrix) + np.tril(matrix, -1).T

        x = inner.outputs
        own = iter(zip(parameters[n_body:], coordinates.factors[n_body:], strict=True))
        for layer in behind:
            shapes = layer.parameter_shapes(outputs)
            gains, factors = next(own) if shapes else ((), ())
            group = [gains] if shapes else []
            trace: list = []
            x = layer.forward(x, iter(group), trace)

            def push(
                dx: np.ndarray | None,
                tangent: tuple,
                layer: Any = layer,
                group: list = group,
                trace: list = trace,
            ) -> np.ndarray:
                if dx is not None and dx.ndim > 2 and not layer.batches_errors:
                    return np.stack([push(row, tangent) for row in dx])
                return layer.pushforward(dx, iter(group), iter([tangent]), iter(trace))

            still = tuple(None if shape is None else np.zeros(shape) for shape in shapes)
            for _ in range(2):  # the rows, and the rows of the transpose
                rows = np.swapaxes(matrix.reshape(self.size, self.n_outputs, self.n_samples), 1, 2)
                matrix = np.swapaxes(push(rows, still), 1, 2).reshape(self.size, self.size).T
            for i, factor in enumerate(factors):
                if shapes[i] is None:
                    continue
                one = tuple(None if z is None else z + factor * (i == j) for j, z in enumerate(still))
                for k_, dy in enumerate(push(None, one).T.astype(float)):
                    rows_k = slice(k_ * self.n_samples, (k_ + 1) * self.n_samples)
                    matrix[rows_k, rows_k] += np.multiply.outer(dy, dy) / self.n_samples
        if root is not None:
            matrix = root.columns(root.columns(matrix).T)
        self._matrix = matrix


def _coupled_behind(jacobian: Jacobian) -> bool:
    """Whether `BehindDual` serves the network at its inputs."""
    network = jacobian.linear.network
    body, behind = _split(network)
    return (
        jacobian.size <= MATRIX
        and all(layer.keeps_units for layer in behind)
        and one_by_one(body, network.input_shape)
        and jacobian.coordinates.separable
    )


def _split(network: Network) -> tuple[list, list]:
    """Layers up to the last weight layer, and behind it."""
    last = max(i for i, layer in enumerate(network.layers) if layer.total_weight_layers)
    return list(network.layers[: last + 1]), list(network.layers[last + 1 :])


def _squares(x: np.ndarray) -> np.ndarray:
    """Squared norm of every row, accumulated in float64."""
    return np.einsum("ti,ti->t", x, x, dtype=np.float64)


def _gram(h: np.ndarray, bias: float) -> Callable[[np.ndarray], np.ndarray] | None:
    """Product with h h^T + bias, the cheaper way round; None where that is 1."""
    if h.shape[1] == 0 and bias == 1:
        return None
    bias = h.dtype.type(bias)
    if h.shape[0] <= 2 * h.shape[1]:
        gram = h @ h.T + bias
        return lambda x: gram @ x
    return lambda x: h @ (h.T @ x) + bias * x.sum(axis=0)

r"""The dual of the Fisher information, :math:`F^* = J J^T/T`: products, blocks, trace and norm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .._memory import require_memory
from ..layers import Layer
from .lanczos import basis_size
from .network import Linearisation

__all__ = ["Dual", "HadamardDual", "dual"]

# Fixed numbers and not what happens to be free: the same call takes the same path, hence the same bits.
STORED_ERRORS = 2**30  # bytes; above, back-propagated errors are computed again where they are needed
WORTH_STORING = 30  # outputs for each eigenvalue wanted; above, few products do not repay storing them
ROWS = 2048  # samples in a block


def dual(linear: Linearisation, k: int | None) -> Dual:
    """The dual of a network at its inputs, for the k largest eigenvalues or all of them."""
    return Dual(linear) if _couples_samples(linear.one.network.layers) else HadamardDual(linear, k)


class Dual:
    """F* = J J^T / T, its rows ordered output by output, from Jacobian products alone: for any layer."""

    def __init__(self, linear: Linearisation):
        self.linear = linear
        self.n_samples, self.n_outputs = linear.outputs.shape
        self.size = self.n_samples * self.n_outputs

    def product(self, V: np.ndarray) -> np.ndarray:
        """F* V for V (TC, b): a backward and a forward pass for each column."""
        columns = []
        for v in V.T.astype(self.linear.one.dtype):
            u = v.reshape(self.n_outputs, self.n_samples).T
            columns.append(self.linear.push(self.linear.gradients(u)).T.ravel())
        return np.array(columns, dtype=np.float64).T / self.n_samples

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """(rows, columns, block) that cover the lower triangle, diagonal blocks entire."""
        for k in range(self.n_outputs):
            rows = slice(k * self.n_samples, (k + 1) * self.n_samples)
            unit = np.zeros((self.size, self.n_samples))
            unit[rows] = np.eye(self.n_samples)
            block = self.product(unit).T
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
        return float(sum(np.trace(block) for rows, columns, block in self.blocks() if rows == columns))

    def squared_norm(self) -> float:
        """Tr F*^2 = tr F^2: every block of two different outputs counts twice."""
        total = 0.0
        for rows, columns, block in self.blocks():
            same = rows.start // self.n_samples == columns.start // self.n_samples
            total += (1 if same else 2) * float(np.sum(np.square(block, dtype=np.float64)))
        return total


class HadamardDual(Dual):
    """The same where no layer couples samples, from Gram matrices: (h h^T + 1) * (delta delta^T), summed.

    Parameters
    ----------
    linear : Linearisation
    k : int or None
        How many eigenvalues will be asked for (None: all of them, from `matrix`).
    """

    def __init__(self, linear: Linearisation, k: int | None):
        super().__init__(linear)
        itemsize, parameters = linear.one.dtype.itemsize, linear.one.parameters
        errors = self.size * sum(weight.shape[0] for weight, _ in parameters) * itemsize
        self.stored = errors <= STORED_ERRORS and (k is None or self.n_outputs <= WORTH_STORING * k)
        if k is None:
            needed = 8 * (2 * self.size**2 + 4 * self.n_samples * min(ROWS, self.n_samples))
            advice = "pass k=... for the largest eigenvalues only, or fewer samples"
        else:
            needed = 16 * self.size * basis_size(self.size, k, min(k, self.n_outputs))
            needed += self.stored * itemsize * self.n_samples**2 * len(parameters)
            advice = "pass fewer samples or a smaller k"
        what = f"the spectrum of {self.n_outputs} outputs at {self.n_samples} samples"
        require_memory(needed + self.stored * errors, what, advice)
        if self.stored:
            self.layers = [(h, np.swapaxes(delta, 0, 1), bias) for h, delta, bias in linear.errors()]
            self.grams = [] if k is None else [_gram(h, bias) for h, _, bias in self.layers]

    def product(self, V: np.ndarray) -> np.ndarray:
        """F* V: V mixes the errors, the Gram matrix of the inputs mixes samples, the errors read off."""
        if not self.stored:
            return super().product(V)
        b = V.shape[1]
        mix = V.astype(self.linear.one.dtype).reshape(self.n_outputs, self.n_samples, b).transpose(1, 2, 0)
        total = np.zeros((self.n_samples, b, self.n_outputs), dtype=mix.dtype)
        for (_, delta, _), gram in zip(self.layers, self.grams, strict=True):
            mixed = np.matmul(mix, delta)  # (T, b, fan_out)
            mixed = gram(mixed.reshape(self.n_samples, -1)).reshape(mixed.shape)
            total += np.matmul(mixed, np.swapaxes(delta, 1, 2))
        return total.transpose(2, 0, 1).reshape(self.size, b).astype(np.float64) / self.n_samples

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Blocks at most `ROWS` samples high; Gram matrices of the inputs serve all pairs of outputs."""
        for start in range(0, self.n_samples, ROWS):
            part = slice(start, min(start + ROWS, self.n_samples))
            grams: list[np.ndarray] = []
            for k in range(self.n_outputs):
                here = self._errors(k)
                grams = grams or [h[part] @ h.T + h.dtype.type(bias) for h, _, bias in here]
                rows = slice(k * self.n_samples + part.start, k * self.n_samples + part.stop)
                for j in range(k + 1):
                    block = np.zeros((part.stop - part.start, self.n_samples), dtype=grams[0].dtype)
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

    def _errors(self, k: int) -> list[tuple[np.ndarray, np.ndarray, bool]]:
        """(h, delta of output k, bias) of every weight layer."""
        if self.stored:
            return [(h, delta[:, k], bias) for h, delta, bias in self.layers]
        u = np.zeros_like(self.linear.outputs)
        u[:, k] = 1
        return self.linear.pull(u)


def _couples_samples(layers: Sequence[Layer]) -> bool:
    return any(layer.couples_samples or _couples_samples(getattr(layer, "layers", ())) for layer in layers)


def _squares(x: np.ndarray) -> np.ndarray:
    """Squared norm of every row, accumulated in float64."""
    return np.einsum("ti,ti->t", x, x, dtype=np.float64)


def _gram(h: np.ndarray, bias: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Product with h h^T + bias, the cheaper way round."""
    if h.shape[0] <= 2 * h.shape[1]:
        gram = h @ h.T + h.dtype.type(bias)
        return lambda x: gram @ x
    return lambda x: h @ (h.T @ x) + (x.sum(axis=0) if bias else 0)

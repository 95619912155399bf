"""The kernel gradient without a network: a linear model over random functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.validation import finite_array, listed

__all__ = ["RandomFunctions"]


class RandomFunctions:
    r"""A linear model over P functions, drawn independently of one law.

    .. math:: f_\theta(x) = \frac{1}{\sqrt P} \sum_{p=1}^P \theta_p\, f^{(p)}(x)

    Its tangent kernel :math:`\frac1P \sum_p f_k^{(p)}(x)\, f_j^{(p)}(x')` does not depend on :math:`\theta`; it tends
    to the covariance of the functions, :math:`E[f_k(x) f_j(x')]`, as P grows. Gradient descent on the P parameters is
    descent along that kernel in the space of functions: what Jacot et al. show of wide networks, where it is plain.

    Serves `mfdnn.sampled.Operator`; `mfdnn.train` and `mfdnn.empirical_ntk` take it.

    Parameters
    ----------
    functions : sequence of callables
        Each maps inputs X of T rows to an array (T, C), or (T,) for C = 1. Networks drawn from one distribution, for
        example: then the kernel tends to `mfdnn.nngp`.
    vector : array_like, shape (P,), optional
        :math:`\theta`. Default: 0, so that the outputs are 0 too.

    Attributes
    ----------
    functions : tuple
    vector : ndarray, shape (P,)
    n_parameters : int
        P.
    couples_samples : bool
        False.

    Raises
    ------
    TypeError, ValueError
        `functions` that are none; a `vector` of another length.

    References
    ----------
    Jacot, Gabriel & Hongler 2018, "Neural tangent kernel: convergence and generalization in neural networks",
    arXiv:1806.07572, section 3.

    Examples
    --------
    Random waves have a Gaussian kernel:

    >>> import mfdnn, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> waves = [
    ...     lambda X, w=rng.standard_normal(2), b=rng.uniform(0, 2 * np.pi): np.sqrt(2) * np.cos(X @ w + b)
    ...     for _ in range(20000)
    ... ]
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> theta = mfdnn.empirical_ntk(mfdnn.sampled.RandomFunctions(waves), X)
    >>> print(np.abs(theta - np.exp(-((X[:, None] - X) ** 2).sum(2) / 2)).max().round(2))
    0.01
    """

    couples_samples = False

    def __init__(self, functions: Sequence[Any], vector: Any = None):
        self.functions = tuple(listed("functions", functions, "a list of functions of the inputs"))
        self.n_parameters = len(self.functions)
        if not self.functions or not all(map(callable, self.functions)):
            raise TypeError(
                f"`functions` must be a list of functions of the inputs, got {functions!r:.60}; pass for example "
                "sampled networks."
            )
        self.vector = np.zeros(self.n_parameters) if vector is None else finite_array("vector", vector)
        if self.vector.shape != (self.n_parameters,):
            raise ValueError(
                f"`vector` must have an entry for each of {self.n_parameters} functions, got shape "
                f"{self.vector.shape}; pass as many."
            )

    def __repr__(self) -> str:
        return f"RandomFunctions(P={self.n_parameters})"

    def __call__(self, X: Any) -> np.ndarray:
        """Outputs (T, C)."""
        return self.linearise(X).outputs

    def at(self, vector: Any) -> RandomFunctions:
        """The same functions with other parameters (P,)."""
        return RandomFunctions(self.functions, vector)

    def linearise(self, X: Any) -> Weighted:
        """The values of all functions at X, which are the Jacobian.

        Parameters
        ----------
        X : array
            T inputs, as the functions take them.

        Returns
        -------
        Linear

        Raises
        ------
        ValueError
            A function that returns another shape than (T, C) or (T,), or than others.
        """
        return Weighted(X, self._values(X), self.vector)

    def gram(self, X: Any) -> np.ndarray:
        """The tangent kernel (T C, T C), rows output by output."""
        values = self._values(X)
        rows = np.swapaxes(values, 1, 2).reshape(len(values), -1)
        return rows.T @ rows / self.n_parameters

    def _values(self, X: Any) -> np.ndarray:
        """The functions (P, T, C) at X."""
        values = [np.asarray(function(X), np.float64) for function in self.functions]
        values = [value[:, None] if value.ndim == 1 else value for value in values]
        shapes = {value.shape for value in values}
        if len(shapes) > 1 or values[0].ndim != 2 or len(values[0]) != len(X):
            raise ValueError(
                f"`functions` must all return an array ({len(X)}, C), one row for each input, got "
                f"{' and '.join(map(str, sorted(shapes)[:2]))}; mend them."
            )
        return np.stack(values)


class Weighted:
    """The values (P, T, C) of functions at T inputs, and their weighted sum."""

    def __init__(self, X: Any, values: np.ndarray, vector: np.ndarray):
        self.inputs, self._values = X, values / np.sqrt(len(values))
        self.outputs = self.jvp(vector)

    def jvp(self, v: np.ndarray) -> np.ndarray:
        """The sum (T, C) with weights v (P,)."""
        return np.tensordot(v, self._values, 1)

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """Scalar products (P,) with u (T, C)."""
        return np.tensordot(self._values, u, 2)

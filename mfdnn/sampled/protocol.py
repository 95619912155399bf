"""The protocol: what spectra and kernels need of a function of parameters.

`Served` checks what a stranger's object returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..jobs.watch import stop_if_asked

__all__ = ["Linear", "Operator", "Served", "serves"]


class Linear(Protocol):
    """A function of P parameters at T inputs, to first order in the parameters.

    More members are optional, for several products at a time where that is cheaper: ``jvps(V)``, (b, P) to (b, T, C);
    ``vjps(U)``, (b, T, C) to (b, P); and ``products(U)``, J J^T of each, (b, T, C) to (b, T, C).

    Attributes
    ----------
    inputs : object
        The batch, as it came.
    outputs : array (T, C)
        What the function makes of it: T samples, C outputs.
    """

    @property
    def inputs(self) -> Any:
        """The batch."""

    @property
    def outputs(self) -> np.ndarray:
        """The outputs (T, C) there."""

    def jvp(self, v: np.ndarray) -> np.ndarray:
        """J v (T, C), the change of the outputs along v.

        Parameters
        ----------
        v : array (P,)
            A change of the parameters, in an order of one's own, the same as in `vjp`.

        Returns
        -------
        array (T, C)
        """

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """J^T u (P,), the gradient of ``sum(u * outputs)``: the adjoint of `jvp`.

        Parameters
        ----------
        u : array (T, C)

        Returns
        -------
        array (P,)
        """


class Operator(Protocol):
    """What can have a Fisher spectrum and a tangent kernel.

    A `SampledNetwork` is one, and anything of one's own with these members. More members are optional: ``gram(X)``,
    J J^T as an array (T C, T C) whose rows go output by output, from which dense spectra and kernels are then taken;
    ``dtype``, "float32" or "float64" (the default), in which vectors come and go; ``features(X)``, what
    `mfdnn.feature_spectrum` asks for; and for training ``vector``, the parameters as an array (P,) in the order of
    `Linear.vjp`, and ``at(vector)``, the same function with others. A PyTorch module serves all but the first by
    `mfdnn.pytorch.operator`.

    Attributes
    ----------
    n_parameters : int
        P.
    couples_samples : bool
        Whether an output at one sample depends on the others, as in batch normalisation.

    Examples
    --------
    Features of the inputs, weighted by the parameters:

    >>> import mfdnn, numpy as np
    >>> class Cubic:
    ...     n_parameters, couples_samples = 4, False
    ...     def __call__(self, X):
    ...         return self.linearise(X).outputs
    ...     def linearise(self, X):
    ...         return Weighted(X)
    >>> class Weighted:
    ...     def __init__(self, X):
    ...         self.inputs, self.features = X, X[:, None] ** np.arange(4)
    ...         self.outputs = self.jvp(np.ones(4))
    ...     def jvp(self, v):
    ...         return self.features @ v[:, None]
    ...     def vjp(self, u):
    ...         return self.features.T @ u[:, 0]
    >>> X = np.linspace(-1, 1, 9)
    >>> F = Weighted(X).features.T @ Weighted(X).features / 9
    >>> bool(np.isclose(mfdnn.fisher_spectrum(Cubic(), X, k=1).largest, np.linalg.eigvalsh(F)[-1]))
    True
    """

    @property
    def n_parameters(self) -> int:
        """P, the number of parameters."""

    @property
    def couples_samples(self) -> bool:
        """Whether an output at one sample depends on the others."""

    def __call__(self, X: Any) -> np.ndarray:
        """Outputs (T, C) at the batch X of T inputs."""

    def linearise(self, X: Any) -> Linear:
        """The function at X to first order, for any number of Jacobian products."""


class Served:
    """A `Linear` of one's own, its arrays checked to have one dtype and shape.

    Parameters
    ----------
    linear : Linear
    one, X : Operator and its inputs, optional
        What it is the linearisation of, for the number of parameters and the Gram matrix.
    """

    def __init__(self, linear: Any, one: Any = None, X: Any = None):
        self.linear, self.one, self.inputs = linear, one, X
        self.dtype = np.dtype(getattr(one, "dtype", np.float64))
        self.outputs = self._real("outputs", linear.outputs, self.dtype)
        if self.outputs.ndim != 2 or self.outputs.size == 0:
            raise ValueError(
                f"`one` must have outputs of shape (T, C), got {self.outputs.shape}; return a row for every sample."
            )

    def jvp(self, v: np.ndarray) -> np.ndarray:
        """J v (T, C)."""
        return self._of_shape("jvp", self.linear.jvp(v), self.outputs.shape)

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """J^T u (P,)."""
        return self._of_shape(
            "vjp", self.linear.vjp(u), None if self.one is None else (self.one.n_parameters,)
        )

    def jvps(self, V: np.ndarray) -> np.ndarray:
        """J v of each v of (b, P): (b, T, C)."""
        return self._each("jvps", V, self.jvp, self.outputs.shape)

    def vjps(self, U: np.ndarray) -> np.ndarray:
        """J^T u of each u of (b, T, C): (b, P)."""
        return self._each("vjps", U, self.vjp, () if self.one is None else (self.one.n_parameters,))

    def products(self, U: np.ndarray) -> np.ndarray:
        """J J^T u of each u of (b, T, C): (b, T, C)."""
        return self._each("products", U, lambda u: self.jvp(self.vjp(u)), self.outputs.shape)

    def _each(self, name: str, given: np.ndarray, one: Callable, shape: tuple[int, ...]) -> np.ndarray:
        """By the method of that name, if there is one, or one after the other."""
        method = getattr(self.linear, name, None)
        if callable(method):
            stop_if_asked()
            return self._of_shape(name, method(given), (len(given), *shape) if shape else None)
        found: np.ndarray | None = None
        for i, vector in enumerate(given):
            stop_if_asked()
            row = one(vector)
            found = np.empty((len(given), *row.shape), row.dtype) if found is None else found
            found[i] = row
        return np.empty((0, *shape), self.dtype) if found is None else found

    @property
    def has_gram(self) -> bool:
        """Whether J J^T comes at once."""
        return callable(getattr(self.one, "gram", None))

    def gram(self) -> np.ndarray:
        """J J^T (T C, T C) in float64."""
        matrix = self._of_shape("gram", self.one.gram(self.inputs), (self.outputs.size,) * 2, np.float64)
        z = np.random.default_rng(0).standard_normal(len(matrix))  # sees what differs, without a second matrix
        # Far above what rounding in float32 leaves: one triangle alone, for example.
        if np.linalg.norm(matrix @ z - z @ matrix) > 1e-3 * np.linalg.norm(matrix @ z):
            raise ValueError("`gram` of `one` must return a symmetric matrix, J J^T; fill both of its triangles.")
        return matrix

    def _of_shape(
        self, name: str, value: Any, shape: tuple[int, ...] | None, dtype: Any = None
    ) -> np.ndarray:
        array = self._real(name, value, dtype or self.dtype)
        if shape is not None and array.shape != shape:
            raise ValueError(
                f"`{name}` of `one` must return an array of shape {shape}, got {array.shape}; see "
                "`mfdnn.sampled.Operator`."
            )
        return array

    @staticmethod
    def _real(name: str, value: Any, dtype: Any) -> np.ndarray:
        array = np.asarray(value)
        if np.iscomplexobj(array):
            raise ValueError(f"`{name}` of `one` must be real, got {array.dtype}; split them into real outputs.")
        return np.asarray(array, dtype)


def serves(one: Any) -> bool:
    """Whether `one` has the members of `Operator`."""
    members = ("n_parameters", "couples_samples", "linearise", "__call__")
    return not isinstance(one, type) and all(hasattr(one, name) for name in members)

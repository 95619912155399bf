"""Functions made of a function of parameters.

Its first-order expansion, and multiples of it. They serve the protocol of `mfdnn.sampled.Operator`, so that they have
kernels and spectra and can be trained.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .._support.validation import boolean, positive_number, real_array
from .checks import require_served
from .ntk import empirical_ntk
from .protocol import Linear, Operator, Served

__all__ = ["LinearisedNetwork", "RescaledNetwork", "checked_scale", "linearised", "rescaled"]


LARGEST = 1e10  # output scale, at which differences of outputs have six digits left


class Products:
    """A `Linear` with the Jacobian of another, times a factor, and outputs of its own."""

    def __init__(self, linear: Linear, outputs: np.ndarray, of: Any, factor: float = 1.0):
        self.inputs, self.outputs = linear.inputs, outputs
        self._linear, self._factor, self._several = linear, factor, Served(linear, of)

    def jvp(self, v: np.ndarray) -> np.ndarray:
        """J v (T, C)."""
        return self._factor * self._linear.jvp(v)

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """J^T u (P,)."""
        return self._factor * self._linear.vjp(u)

    def jvps(self, V: np.ndarray) -> np.ndarray:
        """J v (b, T, C) of each v of (b, P)."""
        return self._factor * self._several.jvps(V)

    def vjps(self, U: np.ndarray) -> np.ndarray:
        """J^T u (b, P) of each u of (b, T, C)."""
        return self._factor * self._several.vjps(U)

    def products(self, U: np.ndarray) -> np.ndarray:
        """J J^T u (b, T, C) of each u."""
        return self._factor**2 * self._several.products(U)


class _Made(ABC):
    """What all functions made of another have in common."""

    def __init__(self, origin: Any, vector: np.ndarray):
        self.origin, self.vector = origin, vector
        self.n_parameters, self.couples_samples = origin.n_parameters, origin.couples_samples
        self.dtype = np.dtype(getattr(origin, "dtype", np.float64))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin})"

    def __call__(self, X: Any) -> np.ndarray:
        """Outputs (T, C)."""
        return self.linearise(X).outputs

    @abstractmethod
    def linearise(self, X: Any) -> Products:
        """Outputs and Jacobian products at X."""


class LinearisedNetwork(_Made):
    r"""First-order expansion of a function of its parameters, around those that it has.

    .. math:: f(x) = f_0(x) + J_0(x)\,(\theta - \theta_0)

    Made by `linearised`; serves `mfdnn.sampled.Operator`.

    Attributes
    ----------
    origin : SampledNetwork or Operator
        The function at :math:`\theta_0`; of a SampledNetwork a copy.
    vector : ndarray, shape (P,)
        :math:`\theta`.
    n_parameters, couples_samples, dtype
        Those of `origin`.
    """

    def __init__(self, origin: Any, start: np.ndarray, vector: np.ndarray):
        super().__init__(origin, vector)
        self._start = start

    def at(self, vector: np.ndarray) -> LinearisedNetwork:
        """The expansion around the same parameters, at others (P,)."""
        return LinearisedNetwork(self.origin, self._start, _vector_like(self.vector, vector))

    def linearise(self, X: Any) -> Products:
        """Outputs and Jacobian products at X: a forward pass and a J v.

        Parameters
        ----------
        X : array (T, M_0), or (T, *input_shape)

        Returns
        -------
        Linear
            Its products are those of `origin`, wherever the parameters are.
        """
        linear = self.origin.linearise(X)
        return Products(linear, linear.outputs + linear.jvp(self.vector - self._start), self.origin)

    def gram(self, X: Any) -> np.ndarray:
        """The tangent kernel J J^T (T C, T C), which training does not change."""
        return empirical_ntk(self.origin, X)


class RescaledNetwork(_Made):
    r"""A function times a factor: :math:`\alpha f`, or :math:`\alpha (f - f_0)`.

    Made by `rescaled`; serves `mfdnn.sampled.Operator`.

    Attributes
    ----------
    origin : SampledNetwork or Operator
        The function f; of a SampledNetwork a copy.
    alpha : float
    vector : ndarray, shape (P,)
        The parameters of f.
    n_parameters, couples_samples, dtype
        Those of `origin`.
    """

    def __init__(self, origin: Any, alpha: float, start: Any, vector: np.ndarray):
        super().__init__(origin, vector)
        self.alpha, self._start = alpha, start

    def at(self, vector: np.ndarray) -> RescaledNetwork:
        """The same multiple, at other parameters (P,)."""
        vector = _vector_like(self.vector, vector)
        return RescaledNetwork(self.origin.at(vector), self.alpha, self._start, vector)

    def linearise(self, X: Any) -> Products:
        """Outputs and Jacobian products at X, as those of f."""
        linear = self.origin.linearise(X)
        outputs = linear.outputs if self._start is None else linear.outputs - self._start(X)
        return Products(linear, self.alpha * outputs, self.origin, self.alpha)


def linearised(one: Operator) -> LinearisedNetwork:
    r"""The first-order expansion of a network in its parameters, which can be trained.

    .. math:: f(x) = f_0(x) + J_0(x)\,(\theta - \theta_0)

    Exactly so: :math:`J_0` times a change is a forward pass of derivatives, and no Jacobian is stored.

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator`
        Around its parameters as they are now. One with `vector` and `at` is expanded around `vector`, another around
        parameters that are called 0.

    Returns
    -------
    LinearisedNetwork
        At first it is `one` itself. `mfdnn.train`, `mfdnn.empirical_ntk`, `mfdnn.fisher_spectrum` take it.

    Raises
    ------
    TypeError
        `one` serves no Jacobian products.

    Notes
    -----
    A step of training costs a forward pass, a J v and a backward pass: about 5/3 of that of the network.

    References
    ----------
    Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein & Pennington 2019, "Wide neural networks of any depth evolve as
    linear models under gradient descent", arXiv:1902.06720.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([3, 200, 200, 1], "tanh"), rng=0)
    >>> line, X, y = mfdnn.sampled.linearised(one), np.eye(3), np.ones((3, 1))
    >>> runs = [mfdnn.train(function, X, y, 0.002, 20) for function in (one, line)]
    >>> [round(run.final_loss / run.initial_loss, 3) for run in runs]
    [0.022, 0.022]
    """
    origin, start = _frozen(one)
    return LinearisedNetwork(origin, start, start)


def rescaled(one: Operator, alpha: float, *, centred: bool = False) -> RescaledNetwork:
    r"""A network times a number, the lazy output scale.

    Trained on a loss divided by :math:`\alpha^2` (so at the learning rate :math:`\eta/\alpha^2`) the outputs move as
    fast as before, and the parameters by :math:`1/\alpha` of what they did: a large :math:`\alpha` makes training
    linear (lazy) at any width, a small one makes it change features (active).

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator` with `vector` and `at`
    alpha : float
        :math:`\alpha > 0`.
    centred : bool
        Take away the outputs at the start, :math:`\alpha (f - f_0)`, which would grow with :math:`\alpha` too.

    Returns
    -------
    RescaledNetwork

    Raises
    ------
    TypeError, ValueError
        `one` cannot be moved to other parameters; `alpha` is not positive, or beyond :math:`10^{\pm 10}`.

    References
    ----------
    Chizat, Oyallon & Bach 2019, "On lazy training in differentiable programming", arXiv:1812.07956.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one, X, y = mfdnn.sample(mfdnn.mlp([3, 20, 1], "tanh"), rng=0), np.eye(3), np.ones((3, 1))
    >>> for alpha in (1.0, 100.0):
    ...     large = mfdnn.sampled.rescaled(one, alpha, centred=True)
    ...     run = mfdnn.train(large, X, y, 0.01 / alpha**2, 20)
    ...     print(f"{run.final_loss:.3f} {np.linalg.norm(run.trained.vector - large.vector):.4f}")
    0.099 0.2785
    0.101 0.0028
    """
    origin, start = _frozen(one)
    if not hasattr(origin, "at"):
        raise TypeError(
            f"`one` must have `vector` and `at`, to be moved, got {type(one).__name__}; see `mfdnn.sampled.Operator`."
        )
    return RescaledNetwork(origin, checked_scale(alpha), origin if boolean("centred", centred) else None, start)


def checked_scale(alpha: Any) -> float:
    """An output scale."""
    scale = positive_number("alpha", alpha)
    if not 1 / LARGEST <= scale <= LARGEST:
        raise ValueError(
            f"`alpha` must lie between {1 / LARGEST:g} and {LARGEST:g}, got {scale:g}: outputs would be rounding; pass "
            "another."
        )
    return scale


def _frozen(one: Any) -> tuple[Any, np.ndarray]:
    """The function as it is now, and its parameters (P,)."""
    require_served(one)
    if hasattr(one, "vector") and hasattr(one, "at"):
        start = np.array(one.vector)
        return one.at(start), start
    return one, np.zeros(one.n_parameters, np.dtype(getattr(one, "dtype", np.float64)))


def _vector_like(known: np.ndarray, vector: Any) -> np.ndarray:
    array = real_array("vector", vector).astype(known.dtype)
    if array.shape != known.shape:
        raise ValueError(
            f"`vector` must have shape {known.shape}, got {array.shape}; pass one entry for every parameter."
        )
    return array

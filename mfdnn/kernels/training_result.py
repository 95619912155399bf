"""What training does to a linear model: outputs, spread and losses at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.blas import single_blas_thread
from .._support.errors import NoTheory
from .._support.memory import require_memory
from .._support.results import Result
from .._support.validation import finite_array, finite_number
from .dynamics import modes_of
from .kernel_pair import KernelPair
from .paths import CrossEntropy, SquaredErrors
from .singular import SINGULAR

__all__ = ["KernelTraining"]


@dataclass(frozen=True, repr=False, eq=False)
class KernelTraining(Result):
    r"""Training of an infinitely wide network, by its kernel.

    Times t are a number or an array (n,); with an array results have n in front. They are those of the flow, or whole
    numbers of steps. T inputs are trained, T' are others.

    Attributes
    ----------
    eigenvalues : ndarray, shape (T,)
        :math:`\lambda_j` of :math:`s\,\Theta/T`, descending; 0 where they are at most 1e-12 of the largest, to which
        kernels are known. s is the scale of the loss (`mfdnn.losses.loss_scale`; for cross-entropy 1/2, the largest
        curvature there is, so that `times` are the shortest there can be).
    times : ndarray, shape (T,)
        In which the error along an eigenvector falls by a factor e, in the long run: :math:`1/\lambda_j` of the flow,
        steps of descent; inf where it does not fall.
    share : ndarray, shape (T,)
        Of the squared error :math:`|y - f_0|^2` at the start, along each eigenvector; :math:`f_0` the mean of the
        outputs. Without momentum ``loss(t)`` is :math:`\sum_j share_j (1 - \eta\lambda_j)^{2t}` of what it was.
    unlearnable, diverging : int
        How many eigenvalues are 0, and how many have errors that grow (the first ones).
    stable_rate, fastest_rate : float
        :math:`2/\lambda_{max}`, above which descent without momentum diverges, and :math:`2/(\lambda_{max} +
        \lambda_{min})`, at which its slowest mode is the fastest.
    learning_rate : float or None
        None: gradient flow.
    momentum : float
    nesterov : bool
    kernel, parameterisation, loss_name : str
        As they were given; `loss_name` is `loss`.
    n_samples, n_outputs : int
        T and C.
    caution : str
        What to know before this is used; or empty.
    """

    eigenvalues: np.ndarray
    times: np.ndarray
    share: np.ndarray
    unlearnable: int
    diverging: int
    stable_rate: float
    fastest_rate: float
    learning_rate: float | None
    momentum: float
    nesterov: bool
    kernel: str
    parameterisation: str
    loss_name: str
    n_samples: int
    n_outputs: int
    caution: str
    _path: SquaredErrors | CrossEntropy
    _kernels: KernelPair
    _initial: np.ndarray | None

    def outputs(self, t: Any, inputs: Any = None, *, initial: Any = None) -> np.ndarray:
        r"""Outputs at the trained inputs, or at others, in the mean over draws.

        :math:`f_t(x) = f_0(x) + \Theta(x, X) A_t`; for squared errors
        :math:`A_t = \Theta^{-1} (1 - e^{-s \Theta t/T}) (y - f_0)`, without the inverse of what is 0.

        Parameters
        ----------
        t : float or array_like, shape (n,)
        inputs : array_like, shape (T', M_0) or (T', *input_shape), optional
            Default: those that are trained.
        initial : array_like, shape (T', C), optional
            :math:`f_0` at `inputs`, where it was given at the trained ones. Default: its mean there over the networks
            that have it, :math:`K(x, X) K^{-1} f_0`; without any `initial` that is 0.

        Returns
        -------
        ndarray, shape (T, C) or (T', C), behind n
            The mean over all initialisations; over those with the given f_0.

        Raises
        ------
        ValueError
            `t` that is negative, or of descent not whole; `inputs` of another width; `initial` of another shape.
        OverflowError
            Training diverges beyond the range of floating point.
        MemoryError
            n matrices do not fit.
        """
        x = self._others(inputs, initial)
        times, one = self._times(t, (self.n_samples + (0 if x is None else len(x))) * self.n_outputs)
        with single_blas_thread():
            if x is None:
                found = self._path.outputs(times)
            else:
                found = self._at(x, initial, self._path.coefficients(times))
        return found[0] if one else found

    def covariance(self, t: Any, inputs: Any = None) -> np.ndarray:
        r"""Covariance of one output at two inputs, over initialisations.

        Of all outputs, which are independent. With :math:`B = \Theta(x, X)\,\Theta^{-1} (1 - e^{-s\Theta t/T})` it is
        :math:`K(x, x') - B K(X, x') - K(x, X) B^T + B K B^T`.

        Parameters
        ----------
        t : float or array_like, shape (n,)
        inputs : array_like, shape (T', M_0) or (T', *input_shape), optional
            Default: those that are trained.

        Returns
        -------
        ndarray, shape (T, T) or (T', T'), behind n

        Raises
        ------
        ValueError
            As `outputs`; and where `initial` was given, so that nothing is drawn, or the loss is cross-entropy (no
            theory).

        References
        ----------
        Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein & Pennington 2019, "Wide neural networks of any depth evolve
        as linear models under gradient descent", arXiv:1902.06720.
        """
        if self._initial is not None:
            raise ValueError(
                "`covariance` is that over initialisations, but `initial` was given; call `kernel_training` without."
            )
        path = self._squared("covariance")
        x = self._others(inputs)
        times, one = self._times(t, self.n_samples**2 if x is None else len(x) * (self.n_samples + len(x)))
        V, scale = path.modes.vectors, path.scale
        factors = path.factors(times)
        with single_blas_thread():
            drawn = self._drawn
            if x is None:
                left = factors.left
                found = V @ (left[:, :, None] * drawn * left[:, None, :]) @ V.T
            else:
                learned = factors.learned * (self.eigenvalues > 0)
                B = scale * (self._kernels.trained(x) @ V) * learned[:, None, :]
                moved = B @ (V.T @ self._kernels.outputs(x).T)
                found = self._kernels.outputs_among(x) - moved - np.swapaxes(moved, 1, 2)
                found = found + B @ drawn @ np.swapaxes(B, 1, 2)
            found = (found + np.swapaxes(found, 1, 2)) / 2
        variances = np.einsum("tii->ti", found)  # a view
        np.maximum(variances, 0.0, out=variances)  # below 0 by rounding alone, where all is learned
        return found[0] if one else found

    def loss(self, t: Any) -> Any:
        """Loss of the mean outputs on the data that are trained: a number, or (n,).

        inf where it is beyond the range of floating point. Raises what `outputs` does for `t`.
        """
        times, one = self._times(t)
        values = self._path.losses(times)
        return float(values[0]) if one else values

    def expected_loss(self, t: Any) -> Any:
        r"""Mean of the loss over initialisations: a number, or (n,).

        That of the mean outputs and :math:`\frac{sC}{2T} \mathrm{tr}\,\mathrm{cov}`; where `initial` was given both
        are the same.

        Raises
        ------
        ValueError
            As `outputs`, for `t`; cross-entropy without `initial` (no theory).
        """
        if self._initial is not None:
            return self.loss(t)
        path = self._squared("expected_loss")
        times, one = self._times(t)
        squares = np.sum(path.along**2, axis=1) + self.n_outputs * np.maximum(np.diagonal(self._drawn), 0.0)
        values = path.sum_of_squares(times, squares)
        return float(values[0]) if one else values

    def ridgeless(self, inputs: Any = None, *, initial: Any = None) -> np.ndarray:
        r"""Outputs at the end of training.

        They are :math:`f_0 + \Theta(x, X)\,\Theta^{-1} (y - f_0)`. The inverse is that of eigenvalues above 1e-12 of
        the largest (the pseudo-inverse). Arguments, result and errors as of `outputs`; cross-entropy has no such end.
        """
        return self._solved(inputs, initial, 0.0)

    def ridge(self, inputs: Any, penalty: float, *, initial: Any = None) -> np.ndarray:
        r"""Kernel ridge regression.

        It is :math:`f_0 + \Theta(x, X) (\Theta + \rho)^{-1} (y - f_0)`, and minimises
        :math:`|f - y|^2 + \rho |\theta - \theta_0|^2` over the parameters that are trained.

        Parameters
        ----------
        inputs : array_like, shape (T', M_0) or (T', *input_shape), or None
            None: those that are trained.
        penalty : float
            :math:`\rho \ge 0`, in units of :math:`\Theta` (not of `eigenvalues`).
        initial : array_like, shape (T', C), optional
            As in `outputs`.

        Returns
        -------
        ndarray, shape (T', C)

        Raises
        ------
        ValueError
            As `outputs`; a negative `penalty`; cross-entropy.
        """
        rho = finite_number("penalty", penalty)
        if rho < 0:
            raise ValueError(f"`penalty` must be >= 0, got {rho:g}; pass its size.")
        return self._solved(inputs, initial, rho)

    def _solved(self, inputs: Any, initial: Any, penalty: float) -> np.ndarray:
        path = self._squared("ridge")
        x = self._others(inputs, initial)
        theta = self.eigenvalues / path.scale
        weight = np.divide(1.0, theta + penalty, out=np.zeros_like(theta), where=theta > 0)[:, None]
        with single_blas_thread():
            if x is not None:
                return self._at(x, initial, (path.modes.vectors @ (weight * path.along))[None])[0]
            left = 1 - weight * theta[:, None]
            return path.targets - path.modes.vectors @ (left * path.along)

    @property
    def _drawn(self) -> np.ndarray:
        """The covariance of first outputs, in the modes: (T, T)."""
        return self._kernels.once("drawn", self._rotated)

    def _rotated(self) -> np.ndarray:
        V = self._squared("covariance").modes.vectors
        return V.T @ self._kernels.outputs() @ V

    def _others(self, inputs: Any, initial: Any = None) -> np.ndarray | None:
        """Checked inputs (T', ...), or None: those that are trained.

        `initial` at them is known.
        """
        if initial is not None and inputs is None:
            raise ValueError("`initial` belongs to `inputs`, got None; give it to `kernel_training`.")
        if initial is not None and self._initial is None:
            raise ValueError(
                "`initial` must be given at the trained inputs too, got it at others alone; give both or none."
            )
        return None if inputs is None else self._kernels.checked(inputs)

    def _at(self, x: np.ndarray, initial: Any, coefficients: np.ndarray) -> np.ndarray:
        """Outputs (n, T', C) at others of coefficients (n, T, C)."""
        moved = self._kernels.trained(x) @ coefficients
        if self._initial is None:
            return moved
        if initial is not None:
            return matrix_of_outputs("initial", initial, len(x), self.n_outputs) + moved
        return self._kernels.outputs(x) @ self._kernels.once("regressed", self._regressed) + moved

    def _regressed(self) -> np.ndarray:
        """K^{-1} f_0 (T, C), as `ridgeless` inverts."""
        values, vectors = modes_of(self._kernels.outputs(), SINGULAR)
        weight = np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
        return vectors @ (weight[:, None] * (vectors.T @ self._initial))

    def _squared(self, name: str) -> SquaredErrors:
        if isinstance(self._path, SquaredErrors):
            return self._path
        raise NoTheory(
            f"`{name}` is known for squared errors, got `loss` = cross_entropy, whose outputs do not follow their "
            "mean; take half_mse, or train draws of `initial`."
        )

    def _times(self, t: Any, numbers: int | None = None) -> tuple[np.ndarray, bool]:
        """Times as (n,), and whether they came as a number.

        Memory is predicted for so many numbers of each, T by default.
        """
        times = finite_array("t", t)
        unit = "time of gradient flow" if self.learning_rate is None else "number of steps"
        if times.ndim > 1 or times.size == 0:
            raise ValueError(f"`t` must be a {unit} or a list of them, got shape {times.shape}; pass for example 0.")
        if np.any(times < 0):
            raise ValueError(f"`t` is a {unit} and must be >= 0, got {times.min():g}; training begins at 0.")
        if self.learning_rate is not None and np.any(times != np.floor(times)):
            raise ValueError(
                f"`t` is a {unit} and must be whole, got {times[times != np.floor(times)].ravel()[0]:g}; round it, or "
                "drop `learning_rate` for gradient flow."
            )
        require_memory(
            3 * 8 * times.size * (numbers or self.n_samples),  # the result, and two like it on the way
            f"training at {times.size} times",
            "pass fewer of them, or fewer inputs",
        )
        return np.atleast_1d(times), times.ndim == 0


def matrix_of_outputs(name: str, value: Any, n_samples: int, n_outputs: int) -> np.ndarray:
    """Outputs as a matrix (T, C)."""
    array = finite_array(name, value, f"a ({n_samples}, {n_outputs}) matrix of outputs")
    if n_outputs == 1 and array.shape == (n_samples,):
        array = array[:, None]
    if array.shape != (n_samples, n_outputs):
        raise ValueError(
            f"`{name}` must have the shape of the outputs, ({n_samples}, {n_outputs}), got {array.shape}; pass one row "
            "for each sample."
        )
    return array

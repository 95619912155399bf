"""What a wide two-layer network does on its data, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.results import Result, unwrap
from .._support.validation import finite_array, finite_number, one_of, positive_number
from ..activations import Activation
from .theorems import ELSEWHERE, THEOREMS, Case, Theorem

__all__ = ["TwoLayerTheory", "checked_labels", "checked_size"]

EXTREME = 1e30  # its powers stay in the range of floats


@dataclass(frozen=True, repr=False, eq=False)
class TwoLayerTheory(Result):
    r"""The kernel of a wide two-layer network on its data, and what it predicts.

    With n = T inputs, and u the outputs at them.

    Attributes
    ----------
    gram : ndarray, shape (T, T)
        :math:`H^\infty`.
    labels : ndarray, shape (T,)
        y.
    eigenvalues : ndarray, shape (T,)
        Of `gram`, descending.
    lambda_0 : float
        The smallest eigenvalue, or 0 where it cannot be told from 0 (`caution` says so): bounds and widths are then
        those of 0, which are void.
    separation : float
        The smallest distance of two inputs (2 for a single input).
    lazy_width : float
        About the width m at which training to the end moves pre-activations by a tenth of their size `kappa`, root mean
        square, from outputs u(0) = 0: :math:`100\, \alpha^T (E[\phi'\phi'] \circ (XX^T)^2)\, \alpha/(n \kappa^2)` with
        :math:`\alpha = H^{-1} y`. Widths well below are not lazy, and no prediction here is about them.
    activation : Activation
    trained : str
        "weights" or "both".
    kappa : float
        Standard deviation of the weights.
    n_samples : int
        n = T.
    caution : str
        What to know before the predictions are used; empty if nothing.
    """

    gram: np.ndarray
    labels: np.ndarray
    eigenvalues: np.ndarray
    lambda_0: float
    separation: float
    lazy_width: float
    activation: Activation
    trained: str
    kappa: float
    n_samples: int
    caution: str
    _eigenvectors: np.ndarray
    _covariance: np.ndarray

    def __repr__(self) -> str:
        return (
            f"TwoLayerTheory({self.activation.label}, {self.trained} trained, T={self.n_samples}, "
            f"lambda_0={self.lambda_0:.6g}, kappa={self.kappa:g})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Public fields, rates, their convention and the sources, as plain Python."""
        return {
            **super().to_dict(),
            "step_size": self.step_size,
            "stable_rate": self.stable_rate,
            "convention": self.convention,
            "sources": self.sources,
        }

    @property
    def convention(self) -> str:
        """The loss to which rates and times belong."""
        return (
            "sum over samples of half squared errors; times and learning rates of half_mse, the mean over samples, are "
            f"T = {self.n_samples} times as large"
        )

    @property
    def step_size(self) -> float:
        r"""The rate :math:`\lambda_0/n^2` of Du et al., with constant 1."""
        return self.lambda_0 / self.n_samples**2

    @property
    def stable_rate(self) -> float:
        r"""The rate :math:`2/\lambda_{max}` up to which the infinite width is stable."""
        return float(2 / self.eigenvalues[0])

    @property
    def sources(self) -> dict[str, str]:
        """Theorem to its formula, where it is from, and why it may not apply here.

        It says what was read in print and what was not.
        """
        return {name: self._source(theorem) for name, theorem in THEOREMS.items()}

    def _source(self, theorem: Theorem) -> str:
        relu = self.activation.homogeneous == (0.0, 1.0)
        holds = {
            "relu": relu,
            "smooth": self.activation.pieces.smooth,
            "weights": self.trained == "weights",
            "kappa": self.kappa == 1,
        }
        elsewhere = " and ".join(ELSEWHERE[name] for name in theorem.assumes if not holds[name])
        note = f" Not for this network: it {elsewhere}." if elsewhere else ""
        return f"{theorem.formula}: {theorem.source}.{note}"

    def required_width(self, delta: float, epsilon: float = 0.1) -> dict[str, float]:
        """Width that each theorem asks for, all constants and logarithms taken as 1.

        The theorems name no constants, so these are orders of magnitude: `sources` has the formulas, and says which of
        them are about other networks. What is needed in truth is `mfdnn.comparison.required_width_measured`.

        Parameters
        ----------
        delta : float
            Probability of failure, between 0 and 1.
        epsilon : float
            Error that is allowed to the prediction of Arora et al. for :math:`|y - u(k)|`.

        Returns
        -------
        dict of str to float

        Raises
        ------
        TypeError, ValueError
            `delta` outside (0, 1), `epsilon` that is not positive.

        Examples
        --------
        >>> import mfdnn, numpy as np
        >>> theory = mfdnn.two_layer_theory(np.eye(3), np.ones(3))
        >>> {name: f"{width:.3g}" for name, width in theory.required_width(0.1).items()}["Du et al. 2019"]
        '1.17e+07'
        """
        failure, error = finite_number("delta", delta), checked_size("epsilon", epsilon)
        if not 0 < failure < 1:
            raise ValueError(f"`delta` is a probability of failure in (0, 1), got {failure:g}; 0.1 means one in ten.")
        case = Case(float(self.n_samples), self.lambda_0, self.separation, self.kappa, failure, error)
        return {name: theorem.width(case) for name, theorem in THEOREMS.items()}

    def bound(self, k: Any, eta: float | None = None) -> Any:
        r"""Bound of the theorems on :math:`|u(k) - y|^2/|u(0) - y|^2`.

        .. math::
            e^{-\lambda_0 k} \text{ (gradient flow)}, \qquad (1 - \eta \lambda_0/2)^k \text{ (descent)}.

        Parameters
        ----------
        k : float or array_like
            Time of the flow, or number of steps.
        eta : float, optional
            Learning rate. Default: gradient flow.

        Returns
        -------
        float or ndarray
            Of the shape of `k`.

        Raises
        ------
        TypeError, ValueError
            Negative `k`; `eta` that is not positive, or so large that the infinitely wide network does not keep the
            bound.
        """
        times = _times(k)
        if eta is None:
            return unwrap(np.exp(-self.lambda_0 * times))
        top = float(self.eigenvalues[0])
        # (1 - eta lambda)^2 <= 1 - eta lambda_0/2 at the largest eigenvalue, where it fails first.
        rate = _rate(eta, 2 / top - self.lambda_0 / (2 * top**2), "does not keep the bound")
        return unwrap((1 - rate * self.lambda_0 / 2) ** times)

    def predicted_residual(self, eta: float | None, k: Any, initial: Any = None) -> Any:
        r"""Fine-grained prediction of :math:`|y - u(k)|`.

        .. math::
            |(I - \eta H^\infty)^k (y - u(0))|
            = \Big(\sum_i (1 - \eta\lambda_i)^{2k} (v_i \cdot (y - u(0)))^2\Big)^{1/2}

        Parameters
        ----------
        eta : float or None
            Learning rate; None: gradient flow, :math:`|e^{-k H}(y - u(0))|` with k its time.
        k : int or float, or array of them
            Number of steps, or time.
        initial : array (T,) or "average", optional
            u(0), the outputs of a network at the start. Default: 0, as of small `kappa` in the theorem. "average": the
            root mean square over networks drawn, whose outputs have covariance :math:`E[\phi\phi]`.

        Returns
        -------
        float or ndarray
            Of the shape of `k`.

        Raises
        ------
        TypeError, ValueError
            Negative `k`, parts of steps; `eta` that is not positive, or beyond `stable_rate`; `initial` of another
            shape.

        References
        ----------
        Arora, Du, Hu, Li & Wang 2019, "Fine-grained analysis of optimization and generalization for overparameterized
        two-layer neural networks", arXiv:1901.08584.
        """
        times = _times(k)
        spread = np.zeros(self.n_samples)
        start = np.zeros(self.n_samples)
        if isinstance(initial, str):
            one_of("initial", initial, ["average"])
            spread = np.einsum("ti,ti->i", self._eigenvectors, self._covariance @ self._eigenvectors)
        elif initial is not None:
            start = checked_labels("initial", initial, self.n_samples)
        if eta is None:
            decay = np.exp(-np.multiply.outer(times, self.eigenvalues))
        else:
            if np.any(times != np.floor(times)):
                raise ValueError("`k` counts steps and must be whole, got parts; pass eta=None for the flow's time.")
            rate = _rate(eta, self.stable_rate, "does not converge")
            decay = (1 - rate * self.eigenvalues) ** times[..., None]
        modes = ((self.labels - start) @ self._eigenvectors) ** 2 + spread
        return unwrap(np.sqrt(decay**2 @ modes))

    def generalisation(self, y: Any = None) -> float:
        r"""Generalisation measure :math:`\sqrt{2\, y^T (H^\infty)^{-1} y/n}` of labels.

        The leading term of a bound on the population loss: small for labels that generalise, 1 and more for random
        ones. inf where `lambda_0` is 0.

        Parameters
        ----------
        y : array (T,), optional
            Other labels of the same inputs. Default: `labels`.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            Labels of another shape, or not finite.

        References
        ----------
        As for `predicted_residual`.
        """
        labels = self.labels if y is None else checked_labels("y", y, self.n_samples)
        if self.lambda_0 == 0:
            return np.inf
        return float(np.sqrt(2 * np.sum((labels @ self._eigenvectors) ** 2 / self.eigenvalues) / self.n_samples))


def checked_labels(name: str, value: Any, n_samples: int) -> np.ndarray:
    """One finite number an input."""
    labels = finite_array(name, value, "an array of one number an input")
    if labels.shape != (n_samples,):
        advice = f"{name}[:, 0]" if labels.shape == (n_samples, 1) else "those of these inputs"
        raise ValueError(
            f"`{name}` must have shape ({n_samples},), one number a row of `X`, got {labels.shape}; pass {advice}."
        )
    return labels


def checked_size(name: str, value: Any) -> float:
    """A positive number, neither tiny nor huge."""
    number = positive_number(name, value)
    if not 1 / EXTREME <= number <= EXTREME:
        raise ValueError(
            f"`{name}` must lie in [{1 / EXTREME:g}, {EXTREME:g}], got {number:g}; pass one nearer to 1."
        )
    return number


def _times(k: Any) -> np.ndarray:
    times = finite_array("k", k)
    if np.any(times < 0):
        raise ValueError(f"`k` must be >= 0, got {times.min():g}; it is a time, or a number of steps.")
    return times


def _rate(eta: Any, limit: float, beyond: str) -> float:
    rate = finite_number("eta", eta)
    if not 0 < rate <= limit:
        raise ValueError(
            f"`eta` must lie in (0, {limit:.6g}], got {rate:g}; beyond, even the infinitely wide network {beyond}."
        )
    return rate

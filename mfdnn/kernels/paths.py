r"""Training of a linear model, as a path of the coefficients of its kernel.

Whatever the loss, outputs stay :math:`f = f_0 + \Theta A` with a matrix A (T, C) that moves: gradients are combinations
of the derivatives of outputs at the T inputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._support.errors import OutOfRange
from ..jobs.watch import stop_if_asked, told_if_long
from ..losses.probabilities import softmax
from ..losses.values import loss_and_slope
from .dynamics import Factors, Modes, descent, flow, growth

__all__ = ["CrossEntropy", "Optimiser", "SquaredErrors"]

ROUNDING = 1e-15  # of the logarithm of a factor that is 1
DENSE = 1000  # unknowns up to which the solver may invert their Jacobian
TOLERANCE = 1e-9  # of the solver: relative, and absolute in units of 1


class Optimiser(NamedTuple):
    """Gradient flow (`rate` None), or descent."""

    rate: float | None
    momentum: float = 0.0
    nesterov: bool = False

    def factors(self, values: np.ndarray, t: np.ndarray) -> Factors:
        """What is left and learned at times, or after steps, t (n,)."""
        rate, b, nesterov = self
        return flow(values, t) if rate is None else descent(values, t, rate, b, nesterov)

    def falls(self, values: np.ndarray) -> np.ndarray:
        """By how much the logarithm of errors falls per time or step, in the long run."""
        rate, b, nesterov = self
        if rate is None:
            return values
        falls = -growth(values, rate, b, nesterov)
        return np.where(np.abs(falls) < ROUNDING, 0.0, falls)


class SquaredErrors:
    """Squared errors, in closed form.

    Parameters
    ----------
    modes : Modes
        Of s Theta/T.
    targets, initial : (T, C) array
        y and f_0.
    scale : float
        s/T.
    optimiser : Optimiser
    """

    def __init__(
        self, modes: Modes, targets: np.ndarray, initial: np.ndarray, scale: float, optimiser: Optimiser
    ):
        self.modes, self.targets, self.scale, self.optimiser = modes, targets, scale, optimiser
        self.along = modes.vectors.T @ (targets - initial)  # (T, C): the first error, mode by mode

    def factors(self, t: np.ndarray) -> Factors:
        """Of errors along the modes, at times t (n,); finite."""
        found = self.optimiser.factors(self.modes.values, t)
        over = ~np.isfinite(found.left).all(axis=1)
        if over.any():
            raise OutOfRange(
                f"the outputs at t = {t[over][0]:g} are beyond the range of floating point, as training diverges",
                "take earlier steps, or a `learning_rate` below `stable_rate`",
            )
        return found

    def coefficients(self, t: np.ndarray) -> np.ndarray:
        """A (n, T, C)."""
        learned = self.factors(t).learned * (self.modes.values > 0)  # the others are no functions of the inputs
        return self.scale * (self.modes.vectors @ (learned[..., None] * self.along))

    def outputs(self, t: np.ndarray) -> np.ndarray:
        """Outputs at the T inputs, (n, T, C)."""
        return self.targets - self.modes.vectors @ (self.factors(t).left[..., None] * self.along)

    def losses(self, t: np.ndarray) -> np.ndarray:
        """Values of the loss (n,); inf where they overflow."""
        return self.sum_of_squares(t, np.sum(self.along**2, axis=1))

    def sum_of_squares(self, t: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Loss (n,) of first errors with these squares (T,) along the modes."""
        left = self.optimiser.factors(self.modes.values, t).left
        with np.errstate(over="ignore"):
            return self.scale / 2 * np.sum(np.where(squares > 0, left * left, 0.0) * squares, axis=1)


class CrossEntropy:
    r"""Cross-entropy: :math:`\dot A = (y - p)/T`, p the softmax of the outputs.

    The flow by SciPy's solver; descent step by step.

    Parameters
    ----------
    theta : (T, T) array
    targets, initial : (T, C) array
        Probabilities, and logits at the start.
    optimiser : Optimiser
    """

    def __init__(self, theta: np.ndarray, targets: np.ndarray, initial: np.ndarray, optimiser: Optimiser):
        self.theta, self.targets, self.initial, self.optimiser = theta, targets, initial, optimiser

    def coefficients(self, t: np.ndarray) -> np.ndarray:
        """A (n, T, C)."""
        order, back = np.unique(t, return_inverse=True)
        with told_if_long(lambda: f"training by cross-entropy up to t = {order[-1]:g} takes long"):
            found = self._flow(order) if self.optimiser.rate is None else self._descent(order)
        return found[back]

    def outputs(self, t: np.ndarray) -> np.ndarray:
        """Outputs at the T inputs, (n, T, C)."""
        return self.initial + self.theta @ self.coefficients(t)

    def losses(self, t: np.ndarray) -> np.ndarray:
        """Values of the loss (n,)."""
        return np.array([loss_and_slope("cross_entropy", f, self.targets)[0] for f in self.outputs(t)])

    def _slope(self, A: np.ndarray) -> np.ndarray:
        """What A moves against: (p - y)/T."""
        stop_if_asked()
        return loss_and_slope("cross_entropy", self.initial + self.theta @ A, self.targets)[1]

    def _jacobian(self, A: np.ndarray) -> np.ndarray:
        """Derivative of the flow of A by A, (T C, T C)."""
        p = softmax(self.initial + self.theta @ A)
        q = p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :]
        return -np.einsum("tkj,ts->tksj", q, self.theta / len(p)).reshape(A.size, A.size)

    def _flow(self, t: np.ndarray) -> np.ndarray:
        from scipy.integrate import solve_ivp

        shape, size = self.initial.shape, self.initial.size
        if t[-1] == 0:
            return np.zeros((1, *shape))
        # Stiff once the first modes are learned.
        stiff: dict[str, Any] = {"method": "DOP853"}
        if size <= DENSE:
            stiff = {"method": "LSODA", "jac": lambda _, a: self._jacobian(a.reshape(shape))}
        found = solve_ivp(
            lambda _, a: -self._slope(a.reshape(shape)).ravel(),
            (0.0, t[-1]),
            np.zeros(size),
            t_eval=t,
            rtol=TOLERANCE,
            atol=TOLERANCE,
            **stiff,
        )
        if not found.success:
            raise ArithmeticError(f"The flow of cross-entropy stopped at t = {found.t[-1]:g}: {found.message}")
        return found.y.T.reshape(-1, *shape)

    def _descent(self, steps: np.ndarray) -> np.ndarray:
        rate, b, nesterov = self.optimiser
        A, velocity, done, found = np.zeros_like(self.initial), np.zeros_like(self.initial), 0, []
        for step in steps:
            for _ in range(done, int(step)):
                g = rate * self._slope(A)
                velocity = b * velocity + g
                A = A - (g + b * velocity if nesterov else velocity)
            done = int(step)
            found.append(A)
        return np.array(found)

"""The catapult, solved: one sample, a linear network of two layers, two numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.results import Result
from .._support.validation import checked, finite_number, positive_integer

__all__ = ["CatapultTrajectory", "catapult_trajectory"]


@dataclass(frozen=True, repr=False, eq=False)
class CatapultTrajectory(Result):
    r"""Gradient descent on the model of `catapult_trajectory`.

    Attributes
    ----------
    f : ndarray, shape (n + 1,)
        The output before each step, and after the last; the target is 0.
    curvature : ndarray, shape (n + 1,)
        :math:`\lambda`, the eigenvalue of the tangent kernel, at the same times.
    learning_rate : float
        :math:`\eta`.
    width : int
        n of the model (not of the shapes here).
    losses : ndarray, shape (n + 1,)
        :math:`f^2/2`.
    zone : str
        "lazy", "catapult" or "divergent", by the learning rate and the first curvature.
    """

    f: np.ndarray
    curvature: np.ndarray
    learning_rate: float
    width: int

    @property
    def losses(self) -> np.ndarray:
        """The losses f^2/2, shape (n + 1,), at the same times as `f`."""
        return self.f**2 / 2

    @property
    def zone(self) -> str:
        """One of "lazy" (below 2/lambda_0), "catapult" (up to 4/lambda_0) and "divergent"."""
        step = self.learning_rate * float(self.curvature[0])
        return "lazy" if step < 2 else "catapult" if step < 4 else "divergent"


def catapult_trajectory(
    f: float, curvature: float, learning_rate: float, n_steps: int, width: int = 1
) -> CatapultTrajectory:
    r"""Gradient descent on the smallest network that has a catapult, exactly.

    A linear network of two layers and one sample is followed in two numbers. The network is
    :math:`f = n^{-1/2}\, v \cdot u` at x = 1, the target 0, the loss :math:`f^2/2`, and the only non-zero eigenvalue of
    its tangent kernel :math:`\lambda = (|u|^2 + |v|^2)/n`. A step makes of them

    .. math::
        f' = \left(1 - \eta\lambda + \eta^2 f^2/n\right) f, \qquad
        \lambda' = \lambda + \frac{\eta f^2}{n} (\eta\lambda - 4).

    Below :math:`2/\lambda_0` the loss falls and :math:`\lambda` hardly moves (lazy); up to :math:`4/\lambda_0` the loss
    grows until it is of the order of n, which lowers :math:`\lambda` below :math:`2/\eta`, and then falls (catapult);
    above, both grow without end.

    Parameters
    ----------
    f : float
        Output at the start.
    curvature : float
        :math:`\lambda_0`, at least :math:`2|f|/\sqrt n`, as for all u and v.
    learning_rate : float
        :math:`\eta > 0`.
    n_steps : int
    width : int
        n. With 1, f = v.u is the network in standard parameterisation, of any width, and :math:`\lambda` =
        :math:`\lambda_{max}(F)` = :math:`|u|^2 + |v|^2`.

    Returns
    -------
    CatapultTrajectory
        Its arrays end before the first step that overflows.

    Raises
    ------
    TypeError, ValueError
        `curvature` below what f allows; a learning rate or a size that is not positive; numbers that are not finite.

    References
    ----------
    Lewkowycz, Bahri, Dyer, Sohl-Dickstein & Gur-Ari 2020, "The large learning rate phase of deep learning: the
    catapult mechanism", arXiv:2003.02218.

    Examples
    --------
    >>> import mfdnn
    >>> for rate in (1.0, 2.5, 5.0):
    ...     path = mfdnn.catapult_trajectory(1.0, 1.0, rate, n_steps=40, width=1000)
    ...     print(f"{path.zone}: largest loss {path.losses.max():.3g}, last curvature {path.curvature[-1]:.3g}")
    lazy: largest loss 0.5, last curvature 0.997
    catapult: largest loss 13.6, last curvature 0.507
    divergent: largest loss 5.28e+189, last curvature 9.27e+93
    """
    output, value = finite_number("f", f), finite_number("curvature", curvature)
    eta = finite_number("learning_rate", learning_rate)
    n, steps = positive_integer("width", width), checked(n_steps=n_steps)
    if eta <= 0:
        raise ValueError(f"`learning_rate` must be positive, got {eta:g}; pass its size.")
    least = 2 * abs(output) / np.sqrt(n)  # 2 |u.v| <= |u|^2 + |v|^2
    if value < least * (1 - 1e-12):
        raise ValueError(
            f"`curvature` must be at least 2|`f`|/sqrt(`width`) = {least:g}, got {value:g}: no network has less; pass "
            "more."
        )
    path = [(output, value)]
    for _ in range(steps):
        square = eta * output**2 / n
        output, value = (1 - eta * value + eta * square) * output, value + square * (eta * value - 4)
        if not (
            abs(output) < 1e150 and abs(value) < 1e150
        ):  # squares and products of the next step are finite
            break
        path.append((output, value))
    outputs, values = np.array(path).T
    return CatapultTrajectory(outputs, values, eta, n)

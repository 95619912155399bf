r"""Squared errors under gradient flow and gradient descent, mode by mode.

Where outputs are linear in the parameters, an error along an eigenvector of the kernel is multiplied by a number p(t),
and parameters have moved by :math:`(1 - p)/\lambda` of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._support.blas import single_blas_thread

__all__ = ["Factors", "Modes", "descent", "flow", "growth", "modes_of"]

TINY = 1e-300  # stands for a root that is 0
LARGEST = 700.0  # of exponents: beyond it, numbers are beyond the range of floating point


class Modes(NamedTuple):
    """Eigenvalues and eigenvectors of a positive semi-definite matrix.

    Attributes
    ----------
    values : (T,) array
        Descending; 0 where nothing is known of them: at most T times the machine precision of the largest, or the
        accuracy of the matrix.
    vectors : (T, T) array
        Orthonormal columns.
    """

    values: np.ndarray
    vectors: np.ndarray


class Factors(NamedTuple):
    """What became of errors at n times, in modes of T eigenvalues.

    Attributes
    ----------
    left : (n, T) array
        p, the part of an error that is left.
    learned : (n, T) array
        (1 - p)/lambda; at lambda = 0 its limit.
    """

    left: np.ndarray
    learned: np.ndarray


def modes_of(matrix: np.ndarray, accuracy: float = 0.0) -> Modes:
    """Modes of a symmetric matrix (T, T), which is overwritten.

    `accuracy` is that of its entries, in units of the largest eigenvalue.
    """
    from scipy.linalg import eigh

    with single_blas_thread():
        values, vectors = eigh(matrix, overwrite_a=True, check_finite=False)
    values, vectors = values[::-1].copy(), vectors[:, ::-1]
    values[values <= max(len(values) * np.finfo(float).eps, accuracy) * values[0]] = 0.0
    return Modes(values, vectors)


def flow(values: np.ndarray, t: np.ndarray) -> Factors:
    r"""Of :math:`\dot r = -\lambda r`: :math:`p = e^{-\lambda t}` at times t (n,)."""
    from scipy.special import exprel

    x = t[:, None] * values
    return Factors(np.exp(-x), t[:, None] * exprel(-x))


def descent(
    values: np.ndarray, steps: np.ndarray, rate: float, momentum: float = 0.0, nesterov: bool = False
) -> Factors:
    r"""Of k steps of descent, k in `steps` (n,), as `mfdnn.train` makes them.

    An error obeys :math:`r_{k+1} = (z_1 + z_2) r_k - z_1 z_2 r_{k-1}` with the roots of `_roots`, and
    :math:`r_1 = (1 - g x) r_0` with :math:`x = \eta\lambda`, g = 1 or (Nesterov) 1 + b. So

    .. math::
        p_k = z_1^k + (y_1 - g x)\, U_k, \qquad 1 - p_k = y_1 S_k(z_1) - (y_1 - g x)\, U_k,

    with :math:`y_1 = 1 - z_1`, :math:`S_k(z) = \sum_{j<k} z^j` and
    :math:`U_k = (z_1^k - z_2^k)/(z_1 - z_2) = z_1^{k-1} S_k(z_2/z_1)`; without momentum :math:`p_k = (1 - x)^k`. Both y
    are taken in units of x, which may be 0. Where numbers overflow both factors are inf.
    """
    x, g, k = rate * values, 1 + momentum * nesterov, steps[:, None]
    z, ratio, slope = _roots(x, momentum, nesterov)
    power = k * z
    over = power.real > LARGEST
    power = np.where(over, 0.0, power)
    second = (slope - g) * np.exp(np.where(k > 0, power - z, 0.0)) * _geometric_sum(ratio, k)
    with np.errstate(over="ignore", invalid="ignore"):  # of those that are replaced
        learned = (slope * _geometric_sum(z, np.where(over, 0.0, k)) - second).real
    left = (np.exp(power) + x * second).real
    return Factors(np.where(over, np.inf, left), np.where(over, np.inf, rate * learned))


def growth(values: np.ndarray, rate: float, momentum: float = 0.0, nesterov: bool = False) -> np.ndarray:
    """Logarithm of the factor per step, in the long run, of errors along modes."""
    return _roots(rate * values, momentum, nesterov)[0].real


def _roots(x: np.ndarray, b: float, nesterov: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Logarithms of :math:`z_1` and :math:`z_2/z_1`, and :math:`(1 - z_1)/x`.

    The roots, :math:`|z_1| \ge |z_2|`, are those of :math:`z^2 - (1 + b - x) z + b` (heavy ball) or
    :math:`z^2 - (1 + b)(1 - x) z + b (1 - x)` (Nesterov). Then y = 1 - z are those of
    :math:`y^2 - (1 - b + g x) y + x`: the smaller one is x over the larger, without cancellation.
    """
    total, product = ((1 + b) * (1 - x), b * (1 - x)) if nesterov else (1 + b - x, np.full_like(x, b))
    larger = (2 - total + np.sqrt(total**2 - 4 * product + 0j)) / 2
    smaller = x / larger
    slow = total >= 0  # the smaller y belongs to the larger z
    y_1, y_2 = np.where(slow, smaller, larger), np.where(slow, larger, smaller)
    z_1, z_2 = (np.where(y == 1, TINY, 1 - y) for y in (y_1, y_2))
    log = np.log(z_1)
    close = (y_1.imag == 0) & (abs(y_1) < 0.5)
    log[close] = np.log1p(-y_1.real[close])
    return log, np.log(z_2 / z_1), np.where(slow, 1 / larger, larger / np.where(slow, 1.0, x))


def _geometric_sum(log_z: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Sum of z^j over j < k."""
    one = log_z == 0
    safe = np.where(one, -1.0, log_z)
    return np.where(one, k, np.expm1(k * safe) / np.expm1(safe))

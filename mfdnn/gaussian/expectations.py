r"""Gaussian expectations of an activation, with errors.

Expand :math:`\phi(\sqrt q z) = \sum_k a_k(q) h_k(z)` in normalised Hermite polynomials. Then

.. math:: E[\phi(u)\phi(v)] = \sum_k a_k(q_1) a_k(q_2) c^k, \qquad
          E[\phi'(u)\phi'(v)] = \sum_k k\, a_k(q_1) a_k(q_2) c^{k-1} / \sqrt{q_1 q_2}.

The jumps of :math:`\phi` and of its first three derivatives form a *kink part* of truncated powers
:math:`(x - x_j)_+^i`, whose two-dimensional expectations are closed forms (truncated moments of the bivariate
normal); the series is summed for :math:`\phi` minus that part. So it is exact for piecewise-linear functions
and converges quickly for smooth ones. Parseval's identity bounds what the truncated series leaves out; where
the bound is too large the integral over the plane is done by quadrature that respects every kink.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.results import unwrap
from .._support.validation import checked, finite_array, nonnegative_array, positive_integer, short
from ..activations import Activation, activation
from .products import expectation_and_error, products
from .tables import check_range

__all__ = ["expect", "expect_product"]


def expect(
    phi: str | Callable | Activation, q: Any, derivative: int = 0, return_error: bool = False
) -> Any:
    r"""Gaussian expectation :math:`E[\phi^{(d)}(\sqrt q\,z)]`, z standard normal.

    Derivatives are distributional: a jump of :math:`\phi` counts in :math:`\phi'`, a kink in
    :math:`\phi''`, as in :math:`E[\phi''] = E[\phi(\sqrt q z)(z^2 - 1)]/q`.

    Parameters
    ----------
    phi : str, callable or Activation
    q : float or array
        Variance, >= 0.
    derivative : {0, 1, 2}
        Order d of the derivative.
    return_error : bool
        Return also a bound on the absolute error.

    Returns
    -------
    value : float or array of the shape of `q`
    error : float or array of the shape of `q`
        Only with ``return_error=True``.

    Raises
    ------
    ValueError
        Negative or non-finite `q`, unknown `derivative`, `q` beyond the range in which the activation is
        resolved.

    Notes
    -----
    Accuracy about 1e-13 relative to :math:`E[\phi^{(d)2}]^{1/2}`; for a callable whose derivative was not
    given, phi' and phi'' are read off it to about 1e-12 and 1e-9 of its size near zero. The error bound is that
    of phi as it was resolved: it cannot know features that the search did not see (`docs/accuracy.md`). Cost:
    about 0.1 ms per distinct value of q.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.expect("relu", 1.0), 12)  # 1/sqrt(2 pi)
    0.398942280401
    >>> round(mfdnn.expect("linear", 2.0, derivative=1), 12)
    1.0
    """
    act = activation(phi)
    order, return_error = _derivative_order(derivative), checked(return_error=return_error)
    variance = nonnegative_array("q", q)
    check_range(act, variance)
    distinct, inverse = np.unique(variance, return_inverse=True)
    found = np.array([expectation_and_error(act, v, order) for v in distinct]).reshape(-1, 2)
    value, error = (unwrap(column[inverse].reshape(variance.shape)) for column in found.T)
    return (value, error) if return_error else value


def expect_product(
    phi: str | Callable | Activation,
    q: Any,
    c: Any = 1.0,
    q2: Any = None,
    derivative: int = 0,
    return_error: bool = False,
) -> Any:
    r"""Gaussian expectation :math:`E[\phi^{(d)}(u)\phi^{(d)}(v)]` of a correlated pair.

    u and v are centred Gaussians with variances `q` and `q2` and correlation `c`.

    Parameters
    ----------
    phi : str, callable or Activation
    q, c, q2 : float or array
        Variances (>= 0) and correlation (in [-1, 1]); they broadcast. ``q2=None`` means ``q2 = q``.
    derivative : {0, 1, 2}
        Order d of the derivative. Infinite expectations (a jump of :math:`\phi^{(d-1)}` at c = 1, or where two
        jumps meet at c = -1) are returned as inf or -inf.
    return_error : bool
        Return also a bound on the absolute error.

    Returns
    -------
    value : float or array
        Of the shape to which `q`, `c` and `q2` broadcast.
    error : float or array
        Of the same shape; only with ``return_error=True``.

    Raises
    ------
    ValueError
        Negative variances, \|c\| > 1, non-finite numbers, variances beyond the range in which phi is
        resolved, shapes that do not broadcast, d = 2 for an activation that jumps, or pairs whose integration
        would take hours.

    Warns
    -----
    RuntimeWarning
        Pairs are integrated one by one for longer than ten seconds.

    Notes
    -----
    Relative to :math:`(E[\phi^{(d)}(u)^2] E[\phi^{(d)}(v)^2])^{1/2}` the error of built-in activations is
    below 5e-12, for q from 1e-6 to 1e3 and all c; a derivative that is not given is as uncertain as it can
    be read off phi: phi' to about 1e-12 and phi'' to 1e-9 of the size of phi near zero. Where phi has a
    singularity that is no jump of it or its first three derivatives, as \|x\|^1.5, the reported error is
    larger by 1e5. The bound is that of phi as it was resolved: it cannot know features so narrow that
    `Activation` did not see them. Its parts, and a test by thousands of random activations, are in
    `docs/accuracy.md`. Above ten seconds of integration the time is announced by a warning, hours are
    refused. Below 1e-31 of phi^2 nothing is counted. Piecewise-linear functions are closed forms, smooth
    ones a series, and what converges too slowly is integrated over the plane. The first call for an
    activation tabulates it (0.1 to 0.3 s); then about a microsecond per element by the series, 1 to 50 ms
    by integration.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.expect_product("relu", 1.0, 0.5, derivative=1), 12)  # 1/4 + arcsin(c)/(2 pi)
    0.333333333333
    >>> value, error = mfdnn.expect_product("tanh", 2.0, 0.3, return_error=True)
    >>> round(value, 10), error < 1e-11
    (0.1394079415, True)
    """
    act = activation(phi)
    order, return_error = _derivative_order(derivative), checked(return_error=return_error)
    if order == 2 and np.any(act.pieces.jumps[:, 0] != 0):
        raise ValueError(
            f"`derivative` = 2, but activation {act.label!r} jumps: its second derivative has no products; use "
            "0 or 1."
        )
    q1 = nonnegative_array("q", q)
    second = q1 if q2 is None else nonnegative_array("q2", q2)
    corr = finite_array("c", c)
    if np.any(np.abs(corr) > 1):
        worst = corr.flat[np.argmax(np.abs(corr))]
        raise ValueError(
            f"`c` is a correlation in [-1, 1], got {worst:g}; divide the covariance by sqrt(q q2)."
        )
    try:
        q1, second, corr = np.broadcast_arrays(q1, second, corr)
    except ValueError:
        raise ValueError(
            f"`q`, `c`, `q2` must broadcast, got shapes {q1.shape}, {corr.shape}, {second.shape}; add axes."
        ) from None
    check_range(act, np.maximum(q1, second))
    shape = q1.shape
    value, error = products(act, q1.ravel(), second.ravel(), corr.ravel(), order)
    value, error = unwrap(value.reshape(shape)), unwrap(error.reshape(shape))
    return (value, error) if return_error else value


# -- implementation ------------------------------------------------------------------------------------------


def _derivative_order(derivative: Any) -> int:
    try:
        return positive_integer("derivative", derivative, minimum=0, maximum=2)
    except (TypeError, ValueError):
        raise ValueError(
            f"`derivative` must be 0, 1 or 2, got {short(derivative)}; choose the order of the derivative."
        ) from None

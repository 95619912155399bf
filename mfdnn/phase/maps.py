"""The maps themselves: one layer, and one layer after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._results import Result
from .._tables import tables
from .._validation import finite_array, nonnegative_array, positive_integer, variance
from ..activations import Activation, activation
from ..gaussian import expect_product, moments
from .fixed_points import fixed_point, starting_variances, unwrap

__all__ = ["Trajectory", "correlation_map", "trajectory", "variance_map"]


@dataclass(frozen=True, repr=False, eq=False)
class Trajectory(Result):
    """q and c layer by layer: arrays of shape (depth + 1,), starting at the first pre-activation."""

    q: np.ndarray
    c: np.ndarray


def variance_map(phi: str | Callable | Activation, q: Any, sigma_w2: float, sigma_b2: float) -> Any:
    r"""One step of the variance map, :math:`\sigma_w^2 E[\phi(\sqrt q z)^2] + \sigma_b^2`, elementwise in `q`.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.variance_map("relu", 1.0, 2.0, 0.1), 12)
    1.1
    """
    act = activation(phi)
    values = nonnegative_array("q", q)
    return unwrap(variance("sigma_w2", sigma_w2) * moments(act, values)[1] + variance("sigma_b2", sigma_b2))


def correlation_map(
    phi: str | Callable | Activation, c: Any, sigma_w2: float, sigma_b2: float, q: float | None = None
) -> Any:
    r"""One step of the correlation map at variance `q` (default: the fixed point q*), elementwise in `c`.

    Both inputs have variance `q`; the result is normalised by the variance of the next layer.

    Raises
    ------
    ValueError
        \|c\| > 1, negative variances, or no positive finite q* and no `q`.

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.correlation_map("relu", 0.0, 2.0, 0.0, q=1.0), 10)  # 1/pi
    0.3183098862
    """
    act = activation(phi)
    corr = finite_array("c", c)
    if np.any(np.abs(corr) > 1):
        raise ValueError(
            f"`c` is a correlation in [-1, 1], got {corr.flat[np.argmax(np.abs(corr))]:g}; divide by q."
        )
    w2, b2 = variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2)
    if q is None:
        q = fixed_point(act, w2, b2).q
        if not 0 < q < np.inf:
            raise ValueError(
                f"`q` is needed: with sigma_w2 = {w2:g}, sigma_b2 = {b2:g} the fixed point is q* = {q:g}; pass q > 0."
            )
    elif variance("q", q) == 0:
        raise ValueError("`q` must be > 0, got 0; correlations of constant zero are undefined.")
    after = w2 * float(moments(act, q)[1]) + b2
    if after == 0:
        raise ValueError(
            f"`sigma_w2` = {w2:g}: the next layer has variance 0 and no correlation; pass a larger one."
        )
    return unwrap((w2 * np.asarray(expect_product(act, q, corr)) + b2) / after)


def trajectory(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    depth: int,
    q0: float = 1.0,
    c0: float = 0.5,
) -> Trajectory:
    r"""Variance and correlation of pre-activations layer by layer, from (`q0`, `c0`) at the first layer.

    Returns
    -------
    Trajectory
        Arrays of shape (depth + 1,).

    Examples
    --------
    >>> import mfdnn
    >>> path = mfdnn.trajectory("tanh", 6.25, 0.09, depth=100)
    >>> round(float(path.q[-1]), 6), round(float(path.c[-1]), 6)
    (4.079124, 0.122104)
    """
    act = activation(phi)
    w2, b2, start = starting_variances(sigma_w2, sigma_b2, q0)
    n = positive_integer("depth", depth, minimum=0)
    q, c = np.empty(n + 1), np.empty(n + 1)
    q[0], c[0] = float(start), float(finite_array("c0", c0))
    if abs(c[0]) > 1:
        raise ValueError(f"`c0` is a correlation in [-1, 1], got {c[0]:g}; divide the covariance by q0.")
    top = np.exp(tables(act).moments.edges[-1])
    for layer in range(n):
        if not 0 < q[layer] < top:  # vanished, or out of reach: stays where it is
            q[layer + 1 :], c[layer + 1 :] = q[layer], c[layer]
            break
        q[layer + 1] = variance_map(act, q[layer], float(w2), float(b2))
        c[layer + 1] = (
            correlation_map(act, c[layer], float(w2), float(b2), q=q[layer]) if q[layer + 1] > 0 else 1.0
        )
        c[layer + 1] = min(1.0, max(-1.0, c[layer + 1]))
    return Trajectory(q, c)

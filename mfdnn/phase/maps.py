"""The maps themselves: one layer, and one layer after another."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _compiled
from .._support.results import Result, unwrap
from .._support.validation import checked, finite_array, finite_number, nonnegative_array, variance
from ..activations import Activation, activation
from ..gaussian import expect_product
from ..gaussian.matrices import moments
from ..gaussian.tables import tables
from .fixed_points import asymptotic_slopes, fixed_point, homogeneous
from .patience import correlations
from .variances import LINEAR, growth_at_the_end, keep_probability, starting_variances

__all__ = ["Trajectory", "correlation_map", "trajectory", "variance_map"]

SAME = 1e-12  # relative distance of breaks that are one: places are found to about 1e-15


@dataclass(frozen=True, repr=False, eq=False)
class Trajectory(Result):
    """Variance and correlation layer by layer: arrays of shape (depth + 1,).

    They begin with the first pre-activation.

    Attributes
    ----------
    q, c : ndarray
        Variance and correlation of pre-activations.
    one_minus_c : ndarray
        1 - c, to relative accuracy: it goes on below 1e-16, where c is 1 in floating point.
    status : str
        "ok"; "unbounded" or "zero_variance" if q ends at inf or 0, beyond floating point.
    """

    q: np.ndarray
    c: np.ndarray
    one_minus_c: np.ndarray
    status: str


def variance_map(
    phi: str | Callable | Activation, q: Any, sigma_w2: float, sigma_b2: float, keep_rate: float = 1.0
) -> Any:
    r"""One step of the variance map, elementwise in `q`.

    .. math:: q \to (\sigma_w^2/\rho)\,E[\phi(\sqrt q z)^2] + \sigma_b^2

    Parameters
    ----------
    phi : str, callable or Activation
    q : float or array
        Variance of pre-activations, >= 0.
    sigma_w2, sigma_b2 : float
        Variances of weights (times fan-in) and biases.
    keep_rate : float
        :math:`\rho`, the probability with which dropout keeps a unit.

    Returns
    -------
    float or array of the shape of `q`
        Variance of pre-activations of the next layer.

    Raises
    ------
    ValueError
        Negative or non-finite variances, `q` beyond the variances at which the activation is resolved, `keep_rate`
        outside (0, 1].

    Examples
    --------
    >>> import mfdnn
    >>> round(mfdnn.variance_map("relu", 1.0, 2.0, 0.1), 12)
    1.1
    """
    act = activation(phi)
    values = nonnegative_array("q", q)
    gain = variance("sigma_w2", sigma_w2) / keep_probability(keep_rate)
    return unwrap(gain * moments(act, values)[1] + variance("sigma_b2", sigma_b2))


def correlation_map(
    phi: str | Callable | Activation,
    c: Any,
    sigma_w2: float,
    sigma_b2: float,
    q: float | None = None,
    keep_rate: float = 1.0,
) -> Any:
    r"""One step of the correlation map at variance `q`, elementwise in `c`.

    Both inputs have variance `q`; the result is normalised by the variance of the next layer. With dropout
    (`keep_rate` :math:`\rho < 1`) that variance is :math:`(\sigma_w^2/\rho) E[\phi^2] + \sigma_b^2`, and masks are
    drawn anew for every input: two copies of one input decorrelate, f(1) < 1.

    Parameters
    ----------
    phi : str, callable or Activation
    c : float or array
        Correlation of the pre-activations of two inputs, in [-1, 1].
    sigma_w2, sigma_b2 : float
        Variances of weights (times fan-in) and biases.
    q : float, optional
        Variance of pre-activations, > 0. Default: the fixed point q*.
    keep_rate : float
        :math:`\rho`, the probability with which dropout keeps a unit.

    Returns
    -------
    float or array of the shape of `c`
        Correlation of pre-activations of the next layer.

    Raises
    ------
    ValueError
        \|c\| > 1, negative variances, ``q <= 0``, no positive finite q* and no `q`, `keep_rate` outside (0, 1], a next
        layer of variance 0.

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
    keep = keep_probability(keep_rate)
    if q is None:
        q = fixed_point(act, w2, b2, keep_rate=keep).q
        if not 0 < q < np.inf:
            raise ValueError(
                f"`q` is needed: with sigma_w2 = {w2:g}, sigma_b2 = {b2:g} the fixed point is q* = {q:g}; pass q > 0."
            )
    elif variance("q", q) == 0:
        raise ValueError("`q` must be > 0, got 0; correlations of constant zero are undefined.")
    after = w2 / keep * float(moments(act, q)[1]) + b2
    if after == 0:
        raise ValueError(
            f"`sigma_w2` = {w2:g}: the next layer has variance 0 and no correlation; pass a larger one."
        )
    # Rounding of the two moments may differ by 1e-16.
    return unwrap(np.clip((w2 * np.asarray(expect_product(act, q, corr)) + b2) / after, -1.0, 1.0))


def trajectory(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    depth: int,
    q0: float = 1.0,
    c0: float = 0.5,
    keep_rate: float = 1.0,
) -> Trajectory:
    r"""Variance and correlation of pre-activations, layer by layer from (`q0`, `c0`).

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    depth : int
        Number of layers after the first.
    q0 : float
        Variance of the first pre-activation, > 0.
    c0 : float
        Correlation of the two inputs there, in [-1, 1].
    keep_rate : float
        Probability with which dropout keeps a unit: see `mfdnn.fixed_point`.

    Returns
    -------
    Trajectory
        Arrays of shape (depth + 1,). A variance that leaves the range of floating point is inf or 0 from there on, and
        the correlation follows its map in the limit of large or small q; two signals that are both 0 after one layer
        have correlation 1, the limit of small biases.

    Raises
    ------
    ValueError
        Negative variances or depth, ``q0 <= 0``, `q0` beyond the variances at which the activation is resolved,
        \|c0\| > 1, `keep_rate` outside (0, 1].

    Notes
    -----
    One layer loses about 1e-14 of q and of 1 - c, relative to each; stable fixed points forget it. About a
    microsecond a layer once the activation is tabulated. Beyond the table (from q of about 1e6 on), phi is continued
    by its asymptote if it is linear; what grows faster is taken to infinity at once.

    Examples
    --------
    >>> import mfdnn
    >>> path = mfdnn.trajectory("tanh", 6.25, 0.09, depth=100)
    >>> round(float(path.q[-1]), 6), round(float(path.c[-1]), 6)
    (4.079124, 0.122104)
    >>> bool(mfdnn.trajectory("tanh", 1.0, 0.09, depth=200).one_minus_c[-1] < 1e-20)
    True
    """
    act = activation(phi)
    w2, b2, start = (
        float(value) for value in starting_variances(
            variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2), finite_number("q0", q0)
        )
    )
    keep = keep_probability(keep_rate)
    n = checked(depth=depth)
    c = np.empty(n + 1)
    c[0] = finite_number("c0", c0)
    if abs(c[0]) > 1:
        raise ValueError(f"`c0` is a correlation in [-1, 1], got {c[0]:g}; divide the covariance by q0.")
    variance_map(act, start, w2, b2)  # refuses a q0 at which phi is not resolved
    table = tables(act)
    q = np.empty(n + 1)
    q[0] = start
    _compiled.variance_path(table.moments, w2 / keep, b2, _growth_beyond(act), q)

    parity = _parity(act)
    mirrored = c[0] < 0 and parity == -1 and b2 == 0  # f(-c) = -f(c), to the last digit
    c[0] = -c[0] if mirrored else c[0]
    gap = np.empty(n + 1)
    gap[0] = 1 - c[0]
    visited = np.clip(q, table.moments.low, table.moments.high)
    own = far = even = odd = correlations(act, visited)
    ends = np.array(asymptotic_slopes(act) or (0.0, 0.0))
    if q.max() > table.moments.high and np.any(ends):
        asymptotes = homogeneous(*ends)
        far = tables(asymptotes).correlations(np.ones(1))
    if c[0] < 0 and parity == 0:
        even, odd = (correlations(part, visited) for part in _parts(act))
    _compiled.correlation_path(table.moments, own, far, even, odd, parity, ends, w2, b2, keep, q, c, gap)
    if mirrored:
        c, gap = -c, 2 - gap
    status = {0.0: "zero_variance", np.inf: "unbounded"}.get(float(q[-1]), "ok")
    return Trajectory(q, c, gap, status)


def _growth_beyond(act: Activation) -> float:
    """Slope of E[phi^2] in q beyond the table.

    It is inf if phi outgrows every line, and 0 if it stays below them.
    """
    limit = asymptotic_slopes(act)
    if limit is not None:
        return (limit[0] ** 2 + limit[1] ** 2) / 2
    power, rate = growth_at_the_end(tables(act).moments)
    if abs(power - 1) < LINEAR:
        return rate
    return np.inf if power > 1 else 0.0


def _parity(act: Activation) -> int:
    """1 if phi is even, -1 if it is odd, 0 if it is neither."""
    x = np.concatenate([np.linspace(0.01, 4, 400), np.geomspace(4, act.pieces.reach, 100)])
    right, left = act(x), act(-x)
    rounding = 1e-15 * np.abs(right)
    if np.all(np.abs(right + left) <= rounding):
        return -1
    return int(np.all(np.abs(right - left) <= rounding))


_halves: weakref.WeakKeyDictionary[Activation, tuple[Activation, Activation]] = weakref.WeakKeyDictionary()


def _mirrored(breaks: np.ndarray) -> np.ndarray:
    """The breaks and their mirror images: (n,), ascending.

    Breaks at x and -x are found only up to rounding. Two of the same size in one list would leave a sliver between
    them, off which no jump can be read.
    """
    sizes = np.unique(np.abs(breaks))
    new = np.diff(sizes, prepend=-1.0) > SAME * sizes
    return np.union1d(sizes[new], -sizes[new])


def _parts(act: Activation) -> tuple[Activation, Activation]:
    """The even and the odd part of phi, as activations; the same objects every time."""
    if act not in _halves:
        phi, slope = act._function, act._derivative
        kinks = _mirrored(act.pieces.breaks).tolist()
        features = [(side * place, width) for place, width in act.features for side in (1, -1)]

        def part(sign: int) -> Activation:
            def value(x: np.ndarray) -> np.ndarray:
                return (np.asarray(phi(x)) + sign * np.asarray(phi(-x))) / 2

            def derivative(x: np.ndarray) -> np.ndarray:
                assert slope is not None
                return (np.asarray(slope(x)) - sign * np.asarray(slope(-x))) / 2

            name = f"{'even' if sign == 1 else 'odd'} part of {act.label}"
            return Activation(name, value, derivative if slope is not None else None, kinks, features)

        _halves[act] = part(1), part(-1)
    return _halves[act]

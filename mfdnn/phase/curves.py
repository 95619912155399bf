"""Curves to look at: maps from layer to layer, depth scales along an axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.results import Result
from .._support.validation import finite_array, nonnegative_array, positive_integer, positive_number, short
from ..activations import Activation, activation
from . import maps
from .critical import critical_sigma_w2
from .fixed_points import fixed_point
from .variances import variance_fixed_points

__all__ = ["DepthScales", "MapCurve", "correlation_curve", "depth_scales", "variance_curve"]

SCALES = ("xi_q", "xi_c", "xi_grad")
MOST_STEPS = 10**4  # of a path in a picture


@dataclass(frozen=True, repr=False, eq=False)
class MapCurve(Result):
    """A map from layer to layer, drawn by `mfdnn.plots.map_curve` or ``.plot()``.

    Attributes
    ----------
    quantity : {"variance", "correlation"}
    x, y : ndarray, shape (201,)
        The map: q or c of one layer and of the next.
    trajectories : tuple of ndarray, shape (steps + 1,)
        From layer to layer, one for each start.
    fixed : ndarray, shape (n,)
        Fixed points within the range of x.
    stable : ndarray of bool, shape (n,)
        Which of them attract.
    activation : str
        Its label.
    sigma_w2, sigma_b2 : float
        Variances of weights (times fan-in) and biases.
    """

    quantity: str
    x: np.ndarray
    y: np.ndarray
    trajectories: tuple[np.ndarray, ...]
    fixed: np.ndarray
    stable: np.ndarray
    activation: str
    sigma_w2: float
    sigma_b2: float

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the map, trajectories, fixed points into `ax`: `mfdnn.plots.map_curve`."""
        from .. import plots

        return plots.map_curve(self, ax=ax, **options)


def variance_curve(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    q0: Any = None,
    steps: int = 10,
    q_max: float | None = None,
) -> MapCurve:
    r"""The map of the variance from layer to layer, with trajectories and fixed points.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    q0 : float or sequence, optional
        Where trajectories start (at the first pre-activation). Default: near 0 and near `q_max`.
    steps : int
        Layers per trajectory; 0 for none.
    q_max : float, optional
        Right end of the curve. Default: twice the largest stable fixed point.

    Returns
    -------
    MapCurve

    Raises
    ------
    ValueError
        Negative variances or starts, negative `steps`, and what `mfdnn.variance_fixed_points` raises.

    Examples
    --------
    >>> from mfdnn.phase import variance_curve
    >>> curve = variance_curve("tanh", 6.25, 0.09)
    >>> curve.fixed.round(3), curve.stable
    (array([4.079]), array([ True]))
    """
    act = activation(phi)
    steps = positive_integer("steps", steps, minimum=0, maximum=MOST_STEPS)
    known = variance_fixed_points(act, sigma_w2, sigma_b2)
    starts = None if q0 is None else _starts("q0", nonnegative_array("q0", q0))
    if q_max is None:
        stable = known.q[known.stable]
        furthest = 0.0 if starts is None else starts.max(initial=0.0)
        q_max = max(2 * stable.max(initial=0.0), 1.1 * furthest) or 2.0
    q_max = positive_number("q_max", q_max)
    if starts is None:
        starts = np.array([0.02, 0.95]) * q_max
    # Square roots of the variance are what activations see: more points near 0, where the map bends.
    q = q_max * np.linspace(0, 1, 201) ** 2
    inside = known.q <= q_max
    return MapCurve(
        quantity="variance",
        x=q,
        y=np.asarray(maps.variance_map(act, q, sigma_w2, sigma_b2)),
        trajectories=tuple(
            maps.trajectory(act, sigma_w2, sigma_b2, steps, q0=start).q
            for start in starts
            if start > 0 and steps
        ),
        fixed=known.q[inside],
        stable=known.stable[inside],
        activation=act.label,
        sigma_w2=float(sigma_w2),
        sigma_b2=float(sigma_b2),
    )


def correlation_curve(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    c0: Any = None,
    steps: int = 30,
    q: float | None = None,
) -> MapCurve:
    r"""The map of the correlation from layer to layer, with trajectories and c*.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    c0 : float or sequence, optional
        Where trajectories start. Default: 0.05 and 0.95.
    steps : int
        Layers per trajectory; 0 for none.
    q : float, optional
        Variance at which the map is taken. Default: q*; at another variance no fixed points are given, as 1 need not
        be one.

    Returns
    -------
    MapCurve

    Raises
    ------
    ValueError
        There is no positive finite q* and no `q`; \|c0\| > 1; negative `steps`.

    Examples
    --------
    >>> from mfdnn.phase import correlation_curve
    >>> curve = correlation_curve("tanh", 6.25, 0.09)
    >>> curve.fixed.round(3), curve.stable
    (array([0.122, 1.   ]), array([ True, False]))
    """
    act = activation(phi)
    steps = positive_integer("steps", steps, minimum=0, maximum=MOST_STEPS)
    starts = _starts("c0", finite_array("c0", (0.05, 0.95) if c0 is None else c0))
    if np.any(np.abs(starts) > 1):
        raise ValueError(f"`c0` must hold correlations in [-1, 1], got {short(c0)}; divide them by the variance.")
    c = np.linspace(min(0.0, starts.min(initial=0.0)), 1, 201)
    mapped = np.asarray(maps.correlation_map(act, c, sigma_w2, sigma_b2, q))  # refuses where there is no q*
    paths = []
    for start in starts if steps else ():
        path = [start]
        for _ in range(steps):
            path.append(np.clip(maps.correlation_map(act, path[-1], sigma_w2, sigma_b2, q), -1, 1))
        paths.append(np.array(path))
    fixed, stable = np.empty(0), np.empty(0, bool)
    if q is None:
        point = fixed_point(act, sigma_w2, sigma_b2)
        fixed, stable = np.array([1.0]), np.array([True])
        if point.c < 1:
            fixed, stable = np.array([point.c, 1.0]), np.array([True, False])
    return MapCurve(
        "correlation", c, mapped, tuple(paths), fixed, stable, act.label, float(sigma_w2), float(sigma_b2)
    )


@dataclass(frozen=True, repr=False, eq=False)
class DepthScales(Result):
    """Depth scales along an axis of weight variances.

    Drawn by `mfdnn.plots.depth_scales` or ``.plot()``.

    Attributes
    ----------
    activation : str
        Its label.
    sigma_w2 : ndarray, shape (n,)
        Weight variances times fan-in.
    sigma_b2 : ndarray, shape (m,)
        Bias variances.
    xi_q, xi_c, xi_grad : ndarray, shape (m, n)
        In layers, as in `mfdnn.FixedPoint`: inf at criticality, negative where deviations grow.
    edge : tuple of m floats or None
        The weight variance on the edge of chaos at each bias variance; None where there is none.
    """

    activation: str
    sigma_w2: np.ndarray
    sigma_b2: np.ndarray
    xi_q: np.ndarray
    xi_c: np.ndarray
    xi_grad: np.ndarray
    edge: tuple[float | None, ...]

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw them against the weight variance into `ax`: `mfdnn.plots.depth_scales`."""
        from .. import plots

        return plots.depth_scales(self, ax=ax, **options)


def depth_scales(phi: str | Callable | Activation, sigma_w2: Any, sigma_b2: Any) -> DepthScales:
    r"""Depth scales along an axis of weight variances.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2 : array_like, shape (n,)
    sigma_b2 : float or array_like, shape (m,)

    Returns
    -------
    DepthScales

    Raises
    ------
    ValueError
        Variances that are negative, not finite or not one-dimensional.

    Examples
    --------
    >>> from mfdnn.phase import depth_scales
    >>> found = depth_scales("tanh", [1.0, 3.0], 0.05)
    >>> found.xi_c.round(2), round(found.edge[0], 4)
    (array([[3.63, 9.05]]), 1.761)
    """
    act = activation(phi)
    w2, b2 = (
        np.atleast_1d(nonnegative_array(name, value))
        for name, value in (("sigma_w2", sigma_w2), ("sigma_b2", sigma_b2))
    )
    if w2.ndim != 1 or b2.ndim != 1:
        raise ValueError(
            f"`sigma_w2` and `sigma_b2` must be 1-D, got shapes {w2.shape} and {b2.shape}; pass axes."
        )
    points = [fixed_point(act, w2, b) for b in b2]
    edges: list[float | None] = []
    for b in b2:
        try:
            edges.append(float(critical_sigma_w2(act, b)))
        except ValueError:  # no edge of chaos at this bias variance
            edges.append(None)
    xi_q, xi_c, xi_grad = (np.array([getattr(point, name) for point in points]) for name in SCALES)
    return DepthScales(act.label, w2, b2, xi_q, xi_c, xi_grad, tuple(edges))


def _starts(name: str, values: np.ndarray) -> np.ndarray:
    """Where paths begin: one number, or a list of them."""
    if values.ndim > 1:
        raise ValueError(f"`{name}` must be a number or a list of them, got shape {values.shape}; pass one axis.")
    return np.atleast_1d(values)

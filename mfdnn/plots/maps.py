"""The maps of variance and correlation from layer to layer, with trajectories as cobwebs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import phase
from .._support.validation import finite_array, nonnegative_array, positive_integer
from ..activations import Activation, activation
from ._style import B2, W2, legend, make_axes

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["correlation_map", "variance_map"]


def variance_map(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    q0: Any = None,
    steps: int = 10,
    q_max: float | None = None,
    ax: Axes | None = None,
    *,
    color: Any = None,
    label: str | None = None,
) -> Axes:
    r"""The map of the variance from layer to layer, with trajectories as cobwebs and its fixed points.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    q0 : float or sequence, optional
        Where trajectories start (at the first pre-activation). Default: near 0 and near `q_max`.
    steps : int
        Layers per trajectory; 0 for none.
    q_max : float, optional
        Right end of the axis. Default: twice the largest stable fixed point.
    ax : Axes, optional
        Several maps may share one.
    color, label : optional
        Of the map; the default label states the variances.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> from mfdnn import plots
    >>> ax = plots.variance_map("tanh", 6.25, 0.09)
    >>> ax.get_ylabel()
    '$q^{l+1}$'
    >>> pyplot.close(ax.figure)
    """
    act = activation(phi)
    ax = make_axes(ax)
    fixed = phase.variance_fixed_points(act, sigma_w2, sigma_b2)
    starts = None if q0 is None else np.atleast_1d(nonnegative_array("q0", q0))
    if q_max is None:
        stable = fixed.q[fixed.stable]
        q_max = (
            max(2 * stable.max(initial=0.0), 1.1 * (0.0 if starts is None else starts.max(initial=0.0)))
            or 2.0
        )
    if starts is None:
        starts = np.array([0.02, 0.95]) * q_max
    # Square roots of the variance are what activations see: more points near 0, where the map bends.
    q = q_max * np.linspace(0, 1, 201) ** 2
    paths = [phase.trajectory(act, sigma_w2, sigma_b2, steps, q0=start).q for start in starts if start > 0]
    return _draw_map(
        ax,
        q,
        phase.variance_map(act, q, sigma_w2, sigma_b2),
        paths,
        steps,
        fixed.q[fixed.q <= q_max],
        fixed.stable[fixed.q <= q_max],
        (r"$q^{l}$", r"$q^{l+1}$"),
        color,
        label or _variances(sigma_w2, sigma_b2),
    )


def correlation_map(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    c0: Any = None,
    steps: int = 30,
    ax: Axes | None = None,
    *,
    q: float | None = None,
    color: Any = None,
    label: str | None = None,
) -> Axes:
    r"""The map of the correlation of two inputs from layer to layer at q*, with cobwebs and c*.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    c0 : float or sequence, optional
        Where trajectories start. Default: 0.05 and 0.95.
    steps : int
        Layers per trajectory; 0 for none.
    ax : Axes, optional
        Several maps may share one.
    q : float, optional
        Variance at which the map is drawn. Default: q*.
    color, label : optional
        Of the map; the default label states the variances.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        There is no positive finite q* and no `q`.

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> from mfdnn import plots
    >>> ax = plots.correlation_map("tanh", 6.25, 0.09)
    >>> ax.get_ylabel()
    '$c^{l+1}$'
    >>> pyplot.close(ax.figure)
    """
    act = activation(phi)
    ax = make_axes(ax)
    starts = np.atleast_1d(finite_array("c0", (0.05, 0.95) if c0 is None else c0))
    c = np.linspace(min(0.0, starts.min(initial=0.0)), 1, 201)
    mapped = phase.correlation_map(act, c, sigma_w2, sigma_b2, q)  # refuses where there is no q*
    paths = []
    for start in starts:
        path = [start]
        for _ in range(steps):
            path.append(np.clip(phase.correlation_map(act, path[-1], sigma_w2, sigma_b2, q), -1, 1))
        paths.append(np.array(path))
    fixed, stable = np.array([1.0]), np.array([True])
    if q is None:
        fp = phase.fixed_point(act, sigma_w2, sigma_b2)
        if fp.c < 1:
            fixed, stable = np.array([fp.c, 1.0]), np.array([True, False])
    else:  # at another variance 1 need not be a fixed point
        fixed, stable = np.empty(0), np.empty(0, bool)
    labels = (r"$c^{l}$", r"$c^{l+1}$")
    return _draw_map(
        ax, c, mapped, paths, steps, fixed, stable, labels, color, label or _variances(sigma_w2, sigma_b2)
    )


def _draw_map(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    paths: Iterable[np.ndarray],
    steps: int,
    fixed: np.ndarray,
    stable: np.ndarray,
    axis_labels: tuple[str, str],
    color: Any,
    label: str,
) -> Axes:
    positive_integer("steps", steps, minimum=0)
    shared = any(line.get_gid() == "identity" for line in ax.lines)
    low, high = (min(x[0], ax.get_xlim()[0]), max(x[-1], ax.get_xlim()[1])) if shared else (x[0], x[-1])
    if not shared:
        ax.axline((0, 0), slope=1, color="0.5", lw=1, ls="--", label="identity", zorder=1).set_gid("identity")
    (curve,) = ax.plot(x, y, lw=2, label=label, color=color)
    for path in paths:
        if steps:
            heights = np.concatenate([[min(path[0], 0.0)], np.repeat(path[1:], 2)])
            (web,) = ax.plot(
                np.repeat(path, 2)[:-1], heights, lw=0.9, color=curve.get_color(), alpha=0.7, zorder=1.5
            )
            web.set_gid("trajectory")
    for wanted, face, name in ((True, curve.get_color(), "stable"), (False, "white", "unstable")):
        points = fixed[stable == wanted]
        if points.size:
            ax.plot(
                points, points, "o", ms=6, mfc=face, mec="black", mew=0.9, ls="none", zorder=4, clip_on=False
            )[0].set_gid(f"{name} fixed point")
    ax.set(xlabel=axis_labels[0], ylabel=axis_labels[1], xlim=(low, high), ylim=(low, high))
    legend(ax)
    return ax


def _variances(sigma_w2: float, sigma_b2: float) -> str:
    return rf"{W2} = {sigma_w2:.4g}, {B2} = {sigma_b2:.4g}"

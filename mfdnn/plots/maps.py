"""The maps of variance and correlation, with trajectories as cobwebs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import checked
from ._style import B2, W2, legend, make_axes, require_result

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["map_curve"]

AXES = {"variance": (r"$q^{l}$", r"$q^{l+1}$"), "correlation": (r"$c^{l}$", r"$c^{l+1}$")}


def map_curve(curve: Any, ax: Axes | None = None, *, color: Any = None, label: str | None = None) -> Axes:
    r"""A map from layer to layer, with trajectories as cobwebs and its fixed points.

    Parameters
    ----------
    curve : MapCurve
        Of `mfdnn.phase.variance_curve` or `mfdnn.phase.correlation_curve`.
    ax : Axes, optional
        Several maps may share one.
    color, label : optional
        Of the map; the default label states the variances.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError
        `curve` is no such result.

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> from mfdnn import phase
    >>> ax = phase.variance_curve("tanh", 6.25, 0.09).plot()
    >>> ax.get_ylabel()
    '$q^{l+1}$'
    >>> pyplot.close(ax.figure)
    """
    require_result("curve", curve, "MapCurve", "mfdnn.phase.variance_curve(...) or correlation_curve(...)")
    ax, label = make_axes(ax), checked(label=label)
    x = curve.x
    shared = any(line.get_gid() == "identity" for line in ax.lines)
    low, high = (min(x[0], ax.get_xlim()[0]), max(x[-1], ax.get_xlim()[1])) if shared else (x[0], x[-1])
    if not shared:
        ax.axline((0, 0), slope=1, color="0.5", lw=1, ls="--", label="identity", zorder=1, gid="identity")
    label = label or rf"{W2} = {curve.sigma_w2:.4g}, {B2} = {curve.sigma_b2:.4g}"
    (line,) = ax.plot(x, curve.y, lw=2, label=label, color=color)
    for path in curve.trajectories:
        heights = np.concatenate([[min(path[0], 0.0)], np.repeat(path[1:], 2)])
        style: dict[str, Any] = {"lw": 0.9, "alpha": 0.7, "zorder": 1.5, "gid": "trajectory"}
        ax.plot(np.repeat(path, 2)[:-1], heights, color=line.get_color(), **style)
    for wanted, face, name in ((True, line.get_color(), "stable"), (False, "white", "unstable")):
        points = curve.fixed[curve.stable == wanted]
        if points.size:
            style = {"ms": 6, "mec": "black", "mew": 0.9, "zorder": 4, "gid": f"{name} fixed point"}
            ax.plot(points, points, "o", mfc=face, clip_on=False, **style)
    across, up = AXES[curve.quantity]
    ax.set(xlabel=across, ylabel=up, xlim=(low, high), ylim=(low, high))
    legend(ax)
    return ax

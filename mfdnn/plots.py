r"""Pictures of what the package computes: Axes in, Axes out.

Every function draws into `ax` (or makes one), returns it, and never calls ``show``. Numbers come from the
public functions; nothing is computed here but positions of labels. Colours are those of Okabe and Ito, which
the colour-blind can tell apart. Legends stand above the axes, where no data are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import phase
from ._validation import finite_array, finite_number, nonnegative_array, one_of, positive_integer
from .activations import Activation, activation

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

    from .order_parameters import OrderParameters
    from .phase import PhaseDiagram

__all__ = [
    "COLOURS",
    "correlation_map",
    "depth_scales",
    "eigenvalue_scaling",
    "fisher_spectrum",
    "learning_rate_boundary",
    "order_parameters",
    "phase_diagram",
    "variance_map",
]

COLOURS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
}
W2, B2 = r"$\sigma_w^2$", r"$\sigma_b^2$"
LABELS = {
    "q": r"$q^*$",
    "c": r"$c^*$",
    "chi_1": r"$\chi_1$",
    "chi_c": r"$\chi_{c^*}$",
    "xi_q": r"$\xi_q$ (layers)",
    "xi_c": r"$\xi_c$ (layers)",
    "xi_grad": r"$\xi_\nabla$ (layers; $>0$: gradients vanish, $<0$: explode)",
    "phase": "phase",
}
PHASE_COLOURS = {"ordered": "#A6CEE3", "critical": "#FFFFFF", "chaotic": "#FDBF6F", "unbounded": "#BBBBBB"}
XI_RANGE = (0.3, 100.0)  # layers; depth scales beyond are shown in the end colours
CHI_RANGE = 4.0  # chi_1 is shown from 1/4 to 4
NOTHING = "#CCCCCC"  # where a field has no value to show


# -- phase diagrams ------------------------------------------------------------------------------------------


def phase_diagram(
    diagram: PhaseDiagram,
    field: str = "xi_c",
    ax: Axes | None = None,
    network: tuple[float, float] | None = None,
    colorbar: bool = True,
    *,
    phi: str | Callable | Activation | None = None,
    labels: bool = True,
    **kwargs: Any,
) -> Axes:
    r"""Heat map of one field of a phase diagram, with the edge of chaos.

    Depth scales have a logarithmic scale from 0.3 to 100 layers, infinite ones the end colour; xi_grad keeps
    its sign (symmetric logarithm); chi_1 diverges from 1, logarithmically from 1/4 to 4. Where the field has no
    value (no finite q*, or a negative xi_q: deviations grow) the map is grey, which the legend says.

    Parameters
    ----------
    diagram : PhaseDiagram
        With at least two points on each axis.
    field : {"q", "c", "chi_1", "chi_c", "xi_q", "xi_c", "xi_grad", "phase"}
    ax : Axes, optional
    network : (sigma_w2, sigma_b2), optional
        The user's network, drawn as a star.
    colorbar : bool
    phi : str, callable or Activation, optional
        The activation, if `diagram.activation` is not the name of a built-in one. Without it the edge is the
        contour chi_1 = 1 of the diagram instead of `mfdnn.critical_line`.
    labels : bool
        Write the names of the phases into the map.
    **kwargs
        To ``Axes.pcolormesh``: ``vmin``, ``vmax`` for the range, ``norm`` for the scale, ``cmap``.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Unknown field, or an axis with a single point.

    Examples
    --------
    >>> import numpy as np, mfdnn
    >>> pd = mfdnn.phase_diagram("tanh", np.linspace(0.1, 4, 80), np.linspace(0, 0.5, 40))
    >>> ax = pd.plot("xi_c", network=(1.76, 0.05))
    >>> ax.get_xlabel()
    '$\\sigma_w^2$'
    """
    one_of("field", field, LABELS)
    if min(diagram.sigma_w2.size, diagram.sigma_b2.size) < 2:
        raise ValueError(
            f"`diagram` needs two points on each axis, got {diagram.sigma_w2.size} x "
            f"{diagram.sigma_b2.size}; use plots.depth_scales for a line."
        )
    ax = _axes(ax)
    if field == "phase":
        mesh, ticks, names = _draw_phases(ax, diagram, kwargs)
    else:
        mesh, ticks, names = _draw_field(ax, diagram, field, kwargs)
    if colorbar:
        values = np.ma.masked_invalid(getattr(diagram, field)) if field != "phase" else np.zeros(1)
        bar = ax.figure.colorbar(mesh, ax=ax, label=LABELS[field], extend=_extend(mesh, values, field))
        if ticks is not None:
            bar.set_ticks(ticks, labels=names)
            bar.minorticks_off()
    _draw_edge(ax, diagram, phi)
    if network is not None:
        w2, b2 = (finite_number("network", value) for value in network)
        ax.plot(
            w2,
            b2,
            "*",
            ms=11,
            mfc="white",
            mec="black",
            mew=1,
            ls="none",
            label="network",
            zorder=5,
            clip_on=False,
        )
    _set_range(ax, diagram, network)
    if labels:
        _name_regions(ax, diagram, network)
    ax.set(xlabel=W2, ylabel=B2)
    _legend(ax)
    return ax


def _draw_phases(ax: Axes, diagram: PhaseDiagram, options: dict) -> tuple[Any, Any, Any]:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    present = [name for name in phase.PHASES if np.any(diagram.phase == name)]
    codes = np.zeros(diagram.phase.shape)
    for code, name in enumerate(present):
        codes[diagram.phase == name] = code
    options = {
        "cmap": ListedColormap([PHASE_COLOURS[name] for name in present]),
        "norm": BoundaryNorm(np.arange(len(present) + 1) - 0.5, len(present)),
        **options,
    }
    return _mesh(ax, diagram, codes, options), np.arange(len(present)), present


def _draw_field(ax: Axes, diagram: PhaseDiagram, field: str, options: dict) -> tuple[Any, Any, Any]:
    from matplotlib import colormaps

    values = np.asarray(getattr(diagram, field), dtype=float)
    shown, note = values, ""
    if field == "q":
        shown, note = np.where(np.isfinite(values), values, np.nan), "no finite $q^*$"
    elif field in ("xi_q", "xi_c"):
        shown, note = np.where(values >= 0, values, np.nan), "deviations grow with depth"
    options = dict(options)
    limits = options.pop("vmin", None), options.pop("vmax", None)
    norm, cmap, ticks = _scale(field, shown, limits)
    options = {"norm": norm, "cmap": cmap, **options}
    if isinstance(options["cmap"], str):
        options["cmap"] = colormaps[options["cmap"]]
    options["cmap"] = options["cmap"].with_extremes(bad=NOTHING)
    norm = options["norm"]
    if norm.vmin is not None and norm.vmax is not None:  # a logarithm of 0 would be nothing instead of little
        shown = np.clip(shown, norm.vmin, norm.vmax)
    if np.any(np.isnan(shown)):
        ax.scatter([], [], marker="s", color=NOTHING, label=note)
    mesh = _mesh(ax, diagram, shown, options)
    names = None if ticks is None else [f"{tick:g}" for tick in ticks]
    return mesh, ticks, names


def _scale(field: str, values: np.ndarray, limits: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    """Norm, colour map and ticks (None: matplotlib's own) of a field."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize, SymLogNorm

    finite = values[np.isfinite(values)]

    def within(low: float, high: float) -> tuple[float, float]:
        return (low if limits[0] is None else limits[0], high if limits[1] is None else limits[1])

    if field == "chi_1":
        low, high = within(1 / CHI_RANGE, CHI_RANGE)
        ticks = [tick for tick in (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0) if low <= tick <= high]
        return LogNorm(low, high), colormaps["RdBu_r"], ticks
    if field == "xi_grad":
        low, high = within(-XI_RANGE[1], XI_RANGE[1])
        ticks = [tick for tick in (-100, -10, -1, 0, 1, 10, 100) if low <= tick <= high]
        return SymLogNorm(1.0, vmin=low, vmax=high), colormaps["RdBu"], ticks
    if field in ("xi_q", "xi_c"):
        low, high = within(*XI_RANGE)
        ticks = [tick for tick in (0.3, 1, 3, 10, 30, 100, 300, 1000) if low <= tick <= high]
        return LogNorm(low, high), colormaps["viridis"], ticks
    if field in ("c", "chi_c"):
        return Normalize(*within(min(0.0, finite.min(initial=0.0)), 1.0)), colormaps["viridis"], None
    top, middle = finite.max(initial=0.0), np.median(finite[finite > 0]) if np.any(finite > 0) else 1.0
    if top <= 10 * middle or (limits[0] is not None and limits[0] <= 0):
        return Normalize(*within(0.0, top or 1.0)), colormaps["viridis"], None
    return LogNorm(*within(middle / 100, min(top, 100 * middle))), colormaps["viridis"], None


def _mesh(ax: Axes, diagram: PhaseDiagram, values: np.ndarray, options: dict) -> Any:
    options = {"shading": "nearest", "rasterized": True, **options}
    return ax.pcolormesh(diagram.sigma_w2, diagram.sigma_b2, np.ma.masked_invalid(values.T), **options)


def _extend(mesh: Any, values: np.ndarray, field: str) -> str:
    """Which ends of the colour bar stand for more than their number."""
    if field == "phase" or mesh.norm.vmin is None:
        return "neither"
    raw = np.ma.filled(values, np.inf) if field.startswith("xi") else np.ma.compressed(values)
    below = bool(np.any((raw >= 0 if field in ("xi_q", "xi_c") else True) & (raw < mesh.norm.vmin)))
    above = bool(np.any(raw > mesh.norm.vmax))
    return ("neither", "min", "max", "both")[below + 2 * above]


def _draw_edge(ax: Axes, diagram: PhaseDiagram, phi: Any) -> None:
    style = {"color": "black", "lw": 1.6}
    try:
        act = activation(diagram.activation if phi is None else phi)
        line = phase.critical_line(act)
    except ValueError:  # not a name, or an activation that has no edge
        chi_1 = np.where(np.isfinite(diagram.chi_1), diagram.chi_1, 1e300)
        if chi_1.min() < 1 < chi_1.max():
            ax.contour(diagram.sigma_w2, diagram.sigma_b2, chi_1.T, [1.0], colors="black", linewidths=1.6)
            ax.plot([], [], label=r"$\chi_1 = 1$", **style)  # type: ignore[arg-type]
        return
    if line.q.size == 0:
        return
    if act.homogeneous:
        ax.axvline(line.sigma_w2[0], color="black", lw=1, ls=":", label=r"$\chi_1 = 1$")
        ax.plot(
            line.sigma_w2[0],
            0.0,
            "o",
            color="black",
            ms=6,
            ls="none",
            clip_on=False,
            zorder=4,
            label="critical point",
        )
        return
    # Where the variance q* of the line repels, no network stays there: the visible boundary lies elsewhere.
    repels = phase.fixed_point(act, line.sigma_w2, line.sigma_b2, q0=line.q).xi_q < 0
    stays = np.where(repels, np.nan, line.sigma_b2)
    ax.plot(line.sigma_w2, stays, label=r"edge of chaos, $\chi_1 = 1$", **style)  # type: ignore[arg-type]
    window = (line.sigma_w2 >= diagram.sigma_w2[0]) & (line.sigma_w2 <= diagram.sigma_w2[-1])
    window &= (line.sigma_b2 >= diagram.sigma_b2[0]) & (line.sigma_b2 <= diagram.sigma_b2[-1])
    if np.any(repels & window):
        leaves = np.where(repels, line.sigma_b2, np.nan)
        ax.plot(line.sigma_w2, leaves, color="black", lw=1.2, ls=":", label="same, $q^*$ unstable")


def _set_range(ax: Axes, diagram: PhaseDiagram, network: tuple[float, float] | None) -> None:
    w2, b2 = diagram.sigma_w2, diagram.sigma_b2
    point = network or (w2[0], b2[0])
    ax.set_xlim(min(w2.min(), point[0]), max(w2.max(), point[0]))
    ax.set_ylim(min(b2.min(), point[1]), max(b2.max(), point[1]))


def _name_regions(ax: Axes, diagram: PhaseDiagram, network: tuple[float, float] | None) -> None:
    """The name of each phase where it has most room."""
    from matplotlib.patheffects import withStroke
    from scipy.interpolate import RegularGridInterpolator
    from scipy.ndimage import distance_transform_edt

    # Distances on a regular grid of the picture, in which a name is about four times as wide as high.
    x, y = np.linspace(*ax.get_xlim(), 80), np.linspace(*ax.get_ylim(), 60)
    pixels = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    for name in phase.PHASES:
        inside = (diagram.phase == name).astype(float)
        if inside.mean() < 0.03:
            continue
        look = RegularGridInterpolator(
            (diagram.sigma_w2, diagram.sigma_b2), inside, method="nearest", bounds_error=False, fill_value=0.0
        )
        room = look(pixels) > 0.5
        if network is not None:
            room[np.argmin(np.abs(x - network[0])), np.argmin(np.abs(y - network[1]))] = False
        far = distance_transform_edt(np.pad(room, 1), sampling=(1 / 80 / 2.5, 1 / 60))[1:-1, 1:-1]
        i, j = np.unravel_index(np.argmax(far), far.shape)
        ax.text(
            x[i],
            y[j],
            name,
            ha="center",
            va="center",
            color="white",
            fontsize="medium",
            path_effects=[withStroke(linewidth=2.2, foreground="black")],
        )


# -- maps ----------------------------------------------------------------------------------------------------


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
    >>> from mfdnn import plots
    >>> ax = plots.variance_map("tanh", 6.25, 0.09)
    >>> ax.get_ylabel()
    '$q^{l+1}$'
    """
    act = activation(phi)
    ax = _axes(ax)
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
    >>> from mfdnn import plots
    >>> ax = plots.correlation_map("tanh", 6.25, 0.09)
    >>> ax.get_ylabel()
    '$c^{l+1}$'
    """
    act = activation(phi)
    ax = _axes(ax)
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
    _legend(ax)
    return ax


# -- over the weight variance, over depth --------------------------------------------------------------------


def depth_scales(
    phi: str | Callable | Activation,
    sigma_w2: Any,
    sigma_b2: Any,
    ax: Axes | None = None,
    scales: Sequence[str] = ("xi_q", "xi_c", "xi_grad"),
) -> Axes:
    r"""Depth scales against the weight variance; sizes of negative ones (growth with depth) dashed.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2 : 1-D array
    sigma_b2 : float or sequence
        One curve per value and scale; a dotted line marks the edge of chaos of each.
    ax : Axes, optional
    scales : sequence of {"xi_q", "xi_c", "xi_grad"}

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np
    >>> from mfdnn import plots
    >>> ax = plots.depth_scales("tanh", np.linspace(0.5, 4, 200), 0.05)
    >>> ax.get_yscale()
    'log'
    """
    act = activation(phi)
    w2 = np.atleast_1d(nonnegative_array("sigma_w2", sigma_w2))
    biases = np.atleast_1d(nonnegative_array("sigma_b2", sigma_b2))
    scales = [scales] if isinstance(scales, str) else list(scales)
    for name in scales:
        one_of("scales", name, ("xi_q", "xi_c", "xi_grad"))
    if w2.ndim != 1 or biases.ndim != 1:
        raise ValueError(
            f"`sigma_w2` and `sigma_b2` must be 1-D, got shapes {w2.shape} and {biases.shape}; pass axes."
        )
    from matplotlib.lines import Line2D

    ax = _axes(ax)
    symbols = {"xi_q": r"$\xi_q$", "xi_c": r"$\xi_c$", "xi_grad": r"$\xi_\nabla$"}
    hues = dict(
        zip(
            ("xi_q", "xi_c", "xi_grad"),
            (COLOURS["green"], COLOURS["blue"], COLOURS["vermillion"]),
            strict=True,
        )
    )
    handles, grows = [], False
    for index, b2 in enumerate(biases):
        fp = phase.fixed_point(act, w2, b2)
        for name in scales:
            colour = (
                hues[name]
                if biases.size == 1
                else _sequence(index, biases.size, hues[name] if len(scales) > 1 else None)
            )
            xi = np.where(np.isfinite(getattr(fp, name)), getattr(fp, name), np.nan)
            text = ", ".join(
                [symbols[name]] * (len(scales) > 1 or biases.size == 1)
                + [f"{B2} = {b2:g}"] * (biases.size > 1)
            )
            (line,) = ax.plot(w2, np.where(xi > 0, xi, np.nan), lw=1.8, color=colour, label=text)
            line.set_gid(name)
            handles.append(line)
            if np.any(xi < 0):
                grows = True
                ax.plot(w2, np.where(xi < 0, -xi, np.nan), lw=1.8, ls="--", color=colour)[0].set_gid(
                    f"-{name}"
                )
        try:
            edge = phase.critical_sigma_w2(act, b2)
        except ValueError:  # no edge of chaos at this bias variance
            continue
        if w2.min() <= edge <= w2.max():
            ax.axvline(edge, color="0.4" if biases.size == 1 else colour, lw=1, ls=":", zorder=1).set_gid(
                "edge"
            )
    if grows:
        handles.append(Line2D([], [], color="0.3", ls="--", label=r"$|\xi|$ of growth ($\xi < 0$)"))
    if any(line.get_gid() == "edge" for line in ax.lines):
        handles.append(Line2D([], [], color="0.4", lw=1, ls=":", label="edge of chaos"))
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, 0.1), min(high, 1e3))
    ax.set(
        xlabel=W2,
        ylabel=LABELS[scales[0]] if len(scales) == 1 else "depth scale (layers)",
        xlim=(w2.min(), w2.max()),
    )
    _legend(ax, handles)
    return ax


def order_parameters(op: OrderParameters, ax: Axes | None = None, ensemble: Any = None) -> Axes:
    r"""Forward and backward order parameters over depth: lines of theory, points of sampled networks.

    Parameters
    ----------
    op : OrderParameters
        Of exchangeable inputs with scalar `q0` and `c0`, or of given inputs (then means over inputs, and over
        pairs of different inputs, are drawn).
    ax : Axes, optional
    ensemble : Ensemble, optional
        Its ``mean[name]`` and ``standard_error[name]``, (L,) arrays for q, q_st, q_tilde, q_tilde_st, become
        points with error bars of one standard error.

    Returns
    -------
    Axes
        With a logarithmic scale where values range over more than a factor of 30. Order parameters that
        vanish are left out there, and the legend says so.

    Examples
    --------
    >>> import mfdnn
    >>> from mfdnn import plots
    >>> net = mfdnn.mlp([100] * 12, "tanh", sigma_w2=1.5, sigma_b2=0.1)
    >>> ax = plots.order_parameters(mfdnn.order_parameters(net))
    >>> ax.get_xlabel()
    'weight layer $l$'
    """
    names = {
        "q": (r"$q^l$", COLOURS["blue"], "-", "o"),
        "q_st": (r"$q_{st}^l$", COLOURS["sky"], "--", "s"),
        "q_tilde": (r"$\tilde q^l$", COLOURS["vermillion"], "-", "o"),
        "q_tilde_st": (r"$\tilde q_{st}^l$", COLOURS["orange"], "--", "s"),
    }
    ax = _axes(ax)
    theory = {
        name: _per_layer(getattr(op, name), op.per_input and name.endswith("_st"), name) for name in names
    }
    layers = np.arange(1, len(theory["q"]) + 1)
    top = max(np.abs(values).max() for values in theory.values())
    gone = {name for name, values in theory.items() if np.all(values <= 1e-9 * _size(theory, name))}
    positive = np.concatenate(
        [np.abs(values[values != 0]) for name, values in theory.items() if name not in gone] or [[1.0]]
    )
    log = bool(positive.size) and positive.max() > 30 * positive.min() and top > 0
    for name, (symbol, colour, dash, marker) in names.items():
        if log and name in gone:
            ax.plot([], [], color=colour, ls=dash, label=f"{symbol} = 0: not shown")
            continue
        ax.plot(layers, theory[name], color=colour, ls=dash, lw=1.8, label=symbol)[0].set_gid(name)
        if ensemble is not None:
            errors = np.nan_to_num(ensemble.standard_error[name])
            ax.errorbar(
                layers,
                ensemble.mean[name],
                errors,
                fmt=marker,
                color=colour,
                ms=4.5,
                mfc="white" if dash == "--" else colour,
                mew=1.1,
                capsize=2,
                zorder=3,
                label=None,
            )[0].set_gid(f"{name} simulated")
    if log:
        ax.set_yscale("log")
    handles = ax.get_legend_handles_labels()[0]
    if ensemble is not None:
        from matplotlib.lines import Line2D

        handles.append(Line2D([], [], color="0.3", marker="o", ls="none", ms=4.5, label="simulation"))
    ax.set(xlabel="weight layer $l$", ylabel="order parameter")
    _integer_ticks(ax, layers)
    _legend(ax, handles)
    return ax


def _per_layer(values: Any, pairs: bool, name: str) -> np.ndarray:
    """(L,) from (L,), (L, T), or (L, T, T) over pairs of different inputs."""
    values = np.asarray(values, dtype=float)
    if values.ndim == 1:
        return values
    if values.ndim == 2 and not pairs:
        return values.mean(axis=1)
    if values.ndim == 3 and pairs:
        n = values.shape[1]
        return (values.sum(axis=(1, 2)) - np.trace(values, axis1=1, axis2=2)) / max(n * (n - 1), 1)
    raise ValueError(
        f"`op` must be of one `q0` and `c0`, but `{name}` has shape {values.shape}; compute it for numbers."
    )


def _size(theory: dict[str, np.ndarray], name: str) -> float:
    """What `name` is to be compared with: the same without _st."""
    return float(np.abs(theory[name.removesuffix("_st")]).max()) or 1.0


# -- Fisher information --------------------------------------------------------------------------------------


def fisher_spectrum(
    eigenvalues: Any,
    statistics: Any = None,
    ax: Axes | None = None,
    n_networks: int = 1,
    bins: int | Sequence[float] = 60,
    *,
    color: Any = None,
    label: str | None = None,
) -> Axes:
    r"""Histogram of the non-zero eigenvalues of Fisher matrices, with the predicted mean, bulk and outliers.

    Parameters
    ----------
    eigenvalues : array
        Of one or several networks together. Those below 1e-12 of the largest are zero but for rounding and
        left out.
    statistics : FisherStatistics, optional
        Its `mean` (over all P eigenvalues, most of which are zero), `bulk` and `largest` become vertical
        lines.
    ax : Axes, optional
    n_networks : int
        How many networks `eigenvalues` comes from: counts are per network.
    bins : int or sequence
        Number of bins, equally wide in the logarithm, or their edges.
    color, label : optional
        Of the histogram.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        No positive eigenvalue.

    Examples
    --------
    >>> import numpy as np
    >>> from mfdnn import plots
    >>> ax = plots.fisher_spectrum(np.geomspace(0.1, 10, 200))
    >>> ax.get_xscale()
    'log'
    """
    values = finite_array("eigenvalues", eigenvalues).ravel()
    networks = positive_integer("n_networks", n_networks)
    values = values[values > 1e-12 * values.max(initial=0.0)]
    if values.size == 0:
        raise ValueError(
            "`eigenvalues` must contain a positive number, got none; pass those of a Fisher matrix."
        )
    ax = _axes(ax)
    if isinstance(bins, int):
        bins = np.geomspace(values.min() / 1.02, values.max() * 1.02, bins + 1).tolist()
    heights, _, _ = ax.hist(
        values,
        bins,
        weights=np.full(values.size, 1 / networks),
        histtype="stepfilled",
        color=color or COLOURS["sky"],
        label=label or "sampled eigenvalues",
    )
    if statistics is not None:
        fold = f" ({statistics.n_outliers}-fold)" if statistics.n_outliers > 1 else ""
        for value, dash, colour, text in (
            (statistics.mean, ":", COLOURS["black"], f"mean of all $P$: {_number(statistics.mean)}"),
            (statistics.bulk, "-.", COLOURS["green"], f"mean of the bulk: {_number(statistics.bulk)}"),
            (
                statistics.largest,
                "--",
                COLOURS["vermillion"],
                rf"$\lambda_{{\max}}${fold}: {_number(statistics.largest)}",
            ),
        ):
            if value > 0:
                ax.axvline(value, color=colour, ls=dash, lw=1.6, label=text)
    ax.set_xscale("log")
    counts = np.asarray(heights)
    if counts.max() > 30 * counts[counts > 0].min():
        ax.set_yscale("log")
    ax.set(xlabel=r"eigenvalue $\lambda$ of $F$", ylabel="eigenvalues per bin and network")
    _legend(ax)
    return ax


def learning_rate_boundary(
    widths: Any,
    predicted: Any,
    measured: Any = None,
    measured_error: Any = None,
    ax: Axes | None = None,
    label: str | None = None,
    *,
    measured_label: str = "sampled networks",
) -> Axes:
    r"""Learning-rate limit 2/lambda_max against width: line of theory, measured points, and the two zones.

    Parameters
    ----------
    widths, predicted : array, shape (n,)
    measured : array (n,), or pair (widths, values), optional
    measured_error : array, optional
        Standard errors of `measured`.
    ax : Axes, optional
    label : str, optional
        What the line is the limit of, such as the loss and the optimiser.
    measured_label : str

    Returns
    -------
    Axes

    Examples
    --------
    >>> from mfdnn import plots
    >>> ax = plots.learning_rate_boundary([100, 200, 400], [0.4, 0.2, 0.1])
    >>> [text.get_text() for text in ax.texts]
    ['monotone', 'may grow:\ncatapult or divergence']
    """
    x, y = (
        np.atleast_1d(finite_array(name, value))
        for name, value in (("widths", widths), ("predicted", predicted))
    )
    if x.ndim != 1 or x.shape != y.shape or x.size == 0 or min(x.min(), y.min()) <= 0:
        raise ValueError(
            f"`widths` and `predicted` must be positive and of one length, got shapes {x.shape} and {y.shape}; "
            "pass one limit per width."
        )
    order = np.argsort(x)
    x, y = x[order], y[order]
    ax = _axes(ax)
    everything = y
    points: tuple[np.ndarray, np.ndarray] | None = None
    if measured is not None:
        pair = (
            measured
            if isinstance(measured, tuple) and len(measured) == 2 and np.ndim(measured[0]) == 1
            else (widths, measured)
        )
        points = np.asarray(pair[0], dtype=float), np.asarray(pair[1], dtype=float)
        everything = np.concatenate([y, points[1]])
    low, high = everything.min() / 3, everything.max() * 3
    left, right = (x[0] / 1.15, x[-1] * 1.15) if x.size > 1 else (x[0] / 2, x[0] * 2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    # The zones reach the edges of the axes: the line goes on with its slope at either end.
    ends = np.concatenate([[left], x, [right]])
    slopes = np.diff(np.log(y)) / np.diff(np.log(x)) if x.size > 1 else np.zeros(1)
    line = np.concatenate([[y[0] * (left / x[0]) ** slopes[0]], y, [y[-1] * (right / x[-1]) ** slopes[-1]]])
    ax.fill_between(ends, low, line, color=COLOURS["green"], alpha=0.15, lw=0).set_gid("monotone")
    ax.fill_between(ends, line, high, color=COLOURS["orange"], alpha=0.18, lw=0).set_gid("may grow")
    ax.plot(
        x,
        y,
        color=COLOURS["black"],
        lw=1.8,
        label=r"theory, $2/\lambda_{\max}$" if label is None else f"theory: {label}",
    )
    if points is not None:
        ax.errorbar(
            *points,
            yerr=measured_error,
            fmt="o",
            color=COLOURS["blue"],
            ms=5,
            capsize=2.5,
            zorder=3,
            label=measured_label,
        )
    ax.text(0.04, 0.05, "monotone", transform=ax.transAxes, ha="left", va="bottom")
    ax.text(0.96, 0.95, "may grow:\ncatapult or divergence", transform=ax.transAxes, ha="right", va="top")
    ax.set(xlabel="width $M$", ylabel=r"learning rate $\eta$", xlim=(left, right), ylim=(low, high))
    _width_ticks(ax, x)
    _legend(ax)
    return ax


def eigenvalue_scaling(
    widths: Any,
    theory: Any,
    values: Any = None,
    errors: Any = None,
    ax: Axes | None = None,
    label: str | None = None,
    *,
    leading: Any = None,
    color: Any = None,
    marker: str = "o",
) -> Axes:
    r"""A statistic of the Fisher spectrum against width: line of theory, points with error bars, log-log.

    Call it once per network with the same `ax`; legend and labels of the ordinate are the caller's.

    Parameters
    ----------
    widths, theory : array, shape (n,)
    values, errors : array, shape (n,), optional
        Means over sampled networks and their standard errors.
    ax : Axes, optional
    label : str, optional
        Of the line of theory.
    leading : array, shape (n,), optional
        The leading order in the width, drawn dotted.
    color, marker : optional
        By default the colour is the next of the cycle.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from mfdnn import plots
    >>> ax = plots.eigenvalue_scaling([100, 200], [10.0, 20.0], [11.0, 20.5], [0.3, 0.2], label="tanh")
    >>> ax.get_xlabel()
    'width $M$'
    """
    x, y = (
        np.atleast_1d(finite_array(name, value)) for name, value in (("widths", widths), ("theory", theory))
    )
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"`theory` must have one value per width, got shapes {y.shape} and {x.shape}; pass one each."
        )
    ax = _axes(ax)
    (line,) = ax.plot(x, y, lw=1.6, label=label, color=color)
    if leading is not None:
        ax.plot(x, leading, lw=1.2, ls=":", color=line.get_color())[0].set_gid("leading")
    if values is not None:
        ax.errorbar(
            x,
            values,
            errors,
            fmt=marker,
            color=line.get_color(),
            ms=4.5,
            mfc="white",
            mew=1.1,
            capsize=2,
            zorder=3,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("width $M$")
    _width_ticks(ax, x)
    return ax


# -- helpers -------------------------------------------------------------------------------------------------


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def _legend(ax: Axes, handles: Sequence[Any] | None = None) -> None:
    """Above the axes, where no data are."""
    found = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    if found:
        ax.legend(
            handles=found,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.01),
            ncols=2 if len(found) > 1 else 1,
            frameon=False,
            borderaxespad=0.0,
            fontsize="small",
            handlelength=1.8,
            columnspacing=1.2,
            labelspacing=0.3,
        )


def _integer_ticks(ax: Axes, layers: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    margin = 0.03 * (layers[-1] - layers[0]) or 0.5
    ax.set_xlim(layers[0] - margin, layers[-1] + margin)


def _width_ticks(ax: Axes, widths: np.ndarray) -> None:
    """The widths themselves as ticks, where there is room to print them."""
    from matplotlib.ticker import NullFormatter

    shown: list[float] = []
    for width in np.unique(widths):
        if not shown or width >= 1.45 * shown[-1]:
            shown.append(width)
    if len(shown) <= 8:
        ax.set_xticks(shown, labels=[f"{width:g}" for width in shown])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(axis="x", which="minor", length=0)


def _sequence(index: int, n: int, hue: str | None) -> Any:
    """Colour `index` of n: of a sequential map, or tints of one hue."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if hue is None:
        return colormaps["viridis"](0.9 * index / max(n - 1, 1))
    weight = 0.35 + 0.65 * index / max(n - 1, 1)
    return tuple(weight * part + 1 - weight for part in to_rgb(hue))


def _variances(sigma_w2: float, sigma_b2: float) -> str:
    return rf"{W2} = {sigma_w2:.4g}, {B2} = {sigma_b2:.4g}"


def _number(value: float) -> str:
    return f"{value:.3g}"

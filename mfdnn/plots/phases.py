"""Phase diagrams and depth scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import checked, finite_number, listed, one_of, short
from ._style import B2, COLOURS, W2, categories, colour_bar, legend, make_axes, require_result, sequence

if TYPE_CHECKING:  # importing mfdnn must not load matplotlib
    from matplotlib.axes import Axes

__all__ = ["depth_scales", "phase_diagram"]

LABELS = {
    "q": r"$q^*$",
    "c": r"$c^*$",
    "chi_1": r"$\chi_1$",
    "chi_c": r"$\chi_{c^*}$",
    "xi_q": r"$\xi_q$ (layers)",
    "xi_c": r"$\xi_c$ (layers)",
    "xi_grad": r"$\xi_\nabla$ (layers; $<0$: gradients explode)",
    "phase": "phase",
}
SCALES = {
    "xi_q": (r"$\xi_q$", COLOURS["green"]),
    "xi_c": (r"$\xi_c$", COLOURS["blue"]),
    "xi_grad": (r"$\xi_\nabla$", COLOURS["vermillion"]),
}
PHASE_COLOURS = {"ordered": "#A6CEE3", "critical": "#FFFFFF", "chaotic": "#FDBF6F", "unbounded": "#BBBBBB"}
XI_RANGE = (0.3, 100.0)  # layers; depth scales beyond are shown in the end colours
CHI_RANGE = 2.0, 4.0  # chi_1 is shown from 1/k to k, with k its maximum within these bounds
RARE = 0.005  # a phase on a smaller part of the grid than this is a line or a point: no colour of its own
NOTHING = "#CCCCCC"  # where a field has no value to show


def phase_diagram(
    diagram: Any,
    field: str = "xi_c",
    ax: Axes | None = None,
    network: tuple[float, float] | None = None,
    colorbar: bool = True,
    *,
    phi: Any = None,
    labels: bool = True,
    **kwargs: Any,
) -> Axes:
    r"""Heat map of one field of a phase diagram, with the edge of chaos.

    Depth scales have a logarithmic scale from 0.3 to 100 layers, infinite ones the end colour; xi_grad keeps
    its sign (symmetric logarithm); chi_1 diverges from 1, on a logarithmic scale. Where there is no finite q*, the
    maps of q*, xi_q and xi_c are grey, which the legend says; the other fields are limits there.

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
        The activation, for a diagram of a callable that was loaded from a file. Without it the edge is the
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
    >>> from matplotlib import pyplot
    >>> import numpy as np, mfdnn
    >>> pd = mfdnn.phase_diagram("tanh", np.linspace(0.1, 4, 80), np.linspace(0, 0.5, 40))
    >>> ax = pd.plot("xi_c", network=(1.76, 0.05))
    >>> ax.get_xlabel()
    '$\\sigma_w^2$'
    >>> pyplot.close(ax.figure)
    """
    one_of("field", field, LABELS)
    require_result("diagram", diagram, "PhaseDiagram", "mfdnn.phase_diagram(...)")
    colorbar, labels = checked(colorbar=colorbar, labels=labels)
    if min(diagram.sigma_w2.size, diagram.sigma_b2.size) < 2:
        raise ValueError(
            f"`diagram` needs two points on each axis, got {diagram.sigma_w2.size} x "
            f"{diagram.sigma_b2.size}; use plots.depth_scales for a line."
        )
    if network is not None:
        if not isinstance(network, list | tuple) or len(network) != 2:
            raise TypeError(f"`network` must be (sigma_w2, sigma_b2), got {short(network)}; pass two numbers.")
        network = finite_number("network", network[0]), finite_number("network", network[1])
    ax = make_axes(ax)
    if field == "phase":
        mesh, bar = _draw_phases(ax, diagram, kwargs)
    else:
        mesh, bar = _draw_field(ax, diagram, field, kwargs)
    if colorbar:
        colour_bar(ax, mesh, label=LABELS[field], **bar)
    _draw_edge(ax, diagram, phi)
    if network is not None:
        style: dict[str, Any] = {"ms": 10, "mfc": "white", "mec": "black", "mew": 1, "zorder": 5, "clip_on": False}
        ax.plot(*network, "*", label="network", **style)
    _set_range(ax, diagram, network)
    if labels:
        _name_regions(ax, diagram, network)
    ax.set(xlabel=W2, ylabel=B2)
    legend(ax)
    return ax


def _draw_phases(ax: Axes, diagram: Any, options: dict) -> tuple[Any, dict[str, Any]]:
    present = {name: hue for name, hue in PHASE_COLOURS.items() if np.mean(diagram.phase == name) >= RARE}
    codes, scale = categories(diagram.phase, present)
    bar = {"ticks": range(len(present)), "names": list(present)}
    return _mesh(ax, diagram, codes, {**scale, **options}), bar


def _draw_field(ax: Axes, diagram: Any, field: str, options: dict) -> tuple[Any, dict[str, Any]]:
    from matplotlib import colormaps

    values = np.asarray(getattr(diagram, field), dtype=float)
    shown = values
    if field in ("q", "xi_q", "xi_c"):  # depth scales are those of a fixed point
        shown = np.where(np.isfinite(diagram.q), values, np.nan)
    options = dict(options)
    limits = options.pop("vmin", None), options.pop("vmax", None)
    norm, cmap, ticks = _scale(field, shown, limits)
    options = {"norm": norm, "cmap": cmap, **options}
    if isinstance(options["cmap"], str):
        options["cmap"] = colormaps[options["cmap"]]
    options["cmap"] = options["cmap"].with_extremes(bad=NOTHING)
    norm = options["norm"]
    extend = _extend(norm, shown)
    if norm.vmin is not None and norm.vmax is not None:  # a logarithm of 0 would be nothing instead of little
        shown = np.clip(shown, norm.vmin, norm.vmax)
    mesh = _mesh(ax, diagram, shown, options)
    if np.any(np.isnan(shown)):
        ax.scatter([], [], marker="s", color=NOTHING, label="no finite $q^*$")
    names = None if ticks is None else [f"{tick:.3g}" for tick in ticks]
    return mesh, {"ticks": ticks, "names": names, "extend": extend}


def _scale(field: str, values: np.ndarray, limits: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    """Norm, colour map and ticks (None: matplotlib's own) of a field."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize, SymLogNorm

    finite = values[np.isfinite(values)]

    def within(low: float, high: float) -> tuple[float, float]:
        return (low if limits[0] is None else limits[0], high if limits[1] is None else limits[1])

    if field == "chi_1":
        k = np.clip(finite.max(initial=1.0), *CHI_RANGE)
        low, high = within(1 / k, k)
        marks = (0.25, 0.5, 1.0, 2.0, 4.0) if k > 2.5 else (0.5, 2 / 3, 0.8, 1.0, 1.25, 1.5, 2.0)
        ticks = [tick for tick in marks if low * 0.999 <= tick <= high * 1.001]
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


def _mesh(ax: Axes, diagram: Any, values: np.ndarray, options: dict) -> Any:
    options = {"shading": "nearest", "rasterized": True, **options}
    return ax.pcolormesh(diagram.sigma_w2, diagram.sigma_b2, np.ma.masked_invalid(values.T), **options)


def _extend(norm: Any, shown: np.ndarray) -> str:
    """Which ends of the colour bar stand for more than their number."""
    if norm.vmin is None:
        return "neither"
    return ("neither", "min", "max", "both")[bool(np.any(shown < norm.vmin)) + 2 * bool(np.any(shown > norm.vmax))]


def _draw_edge(ax: Axes, diagram: Any, phi: Any) -> None:
    line = diagram.edge(phi)
    if line is None:  # not a name, or an activation that has no edge
        chi_1 = np.where(np.isfinite(diagram.chi_1), diagram.chi_1, 1e300)
        if chi_1.min() < 1 < chi_1.max():
            ax.contour(diagram.sigma_w2, diagram.sigma_b2, chi_1.T, [1.0], colors="black", linewidths=1.6)
            ax.plot([], [], color="black", lw=1.6, label=r"$\chi_1 = 1$")
        return
    if line.q.size == 0:
        return
    if np.all(line.sigma_b2 == 0):  # of positively homogeneous activations: a point, at any variance
        ax.axvline(line.sigma_w2[0], color="black", lw=1, ls=":", label=r"$\chi_1 = 1$")
        style: dict[str, Any] = {"color": "black", "ms": 11, "zorder": 4, "clip_on": False}  # seen behind a star
        ax.plot(line.sigma_w2[0], 0.0, "o", label="critical point", **style)
        return
    # Where the variance q* of the line repels, no network stays there: the visible boundary lies elsewhere.
    repels = ~line.stable
    stays = np.where(repels, np.nan, line.sigma_b2)
    ax.plot(line.sigma_w2, stays, color="black", lw=1.6, label=r"edge of chaos, $\chi_1 = 1$")
    window = (line.sigma_w2 >= diagram.sigma_w2[0]) & (line.sigma_w2 <= diagram.sigma_w2[-1])
    window &= (line.sigma_b2 >= diagram.sigma_b2[0]) & (line.sigma_b2 <= diagram.sigma_b2[-1])
    if np.any(repels & window):
        leaves = np.where(repels, line.sigma_b2, np.nan)
        ax.plot(line.sigma_w2, leaves, color="black", lw=1.2, ls=":", label="same, $q^*$ unstable")


def _set_range(ax: Axes, diagram: Any, network: tuple[float, float] | None) -> None:
    w2, b2 = diagram.sigma_w2, diagram.sigma_b2
    point = network or (w2[0], b2[0])
    ax.set_xlim(min(w2.min(), point[0]), max(w2.max(), point[0]))
    ax.set_ylim(min(b2.min(), point[1]), max(b2.max(), point[1]))


def _name_regions(ax: Axes, diagram: Any, network: tuple[float, float] | None) -> None:
    """The name of each phase where it has most room."""
    from matplotlib.patheffects import withStroke
    from scipy.interpolate import RegularGridInterpolator
    from scipy.ndimage import distance_transform_edt

    # Distances on a regular grid of the picture, in which a name is about four times as wide as high.
    x, y = np.linspace(*ax.get_xlim(), 80), np.linspace(*ax.get_ylim(), 60)
    pixels = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    for name in PHASE_COLOURS:
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
        style: dict[str, Any] = {"color": "white", "path_effects": [withStroke(linewidth=2.2, foreground="black")]}
        ax.text(x[i], y[j], name, ha="center", va="center", fontsize="medium", **style)


def depth_scales(
    found: Any, ax: Axes | None = None, scales: Sequence[str] = ("xi_q", "xi_c", "xi_grad")
) -> Axes:
    r"""Depth scales against the weight variance.

    Of negative ones (growth with depth) the size is drawn, dashed.

    Parameters
    ----------
    found : DepthScales
        Of `mfdnn.phase.depth_scales`: one curve per bias variance and scale; a dotted line marks the edge of chaos
        of each.
    ax : Axes, optional
    scales : sequence of {"xi_q", "xi_c", "xi_grad"}

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        `found` is no such result; unknown `scales`.

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> import numpy as np
    >>> from mfdnn import phase
    >>> ax = phase.depth_scales("tanh", np.linspace(0.5, 4, 200), 0.05).plot()
    >>> ax.get_yscale()
    'log'
    >>> pyplot.close(ax.figure)
    """
    require_result("found", found, "DepthScales", "mfdnn.phase.depth_scales(...)")
    scales = [scales] if isinstance(scales, str) else listed("scales", scales, "for example ('xi_c',)")
    for name in scales:
        one_of("scales", name, SCALES)
    from matplotlib.lines import Line2D

    ax, w2, biases = make_axes(ax), found.sigma_w2, found.sigma_b2
    one, several = biases.size == 1, len(scales) > 1
    handles, grows = [], False
    for index, b2 in enumerate(biases):
        for name in scales:
            symbol, hue = SCALES[name]
            colour = hue if one else sequence(index, biases.size, hue if several else None)
            xi = getattr(found, name)[index]
            xi = np.where(np.isfinite(xi), xi, np.nan)
            text = ", ".join([symbol] * (several or one) + [f"{B2} = {b2:g}"] * (not one))
            handles += ax.plot(w2, np.where(xi > 0, xi, np.nan), lw=1.8, color=colour, label=text, gid=name)
            if np.any(xi < 0):
                grows = True
                ax.plot(w2, np.where(xi < 0, -xi, np.nan), lw=1.8, ls="--", color=colour, gid=f"-{name}")
        edge = found.edge[index]
        if edge is not None and w2.min() <= edge <= w2.max():
            ax.axvline(edge, color="0.4" if one else colour, lw=1, ls=":", zorder=1, gid="edge")
    if grows:
        handles.append(Line2D([], [], color="0.3", ls="--", label=r"$|\xi|$ of growth ($\xi < 0$)"))
    if any(line.get_gid() == "edge" for line in ax.lines):
        handles.append(Line2D([], [], color="0.4", lw=1, ls=":", label="edge of chaos"))
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, 0.1), min(high, 1e3))
    ax.set(xlabel=W2, xlim=(w2.min(), w2.max()))
    ax.set_ylabel(LABELS[scales[0]] if len(scales) == 1 else "depth scale (layers)")
    legend(ax, handles)
    return ax

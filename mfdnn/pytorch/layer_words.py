"""What the layers of a module tell, in words, a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from ..activations import Activation
from ..phase import critical_point
from ..plots._style import COLOURS, integer_ticks
from .layer_points import LayerPoints, layer_points, theory_points
from .module_operator import ModuleOperator
from .reader import ModuleNetwork, read
from .reading import selector
from .theory import some_inputs

__all__ = ["FIELDS", "described", "draw_layers", "layer_table"]

FIELDS = ("variance", "correlation", "gradient")
LABELS = {"variance": "variance", "correlation": "correlation of two inputs", "gradient": "squared gradient"}
FAR = 100.0  # from the first to the last layer: a variance or a gradient that vanishes or explodes
ALIKE = 0.95  # correlation of any two inputs
FAILURES = (NoTheory, ValueError, TypeError, ArithmeticError, MemoryError)


def described(
    one: ModuleOperator, X: Any
) -> tuple[LayerPoints | None, LayerPoints | None, tuple[str, ...]]:
    """Points of the module, of its theory, and what they tell; else None."""
    try:
        points = layer_points(one, X)
    except (*FAILURES, RuntimeError):
        return None, None, ()
    if not points.names:
        return None, None, ()
    theory, net = None, None
    try:
        net = read(one.module, X, "weights", selector(one._select))
        inputs, _ = some_inputs(net)
        theory = theory_points(net, inputs).at(points.names)
    except FAILURES:
        pass  # the answer's `no_theory` says why
    return points, theory, tuple(_findings(points, net))


def _findings(points: LayerPoints, net: ModuleNetwork | None) -> list[str]:
    found = []
    first, last = points.names[0], points.names[-1]
    ratio = points.variance[-1] / points.variance[0] if points.variance[0] > 0 else np.nan
    if ratio < 1 / FAR:
        found.append(f"Signals vanish: the variance behind `{last}` is {ratio:.2g} of that behind `{first}`.")
    elif ratio > FAR:
        found.append(f"Signals explode: the variance behind `{last}` is {ratio:.2g} times that behind `{first}`.")
    if points.correlation[-1] > ALIKE > points.correlation[0]:
        place = points.names[int(np.argmax(points.correlation > ALIKE))]
        ends = f"{points.correlation[0]:.2g} behind `{first}` and {points.correlation[-1]:.3g} behind `{last}`"
        found.append(
            f"The outputs are nearly the same for every input: from `{place}` on the correlation of two inputs is "
            f"above {ALIKE:g}; it is {ends}."
        )
    inner = points.gradient[:-1] if len(points.gradient) > 1 else points.gradient
    if inner[-1] > 0:
        ratio = inner[0] / inner[-1]
        name = points.names[len(inner) - 1]
        if ratio < 1 / FAR:
            found.append(f"Gradients vanish: squared, those at `{first}` are {ratio:.2g} of those at `{name}`.")
        elif ratio > FAR:
            found.append(f"Gradients explode: squared, those at `{first}` are {ratio:.2g} times those at `{name}`.")
    return found + (_initialisation(net) if net is not None else [])


def _initialisation(net: ModuleNetwork) -> list[str]:
    """What the weights are drawn with, and what would keep gradients."""
    schemes = [w.scheme for w in net.weights if w.scheme]
    usual = max(dict.fromkeys(schemes), key=schemes.count) if schemes else ""
    values = [w.sigma_w2 for w in net.weights]
    span = f"{min(values):.3g}" if np.ptp(values) < 0.05 * max(values) else f"{min(values):.3g} to {max(values):.3g}"
    text = f"Weights have sigma_w2 = {span}"
    text += f", as {usual} initialisation ({schemes.count(usual)} of {len(values)} layers)" if usual else ""
    wanted = [point for act in dict.fromkeys(net.activations) if (point := _critical(act)) is not None]
    normalised = any("norm" in kind for kind in net.kinds)
    if normalised:
        return [f"{text}; normalisation sets the size of signals, whatever it is."]
    if not wanted:
        return [f"{text}."]
    points = " or ".join(f"{w2:.3g} with sigma_b2 = {b2:.3g} ({label})" for label, w2, b2 in wanted)
    return [f"{text}; gradients keep their size at {points}, which initialise_(module, 'critical', X) writes."]


def _critical(act: Activation) -> tuple[str, float, float] | None:
    try:
        return act.label, *critical_point(act)
    except (ValueError, ArithmeticError):
        return None


def layer_table(points: LayerPoints, theory: LayerPoints | None) -> list[str]:
    """Lines of a table: what the module has, and in brackets what theory says."""
    width = max(map(len, points.names))
    lines = ["behind each weight layer, this module (theory of fresh draws)"]
    lines.append(f"  {'':<{width}}  {'variance':>22}  {'correlation':>22}  {'squared gradient':>22}")
    for i, name in enumerate(points.names):
        cells = []
        for field in FIELDS:
            own = getattr(points, field)[i]
            wide = np.nan if theory is None else getattr(theory, field)[i]
            cells.append(f"{own:.4g} ({wide:.4g})" if np.isfinite(wide) else f"{own:.4g}")
        lines.append(f"  {name:<{width}}  " + "  ".join(f"{cell:>22}" for cell in cells))
    return lines


def draw_layers(points: LayerPoints, theory: LayerPoints | None, axes: Sequence[Any]) -> None:
    """Points of the module, and theory's line, a panel for each of `FIELDS`."""
    numbers = np.arange(1, len(points.names) + 1)
    for field, ax in zip(FIELDS, axes, strict=True):
        own = getattr(points, field)
        ax.plot(numbers, own, "o", color=COLOURS["blue"], label="this module")
        if theory is not None and np.any(np.isfinite(getattr(theory, field))):
            ax.plot(numbers, getattr(theory, field), "-", color=COLOURS["orange"], label="theory of fresh draws")
        if field != "correlation" and np.all(own[np.isfinite(own)] > 0):
            ax.set_yscale("log")
        elif field == "correlation":
            ax.set_ylim(min(-0.05, np.nanmin(own) - 0.05) if np.any(np.isfinite(own)) else -0.05, 1.05)
        ax.set(xlabel="weight layer", ylabel=LABELS[field])
        integer_ticks(ax, numbers)
    axes[0].legend(fontsize="small")

r"""Widths that theorems on two-layer networks demand, and widths needed.

The theorems are sufficient, and no paper claims that they are necessary: this is how far apart the two are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..comparison import MeasuredWidth, required_width_measured
from ..datasets import digits
from ..kernels import TwoLayerTheory, two_layer_theory
from ._style import bar, entry, legend, letter, marked, paper_style, points, standard_error, ticks
from .arora2019 import residuals
from .du2019 import on_sphere

__all__ = ["DATA", "SIZES", "WIDTHS", "data", "figure", "prediction_error"]

DATA = {  # colour and marker
    "sphere, 10 dimensions": ("black", "o"),
    "sphere, 100 dimensions": ("purple", "D"),
    "digits": ("sky", "s"),
}
THEOREMS = {  # colour and dashes
    "Allen-Zhu et al. 2019": ("green", "-"),
    "Arora et al. 2019": ("orange", "-"),
    "Du et al. 2019": ("vermillion", "-"),
    "Zou & Gu 2019": ("blue", "-"),
    "Huang & Yau 2020": ("blue", "--"),
    "Nguyen & Hein 2017": ("vermillion", "--"),
}
SIZES, SIZES_FAST = (10, 20, 40, 80, 160), (5, 10)
N_TRIALS, N_TRIALS_FAST = 20, 3
N_STEPS, N_STEPS_FAST = 100, 10
WIDTHS, WIDTHS_FAST = tuple(4**k for k in range(1, 8)), (4, 64)
N_SAMPLES, N_SAMPLES_FAST = 60, 10  # of panel D
N_NETWORKS, N_NETWORKS_FAST = 5, 2


def data(name: str, n_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of norm 1, and labels: normal on the sphere, +-1 of digits."""
    if name == "digits":
        X, classes = digits(n_samples, rng=rng)
        return X / np.linalg.norm(X, axis=1, keepdims=True), np.where(classes < 5, 1.0, -1.0)
    X = on_sphere(n_samples, int(name.split()[1]), rng)
    return X, rng.standard_normal(n_samples)


def prediction_error(theory: TwoLayerTheory, X: np.ndarray, width: int, n_steps: int, rng: Any) -> float:
    """How far |y - u(k)| of a network comes from its prediction, over |y - u(0)|."""
    measured, predicted = residuals(theory, X, width, n_steps, rng)
    return float(np.abs(measured - predicted).max() / measured[0])


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Widths that theorems demand against the width that training needs.

    The comparison and its settings are ours, of no paper: relu networks
    :math:`f(x) = m^{-1/2} \sum_r a_r \mathrm{relu}(w_r \cdot x)` with w trained and :math:`\kappa = 1`, on n inputs
    uniform on the unit sphere with normal labels, or on n of scikit-learn's digits, scaled to norm 1, with labels of +1
    below 5 and -1 from 5.

    A, B: lines: widths that theorems ask for with all constants and logarithms taken as 1, a probability of failure of
    0.1, and an error of 0.1 for Arora et al.; dashed: theorems on smooth activations. `TwoLayerTheory.sources` tells
    what was read in print: exponents mostly were not, and of Zou & Gu and of Huang & Yau the power of n alone is known
    here. Points: the smallest width (to 1/16) at which 18 of 20 networks keep
    :math:`|u(k) - y|^2 \le (1 - \eta\lambda_0/2)^k |u(0) - y|^2` for 100 steps at :math:`\eta = 1/\lambda_{max}`, by
    `mfdnn.comparison.required_width_measured`. C: these points alone. Digits need few units because
    :math:`\lambda_0 \ll \lambda_{max}` leaves a bound that hardly falls. D: what the finer prediction of
    :math:`|y - u(k)|`, mode by mode, needs: its largest error in 100 steps over :math:`|y - u(0)|`, means over five
    networks with error bars of one standard error, n = 60; vertical: `TwoLayerTheory.lazy_width`, about the width at
    which training to the end moves pre-activations by a tenth of their size.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: 5 and 10 inputs, three networks of 10 steps, two widths in D.

    Returns
    -------
    matplotlib.figure.Figure
    """
    sizes, n_trials, n_steps = (SIZES_FAST, N_TRIALS_FAST, N_STEPS_FAST) if fast else (SIZES, N_TRIALS, N_STEPS)
    drawing, axes = pyplot.subplots(2, 2, figsize=(7.0, 6.2), layout="constrained")
    children = dict(zip(DATA, np.random.default_rng(rng).spawn(len(DATA)), strict=True))
    found: dict[str, list[MeasuredWidth]] = {name: [] for name in DATA}
    for name, n in bar([(name, n) for name in DATA for n in sizes], progress, "widths"):
        inputs, trials = children[name].spawn(2)
        runs: dict[str, Any] = {"n_trials": n_trials, "n_steps": n_steps, "rng": trials}
        found[name].append(required_width_measured(*data(name, n, inputs), **runs))
    for ax, panel, name in ((axes[0, 0], "A", "sphere, 10 dimensions"), (axes[0, 1], "B", "digits")):
        for theorem, (colour, dashes) in THEOREMS.items():
            widths = [each.demanded[theorem] for each in found[name]]
            ax.plot(sizes, widths, color=plots.COLOURS[colour], ls=dashes, lw=1.5)
        _needed(ax, sizes, found[name], *DATA[name])
        ax.set(yscale="log", ylim=(0.3, 1e65), yticks=[1, 1e20, 1e40, 1e60])
        letter(ax, panel, name)
    for name, (colour, marker) in DATA.items():
        _needed(axes[1, 0], sizes, found[name], colour, marker)
    axes[1, 0].set_ylim(bottom=0)
    letter(axes[1, 0], "C", "width needed for the bound")
    for ax in (axes[0, 0], axes[0, 1], axes[1, 0]):
        ax.set(xscale="log", xlabel="inputs $n$", ylabel="width $m$")
        ticks(ax.xaxis, sizes)
    axes[0, 1].set_ylabel("")
    _predictions(axes[1, 1], children, fast)
    letter(axes[1, 1], "D", "error of the prediction")
    handles: list[Any] = [entry(name, plots.COLOURS[c], ls=dash, lw=1.5) for name, (c, dash) in THEOREMS.items()]
    handles += [entry("lazy width (D)", ls="-.", lw=1), entry("slope $-1/2$ (D)", ls=":", lw=1.2)]
    handles += [marked(f"measured: {name}", plots.COLOURS[c], m, lw=0.8) for name, (c, m) in DATA.items()]
    legend(drawing, handles, 3)
    return drawing


def _needed(ax: Axes, sizes: tuple[int, ...], found: list[MeasuredWidth], colour: str, marker: str) -> None:
    widths = [np.nan if each.width is None else each.width for each in found]
    style: dict[str, Any] = {"ms": 4.5, "mfc": "white", "mew": 1.1, "lw": 0.8, "zorder": 3}
    ax.plot(sizes, widths, color=plots.COLOURS[colour], marker=marker, **style)


def _predictions(ax: Axes, children: dict[str, np.random.Generator], fast: bool) -> None:
    """Error of the fine-grained prediction against width."""
    n, n_networks, n_steps, widths = N_SAMPLES, N_NETWORKS, N_STEPS, WIDTHS
    if fast:
        n, n_networks, n_steps, widths = N_SAMPLES_FAST, N_NETWORKS_FAST, N_STEPS_FAST, WIDTHS_FAST
    for name, (colour, marker) in DATA.items():
        inputs, *seeds = children[name].spawn(1 + n_networks)
        X, y = data(name, n, inputs)
        theory = two_layer_theory(X, y)
        errors = np.array([[prediction_error(theory, X, m, n_steps, seed) for seed in seeds] for m in widths])
        ax.plot(widths, errors.mean(axis=1), color=plots.COLOURS[colour], lw=0.8)
        points(ax, widths, errors.mean(axis=1), standard_error(errors), plots.COLOURS[colour], marker)
        ax.axvline(theory.lazy_width, color=plots.COLOURS[colour], ls="-.", lw=1)
    slope = 0.5 * np.sqrt(widths[0] / np.array(widths))
    ax.plot(widths, slope, color="0.3", ls=":", lw=1.2)
    ax.set(xscale="log", yscale="log", xlabel="width $m$", ylabel=r"error / $|y - u(0)|$")

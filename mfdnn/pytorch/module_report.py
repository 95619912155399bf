"""One page and one picture about a module, its batch, its loss and its optimiser."""

from __future__ import annotations

import base64
import html
import io
import os
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import plots
from .._support.results import Result
from .._support.validation import file_path
from ..plots._style import integer_ticks
from ._torch import torch
from .answer import ModuleLearningRate
from .layer_points import LayerPoints
from .layer_words import FIELDS, described, draw_layers, layer_table
from .module_operator import operator
from .rates import answered
from .reading import selector
from .spectrum import ModuleSpectrum, fisher_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ModuleReport", "report"]

_SUFFIXES = (".png", ".pdf", ".svg", ".html")
_WHOLE = 1000, 1_000_000  # T C and P up to which all eigenvalues are computed
_LARGEST = 10  # otherwise
_ROUNDING = 1e-6  # of an eigenvalue in float32, as a fraction of the largest
_PLACES = 25  # on the line, beside those of the search


@dataclass(frozen=True, repr=False, eq=False)
class ModuleReport(Result):
    """Learning rates and spectrum of a module; ``str(report)`` is the page.

    Attributes
    ----------
    module : str
        Its class.
    n_parameters : int
        P, of the trainable.
    answer : ModuleLearningRate
    spectrum : ModuleSpectrum or None
        Of the loss's Gauss-Newton matrix on the batch: all eigenvalues, or the largest of a large module.
    no_spectrum : str
        Why there is none; empty where there is one.
    layers : LayerPoints or None
        Variance, correlation of two inputs and gradient behind each weight layer of the module.
    theory : LayerPoints or None
        The same of wide networks of this architecture; None where there is no theory, as `answer` says.
    findings : tuple of str
        What the layers tell, a sentence each.
    """

    module: str
    n_parameters: int
    answer: ModuleLearningRate
    spectrum: ModuleSpectrum | None
    no_spectrum: str
    layers: LayerPoints | None = None
    theory: LayerPoints | None = None
    findings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ModuleReport({self.module}, P={self.n_parameters}, {self.answer!r})"

    def __str__(self) -> str:
        a = self.answer
        size = f"{self.n_parameters} trainable parameters; T = {a.n_samples}, C = {a.n_outputs}"
        lines = [f"{'module':<12} {self.module}, {size}"]
        lines += [str(a)]
        if self.spectrum is None:
            lines.append(f"{'spectrum':<12} None: {self.no_spectrum}")
        else:
            values = self.spectrum.eigenvalues
            top = ", ".join(f"{value:.4g}" for value in values[:5])
            lines.append(f"{'spectrum':<12} largest eigenvalues of the Gauss-Newton matrix: {top}")
        for text in self.findings:
            lines += wrap(text, 100, initial_indent=f"{'layers':<12} ", subsequent_indent=" " * 13)
        if self.layers is not None and self.layers.names:
            lines += ["", *layer_table(self.layers, self.theory)]
        if a.by_layer is not None:
            width = max(map(len, a.by_layer))
            lines += ["", "share of each layer in the first fall of the loss"]
            lines += [f"  {name:<{width}}  {100 * share:7.2f} %" for name, share in a.by_layer.items()]
        return "\n".join(lines)

    def figure(self) -> Figure:
        """The picture: loss along the step, spectrum, shares of layers."""
        from matplotlib import pyplot

        places = [["line"] * 6, ["spectrum"] * 3 + ["shares"] * 3]
        shown = self.layers is not None and len(self.layers.names) > 0
        if shown:
            places.append(["variance"] * 2 + ["correlation"] * 2 + ["gradient"] * 2)
        size = (11, 12.5 if shown else 9)
        figure, axes = pyplot.subplot_mosaic(places, figsize=size, layout="constrained")  # type: ignore[arg-type]
        if shown:
            assert self.layers is not None
            draw_layers(self.layers, self.theory, [axes[name] for name in FIELDS])
        plots.loss_along_step(self.answer, ax=axes["line"])
        self._spectrum_panel(axes["spectrum"])
        plots.layer_shares(self.answer, ax=axes["shares"])
        a = self.answer
        figure.suptitle(
            f"{self.module}, P = {self.n_parameters}; {a.optimizer} on {a.loss}, T = {a.n_samples}\n"
            f"learning rate {a.rate:.4g}, {a.factor:.3g} times the present one",
            fontsize="medium",
        )
        return figure

    def _spectrum_panel(self, ax: Axes) -> None:
        if self.spectrum is None:
            text = "\n".join(wrap(self.no_spectrum, 50))
            ax.text(0.5, 0.5, text, ha="center", va="center", fontsize="small").set_in_layout(False)
            ax.set_axis_off()
            return
        values = self.spectrum.eigenvalues
        whole = len(values) > _LARGEST
        known = values > np.maximum(self.spectrum.residuals, _ROUNDING * values[0])
        if not known.any():
            ax.text(0.5, 0.5, "no eigenvalue above rounding", ha="center", va="center", fontsize="small")
            ax.set_axis_off()
            return
        what = "eigenvalue of the Gauss-Newton matrix of the loss"
        if whole:
            plots.fisher_spectrum(values[known], ax=ax, label=f"{known.sum()} eigenvalues above rounding")
            ax.set(xlabel=what, ylabel="eigenvalues per bin")
            return
        numbers = np.arange(1, len(values) + 1)
        ax.semilogy(numbers[known], values[known], "o", color=plots.COLOURS["blue"])
        ax.set(xlabel="number", ylabel=what, title=f"the {known.sum()} largest")
        integer_ticks(ax, numbers)

    def save(self, path: str | os.PathLike) -> None:
        """Write the picture (png, pdf, svg) or page and picture (html).

        Raises
        ------
        ValueError
            Another suffix.
        """
        path = _checked_path(path)
        from matplotlib import pyplot

        figure = self.figure()
        try:
            if Path(path).suffix.lower() != ".html":
                figure.savefig(path, dpi=150)
            else:
                picture = io.BytesIO()
                figure.savefig(picture, format="png", dpi=130)
                Path(path).write_text(self._html(picture.getvalue()), encoding="utf-8")
        finally:
            pyplot.close(figure)

    def _html(self, picture: bytes) -> str:
        encoded = base64.b64encode(picture).decode()
        title = html.escape(f"mfdnn report: {self.module}, {self.answer.optimizer} on {self.answer.loss}")
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            "<style>body{font-family:sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
            "pre{font-size:90%;overflow-x:auto}img{max-width:100%}</style></head><body>"
            f"<h1>{title}</h1><pre>{html.escape(str(self))}</pre>"
            '<img alt="loss along one step, eigenvalues, shares of layers" '
            f'src="data:image/png;base64,{encoded}">'
            "</body></html>\n"
        )


def report(
    module: Any, batch: Any, loss: Any, optimizer: Any, path: Any = None, *, select: Any = None
) -> ModuleReport:
    """Learning rates of a module with their picture: loss, spectrum, layers.

    Parameters
    ----------
    module, batch, loss, optimizer, select : optional
        As in `learning_rate`.
    path : path, optional
        Where to write it: png, pdf, svg, or html with the page beside the picture.

    Returns
    -------
    ModuleReport
        ``print(report)`` for the page, ``report.save(path)`` for the picture.

    Raises
    ------
    TypeError, ValueError, ArithmeticError, MemoryError
        As `learning_rate`; another suffix of `path`.

    Notes
    -----
    All eigenvalues of the loss's Gauss-Newton matrix up to T C = 1000 and a million parameters, which takes T C
    products with it; of larger problems the ten largest. 30 more places on the line than `learning_rate` takes.

    Examples
    --------
    >>> import torch
    >>> import mfdnn.pytorch as mp
    >>> _ = torch.manual_seed(0)
    >>> module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    >>> batch, optimizer = (torch.randn(20, 8), torch.arange(20) % 3), torch.optim.Adam(module.parameters())
    >>> page = mp.report(module, batch, torch.nn.CrossEntropyLoss(), optimizer)
    >>> print(page)
    module       Sequential, 387 trainable parameters; T = 20, C = 3
    rate         ...
    """
    where = None if path is None else _checked_path(path)
    with torch.inference_mode(False):
        answer = answered(module, batch, loss, optimizer, select, "all", places=_PLACES)
    one = operator(module, select=select)
    spectrum, why_not = None, ""
    try:
        spectrum = _spectrum(one, batch, loss, select)
    except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
        why_not = str(error)
    found = ModuleReport(
        type(one.module).__name__, one.n_parameters, answer, spectrum, why_not, *described(one, batch[0])
    )
    if where is not None:
        found.save(where)
    return found


def _spectrum(one: Any, batch: Any, loss: Any, select: Any) -> ModuleSpectrum:
    X, Y = batch
    outputs = one.values(X)
    small = outputs.numel() <= _WHOLE[0] and one.n_parameters <= _WHOLE[1]
    options: dict[str, Any] = {} if small else {"k": min(_LARGEST, one.n_parameters), "tol": 1e-3}
    choose, shape = selector(select), outputs.shape[1:]

    def at_targets(rows: Any, _: Any) -> Any:
        return loss(rows.reshape(len(rows), *shape), Y)

    def rows(returned: Any) -> Any:
        some = choose(returned)
        return some.reshape(len(some), -1)

    if len(shape) == 1:
        try:
            return fisher_spectrum(one.module, X, output=loss, select=select, **options)
        except ValueError as error:
            if "target" not in str(error):  # whose Hessian depends on them, or which takes none that are made up
                raise
    return fisher_spectrum(one.module, X, output=at_targets, select=rows, **options)


def _checked_path(path: Any) -> str:
    path = file_path("path", path)
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise ValueError(f"`path` must end in {', '.join(_SUFFIXES)}, got {path!r}; change the suffix.")
    return path

"""Signals and gradients of a module beside theory, by weight layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.results import Result
from ..mean_field import MeanField
from ._torch import torch
from .inputs import converted
from .module_operator import ModuleOperator
from .reader import ModuleNetwork

__all__ = ["LayerPoints", "layer_points", "theory_points"]

OUTPUTS = 4  # of which gradients are averaged
PAIRS = 200  # samples of which correlations are averaged


@dataclass(frozen=True, repr=False, eq=False)
class LayerPoints(Result):
    r"""What leaves each weight layer of a module, on one batch.

    Attributes
    ----------
    names : tuple of str
        Paths of the weight layers, in the order in which they are called.
    variance : ndarray, shape (L,)
        Mean square of what leaves the layer, over samples, units and sites.
    correlation : ndarray, shape (L,)
        Mean over pairs of samples of their products over their sizes: 1 where every input gives the same.
    gradient : ndarray, shape (L,)
        Squared derivatives of an output by what leaves the layer, summed over its units and sites: a mean over samples
        and outputs.
    """

    names: tuple[str, ...]
    variance: np.ndarray
    correlation: np.ndarray
    gradient: np.ndarray

    def __repr__(self) -> str:
        return f"LayerPoints({len(self.names)} weight layers)"

    def at(self, names: tuple[str, ...]) -> LayerPoints:
        """Those of some layers, in that order; nan where there is none."""
        place = {name: i for i, name in enumerate(self.names)}

        def chosen(values: np.ndarray) -> np.ndarray:
            return np.array([values[place[name]] if name in place else np.nan for name in names])

        return LayerPoints(names, *(chosen(v) for v in (self.variance, self.correlation, self.gradient)))


def layer_points(one: ModuleOperator, X: Any) -> LayerPoints:
    """Of a module as it stands; nothing of it changes.

    Parameters
    ----------
    one : ModuleOperator
    X : object
        A batch as the module takes it.
    """
    kinds = torch.nn.Linear | torch.nn.modules.conv._ConvNd
    parts = {id(part): name for name, part in one.module.named_modules() if isinstance(part, kinds)}
    seen: dict[str, Any] = {}

    def keep(part: Any, _: Any, out: Any) -> Any:
        name = parts.get(id(part))
        if name is None or name in seen or not isinstance(out, torch.Tensor):
            return None
        seen[name] = out
        return out.clone()  # what follows may write to it

    handle = torch.nn.modules.module.register_module_forward_hook(keep)
    try:
        with one.prepared(), torch.enable_grad():
            outputs = one.outputs_at(converted(one.module, X), any_shape=True)
            n = len(outputs)
            kept = {name: h for name, h in seen.items() if h.ndim > 1 and len(h) == n}
            squares = _gradients(outputs.reshape(n, -1), list(kept.values()))
    finally:
        handle.remove()
    signals = [h.detach().reshape(n, -1).double() for h in kept.values()]
    variance = [float(h.square().mean()) for h in signals]
    correlation = [_correlation(h) for h in signals]
    return LayerPoints(tuple(kept), np.array(variance), np.array(correlation), squares)


def _gradients(outputs: Any, signals: list[Any]) -> np.ndarray:
    """With random signs of the samples, so that coupled ones count one by one."""
    generator = torch.Generator().manual_seed(0)  # the mean does not depend on it
    n, width = outputs.shape
    chosen = np.unique(np.linspace(0, width - 1, min(width, OUTPUTS)).astype(int))
    total = np.zeros(len(signals))
    for k in chosen:
        signs = (2.0 * torch.randint(2, (n,), generator=generator) - 1).to(outputs)
        found = torch.autograd.grad((signs * outputs[:, int(k)]).sum(), signals, retain_graph=True, allow_unused=True)
        total += [0.0 if g is None else float(g.double().square().sum()) / n for g in found]
    return total / len(chosen)


def _correlation(h: Any) -> float:
    h = h[:PAIRS]
    sizes = h.square().sum(1).sqrt()
    if len(h) < 2 or not bool((sizes > 0).all()):
        return float("nan")
    c = (h @ h.mT) / (sizes[:, None] * sizes[None])
    n = len(h)
    return float((c.sum() - c.diagonal().sum()) / (n * (n - 1)))


def theory_points(net: ModuleNetwork, inputs: np.ndarray | None = None) -> LayerPoints:
    """The same of the wide network; gradients are nan where samples are coupled.

    Raises
    ------
    NoTheory
        There is no law of one of its layers.
    """
    wide = MeanField(net, inputs=net.inputs if inputs is None else inputs)
    found = wide.order_parameters
    if not found.per_input:
        raise NoTheory("order parameters are not of single inputs")
    q, q_st = np.asarray(found.q), np.asarray(found.q_st)
    sizes = np.sqrt(q)
    with np.errstate(invalid="ignore", divide="ignore"):
        c = q_st / (sizes[:, :, None] * sizes[:, None, :])
    n = q.shape[1]
    off = ~np.eye(n, dtype=bool)
    correlation = c[:, off].mean(axis=1) if n > 1 else np.full(len(q), np.nan)
    gradient = np.asarray(found.q_tilde).mean(axis=1)
    if net.couples_samples:
        gradient = np.full_like(gradient, np.nan)
    return LayerPoints(net.names, q.mean(axis=1), correlation, gradient)



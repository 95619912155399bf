"""Theory of a module beside modules that are drawn anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.validation import positive_integer, short
from ..comparison.table import Comparison, Row, normal_deviation, three_sigma
from ..fisher import fisher_statistics
from ..jobs.watch import stop_if_asked
from ..mean_field import MeanField
from ._torch import torch
from .layer_points import LayerPoints, layer_points, theory_points
from .module_operator import ModuleOperator, operator
from .reader import ModuleNetwork, network
from .spectrum import fisher_spectrum
from .theory import some_inputs

__all__ = ["compare"]

OF_KERNEL = 0.02  # of means of kernels: what networks of a hundred channels leave
OF_OUTLIERS = 0.08  # of the mean of the C largest eigenvalues
WORDS = {"variance": "q", "correlation": "c", "gradient": "q_tilde"}


def compare(factory: Callable[[], Any], X: Any, n_networks: int = 8, *, select: Any = None) -> Comparison:
    r"""Compare the theory of a module with modules that are drawn anew.

    Parameters
    ----------
    factory : callable
        Without arguments; each call returns the module with fresh weights.
    X : Tensor, array, or what the module takes
        One batch.
    n_networks : int
        2 or more.
    select : callable, int or str, optional
        As in `operator`.

    Returns
    -------
    Comparison
        Of the table that `mfdnn.compare` makes. Rows: ``mean`` and ``outlier_mean``, mean eigenvalue of F and mean of
        its C largest; by layer, named with its path, ``q`` (variance), ``c`` (mean correlation of two inputs) and
        ``q_tilde`` (squared gradient). Variances are means of those read from all modules.

    Raises
    ------
    TypeError, ValueError
        A `factory` that is not callable or returns the same module twice; what `network` refuses.
    NoTheory
        The module cannot be read, or theory would take long (more samples times sites than `learning_rate` computes
        unasked).

    Notes
    -----
    A row agrees if simulation and theory differ by no more than three sigma (by Student's t) and the allowance: 2 % and
    (3/4) L/M of a layer's numbers and of the mean, M the smallest width inside, 8 % of the C largest.

    Examples
    --------
    >>> import torch
    >>> import mfdnn.pytorch as mp
    >>> def factory():
    ...     return torch.nn.Sequential(torch.nn.Linear(30, 300), torch.nn.Tanh(), torch.nn.Linear(300, 2))
    >>> _ = torch.manual_seed(0)
    >>> table = mp.compare(factory, torch.randn(20, 30), n_networks=8)
    >>> table
    Comparison(8 of 8 rows agree, 8 networks, T=20)
    >>> table.row("q[0]").agrees
    True
    """
    if not callable(factory) or isinstance(factory, torch.nn.Module):
        raise TypeError(
            f"`factory` must be a function that makes a module, got {short(factory)}; pass lambda: YourModule(...)."
        )
    n_networks = positive_integer("n_networks", n_networks, 2)
    modules: list[ModuleOperator] = []
    for _ in range(n_networks):
        one = operator(factory(), select=select)
        if any(one.module is other.module for other in modules):
            raise ValueError("`factory` must make a new module at each call, got the same one twice; build it inside.")
        modules.append(one)
    net = _mean_network(modules, X, select)
    inputs, caution = some_inputs(net)
    if caution:
        raise ValueError(f"{caution} Pass that many.")
    theory = theory_points(net)
    statistics = fisher_statistics(MeanField(net, inputs=inputs))
    found: dict[str, list[float]] = {}
    for one in modules:
        stop_if_asked()
        points = layer_points(one, X).at(net.names)
        for name, value in _numbers(points).items():
            found.setdefault(name, []).append(value)
        spectrum = fisher_spectrum(one, X, k=max(net.n_outputs, 1))
        found.setdefault("mean", []).append(spectrum.mean)
        found.setdefault("outlier_mean", []).append(float(np.mean(spectrum.eigenvalues[: net.n_outputs])))
    hidden = list(net.widths[1:-1]) or [net.widths[0]]
    narrow = OF_KERNEL + 0.75 * net.n_weight_layers / min(hidden)
    expected = {"mean": statistics.mean, "outlier_mean": statistics.largest} | _numbers(theory)
    errors = getattr(statistics, "standard_error", None) or {}
    rows = []
    for name, value in expected.items():
        numbers = np.array(found[name])
        if np.isfinite(value) and np.all(np.isfinite(numbers)):
            allowed = OF_OUTLIERS if name == "outlier_mean" else narrow
            scale = 1.0 if name.startswith("c[") else abs(value)
            own = float(errors.get("largest" if name == "outlier_mean" else name, 0.0))
            rows.append(_row(name, float(value), numbers, allowed * scale, own))
    return Comparison(tuple(rows), net, len(inputs), n_networks)


def _numbers(points: LayerPoints) -> dict[str, float]:
    return {
        f"{word}[{name}]": float(value)
        for field, word in WORDS.items()
        for name, value in zip(points.names, getattr(points, field), strict=True)
    }


def _mean_network(modules: list[ModuleOperator], X: Any, select: Any) -> ModuleNetwork:
    """The network of the first module with the mean variances of all."""
    nets = [network(one.module, X, select=select) for one in modules]
    variances = {
        name: (
            float(np.mean([net.weights[i].sigma_w2 for net in nets])),
            float(np.mean([net.weights[i].sigma_b2 for net in nets])),
        )
        for i, name in enumerate(nets[0].names)
    }
    return network(modules[0].module, X, select=select, variances=variances)


def _row(name: str, theory: float, numbers: np.ndarray, allowance: float, theory_error: float) -> Row:
    mean, n = float(numbers.mean()), len(numbers)
    scatter = float(numbers.std(ddof=1) / np.sqrt(n))
    error = float(np.hypot(scatter, theory_error))
    off = mean - theory
    deviation = 0.0 if off == 0 else float(np.copysign(np.inf, off)) if error == 0 else normal_deviation(off / error, n)
    agrees = abs(off) <= three_sigma(n) * error + allowance
    return Row(
        name, theory, None, mean, scatter, None, deviation, allowance, bool(agrees), theory_error=theory_error
    )

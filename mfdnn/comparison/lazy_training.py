"""How lazy training is at finite width.

What moves, and how far outputs are from the kernels' predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .._support.results import Result
from .._support.validation import checked, finite_array, positive_number
from ..jobs.run import check_executor, stack
from ..jobs.streams import streams
from ..kernels import kernel_training
from ..losses import stability_limit
from ..network import Network, require_network, scale_widths
from ..sampled import empirical_ntk, linearised, rescaled, sample
from ..sampled.expansion import checked_scale
from ..training import train

__all__ = ["LazyTraining", "fitted_slope", "lazy_training"]


@dataclass(frozen=True, repr=False, eq=False)
class LazyTraining(Result):
    r"""What `lazy_training` measured at n widths.

    =====================  ===================================================================================
    kernel_drift           :math:`|\Theta_t - \Theta_0| / |\Theta_0|` of the tangent kernel, Frobenius norms
    parameter_movement     :math:`|\theta_t - \theta_0| / |\theta_0|` of all parameters
    linear_gap             :math:`|f_t - f_t^{lin}| / |f_t - f_0|`, from the linearised network trained alike
    kernel_gap             the same from `mfdnn.kernel_training` with the :math:`f_0` of each network
    loss                   at the end, over that at the start
    =====================  ===================================================================================

    Attributes
    ----------
    width : ndarray of int, shape (n,)
        The smallest hidden one.
    learning_rate : ndarray, shape (n,)
        Of every network of that width; :math:`\eta\,\Theta` is about the same for all.
    mean, standard_error : dict of str to ndarray, shape (n,)
        Over networks.
    slopes : dict of str to (float, float)
        Of the logarithms against that of the width, and its standard error; empty for one width, and without what is 0.
    values : dict of str to ndarray, shape (n, n_networks)
    alpha : float
        The output scale.
    loss_name : str
        `loss`, as it was given.
    n_networks, n_samples, n_steps : int
    """

    width: np.ndarray
    learning_rate: np.ndarray
    mean: dict[str, np.ndarray]
    standard_error: dict[str, np.ndarray]
    slopes: dict[str, tuple[float, float]]
    values: dict[str, np.ndarray]
    alpha: float
    loss_name: str
    n_networks: int
    n_samples: int
    n_steps: int

    def __repr__(self) -> str:
        found = ", ".join(f"{name} ~ M^{slope:.2f}+-{error:.2f}" for name, (slope, error) in self.slopes.items())
        return f"LazyTraining({len(self.width)} widths {self.width.min()}..{self.width.max()}, {found})"


def lazy_training(
    net: Network,
    inputs: Any,
    targets: Any,
    n_steps: int = 100,
    *,
    factors: Sequence[float] = (1, 2, 4),
    n_networks: int = 10,
    relative_rate: float = 0.5,
    alpha: float = 1.0,
    loss: str = "half_mse",
    momentum: float = 0.0,
    nesterov: bool = False,
    rng: Any = None,
    executor: Any = None,
    progress: bool = False,
) -> LazyTraining:
    r"""Train networks of several widths, and measure what infinite width leaves out.

    Parameters
    ----------
    net : Network
        With linear outputs.
    inputs : array_like, shape (T, M_0) or (T, *input_shape)
    targets : array_like, shape (T, C), or (T,) of int
        As of `mfdnn.train`.
    n_steps : int
    factors : sequence of float
        Hidden widths are those of `net` times these.
    n_networks : int
        Drawn at each width.
    relative_rate : float
        Learning rate in units of the largest stable one of infinite width, with the optimiser's factor.
    alpha : float
        Output scale. Other than 1: :math:`\alpha (f - f_0)` is trained, on the loss over :math:`\alpha^2`
        (`mfdnn.sampled.rescaled`). Large ones are lazy at any width.
    loss, momentum, nesterov
        As of `mfdnn.train`.
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes.
    executor, progress : optional
        As in `mfdnn.ensemble`.

    Returns
    -------
    LazyTraining

    Raises
    ------
    TypeError, ValueError
        What `mfdnn.kernel_training` and `mfdnn.train` refuse; factors, rates or sizes that are not positive; a run that
        diverges.

    Notes
    -----
    In standard parameterisation a rate that keeps :math:`\eta\Theta` falls as 1/M. `kernel_gap` falls as
    :math:`M^{-1/2}`, as drawn kernels scatter so; `linear_gap` is bounded by that order, and was measured closer to
    1/M, as `kernel_drift` is. Movement of weights between hidden layers is 1/M of themselves, that of the last
    layer :math:`M^{-1/2}`. A network costs 8/3 runs and two tangent kernels.

    References
    ----------
    Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein & Pennington 2019, "Wide neural networks of any depth evolve as
    linear models under gradient descent", arXiv:1902.06720. Chizat, Oyallon & Bach 2019, "On lazy training in
    differentiable programming", arXiv:1812.07956.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([2, 16, 16, 1], "tanh", sigma_w2=2.0, sigma_b2=0.1)
    >>> X, y = np.random.default_rng(0).standard_normal((6, 2)), np.array([1, -1, 1, -1, 1, -1])
    >>> found = mfdnn.comparison.lazy_training(net, X, y, 20, factors=(1, 4, 16), n_networks=4, rng=0)
    >>> found.width.tolist(), bool(-0.8 < found.slopes["kernel_gap"][0] < -0.2)
    ([16, 64, 256], True)
    """
    require_network("net", net)
    check_executor(executor)
    n_steps, n_networks, rng, progress = checked(n_steps=n_steps, n_networks=n_networks, rng=rng, progress=progress)
    relative, scale = positive_number("relative_rate", relative_rate), checked_scale(alpha)
    sizes = finite_array("factors", factors)
    if sizes.ndim != 1 or sizes.size == 0 or np.any(sizes <= 0):
        raise ValueError(f"`factors` must be a list of positive numbers, got {factors!r:.60}; pass (1, 2, 4).")
    nets = [scale_widths(net, float(factor)) for factor in sizes]
    options: dict[str, Any] = {"loss": loss, "momentum": momentum, "nesterov": nesterov}
    rates = []
    for one in nets:
        path = kernel_training(one, inputs, targets, 1.0, **options)
        rates.append(relative * stability_limit(path.eigenvalues[0], path.momentum, path.nesterov))
    measure = partial(
        _measure, nets=nets, rates=rates, X=inputs, Y=targets, n_steps=n_steps, alpha=scale, options=options
    )
    seeds = streams(rng, len(nets) * n_networks)
    tasks = [(i // n_networks, seeds[i]) for i in range(len(seeds))]
    found = stack(measure, tasks, executor=executor, progress=progress)
    values = {name: array.reshape(len(nets), n_networks) for name, array in found.items()}
    mean = {name: array.mean(axis=1) for name, array in values.items()}
    error = {
        name: array.std(axis=1, ddof=1) / np.sqrt(n_networks) if n_networks > 1 else np.full(len(nets), np.inf)
        for name, array in values.items()
    }
    width = np.array([min(one.widths[1:-1], default=one.widths[0]) for one in nets])
    return LazyTraining(
        width=width,
        learning_rate=np.array(rates),
        mean=mean,
        standard_error=error,
        slopes={
            name: fitted_slope(width, mean[name], error[name])
            for name in mean
            if len(set(width)) > 1 and np.all(mean[name] > 0)
        },
        values=values,
        alpha=scale,
        loss_name=loss,
        n_networks=n_networks,
        n_samples=len(inputs),
        n_steps=n_steps,
    )


def fitted_slope(x: np.ndarray, y: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Slope of log y against log x, and its standard error.

    Least squares over two different x or more, weighted by the standard errors (n,) of y; plain ones where these are
    not known, and then the error is inf.
    """
    known = np.all(np.isfinite(error)) and np.all(error > 0)
    weight = (y / error) ** 2 if known else np.ones_like(y)
    log_x, log_y = np.log(x), np.log(y)
    log_x = log_x - np.average(log_x, weights=weight)
    total = float(np.sum(weight * log_x**2))
    return float(np.sum(weight * log_x * log_y) / total), float(total**-0.5) if known else float("inf")


def _measure(
    task: tuple[int, np.random.SeedSequence],
    nets: list[Network],
    rates: list[float],
    X: Any,
    Y: Any,
    n_steps: int,
    alpha: float,
    options: dict[str, Any],
) -> dict[str, np.ndarray]:
    """One network: the numbers of `LazyTraining`."""
    i, seed = task
    rate = rates[i]
    start: Any = sample(nets[i], rng=np.random.default_rng(seed))
    if alpha != 1:
        start = rescaled(start, alpha, centred=True)
    runs = [train(one, X, Y, rate / alpha**2, n_steps, **options) for one in (start, linearised(start))]
    end, line = runs[0].trained, runs[1].trained
    if end is None or line is None or "diverged" in (runs[0].outcome, runs[1].outcome):
        raise ValueError(f"`relative_rate` makes a network of {nets[i]} diverge, at learning rate {rate:g}; lower it.")
    path = kernel_training(nets[i], X, Y, rate, initial=start(X), **options)
    before, after = empirical_ntk(start, X), empirical_ntk(end, X)
    unit = max(np.linalg.norm(end(X) - start(X)), np.finfo(float).tiny)  # a step may be too small to move anything
    first, last = runs[0].initial_loss, runs[0].final_loss
    found = {
        "kernel_drift": np.linalg.norm(after - before) / np.linalg.norm(before),
        "parameter_movement": np.linalg.norm(end.vector - start.vector) / np.linalg.norm(start.vector),
        "linear_gap": np.linalg.norm(end(X) - line(X)) / unit,
        "kernel_gap": np.linalg.norm(end(X) - path.outputs(n_steps)) / unit,
        "loss": last / first if first > 0 else 1.0,
    }
    return {name: np.asarray(value, np.float64) for name, value in found.items()}

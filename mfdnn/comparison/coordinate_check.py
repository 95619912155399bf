"""How far layers move in a few steps: whether one rate serves all widths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from .._support.errors import OutOfRange
from .._support.results import Result
from .._support.validation import checked, listed, positive_integer, positive_number
from ..jobs.run import check_executor, stack
from ..jobs.streams import streams
from ..layers.chain import read_chain
from ..learning_rate.updates import first_step
from ..learning_rate.updates.first import on_inputs
from ..learning_rate.updates.parameterisation import LayerRates, layer_rates, mup_network
from ..learning_rate.updates.rules import FirstUpdate, checked_update
from ..losses import loss_and_slope
from ..losses.values import checked_targets
from ..mean_field.inputs import n_relabelling
from ..network import Network, require_network, scale_widths
from ..sampled import SampledNetwork, sample
from ..training.updates import Update

__all__ = ["CoordinateCheck", "coordinate_check"]

REFUSAL = "`net` must be a chain of Dense and Pointwise layers for a coordinate check, got a layer {layer}."
FACTORS = 1, 2, 4  # widths by default, in units of one's own
SHARE = 0.25  # of the smallest critical rate
FLAT = 0.15  # a slope up to which a layer's movement does not depend on the width: 1.1 for twice of it
SAMPLES = 32


@dataclass(frozen=True, repr=False, eq=False)
class CoordinateCheck(Result):
    """How far the pre-activations of each layer move, over width.

    Attributes
    ----------
    sizes : ndarray of int, shape (n,)
        Widths of the first hidden layer.
    change : ndarray, shape (n, n_steps, L)
        Root mean square over inputs and units of what the steps so far changed in the pre-activations of weight layer
        l = 1..L, the outputs last. Means over networks.
    standard_error : dict of str to ndarray
        Of `change`, and of `slopes`.
    slopes : ndarray, shape (L,)
        d log change/d log size behind the last step, by least squares.
    predicted : ndarray, shape (n,)
        The change of the outputs in the first step by theory (`FirstStep.response`).
    learning_rate : float
        At every width.
    optimizer, parameterisation : str
    n_samples, n_networks : int
    """

    sizes: np.ndarray
    change: np.ndarray
    standard_error: dict[str, np.ndarray]
    slopes: np.ndarray
    predicted: np.ndarray
    learning_rate: float
    optimizer: str
    parameterisation: str
    n_samples: int
    n_networks: int

    def __repr__(self) -> str:
        slopes = ", ".join(f"{slope:+.2f}" for slope in self.slopes)
        verdict = "one rate for all widths" if self.flat else "the rate depends on the width"
        return f"CoordinateCheck({self.optimizer}, {self.parameterisation}: layers move as M^({slopes}); {verdict})"

    @property
    def flat(self) -> bool:
        """Whether no layer moves more, or less, the wider it is.

        A slope counts as 0 up to 0.15, or twice its standard error.
        """
        return bool(np.all(np.abs(self.slopes) <= np.maximum(FLAT, 2 * self.standard_error["slopes"])))

    def plot(self, ax: Any = None) -> Any:
        """Draw it: `mfdnn.plots.coordinate_check`."""
        from ..plots import coordinate_check as draw

        return draw(self, ax)


def coordinate_check(
    net: Network,
    optimizer: str = "adam",
    *,
    parameterisation: str = "mup",
    inputs: Any = None,
    targets: Any = None,
    learning_rate: float | None = None,
    sizes: Any = None,
    n_steps: int = 5,
    n_networks: int = 4,
    rng: Any = None,
    executor: Any = None,
) -> CoordinateCheck:
    r"""How far layers move in a few steps, over width.

    Networks of several widths are trained at one rate. In the maximal update parameterisation every layer moves by the
    same amount at any width, so that a rate found on a narrow network serves a wide one; in the others layers move
    more, or less, the wider they are.

    Parameters
    ----------
    net : Network
        Fully connected, with its variances as for standard parameterisation: muP divides that of the last weights.
    optimizer : str
        As in `mfdnn.train`, at its default settings.
    parameterisation : {"standard", "ntk", "mup"}
        As in `first_step`.
    inputs : array_like, shape (T, M_0), optional
        Default: 32 Gaussian ones.
    targets : array_like, shape (T, C), optional
        Or labels (T,). Default: classes alike, or standard normal numbers for C = 1. The loss is half the squared
        error.
    learning_rate : float, optional
        Of all widths. Default: a quarter of the critical rate of the first step, at the width where it is smallest.
    sizes : sequence of int, optional
        Widths of the first hidden layer, with the others in proportion. Default: 1, 2 and 4 times one's own.
    n_steps, n_networks : int
        Steps of each, and networks of each width (2 or more).
    rng : int, numpy.random.Generator, ... , optional
    executor : optional
        Anything with `.map` of `concurrent.futures.Executor`. Default: threads.

    Returns
    -------
    CoordinateCheck
        With `.slopes`, `.flat` and `.plot()`.

    Raises
    ------
    ValueError
        Fewer than two `sizes`, some alike, a network without hidden layers, targets of another shape, and what
        `first_step` raises. `NoTheory`: other layers than Dense and Pointwise.
    OverflowError
        Networks diverge.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([20, 64, 64, 1], "relu", init="he")
    >>> mfdnn.comparison.coordinate_check(net, "adam", rng=0).flat
    True
    >>> mfdnn.comparison.coordinate_check(net, "adam", parameterisation="standard", rng=0).flat
    False

    References
    ----------
    Yang et al. 2022, "Tensor programs V: tuning large neural networks via zero-shot hyperparameter transfer",
    arXiv:2203.03466.
    """
    update = checked_update(optimizer)
    check_executor(executor)
    read_chain(require_network("net", net).layers[n_relabelling(net) :], REFUSAL)
    own = net.widths[1] if len(net.widths) > 2 else 0
    widths = _sizes(sizes, own)
    n_steps, n_networks, rng = checked(n_steps=n_steps, n_networks=n_networks, rng=rng)
    positive_integer("n_networks", n_networks, minimum=2)
    of_data, of_networks = np.random.default_rng(rng).spawn(2)
    X = on_inputs(net, SAMPLES if inputs is None else None, None, None, inputs, of_data).inputs
    assert X is not None  # given, or drawn
    shape = len(X), net.n_outputs
    if targets is None:
        labels = np.eye(shape[1])[of_data.integers(shape[1], size=shape[0])]
        y = labels if shape[1] > 1 else of_data.standard_normal(shape)
    else:
        y = checked_targets(targets, "half_mse", *shape, np.dtype(float), "targets")
    nets = [scale_widths(net, size / own) for size in widths]
    steps = [first_step(of, optimizer, inputs=X, targets=y, parameterisation=parameterisation) for of in nets]
    eta = SHARE * min(map(float, steps)) if learning_rate is None else positive_number("learning_rate", learning_rate)
    found = []
    for of, seed in zip(nets, of_networks.spawn(len(nets)), strict=True):
        trial = partial(_moved, net=of, X=X, y=y, rate=eta, update=update, kind=parameterisation, n_steps=n_steps)
        found.append(stack(trial, streams(seed, n_networks), executor=executor)["change"])
    change = np.array(found)  # (n, networks, steps, L)
    if not np.all(np.isfinite(change)):
        raise OutOfRange(f"`learning_rate` = {eta:.3g} makes networks diverge within {n_steps} steps", "lower it")
    mean, error = change.mean(axis=1), change.std(axis=1, ddof=1) / np.sqrt(n_networks)
    away = np.log(widths) - np.mean(np.log(widths))
    weights = away / (away @ away)
    relative = np.divide(error, mean, out=np.zeros_like(error), where=mean > 0)[:, -1]
    logs = np.log(np.maximum(mean[:, -1], np.finfo(float).tiny))
    return CoordinateCheck(
        sizes=np.array(widths),
        change=mean,
        standard_error={"change": error, "slopes": np.sqrt(weights**2 @ relative**2)},
        slopes=weights @ logs,
        predicted=np.array([eta * step.response for step in steps]),
        learning_rate=eta,
        optimizer=update.optimiser.name,
        parameterisation=parameterisation,
        n_samples=len(X),
        n_networks=n_networks,
    )


def _sizes(sizes: Any, own: int) -> list[int]:
    if own == 0:
        raise ValueError("`net` must have a hidden layer, whose width varies, got none; add one.")
    asked = [factor * own for factor in FACTORS] if sizes is None else listed("sizes", sizes, "two widths or more")
    found = sorted(positive_integer("sizes", size) for size in asked)
    if len(found) < 2 or len(set(found)) < len(found):
        raise ValueError(f"`sizes` must be two or more different ones, got {found}; pass for example [64, 128, 256].")
    return found


def _moved(
    seed: Any, net: Network, X: np.ndarray, y: np.ndarray, rate: float, update: FirstUpdate, kind: str, n_steps: int
) -> dict[str, np.ndarray]:
    """How far each layer of one network is from where it began, (n_steps, L)."""
    drawn = sample(mup_network(net) if kind == "mup" else net, rng=np.random.default_rng(seed))
    one = SampledNetwork(drawn.network, [tuple(map(_copied, group)) for group in drawn.parameters])
    updates = list(_updates(one, rate, update, kind))
    start, found = _signals(one, X), []
    with np.errstate(over="ignore", invalid="ignore"):  # said once, of all networks
        for _ in range(n_steps):
            linear = one.linearise(X)
            slope = loss_and_slope("half_mse", linear.outputs, y)[1]
            flat = [g for group in linear.gradients(slope) for g in group if g is not None]
            for step, g in zip(updates, flat, strict=True):
                if step is not None:
                    step([g * step.factor])
            now = _signals(one, X)
            found.append([np.sqrt(np.mean((b - a) ** 2)) for a, b in zip(start, now, strict=True)])
    return {"change": np.array(found)}


def _copied(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.copy()


def _updates(one: SampledNetwork, rate: float, update: FirstUpdate, kind: str) -> Iterator[Update | None]:
    """One for each array of parameters, with its rate; None where nothing is trained."""
    optimiser = update.optimiser
    if kind == "mup" and update.family == "muon":
        optimiser = replace(optimiser, adjust="spectral_unclamped")
    of_weights: list[LayerRates] = layer_rates(one.network, update.family, kind)
    of_biases = layer_rates(one.network, "gradient" if update.family == "gradient" else "sign", kind)
    for group, w, b in zip(one.parameters, of_weights, of_biases, strict=True):
        for array, c, unit in zip(group, (w.weights, b.biases), (w.weight_unit, b.bias_unit), strict=True):
            if array is None:
                continue
            if c == 0:
                yield None
                continue
            own = optimiser if optimiser.eps is None else replace(optimiser, eps=optimiser.eps / unit)
            yield Update([array], rate * c, own)


def _signals(one: SampledNetwork, X: np.ndarray) -> list[np.ndarray]:
    """What leaves each weight layer."""
    parameters, x, found = iter(one.parameters), X, []
    for layer in one.network.layers:
        x = layer.forward(x, parameters, [])
        if layer.n_weight_layers:
            found.append(x)
    return found

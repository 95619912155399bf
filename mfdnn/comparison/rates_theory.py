"""What theory says of learning rates against width, for maps of training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from ..finite_width import outlier_distribution
from ..learning_rate import LearningRate, first_step, max_learning_rate
from ..losses import stability_limit
from ..losses.optimisers import RULES, Optimiser
from ..mean_field import MeanField
from ..network import Network

__all__ = ["first_step_theory", "limit_of", "stability_theory"]

BAND = (0.05, 0.95)


def limit_of(curvature: float, optimiser: Optimiser) -> float:
    """The stability limit of sgd at that curvature, its weight decay added."""
    return stability_limit(curvature + optimiser.weight_decay, optimiser.momentum or 0.0, bool(optimiser.nesterov))


def stability_theory(
    nets: list[Network], rates: np.ndarray, given: dict[str, Any], loss: str, optimiser: Optimiser
) -> dict[str, Any]:
    """Fields of `LearningRateMap`: limits of descent, from the largest eigenvalue."""
    descent: dict[str, Any] = {"loss": loss, "momentum": optimiser.momentum or 0.0}
    descent |= {"nesterov": bool(optimiser.nesterov), "weight_decay": optimiser.weight_decay}
    cautions: list[str] = []
    lines: list[LearningRate] = []
    band = np.array([np.zeros(len(nets)), np.full(len(nets), np.inf)])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            wide = [MeanField(net, **given) for net in nets]
            lines = [max_learning_rate(one, **descent) for one in wide]
        except (NoTheory, OutOfRange, MemoryError) as error:  # no theory, or too many inputs for their kernel
            cautions.append(f"No limit: {error}")
        for i, (net, line) in enumerate(zip(nets, lines, strict=False)):
            cautions.append(line.caution)
            try:
                law = outlier_distribution(wide[i])
            except (NoTheory, OutOfRange, MemoryError) as error:
                cautions.append(f"No band at width {net.widths[1]}: {error}")
                continue
            cautions.append(law.caution)
            # The largest eigenvalues have the smallest limits.
            band[::-1, i] = [limit_of(line.scale * v, optimiser) for v in law.quantile(BAND)]
    cautions += [str(warning.message) for warning in warned]
    initial = [line.initial for line in lines]
    beyond = [line.catapult_limit for line in lines]
    return {
        "notion": "stability",
        "zone": np.array([line.zone(rates) for line in lines]) if lines else None,
        "limit": np.array([line.value for line in lines]) if lines else None,
        "catapult_limit": None if not lines or None in beyond else np.array(beyond),
        "initial_limit": np.array(initial) if initial and None not in initial else None,
        "limit_low": band[0],
        "limit_high": band[1],
        "caution": " ".join(dict.fromkeys(filter(None, cautions))),
    }


def first_step_theory(
    nets: list[Network],
    rates: np.ndarray,
    samples: list[tuple[np.ndarray, np.ndarray]],
    loss: str,
    optimiser: Optimiser,
) -> dict[str, Any]:
    """Fields of `LearningRateMap`: critical rates of first steps, with their bands."""
    cautions: list[str] = []
    found = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            options = _first_step_options(optimiser)
            for net, (X, Y) in zip(nets, samples, strict=True):
                found.append(first_step(net, optimiser.name, inputs=X, targets=Y, loss=loss, **options))
                cautions.append(found[-1].caution)
        except (NoTheory, OutOfRange, MemoryError) as error:
            cautions.append(f"No critical rate: {error}")
            found = []
    cautions += [str(warning.message) for warning in warned]
    limit = np.array([step.critical_learning_rate for step in found])
    none = np.array([np.zeros(len(nets)), np.full(len(nets), np.inf)])
    low, high = np.array([step.band for step in found]).T if found else none
    return {
        "notion": "first step",
        "zone": np.where(rates <= limit[:, None], "monotone", "unknown") if found else None,
        "limit": limit if found else None,
        "catapult_limit": None,
        "initial_limit": None,
        "limit_low": low,
        "limit_high": high,
        "caution": " ".join(dict.fromkeys(filter(None, cautions))),
    }


def _first_step_options(optimiser: Optimiser) -> dict[str, Any]:
    """Settings as `first_step` takes them.

    Raises
    ------
    NoTheory
        It takes others as they are by default.
    """
    for name, owner in (("betas", "nadam"), ("alpha", "rmsprop")):
        if optimiser.name == owner and getattr(optimiser, name) != RULES[owner][name]:
            raise NoTheory(f"the first step of {owner} has a theory for {name} = {RULES[owner][name]} alone.")
    names = [name for name in ("eps", "momentum", "nesterov", "adjust") if name in RULES[optimiser.name]]
    return {**{name: getattr(optimiser, name) for name in names}, "weight_decay": optimiser.weight_decay}

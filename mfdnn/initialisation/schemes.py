"""Schemes of initialisation: the variances of weights and biases, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.validation import finite_number, one_of, variance
from ..activations import Activation
from ..phase import critical_point

__all__ = ["SCHEMES", "per_layer", "variances_of"]

SCHEMES = ("he", "lecun", "glorot", "pytorch", "critical")


def variances_of(
    fans: Sequence[tuple[int, int]],
    acts: list[Activation],
    sigma_w2: Any,
    sigma_b2: Any,
    init: str | None,
    q: float | None,
) -> list[tuple[float, float]]:
    """(sigma_w^2, sigma_b^2) of every weight layer: given numbers, or a scheme.

    Arguments are those of `mfdnn.mlp`, `fans` (fan_in, fan_out) of its layers and `acts` its activations.
    """
    n = len(fans)
    if init is not None:
        one_of("init", init, SCHEMES)
    if q is not None and init != "critical":
        raise ValueError(f'`q` belongs to init="critical", got init={init!r}; pass that, or drop `q`.')
    if sigma_w2 is not None and init is not None:
        raise ValueError(
            f"`init` and `sigma_w2` exclude each other, got both, `init` {init!r}; drop one of them."
        )
    if init == "critical":
        target = None if sigma_b2 is None else finite_number("sigma_b2", sigma_b2)
        # The weights after an activation decide whether it is critical: chi_1 = sigma_w^2 E[phi'^2]. The first layer
        # has none before it and only sets the variance: it takes the next one's, as a uniform network does.
        points = [critical_point(act, target, q) for act in acts]
        first = points[0] if points else (1.0, target or 0.0)
        return [first, *points]
    if sigma_w2 is not None:
        scheme = [(variance("sigma_w2", v), 0.0) for v in per_layer("sigma_w2", sigma_w2, n)]
    else:
        scheme = {
            "he": [(2.0, 0.0)] * n,
            "lecun": [(1.0, 0.0)] * n,
            "glorot": [(2.0 * fan_in / (fan_in + fan_out), 0.0) for fan_in, fan_out in fans],
            "pytorch": [(1.0 / 3.0, 1.0 / (3.0 * fan_in)) for fan_in, _ in fans],
        }[init or "he"]
    if sigma_b2 is None:
        return scheme
    b2 = [variance("sigma_b2", v) for v in per_layer("sigma_b2", sigma_b2, n)]
    return [(w2, bias2) for (w2, _), bias2 in zip(scheme, b2, strict=True)]


def per_layer(name: str, value: Any, n: int) -> list:
    """A list of n: `value` n times, or a sequence of that length.

    Raises
    ------
    ValueError
        A sequence of another length, named `name`.
    """
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(np.asarray(value, dtype=object)) == 1:
        if len(value) != n:
            raise ValueError(
                f"`{name}` needs one entry per layer, {n} of them, got {len(value)}; pass one value or {n}."
            )
        return list(value)
    return [value] * n

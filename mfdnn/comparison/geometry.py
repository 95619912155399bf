"""What theory says of feature metric, tangent kernel and Fisher-Rao norm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from ..ensembles.statistics import Ensemble
from ..fisher import FisherStatistics, feature_statistics, fisher_rao_statistics
from ..kernels import ntk_statistics
from ..mean_field import MeanField
from .claims import NO_OUTLIER, SITES, THIRD, TOO_NARROW, WHOLE, Claim, Scales, averages, no_claims

__all__ = ["geometry_claims"]


def geometry_claims(wide: MeanField, fim: FisherStatistics, ens: Ensemble, s: Scales) -> Iterator[Claim]:
    """Of what `geometry=True` measures; of what has no theory, nothing."""
    one, two = averages(fim.order_parameters)
    two = two if ens.n_samples > 1 else one
    sigma_w2 = np.array([record.sigma_w2 for record in wide.records])
    with suppress(NoTheory):
        metric = feature_statistics(wide)
        parts = _Parts(sigma_w2 * one["q_tilde"], sigma_w2 * two["q_tilde"], s, fim)
        yield from parts.claims("feature_", metric, 0.0)
    with suppress(NoTheory):
        kernel = ntk_statistics(wide, parameterisation="ntk")
        later = np.cumsum((sigma_w2 * one["q_hat"] * two["q_tilde"])[::-1])[::-1]
        chance = later**2 / fim.order_parameters.fan_in * (ens.n_samples > 1)
        if ens.inputs is not None:
            chance[0] = 0.0  # the overlaps of given inputs are no matter of chance
        parts = _Parts(one["q"] * one["q_tilde"], two["q"] * two["q_tilde"], s, fim)
        yield from parts.claims("ntk_", kernel, ens.n_samples * float(chance.sum()))
    with suppress(NoTheory):
        value = fisher_rao_statistics(wide).squared_norm
        yield Claim("squared_fisher_rao_norm", value, value, 1.5 * s.depth / s.width * value)


class _Parts:
    """A kernel that is a sum over weight layers, at one input and at two."""

    def __init__(self, one: np.ndarray, two: np.ndarray, s: Scales, fim: FisherStatistics):
        self.s, self.n, self.c = s, fim.n_samples, fim.n_outputs
        self.one, self.two = float(one.sum()), float(two.sum())
        shares = np.cumsum(one / self.n + two * (1 - 1 / self.n))
        shares /= shares[-1] if shares[-1] else 1.0
        self.overlap = 1.5 * float(np.sum(shares**2)) / s.width  # of the derivatives of two outputs

    def claims(self, prefix: str, statistics: Any, chance: float) -> Iterator[Claim]:
        """Of mean, second moment, and mean of the outliers.

        `chance` is what overlaps of inputs add to squares.
        """
        s = self.s
        mean, second, largest = statistics.mean, statistics.second_moment, statistics.largest
        if s.sites:
            theory = {"mean": mean, "second_moment": second, "outlier_mean": largest}
            yield from no_claims({f"{prefix}{name}": value for name, value in theory.items()}, SITES)
            return
        yield Claim(f"{prefix}mean", mean, mean, 0.75 * (s.depth - 1) / s.width * mean)
        if self.n > 1 and self.n * self.two <= self.one:
            yield from no_claims({f"{prefix}outlier_mean": largest, f"{prefix}second_moment": second}, NO_OUTLIER)
            return
        left = (self.one / (2 * self.two) + 1.25 * s.depth) / s.width if self.two else np.inf
        square = chance * s.overlap(self.c) / second if second > 0 else 0.0
        yield self._claim(f"{prefix}outlier_mean", largest, left + square / self.n, THIRD)
        left = 2 * left + (self.c + 1) * self.overlap + square
        yield self._claim(f"{prefix}second_moment", second, left, WHOLE)

    def _claim(self, name: str, value: float, relative: float, most: float) -> Claim:
        if relative > most:
            return Claim(name, value, value, np.inf, TOO_NARROW)
        return Claim(name, value, value, relative * value)

"""What theory says of the Fisher information behind a softmax of drawn outputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ensembles.statistics import Ensemble
from ..finite_width.traces import Traces
from ..fisher import FisherStatistics, SoftmaxStatistics, fisher_statistics
from ..mean_field import MeanField
from .claims import HALF, NO_OUTLIER, SPLIT, THIRD, TOO_NARROW, Claim, Scales, traces_of, unless_overflow

__all__ = ["softmax_claims"]


def softmax_claims(wide: MeanField, fim: FisherStatistics, ens: Ensemble, s: Scales) -> Iterator[Claim]:
    """Of the eigenvalues of F_cross; what `outlier_mean` averages are C - 1."""
    found = fisher_statistics(wide, output="softmax")
    errors = {name: np.asarray(value) / np.sqrt(found.n_draws) for name, value in found.spread.items()}
    n = found.n_outliers
    moved = found.largest * s.c / s.width
    for name, value, error, split in (
        ("lambda_max", found.largest, errors["largest"], s.split(fim.n_outputs, found.largest)),
        ("outlier_mean", float(found.outliers.mean()), errors["outliers"].mean(), 0.0),
    ):
        allowance = moved + split
        note = SPLIT if n > 1 and name == "lambda_max" else ""
        if not s.clear or moved > THIRD * value or allowance > HALF * value:
            allowance, note = np.inf, TOO_NARROW if s.clear else NO_OUTLIER
        yield Claim(name, value, value, allowance, note, theory_error=float(error))
    values = {name: getattr(found, name) for name in ("mean", "second_moment")}
    yield from unless_overflow(_trace_claims(wide, fim, found, errors, s), values)


def _trace_claims(
    wide: MeanField, fim: FisherStatistics, found: SoftmaxStatistics, errors: dict[str, np.ndarray], s: Scales
) -> Iterator[Claim]:
    """Mean and second moment; `errors` are those of averages over drawn outputs."""
    left = 1.5 * s.depth / s.width
    traces, why = traces_of(wide, fim)
    for name, relative in (("mean", left), ("second_moment", 2 * left)):
        value, predicted = getattr(found, name), None
        if traces is not None:
            predicted = value * _factor(name, found, traces)
        elif name == "second_moment":
            relative += (
                (s.chance + 7 * s.a1**2 / fim.n_samples * s.depth / s.width) / s.a2**2 if s.a2 > 0 else np.inf
            )
        allowance = relative * (value if predicted is None else predicted)
        yield Claim(name, value, value, allowance, why, predicted, theory_error=float(errors[name]))


def _factor(name: str, found: SoftmaxStatistics, traces: Traces) -> float:
    r"""What finite width makes of a trace.

    Of the second moment by :math:`\mathrm{tr}(Q_s \Theta Q_t \Theta^T)`, of one output and of two.
    """
    if name == "mean":
        return traces.trace / traces.trace_wide
    weights = np.array([1 / found.n_samples, 1 - 1 / found.n_samples])
    alike = weights * [found.beta_3, found.beta_2]
    wide, same, across = traces.products
    return float((alike @ same + found.beta_1**2 * (weights @ across)) / (alike @ wide))

"""Where the law of the outliers ends: refusals and cautions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .._support.errors import NoTheory
from .layer_moments import LayerMoments
from .recursion import Law

__all__ = [
    "NoOutlier",
    "cautions_of",
    "cautions_of_inputs",
    "cautions_of_law",
    "doubts_of_distance",
    "doubts_of_overlap",
    "doubts_of_shift",
    "refuse",
    "refuse_distance",
    "refuse_overlap",
]

# What simulation has shown, see `outlier_distribution`.
REFUSED_MARGIN, DOUBTFUL_MARGIN, DOUBTFUL_SPREAD = 2.0, 4.0, 0.35
REFUSED_CLEARANCE, DOUBTFUL_CLEARANCE = 2.5, 4.0
DOUBTFUL_GROWTH = 1.25  # of the power that a layer makes of the variance: 1.2 of gelu and silu was tested, and 2
# The largest eigenvalue of given inputs' kernel over the mean of its entries; at 1.47 quantiles were 16 % low.
REFUSED_UNEVENNESS, DOUBTFUL_UNEVENNESS = 1.4, 1.1
# Outliers spread over 1 - 2 sqrt(x) to 1 + 2 sqrt(x) with x = C B / lambda_0^2: at 1/4 down to zero.
REFUSED_OVERLAP, DOUBTFUL_OVERLAP = 0.25, 0.1
UNCERTAIN = 0.2  # standard error of the mean over the spread: 2 % of networks across the 95 % quantile


class NoOutlier(NoTheory):
    """The law is void at these widths; `reason` says why in a few words.

    `at_any_width`: at others too.
    """

    def __init__(self, reason: str, more: str, at_any_width: bool = False):
        super().__init__(reason, more)
        self.reason, self.at_any_width = reason, at_any_width

    def __str__(self) -> str:
        return " ".join(self.args)


def refuse(law: Law, n_outputs: int) -> None:
    """Raise `NoOutlier` where the outliers are not apart, or fill the spectrum."""
    refuse_distance(law.margin, law.clearance)
    refuse_overlap(_overlap(law, n_outputs), n_outputs)


def refuse_distance(margin: float, clearance: float, least: float = REFUSED_MARGIN) -> None:
    """Raise `NoOutlier` where the outliers are not apart: a margin below `least`."""
    if margin < least or clearance < REFUSED_CLEARANCE:
        raise NoOutlier(
            "no eigenvalue stands clear of the bulk",
            f"(margin {margin:.2g}, at least {least:g} is needed; clearance {clearance:.2g}, at least "
            f"{REFUSED_CLEARANCE:g}): the largest one may be the edge of the bulk, and this law is void; widen the "
            "layers, take more samples, larger biases, or an activation that is not odd.",
        )


def refuse_overlap(overlap: float, n_outputs: int) -> None:
    """Raise `NoOutlier` where C B / lambda_0^2, the `overlap`, is too large."""
    if overlap > REFUSED_OVERLAP:
        raise NoOutlier(
            f"the {n_outputs} outputs are too many for these widths",
            f"(C B = {overlap:.2g} lambda_0^2, at most {REFUSED_OVERLAP:g}): their overlaps spread the outliers down "
            "to zero; widen the hidden layers.",
        )


def cautions_of_law(law: Law, n_outputs: int, spread: float) -> dict[str, float]:
    """Sentences, each with how much higher quantiles may be, as a fraction."""
    found = doubts_of_distance(law.margin, law.clearance)
    if spread > DOUBTFUL_SPREAD:
        found[
            f"The relative spread is {spread:.2g}: above {DOUBTFUL_SPREAD:g} the expansion in 1/width was hardly "
            "tested, and quantiles may be 10 % higher."
        ] = 0.1
    return found | doubts_of_overlap(_overlap(law, n_outputs), n_outputs)


def doubts_of_distance(margin: float, clearance: float) -> dict[str, float]:
    """The same of how far the outliers are from the bulk."""
    found = {}
    if margin < DOUBTFUL_MARGIN:
        found[
            f"The outliers are close to the bulk (margin {margin:.2g}): their mean and quantiles may be 4 % higher."
        ] = 0.04
    if clearance < DOUBTFUL_CLEARANCE:
        found[
            f"Other eigenvalues crowd around the outliers (clearance {clearance:.2g}): their mean may be 8 % "
            "higher, and quantiles of the largest 5 %."
        ] = 0.05
    return found


def doubts_of_overlap(overlap: float, n_outputs: int) -> dict[str, float]:
    """The same of C B / lambda_0^2."""
    if overlap <= DOUBTFUL_OVERLAP:
        return {}
    return {
        f"C = {n_outputs} outputs are many for these widths (C B = {overlap:.2g} lambda_0^2): above "
        f"{DOUBTFUL_OVERLAP:g} the largest may be 3 % higher, or more.": 0.05
    }


def cautions_of(layers: Iterable[LayerMoments], unclear: bool) -> dict[str, float]:
    """The same of activations, and where infinite width finds nothing that stands out."""
    found = {}
    growth = max(layer.growth for layer in layers)
    if growth > DOUBTFUL_GROWTH:
        found[
            f"An activation raises the variance to the power {growth:.2g}: next orders in 1/width are large, and "
            "quantiles may be 10 % higher."
        ] = 0.1
    if unclear:
        found[
            "By the rule of `fisher_statistics` no eigenvalue stands out here; by this law, of first order in 1/M, "
            "they do."
        ] = 0.0
    return found


def cautions_of_inputs(unevenness: float) -> dict[str, float]:
    """The same of given inputs, which the law takes for exchangeable; or `NoTheory`.

    `unevenness`: the largest eigenvalue of their kernel over the mean of its entries.
    """
    if unevenness > REFUSED_UNEVENNESS:
        raise NoTheory(
            f"`inputs` are too uneven for the law, which takes them for exchangeable: the largest eigenvalue of their "
            f"kernel is {unevenness:.3g} times the mean of its entries, at most {REFUSED_UNEVENNESS:g} is allowed; "
            "scale inputs of very different norms, or measure the spread with mfdnn.ensemble."
        )
    if unevenness <= DOUBTFUL_UNEVENNESS:
        return {}
    return {
        f"The inputs are uneven (the largest eigenvalue of their kernel is {unevenness:.3g} times the mean of its "
        "entries), and the law takes them for exchangeable: quantiles may be 10 % higher.": 0.1
    }


def _overlap(law: Law, n_outputs: int) -> float:
    """C B / lambda_0^2: a quarter of the squared half-width of the outliers."""
    return float(n_outputs * law.B_born.sum() / law.leading**2)


def doubts_of_shift(shifts: Sequence[float], spread: float) -> dict[str, float]:
    """A sentence where the mean is not well known, and what quantiles are allowed."""
    if not len(shifts):
        return {}
    error = float(np.std(shifts, ddof=1) / np.sqrt(len(shifts)))
    if error <= UNCERTAIN * spread:
        return {}
    return {
        f"The mean is known to {100 * error:.2g} % only, as a stream of units is narrow (channels of drawn inputs are "
        f"one): quantiles may be {200 * error:.2g} % higher.": 2 * error
    }

"""A quantile of the largest eigenvalue from drawn networks, helped by a law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._support.validation import finite_array
from .outliers_result import OutlierDistribution

__all__ = ["MeasuredQuantile", "largest_of_networks", "measured_quantile"]

FEWEST = 8  # networks
OF_SPREAD = 0.05  # of a law's distance from the mean of the logarithm to the quantile: what next orders change
TAIL = 20  # networks beyond an empirical quantile for an error of a few percent
RESAMPLED = 500
LEVELS = (np.arange(200) + 0.5) / 200


class MeasuredQuantile(NamedTuple):
    """What the largest eigenvalue stays below, from networks drawn.

    Attributes
    ----------
    value, standard_error : float
    caution : str
    """

    value: float
    standard_error: float
    caution: str


def largest_of_networks(networks: Any) -> np.ndarray:
    """Largest eigenvalues of an `Ensemble`, or the numbers themselves, checked."""
    values = getattr(networks, "values", None)
    if isinstance(values, Mapping):
        if "lambda_max" not in values:
            raise ValueError("`networks` must have measured `lambda_max`; pass mfdnn.ensemble(net, ...).")
        networks = values["lambda_max"]
    found = finite_array("networks", networks)
    if found.ndim != 1 or len(found) < FEWEST or np.any(found <= 0):
        raise ValueError(
            f"`networks` must be an Ensemble or the largest eigenvalues of {FEWEST} networks or more, all positive, "
            f"got shape {found.shape}; pass mfdnn.ensemble(net, n_networks=150, ...)."
        )
    return found


def measured_quantile(values: np.ndarray, p: float, law: OutlierDistribution | None) -> MeasuredQuantile:
    """The quantile `p` of the largest eigenvalue.

    With a law the networks say where the mean of the logarithm lies, and the law how far from it the quantile is: 150
    networks of a spread of 0.3 are worth 400 without it. Without a law it is the networks' own quantile.

    Parameters
    ----------
    values : ndarray, shape (R,)
        Largest eigenvalues of networks drawn.
    p : float
    law : OutlierDistribution or None
    """
    logs = np.log(values)
    if law is not None:
        away = float(np.log(law.quantile(p)) - np.mean(np.log(law.quantile(LEVELS))))
        value = float(np.exp(logs.mean() + away))
        error = np.hypot(logs.std(ddof=1) / np.sqrt(len(logs)), OF_SPREAD * away)
        return MeasuredQuantile(value, float(value * error), law.caution)
    value = float(np.quantile(values, p))
    again = np.random.default_rng(0).choice(values, (RESAMPLED, len(values)))
    beyond = min(p, 1 - p) * len(values)
    caution = ""
    if beyond < TAIL:
        needed = int(np.ceil(TAIL / min(p, 1 - p)))
        caution = (
            f"A quantile of {p:g} from {len(values)} networks, of which {beyond:.1f} are beyond it: {needed} networks "
            "know it to a few percent."
        )
    return MeasuredQuantile(value, float(np.quantile(again, p, axis=1).std()), caution)

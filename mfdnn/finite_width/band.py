"""The band of the largest eigenvalue for figures, or why there is none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from ..mean_field import MeanField, as_mean_field
from ..network import Network
from .outliers import NoOutlier, law_of

__all__ = ["Band", "outlier_band"]


class Band(NamedTuple):
    """Quantiles of the largest eigenvalue over networks, or why there are none.

    Attributes
    ----------
    quantiles : (float, float) or None
    reason : str
        In a few words; empty where there are quantiles.
    """

    quantiles: tuple[float, float] | None
    reason: str


def outlier_band(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: float | None = None,
    c0: float | None = None,
    *,
    inputs: np.ndarray | None = None,
    p: tuple[float, float] = (0.05, 0.95),
) -> Band:
    """The band of a network, or what the law of its outliers says against one.

    Of data that `fisher_statistics` takes; others raise what that does.

    Parameters
    ----------
    net, n_samples, q0, c0, inputs
        As in `outlier_distribution`.
    p : pair of float
        Probabilities of the lower and the upper end.

    Returns
    -------
    Band

    Examples
    --------
    >>> import mfdnn
    >>> from mfdnn.finite_width.band import outlier_band
    >>> outlier_band(mfdnn.mlp([100, 100, 1], "tanh", sigma_w2=1.5, bias=False), 200)
    Band(quantiles=None, reason='no eigenvalue stands clear of the bulk')
    """
    try:
        low, high = law_of(as_mean_field(net, n_samples, q0, c0, inputs=inputs)).quantile(p)
    except NoOutlier as error:
        return Band(None, error.reason)
    except (NoTheory, OutOfRange) as error:
        return Band(None, str(error).partition("; ")[0].rstrip("."))
    return Band((float(low), float(high)), "")

"""The learning-rate limit against width: theory, and sampled networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.results import Result
from ..ensembles import Ensemble, ensemble
from ..finite_width.band import outlier_band
from ..fisher import fisher_statistics
from ..learning_rate import LearningRate
from ..losses import stability_limit
from ..mean_field import MeanField
from ..network import scale_widths

__all__ = ["WIDTH_FACTORS", "Boundary", "boundary", "sampled_rates"]

WIDTH_FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0)  # hidden widths, relative to the network's own
MEASURED_UP_TO = 1.0  # wider ones are theory only: sampling them costs more than the network asked about
NETWORKS_PER_WIDTH = 5
NARROWEST = 8  # units of a layer: with fewer no theory of wide networks is of interest


@dataclass(frozen=True, repr=False, eq=False)
class Boundary(Result):
    """Largest stable learning rate against the width: theory and sampled networks.

    Attributes
    ----------
    widths : ndarray, shape (n,)
        Mean hidden widths, ascending: the network's own, and multiples of it.
    predicted : ndarray, shape (n,)
        The limit at infinite width.
    measured, standard_error : ndarray, shape (m,)
        Mean limit of sampled networks and its standard error, at the first m widths; wider ones are not sampled.
    lowest, highest : ndarray, shape (m,)
        The smallest and the largest limit of these networks.
    band : ndarray, shape (2, k)
        Predicted limits that 95 % and 5 % of the networks exceed, at the last k widths.
    band_note : str
        Why the others have none, if any.
    """

    widths: np.ndarray
    predicted: np.ndarray
    measured: np.ndarray
    standard_error: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    band: np.ndarray
    band_note: str

    @property
    def spread(self) -> np.ndarray:
        """Between what limits single networks have theirs, (2, n).

        The ends of `band` and the sampled networks, whichever lie further out; at widths with neither the last sampled
        ones, in proportion to `predicted`.
        """
        m, n = len(self.measured), len(self.widths)
        last = np.minimum(np.arange(n), m - 1)
        low, high = np.array([self.lowest, self.highest])[:, last] * self.predicted / self.predicted[last]
        known = np.arange(n - self.band.shape[1], n)
        for end, limits, further in ((low, self.band[0], np.minimum), (high, self.band[1], np.maximum)):
            end[known] = np.where(known < m, further(end[known], limits), limits)
        return np.array([low, high])


def boundary(wide: MeanField, lr: LearningRate, children: list, ens: Ensemble, run: dict) -> Boundary:
    """The limits of a network with its hidden widths scaled; `ens` are samples of it."""
    net, data, n_networks = wide.network, wide.data, min(ens.n_networks, NETWORKS_PER_WIDTH)
    widths, predicted = [], []
    sampled: list[np.ndarray] = []
    bands: list[tuple[float, float]] = []
    note = ""
    weighted = [layer for layer in net.layers if layer.total_weight_layers]
    tied = weighted[0].children or weighted[-1].children
    for factor, child in zip(WIDTH_FACTORS, children, strict=True):
        if tied and factor != 1:  # the width is that of the inputs or outputs
            continue
        hidden = net.widths[1:-1]
        if not hidden or (factor * min(hidden) < NARROWEST and factor != 1):
            continue
        other = wide if factor == 1 else wide.with_network(scale_widths(net, factor))
        limit = _rate(lr, float(fisher_statistics(other).largest))
        if np.isinf(limit):  # nothing is learnt
            continue
        widths.append(float(np.mean(other.network.widths[1:-1])))
        predicted.append(limit)
        between, reason = outlier_band(other)
        if between is None:  # wider ones may still have an outlier
            bands, note = [], reason
        else:
            bands.append((_rate(lr, between[1]), _rate(lr, between[0])))
        if factor <= MEASURED_UP_TO:
            drawn = (
                ens
                if factor == 1
                else ensemble(other.network, n_networks=n_networks, rng=child, **data, **run)
            )
            sampled.append(sampled_rates(lr, drawn))
    return Boundary(
        widths=np.array(widths),
        predicted=np.array(predicted),
        measured=np.array([np.mean(rates) for rates in sampled]),
        standard_error=np.array([np.std(rates, ddof=1) / np.sqrt(len(rates)) for rates in sampled]),
        lowest=np.array([rates.min() for rates in sampled]),
        highest=np.array([rates.max() for rates in sampled]),
        band=np.array(bands).reshape(-1, 2).T,
        band_note=note,
    )


def sampled_rates(lr: LearningRate, ens: Ensemble) -> np.ndarray:
    """The limit of each sampled network in the loss and optimiser of `lr`."""
    return np.array([_rate(lr, value) for value in ens.values["lambda_max"]])


def _rate(lr: LearningRate, eigenvalue: float) -> float:
    return stability_limit(lr.scale * eigenvalue + lr.weight_decay, lr.momentum, lr.nesterov)

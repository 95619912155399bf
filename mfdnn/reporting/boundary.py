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
    """Learning-rate limit against width: mean hidden widths, predicted, measured mean and its standard error.

    `measured` and `standard_error` belong to the first ``len(measured)`` widths; wider networks are not sampled.
    `band` (2, n), predicted limits that 95 % and 5 % of the networks exceed, belongs to the last n widths;
    `band_note` says why the others have none, if any.
    """

    widths: np.ndarray
    predicted: np.ndarray
    measured: np.ndarray
    standard_error: np.ndarray
    band: np.ndarray
    band_note: str


def boundary(wide: MeanField, lr: LearningRate, children: list, ens: Ensemble, run: dict) -> Boundary:
    """The limits of a network with its hidden widths scaled; `ens` are samples of the network itself."""
    net, data, n_networks = wide.network, wide.data, min(ens.n_networks, NETWORKS_PER_WIDTH)
    widths, predicted, measured, errors = [], [], [], []
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
        other = wide if factor == 1 else MeanField(scale_widths(net, factor), **data)
        scaled = other.network
        limit = _rate(lr, float(fisher_statistics(other).largest))
        if np.isinf(limit):  # nothing is learnt
            continue
        hidden = scaled.widths[1:-1]
        widths.append(float(np.mean(hidden)))
        predicted.append(limit)
        between, reason = outlier_band(other)
        if between is None:  # wider ones may still have an outlier
            bands, note = [], reason
        else:
            bands.append((_rate(lr, between[1]), _rate(lr, between[0])))
        if factor <= MEASURED_UP_TO:
            sampled = (
                ens if factor == 1 else ensemble(scaled, n_networks=n_networks, rng=child, **data, **run)
            )
            rates = sampled_rates(lr, sampled)
            measured.append(np.mean(rates))
            errors.append(np.std(rates, ddof=1) / np.sqrt(len(rates)))
    band = np.array(bands).reshape(-1, 2).T
    return Boundary(np.array(widths), np.array(predicted), np.array(measured), np.array(errors), band, note)


def sampled_rates(lr: LearningRate, ens: Ensemble) -> np.ndarray:
    """The limit of each sampled network in the loss and optimiser of `lr`."""
    return np.array([_rate(lr, value) for value in ens.values["lambda_max"]])


def _rate(lr: LearningRate, eigenvalue: float) -> float:
    return stability_limit(lr.scale * eigenvalue + lr.weight_decay, lr.momentum, lr.nesterov)

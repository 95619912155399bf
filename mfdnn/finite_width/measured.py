"""A quantile of the largest eigenvalue from drawn networks, helped by a law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._support.validation import finite_array
from ..jobs.settings import describe_network
from ..mean_field import MeanField
from .outliers_result import OutlierDistribution

__all__ = ["FEWEST", "WANTED", "MeasuredQuantile", "how_to_measure", "largest_of_networks", "measured_quantile"]

FEWEST = 8  # networks
OF_SPREAD = 0.05  # of a law's distance from the mean of the logarithm to the quantile: what next orders change
WANTED = 0.03  # relative error of a quantile
RESAMPLED = 500
LEVELS = (np.arange(200) + 0.5) / 200


class MeasuredQuantile(NamedTuple):
    """What the largest eigenvalue stays below, from networks drawn.

    Attributes
    ----------
    value, standard_error : float
    n_wanted : int
        How many networks know it to 3 %.
    caution : str
        Where they are more than there are; and that of the law.
    """

    value: float
    standard_error: float
    n_wanted: int
    caution: str


def how_to_measure(n_samples: int, given: bool) -> str:
    """The call that measures a rate for a share of the networks."""
    data = "inputs=X" if given else f"n_samples={n_samples}"
    return (
        f"max_learning_rate(net, {data}, confidence=0.95, networks=mfdnn.ensemble(net, {data}, n_networks=400)) "
        "measures it"
    )


def largest_of_networks(networks: Any, wide: MeanField) -> np.ndarray:
    """Largest eigenvalues of an `Ensemble` of this network, or the numbers themselves.

    Raises
    ------
    ValueError
        Networks of another architecture, of other data or outputs; fewer than 8; what is no positive number.
    """
    values = getattr(networks, "values", None)
    if isinstance(values, Mapping):
        if "lambda_max" not in values:
            raise ValueError("`networks` must have measured `lambda_max`; pass mfdnn.ensemble(net, ...).")
        _check_origin(networks, wide)
        networks = values["lambda_max"]
    found = finite_array("networks", networks, "an Ensemble or the largest eigenvalues of networks")
    if found.ndim != 1 or len(found) < FEWEST or found.min() <= 0:
        got = f"{found.min():g} among them" if found.ndim == 1 and len(found) >= FEWEST else f"shape {found.shape}"
        raise ValueError(
            f"`networks` must be an Ensemble or the largest eigenvalues of {FEWEST} networks or more, all positive, "
            f"got {got}; pass mfdnn.ensemble(net, n_networks=150, ...), or 400 where there is no law."
        )
    return found


def _check_origin(networks: Any, wide: MeanField) -> None:
    """That an `Ensemble` is of this network, at these data, with linear outputs."""
    if describe_network(networks.network) != describe_network(wide.network):
        drawn, own = str(networks.network), str(wide.network)
        if drawn == own:  # what it does not show
            own = "one of other variances, weights or settings of layers"
        raise ValueError(f"`networks` were drawn from {drawn}, not from {own}; pass an ensemble of `net`.")
    if networks.output != "linear":
        raise ValueError(
            f"`networks` measured the Fisher information of {networks.output} outputs, and the rate is from that of "
            "linear ones; draw them without `output`."
        )
    if wide.inputs is None:
        same = networks.inputs is None and (networks.n_samples, networks.q0, networks.c0) == (
            wide.n_samples,
            wide.q0,
            wide.c0,
        )
    else:
        same = networks.inputs is not None and np.array_equal(np.ravel(networks.inputs), np.ravel(wide.inputs))
    if not same:
        raise ValueError("`networks` were drawn with other inputs than the rate is for; pass the same to both.")


def measured_quantile(values: np.ndarray, p: float, law: OutlierDistribution | None) -> MeasuredQuantile:
    r"""The quantile `p` of the largest eigenvalue.

    With a law the networks say where the mean of the logarithm lies, and the law how far from it the quantile is: 150
    networks of a spread of 0.3 are worth 400 without it. Without a law it is the networks' own quantile, at the place
    p (R + 1) of R networks in order, below which a further network lies with probability p whatever the law (with 8
    networks and p = 0.95: below their largest, 8/9).

    Its error is that of resampling or, where that is larger, as with few networks, of which it sees no tail, that of a
    log-normal law, :math:`s \sqrt{p (1 - p)} / (\varphi(z_p) \sqrt R)`. Of log-normal draws of spreads 0.14 and 0.3
    the root mean square of (value - quantile)/error was 1.3, 1.1, 1.05, 0.9, 0.9 for R = 8, 10, 20, 50, 400.

    Parameters
    ----------
    values : ndarray, shape (R,)
        Largest eigenvalues of networks drawn.
    p : float
    law : OutlierDistribution or None
    """
    from scipy.special import ndtri

    logs, n = np.log(values), len(values)
    spread = float(logs.std(ddof=1))
    density = np.exp(-(ndtri(p) ** 2) / 2) / np.sqrt(2 * np.pi)
    of_one = spread * np.sqrt(p * (1 - p)) / density  # relative error of a quantile, times sqrt(R)
    needed = (of_one / WANTED) ** 2
    if law is not None:
        away = float(np.log(law.quantile(p)) - np.mean(np.log(law.quantile(LEVELS))))
        value = float(np.exp(logs.mean() + away))
        error = float(np.hypot(spread / np.sqrt(n), OF_SPREAD * away))
        left = WANTED**2 - (OF_SPREAD * away) ** 2
        needed = min(needed, spread**2 / left) if left > 0 else needed
    else:
        value = float(np.quantile(values, p, method="weibull"))
        again = np.random.default_rng(0).choice(values, (RESAMPLED, n))
        resampled = np.quantile(again, p, axis=1, method="weibull").std() / value
        error = float(max(resampled, of_one / np.sqrt(n)))
    cautions = [] if law is None else [law.caution]
    wanted = _round(max(needed, n + 1) if error > WANTED else max(min(needed, n), FEWEST))
    if error > WANTED:
        cautions.append(
            f"The {p:g} quantile is known to {error:.1%} from {n} networks; about {wanted} know it to {WANTED:.0%}."
        )
    return MeasuredQuantile(value, value * error, wanted, " ".join(filter(None, cautions)))


def _round(number: float) -> int:
    """Upwards, to two digits."""
    unit = 10 ** max(int(np.log10(number)) - 1, 0)
    return int(np.ceil(number / unit) * unit)

"""The law of the largest eigenvalues from sampled units, for any layers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np

from .._support.blas import single_blas_thread
from .._support.errors import NoTheory
from .._support.memory import require_memory
from ..jobs.run import n_cores
from ..jobs.watch import told_if_long
from ..layers.recorded import Recorded, Recording
from ..mean_field import MeanField
from ..network import Network
from .doubts import DOUBTFUL_SPREAD, NoOutlier, doubts_of_overlap, doubts_of_shift, refuse_overlap
from .drawn_influence import DrawnInfluence
from .influence import Influence, influence
from .outliers_result import OutlierDistribution
from .shift import SHIFTED_FIELD, mean_shift

__all__ = ["LARGEST_FIELD", "PER_NUMBER", "RUNS", "assembled", "largest_sites", "refuse_ratio", "sampled_law"]

RUNS, PUSHED = 4, 2  # independent runs; and those of them that look at the rest of the spectrum
FEWEST_UNITS = 1024  # fewer bias the spread: 3 % at 256
SHIFTED_UNITS = 512  # of the many walks that the mean shift takes: a third of the time of all
PER_NUMBER = 2  # units for each (input, site) of a field: no bias is seen
ALL, DIRECTIONS = 63, 12  # of the rest of the spectrum that are looked at: all, else random combinations
LARGE, FEWER = 128, 2  # (input, site) from which on so few are, in one run: each costs two sweeps
LARGEST_FIELD = 1024  # (input, site); time grows with the cube
# What follows was measured: 76 networks at given inputs, 200 to 600 draws each (docs/finite_width.md).
# The second eigenvalue over the first. Below 0.8 of it quantiles are within 3 %, to 0.97 within 5 %, where nothing else
# is against them. Behind batch norm, where the second scatters ten times more than the first, they meet sooner.
NO_PUSH, DOUBTFUL_RATIO, REFUSED_RATIO = 0.1, 0.8, 0.95
DOUBTFUL_RATIO_OF_BATCHES, REFUSED_RATIO_OF_BATCHES = 0.4, 0.7
# The part of the variance that is the push's: to 0.39 quantiles are within 3 %, from 0.53 on they were 5 to 100 % off,
# either way; behind batch norm within 1 % to 0.29, 1 to 4 % low to 0.38, and 5 to 13 % from 0.41 on.
DOUBTFUL_PUSHED, DOUBTFUL_PUSHED_OF_BATCHES, REFUSED_PUSHED = 0.2, 0.3, 0.4
# Relative spread of networks whose gates multiply units: to 0.16 quantiles are right to 3 %, at 0.2 to 0.26 up to 10 %
# low, 14 % without the mean shift, and at 1 up to a quarter.
DOUBTFUL_GATED, REFUSED_GATED = 0.2, 0.5
# Units that a normalisation over them needs: to 64 quantiles were up to 7 % low (the mean 5 %), with 24 of them 16 %.
NARROW, NARROWER = 64, 31
# And batch norm at one site, 200 networks each: over 48 units quantiles were 1 to 3 % low, over 24 up to 5 %, over 12 a
# quarter; 5 and 10 % over 48 where the push is large, too.
FEWEST_OF_BATCHES, LOW_OF_BATCHES, LOW_OF_PUSHED = 16, 1.2, 5.0  # the last two over the units
INACCURATE = 0.05  # relative standard error of the spread


def sampled_law(wide: MeanField, lambda_0: float) -> OutlierDistribution:
    """The law of a network at given inputs, of any layers that have `Layer.recorded`.

    Parameters
    ----------
    wide : MeanField
        At given inputs.
    lambda_0 : float
        The outlier of infinite width.

    Raises
    ------
    NoTheory
        A layer without it; a second eigenvalue close to the first, or too many outputs (`NoOutlier`).
    """
    net, inputs, n_outputs = wide.network, wide.inputs, wide.network.n_outputs
    assert inputs is not None
    if net.n_weight_layers < 2:
        raise NoTheory(
            "`net` must have a hidden layer: a single weight layer is linear regression, whose largest eigenvalue "
            "does not depend on the weights."
        )
    if (size := len(inputs) * largest_sites(net)) > LARGEST_FIELD:
        raise NoTheory(
            f"`inputs` make fields of {size} numbers, inputs times sites, and the spread over networks is computed for "
            f"{LARGEST_FIELD} at most; pass fewer inputs, or measure the spread with mfdnn.ensemble."
        )
    if len(inputs) == 1:
        raise NoTheory("`inputs` must be two or more for the spread over networks of these layers; pass more.")
    n_units = max(wide.n_units or 0, FEWEST_UNITS, PER_NUMBER * size)
    n_units += n_units % 2
    few = ALL if len(inputs) - 1 <= ALL else DIRECTIONS
    directions, pushed = (few, PUSHED) if size <= LARGE else (FEWER, 1)
    n_threads = min(n_cores(), RUNS)
    # Measured: values, two tangents, their two adjoints and slopes of a layer, for some layers at once.
    n_layers = sum(1 for _ in net.walk())
    require_memory(
        8.0 * n_threads * n_units * size * (6 * n_layers + 10),
        f"the spread over networks of {n_layers} layers",
        "pass fewer inputs",
    )

    # The mean shift. Of other layers it is 0 to 3 % at 64 units, and the better mean no better quantile as a rule, but
    # takes several times as long.
    gated = any(layer.multiplies for layer, _ in net.walk())
    shifted = gated and size <= SHIFTED_FIELD

    def start(recording: Recording) -> Recorded:
        return Recorded.inputs(inputs, recording)

    def run(i: int) -> tuple[Influence, float]:
        rng = np.random.default_rng([wide._seed, 1, i])
        found = influence(net, inputs, n_units, rng, directions if i < pushed else 0, NO_PUSH)
        if not shifted:
            return found, 0.0
        top = np.linalg.eigh(found.kernel)[1][:, -1]
        return found, mean_shift(net, start, np.outer(top, top), SHIFTED_UNITS, [wide._seed, 2, i])

    def influences() -> list[tuple[Influence, float]]:
        with (
            single_blas_thread(),
            told_if_long(lambda: "the spread over networks takes long"),
            ThreadPoolExecutor(n_threads) as threads,
        ):
            return list(threads.map(run, range(RUNS)))

    both = wide.once("influences", influences, of_all_runs=True)
    runs, shifts = [each[0] for each in both], [each[1] for each in both] if shifted else []
    return _distribution(net, len(inputs), n_outputs, lambda_0, runs, n_units, shifts, gated)


def largest_sites(net: Network) -> int:
    """Sites of the largest field of units."""
    return max(
        (prod(layer.output_shape(shape)[1:]) for layer, shape in net.walk() if layer.total_weight_layers),
        default=1,
    )


def _distribution(
    net: Network,
    n_samples: int,
    n_outputs: int,
    lambda_0: float,
    runs: list[Influence],
    n_units: int,
    shifts: list[float],
    gated: bool,
) -> OutlierDistribution:
    values = np.linalg.eigvalsh(np.mean([run.kernel for run in runs], axis=0))
    values /= values[-1]
    ratio = max(float(values[-2]), np.finfo(float).tiny)
    refuse_ratio(net, ratio)
    pushed = [run for run in runs if len(run.pushes)]
    noise = [2 * np.sum(run.pushes.sum(axis=1) ** 2) for run in pushed if run.complete]
    below = values[:-1].mean()
    return assembled(
        net,
        n_samples,
        lambda_0,
        runs,
        pushes=[float(run.pushes @ [1.0, n_outputs] @ np.ones(len(run.pushes))) for run in pushed],
        extra=float(np.mean(noise)) / n_outputs if noise else 0.0,
        ratio=ratio,
        margin=1 / ratio,
        clearance=float((1 - below) / max((ratio - below) / 2, np.finfo(float).tiny)),
        n_units=n_units,
        shifts=shifts,
        gated=gated,
        doubts=doubts_of_shift(shifts, float(np.sqrt(np.mean([run.born.sum() for run in runs])))),
    )


def refuse_ratio(net: Network, ratio: float) -> None:
    """Raise `NoOutlier` where the second eigenvalue is too close to the first."""
    most = REFUSED_RATIO_OF_BATCHES if net.couples_samples else REFUSED_RATIO
    if ratio > most:
        raise NoOutlier(
            "no eigenvalue stands clear of the bulk",
            f"(the second is {ratio:.2g} of the first at infinite width, at most {most:g} is allowed): the "
            "law is of an eigenvalue that stands alone; measure the spread with mfdnn.ensemble.",
            at_any_width=True,
        )


def assembled(
    net: Network,
    n_samples: int,
    lambda_0: float,
    runs: Sequence[Influence] | Sequence[DrawnInfluence],
    *,
    pushes: list[float],
    extra: float,
    ratio: float,
    margin: float,
    clearance: float,
    n_units: int,
    shifts: Sequence[float] = (),
    gated: bool = False,
    doubts: dict[str, float] | None = None,
) -> OutlierDistribution:
    """The law from some runs of sampled units.

    Parameters
    ----------
    net, n_samples, lambda_0, runs
        What it is of.
    pushes, shifts
        Of some runs, in units of `lambda_0`.
    extra : float
        Relative variance of the push.
    ratio : float
        The second eigenvalue over the first.
    margin, clearance, n_units
        As they are reported.
    gated : bool
        Whether to doubt, from some spread on, that leading order is enough: gates at given inputs.
    doubts
        Sentences, each with how much higher quantiles may be.
    """
    n_outputs = net.n_outputs
    A, B = (max(float(np.mean([getattr(run, name) for run in runs])), 0.0) for name in ("A", "B"))
    refuse_overlap(n_outputs * B, n_outputs)
    push, shift = (float(np.mean(each)) if len(each) else 0.0 for each in (pushes, shifts))
    mean = lambda_0 * (1 + shift + push)
    spread = _spread(A + extra, B, n_outputs)
    of_runs = [_spread(max(run.A, 0.0) + extra, max(run.B, 0.0), n_outputs) for run in runs]
    errors = {
        "A": lambda_0**2 * _error([run.A for run in runs]),
        "B": lambda_0**2 * _error([run.B for run in runs]),
        "standard_deviation": mean * _error(of_runs),
    }
    parts = {name: lambda_0 * _error(each) for name, each in (("push", pushes), ("shift", shifts)) if len(each) > 1}
    if parts:
        errors |= parts | {"mean": float(np.sqrt(sum(error**2 for error in parts.values())))}
    cautions = doubts_of_overlap(n_outputs * B, n_outputs) | _doubts(
        net, ratio, spread, errors["standard_deviation"] / mean, n_units, extra / spread**2 if spread else 0.0, gated
    )
    cautions |= doubts or {}
    return OutlierDistribution(
        lambda_0=lambda_0,
        mean=mean,
        standard_deviation=mean * spread,
        A=lambda_0**2 * A,
        B=lambda_0**2 * B,
        shift=lambda_0 * shift,
        push=lambda_0 * push,
        margin=margin,
        clearance=clearance,
        variance_born=lambda_0**2 * np.mean([run.born for run in runs], axis=0),
        parts=np.array([1.0, 0.0]),
        degrees_of_freedom=np.array([1 / B if B > 0 else np.inf]),
        n_samples=n_samples,
        n_outputs=n_outputs,
        caution=" ".join(cautions),
        allowance=max(cautions.values(), default=0.0),
        _pair_push=0.0,
        _excess=0.0,
        method="sampled units",
        standard_error=errors,
        _extra=extra,
    )


def _spread(A: float, B: float, n_outputs: int) -> float:
    """Relative deviation of the mean outlier: common factor times mean overlap."""
    return float(np.sqrt(np.exp(A) * (1 + 2 * B / n_outputs) - 1))


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _doubts(
    net: Network, ratio: float, spread: float, error: float, n_units: int, pushed: float, gated: bool
) -> dict[str, float]:
    """Sentences, each with how much higher quantiles may be, as a fraction.

    Raises
    ------
    NoOutlier
        The push has too large a part of the variance, `pushed`, gated units spread too far, or batch norm is of few.
    """
    if pushed > REFUSED_PUSHED:
        raise NoOutlier(
            "other eigenvalues come too close at these widths",
            f"(their push makes {pushed:.2g} of the variance, at most {REFUSED_PUSHED:g} is allowed): the law is of an "
            "eigenvalue that stands alone; widen the layers, or measure the spread with mfdnn.ensemble.",
        )
    if gated and spread > REFUSED_GATED:
        raise NoOutlier(
            "gated units multiply fluctuations at these widths",
            f"(the relative spread is {spread:.2g}, at most {REFUSED_GATED:g} is allowed): next orders in 1/width are "
            "as large; widen the layers, or measure the spread with mfdnn.ensemble.",
        )
    batches = net.couples_samples
    found = {}
    of_batches = [shape[0] for layer, shape in net.walk() if layer.normalises == "samples" and len(shape) == 1]
    fewest = min(of_batches, default=0)
    if 0 < fewest < FEWEST_OF_BATCHES:
        raise NoOutlier(
            f"batch norm over {fewest} units",
            f"(at least {FEWEST_OF_BATCHES} are wanted): quantiles would be up to a quarter too low; widen the layers, "
            "or measure the spread with mfdnn.ensemble.",
        )
    if 0 < fewest < NARROW:
        higher = LOW_OF_BATCHES / fewest
        found[f"Batch norm over {fewest} units: below {NARROW} quantiles may be {higher:.1%} higher."] = higher
    doubtful, much = DOUBTFUL_RATIO, DOUBTFUL_PUSHED
    if batches:
        doubtful, much = DOUBTFUL_RATIO_OF_BATCHES, DOUBTFUL_PUSHED_OF_BATCHES
    if ratio > doubtful or pushed > much:
        near = f"The second eigenvalue is {ratio:.2g} of the first, and the push makes {pushed:.2g} of the variance"
        if batches:
            higher = max(0.04, LOW_OF_PUSHED / fewest if fewest else 0.0)
            found[
                f"{near}: above {doubtful:g} or {much:g} behind batch norm the spread may be half as large "
                f"again, and quantiles {higher:.0%} higher."
            ] = higher
        else:
            found[
                f"{near}: above {doubtful:g} or {much:g} the spread may be a quarter smaller, and quantiles "
                "5 % lower or 3 % higher."
            ] = 0.03
    if spread > DOUBTFUL_SPREAD:
        found[
            f"The relative spread is {spread:.2g}: above {DOUBTFUL_SPREAD:g} networks were drawn in too few numbers to "
            "tell, and quantiles may be 10 % higher."
        ] = 0.1
    if gated and spread > DOUBTFUL_GATED:
        found[
            f"The relative spread is {spread:.2g}, of gated units: above {DOUBTFUL_GATED:g} next orders in 1/width are "
            "large, and quantiles may be 15 % higher."
        ] = 0.15
    widths = [shape[0] for layer, shape in net.walk() if layer.normalises == "units"]
    if widths and (fewest := min(widths)) <= NARROW:
        few, higher = (NARROWER, 0.16) if fewest <= NARROWER else (NARROW, 0.07)
        found[
            f"Layer norm over {fewest} units: up to {few} the spread may be {1.5 * higher:.0%} and quantiles "
            f"{higher:.0%} higher."
        ] = higher
    if error > INACCURATE * spread:
        needed = int(n_units * (error / (INACCURATE * spread)) ** 2)
        found[
            f"The spread is known to {error / spread:.0%} only; about {needed} units (`n_units` of MeanField) make "
            f"{INACCURATE:.0%} of it."
        ] = 2 * error
    return found

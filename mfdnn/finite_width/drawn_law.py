"""The law of the largest eigenvalues from sampled units, at drawn inputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .._support.blas import single_blas_thread
from .._support.errors import NoTheory
from .._support.memory import require_memory
from ..fisher import fisher_statistics
from ..jobs.run import n_cores
from ..jobs.watch import told_if_long
from ..layers.recorded import Recorded, Recording
from ..mean_field import MeanField
from .doubts import doubts_of_distance, doubts_of_shift, refuse_distance
from .drawn_influence import DrawnInfluence, drawn_influence, n_representatives
from .outliers_result import OutlierDistribution
from .sampled_law import LARGEST_FIELD, PER_NUMBER, RUNS, assembled, largest_sites, refuse_ratio
from .shift import SHIFTED_FIELD, mean_shift

__all__ = ["drawn_law"]

UNITS, SHIFTED_UNITS = 2048, 1024  # of a run; and of the many walks that the mean shift takes
SMALLEST_MARGIN = 3.0  # at 2.3 quantiles were 5 % low
SHIFTED_INPUTS = 8  # representatives of the mean shift: what they differ in is averaged


def drawn_law(wide: MeanField) -> OutlierDistribution:
    """The law of a network at T inputs that are drawn with it.

    Of any layers that have `Layer.recorded`.

    Parameters
    ----------
    wide : MeanField
        At a number of inputs.

    Raises
    ------
    NoTheory
        A layer without it; no outlier, or too many outputs (`NoOutlier`).
    """
    net, n_samples = wide.network, wide.n_samples
    if net.n_weight_layers < 2:
        raise NoTheory(
            "`net` must have a hidden layer: a single weight layer is linear regression, whose largest eigenvalue "
            "does not depend on the weights."
        )
    if n_samples == 1:
        raise NoTheory("`n_samples` must be two or more for the spread over networks of these layers; take more.")
    sites = largest_sites(net)
    shown = n_representatives(net, n_samples, sites, LARGEST_FIELD)
    if not shown:
        what = f"`n_samples` = {n_samples}, all in one normalisation" if net.couples_samples else "`net`"
        raise NoTheory(
            f"{what} with up to {sites} sites: the spread over networks of drawn inputs takes 6 inputs or more, and "
            f"{LARGEST_FIELD} inputs times sites at most; measure it with mfdnn.ensemble."
        )
    q0, c0 = float(wide.q0), max(float(wide.c0), 0.0)  # correlations below 0 are of the order 1/T
    n_units = max(wide.n_units or 0, UNITS, PER_NUMBER * shown * sites)
    n_units += n_units % 2
    few = shown if net.couples_samples else int(np.clip(SHIFTED_FIELD // sites, 2, SHIFTED_INPUTS))
    form = np.full((few, few), (1 - 1 / n_samples) / (few * (few - 1)))
    np.fill_diagonal(form, 1 / (few * n_samples))
    n_threads = min(n_cores(), RUNS)
    n_layers = sum(1 for _ in net.walk())
    require_memory(
        8.0 * n_threads * n_units * shown * sites * (6 * n_layers + 10),
        f"the spread over networks of {n_layers} layers",
        "measure it with mfdnn.ensemble",
    )

    def start(recording: Recording) -> Recorded:
        return Recorded.drawn_inputs(net.input_shape, few, q0, c0, recording)

    def run(i: int) -> tuple[DrawnInfluence, float]:
        rng = np.random.default_rng([wide._seed, 1, i])
        found = drawn_influence(net, n_samples, q0, c0, shown, n_units, rng)
        return found, mean_shift(net, start, form, SHIFTED_UNITS, [wide._seed, 2, i])

    with (
        single_blas_thread(),
        told_if_long(lambda: "the spread over networks takes long"),
        ThreadPoolExecutor(n_threads) as threads,
    ):
        both = list(threads.map(run, range(RUNS)))
    runs, shifts = [each[0] for each in both], [each[1] for each in both]
    weights = np.array([1.0, net.n_outputs])
    ratio = max(float(np.mean([run.one - run.two for run in runs])), np.finfo(float).tiny)
    refuse_ratio(net, ratio)
    # As of the closed law: eigenvalues of a random matrix, of few inputs sooner at an end.
    margin = float(1 / np.mean([run.edges for run in runs], axis=0).max())
    n = (n_samples - 1) * net.n_outputs
    pairs = max(float(np.mean([run.pairs @ weights for run in runs])), np.finfo(float).tiny)
    clearance = float(1 / (np.sqrt(pairs / n_samples) * min(1.0, np.sqrt(np.log(n) / 2) if n > 1 else 1.0)))
    if net.couples_samples:  # all T inputs are there: infinite width, too, has a second eigenvalue
        margin, clearance = min(margin, 1 / ratio), min(clearance, 2 * (1 - ratio) / ratio)
    refuse_distance(margin, clearance, SMALLEST_MARGIN)
    pushes = [float(run.push @ weights) for run in runs]
    return assembled(
        net,
        n_samples,
        float(fisher_statistics(wide).largest),
        runs,
        pushes=pushes,
        extra=2 * float(np.mean([run.push.sum() for run in runs])) ** 2 / ((n_samples - 1) * net.n_outputs),
        ratio=ratio,
        margin=margin,
        clearance=clearance,
        n_units=n_units,
        shifts=shifts,
        doubts=doubts_of_shift(shifts, float(np.sqrt(np.mean([run.born.sum() for run in runs]))))
        | doubts_of_distance(margin, clearance),
    )

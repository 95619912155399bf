"""What theory says of each measured quantity, and how far networks may be off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from ..finite_width.outliers import NoOutlier, law_of
from ..finite_width.outliers_result import OutlierDistribution
from ..finite_width.traces import Traces, fisher_traces
from ..fisher import FisherStatistics, outlier_criterion, smallest_width
from ..kernels.parts import kernel, kernel_of
from ..mean_field import MeanField
from ..mean_field.moments import OrderParameters
from .places import UNITS, Places, places

__all__ = ["Claim", "Scales", "layer_claims", "no_claims", "scales", "spectrum_claims", "traces_of", "unless_overflow"]

FEWEST = 10  # samples from which 1/sigma^4 has a variance
NO_SHIFT = 0.03  # of lambda_0: how far means of networks are from a law of sampled units, which has no shift
EDGE = {"mean": 0.05, "batch": 0.06}  # of the sharp edge, as `centred_edge` says
# Fractions of a number: what may change by more is no claim. Of the largest of several outliers, which split, and of a
# second moment, to which all of the spectrum adds:
THIRD, HALF, WHOLE = 1 / 3, 0.5, 1.0

SPLIT = "the C outliers split by O(sqrt(M)): their mean is what theory predicts, the largest lies above"
NO_OUTLIER = "no eigenvalue stands out at this size: theory has only the leading value of the bulk"
EDGE_ONLY = "no outliers: theory has the edge of the bulk, the largest eigenvalue"
TOP_ONLY = "theory has the largest eigenvalue, not how the others spread below it"
TOO_NARROW = "finite width may change it by more than a third: theory makes no claim at this width and depth"
SITES = "what finite width changes is not known of networks with several sites: theory makes no claim"
HEAVY = "1/sigma^2 of so few samples or outputs scatters without bound: theory makes no claim"


class Claim(NamedTuple):
    """One quantity: what theory says of it, and how far networks may be off."""

    quantity: str
    theory: float  # infinite width
    scale: float  # of its rounding
    allowance: float
    note: str = ""
    predicted: float | None = None  # this width
    spread: float | None = None  # standard deviation over networks
    doubtful: bool = False  # whether that may be too small
    doubt: float = 0.0  # what of `allowance` only the caution of a law in doubt asks for
    theory_error: float = 0.0  # of averages over drawn outputs


def no_claims(theory: dict[str, float], note: str) -> Iterator[Claim]:
    """What theory says of these quantities, without a claim about networks."""
    for name, value in theory.items():
        yield Claim(name, value, value, np.inf, note)


class Scales(NamedTuple):
    """The numbers that the allowances are made of, in the notation of `compare`."""

    depth: int
    width: int  # M
    a1: float
    a2: float
    c: float
    b: float
    chance: float  # B
    clear: bool  # whether an outlier stands clear of the bulk
    sites: bool  # whether there are several sites
    places: Places

    @property
    def next_order(self) -> float:
        """What is left of traces beyond 1/M, as a fraction."""
        return (self.depth / self.width) ** 2

    def overlap(self, n: int) -> float:
        """Factor of chance overlaps of inputs: gradients of n outputs overlap too."""
        return 1 + 1.5 * (n + 1) * (self.depth - 1) / self.width

    def split(self, n: int, largest: float) -> float:
        """How far the largest of n outliers lies above their mean."""
        if n < 2:
            return 0.0
        return (2 * np.sqrt(n) - 1.2 * n ** (-1 / 6)) * np.sqrt(self.b) * largest


def scales(wide: MeanField, fim: FisherStatistics) -> Scales:
    """Of a network, from its order parameters and its kernel."""
    net, op, n_samples = wide.network, fim.order_parameters, fim.n_samples
    one, two = averages(op)
    two = two if n_samples > 1 else one  # at one input the kernel is its diagonal
    depth, width = len(op.q), smallest_width(op)
    layers_1, layers_2 = ((op.fan_in * x["q_hat"] + op.bias) * x["q_tilde"] for x in (one, two))
    sites = not (op._products or net.couples_samples)
    if sites:  # kernels of layers are no products of averages
        shares = [kernel(op, [l]).averages() for l in range(depth)]
        layers_1, layers_2 = (np.array(x, dtype=float) for x in zip(*shares, strict=True))
    later = np.cumsum((op.fan_in * one["q_hat"] * two["q_tilde"])[::-1])[::-1]
    chance = later**2 / op.fan_in * (n_samples > 1)
    if op.per_input:
        chance[0] = 0.0  # the overlaps of given inputs are no matter of chance
    criterion = outlier_criterion(op, n_samples)
    parts = np.cumsum(layers_1 / n_samples + layers_2 * (1 - 1 / n_samples))
    b = 1.5 * float(np.sum((parts[:-1] / parts[-1]) ** 2)) / width if parts[-1] else 0.0  # 0: all is 0
    a1, a2 = layers_1.sum(), layers_2.sum()
    if not op._products:
        a1, a2 = kernel(op).averages()
    return Scales(
        depth=depth,
        width=width,
        a1=float(a1),
        a2=float(a2),
        c=float(criterion.c),
        b=b,
        chance=float(chance.sum()),
        clear=bool(criterion.clear),
        sites=sites,
        places=places(net),
    )


def spectrum_claims(wide: MeanField, fim: FisherStatistics, s: Scales, rounding: float) -> Iterator[Claim]:
    """Of the eigenvalues of F."""
    if fim.output_normalisation and fim.output_normalisation.edge:
        top = _edge_claims(fim)
    elif fim.normalised_by and fim.output_normalisation is None:
        top = _mixed_claims(fim, s)
    else:
        top = _outlier_claims(wide, fim, s)
    yield from unless_overflow(top, {"lambda_max": fim.largest, "outlier_mean": fim.largest})
    traces = _trace_claims(wide, fim, s, rounding)
    yield from unless_overflow(traces, {"mean": fim.mean, "second_moment": fim.second_moment})


def unless_overflow(claims: Iterable[Claim], theory: dict[str, float]) -> Iterator[Claim]:
    """The claims; of these numbers none, where a law of this width overflows."""
    try:
        yield from list(claims)
    except OutOfRange as error:
        yield from no_claims(theory, f"the law of this width overflows: {_reason(error)}")


def _edge_claims(fim: FisherStatistics) -> Iterator[Claim]:
    """The sharp edge of centred outputs; `largest` is the law's own mean at this size."""
    known = fim.output_normalisation
    assert known is not None and known.edge is not None
    edge, largest = known.edge, fim.largest
    top, note = (np.inf, edge.caution) if edge.caution else (EDGE[edge.norm] * largest, "")
    others = (top, note) if fim.n_outputs == 1 else (np.inf, EDGE_ONLY)
    yield Claim("lambda_max", largest, largest, top, note, predicted=largest)
    yield Claim("outlier_mean", largest, largest, *others, predicted=largest)


def _mixed_claims(fim: FisherStatistics, s: Scales) -> Iterator[Claim]:
    """The largest of C - 1 that differ in the limit already, as behind layer norm."""
    largest, note = fim.largest, SPLIT
    allowance = largest * s.c / s.width + s.split(fim.n_outputs, largest)
    if fim.caution or not s.clear or allowance > THIRD * largest:
        allowance, note = np.inf, fim.caution or (TOO_NARROW if s.clear else NO_OUTLIER)
    yield Claim("lambda_max", largest, largest, allowance, note)
    yield Claim("outlier_mean", largest, largest, np.inf, TOP_ONLY)


def _outlier_claims(wide: MeanField, fim: FisherStatistics, s: Scales) -> Iterator[Claim]:
    """By the law of the outliers, else by infinite width and a round correction."""
    largest, n = fim.largest, fim.n_outputs
    try:
        law = law_of(wide)
    except NoOutlier as error:
        theory = {"lambda_max": largest, "outlier_mean": largest}
        yield from no_claims(theory, f"{error.reason}: theory has only the leading value")
        return
    except NoTheory as error:  # not derived for these layers
        law, why = None, fallback(error)
    if law is not None:
        yield from _law_claims(law, largest, s)
        return
    allowance, note = np.inf, NO_OUTLIER
    known = fim.output_normalisation
    if known is not None:
        note = f"no eigenvalue stands out, and the law of the edge does not apply: {known.why_no_edge}"
    if s.clear:
        own = s.c * s.a2 + UNITS * s.places.layer_behind[0] * largest
        allowance, note = own / s.width + s.chance * s.overlap(n) / (s.a2 * fim.n_samples), ""
        if allowance > THIRD * largest:
            allowance, note = np.inf, TOO_NARROW
    note = note or why
    top, said = allowance + s.split(n, largest), "; ".join([*[SPLIT] * (n > 1 and note == why), note])
    if HALF * largest < top < np.inf:
        top, said = np.inf, TOO_NARROW
    yield Claim("lambda_max", largest, largest, top, said)
    yield Claim("outlier_mean", largest, largest, allowance, note)


def _law_claims(law: OutlierDistribution, largest: float, s: Scales) -> Iterator[Claim]:
    """Mean and scatter of the outliers, and what simulations of their law left."""
    first, per_output = law.mean / law.lambda_0 - 1, law.n_outputs / s.width
    if law.standard_error is None:
        weak = 0.015 if law.margin < 6 else 0.0
        doubt = max(0.08 if law.clearance < 4 else 0.0, law.allowance)
    else:
        weak, doubt = 0.015 if "shift" in law.standard_error else NO_SHIFT, law.allowance
    doubt = max(doubt - weak, 0.0)
    left = 0.01 + first**2 + weak + doubt + 0.1 / law.n_samples + 0.2 * per_output * (law.n_outputs > 1)
    for name, mean, deviation, more in (
        ("lambda_max", law.largest_mean, law.largest_standard_deviation, 0.015 * (law.n_outputs > 1)),
        ("outlier_mean", law.mean, law.standard_deviation, 0.0),
    ):
        claimed = ((left + more) * mean, law.caution) if left + more <= THIRD else (np.inf, TOO_NARROW)
        yield Claim(name, largest, largest, *claimed, mean, deviation, bool(law.caution), doubt * mean)


def _trace_claims(wide: MeanField, fim: FisherStatistics, s: Scales, rounding: float) -> Iterator[Claim]:
    """Mean and second moment."""
    first, second = fim.mean, fim.second_moment
    law = wide.output_law
    batch = law is not None and law.edge == "batch"
    n, c = fim.n_samples, fim.n_outputs
    traces, why = traces_of(wide, fim)
    heavy = (batch and n < FEWEST) or (law is not None and law.heavy)
    if traces is not None:
        mean = first * traces.trace / traces.trace_wide if traces.trace_wide > 0 else first
        left = s.next_order + 2 * batch * traces.output_scatter
        yield Claim("mean", first, first, *_unless(heavy, left * mean), predicted=mean)
        if wide.given:  # whose kernel at infinite width is not of one number on and one off the diagonal
            total = second * fim.n_parameters
            if batch:  # with mean subtraction in place of batch norm of the outputs
                total = c * float(kernel_of(wide.tangents_before).centred().sums().square)
            square = second * (1 + (traces.square - traces.square_wide) / total) if total > 0 else second
        else:
            square = second * traces.square / traces.square_wide if traces.square_wide > 0 else second
        # 1/sigma^4 of T samples has the mean (T - 3)/(T - 5) times the squared mean of 1/sigma^2.
        square *= (n - 3) / (n - 5) if batch and not heavy and not wide.given else 1.0
        left = 0.3 * s.depth**2 * s.next_order + (c / s.width) ** 2 + 8 * batch * traces.output_scatter
        yield Claim("second_moment", second, second, *_unless(heavy, left * square), predicted=square)
        return
    norms = s.places.errors(0, n, s.width) / 2  # to which the last layer does not add
    left = 0.75 * (s.depth - 1) / s.width + norms
    allowance, note = (np.inf, HEAVY) if heavy else claim(first, first, left, rounding)
    yield Claim("mean", first, first, allowance, note or why)
    total = fim.second_moment * fim.n_parameters / c
    spread = (2 * min(s.c, s.width) + s.depth**2 / 4 + 1) / s.width + (c + 1) * s.b
    square = s.chance * s.overlap(c) + fim.largest**2 * spread
    square += s.a1**2 / n * 7 * (s.depth - 1) / s.width
    relative = square / total + 2 * norms if total > 0 else 0.0
    if relative > WHOLE:
        yield Claim("second_moment", second, second, np.inf, TOO_NARROW)
    else:
        allowance, note = _unless(heavy, relative * second)
        yield Claim("second_moment", second, second, allowance, note or why)


def _unless(heavy: bool, allowance: float) -> tuple[float, str]:
    return (np.inf, HEAVY) if heavy else (allowance, "")


def traces_of(wide: MeanField, fim: FisherStatistics) -> tuple[Traces | None, str]:
    """Traces at this width, or None and a note where they are not derived.

    Raises
    ------
    OutOfRange
        They are derived, and overflow.
    """
    centred = fim.output_normalisation is not None
    try:
        return wide.once(
            "traces", lambda: fisher_traces(wide.body() if centred else wide, centred=centred)
        ), ""
    except NoTheory as error:
        return None, fallback(error)


def fallback(error: NoTheory) -> str:
    """The note of a row of infinite width and a round correction."""
    return f"by infinite width: {_reason(error)}"


def _reason(error: Exception) -> str:
    """What an error says, without the advice behind it."""
    return str(error).partition("; ")[0].rstrip(".")


def layer_claims(wide: MeanField, fim: FisherStatistics, s: Scales, rounding: float) -> Iterator[Claim]:
    """Of the order parameters of every layer.

    Products at two inputs are measured on the scale of the squares.
    """
    op = fim.order_parameters
    one, two = averages(op)
    for name, first in (("q_hat", 0), ("q", 1), ("q_tilde", 1)):
        for suffix, theory in (("", one[name]), ("_st", two[name])):
            for l in range(s.depth):
                value, scale = float(theory[l]), float(one[name][l])
                left = 0.75 * _passed(name, l, s.depth) / s.width
                predicted = None
                if name == "q_tilde":
                    left += s.places.errors(l, fim.n_samples, s.width)
                    predicted, few = _mixed_errors(wide, op, value, bool(suffix))
                    left += few
                allowance, note = claim(value, scale, left, rounding)
                yield Claim(f"{name}{suffix}[{l + first}]", value, scale, allowance, note, predicted)


def _mixed_errors(
    wide: MeanField, op: OrderParameters, value: float, pair: bool
) -> tuple[float | None, float]:
    """Errors behind layer norm of C outputs: without eps times (C - 2)/(C - 3).

    Its law takes many outputs. Returns the prediction, if there is one, and what may be left as a fraction.
    """
    law, c = wide.output_law, wide.network.n_outputs
    if law is None or law.edge:
        return None, 0.0
    if law.heavy:
        return None, np.inf
    many = op.averaged("q_tilde")[-1]
    return (None, 1 / (c - 3)) if pair or many == 0 else (value * float(law.mean_gain / many), 0.0)


def _passed(name: str, l: int, depth: int) -> int:
    """Pairs of weight layer and activation between the number and where it is exact."""
    return l if name != "q_tilde" else (depth - 1) * (l < depth - 1)


def claim(theory: float, scale: float, relative: float, rounding: float) -> tuple[float, str]:
    """Allowance and note; no claim of what finite width may change by a third."""
    allowance = relative * scale
    zero = abs(theory) <= rounding * scale  # small beside the squares is a claim of its own
    return (allowance, "") if zero or allowance <= abs(theory) * THIRD else (np.inf, TOO_NARROW)


def averages(op: OrderParameters) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Order parameters at one and at two inputs, (L,) each.

    Averaged over given inputs and pairs of them.
    """
    names = ("q", "q_hat", "q_tilde")
    return {n: op.averaged(n) for n in names}, {n: op.averaged(f"{n}_st") for n in names}

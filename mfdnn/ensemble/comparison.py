"""Theory against simulation, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._results import Result
from .._validation import one_of, positive_integer
from ..fisher import FisherStatistics, fisher_statistics, outlier_criterion, smallest_width
from ..network import Network
from ..order_parameters import OrderParameters
from .statistics import Ensemble, same_network
from .statistics import ensemble as draw

__all__ = ["Comparison", "Row", "compare"]

THEORY_ERROR = 1e-9  # of the Gaussian integrals, as a fraction of q or of E[phi'^2], with room for ten layers

THREE_SIGMA = 0.0013498980316300945  # probability beyond, on one side
EDGE = {"mean": 0.05, "batch": 0.06}  # of the sharp edge, as `centred_edge` says

_SPLIT = "the C outliers split by O(sqrt(M)): their mean is what theory predicts, the largest lies above"
_NO_OUTLIER = "no eigenvalue stands out at this size: theory has only the leading value of the bulk"
_EDGE_ONLY = "no outliers: theory has the edge of the bulk, the largest eigenvalue"
_TOO_NARROW = "finite width may change it by more than a third: theory makes no claim at this width and depth"
FEW = 4  # networks up to which the table says how little they can refute


@dataclass(frozen=True, eq=False)
class Row(Result):
    """One quantity: what theory says, what the networks did.

    Attributes
    ----------
    quantity
        Name as in `Ensemble`; with its layer where there is one per layer, as ``q[2]``.
    theory, simulation, standard_error
        Infinite width; mean over networks and its standard error.
    deviation
        (simulation - theory) / standard_error; 0 where they agree to rounding.
    allowance
        How far networks of this width may be from infinite width; inf where theory makes no claim.
    agrees
        Whether simulation and theory differ by no more than chance and the allowance (see `compare`); None
        where theory makes no claim.
    note
        What to know about the row, mostly nothing.
    """

    quantity: str
    theory: float
    simulation: float
    standard_error: float
    deviation: float
    allowance: float
    agrees: bool | None
    note: str = ""


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result):
    """A table of theory against simulation; ``print`` shows it.

    Attributes
    ----------
    rows
        Tuple of `Row`.
    network : Network
    n_samples, n_networks
        T, and how many networks were drawn.
    """

    rows: tuple[Row, ...]
    network: Network
    n_samples: int
    n_networks: int

    @property
    def agrees(self) -> bool:
        """Whether every row does on which theory makes a claim."""
        return all(row.agrees is not False for row in self.rows)

    def row(self, name: str) -> Row:
        """The row of that quantity, ``"second_moment"`` or ``"q[2]"``."""
        found = {row.quantity: row for row in self.rows}
        return found[one_of("name", name, found)]

    def __repr__(self) -> str:
        claims = [row.agrees for row in self.rows if row.agrees is not None]
        good, silent = f"{sum(claims)} of {len(claims)} rows agree", len(self.rows) - len(claims)
        rest = f", {silent} without a claim" if silent else ""
        return f"Comparison({good}{rest}, {self.n_networks} networks, T={self.n_samples})"

    def __str__(self) -> str:
        head = ("quantity", "theory", "simulation", "std. error", "deviation", "allowance", "agrees")
        table: list[tuple[str, ...]] = [head]
        for row in self.rows:
            table.append(
                (
                    row.quantity,
                    # A theory of 1e-33 is a zero that went through an integral.
                    f"{row.theory if abs(row.theory) > 1e-15 else 0.0:.5g}",
                    f"{row.simulation:.5g}",
                    f"{row.standard_error:.2g}",
                    f"{row.deviation:+.1f}",
                    f"{row.allowance:.2g}",
                    {True: "yes", False: "NO", None: "no claim"}[row.agrees],
                )
            )
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join([name.ljust(widths[0]), *(x.rjust(w) for x, w in zip(rest, widths[1:], strict=True))])
            for name, *rest in table
        ]
        notes: dict[str, list[str]] = {}
        for row in self.rows:
            if row.note:
                notes.setdefault(row.note, []).append(row.quantity)
        lines += [f"{', '.join(names)}: {note}" for note, names in notes.items()]
        if self.n_networks <= FEW:
            lines.append(
                f"{self.n_networks} networks: three sigma are {_three_sigma(self.n_networks):.3g} standard errors "
                "(Student's t), which hardly anything exceeds; draw more"
            )
        return "\n".join(lines)


def compare(
    net: Network,
    n_samples: int | None = None,
    n_networks: int = 20,
    *,
    q0: float | None = None,
    c0: float | None = None,
    inputs: np.ndarray | None = None,
    rng: Any = None,
    executor: Any = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = False,
    dtype: Any = "float64",
    ensemble: Ensemble | None = None,
) -> Comparison:
    r"""Compare the infinite-width theory of a network with sampled networks of its own width.

    Parameters
    ----------
    net, n_samples, n_networks, q0, c0, inputs, rng, executor, checkpoint, progress, dtype
        As in `mfdnn.ensemble`; at least two networks.
    ensemble : Ensemble, optional
        Compare with these networks and draw none. It knows its inputs: `n_samples`, `q0`, `c0` and
        `inputs` may be left out.

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError, ValueError
        As `mfdnn.ensemble` and `mfdnn.fisher_statistics`; fewer than two networks; an `ensemble` of another
        network or of other inputs.

    Notes
    -----
    A row agrees if simulation and theory differ by at most three sigma by Student's t, plus the allowance for
    finite width: three standard errors, or as many as are as improbable with a standard error from few
    networks (3.4 for 20 networks, 9.2 for 4, 236 for 2, which refute next to nothing: the table says so up to
    4). Chance alone spoils one row in 370. In the notation of
    `mfdnn.fisher_statistics`, with :math:`A_1, A_2` the mean of the kernel on its diagonal and elsewhere,
    :math:`\lambda_0` the theory's `largest`, and M the smallest width of inputs and hidden layers (given inputs
    do not count: theory knows them), the allowances are

    =====================  ============================================================================
    q, q_hat (_st)         (3/4) p/M of q, q_hat: behind p pairs of weight layer and activation
    q_tilde (_st), mean    (3/4) (L - 1)/M of q_tilde, of the mean; nothing at the output
    outlier_mean           :math:`A_2 c/M + B/(A_2 T)` with :math:`c = \kappa_1/(2 \kappa_2) + 5L/4`
    lambda_max             the same, and for C > 1 :math:`(2\sqrt C - 1.2\,C^{-1/6})\sqrt b\,\lambda_0`
    second_moment (P/C)    :math:`B + \lambda_0^2\,[(2c + L^2/4 + 1)/M + (C + 1)\,b] + 7(L - 1)A_1^2/(TM)`
    =====================  ============================================================================

    Chance overlaps of two inputs in layer l, of relative size :math:`M_l^{-1/2}`, are felt by all later
    layers: :math:`B = \sum_{l<L} B_l^2/M_l`, :math:`B_l = \sum_{j>l} M_{j-1} \hat q^{j-1} \tilde q_{st}^j`. The
    gradients of two outputs overlap with relative variance :math:`b = \frac{3}{2M} \sum_{l<L} s_l^2`,
    :math:`s_l` the part of :math:`A_2 + (A_1 - A_2)/T` from weight layers up to l.

    The forms are those of the 1/M expansion; the numbers in them are round ones that cover simulations of
    tanh, erf, sin, relu, silu, gelu, sigmoid, linear and residual networks at M = 20 to 200, T = 8 to 300,
    C = 1 to 5, L = 1 to 5 (order parameters: to 12).

    Under mean subtraction or batch norm of the outputs there are no outliers: where `largest` is the sharp edge of the
    bulk (`mfdnn.finite_width.centred_edge`), its allowance is what that law was checked to, 5 % (batch norm 6 %), and
    its spread; where the law has a caution, no claim.

    Theory makes no claim, the allowance is inf, `agrees` None, and a note says why, in two more cases: on the
    outlier where :math:`c/M \ge 1/3` or :math:`T \le \kappa_1/\kappa_2`, for then none stands clear of the
    bulk; and on an order parameter or the mean where the allowance exceeds a third of it. (Products at two
    inputs have allowances on the scale of the squares, which can exceed them by far in chaotic networks;
    where theory gives 0 for them, the claim is that they are small beside the squares.)

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([100, 100, 100, 1], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> table = mfdnn.compare(net, n_samples=50, n_networks=20, rng=0)
    >>> table
    Comparison(22 of 22 rows agree, 20 networks, T=50)
    >>> table.row("mean").agrees
    True
    """
    if ensemble is None:
        n_networks = positive_integer("n_networks", n_networks, minimum=2)
        ensemble = draw(
            net,
            n_samples,
            n_networks,
            q0=q0,
            c0=c0,
            inputs=inputs,
            rng=rng,
            executor=executor,
            checkpoint=checkpoint,
            progress=progress,
            dtype=dtype,
        )
    else:
        _check_ensemble(ensemble, net, n_samples, q0, c0, inputs)
    given = ensemble.inputs
    if given is None:
        fim = fisher_statistics(net, ensemble.n_samples, ensemble.q0, ensemble.c0)
    else:
        fim = fisher_statistics(net, inputs=given)
    rounding = max(THEORY_ERROR, 1e3 * float(np.finfo(ensemble.dtype).eps))
    rows = []
    for name, theory, scale, allowance, note in (*_spectrum(fim, rounding), *_layers(fim, rounding)):
        if name.split("[")[0] in ensemble.mean:  # products at two inputs need two inputs
            rows.append(_row(ensemble, name, theory, allowance, rounding * scale, note))
    return Comparison(tuple(rows), net, ensemble.n_samples, ensemble.n_networks)


_Claim = tuple[str, float, float, float, str]  # quantity, theory, scale of its rounding, allowance, note


def _spectrum(fim: FisherStatistics, rounding: float) -> Iterator[_Claim]:
    """Eigenvalue statistics, with the allowances in the Notes of `compare`."""
    op, n_samples, n_outputs, largest = fim.order_parameters, fim.n_samples, fim.n_outputs, fim.largest
    one, two = _averages(op)
    two = two if n_samples > 1 else one  # at one input the kernel is its diagonal
    depth, width = len(op.q), smallest_width(op)
    layers_1, layers_2 = ((op.fan_in * x["q_hat"] + op.bias) * x["q_tilde"] for x in (one, two))
    a1, a2 = float(layers_1.sum()), float(layers_2.sum())
    total = a1**2 / n_samples + (1 - 1 / n_samples) * a2**2

    later = np.cumsum((op.fan_in * one["q_hat"] * two["q_tilde"])[::-1])[::-1]
    chance = later**2 / op.fan_in * (n_samples > 1)
    if op.per_input:
        chance[0] = 0.0  # the overlaps of given inputs are no matter of chance
    criterion = outlier_criterion(op, n_samples)
    c = float(criterion.c)
    parts = np.cumsum(layers_1 / n_samples + layers_2 * (1 - 1 / n_samples))
    b = 1.5 * float(np.sum((parts[:-1] / parts[-1]) ** 2)) / width if parts[-1] else 0.0  # 0: all is 0

    outlier, note = np.inf, _NO_OUTLIER
    if criterion.clear:
        outlier, note = a2 * c / width + chance.sum() / (n_samples * a2), ""
    split = (2 * np.sqrt(n_outputs) - 1.2 * n_outputs ** (-1 / 6)) * np.sqrt(b) * largest * (n_outputs > 1)
    spread = (2 * min(c, width) + depth**2 / 4 + 1) / width + (n_outputs + 1) * b
    second = chance.sum() + largest**2 * spread + a1**2 / n_samples * 7 * (depth - 1) / width

    edge = fim.output_normalisation and fim.output_normalisation.edge
    if edge:
        known = (EDGE[edge.norm] + (edge.spread or 0.0) / edge.largest) * largest
        top, note = (np.inf, edge.caution) if edge.caution else (known, "")
        yield "lambda_max", largest, largest, top, note
        yield "outlier_mean", largest, largest, *((top, note) if n_outputs == 1 else (np.inf, _EDGE_ONLY))
    else:
        yield "lambda_max", largest, largest, outlier + split, note or (_SPLIT if n_outputs > 1 else "")
        yield "outlier_mean", largest, largest, outlier, note
    yield "mean", fim.mean, fim.mean, *_claim(fim.mean, fim.mean, 0.75 * (depth - 1) / width, rounding)
    relative = float(second) / total if total > 0 else 0.0
    yield "second_moment", fim.second_moment, fim.second_moment, relative * fim.second_moment, ""


def _layers(fim: FisherStatistics, rounding: float) -> Iterator[_Claim]:
    """Order parameters of every layer; products at two inputs are measured on the scale of the squares."""
    op = fim.order_parameters
    one, two = _averages(op)
    depth, width = len(op.q), smallest_width(op)
    for name, first in (("q_hat", 0), ("q", 1), ("q_tilde", 1)):
        for suffix, theory in (("", one[name]), ("_st", two[name])):
            for l in range(depth):
                passed = l if name != "q_tilde" else (depth - 1) * (l < depth - 1)
                value, scale = float(theory[l]), float(one[name][l])
                allowance, note = _claim(value, scale, 0.75 * passed / width, rounding)
                yield f"{name}{suffix}[{l + first}]", value, scale, allowance, note


def _claim(theory: float, scale: float, relative: float, rounding: float) -> tuple[float, str]:
    """Allowance and note, where nothing is claimed of a number that finite width may change by a third."""
    allowance = relative * scale
    zero = abs(theory) <= rounding * scale  # small beside the squares is a claim of its own
    return (allowance, "") if zero or allowance <= abs(theory) / 3 else (np.inf, _TOO_NARROW)


def _averages(op: OrderParameters) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Order parameters at one and at two inputs, (L,) each: averaged over given inputs and pairs of them."""
    names = ("q", "q_hat", "q_tilde")
    return {n: op.averaged(n) for n in names}, {n: op.averaged(f"{n}_st") for n in names}


def _three_sigma(n_networks: int) -> float:
    """Standard errors from so few networks that are as improbable as three that are exactly known."""
    from scipy.special import stdtrit

    return float(-stdtrit(n_networks - 1, THREE_SIGMA))


def _row(ensemble: Ensemble, name: str, theory: float, allowance: float, rounding: float, note: str) -> Row:
    quantity, _, index = name.partition("[")
    simulation, error = ensemble.mean[quantity], ensemble.standard_error[quantity]
    if index:
        position = int(index[:-1]) - (0 if quantity.startswith("q_hat") else 1)
        simulation, error = simulation[position], error[position]
    difference = float(simulation) - theory
    if abs(difference) <= rounding:
        deviation = 0.0  # both are exact, as q_tilde = 1 at the output, and their spread is rounding noise
    else:
        deviation = difference / error if error > 0 else np.copysign(np.inf, difference)
    chance = _three_sigma(ensemble.n_networks) * error
    agrees = bool(abs(difference) <= chance + allowance + rounding) if allowance < np.inf else None
    return Row(
        name, theory, float(simulation), float(error), float(deviation), float(allowance), agrees, note
    )


def _check_ensemble(
    ensemble: Any,
    net: Network,
    n_samples: int | None,
    q0: float | None,
    c0: float | None,
    inputs: np.ndarray | None,
) -> None:
    if not isinstance(ensemble, Ensemble):
        raise TypeError(
            f"`ensemble` must be an Ensemble, got {type(ensemble).__name__}; make one with mfdnn.ensemble."
        )
    if ensemble.n_networks < 2:
        raise ValueError("`ensemble` must hold at least two networks for a standard error; draw more.")
    if not same_network(ensemble.network, net):
        raise ValueError(f"`ensemble` was drawn from {ensemble.network}, not from {net}; draw another.")
    same = n_samples in (None, ensemble.n_samples) and q0 in (None, ensemble.q0) and c0 in (None, ensemble.c0)
    if inputs is not None:
        same = same and ensemble.inputs is not None and np.array_equal(inputs, ensemble.inputs)
    if not same:
        raise ValueError(
            "`ensemble` was drawn with other inputs than `n_samples`, `q0`, `c0` or `inputs` say; drop them."
        )

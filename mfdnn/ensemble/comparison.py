"""Theory against simulation, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

from .._results import Result
from .._validation import one_of, positive_integer
from ..fisher import FisherStatistics, fisher_statistics
from ..network import Network
from ..order_parameters import OrderParameters
from .statistics import Ensemble, same_network
from .statistics import ensemble as draw

__all__ = ["Comparison", "Row", "compare"]

THEORY_ERROR = 1e-9  # of the Gaussian integrals, as a fraction of q or of E[phi'^2], with room for ten layers

THREE_SIGMA = float(ndtr(-3.0))  # probability beyond, on one side

_SPLIT = "the C outliers split by O(sqrt(M)): their mean is what theory predicts, the largest lies above"
_NO_OUTLIER = "no eigenvalue stands out at this size: theory has only the leading value of the bulk"


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
        Whether simulation and theory differ by no more than chance and the allowance (see `compare`).
    note
        What to know about the row, mostly nothing.
    """

    quantity: str
    theory: float
    simulation: float
    standard_error: float
    deviation: float
    allowance: float
    agrees: bool
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
        """Whether every row does."""
        return all(row.agrees for row in self.rows)

    def row(self, name: str) -> Row:
        """The row of that quantity, ``"second_moment"`` or ``"q[2]"``."""
        found = {row.quantity: row for row in self.rows}
        return found[one_of("name", name, found)]

    def __repr__(self) -> str:
        good = f"{sum(row.agrees for row in self.rows)} of {len(self.rows)} rows agree"
        return f"Comparison({good}, {self.n_networks} networks, T={self.n_samples})"

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
                    "yes" if row.agrees else "NO",
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
        return "\n".join([*lines, *(f"{', '.join(names)}: {note}" for note, names in notes.items())])


def compare(
    net: Network,
    n_samples: int = 1000,
    n_networks: int = 20,
    *,
    q0: float = 1.0,
    c0: float = 0.0,
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
    A row agrees if simulation and theory differ by at most three standard errors, or as many as are as
    improbable with a standard error from few networks (Student's t: 3.4 for 20 networks, 9.2 for 4), plus the
    allowance for finite width. Chance alone spoils one row in 370. In the notation of
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
    C = 1 to 5, L = 1 to 5 (order parameters: to 12). Where c/M > 1/3 or :math:`T < \kappa_1/\kappa_2` no outlier
    stands clear of the bulk: theory makes no claim on it, the allowance is inf and a note says so.

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
    for name, theory, scale, relative, note in (*_spectrum(fim), *_layers(fim.order_parameters)):
        if name.split("[")[0] in ensemble.mean:  # products at two inputs need two inputs
            rows.append(_row(ensemble, name, theory, relative * scale, rounding * scale, note))
    return Comparison(tuple(rows), net, ensemble.n_samples, ensemble.n_networks)


_Claim = tuple[str, float, float, float, str]  # quantity, theory, scale, allowance as a fraction of it, note


def _spectrum(fim: FisherStatistics) -> Iterator[_Claim]:
    """Eigenvalue statistics, with the allowances in the Notes of `compare`."""
    op, n_samples, n_outputs, largest = fim.order_parameters, fim.n_samples, fim.n_outputs, fim.largest
    one, two = _averages(op)
    two = two if n_samples > 1 else one  # at one input the kernel is its diagonal
    depth, width = len(op.q), _width(op)
    diagonal, overlaps = op.fan_in * one["q_hat"] * one["q_tilde"], op.fan_in * two["q_hat"] * two["q_tilde"]
    layers_1, layers_2 = diagonal + op.bias * one["q_tilde"], overlaps + op.bias * two["q_tilde"]
    a1, a2 = float(layers_1.sum()), float(layers_2.sum())
    total = a1**2 / n_samples + (1 - 1 / n_samples) * a2**2
    ratio = diagonal.sum() / overlaps.sum() if overlaps.sum() > 0 else np.inf

    later = np.cumsum((op.fan_in * one["q_hat"] * two["q_tilde"])[::-1])[::-1]
    chance = later**2 / op.fan_in * (n_samples > 1)
    if op.per_input:
        chance[0] = 0.0  # the overlaps of given inputs are no matter of chance
    c = 0.5 * ratio + 1.25 * depth
    parts = np.cumsum(layers_1 / n_samples + layers_2 * (1 - 1 / n_samples))
    b = 1.5 * float(np.sum((parts[:-1] / parts[-1]) ** 2)) / width

    outlier, note = np.inf, _NO_OUTLIER
    if c / width < 1 / 3 and (n_samples > ratio or n_samples == 1):
        outlier, note = (a2 * c / width + chance.sum() / (n_samples * a2)) / largest, ""
    split = (2 * np.sqrt(n_outputs) - 1.2 * n_outputs ** (-1 / 6)) * np.sqrt(b) if n_outputs > 1 else 0.0
    spread = (2 * min(c, width) + depth**2 / 4 + 1) / width + (n_outputs + 1) * b
    second = chance.sum() + largest**2 * spread + a1**2 / n_samples * 7 * (depth - 1) / width

    yield "lambda_max", largest, largest, outlier + split, note or (_SPLIT if n_outputs > 1 else "")
    yield "outlier_mean", largest, largest, outlier, note
    yield "mean", fim.mean, fim.mean, 0.75 * (depth - 1) / width, ""
    yield "second_moment", fim.second_moment, fim.second_moment, float(second) / total, ""


def _layers(op: OrderParameters) -> Iterator[_Claim]:
    """Order parameters of every layer; products at two inputs are measured on the scale of the squares."""
    one, two = _averages(op)
    depth, width = len(op.q), _width(op)
    for name, first in (("q_hat", 0), ("q", 1), ("q_tilde", 1)):
        for suffix, theory in (("", one[name]), ("_st", two[name])):
            for l in range(depth):
                passed = l if name != "q_tilde" else (depth - 1) * (l < depth - 1)
                scale = float(one[name][l])
                yield f"{name}{suffix}[{l + first}]", float(theory[l]), scale, 0.75 * passed / width, ""


def _averages(op: OrderParameters) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Order parameters at one and at two inputs, (L,) each: averaged over given inputs and pairs of them."""
    names = ("q", "q_hat", "q_tilde")
    return {n: op.averaged(n) for n in names}, {n: op.averaged(f"{n}_st") for n in names}


def _width(op: OrderParameters) -> int:
    """M, the smallest width that theory takes for infinite."""
    return int(min(op.fan_in[1:] if op.per_input and len(op.fan_in) > 1 else op.fan_in))


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
    chance = -stdtrit(ensemble.n_networks - 1, THREE_SIGMA) * error
    agrees = bool(abs(difference) <= chance + allowance + rounding)
    return Row(
        name, theory, float(simulation), float(error), float(deviation), float(allowance), agrees, note
    )


def _check_ensemble(
    ensemble: Any, net: Network, n_samples: int, q0: float, c0: float, inputs: np.ndarray | None
) -> None:
    if not isinstance(ensemble, Ensemble):
        raise TypeError(
            f"`ensemble` must be an Ensemble, got {type(ensemble).__name__}; make one with mfdnn.ensemble."
        )
    if ensemble.n_networks < 2:
        raise ValueError("`ensemble` must hold at least two networks for a standard error; draw more.")
    if not same_network(ensemble.network, net):
        raise ValueError(f"`ensemble` was drawn from {ensemble.network}, not from {net}; draw another.")
    same = n_samples in (1000, ensemble.n_samples)  # the defaults say nothing
    same &= (q0, c0) in ((1.0, 0.0), (ensemble.q0, ensemble.c0))
    same &= inputs is None or (ensemble.inputs is not None and np.array_equal(inputs, ensemble.inputs))
    if not same:
        raise ValueError(
            "`ensemble` was drawn with other inputs than `n_samples`, `q0`, `c0` or `inputs` say; drop them."
        )

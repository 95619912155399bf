"""Rows of theory against simulation, and the table of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.results import Result
from .._support.validation import one_of
from ..network import Network

__all__ = ["Comparison", "Row", "aligned", "few_networks", "normal_deviation", "three_sigma", "three_sigma_of_law"]

THREE_SIGMA = 0.0013498980316300945  # probability beyond, on one side
ENOUGH = 8  # networks from which three sigma are less than five standard errors


def three_sigma(n_networks: int) -> float:
    """Standard errors of so few networks that are as improbable as three sigma."""
    from scipy.special import stdtrit

    return float(-stdtrit(n_networks - 1, THREE_SIGMA))


def normal_deviation(standard_errors: float, n_networks: int) -> float:
    """A deviation in standard errors of few networks, in sigma of a normal law.

    What is as improbable: by Student's t of ``n_networks - 1`` degrees of freedom and by the normal law as much lies
    beyond it.
    """
    from scipy.special import betaln, ndtri_exp, stdtr

    freedom, size = n_networks - 1, abs(standard_errors)
    with np.errstate(divide="ignore"):  # an infinite deviation stays one
        beyond = np.log(stdtr(freedom, -size))
        if beyond < -700:  # of the smallest floating-point numbers: the leading term of the tail
            root = np.sqrt(freedom)
            beyond = freedom * np.log(root / np.hypot(root, size)) - np.log(freedom) - betaln(freedom / 2, 0.5)
    return float(np.copysign(ndtri_exp(beyond), standard_errors))


def few_networks(n_networks: int) -> str:
    """What to know about deviations of fewer than eight networks; empty for more."""
    if n_networks >= ENOUGH:
        return ""
    return (
        f"{n_networks} networks: deviations are by Student's t, three sigma being {three_sigma(n_networks):.3g} "
        "standard errors; skewed numbers, as products at two inputs behind batch norm or of few outputs, may still "
        f"look like contradictions, or hide them: draw {ENOUGH} or more"
    )


def three_sigma_of_law(spread: float, n_networks: int) -> float:
    """Exact standard errors of a mean of log-normal numbers that are three sigma.

    `spread` is the relative one of the numbers; by Cornish and Fisher's expansion with the skewness 3 s and the excess
    16 s^2.
    """
    step = spread / np.sqrt(n_networks)
    return float(3 + 4 * step + 2.25 * step**2)


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines of a table: its first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


@dataclass(frozen=True, eq=False)
class Row(Result):
    """One quantity: what theory says, what the networks did.

    Attributes
    ----------
    quantity : str
        Name as in `Ensemble`; with its layer where there is one per layer, as ``q[2]``.
    theory : float
        Infinite width.
    predicted : float or None
        What networks of this width have on average, where a law of finite width says; None elsewhere.
    simulation, standard_error : float
        Mean over networks and its standard error, from their scatter.
    predicted_error : float or None
        Standard error of that mean by the law's own standard deviation over networks; None where there is none.
    deviation : float
        Simulation less `predicted`, or less `theory` where that is None, in sigma. With a `predicted_error`, in units
        of it. Elsewhere in units of `standard_error` (of softmax outputs with the error of the average over drawn
        ones), turned by Student's t into the sigma of a normal law that are as improbable: nine standard errors of
        four networks are three. 0 where they agree to rounding.
    allowance : float
        How far networks of this width may be from that number; inf where theory makes no claim.
    agrees : bool or None
        Whether simulation and theory differ by no more than chance and the allowance (see `compare`); None
        where theory makes no claim, and where only the caution of a law in doubt allows for the difference.
    note : str
        What to know about the row, mostly nothing.
    theory_error : float
        Standard error of `theory` where it rests on sampled units or drawn outputs; part of `deviation`.
    """

    quantity: str
    theory: float
    predicted: float | None
    simulation: float
    standard_error: float
    predicted_error: float | None
    deviation: float
    allowance: float
    agrees: bool | None
    note: str = ""
    theory_error: float = 0.0

    @property
    def verdict(self) -> str:
        """In a word: "yes" or "NO" where `agrees` says so, else "doubtful" or "no claim"."""
        if self.agrees is None:
            return "doubtful" if self.allowance < np.inf else "no claim"
        return "yes" if self.agrees else "NO"


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result):
    """A table of theory against simulation; ``print`` shows it.

    Attributes
    ----------
    rows : tuple of Row
        Spectrum of F, metrics if asked for, then order parameters by layer.
    network : Network
    n_samples, n_networks : int
        T, and how many networks were drawn.
    output : str
        "linear" or "softmax": whose Fisher information.
    """

    rows: tuple[Row, ...]
    network: Network
    n_samples: int
    n_networks: int
    output: str = "linear"

    @property
    def agrees(self) -> bool:
        """Whether every row does on which theory makes a claim.

        A doubtful row does not.
        """
        return all(row.verdict in ("yes", "no claim") for row in self.rows)

    def row(self, name: str) -> Row:
        """The row of one quantity, ``"second_moment"`` or ``"q[2]"``.

        Raises
        ------
        ValueError
            There is no such row.
        """
        found = {row.quantity: row for row in self.rows}
        return found[one_of("name", name, found)]

    def __repr__(self) -> str:
        verdicts = [row.verdict for row in self.rows]
        silent, doubtful = verdicts.count("no claim"), verdicts.count("doubtful")
        good = f"{verdicts.count('yes')} of {len(verdicts) - silent} rows agree"
        rest = (f", {doubtful} doubtful" if doubtful else "") + (f", {silent} without a claim" if silent else "")
        softmax = ", softmax" if self.output == "softmax" else ""
        return f"Comparison({good}{rest}, {self.n_networks} networks, T={self.n_samples}{softmax})"

    def __str__(self) -> str:
        head = ["quantity", "theory", "this width", "simulation", "error", "deviation", "allowance", "agrees"]
        table = [head]
        for row in self.rows:
            known = row.predicted_error is not None
            table.append(
                [
                    row.quantity,
                    # A theory of 1e-33 is a zero that went through an integral.
                    f"{row.theory if abs(row.theory) > 1e-15 else 0.0:.5g}",
                    "" if row.predicted is None else f"{row.predicted:.5g}",
                    f"{row.simulation:.5g}",
                    f"{row.predicted_error:.2g}*" if known else f"{row.standard_error:.2g} ",
                    f"{row.deviation:+.1f}",
                    f"{row.allowance:.2g}",
                    row.verdict,
                ]
            )
        if not any(row.predicted is not None for row in self.rows):
            table = [cells[:2] + cells[3:] for cells in table]
        lines = aligned(table)
        if any(row.predicted_error is not None for row in self.rows):
            lines.append("* predicted by the law of the outliers over networks")
        if errors := [row.theory_error / abs(row.theory) for row in self.rows if row.theory_error and row.theory]:
            half = f"half of them below {100 * np.median(errors):.2g} %"
            lines.append(f"theory has standard errors of its own, {half} (`Row.theory_error`)")
        notes: dict[str, list[str]] = {}
        for row in self.rows:
            if row.note:
                notes.setdefault(row.note, []).append(row.quantity)
        lines += [f"{', '.join(names)}: {note}" for note, names in notes.items()]
        if few := few_networks(self.n_networks):
            lines.append(few)
        return "\n".join(lines)

"""Rows of theory against simulation, and the table of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.results import Result
from .._support.validation import one_of
from ..network import Network

__all__ = ["FEW", "Comparison", "Row", "three_sigma", "three_sigma_of_law"]

THREE_SIGMA = 0.0013498980316300945  # probability beyond, on one side
FEW = 4  # networks up to which the table says how little their own scatter can refute


def three_sigma(n_networks: int) -> float:
    """Standard errors from so few networks that are as improbable as three that are exactly known."""
    from scipy.special import stdtrit

    return float(-stdtrit(n_networks - 1, THREE_SIGMA))


def three_sigma_of_law(spread: float, n_networks: int) -> float:
    """Of the mean of so many log-normal numbers of this relative spread, in its exact standard errors.

    Cornish and Fisher's expansion with the skewness 3 s and the excess 16 s^2.
    """
    step = spread / np.sqrt(n_networks)
    return float(3 + 4 * step + 2.25 * step**2)


@dataclass(frozen=True, eq=False)
class Row(Result):
    """One quantity: what theory says, what the networks did.

    Attributes
    ----------
    quantity
        Name as in `Ensemble`; with its layer where there is one per layer, as ``q[2]``.
    theory
        Infinite width.
    predicted
        What networks of this width have on average, where a law of finite width says; None elsewhere.
    simulation, standard_error
        Mean over networks and its standard error, from their scatter.
    predicted_error
        Standard error of that mean by the law's own standard deviation over networks; None where there is none.
    deviation
        Simulation less `predicted`, or less `theory` where that is None, in units of `predicted_error`, or of
        `standard_error` where that is None (of softmax outputs with the error of the average over drawn ones); 0 where
        they agree to rounding.
    allowance
        How far networks of this width may be from that number; inf where theory makes no claim.
    agrees
        Whether simulation and theory differ by no more than chance and the allowance (see `compare`); None
        where theory makes no claim.
    note
        What to know about the row, mostly nothing.
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
    output
        "linear" or "softmax": whose Fisher information.
    """

    rows: tuple[Row, ...]
    network: Network
    n_samples: int
    n_networks: int
    output: str = "linear"

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
        softmax = ", softmax" if self.output == "softmax" else ""
        return f"Comparison({good}{rest}, {self.n_networks} networks, T={self.n_samples}{softmax})"

    def __str__(self) -> str:
        head = ("quantity", "theory", "this width", "simulation", "error", "deviation", "allowance", "agrees")
        table: list[tuple[str, ...]] = [head]
        for row in self.rows:
            known = row.predicted_error is not None
            table.append(
                (
                    row.quantity,
                    # A theory of 1e-33 is a zero that went through an integral.
                    f"{row.theory if abs(row.theory) > 1e-15 else 0.0:.5g}",
                    "" if row.predicted is None else f"{row.predicted:.5g}",
                    f"{row.simulation:.5g}",
                    f"{row.predicted_error:.2g}*" if known else f"{row.standard_error:.2g} ",
                    f"{row.deviation:+.1f}",
                    f"{row.allowance:.2g}",
                    {True: "yes", False: "NO", None: "no claim"}[row.agrees],
                )
            )
        if not any(row.predicted is not None for row in self.rows):
            table = [cells[:2] + cells[3:] for cells in table]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join([name.ljust(widths[0]), *(x.rjust(w) for x, w in zip(rest, widths[1:], strict=True))])
            for name, *rest in table
        ]
        if any(row.predicted_error is not None for row in self.rows):
            lines.append("* predicted by the law of the outliers over networks")
        notes: dict[str, list[str]] = {}
        for row in self.rows:
            if row.note:
                notes.setdefault(row.note, []).append(row.quantity)
        lines += [f"{', '.join(names)}: {note}" for note, names in notes.items()]
        if self.n_networks <= FEW:
            lines.append(
                f"{self.n_networks} networks: three sigma of their own scatter are {three_sigma(self.n_networks):.3g} "
                "standard errors (Student's t), which hardly anything exceeds; draw more"
            )
        return "\n".join(lines)

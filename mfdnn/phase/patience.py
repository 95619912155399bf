"""Tables of correlations of an activation that turns often: in bounded time."""

from __future__ import annotations

import numpy as np

from .._compiled import Correlations
from ..activations import Activation
from ..gaussian.tables import LOG_Q_MIN, ROW, tables
from ..jobs.threads import aside
from ..jobs.watch import told_if_long

__all__ = ["correlations"]

RADIUS = 8.2  # standard deviations within which pieces count
AT_ONCE = 3.0  # seconds, as estimated, below which nobody needs to watch
LONGEST = 100.0  # seconds, as estimated


def correlations(act: Activation, q: np.ndarray) -> Correlations:
    """The table of E[phi'(u) phi'(v)] at equal variances near all of `q`.

    Where it takes longer than ten seconds a RuntimeWarning says so.

    Raises
    ------
    ValueError
        It would take many minutes or hours.
    """
    seconds = _estimate(act, q)
    largest = float(np.max(q))
    if seconds > LONGEST:
        raise ValueError(
            f"activation {act.label!r} has too many kinks or turns for correlations at a variance of {largest:.3g}: "
            f"their table would take far more than {LONGEST:g} seconds; use smaller variances, or an activation with "
            "fewer of them."
        )
    if seconds < AT_ONCE:
        return tables(act).correlations(q)
    told = f"the table of correlations of activation {act.label!r} at variances up to {largest:.3g} takes long"
    with told_if_long(lambda: told):
        return aside(tables(act).correlations, q)


def _estimate(act: Activation, q: np.ndarray) -> float:
    """Seconds of one core that the rows of the table near `q` take.

    Measured for a dozen activations at several variances, right within a factor of about ten. Circles around zero are
    cut where one of two units meets an edge of phi or both meet kinks. Where phi is piecewise linear, every pair of
    kinks has a closed form, which is short if phi only jumps. A smooth phi takes seconds at most.
    """
    pieces, table = act.pieces, tables(act)
    if pieces.smooth:
        return 0.0
    rows = np.unique(np.maximum((np.log(np.clip(q, None, table.q_max)) - LOG_Q_MIN) // ROW, 0))
    reach = RADIUS * np.exp(0.5 * np.minimum(LOG_Q_MIN + (rows + 1) * ROW, np.log(table.q_max)))
    edges, kinks = (
        np.searchsorted(np.sort(np.abs(places)), reach) for places in (pieces.edges, pieces.breaks)
    )
    if not pieces.piecewise_linear:
        cost = 0.001 * (edges / 2 + kinks**2) * edges
    else:
        cost = (0.015 if np.any(pieces.jumps[:, 1]) else 5e-4) * kinks**2
    return float(cost.sum())

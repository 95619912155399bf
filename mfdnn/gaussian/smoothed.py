r"""Pairs of any two variances, many at once, by a table of one factor smoothed.

For :math:`u = \sqrt{q_1}\,z` and :math:`v = \sqrt{q_2}\,(c z + s w)`, :math:`s = \sqrt{1 - c^2}`,

.. math:: E[\phi(u)\,\phi(v)] = E[\phi(\sqrt{q_1} z)\,S(\sqrt{q_2}\,s, \sqrt{q_2}\,c z)],
    \qquad S(\sigma, y) = E[\phi(y + \sigma w)].

S is smooth on the scale of :math:`\sigma` and a function of two numbers for all pairs: it is tabulated in
:math:`\log \sigma` and y, and a pair costs a fraction of a millisecond however steep the activation is against its
variances. The same holds of :math:`\phi'`, with the point masses that it has where :math:`\phi` jumps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import _compiled
from .._compiled import Smoothed
from ..activations.pieces import NODES, Pieces, chebyshev_fit
from ..jobs.threads import Threads
from .quadrature import GAUSS_W, GAUSS_X, REACH

__all__ = ["LEAST_GAP", "SmoothedTable"]

WIDTH = 0.5  # of a level in log sigma: 16 nodes resolve a smoothed jump there to 1e-10 of its size
RESOLVED = 1e-14  # relative size of the last Chebyshev coefficients in y of a resolved panel
ROUNDING = 1e-15  # of S, relative to what its terms add up to without their signs
SMALL = 1e-2  # a function this much smaller than at its largest is resolved relative to that instead
FINEST = 0.2  # smallest panel in y, in units of sigma: what is smooth on that scale needs none smaller
CONTINUED = 6.0  # as far as units get, in units of where phi is known: e for the table, (1 + e) for its Gaussians
BEND = 12.0  # how many sigma from a break S has left it behind
LEAST_GAP = 1e-7  # smallest s: closer to c = 1 a table in log sigma has no end
BLOCK = 256  # pairs, or panels, that a thread takes at a time


class Level(NamedTuple):
    """One level of log sigma.

    Panel edges in y (n + 1,), coefficients (n, 2, 16, 16) and their relative error.
    """

    ends: np.ndarray
    values: np.ndarray
    error: float


class SmoothedTable:
    """S of one activation, in levels of log sigma, built when a pair needs them."""

    def __init__(self, pieces: Pieces):
        self._breaks, self._masses = pieces.breaks, np.ascontiguousarray(pieces.jumps[:, 0])
        self._edges, self._values_of, self._slopes_of = _continued(pieces)
        self._levels: dict[tuple[int, int], Level] = {}

    def _function(self) -> tuple[np.ndarray, ...]:
        return self._edges, self._values_of, self._slopes_of, self._breaks, self._masses

    def products(self, q1: np.ndarray, q2: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Products of n pairs of variances > 0 and correlations c, |c| < 1.

        Returns E[phi(u) phi(v)] and E[phi'(u) phi'(v)], shape (2, n), and their errors, relative to the root of the
        product of both second moments, shape (n,).
        """
        gap = np.sqrt((1 - c) * (1 + c))
        level = np.floor(np.log(gap * np.sqrt(q2)) / WIDTH).astype(int)
        reach = int(np.ceil(np.log(REACH * np.sqrt(q2.max()))))
        needed = np.unique(level)
        found = np.empty((2, q1.size))
        with Threads() as pool:
            missing = [i for i in needed.tolist() if (i, reach) not in self._levels]
            built = pool.map(lambda i: self._build(i, reach), missing)
            self._levels.update(zip([(i, reach) for i in missing], built, strict=True))
            levels = [self._levels[i, reach] for i in needed.tolist()]
            table = Smoothed(
                left=WIDTH * needed,
                width=WIDTH,
                first=np.cumsum([0, *(len(one.values) for one in levels)]),
                ends=np.concatenate([one.ends for one in levels]),
                values=np.concatenate([one.values for one in levels]),
            )

            def fill(start: int) -> None:
                part = slice(start, start + BLOCK)
                out = np.empty((2, q1[part].size))
                rule = REACH, GAUSS_X, GAUSS_W, out
                _compiled.smoothed_products(
                    *self._function(), table, q1[part], q2[part], c[part], gap[part], *rule
                )
                found[:, part] = out

            list(pool.map(fill, range(0, q1.size, BLOCK)))
        return found, np.array([one.error for one in levels])[np.searchsorted(needed, level)]

    def _build(self, level: int, reach: int) -> Level:
        """Panels in y up to exp(`reach`), halved until the function is resolved on each."""
        sigma = np.exp(WIDTH * (level + 0.5 + 0.5 * NODES))
        smallest, end = np.exp(WIDTH * level), np.exp(reach)
        # Within a few sigma of a break S bends, which the nodes of a long panel would not see.
        bends = self._breaks[:, None] + BEND * sigma.max() * np.array([-1.0, 1.0])
        pending = _panels(np.union1d(self._edges, bends), smallest, end)
        kept, fits, scale, error = [], [], np.zeros((2, 1)), 0.0
        while len(pending):
            nodal, sizes = self._values(pending, sigma)
            fit = chebyshev_fit(chebyshev_fit(nodal).swapaxes(-1, -2)).swapaxes(-1, -2)
            size = np.abs(nodal).max(axis=(-1, -2))  # (2, n)
            scale = np.maximum(scale, size.max(axis=1, keepdims=True))
            # Where S is what oscillations leave, it is not known beyond their rounding.
            size = np.maximum(np.maximum(size, SMALL * scale), ROUNDING / RESOLVED * sizes.max(axis=(-1, -2)))
            left_out = np.abs(fit[..., -2:]).max(axis=(-1, -2)) / size
            width = pending[:, 1] - pending[:, 0]
            done = np.all(left_out <= RESOLVED, axis=0) | (width <= FINEST * smallest)
            if done.any():
                of_sigma = np.abs(fit[:, done, -2:]).max(axis=(-1, -2)) / size[:, done]
                error = max(error, of_sigma.max())
            kept.append(pending[done])
            fits.append(fit[:, done])
            rest = pending[~done]
            middle = rest.mean(axis=1)
            pending = np.concatenate([np.stack([rest[:, 0], middle], 1), np.stack([middle, rest[:, 1]], 1)])
        panels, values = np.concatenate(kept), np.concatenate(fits, axis=1).swapaxes(0, 1)
        order = np.argsort(panels[:, 0])
        return Level(np.append(panels[order, 0], end), np.ascontiguousarray(values[order]), error)

    def _values(self, panels: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both functions, and those of |phi| and |phi'|, on n panels (n, 2).

        At 16 x 16 nodes each: two arrays (2, n, log sigma, y).
        """
        y = panels.mean(axis=1)[:, None] + np.diff(panels, axis=1) / 2 * NODES
        mean, sd = (np.ascontiguousarray(a).ravel() for a in np.broadcast_arrays(y[:, None], sigma[:, None]))
        out = np.empty((4, mean.size))
        _compiled.smoothed_values(*self._function(), mean, sd, REACH, GAUSS_X, GAUSS_W, out)
        return tuple(out.reshape(2, 2, len(panels), sigma.size, -1))


def _continued(pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges, coefficients of phi and of phi' with a linear panel more on each side.

    Polynomials of the last panels would take off where hardly anything is left of a Gaussian.
    """
    ends = pieces.edges[[0, -1]]
    value, slope = (pieces.evaluate(ends, order) for order in (0, 1))
    half = (CONTINUED - 1) / 2 * np.abs(ends)
    lines, constants = np.zeros((2, 2, pieces.coefficients[0].shape[1]))
    lines[:, 0], lines[:, 1], constants[:, 0] = value + np.sign(ends) * slope * half, slope * half, slope
    return (
        np.concatenate([CONTINUED * ends[:1], pieces.edges, CONTINUED * ends[1:]]),
        np.concatenate([lines[:1], pieces.coefficients[0], lines[1:]]),
        np.concatenate([constants[:1], pieces.coefficients[1], constants[1:]]),
    )


def _panels(edges: np.ndarray, smallest: float, end: float) -> np.ndarray:
    """Panels (n, 2) of [-end, end] that end at `edges`, none narrower than that."""
    kept = [-end]
    for edge in edges[np.abs(edges) < end].tolist():
        if edge - kept[-1] > smallest:
            kept.append(edge)
    if end - kept[-1] <= smallest and len(kept) > 1:
        kept.pop()
    kept.append(end)
    return np.stack([kept[:-1], kept[1:]], axis=1)

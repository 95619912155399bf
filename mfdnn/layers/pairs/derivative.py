"""The derivative of a map of one unit's field, for S sampled units at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Derivative", "apart"]


class Derivative(NamedTuple):
    r"""Rows with one entry each, and a few products beside them.

    :math:`J_{(s,p),(t,q)} = a_{sp}\,\delta_{st}\,\delta_{q, i(s,p)} + \sum_k l^k_{sp} r^k_{tq}` for every unit. Chains
    of elementwise maps, normalisations over samples and sites, and largest values of windows have this form, so that
    :math:`E[J \Theta J^T]` of a fixed kernel takes products of matrices alone: tangents need not be drawn.

    Attributes
    ----------
    slope : ndarray, shape (S, T, m)
        a. Of this and of l and r there may be one, (1, ...), where they are the same for all units.
    n_sites : int
        n, how many sites the fields had that were mapped.
    at : ndarray of int, shape (S, T, m), or None
        i, sites of the same sample; None: the site itself.
    left : tuple of ndarray, shape (S, T, m)
        l.
    right : tuple of ndarray, shape (S, T, n)
        r.
    """

    slope: np.ndarray
    n_sites: int
    at: np.ndarray | None = None
    left: tuple[np.ndarray, ...] = ()
    right: tuple[np.ndarray, ...] = ()

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> Derivative:
        """Of fields (S, T, n) that are not mapped yet."""
        return cls(np.ones((1, *shape[1:])), shape[-1])

    def of_units(self, units: slice | np.ndarray) -> Derivative:
        """Of some of the units."""
        def some(x: np.ndarray) -> np.ndarray:
            return x if len(x) == 1 else x[units]

        at = None if self.at is None else some(self.at)
        return Derivative(some(self.slope), self.n_sites, at, *(tuple(map(some, of)) for of in (self.left, self.right)))

    def times(self, slope: np.ndarray) -> Derivative:
        """Behind an elementwise map of these slopes."""
        return self._replace(slope=slope * self.slope, left=tuple(slope * left for left in self.left))

    def picked(self, at: np.ndarray) -> Derivative:
        """Behind a choice of sites `at`, (S, T, m')."""

        def chosen(x: np.ndarray) -> np.ndarray:
            return np.take_along_axis(np.broadcast_to(x, (len(at), *x.shape[1:])), at, axis=-1)

        before = at if self.at is None else chosen(self.at)
        return Derivative(chosen(self.slope), self.n_sites, before, tuple(map(chosen, self.left)), self.right)

    def apart(self, n_units: int) -> Derivative:
        """Of every unit at every site as a unit of its own; without products."""
        assert not self.left
        shape = (n_units, *self.slope.shape[1:])
        at = np.arange(self.n_sites) if self.at is None else self.at
        slope, at = (apart(np.broadcast_to(x, shape)) for x in (self.slope, at))
        return Derivative(slope, self.n_sites, at)

    def less(self, u: np.ndarray, v: np.ndarray) -> Derivative:
        """Behind I - u v^T, of fields u and v (S, T, m) or (1, T, m)."""
        return self._replace(left=(*self.left, -u), right=(*self.right, self.transposed_on(v)))

    def transposed_on(self, v: np.ndarray) -> np.ndarray:
        """J^T v, fields (S, T, n)."""
        found = v * self.slope
        if self.at is not None:
            found = self._scattered(np.broadcast_to(found, self.at.shape))
        for left, right in zip(self.left, self.right, strict=True):
            found = found + np.sum(left * v, axis=(1, 2), keepdims=True) * right
        return found

    def rows_of(self, x: np.ndarray) -> np.ndarray:
        """diag(a) x, x (..., S, T, n) read at the sites of the rows: (..., S, T, m)."""
        if self.at is None:
            return self.slope * x
        lead = (*x.shape[:-3], *self.at.shape[:2])
        at = np.broadcast_to(self.at, (*lead, self.at.shape[-1]))
        return self.slope * np.take_along_axis(np.broadcast_to(x, (*lead, x.shape[-1])), at, axis=-1)

    def rows_of_all(self, x: np.ndarray) -> np.ndarray:
        """The same with x_t at the rows of all samples, summed."""
        if self.at is None:
            return self.slope.sum(axis=1, keepdims=True) * x
        n_units, n_samples, m = self.slope.shape
        rows = np.zeros((n_units, m, x.shape[-1]))
        for s in range(n_samples):
            own = np.zeros_like(rows)
            np.put_along_axis(own, self.at[:, s, :, None], self.slope[:, s, :, None], axis=-1)
            rows += own
        return x @ rows.swapaxes(-1, -2)

    def on(self, z: np.ndarray, within_samples: bool = False) -> np.ndarray:
        """J z, fields (S, T, m), or what every sample's part of z does to itself."""
        found, axes = self.rows_of(z), 2 if within_samples else (1, 2)
        for left, right in zip(self.left, self.right, strict=True):
            found = found + np.sum(right * z, axis=axes, keepdims=True) * left
        return found

    def _scattered(self, x: np.ndarray) -> np.ndarray:
        """Sums of x at its sites, (S, T, n)."""
        assert self.at is not None
        (n_units, n_samples, _), n = x.shape, self.n_sites
        rows = np.arange(n_units * n_samples).reshape(n_units, n_samples, 1) * n
        total = np.bincount((rows + self.at).ravel(), weights=x.ravel(), minlength=n_units * n_samples * n)
        return total.reshape(n_units, n_samples, n)


def apart(x: np.ndarray) -> np.ndarray:
    """Fields (S, T, n) as S n units of one site, (S n, T, 1)."""
    return x.swapaxes(1, 2).reshape(-1, x.shape[1], 1)

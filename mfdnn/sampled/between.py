"""Products of the gradients at one batch with those at another."""

from __future__ import annotations

import numpy as np

from ..jobs.watch import stop_if_asked
from .jacobian import Jacobian

__all__ = ["products_between"]

COLUMNS = 64  # gradients held at a time


def products_between(rows: Jacobian, columns: Jacobian) -> np.ndarray:
    """J J'^T (T C, T' C) in float64, rows and columns output by output.

    The two are of the same function, in the same units of its parameters.
    """
    if rows.one_by_one:
        return _from_factors(rows, columns)
    theta = np.empty((rows.size, columns.size))
    for start in range(0, columns.size, COLUMNS):
        part = np.arange(start, min(start + COLUMNS, columns.size))
        units = np.zeros((columns.size, part.size))
        units[part, np.arange(part.size)] = 1
        theta[:, part] = rows.push(columns.pull(units))
    return theta


def _from_factors(rows: Jacobian, columns: Jacobian) -> np.ndarray:
    """The same as a sum over layers of (h h'^T + 1) * (delta delta'^T)."""
    theta = np.zeros((rows.n_outputs, rows.n_samples, columns.n_outputs, columns.n_samples))
    here, there = (jacobian.factors(jacobian.linear.errors()) for jacobian in (rows, columns))
    for (h, delta, bias), (h_there, delta_there, _) in zip(here, there, strict=True):
        stop_if_asked()
        gram = h @ h_there.T + h.dtype.type(bias)
        for k, errors in enumerate(delta):
            for j, errors_there in enumerate(delta_there):
                theta[k, :, j] += gram * (errors @ errors_there.T)
    return theta.reshape(rows.size, columns.size)

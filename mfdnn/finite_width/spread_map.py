"""The relative spread of the largest eigenvalue over depth and width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from .._support.results import GridResult
from .._support.validation import listed, positive_integer, variance
from ..activations import Activation, activation
from ..architectures import mlp
from ..mean_field import MeanField
from .outliers import NoOutlier, law_of

__all__ = ["SpreadMap", "spread_map"]

STATUS = ("ok", "caution", "no outlier")
MOST_LAYERS = 1000  # of a network of a map: deeper ones take minutes each


@dataclass(frozen=True, repr=False, eq=False)
class SpreadMap(GridResult):
    r"""Relative spread of the largest Fisher eigenvalue on a grid of depths and widths.

    Attributes
    ----------
    depths : ndarray, shape (n_L,)
        L, weight layers.
    widths : ndarray, shape (n_M,)
        M, of the inputs and of every hidden layer.
    spread : ndarray, shape (n_L, n_M)
        Standard deviation over networks of the largest eigenvalue, over its mean; inf without an outlier.
    status : ndarray of str, shape (n_L, n_M)
        "ok"; "caution" where the law was not tested or is known to be off; "no outlier" where the largest eigenvalue
        belongs to the bulk and the law is void.
    activation : str
        Its label.
    sigma_w2, sigma_b2 : float
        Variances of the weights, times fan_in, and of the biases.
    n_samples, n_outputs : int
        T and C.
    """

    AXES: ClassVar = ("depths", "widths")

    depths: np.ndarray
    widths: np.ndarray
    spread: np.ndarray
    status: np.ndarray
    activation: str
    sigma_w2: float
    sigma_b2: float
    n_samples: int
    n_outputs: int

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Heat map with contours; see `mfdnn.plots.spread_map`."""
        from .. import plots

        return plots.spread_map(self, ax=ax, **options)


def spread_map(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    depths: Any,
    widths: Any,
    n_samples: int = 1000,
    n_outputs: int = 1,
) -> SpreadMap:
    r"""How uncertain the largest eigenvalue of one network is, over depth and width.

    `outlier_distribution` at every point of the grid, with Gaussian inputs of mean square 1. Of relu without
    biases the spread is about :math:`L / (2 \sqrt M)`: an early change of the signal's size changes every later layer.

    Parameters
    ----------
    phi : str, callable or Activation
        Of every hidden layer.
    sigma_w2, sigma_b2 : float
        Variances of the weights, times fan_in, and of the biases.
    depths : array_like of int, shape (n_L,)
        L >= 2.
    widths : array_like of int, shape (n_M,)
        M, of the inputs and of every hidden layer.
    n_samples, n_outputs : int
        T and C.

    Returns
    -------
    SpreadMap

    Raises
    ------
    ValueError
        Depths below 2, widths below 1, and what `outlier_distribution` raises for reasons other than narrowness.

    Examples
    --------
    >>> import mfdnn
    >>> found = mfdnn.spread_map("relu", 2.0, 0.0, depths=[4, 8], widths=[100, 400], n_samples=100)
    >>> found.spread.round(2)
    array([[0.21, 0.1 ],
           [0.43, 0.21]])
    >>> found.status.tolist()
    [['ok', 'ok'], ['caution', 'ok']]

    Notes
    -----
    Accuracy: that of `outlier_distribution`. Cost: its integrals once for every depth (10 to 20 ms a layer), then
    about 5 ms a point; with C > 1, 0.1 s a point.
    """
    act = activation(phi)
    sigma_w2, sigma_b2 = variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2)
    rows = [positive_integer("depths", depth, minimum=2, maximum=MOST_LAYERS) for depth in _several("depths", depths)]
    columns = [positive_integer("widths", width) for width in _several("widths", widths)]
    n_samples, n_outputs = positive_integer("n_samples", n_samples), positive_integer("n_outputs", n_outputs)
    shape = len(rows), len(columns)
    spread, status = np.full(shape, np.inf), np.full(shape, STATUS[2])
    for i, depth in enumerate(rows):
        for j, width in enumerate(columns):
            net = mlp([width] * depth + [n_outputs], act, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
            try:
                law = law_of(MeanField(net, n_samples))
            except NoOutlier:
                continue
            spread[i, j] = law.largest_standard_deviation / law.largest_mean
            status[i, j] = STATUS[1 if law.caution else 0]
    return SpreadMap(
        depths=np.array(rows),
        widths=np.array(columns),
        spread=spread,
        status=status,
        activation=act.label,
        sigma_w2=sigma_w2,
        sigma_b2=sigma_b2,
        n_samples=n_samples,
        n_outputs=n_outputs,
    )


def _several(name: str, value: Any) -> list:
    """One number, or a list of them."""
    return [value] if isinstance(value, Real) else listed(name, value, "for example [50, 100]")

"""The relative spread of the largest eigenvalue over depth and width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from math import prod
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from .._support.errors import NoTheory
from .._support.results import GridResult
from .._support.validation import finite_array, listed, positive_integer, short, variance
from ..activations import Activation, activation
from ..architectures import mlp
from ..mean_field import MeanField
from ..network import Network
from .outliers import NoOutlier, law_of

__all__ = ["SpreadMap", "spread_map"]

STATUS = ("ok", "caution", "no outlier", "no law")
MOST_LAYERS = 1000  # of a network of a map: deeper ones take minutes each


@dataclass(frozen=True, repr=False, eq=False)
class SpreadMap(GridResult):
    r"""Relative spread of the largest Fisher eigenvalue on a grid of depths and widths.

    Attributes
    ----------
    depths : ndarray, shape (n_L,)
        L, weight layers, or what an `architecture` takes for it.
    widths : ndarray, shape (n_M,)
        M, of every hidden layer (and of inputs that are not given).
    spread : ndarray, shape (n_L, n_M)
        Standard deviation over networks of the largest eigenvalue, over its mean; inf without a law.
    status : ndarray of str, shape (n_L, n_M)
        "ok"; "caution" where the law was not tested or is known to be off; "no outlier" where the largest eigenvalue
        belongs to the bulk and the law is void; "no law" where none is derived.
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
    *,
    architecture: Callable[..., Network] | None = None,
    inputs: np.ndarray | None = None,
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
        L >= 2; of an `architecture` >= 1, and whatever it makes of them.
    widths : array_like of int, shape (n_M,)
        M, of every hidden layer, and of the inputs where they are not given.
    n_samples, n_outputs : int
        T and C. T does not count for given inputs, C not for an `architecture`.
    architecture : callable, optional
        ``architecture(depth, width, activation=..., sigma_w2=..., sigma_b2=...)``, a Network. Default: a fully
        connected one.
    inputs : array_like, shape (T, M_0) or of the networks' `input_shape`, optional
        Given inputs, the same at every point.

    Returns
    -------
    SpreadMap

    Raises
    ------
    ValueError
        Depths below 2, widths below 1, networks that differ in their number of outputs; no law at any point; and what
        `outlier_distribution` raises other than that there is none.

    Examples
    --------
    >>> import mfdnn
    >>> found = mfdnn.spread_map("relu", 2.0, 0.0, depths=[4, 8], widths=[100, 400], n_samples=100)
    >>> found.spread.round(2)
    array([[0.21, 0.1 ],
           [0.43, 0.21]])
    >>> found.status.tolist()
    [['ok', 'ok'], ['caution', 'ok']]
    >>> def residual(depth, width, **layers):
    ...     return mfdnn.resnet([32, width, 1], depth, **layers)
    >>> found = mfdnn.spread_map("relu", 2.0, 0.1, [1, 2], [64, 256], n_samples=100, architecture=residual)
    >>> found.spread.shape
    (2, 2)

    Notes
    -----
    Accuracy: that of `outlier_distribution`. Cost: its integrals once for every depth (10 to 20 ms a layer), then
    about 5 ms a point; with C > 1, 0.1 s a point. Where units are sampled, a second a point, or some at sites.
    """
    act = activation(phi)
    layers: dict[str, Any] = {
        "activation": act,
        "sigma_w2": variance("sigma_w2", sigma_w2),
        "sigma_b2": variance("sigma_b2", sigma_b2),
    }
    least = 2 if architecture is None else 1
    rows = [
        positive_integer("depths", depth, minimum=least, maximum=MOST_LAYERS) for depth in _several("depths", depths)
    ]
    columns = [positive_integer("widths", width) for width in _several("widths", widths)]
    n_samples, n_outputs = positive_integer("n_samples", n_samples), positive_integer("n_outputs", n_outputs)
    first = () if inputs is None else finite_array("inputs", inputs, "an array (T, M_0)").shape[1:]

    def fully_connected(depth: int, width: int, **layers: Any) -> Network:
        return mlp([prod(first) if first else width, *[width] * (depth - 1), n_outputs], **layers)

    build = fully_connected if architecture is None else architecture
    if not callable(build):
        raise TypeError(
            "`architecture` must be a function of depth, width and keywords that returns a Network, got "
            f"{short(build)}; wrap mlp or resnet."
        )
    try:
        signature(build).bind(1, 1, **layers)
    except (TypeError, ValueError) as error:  # of another form, or without one that can be read
        raise TypeError(
            f"`architecture` must be a function of depth, width and the keywords {', '.join(layers)}, got "
            f"{short(build)} ({error}); take them as **layers, and pass them to mlp or resnet."
        ) from None
    nets = [[_network(build(depth, width, **layers)) for width in columns] for depth in rows]
    outputs = {net.n_outputs for row in nets for net in row}
    if len(outputs) > 1:
        raise ValueError(f"`architecture` must make networks of one number of outputs, got {short(sorted(outputs))}.")
    spread, status = np.full((len(rows), len(columns)), np.inf), np.full((len(rows), len(columns)), STATUS[2])
    for (i, j), _ in np.ndenumerate(spread):
        wide = MeanField(nets[i][j], None if inputs is not None else n_samples, inputs=inputs)
        try:
            law = law_of(wide)
        except NoOutlier:
            continue
        except NoTheory as error:
            status[i, j], reason = STATUS[3], error
            continue
        spread[i, j] = law.largest_standard_deviation / law.largest_mean
        status[i, j] = STATUS[1 if law.caution else 0]
    if np.all(status == STATUS[3]):
        raise reason
    return SpreadMap(
        depths=np.array(rows),
        widths=np.array(columns),
        spread=spread,
        status=status,
        activation=act.label,
        sigma_w2=layers["sigma_w2"],
        sigma_b2=layers["sigma_b2"],
        n_samples=wide.n_samples,
        n_outputs=outputs.pop(),
    )


def _several(name: str, value: Any) -> list:
    """One number, or a list of them."""
    found = [value] if isinstance(value, Real) else listed(name, value, "for example [50, 100]")
    if not len(found):
        raise ValueError(f"`{name}` must have an entry, got none; pass for example [50, 100].")
    return found


def _network(net: Any) -> Network:
    if not isinstance(net, Network):
        raise TypeError(
            f"`architecture` must return a Network, got {type(net).__name__}; build one with mlp or resnet."
        )
    return net

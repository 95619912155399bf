"""Whether the largest eigenvalue of the Fisher information stands clear of others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..mean_field.moments import OrderParameters
from ..network import Network
from .parts import kernel

__all__ = ["OutlierCriterion", "few_channels", "outlier_caution", "outlier_criterion", "smallest_width"]

FEW_CHANNELS = 16

_CAUTION = (
    "No eigenvalue stands out (n_samples * kappa_2 <= kappa_1): `largest` is the infinite-width value of a "
    "bulk, right for n_samples much smaller than the widths; the true edge is several times larger where "
    "they are comparable."
)
_NARROW = (
    "No eigenvalue stands clear of the bulk at this width (kappa_1 / (2 kappa_2) + 5 L / 4 exceeds a third of "
    "the smallest width): `largest` is the infinite-width value, and that of a finite network may be several "
    "times larger."
)


class OutlierCriterion(NamedTuple):
    """Whether an eigenvalue stands clear of the bulk, and the numbers that tell.

    Numbers, or arrays of the common shape of `q0` and `c0`.

    Attributes
    ----------
    c : float or ndarray
        The 1/M correction of the outlier is c / M, as a fraction of it.
    shared : bool or ndarray of bool
        Whether T kappa_2 > kappa_1 (or T = 1): above the bulk at infinite width.
    wide : bool or ndarray of bool
        Whether c / M < 1/3: above the bulk at this width.
    """

    c: np.ndarray
    shared: np.ndarray
    wide: np.ndarray

    @property
    def clear(self) -> np.ndarray:
        """Whether it is above the bulk, at infinite width and at this one."""
        return self.shared & self.wide


def outlier_criterion(op: OrderParameters, n_samples: int) -> OutlierCriterion:
    r"""Whether T kappa_2 > kappa_1 and c/M < 1/3, with c = kappa_1/(2 kappa_2) + 5 L/4.

    M is the smallest width that theory takes for infinite. The form of c is that of the 1/M expansion; its
    numbers, and the third, are round ones that cover the simulations behind `mfdnn.compare`.

    Parameters
    ----------
    op : OrderParameters
    n_samples : int
        T.

    Returns
    -------
    OutlierCriterion
    """
    one, two = kernel(op, leading=True).averages()
    if op.per_input and op._products:  # averages of products, which the simulations took for products of averages
        one, two = (
            np.sum(op.fan_in * op.averaged(f"q_hat{pair}") * op.averaged(f"q_tilde{pair}")) for pair in ("", "_st")
        )
    if n_samples == 1:  # the kernel is its diagonal
        two = one
    ratio = np.divide(one, two, out=np.full(np.shape(one), np.inf), where=two > 0)
    c = ratio / 2 + 1.25 * len(op.q)
    return OutlierCriterion(c, (n_samples > ratio) | (n_samples == 1), c / smallest_width(op) < 1 / 3)


def outlier_caution(op: OrderParameters, n_samples: int) -> str:
    """What to know before the predicted largest eigenvalue is used.

    Empty where it stands clear of the bulk.
    """
    if n_samples == 1 or len(op.q) == 1:  # one layer: it is the edge of the bulk itself
        return ""
    outlier = outlier_criterion(op, n_samples)
    if not np.all(outlier.shared):
        return _CAUTION
    return "" if np.all(outlier.wide) else _NARROW


def few_channels(net: Network) -> str:
    """What to know before theory of many channels is used for this network."""
    said = []
    left = [layer.output_shape(shape) for layer, shape in net.weight_layers]
    channels = [shape[0] for shape in left if len(shape) > 1]
    if min(channels, default=FEW_CHANNELS) < FEW_CHANNELS:
        said.append(
            f"Theory is of many channels, and one layer has {min(channels)}: single networks scatter widely around it, "
            "and are not centred on it."
        )
    groups = [
        shape[0] // layer.groups for layer, shape in net.weight_layers[1:] if getattr(layer, "groups", 1) > 1
    ]
    if min(groups, default=FEW_CHANNELS) < FEW_CHANNELS:
        said.append(
            f"Theory is of many channels a group, and one layer reads {min(groups)}: single networks are not centred "
            "on it."
        )
    return " ".join(said)


def smallest_width(op: OrderParameters) -> int:
    """M, the smallest width that theory takes for infinite.

    The width of given inputs does not count: theory knows them.
    """
    return int(min(op.fan_in[1:] if op.per_input and len(op.fan_in) > 1 else op.fan_in))

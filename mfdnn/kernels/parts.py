"""The T x T kernel of a wide network, and what eigenvalue statistics need of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..layers import Pairs, Sums, Tangents
from ..layers.pairs import DENSE_UP_TO
from ..mean_field.moments import OrderParameters

__all__ = ["DENSE_UP_TO", "Sums", "first_block_edge", "kernel", "kernel_of"]

PARTS = ("weights",), ("biases",), ("others",)


def kernel(op: OrderParameters, layers: Any = None, leading: bool = False) -> Pairs:
    """Theta of one output: of all parameters, or of some.

    Of the weights and biases of some weight `layers`, or of all weights without biases (`leading`).
    """
    assert op._tangents is not None  # a private field: all that make order parameters set it
    return kernel_of(op._tangents, layers, leading)


def kernel_of(tangents: Tangents, layers: Any = None, leading: bool = False) -> Pairs:
    """The same of tangents at the outputs."""
    names = PARTS[: 1 if leading else 3] if layers is None else [("layer", l) for l in layers]
    found = tangents.total(*names)
    assert found is not None  # there are weights
    return found


def first_block_edge(
    op: OrderParameters, block: Sums, n_samples: int, centred: bool = False, units: tuple[float, float] | None = None
) -> np.ndarray:
    r"""Largest eigenvalue of the block of the first weight layer.

    It sees the random inputs themselves: Theta_st = q~_st (x_s . x_t + 1) for s != t. The matrix X X^T / T of
    independent Gaussian inputs has a Marchenko-Pastur bulk, of resolvent g(z) with z = 1/g + n r / (1 - n g), n the
    variance of what inputs do not share and r = M_0/T. Their common part, of squared norm `theta`, is a signal in the
    noise (x = common + noise, and cross terms count); the bias b is a rank-one term that is added. Along the same
    vector they have the secular equation g (b + theta / (1 - n g)) = 1, whose eigenvalue leaves the bulk if 1/g > n
    (1 + sqrt(r)). Without bias this is z = (theta + n)(theta + r n)/theta (Benaych-Georges & Nadakuditi 2012,
    arXiv:1103.2221), without common part 1/g = b. `units`: squared, of weights and of biases.
    """
    if op.per_input or n_samples == 1:
        return block.top
    weight, bias = (1.0, float(op.bias[0])) if units is None else units
    ratio = op.fan_in[0] / n_samples
    noise = weight * (op.q_hat[0] - op.q_hat_st[0])
    common = weight * op.fan_in[0] * op.q_hat_st[0]
    if centred:  # by a layer that takes away what inputs share
        common = np.zeros_like(noise)
    # Negative correlation takes from the bias direction instead.
    added = bias * (not centred)
    added, common = np.maximum(added + np.minimum(common, 0.0), 0.0), np.maximum(common, 0.0)
    total = added + common + noise
    root = np.sqrt(np.maximum(total**2 - 4 * noise * added, 0.0))  # below 0 by rounding alone
    inverse = (total + root) / 2  # 1/g
    outside = inverse > noise * (1 + np.sqrt(ratio))
    gap = np.where(outside, inverse - noise, 1.0)
    z = np.where(outside, inverse + ratio * noise * inverse / gap, noise * (1 + np.sqrt(ratio)) ** 2)
    diagonal = (op.q_tilde[0] - op.q_tilde_st[0]) * (weight * op.fan_in[0] * op.q_hat[0] + bias) / n_samples
    return np.maximum(block.top, op.q_tilde_st[0] * z + diagonal)

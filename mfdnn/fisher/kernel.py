"""The T x T kernel of a wide network, and what the eigenvalue statistics need of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..layers import Tangent
from ..order_parameters import OrderParameters

__all__ = ["DENSE_UP_TO", "Sums", "first_block_edge", "kernel", "sums", "sums_of", "top_eigenvalue"]

DENSE_UP_TO = 512  # inputs: above, Lanczos for the top eigenvalue beats a full eigenvalue decomposition


class Sums(NamedTuple):
    """What the statistics need of a kernel Theta (T x T)."""

    diagonal: Any  # mean of its diagonal: A_1
    off_diagonal: Any  # mean of the rest: A_2
    square: Any  # ||Theta||_F^2 / T^2
    top: Any  # largest eigenvalue of Theta / T


def sums(op: OrderParameters, layers: Any, n_samples: int, leading: bool = False) -> Sums:
    """Of some weight layers, or of everything (`layers` None); `leading`: without bias gradients and eigenvalues."""
    return sums_of(*kernel(op, layers, bias=not leading), op.per_input, n_samples, leading)


def sums_of(one: Any, two: Any, per_input: bool, n_samples: int, leading: bool = False) -> Sums:
    """Of a kernel at one input and at two: (T,) and (T, T) if `per_input`."""
    if per_input:
        total = two.sum()
        diagonal = one.mean()
        rest = (total - one.sum()) / (n_samples * (n_samples - 1)) if n_samples > 1 else diagonal
        largest = total / n_samples**2 if leading else top_eigenvalue(two) / n_samples
        return Sums(diagonal, rest, np.vdot(two, two) / n_samples**2, largest)
    # Two different eigenvalues: of the constant vector, and of everything orthogonal to it.
    common, others = (one + (n_samples - 1) * two) / n_samples, (one - two) / n_samples
    largest = np.maximum(common, others) if n_samples > 1 else one
    return Sums(one, two, (one**2 + (n_samples - 1) * two**2) / n_samples, largest)


def kernel(op: OrderParameters, layers: Any, bias: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Theta of one output at one input and at two, summed over `layers`: (T,) and (T, T) for given inputs."""
    one, two = np.zeros(op.q.shape[1:]), np.zeros(op.q_st.shape[1:])
    if op._tangents is not None:
        for tangent in _selected(op._tangents, layers, bias):
            one, two = one + tangent.one, two + tangent.two
        return one, two
    if layers is None and bias:
        one, two = one + op._others[0], two + op._others[1]
    for l in range(len(op.q)) if layers is None else layers:
        extra = float(bias and op.bias[l])
        one = one + op.q_tilde[l] * (op.fan_in[l] * op.q_hat[l] + extra)
        two += op.q_tilde_st[l] * (op.fan_in[l] * op.q_hat_st[l] + extra)
    return one, two


def _selected(tangents: Sequence[Tangent], layers: Any, bias: bool) -> Iterator[Tangent]:
    """Those of weights, with or without biases, of some weight layers, or of all and whatever else there is."""
    layer = -1
    for tangent in tangents:
        layer += tangent.source == "weights"
        wanted = layers is None if tangent.source == "others" else layers is None or layer in layers
        if wanted and (bias or tangent.source == "weights"):
            yield tangent


def first_block_edge(
    op: OrderParameters,
    block: Sums,
    n_samples: int,
    centred: bool = False,
    units: tuple[float, float] | None = None,
) -> np.ndarray:
    r"""Largest eigenvalue of the block of the first weight layer, which sees the random inputs themselves.

    Theta_st = q~_st (x_s . x_t + 1) for s != t. The matrix X X^T / T of independent Gaussian inputs has a
    Marchenko-Pastur bulk, of resolvent g(z) with z = 1/g + n r / (1 - n g), n the variance of what inputs do
    not share and r = M_0/T. Their common part, of squared norm `theta`, is a signal in the noise (x = common +
    noise, and cross terms count); the bias b is a rank-one term that is added. Along the same vector they
    have the secular equation g (b + theta / (1 - n g)) = 1, whose eigenvalue leaves the bulk if
    1/g > n (1 + sqrt(r)). Without bias this is z = (theta + n)(theta + r n)/theta (Benaych-Georges &
    Nadakuditi 2012, arXiv:1103.2221), without common part 1/g = b. `units`: squared, of weights and of biases.
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


def top_eigenvalue(matrix: np.ndarray) -> np.ndarray:
    """The largest eigenvalue of a symmetric matrix."""
    n = len(matrix)
    if n <= DENSE_UP_TO:
        from scipy.linalg import eigvalsh

        return eigvalsh(matrix, subset_by_index=[n - 1, n - 1])[0]
    from scipy.sparse.linalg import eigsh

    # A fixed start makes the result reproducible; a random one has a component along the top eigenvector.
    start = np.random.default_rng(0).standard_normal(n)
    return eigsh(matrix, k=1, which="LA", v0=start, return_eigenvectors=False)[0]

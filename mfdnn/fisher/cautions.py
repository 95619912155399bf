"""What to know before the eigenvalue statistics of a Fisher information are used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.outlier import few_channels, outlier_caution, outlier_criterion, smallest_width
from ..kernels.parts import kernel
from ..mean_field.moments import OrderParameters
from ..network import Network

__all__ = ["chance_overlaps", "goe_top", "of_largest", "of_second_moment", "of_softmax", "splitting"]

# Mean top eigenvalue of a C x C Gaussian orthogonal matrix with off-diagonal entries of variance 1, by sampling;
# beyond, its large-C form with one coefficient fitted to C = 6..40 (0.3 %).
GOE_TOP = {1: 0.0, 2: np.sqrt(np.pi / 2), 3: 2.072, 4: 2.718, 5: 3.265}
TRACY_WIDOM_MEAN = -1.2065336  # of the top of real symmetric matrices (beta = 1)
# Fractions of a number from which what it leaves out is worth a sentence.
SPLIT, OVERLAPS, SOFTMAX = 0.1, 0.25, 0.05

DEGENERATE = 0.7  # second eigenvalue over the first: above, single networks are not centred on the first
HEAVY = (
    "Layer norm of five outputs or fewer: 1/sigma^2 has no variance (three: no mean), so that samples with almost "
    "equal outputs dominate and `second_moment` and `largest` depend on the draw."
)


def of_largest(op: OrderParameters, net: Network, n_samples: int) -> str:
    """What to know before `largest` of linear outputs is used."""
    said = [outlier_caution(op, n_samples)]
    more = splitting(op, n_samples, net.n_outputs)
    if not said[0] and np.any(more > SPLIT):
        law = "`mfdnn.finite_width.outlier_distribution` has their law"
        if len(net.input_shape) > 1:
            law = "`mfdnn.ensemble` measures them"
        said.append(
            f"The {net.n_outputs} outliers of a network of these widths split: the largest of them lies about "
            f"{np.max(more):.0%} above `largest`, their common value at infinite width ({law})."
        )
    said.append(few_channels(net))
    return " ".join(filter(None, said))


def of_second_moment(overlaps: Any, square: Any) -> str:
    """What to know before tr F^2 = `square`, which leaves `overlaps` out, is used."""
    share = np.divide(overlaps, square, out=np.zeros(np.shape(square)), where=np.greater(square, 0))
    if not np.any(share > OVERLAPS):
        return ""
    return (
        f"Chance overlaps of inputs and of units, which `second_moment` leaves out, add about {np.max(share):.0%} to "
        "it at this number of samples and these widths (for fully connected networks with linear outputs "
        "`mfdnn.finite_width.traces.fisher_traces` has them)."
    )


def of_ratio(ratio: Any) -> str:
    """What to know before `largest` is used if the second eigenvalue is near it."""
    if not np.any(np.greater(ratio, DEGENERATE)):
        return ""
    return (
        f"The second eigenvalue of the tangent kernel is {np.max(ratio):.0%} of the largest: that of a single network "
        "lies above `largest`, by several percent at some hundred units (`mfdnn.ensemble` measures it)."
    )


def of_softmax(op: OrderParameters, n_samples: int, n_outputs: int) -> str:
    """What to know before `largest` of a softmax is used."""
    said = outlier_caution(op, n_samples)
    raised = float(outlier_criterion(op, n_samples).c) / smallest_width(op)
    raised += float(splitting(op, n_samples, n_outputs - 1))
    if said or len(op.q) == 1 or raised <= SOFTMAX:
        return said
    return (
        f"At these widths `largest` is up to about {raised:.0%} higher on average over networks, and scatters over "
        "them (`spread`)."
    )


def splitting(op: OrderParameters, n_samples: int, n_outputs: int) -> Any:
    r"""Relative excess of the largest of C outliers over their mean; shape S.

    The gradients of two outputs overlap with relative variance :math:`b = \sum_{l=1}^{L-1} 3 s_l^2/(2 M_l)`,
    :math:`s_l` the share of `largest` from weight layers up to l, and the outliers are those of 1 plus
    :math:`\sqrt b` times a Gaussian orthogonal matrix. The 3/2 is a round one: for tanh, softsign, relu and gelu the
    excess is within a fifth of that of `outlier_distribution` up to 0.3, and up to 30 % lower at 1. Of several sites
    :math:`M_l` counts channels.
    """
    weights = np.array([1 / n_samples, 1 - 1 / n_samples])
    shares = [np.tensordot(weights, kernel(op, [l]).averages(), 1) for l in range(len(op.q))]
    reached = np.cumsum(shares, axis=0)
    reached = np.divide(reached, reached[-1], out=np.zeros_like(reached), where=reached[-1] > 0)
    return goe_top(n_outputs) * np.sqrt(1.5 * np.tensordot(1 / op.fan_out[:-1], reached[:-1] ** 2, 1))


def goe_top(n: int) -> float:
    """Mean top of an n x n Gaussian orthogonal matrix, of variance 1 off its diagonal."""
    if n in GOE_TOP:
        return GOE_TOP[n]
    return 2 * np.sqrt(n) + TRACY_WIDOM_MEAN * n ** (-1 / 6) - 0.6 / np.sqrt(n)


def chance_overlaps(op: OrderParameters, n_samples: int) -> Any:
    r"""What chance overlaps add to tr F^2 of one output on average; shape S.

    What two inputs do not share in layer l overlaps by chance, by :math:`M_l^{-1/2}` of itself, and all T^2 such
    products count:

    .. math::
        \Big(1 - \frac1T\Big) \sum_{l<L} \frac{B_l^2}{M_l}, \qquad
        B_l = \sum_{j>l} M_{j-1} (\hat q^{j-1} - \hat q_{st}^{j-1})\, \tilde q_{st}^j,

    as if later layers passed all of it on: right for linear networks. Of other ones it is 0.7 to 1.7 times what the
    1/M expansion has (tanh, erf, softsign, relu, gelu; L = 2 to 5, T/M from 0.2 to 3, centred outputs or not), where it
    is a quarter of tr F^2 or more. Given inputs overlap as they do, and do not count.
    """
    one, two = (op.averaged(name) for name in ("q_hat", "q_hat_st"))
    widths = op.fan_in.reshape(-1, *[1] * (one.ndim - 1))
    later = np.cumsum((widths * (one - two) * op.averaged("q_tilde_st"))[::-1], axis=0)[::-1]
    births = later**2 / widths
    return (1 - 1 / n_samples) * births[int(op.per_input) :].sum(axis=0)

"""Eigenvalue statistics of the Fisher information matrix of a random network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, Literal, overload

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from .._support.results import unwrap
from .._support.validation import one_of
from ..kernels.parts import Sums, first_block_edge, kernel, kernel_of
from ..layers.pairs import NeedsAllPairs
from ..mean_field import MeanField, as_mean_field
from ..mean_field.runs import standard_errors
from ..network import Network
from . import cautions
from .cross_entropy import SoftmaxStatistics, softmax_statistics
from .many_inputs import largest_of_layer, order_parameters_of_many
from .normalised import describe, refuse_softmax
from .result import BlockStatistics, FisherStatistics, LaterBlock

__all__ = ["BlockStatistics", "FisherStatistics", "fisher_statistics"]

SAMPLED = (
    *("kappa_1", "kappa_2", "mean", "second_moment", "largest", "bulk"),
    *("mean_leading", "second_moment_leading", "largest_leading"),
)


@overload
def fisher_statistics(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: np.ndarray | None = None,
    output: Literal["linear"] = "linear",
) -> FisherStatistics: ...
@overload
def fisher_statistics(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: np.ndarray | None = None,
    output: Literal["softmax"],
) -> SoftmaxStatistics: ...
def fisher_statistics(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: np.ndarray | None = None,
    output: str = "linear",
) -> FisherStatistics | SoftmaxStatistics:
    r"""Mean, second moment and largest eigenvalue of the Fisher information.

    The non-zero eigenvalues of F are those of :math:`\Theta \otimes I_C / T`. For exchangeable inputs the
    T x T kernel :math:`\Theta` has :math:`A_1` on its diagonal and :math:`A_2` elsewhere, so that

    .. math::
        m_\lambda = \frac{C A_1}{P}, \qquad
        s_\lambda = \frac CP \left(\frac{A_1^2}{T} + \frac{T-1}{T} A_2^2\right), \qquad
        \lambda_{max} = \frac{A_1 + (T-1) A_2}{T},

    with :math:`A_1 = \sum_l \tilde q^l (M_{l-1} \hat q^{l-1} + 1)`, :math:`A_2` the same of
    :math:`\tilde q_{st}^l, \hat q_{st}^{l-1}`, and the 1 only for layers with bias parameters.

    Parameters
    ----------
    net : Network or MeanField
        With linear outputs. Or one with its data, without others.
    n_samples : int, optional
        T, the number of inputs. Default: 1000.
    q0, c0 : float or array_like, optional
        Mean square of the inputs and correlation of two of them, as in `order_parameters`. Default: 1 and 0.
    inputs : array_like, shape (T, M_0), optional
        Given inputs: :math:`\Theta` is then the analytic kernel of these data. They determine T, and
        exclude `q0` and `c0`.
    output : {"linear", "softmax"}
        What the loss makes of the outputs: nothing (squared errors), or class probabilities (cross-entropy).

    Returns
    -------
    FisherStatistics
        With "softmax" a `mfdnn.fisher.SoftmaxStatistics` instead, those of `mfdnn.fisher.softmax_statistics` for
        outputs drawn from their law, with its defaults.

    Raises
    ------
    ValueError
        `n_samples` < 1, or another than the rows of `inputs`; `c0` < -1/(T - 1), which no T inputs have; layers
        of one's own without a law (`NoTheory`); two normalisations of the outputs; a softmax
        of one output, of normalised ones, or for several `q0` or `c0`; and what `order_parameters` raises.
    TypeError
        `n_samples` is not an integer, `net` not a network.
    MemoryError
        The kernels of given inputs do not fit; of many of them, half of one.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([1000, 1000, 1000, 1], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> fim = mfdnn.fisher_statistics(net, n_samples=100)
    >>> fim
    FisherStatistics(mean=0.00157414, second_moment=0.369869, largest=828.411, T=100, C=1, P=2003001)
    >>> round(fim.kappa_1, 6), round(fim.kappa_2, 6), fim.alpha
    (1.575, 0.401494, 2.0)
    >>> round(fim.largest_leading, 3)
    826.459

    Notes ----- Accuracy at finite width: `mean` within sampling error (1 % at M = 300). `largest` lies below the mean
    of the C outliers by O(1/M) of it, 1 to 5 % at M = 300 (L = 3 to 6), and below the largest of ten by 10 to 41 %
    there, as the outliers split by O(sqrt(M)): `mfdnn.finite_width.outlier_distribution` has both. `second_moment`
    leaves out what chance overlaps of inputs and units add to all T^2 products, T/M times the square of `mean` in
    order: nothing beside an outlier (6 % for tanh, 25 % for linear networks at M = 300, T = 100), as much as itself at
    T = M where nothing stands out or the outputs are centred. `caution` says from where on it matters. The Gaussian
    integrals behind all of them are good to 1e-10.

    Normalisation in hidden layers keeps `largest` of order M, at least that of the last block: the kernel of the
    parameters below a batch norm is centred.

    Mean subtraction or batch norm of the outputs takes the mean gradient away, and with it the eigenvalues of
    order M. `largest` is then the edge of the bulk by `mfdnn.centred_edge`, where it applies, which
    takes seconds; else the value for T much smaller than the widths (`caution`). `kappa_1` and `kappa_2` are those of
    the outputs before, divided by :math:`q^L - q_{st}^L` for batch norm; its `mean` has the factor
    (T - 2)/(T - 3), from :math:`E[1/\sigma^2]` at finite T. Of given inputs, `mean`, `second_moment` and `largest`
    average over 32 outputs drawn from their Gaussian law, held to the known means of
    :math:`\sigma^{-2}` and :math:`\sigma^{-4}`: 1 % (`largest` of several outputs: 7 %).

    Layer norm of C outputs leaves the order M. With :math:`f = (u - \bar u)/\sigma` and
    :math:`Q_t = I - (1 1^T + z_t z_t^T)/C` the dual of F has the blocks
    :math:`Q_s Q_t \Theta_{st}/(\sigma_s \sigma_t T)`; `mean` has the factor :math:`(C - 2)\,E[\sigma^{-2}]/C`,
    :math:`E[\sigma^{-2}] = C/((C - 3)\,q^L)` without eps. The others average over 32 draws of all outputs, for C > 5
    held to the known means of :math:`\sigma^{-2}` and :math:`\sigma^{-4}`: at C = 10 `largest` is good to 0.4 %,
    `second_moment` to 3 %.
    :math:`\sigma^{-2}` is heavy-tailed for few outputs: no mean at C = 3, no variance up to C = 5.

    The first block sees the random inputs themselves. With `c0` = 0 its largest eigenvalue is a
    Marchenko-Pastur edge, for independent Gaussian input units, which the formula above does not contain.
    `largest` is never below that of a block (interlacing); for one weight layer, linear regression, it is
    this edge.

    Batch norm of hidden layers, the maximum of windows and activations behind a sum have no closed form: units are
    sampled then (`mfdnn.MeanField`), and `standard_error` has the error of every number, a few tenths of a percent.

    Cost: milliseconds; for T given inputs that of `order_parameters`, and O(T^2) per Lanczos step and layer. Where
    their kernels would take more than 4 GiB (some 3000 inputs in five layers) they are summed tile by tile: 4.5 T^2
    bytes, 1.8 GB for T = 20 000, and one pass over all pairs. The result then says `summed`, its `order_parameters`
    hold averages over pairs, and `largest` of a layer takes another pass when it is asked for.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean
    field approach", arXiv:1806.01316. The blocks: the same authors 2021, "Pathological spectra of the Fisher
    information metric and its variants in deep neural networks", arXiv:1910.05992. Exact widths, bias
    gradients and the first block's edge are derived for this package; its tests hold them against simulation.
    Normalisation: the same authors 2019, "The normalization method for alleviating pathological sharpness in wide
    neural networks", arXiv:1906.02926; its finite-T forms are derived for this package.
    """
    one_of("output", output, ("linear", "softmax"))
    wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
    if output == "softmax":  # of all pairs, however many
        refuse_softmax(wide.network)
        return wide.once("softmax", lambda: softmax_statistics(_whole(wide)))
    return wide.once("fisher", lambda: _found(wide))


def _found(wide: MeanField) -> FisherStatistics:
    if wide.many:
        with suppress(NeedsAllPairs, NoTheory):  # units are sampled, all inputs at once
            return _statistics(wide, many=True)
    return _whole(wide)


def _whole(wide: MeanField) -> FisherStatistics:
    return wide.once("fisher of all", lambda: _with_errors(wide, _statistics(wide)))


def _with_errors(wide: MeanField, found: FisherStatistics) -> FisherStatistics:
    """With the standard errors of what rests on sampled units."""
    if not wide.sampled:
        return found
    return replace(found, standard_error=standard_errors(map(_statistics, wide.without_one_run()), SAMPLED))


@np.errstate(over="ignore", invalid="ignore")  # overflow is reported in one sentence
def _statistics(wide: MeanField, many: bool = False) -> FisherStatistics:
    net, law = wide.network, wide.output_law
    op, n_samples = order_parameters_of_many(wide) if many else wide.order_parameters, wide.n_samples
    n_outputs = net.n_outputs

    def sums_of(layers: Any = None, leading: bool = False) -> Sums:
        behind = kernel(op, layers, leading)
        if law is None:
            return behind.sums(leading)
        before = kernel_of(wide.tangents_before, layers, leading)
        return law.sums(before, behind, leading, own=layers is None and not leading)

    width = float(op.fan_in.mean())
    hidden_weights = int((op.fan_in[:-1] * op.fan_out[:-1]).sum())
    leading_size = hidden_weights or int(op.fan_in[0] * op.fan_out[0])
    leading = sums_of(leading=True)
    refined = sums_of()
    # Of the kernel before the outputs are normalised.
    before = leading if law is None else kernel_of(wide.tangents_before, leading=True).sums(leading=True)
    blocks: list[BlockStatistics] = []
    for layer, (weights, shape) in enumerate(net.weight_layers):
        block = sums_of([layer])
        size = sum(prod(own) for own in weights.parameter_shapes(shape) if own is not None)
        known = {
            "mean": unwrap(n_outputs * block.diagonal / size),
            "second_moment": unwrap(n_outputs * block.square / size),
            "n_parameters": size,
            "fan_in": int(op.fan_in[layer]),
            "fan_out": int(op.fan_out[layer]),
        }
        if many:  # it takes a pass over all pairs
            blocks.append(LaterBlock(partial(_largest_of_layer, wide, layer), **known))
            continue
        # The edge is that of outputs which no layer mixes.
        first = layer == 0 and weights.fully_connected and (law is None or bool(law.edge))
        largest = first_block_edge(op, block, n_samples, net.couples_samples) if first else block.top
        blocks.append(BlockStatistics(largest=unwrap(largest), **known))
    # Of given inputs no block exceeds the whole.
    largest = refined.top if many else np.max([refined.top, *(block.largest for block in blocks)], axis=0)
    n_outliers, normalised = n_outputs, None
    bulk = np.maximum(refined.diagonal - refined.top, 0.0) / max(n_samples - 1, 1)
    if law is not None:
        n_outliers, bulk = law.n_outliers(n_outputs), law.bulk(refined, n_samples)
        if law.edge:
            normalised = describe(law, wide, before, width, sharp=not wide.given and not np.shape(largest))
            if normalised.edge_largest is not None:  # the gains of batch norm add eigenvalues 1
                largest = max(normalised.edge_largest, law.own_eigenvalue)
    if not (np.all(np.isfinite(largest)) and np.all(np.isfinite(refined.square))):
        raise OutOfRange("the second moment of the Fisher eigenvalues is infinite", wide.advice)
    scale = 1.0 if normalised is None else normalised.scale
    if law is None:
        said = cautions.of_largest(op, net, n_samples)
    else:
        said = cautions.HEAVY if law.heavy else ""
    # Not derived for outputs that a layer mixes, nor for signals with several sites.
    derived = (law is None or law.edge) and all(prod(shape[1:]) == 1 for _, shape in net.weight_layers)
    overlaps = cautions.chance_overlaps(op, n_samples) if derived else 0.0
    return FisherStatistics(
        kappa_1=unwrap(_kappa(scale * before.diagonal, width, hidden_weights)),
        kappa_2=unwrap(_kappa(scale * before.off_diagonal, width, hidden_weights)),
        alpha=hidden_weights / width**2,
        width=width,
        mean=unwrap(n_outputs * refined.diagonal / net.n_parameters),
        second_moment=unwrap(n_outputs * refined.square / net.n_parameters),
        largest=unwrap(largest),
        bulk=unwrap(bulk),
        n_outliers=n_outliers,
        mean_leading=unwrap(n_outputs * leading.diagonal / leading_size),
        second_moment_leading=unwrap(n_outputs * leading.square / leading_size),
        largest_leading=unwrap(leading.top),
        layers=tuple(blocks),
        n_parameters=net.n_parameters,
        n_samples=n_samples,
        n_outputs=n_outputs,
        order_parameters=op,
        output_normalisation=normalised,
        normalised_by="" if law is None else law.kind,
        _of_largest=said,
        _overlaps=overlaps,
    )


def _largest_of_layer(wide: MeanField, layer: int) -> float:
    assert wide.inputs is not None
    return largest_of_layer(wide.network, wide.inputs, layer) / wide.n_samples


def _kappa(total: np.ndarray, width: float, hidden_weights: int) -> np.ndarray:
    if hidden_weights:
        return total * width / hidden_weights
    return np.where(total != 0, np.copysign(np.inf, total), 0.0)

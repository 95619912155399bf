"""The largest Fisher eigenvalue of centred outputs, T and widths comparable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._support.blas import single_blas_thread
from ..._support.errors import NoTheory
from ..._support.results import Result
from ..._support.validation import one_of, sample_count, variance
from ...activations import Activation, activation
from ...layers import Dense, Keep, read_chain
from ...mean_field import MeanField, as_mean_field
from ...mean_field.moments import OrderParameters
from ...network import Network
from ..cautions import TRACY_WIDOM_MEAN, goe_top
from .equivalent import Equivalent, Point, neurons
from .modes import crossing

__all__ = ["CentredEdge", "centred_edge", "edge_of"]

TRACY_WIDOM_SD = 1.2680340  # of the top of real symmetric matrices (beta = 1)
# Mean of the top eigenvalue where an outlier is near. Beyond the edge (X* > X): less the mean of the Tracy-Widom law;
# below it: less that mean and ((X* - X)/dX)^2. In units of the law's scale, at places (X* - X)/dX, z(X + dX) - z(X)
# being that scale to second order. From draws of the stochastic Airy operator with a spike (Bloemendal & Virag 2013,
# arXiv:1011.1877; beta = 1), standard errors up to 0.018.
PLACES = np.array([-3, -2.5, -2, -1.5, -1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15])
CROSSOVER = np.array(
    [
        *[1.008, 1.169, 1.317, 1.452, 1.538, 1.538, 1.494, 1.394, 1.224, 1.039, 0.890, 0.771, 0.674],
        *[0.529, 0.428, 0.357, 0.304, 0.232, 0.186, 0.132, 0.090, 0.057],
    ]
)
# Where simulations were made: M/T, C, and M/C.
RATIOS = {"mean": (1 / 8, 80.0), "batch": (1 / 2, 4.0)}
OUTPUTS, WIDTH_PER_OUTPUT, DEPTH = 3, 30, 10
LEAST_SAMPLES = {"mean": 2, "batch": 51}  # batch: sigma_k^2 of 50 samples scatters too much
REFUSAL = (
    "`net` must alternate `Dense` and `Pointwise` layers, got {layer}; the largest eigenvalue of other networks is "
    "known from simulation only (`mfdnn.ensemble`)."
)


@dataclass(frozen=True, repr=False, eq=False)
class CentredEdge(Result):
    r"""Largest Fisher eigenvalue of outputs less their mean over the samples.

    Outputs are :math:`\bar f_k(t) = f_k(t) - \frac1T \sum_s f_k(s)`, over their standard deviation if "batch".

    Attributes
    ----------
    largest : float
        What one draw of the network has on average: (`finite` + `excess`) with mean subtraction, `finite` /
        `divisor` with batch normalisation.
    limit : float
        As T and all widths grow in proportion, C fixed, of mean subtraction: the larger of `edge` and `outlier`.
    edge : float
        The upper edge of the bulk.
    outlier : float or None
        An eigenvalue outside the bulk, where there is one.
    finite : float
        Of one output at this size, in mean: `outlier`, or else `edge` + `shift`, plus `crossover`, less 1/`resolvent`
        (T inputs have T - 1 directions once their mean is subtracted).
    shift : float
        Mean of the edge's Tracy-Widom law at this T (negative).
    crossover : float
        What edge and outlier add to each other's mean where they are near: with an `outlier`, or with one that is about
        to leave the bulk. 0 where there is neither.
    excess : float
        What the random splitting of C > 1 outputs adds to the mean of the largest; 0 for C = 1.
    spread : float or None
        Standard deviation of `largest` over networks, by the formula of one output: Tracy-Widom law and random
        gains of the layers. None for batch normalisation, of which it is not known.
    divisor : float
        Of batch normalisation :math:`q^L - q_{st}^L`, the variance over samples of an output; else 1.
    resolvent : float
        :math:`X = \mathrm{tr}\,(z - A)^{-1}` at the edge.
    norm : {"mean", "batch"}
        What was done to the outputs.
    caution : str
        Where this leaves what was checked, or is known to be off; empty if nowhere.
    widths : tuple of int
        M_0, ..., M_{L-1}.
    n_samples, n_outputs : int
        T and C.
    """

    largest: float
    limit: float
    edge: float
    outlier: float | None
    finite: float
    shift: float
    crossover: float
    excess: float
    spread: float | None
    divisor: float
    resolvent: float
    norm: str
    caution: str
    widths: tuple[int, ...]
    n_samples: int
    n_outputs: int

    def __repr__(self) -> str:
        spread = "" if self.spread is None else f" +- {self.spread:.2g}"
        sizes = f"norm={self.norm!r}, T={self.n_samples}, C={self.n_outputs}"
        return f"CentredEdge(largest={self.largest:.4g}{spread}, {sizes})"


def centred_edge(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: float | None = None,
    c0: float | None = None,
    norm: str = "mean",
    *,
    norm_variance: float = 2.0,
) -> CentredEdge:
    r"""Largest Fisher eigenvalue of outputs less their mean over the samples.

    The mean gradient, along which an eigenvalue of order M stands out, is gone; what is left is of order 1 where
    T and the widths are comparable. Its upper edge is a minimum of the inverse Stieltjes transform,

    .. math:: \lambda_{max} \to \max\left(\min_{X > 0} z(X),\ \lambda_{outlier}\right),

    with z(X) from the self-energies of a linear network that has the same spectrum (`equivalent`), and an outlier
    where modes of the norms and means split one off (`modes`).

    Parameters
    ----------
    net : Network or MeanField
        Fully connected, two weight layers or more, without the normalisation itself.
    n_samples : int, optional
        T, also the size of the batch. Default: 1000.
    q0, c0 : float
        Mean square of the inputs and correlation of two of them, in [0, 1). Default: 1 and 0.
    norm : {"mean", "batch"}
        Subtract the mean only, or divide by the standard deviation too (gamma = 1, beta = 0).
    norm_variance : float
        :math:`M_0 \mathrm{Var}(|x|^2/M_0)/\hat q_0^2`: 2 for independent Gaussian input units. Matters to the
        outlier only.

    Returns
    -------
    CentredEdge

    Raises
    ------
    TypeError, ValueError
        A network that is not fully connected or has one weight layer, inputs that do not differ or are negatively
        correlated, fewer than 2 samples ("mean") or 51 ("batch"), an activation that jumps.

    Examples
    --------
    >>> import mfdnn
    >>> from mfdnn.fisher.edge.centred import centred_edge
    >>> net = mfdnn.mlp([400, 400, 400, 1], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> found = centred_edge(net, n_samples=400)
    >>> found
    CentredEdge(largest=6.061 +- 0.3, norm='mean', T=400, C=1)
    >>> round(found.edge, 4), found.outlier
    (6.2089, None)
    >>> round(mfdnn.fisher_statistics(net, n_samples=400).largest, 1)  # before
    98.4

    Notes
    -----
    Derived for this package by a Gaussian equivalence and a cavity argument, neither of them rigorous, and
    checked by simulation for tanh, erf, relu, gelu and linear networks: the mean of `largest` within 4 % for 2
    to 6 layers, C up to 3, widths from half to four times T or unequal, from 300 up; 5 % for 8 and 10 layers;
    7 % for C = 10; 4 % too with variances and activations that differ between layers, and for silu and
    softplus. At T and all widths from 50 to 200 and 2 to 4 layers the error has a sign: `largest` is 1.1 % too high on
    average for tanh, softsign, erf and linear networks (at most 2.3 %; but erf of 4 layers is 7 % too low at 50, 3 % at
    100), and 0.6 to 6 % too low for relu and gelu. One network scatters by 3 to 12 % (`spread`), 13 to 20 % where an
    outlier dominates, of which `spread` gives half. The outlier is linear in the fluctuation of |x|^2: good to 2 % at
    a relative one of 0.26, to 8 % at 0.41, so raw images are beyond it. With "batch" and C = 1 the error is -2 to +6 %.

    Cost: about 0.5 s for 2 or 3 weight layers, 1 s for 4, 2.5 s for 6, 12 s for 10.

    References
    ----------
    The bounds this goes beyond: Karakida, Akaho & Amari 2019, "The normalization method for alleviating
    pathological sharpness in wide neural networks", arXiv:1906.02926. The conjugate-kernel spectra that are
    its special case for centred activations: Fan & Wang 2020, arXiv:2005.11879.
    """
    norm = one_of("norm", norm, RATIOS)
    fluctuation = variance("norm_variance", norm_variance)
    if not isinstance(net, MeanField):
        n_samples = sample_count(n_samples, None)
    wide = as_mean_field(net, n_samples, q0, c0, keep=Keep(shares=False))
    if wide.given:
        raise NoTheory(
            "`net` must have random inputs of one mean square and one correlation: of given ones no law of the "
            "edge is known; pass MeanField(net, n_samples)."
        )
    return edge_of(wide, norm, fluctuation)


def edge_of(wide: MeanField, norm: str, fluctuation: float = 2.0) -> CentredEdge:
    """`centred_edge` of a network on random inputs.

    Raises
    ------
    NoTheory
        What stands against the law.
    """
    net, n_samples = wide.network, wide.n_samples
    wide.require_single()
    if n_samples < LEAST_SAMPLES[norm]:
        raise NoTheory(
            f"`n_samples` must be an integer >= {LEAST_SAMPLES[norm]}, got {n_samples}; pass a larger whole number."
        )
    sigma_w2, activations, gaussian = _fully_connected(net)
    op = wide.order_parameters
    _check_inputs(op, float(wide.c0))

    hidden = [neurons(act, op.q[l], op.q_st[l]) for l, act in enumerate(activations)]
    network = Equivalent(op, sigma_w2, hidden, n_samples)
    edge = network.edge()
    with single_blas_thread():  # many small matrices, for which threads would wait
        leaves = crossing(network, edge.x, fluctuation)
    separate = network.solve(leaves).z if leaves < edge.x else None
    limit = edge.z if separate is None else max(edge.z, separate)
    width, step = _width_of_edge(network, edge)
    shift = TRACY_WIDOM_MEAN * width
    crossover = width * _crossover((leaves - edge.x) / step)
    finite = (edge.z + shift if separate is None else separate) + crossover - 1 / min(leaves, edge.x)
    gain, splitting = _output_fluctuations(network, edge, sigma_w2)
    n_outputs = net.n_outputs
    excess = limit * splitting * goe_top(n_outputs)
    divisor = float(op.q[-1] - op.q_st[-1]) if norm == "batch" else 1.0
    spread = float(np.hypot(limit * gain, TRACY_WIDOM_SD * width))
    return CentredEdge(
        largest=finite + excess if norm == "mean" else finite / divisor,
        limit=limit,
        edge=edge.z,
        outlier=separate,
        finite=finite,
        shift=shift,
        crossover=crossover,
        excess=excess,
        spread=spread if norm == "mean" else None,
        divisor=divisor,
        resolvent=edge.x,
        norm=norm,
        caution=_caution(op, norm, n_samples, gaussian),
        widths=tuple(int(m) for m in op.fan_in),
        n_samples=n_samples,
        n_outputs=n_outputs,
    )


def _fully_connected(net: Network) -> tuple[list[float], list[Activation], bool]:
    """Variances of weights, activations between them, whether weights are Gaussian.

    Without an activation it is linear.
    """
    weights, between = read_chain(net.layers, REFUSAL)
    if len(weights) < 2:
        raise NoTheory(f"`net` must have two `Dense` layers or more and end in one, got {net!r}; add one.")
    activations = [act or activation("linear") for act in between]
    gaussian = all(w.weights == "gaussian" and type(w).initialise is Dense.initialise for w in weights)
    return [layer.sigma_w2 for layer in weights], activations, gaussian


def _check_inputs(op: OrderParameters, c0: float) -> None:
    if min(op.q_st.min(), op.q_hat_st.min()) < 0:
        raise NoTheory(
            f"`c0` must not make any covariance negative, got {c0:g}, but inputs share nothing then; pass 0 or more."
        )
    if np.any(op.q <= op.q_st):
        raise NoTheory(
            "`q0` and `c0` make all outputs equal, so that nothing is left after their mean; pass q0 > 0 and c0 < 1, "
            "and an activation that is not constant."
        )


def _width_of_edge(network: Equivalent, edge: Point) -> tuple[float, float]:
    """Scale of the Tracy-Widom law, and how far from the edge in X z is that higher.

    The scale is (T sqrt(2/z''(g)))^(-2/3) with g = X/T: T, for outputs split by far more.
    """
    n, step = network.n_samples, 0.004
    while True:
        step /= 2  # until X (1 + step) is below the end of z, which deep networks have close by
        low, high = network.solve(edge.x * (1 - step)).z, network.solve(edge.x * (1 + step)).z
        if np.isfinite(high):
            break
    second = (low + high - 2 * edge.z) / (step * edge.x / n) ** 2
    width = float((n * np.sqrt(2 / second)) ** (-2 / 3))
    return width, n * np.sqrt(2 * width / second)


def _crossover(place: float) -> float:
    """Mean that edge and outlier add to each other, in Tracy-Widom scales.

    Beyond the table it falls as 1/place.
    """
    free = TRACY_WIDOM_MEAN if place < 0 else 0.0  # an outlier alone is not pushed
    end = min(max(place, PLACES[0]), PLACES[-1])
    added = float(np.interp(end, PLACES, CROSSOVER)) + free
    return added if end == place else added * end / place


def _output_fluctuations(network: Equivalent, edge: Point, sigma_w2: list[float]) -> tuple[float, float]:
    r"""Relative standard deviations of the edge by random gains, and of the splitting.

    Step j multiplies the squared errors of all layers l <= j by 1 + a Gaussian orthogonal matrix of variance
    :math:`\nu_j / M_j`, :math:`\nu_j = E\beta^4/(E\beta^2)^2`; at its minimum z moves as at fixed X.
    """
    gain = splitting = 0.0
    for j, layer in enumerate(network.hidden, start=1):
        step, z = 2e-3, np.inf  # linear to that order, and far above the 1e-9 of a solution
        while not np.isfinite(z):  # until X is below the end of z, which narrow networks have close by
            step /= 2
            scale = np.where(np.arange(network.depth) < j, 1 + step, 1.0)
            moved = Equivalent(network.op, sigma_w2, network.hidden, network.n_samples, scale)
            z = moved.solve(edge.x, edge.state).z
        elasticity = (z / edge.z - 1) / step
        nu = layer.weights @ layer.beta**4 / (layer.weights @ layer.beta**2) ** 2
        gain += elasticity**2 * (3 * nu - 1) / network.widths[j]
        splitting += elasticity**2 * nu / network.widths[j]
    return np.sqrt(gain), np.sqrt(splitting)


def _caution(op: OrderParameters, norm: str, n_samples: int, gaussian: bool) -> str:
    n_outputs, narrow = int(op.fan_out[-1]), int(op.fan_in.min())
    low, high = RATIOS[norm]
    ratios = op.fan_in / n_samples
    said = []
    if norm == "batch" and n_outputs > 1:
        said.append(
            "with C > 1 the largest belongs to the output of smallest variance: this value is low by 10 to 17 % at "
            "widths of 300 to 600 and 5 to 10 % at 1000 for C = 3, by 30 % at 300 for C = 10; with the network's own "
            "smallest variance in place of `divisor` it holds within 3 %"
        )
    if norm == "mean" and n_outputs > OUTPUTS:
        said.append(f"C = {n_outputs}: checked up to {OUTPUTS}, low by 4 to 7 % for C = 10 at M = T = 300")
    if n_outputs * WIDTH_PER_OUTPUT > narrow:
        said.append(f"C = {n_outputs} of the order of the smallest width {narrow} is outside the theory")
    if ratios.min() < low or ratios.max() > high:
        said.append(
            f"width over samples from {ratios.min():.3g} to {ratios.max():.3g}: checked from {low:g} to {high:g}"
        )
    if len(op.q) > DEPTH:
        said.append(f"{len(op.q)} weight layers: checked up to {DEPTH}")
    if op.q_hat_st[0] > 0:
        said.append("inputs with a mean (c0 > 0) are not checked")
    if not gaussian:
        said.append("checked for Gaussian weights only")
    return "; ".join(said)

"""How the largest Fisher eigenvalues scatter from one random network to another."""

from __future__ import annotations

import warnings
from copy import copy

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from ..activations import Activation, activation
from ..fisher import fisher_statistics
from ..gaussian.conditional import inaccuracy
from ..kernels.outlier import outlier_caution
from ..layers import Dense, read_chain
from ..mean_field import MeanField, as_mean_field, order_parameters
from ..mean_field.moments import OrderParameters
from ..network import Network
from .doubts import NoOutlier, cautions_of, cautions_of_inputs, cautions_of_law, refuse
from .drawn_law import drawn_law
from .input_moments import drawn_inputs, given_inputs
from .layer_moments import LayerMoments, layer_moments
from .outliers_result import OutlierDistribution
from .recursion import InputMoments, Law, WeightLayer, propagate
from .sampled_law import sampled_law

__all__ = [
    "NoOutlier",
    "architecture",
    "chain",
    "input_moments",
    "law_of",
    "outlier_distribution",
    "without_kernels",
]

LARGEST = 1e150  # of what is squared
EXCESS = {"gaussian": 0.0, "uniform": -1.2}  # fourth cumulant over the squared variance
SAME = 1 - 1e-8  # largest correlation of inputs; closer ones, told apart by rounding alone, are taken for it
UNIFORM_BIAS = 0.3  # largest share of a variance: at 0.4 what enters to first order is 10 % off in simulation
INFINITE = "outliers of infinite width"  # as a `MeanField` knows them
REFUSAL = (
    "`net` contains {layer}, but this law is derived for Dense and Pointwise layers only; measure the spread with "
    "mfdnn.ensemble."
)


def outlier_distribution(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: float | None = None,
    c0: float | None = None,
    *,
    inputs: np.ndarray | None = None,
) -> OutlierDistribution:
    r"""Law of the largest Fisher eigenvalues over networks drawn at these widths.

    Infinitely wide, the C outliers are all :math:`\lambda_0`. At finite widths they scatter together, with
    variance A, and apart, with variance B: for rows of :math:`W^L` that are drawn alike,

    .. math::
        G_{kk'} = \frac1{T^2} \sum_{st} \nabla f_k(s) \cdot \nabla f_{k'}(t), \qquad
        Cov(G_{kk'}, G_{jj'}) = A\,\delta_{kk'}\delta_{jj'}
            + B\,(\delta_{kj}\delta_{k'j'} + \delta_{kj'}\delta_{k'j}),

    of mean :math:`(\lambda_0 + shift) I`, and the rest of the spectrum pushes the eigenvalues up. A, B,
    shift and push are computed to leading order in 1/M by one recursion over the layers. Their law is taken
    as a log-normal common factor times sums of products of Wishart matrices, the overlaps of the
    back-propagated vectors, which keeps it positive and skewed.

    Parameters
    ----------
    net : Network or MeanField
        `Dense` and `Pointwise` layers, with a hidden layer or more; Gaussian or uniform weights. Also others, with
        Gaussian weights: units are sampled then (`method`), see Notes.
    n_samples : int, optional
        T, the number of inputs. Default: 1000, or the rows of `inputs`.
    q0, c0 : float, optional
        Mean square of the Gaussian inputs, and correlation of two of them; every draw has its own inputs.
        Default: 1 and 0.
    inputs : array_like, shape (T, M_0), optional
        Given inputs, the same for every draw. They determine, and so exclude, `q0` and `c0`.
        `lambda_0` is then that of their own kernel; what scatters around it is computed for exchangeable
        inputs with the same means and variances of :math:`x_s \cdot x_t`.

    Returns
    -------
    OutlierDistribution

    Raises
    ------
    ValueError
        Orthogonal weights, no hidden layer, an activation that jumps, uniform biases that make up more than 0.3 of a
        variance; no outlier (`margin` below 2, of sampled units 3, or `clearance` below 2.5); too many outputs,
        :math:`C B > \lambda_0^2 / 4`; of sampled units convolutions in groups, layers of one's own without
        `Layer.recorded`, at given inputs a second eigenvalue above 0.95 of the first (batch norm: 0.7), a push that
        makes more than 0.4 of the variance, gates with a relative spread above 0.5 and more than 1024 inputs times
        sites, at drawn ones more than 170 sites; and what `order_parameters` raises.

    Warns
    -----
    RuntimeWarning
        What `caution` says: `margin` or `clearance` below 4, a relative spread above 0.35,
        :math:`C B > 0.1\,\lambda_0^2`, inputs uneven by more than 1.1, an activation that makes a power above 1.25 of
        the variance, or one whose integrals have relative errors above 1e-11; and where `FisherStatistics.caution`
        says that nothing stands out.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([500, 500, 500, 500, 10], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> law = mfdnn.finite_width.outlier_distribution(net, n_samples=300)
    >>> law
    OutlierDistribution(lambda_0=650.716, mean=656.885, standard_deviation=59.78, margin=260, T=300, C=10)
    >>> law.quantile([0.5, 0.95]).round(-1)
    array([760., 880.])

    Notes
    -----
    Origin: derived for this package, by perturbation theory in 1/M for exchangeable inputs, without the
    assumption that forward and backward weights are independent; no theorem, and nothing is proved about the
    remainder. That the joint law is log-normal times Wishart is a model: it has the right first two moments.
    Linear and relu networks at one input, and B for infinitely many, are closed forms that it meets.

    Checked by simulation: 36 networks with T >= 40 and `margin` above 4, of 18 activations, even and uneven
    widths from 60 to 1000, L = 3..5, C = 1..30, Gaussian inputs, handwritten digits and inputs of very
    different norms, 60 to 6000 draws each. Simulated over predicted, average and scatter of the 36: standard
    deviation of the mean outlier 1.000 +- 0.044, mean of the largest 1.006 +- 0.008, its 95 % quantile
    1.001 +- 0.016; the mean lies 0.1 % +- 0.6 % of `lambda_0` higher, and 94.6 % of the largest below their
    95 % quantile. Much of the scatter is sampling error.

    Where it ends:

    - it is leading order: above a relative spread of 0.2 the standard deviation is up to 10 % low; beyond 0.35 the
      95 % quantile held for 94 to 97 % of six deep relu and gelu networks, spreads up to 0.84 (`caution`);
    - an activation that outgrows linear ones has large next orders: of :math:`x^2/2 + 0.3 x`, L = 3, M = 100, quantiles
      were 10 % low (`caution`);
    - weak outliers: for `margin` between 4 and 6 the mean is up to 1.5 % of `lambda_0` low, between 2 and 4
      mean and quantiles up to 4 % (`caution`), below 2 there may be none (an error);
    - a crowd of other eigenvalues, as of a strong even part in an activation that is mostly odd and of few samples: at
      a `clearance` of 2.5 to 4 the mean was up to 8 % low and the 95 % quantile up to 4 % (`caution`); below, up to
      20 % and 12 % (an error);
    - given inputs enter by their own `lambda_0` and by five numbers, as if they were exchangeable: where the largest
      eigenvalue of their kernel is more than 1.1 times the mean of its entries (norms that differ by factors,
      clusters, one dimension), quantiles were up to 7 % low (`caution`); above 1.4 units are sampled instead;
    - few inputs: the mean is off by up to 2 % of `lambda_0` for T = 2 or 5, and 4 % low for T = 10 with C = 10
      at M = 100; many outputs: at C = 30, M = 100 the largest is up to 3 % low;
    - uniform weights enter by their fourth cumulant, which matters at the same order: without biases as good
      as Gaussian ones; biases to first order only, and the standard deviation up to 6 % high;
    - initialisation only: eigenvalues move in training. Orthogonal weights and the softmax are not covered.

    Of all other layers units of the infinitely wide network are sampled (`method`), with their
    tangents. In a network of M units one counts as much as a change of its weight by :math:`1/M`: the variance of
    :math:`\lambda_0` is the sum over layers of the variance over units of :math:`y_k = S\,\partial \lambda_0/\partial
    w_k`, over M. One sweep backwards has all of them; units that a skip connection adds are one, and statistics of
    layer norm carry their weights. Checked at 300 networks each: twelve networks with strides, zero padding, uneven
    widths, gates, trained gains, pooling, projections (``docs/finite_width.md``). Its numbers have a
    `standard_error`, of about 1 % of the spread; at given inputs the shift is that of gates, else 0. It ends where the
    second eigenvalue comes so close that its push makes a large part of the variance: above 0.2 of it, and for a second
    eigenvalue above 0.8 of the first (batch norm: 0.3 and 0.4), there is a caution.

    Where inputs are drawn with the network their channels are units of one more layer. Some inputs stand for all T,
    so that T costs nothing: what a unit does to all of them together comes from covariances between inputs that differ,
    and the rest falls as 1/T. The shift is that of sampled networks in which a group of units stands for all, and their
    values and tangents have the covariance that one matrix of weights gives them. Checked at T = 100 to 1000 on 15
    networks, 300 of each.

    Cost: one set of Gaussian integrals per hidden layer, 10 to 20 ms, which are kept, and some milliseconds of
    algebra; quantiles draw small matrices, 0.1 s for C = 10, 1 s for C = 100, 10 s for C = 1000. Accuracy of A, B,
    `shift`, `push` as the leading order: 1e-10.
    """
    result = law_of(as_mean_field(net, n_samples, q0, c0, inputs=inputs))
    if result.caution:
        warnings.warn(result.caution, RuntimeWarning, stacklevel=2)
    return result


def law_of(wide: MeanField) -> OutlierDistribution:
    """`outlier_distribution` of a network on its data, without a warning.

    Callers pass its `caution` on.
    """
    wide.require_single()
    return wide.once("law", lambda: _law(wide))


def without_kernels(wide: MeanField) -> MeanField:
    """A copy that holds no kernels of given inputs, and has the law without them."""
    other = copy(wide)
    if wide.given:
        known = _infinite_width(wide)
        other.once(INFINITE, lambda: known)
    return other


# -- implementation ------------------------------------------------------------------------------------------


def _law(wide: MeanField) -> OutlierDistribution:
    """In closed form where it is known, else of sampled units."""
    if not wide.given:
        return _closed_law(wide) if _is_chain(wide.network) else drawn_law(wide)
    try:
        return _closed_law(wide)
    except NoOutlier:
        raise
    except NoTheory:  # other layers, or inputs that are not exchangeable
        largest, _ = wide.once(INFINITE, lambda: _infinite_width(wide))
        assert largest is not None  # of given inputs
        return sampled_law(wide, largest)


def _is_chain(net: Network) -> bool:
    try:
        read_chain(net.layers, REFUSAL)
    except NoTheory:
        return False
    return True


def _closed_law(wide: MeanField) -> OutlierDistribution:
    net, n_samples = wide.network, wide.n_samples
    moments = input_moments(wide)
    weights, layers, doubts = chain(wide, moments)
    law = propagate(moments, weights, layers, n_samples, net.n_outputs)
    refuse(law, net.n_outputs)
    largest, unclear = wide.once(INFINITE, lambda: _infinite_width(wide))
    lambda_0 = law.leading if largest is None else largest
    cautions = dict.fromkeys(doubts, 0.0) | cautions_of(layers, bool(unclear))
    if wide.given:
        cautions |= cautions_of_inputs(lambda_0 / law.leading)
    return _distribution(net.n_outputs, law, n_samples, lambda_0, cautions)


def _infinite_width(wide: MeanField) -> tuple[float | None, str]:
    """The outlier of infinite width, and what is known against it.

    None where it is that of the recursion.
    """
    if not (wide.given or wide.c0 < 0):  # which the recursion takes for 0
        return None, outlier_caution(wide.order_parameters, wide.n_samples)
    fim = fisher_statistics(wide)
    return float(fim.largest), outlier_caution(fim.order_parameters, wide.n_samples)


def input_moments(wide: MeanField) -> InputMoments:
    """Of given inputs, or of Gaussian ones of one mean square and one correlation."""
    if wide.inputs is not None:
        return given_inputs(wide.inputs.reshape(wide.n_samples, -1))
    if wide.q0 > LARGEST:
        raise OutOfRange(f"`q0` = {wide.q0:g} has a square that is infinite", "lower it, the mean square of the inputs")
    return drawn_inputs(wide.network.n_inputs, float(wide.q0), float(wide.c0))


def architecture(net: Network) -> tuple[list[Dense], list[Activation]]:
    """The L weight layers and the L - 1 activations between them."""
    if not isinstance(net, Network):
        raise TypeError(f"`net` must be a Network, got {type(net).__name__}; build one with mlp or Network.")
    weights, between = read_chain(net.layers, REFUSAL)
    for layer in weights:
        if type(layer).initialise is not Dense.initialise:
            raise NoTheory(
                f"`net` contains {type(layer).__name__}, which draws its weights in a way of its own, for which the "
                "law is not derived; measure the spread with mfdnn.ensemble."
            )
        if layer.weights not in EXCESS:
            raise NoTheory(
                f"`net` has {layer.weights} weights, for which the law is not derived; use gaussian or uniform "
                "ones, or measure the spread with mfdnn.ensemble."
            )
    if len(weights) < 2:
        raise NoTheory(
            "`net` must have a hidden layer: a single weight layer is linear regression, whose largest eigenvalue "
            "does not depend on the weights."
        )
    return weights, [act or activation("linear") for act in between]


def chain(wide: MeanField, moments: InputMoments) -> tuple[list[WeightLayer], list[LayerMoments], list[str]]:
    """What the recursion takes, and doubts about the integrals in it.

    Of exchangeable inputs with these moments.
    """
    net, n_samples = wide.network, wide.n_samples
    dense, activations = architecture(net)
    op = wide.once("order parameters of exchangeable inputs", lambda: _exchangeable(wide, moments))
    weights = [
        WeightLayer(fan_in, layer.sigma_w2, layer.sigma_b2, layer.bias, EXCESS[layer.weights])
        for layer, fan_in in zip(dense, net.widths[:-1], strict=True)
    ]
    layers, doubts = [], []
    for i, act in enumerate(activations):
        # One input has no pair; those of negatively correlated ones are small, and set to 0.
        q = float(op.q[i])
        q_st = float(np.clip(op.q_st[i], 0.0, SAME * q)) if n_samples > 1 else 0.0
        _check_layer(i + 1, q, weights[i])
        layers.append(layer_moments(act, q, q_st))
        doubts.append(inaccuracy(act, q, q_st, layers[-1].error))
    return weights, layers, doubts


def _exchangeable(wide: MeanField, moments: InputMoments) -> OrderParameters:
    """Of inputs with these moments."""
    if not wide.given and moments.q_st >= 0:
        return wide.order_parameters
    c0 = np.clip(moments.q_st / moments.q, -1.0, 1.0) if moments.q else 0.0
    return order_parameters(wide.network, moments.q, c0)


def _check_layer(number: int, q: float, weight: WeightLayer) -> None:
    if q == 0:
        raise NoTheory(
            f"`net` has no signal at weight layer {number}: it vanishes there; give it inputs, weights or biases."
        )
    if weight.excess and weight.sigma_b2 > UNIFORM_BIAS * q:
        raise NoTheory(
            f"`net` has uniform biases that make up {weight.sigma_b2 / q:.0%} of the variance at weight layer "
            f"{number}: its units are not Gaussian; use gaussian weights, or smaller biases."
        )


def _distribution(
    n_outputs: int, law: Law, n_samples: int, lambda_0: float, cautions: dict[str, float]
) -> OutlierDistribution:
    """The law in units of `lambda_0`, with its resummed moments."""
    A, B = law.A_born.sum(), law.B_born.sum()
    born = law.A_born + 2 * law.B_born / n_outputs
    born[-1] += law.D / n_outputs
    scale = lambda_0 / law.leading
    reached = np.cumsum(law.parts)[:-1]
    freedom = np.full(reached.shape, np.inf)
    np.divide(reached**2, law.B_born[1:], out=freedom, where=law.B_born[1:] > 0)
    multiplied = law.leading + law.shift + law.push
    apart = 1 + (2 * B + law.D) / (n_outputs * law.leading**2)
    deviation = multiplied * np.sqrt(np.exp(A / law.leading**2) * apart - 1)
    mean = multiplied + law.pair_push
    cautions = cautions_of_law(law, n_outputs, deviation / mean) | cautions
    return OutlierDistribution(
        lambda_0=lambda_0,
        mean=float(scale * mean),
        standard_deviation=float(scale * deviation),
        A=float(scale**2 * A),
        B=float(scale**2 * B),
        shift=scale * law.shift,
        push=scale * (law.push + law.pair_push),
        margin=law.margin,
        clearance=law.clearance,
        variance_born=scale**2 * born,
        parts=law.parts / law.leading,
        degrees_of_freedom=freedom,
        n_samples=n_samples,
        n_outputs=n_outputs,
        caution=" ".join(filter(None, cautions)),
        allowance=max(cautions.values(), default=0.0),
        _pair_push=scale * law.pair_push,
        _excess=law.D / law.B_born[-1] if law.D else 0.0,
    )

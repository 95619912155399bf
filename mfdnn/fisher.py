"""Eigenvalue statistics of the Fisher information matrix of a random network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigvalsh
from scipy.sparse.linalg import eigsh

from ._results import Result
from ._validation import finite_array, positive_integer
from .datasets import lowest_correlation
from .network import Network
from .order_parameters import OrderParameters, order_parameters

__all__ = ["BlockStatistics", "FisherStatistics", "fisher_statistics"]

DENSE_UP_TO = 512  # inputs: above, Lanczos for the top eigenvalue beats a full eigenvalue decomposition
# Gaussian integrals are good to 1e-10; below ten times that, kappa_2 / kappa_1 is zero for all we know.
CENTRED_BELOW = 1e-9

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


@dataclass(frozen=True, repr=False, eq=False)
class BlockStatistics(Result):
    """Eigenvalue statistics of a diagonal block of the Fisher information: one weight layer's parameters.

    Attributes
    ----------
    mean, second_moment, largest : float or ndarray
        As in `FisherStatistics`, of the block alone.
    n_parameters, fan_in, fan_out : int
        Size of the block, and the widths of its layer.
    """

    mean: Any
    second_moment: Any
    largest: Any
    n_parameters: int
    fan_in: int
    fan_out: int


@dataclass(frozen=True, repr=False, eq=False)
class FisherStatistics(Result):
    r"""Eigenvalue statistics of :math:`F = \frac1T \sum_t \sum_k \nabla f_k(t)\,\nabla f_k(t)^T` (P x P).

    Numbers are floats, or arrays of the common shape of `q0` and `c0`.

    Attributes
    ----------
    kappa_1, kappa_2 : float or ndarray
        The paper's constants, :math:`\kappa_1 = \sum_l (\alpha_{l-1}/\alpha)\,\tilde q^l \hat q^{l-1}`, and
        :math:`\kappa_2` with :math:`\tilde q_{st}^l \hat q_{st}^{l-1}`; for given inputs their averages over
        inputs, and over pairs. inf (0 if the sum is 0) for one weight layer, where :math:`\alpha` = 0.
    alpha : float
        :math:`\sum_{l<L} \alpha_l \alpha_{l-1}` with :math:`\alpha_l = M_l / M`.
    width : float
        The reference width M: the mean fan-in of the weight layers. :math:`\kappa` and :math:`\alpha` depend
        on this choice; :math:`\alpha \kappa M` and everything below do not.
    mean, second_moment : float or ndarray
        tr F / P and tr F^2 / P, with exact widths and bias gradients.
    largest : float or ndarray
        The largest eigenvalue, C-fold in the limit: finite networks scatter around it.
    bulk : float or ndarray
        Mean of the other (T - 1) C non-zero eigenvalues (0 for T = 1).
    n_outliers : int
        C, how many eigenvalues are of the size of `largest`.
    mean_leading, second_moment_leading, largest_leading : float or ndarray
        The paper's leading order in M: no bias gradients, P without the last layer's share. For given inputs
        `largest_leading` averages the kernel over all pairs, which is a lower bound of its top eigenvalue.
    layers : tuple of BlockStatistics
        Statistics of the diagonal blocks, one per weight layer.
    n_parameters, n_samples, n_outputs : int
        P, T and C.
    order_parameters : OrderParameters
        What all this was computed from (left out by `to_dict`).
    """

    kappa_1: Any
    kappa_2: Any
    alpha: float
    width: float
    mean: Any
    second_moment: Any
    largest: Any
    bulk: Any
    n_outliers: int
    mean_leading: Any
    second_moment_leading: Any
    largest_leading: Any
    layers: tuple[BlockStatistics, ...]
    n_parameters: int
    n_samples: int
    n_outputs: int
    order_parameters: OrderParameters

    def __repr__(self) -> str:
        numbers = ", ".join(f"{k}={_short(getattr(self, k))}" for k in ("mean", "second_moment", "largest"))
        return f"FisherStatistics({numbers}, T={self.n_samples}, C={self.n_outputs}, P={self.n_parameters})"

    @property
    def centred(self) -> Any:
        r"""Whether :math:`\kappa_2` vanishes: gradients at two inputs are orthogonal on average.

        So it is for an odd activation without bias and uncorrelated inputs. Nothing then grows like M at
        fixed M/T: there are no outliers, and `largest` is only the leading value of the bulk (see `caution`).
        """
        return _unwrap(np.abs(self.kappa_2) <= CENTRED_BELOW * np.asarray(self.kappa_1))

    @property
    def caution(self) -> str:
        """What to know before `largest` is used; empty where it is a separate outlier, or T = 1."""
        alone = len(self.layers) == 1  # one layer: `largest` is the edge of the bulk itself
        if self.n_samples == 1 or alone:
            return ""
        outlier = outlier_criterion(self.order_parameters, self.n_samples)
        if not np.all(outlier.shared):
            return _CAUTION
        return "" if np.all(outlier.wide) else _NARROW

    def to_dict(self) -> dict[str, Any]:
        """All fields but `order_parameters`, and `centred` and `caution`, as plain Python."""
        fields = {k: v for k, v in super().to_dict().items() if k != "order_parameters"}
        return {**fields, "centred": np.asarray(self.centred).tolist(), "caution": self.caution}


def fisher_statistics(
    net: Network,
    n_samples: int = 1000,
    q0: Any = 1.0,
    c0: Any = 0.0,
    *,
    inputs: np.ndarray | None = None,
) -> FisherStatistics:
    r"""Mean, second moment and largest eigenvalue of the Fisher information of a wide random network.

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
    net : Network
        With linear outputs.
    n_samples : int
        T, the number of inputs.
    q0, c0 : float or array_like
        Mean square of the inputs and correlation of two of them, as in `order_parameters`.
    inputs : array_like, shape (T, M_0), optional
        Given inputs: :math:`\Theta` is then the analytic kernel of these data. They determine, and so
        exclude, `n_samples`, `q0` and `c0`.

    Returns
    -------
    FisherStatistics

    Raises
    ------
    ValueError
        `n_samples` < 1; `c0` < -1/(T - 1), which no T inputs have; and what `order_parameters` raises.
    TypeError
        `n_samples` is not an integer, `net` not a network.
    MemoryError
        The kernels of given inputs do not fit.

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

    Notes
    -----
    Accuracy at finite width: `mean` within sampling error (1 % at M = 300); `largest` as the mean of the C
    outliers, within 1.5 % at M = 300, while the outliers themselves split by O(sqrt(M)); `second_moment` to
    O(1/M) with a large constant (at M = 300: 6 % too low for tanh, 25 % for linear networks). The Gaussian
    integrals behind them are good to 1e-10.

    The first block sees the random inputs themselves. With `c0` = 0 its largest eigenvalue is a
    Marchenko-Pastur edge, for independent Gaussian input units, which the formula above does not contain.
    `largest` is never below that of a block (interlacing); for one weight layer, linear regression, it is
    this edge. `second_moment` leaves out the chance overlaps of random inputs: for one layer, T/M_0 of it.

    Cost: milliseconds; for T given inputs O(L T^2) for the kernels and O(T^2) per Lanczos step and layer.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean
    field approach", arXiv:1806.01316. The blocks: the same authors 2021, "Pathological spectra of the Fisher
    information metric and its variants in deep neural networks", arXiv:1910.05992. Exact widths, bias
    gradients and the first block's edge are derived for this package; its tests hold them against simulation.
    """
    n_samples = positive_integer("n_samples", n_samples)
    op = order_parameters(net, q0, c0, inputs=inputs)
    if inputs is None:
        _check_correlation(c0, n_samples)
    else:
        n_samples = _count_inputs(n_samples, op.q.shape[1])
    depth, n_outputs = len(op.q), net.n_outputs
    everything = range(depth)

    width = float(op.fan_in.mean())
    hidden_weights = int((op.fan_in[:-1] * op.fan_out[:-1]).sum())
    leading_size = hidden_weights or int(op.fan_in[0] * op.fan_out[0])
    leading = _sums(op, everything, n_samples, bias=False, top=False)
    refined = _sums(op, everything, n_samples)

    blocks = []
    for layer in everything:
        block = _sums(op, [layer], n_samples)
        largest = _first_block_edge(op, block, n_samples) if layer == 0 else block.top
        size = int(op.fan_out[layer] * (op.fan_in[layer] + op.bias[layer]))
        blocks.append(
            BlockStatistics(
                mean=_unwrap(n_outputs * block.diagonal / size),
                second_moment=_unwrap(n_outputs * block.square / size),
                largest=_unwrap(largest),
                n_parameters=size,
                fan_in=int(op.fan_in[layer]),
                fan_out=int(op.fan_out[layer]),
            )
        )
    largest = np.max([refined.top, *(block.largest for block in blocks)], axis=0)
    return FisherStatistics(
        kappa_1=_unwrap(_kappa(leading.diagonal, width, hidden_weights)),
        kappa_2=_unwrap(_kappa(leading.off_diagonal, width, hidden_weights)),
        alpha=hidden_weights / width**2,
        width=width,
        mean=_unwrap(n_outputs * refined.diagonal / net.n_parameters),
        second_moment=_unwrap(n_outputs * refined.square / net.n_parameters),
        largest=_unwrap(largest),
        bulk=_unwrap(np.maximum(refined.diagonal - refined.top, 0.0) / max(n_samples - 1, 1)),
        n_outliers=n_outputs,
        mean_leading=_unwrap(n_outputs * leading.diagonal / leading_size),
        second_moment_leading=_unwrap(n_outputs * leading.square / leading_size),
        largest_leading=_unwrap(leading.top),
        layers=tuple(blocks),
        n_parameters=net.n_parameters,
        n_samples=n_samples,
        n_outputs=n_outputs,
        order_parameters=op,
    )


class OutlierCriterion(NamedTuple):
    """Whether an eigenvalue stands clear of the bulk, and the numbers that tell (floats or arrays)."""

    c: np.ndarray  # 1/M correction of the outlier, as a fraction of it: c / M
    shared: np.ndarray  # whether T kappa_2 > kappa_1 (or T = 1): above the bulk at infinite width
    wide: np.ndarray  # whether c / M < 1/3: above the bulk at this width

    @property
    def clear(self) -> np.ndarray:
        return self.shared & self.wide


def outlier_criterion(op: OrderParameters, n_samples: int) -> OutlierCriterion:
    r"""Whether T kappa_2 > kappa_1 and c/M < 1/3, with c = kappa_1/(2 kappa_2) + 5 L/4.

    M is the smallest width that theory takes for infinite. The form of c is that of the 1/M expansion; its
    numbers, and the third, are round ones that cover the simulations behind `mfdnn.compare`.
    """
    fan_in = op.fan_in.reshape(-1, *[1] * (op.averaged("q").ndim - 1))
    one = np.sum(fan_in * op.averaged("q_hat") * op.averaged("q_tilde"), axis=0)
    two = np.sum(fan_in * op.averaged("q_hat_st") * op.averaged("q_tilde_st"), axis=0)
    if n_samples == 1:  # the kernel is its diagonal
        two = one
    ratio = np.divide(one, two, out=np.full(np.shape(one), np.inf), where=two > 0)
    c = ratio / 2 + 1.25 * len(op.q)
    return OutlierCriterion(c, (n_samples > ratio) | (n_samples == 1), c / smallest_width(op) < 1 / 3)


def smallest_width(op: OrderParameters) -> int:
    """M, the smallest width that theory takes for infinite: given inputs do not count, theory knows them."""
    return int(min(op.fan_in[1:] if op.per_input and len(op.fan_in) > 1 else op.fan_in))


class _Sums(NamedTuple):
    """What the statistics need of the kernel Theta (T x T) of some weight layers."""

    diagonal: np.ndarray  # mean of its diagonal: A_1
    off_diagonal: np.ndarray  # mean of the rest: A_2
    square: np.ndarray  # ||Theta||_F^2 / T^2
    top: np.ndarray  # largest eigenvalue of Theta / T


def _sums(op: OrderParameters, layers: Any, n_samples: int, bias: bool = True, top: bool = True) -> _Sums:
    one, two = _kernel(op, layers, bias)
    if op.per_input:
        total = two.sum()
        diagonal = one.mean()
        rest = (total - one.sum()) / (n_samples * (n_samples - 1)) if n_samples > 1 else diagonal
        largest = _top_eigenvalue(two) / n_samples if top else total / n_samples**2
        return _Sums(diagonal, rest, np.vdot(two, two) / n_samples**2, largest)
    # Two different eigenvalues: of the constant vector, and of everything orthogonal to it.
    common, others = (one + (n_samples - 1) * two) / n_samples, (one - two) / n_samples
    largest = np.maximum(common, others) if n_samples > 1 else one
    return _Sums(one, two, (one**2 + (n_samples - 1) * two**2) / n_samples, largest)


def _kernel(op: OrderParameters, layers: Any, bias: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Theta of one output at one input and at two, summed over `layers`: (T,) and (T, T) for given inputs."""
    one, two = np.zeros(op.q.shape[1:]), np.zeros(op.q_st.shape[1:])
    for l in layers:
        extra = float(bias and op.bias[l])
        one = one + op.q_tilde[l] * (op.fan_in[l] * op.q_hat[l] + extra)
        two += op.q_tilde_st[l] * (op.fan_in[l] * op.q_hat_st[l] + extra)
    return one, two


def _first_block_edge(op: OrderParameters, block: _Sums, n_samples: int) -> np.ndarray:
    r"""Largest eigenvalue of the block of the first weight layer, which sees the random inputs themselves.

    Theta_st = q~_st (x_s . x_t + 1) for s != t. The matrix X X^T / T of independent Gaussian inputs has a
    Marchenko-Pastur bulk, of resolvent g(z) with z = 1/g + n r / (1 - n g), n the variance of what inputs do
    not share and r = M_0/T. Their common part, of squared norm `theta`, is a signal in the noise (x = common +
    noise, and cross terms count); the bias b is a rank-one term that is added. Along the same vector they
    have the secular equation g (b + theta / (1 - n g)) = 1, whose eigenvalue leaves the bulk if
    1/g > n (1 + sqrt(r)). Without bias this is z = (theta + n)(theta + r n)/theta (Benaych-Georges &
    Nadakuditi 2012, arXiv:1103.2221), without common part 1/g = b.
    """
    if op.per_input or n_samples == 1:
        return block.top
    ratio = op.fan_in[0] / n_samples
    noise = op.q_hat[0] - op.q_hat_st[0]
    common = op.fan_in[0] * op.q_hat_st[0]
    # Negative correlation takes from the bias direction instead.
    added, common = np.maximum(op.bias[0] + np.minimum(common, 0.0), 0.0), np.maximum(common, 0.0)
    total = added + common + noise
    root = np.sqrt(np.maximum(total**2 - 4 * noise * added, 0.0))  # below 0 by rounding alone
    inverse = (total + root) / 2  # 1/g
    outside = inverse > noise * (1 + np.sqrt(ratio))
    gap = np.where(outside, inverse - noise, 1.0)
    z = np.where(outside, inverse + ratio * noise * inverse / gap, noise * (1 + np.sqrt(ratio)) ** 2)
    diagonal = (op.q_tilde[0] - op.q_tilde_st[0]) * (op.fan_in[0] * op.q_hat[0] + op.bias[0]) / n_samples
    return np.maximum(block.top, op.q_tilde_st[0] * z + diagonal)


def _kappa(total: np.ndarray, width: float, hidden_weights: int) -> np.ndarray:
    if hidden_weights:
        return total * width / hidden_weights
    return np.where(total != 0, np.copysign(np.inf, total), 0.0)


def _top_eigenvalue(matrix: np.ndarray) -> np.ndarray:
    n = len(matrix)
    if n <= DENSE_UP_TO:
        return eigvalsh(matrix, subset_by_index=[n - 1, n - 1])[0]
    # A fixed start makes the result reproducible; a random one has a component along the top eigenvector.
    start = np.random.default_rng(0).standard_normal(n)
    return eigsh(matrix, k=1, which="LA", v0=start, return_eigenvectors=False)[0]


def _check_correlation(c0: Any, n_samples: int) -> None:
    lowest = finite_array("c0", c0).min(initial=1.0)
    if lowest < lowest_correlation(n_samples):
        raise ValueError(
            f"`c0` must be at least -1/(n_samples - 1) = {-1 / (n_samples - 1):.4g}, got {lowest:g}, which "
            f"no {n_samples} inputs can have among them; take fewer samples or a larger `c0`."
        )


def _count_inputs(n_samples: int, n_inputs: int) -> int:
    if n_samples not in (1000, n_inputs):  # the default says nothing
        raise ValueError(f"`n_samples` is {n_samples} but `inputs` has {n_inputs} rows; drop `n_samples`.")
    return n_inputs


def _unwrap(value: Any) -> Any:
    """Scalars in, scalars out."""
    return np.asarray(value).item() if np.ndim(value) == 0 else np.asarray(value)


def _short(value: Any) -> str:
    return f"{value:.6g}" if np.ndim(value) == 0 else f"<{np.shape(value)}>"

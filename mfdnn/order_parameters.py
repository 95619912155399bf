"""Order parameters: second moments of the signal on its way forward and of the errors on their way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._errors import OutOfRange
from ._memory import require_memory
from ._results import Result
from ._validation import (
    finite_array,
    input_matrix,
    nonnegative_array,
    positive_integer,
    refuse_both,
    sample_count,
)
from .layers import ParameterRecord, State, Tangent, WeightRecord
from .network import Network

__all__ = ["OrderParameters", "order_parameters"]


@dataclass(frozen=True, repr=False, eq=False)
class OrderParameters(Result):
    r"""Order parameters of a network, one row per weight layer.

    Shapes: ``S`` is the common shape of `q0` and `c0` (``()`` for numbers). For T given inputs, fields of one
    input have shape (L, T); fields of two (``_st``) have shape (L, T, T), with the former on their diagonals.

    Attributes
    ----------
    q, q_st : ndarray, shape (L, *S)
        :math:`q^l = E[u_i^l(t)^2]` and :math:`q_{st}^l = E[u_i^l(s)\,u_i^l(t)]`, :math:`s \ne t`: what leaves
        weight layer l = 1..L, before the activation.
    q_tilde, q_tilde_st : ndarray, shape (L, *S)
        :math:`\tilde q^l = \sum_i \delta_i^l(t)^2` and
        :math:`\tilde q_{st}^l = \sum_i \delta_i^l(s)\,\delta_i^l(t)` with
        :math:`\delta_i^l = \partial f_k / \partial u_i^l`: sums over the units of layer l = 1..L, not means;
        1 at the linear output.
    q_hat, q_hat_st : ndarray, shape (L, *S)
        Means over units of the squares, and of the products at two inputs, of what enters weight layer
        l = 1..L: :math:`\hat q^{l-1}` in the papers' numbering. The first row describes the inputs.
    fan_in, fan_out : ndarray of int, shape (L,)
        Widths on both sides of each weight layer.
    bias : ndarray of bool, shape (L,)
        Which weight layers have bias parameters.
    """

    q: np.ndarray
    q_st: np.ndarray
    q_tilde: np.ndarray
    q_tilde_st: np.ndarray
    q_hat: np.ndarray
    q_hat_st: np.ndarray
    fan_in: np.ndarray
    fan_out: np.ndarray
    bias: np.ndarray
    # What parameters that are no weights add to the kernel, at one input and at two.
    _others: tuple[Any, Any] = (0.0, 0.0)
    # Where samples are coupled: the tangent kernels at the outputs, which no product of these fields gives.
    _tangents: tuple[Tangent, ...] | None = None

    def __repr__(self) -> str:
        shapes = f"q: {self.q.shape}, q_st: {self.q_st.shape}"
        return f"OrderParameters({len(self.q)} weight layers, {shapes})"

    @property
    def per_input(self) -> bool:
        """Whether there is one entry per given input (and pair), instead of exchangeable random inputs."""
        return self.q_st.ndim > self.q.ndim

    @property
    def c(self) -> np.ndarray:
        """Correlation q_st / q of the pre-activations at two inputs, shape of `q_st`.

        Where both variances are 0 both signals are 0, hence the same: 1. Where one of two given inputs has
        variance 0: 0.
        """
        scale = np.sqrt(self.q[:, :, None] * self.q[:, None, :]) if self.per_input else self.q
        zero = (self.q[:, :, None] == self.q[:, None, :]) & (scale == 0) if self.per_input else scale == 0
        c = np.divide(self.q_st, scale, out=np.where(zero, 1.0, 0.0), where=scale > 0)
        return np.clip(c, -1.0, 1.0)  # rounding alone takes the quotient beyond

    @property
    def chi(self) -> np.ndarray:
        r"""Growth of squared errors from one weight layer to the one below, shape of `q_tilde`.

        :math:`\chi^l = \tilde q^l / \tilde q^{l+1}` with :math:`\tilde q^{L+1} := 1`: it is 1 at a linear
        output. Between two layers of a fully connected network it is
        :math:`\sigma_w^2 E[\phi'(u^l)^2]`. It is 0 where errors had vanished already, and inf where they
        reappear (through a skip connection).
        """
        above = np.concatenate([self.q_tilde[1:], np.ones_like(self.q_tilde[:1])])
        vanished = np.where(self.q_tilde > 0, np.inf, 0.0)
        return np.divide(self.q_tilde, above, out=vanished, where=above > 0)

    def averaged(self, name: str) -> np.ndarray:
        """One number per weight layer, shape (L,): the mean over given inputs, or over pairs of different ones.

        Exchangeable inputs have nothing to average: the field `name` itself.
        """
        values = getattr(self, name)
        if not self.per_input:
            return values
        if values.ndim == 2:
            return values.mean(axis=1)
        n = values.shape[1]
        return (values.sum(axis=(1, 2)) - np.trace(values, axis1=1, axis2=2)) / max(n * (n - 1), 1)

    def to_dict(self) -> dict[str, Any]:
        """All fields, and `c` and `chi`, as plain Python."""
        return {**super().to_dict(), "c": self.c.tolist(), "chi": self.chi.tolist()}


def order_parameters(
    net: Network,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: np.ndarray | None = None,
    n_samples: int | None = None,
) -> OrderParameters:
    r"""Order parameters of an infinitely wide random network.

    In a fully connected network, for :math:`l = 1, \dots, L` (the hats for the layer's input),

    .. math::
        q^l &= \sigma_w^2 \hat q^{l-1} + \sigma_b^2, & \hat q^l &= E[\phi(u)^2],
        \\
        q_{st}^l &= \sigma_w^2 \hat q_{st}^{l-1} + \sigma_b^2, & \hat q_{st}^l &= E[\phi(u)\,\phi(v)],
        \\
        \tilde q^l &= \sigma_w^2 \tilde q^{l+1} E[\phi'(u)^2], &
        \tilde q_{st}^l &= \sigma_w^2 \tilde q_{st}^{l+1} E[\phi'(u)\,\phi'(v)],

    with (u, v) Gaussian of variance :math:`q^l` and covariance :math:`q_{st}^l`, and
    :math:`\tilde q^L = \tilde q_{st}^L = 1`. Other layers follow their own algebra (`mfdnn.layers`).

    Parameters
    ----------
    net : Network
        A network with linear outputs: its last layer is a weight layer.
    q0 : float or array_like, optional
        Mean square of an input unit, :math:`\hat q^0 \ge 0`. Default: 1.
    c0 : float or array_like, optional
        Correlation of two inputs, :math:`\hat q_{st}^0 / \hat q^0`, in [-1, 1]. Broadcasts with `q0` to shape
        S. Default: 0.
    inputs : array_like, shape (T, M_0), optional
        Given inputs instead of exchangeable random ones: one entry per input, and per pair. They determine,
        and so exclude, `q0` and `c0`.
    n_samples : int, optional
        T, which matters to layers that couple samples. Default: infinitely many, or the rows of `inputs`.

    Returns
    -------
    OrderParameters

    Raises
    ------
    ValueError
        Outputs that are not linear, negative `q0`, `c0` outside [-1, 1], `inputs` of another width than the
        network's, both `inputs` and `q0` or `c0`, or values beyond the range of floating-point numbers (an
        OverflowError too).
    MemoryError
        The (L, T, T) fields of given inputs do not fit.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([784, 1000, 1000, 10], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> op = mfdnn.order_parameters(net)
    >>> op.q
    array([2.1, 2.2, 2.3])
    >>> op.chi
    array([1., 1., 1.])
    >>> op.c.round(4)
    array([0.0476, 0.3724, 0.5474])

    Notes
    -----
    Accuracy: that of the Gaussian integrals, 1e-10 relative to :math:`E[\phi^2]` and :math:`E[\phi'^2]` in
    each layer. `q0` = 0 is allowed: two zero inputs coincide, so that c = 1 in every layer. Uniform biases (those of
    uniform weights) count by their variance, as if they were Gaussian: where they make up half of q, q_hat of tanh is
    5 % low and that of relu and gelu right within 2 %; PyTorch's, a share of 1/fan_in, do not matter.

    Cost: milliseconds for exchangeable inputs. T given inputs take 3 L T^2 floats and O(L T^2) time.

    References
    ----------
    Poole et al. 2016, "Exponential expressivity in deep neural networks through transient chaos",
    arXiv:1606.05340. Schoenholz et al. 2017, "Deep information propagation", arXiv:1611.01232. Karakida,
    Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean field
    approach", arXiv:1806.01316 (whose notation this is).
    """
    _check_linear_output(net)
    refuse_both("inputs", inputs, q0=q0, c0=c0)
    if inputs is None:
        state = _exchangeable_state(net, 1.0 if q0 is None else q0, 0.0 if c0 is None else c0, n_samples)
    else:
        state = _given_state(net, inputs)
        sample_count(n_samples, state.variance)
    trace: list[Any] = []
    # Overflow is reported below, in one sentence that names the layer.
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for layer in net.layers:
            state = layer.propagate_state(state, trace)
        records = [record for record in trace if isinstance(record, WeightRecord)]
        others = [record for record in trace if isinstance(record, ParameterRecord)]
        q_hat = _rows([record.input.variance for record in records])
        q = _rows([record.output.variance for record in records])
        q_hat_st, q_st = _adopt_covariances(records)
        _check_finite(q, q_st, "the variance of the signal")

        tangents = _propagate_tangents(net, trace) if net.couples_samples else None
        gradient = (np.ones_like(state.variance), np.ones_like(state.covariance))
        consumed = _drain(trace)
        for layer in reversed(net.layers):
            gradient = layer.backpropagate_state(gradient, consumed)
        q_tilde = _rows([record.gradient[0] for record in records])
        q_tilde_st = _adopt_gradients(records)
        _check_finite(q_tilde, q_tilde_st, "the squared error sent back")
    return OrderParameters(
        q=q,
        q_st=q_st,
        q_tilde=q_tilde,
        q_tilde_st=q_tilde_st,
        q_hat=q_hat,
        q_hat_st=q_hat_st,
        fan_in=np.array([record.input.width for record in records]),
        fan_out=np.array([record.output.width for record in records]),
        bias=np.array([record.bias for record in records]),
        _others=(_added(others, 0), _added(others, 1)),
        _tangents=tangents,
    )


def _check_linear_output(net: Network) -> None:
    if not isinstance(net, Network):
        raise TypeError(f"`net` must be a Network, got {type(net).__name__}; build one with mlp or Network.")
    last = net.layers[-1]
    while last.children:
        last = last.children[-1]
    if last.activation is not None:
        raise ValueError(
            f"`net` must have linear outputs for now, but it ends in {last!r}; end it with a `Dense` layer."
        )


def _exchangeable_state(net: Network, q0: Any, c0: Any, n_samples: int | None) -> State:
    variance, correlation = nonnegative_array("q0", q0), finite_array("c0", c0)
    if np.any(np.abs(correlation) > 1):
        worst = correlation.ravel()[np.argmax(np.abs(correlation))]
        raise ValueError(
            f"`c0` is a correlation and must lie in [-1, 1], got {worst:g}; divide the covariance by `q0`."
        )
    try:
        variance, correlation = np.broadcast_arrays(variance, correlation)
    except ValueError:
        raise ValueError(
            f"`q0` and `c0` must broadcast, got shapes {variance.shape} and {correlation.shape}; reshape one."
        ) from None
    if n_samples is not None:
        n_samples = positive_integer("n_samples", n_samples)
    return State(
        variance,
        variance * correlation,
        np.zeros_like(variance),
        net.n_inputs,
        gaussian=False,
        n_samples=n_samples,
    )


def _given_state(net: Network, inputs: Any) -> State:
    x = input_matrix("inputs", inputs, net.n_inputs)
    n = len(x)
    # Three (L, T, T) fields, or two of them and the slopes on the way; 14 more (measured) are work space of
    # one layer, or what `fisher_statistics` adds.
    n_bytes = 8.0 * n**2 * ((3 + 4 * net.couples_samples) * net.n_weight_layers + 14)
    job = f"the order parameters of {n} inputs in {net.n_weight_layers} weight layers"
    require_memory(n_bytes, job, "take fewer `inputs`")
    gram = x @ x.T
    gram /= x.shape[1]
    return State(np.diagonal(gram).copy(), gram, x.mean(axis=1), net.n_inputs, gaussian=False, n_samples=n)


def _propagate_tangents(net: Network, trace: list) -> tuple[Tangent, ...] | None:
    """The tangent kernels at the outputs; None where a layer that couples samples does not know its share."""
    tangents: list[Tangent] = []
    records = iter(trace)
    try:
        for layer in net.layers:
            tangents = layer.propagate_tangents(tangents, records)
    except NotImplementedError:
        return None
    return tuple(tangents)


def _rows(values: list[np.ndarray]) -> np.ndarray:
    return np.stack([np.asarray(value, float) for value in values])


def _adopt_covariances(records: list[WeightRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Stack the covariances and leave views of the stack in the records: only one copy stays alive."""
    shape = (len(records), *np.shape(records[0].output.covariance))
    q_hat_st, q_st = np.empty(shape), np.empty(shape)
    for row, record in enumerate(records):
        q_hat_st[row], q_st[row] = record.input.covariance, record.output.covariance
        record.input = record.input.replace(covariance=q_hat_st[row])
        record.output = record.output.replace(covariance=q_st[row])
    return q_hat_st, q_st


def _adopt_gradients(records: list[WeightRecord]) -> np.ndarray:
    """As `_adopt_covariances`, for the errors."""
    q_tilde_st = np.empty((len(records), *np.shape(records[0].gradient[1])))
    for row, record in enumerate(records):
        q_tilde_st[row] = record.gradient[1]
        record.gradient = (record.gradient[0], q_tilde_st[row])
    return q_tilde_st


def _added(records: list[ParameterRecord], i: int) -> Any:
    """What such parameters add to the kernel at one input (i = 0) or at two (i = 1)."""
    return sum((record.gradient[i] * record.features[i] for record in records), start=0.0)


def _drain(trace: list) -> Iterator:
    """The records from last to first, each released once it is used."""
    while trace:
        yield trace.pop()


def _check_finite(variance: np.ndarray, covariance: np.ndarray, what: str) -> None:
    for layer, (one, two) in enumerate(zip(variance, covariance, strict=True), start=1):
        if not (np.all(np.isfinite(one)) and np.all(np.isfinite(two))):
            raise OutOfRange(
                f"{what} is infinite at weight layer {layer} of {len(variance)}; lower `sigma_w2` or the "
                "depth, and use an activation without jumps."
            )

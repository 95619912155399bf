"""The Fisher information under a normalisation of the outputs: of the last layer's samples or of its units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._blas import single_blas_thread
from .._results import Result, unwrap
from ..layers import BatchNorm, LayerNorm, MeanSubtraction
from ..layers.normalization import inverse_moments
from ..network import Network
from ..order_parameters import OrderParameters
from .kernel import DENSE_UP_TO, Sums, kernel, sums

if TYPE_CHECKING:
    from ..finite_width.centred import CentredEdge

__all__ = [
    "OutputNormalisation",
    "describe",
    "layer_norm_traces",
    "output_normalisation",
    "refuse_softmax",
    "summation",
]

N_OUTPUTS = 32  # that batch norm of given inputs averages over; for layer norm draws of all outputs
ROUNDING = 1e-12  # of eigenvalues of a kernel, relative to the largest
N_TOPS = 8  # draws that the largest eigenvalue averages over where the mean gain is known
TOLERANCE = 1e-4  # of a largest eigenvalue, far below its scatter over draws


@dataclass(frozen=True, repr=False, eq=False)
class OutputNormalisation(Result):
    r"""What is known of the largest eigenvalue under mean subtraction or batch norm of the outputs.

    With :math:`\rho = M/T`, and :math:`\kappa_i` divided by :math:`q^L - q_{st}^L` for batch norm, Karakida et al.
    prove

    .. math::
        \rho \alpha (\kappa_1 - \kappa_2) + c_1 \le \lambda_{max} \le
        \sqrt{(C \alpha^2 \rho (\kappa_1 - \kappa_2)^2 + c_2) M}

    with constants :math:`c_1, c_2 \ge 0` they leave open. Order M becomes order 1 as T grows with M.

    Attributes
    ----------
    kind : str
        "mean subtraction" or "batch norm".
    scale : float or ndarray
        :math:`\gamma^2/(q^L - q_{st}^L)`, by which batch norm multiplies the Fisher information; 1 otherwise.
    degenerate : float or ndarray
        :math:`\rho \alpha (\kappa_1 - \kappa_2)`, what all C (T - 1) eigenvalues (batch norm: C (T - 2)) tend to as M
        grows at fixed T.
    edge : CentredEdge or None
        The law for T and widths that are comparable (`mfdnn.finite_width.centred_edge`), with its cautions; None where
        it does not apply: given inputs, other layers than dense ones, batch norm of up to 50 samples.
    why_no_edge : str
        What stands against the law; empty where there is an `edge`.
    edge_largest : float or None
        Its largest eigenvalue, with the gain and `eps` of the normalisation.
    width : float
        M.
    n_samples, n_outputs : int
        T and C.
    """

    kind: str
    scale: Any
    degenerate: Any
    edge: CentredEdge | None
    why_no_edge: str
    edge_largest: float | None
    width: float
    n_samples: int
    n_outputs: int

    def lower(self, c_1: float = 0.0) -> Any:
        r"""Lower bound with the constant :math:`c_1`; 0 leaves it below the truth by a factor of 2 to 6 at T = M."""
        return self.degenerate + c_1

    def upper(self, c_2: float = 0.0) -> Any:
        r"""Upper bound with the constant :math:`c_2`: the root of tr F^2, conservative."""
        squares = self.n_outputs * self.n_samples * np.square(self.degenerate)
        return unwrap(np.sqrt(squares + c_2 * self.width))

    def to_dict(self) -> dict[str, Any]:
        """All fields, and both bounds with constants 0, as plain Python."""
        return {
            **super().to_dict(),
            "lower": np.asarray(self.lower()).tolist(),
            "upper": np.asarray(self.upper()).tolist(),
        }

    @property
    def caution(self) -> str:
        """What to know before `largest` is used."""
        if self.edge is not None:
            return self.edge.caution
        return (
            f"After {self.kind} of the outputs no eigenvalue stands out: `largest` is the infinite-width value of a "
            "bulk, right for n_samples much smaller than the widths; the true edge is several times larger where "
            f"they are comparable. The law of that edge does not apply: {self.why_no_edge}"
        )


def output_normalisation(net: Network) -> MeanSubtraction | BatchNorm | LayerNorm | None:
    """The normalisation behind the last weight layer, or None."""
    behind = []
    for layer in reversed(net.layers):
        if layer.n_weight_layers:
            break
        behind.append(layer)
    if len(behind) > 1:
        raise ValueError(
            f"`net` may have one normalisation behind its last weight layer, got {behind[::-1]}; keep one of them."
        )
    last = behind[0] if behind else None
    return last if isinstance(last, MeanSubtraction | BatchNorm | LayerNorm) else None


def refuse_softmax(net: Network) -> None:
    """There is no theory of class probabilities behind a normalisation of the outputs."""
    last = output_normalisation(net)
    if last is not None:
        raise ValueError(
            f"`output` = softmax needs linear outputs, got {last.kind} behind them, of which there is no softmax "
            "theory; take the network without it, or sample it (`mfdnn.ensemble`)."
        )


def describe(
    last: MeanSubtraction | BatchNorm,
    body: OrderParameters,
    net: Network | None,
    before: Sums,
    n_samples: int,
    width: float,
) -> OutputNormalisation:
    """What is known with `last` behind the outputs; `net` is the network without it, where inputs are exchangeable."""
    batch = isinstance(last, BatchNorm)
    scale, edge, largest = np.ones(()), None, None
    why = "it is known for random inputs of one mean square and one correlation only."
    if isinstance(last, BatchNorm):
        variance = body.averaged("q")[-1] - body.averaged("q_st")[-1] + last.eps
        scale = np.divide(last.gamma**2, variance, out=np.zeros_like(variance), where=variance > 0)
    if net is not None:
        edge, why = _edge(net, body, n_samples, "batch" if batch else "mean")
    if edge is not None:
        largest = edge.largest * (float(scale) * edge.divisor if batch else 1.0)
    return OutputNormalisation(
        kind=last.kind,
        scale=unwrap(scale),
        degenerate=unwrap(scale * (before.diagonal - before.off_diagonal) / n_samples),
        edge=edge,
        why_no_edge=why,
        edge_largest=largest,
        width=width,
        n_samples=n_samples,
        n_outputs=int(body.fan_out[-1]),
    )


def _edge(
    net: Network, body: OrderParameters, n_samples: int, norm: str
) -> tuple[CentredEdge, str] | tuple[None, str]:
    """The law of the edge, or why there is none."""
    from ..finite_width.centred import centred_edge  # which imports this package

    q0 = float(body.q_hat[0])
    c0 = float(body.q_hat_st[0]) / q0 if q0 > 0 else 0.0
    try:
        return centred_edge(net, n_samples, q0, c0, norm), ""
    except ValueError as error:  # it says of which networks it knows nothing
        return None, str(error)


def summation(
    last: MeanSubtraction | BatchNorm | LayerNorm | None,
    op: OrderParameters,
    body: OrderParameters,
    n_samples: int,
) -> Callable[..., Sums]:
    """The function of (layers, leading) that returns the `Sums` of one output; `body` is `op` without `last`.

    For layer norm, which mixes outputs, they are means over outputs (`diagonal`, `square`) of the whole.
    """
    if last is None or isinstance(last, MeanSubtraction):
        return lambda layers, leading=False: sums(op, layers, n_samples, leading)
    if isinstance(last, BatchNorm) and not op.per_input:
        return lambda layers, leading=False: _of_rank_less_two(
            sums(op, layers, n_samples, leading), n_samples
        )
    c = int(body.fan_out[-1])
    if np.ndim(body.q[-1]) and not body.per_input:
        raise ValueError(
            f"`q0` and `c0` must be numbers under {last.kind} of the outputs, got arrays; call for each."
        )
    return _Drawn(last, body, n_samples, c, N_OUTPUTS if isinstance(last, LayerNorm) else -(-N_OUTPUTS // c))


def _of_rank_less_two(found: Sums, n_samples: int) -> Sums:
    """P_0 - z z^T/T has T - 2 equal eigenvalues; its mean over z, which `sums` takes, has T - 1 smaller ones."""
    more = (n_samples - 1) / (n_samples - 2)
    return found._replace(square=more * found.square, top=more * found.top)


class _Drawn:
    """Sums for outputs drawn from their law at infinite width; R is the derivative of their normalisation."""

    def __init__(
        self, last: BatchNorm | LayerNorm, body: OrderParameters, n_samples: int, n_outputs: int, n_draws: int
    ):
        from .cross_entropy import mean_field_logits

        self.last, self.body, self.n, self.c = last, body, n_samples, n_outputs
        u = mean_field_logits(body, n_samples, n_outputs, n_draws, rng=0)  # the same numbers every time
        u = u - u.mean(axis=last.AXIS, keepdims=True)
        spread = np.mean(u**2, axis=last.AXIS, keepdims=True) + last.eps
        inverse = np.divide(1.0, np.sqrt(spread), out=np.zeros_like(spread), where=spread > 0)
        self.z, self.inverse = u * inverse, last.gamma * inverse

    def __call__(self, layers: Any, leading: bool = False) -> Sums:
        one, two = kernel(self.body, layers, bias=not leading)
        with single_blas_thread():  # many products of matrices and vectors, which threads slow down
            found = (self._units if isinstance(self.last, LayerNorm) else self._samples)(one, two)
        if self.last.affine and layers is None and not leading:
            # The kernel of gains and offsets, z z^T + 1 1^T, has two eigenvalues T for every output.
            top = np.maximum(found.top, 1.0)
            found = found._replace(diagonal=found.diagonal + 2.0, square=found.square + 2.0, top=top)
        return found

    def _apply(self, i: int, v: np.ndarray) -> np.ndarray:
        """R v of draw i, v (T, C)."""
        axis, z = self.last.AXIS, self.z[i]
        v = v - v.mean(axis=axis, keepdims=True) - z * np.mean(z * v, axis=axis, keepdims=True)
        return self.inverse[i] * v

    def _units(self, one: Any, two: Any) -> Sums:
        """Layer norm: R(t) mixes the outputs of a sample."""
        n, c = self.n, self.c
        z, gain = self.z, self.inverse[..., 0] ** 2  # (draws, T, C), (draws, T)
        kept = np.mean(z**2, axis=-1)  # 1 for eps = 0; R R = gain (I - 1 1^T/c - (2 - kept) z z^T/c)
        trace = drawn = gain * (c - 1 - (2 - kept) * kept)
        exact = layer_norm_traces(self.last, self.body.q[-1], c)
        if c > 3 or self.last.eps > 0:
            trace = exact[0]
        # R R in the basis of outer products, averaged over samples.
        cross = np.eye(c) - 1 / c
        w = gain * (2 - kept) / c
        average = gain.mean(axis=1)[:, None, None] * cross - np.einsum("dt,dti,dtj->dij", w, z, z) / n
        own = gain**2 * (c - 2 + (1 - (2 - kept) * kept) ** 2)  # tr (R R)^2
        if self.body.per_input:
            diagonal = float(np.mean(trace * one)) / c
            rest = float(two.sum() - one.sum()) / max(n * (n - 1), 1)
            square = float(np.mean(self._pairs(gain, w, z, two**2))) / n**2 / c
        else:
            diagonal, rest = float(np.mean(trace) * one) / c, float(two)
            pairs = np.sum(average**2, axis=(1, 2)) - own.mean(axis=1) / n
            square = float(np.mean(pairs) * two**2 + np.mean(own) * one**2 / n) / c
        off = rest * float(np.mean(trace)) / c
        n_tops = len(z) if c <= 5 else N_TOPS
        top = float(np.mean([self._top(i, one, two) for i in range(n_tops)]))
        if c > 5:
            # What inputs share makes all gains of a draw large, or small: their known means take that out.
            top *= _over(np.mean(trace * one), np.mean(drawn[:n_tops] * one))
            square *= _over(np.mean(exact[1] * one**2), np.mean(own * one**2))
        return Sums(diagonal, off, square, top)

    def _pairs(self, gain: np.ndarray, w: np.ndarray, z: np.ndarray, squares: np.ndarray) -> list[float]:
        """sum_st Theta_st^2 tr(R_s^2 R_t^2) for every draw."""
        c, found = self.c, []
        for g, v, x in zip(gain, w, z, strict=True):
            length = (x**2).sum(axis=1)
            product = (c - 1) * np.multiply.outer(g, g) - np.multiply.outer(v * length, g)
            product += np.multiply.outer(v, v) * (x @ x.T) ** 2 - np.multiply.outer(g, v * length)
            found.append(float(np.vdot(squares, product)))
        return found

    def _samples(self, one: Any, two: Any) -> Sums:
        """Batch norm of given inputs: outputs do not mix, each has its own projector in the space of samples."""
        diagonals, squares, tops = [], [], []
        centred = two - two.mean(axis=0)
        centred -= centred.mean(axis=1, keepdims=True)
        for z, inverse in zip(self.z, self.inverse, strict=True):
            for k in range(self.c):
                x = z[:, k]
                y = centred @ x / self.n
                # P Theta P with P = P_0 - x x^T/T, x of mean 0.
                theta = centred - np.multiply.outer(x, y) - np.multiply.outer(y - x * (x @ y) / self.n, x)
                theta *= inverse[0, k] ** 2
                diagonals.append(np.trace(theta) / self.n)
                squares.append(np.vdot(theta, theta) / self.n**2)
                tops.append(_largest(theta.__matmul__, self.n) / self.n)
        highest = np.reshape(tops, (-1, self.c)).max(axis=1)  # the largest eigenvalue is that of some output
        first, second = self._known_gains()
        return Sums(first * np.mean(diagonals), 0.0, second * np.mean(squares), first * np.mean(highest))

    def _known_gains(self) -> tuple[float, float]:
        """Means of 1/(sigma^2 + eps) and of its square over those of the draws; 1 where they are infinite."""
        share = self.body.q_st[-1] / self.n
        share = share - share.mean(axis=0)
        values = np.linalg.eigvalsh(share - share.mean(axis=1, keepdims=True))
        known = inverse_moments(np.where(values > ROUNDING * values[-1], values, 0.0), self.last.eps)
        gain = (self.inverse / self.last.gamma) ** 2 if self.last.gamma else np.zeros(1)
        drawn = gain.mean(), np.mean(gain**2)
        first, second = (
            k / d if np.isfinite(k) and d > 0 else 1.0 for k, d in zip(known, drawn, strict=True)
        )
        return first, second

    def _top(self, i: int, one: Any, two: Any) -> float:
        shape = (self.n, self.c)

        def product(v: np.ndarray) -> np.ndarray:
            w = self._apply(i, v.reshape(shape))
            w = two @ w if self.body.per_input else (one - two) * w + two * w.sum(axis=0)
            return self._apply(i, w).ravel() / self.n

        return _largest(product, self.n * self.c)


def _over(known: float, drawn: Any) -> float:
    """By how much a drawn mean is to be multiplied; 1 where the known one is infinite, or all is 0."""
    return float(known / drawn) if np.isfinite(known) and drawn > 0 else 1.0


def layer_norm_traces(last: BatchNorm | LayerNorm, q: Any, c: int) -> np.ndarray:
    r"""Means of tr R R and tr (R R)^2, R the derivative of layer norm of c outputs of variance q.

    Over :math:`\sigma^2 = q \chi^2_{c-1}/c`, by the trapezoid rule in its logarithm, which converges exponentially.
    Without `eps` they are infinite up to c = 3 and 5; what is returned then means nothing.
    """
    half = (c - 1) / 2
    # About the mode, to where the density times 1/sigma^4 is below exp(-40).
    x = np.linspace(-200 / half - 9 / np.sqrt(half), np.log1p(50 / half) + 9 / np.sqrt(half), 2001)
    weight = np.exp(half * (x + 1 - np.exp(x)))
    variance = np.multiply.outer(np.asarray(q, float), (c - 1) / c * np.exp(x))
    inverse = np.divide(1.0, variance + last.eps, out=np.zeros_like(variance), where=variance + last.eps > 0)
    gain, kept = last.gamma**2 * inverse, variance * inverse
    lost = (2 - kept) * kept
    traces = np.stack([gain * (c - 1 - lost), gain**2 * (c - 2 + (1 - lost) ** 2)])
    return traces @ weight / weight.sum()


def _largest(product: Callable[[np.ndarray], np.ndarray], n: int) -> float:
    """The largest eigenvalue of a positive semi-definite product."""
    if n <= DENSE_UP_TO // 4:
        matrix = np.array([product(row) for row in np.eye(n)])
        return float(np.linalg.eigvalsh(matrix)[-1])
    from scipy.sparse.linalg import LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(n)  # a start, not a sample
    operator = LinearOperator((n, n), matvec=product, dtype=float)
    return float(eigsh(operator, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)[0])

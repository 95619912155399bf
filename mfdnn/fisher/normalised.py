"""The largest Fisher eigenvalue under a normalisation of the outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from .._support.results import Result, unwrap
from ..layers import OutputLaw, Sums
from ..mean_field import MeanField, output_normalisation
from ..network import Network
from .edge.centred import CentredEdge, edge_of

__all__ = ["OutputNormalisation", "describe", "refuse_softmax"]


@dataclass(frozen=True, repr=False, eq=False)
class OutputNormalisation(Result):
    r"""What is known of the largest eigenvalue of centred outputs.

    Under mean subtraction or batch norm of the outputs. With :math:`\rho = M/T`, and :math:`\kappa_i` divided by
    :math:`q^L - q_{st}^L` for batch norm, Karakida et al. prove

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
        The law for T and widths that are comparable (`mfdnn.centred_edge`), with its cautions; None where
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
        r"""Lower bound with the constant :math:`c_1`.

        0 leaves it below the truth by a factor of 2 to 6 at T = M.
        """
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


def refuse_softmax(net: Network) -> None:
    """Raise for networks whose outputs have no theory as class probabilities."""
    if net.n_outputs == 1:
        raise ValueError(
            "`output` = softmax needs two outputs or more, got 1: a softmax of one output is constant; use linear."
        )
    last = output_normalisation(net)
    if last is not None:
        raise NoTheory(
            f"`output` = softmax needs linear outputs, got {last.kind} behind them, of which there is no softmax "
            "theory; take the network without it, or sample it (`mfdnn.ensemble`)."
        )


def describe(law: OutputLaw, wide: MeanField, before: Sums, width: float, sharp: bool) -> OutputNormalisation:
    """What is known with centred outputs.

    `sharp`: of exchangeable inputs of one mean square and one correlation.
    """
    one, two = wide.outputs.averages()
    scale = law.scale(one - two)
    edge, largest = None, None
    why = "it is known for random inputs of one mean square and one correlation only."
    if sharp:
        edge, why = _edge(wide, law.edge)
    if edge is not None:
        largest = edge.largest * (float(scale) * edge.divisor if law.edge == "batch" else 1.0)
    n_samples = wide.n_samples
    return OutputNormalisation(
        kind=law.kind,
        scale=unwrap(scale),
        degenerate=unwrap(scale * (before.diagonal - before.off_diagonal) / n_samples),
        edge=edge,
        why_no_edge=why,
        edge_largest=largest,
        width=width,
        n_samples=n_samples,
        n_outputs=wide.network.n_outputs,
    )


def _edge(wide: MeanField, norm: str) -> tuple[CentredEdge, str] | tuple[None, str]:
    """The law of the edge, or why there is none."""
    try:
        return edge_of(wide.body(), norm), ""
    except (NoTheory, OutOfRange) as error:  # it says of which networks it knows nothing
        return None, str(error)

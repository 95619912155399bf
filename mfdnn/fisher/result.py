"""What is known of the eigenvalues of the Fisher information of a wide network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._support.results import Result, unwrap
from ..kernels.parts import kernel
from ..mean_field.moments import OrderParameters
from .cautions import of_ratio, of_second_moment
from .many_inputs import OrderParametersOfMany
from .normalised import OutputNormalisation

__all__ = ["BlockStatistics", "FisherStatistics"]

# Gaussian integrals are good to 1e-10; below ten times that, kappa_2 / kappa_1 is zero for all we know.
CENTRED_BELOW = 1e-9


@dataclass(frozen=True, repr=False, eq=False)
class BlockStatistics(Result):
    """Eigenvalue statistics of the block of one weight layer's parameters.

    Attributes
    ----------
    mean, second_moment, largest : float or ndarray
        As in `FisherStatistics`, of the block alone. `largest` of the first block under independent inputs is the edge
        of a random matrix of one output; several outputs split it (at T = 100, three by 20 to 30 % at M = 900, ten
        by 70 to 80 % at M = 300). Of many given inputs it is computed when it is first asked for.
    n_parameters, fan_in, fan_out : int
        Size of the block, and the widths of its layer.
    """

    mean: Any
    second_moment: Any
    largest: Any
    n_parameters: int
    fan_in: int
    fan_out: int


class LaterBlock(BlockStatistics):
    """Statistics of a block whose `largest` is computed when it is first asked for.

    Parameters
    ----------
    compute : callable
        That of a pickle is pickled.
    **fields
        All others.
    """

    def __init__(self, compute: Callable[[], float], **fields: Any):
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # the class is frozen
        object.__setattr__(self, "_compute", compute)

    def __getattr__(self, name: str) -> Any:
        if name != "largest":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, self._compute())
        return self.largest

    def __repr__(self) -> str:
        if "largest" in self.__dict__:
            return super().__repr__()
        return f"LaterBlock(mean={self.mean:.6g}, second_moment={self.second_moment:.6g}, largest when asked for)"


@dataclass(frozen=True, repr=False, eq=False)
class FisherStatistics(Result):
    r"""Eigenvalue statistics of the Fisher information matrix of a wide network.

    It is :math:`F = \frac1T \sum_t \sum_k \nabla f_k(t)\,\nabla f_k(t)^T` (P x P). Numbers are floats, or arrays of the
    common shape of `q0` and `c0`.

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
        tr F / P and tr F^2 / P at infinite width, with exact widths and bias gradients; `caution` says where chance
        overlaps add much to the latter.
    largest : float or ndarray
        The largest eigenvalue, C-fold in the limit: finite networks scatter around it.
    bulk : float or ndarray
        Mean of the other (T - 1) C non-zero eigenvalues (0 for T = 1).
    n_outliers : int
        How many eigenvalues of the size of `largest` stand out: C; C - 1 under layer norm of the outputs, 0 under
        mean subtraction or batch norm of them.
    mean_leading, second_moment_leading, largest_leading : float or ndarray
        The paper's leading order in M: no bias gradients, P without the last layer's share. For given inputs
        `largest_leading` averages the kernel over all pairs, which is a lower bound of its top eigenvalue.
    layers : tuple of BlockStatistics
        Statistics of the diagonal blocks, one per weight layer.
    n_parameters, n_samples, n_outputs : int
        P, T and C.
    order_parameters : OrderParameters
        What all this was computed from (left out by `to_dict`).
    output_normalisation : OutputNormalisation or None
        Under mean subtraction or batch norm of the outputs: the paper's bounds, the sharp edge, the limit of few
        samples.
    normalised_by : str
        What normalises the outputs ("mean subtraction", "batch norm", "layer norm"), or "".
    standard_error : dict or None
        Where units were sampled (`MeanField`): the standard error of the numbers above by their names. None: closed
        form.
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
    output_normalisation: OutputNormalisation | None = None
    normalised_by: str = ""
    standard_error: dict[str, Any] | None = None
    _of_largest: str = ""
    _overlaps: Any = 0.0  # what `cautions.chance_overlaps` adds to tr F^2 of one output

    def __repr__(self) -> str:
        numbers = ", ".join(f"{k}={_short(getattr(self, k))}" for k in ("mean", "second_moment", "largest"))
        return f"FisherStatistics({numbers}, T={self.n_samples}, C={self.n_outputs}, P={self.n_parameters})"

    @property
    def centred(self) -> Any:
        r"""Whether gradients at two inputs are orthogonal on average.

        :math:`\kappa_2` vanishes then, as it does for an odd activation without bias and uncorrelated inputs. Nothing
        then grows like M at fixed M/T: there are no outliers, and `largest` is only the leading value of the bulk (see
        `caution`).
        """
        return unwrap(np.abs(self.kappa_2) <= CENTRED_BELOW * np.asarray(self.kappa_1))

    @cached_property
    def ratio(self) -> Any:
        r"""Second largest eigenvalue of the tangent kernel over the largest.

        :math:`\lambda_2/\lambda_1`.
        Near 1 the largest eigenvalue of a single network lies above `largest`, as the random part of its kernel spreads
        what is nearly degenerate. None where the outputs are normalised.
        """
        if self.normalised_by:
            return None
        first, second = kernel(self.order_parameters).two_largest()
        return unwrap(np.divide(second, first, out=np.zeros(np.shape(first)), where=np.greater(first, 0)))

    @property
    def largest_caution(self) -> str:
        """What to know before `largest` is used; empty if nothing is known against it.

        No eigenvalue may stand out; several outputs split what stands out; behind a normalisation of the outputs the
        law of the edge may not apply, or say something itself.
        """
        known = self.output_normalisation
        if known is not None:
            return known.caution
        sampled = self.standard_error is not None and not self.normalised_by
        return " ".join(filter(None, (self._of_largest, of_ratio(self.ratio) if sampled else "")))

    @property
    def caution(self) -> str:
        """What to know before `largest` or `second_moment` is used.

        Beside `largest_caution`, how much chance overlaps of inputs and units add to `second_moment`, from a quarter
        of it on.
        """
        square = np.multiply(self.second_moment, self.n_parameters)
        said = of_second_moment(self.n_outputs * self._overlaps, square)
        return " ".join(filter(None, (self.largest_caution, said)))

    @property
    def summed(self) -> bool:
        """Whether there were many given inputs, so that kernels were summed tile by tile.

        Then `order_parameters` hold averages over pairs, no matrices.
        """
        return isinstance(self.order_parameters, OrderParametersOfMany)

    def to_dict(self) -> dict[str, Any]:
        """All fields but `order_parameters`, `centred` and `caution`, as plain Python."""
        hidden = ("order_parameters", *(["standard_error"] if self.standard_error is None else []))
        fields = {k: v for k, v in super().to_dict().items() if k not in hidden}
        return {**fields, "centred": np.asarray(self.centred).tolist(), "caution": self.caution}


def _short(value: Any) -> str:
    return f"{value:.6g}" if np.ndim(value) == 0 else f"<{np.shape(value)}>"

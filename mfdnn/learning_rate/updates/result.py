"""The first step of an optimiser, with what it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._support.results import Result, unwrap
from ..._support.validation import finite_array
from ...losses import LOSSES
from .draws import quantile_of_draws

__all__ = ["FirstStep"]


@dataclass(frozen=True, repr=False, eq=False)
class FirstStep(Result):
    r"""First update of an optimiser in networks that are yet to be drawn.

    It changes the outputs on the batch by :math:`-\eta D`. ``float(step)`` is `critical_learning_rate`.

    Attributes
    ----------
    response : float
        Root mean square of D over inputs and outputs: what a rate of 1 would do to the outputs, in their own units (for
        cross-entropy nats, without what all classes share). Median over draws, as all that follows.
    by_layer : ndarray, shape (L,)
        Shares of the weight layers in the first fall of the loss, e.D, with their biases. Of networks that are no chain
        one more for other parameters, such as gains.
    bias_share : float
        Of all biases; 0 where they are not told apart.
    directional : float
        :math:`2\, e \cdot D/(D \cdot Q D)`, Q the Hessian of the loss in the outputs: the rate at which one step brings
        the loss back to where it was, were the outputs linear in the rate. inf where nothing is learnt.
    validity : float or None
        :math:`\rho`, how far hidden layers move their own pre-activations at the `directional` rate, in units of these
        and summed over layers. Up to 0.3 the outputs are linear. None where it is not known.
    cap : float or None
        The rate at which that is 4.
    band : tuple of two floats
        5 and 95 % of the critical rates of networks drawn: of their outputs and labels, and of their kernels. Sixty
        networks never scattered more, and less above: its upper end may be twice too high.
    standard_error : dict
        Of `response`, `directional` and `critical_learning_rate`, for the draws that they are medians of.
    optimizer, loss, parameterisation : str
        As asked for.
    labels : {"given", "one-hot", "gaussian"}
        Where targets came from: classes alike for two outputs or more, standard normal numbers for one.
    inputs : {"given", "gaussian"}
        Where inputs came from.
    n_samples, n_outputs, n_draws : int
        T, C, and of how many outputs.
    caution : str
        What the number is worth here; empty for squared errors in wide networks, where medians of fresh networks' own
        critical rates were 0.8 to 1.4 times it.
    """

    response: float
    by_layer: np.ndarray
    bias_share: float
    directional: float
    validity: float | None
    cap: float | None
    band: tuple[float, float]
    standard_error: dict[str, float]
    optimizer: str
    loss: str
    parameterisation: str
    labels: str
    inputs: str
    n_samples: int
    n_outputs: int
    n_draws: int
    caution: str
    _directional: np.ndarray
    _rates: np.ndarray
    _spread: float

    def __float__(self) -> float:
        return self.critical_learning_rate

    def __repr__(self) -> str:
        low, high = self.band
        numbers = f"{self.critical_learning_rate:.4g} [{low:.3g}, {high:.3g}], response={self.response:.4g}"
        return f"FirstStep({self.optimizer}, {numbers}, loss={self.loss!r}, T={self.n_samples}, C={self.n_outputs})"

    @property
    def critical_learning_rate(self) -> float:
        r"""The `directional` rate, or the `cap` where that is smaller.

        That is :math:`\min(1, 4/\rho)` of it. Above it the first step raises the loss.
        """
        return self.directional if self.cap is None else min(self.directional, self.cap)

    @property
    def convention(self) -> str:
        """Which loss, which step, which statement the rate belongs to, in sentences."""
        labels = "labels as given" if self.labels == "given" else f"{self.labels} labels, drawn"
        cap = "" if self.cap is None else f", or {self.cap:.4g} where layers move by four times their size, if smaller"
        return (
            f"loss {self.loss} = {LOSSES[self.loss]}; {self.n_samples} {self.inputs} inputs, {labels}; first step of "
            f"{self.optimizer} on the full batch, {self.parameterisation} parameterisation: with a rate of 2 "
            f"e.D/(D.QD), median over {self.n_draws} draws of the outputs{cap}, it brings the loss back to where it "
            "was. Nothing is said of later steps."
        )

    def quantile(self, p: Any) -> Any:
        """Critical rates that a share `p` of the networks drawn stay below.

        Parameters
        ----------
        p : float or array_like
            In [0, 1].

        Raises
        ------
        ValueError
            `p` outside [0, 1].
        """
        share = finite_array("p", p)
        if share.size and (share.min() < 0 or share.max() > 1):
            raise ValueError(f"`p` must lie in [0, 1], got {share.min():g} to {share.max():g}; 0.5 is the median.")
        found = quantile_of_draws(self._rates, self._spread, share.ravel())
        return unwrap(found.reshape(share.shape))

    def to_dict(self) -> dict[str, Any]:
        """All fields, the critical rate and its convention, as plain Python."""
        rate = self.critical_learning_rate
        return {**super().to_dict(), "critical_learning_rate": rate, "convention": self.convention}

"""The rate at which an optimiser's first step no longer lowers the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.results import Result
from .._support.validation import one_of
from ..jobs.watch import stop_if_asked
from ..losses import LOSSES, softmax
from ..losses.line import line_search
from ..losses.optimisers import Optimiser, checked_optimiser
from ..losses.values import checked_targets, loss_and_slope
from ..sampled import Operator, SampledNetwork
from .subject import in_training
from .updates import Update

__all__ = ["CriticalRate", "critical_rate"]


@dataclass(frozen=True, repr=False, eq=False)
class CriticalRate(Result):
    r"""Where the loss along an optimiser's first step comes back to its first value.

    Attributes
    ----------
    rate : float
        The smallest of `crossings`: at smaller rates the first step lowers the loss of all samples. inf where no
        crossing was found up to `searched_to`.
    crossings : tuple of float
        Rates at which the loss equals the first one, increasing: it rises through it at the first, falls at the second,
        and so on; as fine as the factors of two between which they were looked for.
    first_loss : float
        At the rate 0.
    directional : float
        :math:`2\,e \cdot D/D \cdot Q D`: D the change of the outputs of this network per unit rate, e its errors (T
        times the loss's slope by the outputs), Q the loss's Hessian by them. It is `rate` where outputs are linear in
        the rate and the loss is a square.
    response : float
        Root mean square of D over samples and outputs; for cross-entropy without what all outputs of a sample share.
    searched_to : float
        The largest rate that was looked at.
    along : dict
        "rate" and "loss", arrays (n,): all that were evaluated.
    loss, optimizer : str
        Names, as in `mfdnn.train`.
    settings : dict
        Of the optimiser, "weight_decay" among them.
    n_samples, n_outputs : int
    caution : str
        What to know; empty if nothing.
    """

    rate: float
    crossings: tuple[float, ...]
    first_loss: float
    directional: float
    response: float
    searched_to: float
    along: dict[str, np.ndarray]
    loss: str
    optimizer: str
    settings: dict[str, Any]
    n_samples: int
    n_outputs: int
    caution: str

    def __float__(self) -> float:
        return self.rate

    def __repr__(self) -> str:
        more = f", {len(self.crossings)} crossings" if len(self.crossings) > 1 else ""
        return f"CriticalRate({self.rate:.4g}, {self.optimizer}, {self.loss} {self.first_loss:.4g}{more})"


def critical_rate(
    one: SampledNetwork | Operator,
    X: Any,
    Y: Any,
    optimizer: str = "sgd",
    loss: str = "half_mse",
    *,
    momentum: float | None = None,
    nesterov: bool | None = None,
    betas: tuple[float, float] | None = None,
    eps: float | None = None,
    alpha: float | None = None,
    adjust: str | None = None,
    weight_decay: float = 0.0,
) -> CriticalRate:
    r"""Critical rate of an optimiser's first step, by a line search on the loss itself.

    The first update is a rate times a direction, :math:`\theta - \eta U`. The loss along it begins to fall, for
    :math:`e \cdot D > 0`, and comes back to its first value at the critical rate: larger ones raise the loss of these
    samples at the first step. It may fall below it again further on, which `crossings` tells.

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator` with `vector` and `at`
    X, Y
        All samples and their targets, as in `mfdnn.train`.
    optimizer, loss, momentum, nesterov, betas, eps, alpha, adjust, weight_decay
        As in `mfdnn.train`. Momentum and betas hardly matter to a first step: of Nesterov's, NAdam and RMSprop they
        scale it.

    Returns
    -------
    CriticalRate

    Raises
    ------
    TypeError, ValueError
        What `mfdnn.train` refuses; gradients of 0, so that there is nothing to learn; outputs that are not finite.

    Notes
    -----
    Crossings are good to 0.4 %. Cost: a forward and a backward pass, a product with the Jacobian, and 8 to 20 forward
    passes. The step is taken in float64, whatever the network's dtype. It says nothing of later steps, and nothing of
    other samples.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([20, 200, 200, 1], "tanh", sigma_w2=1.5, sigma_b2=0.1), rng=0)
    >>> X, Y = np.random.default_rng(1).standard_normal((50, 20)), np.ones((50, 1))
    >>> found = mfdnn.training.critical_rate(one, X, Y, "adam")
    >>> found, len(found.crossings)
    (CriticalRate(0.00575, adam, half_mse 0.8332), 1)
    >>> [mfdnn.train(one, X, Y, x * found.rate, 1, optimizer="adam").outcome for x in (0.95, 1.05)]
    ['fell', 'grew']
    """
    running = in_training(one)
    x = running.checked(X)
    one_of("loss", loss, LOSSES)
    settings = {"momentum": momentum, "nesterov": nesterov, "betas": betas, "eps": eps, "alpha": alpha}
    optimiser = checked_optimiser(optimizer, **settings, adjust=adjust, weight_decay=weight_decay)
    if optimiser.name == "muon" and not running.has_matrices:
        raise ValueError(
            "`optimizer` = muon needs matrices, and `one` has a vector of parameters; pass a SampledNetwork, or take "
            "another optimiser."
        )
    n_samples, n_outputs = len(x), running.n_outputs(x)
    y = checked_targets(Y, loss, n_samples, n_outputs, running.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        linear = running.linearise(x)
        f = np.array(linear.outputs, dtype=np.float64)
        first, slope = loss_and_slope(loss, np.array(linear.outputs), y)
        if not np.isfinite(first):
            raise ValueError("`one` has outputs or a loss that are not finite at these samples; scale its inputs down.")
        gradients = running.gradients(linear, slope)
        if not any(g.any() for g in gradients):
            raise ValueError(
                "`Y` gives a gradient of 0, so that nothing is learnt and every rate is as good; look for outputs that "
                "fit already, saturated units or weights of 0."
            )
        move = _first_move(running.arrays, gradients, optimiser)
        change = -np.asarray(linear.jvp(move.astype(running.dtype)), dtype=np.float64)
        start, subject = np.concatenate([a.ravel() for a in running.arrays]).astype(np.float64), running.finished()
        fall, curvature = _second_order(loss, f, y, slope, change)
        directional = 2 * fall / curvature if curvature > 0 else np.inf
        caution = ""
        if fall <= 0:  # weight decay pulls the other way, or the step is below all numbers
            crossings: tuple[float, ...] = (0.0,)
            upper, places, losses = 0.0, np.zeros(1), np.array([first])
            caution = (
                "The loss rises at once along the step, which the weight decay turns: no rate lowers it."
                if optimiser.weight_decay
                else "The step is too small for its numbers to tell where the loss goes: take a smaller `eps`."
            )
        else:

            def value(rate: float) -> float:
                stop_if_asked()
                vector = (start + rate * move).astype(running.dtype)
                if not np.all(np.isfinite(vector)):
                    return np.inf
                return loss_and_slope(loss, np.array(subject.at(vector).linearise(x).outputs), y)[0]

            found = line_search(value, first, directional if np.isfinite(directional) else abs(first) / fall)
            crossings, upper, places, losses = found.crossings, found.upper, found.places, found.losses
            resolved = 100 * float(np.finfo(running.dtype).eps) * abs(first)
            if crossings and crossings[0] * fall < resolved:
                caution = "The loss moves by little more than its rounding up to the critical rate: take float64."
            elif not crossings:
                caution = f"The loss has not come back to its first value up to the rate {upper:.4g}."
    shown = change - change.mean(axis=1, keepdims=True) if loss == "cross_entropy" else change
    return CriticalRate(
        rate=crossings[0] if crossings else np.inf,
        crossings=crossings,
        first_loss=first,
        directional=float(directional),
        response=float(np.sqrt(np.mean(shown**2))),
        searched_to=float(upper),
        along={"rate": places, "loss": losses},
        loss=loss,
        optimizer=optimiser.name,
        settings={**optimiser.settings, "weight_decay": optimiser.weight_decay},
        n_samples=n_samples,
        n_outputs=n_outputs,
        caution=caution,
    )


def _first_move(arrays: list[np.ndarray], gradients: list[np.ndarray], optimiser: Optimiser) -> np.ndarray:
    """Displacement (P,) of the parameters by the first step at the rate 1.

    Only decay asks where they are: elsewhere they begin at 0, where no small step is lost beside them.
    """
    old = [a.astype(np.float64) if optimiser.weight_decay else np.zeros(a.shape) for a in arrays]
    moved = [a.copy() for a in old]
    Update(moved, 1.0, optimiser)([g.astype(np.float64) for g in gradients])
    return np.concatenate([(new - was).ravel() for new, was in zip(moved, old, strict=True)])


def _second_order(
    loss: str, f: np.ndarray, y: np.ndarray, slope: np.ndarray, change: np.ndarray
) -> tuple[float, float]:
    """Slope of the loss along the step, less its sign, and its curvature there."""
    fall = float(np.sum(slope * change))
    if loss == "cross_entropy":
        p = softmax(f)
        share = (p * change).sum(axis=1, keepdims=True)
        return fall, float(np.sum(p * (change - share) ** 2) / len(f))
    # Squared errors: the slope is the scale over T times the residual.
    residual = f - y
    scale = float(np.sum(slope * residual) / np.sum(residual**2))
    return fall, scale * float(np.sum(change**2))

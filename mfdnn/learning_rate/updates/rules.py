"""What the first update of an optimiser is, as data.

With G the gradient of the loss, and no moments of gradients before it. Bias correction cancels betas in the first step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._support.validation import finite_number, one_of
from ...losses.optimisers import RULES, Optimiser, checked_optimiser, nadam_momenta

__all__ = ["KERNEL_SHARE", "FirstUpdate", "checked_update", "nadam_factor"]

# s.d. of the logarithm of a critical rate over that of the largest eigenvalue, at given outputs: fitted on four
# networks of 128 and 256 units; that of gradient descent is exact where the errors are along the outlier.
KERNEL_SHARE = {"gradient": 1.0, "sign": 0.55, "muon": 0.4}


@dataclass(frozen=True)
class FirstUpdate:
    r"""The first update :math:`\theta \leftarrow \theta - \eta U` of an optimiser.

    Attributes
    ----------
    optimiser : Optimiser
        Name and settings.
    family : {"gradient", "sign", "muon"}
        U is `factor` times G, :math:`G/(|G| + eps)`, or the orthogonalised matrix G of each weight layer, with the sign
        family's update of the biases.
    factor : float
    eps : float
        0 for the sign itself.
    decay : float
        w of a decay that is added to the gradient. Decoupled decay moves the outputs by a vector of mean 0, of order 1
        beside :math:`M^{3/2}` of the sign family: it is left out, and so is that of plain gradient descent.
    """

    optimiser: Optimiser
    family: str
    factor: float = 1.0
    eps: float = 0.0
    decay: float = 0.0


def _gradient(optimiser: Optimiser) -> FirstUpdate:
    # The first buffer of momentum is the gradient, also with dampening; Nesterov's adds b times it.
    return FirstUpdate(optimiser, "gradient", 1 + (optimiser.momentum or 0.0) if optimiser.nesterov else 1.0)


def _sign(optimiser: Optimiser) -> FirstUpdate:
    return FirstUpdate(optimiser, "sign", decay=0.0 if optimiser.decoupled else optimiser.weight_decay)


def _adam(optimiser: Optimiser) -> FirstUpdate:
    decay = 0.0 if optimiser.decoupled else optimiser.weight_decay
    return FirstUpdate(optimiser, "sign", eps=optimiser.eps or 0.0, decay=decay)


def _rmsprop(optimiser: Optimiser) -> FirstUpdate:
    """Without bias correction: G/(sqrt(1 - alpha) abs G + eps)."""
    root = (1 - (optimiser.alpha or 0.0)) ** 0.5
    return FirstUpdate(optimiser, "sign", 1 / root, (optimiser.eps or 0.0) / root, optimiser.weight_decay)


def nadam_factor(beta: float) -> float:
    """How much larger NAdam's first step is than Adam's."""
    mu, following = nadam_momenta(beta, 1)
    return 1 + following * (1 - beta) / (1 - mu * following)


def _nadam(optimiser: Optimiser) -> FirstUpdate:
    assert optimiser.betas is not None and optimiser.eps is not None
    return FirstUpdate(
        optimiser, "sign", nadam_factor(optimiser.betas[0]), optimiser.eps, optimiser.weight_decay
    )


def _muon(optimiser: Optimiser) -> FirstUpdate:
    # Momentum and Nesterov's scale G alone, which orthogonalisation does not see.
    return FirstUpdate(optimiser, "muon", eps=optimiser.eps or 0.0)


_UPDATES: dict[str, Callable[[Optimiser], FirstUpdate]] = {
    "sgd": _gradient,
    "signsgd": _sign,
    "lion": _sign,
    "adam": _adam,
    "adamw": _adam,
    "nadam": _nadam,
    "radam": _gradient,  # its first five steps are those of descent with momentum
    "adamax": _adam,
    "adagrad": _adam,
    "rmsprop": _rmsprop,
    "muon": _muon,
}
assert set(_UPDATES) == set(RULES)


def checked_update(
    optimizer: Any, *, eps: Any = 1e-8, momentum: Any = 0.0, nesterov: Any = False, adjust: Any = "original",
    weight_decay: Any = 0.0,
) -> FirstUpdate:  # fmt: skip
    """The first update of the optimiser of that name.

    `eps` and `adjust` of optimisers that have none are checked and left out.
    """
    has = RULES[one_of("optimizer", optimizer, RULES)]
    if "eps" not in has:
        if eps is not None and finite_number("eps", eps) < 0:
            raise ValueError(f"`eps` must be >= 0, got {eps:g}; 1e-8 is usual.")
        eps = None
    if "adjust" not in has and isinstance(adjust, str) and adjust == "original":
        adjust = None
    optimiser = checked_optimiser(
        optimizer, momentum=momentum, nesterov=nesterov, eps=eps, adjust=adjust, weight_decay=weight_decay
    )
    return _UPDATES[optimiser.name](optimiser)

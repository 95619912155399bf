"""Optimisers by PyTorch's names: what can be set of each, and what stands if not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .._support.validation import boolean, finite_number, one_of, short

__all__ = ["ADJUSTMENTS", "RULES", "Optimiser", "checked_optimiser", "nadam_momenta"]

_ADAM: dict[str, Any] = {"betas": (0.9, 0.999), "eps": 1e-8}
RULES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "sgd": {"momentum": 0.0, "nesterov": False},
        "signsgd": {},
        "lion": {"betas": (0.9, 0.99)},
        "adam": _ADAM,
        "adamw": _ADAM,
        "nadam": _ADAM,
        "radam": _ADAM,
        "adamax": _ADAM,
        "adagrad": {"eps": 1e-10},
        "rmsprop": {"alpha": 0.99, "eps": 1e-8, "momentum": 0.0},
        "muon": {"momentum": 0.95, "nesterov": True, "adjust": "original", **_ADAM},
    }
)
MOMENTUM_DECAY = 4e-3  # of NAdam, PyTorch's default
ADJUSTMENTS = ("original", "match_rms_adamw", "spectral_unclamped")  # of Muon's rate, by the shape of a matrix


@dataclass(frozen=True)
class Optimiser:
    """An optimiser and its settings, all but the rate; what it does not have is None.

    Attributes
    ----------
    name : str
        A key of `RULES`.
    momentum, nesterov : float or None, bool or None
        Of sgd, rmsprop (no nesterov) and muon.
    betas : tuple of two floats or None
        Of the first and the second moment.
    eps, alpha, adjust : float, float, str or None
        Beside the root in the denominator; of RMSprop's second moment; of Muon's rate.
    weight_decay : float
        Of all. Decoupled, rate times decay, in adamw, lion and muon; else added to the gradient.
    """

    name: str
    momentum: float | None = None
    nesterov: bool | None = None
    betas: tuple[float, float] | None = None
    eps: float | None = None
    alpha: float | None = None
    adjust: str | None = None
    weight_decay: float = 0.0

    @property
    def settings(self) -> dict[str, Any]:
        """Those that it has, by their names, without the decay."""
        return {name: getattr(self, name) for name in RULES[self.name]}

    @property
    def decoupled(self) -> bool:
        """Whether decay acts on parameters and not by the gradient."""
        return self.name in ("adamw", "lion", "muon")


def checked_optimiser(
    optimizer: Any,
    *,
    momentum: Any = None,
    nesterov: Any = None,
    betas: Any = None,
    eps: Any = None,
    alpha: Any = None,
    adjust: Any = None,
    weight_decay: Any = 0.0,
) -> Optimiser:
    """The optimiser of that name with these settings; None: its own default.

    Raises
    ------
    TypeError, ValueError
        An unknown name, a setting that it does not have, or one outside its range.

    Examples
    --------
    >>> from mfdnn.losses.optimisers import checked_optimiser
    >>> checked_optimiser("muon", momentum=0.9).settings
    {'momentum': 0.9, 'nesterov': True, 'adjust': 'original', 'betas': (0.9, 0.999), 'eps': 1e-08}
    """
    name = one_of("optimizer", optimizer, RULES)
    defaults = dict(RULES[name])
    given = {"momentum": momentum, "nesterov": nesterov, "betas": betas, "eps": eps, "alpha": alpha, "adjust": adjust}
    w = finite_number("weight_decay", weight_decay)
    if w < 0:
        raise ValueError(f"`weight_decay` must be >= 0, got {w:g}; pass its size, without a sign.")
    found: dict[str, Any] = {}
    for key, value in given.items():
        if value is None:
            continue
        checked = _CHECKS[key](key, value)
        if key in defaults:
            found[key] = checked
        elif checked:  # no momentum and no nesterov are as good as none given
            having = ", ".join(other for other, settings in RULES.items() if key in settings)
            raise ValueError(
                f"`{key}` is no setting of optimizer {name!r}, got {short(value)}; drop it, or take one of {having}."
            )
    if found.get("nesterov") and found.get("momentum", defaults["momentum"]) == 0:
        raise ValueError(
            "`nesterov` does nothing where `momentum` is 0: that is plain gradient descent; give a `momentum`, 0.9 is "
            "usual, or drop `nesterov`."
        )
    settings = {**defaults, **found}
    if settings.get("momentum") == 0 and "nesterov" in settings:
        settings["nesterov"] = False
    return Optimiser(name, weight_decay=w, **settings)


def _momentum(name: str, value: Any) -> float:
    b = finite_number(name, value)
    if not 0 <= b < 1:
        raise ValueError(f"`{name}` must lie in [0, 1), got {b:g}; 0.9 is usual, 0 is plain descent.")
    return b


def _betas(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"`{name}` must be a pair of numbers in [0, 1), got {short(value)}; (0.9, 0.999) is usual.")
    first, second = (finite_number(name, b) for b in value)
    if not (0 <= first < 1 and 0 <= second < 1):
        raise ValueError(f"`{name}` must lie in [0, 1), got {first:g} and {second:g}; (0.9, 0.999) is usual.")
    return first, second


def _eps(name: str, value: Any) -> float:
    eps = finite_number(name, value)
    if eps < 0:
        raise ValueError(f"`{name}` must be >= 0, got {eps:g}; 1e-8 is usual.")
    return eps


def _alpha(name: str, value: Any) -> float:
    alpha = finite_number(name, value)
    if not 0 <= alpha < 1:
        raise ValueError(f"`{name}` must lie in [0, 1), got {alpha:g}; 0.99 is usual.")
    return alpha


_CHECKS: dict[str, Any] = {
    "momentum": _momentum,
    "nesterov": boolean,
    "betas": _betas,
    "eps": _eps,
    "alpha": _alpha,
    "adjust": lambda name, value: one_of(name, value, ADJUSTMENTS),
}


def nadam_momenta(beta: float, step: int) -> tuple[float, float]:
    """NAdam's momenta of a step, counted from 1, and of the next."""
    first, second = (beta * (1 - 0.5 * 0.96 ** (s * MOMENTUM_DECAY)) for s in (step, step + 1))
    return first, second

"""Optimisers: the largest stable step on a quadratic."""

from __future__ import annotations

from typing import Any

from .._support.validation import boolean, finite_number, variance

__all__ = ["OPTIMISERS", "checked_nesterov", "stability_limit"]

OPTIMISERS = {"gradient descent": (0.0, False), "heavy ball 0.9": (0.9, False), "Nesterov 0.9": (0.9, True)}


def stability_limit(curvature: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    r"""Largest stable step on a quadratic of that largest `curvature`.

    In an eigendirection of curvature :math:`\lambda` the two-step map has the characteristic polynomial
    :math:`z^2 - (1 + b - \eta\lambda) z + b` (heavy ball) or
    :math:`z^2 - (1 + b)(1 - \eta\lambda) z + b (1 - \eta\lambda)` (Nesterov); the first root to leave the
    unit circle does so at z = -1.

    Parameters
    ----------
    curvature : float
        Largest eigenvalue of the Hessian, >= 0.
    momentum : float
        b, in [0, 1).
    nesterov : bool
        Nesterov's momentum instead of the heavy ball.

    Returns
    -------
    float
        In units of 1/`curvature`; inf where that is 0.

    Raises
    ------
    ValueError
        Negative or non-finite `curvature`.

    Examples
    --------
    >>> from mfdnn.losses import stability_limit
    >>> stability_limit(4.0), stability_limit(4.0, momentum=0.5), stability_limit(4.0, 0.5, nesterov=True)
    (0.5, 0.75, 0.375)
    """
    curvature, momentum = variance("curvature", curvature), finite_number("momentum", momentum)
    if not 0 <= momentum < 1:
        raise ValueError(f"`momentum` must lie in [0, 1), got {momentum:g}; 0.9 is usual, 0 is plain descent.")
    nesterov = boolean("nesterov", nesterov)
    if curvature == 0:
        return float("inf")
    steps = 2 * (1 + momentum) / (1 + 2 * momentum) if nesterov else 2 * (1 + momentum)
    return float(steps / curvature)


def checked_nesterov(nesterov: Any, momentum: float) -> bool:
    """The flag, or a ValueError where there is no momentum for it to be about."""
    flag = boolean("nesterov", nesterov)
    if flag and momentum == 0:
        raise ValueError(
            "`nesterov` does nothing where `momentum` is 0: that is plain gradient descent; give a `momentum`, 0.9 is "
            "usual, or drop `nesterov`."
        )
    return flag

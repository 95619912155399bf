"""Losses and optimisers: curvature in units of F, and the largest stable step on a quadratic."""

from __future__ import annotations

from .._support.validation import nonnegative_array, one_of

__all__ = ["LOSSES", "OPTIMISERS", "loss_scale", "stability_limit"]

LOSSES = {
    "half_mse": "(1/(2T)) sum_t |f_t - y_t|^2",
    "mse_per_sample": "(1/T) sum_t |f_t - y_t|^2",
    "torch_mse": "(1/(TC)) sum_t |f_t - y_t|^2, torch.nn.MSELoss()",
    "torch_mse_sum": "sum_t |f_t - y_t|^2, torch.nn.MSELoss(reduction='sum')",
    "cross_entropy": "-(1/T) sum_t log softmax(f_t)[y_t], torch.nn.CrossEntropyLoss()",
}
OPTIMISERS = {"gradient descent": (0.0, False), "heavy ball 0.9": (0.9, False), "Nesterov 0.9": (0.9, True)}


def loss_scale(loss: str, n_outputs: int, n_samples: int) -> float:
    """Factor s such that the curvature of `loss` is s F; for cross-entropy an upper bound.

    Parameters
    ----------
    loss : str
        One of `LOSSES`.
    n_outputs, n_samples : int
        C and T.

    Raises
    ------
    ValueError
        Unknown `loss`.

    Examples
    --------
    >>> from mfdnn.learning_rate import loss_scale
    >>> loss_scale("torch_mse", n_outputs=10, n_samples=1000)
    0.2
    """
    return {
        "half_mse": 1.0,
        "mse_per_sample": 2.0,
        "torch_mse": 2.0 / n_outputs,
        "torch_mse_sum": 2.0 * n_samples,
        "cross_entropy": 0.5,
    }[one_of("loss", loss, LOSSES)]


def stability_limit(curvature: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    r"""Largest stable step on a quadratic of that largest `curvature`; inf where it is 0.

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

    Raises
    ------
    ValueError
        Negative or non-finite `curvature`.

    Examples
    --------
    >>> from mfdnn.learning_rate import stability_limit
    >>> stability_limit(4.0), stability_limit(4.0, momentum=0.5), stability_limit(4.0, 0.5, nesterov=True)
    (0.5, 0.75, 0.375)
    """
    nonnegative_array("curvature", curvature)
    if curvature == 0:
        return float("inf")
    steps = 2 * (1 + momentum) / (1 + 2 * momentum) if nesterov else 2 * (1 + momentum)
    return float(steps / curvature)

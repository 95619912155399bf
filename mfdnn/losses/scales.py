"""Losses: their names, and their curvature in units of the Fisher information."""

from __future__ import annotations

from .._support.validation import one_of, positive_integer

__all__ = ["LOSSES", "loss_scale"]

LOSSES = {
    "half_mse": "(1/(2T)) sum_t |f_t - y_t|^2",
    "mse_per_sample": "(1/T) sum_t |f_t - y_t|^2",
    "torch_mse": "(1/(TC)) sum_t |f_t - y_t|^2, torch.nn.MSELoss()",
    "torch_mse_sum": "sum_t |f_t - y_t|^2, torch.nn.MSELoss(reduction='sum')",
    "cross_entropy": "-(1/T) sum_t log softmax(f_t)[y_t], torch.nn.CrossEntropyLoss()",
}


def loss_scale(loss: str, n_outputs: int, n_samples: int) -> float:
    """Factor s such that the curvature of `loss` is s F.

    For cross-entropy it is at most that.

    Parameters
    ----------
    loss : str
        One of `LOSSES`.
    n_outputs, n_samples : int
        C and T.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Unknown `loss`.

    Examples
    --------
    >>> from mfdnn.losses import loss_scale
    >>> loss_scale("torch_mse", n_outputs=10, n_samples=1000)
    0.2
    """
    n_outputs, n_samples = positive_integer("n_outputs", n_outputs), positive_integer("n_samples", n_samples)
    return {
        "half_mse": 1.0,
        "mse_per_sample": 2.0,
        "torch_mse": 2.0 / n_outputs,
        "torch_mse_sum": 2.0 * n_samples,
        "cross_entropy": 0.5,
    }[one_of("loss", loss, LOSSES)]

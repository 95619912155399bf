"""Values of the losses, their slopes in the outputs, and the targets they take."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.validation import finite_array
from .scales import loss_scale

__all__ = ["checked_targets", "loss_and_slope"]


def loss_and_slope(loss: str, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    r"""Value of a loss and its derivative by the outputs.

    Squared errors, s the scale of `loss_scale`:
    :math:`E = \frac{s}{2T} \sum_t |f_t - y_t|^2`, :math:`\partial E/\partial f_t = \frac sT (f_t - y_t)`.
    Cross-entropy: :math:`E = -\frac1T \sum_t y_t \cdot \log p_t`,
    :math:`\partial E/\partial f_t = \frac1T (p_t - y_t)`, p the softmax of f.

    Parameters
    ----------
    loss : str
        One of `mfdnn.losses.LOSSES`.
    outputs, targets : ndarray, shape (T, C)
        For cross-entropy targets are probabilities: rows that sum to 1.

    Returns
    -------
    float
        E.
    ndarray, shape (T, C)
        Derivative of E by the outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from mfdnn.losses import loss_and_slope
    >>> loss_and_slope("half_mse", np.array([[1.0], [3.0]]), np.zeros((2, 1)))
    (2.5, array([[0.5],
           [1.5]]))
    """
    n_samples, n_outputs = outputs.shape
    if loss == "cross_entropy":
        f = outputs - outputs.max(axis=1, keepdims=True)
        p = np.exp(f)
        total = p.sum(axis=1, keepdims=True)
        value = float(np.sum(targets * (np.log(total) - f), dtype=np.float64)) / n_samples
        p /= total
        p -= targets
        p /= n_samples
        return value, p
    scale = loss_scale(loss, n_outputs, n_samples) / n_samples
    residual = outputs - targets
    value = scale / 2 * float(np.sum(np.square(residual, dtype=np.float64)))
    residual *= scale
    return value, residual


def checked_targets(
    Y: Any, loss: str, n_samples: int, n_outputs: int, dtype: np.dtype, name: str = "Y"
) -> np.ndarray:
    """Targets (T, C) of `dtype`; labels as unit vectors. Messages call them `name`."""
    if loss == "cross_entropy" and n_outputs == 1:
        raise ValueError(
            "`loss` = cross_entropy needs two outputs or more, got 1: a softmax of one output is constant; take "
            "half_mse."
        )
    array = finite_array(name, Y, f"a ({n_samples}, {n_outputs}) matrix of targets")
    if np.asarray(Y).dtype.kind in "iu" and array.shape == (n_samples,) and n_outputs > 1:
        labels = array.astype(int)
        if labels.min() < 0 or labels.max() >= n_outputs:
            raise ValueError(
                f"`{name}` must hold labels from 0 to {n_outputs - 1}, one for each output, got {labels.min()} to "
                f"{labels.max()}; number the classes from 0."
            )
        return np.eye(n_outputs, dtype=dtype)[labels]
    if n_outputs == 1 and array.shape == (n_samples,):
        array = array[:, None]
    if array.shape != (n_samples, n_outputs):
        raise ValueError(
            f"`{name}` must have the shape of the outputs, ({n_samples}, {n_outputs}), got {array.shape}; pass one row "
            "of targets for each sample, or integer labels."
        )
    # Rows of float32 probabilities sum to 1 but for their rounding.
    if loss == "cross_entropy" and (array.min() < 0 or np.abs(array.sum(axis=1) - 1).max() > 1e-5):
        raise ValueError(
            f"`{name}` must hold probabilities for cross_entropy, rows >= 0 that sum to 1; pass those, or integer "
            "labels."
        )
    return array.astype(dtype)

"""Eigenvalues of a kernel, as `kernel_spectrum` returns them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.results import Result
from .._support.validation import finite_number
from ..losses import loss_scale, stability_limit
from ..losses.stability import checked_nesterov

__all__ = ["KernelSpectrum"]


@dataclass(frozen=True, repr=False, eq=False)
class KernelSpectrum(Result):
    r"""Eigenvalues of the kernel of one output; those of C outputs are C-fold.

    Attributes
    ----------
    eigenvalues : ndarray, shape (T,) or (k,)
        In descending order: all of them, or the largest.
    largest : float
    smallest : float or None
        0 where the kernel is singular to its accuracy; None where it is not known, for `k` of many inputs.
    condition : float or None
        ``largest / smallest``, inf where the kernel is singular.
    duplicates : tuple of tuples of int
        Groups of inputs that are parallel and that the kernel takes for the same (or for opposites).
    kernel, parameterisation : str
        "ntk" or "nngp"; "standard" or "ntk", which matters to the former.
    n_samples, n_outputs : int
        T and C.
    standard_error : dict or None
        Of `largest`, where it was estimated on random subsets, and of `smallest` and `condition` too, where units were
        sampled (`mfdnn.MeanField`).
    caution : str
        What to know before the numbers are used; "" if there is nothing.
    """

    eigenvalues: np.ndarray
    largest: float
    smallest: float | None
    condition: float | None
    duplicates: tuple[tuple[int, ...], ...]
    kernel: str
    parameterisation: str
    n_samples: int
    n_outputs: int
    standard_error: dict[str, float] | None
    caution: str

    def max_learning_rate(
        self, loss: str = "half_mse", *, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> float:
        r"""Largest stable learning rate, :math:`2/\lambda_{max}` of :math:`s \Theta/T`.

        As `mfdnn.max_learning_rate` has it, for more inputs than that one holds.

        Parameters
        ----------
        loss : str
            One of `mfdnn.losses.LOSSES` but cross-entropy, whose curvature is no multiple of the kernel.
        momentum, nesterov, weight_decay : float, bool, float
            As in `mfdnn.max_learning_rate`.

        Raises
        ------
        ValueError
            Cross-entropy; `momentum` outside [0, 1), a negative `weight_decay`; a kernel that is not the tangent kernel
            in standard parameterisation.
        """
        if loss == "cross_entropy":
            raise ValueError("`loss` must be one of squares, got cross_entropy; take `mfdnn.max_learning_rate`.")
        if (self.kernel, self.parameterisation) != ("ntk", "standard"):
            raise ValueError(
                f"`kernel` must be the tangent kernel in standard parameterisation for a learning rate of the weights, "
                f"got {self.kernel} ({self.parameterisation}); leave both arguments out."
            )
        scale = loss_scale(loss, self.n_outputs, self.n_samples)
        decay = finite_number("weight_decay", weight_decay)
        if decay < 0:
            raise ValueError(f"`weight_decay` must be >= 0, got {decay:g}; pass its size, without a sign.")
        curvature = scale * self.largest / self.n_samples + decay
        return stability_limit(curvature, momentum, checked_nesterov(nesterov, momentum))

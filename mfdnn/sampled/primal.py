"""The Fisher information itself, P x P, where parameters are fewer than outputs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from .._support.memory import require_memory
from .jacobian import Jacobian

__all__ = ["fisher_matrix"]


def fisher_matrix(jacobian: Jacobian, ordered: bool) -> tuple[np.ndarray, tuple[float, float]]:
    """F (P, P) in float64, and the squared norms of its dual, as `Dual.squared_norms`.

    With F_k of output k alone, the block of outputs k and j of the dual has the squared norm tr F_k F_j. `ordered`:
    parameters must come in their order, and not in any that is quick.
    """
    T, P = jacobian.n_samples, jacobian.n_parameters
    quick = jacobian.one_by_one and not ordered
    together = max(1, min(P // (2 * T), jacobian.n_outputs))  # outputs: so few that their dual costs less than F
    rows = together * T if quick else jacobian.size
    require_memory(
        32 * P**2 + 16 * rows * P,
        f"the spectrum of {jacobian.n_outputs} outputs at {jacobian.n_samples} samples",
        "pass k=... for the largest eigenvalues only, or fewer samples",
    )
    whole, within, between = np.zeros((P, P)), 0.0, 0.0
    each = iter(_factored(jacobian) if quick else _pushed(jacobian))
    while part := list(islice(each, together)):
        J = np.concatenate(part)
        own = (J.T @ J).astype(np.float64) / T
        if len(part) == 1:
            within += float(np.vdot(own, own))
        else:
            gram = (J @ J.T).astype(np.float64).reshape(len(part), T, len(part), T) / T
            squares = np.einsum("ksjt,ksjt->kj", gram, gram)
            within += float(np.trace(squares))
            between += 2 * float(np.triu(squares, 1).sum())
        between += 2 * float(np.vdot(own, whole))  # with all outputs before these
        whole += own
    return whole, (within, between)


def _factored(jacobian: Jacobian) -> Iterator[np.ndarray]:
    """Derivatives (T, P) of each output, from a backward pass each.

    The parameters of a layer come in any order.
    """
    for k in range(jacobian.n_outputs):
        blocks = []
        for h, delta, bias in jacobian.factors(jacobian.linear.pull(jacobian.row(k))):
            blocks.append(np.einsum("ti,tj->tij", delta, h).reshape(len(h), -1))
            if bias:
                blocks.append(delta.dtype.type(np.sqrt(bias)) * delta)
        found = np.hstack(blocks)
        # Biases in units of sigma_b = 0 move nothing, and are left out of the factors.
        yield np.pad(found, ((0, 0), (0, jacobian.n_parameters - found.shape[1])))


def _pushed(jacobian: Jacobian) -> np.ndarray:
    """Derivatives (C, T, P) of all outputs, from a forward pass for each parameter."""
    J = np.ascontiguousarray(jacobian.push(np.eye(jacobian.n_parameters)))
    return J.reshape(jacobian.n_outputs, jacobian.n_samples, -1)

"""Largest eigenvalue of a preconditioned Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.lanczos import largest_eigenvalues
from ._torch import torch
from .graph import Graph
from .optimisers import FrozenRule

__all__ = ["largest"]

_RESIDUAL = 1e-4  # of the largest eigenvalue, which an eigenvalue is then right to
_PRODUCTS = 600
_CLOSE = 2e-4  # of two bounds, below which the upper one will do


def largest(
    graph: Graph,
    rule: FrozenRule,
    root: Callable[[Any], Any],
    transpose: Callable[[Any], Any],
    split: Callable[[np.ndarray], list[Any]],
) -> float:
    r"""Largest eigenvalue of :math:`S^{1/2} (J^T R^T R J + W)\,S^{1/2} + D`.

    Its part :math:`B B^T`, :math:`B = S^{1/2} J^T R^T`, is of the rank of the outputs, so that the eigenvalue
    :math:`\lambda` is the one at which :math:`B^T (1 - \Delta/\lambda)^{-1} B`, :math:`\Delta = S W + D` diagonal, has
    itself as its largest: no vector is kept that is as long as the parameters.

    Parameters
    ----------
    graph : Graph
        J.
    rule : FrozenRule
        S, W and D.
    root, transpose : callable
        R and its transpose, of tensors.
    split : callable
        A vector of all parameters as their tensors.

    Raises
    ------
    ArithmeticError
        No convergence, or gradients that overflow.
    """
    added = rule.scale * rule.l2 + rule.decay

    def data(share: np.ndarray | float) -> float:
        """Largest eigenvalue of B^T diag(share) B."""
        scales = split(rule.scale * share)
        return _largest_of(graph, scales, root, transpose)

    own = data(1.0)
    where = rule.scale > 0
    least, most = (float(added[where].min()), float(added[where].max())) if where.any() else (0.0, 0.0)
    low, high = max(own + least, most), own + most
    if not np.isfinite(own):
        raise ArithmeticError("The preconditioned gradients overflow.")
    if high == 0 or own == 0:
        return high
    # The largest of the dual falls as lambda grows: the root of a falling function minus lambda.
    while high - low > _CLOSE * high:
        x = (low + high) / 2
        found = data(1 / (1 - added / x))
        low, high = (max(low, x), min(high, found)) if found > x else (max(low, found), min(high, x))
    return high


def _largest_of(graph: Graph, scales: list[Any], root: Callable[[Any], Any], transpose: Callable[[Any], Any]) -> float:
    outputs = graph.outputs

    def product(block: np.ndarray) -> np.ndarray:
        columns = []
        for column in block.T:
            u = torch.from_numpy(np.ascontiguousarray(column)).to(outputs).reshape(outputs.shape)
            pulled = [s * g for s, g in zip(scales, graph.vjp(transpose(u)), strict=True)]
            columns.append(root(graph.jvp(pulled)).detach().reshape(-1).cpu().double().numpy())
        return np.stack(columns, axis=1)

    n = outputs.numel()
    start = np.random.default_rng(0).standard_normal((n, 1))  # the answer does not depend on it
    once = product(start)
    if not once.any():
        return 0.0
    if not np.isfinite(once).all():
        raise ArithmeticError("The preconditioned gradients overflow.")
    rounding = 10 * float(torch.finfo(outputs.dtype).eps)
    try:
        return float(largest_eigenvalues(product, once, 1, _RESIDUAL, min(_PRODUCTS, 4 * n + 8), rounding)[0][0])
    except ArithmeticError as error:
        raise ArithmeticError(
            f"The largest eigenvalue has not converged in {_PRODUCTS} products; convert module and batch to float64."
        ) from error

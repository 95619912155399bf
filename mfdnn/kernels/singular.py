"""What makes a kernel singular.

Inputs that are the same to it, or too few dimensions.
"""

from __future__ import annotations

import numpy as np

__all__ = ["SINGULAR", "duplicates", "why_singular"]

SINGULAR = 1e-12  # of the largest eigenvalue: what entries are known to
SAME = 1e-10  # distance from 1 of the correlation of inputs that are parallel, and of what the kernel makes of them
ALIKE = 1e-6  # the same of outputs that no longer tell inputs apart


def why_singular(whole: np.ndarray, inputs: np.ndarray) -> tuple[tuple[tuple[int, ...], ...], str]:
    """Groups of inputs that are the same to a kernel (T, T), and why it is singular.

    The sentence holds if it is.
    """
    scale = np.sqrt(np.maximum(np.diagonal(whole), 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    alike = whole / scale / scale[:, None]
    groups = duplicates(alike, inputs.reshape(len(inputs), -1))
    return groups, _cause(groups, 1.0 - float(alike.min()))


def duplicates(correlation: np.ndarray, inputs: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Groups of parallel inputs, the same or opposite to a kernel.

    `correlation` (T, T) is that of the kernel.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.nonzero(np.triu(np.abs(correlation) > 1 - SAME, 1))
    size = np.linalg.norm(inputs, axis=1)
    unit = inputs / np.where(size > 0, size, 1.0)[:, None]
    parallel = np.empty(rows.size, dtype=bool)
    for start in range(0, rows.size, 2**14):
        s, t = rows[start : start + 2**14], columns[start : start + 2**14]
        cosine = np.abs(np.einsum("ij,ij->i", unit[s], unit[t]))
        parallel[start : start + s.size] = (cosine > 1 - SAME) | ((size[s] == 0) & (size[t] == 0))
    rows, columns = rows[parallel], columns[parallel]
    graph = csr_array((np.ones(rows.size), (rows, columns)), shape=correlation.shape)
    n_groups, label = connected_components(graph, directed=False)
    if n_groups == len(label):
        return ()
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    return tuple(sorted(tuple(group.tolist()) for group in groups if group.size > 1))


def _cause(groups: tuple[tuple[int, ...], ...], apart: float) -> str:
    """Why a kernel is singular."""
    if groups:
        named = ", ".join(str(group) for group in groups[:5]) + (", ..." if len(groups) > 5 else "")
        return f"The kernel is singular: inputs {named} are the same to it; keep one of each."
    if apart < ALIKE:
        return (
            f"The kernel is singular to its accuracy: all inputs look alike at the outputs, with correlations within "
            f"{apart:.1g} of 1, as at large depth in the ordered phase; take fewer layers, or a larger `sigma_w2`."
        )
    return (
        "The kernel is singular to its accuracy: what the network sees of the inputs has fewer dimensions than there "
        "are inputs, as in a linear network with few features; take fewer inputs."
    )

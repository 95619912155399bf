"""The eigenvalue that norms and means split off the bulk of centred outputs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .equivalent import Equivalent

__all__ = ["crossing", "mode_matrix"]

POINTS = 24  # of the search for a change of sign; no case with two of them was seen
# Collective variables of each layer, in this order, each followed by its multiplier.
A, N, B = 0, 2, 4


def mode_matrix(network: Equivalent, x: float, state: np.ndarray, norm_variance: float) -> np.ndarray:
    r"""Hessian (6L, 6L) of the collective modes at given X.

    It is singular where an eigenvalue leaves the bulk. Of an eigenvector x and each layer l = 0..L-1 (means over inputs
    in brackets) the modes are :math:`A_l = \sum_s x_s \langle h^l\rangle \cdot h_s^l / M_l`,
    :math:`N_l = \sum_s x_s |h_s^l - \langle h^l\rangle|^2 / M_l` and
    :math:`B_l = \sum_s x_s \langle\delta^l\rangle \cdot \delta_s^l`.
    """
    depth, widths, op, n = network.depth, network.widths, network.op, network.stack
    a_hat, b_hat, s, _ = state
    matrix = np.zeros((6 * depth, 6 * depth))

    def add(i: int, j: int, value: float) -> None:
        matrix[i, j] += value
        if i != j:
            matrix[j, i] += value

    # sigma_w^2 / q_st of what enters hidden layer l (row l - 1), 1/q~_st of layer l; a mode that is absent has none
    # of either.
    ratio, inverse = _divide(network.w2, op.q_st), _divide(1.0, network.error_st)
    for l in range(depth):
        for mode in (A, N, B):
            add(6 * l + mode, 6 * l + mode + 1, 1.0)
        if l + 1 < depth:  # the variance of W y given m
            add(6 * l + A, 6 * l + A, (a_hat[l] - network.a[l]) * widths[l] * ratio[l])
        if l:  # the term 2 M A B / T itself, and the variance of W^T d given the shared error
            add(6 * l - 6 + A, 6 * l + B, -widths[l - 1] / network.n_samples)
            add(6 * l + B, 6 * l + B, (b_hat[l] - network.b[l]) * inverse[l - 1])
    add(N + 1, N + 1, -x * norm_variance * network.own**2 / widths[0])

    # Sources of the site variables y, y^, d, d^ of each neuron in the six modes that touch it.
    lay, p, width = network.layer, network.p, widths[1:][network.layer, None]
    w2, shared = network.w2[:-1][lay, None], (ratio[:-1][lay, None]) * n.m
    s_here = s[1:][lay, None]
    sources = np.zeros((*p.shape, 4, 6))
    sources[..., 0, 2] = -n.mean / width
    sources[..., 1, 0] = -n.beta * shared
    sources[..., 1, 1] = -0.5 * n.gamma * w2
    sources[..., 1, 3] = -(s_here * n.beta * n.c1 + x * n.noise_phi) / width
    sources[..., 2, 4] = -n.beta * p
    sources[..., 3, 0] = -p * n.gamma * shared
    sources[..., 3, 1] = -0.5 * p * n.eta * w2
    sources[..., 3, 3] = -p * (s_here * n.gamma * n.c1 + x * n.noise_slope) / width
    sources[..., 3, 5] = -n.beta * p * np.append(inverse[1:], 0.0)[lay, None]

    k_yy, k_yd, k_dd = network.covariances(x, state)
    site = np.zeros((*p.shape, 4, 4))
    site[..., 0, 0], site[..., 2, 2] = -a_hat[1:][lay, None], -b_hat[1:][lay, None]
    site[..., 1, 1], site[..., 3, 3] = -k_yy, -k_dd
    site[..., 0, 1] = site[..., 1, 0] = site[..., 2, 3] = site[..., 3, 2] = 1.0
    site[..., 1, 3] = site[..., 3, 1] = -k_yd
    coupling = np.swapaxes(sources, -1, -2) @ np.linalg.solve(site, sources)
    if network.n_outputs > 1:  # in C - 1 directions of C only the forward variables have sources
        across = np.swapaxes(sources[..., :2, :], -1, -2) @ np.linalg.solve(
            site[..., :2, :2], sources[..., :2, :]
        )
        coupling = (coupling + (network.n_outputs - 1) * across) / network.n_outputs
    eliminated = np.add.reduceat((network.weights[..., None, None] * coupling).sum(axis=1), network.starts)
    mean = lambda values: network.average(np.broadcast_to(values, n.m.shape))  # noqa: E731
    own_mean, own_square = mean(n.c1 * shared), mean(s_here * n.c1**2 + x * n.noise_square)
    curvature = mean(n.c2)
    for l in range(1, depth):
        below, here = 6 * (l - 1), 6 * l
        modes = [below + A, below + N, here + A + 1, here + N + 1, here + B + 1]
        modes += [here + 6 + B] if l + 1 < depth else []
        matrix[np.ix_(modes, modes)] -= widths[l] * eliminated[l - 1][: len(modes), : len(modes)]
        add(here + N + 1, below + N, -curvature[l - 1] * network.w2[l - 1])
        add(here + N + 1, below + A, -own_mean[l - 1])
        add(here + N + 1, here + N + 1, -own_square[l - 1] / widths[l])
    return matrix


def crossing(network: Equivalent, edge: float, norm_variance: float) -> float:
    """X at which an eigenvalue leaves the bulk; inf where none is near.

    Below the edge there is an outlier, z(X). Beyond it there is none, and the place is found by a straight line: the
    nearer it is, the more an eigenvalue of finite networks is raised (`CROSSOVER` in `centred`).

    Parameters
    ----------
    network : Equivalent
    edge : float
        X at the edge of the bulk.
    norm_variance : float
        M_0 times the relative variance of |x|^2: 2 for independent Gaussian inputs.
    """
    from scipy.optimize import bisect

    def determinant(x: float) -> tuple[float, float]:
        sign, size = np.linalg.slogdet(mode_matrix(network, x, network.solve(x).state, norm_variance))
        return float(sign), float(size)

    grid = edge * np.linspace(0.04, 1.0, POINTS)
    first = determinant(grid[0])
    for low, high in pairwise(grid):
        before, first = first, determinant(high)
        if before[0] != first[0]:
            return float(bisect(lambda x: determinant(x)[0], low, high, rtol=1e-7))
    fall = np.exp(first[1] - before[1])  # of the determinant over the last step to the edge
    return float(edge + (high - low) * fall / (1 - fall)) if fall < 1 else np.inf


def _divide(value: np.ndarray | float, by: np.ndarray) -> np.ndarray:
    return np.divide(value, by, out=np.zeros_like(by), where=by > 0)

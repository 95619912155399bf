"""The spread of the largest eigenvalue from single units, at drawn inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..layers.recorded import Recorded, Recording
from ..network import Network
from .influence import Influences

__all__ = ["DrawnInfluence", "drawn_influence", "n_representatives"]

FEWEST, MOST = 6, 48  # representatives: three pairs are compared; and more say little that is new
FIELD = 128  # (input, site) up to which representatives are taken; beyond, time grows with the cube


class DrawnInfluence(NamedTuple):
    """What one run of sampled units says, all in units of lambda_0.

    Attributes
    ----------
    one, two : float
        Tangent kernel of an input with itself and of two of them, over T.
    A, B : float
        Common and own variance, see `outlier_distribution`.
    born : ndarray
        Variance A + 2B of one output that every stream of units adds, in the order of the layers, inputs first.
    push : ndarray, shape (2,)
        What the rest of the spectrum adds to the mean: A and B parts, as C outputs weigh them otherwise.
    pairs : ndarray, shape (2,)
        Variance of what single pairs of inputs have for themselves; the same parts.
    edges : ndarray
        Where the spectrum of that ends, of every stream.
    """

    one: float
    two: float
    A: float
    B: float
    born: np.ndarray
    push: np.ndarray
    pairs: np.ndarray
    edges: np.ndarray


def n_representatives(net: Network, n_samples: int, n_sites: int, most: int) -> int:
    """How many inputs stand for T; 0 if those needed make more than `most` numbers.

    All T where samples are coupled, as in batch norm.
    """
    if net.couples_samples:
        return n_samples if FEWEST <= n_samples <= most // n_sites else 0
    if FEWEST * n_sites > most:
        return 0
    return int(np.clip(2 * n_samples, FEWEST, min(MOST, max(FIELD // n_sites, FEWEST))))


def drawn_influence(
    net: Network, n_samples: int, q0: float, c0: float, shown: int, n_units: int, rng: np.random.Generator
) -> DrawnInfluence:
    r"""A, B and the push at T exchangeable inputs, of which `shown` are looked at.

    Channels of the inputs are units of a first stream. What a unit adds to :math:`\Theta(s, t)` has a part that all
    inputs share given the unit, :math:`\mu`, one of each input, :math:`a_s`, and one of the pair, :math:`b_{st}`.
    Influences on means over two groups of inputs that differ have the covariance :math:`Var\,\mu`; those on one group
    of h add what falls as 1/h. So means over T inputs are known without T of them. In the same way the push,
    :math:`(T - 1)` equal directions of variance :math:`Var\,a / T` each; and :math:`b_{st}` are what contrasts of
    inputs on both sides leave.

    Parameters
    ----------
    net : Network
    n_samples : int
        T.
    q0, c0 : float
        Mean square and correlation >= 0 of the inputs.
    shown : int
        See `n_representatives`.
    n_units : int
        S.
    rng : numpy.random.Generator
    """
    signal = Recorded.drawn_inputs(net.input_shape, shown, q0, c0, Recording(rng, n_units, exchangeable=True))
    for layer in net.layers:
        signal = layer.recorded(signal)
    units = Influences(signal)
    kernel = units.kernel.value
    one = np.trace(kernel) / shown / n_samples
    two = (kernel.sum() / n_samples - shown * one) / (shown * (shown - 1))
    largest = one + (n_samples - 1) * two
    one, two = one / largest, two / largest

    def of(seed: np.ndarray) -> dict[int, tuple[int, np.ndarray]]:
        return units.of(seed / largest)

    # Means over all T inputs; contrasts of two of them; and means over others.
    contrasts = np.zeros((3, shown))
    contrasts[[0, 0, 1, 1, 2, 2], np.arange(6)] = np.tile([np.sqrt(0.5), -np.sqrt(0.5)], 3)
    if net.couples_samples:  # they are the T inputs
        groups = others = [np.full(shown, 1 / shown)] * 2
    else:
        groups, others = _two_groups(np.arange(shown), shown), _two_groups(np.arange(2, shown), shown)
    within, beside = (min(np.count_nonzero(of_[0]) / n_samples, 1.0) for of_ in (groups, others))

    left, right = (of(_mean_over(group, n_samples)) for group in groups)
    born = np.array([_expected(_alike, left[key][1], right[key][1], within) / left[key][0] for key in left])
    common = sum(_expected(_copies, left[key][1], right[key][1], within) / left[key][0] for key in left)

    if net.couples_samples:
        rows = [np.outer(group, contrasts[0]) for group in others]
        middle = np.outer(*others)
    else:  # the other inputs of s are T - 1, and their own parts are in the mean over s
        rows = [
            (1 - 2 / n_samples) * np.outer(group, contrasts[0]) + np.diag(contrasts[0]) / n_samples for group in others
        ]
        middle = (1 - 1 / n_samples) * np.outer(*others) + np.diag(sum(others)) / (2 * n_samples)
        middle = (middle + middle.T) / 2
    row, beside_it = (of(seed) for seed in rows)
    mean, first, second = (of(seed) for seed in (middle, *(np.outer(v, v) for v in contrasts[:2])))
    push, pairs, edges = np.zeros(2), np.zeros(2), []
    mixed = [of(np.outer(contrasts[i], contrasts[i - 1])) for i in range(3)]
    for key, (width, y) in row.items():
        push[0] += _expected(_crossing, y, beside_it[key][1], beside) / width
        push[1] += np.mean(mean[key][1][3] * first[key][1][3]) / width
        three = [each[key][1] for each in mixed]
        pairs[0] += _crossing(three[1], three[1]) / width
        pairs[1] += np.mean(first[key][1][3] * second[key][1][3]) / width
        edges.append(_edge(np.array([t[0] + 2 * t[1] for t in three]), n_samples, width))
    push *= (1 - 1 / n_samples) / (1 - (one - two))
    return DrawnInfluence(one, two, float(common), float((born.sum() - common) / 2), born, push, pairs, np.array(edges))


def _two_groups(indices: np.ndarray, shown: int) -> list[np.ndarray]:
    """Two groups of inputs of one size, as weights of a mean over each."""
    size = len(indices) // 2
    groups = np.zeros((2, shown))
    groups[0, indices[:size]] = groups[1, indices[size : 2 * size]] = 1 / size
    return list(groups)


def _mean_over(group: np.ndarray, n_samples: int) -> np.ndarray:
    """The seed of the mean of Theta(s, t) over T inputs, from those of a group."""
    size = np.count_nonzero(group)
    pairs = (np.outer(group, group) - np.diag(group**2)) * size / (size - 1)
    return (1 - 1 / n_samples) * pairs + np.diag(group) / n_samples


def _expected(product: Callable, left: np.ndarray, right: np.ndarray, share: float) -> float:
    """A mean product of influences at T inputs, from two groups of `share` T."""
    between = (product(left, right) + product(right, left)) / 2
    inside = (product(left, left) + product(right, right)) / 2
    return float(between + share * (inside - between))


def _alike(y: np.ndarray, other: np.ndarray) -> float:
    """Covariance over units, with the same copy of the tangents."""
    return sum(_covariance(y[0] + 2 * y[i], other[0] + 2 * other[i]) for i in (1, 2)) / 2


def _copies(y: np.ndarray, other: np.ndarray) -> float:
    """The same with two copies: what two outputs have in common."""
    return _covariance(y[0] + 2 * y[1], other[0] + 2 * other[2])


def _crossing(y: np.ndarray, other: np.ndarray) -> float:
    """The same of forms with two different vectors, as one output has them."""
    return _copies(y, other) + float(np.mean(y[3] * other[4]))


def _covariance(y: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean(y * other) - y.mean() * other.mean())


def _edge(y: np.ndarray, n_samples: int, width: int) -> float:
    """Where the spectrum of the pairs' part ends: c X X^T/T with X of w columns.

    From the second moment, c^2 w, and the third one around three inputs, c^3 w.
    """
    second = np.mean(y**2) / width
    if second == 0:
        return 0.0
    c = abs(np.mean(np.prod(y, axis=0))) / width**2 / second
    return float(c + np.sqrt(second / n_samples))

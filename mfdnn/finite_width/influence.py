"""The spread of the largest eigenvalue from the influence of single units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._support.errors import NoTheory
from ..layers.recorded import Recorded, Recording, adjoints
from ..network import Network

__all__ = ["Influence", "influence"]


class Influence(NamedTuple):
    """What one run of sampled units says, all in units of lambda_0.

    Attributes
    ----------
    kernel : ndarray, shape (T, T)
        Tangent kernel of an output, with the noise of one run.
    A, B : float
        Common and own variance, see `outlier_distribution`.
    born : ndarray
        Variance A + 2B of one output that every stream of units adds, in the order of the layers.
    pushes : ndarray, shape (n, 2)
        What n directions of the rest of the spectrum add to the mean: A and B parts, as C outputs weigh them otherwise.
    complete : bool
        Whether these are all directions; else random combinations of them, whose sum has the mean of the sum.
    """

    kernel: np.ndarray
    A: float
    B: float
    born: np.ndarray
    pushes: np.ndarray
    complete: bool


class Influences:
    """Influences of units on a tangent kernel, from one walk over the layers.

    Attributes
    ----------
    kernel : Node, of shape (T, T)
        Of one output.
    """

    def __init__(self, signal: Recorded):
        if signal.covariances is None:
            raise NoTheory(
                "`net` must end with its last weights, means over sites apart, for the spread over networks; measure "
                "it with mfdnn.ensemble."
            )
        self.kernel = signal.covariances[1]
        self._recording = signal.recording

    def of(self, seed: np.ndarray) -> dict[int, tuple[int, np.ndarray]]:
        """Influences on sum(seed * Theta), by streams.

        Width, and (5, S) as in `tape.gram`.
        """
        streams, n_units = self._recording.streams, self._recording.n_units
        whole: dict[int, tuple[int, np.ndarray]] = {}
        for stream, d in zip(streams, adjoints(self.kernel, seed, [s.weights for s in streams]), strict=True):
            if d is not None:  # units that are added have one weight
                root = stream.root
                width, known = whole.get(id(root), (root.width, 0.0))
                whole[id(root)] = width, known + n_units * d
        return whole


def influence(
    net: Network,
    inputs: np.ndarray,
    n_units: int,
    rng: np.random.Generator,
    probes: int,
    least: float = 0.0,
) -> Influence:
    r"""A, B and the push from one walk over the layers and its derivatives.

    With a weight on every sampled unit in all means over units,
    :math:`y_k = S\,\partial \ln\lambda_0 / \partial w_k` is the influence of unit k, and a network of M units in that
    place has the variance :math:`Var_k[y_k]/M`; places add. Tangents are drawn, twice: what both copies of one unit
    share is common to all outputs.

    Parameters
    ----------
    net : Network
    inputs : ndarray, shape (T, *input_shape)
    n_units : int
        S.
    rng : numpy.random.Generator
    probes : int
        How many directions of the rest of the spectrum are looked at, at most; 0: none.
    least : float
        The second eigenvalue over the first from which on they are.
    """
    signal = Recorded.inputs(inputs, Recording(rng, n_units))
    for layer in net.layers:
        signal = layer.recorded(signal)
    units = Influences(signal)
    symmetric = (units.kernel.value + units.kernel.value.T) / 2
    values, vectors = np.linalg.eigh(symmetric)
    largest, top = values[-1], vectors[:, -1]

    def of(a: np.ndarray, b: np.ndarray) -> dict[int, tuple[int, np.ndarray]]:
        """Influences on a^T Theta b / lambda_1."""
        return units.of(np.outer(a, b) / largest)

    mine = of(top, top)
    covariances = {key: (width, _copies(y)) for key, (width, y) in mine.items()}
    born = np.array([c.trace() / 2 / width for width, c in covariances.values()])
    common = sum(c[0, 1] / width for width, c in covariances.values())
    probes = probes if values[-2] >= least * largest else 0
    rest = vectors[:, :-1] / np.sqrt(1 - values[:-1] / largest)
    complete = rest.shape[1] <= probes
    if not complete:
        rest = rest @ rng.choice([-1.0, 1.0], (rest.shape[1], probes)) / np.sqrt(max(probes, 1))
    pushes = []
    for other in rest.T:
        crossed, theirs = of(top, other), of(other, other)
        parts = np.zeros(2)
        for key, (width, y) in crossed.items():
            mutual = np.mean(mine[key][1][3] * theirs[key][1][3]) / width
            parts += [_copies(y)[0, 1] / width + np.mean(y[3] * y[4]) / width, mutual]
        pushes.append(parts)
    return Influence(
        symmetric / largest,
        float(common),
        float((born.sum() - common) / 2),
        born,
        np.reshape(pushes, (-1, 2)),
        complete,
    )


def _copies(y: np.ndarray) -> np.ndarray:
    """Covariance over units of the influences with either copy of the tangents."""
    return np.cov(y[0] + 2 * y[1], y[0] + 2 * y[2])

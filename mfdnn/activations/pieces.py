"""A function of one variable as piecewise polynomials, which kernels can read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import _compiled

__all__ = ["DEGREE", "DIFFERENTIATE", "NODES", "Pieces", "chebyshev_fit", "derive", "sample"]

DEGREE = 15
_ANGLES = np.pi * (np.arange(DEGREE + 1)[::-1] + 0.5) / (DEGREE + 1)
NODES = np.cos(_ANGLES)
_FIT = np.cos(np.arange(DEGREE + 1)[:, None] * _ANGLES) * (2.0 / (DEGREE + 1))
_FIT[0] /= 2
# Row k, column j: coefficient of T_k in the derivative of T_j.
DIFFERENTIATE = np.vstack(
    [np.polynomial.chebyshev.chebder(np.eye(DEGREE + 1), axis=0), np.zeros((1, DEGREE + 1))]
)


def chebyshev_fit(values: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients of values at the 16 nodes, both on the last axis.

    Rounding noise is chopped.
    """
    coefficients = values @ _FIT.T
    noise = 1e-15 * np.abs(values).max(axis=-1, keepdims=True)
    coefficients[np.abs(coefficients) < noise] = 0.0
    return coefficients


def sample(function: Callable, panels: np.ndarray, at: np.ndarray = NODES) -> np.ndarray:
    """Values at the nodes (or other places in [-1, 1]) of each panel: (n, at.size)."""
    half = np.diff(panels, axis=1) / 2
    with np.errstate(all="ignore"):
        return np.asarray(function(panels.mean(axis=1, keepdims=True) + half * at), dtype=np.float64)


def derive(coefficients: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Coefficients of the derivative on panels of that half width, noise chopped."""
    result = coefficients @ DIFFERENTIATE.T / half
    result[np.abs(result) <= 1e-13 * np.abs(coefficients).max(axis=1, keepdims=True) / half] = 0.0
    return result


@dataclass(frozen=True)
class Pieces:
    """Piecewise polynomials for phi, phi' and phi''.

    Coefficients are those of the Chebyshev basis of each panel between two ``edges``.

    Attributes
    ----------
    edges : (n + 1,) array
        Panel edges; the breaks are among them.
    coefficients : (3, n, 16) array
        phi, phi', phi''.
    breaks : (m,) array
        Where phi, phi', phi'' or phi''' jumps.
    jumps : (m, 4) array
        By how much.
    slope_noise : float
        Absolute error of phi' near zero where it is read off phi; 0 if the derivative was given.
    curvature_noise : float
        The same for phi'': 0 for built-in activations.
    resolved : bool
        False if some panel stayed unresolved (a singularity that is none of those jumps).
    piecewise_linear : bool
    homogeneous : (float, float) or None
        Slopes on the two sides of zero if phi is positively homogeneous.
    """

    edges: np.ndarray
    coefficients: np.ndarray
    breaks: np.ndarray
    jumps: np.ndarray
    slope_noise: float
    curvature_noise: float
    resolved: bool
    piecewise_linear: bool
    homogeneous: tuple[float, float] | None

    @property
    def reach(self) -> float:
        """Phi is known on [-reach, reach]."""
        return float(self.edges[-1])

    @property
    def smooth(self) -> bool:
        """Whether phi has no break and no other singularity."""
        return self.resolved and self.breaks.size == 0

    def evaluate(self, x: np.ndarray, derivative: int = 0) -> np.ndarray:
        """phi, phi' or phi'' at x, elementwise.

        Beyond the last panel phi is continued linearly.
        """
        flat = np.asarray(x, dtype=np.float64).ravel()
        inside = np.clip(flat, self.edges[0], self.edges[-1])
        value = _compiled.evaluate_pieces(self.edges, self.coefficients[derivative], inside)
        if derivative == 0 and np.any(flat != inside):
            value += _compiled.evaluate_pieces(self.edges, self.coefficients[1], inside) * (flat - inside)
        return value.reshape(np.shape(x))

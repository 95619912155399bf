r"""What an orthogonalised update does to the outputs: Muon.

The update of a matrix is :math:`U = p(G/\|G\|)` with p the polynomials of Newton and Schulz on its singular values.
With Gram matrices :math:`B = M_{l-1} \hat q^{l-1}` of what enters and :math:`Y = \tilde q^l \circ (e e^T)` of errors,

.. math::
    D_{sk} = \sum_t \tilde q_{st}^l\, e_{tk}\, R_{ts}, \qquad
    R = B^{1/2}\, v\, \mathrm{diag}(p(\sigma/\|\sigma\|)/\sigma)\, v^T B^{1/2}, \qquad
    B^{1/2} Y B^{1/2} = v\, \sigma^2 v^T,

:math:`\sigma` the singular values of T G, however many outputs there are. At the outputs Y has rank C.

Gram matrices of M units scatter about their means, and the sum of singular values is concave: with T inputs the closed
form is too large by some 0.3 T/M. Where that matters Gram matrices of M sampled units take the place of the means: then
networks were within 6 % at T = M and beyond.
"""

from __future__ import annotations

import numpy as np

from ..._support.blas import single_blas_thread
from ...losses.muon import STEPS, muon_adjustment, orthogonalised_values
from .chain import StepLayer, psd_root
from .parameterisation import LayerRates

__all__ = ["muon_rows", "muon_speeds", "sampled_muon_rows"]

NULL = 1e-5  # of the largest singular value: below, it is rounding (1e-10 of its square)


def muon_rows(
    layers: list[StepLayer], rates: list[LayerRates], rule: str, e: np.ndarray, steps: int | None = STEPS
) -> np.ndarray:
    """D of the weights of layers 1..L, (L, T, C).

    Parameters
    ----------
    layers, rates
        The network, and its rates.
    rule : str
        Of `mfdnn.losses.muon.muon_adjustment`.
    e : ndarray, shape (T, C)
        T times the slope of the loss by the outputs.
    steps : int or None
        Of Newton and Schulz.
    """
    rows = []
    for at, c in zip(layers, rates, strict=True):
        R = _mean_of_grams(*_singular(at, e), steps)
        rows.append(c.weights * muon_adjustment(at.fan_out, at.fan_in, rule) * (at.errors * R) @ e)
    return np.array(rows)


def sampled_muon_rows(
    layers: list[StepLayer],
    rates: list[LayerRates],
    rule: str,
    e: np.ndarray,
    rng: np.random.Generator,
    steps: int | None = STEPS,
) -> np.ndarray:
    """The same from Gram matrices of as many sampled units as each layer has."""
    rows = []
    for at, c in zip(layers, rates, strict=True):
        H = at.inputs.T if at.inputs is not None else None if at.below is None else at.below.values(at.fan_in, rng)
        assert H is not None
        root = psd_root(H.T @ H)
        if at.back is None:
            D = _mean_of_grams(*_leading(root, e), steps) @ e
        else:
            assert at.above is not None
            back = at.drawn_back(at.fan_out, e.shape[1], rng)  # (M, C, T)
            errors = at.above.slopes(at.fan_out, rng)[:, None, :] * back
            Z = np.einsum("ikt,tk->it", errors, e)
            R = _mean_of_grams(*_leading(root, Z.T), steps)
            D = np.einsum("iks,is->sk", errors, Z @ R)
        rows.append(c.weights * muon_adjustment(at.fan_out, at.fan_in, rule) * D)
    return np.array(rows)


def _mean_of_grams(factors: np.ndarray, s: np.ndarray, steps: int | None) -> np.ndarray:
    """R, from B^1/2 v and the singular values."""
    factors = factors * np.sqrt(orthogonalised_values(s / (np.linalg.norm(s) or 1.0), steps) / s)
    return factors @ factors.T


def _singular(at: StepLayer, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """B^1/2 v (T, r) and the singular values of T G that are not 0, (r,)."""
    root = at.gram_root
    if at.back is None:
        return _leading(root, e)
    return _eigen(root, at.errors * (e @ e.T))


def _leading(root: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for Y = factor factor^T, by the smaller of two Gram matrices."""
    if factor.shape[1] >= len(root):
        return _eigen(root, factor @ factor.T)
    thin = root @ factor
    with single_blas_thread():
        squares, right = np.linalg.eigh(thin.T @ thin)
    kept = squares > NULL**2 * max(squares[-1], 0.0)
    s = np.sqrt(squares[kept])
    return root @ (thin @ right[:, kept] / s), s


def _eigen(root: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with single_blas_thread():
        squares, v = np.linalg.eigh(root @ Y @ root)
    kept = squares > NULL**2 * max(squares[-1], 0.0)
    return root @ v[:, kept], np.sqrt(squares[kept])


def muon_speeds(
    layers: list[StepLayer], rates: list[LayerRates], rule: str, e: np.ndarray, steps: int | None = STEPS
) -> np.ndarray:
    """Mean squares by which a layer's own weights move its pre-activations, (L - 1,)."""
    found = []
    for at, c in zip(layers[:-1], rates[:-1], strict=True):
        factors, s = _singular(at, e)
        factors = factors * orthogonalised_values(s / (np.linalg.norm(s) or 1.0), steps)
        times = c.weights * muon_adjustment(at.fan_out, at.fan_in, rule)
        found.append(times**2 * np.sum(factors**2) / (len(e) * at.fan_out))
    return np.array(found)

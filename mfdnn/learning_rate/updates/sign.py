r"""What an update by signs does to the outputs: signSGD, Lion, Adam and their kin.

In a hidden layer :math:`U_{ij} = \psi(\sum_{tk} e_{tk} \delta_i^k(t) h_j(t))` with :math:`\psi(x) = x/(|x| + T
\epsilon)`. Given the fields of two units, :math:`u^{l-1}` and :math:`u^l`, with :math:`r = \phi'(u^l) \circ
\phi(u^{l-1})`, the sum is Gaussian in the error a that comes back (covariance A over the inputs), so that

.. math::
    D_{sk} = M_l M_{l-1}\, E\left[r_s (A (e_k \circ r))_s\, \frac{g(T\epsilon/\sqrt V)}{\sqrt V}\right], \qquad
    V = \sum_k (e_k \circ r)^T A\, (e_k \circ r), \qquad g(x) = E \frac{z^2}{|z| + x}.

The average over the fields is sampled, with its part that is linear in V as a control variate: that one has the known
mean of a gradient step. At the outputs :math:`D_{sk} = M_{L-1} E[h_s \psi(\sum_t e_{tk} h_t)]`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .chain import StepLayer
from .parameterisation import LayerRates
from .rules import FirstUpdate

__all__ = ["Rows", "bias_rows", "gain", "sign_rows", "sign_speeds"]

ROOT = np.sqrt(2 / np.pi)
SERIES = 5.0  # from here on the closed form cancels, and the integral is summed
TINY = 1e-100  # its square is 0, whose logarithm the closed form has
NODES = 200  # of Gauss-Legendre up to 12 standard deviations
ROUNDING = 1e-10  # of numbers that are the same for all pairs, as without an activation
AT_ONCE = 2**21  # numbers of an array over pairs, inputs and outputs
LAST = 500  # units of the last hidden layer, a small share that costs little
UNITS = 32  # for how far layers move, to some percent


class Rows(NamedTuple):
    """D of one group of parameters after the other.

    Attributes
    ----------
    D : ndarray, shape (n, T, C)
    standard_error : ndarray, shape (n,)
        Of e.D of every row.
    """

    D: np.ndarray
    standard_error: np.ndarray


def gain(x: np.ndarray) -> np.ndarray:
    """E z^2/(abs z + x) of a standard normal z, for x >= 0."""
    from scipy.special import dawsn, expi

    x = np.asarray(x, dtype=float)
    found = np.full(x.shape, ROOT)
    near, far = (x > TINY) & (x < SERIES), x >= SERIES
    a = x[near] / np.sqrt(2)
    # int_0^inf exp(-t^2)/(t + a) dt, as Goodwin and Staton wrote it
    goodwin = np.sqrt(np.pi) * dawsn(a) - 0.5 * np.exp(-a * a) * expi(a * a)
    found[near] = ROOT - x[near] + x[near] ** 2 * ROOT * goodwin
    if np.any(far):
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        z = 6 * (nodes + 1)
        weights = 6 * weights * ROOT * np.exp(-z * z / 2)
        found[far] = (weights * z**2 / (z + x[far][:, None])).sum(axis=1)
    return found


def sign_rows(
    layers: list[StepLayer],
    rates: list[LayerRates],
    update: FirstUpdate,
    e: np.ndarray,
    n_pairs: int,
    rng: np.random.Generator,
) -> Rows:
    """D of the weights of layers 1..L and of their biases, with errors.

    Parameters
    ----------
    layers, rates, update
        The network, its rates, and the optimiser.
    e : ndarray, shape (T, C)
        T times the slope of the loss by the outputs.
    n_pairs : int
        How many pairs of units are sampled in each layer.
    rng : numpy.random.Generator
    """
    rows = [_weights(at, c, update, e, n_pairs, rng) for at, c in zip(layers, rates, strict=True)]
    D, errors = zip(*rows, strict=True)
    biases = bias_rows(layers, rates, update, e, n_pairs, rng)
    return Rows(np.concatenate([D, biases.D]), np.concatenate([errors, biases.standard_error]))


def bias_rows(
    layers: list[StepLayer],
    rates: list[LayerRates],
    update: FirstUpdate,
    e: np.ndarray,
    n_pairs: int,
    rng: np.random.Generator,
) -> Rows:
    """The same of the biases alone, (L, T, C); 0 where there are none."""
    rows = [_biases(at, c, update, e, max(20, n_pairs // 4), rng) for at, c in zip(layers, rates, strict=True)]
    D, errors = zip(*rows, strict=True)
    return Rows(np.array(D), np.array(errors))


def _weights(
    at: StepLayer, c: LayerRates, update: FirstUpdate, e: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    if c.weights == 0:
        return np.zeros_like(e), 0.0
    psi = _Psi(update, c.weight_unit, at.layer.sigma_w2 / at.fan_in, len(e))
    if at.back is None:
        D, error = _outputs(at, psi, e, max(n, LAST), rng)
        times = at.fan_in * c.weights
    else:
        known = (at.errors * at.gram) @ e / (at.fan_in * at.fan_out)
        values = _units(at.inputs, n, rng) if at.below is None else None
        D, error = _pairs(at, psi, e, known, n, rng, values)
        times = at.fan_in * at.fan_out * c.weights
    return times * update.factor * D, times * update.factor * error


def _biases(
    at: StepLayer, c: LayerRates, update: FirstUpdate, e: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    if not at.bias or c.biases == 0:
        return np.zeros_like(e), 0.0
    psi = _Psi(update, c.bias_unit, at.layer.sigma_b2, len(e))
    if at.back is None:
        D = np.broadcast_to(psi.mean(e.sum(axis=0)[None])[0], e.shape)
        return c.biases * update.factor * D, 0.0
    D, error = _pairs(at, psi, e, at.errors @ e / at.fan_out, n, rng, np.ones((1, len(e))))
    times = at.fan_out * c.biases * update.factor
    return times * D, times * error


class _Psi:
    """x/(abs x + T eps) of a sum x with L2 decay, in units of the parameters."""

    def __init__(self, update: FirstUpdate, unit: float, variance: float, n_samples: int):
        self.eps = n_samples * update.eps / unit
        # Of the decay in the sum; what is beyond all numbers leaves nothing of the gradient's sign.
        with np.errstate(over="ignore"):
            spread = np.float64(n_samples * update.decay / unit**2) * np.sqrt(variance)
            self.spread2 = float(spread**2)

    def factor(self, V: np.ndarray) -> np.ndarray:
        """E psi' at Gaussian sums of variance V; 0 where all is 0."""
        root = np.sqrt(V + self.spread2)
        value = gain(self.eps / np.where(root > 0, root, 1.0)) if self.eps else ROOT
        return np.where(root > 0, value, 0.0) / np.where(root > 0, root, 1.0)

    def mean(self, S: np.ndarray) -> np.ndarray:
        """Mean of psi over the decay, a Gaussian, at sums S."""
        if not self.spread2:
            return self._at(S)
        if not np.isfinite(self.spread2):
            return np.zeros_like(S)
        from scipy.special import erf

        # psi(x) = sign(x) - sign(x) eps/(abs x + eps), whose second part is flat in log(abs x + eps).
        spread = np.sqrt(self.spread2)
        found = erf(S / (np.sqrt(2) * spread))
        if self.eps:
            nodes, weights = np.polynomial.legendre.leggauss(NODES)
            upper = np.log1p((np.abs(S) + 8 * spread) / self.eps)[..., None] / 2
            x = self.eps * np.expm1(upper * (nodes + 1))
            densities = [np.exp(-(((x + sign * S[..., None]) / spread) ** 2) / 2) for sign in (-1, 1)]
            scale = self.eps / (spread * np.sqrt(2 * np.pi))
            found -= scale * ((upper * (densities[0] - densities[1])) @ weights)
        return found

    def _at(self, S: np.ndarray) -> np.ndarray:
        size = np.abs(S) + self.eps
        return S / np.where(size > 0, size, 1.0)


def _outputs(
    at: StepLayer, psi: _Psi, e: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Mean of h_s psi(sum_t e_tk h_t) over the units that enter, and the error of e.D."""
    if at.below is None:
        assert at.inputs is not None
        H = at.inputs.T
    else:
        H = at.below.values(n, rng)
    S = H @ e
    signs = psi.mean(S)
    each = (S * signs).sum(axis=1)
    error = 0.0 if at.below is None else float(each.std(ddof=1) / np.sqrt(len(each)))
    return H.T @ signs / len(H), error


def _units(inputs: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
    """The units that enter the first layer, in random order: n, or more in turn."""
    assert inputs is not None
    return np.take(inputs.T, np.resize(rng.permutation(inputs.shape[1]), n), axis=0)


def _pairs(
    at: StepLayer,
    psi: _Psi,
    e: np.ndarray,
    known: np.ndarray,
    n: int,
    rng: np.random.Generator,
    values: np.ndarray | None,
) -> tuple[np.ndarray, float]:
    """Mean over pairs of units, and the error of e.D.

    `known` is the mean of the same without `psi.factor`; `values` are those of the units that enter, if not sampled.
    """
    assert at.above is not None and at.back is not None
    total, each = np.zeros_like(e), []
    size = max(2, AT_ONCE // e.size)
    parts = -(-n // size)
    for part in np.array_split(np.arange(n), parts):
        if values is None:
            assert at.below is not None
            H = at.below.values(len(part), rng)
        else:
            H = values if len(values) == 1 else values[part]
        R = H * at.above.slopes(len(part), rng)
        of_part, of_each = (_uniform if at.uniform_back else _gaussian)(at, psi, e, known, R, rng)
        total += of_part
        each.append(of_each)
    spread = np.concatenate(each)
    return total / n, float(spread.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0


def _gaussian(
    at: StepLayer, psi: _Psi, e: np.ndarray, known: np.ndarray, R: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sum over pairs R (n, T), and each one's part of e.D.

    Their errors are averaged in closed form.
    """
    weighted = R[:, None, :] * e.T  # (n, C, T)
    back = weighted.reshape(-1, len(e)) @ at.back
    V = np.einsum("nt,nt->n", weighted.reshape(len(R), -1), back.reshape(len(R), -1))
    factor = psi.factor(np.maximum(V, 0.0))
    beta = _slopes(V, V * factor)
    share = (factor - beta)[:, None] * R
    D = np.einsum("nt,nkt->tk", share, back.reshape(len(R), -1, len(e)))
    return D + beta.sum() * known, (factor - beta) * V


def _uniform(
    at: StepLayer, psi: _Psi, e: np.ndarray, known: np.ndarray, R: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same with uniform errors, which are drawn."""
    a = at.drawn_uniform((len(R), e.shape[1]), rng)
    S = np.einsum("nk,nk->n", a, R @ e)
    signs = psi.mean(S)
    beta = _slopes(S**2, S * signs)
    left = signs - beta * S
    return R.T @ (left[:, None] * a) + beta.sum() * known, S * left


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The slope of y against x, for each half that of the other: no bias."""
    half = len(x) // 2
    slopes = np.zeros(len(x))
    for use, fit in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        away = x[fit] - x[fit].mean() if len(x[fit]) else x[fit]
        square = away @ away
        slopes[use] = away @ y[fit] / square if square > ROUNDING**2 * (x[fit] @ x[fit]) else 0.0
    return slopes


def sign_speeds(
    layers: list[StepLayer],
    rates: list[LayerRates],
    update: FirstUpdate,
    e: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Mean squares by which a layer's own update moves its pre-activations, (L - 1,).

    Of sampled units, each with all that enter it.
    """
    found = []
    for at, c in zip(layers[:-1], rates[:-1], strict=True):
        assert at.above is not None
        n = len(e)
        errors = at.drawn_back(UNITS, e.shape[1], rng)
        sums = at.above.slopes(UNITS, rng) * np.einsum("ikt,tk->it", errors, e)
        moved = np.zeros((UNITS, n))
        if c.weights:
            psi = _Psi(update, c.weight_unit, at.layer.sigma_w2 / at.fan_in, n)
            moved += c.weights * _moved_by_weights(at, psi, sums, rng)
        if at.bias and c.biases:
            psi = _Psi(update, c.bias_unit, at.layer.sigma_b2, n)
            moved += c.biases * psi.mean(sums.sum(axis=1))[:, None]
        found.append(update.factor**2 * np.mean(moved**2))
    return np.array(found)


MOST = 4096  # units that enter, sampled: of more their mean is as good


def _moved_by_weights(at: StepLayer, psi: _Psi, sums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if at.below is None:
        assert at.inputs is not None
        H = at.inputs.T
    else:
        H = at.below.values(min(at.fan_in, MOST), rng)
    return at.fan_in / len(H) * psi.mean(sums @ H.T) @ H

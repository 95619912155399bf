r"""One step of each optimiser, in place, as PyTorch defines it.

With g the gradient at step t = 1, 2, ..., m and v moments that begin at 0, :math:`\hat m = m/(1 - \beta_1^t)`,
:math:`\hat v = v/(1 - \beta_2^t)`:

========= ==========================================================================================================
sgd       :math:`m \leftarrow b m + \eta g,\ \theta \leftarrow \theta - m`; Nesterov: :math:`\theta - \eta g - b m`
signsgd   :math:`\theta - \eta\,\mathrm{sign}\,g`
lion      :math:`\theta - \eta\,\mathrm{sign}(\beta_1 m + (1 - \beta_1) g)`, then m decays by :math:`\beta_2`
adam(w)   :math:`\theta - \eta\,\hat m/(\sqrt{\hat v} + \epsilon)`
nadam     :math:`\theta - \eta\,[(1 - \mu_t)/(1 - \pi_t)\,g + \mu_{t+1}/(1 - \pi_{t+1})\,m]/(\sqrt{\hat v} + \epsilon)`,
          :math:`\mu_t = \beta_1 (1 - 0.96^{0.004 t}/2),\ \pi_t = \mu_1 \cdots \mu_t`
radam     :math:`\theta - \eta\,\hat m\,r_t \sqrt{1 - \beta_2^t}/(\sqrt v + \epsilon)` once the length
          :math:`\rho_t > 5`, before that :math:`\theta - \eta\,\hat m`
adamax    :math:`\theta - \eta\,\hat m/n,\ n \leftarrow \max(\beta_2 n, |g| + \epsilon)`
adagrad   :math:`\theta - \eta\,g/(\sqrt{\textstyle\sum g^2} + \epsilon)`
rmsprop   :math:`\theta - \eta\,g/(\sqrt v + \epsilon)`, v without correction; momentum b sums these steps
muon      :math:`\theta - \eta\,a\,\mathrm{NS}(m)` of a matrix, :math:`m \leftarrow b m + (1 - b) g`, Nesterov
          :math:`b m + (1 - b) g` again; what is no matrix: AdamW
========= ==========================================================================================================

NS is five Newton-Schulz steps :math:`s \leftarrow 3.4445 s - 4.7750 s^3 + 2.0315 s^5` of the singular values, from
:math:`m/|m|_F`; a is 1 or more by the shape (`muon_adjustment`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..losses.muon import COEFFICIENTS, STEPS, muon_adjustment
from ..losses.optimisers import Optimiser, nadam_momenta

__all__ = ["Update", "n_buffers", "newton_schulz"]

BLOCK = 2**15  # numbers updated at a time: they stay in the cache from one operation to the next
SMALLEST_NORM = 1e-7  # of a matrix that is orthogonalised

State = dict[str, np.ndarray]


def n_buffers(optimiser: Optimiser) -> int:
    """How many times the parameters an optimiser remembers."""
    if optimiser.name in ("sgd", "rmsprop"):
        return (optimiser.name == "rmsprop") + bool(optimiser.momentum)
    return {"signsgd": 0, "lion": 1, "adagrad": 1}.get(optimiser.name, 2)


def newton_schulz(matrix: np.ndarray) -> np.ndarray:
    """A matrix whose singular values are about 1: five Newton-Schulz steps.

    In the dtype of the matrix, where torch has bfloat16.

    Parameters
    ----------
    matrix : array (rows, columns)

    Returns
    -------
    array (rows, columns)
        Of its singular vectors; singular values from 0.7 to 1.2, of those that are not far below the largest.
    """
    a, b, c = COEFFICIENTS
    x = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = x / max(float(np.linalg.norm(x)), SMALLEST_NORM)
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if len(matrix) > matrix.shape[1] else x


class Update:
    """Steps of one optimiser on arrays, in place; gradients are used up.

    Parameters
    ----------
    parameters : list of ndarray
        They move.
    rate : float
    optimiser : Optimiser

    Attributes
    ----------
    factor : float
        By which gradients come multiplied: the rate for sgd, whose moment has it, else 1.
    step : int
        How many were made.
    state : list of dict of str to ndarray
        What is remembered, of each array; `numbers` beside it.
    numbers : dict of str to float
    """

    def __init__(self, parameters: list[np.ndarray], rate: float, optimiser: Optimiser):
        self.parameters, self.rate, self.optimiser = parameters, rate, optimiser
        self.factor = rate if optimiser.name == "sgd" else 1.0
        self.step = 0
        self.numbers = {"mu_product": 1.0} if optimiser.name == "nadam" else {}
        self._rules = [self._rule(a) for a in parameters]
        self.state: list[State] = [
            {name: np.zeros_like(a) for name in names} for a, (_, names) in zip(parameters, self._rules, strict=True)
        ]

    def _rule(self, a: np.ndarray) -> tuple[Callable, Sequence[str]]:
        """What moves an array, and what it remembers."""
        o = self.optimiser
        if o.name == "muon":
            return (self._muon, ("momentum",)) if a.ndim > 1 else (_adam, ("first", "second"))
        names: dict[str, Sequence[str]] = {
            "sgd": ("momentum",) if o.momentum else (),
            "rmsprop": ("second", "momentum") if o.momentum else ("second",),
            "signsgd": (),
            "lion": ("first",),
            "adagrad": ("second",),
        }
        return _ELEMENTWISE[o.name], names.get(o.name, ("first", "second"))

    def __call__(self, gradients: list[np.ndarray]) -> None:
        """Take one step along gradients, of the shapes of the parameters."""
        self.step += 1
        numbers = self._numbers()
        for a, g, state, (rule, _) in zip(self.parameters, gradients, self.state, self._rules, strict=True):
            if rule == self._muon:
                rule(a, g, state)
                continue
            flat, slope = a.reshape(-1), g.reshape(-1)  # views: all are contiguous
            kept = {name: array.reshape(-1) for name, array in state.items()}
            for start in range(0, flat.size, BLOCK):
                part = slice(start, start + BLOCK)
                self._decay(flat[part], slope[part])
                rule(flat[part], slope[part], {name: array[part] for name, array in kept.items()}, numbers)

    def _decay(self, a: np.ndarray, g: np.ndarray) -> None:
        w = self.optimiser.weight_decay
        if not w:
            return
        if self.optimiser.decoupled:
            a *= 1 - self.rate * w
        else:
            g += (self.factor * w) * a

    def _muon(self, a: np.ndarray, g: np.ndarray, state: State) -> None:
        o = self.optimiser
        assert o.momentum is not None and o.adjust is not None
        m = state["momentum"]
        m += (1 - o.momentum) * (g - m)
        along = g + o.momentum * (m - g) if o.nesterov else m
        matrix = along.reshape(len(a), -1)  # of a convolution: a row for each channel
        rate = self.rate * muon_adjustment(matrix.shape[0], matrix.shape[1], o.adjust)
        if o.weight_decay:
            a *= 1 - self.rate * o.weight_decay
        a -= rate * newton_schulz(matrix).reshape(a.shape)

    def _numbers(self) -> dict[str, Any]:
        """What the elements of a step have in common."""
        o, t = self.optimiser, self.step
        found: dict[str, Any] = {"rate": self.rate, "t": t, "b": o.momentum, "nesterov": o.nesterov}
        found |= {"eps": o.eps, "alpha": o.alpha}
        if o.betas is not None:
            b1, b2 = o.betas
            found |= {"b1": b1, "b2": b2, "c1": 1 - b1**t, "c2": 1 - b2**t}
        if o.name == "nadam":
            mu, following = nadam_momenta(b1, t)
            product = self.numbers["mu_product"] = self.numbers["mu_product"] * mu
            found |= {"of_g": (1 - mu) / (1 - product), "of_m": following / (1 - product * following)}
        if o.name == "radam":
            found["rectified"] = _rectification(b2, t)
        return found


def _rectification(b2: float, t: int) -> float | None:
    """RAdam's factor of the step; None before there is a variance."""
    far = 2 / (1 - b2) - 1
    rho = far - 2 * t * b2**t / (1 - b2**t)
    if rho <= 5:
        return None
    return float(np.sqrt((rho - 4) * (rho - 2) * far / ((far - 4) * (far - 2) * rho)))


def _sgd(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    if not n["b"]:
        a -= g
        return
    m = state["momentum"]
    m *= n["b"]
    m += g
    if n["nesterov"]:
        g += n["b"] * m
        a -= g
    else:
        a -= m


def _signsgd(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    a -= n["rate"] * np.sign(g)


def _lion(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    m = state["first"]
    a -= n["rate"] * np.sign(n["b1"] * m + (1 - n["b1"]) * g)
    m += (1 - n["b2"]) * (g - m)


def _moments(g: np.ndarray, state: State, n: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """First and second moment, brought up to date."""
    m, v = state["first"], state["second"]
    m += (1 - n["b1"]) * (g - m)
    v *= n["b2"]
    v += (1 - n["b2"]) * g * g
    return m, v


def _adam(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    m, v = _moments(g, state, n)
    a -= (n["rate"] / n["c1"]) * _over(m, np.sqrt(v) / np.sqrt(n["c2"]) + n["eps"])


def _nadam(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    m, v = _moments(g, state, n)
    a -= n["rate"] * _over(n["of_g"] * g + n["of_m"] * m, np.sqrt(v / n["c2"]) + n["eps"])


def _radam(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    m, v = _moments(g, state, n)
    step = (n["rate"] / n["c1"]) * m
    if n["rectified"] is not None:
        step = n["rectified"] * np.sqrt(n["c2"]) * _over(step, np.sqrt(v) + n["eps"])
    a -= step


def _adamax(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    m, norm = state["first"], state["second"]
    m += (1 - n["b1"]) * (g - m)
    np.maximum(n["b2"] * norm, np.abs(g) + n["eps"], out=norm)
    a -= (n["rate"] / n["c1"]) * _over(m, norm)


def _adagrad(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    total = state["second"]
    total += g * g
    a -= n["rate"] * _over(g, np.sqrt(total) + n["eps"])


def _rmsprop(a: np.ndarray, g: np.ndarray, state: State, n: dict[str, Any]) -> None:
    v = state["second"]
    v *= n["alpha"]
    v += (1 - n["alpha"]) * g * g
    step = _over(g, np.sqrt(v) + n["eps"])
    if n["b"]:
        m = state["momentum"]
        m *= n["b"]
        m += step
        step = m
    a -= n["rate"] * step


def _over(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x/y, and 0 for 0/0: with eps = 0 a parameter without gradients stays."""
    return np.divide(x, y, out=np.zeros_like(x), where=(x != 0) | (y != 0))


_ELEMENTWISE: dict[str, Callable] = {
    "sgd": _sgd,
    "signsgd": _signsgd,
    "lion": _lion,
    "adam": _adam,
    "adamw": _adam,
    "nadam": _nadam,
    "radam": _radam,
    "adamax": _adamax,
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
}

"""The first step of an optimiser at given errors: theory, and sampled networks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from ..jobs.run import stack
from ..jobs.streams import streams
from ..learning_rate.updates.first import on_inputs
from ..learning_rate.updates.response import StepResponse, step_response
from ..learning_rate.updates.rules import checked_update
from ..losses.optimisers import Optimiser, checked_optimiser
from ..mean_field import MeanField
from ..network import Network
from ..sampled import sample
from ..training.updates import Update
from .claims import THIRD, TOO_NARROW, Claim, Scales

__all__ = ["FirstSteps", "first_steps"]

PAIRS = 3000  # of units, sampled in a layer
LEFT = 0.02  # what simulations left beside 1/M, as a fraction
# Muon's last matrix has C singular values, and five Newton-Schulz steps map each to anything from 0.68 to 1.13: where
# they scatter over networks, the mean is not that of their typical place.
SWING = 0.2


class FirstSteps:
    """Measured and theoretical e.D of every layer, as an `Ensemble` has its numbers.

    Attributes
    ----------
    mean, standard_error : dict of str to ndarray
        "first_step" (L,), weights and biases of each weight layer, and "first_step_total".
    n_networks : int
    """

    def __init__(
        self, values: np.ndarray, theory: np.ndarray, errors: np.ndarray, optimizer: str, shape: tuple[int, int]
    ):
        n = len(values)
        named = {"first_step": values, "first_step_total": values.sum(axis=1)}
        self.mean = {name: v.mean(axis=0) for name, v in named.items()}
        self.standard_error = {name: v.std(axis=0, ddof=1) / np.sqrt(n) for name, v in named.items()}
        self.n_networks, self.optimizer, self._shape = n, optimizer, shape
        self._theory, self._errors = theory, errors

    def claims(self, s: Scales) -> Iterator[Claim]:
        """Of every layer, and of their sum."""
        n_samples, n_outputs = self._shape
        muon = self.optimizer == "muon"
        left = np.full(len(self._theory), LEFT + 0.75 * (s.depth - 1) / s.width + 0.3 * n_samples / s.width * muon)
        if muon and n_outputs > 1:
            left[-1] += SWING / np.sqrt(n_outputs)
        total, error = float(self._theory.sum()), float(np.sqrt(np.sum(self._errors**2)))
        names = [f"first_step[{l + 1}]" for l in range(len(left))]
        each = zip(names, self._theory, self._errors, left, strict=True)
        whole = ("first_step_total", total, error, float(left @ self._theory) / total if total else 0.0)
        for name, value, known, share in (*each, whole):
            allowed, note = (share * abs(value), "") if share <= THIRD else (np.inf, TOO_NARROW)
            yield Claim(name, float(value), total, float(allowed), note, theory_error=float(known))


def first_steps(
    wide: MeanField,
    optimizer: str,
    n_networks: int,
    *,
    rng: Any,
    executor: Any = None,
    progress: bool = False,
    dtype: Any = "float64",
) -> FirstSteps:
    r"""e.D of networks and of theory by layer, at the same inputs and errors.

    Errors e (T, C) are drawn, standard normal, and so are inputs where none are given; both are the same for all
    networks. The update of a layer is :math:`-\eta U`, and :math:`e \cdot D = T\,\langle G, U \rangle` its share in the
    fall of the loss per unit rate, times T.

    Raises
    ------
    NoTheory
        Layers whose first step is not known.
    """
    of_data, of_pairs, of_networks = np.random.default_rng(rng).spawn(3)
    at = on_inputs(wide, None, None, None, None, of_data)
    net, X = at.network, at.inputs
    assert X is not None  # given, or drawn
    e = of_data.standard_normal((at.n_samples, net.n_outputs))
    response = step_response(at, checked_update(optimizer), "standard")
    theory, errors = _theory(response, e, of_pairs)
    trial = partial(_measured, net=net, X=X, e=e, optimiser=checked_optimiser(optimizer), dtype=dtype)
    found = stack(trial, streams(of_networks, n_networks), executor=executor, progress=progress)
    values = found["first_step"]
    if values.shape[1] != len(theory):
        raise NoTheory("the first step of these layers is not told apart; leave `first_step` out.")
    return FirstSteps(values, theory, errors, optimizer, e.shape)


def _theory(response: StepResponse, e: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """e.D of every weight layer with its biases, and other parameters; and its errors."""
    rows = response.rows(e, PAIRS, rng)
    errors = rows.standard_error
    if response.layers is not None:
        n = response.n_layers
        errors = np.hypot(errors[:n], errors[n:])
    return response.by_layer(e, rows.D), errors


def _measured(
    seed: Any, net: Network, X: np.ndarray, e: np.ndarray, optimiser: Optimiser, dtype: Any
) -> dict[str, np.ndarray]:
    """e.D of the layers of one network, by its own update."""
    one = sample(net, rng=np.random.default_rng(seed), dtype=dtype)
    gradients = one.unflatten(one.vjp(X, (e / len(X)).astype(one.dtype)))
    layers, others = [], 0.0
    for (layer, _), group, moved in zip(net.parameter_layers, gradients, one.parameters, strict=True):
        slopes = [g.astype(np.float64) for g in group if g is not None]
        after = [a.astype(np.float64) for a in moved if a is not None]
        before = [a.copy() for a in after]
        Update(after, 1.0, optimiser)([g.copy() for g in slopes])
        fall = sum(float(np.vdot(g, b - a)) for g, a, b in zip(slopes, after, before, strict=True))
        if layer.n_weight_layers:
            layers.append(len(X) * fall)
        else:
            others += len(X) * fall
    more = [others] if any(not layer.n_weight_layers for layer, _ in net.parameter_layers) else []
    return {"first_step": np.array(layers + more)}

"""A network as factors of its Jacobian: weights, and the slopes between them."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from .._support.validation import variance
from ..activations import Activation
from ..gaussian.matrices import moments
from ..network import Network
from .laws import SlopeLaw
from .product import Factor, FreeProduct

__all__ = ["JacobianChain", "Slopes", "Weights", "read"]

SAME = 1e-12  # relative difference of variances that are one
MANY = 4  # laws from which on they are compressed


class Weights(NamedTuple):
    """A weight layer: variance times the fan-in, widths, and whether it is orthogonal.

    `seen` is the mean square of its inputs, and `bias` whether it has parameters of that name.
    """

    sigma_w2: float
    fan_in: int
    units: int
    orthogonal: bool
    seen: float
    bias: bool


class Slopes(NamedTuple):
    """An activation between weights: the law of its squared slopes, and its width."""

    law: SlopeLaw
    units: int


class JacobianChain(NamedTuple):
    """The factors of J, from the inputs on, and the number of outputs."""

    factors: list[Weights | Slopes]
    n_outputs: int

    @property
    def product(self) -> FreeProduct:
        """The spectrum of J J^T, in the terms of `FreeProduct`."""
        log_scale, power = 0.0, -1
        laws = {id(f.law): f.law for f in self.factors if isinstance(f, Slopes)}
        if len(laws) > MANY:
            laws = {name: law.compressed() for name, law in laws.items()}
        powers = Counter({1.0: 1})
        slopes: dict[tuple[int, float], Factor] = {}
        for factor in self.factors:
            r = self.n_outputs / (factor.fan_in if isinstance(factor, Weights) else factor.units)
            if isinstance(factor, Slopes):
                power += 1
                powers[r] -= 1
                known = slopes.get((id(factor.law), r), Factor(laws[id(factor.law)], r, 0))
                slopes[(id(factor.law), r)] = known._replace(layers=known.layers + 1)
                continue
            log_scale += np.log(factor.sigma_w2)
            if not factor.orthogonal:
                powers[r] += 1
            elif factor.units > factor.fan_in:  # orthonormal columns: some outputs are functions of others
                powers[r] += 1
                powers[self.n_outputs / factor.units] -= 1
        return FreeProduct(log_scale, power, dict(powers), slopes.values(), self.rank)

    @property
    def rank(self) -> float:
        """The share of eigenvalues of J J^T that are not 0."""
        shares = [1.0]
        for factor in self.factors:
            if isinstance(factor, Weights):
                shares += [factor.fan_in / self.n_outputs, factor.units / self.n_outputs]
            else:
                shares.append(factor.law.rank * factor.units / self.n_outputs)
        return min(shares)

    def atoms(self) -> dict[float, float]:
        """Eigenvalues but 0 that have a positive share, and that.

        A product of free factors has an atom where those of the factors together weigh more than all but one of them.
        """
        found = {1.0: 1.0}
        for factor in self.factors:
            if isinstance(factor, Slopes):
                if factor.units != self.n_outputs:
                    return {}
                law = {d: mass for d, mass in factor.law.atoms.items() if d > 0}
            elif factor.orthogonal and factor.units == factor.fan_in == self.n_outputs:
                law = {factor.sigma_w2: 1.0}
            else:
                return {}
            pairs = ((a * b, one + two - 1.0) for a, one in found.items() for b, two in law.items())
            found = {place: mass for place, mass in pairs if mass > 0}
        return found


def read(net: Any, q0: Any, q_hat: Any = None) -> JacobianChain:
    """The Jacobian of a network at an input of mean square `q0`.

    Or where the weight layers see inputs of the mean squares `q_hat`, (L,).
    """
    if not isinstance(net, Network):
        raise TypeError(f"`net` must be a Network, got {type(net).__name__}; build one with mlp or Network.")
    second = variance("q0", 1.0 if q0 is None else q0)
    given = None if q_hat is None else iter(q_hat)
    factors: list[Weights | Slopes] = []
    laws: list[tuple[Activation, float, SlopeLaw]] = []
    shape, gaussian = net.input_shape, False
    layer: Any
    for layer in net.layers:
        behind = layer.output_shape(shape)
        if layer.fully_connected:
            seen = second if given is None else float(next(given))
            second = layer.sigma_w2 * seen + layer.sigma_b2
            orthogonal = layer.weights == "orthogonal"
            factors.append(Weights(layer.sigma_w2, shape[0], behind[0], orthogonal, seen, layer.bias))
            gaussian = True
        elif layer.activation is not None and gaussian:
            act = layer.activation
            if np.any(act.pieces.jumps[:, 0]):
                raise NoTheory(f"activation {act.label!r} jumps, so that its slope has no second moment; use another.")
            law = next((law for a, q, law in laws if a is act and abs(q - second) <= SAME * second), None)
            if law is None:
                law = SlopeLaw(act, second)
                laws.append((act, second, law))
            factors.append(Slopes(law, behind[0]))
            second, gaussian = float(moments(act, second)[1]), False
        elif not layer.relabels:
            raise NoTheory(
                "the spectrum of the Jacobian has a theory of fully connected layers with an activation or none "
                f"between them, got {layer!r}; take `mfdnn.sampled.jacobian_singular_values` of a sampled network."
            )
        if not np.isfinite(second):
            raise OutOfRange("the variance of the signal is infinite", "lower `sigma_w2` or the depth")
        shape = behind
    if any(isinstance(f, Weights) and f.sigma_w2 == 0 for f in factors) or not all(
        f.law.moment(1) > 0 for f in factors if isinstance(f, Slopes)
    ):
        raise NoTheory("the Jacobian is zero, as weights or slopes of a layer are; take others.")
    return JacobianChain(factors, shape[0])

"""A network as factors of its Jacobian: weights, and the slopes between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from .._support.validation import finite_array, variance
from ..activations import Activation
from ..gaussian.matrices import moments
from ..network import Network
from .laws import SlopeLaw, require_moments
from .product import Block, Factor, FreeProduct

__all__ = ["JacobianChain", "Shortcut", "Slopes", "Weights", "read"]

SAME = 1e-12  # relative difference of variances that are one
LEAST = 1e-12  # share of a dimension that is one
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


class Shortcut(NamedTuple):
    """A residual block: factors inside, the square of its skip, and its width."""

    inner: JacobianChain
    skip2: float
    units: int


class JacobianChain(NamedTuple):
    """The factors of J, from the inputs on, and the number of outputs."""

    factors: list[Weights | Slopes | Shortcut]
    n_outputs: int

    @property
    def product(self) -> FreeProduct:
        """The spectrum of J J^T, in the terms of `FreeProduct`."""
        laws = {id(law): law for law in self.laws()}
        if len(laws) > MANY or any(isinstance(f, Shortcut) for f in self.factors):
            laws = {name: law.compressed() for name, law in laws.items()}
        return self._product(laws)

    def laws(self) -> Iterator[SlopeLaw]:
        """Of all slopes, those inside blocks too."""
        for factor in self.factors:
            if isinstance(factor, Slopes):
                yield factor.law
            elif isinstance(factor, Shortcut):
                yield from factor.inner.laws()

    def _product(self, laws: dict[int, SlopeLaw]) -> FreeProduct:
        """The product, with the laws by their names."""
        log_scale, power = 0.0, -1
        blocks, gaussian = [], []
        powers = Counter({1.0: 1})
        slopes: dict[tuple[int, float], Factor] = {}
        for factor in self.factors:
            r = self.n_outputs / (factor.fan_in if isinstance(factor, Weights) else factor.units)
            if isinstance(factor, Shortcut):
                power += 1
                powers[r] += 1
                blocks.append(Block(factor.inner._product(laws), factor.skip2, r))
                continue
            if isinstance(factor, Slopes):
                if factor.law.values.size == 1:  # a number
                    log_scale += np.log(factor.law.values[0])
                    continue
                power += 1
                powers[r] -= 1
                known = slopes.get((id(factor.law), r), Factor(laws[id(factor.law)], r, 0))
                slopes[(id(factor.law), r)] = known._replace(layers=known.layers + 1)
                continue
            log_scale += np.log(factor.sigma_w2)
            if not factor.orthogonal:
                powers[r] += 1
                gaussian.append((r, self.n_outputs / factor.units))
            elif factor.units > factor.fan_in:  # orthonormal columns: some outputs are functions of others
                powers[r] += 1
                powers[self.n_outputs / factor.units] -= 1
        return FreeProduct(log_scale, power, dict(powers), slopes.values(), self.rank, blocks, gaussian)

    @property
    def rank(self) -> float:
        """The share of eigenvalues of J J^T that are not 0."""
        shares = [1.0]
        for factor in self.factors:
            if isinstance(factor, Weights):
                shares += [factor.fan_in / self.n_outputs, factor.units / self.n_outputs]
            elif isinstance(factor, Shortcut):
                shares.append(factor.units / self.n_outputs)
            else:
                shares.append(factor.law.rank * factor.units / self.n_outputs)
        return min(shares)

    def atoms(self, log_scale: float = 0.0) -> dict[float, float]:
        """Eigenvalues but 0 that have a positive share, and that, over exp(`log_scale`).

        Vectors of which each factor makes a multiple: as many as subspaces in general position have in common, of the
        slopes with one value, and of the rows of orthogonal weights.
        """
        size = next(f.fan_in if isinstance(f, Weights) else f.units for f in self.factors)
        found = {-log_scale: float(size)}  # log places, and dimensions
        for factor in self.factors:
            if isinstance(factor, Weights):
                if not factor.orthogonal:
                    return {}
                whole = factor.fan_in
                gain = factor.sigma_w2 * max(1.0, factor.units / whole)
                law = {gain: float(min(whole, factor.units))}
            else:
                whole = factor.units
                if isinstance(factor, Slopes):
                    law = {d: whole * mass for d, mass in factor.law.atoms.items() if d > 0}
                else:  # what the block maps to 0 with a share above 1/2 passes by
                    rank = factor.inner.rank
                    law = {factor.skip2: whole * (1 - 2 * rank)} if rank < 0.5 - 1e-9 else {}
            pairs = ((a + float(np.log(b)), one + two - whole) for a, one in found.items() for b, two in law.items())
            found = {place: shared for place, shared in pairs if shared > LEAST * whole}
        return {float(np.exp(place)): shared / self.n_outputs for place, shared in found.items()}


def read(net: Any, q0: Any, q_hat: Any = None) -> JacobianChain:
    """The Jacobian of a network at an input of mean square `q0`.

    Or where the weight layers see inputs of the mean squares `q_hat`, (L,).
    """
    if not isinstance(net, Network):
        raise TypeError(f"`net` must be a Network, got {type(net).__name__}; build one with mlp or Network.")
    if q_hat is not None and q0 is not None:
        raise ValueError("`q_hat` has the mean square of the input in front; leave out `q0`.")
    second = variance("q0", 1.0 if q0 is None else q0)
    reading = _Reading(None if q_hat is None else iter(_each_layer(net, q_hat)))
    factors, shape, _, _ = reading.chain(net.layers, net.input_shape, second, False)
    return JacobianChain(factors, shape[0])


def _each_layer(net: Network, q_hat: Any) -> np.ndarray:
    """Mean squares (L,) of what the weight layers see, as given."""
    found = finite_array("q_hat", q_hat, "an array of numbers")
    if found.shape != (net.n_weight_layers,) or found.min() <= 0:
        raise ValueError(
            f"`q_hat` must be {net.n_weight_layers} positive numbers, one a weight layer, got {q_hat!r:.60}."
        )
    return found


class _Reading:
    """A pass over layers, and the laws of slopes met so far."""

    def __init__(self, given: Iterator[float] | None):
        self.given = given
        self.laws: list[tuple[Activation, float, SlopeLaw]] = []

    def chain(
        self, layers: Sequence[Any], shape: tuple[int, ...], second: float, gaussian: bool
    ) -> tuple[list[Weights | Slopes | Shortcut], tuple[int, ...], float, bool]:
        """Factors of `layers`, and what is behind them.

        Their shape, mean square, and whether the units are Gaussian.
        """
        factors: list[Weights | Slopes | Shortcut] = []
        for layer in layers:
            behind = layer.output_shape(shape)
            if layer.fully_connected:
                seen = second if self.given is None else float(next(self.given))
                second = _kept(layer.sigma_w2 * seen + layer.sigma_b2, seen)
                orthogonal = layer.weights == "orthogonal"
                factors.append(Weights(layer.sigma_w2, shape[0], behind[0], orthogonal, seen, layer.bias))
                gaussian = True
            elif layer.activation is not None and gaussian:
                law = self.law(layer.activation, second)
                factors.append(Slopes(law, behind[0]))
                second, gaussian = _kept(float(moments(layer.activation, second)[1]), second), False
            elif layer.bypass is not None and _apart(layer):
                inner, _, added, _ = self.chain(layer.children, shape, second, gaussian)
                if layer.bypass:
                    factors.append(Shortcut(JacobianChain(inner, shape[0]), layer.bypass**2, shape[0]))
                else:
                    factors += inner
                    gaussian = True
                second = layer.bypass**2 * second + added
            elif not layer.relabels:
                raise NoTheory(_why_not(layer))
            if not np.isfinite(second):
                raise OutOfRange("the variance of the signal is infinite", "lower `sigma_w2` or the depth")
            shape = behind
        if any(isinstance(f, Weights) and f.sigma_w2 == 0 for f in factors) or not all(
            f.law.moment(1) > 0 for f in factors if isinstance(f, Slopes)
        ):
            raise NoTheory("the Jacobian is zero, as weights or slopes of a layer are; take others.")
        return factors, shape, second, gaussian

    def law(self, act: Activation, second: float) -> SlopeLaw:
        """The law of slopes at units of that variance."""
        require_moments(act)
        found = next((law for a, q, law in self.laws if a is act and abs(q - second) <= SAME * second), None)
        if found is None:
            found = SlopeLaw(act, second)
            with np.errstate(over="ignore", invalid="ignore"):
                if not np.isfinite(found.moment(2)):
                    raise OutOfRange(f"the squared slopes of activation {act.label!r} overflow", "scale it down")
            self.laws.append((act, second, found))
        return found


def _kept(second: float, before: float) -> float:
    """A mean square that is not 0 for being too small for a number."""
    return max(second, float(np.finfo(float).tiny)) if before > 0 else second


def _apart(layer: Any) -> bool:
    """Whether a block begins and ends with weights.

    Blocks inside are asked when they are met.
    """
    return all(end.fully_connected for end in layer.children[:1] + layer.children[-1:])


def _why_not(layer: Any) -> str:
    """Why there is no theory of a layer."""
    instead = "take `mfdnn.sampled.jacobian_singular_values` of a sampled network."
    if layer.bypass is not None:
        return (
            "the spectrum of the Jacobian has a theory of residual blocks that begin and end with a fully connected "
            "layer, as slopes at an end are those of units that a skip connects with the slopes of other blocks, "
            f"without weights between them that make the two free, got {layer!r}; {instead}"
        )
    if layer.activation is not None:
        return (
            "the spectrum of the Jacobian has a theory of activations behind a fully connected layer, with residual "
            f"blocks between them or nothing, got {layer!r} elsewhere; {instead}"
        )
    return (
        "the spectrum of the Jacobian has a theory of fully connected layers with an activation or none "
        f"between them, and of residual blocks of these, got {layer!r}; {instead}"
    )

r"""Parameterisations as rates: what a unit rate is worth in every layer.

``standard``: 1 everywhere. ``ntk``: parameters :math:`\psi` of variance 1 are trained, :math:`W = s \psi`, so that an
update of the gradient is worth :math:`s^2` in W and one of signs, or an orthogonal one, s. ``mup``: the maximal update
parameterisation, variance of the last weights :math:`\sigma_w^2/M^2` and rates by fan-in and fan-out.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from ..._support.errors import NoTheory
from ...mean_field import MeanField
from ...network import Network

__all__ = ["PARAMETERISATIONS", "LayerRates", "layer_rates", "mup_network", "parameterised"]

PARAMETERISATIONS = ("standard", "ntk", "mup")


@dataclass(frozen=True)
class LayerRates:
    """What a unit rate is worth for the weights and the biases of a layer.

    Attributes
    ----------
    weights, biases : float
        Factors of their updates.
    weight_unit, bias_unit : float
        s of parameters that are trained in units of s: eps counts as eps/s, L2 decay w as w/s^2. Where s = 0 nothing is
        trained.
    """

    weights: float = 1.0
    biases: float = 1.0
    weight_unit: float = 1.0
    bias_unit: float = 1.0


def layer_rates(net: Network, family: str, parameterisation: str) -> list[LayerRates]:
    """Of every layer of a fully connected network, for an update of that family."""
    layers = net.weight_layers
    if parameterisation == "standard":
        return [LayerRates() for _ in layers]
    if parameterisation == "ntk":
        power = 2 if family == "gradient" else 1
        units = [layer.ntk_units(shape) for layer, shape in layers]
        return [LayerRates(w**power, b**power, w, b) for w, b in units]
    found = []
    for i, (layer, shape) in enumerate(layers):
        first, last, fan_in = i == 0, i == len(layers) - 1, layer.fan_in(shape)
        if family == "gradient":  # fan-out over fan-in; inputs and outputs are no widths
            out = 1.0 if last else float(layer.output_shape(shape)[0])
            found.append(LayerRates(out / (1 if first else fan_in), out))
        elif family == "sign":
            found.append(LayerRates(1.0 if first else 1 / fan_in))
        else:  # by its adjustment to the shape of a matrix, "spectral_unclamped"
            found.append(LayerRates())
    return found


def parameterised(wide: MeanField, parameterisation: str) -> MeanField:
    """The network whose weights have the variances of that parameterisation."""
    if parameterisation != "mup":
        return wide
    return wide.with_network(mup_network(wide.network))


def mup_network(net: Network) -> Network:
    r"""The network with the last weights of muP: their variance divided by fan-in.

    It is :math:`\sigma_w^2/M^2`, so that outputs vanish as networks get wide. A network of one weight layer stays.

    Raises
    ------
    NoTheory
        It does not end in a weight layer with a `sigma_w2`.
    """
    if net.n_weight_layers < 2:
        return net
    last = net.layers[-1]
    if not (last.fully_connected and hasattr(last, "sigma_w2")):
        raise NoTheory(f"`parameterisation` = mup needs a network that ends in a `Dense` layer, got {last!r}.")
    other = copy(last)
    other.sigma_w2 = last.sigma_w2 / net.weight_layers[-1][0].fan_in(net.weight_layers[-1][1])
    return Network(net.input_shape, [*net.layers[:-1], other])

r"""What an update along the gradient does to the outputs.

.. math:: D = \frac1T \Theta\, e, \qquad e = T\, \partial E/\partial f,

layer by layer :math:`\Theta = \sum_l \tilde q^l \circ (c_W M_{l-1} \hat q^{l-1} + c_b)`, with the rates c of weights
and biases.
"""

from __future__ import annotations

import numpy as np

from ...mean_field import MeanField
from .chain import StepLayer
from .parameterisation import LayerRates

__all__ = ["gradient_rows", "gradient_speeds", "kernel_rows"]


def gradient_rows(layers: list[StepLayer], rates: list[LayerRates], e: np.ndarray) -> np.ndarray:
    """D of the weights of layers 1..L and of their biases, (2 L, T, C); e (T, C)."""
    weights = [c.weights * (at.errors * at.gram) @ e for at, c in zip(layers, rates, strict=True)]
    biases = [c.biases * at.bias * at.errors @ e for at, c in zip(layers, rates, strict=True)]
    return np.array([*weights, *biases]) / len(e)


def kernel_rows(wide: MeanField, e: np.ndarray) -> np.ndarray:
    """D of all parameters of each weight layer, of any network, (L, T, C).

    One more row if there are other parameters, such as gains.
    """
    tangents = wide.tangents
    names = [name for name in tangents.names if name[0] in ("layer", "others")]
    return np.array([tangents[name].at_two @ e for name in names]) / len(e)


def gradient_speeds(layers: list[StepLayer], rates: list[LayerRates], e: np.ndarray) -> np.ndarray:
    """Mean squares by which a layer's own update moves its pre-activations, (L - 1,)."""
    n = len(e)
    found = []
    for at, c in zip(layers[:-1], rates[:-1], strict=True):
        reach = c.weights * at.gram + c.biases * at.bias
        found.append(np.vdot((e @ e.T) * at.errors, reach @ reach) / (n**3 * at.fan_out))
    return np.array(found)

"""A fully connected network on given inputs, as a first update meets it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._support.blas import single_blas_thread
from ...activations import Activation
from ...layers import Dense
from ...layers.chain import read_chain
from ...mean_field import MeanField
from ...mean_field.inputs import n_relabelling

__all__ = ["Field", "StepLayer", "psd_root", "step_layers"]

REFUSAL = (
    "the first step of this optimiser is known for fully connected networks of Dense and Pointwise layers, got a layer "
    "{layer}: its units or weights are not independent pairs; take optimizer='sgd', which needs the tangent kernel "
    "alone, or measure the step on a sampled network"
)


class Field:
    """Gaussian pre-activations of a unit over the inputs, and its activation.

    Parameters
    ----------
    covariance : ndarray, shape (T, T)
    activation : Activation or None
        None for no activation behind the weights.
    """

    def __init__(self, covariance: np.ndarray, activation: Activation | None):
        self.covariance, self.activation = covariance, activation

    @cached_property
    def _root(self) -> np.ndarray:
        return psd_root(self.covariance)

    def values(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Activations of n units, (n, T)."""
        u = self._draw(n, rng)
        return u if self.activation is None else self.activation(u)

    def slopes(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Their slopes of n units, (n, T)."""
        if self.activation is None:
            return np.ones((n, len(self.covariance)))
        return self.activation.slope(self._draw(n, rng))

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((n, len(self.covariance))) @ self._root


@dataclass(frozen=True)
class StepLayer:
    r"""One weight layer, and what its first update needs of the network.

    Attributes
    ----------
    layer : Dense
    fan_in, fan_out : int
        :math:`M_{l-1}` and :math:`M_l`.
    seen : ndarray, shape (T, T)
        :math:`\hat q_{st}^{l-1}`, means over the units that enter.
    errors : ndarray, shape (T, T)
        :math:`\tilde q_{st}^l`, sums over the units that leave.
    below : Field or None
        Of a unit that enters; None: the inputs themselves.
    above : Field or None
        Of a unit that leaves; None: an output.
    back : ndarray, shape (T, T), or None
        Covariance over draws of an error that comes back to a unit, in front of its slope:
        :math:`\sigma_{w,l+1}^2 \tilde q_{st}^{l+1}/M_l`. None at the outputs.
    inputs : ndarray, shape (T, M_0), or None
        Of the first layer.
    uniform_back : bool
        Whether an error that comes back is a uniform number, as below outputs of uniform weights: elsewhere it is a sum
        over many units, or a Gaussian weight.
    """

    layer: Dense
    fan_in: int
    fan_out: int
    seen: np.ndarray
    errors: np.ndarray
    below: Field | None
    above: Field | None
    back: np.ndarray | None
    inputs: np.ndarray | None
    uniform_back: bool

    @property
    def bias(self) -> bool:
        """Whether it has bias parameters."""
        return self.layer.parameter_shapes((self.fan_in,))[1] is not None

    @cached_property
    def gram(self) -> np.ndarray:
        """Products of what enters, summed over units."""
        return self.fan_in * self.seen

    @cached_property
    def gram_root(self) -> np.ndarray:
        """The symmetric root of `gram`."""
        return psd_root(self.gram)

    @cached_property
    def back_root(self) -> np.ndarray:
        """The symmetric root of `back`."""
        assert self.back is not None
        return psd_root(self.back)

    def drawn_back(self, n: int, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
        """Errors that come back to n units from each output, (n, C, T).

        In front of the slope.
        """
        n_samples = len(self.seen)
        if self.uniform_back:
            return np.repeat(self.drawn_uniform((n, n_outputs, 1), rng), n_samples, axis=2)
        return rng.standard_normal((n, n_outputs, n_samples)) @ self.back_root

    def drawn_uniform(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Errors that come back below uniform output weights, alike for all inputs."""
        assert self.back is not None
        return np.sqrt(12 * self.back[0, 0]) * (rng.random(shape) - 0.5)


def psd_root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric root of a positive semi-definite matrix."""
    with single_blas_thread():
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def step_layers(wide: MeanField) -> list[StepLayer]:
    """The weight layers of a fully connected network on given inputs.

    Raises
    ------
    NoTheory
        Another network.
    """
    net = wide.network
    chain = read_chain(net.layers[n_relabelling(net) :], REFUSAL)
    assert wide.inputs is not None
    op, inputs = wide.order_parameters, wide.inputs.reshape(wide.n_samples, -1)
    fields = [Field(op.q_st[i], act) for i, act in enumerate(chain.activations)]
    found = []
    for i, layer in enumerate(chain.weights):
        last, fan_out = i == len(fields), int(op.fan_out[i])
        found.append(
            StepLayer(
                layer=layer,
                fan_in=int(op.fan_in[i]),
                fan_out=fan_out,
                seen=op.q_hat_st[i],
                errors=op.q_tilde_st[i],
                below=fields[i - 1] if i else None,
                above=None if last else fields[i],
                back=None if last else chain.weights[i + 1].sigma_w2 * op.q_tilde_st[i + 1] / fan_out,
                inputs=None if i else inputs,
                uniform_back=i + 1 == len(fields) and chain.weights[-1].weights == "uniform",
            )
        )
    return found

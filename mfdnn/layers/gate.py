"""Gate: y = left(x) * phi(right(x))."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from ..activations import Activation
from .base import Layer, checked_layers, shape_text
from .pointwise import Pointwise
from .recorded import Recorded
from .state import State
from .two_paths import TwoPaths
from .units import as_moments, units_of

__all__ = ["Gate"]


class Gate(TwoPaths):
    r"""The units of one path times an activation of another.

    :math:`y = A(x)\,\phi(B(x))`. Two `Dense` layers and "sigmoid" are a gated linear unit, with "silu" a SwiGLU; two
    convolutions gate every site.

    Infinite width: units of the two paths are independent, as one of them has weights of its own, so that moments are
    products, :math:`K = K_A \circ K_{\phi(B)}`, and tangent kernels :math:`\Theta_A \circ K_{\phi(B)} + K_A \circ
    \Theta_{\phi(B)}`, entry by entry: no units are sampled.

    Parameters
    ----------
    left, right : Layer or sequence of Layer
        The paths A and B, which both begin with what enters; an empty one is x itself. They must end with one shape.
    phi : str, callable or Activation
        What `mfdnn.activation` accepts.

    Raises
    ------
    TypeError, ValueError
        What is no layer, an unknown activation. In a network: paths that end with different shapes. In theory
        `NoTheory`: no weights on either path.

    Examples
    --------
    >>> import mfdnn
    >>> gate = mfdnn.Gate(mfdnn.Dense(100, 2.0), mfdnn.Dense(100, 2.0), "sigmoid")
    >>> gate.output_shape((50,))
    (100,)
    >>> mfdnn.Network(50, [gate, mfdnn.Dense(1)])
    Network(50-50-100-1, gate, sigmoid, L=3, P=10301)

    References
    ----------
    Dauphin, Fan, Auli & Grangier 2017, "Language modeling with gated convolutional networks", arXiv:1612.08083.
    Shazeer 2020, "GLU variants improve transformer", arXiv:2002.05202.
    """

    kind = "gate"
    multiplies = True

    def __init__(
        self, left: Layer | Sequence[Layer], right: Layer | Sequence[Layer], phi: str | Callable | Activation
    ):
        self.left, self.right = _path("left", left), _path("right", right)
        self._gate = Pointwise(phi)
        self._set_paths(self.left, (*self.right, self._gate))

    @property
    def phi(self) -> Activation:
        """The activation of the right path."""
        return self._gate.activation

    def __repr__(self) -> str:
        return f"Gate({_told(self.left)}, {_told(self.right)}, {self.phi.label!r})"

    def to_dict(self) -> dict[str, Any]:
        sides = {name: [layer.to_dict() for layer in getattr(self, name)] for name in ("left", "right")}
        return {"layer": "Gate", **sides, "phi": self._gate.to_dict()["phi"]}

    def _of(self, first: list[Layer], second: list[Layer]) -> Gate:
        return Gate(first, second[:-1], self.phi)

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        if not any(layer.total_weight_layers for layer in self.children):
            raise NoTheory(
                f"{self!r} has no weights on either path, whose units then depend on each other; write it as one "
                "activation, x * phi(x) for example (`Pointwise`)."
            )
        left, right, shared = self._propagated(state)
        if shared:
            units = units_of(left, self).times(units_of(right, self))
            return right.replace(units=units, gaussian=False, origin=None)
        left, right = as_moments(left), as_moments(right)
        of_left = left.tangents.map(lambda kernel: kernel * right.moments)
        of_right = right.tangents.map(lambda kernel: kernel * left.moments)
        return right.replace(
            moments=left.moments * right.moments,
            mean=left.mean * right.mean,
            tangents=of_left.joined(of_right),
            gaussian=False,
            origin=lambda: units_of(left, self).times(units_of(right, self)),
        )

    def recorded(self, units: Recorded) -> Recorded:
        left, right = self._recorded(units)
        return left.times(right)

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        expected, found = self._output_shapes(shape)
        if found != expected:
            raise ValueError(
                f"`Gate` must have one shape behind both of its paths: {shape_text(expected)} leave `left` and "
                f"{shape_text(found)} leave `right`; choose units, channels and strides so."
            )
        return found

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        left, right = self._forward(x, parameters, trace)
        trace.append((left, right))
        return left * right

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        d_left, d_right = self._pushforward(dx, parameters, tangents, trace)
        left, right = next(trace)
        if d_left is None or d_right is None:  # a path without weights, and nothing has entered
            return d_left * right if d_left is not None else None if d_right is None else left * d_right
        return d_left * right + left * d_right

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        left, right = next(trace)
        of_left, of_right = self._backward(delta * right, delta * left, parameters, trace, collected)
        return of_left + of_right


def _path(name: str, path: Any) -> tuple[Layer, ...]:
    """One layer, or a list of them."""
    return (path,) if isinstance(path, Layer) else checked_layers(path, name)


def _told(path: tuple[Layer, ...]) -> str:
    return repr(path[0]) if len(path) == 1 else f"[{', '.join(map(repr, path))}]"

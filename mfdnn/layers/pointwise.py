"""Pointwise nonlinearity: h_i = phi(u_i)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from ..activations import Activation, activation
from ..gaussian import expect
from .base import Layer
from .pairs import Pairs, SitePairs
from .recorded import Recorded
from .state import State
from .units import Units, through_units

__all__ = ["Pointwise"]

ROUNDING = 1e-13  # of a mean, in standard deviations


class Pointwise(Layer):
    r"""An activation applied to every unit.

    Infinite width: :math:`\hat q = E[\phi(u)^2]`, :math:`\hat q_{st} = E[\phi(u)\phi(v)]`; errors come back
    multiplied by :math:`E[\phi'(u)^2]` and :math:`E[\phi'(u)\phi'(v)]`. A signal that is exactly 0 has the slope
    :math:`\phi'(0)` of finite networks, 0 for relu, and not the limit of weak signals.

    Parameters
    ----------
    phi : str, callable or Activation
        What `mfdnn.activation` accepts.
    """

    keeps_units = batches_errors = True

    def __init__(self, phi: str | Callable | Activation):
        self.activation: Activation = activation(phi)

    def __repr__(self) -> str:
        return f"Pointwise({self.activation.label!r})"

    def to_dict(self) -> dict[str, Any]:
        label = self.activation.label
        if not self.activation.built_in:
            raise ValueError(
                f"`Pointwise({label!r})` holds a function of your own, which a file cannot; take a named activation."
            )
        return {"layer": "Pointwise", "phi": label}

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        return self.activation.homogeneous is not None

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        act, moments = self.activation, state.moments
        if state.tangents.names and np.any(act.pieces.jumps[:, 0]):
            raise NoTheory(
                f"activation {act.label!r} jumps, so that its squared slope has no expectation and the squared error "
                "sent back is infinite; use a continuous one."
            )
        offset = self._offset(state) if state.gaussian else None
        if offset is None:
            return through_units(self, state)
        if offset:
            act, moments = _shifted(act, offset), moments - offset**2
        mean, values, slopes = moments.expect(act)
        zero = (moments.variance == 0) & ~np.asarray(state.faint)[..., None]
        if np.any(zero):
            slopes = _with_slopes_at_zero(slopes, act, moments, zero)
        return state.mapped(values, lambda kernel: kernel * slopes, mean=mean, gaussian=False)

    def through_units(self, units: Units) -> Units:
        act, x = self.activation, units.values
        return units.elementwise(act(x), act.slope(x))

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        return True

    def _offset(self, state: State) -> float | None:
        """Mean of the units where it is the same for all inputs, else None."""
        mean = np.ravel(state.mean)
        rounding = ROUNDING * np.sqrt(np.max(state.moments.variance, initial=0.0))
        if np.ptp(mean) > rounding:
            return None
        return float(mean[0]) if abs(mean[0]) > rounding else 0.0

    def recorded(self, units: Recorded) -> Recorded:
        return units.elementwise(self.activation)

    # -- finite width -----------------------------------------------------------------------------------------
    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        trace.append(self.activation.slope(x))
        return self.activation(x)

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        slope = next(trace)
        return None if dx is None else slope * dx

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        return delta * next(trace)


def _with_slopes_at_zero(slopes: Pairs, act: Activation, moments: Pairs, zero: np.ndarray) -> Pairs:
    """E[phi' phi'] where units that are exactly 0 have the slope phi'(0).

    `slopes` has the limit of small variances instead: at a kink the mean over both sides. A network whose units are 0
    computes with the value that `Activation.slope` gives there. `zero` is shaped as the variance.
    """
    mean_slope = np.zeros(zero.shape)
    beside = ~zero & np.any(zero, axis=None if moments.given else -1, keepdims=True)
    mean_slope[beside] = expect(act, moments.variance[beside], derivative=1)
    mean_slope[zero] = act.slope(np.zeros(1))

    def chosen(slope: np.ndarray, neither: np.ndarray, product: np.ndarray) -> np.ndarray:
        return np.where(neither, slope, product)

    return slopes.entrywise(chosen, moments.outer(1.0 - zero), moments.outer(mean_slope))


@lru_cache(maxsize=16)  # tables are built once
def _shifted(act: Activation, offset: float) -> Activation:
    """phi(x + offset)."""
    kinks = [kink - offset for kink in act.kinks]
    features = [(place - offset, width) for place, width in act.features]
    return Activation(
        f"{act.name}_shifted",
        lambda x: act(x + offset),
        lambda x: act.slope(x + offset),
        kinks=kinks,
        features=features,
    )

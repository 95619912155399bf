"""Order parameters: second moments of the signal, and of the errors sent back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._support.errors import OutOfRange
from .._support.results import Result
from .._support.validation import one_of
from ..layers import Given, Pairs, State, Tangents, WeightRecord
from .runs import jackknife

__all__ = ["OrderParameters", "at_sites", "check_finite", "gathered"]

NAMES = ("q", "q_st", "q_tilde", "q_tilde_st", "q_hat", "q_hat_st", "c", "chi")


@dataclass(frozen=True, repr=False, eq=False)
class OrderParameters(Result):
    r"""Order parameters of a network, one row per weight layer.

    Shapes: ``S`` is the common shape of `q0` and `c0` (``()`` for numbers). For T given inputs, fields of one
    input have shape (L, T); fields of two (``_st``) have shape (L, T, T), with the former on their diagonals.

    Attributes
    ----------
    q, q_st : ndarray, shape (L, *S)
        :math:`q^l = E[u_i^l(t)^2]` and :math:`q_{st}^l = E[u_i^l(s)\,u_i^l(t)]`, :math:`s \ne t`: what leaves
        weight layer l = 1..L, before the activation.
    q_tilde, q_tilde_st : ndarray, shape (L, *S)
        :math:`\tilde q^l = \sum_i \delta_i^l(t)^2` and
        :math:`\tilde q_{st}^l = \sum_i \delta_i^l(s)\,\delta_i^l(t)` with
        :math:`\delta_i^l = \partial f_k / \partial u_i^l`: sums over the units of layer l = 1..L, not means;
        1 at the linear output.
    q_hat, q_hat_st : ndarray, shape (L, *S)
        Means over units of the squares, and of the products at two inputs, of what enters weight layer
        l = 1..L: :math:`\hat q^{l-1}` in the papers' numbering. The first row describes the inputs.
    fan_in, fan_out : ndarray of int, shape (L,)
        Widths on both sides of each weight layer.
    bias : ndarray of bool, shape (L,)
        Which weight layers have bias parameters.
    q_sites : tuple of ndarray
        Of each weight layer :math:`E[u_i^l(t)^2]` at every site, shape (*S, *sites), or (T, *sites) of given inputs.
        The fields above are means over sites, `q_tilde` sums over them.
    c : ndarray, shape of `q_st`
        Correlation of the pre-activations at two inputs.
    chi : ndarray, shape of `q_tilde`
        Growth of squared errors from one weight layer to the one below.
    per_input : bool
        Whether inputs were given.
    standard_error : dict or None
        Of every field, where units were sampled (`mfdnn.MeanField`).
    """

    q: np.ndarray
    q_st: np.ndarray
    q_tilde: np.ndarray
    q_tilde_st: np.ndarray
    q_hat: np.ndarray
    q_hat_st: np.ndarray
    fan_in: np.ndarray
    fan_out: np.ndarray
    bias: np.ndarray
    q_sites: tuple[np.ndarray, ...] = ()
    _given: bool = False
    _products: bool = False  # whether kernels are products of these fields: one site, samples that pass one by one
    _tangents: Tangents | None = None  # at the outputs, by groups of parameters
    _outputs: Pairs | None = None  # moments of what leaves the last weight layer
    _without_one_run: Callable[[], Sequence[OrderParameters]] | None = None  # of sampled units

    @cached_property
    def standard_error(self) -> dict[str, np.ndarray] | None:
        """Standard errors of the fields, where units were sampled, else None.

        They are computed when first asked for: of T given inputs that takes eight times these fields.
        """
        if self._without_one_run is None:
            return None
        found = self._without_one_run()
        return {name: jackknife([getattr(one, name) for one in found]) for name in NAMES}

    def __repr__(self) -> str:
        shapes = f"q: {self.q.shape}, q_st: {self.q_st.shape}"
        return f"OrderParameters({len(self.q)} weight layers, {shapes})"

    @property
    def per_input(self) -> bool:
        """Whether inputs were given, so that fields hold one entry for each.

        Those of two inputs then hold one for each pair. Otherwise inputs are exchangeable.
        """
        return self._given

    @property
    def c(self) -> np.ndarray:
        """Correlation q_st / q of the pre-activations at two inputs, shape of `q_st`.

        Where both variances are 0 both signals are 0, hence the same: 1. Where one of two given inputs has
        variance 0: 0.
        """
        scale = np.sqrt(self.q[:, :, None] * self.q[:, None, :]) if self.per_input else self.q
        zero = (self.q[:, :, None] == self.q[:, None, :]) & (scale == 0) if self.per_input else scale == 0
        c = np.divide(self.q_st, scale, out=np.where(zero, 1.0, 0.0), where=scale > 0)
        return np.clip(c, -1.0, 1.0)  # rounding alone takes the quotient beyond

    @property
    def chi(self) -> np.ndarray:
        r"""Growth of squared errors from a weight layer to the one below: as `q_tilde`.

        :math:`\chi^l = \tilde q^l / \tilde q^{l+1}` with :math:`\tilde q^{L+1} := 1`: it is 1 at a linear
        output. Between two layers of a fully connected network it is
        :math:`\sigma_w^2 E[\phi'(u^l)^2]`. It is 0 where errors had vanished already, and inf where they
        reappear (through a skip connection).
        """
        above = np.concatenate([self.q_tilde[1:], np.ones_like(self.q_tilde[:1])])
        vanished = np.where(self.q_tilde > 0, np.inf, 0.0)
        return np.divide(self.q_tilde, above, out=vanished, where=above > 0)

    def averaged(self, name: str) -> np.ndarray:
        """Mean over given inputs, or over pairs of different ones: shape (L,).

        Exchangeable inputs have nothing to average: the field itself, shape (L, *S).

        Parameters
        ----------
        name : str
            Of a field: one of two inputs (``_st``) is averaged over pairs, one of one input over inputs.
        """
        values = getattr(self, one_of("name", name, NAMES))
        if not self.per_input:
            return values
        if values.ndim == 2:
            return values.mean(axis=1)
        n = values.shape[1]
        return (values.sum(axis=(1, 2)) - np.trace(values, axis1=1, axis2=2)) / max(n * (n - 1), 1)

    def to_dict(self) -> dict[str, Any]:
        """All fields, and `c` and `chi`, as plain Python."""
        return {**super().to_dict(), "c": self.c.tolist(), "chi": self.chi.tolist()}


def gathered(state: State, couples_samples: bool) -> OrderParameters:
    """The order parameters of a network whose signal has arrived at its outputs.

    Of given inputs the records and tangents of `state` come to lie in the memory of these fields, one after the other:
    only one copy stays alive.

    Raises
    ------
    OutOfRange
        The signal or the errors are infinite somewhere.
    """
    records, tangents = state.records, state.tangents

    def keep_left(layer: int, pairs: Pairs) -> None:
        records[layer].left = pairs

    def keep_seen(layer: int, pairs: Pairs) -> None:
        records[layer].seen = pairs

    def keep_errors(layer: int, pairs: Pairs) -> None:
        tangents.replace(("errors", layer), pairs)

    depth = len(records)
    q, q_st = _rows(depth, lambda layer: records[layer].left, keep_left)
    check_finite(q, q_st, "the variance of the signal")
    q_hat, q_hat_st = _rows(depth, lambda layer: records[layer].seen, keep_seen)
    q_tilde, q_tilde_st = _rows(depth, lambda layer: tangents[("errors", layer)], keep_errors)
    check_finite(q_tilde, q_tilde_st, "the squared error sent back")
    return OrderParameters(
        q=q,
        q_st=q_st,
        q_tilde=q_tilde,
        q_tilde_st=q_tilde_st,
        q_hat=q_hat,
        q_hat_st=q_hat_st,
        fan_in=np.array([record.fan_in for record in records]),
        fan_out=np.array([record.fan_out for record in records]),
        bias=np.array([record.bias for record in records]),
        q_sites=tuple(at_sites(record) for record in records),
        _given=state.moments.given,
        _products=not couples_samples and not any(record.sites for record in records),
        _tangents=tangents,
        _outputs=records[-1].left,
    )


def at_sites(record: WeightRecord) -> np.ndarray:
    """The variance at every site, as the sites lie."""
    assert record.variance is not None
    return record.variance.reshape((*record.variance.shape[:-1], *record.sites))


def _rows(
    depth: int, of_layer: Callable[[int], Any], keep: Callable[[int, Pairs], None]
) -> tuple[np.ndarray, np.ndarray]:
    """At one input and at two, means over sites, one row a layer.

    `keep` is given each layer's Pairs in that memory.
    """
    first = of_layer(0).site_mean()
    one, two = (np.empty((depth, *np.shape(a))) for a in (first.at_one, first.at_two))
    del first
    for layer in range(depth):
        pairs = of_layer(layer)
        mean = pairs.site_mean()
        one[layer], two[layer] = mean.at_one, mean.at_two
        if pairs.given and pairs.n_sites == 1:
            keep(layer, Given(two[layer, :, :, None, None]))
    return one, two


def check_finite(variance: np.ndarray, covariance: np.ndarray, what: str) -> None:
    """Raise an `OutOfRange` that names the first layer where something is infinite.

    One row each.
    """
    for layer, (one, two) in enumerate(zip(variance, covariance, strict=True), start=1):
        if not (np.all(np.isfinite(one)) and np.all(np.isfinite(two))):
            raise OutOfRange(
                f"{what} is infinite at weight layer {layer} of {len(variance)}", "lower `sigma_w2` or the depth"
            )

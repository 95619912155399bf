"""Sampled units, recorded for derivatives of means over them by their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..._support.errors import NoTheory
from ...activations import Activation
from ..windows import Windows
from .tape import Node, chosen, drawn, gram, sandwiched, tangents_drawn, tangents_given

__all__ = ["Recorded", "Recording", "Sample", "Stream"]

BUMP = 0.1  # width of the Gaussian in place of the point mass at a kink, in standard deviations of what enters


class Stream:
    """Units that are drawn together: of a weight layer, or a whole skip.

    Attributes
    ----------
    width : int
        How many there are in the finite network.
    number : int
        In the order of the weight layers.
    weights : Node, of shape (5, S)
        Weights of the sampled units in all means over them, see `tape.gram`.
    """

    def __init__(self, width: int, n_units: int, number: int):
        self.width, self.number = width, number
        self.weights = Node(np.repeat([[1.0], [1.0], [1.0], [0.0], [0.0]], n_units, axis=1))
        self._joined: Stream | None = None

    def __repr__(self) -> str:
        return f"Stream({self.width})"

    @property
    def root(self) -> Stream:
        """The stream that it has become a part of."""
        return self if self._joined is None else self._joined.root

    def join(self, other: Stream) -> None:
        """Add unit by unit: influences of both are those of one unit."""
        if other.root is not self.root:
            other.root._joined = self.root


class Sample(NamedTuple):
    """Units that stand for all in means over them.

    Attributes
    ----------
    streams : frozenset of int
        Whose: numbers of streams that are added, in the order of the weight layers.
    units : slice
        Which.
    """

    streams: frozenset[int]
    units: slice


@dataclass
class Recording:
    """One walk over the layers.

    Attributes
    ----------
    rng : numpy.random.Generator
    n_units : int
        S, even.
    exchangeable : bool
        Whether all inputs are alike, and all pairs of them: what means over units tell apart is noise.
    sample : Sample or None
        Of values alone, without derivatives: what some units make of the network. Values and tangents of a layer are
        then drawn with the covariance that they have in the units below, as one matrix of weights gives both.
    streams : list of Stream
        In the order of the weight layers; drawn inputs are the first.
    """

    rng: np.random.Generator
    n_units: int
    exchangeable: bool = False
    sample: Sample | None = None
    streams: list[Stream] = field(default_factory=list)

    def stream(self, width: int) -> Stream:
        """Units of a weight layer."""
        self.streams.append(Stream(width, self.n_units, len(self.streams)))
        return self.streams[-1]


@dataclass(frozen=True)
class Recorded:
    r"""A signal: values and tangents of S sampled units over all (input, site).

    Behind a weight layer it is known by its covariances, until a layer needs the units. A layer's part of it is
    `Layer.recorded`, written with the methods below.

    Attributes
    ----------
    recording : Recording
    shape : tuple of int
        (channels, \*sites) of the finite layer.
    n_samples : int
    stream : Stream or None
        None: channels of given inputs, which are not drawn.
    field_values, field_tangents : Node or None
        Of units that were drawn: (S, T, n), and two independent copies (2, S, T, n); no tangents at the inputs.
    covariances : tuple of Node, or None
        Of values and of tangents, (T n, T n), of units that were not.
    crossed : ndarray, shape (2, T n, T n), or None
        And of values with either copy of the tangents, where a `Recording.sample` is taken.
    repeats : int
        How many fields one unit has, side by side.
    """

    recording: Recording
    shape: tuple[int, ...]
    n_samples: int
    stream: Stream | None = None
    field_values: Node | None = None
    field_tangents: Node | None = None
    covariances: tuple[Node, Node] | None = None
    crossed: np.ndarray | None = None
    repeats: int = 1

    @classmethod
    def inputs(cls, inputs: np.ndarray, recording: Recording) -> Recorded:
        r"""Given inputs (T, channels, \*sites)."""
        values = np.moveaxis(inputs.reshape(*inputs.shape[:2], -1), 1, 0)
        return cls(recording, inputs.shape[1:], len(inputs), None, Node(values))

    @classmethod
    def drawn_inputs(
        cls, shape: tuple[int, ...], n_samples: int, q0: float, c0: float, recording: Recording
    ) -> Recorded:
        r"""Gaussian inputs (T, channels, \*sites), whose channels are units of a stream.

        :math:`x_t = \sqrt{q_0}(\sqrt{c_0}\,\xi + \sqrt{1 - c_0}\,\zeta_t)`, sites independent.
        """
        n, rng = prod(shape[1:]), recording.rng
        shared = np.sqrt(c0) * rng.standard_normal((recording.n_units // 2, 1, n))
        half = np.sqrt(q0) * (shared + np.sqrt(1 - c0) * rng.standard_normal((recording.n_units // 2, n_samples, n)))
        values = Node(np.concatenate([half, -half]))
        return cls(recording, shape, n_samples, recording.stream(shape[0]), values)

    @cached_property
    def _drawn(self) -> tuple[Node, Node]:
        assert self.covariances is not None
        n, rng = self.recording.n_units, self.recording.rng
        of_values, of_tangents = self.covariances
        size, fields = len(of_values.value), (n, self.n_samples, -1)
        e = rng.standard_normal((n // 2, size))

        def shaped(node: Node, *lead: int) -> Node:
            return node.linear(lambda x: x.reshape(*lead, *fields), lambda d: d.reshape(*d.shape[:-2], size))

        e, own = np.concatenate([e, -e]), rng.standard_normal((2, n, size))
        values = drawn(of_values, e)
        if self.crossed is None:
            tangents = tangents_drawn(of_tangents, own)
        else:
            tangents = Node(tangents_given(of_values.value, of_tangents.value, self.crossed, e, own), tangent=True)
        return shaped(values), shaped(tangents, 2)

    @property
    def values(self) -> Node:
        """Of units, (S, T, n)."""
        return self._drawn[0] if self.field_values is None else self.field_values

    @property
    def tangents(self) -> Node | None:
        """Of units, two independent copies (2, S, T, n)."""
        return self._drawn[1] if self.field_values is None else self.field_tangents

    def mapped(self, values: Node, tangents: Node | None, shape: tuple[int, ...] | None = None) -> Recorded:
        """Behind a map of the units."""
        return replace(self, field_values=values, field_tangents=tangents, covariances=None, shape=shape or self.shape)

    # -- maps of single units ---------------------------------------------------------------------------------

    def elementwise(self, act: Activation) -> Recorded:
        """Behind an activation.

        In the derivative of its slope the point mass at a kink is a Gaussian of a tenth of a standard deviation.
        """
        values = self.values
        x = values.value
        slope = act.slope(x)
        behind = values.elementwise(act(x), slope)
        if self.tangents is None:
            return self.mapped(behind, None)
        bend, pieces = act.curvature(x), act.pieces
        for place, jump in zip(pieces.breaks, pieces.jumps[:, 1], strict=True):
            if jump:
                bend = bend + jump * _bump(x - place, x)
        return self.mapped(behind, self.tangents * values.elementwise(slope, bend))

    def times_constant(self, factor: np.ndarray | float) -> Recorded:
        """Every number times a constant."""
        return self.mapped(self.values * factor, None if self.tangents is None else self.tangents * factor)

    def over_sites(self, matrix: np.ndarray, shape: tuple[int, ...]) -> Recorded:
        """Behind a linear map of the sites, (m, n)."""
        if self.field_values is None:
            whole = _over_samples(matrix, self.n_samples)
            assert self.covariances is not None
            of_values, of_tangents = self.covariances
            both = sandwiched(of_values, [whole]), sandwiched(of_tangents, [whole])
            crossed = None if self.crossed is None else _each(self.crossed, [whole])
            return replace(self, covariances=both, crossed=crossed, shape=shape)

        def pooled(of: Node) -> Node:
            return of.linear(lambda x: x @ matrix.T, lambda d: d @ matrix)

        return self.mapped(pooled(self.values), None if self.tangents is None else pooled(self.tangents), shape)

    def largest(self, windows: Windows, shape: tuple[int, ...]) -> Recorded:
        """The largest value of every window of sites.

        The switch from one to another is smooth as a kink is.
        """
        first, *others = (_tap(windows, tap) for tap in np.ndindex(windows.kernel))
        values, tangents = self.values, self.tangents
        best, tangent = chosen(values, first), None if tangents is None else chosen(tangents, first)
        for at in others:
            less = chosen(values, at) - best
            x = less.value
            ahead = (x > 0).astype(float)
            best = best + less.elementwise(np.maximum(x, 0), ahead)
            if tangents is not None and tangent is not None:
                switch = less.elementwise(ahead, _bump(x, x))
                tangent = tangent + (chosen(tangents, at) - tangent) * switch
        return self.mapped(best, tangent, shape)

    def side_by_side(self, shape: tuple[int, ...]) -> Recorded:
        """Every site becomes a field of its own, of one site."""
        n = self.values.value.shape[-1]

        def apart(x: np.ndarray) -> np.ndarray:  # (..., S, T, n) to (..., S n, T, 1)
            return np.swapaxes(x, -1, -2).reshape(*x.shape[:-3], x.shape[-3] * n, x.shape[-2], 1)

        def back(d: np.ndarray) -> np.ndarray:
            return np.swapaxes(d.reshape(*d.shape[:-3], d.shape[-3] // n, n, d.shape[-2]), -1, -2)

        both = [None if of is None else of.linear(apart, back) for of in (self.values, self.tangents)]
        return replace(self.mapped(both[0], both[1], shape), repeats=self.repeats * n)  # type: ignore[arg-type]

    def standardised(self, gamma: float, beta: float, eps: float, axes: tuple[int, ...]) -> tuple[Recorded, Node]:
        """Behind a normalisation of every unit, and what it is before gains."""
        x = self.values - self.values.mean(axes)
        inverse = (x * x).mean(axes).shifted(eps).power(-0.5)
        z = x * inverse
        tangents = self.tangents
        if tangents is not None:
            less = tangents - tangents.mean(axes)
            tangents = (less - z * (less * z).mean(axes)) * (inverse * gamma)
        return self.mapped((z * gamma).shifted(beta), tangents), z

    def less_mean(self, axes: tuple[int, ...]) -> Recorded:
        """Less the mean along axes of (T, n)."""
        both = [None if of is None else of - of.mean(axes) for of in (self.values, self.tangents)]
        return self.mapped(both[0], both[1])  # type: ignore[arg-type]

    def trained(self, *fields: Node | None) -> Recorded:
        """With parameters of each unit's own, of these derivatives; None is 1."""
        tangents = self.tangents
        for x in fields:
            e = self.recording.rng.standard_normal((2, len(self.values.value), 1, 1))
            if x is None:
                own = Node(np.broadcast_to(e, (2, *self.values.value.shape)), tangent=True)
            else:
                own = _with_normals(x, e)
            tangents = own if tangents is None else tangents + own
        return self.mapped(self.values, tangents)

    # -- several units ----------------------------------------------------------------------------------------

    def mean_over_units(self, fields: Node, sites: bool = False) -> Node:
        """Mean over all units (and sites) of fields, which their weights enter."""
        n, repeats = len(fields.value), self.repeats
        axes = (0, 2) if sites else (0,)
        value = self._weighed(fields.value, lambda x: x.mean(axis=axes, keepdims=True))
        share, shape = value.size / fields.value.size, fields.value.shape
        parents = [(fields, lambda d: np.broadcast_to(d * share, shape))]
        if self.stream is not None:

            def of_weights(d: np.ndarray) -> np.ndarray:
                found = np.zeros((5, n))
                found[0] = share * np.sum(d * fields.value, axis=(1, 2))
                return found.reshape(5, -1, repeats).sum(axis=-1)

            parents.append((self.stream.weights, of_weights))
        found = Node(value, *parents)
        return _settled(found, np.broadcast_to(value.mean(1, keepdims=True), value.shape), self.recording)

    def normalised(
        self, gamma: float, beta: float, eps: float, *, centred: bool = True, sites: bool = False
    ) -> tuple[Recorded, Node]:
        """Behind a normalisation over units, and what it is before gains."""
        x = self.values
        if centred:
            x = x - self.mean_over_units(x, sites)
        inverse = self.mean_over_units(x * x, sites).shifted(eps).power(-0.5)
        z = x * inverse
        tangents = self.tangents
        if tangents is not None and self.recording.sample is not None:  # these means are of the order M^-1/2
            moved, axes = np.swapaxes(tangents.value, 0, 1), (0, 3) if sites else (0,)

            def mean(of: np.ndarray) -> np.ndarray:
                return self._weighed(of, lambda some: some.mean(axis=axes, keepdims=True))

            moved = moved - mean(moved) if centred else moved
            x_hat = z.value[:, None]
            moved = moved - x_hat * mean(x_hat * moved)
            tangents = Node(np.swapaxes(moved, 0, 1), tangent=True)
        tangents = None if tangents is None else tangents * (inverse * gamma)
        return self.mapped((z * gamma).shifted(beta), tangents), z

    def plus(self, other: Recorded, factor: float) -> Recorded:
        """`factor` times the signal plus another one, unit by unit."""
        mine = self if factor == 1 else self.times_constant(factor)
        stream = self._joined(other)
        values = mine.values + other.values
        both = [of for of in (mine.tangents, other.tangents) if of is not None]
        tangents = both[0] + both[1] if len(both) == 2 else both[0]
        return replace(mine.mapped(values, tangents), stream=stream)

    def times(self, other: Recorded) -> Recorded:
        """The signal times another one, unit by unit."""
        stream = self._joined(other)
        parts = [of * by for of, by in ((self.tangents, other.values), (other.tangents, self.values)) if of is not None]
        tangents = parts[0] + parts[1] if len(parts) == 2 else parts[0]
        return replace(self.mapped(self.values * other.values, tangents), stream=stream)

    def _joined(self, other: Recorded) -> Stream:
        if self.stream is None or other.stream is None:
            raise NoTheory(
                "`net` joins channels of its inputs with units, one by one, and the spread that this makes is not "
                "derived; put a weight layer before the skip connection, or measure the spread with mfdnn.ensemble."
            )
        if self.repeats != other.repeats:
            raise NoTheory(
                "`net` joins units behind `Flatten` with others, whose spread is not derived; put a weight layer "
                "between, or measure the spread with mfdnn.ensemble."
            )
        self.stream.join(other.stream)
        return self.stream

    def weighted(
        self,
        shape: tuple[int, ...],
        *,
        fan_in: int,
        sigma_w2: float,
        sigma_b2: float,
        bias: bool,
        windows: Windows | None = None,
    ) -> Recorded:
        """Behind random weights and biases; `windows`: what a convolution reads."""
        moments, kernel = self.grams
        if windows is not None:
            taps = _taps(windows, self.n_samples)
            moments, kernel = sandwiched(moments, taps), None if kernel is None else sandwiched(kernel, taps)
        crossed = self._crossed
        if windows is not None and crossed is not None:
            crossed = _each(crossed, taps)
        left = (moments * sigma_w2).shifted(sigma_b2)
        own = (moments * float(fan_in)).shifted(float(bias))
        if not np.any(left.value):
            raise NoTheory("`net` has no signal at one of its weight layers; give it inputs, weights or biases.")
        return Recorded(
            self.recording,
            shape,
            self.n_samples,
            self.recording.stream(shape[0]),
            covariances=(left, own if kernel is None else own + kernel * sigma_w2),
            crossed=None if crossed is None else sigma_w2 * crossed,
        )

    def _weighed(self, fields: np.ndarray, mean: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """A mean over units, first axis, or over those of a `Recording.sample`."""
        sample = self.recording.sample
        if sample is None or self.stream is None or self.stream.number not in sample.streams:
            return mean(fields)
        return mean(fields[sample.units.start * self.repeats : sample.units.stop * self.repeats])

    @property
    def _crossed(self) -> np.ndarray | None:
        """Means over units of values times tangents, where a `Recording.sample` is taken."""
        if self.recording.sample is None or self.tangents is None:
            return None
        values, size = self.values.value, prod(self.values.value.shape[1:])
        both = np.stack([values, *self.tangents.value], axis=1).reshape(len(values), 3, size)

        def products(x: np.ndarray) -> np.ndarray:
            return np.stack([x[:, 0].T @ x[:, copy] for copy in (1, 2)]) / len(x)

        return self._weighed(both, products)

    @property
    def _sampled_grams(self) -> tuple[Node, Node | None]:
        size = prod(self.values.value.shape[1:])

        def products(x: np.ndarray) -> np.ndarray:
            rows = x.reshape(-1, size)
            return rows.T @ rows / len(rows)

        tangents = self.tangents
        if tangents is None:
            return Node(self._weighed(self.values.value, products)), None
        copies = np.swapaxes(tangents.value, 0, 1)
        return Node(self._weighed(self.values.value, products)), Node(self._weighed(copies, products))

    @property
    def grams(self) -> tuple[Node, Node | None]:
        """Means over units of products of two (input, site): of values, and of tangents."""
        if self.recording.sample is not None:
            return self._sampled_grams
        weights = Node(np.zeros((5, len(self.values.value) // self.repeats)))  # which nobody asks for
        weights = weights if self.stream is None else self.stream.weights
        both = [None if of is None else gram(of, weights, self.repeats) for of in (self.values, self.tangents)]
        if self.recording.exchangeable:
            both = [
                None if of is None else _settled(of, _alike(of.value, self.n_samples), self.recording) for of in both
            ]
        return both[0], both[1]  # type: ignore[return-value]


def _each(matrices: np.ndarray, taps: Sequence[Any]) -> np.ndarray:
    """Mean over taps B of B M B^T, of several matrices."""
    return np.stack([sandwiched(Node(m), taps).value for m in matrices])


def _settled(node: Node, value: np.ndarray, recording: Recording) -> Node:
    """A mean over units at `value`, its own average over exchangeable inputs.

    Derivatives stay those by what each input has.
    """
    return Node(value, (node, lambda d: d)) if recording.exchangeable else node


def _alike(moments: np.ndarray, n_samples: int) -> np.ndarray:
    """Moments (T n, T n), averaged over inputs and over pairs of them."""
    blocks = moments.reshape(n_samples, -1, n_samples, len(moments) // n_samples)
    one = np.einsum("sasb->ab", blocks)
    two = (blocks.sum(axis=(0, 2)) - one) / max(n_samples * (n_samples - 1), 1)
    two, one = (two + two.T) / 2, (one + one.T) / (2 * n_samples)
    return np.kron(np.eye(n_samples), one - two) + np.kron(np.ones((n_samples, n_samples)), two)


def _with_normals(x: Node, e: np.ndarray) -> Node:
    """Tangents x e, both of whose factors change with x."""
    return Node(x.value * e, (x, lambda d: d * e), tangent=True)


def _bump(distance: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A Gaussian in place of a point mass, `BUMP` standard deviations of x wide."""
    width = BUMP * np.sqrt(np.mean(x**2))
    return np.exp(-0.5 * (distance / width) ** 2) / (width * np.sqrt(2 * np.pi))


def _tap(windows: Windows, tap: Sequence[int]) -> np.ndarray:
    """Sites (m,) that a tap of every window reads; -1: none."""
    each = np.meshgrid(*(axis.tap(b) for axis, b in zip(windows.along, tap, strict=True)), indexing="ij")
    found = np.zeros(windows.out, int)
    for at, axis in zip(each, windows.along, strict=True):
        found = found * axis.size + at
    return np.where(np.logical_or.reduce([at < 0 for at in each]), -1, found).ravel()


def _reading(at: np.ndarray, n: int) -> Any:
    """The sparse matrix (m, n) that reads these sites."""
    from scipy.sparse import csr_array

    rows = np.flatnonzero(at >= 0)
    return csr_array((np.ones(len(rows)), (rows, at[rows])), shape=(len(at), n))


@lru_cache(maxsize=32)
def _taps(windows: Windows, n_samples: int) -> list[Any]:
    """What each tap of a convolution reads, of all samples."""
    n = prod(windows.sites)
    at = (_tap(windows, tap) for tap in np.ndindex(windows.kernel))
    return [_over_samples(_reading(sites, n), n_samples) for sites in at]


def _over_samples(matrix: Any, n_samples: int) -> Any:
    """The same map of the sites of every sample."""
    from scipy.sparse import csr_array, eye_array, kron

    return csr_array(kron(eye_array(n_samples), matrix))

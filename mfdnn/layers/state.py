"""What travels through an infinitely wide network: moments, and tangents.

Moments are of the units, tangents of the parameters met so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .pairs import ALL, SAME, Between, Given, Pairs, SitePairs
from .tangents import Tangents, WeightRecord

if TYPE_CHECKING:
    from .units.sampler import Sampler
    from .units.units import Units

__all__ = ["State", "given_moments"]

FAINT = 1e-100  # a variance from which cubes and smaller factors underflow to 0


@dataclass(frozen=True)
class State:
    r"""A signal in an infinitely wide network, and how it depends on parameters.

    A layer's law, `Layer.propagate`, makes the next one. Three methods write most laws: `weighted` for layers that draw
    weights, `mapped` for those that act on units, `trained` for parameters that are no weights.

    Attributes
    ----------
    n_samples : int or None
        T; None: infinitely many.
    moments : Pairs
        Mean over units of the products at two (input, site).
    mean : ndarray, shape (\*S, n) or (T, n)
        Mean over units, at every site (of every given input). It matters where a skip connection adds two signals.
    shape : tuple of int
        (channels, \*sites) of the finite layer.
    gaussian : bool
        Whether the units are Gaussian over the draw of the weights, as `Pointwise` requires.
    tangents : Tangents
        Tangent kernels of a unit, as Pairs.
    records : tuple of WeightRecord
        Of the weight layers met so far.
    faint : bool, or ndarray of bool of shape S or (T,)
        Whether the signal of an input has been so weak, but not 0, that a variance of 0 may be an underflow.
    sampler : Sampler or None
        How units are drawn where a layer needs them; None: not at all.
    units : Units or None
        Sampled units, where there are some: moments, mean and tangents of the state are then those before it, and
        stale. Only layers that act on units are handed such a state (`Layer.acts_on_units`).
    origin : callable or None
        Makes the units of a signal that is not Gaussian.
    """

    moments: Pairs
    mean: np.ndarray
    shape: tuple[int, ...]
    gaussian: bool
    tangents: Tangents
    records: tuple[WeightRecord, ...] = ()
    faint: Any = False
    sampler: Sampler | None = None
    units: Units | None = None
    origin: Callable[[], Units] | None = None

    @property
    def n_samples(self) -> int | None:
        """T, the number of inputs; None: infinitely many."""
        return self.moments.n_samples

    def replace(self, **changes: Any) -> State:
        """The state with some fields changed."""
        return replace(self, **changes)

    def mapped(
        self,
        moments: Pairs,
        tangents: Callable[[Pairs], Pairs],
        *,
        mean: np.ndarray | None = None,
        errors: Callable[[Pairs], Pairs] | None = None,
        shape: tuple[int, ...] | None = None,
        gaussian: bool | None = None,
    ) -> State:
        r"""The state behind a map of the units.

        Tangent kernels become :math:`E[J \Theta J^T]`, J the derivative of the map.

        Parameters
        ----------
        moments : Pairs
            Of what leaves.
        tangents : callable
            Maps a tangent kernel, Pairs to Pairs; linear.
        mean : ndarray, shape (\*S, n) or (T, n), optional
            Over units, of what leaves. Default: unchanged.
        errors : callable, optional
            The same as `tangents` for errors of a sample by its own units, where it differs: in layers that couple
            samples.
        shape : tuple of int, optional
            (channels, \*sites) of what leaves. Default: unchanged.
        gaussian : bool, optional
            Whether what leaves is Gaussian. Default: as what enters.
        """
        return self.replace(
            moments=moments,
            mean=self.mean if mean is None else mean,
            shape=self.shape if shape is None else shape,
            gaussian=self.gaussian if gaussian is None else gaussian,
            tangents=self.tangents.map(tangents, errors),
            origin=None,
        )

    def weighted(
        self,
        shape: tuple[int, ...],
        *,
        fan_in: int,
        sigma_w2: float,
        sigma_b2: float = 0.0,
        bias: bool = True,
        sees: Callable[[Pairs], Pairs] | None = None,
        trains: Callable[[Pairs], Pairs] | None = None,
    ) -> State:
        r"""The state behind random weights and biases.

        Weights have variance ``sigma_w2 / fan_in``, biases `sigma_b2`. With A what the units see of the moments
        below, :math:`Q = \sigma_w^2 A(K) + \sigma_b^2`, :math:`\Theta \to \sigma_w^2 A(\Theta)`, and the parameters'
        own kernel is :math:`n A(K)` (n: `fan_in`) of weights, 1 of biases (one for all sites).

        Parameters
        ----------
        shape : tuple of int
            Of what leaves, (channels, \*sites).
        fan_in : int
            n, the weights of a unit.
        sigma_w2, sigma_b2 : float
            Variances of a weight times `fan_in`, and of a bias.
        bias : bool
            Whether there are bias parameters.
        sees : callable, optional
            A, Pairs to Pairs, linear: of a convolution the average over its taps. Default: the moments themselves.
        trains : callable, optional
            The same for the weights' own kernel, where more of them are trained than are drawn: those that start at
            zero. Default: `sees`.
        """
        seen = self.moments if sees is None else sees(self.moments)
        left = sigma_w2 * seen + sigma_b2
        own = fan_in * (seen if trains is None else trains(self.moments))
        keep, layer = self.tangents.keep, len(self.records)

        def passed(kernel: Pairs) -> Pairs:
            return sigma_w2 * (kernel if sees is None else sees(kernel))

        tangents = self.tangents.map(passed)
        groups: list[tuple[tuple, Pairs]] = []
        if not keep.only:
            groups += [(("weights",), own), (("ntk",), left)]
            if bias:
                groups.append((("biases",), seen.ones()))
        elif keep.only != "none":
            groups.append((("only",), left if keep.only == "ntk" else own + float(bias)))
        if keep.shares:
            groups.append((("layer", layer), own + float(bias)))
        if keep.errors:
            groups.append((("errors", layer), left.same_sites()))
            if self.moments.n_sites > 1 or seen.n_sites > 1:
                groups.append((("features", layer), passed(self.moments.same_sites())))
        tangents = tangents.add(*groups)
        kept_seen, kept_left = (seen, left) if keep.signal else (None, None)
        variance = left.variance
        at_sites = variance if keep.signal else None
        record = WeightRecord(kept_seen, kept_left, fan_in, shape[0], sigma_w2, bias, at_sites, shape[1:])
        return self.replace(
            moments=left,
            mean=np.zeros_like(variance),
            shape=shape,
            gaussian=True,
            tangents=tangents,
            records=(*self.records, record),
            origin=None,
            faint=self.faint | np.any((variance > 0) & (variance < FAINT), axis=-1),
        )

    def trained(self, kernel: Pairs) -> State:
        """The state with parameters that are no weights.

        `kernel` holds the products of a unit's derivatives by them, at this place.
        """
        name = {"": "others", "standard": "only"}.get(self.tangents.keep.only)
        return self.replace(tangents=self.tangents.add(((name,), kernel))) if name else self

    def joined(self, branch: State, skip: float = 1.0) -> State:
        """The state behind a skip connection: `skip` times this one plus a `branch`.

        Both are functions of one signal with weights that are independent of each other. The records are those of
        `branch`, which met all weight layers of this one before its own or had them handed over.
        """
        moments = skip**2 * self.moments + branch.moments
        if np.any(self.mean) and np.any(branch.mean):
            moments = moments + 2 * skip * branch.moments.outer(self.mean, branch.mean)
        return branch.replace(
            moments=moments,
            mean=skip * self.mean + branch.mean,
            gaussian=self.gaussian and branch.gaussian,
            tangents=self.tangents.joined(branch.tangents, skip**2),
        )


def given_moments(inputs: np.ndarray, others: np.ndarray | None = None, sites: SitePairs = ALL) -> Pairs:
    """Moments of given inputs (T, channels, *sites): means over their channels.

    Of pairs of them, or of pairs of an input and one of `others`; at all pairs of sites, or at the same.
    """
    if sites is SAME:
        # One product of matrices for every site.
        x, y = (np.moveaxis(_of_sites(inputs if of is None else of), 2, 0) for of in (None, others))
        gram = np.moveaxis(x @ y.swapaxes(1, 2), 0, -1) / inputs.shape[1]
        if others is None:
            return Given(gram, SAME)
        rows, columns = (np.mean(_of_sites(of) ** 2, axis=1) for of in (inputs, others))
        return Between(rows, columns, gram, SAME)
    if others is not None:
        rows, columns = (np.einsum("tcx,tcy->txy", of, of) / of.shape[1] for of in map(_of_sites, (inputs, others)))
        return Between(rows, columns, _gram(inputs, others))
    return Given(_gram(inputs, inputs))


def _of_sites(inputs: np.ndarray) -> np.ndarray:
    return inputs.reshape(*inputs.shape[:2], -1)


def _gram(inputs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Means over channels of products at all sites, (T, T', n, n)."""
    rows, columns = (_of_sites(of).swapaxes(1, 2).reshape(-1, of.shape[1]) for of in (inputs, others))
    gram = rows @ (rows.T if others is inputs else columns.T)  # a matrix times its transpose is symmetric
    gram /= inputs.shape[1]
    n = len(rows) // len(inputs)
    return gram.reshape(len(inputs), n, len(others), n).swapaxes(1, 2)

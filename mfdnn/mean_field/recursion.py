r"""A network on data, as an object that all theory reads.

Inputs are checked once, the recursion over the layers is run once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import RLock
from typing import Any, TypeVar

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from .._support.results import unwrap
from .._support.validation import (
    checked,
    positive_integer,
    refuse_both,
    sample_count,
)
from ..layers import Keep, Layer, OutputLaw, Pairs, State, Tangents, WeightRecord
from ..layers.base import propagated
from ..layers.pairs import ALL, NeedsAllPairs, NeedsSingle, SitePairs
from ..layers.units import Sampler, as_moments
from ..network import Network
from .inputs import (
    advice,
    check_correlation,
    check_network,
    checked_inputs,
    entering,
    mean_square_and_correlation,
    n_relabelling,
    require_recursion_memory,
)
from .moments import OrderParameters, gathered
from .outputs import layers_behind, output_normalisation
from .runs import Runs, averaged, one_by_one, sampled_runs, without
from .tiles import goes_in_tiles, has_many_inputs, tiled_outputs

__all__ = ["MeanField"]

Found = TypeVar("Found")
FEWEST_UNITS = 16
SEED = int(np.random.default_rng(0).integers(2**62))  # of plain calls: that of rng=0


class MeanField:
    r"""A network of infinite width on its data.

    Every function of theory takes it in place of a network and data.

    Parameters
    ----------
    net : Network
        With linear outputs, or a normalisation behind them.
    n_samples : int, optional
        T, the number of inputs. Default: 1000, or the rows of `inputs`.
    q0, c0 : float or array_like, optional
        Mean square of an input unit, and correlation of two inputs, as in `order_parameters`. Default: 1 and 0.
    inputs : array_like, shape (T, M_0) or (T, \*input_shape), optional
        Given inputs instead of exchangeable random ones. They determine, and so exclude, `q0` and `c0`.
    rng : int, numpy.random.Generator, ...
        Of sampled units, which layers without a closed form need: batch norm, the maximum of windows, an activation
        behind a sum.
    n_units : int, optional
        How many units are sampled in each of eight runs, 16 or more. Default: 64 to 4096 of given inputs, 32 to 4096
        of exchangeable ones, as many as hold 32768 numbers.

    Attributes
    ----------
    network : Network
    inputs : ndarray, shape (T, \*input_shape), or None
        Read-only; None for random inputs.
    given : bool
        Whether there are given inputs.
    q0, c0 : ndarray or None
        Mean square and correlation, of one shape; None for given inputs.
    n_samples : int
        T.
    data : dict
        The data as keyword arguments of the functions that take a network.
    order_parameters : OrderParameters
        One row per weight layer; computed when first asked for.
    outputs : Pairs
        Moments of the outputs, before they are normalised.
    records : tuple of WeightRecord
        What was met at every weight layer.
    tangents, tangents_before : Tangents
        Tangent kernels at the outputs by groups of parameters, and in front of a normalisation of the outputs.
    last : Layer or None
        The normalisation of the outputs.
    output_law : OutputLaw or None
        What it makes of the Fisher information.

    Raises
    ------
    TypeError, ValueError
        As `order_parameters`, and `c0` below -1/(T - 1), which no T inputs have. Whatever goes wrong in the recursion
        over the layers is raised when it is first needed.

    Examples
    --------
    >>> import mfdnn
    >>> wide = mfdnn.MeanField(mfdnn.mlp([784, 1000, 1000, 10], "relu", init="he"), n_samples=100)
    >>> wide
    MeanField(Network(784-1000-1000-10, relu, L=3, P=1796010), T=100)
    >>> lr, fim = mfdnn.max_learning_rate(wide), mfdnn.fisher_statistics(wide)
    >>> lr.value == 2 / fim.largest
    True

    Notes
    -----
    The recursion runs once, with the tangents of every weight layer; what is computed from it is kept. Of T given
    inputs it holds :math:`4 L + 4` matrices of T x T floats, about twice as many while it runs. Threads may share it; a
    pickle holds the network and its data alone.
    """

    def __init__(
        self,
        net: Network,
        n_samples: int | None = None,
        q0: Any = None,
        c0: Any = None,
        *,
        inputs: Any = None,
        rng: Any = 0,
        n_units: int | None = None,
    ):
        if inputs is None:
            n_samples = sample_count(n_samples, None)
        self._set(net, n_samples, q0, c0, inputs, Keep())
        if not self.given:
            check_correlation(self.c0, self.n_samples)
        self.n_units = None if n_units is None else positive_integer("n_units", n_units, FEWEST_UNITS)
        self.rng = checked(rng=rng)
        self._seed = int(np.random.default_rng(rng).integers(2**62))

    @classmethod
    def partial(cls, net: Network, n_samples: int | None, q0: Any, c0: Any, inputs: Any, keep: Keep) -> MeanField:
        """A `MeanField` with less kept.

        `n_samples` None stands for infinitely many exchangeable inputs.
        """
        self = cls.__new__(cls)
        self._set(net, n_samples, q0, c0, inputs, keep)
        self.rng, self.n_units, self._seed = 0, None, SEED
        return self

    def _set(self, net: Network, n_samples: int | None, q0: Any, c0: Any, inputs: Any, keep: Keep) -> None:
        check_network(net)
        refuse_both("inputs", inputs, q0=q0, c0=c0)
        self.network, self._keep = net, keep
        self._known: dict[str, Any] = {}
        self._of_all_runs: dict[str, Any] = {}
        self._lock = RLock()
        self.inputs: np.ndarray | None = None
        self.q0: Any = None
        self.c0: Any = None
        if inputs is not None:
            self.inputs = checked_inputs("inputs", inputs, net)
            self.inputs.setflags(write=False)  # what is kept belongs to them
            self._n_samples: int | None = sample_count(n_samples, self.inputs)
            if not (self.many or goes_in_tiles(net, self.n_samples, keep)):
                require_recursion_memory(net, self.n_samples, keep)
        else:
            self.q0, self.c0 = mean_square_and_correlation(1.0 if q0 is None else q0, 0.0 if c0 is None else c0)
            self._n_samples = None if n_samples is None else positive_integer("n_samples", n_samples)

    def __repr__(self) -> str:
        return f"MeanField({self.network}, T={self.n_samples})"

    @property
    def n_samples(self) -> int:
        """T, the number of inputs."""
        assert self._n_samples is not None  # infinitely many only inside `order_parameters`
        return self._n_samples

    @property
    def given(self) -> bool:
        """Whether there are given inputs."""
        return self.inputs is not None

    @property
    def many(self) -> bool:
        """Whether there are so many given inputs that statistics sum over tiles.

        Order parameters and kernels of all pairs then take their memory when they are first asked for.
        """
        return self.given and has_many_inputs(self.network, self.n_samples)

    @property
    def advice(self) -> str:
        """What to change where a number is out of the range of floats or of tables."""
        return advice(self.inputs, self.q0)

    def require_single(self) -> None:
        """Raise a TypeError for several mean squares or correlations at once."""
        if not self.given:
            if np.ndim(self.q0):
                raise TypeError(
                    f"`q0` must be a single number here, and `c0` too, got shape {np.shape(self.q0)}; call for each."
                )

    @property
    def data(self) -> dict[str, Any]:
        """The data as keyword arguments of the functions that take a network."""
        if self.given:
            return {"inputs": self.inputs}
        return {"n_samples": self._n_samples, "q0": unwrap(self.q0), "c0": unwrap(self.c0)}

    def with_network(self, net: Network) -> MeanField:
        """Another network on the same data, its units sampled by the same numbers."""
        other = MeanField(net, **self.data, n_units=self.n_units)
        other.rng, other._seed = self.rng, self._seed
        return other

    # -- the recursion ----------------------------------------------------------------------------------------

    def once(self, name: str, compute: Callable[[], Found], *, of_all_runs: bool = False) -> Found:
        """What `compute` returns, computed at the first call of that name alone.

        `of_all_runs` says that the sampled runs do not enter: `without_one_run` has the same.
        """
        known = self._of_all_runs if of_all_runs else self._known
        with self._lock:  # threads that share the object wait for one of them
            if name not in known:
                try:
                    known[name] = compute()
                except OutOfRange as error:
                    raise OutOfRange(error.fact, self.advice) from None
            return known[name]

    def __getstate__(self) -> dict[str, Any]:
        # What was computed is computed again.
        return {**self.__dict__, "_known": {}, "_of_all_runs": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=RLock())

    @property
    def last(self) -> Layer | None:
        """The normalisation behind the last weight layer, or None."""
        return output_normalisation(self.network)

    @property
    def _states(self) -> tuple[State, State]:
        """In front of the normalisation of the outputs, and at the outputs.

        Without one both are the outputs. Of sampled units the mean of all runs.
        """
        return self.once("states", lambda: averaged(self._runs))

    @property
    def _runs(self) -> Runs:
        return self.once("runs", self._propagate)

    def _propagate(self) -> Runs:
        if self.inputs is not None and goes_in_tiles(self.network, self.n_samples, self._keep):
            try:
                state = tiled_outputs(self.network, self.inputs, self._keep)
                return ((state, state),)
            except NeedsAllPairs:  # units are sampled: all inputs at once
                require_recursion_memory(self.network, self.n_samples, self._keep)
        if self.many:
            require_recursion_memory(self.network, self.n_samples, self._keep)
        try:
            return self._sampled(self.q0, self.c0)
        except NeedsSingle:
            entries = [self._sampled(q0, c0) for q0, c0 in zip(self.q0.flat, self.c0.flat, strict=True)]
        shape = np.shape(self.q0)
        runs = []
        for run in zip(*entries, strict=True):
            before, after = (one_by_one([of[i] for of in run], shape) for i in (0, 1))
            runs.append((after, after) if run[0][0] is run[0][1] else (before, after))
        return tuple(runs)

    def _sampled(self, q0: Any, c0: Any) -> Runs:
        """The runs of the recursion; of one mean square if it samples units."""
        q0, c0 = (None if value is None else np.asarray(value) for value in (q0, c0))

        def runs(sites: SitePairs | None) -> Runs:
            return sampled_runs(
                lambda sampler: self._once(q0, c0, sampler, sites),
                self._seed,
                self.network,
                self.n_units,
                c0,
            )

        try:
            return runs(None)
        except NeedsAllPairs:
            return runs(ALL)

    def _once(self, q0: Any, c0: Any, sampler: Sampler, sites: SitePairs | None) -> tuple[State, State]:
        """The recursion over the layers."""
        n_behind = len(layers_behind(self.network))
        try:
            last = self.last
        except NoTheory:  # of their Fisher information; order parameters go by the laws of the layers
            last = None
        state = entering(self.network, self._n_samples, q0, c0, self.inputs, self._keep, sampler, sites)
        layers = self.network.layers[n_relabelling(self.network) :]
        before = state
        # Overflow is reported by `gathered`, in one sentence that names the layer.
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for i, layer in enumerate(layers):
                if i >= len(layers) - n_behind:
                    state = as_moments(state)
                    if not layer.normalises:
                        layer.as_outputs(state.moments, state.shape[0])  # or there is no theory
                    state = layer.propagate_outputs(state)
                else:
                    state = propagated(layer, state)
                before = before if layer is last else state
        return before, state

    @property
    def sampled(self) -> bool:
        """Whether units were sampled, so that all numbers have standard errors."""
        return len(self._runs) > 1

    def without_one_run(self) -> list[MeanField]:
        """The same without one of the runs each; none where nothing is sampled."""
        return self.once("without_one_run", self._without_one_run)

    def _without_one_run(self) -> list[MeanField]:
        others = [self._like(averaged(runs)) for runs in without(self._runs)]
        for other in others:
            other._of_all_runs = self._of_all_runs
        return others

    def _like(self, states: tuple[State, State]) -> MeanField:
        other = MeanField.__new__(MeanField)
        other.__setstate__(self.__getstate__())
        other._known = {"states": states, "runs": (states,)}
        return other

    @property
    def order_parameters(self) -> OrderParameters:
        """Order parameters, as those of `mfdnn.order_parameters`."""
        return self.once("order_parameters", self._order_parameters)

    def _order_parameters(self) -> OrderParameters:
        found = gathered(self._states[1], self.network.couples_samples)
        if not self.sampled:
            return found
        return replace(found, _without_one_run=self._order_parameters_without_one_run)

    def _order_parameters_without_one_run(self) -> list[OrderParameters]:
        return [one.order_parameters for one in self.without_one_run()]

    @property
    def records(self) -> tuple[WeightRecord, ...]:
        """What was met at every weight layer."""
        return self._states[1].records

    @property
    def tangents(self) -> Tangents:
        """Tangent kernels at the outputs, by groups of parameters."""
        return self._states[1].tangents

    @property
    def tangents_before(self) -> Tangents:
        """Tangent kernels in front of a normalisation of the outputs."""
        return self._states[0].tangents

    @property
    def outputs(self) -> Pairs:
        """Moments of the outputs, before they are normalised."""
        return self._states[0].moments

    @property
    def normalised_outputs(self) -> Pairs:
        """Moments of the outputs, behind their normalisation."""
        return self._states[1].moments

    @property
    def output_law(self) -> OutputLaw | None:
        """What the normalisation of the outputs makes of the Fisher information.

        None without one.
        """
        last = self.last
        if last is None:
            return None
        return self.once("output_law", lambda: last.as_outputs(self.outputs, self.network.n_outputs))

    def body(self) -> MeanField:
        """The network without the normalisation of its outputs, on the same data.

        Nothing is computed again.
        """
        return self if self.last is None else self.once("body", self._body)

    def _body(self) -> MeanField:
        before, _ = self._states
        other = self._like((before, before))
        other.network = Network(self.network.input_shape, self.network.layers[:-1])
        other._known["runs"] = tuple((first, first) for first, _ in self._runs)
        return other

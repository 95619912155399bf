"""What a layer has to say: once for infinite width, once for a sampled network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from inspect import signature
from math import prod
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import listed, short
from ..activations import Activation
from .pairs import Pairs, SitePairs
from .state import State
from .units import as_moments, through_units, units_behind

if TYPE_CHECKING:
    from .output_laws import OutputLaw
    from .recorded import Recorded
    from .units import Units

__all__ = [
    "Factors",
    "Layer",
    "carry_units",
    "checked_layers",
    "one_site",
    "propagated",
    "shape_text",
]


class Factors(NamedTuple):
    """Outer products: derivatives of the outputs by a layer's parameters.

    The form holds where samples pass one by one.

    Those of sample t are delta_t h_t^T and sqrt(bias) delta_t, so that their Gram matrix over the samples is the
    entrywise product (h h^T + bias) * (delta delta^T). With parameters in other units h belongs to the first array of
    them and `bias` to the last.
    """

    h: np.ndarray  # (T, n)
    delta: np.ndarray  # (..., T, m)
    bias: float  # 1, or 0 without one; times its squared unit


# What a layer computes, and what follows from it; what its law may change, and its draws.
_FOLLOWS = (
    (
        ("forward", "pushforward", "backward", "gradient", "parameter_shapes"),
        (
            *("propagate", "through_units", "recorded", "factors", "collect", "errors_below", "fully_connected"),
            *("bypass", "closes"),
        ),
    ),
    (("propagate",), ("closes", "recorded")),
    (("initialise",), ("recorded",)),
)


class Layer:
    r"""A layer, written twice, and a few words on what it is.

    Infinite width: `propagate` maps the moments of the units and the tangent kernels of the parameters met so far,
    both in a `State`, and adds those of the layer's own parameters. All else follows: order parameters, Fisher
    information, kernels, learning rates.

    Finite width: a shape is that of one sample, (channels, \*sites), or (units,) where there is one site.
    `output_shape` maps the shape that enters to the one that leaves, `initialise` draws parameters of the shapes
    `parameter_shapes`, `forward` maps arrays (T, \*shape) and appends records to `trace`, `pushforward` is the
    Jacobian-vector product and `backward` the vector-Jacobian product. All samples pass at once, so a layer may couple
    them. A layer of one's own needs `output_shape` if the shape changes, `forward`, `pushforward` and `backward`; with
    parameters also `parameter_shapes`, `initialise` and `gradient`. The rest saves time.

    Composite layers traverse their `children`: records and parameters are consumed from iterators, in order on
    the way forward and in reverse on the way back, so nesting needs no bookkeeping. A layer takes from each what it
    put there: one group of parameters if it has some, as many records as it appended.

    Attributes
    ----------
    children : tuple of Layer
        The layers inside, in the order of the signal; only their composite calls them.
    activation : Activation or None
        The nonlinearity, if the layer is one.
    n_weight_layers : int
        1 for a weight layer; a composite has those of its children.
    couples_samples : bool
        Whether an output at one sample depends on the others, as in batch normalisation; a composite
        does if a child does.
    kind : str
        What the shape does not tell, for the description of a network ("residual").
    homogeneous : bool
        Whether a positive factor passes through, f(a x) = a f(x) for a > 0, if biases are zero.
    no_theory : str
        Why there is no law of the layer at infinite width, in one sentence; "" where there is one.
    keeps_units : bool
        Whether it acts on units or samples in place: the shape stays, and each array of parameters, if any, holds one
        number a unit, which moves that unit alone. The dual of coupled outputs is quick behind such layers.
    relabels : bool
        Whether it gives what enters another shape and nothing else.
    batches_errors : bool
        Whether `pushforward` and `backward` take leading axes, (..., T, \*shape), for many tangents or errors at once.
    fully_connected : bool
        Whether every unit that leaves reads all that enter, each through a weight of its own.
    normalises : str
        "mean" if the mean over samples is taken away, "samples" if the variance over samples becomes one too, "units"
        if mean and variance over the units of a sample do; else "".
    multiplies : bool
        Whether what leaves are products of units, as of a gate: their fluctuations multiply, too.
    parameter_roles : tuple of str
        "weights", "biases" or "others" for each array of parameters; those not named are others.
    """

    children: tuple[Layer, ...] = ()
    activation: Activation | None = None
    n_weight_layers = 0
    couples_samples = False
    kind = ""
    homogeneous = False
    no_theory = ""
    keeps_units = False
    relabels = False
    batches_errors = False
    fully_connected = False
    normalises = ""
    multiplies = False
    parameter_roles: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        # What follows from another arithmetic or law no longer holds: a Dense with another `forward` is none.
        for causes, names in _FOLLOWS:
            if not any(cause in cls.__dict__ for cause in causes):
                continue
            for name in names:
                owner = next(base for base in cls.__mro__ if name in base.__dict__)
                if owner is not cls and any(getattr(owner, cause) is not getattr(Layer, cause) for cause in causes):
                    setattr(cls, name, getattr(Layer, name))

    @property
    def mixes_samples(self) -> bool:
        """Whether it, or a layer inside, couples samples."""
        return self.couples_samples or any(child.mixes_samples for child in self.children)

    @property
    def total_weight_layers(self) -> int:
        """How many weight layers it is, or has inside."""
        inside = sum(child.total_weight_layers for child in self.children)
        return inside if self.children else self.n_weight_layers

    @recursive_repr()
    def __repr__(self) -> str:
        # What a layer of one's own was made of, without its address: the description of a network names checkpoints.
        made_of = ", ".join(f"{name}={_told(value)}" for name, value in vars(self).items())
        return f"{type(self).__name__}({made_of})"

    def walk(self, shape: tuple[int, ...]) -> Iterator[tuple[Layer, tuple[int, ...]]]:
        r"""Yield the layer and all layers inside it, each with the shape that enters.

        They come in the order of the signal, a composite before its children.

        Parameters
        ----------
        shape : tuple of int
            (channels, \*sites) of what enters the layer.
        """
        yield self, shape
        for child in self.children:
            yield from child.walk(shape)
            shape = child.output_shape(shape)

    def to_dict(self) -> dict[str, Any]:
        """Its class and the arguments it was made of, as plain Python.

        Returns
        -------
        dict
            "layer", the name of the class, and each argument of the constructor, read off the attribute of its name.

        Raises
        ------
        ValueError
            An argument that the layer did not keep as an attribute.
        """
        names = signature(type(self)).parameters
        lost = [name for name in names if not hasattr(self, name)]
        if lost:
            raise ValueError(
                f"`{type(self).__name__}` was made of {', '.join(lost)}, which it did not keep as its attributes; give "
                "it attributes of these names, or a `to_dict`."
            )
        return {"layer": type(self).__name__, **{name: _plain(getattr(self, name)) for name in names}}

    def scaled(self, factor: float) -> Layer:
        """The layer of a network whose hidden widths are multiplied by `factor`.

        Layers without a width of their own return themselves.
        """
        return self

    @property
    def bypass(self) -> float | None:
        """Factor s of a layer that adds s times its input to what its `children` make.

        One child is behind the other. None: the layer does something else.
        """
        return None

    # -- infinite width ---------------------------------------------------------------------------------------
    def propagate(self, state: State) -> State:
        """The signal and its tangents behind an infinitely wide layer.

        Write it with `State.weighted`, `State.mapped` and `State.trained`. A layer without a law leaves it out, and
        says why in `no_theory`: such networks are sampled, and theory refuses them with that reason.

        Parameters
        ----------
        state : State
            What enters the layer. It is not changed.

        Returns
        -------
        State
            What leaves, with one more record for every weight layer met.

        Raises
        ------
        NoTheory
            The layer has no law, or none of what enters.
        """
        if self.acts_on_units:
            return through_units(self, state)
        raise NoTheory(
            self.no_theory
            or f"`{self!r}` has no law of infinite width (`propagate`); sample such networks (`mfdnn.ensemble`)."
        )

    def propagate_outputs(self, state: State) -> State:
        """`propagate` of a layer whose units are outputs; by default the same."""
        return self.propagate(state)

    def closes(self, sites: SitePairs, shape: tuple[int, ...]) -> bool:
        """Whether the law of what leaves, at these pairs of sites, needs no others.

        Of pairs of the same site (`pairs.SAME`), or of offsets on a ring (`pairs.OFFSETS`): then n numbers take the
        place of n^2. By default a law is asked with all pairs of sites.

        Parameters
        ----------
        sites : SitePairs
        shape : tuple of int
            Of what enters the layer.
        """
        return False

    @property
    def acts_on_units(self) -> bool:
        """Whether it takes sampled units (`State.units`), not means over them."""
        kind = type(self)
        return kind.unit is not Layer.unit or kind.through_units is not Layer.through_units

    def unit_noise(self, shape: tuple[int, ...]) -> float:
        """How many times as many units as usual a network with it samples.

        `shape` is that of what enters. More than 1 where units differ by more than their fields.
        """
        return 1.0

    def unit(self, g: np.ndarray) -> np.ndarray:
        r"""Values of S units with the fields g, arrays (S, T, \*sites).

        Of a layer that maps the field of one unit, in place of `propagate`: theory then draws units, and executes the
        map as it is written.

        Parameters
        ----------
        g : ndarray, shape (S, T, \*sites)
            Float64; of random inputs T may be fewer than there are, if no layer couples samples.

        Returns
        -------
        ndarray, shape (S, T, \*sites)
            With the sites of `output_shape`.
        """
        raise NoTheory(f"`{self!r}` has no map of one unit's field (`unit`).")

    def unit_jvp(self, g: np.ndarray, z: np.ndarray) -> np.ndarray:
        r"""Derivative of `unit` at g along z, arrays (S, T, \*sites)."""
        raise NoTheory(f"`{self!r}` has no derivative of its map of one unit's field (`unit_jvp`).")

    def through_units(self, units: Units) -> Units:
        """What the layer makes of sampled units.

        By default `unit`, with tangents that are drawn.
        """
        n_units, n_samples, _ = units.values.shape
        sites = units.sites

        def of_sites(function: Callable[..., np.ndarray], *fields: np.ndarray) -> np.ndarray:
            # Copies, which it may overwrite.
            found = np.asarray(function(*(x.reshape(n_units, n_samples, *sites).copy() for x in fields)), dtype=float)
            if found.shape[:2] != (n_units, n_samples):
                raise ValueError(
                    f"`{function.__name__}` of {self!r} must return an array (S, T, *sites) of {n_units} units and "
                    f"{n_samples} samples, got shape {found.shape}; return a number for each unit, sample and site."
                )
            return found.reshape(n_units, n_samples, -1)

        def of_tangents(z: np.ndarray) -> np.ndarray:
            found = of_sites(self.unit_jvp, units.values, z)
            if found.shape != values.shape:
                raise ValueError(
                    f"`unit_jvp` of {self!r} must return as many sites as `unit`, {values.shape[-1]}, got "
                    f"{found.shape[-1]}; return the derivative of each number."
                )
            return found

        values = of_sites(self.unit, units.values)
        return units.mapped(values, of_tangents, self.couples_samples)

    def recorded(self, units: Recorded) -> Recorded:
        """What the layer makes of units whose weights in all means may change.

        Derivatives by these weights are the spread over networks of finite width. Write it with the maps of `Recorded`.

        Raises
        ------
        NoTheory
            A layer without it.
        """
        raise NoTheory(
            f"`net` contains {type(self).__name__}, for which the spread over networks is not derived (`recorded`); "
            "measure it with mfdnn.ensemble."
        )

    def as_outputs(self, outputs: Pairs, n_outputs: int) -> OutputLaw | None:
        """What this layer changes in the Fisher information as the last; None: nothing.

        The law of a layer takes the units for infinitely many, which the outputs behind the last weights are not: by
        default a layer that is linear may stand there (`homogeneous`).

        Parameters
        ----------
        outputs : Pairs
            Moments of the outputs in front of the layer.
        n_outputs : int
            C, how many there are.

        Raises
        ------
        NoTheory
            A layer that is not linear, and knows no law of a few outputs.
        """
        if self.homogeneous:
            return None
        raise NoTheory(
            f"{self!r} stands behind the last weights, and there is no theory of what it makes of a few outputs "
            "(`Layer.as_outputs`); put a weight layer behind it, or sample such networks (`mfdnn.ensemble`)."
        )

    # -- finite width -----------------------------------------------------------------------------------------
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        r"""Shape (channels, \*sites) of what leaves the layer when `shape` enters.

        A layer raises a ValueError here for what cannot enter it.
        """
        return shape

    def fan_in(self, shape: tuple[int, ...]) -> int:
        """How many numbers a unit that leaves a weight layer reads, taps counted.

        `shape` is that of what enters. By default all of it.
        """
        return prod(shape)

    def seen(self, h: np.ndarray) -> np.ndarray:
        r"""What the units of a weight layer read of its input h (T, \*shape).

        Each number comes as often as it is read, in an array (T, ...).
        q_hat is its mean square, so that q = sigma_w^2 q_hat + sigma_b^2: of a convolution with zero padding that of
        the patches, zeros included.
        """
        return h

    def parameter_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
        """Shapes of the layer's own parameters, without those of its children.

        () if it has none; None stands for an absent bias.
        """
        return ()

    def ntk_units(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Units s of the parameters in NTK parameterisation, theta = s psi.

        One number for each array of `parameter_shapes`, such that weights and biases psi have variance 1; 1 for what
        is neither, such as a gain.

        Raises
        ------
        NoTheory
            A weight layer that does not know them.
        """
        if self.n_weight_layers:
            raise NoTheory(
                f"`parameterisation` = ntk needs weight layers that know their units, got {self!r} without "
                "`ntk_units`; take standard."
            )
        return (1.0,) * len(self.parameter_shapes(shape))

    def carries_units(self, shape: tuple[int, ...]) -> bool:
        """Whether a unit that leaves depends on one that enters more than on any other.

        `shape` is that of what enters. Weights end it, if they mix units.
        """
        if self.children:
            return carry_units(self.children, shape)
        return not self.n_weight_layers

    def n_free_outputs(self, n_outputs: int) -> int:
        """How many of the outputs are free if this layer is the last.

        Fewer than `n_outputs` where it takes away what all of them share.
        """
        return n_outputs

    def initialise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> tuple:
        """Draw the layer's own parameters, arrays of `parameter_shapes`.

        Parameters
        ----------
        rng : numpy.random.Generator
        shape : tuple of int
            Of what enters the layer.
        dtype : numpy.dtype
            Of the arrays: float32 or float64.

        Returns
        -------
        tuple of ndarray
            None for an absent bias; () without parameters.
        """
        return ()

    def drawn(self, rng: np.random.Generator) -> Layer:
        """The layer as one sampled network has it, with masks and the like drawn.

        Itself, where nothing but its parameters is random. A composite whose children draw something is made anew.
        """
        if any(child.drawn(rng) is not child for child in self.children):
            raise NotImplementedError(
                f"`{type(self).__name__}` holds layers that draw more than parameters, and has no `drawn`; write it, "
                "as `Residual` does."
            )
        return self

    def forward(self, x: np.ndarray, parameters: Iterator, trace: list) -> np.ndarray:
        r"""Map activations (T, \*shape) to (T, \*output_shape).

        Parameters
        ----------
        x : ndarray, shape (T, \*shape)
            Not to be changed.
        parameters : iterator
            Groups of parameters, as `initialise` returns them; the layer takes its own with ``next``.
        trace : list
            The layer appends what the way back needs.
        """
        raise NotImplementedError(f"`{type(self).__name__}` has no `forward`; write it (docs/layers.md).")

    def pushforward(
        self, dx: np.ndarray | None, parameters: Iterator, tangents: Iterator, trace: Iterator
    ) -> np.ndarray | None:
        r"""Jacobian-vector product, by the input and the layer's own parameters.

        Parameters
        ----------
        dx : ndarray, shape (T, \*shape), or None
            Tangent of the input; None while no tangent has entered yet.
        parameters, tangents : iterator
            Groups of parameters and of their tangents, of the same shapes.
        trace : iterator
            Records of `forward`, in its order.

        Returns
        -------
        ndarray, shape (T, \*output_shape), or None
            Tangent of what leaves; None if there still is none.
        """
        raise NotImplementedError(f"`{type(self).__name__}` has no `pushforward`; write it (docs/layers.md).")

    def backward(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> np.ndarray:
        r"""Vector-Jacobian product: errors at the input, from those at the output.

        Parameters
        ----------
        delta : ndarray, shape (T, \*output_shape)
            Errors at what leaves; with leading axes if the layer `batches_errors`.
        parameters : iterator
            Groups of parameters, in reverse.
        trace : iterator
            Records of `forward`, in reverse.
        collected : list
            A layer with parameters appends one pair ``(h, delta)``: what it needs for `gradient` and `factors`. Of a
            weight layer these are its input and the errors at its output.

        Returns
        -------
        ndarray, shape (T, \*shape)
        """
        raise NotImplementedError(f"`{type(self).__name__}` has no `backward`; write it (docs/layers.md).")

    def collect(self, delta: np.ndarray, parameters: Iterator, trace: Iterator, collected: list) -> None:
        """`backward` of a network's first layer: nobody reads errors at its inputs."""
        self.backward(delta, parameters, trace, collected)

    def errors_below(self, h: np.ndarray, delta: np.ndarray, parameters: tuple) -> np.ndarray:
        r"""Errors (T, \*shape) at the input of a weight layer, from a collected pair.

        The pair is (h, delta), and `parameters` are the layer's own.
        """
        trace: list = []
        self.forward(h, iter([parameters]), trace)
        return self.backward(delta, iter([parameters]), reversed(trace), [])

    def gradient(self, h: np.ndarray, delta: np.ndarray) -> tuple:
        """Derivatives by the layer's own parameters, from a collected pair.

        Parameters
        ----------
        h, delta : ndarray, shape (T, ...)
            What `backward` collected.

        Returns
        -------
        tuple of ndarray
            Arrays of `parameter_shapes`, summed over samples; None for an absent bias.
        """
        raise NotImplementedError(f"`{type(self).__name__}` has no `gradient`; write it (docs/layers.md).")

    def factors(self, h: np.ndarray, delta: np.ndarray) -> Factors | list[Factors] | None:
        """The same sample by sample, as outer products; None: no such form is known.

        It is asked for where no layer of the network couples samples, of the pair that `backward` collected, `delta`
        with leading axes, (..., T, units). A list has one for each array of parameters. An h without columns stands
        for derivatives that are no outer products: `delta` holds them as they are, and `bias` is 1.
        """
        return None

    def factor_size(self, shape: tuple[int, ...]) -> int:
        """How many numbers a sample `factors` makes, beside those that it is given."""
        return 0

    @property
    def has_factors(self) -> bool:
        """Whether the layer knows its `factors`.

        Gram matrices come from Jacobian products where it does not.
        """
        return type(self).factors is not Layer.factors


def shape_text(shape: Sequence[int]) -> str:
    """A shape as messages show it, 3x8x8."""
    return "x".join(map(str, shape))


def one_site(layer: str, shape: tuple[int, ...]) -> int:
    """The number of units where there is one site; a ValueError where there are more."""
    if len(shape) != 1:
        raise ValueError(
            f"`{layer}` takes units of one site, but {shape_text(shape)} enter (channels and sites); put "
            "`Flatten` (or a pooling layer) before it."
        )
    return shape[0]


def propagated(layer: Layer, state: State) -> State:
    """`layer.propagate(state)`, checked.

    It must be a state, with one more record for every weight layer of `layer`.
    """
    if state.units is not None and not layer.acts_on_units:
        state = as_moments(state)
    behind = layer.propagate(state)
    if not isinstance(behind, State):
        raise TypeError(f"`propagate` of {layer!r} must return a State, got {behind!r:.80}; return what it maps.")
    met = len(behind.records) - len(state.records)
    if met != layer.total_weight_layers:
        raise ValueError(
            f"`propagate` of {layer!r} must meet {layer.total_weight_layers} weight layers (`n_weight_layers`), "
            f"got {met}; weights enter by `State.weighted`."
        )
    if met or behind.units is not None or not layer.acts_on_units:
        return behind
    # What maps units in closed form can map sampled ones, should a later layer need them.
    return behind.replace(origin=lambda: units_behind(layer, state))


def carry_units(layers: Sequence[Layer], shape: tuple[int, ...]) -> bool:
    """`Layer.carries_units` of layers behind each other."""
    for layer in layers:
        if not layer.carries_units(shape):
            return False
        shape = layer.output_shape(shape)
    return True


def _plain(value: Any) -> Any:
    """An argument of a layer as plain Python."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.to_dict() if isinstance(value, Layer) else value


def _told(value: Any) -> str:
    """`repr` without addresses, and of an array its shape and a digest.

    The `repr` of a long array would leave out its middle.
    """
    if isinstance(value, np.ndarray):
        digest = sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:12]
        return f"<{shape_text(value.shape)} {value.dtype}, {digest}>"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(_told, value))})"
    if vars(object)["__repr__"] is getattr(type(value), "__repr__", None):
        return f"<{type(value).__qualname__}>"
    return getattr(value, "__qualname__", None) or repr(value)


def checked_layers(layers: Any, name: str = "layers") -> tuple[Layer, ...]:
    """The layers of a list of them."""
    found = tuple(listed(name, layers, "layers in brackets"))
    for layer in found:
        if not isinstance(layer, Layer):
            raise TypeError(f"`{name}` must contain layers of mfdnn, got {short(layer)}; {_instead_of(layer)}.")
    return found


def _instead_of(given: Any) -> str:
    """What to write for something that is no layer."""
    kind = given if isinstance(given, type) else type(given)
    if any(base.__module__.partition(".")[0] == "torch" for base in kind.__mro__):
        return (
            "what PyTorch has is none: write Dense(n_units, sigma_w2, sigma_b2) for Linear(n_inputs, n_units), and "
            "Pointwise(name) for an activation"
        )
    if kind is given and issubclass(given, Layer):
        return f"make one: {given.__name__}(...)"
    if isinstance(given, list | tuple):
        return "put the layers themselves in one list"
    if isinstance(given, str | Activation) or callable(given):
        return f"wrap an activation as Pointwise({given!r:.40})"
    return "build them with Dense, Pointwise and the like (see mfdnn.layers)"

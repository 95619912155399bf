"""What phi is: its values, its slope, its kinks.

The built-in list, and the user's own on equal terms.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

import numpy as np

from .._support.validation import finite_array, finite_number, one_of, real_array, short
from .built_in import BUILT_IN
from .pieces import Pieces
from .resolution import resolve

__all__ = ["Activation", "activation", "activation_names", "as_activation"]


class Activation:
    r"""A pointwise nonlinearity :math:`\phi`, described by data.

    The callable is sampled once, into piecewise polynomials that know where it bends; every compiled
    kernel works on those numbers, so a one-line lambda is as fast and as accurate as a built-in function.

    Parameters
    ----------
    name : str
        For messages and plots.
    function : callable
        :math:`\phi`, vectorised over float NumPy arrays of any shape.
    derivative : callable, optional
        :math:`\phi'`, vectorised. By default the derivative of the piecewise polynomial (accurate to
        about 1e-12 times the size of :math:`\phi'`, kinks aside).
    kinks : sequence of float
        Where :math:`\phi` or :math:`\phi'` jumps. They are found automatically; naming them makes the
        search exact.
    features : sequence of (place, width)
        Where :math:`\phi` has something narrow, and how narrow: a bump, a notch, a pair of close jumps.

    Attributes
    ----------
    name : str
        As given.
    parameters : dict
        Parameters of a built-in activation; else empty.
    features : tuple of (float, float)
        As given.

    Raises
    ------
    TypeError, ValueError
        `function` is not vectorised, changes shape, returns non-real or non-finite values, is not a
        function of its argument alone, or raises; a width is not positive.

    Warns
    -----
    RuntimeWarning
        On first use, where :math:`\phi` jumps by 1e-8 to 1e-3 of its size, as formulas do that change over before
        they agree: :math:`E[\phi'^2]` is infinite then. Smaller jumps count as rounding.

    Notes
    -----
    Kinks, jumps and narrow features are found by bisection from panels of 16 samples, and by a look at 32768 places in
    [-8, 8]. What is narrower than 5e-4 there, or than about a fifth of \|x\| beyond, can hide between the samples, and
    no reported error knows of it; `features` or `kinks` name it. Noise up to 1e-10 of the size of :math:`\phi`, as of
    formulas that cancel, is told from features, and adds to the errors.

    Examples
    --------
    >>> import numpy as np, mfdnn
    >>> act = mfdnn.Activation("mine", lambda x: np.maximum(x, -1.0), kinks=(-1.0,))
    >>> act
    Activation('mine')
    >>> act(np.array([-3.0, 0.5])), act.slope(np.array([-3.0, 0.5])).round(12)
    (array([-1. ,  0.5]), array([0., 1.]))
    >>> act.kinks
    (-1.0,)
    """

    def __init__(
        self,
        name: str,
        function: Callable[[np.ndarray], np.ndarray],
        derivative: Callable[[np.ndarray], np.ndarray] | None = None,
        kinks: Sequence[float] = (),
        features: Sequence[tuple[float, float]] = (),
    ):
        if not isinstance(name, str):
            raise TypeError(f"`name` must be a string, got {short(name)}; pass one.")
        self.name = name
        self.parameters: dict[str, float] = {}
        self._is_built_in = False
        self._function = function
        self._derivative = derivative
        self._second: Callable | None = None
        if not callable(function):
            raise TypeError(
                f"`function` must be callable, got {short(function)}; pass a vectorised function such as np.tanh."
            )
        self._given_kinks = tuple(float(k) for k in np.ravel(finite_array("kinks", kinks)))
        self.features = _features(features)
        _check_callable("function", self.name, function)
        if derivative is not None:
            if not callable(derivative):
                raise TypeError(f"`derivative` must be callable, got {short(derivative)}; pass a function, or None.")
            _check_callable("derivative", self.name, derivative)

    @property
    def label(self) -> str:
        """Name and parameters to the last digit, as in ``leaky_relu(slope=0.2)``."""
        inside = ", ".join(f"{key}={_shortest(value)}" for key, value in self.parameters.items())
        return f"{self.name}({inside})" if inside else self.name

    def __repr__(self) -> str:
        return f"Activation({self.label!r})"

    def __reduce__(self) -> tuple:
        if self._is_built_in:
            return _restore, (self.name, tuple(self.parameters.items()))
        return Activation, (self.name, self._function, self._derivative, self._given_kinks, self.features)

    @property
    def built_in(self) -> bool:
        """Whether `mfdnn.activation` makes it from its `label`."""
        return self._is_built_in

    @cached_property
    def digest(self) -> str:
        """What tells a function of one's own from others, sixteen digits.

        Made of what it does, so that it is the same in every process, however the function is written: of its values
        and those of its derivative if it has one, to ten digits, at 32768 places up to 1000 on either side; of where
        they jump; of `kinks` and `features` as given. Empty if built in.
        """
        if self._is_built_in:
            return ""
        try:
            jumps = [f"{x:.7g}" for x in self.kinks]
        except ValueError:  # it cannot be resolved, which a sampled network does not mind
            jumps = []
        x = np.sinh((np.arange(32768) + 0.5) * (np.arcsinh(1e3) / 16384) - np.arcsinh(1e3))
        values = [self(x)] if self._derivative is None else [self(x), self.slope(x)]
        told = [*map(_sums, values), jumps, self._given_kinks, self.features]
        return sha256(repr(told).encode()).hexdigest()[:16]

    def _contents(self) -> tuple:
        """All that matters, for `mfdnn.jobs.contents`."""
        return self.name, sorted(self.parameters.items()), self.digest

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """phi(x), elementwise: an array of the shape of `x`, float32 for float32."""
        x = _as_float(x)
        with np.errstate(all="ignore"):  # such as the overflow of exp(-x) in 1/(1 + exp(-x)) far out
            return np.asarray(self._function(x), dtype=x.dtype)

    def slope(self, x: np.ndarray) -> np.ndarray:
        """phi'(x), elementwise, of the shape of `x`; at a kink the value of one side."""
        x = _as_float(x)
        if self._derivative is not None:
            with np.errstate(all="ignore"):
                return np.asarray(self._derivative(x), dtype=x.dtype)
        return self.pieces.evaluate(x, 1).astype(x.dtype, copy=False)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """phi''(x), elementwise, of the shape of `x`, without point masses.

        At a kink it is the value of one side.
        """
        x = _as_float(x)
        if self._second is not None:
            with np.errstate(all="ignore"):
                return np.asarray(self._second(x), dtype=x.dtype)
        return self.pieces.evaluate(x, 2).astype(x.dtype, copy=False)

    @cached_property
    def pieces(self) -> Pieces:
        """Piecewise polynomials for phi, phi' and phi'', built on first use.

        Raises
        ------
        ValueError
            phi cannot be resolved on [-16, 16]: it is noisy, not finite or unbounded there, or bends too often; or
            the derivative that was given is not its derivative.
        """
        return resolve(
            self.name,
            self._function,
            self._derivative,
            self._given_kinks,
            self._second,
            self.features,
            trusted=self._is_built_in,
        )

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where phi or phi' jumps, in ascending order, as far as phi is resolved."""
        pieces = self.pieces
        return tuple(float(x) for x in pieces.breaks[np.any(pieces.jumps[:, :2] != 0, axis=1)])

    @property
    def homogeneous(self) -> tuple[float, float] | None:
        """Slopes for x < 0 and for x > 0 if phi is positively homogeneous; else None.

        ``(0.0, 1.0)`` for relu, however it is written; ``(1.0, 1.0)`` for linear.
        """
        return self.pieces.homogeneous


def activation(phi: str | Callable | Activation, **parameters: float) -> Activation:
    r"""Return the activation of that name, or wrap a callable.

    ============================ =====================================================================
    name (parameters)            :math:`\phi(x)`
    ============================ =====================================================================
    ``linear``                   x
    ``relu``                     max(x, 0)
    ``leaky_relu(slope=0.01)``   x for x > 0, else slope x
    ``shifted_relu(shift=0.5)``  max(x, -shift)
    ``abs``                      \|x\|
    ``elu(alpha=1)``             x for x > 0, else alpha (e^x - 1)
    ``selu``                     1.0507... elu(x; alpha=1.6733...)
    ``gelu``                     x Phi(x), Phi the normal distribution function
    ``gelu_tanh``                x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
    ``silu``                     x/(1 + e^-x)
    ``swish(beta=1)``            x/(1 + e^(-beta x))
    ``mish``                     x tanh(log(1 + e^x))
    ``softplus``                 log(1 + e^x)
    ``sigmoid``                  1/(1 + e^-x)
    ``hard_sigmoid``             min(max(x + 3, 0), 6)/6
    ``tanh``                     tanh(x)
    ``hard_tanh``                min(max(x, -1), 1)
    ``erf``                      erf(x)
    ``erf_unit``                 erf(sqrt(pi) x/2), of slope 1 at 0
    ``arctan``                   arctan(x)
    ``softsign``                 x/(1 + \|x\|)
    ``sin``, ``cos``             sin(x), cos(x)
    ``exp``                      e^x; :math:`E[\phi^2] = e^{2q}`, for variances up to 2.8 only
    ``step``                     1 for x > 0, else 0
    ``sign``                     -1, 0 or 1
    ============================ =====================================================================

    ``step`` and ``sign`` jump: :math:`\phi'` is a point mass. :math:`E[\phi'(u)]` is its weight,
    :math:`E[\phi'(u)\phi'(v)]` is finite for \|c\| < 1, but :math:`E[\phi'^2]` does not exist (inf), nor do
    products of :math:`\phi''` (an error).

    Parameters
    ----------
    phi : str, callable or Activation
        A name of `activation_names`, a vectorised callable, or an `Activation` (returned as it is).
    **parameters : float
        Parameters of a built-in activation, such as ``slope`` of leaky_relu.

    Returns
    -------
    Activation
        The same object for the same argument, so that tables are built once.

    Raises
    ------
    ValueError
        Unknown name or parameter (with the nearest known ones).
    TypeError
        Anything else than a name, a callable or an `Activation`.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> mfdnn.activation("leaky_relu", slope=0.2)
    Activation('leaky_relu(slope=0.2)')
    >>> mfdnn.activation(lambda x: np.tanh(x) + 0.1 * x)
    Activation('lambda')
    """
    return as_activation("phi", phi, **parameters)


def as_activation(argument: str, phi: Any, /, **parameters: float) -> Activation:
    """`activation(phi, **parameters)`, where `argument` is what gave `phi`."""
    if isinstance(phi, str):
        one_of(argument, phi, BUILT_IN)
        known = inspect.signature(BUILT_IN[phi]).parameters
        for key in parameters:
            if key not in known:
                has = ", ".join(known) or "none"
                raise ValueError(
                    f"`{key}` is not a parameter of {phi}; it has {has}. Drop it or choose another name."
                )
        values = {key: p.default for key, p in known.items()}
        values |= {key: finite_number(key, value) for key, value in parameters.items()}
        return _built_in(phi, tuple(sorted(values.items())))
    if parameters:
        raise TypeError(
            f"`{next(iter(parameters))}` must be left out where `{argument}` is no name, got {short(phi)}; bind it in "
            "your callable."
        )
    if isinstance(phi, Activation):
        return phi
    if not callable(phi):
        raise TypeError(
            f"`{argument}` must be a name, a callable or an Activation, got {short(phi)}; see activation_names()."
        )
    return _wrapped(phi) if isinstance(phi, Hashable) else _wrapped.__wrapped__(phi)


def activation_names() -> tuple[str, ...]:
    """Names of the built-in activations."""
    return tuple(BUILT_IN)


@lru_cache(maxsize=64)  # an activation holds its callable, and its tables: lambdas in a loop must not pile up
def _wrapped(phi: Callable) -> Activation:
    name = getattr(phi, "__name__", type(phi).__name__)
    return Activation("lambda" if name == "<lambda>" else name, phi)


@lru_cache(maxsize=64)  # of a parameter that runs through a range, too
def _built_in(name: str, parameters: tuple[tuple[str, float], ...]) -> Activation:
    factory = BUILT_IN[name]
    values = dict(parameters)
    function, derivative, second, kinks = factory(**values)
    act = Activation(name, function, derivative, kinks)
    act._second = second
    act.parameters = values
    act._is_built_in = True  # pickled by name
    return act


def _sums(values: np.ndarray) -> list[tuple[int, ...]]:
    """Integers that tell arrays (32768,) apart, not their last digits.

    Processors differ in those, and rounded values one by one would differ somewhere: so many neighbours are summed,
    with different weights, in units of 2^-34 of the largest.
    """
    neighbours = values.astype(np.float64).reshape(32, -1)
    known = np.where(np.isfinite(neighbours), neighbours, 0.0)
    weights = 1.0 + np.arange(known.shape[1]) * 0.6180339887498949 % 1.0
    mantissas, exponents = np.frexp(np.abs(known).max(axis=1))
    exponents += mantissas > 0.7  # not 1: where phi saturates at 1 that would hang on a last digit
    sums = np.ldexp(known, -exponents[:, None]) @ (weights / weights.sum())
    strange = [np.sum(test(neighbours), axis=1) for test in (np.isnan, np.isposinf, np.isneginf)]
    return [tuple(map(int, row)) for row in np.column_stack([exponents, np.rint(sums * 2.0**34), *strange])]


def _shortest(value: float) -> str:
    """The fewest digits that are the number again."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _restore(name: str, parameters: tuple[tuple[str, float], ...]) -> Activation:
    return activation(name, **dict(parameters))


def _features(given: object) -> tuple[tuple[float, float], ...]:
    array = finite_array("features", given)
    if array.size and (array.ndim != 2 or array.shape[1] != 2):
        raise ValueError(f"`features` must be pairs (place, width), got shape {array.shape}; write ((0.7, 0.01),).")
    for place, width in array.reshape(-1, 2):
        if width <= 0:
            raise ValueError(
                f"`features` must have widths > 0, got {width:g} at {place:g}; name a place without one in `kinks`."
            )
    return tuple((float(place), float(width)) for place, width in array.reshape(-1, 2))


def _as_float(x: np.ndarray) -> np.ndarray:
    known = type(x) is np.ndarray and x.dtype in (np.float32, np.float64)
    return x if known else real_array("x", x)


def _unmasked(values: object) -> np.ndarray:
    """As an array, with nan where a masked array has no value."""
    return np.asarray(values.filled(np.nan) if isinstance(values, np.ma.MaskedArray) else values)


def _check_callable(argument: str, name: str, function: Callable) -> None:
    # In no order, and with the place most likely to be special.
    x = np.append(np.linspace(-3.0, 3.0, 23) + 0.01234, 0.0)[np.arange(24) * 7 % 24].reshape(4, 6)
    given = x.copy()
    hint = "it must map a float array of any shape to real numbers of the same shape, elementwise"
    try:
        with np.errstate(all="ignore"):
            y = _unmasked(function(given))
            part, again = _unmasked(function(x[2::-1, 1:4].copy())), _unmasked(function(x.copy()))
    except (Exception, SystemExit) as error:
        raise TypeError(
            f"`{argument}` of activation {name!r} raised {type(error).__name__}: {error}; {hint} "
            "(np.where instead of if, np.maximum instead of max; np.vectorize as a slow last resort)."
        ) from error
    if y.shape != x.shape:
        raise ValueError(
            f"`{argument}` of activation {name!r} turned shape {x.shape} into {y.shape}; {hint}."
        )
    if not (np.issubdtype(y.dtype, np.floating) or np.issubdtype(y.dtype, np.integer) or y.dtype == bool):
        raise TypeError(f"`{argument}` of activation {name!r} returned {y.dtype} values; {hint}.")
    if y.dtype in (np.float16, np.float32):
        raise TypeError(
            f"`{argument}` of activation {name!r} returned {y.dtype} for float64 values: too coarse to find where it "
            "bends; let it compute in float64, the precision of its argument."
        )
    if not np.all(np.isfinite(y)):
        where = x[~np.isfinite(y)][0]
        raise ValueError(
            f"`{argument}` of activation {name!r} returned {y[~np.isfinite(y)][0]} at x = {where:g}; {hint}."
        )
    if np.any(given != x):
        raise ValueError(f"`{argument}` of activation {name!r} changes its argument; {hint}, in a new array.")
    if (
        part.shape != (3, 3)
        or not np.allclose(part[::-1], y[:3, 1:4], rtol=1e-12, atol=1e-300)
        or not np.allclose(again, y, rtol=1e-12, atol=1e-300)
    ):
        raise ValueError(
            f"`{argument}` of activation {name!r} is not elementwise or not deterministic: a value changed with its "
            f"place in the array or with the other values; {hint}."
        )

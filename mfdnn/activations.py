"""What phi is: its values, its slope, its kinks. The built-in list, and the user's own on equal terms."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from ._pieces import Pieces, resolve
from ._validation import finite_array, finite_number, one_of

__all__ = ["Activation", "activation", "activation_names"]


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

    Raises
    ------
    TypeError, ValueError
        `function` is not vectorised, changes shape, returns non-real or non-finite values, is not a
        function of its argument alone, or raises.

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
    ):
        self.name = str(name)
        self.parameters: dict[str, float] = {}
        self._is_built_in = False
        self._function = function
        self._derivative = derivative
        self._given_kinks = tuple(float(k) for k in np.ravel(finite_array("kinks", list(kinks))))
        if not callable(function):
            raise TypeError(
                f"`function` must be callable, got {function!r}; pass a vectorised function such as np.tanh."
            )
        _check_callable("function", self.name, function)
        if derivative is not None:
            _check_callable("derivative", self.name, derivative)

    @property
    def label(self) -> str:
        """Name with the parameters that differ from none: ``leaky_relu(slope=0.2)``."""
        inside = ", ".join(f"{key}={value:g}" for key, value in self.parameters.items())
        return f"{self.name}({inside})" if inside else self.name

    def __repr__(self) -> str:
        return f"Activation({self.label!r})"

    def __reduce__(self) -> tuple:
        if self._is_built_in:
            return _restore, (self.name, tuple(self.parameters.items()))
        return Activation, (self.name, self._function, self._derivative, self._given_kinks)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """phi(x), elementwise; keeps the shape, and float32 as float32."""
        x = _as_float(x)
        return np.asarray(self._function(x), dtype=x.dtype)

    def slope(self, x: np.ndarray) -> np.ndarray:
        """phi'(x), elementwise; at a kink the value of one side."""
        x = _as_float(x)
        if self._derivative is not None:
            return np.asarray(self._derivative(x), dtype=x.dtype)
        return self.pieces.evaluate(x, 1).astype(x.dtype, copy=False)

    @cached_property
    def pieces(self) -> Pieces:
        """Piecewise polynomials for phi, phi', phi'' between its kinks (built on first use)."""
        return resolve(self.name, self._function, self._derivative, self._given_kinks)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where phi or phi' jumps."""
        pieces = self.pieces
        return tuple(float(x) for x in pieces.breaks[np.any(pieces.jumps[:, :2] != 0, axis=1)])

    @property
    def homogeneous(self) -> tuple[float, float] | None:
        """(slope for x < 0, slope for x > 0) if phi is positively homogeneous, as relu or linear; else None."""
        return self.pieces.homogeneous


def activation(phi: str | Callable | Activation, **parameters: float) -> Activation:
    r"""Return the activation of that name, or wrap a callable.

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
    if isinstance(phi, str):
        one_of("activation", phi, _BUILT_IN)
        known = inspect.signature(_BUILT_IN[phi]).parameters
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
            f"`{next(iter(parameters))}`: only named activations take parameters; bind them in your callable."
        )
    if isinstance(phi, Activation):
        return phi
    if not callable(phi):
        raise TypeError(
            f"`activation` must be a name, a callable or an Activation, got {phi!r}; see activation_names()."
        )
    try:
        return _wrapped[phi]
    except (KeyError, TypeError):
        name = getattr(phi, "__name__", type(phi).__name__)
        wrapped = Activation("lambda" if name == "<lambda>" else name, phi)
    try:
        _wrapped[phi] = wrapped
    except TypeError:  # not hashable or not weakly referenceable: wrapped anew every time
        pass
    return wrapped


def activation_names() -> tuple[str, ...]:
    """Names of the built-in activations."""
    return tuple(_BUILT_IN)


_wrapped: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@cache
def _built_in(name: str, parameters: tuple[tuple[str, float], ...]) -> Activation:
    factory = _BUILT_IN[name]
    values = dict(parameters)
    function, derivative, kinks = factory(**values)
    act = Activation(name, function, derivative, kinks)
    act.parameters = values
    act._is_built_in = True  # pickled by name
    return act


def _restore(name: str, parameters: tuple[tuple[str, float], ...]) -> Activation:
    return activation(name, **dict(parameters))


def _as_float(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


def _check_callable(argument: str, name: str, function: Callable) -> None:
    x = np.linspace(-3.0, 3.0, 24).reshape(4, 6) + 0.01234
    given = x.copy()
    hint = "it must map a float array of any shape to real numbers of the same shape, elementwise"
    try:
        with np.errstate(all="ignore"):
            y = np.asarray(function(given))
            part = np.asarray(function(x[2::-1, 1:4].copy()))
    except Exception as error:
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
    if not np.all(np.isfinite(y)):
        where = x[~np.isfinite(y)][0]
        raise ValueError(
            f"`{argument}` of activation {name!r} returned {y[~np.isfinite(y)][0]} at x = {where:g}; {hint}."
        )
    if np.any(given != x):
        raise ValueError(f"`{argument}` of activation {name!r} changes its argument; {hint}, in a new array.")
    if part.shape != (3, 3) or not np.allclose(part[::-1], y[:3, 1:4], rtol=1e-12, atol=1e-300):
        raise ValueError(
            f"`{argument}` of activation {name!r} is not elementwise or not deterministic: a value changed with its "
            f"place in the array or with the other values; {hint}."
        )


# -- built-in activations: (phi, phi', kinks) ----------------------------------------------------------------
# Each keeps float32 as float32. Derivatives are exact formulas. scipy.special is a fifth of a second to import,
# and waits for those who need it.


def _linear() -> tuple:
    return (lambda x: x * 1.0), np.ones_like, ()


def _relu() -> tuple:
    return (lambda x: np.maximum(x, 0)), (lambda x: np.where(x > 0, x.dtype.type(1), x.dtype.type(0))), (0.0,)


def _leaky_relu(slope: float = 0.01) -> tuple:
    return (
        lambda x: np.where(x > 0, x, x * x.dtype.type(slope)),
        lambda x: np.where(x > 0, x.dtype.type(1), x.dtype.type(slope)),
        (0.0,) if slope != 1 else (),
    )


def _abs() -> tuple:
    return np.abs, np.sign, (0.0,)


def _elu() -> tuple:
    return (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.exp(np.minimum(x, 0)),
        (0.0,),
    )


_SELU_ALPHA = 1.6732632423543772848
_SELU_SCALE = 1.0507009873554804934


def _selu() -> tuple:
    def function(x: np.ndarray) -> np.ndarray:
        return x.dtype.type(_SELU_SCALE) * np.where(
            x > 0, x, x.dtype.type(_SELU_ALPHA) * np.expm1(np.minimum(x, 0))
        )

    def derivative(x: np.ndarray) -> np.ndarray:
        return x.dtype.type(_SELU_SCALE) * np.where(
            x > 0, x.dtype.type(1), x.dtype.type(_SELU_ALPHA) * np.exp(np.minimum(x, 0))
        )

    return function, derivative, (0.0,)


def _gelu() -> tuple:
    from scipy.special import ndtr

    return (
        lambda x: x * ndtr(x),
        lambda x: ndtr(x) + x * np.exp(-0.5 * x**2) * x.dtype.type(1 / np.sqrt(2 * np.pi)),
        (),
    )


def _silu() -> tuple:
    from scipy.special import expit

    def derivative(x: np.ndarray) -> np.ndarray:
        s = expit(x)
        return s * (1 + x * (1 - s))

    return (lambda x: x * expit(x)), derivative, ()


def _softplus() -> tuple:
    from scipy.special import expit

    return (lambda x: np.logaddexp(x, x.dtype.type(0))), expit, ()


def _sigmoid() -> tuple:
    from scipy.special import expit

    def derivative(x: np.ndarray) -> np.ndarray:
        s = expit(x)
        return s * (1 - s)

    return expit, derivative, ()


def _tanh() -> tuple:
    return np.tanh, (lambda x: 1 - np.tanh(x) ** 2), ()


def _erf() -> tuple:
    from scipy.special import erf

    return erf, (lambda x: x.dtype.type(2 / np.sqrt(np.pi)) * np.exp(-(x**2))), ()


def _erf_unit() -> tuple:
    from scipy.special import erf

    return (
        lambda x: erf(x * x.dtype.type(np.sqrt(np.pi) / 2)),
        lambda x: np.exp(x**2 * x.dtype.type(-np.pi / 4)),
        (),
    )


def _hard_tanh() -> tuple:
    return (
        lambda x: np.clip(x, -1, 1),
        lambda x: np.where(np.abs(x) < 1, x.dtype.type(1), x.dtype.type(0)),
        (-1.0, 1.0),
    )


def _shifted_relu(shift: float = 0.5) -> tuple:
    return (
        lambda x: np.maximum(x, x.dtype.type(-shift)),
        lambda x: np.where(x > -shift, x.dtype.type(1), x.dtype.type(0)),
        (-shift,),
    )


def _sin() -> tuple:
    return np.sin, np.cos, ()


_BUILT_IN: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "abs": _abs,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "erf": _erf,
    "erf_unit": _erf_unit,
    "hard_tanh": _hard_tanh,
    "shifted_relu": _shifted_relu,
    "sin": _sin,
}

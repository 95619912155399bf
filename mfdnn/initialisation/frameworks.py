"""What PyTorch, Keras, JAX and Flax draw, as the variances of this package."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .._support.validation import finite_number

__all__ = ["INITIALISATIONS", "Initialisation"]

Formula = Callable[..., float]
# Of a standard normal number cut off at two standard deviations.
TRUNCATED = 0.7737413035499232


@dataclass(frozen=True)
class Initialisation:
    r"""What a layer or a function of a framework draws.

    Attributes
    ----------
    framework : str
        "PyTorch", "Keras", "JAX" or "Flax".
    name : str
        Of the layer, its parameter, or the function.
    weights : str
        Law of a weight, in words.
    weight_variance, bias_variance : callable or None
        :math:`\sigma_w^2` and :math:`\sigma_b^2` of some sizes, which are the names of its arguments; None where there
        is no such number.
    weight_formula, bias_formula : str
        The same to be read; "-" where there is none.
    note : str
        What else to know, or "".
    """

    framework: str
    name: str
    weights: str
    weight_formula: str
    weight_variance: Formula | None
    bias_formula: str = "-"
    bias_variance: Formula | None = None
    note: str = ""

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the sizes on which the two variances depend."""
        found = [name for f in self._formulas() for name in inspect.signature(f).parameters]
        return tuple(dict.fromkeys(found))

    def variances(self, **sizes: float) -> tuple[float | None, float | None]:
        r"""(:math:`\sigma_w^2`, :math:`\sigma_b^2`); None for one that does not exist.

        Parameters
        ----------
        **sizes : float
            Those of `sizes`: ``fan_in`` (weights a unit reads, taps counted), ``fan_out``, ``gain``, ...

        Raises
        ------
        TypeError, ValueError
            A size is missing or not positive.

        Examples
        --------
        >>> from mfdnn.initialisation import INITIALISATIONS
        >>> INITIALISATIONS["keras.layers.Dense"].variances(fan_in=750, fan_out=250)
        (1.5, 0.0)
        """
        for name in self.sizes:
            if name not in sizes:
                raise TypeError(
                    f"`{name}` is missing: the variances of {self.name} depend on {', '.join(self.sizes)}; pass it."
                )
            if finite_number(name, sizes[name]) <= 0:
                raise ValueError(f"`{name}` must be > 0, got {sizes[name]:g}; pass a size.")

        def value(f: Formula | None) -> float | None:
            return None if f is None else float(f(**{name: sizes[name] for name in inspect.signature(f).parameters}))

        return value(self.weight_variance), value(self.bias_variance)

    def _formulas(self) -> list[Formula]:
        return [f for f in (self.weight_variance, self.bias_variance) if f is not None]


def _constant(x: float) -> Formula:
    return lambda: x


def _third(fan_in: float) -> float:
    return 1 / (3 * fan_in)


def _glorot(fan_in: float, fan_out: float) -> float:
    return 2 * fan_in / (fan_in + fan_out)


def _glorot_gain(gain: float, fan_in: float, fan_out: float) -> float:
    return gain**2 * _glorot(fan_in, fan_out)


def _orthogonal(fan_in: float, fan_out: float) -> float:
    return min(1, fan_in / fan_out)


def _orthogonal_gain(gain: float, fan_in: float, fan_out: float) -> float:
    return gain**2 * _orthogonal(fan_in, fan_out)


def _of_std(std: float, fan_in: float) -> float:
    return std**2 * fan_in


UNIFORM, NORMAL = "uniform", "normal"
CUT = "normal, cut at 2 standard deviations, variance restored"
ORTHOGONAL = "orthogonal rows or columns"
GLOROT, ROWS = "2 fan_in/(fan_in + fan_out)", "min(1, fan_in/fan_out)"
GAINS = "gain 1"
NO_BIAS = ("0", _constant(0.0))
THIRD = ("1/3", _constant(1 / 3))
ONE, TWO = ("1", _constant(1.0)), ("2", _constant(2.0))


def _torch() -> list[Initialisation]:
    def of(name: str, *rest: Any) -> Initialisation:
        return Initialisation("PyTorch", f"torch.nn.{name}", *rest)

    own = "1/(3 fan_in)", _third
    two = "bias_ih and bias_hh together; each adds 1 to the bias part of a gradient's square"
    return [
        of("Linear", UNIFORM, *THIRD, *own),
        of("Conv1d, Conv2d, Conv3d", UNIFORM, *THIRD, *own, "fan_in = taps channels_in/groups"),
        of(
            "ConvTranspose1d, ConvTranspose2d, ConvTranspose3d",
            UNIFORM,
            "channels_in/(3 channels_out)",
            lambda channels_in, channels_out: channels_in / (3 * channels_out),
            "1/(3 taps channels_out)",
            lambda taps, channels_out: 1 / (3 * taps * channels_out),
            "PyTorch counts taps channels_out as the fan-in; sigma_w^2 is per taps channels_in",
        ),
        of("Bilinear", UNIFORM, *THIRD, *own, "fan_in: of the first input"),
        of("BatchNorm1d, LayerNorm, GroupNorm", GAINS, "-", None, *NO_BIAS, "eps = 1e-5"),
        of("RMSNorm", GAINS, "-", None, "-", None, "eps: the machine epsilon of the dtype"),
        of("RNN, LSTM, GRU (weight_hh)", UNIFORM, *THIRD, "2/(3 hidden)", lambda hidden: 2 / (3 * hidden), two),
        of("RNN, LSTM, GRU (weight_ih)", UNIFORM, "fan_in/(3 hidden)", lambda fan_in, hidden: fan_in / (3 * hidden)),
        of(
            "MultiheadAttention (in_proj)",
            UNIFORM,
            "1/2",
            _constant(0.5),
            *NO_BIAS,
            "Glorot's on the three matrices as one, so half of what each would have by itself",
        ),
        of("MultiheadAttention (out_proj)", UNIFORM, *THIRD, *NO_BIAS),
        of("Embedding", NORMAL, "fan_in", lambda fan_in: fan_in, "-", None, "variance 1 an entry; padding row 0"),
        of("PReLU", "slope 0.25", "-", None),
        of("init.kaiming_normal_, kaiming_uniform_", "normal or uniform", *TWO, "-", None, "their defaults"),
        of("init.kaiming_uniform_ (a=sqrt(5))", UNIFORM, *THIRD, "-", None, "what Linear and Conv call"),
        of(
            "init.kaiming_normal_ (mode='fan_out')",
            NORMAL,
            "2 fan_in/fan_out",
            lambda fan_in, fan_out: 2 * fan_in / fan_out,
        ),
        of("init.kaiming_normal_ (nonlinearity='tanh')", NORMAL, "25/9", _constant(25 / 9)),
        of("init.kaiming_normal_ (nonlinearity='selu')", NORMAL, "9/16", _constant(9 / 16)),
        of("init.kaiming_normal_ (nonlinearity='linear')", NORMAL, *ONE, "-", None, "also of 'sigmoid' and 'conv2d'"),
        of("init.xavier_normal_, xavier_uniform_", "normal or uniform", f"gain^2 {GLOROT}", _glorot_gain),
        of(
            "init.orthogonal_",
            ORTHOGONAL,
            f"gain^2 {ROWS}",
            _orthogonal_gain,
            "-",
            None,
            "a convolution as one matrix with its taps: not delta-orthogonal",
        ),
        of(
            "init.trunc_normal_",
            "normal, cut at -2 and 2 as they are",
            "std^2 fan_in",
            _of_std,
            "-",
            None,
            "of std far below 1, where nothing is cut; at std = 1 0.774 fan_in",
        ),
        of("init.normal_", NORMAL, "std^2 fan_in", _of_std, "-", None, "of mean 0"),
        of(
            "init.sparse_",
            "normal, exactly a share s of each column 0",
            "(1 - s) std^2 fan_in",
            lambda s, std, fan_in: (1 - s) * std**2 * fan_in,
        ),
        of("init.dirac_", "one tap 1, others 0", "-", None, "-", None, "not random: no theory"),
    ]


def _keras() -> list[Initialisation]:
    def of(name: str, *rest: Any) -> Initialisation:
        return Initialisation("Keras", f"keras.{name}", *rest)

    return [
        of("layers.Dense", UNIFORM, GLOROT, _glorot, *NO_BIAS),
        of("layers.Conv1D, Conv2D, Conv3D", UNIFORM, GLOROT, _glorot, *NO_BIAS, "both fans count the taps"),
        of(
            "layers.LSTM (kernel)",
            UNIFORM,
            "2 fan_in/(fan_in + 4 hidden)",
            lambda fan_in, hidden: _glorot(fan_in, 4 * hidden),
            *NO_BIAS,
            "four gates as one matrix; the bias of the forget gate is 1",
        ),
        of("layers.LSTM (recurrent_kernel)", ORTHOGONAL, "1/4", _constant(0.25)),
        of(
            "layers.GRU (kernel)",
            UNIFORM,
            "2 fan_in/(fan_in + 3 hidden)",
            lambda fan_in, hidden: _glorot(fan_in, 3 * hidden),
            *NO_BIAS,
        ),
        of("layers.GRU (recurrent_kernel)", ORTHOGONAL, *THIRD),
        of(
            "layers.SimpleRNN (kernel)",
            UNIFORM,
            "2 fan_in/(fan_in + hidden)",
            lambda fan_in, hidden: _glorot(fan_in, hidden),
            *NO_BIAS,
        ),
        of("layers.SimpleRNN (recurrent_kernel)", ORTHOGONAL, *ONE),
        of("layers.Embedding", "uniform in +-0.05", "fan_in/1200", lambda fan_in: fan_in / 1200),
        of("layers.BatchNormalization, LayerNormalization", GAINS, "-", None, *NO_BIAS, "eps = 1e-3"),
        of("initializers.HeNormal", CUT, *TWO),
        of("initializers.LecunNormal", CUT, *ONE),
        of("initializers.GlorotNormal", CUT, GLOROT, _glorot),
        of("initializers.HeUniform", UNIFORM, *TWO),
        of("initializers.LecunUniform", UNIFORM, *ONE),
        of("initializers.Orthogonal", ORTHOGONAL, ROWS, _orthogonal),
        of("initializers.TruncatedNormal", "normal, cut at 2 standard deviations", "0.774 std^2 fan_in", _cut),
    ]


def _cut(std: float, fan_in: float) -> float:
    return TRUNCATED * _of_std(std, fan_in)


def _jax() -> list[Initialisation]:
    def of(name: str, *rest: Any) -> Initialisation:
        return Initialisation("JAX", f"jax.nn.initializers.{name}", *rest)

    return [
        of("he_normal", CUT, *TWO),
        of("lecun_normal", CUT, *ONE),
        of("glorot_normal", CUT, GLOROT, _glorot),
        of("he_uniform", UNIFORM, *TWO),
        of("lecun_uniform", UNIFORM, *ONE),
        of("glorot_uniform", UNIFORM, GLOROT, _glorot),
        of("truncated_normal", "normal, cut at 2 standard deviations", "0.774 stddev^2 fan_in",
           lambda stddev, fan_in: _cut(stddev, fan_in), "-", None, "the variance is not restored"),
        of("orthogonal", ORTHOGONAL, ROWS, _orthogonal),
        of("delta_orthogonal", "centre tap orthogonal, others 0", ROWS, _orthogonal, "-", None,
           "fan_in: the channels that enter; sigma_w^2 of the centre tap"),
    ]


def _flax() -> list[Initialisation]:
    def of(name: str, *rest: Any) -> Initialisation:
        return Initialisation("Flax", f"flax.linen.{name}", *rest)

    return [
        of("Dense", CUT, *ONE, *NO_BIAS),
        of("Conv, ConvTranspose", CUT, *ONE, *NO_BIAS),
        of("MultiHeadDotProductAttention", CUT, *ONE, *NO_BIAS, "query, key, value and out alike"),
        of("LSTMCell, OptimizedLSTMCell, GRUCell (input)", CUT, *ONE, *NO_BIAS, "no bias of the forget gate"),
        of("LSTMCell, OptimizedLSTMCell, GRUCell (recurrent)", ORTHOGONAL, *ONE, *NO_BIAS, "gate by gate"),
        of("Embed", NORMAL, *ONE, "-", None, "variance 1/features an entry"),
    ]


INITIALISATIONS: Mapping[str, Initialisation] = MappingProxyType(
    {row.name: row for row in (*_torch(), *_keras(), *_jax(), *_flax())}
)

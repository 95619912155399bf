"""What a sweep runs over: keys with a value, a list or a range."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import file_path, finite_number, one_of, positive_integer, variance
from ..activations import Activation, activation
from ..activations.parsing import parse_activation
from ..initialisation import SCHEMES
from ..jobs.settings import told_apart
from ..layers.windows import MODES
from ..losses import LOSSES
from .quantities import QUANTITIES, TRAINED

__all__ = ["KEYS", "Spec"]


def _count(minimum: int) -> Callable[[str, Any], int]:
    return lambda name, value: positive_integer(name, value, minimum)


def _name(known: Any) -> Callable[[str, Any], str]:
    return lambda name, value: one_of(name, value, known)


def _between(low: float, high: float, closed: bool) -> Callable[[str, Any], float]:
    def check(name: str, value: Any) -> float:
        number = finite_number(name, value)
        if not (low <= number < high or (closed and number == high)):
            raise ValueError(
                f"`{name}` must be in [{low:g}, {high:g}{']' if closed else ')'}, got {number:g}; change it."
            )
        return number

    return check


def _positive(name: str, value: Any) -> float:
    number = finite_number(name, value)
    if number <= 0:
        raise ValueError(f"`{name}` must be > 0, got {number:g}; pass a positive number.")
    return number


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be true or false, got {value!r}; write one of them.")
    return value


# Key: what it is, how a value is checked, and the default (... where there is none).
KEYS: dict[str, tuple[str, Callable[[str, Any], Any], Any]] = {
    "inputs": ("number of inputs, or channels of images", _count(1), ...),
    "outputs": ("number of outputs C", _count(1), ...),
    "width": ("units of every hidden layer", _count(1), None),
    "depth": ("weight layers L, one more than hidden layers", _count(1), ...),
    "image": ("sites along either side of a square image: networks are convolutional", _count(1), None),
    "channels": ("of every convolution, instead of width", _count(1), None),
    "kernel": ("taps of convolutions along an axis, 3", _count(1), None),
    "mode": ("of their padding: zeros, circular or reflect", _name(MODES), None),
    "readout": ("flatten or average, behind them", _name(("flatten", "average")), None),
    "activation": ("name, name(parameter=value) or module:function", lambda name, value: value, "relu"),
    "sigma_w2": ("weight variance times fan-in", variance, None),
    "sigma_b2": ("bias variance", variance, None),
    "init": ("he, lecun, glorot, pytorch or critical, instead of sigma_w2", _name(SCHEMES), None),
    "weights": ("gaussian, orthogonal or uniform", _name(("gaussian", "orthogonal", "uniform")), None),
    "n_samples": ("number of Gaussian inputs T", _count(1), 100),
    "q0": ("mean square of the inputs", variance, 1.0),
    "c0": ("correlation of two inputs", _between(-1.0, 1.0, closed=True), 0.0),
    "seed": ("of the random numbers", _count(0), 0),
    "dtype": ("float64 or float32, of drawn networks", _name(("float64", "float32")), "float64"),
    "loss": (
        "half_mse, mse_per_sample, torch_mse, torch_mse_sum or cross_entropy",
        _name(LOSSES),
        "half_mse",
    ),
    "momentum": ("momentum b", _between(0.0, 1.0, closed=False), 0.0),
    "nesterov": ("Nesterov's momentum", _flag, False),
    "weight_decay": ("L2 decay", variance, 0.0),
    "learning_rate": ("of training", _positive, None),
    "n_steps": ("of training", _count(1), None),
}

_RANGE = ("start", "stop", "points", "spacing")
_OF_OTHER_NETWORKS = ("arch", "network", "layers", "input_shape")
_OF_CONVOLUTIONS = ("channels", "kernel", "mode", "readout")
_BYTES_A_VALUE = 200  # a number of Python, and its places in a tuple and a dictionary


@dataclass(frozen=True)
class Spec:
    """A sweep, checked: every combination of the values of its keys is a cell.

    Attributes
    ----------
    axes : dict of str to tuple
        The keys with a list or a range, in the order of `KEYS`, and their values.
    fixed : dict of str to value
        All other keys.
    quantities : tuple of str
        What is measured, names of `QUANTITIES`.
    activations : dict of str to Activation
        What the values of the key "activation" mean.
    """

    axes: dict[str, tuple]
    fixed: dict[str, Any]
    quantities: tuple[str, ...]
    activations: dict[str, Activation]

    @classmethod
    def read(cls, source: Any) -> Spec:
        """A sweep from a TOML file, a dictionary of the same form, or a Spec.

        Raises
        ------
        OSError, TypeError, ValueError
            No such file, no TOML, a key that is unknown or missing, or a value that it does not take.
        """
        if isinstance(source, Spec):
            return source
        given = dict(source) if isinstance(source, Mapping) else _parse(source)
        for key in given:
            if key in _OF_OTHER_NETWORKS:
                raise ValueError(
                    f"`{key}` must not be a key of the sweep, whose networks are fully connected, or convolutional "
                    "with `image` and `channels`, got it; for others call `mfdnn.compare` or `mfdnn.ensemble` of each "
                    "in a loop."
                )
            one_of("key of the sweep", key, (*KEYS, "quantities"))
        quantities = _quantities(given.pop("quantities", None))
        activations: dict[str, Activation] = {}
        axes: dict[str, tuple] = {}
        fixed: dict[str, Any] = {}
        for key, (what, check, default) in KEYS.items():
            value = given.get(key, default)
            if value is ...:
                raise ValueError(
                    f"`{key}` ({what}) is missing from the sweep; give a value, a list or a range, such as "
                    f"{key} = [100, 200]."
                )
            if key == "activation":
                check = _activation_into(activations)
            if value is None:
                fixed[key] = None
            elif isinstance(value, list | tuple | range | np.ndarray | Mapping):
                axes[key] = _axis(key, value, check)
            else:
                fixed[key] = check(key, value)
        spec = cls(axes, fixed, quantities, activations)
        spec._check_together()
        return spec

    def _check_together(self) -> None:
        self._check_network()
        if self._has("sigma_w2") and self._has("init"):
            raise ValueError(
                "`init` and `sigma_w2` exclude each other, the sweep gives both; drop one of them."
            )
        momenta, flags = (self.axes.get(key, (self.fixed.get(key),)) for key in ("momentum", "nesterov"))
        if True in flags and not any(momenta):
            raise ValueError(
                "`nesterov` does nothing where `momentum` is 0, and the sweep gives no other; add momentum = 0.9, or "
                "drop nesterov."
            )
        trained = [name for name in self.quantities if name in TRAINED]
        for key in ("learning_rate", "n_steps"):
            if trained and not self._has(key):
                raise ValueError(
                    f"`{key}` is missing from the sweep, {trained[0]} needs it; give it, or drop {', '.join(trained)} "
                    "from quantities."
                )
            if self._has(key) and not trained:
                raise ValueError(
                    f"`{key}` is of training, and no quantity of this sweep is measured by training; drop it, or add "
                    "for example final_loss to quantities."
                )

    def _check_network(self) -> None:
        """Keys of a fully connected network, or of a convolutional one."""
        image = self._has("image")
        size, other = ("channels", "width") if image else ("width", "channels")
        for key in (other,) if image else _OF_CONVOLUTIONS:
            if self._has(key):
                raise ValueError(
                    f"`{key}` is of {'fully connected' if image else 'convolutional'} networks, and "
                    + ("`image` makes these convolutional; give `channels` instead." if image else "the sweep gives no "
                       "`image`; add one, such as image = 8, or drop it.")
                )
        if not self._has(size):
            raise ValueError(
                f"`{size}` ({KEYS[size][0]}) is missing from the sweep; give a value, a list or a range, such as "
                f"{size} = [100, 200]."
            )
        if image and min(self.axes.get("depth", (self.fixed["depth"],))) < 2:
            raise ValueError("`depth` must be at least 2 with `image`, a convolution and the read-out; raise it.")

    def _has(self, key: str) -> bool:
        return key in self.axes or self.fixed[key] is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of every axis."""
        return tuple(len(values) for values in self.axes.values())

    def cells(self) -> Iterator[dict[str, Any]]:
        """The values of all keys, for one cell after the other, the last axis fastest."""
        for values in product(*self.axes.values()):
            yield {key: None for key in KEYS} | self.fixed | dict(zip(self.axes, values, strict=True))

    def place(self, cell: Mapping[str, Any]) -> int:
        """Where a kept cell lies in the order of `cells`."""
        if not self.axes:
            return 0
        indices = [places[cell[key]] for key, places in self._places.items()]
        return int(np.ravel_multi_index(indices, self.shape))

    def kept(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        """The cell as a checkpoint holds it, where a label says what the function does."""
        return {**cell, "activation": self._identities[cell["activation"]]}

    @cached_property
    def _identities(self) -> dict[str, str]:
        return {label: told_apart(label, act) for label, act in self.activations.items()}

    @cached_property
    def _places(self) -> dict[str, dict[Any, int]]:
        named = {**self.axes}
        if "activation" in named:
            named["activation"] = tuple(map(self._identities.__getitem__, named["activation"]))
        return {key: {value: i for i, value in enumerate(values)} for key, values in named.items()}

    def mismatch(self, cell: Mapping[str, Any]) -> str:
        """What makes a kept cell one of another sweep, in words; nothing if none."""
        fixed = self.kept(self.fixed) if "activation" in self.fixed else self.fixed
        for key in KEYS:
            mine = self._places.get(key) or {fixed.get(key): 0}
            if cell.get(key) not in mine:
                return f"{key} = {cell.get(key)}, not {' or '.join(map(str, islice(mine, 3)))}"
        return ""


def _parse(path: Any) -> dict[str, Any]:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`spec` must be the path of a TOML file or a dictionary, got {type(path).__name__}.")
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content = Path(file_path("spec", path)).read_bytes()
    except OSError as error:
        raise type(error)(
            f"`spec` {os.fspath(path)!r} cannot be read ({error.strerror}); pass the path of a TOML file."
        ) from None
    try:
        return tomllib.loads(content.decode())
    except ValueError as error:  # of TOML, or of UTF-8
        raise ValueError(
            f"`spec` {os.fspath(path)!r} is no TOML file: {error}; compare it with docs/sweep.toml."
        ) from None


def _quantities(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if value is not None and not isinstance(value, list | tuple):
        raise TypeError(f'`quantities` must be a list of names, got {value!r}; write ["lambda_max"].')
    if not value:
        raise ValueError(
            "`quantities` is missing from the sweep; name what to measure, such as quantities = "
            f'["theory_lambda_max", "lambda_max"], of {", ".join(QUANTITIES)}.'
        )
    return tuple(dict.fromkeys(one_of("quantities", name, QUANTITIES) for name in value))


def _axis(key: str, value: Any, check: Callable[[str, Any], Any]) -> tuple:
    if isinstance(value, Mapping):
        value = _range(key, value)
    values = tuple(check(key, item) for item in (value.tolist() if isinstance(value, np.ndarray) else value))
    if not values:
        raise ValueError(f"`{key}` must have at least one value, got an empty list; give one.")
    seen: set = set()
    for item in values:
        if item in seen:
            raise ValueError(f"`{key}` must have different values, got {item} twice; drop one.")
        seen.add(item)
    return values


def _range(key: str, value: Mapping[str, Any]) -> np.ndarray:
    for name in value:
        one_of(f"{key}: part of the range", name, _RANGE)
    for name in _RANGE[:3]:
        if name not in value:
            raise ValueError(
                f"`{key}`: the range has no {name}; write {key} = {{start = 1.0, stop = 2.0, points = 5}}."
            )
    start, stop = (finite_number(f"{key}: {name}", value[name]) for name in ("start", "stop"))
    points = positive_integer(f"{key}: points", value["points"])
    require_memory(_BYTES_A_VALUE * points, f"`{key}`: a range of {points} points", "take fewer")
    spacing = one_of(f"{key}: spacing", value.get("spacing", "linear"), ("linear", "log"))
    if spacing == "linear":
        return np.linspace(start, stop, points)
    if min(start, stop) <= 0:
        raise ValueError(
            f"`{key}`: spacing = log needs start and stop > 0, got {min(start, stop):g}; take linear."
        )
    return np.geomspace(start, stop, points)


def _activation_into(found: dict[str, Activation]) -> Callable[[str, Any], str]:
    """A check that also keeps what the labels mean."""

    def check(key: str, value: Any) -> str:
        act = parse_activation(value, key) if isinstance(value, str) else activation(value)
        label = value if isinstance(value, str) else act.label
        if found.setdefault(label, act) is not act:
            raise ValueError(f"`{key}` has two functions called {label}; give mfdnn.Activation other names.")
        return label

    return check

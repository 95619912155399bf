"""Catalogue of calls of the public functions, over all kinds of networks, whose values are frozen.

What they return lies in `public_values.json` (`make_public_values.py` writes it, `test_public_values.py` compares).
The numbers prove nothing by themselves: other tests say that they are right, these say that they did not change.
Nothing is computed here when the file is imported.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

import mfdnn
from mfdnn import BatchNorm, Dense, LayerNorm, MeanSubtraction, Network, Pointwise, Residual, mlp, resnet
from mfdnn.fisher import BlockStatistics

# What is not frozen: the arguments again, vectors that are defined up to a sign or a rotation, and what is
# rounding alone in a dense computation.
LEFT_OUT = {
    "network",
    "order_parameters",
    "distribution",
    "trained",
    "eigenvectors",
    "residuals",
    "zones",
}
WHOLE = 10  # arrays of up to so many entries are kept whole
SHOWN = 4  # entries, evenly spaced, that are kept of larger ones


class Call(NamedTuple):
    """A call and the kind of its tolerance (`test_public_values.TOLERANCES`)."""

    kind: str
    function: Callable[[], Any]

    def __call__(self) -> Any:
        """What it returns, as the file has it. Warnings are the matter of other tests."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return plain(self.function())


CALLS: dict[str, Call] = {}


def add(kind: str, name: str, function: Callable, *arguments: Any, **options: Any) -> None:
    """A new line of the catalogue."""
    if name in CALLS:
        raise ValueError(f"{name!r} is in the catalogue already; choose another name.")
    CALLS[name] = Call(kind, partial(function, *arguments, **options))


def plain(value: Any) -> Any:
    """Numbers, texts, lists and dictionaries of them: what JSON can hold."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items() if name not in LEFT_OUT}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if is_dataclass(value):
        return plain(dict(public(value)))
    if isinstance(value, tuple) and value and all(isinstance(item, BlockStatistics) for item in value):
        return {
            field.name: plain([getattr(item, field.name) for item in value]) for field in fields(value[0])
        }
    if isinstance(value, list | tuple) and not numbers(value):
        return [plain(item) for item in value]
    if isinstance(value, list | tuple | np.ndarray):
        return of_array(np.asarray(value))
    return repr(value)  # networks and activations


def numbers(value: Any) -> bool:
    """Whether lists of lists are an array of numbers."""
    try:
        return np.asarray(value).dtype.kind in "fiub" and np.size(value) > 0
    except ValueError:  # rows of different lengths
        return False


def public(result: Any) -> Iterator[tuple[str, Any]]:
    """Fields and properties of a result; a property that refuses gives its reason."""
    names = [field.name for field in fields(result)]
    for kind in type(result).__mro__:
        names += [name for name, item in vars(kind).items() if isinstance(item, property)]
    for name in dict.fromkeys(names):
        if not name.startswith("_") and name not in LEFT_OUT:
            yield name, attempt(getattr, result, name)


def of_array(values: np.ndarray) -> Any:
    """A small array whole; of a large one a few entries, the largest, the sum and the norm."""
    if values.size <= WHOLE or values.dtype.kind not in "fi":
        return values.tolist()
    flat = values.astype(float).ravel()
    return {
        "shape": " x ".join(map(str, values.shape)),
        "entries": flat[:: -(-flat.size // SHOWN)].tolist(),
        "largest": float(np.abs(flat).max()),
        "sum": float(flat.sum()),
        "norm": float(np.linalg.norm(flat)),
    }


def attempt(function: Callable, *arguments: Any, **options: Any) -> Any:
    """What the call returns, or what it says when it refuses."""
    try:
        return function(*arguments, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def refusal(function: Callable[[], Any]) -> str:
    """What the call says; a call that refuses nothing is a mistake here."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("nothing was refused")


# -- networks ---------------------------------------------------------------------------------------------------


def mine(x: np.ndarray) -> np.ndarray:
    """A function of a user: one kink, and no derivative is given."""
    return np.maximum(np.tanh(x), -0.5)


def jump(x: np.ndarray) -> np.ndarray:
    """One that jumps."""
    return np.where(x > 0.2, 1.0, -1.0) + np.tanh(x)


def chain(
    *between: Any, phi: Any = "tanh", w2: float = 2.0, b2: float = 0.1, last: Any = (), outputs: int = 3
):
    """Two hidden layers of 24 and 32 units, with `between` before each activation and `last` behind the outputs."""
    hidden = [layer for units in (24, 32) for layer in (Dense(units, w2, b2), *between, Pointwise(phi))]
    return Network(20, [*hidden, Dense(outputs, w2, b2), *last])


def behind(norm: Any, phi: str = "relu") -> Network:
    """A normalisation behind each activation."""
    hidden = [layer for units in (24, 32) for layer in (Dense(units, 2.0, 0.1), Pointwise(phi), norm)]
    return Network(20, [*hidden, Dense(3, 2.0, 0.1)])


def block(*before: Any, phi: str = "relu", skip: float = 1.0) -> Residual:
    """A residual block of 24 units, normalised before its layers."""
    return Residual([*before, Dense(24, 1.2, 0.1), Pointwise(phi), Dense(24, 0.7, 0.05)], skip=skip)


NETWORKS: dict[str, Callable[[], Network]] = {
    "relu": lambda: mlp([20, 30, 30, 1], "relu", 2.0, 0.1),
    "tanh": lambda: mlp([20, 30, 40, 3], "tanh", 3.0, 0.64),
    "erf": lambda: mlp([12, 25, 2], "erf", 2.5, 0.3),
    "gelu": lambda: mlp([20, 24, 28, 2], "gelu", 2.0, 0.1),
    "linear": lambda: mlp([15, 20, 25, 2], "linear", 1.0, 0.1),
    "leaky relu": lambda: mlp([20, 24, 24, 2], mfdnn.activation("leaky_relu", slope=0.2), init="glorot"),
    "jump": lambda: mlp([20, 24, 24, 1], jump, 1.5, 0.1),
    "user": lambda: mlp([20, 24, 30, 2], mine, 1.6, 0.05),
    "mixed": lambda: mlp(
        [20, 40, 25, 30, 2], ["relu", "tanh", mine], [2.0, 1.5, 1.0, 1.2], [0.1, 0.0, 0.2, 0.3]
    ),
    "deep": lambda: mlp([20, *[30] * 7, 1], "tanh", 1.5, 0.05),
    "one layer": lambda: mlp([20, 3], sigma_w2=1.5, sigma_b2=0.1),
    "no bias": lambda: mlp([20, 30, 24, 2], "tanh", 1.5, bias=False),
    "uniform": lambda: mlp([20, 30, 24, 2], "relu", 2.0, 0.02, weights="uniform"),
    "pytorch": lambda: mlp([20, 30, 24, 2], "tanh", init="pytorch"),
    "orthogonal": lambda: mlp([20, 24, 24, 2], "tanh", 1.5, 0.1, weights="orthogonal"),
    "critical": lambda: mlp([20, 30, 30, 2], "tanh", init="critical", q=0.5),
    "resnet": lambda: resnet([20, 24, 2], 2, "tanh", 1.0, 0.1, 0.8, 0.05),
    "resnet, skip 0.7": lambda: resnet([20, 24, 2], 2, "relu", 1.5, 0.1, 0.8, 0.0, skip=0.7),
    "residual at inputs": lambda: Network(
        20, [Residual([Dense(20, 1.5, 0.1), Pointwise("tanh"), Dense(20, 0.5)]), Dense(2, 1.2, 0.1)]
    ),
    "residual nested": lambda: Network(
        20,
        [
            Dense(24, 1.5, 0.1),
            Residual([Dense(24, 1.2), block(skip=0.5), Pointwise("relu"), Dense(24, 0.6, 0.1)], skip=1.3),
            Dense(2, 1.0),
        ],
    ),
    "mean subtraction": lambda: chain(MeanSubtraction()),
    "mean subtraction behind": lambda: behind(MeanSubtraction()),
    "mean subtraction of outputs": lambda: chain(last=[MeanSubtraction()]),
    "batch norm": lambda: chain(BatchNorm(), phi="relu"),
    "batch norm, general": lambda: chain(BatchNorm(1.3, 0.2, 0.1, affine=False), phi="tanh"),
    "batch norm behind": lambda: behind(BatchNorm()),
    "batch norm of outputs": lambda: chain(last=[BatchNorm(affine=False)], phi="relu"),
    "batch norm of outputs, general": lambda: chain(last=[BatchNorm(1.5, 0.3, 0.5)], phi="erf"),
    "layer norm": lambda: chain(LayerNorm(), phi="relu"),
    "layer norm, general": lambda: chain(LayerNorm(1.2, 0.1, 0.2, affine=False), phi="gelu"),
    "layer norm behind": lambda: behind(LayerNorm(0.9, 0.1)),
    "layer norm of outputs": lambda: chain(last=[LayerNorm()], phi="relu", outputs=6),
    "layer norm of outputs, general": lambda: chain(last=[LayerNorm(1.4, 0.2, 0.3, affine=False)], outputs=5),
    "norms mixed": lambda: Network(
        20,
        [
            *(Dense(24, 1.5, 0.1), LayerNorm(), Pointwise("relu"), Dense(24, 1.5, 0.1), BatchNorm(1.2, 0.1)),
            *(Pointwise("tanh"), Dense(3, 1.0, 0.1), MeanSubtraction()),
        ],
    ),
    "resnet, layer norm": lambda: Network(
        20, [Dense(24, 1.5), block(LayerNorm()), block(LayerNorm()), Dense(2)]
    ),
    "resnet, batch norm": lambda: Network(
        20, [Dense(24, 1.5), block(BatchNorm(0.9, 0.1), phi="tanh"), block(BatchNorm(), skip=0.8), Dense(2)]
    ),
    "resnet, mean subtraction": lambda: Network(
        20, [Dense(24, 1.5), block(MeanSubtraction(), phi="tanh"), Dense(2, 1.0, 0.1)]
    ),
    "normalised stem": lambda: Network(20, [LayerNorm(), Dense(24, 1.5, 0.1), Pointwise("relu"), Dense(2)]),
    "batch norm of inputs": lambda: Network(
        20, [BatchNorm(), Dense(24, 1.5, 0.1), Pointwise("relu"), Dense(2)]
    ),
}


@cache
def network(name: str) -> Network:
    """The network of that name."""
    return NETWORKS[name]()


@cache
def inputs(n_samples: int, n_features: int = 20, common: float = 0.5) -> np.ndarray:
    """Rows that share a direction, of different lengths."""
    rng = np.random.default_rng(n_samples)
    X = rng.standard_normal((n_samples, n_features)) + common * rng.standard_normal(n_features)
    return X * np.linspace(0.8, 1.3, n_samples)[:, None]


def rows(net: Network, n_samples: int = 24) -> np.ndarray:
    """Inputs of that network, two of them the same."""
    X = inputs(n_samples, net.n_inputs).copy()
    X[-1] = X[0]
    return X


@cache
def sampled(name: str, seed: int = 3, dtype: str = "float64") -> Any:
    """The network of that name, drawn."""
    return mfdnn.sample(network(name), rng=seed, dtype=dtype)


# -- infinite width ---------------------------------------------------------------------------------------------


def of_network(function: Callable, name: str, *arguments: Any, **options: Any) -> Any:
    """The function of the named network, or what it says when it refuses."""
    return attempt(function, network(name), *arguments, **options)


def of_inputs(function: Callable, name: str, n_samples: int = 24, **options: Any) -> Any:
    """The same for given inputs."""
    return attempt(function, network(name), inputs=rows(network(name), n_samples), **options)


# The edge of centred spectra takes a second: an array of q0 leaves it out, and a few lines are there for it.
EDGE = {
    "mean subtraction of outputs",
    "batch norm of outputs",
    "batch norm of outputs, general",
    "norms mixed",
}
PER_INPUT = (
    *("relu", "tanh", "erf", "jump", "user", "mixed", "one layer", "no bias", "resnet, skip 0.7"),
    *("residual at inputs", "residual nested", "mean subtraction", "batch norm", "batch norm, general"),
    *("layer norm, general", "layer norm behind", "batch norm of outputs, general", "layer norm of outputs"),
    *("norms mixed", "resnet, layer norm", "resnet, batch norm", "normalised stem", "batch norm of inputs"),
)


def without_edge(name: str) -> dict[str, Any]:
    """Data for which the edge is not computed."""
    return {"q0": [1.2]} if name in EDGE else {}


for _name in NETWORKS:
    add("theory", f"order_parameters: {_name}", of_network, mfdnn.order_parameters, _name, n_samples=40)
    add(
        "theory",
        f"fisher_statistics: {_name}",
        of_network,
        mfdnn.fisher_statistics,
        _name,
        40,
        **without_edge(_name),
    )
COUPLED = {
    "batch norm",
    "batch norm, general",
    "batch norm of outputs, general",
    "norms mixed",
    "resnet, batch norm",
}
for _name in PER_INPUT:
    _kind = "duplicates" if _name in COUPLED else "theory"
    add(_kind, f"order_parameters of inputs: {_name}", of_inputs, mfdnn.order_parameters, _name)
    add(_kind, f"fisher_statistics of inputs: {_name}", of_inputs, mfdnn.fisher_statistics, _name)

for _name in ("mixed", "layer norm, general", "resnet, skip 0.7"):
    for _function in (mfdnn.order_parameters, mfdnn.fisher_statistics):
        add(
            "theory",
            f"{_function.__name__}, q0 and c0: {_name}",
            of_network,
            _function,
            _name,
            n_samples=20,
            q0=[[0.5], [1.5]],
            c0=[0.0, 0.3, 0.9],
        )
add("theory", "fisher_statistics, one sample: tanh", of_network, mfdnn.fisher_statistics, "tanh", 1)
add("theory", "fisher_statistics, many samples: mixed", of_network, mfdnn.fisher_statistics, "mixed", 100_000)
add("theory", "fisher_statistics, default samples: gelu", of_network, mfdnn.fisher_statistics, "gelu")
add("theory", "fisher_statistics, zero inputs: tanh", of_network, mfdnn.fisher_statistics, "tanh", 10, q0=0.0)
add(
    "theory", "fisher_statistics, equal inputs: relu", of_network, mfdnn.fisher_statistics, "relu", 10, c0=1.0
)
add("theory", "fisher_statistics, one input: tanh", of_inputs, mfdnn.fisher_statistics, "tanh", 1)
add("theory", "order_parameters, one input: mixed", of_inputs, mfdnn.order_parameters, "mixed", 1)
add("theory", "fisher_statistics, sixty inputs: tanh", of_inputs, mfdnn.fisher_statistics, "tanh", 60)
# So many that the largest eigenvalue is found by iteration.
add("lanczos", "fisher_statistics, many inputs: erf", of_inputs, mfdnn.fisher_statistics, "erf", 520)
add(
    "lanczos",
    "softmax, many samples: tanh",
    of_network,
    mfdnn.fisher_statistics,
    "tanh",
    200,
    output="softmax",
)
add(
    "root",
    "edge: mean subtraction of outputs",
    of_network,
    mfdnn.fisher_statistics,
    "mean subtraction of outputs",
    60,
)
add("root", "edge: batch norm of outputs", of_network, mfdnn.fisher_statistics, "batch norm of outputs", 60)

for _name in (
    "tanh",
    "gelu",
    "mixed",
    "resnet",
    "batch norm",
    "layer norm",
    "orthogonal",
    "layer norm of outputs",
):
    add("softmax", f"softmax: {_name}", of_network, mfdnn.fisher_statistics, _name, 24, output="softmax")
add("softmax", "softmax of inputs: tanh", of_inputs, mfdnn.fisher_statistics, "tanh", 20, output="softmax")
add(
    "softmax",
    "softmax_statistics of logits: tanh",
    lambda: mfdnn.softmax_statistics(
        mfdnn.fisher_statistics(network("tanh"), 24), logits=np.random.default_rng(1).standard_normal((24, 3))
    ),
)
for _name in (
    *(
        "relu",
        "tanh",
        "erf",
        "user",
        "mixed",
        "no bias",
        "resnet, skip 0.7",
        "residual at inputs",
        "one layer",
    ),
    *(
        "layer norm",
        "layer norm behind",
        "layer norm of outputs",
        "batch norm",
        "mean subtraction of outputs",
    ),
    *("resnet, layer norm", "layer norm, general"),
):
    add(
        "theory",
        f"feature and kernel: {_name}",
        lambda name: {
            "feature_statistics": of_network(mfdnn.feature_statistics, name, 30, q0=1.2),
            "fisher_rao_statistics": of_network(mfdnn.fisher_rao_statistics, name, 1.2),
            "ntk_statistics": of_network(mfdnn.ntk_statistics, name, 30, c0=0.2),
            "ntk_statistics, ntk": of_network(mfdnn.ntk_statistics, name, 30, c0=0.2, parameterisation="ntk"),
        },
        _name,
    )
for _name in ("relu", "tanh", "mixed", "residual nested", "layer norm, general", "layer norm behind"):
    add(
        "theory",
        f"feature and kernel of inputs: {_name}",
        lambda name: {
            "feature_statistics": of_inputs(mfdnn.feature_statistics, name),
            "fisher_rao_statistics": of_inputs(mfdnn.fisher_rao_statistics, name),
            "ntk_statistics": of_inputs(mfdnn.ntk_statistics, name),
            "ntk": attempt(mfdnn.ntk, network(name), rows(network(name))),
            "ntk, ntk": attempt(mfdnn.ntk, network(name), rows(network(name)), parameterisation="ntk"),
        },
        _name,
    )
add(
    "softmax",
    "feature_statistics, softmax: tanh",
    of_network,
    mfdnn.feature_statistics,
    "tanh",
    24,
    output="softmax",
)

APPROXIMATIONS = ("exact", "block_diagonal", "block_tridiagonal", "kfac", "kfac_unscaled")
for _name in ("tanh", "deep", "resnet", "mixed"):
    add(
        "theory",
        f"natural_gradient_rate: {_name}",
        lambda name: {
            kind: of_network(mfdnn.natural_gradient_rate, name, kind, 20) for kind in APPROXIMATIONS
        },
        _name,
    )
add(
    "theory",
    "natural_gradient_rate, a matrix: tanh",
    of_network,
    mfdnn.natural_gradient_rate,
    "tanh",
    np.eye(3) + 0.2 * np.ones((3, 3)),
)

OPTIMISERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "heavy ball": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
}


def rates(loss: str) -> Any:
    """The limits of one loss, with what is derived from them."""
    found = {}
    for name, options in OPTIMISERS.items():
        lr = mfdnn.max_learning_rate(network("tanh"), 30, loss=loss, **options)
        found[name] = {**plain(lr), "zone": lr.zone([0.0, 0.01, 0.1, 1.0, 100.0]).tolist()}
    return found


for _loss in ("half_mse", "mse_per_sample", "torch_mse", "torch_mse_sum", "cross_entropy"):
    add("softmax" if _loss == "cross_entropy" else "theory", f"max_learning_rate, {_loss}", rates, _loss)
add(
    "text",
    "table of learning rates",
    lambda: mfdnn.max_learning_rate(network("relu"), 30, weight_decay=0.01).table(),
)
for _name in ("relu", "gelu", "resnet", "batch norm", "layer norm of outputs", "one layer", "no bias"):
    add("theory", f"max_learning_rate: {_name}", of_network, mfdnn.max_learning_rate, _name, 25)
add(
    "root",
    "max_learning_rate, confidence: wide",
    lambda: mfdnn.max_learning_rate(wide("relu"), 100, confidence=0.9),
)
add(
    "theory",
    "max_learning_rate of inputs: mixed",
    of_inputs,
    mfdnn.max_learning_rate,
    "mixed",
    loss="torch_mse",
)


# -- finite width -----------------------------------------------------------------------------------------------


def wide(phi: Any, outputs: int = 1, **options: Any) -> Network:
    """Wide enough for the law of its outliers, for which width costs nothing."""
    return mlp([60, 200, 150, outputs], phi, 2.0, 0.2, **options)


def law(net: Network, *arguments: Any, **options: Any) -> Any:
    """The distribution, with its quantiles and draws; they come of two seeds and no BLAS."""
    found = mfdnn.outlier_distribution(net, *arguments, **options)
    return {
        **plain(found),
        "quantile": found.quantile([0.05, 0.5, 0.95]),
        "quantile of the mean": found.quantile(0.9, of="mean"),
        "sample": found.sample(3, rng=7),
    }


for _phi in ("relu", "tanh", "gelu"):
    add("theory", f"outlier_distribution: {_phi}", lambda phi: law(wide(phi), 100), _phi)
add("theory", "outlier_distribution, outputs: relu", lambda: law(wide("relu", 5), 100, 1.2, 0.1))
add("theory", "outlier_distribution, uniform weights: user", lambda: law(wide(mine, weights="uniform"), 100))
add(
    "theory",
    "outlier_distribution of inputs: relu",
    lambda: law(mlp([20, 200, 150, 2], "relu", 2.0, 0.2), inputs=inputs(40)),
)
add(
    "theory",
    "outlier_distribution, no outlier",
    lambda: refusal(lambda: law(mlp([60, 60, 1], "tanh", 1.5), 100)),
)
add("root", "width_for_spread: relu", lambda: mfdnn.width_for_spread(wide("relu"), 0.1, 100))
add("root", "width_for_spread: tanh", lambda: plain(mfdnn.width_for_spread(wide("tanh", 2), 0.2, 50)))
add(
    "theory",
    "spread_map: relu",
    lambda: mfdnn.spread_map("relu", 2.0, 0.1, depths=[2, 4], widths=[50, 200], n_samples=100),
)
add(
    "theory",
    "spread_map: tanh",
    lambda: mfdnn.spread_map("tanh", 1.2, 0.0, depths=[2, 3], widths=[50, 2000], n_samples=50, n_outputs=2),
)
for _norm in ("mean", "batch"):
    add(
        "root",
        f"centred_edge, {_norm}: tanh",
        lambda norm: attempt(mfdnn.centred_edge, mlp([60, 60, 1], "tanh", 2.0, 0.1), 60, norm=norm),
        _norm,
    )
add(
    "root",
    "centred_edge, correlated: relu",
    lambda: mfdnn.centred_edge(mlp([60, 80, 2], "relu", 2.0, 0.1), 50, 1.3, 0.2),
)


def conditional_moments() -> Any:
    """`mfdnn.gaussian.conditional` of a kinked function."""
    from mfdnn.gaussian import conditional

    one = conditional("relu", 1.5, 0.6)
    return {
        "moments": [one.average(one.moment(*powers)) for powers in ((2,), (4,), (1, 1), (0, 2))],
        "product": one.product(0, 0),
    }


def traces(name: str) -> Any:
    """`mfdnn.finite_width.traces`, behind the predicted rows of a comparison."""
    from mfdnn.finite_width.traces import fisher_traces

    return attempt(fisher_traces, network(name), 30)


def band() -> Any:
    """`mfdnn.finite_width.band`, behind the band of a report."""
    from mfdnn.finite_width.band import outlier_band

    return [
        outlier_band(wide("relu"), 100),
        outlier_band(network("orthogonal"), 20),
        outlier_band(network("no bias")),
    ]


add("theory", "conditional: relu", conditional_moments)
for _name in ("relu", "mixed", "uniform", "resnet"):
    add("theory", f"fisher_traces: {_name}", traces, _name)
add("theory", "outlier_band", band)

# -- activations, Gaussian averages, phases -----------------------------------------------------------------------

POINTS = np.array([-2.0, -0.3, 0.1, 1.7])


def of_activation(phi: Any, **parameters: float) -> Any:
    """What is public of an activation but its pieces."""
    act = mfdnn.activation(phi, **parameters)
    return {
        "repr": repr(act),
        "kinks": act.kinks,
        "homogeneous": act.homogeneous,
        "slope": act.slope(POINTS),
        "curvature": act.curvature(POINTS),
    }


def averages(phi: Any) -> Any:
    """One-dimensional and two-dimensional Gaussian averages, with their error."""
    q, c = np.array([0.2, 1.0, 3.0]), np.array([-0.7, 0.0, 0.4, 0.999])
    value, error = mfdnn.expect_product(phi, 1.3, 0.4, q2=0.7, return_error=True)
    return {
        "expect": [mfdnn.expect(phi, q, derivative) for derivative in (0, 1, 2)],
        "expect_product": [
            mfdnn.expect_product(phi, q[:, None], c, derivative=derivative).ravel()[:12]
            for derivative in (0, 1)
        ],
        "two variances": value,
        "error is small": bool(error < 1e-9),
    }


PHIS: dict[str, Any] = {
    "relu": "relu",
    "tanh": "tanh",
    "erf": "erf",
    "gelu": "gelu",
    "silu": "silu",
    "user": mine,
}
for _label, _phi in PHIS.items():
    add("theory", f"expect: {_label}", averages, _phi)
    add("activation", f"activation: {_label}", of_activation, _phi)
add("theory", "expect: jump", lambda: [mfdnn.expect(jump, [0.5, 2.0], d) for d in (0, 1)])
add("activation", "activation: leaky_relu", of_activation, "leaky_relu", slope=0.2)
add("text", "activation_names", mfdnn.activation_names)
add(
    "theory",
    "expect: all names",
    lambda: {
        name: [mfdnn.expect(name, 0.8), mfdnn.expect_product(name, 0.8, 0.3)]
        for name in mfdnn.activation_names()
    },
)
add(
    "root",
    "variance_fixed_points: where they lead",
    lambda: (lambda found: [found.q, found.reached_from([0.1, 2.0, 9.0]), found.basin(0)])(
        mfdnn.variance_fixed_points("gelu", 2.2, 0.0)
    ),
)

CHAOS = ([0.5, 1.5, 2.0, 3.5], [0.0, 0.05, 0.64, 0.3])
for _label, _phi in PHIS.items():
    add("phase", f"fixed_point: {_label}", mfdnn.fixed_point, _phi, *CHAOS)
add("phase", "fixed_point: jump", mfdnn.fixed_point, jump, [0.5, 2.0], 0.1)
add("phase", "fixed_point, dropout: tanh", mfdnn.fixed_point, "tanh", [1.5, 3.0], 0.1, q0=2.0, keep_rate=0.9)
add(
    "phase",
    "phase_diagram: tanh",
    lambda: mfdnn.phase_diagram("tanh", np.linspace(0.5, 4, 6), np.array([0.0, 0.05, 0.3])),
)
add("phase", "phase_diagram: relu", lambda: mfdnn.phase_diagram("relu", [1.0, 2.0, 2.5], [0.0, 0.1], q0=0.5))
for _label in ("tanh", "relu", "gelu", "user"):
    add(
        "theory",
        f"depth: {_label}",
        lambda phi: {
            "trajectory": mfdnn.trajectory(phi, 1.8, 0.1, 6, q0=0.7, c0=0.3),
            "curve_geometry": attempt(mfdnn.curve_geometry, phi, 2.0, 0.1, 4, q0=0.8),
        },
        PHIS[_label],
    )
    add(
        "root",
        f"critical: {_label}",
        lambda phi: {
            "critical_line": attempt(mfdnn.critical_line, phi, [0.3, 1.0, 3.0]),
            "critical_line, sigma_b2": attempt(mfdnn.critical_line, phi, sigma_b2=0.05),
            "critical_sigma_w2": attempt(mfdnn.critical_sigma_w2, phi, [0.02, 0.1]),
            "critical_point": attempt(mfdnn.phase.critical_point, phi),
            "critical_point, q": attempt(mfdnn.phase.critical_point, phi, q=1.2),
            "universality_class": mfdnn.universality_class(phi),
            "variance_fixed_points": mfdnn.variance_fixed_points(phi, 1.9, 0.1),
        },
        PHIS[_label],
    )
add(
    "root",
    "correlation_decay",
    lambda: [
        mfdnn.correlation_decay(*setting)
        for setting in (("tanh", 1.2, 0.1), ("relu", 2.0, 0.0), ("tanh", 3.0, 0.05), ("gelu", 1.2, 0.1))
    ],
)
add(
    "theory",
    "maps",
    lambda: {
        "variance_map": mfdnn.variance_map("tanh", [0.1, 1.0, 4.0], 2.0, 0.1, keep_rate=0.8),
        "correlation_map": mfdnn.correlation_map("relu", [-0.5, 0.0, 0.9], 2.0, 0.1, q=1.4),
        "correlation_map at q*": mfdnn.correlation_map("tanh", [0.2, 1.0], 2.5, 0.1),
    },
)
for _label in ("relu", "tanh"):
    add(
        "root",
        f"batch_norm_fixed_point: {_label}",
        lambda phi: [
            mfdnn.batch_norm_fixed_point(phi),
            mfdnn.batch_norm_fixed_point(phi, 12),
            mfdnn.batch_norm_fixed_point(phi, 20, gamma=1.4, beta=0.3),
        ],
        _label,
    )

# -- sampled networks ---------------------------------------------------------------------------------------------


def bits(values: np.ndarray) -> dict[str, Any]:
    """All bits of an array, whatever the order of bytes in the machine."""
    digest = hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()
    return {"sha256": digest, "size": values.size, "first": [float(x).hex() for x in values.ravel()[:3]]}


def drawn(name: str, dtype: str) -> Any:
    """The parameters of the named network."""
    one = mfdnn.sample(network(name), rng=3, dtype=dtype)
    return bits(one.flatten(one.parameters))


def products(name: str) -> Any:
    """Outputs and products with the Jacobian."""
    one, X = sampled(name), rows(network(name), 8)
    rng = np.random.default_rng(0)
    v, u = rng.standard_normal(one.n_parameters), rng.standard_normal((8, one.network.n_outputs))
    return {"outputs": one(X), "jvp": one.jvp(X, v), "vjp": one.vjp(X, u)}


def spectrum(name: str, n_samples: int = 10, **options: Any) -> Any:
    """The Fisher information of the named network, drawn."""
    return attempt(mfdnn.fisher_spectrum, sampled(name), rows(network(name), n_samples), **options)


for _name in ("relu", "uniform", "pytorch", "no bias", "residual nested", "batch norm of outputs, general"):
    add("bits", f"drawn: {_name}", drawn, _name, "float64")
add("bits", "drawn in float32: tanh", drawn, "tanh", "float32")
add("products", "drawn: orthogonal", lambda: sampled("orthogonal").flatten(sampled("orthogonal").parameters))
add("bits", "gaussian_inputs", lambda: bits(mfdnn.datasets.gaussian_inputs(6, 5, 1.5, rng=2)))
add(
    "products",
    "gaussian_inputs, correlated",
    lambda: [mfdnn.datasets.gaussian_inputs(6, 5, 1.5, c0, rng=2) for c0 in (0.3, -0.1)],
)
DRAWN = (
    *(
        "relu",
        "tanh",
        "gelu",
        "mixed",
        "orthogonal",
        "resnet, skip 0.7",
        "residual at inputs",
        "residual nested",
    ),
    *(
        "mean subtraction behind",
        "batch norm, general",
        "batch norm behind",
        "batch norm of outputs, general",
    ),
    *(
        "layer norm, general",
        "layer norm of outputs",
        "norms mixed",
        "resnet, batch norm",
        "batch norm of inputs",
    ),
)
for _name in DRAWN:
    add("products", f"products: {_name}", products, _name)
    add("spectrum", f"fisher_spectrum: {_name}", spectrum, _name)
for _name in ("tanh", "batch norm", "layer norm behind"):
    add("spectrum", f"fisher_spectrum, softmax: {_name}", spectrum, _name, output="softmax")
    add("spectrum", f"fisher_spectrum, layer 1: {_name}", spectrum, _name, layer=1)
    add("spectrum", f"fisher_spectrum, ntk: {_name}", spectrum, _name, parameterisation="ntk")
add("lanczos", "fisher_spectrum, k = 3: tanh", spectrum, "tanh", 120, k=3)
add("lanczos", "fisher_spectrum, k = 2, softmax: tanh", spectrum, "tanh", 120, k=2, output="softmax")
add("lanczos", "fisher_spectrum, k = 2: batch norm", spectrum, "batch norm", 110, k=2)
add("angles", "fisher_spectrum, k = 1, eigenvectors: relu", spectrum, "relu", 310, k=1, eigenvectors=True)
for _name in ("tanh", "mixed", "layer norm of outputs", "batch norm of outputs, general"):
    add(
        "products",
        f"empirical_ntk: {_name}",
        lambda name: (
            {
                kind: attempt(
                    mfdnn.empirical_ntk, sampled(name), rows(network(name), 6), parameterisation=kind
                )
                for kind in ("standard", "ntk")
            }
            | {"layer 1": mfdnn.empirical_ntk(sampled(name), rows(network(name), 6), layer=1)}
        ),
        _name,
    )
    add(
        "spectrum",
        f"features drawn: {_name}",
        lambda name: {
            "feature_spectrum": attempt(mfdnn.feature_spectrum, sampled(name), rows(network(name), 10)),
            "softmax": attempt(
                mfdnn.feature_spectrum, sampled(name), rows(network(name), 10), output="softmax"
            ),
            "squared_fisher_rao_norm": attempt(
                mfdnn.squared_fisher_rao_norm, sampled(name), rows(network(name), 10)
            ),
        },
        _name,
    )


def both_ways() -> Any:
    """`ntk_from_fisher` and `fisher_from_ntk`: eigenvalues, and vectors by what no sign changes."""
    one, X = sampled("tanh"), inputs(6)
    found = mfdnn.fisher_spectrum(one, X, eigenvectors=True)
    mu, u = mfdnn.ntk_from_fisher(one, X, found.eigenvalues[:4], found.eigenvectors[:, :4])
    lam, v = mfdnn.fisher_from_ntk(one, X, mu, u)
    return {"ntk": mu, "fisher": lam, "outputs": np.abs(u), "parameters": np.abs(v)}


add("spectrum", "ntk_from_fisher and back", both_ways)
add(
    "products", "activity: mixed", lambda: [layer._asdict() for layer in sampled("mixed").activity(inputs(5))]
)

# -- ensembles, training, sweeps, reports ---------------------------------------------------------------------------

for _name in ("resnet", "batch norm", "mean subtraction of outputs"):
    add("simulation", f"compare: {_name}", lambda name: mfdnn.compare(network(name), 12, 4, rng=0), _name)
add("simulation", "ensemble: tanh", lambda: mfdnn.ensemble(network("tanh"), 10, 3, rng=1))
add(
    "simulation",
    "compare, softmax: tanh",
    lambda: mfdnn.compare(network("tanh"), 12, 4, rng=0, output="softmax"),
)
add(
    "simulation",
    "compare, geometry: gelu",
    lambda: mfdnn.compare(network("gelu"), 12, 4, rng=0, geometry=True),
)
add(
    "simulation",
    "compare of inputs: mixed",
    lambda: mfdnn.compare(network("mixed"), inputs=inputs(12), n_networks=4, rng=0),
)
add(
    "simulation",
    "ensemble, eigenvalues, geometry: user",
    lambda: mfdnn.ensemble(network("user"), 8, 3, q0=1.3, c0=0.2, rng=1, eigenvalues=True, geometry=True),
)
add(
    "single",
    "ensemble in float32: tanh",
    lambda: mfdnn.ensemble(network("tanh"), 10, 3, rng=1, dtype="float32"),
)


def trained(
    name: str, rate: float, loss: str = "half_mse", n_steps: int = 15, n_samples: int = 16, **options: Any
) -> Any:
    """A short run of the named network."""
    one, X = sampled(name), rows(network(name), n_samples)
    rng = np.random.default_rng(4)
    n_outputs = one.network.n_outputs
    Y = (
        rng.integers(n_outputs, size=n_samples)
        if loss == "cross_entropy"
        else rng.standard_normal((n_samples, n_outputs))
    )
    return mfdnn.train(one, X, Y, rate, n_steps, loss=loss, **options)


add("training", "train, small steps: tanh", trained, "tanh", 0.003, record_every=5)
add("training", "train, many samples: tanh", trained, "tanh", 0.003, n_samples=120, n_steps=4, record_every=2)
add("training", "train, large steps: relu", trained, "relu", 100.0)
add("training", "train, heavy ball: mixed", trained, "mixed", 0.002, momentum=0.9, weight_decay=0.01)
add("training", "train, Nesterov: layer norm", trained, "layer norm", 0.002, momentum=0.9, nesterov=True)
add("training", "train, batches: resnet", trained, "resnet", 0.002, batch_size=8, rng=1)
add("training", "train, cross-entropy: tanh", trained, "tanh", 0.02, "cross_entropy", record_every=5)
add("training", "train, torch_mse: batch norm", trained, "batch norm", 0.01, "torch_mse")
add("training", "train, torch_mse_sum: linear", trained, "linear", 0.0005, "torch_mse_sum")
add("training", "catapult_trajectory, falls", mfdnn.catapult_trajectory, 1.0, 2.0, 0.5, 6, 10)
add("training", "catapult_trajectory, catapults", mfdnn.catapult_trajectory, 0.5, 2.0, 1.5, 12, 20)
add("training", "catapult_trajectory, diverges", mfdnn.catapult_trajectory, 0.5, 2.0, 3.0, 8, 20)
add(
    "training",
    "learning_rate_map: tanh",
    lambda: mfdnn.learning_rate_map(
        lambda M: mlp([M, M, M, 1], "tanh", 3.0, 0.64),
        [16, 24],
        [0.01, 50.0],
        10,
        n_samples=10,
        n_trials=2,
        rng=0,
        dtype="float64",
    ),
)
add(
    "training",
    "learning_rate_map, cross-entropy: relu",
    lambda: mfdnn.learning_rate_map(
        mlp([10, 20, 20, 3], "relu", 2.0, 0.1),
        [16, 24],
        [0.01, 1e4],
        10,
        n_samples=10,
        loss="cross_entropy",
        n_trials=2,
        rng=0,
        dtype="float64",
    ),
)
add(
    "simulation",
    "sweep",
    lambda: (lambda found: {"status": found.status, "columns": found.columns(), "repr": repr(found)})(
        mfdnn.sweep(
            {
                **{"inputs": 10, "outputs": 2, "width": [12, 15], "depth": 3, "activation": ["tanh", "relu"]},
                **{"sigma_w2": 2.0, "sigma_b2": 0.1, "n_samples": 8, "seed": 1, "momentum": 0.5},
                "quantities": [
                    *("theory_mean", "theory_second_moment", "theory_lambda_max", "theory_learning_rate"),
                    *("q_fixed", "c_fixed", "chi_1", "mean", "second_moment", "lambda_max", "outlier_mean"),
                ],
            }
        )
    ),
)
add(
    "training",
    "sweep of training",
    lambda: mfdnn.sweep(
        {
            **{"inputs": 8, "outputs": 1, "width": 12, "depth": 3, "sigma_w2": 2.0, "n_samples": 6},
            **{"learning_rate": [0.01, 1000.0], "n_steps": 5},
            "quantities": ["initial_loss", "final_loss", "largest_loss", "grew", "diverged"],
        }
    ).columns(),
)


def of_report(name: str, **options: Any) -> Any:
    """What a report says, without what other lines of the catalogue have already."""
    found = mfdnn.report(network(name), 10, 3, rng=0, **options)
    names = (
        "learning_rate",
        "confident",
        "why_not_confident",
        "boundary",
        "warnings",
    )
    return {"inputs": found.inputs} | {name: getattr(found, name) for name in names}


add("simulation", "report: tanh", of_report, "tanh")
# Numbers of a few digits, which rounding does not reach.
add("text", "report, page: mixed", lambda: str(mfdnn.report(network("mixed"), 10, 3, rng=0)).splitlines())
add("text", "comparison, page: user", lambda: str(mfdnn.compare(network("user"), 10, 3, rng=0)).splitlines())
add("simulation", "report, cross-entropy: batch norm", of_report, "batch norm", loss="cross_entropy")


def command(*words: str) -> Any:
    """What the command line writes with --json."""
    from mfdnn import cli

    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = cli.main([*words, "--json"])
    return {"code": code, **json.loads(out.getvalue())}


SMALL = ("20-24-24-2", "--samples", "12")
COMMANDS: dict[str, tuple[str, ...]] = {
    "order-parameters": (*SMALL, "--activation", "tanh", "--sigma-w2", "1.5", "--sigma-b2", "0.1"),
    "fisher": (*SMALL, "--init", "he", "--norm", "layer_norm", "--norm-at", "after"),
    "learning-rate": (*SMALL, "--loss", "torch_mse", "--momentum", "0.9"),
    "critical-line": ("--activation", "tanh", "--sigma-b2", "0.01,0.1"),
    "phase-diagram": ("--activation", "relu", "--sigma-w2", "1:3:3", "--sigma-b2", "0,0.1"),
}
KINDS = {"critical-line": "root", "phase-diagram": "phase"}
for _verb, _words in COMMANDS.items():
    add(KINDS.get(_verb, "theory"), f"mfdnn {_verb}", command, _verb, *_words)


# -- descriptions ----------------------------------------------------------------------------------------------------


def description(net: Network) -> Any:
    """What a network says of itself."""
    return {
        "repr": repr(net),
        "widths": " ".join(map(str, net.widths)),
        "n_parameters": net.n_parameters,
        "couples_samples": net.couples_samples,
        "last": repr(net.layers[-1]),
    }


add("text", "networks", lambda: {name: description(network(name)) for name in NETWORKS})
add(
    "text",
    "representations",
    lambda: [
        repr(item)
        for item in (
            mfdnn.fixed_point("tanh", 3.0, 0.64),
            mfdnn.fisher_statistics(network("tanh"), 40),
            mfdnn.max_learning_rate(network("tanh"), 40, loss="torch_mse", momentum=0.9),
            mfdnn.correlation_decay("relu", 2.0, 0.0),
            mfdnn.batch_norm_fixed_point("relu"),
            mfdnn.natural_gradient_rate(network("tanh"), "kfac", 20),
            mfdnn.order_parameters(network("tanh")),
            sampled("tanh"),
        )
    ],
)


def losses() -> Any:
    """`mfdnn.learning_rate` and `mfdnn.training` by their small functions."""
    from mfdnn.learning_rate import LOSSES, loss_scale, stability_limit
    from mfdnn.losses.probabilities import softmax, softmax_coefficients
    from mfdnn.training import loss_and_slope

    f = np.random.default_rng(0).standard_normal((5, 3))
    return {
        "loss_scale": {loss: loss_scale(loss, 3, 20) for loss in LOSSES},
        "stability_limit": [stability_limit(2.0), stability_limit(2.0, 0.9), stability_limit(2.0, 0.9, True)],
        "softmax": softmax(f),
        "softmax_coefficients": softmax_coefficients(f),
        "loss_and_slope": {
            loss: loss_and_slope(loss, f, np.eye(3)[[0, 1, 2, 0, 1]])
            for loss in LOSSES
            if loss != "cross_entropy"
        },
    }


add("theory", "losses and softmax", losses)

# -- what is refused -------------------------------------------------------------------------------------------------

REFUSED: dict[str, Callable[[], Any]] = {
    "not a layer": lambda: Network(20, ["relu"]),
    "no weight layer": lambda: Network(20, [Pointwise("relu")]),
    "an unknown activation": lambda: mlp([20, 20, 1], "rellu"),
    "an unknown parameter": lambda: mfdnn.activation("leaky_relu", slant=0.2),
    "a negative variance": lambda: mlp([20, 20, 1], sigma_w2=-1.0),
    "init and sigma_w2": lambda: mlp([20, 20, 1], sigma_w2=1.0, init="he"),
    "one width": lambda: mlp([20]),
    "a bias variance without bias": lambda: Dense(20, 1.0, 0.1, bias=False),
    "unknown weights": lambda: Dense(20, weights="sparse"),
    "a block that changes the width": lambda: Network(20, [Dense(20), Residual([Dense(21)])]),
    "a block without weights": lambda: Residual([Pointwise("relu")]),
    "layer norm of two units": lambda: Network(20, [Dense(2), LayerNorm()]),
    "a negative eps": lambda: BatchNorm(eps=-1.0),
    "outputs that are not linear": lambda: mfdnn.order_parameters(
        Network(20, [Dense(20), Pointwise("relu")])
    ),
    "an activation of random inputs": lambda: mfdnn.order_parameters(Network(20, [Pointwise("relu"), Dense(1)])),
    "no network": lambda: mfdnn.fisher_statistics([20, 20, 1], 10),
    "inputs of another width": lambda: mfdnn.order_parameters(network("relu"), inputs=inputs(5, 7)),
    "inputs and q0": lambda: mfdnn.fisher_statistics(network("relu"), 5, 1.0, inputs=inputs(5)),
    "another number of samples": lambda: mfdnn.fisher_statistics(network("relu"), 6, inputs=inputs(5)),
    "no correlation": lambda: mfdnn.order_parameters(network("relu"), 1.0, 1.5),
    "a correlation that many samples cannot have": lambda: mfdnn.fisher_statistics(
        network("relu"), 10, c0=-0.5
    ),
    "q0 and c0 of different shapes": lambda: mfdnn.order_parameters(
        network("relu"), [1.0, 2.0], [0.1, 0.2, 0.3]
    ),
    "overflow": lambda: mfdnn.order_parameters(mlp([20, *[20] * 30, 1], "relu", 1e300)),
    "no samples": lambda: mfdnn.fisher_statistics(network("relu"), 0),
    "batch norm of three samples": lambda: mfdnn.fisher_statistics(network("batch norm"), 3),
    "batch norm of infinitely many images": lambda: mfdnn.order_parameters(
        Network((2, 3), [mfdnn.Conv(4), BatchNorm(), mfdnn.GlobalAveragePool(), Dense(1)])
    ),
    "two normalisations of outputs": lambda: mfdnn.fisher_statistics(
        chain(last=[MeanSubtraction(), BatchNorm()]), 20
    ),
    "softmax behind batch norm": lambda: mfdnn.fisher_statistics(
        network("batch norm of outputs"), 20, output="softmax"
    ),
    "softmax behind layer norm": lambda: mfdnn.softmax_statistics(
        mfdnn.fisher_statistics(network("layer norm of outputs"), 20)
    ),
    "softmax of one output": lambda: mfdnn.fisher_statistics(network("relu"), 20, output="softmax"),
    "an unknown output": lambda: mfdnn.fisher_statistics(network("relu"), 20, output="sigmoid"),
    "the law of orthogonal weights": lambda: mfdnn.outlier_distribution(network("orthogonal"), 20),
    "the law of a normalised output": lambda: mfdnn.outlier_distribution(
        Network(20, [Dense(20), Pointwise("relu"), Dense(3), LayerNorm()]), 20
    ),
    "the law of one layer": lambda: mfdnn.outlier_distribution(network("one layer"), 20),
    "a confidence of one": lambda: mfdnn.max_learning_rate(network("relu"), 20, confidence=1.0),
    "cross-entropy of one output": lambda: mfdnn.max_learning_rate(network("relu"), 20, loss="cross_entropy"),
    "a momentum of one": lambda: mfdnn.max_learning_rate(network("relu"), 20, momentum=1.0),
    "an unknown loss": lambda: mfdnn.max_learning_rate(network("relu"), 20, loss="hinge"),
    "a spread of nothing": lambda: mfdnn.width_for_spread(network("relu"), 0.0, 20),
    "the edge of a residual network": lambda: mfdnn.centred_edge(network("resnet"), 20),
    "the kernel of trained gains": lambda: mfdnn.ntk(
        network("layer norm"), inputs(5), parameterisation="ntk"
    ),
    "the kernel behind layer norm": lambda: mfdnn.ntk_statistics(network("layer norm of outputs"), 20),
    "an unknown parameterisation": lambda: mfdnn.ntk(network("relu"), inputs(5), parameterisation="mup"),
    "features of batch norm": lambda: mfdnn.feature_statistics(network("batch norm of outputs"), 20),
    "the norm of a normalised network": lambda: mfdnn.fisher_rao_statistics(network("batch norm")),
    "an unknown approximation": lambda: mfdnn.natural_gradient_rate(network("tanh"), "diagonal"),
    "a jump in batch norm": lambda: mfdnn.batch_norm_fixed_point("step"),
    "a layer that is not there": lambda: spectrum_of("tanh", layer=9),
    "more eigenvalues than there are": lambda: spectrum_of("tanh", k=1000),
    "a network that is not drawn": lambda: mfdnn.fisher_spectrum(network("tanh"), inputs(5)),
    "features of coupled samples": lambda: mfdnn.feature_spectrum(sampled("batch norm"), inputs(5)),
    "batch norm of two drawn samples": lambda: sampled("batch norm")(inputs(2)),
    "an ensemble of softmax of one output": lambda: mfdnn.ensemble(network("relu"), 5, 2, output="softmax"),
    "geometry of coupled samples": lambda: mfdnn.ensemble(network("batch norm"), 8, 2, geometry=True),
    "a comparison of theory that is not there": lambda: mfdnn.compare(
        Network(20, [Pointwise("relu"), Dense(1)]), 10, 2, rng=0
    ),
    "a learning rate of nothing": lambda: trained("tanh", 0.0),
    "a sweep of an unknown key": lambda: mfdnn.sweep({"breadth": 3}),
    "a sweep without quantities": lambda: mfdnn.sweep({"width": 3}),
    "no critical network": lambda: mfdnn.critical_sigma_w2("linear", 0.5),
    "a derivative of third order": lambda: mfdnn.expect("relu", 1.0, derivative=3),
    "a negative variance of an average": lambda: mfdnn.expect("relu", -1.0),
    "gaussian inputs of an impossible correlation": lambda: mfdnn.datasets.gaussian_inputs(10, 20, c0=-0.5),
}


def spectrum_of(name: str, **options: Any) -> Any:
    """`fisher_spectrum` itself, which may refuse."""
    return mfdnn.fisher_spectrum(sampled(name), rows(network(name), 6), **options)


add("text", "refused", lambda: {name: refusal(function) for name, function in REFUSED.items()})

r"""Variances of a weight layer: read from its values, or those of its class.

The second moment of n values about zero has the relative standard error :math:`\sqrt{(\kappa - 1)/n}`, :math:`\kappa`
their kurtosis (1.8 of uniform numbers, 3 of normal ones): of many weights it is the variance that they were drawn with,
of few, and of biases, a known initialisation within four such errors is nearer to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np

from ..._support.validation import short, variance
from .._torch import torch
from .recording import Derived, refused

__all__ = ["Weights", "checked_variances", "largest_over_edge", "read_variances"]

SURE = 1000  # weights from which their own second moment is taken
ERRORS = 4  # standard errors within which a known initialisation is recognised
FEW = 16  # weights a unit, or units, below which central limits are far
ORTHOGONAL = 1e-3  # of W W^T off its diagonal
LARGE = 4096  # the smaller side up to which that product is formed
TRAINED = 1.1  # largest singular value over that of random weights


@dataclass(frozen=True)
class Weights:
    """One weight layer of a module: where it is, and what it was drawn with.

    Attributes
    ----------
    name : str
        Path of the module that holds the weights.
    parameters : tuple of int
        Identities of weight and bias.
    values : tensor (units, ...)
    sigma_w2, sigma_b2 : float
        As theory takes them.
    read : tuple of float
        The same as the values have them.
    weights : str
        "gaussian", "uniform", "orthogonal" or "delta_orthogonal".
    scheme : str
        The known initialisation that it is within errors, or "".
    cautions : tuple of str
    """

    name: str
    parameters: tuple[int, ...]
    values: Any
    sigma_w2: float
    sigma_b2: float
    read: tuple[float, float]
    weights: str
    scheme: str
    cautions: tuple[str, ...]


def checked_variances(given: Any) -> Any:
    """"weights", "defaults", or a dict of pairs."""
    if isinstance(given, Mapping):
        return {str(name): _pair(name, value) for name, value in given.items()}
    if given not in ("weights", "defaults"):
        raise ValueError(
            f"`variances` must be 'weights', 'defaults' or a dict of module paths to (sigma_w2, sigma_b2), got "
            f"{short(given)}; pass one of them."
        )
    return given


def _pair(name: Any, value: Any) -> tuple[float, float]:
    try:
        w2, b2 = value
    except (TypeError, ValueError):
        raise ValueError(
            f"`variances` must give (sigma_w2, sigma_b2) for each path, got {short(value)} for {name!r}; pass a pair."
        ) from None
    return variance("sigma_w2", w2), variance("sigma_b2", b2)


def read_variances(
    module: Any, name: str, what: str, weight: Derived, bias: Derived | None, values: Any, given: Any
) -> Weights:
    """What theory takes of a weight layer.

    Parameters
    ----------
    module : torch.nn.Module
    name, what : str
        Path of the layer, and the function that uses it.
    weight, bias : Derived
    values : tensor (units, channels that enter, *taps)
    given : "weights", "defaults" or dict
    """
    parameters = weight.parameters + (bias.parameters if bias is not None else ())
    n_units, fan_in = len(values), prod(values.shape[1:])
    own = None if bias is None else bias.value.detach()
    default = _default(module, name, fan_in)
    if given == "defaults" or (isinstance(given, dict) and name in given):
        if isinstance(given, dict):
            w2, b2 = given[name]
            scheme = "given"
        elif default is None:
            reason = "there is no default of weights that no Linear or Conv holds; pass variances={...}"
            raise refused(name, what, reason)
        else:
            w2, b2 = default
            scheme = "PyTorch's default"
        b2 = b2 if own is not None else 0.0
        law = "uniform" if given == "defaults" else "gaussian"
        return Weights(name, parameters, values, w2, b2, (w2, b2), law, scheme, ())
    w = values.detach().double().reshape(n_units, fan_in)
    cautions: list[str] = []
    law, w2, scheme = _law(name, what, values, w)
    if fan_in < FEW:
        few = f"`{name}` reads {fan_in} numbers a unit: it is Gaussian for wide layers, and not quite so here"
        cautions.append(few)
    recognised = _recognised(w2, w, law, values, own, default)
    taken = w2
    if recognised is not None:
        scheme, near = recognised
        taken = near if w.numel() < SURE else w2
    if law == "random":
        kurtosis = _kurtosis(w)
        law = "uniform" if kurtosis < 2.4 else "gaussian"
    b2_read, b2 = _bias_variance(name, what, own, fan_in)
    if law in ("gaussian", "uniform") and (ratio := largest_over_edge(w)) > TRAINED:
        cautions.append(
            f"weights of `{name}` may be trained, as their largest singular value is {ratio:.2g} times that of random "
            "ones; theory is of a fresh draw with the variances of now"
        )
    return Weights(name, parameters, values, taken, b2, (w2, b2_read), law, scheme, tuple(cautions))


def _default(module: Any, name: str, fan_in: int) -> tuple[float, float] | None:
    try:
        owner = module.get_submodule(name)
    except AttributeError:
        return None
    known = isinstance(owner, torch.nn.Linear | torch.nn.modules.conv._ConvNd)
    return (1 / 3, 1 / (3 * fan_in)) if known else None


def _kurtosis(w: Any) -> float:
    square = w.square()
    return float(square.square().mean() / square.mean().square())


def _law(name: str, what: str, values: Any, w: Any) -> tuple[str, float, str]:
    """Law and variance of the values; `NoTheory` for what is not random."""
    fan_in = w.shape[1]
    if not bool(w.any()):
        return "gaussian", 0.0, "zero"
    if bool((w == w.flatten()[0]).all()):
        value = float(w.flatten()[0])
        raise refused(name, what, f"all its weights are {value:.3g}, which is no random draw; re-initialise it")
    if values.ndim > 2:
        centre = tuple((k - 1) // 2 for k in values.shape[2:])
        tap = values.detach().double()[(slice(None), slice(None), *centre)]
        if prod(values.shape[2:]) > 1 and int(tap.count_nonzero()) == int(w.count_nonzero()):
            if not _orthogonal(tap):
                reason = "only its centre tap is not 0 and it is no orthogonal matrix; re-initialise it"
                raise refused(name, what, reason)
            return "delta_orthogonal", float(tap.square().mean()) * tap.shape[1], "delta-orthogonal"
    kurtosis = _kurtosis(w)
    if (kurtosis - 3) / fan_in > 0.5:
        raise refused(
            name,
            what,
            f"few of its weights are large (kurtosis {kurtosis:.3g} at fan-in {fan_in}): their sums are not Gaussian; "
            "re-initialise it",
        )
    mean, n = float(w.mean()), w.numel()
    second = float(w.square().mean())
    z = mean / sqrt(max(second - mean**2, 1e-300) / n)
    if abs(z) > 6 and mean**2 * fan_in > 0.02 * second:
        raise refused(
            name,
            what,
            f"its weights have the mean {mean:.3g} (z = {z:.0f}), and theory is of mean 0: trained, or drawn so",
        )
    if _orthogonal(w):
        return "orthogonal", second * fan_in, "orthogonal"
    return "random", second * fan_in, ""


def _orthogonal(w: Any) -> bool:
    small = w if w.shape[0] <= w.shape[1] else w.mT
    if not 1 < small.shape[0] <= LARGE:
        return False
    gram = small @ small.mT
    scale = float(gram.diagonal().mean())
    gram.diagonal().sub_(scale)
    return float(gram.abs().max()) < ORTHOGONAL * scale


def _recognised(
    w2: float, w: Any, law: str, values: Any, bias: Any, default: tuple[float, float] | None
) -> tuple[str, float] | None:
    """Name and variance of the known initialisation that it is within errors."""
    if law != "random":
        return None
    fan_in, fan_out = w.shape[1], len(w) * prod(values.shape[2:])
    uniform = _kurtosis(w) < 2.4
    known = {
        "PyTorch's default": 1 / 3,
        "He's (fan_in)": 2.0,
        "LeCun's": 1.0,
        "Glorot's": 2 * fan_in / (fan_in + fan_out),
        "He's (fan_out)": 2 * fan_in / fan_out,
    }
    if default is None or not uniform:
        known.pop("PyTorch's default")
    error = sqrt(((1.8 if uniform else 3.0) - 1) / w.numel())
    name = min(known, key=lambda key: abs(np.log(w2 / known[key])))
    return (name, known[name]) if abs(w2 / known[name] - 1) < ERRORS * error else None


def _bias_variance(name: str, what: str, bias: Any, fan_in: int) -> tuple[float, float]:
    """The second moment of the biases, and the variance that is taken for it."""
    if bias is None or not bool(bias.any()):
        return 0.0, 0.0
    b = bias.double().flatten()
    read, n = float(b.square().mean()), b.numel()
    mean, known = float(b.mean()), 1 / (3 * fan_in)
    if bool((b == b[0]).all()) and n > 1:
        raise refused(name, what, f"all its biases are {float(b[0]):.3g}, and theory is of biases of mean 0")
    z = mean / sqrt(max(read - mean**2, 1e-300) / n)
    if abs(z) > 6 and n >= 2 * FEW:  # of fewer the spread itself is uncertain
        raise refused(name, what, f"its biases have the mean {mean:.3g} (z = {z:.0f}), and theory is of mean 0")
    near = abs(read / known - 1) < ERRORS * sqrt(0.8 / n) and float(b.abs().max()) <= sqrt(3 * known) * (1 + 1e-6)
    return read, known if near else read


def largest_over_edge(w: Any) -> float:
    """Largest singular value over that of independent entries of that variance.

    By twenty products: it is never overestimated. Below 32 rows or columns 0, as random ones scatter there.
    """
    rows, columns = w.shape
    if min(rows, columns) < 32:
        return 0.0
    generator = torch.Generator().manual_seed(0)  # the answer does not depend on it
    v = torch.randn(columns, generator=generator, dtype=torch.float64).to(w)
    size = 0.0
    for _ in range(20):
        v = w.mT @ (w @ (v / v.norm()))
        size = float(v.norm()) ** 0.5
    return size / (float(w.square().mean()) ** 0.5 * (sqrt(rows) + sqrt(columns)))

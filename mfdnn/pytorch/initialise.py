"""Fresh weights for a module, by a scheme of this package or of the field."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import one_of
from ..activations import Activation
from ..jacobian import isometric_init
from ..phase import critical_point
from ._torch import torch
from .reader import ModuleNetwork, read
from .reading import selector, unwrapped

__all__ = ["SCHEMES", "initialise_"]

SCHEMES = ("he", "lecun", "glorot", "pytorch", "mup", "critical", "isometric")
READ = ("critical", "isometric")  # need to know which activation each layer reads
RELATIVE_VARIANCE = 0.25  # of the squared singular values, of "isometric" by default


def initialise_(
    module: Any, scheme: str, X: Any = None, *, rng: Any = None, spread: float = RELATIVE_VARIANCE, select: Any = None
) -> dict[str, tuple[float, float]]:
    r"""Draw the weights of a module anew, in place.

    Every `Linear` and `Conv` gets weights of variance :math:`\sigma_w^2`/fan_in and biases of variance
    :math:`\sigma_b^2`; normalisations get gains of 1, offsets of 0 and no memory of batches.

    ==============  =========================================================================================
    `scheme`        (:math:`\sigma_w^2`, :math:`\sigma_b^2`)
    ==============  =========================================================================================
    ``he``          (2, 0), for relu
    ``lecun``       (1, 0)
    ``glorot``      (2 fan_in/(fan_in + fan_out), 0)
    ``pytorch``     (1/3, 1/(3 fan_in)), uniform: what `torch.nn` draws
    ``mup``         (2, 0), the last layer (2/fan_in, 0), whose outputs begin small
    ``critical``    `mfdnn.critical_point` of the activation that the layer reads: gradients keep their size
    ``isometric``   `mfdnn.jacobian.isometric_init`: orthogonal matrices, delta-orthogonal convolutions
    ==============  =========================================================================================

    Parameters
    ----------
    module : torch.nn.Module
        Its weights are overwritten; nothing else changes.
    scheme : str
    X : Tensor or what the module takes, optional
        A batch, for ``critical`` and ``isometric``, which read the module (`network`), and for ``mup``, which asks
        which layer is the last; without it that is the last one of ``module.modules()``.
    rng : optional
        What `numpy.random.default_rng` takes. Default: torch's own generator decides, as in torch.nn.init.
    spread : float
        Of ``isometric``: the variance of the squared singular values of the input-output Jacobian, over their mean.
    select : callable, int or str, optional
        As in `operator`, for reading the module.

    Returns
    -------
    dict of str to (float, float)
        Path of each layer that was drawn to its variances. What is not in it kept its weights, as recurrent layers and
        attention do.

    Raises
    ------
    TypeError, ValueError
        Another scheme; no `X` where it is needed; a module without such layers.
    NoTheory
        The module cannot be read, or its activation has no such point (for relu no variance is isometric).

    Notes
    -----
    ``mup`` is the initialisation alone: its learning rates differ by layer too. With Adam and width n they are 1/n of
    the base rate for hidden and last weights, and the base rate for what the inputs enter (Yang et al. 2022).

    Examples
    --------
    >>> import torch
    >>> import mfdnn.pytorch as mp
    >>> module = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.Tanh(), torch.nn.Linear(64, 3))
    >>> {path: (round(w2, 2), b2) for path, (w2, b2) in mp.initialise_(module, "critical", torch.randn(5, 20)).items()}
    {'0': (1.76, 0.05), '2': (1.76, 0.05)}

    References
    ----------
    Schoenholz et al. 2017, arXiv:1611.01232. Pennington, Schoenholz & Ganguli 2018, arXiv:1802.09979. Yang et al.
    2022, "Tensor Programs V", arXiv:2203.03466.
    """
    one_of("scheme", scheme, SCHEMES)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module, got {type(module).__name__}; pass the network itself.")
    module = unwrapped(module)
    layers = dict(_layers(module))
    if not layers:
        raise ValueError("`module` has no Linear and no Conv layer, so nothing is drawn; initialise it yourself.")
    if X is None and scheme in READ:
        raise ValueError(f"`X` is needed for scheme {scheme!r}, which asks what each layer reads; pass a batch.")
    found = _variances(module, layers, scheme, X, spread, select)
    found = {name: (w2, b2 if layers[name].bias is not None else 0.0) for name, (w2, b2) in found.items()}
    seed = int(torch.randint(2**62, ()).item()) if rng is None else rng
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, part in module.named_modules():
            if name in found:
                _draw(part, *found[name], scheme, generator)
            elif _normalises(part):
                part.reset_parameters()
    return found


def _layers(module: Any) -> Iterator[tuple[str, Any]]:
    kinds = torch.nn.Linear | torch.nn.modules.conv._ConvNd
    attention = [part for part in module.modules() if isinstance(part, torch.nn.MultiheadAttention)]
    inside = {id(inner) for part in attention for inner in part.modules()}
    for name, part in module.named_modules():
        if isinstance(part, kinds) and id(part) not in inside and part.weight is not None:
            yield name, part


def _normalises(part: Any) -> bool:
    kinds = [torch.nn.modules.batchnorm._NormBase, torch.nn.LayerNorm, torch.nn.GroupNorm]
    kinds += [torch.nn.RMSNorm] if hasattr(torch.nn, "RMSNorm") else []
    return isinstance(part, tuple(kinds))


def _fans(part: Any) -> tuple[int, int]:
    """Weights that a unit reads, and units that read a number."""
    taps = prod(part.weight.shape[2:])
    if getattr(part, "transposed", False):
        return part.weight.shape[0] * taps // part.groups, part.weight.shape[1] * taps
    return part.weight.shape[1] * taps, part.weight.shape[0] * taps


def _variances(
    module: Any, layers: dict[str, Any], scheme: str, X: Any, spread: float, select: Any
) -> dict[str, tuple[float, float]]:
    fans = {name: _fans(part) for name, part in layers.items()}
    if scheme in READ:
        return _of_activations(read(module, X, "defaults", selector(select), anew=True), scheme, spread, layers)
    if scheme == "mup":
        last = list(layers)[-1]
        if X is not None:
            last = read(module, X, "defaults", selector(select), anew=True).names[-1]
        return {name: (2.0 / (fan_in if name == last else 1), 0.0) for name, (fan_in, _) in fans.items()}
    if scheme == "glorot":
        return {name: (2 * fan_in / (fan_in + fan_out), 0.0) for name, (fan_in, fan_out) in fans.items()}
    if scheme == "pytorch":
        return {name: (1 / 3, 1 / (3 * fan_in)) for name, (fan_in, _) in fans.items()}
    return dict.fromkeys(layers, (2.0 if scheme == "he" else 1.0, 0.0))


def _of_activations(
    net: ModuleNetwork, scheme: str, spread: float, layers: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    """Variances by the activation in front of each weight layer, or the next one's."""
    depth = max(net.n_weight_layers, 1)
    points: dict[int, tuple[float, float]] = {}

    def point(act: Activation) -> tuple[float, float]:
        if id(act) not in points:
            if scheme == "critical":
                points[id(act)] = critical_point(act)
            else:
                init = isometric_init(act, depth, spread)
                points[id(act)] = init.sigma_w2, init.sigma_b2
        return points[id(act)]

    reads: list[Activation | None] = []
    act = None
    for layer, _ in net.walk():
        if layer.n_weight_layers and not layer.children:
            reads.append(act)
            act = None
        elif layer.activation is not None:
            act = layer.activation
    following = next((a for a in reads if a is not None), None)
    found: dict[str, tuple[float, float]] = {}
    for name, own in zip(reversed(net.names), reversed(reads), strict=True):
        following = own if own is not None else following
        w2, b2 = (1.0, 0.0) if following is None else point(following)
        if name not in layers:
            raise NoTheory(f"`{name}` is a parameter of its own and no Linear or Conv; write its weights yourself.")
        found[name] = w2, b2
    return dict(reversed(found.items()))


def _draw(part: Any, sigma_w2: float, sigma_b2: float, scheme: str, generator: np.random.Generator) -> None:
    fan_in, _ = _fans(part)
    shape = tuple(part.weight.shape)
    if scheme == "pytorch":
        w = sqrt(3 * sigma_w2 / fan_in) * generator.uniform(-1, 1, shape)
    elif scheme == "isometric":
        w = sqrt(sigma_w2) * _orthogonal(shape, generator)
    else:
        w = sqrt(sigma_w2 / fan_in) * generator.standard_normal(shape)
    part.weight.copy_(torch.from_numpy(w).to(part.weight))
    if part.bias is not None:
        b = generator.uniform(-sqrt(3), sqrt(3), len(part.bias)) if scheme == "pytorch" else None
        b = generator.standard_normal(len(part.bias)) if b is None else b
        part.bias.copy_(torch.from_numpy(sqrt(sigma_b2) * b).to(part.bias))


def _orthogonal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Rows, or columns, orthogonal, of entries of variance 1/fan_in.

    Of a convolution the centre tap alone.
    """
    rows, columns = shape[:2]
    q, r = np.linalg.qr(generator.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))
    tap = (q if rows >= columns else q.T) * sqrt(max(rows, columns) / columns)
    w = np.zeros(shape)
    centre: Any = (slice(None), slice(None), *((k - 1) // 2 for k in shape[2:]))
    w[centre] = tap
    return w

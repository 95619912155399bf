"""Which layer of this package an operation of PyTorch is: one entry each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from ... import layers as known
from .._torch import torch
from .recording import Derived, Node, Ref, mapped, refused
from .structure import Reading

__all__ = ["OPERATIONS"]


def _linear(read: Reading, node: Node) -> Any:
    return _dense(read, node, node.argument(1, "weight"), node.argument(2, "bias"), False)


def _matmul(read: Reading, node: Node) -> Any:
    second = node.argument(1, "other", node.argument(1, "mat2"))
    if not isinstance(second, Derived) or second.value.ndim != 2:
        return NotImplemented
    return _dense(read, node, second, None, True)


def _addmm(read: Reading, node: Node) -> Any:
    bias, weight = node.argument(0, "input"), node.argument(2, "mat2")
    if not isinstance(weight, Derived) or not isinstance(bias, Derived):
        return NotImplemented
    return _dense(read, node, weight, bias, True)


def _dense(read: Reading, node: Node, weight: Any, bias: Any, transposed: bool) -> Any:
    shape = read.tape.shape_of(read.entering(node))
    if len(shape) != 2:
        raise refused(
            node.path,
            node.name,
            f"it acts on the last axis of inputs of shape {shape[1:]}, and there is no layer with the channels last; "
            "flatten what enters, or put the channels first",
        )
    values = weight.value.mT if transposed else weight.value
    found = read.weigh(node, weight, bias, values)
    layer = known.Dense(len(values), found.sigma_w2, found.sigma_b2, found.weights, bias=bias is not None)
    return _weighed(read, layer, node, found)


def _add(read: Reading, node: Node) -> Any:
    """A bias behind a matrix; else something else."""
    bias = node.argument(1, "other")
    if len(node.parents) != 1 or not isinstance(bias, Derived) or not bias.plain or not bias.parameters:
        return NotImplemented
    before = node.parents[0]
    if before.node < 0 or (inner := read.tape.node(before)).name not in ("matmul", "mm", "linear"):
        return NotImplemented
    if bias.value.shape != node.shape[1:]:
        return NotImplemented
    weight = inner.argument(1, "weight", inner.argument(1, "other", inner.argument(1, "mat2")))
    if not isinstance(weight, Derived) or (inner.name == "linear" and inner.argument(2, "bias") is not None):
        return NotImplemented
    read.jump[node.index] = read.entering(inner)  # the sum and the product are one layer
    return _dense(read, inner, weight, bias, inner.name != "linear")


def _conv(read: Reading, node: Node) -> Any:
    weight, bias = node.argument(1, "weight"), node.argument(2, "bias")
    stride, padding, dilation = (node.argument(i, name, x) for i, name, x in (
        (3, "stride", 1), (4, "padding", 0), (5, "dilation", 1)
    ))  # fmt: skip
    groups = int(node.argument(6, "groups", 1))
    entering = read.entering(node)
    shape = read.tape.shape_of(entering)
    d = weight.value.ndim - 2
    if len(shape) != d + 2:
        raise refused(node.path, node.name, f"inputs of shape {shape} have no axis of samples; pass a batch")
    found = read.weigh(node, weight, bias, weight.value)
    kernel, dilations = tuple(weight.value.shape[2:]), _each(dilation, d)
    pads: list[tuple[int, int]]
    if isinstance(padding, str):
        spans = [a * (k - 1) if padding == "same" else 0 for a, k in zip(dilations, kernel, strict=True)]
        pads = [(span // 2, span - span // 2) for span in spans]
    else:
        pads = [(p, p) for p in _each(padding, d)]
    mode = "zeros"
    before = entering
    if entering.node >= 0 and read.tape.node(entering).name == "pad":
        inner = read.tape.node(entering)
        own = _padding(inner, d)
        if own is not None and (not any(map(any, pads)) or own[1] == "zeros"):
            pads = [(a + c, b + e) for (a, b), (c, e) in zip(pads, own[0], strict=True)]
            mode, before = own[1], read.entering(inner)
    layer = known.Conv(
        *(len(weight.value), kernel, found.sigma_w2, found.sigma_b2),
        stride=_each(stride, d),
        padding=tuple(pads),
        mode=mode,
        dilation=dilations,
        groups=groups,
        weights=found.weights,
        bias=bias is not None,
    )
    if before != entering:
        read.jump[node.index] = before
    channels = read.tape.shape_of(before)[1]
    if groups == channels > 1:
        read.cautions.append(f"`{found.name}` reads one channel a group, whose sums are not Gaussian")
    return _weighed(read, layer, node, found)


def _padding(node: Node, d: int) -> tuple[list[tuple[int, int]], str] | None:
    """Pairs for each axis and mode of a padding that a convolution can have."""
    pad, mode, value = node.argument(1, "pad"), node.argument(2, "mode", "constant"), node.argument(3, "value")
    modes = {"constant": "zeros", "circular": "circular", "reflect": "reflect"}
    if node.trouble or len(pad) > 2 * d or mode not in modes or (mode == "constant" and value):
        return None
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)]  # the last axis first
    pairs += [(0, 0)] * (d - len(pairs))
    return (pairs[::-1], modes[mode]) if min(map(min, pairs)) >= 0 else None


def _weighed(read: Reading, layer: Any, node: Node, found: Any) -> Any:
    read.weights[id(layer)] = found
    read.cautions += found.cautions
    read.where[id(layer)] = found.name
    try:
        layer.output_shape(read.tape.shape_of(read.jump.get(node.index, read.entering(node)))[1:])
    except ValueError as error:
        raise refused(found.name, node.name, str(error).rstrip(".")) from error
    return layer


def _each(value: Any, d: int) -> tuple[int, ...]:
    if isinstance(value, Sequence):
        return tuple(int(v) for v in value) if len(value) == d else (int(value[0]),) * d
    return (int(value),) * d


# -- normalisation ---------------------------------------------------------------------------------------------


def _gains(read: Reading, node: Node, weight: Any, bias: Any) -> tuple[float, float, bool]:
    """Gain, offset and whether they are trained."""
    found = []
    for part, plain in ((weight, 1.0), (bias, 0.0)):
        if part is None:
            found.append(plain)
            continue
        value = part.value.detach().double()
        if read.variances == "defaults":
            found.append(plain)
            continue
        if float(value.max() - value.min()) > 1e-6 * max(float(value.abs().max()), 1e-300):
            read.cautions.append(
                f"`{node.path}` has gains or offsets that differ, as training leaves them; their root mean square is "
                "taken"
            )
        found.append(float(value.square().mean()) ** 0.5 if plain else float(value.mean()))
    affine = weight is not None
    if affine != (bias is not None) and node.name not in ("rms_norm",):
        raise refused(node.path, node.name, "it has gains without offsets, or offsets without gains")
    return found[0], found[1], affine


def _batch_norm(read: Reading, node: Node) -> Any:
    names = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    mean, _, weight, bias, training, _, eps = (
        node.argument(i + 1, name, default)
        for i, (name, default) in enumerate(zip(names, (None, None, None, None, False, 0.1, 1e-5), strict=True))
    )
    if not training and mean is not None:
        raise refused(
            node.path,
            node.name,
            "it is in evaluation mode, where its statistics are those that it remembers; call module.train(), as in "
            "training",
        )
    _seen_batches(read, node)
    gamma, beta, affine = _gains(read, node, weight, bias)
    return read.fitting(known.BatchNorm(gamma, beta, float(eps), affine), node)


def _seen_batches(read: Reading, node: Node) -> None:
    try:
        counted = read.tape.module.get_submodule(node.path).num_batches_tracked
    except AttributeError:
        return
    if counted is not None and int(counted) > 0:
        read.batches[node.path] = int(counted)


def _layer_norm(read: Reading, node: Node) -> Any:
    shape = tuple(node.argument(1, "normalized_shape"))
    inputs = read.tape.shape_of(read.entering(node))
    if len(inputs) == 2:
        return read.fitting(_norm_of_channels(read, node), node)
    if shape == inputs[1:] and node.argument(2, "weight") is None:
        eps = float(node.argument(4, "eps", 1e-5))
        return read.fitting(known.GroupNorm(1, *_gains(read, node, None, None)[:2], eps, False), node)
    raise refused(
        node.path,
        node.name,
        f"it normalises {shape} of inputs {inputs[1:]}, and there are layers of all channels at a site (move them to "
        "the last axis and back), or of all channels and sites without gains (torch.nn.GroupNorm(1, channels) has "
        "gains)",
    )


def _rms_norm(read: Reading, node: Node) -> Any:
    inputs = read.tape.shape_of(read.entering(node))
    shape = tuple(node.argument(1, "normalized_shape"))
    if len(inputs) != 2 or shape != inputs[1:]:
        reason = (
            f"it normalises {shape} of inputs {inputs[1:]}, and its layer all channels at a site (move them to the "
            "last axis and back)"
        )
        raise refused(node.path, node.name, reason)
    return read.fitting(_norm_of_channels(read, node), node)


def _norm_of_channels(read: Reading, node: Node) -> Any:
    """The layer of a norm over the last axis."""
    rms = node.name == "rms_norm"
    weight, bias = node.argument(2, "weight"), None if rms else node.argument(3, "bias")
    gamma, beta, affine = _gains(read, node, weight, bias)
    if not rms:
        return known.LayerNorm(gamma, beta, float(node.argument(4, "eps", 1e-5)), affine)
    eps = node.argument(3, "eps")
    if eps is None:
        dtype = weight.value.dtype if weight is not None else torch.get_default_dtype()
        eps = torch.finfo(dtype).eps
    return known.RMSNorm(gamma, float(eps), affine)


def _moved(read: Reading, node: Node) -> Any:
    """Channels that were moved to the last axis, are normalised there, and move back."""
    nodes = [node]
    for _ in range(2):
        if (before := read.entering(nodes[-1])).node < 0:
            return NotImplemented
        nodes.append(read.tape.node(before))
    back, norm, away = nodes
    if norm.name not in ("layer_norm", "rms_norm") or len(norm.argument(1, "normalized_shape")) != 1:
        return NotImplemented
    orders, d = [_order(of) for of in (away, back)], len(node.shape)
    if d < 3 or orders != [(0, *range(2, d), 1), (0, d - 1, *range(1, d - 1))]:
        return NotImplemented
    layer, before = _norm_of_channels(read, norm), read.entering(away)
    try:
        layer.output_shape(read.tape.shape_of(before)[1:])
    except ValueError as error:
        raise refused(norm.path, norm.name, str(error).rstrip(".")) from error
    read.jump[node.index] = before  # the three are one layer
    return read.named(layer, norm)


def _order(node: Node) -> tuple[int, ...] | None:
    """Axes of what enters in the order of what leaves; None: no permutation."""
    if OPERATIONS.get(node.name) is not _moved or node.trouble:
        return None
    # As told by axes of lengths that differ.
    example = torch.empty(tuple(range(2, 2 + len(node.shape))), device="meta")
    args, kwargs = mapped((node.args, node.kwargs), lambda _: example, Ref)
    return tuple(n - 2 for n in node.function(*args, **kwargs).shape)


def _group_norm(read: Reading, node: Node) -> Any:
    gamma, beta, affine = _gains(read, node, node.argument(2, "weight"), node.argument(3, "bias"))
    groups, eps = int(node.argument(1, "num_groups")), float(node.argument(4, "eps", 1e-5))
    return read.fitting(known.GroupNorm(groups, gamma, beta, eps, affine), node)


def _instance_norm(read: Reading, node: Node) -> Any:
    weight, bias = node.argument(3, "weight"), node.argument(4, "bias")
    if not node.argument(5, "use_input_stats", True):
        return NotImplemented
    gamma, beta, affine = _gains(read, node, weight, bias)
    channels = read.tape.shape_of(read.entering(node))[1]
    return read.fitting(known.GroupNorm(channels, gamma, beta, float(node.argument(7, "eps", 1e-5)), affine), node)


# -- sites -----------------------------------------------------------------------------------------------------


def _average_pool(read: Reading, node: Node) -> Any:
    inputs = read.tape.shape_of(read.entering(node))
    d = len(inputs) - 2
    size = _each(node.argument(1, "kernel_size"), d)
    stride = node.argument(2, "stride")
    stride = size if stride is None or stride == [] else _each(stride, d)
    plain = not any(_each(node.argument(3, "padding", 0), d)) and not node.argument(4, "ceil_mode", False)
    if not plain or node.argument(6, "divisor_override") is not None:
        return NotImplemented
    return _pool(read, node, "AveragePool", size, stride)


def _max_pool(read: Reading, node: Node) -> Any:
    inputs = read.tape.shape_of(read.entering(node))
    d = len(inputs) - 2
    size = _each(node.argument(1, "kernel_size"), d)
    stride = node.argument(2, "stride")
    stride = size if stride is None or stride == [] else _each(stride, d)
    plain = not any(_each(node.argument(3, "padding", 0), d)) and set(_each(node.argument(4, "dilation", 1), d)) == {1}
    if not plain or node.argument(5, "ceil_mode", False):
        return NotImplemented
    return _pool(read, node, "MaxPool", size, stride)


def _pool(read: Reading, node: Node, name: str, size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """A pooling layer of this package, if there is one and it takes these windows."""
    sites = read.tape.shape_of(read.entering(node))[2:]
    if name == "AveragePool" and size == sites:
        return _whole(read, node)
    make = getattr(known, name, None)
    if make is None:
        return NotImplemented
    layer = make(size, stride)
    try:
        return read.fitting(layer, node)
    except ValueError:  # windows that leave sites out
        return NotImplemented


def _whole(read: Reading, node: Node) -> Any:
    """The mean over all sites, in the shape that PyTorch gives it."""
    sites = read.tape.shape_of(read.entering(node))[2:]
    if not sites:
        return None
    if len(node.shape) == 2:
        return read.fitting(known.GlobalAveragePool(), node)
    layer = known.AveragePool(sites)
    read.whole.add(id(layer))
    return read.fitting(layer, node)


def _adaptive_average(read: Reading, node: Node) -> Any:
    inputs = read.tape.shape_of(read.entering(node))
    sites, out = inputs[2:], node.shape[2:]
    if sites == out:
        return None
    if set(out) == {1}:
        return _whole(read, node)
    if any(n % m for n, m in zip(sites, out, strict=True)):
        return NotImplemented
    size = tuple(n // m for n, m in zip(sites, out, strict=True))
    return _pool(read, node, "AveragePool", size, size)


def _mean(read: Reading, node: Node) -> Any:
    inputs = read.tape.shape_of(read.entering(node))
    axes = node.argument(1, "dim")
    if axes is None:
        return NotImplemented
    axes = {axis % len(inputs) for axis in ([axes] if isinstance(axes, int) else axes)}
    return _whole(read, node) if axes == set(range(2, len(inputs))) and axes else NotImplemented


def _reshape(read: Reading, node: Node) -> Any:
    """What puts the sites of a sample side by side, or changes nothing."""
    before, after = read.tape.shape_of(read.entering(node)), node.shape
    if before == after:
        return None
    if after != (before[0], prod(before[1:])):
        if prod(before[1:]) == before[1] and after[:2] == before[:2]:
            return None  # axes of length 1
        return NotImplemented
    return read.fitting(known.Flatten(), node)


def _dropout(read: Reading, node: Node) -> Any:
    p, training = float(node.argument(1, "p", 0.5)), bool(node.argument(2, "training", True))
    if not training or p == 0:
        return None
    if node.name != "dropout" or p >= 1:
        reason = "it leaves whole channels out, or everything; torch.nn.Dropout has a layer"
        raise refused(node.path, node.name, reason)
    return read.fitting(known.Dropout(1 - p), node)


OPERATIONS: dict[str, Callable[[Reading, Node], Any]] = {
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "addmm": _addmm,
    "add": _add,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv3d": _conv,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "rms_norm": _rms_norm,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "avg_pool3d": _average_pool,
    "adaptive_avg_pool1d": _adaptive_average,
    "adaptive_avg_pool2d": _adaptive_average,
    "adaptive_avg_pool3d": _adaptive_average,
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "max_pool3d": _max_pool,
    "mean": _mean,
    "flatten": _reshape,
    "reshape": _reshape,
    "view": _reshape,
    "squeeze": _reshape,
    "unsqueeze": _reshape,
    **dict.fromkeys(("permute", "movedim", "moveaxis", "transpose", "swapaxes", "swapdims"), _moved),
    "dropout": _dropout,
    "dropout1d": _dropout,
    "dropout2d": _dropout,
    "dropout3d": _dropout,
    "feature_dropout": _dropout,
    "alpha_dropout": _dropout,
}

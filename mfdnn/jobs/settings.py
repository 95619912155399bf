"""What determines a result, in words.

A checkpoint made with other words is another run's.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .contents import contents_digest

__all__ = ["describe_arrays", "describe_network", "describe_stream", "told_apart"]


def describe_network(net: Any) -> dict[str, str]:
    """All of a network that matters to a sample of it, in words.

    Parameters
    ----------
    net : Network

    Returns
    -------
    dict of str to str
        Equal for networks whose samples are equal, in every process of one version of the package; different
        otherwise. Layers of one's own are told by what they hold and by the code of their methods.
    """
    own = [layer for layer, _ in net.walk() if not _of_package(type(layer))]
    return {
        "net": f"{net} {list(net.layers)}",
        # To the last digit, which the description above rounds.
        "variances": repr(
            [[v for v in vars(layer).values() if isinstance(v, float)] for layer, _ in net.walk()]
        ),
        "activations": ", ".join(told_apart(act.label, act) for act in net.activations),
        **({"layers of one's own": contents_digest(*map(_layer, own))} if own else {}),
    }


def told_apart(label: str, act: Any) -> str:
    """The label of an activation; one of one's own with what tells it from others."""
    return f"{label} [{act.digest}]" if act.digest else label


def _layer(layer: Any) -> tuple:
    """A layer of one's own: what it holds, and the methods of its class."""
    methods = []
    for kind in type(layer).__mro__:
        if kind is not object and not _of_package(kind):
            named = {name: _method(item) for name, item in sorted(vars(kind).items())}
            methods.append((kind.__qualname__, {name: item for name, item in named.items() if callable(item)}))
    return type(layer).__qualname__, layer, methods


def _method(item: Any) -> Any:
    """The function of a method, static method, class method or property."""
    return getattr(item, "__func__", None) or getattr(item, "fget", None) or item


def _of_package(kind: type) -> bool:
    return kind.__module__.split(".")[0] == __name__.split(".")[0]


def describe_arrays(*arrays: np.ndarray) -> str:
    """Shape of the first array, and 16 hexadecimal digits of the bytes of all."""
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return f"{arrays[0].shape} {hashlib.sha256(content).hexdigest()[:16]}"


def describe_stream(seed: np.random.SeedSequence) -> str:
    """The first of the streams of a run: its entropy and its place."""
    return f"seed {seed.entropy}, key {seed.spawn_key}"

"""What determines a result, in words: a checkpoint made with other words is another run's."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

__all__ = ["describe_arrays", "describe_network", "describe_stream"]


def describe_network(net: Any) -> dict[str, str]:
    """All of a network that matters to a sample of it."""
    x = np.array([-3.0, -1.0, -0.3, 0.1, 0.5, 2.0])
    return {
        "net": f"{net} {list(net.layers)}",
        # To the last digit, which the description above rounds.
        "variances": repr(
            [[v for v in vars(layer).values() if isinstance(v, float)] for layer, _ in net.walk()]
        ),
        # Labels do not tell two lambdas apart, values do; not to the last digit: machines differ in it.
        "activations": repr([[act.label, *(f"{value:.6g}" for value in act(x))] for act in net.activations]),
    }


def describe_arrays(*arrays: np.ndarray) -> str:
    """Shape of the first, and a digest of all."""
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return f"{arrays[0].shape} {hashlib.sha256(content).hexdigest()[:16]}"


def describe_stream(seed: np.random.SeedSequence) -> str:
    """The first of the streams of a run."""
    return f"seed {seed.entropy}, key {seed.spawn_key}"

"""Mean-field theory and Fisher information of deep neural networks.

From an activation to order parameters, phase diagrams, Fisher statistics and a safe learning rate, and their check on
sampled networks. Weights have variance ``sigma_w2 / fan_in`` and biases ``sigma_b2``: arguments are always variances.
"""

import os
import threading

import lazy_loader

from ._version import __version__ as __version__

# The names of ``__init__.pyi``, each loaded when it is first used; by one thread at a time, as rooms that two threads
# enter by different doors wait for each other.
_load, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
_loading = threading.RLock()


def __getattr__(name: str) -> object:
    with _loading:
        return _load(name)


# What is offered: functions, and these classes. Results are made by functions: their classes stand in their rooms, and
# they are reachable from here all the same, as rooms are.
_CLASSES = {
    "Activation",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "Gate",
    "GlobalAveragePool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "MeanField",
    "MeanSubtraction",
    "Network",
    "NoTheory",
    "Pointwise",
    "RMSNorm",
    "Residual",
    "SampledNetwork",
}
_ROOMS = {name.removesuffix(".py") for name in os.listdir(__path__[0])}
__all__ = sorted(
    name for name in _names if name in _CLASSES or (name.islower() and name[0] != "_" and name not in _ROOMS)
)

"""What the tests of ensembles share: a small network, an executor that counts, equality of bits."""

import numpy as np

from mfdnn.architectures import mlp

NET = mlp([20, 25, 30, 2], "tanh", 1.5, 0.1)


def same_bits(a, b):
    return a.values.keys() == b.values.keys() and all(
        np.array_equal(a.values[n], b.values[n]) for n in a.values
    )


class Counting:
    """An executor of the simplest kind, which counts and may fail."""

    def __init__(self, stop_after=None):
        self.stop_after, self.done = stop_after, 0

    def map(self, function, tasks):
        for task in tasks:
            if self.done == self.stop_after:
                raise RuntimeError("killed")
            self.done += 1
            yield function(task)

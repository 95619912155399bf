"""Densities of Jacobian spectra: processor time of deep networks, whose layers are alike or differ."""

import time

import numpy as np
import pytest

import mfdnn

DEPTH, POINTS = 64, 200
BAR = 1.0
WIDTHS = [100] * (DEPTH + 1)
ORTHOGONAL = {"weights": "orthogonal"}


def isometric():
    init = mfdnn.isometric_init("tanh", DEPTH, 0.5)
    return mfdnn.mlp(WIDTHS, "tanh", init.sigma_w2, init.sigma_b2, **ORTHOGONAL)


CASES = {
    "tanh near isometry, all layers differ": isometric,
    "tanh, Gaussian": lambda: mfdnn.mlp(WIDTHS, "tanh", 1.5, 0.1),
    "gelu, orthogonal": lambda: mfdnn.mlp(WIDTHS, "gelu", 2.0, 0.1, **ORTHOGONAL),
    "relu, orthogonal": lambda: mfdnn.mlp(WIDTHS, "relu", 2.0, 0.1, **ORTHOGONAL),
}


def processor_time(function):
    start = time.process_time()
    function()
    return time.process_time() - start


@pytest.mark.parametrize("name", CASES)
def test_density(name, timed, row):
    net, found = CASES[name](), []
    timed(lambda: found.append(processor_time(lambda: mfdnn.jacobian_spectrum(net))), rounds=5)
    taken = float(np.median(found[1:]))
    row(
        f"Jacobian density, {POINTS} points, depth {DEPTH}, {name}",
        f"< {BAR:g} s for any activation",
        f"{taken:.2f} s of processor time",
        taken < BAR,
    )

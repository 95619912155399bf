"""The figures of kernels: their lines are what the package computes, in the stated settings."""

import numpy as np
import pytest

import mfdnn
from mfdnn.kernels import kernel_depth
from mfdnn.papers import xiao2020


def panels(figure):
    """By letter."""
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    return dict(zip("ABCDEF", axes, strict=False))


def holds(ax, x, y):
    """Whether one of the lines has these points."""
    return any(
        np.array_equal(line.get_xdata(), x) and np.allclose(line.get_ydata(), y, rtol=1e-9, atol=0) for line in ax.lines
    )


# -- Xiao et al. ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_w2", [xiao2020.ORDERED, xiao2020.CHAOTIC])
def test_condition_numbers_are_those_of_kernels(sigma_w2, drawn):
    shown = panels(drawn["xiao2020-conditioning"])
    theory = kernel_depth("erf", sigma_w2, 0.05, xiao2020.LAYERS_FAST, 64, c0=0.4)
    assert holds(shown["A"], theory.depth, theory.condition)
    X, _, others, _ = xiao2020.classes(64, 32)
    assert X.shape == (64, 64) and others.shape == (32, 64) and np.allclose(np.sum(X**2, axis=1), 64)
    nets = [mfdnn.mlp([64, *[10] * (depth - 1), 1], "erf", sigma_w2, 0.05) for depth in xiao2020.DEPTHS_FAST]
    found = [mfdnn.kernel_spectrum(net, inputs=X, parameterisation="ntk").condition for net in nets]
    assert holds(shown["A"], xiao2020.DEPTHS_FAST, found)


def test_mean_predictions_are_those_of_kernel_regression(drawn):
    X, y, others, _ = xiao2020.classes(64, 32)
    targets = np.eye(10)[y]
    targets -= targets.mean(axis=0)
    sizes = []
    for depth in xiao2020.DEPTHS_FAST:
        net = mfdnn.mlp([64, *[10] * (depth - 1), 1], "erf", xiao2020.CHAOTIC, 0.05)
        theta, beside = (mfdnn.ntk(net, X, x, parameterisation="ntk") for x in (None, others))
        sizes.append(np.sqrt(np.mean((beside.T @ np.linalg.solve(theta, targets)) ** 2)))
    assert holds(panels(drawn["xiao2020-conditioning"])["C"], xiao2020.DEPTHS_FAST, sizes)


def test_map_of_losses(drawn):
    """Of the flow, by the eigenvectors of a kernel."""
    maps = [ax.collections[0].get_array() for ax in panels(drawn["xiao2020-trainability"]).values()]
    X, y, *_ = xiao2020.classes(32, 32)
    targets = np.eye(10)[y] - np.eye(10)[y].mean(axis=0)
    net = mfdnn.mlp([64, *[10] * 4, 1], "erf", 1.8, 0.18)
    values, vectors = np.linalg.eigh(mfdnn.ntk(net, X, parameterisation="ntk"))
    left = np.exp(-64 * values / values[-1])[:, None] * (vectors.T @ targets)
    assert maps[0][1, 1] == pytest.approx(np.sum(left**2) / np.sum(targets**2), rel=1e-9)
    training, test = maps[1], maps[3]
    assert training[2, 2] < 0.01 < 0.9 < test[2, 2]  # deep in the chaotic phase all is fitted and nothing known

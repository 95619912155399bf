"""The residual term of the Hessian: against all second derivatives, and in its figure."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib import pyplot
from test_papers import curves, panels

import mfdnn
from mfdnn.losses.probabilities import softmax
from mfdnn.papers import hessian_residual


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def gradient(one, X, Y, loss):
    f = one(X)
    return one.linearise(X).vjp(((softmax(f) if loss == "cross_entropy" else f) - Y) / len(X))


def gauss_newton(one, X, loss):
    """J^T Q J, from J column by column."""
    linear = one.linearise(X)
    J = np.array([linear.jvp(v) for v in np.eye(one.n_parameters)])  # (P, T, C)
    p = softmax(linear.outputs)
    QJ = p * J - p * (p * J).sum(-1, keepdims=True) if loss == "cross_entropy" else J
    return np.einsum("ptk,qtk->pq", J, QJ) / len(X)


@pytest.mark.parametrize("loss", hessian_residual.LOSSES)
def test_residual_is_the_hessian_without_its_gauss_newton_matrix(loss):
    rng = np.random.default_rng(0)
    one = mfdnn.sample(mfdnn.mlp([3, 5, 4, 2], "tanh", 1.5, 0.1), rng=rng)
    X, Y = rng.standard_normal((7, 3)), np.eye(2)[rng.integers(0, 2, 7)]
    theta, h = one.vector, 1e-5
    sides = [np.array([gradient(one.at(theta + s * h * v), X, Y, loss) for v in np.eye(theta.size)]) for s in (1, -1)]
    hessian = (sides[0] - sides[1]) / (2 * h)
    expected = np.abs(np.linalg.eigvalsh((hessian + hessian.T) / 2 - gauss_newton(one, X, loss))).max()
    assert hessian_residual.residual_norm(one, X, Y, loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("phi", hessian_residual.NETWORKS)
@pytest.mark.parametrize("loss", hessian_residual.LOSSES)
def test_points_are_means_of_both_parts(phi, loss, drawn):
    shown = panels(drawn["hessian-residual"])
    widths, n = hessian_residual.WIDTHS_FAST, hessian_residual.N_NETWORKS_FAST
    kinds = [(phi, loss) for phi in hessian_residual.NETWORKS for loss in hessian_residual.LOSSES]
    child = np.random.default_rng(0).spawn(len(kinds))[kinds.index((phi, loss))]
    draws = zip(np.repeat(widths, n), child.spawn(len(widths) * n), strict=True)
    found = np.array([hessian_residual.both_parts(phi, loss, M, one) for M, one in draws]).reshape(-1, n, 2)
    lines = [line.get_ydata() for line in curves(shown[list(hessian_residual.LOSSES).index(loss)])]
    for part in range(2):
        assert any(np.array_equal(y, found[..., part].mean(axis=1)) for y in lines)
    ratio = (found[..., 1] / found[..., 0]).mean(axis=1)
    assert any(np.array_equal(line.get_ydata(), ratio) for line in curves(shown[2]))


@pytest.mark.torch
@pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")
@pytest.mark.parametrize("phi", hessian_residual.NETWORKS)
def test_residual_of_the_same_module_in_torch(torch, phi):
    """By second derivatives, which know no step of a difference."""
    import mfdnn.pytorch as mp

    one, X, Y = hessian_residual.drawn(phi, 16, np.random.default_rng(3))
    act = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[phi]
    layers = [layer for a, b in pairwise([32, 16, 16, 4]) for layer in (torch.nn.Linear(a, b), act())]
    module = torch.nn.Sequential(*layers[:-1]).double()
    torch.nn.utils.vector_to_parameters(torch.tensor(one.vector), module.parameters())
    np.testing.assert_allclose(module(torch.tensor(X)).detach(), one(X), atol=1e-12)
    batch = torch.tensor(X), torch.tensor(Y.argmax(1))
    found = mp.hessian_spectrum(module, batch, torch.nn.CrossEntropyLoss(), part="residual")
    expected = max(abs(found.largest), abs(found.smallest))
    assert hessian_residual.residual_norm(one, X, Y, "cross_entropy") == pytest.approx(expected, rel=1e-3)

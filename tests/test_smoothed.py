"""Products of pairs by one smoothed factor, against the integral over the plane."""

import numpy as np
import pytest
from scipy.stats import norm

from mfdnn.activations import Activation, activation
from mfdnn.architectures import mlp
from mfdnn.gaussian import matrices, smoothed
from mfdnn.gaussian.products import direct
from mfdnn.gaussian.quadrature import second_moment
from mfdnn.gaussian.smoothed import SmoothedTable
from mfdnn.kernels import ntk
from mfdnn.mean_field import order_parameters

KINKED = Activation("kinked", lambda x: np.where(x > 0, np.tanh(x), 0.1 * np.tanh(x)), kinks=(0.0,))
JUMPS = Activation("jumps", lambda x: np.tanh(x) + (x > 0.3), kinks=(0.3,))


@pytest.mark.parametrize(
    ("phi", "q"),
    [
        pytest.param("tanh", 1e5, id="tanh of large signals"),
        pytest.param("tanh", 1e-3, id="tanh of small signals"),
        pytest.param("sin", 20.0, id="sin"),
        pytest.param("selu", 1e3, id="selu"),
        pytest.param(KINKED, 1e2, id="kinked"),
        pytest.param(JUMPS, 1e2, id="jumps"),
    ],
)
def test_products_are_those_of_the_plane(phi, q):
    act = activation(phi)
    q1, q2 = q * np.array([1.0, 0.5, 0.2, 1.0]), q * np.array([0.3, 0.5, 1.0, 0.9])
    c = np.array([0.4, -0.9, 0.999, 1 - 1e-9])
    found, error = SmoothedTable(act.pieces).products(q1, q2, c)
    assert error.max() < 1e-9
    for order in (0, 1):
        for i in range(c.size):
            right, bound = direct(act, q1[i], q2[i], c[i], order)
            size = np.sqrt(second_moment(act, q1[i], order) * second_moment(act, q2[i], order))
            # A level's own error is of the function in y, and an average over y is far more right.
            assert found[order, i] == pytest.approx(right, rel=0, abs=1e-12 * size + bound)


def test_a_bend_is_seen_however_narrow():
    # Gaussian of width s sqrt(q2) around a jump, between the first nodes of any panel.
    (value, slope), _ = SmoothedTable(JUMPS.pieces).products(np.array([93.5]), np.array([31.7]), np.array([1 - 7e-11]))
    assert value == pytest.approx([direct(JUMPS, 93.5, 31.7, 1 - 7e-11, 0)[0]], rel=1e-12)
    assert slope == pytest.approx([direct(JUMPS, 93.5, 31.7, 1 - 7e-11, 1)[0]], rel=1e-12)


def test_unscaled_inputs_are_right_and_no_pair_is_integrated_alone(monkeypatch):
    rng = np.random.default_rng(0)
    x = np.array([13.0, 2.3, 99.0, 750.0]) + np.array([1.0, 1.0, 14.0, 300.0]) * rng.standard_normal((12, 4))
    variance, covariance = 2 * np.sum(x**2, axis=1) / 4, 2 * x @ x.T / 4
    act = activation("tanh")
    asked = []
    monkeypatch.setattr(matrices, "direct", lambda *a: asked.append(a) or direct(*a))
    value, slope = matrices.covariances(act, variance, covariance)
    assert asked == []
    for i, j in ((0, 1), (3, 8), (5, 11)):
        c = covariance[i, j] / np.sqrt(variance[i] * variance[j])
        for order, matrix in enumerate((value, slope)):
            right, bound = direct(act, variance[i], variance[j], c, order)
            # The correlation is known to a rounding, which 1 - c = 1e-4 feels 1e4 times.
            assert matrix[i, j] == pytest.approx(right, rel=1e-11, abs=bound)
            assert matrix[i, j] == matrix[j, i]


def test_a_table_has_the_levels_that_pairs_need():
    table = SmoothedTable(activation("tanh").pieces)
    table.products(np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
    assert len(table._levels) == 1
    table.products(np.array([1.0]), np.array([1.0]), np.array([0.999]))
    assert len(table._levels) == 2
    assert smoothed.LEAST_GAP < 1e-6


def test_order_parameters_of_unscaled_inputs():
    x = 300 * np.random.default_rng(1).standard_normal((12, 4)) + 500
    op = order_parameters(mlp([4, 5, 5, 1], "tanh", 2.0, 0.1), inputs=x)
    assert np.all(np.isfinite(op.q_tilde_st))
    assert np.all(np.linalg.eigvalsh(op.q_st[1]) > 0)


@pytest.mark.parametrize("phi", ["tanh", "gelu", "sigmoid", "sin"])
def test_pairs_of_weak_signals_are_those_of_the_plane(phi, monkeypatch):
    act = activation(phi)
    variance = np.array([1e-13, 1e-20, 1e-300, 2.0, 1e3])
    direction = np.random.default_rng(0).standard_normal((5, 7))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    c = direction @ direction.T
    with monkeypatch.context() as patch:
        patch.setattr(matrices, "MAX_DIRECT", 0)
        value, slope = matrices.covariances(act, variance, c * np.sqrt(np.outer(variance, variance)))
    for i, j in ((0, 1), (0, 2), (1, 3), (2, 4), (0, 3)):
        for order, matrix in enumerate((value, slope)):
            right, _ = direct(act, variance[i], variance[j], c[i, j], order)
            size = np.sqrt(second_moment(act, variance[i], order) * second_moment(act, variance[j], order))
            # What is left out is the smaller variance, relative to the size.
            assert matrix[i, j] == pytest.approx(right, rel=0, abs=2e-12 * size)


def test_weak_signals_of_a_bent_activation_see_two_straight_lines():
    low, high = activation("selu").slope(np.array([-1e-300, 1e-300]))
    variance, c = np.array([1e-20, 1e-200, 1e-30, 2.0]), 0.6
    root = np.sqrt(variance)
    covariance = np.where(np.eye(4, dtype=bool), variance, c * np.outer(root, root))
    value, slope = matrices.covariances(activation("selu"), variance, covariance)
    # The arc-cosine kernel of the two lines; what is left out is sqrt(q), relative.
    own = (low + high) ** 2 / 4 + (high - low) ** 2 / (2 * np.pi) * np.arcsin(c)
    bend = (high - low) ** 2 / (2 * np.pi) * np.sqrt(1 - c**2)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert slope[i, j] == pytest.approx(own, rel=1e-9)
        assert value[i, j] == pytest.approx(root[i] * root[j] * (c * own + bend), rel=1e-9)
    # A weak and an ordinary one: E[phi(u) phi(v)] = E[phi(v) E[phi(u) | v]], a plain sum over v.
    z = np.linspace(-9, 9, 400000)  # none at the bend
    weight = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    above = norm.cdf(c * z / 0.8)
    given = low * c * z + (high - low) * (c * z * above + 0.8 * norm.pdf(c * z / 0.8))
    act = activation("selu")
    assert value[1, 3] == pytest.approx(root[1] * (weight @ (act(root[3] * z) * given)), rel=1e-8)
    assert slope[1, 3] == pytest.approx(weight @ (act.slope(root[3] * z) * (low + (high - low) * above)), rel=1e-8)


def test_copies_are_copies_whatever_rounding_makes_of_their_correlation():
    x = np.random.default_rng(0).standard_normal((1, 30)) * np.exp(np.random.default_rng(1).standard_normal((20, 1)))
    kernel = ntk(mlp([30, 50, 50, 50, 1], "relu", 2.0), inputs=x)
    least, *_, largest = np.linalg.eigvalsh(kernel)
    assert least > -1e-14 * largest  # a correlation of 1 - 1e-16 in place of 1 makes this 1e-9


def test_polynomials_do_not_take_off_beyond_the_last_panel():
    waves = Activation("waves", lambda x: np.sin(3 * x), lambda x: 3 * np.cos(3 * x))
    end = waves.pieces.edges[-1]
    found, _ = SmoothedTable(waves.pieces)._values(np.array([[0.3 * end, 0.6 * end]]), np.array([end / 20]))
    # exp(-9 sigma^2/2) is nothing; the end is eight sigma away, of which the Gaussian leaves 1e-15 times the slope.
    assert np.abs(found).max() < 1e-13

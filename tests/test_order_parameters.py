"""Order parameters: known values, the naive twin, closed forms, sampled networks, degenerate points."""

import json
import tracemalloc

import cases
import naive
import numpy as np
import pytest
from user_layers import CircularConv

from mfdnn.activations import Activation
from mfdnn.architectures import mlp, resnet
from mfdnn.fisher import fisher_statistics
from mfdnn.layers import BatchNorm, Dense, Flatten, Keep, Layer, Pointwise, Residual
from mfdnn.mean_field import order_parameters
from mfdnn.mean_field.inputs import matrices_over_inputs
from mfdnn.network import Network

FIELDS = ("q", "q_st", "q_tilde", "q_tilde_st", "q_hat", "q_hat_st")
INTEGRALS = 1e-10  # accuracy promised for each Gaussian integral, relative to E[phi^2] or E[phi'^2]


def equicorrelated(n_inputs, width, q0, c0):
    """Inputs (n_inputs, width) with mean square q0 and correlation c0, all of them exactly alike."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((width, n_inputs)))[0]
    gram = q0 * width * ((1 - c0) * np.eye(n_inputs) + c0)
    return np.linalg.cholesky(gram) @ basis.T


# -- known values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases.GOLDEN_FISHER, ids=lambda g: f"{g.activation}-{g.depth}")
def test_golden_values(case):
    net = mlp([50] * case.depth + [1], case.activation, case.sigma_w2, case.sigma_b2)
    op = order_parameters(net)
    found = {
        "q_L": op.q[-1],
        "q_st_L": op.q_st[-1],
        "K1": np.sum(op.q_tilde * op.q),
        "K2": np.sum(op.q_tilde_st * op.q_st),
    }
    for name, value in found.items():
        assert abs(value - case.values[name]) <= case.tolerance(name), name


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "hard_tanh", "abs"])
def test_naive_twin(name):
    depth, w2, b2, q0, c0 = 3, 1.7, 0.2, 1.5, -0.3
    op = order_parameters(mlp([20] * depth + [2], name, w2, b2), q0=q0, c0=c0)
    twin = naive.order_parameters(naive.phi(name), depth, w2, b2, q0, c0)
    for field in FIELDS:
        # Errors of the few integrals add up, and the slopes of the maps are at most a few units.
        np.testing.assert_allclose(
            getattr(op, field), twin[field], rtol=0, atol=10 * INTEGRALS, err_msg=field
        )


def test_linear_network_is_a_straight_line():
    """With sigma_w2 = 1 every layer adds sigma_b2 to variance and covariance, and keeps the errors."""
    op = order_parameters(mlp([9] * 6 + [1], "linear", 1.0, 0.1), q0=2.0, c0=0.25)
    layers = np.arange(1, 7)
    np.testing.assert_allclose(op.q, 2.0 + 0.1 * layers, rtol=1e-12)
    np.testing.assert_allclose(op.q_st, 0.5 + 0.1 * layers, rtol=1e-12)
    np.testing.assert_allclose([op.q_tilde, op.q_tilde_st], 1.0, rtol=1e-12)


def test_chi_is_the_slope_of_the_correlation_map_at_1():
    net = mlp([30] * 5 + [1], "tanh", 1.8, 0.1)
    op = order_parameters(net)
    phi = naive.tanh()
    assert op.chi[-1] == 1.0  # the linear output
    for layer in range(4):
        assert op.chi[layer] == pytest.approx(naive.chi_1(phi, op.q[layer], 1.8), rel=10 * INTEGRALS)


def test_widths_and_biases():
    op = order_parameters(Network(7, [Dense(5), Pointwise("relu"), Dense(3, bias=False)]))
    assert op.fan_in.tolist() == [7, 5]
    assert op.fan_out.tolist() == [5, 3]
    assert op.bias.tolist() == [True, False]


# -- broadcasting and given inputs -----------------------------------------------------------------


def test_broadcasts():
    net = mlp([10, 10, 10, 1], "gelu", 2.0, 0.1)
    q0, c0 = np.array([[0.5], [2.0]]), np.array([0.0, 0.4, 1.0])
    op = order_parameters(net, q0, c0)
    assert op.q_st.shape == (3, 2, 3)
    for i, j in np.ndindex(2, 3):
        one = order_parameters(net, q0[i, 0], c0[j])
        for field in FIELDS:
            np.testing.assert_allclose(getattr(op, field)[:, i, j], getattr(one, field), rtol=1e-12)


@pytest.mark.parametrize("c0", [0.0, 0.35])
@pytest.mark.parametrize("name", ["tanh", "relu", "silu"])
def test_given_inputs_that_are_exchangeable(name, c0):
    n = 5
    net = mlp([40, 30, 30, 30, 2], name, 1.9, 0.15)
    exchangeable = order_parameters(net, 1.3, c0)
    given = order_parameters(net, inputs=equicorrelated(n, 40, 1.3, c0))
    off_diagonal = ~np.eye(n, dtype=bool)
    for one, two in (("q", "q_st"), ("q_tilde", "q_tilde_st"), ("q_hat", "q_hat_st")):
        # The same integrals, by a series in one case and possibly directly in the other.
        np.testing.assert_allclose(
            getattr(given, one), np.tile(getattr(exchangeable, one), (n, 1)).T, rtol=INTEGRALS
        )
        pairs = getattr(given, two)
        np.testing.assert_allclose(np.diagonal(pairs, axis1=1, axis2=2), getattr(given, one), rtol=1e-12)
        expected = np.tile(getattr(exchangeable, two), (n * (n - 1), 1)).T
        np.testing.assert_allclose(pairs[:, off_diagonal], expected, atol=INTEGRALS)
    np.testing.assert_allclose(given.c[:, off_diagonal][:, 0], exchangeable.c, atol=INTEGRALS)
    np.testing.assert_allclose(given.chi[:, 0], exchangeable.chi, rtol=INTEGRALS)


def test_given_inputs_of_different_norms():
    x = np.array([[1.0, 0.0, 2.0], [0.5, -1.0, 0.3], [0.0, 0.0, 0.1]])
    net = mlp([3, 20, 1], "tanh", 2.0, 0.3)
    op = order_parameters(net, inputs=x)
    gram = x @ x.T / 3
    covariance = 2.0 * gram + 0.3
    phi = naive.tanh()
    np.testing.assert_allclose(op.q_hat_st[0], gram, rtol=1e-13)
    for s, t in [(0, 1), (0, 2), (1, 2)]:
        q1, q2 = covariance[s, s], covariance[t, t]
        c = covariance[s, t] / np.sqrt(q1 * q2)
        assert op.c[0, s, t] == pytest.approx(c, abs=1e-13)
        assert op.q_hat_st[1, s, t] == pytest.approx(naive.expect_product(phi, q1, c, q2), abs=INTEGRALS)
        slopes = naive.expect_product(phi, q1, c, q2, derivative=1)
        assert op.q_tilde_st[0, s, t] == pytest.approx(2.0 * slopes, abs=2 * INTEGRALS)


# -- residual networks -----------------------------------------------------------------------------


def test_relu_resnet_grows_exponentially():
    """Yang & Schoenholz 2017: a full relu block without biases multiplies moments by B = 1 + sv2 sw2/2."""
    w2, v2, blocks = 1.4, 0.3, 12
    growth = 1 + v2 * w2 / 2
    op = order_parameters(resnet([20, 20, 1], blocks, "relu", sigma_w2=w2, sigma_v2=v2), q0=1.0)
    stream = op.q_hat[1::2]  # what enters the first weight layer of each block, and the read-out
    np.testing.assert_allclose(stream, w2 * growth ** np.arange(blocks + 1), rtol=1e-11)
    errors = op.q_tilde[0:-1:2]  # what arrives at the outputs of the stem and of the blocks
    np.testing.assert_allclose(errors, w2 * growth ** np.arange(blocks, -1, -1), rtol=1e-11)


def test_tanh_resnet_follows_its_recursion():
    """p = sv2 V(q) + sa2 + p_, q = sw2 p_ + sb2, chi_ = (1 + sv2 sw2 V'(q)) chi; the same for two inputs."""
    w2, b2, v2, a2, blocks = 1.2, 0.1, 0.8, 0.05, 4
    op = order_parameters(resnet([20, 20, 1], blocks, "tanh", w2, b2, v2, a2), c0=0.3)
    phi = naive.tanh()
    p, g = w2 + b2, 0.3 * w2 + b2
    factors, factors_st = [], []
    for block in range(blocks):
        assert op.q_hat[1 + 2 * block] == pytest.approx(p, rel=10 * INTEGRALS)
        assert op.q_hat_st[1 + 2 * block] == pytest.approx(g, rel=10 * INTEGRALS)
        q, q_st = w2 * p + b2, w2 * g + b2
        factors.append(1 + v2 * w2 * naive.second_moment(phi, q, derivative=1))
        factors_st.append(1 + v2 * w2 * naive.expect_product(phi, q, q_st / q, derivative=1))
        p += v2 * naive.second_moment(phi, q) + a2
        g += v2 * naive.expect_product(phi, q, q_st / q) + a2
    assert op.q_tilde[0] == pytest.approx(w2 * np.prod(factors), rel=10 * INTEGRALS)
    assert op.q_tilde_st[0] == pytest.approx(w2 * np.prod(factors_st), rel=10 * INTEGRALS)


def test_residual_block_that_ends_in_an_activation_against_sampled_networks():
    """Non-odd activations have a mean, which the skip connection adds coherently: 2 skip m_x m_B."""
    width, outputs, n_networks, skip = 600, 10, 12, 0.7
    x = np.random.default_rng(1).standard_normal((2, width)) + np.array([[0.8], [-0.4]])
    x[1] += 0.5 * x[0]
    block = lambda: Residual([Dense(width, 1.5, 0.2), Pointwise("gelu")], skip=skip)  # noqa: E731
    net = Network(width, [block(), block(), Dense(width, 1.2, 0.1), Pointwise("relu"), Dense(outputs, 1.3)])
    op = order_parameters(net, inputs=x)

    gelu, relu = naive.gelu(), naive.relu()
    settings = [(1.5, 0.2, width), (1.5, 0.2, width), (1.2, 0.1, width), (1.3, 0.0, outputs)]
    drawn = {name: [] for name in ("q_hat_st", "q_tilde_st")}
    rng = np.random.default_rng(2)
    for _ in range(n_networks):
        (w1, b1), (w2, b2), (w3, b3), (w4, _) = (
            (rng.normal(0, np.sqrt(w / width), (fan_out, width)), rng.normal(0, np.sqrt(b), fan_out))
            for w, b, fan_out in settings
        )
        u1 = x @ w1.T + b1
        h1 = skip * x + gelu.value(u1)
        u2 = h1 @ w2.T + b2
        h2 = skip * h1 + gelu.value(u2)
        u3 = h2 @ w3.T + b3
        h3 = relu.value(u3)
        drawn["q_hat_st"].append([h @ h.T / width for h in (x, h1, h2, h3)])
        d4 = np.broadcast_to(np.eye(outputs)[:, None], (outputs, 2, outputs))
        d3 = relu.slope(u3) * (d4 @ w4)
        e2 = d3 @ w3  # arrives at h2
        d2 = gelu.slope(u2) * e2
        e1 = skip * e2 + d2 @ w2
        d1 = gelu.slope(u1) * e1
        drawn["q_tilde_st"].append([np.einsum("ksi,kti->st", d, d) / outputs for d in (d1, d2, d3, d4)])
    for name, values in drawn.items():
        values = np.array(values)
        error = values.std(axis=0, ddof=1) / np.sqrt(n_networks)
        theory = getattr(op, name)
        # Five standard errors for 16 numbers, and the bias of finite width: a few parts in M = 600.
        assert np.all(np.abs(values.mean(axis=0) - theory) <= 5 * error + 5e-3 * np.abs(theory)), name


# -- degenerate points -----------------------------------------------------------------------------


def test_zero_inputs_coincide():
    op = order_parameters(mlp([5, 5, 5, 1], "tanh", 1.5, 0.0), q0=0.0, c0=0.3)
    np.testing.assert_array_equal([op.q, op.q_st], 0.0)
    np.testing.assert_array_equal(op.c, 1.0)
    np.testing.assert_allclose(op.q_tilde, [2.25, 1.5, 1.0], rtol=INTEGRALS)  # tanh'(0) = 1
    np.testing.assert_allclose(op.q_tilde_st, op.q_tilde, rtol=INTEGRALS)
    biased = order_parameters(mlp([5, 5, 5, 1], "relu", 1.5, 0.2), q0=0.0)
    np.testing.assert_allclose(biased.c, 1.0, rtol=1e-12)


def test_small_inputs_approach_zero_inputs():
    net = mlp([5, 5, 5, 1], "tanh", 1.5, 0.0)
    small, zero = order_parameters(net, 1e-9), order_parameters(net, 0.0)
    np.testing.assert_allclose(small.q_tilde, zero.q_tilde, rtol=1e-7)  # the first correction is O(q)


def test_one_zero_input_among_others():
    op = order_parameters(mlp([2, 9, 1], "relu", 2.0), inputs=[[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]])
    expected = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    np.testing.assert_allclose(op.c[0], expected, atol=1e-14)
    assert np.all(np.isfinite(op.q_tilde_st))


def test_errors_that_vanish_and_reappear():
    dead = order_parameters(mlp([5, 5, 5, 1], "tanh", [1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(dead.chi[0], 0.0)
    # The block's second weight layer passes nothing back, the skip connection does.
    block = Residual([Dense(5), Pointwise("tanh"), Dense(5, 0.0)])
    op = order_parameters(Network(5, [Dense(5), block, Dense(1)]))
    assert op.q_tilde[1] == 0.0
    assert op.q_tilde[0] == 1.0
    assert op.chi.tolist() == [np.inf, 0.0, 1.0, 1.0]


def test_deep_ordered_network_underflows_quietly():
    op = order_parameters(mlp([5] * 1200 + [1], "tanh", 0.5))
    assert op.q_tilde[0] == 0.0
    assert np.all(np.isfinite(op.chi))
    assert np.all(np.isfinite(op.c))


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"q0": -1.0}, "`q0` is a variance"),
        ({"q0": np.nan}, "`q0` must be finite"),
        ({"c0": 1.5}, "`c0` is a correlation"),
        ({"q0": [1.0, 2.0], "c0": [0.1, 0.2, 0.3]}, "must broadcast"),
        ({"inputs": np.ones((3, 5))}, "5 features but the network takes 4"),
        ({"inputs": np.ones(4)}, "must be a matrix"),
        ({"inputs": np.full((3, 4), np.inf)}, "`inputs` must be finite"),
        ({"inputs": np.ones((3, 4)), "q0": 2.0}, "`inputs` excludes"),
        ({"inputs": np.ones((3, 4)), "c0": 0.5}, "`inputs` excludes"),
        ({"inputs": np.ones((3, 4)), "q0": 1.0, "c0": 0.0}, "`inputs` excludes `q0` and `c0`"),
        ({"inputs": np.ones((3, 4)), "n_samples": 4}, "`n_samples` is 4 but `inputs` has 3 rows"),
        ({"n_samples": 0}, "`n_samples` must be an integer >= 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        order_parameters(mlp([4, 4, 1], "relu"), **arguments)


def test_outputs_must_be_linear():
    for layers in ([Dense(4), Pointwise("relu")], [Dense(4), Residual([Dense(4), Pointwise("relu")])]):
        with pytest.raises(ValueError, match="linear outputs"):
            order_parameters(Network(4, layers))


def test_not_a_network():
    with pytest.raises(TypeError, match="must be a Network"):
        order_parameters([4, 4, 1])


def test_infinite_errors_are_named():
    step = Activation("step", lambda x: np.where(x > 0, 1.0, 0.0), kinks=(0.0,))
    with pytest.raises(ValueError, match=r"activation 'step' jumps, .* squared error sent back is infinite"):
        order_parameters(mlp([4, 4, 1], step, 1.0))
    with pytest.raises(ValueError, match="variance of the signal is infinite at weight layer"):
        order_parameters(Network(4, [Dense(4, 1e200), Dense(4, 1e200), Dense(1)]))


def test_memory_is_refused_before_it_is_taken(monkeypatch):
    net = mlp([4, 4, 1], "relu")
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 1.2e4)
    order_parameters(net, inputs=np.ones((7, 4)))  # 28 matrices of 7 x 7 doubles: 10976 bytes
    with pytest.raises(MemoryError, match=r"order parameters of 8 inputs in 2 weight layers .* take fewer"):
        order_parameters(net, inputs=np.ones((8, 4)))


class Upsampled(Layer):
    """Every site k times over; its infinite half."""

    homogeneous = True

    def __init__(self, k):
        self.k = k

    def output_shape(self, shape):
        return shape[0], shape[1] * self.k

    def propagate(self, state):
        def repeated(pairs):
            return pairs.over_sites(lambda a: a.repeat(self.k, axis=-2).repeat(self.k, axis=-1))

        mean = state.mean.repeat(self.k, axis=-1)
        return state.mapped(repeated(state.moments), repeated, mean=mean, shape=self.output_shape(state.shape))


def _of_sites(*between):
    head = [CircularConv(4, 2), Pointwise("relu"), *between, CircularConv(4, 2), Pointwise("relu")]
    return Network((3, 2), [*head, Flatten(), Dense(5), Pointwise("relu"), Dense(1)])


@pytest.mark.parametrize(
    ("net", "n"),
    [
        pytest.param(mlp([9, 9, 9, 9, 9, 1], "relu"), 150, id="chain"),
        pytest.param(resnet([9, 9, 1], n_blocks=4), 150, id="residual"),
        pytest.param(Network(9, [Dense(9), Pointwise("relu"), Dense(3), BatchNorm()]), 150, id="normalised"),
        pytest.param(_of_sites(), 60, id="sites"),
        pytest.param(_of_sites(Upsampled(8)), 40, id="more sites behind than in front"),
        pytest.param(Network((3, 50), [Flatten(), Dense(9), Pointwise("relu"), Dense(1)]), 150, id="flattened"),
    ],
)
@pytest.mark.parametrize("shares", [False, True])
def test_memory_is_predicted_within_a_factor_of_two(net, n, shares):
    x = np.random.default_rng(0).standard_normal((n, *net.input_shape))
    run = fisher_statistics if shares else order_parameters
    run(net, inputs=x)  # tables of the activation are there
    tracemalloc.start()
    run(net, inputs=x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    predicted = 8 * n**2 * matrices_over_inputs(net, Keep(shares=shares))
    assert peak <= predicted <= 2 * peak  # never less than it takes, and no refusal of what fits twice


def test_memory_of_layers_that_make_more_sites_is_refused_before_it_is_taken():
    with pytest.raises(MemoryError, match=r"order parameters of 60 inputs in 4 weight layers .* take fewer"):
        order_parameters(_of_sites(Upsampled(10**4)), inputs=np.ones((60, 3, 2)))
    with pytest.raises(MemoryError, match=r"order parameters of inputs with 2000000 sites .* take smaller inputs"):
        order_parameters(_of_sites(Upsampled(10**6)))


def test_result():
    op = order_parameters(mlp([4, 4, 1], "relu"))
    assert repr(op) == "OrderParameters(2 weight layers, q: (2,), q_st: (2,))"
    assert not op.per_input
    plain = json.loads(json.dumps(op.to_dict()))
    assert plain["q"] == op.q.tolist()
    assert plain["c"] == op.c.tolist()
    assert plain["chi"] == op.chi.tolist()

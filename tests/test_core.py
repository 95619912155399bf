"""The numerical core against brute force: any activation, any corner, errors that never understate."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
from scipy import stats

import mfdnn
from mfdnn.phase import PHASES, STATUS

USERS = {
    "steep": lambda x: np.tanh(20 * x),
    "fast": lambda x: np.sin(5 * x),
    "kink at 0.3": lambda x: np.tanh(x) + np.abs(x - 0.3),
    "kink at -2": lambda x: np.maximum(x, -2.0),
    "bent twice": lambda x: np.maximum(np.where(x > 0, np.log1p(np.abs(x)), 0.2 * x), -0.4),
    "cubic": lambda x: x**3,
    "constant": lambda x: 0 * x + 2.0,
}
KINKS = {"kink at 0.3": [0.3], "kink at -2": [-2.0], "bent twice": [-2.0, 0.0]}


def brute_force(f, q1, c, q2, kinks=()):
    """E[f(u) f(v)] by the oracle's panel rule, split at the kinks."""
    return naive.correlated_mean(f, f, q1, q2, c, kinks, kinks)


@pytest.mark.parametrize("c", [-1.0, -0.999, -0.3, 0.0, 0.5, 0.9, 0.999, 1 - 1e-6, 1.0])
@pytest.mark.parametrize(
    "name", ["tanh", "relu", "elu", "selu", "gelu", "hard_tanh", "shifted_relu", "silu", "abs"]
)
@pytest.mark.parametrize(("q1", "q2"), [(1e-4, 1e-4), (1.3, 1.3), (0.7, 2.0), (40.0, 40.0)])
def test_built_in_activations_in_the_corners(name, c, q1, q2):
    twin = naive.phi("absolute" if name == "abs" else name) if name != "abs" else naive.absolute()
    for derivative in (0, 1):
        value, error = mfdnn.expect_product(name, q1, c, q2, derivative=derivative, return_error=True)
        scale = math.sqrt(
            naive.second_moment(twin, q1, derivative) * naive.second_moment(twin, q2, derivative)
        )
        expected = naive.expect_product(twin, q1, c, q2, derivative)
        assert abs(value - expected) <= 1e-10 * scale  # the bar
        assert abs(value - expected) <= error + 2e-13 * scale  # the oracle is good to 6e-14


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("q", [1e-4, 0.8, 5.0])
def test_callables_on_equal_terms(name, q):
    f, kinks = USERS[name], KINKS.get(name, ())
    act = mfdnn.activation(f)
    second = naive.gaussian_mean(lambda x: f(x) ** 2, q, kinks)
    assert mfdnn.expect_product(act, q) == pytest.approx(second, rel=1e-11)  # quad asks for 1e-13 absolute
    for c in (-0.9, 0.5, 0.999):
        value, error = mfdnn.expect_product(act, q, c, return_error=True)
        exact = brute_force(f, q, c, q, kinks)
        assert abs(value - exact) <= min(error, 1e-10 * second) + 1e-12 * second
        slope = mfdnn.expect_product(act, q, c, derivative=1)
        assert np.isfinite(slope)
        # d/dc E[phi phi] = q E[phi' phi'], by central differences: error h^2 times the third derivative over
        # (1 - c)^2, and rounding 1e-12/h.
        h = 1e-4 * (1 - abs(c))
        above, below = (mfdnn.expect_product(act, q, c + d) for d in (h, -h))
        assert slope * q == pytest.approx((above - below) / (2 * h), rel=2e-5, abs=1e-5 * second)


def test_kinks_are_found_and_jumps_make_infinite_slopes():
    for name, kinks in KINKS.items():
        np.testing.assert_allclose(mfdnn.activation(USERS[name]).kinks, kinks, atol=1e-9)
    step = mfdnn.activation(lambda x: np.where(x > 0.4, 1.0, -1.0))
    np.testing.assert_allclose(step.kinks, [0.4], atol=1e-9)
    assert mfdnn.expect_product(step, 1.0, derivative=1) == math.inf
    # E[sign(u - 0.4) sign(v - 0.4)] by the bivariate normal distribution
    h = 0.4
    both = stats.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]]).cdf([-h, -h])
    expected = 1 - 4 * stats.norm.sf(h) + 4 * both
    assert mfdnn.expect_product(step, 1.0, 0.5) == pytest.approx(
        expected, abs=1e-7
    )  # scipy's cdf is that good
    fp = mfdnn.fixed_point(step, 1.0, 0.1)
    assert fp.chi_1 == math.inf and fp.phase == "chaotic" and 0 < fp.c < 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: max(x, 0),
        math.tanh,
        lambda x: np.log(x),
        lambda x: x.sum(axis=-1),
        lambda x: x + 1j,
        lambda x: x / 0 if np.any(x) else x,
        lambda x: np.exp(x) / np.exp(x).sum(axis=0),
        lambda x: x - x.mean(),
        lambda x: np.random.default_rng().standard_normal(x.shape),
        lambda x: [1.0, 2.0],
        lambda x: (_ for _ in ()).throw(RuntimeError("mine")),
    ],
)
def test_wrong_callables_get_a_clear_error(function):
    with pytest.raises((TypeError, ValueError)) as caught:
        mfdnn.activation(function)
    assert "elementwise" in str(caught.value) or "vectorised" in str(caught.value)


@pytest.mark.parametrize("name", mfdnn.activation_names())
def test_built_in_activations_keep_float32_and_pickle(name):
    act = mfdnn.activation(name)
    x = np.linspace(-3, 3, 7, dtype=np.float32)
    assert act(x).dtype == act.slope(x).dtype == np.float32
    assert pickle.loads(pickle.dumps(act)) is act
    np.testing.assert_allclose(act(x), act(x.astype(float)), rtol=1e-5, atol=1e-6)  # float32 rounding


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "elu", "selu", "gelu", "erf", "sin"])
def test_fixed_points_solve_their_equations(name):
    rng = np.random.default_rng(5)
    w2, b2 = rng.uniform(0.3, 8.0, 40), rng.uniform(0.0, 1.0, 40)
    fp = mfdnn.fixed_point(name, w2, b2)
    for i in np.flatnonzero(np.isfinite(fp.q) & (fp.q > 0)):
        q, c = fp.q[i], fp.c[i]
        assert w2[i] * mfdnn.expect_product(name, q) + b2[i] == pytest.approx(q, rel=1e-11)
        assert (w2[i] * mfdnn.expect_product(name, q, c) + b2[i]) / q == pytest.approx(c, abs=1e-9)  # the bar
        assert w2[i] * mfdnn.expect_product(name, q, derivative=1) == pytest.approx(fp.chi_1[i], rel=1e-10)
        slope = w2[i] * mfdnn.expect_product(name, q, c, derivative=1)
        assert slope == pytest.approx(fp.chi_c[i], abs=1e-8)
        assert slope < 1 + 1e-8  # c* attracts


def test_near_the_edge_at_large_variance():
    """Where the Hermite series alone is hopeless: c* near 1 at q = 100."""
    line = mfdnn.critical_line("tanh", q=[10.0, 100.0])
    fp = mfdnn.fixed_point("tanh", line.sigma_w2 * 1.001, line.sigma_b2)
    for i in range(2):
        w2 = line.sigma_w2[i] * 1.001
        value = (w2 * mfdnn.expect_product("tanh", fp.q[i], fp.c[i]) + line.sigma_b2[i]) / fp.q[i]
        assert value == pytest.approx(fp.c[i], abs=1e-9)
    assert mfdnn.correlation_map("tanh", 1.0, 16.0, 0.09) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "linear", "sin", "softplus", "cubic", "constant"])
def test_a_grid_across_every_degenerate_place(name):
    phi = USERS.get(name, name)
    w2 = np.unique(np.r_[0.0, 0.5, 1.0, 1.76095464, 2.0, 2.3, 4.0, 9.0])
    pd = mfdnn.phase_diagram(phi, w2, [0.0, 1e-12, 0.05, 0.1729223, 1.0])
    for field in ("q", "c", "chi_1", "chi_c", "xi_q", "xi_c", "xi_grad"):
        assert not np.any(np.isnan(getattr(pd, field))), field
    assert set(pd.phase.ravel()) <= set(PHASES)
    assert set(pd.status.ravel()) <= set(STATUS)


def test_relu_in_closed_form():
    assert mfdnn.fixed_point("relu", 1.0, 0.3).q == pytest.approx(0.6, rel=1e-14)
    assert mfdnn.fixed_point("relu", 2.0, 0.0, q0=3.0).status == "scale_invariant"
    grown = mfdnn.fixed_point("relu", 3.0, 0.1)
    assert (grown.phase, grown.q, grown.c) == ("unbounded", math.inf, 1.0)
    assert grown.chi_1 == pytest.approx(1.5, rel=1e-14)
    gone = mfdnn.fixed_point("relu", 1.0, 0.0)
    assert (gone.q, gone.c, gone.status, gone.phase) == (0.0, 1.0, "zero_variance", "ordered")
    with pytest.raises(ValueError, match="single point"):
        mfdnn.critical_sigma_w2("relu", 0.1)
    with pytest.raises(ValueError, match="no edge of chaos"):
        mfdnn.critical_sigma_w2("softplus", 0.1)


def test_unbounded_gelu_has_the_limits_of_relu():
    fp = mfdnn.fixed_point("gelu", 3.0, 0.1)
    assert (fp.phase, fp.c, fp.chi_c, fp.xi_c) == ("unbounded", 1.0, 1.0, math.inf)
    assert fp.chi_1 == pytest.approx(1.5, rel=1e-6)


def test_diagram_is_the_fixed_point_of_every_point_for_any_executor(tmp_path):
    w2, b2 = np.linspace(0.5, 4, 7), np.linspace(0, 0.4, 5)
    pd = mfdnn.phase_diagram("tanh", w2, b2)
    fp = mfdnn.fixed_point("tanh", w2[:, None], b2)
    with ThreadPoolExecutor(1) as pool:
        other = mfdnn.phase_diagram("tanh", w2, b2, executor=pool)
    pd.save(tmp_path / "pd.npz")
    loaded = mfdnn.PhaseDiagram.load(tmp_path / "pd.npz")
    for field in ("q", "c", "chi_1", "chi_c", "xi_q", "xi_c", "xi_grad", "phase", "status"):
        for same in (fp, other, loaded):
            assert np.array_equal(getattr(pd, field), getattr(same, field)), field
    assert pd.to_xarray().q.shape == (7, 5)


def test_scalars_in_scalars_out_and_broadcasting():
    assert isinstance(mfdnn.expect("tanh", 1.0), float)
    assert isinstance(mfdnn.fixed_point("tanh", 1.5, 0.1).phase, str)
    assert mfdnn.expect_product("tanh", np.ones((3, 1)), np.array([0.1, 0.2])).shape == (3, 2)
    assert mfdnn.fixed_point("tanh", np.ones(3), 0.1).q.shape == (3,)
    assert mfdnn.critical_sigma_w2("tanh", [0.05, 0.1]).shape == (2,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mfdnn.expect("tanh", -1.0), "`q`"),
        (lambda: mfdnn.expect("tanh", math.nan), "`q`"),
        (lambda: mfdnn.expect("tanh", 1.0, derivative=3), "`derivative`"),
        (lambda: mfdnn.expect_product("tanh", 1.0, 1.5), "`c`"),
        (lambda: mfdnn.fixed_point("tanh", 1.0, -0.1), "`sigma_b2`"),
        (lambda: mfdnn.fixed_point("tanh", 1.0, 0.1, q0=0.0), "`q0`"),
        (lambda: mfdnn.fixed_point("tanh", np.ones(2), np.ones(3)), "broadcast"),
        (lambda: mfdnn.phase_diagram("tanh", [], [0.1]), "`sigma_w2`"),
        (lambda: mfdnn.critical_line("tanh", q=-1.0), "`q`"),
        (lambda: mfdnn.trajectory("tanh", 1.0, 0.1, depth=-1), "`depth`"),
        (lambda: mfdnn.activation("tanh", slope=1.0), "`slope`"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


def test_scale_invariant_networks_have_no_largest_variance():
    op = mfdnn.order_parameters(mfdnn.mlp([100] * 41 + [1], "relu", 3.0), q0=1e8, c0=0.3)
    np.testing.assert_allclose(op.q, 3e8 * 1.5 ** np.arange(41), rtol=1e-12)  # q -> 3/2 q, forty roundings
    X = 1e5 * np.eye(3)[:, [0, 1, 2, 0]]
    small, large = (mfdnn.order_parameters(mfdnn.mlp([4, 9, 2], "relu", 2.0), inputs=x) for x in (X / 1e5, X))
    np.testing.assert_allclose(large.q_st, 1e10 * small.q_st, rtol=1e-13)


def test_critical_weights_without_bias_are_the_slope_at_zero():
    for name in ("tanh", "elu", "sin", "hard_tanh"):
        assert mfdnn.critical_sigma_w2(name, 0.0) == pytest.approx(1.0, rel=1e-13)

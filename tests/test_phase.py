"""Fixed points, phases and trajectories against brute force, closed forms and sampled networks, in every corner."""

import csv
import importlib.util
import math
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cases
import naive
import numpy as np
import pytest
from slow import slow

import mfdnn
from mfdnn._compiled import kink_slope_products
from mfdnn.gaussian.kinks import kink_part
from mfdnn.gaussian.tables import Tables
from mfdnn.jobs import watch
from mfdnn.phase import PHASES, STATUS, maps, patience

DOCS = Path(__file__).parents[1] / "docs"


def bump(x):
    """Its second moment rises and falls with q, so that the variance map leaps over fixed points."""
    return x**2 * np.exp(-(x**2) / 2)


def bent_tanh(x):
    """phi'' = 0.4 at zero."""
    return np.tanh(x) + 0.2 * x**2 * np.exp(-(x**2))


USERS = {
    "bump": bump,
    "gaussian": lambda x: np.exp(-(x**2)),
    "cubic": lambda x: x**3,
    "constant": lambda x: 0 * x + 2.0,
    "zero": lambda x: 0 * x,
    "jump": lambda x: np.where(x > 0.4, 1.0, -1.0),
    "fast": lambda x: np.sin(5 * x),
}
FIELDS = ("q", "c", "chi_1", "chi_c", "xi_q", "xi_c", "xi_grad")

# -- fixed points --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("name", "w2"), [("tanh", 2.0), ("relu", 1.0), ("sin", 2.0), ("gelu", 1.0), ("selu", 0.8)]
)
def test_what_grows_at_most_linearly_is_known_at_every_variance(name, w2):
    far = mfdnn.fixed_point(name, w2, 0.1, q0=1e9)
    assert far.q == pytest.approx(mfdnn.fixed_point(name, w2, 0.1).q, rel=1e-12)


def test_near_the_edge_at_large_variance():
    """Where the Hermite series alone is hopeless: c* near 1 at q = 100."""
    line = mfdnn.critical_line("tanh", q=[10.0, 100.0])
    fp = mfdnn.fixed_point("tanh", line.sigma_w2 * 1.001, line.sigma_b2)
    for i in range(2):
        w2 = line.sigma_w2[i] * 1.001
        value = (w2 * mfdnn.expect_product("tanh", fp.q[i], fp.c[i]) + line.sigma_b2[i]) / fp.q[i]
        assert value == pytest.approx(fp.c[i], abs=1e-9)
    assert mfdnn.correlation_map("tanh", 1.0, 16.0, 0.09) == pytest.approx(1.0, abs=1e-12)


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
    for field in (*FIELDS, "phase", "status"):
        for same in (fp, other, loaded):
            assert np.array_equal(getattr(pd, field), getattr(same, field)), field
    assert pd.to_xarray().q.shape == (7, 5)


def test_critical_weights_without_bias_are_the_slope_at_zero():
    for name in ("tanh", "elu", "sin", "hard_tanh"):
        assert mfdnn.critical_sigma_w2(name, 0.0) == pytest.approx(1.0, rel=1e-13)


def test_scalars_in_scalars_out():
    assert isinstance(mfdnn.fixed_point("tanh", 1.5, 0.1).phase, str)
    assert mfdnn.fixed_point("tanh", np.ones(3), 0.1).q.shape == (3,)
    assert mfdnn.critical_sigma_w2("tanh", [0.05, 0.1]).shape == (2,)
    assert isinstance(mfdnn.variance_fixed_points("tanh", 2.0, 0.1).reached_from(1.0), float)


def test_half_stable_root_and_its_basins():
    """gelu at its half-stable point: the double root (3 + sqrt 17)/2 and a stable one below it."""
    w2, b2 = (cases.HALF_STABLE[("gelu",)][name] for name in ("C_W", "C_b"))
    fixed = mfdnn.variance_fixed_points("gelu", w2, b2)
    k = (3 + math.sqrt(17)) / 2
    # w2 and b2 are rounded to 1e-16, and a double root moves by the square root of that; an extremum does not.
    np.testing.assert_allclose(fixed.q, [3.0349814355, k], rtol=1e-8)
    assert fixed.stability.tolist() == ["stable", "half-stable"]
    assert fixed.stable.tolist() == [True, False]
    np.testing.assert_allclose(fixed.basin(0), [[0, k]], rtol=1e-8)
    np.testing.assert_allclose(fixed.basin(-1), [[k, np.inf]], rtol=1e-8)
    reached = fixed.reached_from([1.0, 3.4, 3.7, 50.0])
    np.testing.assert_allclose(reached, fixed.q[[0, 0, 1, 1]], rtol=1e-8)
    fp = mfdnn.fixed_point("gelu", w2, b2, q0=50.0)
    assert (fp.phase, fp.status) == ("critical", "several")


@pytest.mark.parametrize("above", [1e-9, 1e-7, 1e-6])
def test_two_fixed_points_next_to_each_other_are_not_leapt_over(above):
    """Just above the half-stable point both lie within one cell of the grid that brackets roots."""
    found = mfdnn.universality_class("gelu")
    w2, b2 = found.sigma_w2, found.sigma_b2 + above
    fixed = mfdnn.variance_fixed_points("gelu", w2, b2)
    assert fixed.stability.tolist() == ["stable", "unstable", "stable"]
    starts = [50.0, 0.5 * (fixed.q[1] + fixed.q[2]), 0.5 * (fixed.q[0] + fixed.q[1]), 0.5]
    for q0, goal in zip(starts, fixed.q[[2, 2, 0, 0]], strict=True):
        fp = mfdnn.fixed_point("gelu", w2, b2, q0=q0)
        assert fp.status == "several"
        # The slope is within 1e-6 of 1, which magnifies the 1e-14 of the map.
        assert fp.q == pytest.approx(goal, rel=1e-7)
    path = mfdnn.trajectory("gelu", w2, b2, 400_000, q0=50.0).q
    assert np.all(path >= fixed.q[2])
    # It approaches as 1/(a l) with a = 1.4e-4 until the slope, 1 - 2 sqrt(a above), takes over.
    assert path[-1] == pytest.approx(fixed.q[2], abs=1 / (1.4e-4 * 400_000))


@pytest.mark.parametrize(
    ("phi", "w2", "b2"),
    [("gelu", 2.0, 0.12), ("silu", 2.3, 0.1), ("tanh", 2.0, 0.0), (bump, 5.0, 0.0), (bump, 20.0, 0.0)],
)
def test_basins_are_where_iterates_end(phi, w2, b2):
    fixed = mfdnn.variance_fixed_points(phi, w2, b2)
    q0 = np.geomspace(1e-3, 1e5, 60)
    q = q0.copy()
    for _ in range(1500):
        q = np.minimum(mfdnn.variance_map(phi, q, w2, b2), 1e6)  # up there gelu and silu grow without bound
    q[q > 20] = np.inf  # above every fixed point
    np.testing.assert_allclose(fixed.reached_from(q0), q, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mfdnn.fixed_point(phi, w2, b2, q0=q0).q, fixed.reached_from(q0), rtol=0)
    for i, goal in enumerate(fixed.q):
        inside = np.zeros(q0.shape, bool)
        for low, high in fixed.basin(i):
            inside |= (q0 > low) & (q0 < high)
        assert np.array_equal(inside, np.abs(q - goal) <= 1e-6 * (1 + goal))


@pytest.mark.parametrize("phi", ["cos", "sin", bump, lambda x: np.exp(-(x**2)), lambda x: np.cos(4 * x)])
def test_maps_never_oscillate(phi):
    """E[phi^2 (z^2 - 1)] >= -E[phi^2]: q dE[phi^2]/dq >= -E[phi^2]/2, so no slope at a fixed point is below -1/2."""
    q = np.geomspace(1e-6, 1e2, 50)
    second = mfdnn.expect_product(phi, q)
    step = 1e-4  # central differences in log q: error 1e-8 times the third derivative
    rate = (mfdnn.expect_product(phi, q * (1 + step)) - mfdnn.expect_product(phi, q * (1 - step))) / (
        2 * step
    )
    assert np.all(rate >= -0.5 * second - 1e-6)
    for w2 in (0.5, 5.0, 50.0):
        assert np.all(mfdnn.variance_fixed_points(phi, w2, 0.01).slope >= -0.5)
        assert np.ptp(mfdnn.trajectory(phi, w2, 0.01, depth=3000).q[-2:]) <= 1e-12 * w2


@pytest.mark.parametrize("name", [*mfdnn.activation_names(), *USERS])
@pytest.mark.parametrize("keep_rate", [1.0, slow(0.7)])
def test_every_degenerate_place_of_the_plane_has_a_name(name, keep_rate):
    phi = USERS.get(name, name)
    found = mfdnn.universality_class(phi)
    w2 = [0.0, 1.0, 2.0, 9.0, 120.0, found.sigma_w2 or 4.0]
    b2 = [0.0, 1e-12, 0.05, 1.0, found.sigma_b2 or 0.2]
    try:
        edge = mfdnn.critical_line(phi)
    except ValueError:
        pass
    else:
        w2, b2 = np.append(w2, edge.sigma_w2[::200]), np.append(b2, edge.sigma_b2[::200])
    w2, b2 = np.unique(w2), np.unique(b2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd = mfdnn.phase_diagram(phi, w2, b2, keep_rate=keep_rate)
    for field in FIELDS:
        assert not np.any(np.isnan(getattr(pd, field))), field
    assert set(pd.phase.ravel()) <= set(PHASES)
    assert set(pd.status.ravel()) <= set(STATUS)
    assert np.all((pd.c >= 0) & (pd.c <= 1))
    weights, biases = np.meshgrid(w2, b2, indexing="ij")
    settled = (pd.q > 1e-11) & (pd.q < 1e3)
    q, c, weights, biases = (array[settled][::5] for array in (pd.q, pd.c, weights, biases))
    after = weights / keep_rate * mfdnn.expect_product(phi, q) + biases
    np.testing.assert_allclose(after, q, rtol=1e-9)  # the bar
    np.testing.assert_allclose((weights * mfdnn.expect_product(phi, q, c) + biases) / q, c, atol=1e-9)


# -- dropout -------------------------------------------------------------------------------------------------


def test_dropout_has_no_edge_for_correlations():
    w2 = np.linspace(1.0, 3.0, 41)
    fp = mfdnn.fixed_point("tanh", w2, 0.05, keep_rate=0.95)
    assert np.all(fp.c < 1) and np.all((fp.xi_c > 0) & (fp.xi_c < 50))
    assert {"ordered", "chaotic"} == set(fp.phase)  # of gradients
    nearly = mfdnn.fixed_point("tanh", w2, 0.05, keep_rate=1 - 1e-12)
    np.testing.assert_allclose(nearly.q, mfdnn.fixed_point("tanh", w2, 0.05).q, rtol=1e-11)
    one = mfdnn.correlation_map("tanh", 1.0, 2.0, 0.05, keep_rate=0.8)
    q = mfdnn.fixed_point("tanh", 2.0, 0.05, keep_rate=0.8).q
    assert one == pytest.approx(1 - 0.25 * 2.0 * mfdnn.expect_product("tanh", q) / q, abs=1e-12)


def test_dropout_in_closed_form():
    """Linear networks: q = sb2/(1 - sw2/rho), 1 - c = (1/rho - 1) sw2/(1 - sw2)."""
    fp = mfdnn.fixed_point("linear", 0.5, 0.1, keep_rate=0.8)
    assert fp.q == pytest.approx(0.1 / (1 - 0.625), rel=1e-13)
    assert fp.c == pytest.approx(1 - 0.25 * 0.5 / 0.5, rel=1e-13)
    assert (fp.chi_1, fp.chi_c) == (pytest.approx(0.625), pytest.approx(0.5))
    gone = mfdnn.fixed_point("linear", 0.5, 0.0, keep_rate=0.8)
    assert (gone.q, gone.c, gone.status) == (0.0, pytest.approx(0.75), "zero_variance")


def test_dropout_against_sampled_networks():
    rng = np.random.default_rng(8)
    width, depth, keep, w2, b2 = 1000, 3, 0.8, 2.0, 0.1
    values = []
    for _ in range(20):
        h = rng.standard_normal((2, width))
        h[1] = 0.6 * h[0] + 0.8 * h[1]
        for _ in range(depth):
            x = np.tanh(h) * (rng.random((2, width)) < keep) / keep
            h = x @ rng.standard_normal((width, width)).T * math.sqrt(w2 / width)
            h += math.sqrt(b2) * rng.standard_normal(width)
        values.append([np.mean(h**2), np.mean(h[0] * h[1])])
    mean, error = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / math.sqrt(20)
    path = mfdnn.trajectory("tanh", w2, b2, depth, q0=1.0, c0=0.6, keep_rate=keep)
    # Four standard errors: 1e-4 by chance.
    assert np.all(np.abs(mean - [path.q[-1], path.q[-1] * path.c[-1]]) <= 4 * error)


# -- trajectories --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_rate", [1.0, 0.8])
@pytest.mark.parametrize("c0", [1.0, 0.5, 0.0, -0.3, -0.95, -1.0])
@pytest.mark.parametrize(
    ("name", "w2", "b2"),
    [("tanh", 2.25, 0.05), ("gelu", 2.0, 0.1), ("relu", 2.0, 0.0), ("elu", 1.2, 0.1), ("cos", 3.0, 0.1)],
)
def test_trajectories_are_the_iterated_maps(name, w2, b2, c0, keep_rate):
    q, c = [1.3], [c0]
    for _ in range(8):
        c.append(mfdnn.correlation_map(name, c[-1], w2, b2, q=q[-1], keep_rate=keep_rate))
        c[-1] = max(-1.0, min(1.0, c[-1]))
        q.append(mfdnn.variance_map(name, q[-1], w2, b2, keep_rate))
    path = mfdnn.trajectory(name, w2, b2, 8, q0=1.3, c0=c0, keep_rate=keep_rate)
    np.testing.assert_allclose(path.q, q, rtol=1e-12)
    np.testing.assert_allclose(path.c, c, atol=1e-12)
    np.testing.assert_allclose(path.one_minus_c, 1 - path.c, atol=1e-15)


def test_equal_and_opposite_inputs_stay_so():
    assert np.all(mfdnn.trajectory("tanh", 4.0, 0.1, 500, c0=1.0).one_minus_c == 0)
    opposite = mfdnn.trajectory("tanh", 4.0, 0.0, 500, c0=-1.0)
    assert np.all(opposite.c == -1) and np.all(opposite.one_minus_c == 2)
    up, down = (mfdnn.trajectory("erf", 4.0, 0.0, 50, c0=c).c for c in (0.4, -0.4))
    assert np.array_equal(up, -down)


def test_the_distance_of_close_inputs_keeps_its_digits():
    """In the ordered phase 1 - c falls by chi_1 a layer, far below the spacing of numbers near 1."""
    fp = mfdnn.fixed_point("tanh", 1.0, 0.1)
    path = mfdnn.trajectory("tanh", 1.0, 0.1, 600, q0=fp.q, c0=0.5)
    rate = path.one_minus_c[301:601] / path.one_minus_c[300:600]
    assert path.one_minus_c[-1] < 1e-50
    np.testing.assert_allclose(rate, fp.chi_1, rtol=1e-12)


@pytest.mark.parametrize(
    ("phi", "w2", "b2", "q", "c", "status"),
    [
        ("relu", 3.0, 0.1, math.inf, 1.0, "unbounded"),
        ("relu", 1.0, 0.0, 0.0, 1.0, "zero_variance"),
        ("shifted_relu", 3.0, 0.1, math.inf, 1.0, "unbounded"),
        ("gelu", 3.0, 0.1, math.inf, 1.0, "unbounded"),
        ("cubic", 1.0, 0.1, math.inf, 0.0, "unbounded"),
        ("tanh", 0.0, 0.1, 0.1, 1.0, "ok"),
        ("tanh", 0.0, 0.0, 0.0, 1.0, "zero_variance"),
        ("tanh", 1.0, 0.09, None, 1.0, "ok"),
        ("sign", 1.0, 0.0, 1.0, 0.0, "ok"),
    ],
)
def test_a_hundred_thousand_layers(phi, w2, b2, q, c, status):
    path = mfdnn.trajectory(USERS.get(phi, phi), w2, b2, 100_000, c0=0.3)
    assert path.status == status
    assert path.q[-1] == pytest.approx(mfdnn.fixed_point("tanh", w2, b2).q if q is None else q, rel=1e-12)
    assert path.c[-1] == pytest.approx(c, abs=1e-8)
    assert not np.any(np.isnan([path.q, path.c, path.one_minus_c]))


TILTED = 0.37264883757438516, -0.16275468901560794  # E[phi(u)^2], E[phi(u) phi(v)] at q = 1, c = -1/2: see below


def tilted_clip(x):
    """Its kinks at -0.7 and 0.7 are found at places that differ in the last digits."""
    return np.clip(x, -0.7, 0.7) + 0.1 * np.maximum(x, 0)


def test_kinks_at_opposite_places_are_the_same_for_the_even_and_the_odd_part():
    """A sliver between two copies of one kink would hide it: minutes, and a table that is not resolved."""
    own = mfdnn.activations.activation(tilted_clip)
    even, odd = maps._parts(own)
    np.testing.assert_allclose(even.pieces.breaks, [0.0], atol=1e-13)
    np.testing.assert_allclose(odd.pieces.breaks, [-0.7, 0.7], atol=1e-13)
    path = mfdnn.trajectory(own, 2.0, 0.1, 1, c0=-0.5, keep_rate=0.9)
    # E[phi(u) phi(v)] and E[phi(u)^2] by nested adaptive quadrature, cut at the kinks.
    q, covariance = 2.0 / 0.9 * TILTED[0] + 0.1, 2.0 * TILTED[1] + 0.1
    assert path.q[1] == pytest.approx(q, rel=1e-12)
    assert path.c[1] == pytest.approx(covariance / q, rel=1e-11)


# -- slopes that are zero ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_rate", [1.0, 0.5])
@pytest.mark.parametrize("phi", [lambda x: 0 * x + 0.5, lambda x: np.sin(x) ** 2 + np.cos(x) ** 2])
def test_a_constant_forgets_everything_in_one_layer(phi, keep_rate):
    """Its slopes are rounding, of which a depth scale is no number: -1/log(1e-17) = 0.026."""
    fp = mfdnn.fixed_point(phi, [1.0, 2.0, 1e-6], 0.1, keep_rate=keep_rate)
    for name in ("chi_1", "chi_c", "xi_q", "xi_c", "xi_grad"):
        assert np.all(getattr(fp, name) == 0), name
    assert mfdnn.variance_fixed_points(phi, 1.0, 0.1, keep_rate).slope.tolist() == [0.0]
    assert mfdnn.correlation_decay(phi, 1.0, 0.1).xi_c == 0
    assert np.all(mfdnn.phase.depth_scales(phi, [1.0, 2.0], 0.1).xi_q == 0)


def test_slopes_beyond_the_digits_of_their_terms_are_zero():
    """For phi = sin(8 x) that of the variance map is 96 exp(-128 q*): the true depth scale is 0.01."""
    fp = mfdnn.fixed_point(lambda x: np.sin(8 * x), 1.5, 0.1)
    assert (fp.q, fp.c) == pytest.approx((0.85, 0.1 / 0.85), rel=1e-13)
    assert (fp.xi_q, fp.xi_c) == (0.0, 0.0)


def test_small_slopes_that_are_known_stay():
    """For phi = sin(a x) the slope of the variance map is sigma_w^2 a^2 exp(-2 a^2 q*)."""
    fp = mfdnn.fixed_point(lambda x: np.sin(3 * x), 2.0, 0.1)
    assert fp.xi_q == pytest.approx(-1 / np.log(2 * 9 * np.exp(-2 * 9 * fp.q)), rel=1e-6)


# -- activations that turn often ------------------------------------------------------------------------------


def many_kinks(x):
    """A saw of 400 teeth."""
    return np.abs(x - 2 * np.round(x / 2)) * (np.abs(x) < 400)


SAW = mfdnn.Activation(
    "saw",
    many_kinks,
    lambda x: np.sign(x - 2 * np.round(x / 2)) * (np.abs(x) < 400),
    np.arange(-400.0, 401.0).tolist(),
)


def test_tables_that_would_take_hours_are_refused_before_the_work(monkeypatch):
    monkeypatch.setattr(Tables, "_build_row", lambda *_: pytest.fail("began the work"))
    with pytest.raises(ValueError, match=r"activation 'saw' has too many kinks or turns .* variance of 450: .*; use"):
        mfdnn.trajectory(SAW, 1.0, 0.1, 3, q0=450.0)
    with pytest.raises(ValueError, match="too many kinks or turns"):
        mfdnn.fixed_point(SAW, 4.0, 430.0)


def test_staircases_are_quick_and_right():
    steps = mfdnn.Activation("steps", np.floor)
    kinks, q, theta = kink_part(steps, 12.0), np.array([0.5, 3.0]), np.array([0.01, 0.3, 1.5])
    # phi' is a unit mass at every integer.
    at = np.arange(-60, 61)
    c, s = np.cos(theta), np.sin(theta)
    for i, variance in enumerate(q):
        exponent = (at[:, None] ** 2 + at**2)[..., None] - 2 * c * (at[:, None] * at)[..., None]
        density = np.exp(-exponent / (2 * variance * s**2)) / (2 * np.pi * variance * s)
        found = kink_slope_products(kinks, 1, q, theta)[i]
        # Differences of squares lose 1/theta^2 of their digits in the plain sum.
        assert found == pytest.approx(density.sum(axis=(0, 1)), rel=1e-10)
    fixed = mfdnn.fixed_point(steps, 0.8, 0.1)
    # E[floor(u)^2] = q + 1/3 and E[floor(u) floor(v)] = q_st + 1/4, up to exp(-2 pi^2 q)
    assert fixed.q == pytest.approx((0.8 / 3 + 0.1) / 0.2, rel=1e-12)
    assert fixed.c == pytest.approx((0.8 / 4 + 0.1) / 0.2 / fixed.q, rel=1e-5)
    with pytest.raises(ValueError, match="too many kinks or turns"):
        mfdnn.fixed_point(steps, 1.5, 0.05)  # its variance has no bound


def test_what_takes_long_says_so_once(monkeypatch):
    own = Tables._build_row
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")

        def waits(self, i):
            while not said:
                time.sleep(0.001)
            return own(self, i)

        monkeypatch.setattr(Tables, "_build_row", waits)
        monkeypatch.setattr(patience, "AT_ONCE", 0.0)
        monkeypatch.setattr(watch, "LONG", 0.0)
        path = mfdnn.trajectory(tilted_clip, 1.0, 0.1, 5)
    assert len(said) == 1 and said[0].category is RuntimeWarning
    assert "table of correlations of activation 'tilted_clip' at variances up to 1 takes long" in str(said[0].message)
    monkeypatch.undo()
    np.testing.assert_array_equal(path.c, mfdnn.trajectory(tilted_clip, 1.0, 0.1, 5).c)


# -- the edge ------------------------------------------------------------------------------------------------


# sigma_b^2 = q - E[tanh^2] / E[sech^4], by mpmath's quad with 40 digits
SMALL_BIASES = {1e-3: 1.32538285338001725e-9, 1e-6: 1.33332533338319947e-18, 1e-9: 1.33333332533333363e-27}


@pytest.mark.parametrize(("q", "exact"), SMALL_BIASES.items())
def test_small_biases_on_the_line_are_no_rounding(q, exact):
    line = mfdnn.critical_line("tanh", q=q)
    error = abs(float(line.sigma_b2 / exact - 1))
    assert error <= 1e-14 + 1e-16 / q
    if q >= 1e-6:  # sigma_b2 ~ q^3: a smaller one than 1e-24 has q* where the line leaves the tables
        assert mfdnn.critical_sigma_w2("tanh", float(line.sigma_b2)) == pytest.approx(
            float(line.sigma_w2), rel=1e-12
        )


@pytest.mark.parametrize(
    "name", ["tanh", "elu", "selu", "gelu", "silu", "hard_tanh", "sigmoid", "cos", "softsign"]
)
@pytest.mark.parametrize("b2", [0.0, 1e-9, 1e-4, 0.05, 0.5])
def test_all_critical_networks_of_a_bias_variance(name, b2):
    line = mfdnn.critical_line(name, sigma_b2=b2)
    assert mfdnn.critical_sigma_w2(name, b2) in line.sigma_w2
    twin = naive.phi(name)
    for q, w2, stable in zip(line.q, line.sigma_w2, line.stable, strict=True):
        fixed = mfdnn.variance_fixed_points(name, w2, b2)
        nearest = np.argmin(np.abs(fixed.q - q))
        assert fixed.q[nearest] == pytest.approx(q, rel=1e-6, abs=1e-9)
        assert stable == fixed.stable[nearest]
        if q > 0:
            assert w2 * naive.second_moment(twin, q, 1) == pytest.approx(1, rel=1e-11)
            assert w2 * naive.second_moment(twin, q, 0) + b2 == pytest.approx(q, rel=1e-10)


def test_a_critical_network_with_a_given_variance():
    w2, b2 = mfdnn.critical_point("tanh", q=1 / 64)
    assert (w2, b2) == (pytest.approx(1.030557511, abs=1e-9), pytest.approx(4.65133e-6, rel=1e-6))
    fp = mfdnn.fixed_point("tanh", w2, b2)
    assert fp.q == pytest.approx(1 / 64, rel=1e-9) and fp.phase == "critical"
    assert mfdnn.critical_point("relu", q=3.0) == (2.0, 0.0)


def test_dropout_moves_the_edge_by_one_factor(tmp_path):
    keep = 0.8
    for name, b2 in (("tanh", 0.05), ("relu", 0.0), ("gelu", 0.2)):
        w2 = mfdnn.critical_sigma_w2(name, b2, keep_rate=keep)
        assert w2 == pytest.approx(keep * mfdnn.critical_sigma_w2(name, b2), rel=1e-15)
        assert mfdnn.critical_point(name, b2, keep_rate=keep) == (w2, b2)
        fp = mfdnn.fixed_point(name, w2, b2, keep_rate=keep)
        assert fp.chi_1 == pytest.approx(1, abs=1e-11) and fp.phase == "critical"
    line = mfdnn.critical_line("tanh", q=0.5, keep_rate=keep)
    assert isinstance(line.q, float) and isinstance(line.stable, bool)
    assert mfdnn.fixed_point("tanh", line.sigma_w2, line.sigma_b2, keep_rate=keep).chi_1 == pytest.approx(1)
    pd = mfdnn.phase_diagram("tanh", np.linspace(0.5, 3, 40), np.linspace(0, 0.3, 4), q0=2.0, keep_rate=keep)
    pd.save(tmp_path / "pd.npz")
    loaded = mfdnn.PhaseDiagram.load(tmp_path / "pd.npz")
    assert (loaded.q0, loaded.keep_rate) == (2.0, keep)
    assert (pd.to_xarray().q0, pd.to_xarray().keep_rate) == (2.0, keep)
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    ax = loaded.plot("phase")
    (drawn,) = (line for line in ax.lines if "edge" in str(line.get_label()))
    np.testing.assert_allclose(drawn.get_xdata(), mfdnn.critical_line("tanh", keep_rate=keep).sigma_w2)
    pyplot.close(ax.figure)


@pytest.mark.parametrize("b2", [0.0, 1e-9, 1e-4, 0.05])
def test_rounding_of_a_callable_makes_no_points_of_the_edge(b2):
    """hard_tanh is linear near zero: sigma_b2 of its line vanishes there but for rounding."""
    own = mfdnn.critical_line(lambda x: np.clip(x, -1, 1), sigma_b2=b2)
    known = mfdnn.critical_line("hard_tanh", sigma_b2=b2)
    assert own.q.shape == known.q.shape == (1,)
    np.testing.assert_allclose(own.sigma_w2, known.sigma_w2, rtol=1e-11)
    np.testing.assert_allclose(own.q, known.q, rtol=1e-10)


def test_slopes_of_what_outgrows_every_line_are_infinite():
    for phi in ("exp", USERS["cubic"]):
        fp = mfdnn.fixed_point(phi, 1.0, 0.1)
        assert (fp.q, fp.chi_1, fp.xi_grad, fp.phase) == (math.inf, math.inf, 0.0, "unbounded")


def test_lengths_beyond_the_tables_have_the_limits_of_large_variances():
    circle = mfdnn.curve_geometry("exp", 1.0, 0.1, 8, q0=1.0)
    assert circle.chi_1[-1] == circle.chi_2[-1] == circle.g[-1] == math.inf and circle.kappa2[-1] == 0
    assert not np.any(np.isnan([circle.g, circle.kappa2, circle.g_grassmann]))
    circle = mfdnn.curve_geometry("gelu", 3.0, 0.1, 100, q0=1.0)
    assert circle.q[-1] > 1e7 and (circle.chi_1[-1], circle.chi_2[-1]) == (pytest.approx(1.5, rel=1e-9), 0.0)


def test_slopes_of_vanishing_variances_and_neutral_lines():
    """For selu phi' jumps at zero: the slope there is the mean square of the two."""
    for name in ("tanh", "selu", "elu", "gelu"):
        fixed = mfdnn.variance_fixed_points(name, mfdnn.critical_sigma_w2(name, 0.0), 0.0)
        assert fixed.q[0] == 0 and fixed.slope[0] == pytest.approx(1, rel=1e-12)
    for name in ("relu", "leaky_relu", "abs", "linear"):
        line = mfdnn.critical_line(name, sigma_b2=0.0)
        assert line.stable.tolist() == [True]
        assert mfdnn.critical_line(name, q=3.0).stable is True
    with pytest.raises(ValueError, match="`index` must be at most 0"):
        mfdnn.variance_fixed_points("tanh", 1.0, 0.1).basin(1)


def test_correlations_stay_within_one():
    c = np.array([-1.0, -1 + 1e-16, 1 - 1e-16, 1.0])
    for w2 in np.linspace(0.3, 5, 40):
        assert np.all(np.abs(mfdnn.correlation_map("tanh", c, w2, 0.0, q=1.0)) <= 1)


def test_an_executor_without_map_is_refused():
    with pytest.raises(TypeError, match="`executor`"):
        mfdnn.phase_diagram("tanh", [1.0], [0.1], executor=3)


# -- universality --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "name"), [("gelu", "gelu"), ("silu", "silu"), ("silu", "swish")])
def test_half_stable_points_to_twelve_digits(reference, name):
    expected = cases.HALF_STABLE[(reference,)]
    found = mfdnn.universality_class(name)
    assert found.name == "half-stable"
    for value, key in ((found.sigma_w2, "C_W"), (found.sigma_b2, "C_b"), (found.q, "Kstar")):
        assert value == pytest.approx(expected[key], rel=1e-12)


def test_half_stable_points_of_callables():
    """The class is found by what phi does, not by its name; without its derivative."""
    own = mfdnn.universality_class(lambda x: x * (1 + np.tanh(x / 2)) / 2)
    known = mfdnn.universality_class("silu")
    for field in ("sigma_w2", "sigma_b2", "q"):
        assert getattr(own, field) == pytest.approx(getattr(known, field), rel=1e-9)
    assert own.a_1 == pytest.approx(0.75, rel=1e-7)


@pytest.mark.parametrize(
    ("phi", "name", "w2", "a_1", "b_1", "power"),
    [
        ("tanh", "K* = 0", 1.0, -2.0, -2.0, 1.0),
        ("sin", "K* = 0", 1.0, -1.0, -1.0, 1.0),
        ("erf", "K* = 0", math.pi / 4, -2.0, -2.0, 1.0),
        ("erf_unit", "K* = 0", 1.0, -math.pi / 2, -math.pi / 2, 1.0),
        (bent_tanh, "K* = 0", 1.0, -2 + 0.75 * 0.16, -2 + 0.16, 1.0),
        ("elu", "K* = 0", 1.0, -math.sqrt(2 / math.pi), -math.sqrt(2 / math.pi), 0.5),
        ("softsign", "K* = 0", 1.0, -4 * math.sqrt(2 / math.pi), -4 * math.sqrt(2 / math.pi), 0.5),
        ("hard_tanh", "K* = 0", 1.0, 0.0, 0.0, None),
        ("relu", "scale-invariant", 2.0, None, None, None),
        ("abs", "scale-invariant", 1.0, None, None, None),
        ("softplus", "none", None, None, None, None),
        ("sigmoid", "none", None, None, None, None),
        ("sign", "none", None, None, None, None),
        ("cubic", "none", None, None, None, None),
        ("zero", "none", None, None, None, None),
    ],
)
def test_universality_classes(phi, name, w2, a_1, b_1, power):
    found = mfdnn.universality_class(USERS.get(phi, phi) if isinstance(phi, str) else phi)
    assert (found.name, found.power) == (name, power)
    for value, expected in ((found.sigma_w2, w2), (found.a_1, a_1), (found.b_1, b_1)):
        assert value == (expected if expected is None else pytest.approx(expected, rel=1e-8, abs=1e-12))


@pytest.mark.parametrize("phi", ["tanh", "arctan", bent_tanh, "elu", "selu", "softsign"])
def test_variances_vanish_as_their_class_says(phi):
    found = mfdnn.universality_class(phi)
    l = 100_000
    q = mfdnn.trajectory(phi, found.sigma_w2, 0.0, l).q[-1]
    # Corrections are O(log l/l) for p = 1 and O(log l/l) relative to 1/l^2 for p = 1/2: up to 3e-4.
    assert q == pytest.approx((-found.power * found.a_1 * l) ** (-1 / found.power), rel=5e-4)


# -- decay of correlations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "b2", "kind", "tolerance"),
    [
        ("relu", 0.0, "1/l^2", 1e-3),
        (mfdnn.activation("leaky_relu", slope=0.3), 0.0, "1/l^2", 1e-3),
        ("abs", 0.0, "1/l^2", 1e-3),
        ("hard_tanh", 0.05, "1/l^2", 1e-3),
        ("shifted_relu", 0.2, "1/l^2", 1e-3),
        ("selu", 0.05, "1/l^2", 2e-3),
        ("selu", 0.0, "1/l^2", 2e-3),
        ("tanh", 0.05, "1/l", 1e-3),
        ("erf", 0.2, "1/l", 1e-3),
        ("elu", 0.05, "1/l", 2e-2),  # phi'' jumps: the correction is O(l^-1/2)
    ],
)
def test_decay_laws_are_those_of_trajectories(phi, b2, kind, tolerance):
    w2, l = mfdnn.critical_sigma_w2(phi, b2), 100_000
    law = mfdnn.correlation_decay(phi, w2, b2)
    gap = mfdnn.trajectory(phi, w2, b2, l, c0=0.3).one_minus_c[-1]
    assert (law.kind, law.c, law.xi_c) == (kind, 1.0, math.inf)
    assert gap * l**law.exponent == pytest.approx(law.coefficient, rel=tolerance)


def test_decay_coefficients_in_closed_form():
    leaky = mfdnn.activation("leaky_relu", slope=0.3)
    assert mfdnn.correlation_decay("relu", 2.0, 0.0).coefficient == pytest.approx(
        9 * math.pi**2 / 2, rel=1e-12
    )
    ratio = ((1 + 0.09) / 0.49) ** 2
    found = mfdnn.correlation_decay(leaky, 2 / 1.09, 0.0).coefficient
    assert found == pytest.approx(9 * math.pi**2 / 2 * ratio, rel=1e-12)
    w2, b2 = mfdnn.critical_point("tanh", sigma_b2=0.04)
    assert mfdnn.correlation_decay("tanh", w2, b2).coefficient == pytest.approx(
        7.084, abs=1e-3
    )  # Hayou et al.'s beta


@pytest.mark.parametrize(
    ("phi", "w2", "coefficient"),
    [
        ("relu", 2.0, 9 * math.pi**2 / 8),
        (mfdnn.activation("leaky_relu", slope=0.3), 2 / 1.09, 9 * math.pi**2 / 8 * (1.09 / 0.49) ** 2),
        ("abs", 1.0, 9 * math.pi**2 / 32),
    ],
)
def test_decay_where_the_variance_grows_by_the_biases_alone(phi, w2, coefficient):
    law = mfdnn.correlation_decay(phi, w2, 0.1)
    l = 200_000
    gap = mfdnn.trajectory(phi, w2, 0.1, l, c0=0.3).one_minus_c[-1]
    assert (law.kind, law.coefficient) == ("1/l^2", pytest.approx(coefficient, rel=1e-9))
    assert gap * l**2 == pytest.approx(coefficient, rel=1e-2)  # the correction is O(log l/sqrt l)


def test_decay_of_straight_lines_and_of_what_only_approaches_its_asymptotes():
    law = mfdnn.correlation_decay("linear", 1.0, 0.1)
    assert (law.kind, law.c, law.coefficient) == ("1/l", 1.0, None)
    gap = mfdnn.trajectory("linear", 1.0, 0.1, 20_000, c0=0.3).one_minus_c
    assert gap[-1] / gap[10_000] == pytest.approx(0.5, rel=1e-3)
    for w2, b2 in ((1.0, 0.0), (2.0, 0.1), (2.0, 0.0)):
        assert mfdnn.correlation_decay("linear", w2, b2).kind == "frozen"
        assert mfdnn.correlation_decay(lambda x: 1.0 * x, w2, b2).kind == "frozen"
    law = mfdnn.correlation_decay("shifted_relu", 2.0, 0.1)
    assert (law.kind, law.exponent, law.coefficient) == ("power", None, None)


def test_decay_at_a_half_stable_point_has_no_coefficient():
    found = mfdnn.universality_class("gelu")
    law = mfdnn.correlation_decay("gelu", found.sigma_w2, found.sigma_b2, q0=50.0)
    assert (law.kind, law.coefficient) == ("1/l", None)


def test_decay_off_the_edge_and_where_variances_vanish():
    fp = mfdnn.fixed_point("tanh", 2.0, 0.05)
    law = mfdnn.correlation_decay("tanh", 2.0, 0.05)
    assert (law.kind, law.c, law.xi_c) == ("exponential", fp.c, fp.xi_c)
    assert mfdnn.correlation_decay("linear", 1.0, 0.0).kind == "frozen"
    for name in ("tanh", "elu", "hard_tanh"):
        assert mfdnn.correlation_decay(name, 1.0, 0.0).kind == "frozen"
        c = mfdnn.trajectory(name, 1.0, 0.0, 100_000, c0=0.3).c
        assert abs(c[-1] - c[10_000]) < 2e-3 < c[-1]
    law = mfdnn.correlation_decay(bent_tanh, 1.0, 0.0)
    assert (law.kind, law.c) == ("power", 0.5)
    c = mfdnn.trajectory(bent_tanh, 1.0, 0.0, 100_000, c0=0.52).c - 0.5
    measured = math.log(c[1000] / c[-1]) / math.log(100)
    # dc/dl is quadratic in c - 1/2 as well, which is 0.03 here
    assert measured == pytest.approx(law.exponent, rel=0.06)
    for name in ("gelu", "relu"):  # unbounded: the law of relu
        assert mfdnn.correlation_decay(name, 3.0, 0.1).coefficient == pytest.approx(
            9 * math.pi**2 / 2, rel=1e-9
        )


# -- lengths and curvatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [point for point in cases.POOLE if point[0] == "tanh"])
def test_curvature_of_poole_et_al(point):
    _, sigma_w, sigma_b = point
    circle = mfdnn.curve_geometry("tanh", sigma_w**2, sigma_b**2, depth=40)
    values = cases.POOLE[point]
    chi_1, chi_2 = values["chi1"], values["chi2"]
    np.testing.assert_allclose(circle.chi_1, chi_1, rtol=1e-9)
    np.testing.assert_allclose(circle.chi_2, chi_2, rtol=1e-9)
    np.testing.assert_allclose(circle.g, circle.q[0] * chi_1 ** np.arange(41), rtol=1e-7)  # 40 powers of 1e-9
    np.testing.assert_allclose(circle.g_grassmann, circle.kappa2 * circle.g, rtol=1e-13)
    if chi_1 > 1.5:
        assert circle.kappa2[-1] == pytest.approx(3 * chi_2 / (chi_1 * (chi_1 - 1)), rel=1e-6)


def test_geometry_of_sampled_networks_off_the_fixed_point():
    rng = np.random.default_rng(3)
    width, depth, draws, w2, b2, q0 = 800, 3, 24, 6.25, 0.09, 0.7
    found = []
    for _ in range(draws):
        basis = np.linalg.qr(rng.standard_normal((width, 2)))[0] * math.sqrt(width * q0)
        h, v, a = basis[:, 0], basis[:, 1], -basis[:, 0]
        for _ in range(depth):
            weight = rng.standard_normal((width, width)) * math.sqrt(w2 / width)
            x = np.tanh(h)
            slope, bend = 1 - x**2, -2 * x * (1 - x**2)
            h, v, a = weight @ x, weight @ (slope * v), weight @ (bend * v**2 + slope * a)
            h += math.sqrt(b2) * rng.standard_normal(width)
        vv = v @ v
        found.append([vv / width, width * (vv * (a @ a) - (v @ a) ** 2) / vv**3])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / math.sqrt(draws)
    circle = mfdnn.curve_geometry("tanh", w2, b2, depth, q0=q0)
    # Four standard errors, and terms of order 10/width that a finite network adds to a ratio of means.
    expected = np.array([circle.g[-1], circle.kappa2[-1]])
    assert np.all(np.abs(mean - expected) <= 4 * error + 10 / width * expected)


def test_geometry_in_the_corners():
    for phi, w2, b2 in (("relu", 2.0, 0.0), ("linear", 2.0, 0.0), ("sign", 1.0, 0.1), ("tanh", 0.0, 0.1)):
        circle = mfdnn.curve_geometry(phi, w2, b2, 2500, q0=1.0)
        assert not np.any(np.isnan([circle.q, circle.g, circle.kappa2, circle.g_grassmann]))
    line = mfdnn.curve_geometry("linear", 2.0, 0.0, 5, q0=1.0)
    np.testing.assert_allclose(line.kappa2, 0.5 ** np.arange(6), rtol=1e-14)  # scaled by sqrt(2) a layer
    np.testing.assert_allclose(line.g_grassmann, 1.0, rtol=1e-14)
    assert mfdnn.curve_geometry("relu", 2.0, 0.0, 3, q0=1.0).kappa2[1] == math.inf


# -- the page of critical values -----------------------------------------------------------------------------


def test_the_page_of_critical_values_is_up_to_date(tmp_path):
    spec = importlib.util.spec_from_file_location("critical_values", DOCS / "critical_values.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write(tmp_path)
    tables = []
    for folder in (DOCS, tmp_path):
        with open(folder / "critical_values.csv", newline="", encoding="utf-8") as file:
            tables.append(list(csv.DictReader(file)))
    assert len(tables[0]) == len(tables[1]) > 0
    for stored, fresh in zip(*tables, strict=True):
        for name, text in stored.items():
            try:
                number = float(text)
            except ValueError:
                assert fresh[name] == text
                continue
            # xi = -1/log(slope) magnifies the 1e-13 of a slope near 1 by itself.
            assert float(fresh[name]) == pytest.approx(number, rel=1e-9), (stored, name)
        if stored["q"] and float(stored["q"]) > 0:
            w2, b2, q = (float(stored[name]) for name in ("sigma_w2", "sigma_b2", "q"))
            assert w2 * mfdnn.expect_product(stored["activation"], q) + b2 == pytest.approx(q, rel=1e-10)
    pages = [(folder / "critical_values.md").read_text(encoding="utf-8") for folder in (DOCS, tmp_path)]
    stored, fresh = ([line.split("|") for line in page.splitlines()] for page in pages)
    assert sum(len(line) > 1 for line in stored) > len(mfdnn.activation_names())
    assert [len(line) for line in stored] == [len(line) for line in fresh]
    for old, new in zip(stored, fresh, strict=True):
        for cell, again in zip(old, new, strict=True):
            try:
                number = float(cell)
            except ValueError:
                assert cell == again
                continue
            # Up to 13 digits are shown, which a_1, b_1 and xi have not.
            assert float(again) == pytest.approx(number, rel=1e-8, abs=1e-9), old


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mfdnn.fixed_point("tanh", 1.0, -0.1), "`sigma_b2`"),
        (lambda: mfdnn.fixed_point("tanh", 1.0, 0.1, q0=0.0), "`q0`"),
        (lambda: mfdnn.fixed_point("tanh", 1.0, 0.1, keep_rate=0.0), "`keep_rate`"),
        (lambda: mfdnn.fixed_point("tanh", 1.0, 0.1, keep_rate=1.1), "`keep_rate`"),
        (lambda: mfdnn.fixed_point("tanh", np.ones(2), np.ones(3)), "broadcast"),
        (lambda: mfdnn.phase_diagram("tanh", [], [0.1]), "`sigma_w2`"),
        (lambda: mfdnn.critical_line("tanh", q=-1.0), "`q`"),
        (lambda: mfdnn.critical_line("tanh", q=1.0, sigma_b2=0.1), "exclude"),
        (lambda: mfdnn.critical_line("sign"), "jumps"),
        (lambda: mfdnn.fixed_point("exp", 1e-3, 0.1, q0=100.0), "`q0`"),
        (lambda: mfdnn.phase_diagram("exp", [1e-3], [0.1], q0=100.0), "`q0`"),
        (lambda: mfdnn.variance_fixed_points("exp", 1e-3, 0.1).reached_from(100.0), "`q0`"),
        (lambda: mfdnn.critical_line("exp", q=4.0), "resolved"),
        (lambda: mfdnn.critical_line("tanh", q=1e-13), "below"),
        (lambda: mfdnn.critical_point("tanh", q=1e-13), "below"),
        (lambda: mfdnn.critical_sigma_w2("softplus", 0.1), "'softplus' has no edge of chaos"),
        (lambda: mfdnn.critical_line("softplus"), "'softplus' has no edge of chaos"),
        (lambda: mfdnn.critical_sigma_w2(lambda x: 0 * x, 0.0), "zero"),
        (lambda: mfdnn.critical_point("sigmoid", q=1.0), "sigma_b^2"),
        (lambda: mfdnn.critical_point("tanh", sigma_b2=0.1, q=1.0), "exclude"),
        (lambda: mfdnn.trajectory("tanh", 1.0, 0.1, depth=-1), "`depth`"),
        (lambda: mfdnn.trajectory("tanh", 1.0, 0.1, depth=3, c0=-1.5), "`c0`"),
        (lambda: mfdnn.trajectory("tanh", 1.0, 0.1, depth=3, q0=1e12), "`q`"),
        (lambda: mfdnn.curve_geometry("tanh", 0.5, 0.0, depth=3), "`q0`"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


def test_a_grid_that_does_not_fit_is_refused_before_the_work():
    with pytest.raises(MemoryError, match="a phase diagram of 1000000 x 1000000 points would take"):
        mfdnn.phase_diagram("tanh", np.linspace(0, 4, 10**6), np.linspace(0, 1, 10**6))

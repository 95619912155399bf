"""Gaussian expectations: known values, brute force, identities; and errors that are never understated."""

import math
import warnings

import cases
import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import Phi

import mfdnn
from mfdnn.gaussian import matrices as _matrices
from mfdnn.gaussian.products import direct

NAMES = mfdnn.activation_names()


def sine(c):
    return math.sqrt((1 - c) * (1 + c))


def twin(act):
    return naive.phi(act.name, **act.parameters)


def size_of(p, q1, q2, derivative):
    """By Cauchy and Schwarz the size of E[f(u) f(v)]: what errors are relative to."""
    return math.sqrt(naive.second_moment(p, q1, derivative) * naive.second_moment(p, q2, derivative))


# -- the catalogue ---------------------------------------------------------------------------------------------------

READERS = {
    "E_phi": lambda act, q, c: (mfdnn.expect(act, q), 1e-13),
    "E_dphi": lambda act, q, c: (mfdnn.expect(act, q, derivative=1), 1e-13),
    "E_phi2": lambda act, q, c: mfdnn.expect_product(act, q, return_error=True),
    "E_dphi2": lambda act, q, c: mfdnn.expect_product(act, q, derivative=1, return_error=True),
    "E_d2phi2": lambda act, q, c: mfdnn.expect_product(act, q, derivative=2, return_error=True),
    "E_phi_phi": lambda act, q, c: mfdnn.expect_product(act, q, c, return_error=True),
    "E_dphi_dphi": lambda act, q, c: mfdnn.expect_product(act, q, c, derivative=1, return_error=True),
}


@pytest.mark.parametrize(
    "case", [case for case in cases.moment_cases() if case.quantity in READERS], ids=cases.moment_id
)
def test_moments_equal_catalogue(case):
    name, parameters = case.activation
    act = mfdnn.activation(name, **parameters)
    value, error = READERS[case.quantity](act, case.q, case.c)
    assert abs(value - case.value) <= error + cases.MOMENT_ACCURACY
    # phi'' is read off polynomials of degree 15: two digits less.
    assert error <= (1e-9 if case.quantity == "E_d2phi2" else 1e-12)


# -- closed forms (section 0 of the theory notes; Cho & Saul 2009; Williams 1997; Tsuchida et al. 2018) ---------------

ANGLES = [-1.0, -0.999, -0.3, 0.0, 0.5, 0.9, 0.999, 1 - 1e-6, 1 - 1e-12, 1.0]
VARIANCES = [(1e-6, 1e-6), (1e-3, 2.0), (1.0, 1.0), (30.0, 30.0), (1e3, 1e3), (0.5, 1e3)]


def relu_pair(q1, q2, c):
    return math.sqrt(q1 * q2) * (sine(c) + (math.pi - math.acos(c)) * c) / (2 * math.pi)


def abs_pair(q1, q2, c):
    return 2 / math.pi * math.sqrt(q1 * q2) * (sine(c) + c * math.asin(c))


def gelu_pair(q1, q2, c):
    """Equal variances only."""
    q, k = q1, q1 * c
    p, d2 = (1 + q) ** 2, (1 + q) ** 2 - (q * c) ** 2
    d = math.sqrt(d2)
    return ((k**2 + q**2 * d2) / (p * d) + k * math.atan2(k, d)) / (2 * math.pi) + k / 4


def gelu_slope_pair(q1, q2, c):
    q, k = q1, q1 * c
    p, d2 = (1 + q) ** 2, (1 + q) ** 2 - (q * c) ** 2
    d = math.sqrt(d2)
    return (1 / d2 + (1 - q**2) / p + 1) * k / (2 * math.pi * d) + 1 / 4 + math.atan2(k, d) / (2 * math.pi)


def sin_pair(q1, q2, c):
    k, half = math.sqrt(q1 * q2) * c, (q1 + q2) / 2
    if half < 300:
        return math.exp(-half) * math.sinh(k)
    return (math.exp(k - half) - math.exp(-k - half)) / 2  # sinh overflows


CLOSED = {
    ("linear", 0): lambda q1, q2, c: math.sqrt(q1 * q2) * c,
    ("linear", 1): lambda q1, q2, c: 1.0,
    ("relu", 0): relu_pair,
    ("relu", 1): lambda q1, q2, c: (math.pi - math.acos(c)) / (2 * math.pi),
    ("abs", 0): abs_pair,
    ("abs", 1): lambda q1, q2, c: 2 / math.pi * math.asin(c),
    ("leaky_relu", 0): lambda q1, q2, c: 0.505**2 * math.sqrt(q1 * q2) * c + 0.495**2 * abs_pair(q1, q2, c),
    ("erf", 0): lambda q1, q2, c: (
        2 / math.pi * math.asin(2 * math.sqrt(q1 * q2) * c / math.sqrt((1 + 2 * q1) * (1 + 2 * q2)))
    ),
    ("erf", 1): lambda q1, q2, c: 4 / math.pi / math.sqrt((1 + 2 * q1) * (1 + 2 * q2) - 4 * q1 * q2 * c**2),
    ("gelu", 0): gelu_pair,
    ("gelu", 1): gelu_slope_pair,
    ("sin", 0): sin_pair,
    ("sin", 1): lambda q1, q2, c: (
        (math.exp(math.sqrt(q1 * q2) * c - (q1 + q2) / 2) + math.exp(-math.sqrt(q1 * q2) * c - (q1 + q2) / 2))
        / 2
    ),
    ("erf_unit", 1): lambda q1, q2, c: (
        1 / math.sqrt((1 + math.pi / 2 * q1) * (1 + math.pi / 2 * q2) - (math.pi / 2) ** 2 * q1 * q2 * c**2)
    ),
}


@pytest.mark.parametrize(("name", "derivative"), CLOSED, ids=str)
def test_pairs_equal_closed_forms(name, derivative):
    closed = CLOSED[name, derivative]
    for q1, q2 in VARIANCES:
        if name == "gelu" and q1 != q2:
            continue
        value, error = mfdnn.expect_product(name, q1, ANGLES, q2, derivative, return_error=True)
        exact = np.array([closed(q1, q2, c) for c in ANGLES])
        size = math.sqrt(closed(q1, q1, 1.0) * closed(q2, q2, 1.0))
        # acos and asin lose half the digits of the closed forms themselves near c = 1: sqrt(1e-16 eps).
        rounding = np.where(np.abs(ANGLES) > 0.99, 3e-13, 5e-15) * size
        assert np.all(np.abs(value - exact) <= error + rounding)
        assert np.all(error <= 3e-12 * size)


@pytest.mark.parametrize("q", [1e-6, 1e-3, 1.0, 30.0, 1e3])
def test_one_dimensional_moments_equal_closed_forms(q):
    inside = math.erf(1 / math.sqrt(2 * q))
    square = 1 + (q - 1) * inside - math.sqrt(2 * q / math.pi) * math.exp(-1 / (2 * q))
    # The closed form cancels for small q: good to one rounding of 1.
    assert mfdnn.expect_product("hard_tanh", q) == pytest.approx(square, rel=1e-13, abs=3e-16)
    assert mfdnn.expect_product("hard_tanh", q, derivative=1) == pytest.approx(inside, rel=1e-13)
    assert mfdnn.expect_product("gelu", q) == pytest.approx(gelu_pair(q, q, 1.0), rel=1e-13)
    for k in (1, 2):  # E[phi'^2k] of erf(sqrt(pi)/2 x)
        found = naive.gaussian_mean(lambda x, k=k: mfdnn.activation("erf_unit").slope(x) ** (2 * k), q)
        assert found == pytest.approx((1 + math.pi * k * q) ** -0.5, rel=1e-11)
    assert mfdnn.expect("relu", q) == pytest.approx(math.sqrt(q / (2 * math.pi)), rel=1e-14)
    assert mfdnn.expect("abs", q, derivative=2) == pytest.approx(2 / math.sqrt(2 * math.pi * q), rel=1e-14)


def test_second_derivatives_of_kinks_are_point_masses():
    c = np.array([-0.9, 0.0, 0.5, 0.999])
    s = np.sqrt(1 - c**2)
    for q in (0.5, 50.0):
        density = 1 / (2 * np.pi * q * s)
        np.testing.assert_allclose(mfdnn.expect_product("relu", q, c, derivative=2), density, rtol=1e-12)
        # hard_tanh'' = delta_{-1} - delta_1
        same, opposite = (np.exp(-(2 - 2 * t * c) / (2 * q * s**2)) for t in (1, -1))
        value = mfdnn.expect_product("hard_tanh", q, c, derivative=2)
        np.testing.assert_allclose(value, 2 * density * (same - opposite), rtol=1e-11, atol=1e-13 / q)
    assert mfdnn.expect_product("relu", 1.0, derivative=2) == math.inf
    assert mfdnn.expect_product("relu", 1.0, 1.0, 2.0, derivative=2) == math.inf
    assert mfdnn.expect_product("relu", 1.0, -1.0, 2.0, derivative=2) == math.inf
    # A kink at -1/2 meets none at 1/2: -u is never there when u is.
    assert mfdnn.expect_product("shifted_relu", 1.0, -1.0, derivative=2) == 0.0
    assert mfdnn.expect_product("shifted_relu", 1.0, 1.0, derivative=2) == math.inf


def test_kinks_that_were_found_meet_like_named_ones():
    """At c = -1 the kinks of hard_tanh meet in each other's place, also where they are found to 1e-12 only."""
    found = mfdnn.activation(lambda x: np.clip(x, -1.3, 1.3))
    assert mfdnn.expect_product(found, 1.0, -1.0, derivative=2) == -math.inf


def test_exp_has_its_domain():
    """Circles in the plane reach as far as exp does: E[exp(u) exp(v)] = exp(q (1 + c)), for all derivatives."""
    c = np.array([-0.5, 0.9, 1 - 1e-9])
    for derivative in (0, 1, 2):
        value, error = mfdnn.expect_product("exp", 2.8, c, derivative=derivative, return_error=True)
        exact = np.exp(2.8 * (1 + c))
        assert np.all(np.abs(value - exact) <= error) and np.all(error <= 1e-11 * math.exp(5.6))
    with pytest.raises(ValueError, match=r"`q` = 3 is beyond 2.8.* activation 'exp' .* grows"):
        mfdnn.expect_product("exp", 3.0)


def test_step_and_sign_answer_as_documented():
    for name, jump in (("step", 1.0), ("sign", 2.0)):
        assert mfdnn.expect(name, 2.0, 1) == pytest.approx(jump / math.sqrt(4 * math.pi), rel=1e-14)
        assert mfdnn.expect_product(name, 2.0, derivative=1) == math.inf
        slope = mfdnn.expect_product(name, 2.0, 0.6, derivative=1)
        assert slope == pytest.approx(jump**2 / (4 * math.pi * 0.8), rel=1e-14)
        with pytest.raises(ValueError, match=r"`derivative` = 2, but .* jumps"):
            mfdnn.expect_product(name, 2.0, 0.6, derivative=2)


def test_jumps_make_slopes_infinite_at_correlation_one_only():
    step = mfdnn.activation(lambda x: np.where(x > 0, 1.0, -1.0))
    c = np.array([-0.8, 0.0, 0.3, 0.99])
    np.testing.assert_allclose(
        mfdnn.expect_product(step, 2.0, c), 2 / np.pi * np.arcsin(c), rtol=1e-13, atol=1e-16
    )
    slope = mfdnn.expect_product(step, 2.0, c, derivative=1)
    np.testing.assert_allclose(slope, 4 / (2 * np.pi * 2.0 * np.sqrt(1 - c**2)), rtol=1e-12)
    assert mfdnn.expect_product(step, 2.0, derivative=1) == math.inf
    assert mfdnn.expect(step, 2.0, derivative=1) == pytest.approx(2 / math.sqrt(2 * math.pi * 2.0), rel=1e-14)
    with pytest.raises(ValueError, match="jumps"):
        mfdnn.expect_product(step, 1.0, 0.5, derivative=2)


# -- brute force -----------------------------------------------------------------------------------------------------


def assert_within_bounds(act, p, q1, q2, c, derivative, reach=1e-11):
    value, error = mfdnn.expect_product(act, q1, c, q2, derivative, return_error=True)
    size = size_of(p, q1, q2, derivative)
    exact = naive.expect_product(p, q1, c, q2, derivative)
    # The oracle is good to 1e-13.
    assert abs(value - exact) <= error + 2e-13 * size
    assert error <= reach * size


def sech2(x):
    return 1 - np.tanh(x) ** 2


USERS = [
    Phi("steep", lambda x: np.tanh(20 * x), lambda x: 20 * sech2(20 * x)),
    Phi("kink at 0.3", lambda x: np.tanh(x) + np.maximum(x - 0.3, 0), lambda x: sech2(x) + (x > 0.3), (0.3,)),
    Phi("kink at -2", lambda x: np.maximum(x, -2.0), lambda x: 1.0 * (x > -2), (-2.0,)),
    Phi("cubic", lambda x: x**3, lambda x: 3 * x**2),
    Phi(
        "hard swish",
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.where(np.abs(x) < 3, (2 * x + 3) / 6, np.where(x > 0, 1.0, 0.0)),
        (-3.0, 3.0),
    ),
    Phi(
        "bent at 0.7",
        lambda x: np.where(x > 0.7, x, 0.7 + np.expm1(np.minimum(x - 0.7, 0))),
        lambda x: np.where(x > 0.7, 1.0, np.exp(np.minimum(x - 0.7, 0))),
        (0.7,),
    ),
    Phi("jump", lambda x: np.where(x > 0.2, 1.0, -1.0) + np.tanh(x), None, (0.2,)),
    Phi("constant", lambda x: 0 * x + 2.0, lambda x: 0 * x),
]


@pytest.mark.parametrize("p", USERS, ids=lambda p: p.name)
def test_callables_on_equal_terms(p):
    """Bare callables: no derivative, no kinks named."""
    act = mfdnn.activation(p.value)
    for q, c in [(1e-3, 0.5), (0.8, -0.3), (0.8, 0.999), (30.0, 1 - 1e-9)]:
        # Near zero x^3 is as uncertain as its polynomial on [0, 1/2]: 1e-16 of 1/8.
        assert_within_bounds(act, p, q, q, c, 0, reach=1e-11 if p.name == "cubic" else 2e-12)
        if p.slope is not None:
            value, error = mfdnn.expect_product(act, q, c, derivative=1, return_error=True)
            exact = naive.expect_product(p, q, c, derivative=1)
            size = size_of(p, q, q, 1)
            assert abs(value - exact) <= error + 2e-13 * size
            # phi' is read off phi, and is as uncertain as phi is large.
            assert error <= 1e-9 * size + 1e-20 or p.name == "cubic"


def test_fast_callables_equal_their_closed_form():
    act = mfdnn.activation(lambda x: np.sin(5 * x))
    c = np.array([-0.999, 0.5, 1 - 1e-9, 1.0])
    for q in (1e-3, 1.0, 30.0):
        value, error = mfdnn.expect_product(act, q, c, return_error=True)
        exact = (np.exp(-25 * q * (1 - c)) - np.exp(-25 * q * (1 + c))) / 2
        assert np.all(np.abs(value - exact) <= error)
        assert np.all(error <= 2e-12 * exact[-1])


def test_singularities_that_are_no_kinks_are_confessed():
    act = mfdnn.activation(lambda x: np.abs(x) ** 1.5)
    p = Phi("x^1.5", lambda x: np.abs(x) ** 1.5, lambda x: 1.5 * np.sqrt(np.abs(x)) * np.sign(x), (0.0,))
    for derivative in (0, 1):
        value, error = mfdnn.expect_product(act, 1.0, 0.9, derivative=derivative, return_error=True)
        exact = naive.expect_product(p, 1.0, 0.9, derivative=derivative)
        assert abs(value - exact) <= error
        assert error < 2e-5


@pytest.mark.parametrize(
    "p", [naive.tanh(), naive.gelu(), naive.sigmoid(), naive.sine()], ids=lambda p: p.name
)
def test_second_derivatives_of_smooth_functions(p):
    for q, c in [(1e-3, 0.5), (1.0, -0.3), (1.0, 1.0), (30.0, 0.999)]:
        assert_within_bounds(p.name, p, q, q, c, 2, reach=1e-7)


@pytest.mark.parametrize("name", ["tanh", "elu", "selu", "hard_tanh", "gelu"])
def test_direct_integration_equals_the_series(name):
    """The two ways to integrate a pair, held against each other where both are good."""
    act = mfdnn.activation(name)
    for q1, q2, c in [(0.3, 0.3, 0.5), (1.0, 2.0, -0.7), (0.01, 5.0, 0.2)]:
        for derivative in (0, 1):
            value, error = mfdnn.expect_product(act, q1, c, q2, derivative, return_error=True)
            other, other_error = direct(act, q1, q2, c, derivative)
            assert abs(value - other) <= error + other_error


# -- identities ------------------------------------------------------------------------------------------------------

JUMPING = ("step", "sign")
names = st.sampled_from(sorted(set(NAMES) - {"exp"}))  # for variances up to 50
continuous = st.sampled_from(sorted(set(NAMES) - {"exp", *JUMPING}))
log_variances = st.floats(math.log(1e-3), math.log(50.0))
correlations = st.floats(-0.95, 0.95)


@given(names, log_variances, log_variances, correlations)
def test_a_pair_has_no_order(name, x1, x2, c):
    for derivative in (0, 1):
        one, error = mfdnn.expect_product(name, math.exp(x1), c, math.exp(x2), derivative, return_error=True)
        other = mfdnn.expect_product(name, math.exp(x2), c, math.exp(x1), derivative)
        assert abs(one - other) <= 2 * error


@given(names, log_variances, log_variances, correlations)
def test_derivative_in_the_correlation_is_the_product_of_slopes(name, x1, x2, c):
    """d/dc E[phi phi] = sqrt(q1 q2) E[phi' phi']."""
    q1, q2 = math.exp(x1), math.exp(x2)
    h = 1e-3 * (1 - abs(c))
    f = mfdnn.expect_product(name, q1, c + h * np.array([-2, -1, 1, 2]), q2)
    slope = mfdnn.expect_product(name, q1, c, q2, derivative=1) * math.sqrt(q1 * q2)
    size = math.sqrt(mfdnn.expect_product(name, q1) * mfdnn.expect_product(name, q2))
    # Five points: h^4 f^(5)/30, and |f^(k)| <= k! size / (1 - |c|)^k; rounding 1e-13/h.
    assert (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h) == pytest.approx(
        slope, abs=size * (1e-11 / (1 - abs(c)) + 1e-12 / h)
    )


@given(continuous, log_variances)
def test_slope_of_the_correlation_map_at_one_is_chi_1(name, x):
    """E[phi^2] - E[phi phi] = q E[phi'^2] (1 - c) + O((1 - c)^(3/2)), the square root where phi has a kink."""
    q, gap = math.exp(x), 1e-6
    second, slope2 = mfdnn.expect_product(name, q), mfdnn.expect_product(name, q, derivative=1)
    quotient = (second - mfdnn.expect_product(name, q, 1 - gap)) / (q * gap)
    assert quotient == pytest.approx(
        slope2, rel=0, abs=3 * math.sqrt(gap) * slope2 + 1e-12 * second / (q * gap)
    )
    assert mfdnn.expect_product(name, q, 1 - 1e-9, derivative=1) == pytest.approx(slope2, rel=1e-3)


@given(continuous, log_variances, correlations)
def test_products_of_one_variance_obey_cauchy_and_schwarz(name, x, c):
    q = math.exp(x)
    for derivative in (0, 1):
        value, error = mfdnn.expect_product(name, q, c, derivative=derivative, return_error=True)
        assert abs(value) <= mfdnn.expect_product(name, q, derivative=derivative) + 2 * error


@given(st.sampled_from(["tanh", "erf", "sin", "hard_tanh", "linear"]), log_variances, correlations)
def test_odd_functions_are_odd_in_the_correlation(name, x, c):
    q = math.exp(x)
    size = mfdnn.expect_product(name, q)
    assert mfdnn.expect(name, q) == pytest.approx(0, abs=1e-15 * math.sqrt(size) + 1e-16)
    for derivative, sign in ((0, -1), (1, 1)):
        one, error = mfdnn.expect_product(name, q, c, derivative=derivative, return_error=True)
        assert abs(one - sign * mfdnn.expect_product(name, q, -c, derivative=derivative)) <= 2 * error


@pytest.mark.parametrize("q", [0.01, 1.0, 20.0])
@pytest.mark.parametrize(
    "p", [naive.relu(), naive.elu(), naive.hard_tanh(), naive.gelu(), USERS[1]], ids=lambda p: p.name
)
def test_derivatives_are_moments_with_hermite_polynomials(p, q):
    """E[phi'] = E[phi u]/q and E[phi''] = E[phi (u^2 - q)]/q^2, kinks and all."""
    act = mfdnn.activation(p.name) if p.name in NAMES else mfdnn.activation(p.value)
    first = naive.gaussian_mean(lambda u: p.value(u) * u, q, p.kinks) / q
    second = naive.gaussian_mean(lambda u: p.value(u) * (u**2 - q), q, p.kinks) / q**2
    scale = math.sqrt(naive.second_moment(p, q))
    assert mfdnn.expect(act, q, 1) == pytest.approx(first, abs=1e-12 * scale / math.sqrt(q))
    assert mfdnn.expect(act, q, 2) == pytest.approx(second, abs=1e-11 * scale / q)


@pytest.mark.parametrize("name", NAMES)
def test_limits_of_no_variance(name):
    act = mfdnn.activation(name)
    sides = act(np.array([-1e-300, 1e-300]))
    at_zero = sides.mean()
    assert mfdnn.expect(act, 0.0) == pytest.approx(at_zero, abs=1e-299)
    assert mfdnn.expect_product(act, 0.0) == np.mean(sides**2)
    if name in JUMPING:
        assert (
            mfdnn.expect(act, 0.0, derivative=1) == mfdnn.expect_product(act, 0.0, derivative=1) == math.inf
        )
        return
    sides = act.slope(np.array([-1e-300, 1e-300]))
    assert mfdnn.expect(act, 0.0, derivative=1) == pytest.approx(sides.mean(), abs=1e-15)
    assert mfdnn.expect_product(act, 0.0, derivative=1) == pytest.approx(np.mean(sides**2), rel=1e-14)
    assert mfdnn.expect_product(act, 0.0, 0.3, 2.0) == pytest.approx(
        at_zero * mfdnn.expect(act, 2.0), abs=1e-15
    )
    # Continuous there.
    assert mfdnn.expect_product(act, 1e-14) == pytest.approx(at_zero**2, abs=1e-6)
    assert mfdnn.expect_product(act, 1e-13, 0.5, derivative=1) == pytest.approx(
        mfdnn.expect_product(act, 1e-11, 0.5, derivative=1), rel=1e-5, abs=1e-10
    )
    assert mfdnn.expect(act, 0.0, derivative=2) == (
        math.inf if 0.0 in act.kinks else pytest.approx(mfdnn.expect(act, 1e-12, derivative=2), abs=1e-5)
    )


# -- for layers --------------------------------------------------------------------------------------------------------


def gram(rng, n, scale=1.0):
    x = rng.standard_normal((n, 6)) * rng.uniform(0.3, 2.0, (n, 1)) * scale
    return x @ x.T / 6


@pytest.mark.parametrize("name", NAMES)
def test_moments_are_those_of_single_variances(name):
    act = mfdnn.activation(name)
    q = np.array([[0.0, 1e-14, 1e-6], [0.3, 2.0, 2.5 if name == "exp" else 900.0]])
    mean, second, slope2 = _matrices.moments(act, q)
    scale = np.sqrt(mfdnn.expect_product(act, q))
    np.testing.assert_allclose(mean, mfdnn.expect(act, q), rtol=0, atol=1e-13 * scale.max())
    np.testing.assert_allclose(second, scale**2, rtol=2e-13)
    np.testing.assert_allclose(slope2, mfdnn.expect_product(act, q, derivative=1), rtol=2e-12)


@pytest.mark.parametrize("name", ["tanh", "selu", "hard_tanh", "gelu", "sigmoid"])
def test_matrices_are_those_of_single_pairs(name):
    act = mfdnn.activation(name)
    covariance = gram(np.random.default_rng(1), 7)
    variance = np.diagonal(covariance).copy()
    corr = np.clip(covariance / np.sqrt(np.multiply.outer(variance, variance)), -1, 1)
    np.fill_diagonal(corr, 1.0)
    for order, found in enumerate(_matrices.covariances(act, variance, covariance)):
        expected, error = mfdnn.expect_product(
            act, variance[:, None], corr, variance, order, return_error=True
        )
        size = np.sqrt(np.multiply.outer(np.diagonal(expected), np.diagonal(expected)))
        assert np.all(np.abs(found - expected) <= error + 1e-11 * size)
        np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("name", ["tanh", "selu", "elu", "hard_tanh"])
def test_inputs_that_are_almost_copies_are_repaired_without_an_integral_each(name, monkeypatch):
    """Near copies of large variance, where the series alone is off by up to 1e-3."""
    rng = np.random.default_rng(2)
    x = 5 * rng.standard_normal(6) + np.concatenate([np.zeros((1, 6)), 0.03 * rng.standard_normal((9, 6))])
    covariance = x @ x.T / 6
    variance = np.diagonal(covariance).copy()
    corr = np.minimum(covariance / np.sqrt(np.multiply.outer(variance, variance)), 1.0)
    act = mfdnn.activation(name)
    monkeypatch.setattr(_matrices, "MAX_DIRECT", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = _matrices.covariances(act, variance, covariance)
    for order in (0, 1):
        for s, t in [(0, 1), (2, 7), (8, 3)]:
            exact = direct(act, variance[s], variance[t], corr[s, t], order)[0]
            size = mfdnn.expect_product(act, variance[s], derivative=order)
            # Variances differ by 2 %: their effect on what the series leaves out is of second order.
            assert abs(found[order][s, t] - exact) <= (3e-9 if order == 0 else 1e-6) * size


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_many_uneven_inputs_take_a_longer_series_and_no_integral(name, monkeypatch):
    """Pixels of images: variances that differ, correlations of 0.9 and more."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(20) + 0.3 * rng.standard_normal((80, 20))) * rng.uniform(1.5, 2.5, (80, 1))
    covariance = x @ x.T / 20
    variance = np.diagonal(covariance).copy()
    act = mfdnn.activation(name)
    monkeypatch.setattr(_matrices, "MANY", 500)
    only = OnlySeries(_matrices.tables(act))
    monkeypatch.setattr(_matrices, "tables", lambda act: only)
    found = _matrices.covariances(act, variance, covariance)
    for order in (0, 1):
        for s, t in [(0, 1), (2, 70), (9, 33), (50, 4)]:
            c = covariance[s, t] / math.sqrt(variance[s] * variance[t])
            exact = direct(act, variance[s], variance[t], c, order)[0]
            assert found[order][s, t] == pytest.approx(exact, rel=1e-11)  # MATRIX_TARGET


class OnlySeries:
    """Tables without the one that costs an integral a pair."""

    def __init__(self, of):
        self.moments, self.hermite, self.correlations = of.moments, of.hermite, of.correlations
        self.long_range, self.long_hermite, self.q_max = of.long_range, of.long_hermite, of.q_max

    @property
    def smoothed(self):
        raise AssertionError("pairs were integrated")


def test_hard_pairs_are_integrated_and_too_many_of_them_announced(monkeypatch):
    # Opposite inputs: no table of equal variances helps.
    x = np.array([[3.0, 4.0], [-3.0, -4.00001], [-3.00001, -4.0]])
    covariance = x @ x.T
    variance = np.diagonal(covariance).copy()
    act = mfdnn.activation("tanh")
    value, slope = _matrices.covariances(act, variance, covariance)
    c = covariance[0, 1] / math.sqrt(variance[0] * variance[1])
    assert value[0, 1] == pytest.approx(mfdnn.expect_product(act, variance[0], c, variance[1]), rel=1e-11)
    assert slope[0, 1] == pytest.approx(
        mfdnn.expect_product(act, variance[0], c, variance[1], derivative=1), rel=1e-10
    )
    monkeypatch.setattr(_matrices, "MAX_DIRECT", 0)
    with pytest.warns(RuntimeWarning, match=r"2 pairs of inputs are too similar.*'tanh'"):
        _matrices.covariances(act, variance, covariance)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "elu"])
def test_inputs_without_variance(name):
    x = np.array([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [1e-7, 0.0]])
    covariance = x @ x.T
    act = mfdnn.activation(name)
    variance = np.diagonal(covariance).copy()
    value, slope = _matrices.covariances(act, variance, covariance)
    at_zero = float(act(np.zeros(1))[0])
    assert value[0, 1] == value[1, 0] == pytest.approx(at_zero * mfdnn.expect(act, 5.0), abs=1e-15)
    assert value[0, 2] == value[0, 0] == at_zero**2
    assert (
        slope[0, 2] == slope[0, 0] == pytest.approx(mfdnn.expect_product(act, 0.0, derivative=1), rel=1e-14)
    )
    c = covariance[1, 3] / math.sqrt(variance[1] * variance[3])
    assert value[1, 3] == pytest.approx(mfdnn.expect_product(act, 5.0, c, variance[3]), rel=1e-12)
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(slope))


@pytest.mark.parametrize("name", ["tanh", "relu", "elu"])
def test_exchangeable_inputs_are_two_given_ones(name):
    act = mfdnn.activation(name)
    variance, covariance = np.array([1.3, 0.4, 0.0]), np.array([0.5, -0.2, 0.0])
    together = _matrices.covariances(act, variance, covariance)
    for i in range(2):
        matrix = np.full((2, 2), covariance[i])
        np.fill_diagonal(matrix, variance[i])
        for one, two in zip(
            together, _matrices.covariances(act, np.full(2, variance[i]), matrix), strict=True
        ):
            assert one[i] == pytest.approx(two[0, 1], rel=1e-12)
    assert together[0][2] == float(act(np.zeros(1))[0]) ** 2


def test_scale_invariant_networks_have_no_largest_variance():
    op = mfdnn.order_parameters(mfdnn.mlp([100] * 41 + [1], "relu", 3.0), q0=1e8, c0=0.3)
    np.testing.assert_allclose(op.q, 3e8 * 1.5 ** np.arange(41), rtol=1e-12)  # q -> 3/2 q, forty roundings
    X = 1e5 * np.eye(3)[:, [0, 1, 2, 0]]
    small, large = (mfdnn.order_parameters(mfdnn.mlp([4, 9, 2], "relu", 2.0), inputs=x) for x in (X / 1e5, X))
    np.testing.assert_allclose(large.q_st, 1e10 * small.q_st, rtol=1e-13)


# -- manners ---------------------------------------------------------------------------------------------------------


def test_scalars_in_scalars_out_and_broadcasting():
    assert isinstance(mfdnn.expect("tanh", 1), float)
    value, error = mfdnn.expect_product("tanh", 1.0, 0.5, return_error=True)
    assert isinstance(value, float) and isinstance(error, float)
    q, c, q2 = np.ones((4, 1, 1)), np.zeros((3, 1)), np.ones(2)
    assert mfdnn.expect_product("tanh", q, c, q2).shape == (4, 3, 2)
    assert mfdnn.expect("relu", np.ones((2, 0))).shape == (2, 0)
    assert mfdnn.expect_product("relu", [], 0.5).shape == (0,)
    lists = mfdnn.expect_product("relu", [1, 2], 0.5)
    np.testing.assert_array_equal(lists, [mfdnn.expect_product("relu", q, 0.5) for q in (1, 2)])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mfdnn.expect("tanh", -1.0), ValueError, "`q` is a variance and must be >= 0, got -1"),
        (lambda: mfdnn.expect("tanh", math.nan), ValueError, "`q` must be finite"),
        (lambda: mfdnn.expect("tanh", "one"), TypeError, "`q` must be a real number"),
        (lambda: mfdnn.expect("tanh", 1j), TypeError, "`q` must be a real number"),
        (
            lambda: mfdnn.expect("tanh", 1.0, derivative=3),
            ValueError,
            "`derivative` must be 0, 1 or 2, got 3",
        ),
        (lambda: mfdnn.expect("tanh", 1.0, derivative=True), ValueError, "`derivative` must be 0, 1 or 2"),
        (
            lambda: mfdnn.expect_product("tanh", 1.0, 1.5),
            ValueError,
            r"`c` is a correlation in \[-1, 1\], got 1.5",
        ),
        (lambda: mfdnn.expect_product("tanh", 1.0, 0.5, -2.0), ValueError, "`q2` is a variance"),
        (
            lambda: mfdnn.expect_product("tanh", np.ones(2), np.zeros(3)),
            ValueError,
            r"`q`, `c`, `q2` must broadcast, got shapes \(2,\), \(3,\), \(2,\)",
        ),
        (
            lambda: mfdnn.expect(np.exp, 1e3),
            ValueError,
            "`q` = 1000 is beyond .* grows or oscillates too fast",
        ),
        (lambda: mfdnn.expect_product("sin", 1.0, 0.5, 1e5), ValueError, "`q` = 100000 is beyond"),
        (lambda: mfdnn.expect("tanhh", 1.0), ValueError, "did you mean tanh"),
    ],
)
def test_wrong_input_gets_a_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()

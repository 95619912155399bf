"""Errors are never understated: random activations against brute force, and known traps. See `make honesty`."""

import math
from functools import cache

import honesty
import numpy as np
import pytest
from honesty import Shape

import mfdnn

# -- the reference itself --------------------------------------------------------------------------------------------


def relu_pair(q1, q2, c):
    s = math.sqrt((1 - c) * (1 + c))
    return math.sqrt(q1 * q2) * (s + (math.pi - math.atan2(s, c)) * c) / (2 * math.pi)


@pytest.mark.parametrize(("q1", "q2", "c"), [(1.0, 1.0, 0.5), (200.0, 0.01, -0.9), (30.0, 30.0, 1 - 1e-9)])
def test_reference_knows_its_error(q1, q2, c):
    relu = Shape("relu", lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), {0.0: 0.0})
    value, error = honesty.pair(relu, q1, q2, c, 0)
    assert abs(value - relu_pair(q1, q2, c)) <= error + 1e-15 * math.sqrt(q1 * q2)
    assert error <= 3e-14 * math.sqrt(q1 * q2)
    step = Shape("step", lambda x: 1.0 * (x > 0), np.zeros_like, {0.0: 1.0})
    value, error = honesty.pair(step, q1, q2, c, 1)
    assert value == pytest.approx(1 / (2 * math.pi * math.sqrt(q1 * q2 * (1 - c) * (1 + c))), rel=1e-13)
    bump = Shape("bump", lambda x: np.exp(-((x / 0.01) ** 2)), None, {}, ((0.0, 0.01),))
    a, b = 2 * q1 / 1e-4, 2 * q2 / 1e-4
    exact = 1 / math.sqrt(1 + a + b + a * b * (1 - c) * (1 + c))
    value, error = honesty.pair(bump, q1, q2, c, 0)
    assert abs(value - exact) <= error + 1e-15 and error <= 1e-13


def test_slopes_of_random_activations_are_those_of_their_values():
    x = np.sinh(np.linspace(-4, 4, 301)) + 1e-3
    for seed in range(40):
        shape = honesty.draw(np.random.default_rng(seed))
        edges = shape.edges()
        near = np.abs(x[:, None] - edges).min(axis=1, initial=np.inf)
        h = np.minimum(1e-4, near / 4)
        at, h = x[h > 1e-6], h[h > 1e-6]
        found = (shape.value(at + h) - shape.value(at - h)) / (2 * h)
        size = np.abs(shape.slope(x)).max() + np.abs(shape.value(x)).max()
        # Second order in a step that is short against every feature; rounding of values over the step.
        assert np.abs(found - shape.slope(at)).max() <= size * 1e-4, shape.text


# -- random activations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_not_understated(seed):
    outcomes = honesty.quietly(seed)
    assert not [str(outcome) for outcome in outcomes if outcome.kind == "understated"]
    decided = [outcome for outcome in outcomes if outcome.kind == "honest"]
    assert len(decided) >= 6 or all(outcome.kind == "refused" for outcome in outcomes)


# -- traps -----------------------------------------------------------------------------------------------------------


@cache
def bare(shape):
    """The function alone, as an activation whose tables are built once."""
    return mfdnn.Activation(shape.text, shape.value)


@cache
def pchip():
    from scipy.interpolate import PchipInterpolator

    x = [-3, 0.85, 1.05, 1.7, 3.85]
    made = PchipInterpolator(x, [0, 0, 1, 1, 0])
    return honesty.polynomial_pieces("pchip", x, made.c[::-1].T)


HUBER = Shape(
    "huber",
    lambda x: np.where(x < 0.1, 5 * np.maximum(x, 0) ** 2, x - 0.05),
    lambda x: np.clip(10 * x, 0, 1),
    {0.0: 0.0, 0.1: 0.0},
)
SMOOTHSTEP = honesty.polynomial_pieces("smoothstep", [0, 1], [[0, 0, 3, -2]])


@pytest.mark.parametrize(
    ("shape", "q", "c", "derivative"),
    [
        (pchip(), 10.0, 0.9, 0),  # 1e-7 wrong, 6e-14 claimed, when only the norm of the kink part counted
        (pchip(), 100.0, 0.9, 0),
        (pchip(), 1000.0, 0.9, 1),
        (HUBER, 100.0, 0.9, 0),
        (HUBER, 1000.0, 0.5, 0),
        (SMOOTHSTEP, 100.0, 0.9, 0),
        (SMOOTHSTEP, 100.0, 0.9, 1),
        (SMOOTHSTEP, 1000.0, 0.5, 0),
    ],
    ids=lambda x: getattr(x, "text", str(x)),
)
def test_kinks_whose_higher_jumps_cancel(shape, q, c, derivative):
    act = bare(shape)
    value, error = mfdnn.expect_product(act, q, c, derivative=derivative, return_error=True)
    reference = honesty.pair(shape, q, q, c, derivative)
    assert abs(value - reference.value) <= error + reference.error
    assert error <= 1e-11 * mfdnn.expect_product(act, q, derivative=derivative)


def test_point_masses_count_in_the_error():
    """Two masses that meet at c = 1 - 1e-14 make 2e7, of which eight digits behind the point are not known."""
    act = mfdnn.Activation("k", lambda x: 0.5 * x + (x > 0), lambda x: 0.5 + 0 * x, kinks=[0.0])
    q, c = 0.05, np.array([0.9, 1 - 1e-9, 1 - 1e-14])
    value, error = mfdnn.expect_product(act, q, c, derivative=1, return_error=True)
    masses = 1 / (2 * np.pi * q * np.sqrt((1 - c) * (1 + c)))
    exact = 0.25 + 1 / np.sqrt(2 * np.pi * q) + masses  # 2 (1/2) E[delta] in the middle
    assert np.all(np.abs(value - exact) <= error + 2e-16 * exact) and np.all(error <= 1e-12 * exact)


def test_narrow_bump_on_circles():
    """A bump that circles touch has slowly decaying Fourier coefficients: 1e-11 wrong, 9e-14 claimed."""
    value, error = mfdnn.expect_product(
        lambda x: 0.3 + 0.1 * np.exp(-400 * (x + 1.92) ** 2), 1.0, 0.95, return_error=True
    )
    exact = 0.090342365829631145  # brute force
    assert abs(value - exact) <= error + 1e-15 and error < 1e-12


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        (Shape("box", lambda x: 1.0 * ((x > 0.3) & (x < 0.31)), None, {0.3: 1.0, 0.31: -1.0}), ()),
        # Where the jumps were found is known to rounding of their places: 1e-15, of a width of 0.003.
        (Shape("thin box", lambda x: 1.0 * ((x > -1.7) & (x < -1.697)), None, {-1.7: 1.0, -1.697: -1.0}), ()),
        (
            Shape(
                "bump on tanh",
                lambda x: np.tanh(x) + 0.5 * np.exp(-(((x - 0.7) / 0.003) ** 2)),
                None,
                {},
                ((0.7, 0.003), (0.0, 0.6), (0.0, 3.0)),
            ),
            (),
        ),
        (
            Shape("spike", lambda x: np.exp(-(((x - 0.7) / 1e-5) ** 2)), None, {}, ((0.7, 1e-5),)),
            ((0.7, 1e-5),),
        ),
    ],
    ids=lambda x: getattr(x, "text", "named" if x else "found"),
)
@pytest.mark.parametrize("c", [1.0, 0.5])
def test_narrow_features_found_or_named(shape, named, c):
    """Narrower than the panels of a first search: 0 +- 0 for the box, 0.0013 wrong for the bump, once."""
    act = mfdnn.Activation(shape.text, shape.value, features=named)
    value, error = mfdnn.expect_product(act, 1.0, c, return_error=True)
    reference = honesty.pair(shape, 1.0, 1.0, c, 0)
    assert abs(value - reference.value) <= error + reference.error
    # The spike is steep: a rounding of its argument is 1e-11 of its height.
    assert error <= 1e-10 * mfdnn.expect_product(act, 1.0)


@pytest.mark.parametrize(("q1", "q2", "c"), [(1e5, 2e5, 0.9999), (1e5, 2e5, -0.2), (1e4, 10.0, 0.9)])
def test_steep_functions_of_large_variances(q1, q2, c):
    tanh = Shape("tanh", np.tanh, honesty.sech2, {}, ((0.0, 0.6), (0.0, 3.0)))
    value, error = mfdnn.expect_product("tanh", q1, c, q2, return_error=True)
    reference = honesty.pair(tanh, q1, q2, c, 0)
    assert abs(value - reference.value) <= error + reference.error and error <= 1e-12


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sines_are_closed_forms(name):
    """exp(-(q1 + q2)/2) times sinh or cosh of the covariance, where no quadrature resolves hundreds of waves."""
    c = np.array([-1.0, -0.4, 0.0, 0.5, 1 - 1e-12, 1.0])
    for q1, q2 in [(1e-6, 1e-6), (0.5, 2.0), (6.0, 6.0)]:
        for derivative in (0, 1, 2):
            value, error = mfdnn.expect_product(name, q1, c, q2, derivative, return_error=True)
            odd = (name == "sin") == (derivative % 2 == 0)
            covariance = math.sqrt(q1 * q2) * c
            exact = math.exp(-(q1 + q2) / 2) * (np.sinh(covariance) if odd else np.cosh(covariance))
            np.testing.assert_allclose(value, exact, rtol=3e-15 * max(1.0, q1 + q2))
            assert np.all(np.abs(value - exact) <= error + 1e-15 * np.abs(exact))
    gap = 1e-3
    near = mfdnn.expect_product(name, 400.0, 1 - gap, 401.0)
    assert near == pytest.approx(
        math.exp(-((math.sqrt(401) - 20) ** 2) / 2 - gap * 20 * math.sqrt(401)) / 2, rel=1e-12
    )


@pytest.mark.parametrize("derivative", [0, 1])
def test_one_dimensional_integrals_have_errors(derivative):
    step = mfdnn.activation(lambda x: np.where(x > 0.2, 1.0, -1.0))
    value, error = mfdnn.expect(step, [0.5, 4.0], derivative, return_error=True)
    place = 0.2 / np.sqrt([0.5, 4.0])
    upper = np.array([0.5 * math.erfc(x / math.sqrt(2)) for x in place])
    density = np.exp(-0.5 * place**2) / np.sqrt(2 * np.pi * np.array([0.5, 4.0]))
    exact = (2 * upper - 1, 2 * density)[derivative]
    assert np.all(np.abs(value - exact) <= error + 1e-16) and np.all(error <= 1e-11)
    assert isinstance(mfdnn.expect(step, 1.0, return_error=True)[1], float)


def test_slopes_read_off_are_uncertain_also_where_phi_is_zero_near_zero():
    def phi(x):
        return np.where(x > 2, np.maximum(x - 2, 0) ** 2 * np.cos(20 * x), 0.0)

    def slope(x):
        far = np.maximum(x - 2, 0)
        return 2 * far * np.cos(20 * x) - 20 * far**2 * np.sin(20 * x)

    read_off, given = (
        mfdnn.expect(mfdnn.Activation("far", phi, derivative, [2.0]), 4.0, 1, return_error=True)
        for derivative in (None, slope)
    )
    assert read_off[1] > 2 * given[1]
    assert abs(read_off[0] - given[0]) <= read_off[1] + given[1]


# -- long integrals --------------------------------------------------------------------------------------------------


def test_long_integrations_are_announced_and_endless_ones_refused(monkeypatch):
    from mfdnn.gaussian import products

    act = mfdnn.activation(lambda x: np.clip(x, -1.3, 1.3))
    monkeypatch.setattr(products, "PATIENCE", 0.0)
    with pytest.warns(RuntimeWarning, match=r"1 pairs of 'lambda' are integrated one by one, .* about .* s"):
        mfdnn.expect_product(act, 1.0, 1 - 1e-9, 2.0, derivative=2)
    monkeypatch.setattr(products, "HOURS", 0.0)
    with pytest.raises(ValueError, match=r"`q` up to 2: integrating 1 pairs of 'lambda' would take about .* hours"):
        mfdnn.expect_product(act, 1.0, 1 - 1e-9, 2.0, derivative=2)


def test_matrices_of_sines_are_closed_forms():
    """Twenty inputs whose variances are in the hundreds, of which pairs took minutes by quadrature."""
    from mfdnn.gaussian.matrices import covariances

    x = np.random.default_rng(1).standard_normal((20, 64))
    covariance = 300 / 64 * (x @ x.T)
    covariance[3] = covariance[:, 3] = 0.0  # an input without variance
    variance = np.diagonal(covariance).copy()
    for name, functions in {"sin": (np.sinh, np.cosh), "cos": (np.cosh, np.sinh)}.items():
        for found, function in zip(covariances(mfdnn.activation(name), variance, covariance), functions, strict=True):
            assert np.array_equal(found, found.T)
            exact = np.exp(-np.add.outer(variance, variance) / 2) * function(covariance)
            # Exponents are good to an ulp of the variance, the diagonal is read off a table to 2e-14.
            np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("rate", "place", "q", "c", "derivative"),
    [
        (6.37, -36.68, 30.7, 0.5, 1),  # where the bumps of u and v meet, circles are narrow in their radius
        (1.18, 243.04, 644.0, 0.99, 0),  # zero up to nine deviations
        (12.16, -31.89, 10.6, 1 - 1e-14, 1),
    ],
)
def test_bump_so_far_out_that_the_rest_is_zero(rate, place, q, c, derivative):
    bump = Shape(
        "bump",
        lambda x: np.exp(-((rate * x) ** 2)),
        lambda x: -2 * rate**2 * x * np.exp(-((rate * x) ** 2)),
        {},
        ((0.0, 1 / rate),),
    ).inside(1.0, -place)
    for slope in (None, bump.slope):  # which is zero, or all but, in a tail that phi is resolved against
        act = mfdnn.Activation("bump", bump.value, slope, (), bump.features)
        assert not act.kinks and not np.any(act.pieces.jumps)
        value, error = mfdnn.expect_product(act, q, c, derivative=derivative, return_error=True)
        reference = honesty.pair(bump, q, q, c, derivative)
        assert abs(value - reference.value) <= error + reference.error
        assert error <= 1e-4 * mfdnn.expect_product(act, q, derivative=derivative)


def test_step_six_deviations_out():
    """Between two copies: 1e-11 of its square is beyond nine deviations in the plane."""
    step = Shape(
        "step", lambda x: np.tanh(4.63 * x), lambda x: 4.63 * honesty.sech2(4.63 * x), {}, ((0.0, 0.13), (0.0, 0.65))
    )
    shape = step.inside(1.0, 45.23).times(-3.822)
    act = mfdnn.Activation("step", shape.value, shape.slope, (), shape.features)
    for c in (1 - 1e-14, 1 - 1e-9, 0.9):
        value, error = mfdnn.expect_product(act, 58.2, c, derivative=1, return_error=True)
        reference = honesty.pair(shape, 58.2, 58.2, c, 1)
        assert abs(value - reference.value) <= error + reference.error <= 1e-10 * 1.1e-7


@pytest.mark.parametrize("sigma_w2", [3.0, pytest.param(20.0, marks=pytest.mark.slow)])
def test_slope_at_the_fixed_point_with_a_narrow_bump(sigma_w2):
    """Tables of E[phi'(u) phi'(v)] and integrals of single pairs agree: chi_c was off by 4e-7 and 3e-9."""
    act = mfdnn.Activation("bump on tanh", lambda x: np.tanh(x) + 0.3 * np.exp(-400 * (x + 1.92) ** 2))
    point = mfdnn.fixed_point(act, sigma_w2, 0.05)
    again = mfdnn.correlation_map(act, point.c, sigma_w2, 0.05, q=point.q)
    slope, error = mfdnn.expect_product(act, point.q, point.c, derivative=1, return_error=True)
    assert abs(again - point.c) <= 1e-13  # of 1: rounding of tables
    assert abs(sigma_w2 * slope - point.chi_c) <= sigma_w2 * error

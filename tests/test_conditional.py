"""Integrals given the common factor: closed forms, the plane's own integrals, brute force, limits, refusals."""

import numpy as np
import pytest
from scipy.integrate import quad

from mfdnn import activation, activation_names, expect, expect_product
from mfdnn.activations import Activation
from mfdnn.gaussian.conditional import PROMISED, conditional

ROUNDING = 1e-13
CONTINUOUS = [name for name in activation_names() if name not in ("step", "sign")]
ORDERS = [(m, n) for m in range(6) for n in range(4) if m + n <= 6]


def sine_product(q, q_st, m, n):
    """E[sin^(m)(u) sin^(n)(v)]: half the cosine of the difference less that of the sum."""
    difference = np.cos((m - n) * np.pi / 2) * np.exp(-(q - q_st))
    total = np.cos((m + n) * np.pi / 2) * np.exp(-(q + q_st))
    return (difference - total) / 2


@pytest.mark.parametrize("c", [0.0, 1e-6, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("q", [0.2, 2.0])
def test_products_of_derivatives_in_closed_form(q, c):
    sine, exponential = conditional("sin", q, c * q), conditional("exp", 0.1 * q, 0.1 * c * q)
    # What partial integration leaves of a derivative's digits, and at most half of its order.
    loss = (1 - c) ** -1.0
    for m, n in ORDERS:
        assert sine.product(m, n) == pytest.approx(sine_product(q, c * q, m, n), abs=ROUNDING * loss / q**2)
        expected = np.exp(0.1 * q * (1 + c))
        assert exponential.product(m, n) == pytest.approx(expected, rel=ROUNDING * loss / (0.1 * q) ** 2)


@pytest.mark.parametrize("c", [0.0, 0.3, 0.7, 0.999])
def test_kinks_in_closed_form(c):
    q, q_st = 1.7, 1.7 * c
    relu, root = conditional("relu", q, q_st), np.sqrt(q**2 - q_st**2)
    expected = {  # derivatives of E[phi' phi'] = 1/4 + arcsin(K_st / sqrt(K_ss K_tt)) / (2 pi)
        (2, 2): 1 / (2 * np.pi * root),
        (3, 1): -c / (2 * np.pi * root),
        (3, 3): q_st / (2 * np.pi * root**3),
        (4, 2): -q / (2 * np.pi * root**3),
    }
    for orders, value in expected.items():
        assert relu.product(*orders) == pytest.approx(value, rel=1e-11 / (1 - c) ** 0.5)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("c", [0.0, 0.4, 0.95, 1 - 1e-6])
def test_agrees_with_integrals_over_the_plane(name, c):
    act, q = activation(name), 0.3 if name == "exp" else 1.3
    given = conditional(act, q, c * q)
    assert given.error < ROUNDING
    assert given.weights.sum() == pytest.approx(1.0, abs=ROUNDING)
    for order in (0, 1):
        value, error = expect_product(act, q, c, derivative=order, return_error=True)
        scale = expect_product(act, q, 1.0, derivative=order)
        assert given.product(order, order) == pytest.approx(value, abs=error + ROUNDING * scale)
        mean = given.average(given.derivative(order))
        assert mean == pytest.approx(expect(act, q, order), abs=ROUNDING * np.sqrt(scale))


@pytest.mark.parametrize("name", ["selu", "silu"])
def test_brute_force(name):
    act, q, q_st = activation(name), 1.5, 0.9
    given = conditional(act, q, q_st)

    def inner(function, x):
        at = -np.sqrt(q_st) * x / np.sqrt(q - q_st)
        return quad(
            lambda z: (
                function(np.sqrt(q_st) * x + np.sqrt(q - q_st) * z, z)
                * np.exp(-0.5 * z * z)
                / np.sqrt(2 * np.pi)
            ),
            -12,
            12,
            points=[at],
            epsabs=1e-13,
            limit=200,
        )[0]

    for i in np.argsort(np.abs(given.xi))[[0, 40, 80]]:
        x, own = given.xi[i], np.sqrt(q - q_st)
        for j, k in [(1, 0), (2, 1), (0, 4), (3, 1)]:
            expected = inner(lambda u, z, j=j, k=k: act(u) ** j * act.slope(u) ** k, x)
            assert given.moment(j, k)[i] == pytest.approx(expected, rel=1e-10)
        assert given.derivative(2)[i] == pytest.approx(
            inner(lambda u, z: act.slope(u) * z, x) / own, abs=1e-10
        )
        cubic = inner(lambda u, z: act.slope(u) * (z**3 - 3 * z), x) / own**3
        assert given.derivative(4)[i] == pytest.approx(cubic, abs=1e-10)


def test_single_derivatives_of_products():
    given = conditional("exp", 0.2, 0.1)
    for order in range(5):
        # (e^{2u})^(n) = 2^n e^{2u}
        assert given.single(lambda f, g: f * g, order) == pytest.approx(2.0**order * np.exp(0.4), rel=1e-11)


def test_derivatives_of_products_given_the_common_factor():
    q, q_st = 0.9, 0.3
    own = q - q_st
    sine, exponential = conditional("sin", q, q_st), conditional("exp", 0.2, 0.1)
    shared = np.sqrt(q_st) * sine.xi
    # sin cos = sin(2u)/2 with derivatives cos 2u and -2 sin 2u; E[e^{i 2 v}] = e^{-2 own}
    for order, expected in (
        (0, np.sin(2 * shared) / 2),
        (1, np.cos(2 * shared)),
        (2, -2 * np.sin(2 * shared)),
    ):
        found = sine.moment(1, 1, order)
        assert found == pytest.approx(np.exp(-2 * own) * expected, abs=ROUNDING / own)
        assert sine.average(found) == pytest.approx(sine.single(lambda f, g: f * g, order), abs=ROUNDING / q)
    for order in range(4):  # (e^{4u})^(n) = 4^n e^{4u}
        expected = 4.0**order * np.exp(4 * np.sqrt(0.1) * exponential.xi + 8 * 0.1)
        assert exponential.moment(2, 2, order) == pytest.approx(expected, rel=1e-11)  # cancels up to 0.1^-1.5
    assert np.array_equal(sine.moment(0, 1, 2), sine.derivative(3))


@pytest.mark.parametrize("name", ["tanh", "relu", "linear", "softplus"])
def test_limits(name):
    act, q = activation(name), 0.8
    none, all_of_it = conditional(act, q, 0.0), conditional(act, q, q)
    near_none, near_all = conditional(act, q, 1e-13 * q), conditional(act, q, q * (1 - 1e-10))
    assert none.xi.size == 1
    for order in (0, 1):
        assert none.product(order, order) == pytest.approx(near_none.product(order, order), abs=1e-12)
        # E[phi' phi'] of a kink has infinite slope at c = 1: the square root of the step
        assert all_of_it.product(order, order) == pytest.approx(near_all.product(order, order), rel=1e-5)
        assert all_of_it.product(order, order) == pytest.approx(expect_product(act, q, 1.0, derivative=order))
    assert all_of_it.average(all_of_it.moment(2, 2)) == pytest.approx(none.average(none.moment(2, 2)))
    if name != "relu":
        assert all_of_it.derivative(2).shape == all_of_it.xi.shape
    with pytest.raises(ValueError, match="nothing smooths"):
        all_of_it.derivative(2 if name == "relu" else 3)
    with pytest.raises(ValueError, match="nothing smooths"):
        all_of_it.moment(1, 1, 1)


def test_a_users_activation_with_many_kinks():
    act = Activation("stairs", lambda x: np.abs(x) - 0.5 * np.abs(x - 1) + np.abs(x + 0.3) + np.sin(x))
    assert len(act.kinks) == 3
    given = conditional(act, 2.0, 1.9)
    # phi' is read off phi
    assert given.error < PROMISED
    assert given.product(1, 1) == pytest.approx(expect_product(act, 2.0, 0.95, derivative=1), rel=PROMISED)


def test_singularities_are_reported():
    mild = Activation("mild", lambda x: np.abs(x) ** 1.25)
    given = conditional(mild, 1.0, 0.4)
    # E phi'^4 = 1.25^4 E|x|
    assert given.average(given.moment(0, 4)) == pytest.approx(1.25**4 * np.sqrt(2 / np.pi), rel=PROMISED)
    infinite = Activation("infinite", lambda x: np.abs(x) ** 0.7)  # E phi'^4 does not exist
    with pytest.warns(RuntimeWarning, match="relative errors of about"):
        conditional(infinite, 1.0, 0.4)


def test_refusals():
    for name in ("step", "sign"):
        with pytest.raises(ValueError, match="jumps"):
            conditional(name, 1.0, 0.5)
    for q, q_st in [(0.0, 0.0), (1.0, -0.1), (1.0, 1.1)]:
        with pytest.raises(ValueError, match="`q_st` must lie"):
            conditional("tanh", q, q_st)
    with pytest.raises(ValueError, match="fourth moments"):
        conditional("exp", 2.0, 0.5)
    with pytest.raises(ValueError, match="beyond"):
        conditional("exp", 50.0, 0.5)

"""Textbook forms as people type them, overflow and cancellation included: the numbers of the function that is meant."""

import numpy as np
import pytest
from textbook_activations import CATALOGUE, second_moment

import mfdnn

pytestmark = pytest.mark.jit  # the interpreter takes seconds a table

W2, B2 = 0.5, 0.05
FORMS = [
    pytest.param(book, typed, id=f"{name}, form {i}")
    for name, book in CATALOGUE.items()
    for i, typed in enumerate(book.typed)
]
# What is asked for; the forms differ from the function by 1e-13 at most.
CLOSE = 1e-10


@pytest.mark.parametrize(("book", "typed"), FORMS)
def test_what_is_typed_is_what_is_meant(book, typed):
    act = mfdnn.activation(typed)
    for q in (0.3, 1.0, 2.5):
        found, error = mfdnn.expect_product(act, q, return_error=True)
        assert abs(found - second_moment(book, q)) <= min(CLOSE * found, error + 1e-13 * found)
        found, error = mfdnn.expect_product(act, q, derivative=1, return_error=True)
        if book.jumps:
            assert found == np.inf
        else:
            expected = second_moment(book, q, 1)
            assert abs(found - expected) <= min(CLOSE * expected, error + 1e-13 * expected)
    fp = mfdnn.fixed_point(act, W2, B2)
    assert fp.q == pytest.approx(W2 * second_moment(book, fp.q) + B2, rel=CLOSE)
    assert fp.chi_1 == (np.inf if book.jumps else pytest.approx(W2 * second_moment(book, fp.q, 1), rel=CLOSE))


@pytest.mark.parametrize(("book", "typed"), FORMS)
def test_kinks_are_those_of_the_function(book, typed):
    act = mfdnn.activation(typed)
    sides = np.array(book.breaks)[:, None] + [-1e-9, 1e-9]
    values, slopes = np.diff(book.value(sides))[:, 0], np.diff(book.slope(sides))[:, 0]
    kinks = sides.mean(axis=1)[(np.abs(values) > 1e-6) | (np.abs(slopes) > 1e-6)] if book.breaks else []
    np.testing.assert_allclose(act.kinks, kinks, rtol=0, atol=1e-11)


BUILT_IN = {
    "relu": "relu",
    "leaky relu": "leaky_relu",
    "elu": "elu",
    "selu": "selu",
    "gelu": "gelu",
    "gelu, tanh form": "gelu_tanh",
    "silu": "silu",
    "mish": "mish",
    "softplus": "softplus",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "hard tanh": "hard_tanh",
    "hard sigmoid": "hard_sigmoid",
    "softsign": "softsign",
    "arctan": "arctan",
    "sine": "sin",
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_typed_is_what_is_built_in(name):
    expected = mfdnn.fixed_point(BUILT_IN[name], 1.5, 0.05)
    for typed in CATALOGUE[name].typed:
        found = mfdnn.fixed_point(typed, 1.5, 0.05)
        assert (found.phase, found.status) == (expected.phase, expected.status)
        for field in ("q", "c", "chi_1", "chi_c"):
            assert getattr(found, field) == pytest.approx(getattr(expected, field), rel=CLOSE)


def test_a_jump_of_rounding_is_no_jump():
    """The threshold of PyTorch's softplus: it jumps by 2e-9 at 20."""
    for threshold in (18.0, 20.0, 25.0):
        fp = mfdnn.fixed_point(
            lambda x, t=threshold: np.where(x > t, x, np.log1p(np.exp(np.minimum(x, t)))), 1.5, 0.05
        )
        assert fp.phase == "ordered"
        assert fp.chi_1 == pytest.approx(0.489343, abs=5e-7)


def test_a_small_jump_that_is_one_is_told():
    """At a threshold of 10 softplus jumps by 4.5e-5."""
    act = mfdnn.Activation("early", lambda x: np.where(x > 10, x, np.log1p(np.exp(np.minimum(x, 10)))))
    with pytest.warns(RuntimeWarning, match=r"'early' jumps by 4\.5e-05 at x = 10, so that .* chi_1 are infinite"):
        assert mfdnn.fixed_point(act, 1.5, 0.05).chi_1 == np.inf


@pytest.mark.parametrize("overflows", [lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(x) / (1 + np.exp(x))])
def test_overflow_inside_is_not_the_user_s_concern(overflows):
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        assert mfdnn.fixed_point(overflows, 1.5, 0.05).chi_1 == pytest.approx(
            mfdnn.fixed_point("sigmoid", 1.5, 0.05).chi_1, rel=CLOSE
        )
        assert mfdnn.activation(overflows).homogeneous is None


def test_the_catapult_zone_of_relu_is_that_of_every_way_to_type_it():
    def limit(phi):
        return mfdnn.max_learning_rate(mfdnn.mlp([20, 30, 30, 1], phi, 2.0), 5).catapult_limit

    for phi in (*CATALOGUE["relu"].typed, mfdnn.activation("leaky_relu", slope=0)):
        assert limit(phi) == pytest.approx(limit("relu"), rel=CLOSE)
    assert limit("leaky_relu") < 0.5 * limit("relu")

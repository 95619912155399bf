"""What phi is: values, slopes, breaks found without being named, callables refused with a reason."""

import gc
import math
import pickle
import weakref

import naive
import numpy as np
import pytest

import mfdnn
from mfdnn.activations.resolution import resolve
from mfdnn.gaussian.tables import tables

NAMES = mfdnn.activation_names()
X = np.linspace(-6.03, 6.0, 97)  # meets no kink


def twin(name, **parameters):
    """The oracle's own definition of a built-in activation, with the same parameters."""
    return naive.phi(name, **mfdnn.activation(name, **parameters).parameters)


def module_level(x):
    return np.tanh(x) + 0.1 * x


# -- built-in activations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_built_in_functions_are_what_their_names_say(name):
    act, p = mfdnn.activation(name), twin(name)
    # A few roundings apart: the two are written differently.
    np.testing.assert_allclose(act(X), p.value(X), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(act.slope(X), p.slope(X), rtol=1e-12, atol=1e-15)
    # The breaks are those of phi and phi'; those of elu and softsign are breaks of phi''.
    assert act.kinks == (() if name in ("elu", "softsign") else p.kinks)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("leaky_relu", {"slope": 0.3}),
        ("shifted_relu", {"shift": -0.2}),
        ("elu", {"alpha": 0.5}),
        ("swish", {"beta": 1.7}),
    ],
)
def test_parameters_change_the_function(name, parameters):
    act, p = mfdnn.activation(name, **parameters), twin(name, **parameters)
    np.testing.assert_allclose(act(X), p.value(X), rtol=1e-14)
    np.testing.assert_allclose(act.slope(X), p.slope(X), rtol=1e-14)
    key, value = next(iter(parameters.items()))
    assert repr(act) == f"Activation('{name}({key}={value:g})')"


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_derivatives(name):
    act, step = mfdnn.activation(name), 1e-5
    difference = (act(X + step) - act(X - step)) / (2 * step)
    # Central differences: 1e-10 of truncation and 1e-11 of rounding.
    np.testing.assert_allclose(act.slope(X), difference, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32_and_integers_become_floats(name):
    act = mfdnn.activation(name)
    single = X.astype(np.float32)
    for f in (act, act.slope):
        assert f(single).dtype == np.float32
        # float32 rounding of x up to 6
        np.testing.assert_allclose(f(single), f(X), rtol=3e-6, atol=3e-6)
        assert f(X).dtype == f(np.array([-1, 2])).dtype == np.float64
        np.testing.assert_array_equal(f(np.array([[-1], [2]])), f(np.array([[-1.0], [2.0]])))
        assert f(np.float64(0.5)).shape == ()


def test_scale_invariant_activations_are_recognised():
    found = {name: mfdnn.activation(name).homogeneous for name in NAMES}
    assert {name: value for name, value in found.items() if value} == {
        "linear": (1.0, 1.0),
        "relu": (0.0, 1.0),
        "leaky_relu": (0.01, 1.0),
        "abs": (-1.0, 1.0),
    }
    assert mfdnn.activation(lambda x: np.where(x > 0, 2 * x, 3 * x)).homogeneous == (3.0, 2.0)
    assert mfdnn.activation(lambda x: np.maximum(x, 0) + 1).homogeneous is None


# -- breaks are found without being named ----------------------------------------------------------------------------

# function, where phi or phi' jumps
KINKED = {
    "at 0.3": (lambda x: np.tanh(x) + np.maximum(x - 0.3, 0), (0.3,)),
    "at -2": (lambda x: np.maximum(x, -2.0), (-2.0,)),
    "two": (lambda x: np.clip(np.sin(x), -0.5, 0.7) * 0 + np.clip(x, -0.123, 3.0), (-0.123, 3.0)),
    "weak": (lambda x: np.exp(-x * x) + 1e-3 * np.abs(x - 1.7), (1.7,)),
    "jump": (lambda x: np.where(x > 0.4, 1.0, -1.0), (0.4,)),
    "jump and slope": (lambda x: np.tanh(x) + (x > -math.pi), (-math.pi,)),
    "hard swish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, (-3.0, 3.0)),
    "none": (lambda x: np.tanh(20 * x), ()),
    "none, steep": (lambda x: np.tanh(1e3 * (x - 0.1)), ()),
    "none, fast": (lambda x: np.sin(5 * x), ()),
    "none, pole nearby": (lambda x: 1 / (1 + 100 * x * x), ()),
}


@pytest.mark.parametrize("case", KINKED)
def test_kinks_are_found(case):
    function, kinks = KINKED[case]
    act = mfdnn.activation(function)
    assert len(act.kinks) == len(kinks)
    # A kink is where the lines on its two sides cross: located to a few roundings over its strength (1e-3).
    np.testing.assert_allclose(act.kinks, kinks, rtol=0, atol=1e-11)
    x = np.linspace(-15.9, 15.9, 1001)
    x = x[np.abs(x[:, None] - np.array([*kinks, 99.0])).min(axis=1) > 1e-9]
    scale = np.abs(function(x)).max()
    np.testing.assert_allclose(act.pieces.evaluate(x), function(x), rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("named", [(), (0.7,)], ids=["found", "named"])
@pytest.mark.parametrize(
    ("function", "slope", "jumps"),
    [
        (lambda x: np.maximum(x - 0.7, 0) ** 2, lambda x: 2 * np.maximum(x - 0.7, 0), (0, 0, 2, 0)),
        (lambda x: np.maximum(x - 0.7, 0) ** 3, lambda x: 3 * np.maximum(x - 0.7, 0) ** 2, (0, 0, 0, 6)),
        (
            lambda x: np.where(x > 0.7, x, 0.7 + np.expm1(np.minimum(x - 0.7, 0))),
            lambda x: np.where(x > 0.7, 1.0, np.exp(np.minimum(x - 0.7, 0))),
            (0, 0, -1, -1),
        ),
    ],
    ids=["square", "cube", "elu"],
)
def test_jumps_of_higher_derivatives_are_located(function, slope, jumps, named):
    for derivative in (None, slope):
        pieces = resolve("phi", function, derivative, named)
        np.testing.assert_allclose(pieces.breaks, [0.7], rtol=0, atol=1e-10)
        # Differentiating a polynomial of degree 15 costs two digits an order.
        np.testing.assert_allclose(pieces.jumps, [jumps], rtol=0, atol=1e-5)
        assert pieces.resolved
        assert mfdnn.Activation("phi", function, derivative, named).kinks == ()


def test_what_is_no_jump_stays_unresolved_and_says_so():
    pieces = mfdnn.activation(lambda x: np.abs(x) ** 1.5).pieces
    assert not pieces.resolved and not pieces.smooth
    x = np.linspace(-3, 3, 101)
    np.testing.assert_allclose(pieces.evaluate(x), np.abs(x) ** 1.5, rtol=0, atol=1e-13)


def test_a_polynomial_is_continued_linearly_beyond_its_last_panel():
    pieces = mfdnn.activation("softplus").pieces
    x = 3 * pieces.reach
    np.testing.assert_allclose(pieces.evaluate(np.array([-x, x])), [0.0, x], rtol=1e-13, atol=1e-300)


def test_noise_is_refused():
    act = mfdnn.activation(lambda x: x + 1e-3 * np.sin(1e9 * x))
    with pytest.raises(ValueError, match="could not be resolved"):
        act.pieces  # noqa: B018


def test_derivative_read_off_the_function_equals_the_given_one():
    for name in ("tanh", "gelu", "selu", "hard_tanh", "sin"):
        built_in = mfdnn.activation(name)
        read = mfdnn.Activation(name, built_in, kinks=built_in.kinks)
        assert read.pieces.slope_noise > 0 == built_in.pieces.slope_noise
        error = np.abs(read.slope(X) - built_in.slope(X)).max()
        assert error <= read.pieces.slope_noise
        assert read.slope(X.astype(np.float32)).dtype == np.float32


def test_a_wrong_derivative_is_caught():
    act = mfdnn.Activation("mine", np.tanh, np.tanh)
    with pytest.raises(
        ValueError, match=r"`derivative` of activation 'mine' is not the derivative .* at x ="
    ):
        mfdnn.expect(act, 1.0)


# -- callables -------------------------------------------------------------------------------------------------------


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def fails(x):
    raise RuntimeError("out of paper")


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: max(x, 0), TypeError, "ambiguous"),
        (math.tanh, TypeError, "np.where instead of if"),
        (fails, TypeError, "RuntimeError: out of paper"),
        (np.sqrt, ValueError, "returned nan at x = -"),
        (lambda x: 1 / np.zeros_like(x), ValueError, "returned inf at x"),
        (lambda x: x.sum(axis=0), ValueError, r"turned shape \(4, 6\) into \(6,\)"),
        (lambda x: None, ValueError, r"into \(\)"),
        (lambda x: x + 1j, TypeError, "complex128"),
        (lambda x: x.astype(str), TypeError, "returned <U"),
        (lambda x: x - x.mean(), ValueError, "not elementwise"),
        (lambda x: x / np.abs(x).max(), ValueError, "not elementwise"),
        (softmax, ValueError, "not elementwise"),
        (lambda x: x + np.random.default_rng().normal(size=x.shape), ValueError, "not deterministic"),
        (lambda x: np.maximum(x, 0, out=x), ValueError, "changes its argument"),
    ],
)
def test_wrong_callables_get_a_clear_error(function, error, words):
    with np.errstate(divide="ignore"), pytest.raises(error, match=words) as caught:
        mfdnn.activation(function)
    assert "`function` of activation" in str(caught.value)
    assert "elementwise" in str(caught.value)


def single_precision(x):
    return np.tanh(x.astype(np.float32)).astype(np.float64)


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: np.tanh(x.astype(np.float32)), TypeError, "returned float32 .* precision of its argument"),
        (np.sort, ValueError, "not elementwise"),
        (lambda x: x * (np.random.default_rng().random(x.shape) > 0.5), ValueError, "not deterministic"),
        (
            lambda x: np.tanh(x) + 1e-9 * np.random.default_rng().random(x.shape),
            ValueError,
            "not deterministic",
        ),
        (lambda x: np.ma.masked_greater(x, 1), ValueError, "returned nan at x = "),
        (lambda x: 1 / x, ValueError, "returned inf at x = 0"),
        (lambda x: np.sin(x) / x, ValueError, "returned nan at x = 0"),
        (lambda x: np.log(np.abs(x)), ValueError, "returned -inf at x = 0"),
    ],
)
def test_more_wrong_callables(function, error, words):
    with pytest.raises(error, match=words):
        mfdnn.activation(function)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (single_precision, "in single precision, which is noisy; compute it in double precision, float64"),
        (lambda x: np.tanh(x) + single_precision(2 * x), "is noisy .*single precision.* or oscillates too fast"),
        (lambda x: np.tanh(x) + 1e-9 * np.sin(1e9 * x), "is noisy"),
        (lambda x: np.sin(1e4 * x), "oscillates too fast; .* rescale its argument"),
        (lambda x: np.round(100 * x), "is noisy .*a coarse table"),
        (lambda x: np.where(np.abs(x) > 5, np.nan, x), r"returned nan at x = -?5\.0.* clip"),
        (lambda x: 1 / (5 - x), "returned inf at x = 5; .* clip"),
        (np.tan, r"unbounded near x = -?1\.5708"),
    ],
)
def test_what_cannot_be_resolved_says_why(function, words):
    with pytest.raises(ValueError, match=words):
        mfdnn.expect(function, 1.0)


@pytest.mark.parametrize(("function", "q"), [(lambda x: np.exp(x * x), 0.5), (lambda x: x**50, 0.1)])
def test_what_grows_too_fast_names_the_largest_variance(function, q):
    with pytest.raises(ValueError, match=r"`q` = .* is beyond .* grows or oscillates too fast"):
        mfdnn.expect(function, q)


def test_growth_is_no_kink():
    for function in (np.sinh, np.exp, lambda x: x**5):
        assert mfdnn.activation(function).kinks == ()


def test_overflow_far_out_is_no_warning():
    act = mfdnn.activation(lambda x: 1 / (1 + np.exp(-x)))
    assert act(np.array([-1e4]))[0] == 0.0
    assert mfdnn.expect(act, 1e3) == pytest.approx(0.5, rel=1e-12)


def test_integers_and_truth_values_are_numbers():
    for function in (lambda x: x > 0, lambda x: (x > 0).astype(int)):
        assert mfdnn.expect_product(function, 1.0, 0.5) == pytest.approx(1 / 3, rel=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_curvatures_are_exact(name):
    act, p = mfdnn.activation(name), twin(name)
    np.testing.assert_allclose(act.curvature(X), p.curvature(X), rtol=1e-12, atol=1e-15)
    assert act.curvature(X.astype(np.float32)).dtype == np.float32
    read = mfdnn.Activation("read", act, kinks=p.kinks)
    # Read off the function twice: x^15 differentiated, near zero and on wider panels.
    assert np.abs(read.curvature(X) - p.curvature(X)).max() <= 10 * read.pieces.curvature_noise


def test_wrong_derivatives_and_kinks_get_a_clear_error():
    with pytest.raises(ValueError, match="`derivative` of activation 'mine' turned shape"):
        mfdnn.Activation("mine", np.tanh, lambda x: 1.0)
    with pytest.raises(ValueError, match="`kinks` must be finite"):
        mfdnn.Activation("mine", np.tanh, kinks=[math.nan])
    with pytest.raises(TypeError, match="`function` must be callable, got 3"):
        mfdnn.Activation("mine", 3)


@pytest.mark.parametrize(
    ("name", "suggestion"), [("tnh", "tanh"), ("leaky", "leaky_relu"), ("ReLU", "relu"), ("GeLu", "gelu")]
)
def test_unknown_names_come_with_near_ones(name, suggestion):
    with pytest.raises(
        ValueError, match=f"`phi` must be one of linear, relu.*did you mean .*{suggestion}"
    ):
        mfdnn.activation(name)


def test_what_is_no_activation_is_refused():
    for wrong in (3, None, ["tanh"]):
        with pytest.raises(TypeError, match="`phi` must be a name, a callable or an Activation"):
            mfdnn.activation(wrong)
    with pytest.raises(ValueError, match="`slope` is not a parameter of relu; it has none"):
        mfdnn.activation("relu", slope=0.1)
    with pytest.raises(ValueError, match="`slop` is not a parameter of leaky_relu; it has slope"):
        mfdnn.activation("leaky_relu", slop=0.1)
    with pytest.raises(ValueError, match="`slope` must be finite"):
        mfdnn.activation("leaky_relu", slope=math.nan)
    with pytest.raises(TypeError, match="`a` must be left out where `phi` is no name"):
        mfdnn.activation(np.tanh, a=1.0)


# -- identity and life ------------------------------------------------------------------------------------------------


def test_the_same_argument_gives_the_same_object():
    assert mfdnn.activation("tanh") is mfdnn.activation("tanh")
    assert mfdnn.activation("leaky_relu") is mfdnn.activation("leaky_relu", slope=0.01)
    assert mfdnn.activation("leaky_relu", slope=0.2) is not mfdnn.activation("leaky_relu")
    assert mfdnn.activation(module_level) is mfdnn.activation(module_level)
    act = mfdnn.Activation("mine", np.tanh)
    assert mfdnn.activation(act) is act


def test_names_for_messages():
    assert repr(mfdnn.activation("tanh")) == "Activation('tanh')"
    assert mfdnn.activation("leaky_relu", slope=0.25).label == "leaky_relu(slope=0.25)"
    assert mfdnn.activation(lambda x: x).label == "lambda"
    assert mfdnn.activation(module_level).label == "module_level"


@pytest.mark.parametrize("name", NAMES)
def test_built_in_activations_pickle_by_name(name):
    assert pickle.loads(pickle.dumps(mfdnn.activation(name))) is mfdnn.activation(name)


def test_activations_pickle_with_parameters_and_with_callables():
    leaky = mfdnn.activation("leaky_relu", slope=0.2)
    assert pickle.loads(pickle.dumps(leaky)) is leaky
    mine = mfdnn.Activation("mine", module_level, kinks=(1.0,))
    copy = pickle.loads(pickle.dumps(mine))
    assert copy.name == "mine" and copy._given_kinks == (1.0,)
    np.testing.assert_array_equal(copy(X), mine(X))


def test_a_user_activation_named_like_a_built_in_one_stays_the_user_s():
    mine = mfdnn.Activation("relu", module_level)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mine))(X), module_level(X))


def test_tables_do_not_keep_an_activation_alive():
    act = mfdnn.Activation("short-lived", np.tanh)
    mfdnn.fixed_point(act, 2.0, 0.1)
    mfdnn.expect_product(act, 1.0, 0.5)
    assert tables(act) is tables(act)
    gone = weakref.ref(act)
    del act
    gc.collect()
    assert gone() is None


def test_lambdas_in_a_loop_do_not_pile_up():
    gone = []
    for i in range(70):
        phi = eval(f"lambda x: x + {i}")
        assert mfdnn.activation(phi) is mfdnn.activation(phi)
        gone.append(weakref.ref(phi))
    del phi
    gc.collect()
    assert sum(ref() is not None for ref in gone) <= 64


def test_callables_that_cannot_be_hashed_are_wrapped_anew():
    class Phi:
        __hash__ = None

        def __call__(self, x):
            return np.tanh(x)

    phi = Phi()
    assert mfdnn.activation(phi)(np.zeros(2)).tolist() == [0.0, 0.0]


def test_slopes_that_are_not_square_integrable_are_refused():
    root = mfdnn.activation(lambda x: np.sign(x) * np.sqrt(np.abs(x)))
    with pytest.raises(ValueError, match="not integrable"):
        mfdnn.fixed_point(root, 2.0, 0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mfdnn.fixed_point("tanh", "2", 0.1), "`sigma_w2`"),
        (lambda: mfdnn.expect("tanh", 1.0, derivative=np.array([0, 1])), "`derivative`"),
        (lambda: mfdnn.Activation("a", None), "`function` must be callable"),
    ],
)
def test_what_is_no_number_gets_a_sentence(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
    assert mfdnn.Activation("a", np.abs, kinks=0.0).kinks == (0.0,)


# -- what is narrow, close, many or noisy ------------------------------------------------------------------------------


def bump(place, width):
    return lambda x: np.tanh(x) + 0.5 * np.exp(-(((x - place) / width) ** 2))


def second_moment(function, q, places):
    """E[phi^2] by 40 points on panels of a 25th of sqrt(q), cut at these places."""
    end = 12 * math.sqrt(q)
    edges = np.union1d(np.linspace(-end, end, 601), places)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = np.diff(edges)[:, None] / 2
    x = edges[:-1, None] + half * (1 + nodes)
    return float(np.sum(half * weights * naive.normal_pdf(x / math.sqrt(q)) / math.sqrt(q) * function(x) ** 2))


@pytest.mark.parametrize(
    ("function", "places", "more"),
    [
        (lambda x: ((x > 0.3) & (x < 0.31)).astype(float), (0.3, 0.31), {}),
        (bump(0.7, 0.003), np.linspace(0.67, 0.73, 41), {}),
        (bump(0.7, 0.003), np.linspace(0.67, 0.73, 41), {"kinks": (0.7,)}),
        (bump(0.7, 0.003), np.linspace(0.67, 0.73, 41), {"features": ((0.7, 0.003),)}),
        (bump(-0.123, 1e-5), np.linspace(-1e-4, 1e-4, 41) - 0.123, {"features": ((-0.123, 1e-5),)}),
        (bump(9.1, 0.01), np.linspace(9, 9.2, 41), {"features": ((9.1, 0.02),)}),
    ],
    ids=["indicator", "found", "kink named", "feature named", "too narrow to be found", "too far out to be found"],
)
def test_narrow_features_are_found_or_named(function, places, more):
    act = mfdnn.Activation("narrow", function, **more)
    for q in (0.5, 1.0, 6.0):
        found, error = mfdnn.expect_product(act, q, return_error=True)
        assert abs(found - second_moment(function, q, places)) <= error + 1e-14  # of the dense rule
    assert act.features == more.get("features", ())
    assert pickle.loads(pickle.dumps(mfdnn.Activation("a", module_level, features=[(1, 2)]))).features == ((1.0, 2.0),)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ((0.7, 0.01), r"`features` must be pairs \(place, width\), got shape \(2,\)"),
        (((0.7, 0.0),), "`features` must have widths > 0, got 0 at 0.7"),
        (((0.7, math.nan),), "`features` must be finite"),
    ],
)
def test_wrong_features_get_a_clear_error(features, words):
    with pytest.raises(ValueError, match=words):
        mfdnn.Activation("mine", np.tanh, features=features)


CLOSE = (-0.0559, -0.0101, 0.0094, 0.0451)


@pytest.mark.parametrize("heights", [(1, 1, 1, 1), (0.3, -0.7, 1.1, 0.2)])
@pytest.mark.parametrize("kind", ["jumps", "kinks"])
def test_close_breaks_are_told_apart(heights, kind):
    def part(x, at):
        return x > at if kind == "jumps" else np.maximum(x - at, 0)

    def function(x):
        return 0.904 * np.sin(0.727 * x + 0.0692) + sum(h * part(x, at) for h, at in zip(heights, CLOSE, strict=True))

    act = mfdnn.activation(function)
    np.testing.assert_allclose(act.kinks, CLOSE, rtol=0, atol=1e-12)
    np.testing.assert_allclose(act.pieces.jumps[:, int(kind == "kinks")], heights, rtol=0, atol=1e-9)
    assert mfdnn.expect_product(act, 1.0) == pytest.approx(second_moment(function, 1.0, CLOSE), rel=1e-13)


def test_twenty_random_steps_are_all_found():
    rng = np.random.default_rng(3)
    at, heights = np.sort(rng.uniform(-0.2, 0.2, 20)), rng.uniform(0.1, 1, 20)
    act = mfdnn.activation(lambda x: np.tanh(x) + (x[..., None] > at) @ heights)
    np.testing.assert_allclose(act.kinks, at, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("function", "spacing", "start", "second"),
    [
        (np.floor, 1.0, 0.0, 4 / 3),  # E[floor(u)^2] = 1 + 1/4 + 1/12 up to e^(-2 pi^2)
        (np.ceil, 1.0, 0.0, 4 / 3),
        (np.round, 1.0, 0.5, 1 + 1 / 12),
        (lambda x: x % 1, 1.0, 0.0, 1 / 3),
        (lambda x: x % 0.7, 0.7, 0.0, 0.49 / 3),
        (lambda x: np.sign(np.sin(x)), math.pi, 0.0, 1.0),
        (lambda x: np.abs(np.sin(20 * x)), math.pi / 20, 0.0, 0.5),
    ],
    ids=["floor", "ceil", "round", "modulo", "saw tooth", "square wave", "rectified wave"],
)
def test_breaks_without_end_are_found_as_far_as_they_are_few(function, spacing, start, second):
    act = mfdnn.activation(function)
    assert act.pieces.resolved and act.pieces.reach >= 16
    inside = np.arange(-400, 401) * spacing + start
    inside = inside[np.abs(inside) < 15.99]
    found = np.array(act.kinks)
    np.testing.assert_allclose(found[np.abs(found) < 15.99], inside, rtol=0, atol=1e-11)
    # E[cos(2 pi u)] = 3e-9 and E[sin(2 pi u) u] = 6 times that.
    assert mfdnn.expect_product(act, 1.0) == pytest.approx(second, rel=1e-7)


def test_too_many_breaks_are_refused():
    with pytest.raises(ValueError, match="it may bend or jump at up to 512 places"):
        mfdnn.expect(lambda x: np.round(30 * x), 1.0)
    assert len(mfdnn.activation(lambda x: np.round(15 * x)).kinks) >= 480


def test_noise_of_rounding_is_no_reason_to_refuse():
    noisy = mfdnn.activation(lambda x: np.tanh(x) + 1e-12 * np.sin(1e9 * x))
    found, error = mfdnn.expect_product(noisy, 1.0, derivative=1, return_error=True)
    exact = mfdnn.expect_product("tanh", 1.0, derivative=1)
    assert 1e-14 < abs(found - exact) <= error <= 1e-8
    assert noisy.kinks == ()


def test_what_cancels_far_out_or_at_zero_is_resolved():
    far = mfdnn.activation(lambda x: np.sqrt(x * x + 1) - np.abs(x))  # noise 1e-12 at 1e4
    assert far.kinks == (0.0,) and far.pieces.reach > 1e4
    ratio = mfdnn.activation(lambda x: np.where(x == 0, 1, (np.exp(x) - 1) / np.where(x == 0, 1, x)))
    stable = mfdnn.activation(lambda x: np.where(x == 0, 1, np.expm1(x) / np.where(x == 0, 1, x)))
    assert ratio.kinks == ()
    for order in (0, 1):
        found, error = mfdnn.expect_product(ratio, 0.5, derivative=order, return_error=True)
        assert abs(found - mfdnn.expect_product(stable, 0.5, derivative=order)) <= error


def test_flat_beyond_all_powers_at_zero():
    act = mfdnn.activation(lambda x: np.exp(-1 / np.where(x == 0, 1e-9, x) ** 2))
    assert act.pieces.resolved and act.pieces.edges.size < 500
    # E[exp(-a/u^2)] = exp(-sqrt(2 a/q))
    assert mfdnn.expect_product(act, 0.5) == pytest.approx(math.exp(-math.sqrt(2 * 2 / 0.5)), rel=1e-13)


def test_parameters_in_a_loop_do_not_pile_up():
    gone = []
    for i in range(70):
        gone.append(weakref.ref(mfdnn.activation("leaky_relu", slope=0.3137 + i / 100)))
    gc.collect()
    assert sum(ref() is not None for ref in gone) <= 64


@pytest.mark.parametrize(
    "typed",
    [lambda x: np.maximum(x, 0), lambda x: x * (x > 0), lambda x: (x + np.abs(x)) / 2, lambda x: np.where(x > 0, x, 0)],
)
def test_relu_by_any_name_is_homogeneous(typed):
    assert mfdnn.activation(typed).homogeneous == (0.0, 1.0)
    assert mfdnn.activation("leaky_relu", slope=0).homogeneous == (0.0, 1.0)
    assert mfdnn.activation("shifted_relu", shift=0).homogeneous == (0.0, 1.0)

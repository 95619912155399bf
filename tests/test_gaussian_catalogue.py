"""Every activation in every corner: accuracy against stored values and, apart from it, errors that tell the truth."""

import math
from functools import cache

import cases
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mfdnn

NAMES = mfdnn.activation_names()
BAR = 1e-10  # of the size of a product, by Cauchy and Schwarz (E[f(u)^2] E[f(v)^2])^(1/2)
REFERENCE = 5e-15  # accuracy of the stored values: a few roundings of their size
NOTHING = (
    1e-25  # where point masses cancel, or phi is 0 within 12 standard deviations: the weight beyond is 1e-31
)

# Tenths of a second a pair: every fourth of their corners (other ones for the next variance).
SLOW = ("|x|^1.5", "tanh(20 x)", "rounding", "spline")

ROWS: dict[tuple[str, int], list[cases.Products]] = {}
for _row in cases.reference_products():
    ROWS.setdefault((_row.name, _row.derivative), []).append(_row)

every_activation = pytest.mark.parametrize(("name", "derivative"), ROWS, ids=lambda x: str(x))


@cache
def activation(name):
    """A built-in activation, or the bare callable of a user: no derivative, no kinks named."""
    return mfdnn.activation(name if name in NAMES else cases.USERS[name].value)


@cache
def products(name, derivative):
    """(row of the catalogue, values, reported errors) for all its variances."""
    found = []
    for i, row in enumerate(ROWS[name, derivative]):
        # Second derivatives are all integrated over the plane: every other corner.
        stride = 4 if name in SLOW else 2 if derivative == 2 else 1
        some = slice(i % stride, None, stride)
        if name == "|x|^1.5" and i not in (1, 6):
            continue
        c = cases.CORRELATIONS[some]
        value, error = mfdnn.expect_product(activation(name), row.q, c, row.q2, derivative, return_error=True)
        found.append((row._replace(values=row.values[some]), value, error))
    return found


def sizes(row):
    """What errors are relative to: at least the value itself, which point masses may make large."""
    return np.maximum(row.size if math.isfinite(row.size) else 0.0, np.abs(row.values))


def test_the_catalogue_is_whole():
    assert {name for name, _ in ROWS} == {*NAMES, *cases.USERS}
    assert sum(row.values.size for rows in ROWS.values() for row in rows) > 9000
    # Two ways to compute them agree; rounding of what hardly ever reaches 1/2 is 0 but for 1e-56.
    assert (
        max(row.check for rows in ROWS.values() for row in rows if row.size > 1e-50 or row.size == 0) < 1e-12
    )


@every_activation
def test_results_meet_the_bar(name, derivative):
    for row, value, error in products(name, derivative):
        finite = np.isfinite(row.values)
        np.testing.assert_array_equal(
            np.where(error == np.inf, row.values, value)[~finite], row.values[~finite]
        )
        bar = BAR * sizes(row) + NOTHING
        if name in cases.USERS:  # or the answer says that it is less certain
            bar = np.maximum(bar, error)
        off = np.abs(value[finite] - row.values[finite])
        assert np.all(off <= bar[finite]), (row.q, row.q2)


@every_activation
def test_reported_errors_never_understate(name, derivative):
    for row, value, error in products(name, derivative):
        finite = np.isfinite(row.values)
        assert np.all(error >= 0)
        off = np.abs(value[finite] - row.values[finite])
        assert np.all(off <= (error + REFERENCE * sizes(row) + NOTHING)[finite]), (row.q, row.q2)


@every_activation
def test_reported_errors_are_of_use(name, derivative):
    if name == "|x|^1.5":  # its singularity is no kink, and it says so
        assert not activation(name).pieces.resolved
        return
    if name in cases.USERS and derivative > 0:  # read off the function, as uncertain as phi is large
        return
    for row, _, error in products(name, derivative):
        # Masses that cancel at one correlation are as uncertain as they are at the others.
        size = np.maximum(sizes(row), np.median(np.abs(row.values)))
        # Near zero phi may be smaller than what is known of it: 1e-15 of its size at one.
        assert np.all(error <= BAR * size + 1e-15 * np.sqrt(size) + NOTHING), (row.q, row.q2)


@every_activation
def test_means(name, derivative):
    act = activation(name)
    for row in ROWS[name, derivative]:
        size = max(abs(row.mean), math.sqrt(row.size) if row.q == row.q2 and math.isfinite(row.size) else 0.0)
        # Without the derivative a mean is as uncertain as what is read off phi near zero.
        noise = (0.0, act.pieces.slope_noise, act.pieces.curvature_noise)[derivative]
        if not act.pieces.resolved:
            noise += 1e-4 * size
        if derivative:  # point masses that cancel
            noise += 1e-14 * np.abs(act.pieces.jumps[:, derivative - 1]).sum() / math.sqrt(row.q)
        rounding = 1e-15  # of sums of numbers of order one that cancel
        assert abs(mfdnn.expect(act, row.q, derivative) - row.mean) <= 1e-12 * size + noise + rounding, row.q


# -- random cases against brute force ----------------------------------------------------------------------------------

# The oracle is not made for these: too many jumps, too fast, too singular. The catalogue has them.
TWINS = {name: naive.phi(name, **mfdnn.activation(name).parameters) for name in NAMES}
TWINS |= {name: p for name, p in cases.USERS.items() if name not in ("rounding", "sin(5 x)", "|x|^1.5")}

log_variances = st.floats(math.log(1e-6), math.log(1e3))
correlations = st.one_of(
    st.floats(-1, 1),
    st.builds(lambda sign, k: sign * (1 - 10.0**-k), st.sampled_from([-1, 1]), st.floats(1, 15)),
)


any_product = given(
    st.sampled_from(sorted(TWINS)),
    log_variances,
    st.none() | log_variances,
    correlations,
    st.sampled_from([0, 1, 2]),
)


@settings(max_examples=60)
@any_product
def test_reported_errors_never_understate_at_random(name, x1, x2, c, derivative):
    assert_honest(name, x1, x2, c, derivative)


@pytest.mark.slow
@settings(max_examples=300)
@any_product
def test_reported_errors_never_understate_at_random_300_times(name, x1, x2, c, derivative):
    assert_honest(name, x1, x2, c, derivative)


def assert_honest(name, x1, x2, c, derivative):
    p = TWINS[name]
    largest = cases.LARGEST_VARIANCE.get(name, 1e3)
    q1 = min(math.exp(x1), largest)
    q2 = q1 if x2 is None else min(math.exp(x2), largest)
    if derivative == 2 and naive.masses(p, 1):
        derivative = 1
    value, error = mfdnn.expect_product(activation(name), q1, c, q2, derivative, return_error=True)
    exact = naive.expect_product(p, q1, c, q2, derivative)
    if math.isinf(exact) or math.isinf(value):
        assert value == exact or error == math.inf
        return
    size = math.sqrt(naive.second_moment(p, q1, derivative) * naive.second_moment(p, q2, derivative))
    size = max(size, abs(exact))
    # The oracle is good to 1e-14 of the size: panels of 12 and of 16 points agree to that.
    assert abs(value - exact) <= error + 1e-14 * size + NOTHING
    if name in NAMES:
        assert abs(value - exact) <= BAR * size + NOTHING

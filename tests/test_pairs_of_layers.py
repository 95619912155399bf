"""Pairs over (input, site), and the State that carries them: against dense matrices, and one kind against the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mfdnn
from mfdnn.layers import Exchangeable, Given, Keep, State, Tangents
from mfdnn.layers.pairs import DENSE_UP_TO, largest_eigenvalue
from mfdnn.layers.state import given_moments

ACTIVATIONS = {name: mfdnn.activation(name) for name in ("relu", "tanh", "erf")}


@st.composite
def cases(draw, n_sites=None):
    """A generator, T and n: small, and whatever hypothesis thinks of."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng, draw(st.integers(2, 5)), n_sites or draw(st.integers(1, 3))


def exchangeable(rng, n_samples, n, units=20):
    """Moments that T inputs can have: what is shared, and what is each input's own."""
    own, shared = (rng.standard_normal((units, n)) / np.sqrt(units) for _ in range(2))
    two = shared.T @ shared
    return Exchangeable(own.T @ own + two, two, n_samples)


def of_inputs(rng, n_samples, n, channels=20):
    return given_moments(rng.standard_normal((n_samples, channels, n)))


def same_as(pairs):
    """The `Given` that an `Exchangeable` stands for."""
    n_samples, n = pairs.n_samples, pairs.n_sites
    matrix = np.broadcast_to(pairs.two, (n_samples, n_samples, n, n)).copy()
    matrix[range(n_samples), range(n_samples)] = pairs.one
    return Given(matrix)


def dense(pairs):
    """(T n, T n), sites of an input side by side."""
    size = pairs.n_samples * pairs.n_sites
    return pairs.matrix.swapaxes(1, 2).reshape(size, size)


def assert_equal_pairs(found, expected, atol=0.0):
    """Two of either kind, entry by entry, in units of the largest."""
    found, expected = (pairs if pairs.given else same_as(pairs) for pairs in (found, expected))
    atol = max(atol, 1e-14) * max(np.abs(expected.matrix).max(), 1e-300)
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-13, atol=atol)


few = settings(max_examples=10)

# What maps Pairs to Pairs, of the same name for both kinds.
MAPS = {
    "centred": lambda k: k.centred(),
    "ones": lambda k: k.ones(),
    "same_sites": lambda k: k.same_sites(),
    "on_itself": lambda k: k.on_itself(1.3),
    "site_mean": lambda k: k.site_mean(),
    "over_sites": lambda k: k.over_sites(
        lambda b: np.roll(b, (1, 1), axis=(-2, -1)) + b.sum((-2, -1), keepdims=True)
    ),
    "entrywise": lambda k: k.entrywise(np.exp),
    "entrywise of two": lambda k: k.entrywise(np.maximum, 0.5 * k),
    "arithmetic": lambda k: 2.0 * k * k + k * np.float64(0.3) - (k - 1.0) + 0.5,
    "times": lambda k: k.times(3.0),
    "outer": lambda k: k.outer(k.variance),
    "outer of two": lambda k: k.outer(k.variance, np.sqrt(k.variance)),
}


@pytest.mark.parametrize("name", MAPS)
@few
@given(cases())
def test_both_kinds_are_one_matrix(name, case):
    pairs = exchangeable(*case)
    assert_equal_pairs(MAPS[name](pairs), MAPS[name](same_as(pairs)))


@pytest.mark.parametrize("name", MAPS)
@few
@given(cases())
def test_symmetric_matrices_stay_symmetric(name, case):
    for pairs in (of_inputs(*case), same_as(exchangeable(*case))):
        found = dense(MAPS[name](pairs))
        np.testing.assert_allclose(found, found.T, rtol=1e-14, atol=1e-14 * np.abs(found).max())


@pytest.mark.parametrize("name", ["centred", "site_mean", "over_sites", "times"])
@few
@given(cases())
def test_linear_maps_are_linear(name, case):
    change = MAPS[name]
    for make in (exchangeable, of_inputs):
        one, two = make(*case), make(*case)
        assert_equal_pairs(change(2.0 * one - 3.0 * two), 2.0 * change(one) - 3.0 * change(two), atol=1e-13)


@few
@given(cases())
def test_arithmetic_is_that_of_entries(case):
    one, two = of_inputs(*case), of_inputs(*case)
    a, b = one.matrix, two.matrix
    for found, expected in (
        (one + two, a + b),
        (one - two, a - b),
        (one * two, a * b),
        (one + 1.5, a + 1.5),
        (1.5 + one, a + 1.5),
        (one - 1.5, a - 1.5),
        (one * 1.5, a * 1.5),
        (np.float64(1.5) * one, a * 1.5),
        (one.ones(), np.ones_like(a)),
    ):
        np.testing.assert_array_equal(found.matrix, expected)


@few
@given(cases())
def test_centring_is_a_product_of_matrices(case):
    pairs = of_inputs(*case)
    _, n_samples, n = case
    project = np.kron(np.eye(n_samples) - 1 / n_samples, np.eye(n))
    np.testing.assert_allclose(dense(pairs.centred()), project @ dense(pairs) @ project, atol=1e-14)
    assert_equal_pairs(pairs.centred().centred(), pairs.centred(), atol=1e-13)


def test_infinitely_many_samples_have_no_mean_left():
    pairs = exchangeable(np.random.default_rng(0), None, 2).centred()
    assert pairs.n_samples is None
    np.testing.assert_array_equal(pairs.two, 0.0)


@few
@given(cases())
def test_products_of_numbers(case):
    pairs = of_inputs(*case)
    a, b = case[0].standard_normal((2, *pairs.variance.shape))
    left, right = a.ravel(), b.ravel()
    np.testing.assert_allclose(dense(pairs.outer(a)), np.outer(left, left), atol=1e-15)
    both = (np.outer(left, right) + np.outer(right, left)) / 2
    np.testing.assert_allclose(dense(pairs.outer(a, b)), both, atol=1e-15)
    np.testing.assert_array_equal(pairs.variance.ravel(), np.diagonal(dense(pairs)))


@few
@given(cases())
def test_what_the_sites_are(case):
    pairs = of_inputs(*case)
    _, n_samples, n = case
    same = np.kron(np.ones((n_samples, n_samples)), np.eye(n))
    np.testing.assert_array_equal(dense(pairs.same_sites()), same)
    assert pairs.site_mean().n_sites == 1
    expected = [[np.trace(block) / n for block in row] for row in pairs.matrix]
    np.testing.assert_allclose(pairs.site_mean().at_two, expected, rtol=1e-14)
    assert (pairs.n_sites, pairs.n_samples) == (n, n_samples)


# -- Gaussian expectations --------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ACTIVATIONS.values(), ids=ACTIVATIONS)
@settings(max_examples=5)
@given(cases())
def test_sites_are_inputs_to_an_expectation(act, case):
    """That of T inputs with n sites is the one of T n inputs with one."""
    pairs = of_inputs(*case)
    flat = Given(dense(pairs)[..., None, None])
    mean, values, slopes = pairs.expect(act)
    of_flat = flat.expect(act)
    np.testing.assert_allclose(mean.ravel(), of_flat[0].ravel(), rtol=1e-14)
    for found, expected in ((values, of_flat[1]), (slopes, of_flat[2])):
        np.testing.assert_allclose(dense(found), expected.at_two, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("act", ACTIVATIONS.values(), ids=ACTIVATIONS)
@settings(max_examples=5)
@given(cases())
def test_expectations_of_both_kinds(act, case):
    pairs = exchangeable(*case)
    (mean, *found), (of_given, *expected) = pairs.expect(act), same_as(pairs).expect(act)
    np.testing.assert_allclose(np.broadcast_to(mean, of_given.shape), of_given, rtol=1e-13)
    for one, two in zip(found, expected, strict=True):
        assert_equal_pairs(one, two, atol=1e-10)  # of the Gaussian integrals, which come from two routines


def test_expectations_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    for n in (1, 2):
        several = [exchangeable(rng, 4, n) for _ in range(3)]
        stacked = Exchangeable(*(np.stack([getattr(k, half) for k in several]) for half in ("one", "two")), 4)
        assert stacked.leading_shape == (3,)
        mean, values, slopes = stacked.expect(ACTIVATIONS["tanh"])
        for i, one in enumerate(several):
            alone = one.expect(ACTIVATIONS["tanh"])
            np.testing.assert_allclose(mean[i], alone[0], rtol=1e-14)
            for found, expected in zip((values, slopes), alone[1:], strict=True):
                np.testing.assert_allclose(found.one[i], expected.one, rtol=1e-14)
                np.testing.assert_allclose(found.two[i], expected.two, rtol=1e-14)
        scaled = stacked.times(np.array([1.0, 2.0, 3.0]))
        np.testing.assert_array_equal(scaled.two[2], 3 * several[2].two)


@few
@given(cases(1))
def test_expectations_of_a_linear_unit(case):
    pairs = of_inputs(*case)
    mean, values, slopes = pairs.expect(mfdnn.activation("linear"))
    np.testing.assert_allclose(mean, 0, atol=1e-15)
    assert_equal_pairs(values, pairs)
    assert_equal_pairs(slopes, pairs.ones())


# -- one site: what statistics ask ------------------------------------------------------------------------------


@few
@given(cases(1))
def test_sums_are_those_of_the_matrix(case):
    for pairs in (of_inputs(*case), exchangeable(*case), 0.5 * exchangeable(*case) - 1.0):
        K = dense(pairs if pairs.given else same_as(pairs))
        n = len(K)
        found = pairs.sums()
        rest = (K.sum() - np.trace(K)) / (n * (n - 1))
        expected = np.trace(K) / n, rest, np.sum(K**2) / n**2, np.linalg.eigvalsh(K)[-1] / n
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(pairs.averages(), expected[:2], rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(pairs.sums(leading=True)[:3], found[:3])


def test_the_leading_form_is_the_mean_of_all_pairs():
    pairs = of_inputs(np.random.default_rng(0), 4, 1)
    assert pairs.sums(leading=True).top == pytest.approx(pairs.at_two.mean(), rel=1e-14)


def test_one_sample_has_no_pairs():
    for pairs in (Given(np.full((1, 1, 1, 1), 2.0)), Exchangeable(np.full((1, 1), 2.0), np.ones((1, 1)), 1)):
        found = pairs.sums()
        assert (found.diagonal, found.square, found.top) == (2.0, 4.0, 2.0)


@few
@given(cases(1))
def test_products_with_vectors(case):
    v = case[0].standard_normal((2, case[1], 3))
    for pairs in (of_inputs(*case), exchangeable(*case)):
        K = dense(pairs if pairs.given else same_as(pairs))
        np.testing.assert_allclose(pairs.apply(v), np.einsum("st,btc->bsc", K, v), atol=1e-13)


@pytest.mark.parametrize("kind", ["exchangeable", "negative", "given", "given twice"])
def test_draws_have_the_moments(kind):
    rng, n_samples, n_draws = np.random.default_rng(0), 3, 4000
    pairs = exchangeable(rng, n_samples, 1)
    if kind == "negative":  # the lowest that three inputs can have
        pairs = Exchangeable(np.ones((1, 1)), np.full((1, 1), -0.5), n_samples)
    if kind.startswith("given"):
        x = rng.standard_normal((n_samples, 20, 1))
        pairs = given_moments(x[[0, 1, 1]] if kind == "given twice" else x)
    u = pairs.draw(n_samples, 2, n_draws, rng=5)
    assert u.shape == (n_draws, n_samples, 2)
    np.testing.assert_array_equal(u, pairs.draw(n_samples, 2, n_draws, rng=5))
    assert not np.array_equal(u, pairs.draw(n_samples, 2, n_draws, rng=6))
    K = dense(pairs if pairs.given else same_as(pairs))
    both = u.transpose(0, 2, 1).reshape(n_draws, -1)  # output by output
    expected = np.kron(np.eye(2), K)
    products = both[:, :, None] * both[:, None, :]
    error = products.std(axis=0) / np.sqrt(n_draws)
    assert np.all(np.abs(products.mean(axis=0) - expected) < 4 * error + 1e-14)
    assert np.all(np.abs(both.mean(axis=0)) < 4 * np.sqrt(np.diagonal(expected) / n_draws))


def test_many_inputs_go_to_lanczos():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((DENSE_UP_TO + 1, 30)) + 0.3
    K = x @ x.T
    assert largest_eigenvalue(K) == pytest.approx(np.linalg.eigvalsh(K)[-1], rel=1e-12)
    assert largest_eigenvalue(K) == largest_eigenvalue(K)


# -- State and Tangents -----------------------------------------------------------------------------------------


def test_moments_of_given_inputs():
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 2))
    found = given_moments(x)
    assert (found.n_samples, found.n_sites) == (4, 4)
    flat = x.reshape(4, 3, 4)
    np.testing.assert_allclose(
        found.matrix, np.einsum("sax,tay->stxy", flat, flat) / 3, rtol=1e-14, atol=1e-15
    )
    one = given_moments(x.reshape(4, 12))
    np.testing.assert_allclose(one.at_two, x.reshape(4, 12) @ x.reshape(4, 12).T / 12, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("make", [exchangeable, of_inputs])
def test_tangents_are_kernels_by_name(make):
    rng = np.random.default_rng(0)
    one, two, three = (make(rng, 3, 2) for _ in range(3))
    tangents = Tangents(Keep()).add((("weights",), one)).add((("errors", 0), two))
    assert tangents.names == (("weights",), ("errors", 0))
    assert_equal_pairs(tangents[("weights",)], one)
    assert_equal_pairs(tangents.add((("weights",), three))[("weights",)], one + three)  # a group grows
    assert_equal_pairs(tangents[("weights",)], one)  # and what was there stays
    assert ("errors", 0) in tangents
    assert ("biases",) not in tangents
    assert_equal_pairs(tangents.total(("weights",), ("biases",), ("errors", 0)), one + two)
    assert tangents.total(("biases",)) is None
    changed = tangents.map(lambda k: 2.0 * k, lambda k: k - 1.0)
    assert_equal_pairs(changed[("weights",)], 2.0 * one)
    assert_equal_pairs(changed[("errors", 0)], two - 1.0)
    assert_equal_pairs(tangents.map(lambda k: 2.0 * k)[("errors", 0)], 2.0 * two)
    behind = tangents.map(lambda k: 2.0 * k).add((("layer", 1), three))
    joined = tangents.joined(behind, 0.25)
    assert_equal_pairs(joined[("weights",)], 2.25 * one)
    assert_equal_pairs(joined[("errors", 0)], 2.25 * two)
    assert_equal_pairs(joined[("layer", 1)], three)
    assert Tangents(Keep()).joined(behind, 0.25) is behind


@pytest.mark.parametrize("make", [exchangeable, of_inputs])
def test_a_state_is_not_changed_by_what_follows(make):
    rng = np.random.default_rng(0)
    moments = make(rng, 3, 2)
    mean = np.full_like(moments.variance, 0.3)
    state = State(moments, mean, (5, 2), False, Tangents(Keep()))
    first = state.weighted((7, 2), fan_in=5, sigma_w2=1.5, sigma_b2=0.1)
    assert (first.shape, first.gaussian, first.n_samples) == ((7, 2), True, 3)
    assert_equal_pairs(first.moments, 1.5 * moments + 0.1)
    np.testing.assert_array_equal(first.mean, 0.0)
    assert_equal_pairs(first.tangents[("weights",)], 5.0 * moments)
    assert_equal_pairs(first.tangents[("biases",)], moments.ones())
    assert_equal_pairs(first.tangents[("layer", 0)], 5.0 * moments + 1.0)
    assert_equal_pairs(first.tangents[("ntk",)], first.moments)
    assert_equal_pairs(first.tangents[("errors", 0)], moments.same_sites())
    second = first.weighted((4, 2), fan_in=7, sigma_w2=2.0, bias=False)
    assert_equal_pairs(second.tangents[("weights",)], 10.0 * moments + 7.0 * first.moments)
    assert_equal_pairs(second.tangents[("biases",)], 2.0 * moments.ones())
    assert_equal_pairs(second.tangents[("layer", 1)], 7.0 * first.moments)
    assert_equal_pairs(second.tangents[("features", 1)], 2.0 * first.moments.same_sites())
    assert_equal_pairs(second.tangents[("errors", 0)], 2.0 * moments.same_sites())
    joined = state.joined(first.trained(moments), -0.5)
    assert_equal_pairs(joined.moments, 0.25 * moments + first.moments)
    np.testing.assert_allclose(joined.mean, -0.15)
    assert not joined.gaussian
    with_means = state.joined(state, 0.5)
    assert_equal_pairs(with_means.moments, 1.25 * moments + moments.outer(mean))
    assert (state.shape, state.tangents.names, state.records) == ((5, 2), (), ())
    assert [(r.fan_in, r.fan_out, r.sigma_w2, r.bias) for r in second.records] == [
        (5, 7, 1.5, True),
        (7, 4, 2.0, False),
    ]


@pytest.mark.parametrize("make", [exchangeable, of_inputs])
def test_what_is_not_kept_is_not_there(make):
    moments = make(np.random.default_rng(0), 3, 2)
    lean = Tangents(Keep(shares=False, errors=False, signal=False))
    state = State(moments, np.zeros_like(moments.variance), (5, 2), False, lean)
    state = state.weighted((7, 2), fan_in=5, sigma_w2=1.5)
    assert set(state.tangents.names) == {("weights",), ("biases",), ("ntk",)}
    assert (state.records[0].seen, state.records[0].left) == (None, None)

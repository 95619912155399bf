"""The closed forms and tables behind the kernels, each against its definition."""

import math
import os
import subprocess
import sys

import naive
import numpy as np
import pytest
from scipy import integrate, special, stats
from slow import slow

import mfdnn
from mfdnn import _compiled
from mfdnn.gaussian import correlations as _correlations
from mfdnn.gaussian import matrices as _matrices
from mfdnn.gaussian.kinks import kink_part, kink_values
from mfdnn.gaussian.quadrature import breaks, nodes
from mfdnn.gaussian.tables import tables

CORRELATIONS = [-1 + 1e-12, -0.999, -0.93, -0.92, -0.3, 0.0, 0.5, 0.92, 0.93, 0.999, 1 - 1e-6, 1 - 1e-12]


def sine(c):
    return math.sqrt((1 - c) * (1 + c))


# -- bivariate normal ------------------------------------------------------------------------------------------------


def orthant_by_owen(h, k, c):
    """P(z1 > h, z2 > k) by Owen's T function (Owen 1956), h and k not zero."""
    s = sine(c)
    total = (special.ndtr(-h) + special.ndtr(-k)) / 2
    total -= special.owens_t(h, (k / h - c) / s) + special.owens_t(k, (h / k - c) / s)
    return total - (0.5 if h * k < 0 else 0.0)


@pytest.mark.parametrize("c", CORRELATIONS)
def test_orthant_probabilities_equal_owens_t(c):
    for h in (-7.0, -1.3, -1e-3, 0.02, 0.7, 3.0, 8.0):
        for k in (h, h + 1e-7, h + 0.01, -h, -0.5, 1.1, 6.0):
            # (k/h - c)/s magnifies the rounding of c near 1: the oracle is good to 1e-16/s.
            tolerance = 1e-15 + 1e-16 / sine(c)
            assert abs(_compiled._orthant(h, k, c, sine(c)) - orthant_by_owen(h, k, c)) <= tolerance, (h, k)


def test_orthant_probabilities_equal_scipy_and_their_limits():
    for h, k, c in ((0.3, -0.8, 0.4), (1.0, 1.0, -0.7), (-0.2, 0.5, 0.95)):
        cdf = stats.multivariate_normal([0, 0], [[1, c], [c, 1]]).cdf([-h, -k])
        assert _compiled._orthant(h, k, c, sine(c)) == pytest.approx(
            cdf, abs=1e-9
        )  # what its quadrature aims at
    for h, k in ((0.3, 0.7), (-1.0, 2.0), (0.5, 0.5), (0.0, 0.0), (-0.5, 0.5), (-1.0, 0.3)):
        assert _compiled._orthant(h, k, 1.0, 0.0) == pytest.approx(special.ndtr(-max(h, k)), abs=1e-16)
        assert _compiled._orthant(h, k, -1.0, 0.0) == pytest.approx(
            max(special.ndtr(-h) - special.ndtr(k), 0.0), abs=1e-16
        )
        product = special.ndtr(-h) * special.ndtr(-k)
        assert _compiled._orthant(h, k, 0.0, 1.0) == pytest.approx(product, rel=1e-15)


def test_orthant_probabilities_keep_their_relative_accuracy_in_the_tail():
    # Both above 5 for c = 0.5: E[Phi((c x - 5)/s); x > 5] by quadrature.
    exact = integrate.quad(lambda x: naive.normal_pdf(x) * special.ndtr((0.5 * x - 5) / sine(0.5)), 5, 12)[0]
    assert _compiled._orthant(5.0, 5.0, 0.5, sine(0.5)) == pytest.approx(exact, rel=1e-9)


def truncated_moment(m, n, h, k, c):
    """E[(z1 - h)_+^m (z2 - k)_+^n] / (m! n!) by quadrature; m or n = -1 is a point mass."""
    s = sine(c)

    def second(x):  # E[(z2 - k)_+^n / n! | z1 = x]
        y = (k - c * x) / s
        if n == -1:
            return naive.normal_pdf(y) / s
        w, weight = naive.panel_rule(naive.graded_edges([y], 1e-3, 0.5))
        return weight @ np.where(w > y, (s * (w - y)) ** n, 0.0) / math.factorial(n)

    if m == -1:
        return naive.normal_pdf(h) * second(h)
    z, weight = naive.panel_rule(naive.graded_edges([h, k / c if c else 0.0], 0.1 * s, 0.5))
    inside = z > h
    values = [(x - h) ** m * second(x) for x in z[inside]]
    return weight[inside] @ values / math.factorial(m)


@pytest.mark.parametrize("c", [-0.95, slow(-0.3), 0.0, slow(0.6), 0.99])
@pytest.mark.parametrize(("h", "k"), [(0.0, 0.0), (0.4, 1.1), (-1.2, 0.7), (2.0, 2.0)])
def test_truncated_moments_equal_their_integrals(h, k, c):
    order = _compiled.KINK_ORDERS - 1
    out = np.empty((order + 2, order + 2))
    _compiled._truncated_moments(h, k, c, sine(c), 1 - abs(c), order, out)
    for m, n in ((-1, -1), (-1, 0), (-1, 3), (0, 0), (0, 2), (1, 1), (2, -1), (2, 1), (3, 3)):
        # The moments are of order 1; the oracle is good to a few 1e-14.
        assert out[m + 1, n + 1] == pytest.approx(truncated_moment(m, n, h, k, c), rel=1e-12, abs=1e-13), (
            m,
            n,
        )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_truncated_moments_are_continuous_up_to_the_ends(sign):
    order = _compiled.KINK_ORDERS - 1
    near, at_end = np.empty((2, order + 2, order + 2))
    gap = 1e-12
    for h, k in ((0.4, 0.4), (0.4, 1.1), (-0.7, 0.2), (0.7, -0.7)):
        c = sign * (1 - gap)
        _compiled._truncated_moments(h, k, c, sine(c), gap, order, near)
        _compiled._truncated_moments(h, k, sign, 0.0, 0.0, order, at_end)
        # d/dc M_mn = M_{m-1,n-1}, so without the point masses the difference is of order gap, and
        # sqrt(gap) where one of them is left.
        np.testing.assert_allclose(near[2:, 2:], at_end[2:, 2:], rtol=0, atol=10 * gap)
        np.testing.assert_allclose(near[1:, 1:], at_end[1:, 1:], rtol=0, atol=10 * math.sqrt(gap))


# -- tables ------------------------------------------------------------------------------------------------------------

KINKED = mfdnn.Activation(
    "kinked", lambda x: np.where(x > 0.4, 0.1 + x**2 / 2, np.tanh(x)) - 0.3 * np.maximum(-1.5 - x, 0)
)


@pytest.mark.parametrize("q", [1e-3, 0.5, 3.0, 50.0])
def test_kink_part_has_the_jumps_of_the_function_and_known_coefficients(q):
    kinks = kink_part(KINKED)
    # One kink on each side of zero; the right one jumps in every derivative.
    np.testing.assert_allclose(kinks.at, [1.5, 0.4], atol=1e-12)
    assert kinks.sides.tolist() == [-1, 1]
    x = np.array([-1.5, 0.4])
    for order in (0, 1):
        jump = [kink_values(kinks, 3, x + d)[order] for d in (1e-9, -1e-9)]
        np.testing.assert_allclose(jump[0] - jump[1], KINKED.pieces.jumps[:, order], rtol=0, atol=1e-8)
    z, weight = nodes(breaks(KINKED, q))
    a = np.empty(12)
    _compiled.kink_coefficients(kinks, 3, q, np.empty(12), a)
    part = kink_values(kinks, 3, math.sqrt(q) * z)[0]
    for k in range(12):
        hermite = special.eval_hermitenorm(k, z) / math.sqrt(math.factorial(k))
        size = np.sqrt(weight @ part**2)  # 1e-25: what lies beyond the quadrature's 12 standard deviations
        assert a[k] == pytest.approx(weight @ (part * hermite), rel=0, abs=1e-13 * size + 1e-25)


@pytest.mark.parametrize("name", ["tanh", "elu", "selu", "sigmoid", "hard_tanh", "sin"])
@pytest.mark.parametrize("q", [1e-6, 0.7, 20.0])
def test_hermite_series_obeys_parseval(name, q):
    act = mfdnn.activation(name)
    table = tables(act).hermite
    a = np.empty(table.values.shape[2])
    panel = _compiled._coefficients(table, q, np.empty(16), a)
    second, slope2 = _compiled.table_moments(tables(act).moments, np.array([q]))[:2, 0]
    # E[phi^2] = sum a_k^2 + what is left out, and that is at most the sum of the two tails.
    rest = second - a @ a
    assert -1e-13 * second <= rest <= 1.01 * (table.tails[panel, :2].sum()) ** 2 + 1e-13 * second
    rest = q * slope2 - np.arange(a.size) @ a**2
    noise = 1e-13 * (q * slope2 + second)
    assert -noise <= rest <= 1.01 * (table.tails[panel, 2:].sum()) ** 2 + noise


def users(x):
    return np.where(x > 0, x, np.tanh(x)) + 0.1 * np.maximum(x - 1, 0)


def name(phi):
    """The same in every process, unlike the address that str() of a function shows."""
    return getattr(phi, "__name__", phi)


@pytest.mark.parametrize(
    "phi", ["tanh", "gelu", "sin", "hard_tanh", "shifted_relu", "elu", "selu", users], ids=name
)
def test_correlations_over_the_angle_equal_pair_integrals(phi):
    """Fourier series on circles, closed forms, and circles cut at the breaks, against pairs of one variance."""
    act = mfdnn.activation(phi)
    rng = np.random.default_rng(3)
    q = np.exp(rng.uniform(np.log(1e-4), np.log(300.0), 12))
    c = 1 - 10 ** rng.uniform(-6, 0, 12)
    theta = 2 * np.arcsin(np.sqrt((1 - c) / 2))
    found, mean = _compiled.equal_products(tables(act).correlations(q), q, theta)
    size = mfdnn.expect_product(act, q, derivative=1)
    slope, error = mfdnn.expect_product(act, q, c, derivative=1, return_error=True)
    # Panels are resolved to 1e-12 of the largest value.
    assert np.all(np.abs(found - slope) <= error + 3e-12 * size)
    # The mean over [c, 1] is a difference quotient, which magnifies the error of the products.
    product, error = mfdnn.expect_product(act, q, c, return_error=True)
    quotient = (mfdnn.expect_product(act, q) - product) / (q * (1 - c))
    assert np.all(np.abs(mean - quotient) <= 3 * error / (q * (1 - c)) + 3e-12 * size)


def test_circles_find_steep_places_besides_the_breaks():
    # The lines u = 2 and v = 2 are almost breaks, and cross at a radius that depends on the angle.
    act = mfdnn.Activation("steep", lambda x: np.maximum(x, -1) + np.tanh(20 * (x - 2)))
    q, theta = np.array([2.0, 5.0]), np.array([0.02, 0.3, 1.3])
    found = _correlations._slope_products(act, 1.9, 5.1)(q, theta)
    exact, error = mfdnn.expect_product(act, q[:, None], np.cos(theta), derivative=1, return_error=True)
    size = mfdnn.expect_product(act, q, derivative=1)[:, None]
    assert np.all(np.abs(found - exact) <= error + 3e-12 * size)


@pytest.mark.parametrize("q", [0.1, 2.0, 2.7])
def test_correlations_of_fast_growing_functions_reach_far(q):
    """E[exp(u) exp(v)] = exp(q (1 + c)): the weight is five standard deviations out."""
    theta = np.array([1e-3, 0.1, 0.5, 1.0, 1.5])
    act = mfdnn.activation("exp")
    found, _ = _compiled.equal_products(tables(act).correlations(np.array([q])), np.full(5, q), theta)
    np.testing.assert_allclose(found, np.exp(q * (1 + np.cos(theta))), rtol=1e-13)  # tens of roundings


def test_correlations_of_a_jump_grow_like_one_over_the_angle():
    act = mfdnn.activation(lambda x: np.where(x > 0, 1.0, -1.0) + np.tanh(x))
    theta = np.array([1e-6, 1e-3, 0.3, 1.2])
    q = np.full(4, 0.8)
    found, _ = _compiled.equal_products(tables(act).correlations(q), q, theta)
    smooth = mfdnn.expect_product("tanh", 0.8, np.cos(theta), derivative=1)
    # Two point masses 2 at zero: 4 times the joint density. One mass against tanh' of a narrower Gaussian, twice.
    masses = 4 / (2 * np.pi * 0.8 * np.sin(theta))
    mixed = 4 / math.sqrt(2 * math.pi * 0.8) * mfdnn.expect("tanh", 0.8 * np.sin(theta) ** 2, derivative=1)
    np.testing.assert_allclose(found, masses + mixed + smooth, rtol=1e-10)


# -- matrices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "phi", ["relu", "leaky_relu", "tanh", "cos", "sigmoid", "elu", "hard_tanh", users], ids=name
)
@pytest.mark.parametrize("common", [0.0, 0.6])
def test_matrices_of_many_inputs_are_those_of_single_pairs(phi, common):
    """More inputs than fit a block or a tile; odd, even and other series; pairs beyond the short series."""
    act = mfdnn.activation(phi)
    rng = np.random.default_rng(7)
    x = np.sqrt(1 - common) * rng.standard_normal((90, 40)) + np.sqrt(common) * rng.standard_normal(40)
    x *= rng.uniform(0.5, 1.5, (90, 1))
    covariance = x @ x.T / 40
    variance = np.diagonal(covariance).copy()
    corr = covariance / np.sqrt(np.multiply.outer(variance, variance))
    s, t = rng.integers(90, size=(2, 60))
    s, t = s[s != t], t[s != t]
    found = _matrices.covariances(act, variance, covariance)
    for order, matrix in enumerate(found):
        np.testing.assert_array_equal(matrix, matrix.T)
        exact = mfdnn.expect_product(act, variance[s], corr[s, t], variance[t], order)
        sizes = mfdnn.expect_product(act, variance, derivative=order)
        # What a series cut short may leave out is 1e-12.
        assert np.all(np.abs(matrix[s, t] - exact) <= 3e-12 * np.sqrt(sizes[s] * sizes[t]))
        np.testing.assert_allclose(np.diagonal(matrix), sizes, rtol=1e-12)


def test_a_jump_shortens_no_series_too_much():
    act = mfdnn.activation(lambda x: np.where(x > 0, 1.0, -1.0))
    variance = np.array([1.0, 2.0, 0.5])
    corr = np.array([[1.0, 0.2, 0.6], [0.2, 1.0, -0.9], [0.6, -0.9, 1.0]])
    root = np.sqrt(np.multiply.outer(variance, variance))
    value, slope = _matrices.covariances(act, variance, corr * root)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(value[off], 2 / np.pi * np.arcsin(corr[off]), atol=1e-12)
    # Twice a point mass at zero: 4 times the joint density there.
    density = 4 / (2 * np.pi * root[off] * np.sqrt(1 - corr[off] ** 2))
    np.testing.assert_allclose(slope[off], density, rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-180, 1.0, 1e160])
def test_homogeneous_matrices_know_no_smallest_or_largest_variance(scale):
    x = np.array([[1.0, 2.0], [1.0, 2.0], [-0.3, 0.7]])
    covariance = x @ x.T / 3
    value, slope = _matrices.covariances(
        mfdnn.activation("relu"), scale * np.diagonal(covariance), scale * covariance
    )
    c = covariance[0, 2] / math.sqrt(covariance[0, 0] * covariance[2, 2])
    j = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
    root = math.sqrt(covariance[0, 0] * covariance[2, 2])
    assert value[0, 2] / scale == pytest.approx(root * j / 2, rel=1e-14)
    # Two copies of an input, exactly.
    assert (value[0, 1] / scale, slope[0, 1]) == pytest.approx((covariance[0, 0] / 2, 0.5), rel=1e-15)


# -- policy -----------------------------------------------------------------------------------------------


def test_without_a_writable_cache_kernels_are_compiled_in_memory(tmp_path):
    code = (
        "import mfdnn, numba\n"
        "from mfdnn import _compiled\n"
        "assert not _compiled._CACHE\n"
        "assert _compiled.table_moments.stats.cache_path is None\n"
        "print(mfdnn.expect('relu', 1.0))"
    )
    environment = {**os.environ, "mfdnnNUMBA_CACHE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) == pytest.approx(1 / math.sqrt(2 * math.pi))

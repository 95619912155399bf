"""The oracles themselves, against closed forms, the catalogue of known values, and each other."""

import math

import cases
import naive
import numpy as np
import pytest

CORRELATIONS = [-1.0, -0.999, -0.3, 0.0, 0.5, 0.9, 1 - 1e-6, 1.0]


def arc_cosine(c):
    """Normalised arc-cosine kernel of degree 1 (Cho and Saul 2009)."""
    return (math.sqrt((1 - c) * (1 + c)) + (math.pi - math.acos(c)) * c) / math.pi


# (activation, derivative) -> E[f(u) f(v)] for variances q1, q2 and correlation c; k is the covariance.
CLOSED_PAIRS = {
    ("linear", 0): lambda q1, q2, c: math.sqrt(q1 * q2) * c,
    ("relu", 0): lambda q1, q2, c: math.sqrt(q1 * q2) / 2 * arc_cosine(c),
    ("relu", 1): lambda q1, q2, c: (math.pi - math.acos(c)) / (2 * math.pi),
    ("abs", 1): lambda q1, q2, c: 2 / math.pi * math.asin(c),
    ("erf", 0): lambda q1, q2, c: (
        2 / math.pi * math.asin(2 * math.sqrt(q1 * q2) * c / math.sqrt((1 + 2 * q1) * (1 + 2 * q2)))
    ),
    ("sin", 0): lambda q1, q2, c: (
        0.5 * math.exp(-(q1 + q2) / 2 + math.sqrt(q1 * q2) * c)
        - 0.5 * math.exp(-(q1 + q2) / 2 - math.sqrt(q1 * q2) * c)
    ),
}


@pytest.mark.parametrize(("name", "derivative"), CLOSED_PAIRS, ids=str)
@pytest.mark.parametrize(("q1", "q2"), [(1.0, 1.0), (0.01, 30.0)])
def test_pairs_equal_closed_forms(name, derivative, q1, q2):
    p = naive.phi(name)
    f = (p.value, p.slope)[derivative]
    closed = CLOSED_PAIRS[name, derivative]
    # By Cauchy-Schwarz sqrt(E[f(u)^2] E[f(v)^2]) is the size a pair can have; 1e-12 of it is rounding.
    scale = math.sqrt(closed(q1, q1, 1.0) * closed(q2, q2, 1.0))
    for c in CORRELATIONS:
        value = naive.correlated_mean(f, f, q1, q2, c, p.kinks, p.kinks)
        assert value == pytest.approx(closed(q1, q2, c), rel=0, abs=1e-12 * scale)


@pytest.mark.parametrize("q", [1e-6, 1.0, 1e3])
def test_hard_tanh_moments_equal_closed_forms(q):
    p = naive.phi("hard_tanh")
    inside = math.erf(1 / math.sqrt(2 * q))
    square = 1 + (q - 1) * inside - math.sqrt(2 * q / math.pi) * math.exp(-1 / (2 * q))
    assert naive.second_moment(p, q, derivative=1) == pytest.approx(inside, rel=1e-12)
    # The closed form itself cancels for small q: it is good to one unit of rounding of 1.
    assert naive.second_moment(p, q) == pytest.approx(square, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("case", cases.moment_cases(), ids=cases.moment_id)
def test_moments_equal_catalogue(case):
    name, parameters = case.activation
    p = naive.phi(name, **parameters)
    value = {
        "E_phi": lambda: naive.expect(p, case.q),
        "E_dphi": lambda: naive.expect(p, case.q, derivative=1),
        "E_phi2": lambda: naive.second_moment(p, case.q),
        "E_dphi2": lambda: naive.second_moment(p, case.q, derivative=1),
        "E_d2phi2": lambda: naive.second_moment(p, case.q, derivative=2),
        "E_dphi4": lambda: naive.gaussian_mean(lambda u: p.slope(u) ** 4, case.q, p.kinks),
        "E_phi_phi": lambda: naive.expect_product(p, case.q, case.c),
        "E_dphi_dphi": lambda: naive.expect_product(p, case.q, case.c, derivative=1),
    }[case.quantity]()
    assert value == pytest.approx(case.value, rel=0, abs=cases.MOMENT_ACCURACY)


@pytest.mark.parametrize(
    "row",
    [row for row in cases.reference_products() if row.method == "closed" and row.q == row.q2 == 1],
    ids=lambda row: f"{row.name}-{row.derivative}",
)
def test_products_equal_closed_forms_in_forty_digits(row):
    """Point masses included: they are in the closed forms of relu'' and step'."""
    if row.name == "|x|^1.5":  # no panels for a singularity that is no kink
        return
    p = cases.USERS.get(row.name) or naive.phi(
        row.name, **({"slope": 0.01} if row.name == "leaky_relu" else {})
    )
    for i in (1, 4, 8, 9):  # c = -0.999, 0.5, 1 - 1e-12, 1
        value = naive.expect_product(p, 1.0, cases.CORRELATIONS[i], derivative=row.derivative)
        assert value == pytest.approx(row.values[i], rel=1e-13, abs=1e-13 * row.size)


@pytest.mark.parametrize("name", naive.BUILDERS)
def test_derivatives_are_the_slopes(name):
    p = naive.phi(name)
    x = np.linspace(-4.03, 4.0, 40)  # meets no kink
    step = 1e-5
    slope = (p.value(x + step) - p.value(x - step)) / (2 * step)
    # Central differences: 1e-10 of truncation and 1e-11 of rounding.
    np.testing.assert_allclose(p.slope(x), slope, rtol=1e-10, atol=1e-9)
    if p.curvature is not None:
        curvature = (p.slope(x + step) - p.slope(x - step)) / (2 * step)
        np.testing.assert_allclose(p.curvature(x), curvature, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", naive.BUILDERS)
def test_kinks_are_exactly_where_a_derivative_breaks(name):
    p = naive.phi(name)
    # Jump of the value, the slope or its own slope (elu: only phi'' jumps), across every multiple of 1/4.
    grid, step = np.arange(-3.0, 3.01, 0.25), 1e-6
    jump = [f(grid + step) - f(grid - step) for f in (p.value, p.slope)]
    bend = p.slope(grid + 2 * step) - p.slope(grid + step) - p.slope(grid - step) + p.slope(grid - 2 * step)
    breaks = np.any(np.abs(jump) > 0.1, axis=0) | (np.abs(bend) > 0.5 * step)
    assert tuple(grid[breaks]) == p.kinks


@pytest.mark.parametrize("row", cases.GOLDEN_FISHER, ids=lambda row: f"{row.activation}-L={row.depth}")
def test_order_parameters_give_the_golden_fisher_table(row):
    op = naive.order_parameters(naive.phi(row.activation), row.depth, row.sigma_w2, row.sigma_b2)
    kappa_1, kappa_2, alpha = naive.kappas(op)
    largest = alpha * (0.99 * kappa_2 + 0.01 * kappa_1)
    ntk_1, ntk_2 = naive.ntk_sums(op)
    values = {
        "kappa_1": kappa_1,
        "kappa_2": kappa_2,
        "lambda_max_over_M": largest,
        "eta_c_times_M": 2 / largest,
        "q_L": op["q"][-1],
        "q_st_L": op["q_st"][-1],
        "K1": ntk_1,
        "K2": ntk_2,
    }
    assert values.keys() == row.values.keys()
    for name, value in values.items():
        assert value == pytest.approx(row.values[name], rel=0, abs=row.tolerance(name)), name


def test_fixed_points_equal_catalogue():
    point = ("tanh", 2.0, 0.05)
    known = cases.DEPTH_SCALES[point]
    p = naive.phi("tanh")
    q = naive.q_star(p, *point[1:])
    c = naive.c_star(p, q, *point[1:])
    found = {
        "qstar": q,
        "chi1": naive.chi_1(p, q, 2.0),
        "dqmap": naive.q_map_slope(p, q, 2.0),
        "cstar": c,
        "cmap_slope": naive.chi_c(p, c, q, 2.0),
    }
    for name, value in found.items():
        assert value == pytest.approx(known[name], rel=cases.PHASE_ACCURACY), name
    assert naive.depth_scale(found["chi1"]) == pytest.approx(known["xi_grad"], rel=1e-9)
    # Plain iteration reaches the same q*, its slope is 0.487 (60 steps: 2e-19),
    assert naive.q_trajectory(p, 1.0, 2.0, 0.05, 60)[-1] == pytest.approx(q, rel=1e-12)
    # and approaches c* as slowly as its slope, 0.961, says.
    steps = naive.c_trajectory(p, c + 1e-4, q, 2.0, 0.05, 3)
    assert (steps[-1] - c) / 1e-4 == pytest.approx(found["cmap_slope"] ** 3, rel=1e-3)


def test_depth_scale_of_degenerate_slopes():
    assert naive.depth_scale(1.0) == math.inf
    assert naive.depth_scale(0.0) == 0.0
    assert naive.depth_scale(2.0) < 0


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(0)
    parameters = naive.random_parameters([4, 6, 5, 3], 2.0, 0.5, rng)
    return parameters, rng.standard_normal((7, 4)), naive.phi("tanh")


def test_jacobian_by_differences_equals_back_propagation(small):
    parameters, x, p = small
    jacobian = naive.parameter_jacobian(parameters, p.value, x)
    assert jacobian.shape == (7, 3, naive.flatten(parameters).size)
    np.testing.assert_allclose(jacobian, naive.backward_jacobian(parameters, p, x), rtol=0, atol=1e-8)


def test_fisher_and_dual_share_their_spectrum(small):
    parameters, x, p = small
    jacobian = naive.backward_jacobian(parameters, p, x)
    fisher = naive.eigenvalues(naive.fisher_matrix(jacobian))
    dual = naive.eigenvalues(naive.dual_matrix(jacobian))
    np.testing.assert_allclose(fisher[:21], dual, rtol=0, atol=1e-12 * dual[0])
    np.testing.assert_allclose(fisher[21:], 0.0, atol=1e-12 * dual[0])


def test_softmax_fisher_is_the_covariance_of_the_score(small):
    parameters, x, p = small
    jacobian = naive.backward_jacobian(parameters, p, x)
    outputs = naive.forward(parameters, p.value, x)
    fisher = naive.softmax_fisher_matrix(jacobian, outputs)
    # The definition: mean over samples of E_k[grad log p_k grad log p_k^T], k drawn from the model itself.
    expected = np.zeros_like(fisher)
    for t in range(len(x)):
        probability = np.exp(outputs[t]) / np.exp(outputs[t]).sum()
        for k in range(3):
            score = jacobian[t, k] - probability @ jacobian[t]
            expected += probability[k] * np.outer(score, score) / len(x)
    np.testing.assert_allclose(fisher, expected, rtol=0, atol=1e-13)


def test_input_jacobian_of_a_linear_net_is_the_product_of_its_weights(small):
    parameters, x, _ = small
    identity = naive.phi("linear")
    product = parameters[2][0] @ parameters[1][0] @ parameters[0][0]
    jacobian = naive.input_jacobian(parameters, identity.value, x[0])
    np.testing.assert_allclose(jacobian, product, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        naive.singular_values(product), np.linalg.svd(product, compute_uv=False), rtol=1e-7
    )


def test_fisher_statistics_become_the_kappas_at_large_width():
    p = naive.phi("relu")
    op = naive.order_parameters(p, 3, 2.0, 0.1)
    width, samples = 10**7, 100
    statistics = naive.fisher_statistics(op, [width] * 3 + [1], samples)
    kappa_1, kappa_2, alpha = naive.kappas(op)
    # The exact widths differ from the leading order by O(1/M).
    assert statistics["mean"] == pytest.approx(kappa_1 / width, rel=1e-5)
    assert statistics["largest"] == pytest.approx(alpha * width * (0.99 * kappa_2 + 0.01 * kappa_1), rel=1e-5)
    assert statistics["second_moment"] == pytest.approx(
        alpha * (0.99 * kappa_2**2 + 0.01 * kappa_1**2), rel=1e-5
    )


def test_quadrature_refuses_what_it_cannot_do():
    with pytest.raises(ArithmeticError, match="quadrature error"):
        naive.gaussian_mean(lambda u: np.sin(1e6 * u), 1.0)

"""The Fisher information of one sample: closed forms, identities of the solver, sampled networks."""

import math
import pickle

import numpy as np
import pytest
from scipy.special import erf

import mfdnn
from mfdnn.jacobian.laws import SlopeLaw
from mfdnn.jacobian.one_sample import accumulated

SHIFTED = mfdnn.Activation("shifted relu", lambda x: np.maximum(x + 0.5, 0.0) - 0.5)


def critical(phi, depth, q, width=400, weights="orthogonal", **options):
    """A network at chi_1 = 1 and the variance q, and the mean square of inputs that have it from the first layer on."""
    act = mfdnn.activation(phi)
    w2 = 1 / SlopeLaw(act, q).moment(1)
    seen = mfdnn.expect(lambda x: act(x) ** 2, q)
    return mfdnn.mlp([width] * (depth + 1), act, w2, q - w2 * seen, weights=weights, **options), seen


def naive_matrix(one, x):
    """J J^T from the Jacobian by all parameters, at one input."""
    linear = one.linearise(x[None])
    jacobian = np.array([linear.vjp(row[None]) for row in np.eye(one.network.n_outputs)])
    return jacobian @ jacobian.T


def input_of(net, q0, rng=1):
    x = np.random.default_rng(rng).standard_normal(net.n_inputs)
    return x * math.sqrt(q0 * net.n_inputs) / np.linalg.norm(x)


# -- sampled networks ---------------------------------------------------------------------------------------------

SAMPLED = {
    "tanh": mfdnn.mlp([7, 7, 7, 7], "tanh", 1.5, 0.2),
    "widths differ, no bias": mfdnn.mlp([5, 9, 4, 6], "relu", 2.0, bias=False),
    "linear layers, an activation behind": mfdnn.Network(
        6, [mfdnn.Dense(6, 1.2), mfdnn.Dense(6, 1.1), mfdnn.Pointwise("gelu"), mfdnn.Dense(5), mfdnn.Pointwise("tanh")]
    ),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_the_recursion_is_the_gram_matrix_of_the_jacobian(name):
    net = SAMPLED[name]
    one, x = mfdnn.sample(net, rng=3), input_of(net, 0.8)
    expected = np.linalg.eigvalsh(naive_matrix(one, x))[::-1]
    found = mfdnn.sampled.conditional_fisher(one, x)
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-10, atol=1e-11 * expected[0])
    assert (found.mean, found.second_moment) == pytest.approx((expected.mean(), np.mean(expected**2)), rel=1e-10)
    some = mfdnn.sampled.conditional_fisher(one, x[None], k=2)
    np.testing.assert_allclose(some.eigenvalues, expected[:2], rtol=1e-9)
    assert some.mean == pytest.approx(found.mean, rel=1e-12)
    assert found.q_hat[0] == pytest.approx(0.8, rel=1e-12)
    np.testing.assert_allclose(found.eigenvalues, mfdnn.fisher_spectrum(one, x[None]).eigenvalues, atol=1e-10)


def test_the_largest_of_many_that_coincide():
    """An atom, and a Lanczos iteration that must not miss its copies."""
    net, q0 = critical("hard_tanh", 5, 0.1, 300)
    one, x = mfdnn.sample(net, rng=0), input_of(net, q0)
    every, some = mfdnn.sampled.conditional_fisher(one, x), mfdnn.sampled.conditional_fisher(one, x, k=20)
    np.testing.assert_allclose(some.eigenvalues, every.eigenvalues[:20], rtol=1e-9)
    assert some.eigenvalues[0] == pytest.approx(some.eigenvalues[-1], rel=1e-9)


# -- the limit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", ["hard_tanh", SHIFTED], ids=["hard tanh", "shifted relu"])
def test_slopes_of_zero_and_one(phi):
    """Largest eigenvalue and its share in closed form (Hayase & Karakida 2021), without biases as there."""
    depth, q = 20, 0.05
    net, q0 = critical(phi, depth, q)
    a = erf(1 / math.sqrt(2 * q)) if phi == "hard_tanh" else (1 + erf(0.5 / math.sqrt(2 * q))) / 2
    found = mfdnn.conditional_fisher(net, q0=q0)
    assert found.scale == 400.0
    np.testing.assert_allclose(found.q_hat, q0, rtol=1e-9)
    each = q0 + 1 / 400  # biases
    expected = sum(each * net.layers[0].sigma_w2**j for j in range(depth))
    assert found.largest / found.scale == pytest.approx(expected, rel=1e-12)
    (lowest, one), (place, mass) = found.atoms
    assert (lowest / 400, one) == pytest.approx((each, 1 - a), rel=1e-9)
    assert place == found.largest
    assert mass == pytest.approx(1 - (depth - 1) * (1 - a), rel=1e-9)
    assert found.mean == pytest.approx(400 * each * depth, rel=1e-9)  # chi_1 = 1
    # Near isometry (e^eps - 1)/eps times the mean, eps = L (1 - a), and a mass of 1 - eps.
    eps = depth * (1 - a)
    assert found.largest / found.mean == pytest.approx(math.expm1(eps) / eps, rel=0.1 * eps)


def test_two_layers_are_the_law_of_slopes():
    net, q0 = critical("tanh", 2, 0.3)
    found = mfdnn.conditional_fisher(net, q0=q0)
    c, w2 = q0 + 1 / 400, net.layers[2].sigma_w2
    assert found.largest == pytest.approx(400 * (c + w2 * c), rel=1e-12)  # a slope of 1
    for d in (0.05, 0.3, 0.6, 0.9):  # squared slopes 1 - tanh^2 = d^(1/2) at +-u
        u = np.arctanh(np.sqrt(1 - np.sqrt(d)))
        assert found.cdf(400 * (c + w2 * c * d)) == pytest.approx(1 - erf(u / math.sqrt(2 * 0.3)), abs=1e-6)
    x = found.grid[found.density > 0]
    h = 1e-6 * x
    slopes = (found.cdf(x + h) - found.cdf(x - h)) / (2 * h)
    np.testing.assert_allclose(found.density[found.density > 0], slopes, rtol=1e-3)


def test_one_layer_is_a_multiple_of_the_identity():
    found = mfdnn.conditional_fisher(mfdnn.Network(50, [mfdnn.Dense(50, 1.0)]), q0=0.5)
    assert found.atoms == ((26.0, 1.0),)
    assert (found.largest, found.mean, found.second_moment) == pytest.approx((26.0, 26.0, 676.0))
    np.testing.assert_array_equal(found.cdf([25.0, 26.0, 27.0]), [0.0, 1.0, 1.0])


def test_linear_gaussian_layers():
    """Two of them without biases: 1 + W W^T, the law of Marchenko and Pastur."""
    net = mfdnn.mlp([80, 80, 80], "linear", 1.0, bias=False)
    x = 80 * np.array([1.3, 2.0, 3.5, 4.9])
    found = mfdnn.conditional_fisher(net, grid=x)
    t = x / 80 - 1
    np.testing.assert_allclose(found.density, np.sqrt((4 - t) / t) / (2 * np.pi) / 80, rtol=1e-9)
    assert found.largest == pytest.approx(80 * 5, rel=1e-9)
    assert (found.mean, found.second_moment) == pytest.approx((160.0, 80**2 * 5.0), rel=1e-12)


LIMITS = {
    "hard tanh": lambda: critical("hard_tanh", 8, 0.3),
    "hard tanh, Gaussian": lambda: critical("hard_tanh", 8, 0.3, weights="gaussian"),
    "tanh": lambda: critical("tanh", 10, 0.15),
    "tanh, Gaussian": lambda: critical("tanh", 6, 0.15, weights="gaussian"),
    "erf near isometry": lambda: critical("erf_unit", 12, 0.02),
    "relu, chi_1 = 1.5": lambda: (mfdnn.mlp([400] * 6, "relu", 3.0, 0.1, weights="orthogonal"), 1.0),
    "chi_1 = 0.2": lambda: (mfdnn.mlp([400] * 6, "tanh", 0.25, 0.1), 1.0),
}


@pytest.mark.parametrize("name", LIMITS)
def test_moments_from_the_distribution(name):
    """E[x] and E[x^2] as integrals over the distribution; the end of the spectrum is where it becomes 1."""
    net, q0 = LIMITS[name]()
    found = mfdnn.conditional_fisher(net, q0=q0, grid=[1.0])
    sum_, _ = accumulated(net, q0)
    low, high = 400 * sum_.bounds[0], found.largest
    x = np.linspace(low, high, 1501)
    below = found.cdf(x[:-1] + 0.5 * np.diff(x))
    # Where the smallest slopes alone make a tail, it is as fine as the nodes of their law.
    assert np.all(np.diff(below) > (-3e-4 if name == "erf near isometry" else -1e-9))
    step = x[1] - x[0]
    # The midpoint rule for a monotone function is right to half of a step.
    assert found.mean == pytest.approx(low + step * np.sum(1 - below), abs=0.5 * step)
    moment = low**2 + step * np.sum(2 * (x[:-1] + step / 2) * (1 - below))
    assert found.second_moment == pytest.approx(moment, abs=step * high)
    assert found.cdf(high * (1 + 1e-12)) == 1.0
    assert found.cdf(high * (1 - 1e-7)) == pytest.approx(1 - sum(m for p, m in found.atoms if p > low * 1.01), abs=1e-6)
    assert found.cdf(low * (1 - 1e-6)) == 0.0


@pytest.mark.parametrize("name", LIMITS)
def test_the_density_is_the_slope_of_the_distribution(name):
    net, q0 = LIMITS[name]()
    whole = mfdnn.conditional_fisher(net, q0=q0)
    assert np.all(np.diff(whole.grid) > 0)
    middle = np.sort(whole.grid[np.argsort(whole.density)[-20:-4]])
    h = 1e-5 * middle
    slopes = (whole.cdf(middle + h) - whole.cdf(middle - h)) / (2 * h)
    again = mfdnn.conditional_fisher(net, q0=q0, grid=middle)
    np.testing.assert_allclose(again.density, slopes, rtol=1e-3)


@pytest.mark.parametrize("name", [*LIMITS, "deep"])
def test_the_largest_eigenvalue_is_where_the_spectrum_ends(name):
    net, q0 = {**LIMITS, "deep": lambda: critical("hard_tanh", 20, 0.15, weights="gaussian")}[name]()
    found = mfdnn.conditional_fisher(net, q0=q0, grid=[1.0])
    assert 1 - found.cdf(0.98 * found.largest) > 1e-5
    assert found.cdf(found.largest) == 1.0


def test_results_travel():
    for net in (mfdnn.mlp([9, 9, 9], lambda x: np.maximum(x, 0.2 * x), 1.0, weights="orthogonal"), SAMPLED["tanh"]):
        found = mfdnn.conditional_fisher(net)
        again = pickle.loads(pickle.dumps(found))
        np.testing.assert_array_equal(again.cdf(found.grid), found.cdf(found.grid))
        assert set(found.to_dict()) == {
            "largest", "atoms", "mean", "second_moment", "grid", "density", "scale", "q_hat"
        }  # fmt: skip


def test_places_outside_are_zeros():
    net, q0 = LIMITS["tanh"]()
    found = mfdnn.conditional_fisher(net, q0=q0, grid=[1e-300, 1e-3, 1e5, 1e300])
    np.testing.assert_array_equal(found.density, 0.0)
    np.testing.assert_array_equal(found.cdf([-1.0, 0.0, 1e-300, 1e300]), [0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("name", ["hard tanh", "hard tanh, Gaussian", "tanh", "tanh, Gaussian", "erf near isometry"])
def test_the_distribution_of_sampled_networks(name):
    """Four draws of 400 units, each against the limit at its own mean squares."""
    net, q0 = LIMITS[name]()
    off = []
    for rng in range(4):
        measured = mfdnn.sampled.conditional_fisher(mfdnn.sample(net, rng=rng), input_of(net, q0, rng))
        theory = mfdnn.conditional_fisher(net, q_hat=measured.q_hat, grid=[1.0])
        at = np.quantile(measured.eigenvalues, np.linspace(0.05, 0.95, 10)) * (1 + 1e-6)
        off.append(theory.cdf(at) - [(measured.eigenvalues <= x).mean() for x in at])
        gaussian = "Gaussian" in name
        # The end of a spectrum scatters by M^(-2/3), and far more where it is far from the rest.
        assert measured.largest == pytest.approx(theory.largest, rel=0.15 if gaussian else 0.01)
    # Shares of slopes 0 or 1 scatter by (a (1 - a) L/M)^(1/2), here up to 0.04, from draw to draw.
    assert np.abs(np.mean(off, axis=0)).max() < (0.06 if "hard" in name else 0.02)


@pytest.mark.parametrize(("phi", "depth", "q"), [("hard_tanh", 20, 0.15), ("hard_tanh", 10, 0.15), (SHIFTED, 20, 0.05)])
def test_the_largest_eigenvalue_of_orthogonal_networks(phi, depth, q):
    """Given their own mean squares, and on average without; the share of the atom."""
    net, q0 = critical(phi, depth, q)
    theory = mfdnn.conditional_fisher(net, q0=q0, grid=[1.0])
    largest, masses = [], []
    for rng in range(6):
        measured = mfdnn.sampled.conditional_fisher(mfdnn.sample(net, rng=rng), input_of(net, q0, rng))
        own = mfdnn.conditional_fisher(net, q_hat=measured.q_hat, grid=[1.0])
        assert measured.largest == pytest.approx(own.largest, rel=1e-6)
        largest.append(measured.largest)
        masses.append(np.mean(measured.eigenvalues > measured.largest * (1 - 1e-6)))
    error = np.std(largest, ddof=1) / math.sqrt(6)  # mean squares of the signal scatter by a few percent
    assert abs(np.mean(largest) - theory.largest) < 0.01 * theory.largest + 3 * error
    assert np.mean(masses) == pytest.approx(theory.atoms[-1][1], abs=0.01 + 3 * np.std(masses, ddof=1) / math.sqrt(6))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [10, 20])
@pytest.mark.parametrize(
    ("phi", "q"), [("hard_tanh", 0.15), (SHIFTED, 0.05), ("tanh", 0.05), ("erf_unit", 0.02)], ids=str
)
def test_the_largest_eigenvalue_over_fifty_draws(phi, q, depth):
    """To 1 % without the networks' own mean squares, and the atom's share to 0.01.

    Single draws scatter by 2 %, of smooth slopes by 0.6 %.
    """
    net, q0 = critical(phi, depth, q)
    theory = mfdnn.conditional_fisher(net, q0=q0, grid=[1.0])
    largest, shares = [], []
    for rng in range(50):
        found = mfdnn.sampled.conditional_fisher(mfdnn.sample(net, rng=rng), input_of(net, q0, rng))
        largest.append(found.largest / theory.largest)
        shares.append(np.mean(found.eigenvalues > found.largest * (1 - 1e-6)))
    assert np.mean(largest) == pytest.approx(1.0, abs=0.01)  # three times the standard error, or more
    atom = dict(theory.atoms).get(theory.largest, 1 / 400)
    assert np.mean(shares) == pytest.approx(atom, abs=0.01)


@pytest.mark.parametrize(("depth", "sigma_w2", "mean"), [(200, 0.3, 0.0), (100, 2.0, 101.7), (200, 4.0, 1.607e62)])
def test_deep_gaussian_sums(depth, sigma_w2, mean):
    """Far from criticality, and at it, where places are far below any bound on the norm: 4^L."""
    phi = "tanh" if sigma_w2 == 0.3 else "relu"
    net = mfdnn.mlp([60] * (depth + 1), phi, sigma_w2)
    found = mfdnn.conditional_fisher(net)
    if phi == "tanh":  # the biases of the last layers alone
        few = mfdnn.conditional_fisher(mfdnn.mlp([60] * 41, phi, sigma_w2))
        assert (found.mean, found.largest) == pytest.approx((few.mean, few.largest), rel=1e-9)
        x = np.linspace(1.0, 2.9, 9)
        np.testing.assert_allclose(found.cdf(x), few.cdf(x), atol=1e-9)
    else:
        assert found.mean == pytest.approx(60 * mean, rel=1e-3)
        x = np.geomspace(1e-3, 1.0, 400) * found.largest
        below = found.cdf(x)
        assert np.all(np.diff(below) >= -1e-9) and below[-1] == 1.0
        # E[x] = integral of 1 - F, by the trapezoid rule in the logarithm; a lower end adds what is left out.
        rest = 1 - np.concatenate([found.cdf(np.linspace(0, x[0], 400)), below])
        places = np.concatenate([np.linspace(0, x[0], 400), x])
        assert np.trapezoid(rest, places) == pytest.approx(found.mean, rel=0.01)


NOT_SQUARE = mfdnn.mlp([5, 6, 6], "tanh")
BAD = {
    "no network": (lambda: mfdnn.conditional_fisher(3), "`net` must be a Network"),
    "widths": (lambda: mfdnn.conditional_fisher(NOT_SQUARE), "equal widths, outputs too, got 5 to 6"),
    "an activation behind": (
        lambda: mfdnn.conditional_fisher(mfdnn.Network(5, [mfdnn.Dense(5), mfdnn.Pointwise("relu")])),
        "outputs that are linear",
    ),
    "residual": (lambda: mfdnn.conditional_fisher(mfdnn.resnet([9, 9, 9], 1, "relu")), "got residual blocks"),
    "a jump": (lambda: mfdnn.conditional_fisher(mfdnn.mlp([4, 4, 4], np.sign, 1.0)), "jumps"),
    "nothing": (
        lambda: mfdnn.conditional_fisher(mfdnn.mlp([9, 9, 9], "tanh", bias=False), q0=0.0),
        "the Fisher information is zero",
    ),
    "mean squares and one more": (
        lambda: mfdnn.conditional_fisher(SAMPLED["tanh"], 1.0, q_hat=[1.0] * 3),
        "leave out `q0`",
    ),
    "mean squares": (lambda: mfdnn.conditional_fisher(SAMPLED["tanh"], q_hat=[1.0]), "`q_hat` must be 3 positive"),
    "a grid": (lambda: mfdnn.conditional_fisher(SAMPLED["tanh"], grid=[0.0]), "`grid` must be an array"),
    "another one": (lambda: mfdnn.sampled.conditional_fisher(3, [1.0]), "`one` must be a SampledNetwork"),
    "layers": (
        lambda: mfdnn.sampled.conditional_fisher(mfdnn.sample(mfdnn.resnet([4, 4, 4], 1), rng=0), np.ones(4)),
        "`one` must be a network of fully connected layers",
    ),
    "k": (
        lambda: mfdnn.sampled.conditional_fisher(mfdnn.sample(SAMPLED["tanh"], rng=0), np.ones(7), k=8),
        "`k` must be at most the number of outputs, 7",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_a_sentence(name):
    call, words = BAD[name]
    with pytest.raises((TypeError, ValueError), match=words):
        call()


@pytest.mark.parametrize("depth", [20, 32, 96])
def test_end_of_deep_gaussian_networks(depth):
    """It grows like a power of depth, and no mass is beyond: at 32 layers it was found 1e9 times too far."""
    init = mfdnn.isometric_init("hard_tanh", depth=depth, variance=0.2)
    net = mfdnn.mlp([400] * (depth + 1), "hard_tanh", init.sigma_w2, init.sigma_b2)
    found = mfdnn.conditional_fisher(net, q0=init.q0, grid=[1.0])
    assert found.cdf(0.95 * found.largest) < 1 - 1e-9
    assert found.cdf(found.largest * (1 + 1e-9)) == 1
    assert found.largest < 6 * depth * found.mean  # e L^2/2 of linear layers, and less than that many times the mean

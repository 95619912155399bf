"""Spectra of the input-output Jacobian: closed forms, identities of the solver, sampled networks."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf, lambertw

import mfdnn
from mfdnn import _compiled
from mfdnn.jacobian import chain, continuation
from mfdnn.jacobian.laws import SlopeLaw, unbounded
from mfdnn.jacobian.one_sample import accumulated
from mfdnn.jacobian.product import FAR
from mfdnn.layers.dense import haar

ORTHOGONAL = {"weights": "orthogonal"}


def square(depth, phi, sigma_w2, sigma_b2=0.0, width=100, ends=False, **options):
    """`depth` weight layers of one width; `ends` in an activation."""
    net = mfdnn.mlp([width] * (depth + 1), phi, sigma_w2, sigma_b2, **options)
    return mfdnn.Network(width, [*net.layers, mfdnn.Pointwise(phi)]) if ends else net


def naive_moment(function, q):
    """E[function(u)], u ~ N(0, q), by scipy's adaptive rule between the places where slopes jump."""
    density = lambda u: float(function(np.array([u]))[0]) * math.exp(-u * u / (2 * q)) / math.sqrt(2 * math.pi * q)  # noqa: E731
    ends = [-12 * math.sqrt(q), -1.0, 0.0, 1.0, 12 * math.sqrt(q)]
    return sum(quad(density, a, b, epsabs=1e-13, limit=200)[0] for a, b in pairwise(sorted(ends)))


# -- moments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize(("phi", "q"), [("relu", 0.7), ("hard_tanh", 1.0), ("tanh", 0.5), ("erf_unit", 0.3)])
def test_variance_of_equal_layers(phi, q, orthogonal):
    """L (mu_2/mu_1^2 - 1 - s_1), s_1 = -1 for Gaussian weights (Pennington et al. 2017)."""
    act = mfdnn.activation(phi)
    mu = [naive_moment(lambda x, k=k: act.slope(x) ** (2 * k), q) for k in (1, 2)]
    seen = naive_moment(lambda x: act(x) ** 2, q)
    w2 = 1 / mu[0]
    b2 = q - w2 * seen
    if b2 < 0:  # no fixed point with chi_1 = 1
        w2, b2 = q / seen, 0.0
    net = square(5, phi, w2, max(b2, 0.0), ends=True, **(ORTHOGONAL if orthogonal else {}))
    found = mfdnn.jacobian_moments(net, q0=seen)
    assert found.mean == pytest.approx((w2 * mu[0]) ** 5, rel=1e-9)
    assert found.relative_variance == pytest.approx(5 * (mu[1] / mu[0] ** 2 - orthogonal), rel=1e-9)
    assert found.second_moment == pytest.approx(found.mean**2 * (1 + found.relative_variance), rel=1e-12)
    assert found.by_layer.sum() == pytest.approx(found.relative_variance, rel=1e-12)


def test_erf_has_a_closed_form():
    q = 0.3
    law = SlopeLaw(mfdnn.activation("erf_unit"), q)
    expected = (1 + math.pi * q) / math.sqrt(1 + 2 * math.pi * q)
    assert law.moment(2) / law.moment(1) ** 2 == pytest.approx(expected, rel=1e-12)


def test_the_mean_is_that_of_gradients():
    net = mfdnn.mlp([30, 40, 50, 20], "tanh", 1.7, 0.2)
    op = mfdnn.order_parameters(net, q0=0.8)
    # q_tilde^1 sums squared errors over units; an error of unit variance at each of the outputs.
    assert mfdnn.jacobian_moments(net, q0=0.8).mean == pytest.approx(op.q_tilde[0] * net.layers[0].sigma_w2, rel=1e-10)


WIDTHS = [[60, 30, 90], [60, 120, 40], [40, 80, 60], [80, 40, 40]]


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("options", [{}, ORTHOGONAL], ids=["gaussian", "orthogonal"])
def test_moments_and_distribution_of_unequal_widths(widths, options):
    """Against sampled networks, four times as wide."""
    net = mfdnn.mlp([4 * width for width in widths], "tanh", 1.5, 0.1, **options)
    theory, spectrum = mfdnn.jacobian_moments(net), mfdnn.jacobian_spectrum(net)
    x = np.random.default_rng(0).standard_normal(net.n_inputs)
    x /= np.sqrt(np.mean(x**2))
    draws = []
    for rng in range(6):
        values = mfdnn.sampled.jacobian_singular_values(mfdnn.sample(net, rng=rng), x) ** 2
        draws.append(np.pad(values, (0, net.n_outputs - values.size)))
    draws = np.array(draws)
    # Means scatter from draw to draw by some 5 %, as the signal does.
    error = draws.mean(axis=1).std(ddof=1) / math.sqrt(6)
    assert abs(draws.mean() - theory.mean) < 4 * error + 0.02 * theory.mean
    ratio = np.mean(draws**2, axis=1) / np.mean(draws, axis=1) ** 2
    assert abs(ratio.mean() - 1 - theory.relative_variance) < 4 * ratio.std(ddof=1) / math.sqrt(6) + 0.02 * ratio.mean()
    places = np.quantile(draws[draws > 1e-12], [0.05, 0.25, 0.5, 0.75, 0.95])
    measured = [(draws <= place).mean() for place in places]
    np.testing.assert_allclose(spectrum.cdf(places), measured, atol=0.04)
    zero = dict(spectrum.atoms).get(0.0, 0.0)
    assert (draws < 1e-12).mean() == pytest.approx(zero, abs=1e-12)


# -- closed forms of whole spectra --------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 5, 16])
def test_linear_gaussian_networks_have_the_fuss_catalan_law(depth):
    found = mfdnn.jacobian_spectrum(square(depth, "linear", 1.0))
    assert found.edges == pytest.approx((0.0, (depth + 1) ** (depth + 1) / depth**depth), rel=1e-12)
    # Moments binomial((L + 1) k, k)/(L k + 1).
    for k in (1, 2, 3):
        expected = math.comb((depth + 1) * k, k) / (depth * k + 1)
        # E[x^k] from the distribution, in the logarithm of x; the square root at the upper edge becomes smooth.
        x, weight = np.polynomial.legendre.leggauss(200)
        t = math.log(found.edges[1]) - 50 / k * ((x + 1) / 2) ** 2
        steps = weight * 50 / k * (x + 1) / 2
        moment = steps @ (k * np.exp(k * t) * (1 - found.cdf(np.exp(t))))
        assert moment == pytest.approx(expected, rel=1e-7)  # what the places leave out below


@pytest.mark.parametrize("options", [{}, ORTHOGONAL], ids=["gaussian", "orthogonal"])
@pytest.mark.parametrize("phi", ["relu", "tanh"])
def test_one_output_of_a_layer(phi, options):
    """Far below a lower edge there is nothing: 1 + M had no digits there, and shares of 4 % were found at 1e-10."""
    net = mfdnn.mlp([100, 10, 1], phi, 1.5, 0.1, **options)
    found = mfdnn.jacobian_spectrum(net)
    low, high = found.edges
    assert 0.1 * high < low
    np.testing.assert_array_equal(found.cdf(np.geomspace(1e-12, 0.999, 40) * low), 0.0)
    wide = mfdnn.mlp([3000, 300, 30], phi, 1.5, 0.1, **options)
    x = np.ones(3000)
    draws = [mfdnn.sampled.jacobian_singular_values(mfdnn.sample(wide, rng=r), x)[[-1, 0]] ** 2 for r in range(3)]
    # Ends of 30 eigenvalues lie inside by some 30^(-2/3).
    assert np.mean(draws, axis=0) == pytest.approx([low, high], rel=0.2)


@pytest.mark.parametrize(
    "phi", ["tanh", "gelu", "hard_tanh", lambda x: np.maximum(x, 0.3 * x)], ids=["tanh", "gelu", "hard_tanh", "own"]
)
def test_nothing_at_the_input(phi):
    """All units are at zero, and slopes are one number, as in a sampled network."""
    net = square(2, phi, 1.5, **ORTHOGONAL)
    found = mfdnn.jacobian_spectrum(net, q0=0.0)
    measured = mfdnn.sampled.jacobian_singular_values(mfdnn.sample(net, rng=0), np.zeros(100)) ** 2
    assert found.edges == () and found.atoms == ((pytest.approx(measured[0]), pytest.approx(1.0)),)
    assert found.mean == pytest.approx(mfdnn.order_parameters(net, q0=0.0).q_tilde[0] * 1.5, rel=1e-12)
    np.testing.assert_array_equal(found.cdf([0.99 * found.mean, 1.01 * found.mean]), [0.0, 1.0])
    gaussian = mfdnn.jacobian_spectrum(square(2, phi, 1.5), q0=0.0)
    assert gaussian.edges == pytest.approx((0.0, 27 / 4 * found.mean), rel=1e-9)  # of two linear layers


def test_slopes_that_are_one_number_are_a_scale():
    """A signal that dies out: 200 laws that differ, of which all but the first are 1 to rounding."""
    net = square(200, "tanh", 0.3, **ORTHOGONAL)
    assert len(chain.read(net, 1.0).product.factors) < 20
    found, few = mfdnn.jacobian_spectrum(net), mfdnn.jacobian_spectrum(square(15, "tanh", 0.3, **ORTHOGONAL))
    x = np.linspace(0.1, 1.0, 12)
    np.testing.assert_allclose(found.cdf(x * found.edges[1]), few.cdf(x * few.edges[1]), atol=1e-7)


def test_where_slopes_are_unbounded():
    """Next to a zero of the slope there may be 63 times more of it, and it is bounded."""
    waves = mfdnn.Activation("waves", lambda x: np.sin(20 * x))
    assert not unbounded(waves) and not unbounded(mfdnn.activation("relu"))
    for power in (0.5, 0.7):
        assert unbounded(mfdnn.Activation("root", lambda x, power=power: np.abs(x) ** power))
    # |x|^0.8 has E[phi'^4] = 0.8^4 E|u|^-0.8.
    law = SlopeLaw(mfdnn.Activation("power", lambda x: np.abs(x) ** 0.8), 1.0)
    absolute = lambda p: 2 ** (p / 2) * math.gamma((p + 1) / 2) / math.sqrt(math.pi)  # noqa: E731
    assert law.moment(1) == pytest.approx(0.64 * absolute(-0.4), rel=1e-6)
    assert law.moment(2) == pytest.approx(0.4096 * absolute(-0.8), rel=5e-3)  # 1e-12 of it, to the power 0.2, is left


def test_few_outputs_have_a_lower_edge():
    """Behind units that may be dead too."""
    net = mfdnn.mlp([400, 400, 300, 30], "relu", 2.0)
    low, high = mfdnn.jacobian_spectrum(net).edges
    x = np.ones(400)
    draws = [mfdnn.sampled.jacobian_singular_values(mfdnn.sample(net, rng=r), x) ** 2 for r in range(6)]
    assert (np.mean([d[-1] for d in draws]), np.mean([d[0] for d in draws])) == pytest.approx((low, high), rel=0.15)


DEPTHS = {
    "tanh": mfdnn.mlp([300] * 6, "tanh", 1.3, 0.1, weights="orthogonal"),
    "relu": mfdnn.mlp([300] * 4, "relu", 2.0, 0.1),
    "hard tanh": mfdnn.mlp([300] * 5, "hard_tanh", 1.05, 0.01, weights="orthogonal"),
    "other widths": mfdnn.mlp([100, 300, 200, 50], "gelu", 2.0, 0.1),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_singular_values_against_depth(name):
    net = DEPTHS[name]
    theory = mfdnn.jacobian.jacobian_depth(net, q0=0.5)
    whole = mfdnn.jacobian_moments(net, q0=0.5)
    assert theory.mean[-1] == pytest.approx(whole.mean, rel=1e-12)
    assert theory.relative_variance[-1] == pytest.approx(whole.relative_variance, rel=1e-9)
    x = np.full(net.n_inputs, math.sqrt(0.5))
    draws = [mfdnn.sampled.jacobian_depth(mfdnn.sample(net, rng=rng), x) for rng in range(5)]
    measured = {key: np.mean([draw[key] for draw in draws], axis=0) for key in draws[0]}
    np.testing.assert_allclose(measured["mean"], theory.mean, rtol=0.2)
    np.testing.assert_allclose(measured["largest"], theory.largest, rtol=0.2)
    some = theory.smallest > 1e-3 * theory.largest
    np.testing.assert_allclose(measured["smallest"][some], theory.smallest[some], rtol=0.25)
    assert np.all(measured["smallest"][~some] < 0.01 * measured["largest"][~some])
    one = mfdnn.sample(net, rng=0)
    last = mfdnn.sampled.jacobian_singular_values(one, x)
    assert draws[0]["largest"][-1] == pytest.approx(last[0] ** 2, rel=1e-10)
    assert np.all(np.isinf(theory.condition) == (theory.smallest == 0))


def test_marchenko_and_pastur():
    found = mfdnn.jacobian_spectrum(mfdnn.Network(300, [mfdnn.Dense(100, 1.0)]))
    ratio = 100 / 300
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    assert found.edges == pytest.approx((low, high), rel=1e-9)
    x = np.linspace(low, high, 12)[1:-1]
    again = mfdnn.jacobian_spectrum(mfdnn.Network(300, [mfdnn.Dense(100, 1.0)]), x)
    np.testing.assert_allclose(again.density, np.sqrt((high - x) * (x - low)) / (2 * np.pi * ratio * x), rtol=1e-9)


@pytest.mark.parametrize("depth", [2, 8, 64])
def test_edges_of_relu(depth):
    orthogonal = mfdnn.jacobian_spectrum(square(depth, "relu", 2.0, ends=True, **ORTHOGONAL))
    assert orthogonal.edges[1] == pytest.approx(depth * (depth / (depth - 1)) ** (depth - 1), rel=1e-10)
    z = np.linspace(1e-4, 2.0, 400_001)
    least = np.min(np.log((1 + z) / z) + depth * np.log(2 * z + 1))
    gaussian = mfdnn.jacobian_spectrum(square(depth, "relu", 2.0, ends=True))
    assert gaussian.edges[1] == pytest.approx(math.exp(least), rel=1e-7)
    assert orthogonal.atoms == gaussian.atoms == ((0.0, 0.5),)


def test_universal_limit_of_bernoulli_slopes():
    """Hard tanh at chi_1 = 1 and depth times 1 - p fixed: an atom, and Lambert's function below (Pennington 2018)."""
    depth, s = 4000, 0.5
    init = mfdnn.isometric_init("hard_tanh", depth, s)
    net = square(depth, "hard_tanh", init.sigma_w2, init.sigma_b2, ends=True, **ORTHOGONAL)
    found = mfdnn.jacobian_spectrum(net, q0=init.q0)
    place, mass = found.atoms[-1]
    assert erf(1 / math.sqrt(2 * init.q)) == pytest.approx(1 / (1 + s / depth), rel=1e-9)
    assert (place, mass) == pytest.approx((math.exp(s), 1 - s), rel=2 / depth)
    assert found.edges[1] == pytest.approx(math.e * s, rel=1e-3)
    for x in (0.3, 0.8, 1.2):
        w = -lambertw(-s / x, 0) / s
        g = 1 / (x * (1 - w))
        again = mfdnn.jacobian_spectrum(net, [x], q0=init.q0)
        assert again.density[0] == pytest.approx(abs(g.imag) / math.pi, rel=3e-3)


# -- identities of the solver -------------------------------------------------------------------------------------

NETS = {
    "tanh": square(6, "tanh", 1.6, 0.1),
    "tanh orthogonal": square(6, "tanh", 1.6, 0.1, **ORTHOGONAL),
    "gelu": square(4, "gelu", 2.0, 0.1, ends=True),
    "leaky relu": square(3, mfdnn.Activation("leaky", lambda x: np.maximum(x, 0.3 * x)), 1.5, **ORTHOGONAL),
    "user's own": square(3, mfdnn.Activation("bump", lambda x: x + np.sin(x)), 0.7, 0.1),
    "hard tanh": square(12, "hard_tanh", 1.1, 0.02, **ORTHOGONAL),
    "one layer": square(1, "relu", 2.0),
}


@pytest.mark.parametrize("name", NETS)
def test_the_distribution_is_the_integral_of_the_density(name):
    net = NETS[name]
    found = mfdnn.jacobian_spectrum(net)
    low, high = max(found.edges[0], 1e-3 * found.edges[1]), found.edges[1]
    x, weight = np.polynomial.legendre.leggauss(80)
    at = (x + 1) / 2 * np.pi  # square roots at both ends become smooth
    places = low * (high / low) ** ((1 - np.cos(at)) / 2)
    density = mfdnn.jacobian_spectrum(net, places).density
    area = np.sum(weight * np.pi / 4 * np.sin(at) * np.log(high / low) * places * density)
    between = found.cdf(high) - found.cdf(low) - sum(mass for place, mass in found.atoms if low < place <= high)
    tolerance = 2e-5 if name != "leaky relu" else 1e-2  # whose density diverges at both ends
    assert area == pytest.approx(between, abs=tolerance)
    assert found.cdf(high * 1.001 if not found.atoms else 1e9) == pytest.approx(1.0, abs=1e-6)
    assert np.all(np.diff(found.cdf(np.geomspace(1e-6, 1, 40) * high)) >= -1e-12)


NAMES = ["relu", "tanh", "hard_tanh", "erf", "gelu", "sin", "elu", "selu", "softplus", "linear", "sigmoid"]
OWN = mfdnn.Activation("own", lambda x: x / np.sqrt(1 + x * x) + 0.3 * x)


def any_network(seed):
    """Of any depth up to 16, widths, weights, variances and activations; and the mean square of its input."""
    rng = np.random.default_rng(seed)
    depth = int(rng.choice([1, 2, 3, 5, 8, 16]))
    widths = rng.choice([2, 10, 30, 100, 200], 1 if rng.random() < 0.5 else depth + 1)
    widths = np.broadcast_to(widths, depth + 1).tolist()
    choice = [*NAMES, OWN]
    alike, layers = choice[rng.integers(len(choice))] if rng.random() < 0.6 else None, []
    for l, width in enumerate(widths[1:]):
        weights = str(rng.choice(["gaussian", "orthogonal"]))
        layers.append(mfdnn.Dense(width, rng.choice([0.3, 1.0, 2.0, 4.0]), rng.choice([0.0, 0.3]), weights=weights))
        if l < depth - 1 or rng.random() < 0.3:
            layers.append(mfdnn.Pointwise(alike or choice[rng.integers(len(choice))]))
    return mfdnn.Network(widths[0], layers), float(rng.choice([0.01, 0.3, 1.0, 5.0]))


@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(10, 200), marks=pytest.mark.slow)], ids=len)
def test_the_distribution_of_any_network_becomes_one(seeds):
    """From the share of zeros to 1, atoms counted, without falling; and its mean is that of the moments."""
    for seed in seeds:
        net, q0 = any_network(seed)
        found = mfdnn.jacobian_spectrum(net, q0=q0)
        top = max([*found.edges, *(place for place, _ in found.atoms)])
        places = np.append(0.0, np.geomspace(1e-6, 1.0, 800)) * top
        below = found.cdf(places)
        assert below[0] == pytest.approx(dict(found.atoms).get(0.0, 0.0), abs=1e-12), seed
        assert below[-1] == pytest.approx(1.0, abs=1e-6) and found.cdf(2 * top) == 1, seed
        assert sum(mass for _, mass in found.atoms) < 1 + 1e-9, seed
        # Between nodes of a law of slopes there may be too many or too few of the smallest or of an only layer.
        assert np.diff(below).min() > -0.02, seed
        # E[x] = integral of 1 - F, which falls; atoms lie anywhere in a step.
        mean = np.sum(np.diff(places) * (1 - below[1:] / 2 - below[:-1] / 2))
        assert mean == pytest.approx(found.mean, rel=0.012), seed
        assert np.all(np.isfinite(found.density) & (found.density >= 0)), seed


FAR_FROM_CRITICAL = {
    "collapses": square(200, "tanh", 0.01),
    "collapses, orthogonal": square(60, "tanh", 1e-5, **ORTHOGONAL),
    "collapses to zero, relu": square(200, "relu", 0.01, **ORTHOGONAL),
    "nothing but a scale": square(100, "linear", 1e-4, **ORTHOGONAL),
    "explodes": square(200, "relu", 40.0, **ORTHOGONAL),
}


@pytest.mark.parametrize("name", FAR_FROM_CRITICAL)
def test_spectra_beyond_floating_point(name):
    """In units of the mean: those of the critical network where slopes do not know the variance."""
    net = FAR_FROM_CRITICAL[name]
    found, moments = mfdnn.jacobian_spectrum(net), mfdnn.jacobian_moments(net)
    assert found.log_scale == pytest.approx(moments.log_mean, rel=1e-12)
    assert ("explodes" if name == "explodes" else "collapses") in found.caution and "in units of that" in found.caution
    assert found.mean == pytest.approx(1.0)
    assert np.all(np.isfinite(found.density))
    # At 1e-300 1 + M has no digits: what is known of a place above. Of 200 Gaussian layers it is exp(-691/200) = 0.03.
    np.testing.assert_allclose(found.cdf([1e-300, 1e300]), [dict(found.atoms).get(0.0, 0.0), 1.0], atol=0.06)
    places = np.geomspace(1e-250, 1e3, 12)
    assert np.all(np.diff(found.cdf(places)) >= -1e-9)
    if "relu" in name or name == "explodes":
        critical = mfdnn.jacobian_spectrum(square(200, "relu", 2.0, **ORTHOGONAL))
        x = np.geomspace(1e-6, 100, 7)
        np.testing.assert_allclose(found.cdf(x), critical.cdf(2 * x), atol=1e-9)  # of mean 2


def test_a_spectrum_far_from_its_mean_is_named():
    assert mfdnn.jacobian_spectrum(NETS["tanh"]).caution == ""
    found = mfdnn.jacobian_spectrum(square(40, "relu", 0.5, **ORTHOGONAL))
    assert found.caution.startswith("The spectrum collapses with depth: its mean is 10^-23.8")
    assert (found.log_scale, found.mean) == (0.0, pytest.approx(0.5 * 0.25**39, rel=1e-12))


@pytest.mark.parametrize("phi", ["tanh", "gelu"])
def test_no_gaps_where_there_are_none(phi):
    """In the tail next to zero, where a law of few nodes has gaps."""
    found = mfdnn.jacobian_spectrum(mfdnn.mlp([20] * 4, phi, sigma_w2=1.5, sigma_b2=0.05, weights="orthogonal"))
    places = np.geomspace(1e-6, 1.1, 160) * found.edges[1]
    assert np.diff(found.cdf(places)).min() > -1e-9
    assert found.density[found.cdf(found.grid) > 1e-3][:-1].min() > 0


@pytest.mark.parametrize(
    ("widths", "place", "share"), [([10, 3], 1.5, 1.0), ([3, 10], 5.0, 0.3), ([20, 10, 5], 2.25, 1.0)]
)
def test_rectangular_isometries_are_atoms(widths, place, share):
    found = mfdnn.jacobian_spectrum(mfdnn.mlp(widths, "linear", sigma_w2=1.5, weights="orthogonal"))
    assert found.edges == ()
    assert found.atoms[-1] == pytest.approx((place, share), rel=1e-12)
    assert found.cdf(place * 0.9) == pytest.approx(1 - share)


@pytest.mark.parametrize("phi", ["tanh", "relu", "hard_tanh"])
@pytest.mark.parametrize("depth", [2, 3])
def test_isometric_ends_add_zeros_and_scales_alone(phi, depth):
    """Orthonormal rows in front drop out; twice as many outputs double what is not 0, and halve its share."""
    square = mfdnn.jacobian_spectrum(mfdnn.mlp([20] * (depth + 1), phi, sigma_w2=1.5, **ORTHOGONAL))
    net = mfdnn.mlp([60] + [20] * (depth - 1) + [40], phi, sigma_w2=1.5, **ORTHOGONAL)
    grid = 2 * square.grid[::20]
    found = mfdnn.jacobian_spectrum(net, grid)
    assert found.edges == pytest.approx([2 * edge for edge in square.edges], rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(found.cdf(grid), 0.5 + 0.5 * square.cdf(grid / 2), atol=1e-8)
    np.testing.assert_allclose(found.density[1:-1], square.density[::20][1:-1] / 4, rtol=1e-6, atol=1e-9)
    positive = [pair for pair in found.atoms if pair[0] > 0]
    expected = [(2 * place, share / 2) for place, share in square.atoms if place > 0]
    np.testing.assert_allclose(positive, expected, rtol=1e-9)


def test_places_outside_are_zeros():
    found = mfdnn.jacobian_spectrum(NETS["tanh"], [1e-300, 1e-30, 1e3, 1e300])
    np.testing.assert_array_equal(found.density[2:], 0.0)
    assert np.all(np.isfinite(found.density))
    np.testing.assert_array_equal(found.cdf([-1.0, 1e3, 1e300]), [0.0, 1.0, 1.0])


def test_there_is_nothing_in_front_of_an_isometric_spectrum():
    init = mfdnn.isometric_init("tanh", 100, 0.05)
    net = square(100, "tanh", init.sigma_w2, init.sigma_b2, **ORTHOGONAL)
    found = mfdnn.jacobian_spectrum(net, q0=init.q0)
    below = found.cdf(np.geomspace(1e-12, 0.4, 25))
    assert below.max() < 1e-6
    assert found.grid[0] > 0.1


def test_compressed_laws_are_as_good(monkeypatch):
    net = square(6, "tanh", 1.3, 0.05, **ORTHOGONAL)  # the tails of whose slopes matter most
    few = mfdnn.jacobian_spectrum(net)
    monkeypatch.setattr(chain, "MANY", 100)
    places = np.geomspace(1e-4, 1, 20) * few.edges[1]
    np.testing.assert_allclose(few.cdf(places), mfdnn.jacobian_spectrum(net).cdf(places), atol=1e-9)


# -- residual blocks ----------------------------------------------------------------------------------------------


def residual(n_blocks, phi="relu", skip=1.0, inner=1.5, outer=1.0, width=100, stem=True, **options):
    """A stem, and blocks of two layers with an activation between them."""
    block = [mfdnn.Dense(width, inner, 0.1, **options), mfdnn.Pointwise(phi), mfdnn.Dense(width, outer, **options)]
    first = [mfdnn.Dense(width, 1.0, **options)] if stem else []
    return mfdnn.Network(width, [*first, *(mfdnn.Residual(block, skip) for _ in range(n_blocks))])


def test_one_plus_a_rotation_has_the_arcsine_law():
    net = mfdnn.Network(50, [mfdnn.Residual([mfdnn.Dense(50, 1.0, weights="orthogonal")])])
    x = np.array([0.01, 0.3, 1.0, 2.0, 3.9])
    found = mfdnn.jacobian_spectrum(net, x)
    np.testing.assert_allclose(found.density, 1 / (np.pi * np.sqrt(x * (4 - x))), rtol=1e-9)
    np.testing.assert_allclose(found.cdf(x), 2 / np.pi * np.arcsin(np.sqrt(x) / 2), atol=1e-11)
    assert (found.mean, found.relative_variance) == pytest.approx((2.0, 0.5), rel=1e-12)
    assert found.edges[1] == pytest.approx(4.0, rel=1e-5)  # where the density diverges
    assert found.cdf(4.0 * (1 + 1e-5)) == 1.0


def test_moments_of_blocks_from_words():
    """s^4 + 4 s^2 b_1 + b_2 by counting the words of (s + B)(s + B)^T that do not vanish; and for unequal widths."""
    net = residual(1, "relu", 0.7, stem=False, **ORTHOGONAL)
    b_1, b_2 = 1.5 * 0.5, 1.5**2 * 0.5
    found = mfdnn.jacobian_moments(net)
    assert found.mean == pytest.approx(0.49 + b_1, rel=1e-12)
    assert found.second_moment == pytest.approx(0.49**2 + 4 * 0.49 * b_1 + b_2, rel=1e-12)
    wider = mfdnn.Network(60, [mfdnn.Dense(100, 1.0), *net.layers, mfdnn.Dense(50, 1.0)])
    excess = found.second_moment / found.mean**2 - 1
    expected = 50 / 60 + 50 / 100 * excess + 50 / 100  # Gaussian, block, Gaussian
    assert mfdnn.jacobian_moments(wider).relative_variance == pytest.approx(expected, rel=1e-12)


def test_blocks_without_a_bypass_are_layers():
    inner = [mfdnn.Dense(40, 1.5, 0.1), mfdnn.Pointwise("tanh"), mfdnn.Dense(40, 1.2, 0.1)]
    chained = mfdnn.Network(40, [mfdnn.Dense(40), *inner, mfdnn.Pointwise("tanh")])
    bypassed = mfdnn.Network(40, [mfdnn.Dense(40), mfdnn.Residual(inner, skip=0.0), mfdnn.Pointwise("tanh")])
    x = [0.1, 1.0, 3.0]
    assert mfdnn.jacobian_spectrum(bypassed).cdf(x) == pytest.approx(mfdnn.jacobian_spectrum(chained).cdf(x), abs=1e-12)


def test_a_faint_block_is_none():
    plain = mfdnn.jacobian_spectrum(square(2, "tanh", 1.3, 0.1))
    layers = square(2, "tanh", 1.3, 0.1).layers
    faint = mfdnn.Residual([mfdnn.Dense(100, 1e-6), mfdnn.Dense(100, 1e-6)])
    found = mfdnn.jacobian_spectrum(mfdnn.Network(100, [*layers, faint]))
    x = np.geomspace(0.01, 3, 7)
    np.testing.assert_allclose(found.cdf(x), plain.cdf(x), atol=1e-6)


TANH = mfdnn.Pointwise("tanh")


def nested(depth=1, phi="relu", skip=1.0, width=100, **options):
    """A block in a block in ...: each with an activation behind the one inside."""
    inner = residual(1, phi, width=width, stem=False, **options).layers[0].children
    for _ in range(depth):
        block = mfdnn.Residual(inner, skip)
        dense = mfdnn.Dense(width, 0.9, 0.1, **options)
        inner = [dense, block, mfdnn.Pointwise(phi), mfdnn.Dense(width, 1.1, **options)]
    return mfdnn.Residual(inner, skip)


BLOCKS = {
    "relu": residual(4),
    "relu orthogonal": residual(4, **ORTHOGONAL),
    "tanh, skip 0.7": residual(3, "tanh", 0.7, **ORTHOGONAL),
    "small branches": residual(8, "hard_tanh", outer=0.2),
    "linear": mfdnn.Network(100, [mfdnn.Residual([mfdnn.Dense(100, 1.0, **ORTHOGONAL)])] * 3),
    "gelu": residual(1, "gelu"),
    "blocks in blocks": mfdnn.Network(100, [mfdnn.Dense(100), nested(), nested(phi="tanh", skip=0.7, **ORTHOGONAL)]),
    "three deep": mfdnn.Network(100, [mfdnn.Dense(100), nested(2, "gelu")]),
    "an activation behind": mfdnn.Network(100, [*residual(2, "tanh").layers, mfdnn.Pointwise("tanh")]),
    "other widths": mfdnn.Network(60, [mfdnn.Dense(100), *residual(2, stem=False).layers, mfdnn.Dense(40)]),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_residual_networks_against_sampled_ones(name):
    """Scaled to 400 units; means scatter from draw to draw as the signal does."""
    net = BLOCKS[name]
    wide = mfdnn.Network(4 * net.n_inputs, [layer.scaled(4) for layer in net.layers])
    theory, spectrum = mfdnn.jacobian_moments(net), mfdnn.jacobian_spectrum(net)
    draws = []
    for rng in range(3):
        x = np.random.default_rng(rng).standard_normal(wide.n_inputs)
        x /= np.sqrt(np.mean(x**2))
        draws.append(mfdnn.sampled.jacobian_singular_values(mfdnn.sample(wide, rng=rng), x) ** 2)
    draws = np.array(draws)
    assert draws.mean() == pytest.approx(theory.mean, rel=0.08)
    ratio = np.mean(draws**2) / draws.mean() ** 2
    assert ratio - 1 == pytest.approx(theory.relative_variance, rel=0.08)
    places = np.quantile(draws, np.linspace(0.05, 0.95, 10)) * theory.mean / draws.mean()
    np.testing.assert_allclose(spectrum.cdf(places), np.linspace(0.05, 0.95, 10), atol=0.025)
    assert spectrum.cdf(spectrum.edges[1] * (1 + 1e-6)) == pytest.approx(1.0, abs=1e-6)
    assert draws.max() < 1.15 * spectrum.edges[1]


@pytest.mark.parametrize("name", ["relu orthogonal", "linear", "gelu", "blocks in blocks"])
def test_the_distribution_of_residual_networks_is_the_integral_of_the_density(name):
    found = mfdnn.jacobian_spectrum(BLOCKS[name])
    x = np.geomspace(max(found.edges[0], 1e-3 * found.edges[1]), found.edges[1], 7)[1:-1]
    h = 1e-5 * x
    slopes = (found.cdf(x + h) - found.cdf(x - h)) / (2 * h)
    np.testing.assert_allclose(mfdnn.jacobian_spectrum(BLOCKS[name], x).density, slopes, rtol=1e-5)


# -- one root of many -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("phi", ["tanh", "sin"])
def test_roots_from_neighbours_are_those_from_far_away(phi, weights):
    """Its twin: each place alone, with small steps from the upper half-plane."""
    for widths in ([60, 100, 300, 50], [100] * 5):
        net = mfdnn.mlp(widths, phi, 1.7, 0.1, weights=weights)
        product = chain.read(net, 1.0).product
        places = np.log(np.geomspace(0.02, 0.8, 9) * np.exp(product.log_mean))
        found = product.solve(places)
        assert found.settled.all() and product.certain(places, found.unknown).all()
        start = product.log_mean + np.log(FAR * max(product.ratio, 1.0)) + 3.0j
        first = np.array(product._far(product.log_mean - start))[:, None]
        alone, settled = continuation._path(product, start, first, places, continuation.CARE)
        assert settled.all()
        np.testing.assert_allclose(np.exp(found.unknown), np.exp(alone), rtol=1e-9, atol=1e-12)
        # The mirror image and another sheet of the logarithm solve the equations too, and are not it.
        assert not product.certain(places, found.unknown.conj()).any()
        assert product.certain(places, found.unknown + 2j * np.pi).all()


def test_what_is_told_of_sums_over_layers():
    found, _ = accumulated(square(4, "tanh", 1.5, 0.1), 1.0)
    mean, _ = found.moments
    log_places = np.log(mean * np.geomspace(0.3, 3.0, 7))
    solved = found.solve(np.exp(log_places))
    assert solved.settled.all()
    unknown = np.concatenate([np.log(solved.g[:1]), np.log(solved.x)])
    assert found.certain(log_places, unknown).all()
    assert not found.certain(log_places, unknown.conj()).any()
    assert not found.certain(log_places + 0.01, unknown).any()


def test_kernels_of_free_products():
    rng = np.random.default_rng(0)
    d, w = rng.random((2, 5)), rng.random((2, 5)) * [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    x = rng.standard_normal((2, 7)) + 1j * rng.random((2, 7))
    m, dm = np.empty_like(x), np.empty_like(x)
    _compiled.moment_functions(d, w, x, m, dm)
    apart = x[:, :, None] - d[:, None, :]
    np.testing.assert_allclose(m, (w[:, None] / apart).sum(axis=2), rtol=1e-12)
    np.testing.assert_allclose(dm, -(w[:, None] / apart**2).sum(axis=2), rtol=1e-12)
    y, ratios, layers = x[0] / 3, np.array([0.5, 2.0]), np.array([1.0, 4.0])
    own, value, slope = np.empty((3, 2, 7), complex), np.ones(7, complex), np.ones(7, complex)
    _compiled.factor_equations(y, np.log(x), ratios, layers, m, dm, *own, value, slope)
    gaps, rates = np.log(m / (ratios[:, None] * y)), x * dm / m
    np.testing.assert_allclose(own, [-gaps / rates, 1 / rates, gaps], rtol=1e-12)
    np.testing.assert_allclose(value, 1 + layers @ (np.log(x) - gaps / rates), rtol=1e-12)
    np.testing.assert_allclose(slope, 1 + layers @ (1 / rates), rtol=1e-12)
    at, top = np.array([0.01, 0.3, 50.0]), d[1].max()
    found = np.empty(3)
    _compiled.inverse_moment_function(d[1], w[1], at, np.full(3, top), top + w[1].sum() / at, 70, 4e-16, found)
    np.testing.assert_allclose((w[1] / (found[:, None] - d[1])).sum(axis=1), at, rtol=1e-12)
    out = np.empty((7, 3, 7), complex)
    rates = np.zeros((2, 7), complex)  # nowhere to go: not a number, and no error
    _compiled.passed_on(1.0, np.zeros(2), np.ones(2), np.array([True, False]), np.zeros((3, 7), complex), m, rates, out)
    assert np.isnan(out[0, 1]).all() and np.isfinite(out[2, 1]).all()


def test_widths_that_differ_tenfold_leave_no_false_lower_edge():
    """There is next to nothing below 0.0038; other roots once put an edge at 4e-10."""
    found = mfdnn.jacobian_spectrum(mfdnn.mlp([1000, 100, 1000, 100, 50], "tanh", 1.7, 0.05))
    assert found.edges[0] == pytest.approx(0.0038, rel=0.01)
    below = found.cdf(np.geomspace(1e-10, found.edges[1], 200))
    assert np.all(np.diff(below) > -1e-9) and below[-1] == 1


def test_close_to_isometry_the_distribution_does_not_fall():
    init = mfdnn.isometric_init("tanh", 16, 0.5)
    found = mfdnn.jacobian_spectrum(square(16, "tanh", init.sigma_w2, init.sigma_b2, weights="orthogonal"), q0=1.0)
    assert np.all(np.diff(found.cdf(np.geomspace(1e-8, 1.0, 120) * found.edges[1])) > -1e-9)


# -- isometry -----------------------------------------------------------------------------------------------------


def test_the_published_point_of_tanh():
    """q* = 1/64: sigma_w^2 = 1.030557511, sigma_b^2 = 4.65133e-6, from the fixed point of the variance map."""
    law = SlopeLaw(mfdnn.activation("tanh"), 1 / 64)
    init = mfdnn.isometric_init("tanh", 10, 10 * (law.moment(2) / law.moment(1) ** 2 - 1))
    assert (init.q, init.sigma_w2) == pytest.approx((1 / 64, 1.030557511), rel=1e-8)
    assert init.sigma_b2 == pytest.approx(4.65133e-6, rel=1e-5)
    fixed = mfdnn.fixed_point("tanh", init.sigma_w2, init.sigma_b2, init.q)
    assert (fixed.q, fixed.chi_1) == pytest.approx((init.q, 1.0), rel=1e-7)


def test_relu_cannot_but_a_shift_of_it_can():
    for phi, variance, depth, advice in (
        ("tanh", 1e6, 10, r"it has 8e-21 to 1.28e\+03, at .*; take a smaller `variance`\.$"),
        ("relu", 50.0, 20, r"it has 20, at .*; take a smaller `variance`\.$"),
        ("selu", 0.1, 10, r"it has 1.66 to 9.87.*can, or take a larger `variance`\.$"),
        ("softplus", 0.1, 10, r"it has none, at .*; phi\(x \+ 0.25\) - phi\(0.25\) can\.$"),
    ):
        with pytest.raises(mfdnn.NoTheory, match=advice):
            mfdnn.isometric_init(phi, depth, variance)
    assert mfdnn.isometric_init("tanh", 10, 1250.0).q > 5e3
    assert mfdnn.isometric_init("tanh", 10, 8e-19).q == pytest.approx(1e-10, rel=1e-6)  # 8 q^2 a layer
    assert mfdnn.isometric_init("relu", 20, 20.0).sigma_b2 == 0
    with pytest.raises(mfdnn.NoTheory, match=r"phi\(x \+ 0.25\) - phi\(0.25\) can"):
        mfdnn.isometric_init("relu", 20, 0.3)
    shifted = mfdnn.Activation("shifted", lambda x: np.maximum(x + 0.25, 0.0) - 0.25)
    init = mfdnn.isometric_init(shifted, 20, 0.3)
    net = square(20, shifted, init.sigma_w2, init.sigma_b2, ends=True, **ORTHOGONAL)
    found = mfdnn.jacobian_moments(net, q0=init.q0)
    assert (found.mean, found.relative_variance) == pytest.approx((1.0, 0.3), rel=1e-6)


# -- sampled networks ---------------------------------------------------------------------------------------------


def test_singular_values_of_a_sampled_network():
    net = mfdnn.mlp([5, 7, 6, 4], "tanh", 1.5, 0.1)
    one, x = mfdnn.sample(net, rng=0), np.random.default_rng(1).standard_normal(5)
    step = 1e-6 * np.eye(5)
    jacobian = np.array([(one(x + e) - one(x - e))[0] for e in step[:, None]]).reshape(5, 4).T / 2e-6
    expected = np.linalg.svd(jacobian, compute_uv=False)
    np.testing.assert_allclose(mfdnn.sampled.jacobian_singular_values(one, x), expected, rtol=1e-7)


def test_small_singular_values_have_digits():
    """The sum of their logarithms is that of the determinants of the factors."""
    net = square(24, "tanh", 1.7, 0.04, 60, **ORTHOGONAL)
    one, x = mfdnn.sample(net, rng=0), np.full(60, 0.5)
    values = mfdnn.sampled.jacobian_singular_values(one, x)
    assert values[-1] < 1e-5 * values[0]
    units = [layer.u[0] for layer in one.activity(x[None])[:-1]]
    expected = 24 * 30 * math.log(1.7) + sum(np.log(mfdnn.activation("tanh").slope(u)).sum() for u in units)
    assert np.log(values).sum() == pytest.approx(expected, rel=1e-8)


def test_overflow_of_a_sampled_network_is_named():
    one = mfdnn.sample(square(200, "linear", 1e4, width=9), rng=0)
    with pytest.raises(OverflowError, match="outputs of `one` overflow; take smaller weights"):
        mfdnn.sampled.jacobian_singular_values(one, np.ones(9))
    with pytest.raises(OverflowError, match="squared singular values of `one` overflow"):
        mfdnn.sampled.jacobian_depth(one, np.ones(9))


BAD = {
    "no network": (lambda: mfdnn.jacobian_moments("relu"), "`net` must be a Network"),
    "negative q0": (lambda: mfdnn.jacobian_spectrum(NETS["tanh"], q0=-1.0), "`q0` is a variance"),
    "a grid with zero": (lambda: mfdnn.jacobian_spectrum(NETS["tanh"], [0.0, 1.0]), "`grid` must be an array"),
    "slopes at an end of a block": (
        lambda: mfdnn.jacobian_moments(mfdnn.Network(9, [mfdnn.Residual([mfdnn.Pointwise("relu"), mfdnn.Dense(9)])])),
        "residual blocks that begin and end",
    ),
    "slopes at an end inside": (
        lambda: mfdnn.jacobian_moments(
            mfdnn.Network(
                9, [mfdnn.Residual([mfdnn.Dense(9), mfdnn.Residual([mfdnn.Dense(9), TANH]), mfdnn.Dense(9)])]
            )
        ),
        r"residual blocks that begin and end .* got Residual\(\[Dense\(9, 1, 0\), Pointwise",
    ),
    "overflow of slopes": (
        lambda: mfdnn.jacobian_moments(square(2, mfdnn.Activation("huge", lambda x: 1e200 * x), 1.0)),
        "the squared slopes of activation 'huge' overflow",
    ),
    "mean squares": (
        lambda: mfdnn.jacobian_spectrum(NETS["tanh"], q_hat=[1.0, 1.0]),
        "`q_hat` must be 6 positive numbers, one a weight layer",
    ),
    "mean squares of zero": (
        lambda: mfdnn.jacobian_moments(NETS["one layer"], q_hat=[0.0]),
        "`q_hat` must be 1 positive numbers",
    ),
    "both": (lambda: mfdnn.jacobian_moments(NETS["one layer"], 1.0, q_hat=[1.0]), "leave out `q0`"),
    "an activation between blocks": (
        lambda: mfdnn.jacobian_spectrum(mfdnn.Network(9, [mfdnn.Dense(9), *2 * [mfdnn.Pointwise("relu")]])),
        "activations behind a fully connected layer",
    ),
    "a normalisation": (
        lambda: mfdnn.jacobian_moments(mfdnn.Network(9, [mfdnn.Dense(9), mfdnn.LayerNorm()])),
        "theory of fully connected",
    ),
    "a jump": (lambda: mfdnn.jacobian_moments(square(2, mfdnn.Activation("sign", np.sign), 1.0)), "jumps"),
    "no moment": (
        lambda: mfdnn.jacobian_moments(square(2, mfdnn.Activation("root", lambda x: np.sqrt(np.abs(x))), 1.0)),
        "no finite second moment",
    ),
    "nothing at the input": (lambda: mfdnn.jacobian_spectrum(square(2, "relu", 2.0), q0=0.0), "the Jacobian is zero"),
    "no slope": (lambda: mfdnn.jacobian_moments(square(2, "relu", 0.0)), "the Jacobian is zero"),
    "no moment of an initialisation": (
        lambda: mfdnn.isometric_init(lambda x: np.sqrt(np.abs(x)), 5, 0.1),
        "no finite second moment",
    ),
    "no variance": (lambda: mfdnn.isometric_init("tanh", 5, 0.0), "`variance` must be > 0"),
    "another one": (lambda: mfdnn.sampled.jacobian_singular_values(3, [1.0]), "`one` must be a SampledNetwork"),
    "two inputs": (
        lambda: mfdnn.sampled.jacobian_singular_values(mfdnn.sample(NETS["one layer"], rng=0), np.ones((2, 100))),
        "`x` must be one input of 100 numbers",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_a_sentence(name):
    call, words = BAD[name]
    with pytest.raises((TypeError, ValueError), match=words):
        call()


# -- bins of log lambda -------------------------------------------------------------------------------------------

ANY = ["relu", "hard_tanh", "tanh", "erf", "gelu", OWN]
NOWHERE = 1e-12  # of the top, below which one bin is


def typical(phi, depth, width, weights, q=0.5):
    """Near chi_1 = 1, and the mean square of inputs whose signal is the same in all layers, or nearly."""
    act = mfdnn.activation(phi)
    if phi == "relu":
        return square(depth, phi, 2.0, 0.0, width, ends=True, weights=weights), 1.0
    w2 = 1 / SlopeLaw(act, q).moment(1)
    seen = mfdnn.expect(lambda x: act(x) ** 2, q)
    return square(depth, act, w2, q - w2 * seen, width, ends=True, weights=weights), seen


def bin_edges(found, n_bins=12):
    """Between bins of log lambda, one below 1e-12 of the top, the others as likely as each other."""
    top = max([*found.edges, *(place for place, _ in found.atoms)])
    fine = np.geomspace(NOWHERE, 1.0, 600) * top
    below = np.maximum.accumulate(found.cdf(fine))
    between = np.linspace(below[0], 1.0, n_bins + 1)[1:-1]
    edges = np.unique(fine[np.searchsorted(below, between)]) * (1 + 1e-8)  # atoms lie in the lower bin
    return np.array([fine[0], *edges[edges < top]])


def shares(values, edges):
    return np.diff([0.0, *[(values <= place).mean() for place in edges], 1.0])


def total_variation(phi, depth, width, weights, n_networks):
    """Of shares of bins of log lambda, pooled over networks."""
    net, q0 = typical(phi, depth, width, weights)
    found = mfdnn.jacobian_spectrum(net, q0=q0)
    edges = bin_edges(found)
    expected, measured = np.diff([0.0, *found.cdf(edges), 1.0]), []
    for rng in range(n_networks):
        one = mfdnn.sample(net, rng=rng)
        x = np.random.default_rng(rng).standard_normal(width)
        x *= math.sqrt(q0 * width) / np.linalg.norm(x)
        measured.append(shares(mfdnn.sampled.jacobian_singular_values(one, x) ** 2, edges))
    return 0.5 * np.abs(np.mean(measured, axis=0) - expected).sum()


@pytest.mark.parametrize("phi", ANY, ids=str)
@pytest.mark.parametrize(("depth", "weights"), [(1, "orthogonal"), (8, "orthogonal"), (4, "gaussian")])
def test_bins_of_log_lambda(phi, depth, weights):
    # Of 200 units: shares of dead ones scatter by up to (depth/(4 x 3 x 200))^(1/2), and all that of a single layer of
    # slopes do by chance.
    expected = 0.05 if depth == 1 else 0.03
    assert total_variation(phi, depth, 200, weights, 3) < expected + 0.5 * math.sqrt(depth / 2400)


@pytest.mark.slow
@pytest.mark.parametrize("phi", ANY, ids=str)
@pytest.mark.parametrize(
    ("depth", "weights"),
    [(1, "orthogonal"), (8, "orthogonal"), (16, "gaussian")],
)
def test_bins_of_log_lambda_of_wide_networks(phi, depth, weights):
    # With one activation and orthogonal weights the eigenvalues are independent, in eleven bins.
    assert total_variation(phi, depth, 1000, weights, 20 if (depth, weights) == (1, "orthogonal") else 4) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("phi", ["gelu", "tanh"])
def test_deep_spectra_are_those_of_the_network_s_own_variances(phi):
    """At depth 32 the mean squares of 300 units drift, of gelu by more than half.

    Its bins differ from those of infinite width by 0.058 then, and by 0.017 given the network's own mean squares.
    """
    depth, width = 32, 300
    net, q0 = typical(phi, depth, width, "orthogonal")
    edges = bin_edges(mfdnn.jacobian_spectrum(net, q0=q0))
    measured, own = [], []
    for rng in range(2):
        one = mfdnn.sample(net, rng=rng)
        x = np.random.default_rng(rng).standard_normal(width)
        x *= math.sqrt(q0 * width) / np.linalg.norm(x)
        measured.append(shares(mfdnn.sampled.jacobian_singular_values(one, x) ** 2, edges))
        q_hat = mfdnn.sampled.conditional_fisher(one, x, k=1).q_hat
        own.append(np.diff([0.0, *mfdnn.jacobian_spectrum(net, q_hat=q_hat).cdf(edges), 1.0]))
    # Eigenvalues of one network repel each other: a share of 1/12 of 300 scatters by about one of them.
    assert 0.5 * np.abs(np.mean(measured, axis=0) - np.mean(own, axis=0)).sum() < 0.04


@pytest.mark.slow
def test_bins_of_log_lambda_over_depth():
    """A draw of 1000 units and 128 layers, with the same orthogonal weights for all activations.

    Gelu at q = 12, where its fixed point of the variance attracts; at 1/2 it repels, and every draw leaves it.
    """
    width, depths = 1000, (32, 64, 128)
    nets = {phi: typical(phi, depths[-1], width, "orthogonal", 12.0 if phi == "gelu" else 0.5) for phi in ANY}
    rng = np.random.default_rng(0)
    x = rng.standard_normal(width)
    h = {phi: x * math.sqrt(q0 / np.mean(x**2)) for phi, (_, q0) in nets.items()}
    jacobian = dict.fromkeys(ANY, np.eye(width))
    for depth in range(1, depths[-1] + 1):
        weight, bias = haar(rng, (width, width)), rng.standard_normal(width)
        for phi, (net, q0) in nets.items():
            act, dense = mfdnn.activation(phi), net.layers[0]
            u = math.sqrt(dense.sigma_w2) * (weight @ h[phi]) + math.sqrt(dense.sigma_b2) * bias
            slopes = math.sqrt(dense.sigma_w2) * act.slope(u)
            h[phi], jacobian[phi] = act(u), slopes[:, None] * (weight @ jacobian[phi])
            if depth in depths:
                found = mfdnn.jacobian_spectrum(mfdnn.Network(width, net.layers[: 2 * depth]), q0=q0)
                edges = bin_edges(found)
                measured = shares(np.linalg.svd(jacobian[phi], compute_uv=False) ** 2, edges)
                # Of eight draws each was 0.005 to 0.013 off, on average of them.
                assert 0.5 * np.abs(measured - np.diff([0.0, *found.cdf(edges), 1.0])).sum() < 0.02, (phi, depth)

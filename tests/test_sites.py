"""Kernels of convolutional networks: other programs' values, networks without sites, loops over sites, sampled ones."""

import json
import tracemalloc
from itertools import product
from pathlib import Path

import hypothesis
import naive
import numpy as np
import pytest
from hypothesis import settings
from slow import slow
from test_windows import convolutions, loops

import mfdnn
from mfdnn.finite_width.outliers import law_of
from mfdnn.layers import AveragePool, Conv, Dense, Flatten, Given, GlobalAveragePool, Keep, Pointwise
from mfdnn.layers.pairs import ALL, OFFSETS
from mfdnn.layers.state import given_moments
from mfdnn.mean_field import tiles
from mfdnn.mean_field.inputs import pairs_of_sites

VALUES = json.loads((Path(__file__).parent / "convolution_values.json").read_text())
READOUTS = {"flatten": Flatten, "gap": GlobalAveragePool}
# neural-tangents' arccos near 1 is off by 4e-9 on the diagonals that relu and Flatten leave.
PRECISE = {("relu", "flatten"): 1e-8}


def swish(x):
    """A user's own activation."""
    return x / (1 + np.exp(-x))


def network(shape, convolutions, act, readout, sigma_w2, sigma_b2, n_outputs=1):
    """Convolutions (channels, options), each with its activation, and a read-out."""
    layers = []
    for channels, options in convolutions:
        layers += [Conv(channels, 3, sigma_w2, sigma_b2, **options), Pointwise(act)]
    return mfdnn.Network(shape, [*layers, READOUTS[readout](), Dense(n_outputs, sigma_w2, sigma_b2)])


@pytest.mark.parametrize("name", VALUES["conv1d_neural_tangents_0_6_5"]["values"])
def test_neural_tangents_on_a_line(name):
    known = VALUES["conv1d_neural_tangents_0_6_5"]["values"][name]
    _, act, _, _, readout, parameterisation = name.split("/")
    X = np.moveaxis(np.random.default_rng(0).standard_normal((4, 8, 3)), -1, 1)
    modes = {"circular": ("same", "circular"), "same": ("same", "zeros"), "valid": ("valid", "zeros")}
    convolutions = [
        (channels, {"stride": stride, "padding": modes[pad][0], "mode": modes[pad][1]})
        for _, stride, pad, channels in known["layers"]
    ]
    net = network((3, 8), convolutions, act, readout, known["sw2"], known["sb2"])
    rel = PRECISE.get((act, readout), 1e-12)
    kernel, tangent = mfdnn.nngp(net, X), mfdnn.ntk(net, X, parameterisation=parameterisation)
    found = kernel[0, 0], kernel[0, 1], tangent[0, 0], tangent[0, 1]
    np.testing.assert_allclose(found[:2], [known["nngp_00"], known["nngp_01"]], rtol=1e-12)
    np.testing.assert_allclose(found[2:], [known["ntk_00"], known["ntk_01"]], rtol=rel)
    between = mfdnn.ntk(net, X[:1], X[1:], parameterisation=parameterisation)
    assert between[0, 0] == pytest.approx(known["ntk_01"], rel=rel)


@pytest.mark.parametrize("name", VALUES["conv2d_neural_tangents_0_6_5"])
def test_neural_tangents_on_images(name):
    known = VALUES["conv2d_neural_tangents_0_6_5"][name]
    _, act, readout = name.split("/")
    rng = np.random.default_rng(0)
    rng.standard_normal((4, 8, 3))
    X = np.moveaxis(rng.standard_normal((3, 6, 6, 2)), -1, 1)
    convolutions = [(16, {"padding": "same"}), (24, {"padding": "same", "stride": 2})]
    net = network((2, 6, 6), convolutions, act, readout, known["sw2"], known["sb2"])
    np.testing.assert_allclose(mfdnn.nngp(net, X), known["nngp"], rtol=1e-12)
    np.testing.assert_allclose(
        mfdnn.ntk(net, X), known["ntk_standard"], rtol=PRECISE.get((act, readout), 1e-12)
    )


def monte_carlo_cases():
    rng = np.random.default_rng(0)
    for name, case in VALUES["conv_finite_monte_carlo"]["values"].items():
        yield pytest.param(case, rng.standard_normal((case["T"], case["c_in"], *case["shape"])), id=name)


@pytest.mark.parametrize(("case", "X"), list(monte_carlo_cases()))
def test_finite_networks_of_pytorch(case, X):
    layers = []
    for kernel, stride, pads, mode, channels in case["layers"]:
        conv = Conv(channels, kernel, case["sw2"], case["sb2"], stride=stride, padding=pads, mode=mode)
        layers += [conv, Pointwise(case["act"])]
    layers += [READOUTS[case["readout"]](), Dense(1, case["sw2"], case["sb2"])]
    net = mfdnn.Network(X.shape[1:], layers)
    fim = mfdnn.fisher_statistics(net, inputs=X)
    assert fim.largest == pytest.approx(case["lambda_max_F"], rel=1e-10)
    assert abs(fim.largest - case["mc_lambda_max"]) < 3 * case["mc_se"]
    theta = mfdnn.ntk(net, X)
    np.testing.assert_allclose(theta[0, :2], [case["theta_00"], case["theta_01"]], rtol=1e-10)
    shares = [
        mfdnn.MeanField(net, inputs=X).tangents[("layer", l)].at_one.mean()
        for l in range(len(case["layers"]) + 1)
    ]
    np.testing.assert_allclose(shares, case["theta_by_layer_mean_diag"], rtol=1e-10)


# -- independent pixels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["relu", "erf"])
@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("readout", READOUTS)
def test_rings_of_independent_pixels(act, size, readout):
    settings = {"relu": "relu sw2=2 sb2=0.1", "erf": "erf sw2=3 sb2=0.64"}[act]
    known = VALUES["exchangeable_conv_circular_1d"][settings][f"n={size} {readout}"]
    sigma_w2, sigma_b2 = {"relu": (2.0, 0.1), "erf": (3.0, 0.64)}[act]
    net = network((3, size), [(128, {"mode": "circular"})] * 2, act, readout, sigma_w2, sigma_b2)
    found = mfdnn.ntk_statistics(net, 10)
    np.testing.assert_allclose([found.mean, found.off_diagonal], known, rtol=0, atol=6e-5)  # as printed there
    # A pixel sees its own past alone: fan-ins with taps, and of Flatten with sites.
    widths = [9, 384, 128 * size if readout == "flatten" else 128, 1]
    chain = mfdnn.ntk_statistics(mfdnn.mlp(widths, act, sigma_w2, sigma_b2), 10)
    assert found.off_diagonal == pytest.approx(chain.off_diagonal, rel=1e-12)
    if readout == "flatten":
        assert found.mean == pytest.approx(chain.mean, rel=1e-12)


@pytest.mark.parametrize("act", ["relu", "tanh", swish])
@pytest.mark.parametrize("c0", [0.0, 0.5])
def test_flatten_behind_rings_is_a_chain(act, c0):
    """Order parameters and Fisher statistics of the fully connected network with the same fan-ins."""
    convolutions = [(6, {"mode": "circular"}), (5, {"mode": "circular", "stride": 2, "padding": "same"})]
    net = network((2, 4, 4), convolutions, act, "flatten", 1.8, 0.2, 3)
    op, chain = (
        mfdnn.order_parameters(of, q0=1.3, c0=c0) for of in (net, mfdnn.mlp([18, 54, 20, 3], act, 1.8, 0.2))
    )
    for name in ("q", "q_st", "q_hat", "q_hat_st", "q_tilde", "q_tilde_st", "fan_in"):
        np.testing.assert_allclose(getattr(op, name), getattr(chain, name), rtol=1e-12, err_msg=name)


# -- loops ------------------------------------------------------------------------------------------------------


def expectations(phi, q):
    """E[phi phi] and E[phi' phi'] for a covariance matrix, pair by pair."""
    found = np.empty((2, *q.shape))
    for i, j in product(range(len(q)), repeat=2):
        if j > i:
            continue
        c = 1.0 if i == j else q[i, j] / np.sqrt(q[i, i] * q[j, j])
        for order in (0, 1):
            value = naive.expect_product(phi, q[i, i], c, q[j, j], order)
            found[order, i, j] = found[order, j, i] = value
    return found


def by_loops(net, X, phi):
    """NNGP and NTK of (input, site) pairs, each convolution as loops over sites and taps."""
    n_samples = len(X)
    flat = np.swapaxes(X.reshape(*X.shape[:2], -1), 1, 2).reshape(-1, X.shape[1])
    kernel, theta, shape = flat @ flat.T / X.shape[1], 0.0 * (flat @ flat.T), X.shape[1:]
    for layer in net.layers:
        if isinstance(layer, Conv):
            table = loops(layer.windows(shape))
            n, m = int(np.prod(shape[1:])), len(table)
            seen = np.zeros((2, n_samples * m, n_samples * m))
            for (s, p), (t, r) in product(product(range(n_samples), range(m)), repeat=2):
                for one, two in zip(table[p], table[r], strict=True):
                    if one is not None and two is not None:
                        for target, source in zip(seen, (kernel, theta), strict=True):
                            target[s * m + p, t * m + r] += source[s * n + one, t * n + two] / len(table[p])
            theta = layer.sigma_w2 * seen[1] + layer.fan_in(shape) * seen[0] + 1
            kernel = layer.sigma_w2 * seen[0] + layer.sigma_b2
        elif isinstance(layer, Pointwise):
            kernel, slope = expectations(phi, kernel)
            theta = theta * slope
        else:
            n = int(np.prod(shape[1:]))
            blocks = [k.reshape(n_samples, n, n_samples, n) for k in (kernel, theta)]
            if isinstance(layer, Flatten):
                kernel, theta = (np.einsum("spTp->sT", k) / n for k in blocks)
            elif isinstance(layer, GlobalAveragePool):
                kernel, theta = (np.einsum("spTr->sT", k) / n**2 for k in blocks)
            else:
                break
        shape = layer.output_shape(shape)
    dense = net.layers[-1]
    return dense.sigma_w2 * kernel + dense.sigma_b2, dense.fan_in(shape) * kernel + 1 + dense.sigma_w2 * theta


@pytest.mark.parametrize(
    ("act", "phi", "readout"),
    [
        ("tanh", naive.tanh(), "gap"),
        (swish, naive.silu(), "flatten"),
        slow("tanh", naive.tanh(), "flatten"),
        slow(swish, naive.silu(), "gap"),
    ],
)
def test_four_sites_by_loops(act, phi, readout):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((2, 3, 2, 2))
    convolutions = [
        (5, {"mode": "zeros"}),
        (4, {"padding": ((1, 0), (0, 1)), "mode": "circular", "stride": (1, 2)}),
    ]
    net = network((3, 2, 2), convolutions, act, readout, 1.7, 0.2)
    kernel, theta = by_loops(net, X, phi)
    np.testing.assert_allclose(mfdnn.nngp(net, X), kernel, rtol=1e-9)
    np.testing.assert_allclose(mfdnn.ntk(net, X), theta, rtol=1e-9)


# -- sampled networks -------------------------------------------------------------------------------------------


def test_delta_orthogonal_networks_forget_nothing_of_their_sites():
    """The signal of a site is that of a fully connected network; what is trained is every tap."""
    layers = [Conv(100, 3, 1.5, 0.1, weights="delta_orthogonal"), Pointwise("tanh")]
    net = mfdnn.Network((100, 4), [*layers, *layers, Flatten(), Dense(1)])
    X = np.random.default_rng(0).standard_normal((5, 100, 4))
    op = mfdnn.order_parameters(net, inputs=X)
    chain = mfdnn.mlp([100, 100, 100, 1], "tanh", [1.5, 1.5, 1.0], [0.1, 0.1, 0.0])
    sites = [mfdnn.order_parameters(chain, inputs=X[..., i]) for i in range(4)]
    for name in ("q", "q_hat", "q_st"):
        expected = np.mean([getattr(site, name) for site in sites], axis=0)
        np.testing.assert_allclose(getattr(op, name), expected, rtol=1e-12)
    measured = mfdnn.ensemble(net, inputs=X, n_networks=12, rng=0)
    fim = mfdnn.fisher_statistics(net, inputs=X)
    assert abs(measured.mean["mean"] - fim.mean) < 4 * measured.standard_error["mean"] + 0.03 * fim.mean


@pytest.mark.parametrize(
    ("net", "c0"),
    [
        (
            mfdnn.Network(
                (3, 8, 8),
                [
                    Conv(64, 3, 2.0, 0.1),
                    Pointwise("relu"),
                    AveragePool(2),
                    Conv(64, 3, 2.0, 0.1, stride=2, padding="same"),
                    Pointwise("relu"),
                    GlobalAveragePool(),
                    Dense(2, 2.0),
                ],
            ),
            0.3,
        ),
        (
            mfdnn.Network(
                (3, 6),
                [
                    Conv(64, 3, 1.5, 0.1, mode="reflect"),
                    mfdnn.Residual(
                        [Pointwise("tanh"), Conv(64, 3, 1.5, stride=2)], [Conv(64, 1, 1.0, stride=2)]
                    ),
                    Pointwise("tanh"),
                    Flatten(),
                    Dense(2, 2.0),
                ],
            ),
            0.0,
        ),
    ],
    ids=["pooled", "projected"],
)
@pytest.mark.parametrize("given", [False, True])
def test_compare(net, c0, given):
    X = mfdnn.datasets.gaussian_inputs(12, net.n_inputs, c0=0.3, rng=0)
    data = {"inputs": X} if given else {"n_samples": 12, "c0": c0}
    table = mfdnn.compare(net, n_networks=8, rng=0, **data)
    assert not [row for row in table.rows if row.agrees is False]
    assert {"lambda_max", "mean", "second_moment"} <= {row.quantity for row in table.rows}


def test_compare_on_digits():
    pytest.importorskip("sklearn")
    net = mfdnn.cnn((1, 8, 8), [64, 64], 2, "tanh", sigma_w2=1.5, sigma_b2=0.1, pool=[2, None])
    table = mfdnn.compare(net, n_networks=8, rng=0, inputs=mfdnn.datasets.load_inputs("digits", 12, rng=0))
    assert not [row for row in table.rows if row.agrees is False]


def test_the_law_of_single_networks_is_not_that_of_the_chain():
    """Of the same fan-ins: theory is the same, but the spread over networks is twice as large."""
    net = network((3, 8), [(32, {"mode": "circular"})] * 2, "relu", "flatten", 2.0, 0.1)
    chain = mfdnn.mlp([9, 96, 256, 1], "relu", 2.0, 0.1)
    law = law_of(mfdnn.MeanField(net, 20))
    assert law.method == "sampled units"
    found = []
    for of in (net, chain):
        lambda_max = mfdnn.ensemble(of, 20, 40, rng=0).values["lambda_max"]
        found.append(lambda_max.std() / mfdnn.fisher_statistics(of, 20).largest)
    assert found[0] > 1.5 * found[1]
    assert found[0] == pytest.approx(law.standard_deviation / law.lambda_0, rel=0.35)  # of 40 networks to 11 %


def test_few_channels_are_told():
    for function in (mfdnn.fisher_statistics, mfdnn.max_learning_rate, mfdnn.ntk_statistics, mfdnn.kernel_spectrum):
        many, few = (function(mfdnn.cnn((3, 8), [n, 64], 1), 50).caution for n in (16, 15))
        assert "Theory is of many channels, and one layer has 15" in few
        assert "channels" not in many


@pytest.mark.parametrize(("groups", "told"), [(4, False), (8, True)])
def test_few_channels_of_a_group_are_told(groups, told):
    layers = [Conv(64, 3, 2.0), Pointwise("relu"), Conv(64, 3, 2.0, groups=groups), Pointwise("relu"), Flatten()]
    caution = mfdnn.fisher_statistics(mfdnn.Network((3, 8), [*layers, Dense(1)]), 50).caution
    assert ("many channels a group, and one layer reads 8" in caution) is told


def test_outliers_that_split_are_referred_to_what_knows_them():
    net = mfdnn.cnn((3, 8, 8), [64, 8], 4)
    caution = mfdnn.fisher_statistics(net).caution
    assert "outliers of a network of these widths split" in caution
    assert "`mfdnn.ensemble` measures them" in caution
    with pytest.raises(mfdnn.NoTheory, match=r"mfdnn\.ensemble"):
        mfdnn.finite_width.outlier_distribution(mfdnn.cnn((3, 32, 32), [64, 8], 4), 100)


def test_an_activation_that_needs_a_convolution_in_front():
    layers = [AveragePool(2), Pointwise("tanh"), GlobalAveragePool(), Dense(1)]
    with pytest.raises(mfdnn.NoTheory, match="put a weight layer before it"):
        mfdnn.order_parameters(mfdnn.Network((3, 4), layers))


@pytest.mark.parametrize("key", ["arch", "input_shape"])
def test_a_sweep_is_of_fully_connected_networks(key):
    with pytest.raises(ValueError, match=rf"`{key}` must not be a key of the sweep, whose networks are fully"):
        mfdnn.sweep({"inputs": 3, key: [3, 8, 8]})


def test_report():
    net = mfdnn.cnn((1, 4, 4), [16, 16], 2, mode="circular")
    page = str(mfdnn.report(net, 10, 3, rng=0))
    assert "1x4x4: 9-144-256-2, relu" in page
    assert "gaussian weights" in page
    assert "safe for 95 % of the networks drawn" in " ".join(page.split())


def test_a_theory_that_is_off_fails():
    """sigma_w2 wrong by ten per cent."""

    def net(sigma_w2):
        return network((3, 8), [(100, {}), (100, {})], "tanh", "flatten", sigma_w2, 0.1, 2)

    X = np.random.default_rng(0).standard_normal((12, 3, 8))
    ens = mfdnn.ensemble(net(2.2), inputs=X, n_networks=10, rng=0)
    for sigma_w2, agrees in ((2.0, False), (2.2, True)):
        fim = mfdnn.fisher_statistics(net(sigma_w2), inputs=X)
        errors = abs(ens.mean["mean"] - fim.mean) / ens.standard_error["mean"]
        q_errors = (
            np.abs(ens.mean["q"] - fim.order_parameters.averaged("q"))[:2] / ens.standard_error["q"][:2]
        )
        assert bool(errors < 4 and np.all(q_errors < 4)) is agrees
        assert agrees or (errors > 8 and q_errors[1] > 8)


# -- the fewest pairs of sites ----------------------------------------------------------------------------------

FEWER = {
    "side by side": (
        [Conv(4, 3, 1.7, 0.2, mode="reflect"), Pointwise(swish), Conv(5, 2, 1.5, stride=2), Flatten()],
        "same",
        "same",
    ),
    "with a projection": (
        [
            Conv(4, 3, 1.7, 0.2),
            mfdnn.Residual([Pointwise("relu"), Conv(5, 3, 1.5, 0.1, stride=2)], [Conv(5, 1, 1.0, stride=2)]),
            Pointwise("erf"),
            Flatten(),
        ],
        "same",
        "same",
    ),
    "pooled ring": (
        [
            Conv(4, 3, 1.7, 0.2, mode="circular"),
            Pointwise("tanh"),
            AveragePool(2),
            Conv(5, (3, 2), 1.5, 0.3, mode="circular", dilation=2, padding="same"),
            Pointwise("relu"),
            GlobalAveragePool(),
        ],
        "all",
        "offsets",
    ),
    "delta-orthogonal ring": (
        [
            Conv(4, 3, 1.7, 0.2, mode="circular", weights="delta_orthogonal", stride=2),
            mfdnn.Residual([Pointwise("tanh"), Conv(4, 3, 1.5, mode="circular")], 0.7),
            Pointwise("tanh"),
            GlobalAveragePool(),
        ],
        "all",
        "offsets",
    ),
    "normalised": (
        [Conv(8, 3, 1.7, 0.2), mfdnn.GroupNorm(2), Pointwise("relu"), mfdnn.RMSNorm(), Flatten()],
        "same",
        "same",
    ),
    "pooled with borders": ([Conv(4, 3, 1.7, 0.2), Pointwise("relu"), GlobalAveragePool()], "all", "all"),
    "pooled and side by side": ([Conv(4, 3), Pointwise("relu"), AveragePool(2), Flatten()], "all", "all"),
}


def assert_same_theory(net, data, others):
    """All that theory makes of a network, beside what it makes with all pairs of sites."""
    one, two = mfdnn.MeanField(net, **data), others
    for name in ("q", "q_st", "q_hat", "q_hat_st", "q_tilde", "q_tilde_st"):
        found, expected = (getattr(of.order_parameters, name) for of in (one, two))
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12, err_msg=name)
    for found, expected in zip(one.order_parameters.q_sites, two.order_parameters.q_sites, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11)
    assert one.tangents.names == two.tangents.names
    for name in one.tangents.names:
        for at in ("at_one", "at_two"):
            found, expected = (getattr(of.tangents[name], at) for of in (one, two))
            np.testing.assert_allclose(
                found, expected, rtol=1e-10, atol=1e-12 * np.max(expected), err_msg=str(name)
            )
    np.testing.assert_allclose(*(mfdnn.fisher_statistics(of).largest for of in (one, two)), rtol=1e-10)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", FEWER)
def test_fewer_pairs_of_sites_tell_the_same(name, given, monkeypatch):
    layers, of_given, of_random = FEWER[name]
    net = mfdnn.Network((3, 4, 4), [*layers, Dense(2, 1.5, 0.1)])
    X = np.random.default_rng(0).standard_normal((5, 3, 4, 4))
    data = {"inputs": X} if given else {"n_samples": 5, "q0": [1.0, 0.4], "c0": 0.3}
    assert pairs_of_sites(net, given).name == (of_given if given else of_random)
    with monkeypatch.context() as patched:
        patched.setattr("mfdnn.mean_field.inputs.pairs_of_sites", lambda net, given: ALL)
        everything = mfdnn.MeanField(net, **data)
        assert everything.order_parameters.q.shape[0] == net.n_weight_layers
    assert_same_theory(net, data, everything)
    if given:
        np.testing.assert_allclose(mfdnn.ntk(net, X[:2], X), mfdnn.ntk(net, X)[:2], rtol=1e-10)


@pytest.mark.parametrize("name", FEWER)
@pytest.mark.parametrize("width", [1, 2])
def test_blocks_of_inputs_are_the_whole(name, width, monkeypatch):
    net = mfdnn.Network((3, 4, 4), [*FEWER[name][0], Dense(2, 1.5, 0.1)])
    data = {"inputs": np.random.default_rng(0).standard_normal((5, 3, 4, 4))}
    everything = mfdnn.MeanField(net, **data)
    assert not tiles.goes_in_tiles(net, 5, Keep())
    assert everything.order_parameters.q.shape == (net.n_weight_layers, 5)
    monkeypatch.setattr(tiles, "WHOLE", 3.1 * tiles.bytes_of_recursion(net, width, Keep()))
    assert tiles.tiled_width(net, Keep()) == width
    assert tiles.goes_in_tiles(net, 5, Keep())
    assert_same_theory(net, data, everything)
    rates = [mfdnn.max_learning_rate(net, **data).value, mfdnn.max_learning_rate(everything).value]
    assert rates[0] == pytest.approx(rates[1], rel=1e-10)


def test_a_law_of_one_s_own_gets_all_pairs_of_sites():
    class Shifted(Conv):
        """With another law than its parent."""

        def propagate(self, state):
            return super().propagate(state)

    ring = [Conv(4, 3, mode="circular"), Pointwise("relu"), GlobalAveragePool(), Dense(1)]
    own = [Shifted(4, 3, mode="circular"), *ring[1:]]
    assert pairs_of_sites(mfdnn.Network((2, 4), ring), given=False) is OFFSETS
    assert pairs_of_sites(mfdnn.Network((2, 4), own), given=False) is ALL
    found, expected = (mfdnn.ntk_statistics(mfdnn.Network((2, 4), layers), 5).mean for layers in (own, ring))
    assert found == pytest.approx(expected, rel=1e-12)


def test_sites_that_do_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 2.0**30)
    net = mfdnn.Network((3, 64, 64), [Conv(4, 3), Pointwise("relu"), GlobalAveragePool(), Dense(1)])
    with pytest.raises(
        MemoryError, match=r"would take .* or `Flatten` in place of pooling, which needs the pairs of"
    ):
        mfdnn.order_parameters(net)
    with pytest.raises(MemoryError, match=r"by blocks of 1 with all sites would take .* or `Flatten` in"):
        mfdnn.order_parameters(net, inputs=np.ones((2, 3, 64, 64)))
    with pytest.raises(MemoryError, match=r"2 x 2 inputs would take .* take smaller ones, or `Flatten` in place of"):
        mfdnn.ntk(net, np.ones((2, 3, 64, 64)))


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("inner", [[], [mfdnn.Residual([Conv(4), Pointwise("tanh"), Conv(4)], skip=[Conv(4, 1)])] * 2])
def test_memory_of_random_inputs_is_what_was_predicted(monkeypatch, readout, inner):
    n = 12 if readout == "gap" else 100
    layers = [Conv(4), Pointwise("relu"), *inner, Conv(4), Pointwise("relu"), READOUTS[readout](), Dense(1)]
    net, predicted = mfdnn.Network((1, n, n), layers), []
    mfdnn.fisher_statistics(net, 50)  # what is kept between calls
    monkeypatch.setattr("mfdnn.mean_field.inputs.require_memory", lambda n_bytes, *said: predicted.append(n_bytes))
    tracemalloc.start()
    try:
        mfdnn.fisher_statistics(net, 50)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.5 * predicted[0] < taken < 1.1 * predicted[0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_signals_that_do_not_fit_into_memory(monkeypatch, dtype):
    one = mfdnn.sample(mfdnn.cnn((1, 16, 16), [64, 64], 2), rng=0, dtype=dtype)
    X = np.ones((20, 1, 16, 16))
    monkeypatch.setattr("mfdnn.sampled.network.LARGE", 0)
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 2.0**20)
    for call in (one, one.linearise, lambda X: mfdnn.fisher_spectrum(one, X, k=1)):
        with pytest.raises(MemoryError, match=r"the signals of 20 samples in .* would take .* fewer at once") as raised:
            call(X)
        assert ("float32" in str(raised.value)) is (dtype == "float64")


def test_variances_of_sites():
    net = mfdnn.Network((2, 3, 4), [Conv(4, 3, 1.5, 0.2), Pointwise("relu"), Flatten(), Dense(1)])
    op = mfdnn.order_parameters(net, [1.0, 2.0])
    assert [q.shape for q in op.q_sites] == [(2, 3, 4), (2,)]
    np.testing.assert_allclose(
        op.q_sites[0][1, 0, 0], 1.5 * 2.0 * 4 / 9 + 0.2, rtol=1e-14
    )  # four of nine taps inside
    np.testing.assert_allclose(op.q_sites[0].mean(axis=(1, 2)), op.q[0], rtol=1e-14)
    given = mfdnn.order_parameters(net, inputs=np.ones((5, 2, 3, 4)))
    assert [q.shape for q in given.q_sites] == [(5, 3, 4), (5,)]
    assert isinstance(op.to_dict()["q_sites"][0], list)


# -- forward and backward ---------------------------------------------------------------------------------------


def average(table, k):
    """The mean over taps of every block, by loops."""
    found = np.zeros((*k.shape[:2], len(table), len(table)))
    for (p, row), (r, other) in product(enumerate(table), enumerate(table)):
        for one, two in zip(row, other, strict=True):
            if one is not None and two is not None:
                found[:, :, p, r] += k[:, :, one, two] / len(row)
    return found


def scattered(table, n, b):
    """Its transpose."""
    found = np.zeros((*b.shape[:2], n, n))
    for (p, row), (r, other) in product(enumerate(table), enumerate(table)):
        for one, two in zip(row, other, strict=True):
            if one is not None and two is not None:
                found[:, :, one, two] += b[:, :, p, r] / len(row)
    return found


@pytest.mark.parametrize("readout", READOUTS)
@hypothesis.given(case=convolutions())
@settings(max_examples=12)
def test_errors_sent_back_tell_the_kernel(case, readout):
    """Theta is the sum over layers of squared errors times what parameters see; errors come back by transposes."""
    first, sites, rng = case
    X = rng.standard_normal((3, 2, *sites))
    second = Conv(4, 3, 1.4, 0.3, mode="reflect" if min(first.windows((2, *sites)).out) > 1 else "zeros")
    relu = Pointwise("relu")
    net = mfdnn.Network(X.shape[1:], [first, relu, second, relu, READOUTS[readout](), Dense(1, 1.3, 0.2)])
    tables = [loops(layer.windows(shape)) for layer, shape in net.weight_layers[:2]]
    seen, slopes, kernel = [], [], given_moments(X)
    for (layer, _), table in zip(net.weight_layers, tables, strict=False):
        seen.append(average(table, kernel.matrix))
        _, kernel, slope = Given(layer.sigma_w2 * seen[-1] + layer.sigma_b2).expect(relu.activation)
        slopes.append(slope.matrix)
    n = len(tables[1])
    share = np.broadcast_to(np.eye(n) / n if readout == "flatten" else np.full((n, n), n**-2.0), (3, 3, n, n))
    fan_ins = net.widths
    errors = 1.3 * slopes[1] * share
    theta = fan_ins[2] * np.sum(kernel.matrix * share, axis=(2, 3)) + 1
    q_tilde = []
    for i in (1, 0):
        theta = theta + np.sum(errors * (fan_ins[i] * seen[i] + 1), axis=(2, 3))
        q_tilde.append(np.trace(errors, axis1=2, axis2=3))
        if i:
            errors = second.sigma_w2 * slopes[0] * scattered(tables[1], len(tables[0]), errors)
    found = mfdnn.ntk(net, X)
    np.testing.assert_allclose(found, theta, rtol=1e-12, atol=1e-12 * theta.max())
    op = mfdnn.order_parameters(net, inputs=X)
    np.testing.assert_allclose(op.q_tilde_st[:2], q_tilde[::-1], rtol=1e-12, atol=1e-12 * np.max(q_tilde))


# -- windows that leave sites out ---------------------------------------------------------------------------------


class MatrixPool(mfdnn.Layer):
    """Averages over windows of a line of sites as one matrix, which is all that its law is."""

    def __init__(self, size, stride):
        self.size, self.stride = size, stride

    def matrix(self, n):
        firsts = range(0, n - self.size + 1, self.stride)
        return np.array([[(p <= i < p + self.size) / self.size for i in range(n)] for p in firsts])

    def output_shape(self, shape):
        return shape[0], len(self.matrix(shape[1]))

    def propagate(self, state):
        m = self.matrix(state.shape[1])

        def pooled(pairs):
            return pairs.over_sites(lambda k: m @ k @ m.T)

        shape = self.output_shape(state.shape)
        return state.mapped(pooled(state.moments), pooled, mean=state.mean @ m.T, shape=shape)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize(("size", "stride", "n"), [(2, 2, 5), (3, 2, 6), (2, 3, 9), (1, 2, 6)])
@pytest.mark.parametrize("readout", READOUTS)
def test_pooling_reads_whole_windows_alone(size, stride, n, mode, readout):
    before = [Conv(40, 3, 1.5, 0.1, mode=mode), Pointwise("tanh")]
    behind = [Conv(40, 2, 1.5, padding="same"), Pointwise("tanh"), READOUTS[readout](), Dense(1, 1.5)]
    own, twin = (
        mfdnn.Network((2, n), [*before, kind(size, stride), *behind]) for kind in (AveragePool, MatrixPool)
    )
    X = np.random.default_rng(0).standard_normal((3, 2, n))
    for data in ({"inputs": X}, {"n_samples": 4, "q0": 0.8, "c0": 0.2}):
        found, expected = (mfdnn.fisher_statistics(net, **data) for net in (own, twin))
        for field in ("mean", "second_moment", "largest"):
            assert getattr(found, field) == pytest.approx(getattr(expected, field), rel=1e-12)


def test_what_is_left_out_has_no_gradient():
    net = mfdnn.Network((2, 5, 5), [AveragePool(2), Flatten(), Dense(3)])
    one, X = mfdnn.sample(net, rng=0), np.random.default_rng(0).standard_normal((4, 2, 5, 5))
    other = X.copy()
    other[:, :, 4], other[:, :, :, 4] = 7.0, -7.0
    np.testing.assert_array_equal(one(X), one(other))
    convs = [Conv(64, 3, 2.0, 0.1), Pointwise("relu"), AveragePool(2), Conv(64, 3, 2.0), Pointwise("relu")]
    net = mfdnn.Network((3, 5, 5), [*convs, GlobalAveragePool(), Dense(1, 2.0)])
    table = mfdnn.compare(net, n_networks=20, inputs=np.random.default_rng(1).standard_normal((8, 3, 5, 5)), rng=0)
    assert not [row for row in table.rows if row.agrees is False]

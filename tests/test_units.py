"""Sampled units: identities, closed forms, numbers of an independent program, what they refuse and how they err."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from slow import slow
from user_layers import InstanceNorm

import mfdnn
from mfdnn.kernels.parts import kernel
from mfdnn.layers import (
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    Gate,
    GlobalAveragePool,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    MeanSubtraction,
    Pointwise,
    Residual,
    RMSNorm,
)
from mfdnn.mean_field.runs import jackknife
from mfdnn.papers import normalised_images

W2, B2 = 2.0, 0.1
NORM, GAINS = BatchNorm(eps=1e-5, affine=False), BatchNorm(eps=1e-5)
LIMIT = 5  # standard errors of eight runs, by Student's t of 7 degrees of freedom: 1 in 640


class OwnRelu(Layer):
    """A user's activation, of which theory knows the map and its derivative alone."""

    def unit(self, g):
        return np.maximum(g, 0)

    def unit_jvp(self, g, z):
        return (g > 0) * z


class OwnTanh(Layer):
    def unit(self, g):
        return np.tanh(g)

    def unit_jvp(self, g, z):
        return z / np.cosh(g) ** 2


class OwnIdentity(Layer):
    def unit(self, g):
        return g

    def unit_jvp(self, g, z):
        return z


class OwnBatchNorm(Layer):
    """`BatchNorm` without gains, from its map and derivative."""

    couples_samples = True

    def standardised(self, g):
        axes = tuple(range(1, g.ndim))
        x = g - g.mean(axis=axes, keepdims=True)
        r = 1 / np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + 1e-5)
        return x * r, r, axes

    def unit(self, g):
        return self.standardised(g)[0]

    def unit_jvp(self, g, z):
        x, r, axes = self.standardised(g)
        z = z - z.mean(axis=axes, keepdims=True)
        return r * (z - x * np.mean(x * z, axis=axes, keepdims=True))


def gaussian(rng, *shape):
    return np.random.default_rng(rng).standard_normal(shape)


def dense(n):
    return Dense(n, W2, B2)


def mlp(n_inputs, *between, width=100, depth=2):
    """Hidden layers with these layers behind each of them."""
    return mfdnn.Network(n_inputs, [*(layer for _ in range(depth) for layer in (dense(width), *between)), dense(1)])


def statistics(net, rng=0, n_units=None, **data):
    return mfdnn.fisher_statistics(mfdnn.MeanField(net, **data, rng=rng, n_units=n_units))


def assert_agree(found, expected, names=("largest", "mean", "second_moment")):
    """Within the errors of both; what is in closed form has none."""
    assert found.standard_error is not None
    for name in names:
        errors = [0.0 if of.standard_error is None else of.standard_error[name] for of in (found, expected)]
        gap = getattr(found, name) - getattr(expected, name)
        assert abs(gap) < LIMIT * np.hypot(*errors), (name, gap, errors)
        assert 0 < errors[0] < 0.05 * getattr(expected, name)


# -- identities -----------------------------------------------------------------------------------------------


def test_kernels_of_layers_sum_to_the_whole():
    """They are pushed through the same draws: to rounding, where tangents are averaged over."""
    net = mfdnn.Network((2, 4), [
        Conv(20, 3, W2, B2), GAINS, Pointwise("relu"), Residual([Conv(20, 3, W2, B2), GAINS]), Pointwise("relu"),
        MaxPool(2), Conv(20, 3, W2, B2), GAINS, Pointwise("relu"), GlobalAveragePool(), dense(1),
    ])  # fmt: skip
    wide = mfdnn.MeanField(net, inputs=gaussian(0, 7, 2, 4), n_units=32)
    whole, op = kernel(wide.order_parameters).at_two, wide.order_parameters
    parts = [kernel(op, [l]).at_two for l in range(net.n_weight_layers)]
    np.testing.assert_allclose(sum(parts) + wide.tangents[("others",)].at_two, whole, rtol=1e-12)


def test_batch_norm_takes_away_what_all_samples_share():
    net = mlp(20, NORM, Pointwise("relu"))
    wide = mfdnn.MeanField(net, inputs=gaussian(0, 9, 20), n_units=64)
    # Biases in front of it move nothing: those of the outputs are left.
    np.testing.assert_allclose(wide.tangents[("biases",)].at_two, 1, rtol=0, atol=1e-12)
    # Nor does a constant that is added to the moments; draws are others then.
    layers = [Dense(layer.units, W2, 10.0) if isinstance(layer, Dense) else layer for layer in net.layers[:-1]]
    shifted = mfdnn.Network(20, [*layers, net.layers[-1]])
    data = {"inputs": wide.inputs, "n_units": 1024}
    assert_agree(statistics(shifted, 1, **data), statistics(net, 0, **data))


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("name", ["relu", "tanh", "batch norm"])
def test_tangents_that_are_drawn_and_averaged_over_are_one(name, given):
    own, known = {
        "relu": ([OwnRelu()], [Pointwise("relu")]),
        "tanh": ([OwnTanh()], [Pointwise("tanh")]),
        "batch norm": ([OwnBatchNorm(), OwnRelu()], [NORM, Pointwise("relu")]),
    }[name]
    data = {"inputs": gaussian(0, 9, 20)} if given else {"n_samples": 9, "c0": 0.2}
    found, expected = (statistics(mlp(20, *of), 3, **data) for of in (own, known))
    assert (expected.standard_error is None) == (name != "batch norm")
    assert_agree(found, expected)
    for drawn, averaged in zip(found.layers, expected.layers, strict=True):  # of every layer too
        assert drawn.mean == pytest.approx(averaged.mean, rel=0.05)


def test_inputs_that_are_exchangeable_as_given_and_as_random_ones():
    T, n = 8, 6
    rows = np.sqrt(T) * np.eye(T)  # of mean square 1, orthogonal to each other
    net = mlp(T, NORM, Pointwise("relu"))
    assert_agree(statistics(net, 0, inputs=rows), statistics(net, 1, n_samples=T))
    convolutions = [layer for _ in range(2) for layer in (conv(20), NORM, Pointwise("relu"))]
    net = mfdnn.Network((T * n, n), [*convolutions, GlobalAveragePool(), dense(1)])
    images = np.sqrt(T * n) * np.eye(T * n).reshape(T, n, T * n).swapaxes(1, 2)
    assert_agree(statistics(net, 0, inputs=images), statistics(net, 1, n_samples=T))


def conv(n):
    return Conv(n, 3, W2, B2, mode="circular")


# -- closed forms ---------------------------------------------------------------------------------------------

RELU_TWICE = [Pointwise("relu"), Pointwise("relu")]  # is relu, and sampled


@pytest.mark.parametrize("given", [True, False])
def test_two_activations_in_a_row_are_the_closed_form_of_one(given):
    data = {"inputs": gaussian(0, 20, 64)} if given else {"n_samples": 20, "c0": 0.2}
    found, expected = (statistics(mlp(64, *of, width=256, depth=3), **data) for of in (RELU_TWICE, RELU_TWICE[:1]))
    assert expected.standard_error is None
    if given:
        assert expected.largest == pytest.approx(353.0435, abs=1e-4)  # of the independent program
    assert_agree(found, expected, ("largest", "second_moment", "kappa_2"))
    # Squares of pairs of the same unit are matched: the first diagonal is exact, what is left comes from deeper ones.
    assert found.standard_error["mean"] < 0.01 * found.mean
    errors = mfdnn.MeanField(mlp(64, *RELU_TWICE, width=256, depth=3), **data).order_parameters.standard_error
    assert set(errors) >= {"q", "q_st", "q_tilde", "c", "chi"}
    assert np.max(errors["q"][0]) < 1e-14  # closed form up to there


NORMS_OF_UNITS = [LayerNorm(1.2, 0.3, eps=0.1), GroupNorm(1, 1.2, 0.3, eps=0.1), RMSNorm(1.2), MeanSubtraction()]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("shape", [(20,), (2, 5)])
@pytest.mark.parametrize("norm", NORMS_OF_UNITS, ids=repr)
def test_norms_of_sampled_units_are_their_closed_form(norm, shape, given):
    """A map of units that changes nothing has them sampled: the identity, and relu behind relu over its size."""
    data = {"inputs": gaussian(0, 9, *shape) + 0.2} if given else {"n_samples": 9, "c0": 0.2}
    first, again = ("relu", "relu") if isinstance(norm, RMSNorm) else ("tanh", "linear")
    known = [Pointwise(first), norm]
    if len(shape) == 1:
        nets = [mfdnn.Network(20, [dense(100), *of, dense(2)]) for of in ([*known, Pointwise(again)], known)]
    else:
        conv = Conv(100, 3, W2, B2)
        nets = [mfdnn.Network(shape, [conv, *of, Flatten(), dense(2)]) for of in ([*known, Pointwise(again)], known)]
    found, expected = (statistics(net, 3, **data) for net in nets)
    assert expected.standard_error is None
    assert_agree(found, expected)


@pytest.mark.parametrize("given", [True, False])
def test_units_of_all_sites_side_by_side(given):
    """An activation behind `Flatten` is one before it; batch norm on a ring is that of a fully connected network."""
    conv, relu = Conv(100, 3, W2, B2, mode="circular"), Pointwise("relu")
    data = {"inputs": gaussian(0, 9, 2, 5) + 0.2} if given else {"n_samples": 9, "c0": 0.2}
    nets = [mfdnn.Network((2, 5), [conv, *of, dense(2)]) for of in ([Flatten(), relu], [relu, Flatten()])]
    found, expected = (statistics(net, 3, **data) for net in nets)
    assert expected.standard_error is None
    assert_agree(found, expected)
    cnn = mfdnn.Network((2, 5), [conv, Flatten(), GAINS, relu, dense(2)])
    if not given:
        mlp = mfdnn.Network(6, [dense(500), GAINS, relu, dense(2)])
        names = ("largest", "mean")
        found, expected = statistics(cnn, 3, **data), statistics(mlp, 4, **data)
        # A gain each, not one a channel for all sites: as many outputs' weights as units, fewer in front of them.
        for name in names:
            scale = cnn.n_parameters / mlp.n_parameters if name == "mean" else 1.0
            gap = scale * getattr(found, name) - getattr(expected, name)
            error = np.hypot(scale * found.standard_error[name], expected.standard_error[name])
            assert abs(gap) < LIMIT * error, (name, gap, error)
            assert error < 0.02 * getattr(expected, name)


def test_means_over_infinitely_many_samples_of_sampled_units_have_no_theory():
    net = mfdnn.Network(20, [dense(30), Pointwise("tanh"), MeanSubtraction(), Pointwise("tanh"), dense(1)])
    with pytest.raises(mfdnn.NoTheory, match="of sampled units needs a number of samples, `n_samples`, got None"):
        mfdnn.order_parameters(net, c0=0.2)


def test_a_gate_of_sampled_units_is_its_closed_form():
    X = gaussian(11, 20, 30) + 0.5

    def gated(*more):
        path = Dense(400, W2, bias=False)
        return mfdnn.Network(30, [Gate(path, [path, *more], "silu"), Dense(1, W2, bias=False)])

    closed = statistics(gated(), inputs=X)
    assert closed.standard_error is None
    assert closed.largest == pytest.approx(216.215, abs=0.001)
    assert_agree(statistics(gated(OwnIdentity()), inputs=X, n_units=4096), closed)


def of_errors(seeds, n_units=256):
    """Deviations of sampled units from a closed form, in their own standard errors, one a seed."""
    data = {"inputs": gaussian(0, 20, 64)}
    exact = statistics(mlp(64, Pointwise("relu"), width=256, depth=3), **data).largest
    net = mlp(64, *RELU_TWICE, width=256, depth=3)
    found = [statistics(net, seed, n_units, **data) for seed in seeds]
    return np.array([(one.largest - exact) / one.standard_error["largest"] for one in found])


@pytest.mark.parametrize("n_groups", [slow(200)])
def test_errors_are_neither_under_nor_overstated(n_groups):
    beyond = np.mean(np.abs(of_errors(range(n_groups))) > 2.365)  # 5 % of Student's t of 7 degrees of freedom
    assert 0.03 <= beyond <= 0.07


# -- numbers of an independent program, with its errors, which agree with networks in PyTorch -----------------


def assert_is(found, name, value, error):
    assert abs(found[0] - value) < LIMIT * np.hypot(found[1], error), (name, found, value, error)


def eigenvalues(fim, name):
    """`largest`, or the mean of one output's eigenvalues, and its error."""
    scale = 1.0 if name == "largest" else fim.n_parameters / fim.n_outputs
    return scale * getattr(fim, name), scale * fim.standard_error[name]


def test_batch_norm_of_few_inputs():
    wide = mfdnn.MeanField(mlp(64, NORM, Pointwise("relu"), width=500), inputs=gaussian(5, 8, 64))
    fim = mfdnn.fisher_statistics(wide)
    assert_is(eigenvalues(fim, "largest"), "largest", 96.96, 0.10)
    assert_is(eigenvalues(fim, "mean"), "mean", 626.2, 1.2)
    # Shares of the layers, v.Theta_l v / T along the top eigenvector v of their sum.
    def shares(op):
        v = np.linalg.eigh(kernel(op).at_two)[1][:, -1]
        return [v @ kernel(op, [l]).at_two @ v / 8 for l in range(3)]

    found = shares(wide.order_parameters)
    errors = jackknife([shares(one.order_parameters) for one in wide.without_one_run()])
    assert sum(found) == pytest.approx(fim.largest, rel=1e-12)
    # The program had half as many units in one run alone: its errors are taken for three times these.
    for l, share in enumerate((2.83, 12.52, 81.40)):
        assert_is((found[l], errors[l]), l, share, 3 * errors[l])
    assert 0.85 < fim.ratio < 0.95
    assert "second eigenvalue of the tangent kernel" in fim.largest_caution


@pytest.mark.parametrize(
    ("n_samples", "value", "error"),
    [(4, 17.631, 0.011), (8, 16.931, 0.006), (16, 16.606, 0.009), (64, 16.357, 0.005), slow(256, 16.299, 0.005)],
)
def test_batch_norm_of_random_images(n_samples, value, error):
    net = mfdnn.cnn((16, 8), [96, 96], 1, sigma_w2=W2, sigma_b2=B2, norm=NORM, mode="circular", readout="average")
    assert_is(eigenvalues(statistics(net, n_samples=n_samples), "largest"), n_samples, value, error)


def test_kernel_of_one_and_of_two_random_images():
    net = mfdnn.cnn((4, 6), [64, 64], 1, sigma_w2=W2, sigma_b2=B2, norm=NORM, mode="circular", readout="average")
    fim = statistics(net, n_samples=8)
    one, error = eigenvalues(fim, "mean")
    two = (8 * fim.largest - one) / 7, (8 * fim.standard_error["largest"] + error) / 7
    assert_is((one, error), "at one", 30.85, 0.10)
    assert_is(two, "at two", 8.98, 0.02)


def mini(shape, channels, *, kind=NORM, n_outputs=1):
    """`resnet2d` with these normalisations."""
    one, phi = [Conv(channels, 3, W2, 0.05), kind], Pointwise("relu")
    layers = [*one, phi, Residual([*one, phi, *one]), phi, MaxPool(2), *one, phi]
    return mfdnn.Network(shape, [*layers, GlobalAveragePool(), Dense(n_outputs, W2, 0.05)])


def pooled():
    one, phi = Conv(128, 3, W2, 0.05), Pointwise("relu")
    return mfdnn.Network((3, 6, 6), [one, phi, MaxPool(2), one, phi, GlobalAveragePool(), Dense(1, W2, 0.05)])


def digits(n_samples, *shape):
    images = pytest.importorskip("sklearn.datasets").load_digits().data[:n_samples]
    return (images / np.sqrt(np.mean(images**2))).reshape(n_samples, *shape)


HIDDEN = (NORM, Pointwise("relu")), (GAINS, Pointwise("relu"))
ROWS = {  # network, inputs, largest and mean eigenvalue of one output with their errors
    "images, 64 channels": (lambda: mini((3, 6, 6), 64), (3, 8, 3, 6, 6), (13.78, 0.03), (84.9, 0.2)),
    "pooling without batch norm": (pooled, (3, 16, 3, 6, 6), (667.8, 1.8), None),
    "gains": (lambda: mlp(64, *HIDDEN[1], width=500), (5, 100, 64), (82.74, 0.06), None),
}
SLOW_ROWS = {
    "digits": (lambda: mlp(64, *HIDDEN[0], width=500), (digits, 100, 64), (83.50, 0.06), (569.9, 0.7)),
    "images, 256 channels": (lambda: mini((3, 6, 6), 256), (3, 8, 3, 6, 6), (52.1, 0.25), None),
    "images of digits": (lambda: mini((1, 8, 8), 64), (digits, 8, 1, 8, 8), (12.98, 0.02), None),
    "16 images of digits": (lambda: mini((1, 8, 8), 128), (digits, 16, 1, 8, 8), (23.80, 0.02), None),
    "images of digits, gains": (lambda: mini((1, 8, 8), 192, kind=GAINS), (digits, 8, 1, 8, 8), (37.70, 0.09), None),
}
each_row = [pytest.param(*row, id=name) for name, row in ROWS.items()]
each_row += [slow(*row, id=name) for name, row in SLOW_ROWS.items()]


@pytest.mark.filterwarnings("ignore:sampling units takes long")
@pytest.mark.parametrize(("make", "data", "largest", "mean"), each_row)
def test_networks_of_images_and_normalisations(make, data, largest, mean):
    draw, *shape = data
    X = digits(*shape) if draw is digits else gaussian(draw, *shape)
    fim = statistics(make(), inputs=X)
    assert_is(eigenvalues(fim, "largest"), "largest", *largest)
    if mean is not None:
        assert_is(eigenvalues(fim, "mean"), "mean", *mean)


# -- layers of one's own --------------------------------------------------------------------------------------


def test_a_layer_of_one_s_own_from_its_map_alone():
    net = mfdnn.Network((2, 6), [Conv(80, 3, W2, B2), InstanceNorm(), Pointwise("relu"), Flatten(), dense(2)])
    X = gaussian(0, 20, 2, 6)
    fim = mfdnn.fisher_statistics(net, inputs=X)
    assert 0 < fim.standard_error["largest"] < 0.01 * fim.largest
    table = mfdnn.compare(net, inputs=X, n_networks=20, rng=0)
    assert all(row.agrees is not False for row in table.rows)
    assert table.row("mean").agrees and table.row("outlier_mean").agrees


def test_layers_without_a_map_or_with_half_of_one():
    class Shuffled(Layer):  # mixes channels, without weights
        def forward(self, x, parameters, trace):
            return x[:, ::-1]

    class Valued(Layer):
        def unit(self, g):
            return g**3

    for layer, message in ((Shuffled(), "has no law of infinite width"), (Valued(), r"`unit_jvp`")):
        with pytest.raises(mfdnn.NoTheory, match=message):
            statistics(mlp(20, layer), n_samples=9)


# -- random numbers, threads, files ---------------------------------------------------------------------------


def test_the_same_numbers_for_any_number_of_threads(monkeypatch):
    net, X, found = mlp(20, NORM, Pointwise("relu")), gaussian(0, 9, 20), []
    for n_cores in (1, 3, 8):
        monkeypatch.setattr("mfdnn.mean_field.runs.n_cores", lambda n=n_cores: n)
        fim = statistics(net, inputs=X, n_units=64)
        found.append((fim.largest, fim.second_moment, fim.standard_error["largest"]))
    assert found[0] == found[1] == found[2]
    assert found[0][0] == mfdnn.fisher_statistics(mfdnn.MeanField(net, inputs=X, rng=0, n_units=64)).largest


def test_networks_that_differ_a_little_see_the_same_random_numbers():
    X = gaussian(0, 20, 64)

    def at(weight, seed):
        net = mfdnn.mlp([64, 100, 100, 1], "relu", sigma_w2=weight)
        layers = [of for layer in net.layers for of in ([layer] if layer.n_weight_layers else RELU_TWICE)]
        return statistics(mfdnn.Network(64, layers), seed, 128, inputs=X).largest

    pairs = np.array([[at(weight, seed) for weight in (2.0, 2.1)] for seed in range(6)])
    gaps = np.log(pairs[:, 1] / pairs[:, 0])
    assert len(np.unique(pairs[:, 0])) == 6
    assert np.std(gaps) < 0.05 * np.std(np.log(pairs[:, 0]))


def test_pickles():
    wide = mfdnn.MeanField(mlp(20, NORM, Pointwise("relu")), inputs=gaussian(0, 9, 20), rng=3, n_units=64)
    fim = mfdnn.fisher_statistics(wide)
    again = pickle.loads(pickle.dumps(wide))
    assert (again.n_units, mfdnn.fisher_statistics(again).largest) == (64, fim.largest)
    back = pickle.loads(pickle.dumps(fim))
    assert back.standard_error == fim.standard_error == back.to_dict()["standard_error"]
    errors = (of.order_parameters.standard_error["q"] for of in (fim, back))
    np.testing.assert_array_equal(*errors)
    assert statistics(wide.network, 4, 64, inputs=wide.inputs).largest != fim.largest


# -- what is refused ------------------------------------------------------------------------------------------


def test_few_values_a_channel_have_no_theory():
    phi = Pointwise("relu")
    for data in ({"inputs": gaussian(0, 5, 20)}, {"n_samples": 5}):
        with pytest.raises(mfdnn.NoTheory, match=r"`n_samples` must be 6 or more.*mean square of 1/variance is inf"):
            statistics(mlp(20, BatchNorm(), phi), **data)
        assert statistics(mlp(20, BatchNorm(eps=0.1), phi), **data).largest > 0
    assert statistics(mlp(20, BatchNorm(), phi), inputs=gaussian(0, 6, 20)).largest > 0
    net = mfdnn.cnn((3, 2), [20], 1, norm="batch_norm", mode="circular", readout="average")
    with pytest.raises(mfdnn.NoTheory, match="of 2 sites, got 2"):
        statistics(net, n_samples=2)
    assert statistics(net, n_samples=3).largest > 0


def test_too_few_units_and_too_little_memory(monkeypatch):
    net, X = mlp(20, BatchNorm(), Pointwise("relu")), gaussian(0, 9, 20)
    for n_units in (15, 0, 2.5, "many"):
        with pytest.raises((TypeError, ValueError), match="`n_units` must be an integer"):
            mfdnn.MeanField(net, inputs=X, n_units=n_units)
    assert statistics(net, inputs=X, n_units=16).standard_error["largest"] > 0
    images = mfdnn.resnet2d((1, 8, 8), 1, channels=8)
    monkeypatch.setattr("mfdnn._support.memory.available_memory", lambda: 2.0**25)
    with pytest.raises(MemoryError, match=r"would take .* are free; .*(exchangeable|fewer)"):
        statistics(images, inputs=gaussian(0, 16, 1, 8, 8), n_units=16)


# -- networks -------------------------------------------------------------------------------------------------


def pooled_and_normalised(gamma):
    layers = [Conv(48, 3, W2), BatchNorm(gamma), Pointwise("relu"), MaxPool(2)]
    return mfdnn.Network((1, 8, 8), [*layers, *layers, GlobalAveragePool(), Dense(2, W2, 0.05)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:sampling units takes long")
@pytest.mark.parametrize(
    "make", [pooled_and_normalised, lambda gamma: mini((1, 8, 8), 48, kind=BatchNorm(gamma), n_outputs=2)]
)
def test_networks_on_digits_agree_and_tell_a_wrong_theory(make):
    net, X = make(1.0), digits(12, 1, 8, 8)
    ens = mfdnn.ensemble(net, inputs=X, n_networks=40, rng=0)
    right = mfdnn.compare(net, ensemble=ens)
    assert all(row.agrees is not False for row in right.rows), right
    assert right.row("outlier_mean").agrees
    other = make(np.sqrt(1.05))  # variances behind every normalisation are off by 5 %
    wrong = mfdnn.compare(other, ensemble=replace(ens, network=other))
    assert wrong.row("q_hat[1]").agrees is False


DEPTHS = {"relu": RELU_TWICE, "tanh": [Pointwise("linear"), Pointwise("tanh")]}  # in closed form the last alone


@pytest.mark.slow
@pytest.mark.parametrize("n_layers", [2, 6, 20])
@pytest.mark.parametrize("name", DEPTHS)
def test_errors_at_depth(name, n_layers):
    """Those of single layers add, and nothing is biased by more than they tell."""
    sampled = DEPTHS[name]
    data = {"inputs": gaussian(0, 12, 30), "n_units": 256}
    expected = statistics(mlp(30, sampled[-1], width=200, depth=n_layers), **data)
    net = mlp(30, *sampled, width=200, depth=n_layers)
    found = [statistics(net, seed, **data) for seed in range(6)]
    for quantity in ("largest", "mean"):
        values = np.array([getattr(one, quantity) for one in found])
        stated = np.sqrt(np.mean([one.standard_error[quantity] ** 2 for one in found]))
        assert abs(values.mean() - getattr(expected, quantity)) < 4 * stated / np.sqrt(6)
        assert 0.3 * stated < np.std(values, ddof=1) < 2 * stated


def test_lines_of_the_figure(drawn):
    chains, blocks = drawn["normalised-images"].axes
    for norm, (of_chain, of_blocks) in enumerate(zip(lines(chains), lines(blocks), strict=True)):
        for n, value in zip(*of_chain, strict=True):
            fim = mfdnn.fisher_statistics(normalised_images.chain(int(n), bool(norm)), 16)
            assert value == pytest.approx(fim.largest, rel=1e-12 if fim.standard_error is None else 0.02)
        for n, value in zip(*of_blocks, strict=True):
            fim = mfdnn.fisher_statistics(normalised_images.residual(int(n), 8, bool(norm)), 16)
            assert value == pytest.approx(2 / fim.largest, rel=0.1)  # of some tens of units


def lines(ax):
    """Those of theory."""
    return [line.get_data() for line in ax.lines if line.get_linestyle() == "-" and line.get_marker() == "None"]


@pytest.mark.parametrize("c0", [-0.9, -0.2, [-0.9, 0.5]])
def test_inputs_of_negative_correlation(c0):
    """No more than 1 - 1/c0 of them exist, and fewer are drawn of a unit."""
    def net(*activations):
        return mfdnn.Network(40, [dense(100), *map(Pointwise, activations), dense(100), Pointwise("relu"), dense(1)])

    sampled = mfdnn.order_parameters(net("relu", "tanh"), c0=c0)
    exact = mfdnn.order_parameters(net(lambda u: np.tanh(np.maximum(u, 0))), c0=c0)
    for name in ("q", "c", "q_hat_st"):
        gap = np.abs(getattr(sampled, name) - getattr(exact, name))
        assert np.all(gap <= LIMIT * sampled.standard_error[name] + 1e-9), name
        assert np.all(gap < 4e-3), name


def test_three_inputs_of_negative_correlation_behind_a_maximum():
    """The variance of one input does not depend on what it shares with others."""
    net = mfdnn.Network((2, 4), [Conv(60, 3, W2, B2), Pointwise("relu"), MaxPool(2), Flatten(), dense(1)])
    assert_agree(statistics(net, n_samples=3, c0=-0.45), statistics(net, n_samples=3, c0=0.2), ["mean"])


def test_one_random_image_and_batch_norm():
    """Normalised over its sites."""
    net = mfdnn.Network((2, 12), [Conv(60, 3, W2, B2), GAINS, Pointwise("relu"), Flatten(), dense(1)])
    found = statistics(net, n_samples=1)
    assert found.largest == pytest.approx(found.n_parameters * found.mean)
    one = np.linalg.qr(gaussian(0, 12, 2))[0].T[None]
    given = statistics(net, inputs=one * np.sqrt(24 / np.sum(one**2)))
    assert given.largest == pytest.approx(found.largest, rel=0.2)


def square(u):
    return u * u


PATHS = {  # that share single units, and one that is the same without
    "identities": (Residual([Residual([dense(60)])]), Residual([dense(60)], skip=2.0)),
    "gates": (
        Gate([Gate([], [dense(60)], "sigmoid")], [], "linear"),
        Gate([Pointwise(square)], [dense(60)], "sigmoid"),
    ),
    "gains": (Residual([GAINS, Residual([dense(60)])], skip=0.0), [GAINS, Residual([dense(60)])]),
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("data", [{"inputs": gaussian(0, 12, 30)}, {"n_samples": 9, "c0": 0.3}])
def test_paths_that_share_units(name, data):
    """They are no independent ones."""
    both = []
    for between in PATHS[name]:
        layers = between if isinstance(between, list) else [between]
        net = mfdnn.Network(30, [dense(60), *layers, Pointwise("relu"), dense(60), Pointwise("relu"), dense(1)])
        both.append(statistics(net, **data, n_units=1024))
    assert_agree(*both)
    for one in both:
        assert one.n_parameters == both[0].n_parameters


def test_networks_whose_paths_share_units():
    skips = Residual([Pointwise("relu"), GAINS, Residual([dense(100), GAINS])], skip=0.5)
    layers = [dense(100), skips, Gate([], [Residual([dense(100)])], "tanh")]
    net = mfdnn.Network(30, [*layers, Pointwise("relu"), dense(1)])
    table = mfdnn.compare(net, inputs=gaussian(0, 12, 30), n_networks=30, rng=0)
    assert all(row.agrees is not False for row in table.rows), table
    assert table.row("mean").agrees


def test_errors_of_a_sample_behind_batch_norm_where_tangents_are_drawn():
    """They were centred over samples, which left nothing of them."""
    both = [mlp(30, GAINS, phi, width=60) for phi in (OwnRelu(), Pointwise("relu"))]
    drawn, exact = (mfdnn.order_parameters(net, inputs=gaussian(0, 12, 30)) for net in both)
    errors = np.hypot(drawn.standard_error["q_tilde"], exact.standard_error["q_tilde"])
    assert np.all(np.abs(drawn.q_tilde - exact.q_tilde) <= LIMIT * errors)
    assert np.all(errors < 0.03 * exact.q_tilde)


class Mapped(Layer):
    """A user's layer of these two maps."""

    def __init__(self, unit, unit_jvp):
        self.unit, self.unit_jvp = unit, unit_jvp

    @property
    def acts_on_units(self):
        return True


class InPlaceTanh(OwnTanh):
    def unit(self, g):
        return np.tanh(g, out=g)

    def unit_jvp(self, g, z):
        np.cosh(g, out=g)
        z /= g**2
        return z


def test_layers_that_overwrite_what_they_are_given():
    one, other = (statistics(mlp(20, layer), n_samples=9) for layer in (InPlaceTanh(), OwnTanh()))
    assert one.largest == pytest.approx(other.largest, rel=1e-12)


@pytest.mark.parametrize(
    ("unit", "unit_jvp", "message"),
    [
        (lambda g: g[:, :3], lambda g, z: z, "samples, got shape"),
        (lambda g: g.mean(), lambda g, z: z, r"got shape \(\)"),
        (lambda g: g, lambda g, z: z[:1], "samples, got shape"),
        (lambda g: g, lambda g, z: 1.0, r"got shape \(\)"),
        (lambda g: g, lambda g, z: np.stack([z, z], -1), "as many sites as `unit`, 1, got 2"),
        (lambda g: np.stack([g, g], -1), lambda g, z: np.stack([z, z], -1), "to 1 sites, as its .* got 2"),
    ],
)
def test_arrays_of_a_wrong_shape(unit, unit_jvp, message):
    with pytest.raises(ValueError, match=message):
        statistics(mlp(20, Mapped(unit, unit_jvp)), n_samples=9)


@pytest.mark.parametrize(
    "between",
    [[NORM, AveragePool(2), Pointwise("relu")], [Pointwise("relu"), AveragePool(2), NORM, Pointwise("relu")]],
    ids=["behind batch norm", "before it"],
)
def test_means_of_windows_of_sampled_units(between):
    """Tangents are drawn there; against the mean over networks, whose own share of the width is left."""
    c, X = 60, gaussian(3, 8, 3, 6, 6)
    behind = [Conv(c, 3, W2, B2), Pointwise("relu"), GlobalAveragePool(), Dense(1, W2, B2)]
    net = mfdnn.Network((3, 6, 6), [Conv(c, 3, W2, B2), *between, *behind])
    found = mfdnn.fisher_statistics(net, inputs=X)
    traces = [np.trace(mfdnn.empirical_ntk(mfdnn.sample(net, rng=seed), X)) / 8 for seed in range(20)]
    error = np.std(traces, ddof=1) / np.sqrt(20)
    theory, own = (of * net.n_parameters for of in (found.mean, found.standard_error["mean"]))
    assert own < 0.01 * theory
    assert abs(np.mean(traces) - theory) < 4 * np.hypot(error, own) + theory / c


@pytest.mark.parametrize("n_inputs", [30, 5000])  # fewer and more than units that are drawn
@pytest.mark.parametrize("gated", [False, True])
def test_channels_of_given_inputs_beside_units_that_are_drawn(n_inputs, gated):
    """An input plus a Gaussian, or times a function of one: against means over these channels, drawn apart."""
    X = gaussian(0, 6, n_inputs)
    block = Gate([], Dense(n_inputs, W2, B2), "tanh") if gated else Residual([Dense(n_inputs, W2, B2)])
    layers = [block, Pointwise("tanh"), Dense(1, W2, B2)]
    found = mfdnn.MeanField(mfdnn.Network(n_inputs, layers), inputs=X).order_parameters
    n_draws = 12000 // n_inputs + 40
    x, u = X.T, gaussian(1, n_draws, n_inputs, 6) @ np.linalg.cholesky(W2 * X @ X.T / n_inputs + B2).T
    h = np.tanh(x * np.tanh(u) if gated else x + u)
    draws = np.einsum("nci,ncj->nij", h, h) / n_inputs
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    own = found.standard_error["q_hat_st"][1]
    assert np.all(np.abs(draws.mean(axis=0) - found.q_hat_st[1]) < 5 * np.hypot(error, own))

"""Mean subtraction, batch norm, layer norm: finite networks exactly, theory against simulation and closed forms."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.kernels.parts import kernel
from mfdnn.layers.inverse_variance import inverse_moments, ratios

VARIANCES = {"tanh": (3.0, 0.64), "relu": (2.0, 0.1), "linear": (1.0, 0.1)}
Mean, Batch, LayerN = mfdnn.MeanSubtraction, mfdnn.BatchNorm, mfdnn.LayerNorm


def dense(units, act="tanh"):
    return mfdnn.Dense(units, *VARIANCES[act])


def phi(act="tanh"):
    return mfdnn.Pointwise(act)


def network(width, act, before=(), after=(), last=(), n_outputs=1):
    """Three weight layers; normalisations before and after each activation, and behind the last layer."""
    hidden = [x for _ in range(2) for x in (dense(width, act), *before, phi(act), *after)]
    return mfdnn.Network(width, [*hidden, dense(n_outputs, act), *last])


def error_of(theory, ens, name, correction=0.0):
    """Deviation of the mean over networks, less the stated relative correction, in standard errors."""
    gap = np.abs(ens.mean[name] - theory) - correction * np.abs(theory)
    return np.maximum(gap, 0) / ens.standard_error[name]


# -- finite width -----------------------------------------------------------------------------------------------

FINITE = {
    "everywhere": [
        Batch(),
        dense(6),
        Batch(1.2, 0.1),
        phi(),
        dense(5),
        phi("relu"),
        LayerN(0.8, 0.2, 0.1),
        dense(3),
    ],
    "after activations": [
        dense(6),
        phi(),
        Mean(),
        dense(6),
        phi(),
        Batch(affine=False),
        dense(3),
        Batch(eps=0.2),
    ],
    "residual": [dense(6), mfdnn.Residual([LayerN(), phi("gelu"), Batch(), dense(6)]), dense(3), Mean()],
    "layer norm last": [LayerN(affine=False), dense(6), phi(), dense(4), LayerN(-1.5)],
}


@pytest.mark.parametrize("name", FINITE)
def test_jacobian_products_are_differences_and_adjoint_and_make_the_dual(name):
    net, rng = mfdnn.Network(5, FINITE[name]), np.random.default_rng(0)
    one, X = mfdnn.sample(net, rng=0), gaussian_inputs(7, 5, rng=1)
    theta = one.flatten(one.parameters)
    v, u = rng.standard_normal(theta.size), rng.standard_normal((7, net.n_outputs))

    def outputs(at):
        return mfdnn.SampledNetwork(net, one.unflatten(at))(X)

    step = 1e-6  # truncation 1e-12 and rounding 1e-10 of central differences, times derivatives up to 100
    differences = (outputs(theta + step * v) - outputs(theta - step * v)) / (2 * step)
    np.testing.assert_allclose(one.jvp(X, v), differences, atol=1e-7)
    assert np.sum(u * one.jvp(X, v)) == pytest.approx(one.vjp(X, u) @ v, rel=1e-11)
    J = np.array([one.vjp(X, e.reshape(7, -1)) for e in np.eye(7 * net.n_outputs)])
    expected = np.linalg.eigvalsh(J @ J.T / 7)[::-1]
    found = mfdnn.fisher_spectrum(one, X).eigenvalues
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-11 * expected[0])


def test_single_precision_stays():
    net = mfdnn.Network(5, FINITE["everywhere"])
    one, X = mfdnn.sample(net, rng=0, dtype="float32"), gaussian_inputs(7, 5, rng=1)
    assert one(X).dtype == one.jvp(X, np.ones(net.n_parameters)).dtype == np.float32
    assert one.vjp(X, np.ones((7, 3))).dtype == np.float32


def test_statistics_are_those_of_the_batch_or_of_the_units():
    X = gaussian_inputs(9, 6, rng=0)
    for layer, axis in ((Batch(2.0, 0.5, affine=False), 0), (LayerN(2.0, 0.5, affine=False), 1)):
        y = layer.forward(X, iter([]), [])
        np.testing.assert_allclose(y.mean(axis=axis), 0.5, atol=1e-14)
        np.testing.assert_allclose(y.std(axis=axis), 2.0, rtol=1e-14)
    np.testing.assert_allclose(Mean().forward(X, iter([]), []).mean(axis=0), 0, atol=1e-15)


def test_projectors_of_the_last_layer_leave_t_minus_two_and_c_minus_two_eigenvalues():
    X = gaussian_inputs(8, 5, rng=1)
    for last, zeros in ((Mean(), 2), (Batch(affine=False), 4)):
        net = mfdnn.Network(5, [dense(20), phi(), dense(2), last])
        values = mfdnn.fisher_spectrum(mfdnn.sample(net, rng=0), X).eigenvalues
        assert np.sum(values > 1e-12 * values[0]) == 16 - zeros
    net = mfdnn.Network(5, [dense(20), phi(), dense(5), LayerN(affine=False)])
    values = mfdnn.fisher_spectrum(mfdnn.sample(net, rng=0), X).eigenvalues
    assert np.sum(values > 1e-12 * values[0]) == 8 * (5 - 2)


def test_gains_of_the_last_layer_add_two_eigenvalues_one():
    X = gaussian_inputs(8, 5, rng=1)
    spectra = []
    for affine in (False, True):
        net = mfdnn.Network(5, [dense(20), phi(), dense(1), Batch(affine=affine)])
        spectra.append(mfdnn.fisher_spectrum(mfdnn.sample(net, rng=0), X).eigenvalues)
    np.testing.assert_allclose(np.sort([*spectra[0][:6], 1, 1])[::-1], spectra[1], rtol=1e-10)


@pytest.mark.parametrize("layer", [Batch(1.0, 0.25), LayerN(1.0, 0.25)])
def test_constants_become_the_offset_and_pass_no_error(layer):
    net = mfdnn.Network(3, [mfdnn.Dense(4, 0.0, 1.0), layer, mfdnn.Dense(2)])
    one = mfdnn.sample(net, rng=0)
    one.parameters = [
        (np.zeros((4, 3)), np.full(4, 0.1)),
        *one.parameters[1:],
    ]  # 0.1 sums with rounding errors
    X = gaussian_inputs(7, 3, rng=0)
    np.testing.assert_array_equal(one.linearise(X)._trace[1][0], 0)
    assert np.all(np.isfinite(one.vjp(X, np.ones((7, 2)))))
    alike = mfdnn.Dense(4, 0.0, float(layer.couples_samples))  # samples, or units too
    op = mfdnn.order_parameters(mfdnn.Network(3, [alike, layer, mfdnn.Dense(2)]), n_samples=7)
    assert op.q_hat[1] == 0.25**2
    assert op.q_tilde[0] == 0


def test_bad_use_is_refused():
    X = np.ones((2, 5))
    one = mfdnn.sample(mfdnn.Network(5, [dense(4), Batch(), dense(1)]), rng=0)
    for n in (1, 2):
        with pytest.raises(ValueError, match=f"`n_samples` must be 3 or more for batch norm, got {n}"):
            one(X[:n])
    for n in (3, 5):
        with pytest.raises(mfdnn.NoTheory, match=f"must be 6 or more for the theory of batch norm, got {n}: of fewer"):
            mfdnn.fisher_statistics(one.network, n)
    with pytest.raises(ValueError, match="must be 2 or more for mean subtraction, got 1"):
        mfdnn.sample(mfdnn.Network(5, [dense(4), Mean()]), rng=0)(X[:1])
    with pytest.raises(ValueError, match="`LayerNorm` needs three units or more, got 2"):
        mfdnn.Network(5, [dense(2), LayerN()])
    with pytest.raises(ValueError, match="`eps` is a variance and must be >= 0"):
        Batch(eps=-1)
    with pytest.raises(ValueError, match="`gamma` must be finite"):
        LayerN(gamma=np.nan)
    with pytest.raises(ValueError, match="`BatchNorm` needs Gaussian units in theory"):
        mfdnn.order_parameters(network(9, "relu", after=[Batch()]))  # infinitely many samples
    with pytest.raises(ValueError, match="`net` may have one normalisation behind its last weight layer"):
        mfdnn.fisher_statistics(network(9, "relu", last=[Mean(), Batch()]), 9)
    with pytest.raises(ValueError, match="`q0` and `c0` must be numbers under layer norm"):
        mfdnn.fisher_statistics(network(9, "relu", last=[LayerN()], n_outputs=5), 9, [1.0, 2.0])
    with pytest.raises(mfdnn.NoTheory, match=r"`inputs` differ in 2 directions only .* needs 5"):
        mfdnn.order_parameters(one.network, inputs=np.eye(5)[[0, 0, 1, 2, 2, 0]])


def test_layers_describe_themselves():
    net = network(9, "relu", before=[Batch(0.5, 0.25, 1e-5, affine=False)], after=[LayerN()], last=[Mean()])
    assert repr(net) == "Network(9-9-9-1, batch norm, layer norm, mean subtraction, relu, L=3, P=226)"
    assert repr(net.layers[1]) == "BatchNorm(0.5, 0.25, eps=1e-05, affine=False)"


# -- infinite width ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True])
def test_tangent_kernels_are_products_of_order_parameters_where_samples_are_not_coupled(given):
    block = mfdnn.Residual([LayerN(1.5, 0.1), phi("relu"), dense(6)], skip=0.5)
    hidden = [dense(6), LayerN(affine=False), phi(), LayerN(0.7), dense(6), block, phi()]
    net = mfdnn.Network(5, [*hidden, mfdnn.Dense(2, 1.5, bias=False)])
    data = {"inputs": gaussian_inputs(4, 5, c0=0.3, rng=0)} if given else {"c0": 0.3}
    op = mfdnn.order_parameters(net, **data)
    fan_in = op.fan_in.reshape(-1, *[1] * (op.q_st.ndim - 1))
    bias = op.bias.reshape(fan_in.shape)
    found = kernel(op)
    # Errors sent back meet what entered; gains and offsets, of which no field tells, are a group of their own.
    gains = op._tangents[("others",)]
    two = (op.q_tilde_st * (fan_in * op.q_hat_st + bias)).sum(axis=0) + gains.at_two
    np.testing.assert_allclose(found.at_two, two, rtol=1e-13)
    if not given:
        one = (op.q_tilde * (op.fan_in * op.q_hat + op.bias)).sum(axis=0) + gains.at_one
        np.testing.assert_allclose(found.at_one, one, rtol=1e-13)


def test_batch_norm_has_the_moments_of_the_paper():
    # Karakida et al. 2019 at T -> infinity: q_hat = E phi(z)^2, q_hat_st = (E phi(z))^2; relu 1/2 and 1/(2 pi).
    op = mfdnn.order_parameters(network(9, "relu", before=[Batch()]))
    np.testing.assert_allclose(op.q_hat[1:], 1 / 2, rtol=1e-12)
    np.testing.assert_allclose(op.q_hat_st[1:], 1 / (2 * np.pi), rtol=1e-12)
    assert mfdnn.order_parameters(network(9, "tanh", before=[Batch()])).q_hat_st[1] == pytest.approx(
        0, abs=1e-15
    )
    op = mfdnn.order_parameters(network(9, "relu", before=[Mean()]))
    q = 2.1 - 0.1  # q - q_st of the first layer
    np.testing.assert_allclose([op.q_hat[1], op.q_hat_st[1]], [q / 2, q / (2 * np.pi)], rtol=1e-12)
    # T samples correlate by -1/(T - 1): for relu exact at any T (Yang et al. 2019, their Theorem 5).
    x = -1 / 7
    op = mfdnn.order_parameters(network(9, "relu", before=[Batch()]), n_samples=8)
    arc_cosine = (np.sqrt(1 - x**2) + (np.pi - np.arccos(x)) * x) / np.pi
    for name, expected in (("q_hat", 1 / 2), ("q_hat_st", arc_cosine / 2)):
        error = op.standard_error[name][1]
        assert error < 2e-3 * expected
        assert abs(getattr(op, name)[1] - expected) < 5 * error  # of eight runs: 1 in 640


def test_offsets_shift_the_activation():
    net = network(9, "relu", before=[Batch(1.2, 0.3)])
    rng = np.random.default_rng(0)
    y = np.maximum(1.2 * rng.standard_normal(10**6) + 0.3, 0)
    op = mfdnn.order_parameters(net)
    assert op.q_hat[1] == pytest.approx(np.mean(y**2), abs=4 * np.std(y**2) / 1e3)
    assert op.q_hat_st[1] == pytest.approx(y.mean() ** 2, abs=8 * y.mean() * np.std(y) / 1e3)


def test_ratios_of_squares():
    first, second = ratios(np.full(9, 2.0), 0.0)
    assert first == pytest.approx(1 / (2 * 7), rel=1e-9)  # E[1/chi^2_9] = 1/7
    np.testing.assert_allclose(second, 1 / 9, rtol=1e-9)
    values = np.array([3.0, 1.0, 0.5, 0.1])
    squares = values * np.random.default_rng(0).standard_normal((10**6, 4)) ** 2
    drawn = squares / (squares.sum(axis=1, keepdims=True) + 0.3)
    first, second = ratios(values, 0.3)
    np.testing.assert_allclose(second, drawn.mean(axis=0), atol=2e-3)  # four standard errors of at most 4e-4
    assert first * 0.3 + second.sum() == pytest.approx(1, rel=1e-9)


def test_inverse_moments_of_a_variance():
    first, second = inverse_moments(np.full(9, 2.0), 0.0)  # E[1/chi^2_9] = 1/7, E[1/chi^4_9] = 1/35
    assert (first, second) == pytest.approx((1 / 14, 1 / 140), rel=1e-9)
    assert inverse_moments(np.ones(4), 0.0) == (pytest.approx(1 / 2, rel=1e-9), np.inf)
    assert inverse_moments(np.ones(2), 0.0) == (np.inf, np.inf)
    values = np.array([3.0, 1.0, 0.5, 0.1])
    drawn = 1 / ((np.random.default_rng(0).standard_normal((10**5, 4)) ** 2) @ values + 0.3)
    for found, inverse in zip(inverse_moments(values, 0.3), (drawn, drawn**2), strict=True):
        assert abs(found - inverse.mean()) < 4 * inverse.std() / np.sqrt(10**5)


PLACES = {
    "mean subtraction before": {"before": [Mean()]},
    "mean subtraction after": {"after": [Mean()]},
    "batch norm before": {"before": [Batch(1.2, 0.1)]},
    "layer norm before": {"before": [LayerN(1.2, 0.1)]},
    "layer norm after": {"after": [LayerN()]},
}


@pytest.mark.parametrize("act", VARIANCES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("given", [False, True])
def test_hidden_layers_against_simulation(place, act, given):
    n = 30
    net = network(80, act, **PLACES[place])
    data = {"inputs": gaussian_inputs(n, 80, c0=0.3, rng=7)} if given else {"n_samples": n}
    fim = mfdnn.fisher_statistics(net, **data)
    ens = mfdnn.ensemble(net, n_networks=12, rng=0, **data)
    op = fim.order_parameters
    # 1/M for both; beyond second moments batch norm is O(1/T) from Gaussian.
    sampled = 1 / 80 + (1.5 / n if "batch" in place else 0)
    assert error_of(fim.mean, ens, "mean", 2 * sampled) < 4
    for name in ("q", "q_hat", "q_tilde"):
        # A second correction is that of errors through two normalisations, O(1/T).
        correction = 2 * sampled + (4 / n if name == "q_tilde" and net.couples_samples else 0)
        theory = op.averaged(name)
        gap = np.abs(ens.mean[name] - theory) - correction * theory
        assert np.all(gap <= 4 * ens.standard_error[name] + 1e-12), name


def test_batch_norm_in_hidden_layers_leaves_order_m():
    # MC of the notes to this package: lambda_max 33.5, last block 32.7 at M = 200, T = 60, relu, 1/(2 pi) for q_hat_st.
    net = network(200, "relu", before=[Batch(affine=False)])
    fim = mfdnn.fisher_statistics(net, 60)
    bound = 200 * (59 / 60 / (2 * np.pi) + 1 / 2 / 60)
    assert bound == pytest.approx(32.97, abs=0.01)
    assert fim.layers[-1].largest == pytest.approx(bound, rel=0.02)  # correlations -1/(T - 1)
    ens = mfdnn.ensemble(net, 60, 4, rng=0)
    assert fim.layers[-1].largest * 0.98 < ens.mean["lambda_max"] < 1.05 * fim.largest
    assert fim.caution == ""
    twice = mfdnn.fisher_statistics(network(400, "relu", before=[Batch(affine=False)]), 60)
    assert twice.largest / fim.largest == pytest.approx(2, rel=0.05)
    odd = mfdnn.fisher_statistics(network(200, "tanh", before=[Batch()]), 60)  # nothing stands out
    assert "No eigenvalue stands out" in odd.caution


# -- means over samples at several sites --------------------------------------------------------------------------


def images(readout, mode="zeros", channels=96):
    conv = lambda: mfdnn.Conv(channels, 3, 1.6, 0.1, mode=mode)  # noqa: E731
    behind = [mfdnn.Pointwise("tanh"), readout(), mfdnn.Dense(2, 1.5)]
    return mfdnn.Network((2, 5), [conv(), mfdnn.MeanSubtraction(), mfdnn.Pointwise("tanh"), conv(), *behind])


@pytest.mark.parametrize("readout", [mfdnn.Flatten, mfdnn.GlobalAveragePool])
def test_mean_subtraction_at_sites_against_sampled_networks(readout):
    X = np.random.default_rng(0).standard_normal((8, 2, 5)) + 0.4
    table = mfdnn.compare(images(readout), n_networks=40, inputs=X, rng=0)
    assert not [row for row in table.rows if row.agrees is False]
    left_out = [layer for layer in images(readout).layers if not isinstance(layer, mfdnn.MeanSubtraction)]
    plain = mfdnn.fisher_statistics(mfdnn.Network((2, 5), left_out), inputs=X)
    assert mfdnn.fisher_statistics(images(readout), inputs=X).largest < 0.9 * plain.largest


def test_mean_subtraction_on_a_ring_needs_no_more_than_offsets():
    """Random inputs on a ring, by offsets, against sampled networks."""
    ring = images(mfdnn.GlobalAveragePool, "circular")
    for q0, c0 in ((1.0, 0.0), (0.7, 0.3)):
        found = mfdnn.fisher_statistics(ring, n_samples=6, q0=q0, c0=c0)
        one = mfdnn.ensemble(ring, 6, 40, q0=q0, c0=c0, rng=1)
        assert one.mean["mean"] == pytest.approx(
            found.mean, abs=4 * one.standard_error["mean"] + 0.02 * found.mean
        )


def test_mean_subtraction_at_sites_is_its_own_adjoint():
    one = mfdnn.sample(images(mfdnn.Flatten, channels=6), rng=0)
    rng = np.random.default_rng(2)
    X, u, v = rng.standard_normal((4, 2, 5)), rng.standard_normal((4, 2)), rng.standard_normal(one.n_parameters)
    assert np.sum(u * one.jvp(X, v)) == pytest.approx(one.vjp(X, u) @ v, rel=1e-12)
    x = rng.standard_normal((3, 4, 2, 5))  # leading axis
    layer, trace = mfdnn.MeanSubtraction(), []
    layer.forward(x[0], iter(()), trace)
    np.testing.assert_allclose(layer.backward(x, iter(()), iter(trace), []), x - x.mean(axis=1, keepdims=True))

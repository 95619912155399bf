"""Mean subtraction, batch norm, layer norm: finite networks exactly, theory against simulation and closed forms."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.fisher import cross_entropy
from mfdnn.fisher.kernel import kernel
from mfdnn.fisher.normalised import layer_norm_traces, summation
from mfdnn.layers.normalization import _ratios, inverse_moments

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
    with pytest.raises(ValueError, match="must be 4 or more for the theory of batch norm, got 3"):
        mfdnn.fisher_statistics(one.network, 3)
    with pytest.raises(ValueError, match="must be 2 or more for mean subtraction, got 1"):
        mfdnn.sample(mfdnn.Network(5, [dense(4), Mean()]), rng=0)(X[:1])
    with pytest.raises(ValueError, match="`LayerNorm` needs three units or more, got 2"):
        mfdnn.Network(5, [dense(2), LayerN()])
    with pytest.raises(ValueError, match="`eps` is a variance and must be >= 0"):
        Batch(eps=-1)
    with pytest.raises(ValueError, match="`gamma` must be finite"):
        LayerN(gamma=np.nan)
    with pytest.raises(ValueError, match="`BatchNorm` needs Gaussian units in theory"):
        mfdnn.order_parameters(network(9, "relu", after=[Batch()]))
    with pytest.raises(ValueError, match="`net` may have one normalisation behind its last weight layer"):
        mfdnn.fisher_statistics(network(9, "relu", last=[Mean(), Batch()]), 9)
    with pytest.raises(ValueError, match="`q0` and `c0` must be numbers under layer norm"):
        mfdnn.fisher_statistics(network(9, "relu", last=[LayerN()], n_outputs=5), 9, [1.0, 2.0])
    with pytest.raises(ValueError, match="`inputs` differ in 2 directions only"):
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
    trace, kernels = [], []
    q = np.diagonal(data["inputs"] @ data["inputs"].T / 5) if given else np.ones(())
    k = data["inputs"] @ data["inputs"].T / 5 if given else np.array(0.3)
    mean = data["inputs"].mean(axis=1) if given else np.zeros(())
    state = mfdnn.layers.State(q, k, mean, 5, gaussian=False)
    for layer in net.layers:
        state = layer.propagate_state(state, trace)
    records = iter(trace)
    for layer in net.layers:
        kernels = layer.propagate_tangents(kernels, records)
    one, two = kernel(op, None)
    np.testing.assert_allclose(sum(t.one for t in kernels), one, rtol=1e-13)
    np.testing.assert_allclose(sum(t.two for t in kernels), two, rtol=1e-13)


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
    np.testing.assert_allclose([op.q_hat[1], op.q_hat_st[1]], [1 / 2, arc_cosine / 2], rtol=1e-10)


def test_offsets_shift_the_activation():
    net = network(9, "relu", before=[Batch(1.2, 0.3)])
    rng = np.random.default_rng(0)
    y = np.maximum(1.2 * rng.standard_normal(10**6) + 0.3, 0)
    op = mfdnn.order_parameters(net)
    assert op.q_hat[1] == pytest.approx(np.mean(y**2), abs=4 * np.std(y**2) / 1e3)
    assert op.q_hat_st[1] == pytest.approx(y.mean() ** 2, abs=8 * y.mean() * np.std(y) / 1e3)


def test_ratios_of_squares():
    first, second = _ratios(np.full(9, 2.0), 0.0)
    assert first == pytest.approx(1 / (2 * 7), rel=1e-9)  # E[1/chi^2_9] = 1/7
    np.testing.assert_allclose(second, 1 / 9, rtol=1e-9)
    values = np.array([3.0, 1.0, 0.5, 0.1])
    squares = values * np.random.default_rng(0).standard_normal((10**6, 4)) ** 2
    drawn = squares / (squares.sum(axis=1, keepdims=True) + 0.3)
    first, second = _ratios(values, 0.3)
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


def test_batch_norm_of_given_outputs_hardly_depends_on_the_draws(monkeypatch):
    X = gaussian_inputs(30, 20, c0=0.3, rng=4) * np.arange(20, 0, -1) / 12
    net = network(20, "relu", last=[Batch()])
    found = mfdnn.fisher_statistics(net, inputs=X)
    draws = cross_entropy.mean_field_logits
    monkeypatch.setattr(
        cross_entropy, "mean_field_logits", lambda *args, rng, **more: draws(*args, rng=rng + 1, **more)
    )
    other = mfdnn.fisher_statistics(net, inputs=X)
    # Without the known means of 1/sigma^2 and its square 8, 7 and 17 %.
    assert other.mean == pytest.approx(found.mean, rel=0.015)
    assert other.largest == pytest.approx(found.largest, rel=0.05)
    assert other.second_moment == pytest.approx(found.second_moment, rel=0.05)


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


# -- the last layer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "lower", "upper"), [("tanh", 1.674, 23.7), ("relu", 2.347, 33.2), ("linear", 3.0, 42.4)]
)
def test_mean_subtraction_has_the_bounds_of_the_paper(act, lower, upper):
    net = network(200, act, last=[Mean()])
    fim = mfdnn.fisher_statistics(net, 200)
    known = fim.output_normalisation
    assert known.lower() == pytest.approx(lower, abs=5e-4)
    assert known.upper() == pytest.approx(upper, abs=0.05)
    assert known.lower(4.2) == pytest.approx(lower + 4.2, abs=5e-4)
    assert known.upper(1.3) == pytest.approx(np.sqrt(upper**2 + 1.3 * 200), abs=0.05)
    assert fim.kappa_1 == pytest.approx(mfdnn.fisher_statistics(network(200, act), 200).kappa_1)
    assert known.lower() < fim.largest < known.upper()
    assert fim.largest == known.edge.largest
    assert fim.n_outliers == 0
    plain = mfdnn.max_learning_rate(network(200, act), 200)
    rate = mfdnn.max_learning_rate(net, 200)
    assert float(rate) == pytest.approx(2 / fim.largest)
    assert float(rate) > 3.5 * float(plain)
    # (1 - 1/T)(kappa_1 - kappa_2) C/M.
    assert fim.mean_leading == pytest.approx((1 - 1 / 200) * (fim.kappa_1 - fim.kappa_2) / 200, rel=1e-12)


@pytest.mark.parametrize("act", VARIANCES)
@pytest.mark.parametrize("last", [Mean(), Batch(affine=False), Batch(1.5, eps=0.5)])
def test_last_layer_against_simulation(act, last):
    net = network(80, act, last=[last], n_outputs=2)
    X = gaussian_inputs(40, 80, c0=0.3, rng=3)
    for data in ({"n_samples": 40}, {"inputs": X}):
        as_array = {} if "inputs" in data else {"q0": [1.0]}  # without the sharp edge, which takes seconds
        fim, ens = (
            mfdnn.fisher_statistics(net, **data, **as_array),
            mfdnn.ensemble(net, n_networks=12, rng=0, **data),
        )
        # 1/M, and for variances of the outputs 2/T and 2/M.
        assert (
            error_of(fim.mean, ens, "mean", 2 / 80 + (0 if last.kind == "mean subtraction" else 2 / 80)) < 4
        )


@pytest.mark.parametrize(
    ("act", "last"), [("tanh", Mean()), ("relu", Mean()), ("linear", Batch(affine=False))]
)
def test_the_edge_of_many_samples_against_simulation(act, last):
    net = network(100, act, last=[last])
    fim, ens = mfdnn.fisher_statistics(net, 100), mfdnn.ensemble(net, 100, 16, rng=0)
    # The law holds within 5 %; one network scatters by 3 to 12 % at M = 400.
    assert error_of(fim.largest, ens, "lambda_max", 0.05) < 3
    assert fim.largest > 2 * fim.output_normalisation.lower()
    assert ens.mean["lambda_max"] < fim.output_normalisation.upper()


def test_softmax_behind_a_normalisation_is_refused():
    fim = mfdnn.fisher_statistics(network(20, "relu", last=[LayerN()], n_outputs=6), 10)
    with pytest.raises(ValueError, match="`fim` must be of linear outputs, got layer norm behind them"):
        cross_entropy.softmax_statistics(fim)


def test_few_samples_are_degenerate_and_batch_norm_larger_by_t_over_t_minus_three():
    for last, factor in ((Mean(), 1.0), (Batch(affine=False), 5 / 2)):
        net = network(300, "tanh", last=[last])
        fim = mfdnn.fisher_statistics(net, 5)
        known = fim.output_normalisation
        np.testing.assert_allclose(
            known.degenerate, 300 * 2 * known.scale * (0.95552190 - 0.11861537) / 5, rtol=1e-7
        )
        # Width 300: the refined value has the biases' share in it.
        assert fim.bulk * 5 == pytest.approx(
            factor * 5 * known.degenerate * (1 - (1 if factor == 1 else 2) / 5), rel=0.01
        )
        ens = mfdnn.ensemble(net, 5, 30, rng=0)
        assert error_of(fim.mean, ens, "mean", 2 / 300) < 4
    assert fim.output_normalisation.edge is None
    assert "no eigenvalue stands out" in fim.caution


def test_batch_norm_divides_by_what_outputs_do_not_share():
    plain, fim = (mfdnn.fisher_statistics(network(200, "relu", last=last), 200) for last in ([], [Batch()]))
    own = plain.order_parameters.q[-1] - plain.order_parameters.q_st[-1]
    assert own == pytest.approx(1.041, abs=5e-4)
    assert fim.kappa_1 == pytest.approx(plain.kappa_1 / own)
    assert fim.output_normalisation.scale == pytest.approx(1 / own)
    edge = fim.output_normalisation.edge
    assert fim.largest == pytest.approx(edge.finite / own)
    # (T - 2)/T (kappa_1' - kappa_2')/M, with E[1/sigma^2] larger by T/(T - 3).
    assert fim.mean_leading == pytest.approx((198 / 197) * (fim.kappa_1 - fim.kappa_2) / 200, rel=1e-10)
    several = mfdnn.fisher_statistics(network(300, "relu", last=[Batch()], n_outputs=3), 300)
    assert "smallest variance" in several.caution


def test_other_networks_keep_the_leading_value_and_say_so():
    net = network(100, "relu", before=[Batch()], last=[Mean()])
    fim = mfdnn.fisher_statistics(net, 100)
    assert fim.output_normalisation.edge is None
    assert "several times larger" in fim.caution
    arrays = mfdnn.fisher_statistics(network(100, "relu", last=[Mean()]), 100, [1.0, 2.0])
    assert arrays.largest.shape == (2,)
    assert arrays.to_dict()["output_normalisation"]["lower"] == list(arrays.output_normalisation.lower())


def test_layer_norm_of_outputs_is_not_alleviated():
    net = network(150, "relu", last=[LayerN(affine=False)], n_outputs=8)
    fim = mfdnn.fisher_statistics(net, 20)
    plain = mfdnn.fisher_statistics(network(150, "relu", n_outputs=8), 20)
    q = plain.order_parameters.q[-1]
    # (C - 2) E[1/sigma^2] kappa_1/M with E[1/sigma^2] = C/((C - 3) q).
    assert fim.mean / plain.mean == pytest.approx(6 / 8 * 8 / 5 / q, rel=1e-12)
    assert fim.kappa_1 == plain.kappa_1
    assert (fim.n_outliers, fim.normalised_by, fim.caution) == (7, "layer norm", "")
    few = mfdnn.fisher_statistics(network(20, "relu", last=[LayerN()], n_outputs=3), 10)
    assert "1/sigma^2 has no variance" in few.caution
    ens = mfdnn.ensemble(net, 20, 16, rng=0)
    assert error_of(fim.mean, ens, "mean", 2 / 150) < 4
    # Outliers split by O(sqrt(M)): the largest is above the limit, by up to a half at this width.
    assert 0.8 * fim.largest < ens.mean["lambda_max"] < 1.6 * fim.largest
    wider = mfdnn.fisher_statistics(network(300, "relu", last=[LayerN(affine=False)], n_outputs=8), 20)
    assert wider.largest / fim.largest == pytest.approx(2, rel=0.03)  # order M


@pytest.mark.parametrize(("n_outputs", "eps"), [(3, 0.1), (6, 0.0), (10, 0.5), (400, 0.0)])
def test_layer_norm_has_the_means_of_drawn_outputs(n_outputs, eps):
    q, last = 2.0, LayerN(1.5, eps=eps)
    trace, square = layer_norm_traces(last, [0.0, q], n_outputs).T[1]
    variance = q * np.random.default_rng(0).chisquare(n_outputs - 1, 200_000) / n_outputs
    gain, lost = 1.5**2 / (variance + eps), 1 - (eps / (variance + eps)) ** 2
    drawn = gain * (n_outputs - 1 - lost)
    assert abs(trace - drawn.mean()) < 4 * drawn.std() / np.sqrt(len(drawn))
    if eps == 0:
        c = n_outputs
        assert trace == pytest.approx(1.5**2 * (c - 2) * c / ((c - 3) * q), rel=1e-12)
        assert square == pytest.approx(1.5**4 * (c - 2) * c**2 / ((c - 3) * (c - 5) * q**2), rel=1e-12)
    else:
        drawn = gain**2 * (n_outputs - 2 + (1 - lost) ** 2)
        assert abs(square - drawn.mean()) < 4 * drawn.std() / np.sqrt(len(drawn))


def test_layer_norm_of_outputs_is_continuous_in_eps_and_hardly_depends_on_the_draws(monkeypatch):
    """What inputs share in the outputs moves all gains of a draw together."""
    net = network(60, "relu", last=[LayerN()], n_outputs=10)
    near = network(60, "relu", last=[LayerN(eps=1e-9)], n_outputs=10)
    found = mfdnn.fisher_statistics(net, 30)
    for name in ("mean", "second_moment", "largest"):
        # 1/(sigma^2 + eps) moves by some eps/sigma^2
        assert getattr(mfdnn.fisher_statistics(near, 30), name) == pytest.approx(
            getattr(found, name), rel=1e-7
        )
    draws = cross_entropy.mean_field_logits
    monkeypatch.setattr(
        cross_entropy, "mean_field_logits", lambda *args, rng, **more: draws(*args, rng=rng + 1, **more)
    )
    other = mfdnn.fisher_statistics(net, 30)
    assert other.mean == found.mean
    assert other.largest == pytest.approx(found.largest, rel=0.02)  # without known means 7 %
    assert other.second_moment == pytest.approx(found.second_moment, rel=0.15)  # without 15 %, each


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("eps", [0.0, 0.4])
@pytest.mark.parametrize("kind", [Batch, LayerN])
def test_drawn_outputs_against_dense_matrices(kind, eps, given):
    last = kind(1.3, eps=eps, affine=False)
    net = network(20, "relu", last=[last], n_outputs=4)
    data = {"inputs": gaussian_inputs(6, 20, c0=0.3, rng=0)} if given else {"n_samples": 6}
    op, body = (
        mfdnn.order_parameters(net, **data),
        mfdnn.order_parameters(network(20, "relu", n_outputs=4), **data),
    )
    if kind is Batch and not given:
        return  # in closed form
    drawn = summation(last, op, body, 6)
    found, (one, two) = drawn(None), kernel(body, None)
    theta = two if given else (one - two) * np.eye(6) + two
    dual = np.kron(theta, np.eye(4)) / 6
    traces, squares, tops = [], [], []
    for i in range(len(drawn.z)):
        R = np.array([drawn._apply(i, e.reshape(6, 4)).ravel() for e in np.eye(24)])
        np.testing.assert_allclose(R, R.T, atol=1e-12)
        values = np.linalg.eigvalsh(R @ dual @ R)
        traces.append(values.sum()), squares.append(values @ values), tops.append(values[-1])
    first, second = drawn._known_gains() if kind is Batch else (1.0, 1.0)
    analytic = kind is LayerN  # where 32 draws are worse
    assert 4 * found.diagonal == pytest.approx(first * np.mean(traces), rel=0.5 if analytic else 1e-10)
    assert 4 * found.square == pytest.approx(second * np.mean(squares), rel=1e-10)
    assert found.top == pytest.approx(first * np.mean(tops), rel=1e-8)

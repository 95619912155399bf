"""Softmax outputs: the matrix Q and its averages, statistics of the Fisher information, simulation, bad use."""

import json

import numpy as np
import pytest

from mfdnn.architectures import mlp
from mfdnn.datasets import gaussian_inputs
from mfdnn.fisher import cross_entropy, fisher_statistics
from mfdnn.fisher.cross_entropy import mean_field_logits, softmax_statistics
from mfdnn.losses.probabilities import SoftmaxRoot, softmax, softmax_coefficients
from mfdnn.mean_field import order_parameters
from mfdnn.sampled import SampledNetwork, fisher_spectrum, sample

SETTINGS = [("tanh", 3.0, 0.64), ("relu", 2.0, 0.1), ("linear", 1.0, 0.1)]


def logits(n_samples, n_outputs, common=1.0, own=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return common * rng.standard_normal(n_outputs) + own * rng.standard_normal((n_samples, n_outputs))


def q_matrices(f):
    p = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
    return np.array([np.diag(row) - np.outer(row, row) for row in p])


def jacobian(one, x):
    """J (T, C, P), row by row from the vector-Jacobian product."""
    linear = one.linearise(x)
    shape = linear.outputs.shape
    units = np.eye(shape[0] * shape[1]).reshape(-1, *shape)
    return np.array([linear.vjp(u) for u in units]).reshape(*shape, -1), linear.outputs


def dual(one, x):
    """J J^T (T C, T C), rows in the order (t, k), from activations and errors; and the outputs."""
    layers = one.activity(x)
    total = sum(
        np.einsum("ktn,jsn->tksj", a.delta, a.delta, optimize=True) * (a.h @ a.h.T + 1)[:, None, :, None]
        for a in layers
    )
    return total.reshape(total.shape[0] * total.shape[1], -1), layers[-1].u


def softmax_eigenvalues(one, x):
    """Those of F_cross, descending, and the outputs."""
    matrix, f = dual(one, x)
    root = SoftmaxRoot(f)
    half = root.apply(matrix.reshape(-1, *f.shape)).reshape(matrix.shape)
    return np.linalg.eigvalsh(root.apply(half.T.reshape(-1, *f.shape)).reshape(matrix.shape) / len(f))[
        ::-1
    ], f


def explicit(theta, f):
    """R (Theta x I_C) R^T / T written out, rows in the order (t, k)."""
    n_samples = len(f)
    p = softmax(f)
    roots = [np.diag(np.sqrt(row)) - np.outer(np.sqrt(row), row) for row in p]
    blocks = [[theta[s, t] * roots[s] @ roots[t].T for t in range(n_samples)] for s in range(n_samples)]
    return np.block(blocks) / n_samples


def exchangeable_kernel(fim):
    """Theta with A_1 on its diagonal and A_2 elsewhere, from the order parameters of a fully connected network."""
    op = fim.order_parameters
    one = np.sum(op.q_tilde * (op.fan_in * op.q_hat + 1))
    two = np.sum(op.q_tilde_st * (op.fan_in * op.q_hat_st + 1))
    return (one - two) * np.eye(fim.n_samples) + two


# -- the matrix Q --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
def test_root_is_a_root_of_q(scale):
    f = scale * logits(4, 3)
    root, q = SoftmaxRoot(f), q_matrices(f)
    v, w = np.random.default_rng(1).standard_normal((2, 5, 4, 3))
    np.testing.assert_allclose(root.transpose(root.apply(v)), np.einsum("tij,btj->bti", q, v), atol=1e-15)
    np.testing.assert_allclose(np.sum(w * root.apply(v)), np.sum(root.transpose(w) * v), atol=1e-13)
    np.testing.assert_allclose(root.p.sum(axis=1), 1.0, rtol=1e-15)


def test_root_of_nearly_certain_outputs_keeps_its_digits():
    """Q of two classes is p (1 - p) [[1, -1], [-1, 1]], with p (1 - p) = 1/(4 cosh^2(x/2)), x the difference."""
    for difference in (1.0, 40.0, 200.0):
        root = SoftmaxRoot([[difference, 0.0], [0.0, difference]])
        expected = np.array([1.0, -1.0]) / (4 * np.cosh(difference / 2) ** 2)
        found = root.transpose(root.apply(np.array([[1.0, 0.0], [1.0, 0.0]])))
        np.testing.assert_allclose(found, [expected, expected], rtol=1e-14)
        one = SampledNetwork(mlp([1, 2]), [(np.array([[difference], [0.0]]), np.zeros(2))])
        for k in (None, 1):
            largest = fisher_spectrum(one, np.ones((1, 1)), k=k, output="softmax").largest
            assert largest == pytest.approx(4 * expected[0], rel=1e-13)


def test_columns_go_output_by_output():
    root = SoftmaxRoot(logits(4, 3))
    matrix = np.zeros((12, 12))
    for t, row in enumerate(root.p):
        matrix[t::4, t::4] = np.diag(np.sqrt(row)) - np.outer(np.sqrt(row), row)
    V = np.random.default_rng(1).standard_normal((12, 5))
    np.testing.assert_allclose(root.columns(V), matrix @ V, atol=1e-14)
    np.testing.assert_allclose(root.columns(V, transpose=True), matrix.T @ V, atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (9, 4), (4, 9)])
def test_coefficients_are_their_definitions(shape):
    f = logits(*shape)
    q, found = q_matrices(f), softmax_coefficients(f)
    pairs = [np.sum(q[s] * q[t]) for s in range(len(q)) for t in range(len(q)) if s != t]
    assert found.beta_1 == pytest.approx(np.mean([np.trace(a) for a in q]), rel=1e-13)
    assert found.beta_2 == pytest.approx(np.mean(pairs) if pairs else 0.0, rel=1e-12)
    assert found.beta_3 == pytest.approx(np.mean([np.sum(a * a) for a in q]), rel=1e-12)
    assert found.beta_4 == pytest.approx(max(np.mean(q[:, k, k]) for k in range(shape[1])), rel=1e-13)
    assert (found.n_samples, found.n_outputs) == shape


def test_coefficients_of_uniform_and_of_certain_outputs():
    c = 7
    uniform = softmax_coefficients(np.zeros((5, c)))  # Q = (I - 11^T / C) / C
    expected = [1 - 1 / c, (c - 1) / c**2, (c - 1) / c**2, (c - 1) / c**2]
    np.testing.assert_allclose([getattr(uniform, f"beta_{i}") for i in range(1, 5)], expected, rtol=1e-13)
    certain = softmax_coefficients(1000 * np.eye(c))  # Q = 0
    np.testing.assert_allclose([getattr(certain, f"beta_{i}") for i in range(1, 5)], 0.0, atol=1e-15)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(3), r"matrix \(T samples, C outputs\)"),
        (np.zeros((4, 1)), "two outputs or more, got 1"),
        ([[0.0, np.inf]], "`logits` must be finite"),
        (np.zeros((0, 3)), "matrix"),
    ],
)
def test_bad_logits(bad, message):
    with pytest.raises(ValueError, match=message):
        softmax_coefficients(bad)


# -- theory against the matrix it is the theory of --------------------------------------------------------


@pytest.mark.parametrize("dense_up_to", [512, 0], ids=["dense", "iterative"])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("own", [0.0, 0.7, 2.0])
def test_statistics_are_those_of_the_kernel(given, own, dense_up_to, monkeypatch):
    monkeypatch.setattr(cross_entropy, "DENSE_UP_TO", dense_up_to)
    n_samples, n_outputs = 30, 5
    net = mlp([40, 60, 50, n_outputs], "relu", 2.0, 0.1)
    fim = fisher_statistics(
        net, **({"inputs": gaussian_inputs(30, 40, 1.0, 0.3, rng=0)} if given else {"n_samples": 30})
    )
    f = logits(n_samples, n_outputs, own=own)
    stats = softmax_statistics(fim, logits=f)
    if given:
        op = fim.order_parameters
        theta = sum(op.q_tilde_st[l] * (op.fan_in[l] * op.q_hat_st[l] + 1) for l in range(3))
    else:
        theta = exchangeable_kernel(fim)
    values = np.linalg.eigvalsh(explicit(theta, f))[::-1]
    assert stats.mean * fim.n_parameters == pytest.approx(values.sum(), rel=1e-12)
    assert stats.second_moment * fim.n_parameters == pytest.approx(values @ values, rel=1e-12)
    assert stats.outliers.shape == (n_outputs - 1,)
    rtol = 1e-12 if dense_up_to else 2e-3  # the iterations stop, the interpolation is good, to 1e-3
    np.testing.assert_allclose(stats.outliers, values[: n_outputs - 1], rtol=rtol)
    assert stats.largest == stats.outliers[0]
    assert stats.lower * (1 - rtol) <= stats.largest <= stats.upper * (1 + rtol)
    assert stats.largest <= stats.largest_any_softmax
    assert stats.upper == pytest.approx(np.sqrt(values @ values), rel=1e-12)
    assert stats.spread == {} and stats.n_draws == 1
    json.dumps(stats.to_dict())


def test_below_the_bulk_its_edge_stands_for_an_outlier(monkeypatch):
    monkeypatch.setattr(cross_entropy, "DENSE_UP_TO", 0)
    f = logits(40, 4, own=2.0)
    fim = fisher_statistics(mlp([5000, 5000, 5000, 4], "tanh", 1.2, 0.0), n_samples=40)
    assert fim.centred  # what is left is (A_1 / T) Q(t), whose eigenvalues are the bulk, and the biases
    bulk = exchangeable_kernel(fim)[0, 0] / 40 * np.linalg.eigvalsh(q_matrices(f)).max()
    np.testing.assert_allclose(softmax_statistics(fim, logits=f).outliers, bulk, rtol=0.02)


def test_outliers_tend_to_their_limit_as_samples_are_added():
    net = mlp([300, 300, 300, 6], "relu", 2.0, 0.1)
    gaps = []
    for n_samples in (100, 1000, 10_000):
        f = np.tile(logits(50, 6), (n_samples // 50, 1))
        stats = softmax_statistics(fisher_statistics(net, n_samples=n_samples), logits=f)
        gaps.append(np.max(stats.outliers / stats.limit - 1))
    np.testing.assert_allclose(np.array(gaps[:-1]) / gaps[1:], 10.0, rtol=0.1)  # O(1/T)


def test_mean_field_logits_have_the_covariance_of_the_outputs():
    """Entries of a sample covariance of n numbers have a standard error of about sqrt(2/n) of the variance."""
    n = 20_000
    op = order_parameters(mlp([50, 50, 3], "tanh", 1.5, 0.0), 1.0, -0.2)
    assert op.q_st[-1] < 0
    found = mean_field_logits(op, 4, 3, n, rng=0).transpose(1, 0, 2).reshape(4, -1)
    expected = (op.q - op.q_st)[-1] * np.eye(4) + op.q_st[-1]
    np.testing.assert_allclose(found @ found.T / (3 * n), expected, atol=4 * op.q[-1] * np.sqrt(2 / (3 * n)))
    x = gaussian_inputs(3, 50, rng=1)
    op = order_parameters(mlp([50, 50, 3], "relu", 2.0, 0.1), inputs=x[[0, 1, 2, 0]])  # one input twice
    found = mean_field_logits(op, 4, 3, n, rng=0).transpose(1, 0, 2).reshape(4, -1)
    scale = 4 * op.q[-1].max() * np.sqrt(2 / (3 * n))
    np.testing.assert_allclose(found @ found.T / (3 * n), op.q_st[-1], atol=scale)
    np.testing.assert_allclose(found[0], found[3], atol=1e-6 * np.sqrt(op.q[-1].max()))


def test_drawn_logits_are_reproducible_and_their_spread_is_reported():
    fim = fisher_statistics(mlp([100, 100, 100, 4], "relu", 2.0, 0.1), n_samples=50)
    one, same, other = (softmax_statistics(fim, n_draws=5, rng=seed) for seed in (0, 0, 1))
    assert one.to_dict() == same.to_dict() != other.to_dict()
    draws = mean_field_logits(fim.order_parameters, 50, 4, 5, rng=0)
    each = [softmax_statistics(fim, logits=f) for f in draws]
    for name in ("beta_1", "mean", "largest", "outliers", "limit", "lower"):
        values = [getattr(stats, name) for stats in each]
        np.testing.assert_allclose(getattr(one, name), np.mean(values, axis=0), rtol=1e-12)
        np.testing.assert_allclose(one.spread[name], np.std(values, axis=0, ddof=1), rtol=1e-12)
    assert repr(one).startswith("SoftmaxStatistics(mean=")


# -- simulation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "w2", "b2"), SETTINGS)
def test_primal_and_dual_have_the_same_eigenvalues(name, w2, b2):
    one, x = sample(mlp([4, 6, 5, 3], name, w2, b2), rng=0), gaussian_inputs(5, 4, rng=1)
    j, f = jacobian(one, x)
    primal = np.einsum("tkp,tkj,tjr->pr", j, q_matrices(f), j) / len(f)
    found, _ = softmax_eigenvalues(one, x)
    np.testing.assert_allclose(np.linalg.eigvalsh(primal)[::-1][:15], found, atol=1e-13 * found[0])


@pytest.mark.parametrize(("name", "w2", "b2"), SETTINGS)
def test_simulation(name, w2, b2):
    """Averages over 8 networks, whose standard errors at this width are about 1, 4 and 3 %.

    Beyond that the mean holds to O(1/M), the second moment is larger by v/M with a large v (linear: 25 % for the
    squared error at M = 300) and the top of C - 1 split eigenvalues by O(1/sqrt(M)).
    """
    width, n_samples, n_outputs = 300, 20, 4
    net = mlp([width] * 3 + [n_outputs], name, w2, b2)
    fim = fisher_statistics(net, n_samples=n_samples)
    ratios = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = gaussian_inputs(n_samples, width, rng=rng)
        values, f = softmax_eigenvalues(sample(net, rng=rng), x)
        theory = softmax_statistics(fim, logits=f)
        assert theory.lower < values[0] < theory.upper
        ratios.append(
            [
                values.sum() / (fim.n_parameters * theory.mean),
                values @ values / (fim.n_parameters * theory.second_moment),
                values[: n_outputs - 1].mean() / theory.outliers.mean(),
            ]
        )
    mean, second, top = np.mean(ratios, axis=0)
    assert mean == pytest.approx(1.0, abs=0.03)
    assert 0.9 < second < 1.35
    assert top == pytest.approx(1.0, abs=0.1)


def test_fisher_statistics_of_a_softmax_against_sampled_networks():
    """Drawn outputs and sampled ones; 12 networks, whose means scatter by 3, 7 and 5 %, as do those of 10 draws.

    The same corrections in 1/M as in `test_simulation`: the mean of the outliers is some percent high.
    """
    net = mlp([300, 300, 300, 4], "relu", 2.0, 0.1)
    theory = fisher_statistics(net, n_samples=40, output="softmax")
    assert theory.to_dict() == softmax_statistics(fisher_statistics(net, n_samples=40)).to_dict()
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        one, x = sample(net, rng=rng), gaussian_inputs(40, 300, rng=rng)
        found = fisher_spectrum(one, x, output="softmax")
        ratios.append([found.mean / theory.mean, found.second_moment / theory.second_moment])
        ratios[-1].append(found.outlier_mean / theory.outliers.mean())
    mean, second, top = np.mean(ratios, axis=0)
    assert mean == pytest.approx(1.0, abs=0.1)
    assert second == pytest.approx(1.05, abs=0.3)
    assert top == pytest.approx(1.05, abs=0.2)


def test_c_minus_one_eigenvalues_stand_out():
    """Q(t) 1 = 0 at every sample: the C-th eigenvalue belongs to the bulk, unlike that of a squared error."""
    width, n_samples, n_outputs = 200, 60, 3
    rng = np.random.default_rng(0)
    one = sample(mlp([width] * 3 + [n_outputs], "relu", 2.0, 0.1), rng=rng)
    x = gaussian_inputs(n_samples, width, rng=rng)
    values, _ = softmax_eigenvalues(one, x)
    assert values[n_outputs - 2] > 4 * values[n_outputs - 1]  # seen: 9 times
    squared_error = np.linalg.eigvalsh(dual(one, x)[0])[::-1]
    assert squared_error[n_outputs - 1] > 4 * squared_error[n_outputs]


# -- learning rates and bad use ---------------------------------------------------------------------------


def test_caution_of_finite_width():
    """Close to the bulk two outputs at M = 200 have 7 % (60 networks: 7.4 +- 1.1 %) more than at infinite width."""
    n_samples, said = 40, {}
    for w2, b2, n_outputs in ((1.5, 0.05, 2), (3.0, 0.64, 2), (3.0, 0.64, 10)):
        net = mlp([200, 200, 200, n_outputs], "tanh", w2, b2)
        said[w2, n_outputs] = fisher_statistics(net, n_samples, output="softmax").caution
    assert "9% higher" in said[1.5, 2] and said[3.0, 2] == "" and "% higher" in said[3.0, 10]
    odd = mlp([100, 100, 100, 2], "tanh", 1.5, 0.0)
    found = fisher_statistics(odd, 100, output="softmax")
    assert "No eigenvalue stands out" in found.caution and "Chance overlaps" in found.caution
    assert found.to_dict()["caution"] == found.caution


def test_two_learning_rates():
    fim = fisher_statistics(mlp([200, 200, 200, 10], "relu", init="pytorch"), n_samples=64)
    stats = softmax_statistics(fim)
    assert stats.rate_now == 2 / stats.largest
    assert stats.rate_any_softmax == pytest.approx(4 / fim.largest, rel=1e-15)
    assert stats.rate_any_softmax < stats.rate_now
    # Small outputs: p is nearly uniform, |Q| about 1/C, and may grow to 1/2.
    assert stats.rate_now / stats.rate_any_softmax == pytest.approx(5.0, rel=0.15)
    assert "4/lambda_max(F)" in stats.which_rate and stats.to_dict()["which_rate"] == stats.which_rate


def test_bad_use():
    with pytest.raises(ValueError, match="`output` = softmax needs two outputs or more, got 1"):
        fisher_statistics(mlp([20, 20, 1], "relu"), n_samples=5, output="softmax")
    with pytest.raises(ValueError, match="`output` must be one of linear, softmax"):
        fisher_statistics(mlp([20, 20, 2], "relu"), n_samples=5, output="soft")
    fim = fisher_statistics(mlp([20, 20, 1], "relu"), n_samples=5)
    with pytest.raises(ValueError, match="two outputs or more, got 1"):
        softmax_statistics(fim)
    fim = fisher_statistics(mlp([20, 20, 3], "relu"), n_samples=5)
    with pytest.raises(ValueError, match=r"`logits` must have shape \(5, 3\), got \(4, 3\)"):
        softmax_statistics(fim, logits=np.zeros((4, 3)))
    with pytest.raises(ValueError, match="n_draws"):
        softmax_statistics(fim, n_draws=0)
    with pytest.raises(ValueError, match="one `q0` and one `c0`"):
        softmax_statistics(fisher_statistics(mlp([20, 20, 3], "relu"), 5, [1.0, 2.0]))

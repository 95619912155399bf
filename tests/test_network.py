"""Networks, builders, initialisation schemes, and the algebra that layers do on states."""

import numpy as np
import pytest

import mfdnn
from mfdnn.initialisation import SCHEMES
from mfdnn.network import scale_widths
from mfdnn.phase import critical_point


def test_mlp_alternates_weights_and_activations():
    net = mfdnn.mlp([5, 4, 3, 2], ["tanh", "relu"], sigma_w2=[1.0, 2.0, 3.0], sigma_b2=[0.1, 0.2, 0.3])
    assert net.widths == (5, 4, 3, 2)
    assert (net.n_inputs, net.n_outputs, net.n_weight_layers) == (5, 2, 3)
    assert net.n_parameters == 5 * 4 + 4 + 4 * 3 + 3 + 3 * 2 + 2
    assert [act.name for act in net.activations] == ["tanh", "relu"]
    assert [(d.sigma_w2, d.sigma_b2) for d, _ in net.weight_layers] == [(1.0, 0.1), (2.0, 0.2), (3.0, 0.3)]


def test_without_bias_there_are_fewer_parameters():
    assert mfdnn.mlp([5, 4, 2], bias=False).n_parameters == 5 * 4 + 4 * 2


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("he", [(2.0, 0.0), (2.0, 0.0)]),
        ("lecun", [(1.0, 0.0), (1.0, 0.0)]),
        # Glorot & Bengio: variance 2/(fan_in + fan_out), here times fan_in
        ("glorot", [(2 * 6 / 10, 0.0), (2 * 4 / 6, 0.0)]),
        # torch.nn.Linear: uniform on +-1/sqrt(fan_in), variance 1/(3 fan_in)
        ("pytorch", [(1 / 3, 1 / 18), (1 / 3, 1 / 12)]),
        ("critical", [(1.7609546396067373, 0.05)] * 2),
    ],
)
def test_initialisation_schemes(init, expected):
    net = mfdnn.mlp([6, 4, 2], "tanh", init=init)
    found = [(layer.sigma_w2, layer.sigma_b2) for layer, _ in net.weight_layers]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert {layer.weights for layer, _ in net.weight_layers} == {
        "uniform" if init == "pytorch" else "gaussian"
    }


def test_critical_networks_at_a_variance():
    net = mfdnn.mlp([6, 4, 3, 2], "tanh", init="critical", q=0.5)
    sigma_w2, sigma_b2 = critical_point("tanh", q=0.5)
    assert [(d.sigma_w2, d.sigma_b2) for d, _ in net.weight_layers] == [(sigma_w2, sigma_b2)] * 3
    assert mfdnn.fixed_point("tanh", sigma_w2, sigma_b2).q == pytest.approx(0.5, rel=1e-10)  # solved to 1e-12


def test_he_is_the_default_and_sigma_b2_may_be_added_to_a_scheme():
    assert repr(mfdnn.mlp([6, 4, 2]).layers) == repr(mfdnn.mlp([6, 4, 2], init="he").layers)
    net = mfdnn.mlp([6, 4, 2], init="lecun", sigma_b2=0.3)
    assert [(d.sigma_w2, d.sigma_b2) for d, _ in net.weight_layers] == [(1.0, 0.3)] * 2


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "silu", "hard_tanh", "selu", "sin"])
def test_critical_point_is_critical_and_attracts(name):
    sigma_w2, sigma_b2 = critical_point(name)
    fixed = mfdnn.variance_fixed_points(name, sigma_w2, sigma_b2)
    chi_1 = sigma_w2 * mfdnn.expect_product(name, np.maximum(fixed.q, 1e-9), derivative=1)
    at = np.argmin(np.abs(chi_1 - 1))
    assert chi_1[at] == pytest.approx(
        1, abs=1e-8
    )  # sigma_w2 and q are solved to 1e-12, chi_1 moves by O(1) times that
    assert fixed.slope[at] <= 1 + 1e-8


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal", "uniform"])
@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (50, 50)])
def test_sampled_weights_have_their_variance(weights, shape):
    fan_out, fan_in = shape
    net = mfdnn.Network(fan_in, [mfdnn.Dense(fan_out, 1.7, 0.3, weights=weights)])
    draws = [mfdnn.sample(net, rng=seed).parameters[0] for seed in range(40)]
    w2 = np.array([np.mean(w**2) * fan_in for w, _ in draws])
    b2 = np.array([np.mean(b**2) for _, b in draws])
    for values, expected in ((w2, 1.7), (b2, 0.3)):
        # five standard errors; orthogonal weights have this norm exactly, up to rounding
        assert abs(values.mean() - expected) <= 5 * values.std(ddof=1) / np.sqrt(40) + 1e-12
    if weights == "orthogonal":
        w = draws[0][0]
        gram = w @ w.T if fan_out <= fan_in else w.T @ w
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(min(shape)), atol=1e-12)


def test_scale_widths_keeps_inputs_outputs_and_variances():
    net = mfdnn.resnet([10, 40, 3], 2, "tanh", 1.5, 0.1, 0.5, 0.05, skip=0.5)
    half = scale_widths(net, 0.5)
    assert half.widths == (10, 20, 20, 20, 20, 20, 3)
    assert [d.sigma_w2 for d, _ in half.weight_layers] == [d.sigma_w2 for d, _ in net.weight_layers]
    assert half.layers[1].skip == 0.5


class LikeTorch:
    """What `torch.nn.Linear` is: callable, and defined in a module of torch."""

    __module__ = "torch.nn.modules.linear"

    def __call__(self, x):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mfdnn.mlp([5]), ValueError, ["`widths`", "at least", "[784, 1000, 10]"]),
        (lambda: mfdnn.mlp([]), ValueError, ["`widths`"]),
        (lambda: mfdnn.mlp("5-4-2"), TypeError, ["`widths`", "sequence"]),
        (lambda: mfdnn.mlp([5, 0, 2]), ValueError, ["`widths`", ">= 1"]),
        (lambda: mfdnn.mlp([5, 2.5, 2]), TypeError, ["`widths`", "integer"]),
        (lambda: mfdnn.mlp([5, 4, 2], ["tanh"] * 3), ValueError, ["`activation`", "1 of them"]),
        (lambda: mfdnn.mlp([5, 4, 2], "tnh"), ValueError, ["did you mean tanh"]),
        (lambda: mfdnn.mlp([5, 4, 2], sigma_w2=-1), ValueError, ["`sigma_w2`", ">= 0"]),
        (lambda: mfdnn.mlp([5, 4, 2], sigma_w2=float("nan")), ValueError, ["`sigma_w2`", "finite"]),
        (lambda: mfdnn.mlp([5, 4, 2], sigma_w2=[1, 2, 3]), ValueError, ["`sigma_w2`", "2 of them"]),
        (lambda: mfdnn.mlp([5, 4, 2], sigma_w2=1, init="he"), ValueError, ["exclude"]),
        (lambda: mfdnn.mlp([5, 4, 2], init="kaiming"), ValueError, ["`init`", ", ".join(SCHEMES)]),
        (lambda: mfdnn.mlp([5, 4, 2], "softplus", init="critical"), ValueError, ["no edge of chaos"]),
        (lambda: mfdnn.mlp([5, 4, 2], "tanh", q=0.5), ValueError, ["`q`", 'init="critical"']),
        (lambda: mfdnn.mlp([5, 4, 2], "sigmoid", init="critical", q=0.5), ValueError, ["`q`", "sigma_b^2"]),
        (
            lambda: mfdnn.mlp([5, 4, 2], "tanh", sigma_b2=0.1, init="critical", q=0.5),
            ValueError,
            ["`q`", "`sigma_b2`", "exclude"],
        ),
        (lambda: mfdnn.mlp([5, 4, 2], weights="gausian"), ValueError, ["did you mean gaussian"]),
        (lambda: mfdnn.Dense(4, 1.0, 0.1, bias=False), ValueError, ["`sigma_b2`", "bias=True"]),
        (lambda: mfdnn.Network(5, [mfdnn.Dense(4), "relu"]), TypeError, ["Pointwise('relu')"]),
        (lambda: mfdnn.Network(5, [LikeTorch()]), TypeError, ["PyTorch", "Dense(n_units, ", "Pointwise(name)"]),
        (lambda: mfdnn.Network(5, [LikeTorch]), TypeError, ["PyTorch"]),
        (lambda: mfdnn.Network(5, [mfdnn.Dense]), TypeError, ["make one: Dense(...)"]),
        (lambda: mfdnn.Network(5, [[mfdnn.Dense(4)]]), TypeError, ["in one list"]),
        (lambda: mfdnn.Network(5, [3]), TypeError, ["got 3; build them with Dense"]),
        (lambda: mfdnn.Network(5, [mfdnn.Pointwise("relu")]), ValueError, ["weight layer"]),
        (lambda: mfdnn.Residual([mfdnn.Pointwise("relu")]), ValueError, ["weight layer"]),
        (
            lambda: mfdnn.Network(5, [mfdnn.Residual([mfdnn.Dense(4)])]),
            ValueError,
            ["5 units enter and 4 leave"],
        ),
        (lambda: mfdnn.resnet([5, 4], 2), ValueError, ["(inputs, width, outputs)"]),
        (lambda: mfdnn.resnet([5, 4, 2], 0), ValueError, ["`n_blocks`"]),
        (lambda: scale_widths(mfdnn.mlp([5, 4, 2]), 0), ValueError, ["`factor`"]),
    ],
)
def test_bad_input_gets_a_clear_error(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_activations_in_a_row_are_one():
    row, one = (
        mfdnn.Network(5, [mfdnn.Dense(4, 1.5, 0.1), *acts, mfdnn.Dense(2)])
        for acts in (
            [mfdnn.Pointwise("relu"), mfdnn.Pointwise("tanh")],
            [mfdnn.Pointwise(lambda x: np.tanh(np.maximum(x, 0)))],
        )
    )
    sampled = mfdnn.MeanField(row, 20)
    found, expected = mfdnn.fisher_statistics(sampled), mfdnn.fisher_statistics(one, 20)
    for name in ("mean", "second_moment", "largest"):
        error = found.standard_error[name]
        assert 0 < error < 0.02 * getattr(expected, name)
        assert abs(getattr(found, name) - getattr(expected, name)) < 5 * error  # of eight runs: 1 in 640


def test_an_activation_of_random_inputs_is_refused_by_theory():
    net = mfdnn.Network(5, [mfdnn.Pointwise("relu"), mfdnn.Dense(2)])
    with pytest.raises(mfdnn.NoTheory, match=r"needs the law of single units.*put a weight layer before it"):
        mfdnn.order_parameters(net)


def test_critical_weights_belong_to_the_activation_before_them():
    net = mfdnn.mlp([50, 40, 40, 40, 2], ["tanh", "relu", "tanh"], init="critical")
    # relu: sigma_w^2 = 2 exactly; the first layer takes the second's, as in a uniform network.
    weights = [layer.sigma_w2 for layer, _ in net.weight_layers]
    tanh = critical_point("tanh")[0]
    np.testing.assert_allclose(weights, [tanh, tanh, 2.0, tanh], rtol=1e-12)
    assert mfdnn.mlp([10, 5], init="critical").n_weight_layers == 1


def test_skip_multiplies_the_mean_too():
    """x <- s x + 1 from unit-variance x, three times: moments in closed form, s negative."""
    one = mfdnn.activation(lambda x: np.ones_like(x))
    s = -0.7
    block = mfdnn.Residual([mfdnn.Dense(6, 1.0, 0.1), mfdnn.Pointwise(one)], skip=s)
    net = mfdnn.Network(6, [block, block, block, mfdnn.Dense(1)])
    mean, variance, covariance = 0.0, 1.0, 0.3
    for _ in range(3):
        variance, covariance = (s**2 * v + 1 + 2 * s * mean for v in (variance, covariance))
        mean = s * mean + 1
    op = mfdnn.order_parameters(net, q0=1.0, c0=0.3)
    assert op.q[-1] == pytest.approx(
        variance, rel=1e-12
    )  # Gaussian integrals of a constant are exact to rounding
    assert op.q_st[-1] == pytest.approx(covariance, rel=1e-12)


def test_widths_tied_to_inputs_or_outputs_cannot_be_scaled():
    block = mfdnn.Residual([mfdnn.Dense(6), mfdnn.Pointwise("tanh"), mfdnn.Dense(6)])
    for layers in ([block, mfdnn.Dense(2)], [mfdnn.Dense(6), block]):
        with pytest.raises(ValueError, match="ties its width"):
            scale_widths(mfdnn.Network(6, layers), 0.5)

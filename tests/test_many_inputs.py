"""Statistics of many inputs, summed tile by tile: those of all pairs at once, in less memory."""

import pickle

import numpy as np
import pytest

import mfdnn
from mfdnn._support import memory
from mfdnn.fisher import many_inputs
from mfdnn.kernels import on_data
from mfdnn.kernels.outlier import outlier_criterion
from mfdnn.mean_field import tiles

MLP = mfdnn.mlp([8, 30, 40, 3], "tanh", 1.5, 0.1)
NETS = {
    "mlp": MLP,
    "no biases, relu": mfdnn.mlp([8, 20, 2], "relu", 2.0, bias=False),
    "one weight layer": mfdnn.Network(8, [mfdnn.Dense(2)]),
    "residual": mfdnn.resnet([8, 20, 1], 2, "tanh", 1.2, 0.1),
    "trained gains": mfdnn.Network(
        8, [mfdnn.Dense(20), mfdnn.LayerNorm(affine=True), mfdnn.Pointwise("relu"), mfdnn.Dense(1)]
    ),
    "sites": mfdnn.cnn((2, 4), (20, 20), 2, "erf", readout="flatten"),
    "pooled sites": mfdnn.cnn((2, 4), (20, 20), 2, "relu", readout="average"),
}


def data(n=50, n_features=8, rng=0):
    return np.random.default_rng(rng).standard_normal((n, n_features)) + 0.2


@pytest.fixture
def many(monkeypatch):
    """All numbers of inputs are many, in tiles of few."""

    def switch():
        monkeypatch.setattr(tiles, "MANY", 0)
        monkeypatch.setattr(on_data, "TILE", 16)

    return switch


def numbers(fim):
    """All that statistics say, and what is said of their order parameters."""
    op = fim.order_parameters
    return {
        **fim.to_dict(),
        **{name: op.averaged(name) for name in ("q", "q_st", "q_hat", "q_hat_st", "q_tilde", "q_tilde_st")},
        **{name: getattr(op, name) for name in ("q", "q_hat", "q_tilde", "chi", "fan_in", "fan_out", "bias")},
        "sites": [{"q": at} for at in op.q_sites],
        "criterion": [np.asarray(of).tolist() for of in outlier_criterion(op, fim.n_samples)],
    }


def assert_same(found, expected, where=""):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name in expected:
            assert_same(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list) and expected and isinstance(expected[0], dict):
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(expected, str | bool | None):
        assert found == expected, where
    else:
        size = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12 * size, err_msg=where)


@pytest.mark.parametrize("name", NETS)
def test_statistics_are_those_of_all_pairs_at_once(name, many):
    net, X = NETS[name], data()
    whole = mfdnn.fisher_statistics(net, inputs=X)
    assert not whole.summed
    expected = numbers(whole)
    many()
    found = mfdnn.fisher_statistics(net, inputs=X)
    assert found.summed
    assert_same(numbers(found), expected)
    assert found.ratio == pytest.approx(whole.ratio, rel=1e-9)


@pytest.mark.parametrize("loss", ["half_mse", "cross_entropy"])
def test_learning_rates_are_those_of_all_pairs_at_once(loss, many):
    net, X = mfdnn.mlp([8, 300, 300, 2], "relu", 2.0, 0.1), data(rng=1)
    expected = mfdnn.max_learning_rate(net, inputs=X, loss=loss)
    whole = expected.to_dict()
    many()
    lr = mfdnn.max_learning_rate(net, inputs=X, loss=loss)
    found = lr.to_dict()
    if loss == "cross_entropy":  # the outputs of all inputs are not drawn
        assert lr.initial is None and expected.initial > lr.value
        unknown = ("initial", "lambda_max_softmax", "convention")
        whole, found = ({k: v for k, v in of.items() if k not in unknown} for of in (whole, found))
    assert found.keys() == whole.keys()
    whole["zones"], found["zones"] = (list(of["zones"].values()) for of in (whole, found))
    assert_same(found, whole)
    assert lr.safe < lr.value


def test_a_softmax_is_still_of_all_pairs(many):
    X = data(20)
    expected = mfdnn.fisher_statistics(MLP, inputs=X, output="softmax").largest
    many()
    assert mfdnn.fisher_statistics(MLP, inputs=X, output="softmax").largest == expected
    with pytest.raises(ValueError, match="whose kernels were summed tile by tile, and a softmax needs them whole"):
        mfdnn.softmax_statistics(mfdnn.fisher_statistics(MLP, inputs=X))


def test_a_network_on_many_inputs_computes_what_is_asked(many):
    X = data()
    expected = [mfdnn.ntk(MLP, X), mfdnn.nngp(MLP, X), mfdnn.kernel_spectrum(MLP, inputs=X).eigenvalues]
    many()
    wide = mfdnn.MeanField(MLP, inputs=X)
    assert wide.many
    for found, whole in zip([mfdnn.ntk(wide), mfdnn.nngp(wide)], expected, strict=False):
        np.testing.assert_allclose(found, whole, rtol=1e-12)
    np.testing.assert_allclose(mfdnn.kernel_spectrum(wide).eigenvalues, expected[2], rtol=1e-9)
    assert mfdnn.fisher_statistics(wide) is mfdnn.fisher_statistics(wide)
    assert wide.order_parameters.q_st.shape == (3, 50, 50)  # who asks for all pairs gets them


def test_units_that_are_sampled_are_of_all_inputs_at_once(many):
    layers = [mfdnn.Conv(8), mfdnn.Pointwise("relu"), mfdnn.MaxPool(2), mfdnn.Flatten(), mfdnn.Dense(1)]
    net, X = mfdnn.Network((2, 4), layers), data(6)
    expected = mfdnn.fisher_statistics(net, inputs=X)
    many()
    found = mfdnn.fisher_statistics(net, inputs=X)
    assert not found.summed
    assert (found.largest, found.standard_error) == (expected.largest, expected.standard_error)


def test_what_is_not_held_says_so(many):
    many()
    fim = mfdnn.fisher_statistics(MLP, inputs=data())
    op = fim.order_parameters
    for name in ("q_st", "q_hat_st", "q_tilde_st", "c"):
        with pytest.raises(MemoryError, match=r"`q\w*_st` of all pairs of 50 inputs is not held"):
            getattr(op, name)
    with pytest.raises(MemoryError, match="`matrix` of all pairs of 50 inputs"):
        _ = op._tangents.total(*many_inputs.EVERYTHING).at_two
    with pytest.raises(AttributeError, match="nothing"):
        _ = op.nothing
    assert op.to_dict()["q_st"] == op.averaged("q_st").tolist()


def test_the_largest_of_a_layer_is_computed_when_it_is_asked_for(many, monkeypatch):
    many()
    fim = mfdnn.fisher_statistics(MLP, inputs=data())
    passes = []
    monkeypatch.setattr(
        "mfdnn.fisher.statistics.largest_of_layer", lambda net, X, layer: passes.append(layer) or 50.0
    )
    block = fim.layers[1]
    assert "largest when asked for" in repr(block) and passes == []
    assert (block.largest, block.largest, passes) == (1.0, 1.0, [1])
    assert "largest=1" in repr(block)
    with pytest.raises(AttributeError, match="nothing"):
        _ = block.nothing


def test_results_survive_a_pickle(many):
    many()
    fim = pickle.loads(pickle.dumps(mfdnn.fisher_statistics(MLP, inputs=data())))
    assert fim.summed
    assert fim.layers[2].largest < fim.largest


def test_memory_is_that_of_half_a_kernel(monkeypatch):
    free = 4.5 * 4000**2
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    with pytest.raises(MemoryError, match=r"the Fisher statistics of 4001 inputs would take .* `subsets` of them"):
        mfdnn.max_learning_rate(mfdnn.mlp([2, 50, 50, 50, 1], "relu"), inputs=data(4001, 2))
    with pytest.raises(MemoryError, match=r"order parameters of 4001 inputs in 4 weight layers would take"):
        mfdnn.order_parameters(mfdnn.mlp([2, 50, 50, 50, 1], "relu"), inputs=data(4001, 2))


def test_inputs_of_zeros_have_no_eigenvalues(many):
    many()
    fim = mfdnn.fisher_statistics(mfdnn.mlp([8, 5, 1], "relu", 2.0, bias=False), inputs=np.zeros((20, 8)))
    assert (fim.largest, fim.mean, fim.layers[0].largest) == (0.0, 0.0, 0.0)


def test_infinite_signals_are_named(many):
    many()
    with pytest.raises((ValueError, OverflowError), match=r"variance of the signal is infinite at weight layer \d"):
        mfdnn.fisher_statistics(mfdnn.mlp([8, 5, 5, 1], "relu", 1e200), inputs=data())

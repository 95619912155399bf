"""A network on its data as one object: the same numbers as plain calls, one recursion, data checked once."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.finite_width import sampled_law
from mfdnn.finite_width.influence import influence
from mfdnn.finite_width.outliers import law_of
from mfdnn.finite_width.traces import fisher_traces
from mfdnn.layers import BatchNorm, Dense, Exchangeable, Given, Pointwise

WIDTHS = [12, 20, 16, 3]


def network(*last):
    plain = mfdnn.mlp(WIDTHS, "tanh", sigma_w2=2.0, sigma_b2=0.2)
    return mfdnn.Network(WIDTHS[0], [*plain.layers, *last])


def data(given):
    return (
        {"inputs": gaussian_inputs(9, 12, c0=0.3, rng=0)} if given else {"n_samples": 9, "q0": 1.2, "c0": 0.3}
    )


def plain_data(function, given):
    """As the function takes it."""
    known = data(given)
    if function is mfdnn.fisher_rao_statistics:
        known.pop("n_samples", None), known.pop("c0", None)
    return known


def as_numbers(result):
    return result if isinstance(result, np.ndarray) else result.to_dict()


@pytest.mark.filterwarnings("ignore:By the rule of `fisher_statistics` no eigenvalue stands out")  # at widths of ten
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        mfdnn.order_parameters,
        mfdnn.fisher_statistics,
        lambda net, **known: mfdnn.fisher_statistics(net, output="softmax", **known),
        mfdnn.feature_statistics,
        mfdnn.fisher_rao_statistics,
        mfdnn.ntk_statistics,
        mfdnn.max_learning_rate,
        mfdnn.outlier_distribution,
    ],
    ids=["order parameters", "fisher", "softmax", "features", "norm", "kernel", "rate", "law"],
)
def test_every_function_of_theory_takes_it_in_place_of_network_and_data(function, given):
    wide = mfdnn.MeanField(network(), **data(given))
    for _ in range(2):  # what is kept is what was computed
        np.testing.assert_equal(
            as_numbers(function(wide)), as_numbers(function(network(), **plain_data(function, given)))
        )
    with pytest.raises(ValueError, match="which has its own data, got `q0` too; drop it"):
        function(wide, q0=1.0)


def test_functions_of_given_and_of_random_inputs_alone():
    X = data(True)["inputs"]
    wide = mfdnn.MeanField(network(), inputs=X)
    np.testing.assert_allclose(mfdnn.ntk(wide), mfdnn.ntk(network(), X), rtol=1e-14)  # sums in another order
    with pytest.raises(ValueError, match="has its own data, got `inputs` too"):
        mfdnn.ntk(wide, X)
    with pytest.raises(mfdnn.NoTheory, match="of given ones no law of the edge is known"):
        mfdnn.centred_edge(wide)
    drawn = mfdnn.MeanField(network(), 40)
    assert mfdnn.centred_edge(drawn).to_dict() == mfdnn.centred_edge(network(), 40).to_dict()
    with pytest.raises(ValueError, match="must have given inputs for a kernel of them"):
        mfdnn.ntk(drawn)
    with pytest.raises(ValueError, match=r"`inputs` must be a \(T, M_0\) matrix of inputs, got None"):
        mfdnn.ntk(network())
    square = mfdnn.mlp([50, 400, 400, 2], "relu", sigma_w2=2.0, bias=False)
    assert mfdnn.natural_gradient_rate(mfdnn.MeanField(square, 40), "kfac").to_dict() == (
        mfdnn.natural_gradient_rate(square, "kfac", 40).to_dict()
    )
    found, plain = (fisher_traces(*arguments) for arguments in ((drawn,), (network(), 40)))
    np.testing.assert_equal(found._asdict(), plain._asdict())


def test_compare_and_report_take_it():
    wide = mfdnn.MeanField(network(), 9)
    table = mfdnn.compare(wide, n_networks=3, rng=0)
    assert table.to_dict() == mfdnn.compare(network(), 9, 3, rng=0).to_dict()
    page = mfdnn.report(wide, n_networks=2, rng=0)
    assert page.to_dict() == mfdnn.report(network(), 9, 2, rng=0).to_dict()
    with pytest.raises(ValueError, match="which has its own data, got `n_samples` too"):
        mfdnn.report(wide, 9)


@pytest.mark.parametrize("last", [(), (mfdnn.MeanSubtraction(),), (mfdnn.BatchNorm(),), (mfdnn.LayerNorm(),)])
def test_a_report_at_given_inputs_runs_one_recursion_for_each_width_it_draws(last, monkeypatch):
    """Two activations, so two sets of integrals of T x T pairs, for each of the widths."""
    expect, found = Given.expect, []
    monkeypatch.setattr(Given, "expect", lambda self, act: found.append(self.n_samples) or expect(self, act))
    page = mfdnn.report(network(*last), n_networks=2, loss="cross_entropy", rng=0, **data(True))
    assert found == [9] * (2 * len(page.boundary.widths))
    assert len(page.boundary.widths) > 2


def test_scalar_recursions_are_run_once_too(monkeypatch):
    expect, found = Exchangeable.expect, []
    monkeypatch.setattr(Exchangeable, "expect", lambda self, act: found.append(act) or expect(self, act))
    wide = mfdnn.MeanField(mfdnn.mlp([60, 60, 50, 3], "relu", 2.0, 0.1), 30)
    mfdnn.compare(wide, n_networks=2, rng=0, geometry=True)
    (
        mfdnn.max_learning_rate(wide, confidence=0.9),
        mfdnn.outlier_distribution(wide),
        mfdnn.ntk_statistics(wide),
    )
    assert len(found) == 2


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("last", [mfdnn.MeanSubtraction(), mfdnn.BatchNorm(0.8, eps=0.1), mfdnn.LayerNorm()])
def test_the_network_without_its_last_normalisation(last, given):
    wide = mfdnn.MeanField(network(last), **data(given))
    plain = mfdnn.MeanField(network(), **data(given))
    assert repr(wide.body().network) == repr(network())
    assert wide.body().order_parameters.to_dict() == plain.order_parameters.to_dict()
    assert plain.body() is plain


def test_a_failure_is_no_result():
    wide = mfdnn.MeanField(
        mfdnn.Network(4, [mfdnn.Dense(4, 1e200), mfdnn.Dense(4, 1e200), mfdnn.Dense(1)]), 5
    )
    for _ in range(2):
        with pytest.raises(OverflowError, match="variance of the signal is infinite"):
            mfdnn.fisher_statistics(wide)


def test_bad_data():
    with pytest.raises(TypeError, match="`net` must be a Network"):
        mfdnn.MeanField([3, 4])
    with pytest.raises(ValueError, match="`inputs` excludes `q0`"):
        mfdnn.MeanField(network(), q0=1.0, inputs=np.ones((3, 12)))
    with pytest.raises(ValueError, match=r"`c0` must be at least -1/\(T - 1\)"):
        mfdnn.MeanField(network(), 5, c0=-0.9)
    with pytest.raises(ValueError, match="`n_units` must be an integer >= 1"):
        mfdnn.MeanField(network(), n_units=0)
    with pytest.raises(mfdnn.NoTheory, match="must have linear outputs"):
        mfdnn.MeanField(network(mfdnn.Pointwise("tanh")))


def test_it_says_what_it_is_and_travels():
    wide = mfdnn.MeanField(network(), **data(True))
    assert repr(wide) == "MeanField(Network(12-20-16-3, tanh, L=3, P=647), T=9)"
    assert wide.n_samples == 9
    assert wide.inputs.shape == (9, 12)
    largest = mfdnn.fisher_statistics(wide).largest
    assert mfdnn.fisher_statistics(pickle.loads(pickle.dumps(wide))).largest == largest


def test_threads_share_one_recursion(monkeypatch):
    expect, found = Given.expect, []
    monkeypatch.setattr(Given, "expect", lambda self, act: found.append(act) or expect(self, act))
    wide = mfdnn.MeanField(network(), **data(True))
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda _: mfdnn.fisher_statistics(wide).largest, range(8)))
    assert len(found) == 2
    assert len(set(values)) == 1


def test_several_mean_squares_at_once_where_functions_take_them():
    wide = mfdnn.MeanField(network(), 9, q0=[1.0, 2.0])
    assert mfdnn.fisher_statistics(wide).largest.shape == (2,)
    for function in (
        mfdnn.max_learning_rate,
        mfdnn.fisher_rao_statistics,
        mfdnn.outlier_distribution,
        mfdnn.report,
    ):
        with pytest.raises(TypeError, match="`q0` must be a single number"):
            function(wide)


def test_inputs_cannot_change_under_what_was_computed():
    X = data(True)["inputs"]
    wide = mfdnn.MeanField(network(), inputs=X)
    X[:] = 0.0
    assert np.any(wide.inputs)
    with pytest.raises(ValueError, match="read-only"):
        wide.inputs[0] = 0.0


@pytest.mark.parametrize("call", [mfdnn.order_parameters, mfdnn.fisher_statistics, mfdnn.ntk])
def test_large_inputs_are_named_as_what_is_wrong(call):
    X = gaussian_inputs(4, 12, rng=0)
    net = mfdnn.mlp([12, 8, 8, 1], "tanh", 2.0, 0.1)
    with pytest.raises(OverflowError, match=r"is beyond .* mean square of the `inputs` is .*; standardise them"):
        call(net, inputs=2e3 * X)
    with pytest.raises(OverflowError, match=r"`inputs` reach .*e\+200, .* standardise them"):
        call(net, inputs=1e200 * X)
    with pytest.raises(OverflowError, match="lower `sigma_w2` or the depth"):
        call(mfdnn.mlp([12, 8, 8, 1], "tanh", 1e9), inputs=X)


def test_what_is_infinite_is_no_number():
    net = mfdnn.mlp([4, 4, 1], "relu")
    with pytest.raises(OverflowError, match=r"second moment .* is infinite; lower `q0`, .* from 1e\+200"):
        mfdnn.fisher_statistics(net, q0=1e200)
    with pytest.raises(OverflowError, match=r"mean square of the `inputs` is .*; standardise them"):
        mfdnn.fisher_statistics(net, inputs=1e100 * np.eye(4))


def test_infinite_kernels_are_an_error():
    with pytest.raises(OverflowError, match="tangent kernel is infinite"):
        mfdnn.ntk(mfdnn.mlp([4, 4, 4, 1], "linear", 1e200), np.eye(4))


def test_what_the_inputs_are_reshaped_to_is_what_the_theory_sees():
    """`Flatten` in front costs nothing: images for a fully connected network have one site."""
    X = gaussian_inputs(6, 48, rng=0)
    flat = mfdnn.mlp([48, 20, 2], "relu", 2.0, 0.1)
    net = mfdnn.Network((3, 4, 4), [mfdnn.Flatten(), *flat.layers])
    assert mfdnn.fisher_statistics(net, inputs=X).largest == mfdnn.fisher_statistics(flat, inputs=X).largest
    assert mfdnn.fisher_statistics(net, 30).largest == mfdnn.fisher_statistics(flat, 30).largest


def test_order_parameters_behind_two_normalisations_of_the_outputs():
    wide = mfdnn.MeanField(network(mfdnn.MeanSubtraction(), mfdnn.BatchNorm()), 9)
    assert wide.order_parameters.q.shape == (3,)
    with pytest.raises(mfdnn.NoTheory, match="one normalisation behind"):
        mfdnn.fisher_statistics(wide)


def test_copies_without_a_run_share_what_no_run_enters(monkeypatch):
    block = [Dense(256, 2.0), BatchNorm(), Pointwise("relu")]  # with 64 units the push is too large for the law
    net = mfdnn.Network(20, [*block, *block, Dense(1)])
    wide = mfdnn.MeanField(net, inputs=np.random.default_rng(0).standard_normal((12, 20)))
    calls = []
    monkeypatch.setattr(sampled_law, "influence", lambda *a: calls.append(1) or influence(*a))
    laws = [law_of(one) for one in (wide, *wide.without_one_run())]
    assert len(calls) == sampled_law.RUNS
    lambdas = [law.lambda_0 for law in laws]
    assert len(set(lambdas)) == len(laws)  # lambda_0 is of the runs
    np.testing.assert_allclose([law.mean / law.lambda_0 for law in laws], laws[0].mean / laws[0].lambda_0, rtol=1e-12)

"""The dual of the Fisher information behind coupled outputs, against products with the Jacobian."""

import pickle

import numpy as np
import pytest

import mfdnn
from mfdnn.losses.probabilities import SoftmaxRoot
from mfdnn.sampled import dual
from mfdnn.sampled.jacobian import Jacobian

BEHIND = {
    "mean subtraction": [mfdnn.MeanSubtraction()],
    "batch norm": [mfdnn.BatchNorm(1.3, 0.2)],
    "batch norm, fixed gains": [mfdnn.BatchNorm(eps=0.1, affine=False)],
    "layer norm, mean subtraction": [mfdnn.LayerNorm(), mfdnn.MeanSubtraction()],
    "three layers": [mfdnn.BatchNorm(), mfdnn.Pointwise("tanh"), mfdnn.LayerNorm(0.7)],
}


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_layers_behind_the_last_weight_layer_act_on_the_dual_of_the_body(behind, softmax):
    body = mfdnn.mlp([7, 30, 20, 4], "relu", sigma_w2=2.0, sigma_b2=0.1)
    one = mfdnn.sample(mfdnn.Network(7, [*body.layers, *behind]), rng=1)
    linear = one.linearise(np.random.default_rng(2).standard_normal((9, 7)))
    root = SoftmaxRoot(linear.outputs) if softmax else None
    fast, slow = dual.dual(linear, None, root), dual.Dual(Jacobian(linear, root), None)
    assert type(fast) is dual.BehindDual
    expected = np.tril(slow.matrix())
    expected += np.tril(expected, -1).T
    rounding = 1e-13 * np.abs(expected).max()
    np.testing.assert_allclose(fast.matrix(), expected, rtol=0, atol=rounding)
    np.testing.assert_allclose(fast.product(np.eye(36)[:, :5]), expected[:, :5], rtol=0, atol=rounding)
    assert fast.trace() == pytest.approx(slow.trace(), rel=1e-13)
    assert sum(fast.squared_norms()) == pytest.approx(sum(slow.squared_norms()), rel=1e-13)


def test_other_couplings_and_larger_duals_go_through_the_network(monkeypatch):
    monkeypatch.setattr(dual, "MATRIX", 20)
    hidden = mfdnn.Network(3, [mfdnn.Dense(5), mfdnn.BatchNorm(), mfdnn.Pointwise("relu"), mfdnn.Dense(1)])
    X = np.random.default_rng(0).standard_normal((21, 3))
    assert type(dual.dual(mfdnn.sample(hidden, rng=0).linearise(X[:9]), None)) is dual.Dual
    last = mfdnn.Network(3, [mfdnn.Dense(1), mfdnn.MeanSubtraction()])
    one = mfdnn.sample(last, rng=0)
    assert type(dual.dual(one.linearise(X[:20]), 1)) is dual.BehindDual
    assert type(dual.dual(one.linearise(X), 1)) is dual.Dual


def hidden_batch_norm(n_outputs):
    layers = [mfdnn.Dense(30, 2.0), mfdnn.BatchNorm(), mfdnn.Pointwise("relu")] * 2
    return mfdnn.sample(mfdnn.Network(10, [*layers, mfdnn.Dense(n_outputs)]), rng=0)


@pytest.mark.parametrize(("output", "n_outputs"), [("linear", 1), ("linear", 4), ("softmax", 4)])
def test_behind_hidden_couplings_the_largest_eigenvalue_takes_few_passes(n_outputs, output, monkeypatch):
    one, X = hidden_batch_norm(n_outputs), np.random.default_rng(1).standard_normal((60, 10))
    passes, product = [], Jacobian.pull_and_push
    monkeypatch.setattr(
        Jacobian, "pull_and_push", lambda self, U: passes.append(U.shape[1]) or product(self, U)
    )
    found = mfdnn.fisher_spectrum(one, X, k=1, output=output)
    assert sum(passes) < 40  # and not one for each output and sample, 60 or 240
    assert "mean" not in repr(found)
    whole = mfdnn.fisher_spectrum(one, X, output=output)
    assert found.largest == pytest.approx(whole.largest, rel=1e-8)  # square of the tolerance of residuals, over the gap
    assert found.mean == pytest.approx(whole.mean, rel=1e-13)
    assert f"mean={whole.mean:.6g}" in repr(found)
    assert found.to_dict()["mean"] == found.mean
    assert found.second_moment == pytest.approx(whole.second_moment, rel=1e-13)


def test_a_pickle_of_an_unread_mean_holds_the_number():
    one, X = hidden_batch_norm(2), np.random.default_rng(1).standard_normal((40, 10))
    found = mfdnn.fisher_spectrum(one, X, k=1)
    assert pickle.loads(pickle.dumps(found)).mean == found.mean

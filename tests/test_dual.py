"""The dual of the Fisher information behind coupled outputs, against products with the Jacobian."""

import numpy as np
import pytest

import mfdnn
from mfdnn.losses.probabilities import SoftmaxRoot
from mfdnn.sampled import dual

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
    fast, slow = dual.dual(linear, None, root), dual.Dual(linear, None, root)
    assert type(fast) is dual.BehindDual
    expected = np.tril(slow.matrix())
    expected += np.tril(expected, -1).T
    rounding = 1e-13 * np.abs(expected).max()
    np.testing.assert_allclose(fast.matrix(), expected, rtol=0, atol=rounding)
    np.testing.assert_allclose(fast.product(np.eye(36)[:, :5]), expected[:, :5], rtol=0, atol=rounding)
    assert fast.trace() == pytest.approx(slow.trace(), rel=1e-13)
    assert fast.squared_norm() == pytest.approx(slow.squared_norm(), rel=1e-13)


def test_other_couplings_and_larger_duals_go_through_the_network(monkeypatch):
    monkeypatch.setattr(dual, "MATRIX", 20)
    hidden = mfdnn.Network(3, [mfdnn.Dense(5), mfdnn.BatchNorm(), mfdnn.Pointwise("relu"), mfdnn.Dense(1)])
    X = np.random.default_rng(0).standard_normal((21, 3))
    assert type(dual.dual(mfdnn.sample(hidden, rng=0).linearise(X[:9]), None)) is dual.Dual
    last = mfdnn.Network(3, [mfdnn.Dense(1), mfdnn.MeanSubtraction()])
    one = mfdnn.sample(last, rng=0)
    assert type(dual.dual(one.linearise(X[:20]), 1)) is dual.BehindDual
    assert type(dual.dual(one.linearise(X), 1)) is dual.Dual

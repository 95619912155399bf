"""Norms over channels: their definitions, PyTorch, and words for what does not fit."""

import numpy as np
import pytest

import mfdnn
from mfdnn.layers import Conv, Dense, Flatten, GlobalAveragePool, GroupNorm, LayerNorm, Pointwise, RMSNorm


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(6,), (6, 5), (6, 3, 2)])
def test_definitions(shape, eps):
    x = np.random.default_rng(0).standard_normal((4, *shape)) + 0.5
    found = RMSNorm(1.5, eps).forward(x, iter([(np.full(6, 1.5),)]), [])
    np.testing.assert_allclose(
        found, 1.5 * x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + eps), rtol=1e-13
    )
    z = x - x.mean(axis=1, keepdims=True)
    z /= np.sqrt(z.var(axis=1, keepdims=True) + eps)
    np.testing.assert_allclose(LayerNorm(eps=eps, affine=False).forward(x, iter(()), []), z, rtol=1e-12, atol=1e-14)
    groups = x.reshape(4, 2, -1)
    z = groups - groups.mean(axis=-1, keepdims=True)
    z /= np.sqrt(z.var(axis=-1, keepdims=True) + eps)
    found = GroupNorm(2, eps=eps, affine=False).forward(x, iter(()), [])
    np.testing.assert_allclose(found, z.reshape(x.shape), rtol=1e-12, atol=1e-14)


def test_constants_become_zero_and_pass_no_error():
    for layer, x in (
        (RMSNorm(affine=False), np.zeros((2, 3, 4))),
        (GroupNorm(1, affine=False), np.full((2, 3, 4), 0.1)),
        (LayerNorm(affine=False), np.full((2, 3, 4), 0.1)),
    ):
        trace = []
        np.testing.assert_array_equal(layer.forward(x, iter(()), trace), 0.0)
        np.testing.assert_array_equal(layer.backward(np.ones_like(x), iter(()), iter(trace), []), 0.0)


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(6,), (6, 5), (6, 3, 2)])
def test_it_is_torch_s(torch, shape):
    rng = np.random.default_rng(0)
    x, delta = rng.standard_normal((2, 4, *shape))
    gamma, beta = rng.standard_normal((2, 6))
    for ours, theirs in (
        (GroupNorm(3, eps=1e-3), lambda x, w, b: torch.nn.functional.group_norm(x, 3, w, b, 1e-3)),
        (
            RMSNorm(eps=1e-3),
            lambda x, w, b: (torch.nn.functional.rms_norm(x.movedim(1, -1), (6,), w, 1e-3)).movedim(-1, 1),
        ),
        (
            LayerNorm(eps=1e-3),
            lambda x, w, b: (torch.nn.functional.layer_norm(x.movedim(1, -1), (6,), w, b, 1e-3)).movedim(-1, 1),
        ),
    ):
        group, trace, collected = (gamma, beta) if ours.centres else (gamma,), [], []
        found = ours.forward(x, iter([group]), trace)
        below = ours.backward(delta, iter([group]), iter(trace), collected)
        arrays = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
        y = theirs(*arrays)
        np.testing.assert_allclose(found, y.detach().numpy(), rtol=1e-10, atol=1e-12)
        expected = torch.autograd.grad(y, arrays[: 1 + len(group)], torch.tensor(delta))
        for mine, other in zip((below, *ours.gradient(*collected[0])), expected, strict=True):
            np.testing.assert_allclose(mine, other.numpy(), rtol=1e-10, atol=1e-11)


def test_group_norm_of_one_site_is_layer_norm_in_theory():
    X = np.random.default_rng(0).standard_normal((6, 20))
    norms = GroupNorm(2, 1.2, 0.3, eps=0.1), LayerNorm(1.2, 0.3, eps=0.1)
    for data in ({"inputs": X}, {"n_samples": 6, "c0": 0.3}):
        one, two = (
            mfdnn.fisher_statistics(
                mfdnn.Network(20, [Dense(50, 1.5, 0.1), norm, Pointwise("tanh"), Dense(2)]), **data
            )
            for norm in norms
        )
        assert one.largest == pytest.approx(two.largest, rel=1e-12)
        assert one.mean == pytest.approx(two.mean, rel=1e-12)


@pytest.mark.parametrize("mode", ["circular", "zeros"])
def test_sites_that_layer_norm_makes_alike_are_those_of_a_fully_connected_network(mode):
    norm, phi = LayerNorm(1.3, 0.2), Pointwise("relu")
    conv, dense = Conv(60, 3, 1.5, 0.1, mode=mode), Dense(60, 1.5, 0.1)
    cnn = mfdnn.Network((2, 8), [conv, phi, norm, conv, phi, norm, Flatten(), Dense(3)])
    mlp = mfdnn.Network(6, [dense, phi, norm, dense, phi, norm, Dense(3)])
    found, expected = (mfdnn.order_parameters(net, c0=0.3) for net in (cnn, mlp))
    if mode == "circular":  # all sites of random inputs are alike from the first on
        np.testing.assert_allclose(found.q, expected.q, rtol=1e-13)
        np.testing.assert_allclose(found.q_st, expected.q_st, rtol=1e-13)
    else:  # borders see zeros: fainter, and of unit variance behind the norm
        assert found.q[0] < expected.q[0] * 0.95
        np.testing.assert_allclose(found.q_hat[2], 1.3**2 + 0.2**2, rtol=1e-14)


@pytest.mark.parametrize(
    "norm", [GroupNorm(4, 1.2, 0.3, eps=0.1), RMSNorm(1.2, eps=0.1), LayerNorm(1.2, 0.3, eps=0.1)], ids=repr
)
@pytest.mark.parametrize("readout", [Flatten, GlobalAveragePool])
def test_compare(norm, readout):
    """Means that differ from site to site, as behind zero padding and relu."""
    block = [Conv(64, 3, 2.0, 0.1), Pointwise("relu")]
    net = mfdnn.Network(
        (3, 6), [*block, norm, Conv(64, 3, 2.0, 0.1), norm, Pointwise("tanh"), readout(), Dense(2)]
    )
    X = np.random.default_rng(1).standard_normal((10, 3, 6)) + 0.5
    table = mfdnn.compare(net, n_networks=10, inputs=X, rng=0)
    assert not [row for row in table.rows if row.agrees is False]


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        (lambda: GroupNorm(4), "`groups` must divide the channels that enter, got 4 for 6 channels"),
        (lambda: GroupNorm(0), "`groups` must be an integer >= 1"),
        (lambda: GroupNorm(6), "`GroupNorm` needs three numbers or more in a group, got 2"),
        (lambda: RMSNorm(eps=-1.0), "`eps` is a variance and must be >= 0"),
    ],
)
def test_bad_norms_are_said(norm, message):
    with pytest.raises(ValueError, match=message):
        mfdnn.Network((3, 2), [Conv(6), norm(), Flatten(), Dense(2)])


def test_layer_norm_of_two_channels_is_refused():
    with pytest.raises(ValueError, match="`LayerNorm` needs three channels or more, got 2"):
        mfdnn.Network((3, 4), [Conv(2), LayerNorm(), Flatten(), Dense(2)])


def test_a_norm_of_every_channel_has_no_law():
    net = mfdnn.Network((3, 4), [Conv(6), GroupNorm(6), Flatten(), Dense(2)])
    with pytest.raises(mfdnn.NoTheory, match="normalises every channel by itself"):
        mfdnn.order_parameters(net)

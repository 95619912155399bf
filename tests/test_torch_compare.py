"""Theory of modules beside modules drawn anew, and the layer-by-layer numbers by explicit derivatives."""

import numpy as np
import pytest
import torch_networks

import mfdnn
import mfdnn.pytorch as mp
from mfdnn.pytorch.layer_points import layer_points, theory_points

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]


def test_points_are_those_of_explicit_derivatives(torch):
    nn = torch.nn
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 2)).double()
    X = torch.randn(6, 5).double()
    points = layer_points(mp.operator(module), X)
    W1, b1, W2, _ = (p.detach().numpy() for p in module.parameters())
    u = X.numpy() @ W1.T + b1
    assert points.names == ("0", "2")
    assert points.variance[0] == pytest.approx(np.mean(u**2), rel=1e-12)
    norms = np.linalg.norm(u, axis=1)
    c = (u @ u.T) / np.outer(norms, norms)
    assert points.correlation[0] == pytest.approx((c.sum() - 6) / 30, rel=1e-12)
    delta = (u > 0)[:, None] * W2[None]  # (T, C, 7)
    assert points.gradient[0] == pytest.approx((delta**2).sum(-1).mean(), rel=1e-12)
    assert points.gradient[1] == pytest.approx(1.0)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_points_of_theory_are_order_parameters(torch):
    nn = torch.nn
    torch.manual_seed(0)
    module, X = nn.Sequential(nn.Linear(5, 70), nn.Tanh(), nn.Linear(70, 2)), torch.randn(6, 5)
    net = mp.network(module, X)
    found, points = mfdnn.order_parameters(net, inputs=net.inputs), theory_points(net)
    np.testing.assert_allclose(points.variance, found.q.mean(1))
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(points.correlation, [c[off].mean() for c in found.c])
    np.testing.assert_allclose(points.gradient, found.q_tilde.mean(1))


def mlp(torch):
    nn = torch.nn
    return nn.Sequential(*(nn.Linear(40, 200), nn.GELU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 5)))


def cnn(torch):
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(3, 96, 3, padding=1), nn.ReLU(), nn.Conv2d(96, 96, 3, padding=1, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10)),
    )


def small_resnet(torch):
    return torch_networks.resnet(torch, (48, 64), 1, 2, stem="small")


def within_three_errors(table, share):
    """Three standard errors, by Student's t, and so much of the mean kernel."""
    for row in table.rows:
        allowed = share * (1.0 if row.quantity.startswith("c[") else abs(row.theory))
        off = max(abs(row.simulation - row.theory) - allowed, 0.0)
        assert row.standard_error == 0 or off <= 4.5 * row.standard_error, row


@pytest.mark.parametrize(
    ("make", "shape", "share"), [(mlp, (30, 40), 0.08), (cnn, (8, 3, 6, 6), 0.02)], ids=["mlp", "cnn"]
)
def test_theory_of_fresh_modules(torch, make, shape, share):
    torch.manual_seed(0)
    table = mp.compare(lambda: make(torch), torch.randn(shape), n_networks=8)
    assert table.agrees and len(table.rows) == 2 + 9
    within_three_errors(table, share)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*sampling units takes long:RuntimeWarning")
def test_theory_of_a_fresh_residual_network_with_batch_norm(torch):
    torch.manual_seed(0)
    table = mp.compare(lambda: small_resnet(torch), torch.randn(8, 3, 6, 6), n_networks=8)
    assert table.agrees and "q_tilde[0]" not in {row.quantity for row in table.rows}
    within_three_errors(table, 0.02)


def test_bad_input(torch):
    module, X = mlp(torch), torch.randn(5, 40)
    with pytest.raises(TypeError, match="`factory` must be a function that makes a module"):
        mp.compare(module, X)
    with pytest.raises(ValueError, match="got the same one twice"):
        mp.compare(lambda: module, X)
    with pytest.raises(ValueError, match="`n_networks`"):
        mp.compare(lambda: mlp(torch), X, n_networks=1)

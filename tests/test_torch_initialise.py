"""Weights that are written into a module: their variances, and that the module then keeps its signals."""

import copy

import numpy as np
import pytest

import mfdnn
import mfdnn.pytorch as mp

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]


def module_of(torch, phi):
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(3, 48, 3), nn.BatchNorm2d(48), phi, nn.Conv2d(48, 64, 3, bias=False), phi),
        *(nn.Flatten(), nn.Linear(1024, 200), phi, nn.Linear(200, 20)),
    )


FAN_IN = {"0": 27, "3": 432, "6": 1024, "8": 200}


@pytest.mark.parametrize("scheme", mp.initialise.SCHEMES)
def test_weights_have_the_variances_that_are_said(torch, scheme):
    torch.manual_seed(0)
    module, X = module_of(torch, torch.nn.Tanh()), torch.randn(5, 3, 8, 8)
    module(X)
    with torch.no_grad():
        module[1].weight.fill_(3.0)
    drawn = mp.initialise_(module, scheme, X, rng=1)
    assert list(drawn) == list(FAN_IN)
    net = mp.network(module, X)
    assert "counted" not in net.caution and bool((module[1].weight == 1).all())
    for name, weights in zip(net.names, net.weights, strict=True):
        w2, b2 = drawn[name]
        n = weights.values.numel()
        exact = scheme == "isometric"
        error = 1e-5 if exact else 5 * np.sqrt(2 / n)
        assert weights.read[0] == pytest.approx(w2, rel=error)
        assert weights.weights == {"pytorch": "uniform"}.get(
            scheme, {4: "delta_orthogonal", 2: "orthogonal"}[weights.values.ndim] if exact else "gaussian"
        )
        bias = module[int(name)].bias
        assert b2 == 0 if bias is None else weights.read[1] == pytest.approx(b2, rel=5 * np.sqrt(2 / len(bias)))
    assert drawn == mp.initialise_(module, scheme, X, rng=1)


def test_known_schemes(torch):
    module, X = module_of(torch, torch.nn.ReLU()), torch.randn(5, 3, 8, 8)
    assert mp.initialise_(module, "he") == dict.fromkeys(FAN_IN, (2.0, 0.0))
    assert mp.initialise_(module, "critical", X) == dict.fromkeys(FAN_IN, (2.0, 0.0))
    assert mp.initialise_(module, "mup") == mp.initialise_(module, "mup", X)
    assert mp.initialise_(module, "mup")["8"] == (2 / 200, 0.0)
    assert mp.initialise_(module, "glorot")["0"] == (2 * 27 / (27 + 9 * 48), 0.0)
    assert mp.initialise_(module, "pytorch")["6"] == (1 / 3, 1 / 3072)


def test_torch_decides_the_numbers(torch):
    def draw(seed, **options):
        torch.manual_seed(seed)
        module = torch.nn.Sequential(torch.nn.Linear(3, 4))
        mp.initialise_(module, "he", **options)
        return module[0].weight.detach().numpy().copy()

    assert np.array_equal(draw(0), draw(0)) and not np.array_equal(draw(0), draw(1))
    assert np.array_equal(draw(0, rng=5), draw(1, rng=5))


def test_a_deep_network_keeps_its_gradients_at_criticality_and_loses_them_by_default(torch):
    nn = torch.nn
    torch.manual_seed(0)
    layers = [part for _ in range(30) for part in (nn.Linear(200, 200), nn.Tanh())]
    module, X = nn.Sequential(*layers, nn.Linear(200, 1)), torch.randn(20, 200)

    def first_over_last():
        module.zero_grad()
        module(X).sum().backward()
        return float(module[0].weight.grad.norm() / module[-3].weight.grad.norm())

    assert first_over_last() < 1e-5  # chi_1 is 1/3 at most: 3^(-29/2) = 1e-7
    mp.initialise_(module, "critical", X, rng=0)
    assert 0.2 < first_over_last() < 5


def test_copies_of_a_layer_are_drawn_apart(torch):
    nn = torch.nn
    layer, X = nn.Linear(40, 40), torch.randn(5, 40)
    module = nn.Sequential(layer, nn.Tanh(), copy.deepcopy(layer), nn.Tanh(), nn.Linear(40, 3))
    with pytest.raises(mfdnn.NoTheory, match="identical weights"):
        mp.network(module, X)
    mp.initialise_(module, "critical", X)
    assert mp.network(module, X).names == ("0", "2", "4")


def test_what_no_scheme_draws_stays(torch):
    nn = torch.nn
    module = nn.ModuleDict({"lstm": nn.LSTM(3, 4), "mha": nn.MultiheadAttention(4, 2), "head": nn.Linear(4, 2)})
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    assert list(mp.initialise_(module, "he")) == ["head"]
    same = [torch.equal(p, before[name]) for name, p in module.named_parameters() if not name.startswith("head")]
    assert all(same) and not torch.equal(before["head.weight"], module["head"].weight)


def test_bad_input(torch):
    nn = torch.nn
    module, X = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    with pytest.raises(ValueError, match="`scheme` must be one of he, lecun, glorot, pytorch, mup, critical"):
        mp.initialise_(module, "kaiming")
    with pytest.raises(ValueError, match="`X` is needed for scheme 'critical'"):
        mp.initialise_(module, "critical")
    with pytest.raises(TypeError, match=r"`module` must be a torch.nn.Module"):
        mp.initialise_(3, "he")
    with pytest.raises(ValueError, match="no Linear and no Conv"):
        mp.initialise_(nn.Tanh(), "he")
    with pytest.raises(mfdnn.NoTheory, match="'relu' cannot have `variance`"):
        mp.initialise_(module, "isometric", X)
    before = module[0].weight.detach().clone()
    with pytest.raises(mfdnn.NoTheory):
        mp.initialise_(module, "isometric", X)
    assert torch.equal(before, module[0].weight)

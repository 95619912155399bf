"""Optimisers of `train` against torch.optim in float64, step by step."""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]

STEPS, RATE = 8, 0.01
CASES = [
    ("SGD", "sgd", {}, {}),
    ("SGD", "sgd", {"momentum": 0.8, "weight_decay": 0.3}, {}),
    ("SGD", "sgd", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.3}, {}),
    ("Adam", "adam", {}, {}),
    ("Adam", "adam", {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}, {}),
    ("AdamW", "adamw", {"weight_decay": 0.0}, {}),
    ("AdamW", "adamw", {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}, {}),
    ("NAdam", "nadam", {}, {}),
    ("NAdam", "nadam", {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}, {}),
    ("RAdam", "radam", {}, {}),
    ("RAdam", "radam", {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}, {}),
    ("Adamax", "adamax", {}, {}),
    ("Adamax", "adamax", {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}, {}),
    ("Adagrad", "adagrad", {}, {}),
    ("Adagrad", "adagrad", {"eps": 1e-2, "weight_decay": 0.3}, {}),
    ("RMSprop", "rmsprop", {}, {}),
    ("RMSprop", "rmsprop", {"alpha": 0.9, "eps": 1e-3, "momentum": 0.6, "weight_decay": 0.3}, {}),
    ("Rprop", "signsgd", {"etas": (0.5, 1.2)}, {}),  # its first step
    ("Muon", "muon", {"weight_decay": 0.0, "adjust_lr_fn": "original"}, {"adjust": "original"}),
    ("Muon", "muon", {"weight_decay": 0.3, "momentum": 0.7, "nesterov": False}, {}),
    ("Muon", "muon", {"weight_decay": 0.3, "adjust_lr_fn": "match_rms_adamw"}, {"adjust": "match_rms_adamw"}),
]


@pytest.fixture
def double(torch):
    """NAdam keeps a product of momenta in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained_by_torch(torch, kind, options, one, X, Y, n_steps):
    """Parameters of one network after steps of torch's own class."""
    layers = []
    for weight, bias in one.parameters:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())
        layers += [linear, torch.nn.Tanh()]
    module = torch.nn.Sequential(*layers[:-1])
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    if kind == "Muon":
        matrices = [p for p in module.parameters() if p.ndim == 2]
        vectors = [p for p in module.parameters() if p.ndim < 2]
        decay = options["weight_decay"]
        optimizers = [
            torch.optim.Muon(matrices, lr=RATE, **options),
            torch.optim.AdamW(vectors, lr=RATE, weight_decay=decay),
        ]
    else:
        optimizers = [getattr(torch.optim, kind)(module.parameters(), lr=RATE, **options)]
    for _ in range(n_steps):
        module.zero_grad()
        (0.5 * (module(x) - y).square().sum(1).mean()).backward()
        for optimizer in optimizers:
            optimizer.step()
    return [p.detach().numpy() for p in module.parameters()]


@pytest.mark.parametrize(("kind", "name", "options", "ours"), CASES)
@pytest.mark.usefixtures("double")
def test_steps_are_those_of_torch(torch, monkeypatch, kind, name, options, ours):
    if not hasattr(torch.optim, kind):
        pytest.skip(f"{kind} came into torch.optim later")
    one = mfdnn.sample(mfdnn.mlp([5, 7, 12, 3], "tanh", 1.5, 0.1), rng=0)
    X, Y = gaussian_inputs(9, 5, rng=1), gaussian_inputs(9, 3, rng=2)
    n_steps = 1 if kind == "Rprop" else STEPS
    settings = {key: value for key, value in options.items() if key not in ("etas", "adjust_lr_fn")} | ours
    run = mfdnn.train(one, X, Y, RATE, n_steps, optimizer=name, **settings)
    found = [a for group in run.trained.parameters for a in group]
    if kind == "Muon":
        import torch.optim._muon as module

        def in_float64(grad, coefficients, steps, eps):
            a, b, c = coefficients
            x = grad.T if grad.size(0) > grad.size(1) else grad
            x = x / x.norm().clamp(min=eps)
            for _ in range(steps):
                gram = x @ x.T
                x = a * x + (b * gram + c * gram @ gram) @ x
            return x.T if grad.size(0) > grad.size(1) else x

        own = trained_by_torch(torch, kind, options, one, X, Y, n_steps)
        monkeypatch.setattr(module, "_zeropower_via_newtonschulz", in_float64)
        for start, a, b in zip([a for group in one.parameters for a in group], own, found, strict=True):
            # bfloat16 has 8 bits: a few percent of the way after five iterations.
            assert np.linalg.norm(a - b) < 0.1 * np.linalg.norm(a - start)
    expected = trained_by_torch(torch, kind, options, one, X, Y, n_steps)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "Muon"])
def test_critical_rates_are_those_of_modules(torch, kind):
    """The same network as a module of torch, its own optimiser, its own loss."""
    import mfdnn.pytorch as mp

    if not hasattr(torch.optim, kind):
        pytest.skip(f"{kind} came into torch.optim later")
    one = mfdnn.sample(mfdnn.mlp([5, 40, 3], "tanh", 1.5, bias=False), rng=0)
    X, y = gaussian_inputs(9, 5, rng=1), np.arange(9) % 3
    layers = [torch.nn.Linear(*w.shape[::-1], bias=False, dtype=torch.float64) for w, _ in one.parameters]
    for layer, (weight, _) in zip(layers, one.parameters, strict=True):
        layer.weight.data = torch.from_numpy(weight.copy())
    module = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    optimizer = getattr(torch.optim, kind)(module.parameters(), lr=0.01, weight_decay=0.0)
    batch = torch.from_numpy(X), torch.from_numpy(y)
    answer = mp.learning_rate(module, batch, torch.nn.CrossEntropyLoss(), optimizer, parts=("first_step", "critical"))
    found = mfdnn.training.critical_rate(one, X, y, kind.lower(), "cross_entropy")
    tolerance = 0.1 if kind == "Muon" else 5e-3  # bfloat16; 0.4 % of a line search
    assert found.rate == pytest.approx(answer.critical, rel=tolerance)
    assert found.directional == pytest.approx(answer.directional, rel=tolerance if kind == "Muon" else 1e-6)

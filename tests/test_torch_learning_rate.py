"""Learning rates of modules: against their own optimisers' steps, explicit matrices, and a scan of the loss."""

import copy

import numpy as np
import pytest
import torch_networks

import mfdnn.pytorch as mp

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]

OPTIMISERS = {
    "AdamW": lambda torch, p, x: torch.optim.AdamW(p, lr=1e-3 * x),
    "SGD": lambda torch, p, x: torch.optim.SGD(p, lr=0.1 * x, momentum=0.9, weight_decay=1e-4),
    "Muon": lambda torch, p, x: torch.optim.Muon([q for q in p if q.ndim == 2], lr=0.02 * x),
}
NETWORKS = {
    "BN-ResNet": lambda torch: torch_networks.resnet(torch, (8, 16), 1, 5, stem="small"),
    "ViT block": torch_networks.vision_transformer,
    "causal transformer": torch_networks.causal_transformer,
}


def problem(torch, network, n=32):
    torch.manual_seed(0)
    module = NETWORKS[network](torch)
    if network == "causal transformer":
        return module, (torch.randint(0, 11, (n // 2, 6)), torch.randint(0, 11, (n // 2, 6)))
    return module, (torch.randn(n, 3, 8, 8), torch.arange(n) % 5)


def small(torch, seed=0, n_outputs=3, n=12):
    """A network with batch norm in float64, and a batch."""
    nn = torch.nn
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, n_outputs)).double()
    return module, (torch.randn(n, 4).double(), torch.arange(n) % n_outputs)


def after_a_step(torch, module, batch, loss, optimiser, x):
    """The loss after one step of `x` times the rate, taken by the user's own classes."""
    module = copy.deepcopy(module)
    stepper = optimiser(torch, list(module.parameters()), x)
    loss(module(batch[0]), batch[1]).backward()
    stepper.step()
    with torch.no_grad():
        return float(loss(module(batch[0]), batch[1]))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_critical_rate_is_that_of_a_scan(torch, network, optimiser):
    if not hasattr(torch.optim, optimiser):
        pytest.skip(f"{optimiser} came into torch.optim later")
    module, batch = problem(torch, network)
    loss, make = torch.nn.CrossEntropyLoss(), OPTIMISERS[optimiser]
    answer = mp.learning_rate(
        module, batch, loss, make(torch, list(module.parameters()), 1.0), parts=("first_step", "critical")
    )
    assert answer.passes < 20
    x = answer.critical / answer.current
    scan = np.geomspace(x / 20, 3 * x, 60)
    over = np.array([after_a_step(torch, module, batch, loss, make, r) for r in scan]) - answer.first_loss
    i = np.flatnonzero(over > 0)[0]
    found = scan[i - 1] + (scan[i] - scan[i - 1]) * over[i - 1] / (over[i - 1] - over[i])
    assert x == pytest.approx(found, rel=0.02)
    assert answer.crossings[0] == answer.critical and answer.rate == answer.critical
    assert answer.along["loss"][0] == answer.first_loss and np.all(np.diff(answer.along["rate"]) > 0)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_first_step_is_what_one_small_step_does(torch, optimiser):
    if not hasattr(torch.optim, optimiser):
        pytest.skip(f"{optimiser} came into torch.optim later")
    module, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss()
    before = module(batch[0]).detach()
    x = 1e-5
    stepper = OPTIMISERS[optimiser](torch, list(module.parameters()), x)
    answer = mp.learning_rate(module, batch, loss, stepper, parts="first_step")
    loss(module(batch[0]), batch[1]).backward()
    stepper.step()
    moved = (module(batch[0]) - before).detach()
    # Second order in a rate of this size: some 1e-5 of the first.
    centred = moved - moved.mean(1, keepdim=True)
    assert answer.response == pytest.approx(float(centred.square().mean().sqrt()), rel=1e-3)
    fall = answer.first_loss - loss(module(batch[0]), batch[1]).item()
    assert answer.slope * answer.current == pytest.approx(fall, rel=1e-3)
    assert sum(answer.by_layer.values()) == pytest.approx(1.0)
    assert list(answer.by_layer) == ["0", "1", "3"]


def test_shares_of_layers_are_falls_of_the_loss_by_each_layer_alone(torch):
    module, batch = small(torch)
    loss, rate = torch.nn.CrossEntropyLoss(), 1e-5
    answer = mp.learning_rate(module, batch, loss, torch.optim.Adam(module.parameters(), lr=rate), parts="first_step")
    for name, share in answer.by_layer.items():
        alone = copy.deepcopy(module)
        stepper = torch.optim.Adam(alone[int(name)].parameters(), lr=rate)
        loss(alone(batch[0]), batch[1]).backward()
        stepper.step()
        fall = answer.first_loss - loss(alone(batch[0]), batch[1]).item()
        assert share * answer.slope * rate == pytest.approx(fall, rel=1e-3)


def jacobian(torch, module, X):
    """J (T C, P), by its definition, row for row."""
    outputs = module(X)
    rows = [torch.autograd.grad(f, list(module.parameters()), retain_graph=True) for f in outputs.reshape(-1)]
    return np.array([torch.cat([g.reshape(-1) for g in row]).numpy() for row in rows])


def gauss_newton(torch, module, batch, loss):
    J = jacobian(torch, module, batch[0])
    f = module(batch[0]).detach()
    H = torch.autograd.functional.hessian(lambda z: loss(z, batch[1]), f).reshape(f.numel(), f.numel()).numpy()
    return J, J.T @ H @ J


def test_the_directional_rate_is_that_of_the_explicit_matrix(torch):
    module, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]).double(), label_smoothing=0.1)
    answer = mp.learning_rate(module, batch, loss, torch.optim.SGD(module.parameters(), lr=0.3), parts=("critical",))
    _, G = gauss_newton(torch, module, batch, loss)
    gradient = torch.autograd.grad(loss(module(batch[0]), batch[1]), list(module.parameters()))
    g = torch.cat([part.reshape(-1) for part in gradient]).numpy()
    assert answer.directional == pytest.approx(2 * g @ g / (g @ G @ g), rel=1e-9)


def test_stable_rates_are_those_of_the_explicit_matrix(torch):
    module, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss()
    J, G = gauss_newton(torch, module, batch, loss)
    top = np.linalg.eigvalsh(G)[-1]
    answer = mp.learning_rate(
        module, batch, loss, torch.optim.SGD(module.parameters(), lr=0.3, momentum=0.9), parts="stable"
    )
    assert answer.stable == pytest.approx(2 * 1.9 / top, rel=1e-6)
    assert answer.any_softmax == pytest.approx(1.9 * 4 * len(batch[0]) / np.linalg.eigvalsh(J.T @ J)[-1], rel=1e-6)
    assert answer.any_softmax < answer.stable and answer.rate == answer.stable


def test_decay_counts_whatever_it_is_beside_the_data(torch):
    """Decay that differs between groups, from negligible to most of the curvature."""
    module, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss()
    _, G = gauss_newton(torch, module, batch, loss)
    size = [p.numel() for p in module.parameters()]
    for decay in (1e-6, 0.01, 0.3, 10.0):
        groups = [
            {"params": list(module.parameters())[:3], "weight_decay": decay},
            {"params": list(module.parameters())[3:], "lr": 0.7},
        ]
        answer = mp.learning_rate(module, batch, loss, torch.optim.SGD(groups, lr=0.2), parts="stable")
        S = np.repeat([0.2] * 3 + [0.7] * 3, size)
        W = np.repeat([decay] * 3 + [0.0] * 3, size)
        A = np.sqrt(S)[:, None] * (G + np.diag(W)) * np.sqrt(S)
        assert answer.stable == pytest.approx(0.2 * 2 / np.linalg.eigvalsh(A)[-1], rel=3e-4)  # `_CLOSE`
        assert answer.groups == (0.2, 0.7) and answer.rates[1] == pytest.approx(answer.rate * 3.5)


def test_adam_with_its_present_second_moments(torch):
    module, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss()
    adam = torch.optim.Adam(module.parameters(), lr=0.02)
    first = mp.learning_rate(module, batch, loss, adam)
    assert first.stable is None and first.rate == first.critical
    assert first.no_stable.startswith("Adam has no second moments before its first step")
    for _ in range(5):
        adam.zero_grad()
        loss(module(batch[0]), batch[1]).backward()
        adam.step()
    answer = mp.learning_rate(module, batch, loss, adam)
    _, G = gauss_newton(torch, module, batch, loss)
    v = np.concatenate([adam.state[p]["exp_avg_sq"].numpy().ravel() for p in module.parameters()])
    P = np.sqrt(v / (1 - 0.999**5)) + 1e-8
    assert answer.stable == pytest.approx(2 * 1.9 / 0.1 / np.linalg.eigvalsh(G / np.sqrt(np.outer(P, P)))[-1], rel=1e-5)


def at_the_minimum_of_a_quadratic(torch):
    """A linear module, whose half MSE is a quadratic, with its weights 1e-3 off the minimum."""
    torch.manual_seed(0)
    module = torch.nn.Linear(5, 3).double()
    X = torch.randn(20, 5).double() * torch.tensor([1.0, 1.2, 0.8, 0.5, 0.7])
    return module, (X, module(X).detach() + 1e-3 * torch.randn(20, 3).double())


QUADRATIC = {
    "SGD": {},
    "momentum": {"momentum": 0.9},
    "dampening": {"momentum": 0.8, "dampening": 0.5},
    "Nesterov": {"momentum": 0.9, "nesterov": True},
    "decay": {"momentum": 0.5, "weight_decay": 0.2},
}


@pytest.mark.parametrize("name", QUADRATIC)
def test_training_itself_begins_to_grow_at_the_stable_rate(torch, name):
    """From answer to training by the user's own loop, groups of different rates included."""
    module, batch = at_the_minimum_of_a_quadratic(torch)
    loss = torch.nn.MSELoss()

    def optimiser(module, x):
        groups = [{"params": [module.weight]}, {"params": [module.bias], "lr": 0.2 * x}]
        return torch.optim.SGD(groups, lr=0.1 * x, **QUADRATIC[name])

    answer = mp.learning_rate(module, batch, loss, optimiser(module, 1.0), parts="stable")

    def grows(x):
        trained = copy.deepcopy(module)
        stepper, sizes = optimiser(trained, x), []
        for _ in range(2500):  # at 1e-3 from the threshold of plain descent a mode changes by exp(5)
            stepper.zero_grad()
            loss(trained(batch[0]), batch[1]).backward()
            before = trained.weight.detach().clone()
            stepper.step()
            sizes.append(float((trained.weight.detach() - before).norm()))
        return sizes[-1] > sizes[0]

    factor = answer.stable / answer.current
    assert not grows(factor * (1 - 1e-3)) and grows(factor * (1 + 1e-3))


def bits(torch, module, optimizer):
    """Everything that must not change, as bytes and identities."""
    parts = [(name, t.detach().numpy().tobytes(), id(t)) for name, t in module.state_dict(keep_vars=True).items()]
    grads = [(id(p.grad), None if p.grad is None else p.grad.numpy().tobytes()) for p in module.parameters()]
    state = [
        (id(p), sorted((k, v.numpy().tobytes() if torch.is_tensor(v) else v) for k, v in values.items()))
        for p, values in optimizer.state.items()
    ]
    groups = [{k: v if k != "params" else list(map(id, v)) for k, v in g.items()} for g in optimizer.param_groups]
    flags = [m.training for m in module.modules()]
    rng = torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    return parts, grads, state, groups, flags, rng


@pytest.mark.parametrize("after", [None, ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("stepped", [False, True])
def test_nothing_changes(torch, after, stepped):
    module, (X, Y) = problem(torch, "BN-ResNet")
    optimizer = torch.optim.AdamW(module.parameters())
    cross = torch.nn.CrossEntropyLoss()
    if stepped:
        cross(module(X), Y).backward()
        optimizer.step()
    calls = []

    def loss(f, y):
        calls.append(1)
        if after is not None and len(calls) == 7:  # on the line
            raise after
        return cross(f, y)

    before = bits(torch, module, optimizer)
    if stepped and after is not None:  # inside the module, in the middle of the line
        passes = []

        def hook(*args):
            passes.append(1)
            if len(passes) == 12:
                raise after

        with module[3].bn1.register_forward_pre_hook(hook), pytest.raises(after):
            mp.learning_rate(module, (X, Y), loss, optimizer)
        assert bits(torch, module, optimizer) == before
        calls.clear()
    if after is None:
        mp.learning_rate(module, (X, Y), loss, optimizer, parts=("first_step", "critical"))
    else:
        with pytest.raises(after):
            mp.learning_rate(module, (X, Y), loss, optimizer)
    assert bits(torch, module, optimizer) == before


def test_answers_speak(torch):
    module, batch = small(torch)
    answer = mp.learning_rate(module, batch, torch.nn.CrossEntropyLoss(), torch.optim.SGD(module.parameters(), lr=0.1))
    text = str(answer)
    for words in ("rate", "first step", "nats", "critical", "stable", "any softmax", "promises nothing"):
        assert words in text
    assert f"{answer.rate:.4g}, {answer.factor:.3g} times the present" in text
    assert max(map(len, text.splitlines())) <= 100
    assert repr(answer).startswith("ModuleLearningRate(") and len(repr(answer)) < 120
    assert float(answer) == answer.rate == min(answer.critical, answer.stable)
    plain = answer.to_dict()
    assert plain["rates"] == [answer.rate] and plain["no_theory"] == ""
    assert plain["theory"] > 0 and set(plain["scaling"]) <= {"width", "batch"}
    for name in ("warmup_limits", "warmup_steps", "warmup_losses"):
        assert getattr(answer, name) is None


def test_parts(torch):
    module, batch = small(torch)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    loss = torch.nn.CrossEntropyLoss()
    first = mp.learning_rate(module, batch, loss, sgd, parts=("first_step",))
    assert first.rate is None and first.critical is None and first.passes == 5
    with pytest.raises(ValueError, match="`parts` had neither"):
        float(first)
    assert mp.learning_rate(module, batch, loss, sgd, parts="critical").stable is None
    assert mp.learning_rate(module, batch, loss, sgd, parts=["stable"]).response is None
    with pytest.raises(ValueError, match="`parts` must be one of all, first_step, critical, stable"):
        mp.learning_rate(module, batch, loss, sgd, parts="everything")
    with pytest.raises(TypeError, match="`parts` must be 'all' or some of"):
        mp.learning_rate(module, batch, loss, sgd, parts=3)


def test_a_step_that_climbs_has_a_critical_rate_of_zero(torch):
    module, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    loss(module(batch[0]), batch[1]).backward()
    sgd.step()
    for p in module.parameters():  # momentum that points uphill
        sgd.state[p]["momentum_buffer"].mul_(-100)
    answer = mp.learning_rate(module, batch, loss, sgd)
    assert answer.critical == 0 == float(answer)
    assert "climbs from the outset" in str(answer)


def test_any_optimiser_by_its_own_step(torch):
    class Lion(torch.optim.Optimizer):
        def __init__(self, parameters, lr):
            super().__init__(parameters, {"lr": lr})

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(p.grad.sign(), alpha=-group["lr"])

    module, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss()
    answer = mp.learning_rate(module, batch, loss, Lion(module.parameters(), 1e-3))
    assert answer.no_stable == "Lion has no limit of stability: its rule is not known here"
    adam = mp.learning_rate(module, batch, loss, torch.optim.Adam(module.parameters(), lr=1e-3), parts="critical")
    assert answer.critical == pytest.approx(adam.critical, rel=1e-2)  # Adam's first step: signs, but for eps


def test_a_loss_without_curvature_has_a_critical_rate_all_the_same(torch):
    module, (X, _) = small(torch)
    Y = torch.randn(12, 3).double()
    answer = mp.learning_rate(module, (X, Y), torch.nn.L1Loss(), torch.optim.SGD(module.parameters(), lr=0.1))
    assert answer.directional is None and answer.stable is None and answer.critical > 0
    assert "no curvature in the outputs" in answer.no_stable


BAD = {
    "reduction='none'": lambda t, m, b, o: (m, b, t.nn.CrossEntropyLoss(reduction="none"), o),
    "must be a loss module or a function": lambda t, m, b, o: (m, b, t.nn.CrossEntropyLoss, o),
    "does not take outputs of shape": lambda t, m, b, o: (m, (b[0], b[1].double()[:5]), t.nn.CrossEntropyLoss(), o),
    "would broadcast targets": lambda t, m, b, o: (m, (b[0], b[1].double()[:, None]), t.nn.MSELoss(), o),
    "must return one number": lambda t, m, b, o: (m, b, lambda f, y: f.sum(1), o),
    "does not depend on the outputs": lambda t, m, b, o: (m, b, lambda f, y: (f.argmax(1) == y).double().mean(), o),
    "is nan at these outputs": lambda t, m, b, o: (m, (b[0], 0 * b[1] - 100), t.nn.CrossEntropyLoss(), o),
    "`X` must fit `module`, but its '0'": lambda t, m, b, o: (
        m, (b[0][:, :2], b[1]), t.nn.CrossEntropyLoss(), o,
    ),
    "`batch` must be a pair": lambda t, m, b, o: (m, b[0], t.nn.CrossEntropyLoss(), o),
    "`module` must be a torch.nn.Module": lambda t, m, b, o: (3, b, t.nn.CrossEntropyLoss(), o),
    "none of the trainable parameters": lambda t, m, b, o: (
        m, b, t.nn.CrossEntropyLoss(), t.optim.SGD(copy.deepcopy(m).parameters(), lr=0.1),
    ),
    "got a scheduler": lambda t, m, b, o: (m, b, t.nn.CrossEntropyLoss(), t.optim.lr_scheduler.StepLR(o, 3)),
    "got a gradient scaler": lambda t, m, b, o: (m, b, t.nn.CrossEntropyLoss(), t.amp.GradScaler("cpu")),
    "must be an optimiser of torch.optim": lambda t, m, b, o: (m, b, t.nn.CrossEntropyLoss(), "adam"),
    "maximize=True": lambda t, m, b, o: (
        m, b, t.nn.CrossEntropyLoss(), t.optim.SGD(m.parameters(), lr=0.1, maximize=True),
    ),
    "rate of 0": lambda t, m, b, o: (m, b, t.nn.CrossEntropyLoss(), t.optim.SGD(m.parameters(), lr=0.0)),
    "LBFGS": lambda t, m, b, o: (m, b, t.nn.CrossEntropyLoss(), t.optim.LBFGS(m.parameters())),
    "does not step on a copy with dense gradients": lambda t, m, b, o: (
        m, b, t.nn.CrossEntropyLoss(), t.optim.SparseAdam(list(m.parameters())),
    ),
    "gradient of 0": lambda t, m, b, o: (m, b, lambda f, y: (f - f.detach()).square().mean(), o),
    "on cpu": lambda t, m, b, o: (m, (b[0].to("meta"), b[1]), t.nn.CrossEntropyLoss(), o),
    "of torch.float64": lambda t, m, b, o: (m, (b[0].float(), b[1]), t.nn.CrossEntropyLoss(), o),
    "at least two samples": lambda t, m, b, o: (m, (b[0][:1], b[1][:1]), t.nn.CrossEntropyLoss(), o),
    "must be finite": lambda t, m, b, o: (m, (b[0] * float("nan"), b[1]), t.nn.CrossEntropyLoss(), o),
}  # fmt: skip


@pytest.mark.parametrize("words", BAD)
def test_bad_input_gets_a_sentence(torch, words):
    module, batch = small(torch)
    given = BAD[words](torch, module, batch, torch.optim.SGD(module.parameters(), lr=0.1))
    with pytest.raises((TypeError, ValueError), match=words.replace("(", r"\(")) as raised:
        mp.learning_rate(*given)
    assert str(raised.value).endswith(".") and "`" in str(raised.value)


def test_what_is_allowed_and_said(torch):
    module, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss()
    for p in module[0].parameters():
        p.requires_grad_(False)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(sgd, 3)
    handle = module[2].register_forward_hook(lambda *a: None)
    caution = mp.learning_rate(module, batch, loss, sgd, parts="critical").caution
    assert "2 parameters are frozen" in caution and "Hooks fire" in caution and "scheduler sets the rate" in caution
    handle.remove()
    part = torch.optim.SGD([*module[3].parameters(), torch.nn.Parameter(torch.ones(3))], lr=0.1)
    caution = mp.learning_rate(module, batch, loss, part, parts="critical").caution
    assert "2 trainable parameters, as 1.weight, are not in the optimiser" in caution
    assert "1 of the optimiser's parameters are not of this module" in caution


def test_arrays_and_contexts_change_nothing(torch):
    module, (X, Y) = small(torch)
    loss, sgd = torch.nn.CrossEntropyLoss(), torch.optim.SGD(module.parameters(), lr=0.1)
    plain = mp.learning_rate(module, (X, Y), loss, sgd)
    same = [mp.learning_rate(module, (X.numpy(), Y.numpy()), loss, sgd)]
    with torch.no_grad():
        same.append(mp.learning_rate(module, (X, Y), loss, sgd))
    with torch.inference_mode():
        same.append(mp.learning_rate(module, (X, Y), loss, sgd))
    assert {(a.critical, a.stable, a.response) for a in same} == {(plain.critical, plain.stable, plain.response)}


def test_tuples_and_dictionaries(torch):
    class Returns(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return {"logits": self.inner(x), "hidden": x}

    inner, batch = small(torch)
    loss = torch.nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(inner.parameters(), lr=0.1)
    plain = mp.learning_rate(inner, batch, loss, sgd)
    with pytest.raises(TypeError, match="select="):
        mp.learning_rate(Returns(inner), batch, loss, sgd)
    chosen = mp.learning_rate(Returns(inner), ({"x": batch[0]}, batch[1]), loss, sgd, select="logits")
    assert (chosen.critical, chosen.stable) == (plain.critical, plain.stable)
    assert list(chosen.by_layer) == ["inner.0", "inner.1", "inner.3"]


def test_recurrent_networks_move_along_the_line(torch):
    """An LSTM keeps its weights in a list of its own."""

    class Recurrent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = torch.nn.LSTM(3, 5, batch_first=True), torch.nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    module, batch, loss = Recurrent(), (torch.randn(10, 6, 3), torch.arange(10) % 2), torch.nn.CrossEntropyLoss()
    answer = mp.learning_rate(module, batch, loss, torch.optim.Adam(module.parameters()), parts="critical")
    x = answer.along["rate"][3]
    stepped = after_a_step(torch, module, batch, loss, lambda t, p, r: t.optim.Adam(p, lr=r), x)
    assert answer.along["loss"][3] == pytest.approx(stepped, rel=1e-4)


@pytest.mark.slow
def test_resnet_18_takes_less_than_twenty_passes(torch):
    torch.manual_seed(0)
    module = torch_networks.resnet(torch)
    assert sum(p.numel() for p in module.parameters()) == 11_181_642  # ResNet-18 with ten outputs
    batch = torch.randn(64, 3, 32, 32), torch.arange(64) % 10
    answer = mp.learning_rate(
        module, batch, torch.nn.CrossEntropyLoss(), torch.optim.AdamW(module.parameters()),
        parts=("first_step", "critical"),
    )  # fmt: skip
    assert answer.passes < 20 and 0 < answer.critical < np.inf


def test_memory_is_predicted(torch, monkeypatch):
    from mfdnn._support import memory
    from mfdnn.pytorch import memory as of_modules

    module, batch = problem(torch, "BN-ResNet")
    monkeypatch.setattr(of_modules, "available_memory", lambda: 1e5)
    monkeypatch.setattr(memory, "available_memory", lambda: 1e5)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(MemoryError, match=r"at 32 samples would take .* pass fewer samples"):
        mp.learning_rate(module, batch, torch.nn.CrossEntropyLoss(), sgd)


@pytest.mark.parametrize("loss", ["NLLLoss", "KLDivLoss"])
def test_an_infinite_rate_is_explained(torch, loss):
    X = torch.randn(16, 5)
    Y = torch.arange(16) % 3 if loss == "NLLLoss" else torch.softmax(torch.randn(16, 3), 1)
    module = torch.nn.Linear(5, 3)
    made = getattr(torch.nn, loss)(**({"reduction": "batchmean"} if loss == "KLDivLoss" else {}))
    found = mp.learning_rate(module, (X, Y), made, torch.optim.SGD(module.parameters(), lr=0.1), parts=("critical",))
    assert found.critical == float("inf")
    assert "no critical rate (inf)" in found.caution and f"{loss} takes log-probabilities" in found.caution
    right = torch.nn.Sequential(module, torch.nn.LogSoftmax(1))
    found = mp.learning_rate(right, (X, Y), made, torch.optim.SGD(right.parameters(), lr=0.1), parts=("critical",))
    assert found.critical < 1e3 and "log-probabilities" not in found.caution

"""Next steps of torch's optimisers, and their limits of stability: against their own classes."""

import copy

import numpy as np
import pytest

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]

N = 8  # two groups of four
FROZEN = 1 - 1e-13  # a second moment that stays
STEPS = 1e7  # that Adam has made, so that all biases are corrected
BETAS = 0.9, 1 - 1e-9


def curvature():
    A = np.random.default_rng(0).standard_normal((N, N))
    return A @ A.T / N


def second_moments():
    return np.random.default_rng(1).uniform(0.1, 1.1, (2, N // 2))


def states(torch, kind):
    """What an optimiser remembers after many steps, a dictionary a group."""

    def tensor(values):
        return torch.tensor(values, dtype=torch.float64)

    found = []
    for v in second_moments():
        zero, step = np.zeros(N // 2), {"step": torch.tensor(STEPS)}
        raw = tensor(v * (1 - BETAS[1] ** STEPS))
        found.append(
            {
                "Adam": lambda: {"exp_avg": tensor(zero), "exp_avg_sq": raw, **step},  # noqa: B023
                "amsgrad": lambda: {"exp_avg": tensor(zero), "exp_avg_sq": raw, "max_exp_avg_sq": 2 * raw, **step},  # noqa: B023
                "NAdam": lambda: {
                    "exp_avg": tensor(zero), "exp_avg_sq": raw, "mu_product": torch.tensor(0.0), **step,  # noqa: B023
                },
                "RMSprop": lambda: {
                    "square_avg": tensor(v), "grad_avg": tensor(zero + 0.1), "momentum_buffer": tensor(zero), **step,  # noqa: B023
                },
                "Adagrad": lambda: {"sum": tensor(v), "step": torch.tensor(9.0)},  # noqa: B023
                "Adamax": lambda: {"exp_avg": tensor(zero), "exp_inf": tensor(v), **step},  # noqa: B023
            }[kind]()
        )  # fmt: skip
    return found


# Class, options, options of the second group, kind of state.
OPTIMISERS = {
    "SGD": ("SGD", {}, {}, None),
    "SGD, groups and decay": ("SGD", {"weight_decay": 0.3}, {"lr": 0.3, "weight_decay": 0.1}, None),
    "momentum, each group its own": ("SGD", {"momentum": 0.9}, {"lr": 0.3, "momentum": 0.5}, None),
    "momentum and dampening": ("SGD", {"momentum": 0.9, "dampening": 0.4}, {"lr": 0.3}, None),
    "Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.2}, {}, None),
    "Nesterov and not": ("SGD", {"momentum": 0.9, "nesterov": True}, {"lr": 0.05, "nesterov": False}, None),
    "Adam": ("Adam", {"betas": BETAS, "eps": 0.05, "weight_decay": 0.3}, {"lr": 0.3}, "Adam"),
    "AdamW": ("AdamW", {"betas": BETAS, "eps": 0.05, "weight_decay": 0.3}, {"lr": 0.3}, "Adam"),
    "amsgrad": ("Adam", {"betas": BETAS, "amsgrad": True}, {"lr": 0.3}, "amsgrad"),
    "NAdam": ("NAdam", {"betas": BETAS, "momentum_decay": 1e-9}, {"lr": 0.3}, "NAdam"),
    "RAdam": ("RAdam", {"betas": (0.9, 1 - 1e-7), "eps": 0.05}, {"lr": 0.3}, "Adam"),
    "RMSprop": ("RMSprop", {"alpha": FROZEN, "momentum": 0.5, "eps": 0.1, "weight_decay": 0.1}, {}, "RMSprop"),
    "centred": ("RMSprop", {"alpha": FROZEN, "centered": True}, {"lr": 0.2}, "RMSprop"),
    "Adagrad": ("Adagrad", {"weight_decay": 0.1, "lr_decay": 1e-12}, {"lr": 0.2}, "Adagrad"),
    "Adamax": ("Adamax", {"betas": (0.8, FROZEN), "weight_decay": 0.1}, {"lr": 0.3}, "Adamax"),
}


def made(torch, name, factor=1.0, start=None):
    """Parameters near the minimum, and the optimiser at `factor` times its rates."""
    kind, options, second, state = OPTIMISERS[name]
    start = np.ones(N) if start is None else start
    parameters = [torch.nn.Parameter(torch.tensor(1e-9 * part)) for part in np.split(start, 2)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], **second}]
    optimizer = getattr(torch.optim, kind)(groups, **{"lr": 0.1, **options})
    if state:
        for p, values in zip(parameters, states(torch, state), strict=True):
            optimizer.state[p] = values
    for group in optimizer.param_groups:
        group["lr"] *= factor
    return parameters, optimizer


def grows(torch, name, factor, start, steps=400):
    """Whether the optimiser itself leaves the minimum of the quadratic."""
    parameters, optimizer = made(torch, name, factor, start)
    G, sizes = torch.tensor(curvature()), []
    for _ in range(steps):
        gradient = G @ torch.cat([p.detach() for p in parameters])
        for p, g in zip(parameters, gradient.split(N // 2), strict=True):
            p.grad = g.clone()
        optimizer.step()
        sizes.append(float(torch.cat([p.detach() for p in parameters]).norm()))
        if sizes[-1] > 1e-3:  # while second moments do not move
            return True
    return sizes[-1] > sizes[steps // 2]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_limit_is_where_the_optimiser_itself_begins_to_grow(torch, name):
    from mfdnn.pytorch.optimisers import frozen_rule

    parameters, optimizer = made(torch, name)
    rule = frozen_rule(optimizer, parameters)
    S = np.sqrt(rule.scale)
    values, vectors = np.linalg.eigh(S[:, None] * (curvature() + np.diag(rule.l2)) * S + np.diag(rule.decay))
    limit, start = 2 / values[-1], S * vectors[:, -1]  # the mode that grows first
    assert not grows(torch, name, limit * (1 - 1e-3), start) and grows(torch, name, limit * (1 + 1e-3), start)


def test_words(torch):
    from mfdnn.pytorch.optimisers import frozen_rule

    said = {name: frozen_rule(*reversed(made(torch, name))).words for name in ("SGD", "Nesterov", "AdamW", "Adagrad")}
    assert said == {
        "SGD": "SGD without momentum",
        "Nesterov": "SGD Nesterov momentum 0.9",
        "AdamW": "AdamW with its second moments after 10000000 steps",
        "Adagrad": "Adagrad with its sums after 9 steps",
    }


@pytest.mark.parametrize("name", ["Muon", "Rprop", "ASGD", "Adadelta", "Adafactor"])
def test_what_has_no_limit_says_why(torch, name):
    from mfdnn.pytorch.optimisers import frozen_rule

    if not hasattr(torch.optim, name):
        pytest.skip(f"{name} came into torch.optim later")
    p = torch.nn.Parameter(torch.ones(3, 3))
    why = frozen_rule(getattr(torch.optim, name)([p]), [p])
    assert why.startswith(f"{name} has no limit of stability: ")


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adamax"])
def test_before_the_first_step_there_is_none(torch, name):
    from mfdnn.pytorch.optimisers import frozen_rule

    p = torch.nn.Parameter(torch.ones(3))
    assert "before its first step" in frozen_rule(getattr(torch.optim, name)([p]), [p])


def test_a_subclass_that_steps_differently_is_not_taken_for_its_parent(torch):
    from mfdnn.pytorch.optimisers import frozen_rule

    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)

    class Renamed(torch.optim.SGD):
        pass

    p = torch.nn.Parameter(torch.ones(3))
    assert frozen_rule(Mine([p], lr=0.1), [p]) == "Mine has no limit of stability: its rule is not known here"
    np.testing.assert_array_equal(frozen_rule(Renamed([p], lr=0.1), [p]).scale, 0.1)


STEPS_OF = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.1},
    "Adam": {"weight_decay": 0.1},
    "AdamW": {"amsgrad": True},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"centered": True},
    "Adagrad": {},
    "Adamax": {},
    "Adadelta": {},
    "Rprop": {},
    "ASGD": {},
    "Adafactor": {},
    "Muon": {"adjust_lr_fn": "original"},
    "Muon, match_rms_adamw": {"adjust_lr_fn": "match_rms_adamw"},
}


@pytest.mark.parametrize("name", STEPS_OF)
@pytest.mark.parametrize("stepped", [0, 3])
def test_the_next_step_is_that_of_the_class_and_leaves_it_alone(torch, name, stepped):
    from mfdnn.pytorch.optimisers import next_step

    kind = name.partition(",")[0]
    if not hasattr(torch.optim, kind):
        pytest.skip(f"{kind} came into torch.optim later")
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float64)) for _ in range(2)]
    optimizer = getattr(torch.optim, kind)(parameters, lr=0.01, **STEPS_OF[name])
    for _ in range(stepped):
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer.step()
    gradients = {p: torch.randn_like(p) for p in parameters}
    optimizer.register_step_post_hook(lambda *args: pytest.fail("a hook fires"))
    before = copy.deepcopy((optimizer.state_dict(), parameters))
    found = next_step(optimizer, gradients)
    after = optimizer.state_dict()
    torch.testing.assert_close(after["state"], before[0]["state"], rtol=0, atol=0)
    assert after["param_groups"] == before[0]["param_groups"] and not any(p.grad is gradients[p] for p in parameters)
    torch.testing.assert_close(parameters, before[1], rtol=0, atol=0)
    for p, g in gradients.items():
        p.grad = g
    optimizer._optimizer_step_post_hooks.clear()
    optimizer.step()
    for p, old in zip(parameters, before[1], strict=True):
        torch.testing.assert_close(found[p], (p - old).detach(), rtol=1e-12, atol=1e-14)


def test_a_small_step_is_not_lost_in_the_rounding_of_the_weights(torch):
    from mfdnn.pytorch.optimisers import next_step

    p = torch.nn.Parameter(torch.full((5,), 100.0))  # float32: its last place is 8e-6
    g = torch.tensor([1.0, 0.3, 0.01, 1e-3, 1e-4])
    found = next_step(torch.optim.SGD([p], lr=1e-6), {p: g})[p]
    np.testing.assert_allclose(found, -1e-6 * g.double().numpy(), atol=2e-14)  # the last place of 100 in float64


def test_attributes_of_ones_own_optimiser_are_copied(torch):
    from mfdnn.pytorch.optimisers import next_step

    class Lookahead(torch.optim.Optimizer):
        def __init__(self, parameters, lr):
            super().__init__(parameters, {"lr": lr})
            self.slow = {p: p.detach().clone() for group in self.param_groups for p in group["params"]}
            self.count = 0

        @torch.no_grad()
        def step(self):
            self.count += 1
            for p, slow in self.slow.items():
                slow.add_(p.grad, alpha=-self.param_groups[0]["lr"])
                p.copy_(slow)

    p = torch.nn.Parameter(torch.ones(3))
    optimizer = Lookahead([p], 0.1)
    found = next_step(optimizer, {p: torch.ones(3)})[p]
    np.testing.assert_allclose(found, -0.1, rtol=1e-6)
    assert optimizer.count == 0 and bool((optimizer.slow[p] == 1).all())


def test_needs_of_a_closure_are_told(torch):
    from mfdnn.pytorch.optimisers import next_step

    class Needs(torch.optim.SGD):
        def step(self, closure):
            closure()

    p = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match=r"`optimizer` Needs does not step on a copy .*closure"):
        next_step(Needs([p], lr=0.1), {p: torch.ones(3)})

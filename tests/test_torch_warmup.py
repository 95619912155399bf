"""Warm-ups: what is said of them is what a loop of training does."""

import copy

import numpy as np
import pytest
import torch_networks
from test_torch_learning_rate import bits

import mfdnn.pytorch as mp

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]


def trained(torch, module, batch, loss, make, warm, n):
    """Losses of one's own loop, before each step and at the end."""
    module = copy.deepcopy(module)
    stepper = make(module)
    base = [group["lr"] for group in stepper.param_groups]
    found = []
    for k in range(n):
        stepper.zero_grad()
        value = loss(module(batch[0]), batch[1])
        value.backward()
        found.append(float(value.detach()))
        for group, rate in zip(stepper.param_groups, base, strict=True):
            group["lr"] = rate * min(1, (k + 1) / warm)
        stepper.step()
    with torch.no_grad():
        return np.array([*found, float(loss(module(batch[0]), batch[1]))])


@pytest.mark.parametrize("seed", range(3))
def test_the_warm_up_keeps_a_transformers_loss_from_rising_and_half_of_it_does_not(torch, seed):
    torch.manual_seed(seed)
    module = torch_networks.causal_transformer(torch)
    batch = torch.randint(0, 11, (16, 6)), torch.randint(0, 11, (16, 6))
    loss = torch.nn.CrossEntropyLoss()

    def make(module):
        return torch.optim.AdamW(module.parameters(), lr=3e-2)

    optimizer = make(module)
    before = bits(torch, module, optimizer)
    answer = mp.learning_rate(module, batch, loss, optimizer, parts=("warmup",))
    assert bits(torch, module, optimizer) == before  # restored, bit by bit
    warm = answer.warmup_steps
    assert warm >= 2 and answer.warmup_notion == "critical" and len(answer.warmup_limits) == 20
    losses = trained(torch, module, batch, loss, make, warm, 20)
    np.testing.assert_allclose(losses, answer.warmup_losses, rtol=1e-3)
    assert np.all(np.diff(losses) <= 1e-5)
    assert np.any(np.diff(trained(torch, module, batch, loss, make, warm // 2, 20)) > 1e-3)
    rates = 3e-2 * np.minimum(1, np.arange(1, 21) / warm)
    assert np.all(rates < 1.02 * np.array(answer.warmup_limits))  # crossings are found to 0.4 %
    assert f"{warm} steps, linear, to the present 0.03" in str(answer)


def problem(torch):
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(nn.Linear(8, 30), nn.Tanh(), nn.Linear(30, 3)).double()
    return module, (torch.randn(20, 8).double(), torch.randn(20, 3).double())


def test_a_rate_that_needs_none(torch):
    module, batch = problem(torch)
    answer = mp.learning_rate(
        module, batch, torch.nn.MSELoss(), torch.optim.SGD(module.parameters(), lr=1e-2), parts="warmup", n_steps=5
    )
    assert answer.warmup_steps == 1 and len(answer.warmup_losses) == 6 and "None needed" in str(answer)
    assert answer.rate is None and answer.critical is None
    first = mp.learning_rate(
        module, batch, torch.nn.MSELoss(), torch.optim.SGD(module.parameters(), lr=1e-2), parts="critical"
    )
    assert answer.warmup_limits[0] == pytest.approx(first.critical, rel=1e-2)


def test_a_rate_that_no_warm_up_helps(torch):
    module, batch = problem(torch)
    optimizer = torch.optim.SGD(module.parameters(), lr=50.0)
    answer = mp.learning_rate(module, batch, torch.nn.MSELoss(), optimizer, parts=("warmup",), n_steps=6)
    assert answer.warmup_steps is None and "the loss still rises" in str(answer)
    assert answer.warmup_limits[0] < 50.0


def test_momentum_may_swing_below_the_limit_of_stability(torch):
    module, batch = problem(torch)
    stable = mp.learning_rate(
        module, batch, torch.nn.MSELoss(), torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.95), parts="stable"
    ).stable
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1 * stable, momentum=0.95)
    answer = mp.learning_rate(module, batch, torch.nn.MSELoss(), optimizer, parts=("warmup",), n_steps=24)
    assert answer.warmup_notion == "stable" and answer.warmup_steps == 1
    assert np.any(np.diff(answer.warmup_losses) > 0) and min(answer.warmup_limits) > optimizer.param_groups[0]["lr"]


def test_a_state_that_has_stepped_is_where_virtual_steps_begin(torch):
    module, batch = problem(torch)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    loss = torch.nn.MSELoss()
    for _ in range(3):
        optimizer.zero_grad()
        loss(module(batch[0]), batch[1]).backward()
        optimizer.step()
    before = bits(torch, module, optimizer)
    answer = mp.learning_rate(module, batch, loss, optimizer, parts=("warmup",), n_steps=4)
    assert bits(torch, module, optimizer) == before
    assert answer.warmup_steps == 1
    after = []
    for _ in range(4):
        optimizer.zero_grad()
        value = loss(module(batch[0]), batch[1])
        value.backward()
        after.append(float(value.detach()))
        optimizer.step()
    np.testing.assert_allclose(answer.warmup_losses[:4], after, rtol=1e-12)


def test_bad_input(torch):
    module, batch = problem(torch)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="`n_steps` must be"):
        mp.learning_rate(module, batch, torch.nn.MSELoss(), optimizer, parts="warmup", n_steps=0)

"""Gauss-Newton matrices of torch's losses, against their Hessians by derivatives."""

import numpy as np
import pytest

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]

T, C = 6, 4


def outputs(torch, *shape):
    torch.manual_seed(0)
    return 2 * torch.randn(*(shape or (T, C)), dtype=torch.float64)


def cases(torch):
    nn = torch.nn
    f = outputs(torch)
    w = torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 1, -100])
    images = outputs(torch, 3, C, 5)
    found = {}
    for reduction in ("mean", "sum"):
        found |= {
            f"cross-entropy, {reduction}": (nn.CrossEntropyLoss(reduction=reduction), f, labels),
            f"weights and smoothing, {reduction}": (
                nn.CrossEntropyLoss(w, label_smoothing=0.2, reduction=reduction),
                f,
                labels,
            ),
            f"probabilities, {reduction}": (
                nn.CrossEntropyLoss(w, label_smoothing=0.2, reduction=reduction),
                f,
                f.flip(0).softmax(1),
            ),
            f"ignored, {reduction}": (
                nn.CrossEntropyLoss(w, ignore_index=1, label_smoothing=0.1, reduction=reduction),
                f,
                labels.clamp(min=0),
            ),
            f"squared errors, {reduction}": (nn.MSELoss(reduction=reduction), f, f.flip(0)),
        }
    return found | {
        "many places": (nn.CrossEntropyLoss(w, label_smoothing=0.1), images, torch.arange(15).reshape(3, 5) % C),
        "probabilities at many places": (nn.CrossEntropyLoss(w), images, images.flip(0).softmax(1)),
        "one sample": (nn.CrossEntropyLoss(), f[0], torch.tensor(2)),
        "function": (nn.functional.cross_entropy, f, labels),
        "binary": (nn.BCEWithLogitsLoss(pos_weight=w), f, f.sigmoid().flip(0)),
        "Huber": (nn.HuberLoss(), f, f.flip(0)),
        "own, a block a sample": (lambda z, y: (z - y).norm(dim=1).pow(4).mean(), f, f.flip(0)),
        "own, all coupled": (lambda z, y: torch.logsumexp(z.reshape(-1), 0) - (z * y).sum(), f, f.flip(0)),
    }


NAMES = [
    *(f"{kind}, {reduction}" for kind in ("cross-entropy", "weights and smoothing", "probabilities", "ignored",
      "squared errors") for reduction in ("mean", "sum")),
    "many places", "probabilities at many places", "one sample", "function", "binary", "Huber",
    "own, a block a sample", "own, all coupled",
]  # fmt: skip


def hessian(torch, loss, f, y):
    return torch.autograd.functional.hessian(lambda z: loss(z, y), f).reshape(f.numel(), f.numel())


@pytest.mark.parametrize("name", NAMES)
def test_root_and_curvature_are_those_of_the_hessian(torch, name):
    from mfdnn.pytorch.losses import loss_at

    loss, f, y = cases(torch)[name]
    at, H = loss_at(loss, f, y), hessian(torch, loss, f, y)
    assert at.why_not == "" and at.value == loss(f, y).item()
    eye = torch.eye(f.numel(), dtype=f.dtype).reshape(-1, *f.shape)
    found = torch.stack([at.transpose(at.root(e)).reshape(-1) for e in eye])
    np.testing.assert_allclose(found, H, atol=1e-12 * float(H.abs().max()))
    change = outputs(torch, *f.shape).flip(0)
    assert at.curvature(change) == pytest.approx(float(change.reshape(-1) @ H @ change.reshape(-1)), rel=1e-12)
    slope = torch.autograd.functional.jacobian(lambda z: loss(z, y), f)
    np.testing.assert_allclose(at.gradient, slope, atol=1e-15)


@pytest.mark.parametrize("name", NAMES[:8] + NAMES[10:14])
def test_no_softmax_exceeds_its_bound(torch, name):
    """It is reached by two classes of probability one half each."""
    from mfdnn.pytorch.losses import loss_at

    loss, f, y = cases(torch)[name]
    if not loss_at(loss, f, y).classes:
        pytest.skip("squared errors")
    for scale in (0.0, 1.0, 3.0, 100.0):
        at = loss_at(loss, scale * f, y)
        eye = torch.eye(f.numel(), dtype=f.dtype).reshape(-1, *f.shape)
        bound = torch.stack([at.any_softmax(at.any_softmax(e)).reshape(-1) for e in eye])
        gap = np.linalg.eigvalsh(bound - hessian(torch, loss, scale * f, y))
        assert gap.min() > -1e-12
    half = torch.tensor([[20.0, 20.0, 0.0, 0.0]]).double()
    at = loss_at(torch.nn.CrossEntropyLoss(), half, torch.tensor([0]))
    v = torch.tensor([[1.0, -1.0, 0.0, 0.0]]).double()
    assert at.curvature(v) == pytest.approx(float(at.any_softmax(v).square().sum()), rel=1e-6)


def test_log_probabilities_have_the_curvature_of_their_logits(torch):
    from mfdnn.pytorch.losses import loss_at

    f, labels = outputs(torch), torch.arange(T) % C
    w = torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64)
    of_logits = loss_at(torch.nn.CrossEntropyLoss(w), f, labels)
    of_logs = loss_at(torch.nn.NLLLoss(w), f.log_softmax(1), labels)
    change = outputs(torch).flip(0)
    moved = torch.func.jvp(lambda z: z.log_softmax(1), (f,), (change,))[1]
    assert of_logs.curvature(moved) == pytest.approx(of_logits.curvature(change), rel=1e-10)
    assert "no curvature" in loss_at(torch.nn.NLLLoss(), f, labels).why_not


def test_what_has_no_gauss_newton_matrix_says_why(torch):
    from mfdnn.pytorch.losses import loss_at

    f = outputs(torch)
    assert "no curvature" in loss_at(torch.nn.L1Loss(), f, f.flip(0)).why_not
    assert "no second derivatives" in loss_at(torch.nn.MultiMarginLoss(), f, (0 * f[:, 0]).long()).why_not
    assert "not convex" in loss_at(lambda z, y: z.sin().mean(), f, None).why_not
    assert "not convex" in loss_at(lambda z, y: (z[:, 0] * z[:, 1]).mean(), f, None).why_not
    many = outputs(torch, 600, 4)
    assert "couples the samples" in loss_at(lambda z, y: torch.logsumexp(z.reshape(-1), 0), many, None).why_not


def test_in_float32_a_nearly_certain_class_keeps_its_curvature(torch):
    from mfdnn.pytorch.losses import loss_at

    f = torch.tensor([[18.0, 0.0, -1.0]])
    at = loss_at(torch.nn.CrossEntropyLoss(), f, torch.tensor([0]))
    p = f.double().softmax(1)
    v = torch.tensor([[1.0, 0.0, 0.0]]).double()
    exact = float(p[0, 0] * p[0, 1:].sum())  # p (1 - p), without 1 - p
    assert at.curvature(v) == pytest.approx(exact, rel=1e-10)


def test_size_of_a_change(torch):
    from mfdnn.pytorch.losses import loss_at

    f, change = outputs(torch), outputs(torch).flip(0)
    squared = loss_at(torch.nn.MSELoss(), f, f.flip(0))
    assert squared.size(change) == pytest.approx(float(change.square().mean().sqrt()))
    logits = loss_at(torch.nn.CrossEntropyLoss(), f, torch.arange(T) % C)
    assert logits.size(change) == pytest.approx(logits.size(change + torch.arange(T).double()[:, None]))
    assert logits.size(change) < squared.size(change)


@pytest.mark.parametrize("name", NAMES)
def test_where_there_is_no_float64_all_is_in_float32(torch, name, monkeypatch):
    """As on Apple's devices."""
    from mfdnn.pytorch import losses

    loss, f, y = cases(torch)[name]
    exact, change = losses.loss_at(loss, f, y), outputs(torch, *f.shape).flip(0)
    expected = exact.curvature(change), exact.size(change)
    monkeypatch.setattr(losses, "wide", lambda tensor: tensor.to(torch.float32))
    loss = loss.float() if isinstance(loss, torch.nn.Module) else loss
    at = losses.loss_at(loss, f.float(), y.float() if y.is_floating_point() else y)
    root = at.root(change.float())
    assert root.dtype == at.transpose(root).dtype == torch.float32
    np.testing.assert_allclose((at.curvature(change.float()), at.size(change.float())), expected, rtol=2e-4)

r"""Losses of torch: value, slope, and the Gauss-Newton matrix of the outputs.

The loss as its owner has it, :math:`L(f)` of all outputs f of the batch at once, with its reduction, class weights,
label smoothing and ignored labels. The Gauss-Newton matrix is :math:`J^T H J`, H the Hessian of L by the outputs: for
cross-entropy :math:`m_s (\mathrm{diag}\,p_s - p_s p_s^T)` for sample s of weight :math:`m_s`, 2/n or 2 times the
identity for squared errors, and by derivatives of the loss for any other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from .._support.validation import short
from ._torch import torch
from .inputs import ordinary

__all__ = ["LossAt", "is_of", "loss_at", "loss_value", "plain", "wide"]

_WHOLE = 2000  # outputs of the batch up to which a Hessian that couples samples is formed
_COLUMNS = 2048  # outputs of a sample up to which its block of the Hessian is formed


def wide(tensor: Any) -> Any:
    """In float64, which not every device has."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


class LossAt:
    """A loss at some outputs.

    Attributes
    ----------
    name : str
        Of the loss.
    value : float
    gradient : tensor
        By the outputs, of their shape.
    weights : tensor (S,) or None
        Of cross-entropy: :math:`m_s`, which sum to 1 for the mean over samples. None for other losses.
    why_not : str
        Why there is no Gauss-Newton matrix; empty where there is one.
    """

    def __init__(self, name: str, value: float, gradient: Any, hessian: _Hessian | str):
        self.name, self.value, self.gradient = name, value, gradient
        self.shape = gradient.shape
        self._hessian = hessian
        self.weights = getattr(hessian, "weights", None)
        self.why_not = hessian if isinstance(hessian, str) else ""

    @property
    def classes(self) -> bool:
        """Whether the outputs are logits of a softmax."""
        return self.weights is not None

    def curvature(self, change: Any) -> float:
        """D.H D for a change D of the outputs, in float64."""
        assert not isinstance(self._hessian, str)
        half = self._hessian.root(wide(change))
        return float((half * half).sum())

    def size(self, change: Any) -> float:
        """Root mean square over samples and outputs.

        Of logits without what all classes of a sample share, which changes no probability.
        """
        change = wide(change)
        if self.classes:
            change = change - change.mean(dim=_class_axis(change), keepdim=True)
        return float(change.square().mean().sqrt())

    def root(self, change: Any) -> Any:
        """R D, H = R^T R, of any shape."""
        assert not isinstance(self._hessian, str)
        return self._hessian.root(change)

    def transpose(self, u: Any) -> Any:
        """R^T u, of the shape of the outputs."""
        assert not isinstance(self._hessian, str)
        return self._hessian.transpose(u)

    def any_softmax(self, change: Any) -> Any:
        r"""The root of :math:`m_s I/2`, which no softmax exceeds, times D."""
        assert self.weights is not None
        shape = self.shape[:1] + self.shape[2:] if len(self.shape) > 1 else ()
        m = (0.5 * self.weights).sqrt().reshape(shape).to(change.dtype)
        return m.unsqueeze(_class_axis(change)) * change


class _Hessian(ABC):
    """R with R^T R = H."""

    weights: Any = None

    @abstractmethod
    def root(self, change: Any) -> Any:
        """R times a change of the outputs."""

    @abstractmethod
    def transpose(self, u: Any) -> Any:
        """R^T u, of the shape of the outputs."""


class _Multiple(_Hessian):
    """A multiple of the identity, or a diagonal."""

    def __init__(self, diagonal: float | Any):
        self._sqrt: Any = diagonal**0.5

    def root(self, change: Any) -> Any:
        return change * (self._sqrt.to(change.dtype) if torch.is_tensor(self._sqrt) else self._sqrt)

    def transpose(self, u: Any) -> Any:
        return self.root(u)


class _Softmax(_Hessian):
    r"""R_s = sqrt(m_s) (diag sqrt p - sqrt p p^T), sample by sample."""

    def __init__(self, logits: Any, weights: Any):
        self.weights = weights
        self._axis = _class_axis(logits)
        self.p = wide(logits).softmax(dim=self._axis)
        self._sqrt = self.p.sqrt()
        shape = self.p.select(self._axis, 0).shape
        self._m = wide(weights).sqrt().reshape(shape).unsqueeze(self._axis)
        self._top = self.p.argmax(dim=self._axis, keepdim=True)

    def root(self, change: Any) -> Any:
        v = wide(change)
        v = v - v.gather(self._axis, self._top)  # R 1 = 0; no cancellation where one p is nearly 1
        found = self._m * self._sqrt * (v - (self.p * v).sum(dim=self._axis, keepdim=True))
        return found.to(change.dtype)

    def transpose(self, u: Any) -> Any:
        w = self._m * self._sqrt * wide(u)
        found = w - self.p * w.sum(dim=self._axis, keepdim=True)
        found = found.scatter(self._axis, self._top, 0.0)
        # 1^T R^T = 0, again without cancellation
        return found.scatter(self._axis, self._top, -found.sum(dim=self._axis, keepdim=True)).to(u.dtype)


class _Blocks(_Hessian):
    """A root (T, C, C) for each sample, or one (1, N, N) for all outputs together."""

    def __init__(self, roots: Any, shape: Any):
        self._roots, self._shape = roots, shape

    def root(self, change: Any) -> Any:
        rows = change.reshape(len(self._roots), -1, 1)
        return (self._roots.to(change.dtype) @ rows).reshape(self._shape)

    def transpose(self, u: Any) -> Any:
        rows = u.reshape(len(self._roots), -1, 1)
        return (self._roots.mT.to(u.dtype) @ rows).reshape(self._shape)


def _class_axis(outputs: Any) -> int:
    """Where `torch.nn.CrossEntropyLoss` has the classes."""
    return 0 if outputs.ndim == 1 else 1


def loss_value(loss: Any, outputs: Any, targets: Any) -> Any:
    """The loss, a tensor of no axes.

    Raises
    ------
    TypeError, ValueError
        It takes no such outputs and targets, or it is no single finite number.
    """
    if not callable(loss) or isinstance(loss, type):
        made = f"; make one: {loss.__name__}()" if isinstance(loss, type) else "; pass torch.nn.CrossEntropyLoss()"
        raise TypeError(f"`loss` must be a loss module or a function of outputs and targets, got {short(loss)}{made}.")
    if getattr(loss, "reduction", None) == "none":
        raise ValueError(
            f"`loss` {_name(loss)} has reduction='none', so there is no one number to descend; use 'mean' or "
            "'sum', as in training."
        )
    if is_of(plain(loss), torch.nn.MSELoss) and getattr(targets, "shape", outputs.shape) != outputs.shape:
        raise ValueError(
            f"`loss` MSELoss would broadcast targets of shape {tuple(targets.shape)} to outputs of shape "
            f"{tuple(outputs.shape)}, and compare every output with every target; reshape the targets."
        )
    try:
        value = loss(outputs, ordinary(targets))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        why = str(error).partition("\n")[0].strip(" .")
        raise ValueError(
            f"`loss` {_name(loss)} does not take outputs of shape {tuple(outputs.shape)} and these targets "
            f"({why:.200}); pass targets of that shape, device and dtype, or `select` the part of the outputs that it "
            "takes."
        ) from error
    if not torch.is_tensor(value) or value.numel() != 1:
        came = f"shape {tuple(value.shape)}" if torch.is_tensor(value) else short(value)
        raise ValueError(f"`loss` {_name(loss)} must return one number, got {came}; reduce it, as in training.")
    if not torch.isfinite(value):
        raise ValueError(
            f"`loss` {_name(loss)} is {float(value.detach())} at these outputs; pass a batch and weights where it is "
            "finite."
        )
    return value.reshape(())


def loss_at(loss: Any, outputs: Any, targets: Any) -> LossAt:
    """The loss at `outputs`, which are taken as they are, without their history.

    Parameters
    ----------
    loss : module of torch.nn or callable
        ``loss(outputs, targets)`` is one number.
    outputs : tensor
    targets : object

    Returns
    -------
    LossAt

    Raises
    ------
    TypeError, ValueError
        As `loss_value`; squared errors of targets that are broadcast.
    """
    with torch.inference_mode(False), torch.enable_grad():
        f = outputs.detach().clone().requires_grad_()
        value = loss_value(loss, f, targets)
        if not value.requires_grad:
            raise ValueError(
                f"`loss` {_name(loss)} does not depend on the outputs by derivatives; use tensor operations all the "
                "way."
            )
        (slope,) = torch.autograd.grad(value, f, create_graph=True)
        hessian = _known(loss, f.detach(), ordinary(targets)) or _by_derivatives(slope, f)
    return LossAt(_name(loss), float(value.detach()), slope.detach(), hessian)


def _name(loss: Any) -> str:
    return type(loss).__name__ if isinstance(loss, torch.nn.Module) else getattr(loss, "__name__", type(loss).__name__)


def plain(loss: Any) -> Any:
    """The loss module that a function of torch.nn.functional is with its defaults."""
    if loss is torch.nn.functional.cross_entropy:
        return torch.nn.CrossEntropyLoss()
    return torch.nn.MSELoss() if loss is torch.nn.functional.mse_loss else loss


def is_of(loss: Any, kind: Any) -> bool:
    """Whether it is of that class, and no subclass has changed what it computes."""
    return isinstance(loss, kind) and type(loss).forward is kind.forward


def _known(loss: Any, f: Any, targets: Any) -> _Hessian | None:
    """The Hessian by its formula, where there is one."""
    loss = plain(loss)
    if is_of(loss, torch.nn.MSELoss):
        return _Multiple(2.0 if loss.reduction == "sum" else 2.0 / f.numel())
    if is_of(loss, torch.nn.CrossEntropyLoss):
        return _Softmax(f, _cross_entropy_weights(loss, f, targets))
    if is_of(loss, torch.nn.NLLLoss):
        # Of outputs that are log-probabilities it is the cross-entropy of them as logits.
        total = wide(f).logsumexp(dim=_class_axis(f))
        if float(total.abs().max()) < 1e-4:
            return _Softmax(f, _cross_entropy_weights(loss, f, targets))
    return None


def _cross_entropy_weights(loss: Any, f: Any, targets: Any) -> Any:
    r"""Weight :math:`m_s` of the log-sum-exp of each sample, (S,)."""
    n_classes = f.shape[_class_axis(f)]
    smoothing = float(getattr(loss, "label_smoothing", 0.0))
    w = loss.weight if loss.weight is not None else torch.ones(n_classes, device=f.device)
    w = wide(w)
    if targets.is_floating_point():
        axis = _class_axis(f)
        smooth = wide(targets).movedim(axis, -1) * (1 - smoothing) + smoothing / n_classes
        m = (smooth * w).sum(-1).reshape(-1)
        return m if loss.reduction == "sum" else m / m.numel()
    labels = targets.reshape(-1)
    counted = labels != loss.ignore_index
    own = torch.where(counted, w[torch.where(counted, labels, 0)], 0.0)
    m = (1 - smoothing) * own + smoothing * w.mean() * counted
    return m if loss.reduction == "sum" else m / own.sum()


def _by_derivatives(slope: Any, f: Any) -> _Hessian | str:
    """Hessian from derivatives of the slope: diagonal, a block a sample, or whole."""

    def product(v: Any) -> Any:
        if not slope.requires_grad:
            return torch.zeros_like(f)
        (found,) = torch.autograd.grad(slope, f, v, retain_graph=True, allow_unused=True)
        return torch.zeros_like(f) if found is None else found.detach()

    generator = torch.Generator().manual_seed(0)  # the answer does not depend on it
    z = torch.randn(f.shape, generator=generator, dtype=torch.float64).to(f)
    try:
        Hz = product(z)
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        return "PyTorch has no second derivatives of the loss"
    if not torch.isfinite(Hz).all():
        return "the loss has no finite second derivatives at these outputs"
    if not Hz.any():
        return "the loss has no curvature in the outputs, so there is no Gauss-Newton matrix"
    tolerance = 100 * torch.finfo(f.dtype).eps * float(Hz.abs().max())
    diagonal = product(torch.ones_like(f))
    if float((diagonal * z - Hz).abs().max()) <= tolerance:
        return _concave() if float(diagonal.min()) < -tolerance else _Multiple(wide(diagonal.clamp(min=0)))
    n_samples, n_each = f.shape[0], f[0].numel()
    if n_each <= _COLUMNS and f.ndim > 1:
        blocks = _columns(product, f, n_samples, n_each)
        found = (blocks @ z.reshape(n_samples, n_each, 1).to(blocks)).reshape(f.shape)
        if float((found - Hz).abs().max()) <= tolerance:
            return _rooted(blocks, f.shape)
    if f.numel() > _WHOLE:
        return f"the loss couples the samples, and {f.numel()} outputs are too many for its Hessian to be formed"
    return _rooted(_columns(product, f, 1, f.numel()), f.shape)


def _columns(
    product: Callable[[Any], Any], f: Any, n_blocks: int, size: int
) -> Any:
    """Blocks (n_blocks, size, size): a product gives a column of every block."""
    columns = []
    for k in range(size):
        unit = torch.zeros(n_blocks, size, dtype=f.dtype, device=f.device)
        unit[:, k] = 1.0
        columns.append(product(unit.reshape(f.shape)).reshape(n_blocks, size))
    return wide(torch.stack(columns, dim=-1))


def _concave() -> str:
    return "the loss is not convex in the outputs, so its Gauss-Newton matrix bounds nothing"


def _rooted(blocks: Any, shape: Any) -> _Hessian | str:
    values, vectors = torch.linalg.eigh((blocks + blocks.mT) / 2)
    if float(values.min()) < -1e-5 * float(values.max()):
        return _concave()
    return _Blocks((vectors * values.clamp(min=0).sqrt().unsqueeze(-2)).mT, shape)

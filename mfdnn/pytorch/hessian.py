r"""Eigenvalues of the Hessian of a module's loss: both ends, and its two parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.results import Result
from .._support.validation import one_of, positive_integer, positive_number, short
from ..jobs.watch import stop_if_asked, told_if_long
from ._torch import torch
from .graph import in_words
from .losses import loss_at, loss_value
from .memory import free_memory
from .module_operator import ModuleOperator, operator

__all__ = ["PARTS", "HessianSpectrum", "hessian_spectrum"]

PARTS = ("whole", "gauss_newton", "residual")
BASIS = 40  # vectors before a restart, beside those wanted
BLOCK = 2  # vectors at a time for each end, at least: the ends are rarely alone


@dataclass(frozen=True, repr=False, eq=False)
class HessianSpectrum(Result):
    r"""Both ends of the spectrum of a Hessian.

    Attributes
    ----------
    largest, smallest : float
        The algebraically largest and smallest eigenvalue, zeros among them.
    top, bottom : ndarray, shape (k,)
        The k largest, descending, and the k smallest, ascending.
    top_residuals, bottom_residuals : ndarray, shape (k,)
        Within this distance of each there is an eigenvalue.
    loss : str
        Name of the loss.
    loss_value : float
    part : str
        "whole", "gauss_newton" or "residual".
    n_parameters, n_samples : int
        P, and rows of the outputs.
    caution : str
        What should be known of the module, or "".
    """

    top: np.ndarray
    bottom: np.ndarray
    top_residuals: np.ndarray
    bottom_residuals: np.ndarray
    loss: str
    loss_value: float
    part: str
    n_parameters: int
    n_samples: int
    caution: str

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.top[0])

    @property
    def smallest(self) -> float:
        """The smallest eigenvalue: negative where the loss curves downward."""
        return float(self.bottom[0])

    def __repr__(self) -> str:
        return (
            f"HessianSpectrum(largest={self.largest:.6g}, smallest={self.smallest:.6g}, {self.part} of {self.loss}, "
            f"P={self.n_parameters})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Every field, `largest` and `smallest` as plain Python."""
        return {**super().to_dict(), "largest": self.largest, "smallest": self.smallest}


def hessian_spectrum(
    module: Any,
    batch: Any,
    loss: Any,
    k: int = 1,
    *,
    part: str = "whole",
    select: Any = None,
    tol: float = 1e-4,
    max_products: int = 2000,
) -> HessianSpectrum:
    r"""Largest and smallest eigenvalues of the Hessian of a module's loss.

    .. math:: \nabla^2 L(f(\theta)) = J^T H J + \sum_i \frac{\partial L}{\partial f_i} \nabla^2 f_i

    The first term, Gauss-Newton, has no eigenvalue below zero for a loss that is convex in the outputs; for squared
    errors and cross-entropy it is the Fisher information in the loss's units. The second, the residual, has both signs,
    and vanishes where the loss is fitted.

    Parameters
    ----------
    module : torch.nn.Module, or ModuleOperator
        As it stands: see `operator`.
    batch : tuple (X, Y)
        Inputs, as the module takes them, and targets, as the loss does.
    loss : module of torch.nn, or callable
        ``loss(outputs, Y)`` is one number: its reduction counts.
    k : int
        How many at each end.
    part : {"whole", "gauss_newton", "residual"}
        The Hessian, or one of its two terms.
    select : callable, int or str, optional
        What of the module's return value the loss takes; of any shape.
    tol : float
        Largest residual, as a fraction of the largest absolute value.
    max_products : int
        Number of products after which to give up.

    Returns
    -------
    HessianSpectrum

    Raises
    ------
    TypeError, ValueError
        As `operator`; a `batch` that is no pair; a loss that returns no finite number; `k` above P/2; no second
        derivatives; a Gauss-Newton matrix of a loss that is not convex in the outputs.
    MemoryError
        The vectors do not fit.
    ArithmeticError
        The iteration has not reached `tol` after `max_products` products; derivatives overflow.

    Notes
    -----
    Block Lanczos with restarts and full orthogonalisation, for both ends together, on the module's device and in its
    dtype, with 40 + 4 max(k, 2) vectors of P numbers, and as many images. A product is two backward passes. In float32
    residuals below 1e-6 of the largest are rounding.

    Where activations have kinks (relu), :math:`\nabla^2 f` is that between different layers alone.

    Examples
    --------
    >>> import torch
    >>> import mfdnn.pytorch as mp
    >>> _ = torch.manual_seed(0)
    >>> module = torch.nn.Sequential(torch.nn.Linear(10, 50), torch.nn.Tanh(), torch.nn.Linear(50, 3)).double()
    >>> batch = torch.randn(40, 10).double(), torch.randint(0, 3, (40,))
    >>> hessian = mp.hessian_spectrum(module, batch, torch.nn.CrossEntropyLoss())
    >>> fisher = mp.fisher_spectrum(module, batch[0], k=1, output="softmax")
    >>> hessian.smallest < 0 < hessian.largest, round(hessian.largest / fisher.largest, 2)
    (True, 1.02)
    """
    part, tol = one_of("part", part, PARTS), positive_number("tol", tol)
    k, max_products = positive_integer("k", k), positive_integer("max_products", max_products)
    one = operator(module, select=select)
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise TypeError(f"`batch` must be a pair (X, Y), got {short(batch)}; pass inputs and targets.")
    n = one.n_parameters
    if 2 * k > n:
        raise ValueError(f"`k` must be at most P/2 = {n // 2}, got {k}; pass less.")
    device, X = one.tensors[0].device, batch[0]
    n_vectors = BASIS + 4 * max(k, BLOCK)
    require_memory(
        2 * min(n_vectors, n) * n * one.dtype.itemsize + (one.bytes_at(X) or 0.0),
        f"the search in {n} parameters",
        "pass fewer samples or a smaller k",
        free_memory(device),
    )
    product, outputs, name, value = _products(one, X, batch[1], loss, part)
    with told_if_long(lambda: f"the ends of a spectrum of {n} parameters take long"):
        top, bottom = _ends(product, n, k, tol, max_products, one)
    return HessianSpectrum(
        top=top[0],
        bottom=bottom[0],
        top_residuals=top[1],
        bottom_residuals=bottom[1],
        loss=name,
        loss_value=value,
        part=part,
        n_parameters=n,
        n_samples=len(outputs) if outputs.ndim else 1,
        caution=one.caution,
    )


def _products(one: ModuleOperator, X: Any, Y: Any, loss: Any, part: str) -> tuple[Callable, Any, str, float]:
    """The product with a vector (P,), the outputs, and what the loss is."""
    if part == "gauss_newton":
        graph = one.graph(X, True)
        at = loss_at(loss, graph.outputs, Y)
        if at.why_not:
            raise ValueError(f"`loss` {at.name} has no Gauss-Newton matrix: {at.why_not}; pass part='whole'.")

        def gauss_newton(v: Any) -> Any:
            change = graph.jvp(_split(v, graph.parameters))
            return _joined(graph.vjp(at.transpose(at.root(change)).to(graph.outputs.dtype)))

        return gauss_newton, graph.outputs, at.name, at.value
    graph = one.graph(X, True)
    with torch.enable_grad(), in_words():
        at = loss_at(loss, graph.outputs, Y)
        outputs = graph.with_history
        scalar = (
            loss_value(loss, outputs, Y)
            if part == "whole"
            else (at.gradient.to(outputs.dtype) * outputs).sum()
        )
        slopes = torch.autograd.grad(scalar, graph.parameters, create_graph=True, allow_unused=True)
    moving = [g for g in slopes if g is not None and g.requires_grad]
    where = [i for i, g in enumerate(slopes) if g is not None and g.requires_grad]

    def hessian(v: Any) -> Any:
        parts = _split(v, graph.parameters)
        if not moving:
            return torch.zeros_like(v)
        with in_words():
            found = torch.autograd.grad(
                moving, graph.parameters, [parts[i] for i in where], retain_graph=True, allow_unused=True
            )
        return _joined(
            [torch.zeros_like(p) if h is None else h for h, p in zip(found, graph.parameters, strict=True)]
        )

    return hessian, graph.outputs, at.name, at.value


def _split(v: Any, like: list[Any]) -> list[Any]:
    sizes = [p.numel() for p in like]
    return [part.reshape(p.shape).to(p.dtype) for part, p in zip(v.split(sizes), like, strict=True)]


def _joined(parts: list[Any]) -> Any:
    return torch.cat([part.reshape(-1) for part in parts])


def _ends(
    product: Callable[[Any], Any], n: int, k: int, tol: float, max_products: int, one: ModuleOperator
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The k largest and the k smallest eigenvalues, with their residuals.

    Rayleigh-Ritz as in `mfdnn._support.lanczos.largest_eigenpairs`, for both ends at a time, of a matrix of any sign.
    """
    b = max(k, BLOCK)
    tensor = one.tensors[0]
    dtype = torch.float64 if one.dtype == np.float64 else torch.float32
    generator = torch.Generator().manual_seed(0)  # a start: the answer does not depend on it

    def noise(columns: int) -> Any:
        return torch.randn(n, columns, generator=generator, dtype=dtype).to(tensor.device)

    most = min(n, BASIS + 4 * b)
    rounding = 10 * torch.finfo(dtype).eps
    basis = images = noise(0)
    block, n_products = noise(min(2 * b, n)), 0
    while True:
        block = _orthonormal(block, basis)
        found = []
        for v in block.T:
            stop_if_asked()
            found.append(product(v.contiguous()).to(dtype))
        n_products += len(found)
        basis = torch.cat([basis, block], dim=1)
        images = torch.cat([images, *(image[:, None] for image in found)], dim=1)
        projected = (basis.T @ images).double()
        if not bool(torch.isfinite(projected).all()):
            raise ArithmeticError(
                "The derivatives of the loss overflow; pass smaller weights or other inputs."
            )
        values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
        size = float(values.abs().max())
        ends = [*range(min(b, len(values))), *range(max(len(values) - b, b), len(values))]
        some, at = vectors[:, ends].to(dtype), values[ends]
        residuals = images @ some - basis @ some * at.to(dtype)
        norms = residuals.norm(dim=0).double() + rounding * size
        wanted = [*range(k), *range(len(ends) - k, len(ends))]
        if len(ends) >= 2 * k and bool((norms[wanted] <= tol * size).all()):
            low, high = range(k), [len(ends) - 1 - i for i in range(k)]
            return (at[high].numpy(force=True), norms[high].numpy(force=True)), (
                at[list(low)].numpy(force=True),
                norms[list(low)].numpy(force=True),
            )
        if n_products >= max_products:
            raise ArithmeticError(
                f"`hessian_spectrum` has a residual of {float(norms[wanted].max()) / size:.1e} of the largest after "
                f"{n_products} products, not `tol` = {tol:g}; raise it or `max_products`, or pass a module of float64."
            )
        if basis.shape[1] + len(ends) > most:
            keep = vectors[:, [*range(most // 4), *range(len(values) - most // 4, len(values))]].to(dtype)
            basis, images = basis @ keep, images @ keep
        left = [i for i in range(len(ends)) if float(norms[i]) > tol * size]
        block = torch.cat([residuals[:, left], noise(max(0, 2 * b - len(left)))], dim=1)


def _orthonormal(block: Any, basis: Any) -> Any:
    """Orthonormal basis of what `block` adds to the span of `basis`."""
    block = block / block.norm(dim=0)
    for _ in range(2):  # twice is enough (Kahan and Parlett)
        block, r = torch.linalg.qr(block - basis @ (basis.T @ block))
        block = block[:, r.diagonal().abs() > 1e-5]  # less than that is rounding of the others in float32
    return block

"""A PyTorch module as an operator: outputs and Jacobian products in NumPy arrays."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import positive_integer, real_array
from ._torch import torch
from .features import ModuleFeatures
from .graph import Graph
from .inputs import converted, require_fitting, require_matrix
from .linear import BatchedLinear, ModuleLinear, flat, numpy_of
from .memory import Kept, free_memory, kept, rows, several, taken
from .reading import SELECT, cautions, of_the_batch, require_usable, selector, unwrapped, why_it_draws
from .restoration import drawn_since, exact_derivatives, forward_passes, named, random_states, untouched

__all__ = ["ModuleOperator", "operator"]

PEAK = 4.0  # bytes at the peak of a product, over what a graph keeps and the parameters take (measured: 1.5 to 3.7)
FEW = 4  # samples at which products are examined
GRAPHS = 2**30  # bytes up to which the graphs of all batches are kept; fixed, for the same bits every time


def operator(module: Any, *, select: Any = None) -> ModuleOperator:
    r"""A PyTorch module as a function of its trainable parameters.

    It serves `mfdnn.sampled.Operator`: spectra, kernels and training of this package take it in the place of a sampled
    network. The module is read as it stands, each time anew, and nothing of it changes.

    Parameters
    ----------
    module : torch.nn.Module
        Whatever autograd differentiates. Its flags count: batch norm in training mode has the statistics of the batch,
        in evaluation mode those that it remembers; what draws random numbers, as dropout in training mode, is refused.
    select : callable, int or str, optional
        What of the module's return value are the outputs, a tensor (T, C) with a row for each sample: a function of it,
        an index of a tuple, or a key or an attribute. Default: the value itself.

    Returns
    -------
    ModuleOperator

    Raises
    ------
    TypeError, ValueError
        What is no module; parameters that are lazy, on the meta device, not of float32 or float64, or not
        finite; none that is trainable.
    ImportError
        PyTorch is not installed.

    Notes
    -----
    :math:`J^T u` is a backward pass, :math:`J v` the derivative of one by its u, both through one graph that is kept
    (`Graph`): every product costs about two forward passes and none is repeated. Fused attention and cuDNN's recurrent
    networks have no second derivatives: their plain forms take their place in the meantime.

    Examples
    --------
    >>> import mfdnn, torch
    >>> import mfdnn.pytorch as mp
    >>> _ = torch.manual_seed(0)
    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    >>> one, X = mp.operator(module), torch.randn(5, 3)
    >>> one
    ModuleOperator(Sequential, P=66, float32)
    >>> linear = one.linearise(X)
    >>> linear.outputs.shape, linear.vjp(linear.outputs).shape
    ((5, 2), (66,))
    """
    if isinstance(module, ModuleOperator) and select is None:
        return module
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"`module` must be a torch.nn.Module, got {type(module).__name__}; pass the network itself."
        )
    return ModuleOperator(module, select)


class ModuleOperator:
    """A module as a function of its trainable parameters; made by `operator`.

    Attributes
    ----------
    module : torch.nn.Module
        What was passed, without the wrappers of `torch.compile` and of data parallelism.
    names : tuple of str
        The trainable parameters in their order: that of the vectors, each flattened row by row.
    frozen : tuple of str
        Those that are not, which are constants.
    n_parameters : int
        P, of the trainable.
    couples_samples : bool
        Whether there is batch norm with statistics of the batch.
    dtype : numpy.dtype
        float32 or float64, of vectors and outputs.
    caution : str
        What should be known of the module before its numbers are trusted, or "".
    """

    def __init__(self, module: Any, select: Any = None):
        self.module = unwrapped(module)
        self._select = select
        self._choose = selector(select)
        everything = named(self.module)
        for name, parameter in everything:
            require_usable(name, parameter)
        self.names = tuple(name for name, p in everything if p.requires_grad)
        self.frozen = tuple(name for name, p in everything if not p.requires_grad)
        if not self.names:
            raise ValueError(
                "`module` must have trainable parameters, got "
                + ("none with requires_grad" if everything else "no parameters at all")
                + "; set requires_grad of those that are trained."
            )
        self._vector: np.ndarray | None = None
        # Of the module, and not of the numbers of its parameters: copies share them.
        self._kept: dict[Any, Kept | None] = {}
        self._recomputes: dict[str, bool] = {}
        self._batch_size: int | None = None

    def __repr__(self) -> str:
        frozen = f", {len(self.frozen)} frozen" if self.frozen else ""
        return f"ModuleOperator({type(self.module).__name__}, P={self.n_parameters}, {self.dtype}{frozen})"

    @property
    def tensors(self) -> list[Any]:
        """The trainable parameters themselves, as `names`."""
        known = dict(named(self.module))
        return [known[name] for name in self.names]

    @property
    def n_parameters(self) -> int:
        """P, the number of trainable parameters."""
        return sum(p.numel() for p in self.tensors)

    @property
    def dtype(self) -> np.dtype:
        """float64 if any parameter is, else float32."""
        double = any(p.dtype == torch.float64 for _, p in named(self.module))
        return np.dtype(np.float64 if double else np.float32)

    @property
    def couples_samples(self) -> bool:
        """Whether an output at one sample depends on the others."""
        return any(of_the_batch(part) for part in self.module.modules())

    @property
    def caution(self) -> str:
        """Frozen parameters, hooks that fire, batch norm that remembers; or ""."""
        return " ".join(cautions(self.module, self.frozen))

    @property
    def vector(self) -> np.ndarray:
        """The trainable parameters as one vector (P,), a copy."""
        return flat(self.tensors, self.dtype) if self._vector is None else self._vector.copy()

    def at(self, vector: np.ndarray) -> ModuleOperator:
        """The same function with other parameters (P,); the module keeps its own.

        Raises
        ------
        ValueError
            A vector of another length, or that is not finite.
        """
        array = real_array("vector", vector).astype(self.dtype)
        if array.shape != (self.n_parameters,):
            raise ValueError(
                f"`vector` must have shape {(self.n_parameters,)}, got {array.shape}; pass one entry for every "
                "trainable parameter."
            )
        other = copy.copy(self)
        other._vector = array.copy()
        return other

    def __call__(self, X: Any) -> np.ndarray:
        """Outputs (T, C)."""
        with self.prepared() as tensors:
            del tensors
            with torch.no_grad():
                return numpy_of(self.outputs_at(converted(self.module, X)), self.dtype)

    def linearise(self, X: Any) -> ModuleLinear | BatchedLinear:
        """Pass forward over X once, and keep the graph for Jacobian products.

        Parameters
        ----------
        X : Tensor, array, or tuple or dict of them
            The batch as the module takes it, on its device; floating-point tensors in its dtype. NumPy arrays are
            converted, a tuple goes as several arguments, a dict as keywords.

        Returns
        -------
        ModuleLinear
            Of the parameters and flags as they are now.

        Raises
        ------
        ValueError
            Inputs on another device, in another dtype or not finite; outputs that are no (T, C) tensor; one sample
            with batch norm; a forward pass that draws random numbers.
        MemoryError
            The graph does not fit, and samples are coupled, so that they cannot be passed forward some at a time.
        """
        device, n_bytes, n_samples = self.tensors[0].device, self.bytes_at(X), rows(X)
        if self._batch_size is not None:
            return self._in_batches(X, self._batch_size)
        if n_bytes is not None and n_samples is not None and n_bytes > (free := free_memory(device)):
            if self.couples_samples:
                require_memory(
                    n_bytes,
                    f"Products with the Jacobian of {self.n_parameters} parameters at {n_samples} samples",
                    "pass fewer samples, or `batch_size`: the mean over batches of that size",
                    free,
                )
            few = next((n for n in _halves(n_samples) if (self.bytes_at(X, n) or 0.0) < free / 2), 1)
            self._require_uncoupled(X, n_samples)
            return self._in_batches(X, few, any_last=True)
        return ModuleLinear(self.graph(X), X, self)

    def in_batches(self, batch_size: int | None) -> ModuleOperator:
        """The same function of batches of that size, each passed forward by itself."""
        other = copy.copy(self)
        other._batch_size = None if batch_size is None else positive_integer("batch_size", batch_size)
        return other

    def _in_batches(self, X: Any, size: int, any_last: bool = False) -> ModuleLinear | BatchedLinear:
        n_samples = rows(X)
        if n_samples is None:
            raise ValueError("`batch_size` needs tensors with a row for every sample; drop it.")
        if n_samples % size and not any_last:
            raise ValueError(
                f"`batch_size` must divide the {n_samples} samples of `X`, got {size}; drop some."
            )
        batches = [taken(X, slice(i, i + size)) for i in range(0, n_samples, size)]
        if len(batches) == 1:
            return ModuleLinear(self.graph(X), X, self)
        known = self.kept(X)
        keep = not any_last and known is not None and PEAK * known.at(n_samples) <= GRAPHS
        return BatchedLinear(batches, X, self, keep)

    def _require_uncoupled(self, X: Any, n_samples: int) -> None:
        """Raise a MemoryError where samples beside others have other outputs."""
        few = taken(X, slice(min(4, n_samples)))
        together, apart = self(few), [self(taken(few, slice(i, i + 1))) for i in range(min(4, n_samples))]
        eps = np.sqrt(np.finfo(self.dtype).eps)
        if np.abs(together - np.concatenate(apart)).max() > eps * np.abs(together).max():
            raise MemoryError(
                f"Products with the Jacobian at {n_samples} samples do not fit at once, and outputs depend on which "
                "samples are passed together; pass fewer samples, or `batch_size`: the mean over batches of that size."
            )

    def features(self, X: Any) -> ModuleFeatures:
        """Outputs and derivatives by what enters weight layers, as `ModuleFeatures`."""
        return ModuleFeatures(self, X)

    def values(self, X: Any) -> Any:
        """The outputs at X as a tensor of any shape, without a graph."""
        inputs = converted(self.module, X)
        with self.prepared(), torch.no_grad():
            return self.outputs_at(inputs, any_shape=True)

    def graph(self, X: Any, outputs_of_any_shape: bool = False) -> Graph:
        """The retained graph of the outputs at X, in tensors.

        With `outputs_of_any_shape` the outputs may have any.
        """
        inputs = converted(self.module, X)
        self.examine(X)
        with self.prepared() as tensors:
            outputs = self.outputs_at(inputs, outputs_of_any_shape)
            if not outputs.requires_grad:
                raise ValueError(
                    "The outputs of `module` depend on no trainable parameter through autograd; look for `detach`, "
                    "`no_grad` or integers on their way."
                )
            return Graph(
                outputs, tensors, partial(self.prepared, tensors) if self._recomputes["now"] else None
            )

    def examine(self, X: Any) -> None:
        """Look once at products at a few samples: whether they are right.

        An operation may have no second derivatives and say nothing, and `torch.utils.checkpoint` runs parts of the
        module in a backward pass, where they must find it as it was.
        """
        if self._recomputes:
            return
        self._recomputes["now"] = False  # of the graphs that are built here
        try:
            try:
                graph = self.graph(X if rows(X) is None else taken(X, slice(FEW)), True)
            except Exception:  # fewer samples may be too few
                graph = self.graph(X, True)
            with self.prepared(graph.parameters), forward_passes() as passes:
                generator = torch.Generator().manual_seed(0)  # any direction tells
                u = torch.randn(graph.outputs.shape, generator=generator).to(graph.outputs)
                v = graph.vjp(u)
                squared, product = sum(float((g * g).sum()) for g in v), float((u * graph.jvp(v)).sum())
        except BaseException:
            self._recomputes.clear()
            raise
        if abs(product - squared) > 1e-2 * squared:  # rounding is far below
            self._recomputes.clear()
            raise ValueError(
                "`module` has an operation whose derivative has no derivative of its own, as a torch.autograd.Function "
                f"that is differentiable once: u.J(J^T u) = {product:.3g} for |J^T u|^2 = {squared:.3g}; write its "
                "backward pass with operations that have."
            )
        self._recomputes["now"] = bool(passes)

    @contextmanager
    def prepared(self, own: list[Any] | None = None) -> Iterator[list[Any]]:
        """The module ready for a forward pass that leaves no trace in it.

        Yields the trainable parameters, leaves of the graph: `own`, or the module's, or those of `vector`.
        """
        module = self.module
        with untouched(module), exact_derivatives(module):
            tensors = self.tensors
            if own is None and self._vector is not None:
                own = [torch.nn.Parameter(t) for t in self.unflatten(self._vector)]
            if own is not None:
                replaced = {id(p): new for p, new in zip(tensors, own, strict=True)}
                for part in module.modules():
                    for name, p in part._parameters.items():
                        part._parameters[name] = replaced.get(id(p), p)
                tensors = own
            yield tensors

    def flatten(self, tensors: Sequence[Any], n: int | None = None) -> np.ndarray:
        """One vector (P,) of tensors shaped as `tensors`.

        With `n` several of them (n, P), of tensors with a first axis of length n.
        """
        return flat(tensors, self.dtype, n)

    def unflatten(self, vector: np.ndarray) -> list[Any]:
        """Tensors like `tensors`, copies, of a vector (P,), or of several (n, P)."""
        found, start = [], 0
        for p in self.tensors:
            part = torch.from_numpy(np.array(vector[..., start : start + p.numel()]))
            found.append(part.to(device=p.device, dtype=p.dtype).reshape(vector.shape[:-1] + p.shape))
            start += p.numel()
        return found

    def kept(self, X: Any) -> Kept | None:
        """What a graph at such inputs keeps; None where that is not known."""
        key = tuple((tuple(value.shape[1:]), str(value.dtype)) for value in several(X))
        if key not in self._kept:
            self._kept[key] = kept(self, X)
        return self._kept[key]

    def bytes_at(self, X: Any, n_samples: int | None = None) -> float | None:
        """Bytes that graph and products take, for so many samples like X.

        At their peak; None where that is not known.
        """
        known = self.kept(X)
        if known is None:
            return None
        return PEAK * (known.at(n_samples or rows(X) or 1) + self.dtype.itemsize * self.n_parameters)

    def outputs_at(self, inputs: Any, any_shape: bool = False) -> Any:
        """Outputs with their graph; to be called where `prepared`."""
        module, before = self.module, random_states(self.module)
        try:
            returned = module(**inputs) if isinstance(inputs, dict) else module(*inputs)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise ValueError(
                    "`X` must hold at least two samples, as `module` has batch norm in training mode, got one; pass a "
                    "batch of the size that is trained on."
                ) from error
            require_fitting(module, error)
            raise
        except (RuntimeError, TypeError, IndexError) as error:
            require_fitting(module, error)
            raise
        if drawn_since(before, module):
            raise ValueError(why_it_draws(module))
        outputs = self._choose(returned)
        if not isinstance(outputs, torch.Tensor):
            kind = type(outputs).__name__
            keys = f" with {', '.join(map(repr, outputs))}" if isinstance(outputs, Mapping) else ""
            length = f" of {len(outputs)}" if isinstance(outputs, tuple | list) else ""
            raise TypeError(f"`module` must return a tensor, got a {kind}{length}{keys}; {SELECT}.")
        if outputs.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"The outputs of `module` must be of float32 or float64, got {outputs.dtype}; leave autocast, or "
                "convert with module.float()."
            )
        if not any_shape:
            require_matrix(outputs)
        return outputs


def _halves(n: int) -> Iterator[int]:
    while (n := n // 2) > 1:
        yield n

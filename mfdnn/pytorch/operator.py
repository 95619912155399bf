"""A PyTorch module as an operator: outputs and Jacobian products in NumPy arrays."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._support.validation import real_array
from ._torch import torch
from .graph import Graph
from .reading import SELECT, cautions, of_the_batch, require_usable, selector, unwrapped, why_it_draws
from .restoration import drawn_since, exact_derivatives, named, random_states, untouched

__all__ = ["ModuleLinear", "ModuleOperator", "operator"]


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
        return _flat(self.tensors, self.dtype) if self._vector is None else self._vector.copy()

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
                return _numpy(self._outputs(self._inputs(X)), self.dtype)

    def linearise(self, X: Any) -> ModuleLinear:
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
        """
        return ModuleLinear(self.graph(X), X, self)

    def values(self, X: Any) -> Any:
        """The outputs at X as a tensor of any shape, without a graph."""
        inputs = self._inputs(X)
        with self.prepared(), torch.no_grad():
            return self._outputs(inputs, any_shape=True)

    def graph(self, X: Any, outputs_of_any_shape: bool = False) -> Graph:
        """The retained graph of the outputs at X, in tensors.

        With `outputs_of_any_shape` the outputs may have any.
        """
        inputs = self._inputs(X)
        with self.prepared() as tensors:
            outputs = self._outputs(inputs, outputs_of_any_shape)
            if not outputs.requires_grad:
                raise ValueError(
                    "The outputs of `module` depend on no trainable parameter through autograd; look for `detach`, "
                    "`no_grad` or integers on their way."
                )
            return Graph(outputs, tensors)

    @contextmanager
    def prepared(self) -> Iterator[list[Any]]:
        """The module ready for a forward pass that leaves no trace in it.

        Yields the trainable parameters, leaves of the graph.
        """
        module = self.module
        with untouched(module), exact_derivatives(module):
            tensors = self.tensors
            if self._vector is not None:
                own = [torch.nn.Parameter(t) for t in self.unflatten(self._vector)]
                replaced = {id(p): new for p, new in zip(tensors, own, strict=True)}
                for part in module.modules():
                    for name, p in part._parameters.items():
                        part._parameters[name] = replaced.get(id(p), p)
                tensors = own
            yield tensors

    def flatten(self, tensors: Sequence[Any]) -> np.ndarray:
        """One vector (P,) of tensors shaped as `tensors`."""
        return _flat(tensors, self.dtype)

    def unflatten(self, vector: np.ndarray) -> list[Any]:
        """Tensors like `tensors`, copies, of a vector (P,)."""
        found, start = [], 0
        for p in self.tensors:
            part = torch.from_numpy(np.array(vector[start : start + p.numel()]))
            found.append(part.to(device=p.device, dtype=p.dtype).reshape(p.shape))
            start += p.numel()
        return found

    def _inputs(self, X: Any) -> Any:
        device, dtype = next((p.device, p.dtype) for p in self.module.parameters())
        several = len({(p.device, p.dtype) for p in self.module.parameters()}) > 1

        def converted(name: str, value: Any) -> Any:
            if isinstance(value, np.ndarray | list | float | int):
                value = torch.as_tensor(np.asarray(value)).to(device)
                value = value.to(dtype) if value.is_floating_point() else value
            if not isinstance(value, torch.Tensor):
                return value
            if value.device != device and not several:
                raise ValueError(
                    f"`{name}` is on {value.device}, and `module` on {device}; pass {name}.to('{device}')."
                )
            if value.is_floating_point():
                if value.dtype != dtype and not several:
                    raise ValueError(
                        f"`{name}` is of {value.dtype}, and `module` of {dtype}; pass {name}.to({dtype})."
                    )
                if not bool(torch.isfinite(value).all()):
                    raise ValueError(
                        f"`{name}` must be finite, got nan or inf; drop the samples that have some."
                    )
            return value.detach()

        if isinstance(X, Mapping):
            return {key: converted(f"X[{key!r}]", value) for key, value in X.items()}
        if isinstance(X, tuple):
            return tuple(converted(f"X[{i}]", value) for i, value in enumerate(X))
        return (converted("X", X),)

    def _outputs(self, inputs: Any, any_shape: bool = False) -> Any:
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
        if not any_shape and (outputs.ndim != 2 or outputs.numel() == 0):
            hint = {
                1: "lambda out: out[:, None] for one output",
                3: "lambda out: out[:, -1] for the last place, lambda out: out.flatten(0, 1) for a row a place",
            }.get(outputs.ndim, "lambda out: out.flatten(1) for a row a sample")
            raise ValueError(
                f"`module` must return outputs of shape (T, C), got {tuple(outputs.shape)}; pass select={hint}."
            )
        return outputs


class ModuleLinear:
    """A module at a batch, to first order; a `mfdnn.sampled.Linear`.

    Attributes
    ----------
    inputs : object
        The batch as it came.
    outputs : ndarray, shape (T, C)
    graph : Graph
        The same in tensors.
    """

    def __init__(self, graph: Graph, inputs: Any, one: ModuleOperator):
        self.graph, self.inputs, self._one = graph, inputs, one
        self.outputs = _numpy(graph.outputs, one.dtype)

    def jvp(self, v: np.ndarray) -> np.ndarray:
        """J v (T, C) for v (P,)."""
        return _numpy(self.graph.jvp(self._one.unflatten(v)), self._one.dtype)

    def vjp(self, u: np.ndarray) -> np.ndarray:
        """J^T u (P,) for u (T, C)."""
        return self._one.flatten(self.graph.vjp(self._tensor(u)))

    def _tensor(self, u: np.ndarray) -> Any:
        outputs = self.graph.outputs
        return torch.from_numpy(np.array(u)).to(device=outputs.device, dtype=outputs.dtype)


def _numpy(tensor: Any, dtype: np.dtype) -> np.ndarray:
    return np.asarray(tensor.detach().cpu().numpy(), dtype)


def _flat(tensors: Sequence[Any], dtype: np.dtype) -> np.ndarray:
    return np.concatenate([_numpy(t, dtype).ravel() for t in tensors])

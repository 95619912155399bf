"""One forward pass of a module, as the list of the operations that it calls."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..._support.errors import NoTheory
from .._torch import torch
from ..inputs import converted
from ..restoration import exact_derivatives, untouched

__all__ = ["Derived", "Node", "Ref", "Tape", "mapped", "recorded", "refused"]

EXACT = "what needs no theory (spectra, critical and stable rates) still answers"
VIEWS = ("t", "T", "mT", "transpose", "swapaxes", "detach", "contiguous", "clone", "to", "float", "double")


@dataclass(frozen=True)
class Ref:
    """A signal: the output of a node; -1 is what enters the module."""

    node: int
    part: int = 0


@dataclass(frozen=True)
class Derived:
    """A tensor that depends on parameters, or on constants, alone.

    Attributes
    ----------
    value : tensor
    parameters : tuple of int
        Identities of the parameters that it is made of.
    plain : bool
        Whether it is one of them, transposed at most.
    """

    value: Any
    parameters: tuple[int, ...]
    plain: bool


@dataclass
class Node:
    """A call: a function and its arguments.

    Signals among them are `Ref`, other tensors `Derived`.
    """

    index: int
    function: Callable
    name: str
    args: tuple
    kwargs: dict[str, Any]
    path: str
    shapes: list[tuple[int, ...]]
    parents: tuple[Ref, ...] = ()
    trouble: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first output."""
        return self.shapes[0]

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument, by its place or its name."""
        if len(self.args) > place:
            return self.args[place]
        return self.kwargs.get(name, default)


@dataclass
class Tape:
    """Operations in their order, and where the outputs are.

    Attributes
    ----------
    nodes : list of Node
    shape : tuple of int
        Of the signal that enters.
    output : Ref
    names : dict
        Identity of each parameter to its names.
    module : torch.nn.Module
    early : dict
        What nodes gave that depend on no parameters, by their index; -1: what enters the module.
    """

    module: Any
    names: dict[int, list[str]]
    nodes: list[Node] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    output: Ref = Ref(-1)
    early: dict[int, Any] = field(default_factory=dict)

    def node(self, ref: Ref) -> Node:
        """What gave a signal."""
        return self.nodes[ref.node]

    def shape_of(self, ref: Ref) -> tuple[int, ...]:
        """(T, ...) of a signal."""
        return self.shape if ref.node < 0 else self.nodes[ref.node].shapes[ref.part]


def refused(path: str, what: str, reason: str) -> NoTheory:
    """`NoTheory` that names the place in the module, and says what works all the same."""
    return NoTheory(f"`{path or 'module'}` ({what}): {reason}; {EXACT}.")


def mapped(value: Any, change: Callable[[Any], Any], kinds: Any) -> Any:
    """`value` with `change` of every entry of these kinds, in containers too."""
    if isinstance(value, kinds):
        return change(value)
    if isinstance(value, torch.Size):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(v, change, kinds) for v in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(v, change, kinds) for v in value)
    if isinstance(value, dict):
        return {key: mapped(v, change, kinds) for key, v in value.items()}
    return value


def recorded(module: Any, X: Any, choose: Callable[[Any], Any]) -> Tape:
    """The operations of one pass forward over X, which leaves no trace in the module.

    Parameters
    ----------
    module : torch.nn.Module
    X : object
        As the module takes it; the tensor of floating-point numbers in it, of which there must be one, is the signal.
    choose : callable
        What of the module's return value are the outputs.

    Raises
    ------
    NoTheory
        No such tensor or several; outputs that are no tensor.
    """
    arguments = converted(module, X)
    values = list(arguments.values()) if isinstance(arguments, dict) else list(arguments)
    signals = [v for v in values if isinstance(v, torch.Tensor) and v.is_floating_point()]
    if len(signals) != 1:
        what = "several tensors" if signals else "no tensor of floating-point numbers"
        raise refused("", "inputs", f"theory is of one signal, and {what} enter, as where tokens are looked up")
    names: dict[int, list[str]] = {}
    for name, p in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(p), []).append(name)
    tape = Tape(module, names, shape=tuple(signals[0].shape))
    with untouched(module), exact_derivatives(module), torch.no_grad():
        notes = _Notes(tape, signals[0])
        with _paths(module, notes), _mode(notes):
            returned = module(**arguments) if isinstance(arguments, dict) else module(*arguments)
            outputs = choose(returned)
        if not isinstance(outputs, torch.Tensor):
            raise refused("", "outputs", f"they must be one tensor, got {type(outputs).__name__}; pass select=...")
        found = notes.find(outputs)
    if not isinstance(found, Ref):
        raise refused("", "outputs", "they do not depend on the inputs")
    tape.output = found
    return tape


def _mode(notes: _Notes) -> Any:
    class Mode(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return notes.call(func, args, kwargs or {})

    return Mode()


@contextmanager
def _paths(module: Any, notes: _Notes) -> Iterator[None]:
    """Keep the path of the submodule that is being passed."""
    known = {id(part): name for name, part in module.named_modules()}
    hooks = torch.nn.modules.module
    handles = (
        hooks.register_module_forward_pre_hook(lambda part, _: notes.stack.append(known.get(id(part), notes.path))),
        hooks.register_module_forward_hook(lambda part, _, out: _left(notes), always_call=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _left(notes: _Notes) -> None:
    notes.stack.pop()


class _Notes:
    """Which tensor is which signal, as long as it lives."""

    def __init__(self, tape: Tape, signal: Any):
        self.tape, self.stack = tape, []  # type: tuple[Tape, list[str]]
        self._known: dict[int, tuple[Any, Any]] = {}  # id -> weak reference, Ref or Derived
        self._set(signal, Ref(-1))
        self.tape.early[-1] = signal

    @property
    def path(self) -> str:
        return self.stack[-1] if self.stack else ""

    def _set(self, tensor: Any, meaning: Any) -> None:
        self._known[id(tensor)] = weakref.ref(tensor), meaning

    def find(self, tensor: Any) -> Any:
        """Signal, or what is made of parameters and constants."""
        reference, meaning = self._known.get(id(tensor), (None, None))
        if reference is not None and reference() is tensor:
            return meaning
        own = (id(tensor),) if id(tensor) in self.tape.names else ()
        return Derived(tensor, own, bool(own))

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensors: list[Any] = []
        mapped((args, kwargs), tensors.append, torch.Tensor)
        before = [(t, t._version, self.find(t)) for t in tensors if not t.is_inference()]
        means = mapped((args, kwargs), self.find, torch.Tensor)
        out = func(*args, **kwargs)
        results: list[Any] = []
        mapped(out, results.append, torch.Tensor)
        changed = [(t, meaning) for t, version, meaning in before if t._version != version]
        if results or changed:
            self._note(func, means, results, changed)
        return out

    def _note(self, func: Any, means: Any, results: list[Any], changed: list[Any]) -> None:
        refs: list[Ref] = []
        derived: list[Derived] = []
        mapped(means, refs.append, Ref)
        mapped(means, derived.append, Derived)
        written = {id(t) for t, _ in changed}
        fresh = [t for t in results if id(t) in written or not isinstance(self.find(t), Ref)]
        if not refs:
            parameters = tuple(dict.fromkeys(i for d in derived for i in d.parameters))
            plain = len(parameters) == 1 and _name(func) in VIEWS and all(d.plain for d in derived)
            for t in fresh:
                if id(t) not in self.tape.names:
                    self._set(t, Derived(t, parameters, plain))
            return
        if not fresh:
            return  # it gave back what it was given
        name, nodes = _name(func), self.tape.nodes
        trouble = ""
        for t, meaning in changed:
            if isinstance(meaning, Ref) and all(t is not r for r in results):
                trouble = "a tensor is overwritten in part"
        weighed = any(d.parameters for d in derived) or any(r.node not in self.tape.early for r in refs)
        args, kwargs = means
        shapes = [tuple(t.shape) for t in results]
        node = Node(len(nodes), func, name, args, kwargs, self.path, shapes, tuple(dict.fromkeys(refs)), trouble)
        nodes.append(node)
        for t, meaning in changed:
            if isinstance(meaning, Ref):
                self._spoil_views(t, node)
        for part, t in enumerate(results):
            self._set(t, Ref(node.index, part))
        if not weighed and len(results) == 1:
            self.tape.early[node.index] = results[0].clone() if changed else results[0]

    def _spoil_views(self, tensor: Any, node: Node) -> None:
        """Other signals in memory that was written to are no longer what they were."""
        where = tensor.untyped_storage().data_ptr()
        for reference, meaning in self._known.values():
            other = reference()
            if other is None or other is tensor or not isinstance(meaning, Ref) or meaning.node < 0:
                continue
            if other.untyped_storage().data_ptr() == where:
                self.tape.nodes[meaning.node].trouble = f"it is overwritten by {node.name} afterwards"


def _name(func: Any) -> str:
    """Of a function, however it is called: add for __radd__ and add_."""
    name = getattr(func, "__name__", type(func).__name__)
    if name in ("__get__", "__set__"):
        return getattr(getattr(func, "__self__", None), "__name__", name)
    if name.startswith("__") and name.endswith("__"):
        inner = name.strip("_")
        for known in ("add", "sub", "mul", "truediv", "pow", "matmul"):
            if inner in (f"r{known}", f"i{known}", known):
                # A reflected difference, quotient or power has its operands the other way round.
                return f"r{known}" if inner == f"r{known}" and known in ("sub", "truediv", "pow", "matmul") else known
        return inner
    return name.rstrip("_") or name

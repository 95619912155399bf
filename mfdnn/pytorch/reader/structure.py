"""A recorded program as layers in a row, with blocks where it divides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import layers as known_layers
from ..._support.errors import NoTheory
from ...activations import Activation
from ...layers import Layer, Pointwise, Residual
from .elementwise import CASTS, as_activation, elementwise
from .per_channel import PerChannel, per_channel
from .recording import Derived, Node, Ref, Tape, mapped, refused
from .weights import Weights, read_variances

__all__ = ["Reading"]

INPUT = Ref(-1)
# A handler makes the layer of a node, or None where that one does nothing.
Handler = Callable[["Reading", Node], Any]


class Reading:
    """The layers of a tape, as they are found.

    Attributes
    ----------
    where : dict
        Identity of each layer to its path in the module.
    weights : dict
        Identity of each weight layer to its `Weights`.
    cautions : list of str
    """

    def __init__(self, tape: Tape, variances: Any, operations: dict[str, Handler]):
        self.tape, self.variances, self._operations = tape, variances, operations
        self.where: dict[int, str] = {}
        self.weights: dict[int, Weights] = {}
        self.cautions: list[str] = []
        self.jump: dict[int, Ref] = {}  # what enters a layer that is made of several nodes, by the last of them
        self.batches: dict[str, int] = {}  # that batch norm has counted
        self.whole: set[int] = set()  # pooling layers over all sites, by identity
        self._activations: dict[str, Activation] = {}
        self._above = _dominators(tape.nodes)

    # -- questions to the tape -------------------------------------------------------------------------------
    def above(self, ref: Ref) -> Ref:
        """The nearest signal through which everything goes that a signal is made of."""
        return INPUT if ref.node < 0 else self._above[ref.node]

    def region(self, ref: Ref, source: Ref) -> list[Node]:
        """The nodes between a signal and its source, in their order."""
        found: set[int] = set()
        waiting = [ref]
        while waiting:
            at = waiting.pop()
            if at == source or at.node < 0 or at.node in found:
                continue
            found.add(at.node)
            waiting += self.tape.nodes[at.node].parents
        return [self.tape.nodes[i] for i in sorted(found)]

    # -- layers ----------------------------------------------------------------------------------------------
    def read(self, ref: Ref, stop: Ref) -> list[Layer]:
        """The layers that make a signal of another one."""
        found: list[Layer] = []  # the last first
        while ref != stop:
            layers, ref = self._last(ref, stop)
            found += reversed(layers)
        return self._tidied(found[::-1])

    def _last(self, ref: Ref, stop: Ref) -> tuple[list[Layer], Ref]:
        """The last layers behind a signal, and what enters them."""
        node = self.tape.node(ref)
        if node.trouble:
            raise refused(node.path, node.name, f"{node.trouble}, which cannot be followed")
        if elementwise(node) and (step := self._stretch(ref, stop, elementwise)) is not None:
            return self._pointwise(ref, step), step
        if node.name in self._operations:
            found = self._operations[node.name](self, node)
            if found is not NotImplemented:
                before = self.jump.get(node.index)
                return ([] if found is None else [found]), self.entering(node) if before is None else before
        if (step := self._stretch(ref, stop, lambda n: elementwise(n) or per_channel(n))) is not None:
            nodes = self.region(ref, step)
            layer = PerChannel(nodes, step, ref, self.tape.shape_of(step)[1:], self.tape.shape_of(ref)[1:])
            return [self.named(layer, node)], step
        if node.name in ("add", "sub") and len(node.parents) == 2:
            return self._joined(node, ref, stop)
        if node.name in ("mul", "multiply") and len(node.parents) == 2:
            return self._gated(node, ref, stop)
        raise self._unreadable(node)

    def require_known(self, nodes: Sequence[Node]) -> None:
        """Raise `NoTheory` for the first node that has no layer by itself."""
        for node in nodes:
            if elementwise(node) or per_channel(node):
                continue
            joins = node.name in ("add", "sub", "mul", "multiply") and len(node.parents) == 2
            handler = self._operations.get(node.name)
            if (handler is None or handler(self, node) is NotImplemented) and not joins:
                raise self._unreadable(node)

    def entering(self, node: Node) -> Ref:
        """The one signal that enters a node."""
        if len(node.parents) != 1:
            raise self._unreadable(node)
        return node.parents[0]

    def named(self, layer: Layer, node: Node) -> Layer:
        """The layer, with the path of its node."""
        self.where[id(layer)] = node.path
        return layer

    def fitting(self, layer: Layer, node: Node) -> Layer:
        """The same for a layer that reads the signal as it was recorded."""
        try:
            layer.output_shape(self.tape.shape_of(self.entering(node))[1:])
        except ValueError as error:
            raise refused(node.path, node.name, str(error).rstrip(".")) from error
        return self.named(layer, node)

    def weigh(self, node: Node, weight: Any, bias: Any, values: Any) -> Weights:
        """Variances and name of a weight layer."""
        for part in (weight, bias):
            if part is not None and (not isinstance(part, Derived) or not part.plain):
                raise refused(
                    node.path,
                    node.name,
                    "its weights are computed (weight norm, spectral norm, another network): they are no independent "
                    "draws",
                )
        name = self.tape.names[weight.parameters[0]][0]
        path = name.rpartition(".")[0] or name
        return read_variances(self.tape.module, path, node.name, weight, bias, values, self.variances)

    def _stretch(self, ref: Ref, stop: Ref, belongs: Callable[[Node], bool]) -> Ref | None:
        """How far back only nodes of a kind come, all from one signal, or None."""
        found, at = None, ref
        while at != stop and at.node >= 0 and belongs(self.tape.node(at)):
            step = self.above(at)
            if not all(belongs(node) and not node.trouble for node in self.region(at, step)):
                break
            found = at = step
        return found

    def _pointwise(self, ref: Ref, source: Ref) -> list[Layer]:
        nodes = self.region(ref, source)
        if all(n.name in CASTS for n in nodes):
            return []
        parameters: list[Derived] = []
        mapped([(n.args, n.kwargs) for n in nodes], parameters.append, Derived)
        for i in dict.fromkeys(i for d in parameters for i in d.parameters):
            name = self.tape.names[i][0]
            self.cautions.append(f"`{name}` counts as a constant of its activation, though it may be trained")
        found = as_activation(nodes, source, ref, self._label(nodes))
        if not found.built_in:
            key = found._function.key  # type: ignore[attr-defined]
            found = self._activations.setdefault(key, found)
        return [] if found.label == "linear" else [self.named(Pointwise(found), nodes[-1])]

    def _label(self, nodes: Sequence[Node]) -> str:
        """The class of the submodule that holds the nodes, if it holds nothing else."""
        paths = {n.path for n in nodes}
        if len(paths) != 1 or not (path := paths.pop()):
            return ""
        owner = self.tape.module.get_submodule(path)
        alone = all(n.path != path or n in nodes for n in self.tape.nodes)
        return type(owner).__name__ if alone and not any(True for _ in owner.children()) else ""

    def _branches(self, node: Node, ref: Ref, stop: Ref) -> tuple[Ref, list[list[Layer]]]:
        source = self.above(ref)
        if source == INPUT and stop != INPUT:
            raise self._unreadable(node)
        first, second = node.parents
        if self.tape.shape_of(first) != self.tape.shape_of(second):
            raise refused(
                node.path, node.name, f"signals of shapes {self.tape.shape_of(first)[1:]} and "
                f"{self.tape.shape_of(second)[1:]} meet, and a layer takes equal ones"
            )  # fmt: skip
        return source, [self.read(first, source), self.read(second, source)]

    def _joined(self, node: Node, ref: Ref, stop: Ref) -> tuple[list[Layer], Ref]:
        """A residual sum."""
        source, paths = self._branches(node, ref, stop)
        factor = float(node.argument(2, "alpha", 1) or 1) * (-1 if node.name == "sub" else 1)
        weighs = [any(layer.total_weight_layers for layer in path) for path in paths]
        if not any(weighs):
            raise refused(node.path, node.name, "two signals without weights between them are added")
        # The longer path is the block; a sign of weights does not matter, as their law is symmetric.
        block = 0 if weighs[0] and (not weighs[1] or len(paths[0]) >= len(paths[1])) else 1
        scaled = factor if block == 0 else 1.0  # of what is beside the block, the second signal
        if factor != 1 and block == 1 and not (factor == -1 and paths[1][-1].n_weight_layers):
            raise refused(node.path, node.name, f"a block is added {factor:g} times; multiply the other signal instead")
        beside = paths[1 - block]
        if not beside:
            return [self.named(Residual(paths[block], scaled), node)], source
        scale = _factor(beside)
        if scale is not None:
            return [self.named(Residual(paths[block], scale * scaled), node)], source
        if scaled != 1 and not weighs[1 - block]:
            raise refused(node.path, node.name, "what is beside a block is subtracted, and changed before")
        return [self.named(Residual(paths[block], beside), node)], source

    def _gated(self, node: Node, ref: Ref, stop: Ref) -> tuple[list[Layer], Ref]:
        """A product of two signals."""
        make = getattr(known_layers, "Gate", None)
        if make is None:
            raise refused(node.path, node.name, "two different signals are multiplied, and there is no layer of gates")
        source, paths = self._branches(node, ref, stop)
        acts = [path[-1].activation if path else None for path in paths]
        right = 1 if acts[1] is not None else 0 if acts[0] is not None else 1
        phi = acts[right]
        inner = paths[right][:-1] if phi is not None else paths[right]
        left = paths[1 - right]
        if not inner or not left:
            reason = "a signal is multiplied with one that is made of it, and a gate has two layers"
            raise refused(node.path, node.name, reason)
        return [self.named(make(left, inner, "linear" if phi is None else phi), node)], source

    def _tidied(self, layers: list[Layer]) -> list[Layer]:
        """Pooling over all sites, and what flattens the one site that is left."""
        found: list[Layer] = []
        for layer in layers:
            if layer.relabels and found and id(found[-1]) in self.whole:
                path = self.where[id(found[-1])]
                found[-1] = known_layers.GlobalAveragePool()
                self.where[id(found[-1])] = path
            else:
                found.append(layer)
        return found

    def _unreadable(self, node: Node) -> NoTheory:
        what = "two signals meet in" if len(node.parents) > 1 else "there is no mean-field layer of"
        return refused(node.path, node.name, f"{what} operation {node.index}, `{node.name}`")


def _factor(layers: Sequence[Layer]) -> float | None:
    """The number that layers multiply with, if they do nothing else."""
    factor = 1.0
    for layer in layers:
        act = layer.activation
        if act is None or act.homogeneous is None or act.homogeneous[0] != act.homogeneous[1]:
            return None
        factor *= act.homogeneous[1]
    return factor


def _dominators(nodes: Sequence[Node]) -> list[Ref]:
    """For each node the nearest signal that all its paths to the input go through."""
    above: list[Ref] = []
    depth: dict[Ref, int] = {INPUT: 0}

    def up(ref: Ref) -> Ref:
        return above[ref.node]

    for node in nodes:
        parents = list(node.parents)
        meet = parents[0]
        for other in parents[1:]:
            a, b = meet, other
            while a != b:
                if depth[a] >= depth[b]:
                    a = up(a)
                else:
                    b = up(b)
            meet = a
        above.append(meet)
        for part in range(len(node.shapes)):
            depth[Ref(node.index, part)] = depth[meet] + 1
    return above



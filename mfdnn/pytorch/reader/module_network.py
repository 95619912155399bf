"""A PyTorch module as a network of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._support.errors import NoTheory
from ...layers import Layer
from ...network import Network
from .._torch import torch
from ..linear import numpy_of
from ..module_operator import ModuleOperator, operator
from ..reading import selector
from .operations import OPERATIONS
from .recording import Derived, Ref, Tape, mapped, recorded, refused
from .structure import INPUT, Reading
from .weights import Weights, checked_variances

__all__ = ["ModuleNetwork", "network", "read"]


class ModuleNetwork(Network):
    """A network that was read from a module; made by `mfdnn.pytorch.network`.

    Attributes
    ----------
    names : tuple of str
        Path in the module of each weight layer, in the order of `weight_layers`.
    paths : tuple of str
        Path of each layer of ``walk()``; "" where the module itself computes.
    weights : tuple of Weights
        Of each weight layer: the variances that were read and those that are taken, and the known scheme that they are.
    inputs : ndarray, shape (T, *input_shape)
        What the first layer sees of the batch: behind scaling, reshaping and whatever else comes before it.
    caution : str
        What should be known of the module before theory is believed, or "".
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    weights: tuple[Weights, ...]
    inputs: np.ndarray
    caution: str

    def __init__(self, inputs: np.ndarray, layers: Sequence[Layer], reading: Reading, caution: str):
        super().__init__(inputs.shape[1:], layers)
        self.inputs, self.caution = inputs, caution
        self.weights = tuple(reading.weights[id(layer)] for layer, _ in self.weight_layers)
        self.names = tuple(found.name for found in self.weights)
        self.paths = tuple(reading.where.get(id(layer), "") for layer, _ in self.walk())


def network(module: Any, X: Any, *, variances: Any = "weights", select: Any = None) -> ModuleNetwork:
    r"""A module as a network of this package, for theory of its fresh draws.

    One pass forward over X is recorded, and what was called is read back from the outputs: weight layers,
    normalisations, pooling, residual sums, gates. Elementwise functions between them, of PyTorch or one's own, are one
    activation each, replayed as they were called; what does not reach the outputs drops out.

    Parameters
    ----------
    module : torch.nn.Module
        Its flags count: batch norm must be in training mode, and dropout has a law there. Nothing of it changes.
    X : Tensor, array, or tuple or dict of them
        A batch as the module takes it, one tensor of floating-point numbers in it. Control flow goes as it does there.
    variances : "weights", "defaults" or dict
        weights: :math:`\sigma_w^2`, :math:`\sigma_b^2` as the module's values have them; of fewer than 1000 weights,
        and of biases, a known initialisation within four standard errors instead. defaults: what `torch.nn` draws for
        `Linear` and `Conv`. A dict: module path to ``(sigma_w2, sigma_b2)``; the others as with weights.
    select : callable, int or str, optional
        What of the module's return value are the outputs, as in `operator`.

    Returns
    -------
    ModuleNetwork
        A `mfdnn.Network` with `names`, `paths`, `weights`, `inputs` and `caution`.

    Raises
    ------
    TypeError, ValueError
        What `operator` refuses; another `variances`, a path that no weight layer has.
    NoTheory
        Something that has no layer here, named with its path and the reason; parameters that are used twice; layers
        that start equal; weights that are no random draw.

    Notes
    -----
    A module holds weights, and not what they were drawn with: of a fresh one their second moment is as good as knowing
    it, of a trained one it is not, and hardly anything in the weights tells. `caution` says where batch norm has
    counted batches, gains differ, or singular values are too large for random weights.

    Examples
    --------
    >>> import torch, mfdnn
    >>> import mfdnn.pytorch as mp
    >>> _ = torch.manual_seed(0)
    >>> class Own(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.a, self.b = torch.nn.Linear(50, 200), torch.nn.Linear(200, 10)
    ...     def forward(self, x):
    ...         h = self.a(x)
    ...         return self.b(h * torch.sigmoid(1.702 * h))
    >>> net = mp.network(Own(), torch.randn(20, 50))
    >>> net
    Network(50-200-10, mul_sigmoid_mul, L=2, P=12210)
    >>> net.names, net.weights[0].scheme
    (('a', 'b'), "PyTorch's default")
    >>> mfdnn.order_parameters(net, inputs=net.inputs).q.shape  # T inputs in each of L layers
    (2, 20)
    """
    variances = checked_variances(variances)
    one = operator(module, select=select) if not isinstance(module, ModuleOperator) else module
    with torch.inference_mode(False):
        return read(one.module, X, variances, selector(select))


def read(module: Any, X: Any, variances: Any, choose: Any, anew: bool = False) -> ModuleNetwork:
    """What `network` returns; `anew`: for weights that are about to be drawn."""
    tape = recorded(module, X, choose)
    reading = Reading(tape, variances, OPERATIONS)
    _refuse_ties(tape, reading)
    start = _start(tape, reading)
    try:
        layers = reading.read(tape.output, start)
    except NoTheory:
        # Of several obstacles the first is said.
        Reading(tape, variances, OPERATIONS).require_known(reading.region(tape.output, start))
        raise
    inputs = numpy_of(tape.early[start.node], np.dtype(np.float64))
    if inputs.ndim < 2:
        raise refused("", "inputs", f"they have shape {inputs.shape}, and a sample needs an axis of its own")
    try:
        found = ModuleNetwork(inputs, layers, reading, _caution(reading, tape))
    except ValueError as error:
        raise refused("", type(module).__name__, str(error).rstrip(".")) from error
    unknown = [name for name in variances if name not in found.names] if isinstance(variances, dict) else []
    if unknown:
        raise ValueError(
            f"`variances` has {unknown[0]!r}, and the weight layers of `module` are {', '.join(found.names)}; use "
            "their paths."
        )
    if not anew:
        _refuse_clones(found.weights)
    return found


def _start(tape: Tape, reading: Reading) -> Ref:
    """The last signal made without parameters through which everything goes.

    Nor random numbers.
    """
    chain = [tape.output]
    while chain[-1] != INPUT:
        chain.append(reading.above(chain[-1]))
    found = INPUT
    for ref in chain[-2::-1]:
        nodes = reading.region(ref, INPUT)
        derived: list[Derived] = []
        mapped([(n.args, n.kwargs) for n in nodes], derived.append, Derived)
        random = any("dropout" in n.name for n in nodes)
        if random or ref.part or ref.node not in tape.early or any(d.parameters for d in derived):
            break
        if any(n.trouble for n in nodes):
            break
        found = ref
    return found


def _refuse_ties(tape: Tape, reading: Reading) -> None:
    """Raise `NoTheory` for a parameter that reaches the outputs twice."""
    users: dict[int, list[str]] = {}
    for node in reading.region(tape.output, INPUT):
        derived: list[Derived] = []
        mapped((node.args, node.kwargs), derived.append, Derived)
        for i in dict.fromkeys(i for d in derived for i in d.parameters):
            users.setdefault(i, []).append(node.name)
    sizes = {id(p): p.numel() for p in tape.module.parameters()}
    for i, uses in users.items():
        names = tape.names[i]
        if len(uses) > 1 and sizes[i] > 1:  # a single number may be shared by an activation
            other = f", `{names[1]}` too" if len(names) > 1 else ""
            raise refused(
                names[0],
                uses[0],
                f"it is used by {len(uses)} operations (tied weights{other}), and theory is of independent draws",
            )


def _refuse_clones(weights: Sequence[Weights]) -> None:
    """Raise `NoTheory` for layers that start with equal weights."""
    for i, one in enumerate(weights):
        for other in weights[:i]:
            same = one.values.shape == other.values.shape and torch.equal(one.values, other.values)
            if same and bool(one.values.any()):
                raise NoTheory(
                    f"`{other.name}` and `{one.name}` start with identical weights, as copies of one layer do, and "
                    "theory is of independent draws; re-initialise them. What needs no theory still answers."
                )


def _caution(reading: Reading, tape: Tape) -> str:
    found = list(reading.cautions)
    if reading.batches:
        path, n = next(iter(reading.batches.items()))
        found.append(
            f"batch norm `{path}` has counted {n} batch{'es' if n > 1 else ''}: if the weights are trained, theory is "
            "of a fresh draw with the variances of now"
        )
    return " ".join(f"{text[:1].upper() if text[0] != '`' else text[0]}{text[1:]}." for text in dict.fromkeys(found))



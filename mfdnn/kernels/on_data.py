"""Kernels of wide random networks at given inputs.

Of their outputs (NNGP), and of the gradients of these (NTK).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._support.blas import single_blas_thread
from .._support.errors import NoTheory, OutOfRange
from .._support.memory import require_memory
from .._support.validation import one_of
from ..jobs.run import check_executor, finished
from ..layers import ONLY_MOMENTS, Keep, Pairs
from ..layers.pairs import ALL, NeedsAllPairs
from ..mean_field import MeanField, refuse_data
from ..mean_field.inputs import advice, cheaper, check_network, checked_inputs, pairs_of_sites
from ..mean_field.tiles import pairs_are_apart, tile_outputs
from ..network import Network
from .parts import kernel_of

__all__ = ["PARAMETERISATIONS", "Tile", "computed", "nngp", "ntk", "tangent_kernel", "tile_places", "tiles"]

PARAMETERISATIONS = ("standard", "ntk")
TILE = 256  # inputs and others of a tile: its matrices fit the second-level cache
MATRICES = 12  # of a tile, at the peak
OF_SITES = 2**21  # pairs of a tile where inputs have sites, which are gone through one by one: fewer take longer


class Tile(NamedTuple):
    """A part of a kernel.

    Attributes
    ----------
    rows, columns : slice
        Of the inputs, and of the others.
    kernel : ndarray
    """

    rows: slice
    columns: slice
    kernel: np.ndarray


def nngp(net: Network | MeanField, inputs: Any = None, others: Any = None, *, executor: Any = None) -> np.ndarray:
    r"""Covariance of one output of an infinitely wide network at given inputs.

    .. math:: K_{st} = q_{st}^L, \qquad q_{st}^l = \sigma_w^2 E[\phi(u_s) \phi(u_t)] + \sigma_b^2.

    The outputs of a network of random weights are independent Gaussian processes of this covariance over the draws.

    Parameters
    ----------
    net : Network or MeanField
        With linear outputs.
    inputs : array_like, shape (T, M_0) or (T, *input_shape), optional
        Without them `net` is a `MeanField` of given inputs.
    others : array_like, shape (T', M_0) or (T', *input_shape), optional
        Other inputs, for the columns; where no layer couples samples.
    executor : optional
        Anything with `.map` of `concurrent.futures.Executor`. Default: threads. The result is the same, bit for bit.

    Returns
    -------
    ndarray, shape (T, T) or (T, T')

    Raises
    ------
    TypeError, ValueError
        As `ntk`; but a jump of an activation is no obstacle.
    MemoryError
        The kernel does not fit.

    Notes
    -----
    Accuracy that of the Gaussian integrals, 1e-10. Pairs are computed in tiles, each once: beside the kernel memory is
    some megabytes; time O(L T T').

    References
    ----------
    Lee et al. 2018, "Deep neural networks as Gaussian processes", arXiv:1711.00165.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([2, 1000, 1000, 1], "relu", sigma_w2=2.0)
    >>> mfdnn.nngp(net, np.sqrt(2) * np.eye(2)).round(6)
    array([[2.      , 0.987462],
           [0.987462, 2.      ]])
    """
    check_executor(executor)
    wide = _recursion(net, inputs, others)
    if isinstance(wide, Network):
        inputs = net.inputs if isinstance(net, MeanField) else inputs
        return _of_pairs(wide, inputs, others, ONLY_MOMENTS, executor, _outputs_kernel)
    return _outputs_kernel(wide)


def _outputs_kernel(wide: MeanField) -> np.ndarray:
    _check_outputs(wide)
    outputs = wide.outputs if wide.last is None else wide.normalised_outputs
    return np.array(_finite(outputs, "NNGP kernel", wide.advice).at_two)


def ntk(
    net: Network | MeanField,
    inputs: Any = None,
    others: Any = None,
    *,
    parameterisation: str = "standard",
    executor: Any = None,
) -> np.ndarray:
    r"""Neural tangent kernel of an infinitely wide network at given inputs, one output.

    .. math::
        \Theta_{st} = \sum_l \tilde q_{st}^l\,(M_{l-1}\, \hat q_{st}^{l-1} + 1) \quad\text{(standard)}, \qquad
        \Theta_{st} = \sum_l \tilde q_{st}^l\, q_{st}^l \quad\text{(ntk)},

    the 1 only for layers with biases. That of C outputs is :math:`\Theta \otimes I_C`.

    Parameters
    ----------
    net : Network or MeanField
        With linear outputs.
    inputs : array_like, shape (T, M_0) or (T, *input_shape), optional
        Without them `net` is a `MeanField` of given inputs.
    others : array_like, shape (T', M_0) or (T', *input_shape), optional
        Other inputs, for the columns: of training inputs and test inputs, for example.
    parameterisation : {"standard", "ntk"}
        Derivatives by W and b, with the exact widths; or by w and :math:`\beta` of
        :math:`W = \sigma_w w/\sqrt{M_{in}}`, :math:`b = \sigma_b \beta`, which do not depend on the width. (The
        standard one grows with it: 1/T of it has the eigenvalues of the Fisher information.)
    executor : optional
        As in `nngp`.

    Returns
    -------
    ndarray, shape (T, T) or (T, T')

    Raises
    ------
    ValueError
        `inputs` or `others` that are not finite matrices as wide as the network's input; layer norm of the outputs; in
        NTK parameterisation, normalisation layers with trained gains; layers of one's own without a law; `others`
        where samples are coupled, as by batch norm (all `NoTheory`); and what `order_parameters` raises.
    MemoryError
        The kernel does not fit.

    Notes
    -----
    Accuracy that of the Gaussian integrals, 1e-10; time O(L T T'), memory that of the kernel: pairs are computed in
    tiles, each once, on threads. (Networks that couple samples take some ten matrices, and so do those whose units are
    sampled, as below the maximum of windows: their kernels have errors of a few tenths of a percent.) At finite width M
    entries scatter by O(M^-1/2) of themselves: `mfdnn.empirical_ntk`. Trained gains of hidden normalisation layers
    enter the standard kernel as if errors did not depend on what they multiply: O(1) beside O(M).

    References
    ----------
    Jacot, Gabriel & Hongler 2018, "Neural tangent kernel: convergence and generalization in neural networks",
    arXiv:1806.07572.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([2, 1000, 1000, 1], "relu", sigma_w2=2.0)
    >>> mfdnn.ntk(net, np.sqrt(2) * np.eye(2), parameterisation="ntk").round(6)  # 2 L on the diagonal
    array([[6.      , 1.371417],
           [1.371417, 6.      ]])
    """
    one_of("parameterisation", parameterisation, PARAMETERISATIONS)
    check_executor(executor)
    wide = _recursion(net, inputs, others)
    if isinstance(wide, Network):
        inputs = net.inputs if isinstance(net, MeanField) else inputs
        _refuse_gains(wide, parameterisation)
        of_whole = partial(_gradients_kernel, parameterisation=parameterisation)
        return _of_pairs(wide, inputs, others, _only(parameterisation), executor, of_whole)
    return _gradients_kernel(wide, parameterisation)


def _gradients_kernel(wide: MeanField, parameterisation: str) -> np.ndarray:
    return np.array(tangent_kernel(wide, parameterisation).at_two)


def tangent_kernel(wide: MeanField, parameterisation: str) -> Pairs:
    """The tangent kernel of one output, of a network on data."""
    _check_outputs(wide)
    _refuse_gains(wide.network, parameterisation)
    tangents = wide.tangents
    kernel = kernel_of(tangents) if parameterisation == "standard" else tangents[("ntk",)]
    return _finite(kernel, "tangent kernel", wide.advice)


def tiles(
    net: Network, inputs: np.ndarray, others: np.ndarray | None, keep: Keep, executor: Any = None
) -> Iterator[Tile]:
    """A kernel in parts, as they are finished.

    Of all pairs, or of those on and below the diagonal.

    Parameters
    ----------
    net : Network
        Of which `pairs_are_apart`.
    inputs, others : ndarray, shape (T, *input_shape), (T', *input_shape)
        Without `others` the kernel is symmetric.
    keep : Keep
        Which kernel: `ONLY_MOMENTS`, or only the tangents of one parameterisation.
    executor : optional
    """
    compute = partial(_tile, net=net, inputs=inputs, others=others, keep=keep)
    parts = tile_places(net, len(inputs), None if others is None else len(others))
    for rows, columns, found in computed(compute, parts, executor):
        yield Tile(rows, columns, found["kernel"])


def tile_places(net: Network, n_rows: int, n_columns: int | None = None) -> list[tuple[slice, slice]]:
    """Rows and columns of all tiles.

    Without `n_columns` of those on and below the diagonal of a symmetric kernel.
    """
    rows = _slices(n_rows, _tile_width(net))
    if n_columns is not None:
        return list(product(rows, _slices(n_columns, _tile_width(net))))
    return [(row, column) for row, column in product(rows, rows) if row.start >= column.start]


def _slices(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def computed(
    compute: Callable[[tuple[slice, slice]], dict[str, np.ndarray]], parts: list[tuple[slice, slice]], executor: Any
) -> Iterator[tuple[slice, slice, dict[str, np.ndarray]]]:
    """Rows, columns and what `compute` finds of each part, as they are finished."""
    # One before the others: it builds the tables that all of them read. Threads of BLAS would spin on after it.
    with single_blas_thread():
        first = compute(parts[0])
    yield (*parts[0], first)
    for i, found in finished(compute, enumerate(parts[1:], 1), len(parts) - 1, executor=executor, unit="tile"):
        yield (*parts[i], found)


def _tile(
    part: tuple[slice, slice], net: Network, inputs: np.ndarray, others: np.ndarray | None, keep: Keep
) -> dict[str, np.ndarray]:
    rows, columns = part
    beside = inputs[columns] if others is None else others[columns]
    try:
        state = tile_outputs(net, inputs[rows], None if others is None and rows == columns else beside, keep)
        if keep.only == "none":
            return {"kernel": _finite(state.moments, "NNGP kernel", "").at_two}
        return {"kernel": _finite(state.tangents[("only",)], "tangent kernel", "").at_two}
    except OutOfRange as error:
        raise OutOfRange(error.fact, advice(inputs)) from None


def _of_pairs(
    net: Network,
    inputs: Any,
    others: Any,
    keep: Keep,
    executor: Any,
    of_whole: Callable[[MeanField], np.ndarray],
) -> np.ndarray:
    """A kernel in tiles, or where units are sampled, over all inputs at once.

    These are the same for all pairs: rectangular ones are cut out of the kernel of all inputs.
    """
    try:
        return _assembled(net, inputs, others, keep, executor)
    except (NoTheory, NeedsAllPairs):  # at the first tile
        inputs = checked_inputs("inputs", inputs, net)
        others = None if others is None else checked_inputs("others", others, net)
        every = inputs if others is None else np.concatenate([inputs, others])
        whole = of_whole(_over_all(net, every))
        return whole if others is None else whole[: len(inputs), len(inputs) :].copy()


def _over_all(net: Network, inputs: Any) -> MeanField:
    return MeanField.partial(net, None, None, None, inputs, Keep(shares=False, errors=False, signal=False))


def _assembled(net: Network, inputs: Any, others: Any, keep: Keep, executor: Any) -> np.ndarray:
    """All tiles of a kernel as one matrix."""
    inputs = checked_inputs("inputs", inputs, net)
    others = None if others is None else checked_inputs("others", others, net)
    shape = len(inputs), len(inputs if others is None else others)
    # Tiles wait for each other.
    sites, n_sites = pairs_of_sites(net, given=True), _most_sites(net)
    of_one, fewer = sites.entries(n_sites), "take fewer"
    if n_sites > 1:
        fewer = ("take smaller ones" if of_one > 2 * prod(shape) else fewer) + cheaper(sites)
    require_memory(
        8.0 * (2 * prod(shape) + MATRICES * max(TILE**2, _tile_width(net) ** 2 * of_one) * 4),
        f"the kernel of {shape[0]} x {shape[1]} inputs",
        fewer,
    )
    out = np.empty(shape)
    for rows, columns, kernel in tiles(net, inputs, others, keep, executor):
        out[rows, columns] = kernel
        if others is None:
            out[columns, rows] = kernel.T
    return out


def _only(parameterisation: str) -> Keep:
    return ONLY_MOMENTS._replace(only=parameterisation)


def _recursion(net: Any, inputs: Any, others: Any) -> MeanField | Network:
    """The network on data where its recursion is needed as a whole.

    The network alone where tiles do.
    """
    if isinstance(net, MeanField):
        refuse_data(net, inputs=inputs)
        if not net.given:
            raise ValueError(
                "`net` must have given inputs for a kernel of them, got random ones; pass MeanField(net, inputs=X)."
            )
        if others is not None:
            raise ValueError("`others` go with a Network and `inputs`, got a MeanField; pass its network and inputs.")
        return net.network if net.many else net
    check_network(net)
    if inputs is None:
        raise ValueError("`inputs` must be a (T, M_0) matrix of inputs, got None; pass the data.")
    if pairs_are_apart(net):
        return net
    if others is not None:
        raise NoTheory(
            "`others` have no kernel with `inputs` where layers couple the samples of a batch, as batch norm does, or "
            "normalise the outputs; pass all of them as `inputs`."
        )
    return _over_all(net, inputs)


def _check_outputs(wide: MeanField) -> None:
    """Raise for outputs that are coupled, which have no kernel of one output."""
    law = wide.output_law
    if law is not None and not law.edge:
        raise NoTheory(
            "`net` must have outputs that are not coupled, but ends in layer norm; drop it, or take "
            "`mfdnn.empirical_ntk`."
        )


def _refuse_gains(net: Network, parameterisation: str) -> None:
    if parameterisation == "ntk" and any(not layer.n_weight_layers for layer, _ in net.parameter_layers):
        raise NoTheory(
            "`parameterisation` = ntk has no theory of trained gains and offsets, whose derivatives and errors are not "
            "independent, got a layer with some; make it without (affine=False of a normalisation), or take standard."
        )


def _finite(kernel: Pairs, what: str, told: str) -> Pairs:
    if not kernel.finite:
        raise OutOfRange(f"the {what} is infinite", told)
    return kernel


def _tile_width(net: Network) -> int:
    """How many inputs a tile has."""
    n = _most_sites(net)
    if pairs_of_sites(net, given=True) is ALL:
        return max(1, TILE // n)
    return min(TILE, max(1, int((OF_SITES / n) ** 0.5)))


def _most_sites(net: Network) -> int:
    """The most sites that a signal has."""
    shape, most = net.input_shape, prod(net.input_shape[1:])
    for layer in net.layers:
        shape = layer.output_shape(shape)
        most = max(most, prod(shape[1:]))
    return most

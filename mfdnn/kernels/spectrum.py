"""Eigenvalues of kernels on data, and what makes a kernel singular."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.results import Result
from .._support.validation import finite_number, one_of, positive_integer, refuse_both, sample_count
from ..layers import ONLY_MOMENTS, Keep
from ..losses import loss_scale, stability_limit
from ..losses.stability import checked_nesterov
from ..mean_field import MeanField, as_mean_field
from ..mean_field.inputs import check_network, checked_inputs
from ..mean_field.tiles import pairs_are_apart
from ..network import Network
from .on_data import PARAMETERISATIONS, Tile, nngp, ntk, tiles
from .tangent import ntk_statistics

__all__ = ["KERNELS", "KernelSpectrum", "kernel_spectrum"]

KERNELS = ("ntk", "nngp")
DENSE_UP_TO = 4096  # inputs: above, a few eigenvalues by Lanczos, of a kernel of which half is held
SUBSET = 1000  # inputs of a random subset
SINGULAR = 1e-12  # of the largest eigenvalue: what entries are known to
SAME = 1e-10  # distance from 1 of the correlation of inputs that are parallel, and of what the kernel makes of them
ALIKE = 1e-6  # the same of outputs that no longer tell inputs apart


@dataclass(frozen=True, repr=False, eq=False)
class KernelSpectrum(Result):
    r"""Eigenvalues of the kernel of one output; those of C outputs are C-fold.

    Attributes
    ----------
    eigenvalues : ndarray, shape (T,) or (k,)
        In descending order: all of them, or the largest.
    largest : float
    smallest : float or None
        0 where the kernel is singular to its accuracy; None where it is not known, for `k` of many inputs.
    condition : float or None
        ``largest / smallest``, inf where the kernel is singular.
    duplicates : tuple of tuples of int
        Groups of inputs that are parallel and that the kernel takes for the same (or for opposites).
    kernel, parameterisation : str
        "ntk" or "nngp"; "standard" or "ntk", which matters to the former.
    n_samples, n_outputs : int
        T and C.
    standard_error : dict or None
        Of `largest`, where it was estimated on random subsets.
    caution : str
        What to know before the numbers are used; "" if there is nothing.
    """

    eigenvalues: np.ndarray
    largest: float
    smallest: float | None
    condition: float | None
    duplicates: tuple[tuple[int, ...], ...]
    kernel: str
    parameterisation: str
    n_samples: int
    n_outputs: int
    standard_error: dict[str, float] | None
    caution: str

    def max_learning_rate(
        self, loss: str = "half_mse", *, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> float:
        r"""Largest stable learning rate, :math:`2/\lambda_{max}` of :math:`s \Theta/T`.

        As `mfdnn.max_learning_rate` has it, for more inputs than that one holds.

        Parameters
        ----------
        loss : str
            One of `mfdnn.losses.LOSSES` but cross-entropy, whose curvature is no multiple of the kernel.
        momentum, nesterov, weight_decay : float, bool, float
            As in `mfdnn.max_learning_rate`.

        Raises
        ------
        ValueError
            Cross-entropy; `momentum` outside [0, 1), a negative `weight_decay`; a kernel that is not the tangent kernel
            in standard parameterisation.
        """
        if loss == "cross_entropy":
            raise ValueError("`loss` must be one of squares, got cross_entropy; take `mfdnn.max_learning_rate`.")
        if (self.kernel, self.parameterisation) != ("ntk", "standard"):
            raise ValueError(
                f"`kernel` must be the tangent kernel in standard parameterisation for a learning rate of the weights, "
                f"got {self.kernel} ({self.parameterisation}); leave both arguments out."
            )
        scale = loss_scale(loss, self.n_outputs, self.n_samples)
        decay = finite_number("weight_decay", weight_decay)
        if decay < 0:
            raise ValueError(f"`weight_decay` must be >= 0, got {decay:g}; pass its size, without a sign.")
        curvature = scale * self.largest / self.n_samples + decay
        return stability_limit(curvature, momentum, checked_nesterov(nesterov, momentum))


def kernel_spectrum(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: Any = None,
    c0: Any = None,
    *,
    inputs: Any = None,
    k: int | None = None,
    kernel: str = "ntk",
    parameterisation: str = "standard",
    subsets: Any = None,
) -> KernelSpectrum:
    r"""Eigenvalues of the kernel of an infinitely wide network, and its condition.

    Gradient descent on a quadratic loss is stable below 2 over the largest eigenvalue of :math:`s \Theta/T`, learns
    along each eigenvector at the rate of its eigenvalue, and everything in the end if the smallest is positive.

    Parameters
    ----------
    net : Network or MeanField
        With linear outputs.
    n_samples, q0, c0 : optional
        Exchangeable random inputs, as in `order_parameters`; single numbers.
    inputs : array_like, shape (T, M_0) or (T, *input_shape), optional
        Given inputs instead.
    k : int, optional
        How many of the largest eigenvalues. Default: all.
    kernel : {"ntk", "nngp"}
        Of the gradients of an output (`mfdnn.ntk`), or of the outputs (`mfdnn.nngp`).
    parameterisation : {"standard", "ntk"}
        Of the tangent kernel.
    subsets : int or (int, int), optional
        Estimate the largest eigenvalue on so many random subsets of the inputs, of 1000 inputs or of as many as the
        second number says.

    Returns
    -------
    KernelSpectrum

    Raises
    ------
    TypeError, ValueError
        As `mfdnn.ntk`; arrays of `q0` or `c0`; `k` outside 1..T; fewer than two `subsets`, or larger ones than the
        data; `subsets` of random inputs or where samples are coupled.
    MemoryError
        The kernel does not fit.

    Notes
    -----
    All eigenvalues take O(T^3) time and two T x T matrices. Of more than 4096 inputs the `k` largest are computed by
    Lanczos iteration on the tiles of one half of the kernel: 4 T^2 bytes, 1.6 GB for T = 20 000, and O(T^2) time; the
    smallest is not known then.

    A subset of m inputs has the largest eigenvalue :math:`\lambda_m`; T enters as it does for exchangeable inputs and
    for a kernel of one dominant direction, :math:`\lambda_T = \lambda_m + (T - m)\,(\lambda_m - d)/(m - 1)`, d the mean
    of the diagonal. The smallest eigenvalue of the subsets is an upper bound of that of all inputs.

    Of exchangeable inputs eigenvalues are those of the limit, :math:`K_1 + (T - 1) K_2` and :math:`K_1 - K_2`.

    References
    ----------
    Xiao, Pennington & Schoenholz 2020, "Disentangling trainability and generalization in deep neural networks",
    arXiv:1912.13053.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> net = mfdnn.mlp([3, 1000, 1000, 1], "relu", sigma_w2=2.0)
    >>> X = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [2.0, 0.0, 0.0]])
    >>> found = mfdnn.kernel_spectrum(net, inputs=X, parameterisation="ntk")
    >>> found.duplicates, found.condition
    (((0, 3),), inf)
    >>> round(mfdnn.kernel_spectrum(net, inputs=X[:3], parameterisation="ntk").condition, 4)
    1.8889
    """
    one_of("kernel", kernel, KERNELS)
    one_of("parameterisation", parameterisation, PARAMETERISATIONS)
    k = None if k is None else positive_integer("k", k)
    if inputs is None and not (isinstance(net, MeanField) and net.given):
        if subsets is not None:
            raise ValueError("`subsets` are of given `inputs`, got none; pass the data, or drop `subsets`.")
        return _of_random_inputs(as_mean_field(net, n_samples, q0, c0), k, kernel, parameterisation)
    option = {"kernel": kernel, "parameterisation": parameterisation}
    if isinstance(net, MeanField):
        wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
        net, inputs = wide.network, wide.inputs
        if subsets is not None:
            return _of_subsets(net, inputs, subsets, option)
        whole = nngp(wide) if kernel == "nngp" else ntk(wide, parameterisation=parameterisation)
        return _of_matrix(whole, net, inputs, k, option)
    check_network(net)
    refuse_both("inputs", inputs, q0=q0, c0=c0)
    inputs = checked_inputs("inputs", inputs, net)
    sample_count(n_samples, inputs)
    if subsets is not None:
        return _of_subsets(net, inputs, subsets, option)
    if k is not None and len(inputs) > DENSE_UP_TO and pairs_are_apart(net):
        return _largest_of(net, inputs, _at_most(k, len(inputs)), option)
    require_memory(24.0 * len(inputs) ** 2, f"the eigenvalues of {len(inputs)} inputs", "pass `k`, or `subsets`")
    return _of_matrix(_whole(net, inputs, option), net, inputs, k, option)


def _whole(net: Network, inputs: np.ndarray, option: dict[str, str]) -> np.ndarray:
    if option["kernel"] == "nngp":
        return nngp(net, inputs)
    return ntk(net, inputs, parameterisation=option["parameterisation"])


def _at_most(k: int | None, n_samples: int) -> int:
    if k is not None and k > n_samples:
        raise ValueError(f"`k` must be at most {n_samples}, the number of inputs, got {k}; pass a smaller one.")
    return n_samples if k is None else k


def _of_random_inputs(wide: MeanField, k: int | None, kernel: str, parameterisation: str) -> KernelSpectrum:
    """Of exchangeable inputs: two eigenvalues, one of them (T - 1)-fold."""
    wide.require_single()
    n = wide.n_samples
    if kernel == "ntk":
        found = ntk_statistics(wide, parameterisation=parameterisation)
        common, others, caution = found.largest, found.mean - found.off_diagonal, found.caution
    else:
        one, two = (float(a) for a in wide.outputs.averages())
        common, others, caution = one + (n - 1) * two, one - two, ""
    require_memory(16.0 * n, f"the eigenvalues of {n} inputs", "take fewer `n_samples`")
    values = np.full(n, others, dtype=float)
    values[0 if common >= others else -1] = common
    option = {"kernel": kernel, "parameterisation": parameterisation}
    return _result(values, _at_most(k, n), (), wide.network, option, caution)


def _of_matrix(
    whole: np.ndarray, net: Network, inputs: np.ndarray, k: int | None, option: dict[str, str]
) -> KernelSpectrum:
    from scipy.linalg import eigvalsh

    kept = _at_most(k, len(whole))
    groups, cause = why_singular(whole, inputs)
    values = eigvalsh(whole, overwrite_a=True, check_finite=False)[::-1]
    caution = cause if values[-1] <= SINGULAR * values[0] else ""
    return _result(values, kept, groups, net, option, caution)


def why_singular(whole: np.ndarray, inputs: np.ndarray) -> tuple[tuple[tuple[int, ...], ...], str]:
    """Groups of inputs that are the same to a kernel (T, T), and why it is singular.

    The sentence holds if it is.
    """
    scale = np.sqrt(np.maximum(np.diagonal(whole), 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    alike = whole / scale / scale[:, None]
    groups = duplicates(alike, inputs.reshape(len(inputs), -1))
    return groups, _cause(groups, 1.0 - float(alike.min()))


def _result(
    values: np.ndarray, k: int, groups: tuple, net: Network, option: dict[str, str], caution: str
) -> KernelSpectrum:
    """Of all eigenvalues, in descending order, which are kept to `k`."""
    largest, smallest = float(values[0]), float(values[-1])
    if smallest <= SINGULAR * largest:
        smallest = 0.0
    return KernelSpectrum(
        eigenvalues=values[:k],
        largest=largest,
        smallest=smallest,
        condition=largest / smallest if smallest else np.inf,
        duplicates=groups,
        **option,
        n_samples=len(values),
        n_outputs=net.n_outputs,
        standard_error=None,
        caution=caution,
    )


def duplicates(correlation: np.ndarray, inputs: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Groups of parallel inputs, the same or opposite to a kernel.

    `correlation` (T, T) is that of the kernel.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.nonzero(np.triu(np.abs(correlation) > 1 - SAME, 1))
    size = np.linalg.norm(inputs, axis=1)
    unit = inputs / np.where(size > 0, size, 1.0)[:, None]
    parallel = np.empty(rows.size, dtype=bool)
    for start in range(0, rows.size, 2**14):
        s, t = rows[start : start + 2**14], columns[start : start + 2**14]
        cosine = np.abs(np.einsum("ij,ij->i", unit[s], unit[t]))
        parallel[start : start + s.size] = (cosine > 1 - SAME) | ((size[s] == 0) & (size[t] == 0))
    rows, columns = rows[parallel], columns[parallel]
    graph = csr_array((np.ones(rows.size), (rows, columns)), shape=correlation.shape)
    n_groups, label = connected_components(graph, directed=False)
    if n_groups == len(label):
        return ()
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    return tuple(sorted(tuple(group.tolist()) for group in groups if group.size > 1))


def _cause(groups: tuple[tuple[int, ...], ...], apart: float) -> str:
    """Why a kernel is singular."""
    if groups:
        named = ", ".join(str(group) for group in groups[:5]) + (", ..." if len(groups) > 5 else "")
        return f"The kernel is singular: inputs {named} are the same to it; keep one of each."
    if apart < ALIKE:
        return (
            f"The kernel is singular to its accuracy: all inputs look alike at the outputs, with correlations within "
            f"{apart:.1g} of 1, as at large depth in the ordered phase; take fewer layers, or a larger `sigma_w2`."
        )
    return (
        "The kernel is singular to its accuracy: what the network sees of the inputs has fewer dimensions than there "
        "are inputs, as in a linear network with few features; take fewer inputs."
    )


# -- many inputs ----------------------------------------------------------------------------------------------


class HalfKernel:
    """The tiles of a symmetric kernel on and below the diagonal."""

    def __init__(self, net: Network, inputs: np.ndarray, keep: Keep):
        n = len(inputs)
        require_memory(4.5 * n**2, f"half of the kernel of {n} inputs", "take fewer, or pass `subsets`")
        self.n, self.tiles = n, list[Tile](tiles(net, inputs, None, keep))

    def apply(self, v: np.ndarray) -> np.ndarray:
        """The kernel times a vector (T,)."""
        out = np.zeros(self.n)
        v = np.ravel(v)
        for rows, columns, kernel in self.tiles:
            out[rows] += kernel @ v[columns]
            if rows != columns:
                out[columns] += v[rows] @ kernel
        return out


def _largest_of(net: Network, inputs: np.ndarray, k: int, option: dict[str, str]) -> KernelSpectrum:
    from scipy.sparse.linalg import LinearOperator, eigsh

    only = "none" if option["kernel"] == "nngp" else option["parameterisation"]
    half = HalfKernel(net, inputs, ONLY_MOMENTS._replace(only=only))
    operator = LinearOperator((half.n, half.n), matvec=half.apply, dtype=np.float64)
    # A fixed start makes the result reproducible.
    start = np.random.default_rng(0).standard_normal(half.n)
    values = eigsh(operator, k=k, which="LA", v0=start, return_eigenvectors=False)
    return KernelSpectrum(
        eigenvalues=np.sort(values)[::-1],
        largest=float(values.max()),
        smallest=None,
        condition=None,
        duplicates=(),
        **option,
        n_samples=half.n,
        n_outputs=net.n_outputs,
        standard_error=None,
        caution=f"Of {half.n} inputs the largest eigenvalues alone were computed: the smallest is not known.",
    )


def _of_subsets(net: Network, inputs: np.ndarray, subsets: Any, option: dict[str, str]) -> KernelSpectrum:
    """The largest eigenvalue from that of random subsets."""
    from scipy.linalg import eigvalsh

    if not pairs_are_apart(net):
        raise ValueError(
            "`subsets` have the kernel of the whole only where no layer couples samples, got a network with batch norm "
            "or its like; drop `subsets`."
        )
    n_subsets, size = subsets if isinstance(subsets, tuple | list) and len(subsets) == 2 else (subsets, None)
    n_subsets = positive_integer("subsets", n_subsets, 2)
    n = len(inputs)
    size = min(SUBSET, n) if size is None else positive_integer("subsets", size, 2)
    if size > n:
        raise ValueError(f"`subsets` must be of at most {n} inputs, as there are no more, got {size}; pass fewer.")
    rng = np.random.default_rng(0)
    largest, smallest = [], []
    for _ in range(n_subsets):
        theta = _whole(net, inputs[rng.permutation(n)[:size]], option)
        diagonal = np.diagonal(theta).mean()
        values = eigvalsh(theta, overwrite_a=True, check_finite=False)
        largest.append(values[-1] + (n - size) * (values[-1] - diagonal) / (size - 1))
        smallest.append(max(float(values[0]), 0.0))
    mean, least = float(np.mean(largest)), min(smallest)
    return KernelSpectrum(
        eigenvalues=np.array([mean]),
        largest=mean,
        smallest=least,
        condition=mean / least if least > SINGULAR * mean else np.inf,
        duplicates=(),
        **option,
        n_samples=n,
        n_outputs=net.n_outputs,
        standard_error={"largest": float(np.std(largest, ddof=1) / np.sqrt(n_subsets))},
        caution=(
            f"`largest` is extrapolated from {n_subsets} random subsets of {size} inputs, growing with their number as "
            "for exchangeable inputs; `smallest` is that of the subsets, an upper bound."
        ),
    )

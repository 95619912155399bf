"""Eigenvalues of kernels on data and of random inputs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.memory import require_memory
from .._support.validation import one_of, positive_integer, refuse_both, sample_count
from ..layers import ONLY_MOMENTS
from ..layers.pairs import NeedsAllPairs
from ..layers.pairs.given import largest_eigenvalue
from ..mean_field import MeanField, as_mean_field
from ..mean_field.inputs import check_network, checked_inputs
from ..mean_field.runs import standard_errors
from ..mean_field.tiles import pairs_are_apart
from ..network import Network
from .many_inputs import HalfKernel
from .on_data import PARAMETERISATIONS, nngp, ntk, tiles
from .singular import SINGULAR, why_singular
from .spectrum_result import KernelSpectrum
from .tangent import ntk_statistics

__all__ = ["KERNELS", "kernel_spectrum"]

KERNELS = ("ntk", "nngp")
DENSE_UP_TO = 4096  # inputs: above, a few eigenvalues by Lanczos, of a kernel of which half is held
SUBSET = 1000  # inputs of a random subset


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
        Estimate the largest eigenvalue, with a standard error, on so many random subsets of the inputs, of 1000 inputs
        or of as many as the second number says: for data of any size.

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

    How T enters is learnt from `subsets` and their halves. Of m inputs the largest eigenvalue over m is on average
    :math:`a + b/m` where some directions dominate (exactly so for exchangeable inputs), and :math:`a + b/\sqrt m` at
    the edge of a bulk, where none does. `largest` continues the former to T; half the distance to the latter is part of
    its `standard_error`, beside the scatter over subsets. Of nine kernels of 3000 inputs it was off by at most 1.4
    standard errors (relu and tanh; Gaussian inputs, clusters, norms that differ by factors; subsets of 100 to 1000).
    The smallest eigenvalue of the subsets is an upper bound of that of all inputs.

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
        wide = as_mean_field(net, n_samples, q0, c0)
        return _with_errors(wide, lambda one: _of_random_inputs(one, k, kernel, parameterisation))
    option = {"kernel": kernel, "parameterisation": parameterisation}
    if isinstance(net, MeanField):
        wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
        net, inputs = wide.network, wide.inputs
        if subsets is None and not wide.many:
            return _with_errors(wide, lambda one: _of_recursion(one, k, option))
    else:
        check_network(net)
        refuse_both("inputs", inputs, q0=q0, c0=c0)
        inputs = checked_inputs("inputs", inputs, net)
        sample_count(n_samples, inputs)
    if subsets is not None:
        return _of_subsets(net, inputs, subsets, option)
    if net.couples_samples:
        require_memory(24.0 * len(inputs) ** 2, f"the eigenvalues of {len(inputs)} inputs", "pass fewer")
        return _with_errors(MeanField(net, inputs=inputs), lambda one: _of_recursion(one, k, option))
    if k is not None and len(inputs) > DENSE_UP_TO and pairs_are_apart(net):
        with suppress(NeedsAllPairs, NoTheory):  # units are sampled, all inputs at once
            return _largest_of(net, inputs, _at_most(k, len(inputs)), option)
    require_memory(24.0 * len(inputs) ** 2, f"the eigenvalues of {len(inputs)} inputs", "pass `k`, or `subsets`")
    return _of_matrix(_whole(net, inputs, option), net, inputs, k, option)


def _of_recursion(wide: MeanField, k: int | None, option: dict[str, str]) -> KernelSpectrum:
    """Of a network on given inputs, whose recursion runs over all of them at once."""
    own = {"parameterisation": option["parameterisation"]}
    whole = nngp(wide) if option["kernel"] == "nngp" else ntk(wide, **own)
    assert wide.inputs is not None
    return _of_matrix(whole, wide.network, wide.inputs, k, option)


def _with_errors(wide: MeanField, spectrum: Callable[[MeanField], KernelSpectrum]) -> KernelSpectrum:
    """With standard errors, where units are sampled."""
    found = spectrum(wide)
    if not wide.sampled:
        return found
    without_one = [spectrum(one) for one in wide.without_one_run()]
    names = [name for name in ("largest", "smallest", "condition") if np.isfinite(getattr(found, name) or np.nan)]
    return replace(found, standard_error=standard_errors(without_one, names))


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


# -- many inputs ----------------------------------------------------------------------------------------------


def _largest_of(net: Network, inputs: np.ndarray, k: int, option: dict[str, str]) -> KernelSpectrum:
    only = "none" if option["kernel"] == "nngp" else option["parameterisation"]
    half = HalfKernel(len(inputs), tiles(net, inputs, None, ONLY_MOMENTS._replace(only=only)))
    values = half.largest(k)
    return KernelSpectrum(
        eigenvalues=values,
        largest=float(values[0]),
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
    top: list[float] = []
    smallest, distance = [], []
    for _ in range(n_subsets):
        theta = _whole(net, inputs[rng.permutation(n)[:size]], option)
        two = np.split(np.arange(size), [size // 2])
        halved = np.mean([largest_eigenvalue(theta[np.ix_(half, half)]) / half.size for half in two])
        values = eigvalsh(theta, overwrite_a=True, check_finite=False)
        own, at = values[-1] / size, (2 / size, 1 / size, 1 / n)
        by_m, by_root = (own + (own - halved) * (c - b) / (b - a) for a, b, c in (at, np.sqrt(at)))
        top.append(n * by_m)
        distance.append(n * (by_m - by_root))
        smallest.append(max(float(values[0]), 0.0))
    scatter = np.std(top, ddof=1) / np.sqrt(n_subsets)
    mean, least = float(np.mean(top)), min(smallest)
    return KernelSpectrum(
        eigenvalues=np.array([mean]),
        largest=mean,
        smallest=least,
        condition=mean / least if least > SINGULAR * mean else np.inf,
        duplicates=(),
        **option,
        n_samples=n,
        n_outputs=net.n_outputs,
        standard_error={"largest": float(np.hypot(scatter, np.mean(distance) / 2))},
        caution=(
            f"`largest` is extrapolated from {n_subsets} random subsets of {size} inputs and their halves, with what "
            "that may be wrong by in its error; `smallest` is that of the subsets, an upper bound."
        ),
    )

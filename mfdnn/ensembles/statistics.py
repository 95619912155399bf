"""Order parameters and Fisher spectra of many random networks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from .._support.blas import single_blas_thread
from .._support.memory import available_memory
from .._support.results import Result, unwrap
from .._support.validation import (
    checked,
    finite_number,
    input_array,
    one_of,
    refuse_both,
    sample_count,
    variance,
)
from ..datasets import gaussian_inputs
from ..jobs.run import Checkpoint, n_cores, stack
from ..jobs.settings import describe_arrays, describe_network, describe_stream
from ..jobs.streams import streams
from ..layers import Layer
from ..network import Network, require_network
from ..sampled import (
    LayerActivity,
    SampledNetwork,
    feature_spectrum,
    fisher_spectrum,
    jacobian_depth,
    sample,
    squared_fisher_rao_norm,
)
from ..sampled.coordinates import Coordinates
from ..sampled.network import float_dtype
from ..sampled.spectrum import OUTPUTS

__all__ = ["Ensemble", "ensemble"]

EXACT = 2000  # min(T C, P) up to which the whole spectrum is computed; above, its top, mean and second moment
GEOMETRY = (  # names of what is measured where it is asked for
    *("feature_mean", "feature_second_moment", "feature_outlier_mean"),
    *("ntk_mean", "ntk_second_moment", "ntk_outlier_mean", "squared_fisher_rao_norm"),
)
JACOBIAN = ("jacobian_mean", "jacobian_largest", "jacobian_smallest", "jacobian_inverse_condition")


@dataclass(frozen=True, repr=False, eq=False)
class Ensemble(Result):
    r"""What `ensemble` measured, by name.

    ======================  ==================================================================================
    lambda_max              largest eigenvalue of the Fisher information
    outlier_mean            mean of the C largest (softmax, or layer norm of the outputs: C - 1)
    mean, second_moment     tr F / P, tr F^2 / P
    q, q_st                 :math:`u_i^2` and :math:`u_i(s) u_i(t)` of every weight layer l = 1..L, averaged
                            over units, sites and inputs (pairs of different inputs)
    q_hat, q_hat_st         the same of what enters the layer, l = 0..L-1
    q_tilde, q_tilde_st     :math:`\sum_i \delta_i^2` and :math:`\sum_i \delta_i(s) \delta_i(t)`, l = 1..L,
                            summed over units and sites, averaged over inputs (pairs) and outputs
    eigenvalues             on request: the min(TC, P) that can be non-zero, descending (softmax: T (C - 1))
    feature_mean, ...       with ``geometry=True``: mean, second_moment and outlier_mean of the metric of the
                            features (`mfdnn.feature_spectrum`)
    ntk_mean, ...           the same of the tangent kernel (TC x TC) in NTK parameterisation (`mfdnn.empirical_ntk`)
    squared_fisher_rao_norm  of the parameters (`mfdnn.squared_fisher_rao_norm`)
    jacobian_mean, ...      with ``jacobian=True``: mean, largest, smallest of the squared singular values of the
                            Jacobian by the first input and inverse_condition, L numbers each
                            (`mfdnn.sampled.jacobian_depth`)
    ======================  ==================================================================================

    The names with ``_st`` are absent for a single input. With `output` "softmax" the first three rows, and
    eigenvalues, are of :math:`F_{cross} = \frac1T \sum_t J_t^T Q_t J_t`, Q of each network's own outputs.

    Attributes
    ----------
    mean, standard_error : dict of str to float or ndarray
        Over networks, by the names above: a number, or an array of L numbers where there is one a weight layer. The
        standard error is that of the mean, inf for one network.
    values : dict of str to ndarray
        The same of each network, shape (n_networks,), (n_networks, L), or (n_networks, number of eigenvalues).
    network : Network
        Whose parameters were drawn.
    n_samples, n_networks : int
        T, and how many networks were drawn.
    q0, c0 : float
        Mean square and correlation of the Gaussian inputs (1 and 0 if inputs were given).
    inputs : ndarray, shape (T, M_0), or (T, *input_shape), or None
        The given inputs; None where every network drew its own.
    output : str
        "linear" or "softmax": what the loss makes of the outputs.
    dtype : str
        "float64" or "float32", in which the networks computed.
    """

    mean: dict[str, Any]
    standard_error: dict[str, Any]
    values: dict[str, np.ndarray]
    network: Network
    n_samples: int
    n_networks: int
    q0: float
    c0: float
    output: str
    dtype: str
    _inputs: np.ndarray | None

    @property
    def inputs(self) -> np.ndarray | None:
        """The given inputs (T, M_0), or (T, *input_shape); None if drawn."""
        return self._inputs

    def __repr__(self) -> str:
        numbers = ", ".join(
            f"{name}={self.mean[name]:.4g}+-{self.standard_error[name]:.1g}"
            for name in ("lambda_max", "mean", "second_moment")
        )
        return f"Ensemble({self.n_networks} networks, T={self.n_samples}, {numbers})"


def ensemble(
    net: Network,
    n_samples: int | None = None,
    n_networks: int = 20,
    *,
    q0: float | None = None,
    c0: float | None = None,
    inputs: np.ndarray | None = None,
    output: str = "linear",
    rng: Any = None,
    executor: Any = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = False,
    dtype: Any = "float64",
    eigenvalues: bool = False,
    geometry: bool = False,
    jacobian: bool = False,
) -> Ensemble:
    """Draw networks and measure their order parameters and Fisher spectra.

    Parameters
    ----------
    net : Network
    n_samples : int, optional
        T, the number of inputs. Default: 1000.
    n_networks : int
    q0, c0 : float, optional
        Mean square of the Gaussian inputs and correlation of two of them; every network draws its own
        (`mfdnn.datasets.gaussian_inputs`). Default: 1 and 0.
    inputs : array (T, M_0), or (T, *input_shape), optional
        Given inputs, the same for all networks. They determine T, and exclude `q0` and `c0`.
    output : {"linear", "softmax"}
        Whose Fisher information: that of squared errors, or of class probabilities (cross-entropy), as in
        `fisher_spectrum`.
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes. Network i draws its parameters, then its inputs, from
        ``numpy.random.default_rng(rng).spawn(n_networks)[i]``.
    executor : optional
        Anything with ``.map``, such as the executors of concurrent.futures, loky, Dask and mpi4py. Default:
        threads, one per core, fewer if memory is short.
    checkpoint : path, optional
        File in which finished networks are kept, one line of text each. An interrupted run resumes with the
        same call, recomputes none of them, and returns the same bits; so does a run that asks for more
        networks. Needs `rng`.
    progress : bool
        Show a progress bar on stderr, if that is a terminal. Without, it comes after ten seconds.
    dtype : {"float64", "float32"}
    eigenvalues : bool
        Also keep every network's whole spectrum, as ``values["eigenvalues"]``.
    geometry : bool
        Also measure the metric of the features, the tangent kernel in NTK parameterisation and the Fisher-Rao norm:
        of linear outputs, and layers that treat samples one by one.
    jacobian : bool
        Also measure the singular values of the Jacobian of every weight layer's units by the first input: of fully
        connected layers and activations.

    Returns
    -------
    Ensemble

    Raises
    ------
    TypeError, ValueError
        Not a network; sizes below 1; `inputs` of another width, not finite, or together with what they
        exclude; a softmax of one output; an `rng` that cannot be split, such as a RandomState; a `checkpoint`
        without `rng`, made with other settings, that is none, or that cannot be written.
    MemoryError
        One network does not fit into memory.
    KeyboardInterrupt
        Ctrl-C: networks not yet begun are dropped; finished ones are in the checkpoint.

    Notes
    -----
    Bit for bit the same for any executor and number of workers, on one machine and installation: every
    network has its own stream of random numbers and computes in one BLAS thread.
    Another machine may round differently.

    Cost of one network: that of `fisher_spectrum`, all eigenvalues up to min(T C, P) = 2000, above that the C
    largest and the second moment by C (C + 1)/2 products of T x T x M matrices. Memory: that of the networks in
    flight, one per worker.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([50, 50, 50, 1], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> ens = mfdnn.ensemble(net, n_samples=20, n_networks=30, rng=0)
    >>> ens.values["q"].shape
    (30, 3)
    >>> print(ens.mean["q"].round(1))  # infinite width: 3.64, 2.50, 2.32
    [3.6 2.5 2.2]
    """
    require_network("net", net)
    rng, checkpoint, progress = checked(rng=rng, checkpoint=checkpoint, progress=progress)
    eigenvalues, geometry, jacobian = checked(eigenvalues=eigenvalues, geometry=geometry, jacobian=jacobian)
    refuse_both("inputs", inputs, q0=q0, c0=c0)
    if inputs is not None:
        inputs = input_array("inputs", inputs, net.input_shape)
    n_samples = sample_count(n_samples, inputs)
    n_networks = checked(n_networks=n_networks)
    q0 = 1.0 if q0 is None else variance("q0", q0)
    c0 = 0.0 if c0 is None else finite_number("c0", c0)
    if one_of("output", output, OUTPUTS) == "softmax" and net.n_outputs == 1:
        raise ValueError(
            "`output` = softmax needs two outputs or more, got 1: a softmax of one output is constant; use linear."
        )
    if geometry:
        Coordinates(net, "ntk")  # what has no such units is refused before networks are drawn
    if geometry and (output == "softmax" or net.couples_samples):
        raise ValueError(
            "`geometry` needs linear outputs and layers that treat samples one by one, got "
            f"{net} and {output} outputs; drop it."
        )
    if jacobian and not all(_passes(layer) for layer in net.layers):
        raise ValueError(f"`jacobian` needs fully connected layers and activations, got {net}; drop it.")
    kind = float_dtype(dtype)
    seeds = streams(rng, n_networks)
    measure = partial(
        _measure,
        net=net,
        n_samples=n_samples,
        q0=q0,
        c0=c0,
        inputs=inputs,
        output=output,
        dtype=kind.name,
        eigenvalues=eigenvalues,
        geometry=geometry,
        jacobian=jacobian,
    )
    kept = None
    if checkpoint is not None:
        if rng is None:
            raise ValueError("`checkpoint` needs `rng`, or the resumed run would draw others; pass a seed.")
        kept = Checkpoint(checkpoint, _settings(measure.keywords, seeds[0]))
    values = stack(
        measure,
        seeds,
        executor=executor,
        workers=_workers(net, n_samples, kind, eigenvalues),
        shapes=_shapes(net, n_samples, output, eigenvalues, geometry, jacobian),
        checkpoint=kept,
        progress=progress,
    )
    return Ensemble(
        mean={name: unwrap(array.mean(axis=0)) for name, array in values.items()},
        standard_error={name: unwrap(_standard_error(array)) for name, array in values.items()},
        values=values,
        network=net,
        n_samples=n_samples,
        n_networks=n_networks,
        q0=q0,
        c0=c0,
        output=output,
        dtype=kind.name,
        _inputs=inputs,
    )


def same_network(one: Network, two: Network) -> bool:
    """Whether two networks are the same in all that matters to a sample."""
    return describe_network(one) == describe_network(two)


def _measure(
    seed: np.random.SeedSequence,
    net: Network,
    n_samples: int,
    q0: float,
    c0: float,
    inputs: np.ndarray | None,
    output: str,
    dtype: str,
    eigenvalues: bool,
    geometry: bool,
    jacobian: bool,
) -> dict[str, np.ndarray]:
    """One network: the numbers of `Ensemble`."""
    # `fisher_spectrum` reports an overflow, in one sentence.
    with single_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        rng = np.random.default_rng(seed)
        one = sample(net, rng=rng, dtype=dtype)
        X = gaussian_inputs(n_samples, net.n_inputs, q0, c0, rng=rng) if inputs is None else inputs
        measured = _order_parameters([layer for layer, _ in net.weight_layers], one.activity(X))
        whole = eigenvalues or _side(net, n_samples) <= EXACT
        k = None if whole else net.n_outputs - (output == "softmax")
        spectrum = fisher_spectrum(one, X, k, output=output)
        top = {name: getattr(spectrum, name) for name in ("outlier_mean", "mean", "second_moment")}
        numbers = {"lambda_max": spectrum.largest, **top, **measured}
        if eigenvalues:
            numbers["eigenvalues"] = spectrum.eigenvalues
        if geometry:
            numbers |= _geometry(one, X)
        if jacobian:
            found = jacobian_depth(one, X[:1])
            found["inverse_condition"] = 1 / found.pop("condition")
            numbers |= {f"jacobian_{name}": values for name, values in found.items()}
    return {name: np.asarray(value, dtype=np.float64) for name, value in numbers.items()}


def _shapes(
    net: Network, n_samples: int, output: str, eigenvalues: bool, geometry: bool, jacobian: bool
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what `_measure` returns."""
    layered = [f"{name}{pair}" for name in ("q", "q_hat", "q_tilde") for pair in ("", "_st")[: min(n_samples, 2)]]
    n_eigenvalues = min(n_samples * (net.n_outputs - (output == "softmax")), net.n_parameters)
    return {
        **dict.fromkeys(("lambda_max", "outlier_mean", "mean", "second_moment"), ()),
        **dict.fromkeys(layered, (net.n_weight_layers,)),
        **({"eigenvalues": (n_eigenvalues,)} if eigenvalues else {}),
        **(dict.fromkeys(GEOMETRY, ()) if geometry else {}),
        **(dict.fromkeys(JACOBIAN, (net.n_weight_layers,)) if jacobian else {}),
    }


def _passes(layer: Layer) -> bool:
    """Whether `jacobian_depth` takes it."""
    return layer.fully_connected or layer.activation is not None or layer.relabels


def _geometry(one: SampledNetwork, X: np.ndarray) -> dict[str, float]:
    """Metric of the features, tangent kernel in NTK parameterisation, Fisher-Rao norm."""
    features, kernel = feature_spectrum(one, X), fisher_spectrum(one, X, parameterisation="ntk")
    ntk = len(X) * kernel.eigenvalues
    size = len(X) * one.network.n_outputs
    return {
        "feature_mean": features.mean,
        "feature_second_moment": features.second_moment,
        "feature_outlier_mean": float(features.eigenvalues[: one.network.n_outputs].mean()),
        "ntk_mean": float(ntk.sum()) / size,
        "ntk_second_moment": float(ntk @ ntk) / size,
        "ntk_outlier_mean": len(X) * kernel.outlier_mean,
        "squared_fisher_rao_norm": squared_fisher_rao_norm(one, X),
    }


def _order_parameters(own: Sequence[Any], layers: Sequence[LayerActivity]) -> dict[str, list[float]]:
    """Averages of squares and of products at two inputs, per weight layer."""
    seen = [layer.seen(activity.h) for layer, activity in zip(own, layers, strict=True)]
    moments = {
        "q": [_second_moments(layer.u) / prod(layer.u.shape[1:]) for layer in layers],
        "q_hat": [_second_moments(x) / prod(x.shape[1:]) for x in seen],
        "q_tilde": [_second_moments(layer.delta, leading=1) for layer in layers],
    }
    named = {}
    for name, pairs in moments.items():
        named[name] = [one for one, _ in pairs]
        if len(layers[0].h) > 1:
            named[f"{name}_st"] = [two for _, two in pairs]
    return named


def _second_moments(x: np.ndarray, leading: int = 0) -> np.ndarray:
    """Sums over units and sites of x(t)^2 and x(s) x(t), averaged over the rest.

    Averaged over inputs, pairs s != t, and leading axes. x (T, *shape) behind the leading axes; the sum over pairs is
    the square of the sum without the squares, in float64.
    """
    n = x.shape[leading]
    outputs = prod(x.shape[:leading])
    squares = np.sum(np.square(x, dtype=np.float64)) / outputs
    products = np.sum(np.square(x.sum(axis=leading, dtype=np.float64))) / outputs - squares
    return np.array([squares / n, products / (n * (n - 1)) if n > 1 else 0.0])


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis; inf where one value says nothing of the spread."""
    n = len(values)
    if n == 1:
        return np.full(values.shape[1:], np.inf)
    return values.std(axis=0, ddof=1) / np.sqrt(n)


def _side(net: Network, n_samples: int) -> int:
    """Rows of the smaller of the dual and F, whose eigenvalues are computed."""
    return min(n_samples * net.n_outputs, net.n_parameters)


def _workers(net: Network, n_samples: int, kind: np.dtype, eigenvalues: bool) -> int:
    """One per core, fewer if as many networks at once would not fit."""
    rows = n_samples * net.n_outputs
    errors = rows * sum(prod(layer.output_shape(shape)) for layer, shape in net.parameter_layers)
    each = kind.itemsize * (2 * net.n_parameters + 2 * errors)
    side = _side(net, n_samples)
    # The smaller of the dual and F, and what its eigenvalues take; or vectors of Lanczos.
    each += 8 * (6 * side**2 if eigenvalues or side <= EXACT else 200 * rows)
    return int(max(1, min(n_cores(), available_memory() // max(each, 1))))


def _settings(keywords: dict[str, Any], seed: np.random.SeedSequence) -> dict[str, str]:
    """What determines the results, in words."""
    inputs = keywords["inputs"]
    return {
        **describe_network(keywords["net"]),
        "inputs": "none" if inputs is None else describe_arrays(inputs),
        "rng": describe_stream(seed),
        **{name: repr(keywords[name]) for name in ("n_samples", "q0", "c0", "dtype", "eigenvalues")},
        # A line of its own, so that what was made before there was a choice is still read.
        **({"output": keywords["output"]} if keywords["output"] != "linear" else {}),
        **({"geometry": "True"} if keywords["geometry"] else {}),
        **({"jacobian": "True"} if keywords["jacobian"] else {}),
    }

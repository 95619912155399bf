"""Theory and simulation of one network, put together."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from .._support.errors import NoTheory, OutOfRange
from .._support.validation import checked, positive_integer
from ..comparison import compare
from ..comparison.jacobian import depth_theory
from ..ensembles import Ensemble, ensemble
from ..finite_width.measured import FEWEST
from ..fisher import fisher_statistics
from ..learning_rate import SAFE_SHARE, FirstStep, first_step, max_learning_rate
from ..mean_field import MeanField, as_mean_field
from ..mean_field.inputs import n_relabelling
from ..network import Network
from ..phase import fixed_point
from .boundary import WIDTH_FACTORS, boundary
from .cautions import cautions
from .result import HiddenLayer, Report

__all__ = ["report"]

QUICK = 5e10  # operations, of singular values of all networks: some seconds
OPTIMISERS = ("adamw", "lion", "rmsprop", "muon")  # whose first steps are told
FIRST_STEP_SAMPLES = 100  # at most, of the inputs: the cost grows with their square
WHOLE_SPECTRA = 3000  # T C up to which all eigenvalues are computed for the histogram (2 s a network)


def report(
    net: Network | MeanField,
    n_samples: int | None = None,
    n_networks: int = 20,
    *,
    q0: float | None = None,
    c0: float | None = None,
    inputs: np.ndarray | None = None,
    loss: str = "half_mse",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    rng: Any = None,
    executor: Any = None,
    progress: bool = False,
    dtype: Any = "float64",
) -> Report:
    """Theory and simulation of one network, ready to print and to draw.

    Parameters
    ----------
    net : Network or MeanField
    n_samples, q0, c0, inputs : optional
        Number of inputs (default 100) and their statistics (1 and 0), or the inputs themselves, (T, M_0), as in
        `fisher_statistics`.
    n_networks : int
        Sampled networks for the check (at least 2, for standard errors).
    loss, momentum, nesterov, weight_decay : str, float, bool, float
        As in `max_learning_rate`.
    rng : int, numpy.random.Generator, ... , optional
        Seed of the sampled networks.
    executor, progress, dtype : optional
        As in `ensemble`.

    Returns
    -------
    Report
        ``print(report)`` for the page, ``report.save("report.png")`` for the picture.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `fisher_statistics`, `max_learning_rate` and `ensemble`.

    Notes
    -----
    The learning rate that leads the page is below the limit of 95 % of the networks drawn: by the law of the largest
    eigenvalue where it is known, else as the sampled networks say, with its standard error and how many networks know
    it to 3 %; of fewer than 8 networks below the limits of all. That of infinite width stands behind it.

    Theory takes milliseconds; the sampled networks take the time: about a minute for the defaults at width 1000.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([50, 100, 100, 2], "tanh", sigma_w2=1.5, sigma_b2=0.1)
    >>> page = mfdnn.report(net, n_samples=40, n_networks=4, rng=0)
    >>> print(page)  # doctest: +ELLIPSIS
    Network        50-100-100-2, tanh, ...
    """
    positive_integer("n_networks", n_networks, minimum=2)
    n_networks, rng, progress = checked(n_networks=n_networks, rng=rng, progress=progress)
    children = np.random.default_rng(rng).spawn(1 + len(WIDTH_FACTORS))
    limits: dict[str, Any] = {"loss": loss, "momentum": momentum}
    limits |= {"nesterov": nesterov, "weight_decay": weight_decay}
    if not isinstance(net, MeanField) and inputs is None and n_samples is None:
        n_samples = 100
    wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
    wide.require_single()
    net, data = wide.network, wide.data
    lr = max_learning_rate(wide, **limits)
    fim = fisher_statistics(wide)
    hidden = hidden_layer(net)
    first = float(fim.order_parameters.averaged("q")[0])
    fp = None
    if hidden is not None and first > 0:
        fp = fixed_point(hidden.activation, hidden.sigma_w2, hidden.sigma_b2, q0=first)
    run = {"executor": executor, "progress": progress, "dtype": dtype}
    whole = fim.n_samples * fim.n_outputs <= WHOLE_SPECTRA
    seed: Any = children[0].bit_generator.seed_seq
    same = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key, pool_size=seed.pool_size)
    measured = depth_theory(wide) is not None and n_networks * _decompositions(net) <= QUICK
    ens = ensemble(net, n_networks=n_networks, rng=children[0], eigenvalues=whole, jacobian=measured, **data, **run)
    table = compare(wide, ensemble=ens)
    classes = None
    if lr.lambda_max_softmax is not None:  # of the same networks
        again = ensemble(net, n_networks=n_networks, rng=same, output="softmax", **data, **run)
        classes = compare(wide, ensemble=again)
    confident = None if lr.safe is None else max_learning_rate(wide, **limits, confidence=SAFE_SHARE)
    largest = ens.values["lambda_max"]
    by_networks = None
    if len(largest) >= FEWEST and np.all(largest > 0):
        by_networks = max_learning_rate(wide, **limits, confidence=SAFE_SHARE, networks=ens)
    op = fim.order_parameters
    steps, why_not = _first_steps(wide, loss)
    return Report(
        network=net,
        hidden=hidden,
        fixed_point=fp,
        order_parameters=op,
        fisher=fim,
        learning_rate=lr,
        confident=confident,
        why_not_confident=lr.why_not_safe,
        measured=by_networks,
        comparison=table,
        softmax=classes,
        ensemble=ens,
        jacobian=depth_theory(wide),
        first_steps=steps,
        why_no_first_steps=why_not,
        boundary=boundary(wide, lr, children[1:], ens, run),
        warnings=tuple(cautions(net, fp, op, fim, lr, table, ens)),
        inputs=_describe_inputs(ens),
    )


def _first_steps(wide: MeanField, loss: str) -> tuple[dict[str, FirstStep], str]:
    """Critical first steps of the usual optimisers, or why there are none."""
    data = wide.data
    if "inputs" in data:
        data = {"inputs": data["inputs"][:FIRST_STEP_SAMPLES]}
    else:
        data = {**data, "n_samples": min(data["n_samples"], FIRST_STEP_SAMPLES)}
    try:
        at = wide if wide.n_samples <= FIRST_STEP_SAMPLES else MeanField(wide.network, **data)
        return {name: first_step(at, name, loss=loss) for name in OPTIMISERS}, ""
    except (NoTheory, OutOfRange) as error:
        return {}, str(error)


def hidden_layer(net: Network) -> HiddenLayer | None:
    """What the phase of a network is that of; None if there is no single one."""
    last = max(i for i, layer in enumerate(net.layers) if layer.total_weight_layers)
    # What stands behind the outputs does not repeat with depth; flattening the inputs changes nothing.
    layers: tuple[Any, ...] = net.layers[n_relabelling(net) : last + 1]
    if any(layer.children or not (layer.n_weight_layers or layer.activation) for layer in layers):
        return None  # blocks, normalisation: not the map of a plain network
    pairs = [
        (layer.activation, weights.sigma_w2, weights.sigma_b2)
        for layer, weights in pairwise(layers)
        if layer.activation is not None and weights.fully_connected
    ]
    if not pairs:
        return None
    common = Counter(pairs).most_common(1)[0][0]
    return HiddenLayer(*common, uniform=len(set(pairs)) == 1)


def _decompositions(net: Network) -> float:
    """Operations of the singular values of every weight layer's Jacobian."""
    shapes = [layer.output_shape(shape)[0] for layer, shape in net.weight_layers]
    return sum(20.0 * units * net.n_inputs * min(units, net.n_inputs) for units in shapes)


def _describe_inputs(ens: Ensemble) -> str:
    n = ens.n_samples
    if ens.inputs is None:
        return f"{n} Gaussian samples, mean square {ens.q0:g}, correlation {ens.c0:g}"
    x = ens.inputs.reshape(n, -1)
    square = np.mean(x**2)
    gram = x @ x.T / x.shape[1]
    pairs = (gram.sum() - np.trace(gram)) / max(n * (n - 1), 1)
    return f"{n} given samples, mean square {square:.3g}, mean product of two {pairs:.3g}"

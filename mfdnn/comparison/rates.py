"""Training loss over width and learning rate, beside what theory says of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .._support.memory import available_memory
from .._support.validation import (
    checked,
    finite_array,
    input_array,
    listed,
    positive_integer,
    refuse_both,
    sample_count,
    short,
)
from ..datasets import gaussian_inputs
from ..jobs.run import Checkpoint, check_executor, n_cores, stack
from ..jobs.settings import describe_arrays, describe_network, describe_stream
from ..jobs.streams import streams
from ..losses import loss_scale
from ..losses.values import checked_targets
from ..network import Network, scale_widths
from ..sampled import SampledNetwork, sample
from ..sampled.network import float_dtype
from ..training.critical import critical_rate
from ..training.curvature import LargestEigenvalue
from ..training.descent import checked_settings, train
from ..training.run import OUTCOMES
from ..training.subject import training_bytes
from ..training.updates import n_buffers
from .rates_result import LearningRateMap
from .rates_theory import first_step_theory, limit_of, stability_theory

__all__ = ["learning_rate_map"]

NAMES = tuple(OUTCOMES)  # from the best to the worst


def learning_rate_map(
    net: Network | Callable[[int], Network],
    widths: Sequence[int],
    learning_rates: Any,
    n_steps: int = 100,
    *,
    n_samples: int | None = None,
    data: tuple[np.ndarray, np.ndarray] | None = None,
    loss: str = "half_mse",
    optimizer: str = "sgd",
    momentum: float | None = None,
    nesterov: bool | None = None,
    betas: tuple[float, float] | None = None,
    eps: float | None = None,
    alpha: float | None = None,
    adjust: str | None = None,
    weight_decay: float = 0.0,
    batch_size: int | None = None,
    n_trials: int = 5,
    diverged_at: float = 1e6,
    dtype: Any = "float32",
    rng: Any = None,
    executor: Any = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = False,
) -> LearningRateMap:
    r"""Train networks of several widths at several learning rates, beside the theory.

    Every trial draws a network of each width and trains it once at each rate, from the same start on the same
    samples.

    Parameters
    ----------
    net : Network, or callable
        Its hidden widths are scaled so that the first is M; a callable returns the network of width M.
    widths : sequence of int
        M.
    learning_rates : 1-D array
        In the convention of `loss`.
    n_steps : int
    n_samples : int, optional
        T, default 100: Gaussian inputs of variance 1, and targets by a teacher, another network drawn in the same
        way (its likeliest class for cross-entropy); every trial has its own.
    data : (X, Y), optional
        Given samples instead, the same for all trials; Y as in `train`.
    loss, optimizer, momentum, nesterov, betas, eps, alpha, adjust, weight_decay, batch_size, diverged_at
        As in `train`.
    n_trials : int
    dtype : {"float32", "float64"}
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes.
    executor, checkpoint, progress : optional
        As in `ensemble` (default: threads, fewer than cores if memory is short); a task is one trial at one width.
        `checkpoint` needs `rng`; a resumed run may ask for more trials.

    Returns
    -------
    LearningRateMap
        With `limit`, the line :math:`2/\lambda_{max}` of theory (with the optimiser's factor), its 5-95 % band over
        draws where the law is known, the catapult limit, and the zone of each cell. Of another optimiser than sgd the
        line is the critical rate of its first step (`mfdnn.first_step`), with its band, at the samples of the first
        trial; beside it `sampled_limit` has that of each network, by line search.

    Raises
    ------
    TypeError, ValueError
        What `train` and `ensemble` refuse; axes that are empty or not positive.

    Notes
    -----
    What counts as divergence is in the result (`divergence`). Up to twice the limit and beyond, the loss of a wide
    network first grows and then settles lower: a map of final losses has its edge there, and not at the limit, while
    `share_grew` has it near the limit. Mini-batches need smaller steps than the limit, which is of the full batch.

    Cost: W R N runs of `train`. The same bits for any executor and number of workers.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean field
    approach", arXiv:1806.01316.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([30, 30, 30, 1], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> found = mfdnn.learning_rate_map(net, [30, 60], [0.01, 0.1, 10.0], 50, n_samples=20, n_trials=3, rng=0)
    >>> found
    LearningRateMap(2 width x 3 learning_rate, n_samples=20, n_outputs=1, n_trials=3, n_steps=50, loss='half_mse', ...)
    >>> found.outcome[0].tolist(), found.zone[0].tolist()
    (['fell', 'fell', 'diverged'], ['monotone', 'monotone', 'diverges'])
    """
    rng, checkpoint, progress = checked(rng=rng, checkpoint=checkpoint, progress=progress)
    check_executor(executor)
    n_steps, n_trials = checked(n_steps=n_steps, n_trials=n_trials)
    sizes = [positive_integer("widths", width) for width in listed("widths", widths, "for example [50, 100]")]
    rates = finite_array("learning_rates", learning_rates)
    if rates.ndim != 1 or rates.size == 0 or not sizes:
        raise ValueError(
            f"`widths` and `learning_rates` must be non-empty lists, got {len(sizes)} widths and rates of shape "
            f"{rates.shape}; pass for example np.geomspace(0.01, 1, 9)."
        )
    nets = [_of_width(net, size) for size in sizes]
    settings: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "betas": betas, "eps": eps, "alpha": alpha}
    settings |= {"adjust": adjust, "weight_decay": weight_decay}
    _, optimiser, bound = checked_settings(loss, rates.min(), diverged_at, optimizer=optimizer, **settings)
    kind = float_dtype(dtype)
    refuse_both("data", data, n_samples=n_samples)
    if data is not None:
        if not isinstance(data, list | tuple) or len(data) != 2:
            raise TypeError(f"`data` must be a pair (X, Y), got {short(data)}; pass inputs and their targets.")
        X, Y = data
        data = input_array("data", X, nets[0].input_shape), np.asarray(Y)
        checked_targets(data[1], loss, len(data[0]), nets[0].n_outputs, kind)
    n_samples = sample_count(n_samples, None if data is None else data[0], default=100)
    options: dict[str, Any] = {
        "n_steps": n_steps,
        "loss": loss,
        "optimizer": optimiser.name,
        **optimiser.settings,
        "weight_decay": optimiser.weight_decay,
        "batch_size": batch_size,
        "diverged_at": bound,
    }
    seeds = streams(rng, n_trials * len(nets))
    given = {"n_samples": n_samples} if data is None else {"inputs": data[0]}
    if optimiser.name == "sgd":
        theory = stability_theory(nets, rates, given, loss, optimiser)
    else:
        first = zip(nets, seeds, strict=False)  # the first trial
        samples = [data or _drawn(net, seed, n_samples, None, kind, loss)[1:3] for net, seed in first]
        theory = first_step_theory(nets, rates, samples, loss, optimiser)
    kept = None
    if checkpoint is not None:
        if rng is None:
            raise ValueError("`checkpoint` needs `rng`, or the resumed run would draw others; pass a seed.")
        kept = Checkpoint(checkpoint, _settings(nets, rates, n_samples, data, kind, options, seeds[0]))
    trial = partial(
        _trial,
        rates=rates,
        n_samples=n_samples,
        data=data,
        dtype=kind.name,
        options=options,
        critical={"optimizer": optimiser.name, **settings} if optimiser.name != "sgd" else None,
    )
    tasks = [(nets[i % len(nets)], seed) for i, seed in enumerate(seeds)]
    workers = _workers(nets, n_samples, kind, n_buffers(optimiser))
    found = stack(
        trial,
        tasks,
        shapes=_shapes(rates, loss, optimiser.name),
        executor=executor,
        workers=workers,
        checkpoint=kept,
        progress=progress,
        unit="trial",
    )
    found = {name: values.reshape(n_trials, len(nets), *values.shape[1:]) for name, values in found.items()}
    codes = found["outcome"].astype(int)
    counts = np.array([(codes == code).sum(axis=0) for code in range(len(NAMES))])
    worst_first = len(NAMES) - 1 - np.argmax(counts[::-1], axis=0)
    scale = loss_scale(loss, nets[0].n_outputs, n_samples)
    softmax = found.get("lambda_max_softmax")
    critical = found.get("critical_rate")

    def limits(curvature: np.ndarray) -> np.ndarray:
        return np.vectorize(lambda value: limit_of(value, optimiser))(curvature)

    return LearningRateMap(
        width=np.array(sizes),
        learning_rate=rates,
        final_loss=found["final_loss"].mean(axis=0),
        outcome=np.array(NAMES)[worst_first],
        share_grew=(codes > 0).mean(axis=0),
        share_diverged=(codes == NAMES.index("diverged")).mean(axis=0),
        final_losses=found["final_loss"],
        outcomes=np.array(NAMES)[codes],
        initial_loss=found["initial_loss"],
        lambda_max=found["lambda_max"],
        sampled_limit=limits(scale * found["lambda_max"]) if critical is None else critical,
        lambda_max_softmax=softmax,
        sampled_initial=None if softmax is None or critical is not None else limits(softmax),
        n_samples=n_samples,
        n_outputs=nets[0].n_outputs,
        n_trials=n_trials,
        dtype=kind.name,
        n_steps=n_steps,
        loss=loss,
        optimizer=optimiser.name,
        settings=", ".join(f"{name}={value!r}" for name, value in optimiser.settings.items()),
        momentum=optimiser.momentum or 0.0,
        nesterov=bool(optimiser.nesterov),
        weight_decay=optimiser.weight_decay,
        batch_size=batch_size,
        diverged_at=bound,
        **theory,
    )


def _of_width(net: Network | Callable[[int], Network], width: int) -> Network:
    if isinstance(net, Network):
        if len(net.widths) < 3:
            raise ValueError(
                f"`net` must have a hidden layer to be scaled, got {net}; pass a function of the width."
            )
        return scale_widths(net, width / net.widths[1])
    found = net(width) if callable(net) else None
    if not isinstance(found, Network):
        raise TypeError(
            f"`net` must be a Network or a function that returns one for a width, got {type(net).__name__}; build one "
            "with mfdnn.mlp."
        )
    return found


def _drawn(
    net: Network, seed: Any, n_samples: int, data: tuple[np.ndarray, np.ndarray] | None, dtype: Any, loss: str
) -> tuple[SampledNetwork, np.ndarray, np.ndarray, np.random.Generator]:
    """Network, inputs and targets of one trial, and what is left of its stream."""
    rng = np.random.default_rng(seed)
    one = sample(net, rng=rng, dtype=dtype)
    if data is not None:
        return one, *data, rng
    X = gaussian_inputs(n_samples, net.n_inputs, rng=rng)
    Y = sample(net, rng=rng, dtype=dtype)(X)
    return one, X, Y.argmax(axis=1) if loss == "cross_entropy" else Y, rng


def _trial(
    task: tuple[Network, np.random.SeedSequence],
    rates: np.ndarray,
    n_samples: int,
    data: tuple[np.ndarray, np.ndarray] | None,
    dtype: str,
    options: dict[str, Any],
    critical: dict[str, Any] | None,
) -> dict[str, np.ndarray]:
    """One network, trained at every rate."""
    net, seed = task
    loss = options["loss"]
    one, X, Y, rng = _drawn(net, seed, n_samples, data, dtype, loss)
    order = rng.integers(2**63)  # the same batches at every rate
    runs = [train(one, X, Y, rate, rng=order, **options) for rate in rates]
    diverged = np.array([run.outcome == "diverged" for run in runs])
    linear = one.linearise(X)
    numbers = {
        "final_loss": np.where(diverged, np.inf, [run.final_loss for run in runs]),
        "outcome": np.array([NAMES.index(run.outcome) for run in runs], dtype=np.float64),
        "initial_loss": np.asarray(runs[0].initial_loss),
        "lambda_max": np.asarray(LargestEigenvalue()(linear)),
    }
    if loss == "cross_entropy":
        numbers["lambda_max_softmax"] = np.asarray(LargestEigenvalue("softmax")(linear))
    if critical is not None:
        wide = [[None if a is None else a.astype(np.float64) for a in group] for group in one.parameters]
        found = critical_rate(SampledNetwork(net, wide), X, Y, loss=loss, **critical)
        numbers["critical_rate"] = np.asarray(found.rate)
    return numbers


def _shapes(rates: np.ndarray, loss: str, optimizer: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what `_trial` returns."""
    more = ["lambda_max_softmax"] * (loss == "cross_entropy") + ["critical_rate"] * (optimizer != "sgd")
    return {
        **dict.fromkeys(("final_loss", "outcome"), rates.shape),
        **dict.fromkeys(("initial_loss", "lambda_max", *more), ()),
    }


def _workers(nets: list[Network], n_samples: int, kind: np.dtype, buffers: int) -> int:
    """One per core, fewer if as many of the largest trials at once would not fit."""
    each = 0
    for net in nets:
        errors = n_samples * net.n_outputs * sum(net.widths)  # of the largest eigenvalue, and a copy
        beside = kind.itemsize * (net.n_parameters + 2 * errors)
        each = max(each, training_bytes(net, n_samples, kind, buffers) + beside)
    return int(max(1, min(n_cores(), available_memory() // each)))


def _settings(
    nets: list[Network],
    rates: np.ndarray,
    n_samples: int,
    data: tuple[np.ndarray, np.ndarray] | None,
    kind: np.dtype,
    options: dict[str, Any],
    seed: np.random.SeedSequence,
) -> dict[str, str]:
    """What determines the results, in words."""
    described = [describe_network(net) for net in nets]
    return {
        **{name: repr([words[name] for words in described]) for name in described[0]},
        "learning_rates": repr(rates.tolist()),
        "data": "teacher" if data is None else describe_arrays(*data),
        "rng": describe_stream(seed),
        "n_samples": repr(n_samples),
        "dtype": kind.name,
        **{name: repr(value) for name, value in options.items()},
    }

"""Gradient descent on a sampled network."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import checked, finite_number, one_of, positive_integer, real_array, short
from ..jobs.settings import describe_arrays
from ..jobs.watch import LONG, stop_if_asked, told_if_long
from ..losses import LOSSES, loss_scale
from ..losses.optimisers import Optimiser, checked_optimiser
from ..losses.values import checked_targets, loss_and_slope
from ..sampled import Operator, SampledNetwork
from .progress import Batches, Progress
from .run import TrainingRun, outcome_of
from .subject import InTraining, in_training
from .updates import Update, n_buffers
from .watch import Watch

__all__ = ["checked_settings", "train"]

def train(
    one: SampledNetwork | Operator,
    X: np.ndarray,
    Y: np.ndarray,
    learning_rate: float,
    n_steps: int,
    *,
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
    rng: Any = None,
    record_every: int | None = None,
    diverged_at: float = 1e6,
    checkpoint: str | os.PathLike | None = None,
) -> TrainingRun:
    r"""Train a sampled network by gradient descent, and tell what became of it.

    With :math:`g_t = \nabla E(\theta_t) + w \theta_t` at the samples of step t, as in ``torch.optim.SGD``:

    .. math::
        v_{t+1} = b v_t + \eta g_t, \qquad
        \theta_{t+1} = \theta_t - v_{t+1} \text{ (heavy ball)}, \quad
        \theta_t - \eta g_t - b v_{t+1} \text{ (Nesterov)}.

    The other optimisers are PyTorch's too, with its defaults; their rules are in `mfdnn.training.updates`.

    Parameters
    ----------
    one : SampledNetwork, or whatever serves `mfdnn.sampled.Operator` with `vector` and `at`
        Stays as it is; the trained one is in the result. Its dtype is that of the computation.
    X : array (T, M_0), or (T, *input_shape)
    Y : array (T, C), or (T,) of int
        Targets, probabilities for cross-entropy; or labels 0..C-1, which stand for unit vectors.
    learning_rate : float
        :math:`\eta`, positive.
    n_steps : int
        Steps, not epochs.
    loss : str
        One of `mfdnn.learning_rate.LOSSES`, where the formulas are; of a mini-batch T is its size.
    optimizer : str
        "sgd", "signsgd", "lion", "adam", "adamw", "nadam", "radam", "adamax", "adagrad", "rmsprop" or "muon".
    momentum : float, optional
        b, in [0, 1), without dampening; of sgd and rmsprop (default 0) and muon (0.95).
    nesterov : bool, optional
        Nesterov's momentum instead of the heavy ball; of sgd (default: no) and muon (yes).
    betas : tuple of two floats, optional
        Of the moments; default (0.9, 0.999), lion (0.9, 0.99). Muon: of AdamW, which moves what is no matrix.
    eps : float, optional
        Beside the root in the denominator, >= 0; default 1e-8, adagrad 1e-10.
    alpha : float, optional
        Of RMSprop's second moment; default 0.99.
    adjust : {"original", "match_rms_adamw", "spectral_unclamped"}, optional
        Factor of Muon's rate for a matrix of A rows and B columns: :math:`\sqrt{\max(1, A/B)}` (default),
        :math:`0.2 \sqrt{\max(A, B)}` or :math:`\sqrt{A/B}`.
    weight_decay : float
        w >= 0. In adamw, lion and muon decoupled, :math:`\theta \leftarrow (1 - \eta w)\,\theta` before the step.
    batch_size : int, optional
        Samples of a step; the samples are shuffled before every epoch, whose last step takes those that are left.
        1 is online training. Default: all T, full-batch descent. Normalisations over the samples use the statistics
        of the samples that pass together.
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes; for the order of the samples.
    record_every : int, optional
        Record the largest eigenvalue of the Fisher information and the distance from initialisation every so many
        steps. Default: never, for it costs more than a step.
    diverged_at : float
        The run stops when the loss of a step is above so many times the initial loss of all samples; a sum over a
        mini-batch counts for all of them. The default is far above a catapult, whose peak is of the order of the width.
    checkpoint : path, optional
        Keep the run in this file (npz) every half minute and at its end: parameters, moments of the optimiser, the
        order of the samples. The same call goes on from there and returns the same bits; with more `n_steps` it goes
        further. Needs `rng` where samples are shuffled.

    Returns
    -------
    TrainingRun

    Raises
    ------
    TypeError, ValueError
        `one` has no parameters to move; X, Y do not fit it or are not finite; a rate, a size or a number of steps that
        is not positive; `momentum` outside [0, 1), or 0 with `nesterov`; unknown `loss` or `optimizer`, a setting that
        it does not have; "muon" of a function that has one vector of parameters and no matrices; `batch_size` above T,
        or one that leaves batch norm fewer than three samples; a `checkpoint` of another run, or of more steps.
    MemoryError
        Activations and gradients do not fit into the memory that is free now.

    Notes
    -----
    A step costs one forward and one backward pass, :math:`6 B \sum_l M_l M_{l-1}` operations for B samples, nearly
    all in matrix products; Muon's matrices 30 times :math:`\min(M_l, M_{l-1})` operations a weight more, in the dtype
    of the network (torch: bfloat16). What stability limits say of momentum is in
    `mfdnn.learning_rate.stability_limit`; steps are equal to torch's in float64 to 1e-12, which tests hold.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([20, 100, 100, 1], "tanh", sigma_w2=3.0, sigma_b2=0.64), rng=0)
    >>> X, Y = np.random.default_rng(1).standard_normal((2, 50, 20)), np.ones((50, 1))
    >>> limit = 2 / mfdnn.fisher_spectrum(one, X[0], k=1).largest
    >>> [mfdnn.train(one, X[0], Y, times * limit, 100).outcome for times in (0.5, 1.5, 8.0)]
    ['fell', 'catapulted', 'diverged']
    >>> mfdnn.train(one, X[0], Y, 1e-3, 20, optimizer="adam")
    TrainingRun(fell: half_mse 1.606 -> 0.05006 in 20 steps of 0.001, adam)
    """
    running = in_training(one)
    dtype = running.dtype
    x = running.checked(X)
    rate, optimiser, bound = checked_settings(
        loss,
        learning_rate,
        diverged_at,
        optimizer=optimizer,
        momentum=momentum,
        nesterov=nesterov,
        betas=betas,
        eps=eps,
        alpha=alpha,
        adjust=adjust,
        weight_decay=weight_decay,
    )
    if optimiser.name == "muon" and not running.has_matrices:
        raise ValueError(
            "`optimizer` = muon needs matrices, and `one` has a vector of parameters; train a SampledNetwork, or take "
            "another optimiser."
        )
    n_samples, n_outputs = len(x), running.n_outputs(x)
    n_steps, rng, checkpoint = checked(n_steps=n_steps, rng=rng, checkpoint=checkpoint)
    y = checked_targets(Y, loss, n_samples, n_outputs, dtype)
    every = None if record_every is None else positive_integer("record_every", record_every)
    size = n_samples if batch_size is None else _checked_batch(batch_size, n_samples, running.couples_samples)
    if checkpoint is not None and rng is None and size < n_samples:
        raise ValueError("`checkpoint` needs `rng`, or the resumed run would shuffle otherwise; pass a seed.")
    require_memory(
        running.n_bytes(x, n_buffers(optimiser)),
        f"training {running.label} on {n_samples} samples",
        "take fewer samples, narrower layers, or dtype='float32'",
    )
    batches = Batches(n_samples, size, rng)
    update = Update(running.arrays, rate, optimiser)
    start = [] if every is None else [a.copy() for a in running.arrays]
    watch = Watch(start, running, x, loss)
    losses: list[float] = []
    sizes: list[int] = []
    initial: float | None = None
    kept = None
    if checkpoint is not None:
        settings = {"loss": loss, "learning_rate": repr(rate), "optimizer": repr(optimiser)}
        settings |= {"batch_size": repr(size), "record_every": repr(every), "diverged_at": repr(bound)}
        settings |= {"rng": batches.place["stream"] if size < n_samples else "None"}
        settings |= {"one": running.description, "data": describe_arrays(np.asarray(x), y)}
        kept = Progress(checkpoint, settings)
        if (found := kept.load()) is not None:
            losses, sizes, initial = _resumed(found, n_steps, batches, update, watch, checkpoint)
    scale = loss_scale(loss, n_outputs, n_samples)
    diverged = False
    # What overflows has diverged, and is told as that.
    with np.errstate(over="ignore", invalid="ignore"), told_if_long(lambda: _told(len(losses), n_steps)):
        if initial is None and size < n_samples:
            initial = _loss(running, x, y, loss)
        for step in range(len(losses), n_steps):
            stop_if_asked()
            if kept is not None and kept.due:
                _keep(kept, losses, sizes, initial, batches, update, watch)
            rows = batches.following()
            linear = running.linearise(x[rows])
            value, slope = loss_and_slope(loss, linear.outputs, y[rows])
            losses.append(value)
            sizes.append(len(slope))
            initial = value if initial is None else initial
            # A sum over a batch is a part of the sum over all samples.
            if _beyond(value * scale / loss_scale(loss, n_outputs, len(slope)), initial, bound):
                diverged = True
                break
            if every is not None and step % every == 0:
                watch(step)
            slope *= update.factor
            update(running.gradients(linear, slope))
        else:
            if kept is not None:
                _keep(kept, losses, sizes, initial, batches, update, watch)
            losses.append(_loss(running, x, y, loss))
            sizes.append(n_samples)
            assert initial is not None  # of the first step, if not before
            diverged = _beyond(losses[-1], initial, bound)
        if every is not None and not diverged:
            watch(n_steps)
    told = np.where(np.isfinite(losses), losses, np.inf)
    initial = initial if np.isfinite(initial) else np.inf
    compared = told * [scale / loss_scale(loss, n_outputs, n) for n in sizes]
    outcome, grew = outcome_of(
        compared, sizes, initial, -(-n_samples // size), diverged, float(np.finfo(dtype).eps)
    )
    finite = all(np.all(np.isfinite(a)) for a in update.parameters)
    return TrainingRun(
        losses=told,
        steps=np.array(watch.steps, dtype=int),
        lambda_max=np.array(watch.linear),
        lambda_max_softmax=np.array(watch.softmax) if loss == "cross_entropy" else None,
        distance=np.array(watch.distance),
        outcome=outcome,
        grew_step=grew,
        diverged_step=len(told) - 1 if diverged else None,
        initial_loss=initial,
        peak=_ratio(float(compared.max()), initial),
        loss=loss,
        learning_rate=rate,
        momentum=optimiser.momentum or 0.0,
        nesterov=bool(optimiser.nesterov),
        weight_decay=optimiser.weight_decay,
        batch_size=None if batch_size is None else size,
        diverged_at=bound,
        optimizer=optimiser.name,
        betas=optimiser.betas,
        eps=optimiser.eps,
        alpha=optimiser.alpha,
        adjust=optimiser.adjust,
        _trained=running.finished() if finite else None,
    )


def _keep(
    kept: Progress, losses: list, sizes: list, initial: Any, batches: Batches, update: Update, watch: Watch
) -> None:
    """All that the next step depends on, and what is to be told of those before."""
    moments = {f"moment_{i}_{name}": a for i, state in enumerate(update.state) for name, a in state.items()}
    kept.save(
        {"initial": initial, "step": update.step, "numbers": update.numbers, "watch": watch.place}
        | {"batches": batches.place},
        {"losses": np.array(losses), "sizes": np.array(sizes, dtype=int), **watch.arrays, **moments}
        | {f"parameter_{i}": a for i, a in enumerate(update.parameters)},
    )


def _resumed(
    found: tuple[dict, dict], n_steps: int, batches: Batches, update: Update, watch: Watch, path: Any
) -> tuple[list[float], list[int], float]:
    """Losses, sizes and initial loss; all else is put where `_keep` took it from."""
    numbers, arrays = found
    if len(arrays["losses"]) > n_steps:
        raise ValueError(
            f"`checkpoint` {path!r} has made {len(arrays['losses'])} steps, more than `n_steps` = {n_steps}; ask for "
            "as many, or pass another path."
        )
    for i, (a, state) in enumerate(zip(update.parameters, update.state, strict=True)):
        a[...] = arrays[f"parameter_{i}"]
        for name, moment in state.items():
            moment[...] = arrays[f"moment_{i}_{name}"]
    update.step, update.numbers = numbers["step"], numbers["numbers"]
    batches.go_to(numbers["batches"])
    watch.go_to(numbers["watch"], arrays)
    return arrays["losses"].tolist(), arrays["sizes"].tolist(), numbers["initial"]


def _told(step: int, n_steps: int) -> str:
    """How far a long run is, and how long the rest will take."""
    left = (n_steps - step) * LONG / max(step, 1)
    return f"training has made {step} of {n_steps} steps in {LONG:g} s; the rest takes about {left:.0f} s"


def _beyond(value: float, initial: float, bound: float) -> bool:
    """Whether a run has diverged.

    One that begins with a perfect fit, whose loss is in no units of the first, has only by an overflow.
    """
    return not (np.isfinite(value) and (initial == 0 or value <= bound * initial))


def _ratio(loss: float, initial: float) -> float:
    if loss == initial == 0:
        return 1.0
    return loss / initial if 0 < initial < np.inf else np.inf


def _loss(running: InTraining, x: np.ndarray, y: np.ndarray, loss: str) -> float:
    return loss_and_slope(loss, running.linearise(x).outputs, y)[0]


def checked_settings(
    loss: str, learning_rate: Any, diverged_at: Any, **settings: Any
) -> tuple[float, Optimiser, float]:
    """(eta, optimiser, diverged_at) of a known loss."""
    one_of("loss", loss, LOSSES)
    rate = finite_number("learning_rate", learning_rate)
    if rate <= 0:
        raise ValueError(f"`learning_rate` must be positive, got {rate:g}; pass its size.")
    optimiser = checked_optimiser(**settings)
    bound = real_array("diverged_at", diverged_at, "a real number")
    if bound.ndim or not bound > 1:
        raise ValueError(
            f"`diverged_at` must be a number above 1, got {short(diverged_at)}; it is in units of the initial loss."
        )
    return rate, optimiser, float(bound)


def _checked_batch(batch_size: Any, n_samples: int, couples_samples: bool) -> int:
    size = positive_integer("batch_size", batch_size)
    if size > n_samples:
        raise ValueError(f"`batch_size` must be at most T = {n_samples}, got {size}; None takes all samples.")
    if couples_samples and min(size, n_samples % size or size) < 3:
        raise ValueError(
            f"`batch_size` = {size} leaves a step with fewer than three of {n_samples} samples, too few for a "
            "network that normalises over samples; choose another."
        )
    return size

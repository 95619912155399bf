"""Gradient descent on a sampled network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._support.memory import require_memory
from .._support.validation import checked, finite_number, one_of, positive_integer, real_array, short
from ..jobs.watch import LONG, stop_if_asked, told_if_long
from ..losses import LOSSES, loss_scale
from ..losses.stability import checked_nesterov
from ..losses.values import checked_targets, loss_and_slope
from ..sampled import Operator, SampledNetwork
from .curvature import LargestEigenvalue
from .run import TrainingRun, outcome_of
from .subject import InTraining, in_training

__all__ = ["checked_settings", "train"]

BLOCK = 2**15  # numbers updated at a time: they stay in the cache from one operation to the next


def train(
    one: SampledNetwork | Operator,
    X: np.ndarray,
    Y: np.ndarray,
    learning_rate: float,
    n_steps: int,
    *,
    loss: str = "half_mse",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    batch_size: int | None = None,
    rng: Any = None,
    record_every: int | None = None,
    diverged_at: float = 1e6,
) -> TrainingRun:
    r"""Train a sampled network by gradient descent, and tell what became of it.

    With :math:`g_t = \nabla E(\theta_t) + w \theta_t` at the samples of step t, as in ``torch.optim.SGD``:

    .. math::
        v_{t+1} = b v_t + \eta g_t, \qquad
        \theta_{t+1} = \theta_t - v_{t+1} \text{ (heavy ball)}, \quad
        \theta_t - \eta g_t - b v_{t+1} \text{ (Nesterov)}.

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
    momentum : float
        b, in [0, 1), without dampening.
    nesterov : bool
        Nesterov's momentum instead of the heavy ball.
    weight_decay : float
        w >= 0.
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

    Returns
    -------
    TrainingRun

    Raises
    ------
    TypeError, ValueError
        `one` has no parameters to move; X, Y do not fit it or are not finite; a rate, a size or a number of steps that
        is not positive; `momentum` outside [0, 1), or 0 with `nesterov`; unknown `loss`; `batch_size` above T, or one
        that leaves batch norm fewer than three samples.
    MemoryError
        Activations and gradients do not fit into the memory that is free now.

    Notes
    -----
    A step costs one forward and one backward pass, :math:`6 B \sum_l M_l M_{l-1}` operations for B samples, nearly
    all in matrix products. What stability limits say of momentum is in `mfdnn.learning_rate.stability_limit`.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> one = mfdnn.sample(mfdnn.mlp([20, 100, 100, 1], "tanh", sigma_w2=3.0, sigma_b2=0.64), rng=0)
    >>> X, Y = np.random.default_rng(1).standard_normal((2, 50, 20)), np.ones((50, 1))
    >>> limit = 2 / mfdnn.fisher_spectrum(one, X[0], k=1).largest
    >>> [mfdnn.train(one, X[0], Y, times * limit, 100).outcome for times in (0.5, 1.5, 8.0)]
    ['fell', 'catapulted', 'diverged']
    """
    running = in_training(one)
    dtype = running.dtype
    x = running.checked(X)
    rate, b, w, bound = checked_settings(loss, learning_rate, momentum, weight_decay, diverged_at)
    nesterov = checked_nesterov(nesterov, b)
    n_samples, n_outputs = len(x), running.n_outputs(x)
    n_steps, rng = checked(n_steps=n_steps, rng=rng)
    y = checked_targets(Y, loss, n_samples, n_outputs, dtype)
    every = None if record_every is None else positive_integer("record_every", record_every)
    size = n_samples if batch_size is None else _checked_batch(batch_size, n_samples, running.couples_samples)
    require_memory(
        running.n_bytes(x, b),
        f"training {running.label} on {n_samples} samples",
        "take fewer samples, narrower layers, or dtype='float32'",
    )
    update = _Update(running.arrays, rate, b, nesterov, w)
    start = [] if every is None else [a.copy() for a in running.arrays]
    watch = _Watch(start, running, x, loss)
    losses: list[float] = []
    sizes: list[int] = []
    scale = loss_scale(loss, n_outputs, n_samples)
    # What overflows has diverged, and is told as that.
    with np.errstate(over="ignore", invalid="ignore"), told_if_long(lambda: _told(len(losses), n_steps)):
        initial = _loss(running, x, y, loss) if size < n_samples else None
        for step, rows in zip(range(n_steps), _batches(n_samples, size, rng), strict=False):
            stop_if_asked()
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
            slope *= rate
            update(running.gradients(linear, slope))
        else:
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
        momentum=b,
        nesterov=nesterov,
        weight_decay=w,
        batch_size=None if batch_size is None else size,
        diverged_at=bound,
        _trained=running.finished() if finite else None,
    )


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


class _Update:
    """One step of the optimiser, in place.

    Gradients come multiplied by the learning rate, and are used up.
    """

    def __init__(self, parameters: list[np.ndarray], rate: float, b: float, nesterov: bool, w: float):
        self.parameters = parameters
        self.decay, self.b, self.nesterov = rate * w, b, nesterov
        self.velocities = [np.zeros_like(a) for a in self.parameters] if b else []

    def __call__(self, gradients: list[np.ndarray]) -> None:
        velocities = self.velocities or gradients
        for a, g, v in zip(self.parameters, gradients, velocities, strict=True):
            flat, step, velocity = (array.reshape(-1) for array in (a, g, v))  # views: all are contiguous
            for start in range(0, flat.size, BLOCK):
                part = slice(start, start + BLOCK)
                self._update(flat[part], step[part], velocity[part])

    def _update(self, a: np.ndarray, g: np.ndarray, v: np.ndarray) -> None:
        if self.decay:
            g += self.decay * a
        if not self.b:
            a -= g
            return
        v *= self.b
        v += g
        if self.nesterov:
            g += self.b * v
            a -= g
        else:
            a -= v


class _Watch:
    """Largest eigenvalues and distance from the start, when asked."""

    def __init__(self, start: list[np.ndarray], running: InTraining, x: np.ndarray, loss: str):
        self.start, self.running, self.x = start, running, x
        self.find = LargestEigenvalue()
        self.find_softmax = LargestEigenvalue("softmax") if loss == "cross_entropy" else None
        self.steps: list[int] = []
        self.linear: list[float] = []
        self.softmax: list[float] = []
        self.distance: list[float] = []

    def __call__(self, step: int) -> None:
        linear = self.running.linearise(self.x)
        self.steps.append(step)
        self.linear.append(self.find(linear))
        if self.find_softmax is not None:
            self.softmax.append(self.find_softmax(linear))
        moved = [a - b for a, b in zip(self.start, self.running.arrays, strict=True)]
        self.distance.append(float(np.sqrt(sum(np.sum(np.square(d, dtype=np.float64)) for d in moved))))


def _batches(n_samples: int, size: int, rng: Any) -> Iterator[Any]:
    """Rows of each step, for ever."""
    generator = np.random.default_rng(rng)
    while True:
        if size == n_samples:
            yield slice(None)  # no copy
            continue
        order = generator.permutation(n_samples)
        yield from (order[start : start + size] for start in range(0, n_samples, size))


def checked_settings(
    loss: str, learning_rate: Any, momentum: Any, weight_decay: Any, diverged_at: Any
) -> tuple[float, float, float, float]:
    """(eta, b, w, diverged_at) of a known loss."""
    one_of("loss", loss, LOSSES)
    rate, b = finite_number("learning_rate", learning_rate), finite_number("momentum", momentum)
    w = finite_number("weight_decay", weight_decay)
    if rate <= 0:
        raise ValueError(f"`learning_rate` must be positive, got {rate:g}; pass its size.")
    if not 0 <= b < 1:
        raise ValueError(f"`momentum` must lie in [0, 1), got {b:g}; 0.9 is usual, 0 is plain descent.")
    if w < 0:
        raise ValueError(f"`weight_decay` must be >= 0, got {w:g}; pass its size, without a sign.")
    bound = real_array("diverged_at", diverged_at, "a real number")
    if bound.ndim or not bound > 1:
        raise ValueError(
            f"`diverged_at` must be a number above 1, got {short(diverged_at)}; it is in units of the initial loss."
        )
    return rate, b, w, float(bound)


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

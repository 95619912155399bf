"""The width that a two-layer network needs in truth, beside what theorems ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .._support.memory import available_memory, require_memory
from .._support.results import Result
from .._support.validation import checked, finite_number, positive_integer
from ..activations import Activation
from ..architectures import mlp
from ..jobs.run import Checkpoint, are_numbers, check_executor, finished, n_cores
from ..jobs.settings import describe_arrays, describe_network, describe_stream
from ..jobs.streams import Streams, streams
from ..kernels import TwoLayerTheory, two_layer_theory
from ..training.two_layer import draw, squared_residuals
from .table import aligned

__all__ = ["MeasuredWidth", "required_width_measured"]

FINE = 16  # the width is found to a part in so many


@dataclass(frozen=True, repr=False, eq=False)
class MeasuredWidth(Result):
    """Shares of trained networks that keep the bound, by width; ``print`` shows them.

    Attributes
    ----------
    width : int or None
        The smallest at which enough trials keep the bound, to a sixteenth of it; None where none up to `max_width` is.
    demanded : dict of str to float
        Theorem to the width it asks for at the same `delta`: `TwoLayerTheory.required_width`.
    widths : ndarray of int, shape (N,)
        Those that were tried, ascending.
    shares : ndarray, shape (N,)
        Share of the trials that kept the bound there.
    delta : float
        At most so many may fail.
    eta : float
        Learning rate, of the sum of half squared errors.
    n_trials, n_steps, max_width : int
        Networks drawn at each width, steps of each run, the largest width that was tried.
    caution : str
        That of the theory.
    """

    width: int | None
    demanded: dict[str, float]
    widths: np.ndarray
    shares: np.ndarray
    delta: float
    eta: float
    n_trials: int
    n_steps: int
    max_width: int
    caution: str
    _theory: TwoLayerTheory

    @property
    def theory(self) -> TwoLayerTheory:
        """The theory whose bound was put to the test."""
        return self._theory

    @property
    def standard_error(self) -> dict[str, np.ndarray]:
        """Of `shares`, binomial."""
        return {"shares": np.sqrt(self.shares * (1 - self.shares) / self.n_trials)}

    def __repr__(self) -> str:
        found = f"above {self.max_width}" if self.width is None else self.width
        runs = f"{self.n_trials} trials of {self.n_steps} steps, eta={self.eta:.4g}"
        return f"MeasuredWidth({found}, {runs}, {self._theory})"

    def __str__(self) -> str:
        found = f"> {self.max_width}" if self.width is None else f"{self.width}"
        table = [["measured", found], *([name, f"{width:.3g}"] for name, width in self.demanded.items())]
        shares = zip(self.widths, self.shares, strict=True)
        tried = [["width", "share"], *([str(m), f"{share:.2f}"] for m, share in shares)]
        head = f"width at which {1 - self.delta:.0%} keep the bound for {self.n_steps} steps, and those of theorems:"
        return "\n".join([head, *aligned(table), f"of {self.n_trials} trials:", *aligned(tried)])


def required_width_measured(
    X: Any,
    y: Any,
    activation: str | Callable | Activation = "relu",
    *,
    trained: str = "weights",
    kappa: float = 1.0,
    eta: float | None = None,
    delta: float = 0.1,
    n_trials: int = 20,
    n_steps: int = 100,
    max_width: int = 2**14,
    rng: Any = None,
    executor: Any = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = False,
) -> MeasuredWidth:
    r"""The smallest width at which two-layer networks keep the bound, by training them.

    A trial draws a network and follows descent; it keeps the bound if
    :math:`|u(k) - y|^2 \le (1 - \eta\lambda_0/2)^k\, |u(0) - y|^2` at every step, with :math:`\lambda_0` of infinite
    width. Widths are doubled until at least a share ``1 - delta`` of the trials does, and the last doubling is
    bisected. The units of a narrow network are the first of the wide ones of the same trial.

    Parameters
    ----------
    X, y, activation, trained, kappa
        As in `two_layer_theory`.
    eta : float, optional
        Learning rate, of the sum of half squared errors. Default: :math:`1/\lambda_{max}`, half of the rate at which
        the infinitely wide network is no longer stable. That of the theorems (`TwoLayerTheory.step_size`) is so small
        that a hundred steps hardly move.
    delta : float
        Share of trials that may fail.
    n_trials, n_steps : int
    max_width : int
        Wider networks are not tried.
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes.
    executor, checkpoint, progress : optional
        As in `ensemble`; a task is one trial at one width. `checkpoint` needs `rng`; a resumed run may ask for more
        trials, and for another `delta`.

    Returns
    -------
    MeasuredWidth
        With what theorems ask for beside it.

    Raises
    ------
    TypeError, ValueError
        What `two_layer_theory` and `ensemble` refuse; an `eta` at which the infinitely wide network does not keep the
        bound; `delta` outside (0, 1).
    MemoryError
        A network does not fit.

    Notes
    -----
    Cost of a step: four products of T x M_0 x m. The same bits for any executor and number of workers.

    References
    ----------
    Du, Zhai, Poczos & Singh 2019, "Gradient descent provably optimizes over-parameterized neural networks",
    arXiv:1810.02054.

    Examples
    --------
    >>> import mfdnn, numpy as np
    >>> X = np.random.default_rng(0).standard_normal((20, 5))
    >>> X /= np.linalg.norm(X, axis=1, keepdims=True)
    >>> found = mfdnn.comparison.required_width_measured(X, np.sign(X[:, 0]), rng=0)
    >>> found.width, f"{found.demanded['Du et al. 2019']:.1g}"
    (5, '2e+16')
    """
    n_steps, n_trials, rng = checked(n_steps=n_steps, n_trials=n_trials, rng=rng)
    checkpoint, progress = checked(checkpoint=checkpoint, progress=progress)
    widest = positive_integer("max_width", max_width)
    check_executor(executor)
    theory = two_layer_theory(X, y, activation, trained=trained, kappa=kappa)
    inputs = np.asarray(X, dtype=np.float64)
    rate = theory.stable_rate / 2 if eta is None else finite_number("eta", eta)
    bound = np.asarray(theory.bound(np.arange(n_steps + 1), rate))
    demanded = theory.required_width(delta)
    seeds = streams(rng, n_trials)
    kept = None
    if checkpoint is not None:
        if rng is None:
            raise ValueError("`checkpoint` needs `rng`, or the resumed run would draw others; pass a seed.")
        kept = Checkpoint(checkpoint, _settings(theory, inputs, rate, n_steps, seeds))
    trial = partial(_trial, theory=theory, inputs=inputs, rate=rate, bound=bound)
    known = {tuple(task): bool(result["kept"]) for task, result in kept or () if are_numbers(result, {"kept": ()})}

    def share(width: int) -> float:
        each = _trial_bytes(width, inputs)
        require_memory(each, f"a network of {width} units at {len(inputs)} inputs", "pass a smaller `max_width`")
        missing = [((width, i), (width, seed)) for i, seed in enumerate(seeds) if (width, i) not in known]
        workers = int(max(1, min(n_cores(), available_memory() // each)))
        for task, result in finished(
            trial,
            missing,
            len(missing),
            n_kept=n_trials - len(missing),
            executor=executor,
            workers=workers,
            checkpoint=kept,
            progress=progress,
            unit="trial",
        ):
            known[task] = bool(result["kept"])
        return float(np.mean([known[width, i] for i in range(n_trials)]))

    width, shares = _smallest(share, 1 - delta, widest)
    return MeasuredWidth(
        width=width,
        demanded=demanded,
        widths=np.array(sorted(shares)),
        shares=np.array([shares[m] for m in sorted(shares)]),
        delta=float(delta),
        eta=rate,
        n_trials=n_trials,
        n_steps=n_steps,
        max_width=widest,
        caution=theory.caution,
        _theory=theory,
    )


def _smallest(share: Callable[[int], float], enough: float, widest: int) -> tuple[int | None, dict[int, float]]:
    """The smallest width with a large enough share, and all that were tried."""
    enough -= 1e-9  # 18 of 20 are 0.9
    low, high = 0, 1
    shares = {high: share(high)}
    while shares[high] < enough:
        if high == widest:
            return None, shares
        low, high = high, min(2 * high, widest)
        shares[high] = share(high)
    while high - low > max(1, high // FINE):
        middle = (low + high) // 2
        shares[middle] = share(middle)
        low, high = (low, middle) if shares[middle] >= enough else (middle, high)
    return high, shares


def _trial(
    task: tuple[int, np.random.SeedSequence], theory: TwoLayerTheory, inputs: np.ndarray, rate: float, bound: np.ndarray
) -> dict[str, np.ndarray]:
    """Whether one network keeps the bound."""
    width, seed = task
    w, a = draw(width, inputs.shape[1], theory.kappa, seed)
    with np.errstate(over="ignore", invalid="ignore"):
        run = squared_residuals(
            w, a, inputs, theory.labels, theory.activation, rate, len(bound) - 1, theory.trained == "both"
        )
        first = next(run)
        # Rounding alone moves a perfect fit.
        kept = all(square <= first * (most + 1e-12) for square, most in zip(run, bound[1:], strict=True))
    return {"kept": np.asarray(float(kept))}


def _trial_bytes(width: int, inputs: np.ndarray) -> int:
    n, d = inputs.shape
    return 8 * width * (4 * n + 4 * (d + 1))


def _settings(theory: TwoLayerTheory, inputs: np.ndarray, rate: float, n_steps: int, seeds: Streams) -> dict[str, str]:
    """What determines whether a trial keeps the bound, in words."""
    return {
        "activation": describe_network(mlp([1, 1, 1], theory.activation))["activations"],
        "data": describe_arrays(inputs, theory.labels),
        "rng": describe_stream(seeds[0]),
        **{name: repr(value) for name, value in (("trained", theory.trained), ("kappa", theory.kappa))},
        **{name: repr(value) for name, value in (("eta", rate), ("n_steps", n_steps))},
    }
